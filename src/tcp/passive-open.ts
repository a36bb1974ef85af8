/**
 * Passive opens (RFC 9293 3.10.7.2, 3.10.7.4): a SYN gets a mini block, which waits for the handshake's last ACK; then
 * a full block takes its place.
 */

import { FLAG_ACK as ACK, FLAG_RST as RST, FLAG_SYN as SYN } from '../wire/tcp.ts';
import { FLAG, STATE, TCB } from './block.ts';
import { blockRelease } from './close.ts';
import { congestionChoose } from './congestion/control.ts';
import { ecnHandshakeAck, ecnSyn, ecnSynAgain } from './ecn.ts';
import { blockStart, established, initialSequence, negotiate } from './handshake.ts';
import { listenerFind } from './listen.ts';
import { LIST_CONTROL, listPush } from './lists.ts';
import { flowReplace, keyFromPacket, packetHash } from './lookup.ts';
import { receiveFirst, receiveShift } from './receive-window.ts';
import { challengeMini, resetFor } from './reply.ts';
import type { Segment } from './segment.ts';
import { CHALLENGE_INTERVAL, type Tcp } from './tcp.ts';
import { timeWaitRemove } from './time-wait.ts';
import { rttSample } from './timers.ts';

const {
  STATE: ST,
  FLAGS,
  HANDLE,
  NEXT_OUT,
  HASH,
  IFACE,
  LISTENER,
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
const { TS, MINI, LISTED } = FLAG;
/** Half-open blocks count their SYN-ACKs where full ones keep a deadline. */
const { RTX_AT: RETRIES, MINI_CHALLENGE_AT: CHALLENGED } = TCB;

/** Initial RTO of SYN and SYN-ACK (RFC 6298 2.1), ms. */
const SYN_RTO = 1000;

/** A SYN for no connection. @returns false when nothing listens there. */
export function listenInput(tcp: Tcp, s: Segment): boolean {
  const p = tcp.ip.packet;
  const listener = listenerFind(tcp, p, s.ports & 0xffff);
  if (listener === null) return false;
  if (listener.halfOpen >= listener.options.backlog) {
    listener.dropped++;
    tcp.counters.backlogFull++;
    return true;
  }
  const m = tcp.m;
  let t = tcp.minis.take();
  if (t === 0 && tcp.timeWaitOldest !== 0) {
    tcp.counters.timeWaitEvicted++;
    timeWaitRemove(tcp, tcp.timeWaitOldest);
    t = tcp.minis.take();
  }
  if (t === 0) {
    tcp.counters.miniExhausted++;
    return true;
  }
  const hash = packetHash(tcp, p, s.ports);
  if (!tcp.table.insert(hash, t)) {
    tcp.counters.tableFull++;
    tcp.minis.give(t);
    return true;
  }
  m[t + FLAGS] = MINI;
  keyFromPacket(m, t, p, s.ports, hash);
  m[t + ST] = STATE.SYN_RECEIVED;
  m[t + IFACE] = p.iface;
  m[t + LISTENER] = listener.id + 1;
  negotiate(tcp, t, s, receiveShift(tcp, listener.options.receiveBuffer));
  ecnSyn(tcp, t, s, listener.options.ecn);
  initialSequence(tcp, t);
  m[t + RCV_NXT] = (s.seq + 1) | 0;
  m[t + CHALLENGED] = (tcp.nowMs - CHALLENGE_INTERVAL) | 0;
  m[t + RCV_ADV] = (m[t + RCV_NXT] + receiveFirst(listener.options.receiveBuffer)) | 0;
  m[t + SND_WND] = s.window;
  listener.halfOpen++;
  tcp.wheel.arm(t, (tcp.nowMs + SYN_RTO) | 0);
  listPush(m, tcp.lists[p.iface], LIST_CONTROL, t);
  return true;
}

/** A half-open connection's timer: SYN-ACK again, or gone. */
export function synReceivedTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.counters.retransmissionTimeouts++;
  if (++m[t + RETRIES] > tcp.limits.synRetries) {
    halfOpenRemove(tcp, t);
    return;
  }
  tcp.wheel.arm(t, (tcp.nowMs + SYN_RTO * 2 ** m[t + RETRIES]) | 0);
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
}

function halfOpenRemove(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.listeners[m[t + LISTENER] - 1].halfOpen--;
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
    if (offset === 0) halfOpenRemove(tcp, t);
    else if (offset > 0 && offset < window) challengeMini(tcp, t);
    return 0;
  }
  if ((m[t + FLAGS] & TS) !== 0 && s.hasTimestamp === 1 && ((s.tsVal - m[t + TS_RECENT]) | 0) < 0) {
    tcp.counters.paws++;
    challengeMini(tcp, t);
    return 0;
  }
  if ((s.flags & SYN) !== 0) {
    // The peer's SYN again: our SYN-ACK was lost.
    if (offset !== -1 || (s.flags & ACK) !== 0) challengeMini(tcp, t);
    else if (ecnSynAgain(tcp, t, s)) listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
    else {
      resetFor(tcp, tcp.ip.packet, s);
      halfOpenRemove(tcp, t);
    }
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

/** The handshake is complete: a full block takes the mini block's place. */
function promote(tcp: Tcp, t: number, s: Segment): number {
  const m = tcp.m;
  const listener = tcp.listeners[m[t + LISTENER] - 1];
  if (listener.removed) {
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
  const handle = m[full + HANDLE];
  for (let i = -16; i < 16; i++) m[full + i] = m[t + i];
  m[full + HANDLE] = handle;
  m[full + NEXT_OUT] = 0;
  m[full + LAST_ACK] = m[full + RCV_NXT];
  m[full + T_NEXT] = 0;
  m[full + T_PREV] = 0;
  m[full + FLAGS] = (m[t + FLAGS] & ~(MINI | LISTED)) | listener.flags;
  flowReplace(tcp, t, full);
  blockRelease(tcp, t);
  listener.halfOpen--;
  listener.accepted++;
  tcp.counters.passiveOpens++;

  const o = listener.options;
  blockStart(
    tcp,
    full,
    m[full + SND_UNA],
    (m[full + RCV_NXT] - 1) | 0,
    o.receiveBuffer,
    o.sendBuffer,
    o.notSentLowWater,
    o.handlers,
  );
  if (o.congestion !== undefined) congestionChoose(tcp, full, o.congestion);
  ecnHandshakeAck(tcp, full, s);
  established(tcp, full, s, m[full + FLAGS] & 15);
  // Timestamps measure the handshake whatever was lost (RFC 7323 4); but data instead of the last ACK means that
  // this ACK was lost, and its echo is as old as the peer's program was idle.
  if (s.hasTimestamp === 1 && s.length === 0) {
    const ms = (tcp.nowMs + m[full + TS_OFFSET] - s.tsEcr) | 0;
    if (ms > 0 && ms < 120_000) rttSample(m, full, ms * 1000);
  }
  return full;
}
