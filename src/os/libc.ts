/**
 * The kernel's door: libc through koffi. Loaded when first asked for, so that a program which uses no kernel
 * device needs neither Linux nor koffi.
 *
 * Prototypes are all integers, the cheapest form: addresses go as Numbers below 2^53. `koffi.address` pins nothing,
 * so whatever the kernel keeps hold of past a call must lie in an arena or in an mmap of ours.
 */
import { createRequire } from 'node:module';
import { constants as osConstants } from 'node:os';

type Call = (...args: number[]) => number;

export interface Libc {
  open(path: string, flags: number): number;
  close(fd: number): number;
  read: Call;
  write: Call;
  /** fd, request, address. */
  ioctl: Call;
  /** domain, type, protocol. */
  socket: Call;
  /** fd, address, length, flags. */
  send: Call;
  recv: Call;
  eventfd: Call;
  /** number, then its arguments. */
  syscall: Call;
  /** address, length, advice. */
  madvise: Call;
  /** pollfd address, count, timeout in ms; calls back from another thread's wait. */
  pollAsync(
    at: number,
    count: number,
    timeout_ms: number,
    done: (error: unknown, ready: number) => void,
  ): void;
  /** `errno` of this thread's last failed call. */
  errno(): number;
  /** Bytes of the process's own, outside the collector's heap, for good: [address, view]. */
  allocate(bytes: number): { at: number; view: DataView };
  /** Address of the first byte of an arena. */
  addressOf(bytes: Uint8Array): number;
}

interface KoffiFunction {
  (...args: unknown[]): number;
  async(...args: unknown[]): void;
}
interface Koffi {
  load(name: string): { func(name: string, result: string, args: string[]): KoffiFunction };
  errno(): number;
  address(value: unknown): bigint;
  view(pointer: unknown, length: number): ArrayBuffer;
}

/** A system call failed. `code` is Node's name of the errno. */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  constructor(syscall: string, errno: number, detail = '') {
    const code = errnoName(errno);
    super(`${code}: ${syscall}${detail === '' ? '' : ` (${detail})`}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
  }
}

const NAMES = new Map(Object.entries(osConstants.errno).map(([name, number]) => [number, name]));

export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

export const { EAGAIN, EINTR, EBUSY, EPERM } = osConstants.errno;

const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;

let loaded: Libc | null = null;

/** @throws Error with code ERR_MILLRACE_PLATFORM where there is no such kernel, or no koffi */
export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

function load(): Libc {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) {
    throw platformError(
      `kernel devices need Linux on x64 or arm64, not ${process.platform} on ${process.arch}; in-memory devices work everywhere`,
    );
  }
  let koffi: Koffi;
  try {
    koffi = createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    throw platformError('kernel devices need the package koffi: npm install koffi', cause);
  }
  const lib = koffi.load('libc.so.6');
  const call = (name: string, result: string, ...args: string[]): KoffiFunction =>
    lib.func(name, result, args);
  const open = call('open', 'int', 'const char*', 'int');
  const mmap = call('mmap', 'int64_t', 'int64_t', 'int64_t', 'int', 'int', 'int', 'int64_t');
  const poll = call('poll', 'int', 'int64_t', 'int64_t', 'int');
  return {
    open: (path, flags) => open(path, flags),
    close: call('close', 'int', 'int'),
    read: call('read', 'int64_t', 'int', 'int64_t', 'int64_t'),
    write: call('write', 'int64_t', 'int', 'int64_t', 'int64_t'),
    ioctl: call('ioctl', 'int', 'int', 'int64_t', 'int64_t'),
    socket: call('socket', 'int', 'int', 'int', 'int'),
    send: call('send', 'int64_t', 'int', 'int64_t', 'int64_t', 'int'),
    recv: call('recv', 'int64_t', 'int', 'int64_t', 'int64_t', 'int'),
    eventfd: call('eventfd', 'int', 'int', 'int'),
    syscall: call('syscall', 'int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t'),
    madvise: call('madvise', 'int', 'int64_t', 'int64_t', 'int'),
    pollAsync: (at, count, timeout_ms, done) => poll.async(at, count, timeout_ms, done),
    errno: () => koffi.errno(),
    allocate(bytes) {
      const at = Number(mmap(0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0));
      if (at === -1) throw new SystemError('mmap', koffi.errno());
      return { at, view: new DataView(koffi.view(BigInt(at), bytes)) };
    },
    addressOf: (bytes) => Number(koffi.address(bytes)),
  };
}

function platformError(message: string, cause?: unknown): Error {
  return Object.assign(new Error(message, { cause }), { code: 'ERR_MILLRACE_PLATFORM' });
}

const MADV_HUGEPAGE = 14;

/** Asks for huge pages under an arena: fewer TLB misses when thousands of connections are open. May be refused. */
export function adviseHugePages(bytes: Uint8Array): boolean {
  const c = libc();
  return c.madvise(c.addressOf(bytes), bytes.length, MADV_HUGEPAGE) === 0;
}
