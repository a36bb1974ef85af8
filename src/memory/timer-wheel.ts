/**
 * A hierarchical timing wheel (Varghese and Lauck, SOSP 1987, scheme 7): four levels of 256 slots. A slot of
 * level L spans 256^L ms, so that the levels together span all of int32.
 *
 * A block is filed by the highest byte in which its deadline and the present differ: that byte's level, and
 * the slot that the deadline's byte names. So each level holds only slots ahead of the present's, all of them
 * earlier than the next level's, and a slot is due when time reaches it: what is due in it expires, the rest
 * moves down. Bitmaps of the occupied slots make a jump over idle time cost 32 words at most.
 *
 * Slots are circular lists through the blocks' own words, and a slot's head is laid out like a block, so that
 * linking and unlinking have no cases. A block whose `next` is 0 is not armed: zeroed memory will do.
 *
 * Moving an armed block's deadline later, which TCP does for each ACK, only writes it down; the block is filed
 * anew when its old slot falls due.
 *
 * Time is int32 milliseconds that wrap; deadlines lie less than 2^30 ms ahead, two calls of advance() less
 * than 2^31 ms (24 days) apart, and what expired is taken within that time. A step backwards is ignored.
 */
import type { Arena } from './arena.ts';

const LEVELS = 4;
const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
/** Armed with a deadline that had passed already; expires at the next advance(). */
const DUE = LEVELS * SLOTS;
/** Taken off the slots by advance(), waiting for expired(). */
const EXPIRED = DUE + 1;
const LISTS = EXPIRED + 1;

/** Word offsets within a block of the words that are the wheel's. */
export interface TimerLinks {
  /** 0: not armed. */
  readonly next: number;
  readonly prev: number;
  /** The deadline, ms; good while armed. */
  readonly at: number;
}

export class TimerWheel {
  readonly #m: Int32Array;
  readonly #next: number;
  readonly #prev: number;
  readonly #at: number;
  /** Word index of list 0's head, and the log2 of the words from one head to the next. */
  readonly #heads: number;
  readonly #shift: number;
  /** Word index of the bitmap: a bit for each list that isn't empty. */
  readonly #bits: number;
  #now: number;
  #armed = 0;

  constructor(arena: Arena, name: string, now_ms: number, links: TimerLinks) {
    const { next, prev, at } = links;
    if (next === prev || next === at || prev === at) {
      throw new RangeError(`three different words of a block are needed, not ${next}, ${prev} and ${at}`);
    }
    this.#m = arena.i32;
    this.#next = next;
    this.#prev = prev;
    this.#at = at;
    // A head has only the words `next` and `prev` of a block. Heads further apart than these two don't collide.
    this.#shift = 32 - Math.clz32(Math.abs(next - prev));
    const lowest = Math.min(next, prev);
    const words = (LISTS << this.#shift) + Math.abs(next - prev);
    this.#heads = (arena.carve(`${name} slots`, words * 4) >> 2) - lowest;
    // 0 in a block's link says that it is not armed, so no head may be there.
    if (this.#heads <= 0)
      throw new RangeError(`links that far below a block need a wheel that is carved later`);
    this.#bits = arena.carve(`${name} bitmap`, Math.ceil(LISTS / 32) * 4) >> 2;
    this.#now = now_ms | 0;
    for (let list = 0; list < LISTS; list++) {
      const head = this.#heads + (list << this.#shift);
      this.#m[head + next] = head;
      this.#m[head + prev] = head;
    }
  }

  /** Blocks that are armed or wait in expired(). */
  get armed(): number {
    return this.#armed;
  }

  /** Sets the present of a wheel with nothing armed, which advance() may have left behind by any time. */
  begin(now_ms: number): void {
    if (this.#armed !== 0) throw new Error(`assertion: ${this.#armed} timers are armed`);
    this.#now = now_ms | 0;
  }

  /** Arms a block, or moves its deadline. One that has passed expires at the next advance(). */
  arm(block: number, deadline_ms: number): void {
    const m = this.#m;
    if (m[block + this.#next] === 0) {
      this.#armed++;
    } else {
      const filed = m[block + this.#at];
      if (((filed - this.#now) | 0) > 0 && ((deadline_ms - filed) | 0) >= 0) {
        m[block + this.#at] = deadline_ms;
        return;
      }
      this.#unlink(block);
    }
    m[block + this.#at] = deadline_ms;
    this.#file(block, deadline_ms);
  }

  disarm(block: number): void {
    if (this.#m[block + this.#next] === 0) return;
    this.#unlink(block);
    this.#m[block + this.#next] = 0;
    this.#armed--;
  }

  isArmed(block: number): boolean {
    return this.#m[block + this.#next] !== 0;
  }

  /** Makes `now_ms` the present: what is due by then is what expired() returns. */
  advance(now_ms: number): void {
    const old = this.#now;
    const elapsed = (now_ms - old) | 0;
    if (elapsed > 0) this.#now = now_ms | 0;
    if (this.#armed === 0) return;
    this.#pass(DUE);
    if (elapsed <= 0) return;
    for (let level = 0; level < LEVELS; level++) {
      const shift = level << 3;
      // How many slots of this level the present moved on, modulo the level's range.
      const steps = ((now_ms >> shift) - (old >> shift)) & (-1 >>> shift);
      if (steps === 0) return;
      const from = (old >>> shift) & (SLOTS - 1);
      const last = Math.min(steps, SLOTS);
      for (let d = this.#occupied(level, from, 1); d <= last; d = this.#occupied(level, from, d + 1)) {
        this.#pass((level << SLOT_BITS) | ((from + d) & (SLOTS - 1)));
      }
    }
  }

  /** The next block that expired, disarmed; 0 when there is none. In order of the advance() that found them. */
  expired(): number {
    const head = this.#heads + (EXPIRED << this.#shift);
    const block = this.#m[head + this.#next];
    if (block === head) return 0;
    this.disarm(block);
    return block;
  }

  /**
   * How long advance() has nothing to do, ms from the last one; 0 when a block waits already, -1 when none is
   * armed. May be early (a slot of a higher level to move down, a deadline that was moved later), never late.
   */
  nextDeadline(): number {
    if (this.#armed === 0) return -1;
    if (this.#isOccupied(EXPIRED) || this.#isOccupied(DUE)) return 0;
    for (let level = 0; level < LEVELS; level++) {
      const shift = level << 3;
      const d = this.#occupied(level, (this.#now >>> shift) & (SLOTS - 1), 1);
      if (d < SLOTS) return ((((this.#now >>> shift) + d) << shift) - this.#now) | 0;
    }
    throw new Error(`${this.#armed} timers are armed and in no slot`);
  }

  #isOccupied(list: number): boolean {
    return ((this.#m[this.#bits + (list >> 5)] >>> (list & 31)) & 1) !== 0;
  }

  /** Smallest distance, `d` or more, from slot `from` of a level around to an occupied one; above 256 when none. */
  #occupied(level: number, from: number, d: number): number {
    let distance = d;
    while (distance <= SLOTS) {
      const slot = (from + distance) & (SLOTS - 1);
      const bits = this.#m[this.#bits + (((level << SLOT_BITS) | slot) >> 5)] >>> (slot & 31);
      if (bits !== 0) return distance + 31 - Math.clz32(bits & -bits);
      distance += 32 - (slot & 31);
    }
    return distance;
  }

  /** Time has reached a slot: what is due expires, the rest is filed anew. */
  #pass(list: number): void {
    if (!this.#isOccupied(list)) return;
    const m = this.#m;
    const head = this.#heads + (list << this.#shift);
    let block = m[head + this.#next];
    m[head + this.#next] = head;
    m[head + this.#prev] = head;
    m[this.#bits + (list >> 5)] &= ~(1 << (list & 31));
    while (block !== head) {
      const next = m[block + this.#next];
      const deadline = m[block + this.#at];
      if (((deadline - this.#now) | 0) <= 0) this.#link(block, EXPIRED);
      else this.#file(block, deadline);
      block = next;
    }
  }

  #file(block: number, deadline: number): void {
    if (((deadline - this.#now) | 0) <= 0) {
      this.#link(block, DUE);
      return;
    }
    const level = (31 - Math.clz32(deadline ^ this.#now)) >> 3;
    this.#link(block, (level << SLOT_BITS) | ((deadline >>> (level << 3)) & (SLOTS - 1)));
  }

  /** Puts a block at a list's end. */
  #link(block: number, list: number): void {
    const m = this.#m;
    const head = this.#heads + (list << this.#shift);
    const last = m[head + this.#prev];
    m[last + this.#next] = block;
    m[block + this.#prev] = last;
    m[block + this.#next] = head;
    m[head + this.#prev] = block;
    m[this.#bits + (list >> 5)] |= 1 << (list & 31);
  }

  #unlink(block: number): void {
    const m = this.#m;
    const next = m[block + this.#next];
    const prev = m[block + this.#prev];
    m[prev + this.#next] = next;
    m[next + this.#prev] = prev;
    // Only a head is its own list's both neighbours.
    if (next === prev) {
      const list = (next - this.#heads) >> this.#shift;
      m[this.#bits + (list >> 5)] &= ~(1 << (list & 31));
    }
  }
}
