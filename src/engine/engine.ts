/**
 * One core's engine: interfaces, IP and TCP over one arena, driven by `breath` (Snabb's word for one turn of the
 * loop). It owns no thread and no clock: whoever runs it calls `breath(now)` when packets may have come, when
 * `nextDeadline` is over, or when it asks by `onWork`.
 */
import type { Port } from '../device/port.ts';
import type { AddressChange } from '../ip/addresses.ts';
import { ipInput } from '../ip/input.ts';
import type { Interface } from '../ip/interface.ts';
import { type InterfaceOptions, Ip, ipTimers } from '../ip/ip.ts';
import type { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH, FRAME_SEGMENT } from '../memory/ring.ts';
import { OPEN_IN_USE, OPEN_NO_PORT, OPEN_NO_ROUTE, tcpOpen } from '../tcp/active-open.ts';
import { COLD, FLAG, FLAG2, STATE, TCB } from '../tcp/block.ts';
import { BlockPool } from '../tcp/block-pool.ts';
import { tcpAbort, tcpClose, tcpLinger, tcpShutdown } from '../tcp/close.ts';
import { coldOf } from '../tcp/cold.ts';
import {
  type CongestionChoice,
  type CongestionControl,
  congestionChange,
} from '../tcp/congestion/control.ts';
import { paceDelay, paceRun } from '../tcp/congestion/pacing.ts';
import { type EcnMode, ecnCodepoint } from '../tcp/ecn.ts';
import { EVENT_RESUME, EVENT_WRITABLE, eventPush } from '../tcp/events.ts';
import { tcpIcmpError } from '../tcp/icmp-errors.ts';
import { type TcpInfo, tcpInfo } from '../tcp/info.ts';
import { tcpInput } from '../tcp/input.ts';
import { tcpAddressGone, tcpMtuChanged } from '../tcp/interface-changes.ts';
import { ipFields, ipFieldsOf, ipFieldsSet } from '../tcp/ip-fields.ts';
import { listenerAdd, listenerRemove } from '../tcp/listen.ts';
import { LIST_UNRESOLVED, OutputLists, unresolvedDelay } from '../tcp/lists.ts';
import { LEVEL_HIGH, LEVEL_NAMES, memoryLevel } from '../tcp/memory.ts';
import { tcpOutput } from '../tcp/output.ts';
import { receiveLost } from '../tcp/receive.ts';
import { receiveBufferSet } from '../tcp/receive-window.ts';
import { memoryReclaim } from '../tcp/reclaim.ts';
import { sendBufferSet, sendLowWaterSet, sendRoom, tcpSend, tcpSendBytes } from '../tcp/send.ts';
import { SOURCE_ROUTE_HOPS_MAX, type SourceRoute, sourceRoute } from '../tcp/source-route.ts';
import { CONGESTION_CONTROLS, Tcp } from '../tcp/tcp.ts';
import { timeWaitExpire } from '../tcp/time-wait.ts';
import { keepStart, timerExpired } from '../tcp/timers.ts';
import { urgentLeft, urgentMark } from '../tcp/urgent.ts';
import { udpIcmpError } from '../udp/icmp-errors.ts';
import { udpInput } from '../udp/input.ts';
import { Udp } from '../udp/udp.ts';
import { formatIpv4, formatIpv6, parseIp } from '../wire/address.ts';
import { Datagrams } from './datagrams.ts';
import { dispatchEvents, HandlerSets } from './dispatch.ts';
import { EngineError } from './errors.ts';
import type { Conn, Handlers } from './handlers.ts';
import { LIMITS_DEFAULT, type Limits } from './limits.ts';
import { Touch } from './touch.ts';

const AT = DESC_AT;
const LENGTH = DESC_LENGTH;
const FRAME_FLAGS = DESC_FLAGS;
const AUX = DESC_AUX;
const SEGMENT = FRAME_SEGMENT;
const { FLAGS, STATE: ST, HANDLE } = TCB;
const { CLOSED, FREE, UNREAD } = STATE;
const PROTOCOL_TCP = 6;

/** Frames taken from an interface in one breath. */
const BURST = 64;
/** Output leaves some slots to control segments, so a ring must have more. */
const TX_SLOTS_MIN = 16;
/** Sizes of buffers, bytes. */
const BUFFER_MIN = 256;
const BUFFER_MAX = 2 ** 30;
/** Fast Open connections whose handshake isn't done, of one listener, unless it says otherwise. */
const FAST_OPEN_PENDING = 256;
/** Timers run in one breath. */
const TIMERS = 1024;

export interface EngineOptions {
  readonly arena: Arena;
  readonly limits?: Partial<Limits>;
  /** Unpredictable words: keys of the hashes that strangers must not know. */
  readonly secret: Int32Array;
  /** Four words that autoconfigured addresses are made of; the same give the same (RFC 7217). Random unless told. */
  readonly addressSecret?: Int32Array;
  /** The clock's present reading, ms. */
  readonly now: number;
  /**
   * Reads the clock that `breath` is given, for calls that come between breaths: what they start to time would
   * otherwise count from the last breath. Leave it out where time is virtual and stands still between breaths.
   */
  readonly clock?: () => number;
  /** Modules of the program's own, for `limits.congestion` and connections to name; see docs/congestion-control.md. */
  readonly congestionControls?: readonly CongestionControl[];
}

/** How a connection's, or all of a listener's connections' congestion window is found. */
export interface CongestionOptions {
  /** The stack's (`limits.congestion`) unless told. */
  readonly congestion?: string | undefined;
  /** Spreads what is sent over the round trip, whatever the module, as `limits.pacing` does for all. */
  readonly pacing?: boolean | undefined;
  /** First congestion window, bytes; that of the route, or RFC 6928's ten segments, unless told. */
  readonly startWindow?: number | undefined;
}

/** What the IP headers of a connection, or of all of a listener's connections, say. */
export interface IpFieldOptions {
  /** Differentiated Services codepoint (RFC 2474), 0 to 63; 0 unless told. ECN has the other two bits of that octet. */
  readonly diffserv?: number | undefined;
  /** TTL, or hop limit of IPv6, 1 to 255; the engine's limits, or IPv6's routers, say otherwise. */
  readonly ttl?: number | undefined;
}

/** A connection's buffers, bytes. */
export interface BufferOptions {
  /** 256 or more: fixed; 0: they tune themselves. The engine's limits say what holds when left out. */
  readonly receiveBuffer?: number;
  readonly sendBuffer?: number;
  /**
   * Takes no more than so many bytes that can't be sent yet, and tells `writable` when half of them could (as Linux's
   * TCP_NOTSENT_LOWAT): for programs that want to decide late what to send. 0 or left out: no such mark.
   */
  readonly notSentLowWater?: number;
}

/** Chunks of memory for payload, shared by all queues of all connections. */
export interface MemoryInfo {
  /** How many there are, how many bytes of data each holds, how many are in use, and were at once at most. */
  readonly chunks: number;
  readonly chunkBytes: number;
  readonly inUse: number;
  readonly peak: number;
  /** How short they are: from half of them in use on `pressure`, from three quarters `high`; see tcp/memory.ts. */
  readonly level: (typeof LEVEL_NAMES)[number];
  /** Bytes of all windows that have grown past their first size, and the most that may be. */
  readonly grown: number;
  readonly grownMax: number;
}

export interface ListenOptions extends CongestionOptions, BufferOptions, IpFieldOptions {
  /** 0: every port, for a transparent listener only. Listeners for one port or address come before. */
  readonly port: number;
  /** One of our addresses; all of them when left out. */
  readonly address?: string;
  /** Without an address: 4 or 6 accepts that version only. */
  readonly family?: 4 | 6;
  /**
   * Accepts what is addressed to other hosts too, as a proxy in the packets' way needs (Linux's TPROXY): `endpoint`
   * tells where the peer wanted to go. `address` may then be anybody's.
   */
  readonly transparent?: boolean;
  /**
   * TCP Fast Open (RFC 7413): peers that have a cookie may send data on their SYN, so `open` and `data` may be called
   * before the handshake ends, and more than once for one SYN that the network duplicates. A number: connections that
   * may be in that state at once; 256 unless told.
   */
  readonly fastOpen?: boolean | number;
  /**
   * Accepts IPv4 connections that come by a source route, and answers by the same one turned around. Off unless told: who
   * names the way of the answers may read them.
   */
  readonly sourceRoutes?: boolean;
  /** Half-open connections at most; 1024 unless told. */
  readonly backlog?: number;
  /** Nagle's algorithm off for what is accepted. */
  readonly noDelay?: boolean;
  /** Explicit Congestion Notification of what is accepted; the engine's limits say otherwise. */
  readonly ecn?: EcnMode;
}

/** An IPv4 source route (RFC 791 3.1). Nearly all networks drop such packets, RFC 7126 advises them to. */
export interface SourceRouteOptions {
  /** One to nine hops before the peer, in their order. */
  readonly via: readonly string[];
  /** Each is a neighbour of the one before; otherwise anything may lie between. */
  readonly strict?: boolean;
}

export interface ConnectOptions extends CongestionOptions, BufferOptions, IpFieldOptions {
  readonly address: string;
  readonly port: number;
  /** One of our addresses, and a port of it; chosen when left out. */
  readonly localAddress?: string;
  readonly localPort?: number;
  /** All segments take this way. */
  readonly sourceRoute?: SourceRouteOptions;
  /** `localAddress` may be another host's, whose answers come by here. */
  readonly transparent?: boolean;
  /**
   * TCP Fast Open (RFC 7413): what is written in the same turn goes with the SYN, once the peer has given a cookie on an
   * earlier connection. It may then arrive twice: only for requests that bear it.
   */
  readonly fastOpen?: boolean;
  readonly noDelay?: boolean;
  /** Explicit Congestion Notification; the engine's limits say otherwise. */
  readonly ecn?: EcnMode;
}

export interface Endpoint {
  readonly family: 4 | 6;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

export class Engine {
  readonly arena: Arena;
  readonly ip: Ip;
  readonly tcp: Tcp;
  readonly udp: Udp;
  /** UDP sockets. */
  readonly datagrams: Datagrams;
  /** Calls with a handle whose connection is gone. */
  staleHandles = 0;
  /** Called when a call from outside a breath gave the engine something to do. */
  onWork: () => void = () => {};
  /** An address is ours from now on, or no longer, or was to be and is somebody else's. */
  onAddress: (change: AddressChange) => void = () => {};
  /** A handler threw; its connection is aborted already. 0: a datagram socket's, which stays. */
  onHandlerError: (error: unknown, conn: Conn) => void = () => {};
  readonly #handlers = new HandlerSets();
  readonly #touch = new Touch();
  readonly #clock: (() => number) | null;
  #breathing = false;

  constructor(options: EngineOptions) {
    const { arena, secret, now } = options;
    const nowMs = Math.floor(now) | 0;
    const limits = { ...LIMITS_DEFAULT, ...options.limits };
    this.arena = arena;
    this.#clock = options.clock ?? null;
    this.ip = new Ip(arena, {
      seed: secret[2] ^ secret[3],
      now_ms: nowMs,
      limits,
      ...(options.addressSecret === undefined ? {} : { addressSecret: options.addressSecret }),
    });
    const own = options.congestionControls ?? [];
    checkCongestion(own, limits.congestion);
    this.tcp = new Tcp(arena, this.ip, limits, secret, nowMs, own);
    this.udp = new Udp(arena, this.ip, limits, secret);
    this.datagrams = new Datagrams(
      this.udp,
      () => this.#work(),
      () => this.#readClock(),
    );
    this.datagrams.onHandlerError = (error) => this.onHandlerError(error, 0);
    this.ip.onAddress = (change) => {
      if (change.kind === 'removed') tcpAddressGone(this.tcp, change.address);
      this.onAddress(change);
    };
    this.ip.onError = (error) => {
      tcpIcmpError(this.tcp, error);
      udpIcmpError(this.udp, error);
    };
  }

  /** Gives the engine a port and its addresses. The port is closed by whoever opened it. */
  addInterface(port: Port, options: InterfaceOptions): Interface {
    if (port.tx.slots < TX_SLOTS_MIN)
      throw new EngineError(
        'ERR_PORT_SLOTS',
        `port ${port.name} has ${port.tx.slots} tx slots and needs ${TX_SLOTS_MIN}`,
      );
    const iface = this.ip.addInterface(port, options);
    this.tcp.lists[iface.index] = new OutputLists();
    return iface;
  }

  /**
   * Gives an interface one more address.
   * @param address CIDR. @throws IpConfigError, AddressError
   */
  addAddress(iface: Interface, address: string): void {
    this.#readClock();
    this.ip.addAddress(iface, address);
    this.#work();
  }

  /**
   * Takes an address from an interface. Its connections end at once with CLOSED_NO_ADDRESS, and routes go that lead
   * nowhere without it; sockets that are bound to it stay, and can't send.
   * @returns false when the interface doesn't have it
   */
  removeAddress(iface: Interface, address: string): boolean {
    this.#readClock();
    const had = this.ip.removeAddress(iface, address);
    this.#work();
    return had;
  }

  /** The link carries something, or nothing. Connections wait while it is down, as long as their timeouts let them. */
  setLink(iface: Interface, up: boolean): void {
    this.#readClock();
    this.ip.setLink(iface, up);
    this.#work();
  }

  /** @param mtu Bytes, at most the port's. Connections send no larger segments from now on. @throws IpConfigError */
  setMtu(iface: Interface, mtu: number): void {
    this.ip.setMtu(iface, mtu);
    tcpMtuChanged(this.tcp, iface);
  }

  /**
   * Accepts connections from now on.
   * @returns the listener's id, for `unlisten`.
   * @throws EngineError EADDRINUSE, EADDRNOTAVAIL, ERR_CONGESTION, ERR_OUT_OF_RANGE
   */
  listen(options: ListenOptions, handlers: Handlers): number {
    const { port, address, family, transparent = false, fastOpen = false } = options;
    if (!Number.isInteger(port) || port < (transparent ? 0 : 1) || port > 65535)
      throw new EngineError('ERR_SOCKET_BAD_PORT', `port ${port} is not 1 to 65535`);
    const words = address === undefined ? undefined : this.#localAddress(address, transparent);
    const listener = listenerAdd(this.tcp, {
      port,
      ...(words === undefined ? {} : { address: words }),
      ...(words !== undefined || family === undefined ? {} : { family }),
      transparent,
      backlog: options.backlog ?? 1024,
      fastOpen: fastOpen === true ? FAST_OPEN_PENDING : Number(fastOpen),
      handlers: this.#handlers.add(handlers),
      noDelay: options.noDelay ?? false,
      ecn: options.ecn ?? this.tcp.limits.ecn,
      congestion: this.congestionChoice(options),
      ipFields: checkIpFields(options),
      sourceRoutes: options.sourceRoutes ?? false,
      ...this.#buffers(options),
    });
    if (listener === null)
      throw new EngineError(
        'EADDRINUSE',
        `port ${port} of ${address ?? 'all addresses'} has a listener already`,
      );
    return listener.id;
  }

  /** Accepts no more; connections stay. */
  unlisten(id: number): void {
    listenerRemove(this.tcp, id);
  }

  /**
   * Opens a connection; `open` or `close` is called when it is known how that went.
   * @throws EngineError EHOSTUNREACH (no route), EADDRNOTAVAIL (not our address, or no port left), EADDRINUSE, ENOBUFS,
   *   ERR_CONGESTION, ERR_OUT_OF_RANGE, ERR_SOURCE_ROUTE
   */
  connect(options: ConnectOptions, handlers: Handlers): Conn {
    const remote = parseIp(options.address);
    this.#readClock();
    const { localAddress, transparent = false } = options;
    const local = localAddress === undefined ? undefined : this.#localAddress(localAddress, transparent);
    const { receiveBuffer, sendBuffer, notSentLowWater } = this.#buffers(options);
    const t = tcpOpen(this.tcp, {
      version: remote.length === 1 ? 4 : 6,
      remote,
      remotePort: options.port,
      local,
      localPort: options.localPort ?? 0,
      handlers: this.#handlers.add(handlers),
      noDelay: options.noDelay ?? false,
      ecn: options.ecn ?? this.tcp.limits.ecn,
      fastOpen: options.fastOpen ?? false,
      receiveBuffer,
      sendBuffer,
      congestion: this.congestionChoice(options),
      notSentLowWater,
      ipFields: checkIpFields(options),
      sourceRoute: checkSourceRoute(options.sourceRoute, remote),
    });
    if (t < 0) throw this.#notOpened(t, options);
    if (transparent) this.ip.transparent = true;
    this.#work();
    return this.tcp.m[t + HANDLE];
  }

  #notOpened(why: number, options: ConnectOptions): EngineError {
    const where = `${options.address} port ${options.port}`;
    switch (why) {
      case OPEN_NO_ROUTE:
        return new EngineError(
          'EHOSTUNREACH',
          `no route to ${where}: give the stack a gateway, or an address on that network`,
        );
      case OPEN_NO_PORT:
        return new EngineError('EADDRNOTAVAIL', `every ephemeral port to ${where} is in use`);
      case OPEN_IN_USE:
        return new EngineError(
          'EADDRINUSE',
          `local port ${options.localPort} is connected to ${where} already`,
        );
      default:
        return new EngineError(
          'ENOBUFS',
          `all ${this.tcp.limits.connections} connections are in use; raise limits.connections`,
        );
    }
  }

  /**
   * Sends `length` bytes of the arena, copied before it returns.
   * @returns how many were taken; when fewer than offered, `writable` is called once there is room. -1 when this
   *   direction is closed or the handle is stale.
   */
  send(conn: Conn, at: number, length: number): number {
    const t = this.#find(conn);
    if (t === 0) return -1;
    const taken = tcpSend(this.tcp, t, at, length);
    this.#work();
    return taken;
  }

  /** `send` of `bytes[start, end)`. */
  write(conn: Conn, bytes: Uint8Array, start = 0, end = bytes.length): number {
    const t = this.#find(conn);
    if (t === 0) return -1;
    const taken = tcpSendBytes(this.tcp, t, bytes, start, end);
    this.#work();
    return taken;
  }

  /** Reads on after a `data` handler left bytes. */
  resume(conn: Conn): void {
    const t = this.#find(conn);
    if (t === 0 || (this.tcp.m[t + FLAGS] & FLAG.PAUSED) === 0 || receiveLost(this.tcp, t)) return;
    this.tcp.m[t + FLAGS] &= ~FLAG.PAUSED;
    eventPush(this.tcp, t, EVENT_RESUME, 0, 0);
    this.#work();
  }

  /** `drained` is called once everything sent so far is acknowledged; at once if it is. */
  notifyDrained(conn: Conn): void {
    const t = this.#find(conn);
    if (t === 0) return;
    this.tcp.m[t + FLAGS] |= FLAG.WANT_DRAINED;
    if (this.tcp.m[t + TCB.SNDQ_LENGTH] === 0) this.#handlers.drainedNow(this.tcp, t);
    this.#work();
  }

  /** Ends our direction: FIN follows what was sent. */
  shutdown(conn: Conn): void {
    const t = this.#find(conn);
    if (t === 0) return;
    tcpShutdown(this.tcp, t);
    this.#work();
  }

  /**
   * Ends the peer's direction as far as the program goes (SHUT_RD): what is queued and what comes is taken and forgotten,
   * and `data` is called no more. The peer isn't told; `end` still says when it has ended.
   */
  shutdownRead(conn: Conn): void {
    const t = this.#find(conn);
    if (t === 0) return;
    this.tcp.m[t + TCB.HANDLERS] = this.#handlers.discarding(this.tcp.m[t + TCB.HANDLERS]);
    this.resume(conn);
  }

  /** Ends both directions: FIN follows what was sent, what comes is refused with RST. Only `close` is called now. */
  close(conn: Conn): void {
    const t = this.#find(conn);
    if (t === 0) return;
    tcpClose(this.tcp, t);
    this.#work();
  }

  /** Ends the connection by RST. */
  abort(conn: Conn): void {
    const t = this.#find(conn);
    if (t === 0) return;
    tcpAbort(this.tcp, t);
    this.#work();
  }

  /**
   * @param bytes Fixed from now on, as far as the window scale reaches that was agreed on when the connection opened;
   *   0: it tunes itself. What the peer was told it may send stands in any case.
   * @throws EngineError ERR_BUFFER_SIZE
   */
  setReceiveBuffer(conn: Conn, bytes: number): void {
    checkBuffer('receiveBuffer', bytes);
    const t = this.#find(conn);
    if (t === 0) return;
    receiveBufferSet(this.tcp, t, bytes);
    this.#work();
  }

  /** @param bytes Fixed from now on; 0: it tunes itself. @throws EngineError ERR_BUFFER_SIZE */
  setSendBuffer(conn: Conn, bytes: number): void {
    checkBuffer('sendBuffer', bytes);
    const t = this.#find(conn);
    if (t !== 0) sendBufferSet(this.tcp, t, bytes);
  }

  /** @param bytes See BufferOptions; 0 takes the mark away. @throws EngineError ERR_BUFFER_SIZE */
  setNotSentLowWater(conn: Conn, bytes: number): void {
    checkLowWater(bytes);
    const t = this.#find(conn);
    if (t !== 0) sendLowWaterSet(this.tcp, t, bytes);
  }

  setNoDelay(conn: Conn, on: boolean): void {
    const t = this.#find(conn);
    if (t === 0) return;
    if (on) this.tcp.m[t + FLAGS] |= FLAG.NODELAY;
    else this.tcp.m[t + FLAGS] &= ~FLAG.NODELAY;
  }

  /**
   * SO_LINGER: how long `close` lets what is queued and the FIN be on their way before it resets the connection.
   * @param linger_ms 0: `close` is `abort`; null: as long as it takes, the default
   */
  setLinger(conn: Conn, linger_ms: number | null): void {
    const t = this.#find(conn);
    if (t !== 0) tcpLinger(this.tcp, t, linger_ms ?? -1);
  }

  /** Everything sent so far is urgent (RFC 9293 3.8.5): the peer is told, and it stays in the stream. */
  markUrgent(conn: Conn): void {
    const t = this.#find(conn);
    if (t === 0) return;
    urgentMark(this.tcp, t);
    this.#work();
  }

  /** Bytes from what `data` gives next to the end of the peer's urgent data; 0: none. */
  urgentLeft(conn: Conn): number {
    const t = this.#find(conn);
    return t === 0 ? 0 : urgentLeft(this.tcp, t);
  }

  /**
   * @param idle_ms Silence before the first probe; 0 turns keep-alive off.
   * @param interval_ms Between probes. @param count Probes without an answer that end the connection. Both as in the
   *   engine's limits when left out or 0.
   */
  setKeepAlive(conn: Conn, idle_ms: number, interval_ms = 0, count = 0): void {
    const t = this.#find(conn);
    const { m } = this.tcp;
    // What is over, or let go of, has no timers, or others.
    if (t === 0 || m[t + ST] === CLOSED || m[t + ST] === UNREAD || (m[t + FLAGS] & FLAG.DETACHED) !== 0)
      return;
    m[t + TCB.KEEP_IDLE] = idle_ms;
    m[t + TCB.KEEP_PROBES] = 0;
    if (interval_ms > 0 || count > 0 || (m[t + TCB.FLAGS2] & FLAG2.COLD_USED) !== 0) {
      const cold = coldOf(this.tcp, t);
      m[cold + COLD.KEEP_INTERVAL] = interval_ms;
      m[cold + COLD.KEEP_COUNT] = count;
    }
    if (idle_ms > 0) keepStart(this.tcp, t, idle_ms);
    this.#work();
  }

  /** @param timeout_ms How long sent data may stay unacknowledged (RFC 5482); 0: the engine's default. */
  setUserTimeout(conn: Conn, timeout_ms: number): void {
    const t = this.#find(conn);
    if (t !== 0) this.tcp.m[t + TCB.USER_TIMEOUT] = timeout_ms;
  }

  /**
   * What the IP header says from now on; what is left out stays. From the first call on `info` tells the Diffserv field of
   * what the peer sends.
   * @throws EngineError ERR_OUT_OF_RANGE
   */
  setIpFields(conn: Conn, options: IpFieldOptions): void {
    const { diffserv, ttl } = options;
    const given = checkIpFields(options);
    const t = this.#find(conn);
    if (t === 0) return;
    const before = ipFieldsOf(this.tcp, t);
    const tos = diffserv === undefined ? before & 0xff : given & 0xff;
    ipFieldsSet(this.tcp, t, tos | (ttl === undefined ? before & ~0xff : given & ~0xff));
  }

  /**
   * What such options ask for; undefined when nothing differs from the stack's.
   * @throws EngineError ERR_CONGESTION
   */
  congestionChoice({
    congestion,
    pacing = false,
    startWindow = 0,
  }: CongestionOptions): CongestionChoice | undefined {
    if (!(Number.isInteger(startWindow) && startWindow >= 0 && startWindow < 2 ** 30))
      throw new EngineError('ERR_CONGESTION', `a start window is 0 to 2^30 - 1 bytes, not ${startWindow}`);
    if (congestion === undefined && !pacing && startWindow === 0) return undefined;
    const module = congestion === undefined ? this.tcp.congestion : this.#congestionIndex(congestion);
    return { module, pacing, startWindow };
  }

  /**
   * Another congestion control module takes over, with the window as it is.
   * @throws EngineError ERR_CONGESTION
   */
  setCongestion(conn: Conn, name: string): void {
    const module = this.#congestionIndex(name);
    const t = this.#find(conn);
    if (t === 0) return;
    congestionChange(this.tcp, t, module);
    ecnCodepoint(this.tcp, t);
  }

  isOpen(conn: Conn): boolean {
    const t = this.tcp.blocks.find(conn);
    return t !== 0 && this.tcp.m[t + ST] !== FREE && this.tcp.m[t + ST] !== STATE.CLOSED;
  }

  /** @returns null for a stale handle. */
  info(conn: Conn): TcpInfo | null {
    const t = this.#find(conn);
    return t === 0 ? null : tcpInfo(this.tcp, t);
  }

  /** @returns null for a stale handle. */
  endpoint(conn: Conn): Endpoint | null {
    const t = this.#find(conn);
    if (t === 0) return null;
    const m = this.tcp.m;
    const v6 = (m[t + FLAGS] & FLAG.V6) !== 0;
    const ports = m[t + TCB.PORTS];
    return {
      family: v6 ? 6 : 4,
      localAddress: v6
        ? formatIpv6(m.subarray(t + TCB.LADDR6, t + TCB.LADDR6 + 4))
        : formatIpv4(m[t + TCB.LADDR]),
      localPort: ports & 0xffff,
      remoteAddress: v6
        ? formatIpv6(m.subarray(t + TCB.RADDR6, t + TCB.RADDR6 + 4))
        : formatIpv4(m[t + TCB.RADDR]),
      remotePort: ports >>> 16,
    };
  }

  /** Every connection that a packet can still find, half-open ones and those in TIME-WAIT left out. */
  connections(): Conn[] {
    const { m, table } = this.tcp;
    const found: Conn[] = [];
    for (let i = 0; i <= table.mask; i++) {
      const t = m[table.base + 2 * i + 1];
      if (t !== 0 && (m[t + FLAGS] & FLAG.MINI) === 0) found.push(m[t + HANDLE]);
    }
    return found;
  }

  /** A connection's number in [0, limits.connections), dense: an index for the program's own arrays. */
  slot(conn: Conn): number {
    return BlockPool.slot(conn);
  }

  /** Bytes sent and not yet acknowledged. */
  sendQueue(conn: Conn): number {
    const t = this.#find(conn);
    return t === 0 ? 0 : this.tcp.m[t + TCB.SNDQ_LENGTH];
  }

  /** Bytes that `write` would take now, if chunks last. */
  sendRoom(conn: Conn): number {
    const t = this.#find(conn);
    return t === 0 ? 0 : sendRoom(this.tcp, t);
  }

  memory(): MemoryInfo {
    const { chunks, memory } = this.tcp;
    return {
      chunks: chunks.count,
      chunkBytes: chunks.dataBytes,
      inUse: chunks.inUse,
      peak: chunks.peak,
      level: LEVEL_NAMES[memoryLevel(this.tcp)],
      grown: memory.grown,
      grownMax: memory.grownMax,
    };
  }

  /**
   * One turn: what came, timers, the program's handlers, what is to go.
   * @param now Monotonic, ms, with fractions.
   * @returns frames handled plus events told plus frames sent; 0 when there was nothing to do.
   */
  breath(now: number): number {
    const { tcp, udp, ip } = this;
    this.#setTime(now);
    this.#breathing = true;
    const sentBefore = tcp.counters.segmentsOut + udp.counters.datagramsOut;

    let work = 0;
    if (ip.reassembly.held > 0) ip.reassembly.release();
    for (let i = 0; i < ip.interfaces.length; i++) work += this.#input(ip.interfaces[i]);
    this.#timers();
    if (tcp.starved.length > 0) this.#feedStarved();
    if (memoryLevel(tcp) === LEVEL_HIGH) memoryReclaim(tcp, true);
    if (tcp.events.count > 0) {
      work += tcp.events.count;
      dispatchEvents(tcp, this.#handlers, this.onHandlerError);
    }
    if (udp.events.count > 0 || udp.waiting.length > 0) work += this.datagrams.dispatch();
    for (let i = 0; i < ip.interfaces.length; i++) {
      const iface = ip.interfaces[i];
      tcpOutput(tcp, iface);
      iface.port.txSync();
    }
    this.#breathing = false;
    return work + tcp.counters.segmentsOut + udp.counters.datagramsOut - sentBefore;
  }

  /**
   * ms until a breath is due even if no packet comes, from the last one's whole ms: 0 when now, Infinity when never.
   * With fractions where pacing waits for less than a ms.
   */
  nextDeadline(): number {
    const { tcp, ip } = this;
    if (tcp.events.count > 0) return 0;
    let next = this.datagrams.delay_ms;
    for (const [i, lists] of tcp.lists.entries()) {
      // What a link that is down holds up waits for it.
      if ((lists.head[0] | lists.head[1] | lists.head[2]) !== 0 && ip.interfaces[i].up)
        next = Math.min(next, 1);
      if (lists.head[LIST_UNRESOLVED] !== 0) next = Math.min(next, unresolvedDelay(lists, tcp.nowMs));
    }
    const wheel = tcp.wheel.nextDeadline();
    if (wheel >= 0 && wheel < next) next = wheel;
    const pacing = paceDelay(tcp);
    if (pacing >= 0 && pacing < next) next = pacing;
    if (tcp.timeWaitOldest !== 0) {
      const end = (tcp.m[tcp.timeWaitOldest + TCB.T_AT] - tcp.nowMs) | 0;
      if (end < next) next = end > 0 ? end : 0;
    }
    const ipTimer = ip.timerDelay_ms;
    return ipTimer >= 0 && ipTimer < next ? ipTimer : next;
  }

  #input(iface: Interface): number {
    const { tcp, ip } = this;
    const { port } = iface;
    const ring = port.rx;
    let n = port.rxSync();
    if (n > BURST) n = BURST;
    this.#touch.batch(tcp, iface, n);
    const m = ring.m;
    for (let i = 0; i < n; i++) {
      const d = ring.slot((ring.head + i) | 0);
      tcp.frame = d;
      const protocol = ipInput(ip, iface, m[d + AT], m[d + LENGTH], m[d + FRAME_FLAGS]);
      if (protocol === PROTOCOL_TCP) tcpInput(tcp);
      else if (protocol !== 0) udpInput(this.udp, (m[d + FRAME_FLAGS] & SEGMENT) !== 0 ? m[d + AUX] : 0);
    }
    // Given back at the next rxSync: until then the frames stay for this breath's events.
    ring.head = (ring.head + n) | 0;
    return n;
  }

  #timers(): void {
    const { tcp, ip } = this;
    tcp.wheel.advance(tcp.nowMs);
    for (let i = 0; i < TIMERS; i++) {
      const t = tcp.wheel.expired();
      if (t === 0) break;
      timerExpired(tcp, t);
    }
    if (tcp.pacer.armed > 0) paceRun(tcp);
    timeWaitExpire(tcp, TIMERS);
    if (ip.timerDelay_ms === 0) ipTimers(ip, tcp.nowMs);
  }

  /** Chunks are there again: those whose send() found none may try. */
  #feedStarved(): void {
    const { tcp } = this;
    // A little above what send() leaves; and not more of them at once than will find some.
    const room = tcp.chunks.free - tcp.chunksPromised - (tcp.chunks.count >> 4);
    if (room <= tcp.chunks.count >> 5) return;
    for (const handle of tcp.starved.splice(0, (room + 1) >> 1)) {
      const t = tcp.blocks.find(handle);
      if (t === 0 || (tcp.m[t + FLAGS] & FLAG.WANT_WRITABLE) === 0) continue;
      tcp.m[t + FLAGS] &= ~FLAG.WANT_WRITABLE;
      eventPush(tcp, t, EVENT_WRITABLE, 0, 0);
    }
  }

  #buffers(options: BufferOptions): Required<BufferOptions> {
    const {
      receiveBuffer = this.tcp.limits.receiveBuffer,
      sendBuffer = this.tcp.limits.sendBuffer,
      notSentLowWater = 0,
    } = options;
    checkBuffer('receiveBuffer', receiveBuffer);
    checkBuffer('sendBuffer', sendBuffer);
    checkLowWater(notSentLowWater);
    return { receiveBuffer, sendBuffer, notSentLowWater };
  }

  #setTime(now: number): void {
    this.tcp.nowMs = Math.floor(now) | 0;
    this.tcp.nowUs = Math.floor(now * 1000) | 0;
    this.ip.now_ms = this.tcp.nowMs;
  }

  #readClock(): void {
    if (!this.#breathing && this.#clock !== null) this.#setTime(this.#clock());
  }

  #find(conn: Conn): number {
    this.#readClock();
    const t = this.tcp.blocks.find(conn);
    if (t !== 0 && this.tcp.m[t + ST] !== FREE) return t;
    this.staleHandles++;
    return 0;
  }

  #congestionIndex(name: string): number {
    const module = this.tcp.congestionIndex(name);
    if (module < 0) throw unknownCongestion(this.tcp.congestions, name);
    return module;
  }

  #work(): void {
    if (!this.#breathing) this.onWork();
  }

  #localAddress(text: string, transparent: boolean): number[] {
    const words = parseIp(text);
    if (transparent) return words;
    const own = this.ip.interfaces.some((iface) =>
      words.length === 1
        ? iface.v4.some((a) => a.address === words[0])
        : iface.v6.some(
            (a) => a.a0 === words[0] && a.a1 === words[1] && a.a2 === words[2] && a.a3 === words[3],
          ),
    );
    if (!own) throw new EngineError('EADDRNOTAVAIL', `${text} is no address of this stack`);
    return words;
  }
}

/** @throws EngineError ERR_CONGESTION */
function checkCongestion(own: readonly CongestionControl[], name: string): void {
  const all = [...CONGESTION_CONTROLS, ...own];
  const twice = all.find((module, i) => all.findIndex((other) => other.name === module.name) < i);
  if (twice !== undefined)
    throw new EngineError('ERR_CONGESTION', `there are two congestion controls named '${twice.name}'`);
  if (all.every((module) => module.name !== name)) throw unknownCongestion(all, name);
}

function unknownCongestion(all: readonly CongestionControl[], name: string): EngineError {
  const names = all.map((module) => module.name).join(', ');
  return new EngineError('ERR_CONGESTION', `no congestion control is named '${name}'; there are ${names}`);
}

function checkSourceRoute(
  options: SourceRouteOptions | undefined,
  remote: readonly number[],
): SourceRoute | undefined {
  if (options === undefined) return undefined;
  const { via, strict = false } = options;
  const hops = via.map((text) => parseIp(text));
  if (remote.length > 1 || hops.some((words) => words.length > 1))
    throw new EngineError('ERR_SOURCE_ROUTE', 'a source route leads from IPv4 address to IPv4 address');
  if (hops.length === 0 || hops.length > SOURCE_ROUTE_HOPS_MAX)
    throw new EngineError(
      'ERR_SOURCE_ROUTE',
      `a source route has 1 to ${SOURCE_ROUTE_HOPS_MAX} hops before the peer, not ${hops.length}`,
    );
  if ([...hops, remote].some(([word]) => !isHost4(word)))
    throw new EngineError('ERR_SOURCE_ROUTE', 'a source route has addresses of single hosts alone');
  return sourceRoute(
    hops.map(([word]) => word),
    remote[0],
    strict,
  );
}

/** Neither a group nor 127/8 nor 0/8. */
function isHost4(address: number): boolean {
  const top = address >>> 24;
  return top < 224 && top !== 127 && top !== 0;
}

/** @returns the word of tcp/ip-fields.ts */
function checkIpFields({ diffserv = 0, ttl }: IpFieldOptions): number {
  if (!(Number.isInteger(diffserv) && diffserv >= 0 && diffserv <= 63))
    throw new EngineError('ERR_OUT_OF_RANGE', `a Diffserv codepoint is 0 to 63, not ${diffserv}`);
  if (ttl !== undefined && !(Number.isInteger(ttl) && ttl >= 1 && ttl <= 255))
    throw new EngineError('ERR_OUT_OF_RANGE', `a TTL is 1 to 255, not ${ttl}`);
  return ipFields(diffserv, ttl ?? 0);
}

function checkBuffer(name: string, bytes: number): void {
  if (bytes !== 0 && !(Number.isInteger(bytes) && bytes >= BUFFER_MIN && bytes <= BUFFER_MAX))
    throw new EngineError('ERR_BUFFER_SIZE', `${name} is 0 or ${BUFFER_MIN} to ${BUFFER_MAX}, not ${bytes}`);
}

function checkLowWater(bytes: number): void {
  if (!(Number.isInteger(bytes) && bytes >= 0 && bytes <= BUFFER_MAX))
    throw new EngineError('ERR_BUFFER_SIZE', `notSentLowWater is 0 to ${BUFFER_MAX}, not ${bytes}`);
}
