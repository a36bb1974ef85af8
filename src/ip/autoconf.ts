/**
 * What an interface learns from the routers of its link (RFC 4861 6.3, RFC 4862 5.5): default routers, prefixes on the
 * link, addresses of our own making, hop limit, MTU, timing; and from their redirects (RFC 4861 8.3).
 *
 * Everything has its limit, since anybody on the link may claim to be a router (RFC 6104): what is one too many is
 * counted and forgotten.
 */

import { ipv4Mask, ipv6InPrefix } from '../wire/address.ts';
import { ipv6Load } from '../wire/ipv6.ts';
import {
  NDP_DESTINATION,
  NDP_HOP_LIMIT,
  NDP_REACHABLE_TIME,
  NDP_RETRANS_TIMER,
  NDP_ROUTER_FLAGS,
  NDP_ROUTER_LIFETIME,
  NDP_TARGET,
  PREFIX_ADDRESS,
  PREFIX_AUTONOMOUS,
  PREFIX_FLAGS,
  PREFIX_LENGTH,
  PREFIX_ON_LINK,
  PREFIX_PREFERRED,
  PREFIX_VALID,
} from '../wire/ndp.ts';
import { addressBegin, addressEnd } from './addresses.ts';
import { Address6, type Interface, OnLinkPrefix } from './interface.ts';
import type { Ip } from './ip.ts';
import { ndpRouterSolicit } from './ndp-output.ts';
import { HEARD_QUESTION, neighbourHeard } from './neighbours.ts';
import { type Route, routeLookup6 } from './routes.ts';

const ROUTERS_MAX = 16;
const PREFIXES_MAX = 16;
const ADDRESSES_MAX = 16;
const REDIRECTS_MAX = 64;
/** RFC 7217 6. */
const COLLISIONS_MAX = 3;
/** RFC 4861 10 and RFC 7559 2: between two solicitations, at first and at most. */
const SOLICIT_DELAY_MS = 1000;
const SOLICIT_FIRST_MS = 4000;
const SOLICIT_MAX_MS = 3_600_000;
/** RFC 4862 5.5.3 (e): nobody shortens an address's life to less without having proved who he is. */
const TWO_HOURS_MS = 7_200_000;
/** A hop limit below cuts off everybody who isn't near: no router means that (RFC 8504 5.4's concern). */
const HOP_LIMIT_MIN = 32;
const MTU_MIN = 1280;
const REACHABLE_MAX_MS = 3_600_000;
const RETRANS_MIN_MS = 100;
const RETRANS_MAX_MS = 10_000;
/** Lifetimes are counted down at least this often. */
const TICK_MS = 60_000;
const FOREVER = 0xffff_ffff;

class Router {
  readonly words: Int32Array;
  lifetime_ms = 0;
  /** RFC 4191 2.2: 1 high, 0 medium, -1 low. */
  preference = 0;
  /** Gave no answer when asked where it is. */
  silent = false;
  route: Route | null = null;

  constructor(words: Int32Array) {
    this.words = words;
  }
}

export class Autoconf {
  readonly routers: Router[] = [];
  /** Host routes by redirects, oldest first. */
  readonly redirects: Route[] = [];
  readonly #ip: Ip;
  readonly #iface: Interface;
  /** When lifetimes were last counted down. */
  #ticked_ms: number;
  #soliciting = false;
  #solicit_ms = 0;
  /** RFC 7559's RT; 0: none sent. */
  #interval_ms = 0;
  #linkLocalCollisions = 0;
  readonly #collisions = new Map<string, number>();

  constructor(ip: Ip, iface: Interface) {
    this.#ip = ip;
    this.#iface = iface;
    this.#ticked_ms = ip.now_ms;
  }

  /** fe80:: with an opaque identifier. */
  linkLocal(): Address6 {
    return new Address6(this.#identified([0xfe80_0000 | 0, 0], this.#linkLocalCollisions), 64, 'link-local');
  }

  /** We have a link-local address, or the link is back: ask who routes here. */
  linkUp(): void {
    this.#soliciting = true;
    this.#interval_ms = 0;
    const delay_ms = this.#ip.random.below(SOLICIT_DELAY_MS);
    this.#solicit_ms = (this.#ip.now_ms + delay_ms) | 0;
    this.#ip.armTimer(delay_ms);
  }

  /** Somebody has an address that we made: another one, a few times (RFC 7217 6). */
  duplicate(address: Address6): void {
    if (address.origin === 'link-local') {
      if (this.#linkLocalCollisions++ < COLLISIONS_MAX) addressBegin(this.#ip, this.#iface, this.linkLocal());
      return;
    }
    if (address.origin !== 'autoconfigured') return;
    const key = `${address.a0} ${address.a1}`;
    const collisions = (this.#collisions.get(key) ?? 0) + 1;
    this.#collisions.set(key, collisions);
    if (collisions > COLLISIONS_MAX) return;
    this.#make([address.a0, address.a1], address.valid_ms, address.preferred_ms);
  }

  /** The router's advertisement in `ip.packet`, which is valid so far; its options are parsed. */
  advertised(): void {
    const { packet: p, view, ndpOptions: options } = this.#ip;
    const iface = this.#iface;
    const { counters } = iface;
    const at = p.l4At;
    // RFC 4861 6.1.2.
    if (p.src0 >>> 22 !== 0x3fa) {
      counters.ndpBad++;
      return;
    }
    counters.routerAdverts++;
    this.#tick();
    const hops = view.getUint8(at + NDP_HOP_LIMIT);
    if (hops >= HOP_LIMIT_MIN) iface.hopLimit = hops;
    const reachable_ms = view.getUint32(at + NDP_REACHABLE_TIME, false);
    if (reachable_ms > 0) iface.reachable_ms = Math.min(reachable_ms, REACHABLE_MAX_MS);
    const retrans_ms = view.getUint32(at + NDP_RETRANS_TIMER, false);
    if (retrans_ms > 0) iface.retrans_ms = Math.max(RETRANS_MIN_MS, Math.min(retrans_ms, RETRANS_MAX_MS));
    if (options.mtu >= MTU_MIN && options.mtu <= iface.mtu) iface.mtu6 = options.mtu;
    if (options.sourceLinkAt !== 0 && iface.ether) {
      const high = view.getUint16(options.sourceLinkAt, false);
      const low = view.getInt32(options.sourceLinkAt + 2, false);
      if ((high & 0x0100) === 0 && (high | low) !== 0)
        neighbourHeard(this.#ip, iface, 6, p.src0, p.src1, p.src2, p.src3, high, low, HEARD_QUESTION);
    }
    const lifetime_ms = view.getUint16(at + NDP_ROUTER_LIFETIME, false) * 1000;
    const flags = view.getUint8(at + NDP_ROUTER_FLAGS);
    this.#router(Int32Array.of(p.src0, p.src1, p.src2, p.src3), lifetime_ms, preferenceOf(flags));
    for (let i = 0; i < options.prefixCount; i++) this.#prefix(options.prefixAt[i]);
    this.#ip.armTimer(this.timers());
  }

  /** The redirect in `ip.packet`, which is valid so far; its options are parsed. */
  redirected(): void {
    const { packet: p, view, words, ndpOptions: options } = this.#ip;
    const ip = this.#ip;
    const iface = this.#iface;
    ipv6Load(view, p.l4At + NDP_TARGET, words, 0);
    ipv6Load(view, p.l4At + NDP_DESTINATION, words, 4);
    const target = words.slice(0, 4);
    const destination = words.slice(4, 8);
    const onLink = target.every((word, i) => word === destination[i]);
    const [d0, d1, d2, d3] = destination;
    // RFC 4861 8.1: from the router that we use for it, and to another one or to the host itself.
    const route = p.src0 >>> 22 === 0x3fa ? routeLookup6(ip, d0, d1, d2, d3, iface.index) : null;
    const { path } = ip;
    const fromRouter =
      route !== null &&
      route.gateway !== null &&
      path.next0 === p.src0 &&
      path.next1 === p.src1 &&
      path.next2 === p.src2 &&
      path.next3 === p.src3;
    if (!fromRouter || (!onLink && target[0] >>> 22 !== 0x3fa)) {
      iface.counters.ndpBad++;
      return;
    }
    const known = this.redirects.findIndex((other) =>
      other.network.every((word, i) => word === destination[i]),
    );
    if (known >= 0) ip.routes.remove(this.redirects.splice(known, 1)[0]);
    else if (this.redirects.length === REDIRECTS_MAX) ip.routes.remove(this.redirects.shift()!);
    const made = ip.routes.insert(6, destination, 128, iface, onLink ? null : target, true);
    if (made === null) {
      iface.counters.autoconfFull++;
      return;
    }
    this.redirects.push(made);
    iface.counters.redirectsFollowed++;
    if (options.targetLinkAt === 0 || !iface.ether) return;
    const high = view.getUint16(options.targetLinkAt, false);
    const low = view.getInt32(options.targetLinkAt + 2, false);
    if ((high & 0x0100) === 0 && (high | low) !== 0)
      neighbourHeard(ip, iface, 6, target[0], target[1], target[2], target[3], high, low, HEARD_QUESTION);
  }

  /** A neighbour doesn't answer: if it routes for us, another one should (RFC 4861 6.3.6, 7.3.3). */
  neighbourFailed(a0: number, a1: number, a2: number, a3: number): void {
    const ip = this.#ip;
    for (const route of this.redirects.slice()) {
      const via = route.gateway ?? route.network;
      if (via[0] !== a0 || via[1] !== a1 || via[2] !== a2 || via[3] !== a3) continue;
      this.redirects.splice(this.redirects.indexOf(route), 1);
      ip.routes.remove(route);
    }
    const router = this.#find(Int32Array.of(a0, a1, a2, a3));
    if (router === undefined || router.silent) return;
    router.silent = true;
    // When all are, each is tried again.
    if (this.routers.every(({ silent }) => silent))
      for (const other of this.routers) other.silent = other === router;
    this.#order();
  }

  /** Lifetimes that end, and solicitations. @returns ms until the next, or -1 */
  timers(): number {
    const ip = this.#ip;
    const iface = this.#iface;
    this.#tick();
    for (const router of this.routers.slice()) if (router.lifetime_ms <= 0) this.#forget(router);
    for (const prefix of iface.prefixes.slice()) if (prefix.valid_ms <= 0) this.#offLink(prefix);
    for (const address of iface.v6.slice()) if (address.valid_ms <= 0) addressEnd(ip, iface, address);
    let next_ms = this.#solicit();
    const soon = (left_ms: number): void => {
      if (left_ms !== Number.POSITIVE_INFINITY && (next_ms < 0 || left_ms < next_ms))
        next_ms = Math.ceil(left_ms);
    };
    for (const { lifetime_ms } of this.routers) soon(lifetime_ms);
    for (const { valid_ms } of iface.prefixes) soon(valid_ms);
    for (const { valid_ms } of iface.v6) soon(valid_ms);
    const counting = next_ms >= 0;
    return counting ? Math.min(next_ms, TICK_MS) : -1;
  }

  /** Sends a solicitation when it is time. @returns ms until it is, or -1 */
  #solicit(): number {
    const ip = this.#ip;
    const iface = this.#iface;
    if (!this.#soliciting || !iface.up) return -1;
    const left_ms = (this.#solicit_ms - ip.now_ms) | 0;
    if (left_ms > 0) return left_ms;
    if (!ndpRouterSolicit(ip, iface)) return 1;
    iface.counters.routerSolicits++;
    const jitter = 0.9 + ip.random.below(201) / 1000;
    this.#interval_ms =
      this.#interval_ms === 0
        ? SOLICIT_FIRST_MS * jitter
        : Math.min(2 * this.#interval_ms, SOLICIT_MAX_MS) * jitter;
    this.#solicit_ms = (ip.now_ms + this.#interval_ms) | 0;
    return Math.floor(this.#interval_ms);
  }

  #router(words: Int32Array, lifetime_ms: number, preference: number): void {
    let router = this.#find(words);
    if (lifetime_ms === 0) {
      if (router !== undefined) this.#forget(router);
      return;
    }
    if (router === undefined) {
      if (this.routers.length === ROUTERS_MAX) {
        this.#iface.counters.autoconfFull++;
        return;
      }
      router = new Router(words);
      this.routers.push(router);
    }
    router.lifetime_ms = lifetime_ms;
    router.preference = preference;
    router.silent = false;
    this.#soliciting = false;
    this.#order();
  }

  #forget(router: Router): void {
    this.routers.splice(this.routers.indexOf(router), 1);
    if (router.route !== null) this.#ip.routes.remove(router.route);
    // RFC 4861 6.3.5: what was redirected by it goes by others, too.
    for (const route of this.redirects.splice(0)) this.#ip.routes.remove(route);
    if (this.routers.length === 0) this.linkUp();
  }

  /** The default routes anew, best router first: one that answers, one that is preferred (RFC 4191 3.1). */
  #order(): void {
    const { routes } = this.#ip;
    const sorted = this.routers.toSorted(
      (a, b) => Number(a.silent) - Number(b.silent) || b.preference - a.preference,
    );
    for (const router of this.routers) if (router.route !== null) routes.remove(router.route);
    for (const router of sorted) {
      router.route = routes.insert(6, new Int32Array(4), 0, this.#iface, router.words, true);
      if (router.route === null) this.#iface.counters.autoconfFull++;
    }
  }

  /** RFC 4861 6.3.4, RFC 4862 5.5.3. @param at The option. */
  #prefix(at: number): void {
    const { view } = this.#ip;
    const words = new Int32Array(4);
    ipv6Load(view, at + PREFIX_ADDRESS, words, 0);
    const length = view.getUint8(at + PREFIX_LENGTH);
    const flags = view.getUint8(at + PREFIX_FLAGS);
    const valid_ms = milliseconds(view.getUint32(at + PREFIX_VALID, false));
    const preferred_ms = milliseconds(view.getUint32(at + PREFIX_PREFERRED, false));
    // The link-local prefix is nobody's to change, and groups are no addresses.
    if (words[0] >>> 22 === 0x3fa || words[0] >>> 24 === 0xff || length > 128) return;
    for (let i = 0; i < 4; i++) words[i] &= ipv4Mask(Math.min(32, Math.max(0, length - 32 * i)));
    if ((flags & PREFIX_ON_LINK) !== 0) this.#onLink(words, length, valid_ms);
    if ((flags & PREFIX_AUTONOMOUS) !== 0 && preferred_ms <= valid_ms && length === 64)
      this.#addressOf(words, valid_ms, preferred_ms);
  }

  #onLink(words: Int32Array, length: number, valid_ms: number): void {
    const iface = this.#iface;
    const known = iface.prefixes.find((p) => p.length === length && p.words.every((w, i) => w === words[i]));
    if (known !== undefined) {
      known.valid_ms = valid_ms;
      if (valid_ms === 0) this.#offLink(known);
      return;
    }
    if (valid_ms === 0) return;
    const route =
      iface.prefixes.length < PREFIXES_MAX
        ? this.#ip.routes.insert(6, words, length, iface, null, true)
        : null;
    if (route === null) iface.counters.autoconfFull++;
    else iface.prefixes.push(new OnLinkPrefix(words, length, valid_ms, route));
  }

  #offLink(prefix: OnLinkPrefix): void {
    this.#iface.prefixes.splice(this.#iface.prefixes.indexOf(prefix), 1);
    this.#ip.routes.remove(prefix.route);
  }

  #addressOf(prefix: Int32Array, valid_ms: number, preferred_ms: number): void {
    const iface = this.#iface;
    const all = [...iface.v6, ...iface.tentative.map(({ address }) => address)].filter(
      (a): a is Address6 => a instanceof Address6 && a.origin === 'autoconfigured',
    );
    const known = all.find((a) => ipv6InPrefix([a.a0, a.a1, a.a2, a.a3], prefix, 64));
    if (known === undefined) {
      if (valid_ms === 0) return;
      if (all.length >= ADDRESSES_MAX) iface.counters.autoconfFull++;
      else this.#make(prefix, valid_ms, preferred_ms);
      return;
    }
    known.preferred_ms = preferred_ms;
    if (valid_ms > TWO_HOURS_MS || valid_ms > known.valid_ms) known.valid_ms = valid_ms;
    else if (known.valid_ms > TWO_HOURS_MS) known.valid_ms = TWO_HOURS_MS;
  }

  #make(prefix: ArrayLike<number>, valid_ms: number, preferred_ms: number): void {
    const collisions = this.#collisions.get(`${prefix[0]} ${prefix[1]}`) ?? 0;
    if (collisions > COLLISIONS_MAX) return;
    const address = new Address6(this.#identified(prefix, collisions), 128, 'autoconfigured');
    address.valid_ms = valid_ms;
    address.preferred_ms = preferred_ms;
    addressBegin(this.#ip, this.#iface, address);
  }

  #identified(prefix: ArrayLike<number>, collisions: number): Int32Array {
    const words = Int32Array.of(prefix[0], prefix[1], 0, 0);
    this.#ip.identifiers.identify(prefix, this.#iface.port.name, collisions, words);
    return words;
  }

  #find(words: Int32Array): Router | undefined {
    return this.routers.find((router) => router.words.every((word, i) => word === words[i]));
  }

  /** Counts lifetimes down: int32 milliseconds wrap long before they end. */
  #tick(): void {
    const elapsed_ms = (this.#ip.now_ms - this.#ticked_ms) | 0;
    this.#ticked_ms = this.#ip.now_ms;
    const iface = this.#iface;
    for (const router of this.routers) router.lifetime_ms -= elapsed_ms;
    for (const prefix of iface.prefixes) prefix.valid_ms -= elapsed_ms;
    const tentative = iface.tentative.map(({ address }) => address);
    for (const address of [...iface.v6, ...tentative]) {
      if (!(address instanceof Address6)) continue;
      address.valid_ms -= elapsed_ms;
      address.preferred_ms -= elapsed_ms;
    }
  }
}

function milliseconds(seconds: number): number {
  return seconds === FOREVER ? Number.POSITIVE_INFINITY : seconds * 1000;
}

/** RFC 4191 2.2: 01 high, 11 low; 10 is reserved, and medium. */
function preferenceOf(flags: number): number {
  const bits = (flags >> 3) & 3;
  return bits === 1 ? 1 : bits === 3 ? -1 : 0;
}
