/**
 * BBRv3 (draft-ietf-ccwg-bbr-06): sends at the bandwidth that the path was seen to deliver, with about twice the
 * volume in flight that fills it, and probes now and then for more bandwidth and for a shorter round trip.
 *
 *     Startup ──► Drain ──► ProbeBW: DOWN ──► CRUISE ──► REFILL ──► UP ─┐       any ──► ProbeRTT ──► DOWN, CRUISE
 *                                    ▲──────────────────────────────────┘                       └──► Startup
 *
 * Here is the state machine (5.3) and what it controls (5.6); the model of the path is in bbr-model.ts. The draft says
 * nothing of ECN: CE counts as loss does in a round (RFC 3168 5), so that it bounds the short-term model.
 */
import { COLD, FLAG, TCB } from '../block.ts';
import { coldOf } from '../cold.ts';
import type { Tcp } from '../tcp.ts';
import {
  adaptLowerBounds,
  advanceLatestDeliverySignals,
  advanceMaxBwFilter,
  BETA,
  bdpMultiple,
  boundBwForModel,
  checkFullBwReached,
  extraAcked,
  inflightAtLoss,
  inProbeBw,
  isInflightTooHigh,
  isLimited,
  lossEventsReached,
  maxBw,
  noteDelivered,
  noteLoss,
  phaseOf,
  resetCongestionSignals,
  resetFullBw,
  resetShortTermModel,
  restoreCwnd,
  saveCwnd,
  saveStateUponLoss,
  setPhase,
  startRound,
  stateOf,
  targetInflight,
  updateAckAggregation,
  updateLatestDeliverySignals,
  updateMaxBw,
  updateMinRtt,
} from './bbr-model.ts';
import { ACKS, BBR, BBR_COLD, BBR_STATE, BIT, INFINITE, STATE_MASK } from './bbr-words.ts';
import { type AckSample, type CongestionControl, WINDOW_MAX } from './control.ts';
import { rateOf, sendQuantum } from './pacing.ts';
import { initialWindow } from './window.ts';

const { FLAGS, CWND, SSTHRESH, MSS, SRTT, LIMITED: CWND_LIMITED_AT, SND_UNA, PACE_RATE } = TCB;
const { SACK, RECOVERY, LOSS } = FLAG;
const { BITS, BW, MIN_RTT, DELIVERED, ROUND_COUNT } = BBR;
const {
  INFLIGHT_LATEST,
  INFLIGHT_LONGTERM,
  INFLIGHT_SHORTTERM,
  MIN_RTT_STAMP,
  PROBE_RTT_MIN_DELAY,
  PROBE_RTT_MIN_STAMP,
  PROBE_RTT_DONE_STAMP,
  ROUNDS_SINCE_PROBE_UP,
  CYCLE_STAMP,
  BW_PROBE_WAIT,
  BW_PROBE_UP_ACKED,
  BW_PROBE_UP_ROUNDS,
  PROBE_UP_ACKED_PER_INC,
  EXTRA_ACKED_START,
  DRAIN_START_ROUND,
  BW_SHORTTERM,
  UNDO_BW_SHORTTERM,
  UNDO_INFLIGHT_SHORTTERM,
  UNDO_INFLIGHT_LONGTERM,
  LIMITED_UNTIL,
} = BBR_COLD;
const { STARTUP, DRAIN, PROBE_DOWN, PROBE_CRUISE, PROBE_REFILL, PROBE_UP, PROBE_RTT } = BBR_STATE;
const { INIT, REFILLING, PROBE_STARTING, PROBE_FEEDBACK, PROBE_STOPPING } = ACKS;
const { FULL_BW_REACHED, FULL_BW_NOW, IDLE_RESTART, BW_PROBE_SAMPLE, PREV_PROBE_TOO_HIGH } = BIT;
const { PREV_PROBE_PRECAUTIONARY, PROBE_RTT_EXPIRED, PROBE_RTT_ROUND_DONE, PROBE_RTT_DRAINED } = BIT;
const { RECOVERING, UNDO_STARTUP, UNDO_PROBE_UP, RTT_SEEN, LIMITED, ROUND_START, LOSS_ROUND_START } = BIT;
const { LOSS_IN_ROUND } = BIT;
const NO_BOUND = INFINITE;

/** By state. */
const PACING_GAIN = [2.77, 0.5, 0.9, 1, 1, 1.25, 1];
const CWND_GAIN = [2, 2, 2, 2, 2, 2.25, 0.5];
const PACING_MARGIN = 0.99;
const HEADROOM = 0.15;
const STARTUP_FULL_LOSS_COUNT = 6;
const DRAIN_ROUNDS = 3;
const PROBE_RTT_DURATION = 200; // ms
const PROBE_WAIT_MIN = 2000; // ms
const PROBE_WAIT_RANDOM = 1000; // ms
/** Rounds after which a Reno flow of the same window would have halved (5.3.3.8). */
const RENO_ROUNDS_MAX = 63;
const MIN_PIPE_SEGMENTS = 4;
/** us, for the first pacing rate when no round trip was measured. */
const RTT_ASSUMED = 1000;
const UP_ROUNDS_MAX = 30;

// ── States ────────────────────────────────────────────────────────────────────────────────────────────────

function enter(m: Int32Array, t: number, state: number): void {
  m[t + BITS] = (m[t + BITS] & ~STATE_MASK) | state;
}

function enterDrain(m: Int32Array, t: number, c: number): void {
  enter(m, t, DRAIN);
  m[c + DRAIN_START_ROUND] = m[t + ROUND_COUNT];
  // For whichever module may come after.
  m[t + SSTHRESH] = inflight(m, t, maxBw(m, t), 1);
}

function startDown(tcp: Tcp, t: number, c: number): void {
  const m = tcp.m;
  resetCongestionSignals(m, t, c);
  m[c + PROBE_UP_ACKED_PER_INC] = NO_BOUND;
  const { random } = tcp.ip;
  m[c + ROUNDS_SINCE_PROBE_UP] = random.below(2);
  m[c + BW_PROBE_WAIT] = PROBE_WAIT_MIN + random.below(PROBE_WAIT_RANDOM + 1);
  m[c + CYCLE_STAMP] = tcp.nowMs;
  setPhase(m, t, PROBE_STOPPING);
  startRound(m, t);
  enter(m, t, PROBE_DOWN);
}

function startRefill(m: Int32Array, t: number, c: number): void {
  resetShortTermModel(m, c);
  m[c + BW_PROBE_UP_ROUNDS] = 0;
  m[c + BW_PROBE_UP_ACKED] = 0;
  m[t + BITS] &= ~PREV_PROBE_PRECAUTIONARY;
  setPhase(m, t, REFILLING);
  startRound(m, t);
  enter(m, t, PROBE_REFILL);
}

function startUp(m: Int32Array, t: number, c: number, rate: number): void {
  setPhase(m, t, PROBE_STARTING);
  startRound(m, t);
  resetFullBw(m, t, c, rate);
  enter(m, t, PROBE_UP);
  raiseInflightLongtermSlope(m, t, c);
}

function checkStartupDone(m: Int32Array, t: number, c: number, s: AckSample): void {
  if (stateOf(m, t) !== STARTUP) return;
  checkStartupHighLoss(m, t, c, s);
  if ((m[t + BITS] & FULL_BW_REACHED) !== 0) enterDrain(m, t, c);
}

/** 5.3.1.3: a round of recovery, with losses over the threshold in several places. */
function checkStartupHighLoss(m: Int32Array, t: number, c: number, s: AckSample): void {
  if ((m[t + FLAGS] & RECOVERY) === 0 || (m[t + BITS] & FULL_BW_REACHED) !== 0) return;
  if ((m[t + FLAGS] & SACK) !== 0) {
    if ((m[t + BITS] & LOSS_ROUND_START) === 0) return;
    if (!lossEventsReached(m, t, STARTUP_FULL_LOSS_COUNT)) return;
    if (!isInflightTooHigh(m, t, s.lostSince, s.txInFlight)) return;
  }
  m[t + BITS] |= UNDO_STARTUP | FULL_BW_REACHED;
  const bdp = bdpMultiple(m, t, m[t + BW], 1);
  m[c + INFLIGHT_LONGTERM] = bdp > m[c + INFLIGHT_LATEST] ? bdp : m[c + INFLIGHT_LATEST];
}

function checkDrainDone(tcp: Tcp, t: number, c: number, s: AckSample): void {
  const m = tcp.m;
  if (stateOf(m, t) !== DRAIN) return;
  const rounds = (m[t + ROUND_COUNT] - m[c + DRAIN_START_ROUND]) | 0;
  if (s.inFlight <= inflight(m, t, m[t + BW], 1) || rounds > DRAIN_ROUNDS) startDown(tcp, t, c);
}

/** 5.3.3.9: the ProbeBW cycle. */
function updateProbeBwCyclePhase(
  tcp: Tcp,
  t: number,
  c: number,
  s: AckSample,
  rate: number,
  limited: boolean,
  newlyAcked: number,
): void {
  const m = tcp.m;
  if ((m[t + BITS] & FULL_BW_REACHED) === 0) return;
  if (adaptLongTermModel(m, t, c, s, limited, newlyAcked)) return;
  switch (stateOf(m, t)) {
    case PROBE_DOWN:
      if (isTimeToProbeBw(tcp, t, c)) startRefill(m, t, c);
      else if (isTimeToCruise(m, t, c, s)) enter(m, t, PROBE_CRUISE);
      return;
    case PROBE_CRUISE:
      if (isTimeToProbeBw(tcp, t, c)) startRefill(m, t, c);
      return;
    case PROBE_REFILL:
      if ((m[t + BITS] & ROUND_START) === 0) return;
      m[t + BITS] |= BW_PROBE_SAMPLE;
      startUp(m, t, c, rate);
      return;
    case PROBE_UP:
      if (!isTimeToGoDown(m, t, c, s, rate)) return;
      m[t + BITS] &= ~PREV_PROBE_TOO_HIGH;
      startDown(tcp, t, c);
  }
}

function isTimeToProbeBw(tcp: Tcp, t: number, c: number): boolean {
  const m = tcp.m;
  if (((tcp.nowMs - m[c + CYCLE_STAMP]) | 0) > m[c + BW_PROBE_WAIT]) return true;
  const segments = targetInflight(m, t) / m[t + MSS];
  return m[c + ROUNDS_SINCE_PROBE_UP] >= (segments < RENO_ROUNDS_MAX ? segments : RENO_ROUNDS_MAX);
}

function isTimeToCruise(m: Int32Array, t: number, c: number, s: AckSample): boolean {
  return s.inFlight <= inflightWithHeadroom(m, t, c) && s.inFlight <= inflight(m, t, maxBw(m, t), 1);
}

function isTimeToGoDown(m: Int32Array, t: number, c: number, s: AckSample, rate: number): boolean {
  if ((m[t + BITS] & PREV_PROBE_TOO_HIGH) !== 0 && s.inFlight >= m[c + INFLIGHT_LONGTERM]) {
    m[t + BITS] |= PREV_PROBE_PRECAUTIONARY;
    return true;
  }
  if (isCwndLimited(m, t) && m[t + CWND] >= m[c + INFLIGHT_LONGTERM]) {
    resetFullBw(m, t, c, rate);
    return false;
  }
  return (m[t + BITS] & FULL_BW_NOW) !== 0;
}

/** The window was what stopped output within the last round trip. */
function isCwndLimited(m: Int32Array, t: number): boolean {
  return ((m[t + CWND_LIMITED_AT] - m[t + SND_UNA]) | 0) >= 0;
}

/** @returns whether it decided on a state. */
function adaptLongTermModel(
  m: Int32Array,
  t: number,
  c: number,
  s: AckSample,
  limited: boolean,
  newlyAcked: number,
): boolean {
  if ((m[t + BITS] & ROUND_START) !== 0) {
    const phase = phaseOf(m, t);
    if (phase === PROBE_STARTING) setPhase(m, t, PROBE_FEEDBACK);
    else if (phase === PROBE_STOPPING) {
      m[t + BITS] &= ~BW_PROBE_SAMPLE;
      setPhase(m, t, INIT);
      if (inProbeBw(m, t)) {
        if (!limited) advanceMaxBwFilter(m, t);
        if ((m[t + BITS] & (PREV_PROBE_PRECAUTIONARY | PREV_PROBE_TOO_HIGH)) === PREV_PROBE_PRECAUTIONARY) {
          startRefill(m, t, c);
          return true;
        }
      }
    }
  }
  if (m[c + INFLIGHT_LONGTERM] === NO_BOUND || isInflightTooHigh(m, t, s.lostSince, s.txInFlight))
    return false;
  if (s.txInFlight > m[c + INFLIGHT_LONGTERM]) m[c + INFLIGHT_LONGTERM] = s.txInFlight;
  if (stateOf(m, t) === PROBE_UP) probeInflightLongtermUpward(m, t, c, newlyAcked);
  return false;
}

function raiseInflightLongtermSlope(m: Int32Array, t: number, c: number): void {
  const growth = 2 ** m[c + BW_PROBE_UP_ROUNDS];
  if (m[c + BW_PROBE_UP_ROUNDS] < UP_ROUNDS_MAX) m[c + BW_PROBE_UP_ROUNDS]++;
  m[c + PROBE_UP_ACKED_PER_INC] = Math.max(m[t + CWND] / growth, m[t + MSS]);
}

function probeInflightLongtermUpward(m: Int32Array, t: number, c: number, newlyAcked: number): void {
  if (!isCwndLimited(m, t) || m[t + CWND] < m[c + INFLIGHT_LONGTERM]) return;
  m[c + BW_PROBE_UP_ACKED] += newlyAcked;
  const delta = (m[c + BW_PROBE_UP_ACKED] / m[c + PROBE_UP_ACKED_PER_INC]) | 0;
  if (delta > 0) {
    m[c + BW_PROBE_UP_ACKED] -= delta * m[c + PROBE_UP_ACKED_PER_INC];
    const raised = m[c + INFLIGHT_LONGTERM] + delta * m[t + MSS];
    m[c + INFLIGHT_LONGTERM] = raised > WINDOW_MAX ? WINDOW_MAX : raised;
  }
  if ((m[t + BITS] & ROUND_START) !== 0) raiseInflightLongtermSlope(m, t, c);
}

// ── ProbeRTT (5.3.4) ──────────────────────────────────────────────────────────────────────────────────────

function checkProbeRtt(tcp: Tcp, t: number, c: number, s: AckSample): void {
  const m = tcp.m;
  if (
    stateOf(m, t) !== PROBE_RTT &&
    (m[t + BITS] & (PROBE_RTT_EXPIRED | IDLE_RESTART)) === PROBE_RTT_EXPIRED
  ) {
    saveCwnd(m, t, c);
    enter(m, t, PROBE_RTT);
    m[t + BITS] &= ~(PROBE_RTT_DRAINED | PROBE_RTT_ROUND_DONE);
    setPhase(m, t, PROBE_STOPPING);
    startRound(m, t);
  }
  if (stateOf(m, t) === PROBE_RTT) handleProbeRtt(tcp, t, c, s);
  if (s.delivered > 0) m[t + BITS] &= ~IDLE_RESTART;
}

function handleProbeRtt(tcp: Tcp, t: number, c: number, s: AckSample): void {
  const m = tcp.m;
  // Its low rates are nobody's measure.
  m[t + BITS] |= LIMITED;
  m[c + LIMITED_UNTIL] = (m[t + DELIVERED] + s.inFlight) | 0;
  if ((m[t + BITS] & PROBE_RTT_DRAINED) === 0) {
    if (s.inFlight > probeRttCwnd(m, t)) return;
    m[c + PROBE_RTT_DONE_STAMP] = (tcp.nowMs + PROBE_RTT_DURATION) | 0;
    m[t + BITS] = (m[t + BITS] | PROBE_RTT_DRAINED) & ~PROBE_RTT_ROUND_DONE;
    startRound(m, t);
    return;
  }
  if ((m[t + BITS] & ROUND_START) !== 0) m[t + BITS] |= PROBE_RTT_ROUND_DONE;
  if ((m[t + BITS] & PROBE_RTT_ROUND_DONE) !== 0) checkProbeRttDone(tcp, t, c);
}

function checkProbeRttDone(tcp: Tcp, t: number, c: number): void {
  const m = tcp.m;
  if ((m[t + BITS] & PROBE_RTT_DRAINED) === 0) return;
  if (((tcp.nowMs - m[c + PROBE_RTT_DONE_STAMP]) | 0) <= 0) return;
  m[c + PROBE_RTT_MIN_STAMP] = tcp.nowMs;
  restoreCwnd(m, t, c);
  resetShortTermModel(m, c);
  if ((m[t + BITS] & FULL_BW_REACHED) === 0) {
    enter(m, t, STARTUP);
    return;
  }
  startDown(tcp, t, c);
  enter(m, t, PROBE_CRUISE);
}

// ── Loss ──────────────────────────────────────────────────────────────────────────────────────────────────

/** 5.5.10.2, for the segments that an ACK found lost. */
function handleLost(tcp: Tcp, t: number, c: number, s: AckSample): void {
  const m = tcp.m;
  noteLoss(m, t, c);
  if ((m[t + BITS] & BW_PROBE_SAMPLE) === 0) return;
  const known = s.lostTxInFlight > 0;
  const tx = known ? s.lostTxInFlight : s.txInFlight;
  const lost = known ? s.lostLostSince : s.lostSince;
  if (!isInflightTooHigh(m, t, lost, tx)) return;
  m[t + BITS] = (m[t + BITS] | PREV_PROBE_TOO_HIGH) & ~BW_PROBE_SAMPLE;
  if (!isLimited(m, t, c, s)) {
    const at = inflightAtLoss(tx, lost, s.lost);
    const floor = targetInflight(m, t) * BETA;
    m[c + INFLIGHT_LONGTERM] = at > floor ? at : floor;
  }
  if (stateOf(m, t) !== PROBE_UP) return;
  m[t + BITS] |= UNDO_PROBE_UP;
  startDown(tcp, t, c);
}

// ── Control (5.6) ─────────────────────────────────────────────────────────────────────────────────────────

function setPacingRate(m: Int32Array, t: number, gain: number): void {
  const rate = gain * m[t + BW] * PACING_MARGIN;
  if ((m[t + BITS] & FULL_BW_REACHED) === 0 && rate <= m[t + PACE_RATE]) return;
  m[t + PACE_RATE] = rate < 1 ? 1 : rate >= NO_BOUND ? NO_BOUND : rate;
}

function initPacingRate(m: Int32Array, t: number): void {
  const srtt = m[t + SRTT] >> 3;
  if (srtt > 0) m[t + BITS] |= RTT_SEEN;
  m[t + PACE_RATE] = rateOf(PACING_GAIN[STARTUP] * initialWindow(m[t + MSS]), srtt > 0 ? srtt : RTT_ASSUMED);
}

function minPipeCwnd(m: Int32Array, t: number): number {
  return MIN_PIPE_SEGMENTS * m[t + MSS];
}

function quantizationBudget(m: Int32Array, t: number, volume: number): number {
  let cap = volume;
  const offload = 3 * sendQuantum(m, t, m[t + PACE_RATE]);
  if (cap < offload) cap = offload;
  if (cap < minPipeCwnd(m, t)) cap = minPipeCwnd(m, t);
  if (stateOf(m, t) === PROBE_UP) cap += 2 * m[t + MSS];
  return cap > WINDOW_MAX ? WINDOW_MAX : cap;
}

function inflight(m: Int32Array, t: number, bw: number, gain: number): number {
  return quantizationBudget(m, t, bdpMultiple(m, t, bw, gain));
}

/** Leaves room for others. */
function inflightWithHeadroom(m: Int32Array, t: number, c: number): number {
  const most = m[c + INFLIGHT_LONGTERM];
  if (most === NO_BOUND) return NO_BOUND;
  const room = HEADROOM * most > m[t + MSS] ? HEADROOM * most : m[t + MSS];
  const least = minPipeCwnd(m, t);
  return most - room > least ? most - room : least;
}

function probeRttCwnd(m: Int32Array, t: number): number {
  const volume = bdpMultiple(m, t, m[t + BW], CWND_GAIN[PROBE_RTT]);
  const least = minPipeCwnd(m, t);
  return volume > least ? volume : least;
}

function setCwnd(m: Int32Array, t: number, c: number, newlyAcked: number): void {
  const state = stateOf(m, t);
  const volume = bdpMultiple(m, t, m[t + BW], CWND_GAIN[state]) + extraAcked(m, c);
  const most = quantizationBudget(m, t, volume);
  let cwnd = m[t + CWND];
  if ((m[t + BITS] & FULL_BW_REACHED) !== 0) {
    cwnd += newlyAcked;
    if (cwnd > most) cwnd = most;
  } else if (cwnd < most || m[t + ROUND_COUNT] <= 1) {
    // Before anything like a window was delivered, the estimate is no use yet.
    cwnd += newlyAcked;
  }
  const least = minPipeCwnd(m, t);
  if (cwnd < least) cwnd = least;
  if (state === PROBE_RTT && cwnd > probeRttCwnd(m, t)) cwnd = probeRttCwnd(m, t);
  let cap = m[c + INFLIGHT_SHORTTERM];
  const longterm =
    state === PROBE_RTT || state === PROBE_CRUISE
      ? inflightWithHeadroom(m, t, c)
      : state >= PROBE_DOWN
        ? m[c + INFLIGHT_LONGTERM]
        : NO_BOUND;
  if (cap > longterm) cap = longterm;
  if (cap < least) cap = least;
  if (cwnd > cap) cwnd = cap;
  m[t + CWND] = cwnd > WINDOW_MAX ? WINDOW_MAX : cwnd;
}

/** The model of a round trip in loss is not yet what it will be: remembers what to go back to. */
function recoveryBegins(tcp: Tcp, t: number): number {
  const c = coldOf(tcp, t) + COLD.CC_WORDS;
  saveStateUponLoss(tcp.m, t, c);
  return tcp.m[t + CWND];
}

export const bbr: CongestionControl = {
  name: 'bbr',
  paces: true,

  start(tcp, t) {
    const m = tcp.m;
    const c = coldOf(tcp, t) + COLD.CC_WORDS;
    const srtt = m[t + SRTT] >> 3;
    m[t + BITS] = STARTUP;
    m[t + MIN_RTT] = srtt;
    m[c + MIN_RTT_STAMP] = tcp.nowMs;
    m[c + PROBE_RTT_MIN_DELAY] = srtt > 0 ? srtt : NO_BOUND;
    m[c + PROBE_RTT_MIN_STAMP] = tcp.nowMs;
    m[c + INFLIGHT_LONGTERM] = NO_BOUND;
    m[c + PROBE_UP_ACKED_PER_INC] = NO_BOUND;
    m[c + EXTRA_ACKED_START] = tcp.nowUs;
    resetShortTermModel(m, c);
    initPacingRate(m, t);
  },

  /** `sampled` does it. */
  acked() {},

  sampled(tcp, t, s) {
    const m = tcp.m;
    const c = coldOf(tcp, t) + COLD.CC_WORDS;
    const newlyAcked = s.delivered > 0 ? noteDelivered(m, t, c, s) : 0;
    if ((m[t + BITS] & RTT_SEEN) === 0) initPacingRate(m, t);
    const recovering = (m[t + FLAGS] & (RECOVERY | LOSS)) !== 0;
    if (recovering) m[t + BITS] |= RECOVERING;
    else if ((m[t + BITS] & RECOVERING) !== 0) {
      m[t + BITS] &= ~RECOVERING;
      restoreCwnd(m, t, c);
    }
    if (s.lost > 0) handleLost(tcp, t, c, s);
    if (s.delivered > 0) {
      const rate = s.interval_us > 0 ? rateOf(s.delivered, s.interval_us) : 0;
      const limited = isLimited(m, t, c, s);
      updateLatestDeliverySignals(m, t, c, s, rate);
      updateMaxBw(m, t, c, s, rate, limited);
      adaptLowerBounds(m, t, c);
      updateAckAggregation(tcp, t, c, newlyAcked);
      checkFullBwReached(m, t, c, rate, limited);
      checkStartupDone(m, t, c, s);
      checkDrainDone(tcp, t, c, s);
      updateProbeBwCyclePhase(tcp, t, c, s, rate, limited, newlyAcked);
      updateMinRtt(tcp, t, c, s.rtt_us);
      checkProbeRtt(tcp, t, c, s);
      advanceLatestDeliverySignals(m, t, c, s, rate);
      boundBwForModel(m, t, c);
    }
    setPacingRate(m, t, PACING_GAIN[stateOf(m, t)]);
    setCwnd(m, t, c, newlyAcked);
  },

  lost(tcp, t) {
    return recoveryBegins(tcp, t);
  },

  timedOut(tcp, t) {
    return recoveryBegins(tcp, t);
  },

  marked(tcp, t) {
    noteLoss(tcp.m, t, coldOf(tcp, t) + COLD.CC_WORDS);
    return tcp.m[t + CWND];
  },

  /** 5.5.11.2. */
  undone(tcp, t) {
    const m = tcp.m;
    const c = coldOf(tcp, t) + COLD.CC_WORDS;
    restoreCwnd(m, t, c);
    resetFullBw(m, t, c, 0);
    m[c + BW_SHORTTERM] = Math.max(m[c + BW_SHORTTERM], m[c + UNDO_BW_SHORTTERM]);
    m[c + INFLIGHT_SHORTTERM] = Math.max(m[c + INFLIGHT_SHORTTERM], m[c + UNDO_INFLIGHT_SHORTTERM]);
    m[c + INFLIGHT_LONGTERM] = Math.max(m[c + INFLIGHT_LONGTERM], m[c + UNDO_INFLIGHT_LONGTERM]);
    const bits = m[t + BITS];
    m[t + BITS] &= ~(LOSS_IN_ROUND | UNDO_STARTUP | UNDO_PROBE_UP);
    const state = stateOf(m, t);
    if ((bits & UNDO_STARTUP) !== 0 && state !== STARTUP) {
      m[t + BITS] &= ~FULL_BW_REACHED;
      if (state !== PROBE_RTT) enter(m, t, STARTUP);
    } else if ((bits & UNDO_PROBE_UP) !== 0 && state !== PROBE_UP && state !== PROBE_RTT) {
      startRefill(m, t, c);
    }
  },

  /** 5.4.1: nothing was in flight, so the program was what limited us. */
  resumed(tcp, t) {
    const m = tcp.m;
    const c = coldOf(tcp, t) + COLD.CC_WORDS;
    if ((m[t + BITS] & RTT_SEEN) === 0) initPacingRate(m, t);
    m[t + BITS] |= IDLE_RESTART;
    m[c + EXTRA_ACKED_START] = tcp.nowUs;
    if (inProbeBw(m, t)) setPacingRate(m, t, 1);
    else if (stateOf(m, t) === PROBE_RTT) checkProbeRttDone(tcp, t, c);
  },
};
