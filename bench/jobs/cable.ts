/** What the cable jobs share: two engines joined by a cable in one arena, run in turns on this thread. */
import { randomFillSync } from 'node:crypto';
import { createCable } from '../../src/device/cable.ts';
import { Engine } from '../../src/engine/engine.ts';
import type { Conn } from '../../src/engine/handlers.ts';
import { ARENA_BYTES_MAX, Arena } from '../../src/memory/arena.ts';
import { raiseInliningBudget } from '../../src/os/v8.ts';
import { type JobArguments, Stopwatch } from './job.ts';

export const NAME = 'millrace';
/** Connections to one address and port: the ephemeral ports, less some for those in TIME-WAIT. */
const PER_PORT = 20_000;
const FIRST_PORT = 7000;
export const SERVER = '10.0.0.2';

export interface Pair {
  readonly arena: Arena;
  readonly client: Engine;
  readonly server: Engine;
  /** One breath of each. @returns what they did */
  turn(): number;
}

/** @param connections Most connections open at once. */
export function openPair(connections: number): Pair {
  raiseInliningBudget();
  const arena = new Arena(ARENA_BYTES_MAX);
  const secret = randomFillSync(new Int32Array(4));
  const now = performance.now();
  const limits = {
    connections: connections + 1024,
    miniBlocks: 65_536,
    chunks: Math.min(131_072, connections * 2 + 16_384),
  };
  const [left, right] = createCable(arena, 'cable');
  const client = new Engine({ arena, limits, secret, now });
  const server = new Engine({ arena, limits, secret, now });
  client.addInterface(left, { addresses: ['10.0.0.1/24'] });
  server.addInterface(right, { addresses: [`${SERVER}/24`] });
  return {
    arena,
    client,
    server,
    turn: () => client.breath(performance.now()) + server.breath(performance.now()),
  };
}

/** Ports that the server must listen on for so many connections from one address. */
export function portsFor(connections: number): number[] {
  return Array.from({ length: Math.ceil(connections / PER_PORT) }, (_, i) => FIRST_PORT + i);
}

/** Opens connections, a few thousand at a time. @returns their handles once all are established. */
export function openMany(
  pair: Pair,
  connections: number,
  connect: (port: number) => Conn,
  opened: () => number,
): Conn[] {
  const ports = portsFor(connections);
  const handles: Conn[] = [];
  while (opened() < connections) {
    while (handles.length < connections && handles.length - opened() < 512) {
      handles.push(connect(ports[Math.floor(handles.length / PER_PORT)]));
    }
    pair.turn();
  }
  return handles;
}

export interface Measured {
  readonly wallNs: number;
  readonly cpuNs: number;
  readonly segments: number;
}

/** Turns for the warm-up, then for the measured time. `started` is called between them. */
export function run(pair: Pair, args: JobArguments, started: () => void): Measured {
  turnFor(pair, args.warmup);
  started();
  const before = segments(pair);
  const stopwatch = new Stopwatch();
  turnFor(pair, args.seconds);
  return { ...stopwatch.read(), segments: segments(pair) - before };
}

function turnFor(pair: Pair, seconds: number): void {
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) for (let i = 0; i < 32; i++) pair.turn();
}

function segments(pair: Pair): number {
  return pair.client.tcp.counters.segmentsOut + pair.server.tcp.counters.segmentsOut;
}
