/**
 * Fragments on their way in: what a fragment must be, and what is said about those that are not; and a datagram made
 * whole again, as a packet that input takes like any other.
 */
import { checksumFinish, sumWords } from '../wire/checksum.ts';
import { ICMP_TIME_EXCEEDED, TIME_EXCEEDED_REASSEMBLY } from '../wire/icmp.ts';
import { ICMPV6_HEADER_BYTES, ICMPV6_PARAMETER_PROBLEM, ICMPV6_TIME_EXCEEDED } from '../wire/icmpv6.ts';
import {
  IPV4_CHECKSUM,
  IPV4_ID,
  IPV4_MF,
  IPV4_TOS,
  IPV4_TOTAL_LENGTH,
  ipv4FragmentOffset,
  ipv4FragmentWord,
  ipv4Id,
} from '../wire/ipv4.ts';
import {
  FRAGMENT_BYTES,
  FRAGMENT_OFFSET,
  fragmentId,
  fragmentMore,
  fragmentOffset,
  HEADER_FRAGMENT,
  IPV6_HEADER_BYTES,
  IPV6_PAYLOAD_LENGTH,
  Ipv6Chain,
  ipv6Walk,
  PROBLEM_CUT,
  PROBLEM_FIELD,
} from '../wire/ipv6.ts';
import { PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { TCP_HEADER_BYTES } from '../wire/tcp.ts';
import { UDP_HEADER_BYTES } from '../wire/udp.ts';
import { icmpSendError } from './icmp-error.ts';
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import type { Packet } from './packet.ts';
import { PIECE_DUPLICATE, PIECE_EXCESS, PIECE_LAST, PIECE_OVERLAP, REASSEMBLY } from './reassembly.ts';

const { IFACE, KIND, SRC, DST, HEADERS, TOTAL, FIRST, ECN, PROTOCOL, UPPER, NAMED, CAST } = REASSEMBLY;
const PACKET_MAX = 65_535;

/** Of a first fragment's chain, from its fragment header on. */
const chain = new Ipv6Chain();

/**
 * Takes an IPv4 fragment for us whose header is good.
 * @param p Has interface, addresses, cast and protocol.
 * @returns offset of the whole datagram's header, or 0
 */
export function fragmentInput4(
  ip: Ip,
  iface: Interface,
  p: Packet,
  at: number,
  header: number,
  total: number,
): number {
  const { view } = ip;
  const { counters } = iface;
  counters.fragments++;
  const start = ipv4FragmentOffset(view, at);
  const length = total - header;
  const more = (ipv4FragmentWord(view, at) & IPV4_MF) !== 0;
  // A piece that says nothing, that no fragment can follow (RFC 791 3.2), or that no datagram has.
  if (length === 0 || (more && (length & 7) !== 0) || header + start + length > PACKET_MAX) {
    counters.fragmentsBad++;
    return 0;
  }
  const e = entry(ip, iface, p, ipv4Id(view, at));
  if (e < 0) return 0;
  const { reassembly } = ip;
  const { m } = reassembly;
  if (start === 0 && m[e + HEADERS] === 0) {
    reassembly.addHeaders(e, at, header);
    m[e + PROTOCOL] = p.protocol;
  }
  if (!add(ip, iface, e, view.getUint8(at + IPV4_TOS), at + header, start, length, !more)) return 0;
  const whole = reassembly.dataAt(e) - m[e + HEADERS];
  if (m[e + HEADERS] + m[e + TOTAL] > PACKET_MAX) {
    counters.fragmentsBad++;
    return 0;
  }
  view.setUint16(whole + IPV4_TOTAL_LENGTH, m[e + HEADERS] + m[e + TOTAL], false);
  view.setInt32(whole + IPV4_ID, 0, false);
  if (congested(m, e)) view.setUint8(whole + IPV4_TOS, view.getUint8(whole + IPV4_TOS) | 3);
  view.setUint16(whole + IPV4_CHECKSUM, 0, false);
  view.setUint16(whole + IPV4_CHECKSUM, checksumFinish(sumWords(view, whole, m[e + HEADERS] >> 2)), false);
  counters.reassembled++;
  return whole;
}

/**
 * Takes an IPv6 fragment for us.
 * @param p Has what the fixed header says.
 * @param offset From the IPv6 header to the fragment header, and `namedAt` to the byte that named it.
 * @param end From the IPv6 header to the packet's end.
 * @returns offset of the whole datagram's header, or 0
 */
export function fragmentInput6(
  ip: Ip,
  iface: Interface,
  p: Packet,
  offset: number,
  namedAt: number,
  end: number,
): number {
  const { view } = ip;
  const { counters } = iface;
  const header = p.at + offset;
  const data = offset + FRAGMENT_BYTES;
  const length = end - data;
  const start = fragmentOffset(view, header);
  const more = fragmentMore(view, header);
  counters.fragments++;
  // For errors about it: what the first of them carries may be known.
  p.protocol = start === 0 ? view.getUint8(header) : HEADER_FRAGMENT;
  p.l4At = p.at + data;
  p.l4Length = length;
  // RFC 8200 4.5, with the fields that are to be told.
  if (more && (length & 7) !== 0) return problem(ip, iface, p, IPV6_PAYLOAD_LENGTH);
  if (offset - IPV6_HEADER_BYTES + start + length > PACKET_MAX)
    return problem(ip, iface, p, offset + FRAGMENT_OFFSET);
  if (length === 0) {
    counters.fragmentsBad++;
    return 0;
  }
  if (start === 0 && !chainComplete(view, p.at, data, end, offset)) {
    counters.fragmentsHeaderless++;
    // RFC 7112 5.
    icmpSendError(ip, p, ICMPV6_PARAMETER_PROBLEM, PROBLEM_CUT, 0, false);
    return 0;
  }
  const e = entry(ip, iface, p, fragmentId(view, header));
  if (e < 0) return 0;
  const { reassembly } = ip;
  const { m } = reassembly;
  if (start === 0 && m[e + HEADERS] === 0) {
    reassembly.addHeaders(e, p.at, data);
    m[e + NAMED] = namedAt;
    m[e + PROTOCOL] = chain.protocol;
    m[e + UPPER] = chain.offset - data;
  }
  if (!add(ip, iface, e, p.tos, p.at + data, start, length, !more)) return 0;
  return whole6(ip, iface, e);
}

/** Takes the fragment header out of the first fragment's headers. @returns where they start, or 0 */
function whole6(ip: Ip, iface: Interface, e: number): number {
  const { view, reassembly } = ip;
  const { m } = reassembly;
  const data = reassembly.dataAt(e);
  const headers = m[e + HEADERS] - FRAGMENT_BYTES;
  const payload = headers - IPV6_HEADER_BYTES + m[e + TOTAL];
  if (payload > PACKET_MAX) {
    // Only when the first fragment has more headers than the others.
    iface.counters.fragmentsBad++;
    return 0;
  }
  const at = data - headers;
  const next = view.getUint8(data - FRAGMENT_BYTES);
  ip.arena.u8.copyWithin(at, at - FRAGMENT_BYTES, data - FRAGMENT_BYTES);
  view.setUint8(at + m[e + NAMED], next);
  view.setUint16(at + IPV6_PAYLOAD_LENGTH, payload, false);
  // The traffic class spans the first two bytes.
  if (congested(m, e)) view.setUint8(at + 1, view.getUint8(at + 1) | 0x30);
  iface.counters.reassembled++;
  return at;
}

/** Forgets datagrams that took too long, telling their senders where the first fragment came. @returns ms, or -1 */
export function fragmentTimers(ip: Ip): number {
  const { reassembly } = ip;
  return reassembly.expire(ip.now_ms, (e) => timedOut(ip, e));
}

/** RFC 792, RFC 4443 3.3: nothing is said unless the fragment zero came. */
function timedOut(ip: Ip, e: number): void {
  const { reassembly, packet: p } = ip;
  const { m } = reassembly;
  ip.interfaces[m[e + IFACE]].counters.reassemblyTimeouts++;
  if (m[e + HEADERS] === 0) return;
  const v4 = m[e + KIND] < 0x100;
  const data = reassembly.dataAt(e);
  p.iface = m[e + IFACE];
  p.version = v4 ? 4 : 6;
  p.at = data - m[e + HEADERS];
  p.l4At = data + m[e + UPPER];
  p.l4Length = m[e + FIRST] - m[e + UPPER];
  p.protocol = m[e + PROTOCOL];
  p.cast = m[e + CAST];
  p.src0 = m[e + SRC];
  p.src1 = m[e + SRC + 1];
  p.src2 = m[e + SRC + 2];
  p.src3 = m[e + SRC + 3];
  p.dst0 = m[e + DST];
  p.dst1 = m[e + DST + 1];
  p.dst2 = m[e + DST + 2];
  p.dst3 = m[e + DST + 3];
  icmpSendError(ip, p, v4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEEDED, TIME_EXCEEDED_REASSEMBLY, 0, false);
}

function entry(ip: Ip, iface: Interface, p: Packet, id: number): number {
  const e = ip.reassembly.find(p, id, ip.now_ms, iface.counters);
  if (e >= 0) ip.armTimer(ip.reassembly.m[e + REASSEMBLY.DEADLINE_MS] - ip.now_ms);
  return e;
}

/** @returns whether that was the last that was missing. */
function add(
  ip: Ip,
  iface: Interface,
  e: number,
  tos: number,
  from: number,
  start: number,
  length: number,
  last: boolean,
): boolean {
  const { counters } = iface;
  const { m } = ip.reassembly;
  m[e + ECN] |= 1 << (tos & 3);
  const done = ip.reassembly.add(e, from, start, length, last);
  if (done === PIECE_DUPLICATE) counters.fragmentsDuplicate++;
  else if (done === PIECE_OVERLAP) counters.fragmentsOverlapping++;
  else if (done === PIECE_EXCESS) counters.fragmentsExcess++;
  if (done !== PIECE_LAST) return false;
  // RFC 3168 5.3: of Not-ECT beside another codepoint nobody could tell what it means.
  if ((m[e + ECN] & 1) === 0 || m[e + ECN] === 1) return true;
  counters.fragmentsBad++;
  return false;
}

/** RFC 3168 5.3: one fragment's mark is the datagram's. */
function congested(m: Int32Array, e: number): boolean {
  return (m[e + ECN] & 8) !== 0;
}

/** Drops a fragment, and says what is wrong with it. */
function problem(ip: Ip, iface: Interface, p: Packet, pointer: number): number {
  iface.counters.fragmentsBad++;
  icmpSendError(ip, p, ICMPV6_PARAMETER_PROBLEM, PROBLEM_FIELD, pointer, false);
  return 0;
}

/** RFC 7112 5: a first fragment holds all headers, the upper layer's too. `chain` tells where that is. */
function chainComplete(view: DataView, at: number, from: number, end: number, fragment: number): boolean {
  if (ipv6Walk(chain, view, at, end, from, view.getUint8(at + fragment), fragment) < 0) {
    // What is wrong but complete is judged once the datagram is whole.
    chain.offset = from;
    return chain.problem !== PROBLEM_CUT;
  }
  return end - chain.offset >= upperBytes(chain.protocol);
}

/** The least that a header of the upper layer has. */
function upperBytes(protocol: number): number {
  if (protocol === PROTOCOL_TCP) return TCP_HEADER_BYTES;
  if (protocol === PROTOCOL_UDP) return UDP_HEADER_BYTES;
  return protocol === PROTOCOL_ICMPV6 ? ICMPV6_HEADER_BYTES : 0;
}
