/** Losses: RFC 6298's timer, fast retransmit and recovery with SACK (RFC 6675) and without (RFC 6582). */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TCB } from './block.ts';
import { type Sent, TcpContext } from './testing.ts';
import { rttSample } from './timers.ts';

const MSS = 1000;
const starts = (sent: Sent[]) => sent.map((s) => s.seq);

/** Established with plain segments of 1,000 bytes and `count` of them sent. */
function sending(count: number, options = {}, congestion: 'reno' | 'cubic' = 'reno'): TcpContext {
  const c = new TcpContext({ limits: { congestion } }).establish({ mss: MSS, ...options });
  c.write(count * MSS);
  expect(starts(c.peer.take())).toEqual(Array.from({ length: Math.min(count, 10) }, (_, i) => 1 + i * MSS));
  return c;
}

describe('the retransmission timer (RFC 6298)', () => {
  test('1 s before any RTT is known, doubling, until the user timeout', () => {
    const c = new TcpContext().establish({ mss: MSS });
    c.write(100);
    c.pass(200_000);
    const sent = c.peer.take();
    expect(sent.map((s) => s.at)).toEqual([0, 1000, 3000, 7000, 15_000, 31_000, 63_000]);
    expect(sent.every((s) => s.seq === 1 && s.length === 100)).toBe(true);
    // At 127 s: 126 s after the first expiry.
    expect(c.events()).toEqual(['close 3']);
    expect(c.engine.tcp.counters.userTimeouts).toBe(1);
    expect(c.engine.tcp.wheel.armed).toBe(0);
  });

  test('SRTT + 4 RTTVAR once it is: 100 ms give 300, and every ACK starts it again', () => {
    const c = new TcpContext().establish({ mss: MSS });
    c.write(10);
    c.pass(100);
    c.peer.inject({ ack: 11 });
    expect(c.info).toMatchObject({ rtt_ms: 100, rttvar_ms: 50, rto_ms: 301 });
    c.write(MSS);
    c.write(MSS);
    c.pass(200);
    c.peer.inject({ ack: 11 + MSS });
    const again = c.now + c.info.rto_ms;
    c.peer.take();
    c.pass(5000);
    expect(c.peer.expect({ seq: 11 + MSS }).at).toBe(again - 10_000);
  });

  test('never below its minimum', () => {
    const c = new TcpContext().establish({ mss: MSS });
    c.write(10);
    c.pass(1);
    c.peer.inject({ ack: 11 });
    expect(c.info.rto_ms).toBe(200);
  });

  test('what is sent again is not timed (Karn), and new data is again', () => {
    const c = new TcpContext().establish({ mss: MSS });
    c.write(10);
    c.pass(1500);
    c.peer.inject({ ack: 11 });
    expect(c.info.rtt_ms).toBe(0);
    expect(c.info.backoff).toBe(0);
    c.write(10);
    c.pass(20);
    c.peer.inject({ ack: 21 });
    expect(c.info.rtt_ms).toBe(20);
  });

  test('SRTT and RTTVAR follow RFC 6298 2.3', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 10_000_000 }), { minLength: 1, maxLength: 50 }),
        (samples) => {
          const m = new Int32Array(TCB.RCV_RTT + 1);
          let srtt = 0;
          let rttvar = 0;
          samples.forEach((us, i) => {
            rttSample(m, 0, us);
            if (i === 0) {
              srtt = us;
              rttvar = us / 2;
            } else {
              rttvar += (Math.abs(srtt - us) - rttvar) / 4;
              srtt += (us - srtt) / 8;
            }
          });
          expect(Math.abs((m[TCB.SRTT] >> 3) - srtt)).toBeLessThan(2 + srtt / 1e5);
          expect(Math.abs((m[TCB.RTTVAR] >> 2) - rttvar)).toBeLessThan(8 + rttvar / 1e4);
          expect(m[TCB.MIN_RTT]).toBe(Math.min(...samples));
        },
      ),
    );
  });

  test('cwnd is one segment after it, ssthresh half of the flight (RFC 5681 3.1), and all of that is sent again', () => {
    const c = sending(10);
    c.pass(1000);
    expect(starts(c.peer.take())).toEqual([1]);
    expect(c.info).toMatchObject({ cwnd: MSS, ssthresh: 5 * MSS, recovery: 'timeout' });
    c.peer.inject({ ack: 1 + MSS });
    // Slow start: two for one.
    expect(starts(c.peer.take())).toEqual([1001, 2001]);
    c.peer.inject({ ack: 1 + 3 * MSS });
    // One for an ACK, whatever it covers (RFC 3465 2.3).
    expect(starts(c.peer.take())).toEqual([3001, 4001, 5001]);
    c.peer.inject({ ack: 1 + 10 * MSS });
    expect(c.info).toMatchObject({ recovery: 'none', inFlight: 0 });
  });

  test('a second expiry does not halve ssthresh again', () => {
    const c = sending(10);
    c.pass(1000 + 2000 + 4000);
    expect(c.info).toMatchObject({ cwnd: MSS, ssthresh: 5 * MSS, backoff: 3 });
  });

  test('FIN is sent again like data', () => {
    const c = sending(1);
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.', seq: 1001 });
    c.pass(1000);
    // The hole ends with the FIN, so one segment has both.
    c.peer.expect({ seq: 1, length: MSS });
  });
});

describe('fast retransmit without SACK (RFC 5681 3.2, RFC 6582)', () => {
  test('at the third duplicate ACK, not before', () => {
    const c = sending(10);
    c.peer.inject({ ack: 1001 });
    c.peer.take();
    c.peer.inject({ ack: 1001 });
    c.peer.inject({ ack: 1001 });
    c.peer.expectNothing();
    c.peer.inject({ ack: 1001 });
    c.peer.expect({ seq: 1001, length: MSS });
    c.peer.expectNothing();
    // RFC 5681 eq. 4: half of what is in flight, less what has left with the duplicates.
    expect(c.info.recovery).toBe('fast');
    expect(c.info.ssthresh).toBeLessThanOrEqual(4500);
    expect(c.info.ssthresh).toBeGreaterThanOrEqual(2 * MSS);
  });

  test('each of the first two duplicates lets one new segment out (limited transmit, RFC 3042)', () => {
    const c = sending(20);
    c.peer.inject({ ack: 1 });
    expect(starts(c.peer.take())).toEqual([10_001]);
    c.peer.inject({ ack: 1 });
    expect(starts(c.peer.take())).toEqual([11_001]);
    c.peer.inject({ ack: 1 });
    expect(starts(c.peer.take())[0]).toBe(1);
  });

  test('a partial ACK sends the next hole, the full one ends recovery with cwnd at ssthresh', () => {
    const c = sending(10);
    for (let i = 0; i < 7; i++) c.peer.inject({ ack: 1 });
    expect(starts(c.peer.take())).toEqual([1]);
    c.peer.inject({ ack: 3001 });
    expect(starts(c.peer.take())[0]).toBe(3001);
    // Of the seven that the duplicates stood for, at most five lie above it.
    expect(c.info.inFlight).toBeGreaterThanOrEqual(2 * MSS);
    c.peer.inject({ ack: 10_001 });
    expect(c.info.recovery).toBe('none');
    expect(c.info.cwnd).toBe(c.info.ssthresh);
  });

  test('data, or a changed window, makes an ACK no duplicate', () => {
    const c = sending(10);
    c.peer.inject({ ack: 1, length: 10 });
    c.peer.inject({ ack: 1, length: 10 });
    c.peer.inject({ ack: 1, window: 60_000 });
    c.peer.inject({ ack: 1, window: 61_000 });
    c.peer.inject({ ack: 1, length: 10 });
    expect(c.peer.take().every((s) => s.length === 0)).toBe(true);
    expect(c.info.recovery).toBe('none');
  });

  test('losses of a window that was reduced for already don’t reduce it again (RFC 6582 3.2)', () => {
    const c = sending(10);
    for (let i = 0; i < 3; i++) c.peer.inject({ ack: 1 });
    const { ssthresh } = c.info;
    c.peer.inject({ ack: 10_001 });
    for (let i = 0; i < 5; i++) c.peer.inject({ ack: 10_001 });
    expect(c.info.ssthresh).toBe(ssthresh);
    expect(c.engine.tcp.counters.fastRecoveries).toBe(1);
  });
});

describe('with SACK (RFC 6675)', () => {
  const sack = (...blocks: [number, number][]) => ({ sack: blocks });
  /** Blocks in relative numbers, as the peer writes them. */
  const inject = (c: TcpContext, ack: number, ...blocks: [number, number][]) =>
    c.peer.inject({
      ack,
      options: sack(
        ...blocks.map(([l, r]): [number, number] => [(c.peer.irs + l) >>> 0, (c.peer.irs + r) >>> 0]),
      ),
    });

  test('only holes are sent again, each once', () => {
    const c = sending(10, { sackPermitted: true });
    // Lost: the first and the fourth.
    inject(c, 1, [1001, 2001]);
    inject(c, 1, [1001, 3001]);
    expect(starts(c.peer.take())).toEqual([]);
    inject(c, 1, [4001, 5001], [1001, 3001]);
    expect(starts(c.peer.take())).toEqual([1]);
    expect(c.info.recovery).toBe('fast');
    inject(c, 1, [4001, 6001], [1001, 3001]);
    inject(c, 1, [4001, 7001], [1001, 3001]);
    inject(c, 1, [4001, 8001], [1001, 3001]);
    inject(c, 1, [4001, 10_001], [1001, 3001]);
    expect(starts(c.peer.take())).toEqual([3001]);
    inject(c, 3001, [4001, 10_001]);
    expect(starts(c.peer.take())).toEqual([]);
    inject(c, 10_001);
    expect(c.info).toMatchObject({ recovery: 'none', inFlight: 0 });
  });

  test('more than two segments SACKed above is loss, with fewer than three ACKs (IsLost)', () => {
    const c = sending(10, { sackPermitted: true });
    inject(c, 1, [1001, 4001]);
    expect(starts(c.peer.take())).toEqual([1]);
  });

  test('pipe: what is SACKed makes room, what is lost too', () => {
    const c = sending(10, { sackPermitted: true });
    inject(c, 1, [5001, 10_001]);
    // Four of five not SACKed are lost; the first went out again, the window has room for more.
    expect(c.info.inFlight).toBeLessThanOrEqual(c.info.cwnd);
    const sent = starts(c.peer.take());
    expect(sent[0]).toBe(1);
    expect(new Set(sent).size).toBe(sent.length);
    expect(sent.every((seq) => seq < 5001)).toBe(true);
  });

  test('nonsense is ignored: empty, reversed, below SND.UNA, beyond SND.NXT', () => {
    const c = sending(10, { sackPermitted: true });
    inject(c, 2001, [500, 1500], [3001, 3001], [6001, 5001], [9001, 50_000]);
    expect(c.info.inFlight).toBe(8 * MSS);
    const t = c.engine.tcp.blocks.find(c.conn);
    expect(c.engine.tcp.m[t + TCB.SACKED_BYTES]).toBe(0);
  });

  test('after a timeout SACKs are forgotten, since peers may renege (RFC 2018 8)', () => {
    const c = sending(10, { sackPermitted: true });
    inject(c, 1, [1001, 2001]);
    c.pass(1000);
    expect(starts(c.peer.take())).toEqual([1]);
    inject(c, 1001);
    expect(starts(c.peer.take())).toEqual([1001, 2001]);
  });

  test('the scoreboard agrees with a model, whatever is SACKed', () => {
    const block = fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 10 }));
    const step = fc.record({
      una: fc.integer({ min: 0, max: 3 }),
      blocks: fc.array(block, { minLength: 1, maxLength: 4 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const c = new TcpContext({ limits: { sendBuffer: 100_000 } }).establish({
          mss: MSS,
          sackPermitted: true,
        });
        c.write(10 * MSS);
        const held = new Set<number>();
        let una = 1;
        for (const { una: advance, blocks } of steps) {
          const sndNxt = c.peer.rcvNxt;
          const before = una;
          una = Math.min(una + advance * 500, sndNxt);
          const real = blocks.map(([from, length]): [number, number] => [
            1 + from * 250,
            1 + (from + length) * 250,
          ]);
          inject(c, una, ...real);
          for (const [l, r] of real) {
            // Blocks from the old SND.UNA to SND.NXT count, whole ones only.
            if (l >= before && r <= sndNxt) for (let i = l; i < r; i += 250) held.add(i);
          }
          const above = [...held].filter((i) => i >= una).length * 250;
          const info = c.info;
          expect(info.inFlight).toBeLessThanOrEqual(Math.max(0, c.peer.rcvNxt - una));
          const t = c.engine.tcp.blocks.find(c.conn);
          if (info.recovery !== 'timeout') expect(c.engine.tcp.m[t + TCB.SACKED_BYTES]).toBe(above);
        }
        c.peer.take();
        c.peer.inject({ ack: c.peer.rcvNxt });
        c.engine.abort(c.conn);
        c.run();
        expect(c.engine.tcp.chunks.inUse).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
