/**
 * What TCP makes of paths: goodput by congestion control, rate, RTT and loss; how two connections share a bottleneck;
 * how long a lost tail takes. The same figures on every machine, so that they can be kept and changes be seen.
 */

import type { QueueOptions } from '../device/queue.ts';
import type { Limits } from '../engine/limits.ts';
import type { Arena } from '../memory/arena.ts';
import type { LinkOptions } from './link.ts';
import { World } from './world.ts';

export const CONGESTIONS = ['reno', 'cubic', 'bbr'] as const;
export const RATES_MBPS = [1, 10, 100] as const;
export const RTTS_MS = [10, 50, 200] as const;
export const LOSSES = [0, 0.0001, 0.001, 0.01, 0.05] as const;

/** Measured after the first `SETTLE_MS`, for so long, virtual ms. */
const SETTLE_MS = 5000;
const MEASURE_MS = 15_000;
const SHARE_MS = 60_000;
const PORT = 7;
const MTU = 1500;
const FRAMES = 16_384;
/** Of each host: enough for any of these paths. */
const CHUNKS = 8192;
const BUFFER = 6 << 20;

export interface Path {
  readonly rate_mbps: number;
  readonly rtt_ms: number;
  readonly loss: number;
  readonly queue?: QueueOptions;
}

function limits(congestion: string): Partial<Limits> {
  return {
    connections: 16,
    miniBlocks: 16,
    chunks: CHUNKS,
    records: 8192,
    reassemblyBuffers: 8,
    udpSockets: 16,
    udpChunks: 16,
    receiveBuffer: BUFFER,
    sendBuffer: BUFFER,
    congestion,
  };
}

/** Senders on the left, each with a receiver on the right, over one bottleneck. */
class Bottleneck {
  readonly world: World;
  /** Bytes read by each receiver. */
  readonly received: number[] = [];

  constructor(arena: Arena, path: Path, congestions: readonly string[], bytes = Infinity) {
    arena.reset();
    this.world = new World({ seed: 1, arena, mtu: MTU, frames: FRAMES });
    const { rate_mbps, rtt_ms, loss } = path;
    const bdp = (rate_mbps * 1e6 * rtt_ms) / 8000;
    const wire: LinkOptions = {
      rate_bps: rate_mbps * 1e6,
      delay_ms: rtt_ms / 2,
      queue: path.queue ?? { kind: 'droptail', bytes: Math.max(bdp, 20 * MTU) },
    };
    const lossy: LinkOptions = loss > 0 ? { ...wire, loss: { kind: 'random', p: loss } } : wire;
    const left = this.world.addRouter('left');
    const right = this.world.addRouter('right');
    this.world.join(left, right, lossy, wire);
    for (const [i, congestion] of congestions.entries()) this.#pair(i, congestion, left, right, bytes);
  }

  #pair(
    i: number,
    congestion: string,
    left: Parameters<World['join']>[0],
    right: Parameters<World['join']>[0],
    bytes: number,
  ): void {
    const { world } = this;
    const sender = world.addHost(`sender ${i}`, { limits: limits(congestion), mtu: MTU });
    const receiver = world.addHost(`receiver ${i}`, { limits: limits(congestion), mtu: MTU });
    world.join(sender, left, {}, {});
    world.join(receiver, right, {}, {});
    this.received[i] = 0;
    receiver.engine.listen(
      { port: PORT },
      {
        data: (_conn, _at, length) => {
          this.received[i] += length;
          return length;
        },
      },
    );
    const piece = world.arena.carve('piece', 65_536);
    let left_bytes = bytes;
    const pump = (conn: number): void => {
      while (left_bytes > 0) {
        const wanted = Math.min(65_536, left_bytes);
        const taken = sender.engine.send(conn, piece, wanted);
        left_bytes -= taken;
        if (taken < wanted) return;
      }
    };
    // Not all at once: those in step would stay so.
    world.after(100 * i, () => {
      sender.engine.connect({ address: receiver.address4, port: PORT }, { open: pump, writable: pump });
    });
  }

  /** Bytes that each receiver read in so many ms. */
  measure(ms: number): number[] {
    const before = [...this.received];
    this.world.pass(ms);
    return this.received.map((bytes, i) => bytes - before[i]);
  }
}

/** Payload that arrives, Mbit/s. */
export function goodput(arena: Arena, congestion: string, path: Path): number {
  const bottleneck = new Bottleneck(arena, path, [congestion]);
  bottleneck.world.pass(SETTLE_MS);
  const [bytes] = bottleneck.measure(MEASURE_MS);
  return (bytes * 8) / (MEASURE_MS * 1000);
}

/** What two connections through one bottleneck get, as shares of what both get; the second starts 100 ms later. */
export function shares(arena: Arena, congestions: readonly [string, string], path: Path): [number, number] {
  const bottleneck = new Bottleneck(arena, path, congestions);
  bottleneck.world.pass(SETTLE_MS);
  const [a, b] = bottleneck.measure(SHARE_MS);
  return [a / (a + b), b / (a + b)];
}

/** How much longer that many segments take when the last `lost` of them are lost once, in RTTs. */
export function tailRecovery(
  arena: Arena,
  congestion: string,
  rtt_ms: number,
  lost: number,
  segments = 10,
): number {
  const took = (drop: number): number => {
    const bytes = segments * (MTU - 52);
    const bottleneck = new Bottleneck(arena, { rate_mbps: 100, rtt_ms, loss: 0 }, [congestion], bytes);
    const { world } = bottleneck;
    // The wire that data goes by first: large packets pass it in order.
    const link = world.links.find(({ name }) => name === 'sender 0-left');
    let large = 0;
    if (link !== undefined) {
      const send = link.send.bind(link);
      link.send = (f) => {
        if (world.frames.length[f] > MTU / 2 && ++large > segments - drop && large <= segments)
          world.frames.give(f);
        else send(f);
      };
    }
    world.run(() => bottleneck.received[0] === bytes, 60_000);
    return world.now_ms;
  };
  return (took(lost) - took(0)) / rtt_ms;
}
