/** ICMP echo of both versions (RFC 792, RFC 4443 4): the answers we give, and our own `ping`. */
import { parseIpv4, parseIpv6 } from '../wire/address.ts';
import { checksumUpdate16 } from '../wire/checksum.ts';
import {
  ICMP_CHECKSUM,
  ICMP_ECHO_ID,
  ICMP_ECHO_REQUEST,
  ICMP_ECHO_SEQ,
  ICMP_HEADER_BYTES,
  icmpWrite,
} from '../wire/icmp.ts';
import { ICMPV6_ECHO_REQUEST } from '../wire/icmpv6.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../wire/protocols.ts';
import { icmpSum } from './icmp-error.ts';
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { ttlDefault } from './output.ts';
import { packetAnswer } from './packet.ts';
import { routeLookup4, routeLookup6 } from './routes.ts';
import { ipSend, SEND_FAILED } from './send.ts';

/** Data in a ping; what Ethernet carries unfragmented is well below. */
export const PING_BYTES_MAX = 1400;

/** An answer to a ping of ours, as `ip.onPingReply` gets it; reused, so good until the hook returns. */
export class PingReply {
  version = 0;
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  identifier = 0;
  sequence = 0;
  /** Data, bytes. */
  bytes = 0;
  ttl = 0;
  /** Whether the data is what `icmpPing` sends. */
  intact = false;
}

export interface PingOptions {
  /** IPv4 or IPv6 address as text. */
  destination: string;
  /** 0 to 65535 each. */
  identifier: number;
  sequence: number;
  /** Data, 0 to PING_BYTES_MAX bytes; 56 unless told. */
  bytes?: number;
  ttl?: number;
}

/**
 * Sends an echo request whose data can be told from any other's.
 * @returns SENT, SEND_LATER (the next hop is being asked for: try again) or SEND_FAILED
 * @throws AddressError, RangeError
 */
export function icmpPing(ip: Ip, options: PingOptions): number {
  const { destination, identifier, sequence, bytes = 56, ttl } = options;
  if (!(bytes >= 0 && bytes <= PING_BYTES_MAX))
    throw new RangeError(`a ping carries 0 to ${PING_BYTES_MAX} bytes, not ${bytes}`);
  const v4 = !destination.includes(':');
  const { out, path, scratchAt: at } = ip;
  const dst = v4 ? Int32Array.of(parseIpv4(destination), 0, 0, 0) : parseIpv6(destination);
  const route = v4 ? routeLookup4(ip, dst[0]) : routeLookup6(ip, dst[0], dst[1], dst[2], dst[3]);
  if (route === null) return SEND_FAILED;
  out.iface = -1;
  out.version = v4 ? 4 : 6;
  [out.dst0, out.dst1, out.dst2, out.dst3] = dst;
  out.src0 = path.src0;
  out.src1 = path.src1;
  out.src2 = path.src2;
  out.src3 = path.src3;
  out.protocol = v4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
  out.ttl = ttl ?? ttlDefault(route.iface, out.version);
  out.tos = 0;
  out.l4At = at;
  out.l4Length = ICMP_HEADER_BYTES + bytes;
  icmpWrite(
    ip.view,
    at,
    v4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST,
    0,
    ((identifier & 0xffff) << 16) | (sequence & 0xffff),
  );
  for (let i = 0; i < bytes; i++) ip.arena.u8[at + ICMP_HEADER_BYTES + i] = pattern(sequence, i);
  icmpSum(ip, out);
  return ipSend(ip, out);
}

/** Answers the echo request in `ip.packet`, its checksum good, by sending the message back with another type. */
export function echoInput(ip: Ip, iface: Interface, replyType: number): void {
  const { packet: p, out, view } = ip;
  iface.counters.icmpEchoRequests++;
  // RFC 1122 3.2.2.6 lets us, and a forged source would make all hosts of the link answer it.
  if (p.cast !== 0) {
    iface.counters.icmpIgnored++;
    return;
  }
  packetAnswer(out, p);
  out.protocol = p.protocol;
  out.ttl = ttlDefault(iface, p.version);
  // Without the sender's ECN bits, which are not ours to repeat (RFC 3168 5).
  out.tos = p.tos & 0xfc;
  out.l4At = p.l4At;
  out.l4Length = p.l4Length;
  const typeCode = view.getUint16(p.l4At, false);
  const reply = (replyType << 8) | (typeCode & 0xff);
  const checksum = view.getUint16(p.l4At + ICMP_CHECKSUM, false);
  view.setUint16(p.l4At, reply, false);
  view.setUint16(p.l4At + ICMP_CHECKSUM, checksumUpdate16(checksum, typeCode, reply), false);
  ipSend(ip, out);
}

/** An echo reply has come in `ip.packet`, its checksum good. */
export function echoReplyInput(ip: Ip, iface: Interface): void {
  const { packet: p, pingReply: reply, view } = ip;
  iface.counters.icmpEchoReplies++;
  if (ip.onPingReply === null) return;
  reply.version = p.version;
  reply.src0 = p.src0;
  reply.src1 = p.src1;
  reply.src2 = p.src2;
  reply.src3 = p.src3;
  reply.identifier = view.getUint16(p.l4At + ICMP_ECHO_ID, false);
  reply.sequence = view.getUint16(p.l4At + ICMP_ECHO_SEQ, false);
  reply.bytes = p.l4Length - ICMP_HEADER_BYTES;
  reply.ttl = p.ttl;
  reply.intact = true;
  for (let i = 0; i < reply.bytes && reply.intact; i++) {
    reply.intact = ip.arena.u8[p.l4At + ICMP_HEADER_BYTES + i] === pattern(reply.sequence, i);
  }
  ip.onPingReply(reply);
}

/** Differs from one request to the next, so that an old reply or a bit error shows. */
function pattern(sequence: number, i: number): number {
  return (sequence * 31 + i) & 0xff;
}
