/** ICMPv6 (RFC 4443). Neighbour discovery's messages are in ndp.ts. */
import { emitNdp, type NdpMessage, ndpIsType, parseNdp } from './ndp.ts';
import { accept, concat, type Ends, transportChecksum, viewOf } from './plain.ts';
import { PROTOCOL_ICMPV6 } from './protocols.ts';

export const ICMPV6_TYPE = 0;
export const ICMPV6_CODE = 1;
export const ICMPV6_CHECKSUM = 2;
export const ICMPV6_ECHO_ID = 4;
export const ICMPV6_ECHO_SEQ = 6;
/** Of "packet too big", 32 bits. */
export const ICMPV6_MTU = 4;
/** Errors: from here on the packet in question, as much of it as was quoted. Echo: the data. */
export const ICMPV6_HEADER_BYTES = 8;

export const ICMPV6_UNREACHABLE = 1;
export const ICMPV6_PACKET_TOO_BIG = 2;
export const ICMPV6_TIME_EXCEEDED = 3;
export const ICMPV6_PARAMETER_PROBLEM = 4;
export const ICMPV6_ECHO_REQUEST = 128;
export const ICMPV6_ECHO_REPLY = 129;

/** Codes of ICMPV6_UNREACHABLE. */
export const UNREACHABLE6_NO_ROUTE = 0;
export const UNREACHABLE6_PROHIBITED = 1;
export const UNREACHABLE6_ADDRESS = 3;
export const UNREACHABLE6_PORT = 4;

export const ICMPV6_TRUNCATED = -1;
export const ICMPV6_REJECTS = ['', 'truncated'] as const;

/**
 * The checksum covers the message and the pseudo-header, with PROTOCOL_ICMPV6.
 * @returns ICMPV6_HEADER_BYTES or ICMPV6_TRUNCATED
 */
export function icmpv6Check(_view: DataView, _at: number, length: number): number {
  return length < ICMPV6_HEADER_BYTES ? ICMPV6_TRUNCATED : ICMPV6_HEADER_BYTES;
}

export function icmpv6Type(view: DataView, at: number): number {
  return view.getUint8(at + ICMPV6_TYPE);
}

export function icmpv6Code(view: DataView, at: number): number {
  return view.getUint8(at + ICMPV6_CODE);
}

/** RFC 4443 2.1: errors have the top bit clear; they are never answered by an error (2.4 e). */
export function icmpv6IsError(type: number): boolean {
  return type < 128;
}

/** Bytes; anything above 2^31 - 1 is given as that. */
export function icmpv6Mtu(view: DataView, at: number): number {
  const mtu = view.getInt32(at + ICMPV6_MTU, false);
  return mtu < 0 ? 0x7fff_ffff : mtu;
}

/** The checksum is left zero. @param rest Bytes 4 to 7: identifier and sequence number, MTU, pointer, or zero. */
export function icmpv6Write(view: DataView, at: number, type: number, code: number, rest: number): void {
  view.setInt32(at, (type << 24) | (code << 16), false);
  view.setInt32(at + 4, rest, false);
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

/** `payload` is an echo's data or what an error quotes. */
export type Icmpv6Message =
  | { kind: 'echo request' | 'echo reply'; id: number; seq: number; payload: Uint8Array }
  | { kind: 'unreachable' | 'time exceeded'; code: number; payload: Uint8Array }
  | { kind: 'packet too big'; mtu: number; payload: Uint8Array }
  | { kind: 'parameter problem'; code: number; pointer: number; payload: Uint8Array }
  | { kind: 'other'; type: number; code: number; rest: number; payload: Uint8Array }
  | NdpMessage;

/** Doesn't look at the checksum. @throws WireError */
export function parseIcmpv6(bytes: Uint8Array): Icmpv6Message {
  const view = viewOf(bytes);
  const header = accept('icmpv6', ICMPV6_REJECTS, icmpv6Check(view, 0, bytes.length));
  const payload = bytes.subarray(header);
  const type = icmpv6Type(view, 0);
  const code = icmpv6Code(view, 0);
  const rest = view.getUint32(4);
  if (ndpIsType(type)) return parseNdp(bytes);
  switch (type) {
    case ICMPV6_ECHO_REQUEST:
      return { kind: 'echo request', id: rest >>> 16, seq: rest & 0xffff, payload };
    case ICMPV6_ECHO_REPLY:
      return { kind: 'echo reply', id: rest >>> 16, seq: rest & 0xffff, payload };
    case ICMPV6_UNREACHABLE:
      return { kind: 'unreachable', code, payload };
    case ICMPV6_TIME_EXCEEDED:
      return { kind: 'time exceeded', code, payload };
    case ICMPV6_PACKET_TOO_BIG:
      return { kind: 'packet too big', mtu: rest, payload };
    case ICMPV6_PARAMETER_PROBLEM:
      return { kind: 'parameter problem', code, pointer: rest, payload };
    default:
      return { kind: 'other', type, code, rest, payload };
  }
}

export function emitIcmpv6(message: Icmpv6Message, ends: Ends): Uint8Array {
  const bytes = emitUnsummed(message);
  viewOf(bytes).setUint16(ICMPV6_CHECKSUM, transportChecksum(bytes, ends, PROTOCOL_ICMPV6), false);
  return bytes;
}

function emitUnsummed(message: Icmpv6Message): Uint8Array {
  if (!('payload' in message)) return emitNdp(message);
  const bytes = concat(new Uint8Array(ICMPV6_HEADER_BYTES), message.payload);
  const view = viewOf(bytes);
  switch (message.kind) {
    case 'echo request':
      icmpv6Write(view, 0, ICMPV6_ECHO_REQUEST, 0, (message.id << 16) | message.seq);
      break;
    case 'echo reply':
      icmpv6Write(view, 0, ICMPV6_ECHO_REPLY, 0, (message.id << 16) | message.seq);
      break;
    case 'unreachable':
      icmpv6Write(view, 0, ICMPV6_UNREACHABLE, message.code, 0);
      break;
    case 'time exceeded':
      icmpv6Write(view, 0, ICMPV6_TIME_EXCEEDED, message.code, 0);
      break;
    case 'packet too big':
      icmpv6Write(view, 0, ICMPV6_PACKET_TOO_BIG, 0, message.mtu);
      break;
    case 'parameter problem':
      icmpv6Write(view, 0, ICMPV6_PARAMETER_PROBLEM, message.code, message.pointer);
      break;
    case 'other':
      icmpv6Write(view, 0, message.type, message.code, message.rest);
  }
  return bytes;
}
