import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatIpv4, formatMac, macHigh, macLow, parseMac } from './address.ts';
import * as arp from './arp.ts';
import { viewOf } from './plain.ts';

const ip = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 });
const unicast = mac.map((bytes) => Uint8Array.of(bytes[0] & 0xfe, ...bytes.subarray(1)));

test('emit and parse round trip, with padding behind', () => {
  fc.assert(
    fc.property(fc.boolean(), unicast, ip, mac, ip, (request, senderMac, senderIp, targetMac, targetIp) => {
      const packet: arp.ArpPacket = {
        operation: request ? 'request' : 'reply',
        senderMac: formatMac(senderMac),
        senderIp: formatIpv4(senderIp),
        targetMac: formatMac(targetMac),
        targetIp: formatIpv4(targetIp),
      };
      const bytes = Uint8Array.of(...arp.emitArp(packet), ...new Array(18).fill(0));
      expect(arp.parseArp(bytes)).toEqual(packet);
      const view = viewOf(bytes);
      expect(arp.arpSenderIp(view, 0)).toBe(senderIp);
      expect(arp.arpTargetIp(view, 0)).toBe(targetIp);
      expect(arp.arpSenderMacHigh(view, 0)).toBe(macHigh(senderMac));
      expect(arp.arpSenderMacLow(view, 0)).toBe(macLow(senderMac));
    }),
  );
});

test('the bytes of a request', () => {
  const bytes = arp.emitArp({
    operation: 'request',
    senderMac: '02:00:00:00:00:01',
    senderIp: '10.0.0.1',
    targetMac: '00:00:00:00:00:00',
    targetIp: '10.0.0.2',
  });
  expect(Buffer.from(bytes).toString('hex')).toBe('00010800060400010200000000010a0000010000000000000a000002');
});

test('rejects', () => {
  const good = () =>
    arp.emitArp({
      operation: 'reply',
      senderMac: '02:00:00:00:00:01',
      senderIp: '10.0.0.1',
      targetMac: 'ff:ff:ff:ff:ff:ff',
      targetIp: '10.0.0.2',
    });
  const check = (spoil: (bytes: Uint8Array) => void, length = 28) => {
    const bytes = good();
    spoil(bytes);
    return arp.arpCheck(viewOf(bytes), 0, length);
  };
  expect(check(() => {})).toBe(arp.ARP_BYTES);
  expect(check(() => {}, 27)).toBe(arp.ARP_TRUNCATED);
  for (const at of [0, 1, 2, 3, 4, 5]) expect(check((bytes) => (bytes[at] ^= 0x40))).toBe(arp.ARP_FOREIGN);
  for (const operation of [0, 3])
    expect(check((bytes) => (bytes[7] = operation))).toBe(arp.ARP_UNKNOWN_OPERATION);
  expect(check((bytes) => bytes.set(parseMac('01:00:5e:00:00:01'), 8))).toBe(arp.ARP_GROUP_SENDER);
});
