/**
 * What pktgen does with a port, one burst a `step`: send, receive, ask and measure, answer. Nothing is allocated, and only
 * the port's syncs do I/O; who calls decides how often, and says the time.
 */
import { DESC_AT, DESC_FLAGS, DESC_LENGTH, FRAME_CHECKSUM_FILL } from '../../memory/ring.ts';
import { macHigh, macIsMulticast, macLow } from '../../wire/address.ts';
import { checksumUpdate32 } from '../../wire/checksum.ts';
import {
  ETHER_HEADER_BYTES,
  etherDstHigh,
  etherDstLow,
  etherSrcHigh,
  etherSrcLow,
  etherType,
  etherWrite,
} from '../../wire/ethernet.ts';
import { IPV4_DST, IPV4_SRC } from '../../wire/ipv4.ts';
import { IPV6_DST, IPV6_SRC } from '../../wire/ipv6.ts';
import { UDP_CHECKSUM, UDP_HEADER_BYTES } from '../../wire/udp.ts';
import { copyFrame, exchangeFrame, mayExchange } from '../forward.ts';
import type { Port } from '../port.ts';
import { Histogram } from './histogram.ts';
import { Pace } from './pace.ts';
import {
  BAD_CHECKSUM,
  KIND_REPLY,
  KIND_REQUEST,
  NOT_PKTGEN,
  PAYLOAD_SEQUENCE,
  PAYLOAD_TIME,
  pktgenPayload,
} from './payload.ts';
import { SequenceTracker } from './sequence.ts';
import type { PacketTemplate } from './template.ts';

const [AT, LENGTH, FLAGS] = [DESC_AT, DESC_LENGTH, DESC_FLAGS];
const [NO, BAD] = [NOT_PKTGEN, BAD_CHECKSUM];
const [SEQUENCE, TIME] = [PAYLOAD_SEQUENCE, PAYLOAD_TIME];
const [REQUEST, REPLY] = [KIND_REQUEST, KIND_REPLY];
const FILL = FRAME_CHECKSUM_FILL;
const ETHER_BYTES = ETHER_HEADER_BYTES;

/** One of pktgen's modes at work. */
export interface Role {
  /** @param now Monotonic, us. @returns frames handled; 0: nothing to do */
  step(now: number): number;
  /** All is sent, and for ping all is answered or given up. */
  readonly done: boolean;
  /** How long until `step` has something to do if nothing arrives, us. */
  delay(now: number): number;
}

export interface SendOptions {
  /** Packets in all; Infinity: until told. */
  readonly count: number;
  /** Packets a second; 0: as fast as the port takes them. */
  readonly rate: number;
  /** Packets between two syncs at most; for ping, how many may be unanswered with `rate` 0. */
  readonly burst: number;
}

/** tx */
export class Sender implements Role {
  /** Handed to the port. */
  sent = 0;
  readonly #port: Port;
  readonly #template: PacketTemplate;
  readonly #options: SendOptions;
  readonly #pace: Pace;

  constructor(port: Port, template: PacketTemplate, options: SendOptions) {
    this.#port = port;
    this.#template = template;
    this.#options = options;
    this.#pace = new Pace(options.rate, options.burst);
  }

  get done(): boolean {
    return this.sent >= this.#options.count && this.#port.tx.available === this.#port.tx.slots;
  }

  delay(now: number): number {
    return this.sent >= this.#options.count ? 0 : this.#pace.delay(now, this.sent);
  }

  step(now: number): number {
    const port = this.#port;
    const { count, burst } = this.#options;
    const { tx } = port;
    const n = Math.min(tx.available, burst, count - this.sent, this.#pace.due(now, this.sent)) | 0;
    if (n > 0) fill(port, this.#template, n, 0);
    this.sent += n;
    if (tx.available < tx.slots) port.txSync();
    return n;
  }
}

function fill(port: Port, template: PacketTemplate, n: number, time: number): void {
  const { tx } = port;
  const { m } = tx;
  let head = tx.head;
  for (let i = 0; i < n; i++) {
    const slot = tx.slot(head);
    template.write(m[slot + AT], time);
    m[slot + LENGTH] = template.length;
    m[slot + FLAGS] = 0;
    head = (head + 1) | 0;
  }
  tx.head = head;
}

/** rx */
export class Receiver implements Role {
  readonly done = false;
  readonly sequences = new SequenceTracker();
  /** Of other programs. */
  foreign = 0;
  badChecksums = 0;
  readonly #port: Port;
  readonly #burst: number;

  constructor(port: Port, burst: number) {
    this.#port = port;
    this.#burst = burst;
  }

  delay(): number {
    return Number.POSITIVE_INFINITY;
  }

  step(): number {
    const { rx, arena, capabilities } = this.#port;
    const ether = capabilities.link === 'ether';
    const n = Math.min(this.#port.rxSync(), this.#burst);
    const { m } = rx;
    for (let i = 0; i < n; i++) {
      const slot = rx.slot((rx.head + i) | 0);
      const payload = pktgenPayload(arena, ether, m[slot + AT], m[slot + LENGTH], m[slot + FLAGS]);
      if (payload === NO) this.foreign++;
      else if (payload === BAD) this.badChecksums++;
      else this.sequences.take(arena.view.getInt32(payload + SEQUENCE, false));
    }
    rx.head = (rx.head + n) | 0;
    return n;
  }
}

/** What isn't answered for this long is given up, us. */
const ANSWER_US_MAX = 1_000_000;

/** ping */
export class Pinger implements Role {
  sent = 0;
  readonly answers = new SequenceTracker();
  badChecksums = 0;
  /** Round-trip times since it was last emptied, by whoever shows them. */
  readonly times = new Histogram();
  readonly #port: Port;
  readonly #template: PacketTemplate;
  readonly #options: SendOptions;
  readonly #clock: () => number;
  readonly #pace: Pace;
  #unanswered = 0;
  /** Of the last sending or answer. */
  #movedAt = 0;

  /** @param clock The time that `step` is told, to be asked right before sending and after arrival. */
  constructor(port: Port, template: PacketTemplate, options: SendOptions, clock: () => number) {
    this.#port = port;
    this.#template = template;
    this.#options = options;
    this.#clock = clock;
    this.#pace = new Pace(options.rate, options.burst);
  }

  get done(): boolean {
    return this.sent >= this.#options.count && this.#unanswered === 0;
  }

  delay(now: number): number {
    const giveUp = Math.max(0, this.#movedAt + ANSWER_US_MAX - now);
    if (this.sent >= this.#options.count) return giveUp;
    return this.#options.rate === 0 ? giveUp : this.#pace.delay(now, this.sent);
  }

  step(now: number): number {
    const received = this.#receive();
    if (this.#unanswered > 0 && now - this.#movedAt > ANSWER_US_MAX) this.#unanswered = 0;
    const { tx } = this.#port;
    const { rate, burst, count } = this.#options;
    const due = rate === 0 ? burst - this.#unanswered : this.#pace.due(now, this.sent);
    const n = Math.min(due, tx.available, burst, count - this.sent) | 0;
    if (n > 0) {
      const time = this.#clock();
      fill(this.#port, this.#template, n, time);
      this.sent += n;
      this.#unanswered += n;
      this.#movedAt = time;
    }
    if (tx.available < tx.slots) this.#port.txSync();
    return received + n;
  }

  #receive(): number {
    const { rx, arena, capabilities } = this.#port;
    const ether = capabilities.link === 'ether';
    const n = this.#port.rxSync();
    if (n === 0) return 0;
    const now = this.#clock();
    const { m } = rx;
    for (let i = 0; i < n; i++) {
      const slot = rx.slot((rx.head + i) | 0);
      const payload = pktgenPayload(arena, ether, m[slot + AT], m[slot + LENGTH], m[slot + FLAGS]);
      if (payload === BAD) this.badChecksums++;
      if (payload < 0) continue;
      const { duplicates } = this.answers;
      this.answers.take(arena.view.getInt32(payload + SEQUENCE, false));
      if (this.answers.duplicates !== duplicates) continue;
      this.times.record((now - arena.view.getFloat64(payload + TIME, false)) * 1000);
      if (this.#unanswered > 0) this.#unanswered--;
      this.#movedAt = now;
    }
    rx.head = (rx.head + n) | 0;
    return n;
  }
}

/** pong: sends pktgen's requests back to where they came from, and drops all else. */
export class Ponger implements Role {
  readonly done = false;
  answered = 0;
  foreign = 0;
  badChecksums = 0;
  readonly #port: Port;
  readonly #burst: number;
  readonly #exchanges: boolean;
  /** Our own, where the device has one. */
  readonly #macHigh: number;
  readonly #macLow: number;

  constructor(port: Port, burst: number) {
    this.#port = port;
    this.#burst = burst;
    this.#exchanges = mayExchange(port, port);
    const { mac } = port.capabilities;
    this.#macHigh = mac === null ? 0 : macHigh(mac);
    this.#macLow = mac === null ? 0 : macLow(mac);
  }

  delay(): number {
    return this.#port.tx.available < this.#port.tx.slots ? 0 : Number.POSITIVE_INFINITY;
  }

  step(): number {
    const port = this.#port;
    const { rx, tx, arena, capabilities } = port;
    const ether = capabilities.link === 'ether';
    // A request waits until its answer has room.
    const n = Math.min(port.rxSync(), tx.available, this.#burst);
    const { m } = rx;
    for (let i = 0; i < n; i++) {
      const from = rx.slot((rx.head + i) | 0);
      const flags = m[from + FLAGS];
      const payload = pktgenPayload(arena, ether, m[from + AT], m[from + LENGTH], flags);
      if (payload < 0 || arena.view.getInt32(payload, false) !== REQUEST) {
        if (payload === BAD) this.badChecksums++;
        else this.foreign++;
        continue;
      }
      if (ether) turnRoundEther(arena.view, m[from + AT], this.#macHigh, this.#macLow);
      turnRound(arena.view, ether ? m[from + AT] + ETHER_BYTES : m[from + AT], payload, (flags & FILL) !== 0);
      const to = tx.slot(tx.head);
      if (this.#exchanges) exchangeFrame(m, from, to);
      else copyFrame(port, from, to);
      m[to + FLAGS] = flags & FILL;
      tx.head = (tx.head + 1) | 0;
      this.answered++;
    }
    rx.head = (rx.head + n) | 0;
    if (tx.available < tx.slots) port.txSync();
    return n;
  }
}

/** The answer goes back to the sender, from whom the request was for; from us when it was for a group. */
function turnRoundEther(view: DataView, at: number, ownHigh: number, ownLow: number): void {
  const high = etherDstHigh(view, at);
  const low = etherDstLow(view, at);
  const group = macIsMulticast(high);
  etherWrite(
    view,
    at,
    etherSrcHigh(view, at),
    etherSrcLow(view, at),
    group ? ownHigh : high,
    group ? ownLow : low,
    etherType(view, at),
  );
}

/** Makes a request the answer to it. Swapped addresses and ports leave the sums as they are. */
function turnRound(view: DataView, ip: number, payload: number, fill: boolean): void {
  const udp = payload - UDP_HEADER_BYTES;
  if (view.getUint8(ip) >> 4 === 4) swap(view, ip + IPV4_SRC, ip + IPV4_DST, 4);
  else swap(view, ip + IPV6_SRC, ip + IPV6_DST, 16);
  const ports = view.getInt32(udp, false);
  view.setInt32(udp, (ports << 16) | (ports >>> 16), false);
  view.setInt32(payload, REPLY, false);
  const checksum = view.getUint16(udp + UDP_CHECKSUM, false);
  // A field to be filled in holds the pseudo-header's sum only, and 0 says that there is none.
  if (fill || checksum === 0) return;
  const updated = checksumUpdate32(checksum, REQUEST, REPLY);
  view.setUint16(udp + UDP_CHECKSUM, updated === 0 ? 0xffff : updated, false);
}

/** @param bytes A multiple of 4. */
function swap(view: DataView, a: number, b: number, bytes: number): void {
  for (let i = 0; i < bytes; i += 4) {
    const word = view.getInt32(a + i, false);
    view.setInt32(a + i, view.getInt32(b + i, false), false);
    view.setInt32(b + i, word, false);
  }
}
