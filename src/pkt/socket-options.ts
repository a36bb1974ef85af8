/** setsockopt and getsockopt. What only has to be remembered is; what this stack can't do is noted as missing. */
import { TCB } from '../tcp/block.ts';
import type { Outcome } from './calls.ts';
import { Unsupported } from './errors.ts';
import type { Host } from './host.ts';
import { LINUX_SEND_MIN } from './linux-buffer.ts';
import type { Expression, SystemCall } from './script.ts';
import type { Settings } from './settings.ts';
import type { TcpSocket } from './socket.ts';
import { congestionName, type Sockets } from './sockets.ts';
import { symbolName, symbolValue } from './symbols.ts';
import type { Values } from './values.ts';

export interface OptionCall {
  readonly socket: TcpSocket;
  readonly level: string;
  readonly call: SystemCall;
  readonly values: Values;
  readonly settings: Settings;
  readonly sockets: Sockets;
  readonly host: Host;
}

const PREFIXES: Readonly<Record<string, RegExp>> = {
  SOL_SOCKET: /^SO_/,
  SOL_TCP: /^TCP_/,
  IPPROTO_TCP: /^TCP_/,
  SOL_IP: /^IP_/,
  IPPROTO_IP: /^IP_/,
  SOL_IPV6: /^IPV6_/,
  IPPROTO_IPV6: /^IPV6_/,
};

const OK: Outcome = { value: 0 };
/** Fewest bytes that a buffer of the engine's may have. */
const BUFFER_MIN = 256;
/** Set, and without effect on what a script can see of TCP. */
const REMEMBERED: readonly string[] = [
  'SO_REUSEADDR',
  'SO_REUSEPORT',
  'SO_REUSEPORT_LB',
  'SO_DEBUG',
  'SO_DONTROUTE',
  'SO_BROADCAST',
  'SO_OOBINLINE',
  'SO_PRIORITY',
  'SO_MARK',
  'SO_SNDLOWAT',
  'SO_RCVLOWAT',
  'SO_BINDTODEVICE',
  'SO_INCOMING_NAPI_ID',
  'SO_TXREHASH',
  'IP_RECVERR',
  'IPV6_RECVERR',
  'SO_NOSIGPIPE',
  'SO_BUSY_POLL',
  'SO_USER_COOKIE',
  'SO_SETFIB',
  'SO_INCOMING_CPU',
  'SO_ZEROCOPY',
  'SO_KEEPALIVE',
  'TCP_NODELAY',
  'TCP_KEEPIDLE',
  'TCP_USER_TIMEOUT',
  'TCP_NOTSENT_LOWAT',
  'TCP_FASTOPEN_CONNECT',
  'TCP_THIN_LINEAR_TIMEOUTS',
  'TCP_THIN_DUPACK',
  'TCP_INQ',
  'TCP_LINGER2',
  'TCP_SAVE_SYN',
  'TCP_LOG',
  'IP_TOS',
  'IP_TTL',
  'IPV6_TCLASS',
  'IPV6_UNICAST_HOPS',
  'IP_RECVTOS',
  'IP_RECVTTL',
  'IP_FREEBIND',
  'IP_BIND_ADDRESS_NO_PORT',
  'IP_MTU_DISCOVER',
  'IPV6_MTU_DISCOVER',
  'IPV6_V6ONLY',
  'IPV6_RECVTCLASS',
  'IPV6_RECVHOPLIMIT',
  'IPV6_AUTOFLOWLABEL',
];

/** What TCP_MAXSEG takes, bytes. */
const LINUX_MAXSEG_MIN = 88;
const MAXSEG_MAX = 32_767;

const IP_FIELDS: readonly string[] = ['IP_TOS', 'IP_TTL', 'IPV6_TCLASS', 'IPV6_UNICAST_HOPS'];

function optionName({ level, call, values }: OptionCall): string {
  const prefix = PREFIXES[level];
  if (prefix === undefined) throw new Unsupported(call.line, `socket options of ${level}`);
  return values.name(call.args[2], prefix, 'the option');
}

export function setOption(option: OptionCall): Outcome {
  const { socket, call, values, settings, sockets, host } = option;
  const name = optionName(option);
  const value = call.args[3];
  const number = values.optionalNumber(value);
  switch (name) {
    case 'SO_RCVBUF':
    case 'SO_RCVBUFFORCE':
      return setReceiveBuffer(option, number ?? 0);
    case 'SO_SNDBUF':
    case 'SO_SNDBUFFORCE':
      // Linux doubles what is asked for, and keeps its own records in it.
      socket.sendBuffer =
        settings.dialect === 'linux'
          ? Math.max(2 * (number ?? 0), LINUX_SEND_MIN)
          : Math.max(number ?? 0, BUFFER_MIN);
      socket.sendBufferFixed = true;
      if (socket.block !== 0) socket.engine.setSendBuffer(socket.conn, sockets.sendBufferOf(socket));
      return OK;
    case 'SO_LINGER': {
      const on = values.optionalNumber(values.field(value, 'onoff')) ?? 0;
      if (on === 0) socket.options.delete(name);
      else socket.options.set(name, values.optionalNumber(values.field(value, 'linger')) ?? 0);
      return OK;
    }
    case 'TCP_CORK':
    case 'TCP_NOPUSH':
      socket.corked = number !== 0;
      if (!socket.corked) socket.flush();
      host.settle();
      return OK;
    case 'TCP_QUICKACK':
      setQuickAck(socket, number !== 0);
      host.settle();
      return OK;
    case 'TCP_CONGESTION':
      return setCongestion(option, values.string(value) ?? '');
    case 'TCP_FASTOPEN':
    case 'TCP_FASTOPEN_NO_COOKIE':
      socket.options.set(name, number ?? 0);
      if (socket.state === 'listening') sockets.listenAgain(socket);
      return OK;
    case 'TCP_FASTOPEN_KEY': {
      const key = values.string(value) ?? '';
      const length = values.optionalNumber(call.args[4]);
      if (length !== 16 && length !== 32) return { value: -1, errno: 'EINVAL' };
      socket.options.set(name, (hexOf(key.slice(0, 16)).match(/.{8}/g) ?? []).join('-'));
      return OK;
    }
    case 'SO_RCVTIMEO':
    case 'SO_SNDTIMEO': {
      const part = (field: string) => values.optionalNumber(values.field(value, field)) ?? 0;
      socket.options.set(name, part('tv_sec') * 1e6 + part('tv_usec'));
      return OK;
    }
    case 'SO_TIMESTAMPING':
      socket.errors.want(number ?? 0, socket.written);
      socket.options.set(name, number ?? 0);
      return OK;
    case 'TCP_MAXSEG':
      return setMaxSegment(option, number ?? 0);
    case 'TCP_NOOPT':
      // Of this socket only; but no script has another with options at the same time.
      settings.limits.synOptions = number === 0;
      Object.assign(host.engine.tcp.limits, { synOptions: number === 0 });
      return OK;
    case 'TCP_KEEPINTVL':
    case 'TCP_KEEPCNT':
    case 'TCP_KEEPINIT':
      if (number !== null && number <= 0) return { value: -1, errno: 'EINVAL' };
      socket.options.set(name, number ?? 0);
      sockets.applyOptions(socket);
      return OK;
  }
  socket.options.set(name, number ?? values.string(value) ?? 0);
  if (!REMEMBERED.includes(name)) settings.lack(`socket option ${name}`);
  // FreeBSD's RST for a port that is bound and doesn't listen has them too.
  if (IP_FIELDS.includes(name) && settings.dialect === 'freebsd' && socket.state === 'fresh')
    settings.lack(`${name} of a socket that neither listens nor connects`);
  sockets.applyOptions(socket);
  if (name === 'TCP_NODELAY' && number !== 0) {
    socket.flush();
    host.settle();
  }
  return OK;
}

function hexOf(text: string): string {
  return Array.from(text, (letter) => letter.charCodeAt(0).toString(16).padStart(2, '0')).join('');
}

/** Linux doubles what is asked for, and gives half of that to the program. */
function setReceiveBuffer({ socket }: OptionCall, bytes: number): Outcome {
  socket.receiveBuffer = bytes;
  socket.receiveBufferFixed = true;
  if (socket.block !== 0) socket.engine.setReceiveBuffer(socket.conn, Math.max(bytes, BUFFER_MIN));
  return OK;
}

/** Before a connection: by the link's MTU, since no script has another socket with a larger one. */
function setMaxSegment({ socket, settings, host }: OptionCall, bytes: number): Outcome {
  const freebsd = settings.dialect === 'freebsd';
  const t = socket.block;
  const { m } = socket.engine.tcp;
  const most = t === 0 || !freebsd ? MAXSEG_MAX : m[t + TCB.MSS];
  if (bytes < (freebsd ? 1 : LINUX_MAXSEG_MIN) || bytes > most) return { value: -1, errno: 'EINVAL' };
  socket.options.set('TCP_MAXSEG', bytes);
  if (t === 0) host.setMtu(bytes + (socket.version === 6 ? 60 : 40));
  // Linux's counts for the handshake only.
  else if (freebsd) m[t + TCB.MSS] = bytes;
  return OK;
}

function setQuickAck(socket: TcpSocket, on: boolean): void {
  const t = socket.block;
  if (t === 0) return;
  const { m } = socket.engine.tcp;
  m[t + TCB.QUICK_ACKS] = on ? 16 : 0;
  if (on && m[t + TCB.ACK_OWED] > 0) {
    // What is owed goes now: as if its timer had expired.
    m[t + TCB.DELACK_AT] = socket.engine.tcp.nowMs;
    socket.engine.tcp.wheel.arm(t, socket.engine.tcp.nowMs);
  }
}

function setCongestion({ socket, settings }: OptionCall, given: string): Outcome {
  const name = congestionName(given);
  if (socket.engine.tcp.congestionIndex(name) < 0) {
    settings.lack(`congestion control ${given}`);
    return OK;
  }
  socket.options.set('TCP_CONGESTION', given);
  socket.engine.setCongestion(socket.conn, name);
  return OK;
}

export function getOption(option: OptionCall): Outcome {
  const { call, values } = option;
  const name = optionName(option);
  const expected = call.args[3];
  const got = readOption(option, name);
  if (expected === undefined || expected.type === 'ellipsis') return OK;
  if (typeof got === 'string') {
    const want = values.string(expected);
    return want === null || want === got ? OK : { ...OK, wrong: `${name}: expected "${want}", got "${got}"` };
  }
  if (name === 'SO_LINGER') return judgeLinger(option, expected, got);
  const want = values.optionalNumber(expected);
  if (want === null || want === got) return OK;
  return {
    ...OK,
    wrong: `${name}: expected ${showOption(option, name, want)}, got ${showOption(option, name, got)}`,
  };
}

function showOption({ settings }: OptionCall, name: string, value: number): string {
  if (name !== 'SO_ERROR' || value === 0) return String(value);
  return symbolName(settings.dialect, /^E/, value) ?? String(value);
}

/** Off is -1. */
function judgeLinger({ values }: OptionCall, expected: Expression, got: number): Outcome {
  const on = values.optionalNumber(values.field(expected, 'onoff'));
  const seconds = values.optionalNumber(values.field(expected, 'linger'));
  if (on !== null && (on !== 0) !== got >= 0)
    return { ...OK, wrong: `onoff: expected ${on}, got ${got >= 0 ? 1 : 0}` };
  if (seconds !== null && seconds !== Math.max(0, got))
    return { ...OK, wrong: `linger: expected ${seconds}, got ${Math.max(0, got)}` };
  return OK;
}

function readOption({ socket, settings, call }: OptionCall, name: string): number | string {
  const { dialect } = settings;
  const t = socket.block;
  const { m } = socket.engine.tcp;
  switch (name) {
    case 'SO_ERROR': {
      const error = socket.takeError();
      return error === null ? 0 : (symbolValue(dialect, error) ?? -1);
    }
    case 'SO_RCVBUF':
      return socket.receiveBuffer * (dialect === 'linux' ? 2 : 1);
    case 'SO_SNDBUF':
      return socket.sendBuffer;
    case 'SO_TYPE':
      return symbolValue(dialect, 'SOCK_STREAM') ?? 1;
    case 'SO_PROTOCOL':
      return 6;
    case 'SO_DOMAIN':
      return symbolValue(dialect, socket.version === 6 ? 'AF_INET6' : 'AF_INET') ?? 0;
    case 'SO_ACCEPTCONN':
      return socket.state === 'listening' ? 1 : 0;
    case 'SO_LINGER':
      return Number(socket.options.get(name) ?? -1);
    case 'TCP_MAXSEG':
      return t === 0 ? Number(socket.options.get(name) ?? defaultMss(socket)) : m[t + TCB.MSS];
    case 'TCP_KEEPIDLE':
      return Number(socket.options.get(name) ?? settings.keepIdle_s);
    case 'TCP_KEEPINTVL':
      return Number(socket.options.get(name) ?? settings.keepInterval_s);
    case 'TCP_KEEPCNT':
      return Number(socket.options.get(name) ?? settings.keepCount);
    case 'TCP_KEEPINIT':
      return Number(socket.options.get(name) ?? settings.keepInit_ms / 1000);
    case 'TCP_CONGESTION':
      return String(socket.options.get(name) ?? settings.congestion);
    case 'TCP_CORK':
    case 'TCP_NOPUSH':
      return socket.corked ? 1 : 0;
    case 'TCP_QUICKACK':
      return t === 0 || m[t + TCB.QUICK_ACKS] > 0 ? 1 : 0;
    case 'IP_TTL':
    case 'IPV6_UNICAST_HOPS':
      return Number(socket.options.get(name) ?? 64);
    case 'IP_MTU':
    case 'IPV6_MTU':
      return t === 0 ? 1500 : m[t + TCB.PMTU];
    case 'TCP_CC_INFO':
    case 'TCP_INFO':
    case 'SO_MEMINFO':
      return 0;
  }
  const value = socket.options.get(name);
  if (value !== undefined) return value;
  if (!REMEMBERED.includes(name)) throw new Unsupported(call.line, `getsockopt ${name}`);
  return 0;
}

/** RFC 9293 3.7.1, before a connection says better. */
function defaultMss(socket: TcpSocket): number {
  return socket.version === 6 ? 1220 : 536;
}
