import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { viewOf } from './plain.ts';
import * as o from './tcp-options.ts';

const u16 = fc.nat(65_535);
const u24 = fc.nat(0xffffff);
const u32 = fc.nat(0xffffffff);
const cookie = fc
  .constantFrom(0, 4, 6, 8, 16)
  .chain((length) => fc.uint8Array({ minLength: length, maxLength: length }));

const VALUES = {
  mss: fc.integer({ min: 1, max: 65_535 }),
  windowScale: fc.nat(14),
  sackPermitted: fc.constant(true),
  timestamps: fc.record({ value: u32, echo: u32 }),
  sack: fc.array(fc.tuple(u32, u32), { minLength: 1, maxLength: 4 }),
  fastOpenCookie: cookie,
  accEcn: fc.record({
    kind: fc.constantFrom(o.OPTION_ACCECN0, o.OPTION_ACCECN1),
    counters: fc.array(u24, { minLength: 3, maxLength: 3 }),
  }),
  userTimeout: u16,
};

test('emit and parse round trip, in whole words, for every set that fits', () => {
  let fitted = 0;
  fc.assert(
    fc.property(fc.record(VALUES, { requiredKeys: [] }), (values) => {
      let bytes: Uint8Array;
      try {
        bytes = o.emitTcpOptions(values);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
        return;
      }
      fitted += 1;
      expect(bytes.length % 4).toBe(0);
      expect(bytes.length).toBeLessThanOrEqual(o.TCP_OPTIONS_BYTES_MAX);
      expect(o.parseTcpOptions(bytes)).toEqual(values);
    }),
    { numRuns: 500 },
  );
  expect(fitted).toBeGreaterThan(50);
});

/** Pieces that are options or nearly so, in any order. */
const piece = fc.oneof(
  fc.constantFrom([0], [1], [2, 4, 5, 0xb4], [3, 3, 7], [3, 3, 200], [4, 2], [8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
  fc.constantFrom(
    [34, 2],
    [34, 6, 1, 2, 3, 4],
    [34, 5, 1, 2, 3],
    [34, 7, 1, 2, 3, 4, 5],
    [172, 5, 0, 0, 1],
    [174, 2],
    [28, 4, 0x80, 2],
  ),
  fc.constantFrom(
    [5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
    [5, 2],
    [2, 3, 1],
    [8, 2],
    [253, 4, 1, 2],
    [2],
    [2, 0],
    [2, 1],
  ),
  fc.array(fc.nat(255), { maxLength: 6 }),
);
const anything = fc
  .array(piece, { maxLength: 8 })
  .map((pieces) => Uint8Array.from(pieces.flat().slice(0, 40)));

/** The list of options that a reader of the RFCs would write down, or null. */
function list(bytes: Uint8Array): [number, number[]][] | null {
  const found: [number, number[]][] = [];
  let rest = [...bytes];
  while (rest.length > 0 && rest[0] !== 0) {
    if (rest[0] === 1) {
      rest = rest.slice(1);
    } else {
      const [kind, length = 0] = rest;
      if (length < 2 || length > rest.length) return null;
      found.push([kind, rest.slice(2, length)]);
      rest = rest.slice(length);
    }
  }
  return found;
}

test('agrees with a simple reading on any bytes, and reads none beyond', () => {
  const sizes = new Map([
    [2, [2]],
    [3, [1]],
    [4, [0]],
    [5, [8, 16, 24, 32]],
    [8, [8]],
    [28, [2]],
    [34, [0, 4, 6, 8, 10, 12, 14, 16]],
  ]);
  let malformed = 0;
  fc.assert(
    fc.property(anything, fc.nat(9), (bytes, before) => {
      const options = list(bytes);
      const out = new o.TcpOptions();
      // The view ends where the options do, and begins before them.
      const view = viewOf(Uint8Array.of(...new Array(before).fill(0xff), ...bytes));
      const result = o.tcpOptionsParse(view, before, bytes.length, out);
      if (options === null) {
        malformed += 1;
        expect(result).toBe(o.TCP_OPTIONS_MALFORMED);
        expect(out).toEqual(new o.TcpOptions());
        return;
      }
      expect(result).toBe(0);
      const last = new Map(
        options.filter(([kind, body]) => sizes.get(kind)?.includes(body.length)) as [number, number[]][],
      );
      const int = (kind: number, at: number, size: number) =>
        last
          .get(kind)!
          .slice(at, at + size)
          .reduce((value, byte) => (value << 8) | byte, 0);
      expect(out.mss).toBe(last.has(2) ? int(2, 0, 2) : 0);
      expect(out.windowScale).toBe(last.has(3) ? Math.min(int(3, 0, 1), 14) : -1);
      expect(out.sackPermitted).toBe(last.has(4) ? 1 : 0);
      expect(out.sackCount).toBe((last.get(5)?.length ?? 0) / 8);
      if (out.sackCount > 0) {
        expect(o.sackLeft(view, out, 0)).toBe(int(5, 0, 4));
        expect(o.sackRight(view, out, out.sackCount - 1)).toBe(int(5, out.sackCount * 8 - 4, 4));
      }
      expect(out.hasTimestamp).toBe(last.has(8) ? 1 : 0);
      expect([out.tsVal, out.tsEcr]).toEqual(last.has(8) ? [int(8, 0, 4), int(8, 4, 4)] : [0, 0]);
      expect(out.userTimeout).toBe(last.has(28) ? int(28, 0, 2) : -1);
      expect(out.fastOpenAt > 0).toBe(last.has(34));
      expect(out.fastOpenLength).toBe(last.get(34)?.length ?? 0);
      // Of any length: whole counters, then padding.
      const accEcn = options.filter(([kind]) => kind === 172 || kind === 174).at(-1);
      expect(out.accEcnKind).toBe(accEcn?.[0] ?? 0);
      expect(out.accEcnCount).toBe(Math.min(Math.floor((accEcn?.[1].length ?? 0) / 3), 3));
    }),
    { numRuns: 2000 },
  );
  expect(malformed).toBeGreaterThan(100);
});

describe('layouts', () => {
  const written = (write: (view: DataView) => number) => {
    const bytes = new Uint8Array(48);
    return Buffer.from(bytes.subarray(0, write(viewOf(bytes)))).toString('hex');
  };

  test('a SYN of Linux', () => {
    expect(written((view) => o.tcpSynOptionsWrite(view, 0, 1460, 7, true, true, 1, 2))).toBe(
      '020405b4' + '0402080a0000000100000002' + '01030307',
    );
    expect(written((view) => o.tcpSynOptionsWrite(view, 0, 1460, 7, true, false, 0, 0))).toBe(
      '020405b40101040201030307',
    );
    expect(written((view) => o.tcpSynOptionsWrite(view, 0, 536, -1, false, false, 0, 0))).toBe('02040218');
    expect(written((view) => o.tcpSynOptionsWrite(view, 0, 0, -1, false, true, 1, 2))).toBe(
      '0101080a0000000100000002',
    );
  });

  test('SACK blocks, a cookie, AccECN counters, user timeout', () => {
    const blocks = Int32Array.of(99, 1, 2, -2, -1);
    expect(written((view) => o.tcpSackWrite(view, 0, blocks, 1, 2))).toBe(
      '01010512' + '0000000100000002' + 'fffffffeffffffff',
    );
    expect(written((view) => o.tcpFastOpenWrite(view, 0, new Uint8Array(0)))).toBe('22020101');
    expect(written((view) => o.tcpFastOpenWrite(view, 0, Uint8Array.of(1, 2, 3, 4)))).toBe(
      '22060102030401' + '01',
    );
    expect(written((view) => o.tcpAccEcnWrite(view, 0, o.OPTION_ACCECN1, 0x010203, 0x040506, 0xf70809))).toBe(
      'ae0b010203040506f7080901',
    );
    expect(written((view) => o.tcpUserTimeoutWrite(view, 0, 0x8002))).toBe('1c048002');
    expect([30, 0x8002].map(o.userTimeoutSeconds)).toEqual([30, 120]);
  });

  test('the usual one is recognised, and only that', () => {
    const bytes = new Uint8Array(32);
    const view = viewOf(bytes);
    o.tcpTimestampsWrite(view, 20, -5, 6);
    expect(o.tcpHasTimestampsOnly(view, 0, 32)).toBe(true);
    expect([o.tcpFastTsVal(view, 0), o.tcpFastTsEcr(view, 0)]).toEqual([-5, 6]);
    expect(o.tcpHasTimestampsOnly(view, 0, 36)).toBe(false);
    expect(o.tcpHasTimestampsOnly(view, 0, 20)).toBe(false);
    bytes[21] = 0;
    expect(o.tcpHasTimestampsOnly(view, 0, 32)).toBe(false);
  });
});
