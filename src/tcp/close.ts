/** Ends of connections: the program's CLOSE and ABORT (RFC 9293 3.10.4, 3.10.5), and giving blocks back. */
import { queueClear } from '../memory/byte-queue.ts';
import { COLD, FLAG, FLAG2, STATE, TCB } from './block.ts';
import { coldOf, coldWord } from './cold.ts';
import { paceEnd } from './congestion/pacing.ts';
import { EVENT_CLOSE, eventPush } from './events.ts';
import { fastOpenEnded } from './fast-open.ts';
import { LIST_CONTROL, LIST_DATA, listPush } from './lists.ts';
import { CLOSED_ABORTED, CLOSED_CLEAN } from './reasons.ts';
import { reassemblyClear } from './reassembly.ts';
import { memoryForget } from './reclaim.ts';
import { recordsClear } from './records.ts';
import { SOURCE_CONNECTIONS } from './sources.ts';
import type { Tcp } from './tcp.ts';
import { timeWaitEnter } from './time-wait.ts';
import { keepStart } from './timers.ts';
import { urgentForget } from './urgent.ts';

const { STATE: ST, FLAGS, FLAGS2, HASH, LISTENER, SNDQ, RCVQ, IFACE, OOO, SNDQ_LENGTH, RCVQ_LENGTH } = TCB;
const { LISTED, MINI, FIN_QUEUED, FIN_RECEIVED, DETACHED, PAUSED, RTX, PERSIST, DELACK, KEEP, PROBE } = FLAG;
const { LINGER } = FLAG2;

/** Gives a block back to its pool; one that is still on an output list follows when it is popped. */
export function blockRelease(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & LISTED) !== 0) {
    m[t + ST] = STATE.FREE;
    return;
  }
  if (tcp.wheel.isArmed(t)) throw new Error(`assertion: a timer of block ${t} still runs`);
  if (tcp.marking) tcp.sourceRoutes.delete(t);
  if ((m[t + FLAGS] & MINI) !== 0) tcp.minis.give(t);
  else tcp.blocks.give(t);
}

/** Takes a connection out of the protocol: no timer, not found by packets, nothing left to send. */
function detachFromWire(tcp: Tcp, t: number): void {
  const m = tcp.m;
  urgentForget(tcp, t);
  if (m[t + LISTENER] !== 0) tcp.sources?.remove(t, SOURCE_CONNECTIONS);
  tcp.wheel.disarm(t);
  paceEnd(tcp, t);
  m[t + FLAGS] &= ~(RTX | PERSIST | DELACK | KEEP | PROBE);
  queueClear(tcp.chunks, t + SNDQ);
  recordsClear(tcp, t);
  reassemblyClear(tcp, t);
  memoryForget(tcp, t);
  m[t + ST] = STATE.CLOSED;
}

/** Ends a connection at once; received data that was not consumed is lost. */
export function tcpDestroy(tcp: Tcp, t: number, reason: number): void {
  const m = tcp.m;
  if (m[t + ST] === STATE.CLOSED) return;
  fastOpenEnded(tcp, t, reason);
  tcp.table.remove(m[t + HASH], t);
  detachFromWire(tcp, t);
  // Behind what is lost nothing more may be read, nor the end.
  if (m[t + RCVQ_LENGTH] > 0) m[t + FLAGS] |= PAUSED;
  m[t + FLAGS] &= ~FIN_RECEIVED;
  queueClear(tcp.chunks, t + RCVQ);
  eventPush(tcp, t, EVENT_CLOSE, reason, 0);
}

/** Both FINs are through and ours is acknowledged; what was received stays until the program has read it. */
export function tcpFinish(tcp: Tcp, t: number, timeWait: boolean): void {
  const m = tcp.m;
  tcp.wheel.disarm(t);
  if (timeWait) timeWaitEnter(tcp, t);
  else tcp.table.remove(m[t + HASH], t);
  detachFromWire(tcp, t);
  eventPush(tcp, t, EVENT_CLOSE, CLOSED_CLEAN, 0);
}

/** SHUTDOWN of our direction: FIN follows what is queued. No-op when done already. */
export function tcpShutdown(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & FIN_QUEUED) !== 0) return;
  switch (m[t + ST]) {
    case STATE.SYN_SENT:
      // RFC 9293 3.10.4: nothing was sent, so nothing needs an end.
      if (m[t + SNDQ_LENGTH] === 0) {
        tcpDestroy(tcp, t, CLOSED_CLEAN);
        return;
      }
      break;
    case STATE.SYN_RECEIVED:
      break;
    case STATE.ESTABLISHED:
      m[t + ST] = STATE.FIN_WAIT_1;
      break;
    case STATE.CLOSE_WAIT:
      m[t + ST] = STATE.LAST_ACK;
      break;
    default:
      return;
  }
  m[t + FLAGS] |= FIN_QUEUED;
  listPush(m, tcp.lists[m[t + IFACE]], LIST_DATA, t);
}

/**
 * CLOSE of both directions: the program wants no more data. Data that it left unread, or that arrives later,
 * ends the connection by RST, since it can't be delivered (RFC 9293 3.6.1, RFC 2525 2.17).
 */
export function tcpClose(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if (m[t + ST] === STATE.UNREAD) {
    tcpDiscardUnread(tcp, t);
    return;
  }
  if (m[t + ST] === STATE.CLOSED) {
    // Its close event is on the way.
    m[t + FLAGS] |= DETACHED;
    return;
  }
  // What the program is looking at just now counts as read; if it isn't, receiveResume aborts.
  const unread = m[t + RCVQ_LENGTH] - (tcp.offering === t ? tcp.offeredBytes : 0);
  if (unread > 0 || m[t + OOO] !== 0) {
    tcpAbort(tcp, t);
    return;
  }
  const lingers = (m[t + FLAGS2] & LINGER) !== 0;
  const linger_ms = lingers ? coldWord(tcp, t, COLD.LINGER) : 0;
  if (lingers && linger_ms === 0) {
    tcpAbort(tcp, t);
    return;
  }
  m[t + FLAGS] |= DETACHED;
  tcpShutdown(tcp, t);
  if (m[t + ST] === STATE.FIN_WAIT_2) keepStart(tcp, t, tcp.limits.finWait2_ms);
  else if (lingers && m[t + ST] !== STATE.CLOSED) keepStart(tcp, t, linger_ms);
}

/**
 * How long `tcpClose` lets what is queued and the FIN be on their way before it resets the connection (SO_LINGER):
 * ms, 0: not at all; negative: as long as it takes.
 */
export function tcpLinger(tcp: Tcp, t: number, linger_ms: number): void {
  const m = tcp.m;
  if (linger_ms < 0) {
    m[t + FLAGS2] &= ~LINGER;
    return;
  }
  m[coldOf(tcp, t) + COLD.LINGER] = linger_ms;
  m[t + FLAGS2] |= LINGER;
}

/** The program won't read what a finished connection left. */
function tcpDiscardUnread(tcp: Tcp, t: number): void {
  tcp.m[t + ST] = STATE.CLOSED;
  tcp.m[t + FLAGS] |= DETACHED;
  queueClear(tcp.chunks, t + RCVQ);
  eventPush(tcp, t, EVENT_CLOSE, CLOSED_CLEAN, 0);
}

/** ABORT: RST, and everything queued is lost. The program hears nothing more but `close`. */
export function tcpAbort(tcp: Tcp, t: number): void {
  const state = tcp.m[t + ST];
  tcp.m[t + FLAGS] |= DETACHED;
  if (state === STATE.CLOSED) return;
  if (state === STATE.UNREAD) {
    tcpDiscardUnread(tcp, t);
    return;
  }
  tcpReset(tcp, t, CLOSED_ABORTED);
}

/** Ends a connection at once, telling the peer. The RST waits for a tx slot like all output, the block with it. */
export function tcpReset(tcp: Tcp, t: number, reason: number): void {
  const m = tcp.m;
  const tell = m[t + ST] !== STATE.SYN_SENT;
  tcpDestroy(tcp, t, reason);
  if (!tell) return;
  m[t + FLAGS] |= PROBE;
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
}
