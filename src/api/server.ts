/** A listener as `net.Server`. */
import { AsyncResource } from 'node:async_hooks';
import { lookup } from 'node:dns';
import { EventEmitter } from 'node:events';
import { type AddressInfo, isIP } from 'node:net';
import type { ListenOptions as EngineListenOptions } from '../engine/engine.ts';
import type { Conn } from '../engine/handlers.ts';
import { checkPort, normalizeArguments, refuseUnsupported } from './arguments.ts';
import { codedError, systemError } from './errors.ts';
import {
  acceptSocket,
  congestionOptions,
  type Owner,
  rethrow,
  type Socket,
  type SocketOptions,
} from './socket.ts';
import type { SocketTable } from './socket-table.ts';
import { tableOf } from './stacks.ts';

export interface ServerOptions extends Omit<SocketOptions, 'signal'> {
  /** Nothing is read from an accepted socket until the program does. */
  readonly pauseOnConnect?: boolean | undefined;
}

export interface ListenOptions {
  /** 0, or left out: one that is free. */
  readonly port?: number | undefined;
  /** One of the stack's addresses or a name of one; all of them when left out or `::`, IPv4's for `0.0.0.0`. */
  readonly host?: string | undefined;
  /** `::` doesn't take IPv4. */
  readonly ipv6Only?: boolean | undefined;
  /**
   * Takes connections to other hosts' addresses too, as a proxy in the packets' way needs; a socket's `localAddress`
   * and `localPort` are where its peer wanted to go. Port 0 is every port then.
   */
  readonly transparent?: boolean | undefined;
  /** TCP Fast Open (RFC 7413), or how many connections may be in the middle of it. */
  readonly fastOpen?: boolean | number | undefined;
  /** Half-open connections at most; 511 unless told. */
  readonly backlog?: number | undefined;
  /** Aborting closes the server. */
  readonly signal?: AbortSignal | undefined;
}

/** What 'drop' tells of a connection that `maxConnections` refused. */
export interface DropInfo {
  readonly localAddress: string;
  readonly localPort: number;
  readonly localFamily: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly remoteFamily: string;
}

type Listener = (error?: Error) => void;

const BACKLOG = 511;
/** Tries for a free port: all are taken when so many random ones in a row are. */
const PORT_TRIES = 4096;

export class Server extends EventEmitter {
  /** Connections beyond are closed at once, and told by 'drop'. */
  maxConnections: number | undefined = undefined;
  readonly #options: ServerOptions;
  readonly #context = new AsyncResource('MILLRACESERVER');
  readonly #owner: Owner = { gone: () => this.#gone() };
  readonly #accept = (conn: Conn): void => {
    try {
      this.#context.runInAsyncScope(this.#accepted, this, conn);
    } catch (error) {
      process.nextTick(rethrow, error);
    }
  };
  #table: SocketTable | null = null;
  /** -1: not listening. */
  #id = -1;
  #address: AddressInfo | null = null;
  /** listen() waits for a name. */
  #resolving = false;
  #connections = 0;
  #refed = true;

  constructor(options?: ServerOptions | ((socket: Socket) => void), listener?: (socket: Socket) => void) {
    super();
    const onConnection = typeof options === 'function' ? options : listener;
    this.#options = typeof options === 'object' ? options : {};
    if (onConnection !== undefined) this.on('connection', onConnection);
  }

  get listening(): boolean {
    return this.#id >= 0;
  }

  listen(options?: ListenOptions, listener?: () => void): this;
  listen(port?: number, host?: string, backlog?: number, listener?: () => void): this;
  listen(port?: number, host?: string, listener?: () => void): this;
  listen(port?: number, backlog?: number, listener?: () => void): this;
  listen(port?: number, listener?: () => void): this;
  listen(listener?: () => void): this;
  listen(...args: unknown[]): this {
    const [options, listener] = normalizeArguments<ListenOptions>(args);
    if (this.listening || this.#resolving) {
      throw codedError(
        'ERR_SERVER_ALREADY_LISTEN',
        'Listen method has been called more than once without closing.',
      );
    }
    refuseUnsupported(options);
    const port =
      options.port === undefined || options.port === null ? 0 : checkPort(options.port, 'options.port');
    this.#table = tableOf(this.#options);
    if (listener !== undefined) this.once('listening', listener as () => void);
    const { host, signal } = options;
    if (signal !== undefined) this.#closeOn(signal);
    if (host === undefined || host === '' || isIP(host) !== 0) this.#listen(port, host, options);
    else this.#resolve(host, port, options);
    return this;
  }

  #closeOn(signal: AbortSignal): void {
    const abort = (): void => void this.close();
    if (signal.aborted) process.nextTick(abort);
    else {
      signal.addEventListener('abort', abort);
      this.once('close', () => signal.removeEventListener('abort', abort));
    }
  }

  #resolve(host: string, port: number, options: ListenOptions): void {
    this.#resolving = true;
    lookup(host, (error, address) => {
      // Closed meanwhile.
      if (!this.#resolving) return;
      this.#resolving = false;
      if (error !== null) this.emit('error', error);
      else this.#listen(port, address, options);
    });
  }

  #listen(port: number, host: string | undefined, given: ListenOptions): void {
    const table = this.#table!;
    const { transparent = false } = given;
    const address = host === undefined || host === '' ? wildcard(table) : host;
    const options = {
      ...addressOptions(address, given.ipv6Only === true),
      transparent,
      fastOpen: given.fastOpen ?? false,
      backlog: given.backlog ?? BACKLOG,
      noDelay: this.#options.noDelay ?? false,
      ...congestionOptions(this.#options),
    };
    try {
      this.#id =
        port === 0 && !transparent
          ? this.#listenAnywhere(table, options)
          : table.listen({ ...options, port }, this.#accept);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'EINVAL';
      process.nextTick(() =>
        this.emit('error', systemError(code, 'listen', { address, port }, { cause: error })),
      );
      return;
    }
    this.#address = { address, family: isIP(address) === 4 ? 'IPv4' : 'IPv6', port: table.port(this.#id) };
    if (this.#refed) table.hold();
    table.servers.add(this);
    // Not before the caller has its listeners on, nor after close().
    process.nextTick(() => this.listening && this.emit('listening'));
  }

  #listenAnywhere(table: SocketTable, options: Omit<EngineListenOptions, 'port'>): number {
    const { ephemeralPortMin: low, ephemeralPortMax: high } = table.engine.tcp.limits;
    for (let tries = 1; ; tries++) {
      const port = low + Math.floor(Math.random() * (high - low + 1));
      try {
        return table.listen({ ...options, port }, this.#accept);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || tries === PORT_TRIES) throw error;
      }
    }
  }

  #accepted(conn: Conn): void {
    const table = this.#table!;
    if (this.maxConnections !== undefined && this.#connections >= this.maxConnections) {
      this.#drop(table, conn);
      return;
    }
    this.#connections++;
    this.emit(
      'connection',
      acceptSocket(table, conn, this.#options, this.#owner, this.#options.pauseOnConnect === true),
    );
  }

  #drop(table: SocketTable, conn: Conn): void {
    const { family, ...ends } = table.engine.endpoint(conn)!;
    table.engine.close(conn);
    const name = family === 4 ? 'IPv4' : 'IPv6';
    this.emit('drop', { ...ends, localFamily: name, remoteFamily: name } satisfies DropInfo);
  }

  /** Accepts no more; 'close' comes once the last connection is gone. */
  close(listener?: Listener): this {
    const wasOpen = this.listening || this.#resolving;
    if (listener !== undefined) {
      this.once('close', () =>
        listener(wasOpen ? undefined : codedError('ERR_SERVER_NOT_RUNNING', 'Server is not running.')),
      );
    }
    this.#resolving = false;
    if (this.listening) {
      const table = this.#table!;
      table.unlisten(this.#id);
      table.servers.delete(this);
      this.#id = -1;
      this.#address = null;
      if (this.#refed) table.release();
    }
    this.#closeIfIdle();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.listening) return;
    await new Promise<void>((resolve) => this.close(() => resolve()));
  }

  #gone(): void {
    this.#connections--;
    this.#closeIfIdle();
  }

  #closeIfIdle(): void {
    if (this.listening || this.#resolving || this.#connections > 0) return;
    process.nextTick(() => this.emit('close'));
  }

  /** null when not listening. */
  address(): AddressInfo | null {
    return this.#address === null ? null : { ...this.#address };
  }

  getConnections(callback: (error: Error | null, count: number) => void): this {
    process.nextTick(callback, null, this.#connections);
    return this;
  }

  ref(): this {
    if (!this.#refed && this.listening) this.#table!.hold();
    this.#refed = true;
    return this;
  }

  unref(): this {
    if (this.#refed && this.listening) this.#table!.release();
    this.#refed = false;
    return this;
  }
}

/** `::` takes IPv4 as well, unless it is told not to; `0.0.0.0` takes nothing else. */
function addressOptions(address: string, ipv6Only: boolean): { address?: string; family?: 4 | 6 } {
  if (address === '0.0.0.0') return { family: 4 };
  if (address === '::') return ipv6Only ? { family: 6 } : {};
  return { address };
}

/** What node:net calls "all addresses": IPv6's when there is any IPv6 worth the name. */
function wildcard(table: SocketTable): string {
  const has6 = table.engine.ip.interfaces.some((iface) => iface.v6.some((a) => a.a0 >>> 22 !== 0x3fa));
  return has6 ? '::' : '0.0.0.0';
}
