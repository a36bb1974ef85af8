import fc from 'fast-check';
import { expect, test } from 'vitest';
import { transportChecksumGood, viewOf } from './plain.ts';
import * as udp from './udp.ts';

const ends = fc.constantFrom({ src: '10.0.0.1', dst: '10.0.0.2' }, { src: 'fe80::1', dst: 'ff02::fb' });
const port = fc.nat(65_535);

test('emit and parse round trip, with a good checksum, never zero', () => {
  fc.assert(
    fc.property(ends, port, port, fc.uint8Array({ maxLength: 100 }), (between, srcPort, dstPort, payload) => {
      const bytes = udp.emitUdp({ srcPort, dstPort, payload }, between);
      expect(udp.parseUdp(Uint8Array.of(...bytes, 0, 0))).toEqual({ srcPort, dstPort, payload });
      expect(udp.udpChecksum(viewOf(bytes), 0)).not.toBe(0);
      expect(transportChecksumGood(bytes, between, 17)).toBe(true);
      bytes[(srcPort + payload.length) % bytes.length] ^= 1;
      expect(transportChecksumGood(bytes, between, 17)).toBe(false);
    }),
  );
});

test('a checksum that comes out as zero is sent as all ones', () => {
  const view = viewOf(new Uint8Array(8));
  udp.udpSetChecksum(view, 0, 0);
  expect(udp.udpChecksum(view, 0)).toBe(0xffff);
  udp.udpSetChecksum(view, 0, 7);
  expect(udp.udpChecksum(view, 0)).toBe(7);
});

test('rejects', () => {
  const check = (claimed: number, length: number) => {
    const view = viewOf(new Uint8Array(16));
    udp.udpWrite(view, 0, 1, 2, claimed);
    return udp.udpCheck(view, 0, length);
  };
  expect(check(8, 8)).toBe(8);
  expect(check(8, 16)).toBe(8);
  expect(check(8, 7)).toBe(udp.UDP_TRUNCATED);
  expect(check(7, 16)).toBe(udp.UDP_BAD_LENGTH);
  expect(check(17, 16)).toBe(udp.UDP_BAD_LENGTH);
});
