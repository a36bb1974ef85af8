/**
 * HalfSipHash (Aumasson and Bernstein): a keyed hash of int32 words to an int32, for what a stranger must not
 * be able to predict or to steer: initial sequence numbers, ports, cookies (2-4), hash tables (1-3).
 * All in int32, no allocation: one object serves any number of hashes, one after the other.
 *
 *   hash.start();
 *   hash.word(src);
 *   hash.word(dst);
 *   const tag = hash.finish();
 *
 * It equals the reference over the words' little-endian bytes.
 */
export class HalfSipHash {
  readonly #k0: number;
  readonly #k1: number;
  readonly #roundsWord: number;
  readonly #roundsFinish: number;
  #v0 = 0;
  #v1 = 0;
  #v2 = 0;
  #v3 = 0;
  #words = 0;

  /**
   * @param k0 @param k1 The key: 64 random bits.
   * @param roundsWord @param roundsFinish 2 and 4 unless told; 1 and 3 are enough for hash tables.
   */
  constructor(k0: number, k1: number, roundsWord = 2, roundsFinish = 4) {
    this.#k0 = k0 | 0;
    this.#k1 = k1 | 0;
    this.#roundsWord = roundsWord;
    this.#roundsFinish = roundsFinish;
  }

  start(): void {
    this.#v0 = this.#k0;
    this.#v1 = this.#k1;
    this.#v2 = this.#k0 ^ 0x6c796765;
    this.#v3 = this.#k1 ^ 0x74656462;
    this.#words = 0;
  }

  word(word: number): void {
    this.#v3 ^= word;
    this.#mix(this.#roundsWord);
    this.#v0 ^= word;
    this.#words = (this.#words + 1) | 0;
  }

  /** @returns the hash, an int32. */
  finish(): number {
    // The last block holds the length in bytes, modulo 256, and no bytes: ours come in whole words.
    this.word(this.#words << 26);
    this.#v2 ^= 0xff;
    this.#mix(this.#roundsFinish);
    return this.#v1 ^ this.#v3;
  }

  /**
   * After `finish`: another int32 of the same hash, which tells nothing of the first, as the reference makes its
   * second half.
   */
  finishSecond(): number {
    this.#v1 ^= 0xdd;
    this.#mix(this.#roundsFinish);
    return this.#v1 ^ this.#v3;
  }

  #mix(rounds: number): void {
    let v0 = this.#v0;
    let v1 = this.#v1;
    let v2 = this.#v2;
    let v3 = this.#v3;
    for (let i = 0; i < rounds; i++) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    this.#v0 = v0;
    this.#v1 = v1;
    this.#v2 = v2;
    this.#v3 = v3;
  }
}
