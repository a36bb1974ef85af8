/** Packets of the script's for the stack, as bytes. */

import { checksumFinish, sumBytes } from '../wire/checksum.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { concat, transportChecksum } from '../wire/plain.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { FLAG_ACK, TCP_CHECKSUM, TCP_HEADER_BYTES, TCP_URGENT, tcpWrite } from '../wire/tcp.ts';
import { emitUdp } from '../wire/udp.ts';
import { Mismatch, Unsupported } from './errors.ts';
import { icmpNumbers } from './icmp-names.ts';
import type { Encapsulation, IcmpSpec, IpSpec, PacketSpec, TcpOptionSpec, TcpSpec } from './script.ts';

export interface Path {
  readonly version: 4 | 6;
  /** From the script's end to the stack's. */
  readonly src: string;
  readonly dst: string;
  readonly srcPort: number;
  readonly dstPort: number;
}

/** Sequence numbers as they go on the wire. */
export interface Numbers {
  readonly seq: number;
  readonly ack: number;
}

const TTL = 255;
const ECN_BITS: Readonly<Record<string, number>> = { noecn: 0, ect1: 1, ect0: 2, ce: 3 };
/** An ICMP error quotes eight bytes of the transport's (RFC 792), and what payload the script names. */
const QUOTED_BYTES = 8;

export function buildTcp(
  spec: TcpSpec,
  options: Uint8Array,
  path: Path,
  numbers: Numbers,
  ip: IpSpec,
): Uint8Array {
  const header = TCP_HEADER_BYTES + options.length;
  const bytes = new Uint8Array(header + spec.length);
  bytes.set(options, TCP_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  const ack = (spec.flags & FLAG_ACK) !== 0 ? numbers.ack : spec.ack;
  tcpWrite(view, 0, path.srcPort, path.dstPort, numbers.seq, ack, header, spec.flags, spec.window ?? 0);
  view.setUint16(TCP_URGENT, spec.urgent, false);
  view.setUint16(TCP_CHECKSUM, transportChecksum(bytes, path, PROTOCOL_TCP), false);
  return wrap(path, PROTOCOL_TCP, bytes, ip);
}

export function buildUdp(length: number, path: Path, ip: IpSpec): Uint8Array {
  const { srcPort, dstPort } = path;
  return wrap(path, PROTOCOL_UDP, emitUdp({ srcPort, dstPort, payload: new Uint8Array(length) }, path), ip);
}

/** @param seq The quoted segment's, as on the wire. @throws Unsupported, Mismatch */
export function buildIcmp(
  packet: PacketSpec,
  spec: IcmpSpec,
  path: Path,
  seq: number,
  protocol: number,
): Uint8Array {
  const numbers = icmpNumbers(path.version, spec.name, spec.code);
  if (numbers === null)
    throw new Mismatch(packet.line, `ICMP for IPv${path.version} has no '${spec.name} ${spec.code ?? ''}'`);
  const { type, code } = numbers;
  const quoted =
    spec.quoted?.protocol === 'raw'
      ? new Uint8Array(Math.max(0, spec.quoted.length - 8))
      : quote(spec, path, seq, protocol);
  const bytes = concat(new Uint8Array(8), quoted);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, type);
  view.setUint8(1, code);
  if (spec.mtu !== null) view.setUint32(4, spec.mtu, false);
  if (spec.id !== 0) view.setUint16(4, spec.id, false);
  const sum =
    path.version === 4 ? checksumFinish(sumBytes(bytes)) : transportChecksum(bytes, path, PROTOCOL_ICMPV6);
  view.setUint16(2, sum, false);
  return wrap(path, path.version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6, bytes, packet.ip);
}

/** A packet of the stack's, which went the other way. */
function quote(spec: IcmpSpec, path: Path, seq: number, protocol: number): Uint8Array {
  const payload = new Uint8Array(QUOTED_BYTES + (spec.quoted?.length ?? 0));
  const view = new DataView(payload.buffer);
  view.setUint16(0, path.dstPort, false);
  view.setUint16(2, path.srcPort, false);
  const quotedProtocol = spec.quoted?.protocol === 'udp' ? PROTOCOL_UDP : protocol;
  if (quotedProtocol === PROTOCOL_TCP) view.setInt32(4, seq, false);
  else view.setUint16(4, payload.length, false);
  const back = { ...path, src: path.dst, dst: path.src };
  return wrap(back, quotedProtocol, payload, { ecn: null, tos: null, ttl: null, flowLabel: null });
}

function wrap(path: Path, protocol: number, payload: Uint8Array, ip: IpSpec): Uint8Array {
  const tos = ip.tos ?? ECN_BITS[ip.ecn ?? 'noecn'];
  const ttl = ip.ttl ?? TTL;
  const { src, dst } = path;
  return path.version === 4
    ? emitIpv4Packet({ src, dst, protocol, payload, tos, ttl, dontFragment: true })
    : emitIpv6Packet({
        src,
        dst,
        nextHeader: protocol,
        payload,
        trafficClass: tos,
        hopLimit: ttl,
        flowLabel: ip.flowLabel ?? 0,
      });
}

/** Protocol numbers and EtherTypes of what tunnels carry. */
const CARRIED: Readonly<Record<string, { protocol: number; etherType: number }>> = {
  ipv4: { protocol: 4, etherType: 0x0800 },
  ipv6: { protocol: 41, etherType: 0x86dd },
  gre: { protocol: 47, etherType: 0 },
  mpls: { protocol: 137, etherType: 0x8847 },
};

/** A packet of `version` within the headers of tunnels, outermost first. @throws Unsupported for PSP */
export function encapsulate(
  bytes: Uint8Array,
  version: 4 | 6,
  layers: readonly Encapsulation[],
  line: number,
): Uint8Array {
  let packet = bytes;
  let inner = version === 4 ? 'ipv4' : 'ipv6';
  for (const layer of layers.toReversed()) {
    const { protocol, etherType } = CARRIED[inner];
    if (layer.type === 'ip') {
      const path = { ...layer, srcPort: 0, dstPort: 0 };
      packet = wrap(path, protocol, packet, layer.ip);
    } else if (layer.type === 'gre') packet = concat(greHeader(layer, etherType), packet);
    else if (layer.type === 'mpls') packet = concat(mplsHeader(layer), packet);
    else throw new Unsupported(line, 'PSP');
    inner = layer.type === 'ip' ? `ipv${layer.version}` : layer.type;
  }
  return packet;
}

function greHeader(gre: Encapsulation & { type: 'gre' }, etherType: number): Uint8Array {
  const { flags, sum, off, key, seq } = gre;
  const words = [flags >> 8, flags & 0xff, etherType >> 8, etherType & 0xff];
  if ((flags & 0xc000) !== 0) words.push(sum >> 8, sum & 0xff, off >> 8, off & 0xff);
  if ((flags & 0x2000) !== 0) words.push(...word(key));
  if ((flags & 0x1000) !== 0) words.push(...word(seq));
  return Uint8Array.from(words);
}

function mplsHeader({ stack }: Encapsulation & { type: 'mpls' }): Uint8Array {
  return Uint8Array.from(
    stack.flatMap(({ label, tc, bottom, ttl }) =>
      word(((label << 12) | (tc << 9) | (bottom ? 0x100 : 0) | ttl) >>> 0),
    ),
  );
}

/** @throws Unsupported for options that can't be built, Mismatch when they aren't whole words or too many */
export function buildOptions(options: readonly TcpOptionSpec[], line: number): Uint8Array {
  const bytes: number[] = [];
  for (const option of options) appendOption(bytes, option, line);
  if (bytes.length % 4 !== 0)
    throw new Mismatch(line, `the TCP options take ${bytes.length} bytes, which is not a multiple of 4`);
  if (bytes.length > 40) throw new Mismatch(line, `the TCP options take ${bytes.length} bytes, more than 40`);
  return Uint8Array.from(bytes);
}

/** How much they take. */
export function optionBytes(options: readonly TcpOptionSpec[]): number {
  const bytes: number[] = [];
  for (const option of options) appendOption(bytes, option, 0);
  return bytes.length;
}

function appendOption(bytes: number[], option: TcpOptionSpec, line: number): void {
  switch (option.kind) {
    case 'eol':
      bytes.push(0);
      return;
    case 'nop':
      bytes.push(1);
      return;
    case 'mss':
      bytes.push(2, 4, option.value >> 8, option.value & 0xff);
      return;
    case 'wscale':
      if (option.value === null) throw new Mismatch(line, 'wscale * can only be expected');
      bytes.push(3, 3, option.value);
      return;
    case 'sackOK':
      bytes.push(4, 2);
      return;
    case 'sack':
      bytes.push(5, 2 + 8 * option.blocks.length);
      for (const [left, right] of option.blocks) bytes.push(...word(left), ...word(right));
      return;
    case 'TS':
      if (option.val === null) throw new Mismatch(line, 'TS val ... can only be expected');
      bytes.push(8, 10, ...word(option.val), ...word(option.ecr));
      return;
    case 'FO': {
      const cookie = fromHex(option.cookie);
      if (option.experimental) bytes.push(254, 4 + cookie.length, 0xf9, 0x89, ...cookie);
      else bytes.push(34, 2 + cookie.length, ...cookie);
      return;
    }
    case 'ECN': {
      // The order of the counters tells which of the two options it is (RFC 9768 3.2.3).
      const kind = option.counters[0]?.name === 'e1b' ? 174 : 172;
      bytes.push(kind, 2 + 3 * option.counters.length);
      for (const { value } of option.counters) bytes.push(...word(value).slice(1));
      return;
    }
    case 'md5':
      throw new Unsupported(line, 'TCP MD5 signatures (RFC 2385, obsolete)');
    case 'other':
      throw new Unsupported(line, `TCP option '${option.text}'`);
  }
}

function word(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

function fromHex(text: string): number[] {
  return (text.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));
}
