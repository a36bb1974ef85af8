/**
 * Address and port translation for IPv4 and TCP (RFC 2663's NAPT), endpoint-independent (RFC 4787 4.1): those inside share
 * the translator's address. A mapping that was idle for too long is forgotten, and the next packet from inside gets
 * another port: to the peer outside the connection is a stranger's from then on. IPv6 passes through unchanged.
 */
import { checksumFinish, checksumUpdate16, checksumUpdate32, sumWords } from '../wire/checksum.ts';
import { ICMP_CHECKSUM, ICMP_HEADER_BYTES } from '../wire/icmp.ts';
import { IPV4_CHECKSUM, IPV4_DST, IPV4_PROTOCOL, IPV4_SRC } from '../wire/ipv4.ts';
import { PROTOCOL_ICMP, PROTOCOL_TCP } from '../wire/protocols.ts';
import { TCP_CHECKSUM, TCP_DST_PORT, TCP_SRC_PORT } from '../wire/tcp.ts';
import type { Link } from './link.ts';
import { Router, type RouterOptions } from './router.ts';
import type { World } from './world.ts';

export interface NatOptions extends RouterOptions {
  /** Idle time after which a mapping is forgotten, ms. RFC 5382 5 asks for 2 h 4 min; many have a minute. */
  readonly timeout_ms: number;
}

interface Mapping {
  readonly address: number;
  readonly port: number;
  readonly outsidePort: number;
  usedAt: number;
}

const MS = 1e6;
const PORT_MIN = 1024;
const IP_BYTES = 20;

export class Nat extends Router {
  /** Mappings forgotten for idleness; packets from outside to no mapping. */
  expired = 0;
  refused = 0;
  readonly #address: number;
  readonly #timeout: number;
  readonly #inside = new Set<number>();
  readonly #byInside = new Map<number, Mapping>();
  readonly #byOutside = new Map<number, Mapping>();
  #nextPort: number;

  constructor(world: World, name: string, number: number, options: NatOptions) {
    super(world, name, number, options);
    this.#address = 0x0a000000 | number;
    this.#timeout = options.timeout_ms * MS;
    this.#nextPort = PORT_MIN + world.prng.below(40_000);
  }

  /** A link whose other end is inside. */
  addInside(link: Link): void {
    this.#inside.add(link.index);
  }

  /** Forgets everything, as when it restarts: all connections from inside go on from new ports. */
  rebind(): void {
    this.#byInside.clear();
    this.#byOutside.clear();
  }

  override receive(f: number, from: Link): void {
    const { frames, arena } = this.world;
    if (arena.u8[frames.at[f]] >> 4 !== 4) this.forward(f);
    else if (!this.#inside.has(from.index)) this.#inbound(f);
    else if (this.#outbound(f)) this.forward(f);
  }

  /** Errors about packets that were translated already go to their senders inside. */
  protected override deliverError(f: number): void {
    const { frames, arena } = this.world;
    const at = frames.at[f];
    if (arena.u8[at] >> 4 === 4 && arena.view.getInt32(at + IPV4_DST, false) === this.#address)
      this.#inbound(f);
    else this.forward(f);
  }

  /** @returns false when the packet was dropped. */
  #outbound(f: number): boolean {
    const { frames, arena } = this.world;
    const { view } = arena;
    const at = frames.at[f];
    if (view.getUint8(at + IPV4_PROTOCOL) !== PROTOCOL_TCP) {
      frames.give(f);
      return false;
    }
    const src = view.getInt32(at + IPV4_SRC, false);
    const port = view.getUint16(at + IP_BYTES + TCP_SRC_PORT, false);
    const mapping = this.#mappingOf(src, port);
    this.#rewrite(at, IPV4_SRC, TCP_SRC_PORT, src, port, this.#address, mapping.outsidePort);
    return true;
  }

  #mappingOf(address: number, port: number): Mapping {
    const { now } = this.world;
    const key = (address & 0xff) * 0x10000 + port;
    let mapping = this.#byInside.get(key);
    if (mapping !== undefined && now - mapping.usedAt > this.#timeout) {
      this.expired++;
      this.#byOutside.delete(mapping.outsidePort);
      mapping = undefined;
    }
    if (mapping === undefined) {
      mapping = { address, port, outsidePort: this.#freePort(), usedAt: now };
      this.#byInside.set(key, mapping);
      this.#byOutside.set(mapping.outsidePort, mapping);
    }
    mapping.usedAt = now;
    return mapping;
  }

  #freePort(): number {
    do this.#nextPort = this.#nextPort === 65_535 ? PORT_MIN : this.#nextPort + 1;
    while (this.#byOutside.has(this.#nextPort));
    return this.#nextPort;
  }

  /** Passes on what belongs to a mapping, and drops the rest. */
  #inbound(f: number): void {
    const { frames, arena } = this.world;
    const { view } = arena;
    const at = frames.at[f];
    if (view.getInt32(at + IPV4_DST, false) !== this.#address) {
      this.forward(f);
      return;
    }
    const icmp = view.getUint8(at + IPV4_PROTOCOL) === PROTOCOL_ICMP;
    const quoted = at + IP_BYTES + ICMP_HEADER_BYTES;
    // An error is about a packet that went out from the port in question.
    const portAt = icmp ? quoted + IP_BYTES + TCP_SRC_PORT : at + IP_BYTES + TCP_DST_PORT;
    const port = view.getUint16(portAt, false);
    const mapping = this.#byOutside.get(port);
    if (mapping === undefined || this.world.now - mapping.usedAt > this.#timeout) {
      this.refused++;
      frames.give(f);
      return;
    }
    if (icmp) this.#rewriteError(at, frames.length[f], quoted, mapping);
    else {
      mapping.usedAt = this.world.now;
      this.#rewrite(at, IPV4_DST, TCP_DST_PORT, this.#address, port, mapping.address, mapping.port);
    }
    this.forward(f);
  }

  /** Changes an address and a port of the segment at `at`, and the checksums by what changed (RFC 1624). */
  #rewrite(
    at: number,
    addressAt: number,
    portAt: number,
    address: number,
    port: number,
    newAddress: number,
    newPort: number,
  ): void {
    const { view } = this.world.arena;
    const l4 = at + IP_BYTES;
    view.setInt32(at + addressAt, newAddress, false);
    view.setUint16(l4 + portAt, newPort, false);
    const header = view.getUint16(at + IPV4_CHECKSUM, false);
    view.setUint16(at + IPV4_CHECKSUM, checksumUpdate32(header, address, newAddress), false);
    const checksum = checksumUpdate32(view.getUint16(l4 + TCP_CHECKSUM, false), address, newAddress);
    view.setUint16(l4 + TCP_CHECKSUM, checksumUpdate16(checksum, port, newPort), false);
  }

  #rewriteError(at: number, length: number, quoted: number, mapping: Mapping): void {
    const { view, kernels } = this.world.arena;
    const l4 = at + IP_BYTES;
    view.setInt32(at + IPV4_DST, mapping.address, false);
    view.setUint16(at + IPV4_CHECKSUM, 0, false);
    view.setUint16(at + IPV4_CHECKSUM, checksumFinish(sumWords(view, at, 5)), false);
    view.setInt32(quoted + IPV4_SRC, mapping.address, false);
    view.setUint16(quoted + IP_BYTES + TCP_SRC_PORT, mapping.port, false);
    view.setUint16(l4 + ICMP_CHECKSUM, 0, false);
    view.setUint16(l4 + ICMP_CHECKSUM, checksumFinish(kernels.sum(l4, length - IP_BYTES)), false);
  }
}
