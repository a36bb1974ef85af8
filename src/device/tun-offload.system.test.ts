/**
 * Offload against a kernel that routes between two devices: what we send into one with work left to do comes out of
 * the other with the work done, or, if that one offers the same, still undone.
 */
import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../engine/engine.ts';
import { Arena } from '../memory/arena.ts';
import { FRAME_CHECKSUM_FILL, FRAME_CHECKSUM_GOOD, FRAME_SEGMENT } from '../memory/ring.ts';
import { interfaceInfo } from '../os/interface.ts';
import { enterNewNetwork } from '../os/netns.ts';
import { fold } from '../wire/checksum.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet, parseIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet, parseIpv6Packet } from '../wire/ipv6.ts';
import { type Ends, pseudoSum, transportChecksumGood, viewOf } from '../wire/plain.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitTcp, parseTcp, TCP_CHECKSUM } from '../wire/tcp.ts';
import { emitUdp, parseUdp, UDP_CHECKSUM } from '../wire/udp.ts';
import type { Port } from './port.ts';
import { type Frame, openTestTun, receiveAll, send, sendSegmented } from './tun.testing.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Urn)';

/** From behind the device that sends to behind the one that receives. */
const V4: Ends = { src: '10.1.0.2', dst: '10.2.0.2' };
const V6: Ends = { src: 'fd01::2', dst: 'fd02::2' };

describe.skipIf(reason !== '')(`offload${reason}`, () => {
  let tun: Port;
  let tap: Port;
  /** Of each pair, `whole` has no offload. */
  let whole: Port;
  let undone: Port;

  beforeAll(() => {
    enterNewNetwork();
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
    tun = openTestTun({ name: 'in0', kind: 'tun', hostAddresses: ['10.1.0.1/24', 'fd01::1/64'] });
    tap = openTestTun({ name: 'in1', kind: 'tap', hostAddresses: ['10.1.1.1/24', 'fd01:1::1/64'] });
    whole = openTestTun({
      name: 'out0',
      kind: 'tun',
      offload: false,
      hostAddresses: ['10.2.0.1/24', 'fd02::1/64'],
    });
    undone = openTestTun({ name: 'out1', kind: 'tun', hostAddresses: ['10.3.0.1/24', 'fd03::1/64'] });
  });
  afterAll(() => {
    for (const port of [tun, tap, whole, undone]) port.close();
  });

  /** What the stack sends: a transport header whose checksum field has the pseudo-header's sum. */
  function packet(ends: Ends, protocol: number, payload: Uint8Array): Uint8Array {
    const tcp = protocol === PROTOCOL_TCP;
    const segment = tcp
      ? emitTcp(
          {
            srcPort: 5,
            dstPort: 6,
            seq: 1000,
            ack: 1,
            options: { timestamps: { value: 1, echo: 2 } },
            payload,
          },
          ends,
        )
      : emitUdp({ srcPort: 5, dstPort: 6, payload }, ends);
    const partial = fold(pseudoSum(ends, protocol, segment.length));
    viewOf(segment).setUint16(tcp ? TCP_CHECKSUM : UDP_CHECKSUM, partial);
    return ends.src.includes(':')
      ? emitIpv6Packet({ ...ends, nextHeader: protocol, payload: segment })
      : emitIpv4Packet({ ...ends, protocol, payload: segment, dontFragment: true });
  }

  /** Sends it as the stack behind `port` does. */
  function sendInto(port: Port, bytes: Uint8Array, flags: number, aux = 0): void {
    const header = { dst: interfaceInfo('in1').mac, src: '02:00:00:00:00:09' };
    const type = bytes[0] >> 4 === 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
    const ether = port.capabilities.link === 'ether';
    send(port, ether ? emitEthernet({ ...header, type, payload: bytes }) : bytes, flags, aux);
  }

  /** The transport's part of what was routed, without what the host says by itself (it speaks first). */
  function routed(port: Port, ends: Ends): (Frame & { segment: Uint8Array })[] {
    return receiveAll(port).flatMap((frame) => {
      const v6 = frame.bytes[0] >> 4 === 6;
      const ip = v6 ? parseIpv6Packet(frame.bytes) : parseIpv4Packet(frame.bytes);
      return ip.dst === ends.dst ? [{ ...frame, segment: ip.payload }] : [];
    });
  }

  const anySending = fc.record({
    ends: fc.constantFrom(V4, V6),
    ether: fc.boolean(),
    payload: fc
      .integer({ min: 1, max: 60_000 })
      .map((length) => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255)),
  });

  test('the host completes a checksum that we left to it', () => {
    fc.assert(
      fc.property(
        anySending,
        fc.constantFrom(PROTOCOL_TCP, PROTOCOL_UDP),
        ({ ends, ether, payload }, protocol) => {
          const bytes = packet(ends, protocol, payload.subarray(0, 1400));
          sendInto(ether ? tap : tun, bytes, FRAME_CHECKSUM_FILL);
          const [frame, ...others] = routed(whole, ends);
          expect(others).toEqual([]);
          expect(transportChecksumGood(frame.segment, ends, protocol)).toBe(true);
          expect(frame.flags).toBe(0);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('the host cuts a super-segment into segments of the size we said', () => {
    fc.assert(
      fc.property(anySending, fc.integer({ min: 500, max: 1400 }), ({ ends, ether, payload }, size) => {
        // The tun queue of the host holds 500 packets.
        sendInto(
          ether ? tap : tun,
          packet(ends, PROTOCOL_TCP, payload),
          FRAME_CHECKSUM_FILL | FRAME_SEGMENT,
          size,
        );
        const frames = routed(whole, ends);
        let position = 0;
        for (const { segment, flags } of frames) {
          expect(transportChecksumGood(segment, ends, PROTOCOL_TCP)).toBe(true);
          const tcp = parseTcp(segment);
          expect(tcp.seq).toBe(1000 + position);
          expect(tcp.payload.length).toBe(Math.min(size, payload.length - position));
          expect(Buffer.compare(tcp.payload, payload.subarray(position, position + tcp.payload.length))).toBe(
            0,
          );
          expect(flags).toBe(0);
          position += tcp.payload.length;
        }
        expect(position).toBe(payload.length);
      }),
      { numRuns: 50 },
    );
  });

  test('the host cuts a UDP super-segment into datagrams of the size we said', () => {
    expect([tun, tap, undone, whole].map((port) => port.capabilities.segmentUdp)).toEqual([
      true,
      true,
      true,
      false,
    ]);
    fc.assert(
      fc.property(anySending, fc.integer({ min: 500, max: 1400 }), ({ ends, ether, payload }, size) => {
        sendInto(
          ether ? tap : tun,
          packet(ends, PROTOCOL_UDP, payload),
          FRAME_CHECKSUM_FILL | FRAME_SEGMENT,
          size,
        );
        const frames = routed(whole, ends);
        const pieces = frames.map(({ segment, flags }) => {
          expect(transportChecksumGood(segment, ends, PROTOCOL_UDP)).toBe(true);
          expect(flags).toBe(0);
          return parseUdp(segment).payload;
        });
        const wanted: Uint8Array[] = [];
        for (let at = 0; at < payload.length; at += size) wanted.push(payload.slice(at, at + size));
        expect(pieces).toEqual(wanted);
      }),
      { numRuns: 30 },
    );
  });

  test('a device with offload gets a UDP super-segment uncut, with the size', () => {
    const payload = Uint8Array.from({ length: 20_000 }, (_, i) => i * 3);
    for (const ends of [
      { ...V4, dst: '10.3.0.2' },
      { ...V6, dst: 'fd03::2' },
    ]) {
      sendInto(tun, packet(ends, PROTOCOL_UDP, payload), FRAME_CHECKSUM_FILL | FRAME_SEGMENT, 1200);
      const [frame, ...others] = routed(undone, ends);
      expect(others).toEqual([]);
      expect(frame.flags).toBe(FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL | FRAME_SEGMENT);
      expect(frame.aux).toBe(1200);
      expect(parseUdp(frame.segment).payload).toEqual(payload);
    }
  });

  test('an engine hears a program’s UDP_SEGMENT as the datagrams that it meant', () => {
    const port = openTestTun(
      { name: 'eng0', kind: 'tun', hostAddresses: ['10.4.0.1/24'] },
      new Arena(48 << 20),
    );
    const engine = new Engine({
      arena: port.arena,
      secret: Int32Array.of(1, 2, 3, 4),
      now: 0,
      limits: { connections: 16, miniBlocks: 16, chunks: 64 },
    });
    engine.addInterface(port, { addresses: ['10.4.0.2/24'] });
    const heard: Uint8Array[] = [];
    engine.datagrams.bind(
      { port: 7 },
      { message: (_sock, at, length) => void heard.push(port.arena.u8.slice(at, at + length)) },
    );
    const payload = Uint8Array.from({ length: 10_000 }, (_, i) => i * 5);
    sendSegmented('10.4.0.2', 7, payload, 1200);
    engine.breath(1);
    port.close();
    // The host says a few things by itself, too.
    expect(port.counters.rxFrames, 'it came as one').toBeLessThan(9);
    expect(heard.map((bytes) => bytes.length)).toEqual([...Array(8).fill(1200), 400]);
    expect(Buffer.concat(heard)).toEqual(Buffer.from(payload));
  });

  test('a device with offload gets it uncut, with the size and a checksum that needs no check', () => {
    const payload = new Uint8Array(30_000).fill(3);
    for (const ends of [
      { ...V4, dst: '10.3.0.2' },
      { ...V6, dst: 'fd03::2' },
    ]) {
      sendInto(tun, packet(ends, PROTOCOL_TCP, payload), FRAME_CHECKSUM_FILL | FRAME_SEGMENT, 1200);
      const [frame, ...others] = routed(undone, ends);
      expect(others).toEqual([]);
      expect(frame.flags).toBe(FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL | FRAME_SEGMENT);
      expect(frame.aux).toBe(1200);
      expect(parseTcp(frame.segment).payload).toEqual(payload);
      const partial = fold(pseudoSum(ends, PROTOCOL_TCP, frame.segment.length));
      expect(viewOf(frame.segment).getUint16(TCP_CHECKSUM)).toBe(partial);
    }
    expect(undone.counters.rxDropped).toBe(0);
  });

  test('the largest there is passes both ways', () => {
    const ends = { ...V4, dst: '10.3.0.2' };
    const payload = new Uint8Array(65_535 - 20 - 32).fill(9);
    const bytes = packet(ends, PROTOCOL_TCP, payload);
    expect(bytes.length).toBe(tun.capabilities.segmentBytesMax);
    for (const port of [tun, tap]) {
      sendInto(port, bytes, FRAME_CHECKSUM_FILL | FRAME_SEGMENT, 1400);
      const frames = routed(undone, ends);
      expect(frames.map((frame) => frame.segment.length)).toEqual([65_515]);
      expect(parseTcp(frames[0].segment).payload).toEqual(payload);
    }
  });
});
