import { InvalidArgumentError } from 'commander';
import { expect, test } from 'vitest';
import { duration, percent, queueLimit, rate } from './arguments.ts';

test('quantities are read as tc reads them', () => {
  expect(['50ms', '100us', '1.5s', '0ms'].map(duration)).toEqual([50, 0.1, 1500, 0]);
  expect(['10mbit', '1.5Gbit', '800bit', '500kbps'].map(rate)).toEqual([10e6, 1.5e9, 800, 4e6]);
  expect(['1%', '0.5%', '100%', '0%'].map(percent)).toEqual([0.01, 0.005, 1, 0]);
  expect(['100p', '64kb', '1.5m', '1500b'].map(queueLimit)).toEqual([
    { packets: 100 },
    { bytes: 65_536 },
    { bytes: 1_572_864 },
    { bytes: 1500 },
  ]);
});

test.each([
  [duration, ['', '50', 'ms', '-1ms', '1e3ms', '50 ms', '5min']],
  [rate, ['', '10', '10mb', '0mbit', '-1mbit']],
  [percent, ['', '1', '101%', '-1%', '0.5']],
  [queueLimit, ['', '100', '0p', '1.5p', '0kb', '0.5b', '5gb']],
])('%o refuses what it can’t read, and says what it takes', (parse, texts) => {
  for (const text of texts) expect(() => parse(text), text).toThrow(InvalidArgumentError);
});
