/** The sockets of the program that a script plays, and the handlers that join them to the engine. */
import type { Engine } from '../engine/engine.ts';
import { EngineError } from '../engine/errors.ts';
import type { Conn, Handlers } from '../engine/handlers.ts';
import { STATE, TCB } from '../tcp/block.ts';
import type { Config } from './config.ts';
import { Flow } from './flow.ts';
import type { Host } from './host.ts';
import type { Settings } from './settings.ts';
import { TcpSocket } from './socket.ts';

/** The largest that a window can cover (RFC 7323 2.3). */
const BUFFER_MAX = 0xffff << 14;

export class Sockets {
  readonly #host: Host;
  readonly #engine: Engine;
  readonly #settings: Settings;
  readonly #config: Config;
  readonly #byConn = new Map<Conn, TcpSocket>();
  readonly #handlers: Handlers;
  readonly all: TcpSocket[] = [];

  constructor(host: Host, settings: Settings, config: Config) {
    this.#host = host;
    this.#engine = host.engine;
    this.#settings = settings;
    this.#config = config;
    this.#handlers = {
      open: (conn) => this.#opened(conn, null),
      data: (conn, _at, length) => this.#byConn.get(conn)?.offered(length) ?? length,
      end: (conn) => this.#byConn.get(conn)?.ended(),
      close: (conn, reason) => {
        this.#byConn.get(conn)?.closed(reason);
        this.#byConn.delete(conn);
      },
    };
  }

  create(version: 4 | 6): TcpSocket {
    const { receiveBuffer, sendBuffer } = this.#settings;
    const socket = new TcpSocket(this.#engine, version, receiveBuffer, sendBuffer);
    this.all.push(socket);
    return socket;
  }

  /** @returns an error's name, or null */
  listen(socket: TcpSocket, backlog: number): string | null {
    socket.backlog = Math.max(1, backlog);
    if (socket.state === 'listening') return null;
    if (socket.state !== 'fresh') return 'EINVAL';
    const port = socket.bound?.port ?? this.#config.bindPort;
    try {
      this.#offerBuffers(socket);
      socket.listener = this.#engine.listen(
        { port, backlog: Math.max(128, backlog) },
        { ...this.#handlers, open: (conn) => this.#opened(conn, socket) },
      );
    } catch (error) {
      if (error instanceof EngineError) return error.code;
      throw error;
    }
    socket.state = 'listening';
    return null;
  }

  /** @returns an error's name, or null: the connection is on its way */
  connect(socket: TcpSocket, remote: string, port: number): string | null {
    try {
      this.#offerBuffers(socket);
      socket.conn = this.#engine.connect(
        {
          address: remote,
          port,
          localAddress: this.#config.local,
          ...(socket.bound === null ? {} : { localPort: socket.bound.port }),
          noDelay: socket.options.get('TCP_NODELAY') === 1,
        },
        this.#handlers,
      );
    } catch (error) {
      if (error instanceof EngineError) return error.code === 'EHOSTUNREACH' ? 'ENETUNREACH' : error.code;
      throw error;
    }
    socket.state = 'connecting';
    this.#byConn.set(socket.conn, socket);
    socket.flow = this.#flowOf(socket.conn);
    return null;
  }

  /** The scale offered is for what the buffer may grow to, which it has until the connection stands. */
  #offerBuffers(socket: TcpSocket): void {
    const { limits } = this.#engine.tcp as { limits: { receiveBuffer: number; sendBuffer: number } };
    limits.receiveBuffer = socket.receiveBufferFixed
      ? socket.receiveBuffer
      : Math.min(Math.max(socket.receiveBuffer, this.#settings.receiveBufferMax), BUFFER_MAX);
    limits.sendBuffer = socket.sendBuffer;
  }

  /** What the system's TCP does otherwise than ours, connection by connection; to be called after each breath. */
  adapt(): void {
    if (this.#settings.dialect !== 'freebsd') return;
    const { m } = this.#engine.tcp;
    for (const socket of this.#byConn.values()) {
      const t = socket.block;
      if (t === 0) continue;
      if (m[t + TCB.STATE] > STATE.SYN_SENT) this.#sizeBuffers(socket);
      // Without scaling it accepts as much as the buffer takes, which may be more than could be told.
      const space = m[t + TCB.RCV_BUF] - m[t + TCB.RCVQ_LENGTH];
      const told = (m[t + TCB.RCV_ADV] - m[t + TCB.RCV_NXT]) | 0;
      if ((m[t + TCB.FLAGS] & 0xff) === 0 && m[t + TCB.STATE] > STATE.SYN_SENT && space > told && told > 0)
        m[t + TCB.RCV_ADV] = (m[t + TCB.RCV_NXT] + space) | 0;
      // Every second segment is acknowledged at once, whatever its size, and none sooner.
      m[t + TCB.QUICK_ACKS] = 0;
      if (m[t + TCB.ACK_OWED] > 0)
        m[t + TCB.ACK_OWED] = Math.max(m[t + TCB.ACK_OWED], 2 * m[t + TCB.MSS] - 1);
    }
  }

  #opened(conn: Conn, listener: TcpSocket | null): void {
    let socket = this.#byConn.get(conn);
    if (socket === undefined) {
      socket = this.create(listener?.version ?? this.#config.version);
      socket.conn = conn;
      socket.flow = this.#flowOf(conn);
      this.#byConn.set(conn, socket);
      if (listener !== null) this.#inherit(socket, listener);
    }
    this.#sizeBuffers(socket);
    socket.opened();
    if (listener !== null) {
      listener.accepted.push(socket);
      listener.arrivals++;
    }
    this.applyOptions(socket);
  }

  #inherit(socket: TcpSocket, listener: TcpSocket): void {
    socket.receiveBuffer = listener.receiveBuffer;
    socket.receiveBufferFixed = listener.receiveBufferFixed;
    socket.sendBuffer = listener.sendBuffer;
    socket.bound = listener.bound;
    for (const [name, value] of listener.options) socket.options.set(name, value);
  }

  #sizeBuffers(socket: TcpSocket): void {
    const { m } = this.#engine.tcp;
    const t = socket.block;
    if (socket.sized) return;
    socket.sized = true;
    if (this.#settings.dialect === 'freebsd') {
      // FreeBSD rounds both buffers up to whole segments.
      const mss = Math.min(m[t + TCB.PEER_MSS], m[t + TCB.PMTU] - (socket.version === 6 ? 60 : 40));
      const whole = (bytes: number) => (bytes > mss ? Math.ceil(bytes / mss) * mss : bytes);
      socket.receiveBuffer = whole(socket.receiveBuffer);
      socket.sendBuffer = whole(socket.sendBuffer);
    }
    m[t + TCB.RCV_BUF] = socket.receiveBuffer;
    m[t + TCB.SND_BUF] = socket.sendBuffer;
  }

  /** Gives the engine what was set on the socket before its connection stood. */
  applyOptions(socket: TcpSocket): void {
    const { options, conn } = socket;
    const t = socket.block;
    if (t === 0) return;
    if (options.has('TCP_NODELAY')) this.#engine.setNoDelay(conn, options.get('TCP_NODELAY') !== 0);
    if (options.get('SO_KEEPALIVE') === 1) {
      const idle = options.get('TCP_KEEPIDLE') ?? this.#settings.keepIdle_s;
      this.#engine.setKeepAlive(conn, Number(idle) * 1000);
    } else if (options.get('SO_KEEPALIVE') === 0) this.#engine.setKeepAlive(conn, 0);
    const timeout = options.get('TCP_USER_TIMEOUT');
    if (timeout !== undefined) this.#engine.setUserTimeout(conn, Number(timeout));
  }

  #flowOf(conn: Conn): Flow | null {
    const ends = this.#engine.endpoint(conn);
    if (ends === null) return null;
    return new Flow({
      version: ends.family,
      local: ends.localAddress,
      localPort: ends.localPort,
      remote: ends.remoteAddress,
      remotePort: ends.remotePort,
    });
  }

  /** close(2), once no descriptor is left. */
  close(socket: TcpSocket): void {
    if (socket.state === 'listening') {
      this.#engine.unlisten(socket.listener);
      for (const waiting of socket.accepted.splice(0)) this.#engine.abort(waiting.conn);
      socket.state = 'ended';
      return;
    }
    if (socket.conn === 0) return;
    const linger = socket.options.get('SO_LINGER');
    if (linger === 0) this.#engine.abort(socket.conn);
    else {
      socket.flush();
      this.#engine.close(socket.conn);
    }
    this.#host.settle();
  }
}
