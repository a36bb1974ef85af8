/**
 * From one port's rx ring to another's tx ring: what bridges, switches and emulators have in common. Between ports of
 * one pool a frame moves by exchanging the buffers of two slots (netmap's zero copy); otherwise it is copied. What the
 * destination can't take as it is gets what it lacks in software: checksums, cutting, one buffer instead of several.
 */
import type { Arena } from '../memory/arena.ts';
import { EXCHANGE_FRAME } from '../memory/kernels/kernels.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_MORE,
  FRAME_SEGMENT,
} from '../memory/ring.ts';
import { ETHER_HEADER_BYTES } from '../wire/ethernet.ts';
import { LARGE_ROOM_BYTES } from './frames.ts';
import { type Port, PortError } from './port.ts';
import { completeChecksum, Segmenter, vlanBytes } from './segmentation.ts';

const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const FRAME = EXCHANGE_FRAME;
const [FILL, SEGMENT, MORE] = [FRAME_CHECKSUM_FILL, FRAME_SEGMENT, FRAME_MORE];

/** Whether buffers may be exchanged between two ports of one arena. */
export function mayExchange(a: Port, b: Port): boolean {
  return a.pool !== null && a.pool === b.pool && a.frameBytes <= b.frameBytes;
}

/**
 * Hands the frame in an rx slot over to a tx slot, by exchange; both are the user's. Their ports satisfy `mayExchange`.
 * @param m The arena's words. @param from @param to Word indices of the slots.
 */
export function exchangeFrame(m: Int32Array, from: number, to: number): void {
  const empty = m[to + AT];
  m[to + AT] = m[from + AT];
  m[from + AT] = empty;
  m[to + LENGTH] = m[from + LENGTH];
  m[to + FLAGS] = m[from + FLAGS];
  m[to + AUX] = m[from + AUX];
}

/** The same by copying, between any ports of one arena. The frame must fit: `length <= to's frameBytes`. */
export function copyFrame(port: Port, from: number, to: number): void {
  const m = port.arena.i32;
  port.arena.kernels.copy(m[to + AT], m[from + AT], m[from + LENGTH]);
  m[to + LENGTH] = m[from + LENGTH];
  m[to + FLAGS] = m[from + FLAGS];
  m[to + AUX] = m[from + AUX];
}

/** @throws PortError EINVAL unless frames of one can be sent by the other */
export function checkForwardable(a: Port, b: Port): void {
  if (a === b) throw new PortError('EINVAL', `${a.name} can't be joined to itself: name two devices`);
  if (a.arena !== b.arena) throw new PortError('EINVAL', `${a.name} and ${b.name} are in different arenas`);
  if (a.capabilities.link === b.capabilities.link) return;
  const [ether, ip] = a.capabilities.link === 'ether' ? [a, b] : [b, a];
  throw new PortError(
    'EINVAL',
    `${ether.name} carries Ethernet frames and ${ip.name} bare IP packets: join devices of one kind (tap: with tap:, tun: with tun:)`,
  );
}

export interface ForwardCounters {
  /** Handed over, as they came. */
  frames: number;
  bytes: number;
  /** Longer than the destination's MTU or buffers: dropped. */
  tooLong: number;
  /** With work left to do that can't be done, or without an end: dropped. */
  malformed: number;
  /** Checksums that were completed, and pieces that super-segments were cut into. */
  completed: number;
  pieces: number;
}

export function forwardCounters(): ForwardCounters {
  return { frames: 0, bytes: 0, tooLong: 0, malformed: 0, completed: 0, pieces: 0 };
}

/** What became of a frame at an outlet. */
export const PUT = 1;
/** The ring has no room now. */
export const NO_ROOM = 0;
/** It can't be sent, and is counted. */
export const REFUSED = -1;

/** What one port takes as it is, and what is done to the rest. */
export class Outlet {
  readonly port: Port;
  /** FRAME_* of frames that only `put` may hand over. */
  readonly work: number;
  /** Longest frame that may be handed over without asking `put`, bytes. */
  readonly lengthMax: number;
  readonly counters: ForwardCounters;
  readonly #arena: Arena;
  readonly #ether: boolean;
  readonly #segmenter: Segmenter;
  /** A frame of several buffers in one, LARGE_ROOM_BYTES. */
  readonly #scratch: number;
  /** Next piece of the super-segment that waits for room; 0: there is none. */
  #piece = 0;

  /** @param scratch LARGE_ROOM_BYTES that nobody uses between two calls. @param counters May be others' too. */
  constructor(port: Port, scratch: number, counters: ForwardCounters) {
    const { link, mtu, txChecksum } = port.capabilities;
    this.port = port;
    this.#arena = port.arena;
    this.#ether = link === 'ether';
    this.work = MORE | SEGMENT | (txChecksum ? 0 : FILL);
    this.lengthMax = Math.min(port.frameBytes, mtu + (this.#ether ? ETHER_HEADER_BYTES : 0));
    this.counters = counters;
    this.#segmenter = new Segmenter(port.arena);
    this.#scratch = scratch;
  }

  /**
   * Hands over the frame in `count` rx slots of `from`, the first at `index`. After NO_ROOM, the next call is for the same
   * frame, or `abandon` comes first.
   * @param exchange Whether its buffers may go, as `mayExchange` says.
   */
  put(from: Port, index: number, count: number, exchange: boolean): number {
    const m = this.#arena.i32;
    const first = from.rx.slot(index);
    const flags = m[first + FLAGS];
    if (count === 1) return this.#putOne(first, m[first + AT], m[first + LENGTH], flags, exchange);
    let total = 0;
    for (let i = 0; i < count; i++) total += m[from.rx.slot((index + i) | 0) + LENGTH];
    const { tx, capabilities } = this.port;
    if (capabilities.multiBuffer && (flags & this.work & ~MORE) === 0) {
      if (total > this.#limit(m[first + AT], m[first + LENGTH]) || count > tx.slots) return this.#tooLong();
      if (count > tx.available) return NO_ROOM;
      for (let i = 0; i < count; i++) {
        const slot = from.rx.slot((index + i) | 0);
        if (m[slot + LENGTH] > this.port.frameBytes) return this.#tooLong();
      }
      for (let i = 0; i < count; i++) this.#hand(from.rx.slot((index + i) | 0), exchange);
      return this.#count(total);
    }
    if (total > LARGE_ROOM_BYTES) return this.#tooLong();
    for (let i = 0, done = 0; i < count; i++) {
      const slot = from.rx.slot((index + i) | 0);
      this.#arena.kernels.copy(this.#scratch + done, m[slot + AT], m[slot + LENGTH]);
      done += m[slot + LENGTH];
    }
    return this.#putOne(first, this.#scratch, total, flags & ~MORE, false);
  }

  /** Forgets the super-segment of which no more pieces will be asked for. */
  abandon(): void {
    this.#piece = 0;
  }

  /** The frame at `at`, whose descriptor is in `slot`. */
  #putOne(slot: number, at: number, length: number, flags: number, exchange: boolean): number {
    const { port, counters } = this;
    const m = this.#arena.i32;
    if (length <= 0) return this.#malformed();
    if ((flags & SEGMENT) !== 0) {
      if (this.#piece === 0 && !this.#segmenter.begin(at, length, m[slot + AUX], this.#ether))
        return this.#malformed();
      if (this.#segmenter.pieceBytes > this.#limit(at, length)) return this.#tooLong();
      const { segmentBytesMax, segmentUdp } = port.capabilities;
      const takes = length <= segmentBytesMax && (segmentUdp || this.#segmenter.tcp);
      if (!takes || length > port.frameBytes) return this.#cut(length);
    } else if (length > this.#limit(at, length)) return this.#tooLong();
    if (port.tx.available === 0) return NO_ROOM;
    if ((flags & FILL & this.work) !== 0) {
      if (!completeChecksum(this.#arena, at, length, this.#ether)) return this.#malformed();
      counters.completed++;
      flags &= ~FILL;
      // For the other destinations of this frame, too.
      if (at === m[slot + AT]) m[slot + FLAGS] = flags;
    }
    if (at === m[slot + AT]) this.#hand(slot, exchange);
    else this.#copyOut(at, length, flags, m[slot + AUX]);
    return this.#count(length);
  }

  #hand(slot: number, exchange: boolean): void {
    const { tx } = this.port;
    if (exchange) exchangeFrame(this.#arena.i32, slot, tx.slot(tx.head));
    else copyFrame(this.port, slot, tx.slot(tx.head));
    tx.head = (tx.head + 1) | 0;
  }

  #copyOut(at: number, length: number, flags: number, aux: number): void {
    const { tx } = this.port;
    const m = this.#arena.i32;
    const slot = tx.slot(tx.head);
    this.#arena.kernels.copy(m[slot + AT], at, length);
    m[slot + LENGTH] = length;
    m[slot + FLAGS] = flags;
    m[slot + AUX] = aux;
    tx.head = (tx.head + 1) | 0;
  }

  #cut(length: number): number {
    const { tx } = this.port;
    const m = this.#arena.i32;
    const segmenter = this.#segmenter;
    for (; this.#piece < segmenter.pieces; this.#piece++) {
      if (tx.available === 0) return NO_ROOM;
      const slot = tx.slot(tx.head);
      m[slot + LENGTH] = segmenter.write(this.#piece, m[slot + AT]);
      m[slot + FLAGS] = 0;
      m[slot + AUX] = 0;
      tx.head = (tx.head + 1) | 0;
    }
    this.#piece = 0;
    this.counters.pieces += segmenter.pieces;
    return this.#count(length);
  }

  /** Longest frame of this one's kind, bytes: VLAN tags aren't the MTU's. */
  #limit(at: number, length: number): number {
    if (!this.#ether) return this.lengthMax;
    return Math.min(this.port.frameBytes, this.lengthMax + vlanBytes(this.#arena.view, at, length));
  }

  #count(bytes: number): number {
    this.counters.frames++;
    this.counters.bytes += bytes;
    return PUT;
  }

  #tooLong(): number {
    this.counters.tooLong++;
    return REFUSED;
  }

  #malformed(): number {
    this.counters.malformed++;
    return REFUSED;
  }
}

/** How many rx slots the frame at `index` takes up; 0: its end hasn't come yet. */
export function slotsOfFrame({ rx }: Port, index: number): number {
  const { m, tail } = rx;
  for (let count = 1, i = index; i !== tail; count++, i = (i + 1) | 0) {
    if ((m[rx.slot(i) + FLAGS] & MORE) === 0) return count;
  }
  return 0;
}

/** Room for a frame of several buffers, shared by the outlets of one thread. @throws ArenaFullError */
export function carveScratch(arena: Arena): number {
  return arena.carveUnzeroed('linear frame', LARGE_ROOM_BYTES);
}

/** One way: what one port receives is sent by the other. When that is full, frames wait where they are. */
export class Forwarder {
  readonly counters = forwardCounters();
  readonly #from: Port;
  readonly #out: Outlet;
  readonly #exchange: boolean;

  /** @throws PortError EINVAL when the ports' links differ, or it is one port @throws ArenaFullError */
  constructor(from: Port, to: Port, scratch: number = carveScratch(to.arena)) {
    checkForwardable(from, to);
    this.#from = from;
    this.#out = new Outlet(to, scratch, this.counters);
    this.#exchange = mayExchange(from, to);
  }

  /** Hands over as many received frames as there is room for; who calls does the syncs. @returns rx slots given back */
  forward(): number {
    const { rx } = this.#from;
    const { tail } = rx;
    const start = rx.head;
    while (rx.head !== tail) {
      if (this.#exchange) this.#exchangeRun();
      else this.#copyRun();
      if (rx.head === tail) break;
      const count = this.#put(rx.head);
      if (count === 0) break;
      rx.head = (rx.head + count) | 0;
    }
    return (rx.head - start) | 0;
  }

  /** Hands over frames that the destination takes as they are, up to the first that it doesn't. */
  #exchangeRun(): void {
    const { rx } = this.#from;
    const { port, work, lengthMax } = this.#out;
    const { tx } = port;
    const room = tx.available;
    const n = rx.available;
    const moved = port.arena.kernels.exchange(
      rx.base << 2,
      rx.mask,
      rx.head,
      tx.base << 2,
      tx.mask,
      tx.head,
      n < room ? n : room,
      work,
      lengthMax,
    );
    const frames = Math.floor(moved / FRAME);
    tx.head = (tx.head + frames) | 0;
    rx.head = (rx.head + frames) | 0;
    this.counters.frames += frames;
    this.counters.bytes += moved - frames * FRAME;
  }

  #copyRun(): void {
    const { rx } = this.#from;
    const { port, work, lengthMax } = this.#out;
    const { tx } = port;
    const { m, tail } = rx;
    let frames = 0;
    let bytes = 0;
    for (; rx.head !== tail && tx.available > 0; rx.head = (rx.head + 1) | 0) {
      const from = rx.slot(rx.head);
      const length = m[from + LENGTH];
      if ((m[from + FLAGS] & work) !== 0 || length <= 0 || length > lengthMax) break;
      copyFrame(port, from, tx.slot(tx.head));
      tx.head = (tx.head + 1) | 0;
      frames++;
      bytes += length;
    }
    this.counters.frames += frames;
    this.counters.bytes += bytes;
  }

  /** @returns rx slots to give back; 0: the frame waits */
  #put(head: number): number {
    const { rx } = this.#from;
    const count = slotsOfFrame(this.#from, head);
    if (count > 0) return this.#out.put(this.#from, head, count, this.#exchange) === NO_ROOM ? 0 : count;
    // No ring holds it whole.
    if (((rx.tail - head) | 0) < rx.slots) return 0;
    this.counters.malformed++;
    return rx.slots;
  }
}

/** Both ways between two ports. A full device holds the other one back, as netmap's `bridge` does. */
export class Bridge {
  readonly forth: Forwarder;
  readonly back: Forwarder;
  readonly #a: Port;
  readonly #b: Port;

  /** @throws as Forwarder */
  constructor(a: Port, b: Port) {
    const scratch = carveScratch(a.arena);
    this.forth = new Forwarder(a, b, scratch);
    this.back = new Forwarder(b, a, scratch);
    this.#a = a;
    this.#b = b;
  }

  /** One batch in each direction. @returns how many descriptors moved; 0: nothing could be done */
  turn(): number {
    const a = this.#a;
    const b = this.#b;
    a.rxSync();
    b.rxSync();
    const moved = this.forth.forward() + this.back.forward();
    a.txSync();
    b.txSync();
    return moved;
  }
}
