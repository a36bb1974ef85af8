/**
 * The peer of forward-frames.ts: DPDK's testpmd, io forwarding between two net_null devices on one core. `--outstanding`:
 * its burst.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { finish, jobArguments, seconds } from './job.ts';

const NAME = 'testpmd net_null';
const PROGRAM = 'dpdk-testpmd';
const ANSWER_MS_MAX = 20_000;

const args = jobArguments();
if (spawnSync(PROGRAM, ['--version']).error !== undefined)
  finish({
    name: NAME,
    requests: 0,
    wallNs: 1,
    cpuNs: 1,
    skipped: `${PROGRAM} is missing: scripts/setup-bench.sh`,
  });
// Its main thread sleeps at the prompt; another forwards. Where this job may run on one CPU only, both share it.
const allowed = spawnSync('nproc', { encoding: 'utf8' }).stdout.trim();
const lcores = allowed === '1' ? `(0,1)@${cpu()}` : '0,1';
const eal = ['--no-huge', '--no-pci', '--no-shconf', '-m', '256', '--lcores', lcores];
const devices = ['--vdev', `net_null0,size=${args.bytes}`, '--vdev', `net_null1,size=${args.bytes}`];
const own = [
  '-i',
  '--forward-mode=io',
  `--burst=${Math.min(512, args.outstanding)}`,
  '--total-num-mbufs=8192',
];
// It would keep what it prints until its buffer is full.
const child = spawn('stdbuf', ['-oL', PROGRAM, ...eal, ...devices, '--', ...own]);
let said = '';
child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
process.on('exit', () => child.kill('SIGKILL'));

await say(child, '', /testpmd> /);
await say(child, 'start', /forwarding ports=2/);
await seconds(args.warmup);
const before = await forwarded();
await seconds(args.seconds);
const after = await forwarded();
child.stdin.end('quit\n');
const wallNs = after.at_ns - before.at_ns;
finish({
  name: NAME,
  requests: after.frames - before.frames,
  wallNs,
  cpuNs: wallNs,
  note: 'spins, so CPU is time',
});

/** The CPU that this job is pinned to. */
function cpu(): string {
  return (
    /(\d+)\s*$/.exec(spawnSync('taskset', ['-pc', String(process.pid)], { encoding: 'utf8' }).stdout)?.[1] ??
    '0'
  );
}

/** Sends a command, and waits until it has said something. @returns all it said */
async function say(
  { stdin }: ChildProcessWithoutNullStreams,
  command: string,
  wanted: RegExp,
): Promise<string> {
  if (command !== '') {
    said = '';
    stdin.write(`${command}\n`);
  }
  for (const end = performance.now() + ANSWER_MS_MAX; performance.now() < end; await seconds(0.001)) {
    if (wanted.test(said)) return said;
    if (child.exitCode !== null) break;
  }
  child.kill('SIGKILL');
  throw new Error(`${PROGRAM} doesn't answer: ${said.slice(-500)}`);
}

async function forwarded(): Promise<{ frames: number; at_ns: number }> {
  const text = await say(child, 'show port stats all', /Tx-pps[\s\S]*Tx-pps[^#]*#/);
  const at_ns = Number(process.hrtime.bigint());
  const sent = [...text.matchAll(/TX-packets:\s*(\d+)/g)].map((match) => Number(match[1]));
  return { frames: sent.reduce((a, b) => a + b, 0), at_ns };
}
