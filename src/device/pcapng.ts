/**
 * Encodes packet captures as pcapng (draft-ietf-opsawg-pcapng), block by block: a section header, one
 * interface description per port, then a packet block per frame. Little-endian, each block padded to words.
 */
import type { Link } from './port.ts';

const BLOCK_SECTION = 0x0a0d_0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b_3c4d;

const LINKTYPE_ETHERNET = 1;
/** IPv4 or IPv6, by the version in the first byte. */
const LINKTYPE_RAW = 101;

const OPTION_END = 0;
const OPTION_COMMENT = 1;
const SECTION_USER_APPLICATION = 4;
const INTERFACE_NAME = 2;
const INTERFACE_TIME_RESOLUTION = 9;
const PACKET_FLAGS = 2;

export interface PcapngInterface {
  readonly link: Link;
  readonly name: string;
  /** Bytes kept of each frame; 0: all. */
  readonly snapBytes: number;
  /** What the file counts time in: 10^-6 or 10^-9 s. */
  readonly timeDigits: 6 | 9;
  readonly comment?: string;
}

export interface PcapngPacket {
  /** The interface's place among the section's, from 0. */
  readonly interfaceId: number;
  /** null: not known. */
  readonly direction: 'rx' | 'tx' | null;
  /** Microseconds since the epoch, fractions allowed. */
  readonly timeUs: number;
  readonly comment?: string;
}

/** Starts a file, or a new section of one. */
export function pcapngSection(comment?: string): Uint8Array {
  const body = new Uint8Array(16);
  const view = new DataView(body.buffer);
  view.setUint32(0, BYTE_ORDER_MAGIC, true);
  view.setUint16(4, 1, true); // version 1.0
  view.setBigInt64(8, -1n, true); // length of the section: not known
  return block(BLOCK_SECTION, [
    body,
    ...options([SECTION_USER_APPLICATION, 'millrace'], [OPTION_COMMENT, comment]),
  ]);
}

export function pcapngInterface(description: PcapngInterface): Uint8Array {
  const body = new Uint8Array(8);
  const view = new DataView(body.buffer);
  view.setUint16(0, description.link === 'ether' ? LINKTYPE_ETHERNET : LINKTYPE_RAW, true);
  view.setUint32(4, description.snapBytes, true);
  const described = options(
    [INTERFACE_NAME, description.name],
    [INTERFACE_TIME_RESOLUTION, Uint8Array.of(description.timeDigits)],
    [OPTION_COMMENT, description.comment],
  );
  return block(BLOCK_INTERFACE, [body, ...described]);
}

/** @param on The interface that `packet.interfaceId` names: its snapBytes and timeDigits hold. */
export function pcapngPacket(frame: Uint8Array, packet: PcapngPacket, on: PcapngInterface): Uint8Array {
  const kept = on.snapBytes > 0 ? frame.subarray(0, on.snapBytes) : frame;
  const body = new Uint8Array(20);
  const view = new DataView(body.buffer);
  const ticks = timeTicks(packet.timeUs, on.timeDigits);
  view.setUint32(0, packet.interfaceId, true);
  view.setUint32(4, Number(ticks >> 32n), true);
  view.setUint32(8, Number(ticks & 0xffff_ffffn), true);
  view.setUint32(12, kept.length, true);
  view.setUint32(16, frame.length, true);
  const flags =
    packet.direction === null ? undefined : Uint8Array.of(packet.direction === 'rx' ? 1 : 2, 0, 0, 0);
  return block(BLOCK_PACKET, [
    body,
    kept,
    ...options([PACKET_FLAGS, flags], [OPTION_COMMENT, packet.comment]),
  ]);
}

/** Nanoseconds since the epoch need 61 bits, more than a number holds. */
function timeTicks(timeUs: number, digits: 6 | 9): bigint {
  const whole = Math.floor(timeUs);
  if (digits === 6) return BigInt(whole);
  return BigInt(whole) * 1000n + BigInt(Math.floor((timeUs - whole) * 1000));
}

const encoder = new TextEncoder();

/** Those with a value, and the end mark; nothing when there are none. */
function options(...given: [code: number, value: Uint8Array | string | undefined][]): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (const [code, value] of given) {
    if (value === undefined) continue;
    const bytes = typeof value === 'string' ? encoder.encode(value) : value;
    parts.push(optionHeader(code, bytes.length), bytes);
  }
  return parts.length > 0 ? [...parts, optionHeader(OPTION_END, 0)] : parts;
}

function optionHeader(code: number, length: number): Uint8Array {
  return Uint8Array.of(code, code >> 8, length, length >> 8);
}

/** Type, total length, the parts each padded to a word, total length again. */
function block(type: number, parts: Uint8Array[]): Uint8Array {
  let length = 12;
  for (const part of parts) length += padded(part.length);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += padded(part.length);
  }
  view.setUint32(at, length, true);
  return bytes;
}

function padded(length: number): number {
  return (length + 3) & ~3;
}
