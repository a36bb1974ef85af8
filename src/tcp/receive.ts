/**
 * The program's side of receiving (RFC 9293 3.10.3): bytes are offered in place, in the frame or in the receive
 * queue; what the program leaves is queued, and offered again when it asks.
 */
import { queueAppend, queueClear, queueDrop, queuePeek, queuePeekAt } from '../memory/byte-queue.ts';
import { FLAG, FLAG2, STATE, TCB } from './block.ts';
import { tcpAbort } from './close.ts';
import { ackNow, finReceived } from './input.ts';
import { reassemblyJoin, reassemblyPrune } from './reassembly.ts';
import { windowUpdate } from './receive-window.ts';
import type { Tcp } from './tcp.ts';

const {
  STATE: ST,
  FLAGS,
  FLAGS2,
  RCVQ,
  OOO,
  FIN_AHEAD,
  FIN_AHEAD_SEQ,
  RCV_NXT,
  IRS,
  BYTES_IN,
  HANDLE,
  RCVQ_LENGTH,
} = TCB;
const { PAUSED, DETACHED, FIN_RECEIVED, END_TOLD } = FLAG;
const { END_DUE } = FLAG2;
const { CLOSED, FREE } = STATE;

/** The program's functions that receiving calls. */
export interface Reader {
  data(conn: number, at: number, length: number): number;
  end(conn: number): void;
}

/** Offers `length` bytes at `at`, which RCV.NXT has passed, and queues what the program leaves. */
export function receiveOffer(tcp: Tcp, t: number, at: number, length: number, reader: Reader): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & DETACHED) !== 0) {
    refuse(tcp, t);
    return;
  }
  if (m[t + RCVQ_LENGTH] > 0 || (m[t + FLAGS] & PAUSED) !== 0) {
    keep(tcp, t, at, length);
    return;
  }
  const consumed = atLeastZero(reader.data(m[t + HANDLE], at, length));
  if (consumed >= length) return;
  if ((m[t + FLAGS] & DETACHED) !== 0) {
    refuse(tcp, t);
    return;
  }
  m[t + FLAGS] |= PAUSED;
  keep(tcp, t, at + consumed, length - consumed);
}

/** What a handler says it consumed: none for a negative number, as a refused `send` returns, or for no number at all. */
function atLeastZero(consumed: number): number {
  return consumed > 0 ? consumed : 0;
}

/** The program has let go of a connection before it read all: RST tells the peer (RFC 2525 2.17). */
function refuse(tcp: Tcp, t: number): void {
  if (tcp.m[t + ST] !== CLOSED) tcpAbort(tcp, t);
}

function keep(tcp: Tcp, t: number, at: number, length: number): void {
  const state = tcp.m[t + ST];
  // Reset meanwhile: nobody can read it any more.
  if (state === FREE || receiveLost(tcp, t)) return;
  if (queueAppend(tcp.chunks, t + RCVQ, at, length) !== length) {
    throw new Error('assertion: a chunk that was promised is gone');
  }
}

/** The connection was ended at once: what the program left is lost, and what came behind that goes the same way. */
export function receiveLost(tcp: Tcp, t: number): boolean {
  return tcp.m[t + ST] === CLOSED && (tcp.m[t + FLAGS] & FIN_RECEIVED) === 0;
}

/**
 * The gap before out-of-order data may have closed, up to `next`: what follows joins, and is offered chunk by chunk
 * where it lies. When RCV.NXT is past `next`, data that came behind it in the same batch is still to be told, and the
 * event that came with that one does it.
 */
export function receiveReassemble(tcp: Tcp, t: number, next: number, reader: Reader): void {
  const m = tcp.m;
  if (m[t + RCV_NXT] !== next || m[t + ST] === CLOSED) return;
  let reads = true;
  for (let from = next; reads && m[t + OOO] !== 0 && reassemblyJoin(tcp, t); from = m[t + RCV_NXT]) {
    const joined = (m[t + RCV_NXT] - from) | 0;
    m[t + BYTES_IN] = (m[t + BYTES_IN] + joined) | 0;
    tcp.counters.bytesIn += joined;
    reads = offerQueue(tcp, t, reader);
  }
  if (m[t + ST] === CLOSED) return;
  // RFC 5681 4.2: at once. An ACK may have left since the gap closed, when more runs than it could report had grown. What
  // the SYN of a simultaneous open carried is behind no gap, and its ACK may wait as any.
  if (m[t + RCV_NXT] !== next && next !== ((m[t + TCB.IRS] + 1) | 0)) ackNow(tcp, t);
  if (m[t + FIN_AHEAD] !== 0 && m[t + FIN_AHEAD_SEQ] === m[t + RCV_NXT]) {
    m[t + FIN_AHEAD] = 0;
    finReceived(tcp, t);
  }
  if (reads) receiveResume(tcp, t, reader);
}

/** The program reads on: offers the queue from its head, then the end. */
export function receiveResume(tcp: Tcp, t: number, reader: Reader): void {
  const m = tcp.m;
  if ((m[t + FLAGS] & PAUSED) !== 0 || !offerQueue(tcp, t, reader)) return;
  if (m[t + ST] !== CLOSED) windowUpdate(tcp, t);
  if ((m[t + FLAGS2] & END_DUE) !== 0) receiveEnd(tcp, t, reader);
}

/** Offers the queue, unless paused, until the program leaves something. @returns false when it let go of the connection */
function offerQueue(tcp: Tcp, t: number, reader: Reader): boolean {
  const m = tcp.m;
  const conn = m[t + HANDLE];
  while ((m[t + FLAGS] & PAUSED) === 0) {
    const n = queuePeek(tcp.chunks, t + RCVQ);
    if (n === 0) break;
    tcp.offering = t;
    tcp.offeredBytes = n;
    const consumed = atLeastZero(reader.data(conn, queuePeekAt(tcp.chunks, t + RCVQ), n));
    tcp.offering = 0;
    // The handler may have ended the connection, and its queue with it.
    if (m[t + RCVQ_LENGTH] === 0) return false;
    queueDrop(tcp.chunks, t + RCVQ, consumed < n ? consumed : n);
    if ((m[t + FLAGS] & DETACHED) !== 0) {
      if (m[t + RCVQ_LENGTH] > 0) refuse(tcp, t);
      return false;
    }
    if (consumed < n) m[t + FLAGS] |= PAUSED;
  }
  return true;
}

/** All data before the peer's FIN was offered. Tells the end, once, when it is consumed too. */
export function receiveEnd(tcp: Tcp, t: number, reader: Reader): void {
  const m = tcp.m;
  m[t + FLAGS2] |= END_DUE;
  if ((m[t + FLAGS] & (END_TOLD | DETACHED | PAUSED)) !== 0 || m[t + RCVQ_LENGTH] > 0) return;
  m[t + FLAGS] |= END_TOLD;
  reader.end(m[t + HANDLE]);
}

/** A clean close that the program may not see yet, since it has data and the end still to read. */
export function receiveUnread(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  return (m[t + FLAGS] & (FIN_RECEIVED | END_TOLD | DETACHED)) === FIN_RECEIVED && m[t + RCVQ_LENGTH] > 0;
}

export function receiveClear(tcp: Tcp, t: number): void {
  queueClear(tcp.chunks, t + RCVQ);
}

/**
 * Chunks are short: may `need` of them be promised to data that is next in order and within the window? A program that
 * takes what it gets will not need them, and may have the last one. One that leaves its data leaves the last eighth
 * too, and one that was never seen to take any a sixteenth. What the connection keeps out of order is worth less than
 * what is in order, and makes room.
 */
export function receiveAdmit(tcp: Tcp, t: number, need: number): boolean {
  const { m, chunks: pool } = tcp;
  const queued = m[t + RCVQ_LENGTH];
  let leaves = 0;
  if (queued > 0) leaves = pool.count >> 3;
  else if (m[t + RCV_NXT] === ((m[t + IRS] + 1) | 0)) leaves = pool.count >> 4;
  const missing = need + leaves + tcp.chunksPromised - pool.free;
  if (missing <= 0) return true;
  reassemblyPrune(tcp, t, missing);
  if (need + leaves + tcp.chunksPromised <= pool.free) return true;
  tcp.counters.receiveNoMemory++;
  return false;
}
