/**
 * The program that redis.clients.test.ts runs in a namespace: redis-program.ts DEVICE ADDRESS HOST PORT.
 * It prints one line of JSON with what it saw, and ends by itself, as any Node program with its sockets closed.
 */
import type { NetConnectOpts, Socket } from 'node:net';
import { AbstractConnector, Redis } from 'ioredis';

/** What the program needs of a stack. */
interface Stack {
  readonly net: { connect(options: NetConnectOpts): Socket };
  close(): Promise<void>;
}

interface StackModule {
  readonly Stack: { open(options: { device: string; addresses: string[] }): Promise<Stack> };
}

const [device, address, host, port] = process.argv.slice(2);

/** MILLRACE_STACK names another build of the module, such as dist/api/stack.js. */
const path = process.env.MILLRACE_STACK ?? new URL('../../src/api/stack.ts', import.meta.url).href;
const stack = await ((await import(path)) as StackModule).Stack.open({ device, addresses: [address] });

class Connector extends AbstractConnector {
  constructor() {
    super(1_000);
  }

  override connect(): Promise<Socket> {
    this.connecting = true;
    this.stream = stack.net.connect({ host, port: Number(port) });
    return Promise.resolve(this.stream as Socket);
  }
}

const redis = new Redis({ Connector });
const subscriber = new Redis({ Connector });

const answer = await redis.ping();

const large = Buffer.alloc(2 ** 20, 'millrace');
await redis.set('large', large);
const largeValueIntact = (await redis.getBuffer('large'))?.equals(large) ?? false;

await redis.del('counter');
const pipeline = redis.pipeline();
for (let i = 0; i < 10_000; i++) pipeline.incr('counter');
const counted = (await pipeline.exec())?.at(-1)?.[1];

await subscriber.subscribe('news');
const heardFirst = new Promise((resolve) => subscriber.once('message', (_, message) => resolve(message)));
await redis.publish('news', 'over TCP of our own');
const heard = await heardFirst;

await Promise.all([redis.quit(), subscriber.quit()]);
await stack.close();
console.log(JSON.stringify({ answer, largeValueIntact, counted, heard }));
