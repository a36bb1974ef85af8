/** What the memif jobs share: a port that sends back what it receives, and testpmd that does. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MemifPort, memifArenaBytes, openMemif } from '../../src/device/memif.ts';
import { Arena } from '../../src/memory/arena.ts';
import { EXCHANGE_FRAME } from '../../src/memory/kernels/kernels.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH } from '../../src/memory/ring.ts';
import { raiseInliningBudget } from '../../src/os/v8.ts';
import { finish, type JobArguments, type JobResult, Stopwatch, seconds } from './job.ts';

const PROGRAM = 'dpdk-testpmd';
const START_MS_MAX = 20_000;
/** The first line of an arena stays unused. */
const ARENA_BYTES_USED = 64;
/** testpmd's burst. */
const BURST = 32;
const STARTED = /forwarding packets\/burst/;

/** A folder for the socket, gone with the process. */
export function socketPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'memif-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'socket');
}

/** The CPU that the other side has: any but the one that this job is pinned to. */
export function otherCpu(name: string): number {
  const own = ownCpu();
  const all = spawnSync('nproc', ['--all'], { encoding: 'utf8' }).stdout.trim();
  if (own < 0 || Number(all) < 2) skip(name, 'two CPUs are needed, and taskset');
  return own === 0 ? 1 : 0;
}

export function ownCpu(): number {
  const text = spawnSync('taskset', ['-pc', String(process.pid)], { encoding: 'utf8' }).stdout;
  return Number(/(\d+)\s*$/.exec(text)?.[1] ?? -1);
}

export function skip(name: string, why: string): never {
  finish({ name, requests: 0, wallNs: 1, cpuNs: 1, skipped: why });
}

export function openPort(socket: string, role: 'client' | 'server'): MemifPort {
  raiseInliningBudget();
  // As many as an engine takes at once. All that is on the way in one batch, and the sides would take turns.
  const options = { socket, role, slots: 64 } as const;
  return openMemif(new Arena(ARENA_BYTES_USED + memifArenaBytes(options)), options);
}

/** Sends back what comes, for so long, s. */
export function bounceFor(port: MemifPort, duration: number): void {
  const end = performance.now() + duration * 1000;
  while (performance.now() < end) for (let i = 0; i < 256; i++) bounce(port);
}

function bounce(port: MemifPort): void {
  const { rx, tx, frameBytes } = port;
  const { exchange } = port.arena.kernels;
  const n = Math.min(port.rxSync(), tx.available);
  const moved = exchange(rx.base << 2, rx.mask, rx.head, tx.base << 2, tx.mask, tx.head, n, 0, frameBytes);
  const frames = Math.floor(moved / EXCHANGE_FRAME);
  rx.head = (rx.head + frames) | 0;
  tx.head = (tx.head + frames) | 0;
  port.txSync();
}

/** Puts frames on the way once the other side is there, and measures how many come back. */
export async function measureBounce(name: string, port: MemifPort, args: JobArguments): Promise<JobResult> {
  for (const end = performance.now() + START_MS_MAX; !port.linked && performance.now() < end; ) {
    port.rxSync();
    await seconds(0.001);
  }
  if (!port.linked) throw new Error('the other side doesn’t come');
  for (let i = 0; i < args.outstanding; i++) {
    while (port.txSync() === 0);
    const slot = port.tx.slot(port.tx.head);
    port.arena.u8.fill(2, port.tx.m[slot + DESC_AT], port.tx.m[slot + DESC_AT] + args.bytes);
    port.tx.m[slot + DESC_LENGTH] = args.bytes;
    port.tx.m[slot + DESC_FLAGS] = 0;
    port.tx.m[slot + DESC_AUX] = 0;
    port.tx.head = (port.tx.head + 1) | 0;
  }
  bounceFor(port, args.warmup);
  const before = port.counters.rxFrames;
  const stopwatch = new Stopwatch();
  bounceFor(port, args.seconds);
  const times = stopwatch.read();
  const requests = port.counters.rxFrames - before;
  const note = `${(port.counters.syscalls / port.counters.rxFrames).toPrecision(1)} system calls a frame`;
  port.close();
  return { name, ...times, requests, bytes: requests * args.bytes, note };
}

/** testpmd with one memif port, on one CPU, its main thread's and its worker's. */
export class Testpmd {
  readonly #child: ChildProcessWithoutNullStreams;
  #said = '';

  private constructor(cpu: number, vdev: string, bytes: number) {
    const eal = [
      '--no-huge',
      '-m',
      '256',
      '--no-pci',
      '--no-shconf',
      '--no-telemetry',
      '--lcores',
      `(0,1)@${cpu}`,
    ];
    const own = ['-i', '--forward-mode=io', '--no-flush-rx', '--total-num-mbufs=8192', `--txpkts=${bytes}`];
    // Into a pipe it would keep what it says to itself.
    const pinned = [
      '-c',
      String(cpu),
      'stdbuf',
      '-oL',
      PROGRAM,
      ...eal,
      `--vdev=net_memif0,${vdev}`,
      '--',
      ...own,
    ];
    this.#child = spawn('taskset', pinned);
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
    process.on('exit', () => this.#child.kill('SIGKILL'));
  }

  /** @returns null when it isn't installed. */
  static async start(cpu: number, vdev: string, bytes: number): Promise<Testpmd | null> {
    if (spawnSync('sh', ['-c', `command -v ${PROGRAM}`]).status !== 0) return null;
    const testpmd = new Testpmd(cpu, vdev, bytes);
    await testpmd.tell('', /testpmd> /);
    return testpmd;
  }

  /** Sends a command. @returns what it says until `answer` is in it */
  async tell(command: string, answer: RegExp): Promise<string> {
    if (command !== '') {
      this.#said = '';
      this.#child.stdin.write(`${command}\n`);
    }
    for (const end = performance.now() + START_MS_MAX; performance.now() < end; await seconds(0.001)) {
      if (answer.test(this.#said)) return this.#said;
      if (this.#child.exitCode !== null) break;
    }
    throw new Error(`${PROGRAM} doesn't answer: ${this.#said.slice(-500)}`);
  }

  /** Puts frames on the way; they stay there. */
  async startWith(outstanding: number): Promise<void> {
    for (let up = false; !up; ) {
      up = /Link status: up/.test(await this.tell('show port info 0', /Link status: \w+[\s\S]*Device error/));
    }
    // As a client it offers no buffers until it has received once, and what comes before is lost.
    await this.start();
    await this.tell('stop', /Done\./);
    await this.tell(`start tx_first ${Math.max(1, Math.round(outstanding / BURST))}`, STARTED);
  }

  /** Sends back what comes. */
  async start(): Promise<void> {
    await this.tell('start', STARTED);
  }

  /** Frames received so far, and when that was. */
  async received(): Promise<{ frames: number; at_ns: number }> {
    const text = await this.tell('show port stats 0', /RX-packets:\s*\d+[\s\S]*Tx-pps/);
    const at_ns = Number(process.hrtime.bigint());
    return { frames: Number(/RX-packets:\s*(\d+)/.exec(text)?.[1] ?? 0), at_ns };
  }
}
