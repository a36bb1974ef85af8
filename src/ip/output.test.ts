import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DESC_AT, DESC_AUX, DESC_FLAGS, FRAME_CHECKSUM_FILL, FRAME_SEGMENT } from '../memory/ring.ts';
import { formatIpv4, formatIpv6 } from '../wire/address.ts';
import { parseEthernet } from '../wire/ethernet.ts';
import { parseIpv4Packet } from '../wire/ipv4.ts';
import { parseIpv6Packet } from '../wire/ipv6.ts';
import { neighbourUsable } from './neighbours.ts';
import { ipWriteHeader4, ipWriteHeader6, txCommit, txSlot } from './output.ts';
import { ipSend, SEND_FAILED, SEND_LATER, SENT } from './send.ts';
import { Host, OUR_4, OUR_MAC, PEER_4, PEER_MAC, words } from './testing.ts';

const link = fc.constantFrom('ether' as const, 'ip' as const);
const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const byte = fc.nat(255);

test('headers parse back to what was given, with a good checksum', () => {
  fc.assert(
    fc.property(link, int32, int32, fc.nat(1480), byte, byte, (kind, src, dst, length, tos, protocol) => {
      const host = new Host(kind);
      host.resolve(PEER_4);
      host.answer();
      host.take();
      const ref = host.resolve(PEER_4);
      const slot = txSlot(host.iface);
      const at = host.iface.port.tx.m[slot + DESC_AT];
      ipWriteHeader4(host.ip, host.iface, ref, at, src, dst, length, tos, protocol, 64);
      txCommit(host.iface, slot, host.iface.headroom4 + length, 0, 0);
      const [frame] = host.take();
      expect(frame.length).toBe(host.iface.headroom4 + length);
      const packet = kind === 'ether' ? parseEthernet(frame) : null;
      if (packet !== null) expect(packet).toMatchObject({ dst: PEER_MAC, src: OUR_MAC, type: 0x0800 });
      expect(parseIpv4Packet(packet?.payload ?? frame)).toMatchObject({
        src: formatIpv4(src),
        dst: formatIpv4(dst),
        protocol,
        tos,
        ttl: 64,
        id: 0,
        dontFragment: true,
        moreFragments: false,
        fragmentOffset: 0,
      });
    }),
    { numRuns: 100 },
  );
});

test('IPv6 headers parse back too', () => {
  const address = fc.tuple(int32, int32, int32, int32);
  fc.assert(
    fc.property(
      link,
      address,
      address,
      fc.nat(1460),
      byte,
      byte,
      (kind, src, dst, length, trafficClass, protocol) => {
        const host = new Host(kind);
        host.resolve(PEER_4);
        host.answer();
        host.take();
        const slot = txSlot(host.iface);
        const at = host.iface.port.tx.m[slot + DESC_AT];
        const m = Int32Array.of(9, ...src, ...dst);
        ipWriteHeader6(
          host.ip,
          host.iface,
          host.resolve(PEER_4),
          at,
          m,
          1,
          5,
          length,
          trafficClass,
          protocol,
          64,
        );
        txCommit(host.iface, slot, host.iface.headroom6 + length, 0, 0);
        const [frame] = host.take();
        const packet = kind === 'ether' ? parseEthernet(frame) : null;
        if (packet !== null) expect(packet).toMatchObject({ dst: PEER_MAC, src: OUR_MAC, type: 0x86dd });
        const parsed = parseIpv6Packet(packet?.payload ?? frame);
        expect(parsed).toMatchObject({ nextHeader: protocol, trafficClass, hopLimit: 64, flowLabel: 0 });
        expect([parsed.src, parsed.dst, parsed.payload.length]).toEqual([
          formatIpv6(src),
          formatIpv6(dst),
          length,
        ]);
      },
    ),
    { numRuns: 100 },
  );
});

test('slots run out, and come back', () => {
  const host = new Host('ip', {}, 2);
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 2; i++) {
      const slot = txSlot(host.iface);
      expect(slot).toBeGreaterThan(0);
      expect(txSlot(host.iface)).toBe(slot);
      txCommit(host.iface, slot, 40, FRAME_CHECKSUM_FILL | FRAME_SEGMENT, 1460);
      expect(host.iface.port.tx.m[slot + DESC_FLAGS]).toBe(FRAME_CHECKSUM_FILL | FRAME_SEGMENT);
      expect(host.iface.port.tx.m[slot + DESC_AUX]).toBe(1460);
    }
    expect(txSlot(host.iface)).toBe(0);
    expect(host.take().length).toBe(2);
  }
});

test('a link without neighbours has one reference that is always usable', () => {
  const host = new Host('ip');
  const ref = host.resolve(PEER_4);
  expect(ref).toBeGreaterThan(0);
  expect(host.resolve('fd00::9')).toBe(ref);
  host.pass(3_600_000);
  expect(neighbourUsable(host.iface, ref)).toBe(true);
  for (const other of [0, -1, ref + 1, ref + 2]) expect(neighbourUsable(host.iface, other)).toBe(false);
  expect(host.take()).toEqual([]);
});

test('ipSend says whether it sent, may later, or cannot', () => {
  const host = new Host('ether', {}, 1);
  const send = (dst: string, length = 8) => {
    const { out } = host.ip;
    Object.assign(out, {
      iface: -1,
      version: 4,
      protocol: 17,
      ttl: 9,
      tos: 4,
      l4At: host.ip.scratchAt,
      l4Length: length,
    });
    out.src0 = words(OUR_4)[0];
    out.dst0 = words(dst)[0];
    return ipSend(host.ip, out);
  };
  expect(send('192.0.2.1')).toBe(SEND_FAILED);
  expect(send(PEER_4)).toBe(SEND_LATER);
  host.take();
  host.answer();
  expect(send(PEER_4)).toBe(SENT);
  expect(send(PEER_4)).toBe(SEND_LATER);
  expect(host.counters.txFull).toBe(1);
  const [frame] = host.take();
  expect(parseIpv4Packet(parseEthernet(frame).payload)).toMatchObject({
    src: OUR_4,
    dst: PEER_4,
    ttl: 9,
    tos: 4,
  });
  expect(send(PEER_4, 1481)).toBe(SEND_FAILED);
  expect(send('10.0.0.3')).toBe(SEND_LATER);
  for (let i = 0; i < 32; i++) {
    host.take();
    host.pass(100);
  }
  expect(send('10.0.0.3')).toBe(SEND_FAILED);
});
