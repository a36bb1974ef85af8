/**
 * What an AF_XDP port receives. Each queue has its fill ring, by which the kernel gets buffers, and its rx ring, by which
 * they come back with frames. The port's rx ring is filled from all of them in turns; buffers that its user gives back go
 * to the queues that lack some.
 */
import { EXCHANGE_FRAME } from '../memory/kernels/kernels.ts';
import { DESC_AT, type Ring } from '../memory/ring.ts';
import { type Libc, libc, MSG_DONTWAIT } from '../os/libc.ts';
import { XDP_PKT_CONTD, XDP_RING_NEED_WAKEUP, type XskRing, xskStatistics } from '../os/xsk.ts';
import { emptyRing, fillRing } from './frames.ts';
import type { PortCounters } from './port.ts';
import type { Umem } from './xdp-umem.ts';

// V8 folds a module's own constants, not imported ones.
const AT = DESC_AT;
const CONTD = XDP_PKT_CONTD;
const NEED_WAKEUP = XDP_RING_NEED_WAKEUP;
const FRAME = EXCHANGE_FRAME;

/** One queue's socket. */
export interface ReceiveSocket {
  readonly fd: number;
  readonly fill: XskRing;
  readonly rx: XskRing;
  /** Buffers for it. */
  readonly share: number;
}

/** A socket and the places in its rings, which run freely. */
class Queue {
  readonly fd: number;
  readonly fill: XskRing;
  readonly fillPath: number;
  fillProducer = 0;
  readonly rx: XskRing;
  readonly rxPath: number;
  rxConsumer = 0;
  /** Buffers to give it, of its share. */
  lacks: number;

  constructor({ fd, fill, rx, share }: ReceiveSocket, slots: Ring, umem: Umem) {
    this.fd = fd;
    this.fill = fill;
    this.fillPath = umem.carvePath(slots, fill);
    this.rx = rx;
    this.rxPath = umem.carvePath(slots, rx);
    this.lacks = share;
  }
}

export interface ReceiveOptions {
  /** Look for checksums that the kernel on the other end has left out. */
  readonly local: boolean;
  /** Enter the kernel when nothing has come. */
  readonly busyPoll: boolean;
}

export class XdpReceiver {
  readonly #rx: Ring;
  readonly #counters: PortCounters;
  readonly #umem: Umem;
  readonly #queues: readonly Queue[];
  readonly #local: number;
  readonly #busyPoll: boolean;
  readonly #libc: Libc = libc();
  /** First rx slot not given back yet. The kernel has the buffers of those from `tail` to a ring's length after it. */
  #released = 0;
  /** The queue that is looked at first. */
  #turn = 0;

  /** Gives the queues their shares. @throws RangeError when the pool has too few. ArenaFullError */
  constructor(
    rx: Ring,
    counters: PortCounters,
    umem: Umem,
    sockets: readonly ReceiveSocket[],
    { local, busyPoll }: ReceiveOptions,
  ) {
    this.#rx = rx;
    this.#counters = counters;
    this.#umem = umem;
    this.#queues = sockets.map((socket) => new Queue(socket, rx, umem));
    this.#local = Number(local);
    this.#busyPoll = busyPoll;
    const shares = sockets.reduce((sum, { share }) => sum + share, 0);
    for (let lent = 0; lent < shares; lent += rx.slots) {
      fillRing(rx, umem.pool);
      this.#released = -rx.slots;
      this.#refill(rx.slots);
    }
  }

  /** Frames that the kernel could not hand over. */
  get dropped(): number {
    return this.#queues.reduce((sum, { fd }) => sum + xskStatistics(fd).rxDropped, 0);
  }

  /** Takes the rx slots before `head`, and moves `tail` over what has come. */
  sync(): void {
    const released = (this.#rx.head - this.#released) | 0;
    if (released > 0) this.#refill(released);
    const queues = this.#queues;
    const count = queues.length;
    let n = 0;
    let q = this.#turn;
    for (let i = 0; i < count; i++) {
      n += this.#gather(queues[q]);
      q = q + 1 === count ? 0 : q + 1;
    }
    if (count > 1) this.#turn = this.#turn + 1 === count ? 0 : this.#turn + 1;
    if (n === 0 && this.#busyPoll) for (const { fd } of queues) this.#enter(fd);
  }

  /** Gives the pool the buffers of the slots that aren't the kernel's. Nothing is received from then on. */
  empty(): void {
    const rx = this.#rx;
    const end = (this.#released + rx.slots) | 0;
    for (let i = rx.tail; i !== end; i = (i + 1) | 0) rx.m[rx.slot(i) + AT] = 0;
    rx.head = rx.tail;
    emptyRing(rx, this.#umem.pool);
  }

  /** Gives the buffers of so many rx slots, from `#released` on, to the queues that lack some. */
  #refill(released: number): void {
    const rx = this.#rx;
    const { m } = rx;
    const { xskFill } = this.#umem.arena.kernels;
    let from = this.#released;
    const end = (from + released) | 0;
    for (let i = 0; from !== end; i++) {
      const queue = this.#queues[i];
      const { fill } = queue;
      const left = (end - from) | 0;
      const n = queue.lacks < left ? queue.lacks : left;
      if (n === 0) continue;
      xskFill(queue.fillPath, from, queue.fillProducer, n);
      from = (from + n) | 0;
      queue.fillProducer = (queue.fillProducer + n) | 0;
      queue.lacks -= n;
      Atomics.store(m, fill.producer, queue.fillProducer);
      if ((m[fill.flags] & NEED_WAKEUP) !== 0) this.#enter(queue.fd);
    }
    this.#released = end;
  }

  /** Has the kernel look at a queue. */
  #enter(fd: number): void {
    this.#counters.syscalls++;
    this.#libc.recv(fd, 0, 0, MSG_DONTWAIT);
  }

  /** Takes what has come by a queue, as far as there are slots. @returns how many descriptors */
  #gather(queue: Queue): number {
    const { rx: ring } = queue;
    const rx = this.#rx;
    const { m } = rx;
    let n = (Atomics.load(m, ring.producer) - queue.rxConsumer) | 0;
    const free = (rx.slots - ((rx.tail - rx.head) | 0)) | 0;
    if (n > free) n = this.#wholeFrames(queue, free);
    if (n <= 0) return 0;
    const { xskReceive } = this.#umem.arena.kernels;
    const received = xskReceive(queue.rxPath, rx.tail, queue.rxConsumer, n, this.#local);
    const frames = Math.floor(received / FRAME);
    rx.tail = (rx.tail + n) | 0;
    queue.rxConsumer = (queue.rxConsumer + n) | 0;
    queue.lacks += n;
    Atomics.store(m, ring.consumer, queue.rxConsumer);
    this.#counters.rxFrames += frames;
    this.#counters.rxBytes += received - frames * FRAME;
    return n;
  }

  /** How many of a queue's next descriptors, `most` at most, end with the end of a frame. */
  #wholeFrames({ rx: ring, rxConsumer }: Queue, most: number): number {
    let n = most;
    while (n > 0 && (this.#rx.m[ring.entries + (((rxConsumer + n - 1) & ring.mask) << 2) + 3] & CONTD) !== 0)
      n--;
    return n;
  }
}
