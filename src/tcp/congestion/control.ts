/**
 * What a congestion control module decides. A module is a stateless object; what it must remember of a connection
 * it keeps in the block's CC words (`t + CC_WORDS`, 8 int32, zeroed at the start). Windows are bytes.
 *
 * The caller has done the rest: loss detection, in-flight accounting, cwnd validation (RFC 7661: `acked` isn't
 * called for what was sent while the application, not cwnd, was the limit), restart after idle.
 */
import { TCB } from '../block.ts';
import { inFlight } from '../recovery.ts';
import { CONGESTION_CONTROLS, type Tcp } from '../tcp.ts';

const { CC, CWND, SSTHRESH, MSS, SND_UNA, SND_NXT } = TCB;

/**
 * What one ACK told: one object, filled for each ACK that matters to a module with `sampled`, valid during the call.
 * Bytes and us. The rate fields are those of draft-ietf-ccwg-bbr 4.1 (delivery rate estimation).
 */
export class AckSample {
  /** Newly acknowledged by SND.UNA; newly SACKed; newly marked lost. */
  acked = 0;
  sacked = 0;
  lost = 0;
  /** RTT of the newest segment acknowledged that was sent once; -1: none. */
  rtt_us = -1;
  /** RS.delivered over RS.interval; `interval_us` 0: no rate sample. */
  delivered = 0;
  interval_us = 0;
  /** C.delivered when the segment that the sample is of was sent, modulo 2^32. */
  priorDelivered = 0;
  /** In flight when that segment was sent, itself included; lost since then; whether the program was the limit. */
  txInFlight = 0;
  lostSince = 0;
  appLimited = false;
  /** In flight before and after this ACK. */
  priorInFlight = 0;
  inFlight = 0;
  /** Newly reported as CE-marked (AccECN). */
  ceMarked = 0;
}

export interface CongestionControl {
  readonly name: 'reno' | 'cubic';
  /** `acked` more bytes arrived, outside fast recovery: grow CWND. */
  acked(tcp: Tcp, t: number, acked: number): void;
  /** Loss by duplicate ACKs or SACK: @returns the new SSTHRESH, which CWND takes too. */
  lost(tcp: Tcp, t: number, flight: number): number;
  /** Retransmission timeout: @returns the new SSTHRESH; CWND becomes one segment. */
  timedOut(tcp: Tcp, t: number, flight: number): number;
  /** Each ACK that acknowledges, SACKs or marks anything lost, in recovery too: for modules that model the path. */
  sampled?(tcp: Tcp, t: number, sample: AckSample): void;
  /** Made for L4S (RFC 9331): data is sent as ECT(1) where AccECN is agreed. */
  readonly l4s?: boolean;
}

/** No window below this after a loss (RFC 5681 eq. 4). */
export function atLeastTwoSegments(m: Int32Array, t: number, bytes: number): number {
  const floor = 2 * m[t + MSS];
  return bytes < floor ? floor : bytes;
}

/** RFC 6928: ten segments, at most 14,600 bytes or two segments. */
export function initialWindow(mss: number): number {
  const ten = 10 * mss;
  const cap = 14_600 > 2 * mss ? 14_600 : 2 * mss;
  return ten < cap ? ten : cap;
}

export function congestionStart(m: Int32Array, t: number): void {
  m[t + CWND] = initialWindow(m[t + MSS]);
  m[t + SSTHRESH] = 0x3fffffff;
}

export function congestionAcked(tcp: Tcp, t: number, acked: number): void {
  CONGESTION_CONTROLS[tcp.m[t + CC]].acked(tcp, t, acked);
}

export function congestionLoss(tcp: Tcp, t: number): void {
  const m = tcp.m;
  m[t + SSTHRESH] = CONGESTION_CONTROLS[m[t + CC]].lost(tcp, t, inFlight(tcp, t));
  m[t + CWND] = m[t + SSTHRESH];
}

/** CE marks were reported, for the first time in this window of data (RFC 3168 6.1.2): as for a loss. */
export function congestionCe(tcp: Tcp, t: number): void {
  congestionLoss(tcp, t);
}

export function congestionTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  // Only the first timeout of a row halves (RFC 5681 3.1); later ones find cwnd at one segment.
  if (m[t + CWND] > m[t + MSS]) {
    m[t + SSTHRESH] = CONGESTION_CONTROLS[m[t + CC]].timedOut(tcp, t, (m[t + SND_NXT] - m[t + SND_UNA]) | 0);
  }
  m[t + CWND] = m[t + MSS];
}

/** RFC 5681 4.1: after an idle time longer than the RTO the old window says nothing about the path. */
export function congestionRestart(m: Int32Array, t: number): void {
  const restart = initialWindow(m[t + MSS]);
  if (m[t + CWND] > restart) m[t + CWND] = restart;
}

/** Slow start with byte counting, L = 2 segments for each ACK of a batch's worth (RFC 3465, RFC 5681 3.1). */
export function slowStart(m: Int32Array, t: number, acked: number): void {
  const cwnd = m[t + CWND] + acked;
  // An int32 window, and no more than the 1 GiB that a scaled window can offer.
  m[t + CWND] = cwnd > 0x3fffffff ? 0x3fffffff : cwnd;
}
