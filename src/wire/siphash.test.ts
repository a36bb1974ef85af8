import { expect, test } from 'vitest';
import { HalfSipHash } from './siphash.ts';

const K0 = 0x03020100;
const K1 = 0x07060504;

/** The reference's input: bytes 0, 1, 2 …, as little-endian words. */
function hashWords(hash: HalfSipHash, words: number): number {
  hash.start();
  for (let i = 0; i < words * 4; i += 4) hash.word(((i + 3) << 24) | ((i + 2) << 16) | ((i + 1) << 8) | i);
  return hash.finish() >>> 0;
}

test('2-4 gives the reference vectors for whole words', () => {
  const hash = new HalfSipHash(K0, K1);
  const got = [0, 1, 2, 3, 4, 5, 6, 7].map((words) => hashWords(hash, words));
  expect(got).toEqual([
    0x5b9f35a9, 0x89466e2a, 0x8f84b8d0, 0x2f87f057, 0x84acb5d9, 0x45104de3, 0x630c4027, 0x004064b0,
  ]);
});

test('1-3 gives the vectors of the Linux kernel', () => {
  const hash = new HalfSipHash(K0, K1, 1, 3);
  const got = [0, 1, 2, 3, 4, 5, 6, 7, 15].map((words) => hashWords(hash, words));
  expect(got).toEqual([
    0x5814c896, 0x7e059ea6, 0x577999b1, 0x6b28096c, 0x8b31d501, 0x911bb605, 0x57150ad7, 0x0a4100d0,
    0x88b4c4cc,
  ]);
});

test('the second half depends on the key, and on the words as a whole', () => {
  const seen = new Set<number>();
  for (const [k0, k1] of [
    [K0, K1],
    [K0, K1 ^ 1],
    [K0 ^ (1 << 31), K1],
  ]) {
    const hash = new HalfSipHash(k0, k1);
    for (let words = 0; words < 8; words++) {
      const first = hashWords(hash, words) | 0;
      seen.add(first);
      seen.add(hash.finishSecond());
    }
  }
  expect(seen.size).toBe(3 * 8 * 2);
});
