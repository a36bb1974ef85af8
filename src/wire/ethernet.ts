/**
 * Ethernet II frames. No VLAN tags: a tagged frame has type 0x8100, which nobody here listens to.
 * A hardware address is two ints on the data path: its first two bytes (uint16) and its last four (int32).
 */
import { formatMac, parseMac } from './address.ts';
import { accept, concat, viewOf } from './plain.ts';

export const ETHER_DST = 0;
export const ETHER_SRC = 6;
export const ETHER_TYPE = 12;
export const ETHER_HEADER_BYTES = 14;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;

export const ETHER_TRUNCATED = -1;
/** Named by negated code. */
export const ETHER_REJECTS = ['', 'truncated'] as const;

/** @returns ETHER_HEADER_BYTES or ETHER_TRUNCATED */
export function etherCheck(_view: DataView, _at: number, length: number): number {
  return length < ETHER_HEADER_BYTES ? ETHER_TRUNCATED : ETHER_HEADER_BYTES;
}

export function etherType(view: DataView, at: number): number {
  return view.getUint16(at + ETHER_TYPE, false);
}

export function etherDstHigh(view: DataView, at: number): number {
  return view.getUint16(at + ETHER_DST, false);
}

export function etherDstLow(view: DataView, at: number): number {
  return view.getInt32(at + ETHER_DST + 2, false);
}

export function etherSrcHigh(view: DataView, at: number): number {
  return view.getUint16(at + ETHER_SRC, false);
}

export function etherSrcLow(view: DataView, at: number): number {
  return view.getInt32(at + ETHER_SRC + 2, false);
}

export function etherWrite(
  view: DataView,
  at: number,
  dstHigh: number,
  dstLow: number,
  srcHigh: number,
  srcLow: number,
  type: number,
): void {
  view.setUint16(at + ETHER_DST, dstHigh, false);
  view.setInt32(at + ETHER_DST + 2, dstLow, false);
  view.setUint16(at + ETHER_SRC, srcHigh, false);
  view.setInt32(at + ETHER_SRC + 2, srcLow, false);
  view.setUint16(at + ETHER_TYPE, type, false);
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface EthernetFrame {
  dst: string;
  src: string;
  type: number;
  payload: Uint8Array;
}

/** @throws WireError */
export function parseEthernet(bytes: Uint8Array): EthernetFrame {
  const view = viewOf(bytes);
  const header = accept('ethernet', ETHER_REJECTS, etherCheck(view, 0, bytes.length));
  return {
    dst: formatMac(bytes, ETHER_DST),
    src: formatMac(bytes, ETHER_SRC),
    type: etherType(view, 0),
    payload: bytes.subarray(header),
  };
}

export function emitEthernet(frame: EthernetFrame): Uint8Array {
  const type = Uint8Array.of(frame.type >> 8, frame.type);
  return concat(parseMac(frame.dst), parseMac(frame.src), type, frame.payload);
}
