/**
 * Headers in front of what an upper layer has put, or will put, in a tx slot: the link header and the IP header.
 *
 *   slot's DESC_AT ─► │ Ethernet 14 B │ IP 20 or 40 B │ upper layer …
 *                     └── iface.headroom4 / headroom6 ─┘
 */
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherWrite } from '../wire/ethernet.ts';
import { IPV4_DF, IPV4_HEADER_BYTES, IPV4_MF, ipv4Write } from '../wire/ipv4.ts';
import {
  FRAGMENT_BYTES,
  fragmentWrite,
  HEADER_FRAGMENT,
  IPV6_HEADER_BYTES,
  ipv6Write,
} from '../wire/ipv6.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { neighbourMacHigh, neighbourMacLow } from './neighbour-cache.ts';
import type { Packet } from './packet.ts';

// V8 folds a module's own constants, not imported ones.
const AT = DESC_AT;
const LENGTH = DESC_LENGTH;
const FLAGS = DESC_FLAGS;
const AUX = DESC_AUX;
const ETHER_BYTES = ETHER_HEADER_BYTES;
const V4_BYTES = IPV4_HEADER_BYTES;
const V6_BYTES = IPV6_HEADER_BYTES;
const TYPE_4 = ETHERTYPE_IPV4;
const TYPE_6 = ETHERTYPE_IPV6;
const DF = IPV4_DF;
const MF = IPV4_MF;
const PACKET_BYTES_MAX = 65_535;
const [TCP, UDP] = [PROTOCOL_TCP, PROTOCOL_UDP];
const LABEL_MASK = 0xf_ffff;

/** What a packet starts with when nobody says otherwise. */
export function ttlDefault(iface: Interface, version: number): number {
  return version === 4 ? iface.ttl : iface.hopLimit;
}

/** Word index of a free tx descriptor, or 0. It stays free until `txCommit`. */
export function txSlot(iface: Interface): number {
  const ring = iface.port.tx;
  return ((ring.tail - ring.head) | 0) > 0 && iface.up ? ring.slot(ring.head) : 0;
}

/** Hands the slot that `txSlot` gave to the device, which sees it at its next sync. */
export function txCommit(iface: Interface, slot: number, length: number, flags: number, aux: number): void {
  const ring = iface.port.tx;
  const { m } = ring;
  m[slot + LENGTH] = length;
  m[slot + FLAGS] = flags;
  m[slot + AUX] = aux;
  ring.head = (ring.head + 1) | 0;
}

/**
 * Writes `iface.headroom4` bytes at the frame's start. DF is set and so ID is 0 (RFC 6864 4.1).
 * @param neighbour A reference for which `neighbourUsable` has just said yes.
 * @param l4Length Bytes after the IP header; a super-segment's whole length.
 */
export function ipWriteHeader4(
  ip: Ip,
  iface: Interface,
  neighbour: number,
  at: number,
  src: number,
  dst: number,
  l4Length: number,
  tos: number,
  protocol: number,
  ttl: number,
): void {
  let header = at;
  if (iface.ether) {
    writeEther(ip, iface, neighbour, at, TYPE_4);
    header = at + ETHER_BYTES;
  }
  ipv4Write(ip.view, header, V4_BYTES + l4Length, protocol, src, dst, tos, ttl, 0, DF);
}

/**
 * Writes `iface.headroom6` bytes at the frame's start. The ports of TCP and UDP stand behind them already.
 * @param m Holds both addresses as four words each, at `src` and `dst`.
 */
export function ipWriteHeader6(
  ip: Ip,
  iface: Interface,
  neighbour: number,
  at: number,
  m: Int32Array,
  src: number,
  dst: number,
  l4Length: number,
  trafficClass: number,
  protocol: number,
  hopLimit: number,
): void {
  let header = at;
  if (iface.ether) {
    writeEther(ip, iface, neighbour, at, TYPE_6);
    header = at + ETHER_BYTES;
  }
  const label = flowLabel(ip, protocol, header + V6_BYTES, m[dst + 3]);
  ipv6Write(ip.view, header, l4Length, protocol, m, src, dst, (trafficClass << 20) | label, hopLimit);
}

/**
 * Each flow has a label of its own, which nobody can tell in advance (RFC 6437 3); what has no ports, none.
 * @param l4At Where its upper-layer header is. @param low Last word of its destination.
 */
function flowLabel(ip: Ip, protocol: number, l4At: number, low: number): number {
  if (protocol !== TCP && protocol !== UDP) return 0;
  let h = Math.imul(ip.view.getInt32(l4At, false) ^ ip.flowKey, 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15) ^ low, 0x846ca68b);
  return (h ^ (h >>> 16)) & LABEL_MASK || 1;
}

function writeEther(ip: Ip, iface: Interface, neighbour: number, at: number, type: number): void {
  const cache = iface.neighbours;
  etherWrite(
    ip.view,
    at,
    neighbourMacHigh(cache, neighbour),
    neighbourMacLow(cache, neighbour),
    iface.macHigh,
    iface.macLow,
    type,
  );
}

/**
 * Sends what `out` describes, its upper layer copied from [l4At, l4At + l4Length), to a hardware address that
 * is known. Not for the hot path.
 * @returns false when it was dropped and counted: no slot, or too large.
 */
export function ipTransmit(ip: Ip, iface: Interface, macHigh: number, macLow: number, out: Packet): boolean {
  const v4 = out.version === 4;
  const headroom = v4 ? iface.headroom4 : iface.headroom6;
  const packetBytes = out.l4Length + (v4 ? V4_BYTES : V6_BYTES);
  if (packetBytes > iface.mtu || headroom + out.l4Length > iface.port.frameBytes) {
    iface.counters.txTooBig++;
    return false;
  }
  const slot = txSlot(iface);
  if (slot === 0) {
    iface.counters.txFull++;
    return false;
  }
  const at = iface.port.tx.m[slot + AT];
  ipWriteHeaders(ip, iface, macHigh, macLow, out, at);
  ip.arena.kernels.copy(at + headroom, out.l4At, out.l4Length);
  txCommit(iface, slot, headroom + out.l4Length, 0, 0);
  return true;
}

/** Writes the headers of the whole packet that `out` describes, its `l4At` included, `iface.headroom4` or 6 bytes at `at`. */
export function ipWriteHeaders(
  ip: Ip,
  iface: Interface,
  macHigh: number,
  macLow: number,
  out: Packet,
  at: number,
): void {
  writeHeaders(ip, iface, macHigh, macLow, out, at, out.l4Length, out.protocol, 0, DF);
}

/**
 * `ipTransmit` in fragments that fit `mtu` (RFC 791, RFC 8200 4.5): all of them, or none.
 * @returns false when it was dropped and counted
 */
export function ipTransmitFragments(
  ip: Ip,
  iface: Interface,
  macHigh: number,
  macLow: number,
  out: Packet,
  mtu: number,
): boolean {
  const v4 = out.version === 4;
  const before = v4 ? 0 : FRAGMENT_BYTES;
  const headroom = (v4 ? iface.headroom4 : iface.headroom6) + before;
  const header = before + (v4 ? V4_BYTES : V6_BYTES);
  // All but the last carry whole units of 8 bytes.
  const share = (Math.min(mtu - header, iface.port.frameBytes - headroom) >> 3) << 3;
  const count = Math.ceil(out.l4Length / share);
  const ring = iface.port.tx;
  // IPv4's length field counts its header.
  if (out.l4Length + (v4 ? V4_BYTES : 0) > PACKET_BYTES_MAX || count > ring.slots) {
    iface.counters.txTooBig++;
    return false;
  }
  if (count > ((ring.tail - ring.head) | 0)) {
    iface.counters.txFull++;
    return false;
  }
  const id = ip.fragmentIds.next(out);
  for (let start = 0; start < out.l4Length; start += share) {
    const slot = txSlot(iface);
    const at = ring.m[slot + AT];
    const length = Math.min(share, out.l4Length - start);
    const more = start + length < out.l4Length;
    if (v4) {
      const fragment = (start >> 3) | (more ? MF : 0);
      writeHeaders(ip, iface, macHigh, macLow, out, at, length, out.protocol, id & 0xffff, fragment);
    } else {
      writeHeaders(ip, iface, macHigh, macLow, out, at, before + length, HEADER_FRAGMENT, 0, 0);
      fragmentWrite(ip.view, at + headroom - before, out.protocol, start | (more ? 1 : 0), id);
    }
    ip.arena.kernels.copy(at + headroom, out.l4At + start, length);
    txCommit(iface, slot, headroom + length, 0, 0);
    iface.counters.fragmentsOut++;
  }
  return true;
}

/** @param id @param fragment IPv4's fields. */
function writeHeaders(
  ip: Ip,
  iface: Interface,
  macHigh: number,
  macLow: number,
  out: Packet,
  at: number,
  payload: number,
  protocol: number,
  id: number,
  fragment: number,
): void {
  const v4 = out.version === 4;
  const header = iface.ether ? at + ETHER_BYTES : at;
  if (iface.ether)
    etherWrite(ip.view, at, macHigh, macLow, iface.macHigh, iface.macLow, v4 ? TYPE_4 : TYPE_6);
  if (v4) {
    const { src0, dst0, tos, ttl } = out;
    ipv4Write(ip.view, header, V4_BYTES + payload, protocol, src0, dst0, tos, ttl, id, fragment);
    return;
  }
  const w = ip.words;
  w[0] = out.src0;
  w[1] = out.src1;
  w[2] = out.src2;
  w[3] = out.src3;
  w[4] = out.dst0;
  w[5] = out.dst1;
  w[6] = out.dst2;
  w[7] = out.dst3;
  const label = flowLabel(ip, out.protocol, out.l4At, out.dst3);
  ipv6Write(ip.view, header, payload, protocol, w, 0, 4, (out.tos << 20) | label, out.ttl);
}
