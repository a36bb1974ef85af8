/** Reductions without cause are taken back: F-RTO (RFC 5682), Eifel (RFC 3522, 4015), D-SACK (RFC 2883, 3708). */
import { describe, expect, test } from 'vitest';
import { Flow, MSS } from './recovery.testing.ts';

/** Eight segments, whose ACKs stay away until after the timeout. */
function lateAcks(
  options: ConstructorParameters<typeof Flow>[0] = {},
): Flow & { cwnd: number; ssthresh: number } {
  const f = new Flow({ rtt_ms: 100, ...options });
  f.write(8);
  const { cwnd, ssthresh } = f.info;
  for (let i = 0; f.info.recovery !== 'timeout' && i < 2000; i += 5) f.pass(5);
  expect(f.starts().at(-1)).toBe(0);
  expect(f.info.cwnd).toBe(MSS);
  return Object.assign(f, { cwnd, ssthresh });
}

describe('a spurious timeout', () => {
  test.each([true, false])(
    'F-RTO: new data first, and an ACK of what was sent once tells (SACK: %s)',
    (sack) => {
      const f = lateAcks({ sack });
      f.c.write(4 * MSS);
      const { retransmits } = f.info;
      f.ack(1);
      // Step 2b: two new segments, nothing again.
      expect(f.starts()).toEqual([8, 9]);
      f.ack(2);
      expect(f.counters).toMatchObject({ frtoSpurious: 1, undos: 1 });
      expect(f.info).toMatchObject({ recovery: 'none', lost: 0, retransmits, undos: 1 });
      expect(f.info.cwnd).toBeGreaterThanOrEqual(f.cwnd);
      expect(f.info.ssthresh).toBe(f.ssthresh);
      f.ack(10);
      expect(f.starts().every((n) => n >= 10)).toBe(true);
    },
  );

  test('an ACK that covers more than was sent again tells at once', () => {
    const f = lateAcks();
    f.ack(3);
    expect(f.counters.frtoSpurious).toBe(1);
    expect(f.info).toMatchObject({ recovery: 'none', lost: 0 });
  });

  test('a SACK of what was sent once, too', () => {
    const f = lateAcks();
    f.ack(0, [[2, 3]]);
    expect(f.counters.frtoSpurious).toBe(1);
    expect(f.info.cwnd).toBeGreaterThanOrEqual(f.cwnd);
  });

  test('by timestamps (Eifel): the ACK echoes the original', () => {
    const f = lateAcks({ timestamps: true, sack: false });
    const echo = f.tsVal.get(0) as number;
    // All data is sent: F-RTO has nothing new to ask with.
    f.c.peer.tsRecent = echo - 400;
    f.ack(1, [], echo - 400);
    expect(f.counters).toMatchObject({ undos: 1, frtoSpurious: 0 });
    expect(f.info).toMatchObject({ recovery: 'none', lost: 0 });
    expect(f.info.cwnd).toBeGreaterThanOrEqual(f.cwnd);
  });
});

describe('a real timeout', () => {
  test('with nothing new to send, all lost data goes again by slow start', () => {
    const f = lateAcks();
    f.ack(1);
    expect(f.starts()).toEqual([1, 2]);
    f.ack(3);
    // One segment more for each ACK (RFC 3465 2.3).
    expect(f.starts()).toEqual([3, 4, 5]);
    f.ack(8);
    expect(f.info).toMatchObject({ recovery: 'none', inFlight: 0 });
    expect(f.counters).toMatchObject({ frtoSpurious: 0, undos: 0 });
  });

  test('a duplicate ACK after the new data ends F-RTO, and what is lost is sent again', () => {
    const f = lateAcks();
    f.c.write(4 * MSS);
    f.ack(1);
    expect(f.starts()).toEqual([8, 9]);
    f.ack(1, [[8, 9]]);
    expect(f.starts()[0]).toBe(1);
    expect(f.counters.frtoSpurious).toBe(0);
    expect(f.info.recovery).toBe('timeout');
  });

  test('new data that the window forbids does not hold up recovery', () => {
    const f = lateAcks();
    f.c.peer.inject({ ack: f.base, window: Math.ceil((8 * MSS) / 128) });
    f.c.write(4 * MSS);
    f.c.peer.inject({ ack: f.base + MSS, window: Math.ceil((7 * MSS) / 128) });
    expect(f.starts()[0]).toBe(1);
  });

  test('an echo of the retransmission is no sign of the original', () => {
    const f = lateAcks({ timestamps: true });
    f.ack(1);
    expect(f.counters.undos).toBe(0);
    expect(f.info.recovery).toBe('timeout');
  });
});

test('a timeout in fast recovery is not asked whether it was spurious (RFC 5682 2.1)', () => {
  const f = new Flow({ rtt_ms: 100 });
  f.write(10);
  f.pass(100);
  f.ack(0, [[1, 4]]);
  f.pass(f.info.rto_ms + 1);
  expect(f.info.recovery).toBe('timeout');
  f.take();
  f.ack(6);
  expect(f.counters.frtoSpurious).toBe(0);
  expect(f.info.recovery).toBe('timeout');
});

describe('a spurious fast retransmit', () => {
  function overtaken(options: ConstructorParameters<typeof Flow>[0] = {}): Flow & { cwnd: number } {
    const f = new Flow({ rtt_ms: 100, ...options });
    f.write(10);
    const { cwnd } = f.info;
    f.pass(100);
    f.ack(0, [[1, 4]]);
    expect(f.starts()).toEqual([0]);
    expect(f.info.cwnd).toBeLessThan(cwnd);
    return Object.assign(f, { cwnd });
  }

  test('by D-SACK of all that was sent again, during recovery', () => {
    const f = overtaken();
    f.pass(50);
    f.ack(4);
    f.pass(50);
    f.ack(4, [[0, 1]]);
    expect(f.info).toMatchObject({ recovery: 'none', undos: 1, reorderingSeen: true });
    expect(f.info.cwnd).toBeGreaterThanOrEqual(f.cwnd);
  });

  test('and after it', () => {
    const f = overtaken();
    f.pass(50);
    f.ack(10);
    expect(f.info.recovery).toBe('none');
    expect(f.info.cwnd).toBeLessThan(f.cwnd);
    f.pass(50);
    f.ack(10, [[0, 1]]);
    expect(f.info.cwnd).toBeGreaterThanOrEqual(f.cwnd);
    expect(f.info.ssthresh).toBeGreaterThan(1e6);
  });

  test('by timestamps', () => {
    const f = overtaken({ timestamps: true });
    f.pass(50);
    f.ack(4, [], (f.tsVal.get(0) as number) - 100);
    expect(f.counters.undos).toBe(1);
    expect(f.info.cwnd).toBeGreaterThanOrEqual(f.cwnd);
    // RACK waits longer from now on, as after a D-SACK.
    expect(f.info.reorderingWindow_ms).toBeCloseTo(50, 0);
  });

  test('what counted as lost and was not sent again yet is in flight after all', () => {
    const f = new Flow({ rtt_ms: 100, timestamps: true });
    f.write(10);
    f.pass(100);
    const first = f.tsVal.get(MSS) as number;
    f.ack(0, [[6, 7]]);
    f.pass(30);
    f.take();
    expect(f.info.lost).toBeGreaterThan(0);
    f.ack(1, [[6, 7]], first);
    expect(f.info).toMatchObject({ lost: 0, recovery: 'none', undos: 1 });
    expect(f.info.inFlight).toBe(8 * MSS);
  });

  test('before anything could be sent again: what seemed lost comes in the same breath', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(10);
    const { cwnd } = f.info;
    f.pass(100);
    const { peer } = f.c;
    const at = (i: number) => (peer.irs + f.base + i * MSS) >>> 0;
    peer.send({ ack: f.base, options: { sack: [[at(1), at(4)]] } });
    peer.send({ ack: f.base + 4 * MSS });
    f.c.run();
    expect(f.info).toMatchObject({ recovery: 'none', retransmits: 0, undos: 1 });
    expect(f.info.cwnd).toBeGreaterThanOrEqual(cwnd);
  });

  test('not by an echo that is of what the recovery before this one sent again', () => {
    const f = new Flow({ rtt_ms: 100, timestamps: true, limits: { chunks: 2048 } });
    f.write(90);
    f.pass(100);
    f.ack(0, [[1, 4]]);
    f.take();
    const first = f.tsVal.get(0) as number;
    f.pass(10);
    f.ack(0, [[1, 10]]);
    f.pass(90);
    // Segment 10 is lost as well, and sent again before the first recovery is over.
    f.ack(0, [
      [1, 10],
      [11, 12],
    ]);
    expect(f.starts()).toContain(10);
    const second = f.tsVal.get(10 * MSS) as number;
    f.pass(5);
    f.ack(10, [[11, 12]], first);
    expect(f.info.recovery).toBe('none');
    // And 12, which begins another.
    f.pass(10);
    f.ack(10, [
      [11, 12],
      [13, 14],
    ]);
    f.pass(30);
    expect(f.starts()).toContain(12);
    expect(f.info).toMatchObject({ recovery: 'fast', retransmitsInFlight: 2 * MSS });
    // Both arrive, and are acknowledged at once with the echo of the first.
    f.pass(90);
    f.ack(14, [], second);
    expect(f.info.undos).toBe(0);
  });

  test('not for the echo of one hole, when the ACK covers another that was sent again later', () => {
    const f = new Flow({ rtt_ms: 100, timestamps: true });
    expect(f.write(60)).toHaveLength(10);
    f.pass(100);
    f.ack(0, [[1, 8]]);
    expect(f.starts()).toEqual([0, 10, 11]);
    f.pass(20);
    f.ack(0, [[1, 10]]);
    expect(f.starts()).toEqual([12, 13]);
    // In this recovery 10 is found lost, too. It ends, and another begins for 12.
    f.pass(80);
    f.ack(0, [
      [11, 12],
      [1, 10],
    ]);
    expect(f.starts()).toContain(10);
    const echo = f.tsVal.get(10 * MSS) as number;
    f.pass(5);
    f.ack(10, [[11, 12]]);
    expect(f.info.recovery).toBe('none');
    f.take();
    f.pass(15);
    f.ack(10, [
      [13, 14],
      [11, 12],
    ]);
    f.pass(30);
    expect(f.starts()).toContain(12);
    f.pass(60);
    f.ack(14, [], echo);
    expect(f.info).toMatchObject({ recovery: 'fast', undos: 0 });
  });

  test('not when only some of it was a duplicate', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(10);
    f.pass(100);
    f.ack(0, [[5, 10]]);
    expect(f.starts()).toEqual([0, 1, 2, 3, 4]);
    f.pass(50);
    f.ack(1, [[5, 10]]);
    f.ack(1, [
      [0, 1],
      [5, 10],
    ]);
    expect(f.counters.undos).toBe(0);
  });
});
