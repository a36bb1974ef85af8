/** A TUN or TAP port for tests, with what the tests of it and the kernel beyond it need. */
import { closeSync, writeFileSync } from 'node:fs';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import { interfaceInfo } from '../os/interface.ts';
import { check, libc, NativeMemory } from '../os/libc.ts';
import { attachFilter } from '../os/packet-socket.ts';
import { parseIpv4, parseIpv6 } from '../wire/address.ts';
import type { FarEnd } from './compliance.testing.ts';
import type { Port } from './port.ts';
import { openTun, type TunOptions, tunArenaBytes } from './tun.ts';
import type { TunPort } from './tun-port.ts';

const AF_PACKET = 17;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const ETH_P_ALL = 3;
const ETH_P_IP = 0x0800;
/** Classic BPF: load a word, skip as many unless it is equal, return. */
const [LOAD, JUMP_EQUAL, RETURN] = [0x20, 0x15, 0x06];
/** Where the kernel has the queue that a frame came by, counted from 1: SKF_AD_OFF + SKF_AD_QUEUE. */
const QUEUE = -0x1000 + 24;
/** struct sockaddr_ll: family u16, protocol u16 (big-endian), index i32, and what isn't needed. */
const SOCKADDR_LL_BYTES = 20;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x80800;
const SOCK_DGRAM_CLOEXEC = 2 | 0x80000;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_IPV6 = 41;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
/** The first line of an arena stays unused. */
const ARENA_BYTES_USED = 64;

export function openTestTun(options: TunOptions, arena?: Arena): TunPort {
  const { offload = true, mtu = 1500, slots } = options;
  return openTun(arena ?? new Arena(ARENA_BYTES_USED + tunArenaBytes(offload, mtu, slots)), options);
}

export interface Frame {
  readonly bytes: Uint8Array;
  readonly flags: number;
  readonly aux: number;
}

/** Everything that has arrived. */
export function receiveAll(port: Port): Frame[] {
  const frames: Frame[] = [];
  for (let n = port.rxSync(); n > 0; n = port.rxSync()) {
    for (; n > 0; n--) {
      const slot = port.rx.slot(port.rx.head);
      const at = port.rx.m[slot + DESC_AT];
      const bytes = port.arena.u8.slice(at, at + port.rx.m[slot + DESC_LENGTH]);
      frames.push({ bytes, flags: port.rx.m[slot + DESC_FLAGS], aux: port.rx.m[slot + DESC_AUX] });
      port.rx.head = (port.rx.head + 1) | 0;
    }
  }
  return frames;
}

/** Fills the next tx slot, without a sync. @returns false when none is free */
export function queue(port: Port, bytes: Uint8Array, flags = 0, aux = 0, length = bytes.length): boolean {
  if (port.tx.available === 0) return false;
  const slot = port.tx.slot(port.tx.head);
  port.arena.u8.set(bytes, port.tx.m[slot + DESC_AT]);
  port.tx.m[slot + DESC_LENGTH] = length;
  port.tx.m[slot + DESC_FLAGS] = flags;
  port.tx.m[slot + DESC_AUX] = aux;
  port.tx.head = (port.tx.head + 1) | 0;
  return true;
}

export function send(port: Port, bytes: Uint8Array, flags = 0, aux = 0): void {
  if (!queue(port, bytes, flags, aux)) throw new Error('no tx slot is free');
  port.txSync();
}

/** Tries `look` at each turn of the event loop until it gives something. */
export async function eventually<T>(look: () => T | undefined, what: string): Promise<T> {
  const end = performance.now() + 5000;
  while (performance.now() < end) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`${what}: not in 5 s`);
}

/** What `ping` uses: the host sends ICMP messages, and receives those that come for it. */
export class PingSocket implements Disposable {
  readonly #fd: number;
  readonly #v6: boolean;
  readonly #memory = new NativeMemory(1 << 17);

  constructor(v6 = false) {
    this.#v6 = v6;
    const family = v6 ? AF_INET6 : AF_INET;
    this.#fd = check(
      libc().socket(family, SOCK_RAW_NONBLOCK_CLOEXEC, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP),
      'socket',
    );
  }

  /** IPv6: what goes to groups leaves by this interface, as neighbour discovery must (hop limit 255). */
  towards(ifindex: number): void {
    for (const [option, value] of [
      [IPV6_MULTICAST_HOPS, 255],
      [IPV6_MULTICAST_IF, ifindex],
    ]) {
      this.#memory.view.setInt32(0, value, true);
      check(libc().setsockopt(this.#fd, IPPROTO_IPV6, option, this.#memory.address, 4), 'setsockopt');
    }
  }

  /** @param message With its checksum; ICMPv6's is filled in by the kernel. */
  send(to: string, message: Uint8Array): void {
    const { view, u8, address } = this.#memory;
    u8.fill(0, 0, 64);
    view.setUint16(0, this.#v6 ? AF_INET6 : AF_INET, true);
    if (this.#v6) for (const [i, word] of parseIpv6(to).entries()) view.setInt32(8 + i * 4, word, false);
    else view.setInt32(4, parseIpv4(to), false);
    u8.set(message, 64);
    check(
      libc().sendto(this.#fd, address + 64, message.length, 0, address, this.#v6 ? 28 : 16),
      `ping ${to}`,
    );
  }

  /** The next message, without the IP header; undefined when there is none. */
  receive(): Uint8Array | undefined {
    const { u8, address } = this.#memory;
    const length = libc().recv(this.#fd, address, u8.length, 0);
    if (length < 0) return undefined;
    return u8.slice(this.#v6 ? 0 : (u8[0] & 15) << 2, length);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
    this.#memory.free();
  }
}

/** All that comes from an interface and nothing of what goes to it: the host as a far end. */
export class HostEnd implements FarEnd {
  readonly #fd: number;
  readonly #memory = new NativeMemory(1 << 17);

  /**
   * @param name An interface that is up, and on which the host says nothing by itself.
   * @param queue Of the interface: only what comes by this one; all unless told.
   */
  constructor(name: string, queue?: number) {
    const { view, u8, address } = this.#memory;
    const { index, mac } = interfaceInfo(name);
    this.#fd = check(libc().socket(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0), 'socket');
    view.setInt32(0, 1, true);
    check(libc().setsockopt(this.#fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, address, 4), 'setsockopt');
    if (queue !== undefined) {
      attachFilter(this.#fd, [
        [LOAD, 0, 0, QUEUE],
        [JUMP_EQUAL, 0, 1, queue + 1],
        [RETURN, 0, 0, u8.length],
        [RETURN, 0, 0, 0],
      ]);
    }
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETH_P_ALL, false);
    view.setInt32(4, index, true);
    check(libc().bind(this.#fd, address, SOCKADDR_LL_BYTES), 'bind');
    // Of what is sent: an Ethernet header tells, a bare packet doesn't.
    view.setUint16(2, mac === '' ? ETH_P_IP : 0, false);
  }

  send(frames: readonly Uint8Array[]): void {
    const { u8, address } = this.#memory;
    for (const frame of frames) {
      u8.set(frame, 64);
      check(libc().sendto(this.#fd, address + 64, frame.length, 0, address, SOCKADDR_LL_BYTES), 'sendto');
    }
  }

  receive(): Uint8Array[] {
    const { u8, address } = this.#memory;
    const frames: Uint8Array[] = [];
    for (;;) {
      const length = libc().recv(this.#fd, address + 64, u8.length - 64, 0);
      if (length < 0) return frames;
      frames.push(u8.slice(64, 64 + length));
    }
  }

  close(): void {
    closeSync(this.#fd);
    this.#memory.free();
  }
}

/** Sends datagrams of `size` bytes, and a shorter one, by a single sendto(2) of the host's, as QUIC's programs do. */
export function sendSegmented(to: string, port: number, payload: Uint8Array, size: number): void {
  const c = libc();
  using memory = new NativeMemory(1 << 17);
  const { view, address } = memory;
  const fd = check(c.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), 'socket');
  try {
    view.setInt32(0, size, true);
    check(c.setsockopt(fd, SOL_UDP, UDP_SEGMENT, address, 4), 'setsockopt UDP_SEGMENT');
    view.setUint16(0, AF_INET, true);
    view.setUint16(2, port, false);
    view.setInt32(4, parseIpv4(to), false);
    memory.u8.set(payload, 64);
    check(c.sendto(fd, address + 64, payload.length, 0, address, 16), 'sendto');
  } finally {
    closeSync(fd);
  }
}

/** In this thread's namespace: no addresses made up, no solicitations, no reports of groups. */
export function silenceIpv6(): void {
  for (const which of ['all', 'default']) {
    writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
  }
}
