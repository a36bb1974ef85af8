/**
 * AF_PACKET: a socket that gets all frames of a network interface, by a ring of memory shared with the kernel, and
 * sends frames as they are (packet(7), linux/if_packet.h). The constants are what the kernel's headers call them.
 */
import { closeSync } from 'node:fs';
import { check, libc, NativeMemory } from './libc.ts';

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC_NONBLOCK = 0x80803;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_ATTACH_FILTER = 26;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_RX_RING = 5;
const PACKET_STATISTICS = 6;
const PACKET_VERSION = 10;
const PACKET_VNET_HDR = 15;
const PACKET_FANOUT = 18;
const PACKET_QDISC_BYPASS = 20;
const PACKET_IGNORE_OUTGOING = 23;

const TPACKET_V2 = 1;
const PACKET_MR_PROMISC = 1;
const PACKET_MR_ALLMULTI = 2;
const PACKET_FANOUT_HASH = 0;
/** A group has PACKET_IGNORE_OUTGOING of its own. */
const FANOUT_FLAG_IGNORE_OUTGOING = 0x4000;
/** A group that nobody has. */
const FANOUT_FLAG_UNIQUEID = 0x2000;
const ETH_P_ALL = 3;

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_FIXED = 0x10;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MAP_POPULATE = 0x8000;

/** struct sockaddr_ll: family u16, protocol u16 (big-endian), ifindex i32, hatype u16, pkttype u8, halen u8, address. */
const SOCKADDR_BYTES = 20;
/** struct packet_mreq: ifindex i32, type u16, address length u16, address. */
const MREQ_BYTES = 16;
/** struct sock_filter: code u16, jt u8, jf u8, k u32. */
const INSTRUCTION_BYTES = 8;
/** struct sock_fprog: length u16, pointer at 8. */
const PROGRAM_BYTES = 16;

/** An instruction of a classic BPF program. */
export type BpfInstruction = readonly [code: number, jt: number, jf: number, k: number];

/** Slots of equal size in blocks of contiguous memory. */
export interface PacketRing {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly slotBytes: number;
}

/** A socket that receives nothing until it is bound. @throws SystemError, EPERM without CAP_NET_RAW */
export function openPacketSocket(): number {
  return check(libc().socket(AF_PACKET, SOCK_RAW_CLOEXEC_NONBLOCK, 0), 'socket AF_PACKET');
}

/**
 * How a socket's frames come and go, before it is bound: a virtio header of 10 bytes before each; those that are sent take
 * no queueing discipline on their way.
 * @param outgoing Whether frames that leave the interface are received, too; sockets of this kind are not seen sending.
 * @throws SystemError, ENOPROTOOPT when the kernel is older than Linux 4.20
 */
export function setPacketModes(fd: number, outgoing: boolean): void {
  setOption(fd, SOL_PACKET, PACKET_VERSION, [TPACKET_V2]);
  setOption(fd, SOL_PACKET, PACKET_VNET_HDR, [1]);
  setOption(fd, SOL_PACKET, PACKET_QDISC_BYPASS, [1]);
  if (!outgoing) setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, [1]);
}

/** Only frames for which the program returns more than 0 are received. @throws SystemError */
export function attachFilter(fd: number, program: readonly BpfInstruction[]): void {
  using memory = new NativeMemory(PROGRAM_BYTES + program.length * INSTRUCTION_BYTES);
  const { view, address } = memory;
  view.setUint16(0, program.length, true);
  view.setBigUint64(8, BigInt(address + PROGRAM_BYTES), true);
  for (const [i, [code, jt, jf, k]] of program.entries()) {
    const at = PROGRAM_BYTES + i * INSTRUCTION_BYTES;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jt);
    view.setUint8(at + 3, jf);
    view.setUint32(at + 4, k >>> 0, true);
  }
  check(
    libc().setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, address, PROGRAM_BYTES),
    'setsockopt SO_ATTACH_FILTER',
  );
}

/**
 * Makes the receive ring and maps it over pages of memory that the caller keeps: `ringBytes`, on a page's start.
 * @throws SystemError, ENOMEM
 */
export function mapRxRing(fd: number, ring: PacketRing, address: number): void {
  const { blockBytes, blocks, slotBytes } = ring;
  const slots = Math.floor(blockBytes / slotBytes) * blocks;
  setOption(fd, SOL_PACKET, PACKET_RX_RING, [blockBytes, blocks, slotBytes, slots]);
  const flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
  check(libc().mmap(address, blockBytes * blocks, PROT_READ_WRITE, flags, fd, 0), 'mmap PACKET_RX_RING');
}

/** Puts ordinary zeroed pages in the ring's place, without which the kernel would keep the socket. */
export function unmapRxRing({ blockBytes, blocks }: PacketRing, address: number): void {
  const flags = MAP_PRIVATE_ANONYMOUS | MAP_FIXED;
  check(libc().mmap(address, blockBytes * blocks, PROT_READ_WRITE, flags, -1, 0), 'mmap');
}

/** Frames come from here on. @throws SystemError, ENODEV, ENETDOWN */
export function bindPacketSocket(fd: number, ifindex: number): void {
  using memory = new NativeMemory(SOCKADDR_BYTES);
  const { view, address } = memory;
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, ETH_P_ALL, false);
  view.setInt32(4, ifindex, true);
  check(libc().bind(fd, address, SOCKADDR_BYTES), 'bind AF_PACKET');
}

/**
 * While the socket is open, the interface takes frames for any hardware address, or, with 'groups', for any group besides
 * its own. @throws SystemError
 */
export function joinAll(fd: number, ifindex: number, what: 'hosts' | 'groups'): void {
  using memory = new NativeMemory(MREQ_BYTES);
  memory.view.setInt32(0, ifindex, true);
  memory.view.setUint16(4, what === 'hosts' ? PACKET_MR_PROMISC : PACKET_MR_ALLMULTI, true);
  check(
    libc().setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, memory.address, MREQ_BYTES),
    'setsockopt PACKET_ADD_MEMBERSHIP',
  );
}

/** Shares the frames out between bound sockets, each flow to one of them. @param outgoing As theirs. @throws SystemError */
export function shareOut(fds: readonly number[], outgoing: boolean): void {
  const [first, ...others] = fds;
  const modes = outgoing ? 0 : FANOUT_FLAG_IGNORE_OUTGOING;
  const join = (fd: number, group: number, flags: number): void =>
    setOption(fd, SOL_PACKET, PACKET_FANOUT, [group | ((PACKET_FANOUT_HASH | flags) << 16)]);
  join(first, 0, modes | FANOUT_FLAG_UNIQUEID);
  const group = getOption(first, SOL_PACKET, PACKET_FANOUT, 1)[0] & 0xffff;
  for (const fd of others) join(fd, group, modes);
}

/** How many frames found no free slot since the last call. */
export function takeDrops(fd: number): number {
  return getOption(fd, SOL_PACKET, PACKET_STATISTICS, 2)[1] >>> 0;
}

/** The number of the error that the socket has had since the last call, ENETDOWN when its interface is down; or 0. */
export function takeError(fd: number): number {
  return getOption(fd, SOL_SOCKET, SO_ERROR, 1)[0];
}

/** Whether a socket can have all that ports want; joins no interface. @throws SystemError */
export function tryPacketSocket(): void {
  const fd = openPacketSocket();
  try {
    setPacketModes(fd, false);
    setOption(fd, SOL_PACKET, PACKET_RX_RING, [4096, 1, 4096, 1]);
  } finally {
    closeSync(fd);
  }
}

/** What to do about an error of the above, or '' when that depends. */
export function packetAdvice(code: string): string {
  switch (code) {
    case 'EPERM':
      return 'grant CAP_NET_RAW: run as root, or in a network namespace of your own (unshare -Urn)';
    case 'ENODEV':
      return 'there is no interface of this name here: ip link lists them';
    case 'ENOMEM':
      return 'the kernel has no 20 MiB for each queue: take fewer queues, or free memory';
    case 'ENOPROTOOPT':
      return 'needs Linux 4.20';
    default:
      return '';
  }
}

function setOption(fd: number, level: number, option: number, words: readonly number[]): void {
  using memory = new NativeMemory(words.length * 4);
  for (const [i, word] of words.entries()) memory.view.setInt32(i * 4, word, true);
  const what = `setsockopt ${level === SOL_PACKET ? 'SOL_PACKET' : level} ${option}`;
  check(libc().setsockopt(fd, level, option, memory.address, words.length * 4), what);
}

function getOption(fd: number, level: number, option: number, words: number): number[] {
  using memory = new NativeMemory(words * 4 + 4);
  const { view, address } = memory;
  view.setUint32(words * 4, words * 4, true);
  check(libc().getsockopt(fd, level, option, address, address + words * 4), `getsockopt ${level} ${option}`);
  return Array.from({ length: words }, (_, i) => view.getInt32(i * 4, true));
}
