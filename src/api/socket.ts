/**
 * A connection as `net.Socket`: a Duplex between a program's stream and an engine's connection.
 *
 *     engine's data ──copy──► push ──► program        program ──► _write ──copy──► engine's send queue
 *           ▲  push said enough: consume nothing           full: wait for `writable`  │
 *           └── _read: engine.resume                              ◄────────────────────┘
 *
 * A write is done when the engine has taken it, as with a kernel's send buffer.
 */
import { AsyncResource } from 'node:async_hooks';
import type { AddressInfo } from 'node:net';
import { Duplex, type DuplexOptions } from 'node:stream';
import type { CongestionOptions, Endpoint, Engine } from '../engine/engine.ts';
import type { Conn, Handlers } from '../engine/handlers.ts';
import type { TcpInfo } from '../tcp/info.ts';
import { CLOSED_CLEAN, CLOSED_CODES } from '../tcp/reasons.ts';
import {
  checkPort,
  checkTimeout,
  checkTypeOfService,
  normalizeArguments,
  refuseUnsupported,
} from './arguments.ts';
import { Dial, type DialOptions } from './dial.ts';
import { codedError, systemError } from './errors.ts';
import { type Done, Outgoing } from './outgoing.ts';
import type { SocketTable } from './socket-table.ts';
import { type StackChoice, tableOf } from './stacks.ts';

export interface SocketOptions extends StackChoice, CongestionOptions {
  readonly allowHalfOpen?: boolean | undefined;
  readonly noDelay?: boolean | undefined;
  readonly keepAlive?: boolean | undefined;
  /** ms of silence before the first probe. */
  readonly keepAliveInitialDelay?: number | undefined;
  readonly highWaterMark?: number | undefined;
  /** As `setTypeOfService` takes it. */
  readonly typeOfService?: number | undefined;
  /** Aborting destroys the socket, with an AbortError. */
  readonly signal?: AbortSignal | undefined;
}

export interface ConnectOptions extends SocketOptions, DialOptions {
  /** As `setTimeout`'s, for `connect` and `createConnection`. */
  readonly timeout?: number | undefined;
  /**
   * TCP Fast Open (RFC 7413): what is written at once, before 'connect', goes with the SYN when the server has given a
   * cookie earlier. The server may get it twice: only for requests that bear it.
   */
  readonly fastOpen?: boolean | undefined;
}

/** `setKeepAlive`'s arguments in one; ms. What is left out or 0 is as the stack's limits say. */
export interface KeepAliveOptions {
  readonly enable?: boolean | undefined;
  readonly initialDelay?: number | undefined;
  readonly interval?: number | undefined;
  readonly count?: number | undefined;
}

/** What told the server that a connection of its is gone. */
export interface Owner {
  gone(): void;
}

/** What of these an engine wants to know; the first that says anything counts. */
export function congestionOptions(...given: readonly CongestionOptions[]): CongestionOptions {
  return {
    congestion: given.find((options) => options.congestion !== undefined)?.congestion,
    pacing: given.find((options) => options.pacing !== undefined)?.pacing,
    startWindow: given.find((options) => options.startWindow !== undefined)?.startWindow,
  };
}

/** Keep-alive's first probe when nobody says otherwise, ms (RFC 9293 3.8.4: no less than two hours). */
const KEEP_IDLE_MS = 7_200_000;

let handlersOf: (table: SocketTable) => Handlers;
let acceptConn: (
  table: SocketTable,
  conn: Conn,
  options: SocketOptions,
  owner: Owner,
  paused: boolean,
) => Socket;

export class Socket extends Duplex {
  connecting = false;
  /** As `setTimeout` left it, ms. */
  timeout: number | undefined = undefined;
  /** Whose connection this is, for `node:http`, which sets it. */
  server: unknown = null;
  #options: SocketOptions;
  /** The program's listeners run in the context where their socket was made (AsyncLocalStorage). */
  readonly #context = new AsyncResource('MILLRACESOCKET');
  #table: SocketTable | null = null;
  /** 0: no connection, or none any more. */
  #conn: Conn = 0;
  #dial: Dial | null = null;
  #owner: Owner | null = null;
  /** push() had enough: data stays in the engine until _read. */
  #stopped = false;
  #refed = true;
  #holding = false;
  #resetting = false;
  #noDelay: boolean;
  #keepIdle_ms: number;
  #keepInterval_ms = 0;
  #keepCount = 0;
  /** -1: nobody said. */
  #tos = -1;
  #idle: NodeJS.Timeout | null = null;
  #endpoint: Endpoint | null = null;
  #bytesRead = 0;
  #outgoing = new Outgoing();
  /** end() came while connecting. */
  #finished: Done | null = null;

  static {
    handlersOf = (table) => ({
      open: (conn) => {
        const socket = table.get(conn);
        if (socket === undefined) table.accept(conn);
        else socket.#run(Socket.#opened, 0);
      },
      data: (conn, at, length) => {
        const socket = table.get(conn);
        return socket === undefined ? length : socket.#received(at, length);
      },
      end: (conn) => {
        const socket = table.get(conn);
        if (socket !== undefined) socket.#run(Socket.#peerEnded, 0);
      },
      writable: (conn) => {
        const socket = table.get(conn);
        if (socket !== undefined) socket.#run(Socket.#send, 0);
      },
      close: (conn, reason) => {
        const socket = table.get(conn);
        if (socket === undefined) table.lingered(conn);
        else socket.#run(Socket.#closed, reason);
      },
    });
    acceptConn = (table, conn, options, owner, paused) => {
      const socket = new Socket(options);
      socket.#table = table;
      socket.#owner = owner;
      socket.#adopt(conn);
      socket.#configure();
      if (paused) {
        socket.#stopped = true;
        socket.pause();
      } else socket.read(0);
      return socket;
    };
  }

  constructor(options: SocketOptions = {}) {
    const { allowHalfOpen = false, highWaterMark, signal } = options;
    const duplex: DuplexOptions = { allowHalfOpen, autoDestroy: true, emitClose: false };
    if (highWaterMark !== undefined) duplex.highWaterMark = highWaterMark;
    if (signal !== undefined) duplex.signal = signal;
    super(duplex);
    this.#options = options;
    this.#noDelay = options.noDelay ?? false;
    this.#keepIdle_ms = options.keepAlive === true ? options.keepAliveInitialDelay || KEEP_IDLE_MS : 0;
    if (options.typeOfService !== undefined) this.setTypeOfService(options.typeOfService);
    this.on('end', onEnd);
  }

  // ── Opening ─────────────────────────────────────────────────────────────────────────────────────────────

  connect(options: ConnectOptions, listener?: () => void): this;
  connect(port: number | string, host: string, listener?: () => void): this;
  connect(port: number | string, listener?: () => void): this;
  connect(...args: unknown[]): this {
    const [options, listener] = normalizeArguments<ConnectOptions>(args);
    refuseUnsupported(options);
    const port = checkPort(options.port, 'options.port');
    if (options.localPort !== undefined) checkPort(options.localPort, 'options.localPort');
    this.#table = tableOf({ stack: options.stack ?? this.#options.stack });
    this.#table.engine.congestionChoice(congestionOptions(options, this.#options));
    if (this.#conn !== 0 || this.connecting)
      throw codedError('EISCONN', 'connect: this socket is connected already');
    this.#renew();
    if (listener !== undefined) this.once('connect', listener as () => void);
    this.connecting = true;
    this.#hold(this.#refed);
    this.#touch();
    this.#dial = new Dial(
      { ...options, port },
      {
        attempt: (address) => this.#attempt(address, { ...options, port }),
        abandon: () => this.#detach(true),
        fail: (error) => this.destroy(error),
        emit: (event, ...rest) => void this.emit(event, ...rest),
      },
    );
    return this;
  }

  /** A socket may be used again once it is closed. */
  #renew(): void {
    this.#endpoint = null;
    this.#stopped = false;
    if (!this.destroyed) return;
    this.#bytesRead = 0;
    this.#outgoing = new Outgoing();
    this.#resetting = false;
    if (this.write !== Socket.prototype.write) this.write = Socket.prototype.write;
    (this as unknown as { _undestroy(): void })._undestroy();
  }

  #attempt(address: string, options: ConnectOptions): void {
    const { port, localAddress, localPort, fastOpen = false } = options;
    const table = this.#table!;
    const conn = table.engine.connect(
      {
        address,
        port,
        ...(localAddress === undefined ? {} : { localAddress }),
        ...(localPort === undefined ? {} : { localPort }),
        noDelay: this.#noDelay,
        fastOpen,
        diffserv: this.getTypeOfService() >> 2,
        ...congestionOptions(options, this.#options),
      },
      table.handlers,
    );
    this.#adopt(conn);
    if (!fastOpen || !this.#outgoing.waits) return;
    // Of an attempt before, perhaps.
    this.#outgoing.rewind();
    this.#outgoing.offer(table.engine, conn);
  }

  #adopt(conn: Conn): void {
    this.#conn = conn;
    this.#table!.set(conn, this);
    this.#hold(this.#refed);
  }

  /** Applies what was set before there was a connection. */
  #configure(): void {
    const { engine } = this.#table!;
    if (this.#noDelay) engine.setNoDelay(this.#conn, true);
    if (this.#keepIdle_ms > 0) this.#applyKeepAlive(engine);
    if (this.#tos >= 0) engine.setIpFields(this.#conn, { diffserv: this.#tos >> 2 });
  }

  static #opened(socket: Socket): void {
    socket.#dial?.succeeded();
    socket.#dial = null;
    socket.connecting = false;
    socket.#configure();
    socket.#touch();
    try {
      socket.emit('connect');
      socket.emit('ready');
    } finally {
      if (!socket.isPaused()) socket.read(0);
      Socket.#send(socket);
      const done = socket.#finished;
      if (done !== null) {
        socket.#finished = null;
        socket._final(done);
      }
    }
  }

  // ── Receiving ───────────────────────────────────────────────────────────────────────────────────────────

  #received(at: number, length: number): number {
    if (this.#stopped) return 0;
    const chunk = Buffer.allocUnsafe(length);
    this.#table!.bytes.copy(chunk, 0, at, at + length);
    this.#bytesRead += length;
    this.#touch();
    this.#run(Socket.#push, chunk);
    return length;
  }

  static #push(socket: Socket, chunk: Buffer): void {
    if (!socket.push(chunk)) socket.#stopped = true;
  }

  static #peerEnded(socket: Socket): void {
    socket.#touch();
    socket.push(null);
    // Nobody may be reading: the end has to come out all the same.
    socket.read(0);
  }

  override _read(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    if (this.#conn !== 0) this.#table!.engine.resume(this.#conn);
  }

  // ── Sending ─────────────────────────────────────────────────────────────────────────────────────────────

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: Done): void {
    this.#outgoing.begin([chunk], done);
    Socket.#send(this);
  }

  override _writev(chunks: { chunk: Uint8Array; encoding: BufferEncoding }[], done: Done): void {
    this.#outgoing.begin(
      chunks.map(({ chunk }) => chunk),
      done,
    );
    Socket.#send(this);
  }

  /** Gives the engine what waits, if anything does: now, when it has room again, when it is connected. */
  static #send(socket: Socket): void {
    const outgoing = socket.#outgoing;
    if (socket.connecting || !outgoing.waits) return;
    socket.#touch();
    const closed = socket.#conn === 0;
    const done = closed ? undefined : outgoing.flush(socket.#table!.engine, socket.#conn);
    if (done === null) return;
    if (done !== undefined) done();
    else outgoing.end()!(closed ? socketClosed() : systemError('EPIPE', 'write'));
  }

  override _final(done: Done): void {
    if (this.connecting) {
      this.#finished = done;
      return;
    }
    if (this.#conn !== 0) this.#table!.engine.shutdown(this.#conn);
    done();
  }

  // ── Closing ─────────────────────────────────────────────────────────────────────────────────────────────

  /** The engine's last word on the connection. */
  static #closed(socket: Socket, reason: number): void {
    const table = socket.#table!;
    socket.#endpoint ??= table.engine.endpoint(socket.#conn);
    table.set(socket.#conn, undefined);
    socket.#conn = 0;
    if (socket.connecting)
      socket.#dial!.attemptFailed(reason === CLOSED_CLEAN ? 'ECONNABORTED' : CLOSED_CODES[reason]);
    else {
      socket.#hold(false);
      if (reason !== CLOSED_CLEAN) socket.destroy(systemError(CLOSED_CODES[reason], 'read'));
    }
  }

  override _destroy(error: Error | null, done: Done): void {
    this.connecting = false;
    this.#dial?.cancel();
    this.#dial = null;
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
    this.#detach(this.#resetting);
    this.#hold(false);
    this.#endpoint = null;
    const written = this.#outgoing.end();
    this.#finished = null;
    done(error);
    written?.(error ?? codedError('ERR_STREAM_DESTROYED', 'Cannot call write after a stream was destroyed'));
    // A turn later, as libuv's handles: whoever awaited 'error' has time to wait for 'close'.
    setImmediate(emitClose, this, error !== null);
    this.#owner?.gone();
    this.#owner = null;
  }

  /** Leaves the connection to the engine, which delivers what it has, unless it is to be reset. */
  #detach(reset: boolean): void {
    const conn = this.#conn;
    if (conn === 0) return;
    const table = this.#table!;
    this.#conn = 0;
    table.set(conn, undefined);
    if (reset) table.engine.abort(conn);
    else {
      table.engine.close(conn);
      if (this.#holding) table.linger(conn);
    }
  }

  /** Ends our side, and destroys the socket once that is written. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  /** Ends the connection by RST. */
  resetAndDestroy(): this {
    if (this.connecting) this.once('connect', () => this.#reset());
    else if (this.#conn !== 0) this.#reset();
    else this.destroy(socketClosed());
    return this;
  }

  #reset(): void {
    this.#resetting = true;
    this.destroy();
  }

  // ── Settings ────────────────────────────────────────────────────────────────────────────────────────────

  setNoDelay(on = true): this {
    this.#noDelay = on;
    if (this.#conn !== 0) this.#table!.engine.setNoDelay(this.#conn, on);
    return this;
  }

  /**
   * Another congestion control takes over, with the window as it is; before there is a connection, the next one's.
   * @throws EngineError ERR_CONGESTION
   */
  setCongestion(name: string): this {
    if (this.#table !== null && this.#conn !== 0) this.#table.engine.setCongestion(this.#conn, name);
    else this.#options = { ...this.#options, congestion: name };
    return this;
  }

  /**
   * @param initialDelay ms of silence before the first probe; 0: two hours. @param interval ms between probes.
   * @param count Probes without an answer that end the connection.
   */
  setKeepAlive(on: boolean | KeepAliveOptions = false, initialDelay = 0, interval = 0, count = 0): this {
    if (typeof on === 'object') {
      return this.setKeepAlive(on.enable ?? false, on.initialDelay, on.interval, on.count);
    }
    this.#keepIdle_ms = on ? initialDelay || KEEP_IDLE_MS : 0;
    this.#keepInterval_ms = interval;
    this.#keepCount = count;
    if (this.#conn !== 0) this.#applyKeepAlive(this.#table!.engine);
    return this;
  }

  /**
   * The Diffserv field of what is sent, before or while there is a connection.
   * @param tos The octet of the IP header, 0 to 255; its lower two bits are ECN's, which TCP sets itself.
   */
  setTypeOfService(tos: number): this {
    checkTypeOfService(tos);
    this.#tos = tos & 0xfc;
    if (this.#table !== null && this.#conn !== 0)
      this.#table.engine.setIpFields(this.#conn, { diffserv: tos >> 2 });
    return this;
  }

  getTypeOfService(): number {
    return this.#tos < 0 ? 0 : this.#tos;
  }

  #applyKeepAlive(engine: Engine): void {
    engine.setKeepAlive(this.#conn, this.#keepIdle_ms, this.#keepInterval_ms, this.#keepCount);
  }

  /** 'timeout' is emitted after `ms` without traffic; 0: never. */
  setTimeout(ms: number, listener?: () => void): this {
    if (this.destroyed) return this;
    checkTimeout(ms);
    this.timeout = ms;
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = ms === 0 ? null : setTimeout(() => this.emit('timeout'), ms).unref();
    if (listener !== undefined) {
      if (ms === 0) this.off('timeout', listener);
      else this.once('timeout', listener);
    }
    return this;
  }

  ref(): this {
    this.#refed = true;
    if (this.#conn !== 0 || this.connecting) this.#hold(true);
    return this;
  }

  unref(): this {
    this.#refed = false;
    this.#hold(false);
    return this;
  }

  // ── State ───────────────────────────────────────────────────────────────────────────────────────────────

  get pending(): boolean {
    return this.#conn === 0 || this.connecting;
  }

  get readyState(): 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.connecting) return 'opening';
    if (this.readable) return this.writable ? 'open' : 'readOnly';
    return this.writable ? 'writeOnly' : 'closed';
  }

  get bytesRead(): number {
    return this.#bytesRead;
  }

  /** With what waits to be taken by the engine. */
  get bytesWritten(): number {
    return this.#outgoing.bytesDone + this.writableLength;
  }

  get bufferSize(): number {
    return this.writableLength;
  }

  get remoteAddress(): string | undefined {
    return this.connecting ? undefined : this.#ends()?.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.connecting ? undefined : this.#ends()?.remotePort;
  }

  get remoteFamily(): 'IPv4' | 'IPv6' | undefined {
    return this.connecting ? undefined : familyName(this.#ends());
  }

  get localAddress(): string | undefined {
    return this.#ends()?.localAddress;
  }

  get localPort(): number | undefined {
    return this.#ends()?.localPort;
  }

  get localFamily(): 'IPv4' | 'IPv6' | undefined {
    return familyName(this.#ends());
  }

  /** Our end; {} when there is none. */
  address(): AddressInfo | Record<string, never> {
    const ends = this.#ends();
    if (ends === null) return {};
    return { address: ends.localAddress, port: ends.localPort, family: familyName(ends)! };
  }

  /** What TCP knows of the connection, or null when it is gone. */
  info(): TcpInfo | null {
    return this.#conn === 0 ? null : this.#table!.engine.info(this.#conn);
  }

  #ends(): Endpoint | null {
    if (this.#endpoint === null && this.#conn !== 0)
      this.#endpoint = this.#table!.engine.endpoint(this.#conn);
    return this.#endpoint;
  }

  #hold(on: boolean): void {
    if (on === this.#holding) return;
    this.#holding = on;
    if (on) this.#table?.hold();
    else this.#table?.release();
  }

  #touch(): void {
    this.#idle?.refresh();
  }

  /**
   * Calls what may call the program's listeners. What they throw is the program's, not the engine's: it surfaces
   * as an uncaught exception, and the connection goes on, as with node:net.
   */
  #run<T>(call: (socket: Socket, argument: T) => void, argument: T): void {
    try {
      this.#context.runInAsyncScope(call, null, this, argument);
    } catch (error) {
      process.nextTick(rethrow, error);
    }
  }
}

export { acceptConn as acceptSocket, handlersOf as socketHandlers };

export function rethrow(error: unknown): never {
  throw error;
}

function socketClosed(): Error {
  return codedError('ERR_SOCKET_CLOSED', 'Socket is closed');
}

function familyName(ends: Endpoint | null): 'IPv4' | 'IPv6' | undefined {
  return ends === null ? undefined : ends.family === 4 ? 'IPv4' : 'IPv6';
}

function emitClose(socket: Socket, hadError: boolean): void {
  socket.emit('close', hadError);
}

/** The peer has ended, and unless half-open is allowed so do we now: a write after that has its own words. */
function onEnd(this: Socket): void {
  if (!this.allowHalfOpen) this.write = writeAfterEnd;
}

function writeAfterEnd(this: Socket, ...args: unknown[]): boolean {
  if (!this.writableEnded) return Reflect.apply(Socket.prototype.write, this, args);
  const done = args.findLast((argument) => typeof argument === 'function') as Done | undefined;
  const error = codedError('EPIPE', 'This socket has been ended by the other party');
  if (done !== undefined) process.nextTick(done, error);
  this.destroy(error);
  return false;
}
