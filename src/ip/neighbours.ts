/**
 * The neighbour cache of one interface: which hardware address answers for an IP address on the link. ARP and
 * neighbour discovery share it, with the states of RFC 4861 7.3.2 for both:
 *
 *                 answer                     30 s ± half
 *   INCOMPLETE ───────────► REACHABLE ──────────────────► STALE
 *     │ 3 x 1 s                 ▲                           │ used
 *     ▼                         │ answer, or TCP progress   ▼
 *   FAILED ──3 s──► (gone)      ├──────── PROBE ◄── 5 s ── DELAY
 *                               │           │ 3 x 1 s
 *                                           ▼ (gone)
 *
 * **Against poisoning** the rule is short: a known hardware address is confirmed or forgotten, never replaced.
 * Whoever claims another one makes us ask the known one (once a second at most); only when that stays silent, to
 * three questions within 300 ms, is the entry dropped and the question put to all, so that a service which moves to
 * another machine is found there soon. What nobody asked for makes no entry.
 *
 * **Against floods**: entries that we send to are *pinned*; the others (unresolved, or made because a
 * neighbour asked for us) are in a list, oldest first, and only from it are entries evicted. Entries made
 * because a neighbour asked evict nothing at all.
 */
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { NEIGHBOUR, NEIGHBOUR_ALWAYS } from './neighbour-cache.ts';
import { EVERYBODY, solicit } from './solicit.ts';

const {
  REF,
  ATTENTION,
  USED_MS,
  MAC_HIGH,
  MAC_LOW,
  STATE,
  DEADLINE_MS,
  TRIES,
  CHALLENGED_MS,
  GENERATION,
  VERSION,
  A0,
  A1,
  A2,
  A3,
  LISTED,
  CHALLENGED,
  WORDS,
} = NEIGHBOUR;

const INCOMPLETE = 1;
const FAILED = 2;
const REACHABLE = 3;
const STALE = 4;
const DELAY = 5;
const PROBE = 6;

/** RFC 4861 10. */
const RETRANS_MS = 1000;
const SOLICITS_MAX = 3;
const REACHABLE_MS = 30_000;
const DELAY_FIRST_PROBE_MS = 5000;
/** Between two questions to a neighbour whose address somebody else claims: a host on the link needs less to answer. */
const CHALLENGE_MS = 100;
/** How long a failure is remembered, so that a silent neighbour isn't asked for by each new connection. */
const FAILED_MS = 3000;
/** An entry that nothing was sent to for this long is no longer pinned. */
const PINNED_MS = 60_000;
/** And after this long it is forgotten. */
const IDLE_MS = 600_000;
/** How often ages are looked at. */
const SWEEP_MS = 30_000;

/** How `neighbourHeard` came to know: the neighbour answered us, asked us, or told everybody. */
export const HEARD_ANSWER = 1;
export const HEARD_QUESTION = 2;
export const HEARD_UNASKED = 3;

/**
 * The neighbour that stands for a next hop (`version` 4: its address in a0).
 * @returns a usable reference (> 0); 0 while it is being asked for: try again when `neighbours.version` has
 *   moved; -1 when it gave no answer just now.
 */
export function neighbourResolve(
  ip: Ip,
  iface: Interface,
  version: number,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
): number {
  if (!iface.ether) return NEIGHBOUR_ALWAYS;
  const cache = iface.neighbours;
  const { m } = cache;
  let e = cache.find(version, a0, a1, a2, a3);
  if (e === 0) {
    if (cache.full && !evictOldest(iface)) return 0;
    e = cache.create(version, a0, a1, a2, a3);
    m[e + STATE] = INCOMPLETE;
    ask(ip, iface, e);
    return 0;
  }
  if (m[e + REF] === 0) return m[e + STATE] === FAILED ? -1 : 0;
  neighbourUsable(iface, m[e + REF]);
  return m[e + REF];
}

/** Whether a reference may still be sent to. For each output frame: one compare and one store. */
export function neighbourUsable(iface: Interface, ref: number): boolean {
  const cache = iface.neighbours;
  const { m } = cache;
  const e = (ref & cache.indexMask) * WORDS;
  if (m[e + REF] !== ref || ref <= 0) return false;
  m[e + USED_MS] = iface.ip.now_ms;
  if (m[e + ATTENTION] !== 0) attend(iface, e);
  return true;
}

/**
 * The upper layer knows that its packets arrive (RFC 4861 7.3.1): saves a probe. Only for progress that
 * nobody off the path can fake, as an acknowledgement of new data.
 */
export function neighbourConfirm(iface: Interface, ref: number): void {
  const cache = iface.neighbours;
  const e = (ref & cache.indexMask) * WORDS;
  if (ref > 0 && cache.m[e + REF] === ref && cache.m[e + STATE] !== REACHABLE) reachable(iface.ip, iface, e);
}

/** A neighbour said that an address is at a hardware address (not a group's). @param how HEARD_* */
export function neighbourHeard(
  ip: Ip,
  iface: Interface,
  version: number,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
  macHigh: number,
  macLow: number,
  how: number,
): void {
  const cache = iface.neighbours;
  const { m } = cache;
  let e = cache.find(version, a0, a1, a2, a3);
  if (e === 0 || m[e + REF] === 0) {
    if (how === HEARD_UNASKED || (e === 0 && how === HEARD_ANSWER)) {
      iface.counters.neighbourUnsolicited++;
      return;
    }
    if (e === 0) {
      if (cache.full) {
        iface.counters.neighbourFull++;
        return;
      }
      e = cache.create(version, a0, a1, a2, a3);
      ip.armTimer(SWEEP_MS);
    }
    m[e + USED_MS] = ip.now_ms;
    m[e + MAC_HIGH] = macHigh;
    m[e + MAC_LOW] = macLow;
    m[e + REF] = (m[e + GENERATION] << cache.indexBits) | (e / WORDS);
    m[e + CHALLENGED_MS] = (ip.now_ms - RETRANS_MS) | 0;
    cache.version = (cache.version + 1) | 0;
    if (how === HEARD_ANSWER) reachable(ip, iface, e);
    else {
      m[e + STATE] = STALE;
      m[e + ATTENTION] = 1;
    }
    return;
  }
  if (m[e + MAC_HIGH] === macHigh && m[e + MAC_LOW] === macLow) {
    if (m[e + STATE] !== PROBE) return;
    if (how === HEARD_ANSWER) reachable(ip, iface, e);
    return;
  }
  iface.counters.neighbourConflicts++;
  if (((ip.now_ms - m[e + CHALLENGED_MS]) | 0) < RETRANS_MS || m[e + CHALLENGED] === 1) return;
  m[e + CHALLENGED_MS] = ip.now_ms;
  m[e + CHALLENGED] = 1;
  probe(ip, iface, e);
}

/** Retries, ageing. @returns ms until the interface wants to be called again, or -1. */
export function neighbourTimers(ip: Ip, iface: Interface): number {
  const cache = iface.neighbours;
  const { m } = cache;
  if (cache.count === 0) return -1;
  const now_ms = ip.now_ms;
  let next_ms = SWEEP_MS;
  for (let index = 1; index <= cache.capacity; index++) {
    const e = index * WORDS;
    if (m[e + VERSION] === 0) continue;
    if (m[e + STATE] !== STALE && ((m[e + DEADLINE_MS] - now_ms) | 0) <= 0) expire(ip, iface, e);
    // INCOMPLETE and FAILED end by themselves; the others age.
    if (m[e + REF] !== 0) {
      const idle_ms = (now_ms - m[e + USED_MS]) | 0;
      if (idle_ms >= IDLE_MS) cache.remove(e);
      else if (idle_ms >= PINNED_MS && m[e + LISTED] === 0) cache.list(e);
    }
    if (m[e + VERSION] !== 0 && m[e + STATE] !== STALE) {
      next_ms = Math.min(next_ms, (m[e + DEADLINE_MS] - now_ms) | 0);
    }
  }
  return cache.count === 0 ? -1 : next_ms;
}

/** An entry's deadline has passed. */
function expire(ip: Ip, iface: Interface, e: number): void {
  const cache = iface.neighbours;
  const { m } = cache;
  switch (m[e + STATE]) {
    case REACHABLE:
      m[e + STATE] = STALE;
      m[e + ATTENTION] = 1;
      return;
    case DELAY:
      probe(ip, iface, e);
      return;
    case FAILED:
      cache.remove(e);
      return;
    default: // INCOMPLETE, PROBE
      if (m[e + TRIES] < SOLICITS_MAX) {
        ask(ip, iface, e);
        return;
      }
      iface.counters.neighbourFailed++;
      if (m[e + VERSION] === 6) iface.auto?.neighbourFailed(m[e + A0], m[e + A1], m[e + A2], m[e + A3]);
      cache.version = (cache.version + 1) | 0;
      if (m[e + STATE] === INCOMPLETE) {
        m[e + STATE] = FAILED;
        due(ip, e, m, FAILED_MS);
        // RFC 4861 7.3.3: the next packet asks everybody again.
      } else if (m[e + CHALLENGED] === 1 && m[e + LISTED] === 0) askAnew(ip, iface, e);
      else cache.remove(e);
  }
}

function attend(iface: Interface, e: number): void {
  const cache = iface.neighbours;
  const { m } = cache;
  cache.pin(e);
  m[e + ATTENTION] = 0;
  if (m[e + STATE] !== STALE) return;
  m[e + STATE] = DELAY;
  due(iface.ip, e, m, DELAY_FIRST_PROBE_MS);
}

function probe(ip: Ip, iface: Interface, e: number): void {
  const { m } = iface.neighbours;
  m[e + STATE] = PROBE;
  m[e + TRIES] = 0;
  ask(ip, iface, e);
}

/** The known hardware address is silent, another is claimed, and packets wait: everybody is asked at once. */
function askAnew(ip: Ip, iface: Interface, e: number): void {
  const cache = iface.neighbours;
  const { m } = cache;
  const [version, a0, a1, a2, a3] = [m[e + VERSION], m[e + A0], m[e + A1], m[e + A2], m[e + A3]];
  cache.remove(e);
  const anew = cache.create(version, a0, a1, a2, a3);
  m[anew + STATE] = INCOMPLETE;
  ask(ip, iface, anew);
}

/** Sends a solicitation: to everybody while INCOMPLETE, to the known hardware address while PROBE. */
function ask(ip: Ip, iface: Interface, e: number): void {
  const { m } = iface.neighbours;
  m[e + TRIES]++;
  const known = m[e + STATE] === PROBE;
  const retrans_ms = m[e + VERSION] === 6 ? iface.retrans_ms : RETRANS_MS;
  due(ip, e, m, known && m[e + CHALLENGED] === 1 ? CHALLENGE_MS : retrans_ms);
  solicit(
    ip,
    iface,
    m[e + VERSION],
    m[e + A0],
    m[e + A1],
    m[e + A2],
    m[e + A3],
    known ? m[e + MAC_HIGH] : EVERYBODY,
    known ? m[e + MAC_LOW] : 0,
  );
}

/** REACHABLE for 30 s or what routers say, give or take half, so that not all are asked at once (RFC 4861 6.3.2). */
function reachable(ip: Ip, iface: Interface, e: number): void {
  const { m } = iface.neighbours;
  m[e + STATE] = REACHABLE;
  m[e + CHALLENGED] = 0;
  const reachable_ms = m[e + VERSION] === 6 ? iface.reachable_ms : REACHABLE_MS;
  due(ip, e, m, (reachable_ms >> 1) + ip.random.below(reachable_ms));
}

function due(ip: Ip, e: number, m: Int32Array, delay_ms: number): void {
  m[e + DEADLINE_MS] = ip.now_ms + delay_ms;
  ip.armTimer(delay_ms);
}

/** Forgets everybody: the link was down, and who was there may not be any more. */
export function neighboursForget(iface: Interface): void {
  const cache = iface.neighbours;
  for (let index = 1; index <= cache.capacity; index++) {
    const e = index * WORDS;
    if (cache.m[e + VERSION] !== 0) cache.remove(e);
  }
  cache.version = (cache.version + 1) | 0;
}

/** @returns whether there is room now. */
function evictOldest(iface: Interface): boolean {
  const cache = iface.neighbours;
  const e = cache.oldest;
  if (e === 0) {
    iface.counters.neighbourFull++;
    return false;
  }
  iface.counters.neighbourEvicted++;
  cache.remove(e);
  return true;
}
