/** Proportional rate reduction (RFC 9937): what each ACK in recovery lets out. */
import { describe, expect, test } from 'vitest';
import { TCB } from './block.ts';
import { Flow, MSS } from './recovery.testing.ts';

/** A window of `n` segments, all in flight, and plenty to send. */
function flight(n: number): Flow {
  const f = new Flow({ rtt_ms: 100, limits: { chunks: 2048 } });
  f.c.engine.tcp.m[f.block + TCB.CWND] = n * MSS;
  expect(f.write(n + 100)).toHaveLength(n);
  f.pass(100);
  return f;
}

/** SACKs segments one by one, and counts what each lets out. */
function sackAll(f: Flow, from: number, to: number, first = from): number[] {
  const out: number[] = [];
  for (let i = from; i < to; i++) {
    f.ack(0, [[first, i + 1]]);
    out.push(f.starts().length);
  }
  return out;
}

const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);

describe('with Reno, whose target is half', () => {
  test('one loss: a retransmission at once, then one segment for every second ACK (6937 3.1’s first example)', () => {
    const f = flight(20);
    const out = sackAll(f, 1, 20);
    // Two ACKs of limited transmit, and the retransmission.
    expect(out.slice(0, 3)).toEqual([1, 1, 1]);
    expect(f.info.recovery).toBe('fast');
    const { ssthresh } = f.info;
    // Half of the window: what limited transmit added doesn't count (RFC 5681 3.2).
    expect(ssthresh).toBe(10 * MSS);
    expect(Math.max(...out)).toBe(1);
    const rest = out.slice(3);
    // In proportion: what leaves is ssthresh/RecoverFS of what arrives.
    expect(sum(rest)).toBeGreaterThanOrEqual(7);
    expect(sum(rest)).toBeLessThanOrEqual(10);
    f.pass(100);
    f.ack(22);
    expect(f.info).toMatchObject({ recovery: 'none', cwnd: ssthresh });
  });

  test('many losses: what is in flight is built up to the target by slow start once retransmissions arrive', () => {
    const f = flight(20);
    // The first fifteen are lost.
    const out = sackAll(f, 15, 20);
    expect(f.info.recovery).toBe('fast');
    // Packet conservation: no more than what arrived, but for the first.
    expect(sum(out)).toBeLessThanOrEqual(5 + 1);
    expect(f.info.inFlight).toBeLessThanOrEqual(f.info.ssthresh);
    const before = f.info.inFlight;
    f.pass(100);
    // A safe ACK: one segment more than was delivered.
    f.ack(1, [[15, 20]]);
    expect(f.starts()).toHaveLength(2);
    expect(f.info.inFlight).toBe(before + MSS);
  });

  test('never more in flight than ssthresh when it falls below it, nor bursts', () => {
    const f = flight(40);
    for (let una = 0; una < 10; una++) {
      f.pass(10);
      f.ack(0, [[1, 10 + 3 * una]]);
      f.take();
    }
    const { ssthresh } = f.info;
    f.pass(60);
    f.ack(37);
    expect(f.starts().length).toBeLessThanOrEqual(37);
    expect(f.info.inFlight).toBeLessThanOrEqual(ssthresh + MSS);
  });
});

test('CUBIC’s target is 0.7, and in flight comes down to that', () => {
  const f = new Flow({ rtt_ms: 100, congestion: 'cubic', limits: { chunks: 2048 } });
  f.c.engine.tcp.m[f.block + TCB.CWND] = 30 * MSS;
  f.write(130);
  f.pass(100);
  for (let i = 2; i <= 30; i++) {
    f.ack(0, [[1, i]]);
    f.take();
  }
  const { ssthresh, inFlight } = f.info;
  expect(ssthresh).toBe(21 * MSS);
  expect(Math.abs(inFlight - ssthresh)).toBeLessThanOrEqual(2 * MSS);
});

test('without SACK a duplicate ACK counts as a segment, once', () => {
  const f = new Flow({ sack: false, limits: { chunks: 2048 } });
  f.c.engine.tcp.m[f.block + TCB.CWND] = 20 * MSS;
  f.write(120);
  f.pass(100);
  let out = 0;
  for (let i = 0; i < 19; i++) {
    f.ack(0);
    out += f.starts().length;
  }
  expect(f.info.recovery).toBe('fast');
  const { ssthresh } = f.info;
  expect(out).toBeLessThanOrEqual(2 + 1 + 10);
  expect(out).toBeGreaterThanOrEqual(10);
  f.pass(100);
  f.ack(22);
  expect(f.info).toMatchObject({ recovery: 'none', cwnd: ssthresh });
  expect(f.starts().length).toBeLessThanOrEqual(ssthresh / MSS);
});
