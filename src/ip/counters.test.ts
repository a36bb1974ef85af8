import { expect, test } from 'vitest';
import { emitEthernet } from '../wire/ethernet.ts';
import { emitIcmpv6 } from '../wire/icmpv6.ts';
import { emitIgmp } from '../wire/igmp.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { type InterfaceCounters, IpCounters } from './counters.ts';
import { groupJoin } from './groups.ts';
import { pathMtuUpdate } from './path-mtu.ts';
import { routeLookup4 } from './routes.ts';
import { ipSend, SEND_FAILED } from './send.ts';
import {
  advertFrame,
  arpFrame,
  BROADCAST_MAC,
  ether4,
  ether6,
  Host,
  icmp4,
  icmp6,
  linkLocalOf,
  OUR_4,
  OUR_6,
  OUR_MAC,
  PEER_4,
  PEER_6,
  PEER_MAC,
  routerFrame,
  solicitFrame,
  words,
} from './testing.ts';

const payload = new Uint8Array(24);
const tcp = { src: PEER_4, dst: OUR_4, protocol: 6, payload };
const tcp6 = { src: PEER_6, dst: OUR_6, nextHeader: 6, payload };
const echo = { kind: 'echo request' as const, id: 1, seq: 1, payload };

/** The first `bytes` of a header chain's start: next header, length, and what follows. */
function extension(next: number, ...rest: number[]): Uint8Array {
  return Uint8Array.of(next, 0, ...rest);
}

function edited(packet: Uint8Array, edit: (bytes: Uint8Array) => void): Uint8Array {
  const copy = packet.slice();
  edit(copy);
  return copy;
}

/** A piece of a TCP segment of the peer's. */
function piece4(fragmentOffset: number, moreFragments = true, piece = payload, id = 7): Uint8Array {
  return ether4(emitIpv4Packet({ ...tcp, id, fragmentOffset, moreFragments, payload: piece }));
}

function piece6(offset: number, more = true, piece = payload): Uint8Array {
  const header = [6, 0, offset >> 8, (offset & 0xf8) | (more ? 1 : 0), 0, 0, 0, 7];
  return ether6(emitIpv6Packet({ ...tcp6, nextHeader: 44, payload: Uint8Array.of(...header, ...piece) }));
}

function igmp(message: Uint8Array, ttl = 1): Uint8Array {
  const options = Uint8Array.of(0x94, 4, 0, 0);
  return ether4(
    emitIpv4Packet({ src: PEER_4, dst: '224.0.0.1', protocol: 2, ttl, options, payload: message }),
  );
}

/** A query about all groups, behind its router alert. */
function mldQuery(change: { hopLimit?: number } = {}, src = 'fe80::2', bytes = 28): Uint8Array {
  const body = new Uint8Array(bytes - 8);
  const message = emitIcmpv6(
    { kind: 'other', type: 130, code: 0, rest: 0, payload: body },
    { src, dst: 'ff02::1' },
  );
  const alert = [58, 0, 5, 2, 0, 0, 1, 0];
  return ether6(
    emitIpv6Packet({
      src,
      dst: 'ff02::1',
      nextHeader: 0,
      hopLimit: 1,
      payload: Uint8Array.of(...alert, ...message),
      ...change,
    }),
  );
}

/** Another host, which takes part in what its link arranges. */
function autoconfigured(): Host {
  return new Host('ether', { autoconfigure: true });
}

/**
 * How each counter is reached: frames to receive on a host whose cache holds the two addresses of PEER_MAC.
 * The type makes sure that none is left out.
 */
const reach: { [K in keyof InterfaceCounters]: Uint8Array[] | ((host: Host) => void) } = {
  truncated: [
    new Uint8Array(13),
    ether4(emitIpv4Packet(tcp).subarray(0, 19)),
    ether4(emitIpv4Packet(tcp).subarray(0, 43)),
    ether6(emitIpv6Packet(tcp6).subarray(0, 39)),
    ether6(emitIpv6Packet(tcp6).subarray(0, 63)),
  ],
  badVersion: [
    ether4(edited(emitIpv4Packet(tcp), (b) => (b[0] = 0x65))),
    ether6(edited(emitIpv6Packet(tcp6), (b) => (b[0] = 0x45))),
  ],
  badHeader: [
    ether4(edited(emitIpv4Packet(tcp), (b) => (b[0] = 0x44))),
    ether4(edited(emitIpv4Packet(tcp), (b) => b.set([0, 19], 2))),
    ether4(emitIpv4Packet({ ...tcp, options: Uint8Array.of(1, 148, 9, 0) })),
    ether4(emitIpv4Packet({ ...tcp, options: Uint8Array.of(1, 148, 1, 0) })),
    ether4(emitIpv4Packet({ ...tcp, options: Uint8Array.of(1, 1, 1, 148) })),
  ],
  badChecksum: [
    ether4(edited(emitIpv4Packet(tcp), (b) => b[10]++)),
    ether4(edited(emitIpv4Packet({ ...tcp, options: Uint8Array.of(1, 1, 1, 1) }), (b) => b[21]++)),
  ],
  badSource: [
    ...['224.0.0.5', '127.0.0.1', '0.0.0.0', '255.255.255.255', '10.0.0.255'].map((src) =>
      ether4(emitIpv4Packet({ ...tcp, src })),
    ),
    ...['ff02::5', '::1', '::', '::ffff:10.0.0.2', '::10.0.0.2'].map((src) =>
      ether6(emitIpv6Packet({ ...tcp6, src })),
    ),
    icmp6(echo, '::'),
  ],
  notForUs: [
    ether4(emitIpv4Packet(tcp), '02:00:00:00:00:09'),
    ether4(emitIpv4Packet({ ...tcp, dst: '10.0.0.9' })),
    ether4(emitIpv4Packet({ ...tcp, dst: '127.0.0.1' })),
    ether4(emitIpv4Packet({ ...tcp, dst: '224.0.0.251' })),
    ether6(emitIpv6Packet({ ...tcp6, dst: 'fd00::9' })),
    ether6(emitIpv6Packet({ ...tcp6, dst: 'ff02::fb' })),
    ether6(emitIpv6Packet({ ...tcp6, dst: 'ff02::1:ff00:9' })),
    solicitFrame('fd00::9:0:1', PEER_6, PEER_MAC, 'ff02::1:ff00:1'),
  ],
  linkBroadcast: [
    ether4(emitIpv4Packet(tcp), BROADCAST_MAC),
    ether6(emitIpv6Packet(tcp6), '33:33:00:00:00:01'),
  ],
  castTcp: [
    ...['10.0.0.255', '255.255.255.255', '224.0.0.1'].map((dst) => ether4(emitIpv4Packet({ ...tcp, dst }))),
    ...['ff01::1', 'ff02::1', 'ff02::1:ff00:1'].map((dst) => ether6(emitIpv6Packet({ ...tcp6, dst }))),
  ],
  fragments: [piece4(0), piece4(8, false), piece6(0), piece6(8, false)],
  reassembled: (host) => {
    for (const frame of [piece4(0), piece4(24, false), piece6(24, false), piece6(0)]) host.receive(frame);
  },
  fragmentsBad: [
    piece4(0, true, payload.subarray(0, 23)),
    piece4(0, true, payload.subarray(0, 0)),
    piece4(65_504, false),
    piece6(0, true, payload.subarray(0, 23)),
    piece6(8, false, payload.subarray(0, 0)),
    piece6(65_520, false),
  ],
  fragmentsHeaderless: [piece6(0, true, payload.subarray(0, 16))],
  fragmentsDuplicate: (host) => {
    for (let i = 0; i < 2; i++) host.receive(piece4(8));
  },
  fragmentsOverlapping: (host) => {
    host.receive(piece6(0));
    host.receive(piece6(16));
  },
  fragmentsExcess: (host) => {
    for (let i = 0; i < 129; i++) host.receive(piece4(i * 24));
  },
  reassemblyTimeouts: (host) => {
    host.receive(piece4(8));
    host.receive(piece6(8));
    host.pass(60_100);
  },
  reassemblyEvicted: (host) => {
    for (let id = 0; id < 9; id++) host.receive(piece4(0, true, payload, id));
  },
  reassemblyFull: (host) => {
    const frames = Array.from({ length: 33 }, (_, id) => [
      piece4(0, true, payload, id),
      piece4(24, false, payload, id),
    ]);
    for (const frame of frames.flat()) host.receive(frame, 0, false);
  },
  fragmentsOut: [icmp4({ ...echo, payload: new Uint8Array(1473) })],
  sourceRoutes: [
    ether4(emitIpv4Packet({ ...tcp, options: Uint8Array.of(131, 3, 4, 0) })),
    ether4(emitIpv4Packet({ ...tcp, options: Uint8Array.of(1, 137, 3, 4) })),
    ether6(emitIpv6Packet({ ...tcp6, nextHeader: 43, payload: extension(6, 0, 1, 0, 0, 0, 0) })),
  ],
  extensionHeaders: [
    // Cut short; an option that says to drop; no next header; longer than what anybody needs.
    ether6(emitIpv6Packet({ ...tcp6, nextHeader: 0, payload: extension(6, 1, 2) })),
    ether6(emitIpv6Packet({ ...tcp6, nextHeader: 60, payload: extension(6, 0x40, 4, 0, 0, 0, 0) })),
    ether6(emitIpv6Packet({ ...tcp6, nextHeader: 59 })),
    ether6(
      emitIpv6Packet({
        ...tcp6,
        nextHeader: 60,
        payload: Uint8Array.of(60, 31, 1, 252, ...new Uint8Array(252), 6, 0, 1, 4, 0, 0, 0, 0),
      }),
    ),
  ],
  unknownEtherType: [emitEthernet({ dst: OUR_MAC, src: PEER_MAC, type: 0x8100, payload })],
  unknownProtocol: [
    ether4(emitIpv4Packet({ ...tcp, protocol: 58 })),
    ether6(emitIpv6Packet({ ...tcp6, nextHeader: 1 })),
  ],
  arpBad: [
    arpFrame('request', PEER_MAC, PEER_4, OUR_MAC, OUR_4).subarray(0, 41),
    arpFrame('request', '03:00:00:00:00:02', PEER_4, OUR_MAC, OUR_4),
    arpFrame('request', '00:00:00:00:00:00', PEER_4, OUR_MAC, OUR_4),
    arpFrame('request', PEER_MAC, '192.0.2.1', OUR_MAC, OUR_4),
  ],
  arpRequests: [arpFrame('request', PEER_MAC, PEER_4, '00:00:00:00:00:00', OUR_4)],
  arpReplies: [arpFrame('request', PEER_MAC, PEER_4, '00:00:00:00:00:00', OUR_4)],
  ndpBad: [
    icmp6({ kind: 'neighbor solicitation', target: OUR_6, options: {} }, PEER_6, OUR_6, 254),
    icmp6({ kind: 'neighbor solicitation', target: 'ff02::1', options: {} }, PEER_6, OUR_6, 255),
    solicitFrame(OUR_6, '::', null, OUR_6),
    solicitFrame(OUR_6, '::', PEER_MAC, 'ff02::1:ff00:1'),
    solicitFrame(OUR_6, PEER_6, '33:33:00:00:00:01'),
    advertFrame(PEER_6, PEER_MAC, 0x40, 'ff02::1'),
    advertFrame(PEER_6, '33:33:00:00:00:01'),
  ],
  ndpSolicitations: [solicitFrame(OUR_6, PEER_6, PEER_MAC)],
  ndpAdvertisements: [advertFrame(PEER_6, PEER_MAC)],
  ndpIgnored: [icmp6({ kind: 'router solicitation', options: {} }, PEER_6, OUR_6, 255)],
  redirects: [
    icmp4({ kind: 'other', type: 5, code: 1, rest: 0, payload }),
    icmp6({ kind: 'redirect', target: PEER_6, destination: 'fd00::9', options: {} }, PEER_6, OUR_6, 255),
  ],
  addressConflicts: [
    arpFrame('request', PEER_MAC, OUR_4, OUR_MAC, OUR_4),
    solicitFrame(OUR_6, '::', null, 'ff02::1:ff00:1'),
    advertFrame(OUR_6, PEER_MAC),
  ],
  routerSolicits: (host) => {
    const auto = autoconfigured();
    auto.pass(4000);
    host.counters.routerSolicits += auto.counters.routerSolicits;
  },
  routerAdverts: (host) => {
    const auto = autoconfigured();
    auto.pass(3000);
    auto.receive(routerFrame());
    host.counters.routerAdverts += auto.counters.routerAdverts;
  },
  autoconfFull: (host) => {
    const auto = autoconfigured();
    auto.pass(3000);
    for (let i = 10; i < 27; i++) auto.receive(routerFrame(`fe80::${i}`));
    host.counters.autoconfFull += auto.counters.autoconfFull;
  },
  redirectsFollowed: (host) => {
    const auto = autoconfigured();
    auto.pass(3000);
    auto.receive(routerFrame());
    const options = {};
    const redirect = { kind: 'redirect' as const, target: 'fe80::9', destination: '2001:db8::1', options };
    auto.receive(icmp6(redirect, 'fe80::2', linkLocalOf(auto), 255));
    host.counters.redirectsFollowed += auto.counters.redirectsFollowed;
  },
  duplicateAddresses: (host) => {
    const auto = autoconfigured();
    auto.receive(arpFrame('request', PEER_MAC, OUR_4, '00:00:00:00:00:00', OUR_4));
    host.counters.duplicateAddresses += auto.counters.duplicateAddresses;
  },
  linkDown: (host) => {
    host.ip.setLink(host.iface, false);
    host.receive(icmp4(echo));
  },
  neighbourUnsolicited: [
    arpFrame('reply', PEER_MAC, '10.0.0.77', OUR_MAC, OUR_4),
    arpFrame('request', PEER_MAC, '10.0.0.77', OUR_MAC, '10.0.0.77'),
    advertFrame('fd00::77', PEER_MAC),
    advertFrame('fd00::77', PEER_MAC, 0x20, 'ff02::1'),
  ],
  neighbourConflicts: [
    arpFrame('reply', '02:00:00:00:00:66', PEER_4, OUR_MAC, OUR_4),
    advertFrame(PEER_6, '02:00:00:00:00:66', 0x60),
  ],
  neighbourFull: [
    arpFrame('request', PEER_MAC, '10.0.0.50', OUR_MAC, OUR_4),
    arpFrame('request', PEER_MAC, '10.0.0.51', OUR_MAC, OUR_4),
    arpFrame('request', PEER_MAC, '10.0.0.52', OUR_MAC, OUR_4),
  ],
  neighbourEvicted: (host) => {
    for (let i = 60; i < 63; i++) host.resolve(`10.0.0.${i}`);
  },
  neighbourFailed: (host) => {
    host.resolve('10.0.0.60');
    host.pass(3100);
  },
  icmpBad: [
    edited(icmp4(echo), (b) => b[40]++),
    edited(icmp6(echo), (b) => b[60]++),
    ether4(emitIpv4Packet({ ...tcp, protocol: 1, payload: payload.subarray(0, 7) })),
    ether6(emitIpv6Packet({ ...tcp6, nextHeader: 58, payload: payload.subarray(0, 7) })),
  ],
  icmpEchoRequests: [icmp4(echo), icmp6(echo)],
  icmpEchoReplies: [icmp4({ ...echo, kind: 'echo reply' }), icmp6({ ...echo, kind: 'echo reply' })],
  icmpIgnored: [
    icmp4({ kind: 'other', type: 4, code: 0, rest: 0, payload }),
    icmp4({ kind: 'other', type: 13, code: 0, rest: 0, payload }),
    icmp4(echo, PEER_4, '10.0.0.255'),
    icmp6({ kind: 'other', type: 200, code: 0, rest: 0, payload }),
    icmp6(echo, PEER_6, 'ff02::1'),
  ],
  icmpErrorsIn: [icmp4({ kind: 'time exceeded', code: 0, payload })],
  icmpErrorsBad: [icmp4({ kind: 'time exceeded', code: 0, payload })],
  icmpErrorsOut: [ether4(emitIpv4Packet({ ...tcp, protocol: 99 }))],
  icmpErrorsLimited: (host) => {
    for (let i = 0; i < 80; i++) {
      host.receive(ether4(emitIpv4Packet({ ...tcp, protocol: 99 })));
      host.take();
    }
  },
  groupsBad: [
    igmp(edited(emitIgmp({ type: 0x11, code: 10, group: 0 }, 3), (b) => b[11]++)),
    igmp(emitIgmp({ type: 0x11, code: 10, group: 0 }, 2).subarray(0, 7)),
    icmp6(
      { kind: 'other', type: 130, code: 0, rest: 0, payload: new Uint8Array(16) },
      'fe80::2',
      'ff02::1',
      1,
    ),
    mldQuery({}, 'fd00::2'),
    mldQuery({ hopLimit: 2 }),
    mldQuery({}, 'fe80::2', 23),
  ],
  groupsIgnored: [
    igmp(emitIgmp({ type: 0x16, code: 0, group: words('224.0.0.1')[0] }, 2)),
    igmp(emitIgmp({ type: 0x11, code: 10, group: 0 }, 3), 2),
    ...[131, 132, 143].map((type) => icmp6({ kind: 'other', type, code: 0, rest: 0, payload })),
  ],
  groupQueries: [igmp(emitIgmp({ type: 0x11, code: 10, group: 0 }, 3)), mldQuery()],
  groupReports: (host) => {
    expect(groupJoin(host.ip, host.iface, 4, words('224.1.2.3')[0], 0, 0, 0, true)).toBe(true);
    host.pass(100);
  },
  groupsFull: (host) => {
    for (let i = 0; i < 257; i++) groupJoin(host.ip, host.iface, 4, words('224.1.0.0')[0] + i, 0, 0, 0, true);
  },
  txFull: (host) => {
    for (let i = 0; i < 65; i++) host.receive(icmp4(echo));
  },
  txTooBig: (host) => {
    Object.assign(host.ip.out, { iface: 0, version: 4, dst0: words(PEER_4)[0], l4Length: 65_516 });
    expect(ipSend(host.ip, host.ip.out)).toBe(SEND_FAILED);
  },
  txUnresolved: [icmp4(echo, '10.0.0.77')],
};

test.each(Object.keys(reach) as (keyof InterfaceCounters)[])('%s is counted', (name) => {
  const inputs = reach[name];
  const attempts =
    Array.isArray(inputs) && name !== 'neighbourFull' ? inputs.map((frame) => [frame]) : [inputs];
  for (const attempt of attempts) {
    const host = new Host('ether', { neighbours: 4 });
    for (const address of [PEER_4, PEER_6]) {
      host.resolve(address);
      host.answer(address);
      expect(host.resolve(address)).toBeGreaterThan(0);
    }
    host.take();
    const before = host.counters[name];
    if (Array.isArray(attempt)) for (const frame of attempt) expect(host.receive(frame)).toBe(0);
    else attempt(host);
    expect(
      host.counters[name],
      Array.isArray(attempt) ? Buffer.from(attempt[0]).toString('hex') : name,
    ).toBeGreaterThan(before);
  }
});

test("the stack's own counters are counted", () => {
  const { ip } = new Host();
  routeLookup4(ip, words('192.0.2.1')[0]);
  routeLookup4(ip, words(OUR_4)[0]);
  routeLookup4(ip, words('224.0.0.1')[0]);
  pathMtuUpdate(ip, 4, words(PEER_4)[0], 0, 0, 0, 100);
  for (let i = 0; i < 257; i++) pathMtuUpdate(ip, 6, words('fd00::')[0], 0, 0, 1000 + i, 1400);
  for (const [name, value] of Object.entries(ip.counters)) expect(value, name).toBeGreaterThan(0);
  expect(Object.keys(ip.counters)).toEqual(Object.keys(new IpCounters()));
});
