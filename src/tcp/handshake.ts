/**
 * Opening connections (RFC 9293 3.5, 3.10.1, 3.10.7.2 to 3.10.7.4): passive opens wait in a mini block until
 * the handshake's last ACK, active ones have a full block from the start.
 */
import { type Packet, Packet as PacketClass } from '../ip/packet.ts';
import { pathMtu } from '../ip/path-mtu.ts';
import { routeLookup4, routeLookup6 } from '../ip/routes.ts';
import { FLAG, STATE, TCB } from './block.ts';
import { blockRelease, tcpDestroy } from './close.ts';
import { congestionStart } from './congestion/control.ts';
import { EVENT_OPEN, eventPush } from './events.ts';
import { listenerFind } from './listen.ts';
import { LIST_CONTROL, LIST_DATA, listPush } from './lists.ts';
import { flowLookup, flowReplace, keyFromPacket, packetHash } from './lookup.ts';
import { CLOSED_REFUSED } from './reasons.ts';
import { resetFor, sendBareAck } from './reply.ts';
import { ACK, RST, type Segment, SYN } from './segment.ts';
import { CHALLENGE_INTERVAL, type Tcp } from './tcp.ts';
import { timeWaitRemove } from './time-wait.ts';
import { rttSample, timerBy } from './timers.ts';

const {
  STATE: ST,
  FLAGS,
  HANDLE,
  NEXT_OUT,
  HASH,
  IFACE,
  LISTENER,
  PEER_MSS,
  T_NEXT,
  T_PREV,
  TS_OFFSET,
} = TCB;
const {
  RCV_NXT,
  RCV_ADV,
  SND_UNA,
  SND_NXT,
  SND_WND,
  SND_WL1,
  SND_WL2,
  MAX_WND,
  TS_RECENT,
  LAST_ACK,
  ISS,
  IRS,
} = TCB;
const {
  RTX_AT,
  MSS,
  PMTU,
  RCV_BUF,
  SND_BUF,
  HANDLERS,
  QUICK_ACKS,
  RECOVER,
  HIGH_RXT,
  LIMITED,
  CC,
  RCV_AT,
  SND_AT,
} = TCB;
const { RADDR, RADDR6, SNDQ, RTT_AT, BACKOFF } = TCB;
const { TS, SACK, V6, MINI, LISTED, RTX, PROBE, TIMING, FIN_QUEUED } = FLAG;
/** Half-open blocks count their SYN-ACKs where full ones keep a deadline. */
const RETRIES = RTX_AT;
const QUEUE_LENGTH = 2;

/** MSS when the peer names none (RFC 9293 3.7.1). */
const MSS_DEFAULT_4 = 536;
const MSS_DEFAULT_6 = 1220;
/** Below this a peer only wants to make us send headers. */
const MSS_MIN = 64;
/** Initial RTO of SYN and SYN-ACK (RFC 6298 2.1), ms. */
const SYN_RTO = 1000;
const QUICK_ACKS_AT_START = 8;

/** Smallest shift that lets a 16-bit window cover a buffer (RFC 7323 2.2). */
export function windowShift(buffer: number): number {
  let shift = 0;
  while (shift < 14 && 0xffff << shift < buffer) shift++;
  return shift;
}

/** What we advertise as MSS: what fits the interface's MTU without options (RFC 6691). */
export function ownMss(tcp: Tcp, t: number): number {
  return tcp.ip.interfaces[tcp.m[t + IFACE]].mtu - ((tcp.m[t + FLAGS] & V6) !== 0 ? 60 : 40);
}

/** Sets MSS from the path MTU and the peer's option, timestamps deducted. */
export function mssUpdate(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const byPath = m[t + PMTU] - ((m[t + FLAGS] & V6) !== 0 ? 60 : 40);
  const mss = m[t + PEER_MSS] < byPath ? m[t + PEER_MSS] : byPath;
  m[t + MSS] = (m[t + FLAGS] & TS) !== 0 ? mss - 12 : mss;
}

/** Notes what the peer's SYN offers and we take: FLAGS (scales, timestamps, SACK), PEER_MSS, TS_RECENT. */
function negotiate(tcp: Tcp, t: number, s: Segment, receiveBuffer: number): void {
  const m = tcp.m;
  const o = tcp.options;
  const has = s.hasOptions === 1;
  let flags = m[t + FLAGS] & ~(TS | SACK | 0xff);
  if (s.hasTimestamp === 1) {
    flags |= TS;
    m[t + TS_RECENT] = s.tsVal;
  }
  if (has && o.sackPermitted === 1) flags |= SACK;
  if (has && o.windowScale >= 0) flags |= o.windowScale | (windowShift(receiveBuffer) << 4);
  m[t + FLAGS] = flags;
  const fallback = (flags & V6) !== 0 ? MSS_DEFAULT_6 : MSS_DEFAULT_4;
  const mss = has && o.mss > 0 ? o.mss : fallback;
  m[t + PEER_MSS] = mss < MSS_MIN ? MSS_MIN : mss;
}

/** RFC 9293 3.4.1, RFC 6528: a 4 us clock plus a keyed hash of the four-tuple. Also draws the timestamp offset. */
function initialSequence(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const h = tcp.hash;
  h.start();
  h.word(m[t + TCB.PORTS]);
  if ((m[t + FLAGS] & V6) !== 0) for (let i = 0; i < 8; i++) h.word(m[t + RADDR6 + i]);
  else {
    h.word(m[t + RADDR]);
    h.word(m[t + TCB.LADDR]);
  }
  const hash = h.finish();
  let iss = (Math.imul(tcp.nowMs, 250) + hash) | 0;
  // RFC 9293 3.6.1: above all that the connection before used, should it have sent faster than that clock runs.
  if (tcp.reusing !== 0 && ((iss - tcp.reusedSndNxt) | 0) <= 0) iss = (tcp.reusedSndNxt + 0x10001) | 0;
  m[t + SND_UNA] = iss;
  m[t + SND_NXT] = (iss + 1) | 0;
  // Per four-tuple as well, so that a reused tuple's timestamps go on (RFC 7323 7.1).
  m[t + TS_OFFSET] = Math.imul(hash ^ tcp.key1, 0x9e3779b1);
}

// ── Passive open ──────────────────────────────────────────────────────────────────────────────────────────

/** A SYN for no connection. @returns false when nothing listens there. */
export function listenInput(tcp: Tcp, s: Segment): boolean {
  const p = tcp.ip.packet;
  const listener = listenerFind(tcp, p, s.ports & 0xffff);
  if (listener === null) return false;
  if (listener.halfOpen >= listener.options.backlog) {
    listener.dropped++;
    tcp.counters.backlogFull++;
    return true;
  }
  const m = tcp.m;
  let t = tcp.minis.take();
  if (t === 0 && tcp.timeWaitOldest !== 0) {
    tcp.counters.timeWaitEvicted++;
    timeWaitRemove(tcp, tcp.timeWaitOldest);
    t = tcp.minis.take();
  }
  if (t === 0) {
    tcp.counters.miniExhausted++;
    return true;
  }
  const hash = packetHash(tcp, p, s.ports);
  if (!tcp.table.insert(hash, t)) {
    tcp.counters.tableFull++;
    tcp.minis.give(t);
    return true;
  }
  m[t + FLAGS] = MINI;
  keyFromPacket(m, t, p, s.ports, hash);
  m[t + ST] = STATE.SYN_RECEIVED;
  m[t + IFACE] = p.iface;
  m[t + LISTENER] = listener.id + 1;
  negotiate(tcp, t, s, listener.options.receiveBuffer);
  initialSequence(tcp, t);
  m[t + RCV_NXT] = (s.seq + 1) | 0;
  m[t + LAST_ACK] = m[t + RCV_NXT];
  m[t + RCV_ADV] = (m[t + RCV_NXT] + Math.min(listener.options.receiveBuffer, 0xffff)) | 0;
  m[t + SND_WND] = s.window;
  listener.halfOpen++;
  tcp.wheel.arm(t, (tcp.nowMs + SYN_RTO) | 0);
  listPush(m, tcp.lists[p.iface], LIST_CONTROL, t);
  return true;
}

/** A half-open connection's timer: SYN-ACK again, or gone. */
export function synReceivedTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.counters.retransmissionTimeouts++;
  if (++m[t + RETRIES] > tcp.limits.synRetries) {
    halfOpenRemove(tcp, t);
    return;
  }
  tcp.wheel.arm(t, (tcp.nowMs + SYN_RTO * 2 ** m[t + RETRIES]) | 0);
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
}

function halfOpenRemove(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.listeners[m[t + LISTENER] - 1].halfOpen--;
  tcp.wheel.disarm(t);
  tcp.table.remove(m[t + HASH], t);
  blockRelease(tcp, t);
}

/**
 * A segment for a half-open connection.
 * @returns its new full block when the segment completed the handshake and is yet to be processed there, else 0.
 */
export function synReceivedInput(tcp: Tcp, t: number, s: Segment): number {
  const m = tcp.m;
  const offset = (s.seq - m[t + RCV_NXT]) | 0;
  const window = (m[t + RCV_ADV] - m[t + RCV_NXT]) | 0;
  if ((s.flags & RST) !== 0) {
    tcp.counters.resetsIn++;
    // RFC 5961 3: exactly, or it is answered with a SYN-ACK's worth of truth.
    if (offset === 0) halfOpenRemove(tcp, t);
    else if (offset > 0 && offset < window) sendBareAck(tcp, t);
    return 0;
  }
  if ((m[t + FLAGS] & TS) !== 0 && s.hasTimestamp === 1 && ((s.tsVal - m[t + TS_RECENT]) | 0) < 0) {
    tcp.counters.paws++;
    sendBareAck(tcp, t);
    return 0;
  }
  if ((s.flags & SYN) !== 0) {
    // The peer's SYN again: our SYN-ACK was lost.
    if (offset === -1 && (s.flags & ACK) === 0) listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
    else sendBareAck(tcp, t);
    return 0;
  }
  if ((s.flags & ACK) === 0) return 0;
  if (s.ack !== m[t + SND_NXT]) {
    tcp.counters.badAck++;
    resetFor(tcp, tcp.ip.packet, s);
    return 0;
  }
  if (offset < 0 || offset > window) {
    tcp.counters.outOfWindow++;
    sendBareAck(tcp, t);
    return 0;
  }
  return promote(tcp, t, s);
}

/** The handshake is complete: a full block takes the mini block's place. */
function promote(tcp: Tcp, t: number, s: Segment): number {
  const m = tcp.m;
  const listener = tcp.listeners[m[t + LISTENER] - 1];
  if (listener.removed) {
    resetFor(tcp, tcp.ip.packet, s);
    halfOpenRemove(tcp, t);
    return 0;
  }
  const full = tcp.blocks.take();
  if (full === 0) {
    // The peer believes the connection is open; its data, or our next SYN-ACK, asks again.
    tcp.counters.blocksExhausted++;
    return 0;
  }
  tcp.wheel.disarm(t);
  const handle = m[full + HANDLE];
  for (let i = -16; i < 16; i++) m[full + i] = m[t + i];
  m[full + HANDLE] = handle;
  m[full + NEXT_OUT] = 0;
  m[full + T_NEXT] = 0;
  m[full + T_PREV] = 0;
  m[full + FLAGS] = (m[t + FLAGS] & ~(MINI | LISTED)) | listener.flags;
  flowReplace(tcp, t, full);
  blockRelease(tcp, t);
  listener.halfOpen--;
  listener.accepted++;
  tcp.counters.passiveOpens++;

  const o = listener.options;
  start(tcp, full, m[full + SND_UNA], (m[full + RCV_NXT] - 1) | 0, o.receiveBuffer, o.sendBuffer, o.handlers);
  established(tcp, full, s, m[full + FLAGS] & 15);
  // Timestamps measure the handshake whatever was lost (RFC 7323 4); but data instead of the last ACK means that
  // this ACK was lost, and its echo is as old as the peer's program was idle.
  if (s.hasTimestamp === 1 && s.length === 0) {
    const ms = (tcp.nowMs + m[full + TS_OFFSET] - s.tsEcr) | 0;
    if (ms > 0 && ms < 120_000) rttSample(m, full, ms * 1000);
  }
  return full;
}

// ── Common to both ────────────────────────────────────────────────────────────────────────────────────────

/** Fills a zeroed full block whose key, FLAGS, IFACE and sequence numbers stand. */
function start(
  tcp: Tcp,
  t: number,
  iss: number,
  irs: number,
  rcvBuf: number,
  sndBuf: number,
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
  m[t + RCV_BUF] = rcvBuf;
  m[t + SND_BUF] = sndBuf;
  m[t + HANDLERS] = handlers;
  m[t + QUICK_ACKS] = QUICK_ACKS_AT_START;
  m[t + CC] = tcp.congestion;
  m[t + RECOVER] = iss;
  m[t + HIGH_RXT] = iss;
  m[t + LIMITED] = iss;
  m[t + RCV_AT] = tcp.nowMs;
  m[t + SND_AT] = tcp.nowMs;
  m[t + TCB.CHALLENGE_AT] = (tcp.nowMs - CHALLENGE_INTERVAL) | 0;
  congestionStart(m, t);
}

/** Our SYN is acknowledged by `s`: ESTABLISHED, and the program is told. */
function established(tcp: Tcp, t: number, s: Segment, shift: number): void {
  const m = tcp.m;
  m[t + SND_UNA] = s.ack;
  m[t + SND_WND] = s.window << shift;
  m[t + MAX_WND] = m[t + SND_WND];
  m[t + SND_WL1] = s.seq;
  m[t + SND_WL2] = s.ack;
  m[t + FLAGS] &= ~RTX;
  m[t + BACKOFF] = 0;
  m[t + ST] = (m[t + FLAGS] & FIN_QUEUED) !== 0 ? STATE.FIN_WAIT_1 : STATE.ESTABLISHED;
  eventPush(tcp, t, EVENT_OPEN, 0, 0);
  if (m[t + SNDQ + QUEUE_LENGTH] > 0 || (m[t + FLAGS] & FIN_QUEUED) !== 0) {
    listPush(m, tcp.lists[m[t + IFACE]], LIST_DATA, t);
  }
}

// ── Active open ───────────────────────────────────────────────────────────────────────────────────────────

/** What `tcpOpen` refuses. */
export const OPEN_NO_ROUTE = -1;
export const OPEN_NO_PORT = -2;
export const OPEN_IN_USE = -3;
export const OPEN_FULL = -4;

export interface OpenOptions {
  readonly version: 4 | 6;
  /** One word, or four. */
  readonly remote: readonly number[];
  readonly remotePort: number;
  /** Must be one of the outgoing interface's; chosen by the route when left out. */
  readonly local?: readonly number[];
  /** Chosen when left out (RFC 6056). */
  readonly localPort?: number;
  readonly handlers: number;
  readonly noDelay: boolean;
  readonly receiveBuffer: number;
  readonly sendBuffer: number;
}

/** The key of a connection to be, as if a packet of the peer's had come. */
const key: Packet = new PacketClass();

/** OPEN. @returns the block, or one of OPEN_*. */
export function tcpOpen(tcp: Tcp, o: OpenOptions): number {
  const r = o.remote;
  const route = o.version === 4 ? routeLookup4(tcp.ip, r[0]) : routeLookup6(tcp.ip, r[0], r[1], r[2], r[3]);
  if (route === null) return OPEN_NO_ROUTE;
  const path = tcp.ip.path;
  key.version = o.version;
  key.iface = route.iface.index;
  key.src0 = r[0];
  key.src1 = r[1] ?? 0;
  key.src2 = r[2] ?? 0;
  key.src3 = r[3] ?? 0;
  const l = o.local ?? [path.src0, path.src1, path.src2, path.src3];
  key.dst0 = l[0];
  key.dst1 = l[1] ?? 0;
  key.dst2 = l[2] ?? 0;
  key.dst3 = l[3] ?? 0;

  let ports: number;
  if (o.localPort !== undefined && o.localPort !== 0) {
    ports = (o.remotePort << 16) | o.localPort;
    if (flowLookup(tcp, key, ports, packetHash(tcp, key, ports)) !== 0) return OPEN_IN_USE;
  } else {
    ports = ephemeralPorts(tcp, o.remotePort);
    if (ports === 0) return OPEN_NO_PORT;
  }
  const t = tcp.blocks.take();
  if (t === 0) {
    tcp.counters.blocksExhausted++;
    return OPEN_FULL;
  }
  const hash = packetHash(tcp, key, ports);
  if (!tcp.table.insert(hash, t)) {
    tcp.counters.tableFull++;
    tcp.blocks.give(t);
    return OPEN_FULL;
  }
  const m = tcp.m;
  m[t + FLAGS] = o.noDelay ? FLAG.NODELAY : 0;
  keyFromPacket(m, t, key, ports, hash);
  m[t + IFACE] = key.iface;
  m[t + ST] = STATE.SYN_SENT;
  initialSequence(tcp, t);
  m[t + PEER_MSS] = o.version === 4 ? MSS_DEFAULT_4 : MSS_DEFAULT_6;
  start(tcp, t, m[t + SND_UNA], 0, o.receiveBuffer, o.sendBuffer, o.handlers);
  // Timed from the breath that tries to send it: between breaths the clock stands still.
  m[t + FLAGS] |= PROBE;
  tcp.counters.activeOpens++;
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
  return t;
}

/** RFC 6056 3.3.3, algorithm 3: a keyed offset per destination, then the next port that is free. */
function ephemeralPorts(tcp: Tcp, remotePort: number): number {
  const { ephemeralPortMin: low, ephemeralPortMax: high } = tcp.limits;
  const range = high - low + 1;
  const h = tcp.hash;
  h.start();
  h.word(key.src0 ^ key.dst0);
  h.word(key.src3 ^ key.dst3);
  h.word(remotePort);
  const offset = (h.finish() >>> 0) % range;
  for (let i = 0; i < range; i++) {
    const port = low + ((offset + tcp.portCounter) % range);
    tcp.portCounter = (tcp.portCounter + 1) & 0x3fffffff;
    const ports = (remotePort << 16) | port;
    if (flowLookup(tcp, key, ports, packetHash(tcp, key, ports)) === 0) return ports;
  }
  return 0;
}

/** RFC 9293 3.10.7.3. */
export function synSentInput(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const hasAck = (s.flags & ACK) !== 0;
  if (hasAck && s.ack !== m[t + SND_NXT]) {
    tcp.counters.badAck++;
    resetFor(tcp, tcp.ip.packet, s);
    return;
  }
  if ((s.flags & RST) !== 0) {
    tcp.counters.resetsIn++;
    if (hasAck) tcpDestroy(tcp, t, CLOSED_REFUSED);
    return;
  }
  if ((s.flags & SYN) === 0) return;
  negotiate(tcp, t, s, m[t + RCV_BUF]);
  mssUpdate(tcp, t);
  congestionStart(m, t);
  m[t + IRS] = s.seq;
  m[t + RCV_NXT] = (s.seq + 1) | 0;
  m[t + LAST_ACK] = m[t + RCV_NXT];
  // A SYN's window is never scaled (RFC 7323 2.2).
  m[t + RCV_ADV] = (m[t + RCV_NXT] + Math.min(m[t + RCV_BUF], 0xffff)) | 0;
  m[t + RCV_AT] = tcp.nowMs;
  if (!hasAck) {
    // Simultaneous open (RFC 9293 figure 7).
    m[t + ST] = STATE.SYN_RECEIVED;
    m[t + SND_WND] = s.window;
    m[t + FLAGS] |= PROBE;
    timerBy(tcp, t, m[t + RTX_AT]);
    listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
    return;
  }
  if ((m[t + FLAGS] & TIMING) !== 0) rttSample(m, t, (tcp.nowUs - m[t + RTT_AT]) | 0);
  m[t + FLAGS] &= ~(TIMING | PROBE);
  // On the control list: behind a stream of new SYNs on a full ring, handshakes would begin and never end.
  m[t + FLAGS] |= FLAG.ACK_NOW;
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
  established(tcp, t, s, 0);
}

/** The ACK of our SYN in a simultaneous open. @returns false when it is none. */
export function synReceivedAck(tcp: Tcp, t: number, s: Segment): boolean {
  const m = tcp.m;
  if (s.ack !== m[t + SND_NXT]) {
    tcp.counters.badAck++;
    resetFor(tcp, tcp.ip.packet, s);
    return false;
  }
  m[t + FLAGS] &= ~(TIMING | PROBE);
  established(tcp, t, s, (s.flags & SYN) !== 0 ? 0 : m[t + FLAGS] & 15);
  return true;
}
