/**
 * ICMP errors about our segments (RFC 9293 3.9.2.2, RFC 5927): believed only when they quote what is in flight. None ends
 * an established connection; the last one heard is the reason when it times out. Hard ones end an attempt to connect.
 */
import { ERROR_TOO_BIG, type IcmpError, icmpErrorEnds } from '../ip/icmp-error.ts';
import { Packet } from '../ip/packet.ts';
import { pathMtu, pathMtuUpdate } from '../ip/path-mtu.ts';
import { ICMP_PARAMETER_PROBLEM, ICMP_UNREACHABLE } from '../wire/icmp.ts';
import { ICMPV6_PARAMETER_PROBLEM, ICMPV6_TIME_EXCEEDED, ICMPV6_UNREACHABLE } from '../wire/icmpv6.ts';
import { COLD, FLAG, STATE, TCB } from './block.ts';
import { tcpDestroy } from './close.ts';
import { coldOf } from './cold.ts';
import { EVENT_REPORT, eventPush } from './events.ts';
import { LIST_CONTROL, listPush } from './lists.ts';
import { flowLookup, packetHash } from './lookup.ts';
import { mtuLower, mtuProbeRefused, searchEnd } from './plpmtud.ts';
import { CLOSED_NET_UNREACHABLE, CLOSED_PROTOCOL, CLOSED_REFUSED, CLOSED_UNREACHABLE } from './reasons.ts';
import { enterLoss } from './recovery.ts';
import type { Tcp } from './tcp.ts';

const { SOFT_ERROR, SND_UNA, SND_NXT, ISS, IFACE, PMTU, FLAGS, RADDR, RADDR6 } = TCB;
const { TOLD_MTU, TOLD_SEQ } = COLD;
const PROTOCOL_TCP = 6;

/** RFC 1191 7: what the links of the time had. An old router's report without an MTU means the next one below. */
const PLATEAUS = [32_000, 17_914, 8166, 4352, 2002, 1492, 1280, 1006, 576];
/** Until so many bytes are acknowledged all of them may have been in small segments, so that a report is the first news. */
const FIRST_BYTES = 65_536;

const HARD = 1 << 8;
const [NET, HOST, REFUSED, PROTO] = [
  CLOSED_NET_UNREACHABLE,
  CLOSED_UNREACHABLE,
  CLOSED_REFUSED | HARD,
  CLOSED_PROTOCOL,
];
/**
 * Reasons by code of Destination Unreachable. Hard are those for which the host, or a filter that speaks for it, says that
 * nobody will answer (RFC 1122 4.2.3.9, RFC 5461 2); those about routes are soft.
 */
// biome-ignore format: one row for each half of the codes
const UNREACHABLE_4 = [
  // net, host, protocol, port, fragmentation (not here), source route, net and host unknown
  NET, HOST, REFUSED, REFUSED, HOST, HOST, NET, HOST,
  // host isolated, net and host prohibited, net and host for this TOS, filtered, two of precedence
  HOST, REFUSED, REFUSED, NET, HOST, REFUSED, HOST, HOST,
];
/** No route, prohibited, beyond scope, address, port, source address policy, reject route (RFC 4443 3.1). */
const UNREACHABLE_6 = [NET, REFUSED, HOST, HOST, REFUSED, REFUSED, REFUSED];
/** RFC 4443 3.4: unrecognized Next Header, so nobody there speaks TCP. */
const UNRECOGNIZED_NEXT_HEADER = 1;

/** @returns CLOSED_*, with HARD */
function reasonOf(e: IcmpError): number {
  if (e.version === 4) {
    if (e.type === ICMP_PARAMETER_PROBLEM) return PROTO;
    return (e.type === ICMP_UNREACHABLE ? UNREACHABLE_4[e.code] : undefined) ?? HOST;
  }
  if (e.type === ICMPV6_PARAMETER_PROBLEM) return e.code === UNRECOGNIZED_NEXT_HEADER ? REFUSED : PROTO;
  return (e.type === ICMPV6_UNREACHABLE ? UNREACHABLE_6[e.code] : undefined) ?? HOST;
}

/** The quoted segment's connection, seen as if the peer had sent. */
const key = new Packet();

export function tcpIcmpError(tcp: Tcp, e: IcmpError): void {
  if (e.protocol !== PROTOCOL_TCP) return;
  const m = tcp.m;
  icmpErrorEnds(key, e);
  const ports = (e.dstPort << 16) | e.srcPort;
  const t = flowLookup(tcp, key, ports, packetHash(tcp, key, ports));
  // RFC 5927 4: SND.UNA =< SEG.SEQ < SND.NXT.
  if (
    t === 0 ||
    (m[t + FLAGS] & FLAG.MINI) !== 0 ||
    // A SYN-ACK with Fast Open is outstanding too.
    ((e.seq - (m[t + TCB.STATE] === STATE.SYN_RECEIVED ? m[t + TCB.ISS] : m[t + SND_UNA])) | 0) < 0 ||
    ((e.seq - m[t + SND_NXT]) | 0) >= 0
  ) {
    tcp.counters.icmpIgnored++;
    return;
  }
  if (e.kind === ERROR_TOO_BIG) {
    packetTooBig(tcp, t, e);
    return;
  }
  let reason = reasonOf(e);
  if (tcp.limits.habits === 'bsd' && e.version === 6 && e.type === ICMPV6_TIME_EXCEEDED) reason |= HARD;
  const linux = tcp.limits.habits === 'linux';
  const opening = m[t + TCB.STATE] === STATE.SYN_SENT || (linux && m[t + TCB.STATE] === STATE.SYN_RECEIVED);
  if (opening && tcp.limits.icmpHard && ((reason & HARD) !== 0 || linux)) tcpDestroy(tcp, t, reason & ~HARD);
  else softErrorSet(tcp, t, reason & ~HARD);
}

/**
 * Notes why nothing gets through just now, and tells the program when that is news (RFC 9293 3.9.2.2, SHLD-25); forgotten
 * once anything is acknowledged.
 */
export function softErrorSet(tcp: Tcp, t: number, reason: number): void {
  const m = tcp.m;
  const word = reason | (m[t + SND_UNA] << 8);
  if (m[t + SOFT_ERROR] === word) return;
  m[t + SOFT_ERROR] = word;
  eventPush(tcp, t, EVENT_REPORT, reason, 0);
}

/** @returns CLOSED_* of the last error heard, or 0 when there is none or data has got through since. */
export function softError(m: Int32Array, t: number): number {
  return m[t + SND_UNA] << 8 === (m[t + SOFT_ERROR] & ~0xff) ? m[t + SOFT_ERROR] & 0xff : 0;
}

/**
 * A report that comes while the connection makes progress with full segments is believed only when the segment that it
 * quotes is lost indeed (RFC 5927 7.2). The first news of a path is believed at once.
 */
function packetTooBig(tcp: Tcp, t: number, e: IcmpError): void {
  const m = tcp.m;
  const mtu = e.mtu === 0 ? (PLATEAUS.find((plateau) => plateau < m[t + PMTU]) ?? 0) : e.mtu;
  if (mtuProbeRefused(tcp, t, e.seq, mtu)) return;
  if (mtu >= m[t + PMTU]) {
    tcp.counters.icmpIgnored++;
    return;
  }
  if ((m[t + SND_UNA] - m[t + ISS]) >>> 0 < FIRST_BYTES) {
    // What was too large is lost, and no congestion (RFC 1191 6.5): again, in smaller segments.
    if (!believe(tcp, t, mtu) || m[t + TCB.STATE] < STATE.ESTABLISHED) return;
    enterLoss(tcp, t);
    listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
    return;
  }
  const cold = coldOf(tcp, t);
  m[cold + TOLD_MTU] = (m[cold + TOLD_MTU] & 0xffff) | (mtu << 16);
  m[cold + TOLD_SEQ] = e.seq;
}

/** The retransmission timer expired: is it the segment about which ICMP told? */
export function toldMtuTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const mtu = m[cold + TOLD_MTU] >>> 16;
  m[cold + TOLD_MTU] &= 0xffff;
  if (((m[cold + TOLD_SEQ] - m[t + SND_UNA]) | 0) >= 0 && mtu < m[t + PMTU]) believe(tcp, t, mtu);
}

/** @returns whether the connection sends smaller segments now. */
function believe(tcp: Tcp, t: number, told: number): boolean {
  const m = tcp.m;
  const iface = tcp.ip.interfaces[m[t + IFACE]];
  const v6 = (m[t + FLAGS] & FLAG.V6) !== 0;
  const version = v6 ? 6 : 4;
  const d0 = m[t + (v6 ? RADDR6 : RADDR)];
  const [d1, d2, d3] = v6 ? [m[t + RADDR6 + 1], m[t + RADDR6 + 2], m[t + RADDR6 + 3]] : [0, 0, 0];
  if (!pathMtuUpdate(tcp.ip, version, d0, d1, d2, d3, told)) return false;
  // Others on this path may know of a still smaller one.
  const mtu = pathMtu(tcp.ip, iface, version, d0, d1, d2, d3);
  if (mtu >= m[t + PMTU]) return false;
  tcp.counters.pathMtuReduced++;
  mtuLower(tcp, t, mtu);
  if (m[t + TCB.STATE] >= STATE.ESTABLISHED) searchEnd(tcp, t, mtu);
  return true;
}
