/** Limits a rate: `ratePerSecond` on average, `burst` at once. Time is int32 milliseconds that may wrap. */
export class TokenBucket {
  readonly #ratePerSecond: number;
  readonly #milliMax: number;
  /** Thousandths of a token, so that a rate per second divides into milliseconds. */
  #milli: number;
  #last_ms: number;

  constructor(ratePerSecond: number, burst: number, now_ms: number) {
    this.#ratePerSecond = ratePerSecond;
    this.#milliMax = burst * 1000;
    this.#milli = this.#milliMax;
    this.#last_ms = now_ms;
  }

  /** @param milli What it costs if a token is there, in thousandths; what is more than was there is owed. */
  take(now_ms: number, milli = 1000): boolean {
    const elapsed_ms = (now_ms - this.#last_ms) | 0;
    this.#last_ms = now_ms;
    // After 24 days of silence the difference is negative: long enough to be full again.
    const gained = elapsed_ms < 0 ? this.#milliMax : elapsed_ms * this.#ratePerSecond;
    this.#milli = Math.min(this.#milliMax, this.#milli + gained);
    if (this.#milli < 1000) return false;
    this.#milli -= milli;
    return true;
  }
}
