/** What became of numbered packets on their way: lost, late (RFC 4737's reordering) or doubled. */

/** How far back a packet is still told from a sender that began anew; a power of two. */
const WINDOW = 65_536;

export class SequenceTracker {
  received = 0;
  /** Skipped and not yet come. */
  lost = 0;
  /** Came behind one with a higher number. */
  late = 0;
  duplicates = 0;
  /** The sender began anew. */
  restarts = 0;
  #started = false;
  /** Number expected next, int32. */
  #next = 0;
  /** One bit for each of the last WINDOW numbers: whether it came. */
  readonly #seen = new Int32Array(WINDOW / 32);

  /** @param sequence Its low 32 bits count; they may wrap. */
  take(sequence: number): void {
    const number = sequence | 0;
    this.received++;
    if (!this.#started) {
      this.#started = true;
      this.#next = number;
    }
    const ahead = (number - this.#next) | 0;
    if (ahead < 0) {
      this.#takeOld(number, -ahead);
      return;
    }
    if (ahead > 0) {
      this.lost += ahead;
      for (let i = Math.min(ahead, WINDOW); i > 0; i--) this.#set((number - i) | 0, false);
    }
    this.#set(number, true);
    this.#next = (number + 1) | 0;
  }

  #takeOld(number: number, behind: number): void {
    if (behind > WINDOW) {
      this.restarts++;
      this.#seen.fill(0);
      this.#next = (number + 1) | 0;
      this.#set(number, true);
      return;
    }
    if (this.#has(number)) {
      this.duplicates++;
      return;
    }
    this.late++;
    // What was on its way before the first one that we saw was never counted as lost.
    if (this.lost > 0) this.lost--;
    this.#set(number, true);
  }

  #has(number: number): boolean {
    return ((this.#seen[(number & (WINDOW - 1)) >>> 5] >>> (number & 31)) & 1) !== 0;
  }

  #set(number: number, came: boolean): void {
    const word = (number & (WINDOW - 1)) >>> 5;
    const bit = 1 << (number & 31);
    if (came) this.#seen[word] |= bit;
    else this.#seen[word] &= ~bit;
  }
}
