/** What the program wants in its IP headers: Diffserv and TTL (RFC 9293 3.9.2). */
import { describe, expect, test } from 'vitest';
import { MODERN, TcpContext } from './testing.ts';

const EF = 46;

describe.each([4, 6] as const)('over IPv%d', (version) => {
  test('without being told: codepoint 0, and the stack’s TTL', () => {
    const c = new TcpContext({ version }).establish(MODERN);
    c.write(10);
    c.peer.expect({ diffserv: 0, ttl: 64, length: 10 });
    expect(c.info).toMatchObject({ diffserv: 0, ttl: 64, diffservReceived: null });
    const other = new TcpContext({ version, limits: { ttl: 9 } }).establish();
    other.write(10);
    other.peer.expect({ ttl: 9 });
    expect(other.info.ttl).toBe(9);
  });

  test('every segment of a connection that asks for them has them, from SYN to the ACK of TIME-WAIT', () => {
    const c = new TcpContext({ version }).connect({ diffserv: EF, ttl: 7 });
    const fields = { diffserv: EF, ttl: 7, ecn: 0 };
    c.peer.expect({ flags: 'S', ...fields });
    c.peer.inject({ flags: 'S.', ack: 1, options: MODERN });
    c.peer.expect({ flags: '.', ...fields });
    c.write(10);
    c.peer.expect({ length: 10, ...fields });
    c.peer.inject({ ack: 11 });
    c.engine.close(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.', ...fields });
    c.peer.inject({ flags: 'F.', ack: 12 });
    c.peer.expect({ flags: '.', ...fields });
    c.pass(1000);
    c.peer.inject({ flags: 'F.', seq: 1, ack: 12 });
    c.peer.expect({ flags: '.', ...fields });
  });

  test.each([false, true])('and of a listener’s, SYN-ACKs and RSTs too (by cookie: %s)', (cookies) => {
    const c = new TcpContext({ version, limits: { synCookies: cookies ? 'always' : 'never' } });
    c.listen({ diffserv: EF, ttl: 7 });
    const fields = { diffserv: EF, ttl: 7 };
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.expect({ flags: 'S.', ...fields });
    c.peer.inject();
    expect(c.info).toMatchObject(fields);
    c.engine.abort(c.conn);
    c.run();
    c.peer.expect({ flags: 'R.', ...fields });
  });

  test('may change, one without the other, and leave ECN alone', () => {
    const c = new TcpContext({ version, limits: { ecn: 'passive' } }).listen();
    c.peer.inject({ flags: 'SEW', options: MODERN });
    c.peer.expect({ flags: 'SE.', diffserv: 0 });
    c.peer.inject();
    c.engine.setIpFields(c.conn, { diffserv: EF });
    c.write(10);
    c.peer.expect({ length: 10, diffserv: EF, ttl: 64, ecn: 2 });
    c.engine.setIpFields(c.conn, { ttl: 200 });
    c.write(10);
    c.pass(500);
    c.peer.inject({ ack: 11 });
    for (const sent of c.peer.take()) expect(sent).toMatchObject({ diffserv: EF, ttl: 200 });
    c.engine.setIpFields(c.conn, { diffserv: 0 });
    c.peer.inject({ ack: 21 });
    c.write(10);
    c.peer.expect({ length: 10, diffserv: 0, ttl: 200, ecn: 2 });
  });

  test('tells what the peer marks, once asked', () => {
    const c = new TcpContext({ version }).establish(MODERN);
    c.engine.setIpFields(c.conn, { diffserv: 0 });
    c.peer.inject({ length: 10, diffserv: 12, ecn: 2 });
    expect(c.info).toMatchObject({ diffserv: 0, diffservReceived: 12 });
    c.peer.inject({ length: 10, seq: 2_000_000, diffserv: 1 });
    expect(c.info.diffservReceived).toBe(12);
  });
});

test('other connections of the engine keep theirs', () => {
  const c = new TcpContext();
  c.engine.connect({ address: '10.0.0.9', port: 9, diffserv: EF }, {});
  c.establish(MODERN);
  c.write(10);
  c.peer.expect({ diffserv: 0, ttl: 64 });
});

test('what no field holds is refused', () => {
  const c = new TcpContext().establish();
  for (const diffserv of [-1, 64, 1.5])
    expect(() => c.engine.setIpFields(c.conn, { diffserv })).toThrow(/ERR_OUT_OF_RANGE/);
  for (const ttl of [0, 256, Number.NaN])
    expect(() => c.engine.connect({ address: '10.0.0.9', port: 9, ttl }, {})).toThrow(/ERR_OUT_OF_RANGE/);
});
