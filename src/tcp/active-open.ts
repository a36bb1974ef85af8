/** Active opens (RFC 9293 3.10.1, 3.10.7.3): a full block from the start; simultaneous opens too. */
import { type Packet, Packet as PacketClass } from '../ip/packet.ts';
import { routeLookup4, routeLookup6 } from '../ip/routes.ts';
import { queueDrop } from '../memory/byte-queue.ts';
import { FLAG_ACK as ACK, FLAG_FIN as FIN, FLAG_RST as RST, FLAG_SYN as SYN } from '../wire/tcp.ts';
import { FLAG, FLAG2, STATE, TCB } from './block.ts';
import { tcpDestroy } from './close.ts';
import { type CongestionChoice, congestionChoose, congestionStart } from './congestion/control.ts';
import { type EcnMode, ecnHandshakeAck, ecnOpen, ecnSynAck, ecnSynCrossed } from './ecn.ts';
import { fastOpenAnswered, fastOpenStart, synData } from './fast-open.ts';
import {
  blockStart,
  established,
  fastOpenEstablished,
  initialSequence,
  MSS_DEFAULT_4,
  MSS_DEFAULT_6,
  mssUpdate,
  negotiate,
} from './handshake.ts';
import { finInput, receiveData } from './input.ts';
import { ipFieldsSet } from './ip-fields.ts';
import { LIST_CONTROL, listPush } from './lists.ts';
import { flowLookup, keyFromPacket, packetHash } from './lookup.ts';
import { ephemeralPorts, timeWaitReusable } from './ports.ts';
import { CLOSED_REFUSED } from './reasons.ts';
import { reassemblyAdd } from './reassembly.ts';
import { receiveFirst, receiveShift } from './receive-window.ts';
import { resetFor } from './reply.ts';
import type { Segment } from './segment.ts';
import { type SourceRoute, sourceRouteSet } from './source-route.ts';
import type { Tcp } from './tcp.ts';
import { timeWaitRemove } from './time-wait.ts';
import { rttSample, rtxStart } from './timers.ts';

const {
  STATE: ST,
  FLAGS,
  FLAGS2,
  IFACE,
  LISTENER,
  TS_OFFSET,
  PEER_MSS,
  RCV_NXT,
  RCV_ADV,
  SND_UNA,
  SND_NXT,
  SND_WND,
  LAST_ACK,
  ISS,
  IRS,
  SNDQ,
  BYTES_OUT,
  RCV_BUF,
  RCV_AT,
  SENT_AT,
  BACKOFF,
} = TCB;
const { PROBE, RTX } = FLAG;
const { FAST_OPEN } = FLAG2;

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
  readonly local?: readonly number[] | undefined;
  /** Chosen when left out (RFC 6056). */
  readonly localPort?: number;
  readonly handlers: number;
  readonly noDelay: boolean;
  readonly ecn: EcnMode;
  /** RFC 7413: what is queued before the SYN leaves may go with it. */
  readonly fastOpen: boolean;
  /** Bytes; 0: they tune themselves. */
  readonly receiveBuffer: number;
  readonly sendBuffer: number;
  /** The stack's unless told. */
  readonly congestion?: CongestionChoice | undefined;
  /** Bytes; 0: none. See send.ts. */
  readonly notSentLowWater: number;
  /** Of the IP header, see ip-fields.ts; 0: nothing. */
  readonly ipFields: number;
  readonly sourceRoute?: SourceRoute | undefined;
}

/** The key of a connection to be, as if a packet of the peer's had come. */
const key: Packet = new PacketClass();

/** OPEN. @returns the block, or one of OPEN_*. */
export function tcpOpen(tcp: Tcp, o: OpenOptions): number {
  const r = o.remote;
  const route =
    o.version === 4
      ? routeLookup4(tcp.ip, o.sourceRoute?.first ?? r[0])
      : routeLookup6(tcp.ip, r[0], r[1], r[2], r[3]);
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
  let old: number;
  if (o.localPort !== undefined && o.localPort !== 0) {
    ports = (o.remotePort << 16) | o.localPort;
    old = flowLookup(tcp, key, ports, packetHash(tcp, key, ports));
    if (old !== 0 && !timeWaitReusable(tcp, old, tcp.limits.timeWaitReuse_ms)) return OPEN_IN_USE;
  } else {
    ports = ephemeralPorts(tcp, key, o.remotePort);
    if (ports === 0) return OPEN_NO_PORT;
    old = tcp.ports.timeWait;
  }
  const t = tcp.blocks.take();
  if (t === 0) {
    tcp.counters.blocksExhausted++;
    return OPEN_FULL;
  }
  if (old !== 0) {
    tcp.counters.timeWaitRecycled++;
    tcp.reusing = 1;
    tcp.reusedSndNxt = tcp.m[old + SND_NXT];
    timeWaitRemove(tcp, old);
  }
  const hash = packetHash(tcp, key, ports);
  if (!tcp.table.insert(hash, t)) {
    tcp.counters.tableFull++;
    tcp.blocks.give(t);
    tcp.reusing = 0;
    return OPEN_FULL;
  }
  const m = tcp.m;
  m[t + FLAGS] = o.noDelay ? FLAG.NODELAY : 0;
  keyFromPacket(m, t, key, ports, hash);
  m[t + IFACE] = key.iface;
  m[t + ST] = STATE.SYN_SENT;
  initialSequence(tcp, t);
  tcp.reusing = 0;
  m[t + PEER_MSS] = o.version === 4 ? MSS_DEFAULT_4 : MSS_DEFAULT_6;
  if (o.sourceRoute !== undefined) sourceRouteSet(tcp, t, o.sourceRoute);
  // The scale that our SYN offers.
  m[t + FLAGS] |= receiveShift(tcp, o.receiveBuffer) << 4;
  blockStart(tcp, t, m[t + SND_UNA], 0, o.receiveBuffer, o.sendBuffer, o.notSentLowWater, o.handlers);
  if (o.congestion !== undefined) congestionChoose(tcp, t, o.congestion);
  if (o.ipFields !== 0) ipFieldsSet(tcp, t, o.ipFields);
  ecnOpen(m, t, o.ecn);
  // Timed from the breath that tries to send it: between breaths the clock stands still.
  m[t + FLAGS] |= PROBE;
  if (o.fastOpen) fastOpenStart(tcp, t);
  tcp.counters.activeOpens++;
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
  return t;
}

/** RFC 9293 3.10.7.3. */
export function synSentInput(tcp: Tcp, t: number, s: Segment): void {
  const m = tcp.m;
  const hasAck = (s.flags & ACK) !== 0;
  // Beyond our SYN: data that it took along.
  const acked = hasAck ? (s.ack - m[t + SND_NXT]) | 0 : 0;
  if (acked < 0 || acked > synData(tcp, t)) {
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
  negotiate(tcp, t, s, (m[t + FLAGS] >> 4) & 15);
  mssUpdate(tcp, t);
  congestionStart(tcp, t);
  m[t + IRS] = s.seq;
  m[t + RCV_NXT] = (s.seq + 1) | 0;
  m[t + LAST_ACK] = m[t + RCV_NXT];
  // A SYN's window is never scaled (RFC 7323 2.2).
  m[t + RCV_ADV] = (m[t + RCV_NXT] + receiveFirst(m[t + RCV_BUF])) | 0;
  m[t + RCV_AT] = tcp.nowMs;
  if (!hasAck) {
    // Simultaneous open (RFC 9293 figure 7).
    m[t + ST] = STATE.SYN_RECEIVED;
    ecnSynCrossed(tcp, t, s);
    m[t + SND_WND] = s.window;
    m[t + FLAGS] |= PROBE;
    // It may have come before our SYN could leave: then the SYN-ACK is the first that is to be repeated.
    if ((m[t + FLAGS] & RTX) === 0) rtxStart(tcp, t);
    // "If there are other controls or text in the segment, queue them": told once the connection stands.
    // Linux has the peer send it again.
    if (s.length > 0 && tcp.limits.habits !== 'linux')
      reassemblyAdd(tcp, t, m[t + RCV_NXT], s.dataAt, s.length);
    listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
    return;
  }
  ecnSynAck(tcp, t, s);
  if (m[t + BACKOFF] === 0) rttSample(m, t, (tcp.nowUs - m[t + SENT_AT]) | 0);
  else if (s.hasTimestamp === 1) {
    // Which of our SYNs it answers, only its echo tells (RFC 7323 4).
    const ms = (tcp.nowMs + m[t + TS_OFFSET] - s.tsEcr) | 0;
    if (ms > 0 && ms < 120_000) rttSample(m, t, ms * 1000);
  }
  m[t + FLAGS] &= ~PROBE;
  if ((m[t + FLAGS2] & FAST_OPEN) !== 0) fastOpenAnswered(tcp, t, s, acked);
  synDataAcked(tcp, t, acked);
  // On the control list: behind a stream of new SYNs on a full ring, handshakes would begin and never end.
  m[t + FLAGS] |= FLAG.ACK_NOW;
  listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
  established(tcp, t, s, 0);
  // Text and FIN of a SYN-ACK (RFC 9293 3.10.7.3, fifth step), as Fast Open servers send.
  s.seq = (s.seq + 1) | 0;
  if (s.length > 0) receiveData(tcp, t, s);
  if ((s.flags & FIN) !== 0) finInput(tcp, t, s);
}

/** The peer took data that came with our SYN. */
function synDataAcked(tcp: Tcp, t: number, acked: number): void {
  if (acked === 0) return;
  const m = tcp.m;
  queueDrop(tcp.chunks, t + SNDQ, acked);
  m[t + SND_NXT] = (m[t + SND_NXT] + acked) | 0;
  m[t + BYTES_OUT] = (m[t + BYTES_OUT] + acked) | 0;
  tcp.counters.bytesOut += acked;
}

/** The ACK of our SYN, in a simultaneous open or after Fast Open. @returns false when it is none. */
export function synReceivedAck(tcp: Tcp, t: number, s: Segment): boolean {
  const m = tcp.m;
  const passive = m[t + LISTENER] !== 0;
  const acked = (s.ack - m[t + ISS] - 1) | 0;
  const most = passive ? (m[t + SND_NXT] - m[t + ISS] - 1) | 0 : synData(tcp, t);
  if (acked < 0 || acked > most) {
    tcp.counters.badAck++;
    resetFor(tcp, tcp.ip.packet, s);
    return false;
  }
  ecnHandshakeAck(tcp, t, s, m[t + BACKOFF] > 0);
  if (passive) {
    fastOpenEstablished(tcp, t, s);
    return true;
  }
  m[t + FLAGS] &= ~PROBE;
  if ((m[t + FLAGS2] & FAST_OPEN) !== 0) fastOpenAnswered(tcp, t, s, acked);
  synDataAcked(tcp, t, acked);
  established(tcp, t, s, (s.flags & SYN) !== 0 ? 0 : m[t + FLAGS] & 15);
  return true;
}
