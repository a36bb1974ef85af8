/** /dev/net/tun: a network interface of the host whose other end is a file descriptor (linux/if_tun.h). */
import { closeSync, constants, openSync } from 'node:fs';
import { EBUSY, EINVAL, SystemError } from './errno.ts';
import { check, libc, NativeMemory } from './libc.ts';

const TUN_PATH = '/dev/net/tun';
const TUNSETIFF = 0x400454ca;
const TUNGETFEATURES = 0x800454cf;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;

const IFF_TUN = 1;
const IFF_TAP = 2;
const IFF_MULTI_QUEUE = 0x100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/**
 * The kernel lets go of the descriptors of a process that was killed some time after it has ended, when an io_uring has
 * them: until then the interface is there, and busy.
 */
const BUSY_TRIES = 16;
const BUSY_PAUSE_MS = 20;
/** Refused with EBUSY when the interface exists. */
const IFF_TUN_EXCL = 0x8000;

const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;
/** Super-segments with CWR, which is the first segment's alone, too. */
const TUN_F_TSO_ECN = 8;
/** UDP super-segments, of both versions of IP or none (Linux 6.2). */
const TUN_F_USO = 0x20 | 0x40;
const TUN_F = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

/** struct ifreq: the name, then a union of which flags are the first u16. */
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;

/** Without the zero at its end. */
const INTERFACE_NAME_MAX = 15;

export type TunKind = 'tun' | 'tap';

export interface TunDevice {
  /** One a queue, non-blocking. One read or write is one packet, with a virtio header of `vnetBytes` in front. */
  readonly fds: readonly number[];
  /** Whether the host leaves checksums and segmentation to us. */
  readonly offload: boolean;
  /** Whether it does so with UDP, too. */
  readonly udpSegments: boolean;
}

/** What is asked for; what was got is in the TunDevice. */
export interface TunRequest {
  /** Length of the virtio header, 10 or 12. */
  readonly vnetBytes: number;
  readonly offload: boolean;
  /** With more than one, the interface must not exist yet: a second process could otherwise take queues of ours. */
  readonly queues: number;
}

/**
 * Creates the interface, down and without addresses. It is not persistent: it goes when the last descriptor is closed,
 * however the process ends.
 * @throws Error of node:fs, SystemError
 */
export function createTun(
  name: string,
  kind: TunKind,
  { vnetBytes, offload, queues }: TunRequest,
): TunDevice {
  const fds: number[] = [];
  try {
    const flags = (kind === 'tun' ? IFF_TUN : IFF_TAP) | IFF_NO_PI | IFF_VNET_HDR;
    if (queues === 1) fds.push(openQueue(name, flags));
    else {
      fds.push(openQueue(name, flags | IFF_MULTI_QUEUE | IFF_TUN_EXCL));
      while (fds.length < queues) fds.push(openQueue(name, flags | IFF_MULTI_QUEUE));
    }
    // These are the interface's, whichever queue they are said to.
    using memory = new NativeMemory(4);
    memory.view.setInt32(0, vnetBytes, true);
    check(libc().ioctl(fds[0], TUNSETVNETHDRSZ, memory.address), 'ioctl TUNSETVNETHDRSZ');
    const udpSegments = offload && setOffload(fds[0], TUN_F | TUN_F_USO);
    return { fds, offload: udpSegments || (offload && setOffload(fds[0], TUN_F)), udpSegments };
  } catch (error) {
    for (const fd of fds) closeSync(fd);
    throw error;
  }
}

function openQueue(name: string, flags: number): number {
  const fd = openSync(TUN_PATH, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    using memory = new NativeMemory(IFREQ_BYTES);
    new TextEncoder().encodeInto(name, memory.u8.subarray(0, INTERFACE_NAME_MAX));
    memory.view.setUint16(IFREQ_FLAGS, flags, true);
    setInterfaceOf(fd, name, memory.address);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** @param request A struct ifreq. @throws SystemError */
function setInterfaceOf(fd: number, name: string, request: number): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 1; libc().ioctl(fd, TUNSETIFF, request) === -1; tries++) {
    const errno = libc().errno();
    if (errno !== EBUSY || tries === BUSY_TRIES) throw new SystemError(errno, `ioctl TUNSETIFF ${name}`);
    Atomics.wait(pause, 0, 0, BUSY_PAUSE_MS);
  }
}

/** Whether the device node opens and answers; creates nothing. @throws Error of node:fs, SystemError */
export function tryTun(): void {
  const fd = openSync(TUN_PATH, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    using memory = new NativeMemory(4);
    check(libc().ioctl(fd, TUNGETFEATURES, memory.address), 'ioctl TUNGETFEATURES');
  } finally {
    closeSync(fd);
  }
}

/** What to do about an error of the above, or '' when that depends. */
export function tunAdvice(code: string): string {
  switch (code) {
    case 'EPERM':
      return 'run as root, or in a network namespace of your own: unshare -Urn';
    case 'EACCES':
      return `run as root, or chmod 666 ${TUN_PATH} (as most systems have it) and unshare -Urn`;
    case 'ENOENT':
      return `there is no ${TUN_PATH}: modprobe tun, or start the container with --device ${TUN_PATH}`;
    case 'ENODEV':
    case 'ENXIO':
      return 'the kernel lacks the tun module: modprobe tun';
    case 'EBUSY':
      return 'another program has an interface of this name open: end it, or take another name';
    case 'EINVAL':
      return 'an interface of another kind has this name: take another name';
    default:
      return '';
  }
}

/** @returns false when this kernel knows not all of them. */
function setOffload(fd: number, features: number): boolean {
  const c = libc();
  if (c.ioctl(fd, TUNSETOFFLOAD, features) === 0) return true;
  const errno = c.errno();
  if (errno === EINVAL) return false;
  throw new SystemError(errno, 'ioctl TUNSETOFFLOAD');
}
