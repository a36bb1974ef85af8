/** UNIX sockets of type SOCK_SEQPACKET, whose packets may carry file descriptors. None of these calls waits. */
import { closeSync, lstatSync, rmSync } from 'node:fs';
import { EAGAIN, EINTR, SystemError } from './errno.ts';
import { check, libc, MSG_DONTWAIT, NativeMemory } from './libc.ts';

const AF_UNIX = 1;
const SOCK_SEQPACKET_NONBLOCK_CLOEXEC = 5 | 0x80800;
const SOCK_NONBLOCK_CLOEXEC = 0x80800;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const ECONNREFUSED = 111;
const EADDRINUSE = 98;
const ENOTSOCK = 88;

/** struct sockaddr_un: family u16, path of 108 B with its zero. */
const PATH_BYTES_MAX = 107;
const SOCKADDR_BYTES = 110;

/** struct msghdr: name, namelen, iov, iovlen, control, controllen, flags, at multiples of 8. */
const MSGHDR = 0;
const IOV = 64;
const CONTROL = 128;
/** Room for a few descriptors: more than any message has are closed by the kernel. */
const CONTROL_BYTES = 64;
const CMSG_HEADER = 16;
const DATA = 256;
/** Of a packet; what is longer is cut. */
const DATA_BYTES = 512;

const BACKLOG = 16;

export interface Packet {
  readonly bytes: Uint8Array;
  /** Descriptors that came with it, the receiver's to close. */
  readonly fds: readonly number[];
}

/**
 * Listens on a path, or in the abstract namespace of the network namespace with `@` before the name. A socket file that
 * nobody answers at is a dead process's, and is replaced.
 * @returns a non-blocking descriptor
 * @throws SystemError EADDRINUSE when somebody answers, ENOTSOCK when something else is there
 */
export function listenSeqpacket(path: string): number {
  const fd = socket();
  try {
    let errno = tryCall(fd, path, 'bind');
    if (errno === EADDRINUSE) {
      removeStale(path);
      errno = tryCall(fd, path, 'bind');
    }
    if (errno !== 0) throw new SystemError(errno, `bind ${path}`);
    check(libc().listen(fd, BACKLOG), `listen ${path}`);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** @returns a non-blocking descriptor. @throws SystemError ENOENT, ECONNREFUSED (nobody listens), ENOTSOCK, EACCES */
export function connectSeqpacket(path: string): number {
  const fd = socket();
  try {
    const errno = tryCall(fd, path, 'connect');
    // What connect(2) says of a plain file, too.
    if (errno === ECONNREFUSED && !isSocket(path)) throw new SystemError(ENOTSOCK, `connect ${path}`);
    if (errno !== 0) throw new SystemError(errno, `connect ${path}`);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** @returns -1 when nobody waits to be accepted, or no more descriptors are to be had. */
export function acceptSeqpacket(fd: number): number {
  return libc().accept4(fd, 0, 0, SOCK_NONBLOCK_CLOEXEC);
}

/** What packets are sent from and received to. */
export class PacketBuffer {
  readonly #memory = new NativeMemory(DATA + DATA_BYTES);

  constructor() {
    const { view, address } = this.#memory;
    view.setBigUint64(MSGHDR + 16, BigInt(address + IOV), true);
    view.setBigUint64(MSGHDR + 24, 1n, true);
    view.setBigUint64(IOV, BigInt(address + DATA), true);
  }

  /**
   * @param passed A descriptor that goes with it, or -1. It stays the sender's.
   * @returns false when it couldn't be sent whole: the other end is gone, or takes no more.
   */
  send(fd: number, bytes: Uint8Array, passed: number): boolean {
    const { view, u8, address } = this.#memory;
    u8.set(bytes, DATA);
    view.setBigUint64(IOV + 8, BigInt(bytes.length), true);
    this.#control(passed < 0 ? 0 : CMSG_HEADER + 8);
    view.setBigUint64(CONTROL, BigInt(CMSG_HEADER + 4), true);
    view.setInt32(CONTROL + 8, SOL_SOCKET, true);
    view.setInt32(CONTROL + 12, SCM_RIGHTS, true);
    view.setInt32(CONTROL + CMSG_HEADER, passed, true);
    return libc().sendmsg(fd, address + MSGHDR, MSG_DONTWAIT | MSG_NOSIGNAL) === bytes.length;
  }

  /** @returns the next packet; null when there is none yet; undefined when the other end is gone. */
  receive(fd: number): Packet | null | undefined {
    const { view, u8, address } = this.#memory;
    view.setBigUint64(IOV + 8, BigInt(DATA_BYTES), true);
    this.#control(CONTROL_BYTES);
    const n = libc().recvmsg(fd, address + MSGHDR, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
      const errno = libc().errno();
      return errno === EAGAIN || errno === EINTR ? null : undefined;
    }
    const fds = this.#passed(Number(view.getBigUint64(MSGHDR + 40, true)));
    // A packet of no bytes can't be told from the end, and no protocol here has one.
    if (n === 0) {
      for (const passed of fds) closeSync(passed);
      return undefined;
    }
    return { bytes: u8.slice(DATA, DATA + n), fds };
  }

  free(): void {
    this.#memory.free();
  }

  #control(bytes: number): void {
    const { view, address } = this.#memory;
    view.setBigUint64(MSGHDR + 32, bytes === 0 ? 0n : BigInt(address + CONTROL), true);
    view.setBigUint64(MSGHDR + 40, BigInt(bytes), true);
  }

  #passed(controlBytes: number): number[] {
    const { view } = this.#memory;
    const fds: number[] = [];
    for (let at = 0; at + CMSG_HEADER <= controlBytes; ) {
      const length = Number(view.getBigUint64(CONTROL + at, true));
      if (length < CMSG_HEADER) break;
      const rights =
        view.getInt32(CONTROL + at + 8, true) === SOL_SOCKET &&
        view.getInt32(CONTROL + at + 12, true) === SCM_RIGHTS;
      for (let k = at + CMSG_HEADER; rights && k + 4 <= Math.min(at + length, controlBytes); k += 4) {
        fds.push(view.getInt32(CONTROL + k, true));
      }
      at += (length + 7) & ~7;
    }
    return fds;
  }
}

function socket(): number {
  return check(libc().socket(AF_UNIX, SOCK_SEQPACKET_NONBLOCK_CLOEXEC, 0), 'socket AF_UNIX');
}

/** @returns errno, 0 for success. */
function tryCall(fd: number, path: string, call: 'bind' | 'connect'): number {
  return withAddress(path, (address, bytes) => (libc()[call](fd, address, bytes) === 0 ? 0 : libc().errno()));
}

/** @throws SystemError EADDRINUSE, ENOTSOCK */
function removeStale(path: string): void {
  if (!isSocket(path)) throw new SystemError(ENOTSOCK, `bind ${path}`);
  const fd = socket();
  const errno = tryCall(fd, path, 'connect');
  closeSync(fd);
  if (errno !== ECONNREFUSED) throw new SystemError(EADDRINUSE, `bind ${path}`);
  rmSync(path, { force: true });
}

/** Abstract names are always sockets'. */
function isSocket(path: string): boolean {
  return path.startsWith('@') || (lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? true);
}

/** An abstract name ends where the address does, as DPDK has it. @throws SystemError ENAMETOOLONG */
function withAddress<T>(path: string, use: (address: number, bytes: number) => T): T {
  using memory = new NativeMemory(SOCKADDR_BYTES);
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > PATH_BYTES_MAX)
    throw new SystemError(36, `a socket's path has ${PATH_BYTES_MAX} B at most`);
  memory.view.setUint16(0, AF_UNIX, true);
  memory.u8.set(bytes, 2);
  const abstract = path.startsWith('@');
  if (abstract) memory.u8[2] = 0;
  return use(memory.address, 2 + bytes.length + (abstract ? 0 : 1));
}
