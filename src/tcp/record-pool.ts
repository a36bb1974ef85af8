/** What is in a transmission record, and the pool that they come from; records.ts says what they are for. */
import type { Arena } from '../memory/arena.ts';

/** One cache line. */
export const RECORD_WORDS = 16;
/** Forward pointers of a record; every eighth one has one more than the rest. */
export const RECORD_LEVELS = 4;
const WORDS = 16;

/** Words of a record. The list's head has the first six too, and those of the ring of lost ones two words on. */
export const RECORD = {
  /** Next record, and the next of at least level 1, 2, 3. */
  NEXT: 0,
  /** Links of the ring that it is in: in flight, or lost. */
  R_NEXT: 4,
  R_PREV: 5,
  START: 6,
  END: 7,
  /** us. */
  SENT: 8,
  /** Its level, and RECORD_STATE's bits. */
  STATE: 9,
  /** While SAMPLED, as of when it was sent: C.delivered, C.delivered_time, C.first_sent_time, in flight, C.lost. */
  DELIVERED: 10,
  DELIVERED_AT: 11,
  FIRST_SENT_AT: 12,
  TX_IN_FLIGHT: 13,
  LOST_THEN: 14,
} as const;
export const RECORD_STATE = {
  SACKED: 1 << 2,
  LOST: 1 << 3,
  /** Sent more than once (and perhaps lost again since). */
  RXT: 1 << 4,
  /** Merged from sendings at several times, of which SENT is the last. */
  MIXED: 1 << 5,
  /** The words for SAMPLED are valid; the program was the limit when it was sent. */
  RATED: 1 << 6,
  APP_LIMITED: 1 << 7,
  /** Split off a MIXED one's front: it was sent at SENT or sooner, nobody knows when. */
  VAGUE: 1 << 8,
} as const;

export class RecordPool {
  readonly count: number;
  inUse = 0;
  readonly #m: Int32Array;
  readonly #base: number;
  /** Freed records, linked through their first word; those never used are taken in order. */
  #top = 0;
  #fresh = 0;
  #random = 0x2545f491;

  constructor(arena: Arena, name: string, count: number) {
    if (!(Number.isInteger(count) && count >= 1))
      throw new RangeError(`a pool takes 1 record or more, not ${count}`);
    this.count = count;
    this.#m = arena.i32;
    this.#base = arena.carveUnzeroed(name, count * WORDS * 4) >> 2;
  }

  /** @returns word index of a record with whatever it held before, or 0 when all are in use. */
  take(): number {
    let r = this.#top;
    if (r !== 0) this.#top = this.#m[r];
    else if (this.#fresh < this.count) r = this.#base + this.#fresh++ * WORDS;
    else return 0;
    this.inUse++;
    return r;
  }

  give(r: number): void {
    this.#m[r] = this.#top;
    this.#top = r;
    this.inUse--;
  }

  /** A new record's highest level: 0, or with probability 1/8 each one more, to 3. */
  level(): number {
    // Marsaglia's xorshift32: nobody gains by guessing it.
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    if ((x & 7) !== 0) return 0;
    if ((x & 0x38) !== 0) return 1;
    return (x & 0x1c0) !== 0 ? 2 : 3;
  }
}
