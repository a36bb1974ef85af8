/** The windows that a connection starts with, and starts again with (RFC 6928, RFC 5681 3.1 and 4.1). */
import { routeStartWindow } from '../../ip/routes.ts';
import { COLD, FLAG, FLAG2, TCB } from '../block.ts';
import { coldOf } from '../cold.ts';
import type { Tcp } from '../tcp.ts';

const { MSS, FLAGS, FLAGS2, LISTENER, RTX_AT, BACKOFF, RADDR, RADDR6 } = TCB;
const { V6 } = FLAG;
const { COLD_USED } = FLAG2;

/** RFC 6928: ten segments, at most 14,600 bytes or two segments. */
export function initialWindow(mss: number): number {
  const ten = 10 * mss;
  const cap = 14_600 > 2 * mss ? 14_600 : 2 * mss;
  return ten < cap ? ten : cap;
}

/**
 * What the program asked for, or else the route, or else RFC 6928. One segment if the handshake lost more than one
 * SYN or SYN-ACK; a single timeout is more often early than a loss (RFC 6928 2).
 */
export function startWindow(tcp: Tcp, t: number): number {
  const m = tcp.m;
  // A half-open connection counted its SYN-ACKs where a full block keeps a deadline.
  const again = m[t + LISTENER] !== 0 ? m[t + RTX_AT] : m[t + BACKOFF];
  return again > 1 ? m[t + MSS] : restartWindow(tcp, t);
}

/** The restart window of RFC 5681 4.1. */
export function restartWindow(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const mss = m[t + MSS];
  let bytes = (m[t + FLAGS2] & COLD_USED) === 0 ? 0 : m[coldOf(tcp, t) + COLD.START_WINDOW];
  if (bytes === 0 && tcp.ip.routes.startWindows > 0) {
    bytes =
      (m[t + FLAGS] & V6) !== 0
        ? routeStartWindow(tcp.ip, 6, m[t + RADDR6], m[t + RADDR6 + 1], m[t + RADDR6 + 2], m[t + RADDR6 + 3])
        : routeStartWindow(tcp.ip, 4, m[t + RADDR], 0, 0, 0);
  }
  if (bytes === 0) return initialWindow(mss);
  return bytes < mss ? mss : bytes;
}
