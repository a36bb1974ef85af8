/**
 * What a congestion control module decides, and how the rest of TCP asks it; docs/congestion-control.md is the guide to
 * writing one. A module is a stateless object. What it remembers of a connection it keeps in words of the arena:
 *
 *     t + TCB.CC_WORDS                         8 int32, at hand on every ACK
 *     coldOf(tcp, t) + COLD.CC_WORDS          28 int32, for what more it needs
 *
 * Both are zero before `start`. Windows are bytes, times ms (`tcp.nowMs`) or us (`tcp.nowUs`), int32 that wrap.
 *
 * TCP has done the rest: loss detection, in-flight accounting, the limits of RFC 7661 (validation.ts), restart after
 * idle, pacing (pacing.ts), and what a spurious loss must give back of CWND and SSTHRESH.
 */
import { COLD, FLAG, FLAG2, STATE, TCB } from '../block.ts';
import { coldOf } from '../cold.ts';
import { rateStart, rateStop } from '../rate.ts';
import type { Tcp } from '../tcp.ts';
import { pipeAcked, validationReset } from './validation.ts';
import { restartWindow, startWindow } from './window.ts';

const { STATE: ST, CC, CC_WORDS, CWND, SSTHRESH, MSS, SND_UNA, SND_NXT, FLAGS, FLAGS2, PACE_AT } = TCB;
const { RECOVERY, LOSS } = FLAG;
const { PACED, PACED_BY_OPTION, SAMPLED, COLD_USED } = FLAG2;
const { UNDO_CWND, UNDO_SSTHRESH } = COLD;

/** SSTHRESH before anything was learnt, and the largest CWND: what a scaled window can offer (RFC 7323 2.3). */
export const WINDOW_MAX = 0x3fffffff;
export const CC_WORD_COUNT = 8;
export const CC_COLD_COUNT = 28;

/**
 * What one ACK told: one object, filled for each ACK that matters to a module with `sampled`, valid during the call.
 * Bytes and us. The rate fields are those of draft-ietf-ccwg-bbr 4.1 (delivery rate estimation).
 */
export class AckSample {
  /** Newly acknowledged by SND.UNA, and not SACKed before; newly SACKed; newly marked lost. */
  acked = 0;
  sacked = 0;
  lost = 0;
  /** RTT of the newest segment acknowledged that was sent once; -1: none. Before `acked` too, for all modules. */
  rtt_us = -1;
  /**
   * RS.delivered over RS.interval; `interval_us` 0: no rate sample. `delivered` and `priorDelivered` stand whenever
   * anything was newly delivered, rate sample or not: their sum is C.delivered.
   */
  delivered = 0;
  interval_us = 0;
  /** C.delivered when the segment that the sample is of was sent, modulo 2^32. */
  priorDelivered = 0;
  /** In flight when that segment was sent, itself included; lost since then; whether the program was the limit. */
  txInFlight = 0;
  lostSince = 0;
  appLimited = false;
  /** The same of the newest segment among those newly marked lost; `lostTxInFlight` 0: not known. */
  lostTxInFlight = 0;
  lostLostSince = 0;
  /** In flight before and after this ACK. */
  priorInFlight = 0;
  inFlight = 0;
  /** Newly reported as CE-marked (AccECN). */
  ceMarked = 0;
}

export interface CongestionControl {
  /** What options and `TcpInfo` call it. */
  readonly name: string;
  /** Sets PACE_RATE itself, and is always paced; others are on request, by CWND over SRTT. */
  readonly paces?: boolean;
  /**
   * A connection begins with this module, or goes over to it: CWND and SSTHRESH stand. Called again when the
   * handshake has settled the MSS.
   */
  start?(tcp: Tcp, t: number): void;
  /** `acked` more bytes arrived of what CWND was the limit of, outside fast recovery: grow CWND. */
  acked(tcp: Tcp, t: number, acked: number): void;
  /**
   * Loss by SACK or duplicate ACKs, once for each recovery. @param flight RFC 5681's FlightSize, or what the
   * connection had in flight lately if that is more (RFC 7661). @returns the new SSTHRESH, which CWND takes too.
   */
  lost(tcp: Tcp, t: number, flight: number): number;
  /** Retransmission timeout, the first in a row: @returns the new SSTHRESH; CWND becomes one segment. */
  timedOut(tcp: Tcp, t: number, flight: number): number;
  /** ECN told of congestion, once a round trip: as `lost`, which stands in when this is left out (RFC 3168 6.1.2). */
  marked?(tcp: Tcp, t: number, flight: number): number;
  /** The last reduction was for nothing. CWND and SSTHRESH are restored already: restore the words. */
  undone?(tcp: Tcp, t: number): void;
  /** Data is about to go while none is in flight; for modules that pace. */
  resumed?(tcp: Tcp, t: number): void;
  /**
   * Each ACK that acknowledges, SACKs or marks anything lost, in recovery too, and before output. For modules that
   * model the path: they set CWND here, and their `lost` returns what CWND should be in the meantime.
   */
  sampled?(tcp: Tcp, t: number, sample: AckSample): void;
  /** Made for L4S (RFC 9331): data is sent as ECT(1) where AccECN is agreed. */
  readonly l4s?: boolean;
}

/** What a program asks of a connection; zeros: nothing. */
export interface CongestionChoice {
  /** Index in `tcp.congestions`. */
  readonly module: number;
  readonly pacing: boolean;
  /** Bytes, 0: by route or RFC 6928. */
  readonly startWindow: number;
}

/** No window below this after a loss (RFC 5681 eq. 4). */
export function atLeastTwoSegments(m: Int32Array, t: number, bytes: number): number {
  const floor = 2 * m[t + MSS];
  return bytes < floor ? floor : bytes;
}

/** The first window of a connection whose MSS is known. */
export function congestionStart(tcp: Tcp, t: number): void {
  const m = tcp.m;
  m[t + CWND] = startWindow(tcp, t);
  m[t + SSTHRESH] = WINDOW_MAX;
  begin(tcp, t);
}

/** Between `blockStart` and the first segment: what the program chose for this connection. */
export function congestionChoose(tcp: Tcp, t: number, choice: CongestionChoice): void {
  const m = tcp.m;
  // The stack's own module has begun already.
  m[t + CC] = choice.module;
  m.fill(0, t + CC_WORDS, t + CC_WORDS + CC_WORD_COUNT);
  if (choice.pacing) m[t + FLAGS2] |= PACED_BY_OPTION;
  if (choice.startWindow > 0) m[coldOf(tcp, t) + COLD.START_WINDOW] = choice.startWindow;
  congestionStart(tcp, t);
}

/** Another module takes over, with the window as it is. */
export function congestionChange(tcp: Tcp, t: number, module: number): void {
  const m = tcp.m;
  if (m[t + CC] === module) return;
  m[t + CC] = module;
  m.fill(0, t + CC_WORDS, t + CC_WORDS + CC_WORD_COUNT);
  if ((m[t + FLAGS2] & COLD_USED) !== 0) {
    const cold = coldOf(tcp, t);
    m.fill(0, cold + COLD.CC_WORDS, cold + COLD.CC_WORDS + CC_COLD_COUNT);
    m[cold + UNDO_CWND] = 0;
  }
  validationReset(tcp, t);
  begin(tcp, t);
}

function begin(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const module = tcp.congestions[m[t + CC]];
  const flags = m[t + FLAGS2];
  const paced = module.paces === true || (flags & PACED_BY_OPTION) !== 0 || tcp.limits.pacing;
  m[t + FLAGS2] = paced ? flags | PACED : flags & ~PACED;
  // Times wrap: a word that was never set may lie half an hour ahead.
  if (paced) m[t + PACE_AT] = tcp.nowUs;
  if (m[t + ST] >= STATE.ESTABLISHED) congestionOpened(tcp, t);
  module.start?.(tcp, t);
}

/** The handshake is complete: a module with `sampled` gets its samples from here on. */
export function congestionOpened(tcp: Tcp, t: number): void {
  const wanted = tcp.congestions[tcp.m[t + CC]].sampled !== undefined;
  const sampled = (tcp.m[t + FLAGS2] & SAMPLED) !== 0;
  if (wanted && !sampled) rateStart(tcp, t);
  else if (!wanted && sampled) rateStop(tcp, t);
}

/** In recovery from a timeout, an ACK may cover what was delivered long before: one segment for each (RFC 3465 2.3). */
export function congestionAcked(tcp: Tcp, t: number, acked: number): void {
  const m = tcp.m;
  const most = (m[t + FLAGS] & LOSS) !== 0 && acked > m[t + MSS] ? m[t + MSS] : acked;
  tcp.congestions[m[t + CC]].acked(tcp, t, most);
}

/** After each ACK that `tcp.sample` tells of; for a connection with FLAG2.SAMPLED. */
export function congestionSampled(tcp: Tcp, t: number): void {
  tcp.congestions[tcp.m[t + CC]].sampled?.(tcp, t, tcp.sample);
}

/** Fast recovery is about to begin. */
export function congestionLoss(tcp: Tcp, t: number): void {
  const m = tcp.m;
  undoSave(tcp, t);
  reduceTo(m, t, tcp.congestions[m[t + CC]].lost(tcp, t, flightSize(tcp, t)));
  validationReset(tcp, t);
}

export function congestionTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  undoSave(tcp, t);
  // Only the first timeout of a row halves (RFC 5681 3.1); later ones find cwnd at one segment.
  if (m[t + CWND] > m[t + MSS]) {
    m[t + SSTHRESH] = tcp.congestions[m[t + CC]].timedOut(tcp, t, flightSize(tcp, t));
  }
  m[t + CWND] = m[t + MSS];
  validationReset(tcp, t);
}

/**
 * The receiver saw CE: to be called once a round trip. While a loss is being recovered from, the window was reduced
 * for this round trip already (RFC 3168 6.1.2).
 */
export function congestionCe(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & (RECOVERY | LOSS)) !== 0) return;
  const module = tcp.congestions[m[t + CC]];
  const flight = flightSize(tcp, t);
  reduceTo(m, t, (module.marked ?? module.lost)(tcp, t, flight));
}

/** Nothing that this recovery, or timeout, was for had been lost: its reduction is taken back (RFC 9438 4.9). */
export function congestionUndo(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & COLD_USED) === 0) return;
  const cold = coldOf(tcp, t);
  const cwnd = m[cold + UNDO_CWND];
  if (cwnd === 0) return;
  m[cold + UNDO_CWND] = 0;
  if (m[t + CWND] < cwnd) m[t + CWND] = cwnd;
  if (m[t + SSTHRESH] < m[cold + UNDO_SSTHRESH]) m[t + SSTHRESH] = m[cold + UNDO_SSTHRESH];
  tcp.congestions[m[t + CC]].undone?.(tcp, t);
}

/**
 * Data is about to go after an idle time longer than the RTO: the old window says nothing about the path any more
 * (RFC 5681 4.1). A paced connection keeps it, since the burst that this is about doesn't happen (RFC 7661 4.3).
 */
export function congestionRestart(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & PACED) !== 0) return;
  const restart = restartWindow(tcp, t);
  if (m[t + CWND] > restart) m[t + CWND] = restart;
}

function reduceTo(m: Int32Array, t: number, window: number): void {
  m[t + SSTHRESH] = window;
  m[t + CWND] = window;
}

/** Of the first reduction of a row: that is what an undo goes back to. */
function undoSave(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & (RECOVERY | LOSS)) !== 0) return;
  const cold = coldOf(tcp, t);
  m[cold + UNDO_CWND] = m[t + CWND];
  m[cold + UNDO_SSTHRESH] = m[t + SSTHRESH];
}

/**
 * RFC 5681 2's FlightSize, or RFC 7661's pipeACK (4.4.1): a window that is hardly used must not be what is halved. Linux
 * takes the window (RFC 9438 4.6 allows it), which doesn't grow there while it isn't used.
 */
function flightSize(tcp: Tcp, t: number): number {
  const m = tcp.m;
  if (tcp.limits.habits === 'linux') return m[t + CWND];
  const outstanding = (m[t + SND_NXT] - m[t + SND_UNA]) | 0;
  const piped = pipeAcked(tcp, t);
  const flight = piped > outstanding ? piped : outstanding;
  // Limited transmit's extra segments don't count (RFC 5681 3.2, step 2).
  return flight < m[t + CWND] ? flight : m[t + CWND];
}

/** RFC 9406 4.2: what an ACK may add to a window that isn't paced, segments (RFC 3465's L). */
const L = 8;

/** Slow start with byte counting. @param divisor 1; 4 in HyStart++'s conservative slow start */
export function slowStart(tcp: Tcp, t: number, acked: number, divisor: number): void {
  const m = tcp.m;
  const most = L * m[t + MSS];
  const whole = acked <= most || (m[t + FLAGS2] & PACED) !== 0 || tcp.limits.habits === 'linux';
  const counted = whole ? acked : most;
  grow(m, t, (counted / divisor) | 0);
}

export function grow(m: Int32Array, t: number, bytes: number): void {
  const cwnd = m[t + CWND] + bytes;
  m[t + CWND] = cwnd > WINDOW_MAX ? WINDOW_MAX : cwnd;
}
