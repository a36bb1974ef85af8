/**
 * Where hardware addresses are, as a switch has learned it: a hash table of a fixed size. Buckets have four entries and are
 * one cache line each. An entry is four words: the address's first four bytes; its last two and the port's number + 1,
 * 0 if it is empty; and when it was seen last, s. In a full bucket the one that was silent longest is forgotten.
 */
import type { Arena } from '../memory/arena.ts';

const [FIRST, REST, SEEN] = [0, 1, 2];
const ENTRY_WORDS = 4;
const BUCKET = 4;
const BUCKET_SHIFT = 4;
const LINE = 64;
/** No port. */
export const NOWHERE = -1;
const NONE = NOWHERE;
/** s */
const NEVER_SEEN = 0x7fff_ffff;
const GROUP_BIT = 0x0100_0000;

export class MacTable {
  /** To be set before a batch. */
  now_s = 0;
  /** Addresses that were seen at another port than before, and those forgotten since their place was needed. */
  moves = 0;
  evicted = 0;
  readonly #m: Int32Array;
  /** Word index of the first bucket, and buckets less one. */
  readonly #table: number;
  readonly #mask: number;
  readonly #key: number;
  readonly #ageing: number;

  /**
   * @param addresses A power of two from 4 to 2^20. @param ageing_s How long it knows one that is silent.
   * @param key Secret and random. @throws RangeError @throws ArenaFullError
   */
  constructor(arena: Arena, name: string, addresses: number, ageing_s: number, key: number) {
    if (!(addresses >= BUCKET && addresses <= 2 ** 20 && Number.isInteger(Math.log2(addresses))))
      throw new RangeError(`a switch knows a power of two of addresses from 4 to 2^20, not ${addresses}`);
    if (!(ageing_s > 0)) throw new RangeError(`ageing_s is more than 0, not ${ageing_s}`);
    this.#m = arena.i32;
    this.#table = arena.carve(`${name} addresses`, addresses * ENTRY_WORDS * 4, LINE) >> 2;
    this.#mask = addresses / BUCKET - 1;
    this.#key = key | 0;
    this.#ageing = ageing_s;
  }

  /** @returns the number of the port where an address was seen, or NOWHERE */
  find(first: number, rest: number): number {
    const m = this.#m;
    const bucket = this.#bucket(first, rest);
    for (let e = bucket; e < bucket + BUCKET * ENTRY_WORDS; e += ENTRY_WORDS) {
      if (m[e + FIRST] !== first || m[e + REST] >>> 16 !== rest || m[e + REST] === 0) continue;
      return this.now_s - m[e + SEEN] > this.#ageing ? NONE : (m[e + REST] & 0xff) - 1;
    }
    return NONE;
  }

  /** Notes that an address is at a port. */
  learn(first: number, rest: number, port: number): void {
    if ((first & GROUP_BIT) !== 0 || (first | rest) === 0) return;
    const m = this.#m;
    const bucket = this.#bucket(first, rest);
    const word = (rest << 16) | (port + 1);
    const tick = this.now_s;
    let oldest = bucket;
    let longest = -1;
    for (let e = bucket; e < bucket + BUCKET * ENTRY_WORDS; e += ENTRY_WORDS) {
      if (m[e + FIRST] === first && m[e + REST] !== 0 && m[e + REST] >>> 16 === rest) {
        if (m[e + REST] !== word) {
          if (tick - m[e + SEEN] <= this.#ageing) this.moves++;
          m[e + REST] = word;
        }
        // Most lines stay unwritten for a second.
        if (m[e + SEEN] !== tick) m[e + SEEN] = tick;
        return;
      }
      const silent = m[e + REST] === 0 ? NEVER_SEEN : tick - m[e + SEEN];
      if (silent <= longest) continue;
      longest = silent;
      oldest = e;
    }
    if (longest <= this.#ageing) this.evicted++;
    m[oldest + FIRST] = first;
    m[oldest + REST] = word;
    m[oldest + SEEN] = tick;
  }

  /** Word index of an address's bucket. */
  #bucket(first: number, rest: number): number {
    let h = Math.imul(first ^ this.#key, 0x7feb352d);
    h = Math.imul(h ^ (h >>> 15) ^ rest, 0x846ca68b);
    return this.#table + (((h ^ (h >>> 16)) & this.#mask) << BUCKET_SHIFT);
  }
}
