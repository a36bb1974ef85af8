/**
 * What is to happen in a world, by time: a binary heap in typed arrays, so that a frame in flight costs an entry and
 * no garbage. Entries of the same time come out in the order in which they went in, so a run depends on nothing but
 * its seed.
 */
export class EventQueue {
  /** Of the entry that `pop` took last. */
  time = 0;
  what = 0;
  argument = 0;
  #times: Float64Array;
  #orders: Float64Array;
  #whats: Int32Array;
  #arguments: Int32Array;
  #length = 0;
  #order = 0;

  constructor(capacity = 1024) {
    this.#times = new Float64Array(capacity);
    this.#orders = new Float64Array(capacity);
    this.#whats = new Int32Array(capacity);
    this.#arguments = new Int32Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** Time of the next entry; Infinity when there is none. */
  get next(): number {
    return this.#length === 0 ? Number.POSITIVE_INFINITY : this.#times[0];
  }

  /** @param what, argument Two int32 of the caller's. */
  push(time: number, what: number, argument: number): void {
    if (this.#length === this.#times.length) this.#grow();
    const times = this.#times;
    const order = this.#order++;
    let i = this.#length++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      // A later order never goes before an equal time.
      if (times[parent] <= time) break;
      this.#move(parent, i);
      i = parent;
    }
    times[i] = time;
    this.#orders[i] = order;
    this.#whats[i] = what;
    this.#arguments[i] = argument;
  }

  /** Takes the next entry into `time`, `what` and `argument`. @returns false when there is none */
  pop(): boolean {
    if (this.#length === 0) return false;
    const times = this.#times;
    const orders = this.#orders;
    this.time = times[0];
    this.what = this.#whats[0];
    this.argument = this.#arguments[0];
    const last = --this.#length;
    const time = times[last];
    const order = orders[last];
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= last) break;
      const right = child + 1;
      if (
        right < last &&
        (times[right] < times[child] || (times[right] === times[child] && orders[right] < orders[child]))
      )
        child = right;
      if (times[child] > time || (times[child] === time && orders[child] > order)) break;
      this.#move(child, i);
      i = child;
    }
    this.#move(last, i);
    return true;
  }

  clear(): void {
    this.#length = 0;
    this.#order = 0;
  }

  #move(from: number, to: number): void {
    this.#times[to] = this.#times[from];
    this.#orders[to] = this.#orders[from];
    this.#whats[to] = this.#whats[from];
    this.#arguments[to] = this.#arguments[from];
  }

  #grow(): void {
    const double = <T extends Float64Array | Int32Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const n = 2 * this.#times.length;
    this.#times = double(this.#times, new Float64Array(n));
    this.#orders = double(this.#orders, new Float64Array(n));
    this.#whats = double(this.#whats, new Int32Array(n));
    this.#arguments = double(this.#arguments, new Int32Array(n));
  }
}
