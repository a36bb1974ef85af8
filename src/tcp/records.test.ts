/** Transmission records: they cost nothing for one request, and they stay right when there are too few of them. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FLAG2, TCB } from './block.ts';
import { RECORD } from './record-pool.ts';
import { auditRecords } from './records-audit.ts';
import { Flow, MSS } from './recovery.testing.ts';

const inUse = (f: Flow) => f.c.engine.tcp.records.inUse;

test('one transmission needs no list, a second takes one record, and all are given back', () => {
  const f = new Flow();
  expect(f.word('RECORDS')).toBe(0);
  f.write(5);
  expect(f.word('RECORDS')).toBe(0);
  f.pass(10);
  f.write(1);
  expect(f.word('RECORDS')).not.toBe(0);
  expect(inUse(f)).toBe(1);
  f.pass(90);
  f.ack(6);
  expect(f.word('RECORDS')).toBe(0);
  expect(inUse(f)).toBe(0);
});

test('what is sent at one time is one record, SACKed neighbours are one, and so are retransmissions', () => {
  const f = new Flow();
  f.write(10);
  f.pass(100);
  for (const i of [8, 4, 6, 2]) f.ack(0, [[i, i + 1]]);
  f.take();
  // Holes and what is SACKed between them; the first hole was sent again in two pieces at one time.
  expect(inUse(f)).toBeLessThanOrEqual(10);
  f.ack(0, [[1, 10]]);
  expect(inUse(f)).toBe(1);
  f.ack(10);
  expect(inUse(f)).toBe(0);
});

test('a lost run that is sent again in pieces at one time takes one record for them', () => {
  const f = new Flow();
  f.write(10);
  f.pass(100);
  f.ack(0, [[5, 10]]);
  expect(f.take()).toHaveLength(5);
  // What is SACKed, and what was sent again: one of them is the list's own.
  expect(inUse(f)).toBe(2);
});

test('a connection that ends gives its records back', () => {
  const f = new Flow();
  for (let i = 0; i < 5; i++) {
    f.write(1);
    f.pass(1);
  }
  f.ack(0, [
    [1, 2],
    [3, 4],
  ]);
  expect(inUse(f)).toBeGreaterThan(2);
  f.c.engine.abort(f.c.conn);
  f.c.run();
  expect(inUse(f)).toBe(0);
});

test('one that ends while reordering is waited for has neither records nor that timer', () => {
  const f = new Flow();
  f.write(10);
  f.pass(100);
  f.ack(0, [[2, 3]]);
  const { block } = f;
  expect(f.word('FLAGS2') & FLAG2.REO).not.toBe(0);
  f.c.engine.abort(f.c.conn);
  auditRecords(f.c.engine.tcp, block);
});

test('with four thousand of them, what is SACKed anywhere is found in a few steps', () => {
  const f = new Flow({ limits: { sendBuffer: 4 << 20, chunks: 4096, records: 20_000 } });
  const { tcp } = f.c.engine;
  const { m } = tcp;
  tcp.m[f.block + TCB.CWND] = 1 << 28;
  for (let i = 0; i < 4000; i++) {
    f.c.write(400);
    f.c.now += 0.01;
  }
  f.take();
  expect(inUse(f)).toBeGreaterThan(3900);
  const h = f.word('RECORDS');
  let steps = 0;
  for (let i = 0; i < 400; i++) {
    const seq = (f.c.peer.irs + f.base + ((i * 257) % 400) * 4000) | 0;
    let at = h;
    for (let level = 3; level >= 0; level--) {
      for (
        let next = m[at + level];
        next !== 0 && ((m[next + RECORD.START] - seq) | 0) < 0;
        next = m[at + level]
      ) {
        at = next;
        steps++;
      }
    }
  }
  expect(steps / 400).toBeLessThan(60);
  f.pass(50);
  for (let i = 0; i < 450; i++) {
    const at = ((i * 257) % 499) * 3200 + 400;
    f.ackBytes(0, [[at, at + 400]]);
  }
  expect(f.info.sacked).toBe(450 * 400);
});

describe('with too few records', () => {
  test('part of what was sent at several times is no RTT', () => {
    const f = new Flow({ rtt_ms: 100, limits: { records: 2 } });
    for (let i = 0; i < 4; i++) {
      f.write(1);
      if (i < 3) f.pass(50);
    }
    expect(f.counters.recordsExhausted).toBe(1);
    f.pass(10);
    f.ack(1);
    const before = f.info.rtt_ms;
    // Segment 2 was sent at 100 ms, and has its record together with segment 3, which was sent at 150.
    f.ack(1, [[2, 3]]);
    expect(f.info.sacked).toBe(MSS);
    expect(f.info.rtt_ms).toBe(before);
    expect(f.word('MIN_RTT')).toBe(100_000);
    expect(f.word('RACK_RTT')).not.toBe(10_000);
  });

  const cell = fc.integer({ min: 0, max: 40 });
  const step = fc.record({
    write: fc.constantFrom(0, 250, 1000),
    ms: fc.constantFrom(0, 1, 5, 30, 300),
    una: fc.constantFrom(0, 0, 1, 4),
    blocks: fc.array(fc.tuple(cell, fc.integer({ min: 1, max: 12 })), { maxLength: 3 }),
  });

  test.each([true, false])(
    'nothing that was not told counts as arrived, and all is sent in the end (SACK: %s)',
    (sack) => {
      let exhausted = 0;
      fc.assert(
        fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 4 }), (steps, records) => {
          const f = new Flow({ sack, rtt_ms: 40, limits: { records } });
          let una = 0;
          const held = new Set<number>();
          f.write(5);
          for (const { write, ms, una: more, blocks } of steps) {
            if (write > 0) f.c.write(write);
            f.pass(ms);
            f.take();
            const end = (f.c.peer.rcvNxt - f.base) / 250;
            const to = Math.min(una + more, end);
            const real = sack ? blocks.map(([l, n]): [number, number] => [to + l, to + l + n]) : [];
            f.ackBytes(
              to * 250,
              real.map(([l, r]) => [l * 250, r * 250]),
            );
            una = to;
            for (const [l, r] of real) if (r <= end) for (let i = l; i < r; i++) held.add(i);
            expect(f.info.sacked).toBeLessThanOrEqual([...held].filter((i) => i >= una).length * 250);
          }
          exhausted += f.counters.recordsExhausted;
          // A peer that has it all at last says so: whatever is missing must come.
          let have = una * 250;
          for (let i = 0; i < 400 && f.info.sendQueue > 0; i++) {
            for (const s of f.take()) {
              const at = s.seq - f.base;
              if (at <= have) have = Math.max(have, at + s.length);
            }
            if (have > una * 250) f.ackBytes(have, []);
            f.pass(50);
          }
          expect(f.info).toMatchObject({ sendQueue: 0, inFlight: 0, lost: 0, sacked: 0 });
          expect(inUse(f)).toBe(0);
        }),
        { numRuns: 120 },
      );
      expect(exhausted).toBeGreaterThan(20);
    },
  );
});
