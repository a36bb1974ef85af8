/**
 * BBR's model of the path (draft-ietf-ccwg-bbr-06 5.5): rounds, bandwidth, round-trip time, aggregation, and what loss
 * teaches of the volume that the path takes. Functions have the draft's names; `c` is the cold block's CC_WORDS.
 */
import { FLAG, TCB } from '../block.ts';
import type { Tcp } from '../tcp.ts';
import { ACKS_MASK, BBR, BBR_COLD, BBR_STATE, BIT, INFINITE, STATE_MASK } from './bbr-words.ts';
import type { AckSample } from './control.ts';
import { bytesAt } from './pacing.ts';
import { initialWindow } from './window.ts';

const { FLAGS, CWND, MSS } = TCB;
const { SACK, RECOVERY, LOSS } = FLAG;
const { BITS, BW, MAX_BW_0, MAX_BW_1, MIN_RTT, DELIVERED, NEXT_ROUND_DELIVERED, ROUND_COUNT } = BBR;
const {
  BW_SHORTTERM,
  BW_LATEST,
  INFLIGHT_LATEST,
  INFLIGHT_LONGTERM,
  INFLIGHT_SHORTTERM,
  MIN_RTT_STAMP,
  PROBE_RTT_MIN_DELAY,
  PROBE_RTT_MIN_STAMP,
  PRIOR_CWND,
  FULL_BW,
  ROUNDS_SINCE_PROBE_UP,
  LOSS_ROUND_DELIVERED,
  EXTRA_ACKED_START,
  EXTRA_ACKED_DELIVERED,
  EXTRA_ACKED_0,
  EXTRA_ACKED_1,
  EXTRA_ACKED_ROUNDS,
  UNDO_BW_SHORTTERM,
  UNDO_INFLIGHT_SHORTTERM,
  UNDO_INFLIGHT_LONGTERM,
  LIMITED_UNTIL,
} = BBR_COLD;
const { STARTUP, PROBE_DOWN, PROBE_REFILL, PROBE_UP, PROBE_RTT } = BBR_STATE;
const { FULL_BW_REACHED, FULL_BW_NOW, FULL_BW_COUNT_ONE, FULL_BW_COUNT_MASK, LOSS_IN_ROUND } = BIT;
const { PROBE_RTT_EXPIRED, UNDO_STARTUP, UNDO_PROBE_UP, KNOWN, LIMITED, ROUND_START } = BIT;
const { LOSS_ROUND_START, CYCLE, EXTRA, LOSS_EVENTS_ONE, LOSS_EVENTS_MASK } = BIT;
const [STATES, PHASES, NO_BOUND] = [STATE_MASK, ACKS_MASK, INFINITE];

export const LOSS_THRESHOLD = 0.02;
export const BETA = 0.7;
/** Growth below which a round found no more bandwidth, and how many such rounds fill the pipe. */
const FULL_BW_GROWTH = 1.25;
const FULL_BW_ROUNDS = 3;
/** Of the two windows of extra_acked, which together make ExtraAckedFilterLen = 10, rounds. */
const EXTRA_ACKED_ROUNDS_MAX = 5;
/** ms. */
const MIN_RTT_FILTER = 10_000;
const PROBE_RTT_INTERVAL = 5000;
/** An idle program's clock may have wrapped, us. */
const EXTRA_INTERVAL_MAX = 1 << 30;

export function stateOf(m: Int32Array, t: number): number {
  return m[t + BITS] & STATES;
}

export function inProbeBw(m: Int32Array, t: number): boolean {
  const state = m[t + BITS] & STATES;
  return state >= PROBE_DOWN && state <= PROBE_UP;
}

export function setPhase(m: Int32Array, t: number, phase: number): void {
  m[t + BITS] = (m[t + BITS] & ~PHASES) | phase;
}

export function maxBw(m: Int32Array, t: number): number {
  return m[t + MAX_BW_0] > m[t + MAX_BW_1] ? m[t + MAX_BW_0] : m[t + MAX_BW_1];
}

/** gain x bw x min_rtt. */
export function bdpMultiple(m: Int32Array, t: number, bw: number, gain: number): number {
  if (m[t + MIN_RTT] === 0) return initialWindow(m[t + MSS]);
  const bytes = gain * bytesAt(bw, m[t + MIN_RTT]);
  return bytes >= NO_BOUND ? NO_BOUND : bytes | 0;
}

/** How much data do we want in flight? The BDP, unless congestion cut CWND. */
export function targetInflight(m: Int32Array, t: number): number {
  const bdp = bdpMultiple(m, t, m[t + BW], 1);
  return bdp < m[t + CWND] ? bdp : m[t + CWND];
}

// ── Rounds ────────────────────────────────────────────────────────────────────────────────────────────────

export function startRound(m: Int32Array, t: number): void {
  m[t + NEXT_ROUND_DELIVERED] = m[t + DELIVERED];
}

/** Takes C.delivered from a sample that delivered something. @returns how much that was */
export function noteDelivered(m: Int32Array, t: number, c: number, s: AckSample): number {
  const total = (s.priorDelivered + s.delivered) | 0;
  if ((m[t + BITS] & KNOWN) === 0) {
    m[t + BITS] |= KNOWN;
    m[t + NEXT_ROUND_DELIVERED] = s.priorDelivered;
    m[c + LOSS_ROUND_DELIVERED] = s.priorDelivered;
    m[t + DELIVERED] = (total - s.acked - s.sacked) | 0;
  }
  const fresh = (total - m[t + DELIVERED]) | 0;
  m[t + DELIVERED] = total;
  return fresh > 0 ? fresh : 0;
}

function updateRound(m: Int32Array, t: number, c: number, s: AckSample): void {
  if (((s.priorDelivered - m[t + NEXT_ROUND_DELIVERED]) | 0) < 0) {
    m[t + BITS] &= ~ROUND_START;
    return;
  }
  startRound(m, t);
  m[t + ROUND_COUNT]++;
  m[c + ROUNDS_SINCE_PROBE_UP]++;
  m[t + BITS] |= ROUND_START;
}

// ── Bandwidth ─────────────────────────────────────────────────────────────────────────────────────────────

/** A sample of what was sent in ProbeRTT says what that allowed, as one that the program limited. */
export function isLimited(m: Int32Array, t: number, c: number, s: AckSample): boolean {
  if (s.appLimited) return true;
  if ((m[t + BITS] & LIMITED) === 0) return false;
  if (((s.priorDelivered - m[c + LIMITED_UNTIL]) | 0) <= 0) return true;
  m[t + BITS] &= ~LIMITED;
  return false;
}

export function updateMaxBw(
  m: Int32Array,
  t: number,
  c: number,
  s: AckSample,
  rate: number,
  limited: boolean,
): void {
  updateRound(m, t, c, s);
  if (rate === 0 || (limited && rate < maxBw(m, t))) return;
  const slot = (m[t + BITS] & CYCLE) === 0 ? MAX_BW_0 : MAX_BW_1;
  if (rate > m[t + slot]) m[t + slot] = rate;
}

/** A ProbeBW cycle is over: the maximum before the last one is forgotten. */
export function advanceMaxBwFilter(m: Int32Array, t: number): void {
  const slot = (m[t + BITS] & CYCLE) === 0 ? MAX_BW_1 : MAX_BW_0;
  // A cycle that brought no sample teaches nothing.
  if (m[t + (slot === MAX_BW_0 ? MAX_BW_1 : MAX_BW_0)] === 0) return;
  m[t + BITS] ^= CYCLE;
  m[t + slot] = 0;
}

export function resetFullBw(m: Int32Array, t: number, c: number, baseline: number): void {
  m[c + FULL_BW] = baseline;
  m[t + BITS] &= ~(FULL_BW_NOW | FULL_BW_COUNT_MASK);
}

export function checkFullBwReached(
  m: Int32Array,
  t: number,
  c: number,
  rate: number,
  limited: boolean,
): void {
  if ((m[t + BITS] & (FULL_BW_NOW | ROUND_START)) !== ROUND_START || limited || rate === 0) return;
  if (rate >= m[c + FULL_BW] * FULL_BW_GROWTH) {
    resetFullBw(m, t, c, rate);
    return;
  }
  m[t + BITS] += FULL_BW_COUNT_ONE;
  if ((m[t + BITS] & FULL_BW_COUNT_MASK) === FULL_BW_ROUNDS * FULL_BW_COUNT_ONE)
    m[t + BITS] |= FULL_BW_NOW | FULL_BW_REACHED;
}

export function boundBwForModel(m: Int32Array, t: number, c: number): void {
  const most = maxBw(m, t);
  m[t + BW] = m[c + BW_SHORTTERM] < most ? m[c + BW_SHORTTERM] : most;
}

// ── Round-trip time ───────────────────────────────────────────────────────────────────────────────────────

export function updateMinRtt(tcp: Tcp, t: number, c: number, rtt: number): void {
  const m = tcp.m;
  const now = tcp.nowMs;
  const expired = ((now - m[c + PROBE_RTT_MIN_STAMP]) | 0) > PROBE_RTT_INTERVAL;
  m[t + BITS] = expired ? m[t + BITS] | PROBE_RTT_EXPIRED : m[t + BITS] & ~PROBE_RTT_EXPIRED;
  if (rtt > 0 && (rtt < m[c + PROBE_RTT_MIN_DELAY] || expired)) {
    m[c + PROBE_RTT_MIN_DELAY] = rtt;
    m[c + PROBE_RTT_MIN_STAMP] = now;
  }
  const delay = m[c + PROBE_RTT_MIN_DELAY];
  if (delay === NO_BOUND) return;
  if (m[t + MIN_RTT] === 0 || delay < m[t + MIN_RTT] || ((now - m[c + MIN_RTT_STAMP]) | 0) > MIN_RTT_FILTER) {
    m[t + MIN_RTT] = delay;
    m[c + MIN_RTT_STAMP] = m[c + PROBE_RTT_MIN_STAMP];
  }
}

// ── Aggregation ───────────────────────────────────────────────────────────────────────────────────────────

export function updateAckAggregation(tcp: Tcp, t: number, c: number, newlyAcked: number): void {
  const m = tcp.m;
  const now = tcp.nowUs;
  const interval = (now - m[c + EXTRA_ACKED_START]) | 0;
  let expected = interval >= 0 && interval < EXTRA_INTERVAL_MAX ? bytesAt(m[t + BW], interval) : NO_BOUND;
  if (m[c + EXTRA_ACKED_DELIVERED] <= expected) {
    m[c + EXTRA_ACKED_DELIVERED] = 0;
    m[c + EXTRA_ACKED_START] = now;
    expected = 0;
  }
  m[c + EXTRA_ACKED_DELIVERED] += newlyAcked;
  let extra = m[c + EXTRA_ACKED_DELIVERED] - expected;
  if (extra > m[t + CWND]) extra = m[t + CWND];
  if ((m[t + BITS] & ROUND_START) !== 0) {
    const rounds = (m[t + BITS] & FULL_BW_REACHED) === 0 ? 1 : EXTRA_ACKED_ROUNDS_MAX;
    if (++m[c + EXTRA_ACKED_ROUNDS] >= rounds) {
      m[c + EXTRA_ACKED_ROUNDS] = 0;
      m[t + BITS] ^= EXTRA;
      m[c + ((m[t + BITS] & EXTRA) === 0 ? EXTRA_ACKED_0 : EXTRA_ACKED_1)] = 0;
    }
  }
  const slot = (m[t + BITS] & EXTRA) === 0 ? EXTRA_ACKED_0 : EXTRA_ACKED_1;
  if (extra > m[c + slot]) m[c + slot] = extra;
}

export function extraAcked(m: Int32Array, c: number): number {
  return m[c + EXTRA_ACKED_0] > m[c + EXTRA_ACKED_1] ? m[c + EXTRA_ACKED_0] : m[c + EXTRA_ACKED_1];
}

// ── Loss ──────────────────────────────────────────────────────────────────────────────────────────────────

export function isInflightTooHigh(m: Int32Array, t: number, lost: number, txInFlight: number): boolean {
  if (lost > txInFlight * LOSS_THRESHOLD) return true;
  return lost > 0 && (m[t + FLAGS] & SACK) === 0;
}

/**
 * At which volume in flight did losses cross the threshold? The segments newly found lost are taken for one burst
 * (5.5.10.2).
 */
export function inflightAtLoss(txInFlight: number, lostSince: number, size: number): number {
  const before = txInFlight - size;
  const lostBefore = lostSince - size;
  const prefix = (LOSS_THRESHOLD * before - lostBefore) / (1 - LOSS_THRESHOLD);
  return (before + (prefix > 0 ? prefix : 0)) | 0;
}

export function noteLoss(m: Int32Array, t: number, c: number): void {
  if ((m[t + BITS] & LOSS_IN_ROUND) === 0) {
    m[c + LOSS_ROUND_DELIVERED] = m[t + DELIVERED];
    saveStateUponLoss(m, t, c);
  }
  m[t + BITS] |= LOSS_IN_ROUND;
  if ((m[t + BITS] & LOSS_EVENTS_MASK) !== LOSS_EVENTS_MASK) m[t + BITS] += LOSS_EVENTS_ONE;
}

/** BBRStartupFullLossCnt ACKs, or more, told of loss in this round. */
export function lossEventsReached(m: Int32Array, t: number, count: number): boolean {
  return (m[t + BITS] & LOSS_EVENTS_MASK) >>> 28 >= count;
}

export function saveStateUponLoss(m: Int32Array, t: number, c: number): void {
  saveCwnd(m, t, c);
  m[t + BITS] &= ~(UNDO_STARTUP | UNDO_PROBE_UP);
  m[c + UNDO_BW_SHORTTERM] = m[c + BW_SHORTTERM];
  m[c + UNDO_INFLIGHT_SHORTTERM] = m[c + INFLIGHT_SHORTTERM];
  m[c + UNDO_INFLIGHT_LONGTERM] = m[c + INFLIGHT_LONGTERM];
}

/** Remembers the last window that neither recovery nor ProbeRTT had reduced. */
export function saveCwnd(m: Int32Array, t: number, c: number): void {
  if (
    ((m[t + FLAGS] & (RECOVERY | LOSS)) === 0 && stateOf(m, t) !== PROBE_RTT) ||
    m[t + CWND] > m[c + PRIOR_CWND]
  )
    m[c + PRIOR_CWND] = m[t + CWND];
}

export function restoreCwnd(m: Int32Array, t: number, c: number): void {
  if (m[t + CWND] < m[c + PRIOR_CWND]) m[t + CWND] = m[c + PRIOR_CWND];
}

export function updateLatestDeliverySignals(
  m: Int32Array,
  t: number,
  c: number,
  s: AckSample,
  rate: number,
): void {
  m[t + BITS] &= ~LOSS_ROUND_START;
  if (rate > m[c + BW_LATEST]) m[c + BW_LATEST] = rate;
  if (s.delivered > m[c + INFLIGHT_LATEST]) m[c + INFLIGHT_LATEST] = s.delivered;
  if (((s.priorDelivered - m[c + LOSS_ROUND_DELIVERED]) | 0) >= 0) {
    m[c + LOSS_ROUND_DELIVERED] = m[t + DELIVERED];
    m[t + BITS] |= LOSS_ROUND_START;
  }
}

export function advanceLatestDeliverySignals(
  m: Int32Array,
  t: number,
  c: number,
  s: AckSample,
  rate: number,
): void {
  if ((m[t + BITS] & LOSS_ROUND_START) === 0) return;
  m[c + BW_LATEST] = rate;
  m[c + INFLIGHT_LATEST] = s.delivered;
  m[t + BITS] &= ~LOSS_EVENTS_MASK;
}

export function resetCongestionSignals(m: Int32Array, t: number, c: number): void {
  m[t + BITS] &= ~(LOSS_IN_ROUND | LOSS_EVENTS_MASK);
  m[c + BW_LATEST] = 0;
  m[c + INFLIGHT_LATEST] = 0;
}

export function resetShortTermModel(m: Int32Array, c: number): void {
  m[c + BW_SHORTTERM] = NO_BOUND;
  m[c + INFLIGHT_SHORTTERM] = NO_BOUND;
}

/**
 * Once a round that had losses, unless we are probing: slows down towards what was delivered (5.5.10.3). What ProbeRTT
 * allowed is no measure here either: the round after it would cut the model to 0.7, and the next one again.
 */
export function adaptLowerBounds(m: Int32Array, t: number, c: number): void {
  if ((m[t + BITS] & LOSS_ROUND_START) === 0) return;
  const state = m[t + BITS] & STATES;
  const probing = state === STARTUP || state === PROBE_REFILL || state === PROBE_UP;
  if (!probing && (m[t + BITS] & (LOSS_IN_ROUND | LIMITED)) === LOSS_IN_ROUND) {
    const bw = m[c + BW_SHORTTERM] === NO_BOUND ? maxBw(m, t) : m[c + BW_SHORTTERM];
    const inflight = m[c + INFLIGHT_SHORTTERM] === NO_BOUND ? m[t + CWND] : m[c + INFLIGHT_SHORTTERM];
    m[c + BW_SHORTTERM] = Math.max(m[c + BW_LATEST], BETA * bw);
    m[c + INFLIGHT_SHORTTERM] = Math.max(m[c + INFLIGHT_LATEST], BETA * inflight);
  }
  m[t + BITS] &= ~LOSS_IN_ROUND;
}

export function phaseOf(m: Int32Array, t: number): number {
  return m[t + BITS] & PHASES;
}
