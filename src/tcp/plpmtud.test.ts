/** Path MTU discovery by probes (RFC 4821, RFC 8899), segment by segment, and over paths that lose large packets. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { A4, A6, B4, B6, World } from '../engine/testing.ts';
import { nextSize } from './plpmtud.ts';
import { type Sent, TcpContext } from './testing.ts';

const OPTIONS = { mss: 1460, sackPermitted: true, windowScale: 7 };

describe('the size that is probed next', () => {
  test('is the top first, then between what passes and what is not ruled out, until nothing is', () => {
    const size = fc.integer({ min: 552, max: 65_535 });
    fc.assert(
      fc.property(size, size, size, (a, b, truth) => {
        const top = Math.max(a, b);
        let low = Math.min(a, b);
        let high = top;
        const passes = Math.max(truth, low);
        let probes = 0;
        while (high - low >= 8) {
          const next = nextSize(low, high, top);
          expect(next).toBeGreaterThan(low);
          expect(next).toBeLessThanOrEqual(high);
          if (next <= passes) low = next;
          else high = next - 1;
          probes++;
        }
        expect(Math.min(passes, top) - low).toBeLessThan(8);
        expect(probes).toBeLessThan(40);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    [1200, 1499, 1500, 1360],
    [1360, 1499, 1500, 1440],
    [1440, 1499, 1500, 1472],
    [1472, 1499, 1500, 1492],
    [2000, 3999, 4000, 3000],
    [1280, 1500, 1500, 1500],
  ])('between %i and %i, of %i at most: %i', (low, high, top, next) => {
    expect(nextSize(low, high, top)).toBe(next);
  });
});

describe('by hand', () => {
  function context(limits = {}): TcpContext {
    const patient = { congestion: 'reno', userTimeout_ms: 2 ** 30 } as const;
    return new TcpContext({ limits: { ...patient, ...limits } }).establish(OPTIONS);
  }

  /** Into the black hole and out of it: BASE has been acknowledged. */
  function blackHole(): TcpContext {
    const c = context();
    c.write(60_000);
    c.peer.take();
    c.pass(3000);
    const again = c.peer.take();
    // Expiries at 1 s and 3 s: the second falls back to BASE, 1200 B.
    expect(again.map((s) => [s.at, s.length])).toEqual([
      [1000, 1460],
      [3000, 1160],
    ]);
    expect(c.info).toMatchObject({ pathMtu: 1200, mss: 1160, mtuSearchHigh: 1500 });
    return c;
  }

  /** Acknowledges all that is out until a probe comes. @returns it */
  function untilProbe(c: TcpContext): Sent {
    for (let i = 0; i < 30; i++) {
      const sent = c.peer.take();
      const probe = sent.find((s) => s.length > c.info.mss);
      if (probe !== undefined) return probe;
      c.pass(10);
      c.peer.inject({ ack: c.peer.rcvNxt });
      if (c.info.sendQueue < 30_000) c.write(60_000);
    }
    throw new Error('no probe');
  }

  test('full segments that vanish are a black hole after two timeouts, and small ones aren’t', () => {
    blackHole();
    const small = context();
    small.write(1000);
    small.pass(10_000);
    expect(small.info).toMatchObject({ pathMtu: 1500, mtuSearchHigh: 0 });
    const off = context({ mtuProbing: 'off' });
    off.write(3000);
    off.pass(10_000);
    expect(off.info.pathMtu).toBe(1500);
  });

  test('BASE may be too much as well: then the floor, and no less', () => {
    const c = context();
    c.write(10_000);
    c.pass(100_000);
    expect(c.info.pathMtu).toBe(552);
    const six = new TcpContext({ version: 6 }).establish(OPTIONS);
    six.write(10_000);
    six.pass(100_000);
    expect(six.info.pathMtu).toBe(1280);
  });

  test('after an outage, which looks the same, the first probe makes up for it', () => {
    const c = context();
    c.write(60_000);
    c.pass(20_000);
    expect(c.info).toMatchObject({ pathMtu: 552, mtuSearchHigh: 1500 });
    c.peer.take();
    c.peer.inject({ ack: c.peer.rcvNxt });
    expect(untilProbe(c).length).toBe(1460);
    c.peer.inject({ ack: c.peer.rcvNxt });
    expect(c.info).toMatchObject({ pathMtu: 1500, mtuSearchHigh: 0 });
  });

  test('a probe is one segment of new data, and its arrival raises the MTU at once', () => {
    const c = blackHole();
    const probe = untilProbe(c);
    expect(probe).toMatchObject({ length: 1460 });
    expect(c.info).toMatchObject({ mtuProbe: 1500, mss: 1160 });
    // One at a time.
    expect(c.peer.take().every((s) => s.length <= 1160)).toBe(true);
    const { cwnd } = c.info;
    c.peer.inject({ ack: c.peer.rcvNxt });
    expect(c.info).toMatchObject({ pathMtu: 1500, mss: 1460, mtuSearchHigh: 0, mtuProbe: 0 });
    expect(c.info.cwnd).toBeGreaterThanOrEqual(cwnd);
    expect(c.engine.tcp.counters).toMatchObject({ mtuProbes: 1, mtuProbesAcked: 1, mtuProbesLost: 0 });
  });

  test('a probe’s loss is no congestion, rules out its size when it happens twice, and the data comes smaller', () => {
    const c = blackHole();
    for (let time = 1; time <= 2; time++) {
      const probe = untilProbe(c);
      expect(probe.length).toBe(1460);
      const { cwnd } = c.info;
      const end = c.peer.rcvNxt;
      c.peer.take();
      // All behind it arrives.
      c.pass(10);
      for (let to = probe.seq + 1460 + 1160; to <= end; to += 1160) {
        c.peer.inject({ ack: probe.seq, options: { sack: sackOf(c, probe.seq + 1460, to) } });
      }
      const again = c.peer.take().filter((s) => s.seq < probe.seq + 1460);
      expect(again.map((s) => [s.seq - probe.seq, s.length])).toEqual([
        [0, 1160],
        [1160, 300],
      ]);
      c.pass(10);
      c.peer.inject({ ack: c.peer.rcvNxt });
      expect(c.info).toMatchObject({
        recovery: 'none',
        pathMtu: 1200,
        mtuSearchHigh: time === 1 ? 1500 : 1499,
      });
      expect(c.info.cwnd).toBeGreaterThanOrEqual(cwnd);
    }
    expect(untilProbe(c).length).toBe(1360 - 40);
  });

  function sackOf(c: TcpContext, from: number, to: number): [number, number][] {
    return [[(c.peer.irs + from) >>> 0, (c.peer.irs + to) >>> 0]];
  }

  test('what else is lost with a probe is congestion', () => {
    const c = blackHole();
    const probe = untilProbe(c);
    const { cwnd } = c.info;
    const end = c.peer.rcvNxt;
    // The segment behind the probe is lost too.
    c.pass(10);
    for (const to of [end - 2, end - 1, end]) {
      c.peer.inject({ ack: probe.seq, options: { sack: sackOf(c, probe.seq + 1460 + 1160, to) } });
    }
    expect(c.info.recovery).toBe('fast');
    c.peer.take();
    c.pass(10);
    c.peer.inject({ ack: c.peer.rcvNxt });
    expect(c.info.cwnd).toBeLessThan(cwnd);
  });

  test('after a search it waits ten minutes, and then tries the top again', () => {
    const c = blackHole();
    // Nothing above 1200 passes.
    let probes = 0;
    for (let i = 0; i < 400 && c.info.mtuSearchHigh - c.info.pathMtu >= 8; i++) {
      const probe = untilProbe(c);
      probes++;
      c.peer.inject({
        ack: probe.seq,
        options: { sack: sackOf(c, probe.seq + probe.length, c.peer.rcvNxt) },
      });
      c.pass(10);
      c.peer.inject({ ack: c.peer.rcvNxt });
    }
    expect(c.info.pathMtu).toBe(1200);
    expect(probes).toBeLessThan(20);
    expect(() => untilProbe(c)).toThrow('no probe');
    while (c.info.sendQueue > 0) c.peer.inject({ ack: c.peer.rcvNxt });
    c.pass(600_000);
    c.write(60_000);
    expect(untilProbe(c).length).toBe(1460);
  });

  test('what is found is kept for other connections to the same host, for a while', () => {
    const c = blackHole();
    for (let i = 0; i < 2; i++) {
      const probe = untilProbe(c);
      c.peer.inject({ ack: probe.seq, options: { sack: sackOf(c, probe.seq + 1460, c.peer.rcvNxt) } });
      c.pass(10);
      c.peer.inject({ ack: c.peer.rcvNxt });
    }
    const other = c.addPeer(5001);
    const open = () => {
      other.inject({ flags: 'S', options: OPTIONS });
      other.take();
      other.inject();
      return c.info.pathMtu;
    };
    expect(open()).toBe(1200);
    c.pass(600_001);
    other.inject({ flags: 'R' });
    c.run();
    other.iss = 77;
    other.sndNxt = 0;
    expect(open()).toBe(1500);
  });

  test('with `always` a connection starts at BASE and probes', () => {
    const c = context({ mtuProbing: 'always' });
    expect(c.info).toMatchObject({ pathMtu: 1200, mss: 1160, mtuSearchHigh: 1500 });
    c.write(20_000);
    expect(
      c.peer
        .take()
        .map((s) => s.length)
        .slice(0, 2),
    ).toEqual([1460, 1160]);
  });
});

describe.each([
  ['v4', A4, B4],
  ['v6', A6, B6],
] as const)('over a path that loses large packets without a word, %s', (_name, local, address) => {
  const run = (seed: number, mtu: number, path: number, offload: boolean, loss = 0) => {
    const world = new World({ seed, mtu, offload, arenaBytes: 160 << 20 });
    const delay_ms = 5;
    world.network.set('rx', { mtu: path, delay_ms, loss });
    world.network.set('tx', { mtu: path, delay_ms, loss });
    const total = 3_000_000;
    let got = 0;
    world.b.listen(
      { port: 7 },
      {
        data: (_conn, _at, length) => {
          got += length;
          return length;
        },
      },
    );
    const bytes = new Uint8Array(total);
    let sent = 0;
    const pump = (conn: number) => {
      sent += world.a.write(conn, bytes, sent);
    };
    const start = world.now;
    const conn = world.a.connect({ address, localAddress: local, port: 7 }, { open: pump, writable: pump });
    world.run(() => got === total, 300_000);
    const result = { took: world.now - start, info: world.a.info(conn), counters: world.a.tcp.counters };
    world.a.abort(conn);
    world.finish();
    return result;
  };

  test.each([
    [1500, 1400],
    [1500, 1492],
    [1500, 1280],
    [9000, 1500],
    [9000, 4000],
  ])('finds from %i, without ICMP, that %i passes', (mtu, path) => {
    for (const offload of [false, true]) {
      const { took, info, counters } = run(mtu + path, mtu, path, offload);
      expect(info?.pathMtu).toBeLessThanOrEqual(path);
      expect(info?.pathMtu).toBeGreaterThan(path - 8);
      expect(counters.mtuBlackHoles).toBe(1);
      // Two timeouts at the start, and no slow transfer afterwards.
      expect(took).toBeLessThan(5000);
    }
  });

  test('does so too when others are lost', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const { info } = run(seed, 1500, 1400, false, 0.01);
      expect(info?.pathMtu).toBeLessThanOrEqual(1400);
      expect(info?.pathMtu).toBeGreaterThanOrEqual(1200);
    }
  });
});
