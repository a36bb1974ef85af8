/** Runs one job as a child process, alone on one core where that can be had. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { JobResult } from './jobs/job.ts';
import { jobPath } from './workloads.ts';

/** Two ends of 100,000 connections, and some. */
const DESCRIPTORS_WANTED = 210_000;
/** Beyond warm-up and measured time: ramping up 100,000 connections, and a slow machine. */
const GRACE_MS = 120_000;

/** The CPU to pin to: the last one allowed, as the first takes most interrupts. Undefined: don't pin. */
export function pinnableCpu(): number | undefined {
  if (spawnSync('taskset', ['-pc', String(process.pid)]).status !== 0) return undefined;
  const match = /^Cpus_allowed_list:\s*(?:.*[,-])?(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return match === null ? undefined : Number(match[1]);
}

/**
 * @returns What the job reported. Never rejects for what the job did: a job that fails comes back as an Error.
 * @param signal Ends the job.
 */
export function runJob(
  job: string,
  numbers: Readonly<Record<string, number>> & { readonly warmup: number; readonly seconds: number },
  cpu: number | undefined,
  signal: AbortSignal,
): Promise<JobResult | Error> {
  const flags = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const pin = cpu === undefined ? [] : ['taskset', '-c', String(cpu)];
  const command = [...pin, process.execPath, jobPath(job), ...flags];
  // Each exec's the next, so the child's pid is the job's. Raising the hard limit may be refused; the job
  // then says what it can't do.
  const child = spawn(
    'sh',
    ['-c', `ulimit -n ${DESCRIPTORS_WANTED} 2>/dev/null; exec "$@"`, 'sh', ...command],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
      timeout: (numbers.warmup + numbers.seconds) * 1000 + GRACE_MS,
      killSignal: 'SIGKILL',
    },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve) => {
    child.on('error', resolve);
    child.on('close', (code, killed) => {
      if (code === 0) return resolve(parseResult(stdout));
      resolve(
        new Error(`${job} ended with ${killed ?? `code ${code}`}: ${stderr.trim() || 'it said nothing'}`),
      );
    });
  });
}

function parseResult(stdout: string): JobResult | Error {
  const line = stdout.trim().split('\n').at(-1) ?? '';
  try {
    return JSON.parse(line) as JobResult;
  } catch {
    return new Error(`the job printed no result but: ${line.slice(0, 200)}`);
  }
}
