/** What the jobs that count frames share. */
import type { Port } from '../../src/device/port.ts';
import { DESC_AUX, DESC_FLAGS, DESC_LENGTH, DESC_WORDS } from '../../src/memory/ring.ts';
import { type JobArguments, Stopwatch } from './job.ts';

const [LENGTH, FLAGS, AUX, WORDS] = [DESC_LENGTH, DESC_FLAGS, DESC_AUX, DESC_WORDS];

/** Sends up to `count` frames of `bytes`, whatever is in the slots' buffers. */
export function sendFrames(port: Port, count: number, bytes: number): void {
  const { tx } = port;
  const { m, base, mask } = tx;
  let { head } = tx;
  const room = (tx.tail - head) | 0;
  for (let n = count < room ? count : room; n > 0; n--) {
    const slot = base + (head & mask) * WORDS;
    m[slot + LENGTH] = bytes;
    m[slot + FLAGS] = 0;
    m[slot + AUX] = 0;
    head = (head + 1) | 0;
  }
  tx.head = head;
  port.txSync();
}

/** Receives all that is there, and gives it back at the next call. @returns how many frames */
export function takeAll(port: Port): number {
  const n = port.rxSync();
  port.rx.head = (port.rx.head + n) | 0;
  return n;
}

export interface MeasuredFrames {
  readonly wallNs: number;
  readonly cpuNs: number;
  readonly requests: number;
}

/** Turns for the warm-up, then for the measured time. @param count Frames that have arrived so far. */
export function runFrames(args: JobArguments, turn: () => void, count: () => number): MeasuredFrames {
  turnFor(args.warmup, turn);
  const before = count();
  const stopwatch = new Stopwatch();
  turnFor(args.seconds, turn);
  return { ...stopwatch.read(), requests: count() - before };
}

function turnFor(seconds: number, turn: () => void): void {
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) for (let i = 0; i < 64; i++) turn();
}
