/** Pacing (draft-ietf-ccwg-bbr 5.6.2): what goes when, how a connection waits, and that an unpaced one doesn't. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { auditEngine } from '../../engine/testing.ts';
import { FLAG2, TCB } from '../block.ts';
import { MODERN, TcpContext } from '../testing.ts';
import { bytesAt, bytesPerSecond, rateOf } from './pacing.ts';
import { Wire } from './wire.testing.ts';

const MSS = 1000;
const CWND = 21 * MSS;

/** A connection that is paced, with a round trip of 100 ms and a window of CWND, and much to send. */
function paced(): TcpContext {
  const c = new TcpContext({ limits: { pacing: true, chunks: 4096, sendBuffer: 4 << 20 }, slots: 1024 });
  c.establish({ mss: MSS, windowScale: 10 }, { window: 65_535 });
  c.peer.inject({ window: 60_000 });
  // One more than the first window takes, so that it counts as used up.
  c.write(11 * MSS);
  for (let round = 0; round < 2; round++) {
    c.pass(100);
    c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
  }
  expect(c.info).toMatchObject({ cwnd: CWND, inFlight: 0 });
  c.peer.take();
  return c;
}

test('rates have two units', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1 << 30 }), fc.integer({ min: 1, max: 1 << 30 }), (bytes, us) => {
      const rate = rateOf(bytes, us);
      const perSecond = (bytes * 1e6) / us;
      // 62.5 B/s is the grain, 2^31 of them the most.
      const exact = Math.min(perSecond, bytesPerSecond(2 ** 31 - 1));
      expect(Math.abs(bytesPerSecond(rate) - exact)).toBeLessThanOrEqual(62.5);
      expect(bytesAt(rate, us)).toBeLessThanOrEqual(bytes);
    }),
  );
});

test('a window is spread over the round trip, a quantum at a time', () => {
  const c = paced();
  const { cwnd, pacingRate } = c.info;
  // Linux's: twice the window a round trip while it doubles.
  expect(pacingRate).toBeGreaterThan((2 * cwnd) / 0.101);
  expect(pacingRate).toBeLessThan((2 * cwnd) / 0.099);
  c.write(200 * MSS);
  const times: number[] = [];
  for (let ms = 0; ms < 60; ms++) {
    const sent = c.peer.take();
    // Two segments at least (5.6.3), and one for being a part of a ms late.
    expect(sent.length).toBeLessThanOrEqual(3);
    for (const _ of sent) times.push(ms);
    c.pass(1);
  }
  expect(times.length).toBe(21);
  expect(times.at(-1)).toBeGreaterThan(44);
  expect(times.at(-1)).toBeLessThan(50);
});

test('it waits in the wheel, to the microsecond, and not on an output list', () => {
  const c = paced();
  c.write(200 * MSS);
  const { tcp } = c.engine;
  const t = tcp.blocks.find(c.conn);
  expect(tcp.pacer.armed).toBe(1);
  expect(tcp.lists.every((lists) => lists.head.every((head) => head === 0))).toBe(true);
  c.peer.take();
  // The wheel may have us look early, a few times.
  const exact = c.now + (2 * MSS * 1000) / c.info.pacingRate;
  const started = c.now;
  let sent: unknown[] = [];
  for (let breaths = 0; breaths < 4 && sent.length === 0; breaths++) {
    expect(c.now).toBeLessThan(exact);
    c.now = Math.floor(c.now) + c.engine.nextDeadline();
    c.run();
    sent = c.peer.take();
  }
  expect(sent.length).toBe(2);
  expect(c.now).toBeGreaterThan(started);
  expect(Math.abs(c.now - exact)).toBeLessThan(0.002);
  expect(tcp.m[t + TCB.FLAGS2] & FLAG2.PACE_WAIT).not.toBe(0);
});

test('a late wake-up is made up for, but not what the window held back', () => {
  const c = paced();
  c.write(200 * MSS);
  c.peer.take();
  // 2 ms late: 400 bytes a ms are due by then, besides the quantum.
  c.now += Math.ceil(c.engine.nextDeadline()) + 2;
  c.run();
  expect(c.peer.take().length).toBe(3);
  c.pass(200);
  expect(c.peer.take().length).toBe(16);
  // The window was full for long; its opening lets only a quantum go.
  c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
  expect(c.peer.take().length).toBe(2);
});

test('after weeks of idleness it sends at once', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0x7fff_ffff }), (idle) => {
      const c = paced();
      c.now += idle;
      c.write(2 * MSS);
      expect(c.peer.take().length).toBe(2);
    }),
    { numRuns: 20 },
  );
});

test('neither ACKs nor the peer’s end wait for it', () => {
  const c = paced();
  c.write(200 * MSS);
  c.peer.take();
  c.peer.inject({ length: 100, ack: c.peer.rcvNxt });
  expect(c.peer.take()).toMatchObject([{ length: 0, ack: 101 }]);
});

test('a connection that ends while it waits leaves nothing in the wheel', () => {
  for (const end of ['abort', 'reset', 'timeout'] as const) {
    const c = paced();
    c.write(200 * MSS);
    expect(c.engine.tcp.pacer.armed).toBe(1);
    if (end === 'abort') c.engine.abort(c.conn);
    else if (end === 'reset') c.peer.inject({ flags: 'R', seq: c.peer.sndNxt });
    else c.pass(300_000);
    c.run();
    expect(c.engine.tcp.pacer.armed).toBe(0);
    c.engine.unlisten(c.listener);
    c.pass(100);
    auditEngine(c.engine);
  }
});

test('without it a window leaves at once, and the pacer has nothing to do', () => {
  const c = new TcpContext({ slots: 1024 });
  c.establish(MODERN, { window: 65_535 });
  c.write(100_000);
  expect(c.peer.take().length).toBe(10);
  expect(c.engine.tcp.pacer.armed).toBe(0);
  expect(c.info.pacingRate).toBe(0);
});

describe('over a bottleneck', () => {
  const big = { sendBuffer: 8 << 20, receiveBuffer: 8 << 20, chunks: 16_384 };

  test.each(['reno', 'cubic'])('%s fills it', (congestion) => {
    const wire = new Wire({ mbps: 100, rtt_ms: 40, queue: 2, limits: big });
    wire.send({ congestion, pacing: true });
    wire.run(1200);
    expect(wire.share(3000)).toBeGreaterThan(0.93);
  });

  test.each(['reno', 'cubic'])('%s doesn’t spend its window at once after a pause', (congestion) => {
    const [smooth, rough] = [true, false].map((pacing) => {
      const wire = new Wire({ mbps: 100, rtt_ms: 40, queue: 2, limits: big });
      wire.send({ congestion, pacing }, 1_000_000);
      while (wire.received < 1_000_000) wire.step();
      // Shorter than a retransmission timeout, so that the window stays what it is.
      wire.run(60);
      const { bytesSent, cwnd } = wire.info;
      expect(cwnd).toBeGreaterThan(300_000);
      wire.a.write(wire.conn, new Uint8Array(300_000));
      wire.run(1);
      return wire.info.bytesSent - bytesSent;
    });
    expect(rough).toBeGreaterThan(290_000);
    expect(smooth).toBeLessThan(rough / 3);
  });
});
