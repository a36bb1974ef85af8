import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Child } from '../../test/child.ts';
import { Arena } from '../memory/arena.ts';
import { createEventfd } from '../os/eventfd.ts';
import { libc, NativeMemory } from '../os/libc.ts';
import { WOKEN_MS_MAX } from '../os/poll.testing.ts';
import { Poller, WAIT_MS_MAX } from '../os/poll.ts';
import { type MemifMessage, RING_COOKIE } from '../wire/memif.ts';
import { frameOf, queueFrame, takeFrames } from './compliance.testing.ts';
import { createFrames } from './frames.ts';
import { listenSeqpacket, meet, openTestMemif, passes, Shared, Talker, turnUntil } from './memif.testing.ts';
import { type MemifOptions, type MemifPort, openMemif, parseMemif } from './memif.ts';
import { clientMemory } from './memif-handshake.ts';
import { deviceFault, openPort, portArenaBytes } from './open.ts';
import { PortError } from './port.ts';

let folder = '';
let socket = '';
const opened: MemifPort[] = [];
const children: Child[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'memif-'));
  socket = join(folder, 's');
});
afterEach(async () => {
  for (const port of opened.splice(0)) port.close();
  for (const child of children.splice(0)) await child.stop();
  rmSync(folder, { recursive: true });
});

function open(role: 'client' | 'server', options: Partial<MemifOptions> = {}): MemifPort {
  const port = openTestMemif({ socket, role, slots: 64, ...options });
  opened.push(port);
  return port;
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof PortError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'no error';
}

/** What a port throws when it is synced for a while. */
async function thrownBy(port: MemifPort, ...others: MemifPort[]): Promise<string> {
  try {
    await turnUntil([port, ...others], () => false, 1000);
  } catch (error) {
    if (error instanceof PortError) return `${error.code}: ${error.message}`;
  }
  return 'no error';
}

const descriptors = () => readdirSync('/proc/self/fd').length;
const mappings = () =>
  spawnSync('grep', ['-c', 'memfd:', `/proc/${process.pid}/maps`])
    .stdout.toString()
    .trim();

describe('opening a client', () => {
  test('nobody there, and what else is there', () => {
    expect(codeOf(() => open('client'))).toMatch(/^ENOENT: .*start the server first/);
    writeFileSync(socket, '');
    expect(codeOf(() => open('client'))).toMatch(/^ENOTSOCK: .*no socket/);
    expect(codeOf(() => open('server'))).toMatch(/^ENOTSOCK: /);
    expect(existsSync(socket)).toBe(true);
    expect(codeOf(() => open('client', { socket: `${folder}/${'x'.repeat(120)}` }))).toMatch(/^ENAMETOOLONG/);
    expect(codeOf(() => open('server', { socket: `${folder}/none/s` }))).toMatch(/^ENOENT: .*directory/);
  });

  test('a dead server’s socket', () => {
    closeSync(listenSeqpacket(socket));
    expect(codeOf(() => open('client'))).toMatch(/^ECONNREFUSED: .*start it again/);
  });

  test('a socket of another kind', async () => {
    const server = createServer().listen(socket);
    await new Promise((resolve) => server.once('listening', resolve));
    expect(codeOf(() => open('client'))).toMatch(/^EPROTOTYPE/);
    expect(codeOf(() => open('server'))).toMatch(/^EADDRINUSE/);
    server.close();
  });

  test.skipIf(process.geteuid?.() !== 0)(
    'no permission (skipped: needs root to become another user)',
    async () => {
      open('server');
      chmodSync(folder, 0o755);
      const child = inChild('client', '', { uid: 65_534 });
      await child.waitFor(/EACCES: .*let this user write/);
    },
  );

  test('bad options', () => {
    for (const options of [
      { socket: '' },
      { socket: '@' },
      { id: -1 },
      { id: 2 ** 32 },
      { secret: 'x'.repeat(25) },
      { queues: 0 },
      { ringLog2: 16 },
      { bufferBytes: 1 },
      { roomMib: 0 },
      { mtu: 67 },
      { slots: 1 },
      { slots: 3 },
      { mac: Uint8Array.of(1, 0, 0, 0, 0, 0) },
    ]) {
      expect(codeOf(() => open('server', options))).toMatch(/^EINVAL: memif/);
    }
  });

  test('names', () => {
    expect(parseMemif('/run/x.sock,id=7,role=server,secret=pw,mode=ip,rsize=9,bsize=1024,room=64')).toEqual({
      ...{ socket: '/run/x.sock', id: 7, role: 'server', secret: 'pw', link: 'ip' },
      ...{ ringLog2: 9, bufferBytes: 1024, roomMib: 64 },
    });
    expect(deviceFault('memif:/run/x.sock')).toBeNull();
    const [name, settings] = [`memif:${join(folder, 'named')},role=server,rsize=5`, { queues: 3, mtu: 600 }];
    const port = openPort(new Arena(portArenaBytes(name, settings) + 4096), name, settings);
    expect(port.capabilities).toMatchObject({ queues: 3, mtu: 600 });
    port.close();
    expect(deviceFault('memif:')).toMatch(/path of a socket/);
    expect(deviceFault('memif:/x,role=master')).toMatch(/role can’t be "master"/);
    expect(deviceFault('memif:/x,id=x')).toMatch(/id can’t be/);
    expect(deviceFault('memif:/x,nonsense=1')).toMatch(/no option "nonsense"; there are role, id/);
    expect(deviceFault('memif:/x,toString=1')).toMatch(/no option/);
  });
});

describe('a server that won’t have us says why, at the first sync that hears it', () => {
  test.each<[string, Partial<MemifOptions>, Partial<MemifOptions>, RegExp]>([
    ['id', { id: 1 }, { id: 2 }, /^ECONNREFUSED: .*ID not found; check id/],
    ['secret', { secret: 'a' }, { secret: 'b' }, /^ECONNREFUSED: .*Incorrect secret/],
    ['no secret', { secret: 'a' }, {}, /^ECONNREFUSED: .*Secret required/],
    ['mode', { link: 'ip' }, {}, /^ECONNREFUSED: .*ip mode/],
    ['room', { roomMib: 1 }, {}, /^ECONNREFUSED: .*room for 1048576/],
  ])('%s', async (_, server, client, message) => {
    const ours = open('server', server);
    expect(await thrownBy(open('client', client), ours)).toMatch(message);
    expect(ours.peers).toEqual({ links: 0, refused: 1, faults: 0 });
    expect(ours.linked).toBe(false);
  });

  test('a second client', async () => {
    const server = open('server');
    const first = open('client');
    await meet(first, server);
    expect(await thrownBy(open('client'), server, first)).toMatch(/^ECONNREFUSED: .*Already connected/);
    expect(await passes(first, server, frameOf(first, 100, 1))).toBe(true);
  });

  test('another version, and nonsense', async () => {
    const listener = listenSeqpacket(socket);
    const hello: MemifMessage = {
      ...{ type: 'hello', name: 'new', regionMax: 0, toClientMax: 0, toServerMax: 0, ringLog2Max: 9 },
      ...{ versionMin: 0x300, versionMax: 0x300 },
    };
    for (const [say, code] of [
      [(talker: Talker) => talker.say(hello), /^EPROTONOSUPPORT: .*speaks memif 3.0/],
      [(talker: Talker) => talker.say({ type: 'connected', name: '' }), /^EPROTO: .*unexpected/],
      [(talker: Talker) => talker.sayBytes(new Uint8Array(7)), /^EPROTO: .*a message that there is not/],
      [(talker: Talker) => talker.sayBytes(new Uint8Array(400)), /^EPROTO: /],
    ] as const) {
      const client = open('client');
      using talker = Talker.accept(listener);
      if (talker === undefined) throw new Error('nobody connected');
      say(talker);
      expect(await thrownBy(client)).toMatch(code);
      client.close();
    }
    closeSync(listener);
  });
});

describe('peers come and go', () => {
  test('a server that closes is left with frames dropped and counted, and found again', async () => {
    const server = open('server');
    const client = open('client');
    await meet(client, server);
    server.close();
    expect(existsSync(socket)).toBe(false);
    await turnUntil([client], () => !client.linked);
    const { txDropped } = client.counters;
    queueFrame(client, frameOf(client, 60, 0));
    expect(client.txSync()).toBe(client.tx.slots);
    expect(client.counters.txDropped).toBe(txDropped + 1);
    expect(client.rxSync()).toBe(0);
    const next = open('server');
    await meet(client, next);
    expect(await passes(client, next, frameOf(client, 100, 1))).toBe(true);
    expect(await passes(next, client, frameOf(client, 100, 2))).toBe(true);
    expect(client.peers).toEqual({ links: 2, refused: 0, faults: 0 });
  });

  test('a client that closes makes room for the next, and nothing stays behind', async () => {
    const server = open('server');
    const before = descriptors();
    for (let i = 0; i < 5; i++) {
      const client = open('client', { queues: 2 });
      await meet(client, server);
      expect(await passes(client, server, frameOf(client, 100, i))).toBe(true);
      expect(await passes(server, client, frameOf(client, 100, i))).toBe(true);
      client.close();
      await turnUntil([server], () => !server.linked);
    }
    expect(descriptors()).toBe(before);
    expect(mappings()).toBe('0');
    server.close();
  });

  test('frames of an old peer don’t turn up in a new one’s stream', async () => {
    const server = open('server');
    const first = open('client');
    await meet(first, server);
    queueFrame(first, frameOf(first, 100, 1));
    first.txSync();
    first.close();
    const second = open('client');
    await turnUntil([server, second], () => server.linked && second.linked && server.peers.links === 2);
    queueFrame(second, frameOf(first, 100, 2));
    await turnUntil([server, second], () => server.rx.available > 0);
    expect(takeFrames(server).every((frame) => frame.length === 100)).toBe(true);
  });

  test('two servers on one path: the second is told', () => {
    open('server');
    expect(codeOf(() => open('server'))).toMatch(/^EADDRINUSE: .*another server answers/);
    expect(existsSync(socket)).toBe(true);
  });

  test.each(['client', 'server'] as const)(
    'SIGKILL of a %s leaves nothing that is in the way',
    async (role) => {
      const ours = role === 'client' ? open('server') : undefined;
      const child = inChild(
        role,
        'setInterval(() => { port.rxSync(); port.txSync(); if (port.linked) console.log("up"); }, 1);',
      );
      await child.waitFor(/open/);
      const port = ours ?? open('client');
      await turnUntil([port], () => port.linked);
      child.signal('SIGKILL');
      await child.exit;
      await turnUntil([port], () => !port.linked);
      const other = open(role);
      await meet(port, other);
      expect(await passes(other, port, frameOf(port, 100, 1))).toBe(true);
    },
  );

  test('a peer that takes nothing any more is noticed by who only sends', async () => {
    const server = open('server');
    const client = open('client', { ringLog2: 2 });
    await meet(client, server);
    server.close();
    const end = performance.now() + 2000;
    while (client.linked && performance.now() < end) {
      while (client.tx.available > 0) queueFrame(client, frameOf(client, 60, 0));
      client.txSync();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(client.linked).toBe(false);
  });

  test('a port that can’t be opened leaves nothing open, and its pool whole', () => {
    const before = descriptors();
    const options = { socket, role: 'client', slots: 64 } as const;
    const arena = new Arena(1 << 26);
    const pool = createFrames(arena, 'frames', 128, 1518);
    expect(codeOf(() => openMemif(arena, { ...options, pool }))).toMatch(/^ENOENT/);
    pool.audit();
    expect(pool.inUse).toBe(0);
    const small = createFrames(arena, 'few', 100, 1518);
    expect(() => openMemif(arena, { ...options, role: 'server', pool: small })).toThrow(/the pool of 100/);
    expect(small.inUse).toBe(0);
    expect(descriptors()).toBe(before);
    expect(existsSync(socket)).toBe(false);
  });
});

describe('whoever sleeps is woken', () => {
  test.each(['client', 'server'] as const)('the %s, by a frame and by the peer’s end', async (role) => {
    const server = open('server');
    const client = open('client');
    await meet(client, server);
    const [sleeper, other] = role === 'client' ? [client, server] : [server, client];
    const poller = new Poller(sleeper.fds);
    try {
      for (let i = 0; i < 20; i++) {
        await idle(sleeper, poller);
        const woken = poller.wait(WAIT_MS_MAX);
        queueFrame(other, frameOf(other, 60, i));
        other.txSync();
        await isWoken(woken);
        expect(sleeper.rxSync()).toBe(1);
        takeFrames(sleeper);
      }
      await idle(sleeper, poller);
      const woken = poller.wait(WAIT_MS_MAX);
      other.close();
      await isWoken(woken);
      await turnUntil([sleeper], () => !sleeper.linked);
    } finally {
      poller.close();
    }
  });

  test('a server, by a client', async () => {
    const server = open('server');
    const poller = new Poller(server.fds);
    await idle(server, poller);
    const woken = poller.wait(WAIT_MS_MAX);
    open('client');
    await isWoken(woken);
    poller.close();
  });

  test('a reader at work is not signalled', async () => {
    const server = open('server');
    const client = open('client');
    await meet(client, server);
    const frames = 2000;
    for (let i = 0; i < frames; ) {
      queueFrame(client, frameOf(client, 60, 0));
      client.txSync();
      queueFrame(client, frameOf(client, 60, 0));
      client.txSync();
      server.rxSync();
      i += takeFrames(server).length;
    }
    expect(client.counters.syscalls + server.counters.syscalls).toBeLessThan(200);
  });
});

/** Syncs until nothing is left to be told, as an engine does before it sleeps. */
async function idle(port: MemifPort, poller: Poller): Promise<void> {
  for (let i = 0; i < 100; i++) {
    port.rxSync();
    takeFrames(port);
    const start = performance.now();
    await poller.wait(5);
    if (performance.now() - start > 4) return;
  }
  throw new Error('it is never idle');
}

async function isWoken(wait: Promise<void>): Promise<void> {
  const start = performance.now();
  await wait;
  expect(performance.now() - start).toBeLessThan(WOKEN_MS_MAX);
}

describe('a hostile client', () => {
  const shape = { queues: 1, ringLog2: 3 };
  const memory = clientMemory(shape, 2048);
  const init: MemifMessage = { type: 'init', version: 0x200, id: 0, mode: 'ether', secret: '', name: 'evil' };

  /** As far as CONNECT, with descriptors of one's own choice. */
  async function attack(
    server: MemifPort,
    fds: { region: number; toServer: number; toClient: number },
    bytes = memory.bytes,
  ) {
    const talker = Talker.connect(socket);
    const heard: MemifMessage[] = [];
    const exchange = async (message: MemifMessage, fd = -1) => {
      const before = heard.length;
      talker.say(message, fd);
      await turnUntil([server], () => {
        const next = talker.hear();
        if (next) heard.push(next);
        return next === undefined || heard.length > before;
      });
    };
    await turnUntil([server], () => talker.hear() != null);
    await exchange(init);
    await exchange({ type: 'addRegion', index: 0, bytes }, fds.region);
    const { region, ringLog2 } = memory.toServer[0];
    await exchange(
      { type: 'addRing', toServer: true, index: 0, region, offset: memory.toServer[0].offset, ringLog2 },
      fds.toServer,
    );
    await exchange(
      { type: 'addRing', toServer: false, index: 0, region, offset: memory.toClient[0].offset, ringLog2 },
      fds.toClient,
    );
    await exchange({ type: 'connect', name: 'evil' });
    return { talker, last: heard.at(-1) };
  }

  function withCookies(): Shared {
    const shared = new Shared(memory.bytes);
    for (const { offset } of [...memory.toServer, ...memory.toClient])
      shared.view.setUint32(offset, RING_COOKIE, true);
    return shared;
  }

  test('memory and descriptors that aren’t what they should be are refused, with the reason', async () => {
    const server = open('server');
    const before = descriptors();
    using shared = withCookies();
    const event = createEventfd();
    const file = join(folder, 'file');
    writeFileSync(file, new Uint8Array(memory.bytes));
    const plain = openSync(file, 'r+');
    const name = new NativeMemory(16);
    const unsealed = libc().memfd_create(name.address, 2);
    libc().ftruncate(unsealed, memory.bytes);
    using bare = new Shared(memory.bytes);
    const good = { region: shared.fd, toServer: event, toClient: event };
    for (const [fds, reason] of [
      [{ ...good, region: plain }, /no memory of memfd_create/],
      [{ ...good, region: event }, /no memory of memfd_create/],
      [{ ...good, region: unsealed }, /could shrink/],
      [{ ...good, region: bare.fd }, /without the cookie/],
      [{ ...good, toServer: plain }, /no eventfd/],
      [{ ...good, toClient: plain }, /no eventfd/],
    ] as const) {
      const { talker, last } = await attack(server, fds);
      expect(last).toMatchObject({ type: 'disconnect', reason: expect.stringMatching(reason) });
      talker[Symbol.dispose]();
    }
    const { talker, last } = await attack(server, good, memory.bytes + 1);
    expect(last).toMatchObject({ reason: expect.stringMatching(/fewer than the/) });
    talker[Symbol.dispose]();
    expect(server.peers).toEqual({ links: 0, refused: 7, faults: 0 });
    name.free();
    for (const fd of [event, plain, unsealed]) closeSync(fd);
    expect(mappings()).toBe('2');
    expect(descriptors()).toBe(before + 2);
  });

  test('lies in the rings end the link and are counted; an honest client is next', async () => {
    const server = open('server');
    using shared = withCookies();
    const event = createEventfd();
    const { talker, last } = await attack(server, { region: shared.fd, toServer: event, toClient: event });
    expect(last).toMatchObject({ type: 'connected' });
    expect(server.linked).toBe(true);
    shared.view.setUint16(6, 500, true);
    await turnUntil([server], () => !server.linked);
    expect(server.peers).toEqual({ links: 1, refused: 0, faults: 1 });
    expect(talker.hear()).toMatchObject({ type: 'disconnect', reason: expect.stringMatching(/index/) });
    talker[Symbol.dispose]();
    closeSync(event);
    const honest = open('client');
    await meet(honest, server);
    expect(await passes(honest, server, frameOf(server, 100, 1))).toBe(true);
  });

  test('an eventfd that would block its writer doesn’t stop us', async () => {
    const server = open('server');
    using shared = withCookies();
    const event = createEventfd();
    const { talker } = await attack(server, { region: shared.fd, toServer: event, toClient: event });
    using full = new NativeMemory(8);
    full.view.setBigUint64(0, 0xffff_ffff_ffff_fff0n, true);
    libc().write(event, full.address, 8);
    const F_SETFL = 4;
    libc().fcntl(event, F_SETFL, 2);
    const { offset, buffers } = memory.toClient[0];
    for (let i = 0; i < 8; i++) {
      shared.view.setUint32(offset + 128 + 16 * i + 4, buffers.bytes, true);
      shared.view.setUint32(offset + 128 + 16 * i + 8, buffers.offset + i * buffers.bytes, true);
    }
    for (let i = 0; i < 100; i++) {
      // Each is a batch of one, to a reader that wants to be signalled.
      shared.view.setUint16(offset + 6, i + 1, true);
      queueFrame(server, frameOf(server, 60, i));
      server.txSync();
    }
    expect(server.counters.txFrames).toBe(100);
    talker[Symbol.dispose]();
    closeSync(event);
  });

  test('connections that say nothing don’t keep an honest one out', async () => {
    const server = open('server');
    const before = descriptors();
    const talkers: Talker[] = [];
    for (let i = 0; i < 20; i++) {
      talkers.push(Talker.connect(socket));
      if (i % 4 === 3) await turnUntil([server], () => talkers.at(-1)?.hear() != null);
    }
    const client = open('client');
    await meet(client, server);
    for (const talker of talkers) talker[Symbol.dispose]();
    client.close();
    await turnUntil([server], () => !server.linked && descriptors() <= before);
  });

  test('any messages with any descriptors: the server lives, and keeps none', async () => {
    const server = open('server');
    const before = descriptors();
    using shared = withCookies();
    const event = createEventfd();
    let seed = 12345;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const messages = (): MemifMessage[] => [
      init,
      { type: 'addRegion', index: random(3), bytes: [memory.bytes, 0, 1, 4096, 2 ** 40][random(5)] },
      {
        type: 'addRing',
        toServer: random(2) === 0,
        index: random(2),
        region: random(3),
        offset: [0, 256, 384, random(2 ** 32)][random(4)],
        ringLog2: random(12),
      },
      { type: 'connect', name: 'x' },
      { type: 'ack' },
      { type: 'disconnect', code: 0, reason: '' },
    ];
    for (let round = 0; round < 150; round++) {
      using talker = Talker.connect(socket);
      for (let i = random(8); i >= 0; i--) {
        const fd = [-1, event, shared.fd, talker.fd][random(4)];
        if (random(8) === 0)
          talker.sayBytes(Uint8Array.from({ length: 128 }, () => random(256)).fill(0, 1, 2), fd);
        // Often in the right order, so that it gets far.
        else talker.say(messages()[random(3) > 0 ? Math.min(3, i) : random(6)], fd);
      }
      for (let i = 0; i < 4; i++) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        server.rxSync();
        takeFrames(server);
        server.txSync();
      }
    }
    // Those that hold both ends of their connection go when others come.
    for (let i = 0; i < 5; i++) {
      using talker = Talker.connect(socket);
      await turnUntil([server], () => talker.hear() != null);
    }
    await turnUntil([server], () => descriptors() <= before + 2);
    closeSync(event);
    const honest = open('client');
    await meet(honest, server);
    expect(await passes(honest, server, frameOf(server, 100, 1))).toBe(true);
  }, 30_000);
});

describe('a hostile server', () => {
  /** Answers a client as far as CONNECTED. @returns its memory */
  async function link(talker: Talker, client: MemifPort): Promise<Shared> {
    const fds: number[] = [];
    let bytes = 0;
    const hello: MemifMessage = {
      ...{ type: 'hello', name: 'evil', regionMax: 0, toClientMax: 0, toServerMax: 0, ringLog2Max: 3 },
      ...{ versionMin: 0x200, versionMax: 0x200 },
    };
    talker.say(hello);
    await turnUntil([client], () => {
      const message = talker.hear(fds);
      if (message == null) return false;
      if (message.type === 'addRegion') bytes = message.bytes;
      talker.say(message.type === 'connect' ? { type: 'connected', name: 'evil' } : { type: 'ack' });
      return message.type === 'connect';
    });
    await turnUntil([client], () => client.linked);
    for (const fd of fds.slice(1)) closeSync(fd);
    return new Shared(bytes, fds[0]);
  }

  test('its lies end the link and are counted, whatever it writes; the client tries again', async () => {
    const listener = listenSeqpacket(socket);
    const client = open('client');
    let seed = 99;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (let round = 0; round < 3; round++) {
      let talker: Talker | undefined;
      await turnUntil([client], () => {
        talker = Talker.accept(listener);
        return talker !== undefined;
      });
      if (talker === undefined) throw new Error('nobody connected');
      using shared = await link(talker, client);
      await turnUntil([client], () => {
        for (let i = 0; i < 8; i++) shared.view.setUint32(4 * random(128), random(2 ** 32), true);
        if (client.tx.available > 0) queueFrame(client, frameOf(client, 300, 0));
        for (const frame of takeFrames(client)) expect(frame.length).toBeLessThanOrEqual(client.frameBytes);
        return !client.linked;
      });
      talker[Symbol.dispose]();
      expect(client.peers).toEqual({ links: round + 1, refused: 0, faults: round + 1 });
    }
    closeSync(listener);
    const honest = open('server');
    await meet(client, honest);
    expect(await passes(client, honest, frameOf(client, 100, 1))).toBe(true);
  });
});

test('between processes, frames come back as they went', async () => {
  const echo = `
    const { DESC_AT } = await import(${JSON.stringify(new URL('../memory/ring.ts', import.meta.url))});
    setInterval(() => {
      port.rxSync();
      const { m } = port.rx;
      while (port.rx.available > 0 && port.tx.available > 0) {
        const [from, to] = [port.rx.slot(port.rx.head), port.tx.slot(port.tx.head)];
        const empty = m[to + DESC_AT];
        for (let i = 0; i < 4; i++) m[to + i] = m[from + i];
        m[from + DESC_AT] = empty;
        port.rx.head++;
        port.tx.head++;
      }
      port.txSync();
    }, 1);`;
  for (const role of ['server', 'client'] as const) {
    const ours = role === 'client' ? open('server') : undefined;
    const child = inChild(role, echo);
    await child.waitFor(/open/);
    const port = ours ?? open('client');
    await turnUntil([port], () => port.linked);
    for (let round = 0; round < 20; round++) {
      const frames = Array.from({ length: 32 }, (_, i) => frameOf(port, 60 + ((i * 47) % 1400), i));
      for (const frame of frames) queueFrame(port, frame);
      const back: Uint8Array[] = [];
      await turnUntil([port], () => back.push(...takeFrames(port)) >= frames.length);
      expect(back.map((bytes) => Buffer.from(bytes).toString('hex'))).toEqual(
        frames.map((bytes) => Buffer.from(bytes).toString('hex')),
      );
    }
    port.close();
    await child.stop();
  }
});

/** Opens a port in a process of its own, and then runs `then`. */
function inChild(role: string, then: string, as: { uid?: number } = {}): Child {
  const url = JSON.stringify(new URL('./memif.testing.ts', import.meta.url));
  const source = `
    ${as.uid === undefined ? '' : `process.setuid(${as.uid});`}
    const { openTestMemif } = await import(${url});
    try {
      globalThis.port = openTestMemif({ socket: ${JSON.stringify(socket)}, role: '${role}', slots: 64 });
      console.log('open');
    } catch (error) {
      console.log(error.name, error.code + ': ' + error.message);
    }
    ${then}`;
  const child = new Child(process.execPath, ['--input-type=module', '-e', source]);
  children.push(child);
  return child;
}
