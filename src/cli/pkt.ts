/** `millrace pkt`: runs packetdrill scripts against our stack in virtual time. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { Arena } from '../memory/arena.ts';
import { ARENA_BYTES } from '../pkt/host.ts';
import { type Result, runScript } from '../pkt/runner.ts';
import type { Dialect } from '../pkt/symbols.ts';
import { say } from './output.ts';

interface PktOptions {
  readonly json?: true;
  readonly verbose?: true;
  readonly dialect?: Dialect;
  readonly ipVersion?: '4' | '6';
  readonly define?: readonly string[];
}

const collect = (value: string, all: readonly string[] = []): string[] => [...all, value];

export const pktCommand = new Command('pkt')
  .description('run packetdrill scripts against our stack in virtual time')
  .argument('<path...>', 'scripts (.pkt), or folders of them')
  .option('--json', 'one JSON object a script, and the summary as the last')
  .option('-v, --verbose', 'what happened in each script')
  .addOption(
    new Option(
      '--dialect <system>',
      'whose defaults and constants; found out from each script unless told',
    ).choices(['freebsd', 'linux']),
  )
  .addOption(new Option('--ip-version <version>', 'of scripts that leave it open').choices(['4', '6']))
  .option('-D, --define <symbol=value>', 'what a word in the scripts stands for', collect)
  .action(run);

function run(paths: string[], options: PktOptions): void {
  const files = paths.flatMap(scriptsIn);
  if (files.length === 0) throw new Error(`no scripts (*.pkt) in ${paths.join(', ')}`);
  const defines = new Map(
    (options.define ?? []).map((text) => {
      const [symbol, ...value] = text.split('=');
      return [symbol, value.join('=')] as const;
    }),
  );
  const arena = new Arena(ARENA_BYTES);
  const counts = { pass: 0, fail: 0, unsupported: 0 };
  const start = performance.now();
  for (const file of files) {
    const result = runScript(readFileSync(file, 'utf8'), {
      arena,
      defines,
      ...(options.dialect === undefined ? {} : { dialect: options.dialect }),
      ...(options.ipVersion === undefined ? {} : { version: options.ipVersion === '6' ? 6 : 4 }),
    });
    counts[result.verdict]++;
    if (options.json === true) console.log(JSON.stringify({ file, ...result }));
    else print(file, result, options.verbose === true);
  }
  const seconds = (performance.now() - start) / 1000;
  if (options.json === true) console.log(JSON.stringify({ ...counts, seconds }));
  else
    say(
      `${files.length} scripts: ${counts.pass} passed, ${counts.fail} failed, ${counts.unsupported} unsupported; ` +
        `${Math.round(files.length / seconds)} a second`,
    );
  process.exitCode = counts.fail > 0 ? 1 : 0;
}

function print(file: string, result: Result, verbose: boolean): void {
  const { verdict, line, reason, trace, warnings } = result;
  const where = verdict === 'pass' ? file : `${file}:${line}`;
  console.log(`${verdict.padEnd(11)} ${where}${reason === '' ? '' : `: ${reason}`}`);
  for (const warning of warnings) console.log(`  warning: ${file}:${warning}`);
  if (verbose) for (const happened of trace) console.log(`    ${happened}`);
}

/** A file as it is, a folder's scripts in order. */
function scriptsIn(path: string): string[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new Error(`no file or folder ${path}`);
  if (!found.isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.pkt'))
    .sort()
    .map((name) => join(path, name));
}
