/** Two engines, 1 Gbit/s and 100 ms between them: pacing, windows and buffers together fill it, with any module. */
import { expect, test } from 'vitest';
import { Wire } from './wire.testing.ts';

const MTU = 9000;
/** Payload of what the wire carries. */
const GOODPUT = (MTU - 52) / MTU;
const limits = { sendBuffer: 64 << 20, receiveBuffer: 64 << 20, chunks: 65_536, records: 65_536 };

test.each([
  ['reno', false],
  ['cubic', false],
  ['cubic', true],
  ['bbr', false],
])('%s fills a clean 1 Gbit/s path of 100 ms (paced on request: %s)', (congestion, pacing) => {
  const wire = new Wire({ mbps: 1000, rtt_ms: 100, queue: 6, mtu: MTU, limits });
  wire.send({ congestion, pacing });
  // Ten round trips of slow start, and HyStart++'s five more.
  wire.run(3000);
  expect(wire.share(5000) / GOODPUT).toBeGreaterThan(0.95);
  expect(wire.drops).toBe(0);
});

test.each([1, 2, 3])('bbr gets most of it through a random loss of 1 in 100 (seed %i)', (seed) => {
  const wire = new Wire({ mbps: 1000, rtt_ms: 100, queue: 1, loss: 0.01, seed, limits });
  wire.send({ congestion: 'bbr' });
  wire.run(2000);
  expect(wire.share(6000) / ((1500 - 52) / 1500)).toBeGreaterThan(0.85);
  // Nothing is sent again but what was lost, and nobody has to wait for a timeout.
  expect(wire.a.tcp.counters).toMatchObject({ retransmissionTimeouts: 0, undos: 0, duplicatesReported: 0 });
  expect(wire.b.tcp.counters.duplicate).toBe(0);
});

test('bbr paces by what it measured: bursts are a quantum', () => {
  const wire = new Wire({ mbps: 200, rtt_ms: 50, queue: 2, limits });
  wire.send({ congestion: 'bbr' });
  wire.run(3000);
  wire.burst = 0;
  wire.run(1000);
  // Of 193 Mbit/s of payload, in whichever state it is.
  const { pacingRate } = wire.info;
  expect((pacingRate * 8) / 1e6).toBeGreaterThan(0.9 * 0.98 * 193);
  expect((pacingRate * 8) / 1e6).toBeLessThan(1.25 * 195);
  // At most 1.25 of it: a ms' worth, a segment over, and what a step of the wire's clock may be late.
  const most = (1.25 * 195e6) / 8 / 1000;
  expect(wire.burst).toBeLessThan(1.1 * most + 3 * 1500);
});
