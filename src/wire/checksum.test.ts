import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  checksumFinish,
  checksumUpdate16,
  checksumUpdate32,
  fold,
  pseudoIpv4,
  pseudoIpv6,
  sumBytes,
  sumWords,
} from './checksum.ts';

/** The definition, in whole numbers: a one's complement sum is the remainder modulo 2^16 - 1. */
function model(bytes: Uint8Array): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i += 2) sum += (BigInt(bytes[i]) << 8n) | BigInt(bytes[i + 1] ?? 0);
  return sum === 0n ? 0 : Number((sum - 1n) % 0xffffn) + 1;
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

test('the example of RFC 1071 section 3', () => {
  expect(sumBytes(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7))).toBe(0xddf2);
});

test('sumBytes agrees with the definition, and with sumWords on whole words', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300, size: 'max' }), (bytes) => {
      expect(sumBytes(bytes)).toBe(model(bytes));
      const words = bytes.length >> 2;
      expect(fold(sumWords(viewOf(bytes), 0, words))).toBe(model(bytes.subarray(0, words * 4)));
    }),
  );
  const longest = new Uint8Array(65_536).fill(0xff);
  expect(fold(sumWords(viewOf(longest), 0, 16_384))).toBe(0xffff);
});

test('a sum split at any even offset is the sum of its parts', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(100), (bytes, half) => {
      const cut = Math.min(half * 2, bytes.length & ~1);
      expect(fold(sumBytes(bytes, 0, cut) + sumBytes(bytes, cut))).toBe(sumBytes(bytes));
    }),
  );
});

test('an incremental update equals recomputation', () => {
  const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  // A first byte that isn't zero: over all zeros the two representations of zero differ (RFC 1624 section 3).
  const covered = fc
    .uint8Array({ minLength: 8, maxLength: 64 })
    .map((bytes) => Uint8Array.of(1, 0, ...bytes));
  fc.assert(
    fc.property(covered, fc.nat(), int32, (bytes, place, value) => {
      const view = viewOf(bytes);
      const at = 2 + 2 * (place % ((bytes.length - 4) >> 1));
      const before = checksumFinish(sumBytes(bytes));

      const old16 = view.getUint16(at, false);
      view.setUint16(at, value, false);
      const middle = checksumFinish(sumBytes(bytes));
      expect(checksumUpdate16(before, old16, value & 0xffff)).toBe(middle);

      const old32 = view.getInt32(at, false);
      view.setInt32(at, value, false);
      expect(checksumUpdate32(middle, old32, value)).toBe(checksumFinish(sumBytes(bytes)));
    }),
  );
});

test('pseudo-headers are the sums of their bytes', () => {
  const address = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  fc.assert(
    fc.property(address, address, fc.nat(255), fc.nat(65_535), (src, dst, protocol, length) => {
      const pseudo = new Uint8Array(12);
      const view = viewOf(pseudo);
      view.setInt32(0, src, false);
      view.setInt32(4, dst, false);
      pseudo[9] = protocol;
      view.setUint16(10, length, false);
      expect(fold(pseudoIpv4(src, dst, protocol, length))).toBe(model(pseudo));
    }),
  );
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 40, maxLength: 40 }),
      fc.nat(255),
      fc.nat(2 ** 31 - 1),
      (header, protocol, length) => {
        const pseudo = new Uint8Array(40);
        pseudo.set(header.subarray(8));
        viewOf(pseudo).setInt32(32, length, false);
        pseudo[39] = protocol;
        expect(fold(pseudoIpv6(viewOf(header), 0, protocol, length))).toBe(model(pseudo));
      },
    ),
  );
});
