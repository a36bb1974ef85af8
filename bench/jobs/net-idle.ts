/**
 * Idle connections over node:net and loopback: what the server's end of each costs in memory, its process
 * and the kernel apart. The clients live in a process of their own (this file again, given their port), so
 * that the resident memory here is the server's alone.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { finish, jobArguments, seconds } from './job.ts';
import { listen, openMany, roomFor } from './loopback.ts';

const NAME = 'node:net';
const CLIENT_PORT = 'BENCH_IDLE_PORT';
/** For what is freed late (RCU, the collector) to be gone before a reading, s. */
const SETTLE_S = 1;

const args = jobArguments();

/** The kernel's own objects, system-wide, bytes. Socket buffers are empty on idle connections. */
function slabBytes(): number {
  const match = /^Slab:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
  return match === null ? 0 : Number(match[1]) * 1024;
}

async function runServer(): Promise<never> {
  const started = process.hrtime.bigint();
  const { connections, note, skipped } = roomFor(args.connections, 1, 0.1);
  if (skipped !== undefined) finish({ name: NAME, requests: 0, wallNs: 0, cpuNs: 0, skipped });

  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const held: Socket[] = [];
  const { promise: allOpen, resolve } = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    socket.on('data', () => {});
    if (held.push(socket) === connections) resolve();
  });
  const port = await listen(server);
  const client = spawn(process.execPath, [import.meta.filename, '--connections', String(connections)], {
    env: { ...process.env, [CLIENT_PORT]: String(port) },
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  client.on('exit', (code, signal) => {
    throw new Error(`the clients' process ended (${code ?? signal}) with ${held.length} connections open`);
  });
  await seconds(SETTLE_S);
  collect();
  const rssBefore = process.memoryUsage.rss();
  const slabBefore = slabBytes();
  client.stdin.write('go\n');
  await allOpen;
  await seconds(SETTLE_S);
  collect();
  const rssBytes = process.memoryUsage.rss() - rssBefore;
  // Both ends are in this kernel, and much alike.
  const kernelBytes = (slabBytes() - slabBefore) / 2;
  client.removeAllListeners('exit').kill();
  const cpu = process.cpuUsage();
  finish({
    name: NAME,
    requests: connections,
    wallNs: Number(process.hrtime.bigint() - started),
    cpuNs: (cpu.user + cpu.system) * 1000,
    connections,
    rssBytes,
    kernelBytes,
    ...(note !== undefined && { note }),
  });
}

/** Waits for the word to connect, then holds the connections until the server's process is gone. */
async function runClients(port: number): Promise<void> {
  process.stdin.on('end', () => process.exit());
  await new Promise((resolve) => process.stdin.once('data', resolve));
  for (const socket of await openMany(port, args.connections)) socket.on('data', () => {});
}

const clientPort = process.env[CLIENT_PORT];
if (clientPort === undefined) await runServer();
else await runClients(Number(clientPort));
