/**
 * Rings of fixed-size records between threads, in the arena that both share. Neither waits nor calls the
 * kernel; who finds a ring empty decides how to wait.
 *
 * An Atomics access costs 7 to 10 ns where a plain one costs 0.5, so there is one store per batch, and each
 * side keeps its last reading of the other's index and reads anew only when that isn't enough. Plain
 * writes made before an Atomics.store are seen by whoever reads what it stored (ECMA-262 29, memory model).
 *
 *     line 0   slots, words          set once
 *     line 1   head                  next record to take: written by the consumer
 *     line 2   tail                  next slot to fill: written by the producer, or claimed by one of several
 *     line 3…  the slots
 *
 * Indices run freely over int32 and are masked on use.
 */
import type { Arena } from './arena.ts';

const LINE_WORDS = 16;
/** Word offsets from the ring's first word. */
const SLOTS = 0;
const WORDS = 1;
const HEAD = LINE_WORDS;
const TAIL = 2 * LINE_WORDS;
const DATA = 3 * LINE_WORDS;

export interface RingOptions {
  /** Power of two, 2 or more. */
  readonly slots: number;
  /** int32 words in a record; 1 unless told. */
  readonly words?: number;
}

/** @returns the ring's word index. */
function carveRing(arena: Arena, name: string, options: RingOptions, headerWords: number): number {
  const { slots, words = 1 } = options;
  if (!(slots >= 2 && slots <= 2 ** 24 && (slots & (slots - 1)) === 0)) {
    throw new RangeError(`a ring takes a power of two of slots from 2 to 2^24, not ${slots}`);
  }
  if (!(Number.isInteger(words) && words >= 1))
    throw new RangeError(`a record takes 1 word or more, not ${words}`);
  const at = arena.carve(name, (DATA + slots * (words + headerWords)) * 4) >> 2;
  arena.i32[at + SLOTS] = slots;
  arena.i32[at + WORDS] = words;
  return at;
}

/**
 * One producer thread, one consumer thread. Each has an object of its own over the same ring: one carves it,
 * tells the other `at`, and the other attaches.
 */
export class SpscRing {
  readonly at: number;
  readonly slots: number;
  readonly words: number;
  readonly #m: Int32Array;
  /** The producer's own index, and the consumer's as it last saw it. */
  #tail: number;
  #headSeen: number;
  /** The consumer's own index, and the producer's as it last saw it. */
  #head: number;
  #tailSeen: number;

  static carve(arena: Arena, name: string, options: RingOptions): SpscRing {
    return new SpscRing(arena.i32, carveRing(arena, name, options, 0));
  }

  /** Attaches. @param m The arena's words. @param at `at` of the ring that was carved. */
  constructor(m: Int32Array, at: number) {
    this.at = at;
    this.slots = m[at + SLOTS];
    this.words = m[at + WORDS];
    this.#m = m;
    this.#head = this.#headSeen = Atomics.load(m, at + HEAD);
    this.#tail = this.#tailSeen = Atomics.load(m, at + TAIL);
  }

  /** Adds up to `n` records from `from[start…]`. @returns how many; fewer when the ring is full. */
  push(from: Int32Array, start: number, n: number): number {
    const m = this.#m;
    const { at, slots, words } = this;
    const tail = this.#tail;
    let room = (slots - ((tail - this.#headSeen) | 0)) | 0;
    if (room < n) {
      this.#headSeen = Atomics.load(m, at + HEAD);
      room = (slots - ((tail - this.#headSeen) | 0)) | 0;
    }
    const count = Math.min(room, n);
    if (count <= 0) return 0;
    const first = tail & (slots - 1);
    const whole = Math.min(count, slots - first);
    copyWords(m, at + DATA + first * words, from, start, whole * words);
    copyWords(m, at + DATA, from, start + whole * words, (count - whole) * words);
    this.#tail = (tail + count) | 0;
    Atomics.store(m, at + TAIL, this.#tail);
    return count;
  }

  /** Takes up to `n` records into `to[start…]`. @returns how many. */
  pop(to: Int32Array, start: number, n: number): number {
    const m = this.#m;
    const { at, slots, words } = this;
    const head = this.#head;
    let ready = (this.#tailSeen - head) | 0;
    if (ready < n) {
      this.#tailSeen = Atomics.load(m, at + TAIL);
      ready = (this.#tailSeen - head) | 0;
    }
    const count = Math.min(ready, n);
    if (count <= 0) return 0;
    const first = head & (slots - 1);
    const whole = Math.min(count, slots - first);
    copyWords(to, start, m, at + DATA + first * words, whole * words);
    copyWords(to, start + whole * words, m, at + DATA, (count - whole) * words);
    this.#head = (head + count) | 0;
    Atomics.store(m, at + HEAD, this.#head);
    return count;
  }
}

/** A slot of an MpscRing: two words before the record. */
const SLOT_SEQUENCE = 0;
/** In the first slot of a run: how many records it has. */
const SLOT_RUN = 1;
const SLOT_WORDS = 2;

/**
 * Several producer threads, one consumer thread: Vyukov's bounded queue, by runs. A producer claims a run of
 * slots by moving `tail`, fills them, and publishes the run by the sequence word of its first slot, which is
 * that slot's index once the consumer has released it, and index + 1 once published. (The two differ modulo
 * `slots`, so one lap's value is never mistaken for another's.)
 *
 * A producer that is suspended between claim and publication holds up the runs behind it, not the threads.
 */
export class MpscRing {
  readonly at: number;
  readonly slots: number;
  readonly words: number;
  readonly #m: Int32Array;
  /** A producer's last sight of the consumer's index. */
  #headSeen: number;
  /** The consumer's own index, and how many records of the run there it has not taken yet. */
  #head: number;
  #run = 0;

  static carve(arena: Arena, name: string, options: RingOptions): MpscRing {
    const at = carveRing(arena, name, options, SLOT_WORDS);
    const words = arena.i32[at + WORDS];
    for (let i = 0; i < options.slots; i++)
      arena.i32[at + DATA + i * (SLOT_WORDS + words) + SLOT_SEQUENCE] = i;
    return new MpscRing(arena.i32, at);
  }

  /** Attaches a producer, or the consumer before it has taken anything. */
  constructor(m: Int32Array, at: number) {
    this.at = at;
    this.slots = m[at + SLOTS];
    this.words = m[at + WORDS];
    this.#m = m;
    this.#head = this.#headSeen = Atomics.load(m, at + HEAD);
  }

  /** Adds up to `n` records from `from[start…]`. @returns how many; fewer when the ring is full. */
  push(from: Int32Array, start: number, n: number): number {
    const m = this.#m;
    const { at, slots, words } = this;
    let tail = Atomics.load(m, at + TAIL);
    let count = 0;
    for (;;) {
      let room = (slots - ((tail - this.#headSeen) | 0)) | 0;
      if (room < n) {
        this.#headSeen = Atomics.load(m, at + HEAD);
        room = (slots - ((tail - this.#headSeen) | 0)) | 0;
      }
      count = Math.min(room, n);
      if (count <= 0) return 0;
      const found = Atomics.compareExchange(m, at + TAIL, tail, (tail + count) | 0);
      if (found === tail) break;
      tail = found;
    }
    const stride = SLOT_WORDS + words;
    for (let i = 0; i < count; i++) {
      const slot = at + DATA + ((tail + i) & (slots - 1)) * stride;
      copyWords(m, slot + SLOT_WORDS, from, start + i * words, words);
    }
    const first = at + DATA + (tail & (slots - 1)) * stride;
    m[first + SLOT_RUN] = count;
    Atomics.store(m, first + SLOT_SEQUENCE, (tail + 1) | 0);
    return count;
  }

  /** Takes up to `n` records into `to[start…]`, each producer's in its order. @returns how many. */
  pop(to: Int32Array, start: number, n: number): number {
    const m = this.#m;
    const { at, slots, words } = this;
    const stride = SLOT_WORDS + words;
    let done = 0;
    while (done < n) {
      const slot = at + DATA + (this.#head & (slots - 1)) * stride;
      if (this.#run === 0) {
        if (Atomics.load(m, slot + SLOT_SEQUENCE) !== ((this.#head + 1) | 0)) break;
        this.#run = m[slot + SLOT_RUN];
        m[slot + SLOT_SEQUENCE] = this.#head;
      }
      copyWords(to, start + done * words, m, slot + SLOT_WORDS, words);
      this.#head = (this.#head + 1) | 0;
      this.#run--;
      done++;
    }
    // Releases the slots, and the sequence words with them.
    if (done > 0) Atomics.store(m, at + HEAD, this.#head);
    return done;
  }
}

function copyWords(to: Int32Array, toAt: number, from: Int32Array, fromAt: number, words: number): void {
  for (let i = 0; i < words; i++) to[toAt + i] = from[fromAt + i];
}
