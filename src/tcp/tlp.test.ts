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
  test('two SRTT after what was sent last', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(3);
    expect(sentIn(f, 250)).toEqual([[201, 2]]);
    expect(f.counters).toMatchObject({ tlpProbes: 1, retransmissionTimeouts: 0 });
    expect(f.info).toMatchObject({ tailProbes: 1, cwnd: 10 * MSS });
  });

  test('and one after the ACK of the rest', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(6);
    f.pass(150);
    f.ack(3);
    const [[at, segment]] = sentIn(f, 400);
    expect(segment).toBe(5);
    expect(at).toBeLessThanOrEqual(f.info.rtt_ms + 2);
  });

  test('with one segment in flight, not before the peer’s delayed ACK', () => {
    const f = new Flow({ rtt_ms: 50, limits: { rtoMin_ms: 1000 } });
    f.write(1);
    expect(sentIn(f, 290)).toEqual([]);
    expect(sentIn(f, 20)).toEqual([[11, 0]]);
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
    expect(sentIn(f, 205)).toEqual([[201, 10]]);
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
    f.pass(f.info.rto_ms);
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
    // Packet conservation (RFC 9937): one for the one that has arrived.
    expect(f.starts()).toEqual([6]);
    f.pass(100);
    f.ack(7, [[9, 10]]);
    expect(f.starts()).toEqual([7, 8]);
    f.pass(100);
    f.ack(10);
    expect(f.c.now - began).toBeLessThan(5 * 100);
    expect(f.counters).toMatchObject({ fastRecoveries: 1, retransmissionTimeouts: 0 });
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
