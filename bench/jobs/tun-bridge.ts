/**
 * iperf3 from one network namespace to another, whose TUN devices this process joins by exchanging buffers; with TSO, so
 * that super-segments of 64 KiB cross uncut. iperf3 has all cores, the bridge its own.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { exchangeFrame } from '../../src/device/forward.ts';
import { createFrames, framesArenaBytes, LARGE_ROOM_BYTES } from '../../src/device/frames.ts';
import { openTun, tunArenaBytes } from '../../src/device/tun.ts';
import type { TunPort } from '../../src/device/tun-port.ts';
import { Arena } from '../../src/memory/arena.ts';
import { raiseInliningBudget } from '../../src/os/v8.ts';
import { finish, jobArguments, Stopwatch } from './job.ts';
import { enterBenchNetwork } from './tun-packets.ts';

const SLOTS = 64;
const SERVER = '10.3.0.1';
const CLIENT = '10.3.0.2';
/** Rounds between two turns of the event loop, in which iperf3's end is noticed. */
const ROUNDS = 256;
/** iperf3 takes its time to start, to agree, and to exchange results. s */
const GRACE_S = 15;

interface Report {
  readonly error?: string;
  readonly end: { readonly sum_received: { readonly bytes: number; readonly seconds: number } };
}

export async function measureTunBridge(ioUring: boolean): Promise<void> {
  const args = jobArguments();
  const name = ioUring ? 'io_uring' : 'read and write';
  const skip = (skipped: string) => finish({ name, requests: 0, wallNs: 0, cpuNs: 0, skipped });
  if (spawnSync('iperf3', ['--version']).error) skip('no iperf3: scripts/setup-bench.sh');
  raiseInliningBudget();
  const arena = new Arena(
    2 * tunArenaBytes(true, 1500, SLOTS) + framesArenaBytes(4 * SLOTS, LARGE_ROOM_BYTES) + 65_536,
  );
  const pool = createFrames(arena, 'frames', 4 * SLOTS, LARGE_ROOM_BYTES);
  const open = (tun: string, address: string): TunPort => {
    // Each in a namespace of its own, where this thread is from then on, and what it starts.
    const refused = enterBenchNetwork();
    if (refused !== '') skip(refused);
    const hostAddresses = [`${address}/24`];
    return openTun(arena, { name: tun, kind: 'tun', slots: SLOTS, pool, ioUring, hostAddresses });
  };
  const a = open('a0', SERVER);
  const server = iperf('-s', '-1', '--forceflush');
  await saidSomething(server);
  const b = open('b0', CLIENT);
  const time = ['-t', String(Math.ceil(args.seconds)), '-O', String(Math.ceil(args.warmup))];
  const client = iperf('-c', SERVER, '-J', ...time);
  let output = '';
  client.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  let ended = false;
  client.once('close', () => (ended = true));
  const watch = new Stopwatch();
  const deadline = performance.now() + (args.warmup + args.seconds + GRACE_S) * 1000;
  while (!ended && performance.now() < deadline) {
    for (let i = 0; i < ROUNDS; i++) {
      move(a, b);
      move(b, a);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { wallNs, cpuNs } = watch.read();
  for (const child of [client, server]) child.kill('SIGKILL');
  const report = JSON.parse(output || '{}') as Partial<Report>;
  if (report.end?.sum_received === undefined) throw new Error(`iperf3: ${report.error ?? 'it said nothing'}`);
  const { bytes, seconds } = report.end.sum_received;
  const frames = a.counters.rxFrames + b.counters.rxFrames;
  const lost = a.counters.txDropped + b.counters.txDropped + a.counters.rxDropped + b.counters.rxDropped;
  // What the bridge counts is of the whole run, what iperf3 counts of the measured time.
  const share = (seconds * 1e9) / wallNs;
  finish({
    name,
    requests: Math.round(frames * share),
    wallNs: seconds * 1e9,
    cpuNs: cpuNs * share,
    bytes,
    syscalls: Math.round((a.counters.syscalls + b.counters.syscalls) * share),
    ...(lost > 0 && { note: `${lost} frames were dropped` }),
  });
}

function iperf(...args: string[]): ChildProcess {
  const all = `0-${cpus().length - 1}`;
  return spawn('taskset', ['-c', all, 'iperf3', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}

function saidSomething(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout?.once('data', () => resolve());
    child.once('close', () => reject(new Error('the iperf3 server ended')));
  });
}

function move(from: TunPort, to: TunPort): void {
  from.rxSync();
  const { rx } = from;
  const { tx } = to;
  if (rx.available === 0) return;
  while (rx.available > 0 && tx.available > 0) {
    exchangeFrame(rx.m, rx.slot(rx.head), tx.slot(tx.head));
    rx.head = (rx.head + 1) | 0;
    tx.head = (tx.head + 1) | 0;
  }
  to.txSync();
}
