/**
 * Tail loss probes (RFC 8985 7): when ACKs stay away, one segment asks for them, so that a loss at the tail is found
 * by its SACK, and not by a retransmission timeout.
 */
import type { AckNews } from './ack-news.ts';
import { COLD, FLAG, FLAG2, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { congestionLoss } from './congestion/control.ts';
import { recordList } from './records.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, FLAGS2, SND_UNA, SND_NXT, SND_AT, MSS, SRTT, BACKOFF, RECORDS, TLP_END } = TCB;
const { LOST_BYTES, SACKED_BYTES } = TCB;
const { SACK, RECOVERY, LOSS } = FLAG;
const { TLP, TLP_RXT, TLP_SPENT, TLP_DUE } = FLAG2;
const { PROBES } = COLD;

/** Worst-case delayed ACK of a peer whose own is not known (7.2's TLP.max_ack_delay), ms: Linux's and others' upper bound. */
const ACK_DELAY_MAX = 200;
/** What most peers' is, ms: 40, and a tick. */
const ACK_DELAY = 45;
/** ms from the last ACK, at least: two ticks of a kernel with 250 Hz, and what a busy peer of today may take to answer. */
const PTO_MIN = 8;

/** 7.2: no probe in recovery, while something is SACKed, or while another is out; nor before an RTT is known. */
export function probeAllowed(m: Int32Array, t: number): boolean {
  if ((m[t + FLAGS] & (SACK | RECOVERY | LOSS)) !== SACK || m[t + SRTT] === 0 || m[t + BACKOFF] !== 0)
    return false;
  if (m[t + RECORDS] === 0) return true;
  return (m[t + SACKED_BYTES] | m[t + LOST_BYTES]) === 0 && (m[t + FLAGS2] & (TLP | TLP_DUE)) === 0;
}

/**
 * ms from now, when SND.UNA moved by `acked` or something was sent (0), to the probe timeout.
 *
 * 7.2 waits for two SRTT after each of either, since after one an ACK may be late. Here it is 7/4 after the last sending,
 * as QUIC counts (RFC 9002 6.2.1), and 3/4 after the ACK, so that a lost tail takes less than two round trips longer.
 *
 * With one segment in flight 7.2 lets the sender (MAY) allow for a peer that waits for a second before it acknowledges:
 *
 *   sent alone                        the longest such wait: most requests are like that
 *   sent with others, of which the    the usual wait, from the ACK on: the peer acknowledges pairs, and this one may be
 *   ACK covers more than one          without a partner
 *   sent with others, of which the    none: the peer acknowledges each, or its wait for this one is over in vain
 *   ACK covers one
 */
export function probeTimeout(tcp: Tcp, t: number, acked: number): number {
  const m = tcp.m;
  const srtt = m[t + SRTT];
  const one = ((m[t + SND_NXT] - m[t + SND_UNA]) | 0) <= m[t + MSS];
  if (tcp.limits.habits === 'linux') return (((srtt >>> 2) / 1000) | 0) + (one ? ACK_DELAY_MAX : 2);
  const age = (tcp.nowMs - m[t + SND_AT]) | 0;
  let least = (((srtt >>> 3) - (srtt >>> 5)) / 1000) | 0;
  let floor = PTO_MIN;
  if (one) {
    // Sent later than what was acknowledged: alone at the peer. An eighth is for RTTs that vary.
    const alone = acked === 0 || age < ((((srtt >>> 3) - (srtt >>> 6)) / 1000) | 0);
    if (alone) return (((srtt >>> 2) / 1000) | 0) + 1 + ACK_DELAY_MAX;
    if (acked > m[t + MSS]) floor = ACK_DELAY;
    else least = ((srtt >>> 6) / 1000) | 0;
  }
  if (least < floor) least = floor;
  const after = ((((srtt >>> 2) - (srtt >>> 5)) / 1000) | 0) + 1 - age;
  return after > least ? after : least;
}

/** 7.3: the probe timeout is over. @returns whether a probe may go, which then waits for a tx slot. */
export function probeDue(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  if (!probeAllowed(m, t)) return false;
  // Not again before an RTT was measured.
  if ((m[t + FLAGS2] & TLP_SPENT) !== 0 && ((m[t + SND_UNA] - m[t + TLP_END]) | 0) <= 0) return false;
  // From now on there is a list, so that no ACK takes the short way.
  recordList(tcp, t);
  m[t + FLAGS2] |= TLP_DUE;
  return true;
}

/** Whether it is still to be sent, now that there is a slot; ACKs may have come. */
export function probeWanted(m: Int32Array, t: number): boolean {
  if ((m[t + FLAGS2] & TLP_DUE) === 0) return false;
  m[t + FLAGS2] &= ~TLP_DUE;
  if (m[t + SND_UNA] !== m[t + SND_NXT] && probeAllowed(m, t)) return true;
  return false;
}

/** The probe has left, SND.NXT moved if it was of new data. */
export function probeSent(tcp: Tcp, t: number, retransmission: boolean): void {
  const m = tcp.m;
  m[t + TLP_END] = m[t + SND_NXT];
  m[t + FLAGS2] = (m[t + FLAGS2] & ~(TLP_RXT | TLP_DUE)) | TLP | TLP_SPENT | (retransmission ? TLP_RXT : 0);
  m[coldOf(tcp, t) + PROBES]++;
  tcp.counters.tlpProbes++;
}

/** 7.4.2: was the probe, or what it repeated, needed? `plain`: the ACK brought nothing else. */
export function probeAnswered(tcp: Tcp, t: number, news: AckNews, plain: boolean): void {
  const m = tcp.m;
  const past = (m[t + SND_UNA] - m[t + TLP_END]) | 0;
  if (past < 0) return;
  if ((m[t + FLAGS2] & TLP_RXT) === 0 || news.dsackProbe) m[t + FLAGS2] &= ~TLP;
  else if (past > 0) {
    // The probe repaired a loss that nobody else has seen: the window shrinks as for any other.
    m[t + FLAGS2] &= ~TLP;
    tcp.counters.tlpRecoveries++;
    if ((m[t + FLAGS] & (RECOVERY | LOSS)) === 0) congestionLoss(tcp, t);
  } else if (plain) {
    // Both the original and the probe arrived.
    m[t + FLAGS2] &= ~TLP;
  }
}

/** A recovery begins, or the timer did what a probe would have done. */
export function probeForget(m: Int32Array, t: number): void {
  m[t + FLAGS2] &= ~(TLP | TLP_RXT | TLP_DUE);
}
