/**
 * CUBIC (RFC 9438): the window follows W_cubic(t) = C (t - K)^3 + W_max around the window of the last loss, or
 * Reno's estimate where that is larger. C = 0.4 segments/s^3, beta = 0.7.
 */
import { TCB } from '../block.ts';
import type { Tcp } from '../tcp.ts';
import { atLeastTwoSegments, type CongestionControl, slowStart } from './control.ts';

const { CWND, SSTHRESH, MSS, SRTT, CC_WORDS } = TCB;

const C = 0.4;
const BETA = 0.7;
/** RFC 9438 4.3: makes the estimate as aggressive as Reno on average. */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA);

/** Bytes. */
const W_MAX = CC_WORDS;
/** Start of this congestion avoidance stage, ms; valid while EPOCH_ON. */
const EPOCH = CC_WORDS + 1;
const EPOCH_ON = CC_WORDS + 2;
/** ms from the epoch's start until the window is W_max again. */
const K = CC_WORDS + 3;
/** Reno's estimate, bytes, and the remainder of its last increase, in bytes times cwnd. */
const W_EST = CC_WORDS + 4;
const EST_COUNTED = CC_WORDS + 5;
/** Fraction of a byte of increase not yet applied, bytes << 10. */
const REST = CC_WORDS + 6;

function startEpoch(tcp: Tcp, t: number): void {
  const m = tcp.m;
  m[t + EPOCH] = tcp.nowMs;
  m[t + EPOCH_ON] = 1;
  m[t + W_EST] = m[t + CWND];
  m[t + EST_COUNTED] = 0;
  m[t + REST] = 0;
  const cwnd = m[t + CWND];
  if (m[t + W_MAX] > cwnd) {
    m[t + K] = (Math.cbrt((m[t + W_MAX] - cwnd) / m[t + MSS] / C) * 1000) | 0;
  } else {
    m[t + K] = 0;
    m[t + W_MAX] = cwnd;
  }
}

/** W_cubic, bytes, `ms` after the epoch's start (RFC 9438 eq. 1). */
function wCubic(m: Int32Array, t: number, ms: number): number {
  const s = (ms - m[t + K]) / 1000;
  return C * s * s * s * m[t + MSS] + m[t + W_MAX];
}

function reduced(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const cwnd = m[t + CWND];
  // Fast convergence (RFC 9438 4.7): give way to new flows.
  m[t + W_MAX] = cwnd < m[t + W_MAX] ? (cwnd * (1 + BETA)) / 2 : cwnd;
  m[t + EPOCH_ON] = 0;
  return atLeastTwoSegments(m, t, (cwnd * BETA) | 0);
}

export const cubic: CongestionControl = {
  name: 'cubic',

  acked(tcp, t, acked) {
    const m = tcp.m;
    if (m[t + CWND] < m[t + SSTHRESH]) {
      slowStart(m, t, acked);
      return;
    }
    if (m[t + EPOCH_ON] === 0) startEpoch(tcp, t);
    const cwnd = m[t + CWND];
    const mss = m[t + MSS];
    const elapsed = (tcp.nowMs - m[t + EPOCH]) | 0;

    // Reno's estimate: alpha segments per window (RFC 9438 4.3).
    const counted = m[t + EST_COUNTED] + ALPHA * mss * acked;
    const segmentsWorth = (counted / cwnd) | 0;
    m[t + EST_COUNTED] = counted - segmentsWorth * cwnd;
    m[t + W_EST] += segmentsWorth;
    const estimate = m[t + W_EST];

    // Where the curve is one RTT from now, between cwnd and 1.5 cwnd (RFC 9438 4.2).
    let target = wCubic(m, t, elapsed + (m[t + SRTT] >>> 3) / 1000);
    if (target < cwnd) target = cwnd;
    else if (target > 1.5 * cwnd) target = 1.5 * cwnd;

    if (wCubic(m, t, elapsed) < estimate) {
      m[t + CWND] = estimate > cwnd ? estimate : cwnd;
      return;
    }
    const grow = m[t + REST] + ((target - cwnd) / cwnd) * acked * 1024;
    const whole = (grow / 1024) | 0;
    m[t + REST] = grow - whole * 1024;
    m[t + CWND] = cwnd + whole;
  },

  lost(tcp, t) {
    return reduced(tcp, t);
  },

  timedOut(tcp, t) {
    return reduced(tcp, t);
  },
};
