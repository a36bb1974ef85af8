/**
 * Segments that no output list carries: resets, and answers on behalf of connections that have no full block.
 * They are sent at once or, when there is no tx slot or no known next hop, not at all (counted): the peer asks again.
 */
import { txSlot } from '../ip/output.ts';
import type { Packet } from '../ip/packet.ts';
import { FLAG_ACK as ACK, FLAG_FIN as FIN, FLAG_RST as RST, FLAG_SYN as SYN } from '../wire/tcp.ts';
import { FLAG, PATH_FLAG, TCB } from './block.ts';
import { ecnFlags } from './ecn.ts';
import { emit, segmentAt, TIMESTAMP_BYTES, writeTimestamps } from './emit.ts';
import { keyFromPacket } from './lookup.ts';
import { nextHop } from './next-hop.ts';
import { windowToTell } from './receive-window.ts';
import type { Segment } from './segment.ts';
import { CHALLENGE_INTERVAL, type Tcp } from './tcp.ts';

const { FLAGS, PATH, IFACE, SND_NXT, RCV_NXT, RCV_ADV, MINI_CHALLENGE_AT } = TCB;
const { TS } = FLAG;
/** IP-ECN codepoint (RFC 3168 5). */
const ECT_0 = 2;

function reply(tcp: Tcp, t: number, seq: number, ack: number, flags: number, window: number): void {
  const iface = tcp.ip.interfaces[tcp.m[t + IFACE]];
  const slot = nextHop(tcp, t) > 0 ? txSlot(iface) : 0;
  if (slot === 0) {
    tcp.counters.repliesDropped++;
    return;
  }
  let optionBytes = 0;
  let sum = 0;
  if ((tcp.m[t + FLAGS] & TS) !== 0) {
    optionBytes = TIMESTAMP_BYTES;
    sum = writeTimestamps(tcp, t, segmentAt(tcp, iface, t, slot) + 20);
  }
  const linux = tcp.limits.habits === 'linux' && (flags & RST) === 0;
  const tos = linux && (tcp.m[t + PATH] & PATH_FLAG.ECN) === PATH_FLAG.ECN_ACCURATE ? ECT_0 : 0;
  emit(tcp, iface, t, slot, seq, ack, flags, window, optionBytes, 0, sum, 0, tos);
  if ((flags & RST) !== 0) tcp.counters.resetsOut++;
}

/** RST of a connection that we have ended. */
export function sendReset(tcp: Tcp, t: number): void {
  const window = tcp.limits.habits === 'linux' ? toldWindow(tcp.m, t) : 0;
  reply(tcp, t, tcp.m[t + SND_NXT], tcp.m[t + RCV_NXT], RST | ACK, window);
}

/** The window as it was told last, in the field's units. */
function toldWindow(m: Int32Array, t: number): number {
  const window = ((m[t + RCV_ADV] - m[t + RCV_NXT]) | 0) >> ((m[t + FLAGS] >> 4) & 15);
  return window < 0 ? 0 : window > 0xffff ? 0xffff : window;
}

/**
 * The ACK of the peer's FIN, at once; `fin`: with our own again, which has crossed it.
 * @param t A full block: its window is told as any ACK tells it.
 */
export function sendFinAck(tcp: Tcp, t: number, fin: boolean): void {
  const m = tcp.m;
  const seq = fin ? (m[t + SND_NXT] - 1) | 0 : m[t + SND_NXT];
  reply(tcp, t, seq, m[t + RCV_NXT], fin ? FIN | ACK : ACK, windowToTell(tcp, t));
}

/** An ACK with a block's current state, full or mini. */
export function sendBareAck(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const flags = (m[t + PATH] & PATH_FLAG.ECN) !== 0 ? ACK | ecnFlags(m, t, false) : ACK;
  reply(tcp, t, m[t + SND_NXT], m[t + RCV_NXT], flags, toldWindow(m, t));
}

/** A mini block's ACK for something suspicious: one in CHALLENGE_INTERVAL, or two of them would never stop. */
export function challengeMini(tcp: Tcp, t: number): void {
  const m = tcp.m;
  if (((tcp.nowMs - m[t + MINI_CHALLENGE_AT]) | 0) < CHALLENGE_INTERVAL) {
    tcp.counters.challengeAcksLimited++;
    return;
  }
  tcp.counters.challengeAcks++;
  m[t + MINI_CHALLENGE_AT] = tcp.nowMs;
  sendBareAck(tcp, t);
}

/** The answer to a segment that belongs to no connection (RFC 9293 3.10.7.1). Never answers a RST. */
export function resetFor(tcp: Tcp, p: Packet, s: Segment): void {
  if ((s.flags & RST) !== 0) return;
  const t = tcp.scratch;
  const m = tcp.m;
  m[t + FLAGS] = 0;
  m[t + IFACE] = p.iface;
  m[t + TCB.NEIGHBOUR] = 0;
  keyFromPacket(m, t, p, s.ports, 0);
  if ((s.flags & ACK) !== 0) {
    reply(tcp, t, s.ack, 0, RST, 0);
    return;
  }
  const length = s.length + ((s.flags & SYN) !== 0 ? 1 : 0) + ((s.flags & FIN) !== 0 ? 1 : 0);
  reply(tcp, t, 0, (s.seq + length) | 0, RST | ACK, 0);
}
