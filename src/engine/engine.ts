/**
 * One core's engine: interfaces, IP and TCP over one arena, driven by `breath` (Snabb's word for one turn of the
 * loop). It owns no thread and no clock: whoever runs it calls `breath(now)` when packets may have come, when
 * `nextDeadline` is over, or when it asks by `onWork`.
 */
import type { Port } from '../device/port.ts';
import { ipInput } from '../ip/input.ts';
import type { Interface } from '../ip/interface.ts';
import { type InterfaceOptions, Ip, ipTimers } from '../ip/ip.ts';
import type { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import { OPEN_FULL, OPEN_IN_USE, OPEN_NO_PORT, OPEN_NO_ROUTE, tcpOpen } from '../tcp/active-open.ts';
import { FLAG, STATE, TCB } from '../tcp/block.ts';
import { BlockPool } from '../tcp/block-pool.ts';
import { tcpAbort, tcpClose, tcpShutdown } from '../tcp/close.ts';
import { EVENT_RESUME, EVENT_WRITABLE, eventPush } from '../tcp/events.ts';
import { tcpIcmpError } from '../tcp/icmp-errors.ts';
import { type TcpInfo, tcpInfo } from '../tcp/info.ts';
import { tcpInput } from '../tcp/input.ts';
import { listenerAdd, listenerRemove } from '../tcp/listen.ts';
import { LIST_UNRESOLVED, OutputLists, unresolvedDelay } from '../tcp/lists.ts';
import { tcpOutput } from '../tcp/output.ts';
import { tcpSend, tcpSendBytes } from '../tcp/send.ts';
import { Tcp } from '../tcp/tcp.ts';
import { timeWaitExpire } from '../tcp/time-wait.ts';
import { keepStart, timerExpired } from '../tcp/timers.ts';
import { formatIpv4, formatIpv6, parseIp } from '../wire/address.ts';
import { dispatchEvents, HandlerSets } from './dispatch.ts';
import { EngineError } from './errors.ts';
import type { Conn, Handlers } from './handlers.ts';
import { LIMITS_DEFAULT, type Limits } from './limits.ts';
import { Touch } from './touch.ts';

const AT = DESC_AT;
const LENGTH = DESC_LENGTH;
const FRAME_FLAGS = DESC_FLAGS;
const { FLAGS, STATE: ST, HANDLE } = TCB;
const { CLOSED, FREE, UNREAD } = STATE;
const PROTOCOL_TCP = 6;

/** Frames taken from an interface in one breath. */
const BURST = 64;
/** Output leaves some slots to control segments, so a ring must have more. */
const TX_SLOTS_MIN = 16;
/** Timers run in one breath. */
const TIMERS = 1024;

export interface EngineOptions {
  readonly arena: Arena;
  readonly limits?: Partial<Limits>;
  /** Unpredictable words: keys of the hashes that strangers must not know. */
  readonly secret: Int32Array;
  /** The clock's present reading, ms. */
  readonly now: number;
  /**
   * Reads the clock that `breath` is given, for calls that come between breaths: what they start to time would
   * otherwise count from the last breath. Leave it out where time is virtual and stands still between breaths.
   */
  readonly clock?: () => number;
}

export interface ListenOptions {
  readonly port: number;
  /** One of our addresses; all of them when left out. */
  readonly address?: string;
  /** Half-open connections at most; 1024 unless told. */
  readonly backlog?: number;
  /** Nagle's algorithm off for what is accepted. */
  readonly noDelay?: boolean;
}

export interface ConnectOptions {
  readonly address: string;
  readonly port: number;
  /** One of our addresses, and a port of it; chosen when left out. */
  readonly localAddress?: string;
  readonly localPort?: number;
  readonly noDelay?: boolean;
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
  /** Calls with a handle whose connection is gone. */
  staleHandles = 0;
  /** Called when a call from outside a breath gave the engine something to do. */
  onWork: () => void = () => {};
  /** A handler threw; its connection is aborted already. */
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
    this.ip = new Ip(arena, { seed: secret[2] ^ secret[3], now_ms: nowMs, limits });
    this.tcp = new Tcp(arena, this.ip, limits, secret, nowMs);
    this.ip.onError = (error) => tcpIcmpError(this.tcp, error);
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
   * Accepts connections from now on.
   * @returns the listener's id, for `unlisten`.
   * @throws EngineError EADDRINUSE, EADDRNOTAVAIL
   */
  listen(options: ListenOptions, handlers: Handlers): number {
    const { port, address } = options;
    if (!Number.isInteger(port) || port < 1 || port > 65535)
      throw new EngineError('ERR_SOCKET_BAD_PORT', `port ${port} is not 1 to 65535`);
    const words = address === undefined ? undefined : this.#ownAddress(address);
    const { receiveBuffer, sendBuffer } = this.tcp.limits;
    const listener = listenerAdd(this.tcp, {
      port,
      ...(words === undefined ? {} : { address: words }),
      backlog: options.backlog ?? 1024,
      handlers: this.#handlers.add(handlers),
      noDelay: options.noDelay ?? false,
      receiveBuffer,
      sendBuffer,
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
   * @throws EngineError EHOSTUNREACH (no route), EADDRNOTAVAIL (not our address, or no port left), EADDRINUSE, ENOBUFS
   */
  connect(options: ConnectOptions, handlers: Handlers): Conn {
    const remote = parseIp(options.address);
    this.#readClock();
    const local = options.localAddress === undefined ? undefined : this.#ownAddress(options.localAddress);
    const where = `${options.address} port ${options.port}`;
    const t = tcpOpen(this.tcp, {
      version: remote.length === 1 ? 4 : 6,
      remote,
      remotePort: options.port,
      ...(local === undefined ? {} : { local }),
      localPort: options.localPort ?? 0,
      handlers: this.#handlers.add(handlers),
      noDelay: options.noDelay ?? false,
      receiveBuffer: this.tcp.limits.receiveBuffer,
      sendBuffer: this.tcp.limits.sendBuffer,
    });
    switch (t) {
      case OPEN_NO_ROUTE:
        throw new EngineError(
          'EHOSTUNREACH',
          `no route to ${where}: give the stack a gateway, or an address on that network`,
        );
      case OPEN_NO_PORT:
        throw new EngineError('EADDRNOTAVAIL', `every ephemeral port to ${where} is in use`);
      case OPEN_IN_USE:
        throw new EngineError(
          'EADDRINUSE',
          `local port ${options.localPort} is connected to ${where} already`,
        );
      case OPEN_FULL:
        throw new EngineError(
          'ENOBUFS',
          `all ${this.tcp.limits.connections} connections are in use; raise limits.connections`,
        );
    }
    this.#work();
    return this.tcp.m[t + HANDLE];
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
    if (t === 0 || (this.tcp.m[t + FLAGS] & FLAG.PAUSED) === 0) return;
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

  setNoDelay(conn: Conn, on: boolean): void {
    const t = this.#find(conn);
    if (t === 0) return;
    if (on) this.tcp.m[t + FLAGS] |= FLAG.NODELAY;
    else this.tcp.m[t + FLAGS] &= ~FLAG.NODELAY;
  }

  /** @param idle_ms Silence before the first probe; 0 turns keep-alive off. */
  setKeepAlive(conn: Conn, idle_ms: number): void {
    const t = this.#find(conn);
    const { m } = this.tcp;
    // What is over, or let go of, has no timers, or others.
    if (t === 0 || m[t + ST] === CLOSED || m[t + ST] === UNREAD || (m[t + FLAGS] & FLAG.DETACHED) !== 0)
      return;
    m[t + TCB.KEEP_IDLE] = idle_ms;
    m[t + TCB.KEEP_PROBES] = 0;
    if (idle_ms > 0) keepStart(this.tcp, t, idle_ms);
    this.#work();
  }

  /** @param timeout_ms How long sent data may stay unacknowledged (RFC 5482); 0: the engine's default. */
  setUserTimeout(conn: Conn, timeout_ms: number): void {
    const t = this.#find(conn);
    if (t !== 0) this.tcp.m[t + TCB.USER_TIMEOUT] = timeout_ms;
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
    return t === 0 ? 0 : this.tcp.m[t + TCB.SND_BUF] - this.tcp.m[t + TCB.SNDQ_LENGTH];
  }

  /**
   * One turn: what came, timers, the program's handlers, what is to go.
   * @param now Monotonic, ms, with fractions.
   * @returns frames handled plus events told plus frames sent; 0 when there was nothing to do.
   */
  breath(now: number): number {
    const { tcp, ip } = this;
    this.#setTime(now);
    this.#breathing = true;
    const sentBefore = tcp.counters.segmentsOut;

    let work = 0;
    if (ip.reassembly.held > 0) ip.reassembly.release();
    for (let i = 0; i < ip.interfaces.length; i++) work += this.#input(ip.interfaces[i]);
    this.#timers();
    if (tcp.starved.length > 0) this.#feedStarved();
    if (tcp.events.count > 0) {
      work += tcp.events.count;
      dispatchEvents(tcp, this.#handlers, this.onHandlerError);
    }
    for (let i = 0; i < ip.interfaces.length; i++) {
      const iface = ip.interfaces[i];
      tcpOutput(tcp, iface);
      iface.port.txSync();
    }
    this.#breathing = false;
    return work + tcp.counters.segmentsOut - sentBefore;
  }

  /** ms until a breath is due even if no packet comes: 0 when now, Infinity when never. */
  nextDeadline(): number {
    const { tcp, ip } = this;
    if (tcp.events.count > 0) return 0;
    let next = Number.POSITIVE_INFINITY;
    for (const lists of tcp.lists) {
      if ((lists.head[0] | lists.head[1] | lists.head[2]) !== 0) next = 1;
      if (lists.head[LIST_UNRESOLVED] !== 0) next = Math.min(next, unresolvedDelay(lists, tcp.nowMs));
    }
    const wheel = tcp.wheel.nextDeadline();
    if (wheel >= 0 && wheel < next) next = wheel;
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
      if (ipInput(ip, iface, m[d + AT], m[d + LENGTH], m[d + FRAME_FLAGS]) === PROTOCOL_TCP) tcpInput(tcp);
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
    timeWaitExpire(tcp, TIMERS);
    if (ip.timerDelay_ms === 0) ipTimers(ip, tcp.nowMs);
  }

  /** Chunks are there again: those whose send() found none may try. */
  #feedStarved(): void {
    const { tcp } = this;
    // A little above what send() leaves, and below what slow readers leave.
    if (tcp.chunks.free - tcp.chunksPromised <= (tcp.chunks.count * 3) >> 4) return;
    const starved = tcp.starved;
    tcp.starved = [];
    for (const handle of starved) {
      const t = tcp.blocks.find(handle);
      if (t === 0 || (tcp.m[t + FLAGS] & FLAG.WANT_WRITABLE) === 0) continue;
      tcp.m[t + FLAGS] &= ~FLAG.WANT_WRITABLE;
      eventPush(tcp, t, EVENT_WRITABLE, 0, 0);
    }
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

  #work(): void {
    if (!this.#breathing) this.onWork();
  }

  #ownAddress(text: string): number[] {
    const words = parseIp(text);
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
