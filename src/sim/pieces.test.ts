/** The parts that worlds are made of, one by one. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Frames } from '../device/held-frames.ts';
import { Loss, type LossOptions } from '../device/loss.ts';
import { Queue, type QueueOptions } from '../device/queue.ts';
import { mobileTrace, OPPORTUNITY_BYTES, Trace, TraceError } from '../device/trace.ts';
import { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
import { Content } from './content.ts';
import { EventQueue } from './event-queue.ts';
import { plotSvg } from './plot.ts';
import { Ranges } from './ranges.ts';
import { Sendings } from './sendings.ts';

const MS = 1e6;

describe('event queue', () => {
  test('gives entries back by time, and those of one time as they came', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { maxLength: 300 }), fc.nat(40), (times, taken) => {
        const queue = new EventQueue(4);
        const model: { time: number; i: number }[] = [];
        const take = (): void => {
          model.sort((a, b) => a.time - b.time || a.i - b.i);
          const next = model.shift();
          expect(queue.next).toBe(next?.time ?? Number.POSITIVE_INFINITY);
          expect(queue.pop()).toBe(next !== undefined);
          if (next !== undefined) expect([queue.time, queue.argument]).toEqual([next.time, next.i]);
        };
        for (const [i, time] of times.entries()) {
          queue.push(time, 0, i);
          model.push({ time, i });
          if (i % 7 < taken % 7) take();
        }
        while (model.length > 0) take();
        take();
      }),
    );
  });
});

describe('ranges', () => {
  test('say what has come as a set of numbers would, below the limit and across 2^32', () => {
    const piece = fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 12 }));
    fc.assert(
      fc.property(fc.integer(), fc.array(piece, { maxLength: 40 }), fc.nat(70), (base, pieces, limit) => {
        const ranges = new Ranges();
        ranges.start(base | 0);
        const come = new Set<number>();
        for (const [start, length] of pieces) {
          ranges.add((base + start) | 0, (base + start + length) | 0, (base + limit) | 0);
          for (let i = start; i < start + length && i < limit; i++) come.add(i);
        }
        let contiguous = 0;
        while (come.has(contiguous)) contiguous++;
        expect((ranges.contiguous - base) | 0).toBe(contiguous);
        for (let from = 0; from < 72; from += 3)
          for (const length of [1, 4]) {
            const all = Array.from({ length }, (_, i) => from + i).every((i) => come.has(i));
            expect(ranges.covers((base + from) | 0, (base + from + length) | 0)).toBe(all);
          }
      }),
    );
  });
});

describe('sendings', () => {
  test('measure what was sent once, and not what was sent again', () => {
    const sendings = new Sendings();
    sendings.begin(1000);
    sendings.add(2000, 0);
    sendings.add(3000, 1 * MS);
    sendings.repeat(1000, 2000, 40 * MS);
    sendings.acknowledge(2000, 50 * MS);
    expect(sendings.max_us).toBe(Number.NEGATIVE_INFINITY);
    sendings.acknowledge(3000, 61 * MS);
    expect([sendings.min_us, sendings.max_us]).toEqual([60_000, 60_000]);
  });

  test('keep apart the parts of a segment of which one was sent again', () => {
    const sendings = new Sendings();
    sendings.begin(0);
    sendings.add(1000, 0);
    sendings.repeat(400, 600, 5 * MS);
    sendings.acknowledge(400, 10 * MS);
    sendings.report(400, 600, 20 * MS);
    expect([sendings.min_us, sendings.max_us]).toEqual([10_000, 10_000]);
    sendings.report(600, 900, 30 * MS);
    expect(sendings.max_us).toBe(30_000);
  });

  test('of what was refused, the next is the first', () => {
    const sendings = new Sendings();
    sendings.begin(0);
    sendings.add(1000, 0);
    sendings.acknowledge(1, 5 * MS);
    sendings.refuse(1);
    sendings.forget();
    sendings.acknowledge(1, 6 * MS);
    expect(sendings.max_us).toBe(Number.NEGATIVE_INFINITY);
    sendings.repeat(1, 1000, 10 * MS);
    sendings.report(500, 1000, 30 * MS);
    expect([sendings.min_us, sendings.max_us]).toEqual([20_000, 20_000]);
    sendings.repeat(1, 500, 40 * MS);
    sendings.forget();
    sendings.acknowledge(500, 50 * MS);
    expect(sendings.max_us).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe('content', () => {
  const arena = new Arena(4 << 20);
  const content = new Content(arena);
  const at = arena.carve('copy', 300_000);

  test('is told from any other place and connection, across rounds of the table', () => {
    for (const offset of [0, 1, 65_400, 65_521, 1 << 20, 5_000_000]) {
      for (let done = 0; done < 1000; ) {
        const n = Math.min(1000 - done, content.run(offset + done));
        arena.kernels.copy(at + done, content.at(77, offset + done), n);
        done += n;
      }
      expect(content.matching(77, offset, at, 1000)).toBe(1000);
      for (const by of [1, 4, 65_521, 131_042])
        expect(content.matching(77, offset + by, at, 1000)).toBeLessThan(9);
      expect(content.matching(78, offset, at, 1000)).toBeLessThan(9);
      arena.u8[at + 501] ^= 1;
      expect(content.matching(77, offset, at, 1000)).toBe(501);
    }
  });
});

describe('traces (mahimahi)', () => {
  test('are parsed, and repeat after their last line', () => {
    const trace = Trace.parse('0\n5\n5\n\n10\r\n');
    expect(Array.from({ length: 7 }, (_, i) => trace.timeOf(i))).toEqual([0, 5, 5, 10, 10, 15, 15]);
    expect([0, 1, 5, 6, 10, 11, 15].map((ms) => trace.numberAt(ms))).toEqual([0, 1, 1, 3, 4, 5, 5]);
    expect(trace.rate_bps).toBe((4 * OPPORTUNITY_BYTES * 8 * 1000) / 10);
    expect(Trace.parse(trace.format()).times).toEqual(trace.times);
  });

  test.each([
    ['', 'lasts'],
    ['0\n0\n', 'lasts'],
    ['3\n2\n', 'line 2'],
    ['1\nx\n', 'line 2'],
    ['-1\n', 'line 1'],
    ['1.5\n', 'line 1'],
  ])('%j is refused', (text, why) => {
    expect(() => Trace.parse(text)).toThrow(TraceError);
    expect(() => Trace.parse(text)).toThrow(why);
  });

  test('are made up with about the rate asked for', () => {
    const trace = mobileTrace(new Prng(1), 5e6, 60);
    expect(trace.period).toBe(60_000);
    expect(trace.rate_bps / 5e6).toBeGreaterThan(0.5);
    expect(trace.rate_bps / 5e6).toBeLessThan(2);
  });
});

describe('loss', () => {
  const rate = (options: LossOptions, gap_ms: number, frames = 50_000) => {
    const loss = new Loss(options, new Prng(5));
    let lost = 0;
    let runs = 0;
    let before = false;
    for (let i = 0; i < frames; i++) {
      const now = loss.next(i * gap_ms * MS);
      if (now) lost++;
      if (now && !before) runs++;
      before = now;
    }
    return { share: lost / frames, run: lost / runs };
  };

  test('of each by itself is as told', () => {
    expect(rate({ kind: 'random', p: 0.02 }, 1).share).toBeCloseTo(0.02, 2);
  });

  test('in bursts comes in bursts, and as often after long idleness', () => {
    const options = { kind: 'burst', good_ms: 90, bad_ms: 10, good: 0, bad: 1 } as const;
    const dense = rate(options, 0.5);
    expect(dense.share).toBeCloseTo(0.1, 1);
    expect(dense.run).toBeGreaterThan(10);
    const sparse = rate(options, 20_000, 20_000);
    expect(sparse.share).toBeCloseTo(0.1, 1);
    expect(sparse.run).toBeLessThan(1.3);
  });
});

describe('queues', () => {
  const world = (options: QueueOptions, ect: number) => {
    const frames = new Frames(new Arena(4 << 20), 1000, 1500);
    const queue = new Queue(frames, options, new Prng(3), 0);
    const push = (now: number): void => {
      const f = frames.take(1000);
      frames.arena.view.setUint32(frames.at[f], 0x4500_0000 | (ect << 16) | 1000, false);
      frames.arena.view.setUint32(frames.at[f] + 8, 0x4006_0000, false);
      queue.push(f, now);
    };
    const pop = (now: number): number => {
      const f = queue.pop(now);
      if (f < 0) return -1;
      const ce = frames.arena.u8[frames.at[f] + 1] & 3;
      frames.give(f);
      return ce;
    };
    return { frames, queue, push, pop };
  };
  /** `in` frames come each ms and `out` go; @returns counters after `ms` */
  const run = (options: QueueOptions, into: number, out: number, ms: number, ect = 0) => {
    const { frames, queue, push, pop } = world(options, ect);
    for (let now = 1; now <= ms; now++) {
      for (let i = 0; i < into; i++) push(now * MS);
      for (let i = 0; i < out; i++) pop(now * MS);
    }
    const { length } = queue;
    queue.flush();
    expect(frames.inUse).toBe(0);
    return { ...queue.counters, length };
  };

  test('that drop the tail hold what they hold', () => {
    const { longest, overflowed, length } = run({ kind: 'droptail', bytes: 50_500 }, 2, 1, 100);
    expect([longest, overflowed, length]).toEqual([50_000, 51, 49]);
  });

  test('CoDel leaves a short queue alone and drops from a standing one, more and more often (RFC 8289)', () => {
    expect(run({ kind: 'codel', bytes: 1e6 }, 1, 1, 1000).dropped).toBe(0);
    const one = run({ kind: 'codel', bytes: 1e6 }, 3, 2, 500).dropped;
    const two = run({ kind: 'codel', bytes: 1e6 }, 3, 2, 1000).dropped;
    expect(one).toBeGreaterThan(3);
    expect(two).toBeGreaterThan(2.5 * one);
  });

  test('CoDel and RED mark what is ECN-capable instead', () => {
    for (const kind of ['codel', 'red'] as const) {
      const marked = run({ kind, bytes: 400_000, ecn: true }, 3, 2, 300, 2);
      expect(marked.marked).toBeGreaterThan(2);
      expect(marked.dropped).toBe(0);
      const plain = run({ kind, bytes: 400_000, ecn: true }, 3, 2, 300, 0);
      expect(plain.marked).toBe(0);
      expect(plain.dropped).toBeGreaterThan(0);
    }
  });

  test('RED drops before the queue is full', () => {
    const { dropped, overflowed } = run({ kind: 'red', bytes: 400_000 }, 3, 2, 5000);
    expect(dropped).toBeGreaterThan(1000);
    expect(overflowed).toBeLessThan(dropped);
  });
});

test('charts keep their lines within their frames, and escape what they are told', () => {
  const x = Array.from({ length: 5000 }, (_, i) => i);
  const svg = plotSvg('a < b & c', [
    { title: 'one', unit: 'bytes', series: [{ label: 'cwnd', color: '#000', x, y: x.map((i) => i * i) }] },
    { title: 'none', unit: 'ms', series: [{ label: 'rtt', color: '#000', x: [], y: [] }] },
  ]);
  expect(svg).toContain('a &lt; b &amp; c');
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  // Thousands of points become at most some for each column.
  expect(svg.length).toBeLessThan(100_000);
});
