/**
 * What a program may expect of `node:net`, asked of node:net on loopback and of `millrace/net` over a cable: one
 * suite, so that the second can't differ where the first is what programs were written for.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash, randomBytes } from 'node:crypto';
import * as nodeNet from 'node:net';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { once, openPair, type Pair, SERVER, SERVER_OTHER } from './testing.ts';

type Net = Pick<typeof nodeNet, 'createServer' | 'connect' | 'createConnection' | 'Socket' | 'Server'>;

interface Place {
  readonly name: string;
  /** Where the server is, as seen by the client. */
  readonly host: string;
  /** Another address of it. */
  readonly host2: string;
  open(): Promise<{ server: Net; client: Net; settled(): Promise<void>; close(): Promise<void> }>;
}

function overCable(name: string, offload: boolean): Place {
  return {
    name,
    host: SERVER,
    host2: SERVER_OTHER,
    async open() {
      const pair = await openPair({}, { offload });
      const as = (stack: Pair['client']): Net => stack.net as unknown as Net;
      return {
        server: as(pair.server),
        client: as(pair.client),
        settled: pair.settled,
        close: pair.close,
      };
    },
  };
}

const places: Place[] = [
  {
    name: 'node:net',
    host: '127.0.0.1',
    host2: '127.0.0.2',
    open: async () => ({ server: nodeNet, client: nodeNet, settled: async () => {}, close: async () => {} }),
  },
  overCable('millrace/net', false),
  overCable('millrace/net, super-segments', true),
];

describe.each(places)('$name', ({ host, host2, open }) => {
  let server: Net;
  let client: Net;
  let place: Awaited<ReturnType<Place['open']>>;
  const servers: nodeNet.Server[] = [];

  beforeEach(async () => {
    place = await open();
    ({ server, client } = place);
  });
  afterEach(async () => {
    for (const s of servers.splice(0)) if (s.listening) s.close();
    try {
      await place.settled();
    } finally {
      await place.close();
    }
  });

  /** A server that listens, and the port it has. */
  async function listen(
    options: nodeNet.ServerOpts,
    onConnection?: (socket: nodeNet.Socket) => void,
  ): Promise<{ port: number; listener: nodeNet.Server }> {
    const listener = server.createServer(options, onConnection);
    servers.push(listener);
    listener.listen(0, host);
    await once(listener, 'listening');
    return { port: (listener.address() as nodeNet.AddressInfo).port, listener };
  }

  /** A connection, and the server's end of it. */
  async function join(
    options: nodeNet.ServerOpts = {},
    clientOptions: Partial<nodeNet.TcpNetConnectOpts> = {},
  ): Promise<{ near: nodeNet.Socket; far: nodeNet.Socket; listener: nodeNet.Server }> {
    const { port, listener } = await listen(options);
    const accepted = once<nodeNet.Socket>(listener, 'connection');
    const near = client.connect({ port, host, ...clientOptions });
    const [far] = await Promise.all([accepted, once(near, 'connect')]);
    return { near, far, listener };
  }

  /** Until the end; not by iterating, which would destroy the socket. */
  async function readAll(socket: nodeNet.Socket): Promise<Buffer> {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(socket, 'end');
    return Buffer.concat(chunks);
  }

  function events(socket: nodeNet.Socket, names: string[]): string[] {
    const seen: string[] = [];
    for (const event of names) {
      socket.on(event, (value) => seen.push(event === 'close' ? `close ${value === true}` : event));
    }
    return seen;
  }

  describe('opening', () => {
    it('goes through its states, connect before ready', async () => {
      const { port } = await listen({}, (socket) => socket.end());
      const socket = client.connect(port, host);
      expect([socket.connecting, socket.pending, socket.readyState]).toEqual([true, true, 'opening']);
      const seen = events(socket, ['connect', 'ready', 'end', 'finish', 'close']);
      await once(socket, 'connect');
      expect([socket.connecting, socket.pending, socket.readyState]).toEqual([false, false, 'open']);
      socket.resume();
      await once(socket, 'close');
      expect(seen).toEqual(['connect', 'ready', 'end', 'finish', 'close false']);
      expect([socket.destroyed, socket.readyState]).toEqual([true, 'closed']);
    });

    it.each([
      ['options and callback', (port: number, done: () => void) => client.connect({ port, host }, done)],
      ['port, host, callback', (port: number, done: () => void) => client.createConnection(port, host, done)],
      ['new Socket', (port: number, done: () => void) => new client.Socket().connect(port, host, done)],
      [
        'port as text',
        (port: number, done: () => void) => client.connect({ port: `${port}` as never, host }, done),
      ],
    ])('takes %s', async (_name, connect) => {
      const { port } = await listen({}, (socket) => socket.resume());
      const socket = connect(port, () => socket.end());
      socket.resume();
      await once(socket, 'close');
    });

    it('keeps a type of service, set before or while connected', async () => {
      const { port } = await listen({}, (socket) => socket.resume());
      const socket = new client.Socket();
      expect(socket.getTypeOfService()).toBe(0);
      expect(socket.setTypeOfService(0x10)).toBe(socket);
      socket.connect(port, host);
      await once(socket, 'connect');
      expect(socket.getTypeOfService()).toBe(0x10);
      socket.setTypeOfService(0xb8);
      expect(socket.getTypeOfService()).toBe(0xb8);
      for (const [value, code] of [
        [256, 'ERR_OUT_OF_RANGE'],
        [-1, 'ERR_OUT_OF_RANGE'],
        [1.5, 'ERR_OUT_OF_RANGE'],
        [Number.NaN, 'ERR_INVALID_ARG_TYPE'],
        ['8', 'ERR_INVALID_ARG_TYPE'],
      ] as const)
        expect(() => socket.setTypeOfService(value as number)).toThrow(expect.objectContaining({ code }));
      socket.end();
      await once(socket, 'close');
    });

    it('names both ends alike on both sides', async () => {
      const { near, far, listener } = await join();
      expect(near.remoteAddress).toBe(host);
      expect(near.remoteFamily).toBe('IPv4');
      expect(far.remoteAddress).toBe(near.localAddress);
      expect(far.remotePort).toBe(near.localPort);
      expect(near.remotePort).toBe(far.localPort);
      expect(near.address()).toEqual({ address: near.localAddress, port: near.localPort, family: 'IPv4' });
      expect(listener.address()).toEqual({ address: host, port: far.localPort, family: 'IPv4' });
      near.destroy();
      far.destroy();
    });

    it('takes a local port', async () => {
      const { port } = await listen({}, (socket) => socket.resume());
      const localPort = 20_000 + Math.floor(Math.random() * 10_000);
      const socket = client.connect({ port, host, localPort });
      await once(socket, 'connect');
      expect(socket.localPort).toBe(localPort);
      socket.destroy();
    });

    it('tells a refusal with all that Node tells', async () => {
      const { port, listener } = await listen({});
      await new Promise((resolve) => listener.close(resolve));
      const socket = client.connect({ port, host });
      const seen = events(socket, ['connect', 'error', 'close']);
      const error = await once<NodeJS.ErrnoException & { address: string; port: number }>(socket, 'error');
      expect(error.message).toBe(`connect ECONNREFUSED ${host}:${port}`);
      const { code, errno, syscall, address, port: errorPort } = error;
      expect({ code, errno, syscall, address, errorPort }).toEqual({
        code: 'ECONNREFUSED',
        errno: -111,
        syscall: 'connect',
        address: host,
        errorPort: port,
      });
      expect(error).toBeInstanceOf(Error);
      await once(socket, 'close');
      expect(seen).toEqual(['error', 'close true']);
    });

    it('looks names up', async () => {
      const { port } = await listen({}, (socket) => socket.resume());
      const asked: unknown[] = [];
      const found: unknown[] = [];
      const socket = client.connect({
        port,
        host: 'some.name',
        lookup: (name, options, callback) => {
          asked.push(name, options.all);
          process.nextTick(callback as (...args: unknown[]) => void, null, [{ address: host, family: 4 }]);
        },
      });
      socket.on('lookup', (...args) => found.push(...args));
      await once(socket, 'connect');
      expect(asked).toEqual(['some.name', true]);
      expect(found).toEqual([null, host, 4, 'some.name']);
      socket.destroy();
    });

    it("hands a lookup's error on", async () => {
      const failure = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
      const socket = client.connect({
        port: 1,
        host: 'some.name',
        lookup: (_name, _options, callback) => callback(failure, []),
      });
      expect(await once(socket, 'error')).toBe(failure);
      expect(socket.destroyed).toBe(true);
    });

    it('tries every address of a name, and tells all failures', async () => {
      const { port, listener } = await listen({}, (socket) => socket.resume());
      const addresses = [host, host2].map((address) => ({ address, family: 4 }));
      const lookup: nodeNet.LookupFunction = (_name, _options, callback) =>
        process.nextTick(callback as (...args: unknown[]) => void, null, addresses);
      await new Promise((resolve) => listener.close(resolve));
      const socket = client.connect({ port, host: 'some.name', lookup });
      const error = await once<AggregateError & { code: string }>(socket, 'error');
      expect(error).toBeInstanceOf(AggregateError);
      expect(error.code).toBe('ECONNREFUSED');
      expect(error.errors.map(String)).toEqual(
        addresses.map(({ address }) => `Error: connect ECONNREFUSED ${address}:${port}`),
      );
    });

    it('refuses ports that are none', () => {
      for (const port of [-1, 65_536, 1.5, 'x y', Number.NaN]) {
        expect(() => client.connect({ port: port as number, host })).toThrow(
          expect.objectContaining({ code: 'ERR_SOCKET_BAD_PORT', name: 'RangeError' }),
        );
      }
    });

    it('gives up when its signal aborts', async () => {
      const { port } = await listen({}, (socket) => socket.on('error', () => {}).resume());
      const abort = new AbortController();
      const socket = client.connect({ port, host, signal: abort.signal } as nodeNet.TcpNetConnectOpts);
      const failed = once<Error>(socket, 'error');
      abort.abort();
      expect((await failed).name).toBe('AbortError');
      expect(socket.destroyed).toBe(true);
    });

    it('can be used again once closed', async () => {
      const { port } = await listen({}, (socket) => socket.end('x'));
      const socket = client.connect({ port, host });
      socket.resume();
      await once(socket, 'close');
      socket.connect({ port, host });
      const data = once<Buffer>(socket, 'data');
      socket.resume();
      expect(String(await data)).toBe('x');
      await once(socket, 'close');
    });
  });

  describe('data', () => {
    it('is echoed, whatever way it is written', async () => {
      const { port } = await listen({}, (socket) => socket.pipe(socket));
      const socket = client.connect({ port, host });
      socket.write('before connect, ');
      socket.write('hé', 'latin1');
      socket.write('00ff', 'hex');
      socket.write(new Uint8Array([1, 2, 3]));
      socket.cork();
      for (let i = 0; i < 100; i++) socket.write(`${i},`);
      socket.uncork();
      socket.end('end');
      const numbers = Array.from({ length: 100 }, (_, i) => `${i},`).join('');
      const expected = Buffer.concat([
        Buffer.from('before connect, '),
        Buffer.from('hé', 'latin1'),
        Buffer.from('00ff010203', 'hex'),
        Buffer.from(`${numbers}end`),
      ]);
      expect(await readAll(socket)).toEqual(expected);
      expect([socket.bytesWritten, socket.bytesRead]).toEqual([expected.length, expected.length]);
    });

    it('takes one big write, and calls back', async () => {
      const { port } = await listen({ allowHalfOpen: true }, (socket) => {
        const hash = createHash('sha256');
        socket.on('data', (chunk: Buffer) => hash.update(chunk));
        socket.on('end', () => socket.end(hash.digest('hex')));
      });
      const bytes = randomBytes(20 << 20);
      const socket = client.connect({ port, host });
      const written = new Promise((resolve) => socket.write(bytes, resolve));
      expect(socket.bytesWritten).toBe(bytes.length);
      const answer = readAll(socket);
      await written;
      socket.end();
      expect(String(await answer)).toBe(createHash('sha256').update(bytes).digest('hex'));
      expect(socket.bytesWritten).toBe(bytes.length);
    });

    it('goes through pipeline', async () => {
      const { near, far } = await join();
      const bytes = randomBytes(3_000_000);
      const received = readAll(far);
      near.resume();
      await pipeline([bytes.subarray(0, 1_000_000), bytes.subarray(1_000_000)], near);
      expect((await received).equals(bytes)).toBe(true);
    });

    it('holds a fast writer to a slow reader, 50 MB', { timeout: 60_000 }, async () => {
      const { near, far } = await join();
      far.pause();
      const total = 50 << 20;
      const chunk = randomBytes(65_536);
      let sent = 0;
      let most = 0;
      const pump = (): void => {
        while (sent < total) {
          sent += chunk.length;
          const more = near.write(chunk);
          most = Math.max(most, near.writableLength);
          if (!more) return;
        }
        near.end();
      };
      near.on('drain', pump);
      pump();
      // Nobody reads: the writer must come to a stand, whatever buffers there are on the way.
      let before = -1;
      for (let i = 0; i < 100 && before !== sent; i++) {
        before = sent;
        await sleep(50);
      }
      expect(sent).toBeLessThan(total / 2);
      expect(most).toBeLessThanOrEqual(chunk.length + near.writableHighWaterMark);
      let received = 0;
      let wrong = 0;
      far.on('data', (data: Buffer) => {
        for (let i = 0; i < data.length; i += 4096)
          if (data[i] !== chunk[(received + i) % chunk.length]) wrong++;
        received += data.length;
        if (received % 7 === 0) {
          far.pause();
          setImmediate(() => far.resume());
        }
      });
      near.resume();
      far.resume();
      await once(far, 'end');
      expect([received, wrong]).toEqual([total, 0]);
    });

    it('stays away while paused, and comes after resume', async () => {
      const { near, far } = await join();
      let received = 0;
      near.on('data', (data: Buffer) => {
        received += data.length;
      });
      far.write('a');
      await once(near, 'data');
      near.pause();
      far.end(Buffer.alloc(300_000));
      let ended = false;
      near.on('end', () => {
        ended = true;
      });
      await sleep(50);
      expect([received, ended, near.isPaused()]).toEqual([1, false, true]);
      near.resume();
      await once(near, 'end');
      expect(received).toBe(300_001);
      near.destroy();
    });

    it('waits for the program when the server pauses on connect', async () => {
      const { near, far } = await join({ pauseOnConnect: true });
      near.end('hello');
      await sleep(30);
      expect([far.isPaused(), far.bytesRead]).toEqual([true, 0]);
      far.resume();
      expect(String(await once<Buffer>(far, 'data'))).toBe('hello');
      near.resume();
    });

    it('comes by read() as well', async () => {
      const { near, far } = await join();
      far.end('0123456789');
      await once(near, 'readable');
      expect(String(near.read(4))).toBe('0123');
      expect(String(near.read())).toBe('456789');
      near.resume();
      near.end();
      far.resume();
      await once(near, 'close');
    });
  });

  describe('ends', () => {
    it('one direction at a time, with allowHalfOpen on the server', async () => {
      const { near, far } = await join({ allowHalfOpen: true });
      const answer = readAll(near);
      near.end('question');
      expect(String(await readAll(far))).toBe('question');
      expect([far.writable, far.readyState]).toEqual([true, 'writeOnly']);
      const bytes = randomBytes(1_000_000);
      await sleep(20);
      far.write(bytes);
      far.end();
      expect((await answer).equals(bytes)).toBe(true);
    });

    it('one direction at a time, with allowHalfOpen on the client', async () => {
      const { near, far } = await join({}, { allowHalfOpen: true });
      const question = readAll(far);
      far.end('bye');
      expect(String(await readAll(near))).toBe('bye');
      near.write('one ');
      await sleep(20);
      near.end('two');
      expect(String(await question)).toBe('one two');
    });

    it('both, when half-open is not allowed', async () => {
      const { near, far } = await join();
      const seen = events(far, ['end', 'finish', 'close']);
      far.resume();
      near.resume();
      near.end();
      await Promise.all([once(near, 'close'), once(far, 'close')]);
      expect(seen).toEqual(['end', 'finish', 'close false']);
    });

    it('with EPIPE for who writes after the other party ended', async () => {
      const { near, far } = await join();
      near.end();
      far.resume();
      far.on('end', () => far.write('just in time'));
      expect(String(await once<Buffer>(near, 'data'))).toBe('just in time');
      if (!far.writableFinished) await once(far, 'finish');
      const { code, message } = await new Promise<NodeJS.ErrnoException>((resolve) =>
        far.write('too late', (error) => resolve(error as NodeJS.ErrnoException)),
      );
      expect([code, message]).toEqual(['EPIPE', 'This socket has been ended by the other party']);
    });

    it('with ECONNRESET for the other side of a reset', async () => {
      const { near, far } = await join();
      const seen = events(near, ['error', 'close']);
      far.resume();
      const failed = once<NodeJS.ErrnoException>(far, 'error');
      const farClosed = once<boolean>(far, 'close');
      near.resetAndDestroy();
      const { code, message, errno, syscall } = await failed;
      expect({ code, message, errno, syscall }).toEqual({
        code: 'ECONNRESET',
        message: 'read ECONNRESET',
        errno: -104,
        syscall: 'read',
      });
      expect(await farClosed).toBe(true);
      expect(seen).toEqual(['close false']);
    });

    it('by reset when data was left unread', async () => {
      const { near, far } = await join();
      far.pause();
      far.on('error', () => {});
      near.on('error', () => {});
      near.resume();
      near.write(Buffer.alloc(400_000));
      await sleep(30);
      const closed = once<boolean>(near, 'close');
      far.destroy();
      expect(await closed).toBe(true);
    });

    it('at once by destroy, whatever the state', async () => {
      const { port } = await listen({}, (socket) => socket.on('error', () => {}).resume());
      const begin = (): nodeNet.Socket => client.connect({ port, host });
      const states: Record<string, () => nodeNet.Socket | Promise<nodeNet.Socket>> = {
        new: () => new client.Socket(),
        connecting: begin,
        'connecting, a turn later': async () => {
          const socket = begin();
          await sleep(0);
          return socket;
        },
        'connecting, with a write': () => {
          const socket = begin();
          socket.write('x');
          return socket;
        },
        connected: async () => {
          const socket = begin();
          await once(socket, 'connect');
          return socket;
        },
        'in its connect listener': async () => {
          const socket = begin();
          await new Promise<void>((resolve) => socket.once('connect', () => resolve(void socket.destroy())));
          return socket;
        },
        'writing much': async () => {
          const socket = begin();
          await once(socket, 'connect');
          socket.write(Buffer.alloc(30 << 20), () => {});
          return socket;
        },
        ending: async () => {
          const socket = begin();
          await once(socket, 'connect');
          return socket.end();
        },
        'destroyed already': () => begin().destroy(),
      };
      for (const [state, make] of Object.entries(states)) {
        const socket = await make();
        const seen = events(socket, ['error', 'end', 'close']);
        expect(socket.destroy(), state).toBe(socket);
        expect([socket.destroyed, socket.connecting, socket.readyState], state).toEqual([
          true,
          false,
          'closed',
        ]);
        await sleep(10);
        // The listener's own destroy was told before we looked.
        expect(seen, state).toEqual(
          state === 'in its connect listener' ? expect.anything() : ['close false'],
        );
      }
    });

    it('with the error that destroy was given', async () => {
      const { near, far } = await join();
      far.resume();
      const mine = new Error('mine');
      const [error] = await Promise.all([
        once<Error>(near, 'error'),
        once(near, 'close'),
        near.destroy(mine),
      ]);
      expect(error).toBe(mine);
    });

    it('calls back the writes that come to nothing', async () => {
      const { near, far } = await join();
      far.pause();
      far.on('error', () => {});
      near.on('error', () => {});
      const results = Array.from(
        { length: 3 },
        () => new Promise((resolve) => near.write(Buffer.alloc(30 << 20), resolve)),
      );
      near.destroy();
      await Promise.all(results);
      const late = new Promise((resolve) => near.write('x', resolve));
      expect(await late).toMatchObject({ code: 'ERR_STREAM_DESTROYED' });
      far.destroy();
    });

    it('delivers what was written before destroySoon', async () => {
      const { near, far } = await join();
      const received = readAll(far);
      const bytes = randomBytes(5_000_000);
      near.write(bytes);
      near.destroySoon();
      expect((await received).equals(bytes)).toBe(true);
    });

    it('refuses writes after end', async () => {
      const { near, far } = await join();
      far.resume();
      const failed = once<NodeJS.ErrnoException>(near, 'error');
      near.end();
      near.write('x');
      expect((await failed).code).toBe('ERR_STREAM_WRITE_AFTER_END');
    });

    it('refuses writes to what was never connected', async () => {
      const socket = new client.Socket();
      const failed = once<NodeJS.ErrnoException>(socket, 'error');
      socket.write('x');
      expect((await failed).code).toBe('ERR_SOCKET_CLOSED');
    });
  });

  describe('timeouts', () => {
    it('come after silence, and not before', async () => {
      const { near, far } = await join();
      near.resume();
      let fired = 0;
      near.setTimeout(120, () => fired++);
      expect(near.timeout).toBe(120);
      for (let i = 0; i < 4; i++) {
        await sleep(60);
        far.write('x');
      }
      expect(fired).toBe(0);
      await once(near, 'timeout');
      expect([fired, near.destroyed]).toEqual([1, false]);
      near.destroy();
      far.destroy();
    });

    it('can be taken back', async () => {
      const { near, far } = await join();
      let fired = 0;
      near.setTimeout(20, () => fired++);
      near.setTimeout(0);
      await sleep(50);
      expect(fired).toBe(0);
      expect(() => near.setTimeout(-1)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
      near.destroy();
      far.destroy();
    });

    it('are set by connect', async () => {
      const { port } = await listen({}, (socket) => socket.resume());
      const socket = client.connect({ port, host, timeout: 30 });
      await once(socket, 'timeout');
      socket.destroy();
    });
  });

  it('settings chain, before and after connecting', async () => {
    const { near, far } = await join(
      { noDelay: true, keepAlive: true, keepAliveInitialDelay: 5000 },
      { noDelay: true },
    );
    for (const socket of [near, far, new client.Socket()]) {
      expect(
        socket.setNoDelay().setNoDelay(false).setKeepAlive(true, 1000).setKeepAlive(false).unref().ref(),
      ).toBe(socket);
      socket.destroy();
    }
  });

  it('carries many connections at once', { timeout: 30_000 }, async () => {
    const { port, listener } = await listen({}, (socket) => socket.pipe(socket));
    const count = 300;
    const counts: number[] = [];
    await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const socket = client.connect({ port, host });
        const text = `${i} `.repeat(1 + ((i * 37) % 2000));
        socket.end(text);
        expect(String(await readAll(socket))).toBe(text);
        counts.push(i);
      }),
    );
    expect(counts.length).toBe(count);
    await sleep(20);
    expect(await new Promise((resolve) => listener.getConnections((_error, n) => resolve(n)))).toBe(0);
  });

  describe('a server', () => {
    it('closes after its last connection, and accepts no more meanwhile', async () => {
      const { near, far, listener } = await join();
      const { port } = listener.address() as nodeNet.AddressInfo;
      let closed = false;
      listener.close((error) => {
        closed = error === undefined;
      });
      expect([listener.listening, listener.address()]).toEqual([false, null]);
      const refused = client.connect({ port, host });
      expect((await once<NodeJS.ErrnoException>(refused, 'error')).code).toBe('ECONNREFUSED');
      far.write('still here');
      expect(String(await once(near, 'data'))).toBe('still here');
      expect(closed).toBe(false);
      far.resume();
      near.end();
      await once(listener, 'close');
      expect(closed).toBe(true);
    });

    it('listens again after close', async () => {
      const { port, listener } = await listen({});
      await new Promise((resolve) => listener.close(resolve));
      listener.listen(port, host);
      await once(listener, 'listening');
      expect((listener.address() as nodeNet.AddressInfo).port).toBe(port);
    });

    it('says when it is not running, or runs already', async () => {
      const { listener } = await listen({});
      expect(() => listener.listen(0)).toThrow(
        expect.objectContaining({ code: 'ERR_SERVER_ALREADY_LISTEN' }),
      );
      await new Promise((resolve) => listener.close(resolve));
      const error = await new Promise((resolve) => listener.close(resolve));
      expect(error).toMatchObject({ code: 'ERR_SERVER_NOT_RUNNING', message: 'Server is not running.' });
    });

    it('tells that a port is taken', async () => {
      const { port } = await listen({});
      const second = server.createServer();
      second.listen(port, host);
      const error = await once<NodeJS.ErrnoException & { address: string; port: number }>(second, 'error');
      const { code, errno, syscall, address, message } = error;
      expect({ code, errno, syscall, address, port: error.port, message }).toEqual({
        code: 'EADDRINUSE',
        errno: -98,
        syscall: 'listen',
        address: host,
        port,
        message: `listen EADDRINUSE: address already in use ${host}:${port}`,
      });
      expect(second.listening).toBe(false);
    });

    it('tells that an address is not its own', async () => {
      const listener = server.createServer();
      listener.listen(0, '192.0.2.1');
      const error = await once<NodeJS.ErrnoException>(listener, 'error');
      expect(error.message).toMatch(/^listen EADDRNOTAVAIL: address not available 192\.0\.2\.1/);
    });

    it('drops what is over maxConnections', async () => {
      const { near, far, listener } = await join();
      listener.maxConnections = 1;
      const dropped = once<{ remotePort: number; localPort: number }>(listener, 'drop');
      const extra = client.connect({ port: far.localPort as number, host });
      extra.on('error', () => {});
      extra.resume();
      const closed = once(extra, 'close');
      const { localPort } = await dropped;
      expect(localPort).toBe(far.localPort);
      await closed;
      expect(await new Promise((resolve) => listener.getConnections((_error, n) => resolve(n)))).toBe(1);
      near.destroy();
      far.destroy();
    });

    it('closes when its signal aborts', async () => {
      const abort = new AbortController();
      const listener = server.createServer();
      listener.listen({ port: 0, host, signal: abort.signal });
      await once(listener, 'listening');
      abort.abort();
      await once(listener, 'close');
      expect(listener.listening).toBe(false);
    });

    it('takes every form of listen', async () => {
      const forms: ((s: nodeNet.Server, done: () => void) => void)[] = [
        (s, done) => s.listen(done),
        (s, done) => s.listen(0, done),
        (s, done) => s.listen(0, host, done),
        (s, done) => s.listen(0, host, 10, done),
        (s, done) => s.listen(0, 10, done),
        (s, done) => s.listen({ port: 0, host, backlog: 10 }, done),
      ];
      for (const form of forms) {
        await using listener = server.createServer();
        await new Promise<void>((resolve) => form(listener, resolve));
        expect((listener.address() as nodeNet.AddressInfo).port).toBeGreaterThan(0);
      }
    });
  });

  it('surfaces what a listener throws as an uncaught exception, and goes on', async () => {
    const { near, far } = await join();
    const kept = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    try {
      const uncaught = once<Error>(process as never, 'uncaughtException');
      const mine = new Error('mine');
      near.once('data', () => {
        throw mine;
      });
      far.write('x');
      expect(await uncaught).toBe(mine);
      const next = once<Buffer>(near, 'data');
      far.write('y');
      expect(String(await next)).toBe('y');
    } finally {
      for (const listener of kept) process.on('uncaughtException', listener as (error: Error) => void);
    }
    near.destroy();
    far.destroy();
  });

  it('keeps the async context of whoever made the socket', async () => {
    const storage = new AsyncLocalStorage<string>();
    const { port } = await listen({}, (socket) => socket.end('x'));
    const seen: (string | undefined)[] = [];
    const socket = storage.run('mine', () => client.connect({ port, host }));
    for (const event of ['connect', 'data', 'end', 'close'])
      socket.on(event, () => seen.push(storage.getStore()));
    await once(socket, 'close');
    expect(seen).toEqual(['mine', 'mine', 'mine', 'mine']);
  });
});
