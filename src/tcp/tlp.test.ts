/** Tail loss probes (RFC 8985 7). */
import { describe, expect, test } from 'vitest';
import { TCB } from './block.ts';
import { Flow, MSS } from './recovery.testing.ts';

/** Segments sent in `ms`, as [ms after now, first byte in segments]. */
function sentIn(f: Flow, ms: number): [number, number][] {
  const began = f.c.now - 10_000;
  f.pass(ms);
  return f.take().map((s) => [s.at - began, (s.seq - f.base) / MSS]);
}

describe('when', () => {
  test('7/4 SRTT after what was sent last', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(3);
    expect(sentIn(f, 250)).toEqual([[176, 2]]);
    expect(f.counters).toMatchObject({ tlpProbes: 1, retransmissionTimeouts: 0 });
    expect(f.info).toMatchObject({ tailProbes: 1, cwnd: 10 * MSS });
  });

  test('and 3/4 after the ACK of the rest', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(6);
    f.pass(150);
    f.ack(3);
    const [[at, segment]] = sentIn(f, 400);
    expect(segment).toBe(5);
    expect(at).toBe(Math.floor(f.info.rtt_ms * 0.75));
  });

  test('with one segment in flight, not before the peer’s delayed ACK', () => {
    const f = new Flow({ rtt_ms: 50, limits: { rtoMin_ms: 1000 } });
    f.write(1);
    expect(sentIn(f, 290)).toEqual([]);
    expect(sentIn(f, 20)).toEqual([[11, 0]]);
  });

  describe('with the last of several in flight', () => {
    const wait = { limits: { rtoMin_ms: 1000 } };

    test('whose ACKs come in pairs: the usual delay after the last, since it may be without a partner', () => {
      const f = new Flow({ rtt_ms: 20, ...wait });
      f.write(5);
      f.pass(20);
      f.ack(2);
      f.ack(4);
      expect(sentIn(f, 44)).toEqual([]);
      expect(sentIn(f, 2)).toEqual([[1, 4]]);
    });

    test('after the late ACK of the one before: as if there were more', () => {
      const f = new Flow({ rtt_ms: 100, ...wait });
      f.write(4);
      f.pass(100);
      f.ack(2);
      f.pass(40);
      f.ack(3);
      const left = Math.floor((f.info.rtt_ms * 7) / 4) + 1 - 140;
      expect(sentIn(f, 100)).toEqual([[left, 3]]);
    });

    test('sent later than what was acknowledged, so that the peer may delay it: as if it were alone', () => {
      const f = new Flow({ rtt_ms: 100, ...wait });
      f.write(1);
      f.pass(50);
      f.write(1);
      f.pass(90);
      f.ack(1);
      expect(sentIn(f, 300)).toEqual([]);
      expect(sentIn(f, 200)).toHaveLength(1);
    });
  });

  test.each([1, 10, 40])('requests of one segment, each acknowledged late, over %d ms: none', (rtt_ms) => {
    const f = new Flow({ rtt_ms });
    for (let i = 0; i < 20; i++) {
      f.write(1);
      f.pass(rtt_ms + (i % 2 === 0 ? 40 : 150));
      f.ack(i + 1);
      f.pass(i % 3);
    }
    expect(f.counters).toMatchObject({ tlpProbes: 0, retransmissionTimeouts: 0 });
  });

  test('three segments a time, the third acknowledged late: none', () => {
    const f = new Flow({ rtt_ms: 10 });
    for (let i = 0; i < 20; i++) {
      f.write(3);
      f.pass(10);
      f.ack(3 * i + 2);
      f.pass(40);
      f.ack(3 * i + 3);
    }
    expect(f.counters.tlpProbes).toBe(0);
  });

  test('never later than the retransmission timeout, which then begins', () => {
    const f = new Flow({ rtt_ms: 50 });
    f.write(1);
    const { rto_ms } = f.info;
    const cwnd = f.info.cwnd;
    expect(sentIn(f, rto_ms + 1)).toEqual([[rto_ms, 0]]);
    expect(f.info).toMatchObject({ cwnd, recovery: 'none', backoff: 0 });
    expect(sentIn(f, rto_ms + 1)).toHaveLength(1);
    expect(f.info).toMatchObject({ recovery: 'timeout', backoff: 1 });
  });

  test.each([
    ['without SACK', { sack: false }],
    ['before an RTT is known', { rtt_ms: 0 }],
  ])('not %s', (_, options) => {
    const f = new Flow(options);
    if ('rtt_ms' in options) f.c.engine.tcp.m[f.block + TCB.SRTT] = 0;
    f.write(3);
    f.pass(3000);
    expect(f.counters.tlpProbes).toBe(0);
    expect(f.counters.retransmissionTimeouts).toBeGreaterThan(0);
  });

  test('not while something is SACKed, or in recovery', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(6);
    f.pass(100);
    f.ack(0, [[5, 6]]);
    f.pass(20);
    expect(f.counters.tlpProbes).toBe(0);
    f.pass(10);
    expect(f.info.recovery).toBe('fast');
    f.pass(1000);
    expect(f.counters.tlpProbes).toBe(0);
  });
});

describe('what', () => {
  test('new data if the peer’s window allows, whatever cwnd says', () => {
    const f = new Flow({ rtt_ms: 100 });
    expect(f.write(15)).toHaveLength(10);
    expect(sentIn(f, 205)).toEqual([[176, 10]]);
    expect(f.info.retransmits).toBe(0);
    // It is acknowledged with the rest: no loss, no reduction.
    f.ack(11);
    expect(f.info.cwnd).toBeGreaterThanOrEqual(10 * MSS);
    expect(f.counters.tlpRecoveries).toBe(0);
  });

  test('the last segment when it doesn’t', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.c.peer.inject({ ack: f.base, window: Math.ceil((3 * MSS) / 128) });
    f.c.write(10 * MSS);
    f.c.peer.take();
    f.pass(205);
    const [probe, ...rest] = f.take();
    expect(rest).toEqual([]);
    expect(probe.seq + probe.length - f.base).toBe(3 * MSS);
    expect(f.info.retransmits).toBe(1);
  });

  test('FIN with the last data, or alone', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(2);
    f.c.engine.shutdown(f.c.conn);
    f.c.run();
    f.c.peer.take();
    f.pass(205);
    const [probe] = f.c.peer.take();
    expect(probe.flags).toContain('F');
    expect(f.counters.tlpProbes).toBe(1);
    f.c.peer.inject({ ack: f.base + 2 * MSS + 1 });
    expect(f.c.state).toBe('FIN-WAIT-2');
  });

  test('one at a time, and none again before an RTT was measured', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(1);
    f.pass(f.info.rto_ms);
    expect(f.counters.tlpProbes).toBe(1);
    f.pass(50);
    // Of which of the two sendings this is the ACK, it doesn't tell.
    f.ack(1);
    f.write(1);
    f.pass(f.info.rto_ms + 1);
    expect(f.counters).toMatchObject({ tlpProbes: 1, retransmissionTimeouts: 1 });
    f.ack(2);
    f.write(2);
    f.pass(100);
    f.ack(4);
    f.write(1);
    f.pass(f.info.rto_ms + 1);
    expect(f.counters).toMatchObject({ tlpProbes: 2, retransmissionTimeouts: 1 });
  });
});

test('a probe without need, whose ACK measured nothing, keeps the next from being sent', () => {
  const f = new Flow({ rtt_ms: 100 });
  f.write(1);
  f.pass(f.info.rto_ms);
  expect(f.counters.tlpProbes).toBe(1);
  // The original and the probe arrive.
  f.ack(1);
  f.ack(1, [[0, 1]]);
  f.write(1);
  f.pass(f.info.rto_ms + 1);
  expect(f.counters).toMatchObject({ tlpProbes: 1, retransmissionTimeouts: 1 });
});

test('the D-SACK of a probe does not take back the reduction for a loss', () => {
  const f = new Flow({ rtt_ms: 100 });
  f.write(10);
  f.pass(100);
  f.ack(0, [[1, 10]]);
  f.pass(100);
  f.ack(10);
  expect(f.info).toMatchObject({ recovery: 'none', retransmits: 1 });
  const { cwnd } = f.info;
  f.write(3);
  f.pass(250);
  expect(f.starts().at(-1)).toBe(12);
  f.ack(13);
  f.ack(13, [[12, 13]]);
  expect(f.info).toMatchObject({ tailProbes: 1, undos: 0, cwnd });
});

describe('a lost tail', () => {
  test('of one segment is repaired by the probe, and the window shrinks once', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(10);
    f.pass(100);
    f.ack(9);
    const cwnd = f.info.cwnd;
    f.pass(80);
    expect(f.starts()).toEqual([9]);
    f.pass(100);
    f.write(1);
    f.ack(10);
    f.pass(100);
    f.ack(11);
    expect(f.counters).toMatchObject({ tlpProbes: 1, tlpRecoveries: 1, retransmissionTimeouts: 0 });
    expect(f.info.cwnd).toBeLessThan(cwnd);
    expect(f.info.recovery).toBe('none');
  });

  test('of several is found by the SACK of the probe', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(10);
    f.pass(100);
    f.ack(6);
    const began = f.c.now;
    f.pass(105);
    expect(f.starts()).toEqual([9]);
    f.pass(100);
    f.ack(6, [[9, 10]]);
    f.pass(30);
    // Nothing was in flight: all that SSTHRESH allows, half of the four, at once.
    expect(f.starts()).toEqual([6, 7]);
    f.pass(100);
    f.ack(8, [[9, 10]]);
    expect(f.starts()).toEqual([8]);
    f.pass(100);
    f.ack(10);
    expect(f.c.now - began).toBeLessThan(5 * 100);
    expect(f.counters).toMatchObject({ fastRecoveries: 1, retransmissionTimeouts: 0 });
  });

  test('of many: no more at once than a connection starts with, nor than SSTHRESH', () => {
    for (const [window, most] of [
      // And one for the one that has arrived.
      [60, 11],
      [12, 6],
    ]) {
      const f = new Flow({ rtt_ms: 100, limits: { chunks: 2048 } });
      f.c.engine.tcp.m[f.block + TCB.CWND] = window * MSS;
      expect(f.write(window)).toHaveLength(window);
      f.pass(176);
      expect(f.starts()).toEqual([window - 1]);
      f.pass(100);
      f.ack(0, [[window - 1, window]]);
      f.pass(30);
      expect(f.starts()).toHaveLength(most);
    }
  });

  test('that was not lost: a D-SACK of the probe, or a second ACK, says so, and nothing shrinks', () => {
    for (const dsack of [true, false]) {
      const f = new Flow({ rtt_ms: 100 });
      f.write(5);
      f.pass(205);
      expect(f.starts()).toEqual([4]);
      const { cwnd } = f.info;
      f.ack(5);
      f.ack(5, dsack ? [[4, 5]] : []);
      f.write(2);
      f.pass(100);
      f.ack(7);
      expect(f.info.cwnd).toBeGreaterThanOrEqual(cwnd);
      expect(f.counters.tlpRecoveries).toBe(0);
      // Nor does RACK wait longer for it.
      expect(f.info.reorderingWindow_ms).toBeLessThan(26);
    }
  });
});
