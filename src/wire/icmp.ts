/** ICMP for IPv4 (RFC 792, next-hop MTU of RFC 1191). */
import { checksumFinish, sumBytes } from './checksum.ts';
import { accept, concat, viewOf } from './plain.ts';

export const ICMP_TYPE = 0;
export const ICMP_CODE = 1;
export const ICMP_CHECKSUM = 2;
/** Echo: identifier and sequence number. */
export const ICMP_ECHO_ID = 4;
export const ICMP_ECHO_SEQ = 6;
/** Of "fragmentation needed": 0 from a router older than RFC 1191. */
export const ICMP_MTU = 6;
/** Errors: from here on the packet in question, as much of it as was quoted. Echo: the data. */
export const ICMP_HEADER_BYTES = 8;

export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_REDIRECT = 5;
export const ICMP_ECHO_REQUEST = 8;
export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_PARAMETER_PROBLEM = 12;

/** Codes of ICMP_UNREACHABLE. */
export const UNREACHABLE_NET = 0;
export const UNREACHABLE_HOST = 1;
export const UNREACHABLE_PROTOCOL = 2;
export const UNREACHABLE_PORT = 3;
export const UNREACHABLE_FRAGMENTATION_NEEDED = 4;
export const UNREACHABLE_PROHIBITED = 13;

/** Code of ICMP_TIME_EXCEEDED, and of ICMPv6's. */
export const TIME_EXCEEDED_REASSEMBLY = 1;

export const ICMP_TRUNCATED = -1;
export const ICMP_REJECTS = ['', 'truncated'] as const;

/** The checksum covers the whole message, with no pseudo-header. @returns ICMP_HEADER_BYTES or ICMP_TRUNCATED */
export function icmpCheck(_view: DataView, _at: number, length: number): number {
  return length < ICMP_HEADER_BYTES ? ICMP_TRUNCATED : ICMP_HEADER_BYTES;
}

export function icmpType(view: DataView, at: number): number {
  return view.getUint8(at + ICMP_TYPE);
}

export function icmpCode(view: DataView, at: number): number {
  return view.getUint8(at + ICMP_CODE);
}

export function icmpMtu(view: DataView, at: number): number {
  return view.getUint16(at + ICMP_MTU, false);
}

/** Errors quote a packet, and are never answered by an error (RFC 1122 3.2.2). */
export function icmpIsError(type: number): boolean {
  return (
    type === ICMP_UNREACHABLE ||
    type === ICMP_REDIRECT ||
    type === ICMP_TIME_EXCEEDED ||
    type === ICMP_PARAMETER_PROBLEM ||
    type === 4 // source quench, deprecated by RFC 6633
  );
}

/** The checksum is left zero. @param rest Bytes 4 to 7: identifier and sequence number, MTU, or zero. */
export function icmpWrite(view: DataView, at: number, type: number, code: number, rest: number): void {
  view.setInt32(at, (type << 24) | (code << 16), false);
  view.setInt32(at + 4, rest, false);
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

/** `payload` is an echo's data or what an error quotes. */
export type IcmpMessage =
  | { kind: 'echo request' | 'echo reply'; id: number; seq: number; payload: Uint8Array }
  | { kind: 'unreachable'; code: number; mtu: number; payload: Uint8Array }
  | { kind: 'time exceeded'; code: number; payload: Uint8Array }
  | { kind: 'other'; type: number; code: number; rest: number; payload: Uint8Array };

/** Doesn't look at the checksum. @throws WireError */
export function parseIcmp(bytes: Uint8Array): IcmpMessage {
  const view = viewOf(bytes);
  const header = accept('icmp', ICMP_REJECTS, icmpCheck(view, 0, bytes.length));
  const payload = bytes.subarray(header);
  const type = icmpType(view, 0);
  const code = icmpCode(view, 0);
  switch (type) {
    case ICMP_ECHO_REQUEST:
    case ICMP_ECHO_REPLY: {
      const kind = type === ICMP_ECHO_REQUEST ? 'echo request' : 'echo reply';
      return { kind, id: view.getUint16(ICMP_ECHO_ID), seq: view.getUint16(ICMP_ECHO_SEQ), payload };
    }
    case ICMP_UNREACHABLE:
      return { kind: 'unreachable', code, mtu: icmpMtu(view, 0), payload };
    case ICMP_TIME_EXCEEDED:
      return { kind: 'time exceeded', code, payload };
    default:
      return { kind: 'other', type, code, rest: view.getUint32(4), payload };
  }
}

export function emitIcmp(message: IcmpMessage): Uint8Array {
  const bytes = concat(new Uint8Array(ICMP_HEADER_BYTES), message.payload);
  const view = viewOf(bytes);
  switch (message.kind) {
    case 'echo request':
      icmpWrite(view, 0, ICMP_ECHO_REQUEST, 0, (message.id << 16) | message.seq);
      break;
    case 'echo reply':
      icmpWrite(view, 0, ICMP_ECHO_REPLY, 0, (message.id << 16) | message.seq);
      break;
    case 'unreachable':
      icmpWrite(view, 0, ICMP_UNREACHABLE, message.code, message.mtu);
      break;
    case 'time exceeded':
      icmpWrite(view, 0, ICMP_TIME_EXCEEDED, message.code, 0);
      break;
    case 'other':
      icmpWrite(view, 0, message.type, message.code, message.rest);
  }
  view.setUint16(ICMP_CHECKSUM, checksumFinish(sumBytes(bytes)), false);
  return bytes;
}
