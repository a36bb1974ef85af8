/** Memory for payload: enough for a long fat path by default, shared fairly, and no promise of it broken without need. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LongPath } from '../device/long-path.testing.ts';
import { Arena } from '../memory/arena.ts';
import { MODERN, type Peer, TcpContext } from '../tcp/testing.ts';
import { Engine } from './engine.ts';
import type { Conn } from './handlers.ts';
import { A4, auditEngine, B4, World } from './testing.ts';

const MSS = 1448;
const GBIT = 125_000;

/** One transfer over a path of 1 Gbit/s and 100 ms, with the limits that an engine has by default. */
class Transfer {
  now = 1000;
  received = 0;
  readonly path: LongPath;
  readonly a: Engine;
  readonly b: Engine;
  conn: Conn = 0;
  readonly #arena = new Arena(512 << 20);
  readonly #start = this.now;

  constructor(lose?: (n: number) => boolean) {
    const now = () => this.now;
    this.path = new LongPath(this.#arena, {
      now,
      bytesPerMs: GBIT,
      delay_ms: 50,
      queueBytes: 64e6,
      frames: 60_000,
      ...(lose === undefined ? {} : { lose }),
    });
    const engine = (i: 0 | 1, address: string) => {
      const limits = { connections: 16, miniBlocks: 16 };
      const e = new Engine({ arena: this.#arena, secret: Int32Array.of(1, 2, 3, i), now: this.now, limits });
      e.addInterface(this.path.ends[i], { addresses: [`${address}/24`] });
      return e;
    };
    this.a = engine(0, A4);
    this.b = engine(1, B4);
    // What is sent repeats after a prime number of bytes, so that a byte out of place shows.
    const block = 65_521;
    const bytes = Uint8Array.from(
      { length: 2 * block },
      (_, i) => Math.imul(i % block, 2_654_435_761) >>> 13,
    );
    let sent = 0;
    const pump = (conn: Conn) => {
      for (;;) {
        const from = sent % block;
        const taken = this.a.write(conn, bytes, from, from + block);
        sent += taken;
        if (taken < block) return;
      }
    };
    this.b.listen(
      { port: 7 },
      {
        data: (_conn, at, length) => {
          const from = this.received % block;
          if (
            Buffer.compare(this.#arena.u8.subarray(at, at + length), bytes.subarray(from, from + length)) !==
            0
          )
            throw new Error(`the bytes at ${this.received} are wrong`);
          this.received += length;
          return length;
        },
      },
    );
    this.conn = this.a.connect({ address: B4, port: 7 }, { open: pump, writable: pump });
  }

  /** @returns Gbit/s of payload in this time */
  run(ms: number): number {
    const end = this.now + ms;
    const before = this.received;
    while (this.now < end) {
      this.a.breath(this.now);
      this.b.breath(this.now);
      const timers = Math.floor(this.now) + Math.min(this.a.nextDeadline(), this.b.nextDeadline());
      this.now = Math.max(this.now + 0.05, Math.min(timers, this.now + this.path.nextDeadline()));
    }
    return ((this.received - before) * 8) / 1e6 / ms;
  }

  get roundTrips(): number {
    return (this.now - this.#start) / 100;
  }
}

describe('a long fat path', () => {
  test('is full as soon as slow start can fill it, and stays so', () => {
    const t = new Transfer();
    let wanted = 0;
    while (t.run(100) < 0.9) {
      // The window is never what holds the sender back.
      const { cwnd = 0, sndWnd = 0, inFlight = 0 } = t.a.info(t.conn) ?? {};
      if (t.received > 0 && sndWnd < cwnd && inFlight > sndWnd - 10 * MSS) wanted++;
      expect(t.roundTrips).toBeLessThan(15);
    }
    expect(wanted).toBe(0);
    // Of 1500 bytes 1448 are payload: at most 0.9653 Gbit/s.
    expect(t.run(2000)).toBeGreaterThan(0.96);
    expect(t.b.memory()).toMatchObject({ inUse: 0, level: 'calm' });
    expect(t.a.memory().level).toBe('calm');
    t.a.abort(t.conn);
    t.run(1000);
    auditEngine(t.a);
    auditEngine(t.b);
  }, 30_000);

  test('with losses: all that came behind them is kept, whatever it is', () => {
    const t = new Transfer((n) => n > 20_000 && n % 997 < 3 && n % 7 === 0 && n < 60_000);
    t.run(4000);
    expect(t.b.tcp.counters).toMatchObject({ outOfOrderDropped: 0, receiveNoMemory: 0, outOfOrderPruned: 0 });
    expect(t.b.tcp.counters.outOfOrder).toBeGreaterThan(5000);
    expect(t.received).toBeGreaterThan(30e6);
    t.a.abort(t.conn);
    t.run(1000);
    auditEngine(t.a);
    auditEngine(t.b);
  }, 30_000);
});

describe('promises', () => {
  test('data within a window that was told is dropped only when more was promised than there is', () => {
    const step = fc.record({
      peer: fc.nat(7),
      bytes: fc.integer({ min: 1, max: 60_000 }),
      takes: fc.constantFrom(0, 0, 1, 5000, 1e9),
      resume: fc.boolean(),
      gap: fc.boolean(),
      pause: fc.boolean(),
    });
    let drops = 0;
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 20, maxLength: 120, size: 'max' }),
        fc.constantFrom(100, 200, 400),
        (steps, chunks) => {
          const c = new TcpContext({ limits: { chunks, connections: 16 }, slots: 256 });
          const takes = new Map<Conn, number>();
          c.handlers.data = (conn, _at, length) => Math.min(length, takes.get(conn) ?? 0);
          c.listen();
          const { tcp } = c.engine;
          const peers = Array.from({ length: 8 }, (_, i) => {
            const peer = c.addPeer(6000 + i);
            peer.inject({ flags: 'S', options: MODERN });
            peer.inject();
            peer.take();
            return { peer, conn: c.conn, edge: 65_536, gone: 0 };
          });
          for (const { peer: which, bytes, takes: take, resume, gap, pause } of steps) {
            const p = peers[which];
            takes.set(p.conn, take);
            if (resume) {
              c.engine.resume(p.conn);
              c.run();
            }
            const before = tcp.counters.receiveNoMemory;
            const promised = peers.reduce((sum, { peer, conn, edge }) => {
              const { receiveQueue = 0 } = c.engine.info(conn) ?? {};
              return sum + edge - peer.sndNxt + receiveQueue;
            }, 0);
            const sent = Math.max(0, Math.min(bytes, p.edge - p.peer.sndNxt));
            // Until the program has seen a batch, each segment in it is promised two chunks.
            const needed = promised - sent + Math.ceil(sent / MSS) * 2 * tcp.chunks.dataBytes;
            send(c, p.peer, sent, gap);
            c.run();
            if (pause) c.pass(30);
            for (const s of p.peer.take()) p.edge = Math.max(p.edge, s.ack + (s.window << 9));
            // A chunk or two of each queue is not full; and an eighth is not for those who leave what they have.
            if (tcp.counters.receiveNoMemory > before) {
              drops++;
              expect(needed).toBeGreaterThan(((chunks * 7) / 8 - 3 * peers.length) * tcp.chunks.dataBytes);
            }
            // What was dropped comes again.
            p.peer.sndNxt = (((c.engine.info(p.conn)?.rcvNxt ?? 0) - p.peer.iss) | 0) >>> 0;
          }
          for (const { conn } of peers) {
            takes.set(conn, 1e9);
            c.engine.resume(conn);
          }
          c.run();
          for (const { conn } of peers) c.engine.abort(conn);
          c.run();
          auditEngine(c.engine);
        },
      ),
      // Hundreds of megabytes: shrinking would take longer than anybody waits.
      { numRuns: 25, endOnFailure: true },
    );
    // The smallest pool can't hold eight first windows.
    expect(drops).toBeGreaterThan(0);
  }, 60_000);
});

/** The next bytes of a peer's stream; with a gap, the first segment comes last. */
function send(c: TcpContext, peer: Peer, bytes: number, gap: boolean): void {
  const start = peer.sndNxt;
  const pieces: [number, number][] = [];
  for (let done = 0; done < bytes; done += MSS) pieces.push([start + done, Math.min(MSS, bytes - done)]);
  if (gap) pieces.push(...pieces.splice(0, 1));
  for (const [seq, length] of pieces) if (c.port.tx.available > 0) peer.send({ seq, length });
}

describe('sharing', () => {
  test('hundreds who don’t read, or to whom nobody listens, leave room for those who do', () => {
    const world = new World({ seed: 1, limits: { connections: 600, miniBlocks: 600, chunks: 1024 } });
    let fast = 0;
    world.b.listen({ port: 7, backlog: 600 }, { data: () => 0 });
    world.b.listen(
      { port: 8, backlog: 600 },
      {
        data: (_conn, _at, length) => {
          fast += length;
          return length;
        },
      },
    );
    const bytes = new Uint8Array(100_000);
    const pump = (conn: Conn) => {
      while (world.a.write(conn, bytes) === bytes.length);
    };
    const open = (port: number) =>
      world.a.connect({ address: B4, port, localAddress: A4 }, { open: pump, writable: pump });
    const conn = open(8);
    world.run(() => fast > 0, 1000);
    const slow = Array.from({ length: 300 }, () => open(7));
    world.pass(2000);
    // Both ends are short: b of what isn't read, a of what can't be sent.
    expect(world.b.tcp.chunks.free).toBeGreaterThanOrEqual(1024 >> 4);
    expect(world.a.tcp.chunks.free).toBeGreaterThanOrEqual(1024 >> 4);
    expect(world.b.memory().level).toBe('high');
    const before = fast;
    world.run(() => fast > before + 2_000_000, 60_000);
    for (const each of slow) world.a.abort(each);
    world.pass(500);
    for (const each of world.b.connections()) if (world.b.info(each)?.receiveQueue) world.b.abort(each);
    world.pass(100);
    expect(world.b.memory().level).toBe('calm');
    world.run(() => fast > before + 4_000_000, 10_000);
    world.a.abort(conn);
    world.pass(100);
    for (const each of world.b.connections()) world.b.abort(each);
    world.finish();
  }, 60_000);

  test('idle connections hold no chunk, even after they had much to say', () => {
    const count = 500;
    const world = new World({
      seed: 2,
      limits: { connections: count + 8, miniBlocks: count + 8, chunks: 4096 },
      arenaBytes: 64 << 20,
    });
    let got = 0;
    world.b.listen(
      { port: 7, backlog: count },
      {
        data: (_conn, _at, length) => {
          got += length;
          return length;
        },
      },
    );
    const bytes = new Uint8Array(50_000);
    const left = new Map<Conn, number>();
    const pump = (conn: Conn) => {
      const rest = left.get(conn) ?? bytes.length;
      left.set(conn, rest - world.a.write(conn, bytes, 0, rest));
    };
    const conns = Array.from({ length: count }, () =>
      world.a.connect({ address: B4, port: 7, localAddress: A4 }, { open: pump, writable: pump }),
    );
    world.run(() => got === count * bytes.length, 60_000);
    world.pass(5000);
    expect(world.a.memory().inUse).toBe(0);
    expect(world.b.memory().inUse).toBe(0);
    expect(world.b.memory().peak).toBeLessThan(64);
    for (const conn of conns) world.a.close(conn);
    world.pass(1000);
    for (const conn of world.b.connections()) world.b.close(conn);
    world.finish();
  }, 30_000);
});
