/**
 * What the path asks of a connection besides moving bytes: ECN feedback, and a search for its MTU. Only connections with
 * bits in PATH come here, at each segment; the others test that word and go on.
 */
import { COLD, FLAG2, PATH_FLAG, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { ecnInput, reducedByMark, windowReduced } from './ecn.ts';
import { toldMtuTimeout } from './icmp-errors.ts';
import { mtuProbeAcked, mtuProbeOnly, mtuResent, mtuTimeout } from './plpmtud.ts';
import type { Segment } from './segment.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS2, PATH, CWND, SSTHRESH, ISS, SACKED_BYTES } = TCB;
const { ANY, ECN, MTU, OPTION } = PATH_FLAG;

/** An acceptable segment came, whose ACK is accepted next. */
export function pathInput(tcp: Tcp, t: number, s: Segment): void {
  const path = tcp.m[t + PATH];
  if ((path & MTU) !== 0) mtuProbeAcked(tcp, t, s.ack);
  if ((path & ECN) !== 0) ecnInput(tcp, t, s);
}

/** Its ACK was accepted, or refused. */
export function pathInputDone(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.sample.ceMarked = 0;
  if (tcp.cwndHeld === 0) return;
  if (m[t + CWND] > tcp.cwndHeld) m[t + CWND] = tcp.cwndHeld;
  tcp.cwndHeld = 0;
}

/**
 * A loss was found, and recovery begins: does it mean congestion? Not when it is an MTU probe, and not again when the window
 * was reduced for a mark (RFC 3168 6.1.2). Recovery then ends with the window that it began with.
 */
export function lossIsCongestion(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  const path = m[t + PATH];
  if ((path & ANY) === 0) return true;
  const probe = (path & MTU) !== 0 && mtuProbeOnly(tcp, t);
  if (probe || ((path & ECN) !== 0 && reducedByMark(tcp, t))) {
    if (m[t + SSTHRESH] > m[t + CWND]) m[t + SSTHRESH] = m[t + CWND];
    return false;
  }
  if ((path & ECN) !== 0) windowReduced(tcp, t);
  return true;
}

/** What begins at `seq` is retransmitted. */
export function pathResent(tcp: Tcp, t: number, seq: number): void {
  const m = tcp.m;
  if ((m[t + PATH] & MTU) !== 0) mtuResent(tcp, t, seq);
  // RFC 9768 3.2.3.2.2: the first data carried an AccECN option; perhaps that is why it was lost. In Linux all data does,
  // so that what was SACKed shows that the path lets it through.
  const carried = tcp.limits.habits === 'linux' && m[t + SACKED_BYTES] > 0;
  if ((m[t + PATH] & ECN) === PATH_FLAG.ECN_ACCURATE && seq === ((m[t + ISS] + 1) | 0) && !carried) {
    m[t + FLAGS2] |= FLAG2.ACCECN_OPTIONS_OFF;
    m[t + PATH] &= ~OPTION;
  }
}

/** The retransmission timer of a synchronized connection expired. */
export function pathTimeout(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + PATH] & ECN) !== 0) windowReduced(tcp, t);
  if ((m[t + FLAGS2] & FLAG2.COLD_USED) !== 0 && m[coldOf(tcp, t) + COLD.TOLD_MTU] >>> 16 !== 0) {
    toldMtuTimeout(tcp, t);
  }
  mtuTimeout(tcp, t);
}
