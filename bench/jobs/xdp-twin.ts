/** Compiles the C twin of xdp.ts, sets the scene, and runs it there. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { finish } from './job.ts';
import { frame, setScene, xdpArguments } from './xdp-scene.ts';

const NAME = 'C twin';
const SOURCE = fileURLToPath(new URL('../xdp-twin.c', import.meta.url));
const args = xdpArguments();
const nothing = { name: NAME, requests: 0, wallNs: 0, cpuNs: 0 };

const folder = mkdtempSync(join(tmpdir(), 'millrace-twin-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const program = join(folder, 'xdp-twin');
const compiled = spawnSync('gcc', ['-O3', '-march=native', '-o', program, SOURCE], { encoding: 'utf8' });
if (compiled.error !== undefined)
  finish({ ...nothing, skipped: `no C compiler (gcc): ${compiled.error.message}` });
if (compiled.status !== 0) throw new Error(`gcc: ${compiled.stderr}`);

setScene(NAME, args);
const numbers = [args.kind, args.batch, args.warmup, args.seconds].map(String);
const ran = spawnSync(program, numbers, { encoding: 'utf8', input: frame() });
if (ran.status !== 0) throw new Error(`the twin ended with ${ran.signal ?? ran.status}: ${ran.stderr}`);
const { frames, wallNs, cpuNs, syscalls } = JSON.parse(ran.stdout) as Record<string, number>;
finish({ name: NAME, requests: frames, wallNs, cpuNs, syscalls });
