/**
 * memif's data path: frames from rings in shared memory to a port's rx ring and from its tx ring to them, by copying.
 *
 * The other side may write anything to the shared memory, at any time. So every word of it is read once, checked, and used
 * as it was read: a lie ends the connection and reaches nothing outside the regions. And since a frame is copied before
 * anybody parses it, it can't change between a check and a use.
 *
 * The loops are kernels (memory/kernels/assembly/memif.ts), which know regions and rings by the lines that are made here.
 * Pure: rings and regions are offsets in the arena, whoever mapped them there.
 */
import type { Arena } from '../memory/arena.ts';
import { DESC_FLAGS, FRAME_MORE, type Ring } from '../memory/ring.ts';
import {
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
const FLAGS = DESC_FLAGS;
const MORE = FRAME_MORE;
const MASK_INTERRUPT = RING_MASK_INTERRUPT;

export const REGIONS_MAX = 16;
/** Queue pairs of a link. */
export const QUEUES_MAX = 16;
/** All are read, one is written. */
const RINGS_MAX = QUEUES_MAX + 1;

/** A link's table: where its regions begin, how long they are, and how many there are, then the lines of its rings. */
const [REGION_AT, REGION_BYTES, REGIONS] = [0, 64, 128];
const RINGS = 192;
/** Of a ring: what the kernels read, … */
const [DESCRIPTORS, MASK, THEIRS, THEIRS_AHEAD, OURS, OURS_AHEAD, TABLE] = [0, 1, 3, 4, 5, 6, 7];
const [OWN_AT, OWN_BYTES, OWN_REGION, OWN_OFFSET] = [8, 9, 10, 11];
/** … and what they answer. */
const [FAULT, FRAMES, BYTES, DROPPED, CHAINED] = [16, 17, 18, 19, 20];
const RING_LINE_WORDS = 32;
const RING_LINE_BYTES = 4 * RING_LINE_WORDS;

export const MEMIF_TABLE_BYTES = RINGS + RINGS_MAX * RING_LINE_BYTES;

const FAULTS = [
  null,
  'an index that isn’t in the ring',
  'a buffer outside its region',
  'a frame longer than the ring',
];

/** The regions of one connection: where they are in the arena, and how long. */
export class MemifRegions {
  readonly arena: Arena;
  readonly at: Int32Array;
  readonly bytes: Int32Array;
  /** Byte offset, for the kernels. */
  readonly table: number;
  #rings = 0;

  /** @param table MEMIF_TABLE_BYTES of the arena, which connections have one after the other. */
  constructor(arena: Arena, table: number) {
    this.arena = arena;
    this.table = table;
    const words = (from: number) =>
      arena.i32.subarray((table + from) >> 2, ((table + from) >> 2) + REGIONS_MAX);
    this.at = words(REGION_AT);
    this.bytes = words(REGION_BYTES);
    arena.i32[(table + REGIONS) >> 2] = 0;
  }

  get count(): number {
    return this.arena.i32[(this.table + REGIONS) >> 2];
  }

  /** @param at Byte offset in the arena. */
  add(at: number, bytes: number): void {
    const { count } = this;
    if (count === REGIONS_MAX) throw new RangeError(`there are ${REGIONS_MAX} regions at most`);
    this.at[count] = at;
    this.bytes[count] = bytes;
    this.arena.i32[(this.table + REGIONS) >> 2] = count + 1;
  }

  /** @returns the line of another ring, byte offset */
  ringLine(): number {
    if (this.#rings === RINGS_MAX) throw new RangeError(`there are ${RINGS_MAX} rings at most`);
    return this.table + RINGS + this.#rings++ * RING_LINE_BYTES;
  }
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
  if (region >= regions.count || offset + memifRingBytes(ringLog2) > regions.bytes[region])
    return 'a ring beyond its region';
  return regions.arena.i32[(regions.at[region] + offset) >> 2] === RING_COOKIE
    ? null
    : 'a ring without the cookie';
}

/** One ring, seen from the side that reads it or from the one that writes it. */
export class MemifRing {
  /** Why the connection can't go on; null while the other side behaves. */
  fault: string | null = null;
  readonly #arena: Arena;
  /** Where the kernels find it: byte offset, and index in words. */
  readonly #at: number;
  readonly #line: number;
  readonly #u16: Uint16Array;
  /** Index in u16 of the ring's flags. */
  readonly #flags: number;

  /** @param place Without fault. @param toServer Its direction. @param own Ours, who are the client then. */
  constructor(regions: MemifRegions, place: RingPlace, toServer: boolean, own: OwnBuffers | null) {
    const { arena } = regions;
    const start = regions.at[place.region];
    const at = start + place.offset;
    const slots = 1 << place.ringLog2;
    const client = own !== null;
    this.#arena = arena;
    this.#at = regions.ringLine();
    this.#line = this.#at >> 2;
    this.#u16 = new Uint16Array(arena.memory.buffer);
    this.#flags = (at + RING_FLAGS) >> 1;
    const line = arena.i32.subarray(this.#line, this.#line + RING_LINE_WORDS).fill(0);
    line[DESCRIPTORS] = at + RING_DESCRIPTORS;
    line[MASK] = slots - 1;
    // Head is the client's to move and tail the server's, in both directions.
    line[THEIRS] = at + (client ? RING_TAIL : RING_HEAD);
    line[OURS] = at + (client ? RING_HEAD : RING_TAIL);
    line[THEIRS_AHEAD] = client && toServer ? slots : 0;
    line[OURS_AHEAD] = client && !toServer ? slots : 0;
    line[TABLE] = regions.table;
    if (own !== null) {
      line[OWN_AT] = start + own.offset;
      line[OWN_BYTES] = own.bytes;
      line[OWN_REGION] = place.region << 16;
      line[OWN_OFFSET] = own.offset;
      arena.kernels.memifOffer(this.#at, 0, slots);
    }
    Atomics.store(this.#u16, line[OURS] >> 1, line[OURS_AHEAD]);
  }

  /** Copies what the other side has written to an rx ring, as long as that has room; frames over its length are dropped. */
  read(rx: Ring, lengthMax: number, counters: PortCounters): void {
    const { m, tail } = rx;
    const line = this.#line;
    const { memifRead } = this.#arena.kernels;
    const frames = memifRead(this.#at, rx.base << 2, rx.mask, tail, (rx.slots - rx.available) | 0, lengthMax);
    rx.tail = (tail + frames) | 0;
    counters.rxFrames += frames;
    counters.rxBytes += m[line + BYTES];
    counters.rxDropped += m[line + DROPPED];
    this.fault = FAULTS[m[line + FAULT]];
  }

  /**
   * Copies frames of a tx ring to where the other side reads, as long as there is room; a frame that can't be sent is
   * dropped and counted. @returns whether any was sent
   */
  write(tx: Ring, cursor: TxCursor, lengthMax: number, counters: PortCounters): boolean {
    const { m } = tx;
    const line = this.#line;
    const { taken } = cursor;
    const { memifWrite } = this.#arena.kernels;
    m[line + CHAINED] = cursor.chained ? 1 : 0;
    const n = memifWrite(this.#at, tx.base << 2, tx.mask, taken, (tx.head - taken) | 0, lengthMax);
    cursor.taken = (taken + n) | 0;
    cursor.chained = m[line + CHAINED] !== 0;
    const frames = m[line + FRAMES];
    counters.txFrames += frames;
    counters.txBytes += m[line + BYTES];
    counters.txDropped += m[line + DROPPED];
    this.fault = FAULTS[m[line + FAULT]];
    return frames > 0;
  }

  /** The reader's: whether the writer shall signal what it writes. */
  wantSignals(wanted: boolean): void {
    Atomics.store(this.#u16, this.#flags, wanted ? 0 : MASK_INTERRUPT);
  }

  /** For the writer, after `write`. */
  get signalsWanted(): boolean {
    return (Atomics.load(this.#u16, this.#flags) & MASK_INTERRUPT) === 0;
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
