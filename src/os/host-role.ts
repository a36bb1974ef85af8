/**
 * Gives an interface the part that another one has for the host: its addresses, and its routes before that one's own. That
 * one keeps them all, so that it has its part back as soon as the stand-in is gone, however it goes.
 */
import { concat } from '../wire/plain.ts';
import { interfaceInfo } from './interface.ts';
import {
  attribute,
  NLM_F_CREATE,
  NLM_F_EXCL,
  netlinkDump,
  netlinkRequest,
  readAttributes,
  u32,
} from './netlink.ts';

const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;

const AF_INET = 2;
const AF_INET6 = 10;

/** struct ifaddrmsg: family u8, prefix length u8, flags u8, scope u8, index u32. */
const IFADDR_BYTES = 8;
const IFADDR_SCOPE = 3;
const IFADDR_INDEX = 4;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
/** The address has been in use all the time; its network's route is copied with the others. */
const IFA_F_NODAD_NOPREFIXROUTE = 0x202;

/** struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type: u8; flags u32. */
const RT_BYTES = 12;
const RT_TABLE = 4;
const RT_SCOPE = 6;
const RT_TYPE = 7;
const RT_FLAGS = 8;
const RT_TABLE_MAIN = 254;
const RTN_UNICAST = 1;
const RT_SCOPE_LINK = 253;
const RTM_F_CLONED = 0x200;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_COPIED = [RTA_DST, RTA_GATEWAY, RTA_PREFSRC, RTA_METRICS];
/** Link-local and group addresses are every interface's own. */
const SCOPE_LINK = 253;

/** @param from Stays as it is. @param to Is up. @throws SystemError */
export function copyHostRole(from: string, to: string): void {
  const [source, target] = [interfaceInfo(from).index, interfaceInfo(to).index];
  for (const family of [AF_INET, AF_INET6]) {
    copyAddresses(family, source, target, `give ${to} the addresses of ${from}`);
    copyRoutes(family, source, target, `give ${to} the routes of ${from}`);
  }
}

function copyAddresses(family: number, source: number, target: number, what: string): void {
  for (const message of netlinkDump(what, RTM_GETADDR, header(IFADDR_BYTES, family))) {
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    if (view.getUint8(0) !== family || view.getUint32(IFADDR_INDEX, true) !== source) continue;
    if (family === AF_INET6 && message[IFADDR_SCOPE] === SCOPE_LINK) continue;
    const found = readAttributes(message.subarray(IFADDR_BYTES));
    const attributes = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST].flatMap((type) => {
      const value = found.get(type);
      return value === undefined ? [] : [attribute(type, value)];
    });
    const body = header(IFADDR_BYTES, family);
    [body[1], body[IFADDR_SCOPE]] = [message[1], message[IFADDR_SCOPE]];
    new DataView(body.buffer).setUint32(IFADDR_INDEX, target, true);
    const flags = attribute(IFA_FLAGS, u32(IFA_F_NODAD_NOPREFIXROUTE));
    netlinkRequest(what, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, concat(body, ...attributes, flags));
  }
}

function copyRoutes(family: number, source: number, target: number, what: string): void {
  const dump = netlinkDump(what, RTM_GETROUTE, header(RT_BYTES, family));
  const routes = dump.filter((message) => isRouteOf(message, family, source));
  // Gateways have to be on a link that is known already.
  routes.sort((a, b) => Number(hasGateway(a)) - Number(hasGateway(b)));
  for (const message of routes) {
    const found = readAttributes(message.subarray(RT_BYTES));
    const attributes = RTA_COPIED.flatMap((type) => {
      const value = found.get(type);
      return value === undefined ? [] : [attribute(type, value)];
    });
    attributes.push(attribute(RTA_OIF, u32(target)));
    // IPv4: of equal routes the last one made counts, and none is better than 0. IPv6: the kernel's own have 256 and more.
    attributes.push(attribute(RTA_PRIORITY, u32(family === AF_INET ? 0 : 1)));
    const body = message.slice(0, RT_BYTES);
    new DataView(body.buffer).setUint32(RT_FLAGS, 0, true);
    netlinkRequest(what, RTM_NEWROUTE, NLM_F_CREATE, concat(body, ...attributes));
  }
}

function isRouteOf(message: Uint8Array, family: number, source: number): boolean {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  if (message[0] !== family || message[RT_TABLE] !== RT_TABLE_MAIN || message[RT_TYPE] !== RTN_UNICAST)
    return false;
  if ((view.getUint32(RT_FLAGS, true) & RTM_F_CLONED) !== 0) return false;
  const found = readAttributes(message.subarray(RT_BYTES));
  const out = found.get(RTA_OIF);
  const dst = found.get(RTA_DST);
  const linkLocal = family === AF_INET6 && dst?.[0] === 0xfe && (dst[1] & 0xc0) === 0x80;
  return (
    out !== undefined && new DataView(out.buffer, out.byteOffset).getUint32(0, true) === source && !linkLocal
  );
}

function hasGateway(message: Uint8Array): boolean {
  return message[RT_SCOPE] !== RT_SCOPE_LINK && readAttributes(message.subarray(RT_BYTES)).has(RTA_GATEWAY);
}

function header(bytes: number, family: number): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(bytes);
  body[0] = family;
  return body;
}
