/** What a script's shell lines mean here: settings, routes, and questions about sockets. */

import { isUnknownCounter } from './nstat.ts';
import type { Settings } from './settings.ts';
import { parseShell, type Simple } from './shell.ts';
import { applySysctl } from './sysctl.ts';

const PROC_TCP = '/proc/net/tcp';
/** As Linux numbers them, from 1. */
const PROC_STATES: readonly string[] = [
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RCVD',
  'FIN_WAIT_1',
  'FIN_WAIT_2',
  'TIME_WAIT',
  'CLOSED',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
];

/** What commands can do to the run. */
export interface CommandTarget {
  readonly settings: Settings;
  /** One line a socket, as `sockstat -s` prints them. */
  sockets(): string[];
  /** The counters that have changed, as `nstat` prints them. */
  counters(): string[];
  /** Ends the connections in a state. */
  dropConnections(state: string): void;
  setRoute(route: RouteSettings): void;
  /** Of the link, bytes. */
  setMtu(mtu: number): void;
  /** Lets us of virtual time pass. */
  sleep(us: number): void;
}

/** `ip route ... initcwnd 4 mtu 1400` */
export interface RouteSettings {
  readonly initCwnd?: number;
  readonly mtu?: number;
  readonly rtoMin_ms?: number;
  readonly congestion?: string;
}

/** tcp_rmem and the like of the script that most Linux tests start with. */
const DEFAULTS: readonly (readonly [string, string])[] = [
  ['net.ipv4.tcp_rmem', `4096 540000 ${15 << 20}`],
  ['net.ipv4.tcp_wmem', `4096 ${256 << 10} 4194304`],
  ['net.ipv4.tcp_timestamps', '1'],
  ['net.ipv4.tcp_syn_retries', '5'],
  ['net.ipv4.tcp_synack_retries', '5'],
  ['net.ipv4.tcp_sack', '1'],
  ['net.ipv4.tcp_congestion_control', 'cubic'],
  ['net.ipv4.tcp_slow_start_after_idle', '0'],
  ['net.ipv4.tcp_ecn', '0'],
  ['net.ipv4.tcp_fastopen', '0x3'],
  ['net.ipv4.tcp_fastopen_key', 'a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4'],
  ['net.ipv4.tcp_syncookies', '1'],
];

/** Nothing of a test depends on them. */
const HARMLESS: readonly string[] = [
  'true',
  ':',
  'echo',
  'printf',
  'set',
  'export',
  'cd',
  'chmod',
  'tc',
  'ethtool',
  'modprobe',
  'kldload',
  'kldstat',
  'ifconfig',
  'sync',
  'rm',
  'mkdir',
  'dmesg',
  'logger',
  'date',
  'ulimit',
  'bash',
  'sh',
];

/** @returns what the commands said when they failed, or null: their last exit code is 0 */
export function runCommand(text: string, target: CommandTarget): string | null {
  const pipelines = parseShell(text);
  if (pipelines === null) {
    target.settings.lack(`shell line '${short(text)}'`);
    return null;
  }
  let failed: string | null = null;
  for (const { commands, after } of pipelines) {
    if ((after === '&&' && failed !== null) || (after === '||' && failed === null)) continue;
    let lines: string[] | null = [];
    for (const words of commands) {
      if (lines === null) break;
      lines = runSimple(words, lines, target);
    }
    failed =
      lines === null ? `'${short(commands.map((words) => words.join(' ')).join(' | '))}' failed` : null;
  }
  return failed;
}

/** @returns its output, or null when it fails */
function runSimple(given: Simple, input: readonly string[], target: CommandTarget): string[] | null {
  let words = given;
  while (words.length > 0 && /^[A-Za-z_]\w*=/.test(words[0])) words = words.slice(1);
  if (words.length === 0) return [];
  const [path, ...args] = words[0] === 'sudo' ? words.slice(1) : words;
  const name = path.slice(path.lastIndexOf('/') + 1);
  switch (name) {
    case 'sysctl':
      return sysctl(args, target.settings);
    case 'set_sysctls.py':
      return setSysctls(args, target.settings);
    case 'defaults.sh':
      for (const [key, value] of DEFAULTS) applySysctl(target.settings, key, value);
      return [];
    case 'grep':
      for (const word of args) if (isUnknownCounter(word)) target.settings.lack(`the counter ${word}`);
      return grep(
        args.filter((word) => !word.startsWith(PROC_TCP)),
        args.some((word) => word.startsWith(PROC_TCP)) ? procTcp(target) : input,
      );
    case 'nstat':
      return target.counters();
    case 'wc':
      return [String(input.length)];
    case 'sockstat':
      return sockstat(args, target);
    case 'tcpdrop':
      target.dropConnections(args[args.indexOf('-s') + 1] ?? '');
      return [];
    case 'ip':
      return ip(args, target);
    case 'sleep':
      target.sleep(sleepUs(args[0] ?? '0'));
      return [];
    case 'false':
      return null;
    case 'cat':
    case 'head':
    case 'tail':
    case 'sort':
      return [...input];
  }
  // Scripts that put settings back as they were.
  if (HARMLESS.includes(name) || /sysctl_restore|^\/tmp\//.test(path)) return [];
  target.settings.lack(`command '${name}'`);
  return [];
}

function sysctl(args: readonly string[], settings: Settings): string[] {
  for (let i = 0; i < args.length; i++) {
    const equals = args[i].indexOf('=');
    if (equals > 0) applySysctl(settings, args[i].slice(0, equals), args[i].slice(equals + 1));
  }
  return [];
}

/** Paths below /proc/sys, or dots. */
function setSysctls(args: readonly string[], settings: Settings): string[] {
  for (const arg of args) {
    const [path, value] = arg.split('=');
    if (value !== undefined) applySysctl(settings, path.replace(/^\/proc\/sys\//, ''), value);
  }
  return [];
}

/** Lines of /proc/net/tcp, as far as scripts look: local port and state, in hexadecimal. */
function procTcp(target: CommandTarget): string[] {
  return target.sockets().map((line, i) => {
    const [, port = '0', state = ''] = /\*:(\d+) \* (\w+)$/.exec(line) ?? [];
    const number = 1 + PROC_STATES.indexOf(state);
    return ` ${i}: 00000000:${hexOf(Number(port), 4)} 00000000:0000 ${hexOf(number, 2)} `;
  });
}

function hexOf(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}

function grep(args: readonly string[], input: readonly string[]): string[] | null {
  const flags = args.filter((arg) => arg.startsWith('-')).join('');
  const [pattern = ''] = args.filter((arg) => !arg.startsWith('-'));
  let matches: (line: string) => boolean;
  if (flags.includes('F')) matches = (line) => line.includes(pattern);
  else {
    const regex = new RegExp(
      flags.includes('E') ? pattern : basicRegex(pattern),
      flags.includes('i') ? 'i' : '',
    );
    matches = (line) => regex.test(line);
  }
  const found = input.filter((line) => matches(line) !== flags.includes('v'));
  if (flags.includes('c')) return [String(found.length)];
  return found.length === 0 ? null : found;
}

/** Basic regular expressions: +, ?, | and brackets are plain unless escaped. */
function basicRegex(pattern: string): string {
  return pattern.replace(/\\?[+?|(){}]/g, (symbol) => (symbol.startsWith('\\') ? symbol[1] : `\\${symbol}`));
}

function sockstat(args: readonly string[], target: CommandTarget): string[] {
  const port = args.includes('-p') ? args[args.indexOf('-p') + 1] : null;
  return target.sockets().filter((line) => port === null || line.includes(`:${port} `));
}

function ip(args: readonly string[], target: CommandTarget): string[] {
  if (args[0] === 'link' && args.includes('mtu')) target.setMtu(Number(args[args.indexOf('mtu') + 1]));
  if (args[0] !== 'route' && !(args[0].startsWith('-') && args[1] === 'route')) return [];
  const value = (key: string) => (args.includes(key) ? args[args.indexOf(key) + 1] : undefined);
  const number = (key: string) => {
    const found = args[args.indexOf(key) + 1] === 'lock' ? args[args.indexOf(key) + 2] : value(key);
    return args.includes(key) ? Number.parseFloat(found ?? '') : undefined;
  };
  const rtoMin = value('rto_min');
  const congestion = value('congctl');
  const initCwnd = number('initcwnd');
  const mtu = number('mtu');
  target.setRoute({
    ...(initCwnd === undefined ? {} : { initCwnd }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(rtoMin === undefined
      ? {}
      : { rtoMin_ms: Number.parseFloat(rtoMin) * (/\ds$/.test(rtoMin) ? 1000 : 1) }),
    ...(congestion === undefined ? {} : { congestion }),
  });
  return [];
}

function sleepUs(text: string): number {
  const value = Number.parseFloat(text);
  const unit = { m: 60, h: 3600 }[text.slice(-1)] ?? 1;
  return Number.isFinite(value) ? value * unit * 1e6 : 0;
}

function short(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ');
  return line.length > 60 ? `${line.slice(0, 57)}...` : line;
}
