/**
 * The buffers that rings are filled with, in two sizes: small ones for a link's packets, large ones for super-segments and
 * jumbo frames. Ports that are given the same pool may exchange buffers, so that a frame goes from one device to
 * another without being copied.
 *
 *     ├── headroom ──┼────────────── frame ──────────────┤
 *     start          DESC_AT                             start + frameBytes of the pool
 *
 * The headroom is for what devices put before a frame (virtio header, AF_XDP's metadata).
 */
import type { Arena } from '../memory/arena.ts';
import { FramePool } from '../memory/frame-pool.ts';
import { DESC_AT, DESC_WORDS, Ring } from '../memory/ring.ts';
import { ETHER_HEADER_BYTES } from '../wire/ethernet.ts';
import type { Link } from './port.ts';

/** What AF_XDP leaves before the frames that it receives, and more than any other device needs. */
export const FRAME_HEADROOM = 256;
/** AF_XDP's chunk: a power of two. Room for 1,792 B. */
export const SMALL_FRAME_BYTES = 2048;
/** Room for 64 KiB and link headers; an odd number of lines, so that the frames' headers don't share cache sets. */
export const LARGE_FRAME_BYTES = 65_856;

/** AF_XDP registers whole pages. */
const PAGE_BYTES = 4096;
const LINE = 64;

/** Room for a frame in each size. */
export const SMALL_ROOM_BYTES = SMALL_FRAME_BYTES - FRAME_HEADROOM;
export const LARGE_ROOM_BYTES = LARGE_FRAME_BYTES - FRAME_HEADROOM;

/** @param roomBytes The largest frame that has to fit. @throws RangeError when none is so large. @throws ArenaFullError */
export function createFrames(arena: Arena, name: string, frames: number, roomBytes: number): FramePool {
  return new FramePool(arena, name, { frames, frameBytes: frameSize(roomBytes), align: PAGE_BYTES });
}

/** What `createFrames` carves at most, bytes. */
export function framesArenaBytes(frames: number, roomBytes: number): number {
  return frames * (frameSize(roomBytes) + 8) + 2 * PAGE_BYTES;
}

/** What a ring carves at most, bytes. */
export function ringArenaBytes(slots: number): number {
  return slots * DESC_WORDS * 4 + LINE;
}

function frameSize(roomBytes: number): number {
  if (roomBytes <= SMALL_ROOM_BYTES) return SMALL_FRAME_BYTES;
  if (roomBytes <= LARGE_ROOM_BYTES) return LARGE_FRAME_BYTES;
  throw new RangeError(`a frame has ${LARGE_ROOM_BYTES} B at most, not ${roomBytes}`);
}

export interface PortRings {
  readonly rx: Ring;
  readonly tx: Ring;
  readonly pool: FramePool;
}

/**
 * A port's rings with a buffer in each slot, so placed that the IP header is at a multiple of 16; the tx slots are the user's.
 * @param frameBytes Room for a frame.
 * @param pool Where the buffers come from; one of the port's own unless told, or when that one's are too small.
 * @throws RangeError when the pool has too few; those taken are given back. ArenaFullError
 */
export function createRings(
  arena: Arena,
  name: string,
  {
    slots,
    frameBytes,
    link,
    pool,
  }: { slots: number; frameBytes: number; link: Link; pool: FramePool | undefined },
): PortRings {
  const rx = new Ring(arena, `${name} rx`, slots);
  const tx = new Ring(arena, `${name} tx`, slots);
  const fits = pool !== undefined && pool.frameBytes - FRAME_HEADROOM >= frameBytes;
  const frames = fits ? pool : createFrames(arena, `${name} frames`, 2 * slots, frameBytes);
  const headroom = link === 'ether' ? FRAME_HEADROOM - ETHER_HEADER_BYTES : FRAME_HEADROOM;
  fillRing(rx, frames, headroom);
  try {
    fillRing(tx, frames, headroom);
  } catch (error) {
    emptyRing(rx, frames);
    throw error;
  }
  tx.tail = slots;
  return { rx, tx, pool: frames };
}

/**
 * Gives each slot of a ring a buffer of the pool.
 * @param headroom From the buffer's start to DESC_AT, bytes.
 * @throws RangeError when the pool has too few; those taken are given back.
 */
export function fillRing(ring: Ring, pool: FramePool, headroom: number = FRAME_HEADROOM): void {
  for (let i = 0; i < ring.slots; i++) {
    const frame = pool.take();
    if (frame === 0) {
      for (let k = 0; k < i; k++) pool.give(pool.frameOf(ring.m[ring.slot(k) + DESC_AT]));
      throw new RangeError(
        `a ring of ${ring.slots} slots needs as many frames, and the pool of ${pool.frames} had ${i} left`,
      );
    }
    ring.m[ring.slot(i) + DESC_AT] = frame + headroom;
  }
}

/** Gives the buffers of both rings of a port that is closed back, whoever's they are. Neither ring can be used from then on. */
export function emptyRings({ rx, tx }: { readonly rx: Ring; readonly tx: Ring }, pool: FramePool): void {
  rx.head = rx.tail;
  tx.head = tx.tail;
  emptyRing(rx, pool);
  emptyRing(tx, pool);
}

/** Gives the buffers of all slots back, whoever's they are. The ring can't be used from then on. */
export function emptyRing(ring: Ring, pool: FramePool): void {
  for (let i = 0; i < ring.slots; i++) {
    const slot = ring.slot(i);
    if (ring.m[slot + DESC_AT] !== 0) pool.give(pool.frameOf(ring.m[slot + DESC_AT]));
    ring.m[slot + DESC_AT] = 0;
  }
}
