/** Keep-alive (RFC 9293 3.8.4) and the user timeout (3.8.3). */
import { describe, expect, test } from 'vitest';
import { TcpContext } from './testing.ts';

describe('keep-alive', () => {
  test('is off unless asked for', () => {
    const c = new TcpContext().establish();
    c.pass(10_000_000);
    c.peer.expectNothing();
    expect(c.state).toBe('ESTABLISHED');
  });

  test('asks after the idle time with the number before the next, and is content with an answer', () => {
    const c = new TcpContext().establish();
    c.engine.setKeepAlive(c.conn, 60_000);
    for (let i = 0; i < 20; i++) {
      c.pass(c.peer.take().length === 0 ? 59_000 : 0);
      c.pass(20_000);
      for (const probe of c.peer.take()) {
        expect(probe).toMatchObject({ flags: '.', seq: 0, ack: 1, length: 0 });
        c.peer.inject();
      }
    }
    expect(c.engine.tcp.counters.keepAliveProbes).toBeGreaterThan(10);
    expect(c.state).toBe('ESTABLISHED');
  });

  test('counts only questions in a row that went unanswered', () => {
    const c = new TcpContext().establish();
    c.engine.setKeepAlive(c.conn, 10_000);
    for (let i = 0; i < 200_000 && c.engine.tcp.counters.keepAliveProbes < 20; i++) {
      c.pass(500);
      if (c.peer.take().length > 0) c.peer.inject();
    }
    expect(c.engine.tcp.counters.keepAliveProbes).toBe(20);
    expect(c.state).toBe('ESTABLISHED');
  });

  test('gives up after nine questions, 75 s apart', () => {
    const c = new TcpContext().establish();
    c.engine.setKeepAlive(c.conn, 60_000);
    c.pass(60_000 + 9 * 75_000 - 1);
    expect(c.peer.take().map((s) => s.at)).toEqual(Array.from({ length: 9 }, (_, i) => 60_000 + i * 75_000));
    expect(c.events()).toEqual([]);
    c.pass(1);
    expect(c.events()).toEqual(['close 3']);
    expect(c.engine.tcp.wheel.armed).toBe(0);
  });

  test('has an interval and a count of the connection’s own, or the engine’s', () => {
    for (const [limits, interval, count, probes] of [
      [{}, 1000, 2, [60_000, 61_000]],
      [{ keepAliveInterval_ms: 3000, keepAliveProbes: 3 }, 0, 0, [60_000, 63_000, 66_000]],
      [{ keepAliveProbes: 1 }, 5000, 0, [60_000]],
    ] as const) {
      const c = new TcpContext({ limits }).establish();
      c.engine.setKeepAlive(c.conn, 60_000, 10, 20);
      c.engine.setKeepAlive(c.conn, 60_000, interval, count);
      c.pass(75_000);
      expect(c.peer.take().map((s) => s.at)).toEqual(probes);
      expect(c.events()).toEqual(['close 3']);
    }
  });

  test('can be asked for before the connection is open, and does nothing once it is over', () => {
    const c = new TcpContext().connect();
    c.engine.setKeepAlive(c.conn, 500);
    c.pass(2000);
    c.peer.inject({ flags: 'S.' });
    c.peer.take();
    c.pass(600);
    c.peer.expect({ flags: '.', seq: 0 });
    c.engine.abort(c.conn);
    c.engine.setKeepAlive(c.conn, 500);
    c.run();
    expect(c.engine.tcp.wheel.armed).toBe(0);
    expect(c.engine.tcp.blocks.inUse).toBe(0);
  });

  test('traffic puts it off, and it can be turned off', () => {
    const c = new TcpContext().establish();
    c.engine.setKeepAlive(c.conn, 60_000);
    for (let i = 0; i < 10; i++) {
      c.pass(50_000);
      c.peer.inject({ length: 1 });
    }
    expect(c.engine.tcp.counters.keepAliveProbes).toBe(0);
    c.engine.setKeepAlive(c.conn, 0);
    c.pass(1_000_000);
    expect(c.engine.tcp.counters.keepAliveProbes).toBe(0);
  });

  test('we answer the peer’s, with a byte of garbage or without', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ seq: 0, length: 0 });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    c.peer.inject({ seq: 0, length: 1 });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    expect(c.events()).toEqual([]);
  });
});

describe('the user timeout', () => {
  test('ends a connection whose data nobody acknowledges', () => {
    const c = new TcpContext({ limits: { userTimeout_ms: 10_000 } }).establish();
    c.write(10);
    c.pass(30_000);
    expect(c.events()).toEqual(['close 3']);
  });

  test('not one that makes slow progress', () => {
    const c = new TcpContext({ limits: { userTimeout_ms: 10_000 } }).establish(
      { mss: 1000 },
      { window: 1000 },
    );
    c.write(10_000);
    for (let i = 0; i < 10; i++) {
      c.pass(6000);
      c.peer.inject({ window: 1000 });
    }
    expect(c.events()).toEqual([]);
    expect(c.info.sendQueue).toBe(0);
  });
});
