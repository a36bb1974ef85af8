/**
 * Path MTU discovery by probing (RFC 4821 with RFC 8899's states): no ICMP is needed. A connection starts with what the
 * link, or the cache of paths, says. When full segments vanish, it falls back to BASE, and searches upward from there
 * with probes: single segments of new data that are larger than MSS. After a search it waits, and tries again.
 *
 *       PMTU in force        probe in flight      MTU_SEARCH's high      link's MTU, peer's MSS
 *     ──────┼───────────────────────┼──────────────────────┼──────────────────────┼────► bytes
 *      confirmed by ACKs                           not ruled out               ruled out
 *
 * PATH's MTU bit says that there is something to search; other connections pay nothing.
 */
import { pathMtuConfirm, pathMtuFloor } from '../ip/path-mtu.ts';
import { COLD, FLAG, FLAG2, PATH_FLAG, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { mssUpdate } from './handshake.ts';
import { RECORD } from './record-pool.ts';
import { recordToResend } from './records.ts';
import { ipOptionBytes } from './source-route.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, FLAGS2, PATH, PEER_MSS, IFACE, PMTU, MSS, SND_UNA, SND_NXT, BACKOFF } = TCB;
const { RADDR, RADDR6, RECORDS, LOST_BYTES, SACKED_BYTES, DUPACKS } = TCB;
const { V6, TS, RECOVERY, LOSS } = FLAG;
const { PROBE_LOST } = FLAG2;
const { PROBE_SEQ, MTU_SEARCH, MTU_RAISE_AT } = COLD;
const { MTU } = PATH_FLAG;

/** RFC 8899 5.1.2: BASE_PLPMTU, which IPv6's minimum link MTU exceeds. */
const BASE_4 = 1200;
const BASE_6 = 1280;
/** A step of less isn't worth a probe, bytes. */
const STEP_MIN = 8;
/** PMTU_RAISE_TIMER (RFC 8899 5.1.1), and the age at which RFC 1191 6.3 tries a larger MTU, ms. */
const RAISE_MS = 600_000;
/** Full segments that must follow a probe, so that duplicate ACKs tell of its loss (RFC 4821 7.4). */
const SEGMENTS_BEHIND = 3;
/** Expiries in a row after which full segments seem to vanish; and after which BASE is too much as well. */
const BLACK_HOLE_EXPIRIES = 2;
const FLOOR_EXPIRIES = 4;
/** MTUs that links and tunnels have, largest first: they are tried before what lies between. */
const COMMON = [
  9000, 4352, 1500, 1492, 1480, 1472, 1460, 1450, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300,
];

/** Bytes of IP and TCP header with timestamps: a full segment's MTU less its payload. */
function headers(tcp: Tcp, t: number): number {
  const m = tcp.m;
  return ipOptionBytes(tcp, t) + ((m[t + FLAGS] & V6) !== 0 ? 60 : 40) + ((m[t + FLAGS] & TS) !== 0 ? 12 : 0);
}

/** The largest packet that the link and the peer take. */
function ceiling(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const v6 = (m[t + FLAGS] & V6) !== 0;
  const iface = tcp.ip.interfaces[m[t + IFACE]];
  const mtu = v6 ? iface.mtu6 : iface.mtu;
  const byPeer = (m[t + PEER_MSS] & 0xffff) + (v6 ? 60 : 40);
  return byPeer < mtu ? byPeer : mtu;
}

/** The connection is established: is the path MTU that it starts with lower than it may be? */
export function mtuSearchOpen(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const top = ceiling(tcp, t);
  if (tcp.limits.mtuProbing === 'always') {
    const base = (m[t + FLAGS] & V6) !== 0 ? BASE_6 : BASE_4;
    if (m[t + PMTU] > base && top > base) {
      mtuLower(tcp, t, base);
      searchFrom(tcp, t, top);
      return;
    }
  }
  if (m[t + PMTU] < top) searchEnd(tcp, t, m[t + PMTU]);
}

/** Sends less from now on. What is in flight already is retransmitted in smaller segments if it is lost. */
export function mtuLower(tcp: Tcp, t: number, mtu: number): void {
  tcp.m[t + PMTU] = mtu;
  mssUpdate(tcp, t);
}

/** A search begins: everything up to `high` may pass. */
function searchFrom(tcp: Tcp, t: number, high: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  m[t + PATH] |= MTU;
  m[t + FLAGS2] &= ~PROBE_LOST;
  m[cold + MTU_SEARCH] = high << 16;
  m[cold + MTU_RAISE_AT] = tcp.nowMs;
}

/** No more than `high` passes, for the time being. */
export function searchEnd(tcp: Tcp, t: number, high: number): void {
  const m = tcp.m;
  searchFrom(tcp, t, high);
  m[coldOf(tcp, t) + MTU_RAISE_AT] = (tcp.nowMs + RAISE_MS) | 0;
}

/**
 * Whether the next segment shall be a probe, and its payload; 0: no.
 * @param unsent Queued bytes. @param room By both windows.
 */
export function mtuProbeBytes(tcp: Tcp, t: number, unsent: number, room: number): number {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const search = m[cold + MTU_SEARCH];
  if ((search & 0xffff) !== 0 || (m[t + FLAGS] & (RECOVERY | LOSS)) !== 0) return 0;
  if ((m[t + BACKOFF] | m[t + SACKED_BYTES] | m[t + LOST_BYTES] | m[t + DUPACKS]) !== 0) return 0;
  let high = search >>> 16;
  if (high - m[t + PMTU] < STEP_MIN) {
    if (((tcp.nowMs - m[cold + MTU_RAISE_AT]) | 0) < 0) return 0;
    high = ceiling(tcp, t);
    searchFrom(tcp, t, high);
    if (high <= m[t + PMTU]) {
      m[t + PATH] &= ~MTU;
      return 0;
    }
  }
  const payload = nextSize(m[t + PMTU], high, ceiling(tcp, t)) - headers(tcp, t);
  const enough = payload + SEGMENTS_BEHIND * m[t + MSS];
  return enough <= unsent && enough <= room ? payload : 0;
}

/** The MTU to test between `low`, which passes, and `high`: first the top itself, then by halves. */
export function nextSize(low: number, high: number, top: number): number {
  if (high === top) return high;
  const middle = (low + high + 1) >> 1;
  let best = 0;
  for (const size of COMMON) {
    if (size > low && size <= high && Math.abs(size - middle) < Math.abs(best - middle)) best = size;
  }
  // A common size far off the middle rules out too little.
  return Math.abs(best - middle) <= (high - low) >> 2 ? best : middle;
}

export function mtuProbeSent(tcp: Tcp, t: number, seq: number, payload: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  tcp.counters.mtuProbes++;
  m[cold + PROBE_SEQ] = seq;
  m[cold + MTU_SEARCH] = (m[cold + MTU_SEARCH] & ~0xffff) | (payload + headers(tcp, t));
}

/** SND.UNA is about to move to `ack`: has the probe arrived? */
export function mtuProbeAcked(tcp: Tcp, t: number, ack: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const size = m[cold + MTU_SEARCH] & 0xffff;
  if (size === 0 || ((ack - m[t + SND_NXT]) | 0) > 0) return;
  if (((ack - m[cold + PROBE_SEQ] - (size - headers(tcp, t))) | 0) < 0) return;
  tcp.counters.mtuProbesAcked++;
  m[t + PMTU] = size;
  mssUpdate(tcp, t);
  verdict(tcp, t, m[cold + MTU_SEARCH] >>> 16);
}

/** A probe of the present size has arrived, or been lost for good. */
function verdict(tcp: Tcp, t: number, high: number): void {
  const m = tcp.m;
  confirm(tcp, t);
  if (m[t + PMTU] >= ceiling(tcp, t)) {
    searchFrom(tcp, t, m[t + PMTU]);
    m[t + PATH] &= ~MTU;
  } else if (high - m[t + PMTU] < STEP_MIN) searchEnd(tcp, t, m[t + PMTU]);
  else searchFrom(tcp, t, high);
}

/** Other connections on this path shall start with what passes. */
function confirm(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & V6) !== 0) {
    const r = t + RADDR6;
    pathMtuConfirm(tcp.ip, 6, m[r], m[r + 1], m[r + 2], m[r + 3], m[t + PMTU]);
  } else pathMtuConfirm(tcp.ip, 4, m[t + RADDR], 0, 0, 0, m[t + PMTU]);
}

/**
 * A loss was found. Whether nothing but the probe is missing: then it was its size that the path refused, and not
 * congestion (RFC 4821 7.6.2).
 */
export function mtuProbeOnly(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const size = m[cold + MTU_SEARCH] & 0xffff;
  const first = recordToResend(m, m[t + RECORDS]);
  if (size === 0 || first === 0 || m[first + RECORD.START] !== m[cold + PROBE_SEQ]) return false;
  return m[t + LOST_BYTES] <= size - headers(tcp, t);
}

/** [seq, …) is retransmitted. Of the probe? A size is ruled out when it was lost twice: losses have other causes too. */
export function mtuResent(tcp: Tcp, t: number, seq: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const size = m[cold + MTU_SEARCH] & 0xffff;
  const offset = (seq - m[cold + PROBE_SEQ]) | 0;
  if (size === 0 || offset < 0 || offset >= size - headers(tcp, t)) return;
  m[cold + MTU_SEARCH] &= ~0xffff;
  // After a timeout much more was lost: that says nothing of the size (RFC 4821 7.6.4).
  if ((m[t + FLAGS] & LOSS) !== 0) return;
  tcp.counters.mtuProbesLost++;
  if ((m[t + FLAGS2] & PROBE_LOST) === 0) {
    m[t + FLAGS2] |= PROBE_LOST;
    return;
  }
  const high = m[cold + MTU_SEARCH] >>> 16;
  verdict(tcp, t, size - 1 < high ? size - 1 : high);
}

/** A router refused the probe in flight: that it will be lost is certain, and the next needn't be larger than `mtu`. */
export function mtuProbeRefused(tcp: Tcp, t: number, seq: number, mtu: number): boolean {
  const m = tcp.m;
  if ((m[t + PATH] & MTU) === 0) return false;
  const cold = coldOf(tcp, t);
  const search = m[cold + MTU_SEARCH];
  const size = search & 0xffff;
  if (size === 0 || seq !== m[cold + PROBE_SEQ] || mtu < m[t + PMTU] || mtu >= size) return false;
  m[cold + MTU_SEARCH] = (mtu << 16) | size;
  m[t + FLAGS2] |= PROBE_LOST;
  return true;
}

/** The retransmission timer expired again: do only full segments vanish (RFC 4821 7.7, RFC 8899 4.3)? */
export function mtuTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if (tcp.limits.mtuProbing === 'off') return;
  const v6 = (m[t + FLAGS] & V6) !== 0;
  const base = v6 ? BASE_6 : BASE_4;
  const floor = pathMtuFloor(v6 ? 6 : 4);
  const expiries = m[t + BACKOFF];
  const mtu = m[t + PMTU] > base && expiries >= BLACK_HOLE_EXPIRIES ? base : floor;
  if (mtu >= m[t + PMTU] || (mtu === floor && expiries < FLOOR_EXPIRIES && mtu !== base)) return;
  // What is retransmitted would have been larger?
  const head = (m[t + SND_NXT] - m[t + SND_UNA]) | 0;
  if (head <= mtu - headers(tcp, t) || m[t + MSS] <= mtu - headers(tcp, t)) return;
  tcp.counters.mtuBlackHoles++;
  // It may be an outage; then the search finds at once that nothing has changed.
  const searched = (m[t + PATH] & MTU) !== 0 ? m[coldOf(tcp, t) + MTU_SEARCH] >>> 16 : 0;
  const high = searched > m[t + PMTU] ? searched : m[t + PMTU];
  mtuLower(tcp, t, mtu);
  searchFrom(tcp, t, high);
}
