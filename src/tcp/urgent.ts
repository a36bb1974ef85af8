/**
 * Urgent data (RFC 9293 3.8.5, RFC 6093): it stays in the stream where it is, and the pointer only says how far it
 * reaches, on to the byte after its last one. Few programs use it, so the hot path asks `tcp.urgentSenders` alone.
 */
import type { Interface } from '../ip/interface.ts';
import { FLAG_URG as URG } from '../wire/tcp.ts';
import { COLD, FLAG2, STATE, TCB } from './block.ts';
import { coldOf, coldWord } from './cold.ts';
import { segmentAt } from './emit.ts';
import { EVENT_URGENT, eventPush } from './events.ts';
import { LIST_DATA, listPush } from './lists.ts';
import { ipOptionBytes } from './source-route.ts';
import type { Tcp } from './tcp.ts';

const { STATE: ST, FLAGS2, IFACE, SND_UNA, SNDQ_LENGTH, RCV_NXT, RCVQ_LENGTH } = TCB;
const { SND_UP, RCV_UP } = COLD;
const { URG_OUT, URG_IN } = FLAG2;
const { SYN_SENT, FIN_WAIT_2 } = STATE;

const POINTER_MAX = 0xffff;
/** A pointer reaches 64 KiB past a window of 1 GiB at most; what seems farther ahead lies behind. */
const AHEAD_MAX = 0x40010000;

/** SEND with the URGENT flag: all that is queued is urgent now (RFC 9293 3.10.2). */
export function urgentMark(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if (m[t + SNDQ_LENGTH] === 0) return;
  const first = m[t + ST] === SYN_SENT ? (m[t + SND_UNA] + 1) | 0 : m[t + SND_UNA];
  m[coldOf(tcp, t) + SND_UP] = (first + m[t + SNDQ_LENGTH]) | 0;
  if ((m[t + FLAGS2] & URG_OUT) === 0) {
    m[t + FLAGS2] |= URG_OUT;
    tcp.urgentSenders++;
  }
  listPush(m, tcp.lists[m[t + IFACE]], LIST_DATA, t);
}

/** Whether the peer is still to be told of urgent data. */
export function urgentSending(tcp: Tcp, t: number): boolean {
  const m = tcp.m;
  if ((m[t + FLAGS2] & URG_OUT) === 0) return false;
  if (((coldWord(tcp, t, SND_UP) - m[t + SND_UNA]) | 0) > 0) return true;
  urgentForget(tcp, t);
  return false;
}

/** The connection has nothing urgent to send any more. */
export function urgentForget(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if ((m[t + FLAGS2] & URG_OUT) === 0) return;
  m[t + FLAGS2] &= ~URG_OUT;
  tcp.urgentSenders--;
}

/** Adds URG and the pointer to the segment that was just written into `slot`, when it lies before SND.UP. */
export function urgentAnnounce(tcp: Tcp, iface: Interface, t: number, slot: number, seq: number): void {
  if (!urgentSending(tcp, t)) return;
  const ahead = (coldWord(tcp, t, SND_UP) - seq) | 0;
  if (ahead <= 0) return;
  const pointer = ahead < POINTER_MAX ? ahead : POINTER_MAX;
  const { view } = tcp;
  const at = segmentAt(tcp, iface, t, slot) + ipOptionBytes(tcp, t);
  view.setUint8(at + 13, view.getUint8(at + 13) | URG);
  view.setUint16(at + 18, pointer, false);
  if (iface.port.capabilities.txChecksum) return;
  // RFC 1624 3, for words that were 0 bits before.
  let sum = (view.getUint16(at + 16, false) ^ 0xffff) + URG + pointer;
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(at + 16, sum ^ 0xffff, false);
}

/** A segment with URG (RFC 9293 3.10.7.4, sixth step): tells the program when the pointer is new, or moved on. */
export function urgentInput(tcp: Tcp, t: number): void {
  const m = tcp.m;
  tcp.counters.urgent++;
  if (m[t + ST] > FIN_WAIT_2) return;
  // Of the header, since the segment may be trimmed by now.
  const header = tcp.ip.packet.l4At;
  const up = (tcp.view.getInt32(header + 4, false) + tcp.view.getUint16(header + 18, false)) | 0;
  const ahead = (up - m[t + RCV_NXT]) | 0;
  if (ahead <= 0 || ahead <= pending(tcp, t)) return;
  m[coldOf(tcp, t) + RCV_UP] = up;
  m[t + FLAGS2] |= URG_IN;
  eventPush(tcp, t, EVENT_URGENT, ahead, 0);
}

/** From RCV.NXT to RCV.UP, bytes; 0 or less: none. */
function pending(tcp: Tcp, t: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS2] & URG_IN) === 0) return 0;
  const ahead = (coldWord(tcp, t, RCV_UP) - m[t + RCV_NXT]) | 0;
  return ahead > AHEAD_MAX ? 0 : ahead;
}

/** Bytes from what the program reads next to the end of the urgent data; 0: none. */
export function urgentLeft(tcp: Tcp, t: number): number {
  if ((tcp.m[t + FLAGS2] & URG_IN) === 0) return 0;
  const left = pending(tcp, t) + tcp.m[t + RCVQ_LENGTH];
  return left > 0 ? left : 0;
}
