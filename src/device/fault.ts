/**
 * A bad network in front of any port: frames are lost, spoiled, doubled, held back and delayed, each by its own
 * probability, from a seed. Between the inner port and its user stands a channel per direction:
 *
 *     inner.rx ──► lost? spoiled? doubled? ──► line (in order, delayed) ──────────► rx
 *                                          └─► aside (until others passed it) ──┘
 *
 * Frames are copied between the inner port's buffers and the channel's, so any port will do.
 */
import type { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
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
import { ETHER_HEADER_BYTES } from '../wire/ethernet.ts';
import { IPV4_CHECKSUM, IPV4_TOS, ipv4Check } from '../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, ipv6Check } from '../wire/ipv6.ts';
import { repairChecksums } from '../wire/mutate.ts';
import { TCP_OFFSET_FLAGS } from '../wire/tcp.ts';
import type { Capabilities, Link, Port, PortCounters } from './port.ts';

const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];

/** What befalls the frames of one direction. Probabilities from 0 to 1; what is left out doesn't happen. */
export interface Faults {
  readonly loss?: number;
  /** One byte is changed: what every internet checksum that covers it must catch. */
  readonly corrupt?: number;
  /** An ECN-capable packet is marked: Congestion Experienced (RFC 3168 5). */
  readonly mark?: number;
  /** Larger IP packets are lost, and nobody tells, bytes. A super-segment counts as what it will be cut into. */
  readonly mtu?: number;
  readonly duplicate?: number;
  /** Holds a frame back until 1 to `reorderFrames` (3 unless told) later ones have passed it … */
  readonly reorder?: number;
  readonly reorderFrames?: number;
  /** … or until that long after its time, for when none come; 20 unless told. */
  readonly reorder_ms?: number;
  /** Every frame takes this long, plus up to `jitter_ms`, in whole ms; jitter alone changes no order. */
  readonly delay_ms?: number;
  readonly jitter_ms?: number;
}

export interface FaultOptions {
  /** A direction that is left out goes straight to the inner port. */
  readonly rx?: Faults;
  readonly tx?: Faults;
  readonly seed: number;
  /** The engine's clock, ms. */
  readonly now: () => number;
  /** Frames that each direction holds at most; 256 unless told. */
  readonly held?: number;
}

export interface FaultCounters {
  lost: number;
  marked: number;
  /** Lost because of `mtu`, or since no buffer holds it. */
  tooLarge: number;
  corrupted: number;
  duplicated: number;
  reordered: number;
  /** Lost because as many as allowed were held. (A double just isn't made then.) */
  overflowed: number;
}

/** Room in front of each frame, as devices with headers of their own want it, bytes. */
const HEADROOM = 64;

export function fault(port: Port, options: FaultOptions): FaultPort {
  return new FaultPort(port, options);
}

export class FaultPort implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters: PortCounters;
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool = null;
  readonly rxTimes = null;
  readonly fd: number;
  onArrival: () => void = () => {};
  readonly inner: Port;
  readonly #rx: Channel | null;
  readonly #tx: Channel | null;
  readonly #now: () => number;
  /** Free-running indices of the tx ring: slots whose frames are in the channel. */
  #taken = 0;

  constructor(inner: Port, options: FaultOptions) {
    const { seed, now, held = 256 } = options;
    this.name = `fault:${inner.name}`;
    this.arena = inner.arena;
    this.capabilities = { ...inner.capabilities, rxTimestamps: false };
    this.counters = inner.counters;
    this.frameBytes = inner.frameBytes;
    this.fd = inner.fd;
    this.inner = inner;
    this.#now = now;
    inner.onArrival = () => this.onArrival();
    const channel = (faults: Faults | undefined, direction: string, edge: Edge, salt: number) =>
      faults === undefined
        ? null
        : new Channel(this, `${this.name} ${direction}`, held, faults, edge, new Prng(seed ^ salt));
    this.#rx = channel(options.rx, 'rx', 'in', 0);
    this.#tx = channel(options.tx, 'tx', 'out', 0x5bd1e995);
    this.rx = this.#rx === null ? inner.rx : this.#rx.ring(inner.rx.slots);
    this.tx = this.#tx === null ? inner.tx : this.#tx.ring(inner.tx.slots);
    if (this.#tx !== null) this.tx.tail = this.tx.slots;
  }

  /** null for a direction without faults. */
  get rxFaults(): FaultCounters | null {
    return this.#rx?.counters ?? null;
  }

  get txFaults(): FaultCounters | null {
    return this.#tx?.counters ?? null;
  }

  /** Changes what happens from now on. No-op for a direction that was left out. */
  set(direction: 'rx' | 'tx', faults: Faults): void {
    const channel = direction === 'rx' ? this.#rx : this.#tx;
    if (channel !== null) channel.faults = faults;
  }

  rxSync(): number {
    const { inner, rx } = this;
    const channel = this.#rx;
    const available = inner.rxSync();
    if (channel === null) return available;
    const now = this.#now();
    for (let i = 0; i < available; i++) channel.take(inner.rx.slot((inner.rx.head + i) | 0), now);
    inner.rx.head = (inner.rx.head + available) | 0;
    // The device's slots: those that the user has given back.
    const room = rx.slots - ((rx.tail - rx.head) | 0);
    rx.tail = (rx.tail + channel.put(rx, rx.tail, room, now)) | 0;
    return rx.available;
  }

  txSync(): number {
    const { inner, tx } = this;
    const channel = this.#tx;
    if (channel === null) return inner.txSync();
    const now = this.#now();
    for (; this.#taken !== tx.head; this.#taken = (this.#taken + 1) | 0)
      channel.take(tx.slot(this.#taken), now);
    tx.tail = (this.#taken + tx.slots) | 0;
    inner.tx.head = (inner.tx.head + channel.put(inner.tx, inner.tx.head, inner.tx.available, now)) | 0;
    inner.txSync();
    return tx.available;
  }

  /** ms until a sync has a held frame to pass on; 0: at once; Infinity: none is held. */
  nextDeadline(): number {
    const now = this.#now();
    return Math.min(this.#rx?.nextDeadline(now) ?? Infinity, this.#tx?.nextDeadline(now) ?? Infinity);
  }

  /** Frames held in both directions. */
  get held(): number {
    return (this.#rx?.held ?? 0) + (this.#tx?.held ?? 0);
  }

  /** Loses what is held. */
  flush(): void {
    this.#rx?.flush();
    this.#tx?.flush();
  }

  /** For leak checks: offsets of all buffers here that no ring of the inner port holds. */
  buffers(): number[] {
    const found = [...(this.#rx?.buffers() ?? []), ...(this.#tx?.buffers() ?? [])];
    for (const ring of [this.rx, this.tx]) {
      if (ring === this.inner.rx || ring === this.inner.tx) continue;
      for (let i = 0; i < ring.slots; i++) found.push(ring.m[ring.slot(i) + AT]);
    }
    return found;
  }

  close(): void {
    this.flush();
    this.inner.close();
  }
}

/** Words of a held frame: a descriptor, when it is due (ms), and how many frames have yet to pass it. */
const [DUE, PASSES] = [4, 5];
const WORDS = 6;

/** On which side of a channel the inner port is, from and to which frames are copied. */
type Edge = 'in' | 'out';

/** One direction: frames taken from slots, and put into slots when their time has come. */
class Channel {
  faults: Faults;
  readonly counters: FaultCounters = {
    lost: 0,
    marked: 0,
    tooLarge: 0,
    corrupted: 0,
    duplicated: 0,
    reordered: 0,
    overflowed: 0,
  };
  readonly #arena: Arena;
  readonly #name: string;
  readonly #frameBytes: number;
  readonly #link: Link;
  readonly #linkBytes: number;
  readonly #prng: Prng;
  /** The held frames; free entries hold a spare buffer each. */
  readonly #e: Int32Array;
  readonly #free: number[] = [];
  /** Entries in order of delivery, and those put aside. */
  #line: number[] = [];
  #lineHead = 0;
  readonly #aside: number[] = [];
  readonly #edge: Edge;
  #lastDue = Number.NEGATIVE_INFINITY;

  constructor(port: Port, name: string, held: number, faults: Faults, edge: Edge, prng: Prng) {
    this.faults = faults;
    this.#edge = edge;
    this.#arena = port.arena;
    this.#name = name;
    this.#frameBytes = port.frameBytes;
    this.#link = port.capabilities.link;
    this.#linkBytes = this.#link === 'ether' ? ETHER_HEADER_BYTES : 0;
    this.#prng = prng;
    this.#e = new Int32Array(held * WORDS);
    const buffers = this.#carve('held', held);
    for (let i = 0; i < held; i++) {
      this.#e[i * WORDS + AT] = buffers[i];
      this.#free.push(i * WORDS);
    }
  }

  /** A ring with a buffer in each slot. */
  ring(slots: number): Ring {
    const ring = new Ring(this.#arena, `${this.#name} ring`, slots);
    const buffers = this.#carve('frames', slots);
    for (let i = 0; i < slots; i++) ring.m[ring.slot(i) + AT] = buffers[i];
    return ring;
  }

  #carve(what: string, count: number): number[] {
    const stride = HEADROOM + ((this.#frameBytes + 63) & -64);
    const base = this.#arena.carve(`${this.#name} ${what}`, count * stride);
    return Array.from({ length: count }, (_, i) => base + i * stride + HEADROOM);
  }

  get held(): number {
    return this.#line.length - this.#lineHead + this.#aside.length;
  }

  /** Takes a slot's frame, or loses it. The slot keeps a buffer in any case. */
  take(slot: number, now: number): void {
    const m = this.#arena.i32;
    const { counters, faults } = this;
    if (m[slot + LENGTH] > this.#frameBytes) {
      counters.tooLarge++;
      return;
    }
    if (this.#chance(faults.loss)) {
      counters.lost++;
      return;
    }
    if (faults.mtu !== undefined && this.#packetBytes(slot) > faults.mtu) {
      counters.tooLarge++;
      return;
    }
    if (this.#chance(faults.mark)) this.#mark(m[slot + AT], m[slot + LENGTH]);
    const e = this.#free.pop();
    if (e === undefined) {
      counters.overflowed++;
      return;
    }
    const f = this.#e;
    if (this.#edge === 'in') {
      this.#arena.kernels.copy(f[e + AT], m[slot + AT], m[slot + LENGTH]);
    } else {
      const spare = f[e + AT];
      f[e + AT] = m[slot + AT];
      m[slot + AT] = spare;
    }
    f[e + LENGTH] = m[slot + LENGTH];
    f[e + FLAGS] = m[slot + FLAGS];
    f[e + AUX] = m[slot + AUX];
    const double = this.#chance(faults.duplicate) ? this.#copy(e) : -1;
    if (this.#chance(faults.corrupt)) this.#corrupt(e);
    this.#file(e, now);
    if (double >= 0) this.#file(double, now);
  }

  /** Bytes of the IP packet, or of the largest that a super-segment becomes. */
  #packetBytes(slot: number): number {
    const m = this.#arena.i32;
    const bytes = m[slot + LENGTH] - this.#linkBytes;
    if ((m[slot + FLAGS] & FRAME_SEGMENT) === 0) return bytes;
    const { view } = this.#arena;
    const ip = m[slot + AT] + this.#linkBytes;
    const header = view.getUint8(ip) >> 4 === 4 ? (view.getUint8(ip) & 15) << 2 : IPV6_HEADER_BYTES;
    const tcpHeader = (view.getUint8(ip + header + TCP_OFFSET_FLAGS) >> 4) << 2;
    return Math.min(bytes, header + tcpHeader + m[slot + AUX]);
  }

  /** Sets the CE codepoint of an ECT packet. */
  #mark(at: number, length: number): void {
    const { view } = this.#arena;
    const ip = at + this.#linkBytes;
    const bytes = length - this.#linkBytes;
    const header = ipv4Check(view, ip, bytes);
    if (header > 0) {
      const tos = view.getUint8(ip + IPV4_TOS);
      if ((tos & 3) === 0) return;
      view.setUint8(ip + IPV4_TOS, tos | 3);
      view.setUint16(ip + IPV4_CHECKSUM, 0, false);
      view.setUint16(ip + IPV4_CHECKSUM, checksumFinish(sumWords(view, ip, header >> 2)), false);
    } else {
      if (ipv6Check(view, ip, bytes) <= 0 || (view.getUint8(ip + 1) & 0x30) === 0) return;
      // The traffic class begins 4 bits into the header.
      view.setUint8(ip + 1, view.getUint8(ip + 1) | 0x30);
    }
    this.counters.marked++;
  }

  #chance(p: number | undefined): boolean {
    return p !== undefined && p > 0 && this.#prng.bool(p);
  }

  #copy(e: number): number {
    const double = this.#free.pop();
    if (double === undefined) return -1;
    const f = this.#e;
    for (const word of [LENGTH, FLAGS, AUX]) f[double + word] = f[e + word];
    this.#arena.kernels.copy(f[double + AT], f[e + AT], f[e + LENGTH]);
    this.counters.duplicated++;
    return double;
  }

  #corrupt(e: number): void {
    const f = this.#e;
    if (f[e + LENGTH] === 0) return;
    const frame = this.#arena.u8.subarray(f[e + AT], f[e + AT] + f[e + LENGTH]);
    // A checksum that was left to the device must be there to be found wrong.
    if ((f[e + FLAGS] & FRAME_CHECKSUM_FILL) !== 0) repairChecksums(frame, this.#link);
    frame[this.#prng.below(frame.length)] ^= 1 + this.#prng.below(255);
    f[e + FLAGS] &= ~(FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL);
    this.counters.corrupted++;
  }

  /** When, and behind whom. */
  #file(e: number, now: number): void {
    const f = this.#e;
    const { delay_ms = 0, jitter_ms = 0, reorder, reorderFrames = 3, reorder_ms = 20 } = this.faults;
    const due = Math.floor(now + delay_ms + (jitter_ms > 0 ? this.#prng.below(jitter_ms + 1) : 0));
    if (this.#chance(reorder)) {
      this.counters.reordered++;
      f[e + DUE] = due + reorder_ms;
      f[e + PASSES] = 1 + this.#prng.below(reorderFrames);
      this.#aside.push(e);
      return;
    }
    this.#lastDue = Math.max(due, this.#lastDue);
    f[e + DUE] = this.#lastDue;
    this.#line.push(e);
  }

  /** Moves what is due into the ring's slots from `index` on. @returns how many, at most `room`. */
  put(ring: Ring, index: number, room: number, now: number): number {
    const f = this.#e;
    let n = 0;
    while (n < room) {
      const late = this.#aside.findIndex((e) => f[e + PASSES] <= 0 || f[e + DUE] <= now);
      if (late >= 0) {
        this.#give(this.#aside.splice(late, 1)[0], ring, index + n++);
        continue;
      }
      const e = this.#line[this.#lineHead];
      if (e === undefined || f[e + DUE] > now) break;
      this.#lineHead++;
      this.#give(e, ring, index + n++);
      for (const waiting of this.#aside) f[waiting + PASSES]--;
    }
    if (this.#lineHead > 64 && this.#lineHead * 2 > this.#line.length) {
      this.#line = this.#line.slice(this.#lineHead);
      this.#lineHead = 0;
    }
    return n;
  }

  #give(e: number, ring: Ring, index: number): void {
    const f = this.#e;
    const slot = ring.slot(index | 0);
    const m = ring.m;
    if (this.#edge === 'out') {
      this.#arena.kernels.copy(m[slot + AT], f[e + AT], f[e + LENGTH]);
    } else {
      const spare = m[slot + AT];
      m[slot + AT] = f[e + AT];
      f[e + AT] = spare;
    }
    m[slot + LENGTH] = f[e + LENGTH];
    m[slot + FLAGS] = f[e + FLAGS];
    m[slot + AUX] = f[e + AUX];
    this.#free.push(e);
  }

  nextDeadline(now: number): number {
    const f = this.#e;
    let due = Infinity;
    if (this.#lineHead < this.#line.length) due = f[this.#line[this.#lineHead] + DUE];
    for (const e of this.#aside) due = Math.min(due, f[e + PASSES] <= 0 ? now : f[e + DUE]);
    return Math.max(0, due - now);
  }

  flush(): void {
    this.#free.push(...this.#line.slice(this.#lineHead), ...this.#aside);
    this.#line = [];
    this.#lineHead = 0;
    this.#aside.length = 0;
  }

  buffers(): number[] {
    return [...this.#free, ...this.#line.slice(this.#lineHead), ...this.#aside].map((e) => this.#e[e + AT]);
  }
}
