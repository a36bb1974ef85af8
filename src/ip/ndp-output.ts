/** What neighbour discovery says (RFC 4861 4.3, 4.4), as whole packets. */
import { checksumFinish } from '../wire/checksum.ts';
import { ICMPV6_CHECKSUM } from '../wire/icmpv6.ts';
import { ndpWriteNeighborAdvert, ndpWriteNeighborSolicit, ndpWriteRouterSolicit } from '../wire/ndp.ts';
import { PROTOCOL_ICMPV6 } from '../wire/protocols.ts';
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { ipTransmit } from './output.ts';
import { packetPseudoSum } from './packet.ts';
import { sourceSelect6 } from './routes.ts';

/** RFC 4861 7.1: proof that no router has passed the message on. */
export const NDP_HOPS = 255;
/** First two bytes of an IPv6 multicast hardware address (RFC 2464 7). */
const MULTICAST_MAC_HIGH = 0x3333;

/** @param macHigh Whom to ask; -1: the target's solicited-node group. */
export function ndpSolicit(
  ip: Ip,
  iface: Interface,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
  macHigh: number,
  macLow: number,
): void {
  const out = ip.control;
  const { words } = ip;
  const all = macHigh < 0;
  const source = sourceSelect6(iface, a0, a1, a2, a3);
  out.src0 = source.a0;
  out.src1 = source.a1;
  out.src2 = source.a2;
  out.src3 = source.a3;
  words[0] = a0;
  words[1] = a1;
  words[2] = a2;
  words[3] = a3;
  // RFC 4291 2.7.1: ff02::1:ffXX:XXXX with the target's last 24 bits.
  out.dst0 = all ? 0xff020000 | 0 : a0;
  out.dst1 = all ? 0 : a1;
  out.dst2 = all ? 1 : a2;
  out.dst3 = all ? 0xff000000 | (a3 & 0xffffff) : a3;
  const { macHigh: ownHigh, macLow: ownLow } = iface;
  out.l4Length = ndpWriteNeighborSolicit(ip.view, ip.controlAt, words, 0, true, ownHigh, ownLow);
  send(ip, iface, all ? MULTICAST_MAC_HIGH : macHigh, all ? out.dst3 : macLow);
}

/** Asks whether anybody has an address that is to be ours (RFC 4862 5.4.2). @returns false when no slot was free */
export function ndpProbe(ip: Ip, iface: Interface, a0: number, a1: number, a2: number, a3: number): boolean {
  const out = ip.control;
  const { words } = ip;
  [words[0], words[1], words[2], words[3]] = [a0, a1, a2, a3];
  out.src0 = out.src1 = out.src2 = out.src3 = 0;
  out.dst0 = 0xff020000 | 0;
  out.dst1 = 0;
  out.dst2 = 1;
  out.dst3 = 0xff000000 | (a3 & 0xffffff);
  out.l4Length = ndpWriteNeighborSolicit(ip.view, ip.controlAt, words, 0, false, 0, 0);
  return send(ip, iface, MULTICAST_MAC_HIGH, out.dst3);
}

/** Tells routers where a new address lives, before they have to ask (RFC 9131). */
export function ndpAnnounce(ip: Ip, iface: Interface, a0: number, a1: number, a2: number, a3: number): void {
  if (!iface.ether) return;
  const { words } = ip;
  [words[0], words[1], words[2], words[3]] = [a0, a1, a2, a3];
  // Without Override: what somebody else may have said stands.
  ndpAdvertise(ip, iface, 0, 0xff020000 | 0, 0, 0, 2, MULTICAST_MAC_HIGH, 2);
}

/** Asks routers to say what they know (RFC 4861 6.3.7). @returns false when no slot was free */
export function ndpRouterSolicit(ip: Ip, iface: Interface): boolean {
  const out = ip.control;
  const source = iface.v6.find((a) => a.a0 >>> 22 === 0x3fa);
  const ours = source !== undefined;
  [out.src0, out.src1, out.src2, out.src3] = ours
    ? [source.a0, source.a1, source.a2, source.a3]
    : [0, 0, 0, 0];
  [out.dst0, out.dst1, out.dst2, out.dst3] = [0xff020000 | 0, 0, 0, 2];
  const { macHigh, macLow } = iface;
  out.l4Length = ndpWriteRouterSolicit(ip.view, ip.controlAt, ours && iface.ether, macHigh, macLow);
  return send(ip, iface, MULTICAST_MAC_HIGH, 2);
}

/**
 * Says that an address of ours, in words 0 to 3 of `ip.words`, is at our hardware address.
 * @param flags NDP_SOLICITED and NDP_OVERRIDE.
 */
export function ndpAdvertise(
  ip: Ip,
  iface: Interface,
  flags: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  macHigh: number,
  macLow: number,
): boolean {
  const out = ip.control;
  const { words } = ip;
  [out.src0, out.src1, out.src2, out.src3] = [words[0], words[1], words[2], words[3]];
  out.dst0 = d0;
  out.dst1 = d1;
  out.dst2 = d2;
  out.dst3 = d3;
  out.l4Length = ndpWriteNeighborAdvert(ip.view, ip.controlAt, flags, words, 0, iface.macHigh, iface.macLow);
  return send(ip, iface, macHigh, macLow);
}

/** To all nodes: the advertisement that defends an address of ours. */
export function ndpAdvertiseToAll(ip: Ip, iface: Interface, flags: number): boolean {
  return ndpAdvertise(ip, iface, flags, 0xff020000 | 0, 0, 0, 1, MULTICAST_MAC_HIGH, 1);
}

function send(ip: Ip, iface: Interface, macHigh: number, macLow: number): boolean {
  const out = ip.control;
  out.version = 6;
  out.protocol = PROTOCOL_ICMPV6;
  out.ttl = NDP_HOPS;
  out.tos = 0;
  out.l4At = ip.controlAt;
  const sum = packetPseudoSum(out) + ip.arena.kernels.sum(out.l4At, out.l4Length);
  ip.view.setUint16(out.l4At + ICMPV6_CHECKSUM, checksumFinish(sum), false);
  return ipTransmit(ip, iface, macHigh, macLow, out);
}
