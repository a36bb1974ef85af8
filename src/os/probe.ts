/** What this machine allows, each by trying it: the facts behind `millrace doctor`. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { errnoName, libc } from './libc.ts';

export interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do when it isn't ok. */
  readonly advice: string;
}

const AF_XDP = 44;
const AF_PACKET = 17;
const SOCK_RAW = 3;
const CAP_NET_ADMIN = 12;
const CAP_NET_RAW = 13;
const CAP_BPF = 39;
const SYSCALL = { x64: { bpf: 321, io_uring_setup: 425 }, arm64: { bpf: 280, io_uring_setup: 425 } } as const;
const BPF_MAP_CREATE = 0;
const BPF_MAP_TYPE_ARRAY = 2;
const ATTR_BYTES = 152;

export function probe(): Finding[] {
  const linux = process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64');
  const findings: Finding[] = [
    {
      name: 'Linux',
      ok: linux,
      detail: `${process.platform} ${release()} on ${process.arch}`,
      advice: 'Kernel devices need Linux on x64 or arm64; in-memory devices work everywhere.',
    },
  ];
  if (!linux) return findings;
  const capabilities = effectiveCapabilities();
  const has = (bit: number): boolean => (capabilities & (1n << BigInt(bit))) !== 0n;
  findings.push(
    finding(
      'koffi',
      attempt(() => libc() !== null),
      'loads the C library',
      'npm install koffi',
    ),
    finding(
      'root or CAP_NET_ADMIN',
      has(CAP_NET_ADMIN) || 'not in this namespace',
      'may make and configure devices',
      'Run as root, or in a namespace of your own: unshare -Urn.',
    ),
    finding(
      'CAP_NET_RAW',
      has(CAP_NET_RAW) || 'not in this namespace',
      'may open packet sockets',
      'Run as root, or in a namespace of your own: unshare -Urn.',
    ),
    finding(
      '/dev/net/tun',
      readable('/dev/net/tun'),
      'TUN and TAP devices',
      'modprobe tun; in a container, pass --device /dev/net/tun.',
    ),
  );
  if (!findings[1].ok) return findings;
  findings.push(
    finding('AF_PACKET', socketOpens(AF_PACKET), 'packet sockets', 'Needs CAP_NET_RAW.'),
    finding(
      'AF_XDP',
      socketOpens(AF_XDP),
      'packet rings shared with the driver',
      'Needs CAP_NET_RAW and a kernel with CONFIG_XDP_SOCKETS.',
    ),
    finding(
      'bpf()',
      bpfWorks(),
      `programs that steer packets${has(CAP_BPF) ? '' : ' (without CAP_BPF: only if unprivileged BPF is on)'}`,
      'Run as root (CAP_BPF, CAP_NET_ADMIN); a user namespace is not enough.',
    ),
    finding(
      'io_uring',
      ioUringWorks(),
      'batched reads and writes',
      'sysctl kernel.io_uring_disabled=0; some container runtimes filter the call.',
    ),
    finding(
      'user namespaces',
      userNamespaceWorks(),
      'a rootless namespace with devices of its own (unshare -Urn)',
      'sysctl kernel.unprivileged_userns_clone=1 or user.max_user_namespaces; AppArmor may forbid it too.',
    ),
    memoryLock(),
  );
  return findings;
}

/** @param result true, or why not. */
function finding(name: string, result: true | string, what: string, advice: string): Finding {
  return { name, ok: result === true, detail: result === true ? what : `${what}: ${result}`, advice };
}

function attempt(what: () => boolean): true | string {
  try {
    return what() || 'no';
  } catch (error) {
    return (error as Error).message;
  }
}

function effectiveCapabilities(): bigint {
  const match = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return match === null ? 0n : BigInt(`0x${match[1]}`);
}

function readable(path: string): true | string {
  return attempt(() => {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  });
}

function socketOpens(domain: number): true | string {
  const c = libc();
  const fd = c.socket(domain, SOCK_RAW, 0);
  if (fd < 0) return errnoName(c.errno());
  c.close(fd);
  return true;
}

function bpfWorks(): true | string {
  const c = libc();
  const { at, view } = c.allocate(ATTR_BYTES);
  // map_type, key_size, value_size, max_entries
  for (const [i, value] of [BPF_MAP_TYPE_ARRAY, 4, 4, 1].entries()) view.setUint32(4 * i, value, true);
  return closeOrErrno(c.syscall(numbers().bpf, BPF_MAP_CREATE, at, ATTR_BYTES, 0, 0));
}

function ioUringWorks(): true | string {
  const { at } = libc().allocate(128);
  return closeOrErrno(libc().syscall(numbers().io_uring_setup, 1, at, 0, 0, 0));
}

function numbers(): { bpf: number; io_uring_setup: number } {
  return SYSCALL[process.arch as 'x64' | 'arm64'];
}

function closeOrErrno(fd: number): true | string {
  const c = libc();
  if (fd < 0) return errnoName(c.errno());
  c.close(fd);
  return true;
}

function userNamespaceWorks(): true | string {
  const { status, error, stderr } = spawnSync('unshare', ['-Urn', 'true'], { encoding: 'utf8' });
  if (error !== undefined) return error.message;
  return status === 0 || stderr.trim() || 'refused';
}

/** AF_XDP's frames count against it, on kernels before 5.11, or where a hard limit is set. */
function memoryLock(): Finding {
  const limit =
    /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 'unknown';
  const ok = limit === 'unlimited' || Number(limit) >= 64 << 20 || process.getuid?.() === 0;
  return {
    name: 'memory lock limit',
    ok,
    detail: limit === 'unlimited' ? limit : `${limit} bytes`,
    advice: 'ulimit -l unlimited, or LimitMEMLOCK=infinity in a systemd unit: AF_XDP locks its frames.',
  };
}
