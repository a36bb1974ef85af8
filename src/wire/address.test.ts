import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as address from './address.ts';

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
/** Words with many zero groups, so that runs, ties and mapped addresses come up. */
const words = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0xffff), fc.constant(1), fc.nat(0xffff)), {
    minLength: 8,
    maxLength: 8,
  })
  .map((g) =>
    Int32Array.of((g[0] << 16) | g[1], (g[2] << 16) | g[3], (g[4] << 16) | g[5], (g[6] << 16) | g[7]),
  );
/** Near misses: pieces of addresses in any order. */
const scraps = fc
  .array(
    fc.constantFrom(
      '0',
      '1',
      '00',
      '255',
      '256',
      'ab',
      'FFFF',
      '12345',
      '.',
      ':',
      '::',
      '1.2.3.4',
      'g',
      ' ',
      '-1',
    ),
    {
      maxLength: 17,
    },
  )
  .map((parts) => parts.join(''));

describe('IPv4', () => {
  test('round trip', () => {
    fc.assert(fc.property(int32, (a) => void expect(address.parseIpv4(address.formatIpv4(a))).toBe(a)));
    expect(address.parseIpv4('10.0.0.1')).toBe(0x0a000001);
    expect(address.formatIpv4(-1)).toBe('255.255.255.255');
  });

  test('accepts what Node accepts', () => {
    fc.assert(
      fc.property(scraps, (text) => void expect(accepts(address.parseIpv4, text)).toBe(isIPv4(text))),
    );
    for (const text of [
      '',
      '1.2.3',
      '1.2.3.4.5',
      '01.2.3.4',
      '1.2.3.256',
      '1.2.3.',
      ' 1.2.3.4',
      '0x1.2.3.4',
      '1e1.2.3.4',
    ]) {
      expect(() => address.parseIpv4(text)).toThrow(address.AddressError);
    }
  });

  test('kinds', () => {
    const of = address.parseIpv4;
    expect(
      [of('223.255.255.255'), of('224.0.0.0'), of('239.255.255.255'), of('240.0.0.0')].map(
        address.ipv4IsMulticast,
      ),
    ).toEqual([false, true, true, false]);
    expect([of('126.255.255.255'), of('127.0.0.0'), of('128.0.0.0')].map(address.ipv4IsLoopback)).toEqual([
      false,
      true,
      false,
    ]);
    expect([of('169.254.0.1'), of('169.253.0.1')].map(address.ipv4IsLinkLocal)).toEqual([true, false]);
    expect([0, 1].map(address.ipv4IsUnspecified)).toEqual([true, false]);
    expect([-1, -2].map(address.ipv4IsBroadcast)).toEqual([true, false]);
    const net = of('10.1.2.0');
    expect(address.ipv4IsSubnetBroadcast(of('10.1.2.255'), net, 24)).toBe(true);
    expect(address.ipv4IsSubnetBroadcast(of('10.1.3.255'), net, 24)).toBe(false);
    expect(address.ipv4IsSubnetBroadcast(of('10.1.2.254'), net, 24)).toBe(false);
    expect(address.ipv4IsSubnetBroadcast(of('10.1.2.1'), net, 31)).toBe(false);
    expect(address.ipv4IsSubnetBroadcast(-1, 0, 0)).toBe(true);
    expect([0, 1, 8, 31, 32].map((n) => address.ipv4Mask(n) >>> 0)).toEqual([
      0, 0x80000000, 0xff000000, 0xfffffffe, 0xffffffff,
    ]);
  });
});

describe('IPv6', () => {
  test('round trip, in the canonical form', () => {
    fc.assert(
      fc.property(words, (w) => {
        const text = address.formatIpv6(w);
        expect(address.parseIpv6(text)).toEqual(w);
        expect(address.parseIpv6(text.toUpperCase())).toEqual(w);
        // The URL standard writes IPv6 as RFC 5952 does, except for mapped addresses.
        if (!text.includes('.')) expect(new URL(`http://[${text}]/`).hostname).toBe(`[${text}]`);
      }),
    );
  });

  test.each([
    ['2001:0DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1::', '1::'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ])('%s is written %s', (text, canonical) => {
    expect(address.formatIpv6(address.parseIpv6(text))).toBe(canonical);
  });

  test('accepts what Node accepts, but no zone', () => {
    fc.assert(
      fc.property(scraps, (text) => void expect(accepts(address.parseIpv6, text)).toBe(isIPv6(text))),
    );
    expect(() => address.parseIpv6('fe80::1%eth0')).toThrow(/zone/);
    for (const text of [
      '',
      ':',
      ':::',
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1::2::3',
      '1.2.3.4::',
      '12345::',
      '1:2:3:4:5:6:7::8',
    ]) {
      expect(() => address.parseIpv6(text)).toThrow(address.AddressError);
    }
  });

  test('kinds', () => {
    const of = address.parseIpv6;
    const all = (w: Int32Array) => [w[0], w[1], w[2], w[3]] as const;
    expect(['ff02::1', 'fe80::1'].map((text) => address.ipv6IsMulticast(of(text)[0]))).toEqual([true, false]);
    expect(
      ['fe80::1', 'febf::1', 'fec0::1', 'fe7f::1'].map((text) => address.ipv6IsLinkLocal(of(text)[0])),
    ).toEqual([true, true, false, false]);
    expect(['::', '::1', '1::'].map((text) => address.ipv6IsUnspecified(...all(of(text))))).toEqual([
      true,
      false,
      false,
    ]);
    expect(['::1', '::', '1::1', '::2'].map((text) => address.ipv6IsLoopback(...all(of(text))))).toEqual([
      true,
      false,
      false,
      false,
    ]);
    const prefix = of('2001:db8:8000::');
    expect(address.ipv6InPrefix(of('2001:db8:8000:1::1'), prefix, 48)).toBe(true);
    expect(address.ipv6InPrefix(of('2001:db8:8001::1'), prefix, 48)).toBe(false);
    expect(address.ipv6InPrefix(of('2001:db8:8001::1'), prefix, 33)).toBe(true);
    expect(address.ipv6InPrefix(of('1::'), prefix, 0)).toBe(true);
    expect(address.ipv6InPrefix(of('2001:db8:8000::1'), prefix, 128)).toBe(false);
  });
});

test('networks', () => {
  expect(address.parseCidr('10.0.0.1/24')).toEqual({ family: 4, address: 0x0a000001, length: 24 });
  for (const text of ['10.0.0.0/8', '0.0.0.0/0', '::/0', '2001:db8::/32', '::1/128']) {
    expect(address.formatCidr(address.parseCidr(text))).toBe(text);
  }
  for (const text of [
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/08',
    '10.0.0/8',
    '::/-1',
    '10.0.0.0/8/8',
  ]) {
    expect(() => address.parseCidr(text)).toThrow(address.AddressError);
  }
});

test('hardware addresses', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
      expect(address.parseMac(address.formatMac(bytes))).toEqual(bytes);
      const view = new DataView(bytes.buffer);
      expect(address.macHigh(bytes)).toBe(view.getUint16(0));
      expect(address.macLow(bytes)).toBe(view.getInt32(2));
    }),
  );
  for (const text of ['', '0:1:2:3:4:5', '00:01:02:03:04', '00:01:02:03:04:0g', '00-01-02-03-04-05']) {
    expect(() => address.parseMac(text)).toThrow(address.AddressError);
  }
  expect(address.macIsMulticast(0xffff)).toBe(true);
  expect(address.macIsMulticast(0x3333)).toBe(true);
  expect(address.macIsMulticast(0x0200)).toBe(false);
});

function accepts(parse: (text: string) => unknown, text: string): boolean {
  try {
    parse(text);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(address.AddressError);
    return false;
  }
}
