/** Takes a whole frame apart into plain objects, one per layer. For tests, tools and messages to people. */
import { type ArpPacket, parseArp } from './arp.ts';
import { sumBytes } from './checksum.ts';
import {
  ETHER_HEADER_BYTES,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type EthernetFrame,
  parseEthernet,
} from './ethernet.ts';
import { type IcmpMessage, parseIcmp } from './icmp.ts';
import { type Icmpv6Message, parseIcmpv6 } from './icmpv6.ts';
import { type Ipv4Packet, parseIpv4Packet } from './ipv4.ts';
import {
  fragmentId,
  fragmentMore,
  fragmentOffset,
  HEADER_FRAGMENT,
  IPV6_HEADER_BYTES,
  IPV6_REJECTS,
  type Ipv6Packet,
  ipv6Upper,
  parseIpv6Packet,
  upperOffset,
  upperProtocol,
} from './ipv6.ts';
import { accept, type Ends, transportChecksumGood, viewOf, WireError } from './plain.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from './protocols.ts';
import { parseTcp, type TcpSegment } from './tcp.ts';
import { parseUdp, type UdpDatagram, udpChecksum } from './udp.ts';

/** What a frame starts with: an Ethernet header, or the IP header itself. */
export type Link = 'ether' | 'ip';

export interface Fragment {
  id: number;
  /** Bytes. */
  offset: number;
  more: boolean;
}

/** The layers that are there. Payloads are views of the frame's bytes. */
export interface Decoded {
  ethernet?: EthernetFrame;
  arp?: ArpPacket;
  ipv4?: Ipv4Packet;
  ipv6?: Ipv6Packet;
  /** A piece of a packet; what it carries isn't decoded. */
  fragment?: Fragment;
  /** What the IP packet carries, past extension headers. */
  protocol?: number;
  tcp?: TcpSegment;
  udp?: UdpDatagram;
  icmp?: IcmpMessage;
  icmpv6?: Icmpv6Message;
  /** Whether the checksum of the layer above IP adds up. */
  checksumGood?: boolean;
  /** Why decoding stopped below. */
  malformed?: WireError;
}

/** Never throws: a malformed frame has `malformed` and the layers down to there. */
export function decodeFrame(bytes: Uint8Array, link: Link): Decoded {
  const decoded: Decoded = {};
  try {
    if (link === 'ip') decodeIp(bytes, decoded);
    else decodeEthernet(bytes, decoded);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    decoded.malformed = error;
  }
  return decoded;
}

function decodeEthernet(bytes: Uint8Array, decoded: Decoded): void {
  decoded.ethernet = parseEthernet(bytes);
  const payload = bytes.subarray(ETHER_HEADER_BYTES);
  switch (decoded.ethernet.type) {
    case ETHERTYPE_ARP:
      decoded.arp = parseArp(payload);
      break;
    case ETHERTYPE_IPV4:
      decodeIpv4(payload, decoded);
      break;
    case ETHERTYPE_IPV6:
      decodeIpv6(payload, decoded);
  }
}

function decodeIp(bytes: Uint8Array, decoded: Decoded): void {
  if (bytes.length === 0) throw new WireError('ip', 'truncated');
  const version = bytes[0] >> 4;
  if (version === 4) decodeIpv4(bytes, decoded);
  else if (version === 6) decodeIpv6(bytes, decoded);
  else throw new WireError('ip', 'version');
}

function decodeIpv4(bytes: Uint8Array, decoded: Decoded): void {
  const packet = parseIpv4Packet(bytes);
  decoded.ipv4 = packet;
  if (packet.moreFragments || packet.fragmentOffset > 0) {
    decoded.fragment = { id: packet.id, offset: packet.fragmentOffset, more: packet.moreFragments };
  } else {
    decodeTransport(packet.payload, packet.protocol, packet, decoded);
  }
}

function decodeIpv6(bytes: Uint8Array, decoded: Decoded): void {
  const packet = parseIpv6Packet(bytes);
  decoded.ipv6 = packet;
  const view = viewOf(bytes);
  const upper = accept('ipv6', IPV6_REJECTS, ipv6Upper(view, 0, bytes.length));
  const at = upperOffset(upper);
  if (upperProtocol(upper) === HEADER_FRAGMENT) {
    const offset = fragmentOffset(view, at);
    decoded.fragment = { id: fragmentId(view, at) >>> 0, offset, more: fragmentMore(view, at) };
  } else {
    decodeTransport(packet.payload.subarray(at - IPV6_HEADER_BYTES), upperProtocol(upper), packet, decoded);
  }
}

function decodeTransport(bytes: Uint8Array, protocol: number, ends: Ends, decoded: Decoded): void {
  decoded.protocol = protocol;
  const over6 = decoded.ipv6 !== undefined;
  if (protocol === PROTOCOL_TCP) {
    decoded.tcp = parseTcp(bytes);
    decoded.checksumGood = transportChecksumGood(bytes, ends, protocol);
  } else if (protocol === PROTOCOL_UDP) {
    const datagram = parseUdp(bytes);
    decoded.udp = datagram;
    const unsummed = udpChecksum(viewOf(bytes), 0) === 0;
    const whole = bytes.subarray(0, 8 + datagram.payload.length);
    decoded.checksumGood = unsummed ? !over6 : transportChecksumGood(whole, ends, protocol);
  } else if (protocol === PROTOCOL_ICMP && !over6) {
    decoded.icmp = parseIcmp(bytes);
    decoded.checksumGood = sumBytes(bytes) === 0xffff;
  } else if (protocol === PROTOCOL_ICMPV6 && over6) {
    decoded.icmpv6 = parseIcmpv6(bytes);
    decoded.checksumGood = transportChecksumGood(bytes, ends, protocol);
  }
}
