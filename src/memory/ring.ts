/**
 * A ring of descriptors in the arena, with netmap's ownership: the user owns the slots [head, tail), the
 * device owns the others. The user moves `head` forward over the slots it is done with; the device's sync
 * takes those and moves `tail`.
 *
 *            head        tail
 *     ────────┬───────────┬────────
 *      device │   user    │ device        rx: user's slots hold received frames
 *     ────────┴───────────┴────────        tx: user's slots are free, to be filled
 *
 * Every slot holds a buffer at all times. To keep a buffer, or to forward it, swap it with another one by
 * exchanging the slots' DESC_AT words; nothing is copied.
 *
 * Indices run freely over int32 and are masked on use; compare them by difference.
 */
import type { Arena } from './arena.ts';

/** A descriptor is four int32 words. */
export const DESC_WORDS = 4;
/** Byte offset in the arena of the frame's first byte. */
export const DESC_AT = 0;
/** Length of the frame, bytes. */
export const DESC_LENGTH = 1;
/** Bits of FRAME_*. */
export const DESC_FLAGS = 2;
/** With FRAME_SEGMENT: payload bytes per segment (gso_size). */
export const DESC_AUX = 3;

/** The device has verified the transport checksum, or the frame never left this machine's memory. */
export const FRAME_CHECKSUM_GOOD = 1;
/** The transport checksum field holds the folded pseudo-header sum; whoever puts it on a wire completes it. */
export const FRAME_CHECKSUM_FILL = 2;
/** A super-segment: whoever puts it on a wire cuts it into segments of DESC_AUX payload bytes. */
export const FRAME_SEGMENT = 4;
/** The frame goes on in the next descriptor. */
export const FRAME_MORE = 8;
/** The host sent it, and it was seen on its way out: of ports that were asked for such frames, for captures. */
export const FRAME_OUTGOING = 16;

export class Ring {
  /** The arena's words; `m[slot + DESC_AT]` reads a slot. */
  readonly m: Int32Array;
  readonly slots: number;
  /** First slot that the user owns. Moved by the user. */
  head = 0;
  /** First slot past the user's. Moved by the device's sync. */
  tail = 0;
  /** Where `slot` is too dear: `base + (index & mask) * DESC_WORDS`. */
  readonly base: number;
  readonly mask: number;

  /** @param slots Power of two. */
  constructor(arena: Arena, name: string, slots: number) {
    if (slots < 1 || (slots & (slots - 1)) !== 0)
      throw new RangeError(`a ring takes a power of two of slots, not ${slots}`);
    this.m = arena.i32;
    this.slots = slots;
    this.base = arena.carve(name, slots * DESC_WORDS * 4) >> 2;
    this.mask = slots - 1;
  }

  /** Word index of the descriptor at a free-running index. */
  slot(index: number): number {
    return this.base + (index & this.mask) * DESC_WORDS;
  }

  /** How many slots the user owns. */
  get available(): number {
    return (this.tail - this.head) | 0;
  }
}
