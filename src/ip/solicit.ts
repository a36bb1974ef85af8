/** What we say to neighbours: the questions of ARP and neighbour discovery, and their answers' frames. */
import { DESC_AT } from '../memory/ring.ts';
import { ARP_BYTES, ARP_REQUEST, arpWrite } from '../wire/arp.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_ARP, etherWrite } from '../wire/ethernet.ts';
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { ndpSolicit } from './ndp-output.ts';
import { txCommit, txSlot } from './output.ts';
import { sourceSelect4 } from './routes.ts';

/** As `macHigh`: the question goes to all, not to one known hardware address. */
export const EVERYBODY = -1;

/** RFC 5227 1.1, DEFEND_INTERVAL. */
const DEFEND_MS = 10_000;

/** Asks for the hardware address of a neighbour; `macHigh` EVERYBODY, or whom to ask whether it still is. */
export function solicit(
  ip: Ip,
  iface: Interface,
  version: number,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
  macHigh: number,
  macLow: number,
): void {
  // A cache may outlive the last address, and nobody can be asked without.
  if ((version === 6 ? iface.v6 : iface.v4).length === 0) return;
  if (version === 6) {
    ndpSolicit(ip, iface, a0, a1, a2, a3, macHigh, macLow);
    return;
  }
  const all = macHigh === EVERYBODY;
  const source = sourceSelect4(iface, a0).address;
  arpSend(ip, iface, ARP_REQUEST, all ? 0xffff : macHigh, all ? -1 : macLow, source, 0, 0, a0);
}

/** @returns false when no tx slot was free. */
export function arpSend(
  ip: Ip,
  iface: Interface,
  operation: number,
  dstHigh: number,
  dstLow: number,
  senderIp: number,
  targetMacHigh: number,
  targetMacLow: number,
  targetIp: number,
): boolean {
  const slot = txSlot(iface);
  if (slot === 0) {
    iface.counters.txFull++;
    return false;
  }
  const at = iface.port.tx.m[slot + DESC_AT];
  const { macHigh, macLow } = iface;
  etherWrite(ip.view, at, dstHigh, dstLow, macHigh, macLow, ETHERTYPE_ARP);
  const body = at + ETHER_HEADER_BYTES;
  arpWrite(ip.view, body, operation, macHigh, macLow, senderIp, targetMacHigh, targetMacLow, targetIp);
  txCommit(iface, slot, ETHER_HEADER_BYTES + ARP_BYTES, 0, 0);
  return true;
}

/** Whether an address of ours may be defended now: two hosts that both insist must not flood the link. */
export function mayDefend(ip: Ip, iface: Interface): boolean {
  if (iface.defended && ((ip.now_ms - iface.defended_ms) | 0) < DEFEND_MS) return false;
  iface.defended = true;
  iface.defended_ms = ip.now_ms;
  return true;
}
