/** When the next packets of a steady rate are due. */

/** A sender that was held up makes up for at most this long, or for one burst. us */
const CATCH_UP_US = 10_000;

export class Pace {
  /** Packets a second; 0: as fast as possible. */
  readonly rate: number;
  readonly #backlogMax: number;
  /** When the first packet was due, moved on by what is not made up for; us. */
  #start = Number.NaN;

  constructor(rate: number, burst: number) {
    this.rate = rate;
    this.#backlogMax = Math.max(burst, Math.ceil((rate * CATCH_UP_US) / 1e6));
  }

  /** How many may go at `now`. @param sent How many have gone so far. */
  due(now: number, sent: number): number {
    if (this.rate === 0) return Number.POSITIVE_INFINITY;
    if (Number.isNaN(this.#start)) this.#start = now;
    const due = Math.floor(((now - this.#start) * this.rate) / 1e6) + 1 - sent;
    if (due <= this.#backlogMax) return Math.max(0, due);
    this.#start += ((due - this.#backlogMax) * 1e6) / this.rate;
    return this.#backlogMax;
  }

  /** How long until one may go, us. */
  delay(now: number, sent: number): number {
    if (this.rate === 0 || Number.isNaN(this.#start)) return 0;
    return Math.max(0, this.#start + (sent * 1e6) / this.rate - now);
  }
}
