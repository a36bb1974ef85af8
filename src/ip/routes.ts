/**
 * Where a packet for a destination goes: the longest matching prefix over a short list (connected networks,
 * static routes, default gateways). It is asked when a connection opens, not for each packet, so a sorted list
 * is enough.
 */
import { formatCidr, parseCidr, parseIpv4, parseIpv6 } from '../wire/address.ts';
import { IpConfigError } from './errors.ts';
import {
  type Address4,
  type Address6,
  commonPrefix6,
  type Interface,
  interfaceHas4,
  interfaceHas6,
  interfaceOnLink4,
  interfaceOnLink6,
} from './interface.ts';
import type { Ip } from './ip.ts';

const ROUTES_MAX = 256;
/** The largest window of TCP (RFC 7323 2.3). */
const START_WINDOW_MAX = 2 ** 30 - 1;

/** Why a lookup found nothing: `ip.path.failure`. */
export const ROUTE_NONE = 1;
/** The destination is an address of our own; a stack does not talk to itself. */
export const ROUTE_TO_SELF = 2;
/** Multicast, broadcast, loopback or unspecified. */
export const ROUTE_NOT_UNICAST = 3;

/** One line of the routing table. Words as in Packet: an IPv4 address in word 0. */
export interface Route {
  readonly version: 4 | 6;
  readonly network: Int32Array;
  readonly prefixLength: number;
  readonly iface: Interface;
  /** The router to send to; null for a network that is on the link. */
  readonly gateway: Int32Array | null;
  /** First congestion window of connections this way, bytes; 0: the transport's own. */
  readonly startWindow: number;
  /** By a router's word, and ended by it. */
  readonly learnt: boolean;
}

/** Scratch that a successful lookup fills: the next hop and the source address to use. */
export class Path {
  next0 = 0;
  next1 = 0;
  next2 = 0;
  next3 = 0;
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  /** One of ROUTE_* when the last lookup gave null. */
  failure = 0;
}

export interface RouteOptions {
  /** As CIDR: `10.0.0.0/8`, `::/0`. */
  destination: string;
  /** Address of the router, on a network that an interface is connected to. */
  gateway?: string;
  /** Needed without a gateway, and with a link-local one. */
  iface?: Interface;
  /** First congestion window of connections this way, bytes, where the path is known to take more, or less. */
  startWindow?: number;
}

export class Routes {
  /** Longest prefix first. */
  readonly v4: Route[] = [];
  readonly v6: Route[] = [];
  /** How many of them have a startWindow. */
  startWindows = 0;
  /** Rises whenever a route or an address comes or goes: what was looked up before may lead elsewhere now. */
  version = 1;
  readonly #interfaces: readonly Interface[];

  constructor(interfaces: readonly Interface[]) {
    this.#interfaces = interfaces;
  }

  /** @throws IpConfigError, AddressError */
  add(options: RouteOptions): Route {
    const cidr = parseCidr(options.destination);
    const network = cidr.family === 4 ? Int32Array.of(cidr.address, 0, 0, 0) : cidr.address;
    for (let bit = cidr.length; bit < (cidr.family === 4 ? 32 : 128); bit++) {
      if (((network[bit >> 5] >>> (31 - (bit & 31))) & 1) === 0) continue;
      throw new IpConfigError(
        'ERR_IP_ROUTE',
        `${formatCidr(cidr)} has bits set after its prefix; clear them`,
      );
    }
    const gateway = options.gateway === undefined ? null : parseGateway(options.gateway, cidr.family);
    const iface = options.iface ?? this.#connectedTo(gateway, cidr.family);
    if (iface === undefined) {
      const why =
        gateway === null
          ? 'needs an interface or a gateway'
          : `: ${options.gateway} is on no connected network`;
      throw new IpConfigError('ERR_IP_ROUTE', `the route to ${formatCidr(cidr)} ${why}`);
    }
    if (iface.ether && gateway !== null && !onLink(iface, gateway, cidr.family)) {
      const message = `the gateway ${options.gateway} is not on a network of interface ${iface.index}; give the interface an address there`;
      throw new IpConfigError('ERR_IP_GATEWAY', message);
    }
    if ((cidr.family === 4 ? iface.v4.length : iface.v6.length) === 0) {
      throw new IpConfigError(
        'ERR_IP_ROUTE',
        `interface ${iface.index} has no IPv${cidr.family} address to send from`,
      );
    }
    const { startWindow = 0 } = options;
    if (!(Number.isInteger(startWindow) && startWindow >= 0 && startWindow <= START_WINDOW_MAX)) {
      throw new IpConfigError(
        'ERR_IP_ROUTE',
        `the route to ${formatCidr(cidr)} has a start window of ${startWindow}; 0 to ${START_WINDOW_MAX} bytes`,
      );
    }
    const route = this.insert(cidr.family, network, cidr.length, iface, gateway, false, startWindow);
    if (route === null) throw new IpConfigError('ERR_IP_LIMIT', `at most ${ROUTES_MAX} routes`);
    return route;
  }

  /** `add` of what is known to be right. @returns null at the limit */
  insert(
    version: 4 | 6,
    network: Int32Array,
    prefixLength: number,
    iface: Interface,
    gateway: Int32Array | null,
    learnt: boolean,
    startWindow = 0,
  ): Route | null {
    const list = version === 4 ? this.v4 : this.v6;
    if (list.length >= ROUTES_MAX) return null;
    const route: Route = { version, network, prefixLength, iface, gateway, startWindow, learnt };
    if (startWindow > 0) this.startWindows++;
    const place = list.findIndex((other) => other.prefixLength < prefixLength);
    list.splice(place < 0 ? list.length : place, 0, route);
    this.version++;
    return route;
  }

  remove(route: Route): boolean {
    const list = route.version === 4 ? this.v4 : this.v6;
    const place = list.indexOf(route);
    if (place < 0) return false;
    list.splice(place, 1);
    if (route.startWindow > 0) this.startWindows--;
    this.version++;
    return true;
  }

  #connectedTo(gateway: Int32Array | null, version: 4 | 6): Interface | undefined {
    return gateway === null ? undefined : this.#interfaces.find((iface) => onLink(iface, gateway, version));
  }
}

/**
 * @param only Index of the interface to use, or -1 for any.
 * @returns the route, with `ip.path` filled; null when there is none, with `ip.path.failure` set and counted.
 */
export function routeLookup4(ip: Ip, dst: number, only = -1): Route | null {
  const { path } = ip;
  const top = dst >>> 24;
  if (top === 0 || top === 127 || top >= 224) return fail(ip, ROUTE_NOT_UNICAST);
  for (const iface of ip.interfaces) if (interfaceHas4(iface, dst)) return fail(ip, ROUTE_TO_SELF);
  for (const route of ip.routes.v4) {
    const mask = route.prefixLength === 0 ? 0 : -1 << (32 - route.prefixLength);
    if (((dst ^ route.network[0]) & mask) !== 0 || (only >= 0 && route.iface.index !== only)) continue;
    if (!route.iface.up || route.iface.v4.length === 0) continue;
    if (route.gateway === null && isBroadcast4(route.iface, dst)) return fail(ip, ROUTE_NOT_UNICAST);
    path.next0 = route.gateway === null ? dst : route.gateway[0];
    path.src0 = sourceSelect4(route.iface, path.next0).address;
    path.next1 = path.next2 = path.next3 = path.src1 = path.src2 = path.src3 = 0;
    path.failure = 0;
    return route;
  }
  return fail(ip, ROUTE_NONE);
}

/** As {@link routeLookup4}. */
export function routeLookup6(
  ip: Ip,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  only = -1,
): Route | null {
  const { path } = ip;
  // Multicast; unspecified, ::1 and the old IPv4-compatible form; IPv4-mapped.
  if (d0 >>> 24 === 0xff || ((d0 | d1) === 0 && (d2 === 0 || d2 === 0xffff)))
    return fail(ip, ROUTE_NOT_UNICAST);
  for (const iface of ip.interfaces) if (interfaceHas6(iface, d0, d1, d2, d3)) return fail(ip, ROUTE_TO_SELF);
  for (const route of ip.routes.v6) {
    if (!matches6(route, d0, d1, d2, d3) || (only >= 0 && route.iface.index !== only)) continue;
    if (!route.iface.up || route.iface.v6.length === 0) continue;
    const { gateway } = route;
    path.next0 = gateway === null ? d0 : gateway[0];
    path.next1 = gateway === null ? d1 : gateway[1];
    path.next2 = gateway === null ? d2 : gateway[2];
    path.next3 = gateway === null ? d3 : gateway[3];
    const source = sourceSelect6(route.iface, d0, d1, d2, d3);
    path.src0 = source.a0;
    path.src1 = source.a1;
    path.src2 = source.a2;
    path.src3 = source.a3;
    path.failure = 0;
    return route;
  }
  return fail(ip, ROUTE_NONE);
}

/** The start window of the route to a destination, bytes; 0: none. An IPv4 address is in word 0. */
export function routeStartWindow(
  ip: Ip,
  version: 4 | 6,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): number {
  const route = version === 4 ? routeLookup4(ip, d0) : routeLookup6(ip, d0, d1, d2, d3);
  return route === null ? 0 : route.startWindow;
}

/** The address to send from when the next hop is `next`: the one on its network, else the first. */
export function sourceSelect4(iface: Interface, next: number): Address4 {
  for (const a of iface.v4) if (((next ^ a.network) & a.mask) === 0) return a;
  return iface.v4[0];
}

/**
 * RFC 6724 5 over the addresses of the outgoing interface (rule 5), of which there is one at least: appropriate scope
 * (2), not deprecated (3), matching label (6), longest prefix (8). Home and temporary addresses (4, 7) there are none.
 */
export function sourceSelect6(iface: Interface, d0: number, d1: number, d2: number, d3: number): Address6 {
  let best = iface.v6[0];
  const wanted = scope(d0);
  const label = labelOf(d0, d1, d2);
  for (const a of iface.v6) {
    const [now, then] = [scope(a.a0), scope(best.a0)];
    if (now !== then) {
      // The smaller scope when it reaches the destination, else the larger.
      if (Math.min(now, then) >= wanted === now < then) best = a;
      continue;
    }
    const better =
      Number(a.preferred_ms > 0) - Number(best.preferred_ms > 0) ||
      Number(labelOf(a.a0, a.a1, a.a2) === label) - Number(labelOf(best.a0, best.a1, best.a2) === label) ||
      commonPrefix6(a, d0, d1, d2, d3) - commonPrefix6(best, d0, d1, d2, d3);
    if (better > 0) best = a;
  }
  return best;
}

/** RFC 6724 2.1's default policy: 6to4, Teredo, unique local, site-local and 6bone keep to themselves. */
function labelOf(a0: number, a1: number, a2: number): number {
  if (a0 >>> 16 === 0x2002) return 2;
  if (a0 >>> 0 === 0x2001_0000) return 5;
  if (a0 >>> 25 === 0x7e) return 13;
  if (a0 >>> 22 === 0x3fb) return 11;
  if (a0 >>> 16 === 0x3ffe) return 12;
  if ((a0 | a1) === 0) return a2 === 0xffff ? 4 : 3;
  return 1;
}

/** RFC 4291 2.7's values: multicast says its own, link-local unicast is 2, all other unicast is global, 14. */
function scope(word0: number): number {
  if (word0 >>> 24 === 0xff) return (word0 >>> 16) & 15;
  return word0 >>> 22 === 0x3fa ? 2 : 14;
}

function matches6(route: Route, d0: number, d1: number, d2: number, d3: number): boolean {
  const { network, prefixLength } = route;
  if (prefixLength === 0) return true;
  if (((d0 ^ network[0]) & mask(prefixLength)) !== 0) return false;
  if (prefixLength > 32 && ((d1 ^ network[1]) & mask(prefixLength - 32)) !== 0) return false;
  if (prefixLength > 64 && ((d2 ^ network[2]) & mask(prefixLength - 64)) !== 0) return false;
  return prefixLength <= 96 || ((d3 ^ network[3]) & mask(prefixLength - 96)) === 0;
}

/** @param bits From 1; 32 and more give all ones. */
function mask(bits: number): number {
  return bits >= 32 ? -1 : -1 << (32 - bits);
}

function isBroadcast4(iface: Interface, dst: number): boolean {
  for (const a of iface.v4) {
    if (a.prefixLength < 31 && (dst === a.broadcast || dst === a.network)) return true;
  }
  return false;
}

function onLink(iface: Interface, address: Int32Array, version: 4 | 6): boolean {
  return version === 4
    ? interfaceOnLink4(iface, address[0])
    : interfaceOnLink6(iface, address[0], address[1], address[2], address[3]);
}

function parseGateway(text: string, version: 4 | 6): Int32Array {
  return version === 4 ? Int32Array.of(parseIpv4(text), 0, 0, 0) : parseIpv6(text);
}

function fail(ip: Ip, why: number): null {
  ip.path.failure = why;
  if (why === ROUTE_NONE) ip.counters.noRoute++;
  else if (why === ROUTE_TO_SELF) ip.counters.toSelf++;
  else ip.counters.notUnicast++;
  return null;
}
