/**
 * Packet I/O: AF_XDP beside a C program with the same system calls. 64 B frames over veth cables, everything on one
 * core: the port, the kernel's part on both sides of the cable, and for rx and forward the port that sends what comes.
 */
import type { JobResult } from './jobs/job.ts';
import type { Contender, Metric, Workload } from './workloads.ts';

/** By CPU time, which is wall time as long as nobody else wants the core. */
const RATE: Metric = { label: 'Mpps', better: 'higher', of: (r) => (r.requests / r.cpuNs) * 1000 };
const COST: Metric = { label: 'ns/packet', better: 'lower', of: (r) => r.cpuNs / r.requests };
const SYSCALLS: Metric = { label: 'syscalls/packet', better: 'lower', of: syscallsPerPacket };
const METRICS = [RATE, COST, SYSCALLS];

const OURS: Contender = { name: 'millrace', job: 'xdp.ts' };
const TWIN: Contender = { name: 'C twin', job: 'xdp-twin.ts', peer: true };

const KINDS = { tx: 0, rx: 1, forward: 2 } as const;
export const BATCHES = [1, 4, 16, 64, 256] as const;
export const GROWTH = [2, 4, 8] as const;

export type XdpKind = keyof typeof KINDS;

export function besideTwin(kind: XdpKind, batch: number): Workload {
  return {
    name: `AF_XDP ${kind}, batch ${batch}`,
    contenders: [OURS, TWIN],
    numbers: { kind: KINDS[kind], batch },
    metrics: METRICS,
  };
}

/** More queues or ports than one, of which one has traffic at a time: what it costs to look at the others. */
export function grown(what: 'queues' | 'ports', count: number): Workload {
  return {
    name: `AF_XDP rx, ${count} ${what}`,
    contenders: [OURS],
    numbers: { kind: KINDS.rx, batch: 64, [what]: count },
    metrics: METRICS,
  };
}

function syscallsPerPacket({ syscalls, requests }: JobResult): number | undefined {
  return syscalls === undefined ? undefined : syscalls / requests;
}

/** `npm run bench -- io --only AF_XDP`; bench/io-page.ts makes docs/packet-io.md of them and the rest. */
export const XDP: readonly Workload[] = [
  ...BATCHES.map((batch) => besideTwin('tx', batch)),
  // The rx ring takes what there is.
  besideTwin('rx', 64),
  ...BATCHES.map((batch) => besideTwin('forward', batch)),
  ...GROWTH.map((count) => grown('queues', count)),
  ...GROWTH.map((count) => grown('ports', count)),
];
