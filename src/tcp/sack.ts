/** The SACK option of an arriving ACK (RFC 2018, RFC 2883): its blocks become known to the transmission records. */
import type { AckNews } from './ack-news.ts';
import { COLD, FLAG, FLAG2, LOSS_FLAG, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { recordSacked } from './records.ts';
import type { Segment } from './segment.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, FLAGS2, SND_UNA, SND_NXT, MAX_WND, RETRANSMITS, TLP_END, SACKED_BYTES, RACK_FACK } = TCB;
const { SACK } = FLAG;
const { TLP, TLP_RXT } = FLAG2;
const { LOSS_FLAGS, DSACKS, UNDO_UNA, UNDO_RXT } = COLD;
const { UNDO } = LOSS_FLAG;

/** Takes the blocks of `tcp.options`, with SND.UNA still where it was before this ACK, of `ack`. */
export function sackBlocks(tcp: Tcp, t: number, news: AckNews, ack: number): void {
  const m = tcp.m;
  const { view } = tcp;
  const { sackAt, sackCount } = tcp.options;
  for (let i = 0; i < sackCount; i++) {
    const start = view.getInt32(sackAt + 8 * i, false);
    const end = view.getInt32(sackAt + 8 * i + 4, false);
    // Past SND.NXT: a lie. Of one of nearly half the sequence space, the end may seem to be before it.
    const next = m[t + SND_NXT];
    if (((end - start) | 0) <= 0 || ((start - next) | 0) >= 0 || ((end - next) | 0) > 0) continue;
    if (i === 0 && isDuplicate(tcp, start, end, ack)) duplicateReported(tcp, t, news, start, end, ack);
    else if (((start - m[t + SND_UNA]) | 0) >= 0) recordSacked(tcp, t, news, start, end);
  }
}

/** Whether the SACK option tells of data behind all that was known to have arrived: then no later ACK came before this one. */
export function sackAdvances(tcp: Tcp, t: number, s: Segment): boolean {
  const m = tcp.m;
  if (s.hasOptions === 0 || (m[t + FLAGS] & SACK) === 0) return false;
  const known = m[t + SACKED_BYTES] > 0 ? m[t + RACK_FACK] : m[t + SND_UNA];
  for (let i = 0; i < tcp.options.sackCount; i++) {
    const end = tcp.view.getInt32(tcp.options.sackAt + 8 * i + 4, false);
    if (((end - known) | 0) > 0 && ((end - m[t + SND_NXT]) | 0) <= 0) return true;
  }
  return false;
}

/** RFC 2883 4: the first block is of a duplicate when it is acknowledged, or inside the second. */
function isDuplicate(tcp: Tcp, start: number, end: number, ack: number): boolean {
  if (((end - ack) | 0) <= 0) return true;
  const { sackAt, sackCount } = tcp.options;
  if (sackCount < 2) return false;
  return (
    ((start - tcp.view.getInt32(sackAt + 8, false)) | 0) >= 0 &&
    ((end - tcp.view.getInt32(sackAt + 12, false)) | 0) <= 0
  );
}

function duplicateReported(
  tcp: Tcp,
  t: number,
  news: AckNews,
  start: number,
  end: number,
  ack: number,
): void {
  const m = tcp.m;
  // Older than any window, or more than we sent again: the network's doing, or a lie.
  if (((start - m[t + SND_UNA]) | 0) + m[t + MAX_WND] < 0 || m[t + RETRANSMITS] === 0) return;
  const cold = coldOf(tcp, t);
  if (m[cold + DSACKS] >= m[t + RETRANSMITS]) return;
  m[cold + DSACKS]++;
  tcp.counters.duplicatesReported++;
  news.dsack = true;
  if ((m[t + FLAGS2] & (TLP | TLP_RXT)) === (TLP | TLP_RXT) && end === m[t + TLP_END]) news.dsackProbe = true;
  const first = m[cold + UNDO_UNA];
  if (news.dsackProbe) return;
  if ((m[cold + LOSS_FLAGS] & UNDO) !== 0 && ((end - ack) | 0) <= 0 && ((end - first) | 0) > 0)
    m[cold + UNDO_RXT] -= (end - start) | 0;
}
