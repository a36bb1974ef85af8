import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FRAME_CHECKSUM_FILL, FRAME_CHECKSUM_GOOD, FRAME_SEGMENT } from '../memory/ring.ts';
import { checksumFinish, fold, sumBytes } from '../wire/checksum.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { concat, type Ends, pseudoSum, transportChecksumGood, viewOf } from '../wire/plain.ts';
import { PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitTcp } from '../wire/tcp.ts';
import { emitUdp } from '../wire/udp.ts';
import {
  VIRTIO_HEADER_BYTES,
  VIRTIO_MALFORMED,
  virtioDecode,
  virtioEncode,
  virtioSegmentBytes,
} from './virtio-header.ts';

const V4: Ends = { src: '10.0.0.1', dst: '10.0.0.2' };
const V6: Ends = { src: 'fd00::1', dst: 'fd00::2' };

interface Case {
  readonly v6: boolean;
  readonly ether: boolean;
  readonly tcp: boolean;
  /** IPv4 options, or an IPv6 extension header of destination options, in units of 8 B. */
  readonly extra: number;
  readonly payload: Uint8Array;
}

const anyCase: fc.Arbitrary<Case> = fc.record({
  v6: fc.boolean(),
  ether: fc.boolean(),
  tcp: fc.boolean(),
  extra: fc.nat(3),
  payload: fc.uint8Array({ maxLength: 300 }),
});

/** The frame and where in it the transport header starts. */
function build({ v6, ether, tcp, extra, payload }: Case) {
  const ends = v6 ? V6 : V4;
  const protocol = tcp ? PROTOCOL_TCP : PROTOCOL_UDP;
  const segment = tcp
    ? emitTcp({ srcPort: 1, dstPort: 2, payload, options: { mss: 1400 } }, ends)
    : emitUdp({ srcPort: 1, dstPort: 2, payload }, ends);
  const packet = v6
    ? emitIpv6Packet({
        ...V6,
        nextHeader: extra > 0 ? 60 : protocol,
        payload: concat(extension(protocol, extra), segment),
      })
    : emitIpv4Packet({ ...V4, protocol, payload: segment, options: new Uint8Array(extra * 8).fill(1) });
  const type = v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
  const macs = { dst: '02:00:00:00:00:02', src: '02:00:00:00:00:01' };
  const frame = ether ? emitEthernet({ ...macs, type, payload: packet }) : packet;
  return { frame, ends, protocol, start: frame.length - segment.length };
}

function extension(next: number, units: number): Uint8Array {
  if (units === 0) return new Uint8Array(0);
  const bytes = new Uint8Array(units * 8);
  bytes[0] = next;
  bytes[1] = units - 1;
  bytes[2] = 0x1e; // any option that may be skipped
  bytes[3] = units * 8 - 4;
  return bytes;
}

/** As a port has it: the header's place first, dirty. */
function place(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  return concat(new Uint8Array(VIRTIO_HEADER_BYTES).fill(0xff), frame);
}

function encode(bytes: Uint8Array, flags: number, ether: boolean, segmentBytes = 0): boolean {
  const length = bytes.length - VIRTIO_HEADER_BYTES;
  return virtioEncode(viewOf(bytes), VIRTIO_HEADER_BYTES, length, flags, segmentBytes, ether);
}

describe('encode', () => {
  test('where the header points, completing the checksum makes it right', () => {
    fc.assert(
      fc.property(anyCase, (each) => {
        const { frame, ends, protocol, start } = build(each);
        const bytes = place(frame);
        expect(encode(bytes, FRAME_CHECKSUM_FILL, each.ether)).toBe(true);
        const view = viewOf(bytes);
        const sumFrom = view.getUint16(6, true);
        const field = sumFrom + view.getUint16(8, true);
        expect(sumFrom).toBe(start);
        // What the kernel does: it sums from there, over a field that holds the pseudo-header's sum.
        const segment = bytes.subarray(VIRTIO_HEADER_BYTES + start);
        const at = VIRTIO_HEADER_BYTES + field;
        view.setUint16(at, fold(pseudoSum(ends, protocol, segment.length)));
        view.setUint16(at, checksumFinish(sumBytes(bytes, VIRTIO_HEADER_BYTES + sumFrom)));
        expect(transportChecksumGood(segment, ends, protocol)).toBe(true);
        expect([...bytes.subarray(0, 6)]).toEqual([1, 0, 0, 0, 0, 0]);
      }),
    );
  });

  test('a super-segment, byte for byte', () => {
    const payload = new Uint8Array(4000);
    const ethernet = place(build({ v6: false, ether: true, tcp: true, extra: 0, payload }).frame);
    expect(encode(ethernet, FRAME_CHECKSUM_FILL | FRAME_SEGMENT, true, 1400)).toBe(true);
    // NEEDS_CSUM, TCPV4, headers 14 + 20 + 24, 1400 a segment, TCP at 34, its checksum at 16
    expect([...ethernet.subarray(0, 10)]).toEqual([1, 1, 58, 0, 0x78, 5, 34, 0, 16, 0]);
    const ip6 = place(build({ v6: true, ether: false, tcp: true, extra: 0, payload }).frame);
    expect(encode(ip6, FRAME_SEGMENT, false, 1300)).toBe(true);
    expect([...ip6.subarray(0, 10)]).toEqual([1, 4, 64, 0, 0x14, 5, 40, 0, 16, 0]);
    // Of UDP it's the same type for both: headers 40 + 8, the checksum at 6.
    const udp6 = place(build({ v6: true, ether: false, tcp: false, extra: 0, payload }).frame);
    expect(encode(udp6, FRAME_SEGMENT, false, 1300)).toBe(true);
    expect([...udp6.subarray(0, 10)]).toEqual([1, 5, 48, 0, 0x14, 5, 40, 0, 6, 0]);
  });

  test('nothing to do is all zero, whatever the frame and the other flags are', () => {
    const bytes = place(Uint8Array.of(1, 2, 3));
    expect(encode(bytes, FRAME_CHECKSUM_GOOD, true, 9)).toBe(true);
    expect([...bytes]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
  });

  test('refuses what can’t be completed or cut', () => {
    const udp = build({ v6: false, ether: false, tcp: false, extra: 0, payload: new Uint8Array(99) }).frame;
    expect(encode(place(udp), FRAME_CHECKSUM_FILL, false)).toBe(true);
    const tcp = build({ v6: false, ether: false, tcp: true, extra: 0, payload: new Uint8Array(99) }).frame;
    for (const aux of [0, -1, 65_536]) {
      expect(encode(place(tcp), FRAME_SEGMENT, false, aux)).toBe(false);
      expect(encode(place(udp), FRAME_SEGMENT, false, aux)).toBe(false);
    }
    expect(encode(place(tcp), FRAME_CHECKSUM_FILL, true), 'no Ethernet header').toBe(false);
    const icmp = emitIpv4Packet({ ...V4, protocol: PROTOCOL_ICMP, payload: new Uint8Array(8) });
    expect(encode(place(icmp), FRAME_CHECKSUM_FILL, false)).toBe(false);
    const fragment = emitIpv4Packet({
      ...V4,
      protocol: PROTOCOL_UDP,
      payload: udp.subarray(20),
      moreFragments: true,
    });
    expect(encode(place(fragment), FRAME_CHECKSUM_FILL, false)).toBe(false);
    const macs = { dst: '02:00:00:00:00:02', src: '02:00:00:00:00:01' };
    const arp = emitEthernet({ ...macs, type: ETHERTYPE_ARP, payload: udp });
    expect(encode(place(arp), FRAME_CHECKSUM_FILL, true)).toBe(false);
  });

  test('a super-segment with CWR says that only its first segment has it', () => {
    for (const [cwr, type] of [
      [0, 1],
      [0x80, 0x81],
    ]) {
      const { frame } = build({
        v6: false,
        ether: false,
        tcp: true,
        extra: 0,
        payload: new Uint8Array(3000),
      });
      frame[20 + 13] |= cwr;
      const bytes = place(frame);
      expect(encode(bytes, FRAME_SEGMENT, false, 1000)).toBe(true);
      expect(bytes[1]).toBe(type);
      expect(encode(bytes, FRAME_CHECKSUM_FILL, false)).toBe(true);
      expect(bytes[1]).toBe(0);
    }
  });

  test('a frame cut anywhere before the end of what it would point at is refused', () => {
    fc.assert(
      fc.property(anyCase, fc.nat(400), (each, cut) => {
        const { frame } = build(each);
        fc.pre(cut < frame.length);
        expect(encode(place(frame.subarray(0, cut)), FRAME_CHECKSUM_FILL, each.ether)).toBe(false);
      }),
    );
  });
});

describe('decode', () => {
  const decode = (bytes: number[], length: number): number =>
    virtioDecode(viewOf(Uint8Array.from(bytes)), VIRTIO_HEADER_BYTES, length);
  const PARTIAL = FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL;

  test.each([
    ['nothing', [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0],
    ['verified', [2, 0, 0, 0, 0, 0, 0, 0, 0, 0], FRAME_CHECKSUM_GOOD],
    ['partial', [1, 0, 0, 0, 0, 0, 20, 0, 16, 0], PARTIAL],
    ['partial, field at the very end', [1, 0, 0, 0, 0, 0, 82, 0, 16, 0], PARTIAL],
    ['partial, field past the end', [1, 0, 0, 0, 0, 0, 83, 0, 16, 0], VIRTIO_MALFORMED],
    ['TCP over IPv4', [1, 1, 40, 0, 0xb4, 5, 20, 0, 16, 0], PARTIAL | FRAME_SEGMENT],
    ['TCP over IPv6 with CWR', [1, 0x84, 60, 0, 0xb4, 5, 40, 0, 16, 0], PARTIAL | FRAME_SEGMENT],
    ['segments of nothing', [1, 1, 40, 0, 0, 0, 20, 0, 16, 0], VIRTIO_MALFORMED],
    ['UDP', [1, 5, 28, 0, 0xb4, 5, 20, 0, 6, 0], PARTIAL | FRAME_SEGMENT],
    ['fragments of UDP, which were not offered', [1, 3, 28, 0, 0xb4, 5, 20, 0, 6, 0], VIRTIO_MALFORMED],
  ])('%s', (_what, header, flags) => {
    expect(decode(header, 100)).toBe(flags);
  });

  test('what encode wrote', () => {
    fc.assert(
      fc.property(anyCase, fc.integer({ min: 1, max: 65_535 }), (each, segmentBytes) => {
        const bytes = place(build(each).frame);
        expect(encode(bytes, FRAME_SEGMENT, each.ether, segmentBytes)).toBe(true);
        const view = viewOf(bytes);
        const length = bytes.length - VIRTIO_HEADER_BYTES;
        expect(virtioDecode(view, VIRTIO_HEADER_BYTES, length)).toBe(PARTIAL | FRAME_SEGMENT);
        expect(virtioSegmentBytes(view, VIRTIO_HEADER_BYTES)).toBe(segmentBytes);
      }),
    );
  });
});
