/**
 * A connection's two sockets, used in any order, checked against what a stream of bytes may do. The same runs on
 * node:net, which shows that the model asks for no more than programs get elsewhere.
 */
import * as nodeNet from 'node:net';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { once, openPair, SERVER } from './testing.ts';

type Net = Pick<typeof nodeNet, 'createServer' | 'connect'>;

type Step =
  | { readonly what: 'write'; readonly side: 0 | 1; readonly bytes: number }
  | { readonly what: 'wait'; readonly turns: number }
  | {
      readonly what:
        | 'end'
        | 'pause'
        | 'resume'
        | 'cork'
        | 'uncork'
        | 'read'
        | 'destroy'
        | 'reset'
        | 'destroySoon';
      readonly side: 0 | 1;
    }
  | { readonly what: 'noDelay' | 'keepAlive'; readonly side: 0 | 1; readonly on: boolean };

const side = fc.constantFrom<0 | 1>(0, 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ what: fc.constant('write' as const), side, bytes: fc.nat(70_000) }) },
  { weight: 6, arbitrary: fc.record({ what: fc.constant('wait' as const), turns: fc.nat(6) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      what: fc.constantFrom(
        'pause' as const,
        'resume' as const,
        'read' as const,
        'cork' as const,
        'uncork' as const,
      ),
      side,
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('end' as const), side }) },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constantFrom('destroy' as const, 'reset' as const, 'destroySoon' as const),
      side,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constantFrom('noDelay' as const, 'keepAlive' as const),
      side,
      on: fc.boolean(),
    }),
  },
);

/** The byte at a position of a side's stream. */
const byteAt = (side: number, at: number) => (at * 7 + (at >> 8) * 13 + side * 101) & 0xff;

/** One socket, what it did, and what it was told. */
class End {
  readonly side: 0 | 1;
  readonly socket: nodeNet.Socket;
  readonly events: string[] = [];
  written = 0;
  received = 0;
  callbacks = 0;
  writes = 0;
  /** The program ended it, or destroyed it. */
  over = false;
  readonly closed: Promise<void>;

  constructor(side: 0 | 1, socket: nodeNet.Socket) {
    this.side = side;
    this.socket = socket;
    this.closed = once(socket, 'close');
    socket.on('data', (data: Buffer) => {
      if (this.events.includes('end') || this.events.includes('close')) this.events.push('data too late');
      for (const byte of data) {
        if (byte !== byteAt(1 - side, this.received++)) {
          this.events.push(`wrong byte at ${this.received - 1}`);
          break;
        }
      }
    });
    for (const event of ['end', 'finish', 'close', 'error']) {
      socket.on(event, () => this.events.push(event));
    }
  }

  write(bytes: number): void {
    if (this.over || this.socket.destroyed) return;
    // Without half-open, the peer's end is ours: a write that comes after it breaks the connection (node:net's EPIPE).
    if (!this.socket.allowHalfOpen && this.events.includes('end')) return;
    const data = Buffer.alloc(bytes);
    for (let i = 0; i < bytes; i++) data[i] = byteAt(this.side, this.written + i);
    this.written += bytes;
    this.writes++;
    this.socket.write(data, () => this.callbacks++);
  }

  end(): void {
    if (!this.over && !this.socket.destroyed) this.socket.end();
    this.over = true;
  }

  do(step: Exclude<Step, { what: 'wait' }>): void {
    const { socket } = this;
    switch (step.what) {
      case 'write':
        this.write(step.bytes);
        return;
      case 'end':
        this.end();
        return;
      case 'pause':
        socket.pause();
        return;
      case 'resume':
        socket.resume();
        return;
      case 'read':
        socket.read();
        return;
      case 'cork':
        socket.cork();
        return;
      case 'uncork':
        socket.uncork();
        return;
      case 'noDelay':
        socket.setNoDelay(step.on);
        return;
      case 'keepAlive':
        socket.setKeepAlive(step.on, 1000);
        return;
      case 'reset':
        // libuv refuses to reset what is shutting down (UV_EINVAL), and node:net's socket then never closes (Node 26).
        if (socket.constructor === nodeNet.Socket) socket.destroy();
        else socket.resetAndDestroy();
        this.over = true;
        return;
      default:
        this.over = true;
        if (step.what === 'destroy') socket.destroy();
        else socket.destroySoon();
    }
  }
}

async function run(
  steps: readonly Step[],
  halfOpen: boolean,
  net: { server: Net; client: Net; host: string },
) {
  const listener = net.server.createServer({ allowHalfOpen: halfOpen });
  listener.listen(0, net.host);
  await once(listener, 'listening');
  const { port } = listener.address() as nodeNet.AddressInfo;
  const accepted = once<nodeNet.Socket>(listener, 'connection');
  const near = new End(0, net.client.connect({ port, host: net.host, allowHalfOpen: halfOpen }));
  const far = new End(1, await accepted);
  const ends = [near, far] as const;
  try {
    for (const step of steps) {
      if (step.what === 'wait') {
        for (let i = 0; i < step.turns; i++) await new Promise(setImmediate);
      } else ends[step.side].do(step);
    }
    for (const end of ends) {
      while (end.socket.writableCorked > 0) end.socket.uncork();
      end.end();
      end.socket.resume();
    }
    await Promise.race([
      Promise.all([near.closed, far.closed]),
      new Promise((_, reject) => {
        setTimeout(() => reject(new Error('never closed')), 15_000).unref();
      }),
    ]);
    check(ends, steps);
  } finally {
    for (const { socket } of ends) socket.destroy();
    listener.close();
  }
}

function check(ends: readonly [End, End], steps: readonly Step[]): void {
  const broken = steps.some(({ what }) => what === 'destroy' || what === 'reset' || what === 'destroySoon');
  for (const { side, events, received, callbacks, writes } of ends) {
    const other = ends[1 - side];
    const order = events.join(' ');
    const rare = events.filter((event) => !['end', 'finish', 'close', 'error'].includes(event));
    expect(rare, order).toEqual([]);
    expect(new Set(events).size, order).toBe(events.length);
    expect(events.at(-1), order).toBe('close');
    expect(received).toBeLessThanOrEqual(other.written);
    expect(callbacks).toBe(writes);
    // What was said before FIN was said whole.
    if (events.includes('end') && !broken) expect(received).toBe(other.written);
    if (!broken) expect(new Set(events)).toEqual(new Set(['end', 'finish', 'close']));
  }
}

const runs = { numRuns: 150 };

test('node:net', async () => {
  const net = { server: nodeNet, client: nodeNet, host: '127.0.0.1' };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.boolean(), (steps, half) => run(steps, half, net)),
    runs,
  );
});

test.each([false, true])('millrace/net, offload %s', async (offload) => {
  const pair = await openPair({}, { offload });
  const as = (stack: typeof pair.client): Net => stack.net as unknown as Net;
  const net = { server: as(pair.server), client: as(pair.client), host: SERVER };
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.boolean(), async (steps, half) => {
        await run(steps, half, net);
        await pair.settled();
      }),
      runs,
    );
  } finally {
    await pair.close();
  }
});
