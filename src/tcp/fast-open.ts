/**
 * TCP Fast Open (RFC 7413): data rides on the SYN of a client that has shown before, by a cookie, that its address is
 * its own. A cookie of ours is a keyed hash of both addresses and of a period, so that nothing is kept for it.
 *
 * A connection that a cookie opened has a full block in SYN-RECEIVED, whose SND.UNA is past our SYN from the start:
 * so the send queue may be on its way before the handshake ends.
 */
import { type Packet, packetHashEnds } from '../ip/packet.ts';
import { OPTION_FAST_OPEN } from '../wire/tcp-options.ts';
import { COLD, FLAG, FLAG2, STATE, TCB } from './block.ts';
import { coldOf, coldWord } from './cold.ts';
import type { TcpCounters } from './counters.ts';
import { HASH_FAST_OPEN, MSS_DEFAULT_4, MSS_DEFAULT_6 } from './handshake.ts';
import { CLOSED_ABORTED, CLOSED_CLEAN, CLOSED_RESET } from './reasons.ts';
import type { Segment } from './segment.ts';
import { ipOptionBytes } from './source-route.ts';
import type { Tcp } from './tcp.ts';

const {
  STATE: ST,
  FLAGS,
  FLAGS2,
  LISTENER,
  BACKOFF,
  PMTU,
  PORTS,
  RADDR,
  LADDR,
  RADDR6,
  SNDQ_LENGTH,
  BYTES_IN,
} = TCB;
const { SYN_DATA } = COLD;
const { V6 } = FLAG;
const { FAST_OPEN } = FLAG2;
const { SYN_SENT, SYN_RECEIVED } = STATE;

/** Of our cookies: RFC 7413 4.1.1 allows 4 to 16. */
const COOKIE_BYTES = 8;
/** A key's time is 2^23 ms, 2.3 hours; cookies of the key before are good too, and are replaced. */
const PERIOD_SHIFT = 23;
const PERIOD_MASK = 0x1ff;

/** What `fastOpenCheck` says of a SYN: no cookie asked for; one to be sent; its cookie is good; good and to be replaced. */
export const FAST_OPEN_NONE = 0;
export const FAST_OPEN_ASKED = 1;
export const FAST_OPEN_GOOD = 2;
export const FAST_OPEN_OLD = 3;

/** What an engine remembers of Fast Open. */
export class FastOpen {
  readonly cache: FastOpenCache;
  /** The SYN-ACK being written carries `cookie`. */
  answering = false;
  readonly cookie = new Uint8Array(COOKIE_BYTES);
  /** Counts on where the clock wraps, so that no key ever comes again. */
  period = 0;
  slot = 0;

  constructor(counters: TcpCounters) {
    this.cache = new FastOpenCache(counters);
  }
}

/** Connections of one listener that cookies opened and no ACK has confirmed (RFC 7413 5.1). */
export class FastOpenPending {
  readonly #limit: number;
  /** Those that are alive. */
  opening = 0;
  /**
   * When those that RST ended stop counting, ms, oldest first: who sprays SYNs with a cookie of its own under many
   * addresses must not have the room back by the resets that they cause.
   */
  readonly #resets: number[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  hasRoom(nowMs: number): boolean {
    while (this.#resets.length > 0 && ((this.#resets[0] - nowMs) | 0) <= 0) this.#resets.shift();
    return this.opening + this.#resets.length < this.#limit;
  }

  reset(nowMs: number): void {
    this.#resets.push((nowMs + RESET_HELD_MS) | 0);
  }
}

const RESET_HELD_MS = 60_000;

/** Looks at the Fast Open option of a SYN; leaves the cookie to answer with in `tcp.fastOpen.cookie`. */
export function fastOpenCheck(tcp: Tcp, p: Packet): number {
  const { fastOpenAt: at, fastOpenLength: length } = tcp.options;
  if (length === COOKIE_BYTES) {
    cookieWrite(tcp, p, period(tcp) - 1);
    if (cookieEquals(tcp, at)) {
      fastOpenIssue(tcp, p);
      return FAST_OPEN_OLD;
    }
  }
  fastOpenIssue(tcp, p);
  if (length === COOKIE_BYTES && cookieEquals(tcp, at)) return FAST_OPEN_GOOD;
  if (length > 0) tcp.counters.fastOpenCookiesFailed++;
  return FAST_OPEN_ASKED;
}

/** Leaves the cookie for who sent `p` in `tcp.fastOpen.cookie`, and returns it. */
export function fastOpenIssue(tcp: Tcp, p: Packet): Uint8Array {
  cookieWrite(tcp, p, period(tcp));
  return tcp.fastOpen.cookie;
}

function period(tcp: Tcp): number {
  const f = tcp.fastOpen;
  const slot = (tcp.nowMs >>> PERIOD_SHIFT) & PERIOD_MASK;
  f.period += (slot - f.slot) & PERIOD_MASK;
  f.slot = slot;
  return f.period;
}

/** RFC 7413 4.1.2: bound to the client's address, and here to ours. */
function cookieWrite(tcp: Tcp, p: Packet, of: number): void {
  const h = tcp.hash;
  h.start();
  h.word(HASH_FAST_OPEN);
  h.word(of);
  packetHashEnds(h, p);
  const first = h.finish();
  const second = h.finishSecond();
  const { cookie } = tcp.fastOpen;
  for (let i = 0; i < 4; i++) {
    cookie[i] = first >>> (8 * i);
    cookie[4 + i] = second >>> (8 * i);
  }
}

function cookieEquals(tcp: Tcp, at: number): boolean {
  const { cookie } = tcp.fastOpen;
  let difference = 0;
  for (let i = 0; i < COOKIE_BYTES; i++) difference |= cookie[i] ^ tcp.u8[at + i];
  return difference === 0;
}

// ── The client ────────────────────────────────────────────────────────────────────────────────────────────

interface Path {
  /** Empty: none yet. */
  cookie: Uint8Array;
  /** The server's MSS option, bytes. */
  mss: number;
  /** Attempts in a row that failed; until when none is made, ms. */
  failures: number;
  retryAt: number;
}

/** Of any segment. */
const OPTION_BYTES_MAX = 40;
/** Destinations remembered. */
const PATHS_MAX = 1024;
/** After a failure Fast Open isn't tried for so long, and twice as long after each further one, to a day or so. */
const RETRY_MS = 900_000;
const RETRY_SHIFT_MAX = 7;
const NO_COOKIE = new Uint8Array(0);

/** Cookies by destination and our address, the least recently used leaving (RFC 7413 4.1.3). */
export class FastOpenCache {
  readonly #paths = new Map<string, Path>();
  readonly #counters: TcpCounters;

  constructor(counters: TcpCounters) {
    this.#counters = counters;
  }

  get size(): number {
    return this.#paths.size;
  }

  find(key: string): Path | undefined {
    const path = this.#paths.get(key);
    if (path === undefined) return undefined;
    this.#paths.delete(key);
    this.#paths.set(key, path);
    return path;
  }

  findOrAdd(key: string): Path {
    const known = this.find(key);
    if (known !== undefined) return known;
    if (this.#paths.size === PATHS_MAX) {
      this.#counters.fastOpenEvicted++;
      this.#paths.delete(this.#paths.keys().next().value!);
    }
    const path = { cookie: NO_COOKIE, mss: 0, failures: 0, retryAt: 0 };
    this.#paths.set(key, path);
    return path;
  }
}

/** Both addresses and the server's port: what one port says needn't hold for another (RFC 7413 4.1.3.1). */
function pathKey(tcp: Tcp, t: number): string {
  const m = tcp.m;
  const v6 = (m[t + FLAGS] & V6) !== 0;
  const addresses = v6 ? m.subarray(t + RADDR6, t + RADDR6 + 8).join() : `${m[t + RADDR]},${m[t + LADDR]}`;
  return `${addresses},${m[t + PORTS] >>> 16}`;
}

/** An active open that would use Fast Open: does, unless the path has failed lately. */
export function fastOpenStart(tcp: Tcp, t: number): void {
  const path = tcp.fastOpen.cache.find(pathKey(tcp, t));
  if (path !== undefined && path.failures > 0 && ((path.retryAt - tcp.nowMs) | 0) > 0) {
    tcp.counters.fastOpenAvoided++;
    return;
  }
  tcp.m[t + FLAGS2] |= FAST_OPEN;
}

/** How much data an active open's SYN can take along; 0 without a cookie. */
export function fastOpenRoom(tcp: Tcp, t: number, optionBytes: number): number {
  if (!offers(tcp, t)) return 0;
  const m = tcp.m;
  const path = tcp.fastOpen.cache.find(pathKey(tcp, t));
  if (path === undefined || path.cookie.length === 0) return 0;
  const v6 = (m[t + FLAGS] & V6) !== 0;
  const peer = path.mss || (v6 ? MSS_DEFAULT_6 : MSS_DEFAULT_4);
  const byPath = m[t + PMTU] - (v6 ? 60 : 40) - ipOptionBytes(tcp, t);
  return (peer < byPath ? peer : byPath) - (tcp.limits.habits === 'linux' ? OPTION_BYTES_MAX : optionBytes);
}

/** Writes a SYN's or SYN-ACK's Fast Open option, if it has one, after `used` bytes of others. @returns its bytes. */
export function fastOpenOption(tcp: Tcp, t: number, at: number): number {
  if (tcp.fastOpen.answering) return optionWrite(tcp, at, tcp.fastOpen.cookie);
  if (!offers(tcp, t)) return 0;
  return optionWrite(tcp, at, tcp.fastOpen.cache.find(pathKey(tcp, t))?.cookie ?? NO_COOKIE);
}

/** In whole words, behind NOPs. */
function optionWrite(tcp: Tcp, at: number, cookie: Uint8Array): number {
  const { u8 } = tcp;
  const bytes = (cookie.length + 5) & ~3;
  const from = at + bytes - cookie.length;
  u8.fill(1, at, from);
  u8[from - 2] = OPTION_FAST_OPEN;
  u8[from - 1] = cookie.length + 2;
  u8.set(cookie, from);
  return bytes;
}

/** A first SYN of ours with Fast Open; once it was lost, the option and the data may be why (RFC 7413 4.2.1). */
function offers(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  return m[t + ST] === SYN_SENT && (m[t + FLAGS2] & FAST_OPEN) !== 0 && m[t + BACKOFF] === 0;
}

/** How much of the send queue a SYN takes along; noted, so that its ACK is known. */
export function fastOpenData(tcp: Tcp, t: number, optionBytes: number): number {
  const m = tcp.m;
  if (m[t + SNDQ_LENGTH] === 0) return 0;
  const room = fastOpenRoom(tcp, t, optionBytes);
  const length = m[t + SNDQ_LENGTH] < room ? m[t + SNDQ_LENGTH] : room;
  if (length <= 0) return 0;
  m[coldOf(tcp, t) + SYN_DATA] = length;
  tcp.counters.fastOpenActive++;
  return length;
}

/** Payload bytes that our SYN took along. */
export function synData(tcp: Tcp, t: number): number {
  return (tcp.m[t + FLAGS2] & FAST_OPEN) === 0 ? 0 : coldWord(tcp, t, SYN_DATA);
}

/** The SYN-ACK of an active open with Fast Open, which acknowledges `acked` bytes of the SYN's data. */
export function fastOpenAnswered(tcp: Tcp, t: number, s: Segment, acked: number): void {
  const m = tcp.m;
  const o = tcp.options;
  const sent = synData(tcp, t);
  const path = tcp.fastOpen.cache.findOrAdd(pathKey(tcp, t));
  const asked = path.cookie.length === 0;
  if (s.hasOptions === 1 && o.mss > 0) path.mss = o.mss;
  const cookie = s.hasOptions === 1 && o.fastOpenLength > 0;
  if (cookie) path.cookie = tcp.u8.slice(o.fastOpenAt, o.fastOpenAt + o.fastOpenLength);
  if (acked > 0) {
    tcp.counters.fastOpenAcked++;
    path.failures = 0;
    return;
  }
  m[t + FLAGS2] &= ~FAST_OPEN;
  // RFC 7413 4.1.3.1: asked in vain, data not taken, or only the SYN without option and data came through.
  if (cookie) path.failures = 0;
  else if (asked || sent > 0 || m[t + BACKOFF] > 0) fail(tcp, path);
}

/** A connection ends with `reason`, at whatever state. */
export function fastOpenEnded(tcp: Tcp, t: number, reason: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & FAST_OPEN) === 0) return;
  if (m[t + LISTENER] !== 0) {
    if (m[t + ST] !== SYN_RECEIVED) return;
    fastOpenConfirmed(tcp, t);
    if (reason === CLOSED_RESET) tcp.listeners[m[t + LISTENER] - 1].fastOpen.reset(tcp.nowMs);
    return;
  }
  // Nothing ever came back: a path that swallows all after data on a SYN looks like this.
  const heard = m[t + BYTES_IN] !== 0 || reason === CLOSED_CLEAN || reason === CLOSED_ABORTED;
  if (!heard) fail(tcp, tcp.fastOpen.cache.findOrAdd(pathKey(tcp, t)));
}

/** The handshake of a connection that a cookie opened is over. */
export function fastOpenConfirmed(tcp: Tcp, t: number): void {
  tcp.listeners[tcp.m[t + LISTENER] - 1].fastOpen.opening--;
}

function fail(tcp: Tcp, path: Path): void {
  tcp.counters.fastOpenFailed++;
  path.cookie = NO_COOKIE;
  const shift = path.failures < RETRY_SHIFT_MAX ? path.failures : RETRY_SHIFT_MAX;
  path.retryAt = (tcp.nowMs + (RETRY_MS << shift)) | 0;
  path.failures++;
}
