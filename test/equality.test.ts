import { expect, test } from 'vitest';

test('typed arrays are equal in a moment when their bytes are, and only then', () => {
  const bytes = new Uint8Array(4 << 20).fill(7);
  const start = performance.now();
  expect([{ bytes }]).toEqual([{ bytes: bytes.slice() }]);
  expect(performance.now() - start).toBeLessThan(1000);
  const few = bytes.subarray(0, 100);
  expect(few).not.toEqual(few.with(99, 8));
  expect(few).not.toEqual(few.subarray(1));
  expect(few).not.toEqual(new Int8Array(few));
  expect(Float64Array.of(0)).toEqual(Float64Array.of(0));
  expect(Float64Array.of(Number.NaN)).toEqual(Float64Array.of(Number.NaN));
});
