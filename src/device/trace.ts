/**
 * Links whose capacity varies as it was recorded, in mahimahi's format (Netravali et al., USENIX ATC 2015): a line for
 * each opportunity to deliver 1504 bytes, saying when, in whole ms from the start and never backwards. The recording
 * repeats for ever; its last line is its length.
 */
import type { Prng } from '../memory/prng.ts';

/** What one opportunity carries: an MTU of 1500 and 4 bytes of mahimahi's tunnel. */
export const OPPORTUNITY_BYTES = 1504;

/** A text that is no trace. `code` is ERR_TRACE. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
  readonly code = 'ERR_TRACE';
}

export class Trace {
  /** Opportunities, ms, ascending. */
  readonly times: Float64Array;
  /** Length of the recording, ms; 1 or more. */
  readonly period: number;

  constructor(times: ArrayLike<number>) {
    this.times = Float64Array.from(times);
    this.period = this.times.at(-1) ?? 0;
    if (!(this.period >= 1)) throw new TraceError('a trace lasts 1 ms at least');
  }

  /** @throws TraceError, naming the line */
  static parse(text: string): Trace {
    const times: number[] = [];
    for (const [i, line] of text.split(/\r?\n/).entries()) {
      const word = line.trim();
      if (word === '') continue;
      if (!/^\d{1,15}$/.test(word))
        throw new TraceError(`line ${i + 1}: ${JSON.stringify(word.slice(0, 40))} is no time in whole ms`);
      const time = Number(word);
      if (time < (times.at(-1) ?? 0))
        throw new TraceError(`line ${i + 1}: ${time} ms is before the last one`);
      times.push(time);
    }
    return new Trace(times);
  }

  format(): string {
    return `${this.times.join('\n')}\n`;
  }

  /** Mean rate, bits per second. */
  get rate_bps(): number {
    return (this.times.length * OPPORTUNITY_BYTES * 8 * 1000) / this.period;
  }

  /** The first opportunity at `n` or after, counted through all repetitions: its number for a time in ms. */
  numberAt(ms: number): number {
    const { times, period } = this;
    const round = Math.floor(ms / period);
    const within = ms - round * period;
    let low = 0;
    let high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < within) low = middle + 1;
      else high = middle;
    }
    return round * times.length + low;
  }

  /** When opportunity `number` comes, ms. */
  timeOf(number: number): number {
    const { times, period } = this;
    const round = Math.floor(number / times.length);
    return round * period + times[number - round * times.length];
  }
}

/**
 * A made-up recording of a mobile link: its rate walks at random around `rate_bps` between a tenth and three times of
 * it, with outages now and then, as those of the cellular traces that come with mahimahi do.
 */
export function mobileTrace(prng: Prng, rate_bps: number, seconds: number): Trace {
  const times: number[] = [];
  const mean = rate_bps / 8 / 1000 / OPPORTUNITY_BYTES; // opportunities a ms
  let rate = mean;
  let credit = 0;
  let outage = 0;
  for (let ms = 1; ms <= seconds * 1000; ms++) {
    if (ms % 20 === 0) {
      rate += mean * 0.4 * (prng.below(1001) / 500 - 1);
      rate = Math.min(3 * mean, Math.max(mean / 10, rate));
      if (outage === 0 && prng.bool(0.004)) outage = 100 + prng.below(700);
    }
    if (outage > 0) {
      outage--;
      continue;
    }
    for (credit += rate; credit >= 1; credit--) times.push(ms);
  }
  times.push(seconds * 1000);
  return new Trace(times);
}
