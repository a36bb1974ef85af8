/**
 * UDP for programs: sockets with handlers, in the manner of the connections' (handlers.ts). Handlers run in the
 * engine's breath, and what they send leaves in it.
 */

import { castInterface } from '../ip/cast.ts';
import type { Interface } from '../ip/interface.ts';
import { QUEUE_LENGTH, queueCopy, queueDrop } from '../memory/byte-queue.ts';
import {
  udpBind,
  udpClose,
  udpConnect,
  udpDisconnect,
  udpJoin,
  udpLeave,
  udpMayBind,
  udpOpen,
} from '../udp/bind.ts';
import { UDP_ERROR, UDP_EVENT, UDP_MESSAGE, UDP_RESUME, UDP_WRITABLE } from '../udp/events.ts';
import { RECORD_BYTES, udpQueue } from '../udp/input.ts';
import { udpSend, udpWait, udpWaitDelay, udpWaitEnd } from '../udp/output.ts';
import { UDP_CODES, UDP_INVALID, UDP_LATER, UDP_STALE } from '../udp/reasons.ts';
import type { UdpSocket } from '../udp/socket.ts';
import type { Udp } from '../udp/udp.ts';
import { formatIpv4, formatIpv6, parseIp } from '../wire/address.ts';
import { EngineError } from './errors.ts';

const { HANDLE, KIND, AT, LENGTH, VERSION, PORTS, IFACE, TTL_TOS, SRC, DST, WORDS } = UDP_EVENT;
const [MESSAGE, ERROR, WRITABLE, RESUME] = [UDP_MESSAGE, UDP_ERROR, UDP_WRITABLE, UDP_RESUME];

/** A socket's handle: a small integer, refused once the socket is closed (counted in `staleHandles`). */
export type Sock = number;

/** All optional; what is missing does nothing, and missing `message` discards. */
export interface DatagramHandlers {
  /**
   * A datagram: `engine.arena.u8[at, at + length)`, in place; valid only until return. `engine.datagrams.from` tells
   * from where it came, and `engine.datagrams.reply` answers it.
   * @returns false to leave it, and what follows, in the socket's receive queue until `resume`; anything else is done
   */
  message?(sock: Sock, at: number, length: number): unknown;
  /** ICMP says of a connected socket's peer: `ECONNREFUSED`, or `EACCES`. The socket stays. */
  error?(sock: Sock, code: string): void;
  /** After a send that had to wait: try again. */
  writable?(sock: Sock): void;
}

export interface BindOptions {
  /** 0, or left out: one that is free. */
  readonly port?: number;
  /** One of our addresses, a group's or broadcast; all of ours when left out. */
  readonly address?: string;
  /** Both, unless told by this or `address`. */
  readonly family?: 4 | 6;
  /** Others that say so too may bind the same; the last one gets what goes to one host, all get what goes to groups. */
  readonly reuseAddress?: boolean;
  /** Others that say so too may bind the same, and share by the flow. */
  readonly reusePort?: boolean;
}

/** What `setOptions` changes; sizes in bytes. */
export interface DatagramOptions {
  readonly ttl?: number;
  readonly groupTtl?: number;
  /** Type of service, or traffic class. */
  readonly tos?: number;
  /** May send to broadcast addresses. */
  readonly broadcast?: boolean;
  /** Refuse what the path takes only in fragments: EMSGSIZE. */
  readonly dontFragment?: boolean;
  readonly receiveBuffer?: number;
  /** Index of the interface that sends to groups; -1: by route. */
  readonly groupInterface?: number;
}

/** Where to: made once, and good for any number of sends. */
export class Destination {
  readonly version: 4 | 6;
  readonly port: number;
  /** Words as in Packet. */
  readonly words: Int32Array;

  /** @throws AddressError, RangeError */
  constructor(address: string, port: number) {
    const words = parseIp(address);
    if (!(Number.isInteger(port) && port >= 0 && port <= 65_535))
      throw new RangeError(`port ${port} is not 0 to 65535`);
    this.version = words.length === 1 ? 4 : 6;
    this.words = Int32Array.of(0, 0, 0, 0);
    this.words.set(words);
    this.port = port;
  }
}

/** Of the datagram being handled; reused, so good until the handler returns. */
export class Origin {
  version: 4 | 6 = 4;
  port = 0;
  /** Words as in Packet: who sent it, and to which address of ours, or group. */
  readonly words: Int32Array = new Int32Array(4);
  readonly toWords: Int32Array = new Int32Array(4);
  toPort = 0;
  /** Index of the interface. */
  iface = 0;
  ttl = 0;
  tos = 0;

  get address(): string {
    return textOf(this.version, this.words);
  }

  get toAddress(): string {
    return textOf(this.version, this.toWords);
  }
}

interface HandlerSet {
  readonly message: (sock: Sock, at: number, length: number) => unknown;
  readonly error: (sock: Sock, code: string) => void;
  readonly writable: (sock: Sock) => void;
}

const ignore = (): void => {};

export class Datagrams {
  readonly udp: Udp;
  readonly from: Origin = new Origin();
  /** Calls with the handle of a closed socket. */
  staleHandles = 0;
  /** A handler threw; its socket stays. */
  onHandlerError: (error: unknown, sock: Sock) => void = ignore;
  readonly #sets: HandlerSet[] = [];
  readonly #known = new Map<DatagramHandlers, number>();
  /** Tells the engine that it has something to do. */
  readonly #work: () => void;
  readonly #readClock: () => void;

  constructor(udp: Udp, work: () => void, readClock: () => void) {
    this.udp = udp;
    this.#work = work;
    this.#readClock = readClock;
  }

  /** Opens a socket. @throws EngineError EADDRINUSE, EADDRNOTAVAIL, ENOBUFS, ERR_SOCKET_BAD_PORT */
  bind(options: BindOptions, handlers: DatagramHandlers): Sock {
    const { port = 0, address } = options;
    if (!Number.isInteger(port) || port < 0 || port > 65_535)
      throw new EngineError('ERR_SOCKET_BAD_PORT', `port ${port} is not 0 to 65535`);
    const local = address === undefined ? null : parseIp(address);
    if (local !== null && !udpMayBind(this.udp, local))
      throw new EngineError('EADDRNOTAVAIL', `${address} is no address of this stack`);
    const socket = udpOpen(this.udp, {
      family: options.family ?? (local === null ? 0 : local.length === 1 ? 4 : 6),
      handlers: this.#add(handlers),
      reuseAddress: options.reuseAddress ?? false,
      reusePort: options.reusePort ?? false,
    });
    if (socket === null) {
      const { udpSockets } = this.udp.limits;
      throw new EngineError('ENOBUFS', `all ${udpSockets} UDP sockets are in use; raise limits.udpSockets`);
    }
    if (!udpBind(this.udp, socket, port, local)) {
      udpClose(this.udp, socket);
      const what = port === 0 ? 'every ephemeral UDP port' : `UDP port ${port}`;
      throw new EngineError('EADDRINUSE', `${what} of ${address ?? 'all addresses'} is taken`);
    }
    return socket.handle;
  }

  /** From now on `send` needs no destination, and nothing from others is received. @throws EngineError */
  connect(sock: Sock, address: string, port: number): void {
    const socket = this.#find(sock);
    const result = socket === null ? UDP_STALE : udpConnect(this.udp, socket, parseIp(address), port);
    if (result < 0)
      throw new EngineError(UDP_CODES[-result], `the socket can't be connected to ${address} port ${port}`);
  }

  disconnect(sock: Sock): void {
    const socket = this.#find(sock);
    if (socket !== null) udpDisconnect(socket);
  }

  close(sock: Sock): void {
    const socket = this.#find(sock);
    if (socket === null) return;
    udpClose(this.udp, socket);
    this.#work();
  }

  /**
   * Sends `length` bytes of the arena, copied before it returns, as one datagram.
   * @param to Left out: to whom the socket is connected.
   * @returns 1: it is on its way; 0: not now, `writable` tells when to try again; negative: one of UDP_* in
   *   udp/reasons.ts, whose names are in UDP_CODES
   */
  send(sock: Sock, at: number, length: number, to?: Destination): number {
    return this.#send(sock, at, null, length, to);
  }

  /** `send` of `bytes[start, end)`. */
  write(sock: Sock, bytes: Uint8Array, to?: Destination, start = 0, end: number = bytes.length): number {
    return this.#send(sock, start, bytes, end - start, to);
  }

  /** Sends to where the datagram being handled came from, from the address that it came to. @returns as `send` */
  reply(sock: Sock, at: number, length: number): number {
    return this.#reply(sock, at, null, length);
  }

  /** `reply` with bytes of the program's. */
  replyBytes(sock: Sock, bytes: Uint8Array): number {
    return this.#reply(sock, 0, bytes, bytes.length);
  }

  /** Shows what waits, and goes on. */
  resume(sock: Sock): void {
    const socket = this.#find(sock);
    if (socket === null || !socket.paused) return;
    if (this.udp.events.push(socket, RESUME, 0, 0) < 0) this.udp.counters.eventsFull++;
    this.#work();
  }

  /**
   * Hears what is sent to a group, from any source.
   * @param iface Index of an interface; by route when left out.
   * @throws EngineError EINVAL (no group), EADDRINUSE (joined already), ENODEV, ENOBUFS, ENOTSUP (the port leaves what is
   * sent to groups to the host, see `Capabilities.groups`)
   */
  join(sock: Sock, group: string, iface?: number): void {
    const { socket, words, on: asked } = this.#membership(sock, group, iface);
    const on = asked ?? castInterface(this.udp.ip, words.length === 1 ? 4 : 6);
    if (on === null) throw new EngineError('ENODEV', `no interface has an address to hear ${group} with`);
    if (!on.port.capabilities.groups)
      throw new EngineError(
        'ENOTSUP',
        `${on.port.name} leaves to the host what is sent to groups: take packet: instead, or have the whole interface`,
      );
    const had = on.counters.groupsFull;
    if (udpJoin(this.udp, socket, words, on)) {
      this.#work();
      return;
    }
    if (on.counters.groupsFull !== had)
      throw new EngineError('ENOBUFS', `interface ${on.index} can't join more groups`);
    throw new EngineError('EADDRINUSE', `the socket has joined ${group} there already`);
  }

  /** @throws EngineError EINVAL, EADDRNOTAVAIL (not joined) */
  leave(sock: Sock, group: string, iface?: number): void {
    const { socket, words, on } = this.#membership(sock, group, iface);
    if (!udpLeave(this.udp, socket, words, on))
      throw new EngineError('EADDRNOTAVAIL', `the socket has not joined ${group} there`);
    this.#work();
  }

  setOptions(sock: Sock, options: DatagramOptions): void {
    const socket = this.#find(sock);
    if (socket === null) return;
    socket.ttl = options.ttl ?? socket.ttl;
    socket.groupTtl = options.groupTtl ?? socket.groupTtl;
    socket.tos = options.tos ?? socket.tos;
    socket.broadcast = options.broadcast ?? socket.broadcast;
    socket.dontFragment = options.dontFragment ?? socket.dontFragment;
    socket.receiveBuffer = options.receiveBuffer ?? socket.receiveBuffer;
    if (options.groupInterface !== undefined)
      socket.groupInterface = this.udp.ip.interfaces[options.groupInterface] ?? null;
  }

  /** Where a socket is bound; the address undefined when it is all of ours. null for a stale handle. */
  local(sock: Sock): { address: string | undefined; port: number } | null {
    const socket = this.#find(sock);
    if (socket === null) return null;
    return { address: socket.local === null ? undefined : text(socket.local), port: socket.port };
  }

  /** To whom it is connected, or null. */
  remote(sock: Sock): { address: string; port: number } | null {
    const socket = this.#find(sock);
    if (socket === null || socket.remote === null) return null;
    return { address: text(socket.remote), port: socket.remotePort };
  }

  /** Bytes that wait in a paused socket's queue. */
  receiveQueue(sock: Sock): number {
    const socket = this.#find(sock);
    return socket === null ? 0 : this.udp.chunks.m[this.udp.queue(socket) + QUEUE_LENGTH];
  }

  /** ms until there is something to dispatch. */
  get delay_ms(): number {
    return this.udp.events.count > 0 ? 0 : udpWaitDelay(this.udp);
  }

  /** Tells the programs. For the engine, once a breath. @returns how many events */
  dispatch(): number {
    const { udp } = this;
    const { events } = udp;
    if (udp.waiting.length > 0 && udpWaitDelay(udp) === 0) udpWaitEnd(udp);
    const end = events.count;
    for (let i = 0; i < end; i++) {
      const e = i * WORDS;
      const socket = udp.find(events.words[e + HANDLE]);
      if (socket === null) continue;
      try {
        this.#dispatch(socket, e);
      } catch (error) {
        this.onHandlerError(error, socket.handle);
      }
    }
    events.words.copyWithin(0, end * WORDS, events.count * WORDS);
    events.count -= end;
    return end;
  }

  #dispatch(socket: UdpSocket, e: number): void {
    const { udp } = this;
    const { words } = udp.events;
    const set = this.#sets[socket.handlers];
    switch (words[e + KIND]) {
      case MESSAGE:
        if (!socket.paused) {
          this.#describe(words, e);
          if (set.message(socket.handle, words[e + AT], words[e + LENGTH]) !== false) return;
          if (!socket.open) return;
          socket.paused = true;
        }
        udpQueue(udp, socket, udp.events.words, e);
        return;
      case ERROR:
        set.error(socket.handle, UDP_CODES[-words[e + AT]]);
        return;
      case WRITABLE:
        set.writable(socket.handle);
        return;
      case RESUME:
        this.#drain(socket, set);
    }
  }

  /** Shows what waited, one by one, until the program leaves one. */
  #drain(socket: UdpSocket, set: HandlerSet): void {
    const { udp } = this;
    const { chunks, record, shownAt } = udp;
    const q = udp.queue(socket);
    socket.paused = false;
    while (socket.open && !socket.paused && chunks.m[q + QUEUE_LENGTH] > 0) {
      queueCopy(chunks, q, 0, RECORD_BYTES, shownAt);
      record.set(udp.arena.i32.subarray(shownAt >> 2, (shownAt >> 2) + WORDS));
      const length = record[LENGTH];
      queueCopy(chunks, q, RECORD_BYTES, length, shownAt);
      this.#describe(record, 0);
      if (set.message(socket.handle, shownAt, length) === false) socket.paused = true;
      else if (socket.open) queueDrop(chunks, q, RECORD_BYTES + length);
    }
  }

  #describe(m: Int32Array, e: number): void {
    const { from } = this;
    from.version = m[e + VERSION] as 4 | 6;
    from.port = m[e + PORTS] >>> 16;
    from.toPort = m[e + PORTS] & 0xffff;
    from.iface = m[e + IFACE];
    from.ttl = m[e + TTL_TOS] >> 8;
    from.tos = m[e + TTL_TOS] & 0xff;
    for (let i = 0; i < 4; i++) {
      from.words[i] = m[e + SRC + i];
      from.toWords[i] = m[e + DST + i];
    }
  }

  #send(
    sock: Sock,
    at: number,
    bytes: Uint8Array | null,
    length: number,
    to: Destination | undefined,
  ): number {
    const socket = this.#find(sock);
    if (socket === null) return UDP_STALE;
    if (to === undefined) {
      const { remote } = socket;
      if (remote === null) return UDP_INVALID;
      const [d0, d1 = 0, d2 = 0, d3 = 0] = remote;
      const version = remote.length === 1 ? 4 : 6;
      return this.#sent(
        socket,
        udpSend(this.udp, socket, at, bytes, length, version, d0, d1, d2, d3, socket.remotePort),
      );
    }
    const { words: w, version, port } = to;
    return this.#sent(
      socket,
      udpSend(this.udp, socket, at, bytes, length, version, w[0], w[1], w[2], w[3], port),
    );
  }

  #reply(sock: Sock, at: number, bytes: Uint8Array | null, length: number): number {
    const socket = this.#find(sock);
    if (socket === null) return UDP_STALE;
    const { words: w, toWords, version, port } = this.from;
    // What came to a group is answered from an address.
    const group = version === 4 ? toWords[0] >>> 28 >= 14 : toWords[0] >>> 24 === 0xff;
    socket.answering = socket.local === null && !group && !this.#isBroadcast(version, toWords[0]);
    socket.asked.set(toWords);
    const result = udpSend(this.udp, socket, at, bytes, length, version, w[0], w[1], w[2], w[3], port);
    socket.answering = false;
    return this.#sent(socket, result);
  }

  #isBroadcast(version: number, address: number): boolean {
    if (version === 6) return false;
    for (const a of this.udp.ip.interfaces[this.from.iface].v4) if (a.broadcast === address) return true;
    return false;
  }

  #sent(socket: UdpSocket, result: number): number {
    if (result === UDP_LATER) udpWait(this.udp, socket);
    this.#work();
    return result;
  }

  #membership(
    sock: Sock,
    group: string,
    index: number | undefined,
  ): { socket: UdpSocket; words: number[]; on: Interface | null } {
    const socket = this.#find(sock);
    if (socket === null) throw new EngineError('EBADF', 'the socket is closed');
    const words = parseIp(group);
    if (words.length === 1 ? words[0] >>> 28 !== 14 : words[0] >>> 24 !== 0xff)
      throw new EngineError('EINVAL', `${group} is no group`);
    const on = index === undefined ? null : this.udp.ip.interfaces[index];
    if (on === undefined) throw new EngineError('ENODEV', `there is no interface ${index}`);
    return { socket, words, on };
  }

  #find(sock: Sock): UdpSocket | null {
    this.#readClock();
    const socket = this.udp.find(sock);
    if (socket === null) this.staleHandles++;
    return socket;
  }

  #add(handlers: DatagramHandlers): number {
    const known = this.#known.get(handlers);
    if (known !== undefined) return known;
    this.#sets.push({
      message: handlers.message?.bind(handlers) ?? ignore,
      error: handlers.error?.bind(handlers) ?? ignore,
      writable: handlers.writable?.bind(handlers) ?? ignore,
    });
    this.#known.set(handlers, this.#sets.length - 1);
    return this.#sets.length - 1;
  }
}

function text(words: readonly number[]): string {
  return words.length === 1 ? formatIpv4(words[0]) : formatIpv6(words);
}

function textOf(version: 4 | 6, words: Int32Array): string {
  return version === 4 ? formatIpv4(words[0]) : formatIpv6(words);
}
