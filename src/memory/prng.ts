/**
 * A small, fast, seeded generator (sfc32) for tests, simulation and fault injection: the same seed gives the
 * same run on every machine. Not for anything an attacker must not guess; that takes a keyed hash.
 */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** @param seed Any number; its low 32 bits count. */
  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = 0x9e3779b9 | 0;
    this.#c = 0x243f6a88;
    // Neighbouring seeds must not give neighbouring runs.
    for (let i = 0; i < 12; i++) this.next();
  }

  /** A uniform int32. */
  next(): number {
    const result = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result;
  }

  /** A uniform integer in [0, n), for n from 1 to 2^32. */
  below(n: number): number {
    return Math.floor(((this.next() >>> 0) / 2 ** 32) * n);
  }

  /** True with probability `p`. */
  bool(p = 0.5): boolean {
    return this.next() >>> 0 < p * 2 ** 32;
  }
}
