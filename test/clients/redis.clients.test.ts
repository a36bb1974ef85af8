/** ioredis, made for node:net, over the `net` of a stack, against a real Redis. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeInNamespace } from '../describe.ts';
import { Namespace } from '../netns.ts';
import { TestFiles } from './files.ts';
import { DEVICE, HOST_IPV4, HOST_IPV6, OUR_IPV4, OUR_IPV6 } from './millrace.ts';
import { REDIS_PORT, startRedis } from './servers.ts';

const PROGRAM = fileURLToPath(new URL('redis-program.ts', import.meta.url));

describeInNamespace('ioredis over our net', () => {
  const files = new TestFiles();
  let ns: Namespace;

  beforeAll(async () => {
    ns = await Namespace.create();
    await startRedis(ns, files.directory);
  });

  afterAll(async () => {
    await ns?.close();
    files.remove();
  });

  test.each([
    ['IPv4', HOST_IPV4, `${OUR_IPV4}/24`],
    ['IPv6', HOST_IPV6, `${OUR_IPV6}/64`],
  ])('sets, gets, pipelines and subscribes over %s', async (_, host, address) => {
    const said = await ns.run('node', [PROGRAM, `tun:${DEVICE}`, address, host, String(REDIS_PORT)]);
    expect(JSON.parse(said.trim().split('\n').at(-1) ?? '')).toEqual({
      answer: 'PONG',
      largeValueIntact: true,
      counted: 10_000,
      heard: 'over TCP of our own',
    });
  });
});
