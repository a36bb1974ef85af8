/**
 * IPv6 headers and the way past extension headers (RFC 8200).
 * An address is four int32 words, in the arena or any Int32Array, at a word index.
 */
import { formatIpv6, parseIpv6 } from './address.ts';
import { accept, concat, type Given, viewOf } from './plain.ts';

export const IPV6_CLASS_FLOW = 0;
export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
export const IPV6_SRC = 8;
export const IPV6_DST = 24;
export const IPV6_HEADER_BYTES = 40;

export const HEADER_HOP_BY_HOP = 0;
export const HEADER_ROUTING = 43;
export const HEADER_FRAGMENT = 44;
export const HEADER_NONE = 59;
export const HEADER_DESTINATION = 60;

/** Offsets in a fragment header (RFC 8200 4.5). */
export const FRAGMENT_NEXT_HEADER = 0;
export const FRAGMENT_OFFSET = 2;
export const FRAGMENT_ID = 4;
export const FRAGMENT_BYTES = 8;

/** More extension headers than this is an attack (RFC 8504 5.3). */
const EXTENSIONS_MAX = 8;
/** Options in one extension header, padding left out, and bytes of padding in a row (RFC 8504 5.3). */
const OPTIONS_MAX = 8;
const PADDING_MAX = 7;

/** Codes of a parameter problem (RFC 4443 3.4, RFC 7112 5), as `Ipv6Chain.problem`. */
export const PROBLEM_FIELD = 0;
export const PROBLEM_NEXT_HEADER = 1;
export const PROBLEM_OPTION = 2;
/** Only of a first fragment; a whole packet with such headers is dropped in silence. */
export const PROBLEM_CUT = 3;
/** There is nothing to be said. */
export const PROBLEM_SILENT = -1;

const OPTION_PAD1 = 0;
const OPTION_PADN = 1;
const OPTION_ROUTER_ALERT = 5;

export const IPV6_TRUNCATED = -1;
export const IPV6_VERSION = -2;
/** Payload length past the frame. */
export const IPV6_LENGTH = -3;
/** An extension header past the payload, too many of them, or hop-by-hop not first. */
export const IPV6_EXTENSION = -4;
/** A routing header with segments left: we are no router. */
export const IPV6_ROUTING = -5;
/** An option that runs past its header, or that must not be skipped and is unknown. */
export const IPV6_OPTION = -6;
export const IPV6_REJECTS = [
  '',
  'truncated',
  'version',
  'payload length',
  'extension header',
  'routing header',
  'option',
] as const;

/** Bytes of the frame past the payload length are padding. @returns IPV6_HEADER_BYTES or a reject code */
export function ipv6Check(view: DataView, at: number, length: number): number {
  const header = ipv6CheckQuoted(view, at, length);
  if (header > 0 && ipv6PayloadLength(view, at) > length - IPV6_HEADER_BYTES) return IPV6_LENGTH;
  return header;
}

/** The same for the packet that an ICMPv6 error quotes, whose end may be cut off (RFC 4443 2.4). */
export function ipv6CheckQuoted(view: DataView, at: number, length: number): number {
  if (length < IPV6_HEADER_BYTES) return IPV6_TRUNCATED;
  return view.getUint8(at) >> 4 === 6 ? IPV6_HEADER_BYTES : IPV6_VERSION;
}

/** Where a chain of extension headers leads, or what is wrong with it. Offsets are from the start of the IPv6 header. */
export class Ipv6Chain {
  /** The first header that isn't stepped over, and where it starts. */
  protocol = 0;
  offset = 0;
  /** The byte that named `protocol`. */
  namedAt = 0;
  /** An atomic fragment's header was stepped over. */
  fragmented = false;
  /** A router alert was among the options (RFC 2711). */
  alert = false;
  /** Of a rejected chain: one of PROBLEM_*, where it lies, and whether a group's members say so too (RFC 8200 4.2). */
  problem = PROBLEM_SILENT;
  pointer = 0;
  problemToGroup = false;
}

/**
 * Steps over hop-by-hop and destination options, spent routing headers and atomic fragments (RFC 6946). It stops at
 * a real fragment, whose protocol is HEADER_FRAGMENT; unknown headers are for the caller to know.
 * @param from Offset of the first header, which is `protocol` and was named by the byte at `namedAt`.
 * @param end Offset of the packet's end.
 * @returns 0 with `chain` telling where that is, or a reject code with `chain.problem`
 */
export function ipv6Walk(
  chain: Ipv6Chain,
  view: DataView,
  at: number,
  end: number,
  from: number,
  protocol: number,
  namedAt: number,
): number {
  chain.offset = from;
  chain.protocol = protocol;
  chain.namedAt = namedAt;
  chain.fragmented = false;
  chain.alert = false;
  for (let i = 0; i <= EXTENSIONS_MAX; i++) {
    const { protocol, offset } = chain;
    if (
      protocol !== HEADER_HOP_BY_HOP &&
      protocol !== HEADER_ROUTING &&
      protocol !== HEADER_FRAGMENT &&
      protocol !== HEADER_DESTINATION
    ) {
      return 0;
    }
    if (end - offset < 8) return refuse(chain, IPV6_EXTENSION, PROBLEM_CUT, 0);
    const header = at + offset;
    let bytes = FRAGMENT_BYTES;
    if (protocol === HEADER_FRAGMENT) {
      if (fragmentOffset(view, header) !== 0 || fragmentMore(view, header)) return 0;
      chain.fragmented = true;
    } else {
      bytes = (view.getUint8(header + 1) + 1) << 3;
      if (bytes > end - offset) return refuse(chain, IPV6_EXTENSION, PROBLEM_CUT, 0);
      if (protocol === HEADER_ROUTING) {
        // RFC 8200 4.4: no type is known here, type 0 least of all (RFC 5095).
        if (view.getUint8(header + 3) !== 0) return refuse(chain, IPV6_ROUTING, PROBLEM_FIELD, offset + 2);
      } else {
        // RFC 8200 4.3: anywhere but first its number is unknown.
        if (protocol === HEADER_HOP_BY_HOP && offset !== IPV6_HEADER_BYTES)
          return refuse(chain, IPV6_EXTENSION, PROBLEM_NEXT_HEADER, chain.namedAt);
        if (!optionsSkippable(chain, view, at, offset + 2, offset + bytes)) return IPV6_OPTION;
      }
    }
    chain.namedAt = offset;
    chain.protocol = view.getUint8(header);
    chain.offset = offset + bytes;
  }
  return refuse(chain, IPV6_EXTENSION, PROBLEM_SILENT, 0);
}

function refuse(chain: Ipv6Chain, code: number, problem: number, pointer: number): number {
  chain.problem = problem;
  chain.pointer = pointer;
  chain.problemToGroup = false;
  return code;
}

const upperChain = new Ipv6Chain();

/**
 * The upper layer of a packet that a check above accepted with the same `length`, found by `ipv6Walk`.
 * @returns `(offset << 8) | protocol` with the offset from `at`, to be taken apart by `upperOffset` and
 *   `upperProtocol`, or a reject code
 */
export function ipv6Upper(view: DataView, at: number, length: number): number {
  const end = Math.min(length, IPV6_HEADER_BYTES + ipv6PayloadLength(view, at));
  const first = view.getUint8(at + IPV6_NEXT_HEADER);
  const bad = ipv6Walk(upperChain, view, at, end, IPV6_HEADER_BYTES, first, IPV6_NEXT_HEADER);
  return bad < 0 ? bad : (upperChain.offset << 8) | upperChain.protocol;
}

export function upperProtocol(upper: number): number {
  return upper & 0xff;
}

/** Bytes from the start of the IPv6 header. */
export function upperOffset(upper: number): number {
  return upper >> 8;
}

/** RFC 8200 4.2: the top two bits of an unknown option's type say whether it may be skipped (00), and who is told. */
function optionsSkippable(chain: Ipv6Chain, view: DataView, at: number, from: number, end: number): boolean {
  let options = 0;
  let padding = 0;
  let offset = from;
  refuse(chain, IPV6_OPTION, PROBLEM_SILENT, 0);
  while (offset < end) {
    const type = view.getUint8(at + offset);
    const bytes = type === OPTION_PAD1 ? 1 : offset + 1 < end ? 2 + view.getUint8(at + offset + 1) : 0;
    if (bytes === 0 || offset + bytes > end) return false;
    if (type === OPTION_PAD1 || type === OPTION_PADN) {
      padding += bytes;
      if (padding > PADDING_MAX) return false;
    } else {
      padding = 0;
      if (++options > OPTIONS_MAX) return false;
      if (type === OPTION_ROUTER_ALERT) chain.alert = true;
      if (type > 0x3f) {
        if (type >= 0x80) refuse(chain, IPV6_OPTION, PROBLEM_OPTION, offset);
        chain.problemToGroup = type >> 6 === 2;
        return false;
      }
    }
    offset += bytes;
  }
  return true;
}

/** Bytes. */
export function fragmentOffset(view: DataView, at: number): number {
  return view.getUint16(at + FRAGMENT_OFFSET, false) & 0xfff8;
}

export function fragmentMore(view: DataView, at: number): boolean {
  return (view.getUint8(at + FRAGMENT_OFFSET + 1) & 1) !== 0;
}

export function fragmentId(view: DataView, at: number): number {
  return view.getInt32(at + FRAGMENT_ID, false);
}

export function ipv6TrafficClass(view: DataView, at: number): number {
  return (view.getUint16(at, false) >> 4) & 0xff;
}

export function ipv6FlowLabel(view: DataView, at: number): number {
  return view.getInt32(at, false) & 0xfffff;
}

export function ipv6PayloadLength(view: DataView, at: number): number {
  return view.getUint16(at + IPV6_PAYLOAD_LENGTH, false);
}

export function ipv6NextHeader(view: DataView, at: number): number {
  return view.getUint8(at + IPV6_NEXT_HEADER);
}

export function ipv6HopLimit(view: DataView, at: number): number {
  return view.getUint8(at + IPV6_HOP_LIMIT);
}

/** Copies the address at `at` (as a rule a header's `+ IPV6_SRC` or `+ IPV6_DST`) to four words. */
export function ipv6Load(view: DataView, at: number, words: Int32Array, index: number): void {
  words[index] = view.getInt32(at, false);
  words[index + 1] = view.getInt32(at + 4, false);
  words[index + 2] = view.getInt32(at + 8, false);
  words[index + 3] = view.getInt32(at + 12, false);
}

export function ipv6Store(view: DataView, at: number, words: Int32Array, index: number): void {
  view.setInt32(at, words[index], false);
  view.setInt32(at + 4, words[index + 1], false);
  view.setInt32(at + 8, words[index + 2], false);
  view.setInt32(at + 12, words[index + 3], false);
}

export function ipv6Equals(view: DataView, at: number, words: Int32Array, index: number): boolean {
  return (
    view.getInt32(at, false) === words[index] &&
    view.getInt32(at + 4, false) === words[index + 1] &&
    view.getInt32(at + 8, false) === words[index + 2] &&
    view.getInt32(at + 12, false) === words[index + 3]
  );
}

/** @param offsetMore The offset in bytes, a multiple of 8, plus 1 when more follow. */
export function fragmentWrite(
  view: DataView,
  at: number,
  nextHeader: number,
  offsetMore: number,
  id: number,
): void {
  view.setInt32(at, (nextHeader << 24) | offsetMore, false);
  view.setInt32(at + FRAGMENT_ID, id, false);
}

/**
 * @param classFlow `(trafficClass << 20) | flowLabel`
 * @param words Holds both addresses, at the word indices `src` and `dst`.
 */
export function ipv6Write(
  view: DataView,
  at: number,
  payloadLength: number,
  nextHeader: number,
  words: Int32Array,
  src: number,
  dst: number,
  classFlow: number,
  hopLimit: number,
): void {
  view.setInt32(at, 0x6000_0000 | classFlow, false);
  view.setInt32(at + IPV6_PAYLOAD_LENGTH, (payloadLength << 16) | (nextHeader << 8) | hopLimit, false);
  ipv6Store(view, at + IPV6_SRC, words, src);
  ipv6Store(view, at + IPV6_DST, words, dst);
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface Ipv6Packet {
  src: string;
  dst: string;
  nextHeader: number;
  hopLimit: number;
  trafficClass: number;
  flowLabel: number;
  /** With extension headers, if any. */
  payload: Uint8Array;
}

/**
 * @param quoted Accept a packet whose end is cut off, as ICMPv6 errors carry.
 * @throws WireError
 */
export function parseIpv6Packet(bytes: Uint8Array, quoted = false): Ipv6Packet {
  const view = viewOf(bytes);
  const check = quoted ? ipv6CheckQuoted : ipv6Check;
  const header = accept('ipv6', IPV6_REJECTS, check(view, 0, bytes.length));
  return {
    src: ipv6Text(view, IPV6_SRC),
    dst: ipv6Text(view, IPV6_DST),
    nextHeader: ipv6NextHeader(view, 0),
    hopLimit: ipv6HopLimit(view, 0),
    trafficClass: ipv6TrafficClass(view, 0),
    flowLabel: ipv6FlowLabel(view, 0),
    payload: bytes.subarray(header, header + ipv6PayloadLength(view, 0)),
  };
}

export function emitIpv6Packet(
  packet: Given<Ipv6Packet, 'src' | 'dst' | 'nextHeader' | 'payload'>,
): Uint8Array {
  const bytes = concat(new Uint8Array(IPV6_HEADER_BYTES), packet.payload);
  const { nextHeader, hopLimit = 64, trafficClass = 0, flowLabel = 0, payload } = packet;
  const words = Int32Array.of(...parseIpv6(packet.src), ...parseIpv6(packet.dst));
  const classFlow = (trafficClass << 20) | flowLabel;
  ipv6Write(viewOf(bytes), 0, payload.length, nextHeader, words, 0, 4, classFlow, hopLimit);
  return bytes;
}

/** The address at `at`, as text. */
export function ipv6Text(view: DataView, at: number): string {
  const words = new Int32Array(4);
  ipv6Load(view, at, words, 0);
  return formatIpv6(words);
}
