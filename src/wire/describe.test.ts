import { expect, test } from 'vitest';
import { emitArp } from './arp.ts';
import { decodeFrame } from './decode.ts';
import { describeFrame } from './describe.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, emitEthernet } from './ethernet.ts';
import { emitIcmp } from './icmp.ts';
import { emitIcmpv6, type Icmpv6Message } from './icmpv6.ts';
import { emitIpv4Packet } from './ipv4.ts';
import { emitIpv6Packet } from './ipv6.ts';
import { emitTcp, FLAG_ACK, FLAG_FIN, FLAG_PSH, FLAG_SYN, type TcpSegment } from './tcp.ts';
import { emitUdp } from './udp.ts';

const ENDS = { src: '10.0.0.1', dst: '10.0.0.2' };
const ENDS6 = { src: 'fe80::1', dst: 'fe80::2' };
const MACS = { src: '02:00:00:00:00:01', dst: '02:00:00:00:00:02' };

const tcp4 = (segment: Partial<TcpSegment>) =>
  emitIpv4Packet({
    ...ENDS,
    protocol: 6,
    payload: emitTcp({ srcPort: 80, dstPort: 4000, ...segment }, ENDS),
  });
const icmp6 = (message: Icmpv6Message) =>
  describeFrame(emitIpv6Packet({ ...ENDS6, nextHeader: 58, payload: emitIcmpv6(message, ENDS6) }), 'ip');

test('TCP', () => {
  const synAck = tcp4({
    seq: 1,
    ack: 2,
    flags: FLAG_SYN | FLAG_ACK,
    options: { mss: 1460, sackPermitted: true, timestamps: { value: 5, echo: 6 }, windowScale: 7 },
  });
  const text = '10.0.0.1:80 > 10.0.0.2:4000: S. seq 1:2 ack 2 win 65535 <mss 1460,sackOK,ts 5 6,ws 7>';
  expect(describeFrame(synAck, 'ip')).toBe(text);
  expect(describeFrame(emitEthernet({ ...MACS, type: ETHERTYPE_IPV4, payload: synAck }), 'ether')).toBe(text);

  const data = {
    seq: 0xffffffff,
    ack: 7,
    window: 10,
    flags: FLAG_FIN | FLAG_PSH | FLAG_ACK,
    payload: new Uint8Array(4),
  };
  expect(
    describeFrame(
      tcp4({
        ...data,
        options: {
          sack: [
            [9, 12],
            [20, 30],
          ],
        },
      }),
      'ip',
    ),
  ).toBe('10.0.0.1:80 > 10.0.0.2:4000: FP. seq 4294967295:4 ack 7 win 10 <sack 9:12 20:30>');
  const rare = {
    fastOpenCookie: Uint8Array.of(1, 2, 3, 0xff),
    accEcn: { kind: 172, counters: [1, 2, 3] },
    userTimeout: 0x8001,
  };
  expect(describeFrame(tcp4({ flags: 0, options: rare }), 'ip')).toBe(
    '10.0.0.1:80 > 10.0.0.2:4000: none seq 0:0 win 65535 <tfo 010203ff,accecn0 1 2 3,uto 60s>',
  );
});

test('UDP, over either family', () => {
  const datagram = { srcPort: 53, dstPort: 9, payload: new Uint8Array(12) };
  const over4 = emitIpv4Packet({ ...ENDS, protocol: 17, payload: emitUdp(datagram, ENDS) });
  const over6 = emitIpv6Packet({ ...ENDS6, nextHeader: 17, payload: emitUdp(datagram, ENDS6) });
  expect(describeFrame(over4, 'ip')).toBe('10.0.0.1:53 > 10.0.0.2:9: udp 12');
  expect(describeFrame(over6, 'ip')).toBe('[fe80::1]:53 > [fe80::2]:9: udp 12');

  // No checksum is fine over IPv4 and not over IPv6.
  over4.fill(0, 26, 28);
  over6.fill(0, 46, 48);
  expect(decodeFrame(over4, 'ip').checksumGood).toBe(true);
  expect(decodeFrame(over6, 'ip').checksumGood).toBe(false);
});

test('ICMP, with what it quotes', () => {
  const icmp4 = (message: Parameters<typeof emitIcmp>[0]) =>
    describeFrame(emitIpv4Packet({ ...ENDS, protocol: 1, payload: emitIcmp(message) }), 'ip');
  const quoted = tcp4({ payload: new Uint8Array(100) }).subarray(0, 28);
  expect(icmp4({ kind: 'echo request', id: 1, seq: 2, payload: new Uint8Array(56) })).toBe(
    '10.0.0.1 > 10.0.0.2: icmp echo request id 1 seq 2 length 56',
  );
  expect(icmp4({ kind: 'unreachable', code: 4, mtu: 1400, payload: quoted })).toBe(
    '10.0.0.1 > 10.0.0.2: icmp unreachable code 4 mtu 1400 for 10.0.0.1:80 > 10.0.0.2:4000 tcp',
  );
  expect(icmp4({ kind: 'time exceeded', code: 0, payload: quoted.subarray(0, 10) })).toBe(
    '10.0.0.1 > 10.0.0.2: icmp time exceeded code 0 for [malformed ipv4: truncated]',
  );
});

test('ICMPv6 and neighbour discovery', () => {
  const mac = '02:00:00:00:00:07';
  expect(icmp6({ kind: 'packet too big', mtu: 1280, payload: new Uint8Array(0) })).toBe(
    'fe80::1 > fe80::2: icmp6 packet too big mtu 1280 for [malformed ipv4: truncated]',
  );
  expect(icmp6({ kind: 'neighbor solicitation', target: 'fe80::2', options: { sourceMac: mac } })).toBe(
    `fe80::1 > fe80::2: icmp6 neighbor solicitation fe80::2 source ${mac}`,
  );
  expect(icmp6({ kind: 'redirect', target: 'fe80::3', destination: '2001:db8::1', options: {} })).toBe(
    'fe80::1 > fe80::2: icmp6 redirect 2001:db8::1 to fe80::3',
  );
});

test('ARP, fragments, strangers', () => {
  const arp = { senderMac: MACS.src, senderIp: '10.0.0.1', targetMac: MACS.dst, targetIp: '10.0.0.2' };
  const frame = (operation: 'request' | 'reply') =>
    describeFrame(
      emitEthernet({ ...MACS, type: ETHERTYPE_ARP, payload: emitArp({ operation, ...arp }) }),
      'ether',
    );
  expect(frame('request')).toBe('arp who-has 10.0.0.2 tell 10.0.0.1 (02:00:00:00:00:01)');
  expect(frame('reply')).toBe('arp reply 10.0.0.1 is-at 02:00:00:00:00:01');
  const payload = new Uint8Array(16);
  expect(describeFrame(emitEthernet({ ...MACS, type: 0x8100, payload }), 'ether')).toBe(
    '02:00:00:00:00:01 > 02:00:00:00:00:02: ethertype 0x8100 length 16',
  );
  const fragment = emitIpv4Packet({
    ...ENDS,
    protocol: 6,
    id: 3,
    moreFragments: true,
    fragmentOffset: 64,
    payload,
  });
  expect(describeFrame(fragment, 'ip')).toBe('10.0.0.1 > 10.0.0.2: fragment id 3 offset 64+');
  expect(describeFrame(emitIpv4Packet({ ...ENDS, protocol: 99, payload }), 'ip')).toBe(
    '10.0.0.1 > 10.0.0.2: protocol 99 length 16',
  );
});

test('what is wrong with a frame', () => {
  const spoil = (at: number, length?: number) => {
    const bytes = tcp4({ flags: FLAG_ACK }).slice(0, length);
    bytes[at] ^= 0xff;
    return describeFrame(bytes, 'ip');
  };
  expect(spoil(39)).toMatch(/^10\.0\.0\.1:80 > .*\[bad checksum\]$/);
  expect(spoil(10)).toBe('[malformed ipv4: header checksum]');
  expect(spoil(32)).toBe('10.0.0.1 > 10.0.0.2: protocol 6 length 20 [malformed tcp: data offset]');
  expect(spoil(39, 40)).toContain('bad checksum');
  expect(spoil(38, 39)).toBe('[malformed ipv4: total length]');
  expect(describeFrame(new Uint8Array(0), 'ip')).toBe('[malformed ip: truncated]');
  expect(describeFrame(Uint8Array.of(0x20), 'ip')).toBe('[malformed ip: version]');
  expect(describeFrame(new Uint8Array(3), 'ether')).toBe('[malformed ethernet: truncated]');
});
