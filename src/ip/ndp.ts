/** Neighbour discovery input (RFC 4861 7): answers to solicitations, and what advertisements may teach. */
import { ETHER_HEADER_BYTES, etherSrcHigh, etherSrcLow } from '../wire/ethernet.ts';
import { ICMPV6_TYPE } from '../wire/icmpv6.ts';
import { ipv6Load } from '../wire/ipv6.ts';
import {
  NDP_FLAGS,
  NDP_NEIGHBOR_ADVERT,
  NDP_NEIGHBOR_SOLICIT,
  NDP_OVERRIDE,
  NDP_REDIRECT,
  NDP_ROUTER_ADVERT,
  NDP_SOLICITED,
  NDP_TARGET,
  ndpCheck,
  ndpOptionsParse,
} from '../wire/ndp.ts';
import { tentativeConflict6 } from './addresses.ts';
import { type Interface, interfaceHas6, interfaceOnLink6 } from './interface.ts';
import type { Ip } from './ip.ts';
import { NDP_HOPS, ndpAdvertise, ndpAdvertiseToAll } from './ndp-output.ts';
import { HEARD_ANSWER, HEARD_QUESTION, HEARD_UNASKED, neighbourHeard } from './neighbours.ts';
import { mayDefend } from './solicit.ts';

/**
 * Handles `ip.packet`, whose ICMPv6 checksum is good. A sender that leaves out the option with its hardware
 * address is at the frame's source: no router has passed the message on.
 */
export function ndpInput(ip: Ip, iface: Interface): void {
  const { packet: p, view, ndpOptions: options } = ip;
  const { counters } = iface;
  if (!iface.ether && iface.auto === null) {
    counters.ndpIgnored++;
    return;
  }
  const body = ndpCheck(view, p.l4At, p.l4Length);
  // RFC 6980 5: in fragments it would pass filters by.
  if (
    p.ttl !== NDP_HOPS ||
    p.fragmented !== 0 ||
    body < 0 ||
    ndpOptionsParse(view, p.l4At + body, p.l4Length - body, options) < 0
  ) {
    counters.ndpBad++;
    return;
  }
  switch (view.getUint8(p.l4At + ICMPV6_TYPE)) {
    case NDP_NEIGHBOR_SOLICIT:
      ipv6Load(view, p.l4At + NDP_TARGET, ip.words, 0);
      solicited(ip, iface);
      return;
    case NDP_NEIGHBOR_ADVERT:
      ipv6Load(view, p.l4At + NDP_TARGET, ip.words, 0);
      advertised(ip, iface);
      return;
    case NDP_REDIRECT:
      counters.redirects++;
      iface.auto?.redirected();
      return;
    case NDP_ROUTER_ADVERT:
      if (iface.auto !== null) iface.auto.advertised();
      else counters.ndpIgnored++;
      return;
    default:
      counters.ndpIgnored++;
  }
}

/** RFC 4861 7.2.3, 7.2.4. */
function solicited(ip: Ip, iface: Interface): void {
  if (!iface.ether) {
    iface.counters.ndpIgnored++;
    return;
  }
  const { packet: p, view, words, ndpOptions: options } = ip;
  const { counters } = iface;
  const probe = (p.src0 | p.src1 | p.src2 | p.src3) === 0;
  // RFC 4861 7.1.1: a probe (RFC 4862 5.4) goes to the solicited-node group and says no hardware address.
  const toGroup = p.dst0 === (0xff020000 | 0) && p.dst1 === 0 && p.dst2 === 1 && p.dst3 >>> 24 === 0xff;
  if (probe && (!toGroup || options.sourceLinkAt !== 0)) {
    counters.ndpBad++;
    return;
  }
  if (!interfaceHas6(iface, words[0], words[1], words[2], words[3])) {
    // RFC 4862 5.4.3: who asks for the same address as we is about to have it, too. Our own question may come back.
    const own =
      iface.ether &&
      etherSrcHigh(view, p.at - ETHER_HEADER_BYTES) === iface.macHigh &&
      etherSrcLow(view, p.at - ETHER_HEADER_BYTES) === iface.macLow;
    if (!probe || own || !tentativeConflict6(ip, iface, words[0], words[1], words[2], words[3]))
      counters.notForUs++;
    return;
  }
  counters.ndpSolicitations++;
  if (probe) {
    counters.addressConflicts++;
    if (mayDefend(ip, iface)) ndpAdvertiseToAll(ip, iface, NDP_OVERRIDE);
    return;
  }
  const macAt = options.sourceLinkAt;
  const frameAt = p.at - ETHER_HEADER_BYTES;
  const high = macAt === 0 ? etherSrcHigh(view, frameAt) : view.getUint16(macAt, false);
  const low = macAt === 0 ? etherSrcLow(view, frameAt) : view.getInt32(macAt + 2, false);
  if (!isHost(high, low)) {
    counters.ndpBad++;
    return;
  }
  if (macAt !== 0 && interfaceOnLink6(iface, p.src0, p.src1, p.src2, p.src3)) {
    neighbourHeard(ip, iface, 6, p.src0, p.src1, p.src2, p.src3, high, low, HEARD_QUESTION);
  }
  // `words` may have served a probe of a neighbour meanwhile.
  ipv6Load(view, p.l4At + NDP_TARGET, words, 0);
  const flags = NDP_SOLICITED | NDP_OVERRIDE;
  ndpAdvertise(ip, iface, flags, p.src0, p.src1, p.src2, p.src3, high, low);
}

/** RFC 4861 7.2.5, but for what neighbours.ts refuses to believe. */
function advertised(ip: Ip, iface: Interface): void {
  if (!iface.ether) {
    iface.counters.ndpIgnored++;
    return;
  }
  const { packet: p, view, words, ndpOptions: options } = ip;
  const { counters } = iface;
  const answer = (view.getUint8(p.l4At + NDP_FLAGS) & NDP_SOLICITED) !== 0;
  const macAt = options.targetLinkAt;
  const frameAt = p.at - ETHER_HEADER_BYTES;
  const high = macAt === 0 ? etherSrcHigh(view, frameAt) : view.getUint16(macAt, false);
  const low = macAt === 0 ? etherSrcLow(view, frameAt) : view.getInt32(macAt + 2, false);
  // RFC 4861 7.1.2: what goes to a group answers nobody.
  if ((p.cast !== 0 && answer) || !isHost(high, low)) {
    counters.ndpBad++;
    return;
  }
  if (high === iface.macHigh && low === iface.macLow) return;
  const [a0, a1, a2, a3] = [words[0], words[1], words[2], words[3]];
  if (interfaceHas6(iface, a0, a1, a2, a3)) {
    counters.addressConflicts++;
    if (mayDefend(ip, iface)) ndpAdvertiseToAll(ip, iface, NDP_OVERRIDE);
    return;
  }
  if (tentativeConflict6(ip, iface, a0, a1, a2, a3)) return;
  counters.ndpAdvertisements++;
  neighbourHeard(ip, iface, 6, a0, a1, a2, a3, high, low, answer ? HEARD_ANSWER : HEARD_UNASKED);
}

/** Neither a group's hardware address nor all zeros. */
function isHost(macHigh: number, macLow: number): boolean {
  return (macHigh & 0x0100) === 0 && (macHigh | macLow) !== 0;
}
