import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FRAME_CHECKSUM_GOOD } from '../memory/ring.ts';
import { formatIpv4, formatIpv6 } from '../wire/address.ts';
import { fold, sumBytes } from '../wire/checksum.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { type Ends, transportChecksum } from '../wire/plain.ts';
import {
  arpFrame,
  ether4,
  ether6,
  Host,
  icmp4,
  icmp6,
  OUR_4,
  OUR_6,
  OUR_LINK_LOCAL,
  OUR_MAC,
  PEER_4,
  PEER_6,
  PEER_MAC,
  solicitFrame,
} from './testing.ts';

/** A payload of `protocol` whose checksum, at `place`, is right. */
function segment(body: Uint8Array, ends: Ends, protocol: number, place: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(body.length, 20));
  bytes.set(body);
  bytes.set([0, 0], place);
  const checksum = transportChecksum(bytes, ends, protocol);
  bytes.set([checksum >> 8, checksum & 0xff], place);
  return bytes;
}

/** All that is counted, to see that something was. */
function counted(host: Host): number {
  return Object.values(host.counters).reduce((sum, n) => sum + n, 0);
}

const body = fc.uint8Array({ maxLength: 200 });
const link = fc.constantFrom('ether' as const, 'ip' as const);
const protocol = fc.constantFrom(6, 17);
const byte = fc.nat(255);
/** Skippable extension headers: a type and its content after the first two bytes. */
const extensions = fc.array(fc.constantFrom(60, 43, 44), { maxLength: 8 });

test('an IPv4 packet for us goes up, described', () => {
  const options = fc.constantFrom([], [1, 1, 1, 0], [148, 4, 0, 0], [7, 7, 4, 0, 0, 0, 0, 0]);
  const padding = fc.nat(40);
  fc.assert(
    fc.property(
      link,
      protocol,
      body,
      byte,
      byte,
      options,
      padding,
      (kind, protocol, body, tos, ttl, options, padding) => {
        const host = new Host(kind);
        const payload = segment(body, { src: PEER_4, dst: OUR_4 }, protocol, protocol === 6 ? 16 : 6);
        const packet = emitIpv4Packet({
          src: PEER_4,
          dst: OUR_4,
          protocol,
          tos,
          ttl,
          id: 77,
          options: Uint8Array.from(options),
          payload,
        });
        const padded = new Uint8Array(packet.length + padding).fill(0xff);
        padded.set(packet);
        expect(host.receive(kind === 'ether' ? ether4(padded) : padded)).toBe(protocol);
        const p = host.ip.packet;
        expect(host.arena.u8.slice(p.l4At, p.l4At + p.l4Length)).toEqual(payload);
        expect(p).toMatchObject({ version: 4, iface: 0, protocol, ttl, tos, cast: 0, checksumGood: 0 });
        expect([formatIpv4(p.src0), formatIpv4(p.dst0)]).toEqual([PEER_4, OUR_4]);
        expect([p.src1, p.src2, p.src3, p.dst1, p.dst2, p.dst3]).toEqual([0, 0, 0, 0, 0, 0]);
        expect(p.l4At - p.at).toBe(20 + options.length);
        expect(fold(p.pseudoSum + sumBytes(payload))).toBe(0xffff);
        expect(counted(host)).toBe(0);
      },
    ),
    { numRuns: 50 },
  );
});

test('an IPv6 packet for us goes up, past its extension headers', () => {
  const dst = fc.constantFrom(OUR_6, OUR_LINK_LOCAL);
  fc.assert(
    fc.property(
      link,
      protocol,
      body,
      byte,
      byte,
      extensions,
      dst,
      (kind, protocol, body, trafficClass, hopLimit, extensions, dst) => {
        // The random link-local address of a link without hardware addresses is another one.
        if (kind === 'ip') dst = OUR_6;
        const host = new Host(kind);
        const payload = segment(body, { src: PEER_6, dst }, protocol, protocol === 6 ? 16 : 6);
        const chain = extensions.flatMap((type, i) => {
          const next = extensions[i + 1] ?? protocol;
          if (type === 60) return [next, 0, 1, 4, 0, 0, 0, 0];
          return type === 43 ? [next, 0, 4, 0, 0, 0, 0, 0] : [next, 0, 0, 0, 1, 2, 3, 4];
        });
        const packet = emitIpv6Packet({
          src: PEER_6,
          dst,
          nextHeader: extensions[0] ?? protocol,
          hopLimit,
          trafficClass,
          payload: Uint8Array.of(...chain, ...payload),
        });
        expect(host.receive(kind === 'ether' ? ether6(packet) : packet)).toBe(protocol);
        const p = host.ip.packet;
        expect(host.arena.u8.slice(p.l4At, p.l4At + p.l4Length)).toEqual(payload);
        expect(p).toMatchObject({ version: 6, protocol, ttl: hopLimit, tos: trafficClass, cast: 0 });
        expect(formatIpv6([p.src0, p.src1, p.src2, p.src3])).toBe(PEER_6);
        expect(formatIpv6([p.dst0, p.dst1, p.dst2, p.dst3])).toBe(dst);
        expect(fold(p.pseudoSum + sumBytes(payload))).toBe(0xffff);
        expect(counted(host)).toBe(0);
      },
    ),
    { numRuns: 50 },
  );
});

test('UDP to a group or to broadcast goes up, and says so', () => {
  const host = new Host();
  const payload = new Uint8Array(8);
  for (const dst of ['10.0.0.255', '255.255.255.255', '224.0.0.1']) {
    const packet = emitIpv4Packet({ src: PEER_4, dst, protocol: 17, payload });
    expect(host.receive(ether4(packet, 'ff:ff:ff:ff:ff:ff'))).toBe(17);
    expect(host.ip.packet).toMatchObject({ cast: 1, linkCast: 1 });
  }
  const packet = emitIpv6Packet({ src: PEER_6, dst: 'ff02::1', nextHeader: 17, payload });
  expect(host.receive(ether6(packet, '33:33:00:00:00:01'))).toBe(17);
  expect(host.ip.packet.cast).toBe(1);
});

test("the device's word on the checksum is passed on", () => {
  const host = new Host();
  const frame = ether4(emitIpv4Packet({ src: PEER_4, dst: OUR_4, protocol: 6, payload: new Uint8Array(20) }));
  host.receive(frame, FRAME_CHECKSUM_GOOD);
  expect(host.ip.packet.checksumGood).toBe(1);
  host.receive(frame);
  expect(host.ip.packet.checksumGood).toBe(0);
});

test('whatever arrives goes up or is counted, and causes two frames at most', () => {
  const echo = { kind: 'echo request' as const, id: 1, seq: 1, payload: new Uint8Array(40) };
  const quoted = emitIpv4Packet({ src: OUR_4, dst: PEER_4, protocol: 6, payload: new Uint8Array(20) });
  const seeds = [
    icmp4(echo),
    icmp6(echo),
    icmp4({ kind: 'unreachable', code: 4, mtu: 1400, payload: quoted }),
    arpFrame('request', PEER_MAC, PEER_4, OUR_MAC, OUR_4),
    arpFrame('reply', PEER_MAC, PEER_4, OUR_MAC, OUR_4),
    solicitFrame(OUR_6, PEER_6, PEER_MAC),
    ether4(
      emitIpv4Packet({
        src: PEER_4,
        dst: OUR_4,
        protocol: 99,
        options: Uint8Array.of(148, 4, 0, 0),
        payload: new Uint8Array(9),
      }),
    ),
    ether6(
      emitIpv6Packet({
        src: PEER_6,
        dst: OUR_6,
        nextHeader: 60,
        payload: Uint8Array.of(99, 0, 1, 4, 0, 0, 0, 0),
      }),
    ),
  ];
  const edits = fc.array(fc.tuple(fc.nat(100), byte), { maxLength: 4 });
  const host = new Host();
  const tun = new Host('ip');
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      edits,
      fc.option(fc.nat(100)),
      fc.nat(1),
      (seed, edits, cut, flags) => {
        const frame = seed.slice(0, cut ?? seed.length);
        for (const [at, value] of edits) if (at < frame.length) frame[at] = value;
        for (const [target, bytes] of [
          [host, frame],
          [tun, frame.subarray(14)],
        ] as const) {
          const before = counted(target);
          const result = target.receive(bytes, flags);
          const ours = bytes.subarray(6, 12).every((b, i) => b === [2, 0, 0, 0, 0, 1][i]);
          if (result === 0 && !ours) quiet(target, before, bytes);
          else if (result !== 0) expect([6, 17]).toContain(result);
          // An answer, and a question to a neighbour that somebody else claims to be.
          expect(target.take().length).toBeLessThanOrEqual(2);
        }
      },
    ),
    { numRuns: 5000 },
  );
});

/** What is rightly neither passed up nor counted: ARP that is none of our business, and what we know already. */
function quiet(host: Host, before: number, bytes: Uint8Array): void {
  if (host.iface.ether && bytes[12] === 8 && bytes[13] === 6) return;
  expect(counted(host)).toBeGreaterThan(before);
}
