import { expect, test } from 'vitest';
import { checkConformance } from './conformance.ts';

const SOURCES = [
  { path: 'tcp/output.ts', text: 'function sendNew() {}' },
  { path: 'tcp/output.test.ts', text: "test('sends (MUST-1) what there is', () => {})" },
];
const HEAD = '| What | Level | Label | Where | Shown by |\n|---|---|---|---|---|\n';
const row = (level: string, where: string, shown: string) =>
  `${HEAD}| It | ${level} | x | ${where} | ${shown} |`;
const GOOD = ['`tcp/output.ts` `sendNew`', '`tcp/output.test.ts` "sends (MUST-1)"'] as const;

/** Without those about labels that no row has. */
function wrong(table: string): string[] {
  return checkConformance(table, SOURCES).filter((what) => !what.startsWith('0: '));
}

test('a row whose names exist is right', () => {
  expect(wrong(row('MUST', ...GOOD))).toEqual([]);
  expect(wrong(row('SHOULD', '', 'A reason that is long enough.'))).toEqual([]);
});

test.each([
  ['no such file', 'MUST', '`tcp/input.ts` `sendNew`', GOOD[1], 'there is no src/tcp/input.ts'],
  ['no such function', 'MUST', '`tcp/output.ts` `sendOld`', GOOD[1], 'src/tcp/output.ts has no sendOld'],
  [
    'no such test',
    'MUST',
    GOOD[0],
    '`tcp/output.test.ts` "hears"',
    'src/tcp/output.test.ts has no test "hears"',
  ],
  [
    'no test of a MUST',
    'MUST',
    GOOD[0],
    'A reason that is long enough.',
    'a MUST needs both code and a test',
  ],
  ['no code of a MUST NOT', '(MUST)', '', GOOD[1], 'a MUST needs both code and a test'],
  ['no reason', 'SHOULD', '', 'No.', 'has neither a test nor a reason'],
  ['a bar too many', 'SHOULD', '', '| A reason that is long enough.', 'has 6 columns, not 5'],
])('%s', (_what, level, where, shown, message) => {
  expect(wrong(row(level, where, shown))).toEqual([`3: ${message}`]);
});

test('each label of RFC 9293 must be in the table', () => {
  const labels = checkConformance('', SOURCES);
  expect(labels).toHaveLength(69 + 31 + 18 + 1);
  expect(labels).toContain('0: MUST-69 is missing');
  const table = `${HEAD}| It | MUST | MUST-69, MAY-3 | ${GOOD.join(' | ')} |`;
  expect(checkConformance(table, SOURCES)).toHaveLength(labels.length - 2);
});
