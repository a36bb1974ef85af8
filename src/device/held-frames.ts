/**
 * The frames that are under way in an emulated network: buffers of one size in the arena, named by a small integer. Whoever holds
 * that integer owns the frame (a link's queue, the world's events while it propagates, a NIC until its engine
 * takes it), and hands it on or gives it back. Hosts copy frames in and out, so that no engine can touch what is
 * under way.
 */
import type { Arena } from '../memory/arena.ts';

export class Frames {
  readonly arena: Arena;
  /** Room in each buffer. */
  readonly bytes: number;
  readonly count: number;
  /** By frame: where its buffer is, and how much of it is the frame. */
  readonly at: Int32Array;
  readonly length: Int32Array;
  /** 1: bits of it were flipped on the way. */
  readonly damaged: Uint8Array;
  /** The next one in whatever list its owner keeps; -1: none. */
  readonly next: Int32Array;
  /** The link that it is on. */
  readonly link: Int32Array;
  /** When it joined a link's queue, ns. */
  readonly queuedAt: Float64Array;
  /** take() found none left. */
  exhausted = 0;
  inUse = 0;
  /** A frame that is never taken, for a look at what can't be sent. */
  readonly spare: number;
  #free = -1;
  #fresh = 0;

  constructor(arena: Arena, count: number, bytes: number) {
    this.arena = arena;
    this.bytes = bytes;
    this.count = count;
    this.spare = count;
    this.at = new Int32Array(count + 1);
    this.length = new Int32Array(count + 1);
    this.damaged = new Uint8Array(count);
    this.next = new Int32Array(count);
    this.link = new Int32Array(count);
    this.queuedAt = new Float64Array(count);
    // An odd number of lines apart, so that they don't share cache sets.
    const stride = (((bytes + 63) >> 6) | 1) << 6;
    const base = arena.carveUnzeroed('frames under way', (count + 1) * stride);
    for (let f = 0; f <= count; f++) this.at[f] = base + f * stride;
  }

  /** @returns an undamaged frame of undefined content, or -1 (counted). */
  take(length: number): number {
    let f = this.#free;
    if (f >= 0) this.#free = this.next[f];
    else if (this.#fresh < this.count) f = this.#fresh++;
    else {
      this.exhausted++;
      return -1;
    }
    if (length > this.bytes)
      throw new RangeError(`assertion: a frame of ${length} B in a world of ${this.bytes}`);
    this.inUse++;
    this.length[f] = length;
    this.damaged[f] = 0;
    this.next[f] = -1;
    return f;
  }

  give(f: number): void {
    this.next[f] = this.#free;
    this.#free = f;
    this.inUse--;
  }

  /** @returns a frame with the same content, or -1. */
  copy(f: number): number {
    const double = this.take(this.length[f]);
    if (double < 0) return -1;
    this.damaged[double] = this.damaged[f];
    this.arena.kernels.copy(this.at[double], this.at[f], this.length[f]);
    return double;
  }
}
