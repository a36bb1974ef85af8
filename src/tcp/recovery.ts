/**
 * What loss means for a connection: fast recovery (RFC 8985 with SACK, RFC 6582 without), recovery after a
 * retransmission timeout, and taking either back when it turns out to have been without cause (RFC 5682, RFC 3522,
 * RFC 4015, and by D-SACK). records.ts knows what is lost, output.ts sends it again.
 *
 *             loss found                      SND.UNA >= RECOVER
 *     open ──────────────► RECOVERY ───────────────────────────────► open
 *       ▲  timeout             │ timeout          "
 *       ├───────────────► LOSS ◄┘ ─────────────────────────────────►
 *       └─ undone: CWND and SSTHRESH as before, what counts as lost is in flight after all
 */
import type { AckNews } from './ack-news.ts';
import { COLD, FLAG, FLAG2, LOSS_FLAG, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { congestionLoss, congestionTimeout, congestionUndo } from './congestion/control.ts';
import { LIST_CONTROL, listPush } from './lists.ts';
import { lossIsCongestion } from './path.ts';
import { prrAck, prrSent, prrStart } from './prr.ts';
import { rackDetect, rackNews, rackRecovered, rackTimeout, rackWiden, reorderingWindow } from './rack.ts';
import { rateReport } from './rate.ts';
import {
  firstIsSacked,
  inFlight,
  recordFirstLost,
  recordList,
  recordLost,
  recordOldest,
  recordsFound,
  recordsReneged,
} from './records.ts';
import type { Segment } from './segment.ts';
import type { Tcp } from './tcp.ts';
import { reorderingStart, rtxResume, rtxStart } from './timers.ts';
import { probeAnswered, probeForget } from './tlp.ts';

const { FLAGS, FLAGS2, SND_UNA, SND_NXT, SNDQ_LENGTH, MSS, RECOVER, DUPACKS, CWND, SSTHRESH, IFACE } = TCB;
const { RECORDS, LOST_BYTES, SACKED_BYTES, TS_OFFSET, BACKOFF, RACK_FACK, MIN_RTT, MIN_RTT_AT, SRTT } = TCB;
const { SACK, RECOVERY, LOSS, PTO } = FLAG;
const { SAMPLED, REO, TLP, TLP_SPENT } = FLAG2;
const { LOSS_FLAGS, UNDO_UNA, UNDO_RXT, UNDO_TS, UNDOS } = COLD;
const { UNDO, UNDO_SENT, FRTO, FRTO_NEW, ANYWAY, REORDERING } = LOSS_FLAG;
const DUP_THRESHOLD = 3;
/** The path may have changed: the smallest RTT is looked for anew after that long, ms (RFC 8985 6.2 step 1). */
const MIN_RTT_AGE = 300_000;

/** An ACK is about to be handled that must be looked at closely: `news` starts afresh. */
export function newsStart(tcp: Tcp, t: number, s: Segment): void {
  const n = tcp.news;
  n.una = tcp.m[t + SND_UNA];
  n.inFlight = inFlight(tcp, t);
  n.highest = n.una;
  n.acked = 0;
  n.sacked = 0;
  n.original = 0;
  n.reordered = false;
  n.overtaken = 0;
  n.rttOldest = -1;
  n.rttNewest = -1;
  n.rackRtt = -1;
  n.early = false;
  n.echo = s.tsEcr;
  n.hasEcho = s.hasTimestamp === 1;
  n.dsack = false;
  n.dsackProbe = false;
  n.rated = false;
}

/**
 * The rest of an ACK that `news` is filled from: SND.UNA moved by `acked`, perhaps 0, or it is a `duplicate`
 * (RFC 5681 2's, or with SACK one that brings news).
 */
export function recoveryAck(tcp: Tcp, t: number, acked: number, duplicate: boolean): void {
  const m = tcp.m;
  const news = tcp.news;
  const sack = (m[t + FLAGS] & SACK) !== 0;
  const delivered = sack ? news.acked + news.sacked : deliveredWithoutSack(m, t, acked, duplicate);
  if (news.rttNewest >= 0) m[t + FLAGS2] &= ~TLP_SPENT;
  if (((tcp.nowMs - m[t + MIN_RTT_AT]) | 0) > MIN_RTT_AGE) {
    m[t + MIN_RTT_AT] = tcp.nowMs;
    m[t + MIN_RTT] = m[t + SRTT] >>> 3;
  }
  countDuplicates(tcp, t, acked, duplicate, sack);
  if (sack) {
    rackAdvance(m, t, news);
    rackNews(tcp, t, news);
  }
  if ((m[t + FLAGS2] & TLP) !== 0) probeAnswered(tcp, t, news, acked === 0 && news.sacked === 0);
  const undone = progress(tcp, t, news, acked, duplicate);

  const lostBefore = m[t + LOST_BYTES];
  let patience = 0;
  // What was late this time gets another reordering window, or it would be lost again at once.
  if (undone) patience = sack && m[t + RECORDS] !== 0 ? reorderingWindow(tcp, t) : 0;
  else if (sack) patience = rackDetect(tcp, t);
  else newRenoDetect(tcp, t, acked);
  const entering = m[t + LOST_BYTES] > 0 && (m[t + FLAGS] & (RECOVERY | LOSS)) === 0;
  if (entering) enterRecovery(tcp, t, delivered);
  if ((m[t + FLAGS] & RECOVERY) !== 0 && (m[t + FLAGS2] & SAMPLED) === 0)
    prrAck(tcp, t, delivered, acked > 0 && m[t + LOST_BYTES] <= lostBefore);

  if (m[t + SND_UNA] !== m[t + SND_NXT]) {
    if (patience > 0) reorderingStart(tcp, t, patience);
    else if (acked > 0) rtxStart(tcp, t, acked);
    else if ((m[t + FLAGS] & PTO) !== 0 || (m[t + FLAGS2] & REO) !== 0) rtxResume(tcp, t);
    // What is lost goes first; and what was SACKed left room, for limited transmit (RFC 3042) too.
    if (m[t + LOST_BYTES] > 0 || duplicate) listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
  }
}

/** At the very end of an ACK, once CWND has grown for it: the module hears of it, if it wants to. */
export function recoveryReport(tcp: Tcp, t: number): void {
  if ((tcp.m[t + FLAGS2] & SAMPLED) !== 0) rateReport(tcp, t, tcp.news);
}

/** RFC 8985 6.2: RACK.fack, once this ACK's deliveries have been compared with what it was. */
function rackAdvance(m: Int32Array, t: number, news: AckNews): void {
  if (((news.highest - m[t + RACK_FACK]) | 0) > 0) m[t + RACK_FACK] = news.highest;
}

/** RFC 9937 5's DeliveredData: a duplicate ACK is a segment, which the ACK that covers it doesn't count again. */
function deliveredWithoutSack(m: Int32Array, t: number, acked: number, duplicate: boolean): number {
  if (acked === 0) return duplicate ? m[t + MSS] : 0;
  const more = acked - m[t + DUPACKS] * m[t + MSS];
  return more > 0 ? more : 0;
}

function countDuplicates(tcp: Tcp, t: number, acked: number, duplicate: boolean, sack: boolean): void {
  const m = tcp.m;
  if (acked > 0) {
    // Without SACK the segments that a partial ACK covers no longer stand among the duplicates (RFC 6582 3.2 step 3).
    const recovering = (m[t + FLAGS] & (RECOVERY | LOSS)) !== 0;
    const left = sack
      ? Math.ceil(m[t + SACKED_BYTES] / m[t + MSS])
      : recovering
        ? m[t + DUPACKS] - ((acked / m[t + MSS]) | 0)
        : 0;
    if (left < m[t + DUPACKS]) m[t + DUPACKS] = left > 0 ? left : 0;
  }
  if (!duplicate) return;
  m[t + DUPACKS]++;
  if (
    m[t + DUPACKS] < DUP_THRESHOLD &&
    (m[t + FLAGS] & (RECOVERY | LOSS)) === 0 &&
    m[t + SNDQ_LENGTH] > ((m[t + SND_NXT] - m[t + SND_UNA]) | 0)
  )
    tcp.counters.limitedTransmits++;
}

/**
 * What this ACK says of the recovery under way: without cause, over, or F-RTO's next step.
 * @returns whether it was without cause.
 */
function progress(tcp: Tcp, t: number, news: AckNews, acked: number, duplicate: boolean): boolean {
  const m = tcp.m;
  const flags = m[t + FLAGS];
  const cold = coldOf(tcp, t);
  if (withoutCause(m, t, cold, news)) {
    undo(tcp, t);
    return true;
  }
  if ((flags & (RECOVERY | LOSS)) === 0) return false;
  const over = ((m[t + SND_UNA] - m[t + RECOVER]) | 0) >= 0;
  if ((flags & LOSS) !== 0 && (m[cold + LOSS_FLAGS] & FRTO) !== 0) {
    if (news.original > 0) {
      // RFC 5682 3.1 step 3b: what was sent once arrives after the timeout, so nothing had been lost.
      tcp.counters.frtoSpurious++;
      undo(tcp, t);
      return true;
    }
    if (duplicate || (acked > 0 && (m[cold + LOSS_FLAGS] & FRTO_NEW) !== 0)) {
      // Step 3a, or 2a: real.
      m[cold + LOSS_FLAGS] &= ~(FRTO | FRTO_NEW);
    } else if (acked > 0 && !over) {
      // Step 2b: new data first. What acknowledges it will tell.
      if (m[t + SNDQ_LENGTH] > ((m[t + SND_NXT] - m[t + SND_UNA]) | 0)) m[cold + LOSS_FLAGS] |= FRTO_NEW;
      else m[cold + LOSS_FLAGS] &= ~FRTO;
      m[t + RECOVER] = m[t + SND_NXT];
    }
  }
  if (over && ((m[t + SND_UNA] - m[t + RECOVER]) | 0) >= 0) leave(tcp, t);
  return false;
}

/**
 * Was the last reduction without cause? All that was sent again since was reported as duplicate (RFC 3708), or
 * acknowledged with an echo from before any of it was (RFC 3522); or what seemed lost came before any of it was sent again.
 */
function withoutCause(m: Int32Array, t: number, cold: number, news: AckNews): boolean {
  if ((m[cold + LOSS_FLAGS] & UNDO) === 0) return false;
  if ((m[cold + LOSS_FLAGS] & UNDO_SENT) === 0)
    return (m[t + FLAGS] & (SACK | RECOVERY)) === (SACK | RECOVERY) && m[t + LOST_BYTES] === 0;
  if (m[cold + UNDO_RXT] <= 0) return true;
  return news.early && ((news.echo - m[cold + UNDO_TS]) | 0) < 0;
}

function undo(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  tcp.counters.undos++;
  m[cold + UNDOS]++;
  recordsFound(tcp, t);
  congestionUndo(tcp, t);
  // Fast recovery begins without a loss only when order was lost instead.
  if ((m[t + FLAGS] & LOSS) === 0) {
    m[cold + LOSS_FLAGS] |= REORDERING;
    rackWiden(tcp, t);
  }
  m[cold + LOSS_FLAGS] &= ~(UNDO | UNDO_SENT | FRTO | FRTO_NEW | ANYWAY);
  m[t + FLAGS] &= ~(RECOVERY | LOSS);
  if ((m[t + FLAGS] & SACK) === 0) m[t + DUPACKS] = 0;
}

/** All that was outstanding when recovery began is acknowledged. */
function leave(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & RECOVERY) !== 0 && (m[t + FLAGS2] & SAMPLED) === 0) m[t + CWND] = m[t + SSTHRESH];
  m[t + FLAGS] &= ~(RECOVERY | LOSS);
  m[coldOf(tcp, t) + LOSS_FLAGS] &= ~(FRTO | FRTO_NEW | ANYWAY);
  if ((m[t + FLAGS] & SACK) !== 0) rackRecovered(tcp, t);
  else m[t + DUPACKS] = 0;
}

/** RFC 6582 3.2: the third duplicate ACK, and each partial one in recovery, show the first segment lost. */
function newRenoDetect(tcp: Tcp, t: number, acked: number): void {
  const m = tcp.m;
  if (m[t + SND_UNA] === m[t + SND_NXT]) return;
  if ((m[t + FLAGS] & RECOVERY) !== 0) {
    if (acked === 0) return;
    recordFirstLost(tcp, t, m[t + MSS]);
    m[coldOf(tcp, t) + LOSS_FLAGS] |= ANYWAY;
    return;
  }
  // Step 1: not for losses of the window that was reduced for already.
  if (
    (m[t + FLAGS] & LOSS) === 0 &&
    m[t + DUPACKS] >= DUP_THRESHOLD &&
    ((m[t + SND_UNA] - m[t + RECOVER]) | 0) > 0
  )
    recordFirstLost(tcp, t, m[t + MSS]);
}

function enterRecovery(tcp: Tcp, t: number, delivered: number): void {
  const m = tcp.m;
  tcp.counters.fastRecoveries++;
  if (lossIsCongestion(tcp, t)) {
    undoStart(tcp, t);
    congestionLoss(tcp, t);
  } else m[coldOf(tcp, t) + LOSS_FLAGS] &= ~(UNDO | UNDO_SENT);
  m[t + RECOVER] = m[t + SND_NXT];
  m[t + FLAGS] |= RECOVERY;
  m[coldOf(tcp, t) + LOSS_FLAGS] |= ANYWAY;
  prrStart(tcp, t, delivered, (m[t + FLAGS2] & TLP) !== 0);
  probeForget(m, t);
}

/** The reduction that comes now may turn out to be without cause. */
function undoStart(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  m[cold + LOSS_FLAGS] = (m[cold + LOSS_FLAGS] & ~UNDO_SENT) | UNDO;
  m[cold + UNDO_UNA] = m[t + SND_UNA];
  m[cold + UNDO_RXT] = 0;
}

/** RACK's reordering timer has expired: what is still not there is lost. */
export function reorderingTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const lostBefore = m[t + LOST_BYTES];
  const patience = rackDetect(tcp, t);
  if (m[t + LOST_BYTES] > lostBefore) {
    if ((m[t + FLAGS] & (RECOVERY | LOSS)) === 0) enterRecovery(tcp, t, 0);
    // No ACK gives a quota here: enough to send the first.
    if ((m[t + FLAGS] & RECOVERY) !== 0 && (m[t + FLAGS2] & SAMPLED) === 0) prrAck(tcp, t, 1, false);
    listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
  }
  if (patience > 0) reorderingStart(tcp, t, patience);
  else rtxResume(tcp, t);
}

/** The retransmission timer has expired (RFC 6298 5.4 to 5.6, RFC 8985 6.3); BACKOFF counts it already. */
export function timeoutLoss(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const again = (m[t + FLAGS] & (RECOVERY | LOSS)) !== 0;
  if (!again) undoStart(tcp, t);
  congestionTimeout(tcp, t);
  recordList(tcp, t);
  if (firstIsSacked(m, t)) {
    tcp.counters.sackReneges++;
    recordsReneged(tcp, t);
    markAll(tcp, t);
  } else if ((m[t + FLAGS] & SACK) !== 0) rackTimeout(tcp, t);
  else markAll(tcp, t);
  recordFirstLost(tcp, t, m[t + MSS]);
  lossStart(tcp, t);
  // RFC 5682 2.1 step 1: not in the recovery from an earlier loss, but for timeouts in a row.
  if (!again || m[t + BACKOFF] > 1) m[cold + LOSS_FLAGS] |= FRTO;
}

/** All that is outstanding and not SACKed is to be sent again, and congestion is not the reason. */
export function enterLoss(tcp: Tcp, t: number): void {
  const m = tcp.m;
  recordList(tcp, t);
  markAll(tcp, t);
  m[coldOf(tcp, t) + LOSS_FLAGS] &= ~(UNDO | UNDO_SENT);
  lossStart(tcp, t);
}

function markAll(tcp: Tcp, t: number): void {
  const h = tcp.m[t + RECORDS];
  for (let r = recordOldest(tcp.m, h); r !== 0; r = recordOldest(tcp.m, h)) recordLost(tcp, t, r);
}

function lossStart(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  m[t + DUPACKS] = 0;
  m[t + RECOVER] = m[t + SND_NXT];
  m[t + FLAGS] = (m[t + FLAGS] & ~RECOVERY) | LOSS;
  m[cold + LOSS_FLAGS] = (m[cold + LOSS_FLAGS] & ~(FRTO | FRTO_NEW)) | ANYWAY;
  probeForget(m, t);
}

/** `bytes` were sent again. */
export function recoveryResent(tcp: Tcp, t: number, bytes: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const flags = m[cold + LOSS_FLAGS];
  if ((flags & (UNDO | UNDO_SENT)) === UNDO) m[cold + UNDO_TS] = (tcp.nowMs + m[t + TS_OFFSET]) | 0;
  m[cold + LOSS_FLAGS] = (flags & ~ANYWAY) | ((flags & UNDO) !== 0 ? UNDO_SENT : 0);
  m[cold + UNDO_RXT] += bytes;
  if ((m[t + FLAGS] & RECOVERY) !== 0) prrSent(tcp, t, bytes);
}
