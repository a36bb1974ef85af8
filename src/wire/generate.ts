/** Valid frames of every kind from a seed: for fuzzing the parsers here and whole engines elsewhere. */
import type { Prng } from '../memory/prng.ts';
import { type ArpPacket, emitArp } from './arp.ts';
import type { Link } from './decode.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from './ethernet.ts';
import { emitIcmp, type IcmpMessage } from './icmp.ts';
import { emitIcmpv6, type Icmpv6Message } from './icmpv6.ts';
import { emitIpv4Packet, IPV4_HEADER_BYTES } from './ipv4.ts';
import {
  emitIpv6Packet,
  HEADER_DESTINATION,
  HEADER_FRAGMENT,
  HEADER_HOP_BY_HOP,
  HEADER_ROUTING,
  IPV6_HEADER_BYTES,
} from './ipv6.ts';
import type { NdpOptionValues } from './ndp.ts';
import { concat, type Ends } from './plain.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from './protocols.ts';
import { emitTcp, TCP_HEADER_BYTES } from './tcp.ts';
import { OPTION_ACCECN0, OPTION_ACCECN1, type TcpOptionValues } from './tcp-options.ts';
import { emitUdp } from './udp.ts';

/** What generated frames are made of: give an engine's own addresses and ports, so that some reach it. */
export interface FrameWorld {
  link: Link;
  macs: string[];
  ipv4: string[];
  ipv6: string[];
  ports: number[];
}

export const FRAME_WORLD: FrameWorld = {
  link: 'ether',
  macs: ['02:00:00:00:00:01', '02:00:00:00:00:02', 'ff:ff:ff:ff:ff:ff'],
  ipv4: ['10.0.0.1', '10.0.0.2', '10.0.0.255', '224.0.0.1', '127.0.0.1', '0.0.0.0'],
  ipv6: ['fe80::1', 'fe80::2', '2001:db8::1', 'ff02::1', 'ff02::1:ff00:1', '::1', '::'],
  ports: [80, 443, 40_000, 0, 65_535],
};

/** A well-formed frame, checksums included; what it says may still make no sense. */
export function generateFrame(prng: Prng, world: FrameWorld = FRAME_WORLD): Uint8Array {
  const kind = prng.below(world.link === 'ether' ? 11 : 10);
  const [type, payload] =
    kind === 10
      ? [ETHERTYPE_ARP, emitArp(arp(prng, world))]
      : kind < 5
        ? [ETHERTYPE_IPV4, packet4(prng, world)]
        : [ETHERTYPE_IPV6, packet6(prng, world)];
  if (world.link === 'ip') return payload;
  return emitEthernet({ dst: pick(prng, world.macs), src: pick(prng, world.macs), type, payload });
}

function packet4(prng: Prng, world: FrameWorld): Uint8Array {
  const ends = { src: pick(prng, world.ipv4), dst: pick(prng, world.ipv4) };
  const [protocol, payload] = prng.bool(0.2)
    ? [PROTOCOL_ICMP, emitIcmp(icmp(prng, world))]
    : transport(prng, world, ends);
  const fragment = prng.bool(0.1);
  return emitIpv4Packet({
    ...ends,
    protocol,
    payload,
    tos: prng.below(256),
    ttl: 1 + prng.below(255),
    id: prng.below(65_536),
    dontFragment: prng.bool(),
    moreFragments: fragment && prng.bool(),
    fragmentOffset: fragment ? 8 * prng.below(8192) : 0,
    options: prng.bool(0.1) ? new Uint8Array(4 * (1 + prng.below(10))).fill(1) : new Uint8Array(0),
  });
}

function packet6(prng: Prng, world: FrameWorld): Uint8Array {
  const ends = { src: pick(prng, world.ipv6), dst: pick(prng, world.ipv6) };
  let [nextHeader, payload]: [number, Uint8Array] = prng.bool(0.5)
    ? [PROTOCOL_ICMPV6, emitIcmpv6(icmpv6(prng, world), ends)]
    : transport(prng, world, ends);
  // From the innermost outwards; only the outermost may be hop-by-hop.
  for (let i = prng.bool(0.3) ? 1 + prng.below(3) : 0; i > 0; i--) {
    const header = pick(prng, [HEADER_DESTINATION, HEADER_ROUTING, HEADER_FRAGMENT, HEADER_HOP_BY_HOP]);
    payload = concat(extension(prng, header, nextHeader), payload);
    nextHeader = header;
    if (header === HEADER_HOP_BY_HOP) break;
  }
  // Neighbour discovery wants a hop limit of 255.
  const hopLimit = prng.bool() ? 255 : prng.below(256);
  const [trafficClass, flowLabel] = [prng.below(256), prng.below(1 << 20)];
  return emitIpv6Packet({ ...ends, nextHeader, payload, hopLimit, trafficClass, flowLabel });
}

function extension(prng: Prng, header: number, next: number): Uint8Array {
  switch (header) {
    case HEADER_FRAGMENT: {
      const word = prng.bool() ? 0 : (prng.below(8192) << 3) | prng.below(2);
      return Uint8Array.of(next, 0, word >> 8, word, 0, 0, 0, prng.below(256));
    }
    case HEADER_ROUTING:
      return Uint8Array.of(next, 0, 0, 0, 0, 0, 0, 0);
    default:
      // PadN over the six bytes.
      return Uint8Array.of(next, 0, 1, 4, 0, 0, 0, 0);
  }
}

function transport(prng: Prng, world: FrameWorld, ends: Ends): [number, Uint8Array] {
  const [srcPort, dstPort] = [pick(prng, world.ports), pick(prng, world.ports)];
  const payload = data(prng);
  if (prng.bool(0.2)) return [PROTOCOL_UDP, emitUdp({ srcPort, dstPort, payload }, ends)];
  const [seq, ack] = [prng.next(), prng.next()];
  const [flags, window] = [
    prng.bool(0.3) ? prng.below(512) : pick(prng, [2, 18, 16, 24, 17, 4]),
    prng.below(65_536),
  ];
  const segment = { srcPort, dstPort, seq, ack, flags, window, options: tcpOptions(prng), payload };
  return [PROTOCOL_TCP, emitTcp(segment, ends)];
}

/** One of the sets that fit into 40 bytes. */
function tcpOptions(prng: Prng): TcpOptionValues {
  const timestamps = { value: prng.next() >>> 0, echo: prng.next() >>> 0 };
  const counters = [prng.below(1 << 24), prng.below(1 << 24), prng.below(1 << 24)];
  const accEcn = { kind: pick(prng, [OPTION_ACCECN0, OPTION_ACCECN1]), counters };
  const sack = Array.from({ length: 1 + prng.below(3) }, (): [number, number] => [
    prng.next() >>> 0,
    prng.next() >>> 0,
  ]);
  const syn = { mss: prng.below(65_536), windowScale: prng.below(16), sackPermitted: true };
  return pick<TcpOptionValues>(prng, [
    {},
    { timestamps },
    { timestamps, sack },
    { timestamps, accEcn },
    syn,
    { ...syn, timestamps },
    { ...syn, timestamps, fastOpenCookie: randomBytes(prng, 2 * pick(prng, [0, 2, 4, 8])) },
    { mss: 1460, userTimeout: prng.below(65_536) },
  ]);
}

function arp(prng: Prng, world: FrameWorld): ArpPacket {
  return {
    operation: prng.bool() ? 'request' : 'reply',
    senderMac: pick(prng, world.macs),
    senderIp: pick(prng, world.ipv4),
    targetMac: pick(prng, world.macs),
    targetIp: pick(prng, world.ipv4),
  };
}

function icmp(prng: Prng, world: FrameWorld): IcmpMessage {
  const [id, seq, code] = [prng.below(65_536), prng.below(65_536), prng.below(16)];
  const quoted = () => quote(prng, world, false);
  switch (prng.below(5)) {
    case 0:
      return { kind: 'echo request', id, seq, payload: data(prng) };
    case 1:
      return { kind: 'echo reply', id, seq, payload: data(prng) };
    case 2:
      return { kind: 'unreachable', code, mtu: prng.below(65_536), payload: quoted() };
    case 3:
      return { kind: 'time exceeded', code, payload: quoted() };
    default:
      return { kind: 'other', type: 5 + prng.below(3), code, rest: prng.next(), payload: quoted() };
  }
}

function icmpv6(prng: Prng, world: FrameWorld): Icmpv6Message {
  const [id, seq, code] = [prng.below(65_536), prng.below(65_536), prng.below(8)];
  const quoted = () => quote(prng, world, true);
  const target = pick(
    prng,
    world.ipv6.filter((address) => !address.startsWith('ff')),
  );
  const options = ndpOptions(prng, world);
  switch (prng.below(11)) {
    case 0:
      return { kind: 'echo request', id, seq, payload: data(prng) };
    case 1:
      return { kind: 'echo reply', id, seq, payload: data(prng) };
    case 2:
      return { kind: 'unreachable', code, payload: quoted() };
    case 3:
      return { kind: 'packet too big', mtu: prng.below(65_536), payload: quoted() };
    case 4:
      return { kind: 'time exceeded', code, payload: quoted() };
    case 5:
      return { kind: 'parameter problem', code, pointer: prng.below(64), payload: quoted() };
    case 6:
      return { kind: 'router solicitation', options };
    case 7: {
      const [hopLimit, flags] = [prng.below(256), prng.below(256)];
      const [lifetimeSeconds, reachableMs, retransMs] = [
        prng.below(9000),
        prng.below(3_600_000),
        prng.below(10_000),
      ];
      return {
        kind: 'router advertisement',
        hopLimit,
        flags,
        lifetimeSeconds,
        reachableMs,
        retransMs,
        options,
      };
    }
    case 8:
      return { kind: 'neighbor solicitation', target, options };
    case 9:
      return { kind: 'neighbor advertisement', target, flags: prng.below(8) << 5, options };
    default:
      return { kind: 'redirect', target, destination: pick(prng, world.ipv6), options };
  }
}

function ndpOptions(prng: Prng, world: FrameWorld): NdpOptionValues {
  const options: NdpOptionValues = {};
  if (prng.bool()) options.sourceMac = pick(prng, world.macs);
  if (prng.bool()) options.targetMac = pick(prng, world.macs);
  if (prng.bool(0.3)) options.mtu = 1280 + prng.below(8000);
  if (prng.bool(0.3)) {
    const [onLink, autonomous, validSeconds] = [prng.bool(), prng.bool(), prng.next() >>> 0];
    const prefix = {
      prefix: '2001:db8::',
      length: 64,
      onLink,
      autonomous,
      validSeconds,
      preferredSeconds: 60,
    };
    options.prefixes = new Array(1 + prng.below(3)).fill(prefix);
  }
  return options;
}

/** What an error carries: the head of a TCP segment that we may have sent. */
function quote(prng: Prng, world: FrameWorld, over6: boolean): Uint8Array {
  const pool = over6 ? world.ipv6 : world.ipv4;
  const ends = { src: pick(prng, pool), dst: pick(prng, pool) };
  const [srcPort, dstPort] = [pick(prng, world.ports), pick(prng, world.ports)];
  const payload = emitTcp({ srcPort, dstPort, seq: prng.next(), payload: data(prng) }, ends);
  const whole = over6
    ? emitIpv6Packet({ ...ends, nextHeader: PROTOCOL_TCP, payload })
    : emitIpv4Packet({ ...ends, protocol: PROTOCOL_TCP, payload });
  return whole.subarray(
    0,
    (over6 ? IPV6_HEADER_BYTES : IPV4_HEADER_BYTES) + (prng.bool() ? 8 : TCP_HEADER_BYTES),
  );
}

function data(prng: Prng): Uint8Array {
  return randomBytes(prng, prng.bool() ? prng.below(4) : prng.below(200));
}

export function randomBytes(prng: Prng, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = prng.next();
  return bytes;
}

export function pick<T>(prng: Prng, choices: readonly T[]): T {
  return choices[prng.below(choices.length)];
}
