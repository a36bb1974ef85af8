/**
 * Packet I/O: frames over memif. Two processes, each on a core of its own, send back what they receive; 512 frames go
 * round for ever, and those that come back to one side are counted.
 */
import type { Workload } from './workloads.ts';

const METRICS: Workload['metrics'] = [
  { label: 'Mpps', better: 'higher', of: (r) => (r.requests * 1000) / r.wallNs },
  { label: 'Gbit/s', better: 'higher', of: (r) => ((r.bytes ?? 0) * 8) / r.wallNs },
];

function frames(bytes: number): Workload {
  return {
    name: `memif, frames of ${bytes} B`,
    contenders: [
      { name: 'millrace - millrace', job: 'memif-millrace.ts' },
      { name: 'millrace - testpmd', job: 'memif-millrace-testpmd.ts' },
      { name: 'testpmd - testpmd', job: 'memif-testpmd.ts', peer: true },
    ],
    numbers: { bytes, outstanding: 512 },
    metrics: METRICS,
  };
}

export const MEMIF: readonly Workload[] = [frames(64), frames(1500)];
