/**
 * Explicit Congestion Notification: what SYNs agree on (RFC 3168 6.1.1, RFC 9768 3.1), classic feedback by ECE and CWR
 * (RFC 3168 6.1.2, 6.1.3), and the response to marks, once a window. The counters of AccECN are in accecn.ts.
 *
 * A connection without ECN has none of PATH's bits and comes here for its handshake only.
 */
import {
  FLAG_ACK as ACK,
  FLAG_AE as AE,
  FLAG_CWR as CWR,
  FLAG_ECE as ECE,
  FLAG_SYN as SYN,
} from '../wire/tcp.ts';
import { accEcnHandshakeAck, accEcnInput, accEcnStart, accEcnSynFeedback, aceHandshake } from './accecn.ts';
import { COLD, FLAG, FLAG2, PATH_FLAG, PATH_SHIFT, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { congestionCe } from './congestion/control.ts';
import { ackNow } from './input.ts';
import { ackAtOnce } from './output.ts';
import type { Segment } from './segment.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, FLAGS2, PATH, SND_UNA, SND_NXT, CC, BACKOFF, RTX_AT: RETRIES } = TCB;
const { RECOVERY, LOSS, MINI } = FLAG;
const { ECN_ASK, ACCECN_ASK, CE_ROUND, CE_IGNORED, SAMPLED } = FLAG2;
const { R_CEP, CE_RECOVER } = COLD;
const { ECN, ECN_CLASSIC, ECN_ACCURATE, ECT, ECT0, ECT1, LAST_ECN, OPTION, HANDSHAKE, ACE, MARKS } =
  PATH_FLAG;
const { ECE: ECE_OWED, CWR: CWR_DUE } = PATH_FLAG;
const { LAST_ECN: LAST_SHIFT, ACE: ACE_SHIFT } = PATH_SHIFT;
const [F_ACK, F_SYN, F_ECE, F_CWR, F_AE] = [ACK, SYN, ECE, CWR, AE];
const F_ACE = F_AE | F_CWR | F_ECE;
/** Where ECE, CWR and AE stand among the flags, as a number of three bits. */
const F_ACE_SHIFT = 6;
const CE = 3;

/**
 * `off`: never. `passive`: either form when the peer asks. `on`: asks for classic ECN too; `accurate`: asks for AccECN,
 * which falls back to classic.
 */
export const ECN_MODES = ['off', 'passive', 'on', 'accurate'] as const;
export type EcnMode = (typeof ECN_MODES)[number];

/** ECE, CWR and AE of a segment, as a number: bit 0 is ECE, as RFC 9768's tables have it. */
export function aceOf(flags: number): number {
  return (flags >> F_ACE_SHIFT) & 7;
}

// ── Handshake ─────────────────────────────────────────────────────────────────────────────────────────────

/** An active open begins: what its SYN is to ask for. */
export function ecnOpen(m: Int32Array, t: number, mode: EcnMode): void {
  if (mode === 'on') m[t + FLAGS2] |= ECN_ASK;
  else if (mode === 'accurate') m[t + FLAGS2] |= ACCECN_ASK;
}

/**
 * Flags of our SYN. After a timeout without ECE and CWR, which old firewalls drop (RFC 3168 6.1.1.1); AccECN's are
 * tried twice (RFC 9768 3.1.4.1).
 */
export function ecnSynFlags(m: Int32Array, t: number): number {
  const asked = m[t + FLAGS2];
  if ((asked & ACCECN_ASK) !== 0) return m[t + BACKOFF] <= 1 ? F_ACE : 0;
  return (asked & ECN_ASK) !== 0 && m[t + BACKOFF] === 0 ? F_CWR | F_ECE : 0;
}

/**
 * A SYN has come, to a block without ECN bits. Any combination but the two older ones asks for AccECN (RFC 9768 3.1.3).
 * @param mode What this end is willing to do.
 */
export function ecnSyn(tcp: Tcp, t: number, s: Segment, mode: EcnMode): void {
  const m = tcp.m;
  const asks = aceOf(s.flags);
  const ecn = tcp.ip.packet.tos & 3;
  if (mode === 'off' || asks === 0) return;
  if (asks === 3) {
    // RFC 3168 6.1.1: a SYN is never ECT. Somebody rewrites the field, and only AccECN's feedback could tell whom.
    if (ecn === 0) m[t + PATH] |= ECN_CLASSIC | ECT0;
    return;
  }
  // r.cep is 5, whatever mark the SYN had (3.2.2.2).
  m[t + PATH] |= ECN_ACCURATE | ECT0 | OPTION | (ecn << LAST_SHIFT) | (5 << ACE_SHIFT);
}

/**
 * The peer's SYN has crossed ours. It goes by ours as if that had come alone (RFC 9768 3.1.2), so what is in force is the
 * less of what both ask for: whoever asked for classic ECN, or none, is taken at its word.
 */
export function ecnSynCrossed(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  if (tcp.limits.habits === 'bsd' && (m[t + FLAGS2] & (ACCECN_ASK | ECN_ASK)) === 0) {
    // FreeBSD agrees to what it wouldn't ask for, as if it had sent no SYN.
    ecnSyn(tcp, t, s, tcp.limits.ecn);
    ecnStart(tcp, t);
    return;
  }
  if ((m[t + FLAGS2] & ACCECN_ASK) !== 0) ecnSyn(tcp, t, s, 'accurate');
  else if ((m[t + FLAGS2] & ECN_ASK) !== 0 && aceOf(s.flags) !== 0 && (tcp.ip.packet.tos & 3) === 0)
    m[t + PATH] |= ECN_CLASSIC | ECT0;
  // Which of our SYNs it has, we can't know (RFC 9768 3.1.5, RFC 3168 6.1.1).
  if (ecnSynFlags(m, t) === 0) m[t + PATH] &= ~ECT;
  ecnStart(tcp, t);
}

/**
 * The SYN of a half-open connection came again.
 * @returns false when it asks for another kind of feedback than before: then neither end could know which is in force
 *   (RFC 9768 3.1.5), and the connection is to be reset.
 */
export function ecnSynAgain(tcp: Tcp, t: number, s: Segment): boolean {
  const m = tcp.m;
  const mode = m[t + PATH] & ECN;
  if (mode === 0) return true;
  const asks = aceOf(s.flags);
  if (asks === 0) {
    // The peer has stopped asking, so it may have heard nothing of ours: feedback as agreed, but no ECT (3.1.5).
    m[t + PATH] &= ~ECT;
  } else if ((asks === 3) !== (mode === ECN_CLASSIC)) {
    return false;
  }
  if (mode === ECN_ACCURATE) {
    // The SYN-ACK feeds back the latest SYN's field, without the option this time (3.2.3.2.2).
    m[t + PATH] = (m[t + PATH] & ~(LAST_ECN | OPTION)) | ((tcp.ip.packet.tos & 3) << LAST_SHIFT);
  }
  return true;
}

/** Flags of our SYN-ACK, from a half-open block or in a simultaneous open. */
export function ecnSynAckFlags(m: Int32Array, t: number): number {
  const mode = m[t + PATH] & ECN;
  if (mode === 0) return 0;
  if (mode === ECN_CLASSIC) return F_ECE;
  const tries = (m[t + FLAGS] & MINI) !== 0 ? m[t + RETRIES] : m[t + BACKOFF];
  // RFC 9768 3.2.3.2.2: the first again goes without the option, the next without any sign of ECN.
  if (tries > 0) m[t + PATH] &= ~OPTION;
  if (tries > 1) {
    m[t + PATH] &= ~ECT;
    return 0;
  }
  return aceHandshake((m[t + PATH] >>> LAST_SHIFT) & 3) << F_ACE_SHIFT;
}

/** The SYN-ACK of an active open: what the peer agrees to (RFC 9768 table 2). */
export function ecnSynAck(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const asked = m[t + FLAGS2];
  const answer = aceOf(s.flags);
  if ((asked & ACCECN_ASK) !== 0) {
    // 0: no ECN there; 7: a broken server that reflects our flags.
    if (answer === 0 || answer === 7) return;
    if (answer !== 1) {
      const ecn = tcp.ip.packet.tos & 3;
      m[t + PATH] |= ECN_ACCURATE | ECT0 | OPTION | HANDSHAKE | (ecn << LAST_SHIFT);
      tcp.counters.ecnAccurate++;
      accEcnStart(tcp, t, ecn === CE ? 1 : 0);
      ecnCodepoint(tcp, t);
      accEcnSynFeedback(tcp, t, s);
      return;
    }
  } else if ((asked & ECN_ASK) === 0 || (answer & 3) !== 1) {
    return;
  }
  tcp.counters.ecnClassic++;
  // Who has also sent a SYN without ECN can't know which of them the peer goes by: no ECT then (RFC 3168 6.1.1).
  m[t + PATH] |= ecnSynFlags(m, t) === 0 ? ECN_CLASSIC : ECN_CLASSIC | ECT0;
}

/**
 * A SYN came again on a connection that is no longer opening, and is about to be acknowledged. When it is the SYN-ACK the
 * first ACK was lost, and this one has the same encoding (RFC 9768 3.2.2.1): on an ACK of its own, since whoever has had
 * our ACK, as a peer that has sent data, reads a counter there.
 */
export function ecnSynAckAgain(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  if ((m[t + PATH] & ECN) !== ECN_ACCURATE || (s.flags & F_ACK) === 0) return;
  if (s.seq !== m[t + TCB.IRS] || m[t + TCB.RCV_NXT] !== ((s.seq + 1) | 0)) return;
  const ecn = tcp.ip.packet.tos & 3;
  m[t + PATH] = (m[t + PATH] & ~LAST_ECN) | (ecn << LAST_SHIFT) | HANDSHAKE;
  ackAtOnce(tcp, t);
  m[t + PATH] &= ~HANDSHAKE;
}

/** The side that has sent a SYN-ACK, or will, has a full block from here on. */
export function ecnStart(tcp: Tcp, t: number): void {
  const mode = tcp.m[t + PATH] & ECN;
  if (mode === ECN_CLASSIC) tcp.counters.ecnClassic++;
  if (mode !== ECN_ACCURATE) return;
  tcp.counters.ecnAccurate++;
  accEcnStart(tcp, t, 0);
  ecnCodepoint(tcp, t);
}

/**
 * The ACK that ends the handshake on that side.
 * @param again The SYN-ACK was sent more than once: perhaps its option was why (RFC 9768 3.2.3.2.2).
 */
export function ecnHandshakeAck(tcp: Tcp, t: number, s: Segment, again: boolean): void {
  const m = tcp.m;
  const crossed = (s.flags & F_SYN) !== 0;
  if (crossed) crossedSynAck(tcp, t, s);
  if ((m[t + PATH] & ECN) !== ECN_ACCURATE) return;
  m[t + PATH] &= ~OPTION;
  if (again) m[t + FLAGS2] |= FLAG2.ACCECN_OPTIONS_OFF;
  // No counter stands on a SYN (RFC 9768 3.2.2).
  const sCep = crossed ? m[coldOf(tcp, t) + COLD.S_CEP] : accEcnHandshakeAck(tcp, t, s);
  // Spent: to what follows with this segment the field shall be a counter that stands still.
  s.flags = (s.flags & ~F_ACE) | ((sCep & 7) << F_ACE_SHIFT);
}

/** The SYN-ACK of a simultaneous open: the peer says which mode it is in. */
function crossedSynAck(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const mode = m[t + PATH] & ECN;
  if (mode === 0) return;
  const answer = aceOf(s.flags);
  if (mode === ECN_CLASSIC ? (answer & 3) === 1 : answer > 1 && answer !== 7) {
    if (mode === ECN_ACCURATE) accEcnSynFeedback(tcp, t, s);
    return;
  }
  // Another than ours: its flags mean nothing to us (RFC 9768 table 4, note 1).
  m[t + PATH] &= ~ECT;
  m[t + FLAGS2] |= CE_IGNORED;
}

/** An ACK has brought a SYN cookie back. AccECN is in no cookie: its flags can be no other's (RFC 9768 5.1). */
export function ecnCookie(tcp: Tcp, t: number, s: Segment, mode: EcnMode): void {
  if (mode !== 'off' && (tcp.m[t + PATH] & ECN) === 0 && aceOf(s.flags) >= 2) {
    tcp.m[t + PATH] |= ECN_ACCURATE | ECT0;
  }
  ecnStart(tcp, t);
  ecnHandshakeAck(tcp, t, s, false);
}

/** Data that may be ECT is ECT(0), or ECT(1) when the congestion control is made for it (RFC 9331 4.1, which needs AccECN). */
export function ecnCodepoint(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + PATH] & ECT) === 0) return;
  const l4s = (m[t + PATH] & ECN) === ECN_ACCURATE && tcp.congestions[m[t + CC]].l4s === true;
  m[t + PATH] = (m[t + PATH] & ~ECT) | (l4s ? ECT1 : ECT0);
}

// ── Established ───────────────────────────────────────────────────────────────────────────────────────────

/** An acceptable segment whose ACK is yet to be accepted. */
export function ecnInput(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & CE_ROUND) !== 0 && ((s.ack - m[coldOf(tcp, t) + CE_RECOVER]) | 0) > 0) {
    m[t + FLAGS2] &= ~CE_ROUND;
  }
  if ((m[t + PATH] & ECN) === ECN_ACCURATE) accEcnInput(tcp, t, s);
  else classicInput(tcp, t, s);
}

/** RFC 3168 6.1.3 for the data, 6.1.2 for the ACK. */
function classicInput(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  if (s.length > 0) {
    if ((s.flags & F_CWR) !== 0) {
      m[t + PATH] &= ~ECE_OWED;
      // The sender's window may be so small that it waits for this ACK.
      ackNow(tcp, t);
    }
    if ((tcp.ip.packet.tos & 3) === CE) {
      m[t + PATH] |= ECE_OWED;
      m[coldOf(tcp, t) + R_CEP]++;
      ackNow(tcp, t);
    }
  }
  if ((s.flags & (F_ECE | F_SYN)) === F_ECE && ackInFlight(m, t, s)) marked(tcp, t, s);
}

/** Whether the ACK is of what was sent and not superseded. */
function ackInFlight(m: Int32Array, t: number, s: Segment): boolean {
  return ((s.ack - m[t + SND_UNA]) | 0) >= 0 && ((s.ack - m[t + SND_NXT]) | 0) <= 0;
}

/**
 * An ACK told of marks: the window doesn't grow for it (RFC 3168 6.1.2), and shrinks unless it has for this window of
 * data, because of a mark or a loss.
 */
export function marked(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & CE_IGNORED) !== 0) return;
  if ((m[t + FLAGS] & (RECOVERY | LOSS)) !== 0) return;
  // Modules that model the path set the window themselves, and were told by the sample.
  if ((m[t + FLAGS2] & SAMPLED) === 0) tcp.cwndHeld = m[t + TCB.CWND];
  if ((m[t + FLAGS2] & CE_ROUND) !== 0 && ((s.ack - m[coldOf(tcp, t) + CE_RECOVER]) | 0) <= 0) return;
  tcp.counters.ecnReductions++;
  congestionCe(tcp, t);
  tcp.cwndHeld = 0;
  windowReduced(tcp, t);
}

/** CWND was reduced, for whatever reason: CWR says so to a classic peer (RFC 3168 6.1.2), and a round begins. */
export function windowReduced(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + PATH] & ECN) === ECN_CLASSIC) m[t + PATH] |= CWR_DUE;
  m[coldOf(tcp, t) + CE_RECOVER] = m[t + SND_NXT];
  m[t + FLAGS2] |= CE_ROUND;
}

/** The window that [SND.UNA, …) belongs to was reduced for already, because of a mark. */
export function reducedByMark(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  if ((m[t + FLAGS2] & CE_ROUND) === 0) return false;
  return ((m[t + SND_UNA] - m[coldOf(tcp, t) + CE_RECOVER]) | 0) < 0;
}

/**
 * Header flags of a segment with ACK and without SYN.
 * @param fresh Data that is sent the first time.
 */
export function ecnFlags(m: Int32Array, t: number, fresh: boolean): number {
  const path = m[t + PATH];
  if ((path & ECN) === ECN_ACCURATE) {
    m[t + PATH] = path & ~MARKS;
    return ((path & ACE) >>> ACE_SHIFT) << F_ACE_SHIFT;
  }
  const echo = (path & ECE_OWED) !== 0 ? F_ECE : 0;
  if (!fresh || (path & CWR_DUE) === 0) return echo;
  m[t + PATH] = path & ~CWR_DUE;
  return echo | F_CWR;
}

/** Flags of the pure ACK that answers a SYN-ACK (RFC 9768 3.2.2.1). */
export function ecnHandshakeFlags(m: Int32Array, t: number): number {
  const path = m[t + PATH];
  m[t + PATH] = path & ~(HANDSHAKE | MARKS);
  return aceHandshake((path >>> LAST_SHIFT) & 3) << F_ACE_SHIFT;
}
