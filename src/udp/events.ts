/**
 * What UDP has to tell programs, kept in order until the batch is through. A record of a datagram points into its
 * frame, which stays until the end of the breath.
 */
import type { Packet } from '../ip/packet.ts';
import type { UdpSocket } from './socket.ts';

export const UDP_EVENT = {
  HANDLE: 0,
  KIND: 1,
  /** Payload: offset in the arena, bytes. Of an error: index in UDP_ERRORS. */
  AT: 2,
  LENGTH: 3,
  VERSION: 4,
  /** Source port << 16 | destination port. */
  PORTS: 5,
  IFACE: 6,
  /** TTL << 8 | TOS. */
  TTL_TOS: 7,
  SRC: 8,
  DST: 12,
  WORDS: 16,
} as const;

export const UDP_MESSAGE = 1;
export const UDP_ERROR = 2;
export const UDP_WRITABLE = 3;
/** The program wants to go on: show what waits. */
export const UDP_RESUME = 4;

const { HANDLE, KIND, AT, LENGTH, VERSION, PORTS, IFACE, TTL_TOS, SRC, DST, WORDS } = UDP_EVENT;
/** Several breaths' bursts: a datagram to a group may be for many sockets. */
const EVENTS_MAX = 4096;

export class UdpEvents {
  words = new Int32Array(256 * WORDS);
  count = 0;

  /** @returns the record's word index, or -1 at the limit */
  push(socket: UdpSocket, kind: number, at: number, length: number): number {
    if (this.count === EVENTS_MAX) return -1;
    const e = this.count++ * WORDS;
    if (e === this.words.length) {
      const words = new Int32Array(this.words.length * 2);
      words.set(this.words);
      this.words = words;
    }
    eventFill(this.words, e, socket, kind, at, length);
    return e;
  }
}

export function eventFill(
  m: Int32Array,
  w: number,
  socket: UdpSocket,
  kind: number,
  at: number,
  length: number,
): void {
  m[w + HANDLE] = socket.handle;
  m[w + KIND] = kind;
  m[w + AT] = at;
  m[w + LENGTH] = length;
}

/** Writes what a packet says of a datagram behind a record's first four words, at `w`. */
export function eventDescribe(m: Int32Array, w: number, p: Packet, ports: number): void {
  m[w + VERSION] = p.version;
  m[w + PORTS] = ports;
  m[w + IFACE] = p.iface;
  m[w + TTL_TOS] = (p.ttl << 8) | p.tos;
  m[w + SRC] = p.src0;
  m[w + SRC + 1] = p.src1;
  m[w + SRC + 2] = p.src2;
  m[w + SRC + 3] = p.src3;
  m[w + DST] = p.dst0;
  m[w + DST + 1] = p.dst1;
  m[w + DST + 2] = p.dst2;
  m[w + DST + 3] = p.dst3;
}
