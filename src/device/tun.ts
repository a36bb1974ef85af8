/**
 * TUN and TAP: a network interface of the host whose far end is this port. One read(2) or write(2) is one frame,
 * straight from or to the arena, with a virtio header in front by which checksums and segmentation are left undone
 * between the host and us: a super-segment of 64 KiB crosses as one frame.
 */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { type Arena, ArenaFullError } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_MORE,
  FRAME_SEGMENT,
  Ring,
} from '../memory/ring.ts';
import { EAGAIN, EBADFD, EINTR, errorCode, SystemError } from '../os/errno.ts';
import { addAddress, setInterface } from '../os/interface.ts';
import { type Libc, libc } from '../os/libc.ts';
import { createTun, type TunDevice, type TunKind, tunAdvice } from '../os/tuntap.ts';
import { macHigh, macIsMulticast, parseCidr } from '../wire/address.ts';
import {
  createFrames,
  emptyRing,
  FRAME_HEADROOM,
  fillRing,
  framesArenaBytes,
  ringArenaBytes,
} from './frames.ts';
import { type Capabilities, PLAIN, type Port, PortError, portCounters } from './port.ts';
import {
  VIRTIO_HEADER_BYTES,
  VIRTIO_MALFORMED,
  virtioDecode,
  virtioEncode,
  virtioSegmentBytes,
} from './virtio-header.ts';

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
  /** For the host's side, with prefix lengths: `10.0.0.1/24`, `fd00::1/64`. */
  readonly hostAddresses?: readonly string[];
  /** For 'tap': our own hardware address, 6 bytes; a random, locally administered one unless told. */
  readonly mac?: Uint8Array;
  /** Where the buffers come from, two for each slot; a pool of its own unless told, or when that one's are too small. */
  readonly pool?: FramePool;
}

/** RFC 791 3.2 */
const MTU_MIN = 68;
const MTU_DEFAULT = 1500;
/** The length field of IP. */
const IP_BYTES_MAX = 65_535;
const ETHER_BYTES = 14;
/** An Ethernet header with a VLAN tag. Room for it is more than any frame takes, so a full buffer is a cut one. */
const LINK_BYTES_MAX = 18;

// V8 folds a module's own constants, not imported ones.
const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const HEADER_BYTES = VIRTIO_HEADER_BYTES;
const MALFORMED = VIRTIO_MALFORMED;
const MORE = FRAME_MORE;
const SEGMENT = FRAME_SEGMENT;

/**
 * Creates the interface, gives it its addresses and brings it up. It goes with `close`, or when the process ends,
 * however it ends. Carves both rings and their buffers from the arena, for good.
 *
 * Buffers swapped into the port's rings need VIRTIO_HEADER_BYTES of their own before the frame.
 *
 * @throws PortError `EPERM`, `EACCES`, `ENOENT` (no /dev/net/tun), `EBUSY` (name taken), `EINVAL` (bad option),
 *   `ERR_UNSUPPORTED_PLATFORM`, `ERR_NO_FFI`, and what else the kernel says; its message tells what to do
 * @throws ArenaFullError
 */
export function openTun(arena: Arena, options: TunOptions): Port {
  const { name, kind, mtu = MTU_DEFAULT, offload = true, slots, hostAddresses = [] } = options;
  const mac = checkOptions(options, mtu);
  const what = `${kind} device ${name}`;
  let device: TunDevice;
  try {
    device = createTun(name, kind, HEADER_BYTES, offload);
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
    };
    const count = slots ?? slotsDefault(device.offload);
    return new TunPort(arena, `${kind}:${name}`, device.fd, capabilities, count, options.pool);
  } catch (error) {
    closeSync(device.fd);
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

class TunPort implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters = portCounters();
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool: FramePool;
  readonly rxTimes = null;
  readonly fd: number;
  onArrival: () => void = () => {};
  readonly #libc: Libc;
  /** Where the arena's offset 0 is in memory. Holds as long as `arena` does. */
  readonly #base: number;
  readonly #ether: boolean;
  /** First tx slot not taken yet. */
  #taken = 0;
  /** Inside a frame of several descriptors, all of which are dropped. */
  #chained = false;
  #closed = false;

  constructor(
    arena: Arena,
    name: string,
    fd: number,
    capabilities: Capabilities,
    slots: number,
    pool: FramePool | undefined,
  ) {
    this.name = name;
    this.arena = arena;
    this.fd = fd;
    this.capabilities = capabilities;
    this.#libc = libc();
    this.#base = this.#libc.addressOf(arena.u8);
    this.#ether = capabilities.link === 'ether';
    this.rx = new Ring(arena, `${name} rx`, slots);
    this.tx = new Ring(arena, `${name} tx`, slots);
    this.frameBytes = frameBytesOf(capabilities.segmentBytesMax > 0, capabilities.mtu);
    const fits = pool !== undefined && pool.frameBytes - FRAME_HEADROOM >= this.frameBytes;
    this.pool = fits ? pool : createFrames(arena, `${name} frames`, 2 * slots, this.frameBytes);
    // So that the IP header is at a multiple of 16.
    const headroom = this.#ether ? FRAME_HEADROOM - ETHER_BYTES : FRAME_HEADROOM;
    fillRing(this.rx, this.pool, headroom);
    fillRing(this.tx, this.pool, headroom);
    this.tx.tail = slots;
  }

  /** @throws PortError ENODEV when the interface was removed */
  rxSync(): number {
    const { rx, fd, counters } = this;
    if (this.#closed) return 0;
    const { m } = rx;
    const { view } = this.arena;
    const room = this.frameBytes + HEADER_BYTES;
    const free = (rx.slots - rx.available) | 0;
    let tail = rx.tail;
    let bytes = 0;
    let dropped = 0;
    // A frame that is dropped leaves its slot free, but counts as taken: a flood of them ends, too.
    for (let i = 0; i < free; i++) {
      const slot = rx.slot(tail);
      const at = m[slot + AT];
      counters.syscalls++;
      const n = this.#libc.read(fd, this.#base + at - HEADER_BYTES, room);
      if (n < 0) {
        this.#refused('read');
        break;
      }
      const length = n - HEADER_BYTES;
      const flags = length > 0 && n < room ? virtioDecode(view, at, length) : MALFORMED;
      if (flags === MALFORMED) {
        dropped++;
        continue;
      }
      m[slot + LENGTH] = length;
      m[slot + FLAGS] = flags;
      m[slot + AUX] = (flags & SEGMENT) !== 0 ? virtioSegmentBytes(view, at) : 0;
      bytes += length;
      tail = (tail + 1) | 0;
    }
    counters.rxFrames += (tail - rx.tail) | 0;
    counters.rxBytes += bytes;
    counters.rxDropped += dropped;
    rx.tail = tail;
    return rx.available;
  }

  /** @throws PortError ENODEV when the interface was removed */
  txSync(): number {
    const { tx, fd, counters, frameBytes } = this;
    if (this.#closed) return 0;
    const { m } = tx;
    const { view } = this.arena;
    let taken = this.#taken;
    let frames = 0;
    let bytes = 0;
    for (; taken !== tx.head; taken = (taken + 1) | 0) {
      const slot = tx.slot(taken);
      const at = m[slot + AT];
      const length = m[slot + LENGTH];
      const flags = m[slot + FLAGS];
      const whole = !this.#chained && (flags & MORE) === 0;
      this.#chained = (flags & MORE) !== 0;
      const good = whole && length > 0 && length <= frameBytes;
      if (!good || !virtioEncode(view, at, length, flags, m[slot + AUX], this.#ether)) {
        counters.txDropped++;
        continue;
      }
      counters.syscalls++;
      if (this.#libc.write(fd, this.#base + at - HEADER_BYTES, length + HEADER_BYTES) < 0) {
        // EAGAIN: the host's queue is full, the rest waits for the next sync.
        if (this.#refused('write')) break;
        counters.txDropped++;
        continue;
      }
      frames++;
      bytes += length;
    }
    counters.txFrames += frames;
    counters.txBytes += bytes;
    this.#taken = taken;
    tx.tail = (taken + tx.slots) | 0;
    return tx.available;
  }

  /** The interface disappears from the host. A Poller that watches `fd` must be closed before. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.rx.head = this.rx.tail;
    this.tx.head = this.tx.tail;
    emptyRing(this.rx, this.pool);
    emptyRing(this.tx, this.pool);
    closeSync(this.fd);
  }

  /** After a failed call. @returns whether to try again at the next sync; otherwise (EIO: it's down) the frame is lost */
  #refused(call: string): boolean {
    const errno = this.#libc.errno();
    if (errno === EBADFD) {
      const cause = new SystemError(errno, call);
      throw new PortError(
        'ENODEV',
        `the interface of ${this.name} was removed: close the port and open another`,
        { cause },
      );
    }
    return errno === EAGAIN || errno === EINTR;
  }
}

/** @returns the port's hardware address. @throws PortError EINVAL */
function checkOptions({ name, kind, hostAddresses = [], mac }: TunOptions, mtu: number): Uint8Array | null {
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

/** What the kernel or the C library refused; other errors pass as they are. */
function asPortError(error: unknown, what: string, advice: string): unknown {
  const code = errorCode(error);
  if (!(error instanceof Error) || code === '' || error instanceof ArenaFullError) return error;
  return new PortError(code, `${what}: ${error.message}${advice === '' ? '' : `; ${advice}`}`, {
    cause: error,
  });
}
