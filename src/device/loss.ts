/** Which frames a link loses by chance. */
import type { Prng } from '../memory/prng.ts';

/** Each frame by itself, with this probability. */
export interface RandomLoss {
  readonly kind: 'random';
  readonly p: number;
}

/**
 * Gilbert and Elliott's channel, in time: a good and a bad state take turns, each for so long on average, and lose
 * frames with the probabilities `good` and `bad`.
 */
export interface BurstLoss {
  readonly kind: 'burst';
  readonly good_ms: number;
  readonly bad_ms: number;
  readonly good: number;
  readonly bad: number;
}

/** The same by frames instead of time, as `tc`'s gemodel has it. Probabilities from 0 to 1. */
export interface GilbertLoss {
  readonly kind: 'gilbert';
  /** That a frame finds the channel gone bad, and good again. */
  readonly p: number;
  readonly r: number;
  /** That it is lost in the bad state and in the good one; 1 and 0 unless told. */
  readonly bad?: number;
  readonly good?: number;
}

export type LossOptions = RandomLoss | BurstLoss | GilbertLoss;

const MS = 1e6;
const IDLE = 10_000 * MS;

export class Loss {
  readonly #options: LossOptions;
  readonly #prng: Prng;
  #bad: boolean;
  /** When the state changes, ns. */
  #until = 0;

  constructor(options: LossOptions, prng: Prng) {
    this.#options = options;
    this.#prng = prng;
    this.#bad = options.kind !== 'gilbert';
  }

  /** Whether the frame that leaves now is lost. */
  next(now: number): boolean {
    const o = this.#options;
    if (o.kind === 'random') return this.#prng.bool(o.p);
    if (o.kind === 'gilbert') {
      if (this.#prng.bool(this.#bad ? o.r : o.p)) this.#bad = !this.#bad;
      return this.#prng.bool(this.#bad ? (o.bad ?? 1) : (o.good ?? 0));
    }
    // After long idleness it starts anew, in either state, instead of being followed through.
    if (now - this.#until > IDLE) this.#enter(this.#prng.bool(o.bad_ms / (o.good_ms + o.bad_ms)), now);
    while (now >= this.#until) this.#enter(!this.#bad, this.#until);
    const p = this.#bad ? o.bad : o.good;
    return p > 0 && this.#prng.bool(p);
  }

  #enter(bad: boolean, at: number): void {
    const o = this.#options as BurstLoss;
    this.#bad = bad;
    // Evenly between nothing and twice the mean.
    this.#until = at + 1 + this.#prng.below(2 * MS * (bad ? o.bad_ms : o.good_ms));
  }
}
