/**
 * SEGMENT ARRIVES (RFC 9293 3.10.7). `tcpInput` finds the connection and hands the segment to its state; the
 * synchronized states share one function, straight for the usual case: next in order, acknowledging, no surprise.
 */

import {
  FLAG_ACK as ACK,
  FLAG_FIN as FIN,
  FLAG_RST as RST,
  FLAG_SYN as SYN,
  FLAG_URG as URG,
} from '../wire/tcp.ts';
import { accEcnAgain, accEcnDuplicate } from './accecn.ts';
import { acceptAck } from './acks.ts';
import { synReceivedAck, synSentInput } from './active-open.ts';
import { FLAG, FLAG2, PATH_FLAG, STATE, TCB } from './block.ts';
import { tcpDestroy, tcpFinish, tcpReset } from './close.ts';
import { ecnSynAckAgain } from './ecn.ts';
import { EVENT_DATA, EVENT_END, EVENT_REASSEMBLE, eventPush } from './events.ts';
import { ipFieldsInput } from './ip-fields.ts';
import { listenerFind } from './listen.ts';
import { LIST_ACK, listPush } from './lists.ts';
import { flowLookup, packetHash } from './lookup.ts';
import { sackIfFull } from './output.ts';
import { cookieInput, listenInput, synReceivedInput } from './passive-open.ts';
import { pathInput, pathInputDone } from './path.ts';
import { CLOSED_REFUSED, CLOSED_RESET } from './reasons.ts';
import { reassemblyAdd, reassemblyClear } from './reassembly.ts';
import { receiveAdmit } from './receive.ts';
import { receiveRtt } from './receive-window.ts';
import { challengeMini, resetFor, sendBareAck, sendFinAck, sendReset } from './reply.ts';
import { type Segment, segmentParse } from './segment.ts';
import { sourceRouteHeard } from './source-route.ts';
import { CHALLENGE_INTERVAL, type Tcp } from './tcp.ts';
import {
  TIME_WAIT_ACK,
  TIME_WAIT_DROP,
  TIME_WAIT_RESET,
  timeWaitRemove,
  timeWaitSegment,
} from './time-wait.ts';
import { urgentInput } from './urgent.ts';

const {
  STATE: ST,
  FLAGS,
  PATH,
  RCV_NXT,
  RCV_ADV,
  TS_RECENT,
  LAST_ACK,
  IFACE,
  OOO,
  ACK_OWED,
  MSS,
  QUICK_ACKS,
} = TCB;
const { DSACK_START, DSACK_END, RCV_AT, BYTES_IN, FIN_AHEAD, FIN_AHEAD_SEQ, LISTENER, CHALLENGE_AT } = TCB;
const PATH_ANY = PATH_FLAG.ANY;
const { IRS } = TCB;
const { TS, ACK_NOW, ACK_DELAYED, PROBE, MINI, DETACHED, FIN_RECEIVED } = FLAG;
const {
  SYN_SENT,
  SYN_RECEIVED,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  CLOSE_WAIT,
  CLOSING,
  TIME_WAIT,
  CLOSED,
} = STATE;
/** Local copies: imported bindings aren't folded. */
const [F_FIN, F_SYN, F_RST, F_ACK, F_URG] = [FIN, SYN, RST, ACK, URG];
const [E_DATA, E_END, E_REASSEMBLE] = [EVENT_DATA, EVENT_END, EVENT_REASSEMBLE];
const L_ACK = LIST_ACK;

/** A peer that sent nothing for this long, ms, had its window reduced; so many of its segments get an ACK each. */
const SILENT_MS = 1000;
const QUICK_ACKS_AFTER_IDLE = 8;

/** Handles the TCP segment of `tcp.ip.packet`. */
export function tcpInput(tcp: Tcp): void {
  const p = tcp.ip.packet;
  const s = tcp.segment;
  tcp.counters.segmentsIn++;
  if (p.checksumGood === 0 && !checksumMatches(tcp, p.l4At, p.l4Length, p.pseudoSum)) {
    tcp.counters.badChecksum++;
    return;
  }
  const bad = segmentParse(s, tcp.options, tcp.view, p.l4At, p.l4Length);
  if (bad !== 0) {
    if (bad === -1) tcp.counters.badHeader++;
    else tcp.counters.badOptions++;
    return;
  }
  const t = flowLookup(tcp, p, s.ports, packetHash(tcp, p, s.ports));
  if (t !== 0 && (tcp.m[t + FLAGS] & MINI) === 0) {
    if (tcp.m[t + ST] !== SYN_SENT) synchronizedInput(tcp, t, s);
    else if (!synFinDropped(tcp, s)) synSentInput(tcp, t, s);
    return;
  }
  if (synFinDropped(tcp, s)) return;
  if (p.src3 === p.dst3 && p.src0 === p.dst0 && p.src1 === p.dst1 && p.src2 === p.dst2) {
    tcp.counters.land++;
    return;
  }
  if (s.ports >>> 16 === 0 || (s.ports & 0xffff) === 0) {
    tcp.counters.badHeader++;
    return;
  }
  if (t === 0) {
    unknownInput(tcp, s);
    return;
  }
  if (tcp.m[t + ST] === TIME_WAIT) {
    const verdict = timeWaitSegment(tcp, t, s);
    if (verdict === TIME_WAIT_ACK) challengeMini(tcp, t);
    else if (verdict === TIME_WAIT_RESET) {
      sendReset(tcp, t);
      timeWaitRemove(tcp, t);
    } else if (verdict !== TIME_WAIT_DROP) {
      tcp.reusing = 1;
      unknownInput(tcp, s);
      tcp.reusing = 0;
    }
    return;
  }
  const full = synReceivedInput(tcp, t, s);
  if (full !== 0) synchronizedInput(tcp, full, s);
}

/** RFC 9293 opens connections by SYN with FIN; some would rather not. */
function synFinDropped(tcp: Tcp, s: Segment): boolean {
  if ((s.flags & (F_SYN | F_FIN)) !== (F_SYN | F_FIN) || !tcp.limits.dropSynFin) return false;
  tcp.counters.synFinDropped++;
  return true;
}

function checksumMatches(tcp: Tcp, at: number, length: number, pseudoSum: number): boolean {
  let sum = pseudoSum + tcp.arena.kernels.sum(at, length);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  return sum === 0xffff;
}

function unknownInput(tcp: Tcp, s: Segment): void {
  const special = s.flags & (F_SYN | F_ACK | F_RST);
  if (special === F_SYN && listenInput(tcp, s)) return;
  // RFC 9293 3.10.7.2: a listener takes SYNs, answers ACKs by RST, and drops the rest.
  const ignored = special === 0 || (special === (F_SYN | F_ACK) && tcp.limits.habits === 'bsd');
  if (ignored && listenerFind(tcp, tcp.ip.packet, s.ports & 0xffff) !== null) {
    tcp.counters.listenIgnored++;
    return;
  }
  if (special === F_ACK) {
    const t = cookieInput(tcp, s);
    if (t > 0) synchronizedInput(tcp, t, s);
    if (t !== 0) return;
  }
  tcp.counters.noConnection++;
  // What is addressed to others is no business of ours where no listener takes it.
  if (tcp.ip.packet.foreign !== 0 && listenerFind(tcp, tcp.ip.packet, s.ports & 0xffff) === null) return;
  resetFor(tcp, tcp.ip.packet, s);
}

/** States SYN-RECEIVED (of a simultaneous open) to LAST-ACK. */
function synchronizedInput(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const flags = m[t + FLAGS];
  const special = s.flags & (F_RST | F_SYN | F_ACK);

  // PAWS (RFC 7323 5.3); resets are exempt.
  if ((flags & TS) !== 0 && (special & F_RST) === 0) {
    if (s.hasTimestamp === 0) {
      tcp.counters.missingTimestamp++;
      if (tcp.limits.habits !== 'linux') return;
    } else if (((s.tsVal - m[t + TS_RECENT]) | 0) < 0) {
      tcp.counters.paws++;
      challengeOrAck(tcp, t);
      return;
    }
  }

  if (special !== F_ACK) {
    if ((special & F_RST) !== 0) {
      resetInput(tcp, t, s);
      return;
    }
    if ((special & F_SYN) !== 0) {
      if (synFinDropped(tcp, s)) return;
      if (tcp.limits.blindSyn && synInWindow(tcp, t, s)) {
        // RFC 793 3.9: "If the SYN is in the window it is an error, send a reset".
        tcpReset(tcp, t, CLOSED_RESET);
        return;
      }
      // RFC 5961 4: a SYN never resets; the peer's own RST in answer to the ACK does. Simultaneous open's SYN
      // that was answered already comes here too, and an ACK is what it needs.
      tcp.counters.outOfWindow++;
      // The SYN that Fast Open answered, again: the answer was lost.
      if (m[t + ST] === SYN_RECEIVED && s.seq === m[t + IRS]) m[t + FLAGS] |= PROBE;
      if (!synAckCrosses(tcp, t, s) && mayChallenge(tcp, t)) {
        ackNow(tcp, t);
        if (m[t + ST] !== SYN_RECEIVED) ecnSynAckAgain(tcp, t, s);
      }
      if (m[t + ST] !== SYN_RECEIVED || (special & F_ACK) === 0) return;
      // The SYN-ACK of a simultaneous open: its SYN is old, its ACK is news.
      s.seq = (s.seq + 1) | 0;
      // A SYN's window is never scaled (RFC 7323 2.2), and is about to be.
      s.window >>= m[t + FLAGS] & 15;
    } else {
      return;
    }
  }

  const seq = s.seq;
  const offset = (seq - m[t + RCV_NXT]) | 0;
  if (offset !== 0 || s.length > ((m[t + RCV_ADV] - m[t + RCV_NXT]) | 0)) {
    if (!trim(tcp, t, s, offset)) return;
  }
  // A peer that was silent starts from a small window (RFC 5681 4.1): as at the start, it gets its ACKs at once.
  if (((tcp.nowMs - m[t + RCV_AT]) | 0) > SILENT_MS) m[t + QUICK_ACKS] = QUICK_ACKS_AFTER_IDLE;
  m[t + RCV_AT] = tcp.nowMs;

  if (m[t + ST] === SYN_RECEIVED) {
    if (!synReceivedAck(tcp, t, s)) return;
    if (m[t + OOO] !== 0) {
      // What the peer's SYN carried in a simultaneous open.
      eventPush(tcp, t, E_REASSEMBLE, m[t + RCV_NXT], 0);
      m[t + FLAGS] |= ACK_DELAYED;
      listPush(m, tcp.lists[m[t + IFACE]], L_ACK, t);
    }
  }
  if (tcp.marking) {
    ipFieldsInput(tcp, t);
    const listener = m[t + LISTENER] - 1;
    if (listener >= 0 && tcp.listeners[listener].options.sourceRoutes) sourceRouteHeard(tcp, t);
  }
  const path = m[t + PATH] & PATH_ANY;
  if (path !== 0) pathInput(tcp, t, s);
  const accepted = acceptAck(tcp, t, s);
  if (path !== 0) pathInputDone(tcp, t);
  if (!accepted) return;
  // Only now (RFC 7323 5.3, R2 before R3): a stranger's guess must not shut out what the peer sends.
  if ((flags & TS) !== 0 && ((seq - m[t + LAST_ACK]) | 0) <= 0) m[t + TS_RECENT] = s.tsVal;

  if ((s.flags & F_URG) !== 0) urgentInput(tcp, t);
  if (s.length > 0) receiveData(tcp, t, s);
  if ((s.flags & F_FIN) !== 0 && m[t + ST] !== CLOSED) finInput(tcp, t, s);
}

/**
 * The acceptability test and the trimming of RFC 9293 3.10.7.4. @returns false when the segment was dropped.
 */
function trim(tcp: Tcp, t: number, s: Segment, offset: number): boolean {
  const m = tcp.m;
  const window = (m[t + RCV_ADV] - m[t + RCV_NXT]) | 0;
  const fin = (s.flags & F_FIN) !== 0 ? 1 : 0;
  const end = offset + s.length + fin;
  if (end < 0 || offset > window) {
    tcp.counters.outOfWindow++;
    if (end < 0 && s.length > 0) {
      tcp.counters.duplicate++;
      // Duplicates that follow each other in a batch are one report.
      if (m[t + DSACK_START] === m[t + DSACK_END] || m[t + DSACK_END] !== s.seq) m[t + DSACK_START] = s.seq;
      m[t + DSACK_END] = (s.seq + s.length) | 0;
      if (tcp.limits.habits === 'linux') accEcnDuplicate(tcp, t, s);
      // The peer didn't get our ACK: it shall have it now.
      ackNow(tcp, t);
    } else challengeOrAck(tcp, t);
    return false;
  }
  if (offset < 0) {
    // Part of it is new; or nothing is but what it acknowledges, which counts as in all other stacks: what a peer
    // sends again, FIN above all, carries its latest ACK.
    tcp.counters.duplicate++;
    if (s.length > 0) {
      if (tcp.limits.habits === 'linux')
        accEcnAgain(tcp, t, s.length < -offset ? s.length : -offset, (s.seq + s.length) | 0);
      m[t + DSACK_START] = s.seq;
      m[t + DSACK_END] = end <= 0 ? (s.seq + s.length) | 0 : m[t + RCV_NXT];
    }
    s.seq = m[t + RCV_NXT];
    s.dataAt -= offset;
    s.length += offset;
    if (s.length < 0) s.length = 0;
    if (end <= 0) s.flags &= ~F_FIN;
    ackNow(tcp, t);
  }
  const room = (m[t + RCV_ADV] - s.seq) | 0;
  if (s.length > room) {
    // Beyond the window: a probe, or a peer that doesn't listen. What it acknowledges still counts.
    s.length = room;
    s.flags &= ~F_FIN;
    ackNow(tcp, t);
  }
  return true;
}

/** The SYN-ACK that RFC 9293's figure 8 has for a simultaneous open: in Linux it is as good as the ACK in it. */
function synAckCrosses(tcp: Tcp, t: number, s: Segment): boolean {
  const m = tcp.m;
  if (tcp.limits.habits !== 'linux' || m[t + ST] !== SYN_RECEIVED || s.length > 0) return false;
  if ((s.flags & F_ACK) === 0 || ((s.seq + 1) | 0) !== m[t + RCV_NXT]) return false;
  // What our SYN took along stands past SND.NXT.
  return ((s.ack - m[t + TCB.SND_NXT]) | 0) >= 0;
}

function synInWindow(tcp: Tcp, t: number, s: Segment): boolean {
  const m = tcp.m;
  if (m[t + ST] < ESTABLISHED) return false;
  return ((s.seq - m[t + RCV_NXT]) | 0) >= 0 && ((s.seq - m[t + RCV_ADV]) | 0) < 0;
}

/** RFC 9293 3.10.7.4 with RFC 5961 3. */
function resetInput(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  tcp.counters.resetsIn++;
  const offset = (s.seq - m[t + RCV_NXT]) | 0;
  const within = offset > 0 && ((s.seq - m[t + RCV_ADV]) | 0) < 0;
  if (offset === 0 || (within && tcp.limits.blindReset)) {
    const refused = m[t + ST] === SYN_RECEIVED && m[t + LISTENER] === 0;
    tcpDestroy(tcp, t, refused ? CLOSED_REFUSED : CLOSED_RESET);
    return;
  }
  if (!within) tcp.counters.outOfWindow++;
  else if (m[t + ST] !== SYN_RECEIVED) challengeOrAck(tcp, t);
  else if (mayChallenge(tcp, t)) sendBareAck(tcp, t);
}

export function ackNow(tcp: Tcp, t: number): void {
  tcp.m[t + FLAGS] |= ACK_NOW;
  listPush(tcp.m, tcp.lists[tcp.m[t + IFACE]], L_ACK, t);
}

/** An ACK for something suspicious, rarely enough that two ends can't make each other talk. */
function challengeOrAck(tcp: Tcp, t: number): void {
  if (mayChallenge(tcp, t)) ackNow(tcp, t);
}

function mayChallenge(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  if (((tcp.nowMs - m[t + CHALLENGE_AT]) | 0) < CHALLENGE_INTERVAL) {
    tcp.counters.challengeAcksLimited++;
    return false;
  }
  tcp.counters.challengeAcks++;
  m[t + CHALLENGE_AT] = tcp.nowMs;
  return true;
}

/** New data within the window. */
export function receiveData(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const state = m[t + ST];
  if ((m[t + FLAGS] & (DETACHED | FIN_RECEIVED)) !== 0) {
    // RFC 9293 3.6.1, RFC 2525 2.17: nobody will read it, and the peer must know. Past the peer's FIN: nonsense.
    if ((m[t + FLAGS] & FIN_RECEIVED) !== 0) return;
    if (tcp.limits.habits === 'linux') {
      resetFor(tcp, tcp.ip.packet, s);
      tcpDestroy(tcp, t, CLOSED_RESET);
    } else tcpReset(tcp, t, CLOSED_RESET);
    return;
  }
  // SYN-RECEIVED: that of a SYN with a Fast Open cookie.
  if (state < SYN_RECEIVED || state > FIN_WAIT_2) return;
  if (s.seq !== m[t + RCV_NXT]) {
    tcp.counters.outOfOrder++;
    if (!reassemblyAdd(tcp, t, s.seq, s.dataAt, s.length)) s.flags &= ~F_FIN;
    // RFC 5681 4.2: at once, so that the sender learns of the gap.
    if (!sackIfFull(tcp, t)) ackNow(tcp, t);
    return;
  }
  // Kept in its frame until the program has seen it; promised a chunk for what the program leaves.
  const need = 1 + ((s.length / tcp.chunks.dataBytes + 1) | 0);
  if (tcp.chunks.free - tcp.chunksPromised - need < tcp.chunks.count >> 2 && !receiveAdmit(tcp, t, need)) {
    s.flags &= ~F_FIN;
    ackNow(tcp, t);
    return;
  }
  tcp.chunksPromised += need;
  m[t + RCV_NXT] = (s.seq + s.length) | 0;
  m[t + BYTES_IN] = (m[t + BYTES_IN] + s.length) | 0;
  tcp.counters.bytesIn += s.length;
  eventPush(tcp, t, E_DATA, s.dataAt, s.length);
  if (m[t + OOO] !== 0) {
    // The gap may be closed; found out when this batch's data before it has been told.
    eventPush(tcp, t, E_REASSEMBLE, m[t + RCV_NXT], 0);
    ackNow(tcp, t);
    return;
  }
  // RFC 9293 3.8.6.3: at least every second full segment, quickly at the start. Full is what the peer sends, which
  // may be less than our MSS; and one that can't send another within its window waits for us.
  m[t + ACK_OWED] += s.length;
  if (m[t + ACK_OWED] > m[t + MSS] || m[t + QUICK_ACKS] > 0) {
    // Quick ACKs don't run out while a FIN waits for what goes before it: so only here it must be thought of.
    if (m[t + FIN_AHEAD] !== 0) eventPush(tcp, t, E_REASSEMBLE, m[t + RCV_NXT], 0);
    else if (m[t + QUICK_ACKS] > 0) m[t + QUICK_ACKS]--;
    m[t + FLAGS] |= ACK_NOW;
    if (s.hasTimestamp !== 0 && m[t + ACK_OWED] > m[t + MSS]) receiveRtt(tcp, t, s);
  } else if (((m[t + RCV_ADV] - m[t + RCV_NXT]) | 0) < m[t + MSS]) {
    m[t + FLAGS] |= ACK_NOW;
  } else {
    m[t + FLAGS] |= ACK_DELAYED;
  }
  listPush(m, tcp.lists[m[t + IFACE]], L_ACK, t);
}

export function finInput(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const at = (s.seq + s.length) | 0;
  if (at === m[t + RCV_NXT]) {
    finReceived(tcp, t);
    return;
  }
  // Its data, or data before it, is still missing.
  if (((at - m[t + RCV_NXT]) | 0) > 0 && (m[t + FLAGS] & FIN_RECEIVED) === 0) {
    m[t + FIN_AHEAD] = 1;
    m[t + FIN_AHEAD_SEQ] = at;
    if (m[t + QUICK_ACKS] === 0) m[t + QUICK_ACKS] = 1;
    // A gap, also when the segment was nothing but FIN (RFC 5681 4.2).
    ackNow(tcp, t);
  }
}

/** The peer's FIN is next in order (RFC 9293 3.10.7.4, eighth step). Also called when reassembly reaches it. */
export function finReceived(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & FIN_RECEIVED) !== 0) return;
  m[t + RCV_NXT] = (m[t + RCV_NXT] + 1) | 0;
  if (((m[t + RCV_ADV] - m[t + RCV_NXT]) | 0) < 0) m[t + RCV_ADV] = m[t + RCV_NXT];
  m[t + FLAGS] |= FIN_RECEIVED;
  // Whatever is still kept lies before the FIN, and came a second time.
  if (m[t + OOO] !== 0) reassemblyClear(tcp, t);
  eventPush(tcp, t, E_END, 0, 0);
  if (tcp.limits.habits === 'linux') {
    m[t + DSACK_START] = m[t + DSACK_END];
    if (
      m[t + ST] === ESTABLISHED &&
      m[t + BYTES_IN] !== 0 &&
      (m[t + TCB.FLAGS2] & FLAG2.FAST_OPEN) === 0 &&
      m[t + RCV_ADV] !== m[t + RCV_NXT] &&
      m[t + ACK_OWED] <= m[t + MSS]
    ) {
      // A program that closes at once sends the ACK with its own FIN.
      m[t + ST] = CLOSE_WAIT;
      m[t + FLAGS] = (m[t + FLAGS] & ~ACK_NOW) | ACK_DELAYED;
      listPush(m, tcp.lists[m[t + IFACE]], L_ACK, t);
      return;
    }
  }
  ackNow(tcp, t);
  switch (m[t + ST]) {
    case SYN_RECEIVED:
    case ESTABLISHED:
      m[t + ST] = CLOSE_WAIT;
      return;
    case FIN_WAIT_1:
      m[t + ST] = CLOSING;
      if (tcp.limits.habits === 'bsd') {
        m[t + FLAGS] &= ~ACK_NOW;
        sendFinAck(tcp, t, true);
      }
      return;
    case FIN_WAIT_2:
      // Its ACK can't wait for the output list: the block goes.
      sendFinAck(tcp, t, false);
      tcpFinish(tcp, t, true);
      return;
    default:
      return;
  }
}
