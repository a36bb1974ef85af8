/** The sockets of the program that a script plays, and the handlers that join them to the engine. */
import type { Engine } from '../engine/engine.ts';
import { EngineError } from '../engine/errors.ts';
import type { Conn, Handlers } from '../engine/handlers.ts';
import { FLAG, FLAG2, PATH_FLAG, STATE, TCB } from '../tcp/block.ts';
import { mssUpdate } from '../tcp/handshake.ts';
import { FLAG_SYN } from '../wire/tcp.ts';
import type { Config } from './config.ts';
import { Flow } from './flow.ts';
import type { Host } from './host.ts';
import { LINUX_SEND_MORE } from './linux-buffer.ts';
import type { LivePacket } from './sent.ts';
import type { Settings } from './settings.ts';
import { TcpSocket } from './socket.ts';

/** Fewest bytes that a buffer of the engine's may have. */
const BUFFER_MIN = 256;
/** The largest MSS that Linux's SYN cookies remember. */
const COOKIE_MSS_MAX_4 = 1460;
const COOKIE_MSS_MAX_6 = 8940;
const LOW_WATER_MAX = 2 ** 30;

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
    if (settings.dialect === 'linux') host.onPacket = (packet) => this.#noteSmall(packet);
    this.#handlers = {
      open: (conn) => this.#opened(conn, null),
      data: (conn, _at, length) => {
        const socket = this.#byConn.get(conn);
        if (socket === undefined) return length;
        this.#accEcnOption(socket);
        socket.last.data_recv = this.#nowMs;
        return socket.offered(length);
      },
      end: (conn) => this.#byConn.get(conn)?.ended(),
      close: (conn, reason) => {
        this.#byConn.get(conn)?.closed(reason);
        this.#byConn.delete(conn);
      },
    };
  }

  /** Of the script's time. */
  get #nowMs(): number {
    return Math.floor(this.#host.us / 1000);
  }

  create(version: 4 | 6): TcpSocket {
    const { receiveBuffer, sendBuffer } = this.#settings;
    const socket = new TcpSocket(this.#engine, version, receiveBuffer, sendBuffer);
    socket.chunked = this.#settings.dialect === 'linux';
    this.all.push(socket);
    return socket;
  }

  /** The engine's buffer for what the program may write. */
  sendBufferOf({ sendBuffer, chunked }: TcpSocket): number {
    return Math.max(BUFFER_MIN, sendBuffer) + (chunked ? LINUX_SEND_MORE : 0);
  }

  /** @returns an error's name, or null */
  listen(socket: TcpSocket, backlog: number): string | null {
    socket.backlog = Math.max(1, backlog);
    if (socket.state === 'listening') return null;
    if (socket.state !== 'fresh') return 'EINVAL';
    return this.#listen(socket);
  }

  /** What was set since is to count for a listener. */
  listenAgain(socket: TcpSocket): void {
    this.#engine.unlisten(socket.listener);
    this.#listen(socket);
  }

  #listen(socket: TcpSocket): string | null {
    const { backlog } = socket;
    const port = socket.bound?.port ?? this.#config.bindPort;
    try {
      socket.listener = this.#engine.listen(
        {
          port,
          backlog: Math.max(128, backlog),
          fastOpen: this.#fastOpenPending(socket),
          ...this.#options(socket),
        },
        { ...this.#handlers, open: (conn) => this.#opened(conn, socket) },
      );
    } catch (error) {
      if (error instanceof EngineError) return error.code;
      throw error;
    }
    socket.state = 'listening';
    return null;
  }

  /** How many connections may wait for the end of a handshake that brought data; 0: no Fast Open. */
  #fastOpenPending(socket: TcpSocket): number {
    const { dialect, fastOpen } = this.#settings;
    if (dialect === 'freebsd') return socket.options.get('TCP_FASTOPEN') ? socket.backlog : 0;
    if ((fastOpen & 2) === 0) return 0;
    return (fastOpen & 0x400) !== 0 ? socket.backlog : Number(socket.options.get('TCP_FASTOPEN') ?? 0);
  }

  /** What the listener's Fast Open cookies are made with. */
  get fastOpenKey(): string {
    const own = this.all.find(
      ({ state, options }) => state === 'listening' && options.has('TCP_FASTOPEN_KEY'),
    );
    return String(own?.options.get('TCP_FASTOPEN_KEY') ?? this.#settings.fastOpenKey);
  }

  /** Whether data on a SYN wants a cookie: not where the system or the listener says so. */
  get fastOpenCookies(): boolean {
    if (this.#settings.dialect === 'freebsd' || (this.#settings.fastOpen & 0x200) !== 0)
      return this.#settings.dialect === 'freebsd';
    return !this.all.some(
      ({ state, options }) =>
        state === 'listening' && Number(options.get('TCP_FASTOPEN_NO_COOKIE') ?? 0) !== 0,
    );
  }

  /** @returns an error's name, or null: the connection is on its way */
  connect(socket: TcpSocket, remote: string, port: number, fastOpen = false): string | null {
    try {
      socket.conn = this.#engine.connect(
        {
          address: remote,
          port,
          localAddress: this.#config.local,
          ...(socket.bound === null ? {} : { localPort: socket.bound.port }),
          fastOpen,
          ...this.#options(socket),
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

  /** Takes a connect() back before its SYN has left, or ends the connection: the socket may begin another. */
  disconnect(socket: TcpSocket): void {
    const { conn } = socket;
    this.#byConn.delete(conn);
    if (conn !== 0) this.#engine.abort(conn);
    socket.conn = 0;
    socket.state = 'fresh';
    socket.error = null;
    socket.eof = false;
    socket.connectTold = false;
  }

  /** Of a connection, or all of a listener's: 0 lets a buffer tune itself. */
  #options(socket: TcpSocket): {
    receiveBuffer: number;
    sendBuffer: number;
    noDelay: boolean;
    diffserv?: number;
    ttl?: number;
    congestion?: string;
  } {
    const { dialect } = this.#settings;
    const fixed = (bytes: number) => Math.max(BUFFER_MIN, bytes);
    const congestion = socket.options.get('TCP_CONGESTION');
    return {
      receiveBuffer: socket.receiveBufferFixed ? fixed(this.#firstWindow(socket)) : 0,
      sendBuffer: socket.sendBufferFixed || dialect === 'freebsd' ? this.sendBufferOf(socket) : 0,
      noDelay: socket.options.get('TCP_NODELAY') === 1,
      ...ipFields(socket),
      ...(congestion === undefined ? {} : { congestion: congestionName(String(congestion)) }),
    };
  }

  /** Linux tells of whole segments at first, of its own MSS. */
  #firstWindow({ receiveBuffer, version }: TcpSocket): number {
    const mss = this.#host.mtu - (version === 6 ? 60 : 40);
    if (this.#settings.dialect !== 'linux' || receiveBuffer <= mss) return receiveBuffer;
    return receiveBuffer - (receiveBuffer % mss);
  }

  /** What the system's TCP does otherwise than ours, connection by connection; to be called after each breath. */
  adapt(): void {
    for (const socket of this.#byConn.values()) {
      const { readable } = socket;
      if (readable > socket.unread) socket.arrivals++;
      socket.unread = readable;
      socket.noteErrors(this.#host.us);
      socket.writeRecords();
      socket.noteRoom();
      socket.noteLimit(this.#host.us);
    }
    if (this.#settings.dialect === 'linux') {
      this.#host.alarmUs = Number.POSITIVE_INFINITY;
      for (const socket of this.#byConn.values()) {
        this.#host.alarmUs = Math.min(this.#host.alarmUs, socket.releaseHeld(this.#host.us));
        this.#minshall(socket);
        this.#accEcnOption(socket);
        this.#slowStart(socket);
      }
      return;
    }
    const { m, timeWaitOldest } = this.#engine.tcp;
    for (let w = timeWaitOldest; w !== 0; w = m[w + TCB.T_NEXT]) {
      // What it told counts in TIME-WAIT.
      const told = (m[w + TCB.RCV_ADV] - m[w + TCB.RCV_NXT]) | 0;
      if ((m[w + TCB.FLAGS] & 0xff) === 0 && told > 0xffff)
        m[w + TCB.RCV_ADV] = (m[w + TCB.RCV_NXT] + 0xffff) | 0;
    }
    for (const socket of this.#byConn.values()) {
      const t = socket.block;
      if (t === 0) continue;
      if (m[t + TCB.STATE] > STATE.SYN_SENT) this.#sizeBuffers(socket);
      this.#acceptBuffer(t);
      // Every second segment is acknowledged at once, whatever its size, and none sooner.
      m[t + TCB.QUICK_ACKS] = 0;
      if (m[t + TCB.ACK_OWED] > 0)
        m[t + TCB.ACK_OWED] = Math.max(m[t + TCB.ACK_OWED], 2 * m[t + TCB.MSS] - 1);
    }
  }

  /** What of the script's Linux takes though it goes beyond the window: a packet for a queue that is empty, and a FIN without data. */
  takeWhole(seq: number, length: number, fin: boolean): void {
    if (this.#settings.dialect !== 'linux') return;
    const { m } = this.#engine.tcp;
    for (const socket of this.#byConn.values()) {
      const t = socket.block;
      if (t === 0 || m[t + TCB.STATE] < STATE.ESTABLISHED || m[t + TCB.RCV_NXT] !== seq) continue;
      const end = (seq + length + (fin ? 1 : 0)) | 0;
      const wanted = fin && length === 0 ? true : m[t + TCB.RCVQ_LENGTH] === 0 && m[t + TCB.OOO_BYTES] === 0;
      if (wanted && ((end - m[t + TCB.RCV_ADV]) | 0) > 0) m[t + TCB.RCV_ADV] = end;
    }
  }

  /** In slow start Linux takes a window of which half is in use for one that is the limit. */
  #slowStart(socket: TcpSocket): void {
    const t = socket.block;
    const { m } = this.#engine.tcp;
    if (t === 0 || m[t + TCB.CWND] >= m[t + TCB.SSTHRESH]) return;
    const una = m[t + TCB.SND_UNA];
    const outstanding = (m[t + TCB.SND_NXT] - una) | 0;
    if (outstanding > socket.most || ((una - socket.mostEnd) | 0) >= 0) {
      socket.most = outstanding;
      socket.mostEnd = m[t + TCB.SND_NXT];
    }
    m[t + TCB.LIMITED] = 2 * socket.most > m[t + TCB.CWND] ? m[t + TCB.SND_NXT] : (una - 1) | 0;
  }

  /** Linux sends AccECN's option whenever the peer has sent its own. */
  #accEcnOption(socket: TcpSocket): void {
    const t = socket.block;
    const { m } = this.#engine.tcp;
    if (t === 0 || this.#settings.dialect !== 'linux') return;
    if ((m[t + TCB.PATH] & PATH_FLAG.ECN) !== PATH_FLAG.ECN_ACCURATE) return;
    if (!this.#settings.ecnFallback) m[t + TCB.PATH] |= PATH_FLAG.ECT0;
    const { ACCECN_OPTIONS, ACCECN_OPTIONS_BAD } = FLAG2;
    const seen = (m[t + TCB.FLAGS2] & (ACCECN_OPTIONS | ACCECN_OPTIONS_BAD)) === ACCECN_OPTIONS;
    if (seen && this.#settings.limits.accEcnOption) m[t + TCB.PATH] |= PATH_FLAG.OPTION;
    else m[t + TCB.PATH] &= ~PATH_FLAG.OPTION;
  }

  /** Linux's Nagle algorithm holds a small segment back only while another small one is outstanding. */
  #minshall(socket: TcpSocket): void {
    const t = socket.block;
    if (t === 0 || socket.options.has('TCP_NODELAY')) return;
    const { m } = this.#engine.tcp;
    const waits =
      !socket.recordWaits && socket.smallEnd !== null && ((socket.smallEnd - m[t + TCB.SND_UNA]) | 0) > 0;
    const noDelay = (m[t + TCB.FLAGS] & FLAG.NODELAY) !== 0;
    if (waits === noDelay) this.#engine.setNoDelay(socket.conn, !waits);
  }

  #noteSmall(packet: LivePacket): void {
    if (packet.protocol !== 'tcp') return;
    for (const socket of this.#byConn.values()) {
      const t = socket.block;
      if (t === 0 || socket.flow?.sends(packet) !== true) continue;
      socket.counted.segs_out++;
      if (packet.length === 0) continue;
      const syn = (packet.flags & FLAG_SYN) !== 0;
      if (syn) socket.synBytes = packet.length;
      const end = (packet.seq + packet.length + (syn ? 1 : 0)) | 0;
      const fresh = socket.sentEnd === null || ((end - socket.sentEnd) | 0) > 0;
      socket.counted.data_segs_out++;
      if (fresh) socket.sentEnd = end;
      else socket.counted.bytes_retrans += packet.length;
      socket.last.data_sent = this.#nowMs;
      if (fresh && !syn && packet.length < this.#engine.tcp.m[t + TCB.MSS]) socket.smallEnd = end;
    }
  }

  /** The answer to a SYN of ours. What it didn't acknowledge of the SYN's data goes first, in a segment of its own. */
  #synAnswered(socket: TcpSocket): void {
    const t = socket.block;
    if (t === 0) return;
    const { m } = this.#engine.tcp;
    const acked = (m[t + TCB.SND_UNA] - m[t + TCB.ISS] - 1) | 0;
    socket.synTaken = socket.synBytes > 0 && acked >= socket.synBytes;
    if (acked >= socket.synBytes && socket.atOpen > 0) socket.atOpen -= socket.write(socket.atOpen, false);
  }

  #opened(conn: Conn, listener: TcpSocket | null): void {
    let socket = this.#byConn.get(conn);
    if (socket === undefined) {
      socket = this.create(listener?.version ?? this.#config.version);
      socket.conn = conn;
      socket.flow = this.#flowOf(conn);
      this.#byConn.set(conn, socket);
      if (listener !== null) {
        this.#inherit(socket, listener);
        socket.passive = true;
        const info = this.#engine.info(conn);
        socket.synData = info?.fastOpen === true && info.bytesReceived > 0;
        // Linux's first window is less than its buffer, so that what the SYN brought doesn't count.
        if (socket.synData && socket.chunked && !socket.receiveBufferFixed)
          this.#engine.tcp.m[socket.block + TCB.RCV_ADV] += info?.bytesReceived ?? 0;
      }
    }
    if (listener !== null) this.#cookieMss(socket);
    else this.#synAnswered(socket);
    this.#sizeBuffers(socket);
    this.#startWindow(socket);
    socket.opened();
    socket.last.data_sent = socket.last.data_recv = socket.last.ack_recv = this.#nowMs;
    if (listener !== null) {
      listener.accepted.push(socket);
      listener.arrivals++;
    }
    this.applyOptions(socket);
    this.#accEcnOption(socket);
  }

  /** A cookie of Linux's has room for four MSS; ours for more. */
  #cookieMss(socket: TcpSocket): void {
    const { dialect, limits } = this.#settings;
    if (dialect !== 'linux' || limits.synCookies !== 'always') return;
    const { m } = this.#engine.tcp;
    const t = socket.block;
    const most = socket.version === 6 ? COOKIE_MSS_MAX_6 : COOKIE_MSS_MAX_4;
    if ((m[t + TCB.PEER_MSS] & 0xffff) <= most) return;
    m[t + TCB.PEER_MSS] = (m[t + TCB.PEER_MSS] & ~0xffff) | most;
    mssUpdate(this.#engine.tcp, t);
  }

  #startWindow(socket: TcpSocket): void {
    const { initialWindow } = this.#settings;
    const { m } = this.#engine.tcp;
    const t = socket.block;
    if (initialWindow !== 10) m[t + TCB.CWND] = initialWindow * m[t + TCB.MSS];
  }

  #inherit(socket: TcpSocket, listener: TcpSocket): void {
    socket.receiveBuffer = listener.receiveBuffer;
    socket.receiveBufferFixed = listener.receiveBufferFixed;
    socket.sendBuffer = listener.sendBuffer;
    socket.sendBufferFixed = listener.sendBufferFixed;
    socket.bound = listener.bound;
    for (const [name, value] of listener.options) socket.options.set(name, value);
  }

  #sizeBuffers(socket: TcpSocket): void {
    const { m } = this.#engine.tcp;
    const t = socket.block;
    if (socket.sized) return;
    socket.sized = true;
    if (this.#settings.dialect !== 'freebsd') {
      if (socket.receiveBufferFixed) m[t + TCB.RCV_BUF] = Math.max(BUFFER_MIN, socket.receiveBuffer);
      return;
    }
    // FreeBSD rounds both buffers up to whole segments.
    const mss = Math.min(m[t + TCB.PEER_MSS], m[t + TCB.PMTU] - (socket.version === 6 ? 60 : 40));
    const whole = (bytes: number) => (bytes > mss ? Math.ceil(bytes / mss) * mss : bytes);
    socket.receiveBuffer = whole(socket.receiveBuffer);
    socket.sendBuffer = whole(socket.sendBuffer);
    m[t + TCB.FLAGS2] &= ~FLAG2.RCV_AUTO;
    m[t + TCB.RCV_BUF] = socket.receiveBuffer;
    m[t + TCB.SND_BUF] = socket.sendBuffer;
    this.#acceptBuffer(t);
  }

  /** Without scaling FreeBSD takes as much as the buffer does, which may be more than it could tell. */
  #acceptBuffer(t: number): void {
    const { m } = this.#engine.tcp;
    const space = m[t + TCB.RCV_BUF] - m[t + TCB.RCVQ_LENGTH];
    const told = (m[t + TCB.RCV_ADV] - m[t + TCB.RCV_NXT]) | 0;
    if ((m[t + TCB.FLAGS] & 0xff) === 0 && m[t + TCB.STATE] > STATE.SYN_SENT && space > told && told > 0)
      m[t + TCB.RCV_ADV] = (m[t + TCB.RCV_NXT] + space) | 0;
  }

  /** Gives the engine what was set on the socket before its connection stood. */
  applyOptions(socket: TcpSocket): void {
    const { options, conn } = socket;
    const t = socket.block;
    if (t === 0) return;
    if (options.has('TCP_NODELAY')) this.#engine.setNoDelay(conn, options.get('TCP_NODELAY') !== 0);
    if (options.get('SO_KEEPALIVE') === 1) {
      const s = (name: string, fallback: number) => Number(options.get(name) ?? fallback);
      this.#engine.setKeepAlive(
        conn,
        s('TCP_KEEPIDLE', this.#settings.keepIdle_s) * 1000,
        s('TCP_KEEPINTVL', this.#settings.keepInterval_s) * 1000,
        s('TCP_KEEPCNT', this.#settings.keepCount),
      );
    } else if (options.get('SO_KEEPALIVE') === 0) this.#engine.setKeepAlive(conn, 0);
    const fields = ipFields(socket);
    if (fields.ttl !== undefined || fields.diffserv !== undefined) this.#engine.setIpFields(conn, fields);
    const timeout = options.get('TCP_USER_TIMEOUT');
    if (timeout !== undefined) this.#engine.setUserTimeout(conn, Number(timeout));
    const lowWater = options.get('TCP_NOTSENT_LOWAT');
    if (lowWater !== undefined && !socket.chunked)
      this.#engine.setNotSentLowWater(conn, Math.min(Number(lowWater), LOW_WATER_MAX));
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

/** What the socket says about the IP header. Its ECN bits are TCP's own. */
function ipFields({ options }: TcpSocket): { diffserv?: number; ttl?: number } {
  const tos = Number(options.get('IP_TOS') ?? options.get('IPV6_TCLASS') ?? -1);
  const ttl = Number(options.get('IP_TTL') ?? options.get('IPV6_UNICAST_HOPS') ?? -1);
  return {
    ...(tos < 0 ? {} : { diffserv: (tos & 0xff) >> 2 }),
    ...(ttl < 1 ? {} : { ttl: Math.min(ttl, 255) }),
  };
}

/** FreeBSD's name for what the others call Reno. */
export function congestionName(name: string): string {
  return name === 'newreno' ? 'reno' : name;
}
