/** Losses: RFC 6298's timer, fast retransmit and recovery with SACK and without (RFC 6582). What RACK, PRR and the rest do has tests of its own. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TCB } from './block.ts';
import { Flow } from './recovery.testing.ts';
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

describe('with SACK', () => {
  test('only holes are sent again, each once', () => {
    const f = new Flow();
    f.write(10);
    f.pass(100);
    // Lost: the first and the fourth.
    f.ack(0, [[1, 2]]);
    f.ack(0, [[1, 3]]);
    expect(f.starts()).toEqual([]);
    f.ack(0, [
      [4, 5],
      [1, 3],
    ]);
    expect(f.starts()).toEqual([0]);
    expect(f.info.recovery).toBe('fast');
    for (let end = 6; end <= 10; end++)
      f.ack(0, [
        [4, end],
        [1, 3],
      ]);
    expect(f.starts()).toEqual([3]);
    f.pass(100);
    f.ack(3, [[4, 10]]);
    expect(f.starts()).toEqual([]);
    f.ack(10);
    expect(f.info).toMatchObject({ recovery: 'none', inFlight: 0 });
  });

  test('what is SACKed makes room, what is lost too', () => {
    const f = new Flow();
    f.write(30);
    f.take();
    f.pass(100);
    f.ack(0, [[5, 10]]);
    // Five have left the network for certain: as many may follow, up to ssthresh.
    expect(f.starts()).toEqual([0, 1, 2, 3, 4]);
    const five = 5 * MSS;
    expect(f.info).toMatchObject({
      sacked: five,
      lost: 0,
      retransmitsInFlight: five,
      inFlight: five,
      cwnd: five,
    });
  });

  test('nonsense is ignored: empty, reversed, below SND.UNA, beyond SND.NXT', () => {
    const f = new Flow();
    f.write(10);
    f.pass(100);
    f.ack(2, [
      [3, 3],
      [6, 5],
      [1, 2],
      [9, 50],
    ]);
    expect(f.info).toMatchObject({ inFlight: 8 * MSS, sacked: 0 });
  });

  test('a block beyond SND.NXT is ignored though its end, of serial numbers, is before SND.NXT', () => {
    for (const [start, length] of [
      [2 ** 30, 2 ** 30 + 20 * MSS],
      [10 * MSS + 1, 2 ** 31 - 1],
      [2 ** 31 - 1, 2 ** 31 - 1],
    ]) {
      const f = new Flow();
      f.write(10);
      f.pass(100);
      // In the first place it would be a duplicate's.
      f.ackBytes(0, [
        [MSS, 2 * MSS],
        [start, start + length],
      ]);
      expect(f.info).toMatchObject({ inFlight: 9 * MSS, sacked: MSS });
    }
  });

  test('a timeout leaves what is SACKed alone, and sends again only what is missing', () => {
    const f = new Flow();
    f.write(10);
    f.pass(100);
    f.ack(0, [[1, 2]]);
    f.pass(30);
    expect(f.starts()).toEqual([0]);
    // The retransmission is lost as well, and so is all behind.
    f.pass(1000);
    expect(f.starts()[0]).toBe(0);
    expect(f.info).toMatchObject({ recovery: 'timeout', sacked: MSS });
    f.ack(2);
    // However much an ACK covers now, the window grows by one segment (RFC 3465 2.3).
    expect(f.starts()).toEqual([2, 3]);
  });

  test('a peer that dropped what it had SACKed (RFC 2018 8) is found out by the timeout, and gets all of it again', () => {
    const f = new Flow();
    f.write(5);
    f.pass(100);
    f.ack(0, [[1, 3]]);
    f.pass(50);
    expect(f.starts()).toEqual([0]);
    // Segments 1 and 2 should be acknowledged by this.
    f.ack(1, [[1, 3]]);
    f.take();
    f.pass(1000);
    expect(f.starts()[0]).toBe(1);
    expect(f.info.sacked).toBe(0);
    expect(f.counters.sackReneges).toBe(1);
    for (let una = 2; una <= 5; una++) f.ack(una);
    expect(f.info).toMatchObject({ recovery: 'none', inFlight: 0 });
  });

  test('the timeout of a retransmission of the first segment runs from it', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(10);
    f.pass(100);
    f.ack(0, [[1, 4]]);
    f.take();
    const { rto_ms } = f.info;
    f.pass(rto_ms - 2);
    expect(f.counters.retransmissionTimeouts).toBe(0);
    f.pass(3);
    expect(f.counters.retransmissionTimeouts).toBe(1);
  });
});

test('duplicates that follow each other in one batch are one D-SACK (RFC 2883)', () => {
  const c = new TcpContext().establish({ mss: MSS, sackPermitted: true });
  for (let i = 0; i < 4; i++) c.peer.inject({ length: 100 });
  c.peer.take();
  for (const seq of [1, 101, 201]) c.peer.send({ seq, length: 100 });
  c.run();
  const { sack } = c.peer.expect({ ack: 401 }).options;
  expect(sack).toEqual([[(c.peer.iss + 1) >>> 0, (c.peer.iss + 301) >>> 0]]);
});

describe('a FIN that comes before its data', () => {
  test.each([1, 3])('ends the stream once the %d segments before it have come', (missing) => {
    const c = new TcpContext().establish({ mss: MSS });
    // Past the quick ACKs of the start.
    for (let i = 0; i < 12; i++) c.peer.inject({ length: 10 });
    c.events();
    c.peer.take();
    const { sndNxt } = c.peer;
    c.peer.inject({ flags: 'F.', seq: sndNxt + missing * 10 });
    c.peer.expect({ ack: sndNxt });
    const told: string[] = [];
    for (let i = 0; i < missing; i++) {
      expect(c.state).toBe('ESTABLISHED');
      c.peer.inject({ seq: sndNxt + 10 * i, length: 10 });
      told.push(...c.events());
    }
    expect(told).toEqual([...Array.from({ length: missing }, () => 'data 10'), 'end']);
    expect(c.state).toBe('CLOSE-WAIT');
    expect(c.peer.take().at(-1)?.ack).toBe(sndNxt + missing * 10 + 1);
  });
});
