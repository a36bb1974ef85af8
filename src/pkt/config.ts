/** How a script is to be run: its own options over the defaults (packetdrill's). */
import { Mismatch } from './errors.ts';
import type { Script } from './script.ts';
import type { Dialect } from './symbols.ts';

export interface Config {
  readonly version: 4 | 6;
  /** Sockets are of IPv6 while packets are of IPv4. */
  readonly mapped: boolean;
  readonly bindPort: number;
  readonly connectPort: number;
  /** The stack's address, with its network's length, and the script's. */
  readonly local: string;
  readonly localPrefix: number;
  readonly remote: string;
  readonly mtu: number;
  readonly toleranceUs: number;
  /** Of the time since the last event, percent. */
  readonly tolerancePercent: number;
  readonly tsTickUs: number;
  /** TS ecr of the script's may be between those that it saw. */
  readonly echoScaled: boolean;
  readonly strictSegments: boolean;
  readonly nonFatalPackets: boolean;
  readonly nonFatalCalls: boolean;
  /** Only read the script. */
  readonly dryRun: boolean;
  /** Options that ask for what isn't here. */
  readonly missing: readonly string[];
}

const DEFAULT_4 = { local: '192.168.0.1', prefix: 16, remote: '192.0.2.1' };
const DEFAULT_6 = { local: 'fd3d:fa7b:d17d::1', prefix: 48, remote: '2001:db8::1' };

/** Linux runs its scripts over IPv6 too, with a link that makes up for the longer header: they say `mss 1460`. */
const LINUX_MTU_6 = 1520;
/** What scripts say that were written for a usual link. */
const MSS_6 = 1440;

/** Options that only matter to packetdrill's own doings. */
const IGNORED: readonly string[] = [
  'code_command',
  'code_format',
  'code_sockopt',
  'gateway_ip',
  'netmask_ip',
  'speed',
  'mss',
  'init_scripts',
  'debug',
  'verbose',
  'define',
  'send_omit_free',
  'is_anyip',
  'tun_dev',
  'persistent_tun_dev',
  'no_cleanup',
];

/** @throws Mismatch for options that no packetdrill has */
export function readConfig(script: Script, version: 4 | 6 | null, dialect: Dialect): Config {
  const options = new Map(script.options.map((option) => [option.name, option]));
  const text = (name: string) => options.get(name)?.value ?? undefined;
  const number = (name: string, fallback: number) => {
    const value = text(name);
    if (value === undefined) return fallback;
    const n = Number(value);
    if (!Number.isFinite(n) || n < 0)
      throw new Mismatch(options.get(name)?.line ?? 1, `bad --${name}: ${value}`);
    return n;
  };
  const chosen = text('ip_version');
  if (chosen !== undefined && !['ipv4', 'ipv4-mapped-ipv6', 'ipv6'].includes(chosen))
    throw new Mismatch(options.get('ip_version')?.line ?? 1, `bad --ip_version: ${chosen}`);
  const guess = text('local_ip')?.includes(':') === true || tooBig(script) ? 6 : 4;
  const v = chosen === undefined ? (version ?? guess) : chosen === 'ipv6' ? 6 : 4;
  const fallback = v === 6 ? DEFAULT_6 : DEFAULT_4;
  const nonFatal = text('non_fatal') ?? '';
  const missing: string[] = [];
  for (const { name, line } of script.options) {
    if (name.startsWith('wire_') || name.startsWith('so_')) missing.push(`--${name}`);
    else if (name === 'udp_encapsulation') {
      if (text(name) !== 'none') missing.push(`--${name}=${text(name)}`);
    } else if (name !== 'tcp_md5_secret' && !IGNORED.includes(name) && !KNOWN.includes(name))
      throw new Mismatch(line, `unknown option --${name}`);
  }
  return {
    version: v,
    mapped: chosen === 'ipv4-mapped-ipv6',
    bindPort: number('bind_port', 8080),
    connectPort: number('connect_port', 8080),
    local: text('local_ip') ?? fallback.local,
    localPrefix: fallback.prefix,
    remote: (text('remote_ip') ?? fallback.remote).split('/')[0].toLowerCase(),
    mtu: number('mtu', dialect === 'linux' && v === 6 && expectedMss(script) !== MSS_6 ? LINUX_MTU_6 : 1500),
    toleranceUs: number('tolerance_usecs', 4000),
    tolerancePercent: number('tolerance_percent', 12.5),
    tsTickUs: number('tcp_ts_tick_usecs', 0),
    echoScaled: options.has('tcp_ts_ecr_scaled'),
    strictSegments: options.has('strict_segments'),
    nonFatalPackets: nonFatal.includes('packet'),
    nonFatalCalls: nonFatal.includes('syscall'),
    dryRun: options.has('dry_run'),
    missing,
  };
}

/** Only IPv6 has this error. */
function tooBig({ events }: Script): boolean {
  return events.some(
    ({ action }) =>
      action.type === 'packet' &&
      action.transport.protocol === 'icmp' &&
      action.transport.name === 'packet_too_big',
  );
}

/** The first MSS that the stack is to tell. */
function expectedMss({ events }: Script): number | null {
  for (const { action } of events) {
    if (action.type !== 'packet' || action.inbound || action.transport.protocol !== 'tcp') continue;
    const found = action.transport.options?.find(({ kind }) => kind === 'mss');
    if (found?.kind === 'mss') return found.value;
  }
  return null;
}

const KNOWN: readonly string[] = [
  'ip_version',
  'bind_port',
  'connect_port',
  'remote_ip',
  'local_ip',
  'mtu',
  'tolerance_usecs',
  'tolerance_percent',
  'tcp_ts_tick_usecs',
  'tcp_ts_ecr_scaled',
  'strict_segments',
  'non_fatal',
  'dry_run',
  'udp_encapsulation',
];
