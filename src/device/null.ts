/**
 * A device that is never at a loss: everything that is sent is gone at once, and as many frames are received as there are
 * free slots (DPDK's net_null). For measurements of all that is not the device.
 *
 * Received frames are zeros at first, and later whatever was in the buffers that came back.
 */
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { DESC_AUX, DESC_FLAGS, DESC_LENGTH, FRAME_MORE, type Ring } from '../memory/ring.ts';
import { createRings, emptyRings, framesArenaBytes, ringArenaBytes } from './frames.ts';
import { type Capabilities, PLAIN, type Port, PortError, portCounters } from './port.ts';

export interface NullOptions {
  /** Length of the frames that are received, bytes; 64 unless told. 0: none ever is. */
  readonly rxBytes?: number;
  /** Largest IP packet, bytes; 1500 unless told. */
  readonly mtu?: number;
  /** Slots of each ring, a power of two; 256 unless told. */
  readonly slots?: number;
  /** Where the buffers come from, two for each slot; a pool of its own unless told, or when that one's are too small. */
  readonly pool?: FramePool;
}

export const NULL_RX_BYTES_MAX = 1518;
const RX_BYTES_DEFAULT = 64;
const MTU_DEFAULT = 1500;
const SLOTS_DEFAULT = 256;
/** An Ethernet header with a VLAN tag. */
const LINK_BYTES_MAX = 18;
const MAC = Uint8Array.of(0x02, 0x6d, 0x72, 0x6e, 0x75, 0x6c);

const [LENGTH, FLAGS, AUX] = [DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const MORE = FRAME_MORE;

/** @throws PortError EINVAL, ArenaFullError */
export function openNull(arena: Arena, options: NullOptions = {}): Port {
  return new NullPort(arena, options);
}

/** What a port carves at most, bytes. */
export function nullArenaBytes({ mtu = MTU_DEFAULT, slots = SLOTS_DEFAULT }: NullOptions = {}): number {
  return 2 * ringArenaBytes(slots) + framesArenaBytes(2 * slots, frameBytesOf(mtu));
}

function frameBytesOf(mtu: number): number {
  return Math.max(mtu + LINK_BYTES_MAX, NULL_RX_BYTES_MAX);
}

class NullPort implements Port {
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
  readonly #rxBytes: number;
  #taken = 0;
  #closed = false;

  constructor(arena: Arena, options: NullOptions) {
    const { rxBytes = RX_BYTES_DEFAULT, mtu = MTU_DEFAULT, slots = SLOTS_DEFAULT, pool } = options;
    if (!Number.isInteger(rxBytes) || rxBytes < 0 || rxBytes > NULL_RX_BYTES_MAX)
      throw new PortError('EINVAL', `frames of null have 0 to ${NULL_RX_BYTES_MAX} bytes, not ${rxBytes}`);
    this.name = rxBytes === RX_BYTES_DEFAULT ? 'null' : `null:${rxBytes}`;
    this.arena = arena;
    this.#rxBytes = rxBytes;
    this.capabilities = { ...PLAIN, link: 'ether', mtu, mac: MAC, multiBuffer: true };
    const frameBytes = frameBytesOf(mtu);
    const rings = createRings(arena, this.name, { slots, frameBytes, link: 'ether', pool });
    this.frameBytes = frameBytes;
    this.rx = rings.rx;
    this.tx = rings.tx;
    this.pool = rings.pool;
  }

  rxSync(): number {
    const { rx, counters } = this;
    const rxBytes = this.#rxBytes;
    if (this.#closed || rxBytes === 0) return 0;
    const { m } = rx;
    const n = (rx.slots - rx.available) | 0;
    for (let i = 0; i < n; i++) {
      const slot = rx.slot((rx.tail + i) | 0);
      m[slot + LENGTH] = rxBytes;
      m[slot + FLAGS] = 0;
      m[slot + AUX] = 0;
    }
    rx.tail = (rx.tail + n) | 0;
    counters.rxFrames += n;
    counters.rxBytes += n * rxBytes;
    // Whoever waits needn't.
    this.onArrival();
    return rx.available;
  }

  txSync(): number {
    const { tx, counters, frameBytes } = this;
    if (this.#closed) return 0;
    const { m } = tx;
    let bytes = 0;
    let frames = 0;
    for (; this.#taken !== tx.head; this.#taken = (this.#taken + 1) | 0) {
      const slot = tx.slot(this.#taken);
      const length = m[slot + LENGTH];
      if (length <= 0 || length > frameBytes) {
        counters.txDropped++;
        continue;
      }
      bytes += length;
      if ((m[slot + FLAGS] & MORE) === 0) frames++;
    }
    counters.txFrames += frames;
    counters.txBytes += bytes;
    tx.tail = (this.#taken + tx.slots) | 0;
    return tx.available;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    emptyRings(this, this.pool);
  }
}
