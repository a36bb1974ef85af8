/** What this machine allows, for a person to read: the `doctor` command. Changes nothing. */
import { spawnSync } from 'node:child_process';
import { closeSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { errorCode } from './errno.ts';
import { tryIoUring } from './io-uring.ts';
import { check, libc, NativeMemory, syscallNumbers } from './libc.ts';
import { packetAdvice, tryPacketSocket } from './packet-socket.ts';
import { tryTun, tunAdvice } from './tuntap.ts';

export interface Finding {
  readonly name: string;
  readonly ok: boolean;
  /** What was found. */
  readonly detail: string;
  /** What to do when it isn't ok, or ''. */
  readonly advice: string;
}

const CAP_NET_ADMIN = 12;
const CAP_NET_RAW = 13;
const CAP_IPC_LOCK = 14;
const AF_XDP = 44;
const SOCK_RAW_CLOEXEC = 0x80003;
const BPF_MAP_CREATE = 0;
const BPF_MAP_TYPE_ARRAY = 2;
/** An AF_XDP area of a few thousand frames is locked memory, unlimited for who has CAP_IPC_LOCK. */
const MEMLOCK_BYTES_MIN = 64 * 2 ** 20;

export function probe(): Finding[] {
  const platform = probePlatform();
  if (!platform.ok) return [platform];
  return [
    platform,
    probeCapabilities(),
    attempt('TUN/TAP', 'usable', tryTun, tunAdvice),
    attempt('AF_PACKET', 'a socket with a receive ring can be made', tryPacketSocket, packetAdvice),
    attempt(
      'AF_XDP',
      'a socket can be made',
      () => trySocket(AF_XDP),
      () => 'grant CAP_NET_RAW (run as root); needs Linux 4.18 with CONFIG_XDP_SOCKETS',
    ),
    attempt('bpf()', 'allowed', tryBpf, () => 'run as root of the host: a user namespace is not enough'),
    probeIoUring(),
    probeUserNamespaces(),
    probeMemlock(),
  ];
}

function probePlatform(): Finding {
  const name = 'platform';
  const detail = `${process.platform} ${release()} on ${process.arch}, Node ${process.version}`;
  try {
    syscallNumbers();
    libc();
    return { name, ok: true, detail, advice: '' };
  } catch (error) {
    return { name, ok: false, detail, advice: (error as Error).message };
  }
}

function probeCapabilities(): Finding {
  const missing = [
    ...(hasCapability(CAP_NET_ADMIN) ? [] : ['CAP_NET_ADMIN']),
    ...(hasCapability(CAP_NET_RAW) ? [] : ['CAP_NET_RAW']),
  ];
  const ok = missing.length === 0;
  const detail = [`uid ${process.geteuid?.()}`, ...missing.map((capability) => `no ${capability}`)].join(
    ', ',
  );
  return { name: 'capabilities', ok, detail, advice: ok ? '' : tunAdvice('EPERM') };
}

/** Of the effective ones. */
function hasCapability(bit: number): boolean {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(readText('/proc/self/status'))?.[1] ?? '0';
  return ((BigInt(`0x${hex}`) >> BigInt(bit)) & 1n) === 1n;
}

function trySocket(family: number): void {
  closeSync(check(libc().socket(family, SOCK_RAW_CLOEXEC, 0), 'socket'));
}

function tryBpf(): void {
  using memory = new NativeMemory(64);
  // union bpf_attr of BPF_MAP_CREATE: type, key bytes, value bytes, entries
  [BPF_MAP_TYPE_ARRAY, 4, 4, 1].forEach((word, i) => void memory.view.setUint32(i * 4, word, true));
  closeSync(
    check(libc().syscall(syscallNumbers().bpf, BPF_MAP_CREATE, memory.address, 64), 'bpf BPF_MAP_CREATE'),
  );
}

function probeIoUring(): Finding {
  const disabled = readText('/proc/sys/kernel/io_uring_disabled').trim();
  const sysctl = disabled === '' ? '' : `, kernel.io_uring_disabled=${disabled}`;
  const advice = () =>
    disabled === '' || disabled === '0'
      ? 'allow io_uring in the seccomp profile of the container; needs Linux 6.1. Without it TUN and TAP work, slower'
      : 'sysctl kernel.io_uring_disabled=0 (or 1, for root alone). Without it TUN and TAP work, slower';
  return attempt('io_uring', `allowed${sysctl}`, tryIoUring, advice);
}

/** A process of several threads can't enter a user namespace, so a child tries. */
function probeUserNamespaces(): Finding {
  const name = 'user namespaces';
  const child = spawnSync('unshare', ['-Urn', 'true'], { encoding: 'utf8', timeout: 5000 });
  if (child.status === 0) return { name, ok: true, detail: 'unshare -Urn works', advice: '' };
  if (errorCode(child.error) === 'ENOENT') {
    return { name, ok: false, detail: 'no unshare program', advice: 'install util-linux' };
  }
  return {
    name,
    ok: false,
    detail:
      (child.stderr ?? '').trim() ||
      child.error?.message ||
      `unshare ended with ${child.status ?? child.signal}`,
    advice:
      'sysctl user.max_user_namespaces above 0, and where they exist kernel.unprivileged_userns_clone=1 and ' +
      'kernel.apparmor_restrict_unprivileged_userns=0; or run as root',
  };
}

function probeMemlock(): Finding {
  const name = 'memlock';
  const soft = /^Max locked memory\s+(\S+)/m.exec(readText('/proc/self/limits'))?.[1] ?? 'unknown';
  const ok = hasCapability(CAP_IPC_LOCK) || soft === 'unlimited' || Number(soft) >= MEMLOCK_BYTES_MIN;
  const detail = soft === 'unlimited' || soft === 'unknown' ? soft : `${soft} bytes`;
  return { name, ok, detail, advice: ok ? '' : 'ulimit -l unlimited (matters for AF_XDP and io_uring only)' };
}

function attempt(name: string, good: string, act: () => void, advice: (code: string) => string): Finding {
  try {
    act();
    return { name, ok: true, detail: good, advice: '' };
  } catch (error) {
    return { name, ok: false, detail: (error as Error).message, advice: advice(errorCode(error)) };
  }
}

/** '' when it can't be read. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
