/** Group and broadcast addresses: which they are, and the hardware addresses that stand for them. */
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';

/** @param low IPv6: the last word. IPv4: the address. @returns first two bytes (RFC 1112 6.4, RFC 2464 7) */
export function castMacHigh(version: number, low: number): number {
  if (version === 6) return 0x3333;
  return low >>> 28 === 14 ? 0x0100 : 0xffff;
}

/** Last four bytes. */
export function castMacLow(version: number, low: number): number {
  if (version === 6) return low;
  return low >>> 28 === 14 ? 0x5e00_0000 | (low & 0x7f_ffff) : -1;
}

/** 224.0.0.0/4. */
export function isGroup4(address: number): boolean {
  return address >>> 28 === 14;
}

/** Broadcast of all, or of a network that an interface is on. */
export function isBroadcast4(ip: Ip, address: number): boolean {
  return address === -1 || broadcastInterface4(ip, address) !== null;
}

/** The interface whose directed broadcast this is. */
export function broadcastInterface4(ip: Ip, address: number): Interface | null {
  for (const iface of ip.interfaces) {
    for (const a of iface.v4) if (a.prefixLength < 31 && a.broadcast === address) return iface;
  }
  return null;
}

/**
 * Where what goes to a group or to everybody leaves when nobody says: by the route to all, else by the first
 * interface.
 */
export function castInterface(ip: Ip, version: number): Interface | null {
  const routes = version === 4 ? ip.routes.v4 : ip.routes.v6;
  const last = routes.at(-1);
  if (last !== undefined && last.prefixLength === 0) return last.iface;
  return ip.interfaces.find((iface) => (version === 4 ? iface.v4 : iface.v6).length > 0) ?? null;
}
