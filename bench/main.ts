/**
 * Measures Millrace beside its peers on this machine.
 *
 * Every run is a process of its own, pinned to one core, and the runs of the contenders alternate (A B A B),
 * so that whatever drifts on the machine drifts for all of them. Absolute figures don't carry over to another
 * machine; the ratios in one table roughly do.
 */
import { Argument, Command, InvalidArgumentError } from 'commander';
import type { JobResult } from './jobs/job.ts';
import { machineLine, type Outcome, rows, table } from './report.ts';
import { pinnableCpu, runJob } from './run-job.ts';
import { GROUPS, type Group, select, type Workload } from './workloads.ts';

interface Options {
  readonly runs: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly only?: string;
  readonly json?: true;
  readonly quick?: true;
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('It takes a positive number.');
  return value;
};

const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** All rounds of one workload. Returns an outcome for each contender, in their order. */
async function measure(
  workload: Workload,
  options: Options,
  cpu: number | undefined,
  signal: AbortSignal,
): Promise<{ outcomes: Outcome[]; failures: number }> {
  const numbers = { ...workload.numbers, warmup: options.warmup, seconds: options.seconds };
  const results = workload.contenders.map((): JobResult[] => []);
  const skipped: (string | undefined)[] = workload.contenders.map(() => undefined);
  let failures = 0;
  for (let round = 1; round <= options.runs; round++) {
    for (const [i, contender] of workload.contenders.entries()) {
      if (skipped[i] !== undefined) continue;
      const result = await runJob(contender.job, numbers, cpu, signal);
      if (signal.aborted) process.exit(130);
      const where = `${workload.name}, ${contender.name}, run ${round} of ${options.runs}`;
      if (result instanceof Error) {
        failures++;
        skipped[i] = result.message;
        say(`${where}: FAILED: ${result.message}`);
      } else if (result.skipped !== undefined) {
        skipped[i] = result.skipped;
        say(`${where}: skipped: ${result.skipped}`);
      } else {
        results[i].push(result);
        const metric = workload.metrics[0];
        say(`${where}: ${Number(metric.of(result)?.toPrecision(4))} ${metric.label}`);
      }
    }
  }
  const outcomes = workload.contenders.map((contender, i) => ({
    workload,
    contender,
    results: results[i],
    ...(skipped[i] !== undefined && { skipped: skipped[i] }),
  }));
  return { outcomes, failures };
}

async function main(groups: readonly Group[], given: Options): Promise<void> {
  const options = given.quick ? { ...given, runs: 1, seconds: 0.3, warmup: 0.2 } : given;
  const interrupted = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort());

  const cpu = pinnableCpu();
  const machine = machineLine(cpu);
  say(machine);
  const outcomes: Outcome[] = [];
  let failures = 0;
  for (const workload of select(groups)) {
    if (options.only !== undefined && !workload.name.includes(options.only)) continue;
    const measured = await measure(workload, options, cpu, interrupted.signal);
    outcomes.push(...measured.outcomes);
    failures += measured.failures;
  }

  const { runs, warmup, seconds } = options;
  const list = rows(outcomes);
  if (options.json) {
    console.log(JSON.stringify({ machine, runs, warmup, seconds, rows: list }, null, 2));
  } else {
    console.log(`\n${machine}\n${runs} runs, interleaved, ${seconds} s each after ${warmup} s of warm-up`);
    if (options.quick) console.log('quick: shows that it works; too short to compare');
    console.log(`\n${table(list)}`);
  }
  if (failures > 0) process.exitCode = 1;
}

await new Command('bench')
  .description('Measure Millrace beside its peers on this machine')
  .addArgument(new Argument('[groups...]', 'which groups to run (default: all)').choices(GROUPS))
  .option('--runs <n>', 'runs of each measurement', positive, 5)
  .option('--seconds <s>', 'measured time of a run', positive, 2)
  .option('--warmup <s>', 'unmeasured time before it, in which V8 compiles', positive, 2)
  .option('--only <text>', 'only workloads whose name contains this')
  .option('--json', 'print JSON instead of a table')
  .option('--quick', 'one very short run of each, to see that everything works')
  .action(main)
  .parseAsync();
