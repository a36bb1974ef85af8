/**
 * AF_XDP sockets (linux/if_xdp.h): a queue of a network interface as four rings that are shared with the kernel, over
 * packet buffers (the UMEM) that are shared, too. Rings and buffers are in an arena: the kernel's pages of a ring are
 * mapped over a region that was carved for it.
 */
import type { Arena } from '../memory/arena.ts';
import { EBUSY, EINVAL, SystemError } from './errno.ts';
import { check, libc, NativeMemory } from './libc.ts';

const AF_XDP = 44;
const SOCK_RAW_CLOEXEC = 0x80003;
const SOL_XDP = 283;
const XDP_MMAP_OFFSETS = 1;
const XDP_UMEM_REG = 4;
const XDP_STATISTICS = 7;
const XDP_OPTIONS = 8;
const XDP_MAX_TX_SKB_BUDGET = 9;

/** struct xdp_umem_reg: addr u64, len u64, chunk u32, headroom u32, flags u32, tx metadata u32. */
const UMEM_REG_BYTES = 32;
const XDP_UMEM_TX_METADATA_LEN = 1 << 2;
/** struct sockaddr_xdp: family u16, flags u16, ifindex u32, queue u32, fd of the UMEM's socket u32. */
const SOCKADDR_BYTES = 16;
const XDP_SHARED_UMEM = 1;
const XDP_USE_NEED_WAKEUP = 8;
const XDP_USE_SG = 16;
/** struct xdp_statistics, u64: rx dropped, rx invalid, tx invalid, rx ring full, two more. */
const STATISTICS_BYTES = 48;
const XDP_OPTIONS_ZEROCOPY = 1;

const SOL_SOCKET = 1;
const SO_BUSY_POLL = 46;
const SO_PREFER_BUSY_POLL = 69;
const SO_BUSY_POLL_BUDGET = 70;

const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED_POPULATE = 0x8011;
const MAP_PRIVATE_ANONYMOUS_FIXED = 0x32;
const PAGE_BYTES = 4096;

/** A queue stays taken for 10 to 20 ms after its socket was closed. */
const BIND_TRIES = 300;
const BIND_PAUSE_MS = 1;

/** struct xsk_tx_metadata, before a frame whose descriptor has XDP_TX_METADATA: flags u64, start u16, offset u16. */
export const TX_METADATA_BYTES = 24;
export const TX_METADATA_CHECKSUM = 2;
export const TX_METADATA_START = 8;
export const TX_METADATA_OFFSET = 10;
/** Bits of a descriptor's options. */
export const XDP_PKT_CONTD = 1;
export const XDP_TX_METADATA = 2;
/** Of a ring's flags word: the kernel sleeps and wants a system call. */
export const XDP_RING_NEED_WAKEUP = 1;
/** Buffers of one packet on tx, at most: the kernel's MAX_SKB_FRAGS and one. */
export const TX_BUFFERS_MAX = 18;
/** The least that XDP_MAX_TX_SKB_BUDGET takes, and what it is unless told: frames sent by one call. */
export const TX_BUDGET_MIN = 32;

/** What the kernel leaves before a received frame, XDP_PACKET_HEADROOM. */
export const XSK_HEADROOM = 256;

export type XskRingKind = keyof typeof RINGS;

const RINGS = {
  rx: { option: 2, page: 0, entryBytes: 16, layout: 0 },
  tx: { option: 3, page: 0x8000_0000, entryBytes: 16, layout: 32 },
  fill: { option: 5, page: 0x1_0000_0000, entryBytes: 8, layout: 64 },
  completion: { option: 6, page: 0x1_8000_0000, entryBytes: 8, layout: 96 },
} as const;
/** struct xdp_mmap_offsets: producer, consumer, descriptors, flags, u64, for each ring. */
const OFFSETS_BYTES = 128;
/** Before a ring's descriptors, more than any kernel has put there. */
const RING_HEADER_BYTES = 1024;

/**
 * Where a ring is: indices of words in the arena. Entries of rx and tx are four words (address, 0, length, options), of
 * fill and completion two (address, 0), addresses counted from the UMEM's start. Producer and consumer run freely.
 */
export interface XskRing {
  readonly producer: number;
  readonly consumer: number;
  readonly flags: number;
  readonly entries: number;
  readonly mask: number;
}

/** What `mapXskRing` needs of an arena, bytes. */
export function xskRingBytes(kind: XskRingKind, slots: number): number {
  return pages(RING_HEADER_BYTES + slots * RINGS[kind].entryBytes) + PAGE_BYTES;
}

/** @throws SystemError EPERM without CAP_NET_RAW, EAFNOSUPPORT */
export function openXsk(): number {
  return check(libc().socket(AF_XDP, SOCK_RAW_CLOEXEC, 0), 'socket AF_XDP');
}

/**
 * Says where the packet buffers are. The pages are locked.
 * @param address Of a page. @param chunkBytes Of one buffer, a power of two, a page at most.
 * @param metadata Leave TX_METADATA_BYTES before each frame on tx for metadata.
 * @returns whether it will be heeded: Linux 6.11.
 * @throws SystemError ENOBUFS when more memory would be locked than allowed
 */
export function registerUmem(
  fd: number,
  address: number,
  bytes: number,
  chunkBytes: number,
  metadata: boolean,
): boolean {
  using memory = new NativeMemory(UMEM_REG_BYTES);
  const { view } = memory;
  view.setBigUint64(0, BigInt(address), true);
  view.setBigUint64(8, BigInt(bytes), true);
  view.setUint32(16, chunkBytes, true);
  const register = (length: number): number =>
    libc().setsockopt(fd, SOL_XDP, XDP_UMEM_REG, memory.address, length);
  if (metadata) {
    view.setUint32(24, XDP_UMEM_TX_METADATA_LEN, true);
    view.setUint32(28, TX_METADATA_BYTES, true);
    if (register(UMEM_REG_BYTES) === 0) return true;
    if (libc().errno() !== EINVAL) throw new SystemError(libc().errno(), 'setsockopt XDP_UMEM_REG');
    view.setUint32(24, 0, true);
    view.setUint32(28, 0, true);
  }
  check(register(UMEM_REG_BYTES), 'setsockopt XDP_UMEM_REG');
  return false;
}

/** Makes one of a socket's rings and puts it into the arena. @param slots A power of two. @throws SystemError */
export function mapXskRing(fd: number, kind: XskRingKind, slots: number, arena: Arena): XskRing {
  const c = libc();
  const { option, page, entryBytes, layout } = RINGS[kind];
  using memory = new NativeMemory(OFFSETS_BYTES + 8);
  const { view, address } = memory;
  view.setInt32(0, slots, true);
  check(c.setsockopt(fd, SOL_XDP, option, address, 4), `setsockopt ${kind} ring`);
  view.setUint32(OFFSETS_BYTES, OFFSETS_BYTES, true);
  check(
    c.getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, address, address + OFFSETS_BYTES),
    'getsockopt XDP_MMAP_OFFSETS',
  );
  const offset = (field: number): number => Number(view.getBigUint64(layout + 8 * field, true));
  const bytes = pages(offset(2) + slots * entryBytes);
  const at = arena.carve(`xsk ${kind} ring`, bytes, PAGE_BYTES);
  check(
    c.mmap(c.addressOf(arena.u8) + at, bytes, PROT_READ_WRITE, MAP_SHARED_FIXED_POPULATE, fd, page),
    `mmap ${kind} ring`,
  );
  return {
    producer: (at + offset(0)) >> 2,
    consumer: (at + offset(1)) >> 2,
    flags: (at + offset(3)) >> 2,
    entries: (at + offset(2)) >> 2,
    mask: slots - 1,
  };
}

/** Puts ordinary pages where the kernel's were; without it the queue stays taken. */
export function unmapXskRing(kind: XskRingKind, ring: XskRing, arena: Arena): void {
  const c = libc();
  const at = (ring.producer << 2) & -PAGE_BYTES;
  const bytes = pages((ring.entries << 2) - at + (ring.mask + 1) * RINGS[kind].entryBytes);
  c.mmap(c.addressOf(arena.u8) + at, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_FIXED, -1, 0);
}

/**
 * Joins a socket to a queue, without copying if the driver can do that.
 * @param frags Packets of several buffers.
 * @throws SystemError EBUSY when the queue is taken, EINVAL when there is no such queue
 */
export function bindXsk(fd: number, ifindex: number, queue: number, frags: boolean): void {
  bind(fd, ifindex, queue, XDP_USE_NEED_WAKEUP | (frags ? XDP_USE_SG : 0), 0);
}

/** The same for another queue, with the UMEM (and all that was settled with it) of a socket that is bound. */
export function bindXskSharing(fd: number, ifindex: number, queue: number, first: number): void {
  bind(fd, ifindex, queue, XDP_SHARED_UMEM, first);
}

function bind(fd: number, ifindex: number, queue: number, flags: number, umem: number): void {
  const c = libc();
  using memory = new NativeMemory(SOCKADDR_BYTES);
  const { view, address } = memory;
  view.setUint16(0, AF_XDP, true);
  view.setUint16(2, flags, true);
  view.setUint32(4, ifindex, true);
  view.setUint32(8, queue, true);
  view.setUint32(12, umem, true);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 1; c.bind(fd, address, SOCKADDR_BYTES) < 0; tries++) {
    const errno = c.errno();
    if (errno !== EBUSY || tries === BIND_TRIES) throw new SystemError(errno, `bind AF_XDP queue ${queue}`);
    Atomics.wait(pause, 0, 0, BIND_PAUSE_MS);
  }
}

/** Frames that one sendto sends at most, TX_BUDGET_MIN or more. @returns whether it can be set: Linux 6.17. */
export function setTxBudget(fd: number, frames: number): boolean {
  using memory = new NativeMemory(4);
  memory.view.setUint32(0, frames, true);
  return libc().setsockopt(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, memory.address, 4) === 0;
}

/** Lets system calls of this socket run the device's interrupt work. @throws SystemError */
export function setBusyPoll(fd: number, microseconds: number, budget: number): void {
  using memory = new NativeMemory(4);
  for (const [option, value, name] of [
    [SO_PREFER_BUSY_POLL, 1, 'SO_PREFER_BUSY_POLL'],
    [SO_BUSY_POLL, microseconds, 'SO_BUSY_POLL'],
    [SO_BUSY_POLL_BUDGET, budget, 'SO_BUSY_POLL_BUDGET'],
  ] as const) {
    memory.view.setInt32(0, value, true);
    check(libc().setsockopt(fd, SOL_SOCKET, option, memory.address, 4), `setsockopt ${name}`);
  }
}

/** Whether frames cross without a copy. @throws SystemError */
export function isZeroCopy(fd: number): boolean {
  using memory = new NativeMemory(8);
  memory.view.setUint32(4, 4, true);
  check(
    libc().getsockopt(fd, SOL_XDP, XDP_OPTIONS, memory.address, memory.address + 4),
    'getsockopt XDP_OPTIONS',
  );
  return (memory.view.getUint32(0, true) & XDP_OPTIONS_ZEROCOPY) !== 0;
}

export interface XskStatistics {
  /** Received frames that found no buffer or no slot, or were too long. */
  readonly rxDropped: number;
  /** Descriptors that the kernel didn't take for valid. */
  readonly txInvalid: number;
}

/** @throws SystemError */
export function xskStatistics(fd: number): XskStatistics {
  using memory = new NativeMemory(STATISTICS_BYTES + 8);
  const { view, address } = memory;
  view.setUint32(STATISTICS_BYTES, STATISTICS_BYTES, true);
  check(
    libc().getsockopt(fd, SOL_XDP, XDP_STATISTICS, address, address + STATISTICS_BYTES),
    'getsockopt XDP_STATISTICS',
  );
  const u64 = (index: number): number => Number(view.getBigUint64(index * 8, true));
  return { rxDropped: u64(0) + u64(3), txInvalid: u64(2) };
}

function pages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}
