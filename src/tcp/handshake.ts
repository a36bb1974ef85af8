/** What both kinds of open share: options, initial sequence numbers, and the first state of a full block (RFC 9293 3.5). */
import { pathMtu } from '../ip/path-mtu.ts';
import type { HalfSipHash } from '../wire/siphash.ts';
import { FLAG, PATH_FLAG, STATE, TCB } from './block.ts';
import { congestionOpened, congestionStart } from './congestion/control.ts';
import { EVENT_OPEN, eventPush } from './events.ts';
import { fastOpenConfirmed } from './fast-open.ts';
import { LIST_DATA, listPush } from './lists.ts';
import { mtuSearchOpen } from './plpmtud.ts';
import { receiveStart, windowUpdate } from './receive-window.ts';
import type { Segment } from './segment.ts';
import { sendStart } from './send.ts';
import { ipOptionBytes } from './source-route.ts';
import { CHALLENGE_INTERVAL, type Tcp } from './tcp.ts';
import { rttSample, rtxStart } from './timers.ts';

const {
  STATE: ST,
  FLAGS,
  IFACE,
  PEER_MSS,
  PATH,
  TS_OFFSET,
  SND_UNA,
  SND_NXT,
  SND_WND,
  SND_WL1,
  SND_WL2,
  MAX_WND,
  TS_RECENT,
  ISS,
  IRS,
  MSS,
  PMTU,
  HANDLERS,
  QUICK_ACKS,
  RECOVER,
  MIN_RTT_AT,
  LIMITED,
  ROUND,
  CC,
  RCV_AT,
  SND_AT,
  PORTS,
  RADDR,
  LADDR,
  RADDR6,
  BACKOFF,
  SNDQ_LENGTH,
  SRTT,
  RTTVAR,
  SENT_AT,
} = TCB;
const { TS, SACK, V6, RTX, PROBE, FIN_QUEUED } = FLAG;

/** Labels of `hashTuple` and of the engine's other keyed hashes. */
export const HASH_ISN = 0;
export const HASH_PORT = 1;
export const HASH_SYN_COOKIE = 2;
export const HASH_FAST_OPEN = 3;

/** MSS when the peer names none (RFC 9293 3.7.1). */
export const MSS_DEFAULT_4 = 536;
export const MSS_DEFAULT_6 = 1220;
/** Below this a peer only wants to make us send headers. */
const MSS_MIN = 64;
const QUICK_ACKS_AT_START = 8;
const RTTVAR_SYN_LOST = 2_999_000;

/** What we advertise as MSS: what fits the interface's MTU without options (RFC 6691). */
export function ownMss(tcp: Tcp, t: number): number {
  const iface = tcp.ip.interfaces[tcp.m[t + IFACE]];
  return (tcp.m[t + FLAGS] & V6) !== 0 ? iface.mtu6 - 60 : iface.mtu - 40;
}

/** Sets MSS from the path MTU and the peer's option, timestamps and IP options deducted (RFC 9293 3.7.1). */
export function mssUpdate(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const byPath = m[t + PMTU] - ((m[t + FLAGS] & V6) !== 0 ? 60 : 40);
  const peerMss = m[t + PEER_MSS] & 0xffff;
  const mss = (peerMss < byPath ? peerMss : byPath) - ipOptionBytes(tcp, t);
  m[t + MSS] = (m[t + FLAGS] & TS) !== 0 ? mss - 12 : mss;
}

/** Notes what the peer's SYN offers and we take: FLAGS (scales, ours being `shift`, timestamps, SACK), PEER_MSS, TS_RECENT. */
export function negotiate(tcp: Tcp, t: number, s: Segment, shift: number): void {
  const m = tcp.m;
  const o = tcp.options;
  let flags = m[t + FLAGS] & ~(TS | SACK | 0xff);
  const { limits } = tcp;
  const has = s.hasOptions === 1 && limits.synOptions;
  if (has && s.hasTimestamp === 1 && limits.timestamps) {
    flags |= TS;
    m[t + TS_RECENT] = s.tsVal;
  }
  if (has && o.sackPermitted === 1 && limits.sack) flags |= SACK;
  if (has && o.windowScale >= 0 && limits.windowScale) flags |= o.windowScale | (shift << 4);
  m[t + FLAGS] = flags;
  const fallback = (flags & V6) !== 0 ? MSS_DEFAULT_6 : MSS_DEFAULT_4;
  const mss = s.hasOptions === 1 && o.mss > 0 ? o.mss : fallback;
  m[t + PEER_MSS] = (m[t + PATH] & PATH_FLAG.ANY) | (mss < MSS_MIN ? MSS_MIN : mss);
}

/** Feeds a block's four-tuple to the engine's keyed hash. @param label What the hash is for: no two uses share one. */
export function hashTuple(tcp: Tcp, t: number, label: number): HalfSipHash {
  const m = tcp.m;
  const h = tcp.hash;
  h.start();
  h.word(label);
  h.word(m[t + PORTS]);
  if ((m[t + FLAGS] & V6) !== 0) for (let i = 0; i < 8; i++) h.word(m[t + RADDR6 + i]);
  else {
    h.word(m[t + RADDR]);
    h.word(m[t + LADDR]);
  }
  return h;
}

/** RFC 9293 3.4.1, RFC 6528: a 4 us clock plus a keyed hash of the four-tuple. Also draws the timestamp offset. */
export function initialSequence(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const h = hashTuple(tcp, t, HASH_ISN);
  const hash = h.finish();
  let iss = (Math.imul(tcp.nowMs, 250) + hash) | 0;
  // RFC 9293 3.6.1: above all that the connection before used, should it have sent faster than that clock runs.
  if (tcp.reusing !== 0 && ((iss - tcp.reusedSndNxt) | 0) <= 0) iss = (tcp.reusedSndNxt + 0x10001) | 0;
  m[t + SND_UNA] = iss;
  m[t + SND_NXT] = (iss + 1) | 0;
  // Per four-tuple as well, so that a reused tuple's timestamps go on (RFC 7323 7.1). Not made of the first half,
  // which everybody knows who was sent an ISN and guesses the clock.
  m[t + TS_OFFSET] = h.finishSecond();
}

/** Fills a zeroed full block whose key, FLAGS, IFACE and sequence numbers stand. */
export function blockStart(
  tcp: Tcp,
  t: number,
  iss: number,
  irs: number,
  rcvBuf: number,
  sndBuf: number,
  notSentLowWater: number,
  handlers: number,
): void {
  const m = tcp.m;
  const iface = tcp.ip.interfaces[m[t + IFACE]];
  m[t + PMTU] =
    (m[t + FLAGS] & V6) !== 0
      ? pathMtu(tcp.ip, iface, 6, m[t + RADDR6], m[t + RADDR6 + 1], m[t + RADDR6 + 2], m[t + RADDR6 + 3])
      : pathMtu(tcp.ip, iface, 4, m[t + RADDR], 0, 0, 0);
  mssUpdate(tcp, t);
  m[t + ISS] = iss;
  m[t + IRS] = irs;
  receiveStart(tcp, t, rcvBuf);
  sendStart(tcp, t, sndBuf, notSentLowWater);
  m[t + HANDLERS] = handlers;
  m[t + QUICK_ACKS] = QUICK_ACKS_AT_START;
  m[t + CC] = tcp.congestion;
  m[t + RECOVER] = iss;
  m[t + MIN_RTT_AT] = tcp.nowMs;
  m[t + LIMITED] = iss;
  m[t + ROUND] = iss;
  m[t + RCV_AT] = tcp.nowMs;
  m[t + SND_AT] = tcp.nowMs;
  m[t + TCB.CHALLENGE_AT] = (tcp.nowMs - CHALLENGE_INTERVAL) | 0;
  congestionStart(tcp, t);
}

/** Our SYN is acknowledged by `s`: ESTABLISHED, and the program is told. */
export function established(tcp: Tcp, t: number, s: Segment, shift: number): void {
  const m = tcp.m;
  m[t + SND_UNA] = s.ack;
  m[t + SND_WND] = s.window << shift;
  m[t + MAX_WND] = m[t + SND_WND];
  m[t + SND_WL1] = s.seq;
  m[t + SND_WL2] = s.ack;
  m[t + FLAGS] &= ~RTX;
  if (m[t + BACKOFF] > 0) synLost(tcp, t);
  m[t + BACKOFF] = 0;
  m[t + ST] = (m[t + FLAGS] & FIN_QUEUED) !== 0 ? STATE.FIN_WAIT_1 : STATE.ESTABLISHED;
  mtuSearchOpen(tcp, t);
  congestionOpened(tcp, t);
  eventPush(tcp, t, EVENT_OPEN, 0, 0);
  if (m[t + SNDQ_LENGTH] > 0 || (m[t + FLAGS] & FIN_QUEUED) !== 0) {
    listPush(m, tcp.lists[m[t + IFACE]], LIST_DATA, t);
  }
}

/**
 * `established` for a connection that a Fast Open cookie opened: the program knows it, and what it has sent already
 * is for `acceptAck`.
 */
export function fastOpenEstablished(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  fastOpenConfirmed(tcp, t);
  // Of our SYN-ACK, if that was sent once: whatever the program has sent since has a record.
  if (m[t + BACKOFF] === 0 && m[t + SENT_AT] !== 0) rttSample(m, t, (tcp.nowUs - m[t + SENT_AT]) | 0);
  m[t + SND_WND] = s.window << (m[t + FLAGS] & 15);
  m[t + MAX_WND] = m[t + SND_WND];
  m[t + SND_WL1] = s.seq;
  m[t + SND_WL2] = s.ack;
  if (m[t + BACKOFF] > 0) synLost(tcp, t);
  m[t + BACKOFF] = 0;
  m[t + FLAGS] &= ~PROBE;
  mtuSearchOpen(tcp, t);
  m[t + ST] = (m[t + FLAGS] & FIN_QUEUED) !== 0 ? STATE.FIN_WAIT_1 : STATE.ESTABLISHED;
  congestionOpened(tcp, t);
  if (m[t + SND_NXT] === m[t + SND_UNA]) m[t + FLAGS] &= ~RTX;
  else rtxStart(tcp, t);
  // What the SYN brought is read, and the SYN-ACK couldn't tell.
  windowUpdate(tcp, t);
  listPush(m, tcp.lists[m[t + IFACE]], LIST_DATA, t);
}

/**
 * Our SYN or SYN-ACK had to be sent again: without an RTT to go by, 3 s pass until the first retransmission (RFC 6298
 * 5.7), which is what this RTTVAR makes of it.
 */
export function synLost(tcp: Tcp, t: number): void {
  if (tcp.m[t + SRTT] === 0) tcp.m[t + RTTVAR] = RTTVAR_SYN_LOST;
}
