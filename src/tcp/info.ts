/** What a connection is like at the moment; the fields are those of Linux's TCP_INFO by their RFC names. */
import { COLD, FLAG, FLAG2, STATE_NAMES, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { LEVEL_NAMES, memoryLevel } from './memory.ts';
import { inFlight } from './recovery.ts';
import { sendBuffer, sendLowWater, unsent } from './send.ts';
import { CONGESTION_CONTROLS, type Tcp } from './tcp.ts';
import { rtoBackedOff } from './timers.ts';

export interface TcpInfo {
  readonly state: (typeof STATE_NAMES)[number];
  /** Smoothed round-trip time, its mean deviation, the smallest seen; ms, 0 until measured. */
  readonly rtt_ms: number;
  readonly rttvar_ms: number;
  readonly minRtt_ms: number;
  readonly rto_ms: number;
  /** Expiries of the retransmission timer in a row. */
  readonly backoff: number;
  /** Congestion window and slow start threshold, bytes. */
  readonly cwnd: number;
  readonly ssthresh: number;
  readonly congestion: string;
  /** What recovery the connection is in. */
  readonly recovery: 'none' | 'fast' | 'timeout';
  /** Payload of a full segment, what the peer allows in its SYN, and the path's MTU; bytes. */
  readonly mss: number;
  readonly peerMss: number;
  readonly pathMtu: number;
  readonly sndUna: number;
  readonly sndNxt: number;
  readonly rcvNxt: number;
  readonly sndWnd: number;
  /** Our window as last told. */
  readonly rcvWnd: number;
  readonly sndWindowScale: number;
  readonly rcvWindowScale: number;
  readonly timestamps: boolean;
  readonly sack: boolean;
  /** Bytes believed in the network; queued and not acknowledged; received and not read; received out of order. */
  readonly inFlight: number;
  readonly sendQueue: number;
  readonly receiveQueue: number;
  readonly outOfOrder: number;
  /** Sizes of the buffers now, and whether they tune themselves. */
  readonly receiveBuffer: number;
  readonly receiveBufferTunes: boolean;
  readonly sendBuffer: number;
  readonly sendBufferTunes: boolean;
  /** Bytes queued that no segment has carried yet, and the mark that limits them (0: none). */
  readonly notSent: number;
  readonly notSentLowWater: number;
  /** RTT as the receiver sees it, ms; bytes that the program consumed in one, once the window has grown. 0: unknown. */
  readonly rcvRtt_ms: number;
  readonly rcvSpace: number;
  /** How short the engine's memory is. */
  readonly memory: (typeof LEVEL_NAMES)[number];
  /** Payload bytes since the start, modulo 2^32; segments sent again. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly retransmits: number;
}

export function tcpInfo(tcp: Tcp, t: number): TcpInfo {
  const m = tcp.m;
  const flags = m[t + TCB.FLAGS];
  const cold = (m[t + TCB.FLAGS2] & FLAG2.COLD_USED) !== 0 ? coldOf(tcp, t) : 0;
  return {
    state: STATE_NAMES[m[t + TCB.STATE]],
    rtt_ms: (m[t + TCB.SRTT] >> 3) / 1000,
    rttvar_ms: (m[t + TCB.RTTVAR] >> 2) / 1000,
    minRtt_ms: m[t + TCB.MIN_RTT] / 1000,
    rto_ms: rtoBackedOff(tcp, t),
    backoff: m[t + TCB.BACKOFF],
    cwnd: m[t + TCB.CWND],
    ssthresh: m[t + TCB.SSTHRESH],
    congestion: CONGESTION_CONTROLS[m[t + TCB.CC]].name,
    recovery: (flags & FLAG.RECOVERY) !== 0 ? 'fast' : (flags & FLAG.LOSS) !== 0 ? 'timeout' : 'none',
    mss: m[t + TCB.MSS],
    peerMss: m[t + TCB.PEER_MSS],
    pathMtu: m[t + TCB.PMTU],
    sndUna: m[t + TCB.SND_UNA] >>> 0,
    sndNxt: m[t + TCB.SND_NXT] >>> 0,
    rcvNxt: m[t + TCB.RCV_NXT] >>> 0,
    sndWnd: m[t + TCB.SND_WND],
    rcvWnd: (m[t + TCB.RCV_ADV] - m[t + TCB.RCV_NXT]) | 0,
    sndWindowScale: flags & 15,
    rcvWindowScale: (flags >> 4) & 15,
    timestamps: (flags & FLAG.TS) !== 0,
    sack: (flags & FLAG.SACK) !== 0,
    inFlight: inFlight(tcp, t),
    sendQueue: m[t + TCB.SNDQ_LENGTH],
    receiveQueue: m[t + TCB.RCVQ_LENGTH],
    outOfOrder: m[t + TCB.OOO_BYTES],
    receiveBuffer: m[t + TCB.RCV_BUF],
    receiveBufferTunes: (m[t + TCB.FLAGS2] & FLAG2.RCV_AUTO) !== 0,
    sendBuffer: sendBuffer(tcp, t),
    sendBufferTunes: (m[t + TCB.FLAGS2] & FLAG2.SND_AUTO) !== 0,
    notSent: unsent(m, t),
    notSentLowWater: sendLowWater(tcp, t),
    rcvRtt_ms: m[t + TCB.RCV_RTT] / 1000,
    rcvSpace: cold !== 0 ? m[cold + COLD.RCV_SPACE] : 0,
    memory: LEVEL_NAMES[memoryLevel(tcp)],
    bytesReceived: m[t + TCB.BYTES_IN] >>> 0,
    bytesSent: m[t + TCB.BYTES_OUT] >>> 0,
    retransmits: m[t + TCB.RETRANSMITS],
  };
}
