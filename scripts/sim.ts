/** Simulates networks from seeds, on all cores, and replays single ones: `npm run sim`. See docs/simulator.md. */
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { Command, InvalidArgumentError, Option } from 'commander';
import { Arena } from '../src/memory/arena.ts';
import type { Link } from '../src/sim/link.ts';
import { Chart, type PacketSink, pcapngSink, textSink, watchPackets } from '../src/sim/recorder.ts';
import { drawScenario, SCENARIOS } from '../src/sim/scenario.ts';
import { SIM_ARENA_BYTES, type SimResult, type Simulation, simulate } from '../src/sim/simulate.ts';
import { writeThroughput } from './sim-table.ts';
import type { SeedRange } from './sim-worker.ts';

interface Options {
  readonly seeds: number;
  readonly from: number;
  readonly filter?: string;
  readonly jobs: number;
  readonly replay?: number;
  readonly pcap?: string;
  readonly plot?: string;
  readonly trace?: true;
  readonly table?: true;
}

/** Seeds that a worker is given at once. */
const RANGE = 8;
const PROGRESS_MS = 1000;
/** Violations that are told one by one. */
const TOLD_MAX = 200;

const say = (text: string): void => void process.stderr.write(`${text}\n`);

const whole = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('It takes a whole number.');
  return value;
};

function violationLine({ seed, name, violation }: SimResult): string {
  if (violation === null) return `seed ${seed} (${name}): all rules held`;
  const { rule, connection, message, at_ms } = violation;
  return `seed ${seed} (${name}): ${rule} at ${at_ms.toFixed(3)} ms${connection && `, ${connection}`}: ${message}`;
}

/** What was done so far. */
class Summary {
  readonly #results: SimResult[] = [];
  readonly #began = performance.now();
  /** Seeds looked at, those that a filter left out too. */
  seeds = 0;

  add(results: readonly SimResult[], seeds: number): void {
    this.#results.push(...results);
    this.seeds += seeds;
    for (const result of results) {
      if (result.violation === null) continue;
      const told = this.violations;
      if (told <= TOLD_MAX) say(violationLine(result));
      if (told === TOLD_MAX) say('further ones are only counted');
    }
  }

  get violations(): number {
    return this.#results.reduce((sum, { violation }) => sum + (violation === null ? 0 : 1), 0);
  }

  progress(total: number): string {
    const seconds = (performance.now() - this.#began) / 1000;
    const rate = this.seeds / seconds;
    const left = rate > 0 ? Math.ceil((total - this.seeds) / rate) : 0;
    return `${this.seeds} of ${total} seeds, ${rate.toFixed(0)}/s, ${this.violations} violations, ${left} s left`;
  }

  toString(): string {
    const seconds = (performance.now() - this.#began) / 1000;
    const lines = ['scenario      seeds  connections    packets  virtual h  violations'];
    for (const name of SCENARIOS) {
      const of = this.#results.filter((result) => result.name === name);
      if (of.length === 0) continue;
      const sum = (what: (result: SimResult) => number) => of.reduce((n, result) => n + what(result), 0);
      const rules = new Map<string, number>();
      for (const { violation } of of)
        if (violation !== null) rules.set(violation.rule, (rules.get(violation.rule) ?? 0) + 1);
      const broken = [...rules].map(([rule, n]) => `${n} ${rule}`).join(', ');
      lines.push(
        name.padEnd(12) +
          `${of.length}`.padStart(7) +
          `${sum((r) => r.connections)}`.padStart(13) +
          `${sum((r) => r.frames)}`.padStart(11) +
          (sum((r) => r.virtual_ms) / 3.6e6).toFixed(1).padStart(11) +
          `  ${broken || '-'}`,
      );
    }
    const n = this.#results.length;
    lines.push(
      `${n} seeds in ${seconds.toFixed(1)} s: ${(n / seconds).toFixed(0)}/s, ${this.violations} violations`,
    );
    return lines.join('\n');
  }
}

function runAll(options: Options): void {
  const { seeds, from, filter = null, jobs } = options;
  const summary = new Summary();
  const end = from + seeds;
  let next = from;
  const workers: Worker[] = [];
  const finish = (code: number): void => {
    clearInterval(ticking);
    process.stdout.write(`${summary}\n`);
    process.exit(code);
  };
  const ticking = setInterval(() => say(summary.progress(seeds)), PROGRESS_MS);
  process.on('SIGINT', () => finish(130));
  let idle = 0;
  for (let i = 0; i < jobs; i++) {
    const worker = new Worker(new URL('./sim-worker.ts', import.meta.url), { workerData: { filter } });
    workers.push(worker);
    let range: SeedRange = { from: 0, count: 0 };
    const feed = (): void => {
      if (next >= end) {
        if (++idle === jobs) finish(summary.violations > 0 ? 1 : 0);
        return;
      }
      range = { from: next, count: Math.min(RANGE, end - next) };
      next += range.count;
      worker.postMessage(range);
    };
    worker.on('message', (results: SimResult[]) => {
      summary.add(results, range.count);
      feed();
    });
    worker.on('error', (error: Error) => {
      say(`a worker failed within seeds ${range.from} to ${range.from + range.count - 1}: ${error.stack}`);
      finish(1);
    });
    feed();
  }
}

/** Bits a second. */
function rateOf({ options: { rate_bps, trace } }: Link): number {
  return trace?.rate_bps ?? rate_bps ?? Infinity;
}

function replay(seed: number, options: Options): void {
  const arena = new Arena(SIM_ARENA_BYTES);
  const pcap: Uint8Array[] = [];
  const first = simulate(arena, seed);
  // The connection that sent most is the one to plot; which it is, the first run tells.
  let busiest = { client: true, id: -1, sent: -1 };
  let chart: Chart | null = null;
  const look = (simulation: Simulation): void => {
    const sinks: PacketSink[] = [];
    if (options.pcap !== undefined) sinks.push(pcapngSink(simulation.world, (bytes) => pcap.push(bytes)));
    if (options.trace) sinks.push(textSink(simulation.world, (line) => process.stdout.write(`${line}\n`)));
    for (const sink of sinks) watchPackets(simulation.network.hosts, sink);
    if (options.plot === undefined) return;
    const slowest = [...simulation.network.middle]
      .flatMap(({ forth, back }) => (busiest.client ? forth : back))
      .toSorted((a, b) => rateOf(a) - rateOf(b))[0];
    simulation.onBreath = () => {
      const pair = simulation.pairs[busiest.id];
      const program = busiest.client ? pair.client : pair.server;
      if (program === null) return;
      chart ??= new Chart(simulation.world, program, slowest);
      chart.sample();
    };
  };
  simulate(arena, seed, (simulation) => {
    simulation.onBreath = () => {
      for (const { pair, sent } of simulation.programs) {
        if (sent <= busiest.sent) continue;
        const client = pair.client?.sent === sent;
        busiest = { client, id: pair.plan.id, sent };
      }
    };
  });
  const result = simulate(arena, seed, look);
  say(JSON.stringify(drawScenario(seed), (key, value) => (key === 'trace' ? 'a trace' : value), 1));
  if (options.pcap !== undefined) writeFileSync(options.pcap, Buffer.concat(pcap));
  const drawn = chart as Chart | null;
  if (options.plot !== undefined && drawn !== null) {
    const who = `connection ${busiest.id} from its ${busiest.client ? 'client' : 'server'}`;
    writeFileSync(options.plot, drawn.svg(`Seed ${seed} (${result.name}): ${who}`));
  }
  process.stdout.write(`${violationLine(result)}\n`);
  if (sameRun(first) !== sameRun(result)) throw new Error('the replay went otherwise: not deterministic');
  process.exitCode = result.violation === null ? 0 : 1;
}

/** What two runs of a seed have in common; an error's stack tells from where it was run, too. */
function sameRun({ violation, ...rest }: SimResult): string {
  const message = violation?.message.split('\n')[0];
  return JSON.stringify({ ...rest, violation: { ...violation, message } });
}

const command = new Command('sim')
  .description('Simulates networks of engines in virtual time, and checks rules at every step.')
  .option('--seeds <n>', 'how many', whole, 1000)
  .option('--from <seed>', 'the first', whole, 1)
  .addOption(new Option('--filter <scenario>', 'this one only').choices(SCENARIOS))
  .option('--jobs <n>', 'threads', whole, availableParallelism())
  .option('--replay <seed>', 'one seed, and what happened', whole)
  .option('--pcap <file>', 'with --replay: all packets at all hosts, as pcapng')
  .option('--plot <file>', 'with --replay: window, RTT and queue of the busiest connection, as SVG')
  .option('--trace', 'with --replay: a line for each packet')
  .option('--table', 'measures docs/throughput.md anew')
  .showHelpAfterError();
command.parse();
const options = command.opts<Options>();
if (options.table) writeThroughput();
else if (options.replay !== undefined) replay(options.replay, options);
else runAll(options);
