/** Everything that can run out does: it is counted and refused, others go on, and all recovers. */
import { describe, expect, test } from 'vitest';
import { TcpContext } from '../tcp/testing.ts';
import type { Conn, Handlers } from './handlers.ts';
import { A4, auditEngine, B4, World } from './testing.ts';

const PORT = 7;
const MIB = 1 << 20;

/** On a: connections to b that send so many bytes each, and count what comes back. */
class Clients {
  readonly world: World;
  readonly conns: Conn[] = [];
  readonly open = new Set<Conn>();
  readonly closed = new Map<Conn, number>();
  readonly ended = new Set<Conn>();
  readonly sent = new Map<Conn, number>();
  readonly received = new Map<Conn, number>();
  readonly handlers: Handlers;
  bytes: number;

  constructor(world: World, bytes = 0) {
    this.world = world;
    this.bytes = bytes;
    const { a } = world;
    this.handlers = {
      open: (conn) => {
        this.open.add(conn);
        this.pump(conn);
      },
      writable: (conn) => this.pump(conn),
      data: (conn, _at, length) => {
        this.received.set(conn, (this.received.get(conn) ?? 0) + length);
        return length;
      },
      end: (conn) => {
        this.ended.add(conn);
        a.close(conn);
      },
      close: (conn, reason) => {
        this.open.delete(conn);
        this.closed.set(conn, reason);
      },
    };
  }

  connect(count: number, port = PORT): Conn[] {
    const fresh = Array.from({ length: count }, () =>
      this.world.a.connect({ address: B4, port, localAddress: A4 }, this.handlers),
    );
    this.conns.push(...fresh);
    return fresh;
  }

  pump(conn: Conn): void {
    for (;;) {
      const done = this.sent.get(conn) ?? 0;
      const n = Math.min(this.bytes - done, 10_000);
      if (n <= 0) return;
      const taken = this.world.a.write(conn, new Uint8Array(n));
      if (taken > 0) this.sent.set(conn, done + taken);
      if (taken < n) return;
    }
  }
}

/** A server on b that answers what it gets, and ends when the peer does. */
function echo(world: World, port: number): void {
  world.b.listen(
    { port },
    {
      data: (conn, at, length) => {
        world.b.send(conn, at, length);
        return length;
      },
      end: (conn) => world.b.shutdown(conn),
    },
  );
}

/** One byte there and back, on a connection of its own. */
function works(world: World, port: number): void {
  const clients = new Clients(world, 100);
  const [conn] = clients.connect(1, port);
  world.run(() => clients.received.get(conn) === 100, 60_000);
  world.a.close(conn);
  world.run(() => clients.closed.has(conn), 60_000);
}

describe('chunks', () => {
  test('slow readers take nearly all; programs that read go on; reading gives all back', () => {
    const world = new World({ seed: 1, limits: { chunks: 256, receiveBuffer: MIB, sendBuffer: 16_384 } });
    const readers = new Set<Conn>();
    let reading = false;
    let got = 0;
    world.b.listen(
      { port: PORT },
      {
        data: (conn, _at, length) => {
          readers.add(conn);
          if (!reading) return 0;
          got += length;
          return length;
        },
        end: (conn) => world.b.close(conn),
      },
    );
    echo(world, 8);
    const clients = new Clients(world, 100_000);
    clients.connect(10);
    world.pass(5000);
    const { tcp } = world.b;
    expect(tcp.counters.receiveNoMemory).toBeGreaterThan(0);
    expect(tcp.chunks.free).toBeLessThan(80);
    for (let i = 0; i < 5; i++) works(world, 8);
    expect(clients.closed.size).toBe(0);
    reading = true;
    for (const conn of readers) world.b.resume(conn);
    world.run(() => got === 10 * 100_000, 120_000);
    for (const conn of clients.conns) world.a.close(conn);
    world.finish();
  });

  test('send queues take no more than seven eighths, and senders are told when there is room', () => {
    const world = new World({ seed: 2, limits: { chunks: 256, receiveBuffer: 4096, sendBuffer: MIB } });
    const stuck: Conn[] = [];
    let reading = false;
    let got = 0;
    world.b.listen(
      { port: PORT },
      {
        data: (conn, _at, length) => {
          stuck.push(conn);
          if (!reading) return 0;
          got += length;
          return length;
        },
      },
    );
    echo(world, 8);
    const clients = new Clients(world, 300_000);
    clients.connect(8);
    world.pass(2000);
    expect(world.a.tcp.counters.sendNoMemory).toBeGreaterThan(0);
    expect(world.a.tcp.chunks.free).toBeGreaterThanOrEqual(256 >> 3);
    reading = true;
    for (const conn of new Set(stuck)) world.b.resume(conn);
    world.run(() => got === 8 * 300_000, 300_000);
    works(world, 8);
    for (const conn of clients.conns) world.a.abort(conn);
    world.finish();
  });

  test('a flood of out-of-order data leaves a quarter, and what is in order is taken', () => {
    const c = new TcpContext({ limits: { chunks: 64, connections: 16 } }).listen();
    const peers = Array.from({ length: 8 }, (_, i) => c.addPeer(6000 + i));
    for (const peer of peers) {
      peer.inject({ flags: 'S', options: { mss: 1460 } });
      peer.inject();
    }
    for (let i = 0; i < 30; i++) for (const peer of peers) peer.inject({ seq: 1001 + 1000 * i, length: 500 });
    const { tcp } = c.engine;
    expect(tcp.counters.outOfOrderDropped).toBeGreaterThan(100);
    expect(tcp.chunks.free).toBeGreaterThanOrEqual(16);
    c.events();
    c.peer.inject({ flags: 'S' });
    c.peer.inject();
    c.peer.inject({ length: 500 });
    expect(c.events()).toEqual(['open', 'data 500']);
    for (const peer of peers) peer.inject({ flags: 'R', seq: 1 });
    c.peer.inject({ flags: 'R' });
    auditEngine(c.engine);
  });

  test('in one batch: out-of-order data and SACKs may not take what was promised to data before them', () => {
    const c = new TcpContext({ limits: { chunks: 16 }, slots: 256 }).establish({
      mss: 1460,
      sackPermitted: true,
    });
    c.takes = () => 0;
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 20; i++) {
        c.peer.send({ length: 1000 });
        c.peer.send({ seq: c.peer.sndNxt + 2000 + 3000 * i, length: 1000 });
      }
      c.run();
      c.peer.take();
      c.peer.sndNxt = (c.info.rcvNxt - c.peer.iss) | 0;
    }
    c.takes = (length) => length;
    c.engine.resume(c.conn);
    c.run();
    c.engine.abort(c.conn);
    c.run();
    auditEngine(c.engine);
  });
});

describe('blocks', () => {
  test('no control block: connect() refuses; accepted connections wait half open until one is free', () => {
    const world = new World({ seed: 3, limits: { connections: 8 } });
    echo(world, PORT);
    const clients = new Clients(world, 100);
    clients.connect(8);
    expect(() => clients.connect(1)).toThrow('ENOBUFS');
    world.run(() => clients.received.size === 8, 10_000);
    // Now the server's side: one of its eight is taken by a connection that we don't know of any more.
    const [first, ...rest] = clients.conns;
    world.network.set('rx', { loss: 1 });
    world.a.abort(first);
    world.pass(100);
    world.network.set('rx', {});
    expect(world.b.tcp.blocks.inUse).toBe(8);
    clients.connect(1);
    const late = clients.conns[8];
    world.run(() => clients.open.has(late), 5000);
    world.pass(1000);
    expect(clients.received.has(late)).toBe(false);
    expect(world.b.tcp.counters.blocksExhausted).toBeGreaterThan(0);
    world.a.close(rest[0]);
    world.run(() => clients.received.get(late) === 100, 60_000);
    for (const conn of clients.conns) world.a.abort(conn);
    world.pass(1000);
    for (let i = 0; i <= world.b.tcp.table.mask; i++) {
      const t = world.b.tcp.m[world.b.tcp.table.base + 2 * i + 1];
      // The one whose RST was lost.
      if (t !== 0) world.b.abort(world.b.tcp.m[t + 15]);
    }
    world.finish();
  });

  test('without cookies a SYN flood fills the backlog, or all mini blocks; connections go on, and it ends by itself', () => {
    for (const [backlog, miniBlocks, counter] of [
      [20, 64, 'backlogFull'],
      [1000, 64, 'miniExhausted'],
    ] as const) {
      const c = new TcpContext({ limits: { miniBlocks, synAckRetries: 2, synCookies: 'never' } });
      c.engine.listen({ port: 80, backlog }, c.handlers);
      c.peer.inject({ flags: 'S' });
      c.peer.inject();
      expect(c.events()).toEqual(['open']);
      for (let i = 0; i < 500; i++) {
        c.packet(c.wrap({ srcPort: 10_000 + i, dstPort: 80, seq: i, flags: 2 }));
        if (i % 20 === 19) c.run();
      }
      const { counters, minis } = c.engine.tcp;
      expect(counters[counter]).toBe(500 - Math.min(backlog, miniBlocks));
      c.peer.inject({ length: 10 });
      expect(c.events()).toEqual(['data 10']);
      const other = c.addPeer(7000);
      other.inject({ flags: 'S' });
      other.expectNothing();
      c.pass(10_000);
      expect(minis.inUse).toBe(1);
      other.inject({ flags: 'S', seq: 0 });
      other.expect({ flags: 'S.' });
      other.inject({ seq: 1 });
      expect(c.events()).toEqual(['open']);
      c.engine.abort(c.conn);
      c.peer.inject({ flags: 'R' });
      auditEngine(c.engine);
    }
  });

  test('TIME-WAITs give their mini blocks to new connections, the oldest first', () => {
    const world = new World({ seed: 4, limits: { miniBlocks: 16, connections: 64 } });
    echo(world, PORT);
    for (let i = 0; i < 60; i++) works(world, PORT);
    expect(world.a.tcp.counters.timeWaitEvicted).toBe(60 - 16);
    world.finish();
  });

  test('a full flow table refuses new connections both ways', () => {
    const c = new TcpContext({ limits: { connections: 4, miniBlocks: 4 } }).establish();
    const { table, counters } = c.engine.tcp;
    // As if others were there: entries that no packet matches.
    const nobody = (c.arena.carve('nobody', 4096) >> 2) + 64;
    let filled = 0;
    while (table.insert(filled * 77, nobody + filled)) filled++;
    const other = c.addPeer(7000);
    other.inject({ flags: 'S' });
    other.expectNothing();
    expect(counters.tableFull).toBe(1);
    expect(() => c.engine.connect({ address: '10.0.0.2', port: 9 }, {})).toThrow('ENOBUFS');
    expect(counters.tableFull).toBe(2);
    c.peer.inject({ length: 10 });
    expect(c.received).toBe(10);
    for (let i = 0; i < filled; i++) table.remove(i * 77, nobody + i);
    other.inject({ flags: 'S', seq: 0 });
    other.expect({ flags: 'S.' });
    other.inject({ flags: 'R', seq: 1 });
    c.peer.inject({ flags: 'R' });
    auditEngine(c.engine);
  });
});

describe('the way out', () => {
  test('a port that takes nothing for a while: nothing is lost, nothing spins', () => {
    const world = new World({ seed: 5, slots: 16 });
    const stuck = world.network.inner.txSync.bind(world.network.inner);
    echo(world, PORT);
    const clients = new Clients(world, 20_000);
    clients.connect(20);
    world.pass(5);
    world.network.inner.txSync = () => world.network.inner.tx.available;
    const before = world.now;
    world.pass(3000);
    expect(world.now - before).toBeGreaterThanOrEqual(3000);
    world.network.inner.txSync = stuck;
    world.run(() => [...clients.received.values()].filter((n) => n === 20_000).length === 20, 60_000);
    for (const conn of clients.conns) world.a.close(conn);
    world.finish();
  });

  test('a neighbour that never answers: connect() fails when its SYN may be sent no more', () => {
    const world = new World({ seed: 6, limits: { synRetries: 3 } });
    const clients = new Clients(world);
    for (let i = 0; i < 2; i++) {
      const began = world.now;
      const conns = Array.from({ length: 10 }, () =>
        world.a.connect({ address: '10.0.0.77', port: 9 }, clients.handlers),
      );
      world.run(() => conns.every((conn) => clients.closed.get(conn) === 4), 20_000);
      // 1, 2, 4 and 8 s.
      expect(world.now - began).toBeGreaterThan(14_900);
    }
    world.finish();
  });

  test('a neighbour whose answers are lost at first: connect() comes through', () => {
    const world = new World({ seed: 8 });
    echo(world, PORT);
    const { neighbours } = world.a.ip.interfaces[0];
    while (neighbours.oldest !== 0) neighbours.remove(neighbours.oldest);
    neighbours.remove(neighbours.find(4, 0x0a000002, 0, 0, 0));
    world.network.set('rx', { loss: 1 });
    const clients = new Clients(world, 100);
    clients.connect(3);
    world.pass(20_000);
    expect([clients.closed.size, world.a.ip.interfaces[0].counters.neighbourFailed]).toEqual([0, 3]);
    world.network.set('rx', {});
    world.run(() => [...clients.received.values()].filter((n) => n === 100).length === 3, 20_000);
    for (const conn of clients.conns) world.a.close(conn);
    world.finish();
  });

  test('a neighbour that falls silent and comes back', () => {
    const world = new World({ seed: 7 });
    echo(world, PORT);
    const clients = new Clients(world, 100);
    clients.connect(5);
    world.run(() => clients.received.size === 5, 10_000);
    world.network.set('rx', { loss: 1 });
    world.network.set('tx', { loss: 1 });
    clients.bytes = 200;
    for (const conn of clients.conns) clients.pump(conn);
    // Longer than it takes to find out that nobody is there, and to forget it.
    world.pass(60_000);
    expect(clients.closed.size).toBe(0);
    world.network.set('rx', {});
    world.network.set('tx', {});
    world.run(() => [...clients.received.values()].every((n) => n === 200), 60_000);
    for (const conn of clients.conns) world.a.close(conn);
    world.finish();
  });
});

describe('programs', () => {
  test('10,000 connections aborted at once: each peer is told', () => {
    const count = 10_000;
    const world = new World({
      seed: 8,
      arenaBytes: 128 * MIB,
      limits: { connections: count + 10, miniBlocks: count + 10, chunks: 1024 },
    });
    const resets: number[] = [];
    world.b.listen({ port: PORT, backlog: count }, { close: (_conn, reason) => resets.push(reason) });
    const clients = new Clients(world);
    clients.connect(count);
    world.run(() => clients.open.size === count && world.b.tcp.counters.passiveOpens === count, 30_000);
    for (const conn of clients.conns) world.a.abort(conn);
    world.run(() => resets.length === count, 30_000);
    expect(new Set(resets)).toEqual(new Set([1]));
    expect(new Set(clients.closed.values())).toEqual(new Set([5]));
    world.finish();
  }, 30_000);

  test('a handler that always asks for more can’t hold the engine', () => {
    const c = new TcpContext({ handlers: { drained: (conn) => c.engine.notifyDrained(conn) } }).establish();
    c.engine.notifyDrained(c.conn);
    for (let i = 0; i < 10; i++) c.engine.breath(c.now);
    expect(c.events().length).toBe(10);
    c.engine.abort(c.conn);
    c.run();
    auditEngine(c.engine);
  });

  test.each(['open', 'data', 'end', 'writable', 'drained', 'close'] as const)(
    'a %s handler that throws loses its connection, nothing else',
    (which) => {
      const world = new World({ seed: 9, limits: { sendBuffer: 10_000 } });
      const errors: string[] = [];
      world.b.onHandlerError = (error) => errors.push((error as Error).message);
      const poor: Handlers = {
        open: (conn) => {
          world.b.write(conn, new Uint8Array(30_000));
          world.b.notifyDrained(conn);
        },
      };
      const fail = () => {
        throw new Error(which);
      };
      world.b.listen({ port: PORT }, { ...poor, [which]: fail });
      echo(world, 8);
      const clients = new Clients(world, 100);
      clients.connect(3);
      const others = new Clients(world, 5000);
      others.connect(3, 8);
      world.pass(1000);
      for (const conn of clients.conns) if (clients.open.has(conn)) world.a.shutdown(conn);
      world.pass(1000);
      for (const conn of clients.conns) if (clients.open.has(conn) && which === 'close') world.a.abort(conn);
      world.pass(1000);
      expect(errors).toEqual([which, which, which]);
      expect(clients.closed.size).toBe(3);
      expect([...others.received.values()]).toEqual([5000, 5000, 5000]);
      for (const conn of others.conns) world.a.close(conn);
      world.finish();
    },
  );
});
