/**
 * Adds up Vitest's JSON reports, whose paths are the arguments, and prints one plain line for readers that don't
 * know Vitest: `N passed, N failed`. What kept tests from being counted counts as a failure.
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

/** What we read of a report. */
export interface Report {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

export interface Totals {
  readonly passed: number;
  readonly failed: number;
}

/** @param report null when Vitest left none: it crashed, and that is one failure. */
export function totalsOf(report: Report | null): Totals {
  if (report === null) return { passed: 0, failed: 1 };
  // A file that fails with no test failing didn't load, or failed around its tests.
  const files = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
  ).length;
  const failed = report.numFailedTests + files;
  // Vitest also fails for errors that belong to no file.
  return { passed: report.numPassedTests, failed: failed === 0 && !report.success ? 1 : failed };
}

function read(path: string): Report | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch {
    return null;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const totals = process.argv.slice(2).map((path) => totalsOf(read(path)));
  const passed = totals.reduce((sum, each) => sum + each.passed, 0);
  const failed = totals.reduce((sum, each) => sum + each.failed, 0);
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
}
