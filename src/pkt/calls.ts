/**
 * System calls. Each is an attempt that is repeated while it would block: it answers with what the call returns, or
 * null as long as there is nothing to return.
 */
import type { Config } from './config.ts';
import { datagramCall } from './datagram-calls.ts';
import { Mismatch, Unsupported } from './errors.ts';
import type { Host } from './host.ts';
import type { Expression, SystemCall } from './script.ts';
import type { Settings } from './settings.ts';
import { type Readiness, TcpSocket } from './socket.ts';
import { getOption, setOption } from './socket-options.ts';
import type { Sockets } from './sockets.ts';
import { symbolName, symbolValue } from './symbols.ts';
import { UdpSocket } from './udp-socket.ts';
import { type SocketAddress, Values } from './values.ts';

export interface Outcome {
  readonly value: number;
  /** Its name, when the call failed. */
  readonly errno?: string;
  /** What else the call gave and the script had otherwise. */
  readonly wrong?: string;
}

export type Attempt = () => Outcome | null;

/** What a descriptor stands for besides a socket. */
export class EpollSet {
  readonly watched = new Map<
    number,
    { events: number; data: Expression | undefined; arrivals: number; rooms: number; done: boolean }
  >();
}
class Pipe {
  bytes = 0;
}
/** A file of zeros without end. */
class ZeroFile {
  readonly endless = true;
}
type Socket = TcpSocket | UdpSocket;
type Descriptor = Socket | EpollSet | Pipe | ZeroFile;

/** Pieces of memory that one of Linux's segments is gathered of. */
const FRAGMENTS_MAX = 17;
const OK: Outcome = { value: 0 };
const LEVELS = /^(SOL_|IPPROTO_)/;

export class Calls {
  readonly #host: Host;
  readonly #sockets: Sockets;
  readonly #settings: Settings;
  readonly #config: Config;
  readonly #descriptors = new Map<number, Descriptor>();
  /** The socket that packets of the script's belong to. */
  underTest: Socket | null = null;
  /** Called when `underTest` changes, or gets a connection. */
  onSocket: () => void = () => {};

  constructor(host: Host, sockets: Sockets, settings: Settings, config: Config) {
    this.#host = host;
    this.#sockets = sockets;
    this.#settings = settings;
    this.#config = config;
  }

  /** @throws Unsupported, Mismatch */
  begin(call: SystemCall): Attempt {
    const method = METHODS[call.name];
    if (method === undefined) throw new Unsupported(call.line, `system call ${call.name}()`);
    const values = new Values(this.#settings.dialect, call.line);
    const found = this.#descriptors.get(values.optionalNumber(call.args[0]) ?? -1);
    return (
      (found instanceof UdpSocket ? this.#datagram(found, call, values) : null) ?? method(this, call, values)
    );
  }

  #datagram(socket: UdpSocket, call: SystemCall, values: Values): Attempt | null {
    return datagramCall({
      socket,
      call,
      values,
      host: this.#host,
      config: this.#config,
      dialect: this.#settings.dialect,
      settle: () => this.#settle(socket),
    });
  }

  /** @returns what is wrong with an outcome, or null */
  judge(call: SystemCall, outcome: Outcome): string | null {
    const values = new Values(this.#settings.dialect, call.line);
    const shown = outcome.errno === undefined ? String(outcome.value) : `${outcome.value} ${outcome.errno}`;
    const expected = call.result.type === 'ellipsis' ? null : values.optionalNumber(call.result);
    if (expected !== null && expected !== outcome.value && (expected >= 0 || outcome.value >= 0))
      return `${call.name}(): expected ${expected}${call.errno === null ? '' : ` ${call.errno}`}, got ${shown}`;
    if (call.errno !== null) {
      const dialect = this.#settings.dialect;
      const same = symbolValue(dialect, call.errno) === symbolValue(dialect, outcome.errno ?? '');
      if (outcome.errno === undefined || !same)
        return `${call.name}(): expected ${expected ?? -1} ${call.errno}, got ${shown}`;
    }
    return outcome.wrong === undefined ? null : `${call.name}(): ${outcome.wrong}`;
  }

  // --- descriptors

  descriptor(call: SystemCall, values: Values, i = 0): Descriptor | null {
    return this.#descriptors.get(values.number(call.args[i], 'the descriptor')) ?? null;
  }

  socketOf(call: SystemCall, values: Values, i = 0): TcpSocket | null {
    const found = this.descriptor(call, values, i);
    return found instanceof TcpSocket ? found : null;
  }

  /** The script calls a new descriptor by the number that it expects. */
  open(call: SystemCall, values: Values, descriptor: Descriptor): Outcome {
    const expected = values.optionalNumber(call.result);
    let fd = expected !== null && expected >= 0 ? expected : 3;
    while (expected === null && this.#descriptors.has(fd)) fd++;
    this.#descriptors.set(fd, descriptor);
    return { value: fd };
  }

  openAs(fd: number, descriptor: Descriptor): void {
    this.#descriptors.set(fd, descriptor);
  }

  socket(call: SystemCall, values: Values): Attempt {
    const [domain, type, protocol] = call.args;
    const kind = values.optionalNumber(type);
    const proto = values.optionalNumber(protocol) ?? 0;
    const stream = symbolValue(this.#settings.dialect, 'SOCK_STREAM') ?? 1;
    const flags = symbolValue(this.#settings.dialect, 'SOCK_NONBLOCK') ?? 0;
    if (kind === null) throw new Mismatch(call.line, 'the type of socket is not a number');
    const family = values.optionalNumber(domain);
    const six = symbolValue(this.#settings.dialect, 'AF_INET6');
    const version = this.#config.mapped ? 4 : family === null ? this.#config.version : family === six ? 6 : 4;
    const nonBlocking = (kind & flags) !== 0;
    if ((kind & 0xf) === symbolValue(this.#settings.dialect, 'SOCK_DGRAM') && (proto === 0 || proto === 17)) {
      return () => {
        const socket = new UdpSocket(this.#host, version, this.#config.local);
        socket.nonBlocking = nonBlocking;
        this.#settle(socket);
        return this.open(call, values, socket);
      };
    }
    if (proto !== 0 && proto !== 6) {
      const name = symbolName(this.#settings.dialect, /^IPPROTO_/, proto) ?? proto;
      throw new Unsupported(call.line, `sockets of ${name}`);
    }
    if ((kind & 0xf) !== stream) {
      if (proto === 6) return () => ({ value: -1, errno: 'EPROTOTYPE' });
      throw new Unsupported(call.line, 'sockets other than of TCP and UDP');
    }
    return () => {
      const socket = this.#sockets.create(version);
      socket.nonBlocking = nonBlocking;
      this.#settle(socket);
      return this.open(call, values, socket);
    };
  }

  #settle(socket: Socket): void {
    this.underTest = socket;
    this.onSocket();
  }

  bind(call: SystemCall, values: Values): Attempt {
    const socket = this.socketOf(call, values);
    if (socket === null) return bad(call, values, this);
    const given = values.address(call.args[1]);
    return () => {
      if (socket.bound !== null || socket.state !== 'fresh') return { value: -1, errno: 'EINVAL' };
      const address =
        given === null || /^(0\.0\.0\.0|::)$/.test(given.address) ? this.#config.local : given.address;
      if (address !== this.#config.local.toLowerCase()) return { value: -1, errno: 'EADDRNOTAVAIL' };
      socket.bound = {
        address,
        port: given === null || given.port === 0 ? this.#config.bindPort : given.port,
      };
      return OK;
    };
  }

  listen(call: SystemCall, values: Values): Attempt {
    const socket = this.socketOf(call, values);
    if (socket === null) return bad(call, values, this);
    const backlog = values.number(call.args[1], 'the backlog');
    return () => {
      const errno = this.#sockets.listen(socket, backlog);
      if (errno !== null) return { value: -1, errno };
      this.#settle(socket);
      return OK;
    };
  }

  connect(call: SystemCall, values: Values): Attempt {
    const socket = this.socketOf(call, values);
    if (socket === null) return bad(call, values, this);
    const given = values.address(call.args[1]);
    if (isUnspecified(call.args[1], values)) {
      return () => {
        this.#sockets.disconnect(socket);
        this.#host.settle();
        return OK;
      };
    }
    const waits = !this.#freebsd && socket.options.get('TCP_FASTOPEN_CONNECT') === 1;
    let begun = false;
    return () => {
      if (!begun) {
        begun = true;
        if (socket.state === 'connecting' || socket.state === 'connected') return this.#connectAgain(socket);
        if (socket.state === 'listening')
          return { value: -1, errno: this.#freebsd ? 'EOPNOTSUPP' : 'EISCONN' };
        if (socket.state === 'ended') {
          const errno = socket.takeError();
          return { value: -1, errno: errno ?? (this.#freebsd ? 'EINVAL' : 'ECONNABORTED') };
        }
        const to = {
          address: given?.address ?? this.#config.remote,
          port: given?.port ?? this.#config.connectPort,
        };
        const errno = this.#sockets.connect(socket, to.address, to.port, waits);
        if (errno !== null) return { value: -1, errno };
        if (waits && socket.synRoom > 0) {
          // There is a cookie: the SYN leaves with the first data.
          this.#sockets.disconnect(socket);
          socket.deferred = to;
          return OK;
        }
        this.#settle(socket);
        this.#host.settle();
        if (socket.nonBlocking && isConnecting(socket)) return { value: -1, errno: 'EINPROGRESS' };
      }
      if (isConnecting(socket)) return null;
      socket.connectTold = true;
      const errno = socket.takeError();
      return errno === null ? OK : { value: -1, errno };
    };
  }

  #connectAgain(socket: TcpSocket): Outcome {
    if (socket.state === 'connecting') return { value: -1, errno: 'EALREADY' };
    if (!this.#freebsd && !socket.connectTold && socket.listener < 0) {
      socket.connectTold = true;
      return OK;
    }
    return { value: -1, errno: 'EISCONN' };
  }

  get #freebsd(): boolean {
    return this.#settings.dialect === 'freebsd';
  }

  accept(call: SystemCall, values: Values): Attempt {
    const listener = this.socketOf(call, values);
    if (listener === null) return bad(call, values, this);
    const wanted = values.address(call.args[1]);
    const flags = values.optionalNumber(call.args[3]) ?? 0;
    return () => {
      if (listener.state !== 'listening') return { value: -1, errno: 'EINVAL' };
      const socket = listener.accepted.shift();
      if (socket === undefined) return listener.nonBlocking ? { value: -1, errno: 'EAGAIN' } : null;
      // FreeBSD's inherits it, Linux's doesn't.
      socket.nonBlocking =
        (this.#freebsd && listener.nonBlocking) ||
        (flags & (symbolValue(this.#settings.dialect, 'SOCK_NONBLOCK') ?? 0)) !== 0;
      socket.connectTold = true;
      this.#settle(socket);
      const peer = socket.flow?.tuple;
      const outcome = this.open(call, values, socket);
      if (wanted === null || peer === undefined || sameAddress(wanted, peer.remote)) return outcome;
      return { ...outcome, wrong: `the peer's address: expected ${wanted.address}, got ${peer.remote}` };
    };
  }

  // --- reading and writing

  read(call: SystemCall, values: Values, bytes: number, flags: number): Attempt {
    const source = this.descriptor(call, values);
    if (source instanceof Pipe) {
      return () => {
        const taken = Math.min(bytes, source.bytes);
        source.bytes -= taken;
        return { value: taken };
      };
    }
    if (!(source instanceof TcpSocket)) return bad(call, values, this);
    if (isNull(call.args[1])) return () => ({ value: -1, errno: 'EFAULT' });
    const peek = (flags & this.#flag('MSG_PEEK')) !== 0;
    const all = (flags & this.#flag('MSG_WAITALL')) !== 0;
    const dontWait = (flags & this.#flag('MSG_DONTWAIT')) !== 0;
    if ((flags & this.#flag('MSG_ERRQUEUE')) !== 0) return this.#readError(call, values, source);
    if ((flags & this.#flag('MSG_OOB')) !== 0) return () => ({ value: -1, errno: 'EINVAL' });
    let got = 0;
    const endUs = this.#host.us + source.timeoutUs('SO_RCVTIMEO');
    return () => {
      const socket = source;
      if (socket.state === 'listening' || (socket.state === 'fresh' && socket.error === null))
        return { value: -1, errno: 'ENOTCONN' };
      if (peek) {
        if (socket.readable > 0) return { value: Math.min(bytes, socket.readable) };
      } else if (socket.readable > 0) {
        socket.read(bytes - got);
        this.#host.settle();
        got += socket.readDone();
      }
      const least = all ? bytes : Math.min(bytes, socket.readLeast);
      const over = socket.atEnd || socket.nonBlocking || dontWait || this.#host.us >= endUs;
      if (got >= bytes || (got > 0 && (got >= least || over))) return { value: got };
      if (bytes === 0 && socket.state === 'connected') return OK;
      const errno = got === 0 ? socket.takeError() : null;
      if (errno !== null) return { value: -1, errno };
      if (socket.atEnd || socket.state === 'ended') return { value: got };
      return over && got === 0 ? { value: -1, errno: 'EAGAIN' } : null;
    };
  }

  #readError(call: SystemCall, values: Values, socket: TcpSocket): Attempt {
    return () => {
      const wrong = socket.errors.take(call.args[1], values, this.#config.toleranceUs);
      if (wrong === undefined) return { value: -1, errno: 'EAGAIN' };
      return wrong === null ? OK : { ...OK, wrong };
    };
  }

  write(call: SystemCall, values: Values, bytes: number, flags: number): Attempt {
    const target = this.descriptor(call, values);
    if (target instanceof Pipe) {
      return () => {
        target.bytes += bytes;
        return { value: bytes };
      };
    }
    if (!(target instanceof TcpSocket)) return bad(call, values, this);
    if (isNull(call.args[1])) return () => ({ value: -1, errno: 'EFAULT' });
    const urgent = (flags & this.#flag('MSG_OOB')) !== 0;
    const more = (flags & this.#flag('MSG_MORE')) !== 0;
    const dontWait = (flags & this.#flag('MSG_DONTWAIT')) !== 0;
    const record = (flags & this.#flag('MSG_EOR')) !== 0;
    const zeroCopy = (flags & this.#flag('MSG_ZEROCOPY')) !== 0;
    if (target.deferred !== null) return this.#fastOpen(call, values, target, bytes, flags);
    let sent = 0;
    const endUs = this.#host.us + target.timeoutUs('SO_SNDTIMEO');
    return () => {
      const socket = target;
      const errno = sent === 0 ? socket.takeError() : null;
      if (errno !== null) return { value: -1, errno };
      if (socket.state === 'fresh' || socket.state === 'listening')
        return { value: -1, errno: this.#freebsd ? 'ENOTCONN' : 'EPIPE' };
      if (socket.state === 'ended' || socket.writeShut)
        return sent > 0 ? { value: sent } : { value: -1, errno: 'EPIPE' };
      const waits = !socket.nonBlocking && !dontWait && this.#host.us < endUs;
      if (socket.state === 'connecting')
        return waits ? null : { value: -1, errno: this.#freebsd ? 'ENOTCONN' : 'EAGAIN' };
      // Linux wakes a write that waits once a third of the buffer is free.
      if (socket.blocked && waits && !socket.readiness().writable) return null;
      socket.blocked = false;
      // What leaves at once makes room for more of the same write (TCP_NOTSENT_LOWAT).
      for (let taken = -1; taken !== 0 && sent < bytes; ) {
        taken = socket.write(bytes - sent, more, record);
        sent += taken;
        if (urgent) socket.engine.markUrgent(socket.conn);
        this.#host.settle();
      }
      if (sent < bytes) socket.noRoom = true;
      if (sent >= bytes || (!waits && sent > 0)) {
        socket.errors.written(socket.written, zeroCopy && socket.options.get('SO_ZEROCOPY') === 1);
        socket.noteErrors(this.#host.us);
        return { value: sent };
      }
      socket.blocked = waits && socket.limitsChunks;
      return waits ? null : { value: -1, errno: 'EAGAIN' };
    };
  }

  #flag(name: string): number {
    return symbolValue(this.#settings.dialect, name) ?? 0;
  }

  sendto(call: SystemCall, values: Values): Attempt {
    const bytes = values.number(call.args[2], 'the length');
    const flags = values.optionalNumber(call.args[3]) ?? 0;
    const socket = this.socketOf(call, values);
    const wanted =
      (flags & this.#flag('MSG_FASTOPEN')) !== 0 ||
      (this.#freebsd && socket?.options.get('TCP_FASTOPEN') === 1);
    if (socket === null || socket.state !== 'fresh' || !wanted) return this.write(call, values, bytes, flags);
    return this.#fastOpen(call, values, socket, bytes, flags);
  }

  /** Connects and sends at once (RFC 7413): with the SYN, if there is a cookie for it. */
  #fastOpen(call: SystemCall, values: Values, socket: TcpSocket, bytes: number, flags: number): Attempt {
    if (isUnspecified(call.args[4], values)) return () => ({ value: -1, errno: 'EOPNOTSUPP' });
    if (isNull(call.args[1])) return () => ({ value: -1, errno: 'EFAULT' });
    const given = socket.deferred ?? values.address(call.args[4]);
    const zeroCopy = (flags & this.#flag('MSG_ZEROCOPY')) !== 0;
    let begun = false;
    let taken = 0;
    let rest: Attempt | null = null;
    const take = (most: number) => {
      if (most > 0) taken = socket.write(most, false);
      if (taken > 0)
        socket.errors.written(socket.written, zeroCopy && socket.options.get('SO_ZEROCOPY') === 1);
    };
    return () => {
      if (!begun) {
        begun = true;
        const { remote, connectPort } = this.#config;
        socket.deferred = null;
        const errno = this.#sockets.connect(
          socket,
          given?.address ?? remote,
          given?.port ?? connectPort,
          true,
        );
        if (errno !== null) return { value: -1, errno };
        const waits = !socket.nonBlocking && (flags & this.#flag('MSG_DONTWAIT')) === 0;
        // Linux takes no more than goes with the SYN; or waits with the rest for the SYN-ACK.
        take(this.#freebsd ? bytes : Math.min(bytes, socket.synRoom));
        if (waits && !this.#freebsd) socket.atOpen = bytes - taken;
        this.#settle(socket);
        this.#host.settle();
        if (taken > 0 && (this.#freebsd || !waits)) return { value: taken };
        if (!waits) return { value: -1, errno: 'EINPROGRESS' };
      }
      if (isConnecting(socket)) return null;
      const errno = rest === null ? socket.takeError() : null;
      if (errno !== null) return { value: -1, errno };
      if (rest === null && !this.#freebsd) taken = bytes - socket.atOpen;
      if (taken >= bytes) return { value: taken };
      rest ??= this.write(call, values, bytes - taken, 0);
      const outcome = rest();
      return outcome === null || outcome.value < 0 ? outcome : { ...outcome, value: taken + outcome.value };
    };
  }

  recvmsg(call: SystemCall, values: Values): Attempt {
    const message = call.args[1];
    const bytes = values.vectorBytes(values.field(message, 'msg_iov'));
    const attempt = this.read(call, values, bytes, values.optionalNumber(call.args[2]) ?? 0);
    const control = values.items(values.field(message, 'msg_control'));
    const flags = values.optionalNumber(values.field(message, 'msg_flags'));
    if (((values.optionalNumber(call.args[2]) ?? 0) & this.#flag('MSG_ERRQUEUE')) !== 0) return attempt;
    const socket = this.socketOf(call, values);
    return () => {
      const outcome = attempt();
      if (outcome === null || outcome.value < 0) return outcome;
      if (flags !== null && flags !== 0) return { ...outcome, wrong: `msg_flags: expected ${flags}, got 0` };
      for (const item of control) {
        const type = values.field(item, 'cmsg_type');
        const inq = type?.type === 'word' && (type.name === 'TCP_CM_INQ' || type.name === 'TCP_INQ');
        if (!inq) throw new Unsupported(call.line, 'control messages with received data');
        const expected = values.optionalNumber(values.field(item, 'cmsg_data'));
        // The peer's FIN counts when there is nothing else.
        const got = socket === null ? 0 : socket.readable || (socket.eof ? 1 : 0);
        if (expected !== null && expected !== got)
          return { ...outcome, wrong: `TCP_CM_INQ: expected ${expected}, got ${got}` };
      }
      return outcome;
    };
  }

  sendmsg(call: SystemCall, values: Values): Attempt {
    const message = call.args[1];
    if (values.items(values.field(message, 'msg_control')).length > 0)
      this.#settings.lack('control messages with data to send');
    const vector = values.field(message, 'msg_iov');
    const flags = values.optionalNumber(call.args[2]) ?? 0;
    const socket = this.socketOf(call, values);
    if ((flags & this.#flag('MSG_ZEROCOPY')) !== 0 && socket?.options.get('SO_ZEROCOPY') === 1)
      socket.pieces = values.vectorPieces(vector, FRAGMENTS_MAX);
    return this.write(call, values, values.vectorBytes(vector), flags);
  }

  /** splice and sendfile: `bytes` from one descriptor to another. */
  move(call: SystemCall, values: Values, from: number, to: number, bytes: number): Attempt {
    const source = this.descriptor(call, values, from);
    const target = { ...call, args: [call.args[to]] };
    if (source instanceof ZeroFile) return this.write(target, values, bytes, 0);
    let reading: Attempt | null = null;
    let writing: Attempt | null = null;
    return () => {
      if (writing === null) {
        // Linux stops at the urgent byte, which is never moved.
        const left = source instanceof TcpSocket ? source.engine.urgentLeft(source.conn) : 0;
        if (left === 1) return { value: 0 };
        const most = left > 1 ? Math.min(bytes, left - 1) : bytes;
        reading ??= this.read({ ...call, args: [call.args[from]] }, values, most, 0);
        const outcome = reading();
        if (outcome === null || outcome.value <= 0) return outcome;
        writing = this.write(target, values, outcome.value, 0);
      }
      return writing();
    };
  }

  // --- ends

  shutdown(call: SystemCall, values: Values): Attempt {
    const socket = this.socketOf(call, values);
    if (socket === null) return bad(call, values, this);
    const how = values.number(call.args[1], 'how');
    return () => {
      if (how < 0 || how > 2) return { value: -1, errno: 'EINVAL' };
      if (socket.state === 'listening' && how !== 1) {
        this.#sockets.close(socket);
        return OK;
      }
      if (socket.conn === 0) return { value: -1, errno: 'ENOTCONN' };
      if (how !== 1) socket.shutdownRead();
      if (how !== 0) socket.shutdownWrite();
      this.#host.settle();
      return OK;
    };
  }

  close(call: SystemCall, values: Values): Attempt {
    const fd = values.number(call.args[0], 'the descriptor');
    const found = this.#descriptors.get(fd);
    if (found === undefined) return () => ({ value: -1, errno: 'EBADF' });
    let begun = false;
    let endUs = 0;
    return () => {
      if (!(found instanceof TcpSocket)) {
        this.#descriptors.delete(fd);
        if (found instanceof UdpSocket && --found.references === 0) found.close();
        return OK;
      }
      if (!begun) {
        begun = true;
        this.#descriptors.delete(fd);
        if (--found.references > 0) return OK;
        this.#sockets.close(found);
        const linger = Number(found.options.get('SO_LINGER') ?? -1);
        endUs = this.#host.us + (linger > 0 && !found.nonBlocking ? linger * 1e6 : 0);
      }
      // SO_LINGER: until all is acknowledged, or the time is over.
      return found.conn === 0 || this.#host.us >= endUs ? OK : null;
    };
  }

  fcntl(call: SystemCall, values: Values): Attempt {
    const socket = this.descriptor(call, values);
    if (socket === null) return () => ({ value: -1, errno: 'EBADF' });
    const command = values.name(call.args[1], /^F_/, 'the command');
    const nonBlock = this.#flag('O_NONBLOCK');
    return () => {
      switch (command) {
        case 'F_GETFL':
          return { value: 2 | (isSocket(socket) && socket.nonBlocking ? nonBlock : 0) };
        case 'F_SETFL':
          if (isSocket(socket))
            socket.nonBlocking = (values.number(call.args[2], 'the flags') & nonBlock) !== 0;
          return OK;
        case 'F_GETFD':
        case 'F_SETFD':
          return OK;
      }
      throw new Unsupported(call.line, `fcntl ${command}`);
    };
  }

  dup(call: SystemCall, values: Values): Attempt {
    const found = this.descriptor(call, values);
    if (found === null) return () => ({ value: -1, errno: 'EBADF' });
    return () => {
      if (isSocket(found)) found.references++;
      return this.open(call, values, found);
    };
  }

  ioctl(call: SystemCall, values: Values): Attempt {
    const socket = this.socketOf(call, values);
    if (socket === null) return bad(call, values, this);
    const command = values.name(call.args[1], /^(SIOC|FION|TIOC)/, 'the request');
    const [argument] = values.items(call.args[2]);
    return () => {
      let got: number;
      switch (command) {
        case 'SIOCINQ':
        case 'FIONREAD':
          if (socket.state === 'listening') return { value: -1, errno: 'EINVAL' };
          got = socket.readable + (socket.readable > 0 && socket.eof ? 1 : 0);
          break;
        case 'SIOCOUTQ':
        case 'TIOCOUTQ':
        case 'FIONWRITE':
          got = socket.unacknowledged;
          break;
        case 'SIOCOUTQNSD':
          got = socket.unsent;
          break;
        case 'FIONSPACE':
          got = socket.room;
          break;
        case 'SIOCATMARK':
          got = 0;
          break;
        case 'FIONBIO':
          socket.nonBlocking = values.number(argument, 'the argument') !== 0;
          return OK;
        default:
          throw new Unsupported(call.line, `ioctl ${command}`);
      }
      const expected = values.optionalNumber(argument);
      return expected === null || expected === got
        ? OK
        : { ...OK, wrong: `${command}: expected ${expected}, got ${got}` };
    };
  }

  // --- options

  setsockopt(call: SystemCall, values: Values): Attempt {
    const socket = this.socketOf(call, values);
    if (socket === null) return bad(call, values, this);
    const level = values.name(call.args[1], LEVELS, 'the level');
    return () =>
      setOption({
        socket,
        level,
        call,
        values,
        settings: this.#settings,
        sockets: this.#sockets,
        host: this.#host,
      });
  }

  getsockopt(call: SystemCall, values: Values): Attempt {
    const socket = this.socketOf(call, values);
    if (socket === null) return bad(call, values, this);
    const level = values.name(call.args[1], LEVELS, 'the level');
    return () =>
      getOption({
        socket,
        level,
        call,
        values,
        settings: this.#settings,
        sockets: this.#sockets,
        host: this.#host,
      });
  }

  // --- waiting

  poll(call: SystemCall, values: Values): Attempt {
    const entries = values.items(call.args[0]);
    const timeout = values.number(call.args[2], 'the timeout');
    const endUs = timeout < 0 ? Number.POSITIVE_INFINITY : this.#host.us + timeout * 1000;
    return () => {
      let count = 0;
      let wrong: string | undefined;
      for (const entry of entries) {
        const fd = values.number(values.field(entry, 'fd'), 'fd');
        const events = values.number(values.field(entry, 'events'), 'events');
        const found = this.#descriptors.get(fd);
        const got = isSocket(found) ? this.#pollBits(found, events) : this.#flag('POLLNVAL');
        if (got !== 0) count++;
        const expected = values.optionalNumber(
          values.field(entry, 'revents') ?? { type: 'integer', value: 0 },
        );
        if (expected !== null && expected !== got)
          wrong ??= `revents of ${fd}: expected ${this.#poll(expected)}, got ${this.#poll(got)}`;
      }
      if (count === 0 && this.#host.us < endUs) return null;
      return wrong === undefined ? { value: count } : { value: count, wrong };
    };
  }

  #poll(bits: number): string {
    const names = [
      'POLLIN',
      'POLLPRI',
      'POLLOUT',
      'POLLERR',
      'POLLHUP',
      'POLLNVAL',
      'POLLRDNORM',
      'POLLWRNORM',
      'POLLRDHUP',
    ];
    return names.filter((name) => (bits & this.#flag(name)) !== 0).join('|') || '0';
  }

  #pollBits(socket: Socket, events: number): number {
    const r = socket.readiness();
    const bits =
      (r.readable ? this.#flag('POLLIN') | this.#flag('POLLRDNORM') : 0) |
      (r.writable ? this.#flag('POLLOUT') | this.#flag('POLLWRNORM') : 0) |
      (r.readHangUp ? this.#flag('POLLRDHUP') : 0);
    return (bits & events) | alwaysBits(r, this.#flag('POLLERR'), this.#flag('POLLHUP'));
  }

  epollCtl(call: SystemCall, values: Values): Attempt {
    const set = this.descriptor(call, values);
    if (!(set instanceof EpollSet)) return bad(call, values, this);
    const operation = values.name(call.args[1], /^EPOLL_CTL_/, 'the operation');
    const fd = values.number(call.args[2], 'fd');
    const event = call.args[3];
    return () => {
      if (!this.#descriptors.has(fd)) return { value: -1, errno: 'EBADF' };
      if (operation === 'EPOLL_CTL_DEL') return set.watched.delete(fd) ? OK : { value: -1, errno: 'ENOENT' };
      if ((operation === 'EPOLL_CTL_ADD') === set.watched.has(fd))
        return { value: -1, errno: operation === 'EPOLL_CTL_ADD' ? 'EEXIST' : 'ENOENT' };
      const data = ['fd', 'ptr', 'u32', 'u64']
        .map((name) => values.field(event, name))
        .find((value) => value !== undefined);
      const events = values.number(values.field(event, 'events'), 'events');
      set.watched.set(fd, { events, data, arrivals: -1, rooms: -1, done: false });
      return OK;
    };
  }

  epollWait(call: SystemCall, values: Values): Attempt {
    const set = this.descriptor(call, values);
    if (!(set instanceof EpollSet)) return bad(call, values, this);
    const expected = values.items(call.args[1]);
    const most = values.number(call.args[2], 'maxevents');
    const timeout = values.number(call.args[3], 'the timeout');
    const endUs = timeout < 0 ? Number.POSITIVE_INFINITY : this.#host.us + timeout * 1000;
    return () => {
      const ready: { fd: number; bits: number; data: Expression | undefined }[] = [];
      for (const [fd, watch] of set.watched) {
        const found = this.#descriptors.get(fd);
        if (!isSocket(found) || watch.done || ready.length >= most) continue;
        const bits = this.#epollBits(found, watch);
        if (bits === 0) continue;
        watch.arrivals = found.arrivals;
        watch.rooms = found.rooms;
        watch.done = (watch.events & this.#flag('EPOLLONESHOT')) !== 0;
        ready.push({ fd, bits, data: watch.data });
      }
      if (ready.length === 0 && this.#host.us < endUs) return null;
      for (const [i, { fd, bits }] of ready.entries()) {
        const want = values.optionalNumber(values.field(expected[i], 'events'));
        if (want !== null && want !== bits)
          return {
            value: ready.length,
            wrong: `events of ${fd}: expected ${this.#poll(want)}, got ${this.#poll(bits)}`,
          };
      }
      return { value: ready.length };
    };
  }

  /** The bits have the values of poll's. Edge-triggered: only what came since they were last told. */
  #epollBits(socket: Socket, watch: { events: number; arrivals: number; rooms: number }): number {
    const bits = this.#pollBits(socket, watch.events & 0xffff);
    const edge = (watch.events & this.#flag('EPOLLET')) !== 0;
    return edge && watch.arrivals === socket.arrivals && watch.rooms === socket.rooms ? 0 : bits;
  }
}

/** connect() to no address: AF_UNSPEC, alone or in a structure. */
function isUnspecified(address: Expression | undefined, values: Values): boolean {
  const family = address?.type === 'struct' ? values.field(address, 'sa_family') : address;
  return family?.type === 'word' && family.name === 'AF_UNSPEC';
}

/** A buffer that is none. */
function isNull(buffer: Expression | undefined): boolean {
  return buffer?.type === 'word' && buffer.name === 'NULL';
}

function isSocket(descriptor: Descriptor | undefined): descriptor is Socket {
  return descriptor instanceof TcpSocket || descriptor instanceof UdpSocket;
}

/** Asked anew: the engine may have moved on meanwhile. */
function isConnecting(socket: TcpSocket): boolean {
  return socket.state === 'connecting';
}

function alwaysBits(r: Readiness, error: number, hangUp: number): number {
  return (r.error ? error : 0) | (r.hangUp ? hangUp : 0);
}

function sameAddress(wanted: SocketAddress, address: string): boolean {
  return wanted.address === address;
}

/** A call on a descriptor of the wrong kind, or none. */
function bad(call: SystemCall, values: Values, calls: Calls): Attempt {
  const errno = calls.descriptor(call, values) === null ? 'EBADF' : 'ENOTSOCK';
  return () => ({ value: -1, errno });
}

type Method = (calls: Calls, call: SystemCall, values: Values) => Attempt;

const METHODS: Readonly<Record<string, Method>> = {
  socket: (c, call, v) => c.socket(call, v),
  bind: (c, call, v) => c.bind(call, v),
  listen: (c, call, v) => c.listen(call, v),
  connect: (c, call, v) => c.connect(call, v),
  accept: (c, call, v) => c.accept(call, v),
  accept4: (c, call, v) => c.accept(call, v),
  read: (c, call, v) => c.read(call, v, v.number(call.args[2], 'the length'), 0),
  recv: (c, call, v) =>
    c.read(call, v, v.number(call.args[2], 'the length'), v.optionalNumber(call.args[3]) ?? 0),
  recvfrom: (c, call, v) =>
    c.read(call, v, v.number(call.args[2], 'the length'), v.optionalNumber(call.args[3]) ?? 0),
  readv: (c, call, v) => c.read(call, v, v.vectorBytes(call.args[1]), 0),
  recvmsg: (c, call, v) => c.recvmsg(call, v),
  write: (c, call, v) => c.write(call, v, v.number(call.args[2], 'the length'), 0),
  send: (c, call, v) =>
    c.write(call, v, v.number(call.args[2], 'the length'), v.optionalNumber(call.args[3]) ?? 0),
  sendto: (c, call, v) => c.sendto(call, v),
  writev: (c, call, v) => c.write(call, v, v.vectorBytes(call.args[1]), 0),
  sendmsg: (c, call, v) => c.sendmsg(call, v),
  shutdown: (c, call, v) => c.shutdown(call, v),
  close: (c, call, v) => c.close(call, v),
  fcntl: (c, call, v) => c.fcntl(call, v),
  ioctl: (c, call, v) => c.ioctl(call, v),
  dup: (c, call, v) => c.dup(call, v),
  dup2: (c, call, v) => c.dup(call, v),
  dup3: (c, call, v) => c.dup(call, v),
  setsockopt: (c, call, v) => c.setsockopt(call, v),
  getsockopt: (c, call, v) => c.getsockopt(call, v),
  poll: (c, call, v) => c.poll(call, v),
  epoll_create: (c, call, v) => () => c.open(call, v, new EpollSet()),
  epoll_create1: (c, call, v) => () => c.open(call, v, new EpollSet()),
  epoll_ctl: (c, call, v) => c.epollCtl(call, v),
  epoll_wait: (c, call, v) => c.epollWait(call, v),
  epoll_pwait: (c, call, v) => c.epollWait(call, v),
  open: (c, call, v) => () => c.open(call, v, new ZeroFile()),
  pipe2: (c, call, v) => METHODS.pipe(c, call, v),
  pipe: (c, call, v) => () => {
    const pipe = new Pipe();
    for (const item of v.items(call.args[0])) c.openAs(v.number(item, 'the descriptor'), pipe);
    return OK;
  },
  sendfile: (c, call, v) => {
    // FreeBSD: from, to, offset, bytes; Linux: to, from, offset, bytes.
    const from = c.socketOf(call, v, 0) === null ? 0 : 1;
    const bytes = v.number(call.args[3], 'the length');
    return c.move(call, v, from, 1 - from, bytes);
  },
  splice: (c, call, v) => c.move(call, v, 0, 2, v.number(call.args[4], 'the length')),
  getsockname: () => () => OK,
  getpeername: () => () => OK,
};
