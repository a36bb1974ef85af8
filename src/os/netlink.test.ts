import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concat } from '../wire/plain.ts';
import { attribute, readAttributes, textOf } from './netlink.ts';

test('attributes round trip', () => {
  const attributes = fc.uniqueArray(fc.tuple(fc.nat(0x3fff), fc.uint8Array({ maxLength: 40 })), {
    selector: ([type]) => type,
  });
  fc.assert(
    fc.property(attributes, (list) => {
      const bytes = concat(...list.map(([type, value]) => attribute(type, value)));
      expect(bytes.length % 4).toBe(0);
      expect([...readAttributes(bytes)]).toEqual(list);
    }),
  );
});

test('any bytes are read to an end', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      let length = 0;
      for (const value of readAttributes(bytes).values()) length += value.length;
      expect(length).toBeLessThanOrEqual(bytes.length);
    }),
  );
});

test('text ends at its zero', () => {
  expect(textOf(Uint8Array.of(104, 105, 0, 33))).toBe('hi');
  expect(textOf(Uint8Array.of(104, 105))).toBe('hi');
});
