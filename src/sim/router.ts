/**
 * A router: hop limits, routes, and ICMP errors about what it can't pass on (RFC 1812 5.2, 5.3; RFC 4443). It passes
 * on whole packets only: what is too large for the next link is dropped, fragmentation being what TCP's DF forbids.
 */
import { checksumFinish, checksumUpdate16, pseudoIpv6 } from '../wire/checksum.ts';
import {
  ICMP_CHECKSUM,
  ICMP_HEADER_BYTES,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  icmpWrite,
  UNREACHABLE_FRAGMENTATION_NEEDED,
} from '../wire/icmp.ts';
import { ICMPV6_PACKET_TOO_BIG, ICMPV6_TIME_EXCEEDED } from '../wire/icmpv6.ts';
import {
  IPV4_CHECKSUM,
  IPV4_DST,
  IPV4_PROTOCOL,
  IPV4_SRC,
  IPV4_TTL,
  ipv4ChecksumGood,
  ipv4Write,
} from '../wire/ipv4.ts';
import { IPV6_DST, IPV6_HOP_LIMIT, IPV6_NEXT_HEADER, IPV6_SRC, ipv6Write } from '../wire/ipv6.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../wire/protocols.ts';
import type { Link, Receiver } from './link.ts';
import type { World } from './world.ts';

/** Nodes are numbered from 1; a byte of the address has room for so many. */
export const NODES_MAX = 250;

export interface RouterOptions {
  /** Tells senders what was too large or too old; true unless told. Without, the path is a black hole (RFC 2923 2.1). */
  readonly icmp?: boolean;
}

export interface RouterCounters {
  forwarded: number;
  /** No route, or none of an Internet packet's looks. */
  unroutable: number;
  badChecksum: number;
  expired: number;
  tooBig: number;
  errorsSent: number;
}

/** Network 10.0.0.0/24, of which each node has one address; routers speak from 10.0.1.0/24. */
const NETWORK4 = 0x0a000000;
const NETWORK6 = 0xfd000000 | 0;
/** An error quotes what fits these (RFC 1812 4.3.2.3, RFC 4443 2.4 (c)), bytes. */
const ERROR_BYTES_4 = 576;
const ERROR_BYTES_6 = 1280;

export class Router implements Receiver {
  readonly name: string;
  readonly number: number;
  readonly options: RouterOptions;
  /** By destination's number. */
  readonly routes: (Link | null)[] = new Array<Link | null>(NODES_MAX + 1).fill(null);
  readonly counters: RouterCounters = {
    forwarded: 0,
    unroutable: 0,
    badChecksum: 0,
    expired: 0,
    tooBig: 0,
    errorsSent: 0,
  };
  protected readonly world: World;
  readonly #words = new Int32Array(8);

  constructor(world: World, name: string, number: number, options: RouterOptions) {
    this.world = world;
    this.name = name;
    this.number = number;
    this.options = options;
  }

  receive(f: number, _from: Link): void {
    this.forward(f);
  }

  /** Passes a packet on, or drops it. */
  protected forward(f: number): void {
    const { frames, arena } = this.world;
    const { view } = arena;
    const at = frames.at[f];
    const v4 = view.getUint8(at) >> 4 === 4;
    if (v4 && !ipv4ChecksumGood(view, at, 20)) {
      this.counters.badChecksum++;
      frames.give(f);
      return;
    }
    const link = this.#route(at, v4);
    if (link === null) {
      this.counters.unroutable++;
      frames.give(f);
      return;
    }
    const ttl = view.getUint8(at + (v4 ? IPV4_TTL : IPV6_HOP_LIMIT));
    if (ttl <= 1) {
      this.counters.expired++;
      this.#error(f, v4, v4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEEDED, 0, 0);
      return;
    }
    if (frames.length[f] > link.mtu) {
      this.counters.tooBig++;
      if (v4) this.#error(f, v4, ICMP_UNREACHABLE, UNREACHABLE_FRAGMENTATION_NEEDED, link.mtu);
      else this.#error(f, v4, ICMPV6_PACKET_TOO_BIG, 0, link.mtu);
      return;
    }
    if (v4) {
      const word = view.getUint16(at + IPV4_TTL, false);
      const checksum = view.getUint16(at + IPV4_CHECKSUM, false);
      view.setUint16(at + IPV4_TTL, word - 0x100, false);
      view.setUint16(at + IPV4_CHECKSUM, checksumUpdate16(checksum, word, word - 0x100), false);
    } else view.setUint8(at + IPV6_HOP_LIMIT, ttl - 1);
    this.counters.forwarded++;
    link.send(f);
  }

  #route(at: number, v4: boolean): Link | null {
    const { view } = this.world.arena;
    const high = v4 ? NETWORK4 : view.getInt32(at + IPV6_DST, false);
    const low = view.getInt32(at + (v4 ? IPV4_DST : IPV6_DST + 12), false);
    const number = v4 ? low ^ NETWORK4 : high === NETWORK6 ? low : -1;
    return number > 0 && number <= NODES_MAX ? this.routes[number] : null;
  }

  /** Tells a packet's sender why it went no further. @param rest The MTU, or 0. */
  #error(f: number, v4: boolean, type: number, code: number, rest: number): void {
    const { frames, arena } = this.world;
    const { view, kernels } = arena;
    const at = frames.at[f];
    const protocol = view.getUint8(at + (v4 ? IPV4_PROTOCOL : IPV6_NEXT_HEADER));
    // Never about ICMP (RFC 1122 3.2.2): what it carries here are errors, all but neighbour discovery.
    const silent = this.options.icmp === false || protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6;
    const header = v4 ? 20 : 40;
    const quoted = Math.min(
      frames.length[f],
      (v4 ? ERROR_BYTES_4 : ERROR_BYTES_6) - header - ICMP_HEADER_BYTES,
    );
    const length = header + ICMP_HEADER_BYTES + quoted;
    const error = silent ? -1 : frames.take(length);
    if (error >= 0) {
      const to = frames.at[error];
      const l4 = to + header;
      kernels.copy(l4 + ICMP_HEADER_BYTES, at, quoted);
      icmpWrite(view, l4, type, code, rest);
      let pseudo = 0;
      if (v4) {
        const src = (NETWORK4 + 0x100 + this.number) | 0;
        ipv4Write(view, to, length, PROTOCOL_ICMP, src, view.getInt32(at + IPV4_SRC, false), 0, 64, 0, 0);
      } else {
        const w = this.#words;
        w[0] = NETWORK6;
        w[3] = 0x10000 + this.number;
        for (let i = 0; i < 4; i++) w[4 + i] = view.getInt32(at + IPV6_SRC + 4 * i, false);
        ipv6Write(view, to, ICMP_HEADER_BYTES + quoted, PROTOCOL_ICMPV6, w, 0, 4, 0, 64);
        pseudo = pseudoIpv6(view, to, PROTOCOL_ICMPV6, ICMP_HEADER_BYTES + quoted);
      }
      const sum = pseudo + kernels.sum(l4, ICMP_HEADER_BYTES + quoted);
      view.setUint16(l4 + ICMP_CHECKSUM, checksumFinish(sum), false);
      this.counters.errorsSent++;
    }
    frames.give(f);
    if (error >= 0) this.deliverError(error);
  }

  /** An error of this router's own goes out. */
  protected deliverError(f: number): void {
    this.forward(f);
  }
}
