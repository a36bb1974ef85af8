/**
 * For tests: an Ip over ports in memory. A test puts frames in as bytes and takes out what was sent as bytes,
 * made and read by the plain level of wire/.
 */
import { type Link, PLAIN, type Port, portCounters } from '../device/port.ts';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_LENGTH, Ring } from '../memory/ring.ts';
import { formatIpv6, macHigh, macLow, parseIpv4, parseIpv6, parseMac } from '../wire/address.ts';
import { emitArp } from '../wire/arp.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../wire/ethernet.ts';
import { emitIcmp, type IcmpMessage } from '../wire/icmp.ts';
import { emitIcmpv6, type Icmpv6Message } from '../wire/icmpv6.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { NDP_SOLICITED, type NdpMessage } from '../wire/ndp.ts';
import { ipInput } from './input.ts';
import type { Interface } from './interface.ts';
import { type InterfaceOptions, Ip, ipTimers } from './ip.ts';
import { neighbourResolve } from './neighbours.ts';

export const OUR_MAC = '02:00:00:00:00:01';
export const OUR_4 = '10.0.0.1';
export const OUR_6 = 'fd00::1';
export const OUR_LINK_LOCAL = 'fe80::ff:fe00:1';
export const PEER_MAC = '02:00:00:00:00:02';
export const PEER_4 = '10.0.0.2';
export const PEER_6 = 'fd00::2';
export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff';

const FRAME_BYTES = 2048;

/** A port whose tx slots are all free, and stay the test's to look at until `take`. */
export function memoryPort(arena: Arena, link: Link, mac: string, slots = 64): Port {
  const tx = new Ring(arena, 'test tx', slots);
  const rx = new Ring(arena, 'test rx', 1);
  const buffers = arena.carve('test buffers', slots * FRAME_BYTES);
  for (let i = 0; i < slots; i++) tx.m[tx.slot(i) + DESC_AT] = buffers + i * FRAME_BYTES;
  tx.tail = slots;
  return {
    name: 'test',
    arena,
    capabilities: {
      link,
      mtu: 1500,
      mac: link === 'ether' ? parseMac(mac) : null,
      ...PLAIN,
    },
    counters: portCounters(),
    rx,
    tx,
    frameBytes: FRAME_BYTES,
    pool: null,
    rxTimes: null,
    rxSync: () => 0,
    txSync: () => tx.available,
    fds: [],
    onArrival: () => {},
    close() {},
  };
}

export class Host {
  readonly arena = new Arena(1 << 23);
  readonly ip: Ip;
  readonly iface: Interface;
  readonly #rxAt: number;
  /** Index in the tx ring of the first frame not yet taken. */
  #taken = 0;

  constructor(link: Link = 'ether', options: Partial<InterfaceOptions> = {}, slots = 64) {
    this.ip = new Ip(this.arena, { seed: 1, now_ms: 1000 });
    this.#rxAt = this.arena.carve('test rx frame', 65_536);
    this.iface = this.ip.addInterface(memoryPort(this.arena, link, OUR_MAC, slots), {
      addresses: [`${OUR_4}/24`, `${OUR_6}/64`],
      ...options,
    });
  }

  get counters() {
    return this.iface.counters;
  }

  /** Hands a frame to the stack as the device would. @param breath Its own. @returns what `ipInput` does */
  receive(frame: Uint8Array, flags = 0, breath = true): number {
    if (breath) this.ip.reassembly.release();
    // Whatever lies behind the frame must not matter.
    this.arena.u8.fill(0xee, this.#rxAt + frame.length, this.#rxAt + frame.length + 64);
    this.arena.u8.set(frame, this.#rxAt);
    return ipInput(this.ip, this.iface, this.#rxAt, frame.length, flags);
  }

  /** The frames sent since the last call; their slots are free again. */
  take(): Uint8Array[] {
    const { tx } = this.iface.port;
    const frames: Uint8Array[] = [];
    for (; this.#taken !== tx.head; this.#taken++) {
      const slot = tx.slot(this.#taken);
      const at = tx.m[slot + DESC_AT];
      frames.push(this.arena.u8.slice(at, at + tx.m[slot + DESC_LENGTH]));
      tx.tail++;
    }
    return frames;
  }

  /** Lets time pass as an engine does: timers when due, at most each 100 ms, or as long as told. */
  pass(ms: number, step_ms = 100): void {
    for (const end = this.ip.now_ms + ms; this.ip.now_ms < end; ) {
      ipTimers(this.ip, Math.min(end, this.ip.now_ms + step_ms));
    }
  }

  resolve(address: string): number {
    const [a0, a1, a2, a3] = words(address);
    return neighbourResolve(this.ip, this.iface, versionOf(address), a0, a1, a2, a3);
  }

  /** The neighbour answers a question that was put to all or to it. */
  answer(address: string = PEER_4, mac: string = PEER_MAC): void {
    if (versionOf(address) === 4) this.receive(arpFrame('reply', mac, address, OUR_MAC, OUR_4));
    else this.receive(advertFrame(address, mac));
  }
}

export function versionOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

export function words(address: string): Int32Array {
  return versionOf(address) === 4 ? Int32Array.of(parseIpv4(address), 0, 0, 0) : parseIpv6(address);
}

export function arpFrame(
  operation: 'request' | 'reply',
  senderMac: string,
  senderIp: string,
  targetMac: string,
  targetIp: string,
  dst = operation === 'request' ? BROADCAST_MAC : targetMac,
): Uint8Array {
  const payload = emitArp({ operation, senderMac, senderIp, targetMac, targetIp });
  return emitEthernet({ dst, src: senderMac, type: ETHERTYPE_ARP, payload });
}

export function ether4(payload: Uint8Array, dst = OUR_MAC, src = PEER_MAC): Uint8Array {
  return emitEthernet({ dst, src, type: ETHERTYPE_IPV4, payload });
}

export function ether6(payload: Uint8Array, dst = OUR_MAC, src = PEER_MAC): Uint8Array {
  return emitEthernet({ dst, src, type: ETHERTYPE_IPV6, payload });
}

export function icmp4(message: IcmpMessage, src = PEER_4, dst = OUR_4): Uint8Array {
  return ether4(emitIpv4Packet({ src, dst, protocol: 1, payload: emitIcmp(message) }));
}

export function icmp6(message: Icmpv6Message, src = PEER_6, dst = OUR_6, hopLimit = 64): Uint8Array {
  const payload = emitIcmpv6(message, { src, dst });
  return ether6(emitIpv6Packet({ src, dst, nextHeader: 58, hopLimit, payload }));
}

/** A neighbour's advertisement to us. */
export function advertFrame(
  target: string,
  targetMac: string,
  flags = NDP_SOLICITED,
  dst = OUR_6,
): Uint8Array {
  const message = { kind: 'neighbor advertisement' as const, target, flags, options: { targetMac } };
  return icmp6(message, target, dst, 255);
}

/** A router's advertisement to all nodes; what is left out says nothing. */
export function routerFrame(
  src = 'fe80::2',
  message: Partial<RouterAdvert> = {},
  hopLimit = 255,
): Uint8Array {
  const advert: RouterAdvert = {
    kind: 'router advertisement',
    hopLimit: 0,
    flags: 0,
    lifetimeSeconds: 1800,
    reachableMs: 0,
    retransMs: 0,
    options: {},
    ...message,
  };
  return icmp6(advert, src, 'ff02::1', hopLimit);
}

export type RouterAdvert = Extract<NdpMessage, { kind: 'router advertisement' }>;

/** The link-local address that a host has made for itself. */
export function linkLocalOf(host: Host): string {
  const a = host.iface.v6.find(({ origin }) => origin === 'link-local');
  if (a === undefined) throw new Error('no link-local address');
  return formatIpv6([a.a0, a.a1, a.a2, a.a3]);
}

export function solicitFrame(
  target: string,
  src: string,
  sourceMac: string | null,
  dst = target,
): Uint8Array {
  const options = sourceMac === null ? {} : { sourceMac };
  return icmp6({ kind: 'neighbor solicitation', target, options }, src, dst, 255);
}

export function macInts(text: string): [number, number] {
  const bytes = parseMac(text);
  return [macHigh(bytes), macLow(bytes)];
}
