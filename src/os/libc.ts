/**
 * The C library, through koffi. Both are loaded at the first call of `libc()`, not at import, so that a program
 * that opens no kernel device runs where there is neither.
 *
 * All prototypes are of integers, which is the cheapest form (tens of ns a call); an address is a Number, since
 * user space ends below 2^48. koffi pins nothing: what the kernel reads or writes by address is in an arena that
 * the caller keeps, or in a `NativeMemory`.
 */
import { createRequire } from 'node:module';
import type { address, errno, KoffiFunc, load, view } from 'koffi';
import { SystemError } from './errno.ts';

type Koffi = { address: typeof address; errno: typeof errno; load: typeof load; view: typeof view };

/** Of calls on a socket: fail with EAGAIN instead of waiting. */
export const MSG_DONTWAIT = 0x40;

export interface Libc {
  /** Of the last call that returned -1, on this thread. */
  errno(): number;
  read(fd: number, address: number, length: number): number;
  write(fd: number, address: number, length: number): number;
  ioctl(fd: number, request: number, argument: number): number;
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: number, length: number): number;
  listen(fd: number, backlog: number): number;
  connect(fd: number, address: number, length: number): number;
  accept4(fd: number, address: number, lengthAddress: number, flags: number): number;
  send(fd: number, address: number, length: number, flags: number): number;
  recv(fd: number, address: number, length: number, flags: number): number;
  sendto(fd: number, at: number, length: number, flags: number, to: number, toLength: number): number;
  sendmsg(fd: number, header: number, flags: number): number;
  recvmsg(fd: number, header: number, flags: number): number;
  /** @returns how many messages went out. */
  sendmmsg(fd: number, messages: number, count: number, flags: number): number;
  eventfd(initial: number, flags: number): number;
  epoll_create1(flags: number): number;
  epoll_ctl(epoll: number, operation: number, fd: number, event: number): number;
  epoll_wait(epoll: number, events: number, count: number, timeout_ms: number): number;
  memfd_create(name: number, flags: number): number;
  ftruncate(fd: number, bytes: number): number;
  fcntl(fd: number, command: number, argument: number): number;
  setsockopt(fd: number, level: number, option: number, address: number, length: number): number;
  getsockopt(fd: number, level: number, option: number, address: number, lengthAt: number): number;
  unshare(flags: number): number;
  syscall(number: number, a: number, b: number, c: number): number;
  syscall5(number: number, a: number, b: number, c: number, d: number, e: number): number;
  mmap(hint: number, length: number, protection: number, flags: number, fd: number, offset: number): number;
  munmap(address: number, length: number): number;
  /** poll(2) on a thread of libuv's pool. `done` has no errno: it belongs to the other thread. */
  pollAsync(
    pollfds: number,
    count: number,
    timeout_ms: number,
    done: (error: unknown, ready: number) => void,
  ): void;
  /** Where an array's bytes are. Valid as long as the caller holds the array. */
  addressOf(bytes: Uint8Array): number;
  /** An ArrayBuffer over foreign memory: touching it after the memory is gone is a segmentation fault. */
  viewOf(address: number, length: number): ArrayBuffer;
}

/** System call numbers that the C library has no function for. */
export interface SyscallNumbers {
  readonly bpf: number;
  readonly ioDestroy: number;
  readonly ioSetup: number;
  readonly ioSubmit: number;
  readonly ioUringSetup: number;
  readonly ioUringEnter: number;
  readonly ioUringRegister: number;
}

/** Newer calls have one number on all architectures. */
const IO_URING = { ioUringSetup: 425, ioUringEnter: 426, ioUringRegister: 427 };

const SYSCALLS: Readonly<Record<string, SyscallNumbers>> = {
  x64: { bpf: 321, ioDestroy: 207, ioSetup: 206, ioSubmit: 209, ...IO_URING },
  arm64: { bpf: 280, ioDestroy: 1, ioSetup: 0, ioSubmit: 2, ...IO_URING },
};

/** No kernel device here; `code` is `ERR_UNSUPPORTED_PLATFORM` or `ERR_NO_FFI`. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

let loaded: Libc | null = null;

/** @throws UnsupportedError */
export function libc(): Libc {
  loaded ??= loadLibc();
  return loaded;
}

/** @throws UnsupportedError when the constants of src/os/ don't hold on this machine. */
export function syscallNumbers(
  platform: string = process.platform,
  arch: string = process.arch,
): SyscallNumbers {
  const numbers = platform === 'linux' ? SYSCALLS[arch] : undefined;
  if (numbers === undefined) {
    throw new UnsupportedError(
      'ERR_UNSUPPORTED_PLATFORM',
      `kernel devices need Linux on x64 or arm64, this is ${platform} on ${arch}; in-memory devices work anywhere`,
    );
  }
  return numbers;
}

/** @param result What a system call returned; -1 is a failure, described by errno. */
export function check(result: number, syscall: string): number {
  if (result === -1) throw new SystemError(libc().errno(), syscall);
  return result;
}

const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** Zeroed pages outside the collected heap, for what the kernel reads and writes. Freed by `using` or `free`. */
export class NativeMemory implements Disposable {
  readonly address: number;
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  #mapped = true;

  constructor(bytes: number) {
    const c = libc();
    this.address = check(c.mmap(0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0), 'mmap');
    const buffer = c.viewOf(this.address, bytes);
    this.u8 = new Uint8Array(buffer);
    this.view = new DataView(buffer);
  }

  /** Nobody may use `u8` or `view` from here on. */
  free(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    libc().munmap(this.address, this.u8.length);
  }

  [Symbol.dispose](): void {
    this.free();
  }
}

type IntCall = (...args: number[]) => number;

function loadLibc(): Libc {
  syscallNumbers();
  const koffi = requireKoffi();
  // What this process is linked with already: glibc's name, or musl's, is none of our business.
  const library = koffi.load(null);
  const func = (name: string, result: string, args: string[]) =>
    library.func(name, result, args) as KoffiFunc<IntCall>;
  return {
    errno: () => koffi.errno(),
    // ssize_t, of which the low half is enough: no read or write here is of 2 GiB.
    read: func('read', 'int', ['int', 'int64_t', 'int64_t']),
    write: func('write', 'int', ['int', 'int64_t', 'int64_t']),
    ioctl: func('ioctl', 'int', ['int', 'uint64_t', 'int64_t']),
    socket: func('socket', 'int', ['int', 'int', 'int']),
    bind: func('bind', 'int', ['int', 'int64_t', 'uint32_t']),
    listen: func('listen', 'int', ['int', 'int']),
    connect: func('connect', 'int', ['int', 'int64_t', 'uint32_t']),
    accept4: func('accept4', 'int', ['int', 'int64_t', 'int64_t', 'int']),
    send: func('send', 'int', ['int', 'int64_t', 'int64_t', 'int']),
    recv: func('recv', 'int', ['int', 'int64_t', 'int64_t', 'int']),
    sendto: func('sendto', 'int', ['int', 'int64_t', 'int64_t', 'int', 'int64_t', 'uint32_t']),
    sendmsg: func('sendmsg', 'int', ['int', 'int64_t', 'int']),
    recvmsg: func('recvmsg', 'int', ['int', 'int64_t', 'int']),
    sendmmsg: func('sendmmsg', 'int', ['int', 'int64_t', 'uint32_t', 'int']),
    eventfd: func('eventfd', 'int', ['uint32_t', 'int']),
    epoll_create1: func('epoll_create1', 'int', ['int']),
    epoll_ctl: func('epoll_ctl', 'int', ['int', 'int', 'int', 'int64_t']),
    epoll_wait: func('epoll_wait', 'int', ['int', 'int64_t', 'int', 'int']),
    memfd_create: func('memfd_create', 'int', ['int64_t', 'uint32_t']),
    ftruncate: func('ftruncate', 'int', ['int', 'int64_t']),
    fcntl: func('fcntl', 'int', ['int', 'int', 'int64_t']),
    setsockopt: func('setsockopt', 'int', ['int', 'int', 'int', 'int64_t', 'uint32_t']),
    getsockopt: func('getsockopt', 'int', ['int', 'int', 'int', 'int64_t', 'int64_t']),
    unshare: func('unshare', 'int', ['int']),
    syscall: func('syscall', 'int', ['int64_t', 'int64_t', 'int64_t', 'int64_t']),
    syscall5: func('syscall', 'int', ['int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t']),
    mmap: func('mmap', 'int64_t', ['int64_t', 'int64_t', 'int', 'int', 'int', 'int64_t']),
    munmap: func('munmap', 'int', ['int64_t', 'int64_t']),
    pollAsync: func('poll', 'int', ['int64_t', 'uint64_t', 'int']).async,
    addressOf: (bytes) => Number(koffi.address(bytes)),
    viewOf: (address, length) => koffi.view(address, length),
  };
}

function requireKoffi(): Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    throw new UnsupportedError(
      'ERR_NO_FFI',
      'kernel devices need the npm package koffi and its binary for this platform: reinstall without --omit=optional',
      { cause },
    );
  }
}
