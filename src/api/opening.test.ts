/** How servers listen and sockets connect, beyond what node:net on loopback can be asked. */
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { TCB } from '../tcp/block.ts';
import { once, openPair, type Pair, SERVER, SERVER6 } from './testing.ts';

let pair: Pair;
afterEach(async () => {
  await pair.settled();
  await pair.close();
});

describe('a server for all addresses', () => {
  it.each([
    ['::', false, true, true],
    ['::', true, false, true],
    ['0.0.0.0', false, true, false],
    [undefined, false, true, true],
  ])('%s, ipv6Only %s: IPv4 %s, IPv6 %s', async (host, ipv6Only, four, six) => {
    pair = await openPair();
    const server = pair.server.net.createServer((socket) => socket.end('x'));
    server.listen({ port: 7, ipv6Only, ...(host === undefined ? {} : { host }) });
    for (const [address, taken] of [
      [SERVER, four],
      [SERVER6, six],
    ] as const) {
      const socket = pair.client.net.connect(7, address);
      if (taken) expect(await text(socket)).toBe('x');
      else expect((await once<NodeJS.ErrnoException>(socket, 'error')).code).toBe('ECONNREFUSED');
    }
    server.close();
  });

  it('has the port to itself in its versions', async () => {
    pair = await openPair();
    const { net } = pair.server;
    const first = net.createServer().listen({ port: 7, host: '0.0.0.0' });
    const second = net.createServer().listen({ port: 7, host: '::', ipv6Only: true });
    await Promise.all([once(first, 'listening'), once(second, 'listening')]);
    const third = net.createServer().listen({ port: 7, host: '::' });
    expect((await once<NodeJS.ErrnoException>(third, 'error')).code).toBe('EADDRINUSE');
    first.close();
    second.close();
  });
});

it('a transparent server has every connection that comes by', async () => {
  pair = await openPair({}, { link: 'ip' });
  const server = pair.server.net.createServer((s) => s.end(`${s.localAddress} ${s.localPort}`));
  server.listen({ transparent: true });
  await once(server, 'listening');
  for (const [host, port] of [
    ['10.0.0.99', 1234],
    [SERVER, 99],
  ] as const) {
    // On a link without addresses of its own all that the client sends comes to this server.
    expect(await text(pair.client.net.connect(port, host))).toBe(`${host} ${port}`);
  }
  server.close();
});

describe('Fast Open', () => {
  it('carries the first write on the SYN from the second connection on', async () => {
    pair = await openPair();
    const server = pair.server.net.createServer((socket) => socket.pipe(socket));
    server.listen({ port: 7, fastOpen: true });
    for (let i = 0; i < 3; i++) {
      const socket = pair.client.net.connect({ port: 7, host: SERVER, fastOpen: true });
      let written = false;
      socket.write('hello, ', () => {
        written = true;
      });
      socket.end('world');
      expect(socket.pending).toBe(true);
      expect(await text(socket)).toBe('hello, world');
      expect(written).toBe(true);
      expect(socket.bytesWritten).toBe(12);
    }
    expect(pair.client.engine.tcp.counters).toMatchObject({ fastOpenActive: 2, fastOpenAcked: 2 });
    expect(pair.server.engine.tcp.counters.fastOpenPassive).toBe(2);
    server.close();
  });

  it('an address that fails loses nothing: the next one gets the write', async () => {
    pair = await openPair();
    const server = pair.server.net.createServer((socket) => socket.pipe(socket));
    server.listen({ port: 7, host: SERVER, fastOpen: true });
    const socket = pair.client.net.connect({
      port: 7,
      host: 'two.test',
      fastOpen: true,
      autoSelectFamily: true,
      lookup: (_host, _options, done) =>
        (done as (error: null, found: { address: string; family: number }[]) => void)(null, [
          { address: SERVER6, family: 6 },
          { address: SERVER, family: 4 },
        ]),
    });
    socket.end('all of it');
    expect(await text(socket)).toBe('all of it');
    server.close();
  });
});

it('keep-alive waits two hours unless told (RFC 9293 3.8.4)', async () => {
  pair = await openPair();
  const server = pair.server.net.createServer(() => {}).listen(7);
  const socket = pair.client.net.connect({ port: 7, host: SERVER, keepAlive: true });
  await once(socket, 'connect');
  const { engine } = pair.client;
  const [conn] = engine.connections();
  expect(engine.tcp.m[engine.tcp.blocks.find(conn) + TCB.KEEP_IDLE]).toBe(7_200_000);
  socket.destroy();
  server.close();
});

it('keep-alive takes Node’s arguments, or its object', async () => {
  pair = await openPair();
  let answered = 0;
  const server = pair.server.net.createServer((socket) => socket.on('data', () => answered++)).listen(7);
  const socket = pair.client.net.connect(7, SERVER);
  await once(socket, 'connect');
  expect(socket.setKeepAlive({ enable: true, initialDelay: 20, interval: 10, count: 2 })).toBe(socket);
  const { counters } = pair.client.engine.tcp;
  for (let i = 0; i < 200 && counters.keepAliveProbes < 3; i++)
    await new Promise((done) => setTimeout(done, 10));
  expect(counters.keepAliveProbes).toBeGreaterThanOrEqual(3);
  expect(socket.destroyed).toBe(false);
  socket.setKeepAlive(false).destroy();
  server.close();
  expect(answered).toBe(0);
});
