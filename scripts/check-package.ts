/**
 * Checks that what would be published works for who installs it: `npm run check:package` builds, packs, installs
 * the tarball into a directory of its own, and there imports every entry, type-checks against it and runs its
 * commands.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Manifest {
  readonly name: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, unknown>>;
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;
const problems: string[] = [];

function run(cwd: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    timeout: 120_000,
  });
  if (status === 0) return stdout;
  throw new Error(
    `${command} ${args.join(' ')}: ${error?.message ?? `status ${status}`}\n${stdout ?? ''}${stderr ?? ''}`,
  );
}

/** One check: the others go on when it fails. */
function check(title: string, body: () => void): void {
  try {
    body();
    process.stdout.write(`ok       ${title}\n`);
  } catch (error) {
    problems.push(title);
    process.stdout.write(`NOT OK   ${title}\n${(error as Error).message.replace(/^/gm, '         ')}\n`);
  }
}

/** @returns the tarball's path. */
function pack(into: string): string {
  const packed = run(ROOT, 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', into);
  // A list in npm 10, an object by name in npm 12.
  const [{ filename, files }] = Object.values(JSON.parse(packed)) as {
    filename: string;
    files: { path: string }[];
  }[];
  check('it holds its licence and no tests', () => {
    const paths = files.map(({ path }) => path);
    if (!paths.includes('LICENSE')) throw new Error('LICENSE is missing');
    const tests = paths.filter((path) => /\.test\.|[./]testing\.|^(?:src|bench|test)\//.test(path));
    if (tests.length > 0) throw new Error(tests.join('\n'));
  });
  return join(into, filename);
}

const scratch = mkdtempSync(join(tmpdir(), 'millrace-package-'));
try {
  const tarball = pack(scratch);
  writeFileSync(join(scratch, 'package.json'), '{"private":true,"type":"module"}\n');
  const quiet = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
  run(scratch, 'npm', 'install', ...quiet, tarball);

  for (const entry of Object.keys(manifest.exports).filter((key) => !key.endsWith('.json'))) {
    const specifier = entry.replace('.', manifest.name);
    check(`import('${specifier}')`, () => {
      run(scratch, process.execPath, '--input-type=module', '-e', `await import('${specifier}')`);
    });
    check(`the types of '${specifier}'`, () => {
      writeFileSync(
        join(scratch, 'use.ts'),
        `import * as it from '${specifier}';\nexport const used: object = it;\n`,
      );
      const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types')];
      const options = [
        '--noEmit',
        '--strict',
        '--module',
        'nodenext',
        '--target',
        'esnext',
        '--lib',
        'esnext,dom',
      ];
      run(scratch, join(ROOT, 'node_modules/.bin/tsc'), ...options, ...types, 'use.ts');
    });
  }
  for (const command of Object.keys(manifest.bin)) {
    check(`${command} --help`, () => {
      run(scratch, join(scratch, 'node_modules/.bin', command), '--help');
    });
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

if (problems.length > 0) {
  process.stderr.write(`check:package: ${problems.length} of the package's promises don't hold\n`);
  process.exitCode = 1;
}
