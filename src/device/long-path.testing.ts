/**
 * For tests: a long path in virtual time. Two ports of link 'ip'; each direction is a drop-tail queue in front of a
 * line of a certain rate and delay, with a loss of one's own making.
 */
import type { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH, Ring } from '../memory/ring.ts';
import { type Capabilities, PLAIN, type Port, portCounters } from './port.ts';

const SLOTS = 512;
const WORDS = [DESC_LENGTH, DESC_FLAGS, DESC_AUX];

export interface PathOptions {
  readonly now: () => number;
  /** 125 is 1 Mbit/s, 125,000 is 1 Gbit/s. */
  readonly bytesPerMs: number;
  /** One way. */
  readonly delay_ms: number;
  /** What waits for the line at most, bytes. */
  readonly queueBytes: number;
  /** Frames in the queue and on the line at most, in each direction. */
  readonly frames: number;
  /** Whether the n-th frame of the direction from the first to the second port, counted from 0, is lost. */
  lose?(n: number): boolean;
  readonly mtu?: number;
}

export class LongPath {
  readonly ends: readonly [Port, Port];
  readonly #lines: readonly [Line, Line];
  readonly #now: () => number;

  constructor(arena: Arena, options: PathOptions) {
    const forth = new Line(arena, options, options.lose ?? (() => false));
    const back = new Line(arena, options, () => false);
    this.#lines = [forth, back];
    this.#now = options.now;
    this.ends = [
      new End('path.0', arena, forth, back, options),
      new End('path.1', arena, back, forth, options),
    ];
  }

  /** Frames that the queues had no room for, and the most bytes that waited, forth and back. */
  get dropped(): number[] {
    return this.#lines.map((line) => line.dropped);
  }

  get queuedMax(): number[] {
    return this.#lines.map((line) => Math.round(line.queuedMax));
  }

  /** ms until a frame arrives; Infinity: none is on its way. */
  nextDeadline(): number {
    return Math.max(0, Math.min(...this.#lines.map((line) => line.due)) - this.#now());
  }
}

/** One direction. Frames are kept by exchanging buffers. */
class Line {
  readonly #o: PathOptions;
  readonly #lose: (n: number) => boolean;
  readonly m: Int32Array;
  /** A ring of descriptors, 4 words each, and when they arrive. */
  readonly #frames: Int32Array;
  readonly #due: Float64Array;
  #first = 0;
  #count = 0;
  #n = 0;
  /** When the line has sent all that waits. */
  #busyUntil = 0;
  dropped = 0;
  queuedMax = 0;

  constructor(arena: Arena, options: PathOptions, lose: (n: number) => boolean) {
    this.#o = options;
    this.#lose = lose;
    this.m = arena.i32;
    this.#frames = new Int32Array(options.frames * 4);
    this.#due = new Float64Array(options.frames);
    const stride = ((options.mtu ?? 1500) + 63) & -64;
    const base = arena.carve('path frames', options.frames * stride);
    for (let i = 0; i < options.frames; i++) this.#frames[4 * i + DESC_AT] = base + i * stride;
  }

  get due(): number {
    return this.#count === 0 ? Infinity : this.#due[this.#first];
  }

  take(slot: number): void {
    if (this.#lose(this.#n++)) return;
    const now = this.#o.now();
    const waiting = Math.max(0, this.#busyUntil - now) * this.#o.bytesPerMs;
    if (waiting > this.queuedMax) this.queuedMax = waiting;
    if (waiting + this.m[slot + DESC_LENGTH] > this.#o.queueBytes || this.#count === this.#due.length) {
      this.dropped++;
      return;
    }
    const i = (this.#first + this.#count++) % this.#due.length;
    this.#busyUntil = Math.max(now, this.#busyUntil) + this.m[slot + DESC_LENGTH] / this.#o.bytesPerMs;
    this.#due[i] = this.#busyUntil + this.#o.delay_ms;
    this.#exchange(i, slot);
    for (const word of WORDS) this.#frames[4 * i + word] = this.m[slot + word];
  }

  /** Puts the next frame into a slot. @returns false when none has arrived */
  put(slot: number): boolean {
    if (this.due > this.#o.now()) return false;
    const i = this.#first;
    this.#exchange(i, slot);
    for (const word of WORDS) this.m[slot + word] = this.#frames[4 * i + word];
    this.#first = (i + 1) % this.#due.length;
    this.#count--;
    return true;
  }

  #exchange(i: number, slot: number): void {
    const at = this.#frames[4 * i + DESC_AT];
    this.#frames[4 * i + DESC_AT] = this.m[slot + DESC_AT];
    this.m[slot + DESC_AT] = at;
  }
}

class End implements Port {
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
  readonly #out: Line;
  readonly #in: Line;
  #taken = 0;

  constructor(name: string, arena: Arena, out: Line, into: Line, options: PathOptions) {
    const { mtu = 1500 } = options;
    this.name = name;
    this.arena = arena;
    this.frameBytes = (mtu + 63) & -64;
    this.capabilities = {
      ...PLAIN,
      link: 'ip',
      mtu,
      mac: null,
    };
    this.rx = new Ring(arena, `${name} rx`, SLOTS);
    this.tx = new Ring(arena, `${name} tx`, SLOTS);
    const base = arena.carve(`${name} frames`, 2 * SLOTS * this.frameBytes);
    for (let i = 0; i < SLOTS; i++) {
      arena.i32[this.rx.slot(i) + DESC_AT] = base + 2 * i * this.frameBytes;
      arena.i32[this.tx.slot(i) + DESC_AT] = base + (2 * i + 1) * this.frameBytes;
    }
    this.tx.tail = SLOTS;
    this.#out = out;
    this.#in = into;
  }

  rxSync(): number {
    const { rx } = this;
    while (((rx.tail - rx.head) | 0) < SLOTS && this.#in.put(rx.slot(rx.tail))) rx.tail = (rx.tail + 1) | 0;
    return rx.available;
  }

  txSync(): number {
    const { tx } = this;
    for (; this.#taken !== tx.head; this.#taken = (this.#taken + 1) | 0) this.#out.take(tx.slot(this.#taken));
    tx.tail = (this.#taken + SLOTS) | 0;
    return tx.available;
  }

  close(): void {}
}
