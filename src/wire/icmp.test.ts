import fc from 'fast-check';
import { expect, test } from 'vitest';
import { sumBytes } from './checksum.ts';
import * as icmp from './icmp.ts';
import { viewOf } from './plain.ts';

const u16 = fc.nat(65_535);
const u8 = fc.nat(255);
const payload = fc.uint8Array({ maxLength: 80 });
const message: fc.Arbitrary<icmp.IcmpMessage> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('echo request' as const, 'echo reply' as const),
    id: u16,
    seq: u16,
    payload,
  }),
  fc.record({ kind: fc.constant('unreachable' as const), code: u8, mtu: u16, payload }),
  fc.record({ kind: fc.constant('time exceeded' as const), code: u8, payload }),
  fc.record({
    kind: fc.constant('other' as const),
    type: fc.integer({ min: 12, max: 255 }),
    code: u8,
    rest: fc.nat(0xffffffff),
    payload,
  }),
);

test('emit and parse round trip, with a good checksum', () => {
  fc.assert(
    fc.property(message, (value) => {
      const bytes = icmp.emitIcmp(value);
      expect(icmp.parseIcmp(bytes)).toEqual(value);
      expect(sumBytes(bytes)).toBe(0xffff);
      const view = viewOf(bytes);
      if (value.kind === 'unreachable') {
        expect(icmp.icmpType(view, 0)).toBe(icmp.ICMP_UNREACHABLE);
        expect(icmp.icmpCode(view, 0)).toBe(value.code);
        expect(icmp.icmpMtu(view, 0)).toBe(value.mtu);
      }
    }),
  );
});

test('rejects, and tells errors from the rest', () => {
  expect(icmp.icmpCheck(viewOf(new Uint8Array(8)), 0, 8)).toBe(8);
  expect(icmp.icmpCheck(viewOf(new Uint8Array(8)), 0, 7)).toBe(icmp.ICMP_TRUNCATED);
  const errors = Array.from({ length: 256 }, (_, type) => type).filter(icmp.icmpIsError);
  expect(errors).toEqual([3, 4, 5, 11, 12]);
});
