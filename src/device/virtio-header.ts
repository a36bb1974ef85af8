/**
 * The header that TUN and TAP put before each frame (virtio 1.2, 5.1.6, the legacy form without num_buffers): what
 * is left to do on the frame, in descriptor flags on our side. In the machine's byte order, little-endian.
 *
 *   flags u8, gso_type u8, hdr_len u16, gso_size u16, csum_start u16, csum_offset u16
 */
import { FRAME_CHECKSUM_FILL, FRAME_CHECKSUM_GOOD, FRAME_SEGMENT } from '../memory/ring.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherType } from '../wire/ethernet.ts';
import { ipv4Check, ipv4IsFragment, ipv4Protocol } from '../wire/ipv4.ts';
import { ipv6Check, ipv6Upper, upperOffset, upperProtocol } from '../wire/ipv6.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { FLAG_CWR, TCP_CHECKSUM, tcpCheck, tcpFlags } from '../wire/tcp.ts';
import { UDP_CHECKSUM, UDP_HEADER_BYTES } from '../wire/udp.ts';

export const VIRTIO_HEADER_BYTES = 10;

// V8 folds a module's own constants, not imported ones.
const HEADER_BYTES = VIRTIO_HEADER_BYTES;
const CHECKSUM_GOOD = FRAME_CHECKSUM_GOOD;
const CHECKSUM_FILL = FRAME_CHECKSUM_FILL;
const SEGMENT = FRAME_SEGMENT;
const ETHER_BYTES = ETHER_HEADER_BYTES;
const TYPE_4 = ETHERTYPE_IPV4;
const TYPE_6 = ETHERTYPE_IPV6;
const TCP = PROTOCOL_TCP;
const UDP = PROTOCOL_UDP;
const CWR = FLAG_CWR;
const TCP_CHECKSUM_AT = TCP_CHECKSUM;
const UDP_CHECKSUM_AT = UDP_CHECKSUM;
const UDP_BYTES = UDP_HEADER_BYTES;

const GSO_TYPE = 1;
const HDR_LEN = 2;
const GSO_SIZE = 4;
const CSUM_START = 6;
const CSUM_OFFSET = 8;

const F_NEEDS_CSUM = 1;
const F_DATA_VALID = 2;
const GSO_NONE = 0;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;
/** Datagrams of one size, but for the last, under one header: what UDP_SEGMENT of Linux sends. */
const GSO_UDP_L4 = 5;
/** With a TCP type: the first segment carries CWR. */
const GSO_ECN = 0x80;

/** Headers of no kind that we asked the kernel for, or that point outside the frame. */
export const VIRTIO_MALFORMED = -1;

/**
 * @param at The frame, right behind its header.
 * @returns FRAME_*, or VIRTIO_MALFORMED. A partial checksum is both GOOD, since the frame comes from this
 *   machine's memory, and FILL, for whom the frame is forwarded to.
 */
export function virtioDecode(view: DataView, at: number, length: number): number {
  const header = at - HEADER_BYTES;
  const bits = view.getUint8(header);
  const gso = view.getUint8(header + GSO_TYPE) & ~GSO_ECN;
  let flags = 0;
  if ((bits & F_NEEDS_CSUM) !== 0) {
    const field = view.getUint16(header + CSUM_START, true) + view.getUint16(header + CSUM_OFFSET, true);
    if (field + 2 > length) return VIRTIO_MALFORMED;
    flags = CHECKSUM_GOOD | CHECKSUM_FILL;
  } else if ((bits & F_DATA_VALID) !== 0) {
    flags = CHECKSUM_GOOD;
  }
  if (gso === GSO_NONE) return flags;
  if (gso !== GSO_TCPV4 && gso !== GSO_TCPV6 && gso !== GSO_UDP_L4) return VIRTIO_MALFORMED;
  if (virtioSegmentBytes(view, at) === 0) return VIRTIO_MALFORMED;
  return flags | SEGMENT;
}

/** Payload bytes of each segment of a frame that `virtioDecode` gave FRAME_SEGMENT; otherwise of no meaning. */
export function virtioSegmentBytes(view: DataView, at: number): number {
  return view.getUint16(at - HEADER_BYTES + GSO_SIZE, true);
}

/**
 * Writes the header before the frame.
 * @param flags FRAME_CHECKSUM_FILL, FRAME_SEGMENT (which implies it), or none. Others don't matter.
 * @param segmentBytes DESC_AUX.
 * @param ether Whether the frame starts with an Ethernet header.
 * @returns false when the flags ask for what this frame can't have: it is no unfragmented TCP or UDP in IP.
 */
export function virtioEncode(
  view: DataView,
  at: number,
  length: number,
  flags: number,
  segmentBytes: number,
  ether: boolean,
): boolean {
  const header = at - HEADER_BYTES;
  view.setInt32(header, 0, true);
  view.setInt32(header + GSO_SIZE, 0, true);
  view.setInt16(header + CSUM_OFFSET, 0, true);
  if ((flags & (CHECKSUM_FILL | SEGMENT)) === 0) return true;
  const ip = ether ? ETHER_BYTES : 0;
  const place = checksumPlace(view, at, length, ether);
  if (place === NONE) return false;
  const start = place >> 8;
  const field = place & 0xff;
  const tcp = field === TCP_CHECKSUM_AT;
  view.setUint8(header, F_NEEDS_CSUM);
  view.setUint16(header + CSUM_START, start, true);
  view.setUint16(header + CSUM_OFFSET, field, true);
  if ((flags & SEGMENT) === 0) return true;
  const headerBytes = tcp ? tcpCheck(view, at + start, length - start) : UDP_BYTES;
  if (headerBytes <= 0 || segmentBytes <= 0 || segmentBytes > 0xffff) return false;
  view.setUint8(header + GSO_TYPE, tcp ? tcpGsoType(view, at + ip, at + start) : GSO_UDP_L4);
  view.setUint16(header + HDR_LEN, start + headerBytes, true);
  view.setUint16(header + GSO_SIZE, segmentBytes, true);
  return true;
}

/** CWR belongs to the first segment alone. */
function tcpGsoType(view: DataView, ip: number, tcp: number): number {
  const type = view.getUint8(ip) >> 4 === 4 ? GSO_TCPV4 : GSO_TCPV6;
  return (tcpFlags(view, tcp) & CWR) !== 0 ? type | GSO_ECN : type;
}

/** No protocol is 0 behind IPv6's extension headers, and no offset. */
const NONE = 0;

/**
 * Where the transport checksum of a frame is.
 * @param ether Whether the frame starts with an Ethernet header.
 * @returns `(start << 8) | field`: from the frame's start to the TCP or UDP header, and on to the checksum; 0 when the
 *   frame has none that a device could fill in: it is no unfragmented TCP or UDP in IP
 */
export function checksumPlace(view: DataView, at: number, length: number, ether: boolean): number {
  const upper = transport(view, at, length, ether);
  if (upper === NONE) return NONE;
  const start = (ether ? ETHER_BYTES : 0) + upperOffset(upper);
  const field = upperProtocol(upper) === TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT;
  return start + field + 2 > length ? NONE : (start << 8) | field;
}

/** @returns `(offset << 8) | protocol` as ipv6Upper, with the offset from the IP header, or NONE */
function transport(view: DataView, at: number, length: number, ether: boolean): number {
  let ip = at;
  let bytes = length;
  if (ether) {
    if (length < ETHER_BYTES) return NONE;
    const type = etherType(view, at);
    if (type !== TYPE_4 && type !== TYPE_6) return NONE;
    ip += ETHER_BYTES;
    bytes -= ETHER_BYTES;
  }
  let upper = NONE;
  const header = ipv4Check(view, ip, bytes);
  if (header > 0) {
    if (!ipv4IsFragment(view, ip)) upper = (header << 8) | ipv4Protocol(view, ip);
  } else if (ipv6Check(view, ip, bytes) > 0) {
    upper = ipv6Upper(view, ip, bytes);
  }
  const protocol = upperProtocol(upper);
  return upper > 0 && (protocol === TCP || protocol === UDP) ? upper : NONE;
}
