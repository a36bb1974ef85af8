/** Delivery rate samples (draft-ietf-ccwg-bbr 4.1), as a module with `sampled` gets them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AckSample, type CongestionControl } from './congestion/control.ts';
import { reno } from './congestion/reno.ts';
import { rateStart, rateStop } from './rate.ts';
import { Flow, MSS } from './recovery.testing.ts';
import { CONGESTION_CONTROLS } from './tcp.ts';

/** What the module was told, and a module that does nothing else. */
const told: AckSample[] = [];
const recorder: CongestionControl = {
  ...reno,
  acked() {},
  lost: (tcp, t) => reno.lost(tcp, t, 20 * MSS),
  sampled(_tcp, _t, sample) {
    told.push(Object.assign(new AckSample(), sample));
  },
};

/** In Reno's place, which every test's connection has. */
const modules = CONGESTION_CONTROLS as CongestionControl[];
beforeEach(() => {
  told.length = 0;
  modules[0] = recorder;
});
afterEach(() => {
  modules[0] = reno;
});

function sampled(options: ConstructorParameters<typeof Flow>[0] = {}): Flow {
  const f = new Flow({ rtt_ms: 100, ...options });
  told.length = 0;
  return f;
}

const last = () => told[told.length - 1];

test('a flight’s rate is what arrived over the longer of sending and acknowledging', () => {
  const f = sampled();
  // Ten segments in 45 ms, acknowledged at 100 to 190 ms.
  for (let i = 0; i < 10; i++) {
    f.write(1);
    if (i < 9) f.pass(5);
  }
  f.pass(55);
  for (let i = 1; i <= 10; i++) {
    f.ack(i);
    if (i < 10) f.pass(10);
  }
  expect(told).toHaveLength(10);
  expect(told.map((s) => s.acked)).toEqual(Array(10).fill(MSS));
  // The last was sent at 45 ms with none delivered: ten segments since the first sending, at 190 ms.
  expect(last()).toMatchObject({
    delivered: 10 * MSS,
    interval_us: 190_000,
    priorDelivered: told[0].priorDelivered,
  });
  expect(last()).toMatchObject({ txInFlight: 10 * MSS, lostSince: 0, inFlight: 0, priorInFlight: MSS });
  expect(last().rtt_us).toBe(145_000);
  expect(f.info.deliveryRate).toBeCloseTo((10 * MSS) / 0.19, -2);
});

test('the next flight is measured from when the last of the one before arrived', () => {
  const f = sampled();
  f.write(10);
  f.pass(100);
  f.ack(5);
  f.write(5);
  f.pass(50);
  f.ack(10);
  f.pass(50);
  f.ack(15);
  expect(last()).toMatchObject({ delivered: 10 * MSS, interval_us: 100_000, txInFlight: 10 * MSS });
});

test('idle time does not count', () => {
  const f = sampled();
  f.write(5);
  f.pass(100);
  f.ack(5);
  f.pass(3000);
  f.write(5);
  f.pass(100);
  f.ack(10);
  expect(last()).toMatchObject({ delivered: 5 * MSS, interval_us: 100_000 });
});

test('what is SACKed counts once, when it is SACKed', () => {
  const f = sampled();
  f.write(10);
  f.pass(100);
  f.ack(0, [[1, 2]]);
  expect(last()).toMatchObject({ acked: 0, sacked: MSS, delivered: MSS });
  f.ack(0, [[1, 6]]);
  expect(last()).toMatchObject({ acked: 0, sacked: 4 * MSS, lost: MSS });
  f.ack(0, [[1, 10]]);
  f.pass(100);
  f.ack(6, [[7, 10]]);
  expect(last()).toMatchObject({ acked: MSS, sacked: 0 });
  f.ack(10);
  const total = told.reduce((sum, s) => sum + s.acked + s.sacked, 0);
  expect(total).toBe(10 * MSS);
  expect(told.reduce((sum, s) => sum + s.lost, 0)).toBe(MSS);
});

test('losses since the sampled segment was sent, and what was in flight then', () => {
  const f = sampled();
  f.write(20);
  f.pass(100);
  f.ack(0, [[1, 4]]);
  expect(last()).toMatchObject({ lost: MSS, lostSince: MSS, txInFlight: 10 * MSS });
  f.ack(0, [[1, 10]]);
  // The retransmission, sent after that loss.
  f.pass(100);
  f.ack(10);
  expect(last()).toMatchObject({ lostSince: 0 });
  // Before the output that this ACK allows.
  expect(last().inFlight).toBe(9 * MSS);
});

test('the program is the limit while it has nothing more to send, until all of that has arrived', () => {
  const f = sampled();
  f.write(3);
  expect(f.info.appLimited).toBe(true);
  f.pass(100);
  f.ack(3);
  // Sent before it was known.
  f.write(30);
  f.pass(100);
  f.ack(8);
  expect(last().appLimited).toBe(true);
  expect(f.info.appLimited).toBe(false);
  f.pass(100);
  f.ack(16);
  expect(last().appLimited).toBe(false);
});

test('a probe of a shut window is as slow as its timer, and no rate of the path', () => {
  const f = sampled();
  // There is always more to send; the window closes behind what has left.
  f.c.write(60 * MSS);
  const first = f.take().length;
  f.pass(100);
  f.ack(first);
  const at = (first + f.take().length) * MSS;
  f.pass(100);
  f.c.peer.inject({ ack: f.base + at, window: 0 });
  expect(last()).toMatchObject({ acked: at - first * MSS, appLimited: false });
  f.pass(10_000);
  expect(f.take().at(-1)).toMatchObject({ seq: f.base + at, length: 1 });
  f.c.peer.inject({ ack: f.base + at + 1, window: 0 });
  expect(last()).toMatchObject({ acked: 1, appLimited: true });
});

test('shorter than any RTT is no rate', () => {
  const f = sampled();
  f.write(10);
  f.pass(100);
  f.ack(5);
  f.write(1);
  f.pass(10);
  f.ack(10);
  expect(last().interval_us).toBe(110_000);
  f.pass(30);
  // It was sent 40 ms ago.
  f.ack(11);
  expect(last().rtt_us).toBe(40_000);
  expect(last().interval_us).toBeGreaterThanOrEqual(40_000);
});

test('congestion control may change at any time', () => {
  const f = sampled();
  const { tcp } = f.c.engine;
  f.write(3);
  rateStop(tcp, f.block);
  f.pass(100);
  f.ack(3);
  expect(told).toHaveLength(0);
  f.write(2);
  expect(f.word('RECORDS')).toBe(0);
  rateStart(tcp, f.block);
  f.pass(1);
  f.write(2);
  f.pass(100);
  // These were sent before anybody wanted to know.
  f.ack(5);
  expect(last()).toMatchObject({ acked: 2 * MSS, interval_us: 0 });
  f.ack(7);
  expect(last().interval_us).toBe(101_000);
  f.c.engine.abort(f.c.conn);
  f.c.run();
  expect(tcp.records.inUse).toBe(0);
});

test('after an hour of idleness nothing is lost for what arrived before it: times wrap', () => {
  const f = sampled();
  f.write(2);
  f.pass(100);
  f.ack(2);
  f.pass(40 * 60_000);
  f.write(4);
  f.pass(130);
  f.ack(2);
  expect(f.info.lost + f.info.retransmits).toBe(0);
});

describe('in recovery the module alone sets cwnd', () => {
  test('PRR leaves it', () => {
    const f = sampled();
    f.write(30);
    f.pass(100);
    f.ack(0, [[1, 4]]);
    const { cwnd } = f.info;
    f.ack(0, [[1, 8]]);
    f.ack(0, [[1, 10]]);
    expect(f.info.cwnd).toBe(cwnd);
    f.ack(20);
    expect(f.info).toMatchObject({ cwnd });
  });
});
