/** What arrives, in whatever order: RFC 9293 3.10.7.4, RFC 2018, RFC 2883, RFC 7323, RFC 6093. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MODERN, type Sent, TcpContext } from './testing.ts';

/** A segment's SACK blocks in relative numbers. */
const blocks = (c: TcpContext, sent: Sent) =>
  (sent.options.sack ?? []).map(([l, r]) => [(l - c.peer.iss) | 0, (r - c.peer.iss) | 0]);

describe('out of order', () => {
  test('data is kept, each segment is answered at once, and the gap’s end delivers all', () => {
    const c = new TcpContext().establish({ mss: 1460 });
    c.peer.inject({ seq: 101, length: 100 });
    c.peer.expect({ flags: '.', ack: 1 });
    c.peer.inject({ seq: 301, length: 100 });
    c.peer.expect({ flags: '.', ack: 1 });
    expect(c.info.outOfOrder).toBe(200);
    c.peer.inject({ seq: 1, length: 100 });
    c.peer.expect({ ack: 201 });
    expect(c.events()).toEqual(['data 100', 'data 100']);
    c.peer.inject({ seq: 201, length: 100 });
    c.peer.expect({ ack: 401 });
    expect(c.received).toBe(400);
    expect(c.info).toMatchObject({ outOfOrder: 0, bytesReceived: 400 });
    expect(c.engine.tcp.chunks.inUse).toBe(0);
  });

  test('any segments, in any order, overlapping at will, in batches of any size, give the stream', () => {
    const segment = fc.record({
      from: fc.integer({ min: 0, max: 5000 }),
      length: fc.integer({ min: 1, max: 1400 }),
      batch: fc.boolean(),
    });
    const takes = fc.constantFrom(0, 1, 300, 1e9);
    fc.assert(
      fc.property(
        fc.array(segment, { maxLength: 60 }),
        takes,
        fc.constantFrom({}, { sackPermitted: true }, MODERN),
        (segments, most, options) => {
          const c = new TcpContext({ slots: 128 }).establish({ mss: 1460, ...options });
          c.takes = (length) => Math.min(length, most);
          const have = new Uint8Array(6402);
          let next = 1;
          for (const { from, length, batch } of segments) {
            c.peer.send({ seq: 1 + from, length });
            have.fill(1, 1 + from, 1 + from + length);
            if (batch) continue;
            c.run();
            while (have[next] === 1) next++;
            for (const sent of c.peer.take()) {
              expect(sent.ack).toBeLessThanOrEqual(next);
              for (const [l, r] of blocks(c, sent)) {
                // Never claims what did not come.
                expect(have.subarray(l, r).every((byte) => byte === 1)).toBe(true);
              }
            }
            expect(c.info.rcvNxt).toBe((c.peer.iss + next) >>> 0);
          }
          c.run();
          while (have[next] === 1) next++;
          c.takes = (length) => length;
          c.engine.resume(c.conn);
          c.run();
          expect(c.received).toBe(next - 1);
          c.peer.inject({ flags: 'F.', seq: next, length: 0 });
          expect(c.told.at(-1)).toBe('end');
          c.engine.close(c.conn);
          c.run();
          expect(c.engine.tcp.chunks.inUse).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('a peer that sends every other byte can’t make us keep more than so many pieces', () => {
    const c = new TcpContext({ limits: { chunks: 4096 } }).establish({ mss: 1460 });
    for (let i = 0; i < 1000; i++) c.peer.inject({ seq: 3 + 2 * i, length: 1 });
    expect(c.engine.tcp.counters.outOfOrderDropped).toBeGreaterThan(900);
    expect(c.engine.tcp.chunks.inUse).toBeLessThanOrEqual(33);
    c.engine.abort(c.conn);
    c.run();
    expect(c.engine.tcp.chunks.inUse).toBe(0);
  });
});

describe('SACK (RFC 2018 4)', () => {
  test('the latest segment’s block comes first, then the latest before; three beside timestamps, four without', () => {
    for (const [options, most] of [
      [MODERN, 3],
      [{ mss: 1460, sackPermitted: true }, 4],
    ] as const) {
      const c = new TcpContext().establish(options);
      const expected: number[][] = [];
      for (const seq of [1001, 3001, 2001, 5001, 4001]) {
        c.peer.inject({ seq, length: 100 });
        expected.unshift([seq, seq + 100]);
        expect(blocks(c, c.peer.expect())).toEqual(expected.slice(0, most));
      }
      // Neighbours are one block.
      c.peer.inject({ seq: 4101, length: 900 });
      expect(blocks(c, c.peer.expect())[0]).toEqual([4001, 5101]);
      c.peer.inject({ seq: 1, length: 1000 });
      const rest = blocks(c, c.peer.expect({ ack: 1101 }));
      expect(rest).toContainEqual([2001, 2101]);
      expect(rest).not.toContainEqual([1001, 1101]);
    }
  });

  test('of a batch that leaves more runs than an ACK can report, each is reported', () => {
    const c = new TcpContext().establish(MODERN);
    const starts = [10, 20, 30, 40, 50, 60, 70, 80];
    for (const seq of starts) c.peer.send({ seq, length: 5 });
    c.run();
    const sent = c.peer.take();
    const told = new Set(sent.flatMap((s) => s.options.sack ?? []).map(([left]) => left - c.peer.iss));
    expect([...told].sort()).toEqual(starts);
    expect(sent).toHaveLength(3);
    // No more than that: nothing has come since.
    c.pass(300);
    c.peer.expectNothing();
  });

  test('a batch that fills a gap, and then leaves more runs than an ACK can report, is acknowledged to its end', () => {
    const c = new TcpContext().establish(MODERN);
    c.peer.inject({ seq: 11, length: 5 });
    c.peer.take();
    for (const [seq, length] of [
      [1, 10],
      [20, 5],
      [30, 5],
      [40, 5],
    ])
      c.peer.send({ seq, length });
    c.run();
    expect(c.peer.take().at(-1)?.ack).toBe(16);
  });

  test('not without the peer’s leave', () => {
    const c = new TcpContext().establish({ mss: 1460 });
    c.peer.inject({ seq: 1001, length: 100 });
    expect(c.peer.expect().options.sack).toBeUndefined();
  });

  test('D-SACK tells of duplicates, once, in the first block (RFC 2883 4)', () => {
    const c = new TcpContext().establish(MODERN);
    c.peer.inject({ seq: 1, length: 1000 });
    c.peer.take();
    c.peer.inject({ seq: 1, length: 500 });
    expect(blocks(c, c.peer.expect({ ack: 1001 }))).toEqual([[1, 501]]);
    c.peer.inject({ seq: 2001, length: 100 });
    expect(blocks(c, c.peer.expect({ ack: 1001 }))).toEqual([[2001, 2101]]);
    c.peer.inject({ seq: 501, length: 700 });
    expect(blocks(c, c.peer.expect({ ack: 1201 }))).toEqual([
      [501, 1001],
      [2001, 2101],
    ]);
  });
});

describe('timestamps (RFC 7323)', () => {
  test('are on every segment, and echo the one that the ACK is for', () => {
    const c = new TcpContext().establish(MODERN);
    c.peer.inject({ seq: 1, length: 10, ts: 20_000 });
    expect(c.peer.expect().options.timestamps?.echo).toBe(20_000);
    // Out of order: the echo stays that of the last segment in order (4.3).
    c.peer.inject({ seq: 21, length: 10, ts: 20_005 });
    expect(c.peer.expect().options.timestamps?.echo).toBe(20_000);
    c.peer.inject({ seq: 11, length: 10, ts: 20_003 });
    expect(c.peer.expect().options.timestamps?.echo).toBe(20_003);
    c.pass(500);
    c.write(10);
    const { timestamps } = c.peer.expect().options;
    const later = c.now;
    c.pass(7);
    c.write(2000);
    expect(((c.peer.expect().options.timestamps?.value ?? 0) - (timestamps?.value ?? 0)) | 0).toBe(
      c.now - later,
    );
  });

  test('PAWS: an older one is dropped and answered (5.3)', () => {
    const c = new TcpContext().establish(MODERN);
    c.peer.inject({ seq: 1, length: 10, ts: 20_000 });
    c.peer.take();
    c.peer.inject({ seq: 11, length: 10, ts: 19_999 });
    c.peer.expect({ flags: '.', ack: 11 });
    expect(c.engine.tcp.counters.paws).toBe(1);
    c.peer.inject({ seq: 11, length: 10, ts: 20_000 });
    expect(c.received).toBe(20);
  });

  test('a segment without one is dropped (3.2)', () => {
    const c = new TcpContext().establish(MODERN);
    c.peer.inject({ length: 10, ts: null });
    c.peer.expectNothing();
    expect(c.received).toBe(0);
    expect(c.engine.tcp.counters.missingTimestamp).toBe(1);
  });

  test('a stranger’s segment outside the window does not move TS.Recent, nor one with a wrong ACK (5.3, R2)', () => {
    const c = new TcpContext().establish(MODERN);
    c.peer.inject({ seq: 1, length: 10, ts: 20_000 });
    c.peer.inject({ seq: -100_000, length: 10, ts: 2 ** 30 });
    c.peer.inject({ seq: 11, length: 10, ack: 90_000, ts: 2 ** 30 });
    c.peer.take();
    c.peer.inject({ seq: 11, length: 10, ts: 20_001 });
    expect(c.received).toBe(20);
    expect(c.engine.tcp.counters.paws).toBe(0);
  });

  test('wrap like sequence numbers', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S', options: MODERN, ts: 2 ** 32 - 5 });
    c.peer.inject({ ts: 2 ** 32 - 4 });
    c.peer.inject({ length: 10, ts: 3 });
    c.peer.inject({ length: 10, ts: 2 ** 32 - 1 });
    expect(c.received).toBe(10);
  });
});

test('urgent data is ordinary data (RFC 6093), and counted', () => {
  const c = new TcpContext().establish();
  c.peer.inject({ flags: 'PU.', length: 10, urgent: 5 });
  expect(c.events()).toEqual(['urgent 5', 'data 10']);
  expect(c.engine.tcp.counters.urgent).toBe(1);
});

test('a segment that is partly old is trimmed, one that is all old is answered', () => {
  const c = new TcpContext().establish({ mss: 1460 });
  c.peer.inject({ seq: 1, length: 100 });
  c.peer.inject({ seq: 51, length: 100 });
  expect(c.events()).toEqual(['data 100', 'data 50']);
  c.peer.take();
  c.peer.inject({ seq: 1, length: 100 });
  c.peer.expect({ flags: '.', ack: 151 });
  c.peer.inject({ seq: 101, length: 50, flags: 'F.' });
  expect(c.events()).toEqual(['end']);
});

describe('reading', () => {
  test('what the program leaves is kept, and offered again only after resume()', () => {
    const c = new TcpContext().establish({ mss: 1460 });
    c.takes = () => 30;
    c.peer.inject({ length: 100 });
    c.peer.inject({ length: 100 });
    expect(c.events()).toEqual(['data 100']);
    c.takes = (length) => length;
    c.pass(1000);
    expect(c.events()).toEqual([]);
    c.engine.resume(c.conn);
    c.engine.resume(c.conn);
    c.run();
    expect(c.events()).toEqual(['data 170']);
    c.peer.inject({ length: 10 });
    expect(c.events()).toEqual(['data 10']);
    expect(c.received).toBe(210);
  });

  test('behind what a reset has cost, nothing more is offered, nor the end', () => {
    for (const [paused, told] of [
      [false, ['data 100', 'close 1']],
      [true, ['close 1']],
    ] as const) {
      const c = new TcpContext().establish({ mss: 1460 });
      c.takes = () => {
        c.engine.resume(c.conn);
        return 30;
      };
      if (paused) {
        c.takes = () => 0;
        c.peer.inject({ length: 50 });
        c.events();
        c.engine.resume(c.conn);
      }
      c.peer.send({ length: 100 });
      c.peer.send({ flags: 'F.', length: 100 });
      c.peer.send({ flags: 'R.' });
      c.run();
      expect(c.events()).toEqual(told);
    }
  });

  test('the end waits until all is read', () => {
    const c = new TcpContext().establish({ mss: 1460 });
    c.takes = () => 0;
    c.peer.inject({ flags: 'F.', length: 100 });
    expect(c.events()).toEqual(['data 100']);
    c.takes = (length) => length;
    c.engine.resume(c.conn);
    c.run();
    expect(c.events()).toEqual(['data 100', 'end']);
  });

  test('close() while the last of a queue is being read is orderly; with more behind it, it is not', () => {
    for (const all of [true, false]) {
      const c = new TcpContext().establish({ mss: 1460 });
      c.takes = () => 0;
      c.peer.inject({ length: 100 });
      c.takes = (length) => {
        c.engine.close(c.conn);
        return all ? length : length - 1;
      };
      c.peer.take();
      c.engine.resume(c.conn);
      c.run();
      expect(c.peer.take().at(-1)?.flags).toBe(all ? 'F.' : 'R.');
    }
  });

  test('drained is told when all is acknowledged, or at once when nothing is out', () => {
    const c = new TcpContext().establish({ mss: 1460 });
    c.engine.notifyDrained(c.conn);
    c.run();
    expect(c.events()).toEqual(['drained']);
    c.write(100);
    c.engine.notifyDrained(c.conn);
    c.run();
    expect(c.events()).toEqual([]);
    c.peer.inject({ ack: 51 });
    expect(c.events()).toEqual([]);
    c.peer.inject({ ack: 101 });
    expect(c.events()).toEqual(['drained']);
    c.write(100);
    c.peer.inject();
    expect(c.events()).toEqual([]);
  });

  test('writable is told once half of the buffer is free', () => {
    const c = new TcpContext({ limits: { sendBuffer: 4000 } }).establish({ mss: 1000 });
    expect(c.write(5000)).toBe(4000);
    expect(c.write(10)).toBe(0);
    c.peer.inject({ ack: 1001 });
    expect(c.events()).toEqual([]);
    c.peer.inject({ ack: 2001 });
    expect(c.events()).toEqual(['writable']);
    expect(c.write(5000)).toBe(2000);
  });
});
