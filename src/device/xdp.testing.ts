/** A veth cable in the namespace of the test's thread, and what is on the other end of it. */
import { spawnSync } from 'node:child_process';
import { closeSync, writeFileSync } from 'node:fs';
import { Arena } from '../memory/arena.ts';
import { interfaceInfo } from '../os/interface.ts';
import { check, libc, NativeMemory } from '../os/libc.ts';
import type { FarEnd } from './compliance.testing.ts';
import { openXdp, type XdpPort, xdpArenaBytes } from './xdp.ts';
import type { XdpOptions } from './xdp-options.ts';

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 0x80002;
const SIOCETHTOOL = 0x8946;
const ETHTOOL_STXCSUM = 0x17;
/** struct ifreq: name, then a pointer to struct ethtool_value: command u32, value u32. */
const IFREQ_BYTES = 40;
const IFREQ_DATA = 16;
const ETHTOOL_VALUE_BYTES = 8;

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x80800;
const ETH_P_ALL = 3;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
/** struct sockaddr_ll: family u16, protocol u16 (network order), ifindex i32, … */
const SOCKADDR_BYTES = 20;
const FRAME_BYTES = 65_536;
const RCVBUF_BYTES = 16 << 20;
/** The first line of an arena stays unused. */
const ARENA_BYTES_USED = 4096;

export function ip(...args: string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}

/** Two ends, up, without addresses of the kernel's own. */
export function createVeth(a: string, b: string, queues = 1): void {
  for (const scope of ['default', 'all']) writeFileSync(`/proc/sys/net/ipv6/conf/${scope}/disable_ipv6`, '1');
  const count = ['numrxqueues', String(queues), 'numtxqueues', String(queues)];
  ip('link', 'add', a, ...count, 'type', 'veth', 'peer', 'name', b, ...count);
  for (const name of [a, b]) ip('link', 'set', name, 'up');
}

export function openTestXdp(options: XdpOptions): XdpPort {
  return openXdp(new Arena(ARENA_BYTES_USED + xdpArenaBytes(options)), options);
}

/** Has the kernel make the checksums of what leaves by an interface, which a veth would leave out. */
export function disableTxChecksum(name: string): void {
  const c = libc();
  using memory = new NativeMemory(IFREQ_BYTES + ETHTOOL_VALUE_BYTES);
  const { view, u8, address } = memory;
  new TextEncoder().encodeInto(name, u8);
  view.setBigUint64(IFREQ_DATA, BigInt(address + IFREQ_BYTES), true);
  view.setUint32(IFREQ_BYTES, ETHTOOL_STXCSUM, true);
  const fd = check(c.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), 'socket');
  try {
    check(c.ioctl(fd, SIOCETHTOOL, address), 'ioctl ETHTOOL_STXCSUM');
  } finally {
    closeSync(fd);
  }
}

/** A raw socket (AF_PACKET) on an interface. */
export class RawSocket implements FarEnd, Disposable {
  readonly #fd: number;
  readonly #memory = new NativeMemory(FRAME_BYTES);

  constructor(name: string) {
    const c = libc();
    const { view, address } = this.#memory;
    this.#fd = check(c.socket(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0), 'socket AF_PACKET');
    const set = (level: number, option: number, value: number): void => {
      view.setInt32(0, value, true);
      check(c.setsockopt(this.#fd, level, option, address, 4), 'setsockopt');
    };
    set(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    set(SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF_BYTES);
    this.#memory.u8.fill(0, 0, SOCKADDR_BYTES);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETH_P_ALL, false);
    view.setInt32(4, interfaceInfo(name).index, true);
    check(c.bind(this.#fd, address, SOCKADDR_BYTES), `bind AF_PACKET ${name}`);
  }

  send(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      this.#memory.u8.set(frame);
      check(libc().send(this.#fd, this.#memory.address, frame.length, 0), 'send');
    }
  }

  receive(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (;;) {
      const length = libc().recv(this.#fd, this.#memory.address, FRAME_BYTES, 0);
      if (length < 0) return frames;
      frames.push(this.#memory.u8.slice(0, length));
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
    this.#memory.free();
  }
}
