/**
 * The queue in front of a link: first in, first out, within a limit in bytes; and what it drops or marks before that:
 * nothing (drop-tail), by how long frames wait (CoDel, RFC 8289), or by how long the queue is on average (RED, Floyd
 * and Jacobson, with the gentle slope that RFC 7567 2 speaks of). Marking needs ECN-capable packets (RFC 3168 5).
 */
import type { Prng } from '../memory/prng.ts';
import { checksumUpdate16 } from '../wire/checksum.ts';
import { IPV4_CHECKSUM } from '../wire/ipv4.ts';
import type { Frames } from './held-frames.ts';

interface QueueLimits {
  /** What it holds at most, … */
  readonly bytes: number;
  /** … and how many frames; as many as `bytes` allow unless told. */
  readonly packets?: number;
}

export interface DropTailOptions extends QueueLimits {
  readonly kind: 'droptail';
}

export interface CodelOptions extends QueueLimits {
  readonly kind: 'codel';
  /** 5 and 100 unless told (RFC 8289 4.2, 4.3). */
  readonly target_ms?: number;
  readonly interval_ms?: number;
  /** Marks instead of dropping, where packets allow it. */
  readonly ecn?: boolean;
}

export interface RedOptions extends QueueLimits {
  readonly kind: 'red';
  /** Average lengths between which the probability rises from 0 to a tenth; a quarter and three quarters of `bytes` unless told. */
  readonly min?: number;
  readonly max?: number;
  readonly ecn?: boolean;
}

export type QueueOptions = DropTailOptions | CodelOptions | RedOptions;

export const QUEUE_DEFAULT: QueueOptions = { kind: 'droptail', bytes: 262_144 };

export interface QueueCounters {
  /** Full; decided so by CoDel or RED; marked instead. */
  overflowed: number;
  dropped: number;
  marked: number;
  /** Longest that it was, bytes. */
  longest: number;
}

const MS = 1e6;
/** Below this CoDel never drops: one frame is no standing queue (RFC 8289 5.5). */
const CODEL_BYTES_MIN = 1514;
/** RED's weight of the newest length, and its probability at `max`. */
const RED_WEIGHT = 0.002;
const RED_P_MAX = 0.1;

export class Queue {
  readonly counters: QueueCounters = { overflowed: 0, dropped: 0, marked: 0, longest: 0 };
  bytes = 0;
  length = 0;
  readonly #frames: Frames;
  /** May be changed while it runs. */
  options: QueueOptions;
  readonly #prng: Prng;
  /** From a frame's first byte to its IP header. */
  readonly #linkBytes: number;
  #head = -1;
  #tail = -1;
  /** CoDel's state variables, by their names in RFC 8289 5.1; ns. */
  #firstAboveTime = 0;
  #dropNext = 0;
  #count = 0;
  #lastCount = 0;
  #dropping = false;
  /** RED's: average length, frames since the last drop, and when the queue fell empty, ns; -1: it is not. */
  #average = 0;
  #sinceDrop = -1;
  #idleSince = 0;

  constructor(frames: Frames, options: QueueOptions, prng: Prng, linkBytes: number) {
    this.#frames = frames;
    this.options = options;
    this.#prng = prng;
    this.#linkBytes = linkBytes;
  }

  /** Takes a frame, or drops it. */
  push(f: number, now: number): void {
    const { frames, counters } = { frames: this.#frames, counters: this.counters };
    const bytes = frames.length[f];
    const { bytes: bytesMax, packets = Number.POSITIVE_INFINITY } = this.options;
    if (this.bytes + bytes > bytesMax || this.length >= packets) {
      counters.overflowed++;
      frames.give(f);
      return;
    }
    if (this.options.kind === 'red' && this.#redDrops(f, now)) return;
    frames.queuedAt[f] = now;
    frames.next[f] = -1;
    if (this.#head < 0) this.#head = f;
    else frames.next[this.#tail] = f;
    this.#tail = f;
    this.bytes += bytes;
    this.length++;
    if (this.bytes > counters.longest) counters.longest = this.bytes;
  }

  /** @returns the next frame to go, or -1. */
  pop(now: number): number {
    const f = this.options.kind === 'codel' ? this.#codelPop(this.options, now) : this.#take();
    if (this.#head < 0 && this.#idleSince < 0) this.#idleSince = now;
    return f;
  }

  /** Bytes of the frame that pop() would look at first; 0 when there is none. */
  get headBytes(): number {
    return this.#head < 0 ? 0 : this.#frames.length[this.#head];
  }

  /** When that frame came, ns. There is one. */
  get headQueuedAt(): number {
    return this.#frames.queuedAt[this.#head];
  }

  #take(): number {
    const f = this.#head;
    if (f < 0) return -1;
    this.#head = this.#frames.next[f];
    this.bytes -= this.#frames.length[f];
    this.length--;
    return f;
  }

  /** RFC 8289 5.5 and 5.6, where this is `dequeue`. */
  #codelPop(o: CodelOptions, now: number): number {
    const interval = (o.interval_ms ?? 100) * MS;
    let f = this.#take();
    let drop = this.#codelShouldDrop(o, f, now);
    if (this.#dropping) {
      if (!drop) this.#dropping = false;
      while (this.#dropping && now >= this.#dropNext) {
        this.#count++;
        if (this.#mark(o.ecn, f)) {
          this.#dropNext += interval / Math.sqrt(this.#count);
          break;
        }
        this.#drop(f);
        f = this.#take();
        drop = this.#codelShouldDrop(o, f, now);
        if (!drop) this.#dropping = false;
        else this.#dropNext += interval / Math.sqrt(this.#count);
      }
    } else if (drop) {
      if (!this.#mark(o.ecn, f)) {
        this.#drop(f);
        f = this.#take();
        this.#codelShouldDrop(o, f, now);
      }
      this.#dropping = true;
      // Soon after the last time it takes up where it left off.
      const delta = this.#count - this.#lastCount;
      this.#count = delta > 1 && now - this.#dropNext < 16 * interval ? delta : 1;
      this.#dropNext = now + interval / Math.sqrt(this.#count);
      this.#lastCount = this.#count;
    }
    return f;
  }

  #codelShouldDrop(o: CodelOptions, f: number, now: number): boolean {
    if (f < 0) {
      this.#firstAboveTime = 0;
      return false;
    }
    const sojourn = now - this.#frames.queuedAt[f];
    if (sojourn < (o.target_ms ?? 5) * MS || this.bytes <= CODEL_BYTES_MIN) {
      this.#firstAboveTime = 0;
      return false;
    }
    if (this.#firstAboveTime === 0) {
      this.#firstAboveTime = now + (o.interval_ms ?? 100) * MS;
      return false;
    }
    return now >= this.#firstAboveTime;
  }

  #redDrops(f: number, now: number): boolean {
    const o = this.options as RedOptions;
    if (this.#idleSince >= 0) {
      // As if small frames had left all the while, one in 1 ms.
      this.#average *= (1 - RED_WEIGHT) ** Math.min(10_000, Math.floor((now - this.#idleSince) / MS));
      this.#idleSince = -1;
    }
    this.#average += RED_WEIGHT * (this.bytes - this.#average);
    const min = o.min ?? o.bytes / 4;
    const max = o.max ?? (o.bytes * 3) / 4;
    if (this.#average < min) {
      this.#sinceDrop = -1;
      return false;
    }
    this.#sinceDrop++;
    const p =
      this.#average < max
        ? (RED_P_MAX * (this.#average - min)) / (max - min)
        : RED_P_MAX + ((1 - RED_P_MAX) * (this.#average - max)) / max;
    // Spread evenly instead of geometrically.
    const spread = p / Math.max(p, 1 - this.#sinceDrop * p);
    if (!this.#prng.bool(Math.min(1, spread))) return false;
    this.#sinceDrop = 0;
    if (this.#average < max && this.#mark(o.ecn, f)) return false;
    this.#drop(f);
    return true;
  }

  #drop(f: number): void {
    this.counters.dropped++;
    this.#frames.give(f);
  }

  #mark(ecn: boolean | undefined, f: number): boolean {
    if (ecn !== true || !markCe(this.#frames.arena.view, this.#frames.at[f] + this.#linkBytes)) return false;
    this.counters.marked++;
    return true;
  }

  /** Gives back all that waits. */
  flush(): void {
    for (let f = this.#take(); f >= 0; f = this.#take()) this.#frames.give(f);
  }
}

/** Sets Congestion Experienced on the IP packet at `at`. @returns false when it is not ECN-capable */
export function markCe(view: DataView, at: number): boolean {
  const version = view.getUint8(at) >> 4;
  if (version === 4) {
    const word = view.getUint16(at, false);
    if ((word & 3) === 0) return false;
    const marked = word | 3;
    const checksum = view.getUint16(at + IPV4_CHECKSUM, false);
    view.setUint16(at, marked, false);
    view.setUint16(at + IPV4_CHECKSUM, checksumUpdate16(checksum, word, marked), false);
    return true;
  }
  const word = view.getUint16(at, false);
  if (version !== 6 || (word & 0x30) === 0) return false;
  view.setUint16(at, word | 0x30, false);
  return true;
}
