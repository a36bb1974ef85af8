import { describe, expect, test } from 'vitest';
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from '../wire/address.ts';
import { parseEthernet } from '../wire/ethernet.ts';
import { emitIcmpv6 } from '../wire/icmpv6.ts';
import { emitIgmp, type IgmpMessage, parseIgmp } from '../wire/igmp.ts';
import { emitIpv4Packet, parseIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet, parseIpv6Packet } from '../wire/ipv6.ts';
import { transportChecksumGood } from '../wire/plain.ts';
import { groupJoin, groupLeave, groupMember } from './groups.ts';
import { ether4, ether6, Host, OUR_4, OUR_LINK_LOCAL, PEER_4, words } from './testing.ts';

const GROUP_4 = '239.1.2.3';
const GROUP_6 = 'ff15::1:2:3';
const [IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE] = [2, 3, 4];

function join(host: Host, group: string, told = true): void {
  const [a0, a1, a2, a3] = words(group);
  expect(groupJoin(host.ip, host.iface, group.includes(':') ? 6 : 4, a0, a1, a2, a3, told)).toBe(true);
}

function leave(host: Host, group: string): void {
  const [a0, a1, a2, a3] = words(group);
  groupLeave(host.ip, host.iface, group.includes(':') ? 6 : 4, a0, a1, a2, a3, true);
}

function isMember(host: Host, group: string): boolean {
  const [a0, a1, a2, a3] = words(group);
  return groupMember(host.iface, group.includes(':') ? 6 : 4, a0, a1, a2, a3);
}

/** What was said: destination, message type, record type (or 0) and group. */
function reports(host: Host): (string | number)[][] {
  return host.take().map((frame) => {
    const { dst: mac, type, payload } = parseEthernet(frame);
    if (type === 0x0800) {
      const packet = parseIpv4Packet(payload);
      expect(packet).toMatchObject({ src: OUR_4, protocol: 2, ttl: 1, tos: 0xc0 });
      expect(packet.options).toEqual(Uint8Array.of(0x94, 4, 0, 0));
      expect(mac.startsWith('01:00:5e:')).toBe(true);
      const { type, code, group } = parseIgmp(packet.payload) as IgmpMessage;
      return [packet.dst, type, code, formatIpv4(group)];
    }
    const packet = parseIpv6Packet(payload);
    expect(packet).toMatchObject({ src: OUR_LINK_LOCAL, nextHeader: 0, hopLimit: 1 });
    expect(packet.payload.slice(0, 8)).toEqual(Uint8Array.of(58, 0, 5, 2, 0, 0, 1, 0));
    expect(mac.startsWith('33:33:')).toBe(true);
    const message = packet.payload.subarray(8);
    expect(transportChecksumGood(message, packet, 58)).toBe(true);
    const at = message[0] === 143 ? 12 : 8;
    const view = new DataView(message.buffer, message.byteOffset);
    const group = formatIpv6([0, 4, 8, 12].map((i) => view.getInt32(at + i)));
    return [packet.dst, message[0], message[0] === 143 ? message[8] : 0, group];
  });
}

function query4(group: string, code: number, version: 2 | 3): Uint8Array {
  const payload = emitIgmp({ type: 0x11, code, group: parseIpv4(group) }, version);
  const dst = group === '0.0.0.0' ? '224.0.0.1' : group;
  return ether4(
    emitIpv4Packet({ src: PEER_4, dst, protocol: 2, ttl: 1, options: Uint8Array.of(0x94, 4, 0, 0), payload }),
  );
}

function query6(group: string, delay: number, bytes: number): Uint8Array {
  const payload = new Uint8Array(bytes - 8);
  for (const [i, word] of parseIpv6(group).entries()) new DataView(payload.buffer).setInt32(4 * i, word);
  const [src, dst] = ['fe80::2', group === '::' ? 'ff02::1' : group];
  const rest = delay << 16;
  const message = emitIcmpv6({ kind: 'other', type: 130, code: 0, rest: rest >>> 0, payload }, { src, dst });
  const alert = [58, 0, 5, 2, 0, 0, 1, 0];
  return ether6(
    emitIpv6Packet({ src, dst, nextHeader: 0, hopLimit: 1, payload: Uint8Array.of(...alert, ...message) }),
  );
}

describe.each([
  [
    GROUP_4,
    ['224.0.0.22', 0x22],
    query4('0.0.0.0', 20, 3),
    query4(GROUP_4, 20, 3),
    query4('239.9.9.9', 20, 3),
  ],
  [
    GROUP_6,
    ['ff02::16', 143],
    query6('::', 2000, 28),
    query6(GROUP_6, 2000, 28),
    query6('ff15::9', 2000, 28),
  ],
] as const)('a member of %s', (group, to, general, specific, other) => {
  test('says so twice, and twice that it left', () => {
    const host = new Host();
    expect(isMember(host, group)).toBe(false);
    join(host, group);
    join(host, group);
    expect(isMember(host, group)).toBe(true);
    host.pass(1100);
    expect(reports(host)).toEqual([1, 2].map(() => [...to, TO_EXCLUDE, group]));
    leave(host, group);
    host.pass(1100);
    expect([isMember(host, group), reports(host)]).toEqual([true, []]);
    leave(host, group);
    expect(isMember(host, group)).toBe(false);
    host.pass(1100);
    expect(reports(host)).toEqual([1, 2].map(() => [...to, TO_INCLUDE, group]));
    // Only that of our own addresses is left.
    expect(host.iface.groups.length).toBe(1);
    expect(host.counters.groupReports).toBe(4);
  });

  test('answers queries about it and about all within their time, and no others', () => {
    const host = new Host();
    join(host, group, false);
    host.pass(2000);
    expect(reports(host)).toEqual([]);
    for (const query of [specific, general]) {
      host.receive(query);
      host.receive(query);
      host.pass(2100);
      expect(reports(host).filter(([, , , about]) => about === group)).toEqual([[...to, IS_EXCLUDE, group]]);
    }
    host.receive(other);
    host.pass(2100);
    expect(reports(host)).toEqual([]);
  });

  test('that left is not asked for any more', () => {
    const host = new Host();
    join(host, group);
    host.pass(1100);
    host.receive(specific);
    leave(host, group);
    host.take();
    host.pass(3000);
    expect(new Set(reports(host).map(([, , record]) => record))).toEqual(new Set([TO_INCLUDE]));
  });

  test('that returns before it has said that it left is one again', () => {
    const host = new Host();
    join(host, group);
    host.pass(1100);
    leave(host, group);
    join(host, group);
    host.take();
    host.pass(1100);
    expect(reports(host).at(-1)).toEqual([...to, TO_EXCLUDE, group]);
    expect(isMember(host, group)).toBe(true);
  });
});

test('routers hear of the groups by which neighbours ask for our addresses', () => {
  const host = new Host();
  host.receive(query6('::', 1000, 28));
  host.pass(1100);
  expect(reports(host).map(([, , , group]) => group)).toEqual(['ff02::1:ff00:1']);
});

test('while an old querier is about, its words are used', () => {
  const host = new Host();
  host.receive(query4('0.0.0.0', 10, 2));
  host.receive(query6('::', 1000, 24));
  host.pass(1100);
  host.take();
  join(host, GROUP_4);
  join(host, GROUP_6);
  host.pass(1100);
  leave(host, GROUP_4);
  leave(host, GROUP_6);
  host.pass(1100);
  expect(reports(host).sort()).toEqual(
    [
      [GROUP_4, 0x16, 0, GROUP_4],
      [GROUP_4, 0x16, 0, GROUP_4],
      ['224.0.0.2', 0x17, 0, GROUP_4],
      ['224.0.0.2', 0x17, 0, GROUP_4],
      [GROUP_6, 131, 0, GROUP_6],
      [GROUP_6, 131, 0, GROUP_6],
      ['ff02::2', 132, 0, GROUP_6],
      ['ff02::2', 132, 0, GROUP_6],
    ].sort(),
  );
  host.pass(260_000);
  join(host, GROUP_4);
  host.pass(100);
  expect(reports(host)).toEqual([['224.0.0.22', 0x22, TO_EXCLUDE, GROUP_4]]);
});

test('nothing is said of groups that everybody is in', () => {
  const host = new Host();
  for (const group of ['224.0.0.1', 'ff02::1', 'ff01::5']) join(host, group);
  host.receive(query4('224.0.0.1', 10, 3));
  host.pass(2000);
  expect(reports(host)).toEqual([]);
});
