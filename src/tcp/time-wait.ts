/**
 * TIME-WAIT (RFC 9293 3.6.1) keeps a mini block, not the connection: the key, what an ACK of a retransmitted FIN
 * needs, and when it ends. All wait equally long, so they stand in one list by age: ending and evicting are a
 * look at its head, and the wheel isn't involved. T_NEXT is the next younger, T_PREV the next older.
 */

import { FLAG_ACK as ACK, FLAG_FIN as FIN, FLAG_RST as RST, FLAG_SYN as SYN } from '../wire/tcp.ts';
import { BLOCK_BEFORE, FLAG, MINI_WORDS, STATE, TCB } from './block.ts';
import { blockRelease } from './close.ts';
import { ipFieldsOf } from './ip-fields.ts';
import { flowReplace } from './lookup.ts';
import type { Segment } from './segment.ts';
import { sourceRouteMove } from './source-route.ts';
import { CHALLENGE_INTERVAL, type Tcp } from './tcp.ts';

const {
  STATE: ST,
  FLAGS,
  HASH,
  T_NEXT,
  T_PREV,
  T_AT,
  RCV_NXT,
  RCV_ADV,
  SND_NXT,
  TS_RECENT,
  NEXT_OUT,
  RTX_AT,
  HANDLE,
  MINI_CHALLENGE_AT,
} = TCB;
const { MINI, TS, V6 } = FLAG;

/** The answer to a segment in TIME-WAIT. */
export const TIME_WAIT_DROP = 0;
export const TIME_WAIT_ACK = 1;
/** The block is gone and the SYN may open a new connection. */
export const TIME_WAIT_REUSE = 2;
/** RFC 793's answer to a SYN in the window. */
export const TIME_WAIT_RESET = 3;

/**
 * Moves a full block's connection into a mini block, which takes its place in the table. When there is no mini
 * block, the oldest TIME-WAIT makes room, or else the connection ends at once (counted).
 */
export function timeWaitEnter(tcp: Tcp, t: number): void {
  const m = tcp.m;
  let w = tcp.minis.take();
  if (w === 0 && tcp.timeWaitOldest !== 0) {
    tcp.counters.timeWaitEvicted++;
    timeWaitRemove(tcp, tcp.timeWaitOldest);
    w = tcp.minis.take();
  }
  if (w === 0) {
    tcp.counters.miniExhausted++;
    tcp.table.remove(m[t + HASH], t);
    return;
  }
  const handle = m[w + HANDLE];
  // The rare line and line 0: addresses, ports, sequence numbers, timestamps.
  tcp.arena.kernels.copy((w - BLOCK_BEFORE) << 2, (t - BLOCK_BEFORE) << 2, MINI_WORDS << 2);
  m[w + HANDLE] = handle;
  m[w + NEXT_OUT] = 0;
  m[w + MINI_CHALLENGE_AT] = (tcp.nowMs - CHALLENGE_INTERVAL) | 0;
  m[w + RTX_AT] = ipFieldsOf(tcp, t);
  m[w + ST] = STATE.TIME_WAIT;
  m[w + FLAGS] = (m[t + FLAGS] & (TS | V6 | 0xff)) | MINI;
  if (tcp.marking) sourceRouteMove(tcp, t, w);
  flowReplace(tcp, t, w);
  append(tcp, w);
}

function append(tcp: Tcp, w: number): void {
  const m = tcp.m;
  m[w + T_AT] = (tcp.nowMs + tcp.limits.timeWait_ms) | 0;
  m[w + T_NEXT] = 0;
  m[w + T_PREV] = tcp.timeWaitNewest;
  if (tcp.timeWaitNewest === 0) tcp.timeWaitOldest = w;
  else m[tcp.timeWaitNewest + T_NEXT] = w;
  tcp.timeWaitNewest = w;
}

function unlink(tcp: Tcp, w: number): void {
  const m = tcp.m;
  const next = m[w + T_NEXT];
  const prev = m[w + T_PREV];
  if (prev === 0) tcp.timeWaitOldest = next;
  else m[prev + T_NEXT] = next;
  if (next === 0) tcp.timeWaitNewest = prev;
  else m[next + T_PREV] = prev;
  m[w + T_NEXT] = 0;
  m[w + T_PREV] = 0;
}

export function timeWaitRemove(tcp: Tcp, w: number): void {
  unlink(tcp, w);
  tcp.table.remove(tcp.m[w + HASH], w);
  blockRelease(tcp, w);
}

/** How long a connection has been in TIME-WAIT, ms. */
export function timeWaitAge(tcp: Tcp, w: number): number {
  return (tcp.nowMs - tcp.m[w + T_AT] + tcp.limits.timeWait_ms) | 0;
}

/** Ends those whose time is over, at most `budget` of them. */
export function timeWaitExpire(tcp: Tcp, budget: number): void {
  for (let w = tcp.timeWaitOldest; w !== 0 && budget > 0; w = tcp.timeWaitOldest, budget--) {
    if (((tcp.m[w + T_AT] - tcp.nowMs) | 0) > 0) return;
    timeWaitRemove(tcp, w);
  }
}

/** RFC 9293 3.10.7.4 for TIME-WAIT, with RFC 1337 and RFC 6191; what acknowledges nothing is dropped (fifth step). */
export function timeWaitSegment(tcp: Tcp, w: number, s: Segment): number {
  const m = tcp.m;
  const timestamps = (m[w + FLAGS] & TS) !== 0 && s.hasTimestamp === 1;
  const old = timestamps && ((s.tsVal - m[w + TS_RECENT]) | 0) < 0;
  // RFC 1337: no RST ends it.
  if ((s.flags & RST) !== 0) return TIME_WAIT_DROP;
  if ((s.flags & SYN) !== 0) {
    const offset = (s.seq - m[w + RCV_NXT]) | 0;
    if (tcp.limits.blindSyn && offset >= 0 && ((s.seq - m[w + RCV_ADV]) | 0) < 0) return TIME_WAIT_RESET;
    // RFC 6191 2: a later timestamp, the first at all, or else a sequence number beyond the old connection's.
    const newer = timestamps && ((s.tsVal - m[w + TS_RECENT]) | 0) > 0;
    const first = (m[w + FLAGS] & TS) === 0 && s.hasTimestamp === 1;
    const beyond = !old && offset > 0;
    if ((s.flags & (FIN | ACK)) === 0 && (newer || first || beyond)) {
      tcp.counters.timeWaitReused++;
      tcp.reusedSndNxt = m[w + SND_NXT];
      timeWaitRemove(tcp, w);
      return TIME_WAIT_REUSE;
    }
    return TIME_WAIT_ACK;
  }
  if ((s.flags & ACK) === 0) return TIME_WAIT_DROP;
  if (old) return TIME_WAIT_ACK;
  if ((s.flags & FIN) !== 0 && ((s.seq + s.length + 1 - m[w + RCV_NXT]) | 0) === 0) {
    unlink(tcp, w);
    append(tcp, w);
    // The last ACK was lost. A FIN is never an answer, so this can't go on for ever.
    m[w + MINI_CHALLENGE_AT] = (tcp.nowMs - CHALLENGE_INTERVAL) | 0;
    return TIME_WAIT_ACK;
  }
  // Anything else that is not exactly next and empty gets the last ACK again.
  return s.length === 0 && s.seq === m[w + RCV_NXT] ? TIME_WAIT_DROP : TIME_WAIT_ACK;
}
