/**
 * The receive window (RFC 9293 3.8.6): what the peer is told, when it is told, and how large it may become.
 *
 * A window starts at 64 KiB and follows what the program consumes (dynamic right-sizing, Fisk and Feng 2001, as in
 * Linux): a sender that may send twice what was consumed in the last round trip is held back by the path or by its
 * program, never by us, even while its own window doubles each round trip. A program that doesn't read gets no growth.
 * memory.ts says how much all windows may grow together.
 */
import { COLD, FLAG, FLAG2, STATE, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { LIST_ACK, listPush } from './lists.ts';
import { fairShare, holderAdd, LEVEL_CALM, memoryLevel } from './memory.ts';
import { memoryReclaim } from './reclaim.ts';
import type { Segment } from './segment.ts';
import type { Tcp } from './tcp.ts';

const { STATE: ST, FLAGS, FLAGS2, RCV_NXT, RCV_ADV, RCVQ_LENGTH, RCV_BUF, MSS, SRTT, IFACE, TS_OFFSET } = TCB;
const { TUNE_SEQ, TUNE_AT, RCV_RTT } = TCB;
const { RCV_SPACE } = COLD;
const { ACK_NOW } = FLAG;
const { RCV_AUTO } = FLAG2;
const { ESTABLISHED, LAST_ACK } = STATE;
const L_ACK = LIST_ACK;
const CALM = LEVEL_CALM;

/** Where a window that tunes itself starts, bytes: what a SYN can tell, and what an initial window of ten fits in. */
const FIRST = 65_536;
/** How often what came more counts beside twice what came. */
const AHEAD = 5;
/** Segments that the program of an empty queue may be sent, however short memory is. */
const SEGMENTS_ALWAYS = 4;
/** An echo older than this, ms, says nothing about the path. */
const ECHO_MS_MAX = 60_000;

/** Smallest shift that lets a 16-bit window cover a buffer (RFC 7323 2.2). */
export function windowShift(buffer: number): number {
  let shift = 0;
  while (shift < 14 && 0xffff << shift < buffer) shift++;
  return shift;
}

/** The scale to offer for a `receiveBuffer` option: it must reach as far as the window may ever grow. */
export function receiveShift(tcp: Tcp, receiveBuffer: number): number {
  return windowShift(receiveBuffer > 0 ? receiveBuffer : tcp.limits.receiveBufferMax);
}

/** What a SYN or SYN-ACK tells for a `receiveBuffer` option; its window field is never scaled (RFC 7323 2.2). */
export function receiveFirst(receiveBuffer: number): number {
  const first = receiveBuffer > 0 ? receiveBuffer : FIRST;
  return first < 0xffff ? first : 0xffff;
}

/** Sets the buffer of a new full block: `receiveBuffer` bytes, or 0 to let it tune itself. */
export function receiveStart(tcp: Tcp, t: number, receiveBuffer: number): void {
  const m = tcp.m;
  m[t + RCV_BUF] = receiveBuffer;
  if (receiveBuffer === 0) {
    m[t + FLAGS2] |= RCV_AUTO;
    m[t + RCV_BUF] = FIRST;
  }
}

/** Changes a connection's buffer: bytes, as far as the scale that was agreed on reaches, or 0: it tunes itself from now on. */
export function receiveBufferSet(tcp: Tcp, t: number, bytes: number): void {
  const m = tcp.m;
  receiveShrink(tcp, t);
  if (bytes === 0) {
    m[t + FLAGS2] |= RCV_AUTO;
    m[t + RCV_BUF] = FIRST;
  } else {
    m[t + FLAGS2] &= ~RCV_AUTO;
    m[t + RCV_BUF] = Math.min(bytes, windowMost(m, t));
  }
  windowUpdate(tcp, t);
}

/** The largest window that can be told on this connection, bytes. */
function windowMost(m: Int32Array, t: number): number {
  return 0xffff << ((m[t + FLAGS] >> 4) & 15);
}

/**
 * The window field of a segment that goes out now. The right edge moves right by a segment or half the buffer at least
 * (RFC 9293 3.8.6.2.2), and never left: RCV_ADV is the farthest ever told, and all up to it is accepted. Only the
 * scale's unit may seem to take back a part of itself (RFC 7323 2.4): were it always rounded up, a peer that sends
 * less than a unit at a time would push the edge before it for ever, past any buffer.
 */
export function windowToTell(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const shift = (m[t + FLAGS] >> 4) & 15;
  const nxt = m[t + RCV_NXT];
  const told = (m[t + RCV_ADV] - nxt) | 0;
  let space = m[t + RCV_BUF] - m[t + RCVQ_LENGTH];
  let window = told;
  if (space - told >= windowStep(m, t)) {
    space = windowSpace(tcp, t);
    const whole = (space >> shift) << shift;
    if (whole > told) window = whole;
  }
  const unit = 1 << shift;
  let field = (window + unit - 1) >> shift;
  if (field << shift >= space + unit) field = window >> shift;
  if (field > 0xffff) field = 0xffff;
  const edge = (nxt + (field << shift)) | 0;
  if (((edge - m[t + RCV_ADV]) | 0) > 0) m[t + RCV_ADV] = edge;
  return field;
}

/** RFC 9293 3.8.6.2.2: min(half the buffer, a full segment). */
function windowStep(m: Int32Array, t: number): number {
  const half = m[t + RCV_BUF] >> 1;
  return half < m[t + MSS] ? half : m[t + MSS];
}

/** The program has read: tells the peer if the window has grown by enough to be worth a segment. */
export function windowUpdate(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if (m[t + ST] < ESTABLISHED || m[t + ST] > LAST_ACK) return;
  const told = (m[t + RCV_ADV] - m[t + RCV_NXT]) | 0;
  const half = m[t + RCV_BUF] >> 1;
  const worth = 2 * m[t + MSS] < half ? 2 * m[t + MSS] : half;
  if (m[t + RCV_BUF] - m[t + RCVQ_LENGTH] - told < worth) return;
  const space = windowSpace(tcp, t);
  if (space - told < worth || (space < 2 * told && tcp.limits.habits === 'linux')) return;
  m[t + FLAGS] |= ACK_NOW;
  listPush(m, tcp.lists[m[t + IFACE]], L_ACK, t);
}

/** Bytes from RCV.NXT on that the buffer has room for, grown if it is time, less while memory is short. */
function windowSpace(tcp: Tcp, t: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS2] & RCV_AUTO) !== 0) tune(tcp, t);
  const queued = m[t + RCVQ_LENGTH];
  const most = windowMost(m, t);
  const space = (m[t + RCV_BUF] < most ? m[t + RCV_BUF] : most) - queued;
  if (memoryLevel(tcp) === CALM) return space;
  let fair = fairShare(tcp) - queued;
  // A program that reads as it goes needs no chunk, and must be able to go on.
  const always = SEGMENTS_ALWAYS * m[t + MSS];
  if (queued === 0 && fair < always) fair = always;
  if (fair >= space) return space;
  tcp.counters.windowsHeld++;
  return fair;
}

/**
 * Once a round trip: the buffer shall hold twice what the program consumed in it. In slow start the sender has doubled
 * by the time this window reaches it, and doubles again before the next one does: then it is four times as much, and
 * between, by how much more it was than in the round trip before.
 */
function tune(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const buffer = m[t + RCV_BUF];
  const consumed = (m[t + RCV_NXT] - m[t + RCVQ_LENGTH]) | 0;
  if (m[t + TUNE_AT] === 0) {
    m[t + TUNE_SEQ] = consumed;
    m[t + TUNE_AT] = tcp.nowUs || 1;
    return;
  }
  let bytes = (consumed - m[t + TUNE_SEQ]) | 0;
  // Those who talk little are left alone here. Negative: the mark is of another time.
  if (bytes >= 0 && bytes < buffer >> 3) return;
  const elapsed = (tcp.nowUs - m[t + TUNE_AT]) | 0;
  let rtt = m[t + RCV_RTT] > 0 ? m[t + RCV_RTT] : m[t + SRTT] >> 3;
  if (rtt === 0) {
    // Nothing was ever timed. A whole window takes a round trip at least.
    if (bytes >= 0 && bytes < buffer) return;
    rtt = elapsed;
    if (bytes > 0 && elapsed > 0) m[t + RCV_RTT] = elapsed;
  }
  if (elapsed >= 0 && elapsed < rtt) return;
  m[t + TUNE_SEQ] = consumed;
  m[t + TUNE_AT] = tcp.nowUs || 1;
  if (bytes < 0 || elapsed <= 0) return;
  // Over several round trips, as after a pause: what one of them would have brought.
  if (elapsed > 2 * rtt) bytes = (bytes * (rtt / elapsed)) | 0;
  // Neither grown nor about to: nothing to remember.
  if (buffer <= FIRST && 4 * bytes < buffer) return;
  const last = coldOf(tcp, t) + RCV_SPACE;
  const more = bytes - (m[last] > 0 ? m[last] : bytes >> 1);
  m[last] = bytes;
  grow(tcp, t, 2 * bytes + (more > 0 ? AHEAD * more : 0));
}

/** Raises the buffer towards `wanted` bytes, as far as scale, limit and budget allow. */
function grow(tcp: Tcp, t: number, wanted: number): void {
  const m = tcp.m;
  const now = m[t + RCV_BUF];
  let most = windowMost(m, t);
  if (most > tcp.limits.receiveBufferMax) most = tcp.limits.receiveBufferMax;
  let next = wanted < most ? wanted : most;
  if (next <= now) {
    yieldShare(tcp, t);
    return;
  }
  if (memoryLevel(tcp) !== CALM) {
    tcp.counters.windowsNotGrown++;
    return;
  }
  if (next > share(tcp, now)) {
    // Not enough for all: those who are silent don't need theirs.
    memoryReclaim(tcp, false);
    const allowed = share(tcp, now);
    if (next > allowed) {
      tcp.counters.windowsNotGrown++;
      next = allowed;
    }
  }
  resize(tcp, t, next);
  holderAdd(tcp, t);
}

/** What a buffer of `now` bytes may have of the budget: no more than is left over for others then. */
function share(tcp: Tcp, now: number): number {
  const { grown, grownMax } = tcp.memory;
  const allowed = ((grownMax - grown + now) / 2) | 0;
  return allowed > FIRST ? allowed : FIRST;
}

/** Bytes that a buffer counts for: nothing until it grows, then all of it. */
function covered(buffer: number): number {
  return buffer > FIRST ? buffer : 0;
}

function resize(tcp: Tcp, t: number, bytes: number): void {
  const m = tcp.m;
  tcp.memory.grown += covered(bytes) - covered(m[t + RCV_BUF]);
  m[t + RCV_BUF] = bytes;
}

/** A buffer that has more than its part, now that others want theirs, gives some back. */
function yieldShare(tcp: Tcp, t: number): void {
  const now = tcp.m[t + RCV_BUF];
  if (now > FIRST && now > share(tcp, now)) resize(tcp, t, share(tcp, now));
}

/**
 * Takes back what a buffer that tunes itself has grown by. What the peer was told stands; the window only doesn't move
 * until it is used up. @returns whether there was anything to take
 */
export function receiveShrink(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  if ((m[t + FLAGS2] & RCV_AUTO) === 0 || m[t + RCV_BUF] <= FIRST) return false;
  resize(tcp, t, FIRST);
  return true;
}

/**
 * A data segment's echoed timestamp: the RTT as the receiver sees it, of a sender that answers our ACKs with data. One
 * that was waiting for its program makes it seem longer, so the shortest counts at once and longer ones by an eighth.
 */
export function receiveRtt(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const ms = (tcp.nowMs + m[t + TS_OFFSET] - s.tsEcr) | 0;
  if (ms < 0 || ms > ECHO_MS_MAX) return;
  let us = ms * 1000;
  if (ms <= 1) {
    // Below the clock's unit: what was timed when we sent says more.
    const srtt = m[t + SRTT] >> 3;
    us = srtt > 0 && srtt < 1000 ? srtt : 1000;
  }
  const rtt = m[t + RCV_RTT];
  m[t + RCV_RTT] = rtt === 0 || us < rtt ? us : rtt + ((us - rtt) >> 3);
}
