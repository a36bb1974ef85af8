/**
 * Where hardware addresses are, as a switch has learned it: a hash table of a fixed size. Buckets have four entries and are
 * one cache line each. In a full bucket the one that was silent longest is forgotten. The kernels know its layout (see
 * memory/kernels/assembly/switch.ts); here it is made, and asked about single frames.
 *
 * An address is two numbers: its first four bytes, and its last two, little-endian as they stand in a frame.
 */
import type { Arena } from '../memory/arena.ts';

/** Words of the table's first line; the buckets follow it. */
const [NOW, AGEING, KEY, MASK, MOVES, EVICTED] = [0, 1, 2, 3, 4, 5];
const LINE = 64;
const ENTRY_BYTES = 16;
const BUCKET = 4;

export class MacTable {
  /** Byte offset, for `Kernels.switchFrames`. */
  readonly table: number;
  readonly #arena: Arena;
  readonly #line: number;

  /**
   * @param addresses A power of two from 4 to 2^20. @param ageing_s How long it knows one that is silent.
   * @param key Secret and random. @throws RangeError @throws ArenaFullError
   */
  constructor(arena: Arena, name: string, addresses: number, ageing_s: number, key: number) {
    if (!(addresses >= BUCKET && addresses <= 2 ** 20 && Number.isInteger(Math.log2(addresses))))
      throw new RangeError(`a switch knows a power of two of addresses from 4 to 2^20, not ${addresses}`);
    if (!(ageing_s > 0)) throw new RangeError(`ageing_s is more than 0, not ${ageing_s}`);
    this.#arena = arena;
    this.table = arena.carve(`${name} addresses`, LINE + addresses * ENTRY_BYTES, LINE);
    this.#line = this.table >> 2;
    const m = arena.i32;
    m[this.#line + AGEING] = ageing_s;
    m[this.#line + KEY] = key;
    m[this.#line + MASK] = addresses / BUCKET - 1;
  }

  /** To be set before a batch, s. */
  set now_s(now_s: number) {
    this.#arena.i32[this.#line + NOW] = now_s;
  }

  /** Addresses that were seen at another port than before, … */
  get moves(): number {
    return this.#arena.i32[this.#line + MOVES] >>> 0;
  }

  /** … and those forgotten since their place was needed. */
  get evicted(): number {
    return this.#arena.i32[this.#line + EVICTED] >>> 0;
  }

  /** @returns the number of the port where an address was seen, or -1 */
  find(first: number, rest: number): number {
    return this.#arena.kernels.macFind(this.table, first, rest);
  }

  /** Notes that an address is at a port. */
  learn(first: number, rest: number, port: number): void {
    this.#arena.kernels.macLearn(this.table, first, rest, port);
  }
}
