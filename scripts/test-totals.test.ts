import { expect, test } from 'vitest';
import { type Report, totalsOf } from './test-totals.ts';

const file = (status: string, ...tests: string[]) => ({
  status,
  assertionResults: tests.map((each) => ({ status: each })),
});
const report = (
  numPassedTests: number,
  numFailedTests: number,
  ...testResults: Report['testResults']
): Report => ({
  success: testResults.every(({ status }) => status === 'passed'),
  numPassedTests,
  numFailedTests,
  testResults,
});

test.each<[string, Report | null, [number, number]]>([
  ['all passed', report(2, 0, file('passed', 'passed', 'passed')), [2, 0]],
  ['skipped tests are neither', report(1, 0, file('passed', 'passed', 'skipped')), [1, 0]],
  ['failed tests', report(1, 2, file('failed', 'passed', 'failed', 'failed')), [1, 2]],
  ["a file that doesn't load", report(1, 0, file('passed', 'passed'), file('failed')), [1, 1]],
  ['a file that fails after its tests', report(1, 0, file('failed', 'passed')), [1, 1]],
  ['an error outside all files', { ...report(1, 0, file('passed', 'passed')), success: false }, [1, 1]],
  ['no tests at all', { ...report(0, 0), success: false }, [0, 1]],
  ['no report', null, [0, 1]],
])('%s', (_, given, [passed, failed]) => {
  expect(totalsOf(given)).toEqual({ passed, failed });
});
