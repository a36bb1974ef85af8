/** TCP_INFO as the code in scripts names it, of both systems. */
import { TCB } from '../tcp/block.ts';
import { WINDOW_MAX } from '../tcp/congestion/control.ts';
import { reducedByMark } from '../tcp/ecn.ts';
import type { TcpInfo } from '../tcp/info.ts';
import type { PyValue } from './python.ts';
import type { TcpSocket } from './socket.ts';
import type { Dialect } from './symbols.ts';

/** By RFC 9293's names. */
const LINUX_STATES: Readonly<Record<string, number>> = {
  ESTABLISHED: 1,
  'SYN-SENT': 2,
  'SYN-RECEIVED': 3,
  'FIN-WAIT-1': 4,
  'FIN-WAIT-2': 5,
  'TIME-WAIT': 6,
  CLOSED: 7,
  'CLOSE-WAIT': 8,
  'LAST-ACK': 9,
  LISTEN: 10,
  CLOSING: 11,
};
const FREEBSD_STATES: readonly string[] = [
  'CLOSED',
  'LISTEN',
  'SYN-SENT',
  'SYN-RECEIVED',
  'ESTABLISHED',
  'CLOSE-WAIT',
  'FIN-WAIT-1',
  'CLOSING',
  'LAST-ACK',
  'FIN-WAIT-2',
  'TIME-WAIT',
];

const LINUX_CONSTANTS: Readonly<Record<string, number>> = {
  TCP_ESTABLISHED: 1,
  TCP_SYN_SENT: 2,
  TCP_SYN_RECV: 3,
  TCP_FIN_WAIT1: 4,
  TCP_FIN_WAIT2: 5,
  TCP_TIME_WAIT: 6,
  TCP_CLOSE: 7,
  TCP_CLOSE_WAIT: 8,
  TCP_LAST_ACK: 9,
  TCP_LISTEN: 10,
  TCP_CLOSING: 11,
  TCP_CA_Open: 0,
  TCP_CA_Disorder: 1,
  TCP_CA_CWR: 2,
  TCP_CA_Recovery: 3,
  TCP_CA_Loss: 4,
};

/** Linux's tcp_reordering: segments by which data may be overtaken before it counts as lost. */
const REORDERING_START = 3;

/** Of Linux's, what never is other than 0 here: its stack's own doings. */
const ALWAYS_ZERO: readonly string[] = ['fackets', 'rehash', 'fastopen_client_fail', 'accecn_fail_mode'];

const OPTION_BITS: Readonly<Record<string, number>> = {
  TCPI_OPT_TIMESTAMPS: 1,
  TCPI_OPT_SACK: 2,
  TCPI_OPT_WSCALE: 4,
  TCPI_OPT_ECN: 8,
  TCPI_OPT_ECN_SEEN: 16,
  TCPI_OPT_SYN_DATA: 32,
};

/** Sets what TCP_INFO of a socket says now, and the constants it is compared with. */
export function setTcpInfo(
  variables: Map<string, PyValue>,
  socket: TcpSocket,
  dialect: Dialect,
  nowMs: number,
): void {
  for (const [name, value] of Object.entries(OPTION_BITS)) variables.set(name, value);
  if (dialect === 'linux')
    for (const [name, value] of Object.entries(LINUX_CONSTANTS)) variables.set(name, value);
  else
    for (const [i, name] of FREEBSD_STATES.entries()) variables.set(`TCPI_${name.replaceAll('-', '_')}`, i);
  const state = socket.stateName;
  variables.set(
    'tcpi_state',
    dialect === 'linux' ? (LINUX_STATES[state] ?? 7) : Math.max(0, FREEBSD_STATES.indexOf(state)),
  );
  const info = socket.engine.info(socket.conn);
  for (const [name, value] of Object.entries(
    info === null
      ? {}
      : fields(
          info,
          reducedByMark(socket.engine.tcp, socket.block),
          socket.synData || (!socket.passive && info.fastOpen && (socket.synTaken || dialect === 'freebsd')),
          dialect,
          socket.synAgain,
          socket.synTaken ? socket.synBytes : 0,
        ),
  ))
    variables.set(name, value);
  if (info === null) variables.set('tcpi_options', socket.synData ? OPTION_BITS.TCPI_OPT_SYN_DATA : 0);
  for (const [name, count] of Object.entries({ ...socket.counted, ...socket.flow?.counted }))
    variables.set(`tcpi_${name}`, count);
  for (const name of ALWAYS_ZERO) variables.set(`tcpi_${name}`, 0);
  variables.set('tcpi_probes', socket.block === 0 ? 0 : socket.engine.tcp.m[socket.block + TCB.KEEP_PROBES]);
  variables.set('tcpi_busy_time', socket.limited.busy);
  variables.set('tcpi_rwnd_limited', socket.limited.window);
  variables.set('tcpi_sndbuf_limited', socket.limited.buffer);
  variables.set('tcpi_delivered_e0_bytes', socket.flow?.ectBytes.e0b ?? 0);
  variables.set('tcpi_delivered_e1_bytes', socket.flow?.ectBytes.e1b ?? 0);
  for (const name of ['data_sent', 'data_recv', 'ack_recv'] as const)
    variables.set(`tcpi_last_${name}`, nowMs - socket.last[name]);
}

/** Segments; without end before anything was lost. */
function linuxThreshold({ ssthresh, mss }: TcpInfo): number {
  return ssthresh >= WINDOW_MAX ? 0x7fff_ffff : Math.floor(ssthresh / Math.max(1, mss));
}

/** TCP_CA_*. @param reduced The window was reduced because of a mark, in this round trip. */
function caState(info: TcpInfo, reduced: boolean): number {
  if (info.recovery !== 'none') return info.recovery === 'timeout' ? 4 : 3;
  if (reduced) return 2;
  return info.sacked > 0 ? 1 : 0;
}

/** @param synAgain Bytes in flight that our SYN had taken along. @param synTaken Bytes that were delivered with it. */
function fields(
  info: TcpInfo,
  reduced: boolean,
  synData: boolean,
  dialect: Dialect,
  synAgain: number,
  synTaken: number,
): Record<string, number> {
  const segments = (bytes: number) => Math.ceil(bytes / Math.max(1, info.mss));
  const bytes = dialect === 'freebsd';
  const us = (ms: number) => Math.round(ms * 1000);
  const scaled = info.sndWindowScale > 0 || (info.rcvWindowScale > 0 && info.state !== 'SYN-SENT');
  return {
    tcpi_options:
      (info.timestamps ? 1 : 0) |
      (info.sack ? 2 : 0) |
      (scaled ? 4 : 0) |
      (info.ecn === 'none' ? 0 : 8) |
      (synData ? 32 : 0),
    tcpi_snd_wscale: info.sndWindowScale,
    tcpi_rcv_wscale: info.rcvWindowScale,
    tcpi_ca_state: caState(info, reduced),
    tcpi_retransmits: info.backoff,
    tcpi_backoff: info.backoff,
    tcpi_rto: us(info.rto_ms),
    tcpi_rtt: us(info.rtt_ms),
    tcpi_rttvar: us(info.rttvar_ms),
    tcpi_min_rtt: us(info.minRtt_ms),
    tcpi_snd_mss: info.mss,
    tcpi_rcv_mss: info.mss,
    tcpi_advmss: info.mss,
    tcpi_pmtu: info.pathMtu,
    tcpi_unacked: segments(info.sndNxt - info.sndUna),
    tcpi_sacked: segments(info.sacked),
    // Linux counts what it has sent again as lost until it is acknowledged.
    tcpi_lost: segments(info.lost + (bytes ? 0 : info.retransmitsInFlight)),
    tcpi_retrans: segments(info.retransmitsInFlight || (bytes ? 0 : synAgain)),
    // Linux counts the SYN, with what it took along.
    tcpi_delivered: bytes
      ? segments(info.bytesDelivered)
      : segments(Math.max(0, info.bytesDelivered - synTaken)) + (info.state === 'SYN-SENT' ? 0 : 1),
    tcpi_delivered_ce: info.ceDelivered,
    tcpi_delivered_ce_bytes: info.ceDeliveredBytes,
    tcpi_received_ce: info.ceReceived,
    tcpi_reordering: Math.max(REORDERING_START, segments(info.overtaken)),
    tcpi_reord_seen: info.reorderingSeen ? 1 : 0,
    tcpi_dsack_dups: info.duplicatesReported,
    tcpi_delivery_rate: Math.round(info.deliveryRate),
    tcpi_delivery_rate_app_limited: info.appLimited ? 1 : 0,
    tcpi_pacing_rate: Math.round(info.pacingRate),
    tcpi_snd_cwnd: bytes ? info.cwnd : Math.max(1, Math.floor(info.cwnd / Math.max(1, info.mss))),
    tcpi_snd_ssthresh: bytes ? info.ssthresh : linuxThreshold(info),
    tcpi_snd_wnd: info.sndWnd,
    tcpi_rcv_wnd: info.rcvWnd,
    tcpi_rcv_space: info.rcvSpace || info.rcvWnd,
    tcpi_rcv_ssthresh: info.rcvWnd,
    tcpi_rcv_rtt: us(info.rcvRtt_ms),
    tcpi_snd_nxt: info.sndNxt,
    tcpi_rcv_nxt: info.rcvNxt,
    tcpi_notsent_bytes: info.notSent,
    tcpi_bytes_received: info.bytesReceived,
    tcpi_bytes_sent: info.bytesSent,
    tcpi_bytes_acked: Math.max(0, info.bytesSent - (info.sndNxt - info.sndUna)),
    tcpi_total_retrans: info.retransmits,
    tcpi_snd_rexmitpack: info.retransmits,
  };
}
