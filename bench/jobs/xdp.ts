/** Sends, receives or forwards 64 B frames by AF_XDP ports; see ../xdp-twin.c for the same in C. */
import { exchangeFrame } from '../../src/device/forward.ts';
import { createFrames, framesArenaBytes, SMALL_ROOM_BYTES } from '../../src/device/frames.ts';
import type { Port } from '../../src/device/port.ts';
import { openXdp, xdpArenaBytes } from '../../src/device/xdp.ts';
import { Arena } from '../../src/memory/arena.ts';
import type { FramePool } from '../../src/memory/frame-pool.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH } from '../../src/memory/ring.ts';
import { raiseInliningBudget } from '../../src/os/v8.ts';
import { finish, Stopwatch } from './job.ts';
import { BURST, FORWARD, frame, SLOTS, setScene, TX, xdpArguments } from './xdp-scene.ts';

const NAME = 'millrace';
const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const args = xdpArguments();
const { kind, batch, ports: count } = args;
setScene(NAME, args);
raiseInliningBudget();

// The twin doesn't look for checksums that a kernel has left out, which takes 10 ns a packet.
const open = (name: string, pool?: FramePool): Port =>
  openXdp(arena, { name, slots: SLOTS, offload: false, ...(pool !== undefined && { pool }) });
const names = Array.from({ length: count }, (_, i) => `x${i}`);
const arenaBytes = names.reduce((sum, name) => sum + 2 * xdpArenaBytes({ name, slots: SLOTS }), 0);
const arena = new Arena(arenaBytes + framesArenaBytes(4 * SLOTS, SMALL_ROOM_BYTES) + (8 << 20));
// Who forwards has one pool for both ports; who receives by several queues has more buffers in a pool of its own.
const pool = kind === FORWARD ? createFrames(arena, 'frames', 4 * SLOTS, SMALL_ROOM_BYTES) : undefined;
const ports = names.map((name) => open(name, pool));
const out = kind === FORWARD ? open('y0', pool) : null;
const sources = kind === TX ? [] : names.map((_, i) => open(`f${i}`));
for (const { tx } of [...ports, ...sources])
  for (let i = 0; i < tx.slots; i++) arena.u8.set(frame(), tx.m[tx.slot(i) + AT]);

let frames = 0;

function send(port: Port, most: number): number {
  const { tx } = port;
  const { m } = tx;
  const n = Math.min(most, tx.available);
  let head = tx.head;
  for (let i = 0; i < n; i++) {
    const slot = tx.slot(head);
    m[slot + LENGTH] = 60;
    m[slot + FLAGS] = 0;
    m[slot + AUX] = 0;
    head = (head + 1) | 0;
  }
  tx.head = head;
  port.txSync();
  return n;
}

function receive(port: Port): void {
  for (let n = port.rxSync(); n > 0; n = port.rxSync()) {
    frames += n;
    port.rx.head = port.rx.tail;
  }
}

function forward(from: Port, to: Port): void {
  const { rx } = from;
  const { tx } = to;
  const { m } = rx;
  for (let n = from.rxSync(); n > 0; n = from.rxSync()) {
    for (let left = n; left > 0; ) {
      const part = Math.min(left, batch, tx.available);
      for (let i = 0; i < part; i++) {
        exchangeFrame(m, rx.slot(rx.head), tx.slot(tx.head));
        rx.head = (rx.head + 1) | 0;
        tx.head = (tx.head + 1) | 0;
      }
      to.txSync();
      left -= part;
      frames += part;
    }
  }
}

function run(seconds: number): void {
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    for (let i = 0; i < 16; i++) {
      if (kind === TX) {
        frames += send(ports[0], batch);
        continue;
      }
      // One of the ports has traffic, in turns; all are looked at.
      send(sources[i % count], Math.max(batch, BURST));
      for (const port of ports) {
        if (out === null) receive(port);
        else forward(port, out);
      }
    }
  }
}

const measured = [...ports, ...(out === null ? [] : [out])];
const syscalls = (): number => measured.reduce((sum, port) => sum + port.counters.syscalls, 0);

run(args.warmup);
const before = { frames, syscalls: syscalls() };
const stopwatch = new Stopwatch();
run(args.seconds);
const times = stopwatch.read();
const dropped = [...measured, ...sources].reduce(
  (sum, { counters }) => sum + counters.rxDropped + counters.txDropped,
  0,
);
finish({
  name: NAME,
  ...times,
  requests: frames - before.frames,
  syscalls: syscalls() - before.syscalls,
  ...(dropped > 0 && { note: `${dropped} frames were dropped` }),
});
