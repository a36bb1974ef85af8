/** SEND (RFC 9293 3.10.2): bytes join the send queue, within the connection's buffer and the engine's chunks. */
import { queueAppend, queueAppendBytes } from '../memory/byte-queue.ts';
import { FLAG, STATE, TCB } from './block.ts';
import { LIST_DATA, listPush } from './lists.ts';
import type { Tcp } from './tcp.ts';

const { STATE: ST, FLAGS, SNDQ, SND_BUF, IFACE, SNDQ_LENGTH } = TCB;
const { FIN_QUEUED, WANT_WRITABLE } = FLAG;
const { SYN_SENT, SYN_RECEIVED, ESTABLISHED, CLOSE_WAIT } = STATE;
const L_DATA = LIST_DATA;

/** Queues `length` bytes at arena offset `from`. @returns how many were taken; -1 when sending is over. */
export function tcpSend(tcp: Tcp, t: number, from: number, length: number): number {
  if (!maySend(tcp, t)) return -1;
  const room = sendRoom(tcp, t, length);
  const taken = room > 0 ? queueAppend(tcp.chunks, t + SNDQ, from, room) : 0;
  return finish(tcp, t, taken, length);
}

/** `tcpSend` of `bytes[start, end)`. */
export function tcpSendBytes(tcp: Tcp, t: number, bytes: Uint8Array, start: number, end: number): number {
  if (!maySend(tcp, t)) return -1;
  const room = sendRoom(tcp, t, end - start);
  const taken = room > 0 ? queueAppendBytes(tcp.chunks, t + SNDQ, bytes, start, start + room) : 0;
  return finish(tcp, t, taken, end - start);
}

function maySend(tcp: Tcp, t: number): boolean {
  const state = tcp.m[t + ST];
  if ((tcp.m[t + FLAGS] & FIN_QUEUED) !== 0) return false;
  return state === ESTABLISHED || state === CLOSE_WAIT || state === SYN_SENT || state === SYN_RECEIVED;
}

/** How much of `length` has room. An eighth of the chunks stays for receiving, so that ACKs and data get in. */
function sendRoom(tcp: Tcp, t: number, length: number): number {
  const pool = tcp.chunks;
  const space = tcp.m[t + SND_BUF] - tcp.m[t + SNDQ_LENGTH];
  const n = length < space ? length : space;
  const chunks = pool.free - tcp.chunksPromised - (pool.count >> 3);
  // Most writes are small and most pools are not empty.
  if (n <= pool.dataBytes && chunks > 0) return n;
  const most = chunks * pool.dataBytes;
  return n < most ? n : most;
}

function finish(tcp: Tcp, t: number, taken: number, wanted: number): number {
  const m = tcp.m;
  if (taken < wanted) {
    const waits = (m[t + FLAGS] & WANT_WRITABLE) !== 0;
    m[t + FLAGS] |= WANT_WRITABLE;
    if (!waits && m[t + SND_BUF] - m[t + SNDQ_LENGTH] > 0) {
      // Chunks are short, not this connection's buffer: no ACK of its own may ever come to say that there is room.
      tcp.counters.sendNoMemory++;
      tcp.starved.push(m[t + TCB.HANDLE]);
    }
  }
  if (taken > 0) listPush(m, tcp.lists[m[t + IFACE]], L_DATA, t);
  return taken;
}
