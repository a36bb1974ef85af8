import { expect, test } from 'vitest';
import { Prng } from './prng.ts';

test('the same seed gives the same run, neighbouring seeds different ones', () => {
  const run = (seed: number) => {
    const prng = new Prng(seed);
    return Array.from({ length: 8 }, () => prng.next());
  };
  expect(run(7)).toEqual(run(7));
  expect(run(7).filter((word) => run(8).includes(word))).toEqual([]);
  for (const word of run(7)) expect(word).toBe(word | 0);
});

test('below() and bool() stay in range and are even', () => {
  const prng = new Prng(1);
  const counts = new Array<number>(10).fill(0);
  let yes = 0;
  for (let i = 0; i < 100_000; i++) {
    counts[prng.below(10)] += 1;
    if (prng.bool(0.25)) yes += 1;
  }
  // 100,000 draws: 10,000 each, standard deviation 95; five of them allowed.
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(475);
  expect(Math.abs(yes - 25_000)).toBeLessThan(685);
  expect(counts.reduce((a, b) => a + b)).toBe(100_000);
  expect(prng.bool(0)).toBe(false);
  expect(prng.bool(1)).toBe(true);
});
