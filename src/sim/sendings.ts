/**
 * When what is outstanding was sent, and what could be learnt of the round-trip time from what came back: a segment that
 * was sent once says how long its acknowledgement took, and so does the echo of a timestamp (RFC 6298 3, RFC 7323 4).
 * Whatever an engine takes for its RTT must lie within.
 */
/** Instead of the time of a segment that is as good as never sent. */
const REFUSED = -1;

export class Sendings {
  /** Bounds of what could be measured since the last `forget`, us; none while max < min. */
  min_us = Number.POSITIVE_INFINITY;
  max_us = Number.NEGATIVE_INFINITY;
  /** Segments in order: their ends, when they left (ns), and whether any of it was sent again. */
  readonly #ends: number[] = [];
  readonly #times: number[] = [];
  readonly #again: boolean[] = [];
  #head = 0;
  /** Where the first of them starts. */
  #una = 0;

  /** What is sent starts at `seq`. */
  begin(seq: number): void {
    this.#una = seq;
  }

  forget(): void {
    this.min_us = Number.POSITIVE_INFINITY;
    this.max_us = Number.NEGATIVE_INFINITY;
  }

  /** New data left, up to `end`. */
  add(end: number, now: number): void {
    this.#ends.push(end);
    this.#times.push(now);
    this.#again.push(false);
  }

  /** What was sent from `from` on didn't count: whatever of it leaves next is sent for the first time. */
  refuse(from: number): void {
    for (let i = this.#head; i < this.#ends.length; i++) {
      if (((this.#ends[i] - from) | 0) <= 0) continue;
      if (((from - (i === this.#head ? this.#una : this.#ends[i - 1])) | 0) > 0) this.#split(i++, from);
      this.#times[i] = REFUSED;
    }
  }

  /** [start, end) left once more; what else its segments held was still sent once. */
  repeat(start: number, end: number, now: number): void {
    for (let i = this.#head; i < this.#ends.length; i++) {
      if (((this.#ends[i] - start) | 0) <= 0) continue;
      const from = i === this.#head ? this.#una : this.#ends[i - 1];
      if (((end - from) | 0) <= 0) return;
      if (((start - from) | 0) > 0) this.#split(i++, start);
      if (((this.#ends[i] - end) | 0) > 0) this.#split(i, end);
      this.#again[i] = this.#times[i] !== REFUSED;
      if (!this.#again[i]) this.#times[i] = now;
    }
  }

  #split(i: number, at: number): void {
    this.#ends.splice(i, 0, at);
    this.#times.splice(i, 0, this.#times[i]);
    this.#again.splice(i, 0, this.#again[i]);
  }

  /** How many segments before `ack` are still to be acknowledged. */
  countBefore(ack: number): number {
    let i = this.#head;
    while (i < this.#ends.length && ((this.#ends[i] - ack) | 0) <= 0) i++;
    return i - this.#head;
  }

  /** The peer says that all before `ack` has arrived, in a segment that this host need not accept. */
  hint(ack: number, now: number): void {
    for (let i = this.#head; i < this.#ends.length && ((this.#ends[i] - ack) | 0) <= 0; i++)
      this.#measure(i, now);
  }

  /** All before `ack` has arrived. */
  acknowledge(ack: number, now: number): void {
    if (((ack - this.#una) | 0) > 0) this.#una = ack;
    while (this.#head < this.#ends.length && ((this.#ends[this.#head] - ack) | 0) <= 0)
      this.#measure(this.#head++, now);
    if (this.#head < 64 || 2 * this.#head < this.#ends.length) return;
    this.#ends.splice(0, this.#head);
    this.#times.splice(0, this.#head);
    this.#again.splice(0, this.#head);
    this.#head = 0;
  }

  /** [start, end) has arrived, beyond what is acknowledged; a part of a segment tells as much as all of it. */
  report(start: number, end: number, now: number): void {
    for (let i = this.#head; i < this.#ends.length; i++) {
      if (((this.#ends[i] - start) | 0) <= 0) continue;
      if (i > this.#head && ((this.#ends[i - 1] - end) | 0) >= 0) return;
      this.#measure(i, now);
    }
  }

  #measure(i: number, now: number): void {
    if (!this.#again[i] && this.#times[i] !== REFUSED) this.sample((now - this.#times[i]) / 1000, 0);
  }

  /** `us` could be measured, give or take. */
  sample(us: number, tolerance_us: number): void {
    if (us - tolerance_us < this.min_us) this.min_us = us - tolerance_us;
    if (us + tolerance_us > this.max_us) this.max_us = us + tolerance_us;
  }
}
