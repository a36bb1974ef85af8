import { expect, test } from 'vitest';
import { Arena, ArenaFullError } from './arena.ts';

test('hands out zeroed, aligned memory until it is full, and says what took it', () => {
  const arena = new Arena(65_536);
  const a = arena.carve('a', 10);
  const b = arena.carve('b', 10, 256);
  expect([a, b % 256]).toEqual([64, 0]);
  expect(() => arena.carve('c', 65_536)).toThrow(ArenaFullError);
  expect(() => arena.carve('c', 65_536)).toThrow('carved: a 10, b 10');
});

test('reset gives all of it back, and zeroes what is carved again, except where it may be anything', () => {
  const arena = new Arena(65_536);
  arena.u8.fill(7, arena.carve('a', 1001, 1), 1065);
  arena.reset();
  expect(arena.regions).toEqual([]);
  const dirty = arena.carveUnzeroed('b', 100);
  expect([dirty, arena.u8[dirty]]).toEqual([64, 7]);
  const odd = arena.carve('c', 3, 1);
  const odder = arena.carve('e', 6, 1);
  expect([...arena.u8.subarray(odd, odder + 7)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
  const rest = arena.carve('d', 5000);
  expect(arena.u8.subarray(rest, rest + 5000).every((byte) => byte === 0)).toBe(true);
});
