/** The arena is carved once, and as new after `reset`. */
import { expect, test } from 'vitest';
import { Arena, ArenaFullError } from './arena.ts';

test('regions are aligned, zeroed, and apart', () => {
  const arena = new Arena(65_536);
  const a = arena.carve('a', 10);
  const b = arena.carve('b', 100, 4096);
  expect([a % 64, b % 4096]).toEqual([0, 0]);
  expect(b).toBeGreaterThanOrEqual(a + 10);
  expect(() => arena.carve('c', 65_536)).toThrow(ArenaFullError);
});

test('reset makes it as new: empty, and zeroed as far as it was carved', () => {
  const arena = new Arena(65_536);
  const free = arena.bytesFree;
  const at = arena.carve('a', 1000);
  arena.u8.fill(7, at, at + 1000);
  arena.reset();
  expect(arena.bytesFree).toBe(free);
  expect(arena.regions).toEqual([]);
  expect(arena.carve('b', 1000)).toBe(at);
  expect(arena.u8.subarray(at, at + 1000).every((byte) => byte === 0)).toBe(true);
});
