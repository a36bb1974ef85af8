import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIpv6, parseIpv6 } from './address.ts';
import * as ipv6 from './ipv6.ts';
import { viewOf } from './plain.ts';

const address = fc
  .array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { minLength: 4, maxLength: 4 })
  .map((words) => formatIpv6(words));

test('emit and parse round trip, with padding behind', () => {
  const packet = fc.record({
    src: address,
    dst: address,
    nextHeader: fc.nat(255),
    hopLimit: fc.nat(255),
    trafficClass: fc.nat(255),
    flowLabel: fc.nat(0xfffff),
    payload: fc.uint8Array({ maxLength: 100 }),
  });
  fc.assert(
    fc.property(packet, fc.nat(20), (value, padding) => {
      const bytes = ipv6.emitIpv6Packet(value);
      const padded = new Uint8Array(bytes.length + padding);
      padded.set(bytes);
      expect(ipv6.parseIpv6Packet(padded)).toEqual(value);
      const words = new Int32Array(6);
      ipv6.ipv6Load(viewOf(bytes), ipv6.IPV6_DST, words, 2);
      expect(words.subarray(2)).toEqual(parseIpv6(value.dst));
      expect(ipv6.ipv6Equals(viewOf(bytes), ipv6.IPV6_DST, words, 2)).toBe(true);
      for (let i = 2; i < 6; i++) {
        words[i] ^= 1;
        expect(ipv6.ipv6Equals(viewOf(bytes), ipv6.IPV6_DST, words, 2)).toBe(false);
        words[i] ^= 1;
      }
    }),
  );
});

test('rejects', () => {
  const good = ipv6.emitIpv6Packet({ src: '::1', dst: '::2', nextHeader: 6, payload: new Uint8Array(8) });
  const check = (at: number, value: number, length = 48) => {
    const bytes = Uint8Array.from(good);
    bytes[at] = value;
    return ipv6.ipv6Check(viewOf(bytes), 0, length);
  };
  expect(check(0, 0x60)).toBe(40);
  expect(check(0, 0x60, 39)).toBe(ipv6.IPV6_TRUNCATED);
  expect(check(0, 0x40)).toBe(ipv6.IPV6_VERSION);
  expect(check(5, 9)).toBe(ipv6.IPV6_LENGTH);
  expect(ipv6.ipv6CheckQuoted(viewOf(good), 0, 40)).toBe(40);
  expect(() => ipv6.parseIpv6Packet(good.subarray(0, 47))).toThrow('payload length');
});

describe('extension headers', () => {
  const PADDED = [1, 4, 0, 0, 0, 0];
  const {
    HEADER_HOP_BY_HOP: HOP,
    HEADER_DESTINATION: DST,
    HEADER_ROUTING: ROUTE,
    HEADER_FRAGMENT: FRAG,
  } = ipv6;
  const upper = (first: number, ...payload: number[]) => {
    const bytes = ipv6.emitIpv6Packet({
      src: '::1',
      dst: '::2',
      nextHeader: first,
      payload: Uint8Array.from(payload),
    });
    return ipv6.ipv6Upper(viewOf(bytes), 0, bytes.length);
  };
  const found = (result: number) => [ipv6.upperOffset(result), ipv6.upperProtocol(result)];

  test('are stepped over', () => {
    expect(found(upper(6))).toEqual([40, 6]);
    expect(found(upper(HOP, 6, 0, ...PADDED))).toEqual([48, 6]);
    expect(found(upper(HOP, DST, 0, ...PADDED, ROUTE, 0, ...PADDED, 17, 0, 0, 0, 0, 0, 0, 0))).toEqual([
      64, 17,
    ]);
    expect(found(upper(DST, 6, 1, 0x1e, 8, ...new Array(8).fill(7), 1, 2, 0, 0))).toEqual([56, 6]);
    expect(found(upper(DST, 6, 0, 0, 0, 0, 0, 0, 0))).toEqual([48, 6]); // six Pad1
    expect(found(upper(DST, 6, 0, 0x1e, 3, 7, 7, 7, 0))).toEqual([48, 6]); // unknown, may be skipped
    expect(found(upper(ipv6.HEADER_NONE))).toEqual([40, ipv6.HEADER_NONE]);
    expect(found(upper(FRAG, 6, 0, 0, 0, 0, 0, 0, 9))).toEqual([48, 6]); // atomic
  });

  test('stop at a fragment', () => {
    expect(found(upper(FRAG, 6, 0, 0, 1, 0, 0, 0, 9))).toEqual([40, FRAG]);
    expect(found(upper(HOP, FRAG, 0, ...PADDED, 6, 0, 0, 8, 0, 0, 0, 9))).toEqual([48, FRAG]);
    const view = viewOf(Uint8Array.of(6, 0, 0x12, 0x39, 0xff, 0, 0, 1));
    expect(ipv6.fragmentOffset(view, 0)).toBe(0x1238);
    expect(ipv6.fragmentMore(view, 0)).toBe(true);
    expect(ipv6.fragmentId(view, 0)).toBe(0xff000001 | 0);
  });

  test('are refused when they lie, hide or repeat', () => {
    expect(upper(DST, 6, 0, 1, 4, 0)).toBe(ipv6.IPV6_EXTENSION); // cut short
    expect(upper(DST, 6, 1, ...PADDED)).toBe(ipv6.IPV6_EXTENSION); // longer than the packet
    expect(upper(DST, HOP, 0, ...PADDED, 6, 0, ...PADDED)).toBe(ipv6.IPV6_EXTENSION); // hop-by-hop not first
    const many = (n: number) => new Array(n).fill([DST, 0, ...PADDED]).flat();
    expect(upper(DST, ...many(7), 6, 0, ...PADDED)).toBe((104 << 8) | 6);
    expect(upper(DST, ...many(8), 6, 0, ...PADDED)).toBe(ipv6.IPV6_EXTENSION);
    expect(upper(ROUTE, 6, 0, 0, 1, 0, 0, 0, 0)).toBe(ipv6.IPV6_ROUTING);
    expect(upper(DST, 6, 0, 0x80, 4, 0, 0, 0, 0)).toBe(ipv6.IPV6_OPTION); // must not be skipped
    expect(upper(DST, 6, 0, 1, 5, 0, 0, 0, 0)).toBe(ipv6.IPV6_OPTION); // past its header
    expect(upper(DST, 6, 0, 1, 3, 0, 0, 0, 1)).toBe(ipv6.IPV6_OPTION); // no room for its length
    const options = (n: number) => new Array(n).fill([0x1e, 0]).flat();
    expect(upper(DST, 6, 2, ...options(8), ...PADDED)).toBe((64 << 8) | 6);
    expect(upper(DST, 6, 2, ...options(9), 1, 2, 0, 0)).toBe(ipv6.IPV6_OPTION);
    expect(upper(DST, 6, 1, 0, 1, 4, 0, 0, 0, 0, 0x1e, 5, 0, 0, 0, 0, 0)).toBe((56 << 8) | 6);
    expect(upper(DST, 6, 1, 0, 1, 5, 0, 0, 0, 0, 0, 0x1e, 4, 0, 0, 0, 0)).toBe(ipv6.IPV6_OPTION); // padded too much
  });

  test('say what is wrong with them, where, and to whom', () => {
    const chain = new ipv6.Ipv6Chain();
    const walk = (first: number, ...payload: number[]) => {
      const bytes = Uint8Array.of(...new Array(40).fill(0), ...payload);
      expect(ipv6.ipv6Walk(chain, viewOf(bytes), 0, bytes.length, 40, first, 6)).toBeLessThan(0);
      return [chain.problem, chain.pointer, chain.problemToGroup];
    };
    const option = (type: number) => walk(DST, 6, 0, 0, 0, type, 2, 0, 0);
    const silent = [ipv6.PROBLEM_SILENT, 0, false];
    expect(option(0x41)).toEqual(silent);
    expect(option(0x81)).toEqual([ipv6.PROBLEM_OPTION, 44, true]);
    expect(option(0xc1)).toEqual([ipv6.PROBLEM_OPTION, 44, false]);
    expect(walk(DST, HOP, 0, ...PADDED, 6, 0, ...PADDED)).toEqual([ipv6.PROBLEM_NEXT_HEADER, 40, false]);
    expect(walk(HOP, ROUTE, 0, ...PADDED, 6, 0, 0, 1, 0, 0, 0, 0)).toEqual([ipv6.PROBLEM_FIELD, 50, false]);
    expect(walk(DST, 6, 1, ...PADDED)).toEqual([ipv6.PROBLEM_CUT, 0, false]);
    expect(walk(DST, 6, 0, 1, 5, 0, 0, 0, 0)).toEqual(silent);
  });
});
