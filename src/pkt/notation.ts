/** Packets as scripts write them, for messages. */
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
import type { TcpOptionSpec } from './script.ts';
import type { LivePacket } from './sent.ts';

const LETTERS: readonly (readonly [number, string])[] = [
  [FLAG_FIN, 'F'],
  [FLAG_SYN, 'S'],
  [FLAG_RST, 'R'],
  [FLAG_PSH, 'P'],
  [FLAG_URG, 'U'],
  [FLAG_ECE, 'E'],
  [FLAG_CWR, 'W'],
  [FLAG_AE, 'A'],
  [FLAG_ACK, '.'],
];

export function formatFlags(flags: number): string {
  return LETTERS.map(([bit, letter]) => ((flags & bit) !== 0 ? letter : '')).join('') || '-';
}

export function formatSeconds(us: number): string {
  return (us / 1e6).toFixed(6);
}

/** A packet of the stack's, its numbers mapped to the script's. */
export function formatLive(packet: LivePacket): string {
  const time = formatSeconds(packet.us);
  if (packet.protocol === 'udp') return `${time} > udp (${packet.length})`;
  if (packet.protocol === 'icmp') return `${time} > icmp type ${packet.icmpType} code ${packet.icmpCode}`;
  const { seq, ack, length, flags, window, options, urgent } = packet;
  const parts = [`${time} > ${formatFlags(flags)} ${seq}:${(seq + length) >>> 0}(${length})`];
  if ((flags & FLAG_ACK) !== 0) parts.push(`ack ${ack}`);
  parts.push(`win ${window}`);
  if (urgent !== 0) parts.push(`urg ${urgent}`);
  if (options.length > 0) parts.push(`<${options.map(formatOption).join(',')}>`);
  return parts.join(' ');
}

export function formatOption(option: TcpOptionSpec): string {
  switch (option.kind) {
    case 'nop':
    case 'eol':
    case 'sackOK':
      return option.kind;
    case 'mss':
      return `mss ${option.value}`;
    case 'wscale':
      return `wscale ${option.value ?? '*'}`;
    case 'sack':
      return `sack ${option.blocks.map(([left, right]) => `${left}:${right}`).join(' ')}`;
    case 'TS':
      return `TS val ${option.val ?? '...'} ecr ${option.ecr}${option.ecrAbsolute ? '!' : ''}`;
    case 'FO':
      return `${option.experimental ? 'FOEXP' : 'FO'}${option.cookie === '' ? '' : ` ${option.cookie}`}`;
    case 'md5':
      return `md5 ${option.digest}`;
    case 'ECN':
      return ['ECN', ...option.counters.map(({ name, value }) => `${name} ${value}`)].join(' ');
    case 'other':
      return option.text;
  }
}
