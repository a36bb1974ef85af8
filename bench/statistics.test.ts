import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { spread } from './statistics.ts';

describe('spread', () => {
  test('of an odd and of an even number of values', () => {
    expect(spread([30, 10, 20])).toEqual({ runs: 3, median: 20, min: 10, max: 30 });
    // 9 < 10 as numbers, not as text
    expect(spread([10, 9, 100, 1])).toEqual({ runs: 4, median: 9.5, min: 1, max: 100 });
  });

  test('as many values lie below the median as above, whatever their order', () => {
    const values = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(values, (list) => {
        const before = [...list];
        const { runs, median, min, max } = spread(list);
        expect(list).toEqual(before);
        expect(runs).toBe(list.length);
        expect(min).toBe(Math.min(...list));
        expect(max).toBe(Math.max(...list));
        expect(list.filter((v) => v < median).length).toBeLessThanOrEqual(list.length / 2);
        expect(list.filter((v) => v > median).length).toBeLessThanOrEqual(list.length / 2);
      }),
    );
  });

  test('refuses nothing at all', () => {
    expect(() => spread([])).toThrow(RangeError);
  });
});
