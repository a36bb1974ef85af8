/**
 * The table behind an interface's neighbours: entries of int32 words found by a keyed hash of the address, with
 * references that go stale by themselves, and a list of the entries that may be evicted, oldest first. What
 * the words mean over time is in neighbours.ts.
 */

// An entry's words. Entry 0 stays unused, so that index 0 can mean "none".
/** The reference that callers hold while the entry is usable, else 0. */
const REF = 0;
/** 1 when the next use must do more than note the time: not pinned yet, or STALE. */
const ATTENTION = 1;
const USED_MS = 2;
const MAC_HIGH = 3;
const MAC_LOW = 4;
const STATE = 5;
const DEADLINE_MS = 6;
/** Solicitations sent in INCOMPLETE or PROBE. */
const TRIES = 7;
/** When the last probe because of a conflicting claim began. */
const CHALLENGED_MS = 8;
const GENERATION = 9;
/** 4 or 6; 0: the entry is free. */
const VERSION = 10;
const A0 = 11;
const A1 = 12;
const A2 = 13;
const A3 = 14;
/** Next entry in the hash chain, or in the list of free ones. */
const CHAIN = 15;
/** Evictable list. An entry is in it when LISTED is 1. */
const PREV = 16;
const NEXT = 17;
const LISTED = 18;
/** 1 while PROBE asks whether a conflicting claim is true. */
const CHALLENGED = 19;
const WORDS = 20;

/** The layout, for neighbours.ts, as one object: V8 folds a module's own constants, not imported ones. */
export const NEIGHBOUR = {
  REF,
  ATTENTION,
  USED_MS,
  MAC_HIGH,
  MAC_LOW,
  STATE,
  DEADLINE_MS,
  TRIES,
  CHALLENGED_MS,
  GENERATION,
  VERSION,
  A0,
  A1,
  A2,
  A3,
  CHAIN,
  PREV,
  NEXT,
  LISTED,
  CHALLENGED,
  WORDS,
} as const;

/** The one reference of a link without neighbours: index 1, generation 1. */
export const NEIGHBOUR_ALWAYS = 3;

export class NeighbourCache {
  readonly m: Int32Array;
  readonly capacity: number;
  /** Low bits of a reference: the entry's index. The bits above are its generation. */
  readonly indexBits: number;
  readonly indexMask: number;
  readonly #buckets: Int32Array;
  readonly #seed: number;
  #free = 0;
  #oldest = 0;
  #newest = 0;
  /** Rises whenever a neighbour became usable or was given up: those who wait for one should ask again. */
  version = 0;
  /** Entries in use. */
  count = 0;

  /** @param capacity Entries; 0 for a link without neighbours, where one reference is always usable. */
  constructor(capacity: number, seed: number) {
    this.capacity = capacity;
    this.indexBits = 32 - Math.clz32(Math.max(capacity, 1));
    this.indexMask = (1 << this.indexBits) - 1;
    // All indices that a reference can carry are in bounds.
    this.m = new Int32Array((this.indexMask + 1) * WORDS);
    this.#buckets = new Int32Array(this.indexMask + 1);
    this.#seed = seed;
    for (let index = capacity; index > 0; index--) {
      this.m[index * WORDS + CHAIN] = this.#free;
      this.#free = index * WORDS;
    }
    if (capacity === 0) {
      this.m[WORDS + REF] = NEIGHBOUR_ALWAYS;
    }
  }

  /** @returns the entry's word index, or 0. */
  find(version: number, a0: number, a1: number, a2: number, a3: number): number {
    const { m } = this;
    let e = this.#buckets[this.#bucket(a0, a1, a2, a3)];
    while (e !== 0) {
      if (
        m[e + A0] === a0 &&
        m[e + A3] === a3 &&
        m[e + A1] === a1 &&
        m[e + A2] === a2 &&
        m[e + VERSION] === version
      ) {
        return e;
      }
      e = m[e + CHAIN];
    }
    return 0;
  }

  get full(): boolean {
    return this.#free === 0;
  }

  /** The entry that goes first when room is needed, or 0. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Takes a free entry, listed and with no state yet. The caller has seen to it that one is free. */
  create(version: number, a0: number, a1: number, a2: number, a3: number): number {
    const { m } = this;
    const e = this.#free;
    if (e === 0) throw new Error('assertion: no free neighbour entry');
    this.#free = m[e + CHAIN];
    m[e + REF] = 0;
    m[e + ATTENTION] = 1;
    m[e + VERSION] = version;
    m[e + A0] = a0;
    m[e + A1] = a1;
    m[e + A2] = a2;
    m[e + A3] = a3;
    m[e + TRIES] = 0;
    m[e + CHALLENGED] = 0;
    // Generations have what the index leaves of 31 bits, and 0 is none: a reference is always positive.
    const generation = (m[e + GENERATION] + 1) & ((1 << (31 - this.indexBits)) - 1);
    m[e + GENERATION] = generation === 0 ? 1 : generation;
    const bucket = this.#bucket(a0, a1, a2, a3);
    m[e + CHAIN] = this.#buckets[bucket];
    this.#buckets[bucket] = e;
    this.list(e);
    this.count++;
    return e;
  }

  remove(e: number): void {
    const { m } = this;
    const bucket = this.#bucket(m[e + A0], m[e + A1], m[e + A2], m[e + A3]);
    if (this.#buckets[bucket] === e) this.#buckets[bucket] = m[e + CHAIN];
    else {
      let before = this.#buckets[bucket];
      while (m[before + CHAIN] !== e) before = m[before + CHAIN];
      m[before + CHAIN] = m[e + CHAIN];
    }
    this.pin(e);
    m[e + REF] = 0;
    m[e + STATE] = 0;
    m[e + VERSION] = 0;
    m[e + CHAIN] = this.#free;
    this.#free = e;
    this.count--;
  }

  /** Makes an entry evictable, as the newest. */
  list(e: number): void {
    const { m } = this;
    m[e + LISTED] = 1;
    m[e + ATTENTION] = 1;
    m[e + PREV] = this.#newest;
    m[e + NEXT] = 0;
    if (this.#newest === 0) this.#oldest = e;
    else m[this.#newest + NEXT] = e;
    this.#newest = e;
  }

  /** Takes an entry off the evictable ones. */
  pin(e: number): void {
    const { m } = this;
    if (m[e + LISTED] === 0) return;
    m[e + LISTED] = 0;
    const [prev, next] = [m[e + PREV], m[e + NEXT]];
    if (prev === 0) this.#oldest = next;
    else m[prev + NEXT] = next;
    if (next === 0) this.#newest = prev;
    else m[next + PREV] = prev;
  }

  /** Keyed, so that nobody can fill one chain on purpose. */
  #bucket(a0: number, a1: number, a2: number, a3: number): number {
    let h = this.#seed;
    h = Math.imul(h ^ a0, 0x9e3779b1);
    h = Math.imul(h ^ (h >>> 15) ^ a1, 0x85ebca77);
    h = Math.imul(h ^ (h >>> 13) ^ a2, 0xc2b2ae3d);
    h = Math.imul(h ^ (h >>> 16) ^ a3, 0x9e3779b1);
    return (h ^ (h >>> 15)) & this.indexMask;
  }
}

/** First two and last four bytes of a usable reference's hardware address. */
export function neighbourMacHigh(cache: NeighbourCache, ref: number): number {
  return cache.m[(ref & cache.indexMask) * WORDS + MAC_HIGH];
}

export function neighbourMacLow(cache: NeighbourCache, ref: number): number {
  return cache.m[(ref & cache.indexMask) * WORDS + MAC_LOW];
}
