/**
 * Addresses of an interface as they come and go, and the link as it goes up and down. Where an interface takes part
 * in what its link arranges (`autoconfigure`), an address is tentative at first: others on the link are asked whether
 * they have it, by probes of ARP (RFC 5227 2.1) or duplicate address detection (RFC 4862 5.4), and only when nobody
 * says so is it ours, and is announced.
 *
 *   IPv4: up to 1 s, three probes 1 to 2 s apart, 2 s; announced at once and 2 s later
 *   IPv6: up to 1 s, one solicitation, 1 s (or the retransmission time that routers say)
 */
import { ARP_REQUEST } from '../wire/arp.ts';
import { groupJoin, groupLeave } from './groups.ts';
import {
  Address4,
  Address6,
  type Interface,
  interfaceHas4,
  interfaceHas6,
  interfaceOnLink4,
  interfaceOnLink6,
} from './interface.ts';
import type { Ip } from './ip.ts';
import { ndpAnnounce, ndpProbe } from './ndp-output.ts';
import { neighboursForget } from './neighbours.ts';
import { arpSend } from './solicit.ts';

/** RFC 5227 1.1, ms. */
const PROBE_WAIT_MS = 1000;
const PROBES = 3;
const PROBE_MIN_MS = 1000;
const PROBE_MAX_MS = 2000;
const ANNOUNCE_WAIT_MS = 2000;
const ANNOUNCEMENTS = 2;
const ANNOUNCE_INTERVAL_MS = 2000;
/** RFC 4862 5.1, 5.4.2. */
const SOLICITS = 1;
const SOLICIT_WAIT_MS = 1000;

export class Tentative {
  readonly address: Address4 | Address6;
  sent = 0;
  due_ms: number;

  constructor(address: Address4 | Address6, due_ms: number) {
    this.address = address;
    this.due_ms = due_ms;
  }
}

/** An IPv4 address that is to be announced again. */
export class Announcement {
  readonly address: number;
  left = ANNOUNCEMENTS;
  due_ms: number;

  constructor(address: number, due_ms: number) {
    this.address = address;
    this.due_ms = due_ms;
  }
}

/** What became of an address, as `ip.onAddress` gets it. */
export interface AddressChange {
  /** 'duplicate': it was to be ours, and is somebody's already. */
  readonly kind: 'added' | 'removed' | 'duplicate';
  readonly iface: Interface;
  readonly address: Address4 | Address6;
}

/** Makes an address ours, after having asked whether it is somebody's where that is the way. */
export function addressBegin(ip: Ip, iface: Interface, address: Address4 | Address6): void {
  if (iface.auto === null || !iface.ether) {
    assign(ip, iface, address);
    if (address instanceof Address6 && address.origin === 'link-local') iface.auto?.linkUp();
    return;
  }
  // Its group is joined first: others may be about to use it too (RFC 4862 5.4.2).
  if (address instanceof Address6) joinSolicited(ip, iface, address, true);
  const delay_ms = ip.random.below(address instanceof Address6 ? SOLICIT_WAIT_MS : PROBE_WAIT_MS);
  iface.tentative.push(new Tentative(address, (ip.now_ms + delay_ms) | 0));
  ip.armTimer(delay_ms);
}

/** Ends an address of ours, or one that was to be. */
export function addressEnd(ip: Ip, iface: Interface, address: Address4 | Address6): void {
  const tentative = iface.tentative.findIndex((other) => other.address === address);
  if (address instanceof Address6) leaveSolicited(ip, iface, address);
  if (tentative >= 0) {
    iface.tentative.splice(tentative, 1);
    return;
  }
  const list: (Address4 | Address6)[] = address instanceof Address6 ? iface.v6 : iface.v4;
  list.splice(list.indexOf(address), 1);
  ip.routes.version++;
  ip.onAddress?.({ kind: 'removed', iface, address });
}

/** Sends the probes that are due, and makes ours what nobody has. @returns ms until the next, or -1 */
export function addressTimers(ip: Ip, iface: Interface): number {
  const { now_ms } = ip;
  for (const tentative of iface.tentative.slice()) {
    if (((tentative.due_ms - now_ms) | 0) > 0) continue;
    const delay_ms =
      tentative.address instanceof Address6
        ? ask6(ip, iface, tentative, tentative.address)
        : ask4(ip, iface, tentative, tentative.address);
    tentative.due_ms = (now_ms + delay_ms) | 0;
  }
  for (const announcement of iface.announcements.slice()) {
    if (((announcement.due_ms - now_ms) | 0) > 0) continue;
    announcement.due_ms = (now_ms + ANNOUNCE_INTERVAL_MS) | 0;
    const { address } = announcement;
    const ours = interfaceHas4(iface, address);
    if (ours) arpSend(ip, iface, ARP_REQUEST, 0xffff, -1, address, 0, 0, address);
    if (--announcement.left === 0 || !ours)
      iface.announcements.splice(iface.announcements.indexOf(announcement), 1);
  }
  let next_ms = -1;
  for (const { due_ms } of [...iface.tentative, ...iface.announcements]) {
    const left_ms = Math.max(0, (due_ms - now_ms) | 0);
    if (next_ms < 0 || left_ms < next_ms) next_ms = left_ms;
  }
  return next_ms;
}

/** Somebody else has, or is about to have, an address that was to be ours. @returns whether it was */
export function tentativeConflict4(ip: Ip, iface: Interface, address: number): boolean {
  return conflict(ip, iface, (other) => other instanceof Address4 && other.address === address);
}

export function tentativeConflict6(
  ip: Ip,
  iface: Interface,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
): boolean {
  return conflict(ip, iface, (other) => other instanceof Address6 && other.is(a0, a1, a2, a3));
}

/**
 * The link is up, or no longer: nothing is sent or taken while it is down, neighbours are forgotten, and addresses are
 * asked about again once it is back (RFC 4862 5.4: another link it may be).
 */
export function linkSet(ip: Ip, iface: Interface, up: boolean): void {
  if (iface.up === up) return;
  iface.up = up;
  neighboursForget(iface);
  ip.routes.version++;
  if (!up || iface.auto === null || !iface.ether) return;
  for (const { address } of iface.tentative.splice(0)) {
    if (address instanceof Address6) leaveSolicited(ip, iface, address);
    addressBegin(ip, iface, address);
  }
  // Those in use stay so meanwhile (RFC 4429's optimism): connections outlive a cable that was pulled.
  for (const { address } of iface.v4) announce(ip, iface, address);
  for (const { a0, a1, a2, a3 } of iface.v6) ndpAnnounce(ip, iface, a0, a1, a2, a3);
  iface.auto.linkUp();
}

/** Whether a gateway can still be sent to: routes by others go with the address that made them possible. */
export function routesSweep(ip: Ip, iface: Interface): void {
  for (const route of [...ip.routes.v4, ...ip.routes.v6]) {
    if (route.iface !== iface || route.learnt) continue;
    const n = route.gateway ?? route.network;
    const onLink =
      route.version === 4
        ? interfaceOnLink4(iface, n[0]) || iface.v4.some((a) => a.network === n[0])
        : interfaceOnLink6(iface, n[0], n[1], n[2], n[3]);
    const sourceless = (route.version === 4 ? iface.v4 : iface.v6).length === 0;
    const connected = route.gateway === null;
    if (sourceless || ((connected || iface.ether) && !onLink)) ip.routes.remove(route);
  }
}

function ask4(ip: Ip, iface: Interface, tentative: Tentative, address: Address4): number {
  if (tentative.sent === PROBES) {
    assign(ip, iface, address);
    announce(ip, iface, address.address);
    return 0;
  }
  if (!arpSend(ip, iface, ARP_REQUEST, 0xffff, -1, 0, 0, 0, address.address)) return 1;
  tentative.sent++;
  if (tentative.sent === PROBES) return ANNOUNCE_WAIT_MS;
  return PROBE_MIN_MS + ip.random.below(PROBE_MAX_MS - PROBE_MIN_MS);
}

function ask6(ip: Ip, iface: Interface, tentative: Tentative, address: Address6): number {
  const { a0, a1, a2, a3 } = address;
  if (tentative.sent === SOLICITS) {
    assign(ip, iface, address);
    ndpAnnounce(ip, iface, a0, a1, a2, a3);
    if (a0 >>> 22 === 0x3fa) iface.auto?.linkUp();
    return 0;
  }
  if (!ndpProbe(ip, iface, a0, a1, a2, a3)) return 1;
  tentative.sent++;
  return iface.retrans_ms;
}

function assign(ip: Ip, iface: Interface, address: Address4 | Address6): void {
  const at = iface.tentative.findIndex((other) => other.address === address);
  if (at >= 0) iface.tentative.splice(at, 1);
  if (address instanceof Address4) iface.v4.push(address);
  else {
    if (at < 0) joinSolicited(ip, iface, address, false);
    iface.v6.push(address);
  }
  ip.routes.version++;
  ip.onAddress?.({ kind: 'added', iface, address });
}

function announce(ip: Ip, iface: Interface, address: number): void {
  iface.announcements.push(new Announcement(address, ip.now_ms));
  ip.armTimer(0);
}

function conflict(ip: Ip, iface: Interface, same: (address: Address4 | Address6) => boolean): boolean {
  const tentative = iface.tentative.find(({ address }) => same(address));
  if (tentative === undefined) return false;
  const { address } = tentative;
  addressEnd(ip, iface, address);
  iface.counters.duplicateAddresses++;
  ip.onAddress?.({ kind: 'duplicate', iface, address });
  if (address instanceof Address6) iface.auto?.duplicate(address);
  return true;
}

/** Neighbours ask for an address by this group (RFC 4291 2.7.1). */
function joinSolicited(ip: Ip, iface: Interface, a: Address6, told: boolean): void {
  groupJoin(ip, iface, 6, 0xff02_0000 | 0, 0, 1, 0xff00_0000 | (a.a3 & 0xff_ffff), told);
}

function leaveSolicited(ip: Ip, iface: Interface, a: Address6): void {
  const told = iface.auto !== null;
  groupLeave(ip, iface, 6, 0xff02_0000 | 0, 0, 1, 0xff00_0000 | (a.a3 & 0xff_ffff), told);
}

/** Whether an interface of the stack has an address already, or is about to. */
export function addressTaken(ip: Ip, address: Address4 | Address6): boolean {
  for (const iface of ip.interfaces) {
    for (const { address: other } of iface.tentative) if (sameAddress(other, address)) return true;
    if (address instanceof Address4) {
      if (interfaceHas4(iface, address.address)) return true;
    } else if (interfaceHas6(iface, address.a0, address.a1, address.a2, address.a3)) return true;
  }
  return false;
}

export function sameAddress(a: Address4 | Address6, b: Address4 | Address6): boolean {
  if (a instanceof Address4) return b instanceof Address4 && a.address === b.address;
  return b instanceof Address6 && a.is(b.a0, b.a1, b.a2, b.a3);
}
