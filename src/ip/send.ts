/** Sending off the hot path: ICMP, and whatever sends a packet now and then. */
import { IPV4_HEADER_BYTES } from '../wire/ipv4.ts';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.ts';
import type { Ip } from './ip.ts';
import { neighbourMacHigh, neighbourMacLow } from './neighbour-cache.ts';
import { neighbourResolve } from './neighbours.ts';
import { ipTransmit, ipTransmitFragments } from './output.ts';
import type { Packet } from './packet.ts';
import { pathMtu } from './path-mtu.ts';
import { routeLookup4, routeLookup6 } from './routes.ts';

/** It is in a tx slot. */
export const SENT = 1;
/** Dropped, but may pass later: the next hop is being asked for, or no slot was free. */
export const SEND_LATER = 0;
/** Dropped: no route, too large, or the next hop does not answer. */
export const SEND_FAILED = -1;

/**
 * Routes `out.dst`, resolves the next hop, and copies [l4At, l4At + l4Length) behind new headers, in fragments when
 * the path takes no packet of that size. The sources, `protocol`, `ttl` and `tos` are the caller's, checksums within
 * the upper layer too.
 * @returns SENT, SEND_LATER or SEND_FAILED; what isn't sent is counted
 */
export function ipSend(ip: Ip, out: Packet): number {
  const { version, dst0, dst1, dst2, dst3 } = out;
  const route =
    version === 4 ? routeLookup4(ip, dst0, out.iface) : routeLookup6(ip, dst0, dst1, dst2, dst3, out.iface);
  if (route === null) return SEND_FAILED;
  const { iface } = route;
  const { path } = ip;
  const ref = neighbourResolve(ip, iface, version, path.next0, path.next1, path.next2, path.next3);
  if (ref <= 0) {
    iface.counters.txUnresolved++;
    return ref < 0 ? SEND_FAILED : SEND_LATER;
  }
  const tooBig = iface.counters.txTooBig;
  const high = neighbourMacHigh(iface.neighbours, ref);
  const low = neighbourMacLow(iface.neighbours, ref);
  const mtu = pathMtu(ip, iface, version, dst0, dst1, dst2, dst3);
  const whole = out.l4Length + (version === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES) <= mtu;
  const sent = whole
    ? ipTransmit(ip, iface, high, low, out)
    : ipTransmitFragments(ip, iface, high, low, out, mtu);
  if (sent) return SENT;
  return iface.counters.txTooBig > tooBig ? SEND_FAILED : SEND_LATER;
}
