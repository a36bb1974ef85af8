import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_LENGTH } from '../memory/ring.ts';
import { createCable } from './cable.ts';
import type { CapturedPacket } from './pcap-reader.ts';
import type { Port } from './port.ts';
import { Replayer, type ReplayOptions } from './replay.ts';

const ORIGINAL: ReplayOptions = { timing: 'original', speed: 1, rate: 0, loops: 1 };

function packet(id: number, timeUs: number, more: Partial<CapturedPacket> = {}): CapturedPacket {
  const bytes = Uint8Array.of(id, id >> 8, ...new Array<number>(18).fill(7));
  return {
    bytes,
    length: bytes.length,
    timeUs,
    interfaceId: 0,
    linkType: 1,
    link: 'ether',
    direction: null,
    ...more,
  };
}

/** What comes of it, each with the time at which it came. */
function replay(packets: readonly CapturedPacket[], options: ReplayOptions, end = 1e6, step = 10) {
  const [port, far] = createCable(new Arena(4 << 20), 'cable', { slots: 16 });
  const replayer = new Replayer(port, () => packets[Symbol.iterator](), options);
  const came: [number, number][] = [];
  for (let now = 5000; now < 5000 + end && !replayer.done; now += step) {
    replayer.step(now);
    for (const bytes of takeAll(far)) came.push([bytes[0] | (bytes[1] << 8), now - 5000]);
  }
  return { came, replayer };
}

function takeAll(port: Port): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let n = port.rxSync(); n > 0; n--, port.rx.head = (port.rx.head + 1) | 0) {
    const slot = port.rx.slot(port.rx.head);
    const at = port.rx.m[slot + DESC_AT];
    frames.push(port.arena.u8.slice(at, at + port.rx.m[slot + DESC_LENGTH]));
  }
  port.rxSync();
  return frames;
}

describe('original timing', () => {
  test('packets leave as far apart as they came, at any speed, and none before its time', () => {
    const gaps = fc.array(fc.nat({ max: 3000 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(gaps, fc.constantFrom(0.5, 1, 3), (given, speed) => {
        let at = 1.7e15;
        const packets = given.map((gap, i) => packet(i, i === 0 ? at : (at += gap)));
        const { came, replayer } = replay(packets, { ...ORIGINAL, speed });
        expect(replayer).toMatchObject({ done: true, sent: packets.length, passes: 1 });
        packets.forEach(({ timeUs }, i) => {
          const due = (timeUs - packets[0].timeUs) / speed;
          expect(came[i][0]).toBe(i);
          expect(came[i][1]).toBeGreaterThanOrEqual(due - 0.5);
          expect(came[i][1]).toBeLessThan(due + 10.5);
        });
      }),
    );
  });

  test('says how long until the next one', () => {
    const [port] = createCable(new Arena(4 << 20), 'cable', { slots: 16 });
    const packets = [packet(0, 100), packet(1, 700)];
    const replayer = new Replayer(port, () => packets[Symbol.iterator](), ORIGINAL);
    replayer.step(1000);
    expect(replayer.delay(1100)).toBe(500);
    expect(replayer.step(1599)).toBe(0);
    expect(replayer.step(1600)).toBe(1);
  });

  test('times that run back or are missing mean at once', () => {
    const packets = [packet(0, 1000), packet(1, 400), packet(2, Number.NaN), packet(3, 1500)];
    expect(replay(packets, ORIGINAL).came).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 500],
    ]);
  });

  test('each pass begins where the one before ended', () => {
    const { came, replayer } = replay([packet(0, 1000), packet(1, 1300)], { ...ORIGINAL, loops: 3 });
    expect(came).toEqual([
      [0, 0],
      [1, 300],
      [0, 300],
      [1, 600],
      [0, 600],
      [1, 900],
    ]);
    expect(replayer).toMatchObject({ passes: 3, sent: 6 });
  });
});

test('a rate', () => {
  const packets = Array.from({ length: 50 }, (_, i) => packet(i, 1e9 * i));
  const { came } = replay(packets, { ...ORIGINAL, timing: 'rate', rate: 1000 });
  expect(came.map(([, at]) => at)).toEqual(packets.map((_, i) => i * 1000));
});

test('top speed: as fast as the port takes them, all of them', () => {
  const packets = Array.from({ length: 300 }, (_, i) => packet(i, 1e9 * i));
  const { came, replayer } = replay(packets, { ...ORIGINAL, timing: 'top', loops: 2 });
  expect(came.map(([id]) => id)).toEqual([...packets.keys(), ...packets.keys()]);
  expect(replayer).toMatchObject({ done: true, sent: 600, passes: 2 });
});

test("what the port can't send as it was is counted and left out, and a capture of nothing else ends", () => {
  const odd = [
    packet(1, 0, { link: 'ip' }),
    packet(2, 0, { link: null }),
    packet(3, 0, { length: 2000 }),
    packet(4, 0, { bytes: new Uint8Array(1515), length: 1515 }),
    packet(5, 0, { bytes: new Uint8Array(0), length: 0 }),
  ];
  const { came, replayer } = replay([packet(0, 0), ...odd, packet(9, 0)], { ...ORIGINAL, timing: 'top' });
  expect(came.map(([id]) => id)).toEqual([0, 9]);
  expect(replayer).toMatchObject({ sent: 2, otherLink: 2, cut: 1, tooLong: 2 });
  for (const packets of [odd, []]) {
    const { replayer: barren } = replay(packets, {
      ...ORIGINAL,
      timing: 'top',
      loops: Number.POSITIVE_INFINITY,
    });
    expect(barren).toMatchObject({ done: true, sent: 0, passes: 1 });
  }
});

test('a capture that has nothing any more when it is opened again ends', () => {
  const [port, far] = createCable(new Arena(4 << 20), 'cable', { slots: 16 });
  const passes = [[packet(0, 0), packet(1, 0)], [], [packet(2, 0)]];
  const loops = Number.POSITIVE_INFINITY;
  const replayer = new Replayer(port, () => passes.shift()!.values(), { ...ORIGINAL, timing: 'top', loops });
  replayer.step(0);
  replayer.step(1);
  expect(replayer).toMatchObject({ done: true, sent: 2, passes: 2 });
  expect(takeAll(far)).toHaveLength(2);
});
