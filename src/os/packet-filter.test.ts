import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseIpv4, parseMac } from '../wire/address.ts';
import { emitArp } from '../wire/arp.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { packetFilter } from './packet-filter.ts';
import type { BpfInstruction } from './packet-socket.ts';

const OURS = '02:11:22:33:44:55';
const OTHER = '02:11:22:33:44:56';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const GROUP = '33:33:00:00:00:01';

/** The machine of the 1993 paper, as far as the filter uses it. A load past the end rejects, as in the kernel. */
function run(program: readonly BpfInstruction[], frame: Uint8Array, vlan = false): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  let [a, x] = [0, 0];
  for (let pc = 0; pc < program.length; pc++) {
    const [code, jt, jf, k] = program[pc];
    const size = ({ 32: 4, 40: 2, 48: 1 } as Record<number, number>)[code];
    if (size !== undefined) {
      if (k === -0x1000 + 48) a = Number(vlan);
      else if (k + size > frame.length) return 0;
      else
        a = [0, view.getUint8(k), size > 1 ? view.getUint16(k) : 0, 0, size > 2 ? view.getUint32(k) : 0][
          size
        ];
    } else if (code === 0x80) a = frame.length;
    else if (code === 0x25) pc += a > k ? jt : jf;
    else if (code === 0x15) pc += a === k >>> 0 ? jt : jf;
    else if (code === 0x1d) pc += a === x ? jt : jf;
    else if (code === 0x45) pc += (a & k) !== 0 ? jt : jf;
    else if (code === 0x05) pc += k;
    else if (code === 0x07) x = a;
    else if (code === 0x06) return k;
    else throw new Error(`instruction ${code.toString(16)}`);
  }
  throw new Error('it fell off the end');
}

const filter = (shared: boolean, addresses = ['10.0.0.2', '192.168.1.2']) =>
  packetFilter(1792, false, { mac: parseMac(OURS), shared, addresses: addresses.map(parseIpv4) });

function ether(dst: string, type: number, payload: Uint8Array = new Uint8Array(46)): Uint8Array {
  return emitEthernet({ dst, src: OTHER, type, payload });
}

function arp(dst: string, senderIp: string, targetIp: string): Uint8Array {
  const macs = { senderMac: OTHER, targetMac: '00:00:00:00:00:00' };
  return ether(dst, ETHERTYPE_ARP, emitArp({ operation: 'request', ...macs, senderIp, targetIp }));
}

function ipv4(dst: string, to: string): Uint8Array {
  const packet = emitIpv4Packet({ src: '10.0.0.9', dst: to, protocol: 253, payload: new Uint8Array(26) });
  return ether(dst, ETHERTYPE_IPV4, packet);
}

test.each<[string, Uint8Array, own: boolean, shared: boolean]>([
  ['IPv4 to us', ipv4(OURS, '192.168.1.2'), true, true],
  ['IPv4 to our hardware address, of another', ipv4(OURS, '10.0.0.3'), true, false],
  ['IPv6 to us', ether(OURS, ETHERTYPE_IPV6), true, true],
  ['ARP to us', arp(OURS, '10.0.0.1', '10.0.0.2'), true, true],
  ['IPv4 to another', ipv4(OTHER, '10.0.0.2'), false, false],
  ['ARP to another', arp(OTHER, '10.0.0.1', '10.0.0.2'), false, false],
  ['IPv4 to all', ipv4(BROADCAST, '10.0.0.255'), true, true],
  ['IPv6 to a group', ether(GROUP, ETHERTYPE_IPV6), true, true],
  ['ARP for us', arp(BROADCAST, '10.0.0.1', '10.0.0.2'), true, true],
  ['ARP for our second address', arp(BROADCAST, '10.0.0.1', '192.168.1.2'), true, true],
  ['ARP from our address', arp(BROADCAST, '10.0.0.2', '10.0.0.7'), true, true],
  ['ARP for another', arp(BROADCAST, '10.0.0.1', '10.0.0.3'), false, false],
  ['an ARP announcement', arp(BROADCAST, '10.0.0.3', '10.0.0.3'), true, true],
  ['a stump', new Uint8Array(8).fill(0xff), false, false],
  ['a cut ARP packet', arp(BROADCAST, '10.0.0.1', '10.0.0.2').subarray(0, 40), false, false],
])('%s', (_, frame, own, shared) => {
  expect(run(filter(false), frame) > 0).toBe(own);
  expect(run(filter(true), frame) > 0).toBe(shared);
  expect(run(filter(false), frame, true), 'of a VLAN').toBe(0);
});

test('frames are taken by length, and then all of them when there is no target', () => {
  for (const length of [0, 60, 1792, 1793, 65_550]) {
    const frame = new Uint8Array(length);
    expect(run(packetFilter(1792, false, null), frame) > 0).toBe(length <= 1792);
    expect(run(packetFilter(1792, true, null), frame) > 0).toBe(length > 1792);
  }
  const target = { mac: parseMac(OURS), shared: false, addresses: [] };
  expect(run(packetFilter(1792, true, target), ipv4(OURS, '10.0.0.2'))).toBe(0);
  expect(
    run(packetFilter(1792, true, target), ether(OURS, ETHERTYPE_IPV4, new Uint8Array(3000))),
  ).toBeGreaterThan(0);
});

test('with however many addresses, no jump is too long and none of them is forgotten', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), fc.nat(199), fc.boolean(), (count, which, shared) => {
      const addresses = Array.from({ length: count }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
      const program = filter(shared, addresses);
      for (const [code, jt, jf] of program) {
        expect(Math.max(jt, jf), `${code}`).toBeLessThan(256);
        expect(Math.min(jt, jf)).toBeGreaterThanOrEqual(0);
      }
      const ours = addresses[which % count];
      for (const frame of [
        ipv4(OURS, ours),
        arp(BROADCAST, '10.9.9.9', ours),
        arp(BROADCAST, ours, '10.9.9.9'),
      ]) {
        expect(run(program, frame)).toBeGreaterThan(0);
      }
      const known = count <= 60;
      expect(run(program, arp(BROADCAST, '10.9.9.9', '10.9.9.8')) === 0).toBe(known);
      expect(run(program, ipv4(OURS, '10.9.9.8')) === 0).toBe(shared && known);
    }),
  );
});
