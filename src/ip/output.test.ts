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
import { Host, OUR_4, OUR_6, OUR_MAC, PEER_4, PEER_6, PEER_MAC, words } from './testing.ts';

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
        expect(parsed).toMatchObject({ nextHeader: protocol, trafficClass, hopLimit: 64 });
        expect(parsed.flowLabel === 0).toBe(protocol !== 6 && protocol !== 17);
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

test('IPv6: a flow has a label of its own, whoever composes its packets, and what has no ports none', () => {
  const host = new Host('ip');
  const m = Int32Array.of(...words(OUR_6), ...words(PEER_6));
  const label = (ports: number, protocol: number) => {
    const at = host.iface.port.tx.m[txSlot(host.iface) + DESC_AT];
    host.arena.view.setInt32(at + host.iface.headroom6, ports, false);
    ipWriteHeader6(host.ip, host.iface, 0, at, m, 0, 4, 20, 0, protocol, 64);
    txCommit(host.iface, txSlot(host.iface), host.iface.headroom6 + 20, 0, 0);
    const { out } = host.ip;
    Object.assign(out, {
      version: 6,
      protocol,
      l4At: host.ip.scratchAt,
      l4Length: 20,
      iface: 0,
      ttl: 64,
      tos: 0,
    });
    [out.src0, out.src1, out.src2, out.src3, out.dst0, out.dst1, out.dst2, out.dst3] = m;
    host.arena.view.setInt32(out.l4At, ports, false);
    expect(ipSend(host.ip, out)).toBe(SENT);
    const labels = host.take().map((frame) => parseIpv6Packet(frame).flowLabel);
    expect(labels[1]).toBe(labels[0]);
    return labels[0];
  };
  const flows = Array.from({ length: 200 }, (_, i) => label((40_000 << 16) | i, i < 100 ? 6 : 17));
  expect(new Set(flows).size).toBeGreaterThan(195);
  expect(flows).not.toContain(0);
  expect(Math.max(...flows)).toBeLessThan(2 ** 20);
  expect(label((40_000 << 16) | 5, 6)).toBe(flows[5]);
  expect(label(0x8000_1234 | 0, 58)).toBe(0);
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
