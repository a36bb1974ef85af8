/**
 * What of TCP a seed switches on or off, on each host by itself. A feature of the engine joins the matrix by an entry
 * here; everything else of a scenario stays as it was drawn, since each entry has a generator of its own.
 */
import type { ConnectOptions, ListenOptions } from '../engine/engine.ts';
import type { Limits } from '../engine/limits.ts';
import { Prng } from '../memory/prng.ts';

/** How a host is set up, and how it opens and accepts connections. */
export interface HostFeatures {
  readonly limits: Partial<Limits>;
  readonly connect: Partial<ConnectOptions>;
  readonly listen: Partial<ListenOptions>;
}

interface Feature {
  readonly name: string;
  draw(prng: Prng): Partial<HostFeatures>;
}

function pick<T>(prng: Prng, choices: readonly T[]): T {
  return choices[prng.below(choices.length)];
}

export const FEATURES: readonly Feature[] = [
  {
    name: 'congestion control',
    draw: (prng) => ({ limits: { congestion: pick(prng, ['cubic', 'cubic', 'reno', 'bbr']) } }),
  },
  { name: 'pacing', draw: (prng) => ({ limits: { pacing: prng.bool(0.2) } }) },
  { name: 'delayed ACKs', draw: (prng) => ({ limits: { delayedAck_ms: pick(prng, [40, 40, 1, 100]) } }) },
  { name: 'minimum RTO', draw: (prng) => ({ limits: { rtoMin_ms: pick(prng, [200, 200, 1000]) } }) },
  {
    // 0: they tune themselves.
    name: 'buffers',
    draw: (prng) => ({
      limits: {
        receiveBuffer: pick(prng, [0, 0, 1000, 8192, 65_535, 1 << 20]),
        sendBuffer: pick(prng, [0, 0, 1000, 8192, 65_536, 1 << 20]),
        receiveBufferMax: 2 << 20,
        sendBufferMax: 2 << 20,
      },
    }),
  },
  // Longer than a peer's first retransmission of its FIN takes.
  { name: 'TIME-WAIT', draw: (prng) => ({ limits: { timeWait_ms: pick(prng, [5000, 10_000, 60_000]) } }) },
  {
    name: 'memory',
    draw: (prng) => ({
      limits: { chunks: pick(prng, [256, 512, 1024, 1024]), records: pick(prng, [32, 1024, 1024]) },
    }),
  },
  {
    name: 'SYN cookies',
    draw: (prng) => ({ limits: { synCookies: pick(prng, ['auto', 'auto', 'always', 'never'] as const) } }),
  },
  {
    name: 'Fast Open',
    draw: (prng) => ({ connect: { fastOpen: prng.bool(0.3) }, listen: { fastOpen: prng.bool(0.5) } }),
  },
  {
    name: 'ECN',
    draw: (prng) => ({ limits: { ecn: pick(prng, ['passive', 'off', 'on', 'accurate'] as const) } }),
  },
  {
    name: 'probing of MTUs',
    draw: (prng) => ({ limits: { mtuProbing: pick(prng, ['auto', 'auto', 'off', 'always'] as const) } }),
  },
  {
    name: 'start window',
    draw: (prng) => {
      const startWindow = pick(prng, [undefined, undefined, 2000, 60_000]);
      return { connect: { startWindow }, listen: { startWindow } };
    },
  },
  {
    name: 'low water',
    draw: (prng) => ({ connect: { notSentLowWater: pick(prng, [0, 0, 0, 4096]) } }),
  },
];

/** What host `host` of a seed's scenario has. */
export function drawFeatures(seed: number, host: number): HostFeatures {
  const drawn = FEATURES.map((feature, i) => {
    return feature.draw(new Prng(seed ^ Math.imul(i * 251 + host + 1, 0x85ebca6b)));
  });
  const all = <T>(of: (features: Partial<HostFeatures>) => T | undefined): T => {
    return Object.assign({}, ...drawn.map(of));
  };
  return { limits: all((f) => f.limits), connect: all((f) => f.connect), listen: all((f) => f.listen) };
}
