/**
 * A program for tests: joins a TAP, with an address for the host, and a memif port, and forwards between them.
 *
 *     node test/memif-bridge.ts tap:mr0 10.77.0.1/24 memif:/run/x.sock,role=client
 */

import { copyFrame, exchangeFrame, mayExchange } from '../src/device/forward.ts';
import { createFrames, framesArenaBytes } from '../src/device/frames.ts';
import { openPort, portArenaBytes } from '../src/device/open.ts';
import type { Port } from '../src/device/port.ts';
import { PortWaiter } from '../src/device/wait.ts';
import { Arena } from '../src/memory/arena.ts';
import { DESC_LENGTH } from '../src/memory/ring.ts';

const [tapName, hostAddress, memifName] = process.argv.slice(2);
const FRAMES = 1024;
const ROOM_BYTES = 1518;
const SLOTS = 256;

const tapSettings = { offload: false, hostAddresses: [hostAddress], slots: SLOTS };
const memifSettings = { slots: SLOTS };
const arena = new Arena(
  portArenaBytes(tapName, tapSettings) +
    portArenaBytes(memifName, memifSettings) +
    framesArenaBytes(FRAMES, ROOM_BYTES),
);
const pool = createFrames(arena, 'frames', FRAMES, ROOM_BYTES);
const tap = openPort(arena, tapName, { ...tapSettings, pool });
const memif = openPort(arena, memifName, { ...memifSettings, pool });

/** @returns frames moved */
function forward(from: Port, to: Port): number {
  from.rxSync();
  const n = Math.min(from.rx.available, to.tx.available);
  for (let i = 0; i < n; i++) {
    const source = from.rx.slot(from.rx.head);
    const target = to.tx.slot(to.tx.head);
    if (mayExchange(from, to)) exchangeFrame(arena.i32, source, target);
    else if (arena.i32[source + DESC_LENGTH] <= to.frameBytes) copyFrame(from, source, target);
    from.rx.head = (from.rx.head + 1) | 0;
    to.tx.head = (to.tx.head + 1) | 0;
  }
  to.txSync();
  return n;
}

const waiter = new PortWaiter([tap, memif]);
let running = true;
process.once('SIGTERM', () => {
  running = false;
  waiter.wake();
});
console.log('forwarding');
while (running) {
  if (forward(tap, memif) + forward(memif, tap) === 0) await waiter.wait(1000);
}
waiter.close();
tap.close();
memif.close();
console.log(JSON.stringify({ tap: tap.counters, memif: memif.counters }));
