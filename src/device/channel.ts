/**
 * One direction of an emulated network: frames wait for a line, are lost, spoiled, doubled, held back and delayed. See
 * fault.ts, which puts it before a port. Times inside are in ns.
 */
import type { Arena } from '../memory/arena.ts';
import type { Prng } from '../memory/prng.ts';
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
import { ETHER_HEADER_BYTES } from '../wire/ethernet.ts';
import { IPV4_HEADER_BYTES } from '../wire/ipv4.ts';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.ts';
import { repairChecksums } from '../wire/mutate.ts';
import { TCP_OFFSET_FLAGS } from '../wire/tcp.ts';
import { Frames } from './held-frames.ts';
import { Loss, type LossOptions } from './loss.ts';
import type { Link, Port, PortCounters } from './port.ts';
import { markCe, QUEUE_DEFAULT, Queue, type QueueOptions } from './queue.ts';
import { OPPORTUNITY_BYTES, type Trace } from './trace.ts';

const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];

/** What befalls the frames of one direction. Probabilities from 0 to 1; what is left out doesn't happen. */
export interface Faults {
  /** Each frame by itself with a probability, or as `Loss` has it. */
  readonly loss?: number | LossOptions;
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
  /** Every frame takes this long, plus up to `jitter_ms`; jitter alone changes no order. */
  readonly delay_ms?: number;
  readonly jitter_ms?: number;
  /** Bits a second of whole frames; as fast as one likes unless told. */
  readonly rate_bps?: number;
  /** Instead of a rate; it starts with the port. */
  readonly trace?: Trace;
  /** Where frames wait for a rate or a trace; drop-tail of 256 KiB unless told. */
  readonly queue?: QueueOptions;
}

export interface FaultCounters {
  lost: number;
  marked: number;
  /** Lost because of `mtu`. */
  tooLarge: number;
  corrupted: number;
  duplicated: number;
  reordered: number;
  /** Lost because as many as allowed were held, in a queue or on the way. (A double just isn't made then.) */
  overflowed: number;
}

const MS = 1e6;

/** On which side of a channel the inner port is, from and to which frames are copied. */
export type Edge = 'in' | 'out';

/** One direction: frames taken from slots, and put into slots when their time has come. */
export class Channel {
  readonly counters: FaultCounters = {
    lost: 0,
    marked: 0,
    tooLarge: 0,
    corrupted: 0,
    duplicated: 0,
    reordered: 0,
    overflowed: 0,
  };
  readonly queue: Queue;
  readonly #port: PortCounters;
  readonly #arena: Arena;
  readonly #name: string;
  readonly #frameBytes: number;
  readonly #link: Link;
  readonly #linkBytes: number;
  readonly #prng: Prng;
  readonly #edge: Edge;
  /** What is held, and the spare buffers for what will be. */
  readonly #frames: Frames;
  /** By frame: the rest of its descriptor, when it is due, and how many frames have yet to pass it. */
  readonly #flags: Int32Array;
  readonly #aux: Int32Array;
  readonly #due: Float64Array;
  readonly #passes: Int32Array;
  /** Frames in order of delivery, and those put aside. */
  #line: number[] = [];
  #lineHead = 0;
  readonly #aside: number[] = [];
  #lastDue = Number.NEGATIVE_INFINITY;
  #faults: Faults = {};
  #loss: Loss | null = null;
  /** ns a byte; 0: no rate. */
  #byteTime = 0;
  /** When the transmitter has sent what it is sending. */
  #freeAt = Number.NEGATIVE_INFINITY;
  /** When the trace began, the next opportunity's number, and bytes of the queue's first frame that are sent already. */
  readonly #start: number;
  #opportunity = 0;
  #headSent = 0;

  constructor(
    port: Port,
    name: string,
    held: number,
    faults: Faults,
    edge: Edge,
    prng: Prng,
    now_ms: number,
  ) {
    this.#edge = edge;
    this.#port = port.counters;
    this.#arena = port.arena;
    this.#name = name;
    this.#frameBytes = port.frameBytes;
    this.#link = port.capabilities.link;
    this.#linkBytes = this.#link === 'ether' ? ETHER_HEADER_BYTES : 0;
    this.#prng = prng;
    this.#start = now_ms * MS;
    this.#frames = new Frames(port.arena, held, port.frameBytes);
    this.#flags = new Int32Array(held);
    this.#aux = new Int32Array(held);
    this.#due = new Float64Array(held);
    this.#passes = new Int32Array(held);
    this.queue = new Queue(this.#frames, faults.queue ?? QUEUE_DEFAULT, prng, this.#linkBytes);
    this.set(faults);
  }

  set(faults: Faults): void {
    const { loss, rate_bps = 0, queue = QUEUE_DEFAULT } = faults;
    if (loss !== this.#faults.loss) {
      const options = typeof loss === 'number' ? ({ kind: 'random', p: loss } as const) : loss;
      this.#loss = options === undefined ? null : new Loss(options, this.#prng);
    }
    this.#byteTime = rate_bps > 0 ? 8e9 / rate_bps : 0;
    this.queue.options = queue;
    this.#faults = faults;
  }

  /** A ring with a buffer in each slot. */
  ring(slots: number): Ring {
    const ring = new Ring(this.#arena, `${this.#name} ring`, slots);
    const stride = (((this.#frameBytes + 63) >> 6) | 1) << 6;
    const base = this.#arena.carve(`${this.#name} frames`, slots * stride);
    for (let i = 0; i < slots; i++) ring.m[ring.slot(i) + AT] = base + i * stride;
    return ring;
  }

  get held(): number {
    return this.#frames.inUse;
  }

  /** Takes a slot's frame, or loses it. The slot keeps a buffer in any case. */
  take(slot: number, now_ms: number): void {
    const m = this.#arena.i32;
    const frames = this.#frames;
    const { counters } = this;
    const { mtu, trace } = this.#faults;
    const length = m[slot + LENGTH];
    if (length <= 0 || length > this.#frameBytes) {
      if (this.#edge === 'in') this.#port.rxDropped++;
      else this.#port.txDropped++;
      return;
    }
    if (mtu !== undefined && this.#packetBytes(slot) > mtu) {
      counters.tooLarge++;
      return;
    }
    const f = frames.inUse < frames.count ? frames.take(length) : -1;
    if (f < 0) {
      counters.overflowed++;
      return;
    }
    if (this.#edge === 'in') {
      this.#arena.kernels.copy(frames.at[f], m[slot + AT], length);
    } else {
      const spare = frames.at[f];
      frames.at[f] = m[slot + AT];
      m[slot + AT] = spare;
    }
    this.#flags[f] = m[slot + FLAGS];
    this.#aux[f] = m[slot + AUX];
    const now = now_ms * MS;
    if (this.#byteTime === 0 && trace === undefined && this.queue.length === 0) {
      this.#depart(f, now);
      return;
    }
    // The queue is as it is now, not as it was at the last sync.
    this.#transmit(now);
    if (trace !== undefined && this.queue.length === 0) this.#awaitOpportunity(trace, now);
    this.queue.push(f, now);
    this.#transmit(now);
  }

  /** Sends what the line had room for by now. */
  #transmit(now: number): void {
    const { queue } = this;
    const { trace } = this.#faults;
    while (queue.length > 0) {
      const at = this.#nextStart(trace);
      if (at > now) return;
      if (trace !== undefined) {
        this.#takeOpportunity(at);
        continue;
      }
      const f = queue.pop(at);
      if (f < 0) continue;
      this.#freeAt = at + this.#frames.length[f] * this.#byteTime;
      this.#depart(f, this.#freeAt);
    }
  }

  /** When the queue's first frame can go, or its next part. */
  #nextStart(trace: Trace | undefined): number {
    return trace === undefined
      ? Math.max(this.#freeAt, this.queue.headQueuedAt)
      : this.#start + trace.timeOf(this.#opportunity) * MS;
  }

  /** What an empty queue leaves of one is wasted. */
  #awaitOpportunity(trace: Trace, now: number): void {
    this.#opportunity = Math.max(this.#opportunity, trace.numberAt((now - this.#start) / MS));
    this.#headSent = 0;
  }

  /** Frames may span opportunities. */
  #takeOpportunity(at: number): void {
    const { queue } = this;
    this.#opportunity++;
    let credit = OPPORTUNITY_BYTES;
    while (queue.length > 0) {
      const left = queue.headBytes - this.#headSent;
      if (left > credit) {
        this.#headSent += credit;
        return;
      }
      credit -= left;
      this.#headSent = 0;
      const f = queue.pop(at);
      if (f >= 0) this.#depart(f, at);
    }
  }

  /** The frame's last bit leaves at `at`. */
  #depart(f: number, at: number): void {
    const { counters } = this;
    const { mark, duplicate, corrupt } = this.#faults;
    if (this.#loss?.next(at)) {
      counters.lost++;
      this.#frames.give(f);
      return;
    }
    if (this.#chance(mark)) this.#mark(f);
    const double = this.#chance(duplicate) ? this.#copy(f) : -1;
    if (this.#chance(corrupt)) this.#corrupt(f);
    this.#file(f, at);
    if (double >= 0) this.#file(double, at);
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
  #mark(f: number): void {
    const { at, length } = this.#frames;
    if (length[f] < this.#linkBytes + IPV4_HEADER_BYTES) return;
    if (markCe(this.#arena.view, at[f] + this.#linkBytes)) this.counters.marked++;
  }

  #chance(p: number | undefined): boolean {
    return p !== undefined && p > 0 && this.#prng.bool(p);
  }

  #copy(f: number): number {
    const frames = this.#frames;
    if (frames.inUse === frames.count) return -1;
    const double = frames.copy(f);
    this.#flags[double] = this.#flags[f];
    this.#aux[double] = this.#aux[f];
    this.counters.duplicated++;
    return double;
  }

  #corrupt(f: number): void {
    const { at, length } = this.#frames;
    if (length[f] === 0) return;
    const frame = this.#arena.u8.subarray(at[f], at[f] + length[f]);
    // A checksum that was left to the device must be there to be found wrong.
    if ((this.#flags[f] & FRAME_CHECKSUM_FILL) !== 0) repairChecksums(frame, this.#link);
    frame[this.#prng.below(frame.length)] ^= 1 + this.#prng.below(255);
    this.#flags[f] &= ~(FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL);
    this.counters.corrupted++;
  }

  /** When, and behind whom. */
  #file(f: number, at: number): void {
    const { delay_ms = 0, jitter_ms = 0, reorder, reorderFrames = 3, reorder_ms = 20 } = this.#faults;
    const due = at + delay_ms * MS + (jitter_ms > 0 ? this.#prng.below(jitter_ms * MS + 1) : 0);
    if (this.#chance(reorder)) {
      this.counters.reordered++;
      this.#due[f] = due + reorder_ms * MS;
      this.#passes[f] = 1 + this.#prng.below(reorderFrames);
      this.#aside.push(f);
      return;
    }
    this.#lastDue = Math.max(due, this.#lastDue);
    this.#due[f] = this.#lastDue;
    this.#line.push(f);
  }

  /** Moves what is due into the ring's slots from `index` on. @returns how many, at most `room`. */
  put(ring: Ring, index: number, room: number, now_ms: number): number {
    const now = now_ms * MS;
    this.#transmit(now);
    let n = 0;
    while (n < room) {
      const late = this.#aside.findIndex((f) => this.#passes[f] <= 0 || this.#due[f] <= now);
      if (late >= 0) {
        this.#give(this.#aside.splice(late, 1)[0], ring, index + n++);
        continue;
      }
      const f = this.#line[this.#lineHead];
      if (f === undefined || this.#due[f] > now) break;
      this.#lineHead++;
      this.#give(f, ring, index + n++);
      for (const waiting of this.#aside) this.#passes[waiting]--;
    }
    if (this.#lineHead > 64 && this.#lineHead * 2 > this.#line.length) {
      this.#line = this.#line.slice(this.#lineHead);
      this.#lineHead = 0;
    }
    return n;
  }

  #give(f: number, ring: Ring, index: number): void {
    const frames = this.#frames;
    const slot = ring.slot(index | 0);
    const m = ring.m;
    if (this.#edge === 'out') {
      this.#arena.kernels.copy(m[slot + AT], frames.at[f], frames.length[f]);
    } else {
      const spare = m[slot + AT];
      m[slot + AT] = frames.at[f];
      frames.at[f] = spare;
    }
    m[slot + LENGTH] = frames.length[f];
    m[slot + FLAGS] = this.#flags[f];
    m[slot + AUX] = this.#aux[f];
    frames.give(f);
  }

  /** ms */
  nextDeadline(now_ms: number): number {
    const now = now_ms * MS;
    let due = Infinity;
    if (this.#lineHead < this.#line.length) due = this.#due[this.#line[this.#lineHead]];
    for (const f of this.#aside) due = Math.min(due, this.#passes[f] <= 0 ? now : this.#due[f]);
    if (this.queue.length > 0) due = Math.min(due, this.#nextStart(this.#faults.trace));
    return Math.max(0, due - now) / MS;
  }

  flush(): void {
    for (const f of this.#line.slice(this.#lineHead)) this.#frames.give(f);
    for (const f of this.#aside) this.#frames.give(f);
    this.queue.flush();
    this.#line = [];
    this.#lineHead = 0;
    this.#aside.length = 0;
  }

  /** Of what is held and of what is spare. */
  buffers(): number[] {
    return [...this.#frames.at.subarray(0, this.#frames.count)];
  }
}
