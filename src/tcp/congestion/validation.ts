/**
 * Congestion window validation (RFC 7661) for modules that don't model the path: what the connection really has in
 * flight in a round trip, and what becomes of a window that isn't used. (That a window grows only while it is the limit
 * is TCB.LIMITED's affair.)
 *
 * A window of no more than the initial one needs none of this, so that a connection of requests and replies pays
 * nothing.
 */
import { COLD, FLAG2, TCB } from '../block.ts';
import { coldOf } from '../cold.ts';
import type { Tcp } from '../tcp.ts';
import { initialWindow } from './window.ts';

const { CC, CWND, SSTHRESH, MSS, SND_UNA, SRTT, FLAGS2 } = TCB;
const { COLD_USED } = FLAG2;
const { PIPE_MARK, PIPE_NOW, PIPE_BEFORE, PIPE_SINCE, VALID_AT } = COLD;

/** pipeACK is a maximum over max(3 RTT, 1 s) (RFC 7661 4.2): over two parts of at least this long, ms. */
const PART_MIN_MS = 500;
/** How long an unused window stands (RFC 7661 4.4.3), ms. */
const NONVALIDATED_MS = 300_000;
const SMALL_SEGMENTS = 10;

/** Once a round trip, when a segment that was timed is acknowledged. */
export function congestionRound(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if (m[t + CWND] <= SMALL_SEGMENTS * m[t + MSS] || tcp.congestions[m[t + CC]].sampled !== undefined) return;
  const cold = coldOf(tcp, t);
  const una = m[t + SND_UNA];
  const now = tcp.nowMs;
  if (m[cold + PIPE_SINCE] === 0) {
    m[cold + PIPE_MARK] = una;
    m[cold + PIPE_SINCE] = now | 1;
    m[cold + VALID_AT] = now;
    return;
  }
  const piped = (una - m[cold + PIPE_MARK]) | 0;
  m[cold + PIPE_MARK] = una;
  const part = m[t + SRTT] >> 3 > PART_MIN_MS * 667 ? ((m[t + SRTT] >> 3) / 667) | 0 : PART_MIN_MS;
  if (((now - m[cold + PIPE_SINCE]) | 0) > part) {
    m[cold + PIPE_BEFORE] = m[cold + PIPE_NOW];
    m[cold + PIPE_NOW] = piped;
    m[cold + PIPE_SINCE] = now | 1;
  } else if (piped > m[cold + PIPE_NOW]) m[cold + PIPE_NOW] = piped;

  if (pipeAcked(tcp, t) >= m[t + CWND] >> 1) m[cold + VALID_AT] = now;
  else if (((now - m[cold + VALID_AT]) | 0) >= NONVALIDATED_MS) {
    m[cold + VALID_AT] = now;
    decay(tcp, t);
  }
}

/** pipeACK, bytes; 0: not known. */
export function pipeAcked(tcp: Tcp, t: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS2] & COLD_USED) === 0) return 0;
  const cold = coldOf(tcp, t);
  return m[cold + PIPE_NOW] > m[cold + PIPE_BEFORE] ? m[cold + PIPE_NOW] : m[cold + PIPE_BEFORE];
}

export function validationReset(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & COLD_USED) === 0) return;
  const cold = coldOf(tcp, t);
  m[cold + PIPE_NOW] = 0;
  m[cold + PIPE_BEFORE] = 0;
  m[cold + PIPE_SINCE] = 0;
}

/** RFC 7661 4.4.3. */
function decay(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.counters.windowDecays++;
  const cwnd = m[t + CWND];
  const ssthresh = (cwnd * 3) >> 2;
  if (m[t + SSTHRESH] < ssthresh) m[t + SSTHRESH] = ssthresh;
  const least = initialWindow(m[t + MSS]);
  m[t + CWND] = cwnd >> 1 > least ? cwnd >> 1 : least;
}
