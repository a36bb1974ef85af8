/** Steady state makes no garbage: what V8 allocates for a request and its reply is less than one small object. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { createCable } from '../device/cable.ts';
import { Arena } from '../memory/arena.ts';
import { Engine } from './engine.ts';

const CONNECTIONS = 64;
const ROUNDS = 4000;
/** A breath takes its time as a number, which V8 may box: 16 B each, of four a round. */
const BYTES_PER_REQUEST_MAX = 8;

test('RR over 64 connections allocates next to nothing', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const arena = new Arena(64 << 20);
  const [left, right] = createCable(arena, 'cable');
  const options = {
    arena,
    secret: Int32Array.of(1, 2, 3, 4),
    now: 1000,
    limits: { connections: 128, miniBlocks: 256, chunks: 4096 },
  };
  const client = new Engine(options);
  const server = new Engine(options);
  client.addInterface(left, { addresses: ['10.0.0.1/24'] });
  server.addInterface(right, { addresses: ['10.0.0.2/24'] });
  server.listen(
    { port: 7, noDelay: true },
    {
      data(conn, at, length) {
        server.send(conn, at, length);
        return length;
      },
    },
  );
  let replies = 0;
  const handlers = {
    open: (conn: number) => void client.send(conn, 64, 1),
    data(conn: number, at: number, length: number) {
      replies++;
      client.send(conn, at, length);
      return length;
    },
  };
  for (let i = 0; i < CONNECTIONS; i++)
    client.connect({ address: '10.0.0.2', port: 7, noDelay: true }, handlers);

  let now = 1000;
  const run = (rounds: number): void => {
    for (let i = 0; i < rounds; i++) {
      now += 0.1;
      client.breath(now);
      server.breath(now);
    }
  };
  // Long enough for V8 to have compiled everything for good.
  run(3 * ROUNDS);
  collect();
  const repliesBefore = replies;
  const heapBefore = process.memoryUsage().heapUsed;
  run(ROUNDS);
  const bytes = process.memoryUsage().heapUsed - heapBefore;
  expect(replies - repliesBefore).toBe(ROUNDS * CONNECTIONS);
  // Less than what a collection would take away, so none can have hidden anything.
  expect(bytes / (replies - repliesBefore)).toBeLessThan(BYTES_PER_REQUEST_MAX);
});

test('so does UDP, connected sockets and answers', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const arena = new Arena(64 << 20);
  const [left, right] = createCable(arena, 'cable');
  const limits = { connections: 16, miniBlocks: 16, chunks: 64 };
  const options = { arena, secret: Int32Array.of(1, 2, 3, 4), now: 1000, limits };
  const client = new Engine(options);
  const server = new Engine(options);
  client.addInterface(left, { addresses: ['10.0.0.1/24'] });
  server.addInterface(right, { addresses: ['10.0.0.2/24'] });
  const echo = server.datagrams.bind(
    { port: 7 },
    { message: (sock, at, length) => void server.datagrams.reply(sock, at, length) },
  );
  let replies = 0;
  const handlers = {
    message(sock: number, at: number, length: number) {
      replies++;
      client.datagrams.send(sock, at, length);
    },
  };
  let now = 1000;
  const run = (rounds: number): void => {
    for (let i = 0; i < rounds; i++) {
      now += 0.1;
      client.breath(now);
      server.breath(now);
    }
  };
  for (let i = 0; i < CONNECTIONS; i++) {
    const sock = client.datagrams.bind({}, handlers);
    client.datagrams.connect(sock, '10.0.0.2', 7);
    // The first asks for the neighbour.
    if (client.datagrams.send(sock, 64, 1) === 0) {
      run(4);
      client.datagrams.send(sock, 64, 1);
    }
  }
  run(3 * ROUNDS);
  collect();
  const repliesBefore = replies;
  const heapBefore = process.memoryUsage().heapUsed;
  run(ROUNDS);
  const bytes = process.memoryUsage().heapUsed - heapBefore;
  expect(replies - repliesBefore).toBe(ROUNDS * CONNECTIONS);
  expect(bytes / (replies - repliesBefore)).toBeLessThan(BYTES_PER_REQUEST_MAX);
  server.datagrams.close(echo);
});
