/**
 * TUN (IP packets) and TAP (Ethernet frames): the host's stack is at the other end. Frames cross by read(2) and
 * write(2) straight from the slots' buffers, behind a virtio header, so that checksums and the cutting of
 * super-segments are left to whoever needs them: a 64 KiB segment passes as one.
 *
 *     slot ──► headroom │ virtio header 10 B │ frame …
 *                                            └─ DESC_AT
 */
import { randomFillSync } from 'node:crypto';
import type { Arena } from '../memory/arena.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  FRAME_SEGMENT,
  Ring,
} from '../memory/ring.ts';
import { interfaceAddAddress, interfaceSetMtu, interfaceSetUp } from '../os/interface.ts';
import { EAGAIN, EINTR, type Libc, libc, SystemError } from '../os/libc.ts';
import { INTERFACE_NAME, isForbidden, isTaken, openTunTap, type TunTap } from '../os/tuntap.ts';
import { parseCidr } from '../wire/address.ts';
import { type Capabilities, type Port, type PortCounters, PortError } from './port.ts';

const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const CHECKSUM_FILL = FRAME_CHECKSUM_FILL;
const CHECKSUM_GOOD = FRAME_CHECKSUM_GOOD;
const SEGMENT = FRAME_SEGMENT;

// struct virtio_net_hdr, host byte order: flags u8, gso_type u8, hdr_len, gso_size, csum_start, csum_offset u16.
const VNET_BYTES = 10;
const VNET_F_NEEDS_CSUM = 1;
const VNET_F_DATA_VALID = 2;
const GSO_NONE = 0;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;

const ETHER_BYTES = 14;
/** A super-segment's IP packet has at most 65,535 bytes. */
const SUPER_BYTES = 65_535;
/** Room before a frame: the virtio header, and IP headers at an even address. */
const HEADROOM = 64;
const SLOTS_OFFLOAD = 64;
const SLOTS_PLAIN = 256;

export interface TunOptions {
  readonly kind: 'tun' | 'tap';
  readonly name: string;
  /** Largest IP packet, bytes; 1500 unless told. */
  readonly mtu?: number;
  /** Leave checksums and segmentation to the kernel, both ways; on unless told. */
  readonly offload?: boolean;
  /** Slots of each ring, a power of two. */
  readonly slots?: number;
  /** CIDR addresses that the host gets on its side. */
  readonly hostAddresses?: readonly string[];
  /** TAP: our hardware address, 6 bytes; random and locally administered unless told. */
  readonly mac?: Uint8Array;
}

/** How many bytes of arena a device takes at most. */
export function tunArenaBytes(offload: boolean, mtu: number): number {
  return offload ? 2 * SLOTS_OFFLOAD * strideOf(true, mtu) : 2 * SLOTS_PLAIN * strideOf(false, mtu);
}

function strideOf(offload: boolean, mtu: number): number {
  const bytes = HEADROOM + ETHER_BYTES + (offload ? SUPER_BYTES : mtu);
  // A whole number of cache lines, an odd one, so that frames don't share cache sets.
  const lines = Math.ceil(bytes / 64);
  return (lines | 1) * 64;
}

/**
 * Makes a TUN or TAP device with its host side configured and up. It is gone when the port is closed, or when the
 * process ends, however that happens.
 * @throws PortError ERR_PORT_NAME, EPERM, EBUSY, ENOENT and others, each with what to do
 */
export function openTun(arena: Arena, options: TunOptions): Port {
  const { kind, name, mtu = 1500, offload = true, hostAddresses = [] } = options;
  if (!INTERFACE_NAME.test(name)) {
    throw new PortError(
      'ERR_PORT_NAME',
      `${name}: an interface name has 1 to 15 letters, digits, "_", "-" or "."`,
    );
  }
  const tuntap = open(kind, name, offload);
  try {
    for (const cidr of hostAddresses) addHostAddress(name, cidr);
    interfaceSetMtu(name, mtu);
    interfaceSetUp(name, true);
    return new TunPort(arena, tuntap, options, mtu);
  } catch (error) {
    libc().close(tuntap.fd);
    if (error instanceof SystemError)
      throw new PortError(error.code, `${kind}:${name} can't be configured: ${error.message}`, {
        cause: error,
      });
    throw error;
  }
}

function open(kind: 'tun' | 'tap', name: string, offload: boolean): TunTap {
  try {
    return openTunTap(kind, name, offload);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const port = `${kind}:${name}`;
    if (isForbidden(error)) {
      throw new PortError(
        'EPERM',
        `${port} needs the right to make devices: run as root, or in a namespace of your own (unshare -Urn)`,
        { cause: error },
      );
    }
    if (isTaken(error)) {
      throw new PortError('EBUSY', `${name} is in use by another program; end it, or take another name`, {
        cause: error,
      });
    }
    if (error.code === 'ENOENT' || error.code === 'ENODEV') {
      throw new PortError(
        error.code,
        `${port} needs /dev/net/tun: load the module tun, or give the container the device`,
        { cause: error },
      );
    }
    if (error.code === 'EINVAL') {
      throw new PortError('EINVAL', `${name} exists and is no ${kind} device; take another name`, {
        cause: error,
      });
    }
    throw new PortError(error.code, `${port} can't be opened: ${error.message}`, { cause: error });
  }
}

function addHostAddress(name: string, text: string): void {
  const cidr = parseCidr(text);
  const words = cidr.family === 4 ? [cidr.address] : Array.from(cidr.address);
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, word] of words.entries()) view.setInt32(4 * i, word, false);
  interfaceAddAddress(name, bytes, cidr.length);
}

class TunPort implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters: PortCounters = {
    rxFrames: 0,
    rxBytes: 0,
    rxDropped: 0,
    txFrames: 0,
    txBytes: 0,
    txDropped: 0,
  };
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly fd: number;
  onArrival: () => void = () => {};
  readonly #c: Libc;
  readonly #m: Int32Array;
  readonly #view: DataView;
  /** Address of the arena's first byte. */
  readonly #base: number;
  readonly #ether: boolean;
  /** Next rx slot to read into; next tx slot to write. Free-running. */
  #filled = 0;
  #sent = 0;
  #closed = false;

  constructor(arena: Arena, tuntap: TunTap, options: TunOptions, mtu: number) {
    const { kind } = options;
    const { offload } = tuntap;
    const stride = strideOf(offload, mtu);
    const slots = options.slots ?? (offload ? SLOTS_OFFLOAD : SLOTS_PLAIN);
    this.name = `${kind}:${tuntap.name}`;
    this.arena = arena;
    this.fd = tuntap.fd;
    this.#ether = kind === 'tap';
    this.frameBytes = stride - HEADROOM;
    this.capabilities = {
      link: kind === 'tap' ? 'ether' : 'ip',
      mtu,
      mac: kind === 'tap' ? (options.mac ?? randomMac()) : null,
      txChecksum: offload,
      rxChecksum: offload,
      segmentBytesMax: offload ? SUPER_BYTES + (kind === 'tap' ? ETHER_BYTES : 0) : 0,
    };
    this.#c = libc();
    this.#m = arena.i32;
    this.#view = arena.view;
    this.#base = this.#c.addressOf(arena.u8);
    this.rx = new Ring(arena, `${this.name} rx`, slots);
    this.tx = new Ring(arena, `${this.name} tx`, slots);
    const frames = arena.carve(`${this.name} frames`, 2 * slots * stride);
    for (let i = 0; i < slots; i++) {
      this.#m[this.rx.slot(i) + AT] = frames + i * stride + HEADROOM;
      this.#m[this.tx.slot(i) + AT] = frames + (slots + i) * stride + HEADROOM;
    }
    this.tx.tail = slots;
  }

  rxSync(): number {
    if (this.#closed) return 0;
    const m = this.#m;
    const rx = this.rx;
    const end = (rx.head + rx.slots) | 0;
    while (this.#filled !== end) {
      const d = rx.slot(this.#filled);
      const at = m[d + AT];
      const n = this.#c.read(this.fd, this.#base + at - VNET_BYTES, VNET_BYTES + this.frameBytes);
      if (n < 0) {
        if (this.#c.errno() === EINTR) continue;
        break;
      }
      if (!this.#accept(d, at, n - VNET_BYTES)) continue;
      this.#filled = (this.#filled + 1) | 0;
    }
    rx.tail = this.#filled;
    return rx.available;
  }

  /** Turns the virtio header into the descriptor's flags. @returns false when the frame is no use. */
  #accept(d: number, at: number, length: number): boolean {
    if (length <= 0 || length > this.frameBytes) {
      this.counters.rxDropped++;
      return false;
    }
    const m = this.#m;
    const view = this.#view;
    const flags = view.getUint8(at - VNET_BYTES);
    m[d + LENGTH] = length;
    // A checksum that is still to be filled in has never been on a wire.
    m[d + FLAGS] = (flags & (VNET_F_NEEDS_CSUM | VNET_F_DATA_VALID)) !== 0 ? CHECKSUM_GOOD : 0;
    m[d + AUX] =
      view.getUint8(at - VNET_BYTES + 1) === GSO_NONE ? 0 : view.getUint16(at - VNET_BYTES + 4, true);
    this.counters.rxFrames++;
    this.counters.rxBytes += length;
    return true;
  }

  txSync(): number {
    const tx = this.tx;
    while (this.#sent !== tx.head && !this.#closed) {
      const d = tx.slot(this.#sent);
      const at = this.#m[d + AT];
      const length = this.#m[d + LENGTH];
      this.#describe(d, at);
      const n = this.#c.write(this.fd, this.#base + at - VNET_BYTES, VNET_BYTES + length);
      if (n < 0) {
        const errno = this.#c.errno();
        if (errno === EINTR) continue;
        if (errno === EAGAIN) break;
        // The interface is down, or the kernel found the frame wrong: lost, as on a cable that is out.
        this.counters.txDropped++;
      } else {
        this.counters.txFrames++;
        this.counters.txBytes += length;
      }
      this.#sent = (this.#sent + 1) | 0;
    }
    tx.tail = (this.#sent + tx.slots) | 0;
    return tx.available;
  }

  /** Writes the virtio header that says what the kernel is to complete. */
  #describe(d: number, at: number): void {
    const view = this.#view;
    const flags = this.#m[d + FLAGS];
    const header = at - VNET_BYTES;
    view.setInt32(header, 0, true);
    view.setInt32(header + 4, 0, true);
    view.setInt16(header + 8, 0, true);
    if ((flags & (CHECKSUM_FILL | SEGMENT)) === 0) return;
    const ip = this.#ether ? ETHER_BYTES : 0;
    const v4 = view.getUint8(at + ip) >> 4 === 4;
    const l4 = ip + (v4 ? (view.getUint8(at + ip) & 15) << 2 : 40);
    const tcp = view.getUint8(at + ip + (v4 ? 9 : 6)) === 6;
    view.setUint8(header, VNET_F_NEEDS_CSUM);
    view.setUint16(header + 6, l4, true);
    view.setUint16(header + 8, tcp ? 16 : 6, true);
    if ((flags & SEGMENT) === 0) return;
    view.setUint8(header + 1, v4 ? GSO_TCPV4 : GSO_TCPV6);
    view.setUint16(header + 2, l4 + ((view.getUint8(at + l4 + 12) >> 4) << 2), true);
    view.setUint16(header + 4, this.#m[d + AUX], true);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#c.close(this.fd);
  }
}

function randomMac(): Uint8Array {
  const mac = randomFillSync(new Uint8Array(6));
  mac[0] = (mac[0] & 0xfc) | 2;
  return mac;
}
