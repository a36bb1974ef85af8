/**
 * Passive opens (RFC 9293 3.10.7.2, 3.10.7.4): a SYN gets a mini block, which waits for the handshake's last ACK; then
 * a full block takes its place. Under a flood it gets a cookie instead, and with a Fast Open cookie of its own the
 * full block at once.
 */

import { txSlot } from '../ip/output.ts';
import { FLAG_ACK as ACK, FLAG_RST as RST, FLAG_SYN as SYN } from '../wire/tcp.ts';
import { BLOCK_BEFORE, FLAG, FLAG2, MINI_WORDS, PATH_FLAG, STATE, TCB } from './block.ts';
import { blockRelease } from './close.ts';
import { congestionChoose } from './congestion/control.ts';
import { cookieMake, cookieMss, cookieNegotiated, cookiesExpected } from './cookies.ts';
import { ecnCookie, ecnHandshakeAck, ecnStart, ecnSyn, ecnSynAgain } from './ecn.ts';
import { EVENT_OPEN, eventPush } from './events.ts';
import {
  FAST_OPEN_ASKED,
  FAST_OPEN_GOOD,
  FAST_OPEN_NONE,
  FAST_OPEN_OLD,
  fastOpenCheck,
} from './fast-open.ts';
import { blockStart, established, initialSequence, negotiate, synLost } from './handshake.ts';
import { receiveData } from './input.ts';
import { ipFieldsSet } from './ip-fields.ts';
import { type Listener, listenerFind } from './listen.ts';
import { LIST_CONTROL, listPush } from './lists.ts';
import { flowReplace, keyFromPacket, packetHash } from './lookup.ts';
import { nextHop } from './next-hop.ts';
import { transmitSyn } from './output.ts';
import { receiveFirst, receiveShift } from './receive-window.ts';
import { challengeMini, resetFor } from './reply.ts';
import type { Segment } from './segment.ts';
import { sourceRouteHeard, sourceRouteMove, sourceRouteSet } from './source-route.ts';
import { SOURCE_CONNECTIONS, SOURCE_HALF_OPEN } from './sources.ts';
import { CHALLENGE_INTERVAL, type Tcp } from './tcp.ts';
import { timeWaitRemove } from './time-wait.ts';
import { rttSample, rtxStart } from './timers.ts';

const {
  STATE: ST,
  FLAGS,
  FLAGS2,
  PATH,
  HANDLE,
  NEXT_OUT,
  HASH,
  IFACE,
  NEIGHBOUR,
  LISTENER,
  PEER_MSS,
  T_NEXT,
  T_PREV,
  TS_OFFSET,
  RCV_NXT,
  RCV_ADV,
  SND_UNA,
  SND_NXT,
  SND_WND,
  TS_RECENT,
  LAST_ACK,
} = TCB;
const { TS, MINI, LISTED, PROBE } = FLAG;
/** Half-open blocks count their SYN-ACKs where full ones keep a deadline. */
const { RTX_AT: RETRIES, MINI_CHALLENGE_AT: CHALLENGED } = TCB;

/** Initial RTO of SYN and SYN-ACK (RFC 6298 2.1), ms. */
const SYN_RTO = 1000;
/** Exponent limit, so that shifts stay in range. */
const RETRIES_SHIFT_MAX = 10;

/** A SYN for no connection. @returns false when nothing listens there, or not for this source. */
export function listenInput(tcp: Tcp, s: Segment): boolean {
  const p = tcp.ip.packet;
  const listener = listenerFind(tcp, p, s.ports & 0xffff);
  if (listener === null) return false;
  const { limits, counters } = tcp;
  if (!sourceAllowed(tcp)) return false;
  const offer =
    listener.options.fastOpen > 0 && s.hasOptions === 1 && tcp.options.fastOpenAt !== 0
      ? fastOpenCheck(tcp, p)
      : FAST_OPEN_NONE;
  if (offer >= FAST_OPEN_GOOD && openAtOnce(tcp, s, listener, offer === FAST_OPEN_OLD)) return true;

  const full = listener.halfOpen >= listener.options.backlog;
  const crowded =
    limits.halfOpenPerSource > 0 && tcp.sources!.ofPacket(p, SOURCE_HALF_OPEN) >= limits.halfOpenPerSource;
  if (crowded) counters.sourceHalfOpenLimited++;
  // A cookie's number can't rise above that of the TIME-WAIT before, which has just left a mini block free.
  const always = limits.synCookies === 'always' && tcp.reusing === 0;
  if (!full && !crowded && !always) {
    const t = takeMini(tcp);
    if (t !== 0) {
      halfOpen(tcp, t, s, listener, offer === FAST_OPEN_ASKED);
      return true;
    }
    counters.miniExhausted++;
  }
  if (limits.synCookies !== 'never') {
    answerByCookie(tcp, s, listener, offer === FAST_OPEN_ASKED);
  } else if (full) {
    listener.dropped++;
    counters.backlogFull++;
  }
  return true;
}

/** Whether the sender of `ip.packet` may have one connection more. */
function sourceAllowed(tcp: Tcp): boolean {
  const most = tcp.limits.connectionsPerSource;
  if (most === 0 || tcp.sources!.ofPacket(tcp.ip.packet, SOURCE_CONNECTIONS) < most) return true;
  tcp.counters.sourceConnectionsLimited++;
  return false;
}

function takeMini(tcp: Tcp): number {
  const t = tcp.minis.take();
  if (t !== 0 || tcp.timeWaitOldest === 0) return t;
  tcp.counters.timeWaitEvicted++;
  timeWaitRemove(tcp, tcp.timeWaitOldest);
  return tcp.minis.take();
}

/** Keeps a half-open connection in a mini block. @param tell Whether its SYN-ACK brings a Fast Open cookie. */
function halfOpen(tcp: Tcp, t: number, s: Segment, listener: Listener, tell: boolean): void {
  const hash = packetHash(tcp, tcp.ip.packet, s.ports);
  if (!tcp.table.insert(hash, t)) {
    tcp.counters.tableFull++;
    tcp.minis.give(t);
    return;
  }
  const m = tcp.m;
  m[t + FLAGS] = MINI;
  synReceived(tcp, t, s, listener, hash);
  m[t + CHALLENGED] = (tcp.nowMs - CHALLENGE_INTERVAL) | 0;
  listener.halfOpen++;
  tcp.sources?.add(t, SOURCE_HALF_OPEN);
  tcp.wheel.arm(t, (tcp.nowMs + SYN_RTO) | 0);
  // Without a slot now, the SYN-ACK goes without the cookie.
  if (!tell || !answerNow(tcp, t, true)) listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
}

/** What a block, mini, full or scratch, has of a SYN. FLAGS are to be set before. */
function synReceived(tcp: Tcp, t: number, s: Segment, listener: Listener, hash: number): void {
  const m = tcp.m;
  const p = tcp.ip.packet;
  keyFromPacket(m, t, p, s.ports, hash);
  m[t + ST] = STATE.SYN_RECEIVED;
  m[t + IFACE] = p.iface;
  m[t + LISTENER] = listener.id + 1;
  m[t + PATH] = 0;
  negotiate(tcp, t, s, receiveShift(tcp, listener.options.receiveBuffer));
  ecnSyn(tcp, t, s, listener.options.ecn);
  initialSequence(tcp, t);
  windowStart(tcp, t, s.seq, listener);
  m[t + SND_WND] = s.window;
  if (!listener.options.sourceRoutes) return;
  // The scratch block's is of whom it answered before.
  sourceRouteSet(tcp, t, null);
  sourceRouteHeard(tcp, t);
}

function windowStart(tcp: Tcp, t: number, irs: number, listener: Listener): void {
  const m = tcp.m;
  const { receiveBuffer } = listener.options;
  m[t + RCV_NXT] = (irs + 1) | 0;
  m[t + RCV_ADV] = (irs + 1 + receiveFirst(receiveBuffer)) | 0;
}

/** Sends a SYN-ACK outside the output lists. @returns false when there was no slot or no next hop. */
function answerNow(tcp: Tcp, t: number, fastOpen: boolean): boolean {
  const iface = tcp.ip.interfaces[tcp.m[t + IFACE]];
  if (nextHop(tcp, t) <= 0 || txSlot(iface) === 0) return false;
  tcp.fastOpen.answering = fastOpen;
  transmitSyn(tcp, iface, t, STATE.SYN_RECEIVED);
  tcp.fastOpen.answering = false;
  return true;
}

function answerByCookie(tcp: Tcp, s: Segment, listener: Listener, fastOpen: boolean): void {
  if (tcp.blocks.inUse === tcp.blocks.capacity) {
    // The ACK would find no block, and the peer believe that it has a connection.
    tcp.counters.blocksExhausted++;
    return;
  }
  const t = tcp.scratch;
  tcp.m[t + FLAGS] = MINI;
  tcp.m[t + NEIGHBOUR] = 0;
  synReceived(tcp, t, s, listener, 0);
  cookieMake(tcp, t, s);
  if (!answerNow(tcp, t, fastOpen)) {
    tcp.counters.repliesDropped++;
    return;
  }
  listener.cookies = true;
  listener.cookieAt = tcp.nowMs;
  tcp.counters.cookiesSent++;
}

/**
 * An ACK for no connection, which may bring a SYN cookie back.
 * @returns the new full block that is to process the segment, 0 when it is no cookie, -1 when it is to be dropped.
 */
export function cookieInput(tcp: Tcp, s: Segment): number {
  const m = tcp.m;
  const p = tcp.ip.packet;
  const listener = listenerFind(tcp, p, s.ports & 0xffff);
  if (listener === null || !cookiesExpected(tcp, listener)) return 0;
  m[tcp.scratch + FLAGS] = 0;
  keyFromPacket(m, tcp.scratch, p, s.ports, 0);
  const mss = cookieMss(tcp, tcp.scratch, s);
  if (mss === 0) {
    tcp.counters.cookiesFailed++;
    return 0;
  }
  if (!sourceAllowed(tcp)) return 0;
  const t = takeFull(tcp, s, listener);
  if (t === 0) return -1;
  m[t + ST] = STATE.SYN_RECEIVED;
  m[t + IFACE] = p.iface;
  m[t + LISTENER] = listener.id + 1;
  initialSequence(tcp, t);
  m[t + SND_UNA] = (s.ack - 1) | 0;
  m[t + SND_NXT] = s.ack;
  windowStart(tcp, t, (s.seq - 1) | 0, listener);
  m[t + LAST_ACK] = m[t + RCV_NXT];
  m[t + PEER_MSS] = mss;
  cookieNegotiated(tcp, t, s, listener.options.receiveBuffer);
  tcp.counters.cookiesAccepted++;
  if (listener.options.sourceRoutes) sourceRouteHeard(tcp, t);
  accepted(tcp, t, listener);
  ecnCookie(tcp, t, s, listener.options.ecn);
  established(tcp, t, s, m[t + FLAGS] & 15);
  return t;
}

/** A full block for the segment's connection, in the flow table, or 0. */
function takeFull(tcp: Tcp, s: Segment, listener: Listener): number {
  const t = tcp.blocks.take();
  if (t === 0) {
    tcp.counters.blocksExhausted++;
    return 0;
  }
  const hash = packetHash(tcp, tcp.ip.packet, s.ports);
  if (!tcp.table.insert(hash, t)) {
    tcp.counters.tableFull++;
    tcp.blocks.give(t);
    return 0;
  }
  tcp.m[t + FLAGS] = listener.flags;
  keyFromPacket(tcp.m, t, tcp.ip.packet, s.ports, hash);
  return t;
}

/** A full block whose key, options and sequence numbers stand becomes one of the listener's connections. */
function accepted(tcp: Tcp, t: number, listener: Listener): void {
  const m = tcp.m;
  const o = listener.options;
  listener.accepted++;
  tcp.counters.passiveOpens++;
  tcp.sources?.add(t, SOURCE_CONNECTIONS);
  const irs = (m[t + RCV_NXT] - 1) | 0;
  blockStart(tcp, t, m[t + SND_UNA], irs, o.receiveBuffer, o.sendBuffer, o.notSentLowWater, o.handlers);
  if (o.congestion !== undefined) congestionChoose(tcp, t, o.congestion);
  if (o.ipFields !== 0) ipFieldsSet(tcp, t, o.ipFields);
}

/**
 * A SYN with a good Fast Open cookie (RFC 7413 4.2.2): the program has the connection, and the SYN's data, before the
 * handshake ends. A FIN on it is left for the peer to send again.
 * @returns false when it has to shake hands first: over the limit, or for want of a block.
 */
function openAtOnce(tcp: Tcp, s: Segment, listener: Listener, tell: boolean): boolean {
  const m = tcp.m;
  if (!listener.fastOpen.hasRoom(tcp.nowMs)) {
    tcp.counters.fastOpenLimited++;
    return false;
  }
  const t = takeFull(tcp, s, listener);
  if (t === 0) return false;
  synReceived(tcp, t, s, listener, m[t + HASH]);
  m[t + LAST_ACK] = m[t + RCV_NXT];
  accepted(tcp, t, listener);
  ecnStart(tcp, t);
  listener.fastOpen.opening++;
  tcp.counters.fastOpenPassive++;
  m[t + FLAGS2] |= FLAG2.FAST_OPEN;
  m[t + SND_UNA] = m[t + SND_NXT];
  eventPush(tcp, t, EVENT_OPEN, 0, 0);
  s.seq = (s.seq + 1) | 0;
  // No window has been told yet that the peer could have kept to.
  const room = (m[t + RCV_ADV] - m[t + RCV_NXT]) | 0;
  if (s.length > room) s.length = room;
  if (s.length > 0) receiveData(tcp, t, s);
  rtxStart(tcp, t);
  // Otherwise with what the program answers, in this breath.
  if (tell && answerNow(tcp, t, true)) return true;
  m[t + FLAGS] |= PROBE;
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
  return true;
}

/** A half-open connection's timer: SYN-ACK again, or gone. */
export function synReceivedTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.counters.retransmissionTimeouts++;
  const retries = ++m[t + RETRIES];
  if (retries > tcp.limits.synAckRetries) {
    halfOpenRemove(tcp, t);
    return;
  }
  const backedOff = SYN_RTO << (retries < RETRIES_SHIFT_MAX ? retries : RETRIES_SHIFT_MAX);
  const { rtoMax_ms } = tcp.limits;
  tcp.wheel.arm(t, (tcp.nowMs + (backedOff < rtoMax_ms ? backedOff : rtoMax_ms)) | 0);
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
}

export function halfOpenRemove(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.listeners[m[t + LISTENER] - 1].halfOpen--;
  tcp.sources?.remove(t, SOURCE_HALF_OPEN);
  tcp.wheel.disarm(t);
  tcp.table.remove(m[t + HASH], t);
  blockRelease(tcp, t);
}

/**
 * A segment for a half-open connection.
 * @returns its new full block when the segment completed the handshake and is yet to be processed there, else 0.
 */
export function synReceivedInput(tcp: Tcp, t: number, s: Segment): number {
  const m = tcp.m;
  const offset = (s.seq - m[t + RCV_NXT]) | 0;
  const window = (m[t + RCV_ADV] - m[t + RCV_NXT]) | 0;
  if ((s.flags & RST) !== 0) {
    tcp.counters.resetsIn++;
    // RFC 5961 3: exactly, or it is answered with a SYN-ACK's worth of truth.
    if (offset === 0 || (tcp.limits.blindReset && offset > 0 && offset < window)) halfOpenRemove(tcp, t);
    else if (offset > 0 && offset < window) challengeMini(tcp, t);
    return 0;
  }
  if ((m[t + FLAGS] & TS) !== 0 && s.hasTimestamp === 1 && ((s.tsVal - m[t + TS_RECENT]) | 0) < 0) {
    tcp.counters.paws++;
    challengeMini(tcp, t);
    return 0;
  }
  if ((s.flags & SYN) !== 0) {
    synAgain(tcp, t, s, offset, window);
    return 0;
  }
  if ((s.flags & ACK) === 0) return 0;
  if (s.ack !== m[t + SND_NXT]) {
    tcp.counters.badAck++;
    resetFor(tcp, tcp.ip.packet, s);
    return 0;
  }
  if (offset < 0 || offset > window) {
    tcp.counters.outOfWindow++;
    challengeMini(tcp, t);
    return 0;
  }
  return promote(tcp, t, s);
}

/** RFC 9293 3.10.7.4, fourth step, for SYN-RECEIVED. */
function synAgain(tcp: Tcp, t: number, s: Segment, offset: number, window: number): void {
  const m = tcp.m;
  if ((s.flags & ACK) === 0) {
    if (offset === -1) {
      // The peer's own: our SYN-ACK was lost. The next one echoes this timestamp (RFC 7323 4.3).
      if ((m[t + FLAGS] & TS) !== 0 && s.hasTimestamp === 1) m[t + TS_RECENT] = s.tsVal;
      if (!ecnSynAgain(tcp, t, s)) {
        resetFor(tcp, tcp.ip.packet, s);
        halfOpenRemove(tcp, t);
        return;
      }
      listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
      return;
    }
    if (offset >= 0 && offset < window) {
      // Another connection's: back to LISTEN, where its next one will be heard.
      halfOpenRemove(tcp, t);
      return;
    }
  }
  challengeMini(tcp, t);
}

/** The handshake is complete: a full block takes the mini block's place. */
function promote(tcp: Tcp, t: number, s: Segment): number {
  const m = tcp.m;
  const listener = tcp.listeners[m[t + LISTENER] - 1];
  if (listener.removed || !sourceAllowed(tcp)) {
    resetFor(tcp, tcp.ip.packet, s);
    halfOpenRemove(tcp, t);
    return 0;
  }
  const full = tcp.blocks.take();
  if (full === 0) {
    // The peer believes the connection is open; its data, or our next SYN-ACK, asks again.
    tcp.counters.blocksExhausted++;
    return 0;
  }
  tcp.wheel.disarm(t);
  tcp.sources?.remove(t, SOURCE_HALF_OPEN);
  const handle = m[full + HANDLE];
  tcp.arena.kernels.copy((full - BLOCK_BEFORE) << 2, (t - BLOCK_BEFORE) << 2, MINI_WORDS << 2);
  const lost = m[t + RETRIES] > 0;
  const synAckAt = (m[t + TCB.T_AT] - SYN_RTO) | 0;
  m[full + HANDLE] = handle;
  m[full + NEXT_OUT] = 0;
  m[full + LAST_ACK] = m[full + RCV_NXT];
  m[full + T_NEXT] = 0;
  m[full + T_PREV] = 0;
  m[full + FLAGS] = (m[t + FLAGS] & ~(MINI | LISTED)) | listener.flags;
  if (tcp.marking) sourceRouteMove(tcp, t, full);
  flowReplace(tcp, t, full);
  blockRelease(tcp, t);
  listener.halfOpen--;
  accepted(tcp, full, listener);
  ecnStart(tcp, full);
  ecnHandshakeAck(tcp, full, s, (m[full + PATH] & PATH_FLAG.OPTION) === 0);
  established(tcp, full, s, m[full + FLAGS] & 15);
  // Timestamps measure the handshake whatever was lost (RFC 7323 4); but data instead of the last ACK means that
  // this ACK was lost, and its echo is as old as the peer's program was idle.
  if (s.hasTimestamp === 1 && s.length === 0) {
    const ms = (tcp.nowMs + m[full + TS_OFFSET] - s.tsEcr) | 0;
    if (ms > 0 && ms < 120_000) rttSample(m, full, ms * 1000);
  } else if (!lost && s.length === 0 && (m[full + FLAGS] & TS) === 0) {
    const ms = (tcp.nowMs - synAckAt) | 0;
    if (ms > 0) rttSample(m, full, ms * 1000);
  }
  if (lost) synLost(tcp, full);
  return full;
}
