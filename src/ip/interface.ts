/**
 * One attachment of the stack to a link: a port, the addresses we have there, and the neighbours on it.
 * We are a strong host (RFC 1122 3.3.4.2): a packet is for us when it goes to an address of the interface
 * that it came in by.
 */
import type { Link, Port } from '../device/port.ts';
import { formatIpv4, formatIpv6, ipv4Mask, ipv6InPrefix, macHigh, macLow } from '../wire/address.ts';
import type { Announcement, Tentative } from './addresses.ts';
import type { Autoconf } from './autoconf.ts';
import { InterfaceCounters } from './counters.ts';
import type { Group } from './groups.ts';
import type { Ip } from './ip.ts';
import { NeighbourCache } from './neighbour-cache.ts';
import type { Route } from './routes.ts';

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;

export class Address4 {
  readonly address: number;
  readonly prefixLength: number;
  readonly mask: number;
  readonly network: number;
  /** The directed broadcast address; 255.255.255.255 where there is none (/31 and /32, RFC 3021). */
  readonly broadcast: number;

  constructor(address: number, prefixLength: number) {
    this.address = address;
    this.prefixLength = prefixLength;
    this.mask = ipv4Mask(prefixLength);
    this.network = address & this.mask;
    this.broadcast = prefixLength < 31 ? address | ~this.mask : -1;
  }
}

/** Where an IPv6 address comes from: given by the program, made for the link, or made of a router's prefix. */
export type Address6Origin = 'given' | 'link-local' | 'autoconfigured';

export class Address6 {
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
  readonly a3: number;
  /** 128 for an autoconfigured one: what is on the link, routers say apart from it. */
  readonly prefixLength: number;
  readonly origin: Address6Origin;
  /** How long it stays, and how long it may be a new connection's source, ms (RFC 4862 5.5.4). */
  valid_ms = Number.POSITIVE_INFINITY;
  preferred_ms = Number.POSITIVE_INFINITY;

  constructor(words: ArrayLike<number>, prefixLength: number, origin: Address6Origin = 'given') {
    this.a0 = words[0];
    this.a1 = words[1];
    this.a2 = words[2];
    this.a3 = words[3];
    this.prefixLength = prefixLength;
    this.origin = origin;
  }

  /** Its address with the host bits cleared, as four words. */
  network(): Int32Array {
    const bits = this.prefixLength;
    return Int32Array.from([this.a0, this.a1, this.a2, this.a3], (word, i) => {
      return word & ipv4Mask(Math.min(32, Math.max(0, bits - 32 * i)));
    });
  }

  is(a0: number, a1: number, a2: number, a3: number): boolean {
    return this.a3 === a3 && this.a2 === a2 && this.a1 === a1 && this.a0 === a0;
  }
}

export function addressText(address: Address4 | Address6): string {
  if (address instanceof Address4) return formatIpv4(address.address);
  return formatIpv6([address.a0, address.a1, address.a2, address.a3]);
}

/** A prefix that a router says is on the link (RFC 4861 6.3.4). */
export class OnLinkPrefix {
  readonly words: Int32Array;
  readonly length: number;
  valid_ms: number;
  readonly route: Route;

  constructor(words: Int32Array, length: number, valid_ms: number, route: Route) {
    this.words = words;
    this.length = length;
    this.valid_ms = valid_ms;
    this.route = route;
  }
}

export class Interface {
  readonly ip: Ip;
  readonly index: number;
  readonly port: Port;
  readonly link: Link;
  /** Whether frames start with an Ethernet header: `link === 'ether'` as the data path asks it. */
  readonly ether: boolean;
  /** Largest IP packet, bytes; IPv6's may be less, when a router says so. */
  mtu: number;
  mtu6: number;
  /** Whether the link carries anything; see addresses.ts. */
  up = true;
  /** Our hardware address: its first two bytes, its last four. 0 for link 'ip'. */
  readonly macHigh: number;
  readonly macLow: number;
  /** Those that may be used. */
  readonly v4: Address4[];
  readonly v6: Address6[];
  /** Those that others on the link are being asked about; see addresses.ts. */
  readonly tentative: Tentative[] = [];
  readonly announcements: Announcement[] = [];
  /** Takes part in what IPv6 routers and neighbours arrange; null: only what the program gave is used. */
  auto: Autoconf | null = null;
  readonly prefixes: OnLinkPrefix[] = [];
  /** TTL of what we send when nobody says otherwise. */
  readonly ttl: number;
  /** What routers say (RFC 4861 6.3.2): hop limit of packets, and the timing of neighbour discovery, ms. */
  hopLimit: number;
  reachable_ms = 30_000;
  retrans_ms = 1000;
  readonly neighbours: NeighbourCache;
  readonly counters = new InterfaceCounters();
  /** From a frame's first byte to the upper-layer header, bytes. */
  readonly headroom4: number;
  readonly headroom6: number;
  /** When we last defended an address of ours, and whether we ever did. */
  defended_ms = 0;
  defended = false;
  /** Multicast groups that we are in, those of our addresses among them; see groups.ts. */
  readonly groups: Group[] = [];
  /** Until when a querier of IGMPv2 or MLDv1 is about; 0: none was. */
  oldQuerier4_ms = 0;
  oldQuerier6_ms = 0;

  constructor(
    ip: Ip,
    index: number,
    port: Port,
    mtu: number,
    v4: Address4[],
    v6: Address6[],
    neighboursMax: number,
  ) {
    const { link, mac } = port.capabilities;
    this.ip = ip;
    this.ttl = ip.ttl;
    this.hopLimit = ip.ttl;
    this.index = index;
    this.port = port;
    this.link = link;
    this.ether = link === 'ether';
    this.mtu = mtu;
    this.mtu6 = mtu;
    this.macHigh = mac === null ? 0 : macHigh(mac);
    this.macLow = mac === null ? 0 : macLow(mac);
    this.v4 = v4;
    this.v6 = v6;
    this.neighbours = new NeighbourCache(this.ether ? neighboursMax : 0, ip.random.next());
    const link_bytes = this.ether ? ETHERNET_BYTES : 0;
    this.headroom4 = link_bytes + IPV4_BYTES;
    this.headroom6 = link_bytes + IPV6_BYTES;
  }
}

export function interfaceHas4(iface: Interface, address: number): boolean {
  for (let i = 0; i < iface.v4.length; i++) if (iface.v4[i].address === address) return true;
  return false;
}

export function interfaceHas6(iface: Interface, a0: number, a1: number, a2: number, a3: number): boolean {
  for (let i = 0; i < iface.v6.length; i++) {
    const a = iface.v6[i];
    // The interface identifier tells addresses apart soonest.
    if (a.a3 === a3 && a.a2 === a2 && a.a1 === a1 && a.a0 === a0) return true;
  }
  return false;
}

/** Whether an address is a unicast one of a network that this interface is connected to. */
export function interfaceOnLink4(iface: Interface, address: number): boolean {
  for (let i = 0; i < iface.v4.length; i++) {
    const a = iface.v4[i];
    if (((address ^ a.network) & a.mask) !== 0 || address === a.broadcast) continue;
    // The all-zeros host part is the old form of broadcast (RFC 1122 3.3.6).
    if (a.prefixLength >= 31 || address !== a.network) return true;
  }
  return false;
}

export function interfaceOnLink6(iface: Interface, a0: number, a1: number, a2: number, a3: number): boolean {
  for (let i = 0; i < iface.v6.length; i++) {
    const a = iface.v6[i];
    if (commonPrefix6(a, a0, a1, a2, a3) >= a.prefixLength) return true;
  }
  for (const { words, length } of iface.prefixes) {
    if (ipv6InPrefix([a0, a1, a2, a3], words, length)) return true;
  }
  return false;
}

/** Leading bits in which two IPv6 addresses agree, 0 to 128. */
export function commonPrefix6(a: Address6, b0: number, b1: number, b2: number, b3: number): number {
  if (a.a0 !== b0) return Math.clz32(a.a0 ^ b0);
  if (a.a1 !== b1) return 32 + Math.clz32(a.a1 ^ b1);
  if (a.a2 !== b2) return 64 + Math.clz32(a.a2 ^ b2);
  return 96 + Math.clz32(a.a3 ^ b3);
}
