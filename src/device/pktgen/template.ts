/**
 * The frame that all generated ones are made from: written once, whole; then copied into a slot and patched with flow,
 * sequence number and time. Checksums start from the sum of what doesn't change, to which the patched words are added: the
 * arithmetic of RFC 1624 without its subtraction.
 */
import type { Arena } from '../../memory/arena.ts';
import { macHigh, macLow } from '../../wire/address.ts';
import { checksumFinish, pseudoIpv6 } from '../../wire/checksum.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherWrite } from '../../wire/ethernet.ts';
import { IPV4_CHECKSUM, IPV4_DF, IPV4_DST, IPV4_HEADER_BYTES, IPV4_SRC, ipv4Write } from '../../wire/ipv4.ts';
import { IPV6_DST, IPV6_HEADER_BYTES, IPV6_SRC, ipv6Write } from '../../wire/ipv6.ts';
import { PROTOCOL_UDP } from '../../wire/protocols.ts';
import { UDP_CHECKSUM, UDP_HEADER_BYTES, udpWrite } from '../../wire/udp.ts';
import type { Link } from '../port.ts';
import { type EndpointRange, FlowCursor } from './flows.ts';
import { KIND_REQUEST, PAYLOAD_BYTES, PAYLOAD_SEQUENCE, PAYLOAD_TIME } from './payload.ts';

export interface TemplateOptions {
  readonly link: Link;
  /** Of the whole frame without FCS, bytes; raised to what the headers and pktgen's payload need. */
  readonly length: number;
  /** Of one IP version. */
  readonly src: EndpointRange;
  readonly dst: EndpointRange;
  /** 6 bytes each, for 'ether'. */
  readonly srcMac: Uint8Array;
  readonly dstMac: Uint8Array;
}

const TTL = 64;
const [SEQUENCE, TIME] = [PAYLOAD_SEQUENCE, PAYLOAD_TIME];
const [CHECKSUM4, CHECKSUM] = [IPV4_CHECKSUM, UDP_CHECKSUM];

export class PacketTemplate {
  /** Bytes of each frame. */
  readonly length: number;
  /** Of the next frame, uint32. */
  sequence = 0;
  readonly #view: DataView;
  readonly #copy: (to: number, from: number, length: number) => void;
  /** Where the template is. */
  readonly #at: number;
  readonly #flow: FlowCursor;
  /** Offsets in the frame: the words that are patched. */
  readonly #ip: number;
  readonly #src: number;
  readonly #dst: number;
  readonly #udp: number;
  readonly #payload: number;
  readonly #ipv4: boolean;
  /** Folded sums without what is patched. */
  readonly #ipSum: number;
  readonly #udpSum: number;

  /** Carves the template from the arena. @throws RangeError when the ranges are of two IP versions */
  constructor(arena: Arena, options: TemplateOptions) {
    const { link, src, dst, srcMac, dstMac } = options;
    if (src.family !== dst.family) throw new RangeError('source and destination are of one IP version');
    const ether = link === 'ether' ? ETHER_HEADER_BYTES : 0;
    this.#ipv4 = src.family === 4;
    const header = this.#ipv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
    this.length = Math.max(options.length, ether + header + UDP_HEADER_BYTES + PAYLOAD_BYTES);
    const { view } = arena;
    this.#view = view;
    this.#copy = arena.kernels.copy;
    this.#flow = new FlowCursor(src, dst);
    const at = arena.carve('pktgen template', this.length);
    this.#at = at;
    this.#ip = ether;
    this.#src = ether + (this.#ipv4 ? IPV4_SRC : IPV6_SRC + 12);
    this.#dst = ether + (this.#ipv4 ? IPV4_DST : IPV6_DST + 12);
    this.#udp = ether + header;
    this.#payload = this.#udp + UDP_HEADER_BYTES;

    const ip = at + ether;
    const udp = at + this.#udp;
    const udpBytes = this.length - this.#udp;
    if (link === 'ether') {
      const type = this.#ipv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
      etherWrite(view, at, macHigh(dstMac), macLow(dstMac), macHigh(srcMac), macLow(srcMac), type);
    }
    udpWrite(view, udp, 0, 0, udpBytes);
    view.setInt32(udp + UDP_HEADER_BYTES, KIND_REQUEST, false);
    if (this.#ipv4) {
      ipv4Write(view, ip, this.length - ether, PROTOCOL_UDP, 0, 0, 0, TTL, 0, IPV4_DF);
      view.setUint16(ip + IPV4_CHECKSUM, 0, false);
      this.#ipSum = arena.kernels.sum(ip, header);
      this.#udpSum = PROTOCOL_UDP + udpBytes + arena.kernels.sum(udp, udpBytes);
    } else {
      const words = Int32Array.of(...src.address, ...dst.address);
      words[3] = words[7] = 0;
      ipv6Write(view, ip, udpBytes, PROTOCOL_UDP, words, 0, 4, 0, TTL);
      this.#ipSum = 0;
      this.#udpSum = pseudoIpv6(view, ip, PROTOCOL_UDP, udpBytes) + arena.kernels.sum(udp, udpBytes);
    }
  }

  /** Writes the next frame at `at`, `length` bytes. @param time us, or 0. */
  write(at: number, time: number): void {
    const view = this.#view;
    const flow = this.#flow;
    const { src, dst, srcPort, dstPort } = flow;
    const sequence = this.sequence | 0;
    const payload = at + this.#payload;
    this.#copy(at, this.#at, this.length);
    view.setInt32(at + this.#src, src, false);
    view.setInt32(at + this.#dst, dst, false);
    view.setInt32(at + this.#udp, (srcPort << 16) | dstPort, false);
    view.setInt32(payload + SEQUENCE, sequence, false);
    const addresses = (src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff);
    let sum = this.#udpSum + addresses + srcPort + dstPort + (sequence >>> 16) + (sequence & 0xffff);
    if (time !== 0) {
      view.setFloat64(payload + TIME, time, false);
      const high = view.getInt32(payload + TIME, false);
      const low = view.getInt32(payload + TIME + 4, false);
      sum += (high >>> 16) + (high & 0xffff) + (low >>> 16) + (low & 0xffff);
    }
    const checksum = checksumFinish(sum);
    // Zero would say that there is none (RFC 768).
    view.setUint16(at + this.#udp + CHECKSUM, checksum === 0 ? 0xffff : checksum, false);
    if (this.#ipv4) view.setUint16(at + this.#ip + CHECKSUM4, checksumFinish(this.#ipSum + addresses), false);
    this.sequence = (sequence + 1) >>> 0;
    flow.advance();
  }
}
