/** Which frames a link loses by chance. */
import type { Prng } from '../memory/prng.ts';

/** Each frame by itself, with this probability. */
export interface RandomLoss {
  readonly kind: 'random';
  readonly p: number;
}

/**
 * Gilbert and Elliott's channel: a good and a bad state, which change with `toBad` and `toGood` per frame, and lose
 * with `good` and `bad`. Losses come in bursts of 1 / toGood frames on average.
 */
export interface BurstLoss {
  readonly kind: 'burst';
  readonly toBad: number;
  readonly toGood: number;
  readonly good: number;
  readonly bad: number;
}

export type LossOptions = RandomLoss | BurstLoss;

export class Loss {
  readonly #options: LossOptions;
  readonly #prng: Prng;
  #bad = false;

  constructor(options: LossOptions, prng: Prng) {
    this.#options = options;
    this.#prng = prng;
  }

  /** Whether the next frame is lost. */
  next(): boolean {
    const o = this.#options;
    if (o.kind === 'random') return this.#prng.bool(o.p);
    if (this.#prng.bool(this.#bad ? o.toGood : o.toBad)) this.#bad = !this.#bad;
    const p = this.#bad ? o.bad : o.good;
    return p > 0 && this.#prng.bool(p);
  }
}

/** Frames lost in the long run, 0 to 1. */
export function meanLoss(o: LossOptions): number {
  if (o.kind === 'random') return o.p;
  const bad = o.toBad / (o.toBad + o.toGood);
  return bad * o.bad + (1 - bad) * o.good;
}
