/** Writing segments into frames: the one place where TCP headers are made. */
import type { Interface } from '../ip/interface.ts';
import { ipWriteHeader4, ipWriteHeader6, txCommit } from '../ip/output.ts';
import { DESC_AT, FRAME_CHECKSUM_FILL, FRAME_SEGMENT } from '../memory/ring.ts';
import { FLAG, TCB } from './block.ts';
import { ipFieldsOf } from './ip-fields.ts';
import { sourceRouteInsert } from './source-route.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, PORTS, RADDR, LADDR, RADDR6, LADDR6, NEIGHBOUR, TS_OFFSET, TS_RECENT } = TCB;
const { V6 } = FLAG;
const AT = DESC_AT;
const CHECKSUM_FILL = FRAME_CHECKSUM_FILL;
const SEGMENT = FRAME_SEGMENT;
const PROTOCOL_TCP = 6;

/** TCP header without options. */
export const HEADER_BYTES = 20;
/** NOP, NOP, timestamps. */
export const TIMESTAMP_BYTES = 12;

/** Where the TCP header goes in a tx slot's frame. */
export function segmentAt(tcp: Tcp, iface: Interface, t: number, slot: number): number {
  const m = tcp.m;
  return m[slot + AT] + ((m[t + FLAGS] & V6) !== 0 ? iface.headroom6 : iface.headroom4);
}

/** Writes NOP, NOP, timestamps at `at` (RFC 7323 3.2). @returns their sum, for the checksum. */
export function writeTimestamps(tcp: Tcp, t: number, at: number): number {
  const tsVal = (tcp.nowMs + tcp.m[t + TS_OFFSET]) | 0;
  const tsEcr = tcp.m[t + TS_RECENT];
  const view = tcp.view;
  view.setInt32(at, 0x0101080a, false);
  view.setInt32(at + 4, tsVal, false);
  view.setInt32(at + 8, tsEcr, false);
  return 0x0101 + 0x080a + (tsVal >>> 16) + (tsVal & 0xffff) + (tsEcr >>> 16) + (tsEcr & 0xffff);
}

/**
 * Completes the segment whose options and payload already stand in the frame, and commits the slot.
 * @param window As it goes on the wire.
 * @param sum Unfolded sum of options and payload; not looked at when the device fills in checksums.
 * @param split Payload bytes of a segment when the frame is a super-segment, else 0.
 * @param tos ECN of the IP header.
 */
export function emit(
  tcp: Tcp,
  iface: Interface,
  t: number,
  slot: number,
  seq: number,
  ack: number,
  flags: number,
  window: number,
  optionBytes: number,
  length: number,
  sum: number,
  split: number,
  tos: number,
): void {
  const m = tcp.m;
  const view = tcp.view;
  const at = m[slot + AT];
  const v6 = (m[t + FLAGS] & V6) !== 0;
  const headroom = v6 ? iface.headroom6 : iface.headroom4;
  const l4 = at + headroom;
  const l4Length = HEADER_BYTES + optionBytes + length;
  const ports = m[t + PORTS];
  const offsetFlags = ((HEADER_BYTES + optionBytes) << 10) | flags;

  // The key's ports are as they arrive: remote first.
  view.setInt32(l4, (ports << 16) | (ports >>> 16), false);
  view.setInt32(l4 + 4, seq, false);
  view.setInt32(l4 + 8, ack, false);
  view.setInt32(l4 + 12, (offsetFlags << 16) | window, false);

  let pseudo = PROTOCOL_TCP + l4Length;
  if (v6) {
    for (let i = 0; i < 8; i++) pseudo += (m[t + RADDR6 + i] >>> 16) + (m[t + RADDR6 + i] & 0xffff);
  } else {
    const r = m[t + RADDR];
    const l = m[t + LADDR];
    pseudo += (r >>> 16) + (r & 0xffff) + (l >>> 16) + (l & 0xffff);
  }
  let descFlags = split > 0 ? SEGMENT : 0;
  if (iface.port.capabilities.txChecksum) {
    pseudo = (pseudo & 0xffff) + (pseudo >>> 16);
    pseudo = (pseudo & 0xffff) + (pseudo >>> 16);
    view.setInt32(l4 + 16, pseudo << 16, false);
    descFlags |= CHECKSUM_FILL;
  } else {
    let s =
      pseudo +
      (ports >>> 16) +
      (ports & 0xffff) +
      (seq >>> 16) +
      (seq & 0xffff) +
      (ack >>> 16) +
      (ack & 0xffff);
    s += offsetFlags + window + sum;
    s = (s & 0xffff) + (s >>> 16);
    s = (s & 0xffff) + (s >>> 16);
    view.setInt32(l4 + 16, (s ^ 0xffff) << 16, false);
  }

  let ipOptions = 0;
  let ttl = v6 ? iface.hopLimit : iface.ttl;
  let trafficClass = tos;
  if (tcp.marking) {
    const fields = ipFieldsOf(tcp, t);
    trafficClass |= fields & 0xfc;
    if (fields >>> 8 !== 0) ttl = fields >>> 8;
  }
  if (v6) {
    ipWriteHeader6(
      tcp.ip,
      iface,
      m[t + NEIGHBOUR],
      at,
      m,
      t + LADDR6,
      t + RADDR6,
      l4Length,
      trafficClass,
      PROTOCOL_TCP,
      ttl,
    );
  } else {
    ipWriteHeader4(
      tcp.ip,
      iface,
      m[t + NEIGHBOUR],
      at,
      m[t + LADDR],
      m[t + RADDR],
      l4Length,
      trafficClass,
      PROTOCOL_TCP,
      ttl,
    );
    if (tcp.marking) ipOptions = sourceRouteInsert(tcp, t, l4, l4Length);
  }
  txCommit(iface, slot, headroom + ipOptions + l4Length, descFlags, split);
  tcp.counters.segmentsOut++;
}
