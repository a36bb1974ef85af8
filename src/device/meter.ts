/**
 * A port that measures what crosses the port it wraps, and changes nothing: how much, how fast, how long the frames are
 * and how far apart.
 */
import { DESC_FLAGS, DESC_LENGTH, FRAME_MORE, type Ring } from '../memory/ring.ts';
import type { Port } from './port.ts';
import { watch } from './watch.ts';

/** Lengths up to which each class of `Meter.sizes` goes, bytes, as RMON has them (RFC 2819); the last has no end. */
export const SIZE_CLASSES: readonly number[] = [64, 127, 255, 511, 1023, 1518, Number.POSITIVE_INFINITY];
/** Class k of `Meter.gaps` has gaps of 2^k up to 2^(k+1) ns; 0 has shorter ones, too, and the last longer ones. */
export const GAP_CLASSES = 32;

const LENGTH = DESC_LENGTH;
const FLAGS = DESC_FLAGS;
const MORE = FRAME_MORE;
const LAST_GAP_NS = 2 ** 31;

export interface Rate {
  readonly framesPerSecond: number;
  /** Of frames, without preamble, check sequence and gap. */
  readonly bitsPerSecond: number;
}

/** What went in one direction. */
export class Meter {
  frames = 0;
  bytes = 0;
  readonly sizes = new Float64Array(SIZE_CLASSES.length);
  /** Between the arrivals of two frames; where the port doesn't say when they came, between the syncs that took them. */
  readonly gaps = new Float64Array(GAP_CLASSES);
  readonly #ring: Ring;
  /** The first slot not yet counted. */
  #next: number;
  /** The frame so far, when it goes on. */
  #length = 0;
  /** When the last frame came, us. */
  #lastUs = Number.NaN;
  #ratedUs: number;
  #ratedFrames = 0;
  #ratedBytes = 0;

  constructor(ring: Ring, next: number, nowUs: number) {
    this.#ring = ring;
    this.#next = next;
    this.#ratedUs = nowUs;
  }

  /** The mean since the last call, or since the start. */
  rate(nowUs: number): Rate {
    const seconds = Math.max(nowUs - this.#ratedUs, 1) / 1e6;
    const rate = {
      framesPerSecond: (this.frames - this.#ratedFrames) / seconds,
      bitsPerSecond: ((this.bytes - this.#ratedBytes) * 8) / seconds,
    };
    [this.#ratedUs, this.#ratedFrames, this.#ratedBytes] = [nowUs, this.frames, this.bytes];
    return rate;
  }

  /** Counts the slots up to `end`. @param times When they came, by masked index, or null: now. */
  countTo(end: number, nowUs: number, times: Float64Array | null): void {
    const ring = this.#ring;
    const { m } = ring;
    const mask = ring.slots - 1;
    for (; this.#next !== end; this.#next = (this.#next + 1) | 0) {
      const slot = ring.slot(this.#next);
      this.#length += m[slot + LENGTH];
      if ((m[slot + FLAGS] & MORE) !== 0) continue;
      this.#count(this.#length, times === null ? nowUs : times[this.#next & mask]);
      this.#length = 0;
    }
  }

  #count(length: number, timeUs: number): void {
    this.frames++;
    this.bytes += length;
    let size = 0;
    while (length > SIZE_CLASSES[size]) size++;
    this.sizes[size]++;
    if (!Number.isNaN(this.#lastUs)) {
      // Clocks may be set back.
      const gap_ns = Math.min(Math.max((timeUs - this.#lastUs) * 1000, 1), LAST_GAP_NS);
      this.gaps[31 - Math.clz32(gap_ns)]++;
    }
    this.#lastUs = timeUs;
  }
}

export interface MeteredPort extends Port {
  readonly meters: { readonly rx: Meter; readonly tx: Meter };
}

/** @param clock Microseconds since the epoch. */
export function meter(port: Port, clock: () => number): MeteredPort {
  const now = clock();
  const rx = new Meter(port.rx, port.rx.tail, now);
  const tx = new Meter(port.tx, port.tx.head, now);
  const watched = watch(port, {
    received: () => rx.countTo(port.rx.tail, clock(), port.rxTimes),
    sending: () => tx.countTo(port.tx.head, clock(), null),
  });
  return Object.assign(watched, { meters: { rx, tx } });
}
