/** Checks src/ against the rules in floors.ts: `npm run check:floors`. */
import { globSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkFloors } from './floors.ts';

const SRC = fileURLToPath(new URL('../src/', import.meta.url));

const files = globSync('**/*.ts', { cwd: SRC })
  .map((path) => path.replaceAll(sep, '/'))
  .filter((path) => !path.startsWith('memory/kernels/assembly/')) // another language
  .sort()
  .map((path) => ({ path, text: readFileSync(join(SRC, path), 'utf8') }));

const violations = checkFloors(files);
for (const { path, line, why } of violations) process.stderr.write(`src/${path}:${line}: ${why}\n`);
process.stdout.write(`check:floors: ${files.length} files, ${violations.length} violations\n`);
if (violations.length > 0) process.exitCode = 1;
