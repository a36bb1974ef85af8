/**
 * Proportional rate reduction (RFC 9937): in fast recovery, how much may be sent for what each ACK reports as
 * delivered, so that what is in flight comes down to SSTHRESH smoothly and without bursts.
 */
import { COLD, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { restartWindow } from './congestion/window.ts';
import { inFlight } from './records.ts';
import type { Tcp } from './tcp.ts';

const { SND_UNA, SND_NXT, CWND, SSTHRESH, MSS, SACKED_BYTES } = TCB;
const { RECOVER_FS, PRR_DELIVERED, PRR_OUT } = COLD;

/**
 * 6.1, when recovery begins with an ACK that reported `delivered` bytes, of which `acked` by SND.UNA: what was SACKed
 * before is no part of the flight.
 * @param tail It is the tail's probe that found the loss. If nothing else is in flight, then nothing has been for as long
 * as the probe took, and there is no ACK clock to keep: RFC 6675 would send up to SSTHRESH at once, and here it is no more
 * than after an idle period (RFC 5681 4.1), so that as much of a lost tail as SSTHRESH allows takes one round trip.
 */
export function prrStart(tcp: Tcp, t: number, delivered: number, tail: boolean): void {
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  const flight = ((m[t + SND_NXT] - m[t + SND_UNA]) | 0) - m[t + SACKED_BYTES] + delivered;
  m[cold + RECOVER_FS] = flight > m[t + MSS] ? flight : m[t + MSS];
  m[cold + PRR_DELIVERED] = tail && inFlight(tcp, t) <= 0 ? restartWindow(tcp, t) : 0;
  m[cold + PRR_OUT] = 0;
}

/**
 * 6.2, for each ACK in recovery: sets CWND to what is in flight and what may be added to it. The first retransmission,
 * which 6.2 forces, doesn't ask CWND (LOSS_FLAG.ANYWAY).
 * @param safe SND.UNA moved, and nothing more was found lost.
 */
export function prrAck(tcp: Tcp, t: number, delivered: number, safe: boolean): void {
  if (delivered <= 0) return;
  const m = tcp.m;
  const cold = coldOf(tcp, t);
  m[cold + PRR_DELIVERED] += delivered;
  const out = m[cold + PRR_OUT];
  const pipe = inFlight(tcp, t);
  const target = m[t + SSTHRESH];
  let quota: number;
  if (pipe > target) {
    quota = Math.ceil((m[cold + PRR_DELIVERED] * target) / m[cold + RECOVER_FS]) - out;
  } else {
    // PRR-CRB; PRR-SSRB when recovery makes good progress.
    quota = m[cold + PRR_DELIVERED] - out;
    if (quota < delivered) quota = delivered;
    if (safe) quota += m[t + MSS];
    if (quota > target - pipe) quota = target - pipe;
  }
  if (quota < 0) quota = 0;
  m[t + CWND] = pipe + quota;
}

/** `bytes` were sent, new or again, in recovery. */
export function prrSent(tcp: Tcp, t: number, bytes: number): void {
  tcp.m[coldOf(tcp, t) + PRR_OUT] += bytes;
}
