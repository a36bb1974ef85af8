/** IPv4 headers (RFC 791). */
import { formatIpv4, parseIpv4 } from './address.ts';
import { checksumFinish, fold, sumWords } from './checksum.ts';
import { accept, concat, type Given, viewOf, WireError } from './plain.ts';

export const IPV4_VERSION_IHL = 0;
export const IPV4_TOS = 1;
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_ID = 4;
export const IPV4_FRAGMENT = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SRC = 12;
export const IPV4_DST = 16;
/** Without options. */
export const IPV4_HEADER_BYTES = 20;
/** Loose and strict source route (RFC 791 3.1). */
export const IPV4_OPTION_LSRR = 131;
export const IPV4_OPTION_SSRR = 137;

/** Bits of the word at IPV4_FRAGMENT. */
export const IPV4_DF = 0x4000;
export const IPV4_MF = 0x2000;
/** In units of 8 bytes. */
export const IPV4_OFFSET_MASK = 0x1fff;

export const IPV4_TRUNCATED = -1;
export const IPV4_VERSION = -2;
/** IHL below 5, or past the total length. */
export const IPV4_IHL = -3;
/** Total length past the frame. */
export const IPV4_LENGTH = -4;
export const IPV4_REJECTS = ['', 'truncated', 'version', 'header length', 'total length'] as const;

/**
 * What it accepts may still have a bad header checksum: see `ipv4ChecksumGood`.
 * Bytes of the frame past the total length are padding.
 * @returns the header's length in bytes, or a reject code
 */
export function ipv4Check(view: DataView, at: number, length: number): number {
  const header = ipv4CheckQuoted(view, at, length);
  if (header > 0 && ipv4TotalLength(view, at) > length) return IPV4_LENGTH;
  return header;
}

/** The same for the packet that an ICMP error quotes, whose data may be cut off (RFC 792, RFC 1812 4.3.2.3). */
export function ipv4CheckQuoted(view: DataView, at: number, length: number): number {
  if (length < IPV4_HEADER_BYTES) return IPV4_TRUNCATED;
  const versionIhl = view.getUint8(at);
  if (versionIhl >> 4 !== 4) return IPV4_VERSION;
  const header = (versionIhl & 15) << 2;
  if (header < IPV4_HEADER_BYTES || header > ipv4TotalLength(view, at)) return IPV4_IHL;
  return header > length ? IPV4_TRUNCATED : header;
}

/** RFC 1122 3.2.1.2: a host MUST verify it. */
export function ipv4ChecksumGood(view: DataView, at: number, header: number): boolean {
  return fold(sumWords(view, at, header >> 2)) === 0xffff;
}

export function ipv4Tos(view: DataView, at: number): number {
  return view.getUint8(at + IPV4_TOS);
}

export function ipv4TotalLength(view: DataView, at: number): number {
  return view.getUint16(at + IPV4_TOTAL_LENGTH, false);
}

export function ipv4Id(view: DataView, at: number): number {
  return view.getUint16(at + IPV4_ID, false);
}

/** DF, MF and the offset. */
export function ipv4FragmentWord(view: DataView, at: number): number {
  return view.getUint16(at + IPV4_FRAGMENT, false);
}

export function ipv4IsFragment(view: DataView, at: number): boolean {
  return (ipv4FragmentWord(view, at) & (IPV4_MF | IPV4_OFFSET_MASK)) !== 0;
}

/** Bytes. */
export function ipv4FragmentOffset(view: DataView, at: number): number {
  return (ipv4FragmentWord(view, at) & IPV4_OFFSET_MASK) << 3;
}

export function ipv4Ttl(view: DataView, at: number): number {
  return view.getUint8(at + IPV4_TTL);
}

export function ipv4Protocol(view: DataView, at: number): number {
  return view.getUint8(at + IPV4_PROTOCOL);
}

export function ipv4Src(view: DataView, at: number): number {
  return view.getInt32(at + IPV4_SRC, false);
}

export function ipv4Dst(view: DataView, at: number): number {
  return view.getInt32(at + IPV4_DST, false);
}

/**
 * Writes a header without options, its checksum included.
 * @param totalLength Header and payload, bytes.
 * @param fragment IPV4_DF, IPV4_MF and the offset in units of 8 bytes.
 */
export function ipv4Write(
  view: DataView,
  at: number,
  totalLength: number,
  protocol: number,
  src: number,
  dst: number,
  tos: number,
  ttl: number,
  id: number,
  fragment: number,
): void {
  const first = 0x4500 | tos;
  const ttlProtocol = (ttl << 8) | protocol;
  const addresses = (src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff);
  const checksum = checksumFinish(first + totalLength + id + fragment + ttlProtocol + addresses);
  view.setInt32(at, (first << 16) | totalLength, false);
  view.setInt32(at + IPV4_ID, (id << 16) | fragment, false);
  view.setInt32(at + IPV4_TTL, (ttlProtocol << 16) | checksum, false);
  view.setInt32(at + IPV4_SRC, src, false);
  view.setInt32(at + IPV4_DST, dst, false);
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface Ipv4Packet {
  src: string;
  dst: string;
  protocol: number;
  ttl: number;
  tos: number;
  id: number;
  dontFragment: boolean;
  moreFragments: boolean;
  /** Bytes, a multiple of 8. */
  fragmentOffset: number;
  /** Raw, padded to whole words. */
  options: Uint8Array;
  payload: Uint8Array;
}

/**
 * @param quoted Accept a packet whose end is cut off, as ICMP errors carry.
 * @throws WireError, for a wrong header checksum too
 */
export function parseIpv4Packet(bytes: Uint8Array, quoted = false): Ipv4Packet {
  const view = viewOf(bytes);
  const check = quoted ? ipv4CheckQuoted : ipv4Check;
  const header = accept('ipv4', IPV4_REJECTS, check(view, 0, bytes.length));
  if (!ipv4ChecksumGood(view, 0, header)) throw new WireError('ipv4', 'header checksum');
  return {
    src: formatIpv4(ipv4Src(view, 0)),
    dst: formatIpv4(ipv4Dst(view, 0)),
    protocol: ipv4Protocol(view, 0),
    ttl: ipv4Ttl(view, 0),
    tos: ipv4Tos(view, 0),
    id: ipv4Id(view, 0),
    dontFragment: (ipv4FragmentWord(view, 0) & IPV4_DF) !== 0,
    moreFragments: (ipv4FragmentWord(view, 0) & IPV4_MF) !== 0,
    fragmentOffset: ipv4FragmentOffset(view, 0),
    options: bytes.subarray(IPV4_HEADER_BYTES, header),
    payload: bytes.subarray(header, ipv4TotalLength(view, 0)),
  };
}

export function emitIpv4Packet(
  packet: Given<Ipv4Packet, 'src' | 'dst' | 'protocol' | 'payload'>,
): Uint8Array {
  const options = packet.options ?? new Uint8Array(0);
  const bytes = concat(new Uint8Array(IPV4_HEADER_BYTES), options, packet.payload);
  const view = viewOf(bytes);
  const fragment =
    (packet.dontFragment ? IPV4_DF : 0) |
    (packet.moreFragments ? IPV4_MF : 0) |
    ((packet.fragmentOffset ?? 0) >> 3);
  const src = parseIpv4(packet.src);
  const dst = parseIpv4(packet.dst);
  const { protocol, tos = 0, ttl = 64, id = 0 } = packet;
  ipv4Write(view, 0, bytes.length, protocol, src, dst, tos, ttl, id, fragment);
  if (options.length > 0) {
    const header = IPV4_HEADER_BYTES + options.length;
    view.setUint8(IPV4_VERSION_IHL, 0x40 | (header >> 2));
    view.setUint16(IPV4_CHECKSUM, 0, false);
    view.setUint16(IPV4_CHECKSUM, checksumFinish(sumWords(view, 0, header >> 2)), false);
  }
  return bytes;
}
