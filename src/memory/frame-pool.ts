/**
 * The pool of frames: uniform packet buffers, taken and given back without searching. It is Bonwick and Adams'
 * magazine layer ("Magazines and Vmem", USENIX ATC 2001): a core works from two magazines of free frames, and
 * exchanges a whole one with the depot only after a full magazine of takes or gives in one direction.
 *
 *     take/give ──► loaded, previous ◄── whole magazines ──► depot: full | empty | never touched
 *                   FrameCache, per core                     FrameDepot, shared
 *
 * With two magazines, a core that alternates around a magazine's edge doesn't go to the depot at each step.
 * Frames that nobody has used yet come from a counter, so that their pages stay untouched.
 */
import type { Arena } from './arena.ts';

export interface FramePoolOptions {
  readonly frames: number;
  /** From one frame's start to the next one's, bytes; a multiple of 64. */
  readonly frameBytes: number;
  /** Frames in a magazine. 64 unless told: the usual burst, so a burst exchanges at most once. */
  readonly magazine?: number;
  /** Of the first frame, bytes; a cache line unless told. Who maps frames for a kernel wants pages. */
  readonly align?: number;
}

/** Full and empty magazines, and the frames never used. A magazine is named by its word index. */
export class FrameDepot {
  readonly m: Int32Array;
  readonly frames: number;
  readonly frameBytes: number;
  readonly magazine: number;
  /** Byte offset of the first frame. */
  readonly base: number;
  /** Magazines handed to or taken from caches. */
  exchanges = 0;
  /** Byte offset of the first frame never used. */
  #fresh: number;
  readonly #end: number;
  /** Two stacks of magazines, in the arena. */
  readonly #full: number;
  readonly #empty: number;
  #fullCount = 0;
  #emptyCount = 0;

  /** @param caches How many FrameCaches it will serve at most; each keeps two magazines. */
  constructor(arena: Arena, name: string, options: FramePoolOptions, caches = 1) {
    const { frames, frameBytes, magazine = 64, align = 64 } = options;
    if (!(Number.isInteger(frames) && frames >= 1))
      throw new RangeError(`a pool takes 1 frame or more, not ${frames}`);
    if (!(frameBytes >= 64 && frameBytes % 64 === 0)) {
      throw new RangeError(`frameBytes is a multiple of 64, not ${frameBytes}`);
    }
    if (!(Number.isInteger(magazine) && magazine >= 1)) {
      throw new RangeError(`a magazine holds 1 frame or more, not ${magazine}`);
    }
    this.m = arena.i32;
    this.frames = frames;
    this.frameBytes = frameBytes;
    this.magazine = magazine;
    // Enough for every frame to sit in a full magazine while each cache holds two that are not.
    const magazines = Math.ceil(frames / magazine) + 2 * caches;
    const words = arena.carve(`${name} magazines`, magazines * (magazine + 2) * 4) >> 2;
    this.#full = words + magazines * magazine;
    this.#empty = this.#full + magazines;
    for (let i = 0; i < magazines; i++) this.m[this.#empty + this.#emptyCount++] = words + i * magazine;
    this.base = arena.carveUnzeroed(name, frames * frameBytes, align);
    this.#fresh = this.base;
    this.#end = this.base + frames * frameBytes;
  }

  /** Frames here, in full magazines or never used. */
  get free(): number {
    return this.#fullCount * this.magazine + (this.#end - this.#fresh) / this.frameBytes;
  }

  /** An empty magazine. */
  takeEmpty(): number {
    if (this.#emptyCount === 0) throw new Error('more frames were given back than the pool has');
    return this.m[this.#empty + --this.#emptyCount];
  }

  /** A full magazine for an empty one, or 0 (and the empty one isn't taken). */
  exchangeEmpty(empty: number): number {
    if (this.#fullCount === 0) return 0;
    this.m[this.#empty + this.#emptyCount++] = empty;
    this.exchanges++;
    return this.m[this.#full + --this.#fullCount];
  }

  /** An empty magazine for a full one. */
  exchangeFull(full: number): number {
    const empty = this.takeEmpty();
    this.m[this.#full + this.#fullCount++] = full;
    this.exchanges++;
    return empty;
  }

  /** Puts never used frames into an empty magazine. @returns how many; 0 when all were used. */
  fillFresh(magazine: number): number {
    const count = Math.min(this.magazine, (this.#end - this.#fresh) / this.frameBytes) | 0;
    // Downwards, so that they are taken in ascending order.
    for (let i = count - 1; i >= 0; i--, this.#fresh += this.frameBytes) this.m[magazine + i] = this.#fresh;
    return count;
  }

  /** For audits: every free frame here. */
  forEachFree(visit: (frame: number) => void): void {
    for (let i = 0; i < this.#fullCount; i++) {
      const magazine = this.m[this.#full + i];
      for (let k = 0; k < this.magazine; k++) visit(this.m[magazine + k]);
    }
    for (let frame = this.#fresh; frame < this.#end; frame += this.frameBytes) visit(frame);
  }
}

/** One core's two magazines. `previous` is always full or empty, `loaded` anything between. */
export class FrameCache {
  taken = 0;
  given = 0;
  /** Calls that got fewer frames than they asked for. */
  exhausted = 0;
  readonly #depot: FrameDepot;
  readonly #m: Int32Array;
  readonly #size: number;
  #loaded: number;
  #rounds = 0;
  #previous: number;
  #previousRounds = 0;

  constructor(depot: FrameDepot) {
    this.#depot = depot;
    this.#m = depot.m;
    this.#size = depot.magazine;
    this.#loaded = depot.takeEmpty();
    this.#previous = depot.takeEmpty();
  }

  get free(): number {
    return this.#rounds + this.#previousRounds;
  }

  take(): number {
    if (this.#rounds === 0 && !this.#refill()) {
      this.exhausted++;
      return 0;
    }
    this.taken++;
    return this.#m[this.#loaded + --this.#rounds];
  }

  give(frame: number): void {
    if (this.#rounds === this.#size) this.#makeRoom();
    this.#m[this.#loaded + this.#rounds++] = frame;
    this.given++;
  }

  takeBulk(out: Int32Array, n: number): number {
    let done = 0;
    while (done < n) {
      if (this.#rounds === 0 && !this.#refill()) {
        this.exhausted++;
        break;
      }
      const run = Math.min(this.#rounds, n - done);
      const top = this.#loaded + this.#rounds - 1;
      for (let i = 0; i < run; i++) out[done + i] = this.#m[top - i];
      this.#rounds -= run;
      done += run;
    }
    this.taken += done;
    return done;
  }

  giveBulk(from: Int32Array, n: number): void {
    let done = 0;
    while (done < n) {
      if (this.#rounds === this.#size) this.#makeRoom();
      const run = Math.min(this.#size - this.#rounds, n - done);
      const top = this.#loaded + this.#rounds;
      for (let i = 0; i < run; i++) this.#m[top + i] = from[done + i];
      this.#rounds += run;
      done += run;
    }
    this.given += n;
  }

  /** For audits: every free frame here. */
  forEachFree(visit: (frame: number) => void): void {
    for (let i = 0; i < this.#rounds; i++) visit(this.#m[this.#loaded + i]);
    for (let i = 0; i < this.#previousRounds; i++) visit(this.#m[this.#previous + i]);
  }

  /** `loaded` is empty: makes it hold something, or returns false. */
  #refill(): boolean {
    if (this.#previousRounds !== 0) {
      this.#swap();
      return true;
    }
    const full = this.#depot.exchangeEmpty(this.#previous);
    if (full === 0) {
      this.#rounds = this.#depot.fillFresh(this.#loaded);
      return this.#rounds !== 0;
    }
    this.#previous = this.#loaded;
    this.#loaded = full;
    this.#rounds = this.#size;
    return true;
  }

  /** `loaded` is full: makes it an empty one. */
  #makeRoom(): void {
    if (this.#previousRounds === 0) {
      this.#swap();
      return;
    }
    const empty = this.#depot.exchangeFull(this.#previous);
    this.#previous = this.#loaded;
    this.#loaded = empty;
    this.#rounds = 0;
  }

  #swap(): void {
    const loaded = this.#loaded;
    const rounds = this.#rounds;
    this.#loaded = this.#previous;
    this.#rounds = this.#previousRounds;
    this.#previous = loaded;
    this.#previousRounds = rounds;
  }
}

/** A depot and the cache of the one core that uses it. A frame belongs to its taker until it is given back. */
export class FramePool {
  readonly depot: FrameDepot;
  readonly cache: FrameCache;
  /** From one frame's start to the next one's, bytes. */
  readonly frameBytes: number;
  readonly #base: number;

  constructor(arena: Arena, name: string, options: FramePoolOptions) {
    this.depot = new FrameDepot(arena, name, options);
    this.cache = new FrameCache(this.depot);
    this.#base = this.depot.base;
    this.frameBytes = this.depot.frameBytes;
  }

  /** Byte offset of a frame whose content is undefined, or 0 when none is left. */
  take(): number {
    return this.cache.take();
  }

  /** @param frame What take() returned, not an offset inside it; see {@link frameOf}. */
  give(frame: number): void {
    this.cache.give(frame);
  }

  /** Up to `n` frames into `out[0, n)`. @returns how many. */
  takeBulk(out: Int32Array, n: number): number {
    return this.cache.takeBulk(out, n);
  }

  giveBulk(from: Int32Array, n: number): void {
    this.cache.giveBulk(from, n);
  }

  /** Start of the frame that holds the byte at `offset`. */
  frameOf(offset: number): number {
    return (offset - (((offset - this.#base) | 0) % this.frameBytes)) | 0;
  }

  get frames(): number {
    return this.depot.frames;
  }

  get free(): number {
    return this.depot.free + this.cache.free;
  }

  get inUse(): number {
    return this.frames - this.free;
  }

  get counters(): { taken: number; given: number; exhausted: number; exchanges: number } {
    const { taken, given, exhausted } = this.cache;
    return { taken, given, exhausted, exchanges: this.depot.exchanges };
  }

  /** For tests and assertions; walks every free frame. @throws when one is free twice, or is no frame of ours. */
  audit(): void {
    const seen = new Uint8Array(this.frames);
    let free = 0;
    const visit = (frame: number) => {
      const index = (frame - this.#base) / this.frameBytes;
      if (!(Number.isInteger(index) && index >= 0 && index < this.frames))
        throw new Error(`${frame} is no frame`);
      if (seen[index]++ !== 0) throw new Error(`the frame at ${frame} was given back twice`);
      free++;
    };
    this.depot.forEachFree(visit);
    this.cache.forEachFree(visit);
    const { taken, given } = this.cache;
    if (free !== this.free || this.inUse !== taken - given) {
      throw new Error(`of ${this.frames} frames ${free} are free and ${taken - given} out`);
    }
  }
}
