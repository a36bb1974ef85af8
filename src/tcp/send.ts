/**
 * SEND (RFC 9293 3.10.2): bytes join the send queue, within the connection's buffer and the engine's chunks.
 *
 * A buffer that tunes itself holds 64 KiB or two congestion windows: what is in flight, and as much for when its ACKs
 * have doubled the window (as Linux's tcp_sndbuf_expand); it follows the window down, too. Its size is worked out when
 * a program wants more than the last answer, so a connection that sends little never asks.
 *
 * With a low-water mark (Linux's TCP_NOTSENT_LOWAT) a program is kept from queueing more than so many bytes that can't
 * be sent yet: what it writes then is the latest it has. The mark stands in SND_BUF, since a queue that small is
 * below it in any case, and SND_FULL is the buffer itself.
 */
import { queueAppend, queueAppendBytes } from '../memory/byte-queue.ts';
import { COLD, FLAG, FLAG2, STATE, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { LIST_DATA, listPush } from './lists.ts';
import { fairShare, LEVEL_CALM, memoryLevel } from './memory.ts';
import type { Tcp } from './tcp.ts';

const { STATE: ST, FLAGS, FLAGS2, SNDQ, SND_BUF, SND_NXT, SND_UNA, CWND, IFACE, HANDLE, SNDQ_LENGTH } = TCB;
const { SND_FULL } = COLD;
const { FIN_QUEUED, WANT_WRITABLE } = FLAG;
const { SND_AUTO, COLD_USED } = FLAG2;
const { SYN_SENT, SYN_RECEIVED, ESTABLISHED, CLOSE_WAIT } = STATE;
const L_DATA = LIST_DATA;
const CALM = LEVEL_CALM;

/** Where a buffer that tunes itself starts, bytes. */
const FIRST = 65_536;
/** Up to here a queue is short. */
const SHORT_CHUNKS = 2;

/** Sets the buffer of a new full block: bytes, or 0 to let it tune itself; and its low-water mark, 0 for none. */
export function sendStart(tcp: Tcp, t: number, sendBuffer: number, lowWater: number): void {
  const m = tcp.m;
  m[t + SND_BUF] = sendBuffer;
  if (sendBuffer === 0) {
    m[t + FLAGS2] |= SND_AUTO;
    m[t + SND_BUF] = FIRST;
  }
  if (lowWater > 0) sendLowWaterSet(tcp, t, lowWater);
}

/** Changes a connection's buffer: bytes, or 0: it tunes itself from now on. What is queued stays. */
export function sendBufferSet(tcp: Tcp, t: number, bytes: number): void {
  const m = tcp.m;
  const mark = sendLowWater(tcp, t);
  sendLowWaterSet(tcp, t, 0);
  if (bytes === 0) m[t + FLAGS2] |= SND_AUTO;
  else m[t + FLAGS2] &= ~SND_AUTO;
  m[t + SND_BUF] = bytes === 0 ? FIRST : bytes;
  sendLowWaterSet(tcp, t, mark);
}

/** @param lowWater Bytes, no more than a fixed buffer's; 0 takes the mark away. */
export function sendLowWaterSet(tcp: Tcp, t: number, lowWater: number): void {
  const m = tcp.m;
  const old = fullAt(tcp, t);
  let full = m[old];
  if (old !== t + SND_BUF) m[old] = 0;
  if (lowWater > 0) {
    const auto = (m[t + FLAGS2] & SND_AUTO) !== 0;
    if (auto && full < lowWater) full = lowWater;
    m[coldOf(tcp, t) + SND_FULL] = full;
    m[t + SND_BUF] = lowWater < full ? lowWater : full;
  } else m[t + SND_BUF] = full;
}

/** The mark in force, or 0. */
export function sendLowWater(tcp: Tcp, t: number): number {
  return fullAt(tcp, t) === t + SND_BUF ? 0 : tcp.m[t + SND_BUF];
}

/** Word that holds the size of the buffer itself. */
function fullAt(tcp: Tcp, t: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS2] & COLD_USED) === 0) return t + SND_BUF;
  const cold = coldOf(tcp, t);
  return m[cold + SND_FULL] !== 0 ? cold + SND_FULL : t + SND_BUF;
}

/** The buffer's size as it is now. */
export function sendBuffer(tcp: Tcp, t: number): number {
  return tcp.m[fullAt(tcp, t)];
}

/** Queues `length` bytes at arena offset `from`. @returns how many were taken; -1 when sending is over. */
export function tcpSend(tcp: Tcp, t: number, from: number, length: number): number {
  if (!maySend(tcp, t)) return -1;
  const room = takes(tcp, t, length);
  const taken = room > 0 ? queueAppend(tcp.chunks, t + SNDQ, from, room) : 0;
  return finish(tcp, t, taken, length);
}

/** `tcpSend` of `bytes[start, end)`. */
export function tcpSendBytes(tcp: Tcp, t: number, bytes: Uint8Array, start: number, end: number): number {
  if (!maySend(tcp, t)) return -1;
  const room = takes(tcp, t, end - start);
  const taken = room > 0 ? queueAppendBytes(tcp.chunks, t + SNDQ, bytes, start, start + room) : 0;
  return finish(tcp, t, taken, end - start);
}

function maySend(tcp: Tcp, t: number): boolean {
  const state = tcp.m[t + ST];
  if ((tcp.m[t + FLAGS] & FIN_QUEUED) !== 0) return false;
  return state === ESTABLISHED || state === CLOSE_WAIT || state === SYN_SENT || state === SYN_RECEIVED;
}

/** How much of `length` is taken now. */
function takes(tcp: Tcp, t: number, length: number): number {
  const pool = tcp.chunks;
  let space = tcp.m[t + SND_BUF] - tcp.m[t + SNDQ_LENGTH];
  if (space < length) space = sendRoom(tcp, t);
  const n = length < space ? length : space;
  // Most writes are small and most pools are not half full.
  if (n <= pool.dataBytes && pool.free - tcp.chunksPromised > pool.count >> 1) return n;
  return takesShort(tcp, t, n);
}

/**
 * How much of `n` memory allows. A quarter of the chunks stays for receiving; but short queues, as of those who answer
 * what they read, may take all but a sixteenth, so that readers who don't can't silence them.
 */
function takesShort(tcp: Tcp, t: number, n: number): number {
  const pool = tcp.chunks;
  const queued = tcp.m[t + SNDQ_LENGTH];
  const free = pool.free - tcp.chunksPromised;
  let most = (free - (pool.count >> 2)) * pool.dataBytes;
  if (memoryLevel(tcp) !== CALM && fairShare(tcp) - queued < most) most = fairShare(tcp) - queued;
  if (n <= most) return n;
  const short = SHORT_CHUNKS * pool.dataBytes - queued;
  const last = (free - (pool.count >> 4)) * pool.dataBytes;
  if (most < short) most = short < last ? short : last;
  if (n <= most) return n;
  tcp.counters.sendNoMemory++;
  return most;
}

/** Bytes that the buffer has room for, grown if the congestion window has, and the low-water mark heeded. */
export function sendRoom(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const full = fullAt(tcp, t);
  if ((m[t + FLAGS2] & SND_AUTO) !== 0) {
    const { sendBufferMax } = tcp.limits;
    const windows = 2 * m[t + CWND];
    let wanted = windows < sendBufferMax ? windows : sendBufferMax;
    if (wanted < FIRST) wanted = FIRST;
    if (wanted < m[t + SND_BUF] && full !== t + SND_BUF) wanted = m[t + SND_BUF];
    if (wanted < m[full] || memoryLevel(tcp) === CALM) m[full] = wanted;
  }
  let room = m[full] - m[t + SNDQ_LENGTH];
  if (full !== t + SND_BUF) {
    const late = m[t + SND_BUF] - unsent(m, t);
    if (late < room) room = late;
  }
  return room > 0 ? room : 0;
}

/** Bytes queued that no segment has carried yet. */
export function unsent(m: Int32Array, t: number): number {
  // SYN and FIN are sequence numbers without a byte.
  const bytes = m[t + SNDQ_LENGTH] - ((m[t + SND_NXT] - m[t + SND_UNA]) | 0);
  return bytes > 0 ? bytes : 0;
}

/**
 * An ACK came and the program waits for `writable`: is it time? Half of a fixed buffer is free then; and a quarter of
 * one that tunes itself, where half is in flight, so that the program has time until there is nothing left to send.
 */
export function sendWritable(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  const queued = m[t + SNDQ_LENGTH];
  if (queued <= m[t + SND_BUF] >> 1) return true;
  // Works out the size anew.
  if (sendRoom(tcp, t) === 0) return false;
  const full = fullAt(tcp, t);
  const quarters = (m[t + FLAGS2] & SND_AUTO) !== 0 ? 3 : 2;
  if (queued > (m[full] >> 2) * quarters) return false;
  return full === t + SND_BUF || unsent(m, t) <= m[t + SND_BUF] >> 1;
}

function finish(tcp: Tcp, t: number, taken: number, wanted: number): number {
  const m = tcp.m;
  if (taken < wanted) {
    const waits = (m[t + FLAGS] & WANT_WRITABLE) !== 0;
    m[t + FLAGS] |= WANT_WRITABLE;
    // Nothing is queued whose ACK could say that there is room: it is told when there are chunks.
    if (!waits && m[t + SNDQ_LENGTH] === 0) tcp.starved.push(m[t + HANDLE]);
  }
  if (taken > 0) listPush(m, tcp.lists[m[t + IFACE]], L_DATA, t);
  return taken;
}
