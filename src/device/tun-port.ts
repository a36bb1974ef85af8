/**
 * The port of a TUN or TAP: frames between its rings and the queues of the interface, in batches.
 *
 * A batch goes by io_uring, in one system call, and straight from or to the slots that are the port's during the sync; no
 * request outlasts a sync, so that users may swap buffers between two. The kernel doesn't say how much waits in a
 * queue: the port asks for one frame more than it got last time, and, while it gets all it asks for, for twice as many.
 * Small batches go by read(2) and write(2), as one call is cheaper without io_uring.
 */
import { closeSync } from 'node:fs';
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_MORE,
  FRAME_SEGMENT,
  type Ring,
} from '../memory/ring.ts';
import { EBADFD, SystemError } from '../os/errno.ts';
import { IoUring } from '../os/io-uring.ts';
import { libc } from '../os/libc.ts';
import { type PacketCalls, PlainCalls } from '../os/packet-calls.ts';
import { flowHash } from './flow-hash.ts';
import { createRings, emptyRings } from './frames.ts';
import { type Capabilities, type Port, PortError, portCounters } from './port.ts';
import {
  VIRTIO_HEADER_BYTES,
  VIRTIO_MALFORMED,
  virtioDecode,
  virtioEncode,
  virtioSegmentBytes,
} from './virtio-header.ts';

// V8 folds a module's own constants, not imported ones.
const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];
const HEADER_BYTES = VIRTIO_HEADER_BYTES;
const MALFORMED = VIRTIO_MALFORMED;
const MORE = FRAME_MORE;
const SEGMENT = FRAME_SEGMENT;

/** Requests in one batch; a ring of more slots takes several. */
const BATCH_MAX = 256;
/**
 * From how many frames on io_uring is faster than a call for each. CPU ns a packet, sent and received, of batches of 1, 2,
 * 3 and 64: 1,889, 1,797, 1,432 and 1,400 by calls; 2,411, 1,661, 1,361 and 880 by io_uring.
 */
const BATCH_MIN = 3;

/** How a port's frames get into the kernel; the first two for batches, with calls for what is small. */
export type TunCalls = 'io_uring, registered buffers' | 'io_uring' | 'read and write';

export interface TunPortOptions {
  readonly slots: number;
  /** Room for a frame, bytes. */
  readonly frameBytes: number;
  readonly pool: FramePool | undefined;
  readonly ioUring: boolean;
}

export class TunPort implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters = portCounters();
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool: FramePool;
  readonly rxTimes = null;
  /** One a queue. */
  readonly fds: readonly number[];
  readonly calls: TunCalls;
  onArrival: () => void = () => {};
  /** Where the arena's offset 0 is in memory, and a frame's virtio header from its DESC_AT. Holds as long as `arena` does. */
  readonly #base: number;
  readonly #ether: boolean;
  readonly #plain: PlainCalls;
  readonly #ring: IoUring | null;
  readonly #batch: number;
  /** Of each queue: how many frames to ask for first. */
  readonly #want: Int32Array;
  /** The queue that is asked first, another one each time. */
  #turn = 0;
  /** First tx slot not taken yet. */
  #taken = 0;
  /** Inside a frame of several descriptors, all of which are dropped. */
  #chained = false;
  #closed = false;

  /** @param fds One a queue, the port's from here on unless this throws. */
  constructor(
    arena: Arena,
    name: string,
    fds: readonly number[],
    capabilities: Capabilities,
    { slots, frameBytes, pool, ioUring }: TunPortOptions,
  ) {
    this.name = name;
    this.arena = arena;
    this.capabilities = capabilities;
    this.fds = fds;
    this.#base = libc().addressOf(arena.u8) - HEADER_BYTES;
    this.#ether = capabilities.link === 'ether';
    this.frameBytes = frameBytes;
    const rings = createRings(arena, name, { slots, frameBytes, link: capabilities.link, pool });
    this.rx = rings.rx;
    this.tx = rings.tx;
    this.pool = rings.pool;
    this.#batch = Math.min(slots, BATCH_MAX);
    this.#want = new Int32Array(fds.length).fill(1);
    this.#plain = new PlainCalls(this.#batch, fds);
    this.#ring = ioUring ? openRing(this.#batch, fds) : null;
    const { base, frames, frameBytes: bytes } = this.pool.depot;
    this.#ring?.registerMemory(libc().addressOf(arena.u8) + base, frames * bytes);
    this.calls = callsOf(this.#ring);
  }

  /** @throws PortError ENODEV when the interface was removed */
  rxSync(): number {
    const { rx } = this;
    if (this.#closed) return 0;
    const queues = this.fds.length;
    if (queues === 1) {
      this.#receive(0, (rx.slots - rx.available) | 0);
      return rx.available;
    }
    // Each gets its share of the free slots, what is left over goes to those that come first.
    for (let i = 0; i < queues; i++) {
      const queue = (this.#turn + i) % queues;
      const free = (rx.slots - rx.available) | 0;
      this.#receive(queue, Math.ceil(free / (queues - i)));
    }
    this.#turn = (this.#turn + 1) % queues;
    return rx.available;
  }

  /** @throws PortError ENODEV when the interface was removed */
  txSync(): number {
    const { tx, counters, frameBytes } = this;
    if (this.#closed) return 0;
    const { m } = tx;
    const { view } = this.arena;
    const queues = this.fds.length;
    let dropped = 0;
    let taken = this.#taken;
    while (taken !== tx.head) {
      const most = Math.min((tx.head - taken) | 0, this.#batch);
      const calls = this.#callsFor(most);
      let n = 0;
      for (let i = 0; i < most; i++, taken = (taken + 1) | 0) {
        const slot = tx.slot(taken);
        const at = m[slot + AT];
        const length = m[slot + LENGTH];
        const flags = m[slot + FLAGS];
        const whole = !this.#chained && (flags & MORE) === 0;
        this.#chained = (flags & MORE) !== 0;
        const good = whole && length > 0 && length <= frameBytes;
        if (!good || !virtioEncode(view, at, length, flags, m[slot + AUX], this.#ether)) {
          dropped++;
          continue;
        }
        const queue = queues === 1 ? 0 : flowHash(view, at, length, this.#ether) % queues;
        calls.write(n++, queue, this.#base + at, length + HEADER_BYTES);
      }
      this.#taken = taken;
      if (n > 0) dropped += n - this.#send(calls, n);
    }
    counters.txDropped += dropped;
    tx.tail = (taken + tx.slots) | 0;
    return tx.available;
  }

  /** The interface disappears from the host. A Poller that watches `fds` must be closed before. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    emptyRings(this, this.pool);
    this.#ring?.close();
    for (const fd of this.fds) closeSync(fd);
  }

  /** Up to `room` frames of one queue. */
  #receive(queue: number, room: number): void {
    let taken = 0;
    let want = this.#want[queue];
    for (;;) {
      const count = Math.min(want, room - taken, this.#batch);
      if (count <= 0) break;
      const got = this.#fetch(queue, count);
      taken += got;
      if (got < count) break;
      want = 2 * count;
    }
    this.#want[queue] = taken + 1;
  }

  /**
   * Asks for `count` frames. One that is dropped leaves its slot free, but counts as taken: a flood of them ends, too.
   * @returns how many were taken
   */
  #fetch(queue: number, count: number): number {
    const { rx, counters } = this;
    const { m } = rx;
    const { view } = this.arena;
    const base = this.#base;
    const room = this.frameBytes + HEADER_BYTES;
    const calls = this.#callsFor(count);
    const first = rx.tail;
    for (let i = 0; i < count; i++) calls.read(i, queue, base + m[rx.slot((first + i) | 0) + AT], room);
    const { results } = calls;
    const done = this.#run(calls, count);
    let tail = first;
    let taken = 0;
    let bytes = 0;
    for (let i = 0; i < done; i++) {
      const n = results[i];
      if (n < 0) {
        if (n === -EBADFD) this.#removed('read');
        // EAGAIN: there was nothing; something may have come for a later one, though.
        continue;
      }
      taken++;
      const from = rx.slot((first + i) | 0);
      const at = m[from + AT];
      const length = n - HEADER_BYTES;
      const flags = length > 0 && n < room ? virtioDecode(view, at, length) : MALFORMED;
      if (flags === MALFORMED) {
        counters.rxDropped++;
        continue;
      }
      const slot = rx.slot(tail);
      // Behind a slot that stayed free.
      m[from + AT] = m[slot + AT];
      m[slot + AT] = at;
      m[slot + LENGTH] = length;
      m[slot + FLAGS] = flags;
      m[slot + AUX] = (flags & SEGMENT) !== 0 ? virtioSegmentBytes(view, at) : 0;
      bytes += length;
      tail = (tail + 1) | 0;
    }
    counters.rxFrames += (tail - first) | 0;
    counters.rxBytes += bytes;
    rx.tail = tail;
    return taken;
  }

  /**
   * What the kernel won't take is lost, as on a wire: the interface is down (EIO), no memory. It never asks to wait, since
   * a TUN's send buffer has no end.
   * @returns how many of the prepared frames are out
   */
  #send(calls: PacketCalls, count: number): number {
    const { results } = calls;
    const done = this.#run(calls, count);
    let frames = 0;
    let bytes = 0;
    for (let i = 0; i < done; i++) {
      const n = results[i];
      if (n === -EBADFD) this.#removed('write');
      if (n < 0) continue;
      frames++;
      bytes += n - HEADER_BYTES;
    }
    this.counters.txFrames += frames;
    this.counters.txBytes += bytes;
    return frames;
  }

  #callsFor(count: number): PacketCalls {
    return this.#ring !== null && count >= BATCH_MIN ? this.#ring : this.#plain;
  }

  #run(calls: PacketCalls, count: number): number {
    const before = calls.syscalls;
    const done = calls.run(count);
    this.counters.syscalls += calls.syscalls - before;
    return done;
  }

  #removed(call: string): never {
    const cause = new SystemError(EBADFD, call);
    throw new PortError(
      'ENODEV',
      `the interface of ${this.name} was removed: close the port and open another`,
      { cause },
    );
  }
}

/** null where it isn't allowed, or older than what IoUring needs. @throws what isn't the kernel's refusal */
function openRing(entries: number, fds: readonly number[]): IoUring | null {
  try {
    return new IoUring(entries, fds);
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
}

function callsOf(ring: IoUring | null): TunCalls {
  if (ring === null) return 'read and write';
  return ring.registered ? 'io_uring, registered buffers' : 'io_uring';
}
