/** Worlds of a few nodes: what links, routers, translators and NICs do to packets, seen by engines that talk through them. */
import { describe, expect, test } from 'vitest';
import { Trace } from '../device/trace.ts';
import { auditEngine } from '../engine/audit.ts';
import { Arena } from '../memory/arena.ts';
import { TCB } from '../tcp/block.ts';
import { CLOSED_CLEAN, CLOSED_RESET } from '../tcp/reasons.ts';
import type { Host, HostOptions } from './host.ts';
import type { LinkOptions } from './link.ts';
import { World } from './world.ts';

const PORT = 7;
const LIMITS = {
  connections: 16,
  miniBlocks: 16,
  chunks: 1024,
  records: 256,
  reassemblyBuffers: 8,
  udpSockets: 8,
  udpChunks: 8,
  timeWait_ms: 1000,
};
const arena = new Arena(96 << 20);

function newWorld(mtu = 1500): World {
  arena.reset();
  return new World({ seed: 1, arena, mtu });
}

function host(world: World, name: string, options: Partial<HostOptions> = {}): Host {
  return world.addHost(name, { limits: LIMITS, ...options });
}

/** Moves bytes from one host to another and back, checks what arrives, and tells how both ends closed. */
function transfer(world: World, from: Host, to: Host, bytes: number, six = false) {
  const data = Uint8Array.from({ length: bytes }, (_, i) => i * 7 + (i >> 8));
  const got: number[] = [];
  const reasons: number[] = [];
  let began = 0;
  let lasted = 0;
  const listener = to.engine.listen(
    { port: PORT },
    {
      data(_conn, at, length) {
        for (let i = 0; i < length; i++) got.push(arena.u8[at + i]);
        return length;
      },
      end(conn) {
        lasted = world.now_ms - began;
        to.engine.shutdown(conn);
      },
      close: (_conn, reason) => void reasons.push(reason),
    },
  );
  let sent = 0;
  const pump = (conn: number): void => {
    began ||= world.now_ms;
    sent += from.engine.write(conn, data, sent);
    if (sent === bytes) from.engine.shutdown(conn);
  };
  const address = six ? (to.address6 ?? '') : to.address4;
  const conn = from.engine.connect(
    { address, port: PORT },
    { open: pump, writable: pump, close: (_conn, reason) => void reasons.push(reason) },
  );
  return {
    conn,
    /** Until both ends are closed. */
    finish(limit_ms = 300_000) {
      const over = world.run(() => reasons.length === 2, limit_ms);
      to.engine.unlisten(listener);
      return { over, reasons, lasted, whole: Buffer.from(got).equals(Buffer.from(data)) };
    },
  };
}

const CLEAN = { over: true, whole: true, reasons: [CLOSED_CLEAN, CLOSED_CLEAN] };

describe.each([
  ['ether', false],
  ['ether', true],
  ['ip', false],
  ['ip', true],
] as const)('two hosts on %s, offload %s', (link, offload) => {
  test('talk in both versions, and leave nothing', () => {
    const world = newWorld();
    const [a, b] = [host(world, 'a', { link, offload }), host(world, 'b', { link, offload })];
    world.join(a, b, { rate_bps: 1e8, delay_ms: 5 }, { rate_bps: 1e8, delay_ms: 5 });
    for (const six of [false, true])
      expect(transfer(world, a, b, 300_000, six).finish()).toMatchObject(CLEAN);
  });

  test('lose nothing for good on a bad link', () => {
    const world = newWorld();
    const [a, b] = [host(world, 'a', { link, offload }), host(world, 'b', { link, offload })];
    const bad: LinkOptions = {
      rate_bps: 1e7,
      delay_ms: 5,
      loss: { kind: 'random', p: 0.02 },
      duplicate: 0.05,
      corrupt: 0.02,
      reorder: 0.1,
      reorder_ms: 7,
    };
    const { forth, back } = world.join(a, b, bad, bad);
    forth.isCalm = back.isCalm = true;
    transfer(world, a, b, 1).finish();
    forth.isCalm = back.isCalm = false;
    expect(transfer(world, a, b, 300_000).finish()).toMatchObject(CLEAN);
    const { lost, duplicated, corrupted, reordered } = forth.counters;
    for (const n of [lost, duplicated, corrupted, reordered]) expect(n).toBeGreaterThan(0);
    world.pass(400_000);
    for (const each of [a, b]) auditEngine(each.engine);
    expect(world.frames.inUse).toBe(0);
  });
});

describe('links', () => {
  const throughput = (options: LinkOptions): number => {
    const world = newWorld();
    const [a, b] = [host(world, 'a'), host(world, 'b')];
    world.join(a, b, options, { delay_ms: 1 });
    const { lasted } = transfer(world, a, b, 2_000_000).finish();
    return (2_000_000 * 8) / lasted / 1000;
  };

  test('carry their rate', () => {
    const mbps = throughput({ rate_bps: 2e7, delay_ms: 1 });
    expect(mbps).toBeGreaterThan(18);
    expect(mbps).toBeLessThan(20);
  });

  test("carry their trace's", () => {
    // An opportunity each ms: 12 Mbit/s.
    const mbps = throughput({ trace: new Trace(Array.from({ length: 100 }, (_, i) => i + 1)), delay_ms: 1 });
    expect(mbps).toBeGreaterThan(10.5);
    expect(mbps).toBeLessThan(12);
  });

  test('take their time', () => {
    const world = newWorld();
    const [a, b] = [host(world, 'a', { drift: 1e-4 }), host(world, 'b')];
    world.join(a, b, { delay_ms: 30 }, { delay_ms: 50, jitter_ms: 5 });
    const { conn, finish } = transfer(world, a, b, 1000);
    world.pass(120);
    expect(a.engine.info(conn)?.minRtt_ms).toBeGreaterThan(79.9);
    expect(a.engine.info(conn)?.minRtt_ms).toBeLessThan(85.1);
    expect(finish()).toMatchObject(CLEAN);
  });
});

describe('routers', () => {
  /** a ── r ──(narrow)── s ── b */
  const chain = (mtu: number, icmp = true, options: Partial<HostOptions> = {}) => {
    const world = newWorld(9000);
    const [a, b] = [host(world, 'a', { mtu: 4000, ...options }), host(world, 'b', { mtu: 4000, ...options })];
    const [r, s] = [world.addRouter('r', { icmp }), world.addRouter('s', { icmp })];
    world.join(a, r, {}, {});
    world.join(r, s, { mtu, delay_ms: 5 }, { mtu, delay_ms: 5 });
    world.join(s, b, {}, {});
    return { world, a, b, r, s };
  };

  test.each([false, true])('tell what is too big (IPv6: %s)', (six) => {
    const { world, a, b, r } = chain(1300);
    const { conn, finish } = transfer(world, a, b, 200_000, six);
    world.pass(200);
    expect(r.counters.errorsSent).toBeGreaterThan(0);
    const info = a.engine.info(conn);
    if (info !== null) expect(info.pathMtu).toBe(1300);
    expect(finish()).toMatchObject(CLEAN);
  });

  test('without ICMP are black holes', () => {
    const { world, a, b, r } = chain(1300, false);
    transfer(world, a, b, 200_000);
    world.pass(1000);
    expect(r.counters.tooBig).toBeGreaterThan(0);
    expect(r.counters.errorsSent).toBe(0);
  });

  test('count hops', () => {
    const world = newWorld();
    const [a, b] = [host(world, 'a'), host(world, 'b')];
    const routers = Array.from({ length: 70 }, (_, i) => world.addRouter(`r${i}`));
    for (const [i, r] of routers.entries()) if (i > 0) world.join(routers[i - 1], r, {}, {});
    world.join(a, routers[0], {}, {});
    world.join(routers[69], b, {}, {});
    transfer(world, a, b, 10);
    world.pass(2000);
    // The hop limit is 64.
    expect(routers[63].counters.expired).toBeGreaterThan(0);
    expect(routers[64].counters.forwarded).toBe(0);
  });
});

describe('translators', () => {
  const behind = (timeout_ms: number) => {
    const world = newWorld(4000);
    const [a, b, c] = ['a', 'b', 'c'].map((name) => host(world, name, { mtu: 4000 }));
    const nat = world.addNat('nat', { timeout_ms });
    const r = world.addRouter('r');
    for (const inside of [a, b])
      nat.addInside(world.join(inside, nat, { delay_ms: 1 }, { delay_ms: 1 }).forth);
    world.join(nat, r, { delay_ms: 5 }, { delay_ms: 5 });
    const { forth } = world.join(r, c, { delay_ms: 1, mtu: 1400 }, { delay_ms: 1 });
    return { world, a, b, c, nat, narrow: forth };
  };

  test('let those inside share an address, and pass ICMP errors on to whom they concern', () => {
    const { world, a, b, c, nat } = behind(60_000);
    const seen = new Set<string>();
    c.engine.listen(
      { port: 9 },
      {
        open: (conn) => void seen.add(`${c.engine.endpoint(conn)?.remoteAddress}`),
        end: (conn) => c.engine.shutdown(conn),
      },
    );
    for (const inside of [a, b])
      inside.engine.connect(
        { address: c.address4, port: 9, localPort: 4000 },
        { open: (conn) => inside.engine.shutdown(conn) },
      );
    world.pass(500);
    expect([...seen]).toEqual([`10.0.0.${nat.number}`]);
    const { conn, finish } = transfer(world, a, c, 100_000);
    world.pass(100);
    expect(a.engine.info(conn)?.pathMtu ?? 1400).toBe(1400);
    expect(finish()).toMatchObject(CLEAN);
  });

  test('forget what was idle: the peer knows nothing of what comes from another port', () => {
    const { world, a, c, nat } = behind(2000);
    const reasons: number[] = [];
    c.engine.listen({ port: 9 }, {});
    const close = (_conn: number, reason: number): void => void reasons.push(reason);
    const conn = a.engine.connect({ address: c.address4, port: 9 }, { close });
    world.pass(5000);
    a.engine.write(conn, Uint8Array.of(1, 2, 3));
    world.pass(500);
    expect(nat.expired).toBe(1);
    expect(reasons).toEqual([CLOSED_RESET]);
  });
});

describe('hosts', () => {
  test('that restart answer what they knew with RST', () => {
    const world = newWorld();
    const [a, b] = [host(world, 'a'), host(world, 'b')];
    world.join(a, b, { delay_ms: 5 }, { delay_ms: 5 });
    const reasons: number[] = [];
    b.engine.listen({ port: 9 }, {});
    const close = (_conn: number, reason: number): void => void reasons.push(reason);
    const conn = a.engine.connect({ address: b.address4, port: 9 }, { close });
    world.pass(100);
    b.restart();
    a.engine.write(conn, Uint8Array.of(1));
    world.pass(100);
    expect(reasons).toEqual([CLOSED_RESET]);
  });

  test('that stall answer afterwards, and lose what their ring has no room for', () => {
    const world = newWorld();
    const [a, b] = [host(world, 'a'), host(world, 'b', { slots: 16 })];
    world.join(a, b, { rate_bps: 1e8, delay_ms: 5 }, { rate_bps: 1e8, delay_ms: 5 });
    const { finish } = transfer(world, a, b, 500_000);
    world.after(30, () => b.stall(700));
    world.pass(600);
    expect(b.isStalled).toBe(true);
    const { lasted, ...rest } = finish();
    expect(rest).toMatchObject(CLEAN);
    expect(lasted).toBeGreaterThan(700);
    expect(b.nic.counters.rxDropped).toBeGreaterThan(0);
  });

  test('with offload send and take in many segments at once', () => {
    const world = newWorld();
    const [a, b] = [host(world, 'a', { offload: true }), host(world, 'b', { offload: true, breath_us: 100 })];
    const { forth } = world.join(a, b, { rate_bps: 1e9, delay_ms: 2 }, { rate_bps: 1e9, delay_ms: 2 });
    const { finish } = transfer(world, a, b, 1_000_000);
    expect(finish()).toMatchObject(CLEAN);
    expect(a.nic.counters.txFrames).toBeLessThan(forth.counters.frames / 2);
    expect(b.nic.counters.rxFrames).toBeLessThan(forth.counters.frames / 2);
  });
});

test('a tuple that is used again is another connection to whoever watches', () => {
  const world = newWorld();
  const [a, b] = [host(world, 'a'), host(world, 'b')];
  world.join(a, b, {}, {});
  const numbers: number[] = [];
  b.engine.listen({ port: 9 }, { end: (conn) => b.engine.shutdown(conn) });
  for (let i = 0; i < 2; i++) {
    let over = false;
    const conn = a.engine.connect(
      { address: b.address4, port: 9, localPort: 5000 },
      {
        open: (c) => a.engine.shutdown(c),
        close: () => {
          over = true;
        },
      },
    );
    numbers.push(a.engine.tcp.m[a.engine.tcp.blocks.find(conn) + TCB.ISS]);
    expect(world.run(() => over, 10_000)).toBe(true);
    world.pass(2000);
  }
  expect(new Set(numbers).size).toBe(2);
});
