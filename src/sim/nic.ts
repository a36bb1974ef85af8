/**
 * A host's network card: the port that its engine has, and the link that it sends on. Frames are copied in and out,
 * and what the engine has given back is overwritten, so that late reading shows. With offload the card cuts
 * super-segments (TSO), joins what arrives in a row (GRO), and fills in and checks checksums; on links there are only
 * packets that fit them.
 */
import { type Capabilities, PLAIN, type Port, portCounters } from '../device/port.ts';
import { completeChecksum, Segmenter } from '../device/segmentation.ts';
import type { Arena } from '../memory/arena.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  FRAME_SEGMENT,
  Ring,
} from '../memory/ring.ts';
import { checksumFinish, sumWords } from '../wire/checksum.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { IPV4_CHECKSUM, IPV4_TOTAL_LENGTH } from '../wire/ipv4.ts';
import { IPV6_PAYLOAD_LENGTH } from '../wire/ipv6.ts';
import { FLAG_ACK, FLAG_PSH, TCP_OFFSET_FLAGS, TCP_SEQ } from '../wire/tcp.ts';
import type { Link } from './link.ts';
import type { World } from './world.ts';

const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const OFFLOAD_BYTES = 65_536;
/** What stands in frames that were given back; no program sends it. */
const POISON = 0xdb;

/** Sees every packet where the host's engine meets the network; `at` is its IP header. */
export interface Tap {
  sent(at: number, length: number): void;
  received(at: number, length: number, damaged: boolean): void;
}

export interface NicOptions {
  readonly number: number;
  readonly link: 'ether' | 'ip';
  readonly mtu: number;
  readonly slots: number;
  readonly offload: boolean;
}

export class Nic implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters = portCounters();
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool = null;
  readonly rxTimes = null;
  readonly fds = [];
  onArrival: () => void = () => {};
  /** Set when the host is joined to something. */
  out: Link | null = null;
  tap: Tap | null = null;
  /** Frames that have arrived and wait for the engine. */
  pending = 0;
  readonly #world: World;
  readonly #m: Int32Array;
  readonly #offload: boolean;
  readonly #linkBytes: number;
  readonly #poison: number;
  readonly #segmenter: Segmenter;
  #head = -1;
  #tail = -1;
  /** Free-running indices: rx slots poisoned, tx slots taken. */
  #released = 0;
  #taken = 0;

  constructor(world: World, name: string, options: NicOptions) {
    const { number, link, mtu, slots, offload } = options;
    const { arena } = world;
    const ether = link === 'ether';
    this.name = name;
    this.arena = arena;
    this.#world = world;
    this.#m = arena.i32;
    this.#offload = offload;
    this.#segmenter = new Segmenter(arena);
    this.#linkBytes = ether ? ETHER_HEADER_BYTES : 0;
    this.frameBytes = offload ? OFFLOAD_BYTES : mtu + this.#linkBytes;
    this.capabilities = {
      ...PLAIN,
      link,
      mtu,
      mac: ether ? Uint8Array.of(0x02, 0x6d, 0x72, 0, 0, number) : null,
      txChecksum: offload,
      rxChecksum: offload,
      segmentBytesMax: offload ? OFFLOAD_BYTES - 1 : 0,
    };
    this.rx = new Ring(arena, `${name} rx`, slots);
    this.tx = new Ring(arena, `${name} tx`, slots);
    const stride = (((this.frameBytes + 63) >> 6) | 1) << 6;
    const frames = arena.carveUnzeroed(`${name} slots`, 2 * slots * stride);
    for (let i = 0; i < slots; i++) {
      this.#m[this.rx.slot(i) + AT] = frames + i * stride;
      this.#m[this.tx.slot(i) + AT] = frames + (slots + i) * stride;
    }
    this.tx.tail = slots;
    this.#poison = arena.carveUnzeroed(`${name} poison`, mtu + this.#linkBytes);
    arena.u8.fill(POISON, this.#poison, this.#poison + mtu + this.#linkBytes);
  }

  /** A frame comes in, and is the card's. */
  arrive(f: number): void {
    const { frames } = this.#world;
    // A card has no memory but its ring.
    if (this.pending >= this.rx.slots || frames.length[f] > this.frameBytes) {
      this.counters.rxDropped++;
      frames.give(f);
      return;
    }
    frames.next[f] = -1;
    if (this.#head < 0) this.#head = f;
    else frames.next[this.#tail] = f;
    this.#tail = f;
    this.pending++;
    this.onArrival();
  }

  rxSync(): number {
    const { rx } = this;
    const m = this.#m;
    for (; this.#released !== rx.head; this.#released = (this.#released + 1) | 0) {
      const slot = rx.slot(this.#released);
      const bytes = m[slot + LENGTH] < this.capabilities.mtu ? m[slot + LENGTH] : this.capabilities.mtu;
      this.arena.kernels.copy(m[slot + AT], this.#poison, bytes);
    }
    while (this.#head >= 0 && ((rx.tail - rx.head) | 0) < rx.slots) {
      this.#fill(rx.slot(rx.tail));
      rx.tail = (rx.tail + 1) | 0;
    }
    return rx.available;
  }

  #next(): number {
    const f = this.#head;
    this.#head = this.#world.frames.next[f];
    this.pending--;
    return f;
  }

  /** Moves the next frame, and with offload those that go on where it ends, into a slot. */
  #fill(slot: number): void {
    const { frames } = this.#world;
    const m = this.#m;
    const f = this.#next();
    const at = m[slot + AT];
    const length = frames.length[f];
    this.arena.kernels.copy(at, frames.at[f], length);
    m[slot + LENGTH] = length;
    m[slot + AUX] = 0;
    const good = this.#offload && frames.damaged[f] === 0;
    m[slot + FLAGS] = good ? FRAME_CHECKSUM_GOOD : 0;
    this.#tell(f);
    frames.give(f);
    if (good) this.#join(slot);
    this.counters.rxFrames++;
    this.counters.rxBytes += m[slot + LENGTH];
  }

  #tell(f: number): void {
    const { frames } = this.#world;
    const at = frames.at[f];
    if (this.tap === null || !this.#isIp(at)) return;
    this.tap.received(at + this.#linkBytes, frames.length[f] - this.#linkBytes, frames.damaged[f] !== 0);
  }

  #isIp(at: number): boolean {
    if (this.#linkBytes === 0) return true;
    const type = this.arena.view.getUint16(at + ETHER_HEADER_BYTES - 2, false);
    return type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6;
  }

  /** Joins the frames that follow to the one in the slot while they are the same stream's next bytes and nothing else. */
  #join(slot: number): void {
    const { frames } = this.#world;
    const { view } = this.arena;
    const m = this.#m;
    const at = m[slot + AT];
    if (!this.#isIp(at)) return;
    const first = this.#payloadAt(at, m[slot + LENGTH]);
    const size = m[slot + LENGTH] - first;
    if (first === 0 || size === 0) return;
    const l4 = this.#linkBytes + (view.getUint8(at + this.#linkBytes) >> 4 === 4 ? 20 : 40);
    while (this.#head >= 0) {
      const f = this.#head;
      const piece = frames.length[f] - first;
      const length = m[slot + LENGTH];
      // All pieces but the last are as long as the first.
      if (frames.damaged[f] !== 0 || piece <= 0 || piece > size || (length - first) % size !== 0) break;
      if (length + piece > OFFLOAD_BYTES - 1 || !this.#goesOn(at, frames.at[f], l4, first, length - first))
        break;
      const flags = view.getUint16(frames.at[f] + l4 + TCP_OFFSET_FLAGS, false);
      this.arena.kernels.copy(at + length, frames.at[f] + first, piece);
      view.setUint16(at + l4 + TCP_OFFSET_FLAGS, flags, false);
      m[slot + LENGTH] = length + piece;
      m[slot + FLAGS] = FRAME_CHECKSUM_GOOD | FRAME_SEGMENT;
      m[slot + AUX] = size;
      this.#tell(f);
      frames.give(this.#next());
      this.#setLength(at + this.#linkBytes, m[slot + LENGTH] - this.#linkBytes);
      if ((flags & FLAG_PSH) !== 0) break;
    }
  }

  /** Offset of the payload in a TCP frame with no flag but ACK and PSH; 0 for any other. */
  #payloadAt(at: number, length: number): number {
    const { view } = this.arena;
    const ip = at + this.#linkBytes;
    const v4 = view.getUint8(ip) >> 4 === 4;
    if (v4 ? view.getUint8(ip) !== 0x45 || view.getUint8(ip + 9) !== 6 : view.getUint8(ip + 6) !== 6)
      return 0;
    const l4 = this.#linkBytes + (v4 ? 20 : 40);
    if (length < l4 + 20) return 0;
    const word = view.getUint16(at + l4 + TCP_OFFSET_FLAGS, false);
    if ((word & 0x1ff & ~FLAG_PSH) !== FLAG_ACK) return 0;
    return l4 + ((word >> 12) << 2);
  }

  /** Whether frame `b` carries what follows the `bytes` of payload of frame `a`, everything else being equal. */
  #goesOn(a: number, b: number, l4: number, payload: number, bytes: number): boolean {
    const { view } = this.arena;
    if (this.#payloadAt(b, payload) !== payload) return false;
    const ip = this.#linkBytes;
    // Version and class; addresses and ports; acknowledgement and window; options.
    if (view.getUint16(a + ip, false) !== view.getUint16(b + ip, false)) return false;
    const addresses = view.getUint8(a + ip) >> 4 === 4 ? ip + 12 : ip + 8;
    for (let i = addresses; i < l4 + 4; i += 4)
      if (view.getInt32(a + i, false) !== view.getInt32(b + i, false)) return false;
    if (view.getInt32(a + l4 + 8, false) !== view.getInt32(b + l4 + 8, false)) return false;
    if (view.getUint16(a + l4 + 14, false) !== view.getUint16(b + l4 + 14, false)) return false;
    for (let i = l4 + 20; i < payload; i += 4)
      if (view.getInt32(a + i, false) !== view.getInt32(b + i, false)) return false;
    return (
      ((view.getInt32(a + l4 + TCP_SEQ, false) + bytes - view.getInt32(b + l4 + TCP_SEQ, false)) | 0) === 0
    );
  }

  #setLength(ip: number, bytes: number): void {
    const { view } = this.arena;
    if (view.getUint8(ip) >> 4 === 4) {
      view.setUint16(ip + IPV4_TOTAL_LENGTH, bytes, false);
      view.setUint16(ip + IPV4_CHECKSUM, 0, false);
      view.setUint16(ip + IPV4_CHECKSUM, checksumFinish(sumWords(view, ip, 5)), false);
    } else view.setUint16(ip + IPV6_PAYLOAD_LENGTH, bytes - 40, false);
  }

  txSync(): number {
    const { tx } = this;
    const m = this.#m;
    for (; this.#taken !== tx.head; this.#taken = (this.#taken + 1) | 0) {
      const slot = tx.slot(this.#taken);
      const flags = m[slot + FLAGS];
      this.counters.txFrames++;
      this.counters.txBytes += m[slot + LENGTH];
      if ((flags & FRAME_SEGMENT) !== 0) this.#cut(m[slot + AT], m[slot + LENGTH], m[slot + AUX]);
      else this.#send(m[slot + AT], m[slot + LENGTH], (flags & FRAME_CHECKSUM_FILL) !== 0);
    }
    tx.tail = (this.#taken + tx.slots) | 0;
    return tx.available;
  }

  #send(at: number, length: number, fill: boolean): void {
    const f = this.#frame(length);
    const to = this.#world.frames.at[f];
    this.arena.kernels.copy(to, at, length);
    if (fill) completeChecksum(this.arena, to, length, this.#linkBytes > 0);
    this.#depart(f);
  }

  /** When the world has no frame left, one that goes no further. */
  #frame(length: number): number {
    const { frames } = this.#world;
    const f = frames.take(length);
    if (f >= 0) return f;
    frames.length[frames.spare] = length;
    return frames.spare;
  }

  #depart(f: number): void {
    const { frames } = this.#world;
    const at = frames.at[f];
    if (this.tap !== null && this.#isIp(at))
      this.tap.sent(at + this.#linkBytes, frames.length[f] - this.#linkBytes);
    if (f === frames.spare) this.counters.txDropped++;
    else if (this.out !== null) this.out.send(f);
    else frames.give(f);
  }

  #cut(at: number, length: number, size: number): void {
    const { frames } = this.#world;
    const segmenter = this.#segmenter;
    if (!segmenter.begin(at, length, size, this.#linkBytes > 0))
      throw new Error(`${this.name} can't cut this`);
    for (let i = 0; i < segmenter.pieces; i++) {
      const f = this.#frame(segmenter.pieceBytes);
      frames.length[f] = segmenter.write(i, frames.at[f]);
      this.#depart(f);
    }
  }

  /** Loses what waits, as when the host loses power. */
  reset(): void {
    while (this.#head >= 0) this.#world.frames.give(this.#next());
    this.rx.head = this.rx.tail;
  }

  close(): void {
    this.reset();
    this.out = null;
  }
}
