import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Umem } from '../../device/xdp-umem.ts';
import { XDP_PKT_CONTD } from '../../os/xsk.ts';
import { fold } from '../../wire/checksum.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../../wire/ethernet.ts';
import { emitIpv4Packet, type Ipv4Packet } from '../../wire/ipv4.ts';
import { emitIpv6Packet } from '../../wire/ipv6.ts';
import { pseudoSum, viewOf } from '../../wire/plain.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../../wire/protocols.ts';
import { emitTcp, TCP_CHECKSUM } from '../../wire/tcp.ts';
import { emitUdp, UDP_CHECKSUM } from '../../wire/udp.ts';
import { Arena } from '../arena.ts';
import { FramePool } from '../frame-pool.ts';
import { DESC_FLAGS, FRAME_CHECKSUM_FILL, FRAME_CHECKSUM_GOOD, FRAME_MORE, Ring } from '../ring.ts';

const V4 = { src: '192.0.2.1', dst: '198.51.100.254' };
const V6 = { src: 'fd00::1', dst: '2001:db8::ffff:fffe' };

interface Given {
  readonly tcp: boolean;
  readonly v6: boolean;
  readonly payload: Uint8Array;
}

const anyGiven = fc.record({
  tcp: fc.boolean(),
  v6: fc.boolean(),
  payload: fc.uint8Array({ maxLength: 300 }),
});

/** @param field What stands in the checksum's place; by default what a kernel leaves there. */
function frame(
  { tcp, v6, payload }: Given,
  field: (sum: number, whole: number) => number,
  more: Partial<Ipv4Packet> = {},
) {
  const ends = v6 ? V6 : V4;
  const protocol = tcp ? PROTOCOL_TCP : PROTOCOL_UDP;
  const segment = tcp
    ? emitTcp({ srcPort: 5, dstPort: 6, payload }, ends)
    : emitUdp({ srcPort: 5, dstPort: 6, payload }, ends);
  const view = viewOf(segment);
  const at = tcp ? TCP_CHECKSUM : UDP_CHECKSUM;
  view.setUint16(at, field(fold(pseudoSum(ends, protocol, segment.length)), view.getUint16(at)));
  const type = v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
  const packet = v6
    ? emitIpv6Packet({ ...V6, nextHeader: protocol, payload: segment })
    : emitIpv4Packet({ ...V4, protocol, payload: segment, ...more });
  return emitEthernet({ dst: '02:00:00:00:00:01', src: '02:00:00:00:00:02', type, payload: packet });
}

const partial = (sum: number): number => sum;

const arena = new Arena(65_536);
const ring = new Ring(arena, 'ring', 4);
const entries = arena.carve('entries', 4 * 16) >> 2;
const pool = new FramePool(arena, 'frames', { frames: 4, frameBytes: 2048 });
const umem = new Umem(arena, 'umem', pool);
const path = umem.carvePath(ring, { entries, mask: 3 });

/** Whether a frame that comes is marked. @param length Of it, in full unless told. */
function looksPartial(bytes: Uint8Array, length = bytes.length): boolean {
  arena.u8.set(bytes, umem.base + 256);
  arena.i32.set([256, 0, length, 0], entries);
  arena.kernels.xskReceive(path, 0, 0, 1, 1);
  const flags = ring.m[ring.slot(0) + DESC_FLAGS];
  expect([0, FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL]).toContain(flags);
  return flags !== 0;
}

test('the folded sum of the pseudo-header is a checksum left out, whatever the packet and its padding', () => {
  fc.assert(
    fc.property(anyGiven, fc.integer({ min: 0, max: 20 }), (given, padding) => {
      const bytes = frame(given, partial);
      expect(looksPartial(bytes)).toBe(true);
      expect(looksPartial(Uint8Array.from([...bytes, ...new Uint8Array(padding)]))).toBe(true);
    }),
  );
  const options = Uint8Array.of(1, 1, 1, 0);
  expect(looksPartial(frame({ tcp: true, v6: false, payload: options }, partial, { options }))).toBe(true);
});

test('any other value isn’t, a good checksum among them', () => {
  fc.assert(
    fc.property(anyGiven, fc.integer({ min: 1, max: 0xffff }), (given, off) => {
      expect(looksPartial(frame(given, (sum) => (sum + off) & 0xffff))).toBe(false);
      let coincides = false;
      const good = frame(given, (sum, whole) => {
        coincides = sum === whole;
        return whole;
      });
      expect(looksPartial(good)).toBe(coincides);
    }),
  );
});

test('fragments, other protocols and what is cut off have none', () => {
  const given = { tcp: true, v6: false, payload: new Uint8Array(64) };
  expect(looksPartial(frame(given, partial, { moreFragments: true }))).toBe(false);
  expect(looksPartial(frame(given, partial, { fragmentOffset: 64 }))).toBe(false);
  expect(looksPartial(frame(given, partial, { protocol: 47 }))).toBe(false);
  for (const v6 of [false, true]) {
    const bytes = frame({ ...given, v6 }, partial);
    for (let length = 0; length < bytes.length; length++) expect(looksPartial(bytes, length)).toBe(false);
    viewOf(bytes).setUint16(12, ETHERTYPE_ARP);
    expect(looksPartial(bytes)).toBe(false);
  }
});

test('of a frame in several buffers the first slot is marked, round the ring, and the next frame is looked at anew', () => {
  const given = { tcp: true, v6: true, payload: new Uint8Array(200) };
  const [left, whole] = [frame(given, partial), frame(given, (_, whole) => whole)];
  const pieces = [left.subarray(0, 100), left.subarray(100), whole, left];
  for (const [i, piece] of pieces.entries()) {
    arena.u8.set(piece, umem.base + i * 2048);
    arena.i32.set([i * 2048, 0, piece.length, i === 0 ? XDP_PKT_CONTD : 0], entries + 4 * ((3 + i) & 3));
  }
  arena.kernels.xskReceive(path, 7, 3, 4, 1);
  const marked = FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL;
  expect(pieces.map((_, i) => ring.m[ring.slot(7 + i) + DESC_FLAGS])).toEqual([
    FRAME_MORE | marked,
    0,
    0,
    marked,
  ]);
  arena.kernels.xskReceive(path, 7, 3, 4, 0);
  expect(pieces.map((_, i) => ring.m[ring.slot(7 + i) + DESC_FLAGS])).toEqual([FRAME_MORE, 0, 0, 0]);
});
