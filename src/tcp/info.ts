/** What a connection is like at the moment; the fields are those of Linux's TCP_INFO by their RFC names. */
import { COLD, FLAG, FLAG2, LOSS_FLAG, PATH_FLAG, STATE, STATE_NAMES, TCB } from './block.ts';
import { coldOf, coldWord } from './cold.ts';
import { bytesPerSecond, paceRate } from './congestion/pacing.ts';
import { softError } from './icmp-errors.ts';
import { ipFieldsOf } from './ip-fields.ts';
import { LEVEL_NAMES, memoryLevel } from './memory.ts';
import { reorderingWindow } from './rack.ts';
import { inFlight } from './records.ts';
import { sendBuffer, sendLowWater, unsent } from './send.ts';
import type { Tcp } from './tcp.ts';
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
  /** Data is paced at this rate, bytes/s; 0: it isn't. */
  readonly pacingRate: number;
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
  /** Opened by Fast Open: data came with the SYN, or went with ours and was taken. */
  readonly fastOpen: boolean;
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
  /** Bytes outstanding: that count as lost and are to be sent again, that were and are in flight, that the peer SACKed. */
  readonly lost: number;
  readonly retransmitsInFlight: number;
  readonly sacked: number;
  /** Payload that is known to have arrived, modulo 2^32. */
  readonly bytesDelivered: number;
  /** The path was seen to change the order of packets; by up to how many bytes; how much RACK allows for it, ms. */
  readonly reorderingSeen: boolean;
  readonly overtaken: number;
  readonly reorderingWindow_ms: number;
  /** Tail loss probes sent, reductions of the window undone, D-SACKs believed. */
  readonly tailProbes: number;
  readonly undos: number;
  readonly duplicatesReported: number;
  /** Last delivery rate sample, bytes/s, and whether the program is the limit; 0 and false unless the module wants it. */
  readonly deliveryRate: number;
  readonly appLimited: boolean;
  /** ECN feedback agreed on; whether new data is sent ECN-capable. */
  readonly ecn: 'none' | 'classic' | 'accurate';
  readonly ecnCapable: boolean;
  /** CE marks: segments received with one; AccECN: segments of ours that arrived with one, and their bytes. */
  readonly ceReceived: number;
  readonly ceDelivered: number;
  readonly ceDeliveredBytes: number;
  /** The largest path MTU not ruled out, and the one that a probe in flight tests; 0: nothing is searched. */
  readonly mtuSearchHigh: number;
  readonly mtuProbe: number;
  /** Diffserv codepoint that we send, and of the last segment received (null unless the program set one of its own). */
  readonly diffserv: number;
  readonly diffservReceived: number | null;
  /** TTL or hop limit that we send. */
  readonly ttl: number;
  /** Why nothing gets through just now, one of CLOSED_*; 0: no error was heard since something did. */
  readonly softError: number;
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
    congestion: tcp.congestions[m[t + TCB.CC]].name,
    pacingRate: (m[t + TCB.FLAGS2] & FLAG2.PACED) === 0 ? 0 : bytesPerSecond(paceRate(tcp, t)),
    recovery: (flags & FLAG.RECOVERY) !== 0 ? 'fast' : (flags & FLAG.LOSS) !== 0 ? 'timeout' : 'none',
    mss: m[t + TCB.MSS],
    peerMss: m[t + TCB.PEER_MSS] & 0xffff,
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
    fastOpen: (m[t + TCB.FLAGS2] & FLAG2.FAST_OPEN) !== 0,
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
    lost: m[t + TCB.LOST_BYTES],
    retransmitsInFlight: m[t + TCB.RXT_BYTES],
    sacked: m[t + TCB.SACKED_BYTES],
    ...lossInfo(tcp, t),
    ...pathInfo(tcp, t),
    ...ipInfo(tcp, t),
    softError: softError(m, t),
  };
}

/** What is in the cold block, for connections that have one. */
function lossInfo(tcp: Tcp, t: number) {
  const m = tcp.m;
  const known = m[t + TCB.STATE] >= STATE.ESTABLISHED;
  const finAcked =
    (m[t + TCB.FLAGS] & FLAG.FIN_SENT) !== 0 && m[t + TCB.SND_UNA] === m[t + TCB.SND_NXT] ? 1 : 0;
  const arrived = m[t + TCB.SND_UNA] + m[t + TCB.SACKED_BYTES] - finAcked;
  const bytesDelivered = known ? (arrived - m[t + TCB.ISS] - 1) >>> 0 : 0;
  if ((m[t + TCB.FLAGS2] & FLAG2.COLD_USED) === 0) {
    return {
      bytesDelivered,
      reorderingSeen: false,
      overtaken: 0,
      reorderingWindow_ms: 0,
      tailProbes: 0,
      undos: 0,
      duplicatesReported: 0,
      deliveryRate: 0,
      appLimited: false,
    };
  }
  const cold = coldOf(tcp, t);
  const sampled = (m[t + TCB.FLAGS2] & FLAG2.SAMPLED) !== 0;
  const interval = m[cold + COLD.RATE_INTERVAL];
  return {
    bytesDelivered,
    reorderingSeen: (m[cold + COLD.LOSS_FLAGS] & LOSS_FLAG.REORDERING) !== 0,
    overtaken: m[cold + COLD.OVERTAKEN],
    reorderingWindow_ms: reorderingWindow(tcp, t) / 1000,
    tailProbes: m[cold + COLD.PROBES],
    undos: m[cold + COLD.UNDOS],
    duplicatesReported: m[cold + COLD.DSACKS],
    deliveryRate: sampled && interval > 0 ? (m[cold + COLD.RATE_DELIVERED] / interval) * 1e6 : 0,
    appLimited: sampled && m[cold + COLD.APP_LIMITED] !== 0,
  };
}

type PathInfo = Pick<
  TcpInfo,
  'ecn' | 'ecnCapable' | 'ceReceived' | 'ceDelivered' | 'ceDeliveredBytes' | 'mtuSearchHigh' | 'mtuProbe'
>;

function pathInfo(tcp: Tcp, t: number): PathInfo {
  const m = tcp.m;
  const path = m[t + TCB.PATH];
  const mode = path & PATH_FLAG.ECN;
  const accurate = mode === PATH_FLAG.ECN_ACCURATE;
  // Others have no cold block, or nothing of the path in it.
  const cold = (m[t + TCB.FLAGS2] & FLAG2.COLD_USED) !== 0 ? coldOf(tcp, t) : 0;
  const of = (word: number, from: number) => (cold === 0 ? 0 : (m[cold + word] - from) >>> 0);
  const search = (path & PATH_FLAG.MTU) !== 0 ? of(COLD.MTU_SEARCH, 0) : 0;
  return {
    ecn: mode === 0 ? 'none' : accurate ? 'accurate' : 'classic',
    ecnCapable: (path & PATH_FLAG.ECT) !== 0,
    ceReceived: mode === 0 ? 0 : of(COLD.R_CEP, accurate ? 5 : 0),
    ceDelivered: accurate ? of(COLD.S_CEP, 5) : 0,
    ceDeliveredBytes: accurate ? of(COLD.S_CEB, 0) : 0,
    mtuSearchHigh: search >>> 16,
    mtuProbe: search & 0xffff,
  };
}

function ipInfo(tcp: Tcp, t: number): Pick<TcpInfo, 'diffserv' | 'diffservReceived' | 'ttl'> {
  const m = tcp.m;
  const fields = ipFieldsOf(tcp, t);
  const iface = tcp.ip.interfaces[m[t + TCB.IFACE]];
  const byInterface = (m[t + TCB.FLAGS] & FLAG.V6) !== 0 ? iface.hopLimit : iface.ttl;
  const noted = (m[t + TCB.FLAGS2] & FLAG2.IP_FIELDS) !== 0;
  return {
    diffserv: (fields & 0xff) >> 2,
    diffservReceived: noted ? coldWord(tcp, t, COLD.TOS_IN) >> 2 : null,
    ttl: fields >>> 8 || byInterface,
  };
}
