/**
 * Transmission records: when each part of what is outstanding was sent last, and what became of it. They tile
 * [SND.UNA, SND.NXT) in order, so that they are the SACK scoreboard too. What was sent in one breath is one record;
 * SACKs and retransmissions split them; neighbours that are SACKed are one.
 *
 *     SND.UNA                                                                  SND.NXT
 *        ├── lost ──┼── in flight ──┼─── SACKED ───┼─ in flight, RXT ─┼── in flight ──┤
 *
 * A connection with one transmission outstanding has no list: RECORDS is 0, and SENT_AT says it all. That is a
 * request and its answer, and must cost nothing. The list is a skip list (Pugh 1990) of records from one pool, for
 * peers may SACK anywhere in ten thousand of them. Each record in flight is also in a ring by time of sending,
 * oldest first, which RACK reads; each lost one in a ring by the order in which they are to be sent again.
 *
 * When the pool is empty, records merge: what is known then is less precise, and never wrong. The first record of a
 * list is always to be had (RECORD_OWN).
 */
import type { AckNews } from './ack-news.ts';
import { COLD, FLAG, FLAG2, LOSS_FLAG, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { rateDelivered, rateLost, rateMark } from './rate.ts';
import { RECORD, RECORD_LEVELS, RECORD_STATE, RECORD_WORDS } from './record-pool.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, FLAGS2, SND_UNA, SND_NXT, RECORDS, SENT_AT, RECOVER, TS_OFFSET, MIN_RTT, DUPACKS, MSS } = TCB;
const { LOST_BYTES, RXT_BYTES, SACKED_BYTES, RACK_AT, RACK_END, RACK_FACK } = TCB;
const { SACK } = FLAG;
const { SAMPLED, REO, TLP, TLP_DUE } = FLAG2;
const { RECORD_LIST, RECORD_OWN, LOSS_FLAGS } = COLD;
const { OWN_USED } = LOSS_FLAG;

const { R_NEXT, R_PREV, START, END, SENT, STATE } = RECORD;
const { SACKED: S_SACKED, LOST: S_LOST, RXT: S_RXT, MIXED: S_MIXED, VAGUE: S_VAGUE } = RECORD_STATE;
const LEVEL = 3;
const LEVELS = RECORD_LEVELS;
const WORDS = RECORD_WORDS;
/** In the list's head: the last record. The head of the ring of lost ones, as if it were a record. */
const TAIL = 8;
const LOST_RING = 2;
const LOST_STEPS = 16;
/** us: of two equal RTTs one may be measured shorter by that. */
const CLOCK_STEP = 1000;

/** For each level, where `seek` found the last record that starts before a sequence number; the head if none does. */
const before = new Int32Array(LEVELS);

/** RFC 6675's pipe: bytes that are believed to be in the network. Without SACK a duplicate ACK is a segment that left. */
export function inFlight(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const outstanding = (m[t + SND_NXT] - m[t + SND_UNA]) | 0;
  if ((m[t + RECORDS] | m[t + DUPACKS]) === 0) return outstanding;
  let pipe = outstanding - m[t + LOST_BYTES] - m[t + SACKED_BYTES];
  if ((m[t + FLAGS] & SACK) === 0) pipe -= m[t + DUPACKS] * m[t + MSS];
  return pipe > 0 ? pipe : 0;
}

/** [from, SND.NXT) has been sent just now. */
export function recordSent(tcp: Tcp, t: number, from: number): void {
  const m = tcp.m;
  let h = m[t + RECORDS];
  if (h === 0) {
    if (from === m[t + SND_UNA]) {
      m[t + SENT_AT] = tcp.nowUs;
      return;
    }
    if (m[t + SENT_AT] === tcp.nowUs) return;
    h = listStart(tcp, t, from);
  }
  const to = m[t + SND_NXT];
  const tail = m[h + TAIL];
  // What was delivered before is older than this, however long ago: times wrap.
  if (tail === 0) rackForget(m, t, tcp.nowUs);
  if (tail !== 0 && m[tail + SENT] === tcp.nowUs && (m[tail + STATE] & (S_SACKED | S_LOST | S_RXT)) === 0) {
    m[tail + END] = to;
    if ((m[t + FLAGS2] & SAMPLED) !== 0) rateMark(tcp, t, tail);
    return;
  }
  const r = recordTake(tcp, h);
  if (r === 0) {
    widenTail(tcp, t, h, tail, to);
    return;
  }
  m[r + START] = from;
  m[r + END] = to;
  m[r + SENT] = tcp.nowUs;
  m[r + STATE] = tcp.records.level();
  append(m, h, r);
  ringAppend(m, h, r);
  if ((m[t + FLAGS2] & SAMPLED) !== 0) rateMark(tcp, t, r);
}

/**
 * [from, to), outstanding, has been sent again just now; what lies past the end of the record that `from` is in isn't
 * noted. When records are short, more than that may count as sent.
 */
export function recordResent(tcp: Tcp, t: number, from: number, to: number): void {
  const m = tcp.m;
  const h = recordList(tcp, t);
  let r = recordAt(m, h, from);
  if ((m[r + STATE] & S_SACKED) !== 0) return;
  if (m[r + START] !== from) {
    const right = split(tcp, h, r, from);
    if (right !== 0) r = right;
  }
  if (m[r + END] !== to && joinResent(tcp, t, h, r, to)) return;
  if (((m[r + END] - to) | 0) > 0) split(tcp, h, r, to);
  const length = (m[r + END] - m[r + START]) | 0;
  const state = m[r + STATE];
  if ((state & S_LOST) !== 0) m[t + LOST_BYTES] -= length;
  if ((state & (S_RXT | S_LOST)) !== S_RXT) m[t + RXT_BYTES] += length;
  m[r + STATE] = (state & ~(S_LOST | S_VAGUE)) | S_RXT;
  m[r + SENT] = tcp.nowUs;
  ringRemove(m, r);
  ringAppend(m, h, r);
  if ((m[t + FLAGS2] & SAMPLED) !== 0) rateMark(tcp, t, r);
}

/** A lost record is sent again piece by piece: the next piece joins the one just sent, and takes no record. */
function joinResent(tcp: Tcp, t: number, h: number, r: number, to: number): boolean {
  const m = tcp.m;
  if ((m[r + STATE] & S_LOST) === 0 || ((m[r + END] - to) | 0) <= 0) return false;
  seek(m, h, m[r + START]);
  const last = before[0];
  if (last === h || m[last + SENT] !== tcp.nowUs || (m[last + STATE] & (S_RXT | S_LOST | S_SACKED)) !== S_RXT)
    return false;
  const length = (to - m[r + START]) | 0;
  m[last + END] = to;
  m[r + START] = to;
  m[t + LOST_BYTES] -= length;
  m[t + RXT_BYTES] += length;
  if ((m[t + FLAGS2] & SAMPLED) !== 0) rateMark(tcp, t, last);
  return true;
}

/** The peer SACKed [from, to), which is outstanding. Tells `news` what arrived; some is passed over when records are short. */
export function recordSacked(tcp: Tcp, t: number, news: AckNews, from: number, to: number): void {
  const m = tcp.m;
  const h = recordList(tcp, t);
  let r = recordAt(m, h, from);
  if (m[r + START] !== from && (m[r + STATE] & S_SACKED) === 0) {
    const right = split(tcp, h, r, from);
    r = right !== 0 ? right : m[r];
  }
  while (r !== 0 && ((m[r + START] - to) | 0) < 0) {
    if ((m[r + STATE] & S_SACKED) === 0) {
      if (((m[r + END] - to) | 0) > 0 && split(tcp, h, r, to) === 0) break;
      const length = (m[r + END] - m[r + START]) | 0;
      arrived(tcp, t, news, r, m[r + END], length, false);
      news.sacked += length;
      r = setSacked(tcp, t, h, r, length);
    }
    r = m[r];
  }
}

/** @returns the record that it now is part of. */
function setSacked(tcp: Tcp, t: number, h: number, r: number, length: number): number {
  const m = tcp.m;
  leaveFlight(m, t, r, length);
  ringRemove(m, r);
  m[r + STATE] = (m[r + STATE] & LEVEL) | S_SACKED;
  m[t + SACKED_BYTES] += length;
  const next = m[r];
  if (next !== 0 && (m[next + STATE] & S_SACKED) !== 0) {
    m[r + END] = m[next + END];
    remove(tcp, h, next);
  }
  seek(m, h, m[r + START]);
  const last = before[0];
  if (last === h || (m[last + STATE] & S_SACKED) === 0) return r;
  m[last + END] = m[r + END];
  remove(tcp, h, r);
  return last;
}

/** What is acknowledged, up to `ack`, is forgotten. Tells `news` what of it wasn't SACKed before. */
export function recordAcked(tcp: Tcp, t: number, news: AckNews, ack: number): void {
  const m = tcp.m;
  const h = m[t + RECORDS];
  for (let r = m[h]; r !== 0 && ((m[r + START] - ack) | 0) < 0; r = m[h]) {
    const whole = ((m[r + END] - ack) | 0) <= 0;
    const end = whole ? m[r + END] : ack;
    const length = (end - m[r + START]) | 0;
    if ((m[r + STATE] & S_SACKED) !== 0) {
      m[t + SACKED_BYTES] -= length;
    } else {
      // A record that counts as several sendings tells of none unless all of it arrived.
      if (whole || (m[r + STATE] & S_MIXED) === 0) {
        if ((m[r + STATE] & (S_RXT | S_VAGUE)) === 0) {
          const rtt = (tcp.nowUs - m[r + SENT]) | 0;
          if (rtt > news.rttOldest) news.rttOldest = rtt;
        }
        // The echo is of what came in at SND.UNA (RFC 7323 4.3, case A): of the first record, not of those behind it.
        arrived(tcp, t, news, r, end, length, news.hasEcho && m[r + START] === news.una);
      } else if ((m[t + FLAGS2] & SAMPLED) !== 0) rateDelivered(tcp, t, news, 0, end, length);
      news.acked += length;
      leaveFlight(m, t, r, length);
      if (whole) ringRemove(m, r);
    }
    if (!whole) {
      m[r + START] = ack;
      return;
    }
    removeFirst(tcp, h, r);
  }
  if (m[h] === 0) {
    m[t + FLAGS2] &= ~(REO | TLP_DUE);
    if ((m[t + FLAGS2] & (SAMPLED | TLP)) === 0) m[t + RECORDS] = 0;
  }
}

/** `length` bytes of a record will not count for what it was. */
function leaveFlight(m: Int32Array, t: number, r: number, length: number): void {
  const state = m[r + STATE];
  if ((state & S_LOST) !== 0) m[t + LOST_BYTES] -= length;
  else if ((state & S_RXT) !== 0) m[t + RXT_BYTES] -= length;
}

/**
 * What the arrival of a record's bytes up to `end` means for RTT, RACK, F-RTO and the delivery rate. `echoTells`: it is
 * what the ACK's TSecr is of.
 */
function arrived(
  tcp: Tcp,
  t: number,
  news: AckNews,
  r: number,
  end: number,
  length: number,
  echoTells: boolean,
): void {
  const m = tcp.m;
  const sent = m[r + SENT];
  const rtt = (tcp.nowUs - sent) | 0;
  if (((end - news.highest) | 0) > 0) news.highest = end;
  let fits = true;
  const vague = (m[r + STATE] & S_VAGUE) !== 0;
  if ((m[r + STATE] & S_RXT) === 0) {
    if (!vague && (news.rttNewest < 0 || rtt < news.rttNewest)) news.rttNewest = rtt;
    if (((end - m[t + RACK_FACK]) | 0) < 0) {
      news.reordered = true;
      const overtaken = (m[t + RACK_FACK] - end + length) | 0;
      if (overtaken > news.overtaken) news.overtaken = overtaken;
    }
    if (((end - m[t + RECOVER]) | 0) <= 0) news.original += length;
  } else {
    // RFC 8985 6.2 step 2: was it the original that arrived?
    const sentTs = (tcp.nowMs + m[t + TS_OFFSET] - ((rtt / 1000) | 0) - 1) | 0;
    const early = echoTells && !vague && ((news.echo - sentTs) | 0) < 0;
    if (early) news.early = true;
    fits = !early && rtt + CLOCK_STEP >= m[t + MIN_RTT];
  }
  if (fits) {
    // The newest's, as RFC 8985 5.3 defines it; 6.2's procedure leaves that of the last, and so does Linux.
    if (!vague && (news.rackRtt < 0 || rtt < news.rackRtt || tcp.limits.habits === 'linux'))
      news.rackRtt = rtt;
    if (sentAfter(sent, end, m[t + RACK_AT], m[t + RACK_END])) {
      m[t + RACK_AT] = sent;
      m[t + RACK_END] = end;
    }
  }
  if ((m[t + FLAGS2] & SAMPLED) !== 0) rateDelivered(tcp, t, news, vague ? 0 : r, end, length);
}

/** RFC 8985 6.2's RACK_sent_after. */
export function sentAfter(at1: number, end1: number, at2: number, end2: number): boolean {
  const later = (at1 - at2) | 0;
  return later > 0 || (later === 0 && ((end1 - end2) | 0) > 0);
}

/** A record in flight counts as lost, and is to be sent again. */
export function recordLost(tcp: Tcp, t: number, r: number): void {
  const m = tcp.m;
  const h = m[t + RECORDS];
  const length = (m[r + END] - m[r + START]) | 0;
  if ((m[r + STATE] & S_RXT) !== 0) m[t + RXT_BYTES] -= length;
  m[r + STATE] |= S_LOST;
  m[t + LOST_BYTES] += length;
  if ((m[t + FLAGS2] & SAMPLED) !== 0) rateLost(tcp, t, r, length);
  ringRemove(m, r);
  ringInsert(m, lostPlace(m, h + LOST_RING, m[r + START]), r);
}

/**
 * After which of the lost ones one belongs that starts at `seq`. They are marked in order of sending, so that it is the
 * last nearly always, or near the first for what was sent again in vain; nobody gains by making us look further.
 */
function lostPlace(m: Int32Array, ring: number, seq: number): number {
  let last = m[ring + R_PREV];
  for (let i = 0; i < LOST_STEPS; i++) {
    if (last === ring || ((m[last + START] - seq) | 0) < 0) return last;
    last = m[last + R_PREV];
  }
  let first = m[ring + R_NEXT];
  for (let i = 0; i < LOST_STEPS; i++) {
    if (((m[first + START] - seq) | 0) > 0) return m[first + R_PREV];
    first = m[first + R_NEXT];
  }
  return m[ring + R_PREV];
}

/** The first `length` bytes of what is outstanding are lost, unless they are SACKed, and go before all others. */
export function recordFirstLost(tcp: Tcp, t: number, length: number): void {
  const m = tcp.m;
  const h = recordList(tcp, t);
  const r = m[h];
  if (r === 0 || (m[r + STATE] & S_SACKED) !== 0) return;
  if ((m[r + STATE] & S_LOST) !== 0) {
    ringRemove(m, r);
    ringInsert(m, h + LOST_RING, r);
    return;
  }
  const to = (m[r + START] + length) | 0;
  if (((m[r + END] - to) | 0) > 0) split(tcp, h, r, to);
  recordLost(tcp, t, r);
}

/** The record in flight that was sent first, or 0. */
export function recordOldest(m: Int32Array, h: number): number {
  const r = m[h + R_NEXT];
  return r === h ? 0 : r;
}

/** The one sent next after `r`, or 0. */
export function recordNewer(m: Int32Array, h: number, r: number): number {
  const next = m[r + R_NEXT];
  return next === h ? 0 : next;
}

/** The lost record to be sent again next, or 0. */
export function recordToResend(m: Int32Array, h: number): number {
  const ring = h + LOST_RING;
  const r = m[ring + R_NEXT];
  return r === ring ? 0 : r;
}

/** What counts as lost is in flight after all. */
export function recordsFound(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const h = m[t + RECORDS];
  if (h === 0) return;
  const ring = h + LOST_RING;
  for (let r = m[ring + R_PREV]; r !== ring; r = m[ring + R_PREV]) {
    const length = (m[r + END] - m[r + START]) | 0;
    ringRemove(m, r);
    m[r + STATE] &= ~S_LOST;
    m[t + LOST_BYTES] -= length;
    if ((m[r + STATE] & S_RXT) !== 0) m[t + RXT_BYTES] += length;
    // Lost ones are older than most in flight, and are taken youngest first: a step or two.
    let at = h;
    while (m[at + R_NEXT] !== h && ((m[m[at + R_NEXT] + SENT] - m[r + SENT]) | 0) < 0) at = m[at + R_NEXT];
    ringInsert(m, at, r);
  }
}

/** The peer seems to have dropped what it had SACKed (RFC 2018 8): forgets that, oldest in flight. */
export function recordsReneged(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const h = m[t + RECORDS];
  if (h === 0) return;
  for (let r = m[h]; r !== 0; r = m[r]) {
    if ((m[r + STATE] & S_SACKED) === 0) continue;
    // When it was sent is forgotten: it counts as a retransmission that nothing is to be measured by.
    m[r + STATE] = (m[r + STATE] & ~S_SACKED) | S_RXT | S_MIXED;
    m[t + RXT_BYTES] += (m[r + END] - m[r + START]) | 0;
    ringInsert(m, h, r);
  }
  m[t + SACKED_BYTES] = 0;
}

/** Where the last record starts; something is outstanding. */
export function lastRecordStart(tcp: Tcp, t: number): number {
  const m = tcp.m;
  return m[m[recordList(tcp, t) + TAIL] + START];
}

/** When the first outstanding byte was sent last, us. */
export function firstSentAt(m: Int32Array, t: number): number {
  const h = m[t + RECORDS];
  return h === 0 || m[h] === 0 ? m[t + SENT_AT] : m[m[h] + SENT];
}

/** Whether the first outstanding byte is SACKed, which an honest peer would have acknowledged. */
export function firstIsSacked(m: Int32Array, t: number): boolean {
  const h = m[t + RECORDS];
  return h !== 0 && m[h] !== 0 && (m[m[h] + STATE] & S_SACKED) !== 0;
}

/** The connection is over, or starts afresh. */
export function recordsClear(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const h = m[t + RECORDS];
  if (h !== 0) for (let r = m[h]; r !== 0; r = m[h]) removeFirst(tcp, h, r);
  m[t + RECORDS] = 0;
  m[t + FLAGS2] &= ~(REO | TLP_DUE);
  m[t + LOST_BYTES] = 0;
  m[t + RXT_BYTES] = 0;
  m[t + SACKED_BYTES] = 0;
}

/** The list, made of the one record that stood for all if there was none. */
export function recordList(tcp: Tcp, t: number): number {
  const h = tcp.m[t + RECORDS];
  return h !== 0 ? h : listStart(tcp, t, tcp.m[t + SND_NXT]);
}

/** Makes a list whose one record is [SND.UNA, end), if that isn't empty. */
function listStart(tcp: Tcp, t: number, end: number): number {
  const m = tcp.m;
  const h = coldOf(tcp, t) + RECORD_LIST;
  for (let level = 0; level < LEVELS; level++) m[h + level] = 0;
  m[h + R_NEXT] = h;
  m[h + R_PREV] = h;
  m[h + LOST_RING + R_NEXT] = h + LOST_RING;
  m[h + LOST_RING + R_PREV] = h + LOST_RING;
  m[h + TAIL] = 0;
  m[t + RECORDS] = h;
  rackForget(m, t, m[t + SENT_AT]);
  if (end !== m[t + SND_UNA]) {
    const r = recordTake(tcp, h);
    m[r + START] = m[t + SND_UNA];
    m[r + END] = end;
    m[r + SENT] = m[t + SENT_AT];
    m[r + STATE] = 0;
    append(m, h, r);
    ringAppend(m, h, r);
  }
  return h;
}

/** Nothing is outstanding that was sent before `at`, us: RACK's newest delivery lies before that, whatever it was. */
function rackForget(m: Int32Array, t: number, at: number): void {
  m[t + RACK_AT] = (at - 1) | 0;
  m[t + RACK_END] = m[t + SND_UNA];
  m[t + RACK_FACK] = m[t + SND_UNA];
}

/** The pool is empty: the last record takes what was sent after it, and is as young as that. */
function widenTail(tcp: Tcp, t: number, h: number, tail: number, to: number): void {
  const m = tcp.m;
  const length = (m[tail + END] - m[tail + START]) | 0;
  const state = m[tail + STATE];
  if ((state & S_SACKED) !== 0) {
    m[t + SACKED_BYTES] -= length;
    ringAppend(m, h, tail);
  } else {
    leaveFlight(m, t, tail, length);
    ringRemove(m, tail);
    ringAppend(m, h, tail);
  }
  // Measured by nothing but the whole of it, if all of that was sent once.
  m[tail + STATE] = (state & (LEVEL | S_RXT)) | S_MIXED | ((state & S_SACKED) !== 0 ? S_RXT : 0);
  m[tail + END] = to;
  m[tail + SENT] = tcp.nowUs;
  if ((m[tail + STATE] & S_RXT) !== 0) m[t + RXT_BYTES] += (to - m[tail + START]) | 0;
}

/** The record that contains `seq`, which is outstanding. */
function recordAt(m: Int32Array, h: number, seq: number): number {
  // What is asked for is often at the end, or first.
  const tail = m[h + TAIL];
  if (((m[tail + START] - seq) | 0) <= 0) return tail;
  const first = m[h];
  if (((m[first + END] - seq) | 0) > 0) return first;
  seek(m, h, (seq + 1) | 0);
  return before[0];
}

function seek(m: Int32Array, h: number, seq: number): void {
  let at = h;
  for (let level = LEVELS - 1; level >= 0; level--) {
    for (let next = m[at + level]; next !== 0 && ((m[next + START] - seq) | 0) < 0; next = m[at + level])
      at = next;
    before[level] = at;
  }
}

/** Splits a record at `seq`, inside it. @returns the right part, or 0 when records are short: then nothing happens. */
function split(tcp: Tcp, h: number, r: number, seq: number): number {
  const m = tcp.m;
  const right = recordTake(tcp, h);
  if (right === 0) return 0;
  for (let i = R_NEXT; i < WORDS; i++) m[right + i] = m[r + i];
  const level = tcp.records.level();
  m[right + STATE] = (m[r + STATE] & ~LEVEL) | level;
  m[right + START] = seq;
  m[r + END] = seq;
  // SENT is when the last of it was sent, which is on the right now.
  if ((m[r + STATE] & S_MIXED) !== 0) m[r + STATE] |= S_VAGUE;
  seek(m, h, seq);
  for (let l = 0; l <= level; l++) {
    m[right + l] = m[before[l] + l];
    m[before[l] + l] = right;
  }
  if (m[right] === 0) m[h + TAIL] = right;
  if ((m[r + STATE] & S_SACKED) === 0) ringInsert(m, r, right);
  return right;
}

/** @returns a record, with only its list's word set if it is the list's own; 0 and counted when there is none. */
function recordTake(tcp: Tcp, h: number): number {
  const m = tcp.m;
  const cold = h - RECORD_LIST;
  if ((m[cold + LOSS_FLAGS] & OWN_USED) === 0) {
    m[cold + LOSS_FLAGS] |= OWN_USED;
    return cold + RECORD_OWN;
  }
  const r = tcp.records.take();
  if (r === 0) tcp.counters.recordsExhausted++;
  return r;
}

function recordGive(tcp: Tcp, h: number, r: number): void {
  const cold = h - RECORD_LIST;
  if (r === cold + RECORD_OWN) tcp.m[cold + LOSS_FLAGS] &= ~OWN_USED;
  else tcp.records.give(r);
}

function append(m: Int32Array, h: number, r: number): void {
  const level = m[r + STATE] & LEVEL;
  const tail = m[h + TAIL];
  m[r] = 0;
  m[tail === 0 ? h : tail] = r;
  m[h + TAIL] = r;
  if (level === 0) return;
  seek(m, h, m[r + START]);
  for (let l = 1; l <= level; l++) {
    m[r + l] = 0;
    m[before[l] + l] = r;
  }
}

function remove(tcp: Tcp, h: number, r: number): void {
  const m = tcp.m;
  const level = m[r + STATE] & LEVEL;
  seek(m, h, m[r + START]);
  for (let l = 0; l <= level; l++) m[before[l] + l] = m[r + l];
  if (m[h + TAIL] === r) m[h + TAIL] = before[0] === h ? 0 : before[0];
  recordGive(tcp, h, r);
}

function removeFirst(tcp: Tcp, h: number, r: number): void {
  const m = tcp.m;
  const level = m[r + STATE] & LEVEL;
  for (let l = 0; l <= level; l++) m[h + l] = m[r + l];
  if (m[h] === 0) m[h + TAIL] = 0;
  recordGive(tcp, h, r);
}

function ringAppend(m: Int32Array, ring: number, r: number): void {
  ringInsert(m, m[ring + R_PREV], r);
}

/** After `at`, a record or a ring's head. */
function ringInsert(m: Int32Array, at: number, r: number): void {
  const next = m[at + R_NEXT];
  m[r + R_PREV] = at;
  m[r + R_NEXT] = next;
  m[at + R_NEXT] = r;
  m[next + R_PREV] = r;
}

function ringRemove(m: Int32Array, r: number): void {
  const next = m[r + R_NEXT];
  const prev = m[r + R_PREV];
  m[prev + R_NEXT] = next;
  m[next + R_PREV] = prev;
}
