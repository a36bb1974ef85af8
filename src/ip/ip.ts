/**
 * The IP layer of one engine: interfaces, routes, and the scratch that its functions share. Input is in
 * input.ts, output in output.ts and send.ts. It takes the time from the engine: `now_ms` is set each breath.
 */
import type { Port } from '../device/port.ts';
import type { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
import { parseCidr, parseIp } from '../wire/address.ts';
import { Ipv6Chain } from '../wire/ipv6.ts';
import { NdpOptions } from '../wire/ndp.ts';
import {
  type AddressChange,
  addressBegin,
  addressEnd,
  addressTaken,
  addressTimers,
  linkSet,
  routesSweep,
  sameAddress,
} from './addresses.ts';
import { Autoconf } from './autoconf.ts';
import { IpCounters } from './counters.ts';
import { PingReply } from './echo.ts';
import { IpConfigError } from './errors.ts';
import { FragmentIds } from './fragment-ids.ts';
import { fragmentTimers } from './fragments.ts';
import { groupTimers } from './groups.ts';
import { IcmpError } from './icmp-error.ts';
import { Address4, Address6, Interface } from './interface.ts';
import { neighbourTimers } from './neighbours.ts';
import { OpaqueIdentifiers } from './opaque.ts';
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
const CONTROL_BYTES = 256;
/** RFC 4443 2.4 (f): ICMP errors on average, and at once. */
const ICMP_ERRORS_PER_SECOND = 100;
const ICMP_ERRORS_BURST = 50;

export interface IpOptions {
  /** Of what must differ between hosts (hash keys, jitter, link-local addresses of links without MACs). */
  seed: number;
  now_ms?: number;
  limits?: Partial<IpLimits>;
  /** Four words that the addresses we make up are made of; the same give the same on the same network (RFC 7217). */
  addressSecret?: Int32Array;
}

export interface IpLimits {
  /** Datagrams being put together again at once, of 64 KiB each; one source may have a quarter of them. */
  readonly reassemblyBuffers: number;
  /** TTL of IPv4, and hop limit of IPv6 until a router says otherwise, where a connection or socket doesn't say. */
  readonly ttl: number;
}

/** The TTL is RFC 1122 3.2.1.7's, and IANA's recommended default. */
export const IP_LIMITS_DEFAULT: IpLimits = { reassemblyBuffers: 32, ttl: 64 };

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
  /**
   * Take part in what hosts and routers of the link arrange: ask before an address is used, announce it, and learn
   * addresses, routers and the rest from IPv6 routers. Off unless told.
   */
  autoconfigure?: boolean;
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
  readonly ttl: number;
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
  readonly identifiers: OpaqueIdentifiers;
  /** Of flow labels; secret. */
  readonly flowKey: number;
  readonly error = new IcmpError();
  readonly pingReply = new PingReply();
  readonly scratchAt: number;
  readonly controlAt: number;

  /** TCP to addresses that aren't ours is taken too, for transparent listeners. */
  transparent = false;
  /** Packets that reached us by a source route are taken, for listeners that return by it. */
  sourceRoutes = false;
  /** ICMP errors about packets of ours; set by the transports' owner. */
  onError: ((error: IcmpError) => void) | null = null;
  onPingReply: ((reply: PingReply) => void) | null = null;
  /** An address is ours from now on, or no longer, or is somebody else's. */
  onAddress: ((change: AddressChange) => void) | null = null;

  #timerArmed = false;
  #timer_ms = 0;

  constructor(arena: Arena, options: IpOptions) {
    this.arena = arena;
    this.view = arena.view;
    this.random = new Prng(options.seed);
    this.fragmentIds = new FragmentIds(this.random);
    this.identifiers = new OpaqueIdentifiers(
      options.addressSecret ?? Int32Array.from({ length: 4 }, () => this.random.next()),
    );
    this.ttl = options.limits?.ttl ?? IP_LIMITS_DEFAULT.ttl;
    this.now_ms = options.now_ms ?? 0;
    this.icmpErrors = new TokenBucket(ICMP_ERRORS_PER_SECOND, ICMP_ERRORS_BURST, this.now_ms);
    this.scratchAt = arena.carve('ip scratch', SCRATCH_BYTES);
    this.reassembly = new Reassembly(
      arena,
      options.limits?.reassemblyBuffers ?? IP_LIMITS_DEFAULT.reassemblyBuffers,
    );
    this.controlAt = arena.carve('ip control scratch', CONTROL_BYTES);
    this.flowKey = new Prng(~options.seed).next();
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
    if (!(mtu >= MTU_MIN_4 && mtu <= port.capabilities.mtu)) throw this.#mtuOutOfRange(port, mtu);
    const neighbours = options.neighbours ?? 1024;
    if (!(neighbours >= 1 && neighbours <= NEIGHBOURS_MAX)) {
      throw new IpConfigError(
        'ERR_IP_LIMIT',
        `a neighbour cache has 1 to ${NEIGHBOURS_MAX} entries, not ${neighbours}`,
      );
    }
    const { v4, v6 } = this.#parseAddresses(options.addresses);
    if (mtu < MTU_MIN_6 && v6.length > 0) throw this.#mtuTooSmall(port, mtu);
    const iface = new Interface(this, this.interfaces.length, port, mtu, v4, v6, neighbours);
    if (options.autoconfigure) iface.auto = new Autoconf(this, iface);
    if (mtu >= MTU_MIN_6 && !v6.some((a) => a.a0 >>> 22 === 0x3fa))
      v6.unshift(iface.auto?.linkLocal() ?? this.#linkLocal(mac));
    const [routes4, routes6] = [this.routes.v4.slice(), this.routes.v6.slice()];
    this.interfaces.push(iface);
    try {
      for (const a of [...v4, ...v6]) this.#connect(iface, a);
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
    for (const address of [...v4.splice(0), ...v6.splice(0)]) addressBegin(this, iface, address);
    return iface;
  }

  /**
   * Gives an interface one more address, with the route to its network.
   * @param text CIDR. @throws IpConfigError, AddressError
   */
  addAddress(iface: Interface, text: string): void {
    const { v4, v6 } = this.#parseAddresses([text]);
    if (iface.v4.length + iface.v6.length >= ADDRESSES_MAX)
      throw new IpConfigError('ERR_IP_LIMIT', `at most ${ADDRESSES_MAX} addresses per interface`);
    if (v6.length > 0 && iface.mtu < MTU_MIN_6) throw this.#mtuTooSmall(iface.port, iface.mtu);
    for (const address of [...v4, ...v6]) {
      addressBegin(this, iface, address);
      try {
        this.#connect(iface, address);
      } catch (error) {
        addressEnd(this, iface, address);
        throw error;
      }
    }
  }

  /**
   * Takes an address from an interface, and the routes that it made possible.
   * @param text With or without a prefix length. @returns false when the interface doesn't have it @throws AddressError
   */
  removeAddress(iface: Interface, text: string): boolean {
    const words = parseIp(text.split('/')[0]);
    const wanted = words.length === 1 ? new Address4(words[0], 32) : new Address6(words, 128);
    const all = [...iface.v4, ...iface.v6, ...iface.tentative.map(({ address }) => address)];
    const address = all.find((a) => sameAddress(a, wanted));
    if (address === undefined) return false;
    addressEnd(this, iface, address);
    routesSweep(this, iface);
    return true;
  }

  /** @param up Whether the link carries anything; what comes and goes over one that doesn't is dropped. */
  setLink(iface: Interface, up: boolean): void {
    linkSet(this, iface, up);
  }

  /** @param mtu Bytes; at most the port's. @throws IpConfigError */
  setMtu(iface: Interface, mtu: number): void {
    const { capabilities } = iface.port;
    if (!(mtu >= MTU_MIN_4 && mtu <= capabilities.mtu)) throw this.#mtuOutOfRange(iface.port, mtu);
    if (mtu < MTU_MIN_6 && iface.v6.length > 0) throw this.#mtuTooSmall(iface.port, mtu);
    iface.mtu = mtu;
    iface.mtu6 = mtu;
    this.routes.version++;
  }

  /** The route to the network of an address, unless there is one. */
  #connect(iface: Interface, a: Address4 | Address6): void {
    const network = a instanceof Address4 ? Int32Array.of(a.network, 0, 0, 0) : a.network();
    const version = a instanceof Address4 ? 4 : 6;
    const list = version === 4 ? this.routes.v4 : this.routes.v6;
    const known = list.some(
      (route) =>
        route.iface === iface &&
        route.gateway === null &&
        route.prefixLength === a.prefixLength &&
        route.network.every((word, i) => word === network[i]),
    );
    if (!known && this.routes.insert(version, network, a.prefixLength, iface, null, false) === null)
      throw new IpConfigError('ERR_IP_LIMIT', 'there are too many routes');
  }

  #mtuOutOfRange(port: Port, mtu: number): IpConfigError {
    const message = `port ${port.name} takes an MTU of ${MTU_MIN_4} to ${port.capabilities.mtu} bytes, not ${mtu}`;
    return new IpConfigError('ERR_IP_PORT', message);
  }

  #mtuTooSmall(port: Port, mtu: number): IpConfigError {
    const message = `IPv6 needs an MTU of ${MTU_MIN_6} bytes, and port ${port.name} has ${mtu}`;
    return new IpConfigError('ERR_IP_PORT', message);
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
        if (addressTaken(this, a) || v4.some((other) => other.address === a.address))
          throw refuse('it is given twice');
        v4.push(a);
      } else {
        const a = new Address6(cidr.address, cidr.length);
        const low = (a.a0 | a.a1) === 0 && (a.a2 === 0 || a.a2 === 0xffff);
        if (low || a.a0 >>> 24 === 0xff)
          throw refuse('it is unspecified, loopback, multicast or IPv4-mapped');
        if (addressTaken(this, a) || v6.some((other) => sameAddress(other, a)))
          throw refuse('it is given twice');
        v6.push(a);
      }
    }
    return { v4, v6 };
  }

  /** fe80::/64 with the interface identifier of RFC 4291 appendix A, or a random one where there is no MAC. */
  #linkLocal(mac: Uint8Array | null): Address6 {
    if (mac === null)
      return new Address6([0xfe800000 | 0, 0, this.random.next(), this.random.next()], 64, 'link-local');
    const high = ((mac[0] ^ 2) << 24) | (mac[1] << 16) | (mac[2] << 8) | 0xff;
    const low = 0xfe000000 | (mac[3] << 16) | (mac[4] << 8) | mac[5];
    return new Address6([0xfe800000 | 0, 0, high, low], 64, 'link-local');
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
  for (const iface of ip.interfaces) {
    ip.armTimer(neighbourTimers(ip, iface));
    ip.armTimer(addressTimers(ip, iface));
    if (iface.auto !== null) ip.armTimer(iface.auto.timers());
    ip.armTimer(groupTimers(ip, iface));
  }
  ip.armTimer(ip.pathMtus.expire(now_ms));
  ip.armTimer(fragmentTimers(ip));
  return ip.timerDelay_ms;
}
