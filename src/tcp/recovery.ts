/**
 * Loss recovery: fast retransmit and recovery with SACK (RFC 6675) or without (NewReno, RFC 6582, where a
 * duplicate ACK stands for one SACKed segment), and what follows a retransmission timeout.
 *
 * Below the *lost edge* everything not SACKed counts as lost; HIGH_RXT says how far it was retransmitted.
 *
 *     SND.UNA      HIGH_RXT       lost edge            SND.NXT
 *        ├─retransmitted─┼──to be sent──┼──still in flight──┤      (less what is SACKed)
 */
import { FLAG, TCB } from './block.ts';
import { congestionLoss } from './congestion/control.ts';
import { LIST_CONTROL, listPush } from './lists.ts';
import { lossIsCongestion } from './path.ts';
import { sackAdvance, sackClear, sackedWithin, sackLostEdge } from './sack.ts';
import type { Tcp } from './tcp.ts';

const {
  FLAGS,
  SND_UNA,
  SND_NXT,
  MSS,
  RECOVER,
  HIGH_RXT,
  DUPACKS,
  SACKED_BYTES,
  SACKED_COUNT,
  CWND,
  SSTHRESH,
  IFACE,
} = TCB;
const { SACK, RECOVERY, LOSS, TIMING } = FLAG;
const DUP_THRESHOLD = 3;

/** Where what was sent stops counting as lost. */
export function lostEdge(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const flags = m[t + FLAGS];
  if ((flags & LOSS) !== 0) return m[t + RECOVER];
  if ((flags & SACK) !== 0) {
    const edge = sackLostEdge(tcp, t);
    // In recovery the first segment is lost at least (RFC 6675 5, step 4).
    if ((flags & RECOVERY) !== 0 && edge === m[t + SND_UNA]) return firstEdge(m, t);
    return edge;
  }
  return (flags & RECOVERY) !== 0 ? firstEdge(m, t) : m[t + SND_UNA];
}

function firstEdge(m: Int32Array, t: number): number {
  const edge = (m[t + SND_UNA] + m[t + MSS]) | 0;
  return ((edge - m[t + SND_NXT]) | 0) > 0 ? m[t + SND_NXT] : edge;
}

/** RFC 6675's pipe: bytes that are believed to be in the network. */
export function inFlight(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const outstanding = (m[t + SND_NXT] - m[t + SND_UNA]) | 0;
  if ((m[t + FLAGS] & (RECOVERY | LOSS)) === 0 && m[t + SACKED_COUNT] === 0 && m[t + DUPACKS] === 0)
    return outstanding;
  const edge = lostEdge(tcp, t);
  const high = ((m[t + HIGH_RXT] - m[t + SND_UNA]) | 0) > 0 ? m[t + HIGH_RXT] : m[t + SND_UNA];
  let pipe = outstanding;
  if ((m[t + FLAGS] & SACK) !== 0) pipe -= m[t + SACKED_BYTES];
  else pipe -= m[t + DUPACKS] * m[t + MSS];
  if ((m[t + FLAGS] & (RECOVERY | LOSS)) !== 0 && ((edge - high) | 0) > 0) {
    pipe -= ((edge - high) | 0) - sackedWithin(tcp, t, high, edge);
  }
  return pipe > 0 ? pipe : 0;
}

/** A duplicate ACK, or one that SACKed something new: is anything lost by now? */
export function duplicateAck(tcp: Tcp, t: number): void {
  const m = tcp.m;
  m[t + DUPACKS]++;
  if ((m[t + FLAGS] & (RECOVERY | LOSS)) !== 0) {
    listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
    return;
  }
  const lost =
    m[t + DUPACKS] >= DUP_THRESHOLD ||
    ((m[t + FLAGS] & SACK) !== 0 && ((sackLostEdge(tcp, t) - m[t + SND_UNA]) | 0) > 0);
  // RFC 6582 3.2 step 2: no second reduction for losses of the window that was reduced for already.
  if (lost && ((m[t + SND_UNA] - m[t + RECOVER]) | 0) >= 0) enterRecovery(tcp, t);
  // Limited transmit (RFC 3042): what left the network makes room in `inFlight`.
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
}

function enterRecovery(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.counters.fastRecoveries++;
  if (lossIsCongestion(tcp, t)) congestionLoss(tcp, t);
  m[t + RECOVER] = m[t + SND_NXT];
  m[t + HIGH_RXT] = m[t + SND_UNA];
  m[t + FLAGS] = (m[t + FLAGS] & ~TIMING) | RECOVERY;
}

/** After a timeout everything outstanding counts as lost; SACKs are forgotten, since peers may renege. */
export function enterLoss(tcp: Tcp, t: number): void {
  const m = tcp.m;
  sackClear(tcp, t);
  m[t + DUPACKS] = 0;
  m[t + RECOVER] = m[t + SND_NXT];
  m[t + HIGH_RXT] = m[t + SND_UNA];
  m[t + FLAGS] = (m[t + FLAGS] & ~RECOVERY) | LOSS;
}

/** SND.UNA moved by `acked` while recovery state exists. */
export function recoveryAcked(tcp: Tcp, t: number, acked: number): void {
  const m = tcp.m;
  if (m[t + SACKED_COUNT] !== 0) sackAdvance(tcp, t);
  const una = m[t + SND_UNA];
  if (((m[t + HIGH_RXT] - una) | 0) < 0) m[t + HIGH_RXT] = una;
  if ((m[t + FLAGS] & (RECOVERY | LOSS)) === 0) {
    m[t + DUPACKS] = 0;
    return;
  }
  if (((una - m[t + RECOVER]) | 0) >= 0) {
    if ((m[t + FLAGS] & RECOVERY) !== 0) m[t + CWND] = m[t + SSTHRESH];
    m[t + FLAGS] &= ~(RECOVERY | LOSS);
    m[t + DUPACKS] = 0;
    return;
  }
  // A partial ACK (RFC 6582 3.2 step 3): the segments it covers no longer stand among the duplicate ACKs.
  const segments = (acked / m[t + MSS]) | 0;
  m[t + DUPACKS] = m[t + DUPACKS] > segments ? m[t + DUPACKS] - segments : 0;
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
}
