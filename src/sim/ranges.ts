/**
 * Which sequence numbers have come: all before `contiguous`, and ranges beyond it, sorted, disjoint and not touching.
 */
export class Ranges {
  contiguous = 0;
  /** Starts and ends by turns. */
  readonly #edges: number[] = [];

  /** Nothing but what lies before `seq`. */
  start(seq: number): void {
    this.contiguous = seq;
    this.#edges.length = 0;
  }

  /** All that another one has. */
  startAs(other: Ranges): void {
    this.contiguous = other.contiguous;
    this.#edges.splice(0, this.#edges.length, ...other.#edges);
  }

  /** Adds [start, end), but nothing from `limit` on. */
  add(start: number, end: number, limit: number): void {
    const to = ((end - limit) | 0) > 0 ? limit : end;
    if (((to - this.contiguous) | 0) <= 0 || ((to - start) | 0) <= 0) return;
    const edges = this.#edges;
    if (((start - this.contiguous) | 0) <= 0) {
      this.contiguous = to;
      while (edges.length > 0 && ((edges[0] - this.contiguous) | 0) <= 0) {
        if (((edges[1] - this.contiguous) | 0) > 0) this.contiguous = edges[1];
        edges.splice(0, 2);
      }
      return;
    }
    let i = 0;
    while (i < edges.length && ((edges[i + 1] - start) | 0) < 0) i += 2;
    let [low, high] = [start, to];
    let j = i;
    for (; j < edges.length && ((edges[j] - to) | 0) <= 0; j += 2) {
      if (((edges[j] - low) | 0) < 0) low = edges[j];
      if (((edges[j + 1] - high) | 0) > 0) high = edges[j + 1];
    }
    edges.splice(i, j - i, low, high);
  }

  /** Whether all of [start, end) has come. */
  covers(start: number, end: number): boolean {
    if (((end - this.contiguous) | 0) <= 0) return true;
    const edges = this.#edges;
    for (let i = 0; i < edges.length; i += 2)
      if (((start - edges[i]) | 0) >= 0 && ((end - edges[i + 1]) | 0) <= 0) return true;
    return false;
  }
}
