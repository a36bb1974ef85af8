/** The Python in %{ }%. */
import { describe, expect, test } from 'vitest';
import { AssertionFailed, PythonError, runPython } from './python.ts';

function value(expression: string): string {
  return runPython(`print(${expression})`, new Map<string, number>([['tcpi_rto', 200_000]]))[0];
}

describe('expressions', () => {
  test.each([
    ['1 + 2 * 3', '7'],
    ['(1 + 2) * 3', '9'],
    ['7 // 2, 7 % 4, -7 // 2', '3 3 -4'],
    ['2 ** 10', '1024'],
    ['5 / 2', '2.5'],
    ['1 << 4 | 3', '19'],
    ['6 & 3, 6 ^ 3, ~5', '2 5 -6'],
    ['1 < 2 <= 2', 'True'],
    ['1 if 0 else 2', '2'],
    ['not 1 or 2 and 3', '3'],
    ['tcpi_rto == 200000', 'True'],
    ['3 in [1, 2, 3]', 'True'],
    ['4 not in [1, 2]', 'True'],
    ['abs(-3), min(2, 1), max(2, 1)', '3 1 2'],
    ["'%d of %s' % (3, 'x')", '3 of x'],
    ['None == None', 'True'],
    ['0x10', '16'],
  ])('%s', (text, result) => {
    expect(value(text)).toBe(result);
  });

  test.each(['undefined_name', '1 +', 'open("x")', '1 / 0', '(1', 'import os', "__import__('os')"])(
    'not %s',
    (text) => {
      expect(() => runPython(`x = ${text}`, new Map())).toThrow(PythonError);
    },
  );
});

describe('statements', () => {
  test('assertions say what they have', () => {
    const variables = new Map([['tcpi_snd_cwnd', 9]]);
    expect(runPython('assert tcpi_snd_cwnd == 9', variables)).toEqual([]);
    expect(() => runPython('assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd', variables)).toThrow(AssertionFailed);
    expect(() => runPython('assert tcpi_snd_cwnd == 10', variables)).toThrow('tcpi_snd_cwnd = 9');
  });

  test('variables stay, lines join, conditions choose', () => {
    const variables = new Map();
    runPython('a = 1; b = a + \\\n 1\n# a comment', variables);
    expect(runPython('if a == 1:\n  print("one")\nelse:\n  print("other")\nprint(a, b)', variables)).toEqual([
      'one',
      '1 2',
    ]);
  });
});
