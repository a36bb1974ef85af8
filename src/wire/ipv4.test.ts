import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatIpv4, parseIpv4 } from './address.ts';
import { sumBytes } from './checksum.ts';
import * as ipv4 from './ipv4.ts';
import { viewOf } from './plain.ts';

const address = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const packet = fc.record({
  src: address.map(formatIpv4),
  dst: address.map(formatIpv4),
  protocol: fc.nat(255),
  ttl: fc.nat(255),
  tos: fc.nat(255),
  id: fc.nat(65_535),
  dontFragment: fc.boolean(),
  moreFragments: fc.boolean(),
  fragmentOffset: fc.nat(8191).map((units) => units * 8),
  options: fc.nat(10).map((words) => new Uint8Array(words * 4).fill(1)),
  payload: fc.uint8Array({ maxLength: 100 }),
});

test('emit and parse round trip, with padding behind', () => {
  fc.assert(
    fc.property(packet, fc.nat(20), (value, padding) => {
      const bytes = ipv4.emitIpv4Packet(value);
      const padded = new Uint8Array(bytes.length + padding);
      padded.set(bytes);
      expect(ipv4.parseIpv4Packet(padded)).toEqual(value);
      const view = viewOf(bytes);
      expect(sumBytes(bytes, 0, ipv4.ipv4Check(view, 0, bytes.length))).toBe(0xffff);
      expect(ipv4.ipv4IsFragment(view, 0)).toBe(value.moreFragments || value.fragmentOffset > 0);
      expect(ipv4.ipv4Src(view, 0)).toBe(parseIpv4(value.src));
      expect(ipv4.ipv4Dst(view, 0)).toBe(parseIpv4(value.dst));
    }),
  );
});

test('any bit that flips in a header is noticed', () => {
  fc.assert(
    fc.property(packet, fc.nat(), (value, bit) => {
      const bytes = ipv4.emitIpv4Packet(value);
      const header = 20 + value.options.length;
      const at = bit % (header * 8);
      bytes[at >> 3] ^= 1 << (at & 7);
      const found = ipv4.ipv4Check(viewOf(bytes), 0, bytes.length);
      if (found === header) expect(ipv4.ipv4ChecksumGood(viewOf(bytes), 0, header)).toBe(false);
      expect(() => ipv4.parseIpv4Packet(bytes)).toThrow(/malformed ipv4/);
    }),
    // A header that claims another length sums other bytes, and 1 in 65,536 of those sums is right.
    { seed: 1 },
  );
});

test('rejects', () => {
  const good = ipv4.emitIpv4Packet({
    src: '1.2.3.4',
    dst: '5.6.7.8',
    protocol: 6,
    payload: new Uint8Array(8),
  });
  const check = (at: number, value: number, length = good.length, quoted = false) => {
    const bytes = Uint8Array.from(good);
    bytes[at] = value;
    return (quoted ? ipv4.ipv4CheckQuoted : ipv4.ipv4Check)(viewOf(bytes), 0, length);
  };
  expect(check(0, 0x45)).toBe(20);
  expect(check(0, 0x45, 19)).toBe(ipv4.IPV4_TRUNCATED);
  expect(check(0, 0x65)).toBe(ipv4.IPV4_VERSION);
  expect(check(0, 0x44)).toBe(ipv4.IPV4_IHL);
  expect(check(0, 0x48)).toBe(ipv4.IPV4_IHL); // 32 bytes of header in a packet of 28
  expect(check(3, 19)).toBe(ipv4.IPV4_IHL);
  expect(check(3, 29)).toBe(ipv4.IPV4_LENGTH);
  expect(check(3, 20)).toBe(20);
  expect(check(0, 0x47, 27)).toBe(ipv4.IPV4_TRUNCATED);
  // What an ICMP error quotes may end early, but not within the header.
  expect(check(3, 29, 28, true)).toBe(20);
  expect(check(0, 0x46, 20, true)).toBe(ipv4.IPV4_TRUNCATED);
});
