/**
 * The pool of chunks: what queues of bytes are made of. A chunk is a header of CHUNK_HEADER_BYTES and the data
 * after it. The free ones form a stack through CHUNK_NEXT, so that the chunk given back last, which the cache
 * still has, is taken first; those never used come from a counter, and their pages stay untouched.
 */
import type { Arena } from './arena.ts';
import type { Kernels } from './kernels/kernels.ts';

export const CHUNK_HEADER_BYTES = 32;
/** Header word 0: byte offset of the next chunk, or 0. The other seven words are the chunk's owner's. */
export const CHUNK_NEXT = 0;
/** Its copy for the code below: V8 folds only what isn't exported. */
const NEXT = 0;

/**
 * 33 cache lines. An even number of lines would put the headers, and the first bytes of data, of all chunks in
 * a fraction of the cache's sets (2,048 B: in 2 of 64); an odd one spreads them over all.
 */
const CHUNK_BYTES = 2112;

export class ChunkPool {
  /** The arena's, for those who work on chunks. */
  readonly m: Int32Array;
  readonly u8: Uint8Array;
  readonly kernels: Kernels;
  readonly count: number;
  /** Bytes of data in a chunk. */
  readonly dataBytes: number;
  /** take() found none left. */
  exhausted = 0;
  /** Scratch of byte-queue.ts: how many bytes fit where it is about to write. */
  room = 0;
  readonly #base: number;
  readonly #stride: number;
  readonly #end: number;
  #top = 0;
  #fresh: number;
  #free: number;

  /** @param chunkBytes From one chunk's start to the next one's; a multiple of 64. */
  constructor(arena: Arena, name: string, count: number, chunkBytes = CHUNK_BYTES) {
    if (!(Number.isInteger(count) && count >= 1))
      throw new RangeError(`a pool takes 1 chunk or more, not ${count}`);
    if (!(chunkBytes >= 64 && chunkBytes % 64 === 0)) {
      throw new RangeError(`chunkBytes is a multiple of 64, not ${chunkBytes}`);
    }
    this.m = arena.i32;
    this.u8 = arena.u8;
    this.kernels = arena.kernels;
    this.count = count;
    this.dataBytes = chunkBytes - CHUNK_HEADER_BYTES;
    this.#base = arena.carveUnzeroed(name, count * chunkBytes);
    this.#stride = chunkBytes;
    this.#end = this.#base + count * chunkBytes;
    this.#fresh = this.#base;
    this.#free = count;
  }

  /** Byte offset of a chunk whose CHUNK_NEXT is 0 and whose rest is undefined, or 0 when none is left. */
  take(): number {
    let chunk = this.#top;
    if (chunk !== 0) {
      this.#top = this.m[(chunk >> 2) + NEXT];
      this.m[(chunk >> 2) + NEXT] = 0;
    } else if (this.#fresh !== this.#end) {
      chunk = this.#fresh;
      this.#fresh = (chunk + this.#stride) | 0;
      this.m[(chunk >> 2) + NEXT] = 0;
    } else {
      this.exhausted++;
      return 0;
    }
    this.#free--;
    return chunk;
  }

  give(chunk: number): void {
    this.m[(chunk >> 2) + NEXT] = this.#top;
    this.#top = chunk;
    this.#free++;
  }

  get free(): number {
    return this.#free;
  }

  get inUse(): number {
    return this.count - this.#free;
  }

  /** The most that were in use at once. */
  get peak(): number {
    return (this.#fresh - this.#base) / this.#stride;
  }

  /** For tests and assertions; walks every free chunk. @throws when one is free twice, or is no chunk of ours. */
  audit(): void {
    const seen = new Uint8Array(this.count);
    let free = (this.#end - this.#fresh) / this.#stride;
    for (let chunk = this.#top; chunk !== 0; chunk = this.m[(chunk >> 2) + NEXT]) {
      const index = (chunk - this.#base) / this.#stride;
      if (!(Number.isInteger(index) && index >= 0 && chunk < this.#fresh))
        throw new Error(`${chunk} is no chunk`);
      if (seen[index]++ !== 0) throw new Error(`the chunk at ${chunk} was given back twice`);
      free++;
    }
    if (free !== this.#free) throw new Error(`${free} chunks are free, counted ${this.#free}`);
  }
}
