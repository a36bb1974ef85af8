/**
 * Idle connections over two engines on a cable: what one end of each costs. Both ends live here and are alike,
 * so each is half of what the process grew by.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { NAME, openMany, openPair, portsFor, SERVER } from './cable.ts';
import { finish, jobArguments, Stopwatch } from './job.ts';

/** How long the connections are left to themselves, ms: past every timer that opening them has started. */
const SETTLE_MS = 2000;
const args = jobArguments();
const { connections } = args;
const stopwatch = new Stopwatch();
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const pair = openPair(connections);
const { client, server } = pair;
let accepted = 0;
const handlers = {
  open() {
    accepted++;
  },
};
for (const port of portsFor(connections)) server.listen({ port, backlog: 4096 }, handlers);

collect();
const rssBefore = process.memoryUsage.rss();
let opened = 0;
const connect = {
  open() {
    opened++;
  },
};
openMany(
  pair,
  connections,
  (port) => client.connect({ address: SERVER, port }, connect),
  () => opened,
);
for (const end = performance.now() + SETTLE_MS; performance.now() < end; ) pair.turn();
if (accepted !== connections || client.tcp.blocks.inUse !== connections) {
  throw new Error(`${accepted} of ${connections} connections are open`);
}
collect();
const rssBytes = (process.memoryUsage.rss() - rssBefore) / 2;
finish({ name: NAME, requests: connections, ...stopwatch.read(), connections, rssBytes, kernelBytes: 0 });
