/**
 * AF_PACKET: an Ethernet interface of the host, shared with it. Frames are received from a ring that the kernel fills
 * (TPACKET_V2) and sent a batch at a time (sendmmsg); a virtio header before each leaves checksums and segmentation
 * undone, so that a local peer's super-segment of 64 KiB is one frame. Needs CAP_NET_RAW and nothing else.
 *
 *     interface ──► filter ──► the kernel's rings ──copy──► rx ring's buffers
 *                              (in the arena)
 *     interface ◄──────────────────copy (by the kernel)─── tx ring's buffers
 *
 * What was tried over veth (Linux 6.18, one core at 2.6 GHz, batches of 64):
 *
 *   - The copy to the buffers takes 3-25 ns of the 800 that a frame takes from port to port. In return buffers are the
 *     pool's, and may be exchanged with other ports'.
 *   - TPACKET_V3 hands frames over in blocks, and takes 100 ns less for each; but a block that isn't full comes after a
 *     millisecond (p50 1.0 ms, V2 4 us), which is too late for a stack.
 *   - PACKET_TX_RING: 660-760 ns a frame of 60-1514 B, sendmmsg 580-610. A frame that is delivered on the same machine is
 *     copied out of that ring all the same.
 */
import { createHash } from 'node:crypto';
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_MORE,
  FRAME_OUTGOING,
  FRAME_SEGMENT,
  type Ring,
} from '../memory/ring.ts';
import { EAGAIN, EINTR, ENOBUFS, ENXIO, errorCode } from '../os/errno.ts';
import { type InterfaceInfo, interfaceInfo } from '../os/interface.ts';
import { type Libc, libc, MSG_DONTWAIT, NativeMemory } from '../os/libc.ts';
import { packetAdvice, shareOut } from '../os/packet-socket.ts';
import { parseCidr, parseMac } from '../wire/address.ts';
import { createRings, emptyRings, framesArenaBytes, ringArenaBytes } from './frames.ts';
import { PacketQueue, QUEUE_ARENA_BYTES } from './packet-rings.ts';
import { type Capabilities, PLAIN, type Port, PortError, portCounters } from './port.ts';
import { asPortError } from './port-error.ts';
import { completeChecksum, Segmenter, VLAN_TAG_BYTES } from './segmentation.ts';
import {
  VIRTIO_HEADER_BYTES,
  VIRTIO_MALFORMED,
  virtioDecode,
  virtioEncode,
  virtioSegmentBytes,
} from './virtio-header.ts';

export interface PacketOptions {
  /** Of the interface, which is Ethernet and up. */
  readonly name: string;
  /** Largest IP packet, bytes, no more than the interface's; that unless told. */
  readonly mtu?: number;
  /** Leave checksums and segmentation undone; on unless told. */
  readonly offload?: boolean;
  /**
   * The stack's, with prefix lengths. Told, frames that can't concern them are left to the host; otherwise the port gets
   * all that the interface receives.
   */
  readonly addresses?: readonly string[];
  /**
   * Use the interface's hardware address, where the network takes no other (Wi-Fi, most clouds), instead of one of our
   * own. The host must not forward (net.ipv4.ip_forward): it gets our packets, too.
   */
  readonly hostMac?: boolean;
  /**
   * Receive what leaves the interface, too, marked FRAME_OUTGOING: for captures. What AF_PACKET sockets like ours send isn't
   * seen. false unless told.
   */
  readonly outgoing?: boolean;
  /** Sockets that the kernel spreads flows over, so that several of its cores may receive at once; 1 unless told. */
  readonly queues?: number;
  /** Slots of each ring, a power of two; 64 with offload, whose buffers are of 64 KiB, otherwise 256. */
  readonly slots?: number;
  /** Where the buffers come from, two for each slot; a pool of its own unless told, or when that one's are too small. */
  readonly pool?: FramePool;
}

const QUEUES_MAX = 16;
/** RFC 791 3.2 */
const MTU_MIN = 68;
/** The length field of IP. */
const IP_BYTES_MAX = 65_535;
/** An Ethernet header with a VLAN tag. */
const LINK_BYTES_MAX = 18;
/** struct tpacket2_hdr */
const STATUS = 0;
const WHOLE_LENGTH = 4;
const KEPT_LENGTH = 8;
const MAC_OFFSET = 12;
const SECONDS = 16;
const NANOSECONDS = 20;
const VLAN_TCI = 24;
const VLAN_TPID = 26;
/** Of the struct sockaddr_ll behind the header: PACKET_OUTGOING for what leaves. */
const PACKET_TYPE = 32 + 10;
const PACKET_OUTGOING = 4;
const STATUS_VLAN_VALID = 0x10;
const STATUS_VLAN_TPID_VALID = 0x40;
const ETHERTYPE_VLAN = 0x8100;

/** struct mmsghdr, of which iov is at 16 and iovlen at 24; struct iovec: base, length. */
const MESSAGE_BYTES = 64;
const MESSAGE_IOV = 16;
const MESSAGE_IOVLEN = 24;
const IOVEC_BYTES = 16;
const IOVEC_LENGTH = 8;

/** Syncs in a row that a full device, or one without a carrier, may hold a frame up; then it is lost. */
const REFUSALS_MAX = 64;
/** Empty syncs between two looks for an error. */
const GLANCE_MASK = 63;

// V8 folds a module's own constants, not imported ones.
const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const HEADER_BYTES = VIRTIO_HEADER_BYTES;
const MALFORMED = VIRTIO_MALFORMED;
const [FILL, MORE, OUTGOING, SEGMENT] = [FRAME_CHECKSUM_FILL, FRAME_MORE, FRAME_OUTGOING, FRAME_SEGMENT];
const TAG_BYTES = VLAN_TAG_BYTES;
const ADDRESSES_BYTES = 12;
const ETHER_BYTES = 14;

/**
 * Joins the interface. Its host goes on using it; the two don't see each other's packets (a switch, or another host, has
 * to return them). Other programs may join it too, and each gets every frame; captures on the host don't show what this
 * port sends, nor do the host's egress filters see it. It ends with `close`, or with the process.
 *
 * @throws PortError `ENODEV` (no such interface), `ENETDOWN` (it is down), `EPERM`, `EINVAL` (bad option, not Ethernet),
 *   `ENOMEM`, `ERR_UNSUPPORTED_PLATFORM`, `ERR_NO_FFI`, and what else the kernel says; its message tells what to do
 * @throws ArenaFullError
 */
export function openPacket(arena: Arena, options: PacketOptions): Port {
  const { name, queues = 1, outgoing = false } = options;
  if (!Number.isInteger(queues) || queues < 1 || queues > QUEUES_MAX)
    throw new PortError('EINVAL', `packet:${name} has 1 to ${QUEUES_MAX} queues, not ${queues}`);
  const on = usableInterface(name);
  const mtu = checkMtu(options, on);
  const mac = options.hostMac ? parseMac(on.mac) : ownMac(on.mac, options.addresses ?? []);
  const { addresses, hostMac = false } = options;
  const target = addresses === undefined ? null : { mac, shared: hostMac, addresses: ipv4Of(addresses) };
  const opened: PacketQueue[] = [];
  try {
    for (let i = 0; i < queues; i++) {
      const more = i > 0 ? null : target !== null && hostMac ? 'groups' : 'hosts';
      opened.push(new PacketQueue(arena, `packet:${name} queue ${i}`, on.index, target, more, outgoing));
    }
    if (queues > 1)
      for (const size of [0, 1])
        shareOut(
          opened.map(({ fds }) => fds[size]),
          outgoing,
        );
    return new PacketPort(arena, options, on.index, mtu, mac, opened);
  } catch (error) {
    for (const queue of opened) queue.close();
    throw asPortError(error, `packet:${name}`, packetAdvice(errorCode(error)));
  }
}

/** What a port carves at most, bytes. @param mtu As told, or the interface's. */
export function packetArenaBytes(options: PacketOptions): number {
  const { offload = true, queues = 1, slots = slotsDefault(offload) } = options;
  const mtu = options.mtu ?? usableInterface(options.name).mtu;
  const rings = queues * QUEUE_ARENA_BYTES + 2 * ringArenaBytes(slots);
  return rings + slots * 8 + framesArenaBytes(2 * slots, frameBytesOf(offload, mtu));
}

function slotsDefault(offload: boolean): number {
  return offload ? 64 : 256;
}

function frameBytesOf(offload: boolean, mtu: number): number {
  return (offload ? IP_BYTES_MAX : mtu) + LINK_BYTES_MAX;
}

/** @throws PortError */
function usableInterface(name: string): InterfaceInfo {
  let on: InterfaceInfo;
  try {
    on = interfaceInfo(name);
  } catch (error) {
    throw asPortError(error, `packet:${name}`, packetAdvice(errorCode(error)));
  }
  if (!on.ether) throw new PortError('EINVAL', `packet:${name} is no Ethernet interface: name one that is`);
  if (!on.up)
    throw new PortError('ENETDOWN', `the interface of packet:${name} is down: ip link set ${name} up`);
  return on;
}

function checkMtu({ name, mtu }: PacketOptions, on: InterfaceInfo): number {
  const most = Math.min(on.mtu, IP_BYTES_MAX - ETHER_BYTES);
  if (mtu === undefined) return most;
  if (Number.isInteger(mtu) && mtu >= MTU_MIN && mtu <= most) return mtu;
  throw new PortError(
    'EINVAL',
    `the mtu of packet:${name} must be ${MTU_MIN} to ${most} bytes, not ${mtu}: ip link set ${name} mtu N raises it`,
  );
}

/**
 * Of our own, so that the host's stack takes no notice of our packets, in which it would find ports that nobody has. The
 * same for the same addresses on the same interface, as neighbours remember it; IEEE 802c: locally administered.
 */
function ownMac(interfaceMac: string, addresses: readonly string[]): Uint8Array {
  const words = addresses.length > 0 ? [...addresses].sort() : [crypto.randomUUID()];
  const mac = new Uint8Array(
    createHash('sha256')
      .update([interfaceMac, ...words].join())
      .digest()
      .subarray(0, 6),
  );
  mac[0] = (mac[0] & ~1) | 2;
  return mac;
}

/** @throws PortError EINVAL */
function ipv4Of(addresses: readonly string[]): number[] {
  return addresses.flatMap((text) => {
    try {
      const cidr = parseCidr(text);
      return cidr.family === 4 ? [cidr.address] : [];
    } catch (cause) {
      throw new PortError('EINVAL', `an address of the stack is wrong: ${(cause as Error).message}`, {
        cause,
      });
    }
  });
}

class PacketPort implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters = portCounters();
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool: FramePool;
  readonly rxTimes: Float64Array;
  readonly fds: readonly number[];
  onArrival: () => void = () => {};
  readonly #libc: Libc;
  readonly #interface: string;
  readonly #index: number;
  readonly #offload: boolean;
  readonly #queues: readonly PacketQueue[];
  readonly #txFd: number;
  /** Where the arena's offset 0 is in memory. Holds as long as `arena` does. */
  readonly #base: number;
  /** A message for each tx slot, then their vectors. */
  readonly #messages: NativeMemory;
  readonly #vectors: number;
  readonly #lengthMax: number;
  readonly #segmenter: Segmenter;
  /** Of the frame that is being cut, the next piece to write; 0: none is. */
  #piece = 0;
  /** Whose turn it is to be read first. */
  #turn = 0;
  #emptySyncs = 0;
  /** First tx slot not taken yet. */
  #taken = 0;
  #refusals = 0;
  /** Inside a frame of several descriptors, all of which are dropped. */
  #chained = false;
  /** What `#cut` has written, bytes. */
  #cutBytes = 0;
  #gone = false;
  #closed = false;

  constructor(
    arena: Arena,
    options: PacketOptions,
    index: number,
    mtu: number,
    mac: Uint8Array,
    queues: readonly PacketQueue[],
  ) {
    const { name, offload = true, slots = slotsDefault(offload), pool } = options;
    this.name = `packet:${name}`;
    this.arena = arena;
    this.fds = queues.flatMap(({ fds }) => fds);
    this.capabilities = {
      ...PLAIN,
      link: 'ether',
      mtu,
      mac,
      txChecksum: offload,
      rxChecksum: offload,
      segmentBytesMax: offload ? IP_BYTES_MAX : 0,
      rxTimestamps: true,
      queues: queues.length,
    };
    this.#libc = libc();
    this.#interface = name;
    this.#index = index;
    this.#offload = offload;
    this.#queues = queues;
    this.#txFd = queues[0].fds[0];
    this.#base = this.#libc.addressOf(arena.u8);
    this.#lengthMax = mtu + LINK_BYTES_MAX;
    this.#segmenter = new Segmenter(arena);
    this.frameBytes = frameBytesOf(offload, mtu);
    const rings = createRings(arena, this.name, { slots, frameBytes: this.frameBytes, link: 'ether', pool });
    this.rx = rings.rx;
    this.tx = rings.tx;
    this.pool = rings.pool;
    const times = arena.carve(`${this.name} rx times`, slots * 8);
    this.rxTimes = new Float64Array(arena.memory.buffer, times, slots);
    this.#messages = new NativeMemory(slots * (MESSAGE_BYTES + IOVEC_BYTES));
    this.#vectors = slots * MESSAGE_BYTES;
    const { view, address } = this.#messages;
    for (let i = 0; i < slots; i++) {
      const vector = BigInt(address + this.#vectors + i * IOVEC_BYTES);
      view.setBigUint64(i * MESSAGE_BYTES + MESSAGE_IOV, vector, true);
      view.setUint32(i * MESSAGE_BYTES + MESSAGE_IOVLEN, 1, true);
    }
  }

  /** @throws PortError ENODEV when the interface was removed */
  rxSync(): number {
    if (this.#closed) return 0;
    if (this.#gone) throw this.#removed();
    const { rx } = this;
    const before = rx.tail;
    const queues = this.#queues;
    // A frame that waits for room to be cut goes on first.
    if (this.#piece === 0) this.#turn = (this.#turn + 1) % queues.length;
    for (let i = 0; i < queues.length && rx.available < rx.slots; i++) {
      const turn = (this.#turn + i) % queues.length;
      this.#receive(queues[turn]);
      if (this.#piece !== 0) this.#turn = turn;
    }
    if (rx.tail === before && (++this.#emptySyncs & GLANCE_MASK) === 0) this.#glance();
    return rx.available;
  }

  /** Takes what one queue has, as far as there is room. */
  #receive(queue: PacketQueue): void {
    const { rx, counters, frameBytes, rxTimes } = this;
    const { m } = rx;
    const { view, kernels } = this.arena;
    const mask = rx.slots - 1;
    const offload = this.#offload;
    let tail = rx.tail;
    let bytes = 0;
    // As many as the ring has at most: a flood of frames that are dropped ends, too.
    for (let budget = rx.slots; budget > 0 && ((tail - rx.head) | 0) < rx.slots; budget--) {
      const from = queue.next();
      if (from === 0) break;
      const status = m[(from + STATUS) >> 2];
      const frame = from + view.getUint16(from + MAC_OFFSET, true);
      let length = m[(from + WHOLE_LENGTH) >> 2];
      const time = (m[(from + SECONDS) >> 2] >>> 0) * 1e6 + m[(from + NANOSECONDS) >> 2] / 1000;
      const way = view.getUint8(from + PACKET_TYPE) === PACKET_OUTGOING ? OUTGOING : 0;
      let flags =
        m[(from + KEPT_LENGTH) >> 2] === length && length >= ETHER_BYTES
          ? virtioDecode(view, frame, length)
          : MALFORMED;
      if (flags !== MALFORMED && (flags & SEGMENT) !== 0 && !offload) {
        rx.tail = tail;
        const whole = this.#cut(frame, length, way, time);
        bytes += this.#cutBytes;
        tail = rx.tail;
        if (!whole) break;
        flags = 0;
      } else {
        const slot = rx.slot(tail);
        const to = m[slot + AT];
        const tag = (status & STATUS_VLAN_VALID) !== 0 ? TAG_BYTES : 0;
        if (length + tag > frameBytes) flags = MALFORMED;
        if (flags === MALFORMED) {
          counters.rxDropped++;
        } else {
          if (tag === 0) {
            kernels.copy(to, frame, length);
          } else {
            kernels.copy(to, frame, ADDRESSES_BYTES);
            const type =
              (status & STATUS_VLAN_TPID_VALID) !== 0
                ? view.getUint16(from + VLAN_TPID, true)
                : ETHERTYPE_VLAN;
            view.setUint16(to + ADDRESSES_BYTES, type, false);
            view.setUint16(to + ADDRESSES_BYTES + 2, view.getUint16(from + VLAN_TCI, true), false);
            kernels.copy(to + ADDRESSES_BYTES + TAG_BYTES, frame + ADDRESSES_BYTES, length - ADDRESSES_BYTES);
          }
          const segmentBytes = (flags & SEGMENT) !== 0 ? virtioSegmentBytes(view, frame) : 0;
          length += tag;
          if (!offload) {
            if ((flags & FILL) !== 0) completeChecksum(this.arena, to, length, true);
            flags = 0;
          }
          m[slot + LENGTH] = length;
          m[slot + FLAGS] = flags | way;
          m[slot + AUX] = segmentBytes;
          rxTimes[tail & mask] = time;
          bytes += length;
          tail = (tail + 1) | 0;
          counters.rxFrames++;
        }
      }
      counters.rxDropped += queue.release();
    }
    counters.rxBytes += bytes;
    rx.tail = tail;
  }

  /** Writes the pieces of a super-segment as far as there is room. @returns whether all are written, or it can't be cut */
  #cut(frame: number, length: number, flags: number, time: number): boolean {
    const { rx, counters, frameBytes } = this;
    const { m } = rx;
    const segmenter = this.#segmenter;
    this.#cutBytes = 0;
    if (this.#piece === 0) {
      const size = virtioSegmentBytes(this.arena.view, frame);
      if (!segmenter.begin(frame, length, size, true) || segmenter.pieceBytes > frameBytes) {
        counters.rxDropped++;
        return true;
      }
    }
    let i = this.#piece;
    for (; i < segmenter.pieces && rx.available < rx.slots; i++) {
      const slot = rx.slot(rx.tail);
      const bytes = segmenter.write(i, m[slot + AT]);
      m[slot + LENGTH] = bytes;
      m[slot + FLAGS] = flags;
      m[slot + AUX] = 0;
      this.rxTimes[rx.tail & (rx.slots - 1)] = time;
      this.#cutBytes += bytes;
      counters.rxFrames++;
      rx.tail = (rx.tail + 1) | 0;
    }
    const whole = i === segmenter.pieces;
    this.#piece = whole ? 0 : i;
    return whole;
  }

  /** @throws PortError ENODEV when the interface was removed */
  txSync(): number {
    if (this.#closed) return 0;
    if (this.#gone) throw this.#removed();
    const { tx } = this;
    while (this.#taken !== tx.head) {
      const queued = this.#queue();
      // Nothing could be sent of what was left.
      if (queued === 0) break;
      if (!this.#send(queued)) break;
    }
    tx.tail = (this.#taken + tx.slots) | 0;
    return tx.available;
  }

  /**
   * Describes the frames from `#taken` on to the kernel, up to the first that can't be sent; those at the very front are
   * dropped. @returns how many
   */
  #queue(): number {
    const { tx, counters, frameBytes } = this;
    const { m } = tx;
    const { view } = this.arena;
    const messages = this.#messages.view;
    const offload = this.#offload;
    let vector = this.#vectors;
    let n = 0;
    for (let i = this.#taken; i !== tx.head; i = (i + 1) | 0) {
      const slot = tx.slot(i);
      const at = m[slot + AT];
      const length = m[slot + LENGTH];
      const flags = m[slot + FLAGS];
      const aux = m[slot + AUX];
      const most = (flags & SEGMENT) !== 0 ? frameBytes : this.#lengthMax;
      const whole = !this.#chained && (flags & MORE) === 0;
      const good =
        whole && length >= ETHER_BYTES && length <= most && (offload || (flags & (FILL | SEGMENT)) === 0);
      if (!good || !virtioEncode(view, at, length, flags, aux, true)) {
        if (n > 0) break;
        this.#chained = (flags & MORE) !== 0;
        counters.txDropped++;
        this.#taken = (i + 1) | 0;
        continue;
      }
      const address = this.#base + at - HEADER_BYTES;
      messages.setUint32(vector, address >>> 0, true);
      messages.setUint32(vector + 4, (address / 0x1_0000_0000) | 0, true);
      messages.setUint32(vector + IOVEC_LENGTH, length + HEADER_BYTES, true);
      vector += IOVEC_BYTES;
      n++;
    }
    return n;
  }

  /** @returns false when the rest has to wait. @throws PortError ENODEV */
  #send(queued: number): boolean {
    const { tx, counters } = this;
    const { m } = tx;
    counters.syscalls++;
    const sent = this.#libc.sendmmsg(this.#txFd, this.#messages.address, queued, MSG_DONTWAIT);
    if (sent < 0) return this.#refused();
    this.#refusals = 0;
    let bytes = 0;
    for (let i = 0; i < sent; i++) bytes += m[tx.slot((this.#taken + i) | 0) + LENGTH];
    counters.txFrames += sent;
    counters.txBytes += bytes;
    this.#taken = (this.#taken + sent) | 0;
    return true;
  }

  /** The first of the frames wasn't sent. @returns false when it has to wait, true when it is lost */
  #refused(): boolean {
    const errno = this.#libc.errno();
    if (errno === ENXIO) throw this.#removed();
    if (errno === EAGAIN || errno === EINTR) return false;
    // The device is full, or has no carrier.
    if (errno === ENOBUFS && ++this.#refusals < REFUSALS_MAX) return false;
    this.#refusals = 0;
    this.counters.txDropped++;
    this.#taken = (this.#taken + 1) | 0;
    return true;
  }

  /** An interface that goes down polls as an error until somebody asks. @throws PortError ENODEV when it was removed */
  #glance(): void {
    this.counters.syscalls++;
    let failed = false;
    for (const queue of this.#queues) failed = queue.takeError() || failed;
    if (!failed) return;
    try {
      if (interfaceInfo(this.#interface).index === this.#index) return;
    } catch (error) {
      if (errorCode(error) !== 'ENODEV') throw error;
    }
    throw this.#removed();
  }

  #removed(): PortError {
    this.#gone = true;
    const message = `the interface of ${this.name} was removed: close the port and open another`;
    return new PortError('ENODEV', message);
  }

  /** A Poller that watches `fds` must be closed before. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    emptyRings(this, this.pool);
    for (const queue of this.#queues) queue.close();
    this.#messages.free();
  }
}
