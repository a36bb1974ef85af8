/** Neighbour discovery for IPv6 over Ethernet: five ICMPv6 messages and their options (RFC 4861 4). */
import { formatMac, macHigh, macLow, parseIpv6, parseMac } from './address.ts';
import { ipv6Store, ipv6Text } from './ipv6.ts';
import { accept, viewOf } from './plain.ts';

export const NDP_ROUTER_SOLICIT = 133;
export const NDP_ROUTER_ADVERT = 134;
export const NDP_NEIGHBOR_SOLICIT = 135;
export const NDP_NEIGHBOR_ADVERT = 136;
export const NDP_REDIRECT = 137;

/** Of a neighbour's advertisement: the byte with NDP_ROUTER, NDP_SOLICITED, NDP_OVERRIDE. */
export const NDP_FLAGS = 4;
export const NDP_ROUTER = 0x80;
export const NDP_SOLICITED = 0x40;
export const NDP_OVERRIDE = 0x20;
/** Of both neighbour messages and redirect: the address in question. */
export const NDP_TARGET = 8;
/** Of a redirect. */
export const NDP_DESTINATION = 24;
/** Of a router's advertisement. */
export const NDP_HOP_LIMIT = 4;
export const NDP_ROUTER_FLAGS = 5;
export const NDP_ROUTER_LIFETIME = 6;
export const NDP_REACHABLE_TIME = 8;
export const NDP_RETRANS_TIMER = 12;

export const NDP_OPTION_SOURCE_LINK = 1;
export const NDP_OPTION_TARGET_LINK = 2;
export const NDP_OPTION_PREFIX = 3;
export const NDP_OPTION_MTU = 5;

/** Offsets in a prefix information option (RFC 4861 4.6.2). */
export const PREFIX_LENGTH = 2;
export const PREFIX_FLAGS = 3;
export const PREFIX_VALID = 4;
export const PREFIX_PREFERRED = 8;
export const PREFIX_ADDRESS = 16;
export const PREFIX_BYTES = 32;
/** Bits of PREFIX_FLAGS. */
export const PREFIX_ON_LINK = 0x80;
export const PREFIX_AUTONOMOUS = 0x40;

/** Prefixes taken from one advertisement. */
export const NDP_PREFIXES_MAX = 8;

export const NDP_TRUNCATED = -1;
/** No message of neighbour discovery, or its code isn't 0. */
export const NDP_UNKNOWN = -2;
/** The target is a multicast address (RFC 4861 7.1). */
export const NDP_BAD_TARGET = -3;
/** An option of length zero, or one past the message: all of it must be dropped (RFC 4861 6.1, 7.1). */
export const NDP_BAD_OPTION = -4;
export const NDP_REJECTS = ['', 'truncated', 'unknown message', 'multicast target', 'option length'] as const;

export function ndpIsType(type: number): boolean {
  return type >= NDP_ROUTER_SOLICIT && type <= NDP_REDIRECT;
}

/**
 * Two more conditions are the caller's: a hop limit of 255 and a good checksum.
 * @returns where the options start, or a reject code
 */
export function ndpCheck(view: DataView, at: number, length: number): number {
  if (length < 8) return NDP_TRUNCATED;
  const type = view.getUint8(at);
  if (!ndpIsType(type) || view.getUint8(at + 1) !== 0) return NDP_UNKNOWN;
  if (type === NDP_ROUTER_SOLICIT) return 8;
  if (type === NDP_ROUTER_ADVERT) return length < 16 ? NDP_TRUNCATED : 16;
  const header = type === NDP_REDIRECT ? 40 : 24;
  if (length < header) return NDP_TRUNCATED;
  return view.getUint8(at + NDP_TARGET) === 0xff ? NDP_BAD_TARGET : header;
}

/** What `ndpOptionsParse` found; offsets are into the view parsed, 0: none. */
export class NdpOptions {
  /** Where the six bytes of a hardware address start. */
  sourceLinkAt = 0;
  targetLinkAt = 0;
  /** Bytes; 0: none. */
  mtu = 0;
  /** Where prefix information options start; further ones are left out. */
  readonly prefixAt = new Int32Array(NDP_PREFIXES_MAX);
  prefixCount = 0;
}

/**
 * Unknown options are skipped, as are known ones of another size than Ethernet's. The first of a kind counts.
 * @param at Where they start: the message's offset plus what `ndpCheck` returned.
 * @returns 0, or NDP_BAD_OPTION, upon which nothing in `out` may be used
 */
export function ndpOptionsParse(view: DataView, at: number, length: number, out: NdpOptions): number {
  out.sourceLinkAt = 0;
  out.targetLinkAt = 0;
  out.mtu = 0;
  out.prefixCount = 0;
  const end = at + length;
  while (at < end) {
    const bytes = end - at < 2 ? 0 : view.getUint8(at + 1) << 3;
    if (bytes === 0 || bytes > end - at) return NDP_BAD_OPTION;
    switch (view.getUint8(at)) {
      case NDP_OPTION_SOURCE_LINK:
        if (bytes === 8 && out.sourceLinkAt === 0) out.sourceLinkAt = at + 2;
        break;
      case NDP_OPTION_TARGET_LINK:
        if (bytes === 8 && out.targetLinkAt === 0) out.targetLinkAt = at + 2;
        break;
      case NDP_OPTION_MTU:
        if (bytes === 8 && out.mtu === 0) out.mtu = view.getInt32(at + 4, false) & 0x7fff_ffff;
        break;
      case NDP_OPTION_PREFIX:
        if (bytes === PREFIX_BYTES && out.prefixCount < NDP_PREFIXES_MAX)
          out.prefixAt[out.prefixCount++] = at;
        break;
    }
    at += bytes;
  }
  return 0;
}

// Writers leave the checksum zero and return the message's length in bytes.

/** @param ownMac Whether to say our hardware address: not from the unspecified address. */
export function ndpWriteRouterSolicit(
  view: DataView,
  at: number,
  ownMac: boolean,
  high: number,
  low: number,
): number {
  view.setInt32(at, NDP_ROUTER_SOLICIT << 24, false);
  view.setInt32(at + 4, 0, false);
  return ownMac ? 8 + writeLink(view, at + 8, NDP_OPTION_SOURCE_LINK, high, low) : 8;
}

/**
 * @param words Holds the target at word `target`.
 * @param ownMac Whether to say our hardware address: not in duplicate address detection.
 */
export function ndpWriteNeighborSolicit(
  view: DataView,
  at: number,
  words: Int32Array,
  target: number,
  ownMac: boolean,
  high: number,
  low: number,
): number {
  view.setInt32(at, NDP_NEIGHBOR_SOLICIT << 24, false);
  view.setInt32(at + 4, 0, false);
  ipv6Store(view, at + NDP_TARGET, words, target);
  return ownMac ? 24 + writeLink(view, at + 24, NDP_OPTION_SOURCE_LINK, high, low) : 24;
}

/** @param flags NDP_SOLICITED, NDP_OVERRIDE, NDP_ROUTER. */
export function ndpWriteNeighborAdvert(
  view: DataView,
  at: number,
  flags: number,
  words: Int32Array,
  target: number,
  high: number,
  low: number,
): number {
  view.setInt32(at, NDP_NEIGHBOR_ADVERT << 24, false);
  view.setInt32(at + NDP_FLAGS, flags << 24, false);
  ipv6Store(view, at + NDP_TARGET, words, target);
  return 24 + writeLink(view, at + 24, NDP_OPTION_TARGET_LINK, high, low);
}

function writeLink(view: DataView, at: number, kind: number, high: number, low: number): number {
  view.setInt32(at, (kind << 24) | (1 << 16) | high, false);
  view.setInt32(at + 4, low, false);
  return 8;
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface NdpPrefix {
  prefix: string;
  length: number;
  onLink: boolean;
  autonomous: boolean;
  /** 0xffffffff: for ever. */
  validSeconds: number;
  preferredSeconds: number;
}

export interface NdpOptionValues {
  sourceMac?: string;
  targetMac?: string;
  mtu?: number;
  prefixes?: NdpPrefix[];
}

export type NdpMessage =
  | { kind: 'router solicitation'; options: NdpOptionValues }
  | {
      kind: 'router advertisement';
      hopLimit: number;
      /** M 0x80, O 0x40. */
      flags: number;
      lifetimeSeconds: number;
      reachableMs: number;
      retransMs: number;
      options: NdpOptionValues;
    }
  | { kind: 'neighbor solicitation'; target: string; options: NdpOptionValues }
  | {
      kind: 'neighbor advertisement';
      target: string;
      /** NDP_ROUTER, NDP_SOLICITED, NDP_OVERRIDE. */
      flags: number;
      options: NdpOptionValues;
    }
  | { kind: 'redirect'; target: string; destination: string; options: NdpOptionValues };

/** Takes a whole ICMPv6 message. @throws WireError */
export function parseNdp(bytes: Uint8Array): NdpMessage {
  const view = viewOf(bytes);
  const header = accept('ndp', NDP_REJECTS, ndpCheck(view, 0, bytes.length));
  const options = parseNdpOptions(bytes, header);
  switch (view.getUint8(0)) {
    case NDP_ROUTER_SOLICIT:
      return { kind: 'router solicitation', options };
    case NDP_ROUTER_ADVERT:
      return {
        kind: 'router advertisement',
        hopLimit: view.getUint8(NDP_HOP_LIMIT),
        flags: view.getUint8(NDP_ROUTER_FLAGS),
        lifetimeSeconds: view.getUint16(NDP_ROUTER_LIFETIME),
        reachableMs: view.getUint32(NDP_REACHABLE_TIME),
        retransMs: view.getUint32(NDP_RETRANS_TIMER),
        options,
      };
    case NDP_NEIGHBOR_SOLICIT:
      return { kind: 'neighbor solicitation', target: ipv6Text(view, NDP_TARGET), options };
    case NDP_NEIGHBOR_ADVERT: {
      const flags = view.getUint8(NDP_FLAGS);
      return { kind: 'neighbor advertisement', target: ipv6Text(view, NDP_TARGET), flags, options };
    }
    default: {
      const destination = ipv6Text(view, NDP_DESTINATION);
      return { kind: 'redirect', target: ipv6Text(view, NDP_TARGET), destination, options };
    }
  }
}

function parseNdpOptions(bytes: Uint8Array, from: number): NdpOptionValues {
  const view = viewOf(bytes);
  const found = new NdpOptions();
  accept('ndp', NDP_REJECTS, ndpOptionsParse(view, from, bytes.length - from, found));
  const values: NdpOptionValues = {};
  if (found.sourceLinkAt > 0) values.sourceMac = formatMac(bytes, found.sourceLinkAt);
  if (found.targetLinkAt > 0) values.targetMac = formatMac(bytes, found.targetLinkAt);
  if (found.mtu > 0) values.mtu = found.mtu;
  if (found.prefixCount > 0) {
    values.prefixes = Array.from(found.prefixAt.subarray(0, found.prefixCount), (at) => ({
      prefix: ipv6Text(view, at + PREFIX_ADDRESS),
      length: view.getUint8(at + PREFIX_LENGTH),
      onLink: (view.getUint8(at + PREFIX_FLAGS) & PREFIX_ON_LINK) !== 0,
      autonomous: (view.getUint8(at + PREFIX_FLAGS) & PREFIX_AUTONOMOUS) !== 0,
      validSeconds: view.getUint32(at + PREFIX_VALID),
      preferredSeconds: view.getUint32(at + PREFIX_PREFERRED),
    }));
  }
  return values;
}

/** The whole ICMPv6 message but for its checksum. At most 16 prefixes. */
export function emitNdp(message: NdpMessage): Uint8Array {
  const bytes = new Uint8Array(640);
  const view = viewOf(bytes);
  let length = 24;
  switch (message.kind) {
    case 'router solicitation':
      length = ndpWriteRouterSolicit(view, 0, false, 0, 0);
      break;
    case 'router advertisement':
      length = 16;
      view.setUint8(0, NDP_ROUTER_ADVERT);
      view.setUint8(NDP_HOP_LIMIT, message.hopLimit);
      view.setUint8(NDP_ROUTER_FLAGS, message.flags);
      view.setUint16(NDP_ROUTER_LIFETIME, message.lifetimeSeconds);
      view.setUint32(NDP_REACHABLE_TIME, message.reachableMs);
      view.setUint32(NDP_RETRANS_TIMER, message.retransMs);
      break;
    case 'neighbor solicitation':
      ndpWriteNeighborSolicit(view, 0, parseIpv6(message.target), 0, false, 0, 0);
      break;
    case 'neighbor advertisement':
      ndpWriteNeighborAdvert(view, 0, message.flags, parseIpv6(message.target), 0, 0, 0);
      break;
    case 'redirect':
      length = 40;
      view.setUint8(0, NDP_REDIRECT);
      ipv6Store(view, NDP_TARGET, parseIpv6(message.target), 0);
      ipv6Store(view, NDP_DESTINATION, parseIpv6(message.destination), 0);
  }
  return bytes.slice(0, length + emitNdpOptions(view, length, message.options));
}

function emitNdpOptions(view: DataView, from: number, options: NdpOptionValues): number {
  let at = from;
  const link = (kind: number, mac: string | undefined) => {
    if (mac === undefined) return;
    const six = parseMac(mac);
    at += writeLink(view, at, kind, macHigh(six), macLow(six));
  };
  link(NDP_OPTION_SOURCE_LINK, options.sourceMac);
  link(NDP_OPTION_TARGET_LINK, options.targetMac);
  if (options.mtu !== undefined) {
    view.setInt32(at, (NDP_OPTION_MTU << 24) | (1 << 16), false);
    view.setInt32(at + 4, options.mtu, false);
    at += 8;
  }
  for (const prefix of options.prefixes ?? []) {
    view.setUint8(at, NDP_OPTION_PREFIX);
    view.setUint8(at + 1, PREFIX_BYTES >> 3);
    view.setUint8(at + PREFIX_LENGTH, prefix.length);
    const flags = (prefix.onLink ? PREFIX_ON_LINK : 0) | (prefix.autonomous ? PREFIX_AUTONOMOUS : 0);
    view.setUint8(at + PREFIX_FLAGS, flags);
    view.setUint32(at + PREFIX_VALID, prefix.validSeconds);
    view.setUint32(at + PREFIX_PREFERRED, prefix.preferredSeconds);
    ipv6Store(view, at + PREFIX_ADDRESS, parseIpv6(prefix.prefix), 0);
    at += PREFIX_BYTES;
  }
  return at - from;
}
