/**
 * Control blocks of one size, preallocated. A free block's HANDLE holds the complement of its last handle, so
 * that the next one gets a new generation and a stale handle never matches.
 */
import type { Arena } from '../memory/arena.ts';
import type { Kernels } from '../memory/kernels/kernels.ts';
import { BLOCK_BEFORE, TCB } from './block.ts';

const { HANDLE } = TCB;

/** A handle is generation << 21 | index, a positive int32. */
const INDEX_BITS = 21;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
const GENERATION_MASK = 0x3ff;

/** Most blocks that a pool can have. */
export const BLOCKS_MAX = INDEX_MASK;

export class BlockPool {
  readonly capacity: number;
  readonly words: number;
  inUse = 0;
  /** Requests refused for want of a block. */
  exhausted = 0;
  readonly #m: Int32Array;
  readonly #kernels: Kernels;
  /** Word 0 of block 0. */
  readonly #base: number;
  /** Stack of freed blocks; those never used are taken in order, so that their memory stays untouched. */
  readonly #stack: number;
  #stacked = 0;
  #fresh = 0;

  /** @param words Of a block; a multiple of 16, a cache line. */
  constructor(arena: Arena, name: string, capacity: number, words: number) {
    if (!(capacity > 0 && capacity <= BLOCKS_MAX))
      throw new RangeError(`${name}: 1 to ${BLOCKS_MAX}, not ${capacity}`);
    this.capacity = capacity;
    this.words = words;
    this.#m = arena.i32;
    this.#kernels = arena.kernels;
    this.#base = (arena.carve(name, capacity * words * 4) >> 2) + BLOCK_BEFORE;
    this.#stack = arena.carve(`${name} free`, capacity * 4) >> 2;
  }

  /** @returns a zeroed block with its HANDLE set, or 0 when all are in use. */
  take(): number {
    const m = this.#m;
    let t: number;
    if (this.#stacked > 0) {
      t = m[this.#stack + --this.#stacked];
    } else if (this.#fresh < this.capacity) {
      t = this.#base + this.#fresh * this.words;
      m[t + HANDLE] = ~this.#fresh++;
    } else {
      this.exhausted++;
      return 0;
    }
    this.inUse++;
    const last = ~m[t + HANDLE];
    const generation = ((last >> INDEX_BITS) + 1) & GENERATION_MASK;
    this.#kernels.zero((t - BLOCK_BEFORE) << 2, this.words << 2);
    // Generation 0 is left out: handle 0 means none.
    m[t + HANDLE] = ((generation === 0 ? 1 : generation) << INDEX_BITS) | (last & INDEX_MASK);
    return t;
  }

  give(t: number): void {
    const m = this.#m;
    if (m[t + HANDLE] < 0) throw new Error(`assertion: control block ${t} is free already`);
    m[t + HANDLE] = ~m[t + HANDLE];
    m[this.#stack + this.#stacked++] = t;
    this.inUse--;
  }

  /** @returns the block that a handle names, or 0 when it is stale. */
  find(handle: number): number {
    const index = handle & INDEX_MASK;
    if (index >= this.#fresh) return 0;
    const t = this.#base + index * this.words;
    return this.#m[t + HANDLE] === handle ? t : 0;
  }

  /** The block of a number that `slot` gave. */
  at(slot: number): number {
    return this.#base + slot * this.words;
  }

  /** Dense number of a handle's block, [0, capacity): an index for the program's own arrays. */
  static slot(handle: number): number {
    return handle & INDEX_MASK;
  }
}
