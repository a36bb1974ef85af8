/**
 * IPv4 source routes of connections (RFC 9293 3.9.2.1, RFC 1122 4.2.3.8): given at an open, or taken from what arrived by
 * one and turned around. Both only where the program asks for it, since most networks drop such packets, as we do ourselves
 * otherwise (RFC 7126 4.3). IPv6's are gone for good (RFC 5095).
 *
 *     IP destination   option's data            given, to R by A, B:   A │ B R
 *     the first hop    the hops after it, R     arrived from R:        B │ A R
 *
 * A segment is written where it is without one, and moved up for it: connections without pay nothing.
 */
import type { Packet } from '../ip/packet.ts';
import { routeLookup4 } from '../ip/routes.ts';
import { checksumFinish } from '../wire/checksum.ts';
import { IPV4_DST, IPV4_HEADER_BYTES, IPV4_OPTION_LSRR, IPV4_OPTION_SSRR } from '../wire/ipv4.ts';
import { FLAG, STATE, TCB } from './block.ts';
import { mssUpdate } from './handshake.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, STATE: ST, IFACE, NEIGHBOUR } = TCB;

/** What 40 bytes of options hold beside type, length, pointer and a NOP. */
export const SOURCE_ROUTE_HOPS_MAX = 9;
/** NOP, type, length, pointer. */
const OPTION_HEAD = 4;
const NOP = 1;

export interface SourceRoute {
  readonly first: number;
  /** The hops after the first, and the peer. */
  readonly rest: readonly number[];
  /** Each hop is a neighbour of the one before. */
  readonly strict: boolean;
}

/** @param hops One to SOURCE_ROUTE_HOPS_MAX. */
export function sourceRoute(hops: readonly number[], peer: number, strict: boolean): SourceRoute {
  return { first: hops[0], rest: [...hops.slice(1), peer], strict };
}

/** Gives a block of any kind a route; null takes it away. */
export function sourceRouteSet(tcp: Tcp, t: number, route: SourceRoute | null): void {
  if (route === null) {
    tcp.sourceRoutes.delete(t);
    return;
  }
  tcp.marking = true;
  tcp.sourceRoutes.set(t, route);
}

function routeOf(tcp: Tcp, t: number): SourceRoute | undefined {
  // Resets for nobody's connection are written in the scratch block too.
  if (t === tcp.scratch && (tcp.m[t + FLAGS] & FLAG.MINI) === 0) return undefined;
  return tcp.sourceRoutes.get(t);
}

/** The connection goes on in another block. */
export function sourceRouteMove(tcp: Tcp, from: number, to: number): void {
  const route = tcp.sourceRoutes.get(from);
  if (route !== undefined) tcp.sourceRoutes.set(to, route);
}

/** Bytes of IP options in each segment (RFC 9293 3.7.1's IPoptionsize). */
export function ipOptionBytes(tcp: Tcp, t: number): number {
  if (!tcp.marking) return 0;
  const route = routeOf(tcp, t);
  return route === undefined ? 0 : OPTION_HEAD + 4 * route.rest.length;
}

/** Where the packets of an IPv4 connection go first. */
export function firstHop(tcp: Tcp, t: number): number {
  return (tcp.marking ? routeOf(tcp, t)?.first : undefined) ?? tcp.m[t + TCB.RADDR];
}

/**
 * Adds the route to a segment of `length` bytes at `at`, behind an IP header without options, which it moves up.
 * @returns by how many bytes
 */
export function sourceRouteInsert(tcp: Tcp, t: number, at: number, length: number): number {
  const route = routeOf(tcp, t);
  if (route === undefined) return 0;
  const { view, arena } = tcp;
  const { rest } = route;
  const bytes = OPTION_HEAD + 4 * rest.length;
  arena.u8.copyWithin(at + bytes, at, at + length);
  const header = at - IPV4_HEADER_BYTES;
  view.setUint8(header, 0x40 | ((IPV4_HEADER_BYTES + bytes) >> 2));
  view.setUint16(header + 2, IPV4_HEADER_BYTES + bytes + length, false);
  view.setUint16(header + 10, 0, false);
  view.setInt32(header + IPV4_DST, route.first, false);
  view.setUint8(at, NOP);
  view.setUint8(at + 1, route.strict ? IPV4_OPTION_SSRR : IPV4_OPTION_LSRR);
  view.setUint8(at + 2, bytes - 1);
  view.setUint8(at + 3, 4);
  for (const [i, hop] of rest.entries()) view.setInt32(at + OPTION_HEAD + 4 * i, hop, false);
  view.setUint16(header + 10, checksumFinish(arena.kernels.sum(header, IPV4_HEADER_BYTES + bytes)), false);
  return bytes;
}

/**
 * The route by which `ip.packet` came, turned around, is from now on that of the listener's connection `t` (MUST-53, and
 * SHLD-24: the latest counts). Without one things stay as they are.
 */
export function sourceRouteHeard(tcp: Tcp, t: number): void {
  const p = tcp.ip.packet;
  if (p.version !== 4 || p.l4At - p.at === IPV4_HEADER_BYTES) return;
  const route = returnRoute(tcp, p);
  // Addresses there are strangers' words.
  const m = tcp.m;
  if (route === null || routeLookup4(tcp.ip, route.first, m[t + IFACE]) === null) return;
  if (tcp.sourceRoutes.get(t)?.first !== route.first) m[t + NEIGHBOUR] = 0;
  sourceRouteSet(tcp, t, route);
  if ((m[t + FLAGS] & FLAG.MINI) === 0 && m[t + ST] >= STATE.ESTABLISHED) mssUpdate(tcp, t);
}

/** Options are whole and a route is complete, or IP had dropped the packet. */
function returnRoute(tcp: Tcp, p: Packet): SourceRoute | null {
  const { view } = tcp;
  for (let at = p.at + IPV4_HEADER_BYTES; at < p.l4At; ) {
    const type = view.getUint8(at);
    if (type === 0) return null;
    if (type === NOP) {
      at++;
      continue;
    }
    const bytes = view.getUint8(at + 1);
    if (type === IPV4_OPTION_LSRR || type === IPV4_OPTION_SSRR) {
      const hops = [];
      for (let i = at + 3; i + 4 <= at + bytes; i += 4) hops.unshift(view.getInt32(i, false));
      if (hops.length === 0 || hops.length > SOURCE_ROUTE_HOPS_MAX) return null;
      return sourceRoute(hops, p.src0, type === IPV4_OPTION_SSRR);
    }
    at += bytes;
  }
  return null;
}
