/** TIME-WAIT: RFC 9293 3.6.1 and 3.10.7.4, RFC 1337, RFC 6191. */
import { describe, expect, test } from 'vitest';

import { CHALLENGE_INTERVAL, type TcpLimits } from './tcp.ts';
import { MODERN, TcpContext } from './testing.ts';

const TIME_WAIT_MS = 60_000;

/** We ended first, the peer's FIN is through; the peer's next number is 2, ours too. */
function inTimeWait(options = {}, limits: Partial<TcpLimits> = {}): TcpContext {
  const c = new TcpContext({ limits }).establish(options);
  c.engine.shutdown(c.conn);
  c.run();
  c.peer.inject({ flags: 'F.' });
  c.peer.take();
  expect(c.events()).toEqual(['end', 'close 0']);
  expect(c.engine.tcp.minis.inUse).toBe(2);
  return c;
}

describe('TIME-WAIT', () => {
  test('acknowledges the peer’s FIN again, and starts again with it', () => {
    const c = inTimeWait();
    c.pass(50_000);
    c.peer.inject({ flags: 'F.', seq: 1 });
    c.peer.expect({ flags: '.', seq: 2, ack: 2 });
    c.pass(TIME_WAIT_MS - 1);
    expect(c.engine.tcp.minis.inUse).toBe(2);
    c.pass(1);
    expect(c.engine.tcp.minis.inUse).toBe(1);
    expect(c.engine.tcp.table.count).toBe(0);
  });

  test('is not ended by RST (RFC 1337), nor by old data or ACKs', () => {
    const c = inTimeWait();
    c.peer.inject({ flags: 'R', seq: 2 });
    c.peer.inject({ flags: 'R.', seq: 2 });
    c.peer.inject({ seq: 2, ack: 2 });
    c.peer.expectNothing();
    c.peer.inject({ seq: 1, length: 5 });
    c.peer.expect({ flags: '.', seq: 2, ack: 2 });
    expect(c.engine.tcp.minis.inUse).toBe(2);
  });

  test('gives way to a SYN with a later timestamp (RFC 6191), and the new connection starts above the old', () => {
    const c = inTimeWait(MODERN);
    c.pass(10);
    const before = (c.peer.irs + c.peer.rcvNxt) | 0;
    // Numbers below the old connection's: the timestamp alone tells.
    c.peer.iss = (c.peer.iss - 100_000) | 0;
    c.peer.sndNxt = 0;
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.expect({ flags: 'S.', ack: 1 });
    // RFC 9293 3.6.1: larger than the largest number of the previous incarnation.
    expect((c.peer.irs - before) | 0).toBeGreaterThan(0);
    c.peer.inject();
    expect(c.events()).toEqual(['open']);
  });

  test('even when more was sent than the clock of the numbers moved on', () => {
    const c = new TcpContext({ limits: { sendBuffer: 1 << 20 } }).establish(MODERN);
    for (let i = 0; i < 100; i++) {
      c.write(10_000);
      c.peer.inject();
    }
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject({ flags: 'F.' });
    const before = (c.peer.irs + c.peer.rcvNxt) | 0;
    c.pass(10);
    c.peer.sndNxt = 0;
    c.peer.inject({ flags: 'S', options: MODERN });
    expect((c.peer.irs - before) | 0).toBeGreaterThan(0);
  });

  test('does not give way to a SYN with an older timestamp, which gets an ACK', () => {
    const c = inTimeWait(MODERN);
    c.peer.sndNxt = 0;
    c.peer.inject({ flags: 'S', seq: 100_000, options: MODERN, ts: c.now - 50 });
    c.peer.expect({ flags: '.', ack: 2 });
    expect(c.engine.tcp.minis.inUse).toBe(2);
  });

  test('without timestamps, gives way to a SYN above the old numbers, and to no other', () => {
    const c = inTimeWait();
    for (const seq of [1, 2]) {
      c.pass(CHALLENGE_INTERVAL);
      c.peer.inject({ flags: 'S', seq });
      c.peer.expect({ flags: '.', ack: 2 });
    }
    c.peer.inject({ flags: 'S', seq: 50 });
    c.peer.expect({ flags: 'S.' });
  });

  test("answers the peer's FIN each time, and what else makes no sense now and then", () => {
    const c = inTimeWait();
    for (let i = 0; i < 5; i++) {
      c.peer.inject({ flags: 'F.', seq: 1 });
      c.peer.expect({ flags: '.', ack: 2 });
    }
    for (let i = 0; i < 5; i++) c.peer.inject({ flags: '.', seq: 100 });
    c.peer.expectNothing();
    c.pass(CHALLENGE_INTERVAL);
    for (let i = 0; i < 5; i++) c.peer.inject({ flags: '.', seq: 100 });
    c.peer.expect({ flags: '.', ack: 2 });
    c.peer.expectNothing();
  });

  test('gives way to the first SYN with timestamps after a connection without (RFC 6191 2)', () => {
    const c = inTimeWait();
    c.peer.inject({ flags: 'S', seq: -5000, options: MODERN });
    c.peer.expect({ flags: 'S.' });
  });

  test('is not ended by SYN-ACK or SYN with FIN, which get an ACK or nothing', () => {
    for (const flags of ['S.', 'SF']) {
      const c = inTimeWait(MODERN);
      c.pass(CHALLENGE_INTERVAL);
      c.peer.inject({ flags, seq: 50, options: MODERN });
      c.peer.expect({ flags: '.', seq: 2, ack: 2 });
      expect(c.engine.tcp.minis.inUse).toBe(2);
    }
  });

  test('to a SYN where nobody listens any more: RST', () => {
    const c = inTimeWait();
    c.engine.unlisten(c.listener);
    c.peer.inject({ flags: 'S', seq: 50 });
    c.peer.expect({ flags: 'R.' });
    expect(c.engine.tcp.minis.inUse).toBe(1);
  });

  test('takes a mini block for all of its time, the oldest leaving when there is none', () => {
    const c = new TcpContext({ limits: { miniBlocks: 2 } }).listen();
    for (let i = 0; i < 5; i++) {
      const peer = c.addPeer(6000 + i);
      peer.inject({ flags: 'S' });
      peer.inject();
      c.engine.shutdown(c.conn);
      c.run();
      peer.inject({ flags: 'F.' });
    }
    expect(c.engine.tcp.counters.timeWaitEvicted).toBe(3);
    expect(c.engine.tcp.minis.inUse).toBe(3);
    c.pass(TIME_WAIT_MS);
    expect(c.engine.tcp.minis.inUse).toBe(1);
    expect(c.engine.tcp.table.count).toBe(0);
  });
});

describe('a port in TIME-WAIT and connect()', () => {
  /** connect() to the peer, which accepts; then we end first. */
  function connectAndEnd(c: TcpContext, options = MODERN): void {
    c.peer.rcvNxt = 0;
    c.peer.sndNxt = 0;
    c.connect();
    c.peer.inject({ flags: 'S.', options });
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject({ flags: 'F.' });
    c.peer.take();
    expect(c.events()).toEqual(['open', 'end', 'close 0']);
  }

  test('is free again after a second when timestamps were agreed, and numbers go on above the old ones', () => {
    const c = new TcpContext();
    connectAndEnd(c);
    const before = (c.peer.irs + c.peer.rcvNxt) | 0;
    c.pass(999);
    expect(() => c.open()).toThrow('EADDRINUSE');
    c.pass(1);
    c.peer.rcvNxt = 0;
    c.connect();
    c.peer.expect({ flags: 'S' });
    expect((c.peer.irs - before) | 0).toBeGreaterThan(0);
    expect(c.engine.tcp.counters.timeWaitRecycled).toBe(1);
    expect(c.engine.tcp.minis.inUse).toBe(1);
  });

  test('is taken for all of TIME-WAIT without', () => {
    const c = new TcpContext();
    connectAndEnd(c, {});
    c.pass(TIME_WAIT_MS - 1);
    expect(() => c.open()).toThrow('EADDRINUSE');
    c.pass(1);
    c.open();
  });

  test('stays where it is when there is no control block', () => {
    const c = new TcpContext({ limits: { connections: 1 } });
    connectAndEnd(c);
    c.pass(1000);
    c.open({ localPort: 81 });
    expect(() => c.open()).toThrow('ENOBUFS');
    expect(c.engine.tcp.minis.inUse).toBe(2);
  });
});
