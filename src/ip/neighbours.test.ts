import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseArp } from '../wire/arp.ts';
import { parseEthernet } from '../wire/ethernet.ts';
import { parseIcmpv6 } from '../wire/icmpv6.ts';
import { parseIpv6Packet } from '../wire/ipv6.ts';
import { transportChecksumGood } from '../wire/plain.ts';
import { NEIGHBOUR, NeighbourCache, neighbourMacHigh, neighbourMacLow } from './neighbour-cache.ts';
import { neighbourConfirm, neighbourUsable } from './neighbours.ts';
import {
  advertFrame,
  arpFrame,
  BROADCAST_MAC,
  Host,
  macInts,
  OUR_4,
  OUR_6,
  OUR_LINK_LOCAL,
  OUR_MAC,
  PEER_4,
  PEER_6,
  PEER_MAC,
  solicitFrame,
} from './testing.ts';

const EVIL_MAC = '02:00:00:00:00:66';
const NOBODY_MAC = '00:00:00:00:00:00';

/** Whom a frame asks for which address, or what it says otherwise. */
function told(frame: Uint8Array): string {
  const ether = parseEthernet(frame);
  expect(ether.src).toBe(OUR_MAC);
  if (ether.type === 0x0806) {
    const arp = parseArp(ether.payload);
    expect(arp.senderMac).toBe(OUR_MAC);
    return `${arp.operation} ${arp.senderIp} -> ${arp.targetIp} to ${ether.dst}`;
  }
  const packet = parseIpv6Packet(ether.payload);
  expect(packet.hopLimit).toBe(255);
  expect(transportChecksumGood(packet.payload, packet, 58)).toBe(true);
  const message = parseIcmpv6(packet.payload);
  if (message.kind === 'neighbor solicitation') {
    expect(message.options.sourceMac).toBe(OUR_MAC);
    return `request ${packet.src} -> ${message.target} to ${ether.dst}`;
  }
  if (message.kind !== 'neighbor advertisement') throw new Error(message.kind);
  expect(message.options.targetMac).toBe(OUR_MAC);
  return `advert ${message.target} ${message.flags.toString(16)} -> ${packet.dst} to ${ether.dst}`;
}

function macOf(host: Host, ref: number): [number, number] {
  return [neighbourMacHigh(host.iface.neighbours, ref), neighbourMacLow(host.iface.neighbours, ref)];
}

const families = [
  { peer: PEER_4, ours: OUR_4, everybody: BROADCAST_MAC, other: '10.0.0.3' },
  { peer: PEER_6, ours: OUR_6, everybody: '33:33:ff:00:00:02', other: 'fd00::3' },
];

describe.each(families)('resolving $peer', ({ peer, ours, everybody, other }) => {
  const question = `request ${ours} -> ${peer} to ${everybody}`;
  const probe = `request ${ours} -> ${peer} to ${PEER_MAC}`;
  /** A host that knows the peer, and its reference. */
  const known = (): [Host, number] => {
    const host = new Host();
    host.resolve(peer);
    host.answer(peer);
    host.take();
    return [host, host.resolve(peer)];
  };
  /** The same once what it knows has become STALE. */
  const stale = (): [Host, number] => {
    const [host, ref] = known();
    host.pass(45_100);
    expect(host.take()).toEqual([]);
    return [host, ref];
  };
  const claim = (mac: string) =>
    peer === PEER_4 ? arpFrame('reply', mac, peer, OUR_MAC, ours) : advertFrame(peer, mac, 0x60);
  const ask = (mac: string, from: string) =>
    peer === PEER_4 ? arpFrame('request', mac, from, NOBODY_MAC, ours) : solicitFrame(ours, from, mac);

  test('asks once a second, three times, then is unreachable for a while, then asks again', () => {
    const host = new Host();
    const { neighbours } = host.iface;
    expect(host.resolve(peer)).toBe(0);
    expect(host.resolve(peer)).toBe(0);
    expect(host.take().map(told)).toEqual([question]);
    host.pass(900);
    expect(host.take()).toEqual([]);
    host.pass(200);
    expect(host.take().map(told)).toEqual([question]);
    host.pass(1000);
    expect(host.take().map(told)).toEqual([question]);
    const before = neighbours.version;
    host.pass(1000);
    expect(neighbours.version).not.toBe(before);
    expect([host.resolve(peer), host.counters.neighbourFailed, host.take().length]).toEqual([-1, 1, 0]);
    host.pass(3100);
    expect(neighbours.count).toBe(0);
    expect(host.ip.timerDelay_ms).toBe(-1);
    expect(host.resolve(peer)).toBe(0);
    expect(host.take().map(told)).toEqual([question]);
  });

  test('an answer makes it usable, and says so', () => {
    const host = new Host();
    host.resolve(peer);
    const before = host.iface.neighbours.version;
    host.answer(peer);
    expect(host.iface.neighbours.version).not.toBe(before);
    const ref = host.resolve(peer);
    expect(ref).toBeGreaterThan(0);
    expect(neighbourUsable(host.iface, ref)).toBe(true);
    expect(macOf(host, ref)).toEqual(macInts(PEER_MAC));
    expect(host.resolve(other)).toBe(0);
  });

  test('a late answer is taken too', () => {
    const host = new Host();
    host.resolve(peer);
    host.pass(3200);
    expect(host.resolve(peer)).toBe(-1);
    host.answer(peer);
    expect(host.resolve(peer)).toBeGreaterThan(0);
  });

  test('STALE stays usable; using it leads to a probe after 5 s, whose answer renews it', () => {
    const [host, ref] = stale();
    expect(neighbourUsable(host.iface, ref)).toBe(true);
    host.pass(4900);
    expect(host.take()).toEqual([]);
    host.pass(200);
    expect(host.take().map(told)).toEqual([probe]);
    host.answer(peer);
    host.pass(14_000);
    expect([neighbourUsable(host.iface, ref), host.take().length]).toEqual([true, 0]);
  });

  test('STALE and unused is left alone', () => {
    const [host] = stale();
    host.pass(500_000);
    expect([host.iface.neighbours.count, host.take().length]).toEqual([1, 0]);
    host.pass(100_000);
    expect(host.iface.neighbours.count).toBe(0);
  });

  test('three probes without an answer forget it: the reference is dead, and everybody is asked', () => {
    const [host, ref] = stale();
    neighbourUsable(host.iface, ref);
    const before = host.iface.neighbours.version;
    host.pass(8200);
    expect(host.take().map(told)).toEqual([probe, probe, probe]);
    expect(host.iface.neighbours.version).not.toBe(before);
    expect(neighbourUsable(host.iface, ref)).toBe(false);
    expect(host.resolve(peer)).toBe(0);
    expect(host.take().map(told)).toEqual([question]);
    host.answer(peer, EVIL_MAC);
    const fresh = host.resolve(peer);
    expect(macOf(host, fresh)).toEqual(macInts(EVIL_MAC));
    expect([neighbourUsable(host.iface, ref), neighbourUsable(host.iface, fresh)]).toEqual([false, true]);
  });

  test('progress that the transport sees saves the probe', () => {
    const [host, ref] = stale();
    neighbourUsable(host.iface, ref);
    neighbourConfirm(host.iface, ref);
    host.pass(14_000);
    expect(host.take()).toEqual([]);
    neighbourConfirm(host.iface, 0);
    neighbourConfirm(host.iface, ref + 1);
  });

  test.each(['REACHABLE', 'STALE'])(
    'a claim to another hardware address replaces nothing while %s: the known one is asked',
    (state) => {
      const [host, ref] = state === 'STALE' ? stale() : known();
      host.pass(1100);
      host.receive(claim(EVIL_MAC));
      expect(host.take().map(told)).toEqual([probe]);
      for (let i = 0; i < 100; i++) {
        host.receive(claim(EVIL_MAC));
        host.receive(ask(EVIL_MAC, peer));
      }
      expect(
        host
          .take()
          .map(told)
          .filter((text) => text.startsWith('request')),
      ).toEqual([]);
      host.answer(peer);
      // However often: once a second at most.
      host.receive(claim(EVIL_MAC));
      expect(host.take()).toEqual([]);
      expect([neighbourUsable(host.iface, ref), macOf(host, ref)]).toEqual([true, macInts(PEER_MAC)]);
      expect(host.counters.neighbourConflicts).toBe(202);
      host.pass(20_000);
      expect(macOf(host, host.resolve(peer))).toEqual(macInts(PEER_MAC));
    },
  );

  test('when the known one is silent, everybody is asked within 400 ms, and the new one found', () => {
    const [host] = known();
    host.receive(claim(EVIL_MAC));
    host.pass(400);
    expect(host.take().map(told)).toEqual([probe, probe, probe, question]);
    expect(host.resolve(peer)).toBe(0);
    host.answer(peer, EVIL_MAC);
    expect(macOf(host, host.resolve(peer))).toEqual(macInts(EVIL_MAC));
  });

  test('that is being probed already is asked faster once somebody else claims to be it', () => {
    const [host, ref] = stale();
    neighbourUsable(host.iface, ref);
    host.pass(5100);
    expect(host.take().map(told)).toEqual([probe]);
    host.receive(claim(EVIL_MAC));
    host.pass(400);
    expect(host.take().map(told)).toEqual([probe, probe, probe, question]);
  });

  test('claims while it is probed gain it no time', () => {
    const [host, ref] = stale();
    neighbourUsable(host.iface, ref);
    for (let i = 0; i < 85; i++) {
      host.pass(100);
      host.receive(claim(EVIL_MAC));
      host.take();
    }
    expect(neighbourUsable(host.iface, ref)).toBe(false);
  });

  test('what is in use stays pinned, however old', () => {
    const [host, ref] = known();
    for (let i = 0; i < 700; i++) {
      host.pass(1000);
      host.answer(peer);
      expect(neighbourUsable(host.iface, ref)).toBe(true);
    }
    host.take();
    for (let i = 0; i < 2000; i++)
      host.resolve(peer === PEER_4 ? `10.0.0.${5 + (i % 240)}` : `fd00::1:${i.toString(16)}`);
    expect(neighbourUsable(host.iface, ref)).toBe(true);
  });

  test('nobody gets in by telling what was not asked', () => {
    const host = new Host();
    host.receive(claim(EVIL_MAC));
    expect([host.iface.neighbours.count, host.counters.neighbourUnsolicited]).toEqual([0, 1]);
    host.resolve(peer);
    host.receive(
      peer === PEER_4
        ? arpFrame('reply', EVIL_MAC, peer, EVIL_MAC, peer, BROADCAST_MAC)
        : advertFrame(peer, EVIL_MAC, 0x20, 'ff02::1'),
    );
    expect([host.resolve(peer), host.counters.neighbourUnsolicited]).toEqual([0, 2]);
    if (peer === PEER_4) host.receive(arpFrame('reply', EVIL_MAC, peer, OUR_MAC, ours, BROADCAST_MAC));
    expect(host.resolve(peer)).toBe(0);
  });

  test('whoever asks for us is answered, and known', () => {
    const host = new Host();
    host.ip.now_ms += 700_000;
    host.receive(ask(PEER_MAC, peer));
    const answer =
      peer === PEER_4
        ? `reply ${ours} -> ${peer} to ${PEER_MAC}`
        : `advert ${ours} 60 -> ${peer} to ${PEER_MAC}`;
    expect(host.take().map(told)).toEqual([answer]);
    host.pass(40_000);
    expect(macOf(host, host.resolve(peer))).toEqual(macInts(PEER_MAC));
    expect(host.take()).toEqual([]);
    // But not believed for long: it asked us, we have not asked it.
    host.pass(5100);
    expect(host.take().map(told)).toEqual([probe]);
  });

  test('a flood of askers takes what is free and evicts nobody; a flood of our questions evicts the unused only', () => {
    const host = new Host('ether', { addresses: [`${OUR_4}/16`, `${OUR_6}/64`], neighbours: 64 });
    const refs = [2, 3, 4].map((n) => {
      const address = peer.replace(/\d+$/, String(n));
      host.resolve(address);
      host.answer(address);
      return host.resolve(address);
    });
    const nth = (i: number) =>
      peer === PEER_4 ? `10.0.${1 + (i >> 8)}.${i & 255}` : `fd00::1:${i.toString(16)}`;
    for (let i = 0; i < 5000; i++) host.receive(ask(EVIL_MAC, nth(i)));
    expect([host.iface.neighbours.count, host.counters.neighbourEvicted]).toEqual([64, 0]);
    host.take();
    for (let i = 0; i < 5000; i++) {
      host.resolve(nth(10_000 + i));
      host.take();
    }
    expect(host.iface.neighbours.count).toBe(64);
    expect(host.counters.neighbourEvicted).toBeGreaterThan(60);
    for (const ref of refs) expect(neighbourUsable(host.iface, ref)).toBe(true);
    // Somebody new is still found while the flood goes on.
    const fresh = nth(30_000);
    host.resolve(fresh);
    for (let i = 0; i < 50; i++) host.resolve(nth(20_000 + i));
    host.answer(fresh);
    expect(host.resolve(fresh)).toBeGreaterThan(0);
    // What is pinned stops being so when unused for a minute.
    host.pass(100_000);
    for (let i = 0; i < 64; i++) host.resolve(nth(i));
    for (const ref of refs) expect(neighbourUsable(host.iface, ref)).toBe(false);
  });

  test('no room at all: nothing is evicted, it is counted', () => {
    const host = new Host('ether', { neighbours: 1 });
    host.resolve(peer);
    host.answer(peer);
    const ref = host.resolve(peer);
    expect([host.resolve(other), host.counters.neighbourFull]).toEqual([0, 1]);
    expect(neighbourUsable(host.iface, ref)).toBe(true);
  });
});

describe('our own address claimed by another', () => {
  test('is announced, at most each 10 s', () => {
    const host = new Host();
    const announcement = `request ${OUR_4} -> ${OUR_4} to ${BROADCAST_MAC}`;
    for (let i = 0; i < 10; i++) host.receive(arpFrame('reply', EVIL_MAC, OUR_4, OUR_MAC, OUR_4));
    expect(host.take().map(told)).toEqual([announcement]);
    host.ip.now_ms += 10_000;
    host.receive(advertFrame(OUR_LINK_LOCAL, EVIL_MAC, 0x20, 'ff02::1'));
    expect(host.take().map(told)).toEqual([`advert ${OUR_LINK_LOCAL} 20 -> ff02::1 to 33:33:00:00:00:01`]);
    expect(host.counters.addressConflicts).toBe(11);
    expect(host.iface.neighbours.count).toBe(0);
  });

  test('probes for it are answered and teach nothing', () => {
    const host = new Host();
    host.receive(arpFrame('request', EVIL_MAC, '0.0.0.0', NOBODY_MAC, OUR_4));
    expect(host.take().map(told)).toEqual([`reply ${OUR_4} -> 0.0.0.0 to ${EVIL_MAC}`]);
    host.receive(solicitFrame(OUR_6, '::', null, 'ff02::1:ff00:1'));
    expect(host.take().map(told)).toEqual([`advert ${OUR_6} 20 -> ff02::1 to 33:33:00:00:00:01`]);
    expect(host.iface.neighbours.count).toBe(0);
  });

  test('our own frames coming back are no conflict', () => {
    const host = new Host();
    host.receive(arpFrame('request', OUR_MAC, OUR_4, NOBODY_MAC, PEER_4));
    host.receive(advertFrame(OUR_6, OUR_MAC, 0x20, 'ff02::1'));
    expect([host.counters.addressConflicts, host.take().length]).toEqual([0, 0]);
  });
});

test('generations come round without making a reference of 0', () => {
  const cache = new NeighbourCache(65_535, 1);
  const seen = new Set<number>();
  for (let i = 0; i < 70_000; i++) {
    const e = cache.create(4, i, 0, 0, 0);
    seen.add(cache.m[e + NEIGHBOUR.GENERATION]);
    cache.remove(e);
  }
  expect([Math.min(...seen), Math.max(...seen), cache.count]).toEqual([1, 32_767, 0]);
});

test('on any history, references stay true, the pinned are never evicted, and the limits hold', () => {
  const address = fc.integer({ min: 2, max: 40 }).map((n) => `10.0.0.${n}`);
  const mac = fc.constantFrom(PEER_MAC, EVIL_MAC);
  const step = fc.oneof(
    fc.record({ op: fc.constant('resolve' as const), address }),
    fc.record({ op: fc.constant('answer' as const), address, mac }),
    fc.record({ op: fc.constant('ask' as const), address, mac }),
    fc.record({ op: fc.constant('gratuitous' as const), address, mac }),
    fc.record({ op: fc.constant('pass' as const), ms: fc.constantFrom(100, 1000, 6000, 61_000) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const host = new Host('ether', { neighbours: 8 });
      const { neighbours } = host.iface;
      /** Model: what a reference that we were given stands for, and when it was last used. */
      const given = new Map<number, { address: string; mac: string; used_ms: number }>();
      for (const step of steps) {
        const failed = host.counters.neighbourFailed;
        if (step.op === 'pass') host.pass(step.ms);
        else if (step.op === 'answer') host.answer(step.address, step.mac);
        else if (step.op === 'ask')
          host.receive(arpFrame('request', step.mac, step.address, NOBODY_MAC, OUR_4));
        else if (step.op === 'gratuitous')
          host.receive(arpFrame('reply', step.mac, step.address, step.mac, step.address, BROADCAST_MAC));
        else {
          const ref = host.resolve(step.address);
          if (ref > 0) {
            const before = given.get(ref);
            const mac = macOf(host, ref).join();
            if (before !== undefined) expect(before).toMatchObject({ address: step.address, mac });
            given.set(ref, { address: step.address, mac, used_ms: host.ip.now_ms });
          }
        }
        host.take();
        expect(neighbours.count).toBeLessThanOrEqual(8);
        for (const [ref, { mac, used_ms }] of given) {
          // Looked at without using it: neighbourUsable would renew it.
          const alive = neighbours.m[(ref & neighbours.indexMask) * NEIGHBOUR.WORDS + NEIGHBOUR.REF] === ref;
          if (alive) expect(macOf(host, ref).join()).toBe(mac);
          else {
            const gaveUp = host.counters.neighbourFailed > failed;
            if (!gaveUp) expect(host.ip.now_ms - used_ms).toBeGreaterThanOrEqual(60_000);
            given.delete(ref);
          }
        }
      }
    }),
    { numRuns: 300 },
  );
});
