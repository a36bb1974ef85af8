/**
 * Delivery rate estimation (draft-ietf-ccwg-bbr 4.1): how fast data arrived between two ACKs, measured per flight, for
 * congestion control modules that have `sampled`. Other connections keep none of this.
 */
import type { AckNews } from './ack-news.ts';
import { COLD, FLAG2, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { congestionSampled } from './congestion/control.ts';
import { RECORD, RECORD_STATE } from './record-pool.ts';
import { inFlight, recordList, sentAfter } from './records.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS2, SND_UNA, SND_NXT, SNDQ_LENGTH, CWND, MIN_RTT, LOST_BYTES } = TCB;
const { SAMPLED } = FLAG2;
const {
  DELIVERED,
  DELIVERED_AT,
  FIRST_SENT_AT,
  LOST,
  APP_LIMITED,
  LOST_TOLD,
  RATE_DELIVERED,
  RATE_INTERVAL,
} = COLD;
const { START, END, SENT, STATE } = RECORD;
const R_DELIVERED = RECORD.DELIVERED;
const R_DELIVERED_AT = RECORD.DELIVERED_AT;
const R_FIRST_SENT_AT = RECORD.FIRST_SENT_AT;
const { TX_IN_FLIGHT, LOST_THEN } = RECORD;
const { RATED: S_RATED, APP_LIMITED: S_APP_LIMITED } = RECORD_STATE;

/** A module with `sampled` takes a synchronized connection over: from now on there are records of all that is sent. */
export function rateStart(tcp: Tcp, t: number): void {
  const m = tcp.m;
  m[t + FLAGS2] |= SAMPLED;
  recordList(tcp, t);
  const cold = coldOf(tcp, t);
  m[cold + DELIVERED_AT] = tcp.nowUs;
  m[cold + FIRST_SENT_AT] = tcp.nowUs;
  m[cold + LOST_TOLD] = m[cold + LOST];
}

/** One without takes over: the records that are there stay until they are acknowledged. */
export function rateStop(tcp: Tcp, t: number): void {
  const m = tcp.m;
  m[t + FLAGS2] &= ~SAMPLED;
  if (m[t + SND_UNA] === m[t + SND_NXT]) m[t + TCB.RECORDS] = 0;
}

/** 4.1.2.2, on sending: `r` was sent just now, and counts as in flight. */
export function rateMark(tcp: Tcp, t: number, r: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const pipe = inFlight(tcp, t);
  if (pipe === ((m[r + END] - m[r + START]) | 0)) {
    // Nothing else is in flight: time begins anew, so that idleness isn't measured.
    m[cold + FIRST_SENT_AT] = tcp.nowUs;
    m[cold + DELIVERED_AT] = tcp.nowUs;
  }
  m[r + R_DELIVERED] = m[cold + DELIVERED];
  m[r + R_DELIVERED_AT] = m[cold + DELIVERED_AT];
  m[r + R_FIRST_SENT_AT] = m[cold + FIRST_SENT_AT];
  m[r + TX_IN_FLIGHT] = pipe;
  m[r + LOST_THEN] = m[cold + LOST];
  m[r + STATE] =
    (m[r + STATE] & ~S_APP_LIMITED) | S_RATED | (m[cold + APP_LIMITED] !== 0 ? S_APP_LIMITED : 0);
}

/** 4.1.2.3's UpdateRateSample: `length` bytes, up to `end`, arrived; of record `r`, or of none that tells anything: 0. */
export function rateDelivered(
  tcp: Tcp,
  t: number,
  news: AckNews,
  r: number,
  end: number,
  length: number,
): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  m[cold + DELIVERED] = (m[cold + DELIVERED] + length) | 0;
  m[cold + DELIVERED_AT] = tcp.nowUs;
  if (r === 0 || (m[r + STATE] & S_RATED) === 0) return;
  const sent = m[r + SENT];
  if (news.rated && !sentAfter(sent, end, news.ratedSent, news.ratedEnd)) return;
  news.rated = true;
  news.ratedEnd = end;
  news.ratedSent = sent;
  news.priorDelivered = m[r + R_DELIVERED];
  news.sendElapsed = (sent - m[r + R_FIRST_SENT_AT]) | 0;
  news.ackElapsed = (tcp.nowUs - m[r + R_DELIVERED_AT]) | 0;
  news.txInFlight = m[r + TX_IN_FLIGHT];
  news.lostThen = m[r + LOST_THEN];
  news.appLimited = (m[r + STATE] & S_APP_LIMITED) !== 0;
  m[cold + FIRST_SENT_AT] = sent;
}

/** `r`, of `length` bytes, is marked lost. */
export function rateLost(tcp: Tcp, t: number, r: number, length: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  m[cold + LOST] += length;
  if ((m[r + STATE] & S_RATED) === 0) return;
  tcp.sample.lostTxInFlight = m[r + TX_IN_FLIGHT];
  tcp.sample.lostLostSince = (m[cold + LOST] - m[r + LOST_THEN]) | 0;
}

/** The program has no more to send than has left, while CWND would allow more (4.1.2.4). */
export function rateAppLimited(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const pipe = inFlight(tcp, t);
  if (m[t + SNDQ_LENGTH] > ((m[t + SND_NXT] - m[t + SND_UNA]) | 0)) return;
  if (pipe >= m[t + CWND] || m[t + LOST_BYTES] !== 0) return;
  const cold = coldOf(tcp, t);
  m[cold + APP_LIMITED] = (m[cold + DELIVERED] + pipe) | 0 || 1;
}

/**
 * A probe of a shut window is about to leave, with `fresh` bytes never sent before. It goes when a timer says so, and
 * tells no more of the path's rate than a program that is the limit.
 */
export function rateProbing(tcp: Tcp, t: number, fresh: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  m[cold + APP_LIMITED] = (m[cold + DELIVERED] + inFlight(tcp, t) + fresh) | 0 || 1;
}

/** 4.1.2.3's GenerateRateSample, once an ACK has been dealt with: the module hears what it told. */
export function rateReport(tcp: Tcp, t: number, news: AckNews): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const sample = tcp.sample;
  const limit = m[cold + APP_LIMITED];
  if (limit !== 0 && ((m[cold + DELIVERED] - limit) | 0) > 0) m[cold + APP_LIMITED] = 0;
  sample.acked = news.acked;
  sample.sacked = news.sacked;
  sample.lost = (m[cold + LOST] - m[cold + LOST_TOLD]) | 0;
  if (sample.acked === 0 && sample.sacked === 0 && sample.lost === 0 && sample.ceMarked === 0) return;
  m[cold + LOST_TOLD] = m[cold + LOST];
  sample.rtt_us = news.rttNewest;
  sample.priorInFlight = news.inFlight;
  sample.inFlight = inFlight(tcp, t);
  sample.delivered = (sample.acked + sample.sacked) | 0;
  sample.interval_us = 0;
  sample.priorDelivered = (m[cold + DELIVERED] - sample.delivered) | 0;
  sample.txInFlight = news.txInFlight;
  sample.lostSince = 0;
  sample.appLimited = news.appLimited;
  if (news.rated) {
    sample.priorDelivered = news.priorDelivered;
    sample.delivered = (m[cold + DELIVERED] - news.priorDelivered) | 0;
    sample.lostSince = (m[cold + LOST] - news.lostThen) | 0;
    const interval = news.sendElapsed > news.ackElapsed ? news.sendElapsed : news.ackElapsed;
    // Faster than any round trip was: ACKs that were compressed by chance, not a rate.
    if (interval > 0 && interval >= m[t + MIN_RTT]) {
      sample.interval_us = interval;
      m[cold + RATE_DELIVERED] = sample.delivered;
      m[cold + RATE_INTERVAL] = interval;
    }
  }
  congestionSampled(tcp, t);
  sample.ceMarked = 0;
  sample.lostTxInFlight = 0;
}
