/** Each module on a path of its own, in virtual time: what it gets out of it, and how it shares it. */
import { describe, expect, test } from 'vitest';
import { TCB } from '../block.ts';
import { BBR, BBR_STATE, STATE_MASK } from './bbr-words.ts';
import { type CongestionControl, slowStart } from './control.ts';
import { type Flow, MSS, Path, WIRE } from './path.testing.ts';
import { reno } from './reno.ts';

/** Share of the link's goodput over the next `ms`. */
function share(path: Path, flow: Flow, ms: number): number {
  const before = flow.delivered;
  path.run(ms);
  return (flow.delivered - before) / ((path.bytesPerUs * ms * 1000 * MSS) / WIRE);
}

function bbrState(flow: Flow): number {
  return flow.path.tcp.m[flow.t + BBR.BITS] & STATE_MASK;
}

/** Runs until `done`, a ms at a time. @returns ms */
function until(path: Path, done: () => boolean, limit_ms: number): number {
  for (let ms = 0; ms < limit_ms; ms++) {
    if (done()) return ms;
    path.run(1);
  }
  throw new Error(`not within ${limit_ms} ms`);
}

describe('1 Gbit/s, 100 ms', () => {
  test.each(['reno', 'cubic', 'bbr'])('%s fills a clean path', (name) => {
    const path = new Path({ mbps: 1000, rtt_ms: 100, queue: 1 });
    const flow = path.add(name);
    path.run(3000);
    expect(share(path, flow, 10_000)).toBeGreaterThan(0.95);
  });

  test.each(['reno', 'cubic'])('%s fills it when it is paced too', (name) => {
    const path = new Path({ mbps: 1000, rtt_ms: 100, queue: 1 });
    const flow = path.add(name, true);
    path.run(3000);
    expect(share(path, flow, 10_000)).toBeGreaterThan(0.95);
  });

  test('bbr gets more than 90 % of it through 1 % random loss, where cubic gets next to nothing', () => {
    const path = new Path({ mbps: 1000, rtt_ms: 100, loss: 0.01, seed: 7 });
    const flow = path.add('bbr');
    expect(share(path, flow, 30_000)).toBeGreaterThan(0.9);
    const other = new Path({ mbps: 1000, rtt_ms: 100, loss: 0.01, seed: 7 });
    expect(share(other, other.add('cubic'), 30_000)).toBeLessThan(0.05);
  });
});

describe('response functions: the mean window at a loss rate, segments', () => {
  const RTT_MS = 50;

  function meanWindow(name: string, loss: number, rtt_ms: number): number {
    const path = new Path({ mbps: 20_000, rtt_ms, loss, seed: 11 });
    const flow = path.add(name);
    const warm = 50_000;
    // Some hundreds of losses, whatever the rate.
    const ms = loss < 0.001 ? 400_000 : 100_000;
    path.run(warm);
    const before = flow.delivered;
    path.run(ms);
    expect(flow.losses).toBeGreaterThan(40);
    return (((flow.delivered - before) / MSS) * rtt_ms) / ms;
  }

  // RFC 3649 5's for Reno: 1.2 / sqrt(p).
  test.each([0.0001, 0.001, 0.01])('reno at %f', (p) => {
    const ratio = meanWindow('reno', p, RTT_MS) / (1.2 / Math.sqrt(p));
    expect(ratio).toBeGreaterThan(0.75);
    expect(ratio).toBeLessThan(1.3);
  });

  // RFC 9438 5.2: 1.054 (RTT / p)^0.75, where that is more than Reno's.
  test.each([
    [0.0001, 200],
    [0.001, 200],
    [0.0001, 50],
    [0.01, 50],
  ])('cubic at %f with %d ms', (p, rtt_ms) => {
    const curve = 1.054 * (rtt_ms / 1000 / p) ** 0.75;
    const friendly = 1.2 / Math.sqrt(p);
    const ratio = meanWindow('cubic', p, rtt_ms) / Math.max(curve, friendly);
    expect(ratio).toBeGreaterThan(0.75);
    expect(ratio).toBeLessThan(1.35);
  });
});

describe('sharing', () => {
  test.each([
    ['cubic', 0.4],
    ['reno', 0.4],
    ['bbr', 0.35],
  ] as const)('two %s flows share, the second 10 s late', (name, least) => {
    const path = new Path({ mbps: 100, rtt_ms: 40, queue: 1, noise: 8, seed: 5 });
    const flows = [path.add(name)];
    path.run(10_000);
    flows.push(path.add(name));
    path.run(60_000);
    const before = flows.map((flow) => flow.delivered);
    path.run(120_000);
    const got = flows.map((flow, i) => flow.delivered - before[i]);
    const total = got[0] + got[1];
    expect(Math.min(...got) / total).toBeGreaterThan(least);
    expect(total).toBeGreaterThan((0.9 * (path.bytesPerUs * 120e6 * MSS)) / WIRE);
  });
});

describe('HyStart++ (RFC 9406)', () => {
  /** Slow start as it was before, until loss. */
  const blind: CongestionControl = {
    ...reno,
    name: 'blind',
    acked(tcp, t, acked) {
      if (tcp.m[t + TCB.SSTHRESH] > 1e9) slowStart(tcp, t, acked, 1);
      else reno.acked(tcp, t, acked);
    },
  };

  test.each(['reno', 'cubic'])('%s leaves slow start before a deep queue overflows', (name) => {
    const path = new Path({ mbps: 200, rtt_ms: 60, queue: 6 });
    const flow = path.add(name);
    path.run(5000);
    expect(path.drops).toBe(0);
    expect(path.tcp.counters.hystartExits).toBe(1);
    expect(flow.ssthresh).toBeLessThan(flow.cwnd + 1);
    // It must not leave too early either.
    expect(share(path, flow, 1000)).toBeGreaterThan(0.99);
  });

  test('without it the same queue overflows', () => {
    const path = new Path({ mbps: 200, rtt_ms: 60, queue: 6, congestions: [blind] });
    path.add('blind');
    path.run(5000);
    expect(path.drops).toBeGreaterThan(1000);
  });

  test('in a queue of one BDP it saves most of the losses', () => {
    const losses = ['reno', 'blind'].map((name) => {
      const path = new Path({ mbps: 200, rtt_ms: 60, queue: 1, congestions: [blind] });
      path.add(name);
      path.run(3000);
      return path.drops;
    });
    expect(losses[0]).toBeLessThan(losses[1] / 2);
  });

  test('without samples of the round-trip time it is the old slow start', () => {
    const path = new Path({ mbps: 200, rtt_ms: 60, queue: 6 });
    const flow = path.add('cubic');
    flow.timed = false;
    path.run(5000);
    expect(path.tcp.counters.hystartDelays).toBe(0);
    expect(path.drops).toBeGreaterThan(1000);
  });

  test('a delay that goes away again lets slow start go on', () => {
    const path = new Path({ mbps: 1000, rtt_ms: 100, queue: 4 });
    const flow = path.add('reno');
    path.run(350);
    path.extra_us = 20_000;
    until(path, () => path.tcp.counters.hystartDelays === 1, 500);
    path.extra_us = 0;
    path.run(300);
    const before = flow.cwnd;
    path.run(101);
    expect(flow.cwnd).toBeGreaterThan(1.9 * before);
    expect(path.tcp.counters.hystartExits).toBe(0);
  });
});

describe('bbr', () => {
  const { STARTUP, DRAIN, PROBE_DOWN, PROBE_CRUISE, PROBE_REFILL, PROBE_UP, PROBE_RTT } = BBR_STATE;

  test('goes through its states in order, and probes as often as it should', () => {
    const path = new Path({ mbps: 100, rtt_ms: 40, queue: 2 });
    const flow = path.add('bbr');
    const seen = [STARTUP as number];
    const entered: Record<number, number[]> = {};
    flow.onAck = () => {
      const state = bbrState(flow);
      if (state === seen[seen.length - 1]) return;
      seen.push(state);
      entered[state] ??= [];
      entered[state].push(path.now / 1000);
    };
    path.run(30_000);
    // Once drained there is nothing to go down for.
    expect(seen.slice(0, 7)).toEqual([
      STARTUP,
      DRAIN,
      PROBE_CRUISE,
      PROBE_REFILL,
      PROBE_UP,
      PROBE_DOWN,
      PROBE_CRUISE,
    ]);
    // Every 5 s, and each for 200 ms and about a round trip.
    const gaps = entered[PROBE_RTT].slice(1).map((at, i) => at - entered[PROBE_RTT][i]);
    for (const gap of gaps) expect(gap).toBeGreaterThan(5000);
    for (const gap of gaps) expect(gap).toBeLessThan(5500);
    // 63 rounds of 40 ms are 2.5 s, the wait by the clock 2 to 3 s.
    expect(entered[PROBE_UP].length).toBeGreaterThan(6);
    expect(entered[PROBE_UP].length).toBeLessThan(20);
    expect(path.tcp.m[flow.t + BBR.MIN_RTT]).toBeLessThan(41_000);
  });

  test('keeps the queue short, where cubic fills it', () => {
    const queues = ['bbr', 'cubic'].map((name) => {
      const path = new Path({ mbps: 100, rtt_ms: 40, queue: 4 });
      const flow = path.add(name);
      path.run(5000);
      let sum = 0;
      let n = 0;
      flow.onAck = () => {
        sum += path.queued;
        n++;
      };
      path.run(20_000);
      return sum / n / path.queueMax;
    });
    expect(queues[0]).toBeLessThan(0.05);
    expect(queues[1]).toBeGreaterThan(0.3);
  });

  test('finds bandwidth that becomes free, and gives up what goes', () => {
    const path = new Path({ mbps: 20, rtt_ms: 40, queue: 8 });
    const flow = path.add('bbr');
    path.run(10_000);
    path.setRate(100);
    path.run(12_000);
    expect(share(path, flow, 5000)).toBeGreaterThan(0.9);
    path.setRate(10);
    path.run(15_000);
    expect(share(path, flow, 5000)).toBeGreaterThan(0.9);
    // Unless it is probing, of which a quarter of a BDP comes.
    expect(path.queued).toBeLessThan(path.queueMax / 5);
  });

  test('a program that sends little, then much, finds its bandwidth remembered', () => {
    const path = new Path({ mbps: 100, rtt_ms: 40, queue: 2 });
    const flow = path.add('bbr');
    path.run(4000);
    flow.backlog = 0;
    path.run(300);
    for (let i = 0; i < 40; i++) {
      flow.backlog = 20;
      path.run(100);
    }
    const { m } = path.tcp;
    const bw = m[flow.t + BBR.BW];
    expect((bw / 16) * 1000 * 8).toBeGreaterThan(85e6);
    // Idle for long, then all at once: no burst, and no slow start.
    path.run(3000);
    path.queuePeak = 0;
    flow.backlog = Number.POSITIVE_INFINITY;
    path.run(40);
    expect(path.queuePeak).toBeLessThan(path.queueMax / 4);
    expect(share(path, flow, 1000)).toBeGreaterThan(0.9);
  });

  test('slows down at once when a quarter is lost', () => {
    const path = new Path({ mbps: 100, rtt_ms: 40, queue: 2 });
    const flow = path.add('bbr');
    path.run(4000);
    path.loss = 0.25;
    path.run(2000);
    const before = flow.lost + flow.delivered;
    path.run(4000);
    const sent = flow.lost + flow.delivered - before;
    // At 0.75 of what it sends, and then that of it, and so on, with a new probe every 2 to 3 s.
    expect(sent / (path.bytesPerUs * 4e6)).toBeLessThan(0.7);
    path.loss = 0;
    path.run(6000);
    expect(share(path, flow, 4000)).toBeGreaterThan(0.9);
  });
});
