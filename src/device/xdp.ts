/**
 * AF_XDP: queues of a network interface as rings that are shared with the kernel, the frames in the port's own buffers.
 * An XDP program of ours (xdp-filter.ts) takes what is for us, before the host's stack sees it; the rest passes to the host.
 *
 *     queue 0 ─► fill, rx rings ─┐                      buffers given back go to the queues that lack some
 *     queue 1 ─► fill, rx rings ─┼─► rx ring of the port                                      (xdp-receive.ts)
 *     queue … ─► fill, rx rings ─┘
 *     first queue's tx ring ◄─────── tx ring of the port         completion ring ─► free tx slots (xdp-send.ts)
 *
 * **One rule for tx: all frames leave by the first queue**, in order, with one system call a batch. Received frames
 * keep their order within a queue, and so within a flow; the queues take turns in being looked at first.
 *
 * What is ours goes when the port is closed or the process ends, however it ends: sockets, program, link.
 */
import { closeSync } from 'node:fs';
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { Ring } from '../memory/ring.ts';
import { attachXdp, createXskMap, loadXdpProgram, updateMap, type XdpMode } from '../os/bpf.ts';
import { errorCode, SystemError } from '../os/errno.ts';
import { type InterfaceInfo, interfaceInfo } from '../os/interface.ts';
import { libc } from '../os/libc.ts';
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
  unmapXskRing,
  type XskRing,
  type XskRingKind,
  xskRingBytes,
} from '../os/xsk.ts';
import { parseMac } from '../wire/address.ts';
import { createFrames, framesArenaBytes, ringArenaBytes, SMALL_ROOM_BYTES } from './frames.ts';
import { type Capabilities, PLAIN, type Port, type PortCounters, PortError } from './port.ts';
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
import { XdpReceiver } from './xdp-receive.ts';
import { XdpSender } from './xdp-send.ts';
import { suitsUmem, Umem, umemArenaBytes } from './xdp-umem.ts';

export interface XdpPort extends Port {
  readonly mode: XdpMode;
  /** Frames cross without a copy. */
  readonly zeroCopy: boolean;
}

const SLOTS_DEFAULT = 512;
/** Kinds of devices whose other end may be this machine's kernel, which leaves checksums to them. */
const LOCAL_KINDS: readonly string[] = ['veth', 'netkit', 'tun'];
/** How often syncs look whether the interface is still as it was; a Poller wakes its user for that until they do. */
const LOOK_MASK = 1023;
/** Frames for one run of a device's interrupt work. */
const BUSY_POLL_BUDGET = 64;

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
    2 * ringArenaBytes(slots) +
    rings +
    tx +
    framesArenaBytes(frames, SMALL_ROOM_BYTES) +
    umemArenaBytes(frames, 2 * queues + 2)
  );
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
  readonly #interface: InterfaceInfo;
  readonly #interfaceName: string;
  readonly #watch: LinkWatch;
  readonly #receiver: XdpReceiver;
  readonly #sender: XdpSender;
  /** What was opened, mapped and taken. */
  readonly #owned: DisposableStack;
  #syncs = 0;
  #closed = false;

  constructor(arena: Arena, options: XdpOptions, info: InterfaceInfo) {
    const { name, queue, addresses = [], multiBuffer = false, offload = true, busyPoll_us } = options;
    this.name = `xdp:${name}${queue === undefined ? '' : `:${queue}`}`;
    this.arena = arena;
    this.#interface = info;
    this.#interfaceName = name;

    const numbers = queue === undefined ? queuesOf(options) : [queue];
    const slots = options.slots ?? SLOTS_DEFAULT;
    this.frameBytes = multiBuffer ? SMALL_ROOM_BYTES : Math.min(SMALL_ROOM_BYTES, info.mtu + LINK_BYTES_MAX);
    const mtu = mtuOf(options, info, this.frameBytes);
    this.rx = new Ring(arena, `${this.name} rx`, slots);
    this.tx = new Ring(arena, `${this.name} tx`, slots);
    const given = options.pool;
    const suits = given !== undefined && suitsUmem(given);
    const sets = suits ? 1 : numbers.length;
    this.pool = suits
      ? given
      : createFrames(arena, `${this.name} frames`, (sets + 1) * slots, SMALL_ROOM_BYTES);
    const umem = new Umem(arena, this.name, this.pool);

    using owned = new DisposableStack();
    const own = (fd: number): number => owned.adopt(fd, closeSync);
    const ring = (fd: number, kind: XskRingKind, slots: number): XskRing =>
      owned.adopt(mapXskRing(fd, kind, slots, arena), (mapped) => unmapXskRing(kind, mapped, arena));
    let receiver: XdpReceiver | undefined;
    let sender: XdpSender | undefined;
    // The last to be undone: the kernel uses no buffer then.
    owned.defer(() => {
      sender?.empty();
      receiver?.empty();
      umem.takeBack();
    });
    this.#watch = owned.adopt(new LinkWatch(), (watch) => watch.close());
    // Attached before the sockets are bound, since some drivers change their queues for it.
    const map = own(createXskMap(Math.max(...numbers) + 1));
    const code = xdpFilter(map, addresses, options.only);
    // Without `frags` the kernel lets no program near a long frame; older ones than Linux 5.18 don't know it.
    const program = own(loadXdpProgram('millrace', code, true));
    const [link, mode] = attach(program, info.index, options.mode);
    own(link);
    this.mode = mode;

    const first = own(openXsk());
    const canMakeChecksums = registerUmem(
      first,
      libc().addressOf(arena.u8) + umem.base,
      umem.bytes,
      umem.chunkBytes,
      offload,
    );
    const completion = ring(first, 'completion', slots);
    const tx = ring(first, 'tx', slots);
    if (slots > TX_BUDGET_MIN) setTxBudget(first, slots);
    const shareEnd = (i: number): number => Math.floor((i * sets * slots) / numbers.length);
    const queues = numbers.map((number, i) => {
      const fd = i === 0 ? first : own(openXsk());
      const share = shareEnd(i + 1) - shareEnd(i);
      const fill = ring(fd, 'fill', powerOfTwo(share));
      const rx = ring(fd, 'rx', powerOfTwo(share));
      // Of no use, but a queue without is refused.
      if (i > 0) ring(fd, 'completion', 1);
      if (busyPoll_us !== undefined) setBusyPoll(fd, busyPoll_us, BUSY_POLL_BUDGET);
      if (i === 0) bindXsk(fd, info.index, number, multiBuffer);
      else bindXskSharing(fd, info.index, number, first);
      return { fd, fill, rx, share };
    });
    this.zeroCopy = isZeroCopy(first);
    // Without a copy only some drivers make checksums, and they don't say which.
    const metadata = canMakeChecksums && !this.zeroCopy;
    const local = offload && LOCAL_KINDS.includes(info.kind);
    this.capabilities = {
      ...PLAIN,
      link: 'ether',
      mtu,
      mac: parseMac(info.mac),
      txChecksum: metadata,
      rxChecksum: local,
      multiBuffer,
      groups: addresses.length === 0,
      queues: queues.length,
    };
    this.counters = countersWith(() => receiver?.dropped ?? 0);
    receiver = new XdpReceiver(this.rx, this.counters, umem, queues, {
      local,
      busyPoll: busyPoll_us !== undefined,
    });
    sender = new XdpSender(
      this.tx,
      this.counters,
      umem,
      { fd: first, tx, completion },
      { lengthMax: this.frameBytes, multiBuffer, metadata },
    );
    this.#sender = sender;
    this.#receiver = receiver;
    this.fds = [...queues.map(({ fd }) => fd), this.#watch.fd];
    // What we did ourselves is no news.
    this.#watch.changed();
    // Packets come from here on.
    for (const [i, number] of numbers.entries()) updateMap(map, number, queues[i].fd);
    this.#owned = owned.move();
  }

  /** @throws PortError ENODEV when the interface was removed, EMSGSIZE when its MTU has outgrown the buffers */
  rxSync(): number {
    if (this.#closed) return 0;
    if ((++this.#syncs & LOOK_MASK) === 0) this.#look();
    this.#receiver.sync();
    return this.rx.available;
  }

  /** @throws PortError as rxSync */
  txSync(): number {
    if (this.#closed) return 0;
    try {
      this.#sender.sync();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#look();
      throw new PortError(error.code, `${this.name} can't send any more`, { cause: error });
    }
    return this.tx.available;
  }

  /** The host gets all packets from now on. A Poller that watches `fds` must be closed before. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // Read for the last time.
    const { rxDropped } = this.counters;
    Object.defineProperty(this.counters, 'rxDropped', { value: rxDropped, enumerable: true });
    this.#owned.dispose();
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
    const { multiBuffer } = this.capabilities;
    if (!multiBuffer && info.mtu > this.#interface.mtu && info.mtu + LINK_BYTES_MAX > this.frameBytes) {
      throw new PortError(
        'EMSGSIZE',
        `the MTU of ${name} was raised to ${info.mtu}, and this port's frames hold ${this.frameBytes} B: close it and ` +
          'open another, or set the MTU back',
      );
    }
  }
}

/** Natively if the driver can, unless told. @returns the link's descriptor, and where the program runs. @throws SystemError */
function attach(program: number, ifindex: number, mode: XdpMode | undefined): [number, XdpMode] {
  if (mode !== undefined) return [attachXdp(program, ifindex, mode), mode];
  try {
    return [attachXdp(program, ifindex, 'native'), 'native'];
  } catch (error) {
    if (errorCode(error) === 'EBUSY' || errorCode(error) === 'EPERM') throw error;
    return [attachXdp(program, ifindex, 'generic'), 'generic'];
  }
}

function powerOfTwo(atLeast: number): number {
  return 2 ** Math.ceil(Math.log2(atLeast));
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
