/**
 * The arena: one fixed-size shared WebAssembly.Memory that holds everything the data path touches
 * (frames, descriptors, control blocks, flow tables, queues), so that TypeScript, the SIMD kernels, other
 * threads and the kernel's rings all see the same bytes under one set of offsets.
 *
 * It is carved once, at start, and never grows: a growable buffer makes every access several times slower,
 * and an allocation that can't fail later needs no handling later. Pages that nobody touched cost nothing.
 */
import { instantiateKernels, type Kernels } from './kernels/kernels.ts';

/** WebAssembly's page, the granule of an arena's size. */
const PAGE_BYTES = 65_536;

/** Offsets are int32 throughout, so that they stay small integers in V8. */
export const ARENA_BYTES_MAX = 2 ** 31 - PAGE_BYTES;

/** What one `carve` handed out. */
export interface Region {
  readonly name: string;
  /** Byte offset in the arena. */
  readonly at: number;
  readonly bytes: number;
}

/** A `carve` asked for more than is left. `code` is `ERR_ARENA_FULL`. */
export class ArenaFullError extends Error {
  readonly code = 'ERR_ARENA_FULL';
  override readonly name = 'ArenaFullError';
}

export class Arena {
  readonly memory: WebAssembly.Memory;
  /** The whole arena as bytes, as int32 words and as a DataView for network byte order. */
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  readonly view: DataView;
  readonly kernels: Kernels;
  readonly regions: Region[] = [];
  /** The first line stays unused, so that offset 0 can mean "none" everywhere. */
  #next = 64;
  /** Below this, memory has been in use before a reset. */
  #written = 0;

  /** @param bytes Size in bytes, rounded up to 64 KiB; at most {@link ARENA_BYTES_MAX}. */
  constructor(bytes: number) {
    if (!(bytes > 0 && bytes <= ARENA_BYTES_MAX)) {
      throw new RangeError(`an arena takes 1 to ${ARENA_BYTES_MAX} bytes, not ${bytes}`);
    }
    const pages = Math.ceil(bytes / PAGE_BYTES);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.u8 = new Uint8Array(this.memory.buffer);
    this.i32 = new Int32Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.kernels = instantiateKernels(this.memory);
  }

  get bytes(): number {
    return this.u8.length;
  }

  get bytesFree(): number {
    return this.u8.length - this.#next;
  }

  /**
   * Takes `bytes` zeroed bytes, for good unless all is `reset`, and returns their offset.
   * @param align Power of two; a cache line (64) unless told.
   * @throws ArenaFullError when they don't fit, naming what was carved so far.
   */
  carve(name: string, bytes: number, align = 64): number {
    const at = Math.ceil(this.#next / align) * align;
    if (at + bytes > this.u8.length) {
      const carved = this.regions.map((r) => `${r.name} ${r.bytes}`).join(', ');
      throw new ArenaFullError(
        `the arena of ${this.bytes} B has no room for ${name} (${bytes} B); carved: ${carved || 'nothing'}. ` +
          'Raise the arena size or lower the limits.',
      );
    }
    this.#next = at + bytes;
    this.#zero(at, Math.min(at + bytes, this.#written));
    this.regions.push({ name, at, bytes });
    return at;
  }

  /** By words, in a third of the time that bytes take; what stands between two regions is nobody's. */
  #zero(at: number, end: number): void {
    if (at >= end) return;
    if ((at & 3) === 0) this.i32.fill(0, at >> 2, (end + 3) >> 2);
    else this.u8.fill(0, at, end);
  }

  /**
   * `carve` of bytes that may be anything: for what is written before it is read. Differs from it only after `reset`.
   */
  carveUnzeroed(name: string, bytes: number, align = 64): number {
    const written = this.#written;
    this.#written = 0;
    try {
      return this.carve(name, bytes, align);
    } finally {
      this.#written = written;
    }
  }

  /**
   * Takes back all that was carved, for those who build and throw away whole worlds many times a second: what is carved
   * again is zeroed then. Whatever still holds an offset must be thrown away too.
   */
  reset(): void {
    this.#written = Math.max(this.#written, this.#next);
    this.#next = 64;
    this.regions.length = 0;
  }
}
