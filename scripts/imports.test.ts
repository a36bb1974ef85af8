import { expect, test } from 'vitest';
import { importsOf } from './imports.ts';

const specifiers = (text: string): (string | null)[] => importsOf(text).map(({ specifier }) => specifier);

test.each([
  ["import { a } from './x.ts';", './x.ts'],
  ["import{a}from'./x.ts'", './x.ts'],
  ['import a, { type b } from "./x.ts";', './x.ts'],
  ["import * as a from './x.ts';", './x.ts'],
  ["import type { A } from './x.ts';", './x.ts'],
  ["import type A from './x.ts';", './x.ts'],
  ["import {\n  a, // the first\n  b,\n} from './x.ts';", './x.ts'],
  ["import './x.ts';", './x.ts'],
  ["export { a } from './x.ts';", './x.ts'],
  ["export * from './x.ts';", './x.ts'],
  ["export * as a from './x.ts';", './x.ts'],
  ["export type { A } from './x.ts';", './x.ts'],
  ["const a = 1; import './x.ts';", './x.ts'],
  ["const a = await import('./x.ts');", './x.ts'],
  ['const a = await import(`./x.ts`);', './x.ts'],
  ["const a = await import('./x.json', { with: { type: 'json' } });", './x.json'],
  ["let a: import('./x.ts').A;", './x.ts'],
  ["const a = require('node:fs');", 'node:fs'],
  ["const a = await import(/* why */ './x.ts');", './x.ts'],
  ["const a = /[/*'\"]/; import './x.ts';", './x.ts'],
  ["const a = '/*'; import './x.ts';", './x.ts'],
  ['const a = `//`; import "./x.ts";', './x.ts'],
  ["const a = b / c; import './x.ts'; // d / e", './x.ts'],
])('%j imports %s', (text, specifier) => {
  expect(specifiers(text)).toEqual([specifier]);
});

test.each([
  "// import './x.ts';",
  "/* import './x.ts'; */",
  "/**\n * import { a } from './x.ts';\n */",
  "const a = 1; // await import('./x.ts')",
  "export const from = './x.ts';",
  "export function f(from: string) { return 'x'; }",
  'const url = import.meta.url;',
  "loader.import('./x.ts');",
  "reimport('./x.ts');",
])('%j imports nothing', (text) => {
  expect(specifiers(text)).toEqual([]);
});

test.each(['import(name)', 'import(`./$\u007bname}.ts`)', "import('./' + name)"])(
  'what %j imports is unknown',
  (text) => {
    expect(specifiers(text)).toEqual([null]);
  },
);

test('imports come in order, with their lines', () => {
  const text =
    "/*\n\n*/\nimport { a } from './a.ts';\n\nawait import('./b.ts');\nexport {\n  c,\n} from './c.ts';\n";
  expect(importsOf(text)).toEqual([
    { specifier: './a.ts', line: 4 },
    { specifier: './b.ts', line: 6 },
    { specifier: './c.ts', line: 7 },
  ]);
});
