/** From a connection to its next hop's hardware address. */
import { neighbourResolve, neighbourUsable } from '../ip/neighbours.ts';
import { routeLookup4, routeLookup6 } from '../ip/routes.ts';
import { FLAG, TCB } from './block.ts';
import { firstHop } from './source-route.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, IFACE, NEIGHBOUR, RADDR6 } = TCB;
const { V6 } = FLAG;

/** What `nextHop` says when no route leads there. */
export const HOP_NO_ROUTE = -2;

/**
 * @returns > 0 when the block's NEIGHBOUR may be used, 0 while it is being resolved, -1 when it gave no answer just
 *   now, HOP_NO_ROUTE
 */
export function nextHop(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const reference = m[t + NEIGHBOUR];
  if (reference > 0 && neighbourUsable(tcp.ip.interfaces[m[t + IFACE]], reference)) return reference;
  return resolve(tcp, t);
}

/** Asks the routes again, since they may have changed, but stays on the connection's interface. */
function resolve(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const ip = tcp.ip;
  const v6 = (m[t + FLAGS] & V6) !== 0;
  const route = v6
    ? routeLookup6(ip, m[t + RADDR6], m[t + RADDR6 + 1], m[t + RADDR6 + 2], m[t + RADDR6 + 3], m[t + IFACE])
    : routeLookup4(ip, firstHop(tcp, t), m[t + IFACE]);
  m[t + NEIGHBOUR] = 0;
  if (route === null) return HOP_NO_ROUTE;
  const { next0, next1, next2, next3 } = ip.path;
  const reference = neighbourResolve(ip, route.iface, v6 ? 6 : 4, next0, next1, next2, next3);
  if (reference > 0) m[t + NEIGHBOUR] = reference;
  return reference;
}
