import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Arena } from '../../memory/arena.ts';
import {
  DESC_AT,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
} from '../../memory/ring.ts';
import { formatIpv4, formatMac, parseMac } from '../../wire/address.ts';
import { fold } from '../../wire/checksum.ts';
import { decodeFrame, type Link } from '../../wire/decode.ts';
import { pseudoSum } from '../../wire/plain.ts';
import { PROTOCOL_UDP } from '../../wire/protocols.ts';
import { createCable } from '../cable.ts';
import { createFrames } from '../frames.ts';
import type { Port } from '../port.ts';
import { countFlows, parseRange } from './flows.ts';
import { Pinger, Ponger, Receiver, Sender, type SendOptions } from './roles.ts';
import { PacketTemplate } from './template.ts';

const MACS = { srcMac: parseMac('02:00:00:00:00:01'), dstMac: parseMac('02:00:00:00:00:02') };
const ALL: SendOptions = { count: Number.POSITIVE_INFINITY, rate: 0, burst: 256 };

function cable(link: Link, slots = 64): [Port, Port] {
  const arena = new Arena(8 << 20);
  return createCable(arena, 'cable', { link, slots, pool: createFrames(arena, 'frames', 4 * slots, 1518) });
}

function templateFor(port: Port, src: string, dst: string, length = 60): PacketTemplate {
  const { link } = port.capabilities;
  return new PacketTemplate(port.arena, {
    link,
    length,
    src: parseRange(src, 1000),
    dst: parseRange(dst, 9),
    ...MACS,
  });
}

function takeAll(port: Port): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let n = port.rxSync(); n > 0; n--, port.rx.head = (port.rx.head + 1) | 0) {
    const slot = port.rx.slot(port.rx.head);
    const at = port.rx.m[slot + DESC_AT];
    frames.push(port.arena.u8.slice(at, at + port.rx.m[slot + DESC_LENGTH]));
  }
  return frames;
}

describe('tx', () => {
  const ranges = fc.record({
    link: fc.constantFrom<Link>('ether', 'ip'),
    family: fc.constantFrom(4, 6),
    length: fc.integer({ min: 0, max: 1500 }),
    low: fc.integer({ min: 0, max: 250 }),
    first: fc.constantFrom(0, 0xfffe, 0xffff_ff00),
    counts: fc.tuple(...[4, 4, 4, 4].map((max) => fc.integer({ min: 1, max }))),
  });

  test('frames are UDP datagrams with right checksums that step through all 5-tuples and count up', () => {
    fc.assert(
      fc.property(ranges, ({ link, family, length, low, first, counts }) => {
        const [ports, addresses, dstPorts, dstAddresses] = counts;
        const address = (net: number, i: number): string =>
          family === 4
            ? formatIpv4((10 << 24) | (net << 16) | (0xfe00 + low + i))
            : `fd0${net}::${(low + i).toString(16)}`;
        const at = (net: number, i: number, port: number): string =>
          family === 4 ? `${address(net, i)}:${port}` : `[${address(net, i)}]:${port}`;
        const src = `${at(1, 0, 65_530)}-${at(1, addresses - 1, 65_530 + ports - 1)}`;
        const dst = `${at(2, 0, 0)}-${at(2, dstAddresses - 1, dstPorts - 1)}`;
        const [a, b] = cable(link);
        const template = templateFor(a, src, dst, length);
        template.sequence = first;
        const sender = new Sender(a, template, { count: 300, rate: 0, burst: 50 });
        const frames: Uint8Array[] = [];
        for (let i = 0; !sender.done; i++) {
          sender.step(i);
          frames.push(...takeAll(b));
        }
        expect(frames.length).toBe(300);
        const headers = (link === 'ether' ? 14 : 0) + (family === 4 ? 20 : 40) + 8;
        frames.forEach((frame, i) => {
          const { malformed, checksumGood, ethernet, ipv4, ipv6, udp } = decodeFrame(frame, link);
          expect(malformed).toBeUndefined();
          expect(checksumGood).toBe(true);
          expect(frame.length).toBe(Math.max(length, headers + 16));
          expect(udp!.payload.length).toBe(frame.length - headers);
          if (link === 'ether')
            expect(ethernet).toMatchObject({ src: '02:00:00:00:00:01', dst: '02:00:00:00:00:02' });
          const ip = (family === 4 ? ipv4 : ipv6)!;
          const sourcesBefore = Math.floor(i / ports);
          const dstPortsBefore = Math.floor(sourcesBefore / addresses);
          const expected = [
            parseRange(address(1, sourcesBefore % addresses), 0).address,
            65_530 + (i % ports),
            parseRange(address(2, Math.floor(dstPortsBefore / dstPorts) % dstAddresses), 0).address,
            dstPortsBefore % dstPorts,
          ];
          const got = [
            parseRange(ip.src, 0).address,
            udp!.srcPort,
            parseRange(ip.dst, 0).address,
            udp!.dstPort,
          ];
          expect(got).toEqual(expected);
          expect(new DataView(udp!.payload.slice().buffer).getUint32(4)).toBe((first + i) % 2 ** 32);
        });
      }),
      { numRuns: 40 },
    );
  });

  test('a rate is kept to, made up for briefly, and not made up for after a long pause', () => {
    const [a, b] = cable('ip');
    const sender = new Sender(a, templateFor(a, '10.0.0.1', '10.0.0.2'), { ...ALL, rate: 10_000, burst: 8 });
    const sentBy = (from: number, to: number): number => {
      const before = sender.sent;
      for (let now = from; now < to; now += 50) {
        sender.step(now);
        takeAll(b);
      }
      return sender.sent - before;
    };
    expect(sentBy(0, 100_000)).toBe(1000);
    expect(sender.delay(99_950)).toBe(50);
    // 10 ms late: made up for.
    expect(sentBy(109_900, 120_000)).toBe(200);
    // A second late: 100 packets are, the rest is not.
    const after = sentBy(1_120_000, 1_130_000);
    expect(after).toBeGreaterThanOrEqual(199);
    expect(after).toBeLessThanOrEqual(202);
  });

  test('waits for a port that is full, and is done when the last frame has left', () => {
    const [a, b] = cable('ip', 8);
    const sender = new Sender(a, templateFor(a, '10.0.0.1', '10.0.0.2'), { ...ALL, count: 20 });
    for (let i = 0; i < 10; i++) sender.step(i);
    expect(sender.sent).toBe(16);
    expect(sender.done).toBe(false);
    takeAll(b);
    b.rxSync();
    sender.step(10);
    sender.step(11);
    expect(sender.sent).toBe(20);
    takeAll(b);
    b.rxSync();
    sender.step(12);
    expect(sender.done).toBe(true);
    expect(a.counters.txFrames).toBe(20);
  });
});

describe('rx', () => {
  test.each(['10.0.0.1', 'fd00::1'])('counts ours (%s), what others sent, and what was damaged', (host) => {
    const [a, b] = cable('ether');
    const sender = new Sender(a, templateFor(a, host, host, 200), { ...ALL, count: 40, burst: 20 });
    const receiver = new Receiver(b, 256);
    sender.step(0);
    receiver.step();
    sender.step(1);
    b.rxSync();
    const damaged = b.rx.slot(b.rx.head);
    b.arena.u8[b.rx.m[damaged + DESC_AT] + 150] ^= 1;
    const foreign = b.rx.slot((b.rx.head + 1) | 0);
    b.arena.u8[b.rx.m[foreign + DESC_AT] + 12] = 0x11;
    const short = b.rx.slot((b.rx.head + 2) | 0);
    b.rx.m[short + DESC_LENGTH] = 20;
    receiver.step();
    expect(receiver).toMatchObject({ badChecksums: 1, foreign: 2 });
    expect(receiver.sequences).toMatchObject({ received: 37, lost: 3, late: 0, duplicates: 0 });
  });
});

describe('ping and pong', () => {
  test.each([
    ['10.0.0.1:7-10.0.0.3:9', '10.1.0.1', 'ether'],
    ['fd00::1', 'fd00::2', 'ip'],
  ] as const)('%s to %s over %s: each request is answered, measured and whole', (src, dst, link) => {
    const [a, b] = cable(link);
    let now = 1000;
    const clock = (): number => now;
    const pinger = new Pinger(a, templateFor(a, src, dst), { count: 100, rate: 0, burst: 4 }, clock);
    const ponger = new Ponger(b, 256);
    for (let i = 0; i < 200 && !pinger.done; i++) {
      pinger.step(now);
      now += 7;
      ponger.step();
      now += 3;
    }
    expect(pinger.done).toBe(true);
    expect(pinger).toMatchObject({ sent: 100, badChecksums: 0 });
    expect(pinger.answers).toMatchObject({ received: 100, lost: 0, duplicates: 0 });
    expect(pinger.times).toMatchObject({ count: 100, min: 10_000, max: 10_000 });
    expect(ponger).toMatchObject({ answered: 100, foreign: 0, badChecksums: 0 });
  });

  test('an answer has the ends swapped, and is not answered again', () => {
    const [a, b] = cable('ether');
    const pinger = new Pinger(a, templateFor(a, '10.0.0.1:5', '10.0.0.2:6'), { ...ALL, count: 1 }, () => 1);
    const ponger = new Ponger(b, 256);
    pinger.step(0);
    ponger.step();
    const [answer] = takeAll(a);
    const { ethernet, ipv4, udp, checksumGood } = decodeFrame(answer, 'ether');
    expect(ethernet).toMatchObject({ src: '02:00:00:00:00:02', dst: '02:00:00:00:00:01' });
    expect(ipv4).toMatchObject({ src: '10.0.0.2', dst: '10.0.0.1' });
    expect(udp).toMatchObject({ srcPort: 6, dstPort: 5 });
    expect(checksumGood).toBe(true);
    a.arena.u8.set(answer, a.tx.m[a.tx.slot(a.tx.head) + DESC_AT]);
    a.tx.m[a.tx.slot(a.tx.head) + DESC_LENGTH] = answer.length;
    a.tx.head = (a.tx.head + 1) | 0;
    a.txSync();
    ponger.step();
    expect(ponger).toMatchObject({ answered: 1, foreign: 1 });
    expect(a.rxSync()).toBe(0);
  });

  test("an answer to a broadcast comes from the port's own address", () => {
    const [a, b] = cable('ether');
    const template = new PacketTemplate(a.arena, {
      link: 'ether',
      length: 60,
      src: parseRange('10.0.0.1', 1),
      dst: parseRange('10.0.0.2', 2),
      srcMac: MACS.srcMac,
      dstMac: parseMac('ff:ff:ff:ff:ff:ff'),
    });
    new Pinger(a, template, { ...ALL, count: 1 }, () => 1).step(0);
    new Ponger(b, 256).step();
    expect(decodeFrame(takeAll(a)[0], 'ether')).toMatchObject({
      ethernet: { src: formatMac(b.capabilities.mac!), dst: '02:00:00:00:00:01' },
      checksumGood: true,
    });
  });

  test('a checksum that the device fills in stays the pseudo-header sum', () => {
    const arena = new Arena(32 << 20);
    const [a, b] = createCable(arena, 'cable', { offload: true, slots: 8, link: 'ip' });
    const pinger = new Pinger(a, templateFor(a, '10.0.0.1', '10.0.0.2'), { ...ALL, count: 1 }, () => 1);
    pinger.step(0);
    b.rxSync();
    const slot = b.rx.slot(b.rx.head);
    const pseudo = fold(pseudoSum({ src: '10.0.0.1', dst: '10.0.0.2' }, PROTOCOL_UDP, 40));
    b.rx.m[slot + DESC_FLAGS] = FRAME_CHECKSUM_FILL;
    arena.view.setUint16(b.rx.m[slot + DESC_AT] + 26, pseudo, false);
    new Ponger(b, 8).step();
    a.rxSync();
    const answer = a.rx.slot(a.rx.head);
    expect(a.rx.m[answer + DESC_FLAGS] & FRAME_CHECKSUM_FILL).toBe(FRAME_CHECKSUM_FILL);
    expect(arena.view.getUint16(a.rx.m[answer + DESC_AT] + 26, false)).toBe(pseudo);
  });

  test("what the device has said of a request isn't said of its answer", () => {
    const [a, b] = cable('ip');
    new Pinger(a, templateFor(a, '10.0.0.1', '10.0.0.2'), { ...ALL, count: 1 }, () => 1).step(0);
    b.rxSync();
    b.rx.m[b.rx.slot(b.rx.head) + DESC_FLAGS] = FRAME_CHECKSUM_GOOD;
    new Ponger(b, 8).step();
    expect(a.rxSync()).toBe(1);
    expect(a.rx.m[a.rx.slot(a.rx.head) + DESC_FLAGS]).toBe(0);
  });

  test('what gets no answer within a second is given up, and the next goes', () => {
    const [a, b] = cable('ip');
    const pinger = new Pinger(
      a,
      templateFor(a, '10.0.0.1', '10.0.0.2'),
      { ...ALL, count: 2, burst: 1 },
      () => 0,
    );
    pinger.step(0);
    pinger.step(900_000);
    expect(pinger.sent).toBe(1);
    pinger.step(1_000_001);
    expect(pinger.sent).toBe(2);
    expect(takeAll(b).length).toBe(2);
    pinger.step(2_000_002);
    expect(pinger.done).toBe(true);
    expect(pinger.answers.received).toBe(0);
  });
});

describe('ranges', () => {
  test.each([
    ['10.0.0.1', { family: 4, addresses: 1, port: 9, ports: 1 }],
    ['10.0.0.1:5', { family: 4, addresses: 1, port: 5, ports: 1 }],
    ['10.0.0.1:5-10.0.1.0:6', { family: 4, addresses: 256, port: 5, ports: 2 }],
    ['0.0.0.1-255.255.255.255', { addresses: 2 ** 32 - 1 }],
    ['fd00::1-fd00::ff', { family: 6, addresses: 255, port: 9 }],
    ['[fd00::1]:80-[fd00::1]:81', { family: 6, addresses: 1, port: 80, ports: 2 }],
  ])('%s', (text, range) => {
    expect(parseRange(text, 9)).toMatchObject(range);
  });

  test.each([
    ['10.0.0.300', 'IPv4'],
    ['10.0.0.2-10.0.0.1', 'above'],
    ['10.0.0.1:9-10.0.0.1:8', 'port'],
    ['10.0.0.1:70000', '65535'],
    ['10.0.0.1-fd00::1', 'both'],
    ['fd00::1-fd01::1', '96 bits'],
    ['a-b-c', 'two ends'],
    ['host', 'brackets'],
    ['', 'IPv4'],
  ])('%s is refused', (text, why) => {
    expect(() => parseRange(text, 9)).toThrow(why);
    expect(() => parseRange(text, 9)).toThrow(expect.objectContaining({ code: 'ERR_PKTGEN_RANGE' }));
  });

  test('flows are all combinations', () => {
    expect(countFlows(parseRange('10.0.0.1:1-10.0.0.4:8', 0), parseRange('10.0.0.1:1-10.0.0.2:3', 0))).toBe(
      192,
    );
  });
});
