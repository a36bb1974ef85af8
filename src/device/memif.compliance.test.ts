import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { portAsFarEnd, portCompliance, type Rig } from './compliance.testing.ts';
import { createFrames, framesArenaBytes } from './frames.ts';
import { type MemifOptions, type MemifPort, memifArenaBytes, openMemif } from './memif.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'memif-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

let serial = 0;

function pair(options: Partial<MemifOptions>): { client: MemifPort; server: MemifPort } {
  const socket = join(folder, `${serial++}.sock`);
  const open = (role: 'client' | 'server'): MemifPort => {
    const all = { socket, role, slots: 64, ...options };
    const frames = framesArenaBytes(128, 65_000);
    const arena = new Arena(64 + memifArenaBytes(all) + frames);
    return openMemif(arena, { ...all, pool: createFrames(arena, 'frames', 128, 1518) });
  };
  const server = open('server');
  const client = open('client');
  for (let i = 0; i < 100 && !(client.linked && server.linked); i++) {
    client.rxSync();
    server.rxSync();
  }
  return { client, server };
}

function rig(role: 'client' | 'server', options: Partial<MemifOptions> = {}): Rig {
  const { client, server } = pair(options);
  const [port, far] = role === 'client' ? [client, server] : [server, client];
  return { port, far: portAsFarEnd(far), close: () => far.close() };
}

const OPTIONS = { lengthMin: 1, inFlight: 64 };
portCompliance('memif, client', () => rig('client'), OPTIONS);
portCompliance('memif, server', () => rig('server'), OPTIONS);
portCompliance(
  'memif, client, IP and chains of short buffers',
  () => rig('client', { link: 'ip', bufferBytes: 64 }),
  OPTIONS,
);
portCompliance(
  'memif, server, IP and chains of short buffers',
  () => rig('server', { link: 'ip', bufferBytes: 64 }),
  OPTIONS,
);
portCompliance('memif, client, a ring of few slots', () => rig('client', { ringLog2: 3, queues: 3 }), {
  lengthMin: 1,
  inFlight: 8,
});
portCompliance('memif, server, a ring of few slots', () => rig('server', { ringLog2: 3, queues: 3 }), {
  lengthMin: 1,
  inFlight: 8,
});
