import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena } from './arena.ts';
import { CHUNK_HEADER_BYTES, CHUNK_NEXT, ChunkPool } from './chunks.ts';

test('any sequence of takes and gives is a stack over the counter', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.array(fc.tuple(fc.boolean(), fc.nat(100)), { maxLength: 200, size: 'max' }),
      (count, ops) => {
        const arena = new Arena(1 << 20);
        const pool = new ChunkPool(arena, 'chunks', count, 128);
        const held: number[] = [];
        const returned: number[] = [];
        let fresh = 0;
        let exhausted = 0;
        for (const [take, n] of ops) {
          if (take) {
            const chunk = pool.take();
            if (returned.length > 0) expect(chunk).toBe(returned.pop());
            else if (fresh === count) {
              expect(chunk).toBe(0);
              exhausted++;
              continue;
            } else fresh++;
            expect(chunk % 64).toBe(0);
            expect(held).not.toContain(chunk);
            expect(arena.i32[(chunk >> 2) + CHUNK_NEXT]).toBe(0);
            // The owner may write all of it.
            arena.u8.fill(0xff, chunk, chunk + CHUNK_HEADER_BYTES + pool.dataBytes);
            held.push(chunk);
          } else if (held.length > 0) {
            const [chunk] = held.splice(n % held.length, 1);
            pool.give(chunk);
            returned.push(chunk);
          }
          expect(pool.inUse).toBe(held.length);
          expect(pool.free).toBe(count - held.length);
          pool.audit();
        }
        expect(pool.exhausted).toBe(exhausted);
      },
    ),
  );
});

test('headers spread over all sets of a cache', () => {
  const pool = new ChunkPool(new Arena(1 << 20), 'chunks', 64);
  const sets = new Set(Array.from({ length: 64 }, () => (pool.take() / 64) % 64));
  expect(sets.size).toBe(64);
});

test('a chunk given back twice, or one that isn’t ours, is found', () => {
  const pool = new ChunkPool(new Arena(1 << 20), 'chunks', 4);
  const chunk = pool.take();
  const other = pool.take();
  pool.give(chunk);
  pool.give(other);
  pool.give(chunk);
  expect(() => pool.audit()).toThrow('given back twice');

  const foreign = new ChunkPool(new Arena(1 << 20), 'chunks', 4);
  foreign.give(foreign.take() + 64);
  expect(() => foreign.audit()).toThrow('is no chunk');
});

test('nonsense sizes are refused', () => {
  const arena = new Arena(1 << 20);
  expect(() => new ChunkPool(arena, 'x', 0)).toThrow(RangeError);
  expect(() => new ChunkPool(arena, 'x', 1, 100)).toThrow('multiple of 64');
  expect(() => new ChunkPool(arena, 'x', 1 << 20)).toThrow('no room for x');
});
