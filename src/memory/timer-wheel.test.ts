import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena } from './arena.ts';
import { TimerWheel } from './timer-wheel.ts';

const BLOCKS = 24;
const BLOCK_WORDS = 16;

class Context {
  readonly wheel: TimerWheel;
  readonly blocks: readonly number[];
  now: number;
  /** Armed blocks and their deadlines. */
  readonly armed = new Map<number, number>();
  /** Those that the last advance() found, and may have been returned since. */
  readonly due = new Set<number>();

  constructor(now_ms: number, links = { next: 3, prev: 7, at: 5 }) {
    const arena = new Arena(1 << 17);
    this.wheel = new TimerWheel(arena, 'wheel', now_ms, links);
    const words = arena.carve('blocks', BLOCKS * BLOCK_WORDS * 4) >> 2;
    this.blocks = Array.from({ length: BLOCKS }, (_, i) => words + i * BLOCK_WORDS);
    this.now = now_ms;
  }

  arm(block: number, after_ms: number): void {
    const deadline = (this.now + after_ms) | 0;
    this.wheel.arm(block, deadline);
    this.armed.set(block, deadline);
    this.due.delete(block);
  }

  disarm(block: number): void {
    this.wheel.disarm(block);
    this.armed.delete(block);
    this.due.delete(block);
  }

  advance(by_ms: number): void {
    this.now = (this.now + by_ms) | 0;
    this.wheel.advance(this.now);
    for (const [block, deadline] of this.armed) {
      if (((deadline - this.now) | 0) <= 0) this.due.add(block);
    }
  }

  /** Takes one expired block; it must be one that is due. @returns whether there was one. */
  expire(): boolean {
    const block = this.wheel.expired();
    if (block === 0) {
      expect(this.due.size).toBe(0);
      return false;
    }
    expect(this.due.has(block)).toBe(true);
    this.due.delete(block);
    this.armed.delete(block);
    return true;
  }

  check(): void {
    expect(this.wheel.armed).toBe(this.armed.size);
    const wrong = this.blocks.filter((block) => this.wheel.isArmed(block) !== this.armed.has(block));
    expect(wrong).toEqual([]);
    const next = this.wheel.nextDeadline();
    if (this.armed.size === 0) {
      expect(next).toBe(-1);
    } else {
      const first = Math.min(...[...this.armed.values()].map((deadline) => (deadline - this.now) | 0));
      expect(next).toBeGreaterThanOrEqual(0);
      expect(next).toBeLessThanOrEqual(Math.max(first, 0));
      // Nothing due: it must not say so, or an engine would spin.
      if (first > 0 && this.due.size === 0) expect(next).toBeGreaterThan(0);
    }
  }
}

/** Times of every size, with the edges of the levels among them. */
const span = fc.oneof(
  fc.nat(3),
  fc.nat(300),
  fc.nat(70_000),
  fc.nat(2 ** 24 + 300),
  fc.nat(2 ** 30 - 1),
  fc.constantFrom(255, 256, 257, 65_535, 65_536, 2 ** 24 - 1, 2 ** 24, 2 ** 30 - 1),
);
const start = fc.oneof(
  fc.constantFrom(0, -1, 2 ** 31 - 1, -(2 ** 31), 2 ** 31 - 300, -257, 255, 65_535),
  fc.integer(),
);
const op = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant('arm' as const), fc.nat(BLOCKS - 1), span) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('armPast' as const), fc.nat(BLOCKS - 1), fc.nat(1000)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('disarm' as const), fc.nat(BLOCKS - 1), fc.constant(0)) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('advance' as const), fc.constant(0), span) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('expire' as const), fc.constant(0), fc.nat(5)) },
);
const links = fc.constantFrom(
  { next: 3, prev: 7, at: 5 },
  { next: 0, prev: 1, at: 2 },
  { next: 15, prev: 14, at: 0 },
);

test('any sequence of operations equals a map of deadlines', () => {
  fc.assert(
    fc.property(start, links, fc.array(op, { maxLength: 150, size: 'max' }), (now, words, ops) => {
      const t = new Context(now, words);
      for (const [kind, which, ms] of ops) {
        const block = t.blocks[which];
        if (kind === 'arm') t.arm(block, ms);
        else if (kind === 'armPast') t.arm(block, -ms);
        else if (kind === 'disarm') t.disarm(block);
        else if (kind === 'advance') {
          // Nothing may wait in expired() for 2^31 ms.
          while (ms > 70_000 && t.expire());
          t.advance(ms);
        } else for (let i = 0; i < ms && t.expire(); i++);
        t.check();
      }
      while (t.expire());
      t.check();
    }),
    { numRuns: 200 },
  );
});

test('following nextDeadline expires each block at its deadline to the millisecond', () => {
  fc.assert(
    fc.property(start, fc.array(span, { maxLength: BLOCKS, size: 'max' }), (now, spans) => {
      const t = new Context(now);
      for (const [i, ms] of spans.entries()) t.arm(t.blocks[i], ms);
      let steps = 0;
      for (let ms = t.wheel.nextDeadline(); ms >= 0; ms = t.wheel.nextDeadline()) {
        t.advance(ms);
        for (const block of t.due) expect(t.armed.get(block)).toBe(t.now);
        while (t.expire());
        steps++;
      }
      expect(t.armed.size).toBe(0);
      // Each block comes down one level at a time at the most.
      expect(steps).toBeLessThanOrEqual(5 * spans.length);
    }),
  );
});

test('what has passed expires at the next advance, not in the same round', () => {
  const t = new Context(1000);
  t.arm(t.blocks[0], 0);
  t.arm(t.blocks[1], -5);
  expect(t.wheel.expired()).toBe(0);
  expect(t.wheel.nextDeadline()).toBe(0);
  t.advance(0);
  expect([t.wheel.expired(), t.wheel.expired(), t.wheel.expired()]).toEqual([t.blocks[0], t.blocks[1], 0]);
});

test('an expired block can be disarmed or armed again before it is returned', () => {
  const t = new Context(0);
  for (let i = 0; i < 4; i++) t.arm(t.blocks[i], 10);
  t.advance(10);
  t.disarm(t.blocks[1]);
  t.arm(t.blocks[2], 5);
  expect([t.wheel.expired(), t.wheel.expired(), t.wheel.expired()]).toEqual([t.blocks[0], t.blocks[3], 0]);
  t.wheel.advance(15);
  expect([t.wheel.expired(), t.wheel.expired()]).toEqual([t.blocks[2], 0]);
  expect(t.wheel.armed).toBe(0);
});

test('what waits longest in expired() comes first', () => {
  const t = new Context(0);
  for (let i = 0; i < 4; i++) t.arm(t.blocks[i], 40 - i * 10);
  for (let i = 0; i < 4; i++) t.advance(10);
  const order = Array.from({ length: 4 }, () => t.wheel.expired());
  expect(order).toEqual([t.blocks[3], t.blocks[2], t.blocks[1], t.blocks[0]]);
});

test('moving a deadline later and later never fires, and doesn’t wake for each move', () => {
  const t = new Context(0);
  let wakes = 0;
  for (let i = 0; i < 10_000; i++) {
    t.arm(t.blocks[0], 200);
    if (t.wheel.nextDeadline() === 1) wakes++;
    t.advance(1);
    expect(t.wheel.expired()).toBe(0);
  }
  expect(wakes).toBeLessThan(100);
  t.advance(199);
  expect(t.wheel.expired()).toBe(t.blocks[0]);
});

test('a step backwards is ignored', () => {
  const t = new Context(1000);
  t.arm(t.blocks[0], 10);
  t.wheel.advance(500);
  t.wheel.advance(1009);
  expect(t.wheel.expired()).toBe(0);
  t.wheel.advance(1010);
  expect(t.wheel.expired()).toBe(t.blocks[0]);
});

test('three different words are needed', () => {
  expect(() => new TimerWheel(new Arena(1 << 17), 'x', 0, { next: 1, prev: 1, at: 2 })).toThrow(RangeError);
});
