/**
 * What an AF_XDP port sends: by its first queue's tx ring, in order, with one system call a batch. The completion ring says
 * which buffers are free again, in whatever order; each goes to the next slot of the port's ring.
 *
 *     tx ring of the port:   done ── the kernel's ── taken ── to be sent ── head ── user's ── tail
 */
import { EXCHANGE_FRAME } from '../memory/kernels/kernels.ts';
import {
  DESC_AT,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_MORE,
  FRAME_SEGMENT,
  type Ring,
} from '../memory/ring.ts';
import { EAGAIN, EBUSY, EINTR, ENETDOWN, ENOBUFS, SystemError } from '../os/errno.ts';
import { type Libc, libc, MSG_DONTWAIT } from '../os/libc.ts';
import {
  TX_BUFFERS_MAX,
  TX_METADATA_BYTES,
  TX_METADATA_CHECKSUM,
  TX_METADATA_OFFSET,
  TX_METADATA_START,
  XDP_PKT_CONTD,
  XDP_RING_NEED_WAKEUP,
  XDP_TX_METADATA,
  type XskRing,
} from '../os/xsk.ts';
import { emptyRing, FRAME_HEADROOM, fillRing } from './frames.ts';
import type { PortCounters } from './port.ts';
import { checksumPlace } from './virtio-header.ts';
import type { Umem } from './xdp-umem.ts';

const ETHER_BYTES = 14;

// V8 folds a module's own constants, not imported ones.
const [AT, LENGTH, FLAGS] = [DESC_AT, DESC_LENGTH, DESC_FLAGS];
const HEADROOM = FRAME_HEADROOM;
const MORE = FRAME_MORE;
const CHECKSUM_FILL = FRAME_CHECKSUM_FILL;
const SEGMENT = FRAME_SEGMENT;
/** What `xskSend` leaves to us. */
const UNUSUAL = MORE | CHECKSUM_FILL | SEGMENT;
const CONTD = XDP_PKT_CONTD;
const METADATA = XDP_TX_METADATA;
const METADATA_BYTES = TX_METADATA_BYTES;
const NEED_WAKEUP = XDP_RING_NEED_WAKEUP;
const BUFFERS_MAX = TX_BUFFERS_MAX;
const FRAME = EXCHANGE_FRAME;

/** The socket that all leaves by. */
export interface SendSocket {
  readonly fd: number;
  readonly tx: XskRing;
  readonly completion: XskRing;
}

export interface SendOptions {
  /** Of a frame, or of the first buffer of several, bytes. */
  readonly lengthMax: number;
  /** Frames of several buffers are sent. */
  readonly multiBuffer: boolean;
  /** The kernel makes checksums that metadata ask for. */
  readonly metadata: boolean;
}

export class XdpSender {
  readonly #tx: Ring;
  readonly #counters: PortCounters;
  readonly #umem: Umem;
  readonly #socket: SendSocket;
  readonly #path: number;
  readonly #completionPath: number;
  readonly #lengthMax: number;
  readonly #multiBuffer: boolean;
  readonly #metadata: boolean;
  readonly #libc: Libc = libc();
  #producer = 0;
  #completed = 0;
  /** First tx slot not taken yet, and first one that the kernel hasn't given back: between them are the kernel's. */
  #taken = 0;
  #done = 0;

  /** @throws RangeError when the pool has too few buffers. ArenaFullError */
  constructor(
    tx: Ring,
    counters: PortCounters,
    umem: Umem,
    socket: SendSocket,
    { lengthMax, multiBuffer, metadata }: SendOptions,
  ) {
    this.#tx = tx;
    this.#counters = counters;
    this.#umem = umem;
    this.#socket = socket;
    this.#path = umem.carvePath(tx, socket.tx);
    this.#completionPath = umem.carvePath(tx, socket.completion);
    this.#lengthMax = lengthMax;
    this.#multiBuffer = multiBuffer;
    this.#metadata = metadata;
    fillRing(tx, umem.pool);
    tx.tail = tx.slots;
  }

  /** Sends the tx slots before `head`, and moves `tail` over those that are free. @throws SystemError */
  sync(): void {
    const tx = this.#tx;
    if (tx.head !== this.#taken) this.#submit();
    if (this.#taken !== this.#done) {
      this.#send();
      this.#complete();
    }
    tx.tail = (this.#done + tx.slots) | 0;
  }

  /** Gives the pool the buffers of the slots that aren't the kernel's. Nothing is sent from then on. */
  empty(): void {
    const tx = this.#tx;
    for (let i = this.#done; i !== this.#taken; i = (i + 1) | 0) tx.m[tx.slot(i) + AT] = 0;
    tx.head = tx.tail;
    emptyRing(tx, this.#umem.pool);
  }

  /** Takes the slots before `head`: into the kernel's ring, or dropped. */
  #submit(): void {
    const tx = this.#tx;
    const { m } = tx;
    const umem = this.#umem;
    const { base, chunkBytes } = umem;
    const { xskSend } = umem.arena.kernels;
    const ring = this.#socket.tx;
    const lengthMax = this.#lengthMax;
    let producer = this.#producer;
    let taken = this.#taken;
    let frames = 0;
    let bytes = 0;
    while (taken !== tx.head) {
      const slot = tx.slot(taken);
      // All of them at once, where nothing is to be done; an engine that leaves checksums to the device has none such.
      if ((m[slot + FLAGS] & UNUSUAL) === 0) {
        const sent = xskSend(this.#path, taken, producer, (tx.head - taken) | 0, lengthMax);
        const plain = Math.floor(sent / FRAME);
        producer = (producer + plain) | 0;
        taken = (taken + plain) | 0;
        frames += plain;
        bytes += sent - plain * FRAME;
        if (plain > 0) continue;
      }
      const buffers = (m[slot + FLAGS] & MORE) === 0 ? 1 : this.#chain(taken);
      if (buffers === 0) break;
      const length = m[slot + LENGTH];
      const offset = (m[slot + AT] - base) & (chunkBytes - 1);
      const wrong =
        length < ETHER_BYTES || length > lengthMax || offset < METADATA_BYTES || offset + length > chunkBytes;
      const options = wrong ? -1 : this.#options(taken, buffers);
      if (options < 0) {
        this.#counters.txDropped++;
        taken = this.#skip(taken, buffers);
        continue;
      }
      const entry = ring.entries + ((producer & ring.mask) << 2);
      m[entry] = umem.lend(m[slot + AT]);
      m[entry + 2] = length;
      m[entry + 3] = options;
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
    this.#producer = producer;
    Atomics.store(m, ring.producer, producer);
    this.#counters.txFrames += frames;
    this.#counters.txBytes += bytes;
  }

  /** How many slots a frame of several takes; 0 when its end isn't there yet. */
  #chain(first: number): number {
    const tx = this.#tx;
    const { m } = tx;
    for (let i = first; i !== tx.head; i = (i + 1) | 0) {
      if ((m[tx.slot(i) + FLAGS] & MORE) === 0) return (i + 1 - first) | 0;
    }
    // A frame that fills the ring has no end.
    return ((tx.head - first) | 0) === tx.slots ? tx.slots : 0;
  }

  /** The buffers of a frame after its first one. @param producer Where they go. @returns their bytes */
  #submitRest(first: number, buffers: number, producer: number): number {
    const tx = this.#tx;
    const { m } = tx;
    const umem = this.#umem;
    const ring = this.#socket.tx;
    let bytes = 0;
    for (let i = 1; i < buffers; i++) {
      const slot = tx.slot((first + i) | 0);
      const entry = ring.entries + (((producer + i - 1) & ring.mask) << 2);
      m[entry] = umem.lend(m[slot + AT]);
      m[entry + 2] = m[slot + LENGTH];
      m[entry + 3] = i + 1 < buffers ? CONTD : 0;
      bytes += m[slot + LENGTH];
    }
    return bytes;
  }

  /** @returns the options of the frame's first descriptor, or -1 when it has what can't be sent */
  #options(first: number, buffers: number): number {
    const tx = this.#tx;
    const { m } = tx;
    const { arena, base, chunkBytes } = this.#umem;
    if (buffers > 1 && (!this.#multiBuffer || buffers > BUFFERS_MAX)) return -1;
    let total = m[tx.slot(first) + LENGTH];
    for (let i = 1; i < buffers; i++) {
      const slot = tx.slot((first + i) | 0);
      const offset = (m[slot + AT] - base) & (chunkBytes - 1);
      const length = m[slot + LENGTH];
      if (length <= 0 || offset < METADATA_BYTES || offset + length > chunkBytes) return -1;
      total += length;
    }
    // It fills the ring and goes on.
    if (buffers > 1 && (m[tx.slot((first + buffers - 1) | 0) + FLAGS] & MORE) !== 0) return -1;
    const options = buffers > 1 ? CONTD : 0;
    const slot = tx.slot(first);
    const flags = m[slot + FLAGS];
    if ((flags & (CHECKSUM_FILL | SEGMENT)) === 0) return options;
    if ((flags & SEGMENT) !== 0 || !this.#metadata) return -1;
    const { view } = arena;
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
    const tx = this.#tx;
    const { m } = tx;
    for (let i = 0; i < buffers; i++) {
      m[tx.slot(this.#done) + AT] = m[tx.slot((first + i) | 0) + AT];
      this.#done = (this.#done + 1) | 0;
    }
    return (first + buffers) | 0;
  }

  /** Has the kernel send, which takes a part of the ring at a time (TX_BUDGET_MIN, or more where it can be set). */
  #send(): void {
    const { m } = this.#tx;
    const { fd, tx: ring } = this.#socket;
    const producer = this.#producer;
    let consumer = Atomics.load(m, ring.consumer);
    while (consumer !== producer && (m[ring.flags] & NEED_WAKEUP) !== 0) {
      this.#counters.syscalls++;
      const failed = this.#libc.send(fd, 0, 0, MSG_DONTWAIT) < 0;
      const before = consumer;
      consumer = Atomics.load(m, ring.consumer);
      if (failed) this.#refused(consumer !== before);
      if (consumer === before) break;
    }
  }

  /** After a failed send. @param progress Frames were taken all the same. */
  #refused(progress: boolean): void {
    const errno = this.#libc.errno();
    switch (errno) {
      case EBUSY:
        // The frame was taken, and lost: the other end has no room, or no carrier.
        if (progress) this.#counters.txDropped++;
        return;
      case EAGAIN:
      case EINTR:
      case ENOBUFS:
      // While the interface is down, frames wait.
      case ENETDOWN:
        return;
      default:
        throw new SystemError(errno, 'send');
    }
  }

  /** Takes back the buffers of frames that are out, in whatever order they are. */
  #complete(): void {
    const tx = this.#tx;
    const { xskComplete } = this.#umem.arena.kernels;
    const { completion: ring } = this.#socket;
    const producer = Atomics.load(tx.m, ring.producer);
    const n = (producer - this.#completed) | 0;
    if (n === 0) return;
    xskComplete(this.#completionPath, this.#done, this.#completed, n, HEADROOM);
    this.#done = (this.#done + n) | 0;
    this.#completed = producer;
    Atomics.store(tx.m, ring.consumer, producer);
  }
}
