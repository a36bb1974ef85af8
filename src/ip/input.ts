/**
 * IP input: from a received frame to `ip.packet`, for TCP and UDP, or to the protocols that are handled here.
 * Everything else is dropped, and counted by reason.
 */
import { FRAME_CHECKSUM_GOOD } from '../memory/ring.ts';
import { fold } from '../wire/checksum.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { UNREACHABLE_PROTOCOL } from '../wire/icmp.ts';
import { ICMPV6_PARAMETER_PROBLEM } from '../wire/icmpv6.ts';
import {
  IPV4_IHL,
  IPV4_OPTION_LSRR,
  IPV4_OPTION_SSRR,
  IPV4_VERSION,
  ipv4Check,
  ipv4ChecksumGood,
} from '../wire/ipv4.ts';
import {
  HEADER_FRAGMENT,
  HEADER_NONE,
  IPV6_HEADER_BYTES,
  IPV6_NEXT_HEADER,
  IPV6_ROUTING,
  ipv6Walk,
  PROBLEM_CUT,
  PROBLEM_SILENT,
} from '../wire/ipv6.ts';
import {
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_IGMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/protocols.ts';
import { arpInput } from './arp.ts';
import { fragmentInput4, fragmentInput6 } from './fragments.ts';
import { groupMember, igmpInput } from './groups.ts';
import { icmpInput } from './icmp.ts';
import { icmpSendError, icmpSendUnreachable } from './icmp-error.ts';
import { icmpv6Input } from './icmpv6.ts';
import { type Interface, interfaceHas6 } from './interface.ts';
import type { Ip } from './ip.ts';
import { type Packet, packetPseudoSum } from './packet.ts';

// V8 folds a module's own constants, not imported ones.
const CHECKSUM_GOOD = FRAME_CHECKSUM_GOOD;
const ETHER_BYTES = ETHER_HEADER_BYTES;
const TYPE_4 = ETHERTYPE_IPV4;
const TYPE_6 = ETHERTYPE_IPV6;
const TYPE_ARP = ETHERTYPE_ARP;
const ICMP = PROTOCOL_ICMP;
const ICMPV6 = PROTOCOL_ICMPV6;
const IGMP = PROTOCOL_IGMP;
const TCP = PROTOCOL_TCP;
const UDP = PROTOCOL_UDP;
const V6_BYTES = IPV6_HEADER_BYTES;
const LSRR = IPV4_OPTION_LSRR;
const SSRR = IPV4_OPTION_SSRR;

/** All extension headers together, bytes; longer chains are an attack on whoever parses them (RFC 8504 5.3). */
const EXTENSION_BYTES_MAX = 256;
/** What a length field can say. */
const PACKET_BYTES_MAX = 65_535;

/**
 * Takes a received frame [at, at + length), which stays the caller's. ARP, ICMP and neighbour discovery are
 * handled at once; their answers are in tx slots on return.
 * @param flags FRAME_* of its descriptor.
 * @returns 6 (TCP) or 17 (UDP) with `ip.packet` filled, or 0: handled, or dropped and counted
 */
export function ipInput(ip: Ip, iface: Interface, at: number, length: number, flags: number): number {
  const { view, packet: p } = ip;
  p.iface = iface.index;
  p.checksumGood = flags & CHECKSUM_GOOD;
  p.cast = 0;
  p.foreign = 0;
  p.linkCast = 0;
  p.fragmented = 0;
  if (!iface.up) {
    iface.counters.linkDown++;
    return 0;
  }
  if (!iface.ether) {
    if (length > 0) {
      const version = view.getUint8(at) >> 4;
      if (version === 4) return input4(ip, iface, at, length);
      if (version === 6) return input6(ip, iface, at, length);
    }
    return dropMalformed(iface, length === 0);
  }
  if (length < ETHER_BYTES) return dropMalformed(iface, true);
  const dstHigh = view.getUint16(at, false);
  if (dstHigh !== iface.macHigh || view.getInt32(at + 2, false) !== iface.macLow) {
    if ((dstHigh & 0x0100) === 0) {
      iface.counters.notForUs++;
      return 0;
    }
    p.linkCast = 1;
  }
  const type = view.getUint16(at + 12, false);
  if (type === TYPE_4) return input4(ip, iface, at + ETHER_BYTES, length - ETHER_BYTES);
  if (type === TYPE_6) return input6(ip, iface, at + ETHER_BYTES, length - ETHER_BYTES);
  if (type === TYPE_ARP) arpInput(ip, iface, at + ETHER_BYTES, length - ETHER_BYTES, p.linkCast);
  else iface.counters.unknownEtherType++;
  return 0;
}

function dropMalformed(iface: Interface, truncated: boolean): number {
  if (truncated) iface.counters.truncated++;
  else iface.counters.badVersion++;
  return 0;
}

function input4(ip: Ip, iface: Interface, at: number, length: number): number {
  const { view, packet: p } = ip;
  const { counters } = iface;
  let header = 20;
  if (length < 20 || view.getUint8(at) !== 0x45) {
    header = unusualHeader4(ip, iface, at, length);
    if (header < 0) return 0;
  }
  // The five words: version, IHL, TOS, total length | ID, fragment | TTL, protocol, checksum | ends.
  const w0 = view.getInt32(at, false);
  const w1 = view.getInt32(at + 4, false);
  const w2 = view.getInt32(at + 8, false);
  const src = view.getInt32(at + 12, false);
  const dst = view.getInt32(at + 16, false);
  const total = w0 & 0xffff;
  if (total > length) return dropMalformed(iface, true);
  if (total < header) {
    counters.badHeader++;
    return 0;
  }
  const ends = (src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff);
  if (header === 20) {
    const sum = (w0 >>> 16) + total + (w1 >>> 16) + (w1 & 0xffff) + (w2 >>> 16) + (w2 & 0xffff) + ends;
    if (fold(sum) !== 0xffff) {
      counters.badChecksum++;
      return 0;
    }
  }
  // RFC 1122 3.2.1.3: 0.0.0.0/8, 127.0.0.0/8, and from 224 on groups, what is reserved, and broadcast.
  const srcTop = src >>> 24;
  if (srcTop >= 224 || srcTop === 127 || srcTop === 0) {
    counters.badSource++;
    return 0;
  }
  let ours = false;
  for (let i = 0; i < iface.v4.length; i++) {
    const a = iface.v4[i];
    if (a.address === dst) ours = true;
    else if (a.broadcast === dst) p.cast = 1;
    if (a.broadcast === src) {
      counters.badSource++;
      return 0;
    }
  }
  // 255.255.255.255, and 224.0.0.1: all hosts (RFC 1112 4).
  if (!ours && p.cast === 0) {
    if (dst === -1 || dst === (0xe0000001 | 0) || groupMember(iface, 4, dst, 0, 0, 0)) p.cast = 1;
    else if (ip.transparent && dst >>> 24 < 224 && dst >>> 24 !== 127 && dst >>> 24 !== 0) p.foreign = 1;
    else {
      counters.notForUs++;
      return 0;
    }
  }
  if (p.linkCast > p.cast) {
    counters.linkBroadcast++;
    return 0;
  }
  const protocol = (w2 >>> 16) & 0xff;
  p.version = 4;
  p.at = at;
  p.l4At = at + header;
  p.l4Length = total - header;
  p.protocol = protocol;
  p.src0 = src;
  p.src1 = 0;
  p.src2 = 0;
  p.src3 = 0;
  p.dst0 = dst;
  p.dst1 = 0;
  p.dst2 = 0;
  p.dst3 = 0;
  p.ttl = w2 >>> 24;
  p.tos = (w0 >>> 16) & 0xff;
  // MF and the offset.
  if ((w1 & 0x3fff) !== 0) return whole(ip, iface, p, fragmentInput4(ip, iface, p, at, header, total));
  p.pseudoSum = ends + protocol + total - header;
  return dispatch(ip, iface, p, protocol, ICMP);
}

function input6(ip: Ip, iface: Interface, at: number, length: number): number {
  const { view, packet: p } = ip;
  const { counters } = iface;
  if (length < V6_BYTES) return dropMalformed(iface, true);
  const w0 = view.getInt32(at, false);
  if (w0 >>> 28 !== 6) return dropMalformed(iface, false);
  const w1 = view.getInt32(at + 4, false); // payload length, next header, hop limit
  const payload = w1 >>> 16;
  if (V6_BYTES + payload > length) return dropMalformed(iface, true);
  p.version = 6;
  p.at = at;
  p.src0 = view.getInt32(at + 8, false);
  p.src1 = view.getInt32(at + 12, false);
  p.src2 = view.getInt32(at + 16, false);
  p.src3 = view.getInt32(at + 20, false);
  p.dst0 = view.getInt32(at + 24, false);
  p.dst1 = view.getInt32(at + 28, false);
  p.dst2 = view.getInt32(at + 32, false);
  p.dst3 = view.getInt32(at + 36, false);
  p.ttl = w1 & 0xff;
  p.tos = (w0 >>> 20) & 0xff;
  if (!interfaceHas6(iface, p.dst0, p.dst1, p.dst2, p.dst3)) {
    if (inGroup6(iface, p)) p.cast = 1;
    // Neither groups nor link-local addresses, which belong to their link.
    else if (ip.transparent && p.dst0 >>> 24 !== 0xff && p.dst0 >>> 22 !== 0x3fa) p.foreign = 1;
    else {
      counters.notForUs++;
      return 0;
    }
  }
  if (p.linkCast > p.cast) {
    counters.linkBroadcast++;
    return 0;
  }
  let protocol = (w1 >>> 8) & 0xff;
  let offset = V6_BYTES;
  if (protocol !== TCP && protocol !== UDP && protocol !== ICMPV6) {
    const { chain } = ip;
    const bad = ipv6Walk(chain, view, at, V6_BYTES + payload, V6_BYTES, protocol, IPV6_NEXT_HEADER);
    if (bad < 0) return refuse6(ip, iface, p, bad, payload);
    protocol = chain.protocol;
    offset = chain.offset;
    if (offset > V6_BYTES + EXTENSION_BYTES_MAX || protocol === HEADER_NONE) {
      counters.extensionHeaders++;
      return 0;
    }
    if (protocol === HEADER_FRAGMENT) return fragment6(ip, iface, p, V6_BYTES + payload);
    if (chain.fragmented) p.fragmented = 1;
  }
  if (badSource6(p, protocol)) {
    counters.badSource++;
    return 0;
  }
  p.l4At = at + offset;
  p.l4Length = V6_BYTES + payload - offset;
  p.protocol = protocol;
  p.pseudoSum = packetPseudoSum(p);
  return dispatch(ip, iface, p, protocol, ICMPV6);
}

/** A fragment was taken. @param at Where the whole datagram starts, if that was the last one, or 0. */
function whole(ip: Ip, iface: Interface, p: Packet, at: number): number {
  if (at === 0) return 0;
  // No device has seen the whole.
  p.checksumGood = 0;
  p.fragmented = 1;
  return p.version === 4
    ? input4(ip, iface, at, PACKET_BYTES_MAX)
    : input6(ip, iface, at, V6_BYTES + PACKET_BYTES_MAX);
}

/** At the fragment header that `ip.chain` tells. Fragments of fragments are nobody's business. */
function fragment6(ip: Ip, iface: Interface, p: Packet, end: number): number {
  const { offset, namedAt } = ip.chain;
  if (p.fragmented !== 0) {
    iface.counters.extensionHeaders++;
    return 0;
  }
  if (badSource6(p, HEADER_FRAGMENT)) {
    iface.counters.badSource++;
    return 0;
  }
  return whole(ip, iface, p, fragmentInput6(ip, iface, p, offset, namedAt, end));
}

/** A chain of extension headers that `ip.chain` tells about. */
function refuse6(ip: Ip, iface: Interface, p: Packet, bad: number, payload: number): number {
  const { problem, pointer, problemToGroup } = ip.chain;
  if (bad === IPV6_ROUTING) iface.counters.sourceRoutes++;
  else iface.counters.extensionHeaders++;
  if (problem === PROBLEM_SILENT || problem === PROBLEM_CUT) return 0;
  // Nothing above IP was reached, so it can't be an ICMP error either.
  p.protocol = HEADER_NONE;
  p.l4At = p.at + V6_BYTES;
  p.l4Length = payload;
  icmpSendError(ip, p, ICMPV6_PARAMETER_PROBLEM, problem, pointer, problemToGroup);
  return 0;
}

/**
 * Groups; unspecified, which only duplicate address detection and membership reports may use; ::1; IPv4 in disguise
 * (RFC 4291 2.5.5).
 */
function badSource6(p: Packet, protocol: number): boolean {
  const disguised = (p.src0 | p.src1) === 0 && (p.src2 === 0 || p.src2 === 0xffff);
  return p.src0 >>> 24 === 0xff || (disguised && ((p.src2 | p.src3) !== 0 || protocol !== ICMPV6));
}

/** The way up. @param icmp The version's own ICMP. */
function dispatch(ip: Ip, iface: Interface, p: Packet, protocol: number, icmp: number): number {
  if (protocol === TCP) {
    if (p.cast === 0) return TCP;
    iface.counters.castTcp++;
    return 0;
  }
  // Errors about what our transparent connections sent come to the addresses that they use.
  if (p.foreign !== 0 && protocol !== icmp) {
    iface.counters.notForUs++;
    return 0;
  }
  if (protocol === UDP) return UDP;
  if (protocol === icmp) {
    if (icmp === ICMP) icmpInput(ip, iface);
    else icmpv6Input(ip, iface);
    return 0;
  }
  if (protocol === IGMP && icmp === ICMP) {
    igmpInput(ip, iface);
    return 0;
  }
  iface.counters.unknownProtocol++;
  icmpSendUnreachable(ip, p, UNREACHABLE_PROTOCOL);
  return 0;
}

/** All nodes of interface and link (RFC 4291 2.7.1), and what we are members of. */
function inGroup6(iface: Interface, p: Packet): boolean {
  const allNodes = p.dst0 === (0xff020000 | 0) || p.dst0 === (0xff010000 | 0);
  if (allNodes && (p.dst1 | p.dst2) === 0 && p.dst3 === 1) return true;
  return p.dst0 >>> 24 === 0xff && groupMember(iface, 6, p.dst0, p.dst1, p.dst2, p.dst3);
}

/** Anything but an IPv4 header of 20 bytes. @returns the header's length, or -1: dropped and counted. */
function unusualHeader4(ip: Ip, iface: Interface, at: number, length: number): number {
  const { counters } = iface;
  const header = ipv4Check(ip.view, at, length);
  if (header < 0) {
    if (header === IPV4_VERSION) counters.badVersion++;
    else if (header === IPV4_IHL) counters.badHeader++;
    else counters.truncated++;
    return -1;
  }
  if (!ipv4ChecksumGood(ip.view, at, header)) {
    counters.badChecksum++;
    return -1;
  }
  return optionsAllowed(ip, iface, at + 20, at + header) ? header : -1;
}

/**
 * Options are skipped (RFC 1122 3.2.1.8 lets a host), except that a source-routed packet is dropped, unless `ip.sourceRoutes`
 * and its route has come to its end (RFC 7126 4.3, 4.4).
 */
function optionsAllowed(ip: Ip, iface: Interface, from: number, end: number): boolean {
  const { view } = ip;
  let routes = 0;
  for (let at = from; at < end; ) {
    const type = view.getUint8(at);
    if (type === 0) return true; // end of list
    if (type === 1) {
      at++; // no operation
      continue;
    }
    const bytes = at + 1 < end ? view.getUint8(at + 1) : 0;
    if (bytes < 2 || at + bytes > end) {
      iface.counters.badHeader++;
      return false;
    }
    if (type === LSRR || type === SSRR) {
      const ended = bytes >= 3 && view.getUint8(at + 2) > bytes;
      if (!ip.sourceRoutes || !ended || ++routes > 1) {
        iface.counters.sourceRoutes++;
        return false;
      }
    }
    at += bytes;
  }
  return true;
}
