/** UDP headers (RFC 768). */
import { accept, concat, type Ends, transportChecksum, viewOf } from './plain.ts';
import { PROTOCOL_UDP } from './protocols.ts';

export const UDP_SRC_PORT = 0;
export const UDP_DST_PORT = 2;
export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;
export const UDP_HEADER_BYTES = 8;

export const UDP_TRUNCATED = -1;
/** Length field below 8, or past the packet. */
export const UDP_BAD_LENGTH = -2;
export const UDP_REJECTS = ['', 'truncated', 'length'] as const;

/**
 * Bytes past the length field are not part of the datagram. A checksum of zero means none over IPv4, and is
 * to be refused over IPv6 (RFC 8200 8.1).
 * @returns UDP_HEADER_BYTES or a reject code
 */
export function udpCheck(view: DataView, at: number, length: number): number {
  if (length < UDP_HEADER_BYTES) return UDP_TRUNCATED;
  const claimed = udpLength(view, at);
  return claimed < UDP_HEADER_BYTES || claimed > length ? UDP_BAD_LENGTH : UDP_HEADER_BYTES;
}

export function udpSrcPort(view: DataView, at: number): number {
  return view.getUint16(at + UDP_SRC_PORT, false);
}

export function udpDstPort(view: DataView, at: number): number {
  return view.getUint16(at + UDP_DST_PORT, false);
}

/** Header and data, bytes. */
export function udpLength(view: DataView, at: number): number {
  return view.getUint16(at + UDP_LENGTH, false);
}

export function udpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + UDP_CHECKSUM, false);
}

/** The checksum is left zero, for `udpSetChecksum`. @param length Header and data, bytes. */
export function udpWrite(view: DataView, at: number, srcPort: number, dstPort: number, length: number): void {
  view.setInt32(at, (srcPort << 16) | dstPort, false);
  view.setInt32(at + UDP_LENGTH, length << 16, false);
}

/** Zero would say that there is no checksum, so it goes out as its other representation (RFC 768). */
export function udpSetChecksum(view: DataView, at: number, checksum: number): void {
  view.setUint16(at + UDP_CHECKSUM, checksum === 0 ? 0xffff : checksum, false);
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface UdpDatagram {
  srcPort: number;
  dstPort: number;
  payload: Uint8Array;
}

/** Doesn't look at the checksum. @throws WireError */
export function parseUdp(bytes: Uint8Array): UdpDatagram {
  const view = viewOf(bytes);
  const header = accept('udp', UDP_REJECTS, udpCheck(view, 0, bytes.length));
  return {
    srcPort: udpSrcPort(view, 0),
    dstPort: udpDstPort(view, 0),
    payload: bytes.subarray(header, udpLength(view, 0)),
  };
}

export function emitUdp(datagram: UdpDatagram, ends: Ends): Uint8Array {
  const bytes = concat(new Uint8Array(UDP_HEADER_BYTES), datagram.payload);
  const view = viewOf(bytes);
  udpWrite(view, 0, datagram.srcPort, datagram.dstPort, bytes.length);
  udpSetChecksum(view, 0, transportChecksum(bytes, ends, PROTOCOL_UDP));
  return bytes;
}
