/** Two stacks joined by a cable, for tests of this folder. */
import { type CableOptions, createCable } from '../device/cable.ts';
import { Arena } from '../memory/arena.ts';
import type { TcpLimits } from '../tcp/tcp.ts';
import { Stack } from './stack.ts';

export const CLIENT = '10.0.0.1';
export const SERVER = '10.0.0.2';
export const SERVER_OTHER = '10.0.0.3';
export const SERVER6 = 'fd00::2';

export interface Pair {
  readonly client: Stack;
  readonly server: Stack;
  /** Resolves once neither stack holds anything for a connection; rejects, saying what is left, when that doesn't come. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

/** TIME-WAIT is short, so that its blocks are seen to come back too. */
export async function openPair(limits: Partial<TcpLimits> = {}, cable: CableOptions = {}): Promise<Pair> {
  const arena = new Arena(192 << 20);
  const [left, right] = createCable(arena, 'cable', cable);
  const all = { connections: 2048, miniBlocks: 4096, chunks: 16_384, timeWait_ms: 20, ...limits };
  const client = await Stack.open({ device: left, addresses: [`${CLIENT}/24`, 'fd00::1/64'], limits: all });
  const server = await Stack.open({
    device: right,
    addresses: [`${SERVER}/24`, `${SERVER_OTHER}/24`, `${SERVER6}/64`],
    limits: all,
  });
  return {
    client,
    server,
    async settled() {
      for (let tries = 0; ; tries++) {
        const left = [...leftovers('client', client), ...leftovers('server', server)];
        if (left.length === 0) return;
        if (tries === 200) throw new Error(`still held: ${left.join(', ')}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    async close() {
      await client.close({ grace_ms: 200 });
      await server.close({ grace_ms: 200 });
    },
  };
}

function leftovers(name: string, stack: Stack): string[] {
  const { tcp } = stack.engine;
  const counts = {
    blocks: tcp.blocks.inUse,
    // One is the engine's own.
    minis: tcp.minis.inUse - 1,
    chunks: tcp.chunks.inUse,
    timers: tcp.wheel.armed,
    flows: tcp.table.count,
    sockets: stack.sockets.sockets.length,
    needed: stack.sockets.needed && stack.sockets.servers.size === 0 ? 1 : 0,
  };
  tcp.chunks.audit();
  return Object.entries(counts).flatMap(([what, n]) => (n === 0 ? [] : [`${name} ${what} ${n}`]));
}

export function once<T = void>(
  emitter: { once(event: string, listener: (value: T) => void): unknown },
  event: string,
): Promise<T> {
  return new Promise((resolve) => emitter.once(event, resolve));
}
