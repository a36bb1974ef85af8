import { closeSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { createXskMap, loadXdpProgram, testXdp, updateMap, XDP_PASS, XDP_REDIRECT } from '../os/bpf.ts';
import { assemble, exit, load, R0, R1 } from '../os/bpf-assembler.ts';
import { mapXskRing, openXsk } from '../os/xsk.ts';
import { emitArp } from '../wire/arp.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../wire/ethernet.ts';
import { emitIcmpv6, type Icmpv6Message } from '../wire/icmpv6.ts';
import { emitIpv4Packet, type Ipv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { emitUdp } from '../wire/udp.ts';
import { type XdpMatch, xdpFilter } from './xdp-filter.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root)';
const ADDRESSES = ['10.0.0.2/24', '203.0.113.200/32', 'fd00::2/64', '2001:db8::ffff:8765/128'];
const MAC = '02:00:00:00:00:01';
const PEER = '02:00:00:00:00:02';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const ALL_NODES = 'ff02::1';

describe.skipIf(reason !== '')(`the program that parts an interface${reason}`, () => {
  const fds: number[] = [];
  let map = 0;
  let taken: (frame: Uint8Array) => boolean;

  beforeAll(() => {
    map = own(createXskMap(1));
    const socket = own(openXsk());
    mapXskRing(socket, 'rx', 64, new Arena(1 << 20));
    updateMap(map, 0, socket);
    taken = filter(ADDRESSES);
  });
  afterAll(() => fds.forEach(closeSync));

  const own = (fd: number): number => {
    fds.push(fd);
    return fd;
  };

  function filter(addresses: string[], only: XdpMatch[] = []): (frame: Uint8Array) => boolean {
    const program = own(loadXdpProgram('test', xdpFilter(map, addresses, only), true));
    return (frame) => {
      const verdict = testXdp(program, frame);
      expect([XDP_PASS, XDP_REDIRECT]).toContain(verdict);
      return verdict === XDP_REDIRECT;
    };
  }

  test('without addresses everything is taken; where there is no socket everything passes', () => {
    const all = filter([]);
    expect(all(new Uint8Array(14))).toBe(true);
    expect(all(ipv4('192.0.2.9'))).toBe(true);
    const none = own(createXskMap(1));
    const program = own(loadXdpProgram('test', xdpFilter(none, []), true));
    expect(testXdp(program, ipv4('10.0.0.2'))).toBe(XDP_PASS);
  });

  test('IPv4 by destination, fragments and options included', () => {
    for (const dst of ['10.0.0.2', '203.0.113.200']) {
      expect(taken(ipv4(dst))).toBe(true);
      expect(taken(ipv4(dst, { fragmentOffset: 64 }))).toBe(true);
      expect(taken(ipv4(dst, { moreFragments: true }))).toBe(true);
      expect(taken(ipv4(dst, { options: new Uint8Array(40).fill(1), protocol: 200 }))).toBe(true);
    }
    for (const dst of ['10.0.0.1', '2.0.0.10', '10.0.0.255', '255.255.255.255', '224.0.0.1', '203.0.113.72'])
      expect(taken(ipv4(dst)), dst).toBe(false);
  });

  test('IPv6 by destination, with extension headers too', () => {
    for (const dst of ['fd00::2', '2001:db8::ffff:8765']) {
      expect(taken(ipv6(dst))).toBe(true);
      expect(taken(ipv6(dst, 44))).toBe(true);
    }
    for (const dst of [
      'fd00::3',
      'fd00::1:0:2',
      'fd01::2',
      'fd00:0:1::2',
      ALL_NODES,
      'ff02::1:ff00:2',
      '2001:db8::8765',
    ])
      expect(taken(ipv6(dst)), dst).toBe(false);
  });

  test('ARP that is about our addresses', () => {
    expect(taken(arp('10.0.0.9', '10.0.0.2'))).toBe(true);
    expect(taken(arp('10.0.0.9', '203.0.113.200', 'reply'))).toBe(true);
    // Somebody claims ours.
    expect(taken(arp('10.0.0.2', '10.0.0.2'))).toBe(true);
    expect(taken(arp('10.0.0.9', '10.0.0.1'))).toBe(false);
    expect(taken(arp('10.0.0.9', '10.0.0.9', 'reply'))).toBe(false);
  });

  test('neighbour discovery whose target is ours, whoever it is sent to', () => {
    const options = {};
    const solicit = (target: string): Icmpv6Message => ({ kind: 'neighbor solicitation', target, options });
    const advert = (target: string): Icmpv6Message => ({
      kind: 'neighbor advertisement',
      flags: 0x20,
      target,
      options,
    });
    expect(taken(icmpv6('ff02::1:ff00:2', solicit('fd00::2')))).toBe(true);
    expect(taken(icmpv6(ALL_NODES, advert('fd00::2')))).toBe(true);
    // The same group, another address: the host's.
    expect(taken(icmpv6('ff02::1:ff00:2', solicit('fd00::1:0:2')))).toBe(false);
    expect(taken(icmpv6(ALL_NODES, advert('fd00::9')))).toBe(false);
    expect(taken(icmpv6(ALL_NODES, { kind: 'router solicitation', options }))).toBe(false);
    expect(taken(icmpv6('fd00::2', advert('fd00::9')))).toBe(true);
  });

  test('tagged frames are the host’s, and so is what is cut off', () => {
    const tagged = Uint8Array.from([
      ...ipv4('10.0.0.2').subarray(0, 12),
      0x81,
      0,
      0,
      5,
      ...ipv4('10.0.0.2').subarray(12),
    ]);
    expect(taken(tagged)).toBe(false);
    for (const [frame, bytes] of [
      [ipv4('10.0.0.2'), 34],
      [ipv6('fd00::2'), 54],
      [arp('10.0.0.9', '10.0.0.2'), 42],
    ] as const) {
      for (let length = 14; length < bytes; length++) expect(taken(frame.slice(0, length))).toBe(false);
      expect(taken(frame.slice(0, bytes))).toBe(true);
    }
  });

  test('one family alone leaves the other to the host', () => {
    const v4 = filter(['10.0.0.2/24']);
    expect([v4(ipv4('10.0.0.2')), v4(ipv6('fd00::2')), v4(arp('10.0.0.9', '10.0.0.2'))]).toEqual([
      true,
      false,
      true,
    ]);
    const v6 = filter(['fd00::2/64']);
    expect([v6(ipv4('10.0.0.2')), v6(ipv6('fd00::2')), v6(arp('10.0.0.9', '10.0.0.2'))]).toEqual([
      false,
      true,
      false,
    ]);
  });

  test('only some protocols and ports: the rest, and what doesn’t show its ports, is the host’s', () => {
    const some = filter(ADDRESSES, [
      { protocol: 17, port: 53 },
      { protocol: 6, port: 80 },
      { protocol: 1 },
      { protocol: 132 },
    ]);
    const udp = (port: number, src = '10.0.0.9', dst = '10.0.0.2') =>
      emitUdp({ srcPort: 99, dstPort: port, payload: new Uint8Array(8) }, { src, dst });
    expect(some(ipv4('10.0.0.2', { payload: udp(53) }))).toBe(true);
    expect(some(ipv4('10.0.0.2', { payload: udp(53), options: new Uint8Array(12) }))).toBe(true);
    expect(some(ipv4('10.0.0.2', { payload: udp(80) }))).toBe(false);
    expect(some(ipv4('10.0.0.2', { payload: udp(80), protocol: 6 }))).toBe(true);
    expect(some(ipv4('10.0.0.1', { payload: udp(53) }))).toBe(false);
    expect(some(ipv4('10.0.0.2', { payload: udp(53), moreFragments: true }))).toBe(false);
    expect(some(ipv4('10.0.0.2', { payload: udp(53), fragmentOffset: 8 }))).toBe(false);
    expect(some(ipv4('10.0.0.2', { protocol: 132, moreFragments: true }))).toBe(true);
    expect(some(ipv4('10.0.0.2', { protocol: 1 }))).toBe(true);
    expect(some(ipv6('fd00::2', 17, udp(53, 'fd00::9', 'fd00::2')))).toBe(true);
    expect(some(ipv6('fd00::2', 17, udp(54, 'fd00::9', 'fd00::2')))).toBe(false);
    expect(some(ipv6('fd00::2', 44, udp(53, 'fd00::9', 'fd00::2')))).toBe(false);
    // Without these the others would be of no use.
    expect(some(arp('10.0.0.9', '10.0.0.2'))).toBe(true);
    const target = 'fd00::9';
    expect(some(icmpv6('fd00::2', { kind: 'neighbor advertisement', flags: 0, target, options: {} }))).toBe(
      true,
    );
    expect(some(icmpv6('fd00::2', { kind: 'echo request', id: 1, seq: 1, payload: new Uint8Array(8) }))).toBe(
      false,
    );
  });

  test('hundreds of addresses are fine, more than its limit aren’t', () => {
    const many = Array.from({ length: 256 }, (_, i) => (i < 128 ? `10.1.0.${i}/24` : `fd01::${i}/64`));
    const taken = filter(many);
    expect([taken(ipv4('10.1.0.127')), taken(ipv6('fd01::255')), taken(ipv6('fd01::100'))]).toEqual([
      true,
      true,
      false,
    ]);
    expect(() => xdpFilter(map, [...many, '10.2.0.1/24'])).toThrow(RangeError);
  });

  test('a program that the verifier refuses says why', () => {
    const bad = assemble([load(4, R0, R1, 400), exit()]);
    expect(() => loadXdpProgram('bad', bad, false)).toThrow(
      /load the XDP program bad \(.*invalid bpf_context access off=400/s,
    );
  });
});

function ether(type: number, payload: Uint8Array, dst = MAC): Uint8Array {
  return emitEthernet({ dst, src: PEER, type, payload });
}

function ipv4(dst: string, more: Partial<Ipv4Packet> = {}): Uint8Array {
  const packet = { src: '10.0.0.9', dst, protocol: 17, payload: new Uint8Array(24), ...more };
  return ether(ETHERTYPE_IPV4, emitIpv4Packet(packet));
}

function ipv6(dst: string, nextHeader = 17, payload: Uint8Array = new Uint8Array(24)): Uint8Array {
  return ether(ETHERTYPE_IPV6, emitIpv6Packet({ src: 'fd00::9', dst, nextHeader, payload }));
}

function icmpv6(dst: string, message: Icmpv6Message): Uint8Array {
  return ipv6(dst, 58, emitIcmpv6(message, { src: 'fd00::9', dst }));
}

function arp(senderIp: string, targetIp: string, operation: 'request' | 'reply' = 'request'): Uint8Array {
  const packet = { operation, senderMac: PEER, senderIp, targetMac: MAC, targetIp };
  return ether(ETHERTYPE_ARP, emitArp(packet), BROADCAST);
}
