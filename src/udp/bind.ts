/** Sockets and their ends: opening, binding, connecting, groups, closing. */
import { groupJoin, groupLeave } from '../ip/groups.ts';
import { type Interface, interfaceHas4, interfaceHas6 } from '../ip/interface.ts';
import { routeLookup4, routeLookup6 } from '../ip/routes.ts';
import { queueClear } from '../memory/byte-queue.ts';
import { UDP_INVALID, UDP_NO_ROUTE } from './reasons.ts';
import { UdpSocket, type Words } from './socket.ts';
import type { Udp } from './udp.ts';

export interface UdpOpenOptions {
  readonly family: 0 | 4 | 6;
  readonly handlers: number;
  readonly reuseAddress: boolean;
  readonly reusePort: boolean;
}

/** @returns null at the limit */
export function udpOpen(udp: Udp, options: UdpOpenOptions): UdpSocket | null {
  const slot = udp.freeSlot();
  if (slot < 0) return null;
  const { family, handlers, reuseAddress, reusePort } = options;
  const handle = udp.nextHandle(slot);
  const { udpReceiveBuffer } = udp.limits;
  const socket = new UdpSocket(slot, handle, handlers, family, udpReceiveBuffer, reuseAddress, reusePort);
  udp.sockets[slot] = socket;
  return socket;
}

/**
 * @param port 0: one that is free.
 * @param local A group or broadcast address, too.
 * @returns false when the port is taken there
 */
export function udpBind(udp: Udp, socket: UdpSocket, port: number, local: Words): boolean {
  const chosen = port === 0 ? freePort(udp, socket, local) : port;
  if (chosen === 0 || (port !== 0 && taken(udp, socket, port, local))) return false;
  socket.port = chosen;
  socket.local = local;
  socket.localBound = local;
  socket.next = udp.byPort.get(chosen) ?? null;
  udp.byPort.set(chosen, socket);
  return true;
}

/** Only datagrams from there are received, and where to need not be said. @returns 0, or a negative UDP_* */
export function udpConnect(udp: Udp, socket: UdpSocket, remote: readonly number[], port: number): number {
  const { ip } = udp;
  if (port === 0 || !socket.takes(remote.length === 1 ? 4 : 6)) return UDP_INVALID;
  const v4 = remote.length === 1;
  const route = v4
    ? routeLookup4(ip, remote[0])
    : routeLookup6(ip, remote[0], remote[1], remote[2], remote[3]);
  if (route === null) return UDP_NO_ROUTE;
  const { src0, src1, src2, src3 } = ip.path;
  socket.remote = remote;
  socket.remotePort = port;
  socket.local = socket.localBound ?? (v4 ? [src0] : [src0, src1, src2, src3]);
  socket.neighbour = 0;
  return 0;
}

export function udpDisconnect(socket: UdpSocket): void {
  socket.remote = null;
  socket.remotePort = 0;
  socket.local = socket.localBound;
  socket.neighbour = 0;
}

export function udpClose(udp: Udp, socket: UdpSocket): void {
  if (!socket.open) return;
  socket.open = false;
  unlist(udp, socket);
  for (const { iface, version, group } of socket.memberships.splice(0)) leave(udp, iface, version, group);
  queueClear(udp.chunks, udp.queue(socket));
  udp.waiting = udp.waiting.filter((other) => other !== socket);
  udp.sockets[socket.slot] = null;
}

/** @returns false: it is joined there already, or the interface is full */
export function udpJoin(udp: Udp, socket: UdpSocket, group: readonly number[], on: Interface): boolean {
  const version = group.length === 1 ? 4 : 6;
  if (membership(socket, group, on) >= 0) return false;
  const [a0, a1 = 0, a2 = 0, a3 = 0] = group;
  if (!groupJoin(udp.ip, on, version, a0, a1, a2, a3, true)) return false;
  socket.memberships.push({ iface: on, version, group });
  return true;
}

/** @returns false when it isn't joined there */
export function udpLeave(
  udp: Udp,
  socket: UdpSocket,
  group: readonly number[],
  iface: Interface | null,
): boolean {
  const at = membership(socket, group, iface);
  if (at < 0) return false;
  const [{ iface: on, version }] = socket.memberships.splice(at, 1);
  leave(udp, on, version, group);
  return true;
}

function leave(udp: Udp, iface: Interface, version: 4 | 6, group: readonly number[]): void {
  const [a0, a1 = 0, a2 = 0, a3 = 0] = group;
  groupLeave(udp.ip, iface, version, a0, a1, a2, a3, true);
}

function membership(socket: UdpSocket, group: readonly number[], iface: Interface | null): number {
  return socket.memberships.findIndex(
    (m) => (iface === null || m.iface === iface) && sameWords(m.group, group),
  );
}

export function sameWords(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((word, i) => word === b[i]);
}

function unlist(udp: Udp, socket: UdpSocket): void {
  const first = udp.byPort.get(socket.port);
  if (first === undefined) return;
  if (first === socket) {
    if (socket.next === null) udp.byPort.delete(socket.port);
    else udp.byPort.set(socket.port, socket.next);
    return;
  }
  for (let s = first; s.next !== null; s = s.next) {
    if (s.next !== socket) continue;
    s.next = socket.next;
    return;
  }
}

/** Whether another socket has the port where this one would, and doesn't share it. */
function taken(udp: Udp, socket: UdpSocket, port: number, local: Words): boolean {
  for (let s = udp.byPort.get(port) ?? null; s !== null; s = s.next) {
    if (s.family !== 0 && socket.family !== 0 && s.family !== socket.family) continue;
    if (s.localBound !== null && local !== null && !sameWords(s.localBound, local)) continue;
    if ((s.reuseAddress && socket.reuseAddress) || (s.reusePort && socket.reusePort)) continue;
    return true;
  }
  return false;
}

/** RFC 6056 3.3.1: from a random one on, the first that nobody has at all. @returns 0 when there is none */
function freePort(udp: Udp, socket: UdpSocket, local: Words): number {
  const { hash } = udp;
  const { ephemeralPortMin: portMin, ephemeralPortMax: portMax } = udp.limits;
  const range = portMax - portMin + 1;
  hash.start();
  hash.word(udp.portCounter++);
  const offset = (hash.finish() >>> 0) % range;
  for (let i = 0; i < range; i++) {
    const port = portMin + ((offset + i) % range);
    if (!udp.byPort.has(port)) return port;
    if (!taken(udp, socket, port, local) && !socket.reuseAddress && !socket.reusePort) return port;
  }
  return 0;
}

/** Whether an address of one of our interfaces, or a group or broadcast address that datagrams may come to. */
export function udpMayBind(udp: Udp, local: readonly number[]): boolean {
  const { interfaces } = udp.ip;
  if (local.length === 4) {
    const [a0, a1, a2, a3] = local;
    return a0 >>> 24 === 0xff || interfaces.some((iface) => interfaceHas6(iface, a0, a1, a2, a3));
  }
  const [address] = local;
  return (
    address >>> 28 === 14 ||
    address === -1 ||
    interfaces.some((iface) => interfaceHas4(iface, address) || iface.v4.some((a) => a.broadcast === address))
  );
}
