/**
 * The IP layer of one engine: interfaces, routes, and the scratch that its functions share. Input is in
 * input.ts, output in output.ts and send.ts. It takes the time from the engine: `now_ms` is set each breath.
 */
import type { Port } from '../device/port.ts';
import type { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
import { formatCidr, parseCidr } from '../wire/address.ts';
import { Ipv6Chain } from '../wire/ipv6.ts';
import { NdpOptions } from '../wire/ndp.ts';
import { IpCounters } from './counters.ts';
import { PingReply } from './echo.ts';
import { IpConfigError } from './errors.ts';
import { FragmentIds } from './fragment-ids.ts';
import { fragmentTimers } from './fragments.ts';
import { IcmpError } from './icmp-error.ts';
import { Address4, Address6, Interface, interfaceHas4, interfaceHas6 } from './interface.ts';
import { neighbourTimers } from './neighbours.ts';
import { Packet } from './packet.ts';
import { PathMtuCache } from './path-mtu.ts';
import { Reassembly } from './reassembly.ts';
import { Path, Routes } from './routes.ts';
import { TokenBucket } from './token-bucket.ts';

const INTERFACES_MAX = 64;
const ADDRESSES_MAX = 64;
const NEIGHBOURS_MAX = 65_535;
/** RFC 791: every host must take it; below, IPv4 is no use. */
const MTU_MIN_4 = 576;
/** RFC 8200 5. */
const MTU_MIN_6 = 1280;
/** An ICMP message being composed; NDP's is apart, since any send may have to ask for a neighbour first. */
const SCRATCH_BYTES = 2048;
const CONTROL_BYTES = 64;
/** RFC 4443 2.4 (f): ICMP errors on average, and at once. */
const ICMP_ERRORS_PER_SECOND = 100;
const ICMP_ERRORS_BURST = 50;

export interface IpOptions {
  /** Of what must differ between hosts (hash keys, jitter, link-local addresses of links without MACs). */
  seed: number;
  now_ms?: number;
  limits?: Partial<IpLimits>;
}

export interface IpLimits {
  /** Datagrams being put together again at once, of 64 KiB each; one source may have a quarter of them. */
  readonly reassemblyBuffers: number;
}

export const IP_LIMITS_DEFAULT: IpLimits = { reassemblyBuffers: 32 };

export interface InterfaceOptions {
  /** As CIDR, with the network's prefix: `10.0.0.2/24`, `fd00::2/64`. */
  addresses: string[];
  /** Default routers. */
  gateway4?: string;
  gateway6?: string;
  /** Largest IP packet, bytes; the port's unless told, and never more. */
  mtu?: number;
  /** Entries of the neighbour cache; 1024 unless told. */
  neighbours?: number;
}

export class Ip {
  readonly arena: Arena;
  readonly view: DataView;
  readonly random: Prng;
  readonly interfaces: Interface[] = [];
  readonly routes = new Routes(this.interfaces);
  readonly pathMtus = new PathMtuCache();
  readonly counters = new IpCounters();
  readonly icmpErrors: TokenBucket;
  /** Time, int32 ms that wraps. The engine sets it before anything else is called. */
  now_ms: number;

  /** What input looks at; what is composed for `ipSend`; what neighbour discovery composes. */
  readonly packet = new Packet();
  readonly out = new Packet();
  readonly control = new Packet();
  /** Filled by a route lookup. */
  readonly path = new Path();
  /** Two IPv6 addresses, for the functions of wire/ that take them as words. */
  readonly words = new Int32Array(8);
  readonly ndpOptions = new NdpOptions();
  /** Of the IPv6 packet in `packet`. */
  readonly chain = new Ipv6Chain();
  readonly reassembly: Reassembly;
  readonly fragmentIds: FragmentIds;
  readonly error = new IcmpError();
  readonly pingReply = new PingReply();
  readonly scratchAt: number;
  readonly controlAt: number;

  /** ICMP errors about packets of ours; set by the transports' owner. */
  onError: ((error: IcmpError) => void) | null = null;
  onPingReply: ((reply: PingReply) => void) | null = null;

  #timerArmed = false;
  #timer_ms = 0;

  constructor(arena: Arena, options: IpOptions) {
    this.arena = arena;
    this.view = arena.view;
    this.random = new Prng(options.seed);
    this.fragmentIds = new FragmentIds(this.random);
    this.now_ms = options.now_ms ?? 0;
    this.icmpErrors = new TokenBucket(ICMP_ERRORS_PER_SECOND, ICMP_ERRORS_BURST, this.now_ms);
    this.scratchAt = arena.carve('ip scratch', SCRATCH_BYTES);
    this.reassembly = new Reassembly(
      arena,
      options.limits?.reassemblyBuffers ?? IP_LIMITS_DEFAULT.reassemblyBuffers,
    );
    this.controlAt = arena.carve('ip control scratch', CONTROL_BYTES);
  }

  /**
   * Attaches a port, with the routes to its networks and gateways. On an IPv6-capable MTU the interface gets
   * a link-local address when none is given.
   * @throws IpConfigError, AddressError; nothing has changed then
   */
  addInterface(port: Port, options: InterfaceOptions): Interface {
    const { link, mac } = port.capabilities;
    const mtu = options.mtu ?? port.capabilities.mtu;
    if (port.arena !== this.arena)
      throw new IpConfigError('ERR_IP_PORT', `port ${port.name} lives in another arena than the stack`);
    if (this.interfaces.length === INTERFACES_MAX)
      throw new IpConfigError('ERR_IP_LIMIT', `at most ${INTERFACES_MAX} interfaces`);
    if (
      link === 'ether' &&
      (mac === null || mac.length !== 6 || (mac[0] & 1) !== 0 || mac.every((byte) => byte === 0))
    ) {
      throw new IpConfigError(
        'ERR_IP_PORT',
        `port ${port.name} needs a hardware address of its own, not a group's`,
      );
    }
    if (!(mtu >= MTU_MIN_4 && mtu <= port.capabilities.mtu)) {
      const message = `port ${port.name} takes an MTU of ${MTU_MIN_4} to ${port.capabilities.mtu} bytes, not ${mtu}`;
      throw new IpConfigError('ERR_IP_PORT', message);
    }
    const neighbours = options.neighbours ?? 1024;
    if (!(neighbours >= 1 && neighbours <= NEIGHBOURS_MAX)) {
      throw new IpConfigError(
        'ERR_IP_LIMIT',
        `a neighbour cache has 1 to ${NEIGHBOURS_MAX} entries, not ${neighbours}`,
      );
    }
    const { v4, v6 } = this.#parseAddresses(options.addresses);
    if (mtu < MTU_MIN_6 && v6.length > 0) {
      throw new IpConfigError(
        'ERR_IP_PORT',
        `IPv6 needs an MTU of ${MTU_MIN_6} bytes, and port ${port.name} has ${mtu}`,
      );
    }
    if (mtu >= MTU_MIN_6 && !v6.some((a) => a.a0 >>> 22 === 0x3fa)) v6.unshift(this.#linkLocal(mac));
    const iface = new Interface(this, this.interfaces.length, port, mtu, v4, v6, neighbours);
    const [routes4, routes6] = [this.routes.v4.slice(), this.routes.v6.slice()];
    this.interfaces.push(iface);
    try {
      for (const a of v4) {
        this.routes.add({
          destination: formatCidr({ family: 4, address: a.network, length: a.prefixLength }),
          iface,
        });
      }
      for (const a of v6) {
        const address = a.network();
        this.routes.add({ destination: formatCidr({ family: 6, address, length: a.prefixLength }), iface });
      }
      if (options.gateway4 !== undefined)
        this.routes.add({ destination: '0.0.0.0/0', gateway: options.gateway4, iface });
      if (options.gateway6 !== undefined)
        this.routes.add({ destination: '::/0', gateway: options.gateway6, iface });
    } catch (error) {
      this.interfaces.pop();
      this.routes.v4.splice(0, Number.POSITIVE_INFINITY, ...routes4);
      this.routes.v6.splice(0, Number.POSITIVE_INFINITY, ...routes6);
      throw error;
    }
    return iface;
  }

  /** Wants `ipTimers` to be called in `delay_ms` at the latest; negative: doesn't. */
  armTimer(delay_ms: number): void {
    if (delay_ms < 0) return;
    const at_ms = (this.now_ms + delay_ms) | 0;
    if (this.#timerArmed && ((at_ms - this.#timer_ms) | 0) >= 0) return;
    this.#timerArmed = true;
    this.#timer_ms = at_ms;
  }

  disarmTimer(): void {
    this.#timerArmed = false;
  }

  /** ms from `now_ms` until `ipTimers` has something to do (0: now), or -1: nothing. */
  get timerDelay_ms(): number {
    return this.#timerArmed ? Math.max(0, (this.#timer_ms - this.now_ms) | 0) : -1;
  }

  #parseAddresses(texts: string[]): { v4: Address4[]; v6: Address6[] } {
    const v4: Address4[] = [];
    const v6: Address6[] = [];
    if (texts.length > ADDRESSES_MAX)
      throw new IpConfigError('ERR_IP_LIMIT', `at most ${ADDRESSES_MAX} addresses per interface`);
    for (const text of texts) {
      const cidr = parseCidr(text);
      const refuse = (why: string) =>
        new IpConfigError('ERR_IP_ADDRESS', `${text} can't be an address of ours: ${why}`);
      if (cidr.family === 4) {
        const a = new Address4(cidr.address, cidr.length);
        const top = a.address >>> 24;
        if (top === 0 || top === 127 || top >= 224)
          throw refuse('it is unspecified, loopback, multicast or reserved');
        if (a.prefixLength < 31 && (a.address === a.network || a.address === a.broadcast)) {
          throw refuse(`in a /${a.prefixLength} it stands for the network or for broadcast`);
        }
        const taken = this.interfaces.some((iface) => interfaceHas4(iface, a.address));
        if (taken || v4.some((other) => other.address === a.address)) throw refuse('it is given twice');
        v4.push(a);
      } else {
        const a = new Address6(cidr.address, cidr.length);
        const low = (a.a0 | a.a1) === 0 && (a.a2 === 0 || a.a2 === 0xffff);
        if (low || a.a0 >>> 24 === 0xff)
          throw refuse('it is unspecified, loopback, multicast or IPv4-mapped');
        const same = (b: Address6) => b.a3 === a.a3 && b.a2 === a.a2 && b.a1 === a.a1 && b.a0 === a.a0;
        const taken = this.interfaces.some((iface) => interfaceHas6(iface, a.a0, a.a1, a.a2, a.a3));
        if (taken || v6.some(same)) throw refuse('it is given twice');
        v6.push(a);
      }
    }
    return { v4, v6 };
  }

  /** fe80::/64 with the interface identifier of RFC 4291 appendix A, or a random one where there is no MAC. */
  #linkLocal(mac: Uint8Array | null): Address6 {
    if (mac === null) return new Address6([0xfe800000 | 0, 0, this.random.next(), this.random.next()], 64);
    const high = ((mac[0] ^ 2) << 24) | (mac[1] << 16) | (mac[2] << 8) | 0xff;
    const low = 0xfe000000 | (mac[3] << 16) | (mac[4] << 8) | mac[5];
    return new Address6([0xfe800000 | 0, 0, high, low], 64);
  }
}

/**
 * Retries and ageing: of neighbours and path MTUs. To be called when `timerDelay_ms` has come to 0, though not
 * more often than each 100 ms.
 * @returns `timerDelay_ms`
 */
export function ipTimers(ip: Ip, now_ms: number): number {
  ip.now_ms = now_ms;
  if (ip.timerDelay_ms !== 0) return ip.timerDelay_ms;
  ip.disarmTimer();
  for (const iface of ip.interfaces) ip.armTimer(neighbourTimers(ip, iface));
  ip.armTimer(ip.pathMtus.expire(now_ms));
  ip.armTimer(fragmentTimers(ip));
  return ip.timerDelay_ms;
}
