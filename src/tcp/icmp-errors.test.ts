/** What ICMP may do to connections (RFC 9293 3.9.2.2, RFC 5461, RFC 5927), and what it teaches of paths. */
import { describe, expect, test } from 'vitest';
import { emitIcmp, ICMP_PARAMETER_PROBLEM, ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE } from '../wire/icmp.ts';
import {
  emitIcmpv6,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
} from '../wire/icmpv6.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP } from '../wire/protocols.ts';
import { emitTcp } from '../wire/tcp.ts';
import { CLOSED_CODES } from './reasons.ts';
import { stream, TcpContext } from './testing.ts';

const TOO_BIG = 4;
/** RFC 6633: deprecated. */
const SOURCE_QUENCH = 4;

/** An error of this type and code that quotes a segment of ours with this sequence number, relative. */
function about(c: TcpContext, type: number, code: number, seq: number, rest = 0, peer = c.peer): void {
  const v6 = c.version === 6;
  const [src, dst] = v6 ? ['fd00::1', 'fd00::2'] : ['10.0.0.1', '10.0.0.2'];
  const segment = emitTcp({ srcPort: 80, dstPort: peer.port, seq: (peer.irs + seq) | 0 }, { src, dst });
  const payload = v6
    ? emitIpv6Packet({ src, dst, nextHeader: PROTOCOL_TCP, payload: segment })
    : emitIpv4Packet({ src, dst, protocol: PROTOCOL_TCP, payload: segment });
  const ends = { src: dst, dst: src };
  c.packet(
    v6
      ? emitIpv6Packet({
          ...ends,
          nextHeader: PROTOCOL_ICMPV6,
          payload: emitIcmpv6({ kind: 'other', type, code, rest, payload }, ends),
        })
      : emitIpv4Packet({
          ...ends,
          protocol: PROTOCOL_ICMP,
          payload: emitIcmp({ kind: 'other', type, code, rest, payload }),
        }),
  );
  c.run();
}

const [U4, T4, P4] = [ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM];
const [U6, T6, P6] = [ICMPV6_UNREACHABLE, ICMPV6_TIME_EXCEEDED, ICMPV6_PARAMETER_PROBLEM];

describe('errors', () => {
  // Version, type, code, hard, code of the error.
  const TABLE = [
    [4, U4, 0, false, 'ENETUNREACH'],
    [4, U4, 1, false, 'EHOSTUNREACH'],
    [4, U4, 2, true, 'ECONNREFUSED'],
    [4, U4, 3, true, 'ECONNREFUSED'],
    [4, U4, 5, false, 'EHOSTUNREACH'],
    [4, U4, 6, false, 'ENETUNREACH'],
    [4, U4, 7, false, 'EHOSTUNREACH'],
    [4, U4, 8, false, 'EHOSTUNREACH'],
    [4, U4, 9, true, 'ECONNREFUSED'],
    [4, U4, 10, true, 'ECONNREFUSED'],
    [4, U4, 11, false, 'ENETUNREACH'],
    [4, U4, 12, false, 'EHOSTUNREACH'],
    [4, U4, 13, true, 'ECONNREFUSED'],
    [4, U4, 14, false, 'EHOSTUNREACH'],
    [4, U4, 15, false, 'EHOSTUNREACH'],
    [4, U4, 99, false, 'EHOSTUNREACH'],
    [4, T4, 0, false, 'EHOSTUNREACH'],
    [4, T4, 1, false, 'EHOSTUNREACH'],
    [4, P4, 0, false, 'EPROTO'],
    [6, U6, 0, false, 'ENETUNREACH'],
    [6, U6, 1, true, 'ECONNREFUSED'],
    [6, U6, 2, false, 'EHOSTUNREACH'],
    [6, U6, 3, false, 'EHOSTUNREACH'],
    [6, U6, 4, true, 'ECONNREFUSED'],
    [6, U6, 5, true, 'ECONNREFUSED'],
    [6, U6, 6, true, 'ECONNREFUSED'],
    [6, U6, 99, false, 'EHOSTUNREACH'],
    [6, T6, 0, false, 'EHOSTUNREACH'],
    [6, P6, 0, false, 'EPROTO'],
    [6, P6, 1, true, 'ECONNREFUSED'],
    [6, P6, 2, false, 'EPROTO'],
  ] as const;

  test.each(TABLE)('IPv%i type %i code %i: hard %s, %s', (version, type, code, hard, name) => {
    const c = new TcpContext({ version, limits: { synRetries: 2 } }).connect();
    c.peer.expect({ flags: 'S' });
    // Not of what is in flight.
    about(c, type, code, 1);
    about(c, type, code, -1);
    expect(c.state).toBe('SYN-SENT');
    expect(c.engine.tcp.counters.icmpIgnored).toBe(2);
    about(c, type, code, 0);
    expect(c.state).toBe(hard ? 'gone' : 'SYN-SENT');
    c.pass(60_000);
    const reason = CLOSED_CODES.indexOf(name);
    expect(c.events()).toEqual([`close ${reason}`]);

    // An established connection goes on, and when it times out it says why.
    const d = new TcpContext({ version }).establish();
    d.write(10);
    about(d, type, code, 1);
    expect(d.state).toBe('ESTABLISHED');
    d.pass(200_000);
    expect(d.events()).toEqual([`close ${reason}`]);
  });

  test('hard ones are as soft as the others when that is asked for (RFC 5927 5.2)', () => {
    const c = new TcpContext({ limits: { icmpHard: false } }).connect();
    c.peer.expect({ flags: 'S' });
    about(c, U4, 3, 0);
    expect(c.state).toBe('SYN-SENT');
  });

  test('one that the connection has survived is no reason any more when data got through', () => {
    const c = new TcpContext().establish();
    c.write(10);
    about(c, U4, 1, 1);
    c.peer.inject({ ack: 11 });
    c.write(10);
    c.pass(400_000);
    expect(c.events()).toEqual([`close ${CLOSED_CODES.indexOf('ETIMEDOUT')}`]);
  });

  test('source quench does nothing (RFC 6633)', () => {
    const c = new TcpContext().establish();
    c.write(10);
    const before = c.info;
    about(c, SOURCE_QUENCH, 0, 1);
    expect(c.info).toEqual(before);
  });
});

describe('Packet Too Big', () => {
  const tooBig = (c: TcpContext, seq: number, mtu: number) =>
    c.version === 6 ? about(c, 2, 0, seq, mtu) : about(c, U4, TOO_BIG, seq, mtu);

  function context(version: 4 | 6 = 4): TcpContext {
    const c = new TcpContext({ version }).establish({ mss: 1460, windowScale: 7 });
    c.peer.inject({ window: 60_000 });
    return c;
  }

  test('makes segments smaller, if it quotes what is in flight (RFC 1191, RFC 5927 7)', () => {
    const c = context();
    c.write(1460);
    c.peer.expect({ length: 1460 });
    tooBig(c, 1461, 1000);
    tooBig(c, 0, 1000);
    c.peer.expectNothing();
    expect(c.info.pathMtu).toBe(1500);
    tooBig(c, 1, 1000);
    expect(c.peer.take().map((s) => [s.seq, s.length])).toEqual([
      [1, 960],
      [961, 500],
    ]);
    // No congestion: the window stays (RFC 1191 6.5).
    expect(c.info).toMatchObject({ pathMtu: 1000, mss: 960, ssthresh: 0x3fffffff });
    tooBig(c, 1, 68);
    expect(c.info.pathMtu).toBe(1000);
    expect(c.engine.ip.counters.pathMtuRefused).toBe(1);
  });

  test('below IPv6’s minimum is refused (RFC 8201 4)', () => {
    const c = context(6);
    c.write(1440);
    tooBig(c, 1, 1279);
    expect(c.info.pathMtu).toBe(1500);
    tooBig(c, 1, 1280);
    expect(c.info).toMatchObject({ pathMtu: 1280, mss: 1220 });
  });

  test('without an MTU means the next plateau (RFC 1191 7)', () => {
    const c = context();
    c.write(1460);
    tooBig(c, 1, 0);
    expect(c.info.pathMtu).toBe(1492);
    tooBig(c, 1, 0);
    expect(c.info.pathMtu).toBe(1280);
  });

  /** So much was acknowledged that full segments were among it. */
  function grown(): TcpContext {
    const c = context();
    for (let i = 0; i < 60; i++) {
      c.write(1460);
      c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
    }
    c.peer.take();
    return c;
  }

  test('is not believed of a path that full segments have passed, until what it quotes is lost (RFC 5927 7.2)', () => {
    const c = grown();
    c.write(1460);
    const { seq } = c.peer.expect({ length: 1460 });
    tooBig(c, seq, 1000);
    c.peer.expectNothing();
    expect(c.info.pathMtu).toBe(1500);
    c.pass(1000);
    expect(c.info.pathMtu).toBe(1000);
    expect(c.peer.take()[0]).toMatchObject({ seq, length: 960 });
  });

  test('is forgotten when what it quotes arrives', () => {
    const c = grown();
    c.write(1460);
    const { seq } = c.peer.expect({ length: 1460 });
    tooBig(c, seq, 1000);
    c.peer.inject({ ack: seq + 1460, window: 60_000 });
    c.write(1460);
    c.peer.take();
    c.pass(400);
    expect(c.peer.take()[0]).toMatchObject({ length: 1460 });
    expect(c.info.pathMtu).toBe(1500);
  });

  test('tells every connection on the path, whichever heard it first', () => {
    const c = context();
    const other = c.addPeer(5001);
    other.inject({ flags: 'S', options: { mss: 1460 } });
    other.take();
    const first = c.conn;
    other.inject();
    for (const conn of [first, c.conn]) c.engine.write(conn, stream(1, 1460));
    c.run();
    tooBig(c, 1, 1400);
    expect(c.engine.info(first)?.pathMtu).toBe(1400);
    expect(c.info.pathMtu).toBe(1500);
    about(c, U4, TOO_BIG, 1, 1400, other);
    expect(c.info.pathMtu).toBe(1400);
  });

  test('for a probe of ours only ends the search above it', () => {
    const c = new TcpContext({ limits: { mtuProbing: 'always' } }).establish({
      mss: 1460,
      windowScale: 7,
      sackPermitted: true,
    });
    c.write(20_000);
    const probe = c.peer.expect({ length: 1460 });
    c.peer.take();
    tooBig(c, probe.seq, 1400);
    expect(c.info).toMatchObject({ pathMtu: 1200, mtuSearchHigh: 1400, recovery: 'none' });
  });
});
