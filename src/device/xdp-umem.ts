/**
 * The UMEM: the buffers of a pool as AF_XDP's kernel knows them, by their place behind the first one. Which of them it has
 * at the moment is written down, since it gives them back in any order, and at a port's end not at all.
 */
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { FRAME_HEADROOM, SMALL_ROOM_BYTES } from './frames.ts';

const PAGE_BYTES = 4096;
const LINE = 64;

export class Umem {
  readonly arena: Arena;
  readonly pool: FramePool;
  /** The first buffer's start in the arena. */
  readonly base: number;
  readonly bytes: number;
  /** Of a buffer, a power of two. */
  readonly chunkBytes: number;
  readonly chunkShift: number;
  /** Where the arena has a byte for each buffer: 1 while the kernel has it. */
  readonly lent: number;

  /** @param pool One that `suitsUmem`. @throws ArenaFullError */
  constructor(arena: Arena, name: string, pool: FramePool) {
    this.arena = arena;
    this.pool = pool;
    this.base = pool.depot.base;
    this.bytes = pool.frames * pool.frameBytes;
    this.chunkBytes = pool.frameBytes;
    this.chunkShift = Math.log2(pool.frameBytes);
    this.lent = arena.carve(`${name} lent`, pool.frames);
  }

  /** Gives the pool what the kernel had, once its sockets are closed. */
  takeBack(): void {
    const { arena, pool, base, chunkShift, lent } = this;
    for (let i = 0; i < pool.frames; i++) if (arena.u8[lent + i] === 1) pool.give(base + (i << chunkShift));
  }
}

/** What a UMEM carves at most, bytes. */
export function umemArenaBytes(frames: number): number {
  return frames + LINE;
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
