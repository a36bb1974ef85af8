/**
 * What ICMP and probes taught about paths (RFC 1191, RFC 8201, RFC 4821): a small, bounded cache of MTUs by destination. A value is
 * believed for ten minutes (RFC 1191 6.3), then the path is tried at the link's MTU again.
 *
 * Only a transport can tell a true Packet Too Big from a forged one (RFC 5927 7.2), so nothing is learnt from
 * ICMP directly: TCP checks the quoted sequence number and calls `pathMtuUpdate`. What it finds out by probes of its
 * own (RFC 4821 5.2) comes by `pathMtuConfirm`.
 */
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { routeLookup4, routeLookup6 } from './routes.ts';

/** Below 68 is impossible (RFC 791); below 552 is an attack more often than a link, as Linux's min_pmtu. */
const PATH_MTU_MIN_4 = 552;
/** RFC 8201 4: a Packet Too Big below IPv6's minimum link MTU MUST be discarded. */
const PATH_MTU_MIN_6 = 1280;
const LIFETIME_MS = 600_000;
const ENTRIES_MAX = 256;

const VERSION = 0;
const DST0 = 1;
const DST1 = 2;
const DST2 = 3;
const DST3 = 4;
const MTU = 5;
const EXPIRES_MS = 6;
const WORDS = 7;

export class PathMtuCache {
  readonly #m = new Int32Array(ENTRIES_MAX * WORDS);
  /** Entries in use, kept dense and oldest first. */
  count = 0;

  /** @returns the believed MTU, or 0. */
  get(version: number, d0: number, d1: number, d2: number, d3: number): number {
    const e = this.#find(version, d0, d1, d2, d3);
    return e < 0 ? 0 : this.#m[e + MTU];
  }

  /** @returns whether the oldest entry had to go. */
  set(version: number, d0: number, d1: number, d2: number, d3: number, mtu: number, now_ms: number): boolean {
    const m = this.#m;
    const known = this.#find(version, d0, d1, d2, d3);
    const evict = known < 0 && this.count === ENTRIES_MAX;
    if (known >= 0 || evict) this.#remove(evict ? 0 : known);
    const e = this.count++ * WORDS;
    m[e + VERSION] = version;
    m[e + DST0] = d0;
    m[e + DST1] = d1;
    m[e + DST2] = d2;
    m[e + DST3] = d3;
    m[e + MTU] = mtu;
    m[e + EXPIRES_MS] = now_ms + LIFETIME_MS;
    return evict;
  }

  /** Forgets what has expired. @returns ms until the next does, or -1 when there is none. */
  expire(now_ms: number): number {
    while (this.count > 0) {
      const left_ms = (this.#m[EXPIRES_MS] - now_ms) | 0;
      if (left_ms > 0) return left_ms;
      this.#remove(0);
    }
    return -1;
  }

  #find(version: number, d0: number, d1: number, d2: number, d3: number): number {
    const m = this.#m;
    for (let e = 0, end = this.count * WORDS; e < end; e += WORDS) {
      if (m[e + DST0] !== d0 || m[e + DST3] !== d3 || m[e + DST1] !== d1 || m[e + DST2] !== d2) continue;
      if (m[e + VERSION] === version) return e;
    }
    return -1;
  }

  #remove(e: number): void {
    this.#m.copyWithin(e, e + WORDS, this.count * WORDS);
    this.count--;
  }
}

/** The largest IP packet that may be sent to a destination through `iface`, bytes. */
export function pathMtu(
  ip: Ip,
  iface: Interface,
  version: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): number {
  const mtu = version === 4 ? iface.mtu : iface.mtu6;
  if (ip.pathMtus.count === 0) return mtu;
  const learnt = ip.pathMtus.get(version, d0, d1, d2, d3);
  return learnt > 0 && learnt < mtu ? learnt : mtu;
}

/** No path's MTU is taken to be lower, bytes. */
export function pathMtuFloor(version: number): number {
  return version === 4 ? PATH_MTU_MIN_4 : PATH_MTU_MIN_6;
}

/** A transport has found out what passes to this destination: larger than what was believed, or smaller. */
export function pathMtuConfirm(
  ip: Ip,
  version: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  mtu: number,
): void {
  if (ip.pathMtus.set(version, d0, d1, d2, d3, mtu, ip.now_ms)) ip.counters.pathMtuEvicted++;
  ip.armTimer(ip.pathMtus.expire(ip.now_ms));
}

/**
 * A transport has validated a Packet Too Big (or "fragmentation needed") for this destination.
 * @returns whether it may be acted on. A report below the floor or not below the link's MTU is refused and counted;
 *   one above what we believe already changes nothing: it must never raise the estimate (RFC 8201 4).
 */
export function pathMtuUpdate(
  ip: Ip,
  version: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  mtu: number,
): boolean {
  const route = version === 4 ? routeLookup4(ip, d0) : routeLookup6(ip, d0, d1, d2, d3);
  if (route === null || mtu < pathMtuFloor(version) || mtu >= route.iface.mtu) {
    ip.counters.pathMtuRefused++;
    return false;
  }
  if (mtu < pathMtu(ip, route.iface, version, d0, d1, d2, d3)) {
    ip.counters.pathMtuLearnt++;
    pathMtuConfirm(ip, version, d0, d1, d2, d3, mtu);
  }
  return true;
}
