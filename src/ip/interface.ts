/**
 * One attachment of the stack to a link: a port, the addresses we have there, and the neighbours on it.
 * We are a strong host (RFC 1122 3.3.4.2): a packet is for us when it goes to an address of the interface
 * that it came in by.
 */
import type { Link, Port } from '../device/port.ts';
import { ipv4Mask, macHigh, macLow } from '../wire/address.ts';
import { InterfaceCounters } from './counters.ts';
import type { Group } from './groups.ts';
import type { Ip } from './ip.ts';
import { NeighbourCache } from './neighbour-cache.ts';

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

export class Address6 {
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
  readonly a3: number;
  readonly prefixLength: number;

  constructor(words: ArrayLike<number>, prefixLength: number) {
    this.a0 = words[0];
    this.a1 = words[1];
    this.a2 = words[2];
    this.a3 = words[3];
    this.prefixLength = prefixLength;
  }

  /** Its address with the host bits cleared, as four words. */
  network(): Int32Array {
    const bits = this.prefixLength;
    return Int32Array.from([this.a0, this.a1, this.a2, this.a3], (word, i) => {
      return word & ipv4Mask(Math.min(32, Math.max(0, bits - 32 * i)));
    });
  }
}

export class Interface {
  readonly ip: Ip;
  readonly index: number;
  readonly port: Port;
  readonly link: Link;
  /** Whether frames start with an Ethernet header: `link === 'ether'` as the data path asks it. */
  readonly ether: boolean;
  /** Largest IP packet, bytes. */
  readonly mtu: number;
  /** Our hardware address: its first two bytes, its last four. 0 for link 'ip'. */
  readonly macHigh: number;
  readonly macLow: number;
  readonly v4: readonly Address4[];
  readonly v6: readonly Address6[];
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
    this.index = index;
    this.port = port;
    this.link = link;
    this.ether = link === 'ether';
    this.mtu = mtu;
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
  return false;
}

/** Leading bits in which two IPv6 addresses agree, 0 to 128. */
export function commonPrefix6(a: Address6, b0: number, b1: number, b2: number, b3: number): number {
  if (a.a0 !== b0) return Math.clz32(a.a0 ^ b0);
  if (a.a1 !== b1) return 32 + Math.clz32(a.a1 ^ b1);
  if (a.a2 !== b2) return 64 + Math.clz32(a.a2 ^ b2);
  return 96 + Math.clz32(a.a3 ^ b3);
}
