/** The ACK of an acceptable segment (RFC 9293 3.10.7.4, fifth step): SND.UNA, the send window, RTT, recovery. */

import { neighbourConfirm } from '../ip/neighbours.ts';
import { queueDrop } from '../memory/byte-queue.ts';
import { FLAG_FIN as FIN } from '../wire/tcp.ts';
import { FLAG, FLAG2, STATE, TCB } from './block.ts';
import { tcpFinish } from './close.ts';
import { congestionAcked } from './congestion/control.ts';
import { congestionRound } from './congestion/validation.ts';
import { EVENT_DRAINED, EVENT_WRITABLE, eventPush } from './events.ts';
import { ackNow } from './input.ts';
import { LIST_DATA, listPush } from './lists.ts';
import { recordAcked } from './records.ts';
import { enterLoss, newsStart, recoveryAck, recoveryReport } from './recovery.ts';
import { sendBareAck } from './reply.ts';
import { sackBlocks } from './sack.ts';
import type { Segment } from './segment.ts';
import { sendWritable } from './send.ts';
import type { Tcp } from './tcp.ts';
import { keepStart, rttLeast, rttSample, rttSampleOfFlight, rtxStart } from './timers.ts';

const {
  STATE: ST,
  FLAGS,
  SND_UNA,
  SND_NXT,
  SND_WND,
  SND_WL1,
  SND_WL2,
  MAX_WND,
  SNDQ,
  ROUND,
  SENT_AT,
  BACKOFF,
  SNDQ_LENGTH,
} = TCB;
const { IFACE, NEIGHBOUR, LIMITED, RECOVER, RECORDS, DUPACKS, KEEP_PROBES, TS_OFFSET } = TCB;
const {
  SACK,
  RTX,
  PERSIST,
  RECOVERY,
  LOSS,
  FIN_SENT,
  FIN_QUEUED,
  WANT_WRITABLE,
  WANT_DRAINED,
  DETACHED,
  ACK_NOW,
} = FLAG;
const { FLAGS2 } = TCB;
const { TLP_SPENT } = FLAG2;
const { FIN_WAIT_1, FIN_WAIT_2, CLOSING, LAST_ACK } = STATE;
const [E_WRITABLE, E_DRAINED] = [EVENT_WRITABLE, EVENT_DRAINED];
const F_FIN = FIN;
const L_DATA = LIST_DATA;
/** An echo older than that, ms, is no RTT. */
const ECHO_AGE_MAX = 120_000;

/** @returns false when the segment is to be dropped, or the connection has ended. */
export function acceptAck(tcp: Tcp, t: number, s: Segment): boolean {
  const m = tcp.m;
  const acked = (s.ack - m[t + SND_UNA]) | 0;
  if (((s.ack - m[t + SND_NXT]) | 0) > 0 || (acked < 0 && acked + m[t + MAX_WND] < 0)) {
    // Never sent, or older than any window could be (RFC 5961 5.2).
    tcp.counters.badAck++;
    ackNow(tcp, t);
    return false;
  }

  const sacks = s.hasOptions === 1 && tcp.options.sackCount > 0 && (m[t + FLAGS] & SACK) !== 0;
  // Otherwise what is outstanding, if anything, was sent once and at one time, and nothing is amiss with it.
  let watched = sacks || (m[t + RECORDS] | m[t + DUPACKS]) !== 0;
  if (watched) newsStart(tcp, t, s);
  if (sacks) sackBlocks(tcp, t, tcp.news, s.ack);
  const windowBefore = m[t + SND_WND];
  // RFC 9293 3.10.7.4: only a newer segment may set the window.
  if (
    acked >= 0 &&
    (((m[t + SND_WL1] - s.seq) | 0) < 0 || (m[t + SND_WL1] === s.seq && ((m[t + SND_WL2] - s.ack) | 0) <= 0))
  ) {
    const window = s.window << (m[t + FLAGS] & 15);
    m[t + SND_WND] = window;
    m[t + SND_WL1] = s.seq;
    m[t + SND_WL2] = s.ack;
    if (window !== windowBefore) windowChanged(tcp, t, windowBefore, acked);
  } else if (acked > 0) {
    // An older segment: the window stays, and so does its right edge.
    m[t + SND_WND] = windowBefore > acked ? windowBefore - acked : 0;
  }

  if (acked > 0) return newAck(tcp, t, s, acked, watched);
  if (m[t + KEEP_PROBES] !== 0) m[t + KEEP_PROBES] = 0;
  let duplicate = false;
  // Answers to window probes aren't duplicates: nothing was lost.
  if (acked === 0 && m[t + SND_UNA] !== m[t + SND_NXT] && (m[t + FLAGS] & PERSIST) === 0) {
    // RFC 5681 2's duplicate ACK; with SACK, one that brings news (RFC 6675 2).
    duplicate =
      (m[t + FLAGS] & SACK) !== 0
        ? watched && tcp.news.sacked > 0
        : s.length === 0 && (s.flags & F_FIN) === 0 && m[t + SND_WND] === windowBefore;
    if (duplicate && !watched) {
      newsStart(tcp, t, s);
      watched = true;
    }
  }
  if (!watched) return true;
  const { rttNewest } = tcp.news;
  if (rttNewest >= 0) rttSampleOfFlight(m, t, rttNewest, (m[t + SND_NXT] - m[t + SND_UNA]) | 0);
  recoveryAck(tcp, t, 0, duplicate);
  recoveryReport(tcp, t);
  return true;
}

function windowChanged(tcp: Tcp, t: number, before: number, acked: number): void {
  const m = tcp.m;
  const window = m[t + SND_WND];
  if (window > m[t + MAX_WND]) m[t + MAX_WND] = window;
  if (window < before) return;
  if ((m[t + FLAGS] & PERSIST) !== 0) {
    m[t + FLAGS] &= ~PERSIST;
    m[t + BACKOFF] = 0;
    // A probe's byte that was not acknowledged was refused, or its ACK is under way: it goes out again.
    if (acked === 0 && m[t + SND_NXT] !== m[t + SND_UNA]) {
      enterLoss(tcp, t);
      rtxStart(tcp, t);
    }
  }
  if (m[t + SNDQ_LENGTH] > 0) listPush(m, tcp.lists[m[t + IFACE]], L_DATA, t);
}

/** SND.UNA moves by `acked`. */
function newAck(tcp: Tcp, t: number, s: Segment, acked: number, watched: boolean): boolean {
  const m = tcp.m;
  const flight = (m[t + SND_NXT] - m[t + SND_UNA]) | 0;
  const limited = ((m[t + LIMITED] - s.ack + acked) | 0) >= 0;
  const finAcked = (m[t + FLAGS] & FIN_SENT) !== 0 && s.ack === m[t + SND_NXT];
  queueDrop(tcp.chunks, t + SNDQ, finAcked ? acked - 1 : acked);
  m[t + SND_UNA] = s.ack;
  m[t + BACKOFF] = 0;

  if (m[t + RECORDS] === 0) {
    const us = (tcp.nowUs - m[t + SENT_AT]) | 0;
    rttSampleOfFlight(m, t, us, flight);
    tcp.sample.rtt_us = us > 0 ? us : 1;
  } else {
    recordsAcknowledged(tcp, t, s, flight);
    tcp.sample.rtt_us = tcp.news.rttNewest;
  }
  if (((s.ack - m[t + ROUND]) | 0) >= 0) {
    m[t + ROUND] = m[t + SND_NXT];
    congestionRound(tcp, t);
    // Once a round trip, what costs more: reachability (RFC 4861 7.3.1), and marks that must not fall 2^31 behind.
    neighbourConfirm(tcp.ip.interfaces[m[t + IFACE]], m[t + NEIGHBOUR]);
    if (((m[t + LIMITED] - s.ack) | 0) < 0) m[t + LIMITED] = (s.ack - 1) | 0;
    if ((m[t + FLAGS] & (RECOVERY | LOSS)) === 0) m[t + RECOVER] = (s.ack - 1) | 0;
  }
  if (s.ack === m[t + SND_NXT]) m[t + FLAGS] &= ~(RTX | PERSIST);
  else if (!watched) rtxStart(tcp, t, acked);

  const recovering = m[t + FLAGS] & (RECOVERY | LOSS);
  const before = m[t + DUPACKS];
  if (watched) recoveryAck(tcp, t, acked, false);
  const linux = watched && tcp.limits.habits === 'linux';
  // Linux's window grows for the ACK too that ends the recovery from a timeout.
  const lost = ((linux ? recovering | m[t + FLAGS] : m[t + FLAGS]) & LOSS) !== 0;
  // cwnd validation (RFC 7661): it grows for what it was the limit of. In fast recovery it stands still.
  if ((m[t + FLAGS] & RECOVERY) === 0 && (lost || (recovering === 0 && limited)))
    congestionAcked(tcp, t, linux ? newlyDelivered(tcp, t, acked, before) : acked);
  if (watched) recoveryReport(tcp, t);

  const flags = m[t + FLAGS];
  const queued = m[t + SNDQ_LENGTH];
  if ((flags & (WANT_WRITABLE | WANT_DRAINED)) !== 0) {
    if ((flags & WANT_WRITABLE) !== 0 && sendWritable(tcp, t)) {
      m[t + FLAGS] &= ~WANT_WRITABLE;
      eventPush(tcp, t, E_WRITABLE, 0, 0);
    }
    if ((flags & WANT_DRAINED) !== 0 && queued === 0) {
      m[t + FLAGS] &= ~WANT_DRAINED;
      eventPush(tcp, t, E_DRAINED, 0, 0);
    }
  }
  if (finAcked) return finAcknowledged(tcp, t);
  if (queued > ((m[t + SND_NXT] - m[t + SND_UNA]) | 0) || (flags & (FIN_QUEUED | FIN_SENT)) === FIN_QUEUED) {
    listPush(m, tcp.lists[m[t + IFACE]], L_DATA, t);
  }
  return true;
}

/** Of `acked`, what neither SACK nor a duplicate ACK, of which there were so many, had told before: as Linux's windows grow. */
function newlyDelivered(tcp: Tcp, t: number, acked: number, duplicates: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS] & SACK) !== 0) return tcp.news.acked;
  const told = duplicates * m[t + TCB.MSS];
  return told < acked ? acked - told : 0;
}

/** Takes an RTT where one is unambiguous, of the oldest part that was sent once: it has the peer's delay of ACKs in it. */
function recordsAcknowledged(tcp: Tcp, t: number, s: Segment, flight: number): void {
  const m = tcp.m;
  const { news } = tcp;
  recordAcked(tcp, t, news, s.ack);
  if (news.rttOldest >= 0) {
    rttSampleOfFlight(m, t, news.rttOldest, flight);
    rttLeast(m, t, news.rttNewest > 0 ? news.rttNewest : 1);
  } else if (s.hasTimestamp === 1) {
    // All of it was sent more than once: the echo tells which (RFC 7323 4), though only to the ms.
    const ms = (tcp.nowMs + m[t + TS_OFFSET] - s.tsEcr) | 0;
    if (ms > 0 && ms < ECHO_AGE_MAX) {
      rttSample(m, t, ms * 1000);
      m[t + FLAGS2] &= ~TLP_SPENT;
    }
  }
}

function finAcknowledged(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  switch (m[t + ST]) {
    case FIN_WAIT_1:
      m[t + ST] = FIN_WAIT_2;
      // RFC 9293 3.6: a closed program's FIN-WAIT-2 may not last for ever.
      if ((m[t + FLAGS] & DETACHED) !== 0) keepStart(tcp, t, tcp.limits.finWait2_ms);
      else if (tcp.limits.halfClose_ms > 0) keepStart(tcp, t, tcp.limits.halfClose_ms);
      return true;
    case CLOSING:
      // The ACK of the peer's FIN can't wait for the output list when both came at once: the block goes.
      if ((m[t + FLAGS] & ACK_NOW) !== 0) sendBareAck(tcp, t);
      tcpFinish(tcp, t, true);
      return false;
    case LAST_ACK:
      tcpFinish(tcp, t, false);
      return false;
    default:
      return true;
  }
}
