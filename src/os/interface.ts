/** The host's side of network interfaces: addresses, routes, MTU, up and down; what `ip` does, by rtnetlink. */
import { readFileSync } from 'node:fs';
import {
  type Cidr,
  formatCidr,
  formatMac,
  parseCidr,
  parseIpv4,
  parseIpv6,
  parseMac,
} from '../wire/address.ts';
import { concat } from '../wire/plain.ts';
import {
  attribute,
  NLM_F_CREATE,
  NLM_F_EXCL,
  netlinkRequest,
  readAttributes,
  textOf,
  u32,
} from './netlink.ts';

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_NEWROUTE = 24;

/** struct ifinfomsg: family u8, pad u8, type u16, index i32, flags u32, change u32. */
const IFINFO_BYTES = 16;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINKINFO = 18;
/** In IFLA_LINKINFO. */
const IFLA_INFO_KIND = 1;
const IFLA_XDP = 43;
/** In IFLA_XDP. */
const IFLA_XDP_PROG_ID = 4;
/** Of ifinfomsg. */
const ARPHRD_ETHER = 1;
const IFF_UP = 1;

/** struct ifaddrmsg: family u8, prefix length u8, flags u8, scope u8, index u32. */
const IFADDR_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 2;

/** struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type: u8; flags u32. */
const RT_BYTES = 12;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RT_TABLE_MAIN = 254;
const RTPROT_STATIC = 4;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;

const AF_INET = 2;
const AF_INET6 = 10;

export interface InterfaceInfo {
  readonly index: number;
  readonly up: boolean;
  /** Bytes. */
  readonly mtu: number;
  /** '' when it has none (TUN). */
  readonly mac: string;
  /** Its frames begin with an Ethernet header. */
  readonly ether: boolean;
  /** The kind of a virtual device: `veth`, `tun`, `bridge`; '' for hardware. */
  readonly kind: string;
  /** Of the XDP program that is attached; 0 for none, and when there are several. */
  readonly xdpProgram: number;
}

/** @throws SystemError, ENODEV when there is no such interface */
export function interfaceInfo(name: string): InterfaceInfo {
  const answer = netlinkRequest(`look up ${name}`, RTM_GETLINK, 0, linkBody(name), true);
  const view = new DataView(answer.buffer, answer.byteOffset, answer.length);
  const attributes = readAttributes(answer.subarray(IFINFO_BYTES));
  const mtu = attributes.get(IFLA_MTU);
  const mac = attributes.get(IFLA_ADDRESS);
  const kind = nested(attributes, IFLA_LINKINFO).get(IFLA_INFO_KIND);
  return {
    index: view.getInt32(4, true),
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    mtu: readU32(mtu),
    mac: mac?.length === 6 ? formatMac(mac) : '',
    ether: view.getUint16(2, true) === ARPHRD_ETHER,
    kind: kind === undefined ? '' : textOf(kind),
    xdpProgram: readU32(nested(attributes, IFLA_XDP).get(IFLA_XDP_PROG_ID)),
  };
}

function nested(attributes: ReadonlyMap<number, Uint8Array>, type: number): Map<number, Uint8Array> {
  return readAttributes(attributes.get(type) ?? new Uint8Array(0));
}

/** 0 when there is none. */
function readU32(value: Uint8Array | undefined): number {
  return value === undefined ? 0 : new DataView(value.buffer, value.byteOffset).getUint32(0, true);
}

export interface InterfaceSettings {
  readonly up?: boolean;
  /** Bytes. */
  readonly mtu?: number;
  /** The interface must be down for most drivers. */
  readonly mac?: string;
}

/** Changes what is given, at once or not at all. @throws SystemError */
export function setInterface(name: string, { up, mtu, mac }: InterfaceSettings): void {
  const attributes: Uint8Array[] = [];
  if (mtu !== undefined) attributes.push(attribute(IFLA_MTU, u32(mtu)));
  if (mac !== undefined) attributes.push(attribute(IFLA_ADDRESS, parseMac(mac)));
  const body = linkBody(name, ...attributes);
  if (up !== undefined) {
    const view = new DataView(body.buffer);
    view.setUint32(8, up ? IFF_UP : 0, true);
    view.setUint32(12, IFF_UP, true);
  }
  const changes = JSON.stringify({ up, mtu, mac });
  netlinkRequest(`set ${name} to ${changes}`, RTM_NEWLINK, 0, body);
}

/**
 * Gives the host an address on the interface, and by it a route to the prefix. An IPv6 address is usable at once:
 * nobody else can have it on a link whose other end is us, so there is no duplicate detection (RFC 4862 5.4).
 * @param cidr The address with its prefix length: `10.0.0.1/24`, `fd00::1/64`.
 * @throws SystemError, AddressError
 */
export function addAddress(name: string, cidr: string): void {
  const parsed = parseCidr(cidr);
  const body = new Uint8Array(IFADDR_BYTES);
  body[0] = parsed.family === 4 ? AF_INET : AF_INET6;
  body[1] = parsed.length;
  new DataView(body.buffer).setUint32(4, interfaceInfo(name).index, true);
  const address = addressBytes(parsed);
  const attributes = [attribute(IFA_LOCAL, address), attribute(IFA_ADDRESS, address)];
  if (parsed.family === 6) attributes.push(attribute(IFA_FLAGS, u32(IFA_F_NODAD)));
  // A /31 and a /32 have no broadcast address (RFC 3021).
  else if (parsed.length < 31) attributes.push(attribute(IFA_BROADCAST, broadcastBytes(parsed)));
  netlinkRequest(
    `add ${cidr} to ${name}`,
    RTM_NEWADDR,
    NLM_F_CREATE | NLM_F_EXCL,
    concat(body, ...attributes),
  );
  if (parsed.family === 6 && interfaceInfo(name).up) awaitLocalRoute(address);
}

/** What a kernel's work queue takes at most, ms; longer, and something else is wrong. */
const ROUTE_WAIT_MS = 500;

/**
 * Until the kernel takes packets for an IPv6 address as its own: it makes that route in a work queue, after the
 * address was acknowledged, and drops what comes before.
 */
function awaitLocalRoute(address: Uint8Array): void {
  const line = new RegExp(`^${Buffer.from(address).toString('hex')} 80 `, 'm');
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let waited_ms = 0; waited_ms < ROUTE_WAIT_MS; waited_ms++) {
    if (line.test(readFileSync('/proc/thread-self/net/ipv6_route', 'utf8'))) return;
    Atomics.wait(pause, 0, 0, 1);
  }
}

/**
 * Routes a network through the interface; it goes when the interface goes.
 * @param network Without host bits; `0.0.0.0/0` and `::/0` are the default.
 * @param gateway The next hop, unless the network is on the link itself.
 * @throws SystemError, AddressError
 */
export function addRoute(name: string, network: string, gateway?: string): void {
  const parsed = parseCidr(network);
  const v4 = parsed.family === 4;
  const body = new Uint8Array(RT_BYTES);
  body[0] = v4 ? AF_INET : AF_INET6;
  body[1] = parsed.length;
  body[4] = RT_TABLE_MAIN;
  body[5] = RTPROT_STATIC;
  body[6] = v4 && gateway === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  body[7] = RTN_UNICAST;
  const attributes = [
    attribute(RTA_DST, addressBytes(parsed)),
    attribute(RTA_OIF, u32(interfaceInfo(name).index)),
  ];
  if (gateway !== undefined) {
    const hop = v4 ? bigEndian([parseIpv4(gateway)]) : bigEndian(parseIpv6(gateway));
    attributes.push(attribute(RTA_GATEWAY, hop));
  }
  const what = `route ${formatCidr(parsed)} to ${name}${gateway === undefined ? '' : ` via ${gateway}`}`;
  netlinkRequest(what, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, concat(body, ...attributes));
}

/** An ifinfomsg that means the interface by its name. */
function linkBody(name: string, ...attributes: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(`${name}\0`);
  return concat(new Uint8Array(IFINFO_BYTES), attribute(IFLA_IFNAME, text), ...attributes);
}

function addressBytes(cidr: Cidr): Uint8Array {
  return bigEndian(cidr.family === 4 ? [cidr.address] : cidr.address);
}

function broadcastBytes(cidr: Cidr & { family: 4 }): Uint8Array {
  return bigEndian([cidr.address | (-1 >>> cidr.length)]);
}

function bigEndian(words: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < words.length; i++) view.setInt32(i * 4, words[i], false);
  return bytes;
}
