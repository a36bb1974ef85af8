/** TCP headers (RFC 9293 3.1); what follows their 20 bytes is in tcp-options.ts. */
import { accept, concat, type Ends, type Given, transportChecksum, viewOf } from './plain.ts';
import { PROTOCOL_TCP } from './protocols.ts';
import { emitTcpOptions, parseTcpOptions, type TcpOptionValues } from './tcp-options.ts';

export const TCP_SRC_PORT = 0;
export const TCP_DST_PORT = 2;
export const TCP_SEQ = 4;
export const TCP_ACK = 8;
export const TCP_OFFSET_FLAGS = 12;
export const TCP_WINDOW = 14;
export const TCP_CHECKSUM = 16;
export const TCP_URGENT = 18;
/** Without options; the options start here. */
export const TCP_HEADER_BYTES = 20;

/** Flags, as `tcpFlags` gives them. */
export const FLAG_FIN = 0x001;
export const FLAG_SYN = 0x002;
export const FLAG_RST = 0x004;
export const FLAG_PSH = 0x008;
export const FLAG_ACK = 0x010;
export const FLAG_URG = 0x020;
export const FLAG_ECE = 0x040;
export const FLAG_CWR = 0x080;
/** Accurate ECN (RFC 9768); was NS. */
export const FLAG_AE = 0x100;

export const TCP_TRUNCATED = -1;
/** Data offset below 5, or past the segment. */
export const TCP_BAD_OFFSET = -2;
export const TCP_REJECTS = ['', 'truncated', 'data offset'] as const;

/** @returns the header's length in bytes, options included, or a reject code */
export function tcpCheck(view: DataView, at: number, length: number): number {
  if (length < TCP_HEADER_BYTES) return TCP_TRUNCATED;
  const header = (view.getUint8(at + TCP_OFFSET_FLAGS) >> 4) << 2;
  return header < TCP_HEADER_BYTES || header > length ? TCP_BAD_OFFSET : header;
}

export function tcpSrcPort(view: DataView, at: number): number {
  return view.getUint16(at + TCP_SRC_PORT, false);
}

export function tcpDstPort(view: DataView, at: number): number {
  return view.getUint16(at + TCP_DST_PORT, false);
}

/** Both ports as one word, `(src << 16) | dst`, for lookups. */
export function tcpPorts(view: DataView, at: number): number {
  return view.getInt32(at + TCP_SRC_PORT, false);
}

export function tcpSeq(view: DataView, at: number): number {
  return view.getInt32(at + TCP_SEQ, false);
}

export function tcpAck(view: DataView, at: number): number {
  return view.getInt32(at + TCP_ACK, false);
}

/** FLAG_* */
export function tcpFlags(view: DataView, at: number): number {
  return view.getUint16(at + TCP_OFFSET_FLAGS, false) & 0x1ff;
}

/** Unscaled. */
export function tcpWindow(view: DataView, at: number): number {
  return view.getUint16(at + TCP_WINDOW, false);
}

export function tcpUrgent(view: DataView, at: number): number {
  return view.getUint16(at + TCP_URGENT, false);
}

/**
 * The checksum is left zero.
 * @param header Length with options, bytes, a multiple of 4. @param window Unscaled.
 */
export function tcpWrite(
  view: DataView,
  at: number,
  srcPort: number,
  dstPort: number,
  seq: number,
  ack: number,
  header: number,
  flags: number,
  window: number,
): void {
  view.setInt32(at + TCP_SRC_PORT, (srcPort << 16) | dstPort, false);
  view.setInt32(at + TCP_SEQ, seq, false);
  view.setInt32(at + TCP_ACK, ack, false);
  view.setInt32(at + TCP_OFFSET_FLAGS, (header << 26) | (flags << 16) | window, false);
  view.setInt32(at + TCP_CHECKSUM, 0, false);
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface TcpSegment {
  srcPort: number;
  dstPort: number;
  /** 0 to 2^32 - 1 when parsed; emitting takes int32 too. */
  seq: number;
  ack: number;
  /** FLAG_* */
  flags: number;
  /** Unscaled. */
  window: number;
  urgent: number;
  options: TcpOptionValues;
  payload: Uint8Array;
}

/** Doesn't look at the checksum. Malformed options count as none. @throws WireError */
export function parseTcp(bytes: Uint8Array): TcpSegment {
  const view = viewOf(bytes);
  const header = accept('tcp', TCP_REJECTS, tcpCheck(view, 0, bytes.length));
  return {
    srcPort: tcpSrcPort(view, 0),
    dstPort: tcpDstPort(view, 0),
    seq: tcpSeq(view, 0) >>> 0,
    ack: tcpAck(view, 0) >>> 0,
    flags: tcpFlags(view, 0),
    window: tcpWindow(view, 0),
    urgent: tcpUrgent(view, 0),
    options: parseTcpOptions(bytes.subarray(TCP_HEADER_BYTES, header)),
    payload: bytes.subarray(header),
  };
}

/** @throws RangeError when the options don't fit into 40 bytes */
export function emitTcp(segment: Given<TcpSegment, 'srcPort' | 'dstPort'>, ends: Ends): Uint8Array {
  const { srcPort, dstPort, seq = 0, ack = 0, flags = FLAG_ACK, window = 65_535, urgent = 0 } = segment;
  const options = emitTcpOptions(segment.options ?? {});
  const bytes = concat(new Uint8Array(TCP_HEADER_BYTES), options, segment.payload ?? new Uint8Array(0));
  const view = viewOf(bytes);
  tcpWrite(view, 0, srcPort, dstPort, seq, ack, TCP_HEADER_BYTES + options.length, flags, window);
  view.setUint16(TCP_URGENT, urgent, false);
  view.setUint16(TCP_CHECKSUM, transportChecksum(bytes, ends, PROTOCOL_TCP), false);
  return bytes;
}

/** As tcpdump writes them: `S.`, `P.`, `R`, `none`. */
export function formatTcpFlags(flags: number): string {
  const letters: [number, string][] = [
    [FLAG_SYN, 'S'],
    [FLAG_FIN, 'F'],
    [FLAG_RST, 'R'],
    [FLAG_PSH, 'P'],
    [FLAG_URG, 'U'],
    [FLAG_CWR, 'W'],
    [FLAG_ECE, 'E'],
    [FLAG_AE, 'e'],
    [FLAG_ACK, '.'],
  ];
  return letters.map(([flag, letter]) => (flags & flag ? letter : '')).join('') || 'none';
}
