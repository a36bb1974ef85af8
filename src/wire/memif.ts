/**
 * memif, the shared-memory packet interface of VPP and DPDK, protocol version 2.0: the messages of its control channel,
 * each a packet of 128 B on a UNIX socket, and how its rings lie in memory. All numbers are little endian, as the hosts
 * are that it is used on.
 *
 *     server                client          The client owns the shared memory, and rings and buffers in it. A region and
 *       │ ◄────── connect(2) ─ │            a ring's eventfd come as descriptors with the message that names them.
 *       │ HELLO ─────────────► │
 *       │ ◄─────────────  INIT │            Each is answered by ACK.
 *       │ ◄──────  ADD_REGION… │
 *       │ ◄────────  ADD_RING… │
 *       │ ◄──────────  CONNECT │
 *       │ CONNECTED ─────────► │            From here on frames pass.
 *       │ ◄───  DISCONNECT ──► │
 */

export const MEMIF_VERSION = 0x0200;
export const MEMIF_MESSAGE_BYTES = 128;
export const MEMIF_SECRET_BYTES = 24;

/** How frames look: with an Ethernet header, or from the IP header on. */
export type MemifMode = 'ether' | 'ip';

export type MemifMessage =
  | { readonly type: 'ack' }
  | {
      readonly type: 'hello';
      readonly name: string;
      readonly versionMin: number;
      readonly versionMax: number;
      /** Largest index of a region, and of a ring in each direction. */
      readonly regionMax: number;
      readonly toClientMax: number;
      readonly toServerMax: number;
      readonly ringLog2Max: number;
    }
  | {
      readonly type: 'init';
      readonly version: number;
      /** Of the interface, uint32: a server may have several on one socket. */
      readonly id: number;
      /** null: one that we don't know. */
      readonly mode: MemifMode | null;
      /** Up to the first zero. */
      readonly secret: string;
      readonly name: string;
    }
  | { readonly type: 'addRegion'; readonly index: number; readonly bytes: number }
  | {
      readonly type: 'addRing';
      readonly toServer: boolean;
      readonly index: number;
      readonly region: number;
      /** From the region's start, uint32. */
      readonly offset: number;
      readonly ringLog2: number;
    }
  | { readonly type: 'connect' | 'connected'; readonly name: string }
  | { readonly type: 'disconnect'; readonly code: number; readonly reason: string };

const TYPES = [
  null,
  'ack',
  'hello',
  'init',
  'addRegion',
  'addRing',
  'connect',
  'connected',
  'disconnect',
] as const satisfies readonly (MemifMessage['type'] | null)[];

const MODES: readonly MemifMode[] = ['ether', 'ip'];
const NAME_BYTES = 32;
const REASON_BYTES = 96;
const ADD_RING_TO_SERVER = 1;

/** @param out At least MEMIF_MESSAGE_BYTES; texts that are too long for their fields are cut. */
export function encodeMemif(message: MemifMessage, out: Uint8Array): void {
  out.fill(0, 0, MEMIF_MESSAGE_BYTES);
  const view = new DataView(out.buffer, out.byteOffset, MEMIF_MESSAGE_BYTES);
  view.setUint16(0, TYPES.indexOf(message.type), true);
  switch (message.type) {
    case 'ack':
      break;
    case 'hello':
      putText(out, 2, NAME_BYTES, message.name);
      view.setUint16(34, message.versionMin, true);
      view.setUint16(36, message.versionMax, true);
      view.setUint16(38, message.regionMax, true);
      view.setUint16(40, message.toClientMax, true);
      view.setUint16(42, message.toServerMax, true);
      view.setUint8(44, message.ringLog2Max);
      break;
    case 'init':
      view.setUint16(2, message.version, true);
      view.setUint32(4, message.id, true);
      view.setUint8(8, message.mode === null ? 255 : MODES.indexOf(message.mode));
      putText(out, 9, MEMIF_SECRET_BYTES + 1, message.secret);
      putText(out, 33, NAME_BYTES, message.name);
      break;
    case 'addRegion':
      view.setUint16(2, message.index, true);
      view.setBigUint64(4, BigInt(message.bytes), true);
      break;
    case 'addRing':
      view.setUint16(2, message.toServer ? ADD_RING_TO_SERVER : 0, true);
      view.setUint16(4, message.index, true);
      view.setUint16(6, message.region, true);
      view.setUint32(8, message.offset, true);
      view.setUint8(12, message.ringLog2);
      break;
    case 'connect':
    case 'connected':
      putText(out, 2, NAME_BYTES, message.name);
      break;
    case 'disconnect':
      view.setUint32(2, message.code, true);
      putText(out, 6, REASON_BYTES, message.reason);
      break;
  }
}

/** @returns null for a type that there isn't, or a length that isn't a message's. */
export function decodeMemif(bytes: Uint8Array): MemifMessage | null {
  if (bytes.length !== MEMIF_MESSAGE_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, MEMIF_MESSAGE_BYTES);
  const type = TYPES[view.getUint16(0, true)] ?? null;
  switch (type) {
    case null:
      return null;
    case 'ack':
      return { type };
    case 'hello':
      return {
        type,
        name: textAt(bytes, 2, NAME_BYTES),
        versionMin: view.getUint16(34, true),
        versionMax: view.getUint16(36, true),
        regionMax: view.getUint16(38, true),
        toClientMax: view.getUint16(40, true),
        toServerMax: view.getUint16(42, true),
        ringLog2Max: view.getUint8(44),
      };
    case 'init':
      return {
        type,
        version: view.getUint16(2, true),
        id: view.getUint32(4, true),
        mode: MODES[view.getUint8(8)] ?? null,
        secret: textAt(bytes, 9, MEMIF_SECRET_BYTES),
        name: textAt(bytes, 33, NAME_BYTES),
      };
    case 'addRegion':
      // Beyond 2^53 it loses digits, and is refused as too large all the same.
      return { type, index: view.getUint16(2, true), bytes: Number(view.getBigUint64(4, true)) };
    case 'addRing':
      return {
        type,
        toServer: (view.getUint16(2, true) & ADD_RING_TO_SERVER) !== 0,
        index: view.getUint16(4, true),
        region: view.getUint16(6, true),
        offset: view.getUint32(8, true),
        ringLog2: view.getUint8(12),
      };
    case 'connect':
    case 'connected':
      return { type, name: textAt(bytes, 2, NAME_BYTES) };
    case 'disconnect':
      return { type, code: view.getUint32(2, true), reason: textAt(bytes, 6, REASON_BYTES) };
  }
}

/** With at least one zero behind it. */
function putText(out: Uint8Array, at: number, room: number, text: string): void {
  new TextEncoder().encodeInto(text, out.subarray(at, at + room - 1));
}

/** Up to the first zero; what isn't printable comes out as '?', since it ends up in messages to people. */
function textAt(bytes: Uint8Array, at: number, room: number): string {
  const field = bytes.subarray(at, at + room);
  const zero = field.indexOf(0);
  const text = new TextDecoder().decode(field.slice(0, zero < 0 ? room : zero));
  return text.replace(/\p{C}/gu, '?');
}

/*
 * A ring, with what each side writes in a cache line of its own:
 *
 *     0   cookie u32, flags u16, head u16
 *     64  tail u16
 *     128 descriptors of 16 B: flags u16, region u16, length u32, offset u32, metadata u32
 *
 * Head and tail run freely over u16. To the server: the client fills buffers and moves head, the server moves tail over
 * what it has read. To the client: the client offers buffers by moving head, the server fills them and moves tail.
 * The reader of a ring sets RING_MASK_INTERRUPT while it polls.
 */
export const RING_COOKIE = 0x3e31f20;
export const RING_FLAGS = 4;
export const RING_HEAD = 6;
export const RING_TAIL = 64;
export const RING_DESCRIPTORS = 128;
export const RING_MASK_INTERRUPT = 1;
/** Half of what u16 indices can tell apart. */
export const RING_LOG2_MAX = 15;

export const MEMIF_DESC_BYTES = 16;
/** The frame goes on in the next descriptor. */
export const MEMIF_DESC_NEXT = 1;

export function memifRingBytes(ringLog2: number): number {
  return RING_DESCRIPTORS + (MEMIF_DESC_BYTES << ringLog2);
}
