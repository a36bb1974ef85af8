import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';

import { afterEach, describe, expect, it } from 'vitest';
import { createCable } from '../device/cable.ts';
import { capture } from '../device/capture.ts';
import { watch } from '../device/watch.ts';
import { LIMITS_DEFAULT } from '../engine/limits.ts';
import { Arena } from '../memory/arena.ts';
import { reno } from '../tcp/congestion/reno.ts';
import { CLOSED_ABORTED, CLOSED_CODES } from '../tcp/reasons.ts';

import { connect, createServer } from './net.ts';
import { arenaBytes, hostAddressesFor, type StackOptions } from './options.ts';
import { Stack } from './stack.ts';
import { CLIENT, once, openPair, type Pair, SERVER, SERVER6 } from './testing.ts';

let pair: Pair | null = null;
afterEach(async () => {
  await pair?.close();
  pair = null;
});

describe('options', () => {
  const device = createCable(new Arena(64 << 20), 'options')[0];
  const limits = { connections: 10, miniBlocks: 10, chunks: 10 };
  const fine: StackOptions = { device, addresses: ['10.0.0.1/24'], limits };
  it.each<[string, object, RegExp]>([
    ['device', { device: 'eth0' }, /tun:NAME/],
    ['device', { device: 'tun:name/with/slashes' }, /tun:NAME/],
    ['device', { device: {} }, /port/],
    ['addresses', { addresses: [] }, /needs an address/],
    ['addresses.1', { addresses: ['10.0.0.1/24', '10.0.0.300/24'] }, /not a valid IPv4 address/],
    ['addresses.0', { addresses: ['10.0.0.1'] }, /prefix length is missing/],
    ['addresses', { addresses: ['224.0.0.1/24'] }, /multicast/],
    ['addresses', { addresses: ['10.0.0.1/24', '10.0.0.1/24'] }, /twice/],
    ['gateway4', { gateway4: 'fd00::1' }, /IPv4/],
    ['gateway4 or gateway6', { gateway4: '192.0.2.1' }, /192\.0\.2\.1/],
    ['hostAddresses.0', { hostAddresses: ['x'] }, /prefix length/],
    ['mtu', { mtu: 100 }, /576/],
    ['mtu', { mtu: 1400.5 }, /int/],
    ['queues', { queues: 0 }, /0/],
    ['queues', { queues: 65 }, /64/],
    ['limits.connections', { limits: { connections: 0 } }, /0/],
    ['limits', { limits: { conections: 5 } }, /conections/],
    ['limits.congestion', { limits: { congestion: 'vegas' } }, /cubic/],
    ['congestionControls.0', { congestionControls: [{ name: 'x' }] }, /congestion control/],
    ['congestionControls', { congestionControls: [reno] }, /'reno'/],
    ['limits.rtoMin_ms', { limits: { rtoMin_ms: 500_000 } }, /rtoMax_ms/],
    ['idle', { idle: 'lazy' }, /adaptive/],
    ['options', { adresses: [] }, /adresses/],
    ['wrapPort', { wrapPort: 1 }, /function/],
  ])('%s is refused by name: %j', async (field, wrong, why) => {
    const opening = Stack.open({ ...fine, ...wrong } as StackOptions);
    await expect(opening).rejects.toMatchObject({ code: 'ERR_MILLRACE_OPTIONS', field });
    await expect(opening).rejects.toThrow(why);
  });

  it('past 2 GiB of arena names the limit to lower', () => {
    expect(arenaBytes(LIMITS_DEFAULT, 1 << 20)).toBeLessThan(200 << 20);
    expect(() => arenaBytes({ ...LIMITS_DEFAULT, chunks: 1_100_000 }, 0)).toThrow(
      expect.objectContaining({ code: 'ERR_MILLRACE_OPTIONS', field: 'limits.chunks' }),
    );
    expect(() => arenaBytes({ ...LIMITS_DEFAULT, connections: 2_000_000, chunks: 600_000 }, 0)).toThrow(
      /connections/,
    );
  });

  it('autoconfigure: nothing need be given, and the same secret gives the same', async () => {
    const device = () => createCable(new Arena(128 << 20), 'auto')[0];
    const limits = { connections: 64, miniBlocks: 64, chunks: 64 };
    await expect(Stack.open({ device: device(), addresses: [] })).rejects.toThrow('a stack needs an address');
    const find = async (addressSecret: string): Promise<string> => {
      const told = Promise.withResolvers<string>();
      await using stack = await Stack.open({
        device: device(),
        addresses: [],
        limits,
        autoconfigure: true,
        addressSecret,
        onAddress: (kind, address) => told.resolve(`${kind} ${address}`),
      });
      stack.ref();
      expect(stack.addresses()).toEqual([]);
      const found = await told.promise;
      expect(`added ${stack.addresses()[0]}`).toBe(found);
      return found;
    };
    const found = await Promise.all(['one', 'one', 'other'].map(find));
    expect(found[0]).toMatch(/^added fe80::/);
    expect([found[1] === found[0], found[2] === found[0]]).toEqual([true, false]);
  });

  it('a device that leaves groups to the host joins none, and says what to do', async () => {
    const port = watch(createCable(new Arena(128 << 20), 'deaf')[0], { received() {}, sending() {} });
    const deaf = Object.defineProperty(port, 'capabilities', {
      value: { ...port.capabilities, groups: false },
    });
    const options = { ...fine, device: deaf };
    await expect(Stack.open({ ...options, autoconfigure: true })).rejects.toThrow(/take packet: instead/);
    await using stack = await Stack.open(options);
    const socket = stack.dgram.createSocket('udp4').bind(4000);
    await once(socket, 'listening');
    expect(() => socket.addMembership('239.1.2.3')).toThrow(
      expect.objectContaining({
        code: 'ENOTSUP',
        cause: expect.objectContaining({ message: expect.stringContaining('take packet: instead') }),
      }),
    );
    socket.close();
  });

  it('size the arena for what the engine carves', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 50_000 }),
        fc.integer({ min: 1, max: 5000 }),
        fc.constantFrom(0, 5),
        async (connections, chunks, connectionsPerSource) => {
          const limits = {
            ...LIMITS_DEFAULT,
            connections,
            miniBlocks: connections,
            chunks,
            connectionsPerSource,
          };
          const [port] = createCable(new Arena(arenaBytes(limits, 1 << 20)), 'x', { slots: 64 });
          const stack = await Stack.open({ device: port, addresses: ['10.0.0.1/24'], limits });
          await stack.close();
        },
      ),
      { numRuns: 10 },
    );
  });

  it.each([
    [
      ['10.0.0.2/24', 'fd00::2/64'],
      ['10.0.0.1/24', 'fd00::1/64'],
    ],
    [
      ['10.0.0.1/24', 'fd00::1/64'],
      ['10.0.0.2/24', 'fd00::2/64'],
    ],
    [['10.0.0.77/30', '10.0.0.78/30'], []],
    [['10.0.0.4/31'], ['10.0.0.5/31']],
    [['10.0.0.5/31'], ['10.0.0.4/31']],
    [['10.0.0.1/32', 'fd00::1/128'], []],
    [['10.0.0.7/24', '10.0.0.8/24'], ['10.0.0.1/24']],
  ])('give the host its addresses: %j → %j', (ours, hosts) => {
    expect(hostAddressesFor(ours)).toEqual(hosts);
  });
});

describe('the default stack', () => {
  it('is the one opened last that is still open', async () => {
    expect(() => connect(7, SERVER)).toThrow(expect.objectContaining({ code: 'ERR_MILLRACE_NO_STACK' }));
    pair = await openPair();
    const listener = createServer((socket) => socket.end('last opened')).listen(7);
    const socket = connect({ stack: pair.client, port: 7, host: SERVER });
    expect(await text(socket)).toBe('last opened');
    expect(pair.server.sockets.servers.size).toBe(1);
    listener.close();
    await pair.server.close();
    expect(() => connect({ port: 7, host: SERVER }).destroy()).not.toThrow();
    await pair.client.close();
    expect(() => createServer().listen(7)).toThrow(/no stack is open/);
  });

  it('is not needed by stack.net, classes included', async () => {
    pair = await openPair();
    const listener = new pair.server.net.Server((socket) => socket.end('x')).listen(7);
    const socket = new pair.client.net.Socket().connect({ port: 7, host: SERVER6 });
    expect(await text(socket)).toBe('x');
    expect(socket).toBeInstanceOf(pair.client.net.Socket);
    listener.close();
  });
});

it("refuses what is the kernel's, and what would have no effect", async () => {
  pair = await openPair();
  const { net } = pair.client;
  for (const options of [{ path: '/tmp/socket' }, { fd: 3 }, { port: 1, onread: {} }]) {
    const refused = expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' });
    expect(() => net.connect(options as never)).toThrow(refused);
    expect(() => net.createServer().listen(options as never)).toThrow(refused);
  }
});

it('has no loopback, and says so as a host that is not reached', async () => {
  pair = await openPair();
  for (const host of ['127.0.0.1', CLIENT, '::1']) {
    const error = await once<NodeJS.ErrnoException>(pair.client.net.connect(7, host), 'error');
    expect([error.code, error.syscall]).toEqual(['EHOSTUNREACH', 'connect']);
    expect((error.cause as Error).message).toContain('no route');
  }
});

describe('close', () => {
  it('delivers what was written, and ends in order', async () => {
    pair = await openPair();
    const bytes = Buffer.alloc(3_000_000, 'd');
    pair.server.net.createServer((socket) => socket.end(bytes)).listen(7);
    const socket = pair.client.net.connect(7, SERVER);
    let received = 0;
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    const accepted = once(socket, 'connect');
    await accepted;
    await sleep(5);
    await pair.server.close({ grace_ms: 5000 });
    if (!socket.closed) await once(socket, 'close');
    expect([received, pair.server.counters().connections, pair.server.counters().chunks]).toEqual([
      bytes.length,
      0,
      0,
    ]);
  });

  it('resets what will not end, after the grace', async () => {
    pair = await openPair();
    const serverErrors: string[] = [];
    pair.server.net
      .createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('error', (error: NodeJS.ErrnoException) => serverErrors.push(String(error.code))).resume();
      })
      .listen(7);
    const socket = pair.client.net.connect(7, SERVER);
    await once(socket, 'connect');
    const start = performance.now();
    const closing = pair.client.close({ grace_ms: 60 });
    expect(pair.client.close()).toBe(closing);
    await closing;
    expect(performance.now() - start).toBeGreaterThan(55);
    expect(pair.client.counters().connections).toBe(0);
    await sleep(20);
    expect(serverErrors).toEqual(['ECONNRESET']);
    await pair.client.close();
  });

  it("tells the engine's own programs, and stops their listeners", async () => {
    pair = await openPair();
    const reasons: string[] = [];
    const { engine } = pair.server;
    engine.listen({ port: 7 }, { close: (_conn, reason) => reasons.push(CLOSED_CODES[reason]) });
    const socket = pair.client.net.connect({ port: 7, host: SERVER, allowHalfOpen: true });
    await once(socket, 'connect');
    await sleep(5);
    await pair.server.close({ grace_ms: 30 });
    expect(reasons).toEqual([CLOSED_CODES[CLOSED_ABORTED]]);
    expect(engine.tcp.listenersByPort.size).toBe(0);
    socket.destroy();
  });

  it('is what await using does', async () => {
    let port: { close(): void } | undefined;
    {
      const [device] = createCable(new Arena(64 << 20), 'using');
      const close = device.close.bind(device);
      let closed = 0;
      port = device;
      device.close = () => {
        closed++;
        close();
      };
      await using stack = await Stack.open({ device, addresses: ['10.0.0.1/24'], limits: { chunks: 1024 } });
      expect(stack.counters().connections).toBe(0);
      Object.assign(port, { count: () => closed });
    }
    expect((port as unknown as { count(): number }).count()).toBe(1);
  });
});

it('hands on what a handler of the engine throws', async () => {
  const arena = new Arena(128 << 20);
  const [left, right] = createCable(arena, 'cable');
  const limits = { connections: 100, miniBlocks: 100, chunks: 1000 };
  const errors: unknown[] = [];
  await using server = await Stack.open({
    device: right,
    addresses: [`${SERVER}/24`],
    limits,
    onHandlerError: (error) => errors.push(error),
  });
  await using client = await Stack.open({ device: left, addresses: [`${CLIENT}/24`], limits });
  const mine = new Error('mine');
  server.engine.listen(
    { port: 7 },
    {
      open: () => {
        throw mine;
      },
    },
  );
  const socket = client.net.connect(7, SERVER);
  expect((await once<NodeJS.ErrnoException>(socket, 'error')).code).toBe('ECONNRESET');
  expect(errors).toEqual([mine]);
});

it('puts a middleware between device and engine', async () => {
  const arena = new Arena(128 << 20);
  const [left, right] = createCable(arena, 'cable');
  const limits = { connections: 100, miniBlocks: 100, chunks: 1000 };
  let recorded = 0;
  await using server = await Stack.open({ device: right, addresses: [`${SERVER}/24`], limits });
  await using client = await Stack.open({
    device: left,
    addresses: [`${CLIENT}/24`],
    limits,
    wrapPort: (port) =>
      capture(
        port,
        (bytes) => void (recorded += bytes.length),
        () => 0,
      ),
  });
  server.net.createServer((socket) => socket.end('x')).listen(7);
  expect(await text(client.net.connect(7, SERVER))).toBe('x');
  expect(recorded).toBeGreaterThan(500);
  const { port, tcp, breaths } = client.counters();
  expect([port.txFrames >= tcp.segmentsOut, tcp.activeOpens, breaths > 3]).toEqual([true, 1, true]);
});

it('shows what TCP knows of a connection', async () => {
  pair = await openPair();
  pair.server.net.createServer((socket) => socket.resume()).listen(7);
  const socket = pair.client.net.connect(7, SERVER);
  expect(socket.info()).toBe(null);
  await once(socket, 'connect');
  expect(socket.info()).toMatchObject({ state: 'ESTABLISHED', congestion: 'cubic', bytesSent: 0 });
  socket.setCongestion('bbr');
  expect(socket.info()).toMatchObject({ congestion: 'bbr' });
  expect(() => socket.setCongestion('vegas')).toThrow(expect.objectContaining({ code: 'ERR_CONGESTION' }));
  socket.destroy();
  expect(socket.info()).toBe(null);
});

it('keeps stopped readers from holding others up', async () => {
  pair = await openPair();
  pair.server.net.createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(7);
  const stopped = pair.client.net.connect(7, SERVER);
  stopped.pause();
  stopped.write(Buffer.alloc(8 << 20));
  await sleep(50);
  const lively = pair.client.net.connect(7, SERVER);
  lively.end('lively');
  expect(await text(lively)).toBe('lively');
  stopped.destroy();
});

/** Runs a program of its own over the two stacks of `openPair`. @returns what it printed, and how it ended */
async function program(body: string): Promise<{ out: string; code: number | null; ms: number }> {
  const testing = new URL('./testing.ts', import.meta.url).href;
  const code = `import { openPair, once } from '${testing}'; const { client, server } = await openPair(); ${body}`;
  const start = performance.now();
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { timeout: 15_000 });
  const out = Promise.all([text(child.stdout), text(child.stderr)]);
  const exit = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { out: (await out).join(''), code: exit, ms: performance.now() - start };
}

describe('a process', () => {
  it('ends when its stacks have nothing open', async () => {
    expect(await program('console.log("end");')).toMatchObject({ out: 'end\n', code: 0 });
  });

  it('stays for a listening server, unless that is unref’d', async () => {
    const stays = await program(`server.net.createServer().listen(7);
      setTimeout(() => { console.log('still here'); process.exit(3); }, 300).unref();`);
    expect(stays).toMatchObject({ out: 'still here\n', code: 3 });
    const ends = await program(`server.net.createServer().listen(7).unref();
      setTimeout(() => { console.log('still here'); process.exit(3); }, 5000).unref();`);
    expect(ends).toMatchObject({ out: '', code: 0 });
  });

  it('stays for an open socket, unless that is unref’d', async () => {
    const open = `server.net.createServer((s) => s.unref()).listen(7).unref();
      const socket = client.net.connect(7, '10.0.0.2');
      const end = (ms) => setTimeout(() => { console.log('still here'); process.exit(3); }, ms).unref();`;
    expect(await program(`${open} end(300);`)).toMatchObject({ out: 'still here\n', code: 3 });
    const ends = await program(`${open} socket.on('connect', () => socket.unref()); end(5000);`);
    expect(ends).toMatchObject({ out: '', code: 0 });
  });

  it('stays until what a destroyed socket wrote is with the peer', async () => {
    const { out, code } = await program(`let received = 0;
      server.net.createServer((s) => { s.unref(); s.on('data', (d) => { received += d.length; }); }).listen(7).unref();
      const socket = client.net.connect(7, '10.0.0.2', () => socket.write(Buffer.alloc(900_000), () => socket.destroy()));
      process.on('exit', () => console.log(received));`);
    expect({ out, code }).toEqual({ out: '900000\n', code: 0 });
  });

  it('is not held by a half-closed connection that the peer leaves open', async () => {
    const { code, ms } =
      await program(`server.net.createServer({ allowHalfOpen: true }, (s) => s.unref().resume()).listen(7).unref();
      const socket = client.net.connect(7, '10.0.0.2', () => socket.end(() => socket.destroy()));`);
    expect(code).toBe(0);
    expect(ms).toBeLessThan(12_000);
  });

  it('stays for a stack that says so', async () => {
    const { out } = await program(`client.ref();
      setTimeout(() => { console.log('still here'); client.unref(); }, 200).unref();`);
    expect(out).toBe('still here\n');
  });

  it("keeps Node's own timers and I/O going under load", async () => {
    const { out } = await program(`server.net.createServer((s) => s.pipe(s)).listen(7);
      const socket = client.net.connect(7, '10.0.0.2');
      const chunk = Buffer.alloc(65536);
      socket.on('data', () => socket.writableNeedDrain || socket.write(chunk));
      for (let i = 0; i < 20; i++) socket.write(chunk);
      let ticks = 0;
      setInterval(() => ticks++, 5);
      // Some 350 on an idle machine.
      setTimeout(() => { console.log(ticks > 10); process.exit(); }, 2000);`);
    expect(out).toBe('true\n');
  });
});
