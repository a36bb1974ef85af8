import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena } from './arena.ts';
import { FrameCache, FrameDepot, FramePool } from './frame-pool.ts';

const FRAME_BYTES = 128;

function pool(frames: number, magazine: number): FramePool {
  return new FramePool(new Arena(1 << 20), 'frames', { frames, frameBytes: FRAME_BYTES, magazine });
}

test('any sequence of takes and gives keeps each frame in one place', () => {
  const op = fc.oneof(
    fc.record({ kind: fc.constant('take' as const), n: fc.constant(1) }),
    fc.record({ kind: fc.constant('give' as const), n: fc.nat(1000) }),
    fc.record({ kind: fc.constant('takeBulk' as const), n: fc.integer({ min: 0, max: 40 }) }),
    fc.record({ kind: fc.constant('giveBulk' as const), n: fc.integer({ min: 0, max: 40 }) }),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 9 }),
      fc.array(op, { maxLength: 200, size: 'max' }),
      (frames, magazine, ops) => {
        const p = pool(frames, magazine);
        const held: number[] = [];
        const words = new Int32Array(64);
        let exhausted = 0;
        for (const { kind, n } of ops) {
          if (kind === 'take') {
            const frame = p.take();
            expect(frame === 0).toBe(held.length === frames);
            if (frame === 0) exhausted++;
            else held.push(frame);
          } else if (kind === 'takeBulk') {
            const count = p.takeBulk(words, n);
            expect(count).toBe(Math.min(n, frames - held.length));
            if (count < n) exhausted++;
            held.push(...words.subarray(0, count));
          } else if (kind === 'give') {
            if (held.length > 0) p.give(held.splice(n % held.length, 1)[0]);
          } else {
            const count = Math.min(n, held.length);
            words.set(held.splice(0, count));
            p.giveBulk(words, count);
          }
          expect(new Set(held).size).toBe(held.length);
          expect(p.inUse).toBe(held.length);
          expect(p.free).toBe(frames - held.length);
          p.audit();
        }
        expect(p.counters.exhausted).toBe(exhausted);
        expect(p.counters.taken - p.counters.given).toBe(held.length);
      },
    ),
  );
});

test('frames are aligned, apart, and found from any byte in them', () => {
  const p = pool(20, 4);
  const frames = Array.from({ length: 20 }, () => p.take()).sort((a, b) => a - b);
  for (const [i, frame] of frames.entries()) {
    expect(frame % 64).toBe(0);
    expect(frame).toBe(frames[0] + i * FRAME_BYTES);
    for (const inside of [0, 1, FRAME_BYTES - 1]) expect(p.frameOf(frame + inside)).toBe(frame);
  }
});

test('working around a magazine’s edge stays off the depot', () => {
  const p = pool(64, 4);
  const frames = Array.from({ length: 32 }, () => p.take());
  for (const frame of frames) p.give(frame);
  const before = p.counters.exchanges;
  for (let i = 0; i < 100; i++) {
    const held = [p.take(), p.take(), p.take()];
    for (const frame of held) p.give(frame);
  }
  expect(p.counters.exchanges - before).toBeLessThanOrEqual(1);
});

test('unused frames are not touched', () => {
  const p = pool(1000, 8);
  const low = p.take();
  p.give(low);
  for (let i = 0; i < 100; i++) p.give(p.take());
  expect(p.take()).toBe(low);
  // Eight at most left the counter for a magazine: the next ones follow those directly.
  expect(Math.max(...Array.from({ length: 15 }, () => p.take()))).toBe(low + 15 * FRAME_BYTES);
});

test('a frame given back twice is found', () => {
  const p = pool(10, 4);
  const frame = p.take();
  p.take();
  p.give(frame);
  p.give(frame);
  expect(() => p.audit()).toThrow('given back twice');

  const full = pool(4, 1);
  const kept = full.take();
  expect(() => {
    for (let i = 0; i < 20; i++) full.give(kept);
  }).toThrow('more frames were given back');

  const foreign = pool(10, 4);
  foreign.give(foreign.take() + 64);
  expect(() => foreign.audit()).toThrow('is no frame');
});

test('caches share a depot: frames taken by one and given back by the other come around', () => {
  const depot = new FrameDepot(new Arena(1 << 20), 'frames', { frames: 40, frameBytes: 64, magazine: 4 }, 2);
  const a = new FrameCache(depot);
  const b = new FrameCache(depot);
  for (let round = 0; round < 50; round++) {
    const seen = new Set<number>();
    for (let frame = a.take(); frame !== 0; frame = a.take()) seen.add(frame);
    // What b still caches a can't have; it is two magazines at most.
    expect(seen.size).toBe(40 - b.free);
    expect(seen.size).toBeGreaterThanOrEqual(32);
    for (const frame of seen) b.give(frame);
    expect(a.free + b.free + depot.free).toBe(40);
  }
  expect(depot.exchanges).toBeGreaterThan(0);
});

test('nonsense sizes are refused', () => {
  const arena = new Arena(1 << 20);
  expect(() => new FramePool(arena, 'x', { frames: 0, frameBytes: 64 })).toThrow(RangeError);
  expect(() => new FramePool(arena, 'x', { frames: 1, frameBytes: 100 })).toThrow('multiple of 64');
  expect(() => new FramePool(arena, 'x', { frames: 1, frameBytes: 64, magazine: 0 })).toThrow(RangeError);
  expect(() => new FramePool(arena, 'x', { frames: 1 << 20, frameBytes: 2048 })).toThrow('no room for x');
});
