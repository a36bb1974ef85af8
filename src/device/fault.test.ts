import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  FRAME_SEGMENT,
  type Ring,
} from '../memory/ring.ts';
import { decodeFrame } from '../wire/decode.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet, parseIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet, parseIpv6Packet } from '../wire/ipv6.ts';
import { emitTcp } from '../wire/tcp.ts';
import { createCable } from './cable.ts';
import { type FaultPort, type Faults, fault } from './fault.ts';
import type { Port } from './port.ts';
import { OPPORTUNITY_BYTES, Trace } from './trace.ts';

const LENGTH = 64;

/** A cable with faults at one end, and frames that carry their number. */
class Wire {
  readonly arena = new Arena(1 << 20);
  now = 1000;
  readonly far: Port;
  readonly near: FaultPort;
  readonly direction: 'rx' | 'tx';
  sent = 0;
  readonly arrived: { number: number; spoiled: boolean; good: boolean; at_ms: number }[] = [];
  /** When each frame was sent. */
  readonly sentAt: number[] = [];

  constructor(direction: 'rx' | 'tx', faults: Faults, seed: number, held = 64) {
    const [inner, far] = createCable(this.arena, 'c', { mtu: 128, slots: 16 });
    this.far = far;
    this.near = fault(inner, { [direction]: faults, seed, now: () => this.now, held });
    this.direction = direction;
  }

  /** Sends up to `count`, then takes what has come. */
  step(count: number): void {
    const { arena } = this;
    const [from, to] = this.direction === 'rx' ? [this.far, this.near] : [this.near, this.far];
    for (let i = 0; i < count && from.tx.available > 0; i++) {
      const slot = from.tx.slot(from.tx.head);
      arena.u8.fill(this.sent, from.tx.m[slot + DESC_AT], from.tx.m[slot + DESC_AT] + LENGTH);
      arena.view.setInt32(from.tx.m[slot + DESC_AT], this.sent);
      from.tx.m[slot + DESC_LENGTH] = LENGTH;
      from.tx.m[slot + DESC_FLAGS] = FRAME_CHECKSUM_GOOD;
      from.tx.head = (from.tx.head + 1) | 0;
      this.sentAt.push(this.now);
      this.sent++;
    }
    from.txSync();
    this.#receive(to);
  }

  #receive(to: Port): void {
    const { arena } = this;
    const n = to.rxSync();
    for (let i = 0; i < n; i++) {
      const slot = to.rx.slot((to.rx.head + i) | 0);
      const at = to.rx.m[slot + DESC_AT];
      expect(to.rx.m[slot + DESC_LENGTH]).toBe(LENGTH);
      // The number is whole unless the spoiled byte is in it; then the filling tells.
      const bytes = arena.u8.slice(at, at + LENGTH);
      const number = arena.view.getInt32(at);
      const filled = bytes.subarray(4).filter((b) => b !== (number & 0xff)).length;
      const good = (to.rx.m[slot + DESC_FLAGS] & FRAME_CHECKSUM_GOOD) !== 0;
      this.arrived.push({
        number,
        spoiled: filled > 0 || number >= this.sent || number < 0,
        good,
        at_ms: this.now,
      });
    }
    to.rx.head = (to.rx.head + n) | 0;
  }

  /** Until nothing is held, nor in the cable; every held frame has a deadline. */
  drain(): void {
    for (let i = 0, quiet = 0; i < 1000; i++) {
      const before = this.arrived.length;
      this.step(0);
      const next = this.near.nextDeadline();
      if (next !== Infinity) this.now += next;
      // A slot is filled again two syncs after its frame was read.
      quiet = next === Infinity && this.arrived.length === before ? quiet + 1 : 0;
      if (quiet === 3) return;
    }
    throw new Error(`${this.near.held} frames are held for ever`);
  }

  get faults() {
    return (this.direction === 'rx' ? this.near.rxFaults : this.near.txFaults) ?? fail();
  }

  /** Every buffer is somewhere, once. */
  audit(): void {
    const { near, far } = this;
    const rings: Ring[] = [near.inner.rx, near.inner.tx, far.rx, far.tx];
    const all = rings.flatMap((ring) =>
      Array.from({ length: ring.slots }, (_, i) => ring.m[ring.slot(i) + DESC_AT]),
    );
    all.push(...near.buffers());
    expect(new Set(all).size).toBe(all.length);
  }
}

function fail(): never {
  throw new Error('no such channel');
}

const directions = ['rx', 'tx'] as const;

describe.each(directions)('faults on %s', (direction) => {
  test('without faults nothing happens', () => {
    const wire = new Wire(direction, {}, 1);
    for (let i = 0; i < 100; i++) wire.step(i % 17);
    wire.drain();
    expect(wire.arrived.map((f) => f.number)).toEqual(Array.from({ length: wire.sent }, (_, i) => i));
    expect(wire.arrived.every((f) => f.good && !f.spoiled)).toBe(true);
    wire.audit();
  });

  test('every frame arrives, is counted as lost, or both of a double arrive; no buffer is lost or shared', () => {
    const probability = fc.constantFrom(0, 0, 0.05, 0.5, 1);
    const faults = fc.record({
      loss: fc.constantFrom(0, 0.05, 0.5),
      corrupt: probability,
      duplicate: probability,
      reorder: probability,
      reorderFrames: fc.integer({ min: 1, max: 5 }),
      delay_ms: fc.constantFrom(0, 7),
      jitter_ms: fc.constantFrom(0, 5),
    });
    const steps = fc.array(fc.record({ count: fc.nat(20), pass_ms: fc.nat(9) }), { maxLength: 60 });
    fc.assert(
      fc.property(faults, fc.integer(), steps, fc.constantFrom(2, 64), (given, seed, sequence, held) => {
        const wire = new Wire(direction, given, seed, held);
        for (const { count, pass_ms } of sequence) {
          wire.step(count);
          wire.now += pass_ms;
        }
        wire.drain();
        const { lost, corrupted, duplicated, reordered, overflowed } = wire.faults;
        expect(wire.near.held).toBe(0);
        expect(wire.arrived.length).toBe(wire.sent - lost - overflowed + duplicated);
        expect(wire.arrived.filter((f) => !f.good).length).toBe(corrupted);
        for (const f of wire.arrived) if (f.good) expect(f.spoiled).toBe(false);
        const inOrder = wire.arrived.every(
          (f, i, all) => i === 0 || !f.good || !all[i - 1].good || all[i - 1].number <= f.number,
        );
        if (reordered === 0) expect(inOrder).toBe(true);
        wire.audit();
      }),
      { numRuns: 200 },
    );
  });

  test('a reordered frame is passed by at most reorderFrames, and comes by itself when none do', () => {
    const wire = new Wire(direction, { reorder: 0.2, reorderFrames: 2 }, 5);
    for (let i = 0; i < 50; i++) wire.step(8);
    wire.drain();
    expect(wire.arrived.length).toBe(wire.sent);
    let late = 0;
    wire.arrived.forEach((f, i) => {
      const passed = wire.arrived.slice(0, i).filter((g) => g.number > f.number).length;
      if (passed > 0) late++;
      // Those that are put aside themselves don't count as passing.
      expect(passed).toBeLessThanOrEqual(2 + 4);
    });
    expect(late).toBeGreaterThan(10);
    const alone = new Wire(direction, { reorder: 1, reorder_ms: 30 }, 5);
    alone.step(1);
    expect(alone.arrived.length).toBe(0);
    expect(alone.near.nextDeadline()).toBe(30);
    alone.now += 30;
    alone.step(0);
    expect(alone.arrived.length).toBe(1);
  });

  test('delays hold each frame for their time, in order', () => {
    const wire = new Wire(direction, { delay_ms: 50, jitter_ms: 10 }, 9);
    const sentAt: number[] = [];
    for (let i = 0; i < 40; i++) {
      sentAt.push(wire.now);
      wire.step(1);
      wire.now += 3;
    }
    wire.drain();
    expect(wire.arrived.map((f) => f.number)).toEqual(sentAt.map((_, i) => i));
    for (const f of wire.arrived) {
      expect(f.at_ms - sentAt[f.number]).toBeGreaterThanOrEqual(50);
      expect(f.at_ms - sentAt[f.number]).toBeLessThanOrEqual(60 + 3);
    }
  });

  test('the same seed gives the same run, another seed another', () => {
    const run = (seed: number) => {
      const wire = new Wire(direction, { loss: 0.1, duplicate: 0.1, corrupt: 0.1, reorder: 0.1 }, seed);
      for (let i = 0; i < 30; i++) wire.step(10);
      wire.drain();
      return JSON.stringify(wire.arrived);
    };
    expect(run(3)).toBe(run(3));
    expect(run(3)).not.toBe(run(4));
  });

  test('flush loses what is held, and gives every buffer back', () => {
    const wire = new Wire(direction, { delay_ms: 1000 }, 2);
    for (let i = 0; i < 5; i++) wire.step(8);
    expect(wire.near.held).toBe(40);
    wire.near.flush();
    expect(wire.near.held).toBe(0);
    wire.drain();
    expect(wire.arrived.length).toBe(0);
    wire.audit();
  });
});

describe.each(directions)('a slow line on %s', (direction) => {
  /** ms that a frame of LENGTH takes. */
  const BITS = LENGTH * 8;

  test('sends frames one after another at exactly its rate, however seldom it is looked at', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 50_000, max: 5_000_000 }),
        fc.array(fc.record({ count: fc.nat(8), pass_ms: fc.double({ min: 0, max: 3, noNaN: true }) }), {
          maxLength: 30,
        }),
        (rate_bps, steps) => {
          const wire = new Wire(direction, { rate_bps, delay_ms: 0.25 }, 1, 512);
          for (const { count, pass_ms } of steps) {
            wire.step(count);
            wire.now += pass_ms;
          }
          wire.drain();
          expect(wire.arrived.map((f) => f.number)).toEqual(wire.sentAt.map((_, i) => i));
          let free = 0;
          for (const [i, at] of wire.sentAt.entries()) {
            free = Math.max(free, at) + (BITS / rate_bps) * 1000;
            // Never early, and no later than the next look at it.
            expect(wire.arrived[i].at_ms).toBeGreaterThan(free + 0.25 - 1e-6);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test('keeps its rate over time, and tells when to look', () => {
    const wire = new Wire(direction, { rate_bps: BITS * 1000, delay_ms: 2 }, 1, 512);
    const begin = wire.now;
    while (wire.sent < 300) wire.step(16);
    for (let i = 0; i < 3000 && wire.arrived.length < 300; i++) {
      wire.now += wire.near.nextDeadline();
      wire.step(0);
    }
    // One frame a ms.
    expect(wire.arrived[299].at_ms - begin).toBeCloseTo(302, 6);
  });

  test('loses what its queue has no room for, in bytes or in packets', () => {
    for (const [queue, room] of [
      [{ kind: 'droptail', bytes: 10 * LENGTH + 1 }, 10],
      [{ kind: 'droptail', bytes: 1e6, packets: 7 }, 7],
    ] as const) {
      const wire = new Wire(direction, { rate_bps: BITS * 10, queue }, 1);
      wire.step(16);
      wire.drain();
      // One more is being sent.
      expect(wire.arrived.map((f) => f.number)).toEqual(Array.from({ length: room + 1 }, (_, i) => i));
      const counters = direction === 'rx' ? wire.near.rxQueue : wire.near.txQueue;
      expect(counters).toMatchObject({ overflowed: 16 - room - 1, dropped: 0 });
      expect(wire.near.held).toBe(0);
      wire.audit();
    }
  });

  test('with CoDel keeps no standing queue', () => {
    const run = (kind: 'codel' | 'droptail') => {
      const wire = new Wire(direction, { rate_bps: BITS * 1000, queue: { kind, bytes: 1e6 } }, 1, 4096);
      for (let ms = 0; ms < 6000; ms++) {
        wire.step(ms % 10 === 0 ? 2 : 1);
        wire.now += 1;
      }
      const last = wire.arrived.slice(-50);
      return last.reduce((sum, f) => sum + f.at_ms - wire.sentAt[f.number], 0) / last.length;
    };
    const standing = run('droptail');
    expect(standing).toBeGreaterThan(500);
    expect(run('codel')).toBeLessThan(standing / 3);
  });

  test('goes by a trace: what an opportunity carries, when it comes', () => {
    const trace = Trace.parse('5\n5\n20\n');
    const wire = new Wire(direction, { trace }, 1, 512);
    const begin = wire.now;
    const perOpportunity = Math.floor(OPPORTUNITY_BYTES / LENGTH);
    while (wire.sent < 128) wire.step(128 - wire.sent);
    wire.drain();
    const times = wire.arrived.map((f) => f.at_ms - begin);
    expect(times.length).toBe(128);
    expect(times.filter((ms) => ms === 5).length).toBe(2 * perOpportunity + 1);
    expect(times[2 * perOpportunity + 1]).toBe(20);
    expect(new Set(times)).toEqual(new Set([5, 20, 25, 40]));
  });
});

test('frames are lost in runs where the channel is Gilbert’s, as often as its chain says', () => {
  const wire = new Wire('tx', { loss: { kind: 'gilbert', p: 0.01, r: 0.2 } }, 7);
  for (let i = 0; i < 3000; i++) wire.step(8);
  wire.drain();
  const lost = new Set(Array.from({ length: wire.sent }, (_, i) => i));
  for (const f of wire.arrived) lost.delete(f.number);
  const runs = [...lost].filter((i) => !lost.has(i - 1)).length;
  expect(lost.size).toBe(wire.faults.lost);
  // p / (p + r), and 1 / r.
  expect(lost.size / wire.sent).toBeCloseTo(0.0476, 2);
  expect(lost.size / runs).toBeGreaterThan(4);
  expect(lost.size / runs).toBeLessThan(6);
});

test('a spoiled frame has nobody to vouch for it, and a checksum that tells, even if that was left to the device', () => {
  const arena = new Arena(1 << 24);
  const [inner, far] = createCable(arena, 'c', { offload: true, slots: 16, link: 'ip' });
  const near = fault(inner, { tx: { corrupt: 1 }, seed: 1, now: () => 0, held: 16 });
  const [src, dst] = ['10.0.0.1', '10.0.0.2'];
  const payload = emitTcp({ srcPort: 1, dstPort: 2, payload: new Uint8Array(1000) }, { src, dst });
  const packet = emitIpv4Packet({ src, dst, protocol: 6, payload });
  // Unfinished: any value will do, the right one least of all.
  packet[36] ^= 1;
  for (let i = 0; i < 1000; i++) {
    const slot = near.tx.slot(near.tx.head);
    arena.u8.set(packet, near.tx.m[slot + DESC_AT]);
    near.tx.m[slot + DESC_LENGTH] = packet.length;
    near.tx.m[slot + DESC_FLAGS] = FRAME_CHECKSUM_FILL;
    near.tx.head = (near.tx.head + 1) | 0;
    near.txSync();
    expect(far.rxSync()).toBe(1);
    const arrived = far.rx.slot(far.rx.head);
    expect(far.rx.m[arrived + DESC_FLAGS]).toBe(0);
    const at = far.rx.m[arrived + DESC_AT];
    const { tcp, checksumGood } = decodeFrame(arena.u8.slice(at, at + packet.length), 'ip');
    expect(tcp === undefined || checksumGood === false).toBe(true);
    far.rx.head = (far.rx.head + 1) | 0;
  }
  expect(near.txFaults?.corrupted).toBe(1000);
});

describe.each(['ip', 'ether'] as const)('on a cable of kind %s', (link) => {
  /** What arrives of a packet, without the link's header; undefined when it is lost. */
  function pass(faults: Faults, packet: Uint8Array, flags = 0, aux = 0): Uint8Array | undefined {
    const arena = new Arena(1 << 24);
    const [inner, far] = createCable(arena, 'c', { link, offload: true, slots: 16 });
    const near = fault(inner, { tx: faults, seed: 1, now: () => 0, held: 4 });
    const ether = { dst: '02:00:00:00:00:01', src: '02:00:00:00:00:02' };
    const type = packet[0] >> 4 === 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
    const frame = link === 'ether' ? emitEthernet({ ...ether, type, payload: packet }) : packet;
    const slot = near.tx.slot(near.tx.head);
    arena.u8.set(frame, near.tx.m[slot + DESC_AT]);
    near.tx.m[slot + DESC_LENGTH] = frame.length;
    near.tx.m[slot + DESC_FLAGS] = flags;
    near.tx.m[slot + DESC_AUX] = aux;
    near.tx.head = (near.tx.head + 1) | 0;
    near.txSync();
    if (far.rxSync() === 0) return undefined;
    const at = far.rx.m[far.rx.slot(far.rx.head) + DESC_AT];
    return arena.u8.slice(at + frame.length - packet.length, at + frame.length);
  }

  const V4 = { src: '10.0.0.1', dst: '10.0.0.2' };
  const V6 = { src: 'fd00::1', dst: 'fd00::2' };
  const segment = (ends: typeof V4, length: number) =>
    emitTcp({ srcPort: 1, dstPort: 2, payload: new Uint8Array(length) }, ends);

  test('marks what is ECN-capable, and nothing else of it changes', () => {
    for (const ecn of [0, 1, 2, 3]) {
      const payload = segment(V4, 10);
      const four = pass({ mark: 1 }, emitIpv4Packet({ ...V4, protocol: 6, tos: 0x20 | ecn, payload }));
      // It checks the header's sum.
      expect(parseIpv4Packet(four ?? fail())).toMatchObject({ tos: 0x20 | (ecn === 0 ? 0 : 3), payload });
      const six = pass(
        { mark: 1 },
        emitIpv6Packet({
          ...V6,
          nextHeader: 6,
          trafficClass: 0x20 | ecn,
          flowLabel: 5,
          payload: segment(V6, 10),
        }),
      );
      expect(parseIpv6Packet(six ?? fail())).toMatchObject({
        trafficClass: 0x20 | (ecn === 0 ? 0 : 3),
        flowLabel: 5,
      });
    }
  });

  test('loses packets larger than the path’s MTU, super-segments by what they will be cut into', () => {
    for (const [length, flags, aux, arrives] of [
      [1360, 0, 0, true],
      [1361, 0, 0, false],
      [20_000, FRAME_SEGMENT, 1360, true],
      [20_000, FRAME_SEGMENT, 1361, false],
    ] as const) {
      const four = emitIpv4Packet({ ...V4, protocol: 6, payload: segment(V4, length) });
      expect(pass({ mtu: 1400 }, four, flags, aux) !== undefined).toBe(arrives);
      const six = emitIpv6Packet({ ...V6, nextHeader: 6, payload: segment(V6, length) });
      expect(pass({ mtu: 1420 }, six, flags, aux) !== undefined).toBe(arrives);
    }
  });
});
