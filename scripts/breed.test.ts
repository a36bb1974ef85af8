import { expect, test } from 'vitest';
import { ACTION_WORDS } from '../src/engine/tape.testing.ts';
import { Prng } from '../src/memory/prng.ts';
import { breed, chain, shorten, type Tape } from './breed.ts';

/** Each word tells the tape and the action that it is from. */
function tapeOf(number: number, actions: number): Tape {
  return Int32Array.from({ length: actions * ACTION_WORDS }, (_, i) =>
    Math.trunc(1000 * number + i / ACTION_WORDS),
  );
}

test('new tapes are whole actions after a world, within a length', () => {
  const prng = new Prng(1);
  const corpus = [tapeOf(1, 120), tapeOf(2, 2), tapeOf(3, 60)];
  for (let i = 0; i < 2000; i++) {
    const actions = breed(prng, i < 100 ? [] : corpus).length / ACTION_WORDS;
    expect([Number.isInteger(actions), actions >= 2, actions <= 121]).toEqual([true, true, true]);
  }
});

test('a chain has one world, and actions of many tapes', () => {
  const prng = new Prng(2);
  const corpus = Array.from({ length: 50 }, (_, i) => tapeOf(i + 1, 40));
  let [worlds, mostTapes] = [0, 0];
  for (let i = 0; i < 200; i++) {
    const firsts = chain(prng, corpus).filter((_, at) => at % ACTION_WORDS === 0);
    // Mutations may put a world where another action was, but rarely.
    worlds += firsts.filter((word) => word % 1000 === 0).length;
    mostTapes = Math.max(mostTapes, new Set(firsts.map((word) => Math.trunc(word / 1000))).size);
  }
  expect(worlds).toBeLessThan(2 * 200);
  expect(mostTapes).toBeGreaterThan(16);
});

test('shortening leaves the world and the actions that matter', () => {
  const tape = tapeOf(1, 100);
  const short = shorten(tape, (shorter) => shorter.includes(1017) && shorter.includes(1080));
  expect([...short].filter((_, i) => i % ACTION_WORDS === 0)).toEqual([1000, 1017, 1080]);
});
