/**
 * One direction of a link. A frame goes through it so:
 *
 *     send ─► queue ─► transmitter (rate, or a trace's opportunities) ─► lost? doubled? spoiled? ─► delay ─► receiver
 *
 * While nothing waits a frame costs one event, its arrival; the transmitter has events of its own only when there is
 * a queue.
 */

import { Loss, type LossOptions } from '../device/loss.ts';
import { QUEUE_DEFAULT, Queue, type QueueOptions } from '../device/queue.ts';
import { OPPORTUNITY_BYTES, type Trace } from '../device/trace.ts';
import { Prng } from '../memory/prng.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_ARP } from '../wire/ethernet.ts';
import { IPV6_SRC } from '../wire/ipv6.ts';
import type { World } from './world.ts';

/** What is left out doesn't happen. Probabilities from 0 to 1, for each frame. */
export interface LinkOptions {
  /** Bits a second; as fast as one likes unless told. */
  readonly rate_bps?: number;
  /** Instead of a rate. */
  readonly trace?: Trace;
  /** Time on the way, and how much is added to it at random. */
  readonly delay_ms?: number;
  readonly jitter_ms?: number;
  /** Jitter lets frames overtake each other. */
  readonly jitterReorders?: boolean;
  readonly loss?: LossOptions;
  readonly duplicate?: number;
  /** One byte is changed: what every checksum that covers it must catch. */
  readonly corrupt?: number;
  /** Held back by `reorder_ms`, so that later ones pass. */
  readonly reorder?: number;
  readonly reorder_ms?: number;
  /** Drop-tail of 256 KiB unless told. */
  readonly queue?: QueueOptions;
  /** Longer IP packets are lost without a word, unless a router in front of the link knows; bytes. */
  readonly mtu?: number;
}

export interface LinkCounters {
  frames: number;
  bytes: number;
  /** By chance; while the link was down; longer than the MTU. */
  lost: number;
  down: number;
  tooBig: number;
  duplicated: number;
  corrupted: number;
  reordered: number;
}

/** Who stands at a link's end. Owns the frame from then on. */
export interface Receiver {
  receive(frame: number, from: Link): void;
}

const MS = 1e6;

export class Link {
  readonly name: string;
  readonly index: number;
  readonly to: Receiver;
  readonly options: LinkOptions;
  readonly queue: Queue;
  readonly counters: LinkCounters = {
    frames: 0,
    bytes: 0,
    lost: 0,
    down: 0,
    tooBig: 0,
    duplicated: 0,
    corrupted: 0,
    reordered: 0,
  };
  /** How many outages go on: frames that leave the transmitter meanwhile are lost. */
  downs = 0;
  /** Nothing is lost, changed or out of order for now. */
  isCalm = false;
  /** Largest IP packet; may change while it runs. */
  mtu: number;
  /** From a frame's first byte to its IP header: 14 where frames are Ethernet's. */
  readonly linkBytes: number;
  readonly #world: World;
  readonly #prng: Prng;
  readonly #loss: Loss | null;
  /** ns a byte. */
  readonly #byteTime: number;
  readonly #delay: number;
  /** When the transmitter has sent what it is sending. */
  #freeAt = 0;
  #freeIsDue = false;
  /** With a trace: the next opportunity's number, and what is left of the present one. */
  #opportunity = 0;
  #credit = 0;
  /** Bytes of the queue's first frame that earlier opportunities have carried already. */
  #headSent = 0;
  #lastArrival = 0;

  constructor(
    world: World,
    name: string,
    index: number,
    to: Receiver,
    options: LinkOptions,
    linkBytes: number,
  ) {
    const { rate_bps = 0, loss, mtu = Number.POSITIVE_INFINITY, queue = QUEUE_DEFAULT } = options;
    this.name = name;
    this.index = index;
    this.to = to;
    this.options = options;
    this.mtu = mtu;
    this.linkBytes = linkBytes;
    this.#world = world;
    this.#prng = new Prng(world.prng.next());
    this.#loss = loss === undefined ? null : new Loss(loss, this.#prng);
    this.#byteTime = rate_bps > 0 ? 8e9 / rate_bps : 0;
    this.#delay = (options.delay_ms ?? 0) * MS;
    this.queue = new Queue(world.frames, queue, this.#prng, linkBytes);
  }

  /** Shortest time from one end to the other, ms. */
  get delayMin_ms(): number {
    return this.options.delay_ms ?? 0;
  }

  /** Takes a frame. */
  send(f: number): void {
    const now = this.#world.now;
    const { frames } = this.#world;
    if (frames.length[f] - this.linkBytes > this.mtu) {
      this.counters.tooBig++;
      frames.give(f);
      return;
    }
    const { trace } = this.options;
    if (trace === undefined && this.queue.length === 0 && now >= this.#freeAt) {
      this.#transmit(f, now);
      return;
    }
    this.queue.push(f, now);
    if (this.#freeIsDue || this.queue.length === 0) return;
    if (trace !== undefined) {
      this.#opportunity = Math.max(this.#opportunity, trace.numberAt(now / MS));
      this.#credit = 0;
    }
    this.#expectFree();
  }

  #expectFree(): void {
    const { trace } = this.options;
    this.#freeIsDue = true;
    const at = trace === undefined ? this.#freeAt : trace.timeOf(this.#opportunity) * MS;
    this.#world.freeAt(Math.max(at, this.#world.now), this);
  }

  /** The world calls it when the transmitter is free, or the trace has an opportunity. */
  free(): void {
    const { now } = this.#world;
    this.#freeIsDue = false;
    if (this.options.trace !== undefined) this.#takeOpportunity(now);
    else {
      const f = this.queue.pop(now);
      if (f >= 0) this.#transmit(f, now);
    }
    if (this.queue.length > 0) this.#expectFree();
  }

  /** Frames may span opportunities; what an empty queue leaves of one is wasted. */
  #takeOpportunity(now: number): void {
    this.#opportunity++;
    this.#credit = OPPORTUNITY_BYTES;
    while (this.queue.length > 0) {
      const left = this.queue.headBytes - this.#headSent;
      if (left > this.#credit) {
        this.#headSent += this.#credit;
        return;
      }
      this.#credit -= left;
      this.#headSent = 0;
      const f = this.queue.pop(now);
      if (f >= 0) this.#depart(f, now);
    }
    this.#headSent = 0;
  }

  #transmit(f: number, now: number): void {
    this.#freeAt = now + this.#world.frames.length[f] * this.#byteTime;
    this.#depart(f, this.#freeAt);
  }

  /** The frame's last bit leaves at `at`. */
  #depart(f: number, at: number): void {
    const { frames } = this.#world;
    const { options: o, counters } = this;
    counters.frames++;
    counters.bytes += frames.length[f];
    if (this.downs > 0) {
      counters.down++;
      frames.give(f);
      return;
    }
    if (!this.isCalm && this.#loss?.next(at)) {
      counters.lost++;
      frames.give(f);
      return;
    }
    const double = this.#chance(o.duplicate) ? frames.copy(f) : -1;
    if (this.#chance(o.corrupt)) this.#corrupt(f);
    this.#propagate(f, at);
    if (double >= 0) {
      counters.duplicated++;
      this.#propagate(double, at);
    }
  }

  #propagate(f: number, at: number): void {
    const { options: o, counters } = this;
    let arrival = at + this.#delay;
    if (o.jitter_ms !== undefined && o.jitter_ms > 0) arrival += this.#prng.below(o.jitter_ms * MS);
    if (this.#chance(o.reorder)) {
      counters.reordered++;
      arrival += (o.reorder_ms ?? 20) * MS;
    } else if (o.jitterReorders !== true) {
      if (arrival < this.#lastArrival) arrival = this.#lastArrival;
      this.#lastArrival = arrival;
    }
    this.#world.arriveAt(arrival, f, this);
  }

  #chance(p: number | undefined): boolean {
    return p !== undefined && p > 0 && !this.isCalm && this.#prng.bool(p);
  }

  #corrupt(f: number): void {
    const { frames, arena } = this.#world;
    const at = frames.at[f];
    // A second change might repair the checksum.
    if (frames.damaged[f] !== 0) return;
    // ARP has no checksum: nobody could tell.
    if (this.linkBytes > 0 && arena.view.getUint16(at + ETHER_HEADER_BYTES - 2, false) === ETHERTYPE_ARP)
      return;
    const ip = at + this.linkBytes;
    // Nor are class, flow label and hop limit of IPv6 covered by any.
    const first = arena.u8[ip] >> 4 === 6 ? IPV6_SRC : 0;
    const place = first + this.#prng.below(frames.length[f] - this.linkBytes - first);
    arena.u8[ip + place] ^= 1 + this.#prng.below(255);
    frames.damaged[f] = 1;
    this.counters.corrupted++;
  }
}
