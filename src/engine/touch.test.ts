/** The touch pass may change nothing: thousands of flows, full blocks and mini ones, behave as a few do. */
import { expect, test } from 'vitest';
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
