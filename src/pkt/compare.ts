/** Whether a packet of the stack's is the one that the script expects, field by field as packetdrill does. */
import { FLAG_ACK, FLAG_AE, FLAG_CWR, FLAG_ECE, FLAG_FIN, FLAG_PSH } from '../wire/tcp.ts';
import { icmpNumbers } from './icmp-names.ts';
import { formatFlags, formatOption } from './notation.ts';
import { layOut, significant } from './option-layout.ts';
import type { IpSpec, PacketSpec, TcpOptionSpec, TcpSpec } from './script.ts';
import type { LivePacket, LiveTcp } from './sent.ts';
import type { Dialect } from './symbols.ts';

export interface CompareOptions {
  /** us per tick of the stack's timestamps; 0: TS val isn't looked at. */
  readonly tsTickUs: number;
  readonly toleranceUs: number;
}

const ACE = FLAG_AE | FLAG_CWR | FLAG_ECE;
const ECN_BITS: Readonly<Record<string, number>> = { noecn: 0, ect1: 1, ect0: 2, ce: 3 };

/**
 * @param live In the script's numbers.
 * @param pushMatters Whether PSH is looked at.
 * @returns what is wrong, or null
 */
export function comparePacket(
  spec: PacketSpec,
  live: LivePacket,
  options: CompareOptions,
  pushMatters: boolean,
): string | null {
  const { transport } = spec;
  if (transport.protocol !== live.protocol) return field('protocol', transport.protocol, live.protocol);
  const wrongIp = compareIp(spec.ip, live);
  if (wrongIp !== null) return wrongIp;
  if (transport.protocol === 'tcp' && live.protocol === 'tcp')
    return compareTcp(transport, live, options, pushMatters);
  if (transport.protocol === 'udp')
    return transport.length === live.length ? null : field('payload', transport.length, live.length);
  if (transport.protocol === 'icmp' && live.protocol === 'icmp') {
    const numbers = icmpNumbers(live.version, transport.name, transport.code);
    if (numbers === null)
      return `ICMP for IPv${live.version} has no '${transport.name} ${transport.code ?? ''}'`;
    if (numbers.type !== live.icmpType) return field('ICMP type', numbers.type, live.icmpType);
    if (numbers.code !== live.icmpCode) return field('ICMP code', numbers.code, live.icmpCode);
  }
  return null;
}

function compareIp(spec: IpSpec, live: LivePacket): string | null {
  const ecn = live.tos & 3;
  if (spec.ecn === 'ect01') {
    if (ecn !== 1 && ecn !== 2) return field('ECN', 'ect0 or ect1', ecnName(ecn));
  } else if (spec.ecn !== null && ECN_BITS[spec.ecn] !== ecn) return field('ECN', spec.ecn, ecnName(ecn));
  if (spec.tos !== null && spec.tos !== live.tos) return field('tos', hex(spec.tos), hex(live.tos));
  if (spec.ttl !== null && spec.ttl !== live.ttl) return field('ttl', spec.ttl, live.ttl);
  if (spec.flowLabel !== null && spec.flowLabel !== 0 && live.version === 6 && live.flowLabel === 0)
    return 'flow label: expected one, got none';
  return null;
}

function compareTcp(
  spec: TcpSpec,
  live: LiveTcp,
  options: CompareOptions,
  pushMatters: boolean,
): string | null {
  if (!live.checksumGood) return 'the TCP checksum is wrong';
  // ACE stands for its three flags; otherwise each counts.
  const mask = pushMatters ? ~0 : ~FLAG_PSH;
  if ((spec.flags & mask) !== (live.flags & mask)) {
    const [want, got] = spec.ace === null ? [spec.flags, live.flags] : [spec.flags & ~ACE, live.flags & ~ACE];
    if ((want & mask) !== (got & mask))
      return field('flags', formatFlags(spec.flags), formatFlags(live.flags));
    return field('ACE', spec.ace ?? 0, ace(live.flags));
  }
  if (!spec.seqAny && spec.seq !== live.seq) return field('seq', spec.seq, live.seq);
  if (spec.length !== live.length) return field('payload', spec.length, live.length);
  const ack = (live.flags & FLAG_ACK) !== 0 || live.ack !== 0 ? live.ack : 0;
  if (spec.ack !== ack) return field('ack', spec.ack, ack);
  if (spec.window !== null && spec.window !== live.window) return field('win', spec.window, live.window);
  if (spec.urgent !== live.urgent) return field('urg', spec.urgent, live.urgent);
  if (live.payload.some((byte) => byte !== 0)) return 'the payload is not what was written';
  return spec.options === null ? null : compareOptions(spec.options, live.options, options);
}

function compareOptions(
  spec: readonly TcpOptionSpec[],
  live: readonly TcpOptionSpec[],
  options: CompareOptions,
): string | null {
  const rest = significant(live);
  for (const want of significant(spec)) {
    const i = rest.findIndex((got) => sameKind(want, got));
    if (i < 0) return field('options', formatOptions(spec), formatOptions(live));
    const [got] = rest.splice(i, 1);
    if (!sameOption(want, got, options)) return field('option', formatOption(want), formatOption(got));
  }
  if (rest.length > 0 || !DIALECTS.some((dialect) => sameLayout(spec, layOut(live, dialect))))
    return field('options', formatOptions(spec), formatOptions(live));
  return null;
}

/** Options stand in the order of Linux or FreeBSD, padded as they do; which of both isn't told by every script. */
const DIALECTS: readonly Dialect[] = ['linux', 'freebsd'];

function sameLayout(spec: readonly TcpOptionSpec[], laid: readonly TcpOptionSpec[]): boolean {
  return (
    spec.length === laid.length &&
    spec.every((want, i) => sameKind(want, laid[i]) && sameCounters(want, laid[i]))
  );
}

/** AccECN's counters in their order. */
function sameCounters(want: TcpOptionSpec, got: TcpOptionSpec): boolean {
  return want.kind !== 'ECN' || got.kind !== 'ECN' || formatOption(want) === formatOption(got);
}

function sameKind(a: TcpOptionSpec, b: TcpOptionSpec): boolean {
  return a.kind === b.kind && (a.kind !== 'FO' || b.kind !== 'FO' || a.experimental === b.experimental);
}

function sameOption(want: TcpOptionSpec, got: TcpOptionSpec, options: CompareOptions): boolean {
  if (want.kind === 'wscale' && want.value === null) return true;
  if (want.kind === 'ECN' && got.kind === 'ECN') return counters(want.counters) === counters(got.counters);
  if (want.kind !== 'TS' || got.kind !== 'TS') return formatOption(want) === formatOption(got);
  if (want.ecr !== got.ecr) return false;
  if (want.val === null || got.val === null || options.tsTickUs === 0) return true;
  return Math.abs((got.val - want.val) | 0) * options.tsTickUs <= options.toleranceUs;
}

type Counters = (TcpOptionSpec & { kind: 'ECN' })['counters'];

/** In any order: which of AccECN's two is used is the sender's choice (RFC 9768 3.2.3). */
function counters(list: Counters): string {
  return list
    .map(({ name, value }) => `${name} ${value}`)
    .sort()
    .join(' ');
}

/** Segments on end, as one: what a device that splits super-segments would have been given. @returns null when they aren't */
export function joinSegments(first: LiveTcp, next: LiveTcp): LiveTcp | null {
  const loose = FLAG_PSH | FLAG_FIN;
  if ((first.flags & FLAG_FIN) !== 0 || (first.seq + first.length) >>> 0 !== next.seq || next.length === 0)
    return null;
  if ((first.flags & ~(loose | FLAG_CWR)) !== (next.flags & ~(loose | FLAG_CWR))) return null;
  if (first.ack !== next.ack || first.window !== next.window) return null;
  const payload = new Uint8Array(first.length + next.length);
  payload.set(first.payload);
  payload.set(next.payload, first.length);
  return { ...first, flags: first.flags | (next.flags & loose), length: payload.length, payload };
}

function ace(flags: number): number {
  return (
    ((flags & FLAG_AE) !== 0 ? 4 : 0) |
    ((flags & FLAG_CWR) !== 0 ? 2 : 0) |
    ((flags & FLAG_ECE) !== 0 ? 1 : 0)
  );
}

function ecnName(bits: number): string {
  return ['noecn', 'ect1', 'ect0', 'ce'][bits];
}

function formatOptions(options: readonly TcpOptionSpec[]): string {
  return `<${options.map(formatOption).join(',')}>`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function field(name: string, expected: string | number, actual: string | number): string {
  return `${name}: expected ${expected}, got ${actual}`;
}
