/** The touch pass may change nothing: thousands of flows, full blocks and mini ones, behave as a few do. */
import { expect, test } from 'vitest';
import { createCable } from '../device/cable.ts';
import { Arena } from '../memory/arena.ts';
import { BLOCK_BEFORE, BLOCK_WORDS } from '../tcp/block.ts';
import { Engine } from './engine.ts';
import { B4, B6, World } from './testing.ts';

const CONNECTIONS = 6000;

test('6,000 connections over IPv4 and IPv6 each get their own bytes back, while others end', () => {
  const world = new World({
    seed: 1,
    arenaBytes: 160 << 20,
    limits: { connections: CONNECTIONS + 64, miniBlocks: 2 * CONNECTIONS, chunks: 20_000 },
  });
  const { a, b, arena } = world;
  b.listen(
    { port: 7, backlog: 4096 },
    {
      data: (conn, at, length) => {
        b.send(conn, at, length);
        return length;
      },
      end: (conn) => b.shutdown(conn),
    },
  );
  const word = new DataView(new ArrayBuffer(4));
  let right = 0;
  let closed = 0;
  const numberOf = new Map<number, number>();
  const handlers = {
    open(conn: number) {
      word.setInt32(0, numberOf.get(conn) as number);
      a.write(conn, new Uint8Array(word.buffer));
    },
    data(conn: number, at: number, length: number) {
      if (length === 4 && arena.view.getInt32(at) === numberOf.get(conn)) right++;
      // Every third one ends, and stands in TIME-WAIT among the others.
      if ((numberOf.get(conn) as number) % 3 === 0) a.shutdown(conn);
      return length;
    },
    close() {
      closed++;
    },
  };
  for (let i = 0; i < CONNECTIONS; i++) {
    numberOf.set(a.connect({ address: i % 2 === 0 ? B4 : B6, port: 7, noDelay: true }, handlers), i);
    if (i % 256 === 255) world.pass(5);
  }
  world.run(() => right === CONNECTIONS && closed === CONNECTIONS / 3, 60_000);
  expect(a.tcp.table.count).toBeGreaterThan(4096);
  for (const conn of a.connections()) {
    word.setInt32(0, numberOf.get(conn) as number);
    a.write(conn, new Uint8Array(word.buffer));
  }
  world.run(() => right === CONNECTIONS + (CONNECTIONS * 2) / 3, 60_000);
});

test('a request and its answer touch five lines of the control block, those that the pass loads', () => {
  const arena = new Arena(32 << 20);
  const used = new Set<number>();
  let watching = false;
  const note = (key: string | symbol) => {
    if (watching && typeof key === 'string' && /^\d+$/.test(key)) used.add(Number(key));
  };
  const words = new Proxy(arena.i32, {
    get(target, key) {
      note(key);
      const value = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set(target, key, value) {
      note(key);
      return Reflect.set(target, key, value, target);
    },
  });
  Object.defineProperty(arena, 'i32', { value: words });
  const [pa, pb] = createCable(arena, 'cable');
  const limits = { connections: 64, miniBlocks: 64, chunks: 256, records: 64 };
  let now = 1000;
  const [a, b] = [pa, pb].map((port, i) => {
    const engine = new Engine({ arena, limits, now, secret: Int32Array.of(1, 2, 3, i) });
    engine.addInterface(port, { addresses: [`${i === 0 ? '10.0.0.1' : B4}/24`] });
    return engine;
  });
  b.listen(
    { port: 7, noDelay: true },
    {
      data(conn, at, length) {
        b.send(conn, at, length);
        return length;
      },
    },
  );
  const request = arena.carve('request', 64);
  let answers = 0;
  const conn = a.connect(
    { address: B4, port: 7, noDelay: true },
    {
      open: (c) => a.send(c, request, 1),
      data(c, _at, length) {
        answers++;
        a.send(c, request, 1);
        return length;
      },
    },
  );
  for (let i = 0; answers < 100 && i < 5000; i++) {
    now += 0.05;
    a.breath(now);
    b.breath(now);
    // The peer's first segments get an ACK each.
    watching = answers >= 50;
  }
  expect(answers).toBe(100);
  const t = a.tcp.blocks.find(conn);
  const own = [...used].map((i) => i - t).filter((i) => i >= -BLOCK_BEFORE && i < BLOCK_WORDS - BLOCK_BEFORE);
  expect([...new Set(own.map((i) => i >> 4))].sort((x, y) => x - y)).toEqual([-1, 0, 1, 2, 3]);
});
