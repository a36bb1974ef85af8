/** A frame as one line of text, much as tcpdump writes it (but with absolute sequence numbers). */
import type { ArpPacket } from './arp.ts';
import { type Decoded, decodeFrame, type Link } from './decode.ts';
import type { IcmpMessage } from './icmp.ts';
import type { Icmpv6Message } from './icmpv6.ts';
import { parseIpv4Packet } from './ipv4.ts';
import { parseIpv6Packet } from './ipv6.ts';
import type { NdpOptionValues } from './ndp.ts';
import { viewOf, WireError } from './plain.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from './protocols.ts';
import { FLAG_ACK, FLAG_FIN, FLAG_SYN, FLAG_URG, formatTcpFlags, type TcpSegment } from './tcp.ts';
import { OPTION_ACCECN0, type TcpOptionValues, userTimeoutSeconds } from './tcp-options.ts';

/** Never throws: `10.0.0.1:80 > 10.0.0.2:4000: S. seq 1:2 ack 2 win 65535 <mss 1460,sackOK,ws 7>` */
export function describeFrame(bytes: Uint8Array, link: Link): string {
  return describeDecoded(decodeFrame(bytes, link));
}

export function describeDecoded(decoded: Decoded): string {
  const text = describeLayers(decoded);
  const parts = [text];
  if (decoded.checksumGood === false) parts.push('[bad checksum]');
  if (decoded.malformed) parts.push(`[${decoded.malformed.message}]`);
  return parts.filter((part) => part !== '').join(' ');
}

function describeLayers(decoded: Decoded): string {
  if (decoded.arp) return describeArp(decoded.arp);
  const ip = decoded.ipv4 ?? decoded.ipv6;
  if (ip === undefined) return decoded.ethernet ? describeEthernet(decoded.ethernet) : '';
  const { tcp, udp, icmp, icmpv6, fragment } = decoded;
  const ports = tcp ?? udp;
  if (ports) {
    const what = tcp ? describeTcp(tcp) : `udp ${ports.payload.length}`;
    return `${endpoint(ip.src, ports.srcPort)} > ${endpoint(ip.dst, ports.dstPort)}: ${what}`;
  }
  const from = `${ip.src} > ${ip.dst}`;
  if (icmp) return `${from}: icmp ${describeIcmp(icmp)}`;
  if (icmpv6) return `${from}: icmp6 ${describeIcmp(icmpv6)}`;
  if (fragment)
    return `${from}: fragment id ${fragment.id} offset ${fragment.offset}${fragment.more ? '+' : ''}`;
  return decoded.protocol === undefined
    ? from
    : `${from}: protocol ${decoded.protocol} length ${ip.payload.length}`;
}

function describeEthernet(frame: { src: string; dst: string; type: number; payload: Uint8Array }): string {
  const type = frame.type.toString(16).padStart(4, '0');
  return `${frame.src} > ${frame.dst}: ethertype 0x${type} length ${frame.payload.length}`;
}

function describeArp(arp: ArpPacket): string {
  return arp.operation === 'request'
    ? `arp who-has ${arp.targetIp} tell ${arp.senderIp} (${arp.senderMac})`
    : `arp reply ${arp.senderIp} is-at ${arp.senderMac}`;
}

function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function describeTcp(tcp: TcpSegment): string {
  // SYN and FIN take a sequence number each, so that an ACK of all equals the end shown here.
  const taken = tcp.payload.length + (tcp.flags & FLAG_SYN ? 1 : 0) + (tcp.flags & FLAG_FIN ? 1 : 0);
  const parts = [formatTcpFlags(tcp.flags), `seq ${tcp.seq}:${(tcp.seq + taken) >>> 0}`];
  if (tcp.flags & FLAG_ACK) parts.push(`ack ${tcp.ack}`);
  parts.push(`win ${tcp.window}`);
  if (tcp.flags & FLAG_URG) parts.push(`urg ${tcp.urgent}`);
  const options = describeTcpOptions(tcp.options);
  if (options.length > 0) parts.push(`<${options.join(',')}>`);
  return parts.join(' ');
}

function describeTcpOptions(options: TcpOptionValues): string[] {
  const { mss, windowScale, sackPermitted, timestamps, sack, fastOpenCookie, accEcn, userTimeout } = options;
  const parts: string[] = [];
  if (mss !== undefined) parts.push(`mss ${mss}`);
  if (sackPermitted) parts.push('sackOK');
  if (timestamps) parts.push(`ts ${timestamps.value} ${timestamps.echo}`);
  if (windowScale !== undefined) parts.push(`ws ${windowScale}`);
  if (fastOpenCookie) parts.push(`tfo ${fastOpenCookie.length > 0 ? hex(fastOpenCookie) : 'request'}`);
  if (accEcn) parts.push([`accecn${accEcn.kind === OPTION_ACCECN0 ? 0 : 1}`, ...accEcn.counters].join(' '));
  if (userTimeout !== undefined) parts.push(`uto ${userTimeoutSeconds(userTimeout)}s`);
  if (sack) parts.push(`sack ${sack.map(([left, right]) => `${left}:${right}`).join(' ')}`);
  return parts;
}

function describeIcmp(message: IcmpMessage | Icmpv6Message): string {
  switch (message.kind) {
    case 'echo request':
    case 'echo reply':
      return `${message.kind} id ${message.id} seq ${message.seq} length ${message.payload.length}`;
    case 'unreachable': {
      const mtu = 'mtu' in message && message.mtu > 0 ? ` mtu ${message.mtu}` : '';
      return `unreachable code ${message.code}${mtu} for ${describeQuoted(message.payload)}`;
    }
    case 'time exceeded':
      return `time exceeded code ${message.code} for ${describeQuoted(message.payload)}`;
    case 'packet too big':
      return `packet too big mtu ${message.mtu} for ${describeQuoted(message.payload)}`;
    case 'parameter problem':
      return `parameter problem code ${message.code} at ${message.pointer} for ${describeQuoted(message.payload)}`;
    case 'other':
      return `type ${message.type} code ${message.code} length ${message.payload.length}`;
    case 'router solicitation':
      return [message.kind, ...describeNdpOptions(message.options)].join(' ');
    case 'router advertisement':
      return [
        message.kind,
        `lifetime ${message.lifetimeSeconds}s`,
        ...describeNdpOptions(message.options),
      ].join(' ');
    case 'neighbor solicitation':
    case 'neighbor advertisement':
      return [message.kind, message.target, ...describeNdpOptions(message.options)].join(' ');
    case 'redirect':
      return `redirect ${message.destination} to ${message.target}`;
  }
}

function describeNdpOptions(options: NdpOptionValues): string[] {
  const parts: string[] = [];
  if (options.sourceMac !== undefined) parts.push(`source ${options.sourceMac}`);
  if (options.targetMac !== undefined) parts.push(`is-at ${options.targetMac}`);
  if (options.mtu !== undefined) parts.push(`mtu ${options.mtu}`);
  for (const prefix of options.prefixes ?? []) parts.push(`prefix ${prefix.prefix}/${prefix.length}`);
  return parts;
}

/** The packet an ICMP error is about: often no more than its IP header and ports. */
function describeQuoted(bytes: Uint8Array): string {
  try {
    const over6 = bytes.length > 0 && bytes[0] >> 4 === 6;
    const packet = over6 ? parseIpv6Packet(bytes, true) : parseIpv4Packet(bytes, true);
    const protocol = 'protocol' in packet ? packet.protocol : packet.nextHeader;
    if ((protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) && packet.payload.length >= 4) {
      const view = viewOf(packet.payload);
      const name = protocol === PROTOCOL_TCP ? 'tcp' : 'udp';
      return `${endpoint(packet.src, view.getUint16(0))} > ${endpoint(packet.dst, view.getUint16(2))} ${name}`;
    }
    return `${packet.src} > ${packet.dst} protocol ${protocol}`;
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return `[${error.message}]`;
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
