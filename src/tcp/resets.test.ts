/** Resets, and what strangers may try: RFC 9293 3.10.7.4 with RFC 5961. */
import { describe, expect, test } from 'vitest';
import { MODERN, TcpContext } from './testing.ts';

const WINDOW = 65_535;

describe('RST (RFC 5961 3)', () => {
  test('with exactly the next number it ends the connection', () => {
    const c = new TcpContext().establish();
    c.write(10);
    c.peer.take();
    c.peer.inject({ flags: 'R', seq: 1 });
    expect(c.events()).toEqual(['close 1']);
    c.peer.expectNothing();
    expect(c.engine.tcp.counters).toMatchObject({ resetsIn: 1, resetsOut: 0 });
    expect(c.engine.tcp.chunks.inUse).toBe(0);
    // What was received before it is told first.
    const d = new TcpContext().establish();
    d.peer.send({ length: 10 });
    d.peer.send({ flags: 'R.' });
    d.run();
    expect(d.events()).toEqual(['data 10', 'close 1']);
  });

  test.each([2, 1000, WINDOW])('elsewhere in the window (%d) it is challenged', (seq) => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'R', seq });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    expect(c.state).toBe('ESTABLISHED');
  });

  test.each([0, -1000, WINDOW + 1, 2 ** 30])('outside of the window (%d) it is ignored', (seq) => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'R', seq });
    c.peer.expectNothing();
    expect(c.state).toBe('ESTABLISHED');
  });

  test('needs no timestamp (RFC 7323 5.2)', () => {
    const c = new TcpContext().establish(MODERN);
    c.peer.inject({ flags: 'R', ts: null });
    expect(c.events()).toEqual(['close 1']);
  });

  test('in every later state', () => {
    for (const last of ['FIN-WAIT-1', 'FIN-WAIT-2', 'CLOSING', 'CLOSE-WAIT', 'LAST-ACK']) {
      const c = new TcpContext().establish();
      if (last !== 'CLOSE-WAIT' && last !== 'LAST-ACK') c.engine.shutdown(c.conn);
      c.run();
      if (last === 'FIN-WAIT-2') c.peer.inject({ ack: 2 });
      if (last === 'CLOSING' || last === 'CLOSE-WAIT' || last === 'LAST-ACK')
        c.peer.inject({ flags: 'F.', ack: 1 });
      if (last === 'LAST-ACK') c.engine.shutdown(c.conn);
      c.run();
      expect(c.state).toBe(last);
      c.events();
      c.peer.inject({ flags: 'R' });
      expect(c.events()).toEqual(['close 1']);
      expect(c.engine.tcp.blocks.inUse).toBe(0);
      expect(c.engine.tcp.wheel.armed).toBe(0);
    }
  });
});

describe('SYN on a synchronized connection (RFC 5961 4)', () => {
  test.each([1, 0, 50_000, -5, 2 ** 30])('is challenged wherever it lies (%d)', (seq) => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'S', seq });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    c.pass(500);
    c.peer.inject({ flags: 'S.', seq });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    expect(c.state).toBe('ESTABLISHED');
    expect(c.events()).toEqual([]);
  });

  test('a peer that lost its connection answers the challenge with RST, and can start anew', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'S', seq: 900_000 });
    const challenge = c.peer.expect({ flags: '.' });
    c.peer.inject({ flags: 'R', seq: challenge.ack });
    expect(c.events()).toEqual(['close 1']);
    c.peer.iss = 77;
    c.peer.sndNxt = 0;
    c.peer.inject({ flags: 'S' });
    c.peer.expect({ flags: 'S.', ack: 1 });
  });
});

describe('ACKs (RFC 5961 5)', () => {
  test('of what was never sent are answered and dropped, with their data', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ seq: 1, ack: 2, length: 10 });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    expect(c.events()).toEqual([]);
  });

  test('older than any window are dropped, those a little old count as ACKs of nothing new', () => {
    const c = new TcpContext().establish({ mss: 1460 });
    c.write(1000);
    c.peer.take();
    c.peer.inject({ ack: 1001 });
    c.peer.inject({ seq: 1, ack: 500, length: 10 });
    expect(c.events()).toEqual(['data 10']);
    c.peer.take();
    c.peer.inject({ seq: 11, ack: 1001 - WINDOW - 1, length: 10 });
    c.peer.expect({ flags: '.', ack: 11 });
    expect(c.events()).toEqual([]);
  });

  test('a segment without ACK, SYN or RST is dropped', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'P', length: 10 });
    c.peer.inject({ flags: 'F', seq: 1 });
    c.peer.expectNothing();
    expect(c.events()).toEqual([]);
  });
});

test('a connection answers one unacceptable segment in 500 ms (RFC 5961 7)', () => {
  const c = new TcpContext().establish();
  for (let i = 0; i < 150; i++) {
    c.peer.inject({ flags: 'R', seq: 100 + i });
  }
  expect(c.peer.take().length).toBe(1);
  expect(c.engine.tcp.counters.challengeAcksLimited).toBe(149);
  c.pass(500);
  c.peer.inject({ flags: 'R', seq: 500 });
  c.peer.expect({ flags: '.' });
});

test('segments that no connection could send are dropped and counted', () => {
  const c = new TcpContext().listen();
  const { counters } = c.engine.tcp;
  const bad = c.peer.bytes({ flags: 'S' });
  bad[bad.length - 3] ^= 1;
  c.packet(bad);
  c.run();
  expect(counters.badChecksum).toBe(1);
  // A port of 0.
  c.packet(c.wrap({ srcPort: 0, dstPort: 80, flags: 2 }));
  c.packet(c.wrap({ srcPort: 5000, dstPort: 0, flags: 2 }));
  c.run();
  expect(counters.badHeader).toBe(2);
  // SYN with FIN, all flags, none.
  for (const flags of [3, 0x3f, 0]) {
    c.packet(c.wrap({ srcPort: 6000, dstPort: 80, flags }));
    c.run();
  }
  expect(c.engine.tcp.blocks.inUse).toBe(0);
});
