/**
 * The UMEM: the buffers of a pool as AF_XDP's kernel knows them, by their place behind the first one. Which of them it has
 * at the moment is written down, since it gives them back in any order, and at a port's end not at all.
 */
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import type { Ring } from '../memory/ring.ts';
import { FRAME_HEADROOM, SMALL_ROOM_BYTES } from './frames.ts';

const PAGE_BYTES = 4096;
const LINE = 64;

/** Words of a path: a port's ring and one of the kernel's, each its bytes and its entries less one; the UMEM. */
const [SLOTS, SLOT_MASK, ENTRIES, ENTRY_MASK, UMEM, CHUNK_SHIFT, LENT] = [0, 1, 2, 3, 4, 5, 6];

/** Of os/xsk.ts's XskRing. */
interface KernelRing {
  readonly entries: number;
  readonly mask: number;
}

export class Umem {
  readonly arena: Arena;
  readonly pool: FramePool;
  /** The first buffer's start in the arena. */
  readonly base: number;
  readonly bytes: number;
  /** Of a buffer, a power of two. */
  readonly chunkBytes: number;
  readonly #chunkShift: number;
  /** Where the arena has a byte for each buffer: 1 while the kernel has it. */
  readonly #lent: number;

  /** @param pool One that `suitsUmem`. @throws ArenaFullError */
  constructor(arena: Arena, name: string, pool: FramePool) {
    this.arena = arena;
    this.pool = pool;
    this.base = pool.depot.base;
    this.bytes = pool.frames * pool.frameBytes;
    this.chunkBytes = pool.frameBytes;
    this.#chunkShift = Math.log2(pool.frameBytes);
    this.#lent = arena.carve(`${name} lent`, pool.frames);
  }

  /** What the `xsk` kernels move buffers and frames by. @returns its bytes. @throws ArenaFullError */
  carvePath(slots: Ring, kernel: KernelRing): number {
    const { arena } = this;
    const path = arena.carve('xsk path', LINE);
    const line = path >> 2;
    arena.i32[line + SLOTS] = slots.base << 2;
    arena.i32[line + SLOT_MASK] = slots.mask;
    arena.i32[line + ENTRIES] = kernel.entries << 2;
    arena.i32[line + ENTRY_MASK] = kernel.mask;
    arena.i32[line + UMEM] = this.base;
    arena.i32[line + CHUNK_SHIFT] = this.#chunkShift;
    arena.i32[line + LENT] = this.#lent;
    return path;
  }

  /** Notes that the kernel has the buffer with a frame at `at`. @returns the address by which it knows the frame */
  lend(at: number): number {
    const address = (at - this.base) | 0;
    this.arena.u8[this.#lent + (address >> this.#chunkShift)] = 1;
    return address;
  }

  /** Gives the pool what the kernel had, once its sockets are closed. */
  takeBack(): void {
    const { arena, pool, base, chunkBytes } = this;
    for (let i = 0; i < pool.frames; i++)
      if (arena.u8[this.#lent + i] === 1) pool.give(base + i * chunkBytes);
  }
}

/** What a UMEM and so many paths carve at most, bytes. */
export function umemArenaBytes(frames: number, paths: number): number {
  return frames + LINE + paths * LINE;
}

/** Buffers of AF_XDP are a power of two, of a page at most, the first one at a page. */
export function suitsUmem({ frameBytes, depot }: FramePool): boolean {
  return (
    frameBytes >= SMALL_ROOM_BYTES + FRAME_HEADROOM &&
    frameBytes <= PAGE_BYTES &&
    (frameBytes & (frameBytes - 1)) === 0 &&
    depot.base % PAGE_BYTES === 0
  );
}
