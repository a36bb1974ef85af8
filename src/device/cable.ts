/**
 * A cable: two ports in one arena, each end's tx ring feeding the other's rx ring (netmap's pipe). A frame crosses
 * by exchanging the buffers of two slots: nothing is copied, and nobody's pool is touched.
 */
import type { Arena } from '../memory/arena.ts';
import { FramePool } from '../memory/frame-pool.ts';
import { EXCHANGE_FRAME, type Kernels } from '../memory/kernels/kernels.ts';
import { Ring } from '../memory/ring.ts';
import { emptyRings, FRAME_HEADROOM, fillRing } from './frames.ts';
import { type Capabilities, type Link, PLAIN, type Port, portCounters } from './port.ts';

// V8 folds a module's own constants, not imported ones.
const FRAME = EXCHANGE_FRAME;

export interface CableOptions {
  /** 'ether' unless told. */
  readonly link?: Link;
  /** Largest IP packet, bytes; 1500 unless told. */
  readonly mtu?: number;
  /** Slots of each ring, a power of two; 256 unless told. */
  readonly slots?: number;
  /** Takes super-segments of up to 64 KiB and leaves checksums out, as a virtual NIC does; off unless told. */
  readonly offload?: boolean;
  /** The first end's hardware address, 6 bytes, for 'ether'; one that tells the ends apart unless told. */
  readonly mac?: Uint8Array;
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

/** Locally administered; the last byte tells the ends apart. */
function macOf(end: number, { mac }: CableOptions): Uint8Array {
  return end === 0 && mac !== undefined ? mac : Uint8Array.of(0x02, 0x6d, 0x72, 0, 0, end + 1);
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
  readonly fds = [];
  onArrival: () => void = () => {};
  peer: CableEnd | null = null;
  readonly #kernels: Kernels;
  /** Free-running indices: rx slots filled, rx slots given back; tx slots offered by a sync, tx slots taken. */
  #filled = 0;
  #released = 0;
  #offered = 0;
  #taken = 0;
  #closed = false;

  constructor(arena: Arena, name: string, end: number, options: CableOptions, pool: FramePool) {
    const { link = 'ether', mtu = MTU_DEFAULT, slots = SLOTS_DEFAULT, offload = false } = options;
    this.name = name;
    this.arena = arena;
    this.#kernels = arena.kernels;
    this.pool = pool;
    this.frameBytes = frameBytesOf(options);
    this.capabilities = {
      ...PLAIN,
      link,
      mtu,
      mac: link === 'ether' ? macOf(end, options) : null,
      txChecksum: offload,
      rxChecksum: offload,
      segmentBytesMax: offload ? 65_535 : 0,
      segmentUdp: offload,
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
    const { peer } = this;
    // What found no room at the peer's last sync: else it would wait until the peer has something new.
    if (peer !== null && peer.#offered !== peer.#taken) peer.#move(this);
    this.rx.tail = this.#filled;
    return this.rx.available;
  }

  txSync(): number {
    if (this.#closed) return 0;
    const { tx, peer } = this;
    this.#offered = tx.head;
    if (peer === null) {
      this.counters.txDropped += (tx.head - this.#taken) | 0;
      this.#taken = tx.head;
    } else if (this.#move(peer)) peer.onArrival();
    tx.tail = (this.#taken + tx.slots) | 0;
    return tx.available;
  }

  /** Moves as many of the offered frames as the peer has room for. @returns whether there were any */
  #move(peer: CableEnd): boolean {
    const { tx, counters } = this;
    const { rx } = peer;
    const room = rx.slots - ((peer.#filled - peer.#released) | 0);
    let n = (this.#offered - this.#taken) | 0;
    if (n > room) n = room;
    if (n === 0) return false;
    const { exchange } = this.#kernels;
    const lengthMax = this.frameBytes;
    let frames = 0;
    let bytes = 0;
    while (n > 0) {
      const moved = exchange(
        tx.base << 2,
        tx.mask,
        this.#taken,
        rx.base << 2,
        rx.mask,
        peer.#filled,
        n,
        0,
        lengthMax,
      );
      const count = Math.floor(moved / FRAME);
      frames += count;
      bytes += moved - count * FRAME;
      peer.#filled = (peer.#filled + count) | 0;
      // What it stopped at can't be a frame.
      const passed = count < n ? count + 1 : count;
      counters.txDropped += passed - count;
      this.#taken = (this.#taken + passed) | 0;
      n -= passed;
    }
    counters.txFrames += frames;
    counters.txBytes += bytes;
    peer.counters.rxFrames += frames;
    peer.counters.rxBytes += bytes;
    return true;
  }

  /** The other end stays usable: what it sends from now on is lost, as with a cable pulled out. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.peer !== null) this.peer.peer = null;
    this.peer = null;
    emptyRings(this, this.pool);
  }
}
