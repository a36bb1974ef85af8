/**
 * memif's data path: frames from rings in shared memory to a port's rx ring and from its tx ring to them, by copying.
 *
 * The other side may write anything to the shared memory, at any time. So every word of it is read once, checked, and used
 * as it was read: a lie ends the connection and reaches nothing outside the regions. And since a frame is copied before
 * anybody parses it, it can't change between a check and a use.
 *
 * Pure: rings and regions are offsets in the arena, whoever mapped them there.
 */
import type { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH, FRAME_MORE, type Ring } from '../memory/ring.ts';
import {
  MEMIF_DESC_BYTES,
  MEMIF_DESC_NEXT,
  memifRingBytes,
  RING_COOKIE,
  RING_DESCRIPTORS,
  RING_FLAGS,
  RING_HEAD,
  RING_LOG2_MAX,
  RING_MASK_INTERRUPT,
  RING_TAIL,
} from '../wire/memif.ts';
import type { PortCounters } from './port.ts';

// V8 folds a module's own constants, not imported ones.
const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const MORE = FRAME_MORE;
const NEXT = MEMIF_DESC_NEXT;
const MASK_INTERRUPT = RING_MASK_INTERRUPT;
const SHIFT = Math.log2(MEMIF_DESC_BYTES) - 2;

export const REGIONS_MAX = 16;

/** The regions of one connection: where they are in the arena, and how long. */
export class MemifRegions {
  readonly arena: Arena;
  readonly u16: Uint16Array;
  count = 0;
  readonly at = new Int32Array(REGIONS_MAX);
  readonly bytes = new Int32Array(REGIONS_MAX);

  constructor(arena: Arena) {
    this.arena = arena;
    this.u16 = new Uint16Array(arena.memory.buffer);
  }

  /** @param at Byte offset in the arena. */
  add(at: number, bytes: number): void {
    if (this.count === REGIONS_MAX) throw new RangeError(`there are ${REGIONS_MAX} regions at most`);
    this.at[this.count] = at;
    this.bytes[this.count++] = bytes;
  }
}

/** @returns where these bytes are in the arena; 0 when a region has no such bytes. All are int32. */
function locate(regions: MemifRegions, region: number, offset: number, length: number): number {
  if (region >= regions.count) return 0;
  const bytes = regions.bytes[region];
  if (offset < 0 || length < 0 || length > bytes - offset) return 0;
  return (regions.at[region] + offset) | 0;
}

/** A ring, as who owns it tells. */
export interface RingPlace {
  readonly region: number;
  /** From the region's start, uint32. */
  readonly offset: number;
  readonly ringLog2: number;
}

/** Buffers of the ring's owner, one for each slot, one after the other. */
export interface OwnBuffers {
  /** From the start of the ring's region. */
  readonly offset: number;
  /** Of each. */
  readonly bytes: number;
}

/** What is wrong with a ring's place or its memory, or null. */
export function ringFault(regions: MemifRegions, { region, offset, ringLog2 }: RingPlace): string | null {
  if (ringLog2 > RING_LOG2_MAX) return `a ring of 2^${ringLog2} slots`;
  if (offset % 4 !== 0) return `a ring at ${offset}`;
  const at = locate(regions, region, offset | 0, memifRingBytes(ringLog2));
  if (at === 0) return `a ring beyond its region`;
  return regions.arena.i32[at >> 2] === RING_COOKIE ? null : 'a ring without the cookie';
}

/** One ring, seen from the side that reads it or from the one that writes it. */
export class MemifRing {
  readonly slots: number;
  /** Why the connection can't go on; null while the other side behaves. */
  fault: string | null = null;
  /** Free-running, u16: the next slot that we read or write. */
  index = 0;
  readonly #regions: MemifRegions;
  readonly #u16: Uint16Array;
  /** Word index of the first descriptor. */
  readonly #descriptors: number;
  /** Indices in u16 of the ring's flags, and of the other side's index and ours. */
  readonly #flags: number;
  readonly #theirs: number;
  readonly #ours: number;
  /** From the other side's index to the end of what is ours, and from `index` to what we publish; slots. */
  readonly #theirsAhead: number;
  readonly #oursAhead: number;
  /** Whether buffers are ours, each slot's its own; otherwise its descriptor tells. */
  readonly #own: boolean;
  /** From the region's start, and in the arena. */
  readonly #ownOffset: number;
  readonly #ownAt: number;
  readonly #ownBytes: number;
  readonly #region: number;

  /** @param place Without fault. @param toServer Its direction. @param own Ours, who are the client then. */
  constructor(regions: MemifRegions, place: RingPlace, toServer: boolean, own: OwnBuffers | null) {
    const start = regions.at[place.region];
    const at = start + place.offset;
    this.slots = 1 << place.ringLog2;
    this.#regions = regions;
    this.#u16 = regions.u16;
    this.#descriptors = (at + RING_DESCRIPTORS) >> 2;
    this.#flags = (at + RING_FLAGS) >> 1;
    const client = own !== null;
    // Head is the client's to move and tail the server's, in both directions.
    this.#theirs = (at + (client ? RING_TAIL : RING_HEAD)) >> 1;
    this.#ours = (at + (client ? RING_HEAD : RING_TAIL)) >> 1;
    this.#theirsAhead = client && toServer ? this.slots : 0;
    this.#oursAhead = client && !toServer ? this.slots : 0;
    this.#own = client;
    this.#region = place.region;
    this.#ownOffset = own?.offset ?? 0;
    this.#ownAt = start + this.#ownOffset;
    this.#ownBytes = own?.bytes ?? 0;
    if (client) for (let i = 0; i < this.slots; i++) this.#reset(i);
    this.#publish();
  }

  /** Copies what the other side has written to an rx ring, as long as that has room; frames over its length are dropped. */
  read(rx: Ring, frameBytes: number, counters: PortCounters): void {
    const slots = this.#available();
    if (slots === 0) return;
    const { m } = rx;
    const { kernels } = this.#regions.arena;
    const mask = this.slots - 1;
    let free = (rx.slots - rx.available) | 0;
    let tail = rx.tail;
    let done = 0;
    let bytes = 0;
    while (done < slots && free > 0) {
      const slot = rx.slot(tail);
      const to = m[slot + AT];
      let length = 0;
      let used = done;
      let fits = true;
      for (let more = true; more; used++) {
        // The rest of the chain isn't there yet; or never will be, when there is no slot for it.
        if (used === slots) {
          if (slots === this.slots && done === 0) this.fault = 'a frame longer than the ring';
          used = -1;
          break;
        }
        const i = (this.index + used) & mask;
        const descriptor = this.#descriptors + (i << SHIFT);
        const word = m[descriptor];
        const part = m[descriptor + 1];
        const from = this.#own
          ? this.#ownBuffer(i, part)
          : locate(this.#regions, word >>> 16, m[descriptor + 2], part);
        if (from === 0) {
          this.fault = 'a buffer outside its region';
          used = -1;
          break;
        }
        if (part <= frameBytes - length) {
          kernels.copy(to + length, from, part);
          length += part;
        } else fits = false;
        more = (word & NEXT) !== 0;
      }
      if (used < 0) break;
      if (this.#own) for (let k = done; k < used; k++) this.#reset((this.index + k) & mask);
      done = used;
      if (!fits || length === 0) {
        counters.rxDropped++;
        continue;
      }
      m[slot + LENGTH] = length;
      m[slot + FLAGS] = 0;
      m[slot + AUX] = 0;
      bytes += length;
      free--;
      tail = (tail + 1) | 0;
    }
    counters.rxFrames += (tail - rx.tail) | 0;
    counters.rxBytes += bytes;
    rx.tail = tail;
    if (done === 0) return;
    this.index = (this.index + done) & 0xffff;
    this.#publish();
  }

  /**
   * Copies frames of a tx ring to where the other side reads, as long as there is room; a frame that can't be sent is
   * dropped and counted. @returns whether any was sent
   */
  write(tx: Ring, cursor: TxCursor, frameBytes: number, counters: PortCounters): boolean {
    const free = this.#available();
    const { m } = tx;
    const { kernels } = this.#regions.arena;
    const mask = this.slots - 1;
    let done = 0;
    let frames = 0;
    let bytes = 0;
    for (; cursor.taken !== tx.head && this.fault === null; cursor.taken = (cursor.taken + 1) | 0) {
      const slot = tx.slot(cursor.taken);
      const at = m[slot + AT];
      const length = m[slot + LENGTH];
      const more = (m[slot + FLAGS] & MORE) !== 0;
      const whole = !cursor.chained && !more;
      if (!whole || length <= 0 || length > frameBytes) {
        cursor.chained = more;
        counters.txDropped++;
        continue;
      }
      let used = done;
      let sent = 0;
      while (sent < length && used < free) {
        const i = (this.index + used) & mask;
        const descriptor = this.#descriptors + (i << SHIFT);
        const word = m[descriptor];
        const room = this.#own ? this.#ownBytes : m[descriptor + 1];
        const to = this.#own
          ? this.#ownAt + i * room
          : locate(this.#regions, word >>> 16, m[descriptor + 2], room);
        if (to === 0 || room === 0) {
          this.fault = 'a buffer outside its region';
          break;
        }
        const part = Math.min(room, length - sent);
        kernels.copy(to, at + sent, part);
        sent += part;
        const region = this.#own ? this.#region << 16 : word & ~0xffff;
        m[descriptor] = region | (sent < length ? NEXT : 0);
        // Of a frame that turns out not to fit, every part so far fills its buffer: the length stays the room.
        m[descriptor + 1] = part;
        if (this.#own) m[descriptor + 2] = this.#ownOffset + i * room;
        used++;
      }
      if (sent < length) {
        // Room enough comes later, or never.
        if (this.fault !== null || done > 0 || free < this.slots) break;
        counters.txDropped++;
        continue;
      }
      done = used;
      frames++;
      bytes += length;
    }
    counters.txFrames += frames;
    counters.txBytes += bytes;
    if (done === 0) return false;
    this.index = (this.index + done) & 0xffff;
    this.#publish();
    return true;
  }

  /** The reader's: whether the writer shall signal what it writes. */
  wantSignals(wanted: boolean): void {
    Atomics.store(this.#u16, this.#flags, wanted ? 0 : MASK_INTERRUPT);
  }

  /** For the writer, after `write`. */
  get signalsWanted(): boolean {
    return (Atomics.load(this.#u16, this.#flags) & MASK_INTERRUPT) === 0;
  }

  /** Slots that we may read or write now. */
  #available(): number {
    const theirs = Atomics.load(this.#u16, this.#theirs);
    const slots = (theirs + this.#theirsAhead - this.index) & 0xffff;
    if (slots <= this.slots) return slots;
    this.fault = 'an index that isn’t in the ring';
    return 0;
  }

  #publish(): void {
    Atomics.store(this.#u16, this.#ours, this.index + this.#oursAhead);
  }

  #ownBuffer(slot: number, length: number): number {
    return length >= 0 && length <= this.#ownBytes ? this.#ownAt + slot * this.#ownBytes : 0;
  }

  /** The descriptor of an empty buffer of ours. */
  #reset(slot: number): void {
    const { i32 } = this.#regions.arena;
    const descriptor = this.#descriptors + (slot << SHIFT);
    i32[descriptor] = this.#region << 16;
    i32[descriptor + 1] = this.#ownBytes;
    i32[descriptor + 2] = this.#ownOffset + slot * this.#ownBytes;
    i32[descriptor + 3] = 0;
  }
}

/** How far a port's tx ring has been taken, whichever connection takes it. */
export interface TxCursor {
  /** First slot not taken yet. */
  taken: number;
  /** Inside a frame of several descriptors, all of which are dropped. */
  chained: boolean;
}

/** Takes all that is to be sent, for nobody. */
export function dropFrames(tx: Ring, cursor: TxCursor, counters: PortCounters): void {
  if (cursor.taken === tx.head) return;
  counters.txDropped += (tx.head - cursor.taken) | 0;
  cursor.chained = (tx.m[tx.slot((tx.head - 1) | 0) + FLAGS] & MORE) !== 0;
  cursor.taken = tx.head;
}
