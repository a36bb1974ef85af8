/**
 * Datagrams on their way out: straight into a tx slot, summed as they are copied, or in fragments when the path takes
 * no packet of that size (RFC 8085 3.2 has programs avoid that; `dontFragment` makes it an error). UDP holds nothing
 * back: what can't leave now is the program's to send again.
 */
import { broadcastInterface4, castInterface, castMacHigh, castMacLow, isBroadcast4 } from '../ip/cast.ts';
import type { Interface } from '../ip/interface.ts';
import { neighbourMacHigh, neighbourMacLow } from '../ip/neighbour-cache.ts';
import { neighbourResolve, neighbourUsable } from '../ip/neighbours.ts';
import { ipTransmitFragments, ipWriteHeaders, ttlDefault, txCommit, txSlot } from '../ip/output.ts';
import { packetPseudoSum } from '../ip/packet.ts';
import { pathMtu } from '../ip/path-mtu.ts';
import { routeLookup4, routeLookup6, sourceSelect4, sourceSelect6 } from '../ip/routes.ts';
import { DESC_AT, FRAME_CHECKSUM_FILL } from '../memory/ring.ts';
import { checksumFinish, fold } from '../wire/checksum.ts';
import { PROTOCOL_UDP } from '../wire/protocols.ts';
import { UDP_CHECKSUM, UDP_HEADER_BYTES, udpSetChecksum, udpWrite } from '../wire/udp.ts';
import { UDP_WRITABLE } from './events.ts';
import {
  UDP_INVALID,
  UDP_LATER,
  UDP_NO_ADDRESS,
  UDP_NO_LEAVE,
  UDP_NO_ROUTE,
  UDP_SENT,
  UDP_TOO_LONG,
  UDP_UNREACHABLE,
} from './reasons.ts';
import type { UdpSocket } from './socket.ts';
import type { Udp } from './udp.ts';

const AT = DESC_AT;
const CHECKSUM_FILL = FRAME_CHECKSUM_FILL;
const HEADER_BYTES = UDP_HEADER_BYTES;
const UDP = PROTOCOL_UDP;
const PACKET_MAX = 65_535;
/** Those that wait for a next hop ask again this often. */
const RETRY_MS = 1000;
/** IPv4's header counts in its length, IPv6's doesn't. */
const PAYLOAD_MAX_4 = PACKET_MAX - 20 - HEADER_BYTES;
const PAYLOAD_MAX_6 = PACKET_MAX - HEADER_BYTES;

/** Bytes that a datagram to an address of this version can hold. */
export function udpPayloadMax(version: number): number {
  return version === 4 ? PAYLOAD_MAX_4 : PAYLOAD_MAX_6;
}

/**
 * Sends `length` bytes of the arena, or of `bytes` when it isn't null.
 * @param from Offset of the first in the arena, or in `bytes`.
 * @param version Of the destination, whose words follow; IPv4's is `d0`, and the others are 0.
 * @returns UDP_SENT, UDP_LATER, or what is wrong; counted
 */
export function udpSend(
  udp: Udp,
  s: UdpSocket,
  from: number,
  bytes: Uint8Array | null,
  length: number,
  version: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  port: number,
): number {
  const { counters } = udp;
  const result = send(udp, s, from, bytes, length, version, d0, d1, d2, d3, port);
  if (result > 0) {
    counters.datagramsOut++;
    counters.bytesOut += length;
  } else if (result === UDP_LATER) counters.sendLater++;
  else counters.sendFailed++;
  return result;
}

function send(
  udp: Udp,
  s: UdpSocket,
  from: number,
  bytes: Uint8Array | null,
  length: number,
  version: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  port: number,
): number {
  if (port === 0 || !s.takes(version)) return UDP_INVALID;
  if (length > (version === 4 ? PAYLOAD_MAX_4 : PAYLOAD_MAX_6)) return UDP_TOO_LONG;
  const cast = version === 4 ? d0 >>> 28 === 14 || isBroadcast4(udp.ip, d0) : d0 >>> 24 === 0xff;
  const next = cast ? aimCast(udp, s, version, d0, d1, d2, d3) : aim(udp, s, version, d0, d1, d2, d3);
  if (next <= 0) return next;
  s.lastPort = port;
  const { ip } = udp;
  const iface = s.iface!;
  const out = ip.out;
  out.version = version;
  out.protocol = UDP;
  out.ttl = cast && (version === 6 || d0 >>> 28 === 14) ? s.groupTtl : s.ttl || ttlDefault(iface, version);
  out.tos = s.tos;
  out.src0 = s.source[0];
  out.src1 = s.source[1];
  out.src2 = s.source[2];
  out.src3 = s.source[3];
  out.dst0 = d0;
  out.dst1 = d1;
  out.dst2 = d2;
  out.dst3 = d3;
  out.l4Length = HEADER_BYTES + length;
  const low = version === 4 ? d0 : d3;
  const high = cast ? castMacHigh(version, low) : neighbourMacHigh(iface.neighbours, next);
  const rest = cast ? castMacLow(version, low) : neighbourMacLow(iface.neighbours, next);
  const mtu = pathMtu(ip, iface, version, d0, d1, d2, d3);
  const headers = version === 4 ? 20 : 40;
  const headroom = version === 4 ? iface.headroom4 : iface.headroom6;
  const whole = headers + out.l4Length <= mtu && headroom + out.l4Length <= iface.port.frameBytes;
  if (!whole && s.dontFragment) return UDP_TOO_LONG;
  const slot = txSlot(iface);
  if (slot === 0) {
    iface.counters.txFull++;
    udp.waitsForSlot = true;
    return UDP_LATER;
  }
  // Whole datagrams are composed where they leave, others where they are cut.
  const at = whole ? iface.port.tx.m[slot + AT] + headroom : udp.scratchAt;
  const sum = fill(udp, at + HEADER_BYTES, from, bytes, length);
  udpWrite(ip.view, at, s.port, port, out.l4Length);
  out.l4At = at;
  const pseudo = packetPseudoSum(out);
  if (whole && iface.port.capabilities.txChecksum) {
    ip.view.setUint16(at + UDP_CHECKSUM, fold(pseudo), false);
    ipWriteHeaders(ip, iface, high, rest, out, at - headroom);
    txCommit(iface, slot, headroom + out.l4Length, CHECKSUM_FILL, 0);
    return UDP_SENT;
  }
  const ends = s.port + port + out.l4Length;
  udpSetChecksum(ip.view, at, checksumFinish(pseudo + ends + sum));
  if (whole) {
    ipWriteHeaders(ip, iface, high, rest, out, at - headroom);
    txCommit(iface, slot, headroom + out.l4Length, 0, 0);
    return UDP_SENT;
  }
  const tooBig = iface.counters.txTooBig;
  if (ipTransmitFragments(ip, iface, high, rest, out, mtu)) return UDP_SENT;
  if (iface.counters.txTooBig > tooBig) return UDP_TOO_LONG;
  udp.waitsForSlot = true;
  return UDP_LATER;
}

/** Copies the payload to `to`. @returns its sum */
function fill(udp: Udp, to: number, from: number, bytes: Uint8Array | null, length: number): number {
  const { kernels, u8 } = udp.arena;
  if (bytes === null) return kernels.copySum(to, from, length);
  u8.set(from === 0 && length === bytes.length ? bytes : bytes.subarray(from, from + length), to);
  return kernels.sum(to, length);
}

/** Finds interface, source and next hop of one host. @returns the neighbour, or UDP_LATER or what is wrong */
function aim(
  udp: Udp,
  s: UdpSocket,
  version: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): number {
  const { ip } = udp;
  const { last } = s;
  const same =
    s.neighbour > 0 &&
    s.routesVersion === ip.routes.version &&
    last[0] === d0 &&
    last[3] === d3 &&
    last[1] === d1 &&
    last[2] === d2 &&
    s.lastVersion === version &&
    s.answered === s.answering &&
    (!s.answering || asksSource(s));
  if (same && neighbourUsable(s.iface!, s.neighbour)) return s.neighbour;
  s.neighbour = 0;
  const only = boundInterface(udp, s);
  if (only < 0 && s.local !== null && !isCast(udp, s.local)) return UDP_NO_ADDRESS;
  const route = version === 4 ? routeLookup4(ip, d0, only) : routeLookup6(ip, d0, d1, d2, d3, only);
  if (route === null) return UDP_NO_ROUTE;
  const { path } = ip;
  note(udp, s, route.iface, version, d0, d1, d2, d3, path.src0, path.src1, path.src2, path.src3);
  const neighbour = neighbourResolve(
    ip,
    route.iface,
    version,
    path.next0,
    path.next1,
    path.next2,
    path.next3,
  );
  if (neighbour > 0) s.neighbour = neighbour;
  else route.iface.counters.txUnresolved++;
  return neighbour < 0 ? UDP_UNREACHABLE : neighbour;
}

/** The same for a group or everybody. */
function aimCast(
  udp: Udp,
  s: UdpSocket,
  version: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): number {
  const { ip } = udp;
  const group = version === 6 || d0 >>> 28 === 14;
  if (!group && !s.broadcast) return UDP_NO_LEAVE;
  const bound = boundInterface(udp, s);
  if (bound < 0 && s.local !== null && !isCast(udp, s.local)) return UDP_NO_ADDRESS;
  let iface = bound >= 0 ? ip.interfaces[bound] : null;
  if (group && s.groupInterface !== null) iface = s.groupInterface;
  if (!group) iface = broadcastInterface4(ip, d0) ?? iface;
  iface ??= castInterface(ip, version);
  if (iface === null || (version === 4 ? iface.v4 : iface.v6).length === 0) return UDP_NO_ROUTE;
  s.neighbour = 0;
  if (version === 4) {
    note(udp, s, iface, 4, d0, 0, 0, 0, sourceSelect4(iface, d0).address, 0, 0, 0);
  } else {
    const source = sourceSelect6(iface, d0, d1, d2, d3);
    note(udp, s, iface, 6, d0, d1, d2, d3, source.a0, source.a1, source.a2, source.a3);
  }
  return 1;
}

/** Notes where the datagram goes, and from where. */
function note(
  udp: Udp,
  s: UdpSocket,
  iface: Interface,
  version: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  s0: number,
  s1: number,
  s2: number,
  s3: number,
): void {
  s.iface = iface;
  s.routesVersion = udp.ip.routes.version;
  s.lastVersion = version;
  s.last[0] = d0;
  s.last[1] = d1;
  s.last[2] = d2;
  s.last[3] = d3;
  s.answered = s.answering;
  if (s.answering) {
    s.source.set(s.asked);
    return;
  }
  const { local } = s;
  // Bound to a group, it still sends from an address.
  const own = local !== null && local.length === (version === 4 ? 1 : 4) && boundInterface(udp, s) >= 0;
  s.source[0] = own ? local[0] : s0;
  s.source[1] = own ? (local[1] ?? 0) : s1;
  s.source[2] = own ? (local[2] ?? 0) : s2;
  s.source[3] = own ? (local[3] ?? 0) : s3;
}

function asksSource(s: UdpSocket): boolean {
  const { source, asked } = s;
  return source[0] === asked[0] && source[3] === asked[3] && source[1] === asked[1] && source[2] === asked[2];
}

/** A group or broadcast address, which a socket may be bound to and still send from one of ours. */
function isCast(udp: Udp, local: readonly number[]): boolean {
  return local.length === 1
    ? local[0] >>> 28 === 14 || isBroadcast4(udp.ip, local[0])
    : local[0] >>> 24 === 0xff;
}

/** Index of the interface that has the address a socket is bound to, or -1. */
function boundInterface(udp: Udp, s: UdpSocket): number {
  const { local } = s;
  if (local === null) return -1;
  for (const iface of udp.ip.interfaces) {
    for (const a of iface.v4) if (local.length === 1 && a.address === local[0]) return iface.index;
    for (const a of iface.v6) {
      if (local[3] === a.a3 && local[0] === a.a0 && local[1] === a.a1 && local[2] === a.a2)
        return iface.index;
    }
  }
  return -1;
}

/** Notes that a socket is to hear when it may send again. */
export function udpWait(udp: Udp, s: UdpSocket): void {
  if (udp.waiting.length === 0) {
    udp.waiting_ms = udp.ip.now_ms;
    udp.waitingVersion = neighbourVersions(udp);
  }
  if (s.waits) return;
  s.waits = true;
  udp.waiting.push(s);
}

/** ms until those that wait may try: 0 when a neighbour was found or given up, or a slot may be free; Infinity: none waits. */
export function udpWaitDelay(udp: Udp): number {
  if (udp.waiting.length === 0) return Number.POSITIVE_INFINITY;
  if (udp.waitsForSlot) return anySlot(udp) ? 0 : udp.ip.interfaces.some(({ up }) => up) ? 1 : RETRY_MS;
  if (udp.waitingVersion !== neighbourVersions(udp)) return 0;
  return Math.max(0, RETRY_MS - ((udp.ip.now_ms - udp.waiting_ms) | 0));
}

/** Tells those that wait. */
export function udpWaitEnd(udp: Udp): void {
  udp.waitsForSlot = false;
  for (const s of udp.waiting.splice(0)) {
    s.waits = false;
    // At the limit it hears with the next.
    if (udp.events.push(s, UDP_WRITABLE, 0, 0) < 0) udpWait(udp, s);
  }
}

function anySlot(udp: Udp): boolean {
  return udp.ip.interfaces.some((iface) => txSlot(iface) !== 0);
}

function neighbourVersions(udp: Udp): number {
  let versions = udp.ip.routes.version;
  for (const iface of udp.ip.interfaces) versions = (versions + iface.neighbours.version) | 0;
  return versions;
}
