import { expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH, FRAME_MORE } from '../memory/ring.ts';
import { BpfFilter } from './bpf-filter.ts';
import { createCable } from './cable.ts';
import { FrameTap } from './frame-tap.ts';
import type { Port } from './port.ts';

function send(port: Port, bytes: readonly number[], flags = 0): void {
  const slot = port.tx.slot(port.tx.head);
  port.arena.u8.set(bytes, port.tx.m[slot + DESC_AT]);
  port.tx.m[slot + DESC_LENGTH] = bytes.length;
  port.tx.m[slot + DESC_FLAGS] = flags;
  port.tx.head = (port.tx.head + 1) | 0;
  port.txSync();
}

function rig(filter: BpfFilter | null, count = Number.POSITIVE_INFINITY) {
  const [far, port] = createCable(new Arena(4 << 20), 'cable', { slots: 8 });
  const got: [number[], number][] = [];
  const tap = new FrameTap(
    port,
    filter,
    count,
    () => 77,
    (frame, time) => got.push([[...frame], time]),
  );
  return { far, port, tap, got };
}

test('hands on what the filter lets through, in order, and gives every slot back', () => {
  // ldb [1]; jeq #2; ret #1; ret #0
  const filter = new BpfFilter([
    { code: 0x30, jt: 0, jf: 0, k: 1 },
    { code: 0x15, jt: 0, jf: 1, k: 2 },
    { code: 0x06, jt: 0, jf: 0, k: 1 },
    { code: 0x06, jt: 0, jf: 0, k: 0 },
  ]);
  const { far, port, tap, got } = rig(filter);
  for (let i = 0; i < 30; i++) {
    send(far, [i, i % 3]);
    expect(tap.step()).toBe(1);
  }
  expect(tap.step()).toBe(0);
  expect(got).toEqual(Array.from({ length: 10 }, (_, i) => [[3 * i + 2, 2], 77]));
  expect(tap).toMatchObject({ seen: 30, matched: 10 });
  expect(port.rx.available).toBe(0);
});

test('ends after as many as asked for, in the middle of a batch, too', () => {
  const { far, tap, got } = rig(null, 3);
  for (let i = 0; i < 5; i++) send(far, [i, 0]);
  tap.step();
  expect(tap.done).toBe(true);
  expect(got.map(([[first]]) => first)).toEqual([0, 1, 2]);
});

test('a frame in several buffers is one frame, across batches, too', () => {
  const { far, tap, got } = rig(null);
  send(far, [1, 2], FRAME_MORE);
  tap.step();
  send(far, [3], FRAME_MORE);
  send(far, [4, 5]);
  send(far, [6]);
  tap.step();
  expect(got.map(([bytes]) => bytes)).toEqual([[1, 2, 3, 4, 5], [6]]);
});

test("the time is the port's where it has one", () => {
  const [far, port] = createCable(new Arena(4 << 20), 'cable', { slots: 8 });
  const times: number[] = [];
  const timed = {
    ...port,
    rx: port.rx,
    rxTimes: Float64Array.from({ length: 8 }, (_, i) => 1000 + i),
    rxSync: () => port.rxSync(),
  };
  const tap = new FrameTap(
    timed,
    null,
    100,
    () => 77,
    (_, time) => times.push(time),
  );
  for (let i = 0; i < 10; i++) {
    send(far, [i]);
    tap.step();
  }
  expect(times).toEqual([1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1000, 1001]);
});
