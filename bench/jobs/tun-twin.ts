/** Runs the C twin of tun-packets.ts, compiled for the occasion. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VIRTIO_HEADER_BYTES } from '../../src/device/virtio-header.ts';
import { addAddress, setInterface } from '../../src/os/interface.ts';
import { createTun } from '../../src/os/tuntap.ts';
import { finish, type JobArguments, type JobResult, jobArguments } from './job.ts';
import { enterBenchNetwork } from './tun-packets.ts';

/** @param how Its first argument. */
export function measureTunTwin(how: 'ring' | 'calls'): void {
  const args = jobArguments();
  const name = how === 'ring' ? 'C, io_uring' : 'C, read and write';
  const folder = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  let result: Omit<JobResult, 'name'>;
  try {
    const refused = enterBenchNetwork();
    result = refused === '' ? measure(folder, how, args) : skip(refused);
  } finally {
    rmSync(folder, { recursive: true });
  }
  finish({ name, ...result });
}

function skip(skipped: string): Omit<JobResult, 'name'> {
  return { requests: 0, wallNs: 0, cpuNs: 0, skipped };
}

function measure(folder: string, how: string, args: JobArguments): Omit<JobResult, 'name'> {
  const program = join(folder, 'tun-twin');
  const source = fileURLToPath(new URL('tun-twin.c', import.meta.url));
  const compiled = spawnSync('gcc', ['-O2', '-o', program, source], { encoding: 'utf8' });
  if (compiled.error) return skip('no gcc: scripts/setup-bench.sh');
  if (compiled.status !== 0) throw new Error(compiled.stderr);
  const numbers = [args.batch, args.bytes, args.warmup, args.seconds].map(String);
  const run = spawnSync(program, [how, ...numbers], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe', openDevice('in0', '10.1.0.1/24'), openDevice('out0', '10.2.0.1/24')],
    timeout: (args.warmup + args.seconds + 30) * 1000,
  });
  if (run.status !== 0) throw new Error(`tun-twin ended with ${run.signal ?? run.status}: ${run.stderr}`);
  return JSON.parse(run.stdout) as Omit<JobResult, 'name'>;
}

function openDevice(tun: string, address: string): number {
  const device = createTun(tun, 'tun', { vnetBytes: VIRTIO_HEADER_BYTES, offload: true, queues: 1 });
  setInterface(tun, { up: true });
  addAddress(tun, address);
  return device.fds[0];
}
