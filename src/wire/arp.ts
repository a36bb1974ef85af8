/** ARP for IPv4 over Ethernet (RFC 826). */
import { formatIpv4, formatMac, macHigh, macLow, parseIpv4, parseMac } from './address.ts';
import { accept, viewOf } from './plain.ts';

export const ARP_HARDWARE = 0;
export const ARP_PROTOCOL = 2;
export const ARP_SIZES = 4;
export const ARP_OPERATION = 6;
export const ARP_SENDER_MAC = 8;
export const ARP_SENDER_IP = 14;
export const ARP_TARGET_MAC = 18;
export const ARP_TARGET_IP = 24;
export const ARP_BYTES = 28;

export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

export const ARP_TRUNCATED = -1;
/** Not Ethernet and IPv4, or not their address sizes. */
export const ARP_FOREIGN = -2;
/** Neither request nor reply. */
export const ARP_UNKNOWN_OPERATION = -3;
/** A sender with a group hardware address, which would make a neighbour of everybody (RFC 1812 3.3.2). */
export const ARP_GROUP_SENDER = -4;
export const ARP_REJECTS = [
  '',
  'truncated',
  'not Ethernet and IPv4',
  'unknown operation',
  'group sender',
] as const;

/** What follows the 28 bytes is padding. @returns ARP_BYTES or a reject code */
export function arpCheck(view: DataView, at: number, length: number): number {
  if (length < ARP_BYTES) return ARP_TRUNCATED;
  // Hardware type 1, protocol 0x0800; sizes 6 and 4.
  if (view.getInt32(at + ARP_HARDWARE, false) !== 0x0001_0800) return ARP_FOREIGN;
  if (view.getUint16(at + ARP_SIZES, false) !== 0x0604) return ARP_FOREIGN;
  const operation = arpOperation(view, at);
  if (operation !== ARP_REQUEST && operation !== ARP_REPLY) return ARP_UNKNOWN_OPERATION;
  if ((view.getUint8(at + ARP_SENDER_MAC) & 1) !== 0) return ARP_GROUP_SENDER;
  return ARP_BYTES;
}

export function arpOperation(view: DataView, at: number): number {
  return view.getUint16(at + ARP_OPERATION, false);
}

export function arpSenderMacHigh(view: DataView, at: number): number {
  return view.getUint16(at + ARP_SENDER_MAC, false);
}

export function arpSenderMacLow(view: DataView, at: number): number {
  return view.getInt32(at + ARP_SENDER_MAC + 2, false);
}

export function arpSenderIp(view: DataView, at: number): number {
  return view.getInt32(at + ARP_SENDER_IP, false);
}

export function arpTargetIp(view: DataView, at: number): number {
  return view.getInt32(at + ARP_TARGET_IP, false);
}

export function arpWrite(
  view: DataView,
  at: number,
  operation: number,
  senderMacHigh: number,
  senderMacLow: number,
  senderIp: number,
  targetMacHigh: number,
  targetMacLow: number,
  targetIp: number,
): void {
  view.setInt32(at + ARP_HARDWARE, 0x0001_0800, false);
  view.setInt32(at + ARP_SIZES, 0x0604_0000 | operation, false);
  view.setUint16(at + ARP_SENDER_MAC, senderMacHigh, false);
  view.setInt32(at + ARP_SENDER_MAC + 2, senderMacLow, false);
  view.setInt32(at + ARP_SENDER_IP, senderIp, false);
  view.setUint16(at + ARP_TARGET_MAC, targetMacHigh, false);
  view.setInt32(at + ARP_TARGET_MAC + 2, targetMacLow, false);
  view.setInt32(at + ARP_TARGET_IP, targetIp, false);
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface ArpPacket {
  operation: 'request' | 'reply';
  senderMac: string;
  senderIp: string;
  targetMac: string;
  targetIp: string;
}

/** @throws WireError */
export function parseArp(bytes: Uint8Array): ArpPacket {
  const view = viewOf(bytes);
  accept('arp', ARP_REJECTS, arpCheck(view, 0, bytes.length));
  return {
    operation: arpOperation(view, 0) === ARP_REQUEST ? 'request' : 'reply',
    senderMac: formatMac(bytes, ARP_SENDER_MAC),
    senderIp: formatIpv4(arpSenderIp(view, 0)),
    targetMac: formatMac(bytes, ARP_TARGET_MAC),
    targetIp: formatIpv4(arpTargetIp(view, 0)),
  };
}

export function emitArp(packet: ArpPacket): Uint8Array {
  const bytes = new Uint8Array(ARP_BYTES);
  const senderMac = parseMac(packet.senderMac);
  const targetMac = parseMac(packet.targetMac);
  arpWrite(
    viewOf(bytes),
    0,
    packet.operation === 'request' ? ARP_REQUEST : ARP_REPLY,
    macHigh(senderMac),
    macLow(senderMac),
    parseIpv4(packet.senderIp),
    macHigh(targetMac),
    macLow(targetMac),
    parseIpv4(packet.targetIp),
  );
  return bytes;
}
