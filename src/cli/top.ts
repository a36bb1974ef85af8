/** `millrace top`: live counters of running stacks and tools, as snabb top. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { type LiveProcess, type LiveValue, LiveView } from '../control/live-view.ts';
import { readPublications } from '../control/publications.ts';
import { publicationFolder } from '../control/publish.ts';
import { integer } from './arguments.ts';
import { formatPacketRate } from './drive.ts';
import { say } from './output.ts';
import { interrupted } from './signals.ts';

const INTERVAL_MS = 1000;

interface TopOptions {
  readonly once?: true;
  readonly json?: true;
}

export const topCommand = new Command('top')
  .description('show live counters of running stacks and tools')
  .argument('[pid]', 'all counters of this process; without it a line for each process', integer(1, 2 ** 31))
  .option('--once', 'show them once, with rates over one second, and end')
  .option('--json', 'a line of JSON for each look')
  .addHelpText(
    'after',
    `
Commands publish their counters by themselves, programs by publishCounters(stack). They are files in
${publicationFolder()}, for their user only, and removed here when their process has ended without doing it.`,
  )
  .action(top);

async function top(pid: number | undefined, options: TopOptions): Promise<void> {
  const stop = new AbortController();
  void interrupted().then(() => stop.abort());
  const view = new LiveView();
  look(view, pid);
  for (;;) {
    await sleep(INTERVAL_MS, undefined, { signal: stop.signal }).catch(() => {});
    if (stop.signal.aborted) return;
    const processes = look(view, pid);
    if (options.json) console.log(JSON.stringify(toJson(processes)));
    else
      show(
        pid === undefined ? overview(processes) : processes.map(details).join('\n'),
        options.once === true,
      );
    if (options.once) return;
  }
}

/** @throws Error when `pid` publishes nothing */
function look(view: LiveView, pid: number | undefined): LiveProcess[] {
  const { published, unreadable } = readPublications(Date.now());
  for (const { path, error } of unreadable)
    say(`millrace: ${path} has no counters: ${error.message}; remove it`);
  const processes = view.look(published).filter((one) => pid === undefined || one.pid === pid);
  if (pid !== undefined && processes.length === 0) {
    throw new Error(
      `process ${pid} publishes no counters, or has ended; \`millrace top\` lists those that do`,
    );
  }
  return processes;
}

function show(text: string, once: boolean): void {
  const clear = process.stdout.isTTY === true && !once ? '\x1b[H\x1b[2J' : '';
  process.stdout.write(`${clear}${text}\n`);
}

function overview(processes: readonly LiveProcess[]): string {
  if (processes.length === 0) return 'No process publishes counters.';
  const rate = (one: LiveProcess, name: string): number => one.values.get(name)?.rate ?? 0;
  const packets = (one: LiveProcess): number => rate(one, 'port.rxFrames') + rate(one, 'port.txFrames');
  const rows = processes
    .toSorted((a, b) => packets(b) - packets(a) || a.pid - b.pid)
    .map((one) => {
      const gbit = (name: string): string => ((rate(one, name) * 8) / 1e9).toFixed(3);
      const dropped = rate(one, 'port.rxDropped') + rate(one, 'port.txDropped');
      return [
        String(one.pid),
        formatPacketRate(rate(one, 'port.rxFrames')),
        gbit('port.rxBytes'),
        formatPacketRate(rate(one, 'port.txFrames')),
        gbit('port.txBytes'),
        formatPacketRate(dropped),
        String(one.values.get('connections')?.value ?? '-'),
        formatAge(one.updated - one.opened),
        `${one.label}${stateOf(one)}`,
      ];
    });
  return table(['PID', 'RX', 'Gbit/s', 'TX', 'Gbit/s', 'DROPPED', 'CONNS', 'UP', 'WHAT'], rows);
}

/** All that isn't zero, what moves most first. */
function details(one: LiveProcess): string {
  const rows = [...one.values]
    .filter(([, { value }]) => value !== 0)
    .toSorted(([a, x], [b, y]) => (y.rate ?? 0) - (x.rate ?? 0) || (a < b ? -1 : 1))
    .map(([name, value]) => [formatRate(value), String(value.value), name]);
  const head = `${one.pid} ${one.label}, up ${formatAge(one.updated - one.opened)}${stateOf(one)}`;
  return `${head}\n${table(['RATE/s', 'VALUE', 'NAME'], rows)}`;
}

function stateOf({ hung, updated }: LiveProcess): string {
  return hung ? ` (not updated for ${formatAge(Date.now() - updated)}: busy, stopped or hanging)` : '';
}

function formatRate({ rate }: LiveValue): string {
  if (rate === null) return '';
  return rate < 100 ? rate.toFixed(1) : String(Math.round(rate));
}

function formatAge(time_ms: number): string {
  const time_s = Math.max(0, Math.floor(time_ms / 1000));
  if (time_s < 60) return `${time_s} s`;
  return time_s < 3600 ? `${Math.floor(time_s / 60)} min` : `${Math.floor(time_s / 3600)} h`;
}

/** Numbers to the right, the last column to the left. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i].length)));
  return all
    .map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padStart(widths[i]))).join('  '))
    .join('\n');
}

function toJson(processes: readonly LiveProcess[]): unknown {
  return {
    time: Date.now(),
    processes: processes.map(({ values, ...one }) => ({ ...one, values: Object.fromEntries(values) })),
  };
}
