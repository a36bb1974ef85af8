/** `millrace serve`: static files over HTTP/1.1 on our TCP. HTTP itself is Node's parser and sirv. */
import { existsSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createServer as createKernelServer, type Socket as KernelSocket } from 'node:net';
import { resolve } from 'node:path';
import { Command } from 'commander';
import sirv from 'sirv';
import type { Stack } from '../api/stack.ts';
import { createCable } from '../device/cable.ts';
import { Arena } from '../memory/arena.ts';
import { integer } from './arguments.ts';
import { formatBytes, StatusLine, say } from './output.ts';
import { interrupted } from './signals.ts';
import { addressesOf, type DeviceOptions, openDevice, openStack, withDevice } from './stack.ts';

interface ServeOptions extends DeviceOptions {
  readonly port: number;
  readonly frontDoor: number;
}

export const serveCommand = withDevice(
  new Command('serve')
    .description('serve the files of a folder over HTTP')
    .argument('<dir>', 'the folder')
    .option('--port <port>', 'port of the HTTP server', integer(1, 65_535), 80)
    .option(
      '--front-door <port>',
      'with --device cable: port on localhost whose bytes cross our two stacks',
      integer(0, 65_535),
      8080,
    ),
  'cable',
)
  .addHelpText(
    'after',
    `
With --device cable (the default, no privilege needed) a kernel socket on localhost is the front door: its bytes
go through a client stack of ours, over a cable in memory, to the server stack. With --device tun:NAME the program
makes that device, gives the host its end, and any client of this machine can reach the server itself; the device
goes when the program ends.`,
  )
  .action(serve);

/** Both ends of the cable, 64 MiB each for queues, and frames for offloaded segments. */
const CABLE_ARENA_BYTES = 512 << 20;
const CLIENT_ADDRESS = '10.77.0.1/24';

async function serve(dir: string, options: ServeOptions): Promise<void> {
  const folder = resolve(dir);
  if (!existsSync(folder) || !statSync(folder).isDirectory()) throw new Error(`${dir} is no folder`);
  const http = createServer(sirv(folder, { dev: true, dotfiles: false }));
  const ended = interrupted();
  const close =
    options.device === 'cable'
      ? await serveBehindFrontDoor(http, options)
      : await serveOnDevice(http, options);
  await ended;
  await close();
}

/** Accepts on `stack` and hands the sockets to Node's HTTP server. */
async function accept(stack: Stack, http: Server, port: number): Promise<void> {
  const server = stack.net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) =>
    http.emit('connection', socket),
  );
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen({ port }, () => listening());
  });
}

async function serveOnDevice(http: Server, options: ServeOptions): Promise<() => Promise<void>> {
  const opened = await openDevice(options);
  await accept(opened.stack, http, options.port);
  for (const address of addressesOf(options)) console.log(url(address.split('/')[0], options.port));
  const status = showCounters(opened.stack);
  return async () => {
    status();
    http.closeAllConnections();
    await opened.close();
  };
}

async function serveBehindFrontDoor(http: Server, options: ServeOptions): Promise<() => Promise<void>> {
  const arena = new Arena(CABLE_ARENA_BYTES);
  const [left, right] = createCable(arena, 'cable', {
    offload: options.offload,
    ...(options.mtu !== undefined && { mtu: options.mtu }),
  });
  const [address] = addressesOf(options);
  const limits = { connections: 4096, miniBlocks: 16_384, chunks: 16_384 };
  const server = await openStack({ device: right }, options, [address], limits);
  // What crosses the cable is recorded once.
  const { pcap: _, ...withoutCapture } = options;
  const client = await openStack({ device: left }, withoutCapture, [CLIENT_ADDRESS], limits);
  await accept(server.stack, http, options.port);

  const target = { host: address.split('/')[0], port: options.port };
  const door = createKernelServer({ noDelay: true, allowHalfOpen: true }, (visitor) =>
    enter(visitor, client.stack, target),
  );
  await new Promise<void>((listening, failed) => {
    door.once('error', (error: NodeJS.ErrnoException) => failed(doorError(error, options.frontDoor)));
    door.listen(options.frontDoor, 'localhost', () => listening());
  });
  const bound = door.address();
  console.log(url('localhost', typeof bound === 'object' && bound !== null ? bound.port : options.frontDoor));
  const status = showCounters(server.stack);
  return async () => {
    status();
    door.close();
    http.closeAllConnections();
    await client.close();
    await server.close();
  };
}

function doorError(error: NodeJS.ErrnoException, port: number): Error {
  if (error.code !== 'EADDRINUSE') return error;
  return new Error(
    `EADDRINUSE: port ${port} of localhost is taken; choose another with --front-door PORT (0: any)`,
  );
}

/** Joins a visitor's kernel socket with a connection over our stacks, half-closes included. */
function enter(visitor: KernelSocket, stack: Stack, target: { host: string; port: number }): void {
  const inner = stack.net.connect({ ...target, allowHalfOpen: true, noDelay: true });
  visitor.pipe(inner);
  inner.pipe(visitor);
  visitor.on('error', () => inner.destroy());
  inner.on('error', () => visitor.destroy());
  visitor.on('close', () => inner.destroy());
  inner.on('close', () => visitor.destroy());
}

function url(host: string, port: number): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return `http://${name}${port === 80 ? '' : `:${port}`}/`;
}

/** A line of live counters. @returns what ends it */
function showCounters(stack: Stack): () => void {
  const status = new StatusLine();
  const { tcp } = stack.engine;
  const show = (): void => {
    const c = tcp.counters;
    status.show(
      `${tcp.blocks.inUse} open, ${c.passiveOpens} accepted | segments ${c.segmentsIn} in, ${c.segmentsOut} out | ` +
        `${formatBytes(c.bytesIn)} in, ${formatBytes(c.bytesOut)} out | ${c.retransmits} retransmitted`,
    );
  };
  const timer = setInterval(show, 500);
  timer.unref();
  say('Ctrl-C ends it.');
  show();
  return () => {
    clearInterval(timer);
    show();
    status.end();
  };
}
