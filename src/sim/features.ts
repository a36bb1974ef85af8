/**
 * What of TCP a seed switches on or off, on each host by itself. A new feature of the engine joins the matrix by a line
 * here: everything else of a scenario stays as it was drawn, since each has a generator of its own.
 */
import { Prng } from '../memory/prng.ts';
import type { TcpLimits } from '../tcp/tcp.ts';

interface Feature {
  readonly name: string;
  /** What the host's limits become. */
  draw(prng: Prng): Partial<TcpLimits>;
}

function pick<T>(prng: Prng, choices: readonly T[]): T {
  return choices[prng.below(choices.length)];
}

export const FEATURES: readonly Feature[] = [
  { name: 'congestion', draw: (prng) => ({ congestion: pick(prng, ['cubic', 'reno'] as const) }) },
  { name: 'delayed ACK', draw: (prng) => ({ delayedAck_ms: pick(prng, [40, 40, 1, 100]) }) },
  { name: 'minimum RTO', draw: (prng) => ({ rtoMin_ms: pick(prng, [200, 200, 1000]) }) },
  {
    name: 'buffers',
    draw: (prng) => ({
      receiveBuffer: pick(prng, [1000, 8192, 65_535, 200_000, 1 << 20]),
      sendBuffer: pick(prng, [1000, 8192, 65_536, 1 << 20]),
    }),
  },
  // Longer than a peer's first retransmission of its FIN takes.
  { name: 'TIME-WAIT', draw: (prng) => ({ timeWait_ms: pick(prng, [5000, 10_000, 60_000]) }) },
  { name: 'memory', draw: (prng) => ({ chunks: pick(prng, [256, 512, 1024, 1024]) }) },
];

/** The limits of host `host` of a seed's scenario. */
export function drawFeatures(seed: number, host: number): Partial<TcpLimits> {
  let limits: Partial<TcpLimits> = {};
  for (const [i, feature] of FEATURES.entries()) {
    const prng = new Prng(seed ^ Math.imul(i * 251 + host + 1, 0x85ebca6b));
    limits = { ...limits, ...feature.draw(prng) };
  }
  return limits;
}
