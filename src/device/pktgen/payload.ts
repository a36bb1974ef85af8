/**
 * What pktgen's packets carry, and how they are told from others:
 *
 *     UDP header │ kind │ sequence number │ time of sending │ zeros
 *                  4 B    4 B               8 B, Float64 us
 *
 * The time is the sender's own, and 0 where nobody measures.
 */
import type { Arena } from '../../memory/arena.ts';
import { FRAME_CHECKSUM_FILL, FRAME_CHECKSUM_GOOD } from '../../memory/ring.ts';
import { fold, pseudoIpv4, pseudoIpv6 } from '../../wire/checksum.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherType } from '../../wire/ethernet.ts';
import {
  IPV4_HEADER_BYTES,
  ipv4Check,
  ipv4ChecksumGood,
  ipv4Dst,
  ipv4IsFragment,
  ipv4Protocol,
  ipv4Src,
} from '../../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, ipv6Check, ipv6NextHeader } from '../../wire/ipv6.ts';
import { PROTOCOL_UDP } from '../../wire/protocols.ts';
import { UDP_HEADER_BYTES, udpCheck, udpChecksum, udpLength } from '../../wire/udp.ts';

export const PAYLOAD_KIND = 0;
export const PAYLOAD_SEQUENCE = 4;
export const PAYLOAD_TIME = 8;
export const PAYLOAD_BYTES = 16;

/** "mrpg": sent by tx and ping, and what pong answers. */
export const KIND_REQUEST = 0x6d72_7067;
/** "mrpp": sent by pong, which so never answers another one. */
export const KIND_REPLY = 0x6d72_7070;

export const NOT_PKTGEN = -1;
export const BAD_CHECKSUM = -2;

const CHECKED = FRAME_CHECKSUM_FILL | FRAME_CHECKSUM_GOOD;
const [ETHER_BYTES, UDP_BYTES, MIN_BYTES] = [ETHER_HEADER_BYTES, UDP_HEADER_BYTES, PAYLOAD_BYTES];
const [REQUEST, REPLY] = [KIND_REQUEST, KIND_REPLY];
const [TYPE4, TYPE6, UDP] = [ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_UDP];
const [NO, BAD] = [NOT_PKTGEN, BAD_CHECKSUM];

/**
 * Where in the arena the payload of one of pktgen's packets is.
 * @param flags FRAME_*: what the device has checked isn't summed again.
 * @returns its offset; NOT_PKTGEN, or BAD_CHECKSUM (of IPv4's header or UDP's)
 */
export function pktgenPayload(
  arena: Arena,
  ether: boolean,
  at: number,
  length: number,
  flags: number,
): number {
  const { view } = arena;
  const ip = ether ? at + ETHER_BYTES : at;
  const rest = ether ? length - ETHER_BYTES : length;
  if (rest < IPV4_HEADER_BYTES) return NO;
  const version = view.getUint8(ip) >> 4;
  if (ether && etherType(view, at) !== (version === 4 ? TYPE4 : TYPE6)) return NO;
  return version === 4 ? payload4(arena, ip, rest, flags) : payload6(arena, ip, rest, flags);
}

function payload4(arena: Arena, ip: number, length: number, flags: number): number {
  const { view } = arena;
  const header = ipv4Check(view, ip, length);
  if (header < 0 || ipv4Protocol(view, ip) !== UDP || ipv4IsFragment(view, ip)) return NO;
  const udp = ip + header;
  if (!isOurs(view, udp, length - header)) return NO;
  if (!ipv4ChecksumGood(view, ip, header)) return BAD;
  if ((flags & CHECKED) === 0 && udpChecksum(view, udp) !== 0) {
    const bytes = udpLength(view, udp);
    const pseudo = pseudoIpv4(ipv4Src(view, ip), ipv4Dst(view, ip), UDP, bytes);
    if (fold(pseudo + arena.kernels.sum(udp, bytes)) !== 0xffff) return BAD;
  }
  return udp + UDP_BYTES;
}

function payload6(arena: Arena, ip: number, length: number, flags: number): number {
  const { view } = arena;
  if (ipv6Check(view, ip, length) < 0 || ipv6NextHeader(view, ip) !== UDP) return NO;
  const udp = ip + IPV6_HEADER_BYTES;
  if (!isOurs(view, udp, length - IPV6_HEADER_BYTES)) return NO;
  if ((flags & CHECKED) === 0) {
    const bytes = udpLength(view, udp);
    const sum = pseudoIpv6(view, ip, UDP, bytes) + arena.kernels.sum(udp, bytes);
    // None at all is an error over IPv6 (RFC 8200 8.1).
    if (udpChecksum(view, udp) === 0 || fold(sum) !== 0xffff) return BAD;
  }
  return udp + UDP_BYTES;
}

function isOurs(view: DataView, udp: number, length: number): boolean {
  if (udpCheck(view, udp, length) < 0 || udpLength(view, udp) < UDP_BYTES + MIN_BYTES) return false;
  const kind = view.getInt32(udp + UDP_BYTES, false);
  return kind === REQUEST || kind === REPLY;
}
