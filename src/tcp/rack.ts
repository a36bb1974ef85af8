/**
 * RACK (RFC 8985 6): what was sent before something that has arrived is lost, once it is later than that by more than
 * reordering explains.
 */
import type { AckNews } from './ack-news.ts';
import { COLD, FLAG, LOSS_FLAG, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { RECORD } from './record-pool.ts';
import { recordLost, recordNewer, recordOldest, sentAfter } from './records.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, SND_UNA, SND_NXT, MSS, SRTT, MIN_RTT, DUPACKS, SACKED_BYTES, RECORDS } = TCB;
const { RACK_AT, RACK_END, RACK_RTT } = TCB;
const { RECOVERY, LOSS } = FLAG;
const { LOSS_FLAGS, REO_MULT, REO_PERSIST, OVERTAKEN, DSACK_ROUND: ROUND_END } = COLD;
const { REORDERING, DSACK_ROUND } = LOSS_FLAG;
const { SENT, END } = RECORD;

const DUP_THRESHOLD = 3;
/** Recoveries without a D-SACK after which the reordering window shrinks again. */
const PERSIST = 16;
/** Nothing is lost sooner after it was sent, us: the resolution of timers, and more than a breath of the peer's. */
const PATIENCE_MIN = 1000;

/** Steps 2 to 4, once all that an ACK reports has been told to the records. */
export function rackNews(tcp: Tcp, t: number, news: AckNews): void {
  const m = tcp.m;
  if (news.rackRtt >= 0) m[t + RACK_RTT] = news.rackRtt;
  const cold = coldOf(tcp, t);
  if (news.reordered && (m[cold + LOSS_FLAGS] & REORDERING) === 0) {
    m[cold + LOSS_FLAGS] |= REORDERING;
    tcp.counters.reorderingSeen++;
  }
  if (news.overtaken > m[cold + OVERTAKEN]) m[cold + OVERTAKEN] = news.overtaken;
  if ((m[cold + LOSS_FLAGS] & DSACK_ROUND) !== 0 && ((m[t + SND_UNA] - m[cold + ROUND_END]) | 0) >= 0)
    m[cold + LOSS_FLAGS] &= ~DSACK_ROUND;
  // A duplicate that we sent to probe the tail says nothing of reordering.
  if (news.dsack && !news.dsackProbe) rackWiden(tcp, t);
}

/** Something was sent again in vain: RACK waits longer, by one step for each round trip in which that happens. */
export function rackWiden(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  if ((m[cold + LOSS_FLAGS] & DSACK_ROUND) !== 0) return;
  m[cold + LOSS_FLAGS] |= DSACK_ROUND;
  m[cold + ROUND_END] = m[t + SND_NXT];
  m[cold + REO_MULT]++;
  m[cold + REO_PERSIST] = PERSIST;
}

/** A recovery is over: the window that D-SACKs have widened is kept for a while (6.2 step 4). */
export function rackRecovered(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  if (m[cold + REO_PERSIST] > 0 && --m[cold + REO_PERSIST] === 0) m[cold + REO_MULT] = 0;
}

/** RACK.reo_wnd, us (6.2 step 4). */
export function reorderingWindow(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  if ((m[cold + LOSS_FLAGS] & REORDERING) === 0) {
    if ((m[t + FLAGS] & (RECOVERY | LOSS)) !== 0) return 0;
    if (m[t + DUPACKS] >= DUP_THRESHOLD || m[t + SACKED_BYTES] > (DUP_THRESHOLD - 1) * m[t + MSS]) return 0;
  }
  const srtt = m[t + SRTT] >>> 3;
  const window = ((m[cold + REO_MULT] + 1) * m[t + MIN_RTT]) / 4;
  return window < srtt ? window | 0 : srtt;
}

/**
 * Step 5: marks what is lost by now. The ring by time of sending is read only as far as that, so that the work is that
 * of the marking.
 * @returns us until there may be more; 0: until something else arrives.
 */
export function rackDetect(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const h = m[t + RECORDS];
  if (h === 0) return 0;
  const patience = m[t + RACK_RTT] + reorderingWindow(tcp, t);
  const least = patience > PATIENCE_MIN || tcp.limits.habits === 'linux' ? patience : PATIENCE_MIN;
  for (let r = recordOldest(m, h); r !== 0; ) {
    const next = recordNewer(m, h, r);
    if (!sentAfter(m[t + RACK_AT], m[t + RACK_END], m[r + SENT], m[r + END])) {
      // What was sent in the same breath stands in the order of sending, and counts by sequence number.
      if (m[r + SENT] !== m[t + RACK_AT]) return 0;
      r = next;
      continue;
    }
    const remaining = (m[r + SENT] + least - tcp.nowUs) | 0;
    if (remaining > 0) return remaining;
    tcp.counters.rackLosses++;
    recordLost(tcp, t, r);
    r = next;
  }
  return 0;
}

/** 6.3, on a retransmission timeout: marks what is older than a round trip. */
export function rackTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const h = m[t + RECORDS];
  const rtt = m[t + RACK_RTT] || m[t + SRTT] >>> 3;
  const patience = rtt + reorderingWindow(tcp, t);
  for (let r = recordOldest(m, h); r !== 0; ) {
    if (((m[r + SENT] + patience - tcp.nowUs) | 0) > 0) return;
    const next = recordNewer(m, h, r);
    recordLost(tcp, t, r);
    r = next;
  }
}
