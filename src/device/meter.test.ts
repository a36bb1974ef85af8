import { expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { createCable } from './cable.ts';
import { capture } from './capture.ts';
import { portAsFarEnd, portCompliance, queueFrame, takeFrames } from './compliance.testing.ts';
import { meter, SIZE_CLASSES } from './meter.ts';
import type { Port } from './port.ts';

function wrapped(wrap: (port: Port) => Port) {
  const [near, far] = createCable(new Arena(8 << 20), 'c', { slots: 64 });
  return { port: wrap(near), far: portAsFarEnd(far), close: () => far.close() };
}

const OPTIONS = { lengthMin: 1, inFlight: 64 };
portCompliance('a metered cable', () => wrapped((port) => meter(port, () => 0)), OPTIONS);
portCompliance(
  'a captured cable',
  () =>
    wrapped((port) =>
      capture(
        port,
        () => {},
        () => 0,
      ),
    ),
  OPTIONS,
);
portCompliance(
  'a captured and metered cable',
  () =>
    wrapped((port) =>
      meter(
        capture(
          port,
          () => {},
          () => 0,
        ),
        () => 0,
      ),
    ),
  OPTIONS,
);

test('what crosses is counted once, by size and by distance, in its direction', () => {
  const [near, far] = createCable(new Arena(8 << 20), 'c', { slots: 64, mtu: 9000 });
  let now = 1e15;
  const port = meter(near, () => now);
  const { rx, tx } = port.meters;
  const lengths = [1, 64, 65, 127, 128, 255, 256, 511, 512, 1023, 1024, 1518, 1519, 9000];
  for (const length of lengths) {
    queueFrame(port, new Uint8Array(length));
    port.txSync();
    port.txSync();
    now += 1000;
  }
  expect(tx.frames).toBe(lengths.length);
  expect(tx.bytes).toBe(lengths.reduce((sum, length) => sum + length, 0));
  expect([...tx.sizes]).toEqual(SIZE_CLASSES.map(() => 2));
  // 1 ms is between 2^19 and 2^20 ns.
  expect([...tx.gaps].map((n, k) => [k, n]).filter(([, n]) => n > 0)).toEqual([[19, lengths.length - 1]]);
  expect(tx.rate(now)).toEqual({
    framesPerSecond: 1000,
    bitsPerSecond: (tx.bytes * 8 * 1000) / lengths.length,
  });
  expect(tx.rate(now + 1e6)).toEqual({ framesPerSecond: 0, bitsPerSecond: 0 });
  expect(rx.frames).toBe(0);

  // At once, a second later, and when the clock was set back.
  for (const later of [0, 0, 1e6, -5e6]) {
    now += later;
    queueFrame(far, new Uint8Array(60));
    far.txSync();
    port.rxSync();
    port.rxSync();
    takeFrames(port);
  }
  expect([rx.frames, rx.bytes, rx.sizes[0]]).toEqual([4, 240, 4]);
  expect([...rx.gaps].map((n, k) => [k, n]).filter(([, n]) => n > 0)).toEqual([
    [0, 2],
    [29, 1],
  ]);
});

test('a frame of several descriptors is one', () => {
  const [near] = createCable(new Arena(8 << 20), 'c', { slots: 64 });
  const port = meter(near, () => 0);
  for (const flags of [8, 8, 0]) {
    const slot = port.tx.slot(port.tx.head);
    queueFrame(port, new Uint8Array(500));
    port.tx.m[slot + 2] = flags;
  }
  port.txSync();
  expect(port.meters.tx).toMatchObject({ frames: 1, bytes: 1500 });
  expect(port.meters.tx.sizes[5]).toBe(1);
});
