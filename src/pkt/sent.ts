/** What the stack sent: packets taken apart far enough to be compared with a script. */

import { decodeFrame } from '../wire/decode.ts';
import { TCP_HEADER_BYTES } from '../wire/tcp.ts';
import {
  OPTION_ACCECN0,
  OPTION_ACCECN1,
  OPTION_END,
  OPTION_FAST_OPEN,
  OPTION_MSS,
  OPTION_NOP,
  OPTION_SACK,
  OPTION_SACK_PERMITTED,
  OPTION_TIMESTAMPS,
  OPTION_WINDOW_SCALE,
} from '../wire/tcp-options.ts';
import type { TcpOptionSpec } from './script.ts';

/** Shared experimental option, and Fast Open's number in it (RFC 6994, RFC 7413 4.1.1). */
const OPTION_EXPERIMENT = 254;
const EXPERIMENT_FAST_OPEN = 0xf989;
const OPTION_MD5 = 19;

interface LiveBase {
  /** When it was sent, us of the script's time. */
  readonly us: number;
  readonly version: 4 | 6;
  readonly src: string;
  readonly dst: string;
  readonly srcPort: number;
  readonly dstPort: number;
  readonly tos: number;
  readonly ttl: number;
  readonly flowLabel: number;
  /** Payload bytes. */
  readonly length: number;
}

export interface LiveTcp extends LiveBase {
  readonly protocol: 'tcp';
  /** As on the wire until they are mapped, 0 to 2^32 - 1. */
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  readonly window: number;
  readonly urgent: number;
  readonly options: readonly TcpOptionSpec[];
  readonly payload: Uint8Array;
  readonly checksumGood: boolean;
}

export interface LiveUdp extends LiveBase {
  readonly protocol: 'udp';
  readonly checksumGood: boolean;
}

export interface LiveIcmp extends LiveBase {
  readonly protocol: 'icmp';
  readonly icmpType: number;
  readonly icmpCode: number;
}

export type LivePacket = LiveTcp | LiveUdp | LiveIcmp;

/** @returns null for what no script can expect: neighbour discovery, fragments, malformed packets. */
export function takeApart(bytes: Uint8Array, us: number): LivePacket | null {
  const decoded = decodeFrame(bytes, 'ip');
  const ip4 = decoded.ipv4;
  const ip6 = decoded.ipv6;
  const outer = ip4 ?? ip6;
  if (outer === undefined || decoded.malformed !== undefined) return null;
  const base = {
    us,
    version: ip4 === undefined ? (6 as const) : (4 as const),
    src: outer.src,
    dst: outer.dst,
    tos: ip4?.tos ?? ip6?.trafficClass ?? 0,
    ttl: ip4?.ttl ?? ip6?.hopLimit ?? 0,
    flowLabel: ip6?.flowLabel ?? 0,
  };
  const checksumGood = decoded.checksumGood === true;
  const { tcp, udp } = decoded;
  if (tcp !== undefined) {
    const { srcPort, dstPort, seq, ack, flags, window, urgent, payload } = tcp;
    const header = outer.payload.length - payload.length;
    return {
      ...base,
      protocol: 'tcp',
      srcPort,
      dstPort,
      seq,
      ack,
      flags,
      window,
      urgent,
      payload,
      length: payload.length,
      options: readOptions(outer.payload.subarray(TCP_HEADER_BYTES, header)),
      checksumGood,
    };
  }
  if (udp !== undefined)
    return {
      ...base,
      protocol: 'udp',
      srcPort: udp.srcPort,
      dstPort: udp.dstPort,
      length: udp.payload.length,
      checksumGood,
    };
  if (decoded.icmp === undefined && decoded.icmpv6 === undefined) return null;
  const [icmpType, icmpCode] = outer.payload;
  return {
    ...base,
    protocol: 'icmp',
    srcPort: 0,
    dstPort: 0,
    length: outer.payload.length - 8,
    icmpType,
    icmpCode,
  };
}

/** In their order, as scripts name them. */
export function readOptions(bytes: Uint8Array): TcpOptionSpec[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const options: TcpOptionSpec[] = [];
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes[at];
    if (kind === OPTION_END) {
      for (; at < bytes.length; at++) options.push({ kind: 'eol' });
      break;
    }
    if (kind === OPTION_NOP) {
      options.push({ kind: 'nop' });
      at++;
      continue;
    }
    const length = bytes[at + 1];
    if (!(length >= 2) || at + length > bytes.length) break;
    options.push(readOption(view, at, kind, length));
    at += length;
  }
  return options;
}

function readOption(view: DataView, at: number, kind: number, length: number): TcpOptionSpec {
  switch (kind) {
    case OPTION_MSS:
      if (length === 4) return { kind: 'mss', value: view.getUint16(at + 2) };
      break;
    case OPTION_WINDOW_SCALE:
      if (length === 3) return { kind: 'wscale', value: view.getUint8(at + 2) };
      break;
    case OPTION_SACK_PERMITTED:
      return { kind: 'sackOK' };
    case OPTION_SACK: {
      const blocks: [number, number][] = [];
      for (let i = at + 2; i + 8 <= at + length; i += 8)
        blocks.push([view.getUint32(i), view.getUint32(i + 4)]);
      return { kind: 'sack', blocks };
    }
    case OPTION_TIMESTAMPS:
      if (length === 10)
        return { kind: 'TS', val: view.getUint32(at + 2), ecr: view.getUint32(at + 6), ecrAbsolute: false };
      break;
    case OPTION_FAST_OPEN:
      return { kind: 'FO', cookie: hex(view, at + 2, at + length), experimental: false };
    case OPTION_EXPERIMENT:
      if (length >= 4 && view.getUint16(at + 2) === EXPERIMENT_FAST_OPEN)
        return { kind: 'FO', cookie: hex(view, at + 4, at + length), experimental: true };
      break;
    case OPTION_MD5:
      return { kind: 'md5', digest: hex(view, at + 2, at + length) };
    case OPTION_ACCECN0:
    case OPTION_ACCECN1: {
      const names =
        kind === OPTION_ACCECN0 ? (['e0b', 'ceb', 'e1b'] as const) : (['e1b', 'ceb', 'e0b'] as const);
      const counters = names
        .slice(0, Math.floor((length - 2) / 3))
        .map((name, i) => ({ name, value: view.getUint32(at + 1 + 3 * i) & 0xffffff }));
      return { kind: 'ECN', counters };
    }
  }
  return { kind: 'other', text: `option ${kind} ${hex(view, at + 2, at + length)}` };
}

function hex(view: DataView, from: number, to: number): string {
  let text = '';
  for (let i = from; i < to; i++) text += view.getUint8(i).toString(16).padStart(2, '0');
  return text;
}
