import { expect, test } from 'vitest';
import { type Report, totalsOf } from './test-totals.ts';

const file = (status: string, ...tests: string[]): Report['testResults'][number] => ({
  name: `${process.cwd()}/src/a.test.ts`,
  status,
  message: status === 'failed' ? 'Cannot load' : '',
  assertionResults: tests.map((each, index) => ({
    status: each,
    fullName: `test ${index}`,
    failureMessages: each === 'failed' ? ['Error: no\n    at a.test.ts:1'] : [],
  })),
});
const report = (numPassedTests: number, ...testResults: Report['testResults']): Report => ({
  success: testResults.every(({ status }) => status === 'passed'),
  numPassedTests,
  testResults,
});

test.each<[string, Report | null, number, RegExp[]]>([
  ['all passed', report(2, file('passed', 'passed', 'passed')), 2, []],
  ['skipped tests are neither', report(1, file('passed', 'passed', 'skipped')), 1, []],
  [
    'failed tests',
    report(1, file('failed', 'passed', 'failed', 'failed')),
    1,
    [/^src\/a\.test\.ts: test 1\n {4}Error: no\n/, /^src\/a\.test\.ts: test 2\n {4}Error: no\n/],
  ],
  [
    "a file that doesn't load",
    report(1, file('passed', 'passed'), file('failed')),
    1,
    [/^src\/a\.test\.ts\n {4}Cannot load$/],
  ],
  [
    'a file that fails after its tests',
    report(1, file('failed', 'passed')),
    1,
    [/^src\/a\.test\.ts\n {4}Cannot load$/],
  ],
  ['an error outside all files', { ...report(1, file('passed', 'passed')), success: false }, 1, [/no file/]],
  ['no tests at all', { ...report(0), success: false }, 0, [/no file/]],
  ['no report', null, 0, [/no report/]],
])('%s', (_, given, passed, failures) => {
  const totals = totalsOf(given);
  expect(totals.passed).toBe(passed);
  expect(totals.failures).toEqual(failures.map((each) => expect.stringMatching(each)));
});
