import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIpv4, formatIpv6 } from '../wire/address.ts';
import { sumBytes } from '../wire/checksum.ts';
import { parseEthernet } from '../wire/ethernet.ts';
import { type IcmpMessage, parseIcmp } from '../wire/icmp.ts';
import { type Icmpv6Message, parseIcmpv6 } from '../wire/icmpv6.ts';
import { emitIpv4Packet, parseIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet, parseIpv6Packet } from '../wire/ipv6.ts';
import { transportChecksumGood } from '../wire/plain.ts';
import { icmpPing, PING_BYTES_MAX } from './echo.ts';
import { ERROR_HARD, ERROR_SOFT, ERROR_TOO_BIG, icmpSendUnreachable } from './icmp-error.ts';
import { SEND_FAILED, SEND_LATER, SENT } from './send.ts';
import { ether4, ether6, Host, icmp4, icmp6, OUR_4, OUR_6, PEER_4, PEER_6, PEER_MAC } from './testing.ts';
import { TokenBucket } from './token-bucket.ts';

/** A host that knows both addresses of the peer. */
function knowing(): Host {
  const host = new Host();
  for (const address of [PEER_4, PEER_6]) {
    host.resolve(address);
    host.answer(address);
  }
  host.take();
  return host;
}

function read(frame: Uint8Array) {
  const ether = parseEthernet(frame);
  expect(ether.dst).toBe(PEER_MAC);
  if (ether.type === 0x0800) {
    const packet = parseIpv4Packet(ether.payload);
    expect(sumBytes(packet.payload)).toBe(0xffff);
    return { ...packet, message: parseIcmp(packet.payload) };
  }
  const packet = parseIpv6Packet(ether.payload);
  expect(transportChecksumGood(packet.payload, packet, 58)).toBe(true);
  return { ...packet, message: parseIcmpv6(packet.payload) };
}

test('echo requests come back as they were', () => {
  const host = knowing();
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.nat(65535),
      fc.nat(65535),
      fc.uint8Array({ maxLength: 1400 }),
      (v6, id, seq, payload) => {
        const echo = { kind: 'echo request' as const, id, seq, payload };
        host.receive(v6 ? icmp6(echo) : icmp4(echo));
        const [frame] = host.take();
        const reply = read(frame);
        expect(reply.message).toEqual({ ...echo, kind: 'echo reply' });
        expect([reply.src, reply.dst]).toEqual(v6 ? [OUR_6, PEER_6] : [OUR_4, PEER_4]);
      },
    ),
  );
});

test("an echo reply has the request's class of service, without its ECN bits", () => {
  const host = knowing();
  const frame = icmp4({ kind: 'echo request', id: 1, seq: 1, payload: new Uint8Array(8) });
  const packet = parseIpv4Packet(parseEthernet(frame).payload);
  host.receive(ether4(emitIpv4Packet({ ...packet, tos: 0xbb })));
  expect(parseIpv4Packet(parseEthernet(host.take()[0]).payload)).toMatchObject({ tos: 0xb8, ttl: 64 });
});

describe('a ping of ours', () => {
  test.each([PEER_4, PEER_6])(
    'to %s is sent once the neighbour is known, and its answer comes to the hook',
    (destination) => {
      const host = new Host();
      const replies: unknown[] = [];
      const hook = (reply: object) => replies.push({ ...reply });
      expect(icmpPing(host.ip, { destination, identifier: 7, sequence: 1 })).toBe(SEND_LATER);
      host.take();
      host.answer(destination);
      for (const bytes of [0, 56, PING_BYTES_MAX]) {
        host.ip.onPingReply = bytes === 0 ? null : hook;
        expect(icmpPing(host.ip, { destination, identifier: 7, sequence: bytes, bytes, ttl: 3 })).toBe(SENT);
        const { message } = read(host.take()[0]);
        if (message.kind !== 'echo request') throw new Error(message.kind);
        expect([message.id, message.seq, message.payload.length]).toEqual([7, bytes, bytes]);
        const back = { ...message, kind: 'echo reply' as const };
        const answer = (m: typeof back) => host.receive(destination === PEER_4 ? icmp4(m) : icmp6(m));
        answer(back);
        if (bytes > 0) answer({ ...back, payload: back.payload.map((b, i) => (i === 55 ? b ^ 1 : b)) });
      }
      expect(replies).toMatchObject([
        { identifier: 7, sequence: 56, bytes: 56, ttl: 64, intact: true },
        { identifier: 7, sequence: 56, intact: false },
        { sequence: PING_BYTES_MAX, bytes: PING_BYTES_MAX, intact: true },
        { sequence: PING_BYTES_MAX, intact: false },
      ]);
    },
  );

  test('to where no route leads fails, and nonsense is refused', () => {
    const { ip } = new Host();
    expect(icmpPing(ip, { destination: '192.0.2.1', identifier: 0, sequence: 0 })).toBe(SEND_FAILED);
    expect(icmpPing(ip, { destination: OUR_6, identifier: 0, sequence: 0 })).toBe(SEND_FAILED);
    expect(() => icmpPing(ip, { destination: PEER_4, identifier: 0, sequence: 0, bytes: 1401 })).toThrow(
      RangeError,
    );
    expect(() => icmpPing(ip, { destination: 'host', identifier: 0, sequence: 0 })).toThrow('IPv4 address');
  });
});

describe('errors that we send', () => {
  const udp = (n: number) =>
    emitIpv4Packet({ src: PEER_4, dst: OUR_4, protocol: 17, payload: new Uint8Array(n).fill(3) });
  const udp6 = (n: number) =>
    emitIpv6Packet({ src: PEER_6, dst: OUR_6, nextHeader: 17, payload: new Uint8Array(n).fill(3) });

  test('quote the packet, as much as the RFCs allow', () => {
    for (const n of [8, 100, 1400]) {
      const host = knowing();
      expect(host.receive(ether4(udp(n)))).toBe(17);
      icmpSendUnreachable(host.ip, host.ip.packet, 3);
      expect(read(host.take()[0]).message).toEqual({
        kind: 'unreachable',
        code: 3,
        mtu: 0,
        payload: udp(n).subarray(0, 548),
      });
      expect(host.receive(ether6(udp6(n)))).toBe(17);
      icmpSendUnreachable(host.ip, host.ip.packet, 3);
      expect(read(host.take()[0]).message).toEqual({
        kind: 'unreachable',
        code: 4,
        payload: udp6(n).subarray(0, 1232),
      });
      expect(host.counters.icmpErrorsOut).toBe(2);
    }
  });

  test('say which protocol is unknown, and for IPv6 where it was named', () => {
    const host = knowing();
    const payload = new Uint8Array(8);
    host.receive(ether4(emitIpv4Packet({ src: PEER_4, dst: OUR_4, protocol: 99, payload })));
    expect(read(host.take()[0]).message).toMatchObject({ kind: 'unreachable', code: 2 });
    host.receive(ether6(emitIpv6Packet({ src: PEER_6, dst: OUR_6, nextHeader: 99, payload })));
    expect(read(host.take()[0]).message).toMatchObject({ kind: 'parameter problem', code: 1, pointer: 6 });
    const chain = Uint8Array.of(44, 0, 1, 4, 0, 0, 0, 0, 99, 77, 0, 0, 0, 0, 0, 1, ...payload);
    host.receive(ether6(emitIpv6Packet({ src: PEER_6, dst: OUR_6, nextHeader: 60, payload: chain })));
    expect(read(host.take()[0]).message).toMatchObject({ kind: 'parameter problem', code: 1, pointer: 48 });
  });

  test('say what is wrong with IPv6 extension headers, to whom RFC 8200 says', () => {
    const OPTIONS = [1, 4, 0, 0, 0, 0];
    const told = (nextHeader: number, bytes: number[], dst = OUR_6, src = PEER_6) => {
      const host = knowing();
      const payload = Uint8Array.of(...bytes, ...new Uint8Array(8));
      const frame = ether6(emitIpv6Packet({ src, dst, nextHeader, payload }));
      expect(host.receive(frame)).toBe(0);
      expect(host.counters.extensionHeaders + host.counters.sourceRoutes).toBe(1);
      return host.take().map((bytes) => {
        const { message, ...packet } = read(bytes);
        if (message.kind !== 'parameter problem') throw new Error(message.kind);
        expect([packet.src, packet.dst]).toEqual([OUR_6, PEER_6]);
        expect(message.payload).toEqual(frame.subarray(14));
        return [message.code, message.pointer];
      });
    };
    const option = (type: number, dst?: string) => told(60, [17, 0, 0, 0, type, 2, 0, 0], dst);
    expect([option(0x5f), option(0x9f), option(0xdf)]).toEqual([[], [[2, 44]], [[2, 44]]]);
    const all = 'ff02::1';
    expect([option(0x5f, all), option(0x9f, all), option(0xdf, all)]).toEqual([[], [[2, 44]], []]);
    expect(told(43, [17, 0, 0, 1, 0, 0, 0, 0])).toEqual([[0, 42]]);
    expect(told(60, [43, 0, ...OPTIONS, 17, 0, 4, 9, 0, 0, 0, 0])).toEqual([[0, 50]]);
    expect(told(60, [0, 0, ...OPTIONS, 17, 0, ...OPTIONS])).toEqual([[1, 40]]);
    expect(told(60, [17, 9, ...OPTIONS])).toEqual([]);
    expect(told(59, [])).toEqual([]);
    // AH and ESP are unknown here.
    for (const protocol of [50, 51]) {
      const host = knowing();
      host.receive(
        ether6(emitIpv6Packet({ src: PEER_6, dst: OUR_6, nextHeader: protocol, payload: new Uint8Array(8) })),
      );
      expect(read(host.take()[0]).message).toMatchObject({ kind: 'parameter problem', code: 1, pointer: 6 });
    }
  });

  test('are never about groups, broadcast or errors', () => {
    const host = knowing();
    const payload = new Uint8Array(8);
    for (const dst of ['10.0.0.255', '224.0.0.1']) {
      host.receive(ether4(emitIpv4Packet({ src: PEER_4, dst, protocol: 99, payload })));
      host.receive(ether4(emitIpv4Packet({ src: PEER_4, dst, protocol: 17, payload })));
      icmpSendUnreachable(host.ip, host.ip.packet, 3);
    }
    host.receive(ether6(emitIpv6Packet({ src: PEER_6, dst: 'ff02::1', nextHeader: 99, payload })));
    host.receive(icmp4({ kind: 'time exceeded', code: 0, payload }));
    icmpSendUnreachable(host.ip, host.ip.packet, 2);
    host.receive(icmp6({ kind: 'time exceeded', code: 0, payload }));
    icmpSendUnreachable(host.ip, host.ip.packet, 2);
    expect([host.take().length, host.counters.icmpErrorsOut]).toEqual([0, 0]);
  });

  test('are limited to about a hundred a second and fifty at once, nobody can tell exactly how many', () => {
    const host = knowing();
    let sent = 0;
    for (let ms = 0; ms < 2000; ms++) {
      host.ip.now_ms++;
      for (let i = 0; i < 3; i++)
        host.receive(
          ether4(emitIpv4Packet({ src: PEER_4, dst: OUR_4, protocol: 99, payload: new Uint8Array(8) })),
        );
      sent += host.take().length;
    }
    expect(sent).toBeGreaterThan(225);
    expect(sent).toBeLessThan(275);
    expect(sent + host.counters.icmpErrorsLimited).toBe(6000);
    const bursts = Array.from({ length: 20 }, () => {
      host.ip.now_ms += 10_000;
      for (let i = 0; i < 80; i++)
        host.receive(
          ether4(emitIpv4Packet({ src: PEER_4, dst: OUR_4, protocol: 99, payload: new Uint8Array(8) })),
        );
      return host.take().length;
    });
    expect(new Set(bursts).size).toBeGreaterThan(3);
  });
});

describe('errors that we receive', () => {
  const tcp = Uint8Array.of(0x12, 0x34, 0, 80, 0x89, 0xab, 0xcd, 0xef);
  const quoted = (change: object = {}) =>
    emitIpv4Packet({ src: OUR_4, dst: '192.0.2.1', protocol: 6, payload: tcp, ...change });
  const quoted6 = (change: object = {}) =>
    emitIpv6Packet({ src: OUR_6, dst: '2001:db8::1', nextHeader: 6, payload: tcp, ...change });

  function hear(frame: Uint8Array) {
    const host = knowing();
    const heard: { [field: string]: number }[] = [];
    host.ip.onError = (error) => heard.push({ ...error } as unknown as { [field: string]: number });
    expect(host.receive(frame)).toBe(0);
    expect([host.take().length, host.counters.icmpErrorsIn]).toEqual([0, 1]);
    expect(host.counters.icmpErrorsBad).toBe(heard.length === 0 ? 1 : 0);
    return heard[0];
  }

  const fields = { srcPort: 0x1234, dstPort: 80, seq: 0x89abcdef | 0, protocol: 6 };
  const unreachable = (code: number, mtu = 0): IcmpMessage => ({
    kind: 'unreachable',
    code,
    mtu,
    payload: quoted(),
  });

  test.each([
    ...[0, 1, 5, 6, 7, 9, 10, 11, 12, 13].map((code) => [unreachable(code), ERROR_SOFT, 0] as const),
    [unreachable(2), ERROR_HARD, 0] as const,
    [unreachable(3), ERROR_HARD, 0] as const,
    [unreachable(4, 1400), ERROR_TOO_BIG, 1400] as const,
    [unreachable(4, 0), ERROR_TOO_BIG, 0] as const,
    [{ kind: 'time exceeded' as const, code: 0, payload: quoted() }, ERROR_SOFT, 0] as const,
    [{ kind: 'other' as const, type: 12, code: 0, rest: 0, payload: quoted() }, ERROR_SOFT, 0] as const,
  ])('%j', (message, kind, mtu) => {
    const error = hear(icmp4(message));
    expect(error).toMatchObject({ ...fields, version: 4, kind, mtu });
    expect([formatIpv4(error.src0), formatIpv4(error.dst0)]).toEqual([OUR_4, '192.0.2.1']);
  });

  test.each<[Icmpv6Message, number, number]>([
    ...[0, 2, 3, 5, 6].map((code): [Icmpv6Message, number, number] => [
      { kind: 'unreachable', code, payload: quoted6() },
      ERROR_SOFT,
      0,
    ]),
    [{ kind: 'unreachable', code: 1, payload: quoted6() }, ERROR_HARD, 0],
    [{ kind: 'unreachable', code: 4, payload: quoted6() }, ERROR_HARD, 0],
    [{ kind: 'packet too big', mtu: 1280, payload: quoted6() }, ERROR_TOO_BIG, 1280],
    [{ kind: 'packet too big', mtu: 0xffffffff, payload: quoted6() }, ERROR_TOO_BIG, 0x7fffffff],
    [{ kind: 'time exceeded', code: 1, payload: quoted6() }, ERROR_SOFT, 0],
    [{ kind: 'parameter problem', code: 1, pointer: 6, payload: quoted6() }, ERROR_SOFT, 0],
  ])('%j', (message, kind, mtu) => {
    const error = hear(icmp6(message));
    expect(error).toMatchObject({ ...fields, version: 6, kind, mtu });
    expect(formatIpv6([error.src0, error.src1, error.src2, error.src3])).toBe(OUR_6);
    expect(formatIpv6([error.dst0, error.dst1, error.dst2, error.dst3])).toBe('2001:db8::1');
  });

  test('with a quotation that cannot be of ours are counted only', () => {
    const bad = [
      quoted().subarray(0, 27),
      quoted().subarray(0, 10),
      quoted({ src: PEER_4 }),
      quoted({ protocol: 1 }),
      quoted({ fragmentOffset: 8 }),
      quoted6(),
    ];
    for (const payload of bad)
      expect(hear(icmp4({ kind: 'time exceeded', code: 0, payload }))).toBeUndefined();
    for (const payload of [
      quoted6().subarray(0, 47),
      quoted6().subarray(0, 39),
      quoted6({ src: PEER_6 }),
      quoted6({ nextHeader: 0 }),
      quoted(),
    ]) {
      expect(hear(icmp6({ kind: 'time exceeded', code: 0, payload }))).toBeUndefined();
    }
  });
});

test('a token bucket gives its rate and its burst, over wrapping time', () => {
  let now_ms = 0x7fffff00;
  const bucket = new TokenBucket(10, 5, now_ms);
  const burst = () => Array.from({ length: 20 }, () => bucket.take(now_ms)).filter(Boolean).length;
  expect([burst(), burst()]).toEqual([5, 0]);
  now_ms = (now_ms + 300) | 0;
  expect(burst()).toBe(3);
  now_ms = (now_ms + 99) | 0;
  expect(burst()).toBe(0);
  now_ms = (now_ms + 1) | 0;
  expect(burst()).toBe(1);
  now_ms = (now_ms + 0x7fffffff) | 0;
  expect(burst()).toBe(5);
});
