import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ProducerTask } from '../../bench/ring-producer.ts';
import { Arena } from './arena.ts';
import { MpscRing, SpscRing } from './rings.ts';

const rings = [
  ['spsc', SpscRing],
  ['mpsc', MpscRing],
] as const;

test.each(rings)('%s: any sequence of pushes and pops equals an array', (_kind, Ring) => {
  fc.assert(
    fc.property(
      fc.constantFrom(2, 4, 16),
      fc.integer({ min: 1, max: 3 }),
      fc.array(fc.tuple(fc.boolean(), fc.nat(20), fc.boolean()), { maxLength: 150, size: 'max' }),
      (slots, words, ops) => {
        const arena = new Arena(1 << 16);
        const after = Ring.carve(arena, 'ring', { slots, words });
        const fence = arena.carve('fence', 64) >> 2;
        const consumer = after;
        const producers = [after, new Ring(arena.i32, after.at)];
        const model: number[] = [];
        let next = 0;
        const batch = new Int32Array(64);
        for (const [push, n, other] of ops) {
          if (push) {
            // A second object of an SPSC ring would be a second producer.
            const producer = producers[Ring === MpscRing && other ? 1 : 0];
            for (let i = 0; i < n * words; i++) batch[2 + i] = next + i;
            const count = producer.push(batch, 2, n);
            expect(count).toBe(Math.min(n, slots - model.length / words));
            for (let i = 0; i < count * words; i++) model.push(next++);
          } else {
            batch.fill(-1);
            const count = consumer.pop(batch, 2, n);
            expect(count).toBe(Math.min(n, model.length / words));
            expect([...batch.subarray(2, 2 + count * words)]).toEqual(model.splice(0, count * words));
            expect(batch[2 + count * words]).toBe(-1);
            expect(batch[1]).toBe(-1);
          }
        }
        expect(arena.i32.subarray(fence, fence + 16).every((word) => word === 0)).toBe(true);
      },
    ),
  );
});

test('indices wrap over int32', () => {
  const arena = new Arena(1 << 16);
  const { at } = SpscRing.carve(arena, 'ring', { slots: 4 });
  // Both indices, one line each after the first.
  arena.i32[at + 16] = arena.i32[at + 32] = 2 ** 31 - 2;
  const ring = new SpscRing(arena.i32, at);
  const batch = new Int32Array(4);
  for (let i = 0; i < 10; i++) {
    expect(ring.push(Int32Array.of(i, i + 1, i + 2), 0, 3)).toBe(3);
    expect(ring.pop(batch, 0, 4)).toBe(3);
    expect([...batch.subarray(0, 3)]).toEqual([i, i + 1, i + 2]);
  }
});

test('mpsc: what was published 2^32 records ago isn’t taken for a claimed slot’s record', () => {
  const arena = new Arena(1 << 16);
  const { at } = MpscRing.carve(arena, 'ring', { slots: 4 });
  const ring = new MpscRing(arena.i32, at);
  expect(ring.push(Int32Array.of(7), 0, 1)).toBe(1);
  expect(ring.pop(new Int32Array(1), 0, 1)).toBe(1);
  // Both indices come around to the same slot, which a producer has claimed and not filled.
  arena.i32[at + 16] = 0;
  arena.i32[at + 32] = 1;
  expect(new MpscRing(arena.i32, at).pop(new Int32Array(1), 0, 1)).toBe(0);
});

test.each(rings)('%s: nonsense sizes are refused', (_kind, Ring) => {
  const arena = new Arena(1 << 16);
  for (const slots of [0, 1, 3, -4, 2 ** 25])
    expect(() => Ring.carve(arena, 'x', { slots })).toThrow(RangeError);
  expect(() => Ring.carve(arena, 'x', { slots: 4, words: 0 })).toThrow(RangeError);
});

async function produce(arena: Arena, task: Omit<ProducerTask, 'buffer'>): Promise<void> {
  const buffer = arena.memory.buffer as unknown as SharedArrayBuffer;
  const worker = new Worker(new URL('../../bench/ring-producer.ts', import.meta.url), {
    workerData: { ...task, buffer },
  });
  await once(worker, 'exit');
}

const threads = [
  { kind: 'spsc', producers: 1, words: 1, batch: 1 },
  { kind: 'spsc', producers: 1, words: 4, batch: 24 },
  { kind: 'mpsc', producers: 2, words: 4, batch: 1 },
  { kind: 'mpsc', producers: 2, words: 4, batch: 24 },
] as const;

/** 0.1 s on two free cores; spinning threads share loaded ones badly, and slow isn't wrong. */
const THREADS_TIMEOUT_MS = 60_000;

test.each(threads)(
  '$kind across threads, batches up to $batch: nothing lost, doubled or torn',
  async (c) => {
    const { kind, producers, words, batch } = c;
    // With fewer cores than threads, a ringful may take a scheduler's quantum: 80 of them, not thousands.
    const records = 20_000;
    const arena = new Arena(1 << 16);
    const options = { slots: 512, words };
    const ring =
      kind === 'spsc' ? SpscRing.carve(arena, 'ring', options) : MpscRing.carve(arena, 'ring', options);
    const exits = Array.from({ length: producers }, (_, producer) =>
      produce(arena, { kind, at: ring.at, producer, records, batch, ragged: true }),
    );
    let running: number = producers;
    for (const exit of exits) void exit.then(() => running--);

    const next = new Int32Array(producers);
    const got = new Int32Array(16 * words);
    let bad = 0;
    let total = 0;
    for (let idle = 0; total < producers * records; ) {
      const count = ring.pop(got, 0, 16);
      for (let i = 0; i < count; i++) {
        const at = i * words;
        const producer = words > 1 ? got[at + 1] : 0;
        const record = got[at];
        if (record !== next[producer]++) bad++;
        for (let w = 2; w < words; w++) if (got[at + w] !== record * w) bad++;
      }
      total += count;
      if (count === 0 && ++idle % 256 === 0) {
        // They had exited before the last pops, so what is missing now stays missing.
        if (running === 0) break;
        // Lets their exits be seen.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    await Promise.all(exits);
    expect(bad).toBe(0);
    expect([...next]).toEqual(Array(producers).fill(records));
    expect(ring.pop(got, 0, 16)).toBe(0);
  },
  THREADS_TIMEOUT_MS,
);
