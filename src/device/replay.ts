/** Sends the packets of a capture again, as they came or at another pace: tcpreplay's loop. */
import { DESC_AT, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import { ETHER_HEADER_BYTES } from '../wire/ethernet.ts';
import type { CapturedPacket } from './pcap-reader.ts';
import { Pace } from './pktgen/pace.ts';
import type { Port } from './port.ts';

export interface ReplayOptions {
  /** `original`: with the pauses between packets divided by `speed`; `rate`: packets a second; `top`: all at once. */
  readonly timing: 'original' | 'rate' | 'top';
  readonly speed: number;
  readonly rate: number;
  /** How often; Infinity: until told. */
  readonly loops: number;
}

/** Packets between two syncs. */
const BURST = 64;

export class Replayer {
  /** Handed to the port. */
  sent = 0;
  /** Whole passes. */
  passes = 0;
  /** Not sent: of another link than the port's; with their end cut off in the capture; longer than the link takes. */
  otherLink = 0;
  cut = 0;
  tooLong = 0;
  readonly #port: Port;
  readonly #open: () => Iterator<CapturedPacket>;
  readonly #options: ReplayOptions;
  readonly #pace: Pace;
  readonly #lengthMax: number;
  #source: Iterator<CapturedPacket>;
  /** What is to be sent next, and when, us; null at the end of all passes. */
  #next: CapturedPacket | null = null;
  #dueAt = Number.NEGATIVE_INFINITY;
  /** Of the packet that the pass began with, and when that was due. */
  #firstTime = Number.NaN;
  #firstDueAt = 0;
  #foundInPass = 0;
  #started = false;

  /** @param open Begins a pass: the packets in order, each looked at no more when the next is asked for. */
  constructor(port: Port, open: () => Iterator<CapturedPacket>, options: ReplayOptions) {
    this.#port = port;
    this.#open = open;
    this.#options = options;
    this.#pace = new Pace(options.timing === 'rate' ? options.rate : 0, BURST);
    const { link, mtu } = port.capabilities;
    this.#lengthMax = Math.min(mtu + (link === 'ether' ? ETHER_HEADER_BYTES : 0), port.frameBytes);
    this.#source = open();
  }

  get done(): boolean {
    return this.#started && this.#next === null && this.#port.tx.available === this.#port.tx.slots;
  }

  delay(now: number): number {
    if (this.#next === null) return 0;
    return this.#options.timing === 'original'
      ? Math.max(0, this.#dueAt - now)
      : this.#pace.delay(now, this.sent);
  }

  /** @throws what reading the capture throws */
  step(now: number): number {
    const { tx, arena } = this.#port;
    if (!this.#started) this.#start(now);
    const room = Math.min(tx.available, BURST, this.#pace.due(now, this.sent));
    let n = 0;
    while (n < room && this.#next !== null && this.#dueAt <= now) {
      const { bytes } = this.#next;
      const slot = tx.slot(tx.head);
      arena.u8.set(bytes, tx.m[slot + DESC_AT]);
      tx.m[slot + DESC_LENGTH] = bytes.length;
      tx.m[slot + DESC_FLAGS] = 0;
      tx.head = (tx.head + 1) | 0;
      n++;
      this.#advance();
    }
    this.sent += n;
    if (tx.available < tx.slots) this.#port.txSync();
    return n;
  }

  #start(now: number): void {
    this.#started = true;
    this.#firstDueAt = now;
    this.#advance();
  }

  /** Finds the next packet that can be sent, in this pass or the next one. */
  #advance(): void {
    for (;;) {
      const { done, value } = this.#source.next();
      if (done !== true) {
        if (!this.#sendable(value)) continue;
        this.#next = value;
        this.#foundInPass++;
        if (this.#options.timing === 'original') this.#dueAt = this.#due(value.timeUs);
        return;
      }
      this.passes++;
      // A capture without anything to send won't have more the next time.
      if (this.passes >= this.#options.loops || this.#foundInPass === 0) {
        this.#next = null;
        return;
      }
      this.#source = this.#open();
      this.#foundInPass = 0;
      this.#firstTime = Number.NaN;
    }
  }

  #sendable({ link, bytes, length }: CapturedPacket): boolean {
    if (link !== this.#port.capabilities.link) this.otherLink++;
    else if (bytes.length < length) this.cut++;
    else if (length > this.#lengthMax || length === 0) this.tooLong++;
    else return true;
    return false;
  }

  /** Times that run backwards, or are missing, mean at once. */
  #due(timeUs: number): number {
    if (Number.isNaN(this.#firstTime)) {
      this.#firstTime = timeUs;
      this.#firstDueAt = Math.max(this.#firstDueAt, this.#dueAt);
    }
    const due = this.#firstDueAt + (timeUs - this.#firstTime) / this.#options.speed;
    return due > this.#dueAt ? due : this.#dueAt;
  }
}
