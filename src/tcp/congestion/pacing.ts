/**
 * Pacing: a connection with FLAG2.PACED sends a quantum, some ms' worth, and then waits for its next send time
 * (draft-ietf-ccwg-bbr 5.6.2, 5.6.3).
 *
 *      PACE_AT       now                        quantum / rate
 *         ├── lag ────┤                     ├──────────────────┤
 *     ────┴───────────┴──► may send         PACE_AT ──► waits in `tcp.pacer` ──► data list
 *                quantum + lag x rate
 *
 * What a late wake-up missed is made up for, up to LAG_MAX, so that the rate holds whatever the clock's grain; what the
 * window or the program held back is not.
 * Rates are bytes per 16 ms: int32 covers 62 B/s to 1 Tbit/s.
 */
import { COLD_WORDS, FLAG, FLAG2, TCB } from '../block.ts';
import { coldOf } from '../cold.ts';
import { LIST_DATA, listPush } from '../lists.ts';
import type { Tcp } from '../tcp.ts';

const { FLAGS, FLAGS2, CC, CWND, SSTHRESH, MSS, SRTT, SND_AT, SND_UNA, SND_NXT, IFACE, PACE_AT, PACE_RATE } =
  TCB;
const { SNDQ_LENGTH } = TCB;
const { RECOVERY } = FLAG;
const { PACE_WAIT } = FLAG2;

/** Of a connection that isn't paced: more than it could ever send at once. */
export const UNPACED = 0x7fffffff;
/** us in the unit of rates. */
const RATE_US = 16_000;
const RATE_MAX = 0x7fffffff;
const QUANTUM_US = 1000;
const QUANTUM_MAX = 65_536;
/** How late a wake-up may be and still be made up for, us. */
const LAG_MAX = 2000;
/** After so long without sending, PACE_AT may have wrapped (ms). */
const STALE_MS = 60_000;
/** Linux's: doubling needs twice the window a round trip; then some room to grow. */
const GAIN_SLOW_START = 2;
const GAIN_AVOIDANCE = 1.2;

/** The rate of `bytes` in `us` (> 0). */
export function rateOf(bytes: number, us: number): number {
  const rate = (bytes * RATE_US) / us;
  return rate >= RATE_MAX ? RATE_MAX : rate | 0;
}

/** Bytes in `us` at a rate; below 2^31. */
export function bytesAt(rate: number, us: number): number {
  const bytes = (rate * us) / RATE_US;
  return bytes >= RATE_MAX ? RATE_MAX : bytes | 0;
}

/** As programs are told rates. */
export function bytesPerSecond(rate: number): number {
  return rate * (1_000_000 / RATE_US);
}

/** The rate in force; 0: none yet. */
export function paceRate(tcp: Tcp, t: number): number {
  const m = tcp.m;
  if (tcp.congestions[m[t + CC]].paces === true) return m[t + PACE_RATE];
  const srtt = m[t + SRTT] >> 3;
  if (srtt === 0) return 0;
  // In fast recovery CWND is what PRR lets out at the moment (RFC 9937), which may be a byte; SSTHRESH is the window.
  if ((m[t + FLAGS] & RECOVERY) !== 0) return rateOf(GAIN_AVOIDANCE * m[t + SSTHRESH], srtt);
  const gain = m[t + CWND] < m[t + SSTHRESH] >> 1 ? GAIN_SLOW_START : GAIN_AVOIDANCE;
  return rateOf(gain * m[t + CWND], srtt);
}

/** draft-ietf-ccwg-bbr 5.6.3. */
export function sendQuantum(m: Int32Array, t: number, rate: number): number {
  const quantum = bytesAt(rate, QUANTUM_US);
  const least = 2 * m[t + MSS];
  return quantum < least ? least : quantum > QUANTUM_MAX ? QUANTUM_MAX : quantum;
}

/** Bytes that a paced connection may send now; 0: not before PACE_AT. */
export function paceAllowance(tcp: Tcp, t: number): number {
  const m = tcp.m;
  if (m[t + SND_NXT] === m[t + SND_UNA] && m[t + SNDQ_LENGTH] > 0) {
    tcp.congestions[m[t + CC]].resumed?.(tcp, t);
    if (((tcp.nowMs - m[t + SND_AT]) | 0) > STALE_MS) m[t + PACE_AT] = tcp.nowUs;
  }
  const rate = paceRate(tcp, t);
  if (rate === 0) return UNPACED;
  let lag = (tcp.nowUs - m[t + PACE_AT]) | 0;
  if (lag < 0) return 0;
  const most = (m[t + FLAGS2] & PACE_WAIT) === 0 ? 0 : LAG_MAX;
  paceEnd(tcp, t);
  if (lag > most) {
    lag = most;
    m[t + PACE_AT] = (tcp.nowUs - most) | 0;
  }
  return sendQuantum(m, t, rate) + bytesAt(rate, lag);
}

/** `n` bytes of the allowance went out. @returns what is left; not positive: nothing */
export function paceSpend(tcp: Tcp, t: number, allowance: number, n: number): number {
  if (allowance === UNPACED) return UNPACED;
  const m = tcp.m;
  m[t + PACE_AT] = (m[t + PACE_AT] + (n * RATE_US) / paceRate(tcp, t)) | 0;
  return allowance - n;
}

/** The allowance is spent, and there is more to send. */
export function paceWait(tcp: Tcp, t: number): void {
  const m = tcp.m;
  // Nothing moves the wheel's present while it is empty.
  if (tcp.pacer.armed === 0) tcp.pacer.begin(tcp.nowUs);
  tcp.pacer.arm(coldOf(tcp, t), m[t + PACE_AT]);
  m[t + FLAGS2] |= PACE_WAIT;
}

/** Puts those whose time has come on their data lists. */
export function paceRun(tcp: Tcp): void {
  const { m, pacer } = tcp;
  pacer.advance(tcp.nowUs);
  for (let cold = pacer.expired(); cold !== 0; cold = pacer.expired()) {
    const t = tcp.blocks.at(((cold - tcp.coldBase) / COLD_WORDS) | 0);
    listPush(m, tcp.lists[m[t + IFACE]], LIST_DATA, t);
  }
}

/** ms from the last breath's whole ms until `paceRun` has something to do; -1: never. */
export function paceDelay(tcp: Tcp): number {
  const us = tcp.pacer.nextDeadline();
  return us < 0 ? -1 : (us + ((tcp.nowUs - Math.imul(tcp.nowMs, 1000)) | 0)) / 1000;
}

/** It no longer waits: its time has come, or it sends nothing more. */
export function paceEnd(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & PACE_WAIT) === 0) return;
  m[t + FLAGS2] &= ~PACE_WAIT;
  tcp.pacer.disarm(coldOf(tcp, t));
}
