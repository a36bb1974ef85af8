/**
 * The sender's SACK scoreboard (RFC 2018, RFC 6675): the ranges above SND.UNA that the peer holds, sorted,
 * disjoint, not touching. They live in one chunk taken when the first arrives, 8 bytes a range.
 */
import { CHUNK_HEADER_BYTES } from '../memory/chunks.ts';
import { TCB } from './block.ts';
import type { Tcp } from './tcp.ts';

const { SACKED, SACKED_COUNT, SACKED_BYTES, SND_UNA, SND_NXT, MSS } = TCB;
const HEADER_WORDS = CHUNK_HEADER_BYTES >> 2;
/** RFC 6675's DupThresh. */
const DUP_THRESHOLD = 3;

/** Adds [start, end). @returns bytes newly known to have arrived; nonsense ranges give 0. */
export function sackAdd(tcp: Tcp, t: number, start: number, end: number): number {
  const m = tcp.m;
  // RFC 2018 5 and RFC 2883: ranges at or below SND.UNA are duplicates' reports; ranges past SND.NXT are lies.
  if (((end - start) | 0) <= 0 || ((start - m[t + SND_UNA]) | 0) < 0 || ((end - m[t + SND_NXT]) | 0) > 0)
    return 0;
  if (m[t + SACKED] === 0) {
    m[t + SACKED] = tcp.chunks.free > tcp.chunksPromised ? tcp.chunks.take() : 0;
    if (m[t + SACKED] === 0) return 0;
  }
  const r = (m[t + SACKED] >> 2) + HEADER_WORDS;
  const count = m[t + SACKED_COUNT];
  // First range that ends at or after `start`: it, or a run from it, merges with ours.
  let i = 0;
  while (i < count && ((m[r + 2 * i + 1] - start) | 0) < 0) i++;
  let j = i;
  let low = start;
  let high = end;
  let known = 0;
  while (j < count && ((m[r + 2 * j] - end) | 0) <= 0) {
    const s = m[r + 2 * j];
    const e = m[r + 2 * j + 1];
    known += (e - s) | 0;
    if (((s - low) | 0) < 0) low = s;
    if (((e - high) | 0) > 0) high = e;
    j++;
  }
  if (j === i) {
    if (2 * (count + 1) > tcp.chunks.dataBytes >> 2) {
      tcp.counters.sackOverflow++;
      return 0;
    }
    m.copyWithin(r + 2 * i + 2, r + 2 * i, r + 2 * count);
    m[t + SACKED_COUNT] = count + 1;
  } else if (j > i + 1) {
    m.copyWithin(r + 2 * i + 2, r + 2 * j, r + 2 * count);
    m[t + SACKED_COUNT] = count - (j - i - 1);
  }
  m[r + 2 * i] = low;
  m[r + 2 * i + 1] = high;
  const fresh = ((high - low) | 0) - known;
  m[t + SACKED_BYTES] += fresh;
  return fresh;
}

/** SND.UNA moved: forgets what lies below it. */
export function sackAdvance(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const una = m[t + SND_UNA];
  const r = (m[t + SACKED] >> 2) + HEADER_WORDS;
  const count = m[t + SACKED_COUNT];
  let i = 0;
  while (i < count && ((m[r + 2 * i + 1] - una) | 0) <= 0) {
    m[t + SACKED_BYTES] -= (m[r + 2 * i + 1] - m[r + 2 * i]) | 0;
    i++;
  }
  if (i < count && ((m[r + 2 * i] - una) | 0) < 0) {
    m[t + SACKED_BYTES] -= (una - m[r + 2 * i]) | 0;
    m[r + 2 * i] = una;
  }
  if (i > 0) m.copyWithin(r, r + 2 * i, r + 2 * count);
  m[t + SACKED_COUNT] = count - i;
  if (count === i) sackClear(tcp, t);
}

export function sackClear(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if (m[t + SACKED] !== 0) tcp.chunks.give(m[t + SACKED]);
  m[t + SACKED] = 0;
  m[t + SACKED_COUNT] = 0;
  m[t + SACKED_BYTES] = 0;
}

/**
 * RFC 6675's IsLost as an edge: what is below and not SACKed counts as lost, since DupThresh ranges, or more
 * than (DupThresh - 1) full segments, were SACKed above it. SND.UNA when nothing is.
 */
export function sackLostEdge(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const r = (m[t + SACKED] >> 2) + HEADER_WORDS;
  const bytesEnough = (DUP_THRESHOLD - 1) * m[t + MSS];
  let bytes = 0;
  for (let i = m[t + SACKED_COUNT] - 1, ranges = 1; i >= 0; i--, ranges++) {
    bytes += (m[r + 2 * i + 1] - m[r + 2 * i]) | 0;
    if (ranges >= DUP_THRESHOLD || bytes > bytesEnough) return m[r + 2 * i];
  }
  return m[t + SND_UNA];
}

/** First sequence number at or after `seq` that is not SACKed. */
export function sackSkip(tcp: Tcp, t: number, seq: number): number {
  const m = tcp.m;
  const r = (m[t + SACKED] >> 2) + HEADER_WORDS;
  const count = m[t + SACKED_COUNT];
  for (let i = 0; i < count; i++) {
    if (((m[r + 2 * i] - seq) | 0) > 0) break;
    if (((m[r + 2 * i + 1] - seq) | 0) > 0) return m[r + 2 * i + 1];
  }
  return seq;
}

/** Where the hole that contains `seq` ends: the next SACKed range, or `limit`. */
export function sackHoleEnd(tcp: Tcp, t: number, seq: number, limit: number): number {
  const m = tcp.m;
  const r = (m[t + SACKED] >> 2) + HEADER_WORDS;
  const count = m[t + SACKED_COUNT];
  for (let i = 0; i < count; i++) {
    const start = m[r + 2 * i];
    if (((start - seq) | 0) > 0) return ((start - limit) | 0) < 0 ? start : limit;
  }
  return limit;
}

/** Bytes in [from, to) that are SACKed. */
export function sackedWithin(tcp: Tcp, t: number, from: number, to: number): number {
  const m = tcp.m;
  const r = (m[t + SACKED] >> 2) + HEADER_WORDS;
  const count = m[t + SACKED_COUNT];
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const s = ((m[r + 2 * i] - from) | 0) < 0 ? from : m[r + 2 * i];
    const e = ((m[r + 2 * i + 1] - to) | 0) > 0 ? to : m[r + 2 * i + 1];
    if (((e - s) | 0) > 0) bytes += (e - s) | 0;
  }
  return bytes;
}
