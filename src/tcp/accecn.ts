/**
 * AccECN's feedback (RFC 9768 3.2): each end counts the marks that it receives, tells the low bits of the count in every
 * header (ACE) and the marked bytes in an option, and follows the peer's counts of what it has sent itself.
 *
 *     receiver  r.cep (packets), r.ceb, r.e0b, r.e1b (payload bytes)  ──ACE, option──►  sender  s.cep, s.ceb
 *
 * Nobody needs s.e0b and s.e1b, so they aren't kept.
 */
import { DESC_AUX, DESC_FLAGS, FRAME_SEGMENT } from '../memory/ring.ts';
import {
  accEcnCounter,
  OPTION_ACCECN0,
  OPTION_ACCECN1,
  OPTION_NOP,
  tcpAccEcnWrite,
} from '../wire/tcp-options.ts';
import { COLD, FLAG, FLAG2, PATH_FLAG, PATH_SHIFT, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { aceOf, marked } from './ecn.ts';
import { ackNow } from './input.ts';
import { sackAdvances } from './sack.ts';
import type { Segment } from './segment.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, FLAGS2, PATH, SND_UNA, SND_NXT, TS_RECENT, ACK_OWED, MSS, ISS } = TCB;
const { TS } = FLAG;
const { ACCECN_OPTIONS, ACCECN_OPTIONS_BAD, ACCECN_OPTIONS_OFF, CE_IGNORED } = FLAG2;
const { R_CEP, R_E0B, R_CEB, R_E1B, S_CEP, S_CEB } = COLD;
/** Its low half. */
const { TOLD_MTU: ACKED_AVERAGE } = COLD;
const { ECT, ACE, LAST_ECN, OPTION, MARKS } = PATH_FLAG;
const { ACE: ACE_SHIFT, LAST_ECN: LAST_SHIFT, MARKS: MARKS_SHIFT } = PATH_SHIFT;
const [AUX, FRAME_FLAGS, SEGMENT] = [DESC_AUX, DESC_FLAGS, FRAME_SEGMENT];

/** IP-ECN codepoints (RFC 3168 5). */
const [NOT_ECT, ECT_1, ECT_0, CE] = [0, 1, 2, 3];
/** 3.2.1 */
const CEP_INITIAL = 5;
const BYTES_INITIAL = 1;
/** RFC 9768 table 3 and the first block of table 2: the field by IP-ECN codepoint. */
const HANDSHAKE_ACE = [0b010, 0b011, 0b100, 0b110];
/** ACKs that cover more packets than this on average say nothing of lost ACKs (A.2.1). */
const ACKED_AVERAGE_MAX = 4;
/** When so many packets, all that were ever acknowledged, came back marked, the marks are no congestion (3.2.2.3). */
const MARKS_MANGLED = 32;

export function aceHandshake(ecn: number): number {
  return HANDSHAKE_ACE[ecn];
}

/** Both halves of a full block enter AccECN mode. @param marks CE on the SYN-ACK counts, CE on a SYN doesn't (3.2.2.2). */
export function accEcnStart(tcp: Tcp, t: number, marks: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  m[cold + R_CEP] = CEP_INITIAL + marks;
  m[cold + R_E0B] = BYTES_INITIAL;
  m[cold + R_E1B] = BYTES_INITIAL;
  m[cold + R_CEB] = 0;
  m[cold + S_CEP] = CEP_INITIAL;
  m[cold + S_CEB] = 0;
  aceUpdate(m, t, m[cold + R_CEP]);
}

function aceUpdate(m: Int32Array, t: number, cep: number): void {
  m[t + PATH] = (m[t + PATH] & ~ACE) | ((cep & 7) << ACE_SHIFT);
}

/** The SYN-ACK says with what field our SYN arrived, and we had sent it Not-ECT (3.2.2.3). */
export function accEcnSynFeedback(tcp: Tcp, t: number, s: Segment): void {
  const ace = aceOf(s.flags);
  if (s.hasOptions === 1) readOptions(tcp, t);
  // 101 is reserved, and stands for "unchanged" (3.1.3).
  if (ace === HANDSHAKE_ACE[NOT_ECT] || ace === 0b101) return;
  mangled(tcp, t);
  if (ace === HANDSHAKE_ACE[CE]) marked(tcp, t, s);
}

/**
 * The first ACK of our SYN-ACK (RFC 9768 table 4), which was Not-ECT too.
 * @returns s.cep
 */
export function accEcnHandshakeAck(tcp: Tcp, t: number, s: Segment): number {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const ace = aceOf(s.flags);
  if (s.hasOptions === 1) readOptions(tcp, t);
  if (ace === 0) {
    // The peer isn't in AccECN mode, or its header was changed (table 4, note 1; 3.2.2.4).
    m[t + FLAGS2] |= CE_IGNORED;
    mangled(tcp, t);
  } else if (s.length > 0 || (s.hasOptions === 1 && tcp.options.sackCount > 0)) {
    // No handshake encoding: the pure ACK before was lost, and this is the counter.
    m[cold + S_CEP] += (ace - m[cold + S_CEP]) & 7;
    if (m[cold + S_CEP] !== CEP_INITIAL) marked(tcp, t, s);
  } else if (ace === HANDSHAKE_ACE[ECT_1] || ace === HANDSHAKE_ACE[ECT_0]) {
    mangled(tcp, t);
  } else if (ace === HANDSHAKE_ACE[CE]) {
    m[cold + S_CEP] = CEP_INITIAL + 1;
    mangled(tcp, t);
    marked(tcp, t, s);
  }
  return m[cold + S_CEP];
}

/** Somebody on the path rewrites IP-ECN fields: no more ECT, while feedback goes on in both directions (3.2.2.3). */
function mangled(tcp: Tcp, t: number): void {
  tcp.counters.ecnMangled++;
  tcp.m[t + PATH] &= ~ECT;
}

/** Of segments that aren't acceptable RFC 9768 counts none; Linux counts those that bring only what was received. */
export function accEcnDuplicate(tcp: Tcp, t: number, s: Segment): void {
  if ((tcp.m[t + PATH] & PATH_FLAG.ECN) === PATH_FLAG.ECN_ACCURATE) countReceived(tcp, t, s);
}

/**
 * `bytes` came again, up to `end`, with what is new or with nothing. Linux counts them; and that they come again although
 * their D-SACK was told is for it a sign that ACKs with the option don't arrive.
 */
export function accEcnAgain(tcp: Tcp, t: number, bytes: number, end: number): void {
  const m = tcp.m;
  if ((m[t + PATH] & PATH_FLAG.ECN) !== PATH_FLAG.ECN_ACCURATE) return;
  const ecn = tcp.ip.packet.tos & 3;
  if (ecn !== NOT_ECT) m[coldOf(tcp, t) + (ecn === ECT_0 ? R_E0B : ecn === ECT_1 ? R_E1B : R_CEB)] += bytes;
  if (m[t + TCB.DSACK_START] !== m[t + TCB.DSACK_END] || m[t + TCB.DSACK_END] !== end) return;
  // Neither sent nor read from now on.
  m[t + FLAGS2] |= ACCECN_OPTIONS_OFF | ACCECN_OPTIONS_BAD;
  m[t + PATH] &= ~OPTION;
}

export function accEcnInput(tcp: Tcp, t: number, s: Segment): void {
  countReceived(tcp, t, s);
  readFeedback(tcp, t, s);
}

// ── Data receiver ─────────────────────────────────────────────────────────────────────────────────────────

/** Counts the segment's marks, and has them told in time (3.2.2.5.1). */
function countReceived(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const path = m[t + PATH];
  const ecn = tcp.ip.packet.tos & 3;
  const last = (path & LAST_ECN) >>> LAST_SHIFT;
  if (ecn !== last) m[t + PATH] = (path & ~LAST_ECN) | (ecn << LAST_SHIFT);
  if (ecn === NOT_ECT) return;
  const cold = coldOf(tcp, t);
  if (s.length > 0) {
    m[cold + (ecn === ECT_0 ? R_E0B : ecn === ECT_1 ? R_E1B : R_CEB)] += s.length;
    if ((m[t + FLAGS2] & ACCECN_OPTIONS_OFF) === 0) m[t + PATH] |= OPTION;
  }
  if (ecn !== CE) return;
  const packets = packetsOf(tcp, s);
  m[cold + R_CEP] += packets;
  aceUpdate(m, t, m[cold + R_CEP]);
  const untold = ((m[t + PATH] & MARKS) >>> MARKS_SHIFT) + packets;
  m[t + PATH] = (m[t + PATH] & ~MARKS) | ((untold < 3 ? untold : 3) << MARKS_SHIFT);
  const changed = s.length > 0 && last !== CE;
  if (changed || untold >= (s.length > 0 || m[t + ACK_OWED] > 0 ? 2 : 3)) ackNow(tcp, t);
}

/** A frame may hold many segments, which had one IP-ECN field between them, or they would not have been joined. */
function packetsOf(tcp: Tcp, s: Segment): number {
  const m = tcp.m;
  if ((m[tcp.frame + FRAME_FLAGS] & SEGMENT) === 0 || m[tcp.frame + AUX] <= 0) return 1;
  return Math.max(1, Math.ceil(s.length / m[tcp.frame + AUX]));
}

/**
 * Length of the option that is due, padded; 0: there is none. Fields that never changed are left off the end
 * (3.2.3.3, table 5); while none has, all three are told, for the peer to see whether they arrive (3.2.3.2).
 */
export function accEcnOptionBytes(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  return (m[cold + R_E0B] === BYTES_INITIAL) === (m[cold + R_E1B] === BYTES_INITIAL) && !onlyCe(m, cold)
    ? 12
    : 8;
}

function onlyCe(m: Int32Array, cold: number): boolean {
  return m[cold + R_CEB] !== 0 && m[cold + R_E0B] === BYTES_INITIAL && m[cold + R_E1B] === BYTES_INITIAL;
}

/**
 * Writes it at `at`, `accEcnOptionBytes` long.
 * @param again It is due on the next segment too: the handshake's last ACK may get lost (3.2.3.2.1).
 */
export function accEcnOptionWrite(tcp: Tcp, t: number, at: number, bytes: number, again: boolean): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const e1 = m[cold + R_E1B] !== BYTES_INITIAL;
  const kind = e1 ? OPTION_ACCECN1 : OPTION_ACCECN0;
  const first = m[cold + (e1 ? R_E1B : R_E0B)];
  if (!again) m[t + PATH] &= ~OPTION;
  if (bytes === 12) {
    tcpAccEcnWrite(tcp.view, at, kind, first, m[cold + R_CEB], m[cold + (e1 ? R_E0B : R_E1B)]);
    return;
  }
  const ce = m[cold + R_CEB];
  const short = ce === 0 && tcp.limits.habits !== 'linux';
  const length = short ? 5 : 8;
  tcp.view.setInt32(at, (kind << 24) | (length << 16) | ((first >>> 8) & 0xffff), false);
  const rest = short ? (OPTION_NOP << 16) | (OPTION_NOP << 8) | OPTION_NOP : ce & 0xff_ffff;
  tcp.view.setInt32(at + 4, (first << 24) | rest, false);
}

/** The option of a SYN-ACK: the counters as they start (3.2.1), since a half-open block has none. @returns its length */
export function accEcnSynAckOption(view: DataView, at: number): number {
  return tcpAccEcnWrite(view, at, OPTION_ACCECN0, BYTES_INITIAL, 0, BYTES_INITIAL);
}

// ── Data sender ───────────────────────────────────────────────────────────────────────────────────────────

/** Follows the peer's counters, and responds to what they say (3.2.2.2, 3.2.2.5.2). */
function readFeedback(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const acked = (s.ack - m[t + SND_UNA]) | 0;
  if (acked < 0 || ((s.ack - m[t + SND_NXT]) | 0) > 0) return;
  if (acked === 0 && !sackAdvances(tcp, t, s)) {
    // What brings neither bytes nor time may have been overtaken, and its counters be old (A.1).
    if ((m[t + FLAGS] & TS) === 0 || ((s.tsVal - m[t + TS_RECENT]) | 0) <= 0) return;
    if (isHandshakeAck(tcp, t, s)) return;
  }
  const cold = coldOf(tcp, t);
  const mss = m[t + MSS];
  const packets = ((acked + mss - 1) / mss) | 0;
  const average = averageAcked(m, cold, packets);
  const markedBytes = s.hasOptions === 1 ? readOptions(tcp, t) : -1;
  const cycled = (aceOf(s.flags) - m[cold + S_CEP]) & 7;
  // What isn't ECT is marked by nobody who keeps to the rules: then no turn of the counter has gone by unseen.
  const capable = (m[t + PATH] & ECT) !== 0;
  const marks = capable ? safeMarks(cycled, packets, markedBytes, mss, average) : cycled;
  m[cold + S_CEP] = (m[cold + S_CEP] + marks) | 0;
  // Marks without marked bytes were on control segments, which we send Not-ECT (3.2.3.2.5).
  if (markedBytes === 0 || (markedBytes < 0 && marks === 0)) return;
  // Without the option marked packets are taken for full ones (A.3), which a later option sets right.
  if (markedBytes < 0) m[cold + S_CEB] = (m[cold + S_CEB] + marks * mss) | 0;
  if (alwaysMarked(m, t, cold, s.ack)) {
    m[t + FLAGS2] |= CE_IGNORED;
    mangled(tcp, t);
    return;
  }
  tcp.sample.ceMarked = markedBytes < 0 ? marks * mss : markedBytes;
  marked(tcp, t, s);
}

/**
 * The ACK of a SYN-ACK, come a second time or after the peer's own: no counter stands in it (3.2.2.1). 3.2.2.2 lets a host
 * look for such; a mark that goes by unread with it is in the next count. That of a marked SYN-ACK is the counter's value.
 */
function isHandshakeAck(tcp: Tcp, t: number, s: Segment): boolean {
  const ace = aceOf(s.flags);
  if (ace < HANDSHAKE_ACE[NOT_ECT] || ace > HANDSHAKE_ACE[ECT_0]) return false;
  if (s.length > 0 || s.ack !== ((tcp.m[t + ISS] + 1) | 0)) return false;
  return s.hasOptions === 0 || tcp.options.sackCount === 0;
}

/** @returns how many packets an ACK acknowledges on average, this one included. */
function averageAcked(m: Int32Array, cold: number, packets: number): number {
  const before = m[cold + ACKED_AVERAGE] & 0xffff;
  if (packets === 0) return before >> 3;
  const after = before === 0 ? packets << 3 : before + packets - (before >> 3);
  m[cold + ACKED_AVERAGE] = (m[cold + ACKED_AVERAGE] & ~0xffff) | (after < 0xffff ? after : 0xffff);
  return after >> 3;
}

/**
 * How many marks a step of the 3-bit counter means, which may have gone round unseen while ACKs were lost (A.2).
 * @param packets That this ACK acknowledges.
 * @param bytes That it tells as newly marked; -1: it doesn't.
 * @param average Of `packets`.
 */
export function safeMarks(
  step: number,
  packets: number,
  bytes: number,
  mss: number,
  average: number,
): number {
  if (packets <= 7) return step;
  const safe = packets - ((packets - step) & 7);
  if (safe <= step) return step;
  if (bytes < 0) return average > ACKED_AVERAGE_MAX ? step : safe;
  // As many turns as it takes for no marked packet to be larger than an MSS. A.2.2 means the same where it is one.
  const least = Math.ceil(bytes / mss);
  const marks = least > step ? step + ((least - step + 7) & ~7) : step;
  return marks < safe ? marks : safe;
}

/**
 * Reads the AccECN option, if there is one and it can be trusted.
 * @returns newly marked bytes; -1: it doesn't say
 */
function readOptions(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const o = tcp.options;
  if (o.accEcnKind === 0 || (m[t + FLAGS2] & ACCECN_OPTIONS_BAD) !== 0) return -1;
  if ((m[t + FLAGS2] & ACCECN_OPTIONS) === 0) {
    m[t + FLAGS2] |= ACCECN_OPTIONS;
    // The ECT counters start at 1 and can't have wrapped yet (3.2.3.2.4).
    const zeroed =
      (o.accEcnCount > 0 && accEcnCounter(tcp.view, o, 0) === 0) ||
      (o.accEcnCount > 2 && accEcnCounter(tcp.view, o, 2) === 0);
    if (zeroed) {
      m[t + FLAGS2] |= ACCECN_OPTIONS_BAD;
      return -1;
    }
  }
  // A field that was left off hasn't changed.
  if (o.accEcnCount < 2) return 0;
  const cold = coldOf(tcp, t);
  // Sign-extended from 24 bits: it is negative while s.ceb was an estimate, and too high.
  const step = ((accEcnCounter(tcp.view, o, 1) - m[cold + S_CEB]) << 8) >> 8;
  m[cold + S_CEB] = (m[cold + S_CEB] + step) | 0;
  return step > 0 ? step : 0;
}

/** The advice of 3.2.2.3: nearly everything ever sent came back marked, for longer than a window takes to close. */
function alwaysMarked(m: Int32Array, t: number, cold: number, ack: number): boolean {
  if (m[cold + S_CEP] - CEP_INITIAL < MARKS_MANGLED || (m[t + FLAGS2] & ACCECN_OPTIONS) === 0) return false;
  const sent = (ack - m[t + ISS]) | 0;
  return sent > 0 && m[cold + S_CEB] >= sent - (sent >> 3);
}
