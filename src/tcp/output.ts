/**
 * What a connection has to send, built when there is a tx slot for it and not before: retransmissions, new data
 * as the windows allow, FIN, and an ACK if nothing carried it (RFC 9293 3.8, 3.10.2).
 */
import type { Interface } from '../ip/interface.ts';
import { txSlot } from '../ip/output.ts';
import { queueCopy, queueCopySum } from '../memory/byte-queue.ts';
import { FLAG_ACK as ACK, FLAG_FIN as FIN, FLAG_PSH as PSH, FLAG_SYN as SYN } from '../wire/tcp.ts';
import { TCP_OPTIONS_BYTES_MAX, tcpSynOptionsWrite } from '../wire/tcp-options.ts';
import { accEcnOptionBytes, accEcnOptionWrite, accEcnSynAckOption } from './accecn.ts';
import { COLD, FLAG, FLAG2, LOSS_FLAG, PATH_FLAG, PATH_SHIFT, STATE, TCB } from './block.ts';
import { blockRelease, tcpDestroy } from './close.ts';
import { coldOf } from './cold.ts';
import { congestionRestart } from './congestion/control.ts';
import { paceAllowance, paceSpend, paceWait, UNPACED } from './congestion/pacing.ts';
import { ecnFlags, ecnHandshakeFlags, ecnSynAckFlags, ecnSynFlags } from './ecn.ts';
import { emit, segmentAt, writeTimestamps } from './emit.ts';
import { fastOpenData, fastOpenOption } from './fast-open.ts';
import { ownMss } from './handshake.ts';
import { softErrorSet } from './icmp-errors.ts';
import {
  LIST_CONTROL,
  LIST_DATA,
  LIST_UNRESOLVED,
  listPop,
  listPush,
  listPushFront,
  type OutputLists,
  unresolvedDue,
} from './lists.ts';
import { HOP_NO_ROUTE, nextHop } from './next-hop.ts';
import { pathResent } from './path.ts';
import { mtuProbeBytes, mtuProbeSent } from './plpmtud.ts';
import { prrSent } from './prr.ts';
import { rateAppLimited, rateProbing } from './rate.ts';
import { CLOSED_UNREACHABLE } from './reasons.ts';
import { reassemblyBlocks, reassemblyUntold } from './reassembly.ts';
import { windowToTell } from './receive-window.ts';
import { RECORD } from './record-pool.ts';
import {
  inFlight,
  lastRecordStart,
  recordList,
  recordResent,
  recordSent,
  recordToResend,
} from './records.ts';
import { recoveryResent } from './recovery.ts';
import { sendReset } from './reply.ts';
import { ipOptionBytes } from './source-route.ts';
import type { Tcp } from './tcp.ts';
import { persistStart, rtoBackedOff, rtxStart, timerBy } from './timers.ts';
import { probeSent, probeWanted } from './tlp.ts';
import { urgentAnnounce, urgentSending } from './urgent.ts';

const {
  STATE: ST,
  FLAGS,
  RCV_NXT,
  RCV_ADV,
  SND_UNA,
  SND_NXT,
  SND_WND,
  LAST_ACK,
  CWND,
  MSS,
  SENT_AT,
  SNDQ_LENGTH,
} = TCB;
const { SNDQ, RCV_BUF, ACK_OWED, DELACK_AT, OOO, MAX_WND, SND_AT, RECORDS, RECOVER, LIMITED, TS_OFFSET } =
  TCB;
const { PATH, FLAGS2, ISS, LISTENER, DSACK_START, DSACK_END, BACKOFF, BYTES_OUT, RETRANSMITS, TS_RECENT } =
  TCB;
const { IFACE } = TCB;
const { TS, SACK, V6, NODELAY, ACK_NOW, ACK_DELAYED, FIN_QUEUED, FIN_SENT, RTX, PERSIST, DELACK, PTO } = FLAG;
const { RECOVERY, LOSS, MINI, PROBE } = FLAG;
const { ECN, ECN_ACCURATE, ECT, OPTION, HANDSHAKE, MTU, ANY } = PATH_FLAG;
const ECT_SHIFT = PATH_SHIFT.ECT;
/** The bit of ACE that stands where CWR does. */
const ACE_CWR = 2 << PATH_SHIFT.ACE;
const { PACED, FAST_OPEN, SAMPLED, TLP_DUE, REO } = FLAG2;
/** A local copy: imported bindings aren't folded. */
const NO_LIMIT = UNPACED;
const { LOSS_FLAGS } = COLD;
const { FRTO, FRTO_NEW, ANYWAY } = LOSS_FLAG;
const { CLOSED, SYN_SENT, SYN_RECEIVED, ESTABLISHED, FREE } = STATE;
const [F_FIN, F_SYN, F_PSH, F_ACK] = [FIN, SYN, PSH, ACK];
const { START, END } = RECORD;
const HEADER = 20;
const OPTIONS_MAX = TCP_OPTIONS_BYTES_MAX;
/** AccECN's option with all its fields, padded. */
const ACCECN_BYTES = 12;
/** Bits of FLAGS that are set once window scaling is agreed: our own shift is never 0 with buffers past 64 KiB. */
const SCALED = 0xff;

/** What `transmit` says of a block. */
const DONE = 0;
/** The tx ring is full: the block goes back in front. */
const NO_SLOT = 1;
/** It had its share and wants more: to the end of the data list. */
const MORE = 2;
const UNRESOLVED = 3;

/** Frames that one connection sends before others get their turn. */
const QUANTUM = 32;
/** Tx slots that data leaves for the next breath's control segments and ACKs. */
const SLOTS_RESERVED = 8;

/** Serves an interface's lists, control before ACK before data, while there are tx slots. */
export function tcpOutput(tcp: Tcp, iface: Interface): void {
  const m = tcp.m;
  const lists = tcp.lists[iface.index];
  if (lists.head[LIST_UNRESOLVED] !== 0 && unresolvedDue(lists, iface.neighbours.version, tcp.nowMs)) {
    lists.resolvedVersion = iface.neighbours.version;
    lists.resolvedAt = tcp.nowMs;
    retryUnresolved(m, lists);
  }
  for (let list = LIST_CONTROL; list <= LIST_DATA; list++) {
    // Blocks that are put back at the end wait for the next breath.
    const last = lists.tail[list];
    for (let t = listPop(m, lists, list); t !== 0; t = listPop(m, lists, list)) {
      const verdict = transmit(tcp, iface, t);
      if (verdict === NO_SLOT) {
        listPushFront(m, lists, list, t);
        return;
      }
      if (verdict === MORE) listPush(m, lists, LIST_DATA, t);
      else if (verdict === UNRESOLVED) listPush(m, lists, LIST_UNRESOLVED, t);
      if (t === last) break;
    }
  }
}

function retryUnresolved(m: Int32Array, lists: OutputLists): void {
  for (let t = listPop(m, lists, LIST_UNRESOLVED); t !== 0; t = listPop(m, lists, LIST_UNRESOLVED)) {
    listPush(m, lists, LIST_CONTROL, t);
  }
}

function transmit(tcp: Tcp, iface: Interface, t: number): number {
  const m = tcp.m;
  const state = m[t + ST];
  if (state === CLOSED || state >= FREE) return transmitReset(tcp, iface, t, state);
  // An attempt's time runs from its first breath, found next hop or not.
  if (state === SYN_SENT && (m[t + FLAGS] & RTX) === 0) rtxStart(tcp, t);
  const hop = nextHop(tcp, t);
  if (hop <= 0) {
    if (hop === HOP_NO_ROUTE && state === SYN_SENT) {
      tcpDestroy(tcp, t, CLOSED_UNREACHABLE);
      return DONE;
    }
    // Three questions in a row are lost on a bad link, too: the attempt goes on for as long as its SYN may.
    // (A mini block has no such word.)
    if (hop < 0 && (m[t + FLAGS] & MINI) === 0) softErrorSet(tcp, t, CLOSED_UNREACHABLE);
    // A half-open connection is asked for again by its peer; others are retried when the neighbour cache moves.
    return UNRESOLVED;
  }
  if (state >= ESTABLISHED || mayAnswerSyn(m, t, state)) return transmitData(tcp, iface, t);
  return transmitSyn(tcp, iface, t, state);
}

/** A connection that is over. PROBE: its RST is still to go. */
function transmitReset(tcp: Tcp, iface: Interface, t: number, state: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS] & PROBE) !== 0) {
    if (txSlot(iface) === 0) return NO_SLOT;
    m[t + FLAGS] &= ~PROBE;
    sendReset(tcp, t);
  }
  if (state === FREE) blockRelease(tcp, t);
  return DONE;
}

/** A connection that Fast Open's cookie opened may send once its SYN-ACK is out (RFC 7413 4.2.2). */
function mayAnswerSyn(m: Int32Array, t: number, state: number): boolean {
  return (
    state === SYN_RECEIVED &&
    (m[t + FLAGS] & (MINI | PROBE)) === 0 &&
    isFastOpen(m, t) &&
    m[t + LISTENER] !== 0
  );
}

function isFastOpen(m: Int32Array, t: number): boolean {
  return (m[t + FLAGS] & MINI) === 0 && (m[t + FLAGS2] & FAST_OPEN) !== 0;
}

/** SYN or SYN-ACK, of any kind of block. */
export function transmitSyn(tcp: Tcp, iface: Interface, t: number, state: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS] & (MINI | PROBE)) === 0 && state === SYN_SENT) return DONE;
  const slot = txSlot(iface);
  if (slot === 0) return NO_SLOT;
  const flags = m[t + FLAGS];
  const passive = state === SYN_RECEIVED;
  const at = segmentAt(tcp, iface, t, slot) + HEADER;
  // The first SYN offers all we can; an answer only what the peer offered.
  const { limits } = tcp;
  const scale = (passive && (flags & SCALED) === 0) || !limits.windowScale ? -1 : (flags >> 4) & 15;
  const ecn = passive ? ecnSynAckFlags(m, t) : ecnSynFlags(m, t);
  let optionBytes = limits.synOptions
    ? tcpSynOptionsWrite(
        tcp.view,
        at,
        ownMss(tcp, t),
        scale,
        passive ? (flags & SACK) !== 0 : limits.sack,
        passive ? (flags & TS) !== 0 : limits.timestamps,
        (tcp.nowMs + m[t + TS_OFFSET]) | 0,
        passive ? m[t + TS_RECENT] : 0,
      )
    : 0;
  let length = 0;
  let dataSum = 0;
  const fastOpen = isFastOpen(m, t);
  if (fastOpen || tcp.fastOpen.answering) {
    optionBytes += fastOpenOption(tcp, t, at + optionBytes);
    length = passive ? 0 : fastOpenData(tcp, t, optionBytes);
    if (length > 0) dataSum = queueCopySum(tcp.chunks, t + SNDQ, 0, length, at + optionBytes);
  }
  if (
    passive &&
    (m[t + PATH] & OPTION) !== 0 &&
    tcp.limits.accEcnOption &&
    optionBytes <= OPTIONS_MAX - ACCECN_BYTES
  ) {
    optionBytes += accEcnSynAckOption(tcp.view, at + optionBytes);
  }
  const window = passive ? (m[t + RCV_ADV] - m[t + RCV_NXT]) | 0 : m[t + RCV_BUF];
  emit(
    tcp,
    iface,
    t,
    slot,
    (flags & MINI) !== 0 ? m[t + SND_UNA] : m[t + ISS],
    passive ? m[t + RCV_NXT] : 0,
    passive ? F_SYN | F_ACK | ecn : F_SYN | ecn,
    window < 0xffff ? window : 0xffff,
    optionBytes,
    length,
    tcp.arena.kernels.sum(at, optionBytes) + dataSum,
    0,
    0,
  );
  m[t + FLAGS] &= ~(PROBE | ACK_NOW | ACK_DELAYED);
  const opened = fastOpen && passive && m[t + LISTENER] !== 0;
  if ((state === SYN_SENT || opened) && m[t + BACKOFF] === 0) {
    // Fast Open's SYN-ACK again, since the peer has repeated its SYN: which of them is acknowledged nobody will know.
    m[t + SENT_AT] = opened && m[t + RECORDS] !== 0 ? 0 : tcp.nowUs;
    // What the program sends before the handshake is over shall not be taken for the SYN-ACK, which gives an RTT.
    if (opened) recordList(tcp, t);
    rtxStart(tcp, t);
  }
  if (!opened) return DONE;
  m[t + LAST_ACK] = m[t + RCV_NXT];
  m[t + ACK_OWED] = 0;
  // What the program answered already goes behind the SYN-ACK.
  return m[t + SNDQ_LENGTH] > 0 || (m[t + FLAGS] & FIN_QUEUED) !== 0 ? MORE : DONE;
}

/** States from ESTABLISHED on. */
function transmitData(tcp: Tcp, iface: Interface, t: number): number {
  const m = tcp.m;
  if ((m[t + PATH] & OPTION) !== 0 && !tcp.limits.accEcnOption) m[t + PATH] &= ~OPTION;
  if ((m[t + PATH] & HANDSHAKE) !== 0) {
    // RFC 9768 3.2.2.1: a pure ACK, whatever there is to send.
    const slot = txSlot(iface);
    if (slot === 0) return NO_SLOT;
    sendData(tcp, iface, t, slot, m[t + SND_NXT], 0, 0, 0, 0);
  }
  tcp.allowance = (m[t + FLAGS2] & PACED) === 0 ? NO_LIMIT : paceAllowance(tcp, t);
  const recovering = (m[t + FLAGS] & (RECOVERY | LOSS)) !== 0;
  // F-RTO asks for new data first (RFC 5682 3.1 step 2b).
  const newFirst = recovering && (m[coldOf(tcp, t) + LOSS_FLAGS] & FRTO_NEW) !== 0;
  if (recovering && !newFirst && retransmit(tcp, iface, t) === NO_SLOT) return NO_SLOT;
  if ((m[t + FLAGS] & PROBE) !== 0 && !sendProbe(tcp, iface, t)) return NO_SLOT;
  if (m[t + RECORDS] !== 0 && (m[t + FLAGS2] & TLP_DUE) !== 0 && !sendTailProbe(tcp, iface, t))
    return NO_SLOT;

  const from = m[t + SND_NXT];
  const verdict = sendNew(tcp, iface, t);
  if (m[t + SND_NXT] !== from) newSent(tcp, t, from);
  if (verdict !== DONE) return verdict;
  if (newFirst && m[t + SND_NXT] === m[t + RECOVER]) {
    // There is none that the windows allow: conventional recovery.
    m[coldOf(tcp, t) + LOSS_FLAGS] &= ~(FRTO | FRTO_NEW);
    if (retransmit(tcp, iface, t) === NO_SLOT) return NO_SLOT;
  }

  const flags = m[t + FLAGS];
  if ((flags & ACK_NOW) !== 0) {
    const slot = txSlot(iface);
    if (slot === 0) return NO_SLOT;
    sendData(tcp, iface, t, slot, acceptableSeq(m, t), 0, 0, 0, 0);
  } else if ((flags & (ACK_DELAYED | DELACK)) === ACK_DELAYED) {
    m[t + DELACK_AT] = (tcp.nowMs + tcp.limits.delayedAck_ms) | 0;
    m[t + FLAGS] |= DELACK;
    timerBy(tcp, t, m[t + DELACK_AT]);
  }
  return DONE;
}

/** New data as the windows allow, and FIN after the last. Moves SND.NXT. */
function sendNew(tcp: Tcp, iface: Interface, t: number): number {
  const m = tcp.m;
  let budget = QUANTUM;
  let byPace = tcp.allowance;
  const una = m[t + SND_UNA];
  const queued = m[t + SNDQ_LENGTH];
  let outstanding = (m[t + SND_NXT] - una) | 0;
  let unsent = queued - outstanding;
  if (unsent > 0 || (m[t + FLAGS] & (FIN_QUEUED | FIN_SENT)) === FIN_QUEUED) {
    const mss = m[t + MSS];
    if (outstanding === 0) {
      const idle = (tcp.nowMs - m[t + SND_AT]) | 0;
      // Nobody's RTO is less than the least: most needn't work theirs out.
      if (idle > tcp.limits.rtoMin_ms && idle > rtoBackedOff(tcp, t)) congestionRestart(tcp, t);
    }
    let pipe = inFlight(tcp, t);
    const urgent = tcp.urgentSenders !== 0 && urgentSending(tcp, t);
    // An urgent pointer is right for one segment only, and devices don't know of IP options.
    const reach = urgent || ipOptionBytes(tcp, t) > 0 ? mss : superBytes(m, iface, t, mss);
    while (unsent > 0) {
      if (budget-- === 0) return MORE;
      if (byPace <= 0) {
        paceWait(tcp, t);
        break;
      }
      const byWindow = m[t + SND_WND] - outstanding;
      const byCwnd = m[t + CWND] - pipe;
      let n = unsent < reach ? unsent : reach;
      if (n > byWindow) n = byWindow;
      if (n > byCwnd) {
        n = byCwnd;
        m[t + LIMITED] = m[t + SND_NXT];
      }
      // The last segment of a quantum may exceed it: what is over is waited for.
      if (n > byPace) n = byPace > mss ? byPace : n < mss ? n : mss;
      if (n < unsent && n > mss) n -= n % mss;
      // Urgent data doesn't wait to be more.
      if (n < mss && !(urgent && n === unsent) && !sendSmall(m, t, n, unsent, outstanding, byWindow)) break;
      let probe = 0;
      if ((m[t + PATH] & (MTU | OPTION)) !== 0) {
        if ((m[t + PATH] & MTU) !== 0)
          probe = mtuProbeBytes(tcp, t, unsent, byWindow < byCwnd ? byWindow : byCwnd);
        if (probe > 0) n = probe;
        else if ((m[t + PATH] & OPTION) !== 0 && n > mss - ACCECN_BYTES) n = mss - ACCECN_BYTES;
      }
      const slot = txSlot(iface);
      if (slot === 0 || iface.port.tx.available <= SLOTS_RESERVED) return NO_SLOT;
      const last = n === unsent;
      const fin = last && (m[t + FLAGS] & FIN_QUEUED) !== 0 ? F_FIN : 0;
      const seq = m[t + SND_NXT];
      sendData(
        tcp,
        iface,
        t,
        slot,
        seq,
        outstanding,
        n,
        last ? F_PSH | fin : 0,
        probe === 0 && n > mss ? mss : 0,
      );
      if (probe > 0) mtuProbeSent(tcp, t, seq, probe);
      m[t + BYTES_OUT] = (m[t + BYTES_OUT] + n) | 0;
      tcp.counters.bytesOut += n;
      if (byPace !== NO_LIMIT) byPace = tcp.allowance = paceSpend(tcp, t, byPace, n);
      outstanding += n;
      pipe += n;
      unsent -= n;
      m[t + SND_NXT] = (seq + n + (fin !== 0 ? 1 : 0)) | 0;
      if (fin !== 0) m[t + FLAGS] |= FIN_SENT;
    }
    // It takes no room, but behind the byte that probes a shut window it would be out of it, and dropped.
    const inWindow = unsent === 0 && outstanding <= m[t + SND_WND];
    if (inWindow && (m[t + FLAGS] & (FIN_QUEUED | FIN_SENT)) === FIN_QUEUED) {
      const slot = txSlot(iface);
      if (slot === 0) return NO_SLOT;
      sendData(tcp, iface, t, slot, m[t + SND_NXT], 0, 0, F_FIN, 0);
      m[t + SND_NXT] = (m[t + SND_NXT] + 1) | 0;
      m[t + FLAGS] |= FIN_SENT;
    }
    // Nothing in flight whose ACK would open the window: ask for it (RFC 9293 3.8.6.1).
    if (unsent > 0 && m[t + SND_NXT] === una && byPace > 0 && (m[t + FLAGS] & PERSIST) === 0)
      persistStart(tcp, t);
  }
  return DONE;
}

/** What is from `from` on went out for the first time: it has a record, and a timer. */
function newSent(tcp: Tcp, t: number, from: number): void {
  const m = tcp.m;
  m[t + SND_AT] = tcp.nowMs;
  recordSent(tcp, t, from);
  // The probe timer starts again with each sending (RFC 8985 7.2), the retransmission timer runs on (RFC 6298 5.1).
  if ((m[t + FLAGS] & (RTX | PTO)) !== RTX) rtxStart(tcp, t);
  if (m[t + RECORDS] === 0) return;
  if ((m[t + FLAGS] & RECOVERY) !== 0) prrSent(tcp, t, (m[t + SND_NXT] - from) | 0);
  if ((m[t + FLAGS2] & SAMPLED) !== 0) rateAppLimited(tcp, t);
}

/**
 * The sequence number of an ACK without data. Past a window that is shut, where a probe's byte or a FIN has moved SND.NXT,
 * the peer would drop it (RFC 9293 3.10.7.4): then the window's edge.
 */
function acceptableSeq(m: Int32Array, t: number): number {
  const edge = (m[t + SND_UNA] + m[t + SND_WND]) | 0;
  return ((m[t + SND_NXT] - edge) | 0) > 0 ? edge : m[t + SND_NXT];
}

/** Payload bytes of the largest frame: one segment, or as many whole ones as the device splits. */
function superBytes(m: Int32Array, iface: Interface, t: number, mss: number): number {
  const most = iface.port.capabilities.segmentBytesMax;
  if (most === 0) return mss;
  // Hosts that cut super-segments take ACE's middle bit for CWR, and leave it to the first (RFC 9768 3.3.4).
  if ((m[t + PATH] & ECN) === ECN_ACCURATE && (m[t + PATH] & ACE_CWR) !== 0) return mss;
  const room = most - ((m[t + FLAGS] & V6) !== 0 ? iface.headroom6 : iface.headroom4) - 60;
  return room < mss ? mss : room - (room % mss);
}

/** Nagle (RFC 9293 3.7.4) and the sender's silly window avoidance (3.8.6.2.1), for less than a full segment. */
function sendSmall(
  m: Int32Array,
  t: number,
  n: number,
  unsent: number,
  outstanding: number,
  byWindow: number,
): boolean {
  if (n <= 0) return false;
  if (n === unsent) return outstanding === 0 || (m[t + FLAGS] & (NODELAY | FIN_QUEUED)) !== 0;
  // Cut short by a window. By cwnd: wait for more room, unless nothing is out whose ACK could bring it.
  if (n < byWindow) return outstanding === 0;
  return n >= m[t + MAX_WND] >> 1;
}

/** Sends again what is lost, as CWND allows. @returns NO_SLOT or DONE */
function retransmit(tcp: Tcp, iface: Interface, t: number): number {
  const m = tcp.m;
  const h = m[t + RECORDS];
  if (h === 0) return DONE;
  for (let budget = QUANTUM; budget > 0; budget--) {
    const r = recordToResend(m, h);
    if (r === 0) return DONE;
    const seq = m[r + START];
    let n = (m[r + END] - seq) | 0;
    if (n > m[t + MSS]) n = m[t + MSS];
    if ((m[t + PATH] & OPTION) !== 0 && tcp.limits.habits === 'linux' && n > m[t + MSS] - ACCECN_BYTES)
      n = m[t + MSS] - ACCECN_BYTES;
    if (tcp.allowance <= 0) {
      paceWait(tcp, t);
      return DONE;
    }
    if (inFlight(tcp, t) + n > m[t + CWND] && (m[coldOf(tcp, t) + LOSS_FLAGS] & ANYWAY) === 0) return DONE;
    const slot = txSlot(iface);
    if (slot === 0) return NO_SLOT;
    resend(tcp, iface, t, slot, seq, n);
    recoveryResent(tcp, t, n);
    if (tcp.allowance !== NO_LIMIT) tcp.allowance = paceSpend(tcp, t, tcp.allowance, n);
    // The first outstanding byte's timeout runs from its last sending; RACK's timer goes first.
    if ((m[t + FLAGS] & RTX) === 0 || (seq === m[t + SND_UNA] && (m[t + FLAGS2] & REO) === 0))
      rtxStart(tcp, t);
  }
  return DONE;
}

/** Sends [seq, seq + n) again, which may end with our FIN. */
function resend(tcp: Tcp, iface: Interface, t: number, slot: number, seq: number, n: number): void {
  const m = tcp.m;
  const position = (seq - m[t + SND_UNA]) | 0;
  const data = m[t + SNDQ_LENGTH] - position;
  const length = n < data ? n : data;
  const fin = n > data && (m[t + FLAGS] & FIN_SENT) !== 0 ? F_FIN : 0;
  if ((m[t + PATH] & ANY) !== 0) pathResent(tcp, t, seq);
  sendData(tcp, iface, t, slot, seq, position, length, fin | (length > 0 && length === data ? F_PSH : 0), 0);
  recordResent(tcp, t, seq, (seq + n) | 0);
  m[t + RETRANSMITS]++;
  tcp.counters.retransmits++;
}

/** RFC 8985 7.3: a segment of new data, or the last one again. @returns false for want of a slot. */
function sendTailProbe(tcp: Tcp, iface: Interface, t: number): boolean {
  const m = tcp.m;
  const slot = txSlot(iface);
  if (slot === 0) return false;
  if (!probeWanted(m, t)) return true;
  const seq = m[t + SND_NXT];
  const outstanding = (seq - m[t + SND_UNA]) | 0;
  const window = m[t + SND_WND] - outstanding;
  let n = m[t + SNDQ_LENGTH] - outstanding;
  if (n > m[t + MSS]) n = m[t + MSS];
  if (n > 0 && n <= window) {
    sendData(tcp, iface, t, slot, seq, outstanding, n, F_PSH, 0);
    m[t + SND_NXT] = (seq + n) | 0;
    m[t + BYTES_OUT] = (m[t + BYTES_OUT] + n) | 0;
    tcp.counters.bytesOut += n;
    m[t + SND_AT] = tcp.nowMs;
    recordSent(tcp, t, seq);
    probeSent(tcp, t, false);
  } else {
    const length = (seq - lastRecordStart(tcp, t)) | 0;
    n = length < m[t + MSS] ? length : m[t + MSS];
    resend(tcp, iface, t, slot, (seq - n) | 0, n);
    probeSent(tcp, t, true);
  }
  return true;
}

/**
 * A window probe, or a keep-alive. The probe is one byte, or what the window allows where silly window avoidance
 * held it back: this is its override timer too (RFC 9293 3.8.6.2.1). @returns false for want of a slot.
 */
function sendProbe(tcp: Tcp, iface: Interface, t: number): boolean {
  const m = tcp.m;
  const slot = txSlot(iface);
  if (slot === 0) return false;
  m[t + FLAGS] &= ~PROBE;
  const bare = m[t + SND_WND] === 0 && tcp.limits.habits === 'linux';
  if ((m[t + FLAGS] & PERSIST) !== 0 && m[t + SNDQ_LENGTH] > 0 && !bare) {
    const una = m[t + SND_UNA];
    const queued = m[t + SNDQ_LENGTH];
    let n = queued < m[t + MSS] ? queued : m[t + MSS];
    if (n > m[t + SND_WND]) n = m[t + SND_WND];
    if (n < 1) n = 1;
    sendData(tcp, iface, t, slot, una, 0, n, F_PSH, 0);
    const next = m[t + SND_NXT];
    const fresh = (una + n - next) | 0;
    if ((m[t + FLAGS2] & SAMPLED) !== 0) rateProbing(tcp, t, fresh > 0 ? fresh : 0);
    if (next !== una) recordResent(tcp, t, una, fresh > 0 ? next : (una + n) | 0);
    if (fresh > 0) {
      m[t + SND_NXT] = (una + n) | 0;
      m[t + BYTES_OUT] = (m[t + BYTES_OUT] + fresh) | 0;
      tcp.counters.bytesOut += fresh;
      recordSent(tcp, t, next);
    }
  } else if ((m[t + FLAGS] & PERSIST) === 0 || bare) {
    // RFC 9293 3.8.4: one below what the peer expects, so that it must answer.
    sendData(tcp, iface, t, slot, (m[t + SND_UNA] - 1) | 0, 0, 0, 0, 0);
  }
  return true;
}

/**
 * One segment with an ACK: `length` bytes from `position` of the send queue, which are `seq` on.
 * @param split As `emit` takes it.
 */
function sendData(
  tcp: Tcp,
  iface: Interface,
  t: number,
  slot: number,
  seq: number,
  position: number,
  length: number,
  segmentFlags: number,
  split: number,
): void {
  const m = tcp.m;
  const flags = m[t + FLAGS];
  const at = segmentAt(tcp, iface, t, slot) + HEADER;
  let optionBytes = 0;
  let sum = 0;
  if ((flags & TS) !== 0) {
    optionBytes = 12;
    sum = writeTimestamps(tcp, t, at);
  }
  const path = m[t + PATH] & ANY;
  const handshake = length === 0 ? path & HANDSHAKE : 0;
  // SACK blocks ride on pure ACKs, where they cost no payload.
  if (
    length === 0 &&
    (flags & SACK) !== 0 &&
    (m[t + OOO] !== 0 || m[t + DSACK_START] !== m[t + DSACK_END]) &&
    handshake === 0
  ) {
    const sackBytes = writeSack(tcp, t, at + optionBytes, sackRoom(tcp, t));
    sum += tcp.arena.kernels.sum(at + optionBytes, sackBytes);
    optionBytes += sackBytes;
  }
  let tos = 0;
  if ((path & ECN) !== 0) {
    // RFC 3168 6.1.4 to 6.1.6: no ECT on pure ACKs, retransmissions and window probes.
    const fresh = length > 0 && seq === m[t + SND_NXT] && (flags & PERSIST) === 0;
    const linux = (path & ECN) === ECN_ACCURATE && tcp.limits.habits === 'linux';
    if (fresh || linux) tos = (path & ECT) >>> ECT_SHIFT;
    segmentFlags |= handshake !== 0 ? ecnHandshakeFlags(m, t) : ecnFlags(m, t, fresh);
    if ((path & OPTION) !== 0 && split === 0 && (fresh || length === 0 || linux)) {
      const room = length > 0 ? m[t + MSS] - length : OPTIONS_MAX - optionBytes;
      const bytes = linux && room >= ACCECN_BYTES ? ACCECN_BYTES : accEcnOptionBytes(tcp, t);
      if (bytes <= room) {
        accEcnOptionWrite(tcp, t, at + optionBytes, bytes, handshake !== 0 || linux);
        sum += tcp.arena.kernels.sum(at + optionBytes, bytes);
        optionBytes += bytes;
      }
    }
  }
  if (length > 0) {
    if (iface.port.capabilities.txChecksum)
      queueCopy(tcp.chunks, t + SNDQ, position, length, at + optionBytes);
    else sum += queueCopySum(tcp.chunks, t + SNDQ, position, length, at + optionBytes);
  }
  const rcvNxt = m[t + RCV_NXT];
  emit(
    tcp,
    iface,
    t,
    slot,
    seq,
    rcvNxt,
    F_ACK | segmentFlags,
    windowToTell(tcp, t),
    optionBytes,
    length,
    sum,
    split,
    tos,
  );
  if (tcp.urgentSenders !== 0) urgentAnnounce(tcp, iface, t, slot, seq);
  m[t + LAST_ACK] = rcvNxt;
  m[t + ACK_OWED] = 0;
  m[t + FLAGS] = m[t + FLAGS] & ~(ACK_NOW | ACK_DELAYED | DELACK);
}

/** Blocks that fit in an ACK. Two must fit beside AccECN's option (RFC 9768 3.2.3.3), where they can: else it waits. */
function sackRoom(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const most = (m[t + FLAGS] & TS) !== 0 ? 3 : 4;
  if ((m[t + PATH] & OPTION) === 0) return most;
  return most === 4 || accEcnOptionBytes(tcp, t) < ACCECN_BYTES ? most - 1 : most;
}

/**
 * Out-of-order data came. A batch has one ACK at its end; but what that has no room to report would seem lost, and be
 * sent again: so there is one at once whenever it is full. @returns whether there was
 */
export function sackIfFull(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  if ((m[t + FLAGS] & SACK) === 0 || m[t + ST] < ESTABLISHED || (m[t + PATH] & HANDSHAKE) !== 0) return false;
  const duplicate = m[t + DSACK_START] !== m[t + DSACK_END] ? 1 : 0;
  if (reassemblyUntold(tcp, t) + duplicate < sackRoom(tcp, t)) return false;
  return ackAtOnce(tcp, t);
}

/** An ACK of what there is so far, before the rest of the batch is looked at. @returns whether there was a slot */
export function ackAtOnce(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  const iface = tcp.ip.interfaces[m[t + IFACE]];
  if (iface.port.tx.available <= SLOTS_RESERVED || nextHop(tcp, t) <= 0) return false;
  const slot = txSlot(iface);
  if (slot === 0) return false;
  sendData(tcp, iface, t, slot, m[t + SND_NXT], 0, 0, 0, 0);
  return true;
}

/** D-SACK first (RFC 2883 4), then what is out of order. */
function writeSack(tcp: Tcp, t: number, at: number, most: number): number {
  const m = tcp.m;
  let count = 0;
  if (m[t + DSACK_START] !== m[t + DSACK_END]) {
    tcp.view.setInt32(at + 4, m[t + DSACK_START], false);
    tcp.view.setInt32(at + 8, m[t + DSACK_END], false);
    m[t + DSACK_START] = m[t + DSACK_END];
    count = 1;
  }
  count += reassemblyBlocks(tcp, t, at + 4 + 8 * count, most - count);
  tcp.view.setInt32(at, 0x01010500 | (2 + 8 * count), false);
  return 4 + 8 * count;
}
