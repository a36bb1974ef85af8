/**
 * AF_XDP: queues of a network interface as rings that are shared with the kernel, the frames in the port's own buffers.
 * An XDP program of ours (xdp-filter.ts) takes what is for us, before the host's stack sees it; the rest passes to the host.
 *
 *     queue 0 ─► fill, rx rings ─┐                      buffers given back go to the queues that lack some
 *     queue 1 ─► fill, rx rings ─┼─► rx ring of the port
 *     queue … ─► fill, rx rings ─┘
 *     first queue's tx ring ◄─────── tx ring of the port         completion ring ─► free tx slots
 *
 * **One rule for tx: all frames leave by the first queue**, in order, with one system call a batch. Received frames
 * keep their order within a queue, and so within a flow; the queues take turns in being looked at first.
 *
 * What is ours goes when the port is closed or the process ends, however it ends: sockets, program, link.
 */
import { closeSync } from 'node:fs';
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { EXCHANGE_FRAME } from '../memory/kernels/kernels.ts';
import {
  DESC_AT,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  FRAME_MORE,
  FRAME_SEGMENT,
  Ring,
} from '../memory/ring.ts';
import { attachXdp, createXskMap, loadXdpProgram, updateMap, type XdpMode } from '../os/bpf.ts';
import { EAGAIN, EBUSY, EINTR, ENETDOWN, ENOBUFS, errorCode, SystemError } from '../os/errno.ts';
import { type InterfaceInfo, interfaceInfo } from '../os/interface.ts';
import { type Libc, libc } from '../os/libc.ts';
import { LinkWatch } from '../os/link-watch.ts';
import {
  bindXsk,
  bindXskSharing,
  isZeroCopy,
  mapXskRing,
  openXsk,
  registerUmem,
  setBusyPoll,
  setTxBudget,
  TX_BUDGET_MIN,
  TX_BUFFERS_MAX,
  TX_METADATA_BYTES,
  TX_METADATA_CHECKSUM,
  TX_METADATA_OFFSET,
  TX_METADATA_START,
  unmapXskRing,
  XDP_PKT_CONTD,
  XDP_RING_NEED_WAKEUP,
  XDP_TX_METADATA,
  type XskRing,
  type XskRingKind,
  xskRingBytes,
  xskStatistics,
} from '../os/xsk.ts';
import { parseMac } from '../wire/address.ts';
import {
  createFrames,
  emptyRing,
  FRAME_HEADROOM,
  fillRing,
  framesArenaBytes,
  ringArenaBytes,
  SMALL_ROOM_BYTES,
} from './frames.ts';
import { checksumIsPartial } from './partial-checksum.ts';
import { type Capabilities, PLAIN, type Port, type PortCounters, PortError } from './port.ts';
import { checksumPlace } from './virtio-header.ts';
import { asXdpError } from './xdp-errors.ts';
import { xdpFilter } from './xdp-filter.ts';
import {
  checkInterface,
  checkOptions,
  LINK_BYTES_MAX,
  mtuOf,
  queuesOf,
  rxQueuesOrOne,
  type XdpOptions,
} from './xdp-options.ts';

export interface XdpPort extends Port {
  readonly mode: XdpMode;
  /** Frames cross without a copy. */
  readonly zeroCopy: boolean;
}

const SLOTS_DEFAULT = 512;
const ETHER_BYTES = 14;
const PAGE_BYTES = 4096;
const LINE = 64;
/** Kinds of devices whose other end may be this machine's kernel, which leaves checksums to them. */
const LOCAL_KINDS: readonly string[] = ['veth', 'netkit', 'tun'];
/** How often syncs look whether the interface is still as it was; a Poller wakes its user for that until they do. */
const LOOK_MASK = 1023;
/** Frames for one run of a device's interrupt work. */
const BUSY_POLL_BUDGET = 64;
const MSG_DONTWAIT = 0x40;

// V8 folds a module's own constants, not imported ones.
const [AT, LENGTH, FLAGS] = [DESC_AT, DESC_LENGTH, DESC_FLAGS];
const HEADROOM = FRAME_HEADROOM;
const MORE = FRAME_MORE;
const CHECKSUM_FILL = FRAME_CHECKSUM_FILL;
const SEGMENT = FRAME_SEGMENT;
/** What `xskSend` leaves to us. */
const UNUSUAL = MORE | CHECKSUM_FILL | SEGMENT;
const PARTIAL = FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL;
const CONTD = XDP_PKT_CONTD;
const METADATA = XDP_TX_METADATA;
const METADATA_BYTES = TX_METADATA_BYTES;
const NEED_WAKEUP = XDP_RING_NEED_WAKEUP;
const BUFFERS_MAX = TX_BUFFERS_MAX;
const FRAME = EXCHANGE_FRAME;

/**
 * Opens the interface's queues, and takes our packets from now on. The hardware address is the interface's own, and the
 * host keeps it, too. Carves rings and buffers from the arena, for good.
 *
 * @throws PortError `ENODEV` (no such interface), `ENETDOWN` (it is down), `EBUSY` (a queue or the interface's program
 *   is another's), `EPERM`, `ENOMEM` (locked memory), `EOPNOTSUPP` (kernel or interface can't), `EINVAL` (bad option),
 *   `ERR_UNSUPPORTED_PLATFORM`, `ERR_NO_FFI`; its message tells what to do
 * @throws ArenaFullError
 */
export function openXdp(arena: Arena, options: XdpOptions): XdpPort {
  const { name } = options;
  checkOptions(options);
  try {
    return new XdpDevice(arena, options, checkInterface(name, interfaceInfo(name)));
  } catch (error) {
    throw asXdpError(error, options);
  }
}

/** How many bytes of arena a device carves, at most. */
export function xdpArenaBytes(options: XdpOptions): number {
  const queues = options.queue === undefined ? (options.queues ?? rxQueuesOrOne(options.name)) : 1;
  const slots = options.slots ?? SLOTS_DEFAULT;
  const rings = queues * (xskRingBytes('rx', slots) + xskRingBytes('fill', slots));
  const tx = xskRingBytes('tx', slots) + queues * xskRingBytes('completion', slots);
  const frames = (queues + 1) * slots;
  return (
    2 * ringArenaBytes(slots) + rings + tx + framesArenaBytes(frames, SMALL_ROOM_BYTES) + lentBytes(frames)
  );
}

function lentBytes(frames: number): number {
  return frames + LINE;
}

function powerOfTwo(atLeast: number): number {
  return 2 ** Math.ceil(Math.log2(atLeast));
}

/** One queue's socket. Indices run freely. */
class Queue {
  readonly fd: number;
  readonly fill: XskRing;
  readonly rx: XskRing;
  fillProducer = 0;
  rxConsumer = 0;
  /** Buffers to give it, of its share. */
  lacks: number;

  constructor(fd: number, fill: XskRing, rx: XskRing, share: number) {
    this.fd = fd;
    this.fill = fill;
    this.rx = rx;
    this.lacks = share;
  }
}

class XdpDevice implements XdpPort {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters: PortCounters;
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool: FramePool;
  readonly rxTimes = null;
  readonly fds: readonly number[];
  readonly mode: XdpMode;
  readonly zeroCopy: boolean;
  onArrival: () => void = () => {};
  readonly #libc: Libc;
  readonly #interface: InterfaceInfo;
  readonly #interfaceName: string;
  readonly #queues: Queue[] = [];
  readonly #watch: LinkWatch;
  /** What to undo, in reverse order. */
  readonly #undo: (() => void)[] = [];
  /** The UMEM's start in the arena, and its buffers' size as a shift. */
  readonly #base: number;
  readonly #chunkShift: number;
  readonly #chunkMask: number;
  /** Where the arena has a byte for each buffer: 1 while the kernel has it. */
  readonly #lent: number;
  readonly #multiBuffer: boolean;
  readonly #metadata: boolean;
  readonly #local: boolean;
  readonly #busyPoll: boolean;
  /** Of the first queue. */
  readonly #xskTx: XskRing;
  readonly #completion: XskRing;
  #txProducer = 0;
  #completionConsumer = 0;
  /** First rx slot not given back yet. The kernel has the buffers of those from `tail` to a ring's length after it. */
  #released: number;
  /** First tx slot not taken yet, and first one that the kernel hasn't given back: between them are the kernel's. */
  #taken = 0;
  #done = 0;
  /** The queue that is looked at first. */
  #turn = 0;
  #syncs = 0;
  #closed = false;

  constructor(arena: Arena, options: XdpOptions, info: InterfaceInfo) {
    const { name, queue, multiBuffer = false, offload = true, busyPoll_us } = options;
    this.name = `xdp:${name}${queue === undefined ? '' : `:${queue}`}`;
    this.arena = arena;
    this.#libc = libc();
    this.#interface = info;
    this.#interfaceName = name;
    this.#multiBuffer = multiBuffer;
    this.#busyPoll = busyPoll_us !== undefined;
    this.#local = offload && LOCAL_KINDS.includes(info.kind);

    const wanted = queue === undefined ? queuesOf(options) : [queue];
    const slots = options.slots ?? SLOTS_DEFAULT;
    this.frameBytes = multiBuffer ? SMALL_ROOM_BYTES : Math.min(SMALL_ROOM_BYTES, info.mtu + LINK_BYTES_MAX);
    const mtu = mtuOf(options, info, this.frameBytes);
    this.#released = -slots;
    this.rx = new Ring(arena, `${this.name} rx`, slots);
    this.tx = new Ring(arena, `${this.name} tx`, slots);
    const given = options.pool;
    const suits = given !== undefined && suitsUmem(given);
    const sets = suits ? 1 : wanted.length;
    this.pool = suits
      ? given
      : createFrames(arena, `${this.name} frames`, (sets + 1) * slots, SMALL_ROOM_BYTES);
    const { frames, frameBytes, depot } = this.pool;
    this.#base = depot.base;
    this.#chunkShift = Math.log2(frameBytes);
    this.#chunkMask = frameBytes - 1;
    this.#lent = arena.carve(`${this.name} lent`, frames);
    try {
      this.#fill(this.rx);
      this.#fill(this.tx);
      this.#watch = new LinkWatch();
      this.#undo.push(() => this.#watch.close());
      // Attached before the sockets are bound, since some drivers change their queues for it.
      const map = this.#own(createXskMap(Math.max(...wanted) + 1));
      this.mode = this.#attach(map, options);

      const first = this.#own(openXsk());
      const address = this.#libc.addressOf(arena.u8) + this.#base;
      this.#metadata = registerUmem(first, address, frames * frameBytes, frameBytes, offload);
      this.#completion = this.#ring(first, 'completion', slots);
      this.#xskTx = this.#ring(first, 'tx', slots);
      if (slots > TX_BUDGET_MIN) setTxBudget(first, slots);
      for (const [i, number] of wanted.entries()) {
        const fd = i === 0 ? first : this.#own(openXsk());
        const share =
          Math.floor(((i + 1) * (sets * slots)) / wanted.length) -
          Math.floor((i * (sets * slots)) / wanted.length);
        const fill = this.#ring(fd, 'fill', powerOfTwo(share));
        const rx = this.#ring(fd, 'rx', powerOfTwo(share));
        // Of no use, but a queue without is refused.
        if (i > 0) this.#ring(fd, 'completion', 1);
        if (busyPoll_us !== undefined) setBusyPoll(fd, busyPoll_us, BUSY_POLL_BUDGET);
        this.#queues.push(new Queue(fd, fill, rx, share));
        if (i === 0) bindXsk(fd, info.index, number, multiBuffer);
        else bindXskSharing(fd, info.index, number, first);
      }
      this.zeroCopy = isZeroCopy(first);
      // Without a copy only some drivers make checksums, and they don't say which.
      this.#metadata &&= !this.zeroCopy;
      this.capabilities = {
        ...PLAIN,
        link: 'ether',
        mtu,
        mac: parseMac(info.mac),
        txChecksum: this.#metadata,
        rxChecksum: this.#local,
        multiBuffer,
        groups: (options.addresses ?? []).length === 0,
        queues: wanted.length,
      };
      this.counters = countersWith(() => this.#kernelDrops());
      for (let i = 0; i < sets; i++) {
        if (i > 0) fillRing(this.rx, this.pool);
        this.#released = -slots;
        this.#refill(slots);
      }
      this.tx.tail = slots;
      this.fds = [...this.#queues.map((each) => each.fd), this.#watch.fd];
      // What we did ourselves is no news.
      this.#watch.changed();
      // Packets come from here on.
      for (const [i, number] of wanted.entries()) updateMap(map, number, this.#queues[i].fd);
    } catch (error) {
      this.#giveBack();
      throw error;
    }
  }

  /** @throws PortError ENODEV when the interface was removed, EMSGSIZE when its MTU has outgrown the buffers */
  rxSync(): number {
    if (this.#closed) return 0;
    const { rx, counters } = this;
    if ((++this.#syncs & LOOK_MASK) === 0) this.#look();
    const released = (rx.head - this.#released) | 0;
    if (released > 0) this.#refill(released);
    const queues = this.#queues;
    const count = queues.length;
    let frames = 0;
    let q = this.#turn;
    for (let i = 0; i < count; i++) {
      frames += this.#gather(queues[q]);
      q = q + 1 === count ? 0 : q + 1;
    }
    if (count > 1) this.#turn = this.#turn + 1 === count ? 0 : this.#turn + 1;
    if (frames === 0 && this.#busyPoll) {
      for (const { fd } of queues) {
        counters.syscalls++;
        this.#libc.recv(fd, 0, 0, MSG_DONTWAIT);
      }
    }
    return rx.available;
  }

  /** @throws PortError as rxSync */
  txSync(): number {
    if (this.#closed) return 0;
    const { tx } = this;
    if (tx.head !== this.#taken) this.#submit();
    if (this.#taken !== this.#done) {
      this.#send();
      this.#complete();
    }
    tx.tail = (this.#done + tx.slots) | 0;
    return tx.available;
  }

  /** The host gets all packets from now on. A Poller that watches `fds` must be closed before. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // Read for the last time.
    const { rxDropped } = this.counters;
    Object.defineProperty(this.counters, 'rxDropped', { value: rxDropped, enumerable: true });
    this.#giveBack();
    this.rx.head = this.rx.tail;
    this.tx.head = this.tx.tail;
  }

  // ── Receiving ───────────────────────────────────────────────────────────────────────────────────────────

  /** Gives the buffers of so many rx slots, from `#released` on, to the queues that lack some. */
  #refill(released: number): void {
    const { rx, counters } = this;
    const { m } = rx;
    const { xskFill } = this.arena.kernels;
    let from = this.#released;
    const end = (from + released) | 0;
    for (let i = 0; from !== end; i++) {
      const queue = this.#queues[i];
      const { fill } = queue;
      const left = (end - from) | 0;
      const n = queue.lacks < left ? queue.lacks : left;
      if (n === 0) continue;
      xskFill(
        rx.base << 2,
        rx.mask,
        from,
        fill.entries << 2,
        fill.mask,
        queue.fillProducer,
        n,
        this.#base,
        this.#chunkShift,
        this.#lent,
      );
      from = (from + n) | 0;
      queue.fillProducer = (queue.fillProducer + n) | 0;
      queue.lacks -= n;
      Atomics.store(m, fill.producer, queue.fillProducer);
      if ((m[fill.flags] & NEED_WAKEUP) !== 0) {
        counters.syscalls++;
        this.#libc.recv(queue.fd, 0, 0, MSG_DONTWAIT);
      }
    }
    this.#released = end;
  }

  /** Takes what has come by a queue, as far as there are slots. @returns how many descriptors */
  #gather(queue: Queue): number {
    const { rx: ring } = queue;
    const { rx, counters } = this;
    const { m } = rx;
    let n = (Atomics.load(m, ring.producer) - queue.rxConsumer) | 0;
    const free = (rx.slots - ((rx.tail - rx.head) | 0)) | 0;
    if (n > free) n = this.#wholeFrames(queue, free);
    if (n <= 0) return 0;
    const received = this.arena.kernels.xskReceive(
      rx.base << 2,
      rx.mask,
      rx.tail,
      ring.entries << 2,
      ring.mask,
      queue.rxConsumer,
      n,
      this.#base,
      this.#chunkShift,
      this.#lent,
    );
    const frames = Math.floor(received / FRAME);
    const tail = (rx.tail + n) | 0;
    if (this.#local) this.#markPartial(rx.tail, tail);
    rx.tail = tail;
    queue.rxConsumer = (queue.rxConsumer + n) | 0;
    queue.lacks += n;
    Atomics.store(m, ring.consumer, queue.rxConsumer);
    counters.rxFrames += frames;
    counters.rxBytes += received - frames * FRAME;
    return n;
  }

  /** How many of a queue's next descriptors, `most` at most, end with the end of a frame. */
  #wholeFrames({ rx: ring, rxConsumer }: Queue, most: number): number {
    let n = most;
    while (n > 0 && (this.rx.m[ring.entries + (((rxConsumer + n - 1) & ring.mask) << 2) + 3] & CONTD) !== 0)
      n--;
    return n;
  }

  /** What a kernel on the other end has left to us. */
  #markPartial(from: number, end: number): void {
    const { rx } = this;
    const { m } = rx;
    const { view } = this.arena;
    let first = from;
    let length = 0;
    for (let i = from; i !== end; i = (i + 1) | 0) {
      const slot = rx.slot(i);
      length += m[slot + LENGTH];
      if ((m[slot + FLAGS] & MORE) !== 0) continue;
      const head = rx.slot(first);
      if (checksumIsPartial(view, m[head + AT], length)) m[head + FLAGS] |= PARTIAL;
      first = (i + 1) | 0;
      length = 0;
    }
  }

  // ── Sending ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the slots before `head`: into the kernel's ring, or dropped. */
  #submit(): void {
    const { tx, counters } = this;
    const { m } = tx;
    const { u8 } = this.arena;
    const ring = this.#xskTx;
    const { xskSend } = this.arena.kernels;
    const base = this.#base;
    const mask = this.#chunkMask;
    const shift = this.#chunkShift;
    const lent = this.#lent;
    const room = this.frameBytes;
    let producer = this.#txProducer;
    let taken = this.#taken;
    let frames = 0;
    let bytes = 0;
    while (taken !== tx.head) {
      const slot = tx.slot(taken);
      // All of them at once, where nothing is to be done; an engine that leaves checksums to the device has none such.
      if ((m[slot + FLAGS] & UNUSUAL) === 0) {
        const sent = xskSend(
          tx.base << 2,
          tx.mask,
          taken,
          ring.entries << 2,
          ring.mask,
          producer,
          (tx.head - taken) | 0,
          base,
          shift,
          lent,
          room,
        );
        const plain = Math.floor(sent / FRAME);
        producer = (producer + plain) | 0;
        taken = (taken + plain) | 0;
        frames += plain;
        bytes += sent - plain * FRAME;
        if (plain > 0) continue;
      }
      const buffers = (m[slot + FLAGS] & MORE) === 0 ? 1 : this.#chain(taken);
      if (buffers === 0) break;
      const options = this.#options(taken, buffers);
      const address = (m[slot + AT] - base) | 0;
      const length = m[slot + LENGTH];
      const offset = address & mask;
      const wrong =
        length < ETHER_BYTES || length > room || offset < METADATA_BYTES || offset + length > mask + 1;
      if (wrong || options < 0) {
        counters.txDropped++;
        taken = this.#skip(taken, buffers);
        continue;
      }
      const entry = ring.entries + ((producer & ring.mask) << 2);
      m[entry] = address;
      m[entry + 2] = length;
      m[entry + 3] = options;
      u8[lent + (address >> shift)] = 1;
      bytes += length;
      producer = (producer + 1) | 0;
      if (buffers > 1) {
        bytes += this.#submitRest(taken, buffers, producer);
        producer = (producer + buffers - 1) | 0;
      }
      taken = (taken + buffers) | 0;
      frames++;
    }
    this.#taken = taken;
    this.#txProducer = producer;
    Atomics.store(m, ring.producer, producer);
    counters.txFrames += frames;
    counters.txBytes += bytes;
  }

  /** How many slots a frame of several takes; 0 when its end isn't there yet. */
  #chain(first: number): number {
    const { tx } = this;
    const { m } = tx;
    for (let i = first; i !== tx.head; i = (i + 1) | 0) {
      if ((m[tx.slot(i) + FLAGS] & MORE) === 0) return (i + 1 - first) | 0;
    }
    // A frame that fills the ring has no end.
    return ((tx.head - first) | 0) === tx.slots ? tx.slots : 0;
  }

  /** The buffers of a frame after its first one. @param producer Where they go. @returns their bytes */
  #submitRest(first: number, buffers: number, producer: number): number {
    const { tx } = this;
    const { m } = tx;
    const ring = this.#xskTx;
    let bytes = 0;
    for (let i = 1; i < buffers; i++) {
      const slot = tx.slot((first + i) | 0);
      const address = (m[slot + AT] - this.#base) | 0;
      const entry = ring.entries + (((producer + i - 1) & ring.mask) << 2);
      m[entry] = address;
      m[entry + 2] = m[slot + LENGTH];
      m[entry + 3] = i + 1 < buffers ? CONTD : 0;
      this.arena.u8[this.#lent + (address >> this.#chunkShift)] = 1;
      bytes += m[slot + LENGTH];
    }
    return bytes;
  }

  /** @returns the options of the frame's first descriptor, or -1 when it has what can't be sent */
  #options(first: number, buffers: number): number {
    const { tx } = this;
    const { m } = tx;
    const mask = this.#chunkMask;
    if (buffers > 1 && (!this.#multiBuffer || buffers > BUFFERS_MAX)) return -1;
    let total = m[tx.slot(first) + LENGTH];
    for (let i = 1; i < buffers; i++) {
      const slot = tx.slot((first + i) | 0);
      const offset = (m[slot + AT] - this.#base) & mask;
      const length = m[slot + LENGTH];
      if (length <= 0 || offset < METADATA_BYTES || offset + length > mask + 1) return -1;
      total += length;
    }
    // It fills the ring and goes on.
    if (buffers > 1 && (m[tx.slot((first + buffers - 1) | 0) + FLAGS] & MORE) !== 0) return -1;
    const options = buffers > 1 ? CONTD : 0;
    const slot = tx.slot(first);
    const flags = m[slot + FLAGS];
    if ((flags & (CHECKSUM_FILL | SEGMENT)) === 0) return options;
    if ((flags & SEGMENT) !== 0 || !this.#metadata) return -1;
    const { view } = this.arena;
    const at = m[slot + AT];
    const place = checksumPlace(view, at, total, true);
    // What the kernel finds wrong with it would be in the way of all others for ever.
    if (place === 0 || (place >> 8) + (place & 0xff) + 2 > m[slot + LENGTH]) return -1;
    const metadata = at - METADATA_BYTES;
    view.setInt32(metadata, TX_METADATA_CHECKSUM, true);
    view.setInt32(metadata + 4, 0, true);
    view.setUint16(metadata + TX_METADATA_START, place >> 8, true);
    view.setUint16(metadata + TX_METADATA_OFFSET, place & 0xff, true);
    return options | METADATA;
  }

  /** Frees slots whose frame is dropped: their buffers move to where the next free slots are. @returns the next one */
  #skip(first: number, buffers: number): number {
    const { tx } = this;
    const { m } = tx;
    for (let i = 0; i < buffers; i++) {
      m[tx.slot(this.#done) + AT] = m[tx.slot((first + i) | 0) + AT];
      this.#done = (this.#done + 1) | 0;
    }
    return (first + buffers) | 0;
  }

  /** Has the kernel send, which takes a part of the ring at a time (TX_BUDGET_MIN, or more where it can be set). */
  #send(): void {
    const { counters } = this;
    const { m } = this.tx;
    const ring = this.#xskTx;
    const producer = this.#txProducer;
    let consumer = Atomics.load(m, ring.consumer);
    while (consumer !== producer && (m[ring.flags] & NEED_WAKEUP) !== 0) {
      counters.syscalls++;
      const failed = this.#libc.send(this.#queues[0].fd, 0, 0, MSG_DONTWAIT) < 0;
      const before = consumer;
      consumer = Atomics.load(m, ring.consumer);
      if (failed) this.#refused(consumer !== before);
      if (consumer === before) break;
    }
  }

  /** Takes back the buffers of frames that are out, in whatever order they are. */
  #complete(): void {
    const { tx } = this;
    const { m } = tx;
    const ring = this.#completion;
    const producer = Atomics.load(m, ring.producer);
    const n = (producer - this.#completionConsumer) | 0;
    if (n === 0) return;
    this.arena.kernels.xskComplete(
      tx.base << 2,
      tx.mask,
      this.#done,
      ring.entries << 2,
      ring.mask,
      this.#completionConsumer,
      n,
      this.#base,
      this.#chunkShift,
      this.#lent,
      HEADROOM,
    );
    this.#done = (this.#done + n) | 0;
    this.#completionConsumer = producer;
    Atomics.store(m, ring.consumer, producer);
  }

  // ── What goes wrong ─────────────────────────────────────────────────────────────────────────────────────

  /** After a failed send. @param progress Frames were taken all the same. */
  #refused(progress: boolean): void {
    const errno = this.#libc.errno();
    switch (errno) {
      case EBUSY:
        // The frame was taken, and lost: the other end has no room, or no carrier.
        if (progress) this.counters.txDropped++;
        return;
      case EAGAIN:
      case EINTR:
      case ENOBUFS:
      // While the interface is down, frames wait.
      case ENETDOWN:
        return;
      default:
        this.#look();
        throw new PortError(errorCode(new SystemError(errno, 'send')), `${this.name} can't send any more`, {
          cause: new SystemError(errno, 'send'),
        });
    }
  }

  /** Whether the interface is still as it was. @throws PortError */
  #look(): void {
    this.counters.syscalls++;
    if (!this.#watch.changed()) return;
    const name = this.#interfaceName;
    let info: InterfaceInfo | undefined;
    try {
      info = interfaceInfo(name);
    } catch (error) {
      if (errorCode(error) !== 'ENODEV') throw error;
    }
    if (info?.index !== this.#interface.index) {
      throw new PortError(
        'ENODEV',
        `the interface ${name} was removed or renamed: close the port and open another`,
      );
    }
    if (!this.#multiBuffer && info.mtu > this.#interface.mtu && info.mtu + LINK_BYTES_MAX > this.frameBytes) {
      throw new PortError(
        'EMSGSIZE',
        `the MTU of ${name} was raised to ${info.mtu}, and this port's frames hold ${this.frameBytes} B: close it and ` +
          'open another, or set the MTU back',
      );
    }
  }

  #kernelDrops(): number {
    return this.#queues.reduce((sum, { fd }) => sum + xskStatistics(fd).rxDropped, 0);
  }

  // ── Opening and closing ─────────────────────────────────────────────────────────────────────────────────

  #own(fd: number): number {
    this.#undo.push(() => closeSync(fd));
    return fd;
  }

  #fill(ring: Ring): void {
    fillRing(ring, this.pool);
    this.#undo.push(() => this.#empty(ring));
  }

  #ring(fd: number, kind: XskRingKind, slots: number): XskRing {
    const ring = mapXskRing(fd, kind, slots, this.arena);
    this.#undo.push(() => unmapXskRing(kind, ring, this.arena));
    return ring;
  }

  #attach(map: number, { name, addresses = [], only, mode }: XdpOptions): XdpMode {
    const code = xdpFilter(map, addresses, only);
    // Without it the kernel lets no program near a long frame; older ones than Linux 5.18 don't know it.
    const program = this.#own(loadXdpProgram('millrace', code, true));
    for (const each of mode === undefined ? (['native', 'generic'] as const) : [mode]) {
      try {
        this.#own(attachXdp(program, this.#interface.index, each));
        return each;
      } catch (error) {
        const last = each === 'generic' || mode !== undefined;
        if (last || errorCode(error) === 'EBUSY' || errorCode(error) === 'EPERM') throw error;
      }
    }
    throw new PortError('EOPNOTSUPP', `${name} takes no XDP program`);
  }

  /** Undoes what was done so far; the kernel uses no buffer after that. */
  #giveBack(): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
  }

  /** Buffers are in the slots that aren't the kernel's, and with the kernel. */
  #empty(ring: Ring): void {
    const { m } = ring;
    const [from, end] =
      ring === this.rx ? [this.rx.tail, this.#released + ring.slots] : [this.#done, this.#taken];
    for (let i = from; i !== (end | 0); i = (i + 1) | 0) m[ring.slot(i) + AT] = 0;
    emptyRing(ring, this.pool);
    if (ring !== this.rx) return;
    const { frames } = this.pool.depot;
    for (let i = 0; i < frames; i++) {
      if (this.arena.u8[this.#lent + i] === 1) this.pool.give(this.#base + (i << this.#chunkShift));
    }
  }
}

/** Counters of which one is asked of the kernel, when somebody looks. */
function countersWith(rxDropped: () => number): PortCounters {
  return {
    rxFrames: 0,
    rxBytes: 0,
    get rxDropped() {
      return rxDropped();
    },
    txFrames: 0,
    txBytes: 0,
    txDropped: 0,
    syscalls: 0,
  };
}

/** Buffers of AF_XDP are a power of two, of a page at most, the first one at a page. */
function suitsUmem({ frameBytes, depot }: FramePool): boolean {
  return (
    frameBytes >= SMALL_ROOM_BYTES + HEADROOM &&
    frameBytes <= PAGE_BYTES &&
    (frameBytes & (frameBytes - 1)) === 0 &&
    depot.base % PAGE_BYTES === 0
  );
}
