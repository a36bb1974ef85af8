/** TUN and TAP devices: opening one, and what it will offload. */
import { EBUSY, EPERM, libc, SystemError } from './libc.ts';

const O_RDWR_NONBLOCK_CLOEXEC = 0o2 | 0o4000 | 0o2000000;
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN = 1;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;
const IFREQ_BYTES = 40;

/** A name that the kernel takes: IFNAMSIZ less its zero byte. */
export const INTERFACE_NAME = /^[A-Za-z0-9_.-]{1,15}$/;

export interface TunTap {
  /** Non-blocking; each read and write carries one packet behind a 10-byte virtio header. */
  readonly fd: number;
  readonly name: string;
  /** Checksums and TCP segmentation may be left to the other side, both ways. */
  readonly offload: boolean;
}

/**
 * Makes the device `name`, which lives as long as its descriptor.
 * @param offload Ask for checksum and segmentation offload; older kernels may refuse.
 * @throws SystemError EPERM, EBUSY (the name is taken), ENOENT (no /dev/net/tun)
 */
export function openTunTap(kind: 'tun' | 'tap', name: string, offload: boolean): TunTap {
  const c = libc();
  const fd = c.open('/dev/net/tun', O_RDWR_NONBLOCK_CLOEXEC);
  if (fd < 0) throw new SystemError('open', c.errno(), '/dev/net/tun');
  const { at, view } = c.allocate(IFREQ_BYTES);
  for (let i = 0; i < name.length; i++) view.setUint8(i, name.charCodeAt(i));
  view.setUint16(16, (kind === 'tun' ? IFF_TUN : IFF_TAP) | IFF_NO_PI | IFF_VNET_HDR, true);
  if (c.ioctl(fd, TUNSETIFF, at) < 0) {
    const errno = c.errno();
    c.close(fd);
    throw new SystemError('TUNSETIFF', errno, name);
  }
  const taken = offload && c.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) === 0;
  return { fd, name, offload: taken };
}

/** Whether the errno of a failed open says that another program has the device. */
export function isTaken(error: unknown): boolean {
  return error instanceof SystemError && error.errno === EBUSY;
}

export function isForbidden(error: unknown): boolean {
  return error instanceof SystemError && error.errno === EPERM;
}
