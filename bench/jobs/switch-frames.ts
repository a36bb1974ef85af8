/**
 * Frames through a learning switch, on this thread: each of `--connections` ports sends a batch of `--outstanding` frames
 * of `--bytes`, from and to MACS_PER_PORT addresses at a time, all of them known.
 */
import { createFrames } from '../../src/device/frames.ts';
import type { Port } from '../../src/device/port.ts';
import { createSwitch } from '../../src/device/switch.ts';
import { Arena } from '../../src/memory/arena.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH, DESC_WORDS } from '../../src/memory/ring.ts';
import { raiseInliningBudget } from '../../src/os/v8.ts';
import { runFrames, sendFrames, takeAll } from './frames.ts';
import { finish, jobArguments } from './job.ts';

const MACS_PER_PORT = 8;
const [AT, LENGTH, FLAGS, AUX, WORDS] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX, DESC_WORDS];

raiseInliningBudget();
const args = jobArguments();
const count = args.connections;
const arena = new Arena(1 << 28);
const pool = createFrames(arena, 'frames', 1024 * count + 64, 1518);
const lan = createSwitch(arena, 'lan', { now: () => performance.now(), key: 0x5eed, pool });
const ports = Array.from({ length: count }, () => lan.port());
const { view } = arena;

// All of them are known before anything is measured.
for (const [from, port] of ports.entries()) {
  for (let i = 0; i < MACS_PER_PORT; i++) {
    const at = port.tx.m[port.tx.slot(port.tx.head) + AT];
    view.setInt32(at, -1, false);
    view.setInt32(at + 4, 0xffff_0200 | 0, false);
    view.setInt32(at + 8, (from << 16) | i, false);
    sendFrames(port, 1, args.bytes);
    for (const other of ports) takeAll(other);
  }
}

/** Headers in turns, from one of a port's addresses to one of another port's. */
const HEADERS = 256;
const headers = new Int32Array(count * HEADERS * 3);
for (let from = 0; from < count; from++) {
  for (let i = 0; i < HEADERS; i++) {
    const to = (from + 1 + ((i >>> 3) % (count - 1))) % count;
    headers.set(
      [
        0x0200_0000 | to,
        ((i & (MACS_PER_PORT - 1)) << 16) | 0x0200,
        (from << 16) | ((i >>> 1) & (MACS_PER_PORT - 1)),
      ],
      (from * HEADERS + i) * 3,
    );
  }
}

let serial = 0;
function send({ tx }: Port, from: number, frames: number): void {
  const { m, base, mask } = tx;
  let { head } = tx;
  for (let i = 0; i < frames; i++) {
    const slot = base + (head & mask) * WORDS;
    const at = m[slot + AT];
    serial = (serial + 1) & (HEADERS - 1);
    const header = (from * HEADERS + serial) * 3;
    view.setInt32(at, headers[header], false);
    view.setInt32(at + 4, headers[header + 1], false);
    view.setInt32(at + 8, headers[header + 2], false);
    m[slot + LENGTH] = args.bytes;
    m[slot + FLAGS] = 0;
    m[slot + AUX] = 0;
    head = (head + 1) | 0;
  }
  tx.head = head;
}

let frames = 0;
function turn(): void {
  for (let i = 0; i < count; i++) {
    send(ports[i], i, Math.min(args.outstanding, ports[i].tx.available));
    ports[i].txSync();
  }
  for (let i = 0; i < count; i++) frames += takeAll(ports[i]);
}
const times = runFrames(args, turn, () => frames);
const flooded = lan.ports.reduce((sum, { counters }) => sum + counters.flooded, 0);
const dropped = lan.ports.reduce((sum, { counters }) => sum + counters.dropped, 0);
finish({
  name: 'millrace',
  ...times,
  note: `${flooded} flooded, ${dropped} lost to full rings, since the start`,
});
