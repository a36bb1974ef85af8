/**
 * From a seed to a scenario: a network, what is wrong with it, and who talks to whom how. A scenario is plain data;
 * simulate.ts brings it to life.
 *
 *     direct          chain                    dumbbell                       nat
 *     h0 ── h1        h0 ── r … r ── h1        h0 ┐              ┌ h3         h0 ┐
 *                                              h1 ┼ r ══════ r ┼ h4         h1 ┼ nat ── r ── h2
 *                                              h2 ┘  bottleneck  └ h5         …  ┘
 */

import type { QueueOptions } from '../device/queue.ts';
import { mobileTrace } from '../device/trace.ts';
import type { Limits } from '../engine/limits.ts';
import { Prng } from '../memory/prng.ts';
import type { CrossTraffic } from './cross-traffic.ts';
import { drawFeatures, type HostFeatures } from './features.ts';
import type { HostOptions } from './host.ts';
import type { LinkOptions } from './link.ts';
import { type ConnectionPlan, type EndPlan, READS } from './program.ts';

/** What is wrong with the network, or most of it. */
export const SCENARIOS = [
  'clean',
  'lossy',
  'bursts',
  'bottleneck',
  'crowd',
  'trace',
  'mtu',
  'blackhole',
  'outage',
  'nat',
  'stalls',
  'restart',
  'jitter',
  'asymmetric',
] as const;
export type ScenarioName = (typeof SCENARIOS)[number];

export interface Segment {
  readonly forth: LinkOptions;
  readonly back: LinkOptions;
}

/** Something that happens at a time, to a host, a segment of the path, or the translator. */
export type Incident =
  | { readonly kind: 'stall'; readonly at_ms: number; readonly host: number; readonly ms: number }
  | { readonly kind: 'restart'; readonly at_ms: number; readonly host: number }
  | { readonly kind: 'outage'; readonly at_ms: number; readonly segment: number; readonly ms: number }
  | { readonly kind: 'mtu'; readonly at_ms: number; readonly segment: number; readonly mtu: number }
  | { readonly kind: 'rebind'; readonly at_ms: number };

export interface Scenario {
  readonly seed: number;
  readonly name: ScenarioName;
  readonly topology: 'direct' | 'chain' | 'dumbbell' | 'nat';
  readonly mtu: number;
  /** Hosts on the left come first. */
  readonly left: number;
  readonly hosts: readonly HostOptions[];
  /** By host. */
  readonly features: readonly HostFeatures[];
  /** From left to right: between routers, or between the two hosts; then each host's own link to its router. */
  readonly middle: readonly Segment[];
  readonly access: readonly Segment[];
  readonly icmp: boolean;
  readonly natTimeout_ms: number;
  readonly incidents: readonly Incident[];
  readonly cross: CrossTraffic | null;
  readonly backlog: number;
  readonly connections: readonly ConnectionPlan[];
  /** Every connection may end otherwise than planned. */
  readonly mayFail: boolean;
  /** Nothing is lost, late or out of order: nothing may be sent twice. */
  readonly clean: boolean;
  /** Virtual ms within which all connections must have ended. */
  readonly limit_ms: number;
}

const SMALL: Partial<Limits> = {
  connections: 64,
  miniBlocks: 128,
  reassemblyBuffers: 8,
  udpSockets: 16,
  udpChunks: 16,
};
/** Where every connection must succeed in the end, however many segments in a row are lost. */
const PATIENT: Partial<Limits> = { userTimeout_ms: 3_000_000, synRetries: 15, synAckRetries: 15 };
/** More than there are connections. */
const BACKLOG = 1024;
const CLOCKS = [1000, 123_456_789, 2 ** 31 - 20_000, 2 ** 32 - 5000];

/** Which of SCENARIOS a seed is. */
export function scenarioName(seed: number): ScenarioName {
  return SCENARIOS[new Prng(seed).below(SCENARIOS.length)];
}

export function drawScenario(seed: number): Scenario {
  const prng = new Prng(seed);
  return new Draw(seed, SCENARIOS[prng.below(SCENARIOS.length)], prng).scenario();
}

/** What can be in flight between two hosts at most. */
function smallestBuffer(...hosts: HostOptions[]): number {
  const sizes = hosts.flatMap(({ limits }) => [limits.receiveBuffer ?? 0, limits.sendBuffer ?? 0]);
  return Math.min(...sizes.map((size) => (size === 0 ? 65_536 : size)));
}

/** No link takes longer than 80 ms for a packet. */
function slowest(mtu: number): number {
  return Math.max(2e5, mtu * 100);
}

/** The dice, and what has been thrown so far. */
class Draw {
  readonly #seed: number;
  readonly #name: ScenarioName;
  readonly #prng: Prng;

  constructor(seed: number, name: ScenarioName, prng: Prng) {
    this.#seed = seed;
    this.#name = name;
    this.#prng = prng;
  }

  #pick<T>(...choices: T[]): T {
    return choices[this.#prng.below(choices.length)];
  }

  /** Between two bounds, small values as likely as large ones. */
  #log(low: number, high: number): number {
    return low * (high / low) ** (this.#prng.below(1001) / 1000);
  }

  scenario(): Scenario {
    const name = this.#name;
    const clean = name === 'clean';
    const topology = this.#topology();
    const mtu = clean ? 1500 : this.#pick(576, 1280, 1500, 1500, 1500, 4000, 9000);
    const ether = topology === 'direct' && this.#prng.bool(0.7);
    // Neighbours that don't answer for some seconds can't be reached.
    const mayFail =
      name === 'blackhole' ||
      name === 'restart' ||
      name === 'nat' ||
      (name === 'outage' && (ether || this.#prng.bool()));
    const wide = topology === 'dumbbell' || topology === 'nat';
    const left = wide ? 1 + this.#prng.below(4) : 1;
    const right = topology === 'dumbbell' ? 1 + this.#prng.below(3) : 1;
    const hosts: HostOptions[] = [];
    for (let i = 0; i < left + right; i++) hosts.push(this.#host(i, mtu, ether, mayFail, clean));
    const rate_bps = clean ? this.#log(3e7, 1e9) : this.#log(slowest(mtu), 1e9);
    const middle: Segment[] = [];
    const hops = topology === 'direct' || topology === 'nat' ? 1 : 1 + this.#prng.below(3);
    const delay = clean ? this.#log(0.05, 100) : this.#log(0.01, 150);
    const worst = this.#prng.below(hops);
    for (let i = 0; i < hops; i++) middle.push(this.#segment(i === worst, rate_bps, delay / hops, mtu));
    const access: Segment[] = [];
    if (topology !== 'direct') {
      const fast = { rate_bps: Math.max(1e7, rate_bps * 4), delay_ms: 0.1 };
      for (let i = 0; i < left + right; i++) access.push({ forth: fast, back: fast });
    }
    const backlog = name === 'crowd' ? this.#pick(1, 2, 8, BACKLOG) : BACKLOG;
    const connections = this.#connections(hosts, left, rate_bps, backlog, mayFail, clean);
    return {
      seed: this.#seed,
      name,
      topology,
      mtu,
      left,
      hosts,
      features: hosts.map((_, i) => drawFeatures(this.#seed, i)),
      middle,
      access,
      icmp: name !== 'blackhole',
      natTimeout_ms: this.#pick(2000, 30_000, 120_000),
      incidents: this.#incidents(hosts.length, middle, mayFail),
      cross:
        name === 'bottleneck' && this.#prng.bool(0.4)
          ? {
              rate_bps: Math.min(rate_bps, 5e7) * this.#pick(0.2, 0.5, 1.2),
              on_ms: this.#pick(50, 500, 3000),
              off_ms: this.#pick(50, 500, 3000),
              until_ms: 4000,
            }
          : null,
      backlog,
      connections,
      mayFail,
      clean,
      limit_ms: 3_600_000,
    };
  }

  #topology(): Scenario['topology'] {
    switch (this.#name) {
      case 'nat':
        return 'nat';
      case 'mtu':
      case 'blackhole':
        return 'chain';
      case 'bottleneck':
        return 'dumbbell';
      case 'clean':
        return this.#pick('direct', 'chain');
      default:
        return this.#pick('direct', 'direct', 'chain', 'dumbbell');
    }
  }

  #host(i: number, mtu: number, ether: boolean, mayFail: boolean, clean: boolean): HostOptions {
    const prng = this.#prng;
    const drift = this.#pick(0, 0, 1e-4, -1e-4, 5e-5);
    const limits = { ...SMALL, ...(mayFail ? {} : PATIENT), ...drawFeatures(this.#seed, i).limits };
    return {
      limits: clean ? { ...limits, receiveBuffer: 100_000, chunks: 1024 } : limits,
      link: ether ? 'ether' : 'ip',
      mtu,
      slots: clean ? 64 : this.#pick(16, 64, 64),
      offload: prng.bool(0.3),
      clock_ms: this.#pick(...CLOCKS) + prng.below(1000),
      drift: clean ? 0 : drift,
      breath_us: this.#pick(5, 20, 100),
    };
  }

  /** Two seconds' worth: bloated, and never full but by many. */
  #deep(rate_bps: number): QueueOptions {
    return { kind: 'droptail', bytes: Math.min(1 << 21, rate_bps / 4) };
  }

  #segment(worst: boolean, rate_bps: number, delay_ms: number, mtu: number): Segment {
    const plain: LinkOptions = { rate_bps, delay_ms, queue: this.#deep(rate_bps) };
    if (!worst) return { forth: plain, back: plain };
    return { forth: this.#bad(rate_bps, delay_ms, mtu), back: this.#bad(rate_bps, delay_ms, mtu) };
  }

  /** A link as bad as the scenario's name says. */
  #bad(rate_bps: number, delay_ms: number, mtu: number): LinkOptions {
    const prng = this.#prng;
    const plain: LinkOptions = { rate_bps, delay_ms, queue: this.#deep(rate_bps) };
    switch (this.#name) {
      case 'lossy':
        return {
          ...plain,
          loss: { kind: 'random', p: this.#pick(0.001, 0.01, 0.05) },
          corrupt: this.#pick(0, 0.02),
          duplicate: this.#pick(0, 0.03),
          reorder: this.#pick(0, 0.02, 0.1, 0.3),
          reorder_ms: this.#pick(1, 5, 30),
        };
      case 'bursts': {
        const good_ms = this.#pick(100, 500, 2000);
        const bad_ms = Math.min(good_ms / 5, this.#pick(1, 20, 100));
        return { ...plain, loss: { kind: 'burst', good_ms, bad_ms, good: 0, bad: this.#pick(0.5, 0.9) } };
      }
      case 'bottleneck':
        return { ...plain, rate_bps: Math.min(rate_bps, 1e8), queue: this.#queue(rate_bps) };
      case 'trace':
        return { delay_ms, trace: mobileTrace(prng, Math.min(rate_bps, 2e7), 10), queue: this.#queue(2e7) };
      case 'mtu':
      case 'blackhole':
        return { ...plain, mtu: Math.max(1280, mtu - this.#pick(8, 100, 400, 4000)) };
      case 'jitter':
        return {
          ...plain,
          jitter_ms: this.#pick(0.1, 2, 20, 100),
          jitterReorders: prng.bool(),
          duplicate: this.#pick(0, 0.01),
        };
      case 'asymmetric':
        return {
          ...plain,
          rate_bps: Math.max(slowest(mtu), rate_bps * this.#log(0.05, 1)),
          delay_ms: delay_ms * this.#log(0.1, 10),
          loss: { kind: 'random', p: this.#pick(0, 0.001, 0.02) },
        };
      case 'crowd':
        return { ...plain, loss: { kind: 'random', p: this.#pick(0, 0, 0.01) } };
      default:
        return plain;
    }
  }

  #queue(rate_bps: number): QueueOptions {
    const bdp = Math.max(20_000, Math.min(2 ** 21, (rate_bps / 8) * 0.1));
    const ecn = this.#prng.bool();
    return this.#pick<QueueOptions>(
      { kind: 'droptail', bytes: bdp / 4 },
      { kind: 'droptail', bytes: bdp },
      { kind: 'droptail', bytes: Math.min(bdp * 10, 2 ** 21) },
      { kind: 'codel', bytes: bdp * 2, ecn },
      { kind: 'red', bytes: bdp * 2, ecn },
    );
  }

  #incidents(hosts: number, middle: readonly Segment[], mayFail: boolean): Incident[] {
    const prng = this.#prng;
    const segment = prng.below(middle.length);
    const found: Incident[] = [];
    const times = (most: number, make: (at_ms: number) => Incident) => {
      for (let i = 1 + prng.below(most); i > 0; i--) found.push(make(prng.below(4000)));
    };
    switch (this.#name) {
      case 'stalls':
        times(20, (at_ms) => ({
          kind: 'stall',
          at_ms,
          host: prng.below(hosts),
          ms: Math.round(this.#log(10, 2000)),
        }));
        break;
      case 'restart':
        times(2, (at_ms) => ({ kind: 'restart', at_ms, host: prng.below(hosts) }));
        break;
      case 'outage':
        times(mayFail ? 1 : 4, (at_ms) => {
          return {
            kind: 'outage',
            at_ms,
            segment,
            ms: mayFail ? 300_000 : Math.round(this.#log(50, 20_000)),
          };
        });
        break;
      case 'mtu':
        times(2, (at_ms) => ({ kind: 'mtu', at_ms, segment, mtu: this.#pick(1280, 1400, 1500) }));
        break;
      case 'nat':
        if (prng.bool(0.5)) times(2, (at_ms) => ({ kind: 'rebind', at_ms }));
        break;
    }
    return found;
  }

  #connections(
    hosts: readonly HostOptions[],
    left: number,
    rate_bps: number,
    backlog: number,
    mayFail: boolean,
    clean: boolean,
  ): ConnectionPlan[] {
    const prng = this.#prng;
    // Those that a full backlog turns away all come again after the same time, so they must not come at once.
    const within_ms = backlog < BACKLOG ? 3000 : this.#name === 'crowd' ? this.#pick(1, 500, 3000) : 1500;
    const crowd = this.#name === 'crowd';
    const count = crowd ? 10 + prng.below(41) : clean ? 1 + prng.below(3) : 1 + Math.floor(this.#log(1, 12));
    // What the link carries in some seconds, all connections together.
    const fair = Math.max(3000, ((rate_bps / 8) * 6) / count);
    const plans: ConnectionPlan[] = [];
    for (let id = 0; id < count; id++) {
      const client = prng.below(left);
      const server = left + prng.below(hosts.length - left);
      const six = (hosts[client].mtu ?? 1500) >= 1280;
      const abort = !clean && prng.bool(this.#name === 'nat' ? 0.05 : 0.1);
      // Who was answered with a cookie is forgotten if its ACK is lost: somebody has to ask.
      const cookies = hosts[server].limits.synCookies === 'always';
      const doomed = abort || mayFail;
      const most = Math.min(
        crowd ? 20_000 : 2_000_000,
        fair,
        200 * smallestBuffer(hosts[client], hosts[server]),
      );
      const ends = [
        this.#end(most, doomed, cookies, clean),
        this.#end(most, doomed, cookies, clean),
      ] as const;
      const last = prng.below(4);
      const end = (i: 0 | 1): EndPlan['end'] =>
        last === 3 ? 'time' : last === 2 ? 'sent' : i === last ? 'peer' : 'sent';
      const aborts = abort ? prng.below(2) : -1;
      const abortAfter = (i: 0 | 1) => (aborts === i ? prng.below(ends[0].bytes + ends[1].bytes + 1) : null);
      plans.push({
        id,
        client,
        server,
        at_ms: prng.below(within_ms),
        v6: six && prng.bool(),
        turns: prng.bool(0.3) ? 1 + prng.below(30) : 1,
        endAt_ms: 200 + prng.below(2000),
        simultaneous: this.#name !== 'nat' && this.#name !== 'stalls' && !doomed && prng.bool(0.06),
        clientPort: 0,
        ends: [
          { ...ends[0], end: end(0), abortAfter: abortAfter(0) },
          { ...ends[1], end: end(1), abortAfter: abortAfter(1) },
        ],
      });
    }
    return plans;
  }

  #end(most: number, doomed: boolean, asks: boolean, clean: boolean): EndPlan {
    const prng = this.#prng;
    const size = this.#pick(0, 1, 100, 3000, 3000, 20_000, 20_000, 100_000, 300_000, 2_000_000);
    const bytes = prng.below(Math.min(size, Math.floor(most)) + 1);
    let piece = this.#pick(1, 100, 1460, 5000, 65_536);
    // Single bytes are for short streams.
    if (bytes / piece > 2000) piece = 1460;
    return {
      bytes,
      piece,
      read: clean ? 'all' : prng.bool(0.6) ? 'all' : READS[1 + prng.below(READS.length - 1)],
      end: 'sent',
      pauses: prng.bool(0.2),
      abortAfter: null,
      noDelay: prng.bool(),
      keepAlive_ms: doomed || asks ? 1000 : this.#pick(0, 0, 3000),
      userTimeout_ms: doomed ? this.#pick(0, 20_000) : 0,
    };
  }
}
