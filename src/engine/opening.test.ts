/** Many connections being opened: floods, a few ports for many, and storms of segments that make no sense. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MODERN, TcpContext } from '../tcp/testing.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { PROTOCOL_TCP } from '../wire/protocols.ts';
import { emitTcp } from '../wire/tcp.ts';
import type { Conn } from './handlers.ts';
import { auditEngine, B4, World } from './testing.ts';

const PORT = 7;

describe('a SYN flood', () => {
  /**
   * Twenty SYNs a ms for six seconds; after half a second of it, 40 clients connect and have a byte echoed.
   * @returns how many got it before the flood was over
   */
  function flooded(world: World, backlog: number): number {
    const { a, b, prng } = world;
    b.listen({ port: PORT, backlog }, { data: (conn, at, length) => b.send(conn, at, length) });
    const end = world.now + 6000;
    const flood = (): void => {
      for (let i = 0; i < 20; i++) {
        const src = `10.0.0.${3 + prng.below(200)}`;
        const options = prng.bool() ? MODERN : {};
        const payload = emitTcp(
          { srcPort: 1 + prng.below(65_535), dstPort: PORT, seq: prng.next(), flags: 2, options },
          { src, dst: B4 },
        );
        world.inject(emitIpv4Packet({ src, dst: B4, protocol: PROTOCOL_TCP, payload }));
      }
      if (world.now < end) world.after(1, flood);
    };
    flood();
    const served = new Set<Conn>();
    for (let i = 0; i < 40; i++) {
      world.after(500 + 20 * i, () => {
        const conn = a.connect(
          { address: B4, port: PORT },
          {
            data: (_conn, _at, length) => {
              served.add(conn);
              return length;
            },
          },
        );
        a.write(conn, Uint8Array.of(i));
      });
    }
    world.run(() => world.now >= end, 7000);
    const count = served.size;
    for (const conn of a.connections()) a.abort(conn);
    world.finish();
    return count;
  }

  const world = (synCookies: 'auto' | 'always' | 'never') =>
    new World({ seed: 7, link: 'ip', slots: 512, limits: { synCookies } });

  test.each(['auto', 'always'] as const)('locks no client out with cookies (%s)', (synCookies) => {
    const w = world(synCookies);
    expect(flooded(w, 32)).toBe(40);
    const { counters } = w.b.tcp;
    expect(counters.cookiesSent).toBeGreaterThan(50_000);
    expect(counters.cookiesAccepted).toBeGreaterThan(synCookies === 'always' ? 39 : 30);
    expect(counters.cookiesFailed).toBe(0);
  });

  test('does without them', () => {
    expect(flooded(world('never'), 32)).toBeLessThan(10);
  });
});

describe('a few ports for many connections', () => {
  /** Connects one after the other; `first` ends first. @returns how many ms of virtual time that took */
  function sequence(world: World, count: number, first: 'client' | 'server'): void {
    const { a, b } = world;
    b.listen(
      { port: PORT },
      {
        open: (conn) => first === 'server' && b.shutdown(conn),
        end: (conn) => b.shutdown(conn),
      },
    );
    let done = 0;
    let failed = 0;
    const connect = (): void => {
      a.connect(
        { address: B4, port: PORT },
        {
          open: (conn) => first === 'client' && a.shutdown(conn),
          end: (conn) => a.shutdown(conn),
          close: (_conn, reason) => {
            if (reason !== 0) failed++;
            if (++done < count) connect();
          },
        },
      );
    };
    connect();
    world.run(() => done === count, 600_000);
    expect(failed).toBe(0);
    world.finish();
  }

  const limits = { ephemeralPortMin: 40_000, ephemeralPortMax: 40_099 };

  test('30,000 connects out of 100 ports, whose TIME-WAITs are ours', () => {
    const world = new World({ seed: 3, limits });
    sequence(world, 30_000, 'client');
    expect(world.a.tcp.counters.timeWaitRecycled).toBeGreaterThan(29_000);
    expect(world.a.tcp.counters.timeWaitEvicted).toBe(0);
  }, 60_000);

  test('and with the server’s in the way', () => {
    const world = new World({ seed: 4, limits });
    sequence(world, 3000, 'server');
    expect(world.b.tcp.counters.timeWaitReused).toBeGreaterThan(2800);
  });

  test('ports are not the next one of another destination’s (RFC 6056 3.3.4)', () => {
    const c = new TcpContext();
    const port = (remote: number) => {
      const conn = c.engine.connect({ address: '10.0.0.2', port: remote }, {});
      return c.engine.endpoint(conn)!.localPort;
    };
    const first = port(1000);
    for (let i = 0; i < 5; i++) port(2000 + i);
    expect(port(1000)).toBe(first + 1);
  });

  test('when every one is open, connect() says so', () => {
    const c = new TcpContext({ limits: { ephemeralPortMin: 50_000, ephemeralPortMax: 50_003 } });
    const options = { address: '10.0.0.2', port: 9 };
    const ports = Array.from({ length: 4 }, () => {
      return c.engine.endpoint(c.engine.connect(options, {}))!.localPort;
    });
    expect(new Set(ports).size).toBe(4);
    expect(() => c.engine.connect(options, {})).toThrow('EADDRNOTAVAIL');
    c.engine.connect({ ...options, port: 10 }, {});
  });
});

test('storms of segments leave nothing behind', () => {
  const segment = fc.record({
    port: fc.nat(5),
    flags: fc.constantFrom('S', 'S', 'S.', '.', 'R', 'R.', 'F.', 'SF', 'P.', 'SR', ''),
    seq: fc.constantFrom(0, 0, 1, 1, 2, 5, -1, 70_000),
    ack: fc.constantFrom(0, 1, 1, 2, 9),
    length: fc.constantFrom(0, 0, 1, 10),
    offers: fc.boolean(),
    cookie: fc.constantFrom('none', 'asked', 'good', 'bad'),
    wait: fc.constantFrom(0, 0, 0, 10, 3000),
  });
  const modes = fc.constantFrom('auto', 'always', 'never');
  fc.assert(
    fc.property(modes, fc.boolean(), fc.array(segment, { maxLength: 60 }), (synCookies, reads, segments) => {
      const limits = {
        synCookies,
        connectionsPerSource: 4,
        halfOpenPerSource: 3,
        connections: 6,
        miniBlocks: 6,
      };
      const c = new TcpContext({ limits, version: 4 });
      let conn = 0;
      c.engine.listen(
        { port: 80, backlog: 2, fastOpen: 2 },
        {
          open: (opened) => {
            conn = opened;
          },
          data: (_conn, _at, length) => (reads ? length : 0),
          end: (ended) => c.engine.shutdown(ended),
        },
      );
      let good = new Uint8Array(8);
      const peers = Array.from({ length: 6 }, (_, i) => c.addPeer(6000 + i));
      for (const { port, offers, cookie, wait, ...given } of segments) {
        const peer = peers[port];
        const options = {
          ...(offers ? MODERN : {}),
          ...(cookie === 'none' ? {} : { fastOpenCookie: cookie === 'asked' ? new Uint8Array(0) : good }),
        };
        if (cookie === 'bad') good[0] ^= 1;
        peer.inject({ ...given, options });
        if (cookie === 'bad') good[0] ^= 1;
        for (const sent of peer.take())
          if (sent.options.fastOpenCookie) good = sent.options.fastOpenCookie.slice();
        if (wait > 0) c.pass(wait);
      }
      c.engine.close(conn);
      for (const left of c.engine.connections()) c.engine.abort(left);
      c.pass(300_000);
      auditEngine(c.engine);
    }),
    { numRuns: 300 },
  );
});
