/**
 * A connection's timers share one entry in the wheel, due at the earliest deadline. Moving a deadline back costs
 * nothing: the entry fires early, finds nothing due and is armed anew.
 */

import { COLD, FLAG, FLAG2, STATE, TCB } from './block.ts';
import { tcpDestroy, tcpReset } from './close.ts';
import { coldWord } from './cold.ts';
import { EVENT_REPORT, eventPush } from './events.ts';
import { softError } from './icmp-errors.ts';
import { LIST_ACK, LIST_CONTROL, LIST_DATA, listPush } from './lists.ts';
import { synReceivedTimeout } from './passive-open.ts';
import { pathTimeout } from './path.ts';
import { CLOSED_TIMEOUT } from './reasons.ts';
import { firstSentAt } from './records.ts';
import { reorderingTimeout, timeoutLoss } from './recovery.ts';
import type { Tcp } from './tcp.ts';
import { probeAllowed, probeDue, probeTimeout } from './tlp.ts';

const {
  FLAGS,
  T_AT,
  RTX_AT,
  DELACK_AT,
  KEEP_AT,
  SRTT,
  RTTVAR,
  BACKOFF,
  STATE: ST,
  IFACE,
  MSS,
  STALL_AT,
  USER_TIMEOUT,
} = TCB;
const { SND_UNA, SND_NXT, SND_WND, KEEP_IDLE, KEEP_PROBES, RCV_AT, HANDLE } = TCB;
const { FLAGS2, MIN_RTT, RECORDS, LISTENER } = TCB;
const { RTX, PERSIST, PTO, DELACK, KEEP, MINI, ACK_NOW, ACK_DELAYED, PROBE } = FLAG;
const { REO } = FLAG2;

/** Initial RTO (RFC 6298 2.1), ms. */
const RTO_INITIAL = 1000;
/** RFC 9293 3.8.3's R1: retransmissions in a row after which IP and the program are told. */
const R1 = 3;
/** Samples that a round trip counts as at most: with more, integers would keep SRTT from moving. */
const SAMPLES_MAX = 64;
/** Exponent limit, so that shifts stay in range. */
const BACKOFF_SHIFT_MAX = 10;
/** Linux sends a SYN again so often before its timer backs off. */
const SYN_LINEAR = 4;
const { KEEP_INTERVAL, KEEP_COUNT } = COLD;

/**
 * Retransmission timeout without back-off, ms (RFC 6298 2.3, 2.4). However little the RTT of a long path varies, its
 * margin is no less than another RTT or the minimum: the peer's delayed ACK must fit in.
 */
export function rto(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const srtt = m[t + SRTT];
  if (srtt === 0 && m[t + RTTVAR] === 0) return RTO_INITIAL;
  const { habits, rtoMin_ms, rtoMax_ms } = tcp.limits;
  const rtt = srtt >>> 3;
  const least = rtt < rtoMin_ms * 1000 && habits !== 'linux' ? rtt : rtoMin_ms * 1000;
  const us = (rtt + (m[t + RTTVAR] > least ? m[t + RTTVAR] : least)) | 0;
  const ms = ((us / 1000) | 0) + 1;
  return ms < rtoMin_ms ? rtoMin_ms : ms > rtoMax_ms ? rtoMax_ms : ms;
}

/** The RTO with its exponential back-off (RFC 6298 5.5), ms. */
export function rtoBackedOff(tcp: Tcp, t: number): number {
  let shift = tcp.m[t + BACKOFF];
  if (shift === 0) return rto(tcp, t);
  if (tcp.limits.habits === 'linux' && tcp.m[t + ST] === STATE.SYN_SENT)
    shift = Math.max(0, shift - SYN_LINEAR);
  const ms = rto(tcp, t) * 2 ** (shift < BACKOFF_SHIFT_MAX ? shift : BACKOFF_SHIFT_MAX);
  return ms < tcp.limits.rtoMax_ms ? ms : tcp.limits.rtoMax_ms;
}

/** Takes one RTT sample, us (RFC 6298 2.2, 2.3). */
export function rttSample(m: Int32Array, t: number, us: number): void {
  const sample = us > 0 ? us : 1;
  const srtt = m[t + SRTT];
  if (srtt === 0) {
    m[t + SRTT] = sample << 3;
    m[t + RTTVAR] = sample << 1;
  } else {
    const error = (sample - (srtt >> 3)) | 0;
    m[t + SRTT] = (srtt + error) | 0;
    const deviation = error < 0 ? -error : error;
    m[t + RTTVAR] = (m[t + RTTVAR] + deviation - (m[t + RTTVAR] >> 2)) | 0;
  }
  rttLeast(m, t, sample);
}

/**
 * `rttSample` for one of many in a round trip, of `flight` bytes: as many weigh as much as one would (RFC 7323
 * appendix G), so that a large window doesn't forget within a fraction of its RTT what that varied by.
 */
export function rttSampleOfFlight(m: Int32Array, t: number, us: number, flight: number): void {
  const share = 2 * m[t + MSS];
  const srtt = m[t + SRTT];
  if (flight <= share || srtt === 0) {
    rttSample(m, t, us);
    return;
  }
  const sample = us > 0 ? us : 1;
  const samples = Math.min(Math.ceil(flight / share), SAMPLES_MAX);
  const error = (sample - (srtt >> 3)) | 0;
  m[t + SRTT] = (srtt + Math.round(error / samples)) | 0;
  const deviation = error < 0 ? -error : error;
  m[t + RTTVAR] = (m[t + RTTVAR] + Math.round((deviation - (m[t + RTTVAR] >> 2)) / samples)) | 0;
  rttLeast(m, t, sample);
}

export function rttLeast(m: Int32Array, t: number, sample: number): void {
  if (m[t + MIN_RTT] === 0 || sample < m[t + MIN_RTT]) m[t + MIN_RTT] = sample;
}

/** Makes sure that the block's wheel entry is due no later than `deadline`. */
export function timerBy(tcp: Tcp, t: number, deadline: number): void {
  if (tcp.wheel.isArmed(t) && ((tcp.m[t + T_AT] - deadline) | 0) <= 0) return;
  tcp.wheel.arm(t, deadline);
}

/**
 * (Re)starts the retransmission timer; or the probe timer, which is never later (RFC 8985 7.2).
 * @param acked What SND.UNA has just moved by.
 */
export function rtxStart(tcp: Tcp, t: number, acked = 0): void {
  const m = tcp.m;
  let after = rtoBackedOff(tcp, t);
  let kind = RTX;
  if (probeAllowed(m, t)) {
    kind = RTX | PTO;
    const pto = probeTimeout(tcp, t, acked);
    if (pto < after) after = pto;
  }
  if (m[t + RECORDS] !== 0) m[t + FLAGS2] &= ~REO;
  rtxAt(tcp, t, after, kind);
}

/** The retransmission timer again, where another has stood in for it: since the first outstanding byte was sent. */
export function rtxResume(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const elapsed = (((tcp.nowUs - firstSentAt(m, t)) | 0) / 1000) | 0;
  const left = rtoBackedOff(tcp, t) - elapsed;
  m[t + FLAGS2] &= ~REO;
  rtxAt(tcp, t, left > 1 ? left : 1, RTX);
}

/**
 * RACK's reordering timer (RFC 8985 6.2 step 5), and before the retransmission timer even if that is due first: the window
 * may grow to an SRTT, and the RTO of a steady path be two.
 */
export function reorderingStart(tcp: Tcp, t: number, after_us: number): void {
  const after = ((after_us / 1000) | 0) + 1;
  tcp.m[t + FLAGS2] |= REO;
  rtxAt(tcp, t, after, RTX);
}

export function persistStart(tcp: Tcp, t: number): void {
  rtxAt(tcp, t, rtoBackedOff(tcp, t), PERSIST);
}

function rtxAt(tcp: Tcp, t: number, after: number, kind: number): void {
  const m = tcp.m;
  const deadline = (tcp.nowMs + after) | 0;
  m[t + RTX_AT] = deadline;
  m[t + FLAGS] = (m[t + FLAGS] & ~(RTX | PERSIST | PTO)) | kind;
  timerBy(tcp, t, deadline);
}

/** Sets the keep-alive deadline (also FIN-WAIT-2's, once the program has let go). */
export function keepStart(tcp: Tcp, t: number, after_ms: number): void {
  const m = tcp.m;
  m[t + KEEP_AT] = (tcp.nowMs + after_ms) | 0;
  m[t + FLAGS] |= KEEP;
  timerBy(tcp, t, m[t + KEEP_AT]);
}

/** The block's wheel entry is due: runs what is, and arms it for what remains. */
export function timerExpired(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & MINI) !== 0) {
    synReceivedTimeout(tcp, t);
    return;
  }
  const now = tcp.nowMs;
  const handle = m[t + HANDLE];
  if ((m[t + FLAGS] & DELACK) !== 0 && ((m[t + DELACK_AT] - now) | 0) <= 0) {
    m[t + FLAGS] &= ~DELACK;
    if ((m[t + FLAGS] & ACK_DELAYED) !== 0) {
      m[t + FLAGS] |= ACK_NOW;
      tcp.counters.delayedAcks++;
      listPush(m, tcp.lists[m[t + IFACE]], LIST_ACK, t);
    }
  }
  if ((m[t + FLAGS] & (RTX | PERSIST)) !== 0 && ((m[t + RTX_AT] - now) | 0) <= 0) {
    if ((m[t + FLAGS] & RTX) !== 0) retransmissionTimeout(tcp, t);
    else persistTimeout(tcp, t);
  }
  if (m[t + HANDLE] === handle && (m[t + FLAGS] & KEEP) !== 0 && ((m[t + KEEP_AT] - now) | 0) <= 0)
    keepTimeout(tcp, t);
  if (m[t + HANDLE] === handle && m[t + ST] !== STATE.CLOSED) rearm(tcp, t);
}

function rearm(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const flags = m[t + FLAGS];
  if ((flags & (RTX | PERSIST)) !== 0) timerBy(tcp, t, m[t + RTX_AT]);
  if ((flags & DELACK) !== 0) timerBy(tcp, t, m[t + DELACK_AT]);
  if ((flags & KEEP) !== 0) timerBy(tcp, t, m[t + KEEP_AT]);
}

/**
 * No progress since the first expiry for longer than the user timeout (RFC 9293 3.8.3, RFC 5482)? A peer that
 * answers but keeps its window shut may do so for ever (RFC 9293 3.8.6.1).
 */
function stalledTooLong(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  if (m[t + BACKOFF] === 0) m[t + STALL_AT] = tcp.nowMs;
  const limit = m[t + USER_TIMEOUT] || tcp.limits.userTimeout_ms;
  if (((tcp.nowMs - m[t + STALL_AT]) | 0) < limit) return false;
  return m[t + SND_WND] !== 0 || ((tcp.nowMs - m[t + RCV_AT]) | 0) >= limit;
}

/** An attempt to connect has its own R2 (RFC 9293 3.8.3), unless the program set a user timeout. */
function openedTooLong(tcp: Tcp, t: number, state: number): boolean {
  const m = tcp.m;
  const { synRetries, synAckRetries } = tcp.limits;
  // A half-open connection that is nobody's attempt may be forgotten sooner: its peer asks again.
  const retries = state === STATE.SYN_SENT || m[t + LISTENER] === 0 ? synRetries : synAckRetries;
  if (m[t + USER_TIMEOUT] !== 0 && stalledTooLong(tcp, t)) return true;
  return m[t + BACKOFF] >= retries;
}

function giveUp(tcp: Tcp, t: number): void {
  tcp.counters.userTimeouts++;
  tcpDestroy(tcp, t, softError(tcp.m, t) || CLOSED_TIMEOUT);
}

function retransmissionTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const state = m[t + ST];
  const probing = (m[t + FLAGS] & PTO) !== 0;
  m[t + FLAGS] &= ~(RTX | PTO);
  const opening = state === STATE.SYN_SENT || state === STATE.SYN_RECEIVED;
  if (!opening) {
    if (m[t + SND_UNA] === m[t + SND_NXT]) return;
    if ((m[t + FLAGS2] & REO) !== 0) {
      reorderingTimeout(tcp, t);
      return;
    }
    if (probing) {
      if (probeDue(tcp, t)) {
        // From here on a timeout is one (RFC 8985 7.3).
        rtxStart(tcp, t);
        listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
      } else rtxResume(tcp, t);
      return;
    }
  }
  tcp.counters.retransmissionTimeouts++;
  if (opening ? openedTooLong(tcp, t, state) : stalledTooLong(tcp, t)) {
    giveUp(tcp, t);
    return;
  }
  if (++m[t + BACKOFF] === R1) eventPush(tcp, t, EVENT_REPORT, softError(m, t) || CLOSED_TIMEOUT, 0);
  if (opening) {
    m[t + FLAGS] |= PROBE;
  } else {
    // The next hop may have changed (RFC 9293 3.8.3, RFC 1122 4.2.3.5).
    if (m[t + BACKOFF] >= R1) m[t + TCB.NEIGHBOUR] = 0;
    pathTimeout(tcp, t);
    timeoutLoss(tcp, t);
  }
  rtxStart(tcp, t);
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
}

function persistTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  m[t + FLAGS] &= ~PERSIST;
  if (stalledTooLong(tcp, t)) {
    giveUp(tcp, t);
    return;
  }
  m[t + BACKOFF]++;
  tcp.counters.persistProbes++;
  m[t + FLAGS] |= PROBE;
  persistStart(tcp, t);
  listPush(m, tcp.lists[m[t + IFACE]], LIST_DATA, t);
}

function keepTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const state = m[t + ST];
  m[t + FLAGS] &= ~KEEP;
  if ((m[t + FLAGS] & FLAG.DETACHED) !== 0) {
    if (state === STATE.FIN_WAIT_2) tcpDestroy(tcp, t, 0);
    else if ((m[t + FLAGS2] & FLAG2.LINGER) !== 0) {
      tcp.counters.lingerTimeouts++;
      tcpReset(tcp, t, CLOSED_TIMEOUT);
    }
    return;
  }
  const silent = (tcp.nowMs - m[t + RCV_AT]) | 0;
  let left = 0x7fffffff;
  if (state === STATE.FIN_WAIT_2 && tcp.limits.halfClose_ms > 0) {
    left = tcp.limits.halfClose_ms - silent;
    if (left <= 0) {
      tcp.counters.halfCloseTimeouts++;
      tcpReset(tcp, t, CLOSED_TIMEOUT);
      return;
    }
  }
  const next = keepAlive(tcp, t, silent);
  if (m[t + ST] !== state || (next < 0 && left === 0x7fffffff)) return;
  keepStart(tcp, t, next >= 0 && next < left ? next : left);
}

/** RFC 9293 3.8.4. @returns ms until it is to be called again; -1: never */
function keepAlive(tcp: Tcp, t: number, silent: number): number {
  const m = tcp.m;
  const idle = m[t + KEEP_IDLE];
  if (idle === 0) return -1;
  if (m[t + ST] < STATE.ESTABLISHED) return idle;
  if (silent < idle) {
    m[t + KEEP_PROBES] = 0;
    return idle - silent;
  }
  if (m[t + KEEP_PROBES] >= (coldWord(tcp, t, KEEP_COUNT) || tcp.limits.keepAliveProbes)) {
    giveUp(tcp, t);
    return -1;
  }
  // Data in flight probes by itself.
  if (m[t + SND_UNA] === m[t + SND_NXT]) {
    m[t + KEEP_PROBES]++;
    tcp.counters.keepAliveProbes++;
    m[t + FLAGS] |= PROBE;
    listPush(m, tcp.lists[m[t + IFACE]], LIST_ACK, t);
  }
  return coldWord(tcp, t, KEEP_INTERVAL) || tcp.limits.keepAliveInterval_ms;
}
