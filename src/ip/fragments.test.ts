import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Decoded, decodeFrame } from '../wire/decode.ts';
import { emitIcmpv6 } from '../wire/icmpv6.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { emitUdp } from '../wire/udp.ts';
import { IP_LIMITS_DEFAULT } from './ip.ts';
import { ipSend, SENT } from './send.ts';
import { ether4, ether6, Host, icmp4, icmp6, OUR_4, OUR_6, PEER_4, PEER_6, words } from './testing.ts';

type Version = 4 | 6;
const ENDS = { 4: { src: PEER_4, dst: OUR_4 }, 6: { src: PEER_6, dst: OUR_6 } } as const;
const BUFFERS = IP_LIMITS_DEFAULT.reassemblyBuffers;

interface PieceOptions {
  id?: number;
  src?: string;
  protocol?: number;
  tos?: number;
}

/** A fragment as it comes to us: [start, end) of `whole`, which an upper layer sent. */
function piece(
  version: Version,
  whole: Uint8Array,
  start: number,
  end: number,
  { id = 7, src = ENDS[version].src, protocol = 17, tos = 0 }: PieceOptions = {},
  more = end < whole.length,
): Uint8Array {
  const payload = whole.subarray(start, end);
  const { dst } = ENDS[version];
  if (version === 4) {
    return ether4(
      emitIpv4Packet({ src, dst, protocol, id, tos, fragmentOffset: start, moreFragments: more, payload }),
    );
  }
  const offset = start | (more ? 1 : 0);
  const header = [protocol, 0, offset >> 8, offset & 0xff, id >> 24, id >> 16, id >> 8, id];
  return ether6(
    emitIpv6Packet({
      src,
      dst,
      nextHeader: 44,
      trafficClass: tos,
      payload: Uint8Array.of(...header, ...payload),
    }),
  );
}

/** A datagram of the peer's, with its UDP header. */
function datagram(version: Version, bytes: number): Uint8Array {
  const payload = Uint8Array.from({ length: bytes }, (_, i) => i * 7 + (i >> 8));
  return emitUdp({ srcPort: 5000, dstPort: 7, payload }, ENDS[version]);
}

/** Where to cut `length` bytes: [start, end) pairs, all but the last a multiple of 8. */
function cuts(length: number, places: number[]): [number, number][] {
  const edges = new Set(places.map((place) => (place % Math.max(1, (length - 1) >> 3)) * 8 + 8));
  const sorted = [...edges].filter((edge) => edge < length).sort((a, b) => a - b);
  return [0, ...sorted].map((start, i) => [start, sorted[i] ?? length]);
}

function upper(host: Host): Uint8Array {
  const p = host.ip.packet;
  return host.arena.u8.slice(p.l4At, p.l4At + p.l4Length);
}

function sent(host: Host): Decoded[] {
  return host.take().map((frame) => decodeFrame(frame, 'ether'));
}

/** A host that knows both addresses of the peer. */
function knowing(): Host {
  const host = new Host('ether', {}, 128);
  for (const address of [PEER_4, PEER_6]) {
    host.resolve(address);
    host.answer(address);
  }
  host.take();
  return host;
}

const version = fc.constantFrom<Version>(4, 6);
const places = fc.array(fc.nat(8191), { minLength: 1, maxLength: 30 });

describe('fragments', () => {
  test('in any order, some of them twice, become the datagram they were', () => {
    const host = new Host();
    let id = 0;
    fc.assert(
      fc.property(
        version,
        fc.oneof(fc.integer({ min: 20, max: 3000 }), fc.constantFrom(20_000, 65_499)),
        places,
        fc.infiniteStream(fc.nat()),
        (version, bytes, places, order) => {
          const whole = datagram(version, bytes);
          id++;
          const pieces = cuts(whole.length, places);
          // The sort by random keys is the order, and a few come again.
          const again = pieces.filter(() => order.next().value! % 4 === 0);
          const arriving = [...pieces, ...again]
            .map((range) => ({ range, key: order.next().value! }))
            .sort((a, b) => a.key - b.key)
            .map(({ range }) => range);
          const seen = new Set<string>();
          for (const [start, end] of arriving) {
            const result = host.receive(piece(version, whole, start, end, { id }));
            const missing = pieces.length - seen.size;
            if (!seen.has(`${start}`)) seen.add(`${start}`);
            else if (missing === 0) continue;
            const complete = seen.size === pieces.length;
            expect(result).toBe(complete ? 17 : 0);
            if (complete) {
              expect(upper(host)).toEqual(whole);
              expect(host.ip.packet).toMatchObject({ version, protocol: 17, fragmented: 1, cast: 0 });
              break;
            }
          }
          expect(seen.size).toBe(pieces.length);
          expect(host.counters.reassembled).toBe(id);
        },
      ),
      { numRuns: 60 },
    );
    expect(host.counters.fragmentsOverlapping).toBe(0);
  });

  test('that overlap end their datagram, with those still to come', () => {
    fc.assert(
      fc.property(
        version,
        fc.integer({ min: 100, max: 2000 }),
        places,
        fc.nat(),
        fc.nat(),
        (v, bytes, places, a, b) => {
          const host = new Host();
          const whole = datagram(v, bytes);
          const pieces = cuts(whole.length, places);
          // One more, from somewhere to somewhere, that is none of them.
          const start = (a % (whole.length >> 3)) * 8;
          const end = Math.min(whole.length, start + 8 + (b % 40) * 8);
          // Pieces that meet it without a gap could do without others.
          const edges = new Set(pieces.flat());
          fc.pre(!edges.has(start) || !edges.has(end));
          const arriving = pieces.slice();
          arriving.splice(a % pieces.length, 0, [start, end]);
          for (const [s, e] of arriving) expect(host.receive(piece(v, whole, s, e))).toBe(0);
          expect(host.counters.fragmentsOverlapping).toBeGreaterThan(0);
          expect(host.counters.reassembled).toBe(0);
          // Nor by sending it all again, until it is forgotten.
          for (const [s, e] of pieces) expect(host.receive(piece(v, whole, s, e))).toBe(0);
          host.pass(60_100);
          const results = pieces.map(([s, e]) => host.receive(piece(v, whole, s, e)));
          expect(results.at(-1)).toBe(17);
        },
      ),
      { numRuns: 40 },
    );
  });

  test.each<[string, [number, number, boolean][]]>([
    [
      'go beyond its end',
      [
        [96, 108, false],
        [112, 120, true],
      ],
    ],
    [
      'end it twice',
      [
        [96, 108, false],
        [40, 48, false],
      ],
    ],
    [
      'end it before others that have come',
      [
        [64, 96, true],
        [40, 48, false],
      ],
    ],
  ])('that %s end their datagram', (_name, pieces) => {
    for (const version of [4, 6] as const) {
      const host = new Host();
      const whole = datagram(version, 200);
      for (const [start, end, more] of pieces) host.receive(piece(version, whole, start, end, {}, more));
      expect([host.counters.fragmentsOverlapping, host.counters.reassembled]).toEqual([1, 0]);
      expect(host.receive(piece(version, whole, 0, 96, {}, true))).toBe(0);
      expect(host.counters.fragmentsOverlapping).toBe(2);
    }
  });

  test('of whatever kind give what was sent, or nothing', () => {
    const host = new Host();
    // Mostly pieces of one cutting, which may come together; now and then others.
    const range = fc.tuple(fc.nat(5), fc.constantFrom(1, 1, 1, 1, 2), fc.nat(9));
    let id = 0;
    fc.assert(
      fc.property(version, fc.array(range, { maxLength: 20 }), (version, ranges) => {
        const whole = datagram(version, 200);
        id++;
        for (const [unit, units, odd] of ranges) {
          const start = unit * 40 + (odd === 9 ? 8 : 0);
          const end = Math.min(start + units * 40, whole.length);
          const result = host.receive(
            piece(version, whole, start, end, { id }, odd === 8 || end < whole.length),
          );
          // It may end earlier than the sender meant, but never hold other bytes.
          if (result === 17) expect(upper(host)).toEqual(whole.subarray(0, host.ip.packet.l4Length));
        }
      }),
      { numRuns: 2000 },
    );
    expect(host.counters.reassembled).toBeGreaterThan(0);
  });

  test('are not mixed with those of other datagrams', () => {
    for (const version of [4, 6] as const) {
      const host = new Host();
      const whole = datagram(version, 100);
      const other = version === 4 ? '10.0.0.3' : 'fd00::3';
      host.receive(piece(version, whole, 0, 56));
      expect(host.receive(piece(version, whole, 56, 108, { id: 8 }))).toBe(0);
      expect(host.receive(piece(version, whole, 56, 108, { src: other }))).toBe(0);
      // Only IPv4 tells protocols apart (RFC 8200 4.5: later fragments' next headers are ignored).
      expect(host.receive(piece(version, whole, 56, 108, { protocol: 6 }))).toBe(version === 4 ? 0 : 17);
    }
  });

  test('keep to their buffers under a flood, and others still get through', () => {
    const host = new Host();
    const whole = datagram(4, 3000);
    for (let i = 0; i < 2000; i++) {
      host.receive(piece(4, whole, 0, 1480, { id: i & 0xffff, src: `10.0.0.${2 + (i % 200)}` }));
      expect(host.ip.reassembly.waiting).toBeLessThanOrEqual(BUFFERS);
    }
    expect(host.counters.reassemblyEvicted).toBe(2000 - BUFFERS);
    host.receive(piece(4, whole, 0, 1480, { id: 9 }));
    expect(host.receive(piece(4, whole, 1480, whole.length, { id: 9 }))).toBe(17);
  });

  test('of one source have a quarter of the buffers', () => {
    for (const version of [4, 6] as const) {
      const host = new Host();
      const whole = datagram(version, 3000);
      host.receive(
        piece(version, whole, 0, 1480, { id: 1, src: version === 4 ? '10.0.0.9' : 'fd00:0:0:1::9' }),
      );
      for (let id = 100; id < 200; id++) host.receive(piece(version, whole, 0, 1480, { id }));
      expect(host.ip.reassembly.waiting).toBe(BUFFERS / 4 + 1);
      expect(
        host.receive(
          piece(version, whole, 1480, whole.length, {
            id: 1,
            src: version === 4 ? '10.0.0.9' : 'fd00:0:0:1::9',
          }),
        ),
      ).toBe(17);
      // The newest of its own are the ones that are left.
      expect(host.receive(piece(version, whole, 1480, whole.length, { id: 199 }))).toBe(17);
    }
  });

  test('make datagrams that stay until the breath is over', () => {
    const host = new Host();
    const wholes = Array.from({ length: BUFFERS + 1 }, (_, i) => datagram(4, 100 + i));
    const kept: { at: number; whole: Uint8Array }[] = [];
    for (const [id, whole] of wholes.entries()) {
      host.receive(piece(4, whole, 0, 48, { id }), 0, false);
      const result = host.receive(piece(4, whole, 48, whole.length, { id }), 0, false);
      expect(result).toBe(id < BUFFERS ? 17 : 0);
      if (result === 17) kept.push({ at: host.ip.packet.l4At, whole });
    }
    for (const { at, whole } of kept) expect(host.arena.u8.slice(at, at + whole.length)).toEqual(whole);
    expect(host.counters.reassemblyFull).toBe(2);
    expect(host.ip.reassembly.held).toBe(BUFFERS);
  });

  test.each([
    [4, 30_000],
    [6, 60_000],
  ] as const)(
    'of IPv%d are given up after %d ms, and the sender hears of it once the first came',
    (v, ms) => {
      const host = knowing();
      const whole = datagram(v, 2000);
      const first = piece(v, whole, 0, 1200, { id: 1 });
      host.receive(first);
      host.receive(piece(v, whole, 1200, 1600, { id: 1 }));
      host.receive(piece(v, whole, 1200, 1600, { id: 2 }));
      host.pass(ms - 100);
      expect([host.take().length, host.ip.reassembly.waiting]).toEqual([0, 2]);
      host.pass(200);
      expect([host.counters.reassemblyTimeouts, host.ip.reassembly.waiting]).toEqual([2, 0]);
      const errors = sent(host);
      expect(errors).toHaveLength(1);
      const message = v === 4 ? errors[0].icmp : errors[0].icmpv6;
      const quoted = first.subarray(14, v === 4 ? 14 + 548 : 14 + 1232);
      expect(message).toEqual({ kind: 'time exceeded', code: 1, payload: quoted });
      expect(errors[0].checksumGood).toBe(true);
    },
  );

  test('without a first one, to a group, or of an error are given up in silence', () => {
    const host = knowing();
    const error = new Uint8Array(64);
    error[0] = 3;
    host.receive(piece(4, error, 0, 32, { protocol: 1 }));
    error[0] = 1;
    host.receive(piece(6, error, 0, 32, { protocol: 58 }));
    const payload = datagram(4, 100).subarray(0, 64);
    host.receive(
      ether4(emitIpv4Packet({ src: PEER_4, dst: '10.0.0.255', protocol: 17, moreFragments: true, payload })),
    );
    host.pass(60_100);
    expect([host.counters.reassemblyTimeouts, host.take().length]).toEqual([3, 0]);
  });

  test('carry a mark of congestion into the whole, and Not-ECT beside another codepoint is refused', () => {
    for (const version of [4, 6] as const) {
      for (const [one, two, result] of [
        [0, 0, 0],
        [2, 2, 2],
        [2, 3, 3],
        [3, 1, 3],
        [0, 3, null],
        [2, 0, null],
      ] as const) {
        const host = new Host();
        const whole = datagram(version, 100);
        host.receive(piece(version, whole, 0, 48, { tos: 0xb8 | one }));
        expect(host.receive(piece(version, whole, 48, 108, { tos: 0xb8 | two }))).toBe(
          result === null ? 0 : 17,
        );
        if (result !== null) expect(host.ip.packet.tos).toBe(0xb8 | result);
        else expect(host.counters.fragmentsBad).toBe(1);
      }
    }
  });

  test('of IPv6 that are wrong are answered where the RFCs say so', () => {
    const whole = datagram(6, 2000);
    const answers = (frame: Uint8Array) => {
      const host = knowing();
      expect(host.receive(frame)).toBe(0);
      expect(host.ip.reassembly.waiting).toBe(0);
      return sent(host).map(({ icmpv6 }) => {
        if (icmpv6?.kind !== 'parameter problem') throw new Error(icmpv6?.kind);
        expect(icmpv6.payload).toEqual(frame.subarray(14));
        return [icmpv6.code, icmpv6.pointer];
      });
    };
    // RFC 8200 4.5: a length that is no multiple of 8; past 65,535 bytes. RFC 7112: not all headers.
    expect(answers(piece(6, whole, 0, 101))).toEqual([[0, 4]]);
    const last = Uint8Array.of(17, 0, 0xff, 0xf8, 0, 0, 0, 1, ...new Array(8).fill(0));
    expect(answers(ether6(emitIpv6Packet({ ...ENDS[6], nextHeader: 44, payload: last })))).toEqual([[0, 42]]);
    expect(answers(piece(6, whole, 0, 16, { protocol: 6 }))).toEqual([[3, 0]]);
    const options = Uint8Array.of(17, 1, 1, 4, 0, 0, 0, 0);
    expect(answers(piece(6, options, 0, 8, { protocol: 60 }, true))).toEqual([[3, 0]]);
    expect(answers(piece(6, whole, 8, 8))).toEqual([]);
  });

  test('behind and before extension headers become one packet again', () => {
    const host = new Host();
    const whole = datagram(6, 100);
    const options = [1, 4, 0, 0, 0, 0];
    const fragmentable = Uint8Array.of(17, 0, ...options, ...whole);
    const at = (start: number, end: number, more: number) =>
      ether6(
        emitIpv6Packet({
          ...ENDS[6],
          nextHeader: 0,
          payload: Uint8Array.of(
            44,
            0,
            ...options,
            60,
            0,
            0,
            start | more,
            0,
            0,
            0,
            7,
            ...fragmentable.subarray(start, end),
          ),
        }),
      );
    expect(host.receive(at(40, fragmentable.length, 0))).toBe(0);
    expect(host.receive(at(0, 40, 1))).toBe(17);
    expect(upper(host)).toEqual(whole);
    const p = host.ip.packet;
    // Fixed header, hop-by-hop, destination options; no fragment header.
    expect(p.l4At - p.at).toBe(40 + 8 + 8);
  });

  test('in fragments go nowhere', () => {
    const host = new Host();
    const whole = datagram(6, 100);
    const inner = Uint8Array.of(17, 0, 0, 1, 0, 0, 0, 9, ...whole.subarray(0, 40));
    host.receive(piece(6, inner, 0, 24, { protocol: 44 }));
    expect(host.receive(piece(6, inner, 24, inner.length, { protocol: 44 }))).toBe(0);
    expect(host.counters.extensionHeaders).toBe(1);
    expect(host.ip.reassembly.waiting).toBe(0);
  });

  test('never carry neighbour discovery (RFC 6980)', () => {
    const host = knowing();
    const ends = { src: PEER_6, dst: OUR_6 };
    const message = emitIcmpv6({ kind: 'neighbor solicitation', target: OUR_6, options: {} }, ends);
    const atomic = Uint8Array.of(58, 0, 0, 0, 0, 0, 0, 1, ...message);
    const send = (nextHeader: number, payload: Uint8Array) =>
      host.receive(ether6(emitIpv6Packet({ ...ends, nextHeader, hopLimit: 255, payload })));
    send(58, message);
    expect(host.take()).toHaveLength(1);
    send(44, atomic);
    send(44, Uint8Array.of(58, 0, 0, 1, 0, 0, 0, 1, ...message.subarray(0, 16)));
    send(44, Uint8Array.of(58, 0, 0, 16, 0, 0, 0, 1, ...message.subarray(16)));
    expect([host.take().length, host.counters.ndpBad]).toEqual([0, 2]);
  });
});

describe('what we send', () => {
  test('is cut to fit the path, and is whole again at the other end', () => {
    fc.assert(
      fc.property(
        version,
        fc.integer({ min: 1300, max: 20_000 }),
        fc.integer({ min: 1280, max: 1500 }),
        (v, n, mtu) => {
          const host = knowing();
          const { ip } = host;
          const echo = { kind: 'echo request' as const, id: 1, seq: 2, payload: datagram(v, n) };
          const peer = words(ENDS[v].src);
          ip.pathMtus.set(v, peer[0], peer[1], peer[2], peer[3], mtu, ip.now_ms);
          // The request goes the other way, from a host that has no cache of paths.
          const there = new Host();
          const request = v === 4 ? icmp4(echo) : icmp6(echo);
          const body = request.subarray(14 + (v === 4 ? 20 : 40));
          for (const [start, end] of cuts(body.length, [100, 200, 300, 400]))
            host.receive(piece(v, body, start, end, { protocol: v === 4 ? 1 : 58 }));
          const frames = host.take();
          const whole = body.length + (v === 4 ? 20 : 40) <= mtu;
          const pieces = Math.ceil(body.length / ((mtu - (v === 4 ? 20 : 48)) & ~7));
          expect(frames.length).toBe(whole ? 1 : pieces);
          expect(host.counters.fragmentsOut).toBe(frames.length === 1 ? 0 : frames.length);
          there.ip.onPingReply = () => {};
          for (const frame of frames) {
            expect(frame.length).toBeLessThanOrEqual(14 + mtu);
            const decoded = decodeFrame(frame, 'ether');
            expect(decoded.ipv4?.dontFragment ?? false).toBe(v === 4 && frames.length === 1);
            // As if the peer were where we are.
            const back = frame.slice();
            const swap = v === 4 ? [26, 4] : [22, 16];
            back.set(frame.subarray(swap[0], swap[0] + swap[1]), swap[0] + swap[1]);
            back.set(frame.subarray(swap[0] + swap[1], swap[0] + 2 * swap[1]), swap[0]);
            back.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
            there.receive(back);
          }
          const reply = there.ip.packet;
          expect(there.arena.u8.slice(reply.l4At + 8, reply.l4At + reply.l4Length)).toEqual(echo.payload);
          expect(there.counters.icmpEchoReplies).toBe(1);
          expect(there.counters.reassembled).toBe(frames.length === 1 ? 0 : 1);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('goes whole or not at all', () => {
    const host = new Host('ether', {}, 16);
    host.resolve(PEER_4);
    host.answer();
    host.take();
    const { out, scratchAt } = host.ip;
    const [src0, dst0] = [words(OUR_4)[0], words(PEER_4)[0]];
    Object.assign(out, { iface: -1, version: 4, src0, dst0, protocol: 17, ttl: 64, tos: 0, l4At: scratchAt });
    out.l4Length = 1480 * 10;
    expect(ipSend(host.ip, out)).toBe(SENT);
    expect(ipSend(host.ip, out)).toBe(0);
    expect([host.take().length, host.counters.txFull]).toEqual([10, 1]);
    out.l4Length = 1480 * 17;
    expect(ipSend(host.ip, out)).toBe(-1);
    expect([host.take().length, host.counters.txTooBig]).toEqual([0, 1]);
  });

  test('has identifications that do not repeat for a pair of ends, nor follow one another for all', () => {
    const { ip } = new Host();
    const { out } = ip;
    Object.assign(out, { version: 4, src0: 1, dst0: 2, protocol: 17 });
    const seen = new Set<number>();
    for (let i = 0; i < 30_000; i++) seen.add(ip.fragmentIds.next(out) & 0xffff);
    expect(seen.size).toBe(30_000);
    const firsts = Array.from({ length: 100 }, (_, i) => {
      out.dst0 = 1000 + i;
      return ip.fragmentIds.next(out);
    });
    const steps = new Set(firsts.map((id, i) => (id - (firsts[i - 1] ?? 0)) | 0));
    expect(steps.size).toBeGreaterThan(95);
  });
});
