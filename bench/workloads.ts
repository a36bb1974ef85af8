/**
 * What is measured, and beside whom. The definitions are those of the table of other stacks in memory, so
 * that figures may be set beside theirs:
 * - RR C/I/S: C connections, I requests of S bytes always outstanding in total, the server echoes them; if
 *   C > I the next request goes to the next connection.
 * - CRR: I in flight; connect, S bytes there and S back, the server closes; counted when the client has seen
 *   the close.
 * - BULK: one connection, one direction, the receiver discards.
 * - idle: connections open and silent; what one end of each costs in memory.
 * Client and server share one process on one core, and their CPU time is counted together.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MEMIF } from './io-memif.ts';
import { MEMORY } from './io-memory.ts';
import { TUN } from './io-tun.ts';
import { XDP } from './io-xdp.ts';
import type { JobResult } from './jobs/job.ts';

/** What a result is boiled down to. */
export interface Metric {
  readonly label: string;
  readonly better: 'lower' | 'higher';
  /** Undefined where the stack can't tell; the first metric of a workload always can. */
  of(result: JobResult): number | undefined;
}

/** One stack's program for a workload. */
export interface Contender {
  readonly name: string;
  /** File in jobs/. */
  readonly job: string;
  /** The one that the others' ratios refer to. */
  readonly peer?: boolean;
}

export interface Workload {
  readonly name: string;
  readonly contenders: readonly Contender[];
  readonly numbers: Readonly<Record<string, number>>;
  /** The first decides the ratio to the peer. */
  readonly metrics: readonly Metric[];
}

const CPU_PER_REQUEST: Metric = {
  label: 'CPU ns/request',
  better: 'lower',
  of: (r) => r.cpuNs / r.requests,
};
const REQUEST_RATE: Metric = {
  label: 'requests/s',
  better: 'higher',
  of: (r) => r.requests / (r.wallNs / 1e9),
};
const BIT_RATE: Metric = {
  label: 'Gbit/s',
  better: 'higher',
  of: (r) => ((r.bytes ?? 0) * 8) / r.wallNs,
};
const CPU_PER_KIB: Metric = {
  label: 'CPU ns/KiB',
  better: 'lower',
  of: (r) => r.cpuNs / ((r.bytes ?? 0) / 1024),
};
const MEMORY_PER_CONNECTION: Metric = {
  label: 'B/connection',
  better: 'lower',
  of: (r) => ((r.rssBytes ?? 0) + (r.kernelBytes ?? 0)) / (r.connections ?? 0),
};
const PROCESS_MEMORY_PER_CONNECTION: Metric = {
  label: 'of them in the process',
  better: 'lower',
  of: (r) => (r.rssBytes ?? 0) / (r.connections ?? 0),
};

const CPU_PER_SEGMENT: Metric = {
  label: 'CPU ns/segment',
  better: 'lower',
  of: (r) => (r.segments === undefined ? undefined : r.cpuNs / r.segments),
};

const REQUESTS = [CPU_PER_REQUEST, REQUEST_RATE, CPU_PER_SEGMENT];

export function jobPath(job: string): string {
  return fileURLToPath(new URL(`jobs/${job}`, import.meta.url));
}

/** The groups one can ask for. A peer belongs to each group that it is measured beside, and to its own. */
export const GROUPS = ['cable', 'net', 'idle', 'io'] as const;
export type Group = (typeof GROUPS)[number];

function rr(connections: number, outstanding: number, bytes: number): Workload {
  return {
    name: `RR ${connections.toLocaleString('en')}/${outstanding}/${bytes}`,
    contenders: besideNet('rr'),
    numbers: { connections, outstanding, bytes },
    metrics: REQUESTS,
  };
}

/** Two engines on a cable in memory, beside node:net over loopback. */
function besideNet(kind: string): readonly Contender[] {
  return [
    { name: 'millrace', job: `cable-${kind}.ts` },
    { name: 'node:net', job: `net-${kind}.ts`, peer: true },
  ];
}

const MESSAGES: readonly Workload[] = [
  rr(64, 64, 1),
  rr(64, 64, 64),
  { name: 'CRR', contenders: besideNet('crr'), numbers: { outstanding: 64, bytes: 64 }, metrics: REQUESTS },
  {
    name: 'BULK',
    contenders: besideNet('bulk'),
    numbers: {},
    metrics: [BIT_RATE, CPU_PER_KIB, CPU_PER_SEGMENT],
  },
  rr(10_000, 64, 1),
  rr(100_000, 64, 1),
];

/** node:net holds as many as file descriptors and the kernel's memory let it; a million of ours take one process. */
function idle(connections: number, peer: boolean): Workload {
  return {
    name: `idle ${connections.toLocaleString('en')}`,
    contenders: [
      { name: 'millrace', job: 'idle.ts' },
      ...(peer ? [{ name: 'node:net', job: 'net-idle.ts', peer: true }] : []),
    ],
    numbers: { connections },
    metrics: [MEMORY_PER_CONNECTION, PROCESS_MEMORY_PER_CONNECTION],
  };
}

const IDLE: readonly Workload[] = [idle(20_000, true), idle(100_000, false), idle(1_000_000, false)];

/** The workloads of the groups asked for, all without any. Contenders whose job isn't written are left out. */
export function select(groups: readonly Group[]): readonly Workload[] {
  const wanted = new Set<Group>(groups.length === 0 ? GROUPS : groups);
  const workloads: Workload[] = [];
  if (wanted.has('cable')) workloads.push(...MESSAGES);
  else if (wanted.has('net')) {
    workloads.push(...MESSAGES.map((w) => ({ ...w, contenders: w.contenders.filter((c) => c.peer) })));
  }
  if (wanted.has('idle')) workloads.push(...IDLE);
  if (wanted.has('io')) workloads.push(...MEMORY, ...MEMIF, ...TUN, ...XDP);
  return workloads.map((w) => ({ ...w, contenders: w.contenders.filter((c) => existsSync(jobPath(c.job))) }));
}
