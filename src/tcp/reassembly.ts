/**
 * Out-of-order data (RFC 9293 3.10.7.4, seventh step): nodes sorted by sequence number, disjoint; each a run of
 * bytes in chunks, described in the free header words of its first chunk. When the gap before the first node
 * closes, its bytes join the receive queue.
 *
 *     OOO ──► ┌ first chunk ────────────────┐  CHUNK_NEXT  ┌ chunk ─┐
 *             │ NODE, SEQ, LENGTH, LAST, …  │ ───────────► │ bytes  │
 *             │ bytes                       │              └────────┘
 *             └──── NODE ──► next node
 */
import { queueAppend } from '../memory/byte-queue.ts';
import { CHUNK_HEADER_BYTES, CHUNK_NEXT } from '../memory/chunks.ts';
import { TCB } from './block.ts';
import type { Tcp } from './tcp.ts';

const { OOO, OOO_BYTES, RCV_NXT, RCVQ, DSACK_START, DSACK_END } = TCB;
const HEADER = CHUNK_HEADER_BYTES;
const NEXT = CHUNK_NEXT;
/** Header words of a node's first chunk: next node (byte offset), first sequence number, bytes, last chunk. */
const NODE = 1;
const SEQ = 2;
const LENGTH = 3;
const LAST = 4;
/** When the node last grew, as a count: SACK reports the latest first. */
const STAMP = 5;

/** SACK blocks that fit beside timestamps (RFC 2018 3). */
const BLOCKS_MAX = 4;
/** Nodes at most: a peer that sends every other byte must not make us walk for ever. */
const NODES_MAX = 512;

/**
 * Keeps what is new of [seq, seq + length), whose first byte is at arena offset `at`.
 * @returns false when something had to be dropped for want of room.
 */
export function reassemblyAdd(tcp: Tcp, t: number, seq: number, at: number, length: number): boolean {
  const m = tcp.m;
  let from = seq;
  const end = (seq + length) | 0;
  /** Word that links to the node being looked at. */
  let link = t + OOO;
  /** Byte offset of the node before it, or 0. */
  let before = 0;
  let nodes = 0;
  while (((end - from) | 0) > 0) {
    const node = m[link];
    if (++nodes > NODES_MAX) return dropped(tcp);
    const start = node === 0 ? end : m[(node >> 2) + SEQ];
    if (((from - start) | 0) >= 0 && node !== 0) {
      // What this node holds already is a duplicate.
      const nodeEnd = (start + m[(node >> 2) + LENGTH]) | 0;
      if (((nodeEnd - from) | 0) > 0) {
        duplicate(tcp, t, from, ((nodeEnd - end) | 0) < 0 ? nodeEnd : end);
        // RFC 2883 4: the block that a duplicate belongs to is reported right after it.
        m[(node >> 2) + STAMP] = ++tcp.stamp;
        from = nodeEnd;
      }
      before = node;
      link = (node >> 2) + NODE;
      continue;
    }
    const stop = ((start - end) | 0) < 0 ? start : end;
    const piece = (stop - from) | 0;
    const source = (at + ((from - seq) | 0)) | 0;
    const added =
      before !== 0 && ((m[(before >> 2) + SEQ] + m[(before >> 2) + LENGTH] - from) | 0) === 0
        ? extend(tcp, before, source, piece)
        : insert(tcp, link, from, source, piece);
    m[t + OOO_BYTES] += added;
    if (added < piece) return dropped(tcp);
    if (before === 0 || m[link] !== node) {
      before = m[link];
      link = (before >> 2) + NODE;
    }
    from = stop;
  }
  return true;
}

/** The next ACK reports the first duplicate since the last (RFC 2883 4). */
function duplicate(tcp: Tcp, t: number, start: number, end: number): void {
  const m = tcp.m;
  if (m[t + DSACK_START] !== m[t + DSACK_END]) return;
  m[t + DSACK_START] = start;
  m[t + DSACK_END] = end;
}

function dropped(tcp: Tcp): boolean {
  tcp.counters.outOfOrderDropped++;
  return false;
}

/** Out-of-order data may not take the last quarter of the chunks: in-order data gets the connection further. */
function takeChunk(tcp: Tcp): number {
  return tcp.chunks.free - tcp.chunksPromised > tcp.chunks.count >> 2 ? tcp.chunks.take() : 0;
}

function insert(tcp: Tcp, link: number, seq: number, at: number, length: number): number {
  const m = tcp.m;
  const chunk = takeChunk(tcp);
  if (chunk === 0) return 0;
  const w = chunk >> 2;
  m[w + NEXT] = 0;
  m[w + NODE] = m[link];
  m[w + SEQ] = seq;
  m[w + LENGTH] = 0;
  m[w + LAST] = chunk;
  m[link] = chunk;
  return extend(tcp, chunk, at, length);
}

/** Appends to a node. @returns how many bytes found room. */
function extend(tcp: Tcp, node: number, at: number, length: number): number {
  const m = tcp.m;
  const w = node >> 2;
  const size = tcp.chunks.dataBytes;
  m[w + STAMP] = ++tcp.stamp;
  let done = 0;
  while (done < length) {
    const used = m[w + LENGTH];
    let offset = used % size;
    if (offset === 0 && used !== 0) {
      const chunk = takeChunk(tcp);
      if (chunk === 0) break;
      m[(chunk >> 2) + NEXT] = 0;
      m[(m[w + LAST] >> 2) + NEXT] = chunk;
      m[w + LAST] = chunk;
      offset = 0;
    }
    const piece = size - offset < length - done ? size - offset : length - done;
    tcp.arena.kernels.copy(m[w + LAST] + HEADER + offset, at + done, piece);
    m[w + LENGTH] = used + piece;
    done += piece;
  }
  return done;
}

/**
 * RCV.NXT has moved up to or past the first node: joins what is now in order to the receive queue and moves
 * RCV.NXT on. @returns bytes joined. Stops early, losing nothing, when no chunk is left.
 */
export function reassemblyDeliver(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const size = tcp.chunks.dataBytes;
  let joined = 0;
  while (m[t + OOO] !== 0) {
    const node = m[t + OOO];
    const w = node >> 2;
    let skip = (m[t + RCV_NXT] - m[w + SEQ]) | 0;
    if (skip < 0) break;
    const length = m[w + LENGTH];
    if (skip > 0) duplicate(tcp, t, m[w + SEQ], (m[w + SEQ] + (skip < length ? skip : length)) | 0);
    // Chunk by chunk: each is given back before the next is copied, so the pool hardly shrinks.
    let chunk = node;
    const next = m[w + NODE];
    let left = length;
    while (chunk !== 0) {
      const here = left < size ? left : size;
      if (skip < here) {
        const piece = here - skip;
        const done = queueAppend(tcp.chunks, t + RCVQ, chunk + HEADER + skip, piece);
        m[t + RCV_NXT] = (m[t + RCV_NXT] + done) | 0;
        joined += done;
        if (done < piece) {
          // No chunk: the rest of this node is dropped and will be sent again.
          dropped(tcp);
          freeChain(tcp, chunk);
          m[t + OOO] = next;
          m[t + OOO_BYTES] -= length;
          return joined;
        }
        skip = 0;
      } else skip -= here;
      left -= here;
      const following = m[(chunk >> 2) + NEXT];
      tcp.chunks.give(chunk);
      chunk = following;
    }
    m[t + OOO] = next;
    m[t + OOO_BYTES] -= length;
  }
  return joined;
}

function freeChain(tcp: Tcp, first: number): void {
  for (let chunk = first; chunk !== 0; ) {
    const next = tcp.m[(chunk >> 2) + NEXT];
    tcp.chunks.give(chunk);
    chunk = next;
  }
}

export function reassemblyClear(tcp: Tcp, t: number): void {
  const m = tcp.m;
  for (let node = m[t + OOO]; node !== 0; ) {
    const next = m[(node >> 2) + NODE];
    freeChain(tcp, node);
    node = next;
  }
  m[t + OOO] = 0;
  m[t + OOO_BYTES] = 0;
}

/**
 * Writes SACK blocks at `at`: the node that grew last first, then by age (RFC 2018 4). Touching nodes are
 * reported as one. @returns how many blocks.
 */
export function reassemblyBlocks(tcp: Tcp, t: number, at: number, most: number): number {
  const m = tcp.m;
  const limit = most < BLOCKS_MAX ? most : BLOCKS_MAX;
  let count = 0;
  let below = 0x7fffffff;
  while (count < limit) {
    let best = -1;
    let bestStart = 0;
    let bestEnd = 0;
    for (let node = m[t + OOO]; node !== 0; ) {
      const start = m[(node >> 2) + SEQ];
      let end = (start + m[(node >> 2) + LENGTH]) | 0;
      let stamp = m[(node >> 2) + STAMP];
      node = m[(node >> 2) + NODE];
      while (node !== 0 && m[(node >> 2) + SEQ] === end) {
        end = (end + m[(node >> 2) + LENGTH]) | 0;
        if (m[(node >> 2) + STAMP] > stamp) stamp = m[(node >> 2) + STAMP];
        node = m[(node >> 2) + NODE];
      }
      if (stamp < below && stamp > best) {
        best = stamp;
        bestStart = start;
        bestEnd = end;
      }
    }
    if (best < 0) break;
    tcp.view.setInt32(at + 8 * count, bestStart, false);
    tcp.view.setInt32(at + 8 * count + 4, bestEnd, false);
    below = best;
    count++;
  }
  return count;
}
