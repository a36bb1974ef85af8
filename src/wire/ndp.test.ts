import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIpv6, formatMac, macHigh, macLow, parseIpv6, parseMac } from './address.ts';
import { emitIcmpv6, parseIcmpv6 } from './icmpv6.ts';
import * as ndp from './ndp.ts';
import { transportChecksumGood, viewOf } from './plain.ts';

const ENDS = { src: 'fe80::1', dst: 'ff02::1' };
const u8 = fc.nat(255);
const u32 = fc.nat(0xffffffff);
const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const address = fc.tuple(word, word, word, word).map((words) => formatIpv6(words));
const unicast = address.filter((text) => !text.startsWith('ff'));
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => formatMac(bytes));
const prefix = fc.record({
  prefix: address,
  length: fc.nat(128),
  onLink: fc.boolean(),
  autonomous: fc.boolean(),
  validSeconds: u32,
  preferredSeconds: u32,
});
const options = fc.record(
  {
    sourceMac: mac,
    targetMac: mac,
    mtu: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    prefixes: fc.array(prefix, { minLength: 1, maxLength: ndp.NDP_PREFIXES_MAX }),
  },
  { requiredKeys: [] },
);
const message: fc.Arbitrary<ndp.NdpMessage> = fc.oneof(
  fc.record({ kind: fc.constant('router solicitation' as const), options }),
  fc.record({
    kind: fc.constant('router advertisement' as const),
    hopLimit: u8,
    flags: u8,
    lifetimeSeconds: fc.nat(65_535),
    reachableMs: u32,
    retransMs: u32,
    options,
  }),
  fc.record({ kind: fc.constant('neighbor solicitation' as const), target: unicast, options }),
  fc.record({ kind: fc.constant('neighbor advertisement' as const), target: unicast, flags: u8, options }),
  fc.record({ kind: fc.constant('redirect' as const), target: unicast, destination: address, options }),
);

test('emit and parse round trip, with a good checksum', () => {
  fc.assert(
    fc.property(message, (value) => {
      const bytes = emitIcmpv6(value, ENDS);
      expect(parseIcmpv6(bytes)).toEqual(value);
      expect(transportChecksumGood(bytes, ENDS, 58)).toBe(true);
    }),
  );
});

test('the writers of the data path write what the plain level reads', () => {
  const own = parseMac('02:00:00:00:00:07');
  const [high, low] = [macHigh(own), macLow(own)];
  const words = Int32Array.of(9, ...parseIpv6('fe80::abcd'));
  const bytes = new Uint8Array(64);
  const view = viewOf(bytes);
  const read = (length: number) => ndp.parseNdp(bytes.subarray(0, length));
  const source = { sourceMac: formatMac(own) };

  expect(read(ndp.ndpWriteRouterSolicit(view, 0, true, high, low))).toEqual({
    kind: 'router solicitation',
    options: source,
  });
  expect(ndp.ndpWriteRouterSolicit(view, 0, false, 0, 0)).toBe(8);
  expect(read(ndp.ndpWriteNeighborSolicit(view, 0, words, 1, true, high, low))).toEqual({
    kind: 'neighbor solicitation',
    target: 'fe80::abcd',
    options: source,
  });
  expect(ndp.ndpWriteNeighborSolicit(view, 0, words, 1, false, 0, 0)).toBe(24);
  const flags = ndp.NDP_SOLICITED | ndp.NDP_OVERRIDE;
  expect(read(ndp.ndpWriteNeighborAdvert(view, 0, flags, words, 1, high, low))).toEqual({
    kind: 'neighbor advertisement',
    target: 'fe80::abcd',
    flags,
    options: { targetMac: formatMac(own) },
  });
});

test('rejects', () => {
  const check = (type: number, length: number, spoil: (bytes: Uint8Array) => void = () => {}) => {
    const bytes = new Uint8Array(40);
    bytes[0] = type;
    spoil(bytes);
    return ndp.ndpCheck(viewOf(bytes), 0, length);
  };
  for (const [type, header] of [
    [ndp.NDP_ROUTER_SOLICIT, 8],
    [ndp.NDP_ROUTER_ADVERT, 16],
    [ndp.NDP_NEIGHBOR_SOLICIT, 24],
    [ndp.NDP_NEIGHBOR_ADVERT, 24],
    [ndp.NDP_REDIRECT, 40],
  ]) {
    expect(check(type, 40)).toBe(header);
    expect(check(type, header)).toBe(header);
    expect(check(type, header - 1)).toBe(ndp.NDP_TRUNCATED);
    expect(check(type, 40, (bytes) => (bytes[1] = 1))).toBe(ndp.NDP_UNKNOWN);
  }
  expect(check(132, 40)).toBe(ndp.NDP_UNKNOWN);
  expect(check(138, 40)).toBe(ndp.NDP_UNKNOWN);
  for (const type of [135, 136, 137])
    expect(check(type, 40, (bytes) => (bytes[8] = 0xff))).toBe(ndp.NDP_BAD_TARGET);
});

describe('options', () => {
  const parse = (...bytes: number[]) => {
    const out = new ndp.NdpOptions();
    const result = ndp.ndpOptionsParse(viewOf(Uint8Array.from(bytes)), 0, bytes.length, out);
    return { result, out };
  };
  const LINK = [1, 1, 2, 0, 0, 0, 0, 1];

  test('a length of zero or past the end spoils the message', () => {
    expect(parse(...LINK, 14, 0, 0, 0, 0, 0, 0, 0).result).toBe(ndp.NDP_BAD_OPTION);
    expect(parse(...LINK, 14, 2, 0, 0, 0, 0, 0, 0).result).toBe(ndp.NDP_BAD_OPTION);
    expect(parse(...LINK, 14).result).toBe(ndp.NDP_BAD_OPTION);
    expect(parse().result).toBe(0);
  });

  test('unknown ones and those of the wrong size are skipped, repeated ones ignored', () => {
    const { result, out } = parse(14, 1, 0, 0, 0, 0, 0, 0, 2, 2, ...new Array(14).fill(0), ...LINK, ...LINK);
    expect(result).toBe(0);
    expect(out).toMatchObject({ sourceLinkAt: 26, targetLinkAt: 0, mtu: 0, prefixCount: 0 });
  });

  test('no more prefixes than there is room for', () => {
    const one = [3, 4, ...new Array(30).fill(0)];
    const { result, out } = parse(...new Array(ndp.NDP_PREFIXES_MAX + 2).fill(one).flat());
    expect(result).toBe(0);
    expect(out.prefixCount).toBe(ndp.NDP_PREFIXES_MAX);
    expect(out.prefixAt[1]).toBe(32);
  });
});
