/**
 * CUBIC (RFC 9438): the window follows W_cubic(t) = C (t - K)^3 + W_max around the window of the last loss, or
 * Reno's estimate where that is larger. C = 0.4 segments/s^3, beta = 0.7; 0.85 on ECN's word (RFC 8511).
 */
import { COLD, FLAG, TCB } from '../block.ts';
import { coldOf } from '../cold.ts';
import type { Tcp } from '../tcp.ts';
import { atLeastTwoSegments, type CongestionControl, grow, slowStart } from './control.ts';
import { hystartAcked, hystartBegin, inFirstSlowStart } from './hystart.ts';
import { linuxHystartAcked } from './hystart-linux.ts';

const { FLAGS, CWND, SSTHRESH, MSS, SRTT, CC_WORDS } = TCB;
const { RECOVERY, LOSS } = FLAG;

const C = 0.4;
const BETA = 0.7;
const BETA_ECN = 0.85;
/** RFC 9438 4.3: makes the estimate as aggressive as Reno on average. */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA);
/** A round trip that was measured too short is no pause of the program's, ms. */
const PAUSE_MIN_MS = 10;

/** Bytes; 0: to be the window at the next epoch's start. */
const W_MAX = CC_WORDS;
/** ms from the epoch's start until the window is W_max again, plus 1; 0: no epoch yet. */
const K = CC_WORDS + 1;
/** Start of this congestion avoidance stage, and of the last ACK that grew the window, ms; valid with K. */
const EPOCH = CC_WORDS + 2;
const GREW_AT = CC_WORDS + 3;
/** Reno's estimate, bytes, and the remainder of its last increase, in bytes times alpha. */
const W_EST = CC_WORDS + 4;
const EST_COUNTED = CC_WORDS + 5;
/** Fraction of a byte of increase not yet applied, bytes << 10. */
const REST = CC_WORDS + 6;
/** The window before the last reduction, bytes: from there on Reno's estimate grows by a whole segment. */
const CWND_PRIOR = CC_WORDS + 7;
const WORDS = 8;

/** The words begin a congestion avoidance stage (RFC 9438 4.2), and 4.8 and 4.10 where there is no W_max. */
function startEpoch(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const cwnd = m[t + CWND];
  m[t + EPOCH] = tcp.nowMs;
  m[t + GREW_AT] = tcp.nowMs;
  m[t + W_EST] = cwnd;
  m[t + EST_COUNTED] = 0;
  m[t + REST] = 0;
  if (m[t + W_MAX] > cwnd) {
    m[t + K] = 1 + ((Math.cbrt((m[t + W_MAX] - cwnd) / m[t + MSS] / C) * 1000) | 0);
  } else {
    m[t + K] = 1;
    m[t + W_MAX] = cwnd;
  }
}

/** W_cubic, bytes, `ms` after the epoch's start (RFC 9438 eq. 1). */
function wCubic(m: Int32Array, t: number, ms: number): number {
  const s = (ms - m[t + K] + 1) / 1000;
  return C * s * s * s * m[t + MSS] + m[t + W_MAX];
}

function reduced(tcp: Tcp, t: number, flight: number, beta: number): number {
  const m = tcp.m;
  if (inFirstSlowStart(m, t)) m.fill(0, t + CC_WORDS, t + CC_WORDS + WORDS);
  if ((m[t + FLAGS] & (RECOVERY | LOSS)) === 0) {
    const cold = coldOf(tcp, t) + COLD.CC_WORDS;
    m.copyWithin(cold, t + CC_WORDS, t + CC_WORDS + WORDS);
  }
  // Fast convergence (RFC 9438 4.7): give way to new flows.
  m[t + W_MAX] = flight < m[t + W_MAX] ? (flight * (1 + BETA)) / 2 : flight;
  m[t + CWND_PRIOR] = flight;
  m[t + K] = 0;
  return atLeastTwoSegments(m, t, (flight * beta) | 0);
}

/** RFC 9438 4.2 to 4.5. */
function avoidCongestion(tcp: Tcp, t: number, acked: number): void {
  const m = tcp.m;
  const now = tcp.nowMs;
  const srtt_ms = (m[t + SRTT] >>> 3) / 1000;
  if (m[t + K] === 0) startEpoch(tcp, t);
  // Time that the program, not the window, limited doesn't count (RFC 9438 5.8).
  const pause = ((now - m[t + GREW_AT]) | 0) - (2 * srtt_ms > PAUSE_MIN_MS ? 2 * srtt_ms : PAUSE_MIN_MS);
  if (pause > 0) m[t + EPOCH] = (m[t + EPOCH] + pause) | 0;
  m[t + GREW_AT] = now;
  const cwnd = m[t + CWND];
  const mss = m[t + MSS];
  const elapsed = (now - m[t + EPOCH]) | 0;

  // Reno's estimate: alpha segments per window (4.3).
  const counted = m[t + EST_COUNTED] + (m[t + W_EST] >= m[t + CWND_PRIOR] ? 1 : ALPHA) * acked;
  const estimate = m[t + W_EST] + (((counted * mss) / cwnd) | 0);
  m[t + EST_COUNTED] = counted - ((estimate - m[t + W_EST]) * cwnd) / mss;
  m[t + W_EST] = estimate;
  if (wCubic(m, t, elapsed) < estimate) {
    if (estimate > cwnd) grow(m, t, estimate - cwnd);
    return;
  }

  // Where the curve is one RTT from now, between cwnd and 1.5 cwnd (4.2).
  let target = wCubic(m, t, elapsed + srtt_ms);
  if (target < cwnd) target = cwnd;
  else if (target > 1.5 * cwnd) target = 1.5 * cwnd;
  const growth = m[t + REST] + ((target - cwnd) / cwnd) * acked * 1024;
  const whole = (growth / 1024) | 0;
  m[t + REST] = growth - whole * 1024;
  grow(m, t, whole);
}

export const cubic: CongestionControl = {
  name: 'cubic',

  start(tcp, t) {
    if (inFirstSlowStart(tcp.m, t)) hystartBegin(tcp.m, t);
  },

  acked(tcp, t, acked) {
    const m = tcp.m;
    if (inFirstSlowStart(m, t)) {
      if (tcp.limits.habits === 'linux') linuxHystartAcked(tcp, t, acked);
      else hystartAcked(tcp, t, acked);
    } else if (m[t + CWND] < m[t + SSTHRESH]) slowStart(tcp, t, acked, 1);
    else avoidCongestion(tcp, t, acked);
  },

  lost(tcp, t, flight) {
    return reduced(tcp, t, flight, BETA);
  },

  timedOut(tcp, t, flight) {
    const ssthresh = reduced(tcp, t, flight, BETA);
    // 4.8: the next stage begins level, wherever slow start leaves the window.
    tcp.m[t + W_MAX] = 0;
    return ssthresh;
  },

  marked(tcp, t, flight) {
    return reduced(tcp, t, flight, BETA_ECN);
  },

  /** 4.9: W_max, K, the epoch and the estimate are those of before. */
  undone(tcp, t) {
    const m = tcp.m;
    if (inFirstSlowStart(m, t)) {
      hystartBegin(m, t);
      return;
    }
    const cold = coldOf(tcp, t) + COLD.CC_WORDS;
    m.copyWithin(t + CC_WORDS, cold, cold + WORDS);
  },
};
