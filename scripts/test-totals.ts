/**
 * Adds up Vitest's JSON reports, whose paths are the arguments. Prints each failure once more, since a log is often
 * kept by its end only, and then one plain line for readers that don't know Vitest: `N passed, N failed`. What kept
 * tests from being counted counts as a failure.
 */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { pathToFileURL } from 'node:url';

/** What we read of a report. */
export interface Report {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly testResults: readonly {
    /** The file's absolute path. */
    readonly name: string;
    readonly status: string;
    /** Why the file as a whole failed, or ''. */
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

export interface Totals {
  readonly passed: number;
  /** One text a failure: where, and the error's first lines. */
  readonly failures: readonly string[];
}

/** Lines of an error's message and stack that are shown. */
const LINES = 12;

/** @param report null when Vitest left none: it crashed, and that is one failure. */
export function totalsOf(report: Report | null): Totals {
  if (report === null) return { passed: 0, failures: ['Vitest left no report'] };
  const failures: string[] = [];
  for (const { name, status, message, assertionResults } of report.testResults) {
    const file = relative('', name);
    const failed = assertionResults.filter((test) => test.status === 'failed');
    for (const { fullName, failureMessages } of failed)
      failures.push(describe(`${file}: ${fullName}`, failureMessages.join('\n')));
    // A file that fails with no test failing didn't load, or failed around its tests.
    if (status === 'failed' && failed.length === 0) failures.push(describe(file, message));
  }
  if (failures.length === 0 && !report.success) failures.push('an error that belongs to no file, see above');
  return { passed: report.numPassedTests, failures };
}

function describe(where: string, error: string): string {
  return [where, ...error.split('\n').slice(0, LINES)].join('\n    ');
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
  const failures = totals.flatMap((each) => each.failures);
  for (const failure of failures) process.stdout.write(`FAILED: ${failure}\n`);
  process.stdout.write(`${passed} passed, ${failures.length} failed\n`);
}
