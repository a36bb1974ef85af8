/**
 * A cable: two ports in one arena, each end's tx ring feeding the other's rx ring (netmap's pipe). A frame crosses
 * by exchanging the buffers of two slots: nothing is copied, and nobody's pool is touched.
 */
import type { Arena } from '../memory/arena.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  Ring,
} from '../memory/ring.ts';
import type { Capabilities, Link, Port, PortCounters } from './port.ts';

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
  /** Frames start this many bytes into their buffer; 0 unless told. */
  readonly headroom?: number;
}

/** An Ethernet header with a VLAN tag's worth to spare. */
const LINK_BYTES_MAX = 18;
/** Frames are one cache line apart from a power of two, so that they don't share cache sets. */
const LINE = 64;

/** @returns both ends. The name is what counters and captures call them: `name.0`, `name.1`. */
export function createCable(arena: Arena, name: string, options: CableOptions = {}): [Port, Port] {
  const a = new CableEnd(arena, `${name}.0`, 0, options);
  const b = new CableEnd(arena, `${name}.1`, 1, options);
  a.peer = b;
  b.peer = a;
  return [a, b];
}

class CableEnd implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters: PortCounters = {
    rxFrames: 0,
    rxBytes: 0,
    rxDropped: 0,
    txFrames: 0,
    txBytes: 0,
    txDropped: 0,
  };
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly fd = -1;
  onArrival: () => void = () => {};
  peer: CableEnd | null = null;
  readonly #m: Int32Array;
  /** Free-running indices: rx slots filled, rx slots given back; tx slots taken. */
  #filled = 0;
  #released = 0;
  #taken = 0;

  constructor(arena: Arena, name: string, end: number, options: CableOptions) {
    const { link = 'ether', mtu = 1500, slots = 256, offload = false, headroom = 0 } = options;
    this.name = name;
    this.arena = arena;
    this.#m = arena.i32;
    this.frameBytes = offload ? 65_536 : mtu + LINK_BYTES_MAX;
    this.capabilities = {
      link,
      mtu,
      // Locally administered; the last byte tells the ends apart.
      mac: link === 'ether' ? Uint8Array.of(0x02, 0x6d, 0x72, 0, 0, end + 1) : null,
      txChecksum: offload,
      rxChecksum: offload,
      segmentBytesMax: offload ? 65_535 : 0,
    };
    this.rx = new Ring(arena, `${name} rx`, slots);
    this.tx = new Ring(arena, `${name} tx`, slots);
    const size = headroom + this.frameBytes;
    const stride = ((size + LINE - 1) & -LINE) + (((size + LINE - 1) / LINE) & 1 ? 0 : LINE);
    const frames = arena.carve(`${name} frames`, 2 * slots * stride);
    for (let i = 0; i < slots; i++) {
      this.#m[this.rx.slot(i) + AT] = frames + headroom + i * stride;
      this.#m[this.tx.slot(i) + AT] = frames + headroom + (slots + i) * stride;
    }
    this.tx.tail = slots;
  }

  rxSync(): number {
    this.#released = this.rx.head;
    this.rx.tail = this.#filled;
    return this.rx.available;
  }

  txSync(): number {
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
      for (let i = 0; i < n; i++) {
        const from = tx.slot((this.#taken + i) | 0);
        const to = peer.rx.slot((peer.#filled + i) | 0);
        const empty = m[to + AT];
        m[to + AT] = m[from + AT];
        m[from + AT] = empty;
        bytes += m[from + LENGTH];
        m[to + LENGTH] = m[from + LENGTH];
        m[to + FLAGS] =
          (m[from + FLAGS] & CHECKSUM_FILL) !== 0 ? m[from + FLAGS] | CHECKSUM_GOOD : m[from + FLAGS];
        m[to + AUX] = m[from + AUX];
      }
      this.#taken = (this.#taken + n) | 0;
      peer.#filled = (peer.#filled + n) | 0;
      this.counters.txFrames += n;
      this.counters.txBytes += bytes;
      peer.counters.rxFrames += n;
      peer.counters.rxBytes += bytes;
      if (n > 0) peer.onArrival();
    }
    tx.tail = (this.#taken + tx.slots) | 0;
    return tx.available;
  }

  /** The other end stays usable: what it sends from now on is lost, as with a cable pulled out. */
  close(): void {
    if (this.peer !== null) this.peer.peer = null;
    this.peer = null;
  }
}
