/** System calls on UDP sockets. */
import type { Attempt, Outcome } from './calls.ts';
import type { Config } from './config.ts';
import { Unsupported } from './errors.ts';
import type { Host } from './host.ts';
import type { SystemCall } from './script.ts';
import type { Dialect } from './symbols.ts';
import { symbolValue } from './symbols.ts';
import type { UdpSocket } from './udp-socket.ts';
import type { Values } from './values.ts';

export interface DatagramContext {
  readonly socket: UdpSocket;
  readonly call: SystemCall;
  readonly values: Values;
  readonly host: Host;
  readonly config: Config;
  readonly dialect: Dialect;
  /** The socket is the one that packets of the script's belong to. */
  settle(): void;
}

type Method = (c: DatagramContext) => Attempt;

const OK: Outcome = { value: 0 };
const OPTIONS = /^(SO_|IP_|IPV6_|UDP_)/;

function outcome(errno: string | null, value = 0): Outcome {
  return errno === null ? { value } : { value: -1, errno };
}

/** @returns null for calls that are the same on all sockets */
export function datagramCall(context: DatagramContext): Attempt | null {
  return METHODS[context.call.name]?.(context) ?? null;
}

const METHODS: Readonly<Record<string, Method>> = {
  bind: (c) => () => {
    const given = c.values.address(c.call.args[1]);
    const port = given === null || given.port === 0 ? c.config.bindPort : given.port;
    const errno = c.socket.bind(port);
    c.settle();
    return outcome(errno);
  },
  connect: (c) => () => {
    const [, to] = c.call.args;
    if (to?.type === 'word' || isUnspecified(c)) {
      c.socket.disconnect();
      return OK;
    }
    const given = c.values.address(to);
    const errno = c.socket.connect(given?.address ?? c.config.remote, given?.port ?? c.config.connectPort);
    c.settle();
    return outcome(errno);
  },
  listen: () => () => outcome('EOPNOTSUPP'),
  accept: () => () => outcome('EOPNOTSUPP'),
  write: (c) => send(c, length(c)),
  send: (c) => send(c, length(c)),
  sendto: (c) => send(c, length(c), 4),
  writev: (c) => send(c, c.values.vectorBytes(c.call.args[1])),
  sendmsg: (c) => {
    const message = c.call.args[1];
    if (c.values.items(c.values.field(message, 'msg_control')).length > 0)
      throw new Unsupported(c.call.line, 'control messages with data to send');
    return send(c, c.values.vectorBytes(c.values.field(message, 'msg_iov')));
  },
  read: (c) => receive(c, length(c), 0),
  recv: (c) => receive(c, length(c), flags(c, 3)),
  recvfrom: (c) => receive(c, length(c), flags(c, 3)),
  readv: (c) => receive(c, c.values.vectorBytes(c.call.args[1]), 0),
  recvmsg: (c) => receive(c, c.values.vectorBytes(c.values.field(c.call.args[1], 'msg_iov')), flags(c, 2)),
  shutdown: (c) => () => outcome(c.socket.connected ? null : 'ENOTCONN'),
  setsockopt: (c) => () => {
    const name = c.values.name(c.call.args[2], OPTIONS, 'the option');
    c.socket.options.set(name, c.values.optionalNumber(c.call.args[3]) ?? 0);
    c.socket.applyOptions();
    return OK;
  },
  getsockopt: (c) => () => {
    const name = c.values.name(c.call.args[2], OPTIONS, 'the option');
    const got = name === 'SO_ERROR' ? errorNumber(c) : Number(c.socket.options.get(name) ?? 0);
    const wanted = c.values.optionalNumber(c.call.args[3]);
    return wanted === null || wanted === got
      ? OK
      : { ...OK, wrong: `${name}: expected ${wanted}, got ${got}` };
  },
  ioctl: (c) => () => {
    const request = c.values.name(c.call.args[1], /^(SIOC|FION)/, 'the request');
    if (request !== 'FIONREAD' && request !== 'SIOCINQ')
      throw new Unsupported(c.call.line, `ioctl ${request}`);
    const [argument] = c.values.items(c.call.args[2]);
    const wanted = c.values.optionalNumber(argument);
    const got = c.socket.next ?? 0;
    return wanted === null || wanted === got
      ? OK
      : { ...OK, wrong: `${request}: expected ${wanted}, got ${got}` };
  },
};

function length(c: DatagramContext): number {
  return c.values.number(c.call.args[2], 'the length');
}

function flags(c: DatagramContext, i: number): number {
  return c.values.optionalNumber(c.call.args[i]) ?? 0;
}

function isUnspecified(c: DatagramContext): boolean {
  const family = c.values.optionalNumber(c.values.field(c.call.args[1], 'sa_family'));
  return family !== null && family === symbolValue(c.dialect, 'AF_UNSPEC');
}

function errorNumber(c: DatagramContext): number {
  const error = c.socket.takeError();
  return error === null ? 0 : (symbolValue(c.dialect, error) ?? -1);
}

/** @param to Which argument is the destination. */
function send(c: DatagramContext, bytes: number, to = -1): Attempt {
  const given = to < 0 ? undefined : c.call.args[to];
  const address = c.values.address(given);
  return () => {
    const { remote, connectPort } = c.config;
    const anywhere = given?.type === 'ellipsis' && !c.socket.connected;
    const errno = c.socket.send(bytes, address ?? (anywhere ? { address: remote, port: connectPort } : null));
    if (errno === 'EAGAIN' && !c.socket.nonBlocking) return null;
    c.settle();
    c.host.settle();
    return outcome(errno, bytes);
  };
}

function receive(c: DatagramContext, bytes: number, flagBits: number): Attempt {
  const has = (name: string) => (flagBits & (symbolValue(c.dialect, name) ?? 0)) !== 0;
  if (has('MSG_ERRQUEUE')) throw new Unsupported(c.call.line, 'the error queue of sockets');
  const [peek, truncated, dontWait] = [has('MSG_PEEK'), has('MSG_TRUNC'), has('MSG_DONTWAIT')];
  return () => {
    const { socket } = c;
    const errno = socket.takeError();
    if (errno !== null) return outcome(errno);
    const { next } = socket;
    if (next === null) return socket.nonBlocking || dontWait ? outcome('EAGAIN') : null;
    if (!peek) socket.take();
    return { value: truncated ? next : Math.min(bytes, next) };
  };
}
