/** Windows and when to send: RFC 9293 3.7.4, 3.8.6; RFC 1122 4.2.3. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MODERN, type Sent, TcpContext } from './testing.ts';

const MSS = 1000;
/** ACKs that go at once when a connection is new. */
const QUICK = 8;
const lengths = (sent: Sent[]) => sent.map((s) => s.length);

/** Past the quick ACKs of the start. */
function settled(c: TcpContext): TcpContext {
  for (let i = 0; i < QUICK; i++) c.peer.inject({ length: 10 });
  c.peer.take();
  c.events();
  return c;
}

describe('the peer’s window', () => {
  test('limits what is sent; its growth lets more out', () => {
    const c = new TcpContext().establish({ mss: MSS }, { window: 2500 });
    c.write(10_000);
    expect(lengths(c.peer.take())).toEqual([1000, 1000]);
    c.peer.inject({ ack: 1, window: 4000 });
    expect(lengths(c.peer.take())).toEqual([1000, 1000]);
    c.peer.inject({ window: 4000 });
    expect(lengths(c.peer.take())).toEqual([1000, 1000, 1000, 1000]);
  });

  test('is set only by newer segments (RFC 9293 3.10.7.4)', () => {
    const c = new TcpContext().establish({ mss: MSS });
    c.write(2000);
    c.peer.inject({ ack: 1001, length: 10, window: 5000 });
    c.peer.inject({ seq: 1, ack: 1, window: 100, length: 0 });
    expect(c.info.sndWnd).toBe(5000);
    c.peer.inject({ ack: 1001, window: 4000 });
    expect(c.info.sndWnd).toBe(4000);
  });

  test('may shrink under what is in flight', () => {
    const c = new TcpContext().establish({ mss: MSS });
    c.write(5000);
    c.peer.take();
    c.peer.inject({ ack: 1001, window: 500 });
    c.write(1000);
    c.peer.expectNothing();
    c.peer.inject({ ack: 5001, window: 5000 });
    expect(lengths(c.peer.take())).toEqual([1000]);
  });

  test('shut: one byte asks, ever more rarely, and for as long as the peer answers (RFC 9293 3.8.6.1)', () => {
    const c = new TcpContext({ limits: { userTimeout_ms: 100_000 } }).establish(
      { mss: MSS },
      { window: 1000 },
    );
    c.write(3000);
    c.peer.expect({ length: 1000 });
    c.pass(50);
    c.peer.inject({ ack: 1001, window: 0 });
    const began = c.now - 10_000;
    const at: number[] = [];
    for (let i = 0; i < 200; i++) {
      c.pass(1000);
      for (const probe of c.peer.take()) {
        expect(probe).toMatchObject({ seq: 1001, length: 1 });
        at.push(probe.at - began);
        c.peer.inject({ seq: 1, ack: 1001, window: 0 });
      }
    }
    // RTO 50 + 4 x 25 is below the minimum of 200.
    expect(at.slice(0, 8)).toEqual([200, 600, 1400, 3000, 6200, 12_600, 25_400, 51_000]);
    expect(c.state).toBe('ESTABLISHED');
    c.peer.inject({ ack: 1001, window: 5000 });
    expect(c.peer.take().map((s) => [s.seq, s.length])).toEqual([
      [1001, 1],
      [1002, 1000],
    ]);
    c.peer.inject();
    c.peer.expect({ seq: 2002, length: 999 });
    c.peer.inject();
    expect(c.info).toMatchObject({ inFlight: 0, sendQueue: 0, backoff: 0 });
  });

  test('shut, and the peer silent: ends with the user timeout', () => {
    const c = new TcpContext({ limits: { userTimeout_ms: 20_000 } }).establish(
      { mss: MSS },
      { window: 1000 },
    );
    c.write(3000);
    c.peer.inject({ ack: 1001, window: 0 });
    c.pass(100_000);
    expect(c.events()).toEqual(['close 3']);
    expect(c.engine.tcp.chunks.inUse).toBe(0);
  });

  test('opens while the probe’s byte is taken: nothing is lost or doubled', () => {
    const c = new TcpContext().establish({ mss: MSS }, { window: 1000 });
    c.write(3000);
    c.peer.take();
    c.peer.inject({ ack: 1001, window: 0 });
    c.pass(1000);
    c.peer.take();
    c.peer.inject({ ack: 1002, window: 3000 });
    c.peer.expect({ seq: 1002, length: 1000 });
    c.peer.inject();
    c.peer.expect({ seq: 2002, length: 999 });
    c.peer.inject();
    expect(c.info.sendQueue).toBe(0);
  });

  test('a window update that overtakes the probe’s ACK does no harm', () => {
    const c = new TcpContext().establish({ mss: MSS }, { window: 1000 });
    c.write(1500);
    c.peer.take();
    c.peer.inject({ ack: 1001, window: 0 });
    c.pass(1000);
    c.peer.take();
    c.peer.inject({ ack: 1001, window: 300 });
    const sent = c.peer.take();
    expect(sent[0].seq).toBe(1001);
    c.peer.inject({ ack: 1002, window: 3000 });
    c.peer.inject();
    expect(c.info).toMatchObject({ sendQueue: 0, inFlight: 0 });
    expect(c.engine.tcp.counters.badAck).toBe(0);
  });

  test('FIN goes out into a shut window', () => {
    const c = new TcpContext().establish({ mss: MSS }, { window: 1000 });
    c.write(1000);
    c.peer.inject({ ack: 1001, window: 0 });
    c.peer.take();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.', seq: 1001 });
  });

  test('but not behind the byte that probes it, before that is taken', () => {
    const c = new TcpContext().establish({ mss: MSS }, { window: 1000 });
    c.write(1001);
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject({ ack: 1001, window: 0 });
    c.peer.take();
    c.pass(250);
    c.peer.expect({ flags: 'P.', seq: 1001, length: 1 });
    c.peer.expectNothing();
    c.peer.inject({ ack: 1002, window: 0 });
    c.peer.expect({ flags: 'F.', seq: 1002 });
  });
});

describe('small segments', () => {
  test('Nagle: while something is out, less than a segment waits', () => {
    const c = new TcpContext().establish({ mss: MSS });
    c.write(10);
    c.peer.expect({ length: 10 });
    c.write(10);
    c.write(20);
    c.peer.expectNothing();
    c.write(1000);
    c.peer.expect({ seq: 11, length: MSS });
    c.peer.expectNothing();
    c.peer.inject({ ack: 1011 });
    c.peer.expect({ seq: 1011, length: 30 });
  });

  test('and does not with noDelay, from either way to set it', () => {
    const c = new TcpContext({ noDelay: true }).establish({ mss: MSS });
    for (let i = 0; i < 3; i++) c.write(10);
    expect(lengths(c.peer.take())).toEqual([10, 10, 10]);
    c.engine.setNoDelay(c.conn, false);
    c.write(10);
    c.peer.expectNothing();
    c.engine.setNoDelay(c.conn, true);
    c.write(10);
    expect(lengths(c.peer.take())).toEqual([20]);
  });

  test('the end is not held back', () => {
    const c = new TcpContext().establish({ mss: MSS });
    c.write(10);
    c.write(10);
    c.engine.shutdown(c.conn);
    c.run();
    expect(c.peer.take().map((s) => [s.length, s.flags])).toEqual([
      [10, 'P.'],
      [10, 'FP.'],
    ]);
  });

  test('less than half of the largest window is not worth it (RFC 9293 3.8.6.2.1)', () => {
    const c = new TcpContext({ noDelay: true }).establish({ mss: MSS }, { window: 1200 });
    c.write(5000);
    expect(lengths(c.peer.take())).toEqual([1000]);
    c.peer.inject({ ack: 1001, window: 500 });
    c.peer.expectNothing();
    c.peer.inject({ ack: 1001, window: 700 });
    c.peer.expect({ length: 700 });
  });

  test('but the override timer sends it at last', () => {
    const c = new TcpContext().establish({ mss: MSS }, { window: 1200 });
    c.write(5000);
    c.peer.take();
    c.peer.inject({ ack: 1001, window: 500 });
    c.pass(200);
    c.peer.expect({ seq: 1001, length: 500 });
    c.peer.inject({ window: 500 });
    c.peer.expectNothing();
    c.pass(200);
    c.peer.expect({ seq: 1501, length: 500 });
  });
});

describe('delayed ACKs (RFC 9293 3.8.6.3, RFC 5681 4.2)', () => {
  test('the first of a connection go at once, later ones within 40 ms', () => {
    const c = new TcpContext().establish({ mss: 1460 });
    for (let i = 0; i < QUICK; i++) {
      c.peer.inject({ length: 10 });
      c.peer.expect({ ack: 11 + 10 * i });
    }
    c.peer.inject({ length: 10 });
    c.peer.expectNothing();
    c.pass(39);
    c.peer.expectNothing();
    c.pass(1);
    c.peer.expect({ flags: '.', ack: 91 });
    expect(c.engine.tcp.counters.delayedAcks).toBe(1);
  });

  test('every second full segment is acknowledged at once', () => {
    const c = settled(new TcpContext().establish({ mss: MSS }));
    c.peer.inject({ length: MSS });
    c.peer.expectNothing();
    c.peer.inject({ length: MSS });
    c.peer.expect({ ack: 81 + 2 * MSS });
    c.peer.inject({ length: MSS });
    c.peer.expectNothing();
  });

  test('data that goes out carries it', () => {
    const c = settled(new TcpContext().establish({ mss: MSS }));
    c.peer.inject({ length: 10 });
    c.write(5);
    c.peer.expect({ length: 5, ack: 91 });
    c.pass(39);
    c.peer.expectNothing();
    expect(c.engine.tcp.counters.delayedAcks).toBe(0);
  });

  test('after a second’s silence the first go at once again', () => {
    const c = settled(new TcpContext().establish({ mss: MSS }));
    c.pass(900);
    c.peer.inject({ length: 10 });
    c.peer.expectNothing();
    c.pass(1100);
    c.peer.take();
    for (let i = 0; i < QUICK; i++) {
      c.peer.inject({ length: 10 });
      c.peer.expect({ ack: 101 + 10 * i });
    }
    c.peer.inject({ length: 10 });
    c.peer.expectNothing();
  });

  test('two segments of a peer whose own are shorter than ours count as full', () => {
    const c = settled(new TcpContext().establish({ mss: MSS }));
    c.peer.inject({ length: 900 });
    c.peer.expectNothing();
    c.peer.inject({ length: 900 });
    c.peer.expect({ ack: 81 + 1800 });
  });

  test('a peer whose window has no room for another segment need not wait', () => {
    const c = new TcpContext({ limits: { receiveBuffer: 1500 } }).establish({ mss: MSS });
    for (let i = 0; i < 50; i++) {
      c.peer.inject({ length: MSS });
      c.peer.expect({ ack: 1 + MSS * (i + 1), window: 1500 });
    }
    expect(c.engine.tcp.counters.delayedAcks).toBe(0);
  });

  test('a batch gets one ACK, whatever it was made of', () => {
    const c = settled(new TcpContext().establish({ mss: MSS }));
    for (let i = 0; i < 20; i++) c.peer.send({ length: MSS });
    c.run();
    expect(c.peer.take().map((s) => s.ack)).toEqual([81 + 20 * MSS]);
  });
});

describe('our window', () => {
  test('shrinks with what the program leaves, and is told again when there is room worth a segment', () => {
    const c = new TcpContext({ limits: { receiveBuffer: 10_000 } }).establish({ mss: MSS });
    c.takes = () => 0;
    for (let i = 0; i < 10; i++) c.peer.inject({ length: MSS });
    expect(c.peer.take().at(-1)).toMatchObject({ ack: 10_001, window: 0 });
    expect(c.info.receiveQueue).toBe(10_000);
    // A probe is refused, and answered.
    c.peer.inject({ seq: 10_001, length: 1 });
    c.peer.expect({ ack: 10_001, window: 0 });
    // Crumbs are not told (RFC 9293 3.8.6.2.2).
    let left = 500;
    c.takes = (length) => {
      const n = Math.min(length, left);
      left -= n;
      return n;
    };
    c.engine.resume(c.conn);
    c.run();
    c.peer.expectNothing();
    left = 5000;
    c.engine.resume(c.conn);
    c.run();
    c.peer.expect({ ack: 10_001, window: 5500 });
    c.peer.expectNothing();
  });

  test('data beyond it is cut off, what is inside is taken, and the ACK in it counts', () => {
    const c = new TcpContext({ limits: { receiveBuffer: 1500 }, mtu: 9000 }).establish({ mss: MSS });
    c.write(10);
    c.peer.take();
    c.takes = () => 0;
    c.peer.inject({ seq: 1, length: 2000, ack: 11, flags: 'F.' });
    expect(c.info).toMatchObject({ receiveQueue: 1500, sendQueue: 0, state: 'ESTABLISHED' });
    c.peer.expect({ ack: 1501, window: 0 });
    c.peer.inject({ seq: 1501, ack: 11, length: 0 });
    c.peer.expectNothing();
  });

  test('its right edge never moves left, what is inside is always taken, and no more is kept than the buffer holds', () => {
    const step = fc.record({
      length: fc.oneof(fc.integer({ min: 0, max: 1500 }), fc.integer({ min: 1, max: 9 })),
      takes: fc.integer({ min: 0, max: 2000 }),
      resume: fc.boolean(),
    });
    const buffer = fc.constantFrom(1000, 3000, 10_000, 70_000, 300_000, 0);
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 100 }),
        buffer,
        fc.boolean(),
        fc.integer({ min: 1, max: 30 }),
        (steps, receiveBuffer, modern, times) => {
          const c = new TcpContext({ limits: { receiveBuffer }, mtu: 9000 }).establish(
            modern ? MODERN : { mss: 1460 },
          );
          const scale = c.info.rcvWindowScale;
          const unit = 1 << scale;
          let edge = 1 + Math.min(receiveBuffer || 65_535, 65_535);
          let next = 1;
          let left = 0;
          c.takes = (length) => {
            const n = Math.min(length, left);
            left -= n;
            return n;
          };
          for (const { length, takes, resume } of steps) {
            left = takes;
            if (resume) {
              c.engine.resume(c.conn);
              c.run();
            }
            for (let i = 0; i < times; i++) {
              const n = Math.min(length, edge - next);
              c.peer.inject({ length: n });
              next += n;
            }
            c.pass(50);
            const { receiveQueue } = c.info;
            for (const s of c.peer.take()) {
              const told = s.ack + (s.window << scale);
              // A part of a unit of the scale may seem to be taken back (RFC 7323 2.4).
              expect(told).toBeGreaterThan(edge - unit);
              edge = Math.max(edge, told);
            }
            const { receiveBuffer: size } = c.info;
            expect(receiveQueue).toBeLessThan(size + 2 * unit);
            expect(edge - next).toBeLessThan(size + 2 * unit - receiveQueue);
            expect(c.info.rcvNxt).toBe((c.peer.iss + next) >>> 0);
          }
          left = 1e9;
          for (let i = 0; i < 2; i++) {
            c.engine.resume(c.conn);
            c.run();
          }
          expect(c.received).toBe(next - 1);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('a peer that sends less than a unit of the scale at a time can’t push it past the buffer', () => {
    const c = new TcpContext().establish({ ...MODERN, windowScale: 0 });
    c.takes = () => 0;
    for (let i = 0; i < 200; i++) {
      for (let k = 0; k < 20; k++) c.peer.send({ length: 20 });
      c.run();
    }
    for (let i = 0; i < 3000; i++) {
      const window = c.peer.take().at(-1)?.window ?? 0;
      if (i > 0 && window === 0) break;
      c.peer.inject({ length: 20 });
    }
    expect(c.info.receiveQueue).toBeGreaterThanOrEqual(65_536 - 512);
    expect(c.info.receiveQueue).toBeLessThan(65_536 + 1024);
  });
});
