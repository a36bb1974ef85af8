/** Packet I/O: TUN and TAP. */
import type { Metric, Workload } from './workloads.ts';

const PACKET_RATE: Metric = {
  label: 'Mpps',
  better: 'higher',
  of: (r) => r.requests / (r.wallNs / 1e3),
};
/** Of whoever else uses the machine, this says less than the rate does. */
const CPU: Metric = { label: 'CPU ns/packet', better: 'lower', of: (r) => r.cpuNs / r.requests };
const TX: Metric = {
  label: 'ns to send',
  better: 'lower',
  of: (r) => (r.txNs === undefined ? undefined : r.txNs / r.requests),
};
const RX: Metric = {
  label: 'ns to receive',
  better: 'lower',
  of: (r) => (r.rxNs === undefined ? undefined : r.rxNs / r.requests),
};
const SYSCALLS: Metric = {
  label: 'system calls/packet',
  better: 'lower',
  of: (r) => (r.syscalls === undefined ? undefined : r.syscalls / r.requests),
};
const BIT_RATE: Metric = {
  label: 'Gbit/s',
  better: 'higher',
  of: (r) => ((r.bytes ?? 0) * 8) / r.wallNs,
};

/** Packets written to one TUN, routed by the kernel, and read from another. */
function packets(batch: number): Workload {
  return {
    name: `TUN 64 B, batches of ${batch}`,
    contenders: [
      { name: 'millrace', job: 'tun-packets-ring.ts' },
      { name: 'millrace, no io_uring', job: 'tun-packets-calls.ts' },
      { name: 'C', job: 'tun-twin-ring.ts', peer: true },
      { name: 'C, no io_uring', job: 'tun-twin-calls.ts' },
    ],
    numbers: { batch, bytes: 64 },
    metrics: [PACKET_RATE, CPU, TX, RX, SYSCALLS],
  };
}

export const TUN: readonly Workload[] = [
  packets(64),
  packets(1),
  {
    name: 'TUN bridge, iperf3',
    contenders: [
      { name: 'millrace', job: 'tun-bridge-ring.ts' },
      { name: 'millrace, no io_uring', job: 'tun-bridge-calls.ts' },
    ],
    numbers: {},
    metrics: [BIT_RATE, SYSCALLS],
  },
];
