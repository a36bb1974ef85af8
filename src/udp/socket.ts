/** One UDP socket: where it is bound, what it is connected to, and how it sends. */
import type { Interface } from '../ip/interface.ts';

/** A group that a socket has joined on an interface. */
export interface Membership {
  readonly iface: Interface;
  readonly version: 4 | 6;
  readonly group: readonly number[];
}

/** An address as words, one of IPv4 and four of IPv6; null: any of ours. */
export type Words = readonly number[] | null;

export class UdpSocket {
  /** Index in `udp.sockets`, and of its queue's words. */
  readonly slot: number;
  /** Index and generation: what programs hold. */
  readonly handle: number;
  /** Index of the program's handlers. */
  readonly handlers: number;
  /** 4, 6, or 0: both. */
  readonly family: 0 | 4 | 6;
  readonly reuseAddress: boolean;
  readonly reusePort: boolean;
  port = 0;
  local: Words = null;
  /** Chosen by connect(), and given up by disconnect(). */
  localBound: Words = null;
  remote: Words = null;
  remotePort = 0;
  /** Next on the same port, bound earlier, or null. */
  next: UdpSocket | null = null;
  readonly memberships: Membership[] = [];

  /** 0: the interface's default. */
  ttl = 0;
  /** RFC 1112 6.1. */
  groupTtl = 1;
  /** Where what goes to groups leaves; null: by route. */
  groupInterface: Interface | null = null;
  tos = 0;
  broadcast = false;
  /** EMSGSIZE for what the path takes only in fragments. */
  dontFragment = false;
  /** Bytes that may wait while paused. */
  receiveBuffer: number;
  paused = false;
  /** A send had to wait: `writable` is owed. */
  waits = false;
  open = true;

  // ── Where the last datagram went ──
  /** Neighbour, as long as it is usable; `routes.version` of then. 0: none. */
  neighbour = 0;
  routesVersion = 0;
  iface: Interface | null = null;
  lastVersion = 0;
  readonly last = new Int32Array(4);
  lastPort = 0;
  /** Its source: bound, chosen by route, or, when `answered`, the address that was asked. */
  readonly source = new Int32Array(4);
  answered = false;
  /** While an answer is being sent: the address that was asked. */
  answering = false;
  readonly asked = new Int32Array(4);

  constructor(
    slot: number,
    handle: number,
    handlers: number,
    family: 0 | 4 | 6,
    receiveBuffer: number,
    reuseAddress: boolean,
    reusePort: boolean,
  ) {
    this.slot = slot;
    this.handle = handle;
    this.handlers = handlers;
    this.family = family;
    this.receiveBuffer = receiveBuffer;
    this.reuseAddress = reuseAddress;
    this.reusePort = reusePort;
  }

  takes(version: number): boolean {
    return this.family === 0 || this.family === version;
  }
}
