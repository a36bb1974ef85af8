import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MemifMessage } from '../wire/memif.ts';
import {
  ClientHandshake,
  clientMemory,
  type Handshake,
  type MemifIdentity,
  type MemifOffer,
  type MemifShape,
  ServerHandshake,
  type Step,
} from './memif-handshake.ts';

const IDENTITY: MemifIdentity = { id: 3, mode: 'ether', secret: 'pw' };
const SHAPE: MemifShape = { queues: 2, ringLog2: 8 };
const ROOM = 8 << 20;

interface Attached {
  offer?: MemifOffer;
  connected?: boolean;
}

function server(identity = IDENTITY, shape = SHAPE, room = ROOM): [ServerHandshake, Attached] {
  const attached: Attached = {};
  const attach = (offer: MemifOffer) => {
    attached.offer = offer;
    return null;
  };
  return [new ServerHandshake(identity, shape, room, attach), attached];
}

function client(identity = IDENTITY, shape = SHAPE): [ClientHandshake, Attached] {
  const attached: Attached = {};
  const create = (agreed: MemifShape) => {
    const memory = clientMemory(agreed, 2048);
    return { memory, fds: { memory: 100, toServer: [101, 102], toClient: [103, 104] } };
  };
  const connected = () => {
    attached.connected = true;
  };
  return [new ClientHandshake(identity, shape, create, connected), attached];
}

/** Hands messages over until one side stops. @returns how each side's last step was */
function talk(a: Handshake, b: Handshake): Step[] {
  const last: Step[] = [];
  let message = a.greeting;
  let fd = -1;
  for (let turn = 0; message !== null && turn < 100; turn++) {
    const step = (turn % 2 === 0 ? b : a).receive(message, fd);
    last[turn % 2] = step;
    message = step.to === 'send' || step.to === 'up' ? step.message : null;
    fd = step.to === 'send' ? step.fd : -1;
  }
  return last;
}

test('both sides agree on the smaller shape, and descriptors come with what they are of', () => {
  const [ours, attached] = server(IDENTITY, { queues: 4, ringLog2: 6 });
  const [theirs, other] = client(IDENTITY, { queues: 2, ringLog2: 8 });
  expect(talk(ours, theirs).map((step) => step.to)).toEqual(['up', 'up']);
  expect(other.connected).toBe(true);
  const memory = clientMemory({ queues: 2, ringLog2: 6 }, 2048);
  expect(attached.offer?.regions).toEqual([{ fd: 100, bytes: memory.bytes }]);
  expect(attached.offer?.toServer.map(({ fd, offset }) => [fd, offset])).toEqual([
    [101, 0],
    [102, memory.toServer[1].offset],
  ]);
  expect(attached.offer?.toClient.map(({ fd }) => fd)).toEqual([103, 104]);
});

test('rings and buffers of a client’s memory don’t overlap, and are inside', () => {
  const shape = fc.record({
    queues: fc.integer({ min: 1, max: 5 }),
    ringLog2: fc.integer({ min: 1, max: 10 }),
  });
  fc.assert(
    fc.property(shape, fc.constantFrom(64, 1600, 2048), (given, bufferBytes) => {
      const memory = clientMemory(given, bufferBytes);
      const parts = [...memory.toServer, ...memory.toClient].flatMap(({ offset, ringLog2, buffers }) => [
        [offset, 128 + (16 << ringLog2)],
        [buffers.offset, buffers.bytes << ringLog2],
      ]);
      let end = 0;
      for (const [offset, bytes] of parts.sort((a, b) => a[0] - b[0])) {
        expect(offset).toBeGreaterThanOrEqual(end);
        end = offset + bytes;
      }
      expect(end).toBeLessThanOrEqual(memory.bytes);
    }),
  );
});

describe('a server refuses', () => {
  const init: MemifMessage = { type: 'init', version: 0x200, name: 'x', ...IDENTITY };
  const region: MemifMessage = { type: 'addRegion', index: 0, bytes: 4096 };
  const ring: MemifMessage = { type: 'addRing', toServer: true, index: 0, region: 0, offset: 0, ringLog2: 8 };

  test.each<[string, [MemifMessage, number][], RegExp]>([
    ['another version', [[{ ...init, version: 0x100 }, -1]], /version/],
    ['another id', [[{ ...init, id: 4 }, -1]], /ID/],
    ['another mode', [[{ ...init, mode: 'ip' }, -1]], /mode/],
    ['a mode that there isn’t', [[{ ...init, mode: null }, -1]], /mode/],
    ['no secret', [[{ ...init, secret: '' }, -1]], /required/],
    ['another secret', [[{ ...init, secret: 'PW' }, -1]], /Incorrect/],
    ['a region before INIT', [[region, 5]], /unexpected.*addRegion/],
    ['CONNECT before INIT', [[{ type: 'connect', name: '' }, 5]], /unexpected/],
    [
      'a second INIT',
      [
        [init, -1],
        [init, -1],
      ],
      /unexpected.*init/,
    ],
    [
      'its own messages',
      [
        [init, -1],
        [{ type: 'connected', name: '' }, -1],
      ],
      /unexpected/,
    ],
    [
      'a region without descriptor',
      [
        [init, -1],
        [region, -1],
      ],
      /descriptor/,
    ],
    [
      'a region out of turn',
      [
        [init, -1],
        [{ ...region, index: 1 }, 5],
      ],
      /out of turn/,
    ],
    [
      'an empty region',
      [
        [init, -1],
        [{ ...region, bytes: 0 }, 5],
      ],
      /0 B/,
    ],
    [
      'a region of 2^60',
      [
        [init, -1],
        [{ ...region, bytes: 2 ** 60 }, 5],
      ],
      /room for/,
    ],
    [
      'more than there is room for',
      [
        [init, -1],
        [{ ...region, bytes: ROOM }, 5],
        [{ ...region, index: 1 }, 5],
      ],
      /room for/,
    ],
    [
      'a ring without descriptor',
      [
        [init, -1],
        [ring, -1],
      ],
      /descriptor/,
    ],
    [
      'a ring out of turn',
      [
        [init, -1],
        [{ ...ring, index: 1 }, 5],
      ],
      /out of turn/,
    ],
    [
      'more rings than it has queues',
      [
        [init, -1],
        [ring, 5],
        [{ ...ring, index: 1 }, 5],
        [{ ...ring, index: 2 }, 5],
      ],
      /out of turn/,
    ],
    [
      'a ring that is too large',
      [
        [init, -1],
        [{ ...ring, ringLog2: 9 }, 5],
      ],
      /2\^9/,
    ],
  ])('%s', (_, messages, reason) => {
    const [ours] = server();
    const steps = messages.map(([message, fd]) => ours.receive(message, fd));
    expect(steps.at(-1)).toEqual({ to: 'refuse', code: 'EPROTO', reason: expect.stringMatching(reason) });
    for (const step of steps.slice(0, -1)) expect(step.to).toBe('send');
  });
});

test('a client refuses another version by name, and what is out of order', () => {
  const hello: MemifMessage = { ...server()[0].greeting, type: 'hello' } as MemifMessage;
  const refusal = client()[0].receive({ ...hello, versionMin: 0x300, versionMax: 0x301 } as MemifMessage, -1);
  expect(refusal).toMatchObject({
    to: 'refuse',
    code: 'EPROTONOSUPPORT',
    reason: expect.stringContaining('3.0 to 3.1'),
  });
  expect(client()[0].receive({ type: 'ack' }, -1)).toMatchObject({ to: 'refuse' });
  expect(client()[0].receive({ type: 'connected', name: '' }, -1)).toMatchObject({ to: 'refuse' });
  const [early, attached] = client();
  early.receive(hello, -1);
  expect(early.receive({ type: 'connected', name: '' }, -1)).toMatchObject({ to: 'refuse' });
  expect(attached.connected).toBeUndefined();
});

test('once the link is up, nothing is heard but its end', () => {
  const [ours] = server();
  const [theirs] = client();
  talk(ours, theirs);
  for (const message of [
    ours.greeting,
    { type: 'connected', name: '' },
    { type: 'ack' },
    { type: 'init', version: 0x200, name: 'x', ...IDENTITY },
    { type: 'addRegion', index: 1, bytes: 4096 },
    { type: 'connect', name: '' },
  ] as MemifMessage[]) {
    for (const side of [ours, theirs]) expect(side.receive(message, 5)).toMatchObject({ to: 'refuse' });
  }
  for (const side of [ours, theirs]) {
    expect(side.receive({ type: 'disconnect', code: 0, reason: 'x' }, -1)).toMatchObject({ to: 'end' });
  }
});

test('DISCONNECT ends it at any time, with the reason', () => {
  const bye: MemifMessage = { type: 'disconnect', code: 1, reason: 'bye' };
  for (const side of [server()[0], client()[0]]) {
    expect(side.receive(bye, -1)).toEqual({ to: 'end', reason: 'bye' });
  }
});
