/**
 * HyStart++ (RFC 9406): the first slow start ends when round trips get longer, before the queue that makes them so
 * overflows. It goes over to a conservative slow start (CSS), and back should the delay have been an accident.
 *
 * Its words are there while SSTHRESH is infinite; then they are zeroed, and are the module's.
 */
import { TCB } from '../block.ts';
import type { Tcp } from '../tcp.ts';
import { slowStart, WINDOW_MAX } from './control.ts';

const { CWND, SSTHRESH, SND_UNA, SND_NXT, CC_WORDS } = TCB;
const INFINITE = WINDOW_MAX;

/** Smallest RTT of this round and of the last, us; 0: none. */
const CURRENT_MIN = CC_WORDS;
const LAST_MIN = CC_WORDS + 1;
const SAMPLES = CC_WORDS + 2;
/** The round ends when this is acknowledged. */
const WINDOW_END = CC_WORDS + 3;
/** Rounds of CSS that have begun; 0: not in CSS. */
const CSS_ROUNDS_BEGUN = CC_WORDS + 4;
const CSS_BASELINE = CC_WORDS + 5;
const WORDS = 6;

/** us. */
const RTT_THRESH_MIN = 4000;
const RTT_THRESH_MAX = 16_000;
const RTT_DIVISOR_SHIFT = 3;
/** Of a round, before it is judged. */
export const RTT_SAMPLES = 8;
const CSS_GROWTH_DIVISOR = 4;
const CSS_ROUNDS = 5;

export function hystartBegin(m: Int32Array, t: number): void {
  for (let i = 0; i < WORDS; i++) m[t + CC_WORDS + i] = 0;
  m[t + WINDOW_END] = m[t + SND_NXT];
}

/** The words are the module's from now on. */
export function hystartEnd(m: Int32Array, t: number): void {
  for (let i = 0; i < WORDS; i++) m[t + CC_WORDS + i] = 0;
}

/** The first slow start, while SSTHRESH is infinite; ends by setting it. */
export function hystartAcked(tcp: Tcp, t: number, acked: number): void {
  const m = tcp.m;
  slowStart(tcp, t, acked, m[t + CSS_ROUNDS_BEGUN] > 0 ? CSS_GROWTH_DIVISOR : 1);
  const rtt = tcp.sample.rtt_us;
  if (rtt > 0) {
    if (m[t + CURRENT_MIN] === 0 || rtt < m[t + CURRENT_MIN]) m[t + CURRENT_MIN] = rtt;
    m[t + SAMPLES]++;
    if (m[t + SAMPLES] >= RTT_SAMPLES) judge(tcp, t);
  }
  if (((m[t + SND_UNA] - m[t + WINDOW_END]) | 0) >= 0) nextRound(tcp, t);
}

/** Enough samples of this round (RFC 9406 4.2). */
function judge(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const current = m[t + CURRENT_MIN];
  if (m[t + CSS_ROUNDS_BEGUN] > 0) {
    // The delay is gone: slow start goes on. Not in the round that brought it: there the minimum of its samples can
    // only fall, and a few us of noise would end CSS as soon as it began.
    if (m[t + CSS_ROUNDS_BEGUN] > 1 && current < m[t + CSS_BASELINE]) m[t + CSS_ROUNDS_BEGUN] = 0;
    return;
  }
  const last = m[t + LAST_MIN];
  if (last === 0) return;
  if (current < last + delayThreshold(last)) return;
  tcp.counters.hystartDelays++;
  m[t + CSS_BASELINE] = current;
  m[t + CSS_ROUNDS_BEGUN] = 1;
}

/** By how much an RTT must be longer, us. */
export function delayThreshold(rtt: number): number {
  const threshold = rtt >> RTT_DIVISOR_SHIFT;
  if (threshold < RTT_THRESH_MIN) return RTT_THRESH_MIN;
  return threshold > RTT_THRESH_MAX ? RTT_THRESH_MAX : threshold;
}

function nextRound(tcp: Tcp, t: number): void {
  const m = tcp.m;
  m[t + WINDOW_END] = m[t + SND_NXT];
  m[t + LAST_MIN] = m[t + CURRENT_MIN];
  m[t + CURRENT_MIN] = 0;
  m[t + SAMPLES] = 0;
  if (m[t + CSS_ROUNDS_BEGUN] === 0) return;
  if (++m[t + CSS_ROUNDS_BEGUN] <= CSS_ROUNDS) return;
  tcp.counters.hystartExits++;
  m[t + SSTHRESH] = m[t + CWND];
  hystartEnd(m, t);
}

export function inFirstSlowStart(m: Int32Array, t: number): boolean {
  return m[t + SSTHRESH] === INFINITE;
}
