/** Datagrams on their way in (RFC 768, RFC 1122 4.1.3): to the socket they are for, or to every socket of a group. */
import { icmpSendUnreachable } from '../ip/icmp-error.ts';
import type { Packet } from '../ip/packet.ts';
import { QUEUE_LENGTH, queueAppend } from '../memory/byte-queue.ts';
import { fold } from '../wire/checksum.ts';
import { UNREACHABLE_PORT } from '../wire/icmp.ts';
import { UDP_CHECKSUM, UDP_HEADER_BYTES, UDP_SRC_PORT, udpCheck, udpLength } from '../wire/udp.ts';
import { eventDescribe, eventFill, UDP_EVENT, UDP_MESSAGE } from './events.ts';
import type { UdpSocket } from './socket.ts';
import type { Udp } from './udp.ts';

const MESSAGE = UDP_MESSAGE;
const { LENGTH, WORDS } = UDP_EVENT;
const HEADER_BYTES = UDP_HEADER_BYTES;
/** Before each datagram in a queue: an event's words. */
export const RECORD_BYTES = WORDS * 4;

/**
 * Takes the datagram that `ip.packet` describes.
 * @param segmentBytes A super-segment's (FRAME_SEGMENT): as many datagrams of so many bytes of data as it holds, and a
 *   shorter one at the end. 0: it is one datagram.
 */
export function udpInput(udp: Udp, segmentBytes: number): void {
  const { ip, counters } = udp;
  const p = ip.packet;
  const { view } = ip;
  const at = p.l4At;
  if (udpCheck(view, at, p.l4Length) < 0) {
    counters.datagramsIn++;
    counters.badLength++;
    return;
  }
  const length = udpLength(view, at);
  const bytes = length - HEADER_BYTES;
  const piece = segmentBytes > 0 && segmentBytes < bytes ? segmentBytes : bytes;
  counters.datagramsIn += piece < bytes ? Math.ceil(bytes / piece) : 1;
  if (p.checksumGood === 0 && !checksumGood(udp, p, at, length)) return;
  counters.bytesIn += bytes;
  const ports = view.getInt32(at + UDP_SRC_PORT, false);
  const first = udp.byPort.get(ports & 0xffff) ?? null;
  if (p.cast !== 0) {
    for (let s = first; s !== null; s = s.next)
      if (score(s, p, ports) > 0) deliver(udp, s, p, ports, bytes, piece);
    return;
  }
  const socket = udpLookup(first, p, ports);
  if (socket === null) {
    counters.noPort++;
    icmpSendUnreachable(ip, p, UNREACHABLE_PORT);
    return;
  }
  deliver(udp, socket, p, ports, bytes, piece);
}

/** A checksum of zero says that there is none; IPv6 must have one (RFC 768, RFC 8200 8.1). */
function checksumGood(udp: Udp, p: Packet, at: number, length: number): boolean {
  const { ip, counters } = udp;
  if (ip.view.getUint16(at + UDP_CHECKSUM, false) === 0) {
    if (p.version === 4) return true;
    counters.noChecksum++;
    return false;
  }
  // The pseudo-header has the datagram's length, which may be less than IP's.
  const sum = p.pseudoSum + (length - p.l4Length) + ip.arena.kernels.sum(at, length);
  if (fold(sum) === 0xffff) return true;
  counters.badChecksum++;
  return false;
}

/**
 * The socket that a datagram to one host is for: the most closely bound, and of several the one bound last, or by the
 * flow when they share the port for that.
 * @param p As the datagram arrives.
 */
export function udpLookup(first: UdpSocket | null, p: Packet, ports: number): UdpSocket | null {
  let best: UdpSocket | null = null;
  let bestScore = 0;
  let sharing = 0;
  for (let s = first; s !== null; s = s.next) {
    const its = score(s, p, ports);
    if (its > bestScore) {
      best = s;
      bestScore = its;
      sharing = 0;
    }
    if (its === bestScore && its > 0 && s.reusePort) sharing++;
  }
  if (sharing < 2 || best === null || !best.reusePort) return best;
  let skip = (Math.imul(p.src0 ^ p.src3 ^ ports, 0x9e3779b1) >>> 16) % sharing;
  for (let s = first; s !== null; s = s.next) {
    if (s.reusePort && score(s, p, ports) === bestScore && skip-- === 0) return s;
  }
  return best;
}

/** 0: not for this socket. */
function score(s: UdpSocket, p: Packet, ports: number): number {
  if (s.family !== 0 && s.family !== p.version) return 0;
  let points = 1;
  const { local, remote } = s;
  if (local !== null) {
    if (p.version === 4) {
      if (local.length !== 1 || (local[0] !== p.dst0 && p.cast === 0)) return 0;
    } else if (
      local.length !== 4 ||
      (p.cast === 0 &&
        (local[3] !== p.dst3 || local[0] !== p.dst0 || local[1] !== p.dst1 || local[2] !== p.dst2))
    ) {
      return 0;
    }
    // What goes to a group is for those bound to it, or to nothing.
    if (p.cast !== 0 && !boundToCast(local, p)) return 0;
    points += 2;
  }
  if (remote !== null) {
    if (s.remotePort !== ports >>> 16 || remote[0] !== p.src0) return 0;
    if (p.version === 6 && (remote[1] !== p.src1 || remote[2] !== p.src2 || remote[3] !== p.src3)) return 0;
    if (remote.length !== (p.version === 4 ? 1 : 4)) return 0;
    points += 4;
  }
  return points;
}

function boundToCast(local: readonly number[], p: Packet): boolean {
  if (p.version === 4) return local[0] === p.dst0;
  return local[0] === p.dst0 && local[1] === p.dst1 && local[2] === p.dst2 && local[3] === p.dst3;
}

/** @param piece Of `bytes`, so many are a datagram; an empty one is one, too. */
function deliver(udp: Udp, s: UdpSocket, p: Packet, ports: number, bytes: number, piece: number): void {
  const at = p.l4At + HEADER_BYTES;
  deliverOne(udp, s, p, ports, at, piece);
  for (let from = piece; from < bytes; from += piece) {
    deliverOne(udp, s, p, ports, at + from, Math.min(piece, bytes - from));
  }
}

function deliverOne(udp: Udp, s: UdpSocket, p: Packet, ports: number, at: number, length: number): void {
  const { events, record } = udp;
  if (s.paused) {
    eventFill(record, 0, s, MESSAGE, at, length);
    eventDescribe(record, 0, p, ports);
    udpQueue(udp, s, record, 0);
    return;
  }
  const e = events.push(s, MESSAGE, at, length);
  if (e < 0) udp.counters.eventsFull++;
  else eventDescribe(events.words, e, p, ports);
}

/**
 * Keeps a datagram for when the program goes on.
 * @param words @param e Its event, whose AT says where it still is.
 */
export function udpQueue(udp: Udp, s: UdpSocket, words: Int32Array, e: number): void {
  const { chunks, arena, counters, ip } = udp;
  const q = udp.queue(s);
  const length = words[e + LENGTH];
  const bytes = RECORD_BYTES + length;
  if (chunks.m[q + QUEUE_LENGTH] + bytes > s.receiveBuffer) {
    counters.receiveBufferFull++;
    return;
  }
  // All of it or nothing; the last chunk's rest is not counted on.
  if (chunks.free * chunks.dataBytes < bytes) {
    counters.receiveNoMemory++;
    return;
  }
  const record = ip.scratchAt >> 2;
  for (let i = 0; i < WORDS; i++) arena.i32[record + i] = words[e + i];
  queueAppend(chunks, q, ip.scratchAt, RECORD_BYTES);
  queueAppend(chunks, q, words[e + UDP_EVENT.AT], length);
}
