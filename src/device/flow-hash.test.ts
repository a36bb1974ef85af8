import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { viewOf } from '../wire/plain.ts';
import { PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitUdp } from '../wire/udp.ts';
import { flowHash } from './flow-hash.ts';

interface Flow {
  readonly v6: boolean;
  readonly ether: boolean;
  readonly hosts: readonly [number, number];
  readonly ports: readonly [number, number];
}

const anyFlow: fc.Arbitrary<Flow> = fc.record({
  v6: fc.boolean(),
  ether: fc.boolean(),
  hosts: fc.tuple(fc.integer({ min: 1, max: 254 }), fc.integer({ min: 1, max: 254 })),
  ports: fc.tuple(fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 1, max: 65_535 })),
});

function frameOf({ v6, ether, hosts, ports }: Flow, back: boolean, payload: Uint8Array): Uint8Array {
  const [a, b] = back ? [1, 0] : [0, 1];
  const address = (i: number) => (v6 ? `fd00::${hosts[i].toString(16)}` : `10.0.0.${hosts[i]}`);
  const ends = { src: address(a), dst: address(b) };
  const udp = emitUdp({ srcPort: ports[a], dstPort: ports[b], payload }, ends);
  const packet = v6
    ? emitIpv6Packet({ ...ends, nextHeader: PROTOCOL_UDP, payload: udp })
    : emitIpv4Packet({ ...ends, protocol: PROTOCOL_UDP, payload: udp });
  const macs = { dst: '02:00:00:00:00:02', src: '02:00:00:00:00:01' };
  return ether
    ? emitEthernet({ ...macs, type: v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4, payload: packet })
    : packet;
}

const hash = (frame: Uint8Array, ether: boolean) => flowHash(viewOf(frame), 0, frame.length, ether);

test('all frames of a flow have one hash, in both directions', () => {
  fc.assert(
    fc.property(anyFlow, fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 40 }), (flow, p, q) => {
      expect(hash(frameOf(flow, true, p), flow.ether)).toBe(hash(frameOf(flow, false, q), flow.ether));
    }),
  );
});

test('flows that differ in a port spread over the queues', () => {
  for (const v6 of [false, true]) {
    const queues = new Map<number, number>();
    for (let port = 40_000; port < 40_400; port++) {
      const flow: Flow = { v6, ether: false, hosts: [1, 2], ports: [port, 80] };
      const queue = hash(frameOf(flow, false, new Uint8Array(0)), false) % 4;
      queues.set(queue, (queues.get(queue) ?? 0) + 1);
    }
    for (let queue = 0; queue < 4; queue++) expect(queues.get(queue)).toBeGreaterThan(50);
  }
});

test('fragments go the way of their first, which alone has ports', () => {
  const payload = Uint8Array.from({ length: 16 }, (_, i) => i);
  const ends = { src: '10.0.0.1', dst: '10.0.0.2', protocol: PROTOCOL_UDP, payload };
  const first = emitIpv4Packet({ ...ends, moreFragments: true });
  const second = emitIpv4Packet({ ...ends, payload: payload.map((x) => x ^ 0x55), moreFragments: true });
  expect(hash(first, false)).toBe(hash(second, false));
});

test('whatever is no IP, or cut, has a hash too', () => {
  const macs = { dst: '02:00:00:00:00:02', src: '02:00:00:00:00:01' };
  expect(hash(emitEthernet({ ...macs, type: ETHERTYPE_ARP, payload: new Uint8Array(28) }), true)).toBe(0);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 80 }), fc.boolean(), (frame, ether) => {
      const value = hash(frame, ether);
      expect(value).toBeGreaterThanOrEqual(0);
      expect(value).toBeLessThan(65_536);
    }),
  );
});
