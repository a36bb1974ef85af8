/**
 * What one queue of an AF_PACKET port receives: two sockets with a ring each, one for frames as networks have them and one
 * for the super-segments of local peers. A ring's slots are all of one size; were there only slots of 64 KiB, a burst of
 * a few hundred small frames would fill the ring.
 */
import { closeSync } from 'node:fs';
import type { Arena } from '../memory/arena.ts';
import { libc } from '../os/libc.ts';
import { type FilterTarget, packetFilter } from '../os/packet-filter.ts';
import {
  attachFilter,
  bindPacketSocket,
  joinAll,
  mapRxRing,
  openPacketSocket,
  type PacketRing,
  setPacketModes,
  takeDrops,
  takeError,
  unmapRxRing,
} from '../os/packet-socket.ts';

/** struct tpacket2_hdr */
const STATUS = 0;
const SECONDS = 16;
const NANOSECONDS = 20;
const STATUS_KERNEL = 0;
const STATUS_USER = 1;
const STATUS_LOSING = 4;

const PAGE_BYTES = 4096;
/** Longer frames go to the ring of large slots. */
const SMALL_LENGTH_MAX = 1792;
/** 2,112 slots and 240. They are an odd number of lines apart, so that their first lines don't share cache sets. */
const SMALL: PacketRing = { blockBytes: 1 << 20, blocks: 4, slotBytes: 1984 };
const LARGE: PacketRing = { blockBytes: 1 << 20, blocks: 16, slotBytes: 65_856 };

/** What a queue carves at most, bytes. */
export const QUEUE_ARENA_BYTES = (SMALL.blocks + LARGE.blocks) * SMALL.blockBytes + 2 * PAGE_BYTES;

/** One socket, its ring, and the place in it. */
class RxRing {
  readonly fd: number;
  /** The slot that the kernel fills next, bytes in the arena. */
  slot: number;
  readonly #ring: PacketRing;
  readonly #slotsInBlock: number;
  readonly #begin: number;
  readonly #end: number;
  readonly #address: number;
  #inBlock = 0;
  #mapped = false;

  /** @throws SystemError, ArenaFullError */
  constructor(arena: Arena, name: string, ring: PacketRing) {
    this.#ring = ring;
    this.#slotsInBlock = Math.floor(ring.blockBytes / ring.slotBytes);
    this.#begin = arena.carveUnzeroed(name, ring.blockBytes * ring.blocks, PAGE_BYTES);
    this.#end = this.#begin + ring.blockBytes * ring.blocks;
    this.#address = libc().addressOf(arena.u8) + this.#begin;
    this.slot = this.#begin;
    this.fd = openPacketSocket();
  }

  /** @throws SystemError */
  start(ifindex: number, target: FilterTarget | null, outgoing: boolean): void {
    setPacketModes(this.fd, outgoing);
    attachFilter(this.fd, packetFilter(SMALL_LENGTH_MAX, this.#ring === LARGE, target));
    mapRxRing(this.fd, this.#ring, this.#address);
    this.#mapped = true;
    bindPacketSocket(this.fd, ifindex);
  }

  /** To the next slot: blocks have some bytes to spare at their ends. */
  advance(): void {
    const { blockBytes, slotBytes } = this.#ring;
    this.slot += slotBytes;
    if (++this.#inBlock < this.#slotsInBlock) return;
    this.#inBlock = 0;
    this.slot += blockBytes - this.#slotsInBlock * slotBytes;
    if (this.slot === this.#end) this.slot = this.#begin;
  }

  close(): void {
    if (this.#mapped) unmapRxRing(this.#ring, this.#address);
    closeSync(this.fd);
  }
}

export class PacketQueue {
  readonly #m: Int32Array;
  readonly #small: RxRing;
  readonly #large: RxRing;
  /** Has the slot that `next` gave. */
  #current: RxRing | null = null;

  /**
   * @param target Whose frames are received; null: everybody's.
   * @param more What the interface has to take besides what it takes for the host: nothing, where another queue saw to it.
   * @param outgoing Whether frames that leave the interface are received, too.
   * @throws SystemError, ArenaFullError
   */
  constructor(
    arena: Arena,
    name: string,
    ifindex: number,
    target: FilterTarget | null,
    more: 'hosts' | 'groups' | null,
    outgoing: boolean,
  ) {
    this.#m = arena.i32;
    this.#small = new RxRing(arena, `${name} small`, SMALL);
    let large: RxRing | null = null;
    try {
      large = new RxRing(arena, `${name} large`, LARGE);
      this.#small.start(ifindex, target, outgoing);
      large.start(ifindex, target, outgoing);
      if (more !== null) joinAll(this.#small.fd, ifindex, more);
      this.#large = large;
    } catch (error) {
      this.#small.close();
      large?.close();
      throw error;
    }
  }

  get fds(): [small: number, large: number] {
    return [this.#small.fd, this.#large.fd];
  }

  /** The slot of the frame that came first, bytes in the arena, or 0; the same until `release`. */
  next(): number {
    if (this.#current !== null) return this.#current.slot;
    const small = this.#small.slot;
    const large = this.#large.slot;
    if (!this.#filled(small)) {
      if (!this.#filled(large)) return 0;
      // An earlier frame may have come to the small ring between the two looks.
      this.#current = this.#filled(small) && this.#earlier(small, large) ? this.#small : this.#large;
    } else {
      this.#current = this.#filled(large) && this.#earlier(large, small) ? this.#large : this.#small;
    }
    return this.#current.slot;
  }

  #filled(slot: number): boolean {
    return (Atomics.load(this.#m, (slot + STATUS) >> 2) & STATUS_USER) !== 0;
  }

  #earlier(a: number, b: number): boolean {
    const m = this.#m;
    const seconds = (m[(a + SECONDS) >> 2] - m[(b + SECONDS) >> 2]) | 0;
    return seconds !== 0 ? seconds < 0 : m[(a + NANOSECONDS) >> 2] < m[(b + NANOSECONDS) >> 2];
  }

  /** Gives the slot back to the kernel. @returns how many frames have found none, as far as has become known now */
  release(): number {
    const ring = this.#current!;
    const at = (ring.slot + STATUS) >> 2;
    const losing = (this.#m[at] & STATUS_LOSING) !== 0;
    Atomics.store(this.#m, at, STATUS_KERNEL);
    ring.advance();
    this.#current = null;
    return losing ? takeDrops(ring.fd) : 0;
  }

  /** Whether a socket had an error since the last call, as when the interface goes down; it polls readable until then. */
  takeError(): boolean {
    const errors = this.fds.map(takeError);
    return errors.some((errno) => errno !== 0);
  }

  close(): void {
    this.#small.close();
    this.#large.close();
  }
}
