import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Histogram } from './histogram.ts';

const values = fc.array(fc.oneof(fc.nat({ max: 200 }), fc.nat({ max: 2 ** 31 - 1 })), {
  minLength: 1,
  maxLength: 200,
});

test('quantiles are those of the sorted values, at most 1/32 above', () => {
  fc.assert(
    fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (given, share) => {
      const histogram = new Histogram();
      for (const value of given) histogram.record(value);
      const sorted = given.toSorted((a, b) => a - b);
      const exact = sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1];
      const got = histogram.quantile(share);
      expect(got).toBeGreaterThanOrEqual(exact);
      expect(got).toBeLessThanOrEqual(exact + exact / 32);
      expect(histogram).toMatchObject({ count: given.length, min: sorted[0], max: sorted.at(-1) });
    }),
  );
});

test('two added are one of all their values', () => {
  fc.assert(
    fc.property(values, values, (first, second) => {
      const [a, b, all] = [new Histogram(), new Histogram(), new Histogram()];
      for (const value of first) a.record(value);
      for (const value of second) b.record(value);
      for (const value of [...first, ...second]) all.record(value);
      a.add(b);
      expect(a).toEqual(all);
      a.clear();
      a.add(new Histogram());
      expect(a).toEqual(new Histogram());
    }),
  );
});

test('what is out of range counts at its ends', () => {
  const histogram = new Histogram();
  histogram.record(1e12);
  histogram.record(-5);
  expect(histogram).toMatchObject({ count: 2, min: 0, max: 2 ** 31 - 1 });
  expect(histogram.quantile(1)).toBe(2 ** 31 - 1);
});
