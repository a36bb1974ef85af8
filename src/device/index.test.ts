import { expect, test } from 'vitest';
import {
  Arena,
  Bridge,
  createCable,
  createFrames,
  createSwitch,
  fault,
  framesArenaBytes,
  meter,
  openPort,
  PortWaiter,
  portArenaBytes,
  SMALL_ROOM_BYTES,
} from './index.ts';

test('what a program needs for packets of its own comes by one entry', async () => {
  const arena = new Arena(portArenaBytes('null:64') + framesArenaBytes(1100, SMALL_ROOM_BYTES) + (8 << 20));
  const source = openPort(arena, 'null:64');
  const pool = createFrames(arena, 'frames', 1100, SMALL_ROOM_BYTES);
  const [left, right] = createCable(arena, 'cable', { pool, slots: 256 });
  let ms = 0;
  const end = meter(right, () => ms * 1000);
  const lossy = fault(left, {
    seed: 7,
    now: () => ms,
    tx: { delay_ms: 5, loss: 0.5 },
  });
  const bridge = new Bridge(source, lossy);
  const waiter = new PortWaiter([end]);
  let taken = 0;
  for (; ms < 100; ms++) {
    bridge.turn();
    const n = end.rxSync();
    if (ms < 5) expect(n).toBe(0);
    taken += n;
    end.rx.head = end.rx.tail;
  }
  await waiter.wait(1);
  expect(taken).toBeGreaterThan(100);
  expect(end.meters.rx.frames).toBe(taken);

  const lan = createSwitch(arena, 'lan', { now: () => ms, key: 1 });
  expect([lan.port(), lan.port()].map(({ capabilities }) => capabilities.link)).toEqual(['ether', 'ether']);
  waiter.close();
  for (const port of [source, lossy, end]) port.close();
  lan.close();
  pool.audit();
  expect(pool.inUse).toBe(0);
});
