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

export type LossOptions = RandomLoss | BurstLoss;

const MS = 1e6;
const IDLE = 10_000 * MS;

export class Loss {
  readonly #options: LossOptions;
  readonly #prng: Prng;
  #bad = true;
  /** When the state changes, ns. */
  #until = 0;

  constructor(options: LossOptions, prng: Prng) {
    this.#options = options;
    this.#prng = prng;
  }

  /** Whether the frame that leaves now is lost. */
  next(now: number): boolean {
    const o = this.#options;
    if (o.kind === 'random') return this.#prng.bool(o.p);
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
