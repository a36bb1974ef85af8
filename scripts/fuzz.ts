/**
 * Fuzzing: `npm run fuzz -- --help`. Attacks on two engines (src/engine/attack.testing.ts) are written as tapes, and
 * tapes are bred from those of the corpus. Each worker first looks for tapes that reach code which none before has
 * (V8's block coverage), then runs mutants of what it has as fast as it can.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { readTape, runTape, writeTape } from '../src/engine/tape.testing.ts';
import { Prng } from '../src/memory/prng.ts';
import { breed, chain, shorten, type Tape } from './breed.ts';
import { Coverage } from './coverage.ts';

const CORPUS = fileURLToPath(new URL('../src/engine/corpus/', import.meta.url));
/** Tapes between two looks at the coverage, which takes some milliseconds. */
const BATCH = 24;

const REPORT_MS = 1000;

interface Options {
  frames: number;
  explore: number;
  seed: number;
  workers: number;
  replay?: string;
  minimize?: boolean;
}

interface Report {
  kind: 'report' | 'done' | 'failed';
  frames: number;
  tapes: number;
  blocks: number;
  kept: number;
  phase: 'exploring' | 'running';
  failure?: string;
}

function atLeast(least: number): (text: string) => number {
  return (text) => {
    const n = Number(text.replaceAll('_', ''));
    if (!Number.isSafeInteger(n) || n < least) throw new InvalidArgumentError(`a whole number from ${least}`);
    return n;
  };
}

const program = new Command('npm run fuzz --')
  .description('Attacks two engines with frames bred from a corpus, guided by coverage.')
  .option('--frames <n>', 'frames to give to the engines, over all workers', atLeast(1), 10_000_000)
  .option('--explore <s>', 'seconds to look for new coverage first; finds go to the corpus', atLeast(0), 0)
  .option('--seed <n>', 'of the mutations', atLeast(0), Math.floor(Math.random() * 2 ** 31))
  .option('--workers <n>', 'processes', atLeast(1), availableParallelism())
  .option('--minimize', 'drop tapes of the corpus that add no coverage, and actions that they can do without')
  .option('--replay <file>', 'run one tape');

const options = program.parse().opts<Options>();
if (process.send !== undefined && process.env.MILLRACE_FUZZ_WORKER !== undefined) {
  work(options, Number(process.env.MILLRACE_FUZZ_WORKER));
} else if (options.replay !== undefined) {
  process.stdout.write(`${runTape(readTape(readFileSync(options.replay)))} frames, nothing broke\n`);
} else if (options.minimize) {
  minimizeCorpus();
} else {
  lead(options);
}

function loadCorpus(): Tape[] {
  mkdirSync(CORPUS, { recursive: true });
  return readdirSync(CORPUS)
    .sort()
    .map((name) => readTape(readFileSync(join(CORPUS, name))));
}

function save(tape: Tape): string {
  const bytes = writeTape(tape);
  const name = join(CORPUS, `${createHash('sha256').update(bytes).digest('hex').slice(0, 12)}.tape`);
  writeFileSync(name, bytes);
  return name;
}

/** Starts the workers and tells how they get on. */
function lead({ frames, explore, seed, workers }: Options): void {
  const latest = new Map<number, Report>();
  const children: ChildProcess[] = [];
  const began = performance.now();
  let failed = false;
  process.stdout.write(`seed ${seed}, ${workers} workers, ${frames.toLocaleString('en')} frames\n`);
  const sum = (key: 'frames' | 'tapes') => [...latest.values()].reduce((n, r) => n + r[key], 0);
  const say = () => {
    const seconds = (performance.now() - began) / 1000;
    const blocks = Math.max(0, ...[...latest.values()].map((r) => r.blocks));
    const kept = [...latest.values()].reduce((n, r) => n + r.kept, 0);
    const phase = [...latest.values()].some((r) => r.phase === 'exploring') ? 'exploring' : 'running';
    const [f, t] = [sum('frames').toLocaleString('en'), sum('tapes').toLocaleString('en')];
    const rate = Math.round(sum('frames') / seconds).toLocaleString('en');
    const found = explore > 0 ? `, ${blocks} blocks covered, ${kept} tapes kept` : '';
    return `${phase}: ${f} frames in ${t} tapes, ${rate} frames/s${found}`;
  };
  const timer = setInterval(
    () => {
      process.stdout.write(process.stdout.isTTY ? `\r\x1b[K${say()}` : `${say()}\n`);
    },
    process.stdout.isTTY ? 500 : 10_000,
  );
  const stop = () => {
    for (const child of children) child.kill('SIGTERM');
  };
  process.on('SIGINT', stop);
  let running = workers;
  for (let i = 0; i < workers; i++) {
    const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2).concat('--seed', String(seed)), {
      env: { ...process.env, MILLRACE_FUZZ_WORKER: String(i) },
    });
    children.push(child);
    child.on('message', (report: Report) => {
      latest.set(i, report);
      if (report.kind !== 'failed') return;
      failed = true;
      process.stderr.write(`\n${report.failure}\n`);
      stop();
    });
    child.on('exit', (code, signal) => {
      if (code !== 0 && signal !== 'SIGTERM') failed = true;
      if (--running > 0) return;
      clearInterval(timer);
      process.stdout.write(`${process.stdout.isTTY ? '\r\x1b[K' : ''}${say()}\n`);
      process.exitCode = failed ? 1 : 0;
    });
  }
}

function work({ frames, explore, seed, workers }: Options, index: number): void {
  const prng = new Prng(seed + index);
  const corpus = loadCorpus();
  const share = Math.ceil(frames / workers);
  const state: Report = { kind: 'report', frames: 0, tapes: 0, blocks: 0, kept: 0, phase: 'exploring' };
  let reported = performance.now();
  const run = (tape: Tape) => {
    try {
      state.frames += runTape(tape);
    } catch (error) {
      const shortest = shorten(tape, fails);
      const file = `fuzz-failure-${seed + index}.tape`;
      writeFileSync(file, writeTape(shortest));
      const what = error instanceof Error ? error.stack : String(error);
      const again = `npm run fuzz -- --replay ${file}`;
      send({ ...state, kind: 'failed', failure: `${what}\nreplay: ${again}` });
      process.exit(1);
    }
    state.tapes++;
    if (performance.now() - reported < REPORT_MS) return;
    reported = performance.now();
    send(state);
  };

  if (explore > 0) {
    const coverage = new Coverage(true);
    for (const tape of corpus) run(tape);
    coverage.add(coverage.news());
    const end = performance.now() + explore * 1000;
    while (performance.now() < end) {
      const batch = Array.from({ length: BATCH }, () => breed(prng, corpus));
      for (const tape of batch) run(tape);
      if (coverage.news().length === 0) continue;
      for (const tape of batch) {
        run(tape);
        const fresh = coverage.news();
        if (fresh.length === 0) continue;
        coverage.add(fresh);
        corpus.push(tape);
        save(tape);
        state.kept++;
      }
      state.blocks = coverage.size;
    }
    coverage.stop();
  }
  state.phase = 'running';
  while (state.frames < share) run(chain(prng, corpus));
  send({ ...state, kind: 'done' });
  process.disconnect?.();
}

function send(report: Report): void {
  process.send?.(report);
}

function fails(tape: Tape): boolean {
  try {
    runTape(tape);
    return false;
  } catch {
    return true;
  }
}

/** Keeps tapes that together cover what all do, the short ones first, and of each what it takes to cover its share. */
function minimizeCorpus(): void {
  const before = loadCorpus().sort((a, b) => a.length - b.length);
  const coverage = new Coverage(false);
  const kept: Tape[] = [];
  for (const [i, tape] of before.entries()) {
    coverage.news();
    runTape(tape);
    const fresh = coverage.news();
    if (fresh.length === 0) continue;
    const shortest = shorten(tape, (shorter) => {
      runTape(shorter);
      const still = new Set(coverage.news());
      return fresh.every((block) => still.has(block));
    });
    coverage.add(fresh);
    kept.push(shortest);
    if (process.stdout.isTTY)
      process.stdout.write(`\r\x1b[K${i + 1} of ${before.length}, ${kept.length} kept`);
  }
  for (const name of readdirSync(CORPUS)) rmSync(join(CORPUS, name));
  for (const tape of kept) save(tape);
  process.stdout.write(`${kept.length} of ${before.length} tapes kept, ${coverage.size} blocks covered\n`);
  coverage.stop();
}
