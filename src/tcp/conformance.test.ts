/** Demands of RFC 9293 that no other test is about; docs/conformance.md names them. */
import { describe, expect, test } from 'vitest';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { PROTOCOL_TCP } from '../wire/protocols.ts';
import { emitTcp } from '../wire/tcp.ts';
import { CLOSED_RESET } from './reasons.ts';
import { MODERN, PORT, stream, TcpContext } from './testing.ts';

test('a shut window doesn’t keep RST and urgent pointers out (MUST-66)', () => {
  const c = new TcpContext({ limits: { receiveBuffer: 2048 } }).establish({});
  c.takes = () => 0;
  for (let i = 0; i < 4; i++) c.peer.inject({ length: 512 });
  expect(c.info.rcvWnd).toBe(0);
  c.events();
  c.peer.inject({ flags: 'U.', urgent: 100 });
  expect(c.events()).toEqual([`urgent ${2048 + 100}`]);
  c.peer.inject({ flags: 'R' });
  expect(c.events()).toEqual([`close ${CLOSED_RESET}`]);
});

test('PSH is on the last segment of what is queued (MUST-61), and two SENDs need no two of them (SHLD-27)', () => {
  const c = new TcpContext({ noDelay: true }).establish(MODERN);
  c.engine.write(c.conn, stream(1, 2000));
  c.engine.write(c.conn, stream(2001, 2000));
  c.run();
  expect(c.peer.take().map(({ flags, length }) => [flags, length])).toEqual([
    ['.', 1448],
    ['.', 1448],
    ['P.', 1104],
  ]);
  // So when they are sent again: the others didn't have it before either.
  c.pass(1000);
  expect(c.peer.take().map(({ flags, seq }) => [flags, seq])).toContainEqual(['.', 1]);
  c.peer.inject({ ack: 2897 });
  c.pass(2000);
  expect(c.peer.take().map(({ flags, length }) => [flags, length])).toContainEqual(['P.', 1104]);
});

test('a RST may carry data (SHLD-2)', () => {
  const c = new TcpContext().establish();
  c.peer.inject({ flags: 'R', length: 20 });
  expect(c.events()).toEqual([`close ${CLOSED_RESET}`]);
});

test('options may come in any segment, known or not (MUST-5, MUST-6)', () => {
  const c = new TcpContext().establish(MODERN);
  const segment = {
    srcPort: c.peer.port,
    dstPort: PORT,
    seq: (c.peer.iss + 1) | 0,
    ack: (c.peer.irs + 1) | 0,
    flags: 16,
    window: 1000,
    payload: Uint8Array.of(7),
  };
  // MSS and SACK-Permitted belong on a SYN and are nothing elsewhere; kind 253 is anybody's experiment.
  const timestamps = { value: c.now, echo: c.peer.tsRecent };
  const bytes = emitTcp(
    { ...segment, options: { mss: 100, sackPermitted: true, timestamps } },
    { src: '10.0.0.2', dst: '10.0.0.1' },
  );
  const { mss } = c.info;
  c.packet(emitIpv4Packet({ src: '10.0.0.2', dst: '10.0.0.1', protocol: PROTOCOL_TCP, payload: bytes }));
  c.run();
  expect(c.info).toMatchObject({ mss, bytesReceived: 1 });
});

describe.each([
  [4, 536],
  [6, 1220],
] as const)('over IPv%d', (version, byDefault) => {
  test('without an MSS option segments have 536 or 1220 bytes (MUST-15)', () => {
    const c = new TcpContext({ version }).establish({});
    expect(c.info.mss).toBe(byDefault);
    c.write(3000);
    c.peer.expect({ length: byDefault });
  });

  test('the effective MSS leaves room for the options (MUST-16)', () => {
    const c = new TcpContext({ version }).establish({ ...MODERN, mss: 1000 });
    c.write(3000);
    c.peer.expect({ length: 1000 - 12 });
    const narrow = new TcpContext({ version, mtu: 1300 }).establish(MODERN);
    narrow.write(3000);
    narrow.peer.expect({ length: 1300 - (version === 4 ? 40 : 60) - 12 });
  });

  test('the MSS option is on SYNs alone (MUST-65)', () => {
    const c = new TcpContext({ version }).listen();
    c.peer.inject({ flags: 'S', options: MODERN });
    expect(c.peer.expect({ flags: 'S.' }).options.mss).toBe(1500 - (version === 4 ? 40 : 60));
    c.peer.inject();
    c.write(5000);
    c.peer.inject({ length: 10, seq: 100 });
    c.engine.close(c.conn);
    c.run();
    const sent = c.peer.take();
    expect(sent.length).toBeGreaterThan(3);
    for (const { options } of sent) expect(options.mss).toBeUndefined();
  });
});

test('a SYN to a group or broadcast address gets no answer (MUST-57)', () => {
  const c = new TcpContext().listen();
  const syn = { srcPort: c.peer.port, dstPort: PORT, seq: 1, ack: 0, flags: 2, window: 1000, options: {} };
  const payload = new Uint8Array();
  const before = c.engine.tcp.counters.segmentsOut;
  for (const dst of ['10.0.0.255', '255.255.255.255', '224.0.0.1']) {
    const src = '10.0.0.2';
    const bytes = emitTcp({ ...syn, payload }, { src, dst });
    c.packet(emitIpv4Packet({ src, dst, protocol: PROTOCOL_TCP, payload: bytes }));
  }
  const [src, dst] = ['fd00::2', 'ff02::1'];
  const bytes = emitTcp({ ...syn, payload }, { src, dst });
  c.packet(emitIpv6Packet({ src, dst, nextHeader: PROTOCOL_TCP, payload: bytes }));
  c.run();
  c.peer.expectNothing();
  expect(c.engine.tcp.counters.segmentsOut).toBe(before);
  expect(c.engine.ip.interfaces[0].counters.castTcp).toBe(4);
});

test.each(['127.0.0.1', '0.0.0.0', '10.0.0.255', '224.0.0.1', '255.255.255.255'])(
  'a SYN from %s, which is no host’s, gets no answer (MUST-63)',
  (src) => {
    const c = new TcpContext().listen();
    const dst = '10.0.0.1';
    const syn = { srcPort: 9, dstPort: PORT, seq: 1, ack: 0, flags: 2, window: 1000, options: {} };
    const payload = emitTcp({ ...syn, payload: new Uint8Array() }, { src, dst });
    c.packet(emitIpv4Packet({ src, dst, protocol: PROTOCOL_TCP, payload }));
    c.run();
    expect(c.engine.tcp.counters.segmentsOut).toBe(0);
    expect(c.engine.ip.interfaces[0].counters.badSource).toBe(1);
  },
);

test('an OPEN to what is no host is refused (MUST-46)', () => {
  const c = new TcpContext();
  for (const address of ['10.0.0.255', '255.255.255.255', '224.0.0.1', '0.0.0.0', 'ff02::1', '::'])
    expect(() => c.engine.connect({ address, port: 9 }, {})).toThrow(/EHOSTUNREACH/);
});
