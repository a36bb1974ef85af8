/** Growth and reduction of cwnd against the formulas: RFC 5681, RFC 6928, RFC 9438. */
import { describe, expect, test } from 'vitest';
import { TCB } from '../block.ts';
import { TcpContext } from '../testing.ts';
import { initialWindow } from './window.ts';

const MSS = 1000;

/** Sends for ever, with every segment of a round acknowledged after `rtt_ms`. */
class Flow {
  readonly c: TcpContext;
  readonly rtt_ms: number;

  constructor(congestion: 'reno' | 'cubic', rtt_ms: number) {
    this.c = new TcpContext({ limits: { congestion, chunks: 4096, sendBuffer: 4 << 20 }, slots: 1024 });
    this.c.establish({ mss: MSS, windowScale: 10 }, { window: 65_535 });
    this.c.peer.inject({ window: 60_000 });
    this.rtt_ms = rtt_ms;
  }

  /** One round trip: all that is out is acknowledged, segment by segment. @returns cwnd after it */
  round(): number {
    const { c } = this;
    c.write(2 * c.info.cwnd + 10 * MSS);
    const sent = c.peer.take().filter((s) => s.length > 0);
    c.pass(this.rtt_ms);
    for (const s of sent) c.peer.send({ ack: s.seq + s.length, window: 60_000 });
    c.run();
    return c.info.cwnd;
  }

  /** Loses the first segment of what is out, tells by duplicate ACKs, and lets recovery end. */
  lose(): void {
    const { c } = this;
    c.write(2 * c.info.cwnd);
    const una = c.info.sndUna - (c.peer.irs >>> 0);
    for (let i = 0; i < 3; i++) c.peer.inject({ ack: una, window: 60_000 });
    expect(c.info.recovery).toBe('fast');
    c.peer.take();
    c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
    expect(c.info.recovery).toBe('none');
  }
}

test.each([
  [1460, 14_600],
  [1000, 10_000],
  [536, 5360],
  // min(10 MSS, max(2 MSS, 14600))
  [2000, 14_600],
  [9000, 18_000],
])('initial window for %d bytes is %d (RFC 6928 2)', (mss, window) => {
  expect(initialWindow(mss)).toBe(window);
});

describe('slow start (RFC 5681 3.1)', () => {
  test.each(['reno', 'cubic'] as const)('doubles each round trip with %s', (congestion) => {
    const flow = new Flow(congestion, 50);
    expect(flow.c.info.cwnd).toBe(10 * MSS);
    expect([flow.round(), flow.round(), flow.round()]).toEqual([20 * MSS, 40 * MSS, 80 * MSS]);
  });

  test('does not grow for what the program, not cwnd, limited (RFC 7661)', () => {
    const { c } = new Flow('reno', 50);
    for (let i = 0; i < 50; i++) {
      c.write(3 * MSS);
      c.pass(50);
      c.peer.inject({ window: 60_000 });
    }
    expect(c.info.cwnd).toBe(10 * MSS);
  });

  test('starts again from the initial window after an idle RTO (RFC 5681 4.1)', () => {
    const flow = new Flow('reno', 50);
    for (let i = 0; i < 3; i++) flow.round();
    const { c } = flow;
    c.peer.take();
    c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
    while (c.info.sendQueue > 0) c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
    const { cwnd } = c.info;
    expect(cwnd).toBeGreaterThan(50 * MSS);
    c.pass(5000);
    c.write(100);
    expect(c.info.cwnd).toBe(10 * MSS);
  });
});

describe('reno (RFC 5681 3.1)', () => {
  test('halves on loss, then grows by one segment each round trip', () => {
    const flow = new Flow('reno', 50);
    for (let i = 0; i < 3; i++) flow.round();
    flow.lose();
    const start = flow.c.info.cwnd;
    expect(start).toBe(flow.c.info.ssthresh);
    for (let i = 1; i <= 20; i++) {
      const cwnd = flow.round();
      expect(Math.abs(cwnd - (start + i * MSS))).toBeLessThanOrEqual(MSS);
    }
  });
});

describe('cubic (RFC 9438)', () => {
  const C = 0.4;
  const BETA = 0.7;

  /** 4.2: the window in segments, `s` seconds after the start of congestion avoidance. */
  const wCubic = (s: number, wMax: number, start: number) => {
    const k = Math.cbrt((wMax - start) / C);
    return C * (s - k) ** 3 + wMax;
  };

  test('on loss keeps 0.7 of the window (4.6), and less of W_max when it was still below the last one (4.7)', () => {
    const flow = new Flow('cubic', 100);
    for (let i = 0; i < 3; i++) flow.round();
    const before = flow.c.info.cwnd;
    flow.lose();
    expect(flow.c.info.ssthresh).toBe(Math.trunc(before * BETA));
    const t = flow.c.engine.tcp.blocks.find(flow.c.conn);
    expect(flow.c.engine.tcp.m[t + TCB.CC_WORDS]).toBe(before);
    flow.round();
    const second = flow.c.info.cwnd;
    flow.lose();
    expect(second).toBeLessThan(before);
    const wMax = Math.trunc((second * (1 + BETA)) / 2);
    expect(flow.c.engine.tcp.m[t + TCB.CC_WORDS]).toBe(wMax);
    // And a new stage begins, with its own K.
    const start = flow.c.info.cwnd;
    flow.round();
    const k_ms = flow.c.engine.tcp.m[t + TCB.CC_WORDS + 1];
    expect(k_ms / 1000).toBeCloseTo(Math.cbrt((wMax - start) / MSS / C), 1);
  });

  test('follows the curve around the window of the last loss: concave, level, convex', () => {
    const flow = new Flow('cubic', 400);
    for (let i = 0; i < 4; i++) flow.round();
    const { c } = flow;
    const wMax = c.info.cwnd / MSS;
    flow.lose();
    const start = c.info.cwnd / MSS;
    // The stage begins with the first ACK that grows the window.
    flow.round();
    const began = c.now;
    const t = c.engine.tcp.blocks.find(c.conn);
    const k_ms = c.engine.tcp.m[t + TCB.CC_WORDS + 1];
    expect(k_ms / 1000).toBeCloseTo(Math.cbrt((wMax - start) / C), 1);
    const curve: number[] = [];
    for (let i = 0; i < 30; i++) {
      const cwnd = flow.round() / MSS;
      const s = (c.now - began) / 1000;
      curve.push(cwnd);
      // Between where the curve is now and where it is a round trip later, as 4.4 steers for the latter.
      expect(cwnd).toBeGreaterThan(wCubic(s - 0.4, wMax, start) * 0.93);
      expect(cwnd).toBeLessThan(Math.max(wCubic(s + 0.8, wMax, start), wMax) * 1.07);
    }
    const level = Math.round(k_ms / 400);
    const growth = curve.map((w, i) => (i === 0 ? 0 : w - curve[i - 1]));
    expect(growth[2]).toBeGreaterThan(growth[level]);
    expect(growth[Math.min(29, 2 * level + 2)]).toBeGreaterThan(growth[level]);
  });

  test('with a small window and a short path grows like Reno (4.3)', () => {
    const flow = new Flow('cubic', 10);
    flow.lose();
    const start = flow.c.info.cwnd / MSS;
    // alpha = 3 (1 - beta) / (1 + beta) segments each round trip, and 1 from the window before the loss on.
    const alpha = (3 * (1 - BETA)) / (1 + BETA);
    let estimate = start;
    for (let i = 1; i <= 20; i++) {
      estimate += estimate < start / BETA ? alpha : 1;
      const cwnd = flow.round() / MSS;
      expect(Math.abs(cwnd - estimate)).toBeLessThan(1.5);
    }
  });
});
