/**
 * A UDP socket as `dgram.Socket`. Where a kernel would hold a datagram back, because its next hop is being asked for or
 * the device's ring is full, it waits here, up to the send buffer's size, and `getSendQueueSize` counts it.
 */
import { AsyncResource } from 'node:async_hooks';
import { lookup as dnsLookup } from 'node:dns';
import { EventEmitter, errorMonitor } from 'node:events';
import { type AddressInfo, type BlockList, isIP, isIPv4 } from 'node:net';
import { constants } from 'node:os';
import { getSystemErrorMessage, inspect } from 'node:util';
import { type DatagramOptions, Destination, type Sock } from '../engine/datagrams.ts';
import type { Interface } from '../ip/interface.ts';
import { UDP_CODES } from '../udp/reasons.ts';
import { formatIpv4, formatIpv6, parseIp } from '../wire/address.ts';
import type { Datagramlike, DgramTable } from './dgram-table.ts';
import { codedError, systemError } from './errors.ts';
import { rethrow } from './socket.ts';
import type { SocketTable } from './socket-table.ts';
import { type StackChoice, tableOf } from './stacks.ts';

export type SocketType = 'udp4' | 'udp6';

export type Lookup = (
  hostname: string,
  family: number,
  callback: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
) => void;

export interface SocketOptions extends StackChoice {
  readonly type: SocketType;
  readonly reuseAddr?: boolean | undefined;
  readonly reusePort?: boolean | undefined;
  /** Of 'udp6': no IPv4, which otherwise comes as `::ffff:10.0.0.1`. */
  readonly ipv6Only?: boolean | undefined;
  /** Bytes that may wait in a paused socket of the engine's; here nothing does. */
  readonly recvBufferSize?: number | undefined;
  /** Bytes that may wait until they can be sent; a send beyond fails with ENOBUFS. */
  readonly sendBufferSize?: number | undefined;
  /** `dns.lookup` unless told. */
  readonly lookup?: Lookup | undefined;
  /** Aborting closes the socket. */
  readonly signal?: AbortSignal | undefined;
  readonly receiveBlockList?: BlockList | undefined;
  readonly sendBlockList?: BlockList | undefined;
}

export interface BindOptions {
  readonly port?: number | undefined;
  readonly address?: string | undefined;
  /** Of no effect: a stack belongs to one process. */
  readonly exclusive?: boolean | undefined;
}

export interface RemoteInfo {
  readonly address: string;
  readonly family: 'IPv4' | 'IPv6';
  readonly port: number;
  /** Of the payload, bytes. */
  readonly size: number;
}

type SendCallback = (error: Error | null, bytes: number) => void;
type Message = string | NodeJS.ArrayBufferView;

/** A datagram that can't leave yet. */
interface Waiting {
  readonly bytes: Uint8Array;
  readonly to: Destination | undefined;
  readonly where: { readonly address: string; readonly port: number };
  readonly callback: SendCallback | undefined;
}

const SEND_BUFFER = 212_992;
const RECEIVE_BUFFER = 212_992;

type State = 'unbound' | 'binding' | 'bound' | 'closed';

export class Socket extends EventEmitter implements Datagramlike {
  readonly type: SocketType;
  readonly #options: SocketOptions;
  readonly #context = new AsyncResource('MILLRACEUDP');
  readonly #sockets: SocketTable;
  readonly #table: DgramTable;
  #state: State = 'unbound';
  #sock: Sock = 0;
  #remote: 'none' | 'connecting' | 'connected' = 'none';
  /** What was asked for while binding; null: not binding, or nothing was. */
  #queue: (() => void)[] | null = null;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #sendBuffer: number;
  /** Set before there is a socket of the engine's. */
  #settings: DatagramOptions = {};
  readonly #memberships: { readonly group: string; readonly iface: number | undefined }[] = [];
  #refed = true;
  #held = false;

  /** Use `createSocket`. @throws ERR_SOCKET_BAD_TYPE, ERR_MILLRACE_NO_STACK */
  constructor(options: SocketType | SocketOptions, listener?: (message: Buffer, remote: RemoteInfo) => void) {
    super();
    const given: SocketOptions =
      typeof options === 'object' && options !== null ? options : { type: options };
    if (given.type !== 'udp4' && given.type !== 'udp6') {
      const message = 'Bad socket type specified. Valid types are: udp4, udp6';
      throw codedError('ERR_SOCKET_BAD_TYPE', message, TypeError);
    }
    this.type = given.type;
    this.#options = given;
    this.#sockets = tableOf(given);
    this.#table = this.#sockets.dgrams;
    this.#sendBuffer = given.sendBufferSize || SEND_BUFFER;
    if (given.recvBufferSize) this.#settings = { receiveBuffer: given.recvBufferSize };
    if (listener !== undefined) this.on('message', listener);
    if (given.signal !== undefined) this.#closeOn(given.signal);
  }

  bind(port?: number, address?: string, callback?: () => void): this;
  bind(port: number, callback?: () => void): this;
  bind(callback: () => void): this;
  bind(options: BindOptions, callback?: () => void): this;
  bind(...args: unknown[]): this {
    this.#checkOpen();
    if (this.#state !== 'unbound') throw alreadyBound();
    const last = args.at(-1);
    if (typeof last === 'function') this.#onListening(last as () => void);
    const [first, second] = args;
    const options = typeof first === 'object' && first !== null ? (first as BindOptions) : null;
    if (options !== null && 'fd' in options && options.fd !== undefined) {
      const message =
        "options.fd names something of the kernel's, which this stack doesn't have: use node:dgram";
      throw codedError('ERR_INVALID_ARG_VALUE', message, TypeError);
    }
    const port = options !== null ? options.port : typeof first === 'number' ? first : 0;
    const given = options !== null ? options.address : typeof second === 'string' ? second : undefined;
    const address = given || this.#any;
    this.#state = 'binding';
    this.#lookup(address, (error, ip) => {
      if (this.#state !== 'binding') return;
      if (error === null) error = this.#bind(ip, port ?? 0);
      if (error === null) {
        this.emit('listening');
        return;
      }
      this.#state = 'unbound';
      this.#queue = null;
      this.emit('error', error);
    });
    return this;
  }

  /** Binds at once; the address is no name. @throws what `bind` would emit */
  bindSync(options: BindOptions = {}): AddressInfo {
    this.#checkOpen();
    if (this.#state !== 'unbound') throw alreadyBound();
    const port = checkPort(options.port ?? 0, 'options.port', true);
    const address = options.address || this.#any;
    checkNumeric(address, 'options.address', 'bindSync');
    const error = this.#bind(address, port);
    if (error !== null) throw error;
    process.nextTick(() => this.#state === 'bound' && this.emit('listening'));
    return this.address();
  }

  connect(port: number, address?: string, callback?: (error?: Error) => void): void;
  connect(port: number, callback?: (error?: Error) => void): void;
  connect(port: unknown, address?: unknown, callback?: unknown): void {
    const to = checkPort(port, 'Port', false);
    const done = (typeof address === 'function' ? address : callback) as
      | ((error?: Error) => void)
      | undefined;
    const host =
      typeof address === 'function' || address === undefined ? '' : checkString(address, 'address');
    this.#checkOpen();
    if (this.#remote !== 'none') throw isConnected();
    this.#remote = 'connecting';
    this.#whenBound(() => {
      if (done !== undefined) this.once('connect', done);
      this.#lookup(host || this.#loopback, (error, ip) => {
        if (this.#remote !== 'connecting' || this.#state !== 'bound') return;
        const failure = error ?? this.#connect(ip, to);
        if (failure === null) {
          this.emit('connect');
          return;
        }
        this.#remote = 'none';
        if (done === undefined) {
          this.emit('error', failure);
          return;
        }
        this.removeListener('connect', done);
        done(failure);
      });
    });
  }

  /** Connects at once; the address is no name. @throws what `connect` would emit */
  connectSync(port: number, address?: string): void {
    this.#checkOpen();
    const to = checkPort(port, 'Port', false);
    if (this.#remote !== 'none') throw isConnected();
    const ip = address || this.#loopback;
    checkNumeric(ip, 'address', 'connectSync');
    if (this.#state === 'unbound') this.bindSync();
    else if (this.#state !== 'bound') throw alreadyBound();
    this.#remote = 'connecting';
    const error = this.#connect(ip, to);
    if (error !== null) {
      this.#remote = 'none';
      throw error;
    }
    process.nextTick(() => this.#state === 'bound' && this.emit('connect'));
  }

  disconnect(): void {
    if (this.#remote !== 'connected') throw notConnected();
    this.#remote = 'none';
    this.#table.engine.datagrams.disconnect(this.#sock);
  }

  send(message: Message | readonly Message[], port: number, address?: string, callback?: SendCallback): void;
  send(message: Message | readonly Message[], port: number, callback?: SendCallback): void;
  send(message: Message | readonly Message[], callback?: SendCallback): void;
  send(
    message: Message,
    offset: number,
    length: number,
    port: number,
    address?: string,
    callback?: SendCallback,
  ): void;
  send(message: Message, offset: number, length: number, port: number, callback?: SendCallback): void;
  send(message: Message, offset: number, length: number, callback?: SendCallback): void;
  send(message: unknown, ...rest: unknown[]): void {
    const connected = this.#remote === 'connected';
    const given = rest.filter((argument) => typeof argument !== 'function');
    const callback = rest.find((argument) => typeof argument === 'function') as SendCallback | undefined;
    // With a part of a buffer two numbers come first: (offset, length) of who is connected, (…, port) of others.
    const part = connected ? typeof rest[1] === 'number' : isPresent(rest[3]) || isPresent(rest[2]);
    // A connected socket looks where the other form has them, as Node does.
    const [portGiven, addressGiven] = part || connected ? given.slice(2) : given;
    if (connected && (isPresent(portGiven) || isPresent(addressGiven))) throw isConnected();
    const bytes = part ? slice(message, rest[0], rest[1]) : whole(message);
    const port = connected ? 0 : checkPort(portGiven, 'Port', false);
    const address =
      addressGiven === undefined || addressGiven === null ? undefined : checkString(addressGiven, 'address');
    this.#checkOpen();
    this.#whenBound(() => this.#send(bytes, port, address, callback));
  }

  close(callback?: () => void): this {
    if (callback !== undefined) this.on('close', callback);
    if (this.#queue !== null) {
      this.#queue.push(() => this.close());
      return this;
    }
    this.#checkOpen();
    if (this.#state === 'bound') {
      this.#table.remove(this.#sock);
      this.#table.engine.datagrams.close(this.#sock);
    }
    this.#state = 'closed';
    this.#waiting = [];
    this.#hold();
    process.nextTick(() => this.emit('close'));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'closed') return;
    await new Promise<void>((resolve) => this.close(resolve));
  }

  address(): AddressInfo {
    this.#checkOpen();
    const local = this.#table.engine.datagrams.local(this.#sock);
    if (this.#state !== 'bound' || local === null) throw systemError('EBADF', 'getsockname');
    return { address: this.#text(local.address ?? this.#any), family: this.#family, port: local.port };
  }

  remoteAddress(): AddressInfo {
    this.#checkOpen();
    const remote = this.#table.engine.datagrams.remote(this.#sock);
    if (this.#remote !== 'connected' || remote === null) throw notConnected();
    return { address: this.#text(remote.address), family: this.#family, port: remote.port };
  }

  setBroadcast(flag: boolean): void {
    this.#checkOpen();
    this.#set({ broadcast: Boolean(flag) });
  }

  setTTL(ttl: number): number {
    this.#set({ ttl: checkTtl(ttl, 1, 'setTTL') });
    return ttl;
  }

  setMulticastTTL(ttl: number): number {
    this.#set({ groupTtl: checkTtl(ttl, 0, 'setMulticastTTL') });
    return ttl;
  }

  /** Of no effect: a stack doesn't hear what it says itself. */
  setMulticastLoopback<T>(flag: T): T {
    this.#checkOpen();
    return flag;
  }

  /** @param multicastInterface One of the stack's addresses; `0.0.0.0` or `::` leaves it to the routes. */
  setMulticastInterface(multicastInterface: string): void {
    this.#checkOpen();
    const text = checkString(multicastInterface, 'interfaceAddress');
    if (text === '0.0.0.0' || text === '::') {
      this.#set({ groupInterface: -1 });
      return;
    }
    const iface = this.#interfaceOf(text);
    if (iface === undefined) throw systemError('EADDRNOTAVAIL', 'setMulticastInterface');
    this.#set({ groupInterface: iface.index });
  }

  addMembership(multicastAddress: string, multicastInterface?: string): void {
    const membership = this.#membership(multicastAddress, multicastInterface, 'addMembership');
    const { group, iface } = membership;
    const known = this.#memberships.some((other) => other.group === group && other.iface === iface);
    if (known) throw systemError('EADDRINUSE', 'addMembership');
    const error = this.#state === 'bound' ? this.#join(membership) : null;
    if (error !== null) throw error;
    this.#memberships.push(membership);
  }

  dropMembership(multicastAddress: string, multicastInterface?: string): void {
    const { group, iface } = this.#membership(multicastAddress, multicastInterface, 'dropMembership');
    const at = this.#memberships.findIndex(
      (other) => other.group === group && (iface === undefined || other.iface === iface),
    );
    if (at < 0) throw systemError('EADDRNOTAVAIL', 'dropMembership');
    const [membership] = this.#memberships.splice(at, 1);
    if (this.#state === 'bound')
      this.#table.engine.datagrams.leave(this.#sock, membership.group, membership.iface);
  }

  /** Groups are joined for any source. @throws ENOTSUP */
  addSourceSpecificMembership(_source: string, _group: string, _interface?: string): void {
    throw systemError('ENOTSUP', 'addSourceSpecificMembership');
  }

  dropSourceSpecificMembership(_source: string, _group: string, _interface?: string): void {
    throw systemError('ENOTSUP', 'dropSourceSpecificMembership');
  }

  getRecvBufferSize(): number {
    this.#checkBuffer('recv');
    return this.#settings.receiveBuffer ?? RECEIVE_BUFFER;
  }

  setRecvBufferSize(size: number): void {
    this.#checkBuffer('recv', size);
    this.#set({ receiveBuffer: size });
  }

  getSendBufferSize(): number {
    this.#checkBuffer('send');
    return this.#sendBuffer;
  }

  setSendBufferSize(size: number): void {
    this.#checkBuffer('send', size);
    this.#sendBuffer = size;
  }

  getSendQueueSize(): number {
    return this.#waitingBytes;
  }

  getSendQueueCount(): number {
    return this.#waiting.length;
  }

  ref(): this {
    this.#refed = true;
    this.#hold();
    return this;
  }

  unref(): this {
    this.#refed = false;
    this.#hold();
    return this;
  }

  // ── What the engine tells ──

  /** @internal */
  received(payload: Buffer, sender: string, port: number): void {
    const address = this.#text(sender);
    const family = this.#family;
    if (this.#options.receiveBlockList?.check(address, family === 'IPv4' ? 'ipv4' : 'ipv6') === true) return;
    this.#tell('message', payload, { address, family, port, size: payload.length });
  }

  /** @internal */
  refused(code: string): void {
    this.#tell('error', systemError(code, 'recvmsg'));
  }

  /** @internal Those that still can't leave stay, in order; others pass them by. */
  writable(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const entry of waiting) this.#attempt(entry);
  }

  // ── Helpers ──

  get #any(): string {
    return this.type === 'udp4' ? '0.0.0.0' : '::';
  }

  get #loopback(): string {
    return this.type === 'udp4' ? '127.0.0.1' : '::1';
  }

  get #family(): 'IPv4' | 'IPv6' {
    return this.type === 'udp4' ? 'IPv4' : 'IPv6';
  }

  /** IPv4 on an IPv6 socket is IPv4-mapped. */
  #text(address: string): string {
    return this.type === 'udp6' && isIPv4(address) ? `::ffff:${address}` : address;
  }

  #tell(event: string, ...args: unknown[]): void {
    try {
      this.#context.runInAsyncScope(this.emit, this, event, ...args);
    } catch (error) {
      process.nextTick(rethrow, error);
    }
  }

  #closeOn(signal: AbortSignal): void {
    const abort = (): void => {
      if (this.#state !== 'closed') this.close();
    };
    if (signal.aborted) abort();
    else {
      signal.addEventListener('abort', abort);
      this.once('close', () => signal.removeEventListener('abort', abort));
    }
  }

  #onListening(callback: () => void): void {
    const forget = (): void => {
      this.removeListener('listening', told);
      this.removeListener(errorMonitor, forget);
    };
    const told = (): void => {
      forget();
      callback.call(this);
    };
    this.on('listening', told);
    this.on(errorMonitor, forget);
  }

  /** Calls back later, or at once for what is no name once there is a socket. */
  #lookup(host: string, callback: (error: Error | null, ip: string) => void): void {
    const { lookup } = this.#options;
    const family = this.type === 'udp4' ? 4 : 6;
    if (lookup !== undefined) lookup(host, family, callback);
    else if (isIP(host) === 0) dnsLookup(host, family, callback);
    else if (this.#state === 'bound') callback(null, host);
    else process.nextTick(callback, null, host);
  }

  /** @returns what went wrong, or null */
  #bind(ip: string, port: number): Error | null {
    const { reuseAddr = false, reusePort = false, ipv6Only = false } = this.#options;
    const { datagrams } = this.#table.engine;
    const any = ip === this.#any;
    // What binds to all of IPv6 has IPv4 too, as in Linux.
    const family =
      this.type === 'udp4' ? { family: 4 as const } : ipv6Only || !any ? { family: 6 as const } : {};
    try {
      if (isIP(ip) !== (this.type === 'udp4' ? 4 : 6)) throw systemError('EINVAL', 'bind');
      const address = any ? {} : { address: ip };
      const options = { port, ...address, ...family, reuseAddress: reuseAddr, reusePort };
      this.#sock = datagrams.bind(options, this.#table.handlers);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'EINVAL';
      if (!(code in constants.errno)) return error as Error;
      return systemError(code, 'bind', { address: ip, port }, { cause: error });
    }
    this.#state = 'bound';
    this.#table.add(this.#sock, this);
    datagrams.setOptions(this.#sock, this.#settings);
    for (const membership of this.#memberships) this.#join(membership);
    this.#hold();
    return null;
  }

  /** Binds if need be, and then does it; at once when bound. */
  #whenBound(then: () => void): void {
    if (this.#state === 'bound') {
      then();
      return;
    }
    if (this.#queue !== null) {
      this.#queue.push(then);
      return;
    }
    this.#queue = [then];
    const forget = (): void => {
      this.removeListener('listening', go);
      this.removeListener(errorMonitor, forget);
    };
    const go = (): void => {
      forget();
      const queue = this.#queue ?? [];
      this.#queue = null;
      for (const one of queue) one();
    };
    this.on('listening', go);
    this.on(errorMonitor, forget);
    if (this.#state === 'unbound') this.bind({ port: 0 });
  }

  #connect(ip: string, port: number): Error | null {
    const blocked = this.#blocked(ip);
    if (blocked !== null) return blocked;
    try {
      const address = this.#reachable(ip);
      if (address === null) throw codedError('EINVAL', 'the address is of the other family');
      this.#table.engine.datagrams.connect(this.#sock, address, port);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'EINVAL';
      return systemError(
        code in constants.errno ? code : 'EINVAL',
        'connect',
        { address: ip, port },
        { cause: error },
      );
    }
    this.#remote = 'connected';
    return null;
  }

  /** The address as the engine takes it; null: not of this socket's family. */
  #reachable(ip: string): string | null {
    if (this.type === 'udp4') return isIPv4(ip) ? ip : null;
    if (isIP(ip) !== 6) return null;
    const [w0, w1, w2, w3] = parseIp(ip);
    return w0 === 0 && w1 === 0 && w2 === 0xffff ? formatIpv4(w3) : ip;
  }

  #blocked(ip: string): Error | null {
    if (this.#options.sendBlockList?.check(ip, isIPv4(ip) ? 'ipv4' : 'ipv6') !== true) return null;
    return codedError('ERR_IP_BLOCKED', `IP(${ip}) is blocked by net.BlockList`);
  }

  #send(
    bytes: Uint8Array,
    port: number,
    address: string | undefined,
    callback: SendCallback | undefined,
  ): void {
    if (this.#state === 'closed') return;
    if (this.#remote === 'connected') {
      const { address, port } = this.remoteAddress();
      this.#attempt({ bytes, to: undefined, where: { address, port }, callback });
      return;
    }
    this.#lookup(address || this.#loopback, (error, ip) => {
      if (this.#state !== 'bound') return;
      if (error !== null) {
        if (callback !== undefined) process.nextTick(callback, error);
        else process.nextTick(() => this.emit('error', error));
        return;
      }
      const where = { address: ip, port };
      const blocked = this.#blocked(ip);
      const reachable = blocked === null ? this.#reachable(ip) : null;
      if (reachable === null) {
        if (callback !== undefined)
          process.nextTick(callback, blocked ?? systemError('EINVAL', 'send', where));
        return;
      }
      this.#attempt({ bytes, to: new Destination(reachable, port), where, callback });
    });
  }

  /** Sends, or lets wait, or tells what is wrong to whoever wants to know: without a callback nobody does. */
  #attempt(entry: Waiting): void {
    const { bytes, to, where, callback } = entry;
    const result = this.#table.engine.datagrams.write(this.#sock, bytes, to);
    if (result > 0) {
      if (callback !== undefined) process.nextTick(callback, null, bytes.length);
      return;
    }
    if (result === 0 && this.#waitingBytes + bytes.length <= this.#sendBuffer) {
      this.#waiting.push(entry);
      // An empty one takes a place, too.
      this.#waitingBytes += Math.max(1, bytes.length);
      return;
    }
    const code = result === 0 ? 'ENOBUFS' : UDP_CODES[-result];
    if (callback !== undefined) process.nextTick(callback, systemError(code, 'send', where));
  }

  #set(options: DatagramOptions): void {
    this.#checkOpen();
    this.#settings = { ...this.#settings, ...options };
    if (this.#state === 'bound') this.#table.engine.datagrams.setOptions(this.#sock, options);
  }

  #membership(
    group: string,
    iface: string | undefined,
    syscall: string,
  ): { group: string; iface: number | undefined } {
    this.#checkOpen();
    if (!group)
      throw codedError('ERR_MISSING_ARGS', 'The "multicastAddress" argument must be specified', TypeError);
    const family = this.type === 'udp4' ? 4 : 6;
    const words = isIP(group) === family ? parseIp(group) : [0];
    if (family === 4 ? words[0] >>> 28 !== 14 : words[0] >>> 24 !== 0xff)
      throw systemError('EINVAL', syscall);
    const text = family === 4 ? formatIpv4(words[0]) : formatIpv6(words);
    if (iface === undefined || iface === '' || iface === '0.0.0.0' || iface === '::')
      return { group: text, iface: undefined };
    const found = this.#interfaceOf(iface);
    if (found === undefined) throw systemError('ENODEV', syscall);
    return { group: text, iface: found.index };
  }

  #join({ group, iface }: { group: string; iface: number | undefined }): Error | null {
    try {
      this.#table.engine.datagrams.join(this.#sock, group, iface);
      return null;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'EINVAL';
      return systemError(code in constants.errno ? code : 'EINVAL', 'addMembership', undefined, {
        cause: error,
      });
    }
  }

  #interfaceOf(address: string): Interface | undefined {
    if (isIP(address) === 0) return undefined;
    const words = parseIp(address);
    return this.#table.engine.ip.interfaces.find((iface) =>
      words.length === 1
        ? iface.v4.some((a) => a.address === words[0])
        : iface.v6.some(
            (a) => a.a0 === words[0] && a.a1 === words[1] && a.a2 === words[2] && a.a3 === words[3],
          ),
    );
  }

  /** @param size The one to set, if any. */
  #checkBuffer(which: 'recv' | 'send', size?: number): void {
    this.#checkOpen();
    if (size !== undefined && size >>> 0 !== size)
      throw codedError('ERR_SOCKET_BAD_BUFFER_SIZE', 'Buffer size must be a positive integer', TypeError);
    if (this.#state === 'bound') return;
    const errno = -constants.errno.EBADF;
    const syscall = `uv_${which}_buffer_size`;
    const message = `Could not get or set buffer size: ${syscall} returned EBADF (${getSystemErrorMessage(errno)})`;
    throw Object.assign(codedError('ERR_SOCKET_BUFFER_SIZE', message), { errno, syscall });
  }

  #checkOpen(): void {
    if (this.#state === 'closed') throw codedError('ERR_SOCKET_DGRAM_NOT_RUNNING', 'Not running');
  }

  /** An open socket that is bound keeps the process, unless it was told not to. */
  #hold(): void {
    const holds = this.#state === 'bound' && this.#refed;
    if (holds === this.#held) return;
    this.#held = holds;
    if (holds) this.#sockets.hold();
    else this.#sockets.release();
  }
}

function isPresent(argument: unknown): boolean {
  return argument !== undefined && argument !== null && typeof argument !== 'function' && argument !== 0;
}

/** The bytes of a message, or of several together. */
function whole(message: unknown): Uint8Array {
  if (!Array.isArray(message)) return bytesOf(message, 'buffer');
  return Buffer.concat(message.map((one) => bytesOf(one, 'buffer list arguments', message)));
}

function slice(message: unknown, offset: unknown, length: unknown): Uint8Array {
  const bytes = bytesOf(message, 'buffer');
  const [from, count] = [Number(offset) >>> 0, Number(length) >>> 0];
  const outside = from > bytes.length ? 'offset' : from + count > bytes.length ? 'length' : '';
  if (outside !== '')
    throw codedError('ERR_BUFFER_OUT_OF_BOUNDS', `"${outside}" is outside of buffer bounds`, RangeError);
  return bytes.subarray(from, from + count);
}

/** @param named What the error shows instead. */
function bytesOf(message: unknown, name: string, named: unknown = message): Uint8Array {
  if (typeof message === 'string') return Buffer.from(message);
  if (ArrayBuffer.isView(message))
    return new Uint8Array(message.buffer, message.byteOffset, message.byteLength);
  const text = `The "${name}" argument must be of type string or an instance of Buffer, TypedArray, or DataView.`;
  throw codedError('ERR_INVALID_ARG_TYPE', `${text}${received(named)}`, TypeError);
}

function received(value: unknown): string {
  if (typeof value === 'object' && value !== null)
    return ` Received an instance of ${value.constructor?.name}`;
  if (value === undefined || value === null) return ` Received ${value}`;
  return ` Received type ${typeof value} (${inspect(value)})`;
}

function checkString(value: unknown, name: string): string {
  if (typeof value === 'string') return value;
  const text = `The "${name}" argument must be of type string.`;
  throw codedError('ERR_INVALID_ARG_TYPE', `${text}${received(value)}`, TypeError);
}

function checkPort(value: unknown, name: string, zero: boolean): number {
  const isNumber = typeof value === 'number' || (typeof value === 'string' && value.trim() !== '');
  const port = Number(value);
  if (isNumber && Number.isInteger(port) && port >= (zero ? 0 : 1) && port <= 65_535) return port;
  const text = `${name} should be >${zero ? '=' : ''} 0 and < 65536.`;
  throw codedError('ERR_SOCKET_BAD_PORT', `${text}${received(value)}.`, RangeError);
}

function checkNumeric(address: string, name: string, caller: string): void {
  checkString(address, name);
  if (isIP(address) !== 0) return;
  const why = `must be a numeric IP address; ${caller} does not perform DNS resolution`;
  const kind = name.includes('.') ? 'property' : 'argument';
  const message = `The ${kind} '${name}' ${why}. Received ${inspect(address)}`;
  throw codedError('ERR_INVALID_ARG_VALUE', message, TypeError);
}

function checkTtl(ttl: unknown, least: number, syscall: string): number {
  if (typeof ttl !== 'number') {
    const message = `The "ttl" argument must be of type number.${received(ttl)}`;
    throw codedError('ERR_INVALID_ARG_TYPE', message, TypeError);
  }
  if (!(ttl >= least && ttl <= 255)) throw systemError('EINVAL', syscall);
  return ttl;
}

function alreadyBound(): Error {
  return codedError('ERR_SOCKET_ALREADY_BOUND', 'Socket is already bound');
}

function isConnected(): Error {
  return codedError('ERR_SOCKET_DGRAM_IS_CONNECTED', 'Already connected');
}

function notConnected(): Error {
  return codedError('ERR_SOCKET_DGRAM_NOT_CONNECTED', 'Not connected');
}
