/** Packet I/O: frames in memory: cable and switch. */
import type { Workload } from './workloads.ts';

const FRAME_RATE = {
  label: 'Mpps',
  better: 'higher',
  of: (r: { requests: number; wallNs: number }) => (r.requests * 1000) / r.wallNs,
} as const;
const CPU_PER_FRAME = {
  label: 'CPU ns/frame',
  better: 'lower',
  of: (r: { requests: number; cpuNs: number }) => r.cpuNs / r.requests,
} as const;
const FRAMES = [FRAME_RATE, CPU_PER_FRAME];

/** DPDK's testpmd forwards between two devices that make frames up and throw them away, in batches of as many. */
function forward(batch: number): Workload {
  return {
    name: `forward in memory, batch ${batch}`,
    contenders: [
      { name: 'millrace', job: 'forward-frames.ts' },
      { name: 'testpmd net_null', job: 'testpmd-null.ts', peer: true },
    ],
    numbers: { outstanding: batch, bytes: 64 },
    metrics: FRAMES,
  };
}

function lan(ports: number, batch: number): Workload {
  return {
    name: `switch, ${ports} ports, batch ${batch}`,
    contenders: [{ name: 'millrace', job: 'switch-frames.ts' }],
    numbers: { connections: ports, outstanding: batch, bytes: 64 },
    metrics: FRAMES,
  };
}

const BATCHES = [1, 4, 16, 64, 256];

export const MEMORY: readonly Workload[] = [
  ...BATCHES.map(forward),
  ...BATCHES.map((batch) => lan(4, batch)),
  ...[2, 8, 16, 32].map((ports) => lan(ports, 64)),
];
