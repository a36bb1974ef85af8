/** Packets: TCP, UDP and ICMP over IPv4 and IPv6, with what may stand around them. */

import {
  FLAG_ACK,
  FLAG_AE,
  FLAG_CWR,
  FLAG_ECE,
  FLAG_FIN,
  FLAG_PSH,
  FLAG_RST,
  FLAG_SYN,
  FLAG_URG,
} from '../wire/tcp.ts';
import type { Cursor } from './cursor.ts';
import { ScriptSyntaxError } from './errors.ts';
import { parseTcpOption } from './option-parser.ts';
import type {
  Encapsulation,
  IcmpSpec,
  IpSpec,
  MplsEntry,
  PacketSpec,
  TcpOptionSpec,
  TcpSpec,
  UdpSpec,
} from './script.ts';

const U16 = 0xffff;
const U32 = 0xffff_ffff;
/** ACE is the three bits AE, CWR, ECE (RFC 9768 3.2.2). */
const ACE_BITS: readonly number[] = [FLAG_ECE, FLAG_CWR, FLAG_AE];
const LETTERS: Readonly<Record<string, number>> = {
  F: FLAG_FIN,
  S: FLAG_SYN,
  R: FLAG_RST,
  P: FLAG_PSH,
  '.': FLAG_ACK,
  U: FLAG_URG,
  E: FLAG_ECE,
  W: FLAG_CWR,
  A: FLAG_AE,
};
const ECN_NAMES: readonly string[] = ['noecn', 'ect0', 'ect1', 'ect01', 'ce'];
const TOS_NAMES: readonly string[] = ['tos', 'class', 'tclass'];
const TTL_NAMES: readonly string[] = ['ttl', 'hlim', 'hop', 'hoplimit'];
const GRE_FLAGS: Readonly<Record<string, number>> = {
  none: 0,
  checksum: 0x8000,
  key: 0x2000,
  sequence: 0x1000,
};
const GRE_FIELDS = [
  ['sum', U16],
  ['off', U16],
  ['key', U32],
  ['seq', U32],
] as const;
const IP_DEFAULT: IpSpec = { ecn: null, tos: null, ttl: null, flowLabel: null };

/** @throws ScriptSyntaxError */
export function parsePacket(cursor: Cursor): PacketSpec {
  const first = cursor.next();
  const inbound = first.text === '<';
  const encapsulation: Encapsulation[] = [];
  for (let header = parseEncapsulation(cursor); header !== null; header = parseEncapsulation(cursor))
    encapsulation.push(header);
  const ip = parseIp(cursor);
  if (cursor.take('encap')) encapsulation.push({ type: 'psp', text: skipWords(cursor) });
  const quotedFirst = cursor.at('[') ? parseQuoted(cursor) : null;
  if (quotedFirst !== null && !cursor.at('icmp')) cursor.fail("'icmp'");

  let ports = parsePorts(cursor);
  let transport: PacketSpec['transport'];
  let tunnel: PacketSpec['tunnel'] = null;
  if (cursor.take('udp')) {
    ports ??= parsePorts(cursor);
    transport = parseUdp(cursor);
  } else if (cursor.take('icmp')) {
    transport = parseIcmp(cursor, quotedFirst);
  } else {
    transport = parseTcp(cursor, inbound);
    tunnel = parseTunnel(cursor);
  }
  const mutated = cursor.take('{');
  if (mutated) skipMutation(cursor);
  if (inbound && ip.ecn === 'ect01')
    throw new ScriptSyntaxError(first.line, '[ect01] stands for either of two and can only be expected');
  return {
    type: 'packet',
    line: first.line,
    text: cursor.since(first),
    inbound,
    encapsulation,
    ip,
    srcPort: ports?.[0] ?? 0,
    dstPort: ports?.[1] ?? 0,
    transport,
    tunnel,
    mutated,
  };
}

/** `mut tcp mss }`: what is to be changed at random before it is sent. */
function skipMutation(cursor: Cursor): void {
  while (!cursor.take('}')) {
    if (cursor.is('end')) cursor.fail("'}'");
    cursor.next();
  }
}

function parseEncapsulation(cursor: Cursor): Encapsulation | null {
  if (cursor.at('ipv4') || cursor.at('ipv6')) {
    const version = cursor.next().text === 'ipv4' ? 4 : 6;
    const ip = parseIp(cursor);
    const kind = version === 4 ? 'ipv4' : 'ipv6';
    const src = cursor.expectKind(kind, `an IPv${version} address`).text;
    cursor.expect('>');
    const dst = cursor.expectKind(kind, `an IPv${version} address`).text;
    cursor.expect(':');
    return { type: 'ip', version, src, dst, ip };
  }
  if (cursor.take('gre') || cursor.take('GREv0')) return parseGre(cursor);
  if (cursor.take('mpls')) return parseMpls(cursor);
  if (!cursor.at('psp')) return null;
  const first = cursor.next();
  while (!cursor.take(':')) {
    if (cursor.is('end')) cursor.fail("':'");
    cursor.next();
  }
  return { type: 'psp', text: cursor.since(first) };
}

/** `:`, or `flags 0xb000, sum 1, off 2, key 3, seq 4:` with the flags by name as well, `[checksum present, key present]`. */
function parseGre(cursor: Cursor): Encapsulation {
  const gre = { type: 'gre' as const, flags: 0, sum: 0, off: 0, key: 0, seq: 0 };
  cursor.take(',');
  if (cursor.take('flags') || cursor.take('Flags')) {
    gre.flags = cursor.at('[') ? parseGreFlags(cursor) : cursor.integer('GRE flags', 0, U16);
    for (const [name, most] of GRE_FIELDS) {
      cursor.take(',');
      cursor.expect(name);
      cursor.take('=');
      gre[name] = cursor.integer(name, 0, most);
    }
  }
  cursor.expect(':');
  return gre;
}

function parseGreFlags(cursor: Cursor): number {
  let flags = 0;
  cursor.expect('[');
  do {
    const { text: name, line } = cursor.expectKind('word', 'a GRE flag');
    cursor.take('#');
    if (!Object.hasOwn(GRE_FLAGS, name)) throw new ScriptSyntaxError(line, `'${name}' is no GRE flag`);
    flags |= GRE_FLAGS[name];
    if (name !== 'none') cursor.expect('present');
  } while (cursor.take(','));
  cursor.expect(']');
  return flags;
}

/** `(label 1, tc 0, [S], ttl 64)`, any number of them. */
function parseMpls(cursor: Cursor): Encapsulation {
  const stack: MplsEntry[] = [];
  while (cursor.take('(')) {
    cursor.expect('label');
    const label = cursor.integer('label', 0, 0xfffff);
    cursor.expect(',');
    cursor.expect('tc');
    const tc = cursor.integer('traffic class', 0, 7);
    cursor.expect(',');
    const bottom = cursor.take('[');
    if (bottom) for (const part of ['S', ']', ',']) cursor.expect(part);
    cursor.expect('ttl');
    stack.push({ label, tc, bottom, ttl: cursor.integer('ttl', 0, 255) });
    cursor.expect(')');
  }
  cursor.expect(':');
  return { type: 'mpls', stack };
}

/** `spi 5, vc 1`. @returns them as written */
function skipWords(cursor: Cursor): string {
  const first = cursor.peek();
  cursor.expect('psp');
  while (cursor.at('spi') || cursor.at('vc') || cursor.at('vnid') || cursor.at(',')) {
    cursor.next();
    if (cursor.is('integer') || cursor.is('hex')) cursor.next();
  }
  return cursor.since(first);
}

/** `[ect0]`, `(tos 0x28)`, `(flowlabel 0x1, ttl 64)`. */
function parseIp(cursor: Cursor): IpSpec {
  const close = cursor.at('(') ? ')' : cursor.at('[') ? ']' : '';
  // A bracket may also hold what an ICMP error quotes.
  if (close === '' || !cursor.is('word', 1) || cursor.at('udp', 1) || cursor.at('raw', 1)) return IP_DEFAULT;
  cursor.next();
  const ip: { -readonly [K in keyof IpSpec]: IpSpec[K] } = { ...IP_DEFAULT };
  do {
    const { text: name, line } = cursor.expectKind('word', 'ECN, tos, ttl or flowlabel');
    if (ECN_NAMES.includes(name)) ip.ecn = name as IpSpec['ecn'];
    else if (TOS_NAMES.includes(name)) ip.tos = cursor.integer('tos', 0, 255);
    else if (TTL_NAMES.includes(name)) ip.ttl = cursor.integer('ttl', 0, 255);
    else if (name === 'flowlabel') ip.flowLabel = cursor.integer('flow label', 0, 0xfffff);
    else throw new ScriptSyntaxError(line, `expected ECN, tos, ttl or flowlabel instead of '${name}'`);
  } while (cursor.take(','));
  cursor.expect(close);
  return ip;
}

function parsePorts(cursor: Cursor): [number, number] | null {
  if (!cursor.is('integer') || !cursor.at('>', 1)) return null;
  const src = cursor.integer('source port', 0, U16);
  cursor.expect('>');
  return [src, cursor.integer('destination port', 0, U16)];
}

function parseTunnel(cursor: Cursor): PacketSpec['tunnel'] {
  if (!cursor.at('/') || !cursor.at('udp', 1)) return null;
  cursor.next();
  cursor.next();
  cursor.expect('(');
  const srcPort = cursor.integer('UDP source port', 0, U16);
  cursor.expect('>');
  const dstPort = cursor.integer('UDP destination port', 0, U16);
  cursor.expect(')');
  return { srcPort, dstPort };
}

function parseTcp(cursor: Cursor, inbound: boolean): TcpSpec {
  const { flags, ace } = parseFlags(cursor);
  const seqAny = cursor.take('...');
  const range = seqAny ? { seq: 0, length: parsePayload(cursor) } : parseRange(cursor);
  const seqAbsolute = cursor.take('!');
  let ack = 0;
  let ackAbsolute = false;
  if (cursor.take('ack')) {
    ack = cursor.integer('acknowledgement number', 0, U32);
    ackAbsolute = cursor.take('!');
  }
  let window: number | null = null;
  if (cursor.take('win') && !cursor.take('...')) window = cursor.integer('window', 0, U16);
  const urgent = cursor.take('urg') ? cursor.integer('urgent pointer', 0, U16) : 0;
  const { line } = cursor.peek();
  const options = parseOptions(cursor);
  if (options === null && inbound)
    throw new ScriptSyntaxError(line, '<...> stands for any TCP options and can only be expected');
  return {
    protocol: 'tcp',
    flags,
    ace,
    ...range,
    seqAbsolute,
    seqAny,
    ack,
    ackAbsolute,
    window,
    urgent,
    options,
  };
}

/** Letters, then `.` for ACK, or `.5` for ACK and ACE; `-` for none. */
function parseFlags(cursor: Cursor): { flags: number; ace: number | null } {
  const first = cursor.peek();
  if (cursor.take('-')) return { flags: 0, ace: null };
  let text = '';
  let end = -1;
  // `PA.` is several tokens, and the next field follows after a space.
  while (
    (cursor.is('word') || cursor.is('integer') || cursor.is('float') || cursor.at('.')) &&
    (end < 0 || cursor.peek().from === end)
  ) {
    const token = cursor.next();
    text += token.text;
    end = token.to;
  }
  if (text === '') cursor.fail('TCP flags');
  let flags = 0;
  let ace: number | null = null;
  for (const letter of text) {
    if (letter in LETTERS) flags |= LETTERS[letter];
    else if (letter >= '0' && letter <= '7' && ace === null) ace = Number(letter);
    else throw new ScriptSyntaxError(first.line, `'${text}' are no TCP flags`);
  }
  if (ace !== null)
    ACE_BITS.forEach((bit, i) => {
      flags |= ((ace as number) >> i) & 1 ? bit : 0;
    });
  return { flags, ace };
}

/** `1:1001(1000)` */
function parseRange(cursor: Cursor): { seq: number; length: number } {
  const { line } = cursor.peek();
  const seq = cursor.integer('sequence number', 0, U32);
  cursor.expect(':');
  const end = cursor.integer('sequence number', 0, U32);
  const length = parsePayload(cursor);
  if ((seq + length) >>> 0 !== end)
    throw new ScriptSyntaxError(line, `${seq}:${end} are not ${length} bytes`);
  return { seq, length };
}

function parsePayload(cursor: Cursor): number {
  cursor.expect('(');
  const length = cursor.integer('payload size', 0, U16);
  cursor.expect(')');
  return length;
}

function parseOptions(cursor: Cursor): TcpOptionSpec[] | null {
  const options: TcpOptionSpec[] = [];
  // A '<' on the next event's line belongs to a packet, and that line starts with a time.
  if (!cursor.take('<')) return options;
  if (cursor.take('...')) {
    cursor.expect('>');
    return null;
  }
  if (cursor.take('>')) return options;
  do options.push(parseTcpOption(cursor));
  while (cursor.take(','));
  cursor.expect('>');
  return options;
}

function parseUdp(cursor: Cursor): UdpSpec {
  return { protocol: 'udp', length: parsePayload(cursor) };
}

function parseIcmp(cursor: Cursor, quotedFirst: IcmpSpec['quoted']): IcmpSpec {
  const name = cursor.expectKind('word', 'an ICMP type').text;
  let code: string | null = null;
  let mtu: number | null = null;
  let id = 0;
  if (cursor.is('word') && !cursor.at('mtu') && !cursor.at('id')) code = cursor.next().text;
  if (cursor.take('mtu')) mtu = cursor.integer('MTU', 0, U32);
  if (cursor.take('id')) id = cursor.integer('identifier', 0, U16);
  return {
    protocol: 'icmp',
    name,
    code,
    mtu,
    id,
    quoted: cursor.at('[') ? parseQuoted(cursor) : quotedFirst,
  };
}

/** `[1:1001(1000)]`, `[udp (100)]`, `[raw (100)]` */
function parseQuoted(cursor: Cursor): IcmpSpec['quoted'] {
  cursor.expect('[');
  let quoted: IcmpSpec['quoted'];
  if (cursor.take('udp')) quoted = { protocol: 'udp', length: parsePayload(cursor) };
  else if (cursor.take('raw')) quoted = { protocol: 'raw', length: parsePayload(cursor) };
  else quoted = { protocol: 'tcp', ...parseRange(cursor), tunnel: parseTunnel(cursor) };
  cursor.expect(']');
  return quoted;
}
