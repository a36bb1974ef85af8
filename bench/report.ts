/** From results to rows, and from rows to the text that a person reads. */
import { cpus, release } from 'node:os';
import type { JobResult } from './jobs/job.ts';
import { type Spread, spread } from './statistics.ts';
import type { Contender, Metric, Workload } from './workloads.ts';

/** All runs of one contender at one workload. */
export interface Outcome {
  readonly workload: Workload;
  readonly contender: Contender;
  readonly results: readonly JobResult[];
  /** Set when it wasn't measured. */
  readonly skipped?: string;
}

export interface Row {
  readonly workload: string;
  readonly contender: string;
  readonly metrics: readonly ({ readonly label: string } & Spread)[];
  /** How many times better than the peer by the first metric; undefined for the peer, or without one. */
  readonly ratio?: number;
  readonly skipped?: string;
  readonly notes: readonly string[];
}

/** The machine in one line: figures mean nothing without it. */
export function machineLine(pinnedTo: number | undefined): string {
  const all = cpus();
  const pinning = pinnedTo === undefined ? 'not pinned (no taskset)' : `pinned to CPU ${pinnedTo}`;
  return `${all[0]?.model.trim() ?? 'unknown CPU'}, ${all.length} cores, Linux ${release()}, Node ${process.version}, ${pinning}`;
}

export function rows(outcomes: readonly Outcome[]): Row[] {
  return outcomes.map((outcome) => {
    const { workload, contender, results, skipped } = outcome;
    const notes = [...new Set(results.flatMap((r) => r.note ?? []))];
    const row = { workload: workload.name, contender: contender.name, notes };
    if (skipped !== undefined) return { ...row, metrics: [], skipped };
    const metrics = workload.metrics.flatMap((metric) => {
      const values = valuesOf(metric, results);
      return values.length > 0 ? [{ label: metric.label, ...spread(values) }] : [];
    });
    const ratio = ratioToPeer(outcome, metrics[0].median, outcomes);
    return { ...row, metrics, ...(ratio !== undefined && { ratio }) };
  });
}

function valuesOf(metric: Metric, results: readonly JobResult[]): number[] {
  return results.map((result) => metric.of(result)).filter((value) => value !== undefined);
}

function ratioToPeer(own: Outcome, median: number, outcomes: readonly Outcome[]): number | undefined {
  const peer = outcomes.find((o) => o.workload.name === own.workload.name && o.contender.peer === true);
  if (peer === undefined || peer === own || peer.results.length === 0) return undefined;
  const metric = own.workload.metrics[0];
  const peerMedian = spread(valuesOf(metric, peer.results)).median;
  return metric.better === 'lower' ? peerMedian / median : median / peerMedian;
}

/** A table with one line for each contender at each workload, and the notes under it. */
export function table(list: readonly Row[]): string {
  const columns = Math.max(1, ...list.map((row) => row.metrics.length));
  const lines = [
    ['workload', 'stack', 'median (min..max)', ...Array<string>(columns - 1).fill(''), 'times better'],
  ];
  const notes: string[] = [];
  for (const row of list) {
    const figures = Array.from({ length: columns }, (_, i) => (row.metrics[i] ? figure(row.metrics[i]) : ''));
    lines.push([
      row.workload,
      row.contender,
      ...figures,
      row.ratio === undefined ? '' : `${round(row.ratio)}x`,
    ]);
    for (const note of row.notes) notes.push(`${row.workload}, ${row.contender}: ${note}`);
    if (row.skipped !== undefined)
      notes.push(`${row.workload}, ${row.contender}: not measured: ${row.skipped}`);
  }
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const text = lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
  return [...text, ...(notes.length > 0 ? ['', ...notes] : [])].join('\n');
}

/** A median with its range and unit. */
export function figure({ label, median, min, max, runs }: Row['metrics'][number]): string {
  const range = runs === 1 ? '' : ` (${round(min)}..${round(max)})`;
  return `${round(median)}${range} ${label}`;
}

/** @returns three significant digits: more would promise more than the spread holds. */
export function round(value: number): string {
  if (!Number.isFinite(value)) return '-';
  return Number(value.toPrecision(3)).toLocaleString('en', { maximumSignificantDigits: 3 });
}
