/** Takes what a port receives, keeps what a filter lets through, and hands it on: tcpdump's loop. */
import { DESC_AT, DESC_FLAGS, DESC_LENGTH, FRAME_MORE, FRAME_OUTGOING } from '../memory/ring.ts';
import { concat } from '../wire/plain.ts';
import type { BpfFilter } from './bpf-filter.ts';
import type { Port } from './port.ts';

/** Frames in a step. */
const BURST = 256;

export class FrameTap {
  seen = 0;
  matched = 0;
  readonly #port: Port;
  readonly #filter: BpfFilter | null;
  readonly #count: number;
  readonly #clock: () => number;
  readonly #sink: (frame: Uint8Array, timeUs: number, outgoing: boolean) => void;
  /** Of a frame that goes on in the next slot. */
  readonly #pieces: Uint8Array[] = [];

  /**
   * @param count How many to hand on at most.
   * @param clock Microseconds since the epoch, for ports that don't say when frames came.
   * @param sink Sees each frame where it lies: it is another one's after the call.
   */
  constructor(
    port: Port,
    filter: BpfFilter | null,
    count: number,
    clock: () => number,
    sink: (frame: Uint8Array, timeUs: number, outgoing: boolean) => void,
  ) {
    this.#port = port;
    this.#filter = filter;
    this.#count = count;
    this.#clock = clock;
    this.#sink = sink;
  }

  get done(): boolean {
    return this.matched >= this.#count;
  }

  delay(): number {
    return Number.POSITIVE_INFINITY;
  }

  step(): number {
    const { rx, rxTimes, arena } = this.#port;
    const n = Math.min(this.#port.rxSync(), BURST);
    if (n === 0) return 0;
    const now = this.#clock();
    for (let i = 0; i < n && !this.done; i++) {
      const slot = rx.slot(rx.head);
      const at = rx.m[slot + DESC_AT];
      const piece = arena.u8.subarray(at, at + rx.m[slot + DESC_LENGTH]);
      const flags = rx.m[slot + DESC_FLAGS];
      const time = rxTimes === null ? now : rxTimes[rx.head & (rx.slots - 1)];
      if ((flags & FRAME_MORE) !== 0) this.#pieces.push(piece.slice());
      else {
        const frame = this.#pieces.length === 0 ? piece : concat(...this.#pieces.splice(0), piece);
        this.#take(frame, time, (flags & FRAME_OUTGOING) !== 0);
      }
      rx.head = (rx.head + 1) | 0;
    }
    return n;
  }

  #take(frame: Uint8Array, timeUs: number, outgoing: boolean): void {
    this.seen++;
    if (this.#filter !== null && this.#filter.run(frame, 0, frame.length) === 0) return;
    this.matched++;
    this.#sink(frame, timeUs, outgoing);
  }
}
