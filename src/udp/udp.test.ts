import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DatagramHandlers, Destination } from '../engine/datagrams.ts';
import { A4, A6, B4, B6, World } from '../engine/testing.ts';
import { transportChecksum } from '../wire/plain.ts';
import type { UdpCounters } from './counters.ts';
import { UDP_CODES } from './reasons.ts';
import { bytes, OTHER, OUR, PEER, PEER_PORT, UdpContext } from './testing.ts';

type Version = 4 | 6;
const version = fc.constantFrom<Version>(4, 6);

/** Handlers that keep what they are told. */
function recorder(context: UdpContext, takes: () => unknown = () => {}) {
  const told: string[] = [];
  const messages: { bytes: Uint8Array; from: string; to: string }[] = [];
  const handlers: DatagramHandlers = {
    message(sock, at, length) {
      const { from } = context.engine.datagrams;
      const result = takes();
      told.push(`${sock} ${length}${result === false ? ' left' : ''}`);
      if (result === false) return false;
      const to = `${from.toAddress} ${from.toPort}`;
      messages.push({
        bytes: context.arena.u8.slice(at, at + length),
        from: `${from.address} ${from.port}`,
        to,
      });
      return true;
    },
    error: (_sock, code) => void told.push(code),
    writable: () => void told.push('writable'),
  };
  return { told, messages, handlers };
}

describe('between two engines', () => {
  test('datagrams of any length arrive as they were sent', () => {
    fc.assert(
      fc.property(
        version,
        fc.boolean(),
        fc.constantFrom('ether' as const, 'ip' as const),
        fc.array(fc.oneof(fc.nat(1600), fc.nat(65_507)), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1280, max: 1500 }),
        (version, offload, link, lengths, mtu) => {
          const world = new World({ seed: 1, offload, link, mtu });
          const received: { bytes: Uint8Array; address: string; to: string }[] = [];
          const server = world.b.datagrams.bind(
            { port: 7 },
            {
              message(sock, at, length) {
                const { from } = world.b.datagrams;
                received.push({
                  bytes: world.arena.u8.slice(at, at + length),
                  address: from.address,
                  to: from.toAddress,
                });
                expect(world.b.datagrams.reply(sock, at, Math.min(length, 10))).toBe(1);
              },
            },
          );
          let answers = 0;
          const client = world.a.datagrams.bind({}, { message: () => void answers++ });
          const [here, there] = version === 4 ? [A4, B4] : [A6, B6];
          world.a.datagrams.connect(client, there, 7);
          for (const [i, length] of lengths.entries()) {
            expect(world.a.datagrams.write(client, bytes(length, i))).toBe(1);
            world.run(() => received.length === i + 1, 1000);
            expect(received[i]).toEqual({ bytes: bytes(length, i), address: here, to: there });
          }
          world.run(() => answers === lengths.length, 1000);
          const { counters } = world.b.udp;
          expect(counters.badChecksum + counters.badLength).toBe(0);
          world.a.datagrams.close(client);
          world.b.datagrams.close(server);
          world.finish();
        },
      ),
      { numRuns: 15 },
    );
  });

  test('whatever a bad network does, what arrives was sent', () => {
    const faults = { loss: 0.1, duplicate: 0.1, reorder: 0.2, corrupt: 0.1, delay_ms: 1 };
    const world = new World({ seed: 7, forth: faults, back: faults });
    const sent = new Map<string, number>();
    let received = 0;
    world.b.datagrams.bind(
      { port: 7 },
      {
        message(_sock, at, length) {
          received++;
          expect(sent.has(Buffer.from(world.arena.u8.slice(at, at + length)).toString('hex'))).toBe(true);
        },
      },
    );
    const client = world.a.datagrams.bind({}, {});
    const to = { 4: new Destination(B4, 7), 6: new Destination(B6, 7) };
    for (let i = 0; i < 600; i++) {
      const payload = bytes((i * 37) % 5000, i);
      sent.set(Buffer.from(payload).toString('hex'), i);
      world.a.datagrams.write(client, payload, to[i % 2 === 0 ? 4 : 6]);
      world.pass(2);
    }
    world.pass(120_000);
    expect(received).toBeGreaterThan(100);
    expect(world.b.ip.interfaces[0].counters.reassembled).toBeGreaterThan(50);
    expect(world.b.ip.reassembly.waiting).toBe(0);
  });

  test('the first one waits for its neighbour with the program, and a full ring too', () => {
    const world = new World({ seed: 3, slots: 32 });
    world.a.ip.interfaces[0].neighbours.remove(20);
    let received = 0;
    world.b.datagrams.bind({ port: 7 }, { message: () => void received++ });
    let left = 100;
    const { datagrams } = world.a;
    const to = new Destination(B4, 7);
    let later = 0;
    const go = (sock: number): void => {
      for (; left > 0; left--) {
        const result = datagrams.write(sock, bytes(100), to);
        if (result === 0) {
          later++;
          return;
        }
        expect(result).toBe(1);
      }
    };
    go(datagrams.bind({}, { writable: go }));
    world.run(() => received === 100, 100);
    expect(later).toBeGreaterThan(2);
    expect(world.a.udp.waiting).toHaveLength(0);
  });

  test('a neighbour that does not answer is an error', () => {
    const world = new World({ seed: 3 });
    const told: number[] = [];
    const { datagrams } = world.a;
    const to = new Destination('10.0.0.77', 7);
    const go = (sock: number): void => void told.push(datagrams.write(sock, bytes(1), to));
    go(datagrams.bind({}, { writable: go }));
    world.pass(10_000);
    expect(told[0]).toBe(0);
    expect(UDP_CODES[-told.at(-1)!]).toBe('EHOSTUNREACH');
  });
});

describe('input', () => {
  test('knows no checksum over IPv4, demands one over IPv6, and trusts none that is wrong', () => {
    const context = new UdpContext();
    const { told, handlers } = recorder(context);
    context.engine.datagrams.bind({ port: 7 }, handlers);
    const none = (udp: Uint8Array) => udp.set([0, 0], 6);
    const wrong = (udp: Uint8Array) => void udp[8]++;
    const short = (udp: Uint8Array) => udp.set([0, 7], 4);
    const long = (udp: Uint8Array) => udp.set([0, 99], 4);
    for (const v of [4, 6] as const) {
      for (const edit of [none, wrong, short, long]) context.datagram(v, bytes(20), {}, edit);
    }
    context.breath();
    expect(told).toHaveLength(1);
    expect(context.counters).toMatchObject({ datagramsIn: 8, badChecksum: 2, noChecksum: 1, badLength: 4 });
  });

  test('takes a super-segment for the datagrams that it is, whether they are heard at once or later', () => {
    const payloadBytes = fc.oneof(fc.nat(1400), fc.constantFrom(0, 100, 200, 1200));
    const segmentBytes = fc.oneof(fc.integer({ min: 50, max: 1500 }), fc.constantFrom(100, 1400));
    fc.assert(
      fc.property(version, payloadBytes, segmentBytes, fc.boolean(), (v, length, segment, late) => {
        const context = new UdpContext();
        let ready = !late;
        const { messages, handlers } = recorder(context, () => ready);
        const sock = context.engine.datagrams.bind({ port: 7 }, handlers);
        if (late) {
          context.datagram(v, bytes(1));
          context.breath();
        }
        const payload = bytes(length);
        context.datagram(v, payload, { segmentBytes: segment });
        context.breath();
        ready = true;
        context.engine.datagrams.resume(sock);
        context.breath();
        const wanted: Uint8Array[] = late ? [bytes(1)] : [];
        for (let at = 0; at === 0 || at < length; at += segment) wanted.push(payload.slice(at, at + segment));
        expect(messages.map((message) => message.bytes)).toEqual(wanted);
        expect(context.counters).toMatchObject({ datagramsIn: wanted.length, badChecksum: 0 });
      }),
    );
  });

  test('takes no bytes past its length field', () => {
    const context = new UdpContext();
    const { messages, handlers } = recorder(context);
    context.engine.datagrams.bind({ port: 7 }, handlers);
    const inner = bytes(20);
    for (const v of [4, 6] as const) {
      // 20 bytes of data and their checksum, and 30 more that IP has.
      const ends = { src: PEER[v], dst: OUR[v] };
      context.datagram(v, new Uint8Array(50), {}, (udp) => {
        udp.set(inner, 8);
        udp.set([0, 28, 0, 0], 4);
        const sum = transportChecksum(udp.subarray(0, 28), ends, 17);
        udp.set([sum >> 8, sum & 255], 6);
      });
    }
    context.breath();
    expect(messages.map((m) => m.bytes)).toEqual([inner, inner]);
  });

  test('answers for a port that nobody has, but not to everybody', () => {
    const context = new UdpContext();
    for (const v of [4, 6] as const) context.datagram(v, bytes(10), { dstPort: 9 });
    const answers = context.breath();
    expect(answers.map(({ icmp, icmpv6 }) => (icmp ?? icmpv6)?.kind)).toEqual(['unreachable', 'unreachable']);
    for (const dst of ['10.0.0.255', '224.0.0.1', '255.255.255.255'])
      context.datagram(4, bytes(10), { dst, dstPort: 9 });
    context.datagram(6, bytes(10), { dst: 'ff02::1', dstPort: 9 });
    context.datagram(4, bytes(10), { dstPort: 9 }, (udp) => void udp[9]++);
    expect(context.breath()).toEqual([]);
    expect(context.counters).toMatchObject({ noPort: 2, badChecksum: 1 });
  });

  test('gives a datagram to the socket that is bound most closely, and of several to the last', () => {
    const context = new UdpContext();
    const { datagrams } = context.engine;
    const heard: string[] = [];
    const bind = (name: string, options: object) =>
      datagrams.bind({ port: 7, reuseAddress: true, ...options }, { message: () => void heard.push(name) });
    const hear = (v: Version, ends = {}) => {
      context.datagram(v, bytes(1), ends);
      context.breath();
      return heard.splice(0);
    };
    bind('all', {});
    expect([hear(4), hear(6)]).toEqual([['all'], ['all']]);
    bind('v4', { family: 4 });
    expect([hear(4), hear(6)]).toEqual([['v4'], ['all']]);
    bind('ours', { address: OUR[4] });
    expect([hear(4), hear(4, { dst: OTHER[4] })]).toEqual([['ours'], ['v4']]);
    const connected = bind('connected', {});
    datagrams.connect(connected, PEER[4], PEER_PORT);
    expect([hear(4), hear(4, { srcPort: 1 }), hear(4, { src: '10.0.0.3' })]).toEqual([
      ['connected'],
      ['ours'],
      ['ours'],
    ]);
    datagrams.disconnect(connected);
    expect(hear(4)).toEqual(['ours']);
    // Broadcast is for all that are not bound to an address.
    expect(hear(4, { dst: '10.0.0.255' })).toEqual(['connected', 'v4', 'all']);
    bind('broadcast', { address: '10.0.0.255' });
    expect(hear(4, { dst: '10.0.0.255' })).toEqual(['broadcast', 'connected', 'v4', 'all']);
    expect(hear(6, { dst: 'ff02::1' })).toEqual(['connected', 'all']);
  });

  test('shares a port among sockets by the flow when they want to', () => {
    const context = new UdpContext();
    const heard = new Map<number, Set<number>>();
    for (let i = 0; i < 3; i++) {
      context.engine.datagrams.bind(
        { port: 7, reusePort: true },
        {
          message(sock) {
            const set = heard.get(sock) ?? new Set();
            heard.set(sock, set.add(context.engine.datagrams.from.port));
          },
        },
      );
    }
    for (let round = 0; round < 2; round++) {
      for (let srcPort = 1; srcPort <= 60; srcPort++) {
        context.datagram(4, bytes(1), { srcPort });
        context.breath();
      }
    }
    const sizes = [...heard.values()].map((set) => set.size);
    expect(sizes).toHaveLength(3);
    // Each flow stays with its socket.
    expect(sizes.reduce((a, b) => a + b)).toBe(60);
  });

  test('survives a socket that closes itself or throws, and refuses stale handles', () => {
    const context = new UdpContext();
    const { datagrams } = context.engine;
    let calls = 0;
    const closing = datagrams.bind(
      { port: 7 },
      {
        message(sock) {
          calls++;
          datagrams.close(sock);
          return false;
        },
      },
    );
    for (let i = 0; i < 3; i++) context.datagram(4, bytes(10));
    context.breath();
    expect(calls).toBe(1);
    expect(context.engine.udp.chunks.inUse).toBe(0);
    expect([datagrams.write(closing, bytes(1), new Destination(PEER[4], 1)), datagrams.staleHandles]).toEqual(
      [-6, 1],
    );
    expect(datagrams.local(closing)).toBeNull();

    const errors: unknown[] = [];
    context.engine.onHandlerError = (error) => void errors.push(error);
    datagrams.bind(
      { port: 8 },
      {
        message() {
          throw new Error('program');
        },
      },
    );
    for (let i = 0; i < 2; i++) context.datagram(4, bytes(10), { dstPort: 8 });
    context.breath();
    expect(errors).toHaveLength(2);
  });

  test('has a limit of events in one breath', () => {
    const context = new UdpContext({ udpSockets: 200 }, 64);
    let heard = 0;
    for (let i = 0; i < 100; i++)
      context.engine.datagrams.bind({ port: 7, reuseAddress: true }, { message: () => void heard++ });
    for (let i = 0; i < 60; i++) context.datagram(4, bytes(1), { dst: '10.0.0.255' });
    context.breath();
    expect([heard, context.counters.eventsFull]).toEqual([4096, 1904]);
  });
});

describe('a program that leaves datagrams', () => {
  test('finds them in order, and nothing else', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4), { maxLength: 60 }), (steps) => {
        const context = new UdpContext({ udpReceiveBuffer: 1 << 20, udpChunks: 512 });
        let takes = true;
        const { messages, handlers } = recorder(context, () => takes);
        const sock = context.engine.datagrams.bind({ port: 7 }, handlers);
        let sent = 0;
        const send = () => context.datagram(sent % 2 === 0 ? 4 : 6, bytes((sent * 331) % 1400, sent++));
        for (const step of steps) {
          if (step === 0) takes = false;
          else if (step === 1) {
            takes = true;
            context.engine.datagrams.resume(sock);
          } else for (let i = 0; i < step; i++) send();
          context.breath();
        }
        takes = true;
        context.engine.datagrams.resume(sock);
        context.breath();
        expect(messages.map((m) => m.bytes)).toEqual(
          Array.from({ length: sent }, (_, i) => bytes((i * 331) % 1400, i)),
        );
        for (const [i, { from, to }] of messages.entries()) {
          const v = i % 2 === 0 ? 4 : 6;
          expect([from, to]).toEqual([`${PEER[v]} ${PEER_PORT}`, `${OUR[v]} 7`]);
        }
        expect(context.engine.udp.chunks.inUse).toBe(0);
        context.engine.udp.chunks.audit();
      }),
      { numRuns: 60 },
    );
  });

  test('has so many bytes waiting and no more, and all sockets together so many chunks', () => {
    const context = new UdpContext({ udpReceiveBuffer: 5000, udpChunks: 8 });
    const { datagrams } = context.engine;
    const socks = Array.from({ length: 6 }, (_, i) =>
      datagrams.bind({ port: 7 + i }, { message: () => false }),
    );
    // Four of 64 + 1000 bytes fit.
    for (let i = 0; i < 6; i++) context.datagram(4, bytes(1000));
    context.breath();
    expect(datagrams.receiveQueue(socks[0])).toBe(4 * 1064);
    expect(context.counters.receiveBufferFull).toBe(2);
    for (let i = 1; i < 6; i++)
      for (let n = 0; n < 4; n++) context.datagram(4, bytes(1000), { dstPort: 7 + i });
    context.breath();
    expect(context.counters.receiveNoMemory).toBeGreaterThan(0);
    expect(context.engine.udp.chunks.inUse).toBeLessThanOrEqual(8);
    datagrams.setOptions(socks[0], { receiveBuffer: 100_000 });
    for (const sock of socks) datagrams.close(sock);
    expect(context.engine.udp.chunks.inUse).toBe(0);
  });
});

describe('output', () => {
  test('is refused with the reason', () => {
    const context = new UdpContext();
    const { datagrams } = context.engine;
    const sock = datagrams.bind({}, {});
    const send = (address: string, port = 9, length = 1) => {
      const result = datagrams.write(sock, bytes(length), new Destination(address, port));
      return result > 0 ? 'sent' : UDP_CODES[-result];
    };
    expect(send(PEER[4], 0)).toBe('EINVAL');
    expect(send('192.0.2.1')).toBe('ENETUNREACH');
    expect(send(OUR[4])).toBe('ENETUNREACH');
    expect(send(PEER[4], 9, 65_508)).toBe('EMSGSIZE');
    expect(send(PEER[6], 9, 65_528)).toBe('EMSGSIZE');
    for (const everybody of ['255.255.255.255', '10.0.0.255']) expect(send(everybody)).toBe('EACCES');
    expect(UDP_CODES[-datagrams.write(sock, bytes(1))]).toBe('EINVAL');
    const only4 = datagrams.bind({ family: 4 }, {});
    expect(UDP_CODES[-datagrams.write(only4, bytes(1), new Destination(PEER[6], 9))]).toBe('EINVAL');
    expect(context.counters.sendFailed).toBe(8);
    datagrams.setOptions(sock, { broadcast: true, tos: 0xb8, ttl: 5 });
    expect([send('255.255.255.255'), send('10.0.0.255'), send(PEER[6])]).toEqual(['sent', 'sent', 'sent']);
    const sent = context.breath();
    expect(sent.map(({ ipv4 }) => ipv4?.dst)).toEqual(['255.255.255.255', '10.0.0.255', undefined]);
    expect(sent[0].ipv4).toMatchObject({ src: OUR[4], ttl: 5, tos: 0xb8, dontFragment: true, id: 0 });
    expect(sent[2].ipv6).toMatchObject({ src: OUR[6], hopLimit: 5, trafficClass: 0xb8 });
    expect(sent.every(({ checksumGood }) => checksumGood)).toBe(true);
  });

  test('IPv6: carries the label of its flow, whole or in fragments', () => {
    const context = new UdpContext();
    const { datagrams } = context.engine;
    const labels = (port: number) => {
      const sock = datagrams.bind({ port }, {});
      for (const [i, length] of [1, 1000, 3000].entries())
        expect(datagrams.write(sock, bytes(length, i), new Destination(PEER[6], 9))).toBe(1);
      const sent = context.breath();
      expect(sent).toHaveLength(2 + 3);
      return new Set(sent.map(({ ipv6 }) => ipv6?.flowLabel));
    };
    const [one, other] = [labels(7000), labels(7001)];
    expect([one.size, other.size, new Set([...one, ...other]).size]).toEqual([1, 1, 2]);
    expect([...one, ...other]).not.toContain(0);
  });

  test('answers from the address that was asked', () => {
    const context = new UdpContext();
    const { datagrams } = context.engine;
    const sock = datagrams.bind(
      { port: 7 },
      { message: (sock, at, length) => void datagrams.reply(sock, at, length) },
    );
    for (const v of [4, 6] as const) {
      for (const dst of [OTHER[v], OUR[v], OTHER[v]]) {
        context.datagram(v, bytes(5), { dst });
        const [{ ipv4, ipv6, udp }] = context.breath();
        expect([(ipv4 ?? ipv6)?.src, udp?.payload]).toEqual([dst, bytes(5)]);
        // And otherwise by route, as ever.
        datagrams.write(sock, bytes(1), new Destination(PEER[v], PEER_PORT));
        const [own] = context.breath();
        expect((own.ipv4 ?? own.ipv6)?.src).toBe(OUR[v]);
      }
    }
    context.datagram(4, bytes(5), { dst: '10.0.0.255' });
    expect(context.breath()[0].ipv4?.src).toBe(OUR[4]);
  });

  test('of a connected socket hears ICMP; others do not', () => {
    const context = new UdpContext();
    const { datagrams } = context.engine;
    const { told, handlers } = recorder(context);
    const sock = datagrams.bind({ port: 9 }, handlers);
    context.error(4, { code: 3 }, 9);
    context.breath();
    datagrams.connect(sock, PEER[4], PEER_PORT);
    context.error(4, { code: 3 }, 9, 1);
    context.error(4, { code: 1 }, 9);
    context.error(4, { code: 3 }, 9);
    context.breath();
    expect(told).toEqual(['ECONNREFUSED']);
    datagrams.disconnect(sock);
    datagrams.connect(sock, PEER[6], PEER_PORT);
    context.error(6, { code: 1 }, 9);
    context.error(6, { code: 4 }, 9);
    context.breath();
    expect(told.slice(1)).toEqual(['EACCES', 'ECONNREFUSED']);
    expect(context.counters).toMatchObject({ icmpIgnored: 3, icmpTold: 3 });
  });

  test.each([4, 6] as const)('over IPv%d learns the path from those who send there', (v) => {
    const context = new UdpContext();
    const { datagrams } = context.engine;
    const sock = datagrams.bind({ port: 9 }, {});
    const to = new Destination(PEER[v], PEER_PORT);
    const frames = () => {
      expect(datagrams.write(sock, bytes(1400), to)).toBe(1);
      return context.breath().length;
    };
    context.error(v, { mtu: 1300 }, 9);
    context.breath();
    expect([frames(), context.counters.icmpIgnored]).toEqual([1, 1]);
    context.error(v, { mtu: 1300 }, 9);
    context.breath();
    expect(frames()).toBe(2);
    expect(context.counters.pathMtuReduced).toBe(1);
    datagrams.setOptions(sock, { dontFragment: true });
    expect(UDP_CODES[-datagrams.write(sock, bytes(1400), to)]).toBe('EMSGSIZE');
    expect(datagrams.write(sock, bytes(1200), to)).toBe(1);
    // Below what any path takes.
    context.error(v, { mtu: 300 }, 9);
    context.breath();
    expect(context.counters.pathMtuReduced).toBe(1);
  });
});

describe('ends', () => {
  test('are refused when they are taken, unless both share', () => {
    const context = new UdpContext({ udpSockets: 8 });
    const { datagrams } = context.engine;
    const bind = (options: object) => datagrams.bind({ port: 7, ...options }, {});
    const taken = (options: object) => expect(() => bind(options)).toThrow('EADDRINUSE');
    const first = bind({ address: OUR[4] });
    taken({ address: OUR[4] });
    taken({});
    taken({ family: 4 });
    taken({ address: OUR[4], reuseAddress: true });
    bind({ address: OTHER[4] });
    bind({ family: 6 });
    expect(() => bind({ address: '10.0.0.77' })).toThrow('EADDRNOTAVAIL');
    expect(() => bind({ port: 70_000 })).toThrow('ERR_SOCKET_BAD_PORT');
    datagrams.close(first);
    bind({ address: OUR[4] });
    expect(datagrams.local(first)).toBeNull();
    for (let i = 0; i < 5; i++) bind({ port: 0 });
    expect(() => bind({ port: 0 })).toThrow('ENOBUFS');
  });

  test('get ports that are free and not one after the other', () => {
    const context = new UdpContext({ udpSockets: 500, ephemeralPortMin: 40_000, ephemeralPortMax: 40_099 });
    const { datagrams } = context.engine;
    const ports = Array.from({ length: 100 }, () => datagrams.local(datagrams.bind({}, {}))!.port);
    expect(new Set(ports).size).toBe(100);
    expect(ports.every((port) => port >= 40_000 && port < 40_100)).toBe(true);
    expect(ports.slice(1, 40).filter((port, i) => port === ports[i] + 1).length).toBeLessThan(10);
    expect(() => datagrams.bind({}, {})).toThrow('EADDRINUSE');
  });

  test('of a connected socket are told', () => {
    const context = new UdpContext();
    const { datagrams } = context.engine;
    const sock = datagrams.bind({ port: 7 }, {});
    expect([datagrams.local(sock), datagrams.remote(sock)]).toEqual([{ address: undefined, port: 7 }, null]);
    datagrams.connect(sock, PEER[6], 9);
    expect([datagrams.local(sock), datagrams.remote(sock)]).toEqual([
      { address: OUR[6], port: 7 },
      { address: PEER[6], port: 9 },
    ]);
    expect(() => datagrams.connect(sock, '192.0.2.1', 9)).toThrow('ENETUNREACH');
    expect(() => datagrams.connect(sock, PEER[4], 0)).toThrow('EINVAL');
  });
});

test.each<keyof UdpCounters>(['datagramsOut', 'bytesIn', 'bytesOut', 'sendLater'])(
  '%s is counted',
  (name) => {
    const context = new UdpContext({}, 16);
    const { datagrams } = context.engine;
    const sock = datagrams.bind({ port: 7 }, {});
    context.datagram(4, bytes(10));
    for (let i = 0; i < 17; i++) datagrams.write(sock, bytes(10), new Destination(PEER[4], 1));
    context.breath();
    const expected = { datagramsOut: 16, bytesIn: 10, bytesOut: 160, sendLater: 1 } as Record<string, number>;
    expect(context.counters[name]).toBe(expected[name]);
  },
);
