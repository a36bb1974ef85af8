/** Checks docs/conformance.md against src/: `npm run check:conformance`. */
import { globSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkConformance } from './conformance.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const SRC = join(ROOT, 'src');

const sources = globSync('**/*.ts', { cwd: SRC }).map((path) => ({
  path: path.replaceAll(sep, '/'),
  text: readFileSync(join(SRC, path), 'utf8'),
}));
const table = readFileSync(join(ROOT, 'docs/conformance.md'), 'utf8');
const wrong = checkConformance(table, sources);
for (const what of wrong) process.stderr.write(`docs/conformance.md:${what}\n`);
process.stdout.write(`check:conformance: ${wrong.length} wrong\n`);
if (wrong.length > 0) process.exitCode = 1;
