/** Latencies in buckets 1/32 of their value wide, as HdrHistogram's: any number of them in 3.5 KB, exact to 3 %. */

/** Values below are exact; from there on each power of two has half as many buckets. */
const LINEAR = 64;
const HALF_BITS = 5;
const HALF = 1 << HALF_BITS;
/** 2^31 - 1 ns, 2.1 s; larger ones count as this. */
const VALUE_MAX = 2 ** 31 - 1;
const BUCKETS = 27 * HALF;

export class Histogram {
  count = 0;
  min = 0;
  max = 0;
  readonly #buckets = new Float64Array(BUCKETS);

  /** @param value_ns 0 or more. */
  record(value_ns: number): void {
    const value = Math.min(Math.max(value_ns, 0), VALUE_MAX) | 0;
    this.#buckets[bucketOf(value)]++;
    if (this.count === 0 || value < this.min) this.min = value;
    if (value > this.max) this.max = value;
    this.count++;
  }

  /** The value that `share` (0 to 1) of all are not above, ns; 0 when there are none. */
  quantile(share: number): number {
    const rank = Math.max(1, Math.ceil(share * this.count));
    let below = 0;
    for (let i = 0; i < BUCKETS; i++) {
      below += this.#buckets[i];
      if (below >= rank) return Math.min(topOf(i), this.max);
    }
    return this.max;
  }

  add(other: Histogram): void {
    if (other.count === 0) return;
    for (let i = 0; i < BUCKETS; i++) this.#buckets[i] += other.#buckets[i];
    this.min = this.count === 0 ? other.min : Math.min(this.min, other.min);
    this.max = Math.max(this.max, other.max);
    this.count += other.count;
  }

  clear(): void {
    this.#buckets.fill(0);
    this.count = this.min = this.max = 0;
  }
}

function bucketOf(value: number): number {
  if (value < LINEAR) return value;
  const shift = 31 - Math.clz32(value) - HALF_BITS;
  return (shift << HALF_BITS) + (value >> shift);
}

/** The largest value of a bucket. */
function topOf(bucket: number): number {
  if (bucket < LINEAR) return bucket;
  const shift = (bucket >> HALF_BITS) - 1;
  return (((bucket & (HALF - 1)) + HALF + 1) * 2 ** shift - 1) | 0;
}
