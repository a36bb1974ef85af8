/**
 * SYN cookies (RFC 4987 3.6): under a flood a SYN is answered without keeping anything; what the handshake needs
 * comes back in its last ACK.
 *
 *     our ISN      │ keyed hash: four-tuple, peer's ISN, slot, MSS │ slot │ MSS │
 *                  31                                              3      2    0
 *     our TSval    │ clock, never ahead of it │ ECN │ SACK │ window scale │
 *                  31                         5     4      3              0
 *
 * The slot counts 65.5 s, and a cookie is good in its own and the next one. Window scale and SACK are agreed only
 * with a peer that offers timestamps, whose echo brings them back; so is classic ECN. AccECN tells itself by its flags
 * (RFC 9768 5.1).
 */
import { FLAG, PATH_FLAG, TCB } from './block.ts';
import { HASH_SYN_COOKIE, hashTuple } from './handshake.ts';
import type { Listener } from './listen.ts';
import { receiveShift } from './receive-window.ts';
import type { Segment } from './segment.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, PATH, PEER_MSS, SND_UNA, SND_NXT, TS_OFFSET, TS_RECENT } = TCB;
const { TS, SACK } = FLAG;
const { ECN, ECN_CLASSIC, ECT0 } = PATH_FLAG;

/** Eight that are common; a peer gets the largest that is no more than its own. The first is what `negotiate` floors. */
const MSS_TABLE = [64, 536, 1220, 1360, 1400, 1440, 1460, 8940] as const;
const MSS_MASK = 7;
const SLOT_BIT = 8;
const HASH_MASK = ~15;
/** Of the ms clock, which wraps with the slots. */
const SLOT_SHIFT = 16;
const SLOT_MASK = 0xffff;

const OPTIONS_MASK = 63;
const OPTION_SACK = 16;
const OPTION_ECN = 32;
const SCALE_MASK = 15;
const SCALE_NONE = 15;

/** ms that a listener's cookies may still come back after the last one was sent. */
const COOKIE_AGE_MAX = 2 << SLOT_SHIFT;

function cookieHash(tcp: Tcp, t: number, peerIsn: number, slot: number, mss: number): number {
  const h = hashTuple(tcp, t, HASH_SYN_COOKIE);
  h.word(peerIsn);
  h.word((slot << 3) | mss);
  return h.finish() & HASH_MASK;
}

/** Makes the SYN-ACK of a block that stands for a half-open connection one with a cookie. */
export function cookieMake(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  let mss = MSS_TABLE.length - 1;
  while (mss > 0 && MSS_TABLE[mss] > (m[t + PEER_MSS] & 0xffff)) mss--;
  const slot = (tcp.nowMs >>> SLOT_SHIFT) & SLOT_MASK;
  const cookie = cookieHash(tcp, t, s.seq, slot, mss) | ((slot & 1) << 3) | mss;
  m[t + SND_UNA] = cookie;
  m[t + SND_NXT] = (cookie + 1) | 0;
  const flags = m[t + FLAGS];
  const classic = (m[t + PATH] & ECN) === ECN_CLASSIC;
  if ((flags & TS) === 0) {
    if (classic) m[t + PATH] &= ~ECN;
    m[t + FLAGS] = flags & ~(SACK | 0xff);
    return;
  }
  const scale = (flags & 0xff) !== 0 ? flags & SCALE_MASK : SCALE_NONE;
  const clock = (tcp.nowMs + m[t + TS_OFFSET]) | 0;
  let tsVal =
    (clock & ~OPTIONS_MASK) | scale | ((flags & SACK) !== 0 ? OPTION_SACK : 0) | (classic ? OPTION_ECN : 0);
  // Later segments carry the clock as it is, and timestamps may not go back.
  if (((tsVal - clock) | 0) > 0) tsVal = (tsVal - OPTIONS_MASK - 1) | 0;
  m[t + TS_OFFSET] = (tsVal - tcp.nowMs) | 0;
}

/** Whether cookies of this listener's may be out; while none are, a stray ACK costs no hash. */
export function cookiesExpected(tcp: Tcp, listener: Listener): boolean {
  if (!listener.cookies) return false;
  const age = (tcp.nowMs - listener.cookieAt) | 0;
  if (age < 0 || age > COOKIE_AGE_MAX) listener.cookies = false;
  return listener.cookies;
}

/** @param t A block with the segment's key. @returns the MSS that the cookie in this ACK keeps, or 0: it is none. */
export function cookieMss(tcp: Tcp, t: number, s: Segment): number {
  const cookie = (s.ack - 1) | 0;
  const mss = cookie & MSS_MASK;
  let slot = (tcp.nowMs >>> SLOT_SHIFT) & SLOT_MASK;
  if ((slot & 1) !== (cookie & SLOT_BIT) >> 3) slot = (slot - 1) & SLOT_MASK;
  return cookieHash(tcp, t, (s.seq - 1) | 0, slot, mss) === (cookie & HASH_MASK) ? MSS_TABLE[mss] : 0;
}

/** Sets what the echoed timestamp says was agreed: FLAGS (scales, timestamps, SACK), TS_RECENT, classic ECN. */
export function cookieNegotiated(tcp: Tcp, t: number, s: Segment, receiveBuffer: number): void {
  if (s.hasTimestamp === 0) return;
  const m = tcp.m;
  let flags = m[t + FLAGS] | TS;
  const options = s.tsEcr & OPTIONS_MASK;
  if ((options & OPTION_SACK) !== 0) flags |= SACK;
  if ((options & OPTION_ECN) !== 0) m[t + PATH] |= ECN_CLASSIC | ECT0;
  if ((options & SCALE_MASK) !== SCALE_NONE)
    flags |= (options & SCALE_MASK) | (receiveShift(tcp, receiveBuffer) << 4);
  m[t + FLAGS] = flags;
  m[t + TS_RECENT] = s.tsVal;
}
