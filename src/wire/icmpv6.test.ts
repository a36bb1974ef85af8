import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as icmpv6 from './icmpv6.ts';
import { transportChecksumGood, viewOf } from './plain.ts';

const ENDS = { src: 'fe80::1', dst: '2001:db8::2' };
const u16 = fc.nat(65_535);
const u32 = fc.nat(0xffffffff);
const u8 = fc.nat(255);
const payload = fc.uint8Array({ maxLength: 80 });
const message: fc.Arbitrary<icmpv6.Icmpv6Message> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('echo request' as const, 'echo reply' as const),
    id: u16,
    seq: u16,
    payload,
  }),
  fc.record({ kind: fc.constantFrom('unreachable' as const, 'time exceeded' as const), code: u8, payload }),
  fc.record({ kind: fc.constant('packet too big' as const), mtu: u32, payload }),
  fc.record({ kind: fc.constant('parameter problem' as const), code: u8, pointer: u32, payload }),
  fc.record({
    kind: fc.constant('other' as const),
    type: fc.integer({ min: 138, max: 255 }),
    code: u8,
    rest: u32,
    payload,
  }),
);

test('emit and parse round trip, with a good checksum', () => {
  fc.assert(
    fc.property(message, (value) => {
      const bytes = icmpv6.emitIcmpv6(value, ENDS);
      expect(icmpv6.parseIcmpv6(bytes)).toEqual(value);
      expect(transportChecksumGood(bytes, ENDS, 58)).toBe(true);
    }),
  );
});

test('an MTU past int32 is as good as none', () => {
  const view = viewOf(new Uint8Array(8));
  icmpv6.icmpv6Write(view, 0, icmpv6.ICMPV6_PACKET_TOO_BIG, 0, 1280);
  expect(icmpv6.icmpv6Mtu(view, 0)).toBe(1280);
  icmpv6.icmpv6Write(view, 0, icmpv6.ICMPV6_PACKET_TOO_BIG, 0, -1);
  expect(icmpv6.icmpv6Mtu(view, 0)).toBe(2 ** 31 - 1);
});

test('rejects, and tells errors from the rest', () => {
  expect(icmpv6.icmpv6Check(viewOf(new Uint8Array(8)), 0, 8)).toBe(8);
  expect(icmpv6.icmpv6Check(viewOf(new Uint8Array(8)), 0, 7)).toBe(icmpv6.ICMPV6_TRUNCATED);
  expect([1, 127, 128, 136].map(icmpv6.icmpv6IsError)).toEqual([true, true, false, false]);
});
