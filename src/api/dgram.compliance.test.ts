/**
 * What a program may expect of `node:dgram`, asked of node:dgram on loopback and of `millrace/dgram` over a cable: one
 * suite, so that the second can't differ where the first is what programs were written for.
 */
import * as nodeDgram from 'node:dgram';
import { BlockList } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CLIENT, openPair, type Pair, SERVER, SERVER_OTHER, SERVER6 } from './testing.ts';

type Dgram = Pick<typeof nodeDgram, 'createSocket'>;
type Socket = nodeDgram.Socket;

interface Place {
  readonly name: string;
  /** Where the server is, as seen by the client; another address of it; IPv6. */
  readonly host: string;
  readonly host2: string;
  readonly host6: string;
  /** The client's. */
  readonly client4: string;
  readonly broadcast: string;
  open(): Promise<{ server: Dgram; client: Dgram; left(): number; close(): Promise<void> }>;
}

function overCable(name: string, offload: boolean): Place {
  return {
    name,
    host: SERVER,
    host2: SERVER_OTHER,
    host6: SERVER6,
    client4: CLIENT,
    broadcast: '10.0.0.255',
    async open() {
      const pair = await openPair({}, { offload });
      const as = (stack: Pair['client']): Dgram => stack.dgram as unknown as Dgram;
      return {
        server: as(pair.server),
        client: as(pair.client),
        left: () =>
          [pair.server, pair.client].reduce((sum, { sockets, engine }) => {
            const { udp } = engine;
            const open = udp.sockets.filter((socket) => socket !== null).length;
            return sum + open + udp.byPort.size + udp.chunks.inUse + (sockets.needed ? 1 : 0);
          }, 0),
        close: pair.close,
      };
    },
  };
}

const places: Place[] = [
  {
    name: 'node:dgram',
    host: '127.0.0.1',
    host2: '127.0.0.2',
    host6: '::1',
    client4: '127.0.0.1',
    broadcast: '127.255.255.255',
    open: async () => ({ server: nodeDgram, client: nodeDgram, left: () => 0, close: async () => {} }),
  },
  overCable('millrace/dgram', false),
  overCable('millrace/dgram, checksums offloaded', true),
];

describe.each(places)('$name', ({ host, host2, host6, client4, broadcast, open }) => {
  let place: Awaited<ReturnType<Place['open']>>;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    place = await open();
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) {
      socket.removeAllListeners();
      try {
        socket.close();
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe('ERR_SOCKET_DGRAM_NOT_RUNNING');
      }
    }
    await sleep(1);
    const left = place.left();
    await place.close();
    expect(left).toBe(0);
  });

  function make(
    where: 'server' | 'client',
    options: nodeDgram.SocketOptions | 'udp4' | 'udp6' = 'udp4',
  ): Socket {
    const socket = place[where].createSocket(options as nodeDgram.SocketOptions);
    sockets.push(socket);
    return socket;
  }

  function bound(socket: Socket, port = 0, address?: string): Promise<number> {
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(port, address, () => {
        socket.removeListener('error', reject);
        resolve(socket.address().port);
      });
    });
  }

  type Told = [Buffer, nodeDgram.RemoteInfo];
  const message = (socket: Socket): Promise<Told> =>
    new Promise((resolve) => socket.once('message', (bytes, remote) => resolve([bytes, remote])));
  const event = (socket: Socket, name: string): Promise<unknown> =>
    new Promise((resolve) => socket.once(name, resolve));
  const failure = (body: () => unknown): unknown => {
    try {
      body();
    } catch (error) {
      const { name, code, message } = error as NodeJS.ErrnoException;
      return [name, code, message];
    }
    return undefined;
  };
  /** A server that is bound, and a client that isn't. */
  async function pair(): Promise<{ server: Socket; client: Socket; port: number }> {
    const server = make('server');
    const port = await bound(server, 0, host);
    return { server, client: make('client'), port };
  }

  describe('binding', () => {
    it('tells where, and by event and callback when', async () => {
      const socket = make('server');
      expect(failure(() => socket.address())).toEqual(['Error', 'EBADF', 'getsockname EBADF']);
      const seen: string[] = [];
      socket.on('listening', () => seen.push('listening'));
      expect(socket.bind(0, host, () => seen.push('callback'))).toBe(socket);
      expect(seen).toEqual([]);
      await event(socket, 'listening');
      expect(seen).toEqual(['listening', 'callback']);
      expect(socket.address()).toEqual({ address: host, family: 'IPv4', port: expect.any(Number) });
      expect(failure(() => socket.bind())).toEqual([
        'Error',
        'ERR_SOCKET_ALREADY_BOUND',
        'Socket is already bound',
      ]);
    });

    it.each([
      ['nothing', (socket: Socket) => socket.bind(), '0.0.0.0'],
      ['a callback', (socket: Socket) => socket.bind(() => {}), '0.0.0.0'],
      ['a port', (socket: Socket) => socket.bind(0), '0.0.0.0'],
      ['options', (socket: Socket) => socket.bind({ port: 0, address: host, exclusive: true }), host],
      ['an address in options', (socket: Socket) => socket.bind({ address: host }), host],
    ])('takes %s', async (_name, bind, address) => {
      const socket = make('server');
      bind(socket);
      await event(socket, 'listening');
      expect(socket.address().address).toBe(address);
    });

    it('at once, or with what is wrong', async () => {
      const socket = make('server') as Socket & { bindSync(options?: object): nodeDgram.BindOptions };
      let listening = 0;
      socket.on('listening', () => listening++);
      const address = socket.bindSync({ address: host });
      expect(address).toEqual(socket.address());
      expect(listening).toBe(0);
      await event(socket, 'listening');
      const other = make('server') as typeof socket;
      expect(failure(() => other.bindSync(address))).toEqual([
        'Error',
        'EADDRINUSE',
        `bind EADDRINUSE ${host}:${address.port}`,
      ]);
      expect(failure(() => other.bindSync({ address: 'some.name' }))).toEqual([
        'TypeError',
        'ERR_INVALID_ARG_VALUE',
        expect.stringContaining("'options.address' must be a numeric IP address"),
      ]);
      expect(failure(() => other.bindSync({ port: 70_000 }))).toEqual([
        'RangeError',
        'ERR_SOCKET_BAD_PORT',
        expect.stringContaining('options.port should be >= 0'),
      ]);
    });

    it('tells what is wrong with all that Node tells', async () => {
      const port = await bound(make('server'), 0, host);
      const taken = make('server');
      taken.bind(port, host);
      const error = (await event(taken, 'error')) as NodeJS.ErrnoException & {
        address: string;
        port: number;
      };
      expect(error.message).toBe(`bind EADDRINUSE ${host}:${port}`);
      const { code, errno, syscall, address } = error;
      expect({ code, errno, syscall, address, port: error.port }).toEqual({
        code: 'EADDRINUSE',
        errno: -98,
        syscall: 'bind',
        address: host,
        port,
      });
      // It may try again.
      await bound(taken, 0, host);
      const elsewhere = make('server');
      elsewhere.bind(0, '192.0.2.1');
      expect(await event(elsewhere, 'error')).toMatchObject({ code: 'EADDRNOTAVAIL', syscall: 'bind' });
      await bound(make('server'), port, host2);
    });

    it('shares an address with who shares it too', async () => {
      const port = await bound(make('server', { type: 'udp4', reuseAddr: true }), 0, host);
      await bound(make('server', { type: 'udp4', reuseAddr: true }), port, host);
      await expect(bound(make('server'), port, host)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    });

    it('is done for a socket that sends, or connects', async () => {
      const { server, client, port } = await pair();
      const listening = event(client, 'listening');
      client.send('a', port, host);
      await listening;
      const [, remote] = await message(server);
      expect(client.address()).toEqual({ address: '0.0.0.0', family: 'IPv4', port: remote.port });
    });
  });

  describe('sending', () => {
    const text = 'hello';
    it.each<[string, (client: Socket, port: number, done: () => void) => void]>([
      ['message, port, address, callback', (c, port, done) => c.send(text, port, host, done)],
      ['a buffer, port, address', (c, port) => c.send(Buffer.from(text), port, host)],
      ['offset and length', (c, port, done) => c.send(Buffer.from('xhelloyy'), 1, 5, port, host, done)],
      [
        'a DataView',
        (c, port, done) => c.send(new DataView(Uint8Array.from(Buffer.from(text)).buffer), port, host, done),
      ],
      [
        'a part of a typed array',
        (c, port, done) => c.send(new Uint8Array(Buffer.from(`xx${text}`)).subarray(2), port, host, done),
      ],
      [
        'a list',
        (c, port, done) => c.send(['he', Buffer.from('ll'), new Uint8Array([111])], port, host, done),
      ],
      ['a port as text', (c, port, done) => c.send(text, `${port}` as never, host, done)],
    ])('takes %s', async (_name, send) => {
      const { server, client, port } = await pair();
      let sent = 0;
      send(client, port, () => sent++);
      const [bytes, remote] = await message(server);
      expect(bytes).toEqual(Buffer.from(text));
      expect(remote).toEqual({ address: client4, family: 'IPv4', port: client.address().port, size: 5 });
      if (_name.includes('callback')) expect(sent).toBe(1);
    });

    it('tells how many bytes went, later', async () => {
      const { client, port } = await pair();
      const told: unknown[] = [];
      await bound(client);
      const done = new Promise<void>((resolve) => {
        client.send([Buffer.alloc(3), 'abc'], port, host, (...args) => {
          told.push(...args);
          resolve();
        });
      });
      expect(told).toEqual([]);
      await done;
      expect(told).toEqual([null, 6]);
      expect([client.getSendQueueSize(), client.getSendQueueCount()]).toEqual([0, 0]);
    });

    it.each([0, 1, 1472, 1473, 20_000, 65_507])('carries %d bytes', async (length) => {
      const { server, client, port } = await pair();
      const bytes = Buffer.from(Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8)));
      client.send(bytes, port, host);
      const [received, remote] = await message(server);
      expect(received.equals(bytes)).toBe(true);
      expect(remote.size).toBe(length);
    });

    it('sends an empty list as an empty datagram', async () => {
      const { server, client, port } = await pair();
      client.send([], port, host);
      expect((await message(server))[0].length).toBe(0);
    });

    it('keeps its own copy of nothing, and the order', async () => {
      const { server, client, port } = await pair();
      const received: string[] = [];
      server.on('message', (bytes) => received.push(String(bytes)));
      for (let i = 0; i < 30; i++) client.send(`${i}`, port, host);
      while (received.length < 30) await sleep(1);
      expect(received).toEqual(Array.from({ length: 30 }, (_, i) => `${i}`));
    });

    it('tells what is too long, and not by event', async () => {
      const { client, port } = await pair();
      client.on('error', () => {
        throw new Error('an event');
      });
      client.send(Buffer.alloc(70_000), port, host);
      const error = await new Promise<NodeJS.ErrnoException | null>((resolve) =>
        client.send(Buffer.alloc(65_508), port, host, resolve),
      );
      expect(error).toMatchObject({
        code: 'EMSGSIZE',
        syscall: 'send',
        message: `send EMSGSIZE ${host}:${port}`,
        address: host,
        port,
      });
    });

    it.each<[string, (client: Socket) => void, unknown[]]>([
      [
        'a bad port',
        (c) => c.send('a', 70_000, host),
        [
          'RangeError',
          'ERR_SOCKET_BAD_PORT',
          'Port should be > 0 and < 65536. Received type number (70000).',
        ],
      ],
      [
        'port zero',
        (c) => c.send('a', 0, host),
        ['RangeError', 'ERR_SOCKET_BAD_PORT', 'Port should be > 0 and < 65536. Received type number (0).'],
      ],
      [
        'no port',
        (c) => c.send('a'),
        ['RangeError', 'ERR_SOCKET_BAD_PORT', 'Port should be > 0 and < 65536. Received undefined.'],
      ],
      [
        'no message',
        (c) => c.send(5 as never, 7, host),
        [
          'TypeError',
          'ERR_INVALID_ARG_TYPE',
          'The "buffer" argument must be of type string or an instance of Buffer, TypedArray, or DataView. Received type number (5)',
        ],
      ],
      [
        'a bad list',
        (c) => c.send([1] as never, 7, host),
        [
          'TypeError',
          'ERR_INVALID_ARG_TYPE',
          'The "buffer list arguments" argument must be of type string or an instance of Buffer, TypedArray, or DataView. Received an instance of Array',
        ],
      ],
      [
        'a bad address',
        (c) => c.send('a', 7, 5 as never),
        [
          'TypeError',
          'ERR_INVALID_ARG_TYPE',
          'The "address" argument must be of type string. Received type number (5)',
        ],
      ],
      [
        'a bad offset',
        (c) => c.send(Buffer.alloc(5), 9, 1, 7, host),
        ['RangeError', 'ERR_BUFFER_OUT_OF_BOUNDS', '"offset" is outside of buffer bounds'],
      ],
      [
        'a bad length',
        (c) => c.send(Buffer.alloc(5), 3, 9, 7, host),
        ['RangeError', 'ERR_BUFFER_OUT_OF_BOUNDS', '"length" is outside of buffer bounds'],
      ],
    ])('refuses %s', (_name, send, error) => {
      const client = make('client');
      expect(failure(() => send(client))).toEqual(error);
    });

    it('looks names up', async () => {
      const { server, port } = await pair();
      const asked: unknown[] = [];
      const client = make('client', {
        type: 'udp4',
        lookup: ((name: string, family: unknown, callback: (...args: unknown[]) => void) => {
          asked.push([name, family]);
          process.nextTick(callback, null, name === '0.0.0.0' ? name : host, 4);
        }) as never,
      });
      client.send('named', port, 'some.name');
      expect(String((await message(server))[0])).toBe('named');
      expect(asked).toEqual([
        ['0.0.0.0', 4],
        ['some.name', 4],
      ]);
    });

    it("hands a lookup's error on: to the callback, or by event", async () => {
      const error = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
      const client = make('client', {
        type: 'udp4',
        lookup: ((name: string, _family: unknown, callback: (...args: unknown[]) => void) =>
          name === '0.0.0.0' ? callback(null, name, 4) : callback(error)) as never,
      });
      const told = await new Promise((resolve) => client.send('a', 7, 'some.name', resolve));
      expect(told).toBe(error);
      client.send('a', 7, 'some.name');
      expect(await event(client, 'error')).toBe(error);
    });

    it('to everybody takes leave', async () => {
      const server = make('server');
      const port = await bound(server);
      const client = make('client');
      await bound(client);
      const send = () =>
        new Promise<NodeJS.ErrnoException | null>((resolve) => client.send('all', port, broadcast, resolve));
      expect(await send()).toMatchObject({ code: 'EACCES', syscall: 'send' });
      client.setBroadcast(true);
      const heard = message(server);
      expect(await send()).toBeNull();
      expect(String((await heard)[0])).toBe('all');
      client.setBroadcast(false);
      expect(await send()).toMatchObject({ code: 'EACCES' });
    });

    it('keeps to a block list', async () => {
      const { server, port } = await pair();
      const sendBlockList = new BlockList();
      sendBlockList.addAddress(host);
      const client = make('client', { type: 'udp4', sendBlockList } as never);
      const error = await new Promise((resolve) => client.send('a', port, host, resolve));
      expect(error).toMatchObject({
        code: 'ERR_IP_BLOCKED',
        message: `IP(${host}) is blocked by net.BlockList`,
      });
      const receiveBlockList = new BlockList();
      receiveBlockList.addAddress(client4);
      const deaf = make('server', { type: 'udp4', receiveBlockList } as never);
      const deafPort = await bound(deaf, 0, host);
      deaf.on('message', () => {
        throw new Error('heard');
      });
      const other = make('client');
      other.send('to the deaf', deafPort, host);
      other.send('to the other', port, host);
      expect(String((await message(server))[0])).toBe('to the other');
    });
  });

  describe('connecting', () => {
    it('sends to the peer, and hears only it', async () => {
      const { server, client, port } = await pair();
      const seen: string[] = [];
      client.on('listening', () => seen.push('listening'));
      client.on('connect', () => seen.push('connect'));
      await new Promise<void>((resolve) => client.connect(port, host, () => resolve()));
      expect(seen).toEqual(['listening', 'connect']);
      expect(client.remoteAddress()).toEqual({ address: host, family: 'IPv4', port });
      expect(client.address().address).toBe(client4);
      const forms: (() => void)[] = [
        () => client.send('one'),
        () => client.send('one', () => {}),
        () => client.send(Buffer.from('xonex'), 1, 3),
        () => client.send(Buffer.from('xonex'), 1, 3, () => {}),
        () => client.send(['o', 'ne']),
      ];
      for (const form of forms) {
        form();
        expect(String((await message(server))[0])).toBe('one');
      }
      const stranger = make('server');
      await bound(stranger, 0, host);
      const heard: string[] = [];
      client.on('message', (bytes) => heard.push(String(bytes)));
      stranger.send('stranger', client.address().port, client4);
      await sleep(20);
      server.send('peer', client.address().port, client4);
      while (heard.length === 0) await sleep(1);
      expect(heard).toEqual(['peer']);
    });

    it('can be undone, and done again', async () => {
      const { server, client, port } = await pair();
      expect(failure(() => client.disconnect())).toEqual([
        'Error',
        'ERR_SOCKET_DGRAM_NOT_CONNECTED',
        'Not connected',
      ]);
      expect(failure(() => client.remoteAddress())).toMatchObject({ 1: 'ERR_SOCKET_DGRAM_NOT_CONNECTED' });
      client.connect(port, host);
      expect(failure(() => client.connect(port, host))).toEqual([
        'Error',
        'ERR_SOCKET_DGRAM_IS_CONNECTED',
        'Already connected',
      ]);
      await event(client, 'connect');
      expect(failure(() => client.send('a', 0, 1, port, host))).toMatchObject({
        1: 'ERR_SOCKET_DGRAM_IS_CONNECTED',
      });
      client.disconnect();
      client.send('again', port, host);
      expect(String((await message(server))[0])).toBe('again');
      (client as Socket & { connectSync(port: number, host: string): void }).connectSync(port, host);
      expect(client.remoteAddress().port).toBe(port);
      client.send('sync');
      expect(String((await message(server))[0])).toBe('sync');
    });

    it('hears that nobody is there', async () => {
      const { server, client, port } = await pair();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await new Promise<void>((resolve) => client.connect(port, host, () => resolve()));
      const error = event(client, 'error');
      client.send('anybody?');
      expect(await error).toMatchObject({
        code: 'ECONNREFUSED',
        errno: -111,
        message: 'recvmsg ECONNREFUSED',
      });
      expect(client.remoteAddress().port).toBe(port);
    });

    it('refuses what is no port', () => {
      const client = make('client');
      expect(failure(() => client.connect(0))).toEqual([
        'RangeError',
        'ERR_SOCKET_BAD_PORT',
        'Port should be > 0 and < 65536. Received type number (0).',
      ]);
      expect(failure(() => client.connect(7, 5 as never))).toMatchObject({ 1: 'ERR_INVALID_ARG_TYPE' });
    });
  });

  describe('closing', () => {
    it('is told by event and callback, later, and is final', async () => {
      const { server } = await pair();
      const seen: string[] = [];
      server.on('close', () => seen.push('close'));
      expect(server.close(() => seen.push('callback'))).toBe(server);
      expect(seen).toEqual([]);
      await event(server, 'close');
      expect(seen).toEqual(['close', 'callback']);
      const notRunning = ['Error', 'ERR_SOCKET_DGRAM_NOT_RUNNING', 'Not running'];
      expect(failure(() => server.close())).toEqual(notRunning);
      expect(failure(() => server.address())).toEqual(notRunning);
      expect(failure(() => server.send('a', 7, host))).toEqual(notRunning);
      expect(failure(() => server.bind())).toEqual(notRunning);
      expect(server.ref()).toBe(server);
    });

    it('waits for what was asked for while binding', async () => {
      const { server, client, port } = await pair();
      const heard = message(server);
      const closed = event(client, 'close');
      client.send('last', port, host, () => client.close());
      expect(String((await heard)[0])).toBe('last');
      await closed;
      const other = make('client');
      other.bind();
      other.send('never mind', port, host);
      other.close();
      await event(other, 'close');
    });

    it('before binding, and in the middle of it, leaves nothing', async () => {
      const unbound = make('client');
      unbound.close();
      await event(unbound, 'close');
      const binding = make('client');
      binding.bind();
      binding.on('listening', () => {
        throw new Error('listening');
      });
      binding.close();
      await event(binding, 'close');
      await sleep(5);
    });

    it('frees the port', async () => {
      const { server, port } = await pair();
      await new Promise<void>((resolve) => server.close(resolve));
      await bound(make('server'), port, host);
    });

    it('comes with an aborted signal', async () => {
      const controller = new AbortController();
      const socket = make('server', { type: 'udp4', signal: controller.signal });
      await bound(socket, 0, host);
      const closed = event(socket, 'close');
      controller.abort();
      await closed;
      const late = make('server', { type: 'udp4', signal: controller.signal });
      await event(late, 'close');
    });

    it('within a message handler ends the messages', async () => {
      const { server, client, port } = await pair();
      let heard = 0;
      server.on('message', () => {
        heard++;
        server.close();
      });
      await bound(client);
      for (let i = 0; i < 5; i++) client.send('a', port, host);
      await event(server, 'close');
      await sleep(10);
      expect(heard).toBe(1);
    });

    it('disposes', async () => {
      const socket = make('server');
      await bound(socket, 0, host);
      let closed = 0;
      socket.on('close', () => closed++);
      await socket[Symbol.asyncDispose]();
      await socket[Symbol.asyncDispose]();
      expect(closed).toBe(1);
    });
  });

  describe('options', () => {
    it('refuses a type that is none', () => {
      for (const type of ['udp5', undefined, null]) {
        expect(failure(() => place.client.createSocket(type as never))).toEqual([
          'TypeError',
          'ERR_SOCKET_BAD_TYPE',
          'Bad socket type specified. Valid types are: udp4, udp6',
        ]);
      }
      expect(make('client', 'udp6')).toHaveProperty('type', 'udp6');
    });

    it('take and give back what Node does', async () => {
      const socket = make('client');
      await bound(socket);
      expect(socket.setTTL(16)).toBe(16);
      expect(socket.setMulticastTTL(16)).toBe(16);
      expect(socket.setMulticastLoopback(false)).toBe(false);
      expect(socket.setBroadcast(true)).toBeUndefined();
      for (const bad of [0, 256, -1])
        expect(failure(() => socket.setTTL(bad))).toEqual(['Error', 'EINVAL', 'setTTL EINVAL']);
      expect(failure(() => socket.setMulticastTTL(256))).toEqual([
        'Error',
        'EINVAL',
        'setMulticastTTL EINVAL',
      ]);
      expect(failure(() => socket.setTTL('x' as never))).toEqual([
        'TypeError',
        'ERR_INVALID_ARG_TYPE',
        `The "ttl" argument must be of type number. Received type string ('x')`,
      ]);
      expect(socket.ref()).toBe(socket);
      expect(socket.unref()).toBe(socket);
    });

    it('have buffer sizes, once bound', async () => {
      const socket = make('client', { type: 'udp4', recvBufferSize: 100_000, sendBufferSize: 100_000 });
      expect(failure(() => socket.getRecvBufferSize())).toMatchObject({
        1: 'ERR_SOCKET_BUFFER_SIZE',
        2: 'Could not get or set buffer size: uv_recv_buffer_size returned EBADF (bad file descriptor)',
      });
      await bound(socket);
      expect(socket.getRecvBufferSize()).toBeGreaterThanOrEqual(100_000);
      expect(socket.getSendBufferSize()).toBeGreaterThanOrEqual(100_000);
      socket.setRecvBufferSize(50_000);
      socket.setSendBufferSize(60_000);
      expect(socket.getRecvBufferSize()).toBeGreaterThanOrEqual(50_000);
      expect(socket.getSendBufferSize()).toBeGreaterThanOrEqual(60_000);
      for (const bad of [-1, 1.5, 'x'])
        expect(failure(() => socket.setRecvBufferSize(bad as never))).toEqual([
          'TypeError',
          'ERR_SOCKET_BAD_BUFFER_SIZE',
          'Buffer size must be a positive integer',
        ]);
    });
  });

  describe('groups', () => {
    const GROUP = '239.66.66.66';

    it('are heard by those that joined, until they leave', async () => {
      const server = make('server');
      const port = await bound(server, 0, '0.0.0.0');
      server.addMembership(GROUP, host);
      expect(failure(() => server.addMembership(GROUP, host))).toEqual([
        'Error',
        'EADDRINUSE',
        'addMembership EADDRINUSE',
      ]);
      const client = make('client');
      await bound(client);
      client.setMulticastInterface(client4);
      client.setMulticastTTL(3);
      const heard: string[] = [];
      server.on('message', (bytes, { address }) => heard.push(`${bytes} from ${address}`));
      client.send('hello', port, GROUP);
      while (heard.length === 0) await sleep(1);
      expect(heard).toEqual([`hello from ${client4}`]);
      server.dropMembership(GROUP, host);
      client.send('gone', port, GROUP);
      await sleep(20);
      expect(heard).toHaveLength(1);
      expect(failure(() => server.dropMembership(GROUP, host))).toEqual([
        'Error',
        'EADDRNOTAVAIL',
        'dropMembership EADDRNOTAVAIL',
      ]);
    });

    it('refuses what is none', () => {
      const socket = make('server');
      expect(failure(() => socket.addMembership('1.2.3.4'))).toEqual([
        'Error',
        'EINVAL',
        'addMembership EINVAL',
      ]);
      expect(failure(() => (socket as { addMembership(): void } & Socket).addMembership())).toEqual([
        'TypeError',
        'ERR_MISSING_ARGS',
        'The "multicastAddress" argument must be specified',
      ]);
      expect(failure(() => socket.addMembership(GROUP, '192.0.2.1'))).toEqual([
        'Error',
        'ENODEV',
        'addMembership ENODEV',
      ]);
      expect(failure(() => socket.setMulticastInterface('192.0.2.1'))).toEqual([
        'Error',
        'EADDRNOTAVAIL',
        'setMulticastInterface EADDRNOTAVAIL',
      ]);
      expect(failure(() => socket.setMulticastInterface(5 as never))).toMatchObject({
        1: 'ERR_INVALID_ARG_TYPE',
      });
    });
  });

  describe('IPv6', () => {
    it('carries datagrams, and names both ends', async () => {
      const server = make('server', 'udp6');
      const port = await bound(server, 0, host6);
      expect(server.address()).toEqual({ address: host6, family: 'IPv6', port });
      const client = make('client', 'udp6');
      client.send(Buffer.alloc(5000, 7), port, host6);
      const [bytes, remote] = await message(server);
      expect(bytes.equals(Buffer.alloc(5000, 7))).toBe(true);
      expect(remote).toMatchObject({ family: 'IPv6', size: 5000 });
      server.send('back', remote.port, remote.address);
      expect(String((await message(client))[0])).toBe('back');
      expect(client.address()).toMatchObject({ address: '::', family: 'IPv6' });
    });

    it('takes IPv4 as mapped addresses, unless told', async () => {
      const server = make('server', 'udp6');
      const port = await bound(server);
      const client = make('client');
      client.send('four', port, host);
      const [bytes, remote] = await message(server);
      expect([String(bytes), remote.address, remote.family]).toEqual(['four', `::ffff:${client4}`, 'IPv6']);
      server.send('back', remote.port, remote.address);
      expect((await message(client))[1].address).toBe(host);
      await expect(bound(make('server'), port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
      const only = make('server', { type: 'udp6', ipv6Only: true });
      const onlyPort = await bound(only);
      await bound(make('server'), onlyPort);
    });

    it('has its own addresses only', async () => {
      const client = make('client', 'udp6');
      const told = await new Promise((resolve) => client.send('a', 7, host, resolve));
      expect(told).toMatchObject({ code: 'EINVAL', syscall: 'send' });
      const client4 = make('client');
      expect(await new Promise((resolve) => client4.send('a', 7, host6, resolve))).toMatchObject({
        code: 'EINVAL',
      });
    });
  });
});
