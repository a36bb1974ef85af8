/** Active opens (RFC 9293 3.10.1, 3.10.7.3): a full block from the start; simultaneous opens too. */
import { type Packet, Packet as PacketClass } from '../ip/packet.ts';
import { routeLookup4, routeLookup6 } from '../ip/routes.ts';
import { FLAG_ACK as ACK, FLAG_RST as RST, FLAG_SYN as SYN } from '../wire/tcp.ts';
import { FLAG, STATE, TCB } from './block.ts';
import { tcpDestroy } from './close.ts';
import { type CongestionChoice, congestionChoose, congestionStart } from './congestion/control.ts';
import { type EcnMode, ecnHandshakeAck, ecnOpen, ecnSyn, ecnSynAck } from './ecn.ts';
import {
  blockStart,
  established,
  initialSequence,
  MSS_DEFAULT_4,
  MSS_DEFAULT_6,
  mssUpdate,
  negotiate,
} from './handshake.ts';
import { LIST_CONTROL, listPush } from './lists.ts';
import { flowLookup, keyFromPacket, packetHash } from './lookup.ts';
import { CLOSED_REFUSED } from './reasons.ts';
import { receiveFirst, receiveShift } from './receive-window.ts';
import { resetFor } from './reply.ts';
import type { Segment } from './segment.ts';
import type { Tcp } from './tcp.ts';
import { rttSample, timerBy } from './timers.ts';

const {
  STATE: ST,
  FLAGS,
  IFACE,
  PEER_MSS,
  RCV_NXT,
  RCV_ADV,
  SND_UNA,
  SND_NXT,
  SND_WND,
  LAST_ACK,
  IRS,
  RTX_AT,
  RCV_BUF,
  RCV_AT,
  RTT_AT,
} = TCB;
const { PROBE, TIMING } = FLAG;

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
  readonly ecn: EcnMode;
  /** Bytes; 0: they tune themselves. */
  readonly receiveBuffer: number;
  readonly sendBuffer: number;
  /** The stack's unless told. */
  readonly congestion?: CongestionChoice | undefined;
  /** Bytes; 0: none. See send.ts. */
  readonly notSentLowWater: number;
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
  // The scale that our SYN offers.
  m[t + FLAGS] |= receiveShift(tcp, o.receiveBuffer) << 4;
  blockStart(tcp, t, m[t + SND_UNA], 0, o.receiveBuffer, o.sendBuffer, o.notSentLowWater, o.handlers);
  if (o.congestion !== undefined) congestionChoose(tcp, t, o.congestion);
  ecnOpen(m, t, o.ecn);
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
    // As if it had been the only SYN (RFC 9768 3.1.2).
    ecnSyn(tcp, t, s, tcp.limits.ecn);
    m[t + SND_WND] = s.window;
    m[t + FLAGS] |= PROBE;
    timerBy(tcp, t, m[t + RTX_AT]);
    listPush(m, tcp.lists[m[t + IFACE]], LIST_CONTROL, t);
    return;
  }
  ecnSynAck(tcp, t, s);
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
  ecnHandshakeAck(tcp, t, s);
  established(tcp, t, s, (s.flags & SYN) !== 0 ? 0 : m[t + FLAGS] & 15);
  return true;
}
