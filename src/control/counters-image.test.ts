import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CountersImage, decodeImage, ImageWriter, type Metric } from './counters-image.ts';

const printable = fc.string({
  unit: fc.integer({ min: 0x20, max: 0x7e }).map((c) => String.fromCharCode(c)),
  minLength: 1,
  maxLength: 200,
});
const metric: fc.Arbitrary<Metric> = fc.record({
  name: printable,
  kind: fc.constantFrom('counter', 'gauge'),
});
const given = fc.record({
  pid: fc.nat({ max: 2 ** 31 }),
  start: fc.nat(),
  opened: fc.double({ noNaN: true }),
  updated: fc.double({ noNaN: true }),
  label: printable,
  metrics: fc.array(metric, { maxLength: 20 }),
  seed: fc.double(),
});

function encode({
  updated,
  seed,
  ...image
}: typeof given extends fc.Arbitrary<infer T> ? T : never): Uint8Array {
  const writer = new ImageWriter(image);
  writer.updated = updated;
  writer.sequence = 6;
  for (let i = 0; i < image.metrics.length; i++) writer.setValue(i, seed + i);
  return writer.bytes;
}

test('what was written is read', () => {
  fc.assert(
    fc.property(given, (image) => {
      const { seed, ...rest } = image;
      const expected: CountersImage = {
        ...rest,
        sequence: 6,
        values: Float64Array.from(image.metrics, (_, i) => seed + i),
      };
      expect(decodeImage(encode(image))).toEqual(expected);
    }),
  );
});

test('bytes that were cut or changed are read or refused, never more than there are', () => {
  const changes = fc.array(fc.tuple(fc.nat({ max: 400 }), fc.nat({ max: 255 })), { maxLength: 6 });
  fc.assert(
    fc.property(given, fc.nat({ max: 500 }), changes, (image, cut, changed) => {
      const bytes = encode(image).slice(0, cut < 250 ? cut : undefined);
      for (const [at, value] of changed) if (at < bytes.length) bytes[at] = value;
      try {
        const { values, metrics } = decodeImage(bytes);
        expect(metrics.length).toBe(values.length);
        for (const { name } of metrics) expect(name).toMatch(/^[\x20-\x7e]+$/);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_COUNTERS_FORMAT' });
      }
    }),
    { numRuns: 1000 },
  );
});

test.each([
  ['too few bytes', (bytes: Uint8Array) => bytes.subarray(0, 47), 'too few'],
  ['another magic', (bytes: Uint8Array) => bytes.with(0, 1), 'first word'],
  ['another version', (bytes: Uint8Array) => bytes.with(4, 2), 'version 2'],
  ['more values than there are', (bytes: Uint8Array) => bytes.with(40, 3), "don't make"],
  ['more values than are taken', (bytes: Uint8Array) => bytes.with(42, 3), "don't make"],
  ['a cut end', (bytes: Uint8Array) => bytes.subarray(0, -1), "don't make"],
  ['a name to fool a terminal with', (bytes: Uint8Array) => bytes.with(bytes.length - 1, 0x1b), 'no metric'],
  ['too many bytes', () => new Uint8Array(256 * 1024 + 1), 'too many'],
])('%s: refused, with the reason', (_, change, why) => {
  const metrics: Metric[] = [
    { name: 'a', kind: 'counter' },
    { name: 'bc', kind: 'gauge' },
  ];
  const bytes = encode({ pid: 1, start: 2, opened: 3, updated: 4, label: 'x', metrics, seed: 0 });
  expect(decodeImage(bytes).metrics).toEqual(metrics);
  expect(() => decodeImage(change(bytes))).toThrow(why);
});

test('labels and names become printable', () => {
  const writer = new ImageWriter({
    pid: 1,
    start: 0,
    opened: 0,
    label: '\x1b[2J\n',
    metrics: [{ name: 'é', kind: 'gauge' }],
  });
  expect(decodeImage(writer.bytes)).toMatchObject({
    label: '?[2J?',
    metrics: [{ name: '?', kind: 'gauge' }],
  });
});
