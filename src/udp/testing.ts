/** For tests: one engine on a link whose other end is the test, in virtual time; it speaks UDP by hand. */
import { createCable } from '../device/cable.ts';
import type { Port } from '../device/port.ts';
import { Engine } from '../engine/engine.ts';
import type { Limits } from '../engine/limits.ts';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH, FRAME_SEGMENT } from '../memory/ring.ts';
import { type Decoded, decodeFrame } from '../wire/decode.ts';
import { emitIcmp } from '../wire/icmp.ts';
import { emitIcmpv6 } from '../wire/icmpv6.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitUdp } from '../wire/udp.ts';

export const OUR = { 4: '10.0.0.1', 6: 'fd00::1' } as const;
export const OTHER = { 4: '10.0.0.9', 6: 'fd00::9' } as const;
export const PEER = { 4: '10.0.0.2', 6: 'fd00::2' } as const;
export const PEER_PORT = 5000;

export interface Ends {
  src?: string;
  dst?: string;
  srcPort?: number;
  dstPort?: number;
  /** The payload is of several datagrams of this length, under one header (FRAME_SEGMENT). */
  segmentBytes?: number;
}

export class UdpContext {
  readonly arena = new Arena(16 << 20);
  readonly engine: Engine;
  readonly port: Port;
  now = 10_000;

  constructor(limits: Partial<Limits> = {}, slots = 64) {
    const [near, far] = createCable(this.arena, 'link', { link: 'ip', slots });
    this.port = far;
    this.engine = new Engine({
      arena: this.arena,
      secret: Int32Array.of(1, 2, 3, 4),
      now: this.now,
      limits: { connections: 16, miniBlocks: 16, chunks: 64, udpChunks: 256, ...limits },
    });
    const addresses = [`${OUR[4]}/24`, `${OTHER[4]}/24`, `${OUR[6]}/64`, `${OTHER[6]}/64`];
    this.engine.addInterface(near, { addresses });
    this.engine.onHandlerError = (error) => {
      throw error;
    };
  }

  get counters() {
    return this.engine.udp.counters;
  }

  get iface() {
    return this.engine.ip.interfaces[0];
  }

  /** A breath. @returns what the engine sent */
  breath(ms = 1): Decoded[] {
    this.now += ms;
    this.engine.breath(this.now);
    const frames: Decoded[] = [];
    for (let n = this.port.rxSync(); n > 0; n--) {
      const slot = this.port.rx.slot(this.port.rx.head);
      const at = this.port.rx.m[slot + DESC_AT];
      frames.push(decodeFrame(this.arena.u8.slice(at, at + this.port.rx.m[slot + DESC_LENGTH]), 'ip'));
      this.port.rx.head = (this.port.rx.head + 1) | 0;
    }
    this.port.rxSync();
    return frames;
  }

  /** A packet for the engine's next breath. */
  give(packet: Uint8Array, segmentBytes = 0): void {
    const { tx } = this.port;
    const slot = tx.slot(tx.head);
    this.arena.u8.set(packet, tx.m[slot + DESC_AT]);
    tx.m[slot + DESC_LENGTH] = packet.length;
    tx.m[slot + DESC_FLAGS] = segmentBytes > 0 ? FRAME_SEGMENT : 0;
    tx.m[slot + DESC_AUX] = segmentBytes;
    tx.head = (tx.head + 1) | 0;
    this.port.txSync();
  }

  /** A datagram of the peer's. @param edit Changes what UDP sends before IP does. */
  datagram(version: 4 | 6, payload: Uint8Array, ends: Ends = {}, edit?: (udp: Uint8Array) => void): void {
    const { src = PEER[version], dst = OUR[version], srcPort = PEER_PORT, dstPort = 7, segmentBytes } = ends;
    const udp = emitUdp({ srcPort, dstPort, payload }, { src, dst });
    edit?.(udp);
    this.give(
      version === 4
        ? emitIpv4Packet({ src, dst, protocol: PROTOCOL_UDP, payload: udp })
        : emitIpv6Packet({ src, dst, nextHeader: PROTOCOL_UDP, payload: udp }),
      segmentBytes,
    );
  }

  /** An ICMP error of the peer's about a datagram of ours. @param code Of "unreachable", or an MTU. */
  error(version: 4 | 6, what: { code: number } | { mtu: number }, from: number, to = PEER_PORT): void {
    const [src, dst] = [OUR[version], PEER[version]];
    const udp = emitUdp({ srcPort: from, dstPort: to, payload: new Uint8Array(0) }, { src, dst });
    if (version === 4) {
      const payload = emitIpv4Packet({ src, dst, protocol: PROTOCOL_UDP, payload: udp });
      const { code, mtu } = { code: 4, mtu: 0, ...what };
      const message = emitIcmp({ kind: 'unreachable', code, mtu, payload });
      this.give(emitIpv4Packet({ src: dst, dst: src, protocol: PROTOCOL_ICMP, payload: message }));
    } else {
      const payload = emitIpv6Packet({ src, dst, nextHeader: PROTOCOL_UDP, payload: udp });
      const ends = { src: dst, dst: src };
      const message = emitIcmpv6(
        'mtu' in what
          ? { kind: 'packet too big', mtu: what.mtu, payload }
          : { kind: 'unreachable', code: what.code, payload },
        ends,
      );
      this.give(emitIpv6Packet({ ...ends, nextHeader: PROTOCOL_ICMPV6, payload: message }));
    }
  }
}

/** Bytes that tell which datagram they are of. */
export function bytes(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => seed + i * 7 + (i >> 8) * 13);
}
