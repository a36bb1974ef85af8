/**
 * ICMP errors of both versions: those we send (RFC 1122 3.2.2, RFC 4443 2.4), and the quotations in those we
 * receive, which go up to the transport that can tell whether it sent the packet.
 */
import { checksumFinish } from '../wire/checksum.ts';
import {
  ICMP_CHECKSUM,
  ICMP_HEADER_BYTES,
  ICMP_UNREACHABLE,
  icmpIsError,
  icmpType,
  icmpWrite,
  UNREACHABLE_PORT,
  type UNREACHABLE_PROTOCOL,
} from '../wire/icmp.ts';
import {
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_UNREACHABLE,
  icmpv6IsError,
  UNREACHABLE6_PORT,
} from '../wire/icmpv6.ts';
import {
  IPV4_HEADER_BYTES,
  ipv4CheckQuoted,
  ipv4Dst,
  ipv4FragmentOffset,
  ipv4Protocol,
  ipv4Src,
} from '../wire/ipv4.ts';
import {
  FRAGMENT_BYTES,
  fragmentOffset,
  HEADER_FRAGMENT,
  IPV6_DST,
  IPV6_HEADER_BYTES,
  IPV6_NEXT_HEADER,
  IPV6_SRC,
  ipv6CheckQuoted,
  ipv6NextHeader,
  PROBLEM_NEXT_HEADER,
} from '../wire/ipv6.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { type Interface, interfaceHas4, interfaceHas6 } from './interface.ts';
import type { Ip } from './ip.ts';
import { ttlDefault } from './output.ts';
import { type Packet, packetAnswer, packetPseudoSum } from './packet.ts';
import { sourceSelect6 } from './routes.ts';
import { ipSend, SENT } from './send.ts';

/** RFC 9293 3.9.2.2: a transport SHOULD give up on a hard error, and MUST NOT on a soft one. */
export const ERROR_HARD = 1;
export const ERROR_SOFT = 2;
/** The packet was larger than `mtu`, which an old router leaves 0 (RFC 1191 5). */
export const ERROR_TOO_BIG = 3;

/** An ICMP error about a packet of ours, as `ip.onError` gets it; reused, so good until the hook returns. */
export class IcmpError {
  /** One of ERROR_*. Not yet believed: the transport must know the connection and the sequence number. */
  kind = 0;
  version = 0;
  type = 0;
  code = 0;
  mtu = 0;
  /** From the quoted packet, which went from `src` (an address of ours) to `dst`. TCP or UDP. */
  protocol = 0;
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  dst0 = 0;
  dst1 = 0;
  dst2 = 0;
  dst3 = 0;
  srcPort = 0;
  dstPort = 0;
  /** TCP: the sequence number. UDP: its length and checksum. */
  seq = 0;
}

/** Gives `out` the ends of the quoted packet, seen as if the peer had sent. */
export function icmpErrorEnds(out: Packet, e: IcmpError): void {
  out.version = e.version;
  out.src0 = e.dst0;
  out.src1 = e.dst1;
  out.src2 = e.dst2;
  out.src3 = e.dst3;
  out.dst0 = e.src0;
  out.dst1 = e.src1;
  out.dst2 = e.src2;
  out.dst3 = e.src3;
}

/** Quoted of the upper layer by every router: ports and sequence number (RFC 792). */
const QUOTED_BYTES = 8;
/** RFC 1812 4.3.2.3: as much as fits 576 bytes; RFC 4443 2.4 (c): the minimum MTU. */
const ERROR_BYTES_4 = 576;
const ERROR_BYTES_6 = 1280;

/** @param p The packet that nobody here takes. @param code UNREACHABLE_PROTOCOL or UNREACHABLE_PORT. */
export function icmpSendUnreachable(
  ip: Ip,
  p: Packet,
  code: typeof UNREACHABLE_PROTOCOL | typeof UNREACHABLE_PORT,
): void {
  if (p.version === 4) icmpSendError(ip, p, ICMP_UNREACHABLE, code, 0, false);
  else if (code === UNREACHABLE_PORT) icmpSendError(ip, p, ICMPV6_UNREACHABLE, UNREACHABLE6_PORT, 0, false);
  else {
    // RFC 8200 4: unrecognized, and where it was named.
    const pointer = nextHeaderOffset(ip.view, p.at, p.l4At);
    icmpSendError(ip, p, ICMPV6_PARAMETER_PROBLEM, PROBLEM_NEXT_HEADER, pointer, false);
  }
}

/**
 * Tells the sender of `p`, which was for us, what is wrong with it, unless it must not be told.
 * @param p With ends, `at`, `l4At` and `l4Length`; the quotation ends where the upper layer does.
 * @param toGroup Also when it went to a group (RFC 4443 2.4 (e.3), for option types that ask for it).
 */
export function icmpSendError(
  ip: Ip,
  p: Packet,
  type: number,
  code: number,
  rest: number,
  toGroup: boolean,
): void {
  // What came in a link-layer broadcast is `cast` too, or input has dropped it.
  if ((p.cast !== 0 && !toGroup) || isNobody(p) || isError(ip, p)) return;
  const { counters } = ip.interfaces[p.iface];
  // Uneven costs: who could count on the limit could tell open ports by errors that aren't sent (SAD DNS).
  if (!ip.icmpErrors.take(ip.now_ms, 500 + ip.random.below(1001))) {
    counters.icmpErrorsLimited++;
    return;
  }
  const v4 = p.version === 4;
  const room = v4
    ? ERROR_BYTES_4 - IPV4_HEADER_BYTES - ICMP_HEADER_BYTES
    : ERROR_BYTES_6 - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES;
  const quoted = Math.min(p.l4At - p.at + p.l4Length, room);
  const { out, scratchAt: at } = ip;
  packetAnswer(out, p);
  if (p.cast !== 0) {
    const source = sourceSelect6(ip.interfaces[p.iface], p.src0, p.src1, p.src2, p.src3);
    [out.src0, out.src1, out.src2, out.src3] = [source.a0, source.a1, source.a2, source.a3];
  }
  out.protocol = v4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
  out.ttl = ttlDefault(ip.interfaces[p.iface], p.version);
  out.tos = 0;
  out.l4At = at;
  out.l4Length = ICMP_HEADER_BYTES + quoted;
  icmpWrite(ip.view, at, type, code, rest);
  ip.arena.kernels.copy(at + ICMP_HEADER_BYTES, p.at, quoted);
  icmpSum(ip, out);
  if (ipSend(ip, out) === SENT) counters.icmpErrorsOut++;
}

/** Fills in the checksum of the ICMP message at `out.l4At`, whose field is zero. */
export function icmpSum(ip: Ip, out: Packet): void {
  const pseudo = out.version === 4 ? 0 : packetPseudoSum(out);
  const sum = pseudo + ip.arena.kernels.sum(out.l4At, out.l4Length);
  ip.view.setUint16(out.l4At + ICMP_CHECKSUM, checksumFinish(sum), false);
}

/** RFC 4443 2.4 (e.6): no one host. IPv4's were dropped as bad sources. */
function isNobody(p: Packet): boolean {
  return p.version === 6 && ((p.src0 | p.src1 | p.src2 | p.src3) === 0 || p.src0 >>> 24 === 0xff);
}

/** RFC 1122 3.2.2, RFC 4443 2.4 (e.1): an error about an error would go on for ever. */
function isError(ip: Ip, p: Packet): boolean {
  if (p.protocol !== PROTOCOL_ICMP && p.protocol !== PROTOCOL_ICMPV6) return false;
  if (p.l4Length <= 0) return true;
  const type = icmpType(ip.view, p.l4At);
  return p.protocol === PROTOCOL_ICMP ? icmpIsError(type) : icmpv6IsError(type);
}

/** From the start of the IPv6 header to the byte that named the header at `l4At`. */
function nextHeaderOffset(view: DataView, at: number, l4At: number): number {
  let named = at + IPV6_NEXT_HEADER;
  for (let header = at + IPV6_HEADER_BYTES; header < l4At; ) {
    const bytes = view.getUint8(named) === HEADER_FRAGMENT ? 8 : (view.getUint8(header + 1) + 1) << 3;
    named = header;
    header += bytes;
  }
  return named - at;
}

/**
 * An error has come in `ip.packet`, its checksum good. Gives it to `ip.onError` if it quotes enough of a TCP
 * or UDP packet that one of our addresses could have sent; otherwise it is counted.
 */
export function icmpErrorInput(ip: Ip, iface: Interface, kind: number, mtu: number): void {
  const { packet: p, error, view } = ip;
  iface.counters.icmpErrorsIn++;
  const at = p.l4At + ICMP_HEADER_BYTES;
  const length = p.l4Length - ICMP_HEADER_BYTES;
  const header = p.version === 4 ? quote4(ip, at, length) : quote6(ip, at, length);
  const known = error.protocol === PROTOCOL_TCP || error.protocol === PROTOCOL_UDP;
  if (header < 0 || length < header + QUOTED_BYTES || !known || !isOurs(ip)) {
    iface.counters.icmpErrorsBad++;
    return;
  }
  error.kind = kind;
  error.version = p.version;
  error.type = icmpType(view, p.l4At);
  error.code = view.getUint8(p.l4At + 1);
  error.mtu = mtu;
  error.srcPort = view.getUint16(at + header, false);
  error.dstPort = view.getUint16(at + header + 2, false);
  error.seq = view.getInt32(at + header + 4, false);
  ip.onError?.(error);
}

/** @returns the quoted header's length, or negative. */
function quote4(ip: Ip, at: number, length: number): number {
  const { error, view } = ip;
  const header = ipv4CheckQuoted(view, at, length);
  // A later fragment holds no ports.
  if (header < 0 || ipv4FragmentOffset(view, at) !== 0) return -1;
  error.protocol = ipv4Protocol(view, at);
  error.src0 = ipv4Src(view, at);
  error.dst0 = ipv4Dst(view, at);
  error.src1 = error.src2 = error.src3 = error.dst1 = error.dst2 = error.dst3 = 0;
  return header;
}

/** Of extension headers we send only the fragment header; a later fragment holds no ports. */
function quote6(ip: Ip, at: number, length: number): number {
  const { error, view } = ip;
  const header = ipv6CheckQuoted(view, at, length);
  if (header < 0) return -1;
  error.protocol = ipv6NextHeader(view, at);
  let upper = header;
  if (error.protocol === HEADER_FRAGMENT) {
    if (length < header + FRAGMENT_BYTES || fragmentOffset(view, at + header) !== 0) return -1;
    error.protocol = view.getUint8(at + header);
    upper += FRAGMENT_BYTES;
  }
  error.src0 = view.getInt32(at + IPV6_SRC, false);
  error.src1 = view.getInt32(at + IPV6_SRC + 4, false);
  error.src2 = view.getInt32(at + IPV6_SRC + 8, false);
  error.src3 = view.getInt32(at + IPV6_SRC + 12, false);
  error.dst0 = view.getInt32(at + IPV6_DST, false);
  error.dst1 = view.getInt32(at + IPV6_DST + 4, false);
  error.dst2 = view.getInt32(at + IPV6_DST + 8, false);
  error.dst3 = view.getInt32(at + IPV6_DST + 12, false);
  return upper;
}

/**
 * Whether the quoted source is ours, on whichever interface: routes may be asymmetric. Of another host's address only
 * the transport can tell whether it uses it, if that is where the error went.
 */
function isOurs(ip: Ip): boolean {
  const { error, packet: p } = ip;
  if (p.foreign !== 0) {
    return error.src0 === p.dst0 && error.src1 === p.dst1 && error.src2 === p.dst2 && error.src3 === p.dst3;
  }
  for (const iface of ip.interfaces) {
    if (
      p.version === 4
        ? interfaceHas4(iface, error.src0)
        : interfaceHas6(iface, error.src0, error.src1, error.src2, error.src3)
    ) {
      return true;
    }
  }
  return false;
}
