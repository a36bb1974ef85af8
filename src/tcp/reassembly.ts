/**
 * Out-of-order data (RFC 9293 3.10.7.4, seventh step): *runs* of contiguous bytes, disjoint and never touching. A run
 * is a chain of chunks; it is described in the header words of its first one, where it is also a node of a treap
 * (a search tree by sequence number that is a heap by random numbers): 10,000 runs are 30 steps deep, whatever order a
 * peer sends in. When the gap before the first run closes, its bytes join the receive queue.
 *
 *     OOO ──► ┌ first chunk ────────────────┐  CHUNK_NEXT  ┌ chunk ──┐
 *             │ SEQ, LENGTH, LAST, BYTES    │ ───────────► │ BYTES   │
 *             │ bytes                       │              │ bytes   │
 *             └─┬──────────┬────────────────┘              └─────────┘
 *           LEFT▼     RIGHT▼
 *
 * Chunks in a chain may have room at their ends, but two neighbours together hold more than one could, and the number
 * of runs is limited by the bytes they hold: so a peer can't make us spend a chunk on each byte.
 */
import { queueAdopt } from '../memory/byte-queue.ts';
import { CHUNK_HEADER_BYTES, CHUNK_NEXT } from '../memory/chunks.ts';
import { COLD, FLAG, FLAG2, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { fairShare, holderAdd, LEVEL_CALM, memoryLevel } from './memory.ts';
import type { Tcp } from './tcp.ts';

const { OOO, OOO_BYTES, OOO_RUNS, RCV_NXT, RCVQ, FLAGS, FLAGS2, DSACK_START, DSACK_END } = TCB;
const { SACK } = FLAG;
const { COLD_USED } = FLAG2;
const { OOO_RECENT, OOO_TOLD_NOT } = COLD;
const CALM = LEVEL_CALM;
const HEADER = CHUNK_HEADER_BYTES;
const NEXT = CHUNK_NEXT;
/** Header word of every chunk: how many bytes it holds. */
const BYTES = 1;
/** Header words of a run's first chunk: sequence number, bytes, last chunk; subtrees of runs below and above. */
const SEQ = 2;
const LENGTH = 3;
const LAST = 4;
const LEFT = 5;
const RIGHT = 6;
/** Its random number: larger than those of its subtrees. */
const PRIORITY = 7;

/** SACK blocks that fit without timestamps (RFC 2018 3): as many runs are remembered by recency. */
const BLOCKS_MAX = 4;
/** Runs that hold little. Beyond, a run must have half a chunk's bytes on average. */
const SPARSE_RUNS_MAX = 32;

/**
 * Keeps what is new of [seq, seq + length), whose first byte is at arena offset `at`.
 * @returns false when something had to be dropped for want of room.
 */
export function reassemblyAdd(tcp: Tcp, t: number, seq: number, at: number, length: number): boolean {
  const m = tcp.m;
  const end = (seq + length) | 0;
  if (memoryLevel(tcp) !== CALM && m[t + OOO_BYTES] >= fairShare(tcp)) return dropped(tcp);
  let from = seq;
  let before = runBefore(m, t, seq);
  let touched = before;
  let whole = true;
  while (((end - from) | 0) > 0) {
    if (before !== 0) {
      const known = (m[(before >> 2) + SEQ] + m[(before >> 2) + LENGTH] - from) | 0;
      if (known > 0) {
        // Here already: tell the peer.
        touched = before;
        const here = known < ((end - from) | 0) ? known : (end - from) | 0;
        duplicate(tcp, t, from, here);
        from = (from + here) | 0;
        if (from === end) break;
      }
    }
    const after = runAfter(m, t, from);
    const stop = after !== 0 && ((m[(after >> 2) + SEQ] - end) | 0) < 0 ? m[(after >> 2) + SEQ] : end;
    const piece = (stop - from) | 0;
    const source = (at + ((from - seq) | 0)) | 0;
    let run = before;
    let done = 0;
    if (before !== 0 && ((m[(before >> 2) + SEQ] + m[(before >> 2) + LENGTH] - from) | 0) === 0) {
      done = extend(tcp, before, source, piece);
      m[t + OOO_BYTES] += done;
    } else {
      run = runStart(tcp, t, from);
      if (run !== 0) {
        done = extend(tcp, run, source, piece);
        m[t + OOO_BYTES] += done;
      }
    }
    if (done > 0) touched = run;
    if (done < piece) {
      whole = dropped(tcp);
      break;
    }
    if (after !== 0 && m[(after >> 2) + SEQ] === stop) join(tcp, t, run, after);
    before = run;
    from = stop;
  }
  if (touched !== 0) recall(tcp, t, touched);
  return whole;
}

/** Had been here before: the next ACK reports the first of it since the last ACK (RFC 2883 4). */
function duplicate(tcp: Tcp, t: number, start: number, length: number): void {
  const m = tcp.m;
  if (m[t + DSACK_START] !== m[t + DSACK_END]) return;
  m[t + DSACK_START] = start;
  m[t + DSACK_END] = (start + length) | 0;
}

function dropped(tcp: Tcp): boolean {
  tcp.counters.outOfOrderDropped++;
  return false;
}

/** Out-of-order data may not take the last quarter of the chunks: in-order data gets the connection further. */
function takeChunk(tcp: Tcp): number {
  return tcp.chunks.free - tcp.chunksPromised > tcp.chunks.count >> 2 ? tcp.chunks.take() : 0;
}

/** The last run that begins at or before `seq`, or 0. */
function runBefore(m: Int32Array, t: number, seq: number): number {
  let found = 0;
  for (let run = m[t + OOO]; run !== 0; ) {
    if (((m[(run >> 2) + SEQ] - seq) | 0) <= 0) {
      found = run;
      run = m[(run >> 2) + RIGHT];
    } else run = m[(run >> 2) + LEFT];
  }
  return found;
}

/** The first run that begins after `seq`, or 0. */
function runAfter(m: Int32Array, t: number, seq: number): number {
  let found = 0;
  for (let run = m[t + OOO]; run !== 0; ) {
    if (((m[(run >> 2) + SEQ] - seq) | 0) > 0) {
      found = run;
      run = m[(run >> 2) + LEFT];
    } else run = m[(run >> 2) + RIGHT];
  }
  return found;
}

/** The next random number. Keyed, so that no peer can choose a deep treap. */
function draw(tcp: Tcp): number {
  let x = Math.imul(++tcp.runsBegun ^ tcp.key0, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 15), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13) ^ tcp.key1, 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** A new, empty run at `seq`, in the treap; 0 when there may be no more. */
function runStart(tcp: Tcp, t: number, seq: number): number {
  const m = tcp.m;
  const runs = m[t + OOO_RUNS];
  if (runs >= SPARSE_RUNS_MAX + m[t + OOO_BYTES] / (tcp.chunks.dataBytes >> 1)) return 0;
  const run = takeChunk(tcp);
  if (run === 0) return 0;
  if (runs === 0) holderAdd(tcp, t);
  m[t + OOO_RUNS] = runs + 1;
  const w = run >> 2;
  m[w + BYTES] = 0;
  m[w + SEQ] = seq;
  m[w + LENGTH] = 0;
  m[w + LAST] = run;
  m[w + PRIORITY] = draw(tcp);
  treapInsert(tcp, t, run);
  return run;
}

function treapInsert(tcp: Tcp, t: number, run: number): void {
  const m = tcp.m;
  const seq = m[(run >> 2) + SEQ];
  const mine = m[(run >> 2) + PRIORITY];
  /** Word that links to the subtree being looked at. */
  let link = t + OOO;
  let node = m[link];
  while (node !== 0 && m[(node >> 2) + PRIORITY] > mine) {
    link = (node >> 2) + (((seq - m[(node >> 2) + SEQ]) | 0) < 0 ? LEFT : RIGHT);
    node = m[link];
  }
  m[link] = run;
  // The subtree falls in two: what lies below goes left, what lies above right.
  let below = (run >> 2) + LEFT;
  let above = (run >> 2) + RIGHT;
  while (node !== 0) {
    if (((m[(node >> 2) + SEQ] - seq) | 0) < 0) {
      m[below] = node;
      below = (node >> 2) + RIGHT;
      node = m[below];
    } else {
      m[above] = node;
      above = (node >> 2) + LEFT;
      node = m[above];
    }
  }
  m[below] = 0;
  m[above] = 0;
}

/** Takes a run out of the treap; its chunks are the caller's. */
function treapRemove(tcp: Tcp, t: number, run: number): void {
  const m = tcp.m;
  const seq = m[(run >> 2) + SEQ];
  let link = t + OOO;
  while (m[link] !== run) {
    const node = m[link] >> 2;
    link = node + (((seq - m[node + SEQ]) | 0) < 0 ? LEFT : RIGHT);
  }
  let below = m[(run >> 2) + LEFT];
  let above = m[(run >> 2) + RIGHT];
  while (below !== 0 && above !== 0) {
    if (m[(below >> 2) + PRIORITY] > m[(above >> 2) + PRIORITY]) {
      m[link] = below;
      link = (below >> 2) + RIGHT;
      below = m[link];
    } else {
      m[link] = above;
      link = (above >> 2) + LEFT;
      above = m[link];
    }
  }
  m[link] = below !== 0 ? below : above;
  m[t + OOO_RUNS]--;
  forget(tcp, t, run, 0);
}

/** Appends to a run. @returns how many bytes found room. */
function extend(tcp: Tcp, run: number, at: number, length: number): number {
  const m = tcp.m;
  const w = run >> 2;
  const size = tcp.chunks.dataBytes;
  let done = 0;
  while (done < length) {
    let last = m[w + LAST];
    let used = m[(last >> 2) + BYTES];
    if (used === size) {
      const chunk = takeChunk(tcp);
      if (chunk === 0) break;
      m[(chunk >> 2) + BYTES] = 0;
      m[(last >> 2) + NEXT] = chunk;
      m[w + LAST] = chunk;
      last = chunk;
      used = 0;
    }
    const piece = size - used < length - done ? size - used : length - done;
    tcp.arena.kernels.copy(last + HEADER + used, at + done, piece);
    m[(last >> 2) + BYTES] = used + piece;
    done += piece;
  }
  m[w + LENGTH] += done;
  return done;
}

/** `run` has reached `after`: they become one. */
function join(tcp: Tcp, t: number, run: number, after: number): void {
  const m = tcp.m;
  treapRemove(tcp, t, after);
  const w = run >> 2;
  const last = m[w + LAST];
  const used = m[(last >> 2) + BYTES];
  const bytes = m[(after >> 2) + BYTES];
  m[w + LENGTH] += m[(after >> 2) + LENGTH];
  let rest = after;
  if (used + bytes <= tcp.chunks.dataBytes) {
    tcp.arena.kernels.copy(last + HEADER + used, after + HEADER, bytes);
    m[(last >> 2) + BYTES] = used + bytes;
    rest = m[(after >> 2) + NEXT];
  }
  if (rest !== 0) {
    m[(last >> 2) + NEXT] = rest;
    m[w + LAST] = m[(after >> 2) + LAST];
  }
  if (rest !== after) tcp.chunks.give(after);
}

/**
 * When RCV.NXT has reached or passed the first run: moves a chunk of it to the receive queue, and RCV.NXT on. Takes no
 * memory, so what was SACKed is never lost here. @returns whether bytes joined the queue.
 */
export function reassemblyJoin(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  while (m[t + OOO] !== 0) {
    let link = t + OOO;
    for (let left = m[(m[link] >> 2) + LEFT]; left !== 0; left = m[(left >> 2) + LEFT]) {
      link = (m[link] >> 2) + LEFT;
    }
    const run = m[link];
    const w = run >> 2;
    const skip = (m[t + RCV_NXT] - m[w + SEQ]) | 0;
    if (skip < 0) return false;
    const bytes = m[w + BYTES];
    const next = m[w + NEXT];
    m[t + OOO_BYTES] -= bytes;
    if (next === 0) {
      m[link] = m[w + RIGHT];
      m[t + OOO_RUNS]--;
    } else {
      // The next chunk takes its place. The lowest run has no LEFT.
      const n = next >> 2;
      m[n + SEQ] = (m[w + SEQ] + bytes) | 0;
      m[n + LENGTH] = m[w + LENGTH] - bytes;
      m[n + LAST] = m[w + LAST];
      m[n + LEFT] = 0;
      m[n + RIGHT] = m[w + RIGHT];
      m[n + PRIORITY] = m[w + PRIORITY];
      m[link] = next;
    }
    forget(tcp, t, run, next);
    if (skip > 0) duplicate(tcp, t, (m[t + RCV_NXT] - skip) | 0, skip < bytes ? skip : bytes);
    if (skip < bytes) {
      queueAdopt(tcp.chunks, t + RCVQ, run, skip, bytes - skip);
      m[t + RCV_NXT] = (m[t + RCV_NXT] + bytes - skip) | 0;
      return true;
    }
    tcp.chunks.give(run);
  }
  return false;
}

/** Drops runs from the far end, which the peer needs last, until so many chunks came free or none is left. */
export function reassemblyPrune(tcp: Tcp, t: number, chunks: number): void {
  const m = tcp.m;
  const enough = tcp.chunks.free + chunks;
  if (m[t + OOO] === 0) return;
  tcp.counters.outOfOrderPruned++;
  // It was SACKed, and RFC 2018 8 lets us think better of it; senders find out by their timer.
  if ((m[t + FLAGS] & SACK) !== 0) tcp.counters.sackReneged++;
  while (m[t + OOO] !== 0 && tcp.chunks.free < enough) {
    let run = m[t + OOO];
    while (m[(run >> 2) + RIGHT] !== 0) run = m[(run >> 2) + RIGHT];
    treapRemove(tcp, t, run);
    m[t + OOO_BYTES] -= m[(run >> 2) + LENGTH];
    freeChain(tcp, run);
  }
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
  while (m[t + OOO] !== 0) {
    const run = m[t + OOO];
    treapRemove(tcp, t, run);
    freeChain(tcp, run);
  }
  m[t + OOO_BYTES] = 0;
}

/** Puts a run in front of those that SACK reports (RFC 2018 4). */
function recall(tcp: Tcp, t: number, run: number): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const recent = cold + OOO_RECENT;
  let pushed = run;
  let i = 0;
  for (; i < BLOCKS_MAX && pushed !== 0; i++) {
    const here = m[recent + i];
    m[recent + i] = pushed;
    if (here === run) break;
    pushed = here;
  }
  if (i >= m[cold + OOO_TOLD_NOT] && m[cold + OOO_TOLD_NOT] < BLOCKS_MAX) m[cold + OOO_TOLD_NOT]++;
}

/** A run is gone, or another chunk stands in for its first. */
function forget(tcp: Tcp, t: number, run: number, instead: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & COLD_USED) === 0) return;
  const cold = coldOf(tcp, t);
  const recent = cold + OOO_RECENT;
  let to = recent;
  for (let i = 0; i < BLOCKS_MAX; i++) {
    if (m[recent + i] === run && instead === 0 && i < m[cold + OOO_TOLD_NOT]) m[cold + OOO_TOLD_NOT]--;
    const here = m[recent + i] === run ? instead : m[recent + i];
    m[recent + i] = 0;
    if (here !== 0) m[to++] = here;
  }
}

/**
 * Writes SACK blocks at `at`: the run that grew last first, then by age (RFC 2018 4). @returns how many.
 */
export function reassemblyBlocks(tcp: Tcp, t: number, at: number, most: number): number {
  const m = tcp.m;
  if (m[t + OOO] === 0) return 0;
  const cold = coldOf(tcp, t);
  const recent = cold + OOO_RECENT;
  const limit = most < BLOCKS_MAX ? most : BLOCKS_MAX;
  let count = 0;
  for (; count < limit && m[recent + count] !== 0; count++) {
    const w = m[recent + count] >> 2;
    tcp.view.setInt32(at + 8 * count, m[w + SEQ], false);
    tcp.view.setInt32(at + 8 * count + 4, m[w + SEQ] + m[w + LENGTH], false);
  }
  m[cold + OOO_TOLD_NOT] = m[cold + OOO_TOLD_NOT] > count ? m[cold + OOO_TOLD_NOT] - count : 0;
  return count;
}

/** How many runs have grown since an ACK reported them; BLOCKS_MAX: so many or more. */
export function reassemblyUntold(tcp: Tcp, t: number): number {
  return tcp.m[t + OOO] === 0 ? 0 : tcp.m[coldOf(tcp, t) + OOO_TOLD_NOT];
}

/** For tests: every run as [seq, length], in order. @throws when the structure is not what this file says */
export function auditReassembly(tcp: Tcp, t: number): [number, number][] {
  const m = tcp.m;
  const size = tcp.chunks.dataBytes;
  const runs: [number, number][] = [];
  let bytes = 0;
  let chunks = 0;
  const fail = (what: string) => {
    throw new Error(`out-of-order data: ${what}`);
  };
  const walk = (node: number, ceiling: number): void => {
    if (node === 0) return;
    const w = node >> 2;
    if (m[w + PRIORITY] > ceiling) fail('the treap is no heap');
    walk(m[w + LEFT], m[w + PRIORITY]);
    const previous = runs.at(-1);
    if (previous !== undefined && ((m[w + SEQ] - previous[0] - previous[1]) | 0) <= 0) fail('runs touch');
    let length = 0;
    let before = size;
    for (let chunk = node; chunk !== 0; chunk = m[(chunk >> 2) + NEXT]) {
      const here = m[(chunk >> 2) + BYTES];
      if (here <= 0 || here > size) fail('an empty or overfull chunk');
      if (chunk !== node && before + here <= size) fail('two chunks where one would do');
      before = here;
      length += here;
      chunks++;
      if (m[(chunk >> 2) + NEXT] === 0 && chunk !== m[w + LAST]) fail('LAST is not the last chunk');
    }
    if (length !== m[w + LENGTH]) fail('LENGTH is wrong');
    runs.push([m[w + SEQ], length]);
    bytes += length;
    walk(m[w + RIGHT], m[w + PRIORITY]);
  };
  walk(m[t + OOO], 0x7fffffff);
  if (bytes !== m[t + OOO_BYTES]) fail(`${bytes} bytes, counted ${m[t + OOO_BYTES]}`);
  if (runs.length !== m[t + OOO_RUNS]) fail(`${runs.length} runs, counted ${m[t + OOO_RUNS]}`);
  if (chunks > runs.length + (2 * bytes) / size) fail(`${chunks} chunks for ${bytes} bytes`);
  return runs;
}
