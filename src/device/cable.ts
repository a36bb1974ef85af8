/**
 * A cable: two ports in one arena, each end's tx ring feeding the other's rx ring (netmap's pipe). A frame crosses
 * by exchanging the buffers of two slots: nothing is copied, and nobody's pool is touched.
 */
import type { Arena } from '../memory/arena.ts';
import { FramePool } from '../memory/frame-pool.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  Ring,
} from '../memory/ring.ts';
import { emptyRing, FRAME_HEADROOM, fillRing } from './frames.ts';
import { type Capabilities, type Link, PLAIN, type Port, portCounters } from './port.ts';

const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const CHECKSUM_FILL = FRAME_CHECKSUM_FILL;
const CHECKSUM_GOOD = FRAME_CHECKSUM_GOOD;

export interface CableOptions {
  /** 'ether' unless told. */
  readonly link?: Link;
  /** Largest IP packet, bytes; 1500 unless told. */
  readonly mtu?: number;
  /** Slots of each ring, a power of two; 256 unless told. */
  readonly slots?: number;
  /** Takes super-segments of up to 64 KiB and leaves checksums out, as a virtual NIC does; off unless told. */
  readonly offload?: boolean;
  /** Where the buffers of both ends come from, four for each slot; a pool of the cable's own unless told. */
  readonly pool?: FramePool;
}

/** An Ethernet header with a VLAN tag's worth to spare. */
const LINK_BYTES_MAX = 18;
const LINE = 64;
const MTU_DEFAULT = 1500;
const SLOTS_DEFAULT = 256;

/** @returns both ends. The name is what counters and captures call them: `name.0`, `name.1`. */
export function createCable(arena: Arena, name: string, options: CableOptions = {}): [Port, Port] {
  const pool = options.pool ?? poolOf(arena, name, options);
  const a = new CableEnd(arena, `${name}.0`, 0, options, pool);
  const b = new CableEnd(arena, `${name}.1`, 1, options, pool);
  a.peer = b;
  b.peer = a;
  return [a, b];
}

function frameBytesOf({ mtu = MTU_DEFAULT, offload = false }: CableOptions): number {
  return offload ? 65_536 : mtu + LINK_BYTES_MAX;
}

/** Frames without headroom, an odd number of lines apart, so that their headers don't share cache sets. */
function poolOf(arena: Arena, name: string, options: CableOptions): FramePool {
  const frameBytes = (Math.ceil(frameBytesOf(options) / LINE) | 1) * LINE;
  return new FramePool(arena, `${name} frames`, { frames: 4 * (options.slots ?? SLOTS_DEFAULT), frameBytes });
}

class CableEnd implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters = portCounters();
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool: FramePool;
  readonly rxTimes = null;
  readonly fd = -1;
  onArrival: () => void = () => {};
  peer: CableEnd | null = null;
  readonly #m: Int32Array;
  /** Free-running indices: rx slots filled, rx slots given back; tx slots taken. */
  #filled = 0;
  #released = 0;
  #taken = 0;
  #closed = false;

  constructor(arena: Arena, name: string, end: number, options: CableOptions, pool: FramePool) {
    const { link = 'ether', mtu = MTU_DEFAULT, slots = SLOTS_DEFAULT, offload = false } = options;
    this.name = name;
    this.arena = arena;
    this.#m = arena.i32;
    this.pool = pool;
    this.frameBytes = frameBytesOf(options);
    this.capabilities = {
      ...PLAIN,
      link,
      mtu,
      // Locally administered; the last byte tells the ends apart.
      mac: link === 'ether' ? Uint8Array.of(0x02, 0x6d, 0x72, 0, 0, end + 1) : null,
      txChecksum: offload,
      rxChecksum: offload,
      segmentBytesMax: offload ? 65_535 : 0,
      multiBuffer: true,
    };
    this.rx = new Ring(arena, `${name} rx`, slots);
    this.tx = new Ring(arena, `${name} tx`, slots);
    const headroom = options.pool === undefined ? 0 : FRAME_HEADROOM;
    fillRing(this.rx, pool, headroom);
    fillRing(this.tx, pool, headroom);
    this.tx.tail = slots;
  }

  rxSync(): number {
    if (this.#closed) return 0;
    this.#released = this.rx.head;
    this.rx.tail = this.#filled;
    return this.rx.available;
  }

  txSync(): number {
    if (this.#closed) return 0;
    const { tx, peer } = this;
    const m = this.#m;
    if (peer === null) {
      this.counters.txDropped += (tx.head - this.#taken) | 0;
      this.#taken = tx.head;
    } else {
      const room = peer.rx.slots - ((peer.#filled - peer.#released) | 0);
      let n = (tx.head - this.#taken) | 0;
      if (n > room) n = room;
      let bytes = 0;
      let filled = peer.#filled;
      for (let i = 0; i < n; i++) {
        const from = tx.slot((this.#taken + i) | 0);
        const length = m[from + LENGTH];
        if (length <= 0 || length > this.frameBytes) continue;
        const to = peer.rx.slot(filled);
        const empty = m[to + AT];
        m[to + AT] = m[from + AT];
        m[from + AT] = empty;
        m[to + LENGTH] = length;
        m[to + FLAGS] =
          (m[from + FLAGS] & CHECKSUM_FILL) !== 0 ? m[from + FLAGS] | CHECKSUM_GOOD : m[from + FLAGS];
        m[to + AUX] = m[from + AUX];
        bytes += length;
        filled = (filled + 1) | 0;
      }
      const moved = (filled - peer.#filled) | 0;
      peer.#filled = filled;
      this.#taken = (this.#taken + n) | 0;
      this.counters.txFrames += moved;
      this.counters.txBytes += bytes;
      this.counters.txDropped += n - moved;
      peer.counters.rxFrames += moved;
      peer.counters.rxBytes += bytes;
      if (n > 0) peer.onArrival();
    }
    tx.tail = (this.#taken + tx.slots) | 0;
    return tx.available;
  }

  /** The other end stays usable: what it sends from now on is lost, as with a cable pulled out. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.peer !== null) this.peer.peer = null;
    this.peer = null;
    this.rx.head = this.rx.tail;
    this.tx.head = this.tx.tail;
    emptyRing(this.rx, this.pool);
    emptyRing(this.tx, this.pool);
  }
}
