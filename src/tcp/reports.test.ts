/** What the program hears while nothing gets through (RFC 9293 3.8.3, 3.9.1's ERROR-REPORT). */
import { expect, test } from 'vitest';
import { softErrorSet } from './icmp-errors.ts';
import { CLOSED_TIMEOUT, CLOSED_UNREACHABLE } from './reasons.ts';
import { MODERN, TcpContext } from './testing.ts';

test('after three retransmissions in a row, once (R1), and again when it happens again', () => {
  const c = new TcpContext().establish(MODERN);
  c.write(10);
  c.pass(1000 + 2000);
  expect(c.reported.splice(0)).toEqual([]);
  c.pass(4000 + 1000);
  expect(c.reported.splice(0)).toEqual([CLOSED_TIMEOUT]);
  c.peer.inject({ ack: 11 });
  c.write(10);
  c.pass(100_000);
  expect(c.reported.splice(0)).toEqual([CLOSED_TIMEOUT]);
});

test('of an attempt to connect too, and ICMP’s reason if there is one', () => {
  const c = new TcpContext().connect();
  const t = c.engine.tcp.blocks.find(c.conn);
  softErrorSet(c.engine.tcp, t, CLOSED_UNREACHABLE);
  c.run();
  expect(c.reported.splice(0)).toEqual([CLOSED_UNREACHABLE]);
  expect(c.info.softError).toBe(CLOSED_UNREACHABLE);
  softErrorSet(c.engine.tcp, t, CLOSED_UNREACHABLE);
  c.pass(10_000);
  expect(c.reported.splice(0)).toEqual([CLOSED_UNREACHABLE]);
});

test('not once the program has let go', () => {
  const c = new TcpContext().establish(MODERN);
  c.write(10);
  c.engine.close(c.conn);
  c.pass(20_000);
  expect(c.reported.splice(0)).toEqual([]);
});
