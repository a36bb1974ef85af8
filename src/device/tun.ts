/**
 * TUN and TAP: a network interface of the host whose far end is this port. One read(2) or write(2) is one frame,
 * straight from or to the arena, with a virtio header in front by which checksums and segmentation are left undone
 * between the host and us: a super-segment of 64 KiB crosses as one frame. tun-port.ts moves them.
 */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { errorCode } from '../os/errno.ts';
import { addAddress, setInterface } from '../os/interface.ts';
import { createTun, type TunDevice, type TunKind, tunAdvice } from '../os/tuntap.ts';
import { macHigh, macIsMulticast, parseCidr } from '../wire/address.ts';
import { framesArenaBytes, ringArenaBytes } from './frames.ts';
import { type Capabilities, PLAIN, PortError } from './port.ts';
import { asPortError } from './port-error.ts';
import { TunPort } from './tun-port.ts';
import { VIRTIO_HEADER_BYTES } from './virtio-header.ts';

export interface TunOptions {
  /** Of the host's interface: 1 to 15 letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  /** `tun`: IP packets. `tap`: Ethernet frames. */
  readonly kind: TunKind;
  /** Largest IP packet, bytes, of both sides; 1500 unless told. */
  readonly mtu?: number;
  /** Leave checksums and segmentation undone; on unless told, off when the kernel can't. */
  readonly offload?: boolean;
  /** Slots of each ring, a power of two; 64 with offload, whose buffers are of 64 KiB, otherwise 256. */
  readonly slots?: number;
  /**
   * Of the interface, 1 to 16; 1 unless told. A flow's frames leave by one queue, chosen by its addresses and ports, and
   * Linux sends what answers it by the same. All share the port's two rings.
   */
  readonly queues?: number;
  /** For the host's side, with prefix lengths: `10.0.0.1/24`, `fd00::1/64`. */
  readonly hostAddresses?: readonly string[];
  /** For 'tap': our own hardware address, 6 bytes; a random, locally administered one unless told. */
  readonly mac?: Uint8Array;
  /** Where the buffers come from, two for each slot; a pool of its own unless told, or when that one's are too small. */
  readonly pool?: FramePool;
  /** Batches by io_uring; on unless told, off where it is refused. */
  readonly ioUring?: boolean;
}

/** RFC 791 3.2 */
const MTU_MIN = 68;
const MTU_DEFAULT = 1500;
/** The length field of IP. */
const IP_BYTES_MAX = 65_535;
const ETHER_BYTES = 14;
/** An Ethernet header with a VLAN tag. Room for it is more than any frame takes, so a full buffer is a cut one. */
const LINK_BYTES_MAX = 18;
/** Each is a call or more a sync. */
const QUEUES_MAX = 16;

/**
 * Creates the interface, gives it its addresses and brings it up. It goes with `close`, or when the process ends,
 * however it ends. Carves both rings and their buffers from the arena, for good. The thread that opens the port uses it.
 *
 * Buffers swapped into the port's rings need VIRTIO_HEADER_BYTES of their own before the frame.
 *
 * @throws PortError `EPERM`, `EACCES`, `ENOENT` (no /dev/net/tun), `EBUSY` (name taken), `EINVAL` (bad option),
 *   `ERR_UNSUPPORTED_PLATFORM`, `ERR_NO_FFI`, and what else the kernel says; its message tells what to do
 * @throws ArenaFullError
 */
export function openTun(arena: Arena, options: TunOptions): TunPort {
  const { name, kind, mtu = MTU_DEFAULT, offload = true, slots, queues = 1, hostAddresses = [] } = options;
  const mac = checkOptions(options, mtu, queues);
  const what = `${kind} device ${name}`;
  let device: TunDevice;
  try {
    device = createTun(name, kind, { vnetBytes: VIRTIO_HEADER_BYTES, offload, queues });
  } catch (error) {
    throw asPortError(error, what, tunAdvice(errorCode(error)));
  }
  try {
    setInterface(name, { mtu, up: true });
    for (const address of hostAddresses) addAddress(name, address);
    const capabilities: Capabilities = {
      ...PLAIN,
      link: kind === 'tap' ? 'ether' : 'ip',
      mtu,
      mac,
      txChecksum: device.offload,
      rxChecksum: device.offload,
      segmentBytesMax: device.offload ? IP_BYTES_MAX + (kind === 'tap' ? ETHER_BYTES : 0) : 0,
      segmentUdp: device.udpSegments,
      queues,
    };
    return new TunPort(arena, `${kind}:${name}`, device.fds, capabilities, {
      slots: slots ?? slotsDefault(device.offload),
      frameBytes: frameBytesOf(device.offload, mtu),
      pool: options.pool,
      ioUring: options.ioUring ?? true,
    });
  } catch (error) {
    for (const fd of device.fds) closeSync(fd);
    throw asPortError(error, what, '');
  }
}

/** How many bytes of arena a device carves, at most. */
export function tunArenaBytes(offload: boolean, mtu: number, slots: number = slotsDefault(offload)): number {
  return 2 * ringArenaBytes(slots) + framesArenaBytes(2 * slots, frameBytesOf(offload, mtu));
}

function slotsDefault(offload: boolean): number {
  return offload ? 64 : 256;
}

function frameBytesOf(offload: boolean, mtu: number): number {
  return (offload ? IP_BYTES_MAX : mtu) + LINK_BYTES_MAX;
}

/** @returns the port's hardware address. @throws PortError EINVAL */
function checkOptions(
  { name, kind, hostAddresses = [], mac }: TunOptions,
  mtu: number,
  queues: number,
): Uint8Array | null {
  if (!/^[\w.-]{1,15}$/.test(name) || name === '.' || name === '..') {
    throw new PortError(
      'EINVAL',
      `${JSON.stringify(name)} is no interface name: 1 to 15 letters, digits, . _ -`,
    );
  }
  const mtuMax = IP_BYTES_MAX - (kind === 'tap' ? ETHER_BYTES : 0);
  if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > mtuMax) {
    throw new PortError('EINVAL', `the mtu of ${name} must be ${MTU_MIN} to ${mtuMax} bytes, not ${mtu}`);
  }
  if (!Number.isInteger(queues) || queues < 1 || queues > QUEUES_MAX) {
    throw new PortError('EINVAL', `${name} may have 1 to ${QUEUES_MAX} queues, not ${queues}`);
  }
  for (const address of hostAddresses) checkCidr(address);
  if (kind === 'tun') return null;
  const own = mac ?? randomMac();
  if (own.length !== 6 || macIsMulticast(macHigh(own))) {
    throw new PortError(
      'EINVAL',
      `the hardware address of ${name} must be 6 bytes, of one host and not of a group`,
    );
  }
  return own;
}

function checkCidr(text: string): void {
  try {
    parseCidr(text);
  } catch (cause) {
    throw new PortError('EINVAL', `a host address is wrong: ${(cause as Error).message}`, { cause });
  }
}

/** IEEE 802c: locally administered, individual. */
function randomMac(): Uint8Array {
  const mac = new Uint8Array(randomBytes(6));
  mac[0] = (mac[0] & ~1) | 2;
  return mac;
}
