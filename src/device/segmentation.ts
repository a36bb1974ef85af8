/**
 * What a device may leave to the next one, done in software for those that can't: transport checksums
 * (FRAME_CHECKSUM_FILL) and the cutting of super-segments (FRAME_SEGMENT), of TCP and UDP over IPv4 and IPv6.
 */
import type { Arena } from '../memory/arena.ts';
import type { Kernels } from '../memory/kernels/kernels.ts';
import { checksumFinish, pseudoIpv4, pseudoIpv6, sumWords } from '../wire/checksum.ts';
import { ETHER_HEADER_BYTES, ETHER_TYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import {
  IPV4_CHECKSUM,
  IPV4_ID,
  IPV4_TOTAL_LENGTH,
  ipv4Check,
  ipv4Dst,
  ipv4Id,
  ipv4IsFragment,
  ipv4Protocol,
  ipv4Src,
  ipv4TotalLength,
} from '../wire/ipv4.ts';
import {
  IPV6_HEADER_BYTES,
  IPV6_PAYLOAD_LENGTH,
  ipv6Check,
  ipv6PayloadLength,
  ipv6Upper,
  upperOffset,
  upperProtocol,
} from '../wire/ipv6.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import {
  FLAG_CWR,
  FLAG_FIN,
  FLAG_PSH,
  TCP_CHECKSUM,
  TCP_OFFSET_FLAGS,
  TCP_SEQ,
  tcpCheck,
  tcpSeq,
} from '../wire/tcp.ts';
import { UDP_CHECKSUM, UDP_HEADER_BYTES, UDP_LENGTH, udpSetChecksum } from '../wire/udp.ts';

/** IEEE 802.1Q and 802.1ad. */
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_VLAN_SERVICE = 0x88a8;
export const VLAN_TAG_BYTES = 4;

/** Bytes of VLAN tags in an Ethernet frame: 0, 4 or 8. */
export function vlanBytes(view: DataView, at: number, length: number): number {
  let bytes = 0;
  while (bytes < 2 * VLAN_TAG_BYTES && ETHER_HEADER_BYTES + bytes + VLAN_TAG_BYTES <= length) {
    const type = view.getUint16(at + ETHER_TYPE + bytes, false);
    if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_VLAN_SERVICE) break;
    bytes += VLAN_TAG_BYTES;
  }
  return bytes;
}

/** Where `findTransport` found what, bytes from the frame's start. */
const found = { ip: 0, transport: 0, end: 0, protocol: 0, v4: false };

/** @returns false unless the frame is TCP or UDP in an unfragmented IP packet. */
function findTransport(view: DataView, at: number, length: number, ether: boolean): boolean {
  let ip = 0;
  if (ether) {
    if (length < ETHER_HEADER_BYTES) return false;
    const tags = vlanBytes(view, at, length);
    ip = ETHER_HEADER_BYTES + tags;
    const type = view.getUint16(at + ETHER_TYPE + tags, false);
    if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6) return false;
  }
  found.ip = ip;
  const header = ipv4Check(view, at + ip, length - ip);
  found.v4 = header > 0;
  if (found.v4) {
    if (ipv4IsFragment(view, at + ip)) return false;
    found.transport = ip + header;
    found.protocol = ipv4Protocol(view, at + ip);
    found.end = ip + ipv4TotalLength(view, at + ip);
  } else {
    if (ipv6Check(view, at + ip, length - ip) <= 0) return false;
    const upper = ipv6Upper(view, at + ip, length - ip);
    if (upper <= 0) return false;
    found.transport = ip + upperOffset(upper);
    found.protocol = upperProtocol(upper);
    found.end = ip + IPV6_HEADER_BYTES + ipv6PayloadLength(view, at + ip);
  }
  return found.protocol === PROTOCOL_TCP || found.protocol === PROTOCOL_UDP;
}

/**
 * Completes the checksum of a frame that came with FRAME_CHECKSUM_FILL, in place.
 * @param ether Whether the frame starts with an Ethernet header.
 * @returns false when it has none: it is no unfragmented TCP or UDP in IP
 */
export function completeChecksum(arena: Arena, at: number, length: number, ether: boolean): boolean {
  const { view, kernels } = arena;
  if (!findTransport(view, at, length, ether)) return false;
  const { transport, end, protocol } = found;
  const tcp = protocol === PROTOCOL_TCP;
  if (transport + (tcp ? TCP_CHECKSUM : UDP_CHECKSUM) + 2 > end) return false;
  // The field holds the pseudo-header's sum and is covered itself.
  const checksum = checksumFinish(kernels.sum(at + transport, end - transport));
  if (tcp) view.setUint16(at + transport + TCP_CHECKSUM, checksum, false);
  else udpSetChecksum(view, at + transport, checksum);
  return true;
}

/** Cuts one super-segment at a time, piece by piece, so that it may wait for room between two of them. */
export class Segmenter {
  /** How many pieces the present one gives. */
  pieces = 0;
  /** Whether it is TCP's; otherwise UDP's. */
  tcp = false;
  readonly #view: DataView;
  readonly #kernels: Kernels;
  #at = 0;
  #size = 0;
  #payload = 0;
  /** From the frame's start to its IP header, its transport header and its payload, bytes. */
  #ip = 0;
  #transport = 0;
  #header = 0;
  #v4 = false;
  /** Of the pseudo-header but for the length. */
  #pseudo = 0;

  constructor(arena: Arena) {
    this.#view = arena.view;
    this.#kernels = arena.kernels;
  }

  /**
   * Begins with a frame, which must stay as it is until the last piece is written.
   * @param size Payload bytes of a piece: DESC_AUX. @param ether Whether the frame starts with an Ethernet header.
   * @returns false when it can't be cut
   */
  begin(at: number, length: number, size: number, ether: boolean): boolean {
    const view = this.#view;
    if (size <= 0 || !findTransport(view, at, length, ether)) return false;
    const { ip, transport, end, protocol, v4 } = found;
    const tcp = protocol === PROTOCOL_TCP;
    const bytes = tcp ? tcpCheck(view, at + transport, end - transport) : UDP_HEADER_BYTES;
    if (bytes <= 0 || transport + bytes > end) return false;
    this.#at = at;
    this.#size = size;
    this.#ip = ip;
    this.#transport = transport;
    this.#header = transport + bytes;
    this.#payload = end - this.#header;
    this.#v4 = v4;
    this.tcp = tcp;
    this.#pseudo = v4
      ? pseudoIpv4(ipv4Src(view, at + ip), ipv4Dst(view, at + ip), protocol, 0)
      : pseudoIpv6(view, at + ip, protocol, 0);
    this.pieces = Math.max(1, Math.ceil(this.#payload / size));
    return true;
  }

  /** Bytes of the largest piece. */
  get pieceBytes(): number {
    return this.#header + Math.min(this.#size, this.#payload);
  }

  /** Writes piece `i`, complete with its checksums, to `to`. @returns its length, bytes */
  write(i: number, to: number): number {
    const kernels = this.#kernels;
    const header = this.#header;
    const done = i * this.#size;
    const bytes = Math.min(this.#size, this.#payload - done);
    kernels.copy(to, this.#at, header);
    const sum = kernels.copySum(to + header, this.#at + header + done, bytes);
    this.#writeIp(i, to + this.#ip, header + bytes - this.#ip);
    this.#writeTransport(i, to + this.#transport, header + bytes - this.#transport, sum);
    return header + bytes;
  }

  #writeIp(i: number, ip: number, bytes: number): void {
    const view = this.#view;
    if (!this.#v4) {
      view.setUint16(ip + IPV6_PAYLOAD_LENGTH, bytes - IPV6_HEADER_BYTES, false);
      return;
    }
    view.setUint16(ip + IPV4_TOTAL_LENGTH, bytes, false);
    // RFC 6864 4.3: those that may be fragmented must differ.
    view.setUint16(ip + IPV4_ID, (ipv4Id(view, ip) + i) & 0xffff, false);
    view.setUint16(ip + IPV4_CHECKSUM, 0, false);
    const words = (this.#transport - this.#ip) >> 2;
    view.setUint16(ip + IPV4_CHECKSUM, checksumFinish(sumWords(view, ip, words)), false);
  }

  /** @param sum Of the payload. */
  #writeTransport(i: number, at: number, bytes: number, sum: number): void {
    const view = this.#view;
    const own = this.#header - this.#transport;
    const covered = this.#pseudo + bytes + sum;
    if (!this.tcp) {
      view.setUint16(at + UDP_LENGTH, bytes, false);
      view.setUint16(at + UDP_CHECKSUM, 0, false);
      udpSetChecksum(view, at, checksumFinish(covered + this.#kernels.sum(at, own)));
      return;
    }
    // FIN and PSH go with the last piece, CWR with the first (RFC 3168 6.1.2).
    const drop = (i === this.pieces - 1 ? 0 : FLAG_FIN | FLAG_PSH) | (i === 0 ? 0 : FLAG_CWR);
    const word = view.getUint16(at + TCP_OFFSET_FLAGS, false);
    view.setUint16(at + TCP_OFFSET_FLAGS, word & ~drop, false);
    view.setInt32(at + TCP_SEQ, (tcpSeq(view, at) + i * this.#size) | 0, false);
    view.setUint16(at + TCP_CHECKSUM, 0, false);
    view.setUint16(at + TCP_CHECKSUM, checksumFinish(covered + this.#kernels.sum(at, own)), false);
  }
}
