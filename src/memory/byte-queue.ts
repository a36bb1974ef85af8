/**
 * A queue of bytes in chunks: a connection's unsent and unacknowledged data, or what its program hasn't read.
 * The state is QUEUE_WORDS words in the owner's control block, named by the word index `q` of the first; all
 * zero is an empty queue. Chunks are taken when bytes wait and given back as soon as they are dropped, so an
 * idle connection holds none.
 *
 *     HEAD ──► ┌──────────┬────────┐   ┌─────────────────┐   ┌───────┬─────────┐ ◄── TAIL
 *              │ OFF gone │ bytes  │──►│      bytes      │──►│ bytes │  room   │
 *              └──────────┴────────┘   └─────────────────┘   └───────┴─────────┘
 *                          position 0   ▲ CURSOR, at position CURSOR_AT
 *
 * Every chunk but the last is full to its end, and the last holds at least one byte, so the end of the data in
 * it follows from OFF and LENGTH. The cursor is the chunk read last: TCP sends in order, so the next copy
 * starts there; one that starts before it (a retransmission) walks from the head.
 */
import { CHUNK_HEADER_BYTES, CHUNK_NEXT, type ChunkPool } from './chunks.ts';

// V8 folds a module's own constants into the code, and loads exported and imported ones at each use: append,
// copySum and drop of 64 B, without the copying itself, take 27 ns with the exported names and 17 with these.
const HEAD = 0;
const OFF = 1;
const LENGTH = 2;
const TAIL = 3;
const CURSOR = 4;
const CURSOR_AT = 5;
const NEXT = CHUNK_NEXT;
const HEADER_BYTES = CHUNK_HEADER_BYTES;

export const QUEUE_WORDS = 6;
/** First chunk, or 0 when empty. */
export const QUEUE_HEAD = HEAD;
/** Data bytes of the first chunk that were dropped already. */
export const QUEUE_OFF = OFF;
/** Bytes in the queue. */
export const QUEUE_LENGTH = LENGTH;
/** Last chunk, or 0 when empty. */
export const QUEUE_TAIL = TAIL;
/** Chunk that was read last, or 0 when empty. */
export const QUEUE_CURSOR = CURSOR;
/** Position in the queue of the cursor chunk's first data byte; -OFF for the first chunk. */
export const QUEUE_CURSOR_AT = CURSOR_AT;

/** Up to here a byte loop (1.4 ns a byte) beats TypedArray.set and its subarray (45 ns, hardly rising to 200 B). */
const BYTE_LOOP_MAX = 32;

/** Copies `length` bytes at arena offset `from` to the end. @returns how many; fewer when the pool ran out. */
export function queueAppend(pool: ChunkPool, q: number, from: number, length: number): number {
  let done = 0;
  while (done < length) {
    const to = reserve(pool, q);
    if (to === 0) break;
    const piece = Math.min((length - done) | 0, pool.room);
    pool.kernels.copy(to, (from + done) | 0, piece);
    pool.m[q + LENGTH] += piece;
    done = (done + piece) | 0;
  }
  return done;
}

/** Copies `bytes[start, end)` to the end. @returns how many; fewer when the pool ran out. */
export function queueAppendBytes(
  pool: ChunkPool,
  q: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  let from = start;
  while (from < end) {
    const to = reserve(pool, q);
    if (to === 0) break;
    const piece = Math.min((end - from) | 0, pool.room);
    if (piece <= BYTE_LOOP_MAX) {
      const u8 = pool.u8;
      for (let i = 0; i < piece; i++) u8[to + i] = bytes[from + i];
    } else {
      pool.u8.set(piece === bytes.length ? bytes : bytes.subarray(from, from + piece), to);
    }
    pool.m[q + LENGTH] += piece;
    from = (from + piece) | 0;
  }
  return from - start;
}

/** Drops the first `n` bytes, which must be there. */
export function queueDrop(pool: ChunkPool, q: number, n: number): void {
  const m = pool.m;
  const left = (m[q + LENGTH] - n) | 0;
  if (left <= 0 || n < 0) {
    if (left !== 0) throw new RangeError(`drop of ${n} bytes from a queue of ${m[q + LENGTH]}`);
    queueClear(pool, q);
    return;
  }
  const dataBytes = pool.dataBytes;
  let off = (m[q + OFF] + n) | 0;
  if (off >= dataBytes) {
    let head = m[q + HEAD];
    do {
      const next = m[(head >> 2) + NEXT];
      pool.give(head);
      head = next;
      off = (off - dataBytes) | 0;
    } while (off >= dataBytes);
    m[q + HEAD] = head;
  }
  m[q + OFF] = off;
  m[q + LENGTH] = left;
  m[q + CURSOR_AT] -= n;
  // It was among the chunks given back.
  if (m[q + CURSOR_AT] < -off) rewind(m, q);
}

/** Copies `length` bytes from `position` (0: the first in the queue), which must be there, to arena offset `to`. */
export function queueCopy(pool: ChunkPool, q: number, position: number, length: number, to: number): void {
  const from = seek(pool, q, position, length);
  if (length <= pool.room) {
    pool.kernels.copy(to, from, length);
    return;
  }
  const m = pool.m;
  let done = pool.room;
  pool.kernels.copy(to, from, done);
  while (done < length) {
    const piece = Math.min((length - done) | 0, pool.dataBytes);
    pool.kernels.copy((to + done) | 0, nextChunk(pool, m, q), piece);
    done = (done + piece) | 0;
  }
}

/** `queueCopy`, returning the internet checksum of what it copied: folded to 16 bits, not complemented. */
export function queueCopySum(
  pool: ChunkPool,
  q: number,
  position: number,
  length: number,
  to: number,
): number {
  const from = seek(pool, q, position, length);
  if (length <= pool.room) return pool.kernels.copySum(to, from, length);
  const m = pool.m;
  let done = pool.room;
  let sum = pool.kernels.copySum(to, from, done);
  while (done < length) {
    const piece = Math.min((length - done) | 0, pool.dataBytes);
    const part = pool.kernels.copySum((to + done) | 0, nextChunk(pool, m, q), piece);
    // After an odd number of bytes this piece's high bytes are the whole's low ones: RFC 1071 2(B).
    sum += (done & 1) === 0 ? part : ((part & 0xff) << 8) | (part >> 8);
    sum = (sum & 0xffff) + (sum >> 16);
    done = (done + piece) | 0;
  }
  return sum;
}

/** How many bytes lie in one piece at the head, at {@link queuePeekAt}. */
export function queuePeek(pool: ChunkPool, q: number): number {
  return Math.min(pool.m[q + LENGTH], (pool.dataBytes - pool.m[q + OFF]) | 0);
}

/** Arena offset of the first byte; meaningless when the queue is empty. */
export function queuePeekAt(pool: ChunkPool, q: number): number {
  return (pool.m[q + HEAD] + HEADER_BYTES + pool.m[q + OFF]) | 0;
}

/** Drops everything. */
export function queueClear(pool: ChunkPool, q: number): void {
  const m = pool.m;
  for (let chunk = m[q + HEAD]; chunk !== 0; ) {
    const next = m[(chunk >> 2) + NEXT];
    pool.give(chunk);
    chunk = next;
  }
  m[q + HEAD] = 0;
  m[q + OFF] = 0;
  m[q + LENGTH] = 0;
  m[q + TAIL] = 0;
  m[q + CURSOR] = 0;
  m[q + CURSOR_AT] = 0;
}

/**
 * Where the next byte goes, with how many fit there in `pool.room`; 0 when that takes a chunk and there is
 * none. The caller writes at least one byte.
 */
function reserve(pool: ChunkPool, q: number): number {
  const m = pool.m;
  const dataBytes = pool.dataBytes;
  const tail = m[q + TAIL];
  if (tail !== 0) {
    const end = (m[q + OFF] + m[q + LENGTH]) | 0;
    // Within one chunk the usual case needs no division. A chunk that is exactly full is `dataBytes`, not 0.
    const used = end <= dataBytes ? end : ((end - 1) % dataBytes) + 1;
    if (used !== dataBytes) {
      pool.room = (dataBytes - used) | 0;
      return (tail + HEADER_BYTES + used) | 0;
    }
  }
  const chunk = pool.take();
  if (chunk === 0) return 0;
  if (tail === 0) {
    m[q + HEAD] = chunk;
    m[q + CURSOR] = chunk;
  } else {
    m[(tail >> 2) + NEXT] = chunk;
  }
  m[q + TAIL] = chunk;
  pool.room = dataBytes;
  return (chunk + HEADER_BYTES) | 0;
}

/**
 * Moves the cursor to the chunk that holds `position`. @returns that byte's arena offset, with how many bytes
 * its chunk has from there in `pool.room`.
 */
function seek(pool: ChunkPool, q: number, position: number, length: number): number {
  const m = pool.m;
  if (position < 0 || length < 0 || length > ((m[q + LENGTH] - position) | 0)) {
    throw new RangeError(`copy of ${length} bytes at ${position} from a queue of ${m[q + LENGTH]}`);
  }
  // Just past a full last chunk there is none to point at.
  if (length === 0) {
    pool.room = 0;
    return 0;
  }
  const dataBytes = pool.dataBytes;
  let offset = (position - m[q + CURSOR_AT]) | 0;
  if (offset < 0) {
    rewind(m, q);
    offset = (position + m[q + OFF]) | 0;
  }
  while (offset >= dataBytes) {
    nextChunk(pool, m, q);
    offset = (offset - dataBytes) | 0;
  }
  pool.room = (dataBytes - offset) | 0;
  return (m[q + CURSOR] + HEADER_BYTES + offset) | 0;
}

/** Moves the cursor one chunk on. @returns arena offset of its first data byte. */
function nextChunk(pool: ChunkPool, m: Int32Array, q: number): number {
  const chunk = m[(m[q + CURSOR] >> 2) + NEXT];
  m[q + CURSOR] = chunk;
  m[q + CURSOR_AT] += pool.dataBytes;
  return (chunk + HEADER_BYTES) | 0;
}

/** Moves the cursor to the first chunk. */
function rewind(m: Int32Array, q: number): void {
  m[q + CURSOR] = m[q + HEAD];
  m[q + CURSOR_AT] = -m[q + OFF];
}
