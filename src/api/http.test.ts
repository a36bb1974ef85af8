/** node:http and ws, which know only node:net, over sockets of ours. */
import { createHash, randomBytes } from 'node:crypto';
import * as http from 'node:http';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import type { Server } from './net.ts';
import { once, openPair, type Pair, SERVER } from './testing.ts';

let pair: Pair;
let listener: Server;
let web: http.Server;
let accepted = 0;

beforeEach(async () => {
  pair = await openPair();
  accepted = 0;
  web = http.createServer();
  // As http.Server has it: a client may end its side and wait for the answer.
  listener = pair.server.net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    accepted++;
    web.emit('connection', socket);
  });
  listener.listen(80);
  await once(listener, 'listening');
});
afterEach(async () => {
  web.closeAllConnections();
  listener.close();
  try {
    await pair.settled();
  } finally {
    await pair.close();
  }
});

/** An agent whose connections are ours. */
class StackAgent extends http.Agent {
  override createConnection(options: http.ClientRequestArgs): Duplex {
    return pair.client.net.connect({ host: SERVER, port: Number(options.port ?? 80) });
  }
}

async function request(
  options: http.RequestOptions,
  body?: Buffer | string,
): Promise<{ response: http.IncomingMessage; body: string }> {
  const sent = http.request({ host: SERVER, createConnection: pair.client.net.connect as never, ...options });
  const answered = once<http.IncomingMessage>(sent, 'response');
  sent.end(body);
  const response = await answered;
  return { response, body: await text(response) };
}

const digest = (message: string | Buffer): string => createHash('sha256').update(message).digest('hex');

it('serves and requests, with createConnection', async () => {
  web.on('request', (req, res) => {
    res.setHeader('x-url', req.url as string).end(`hello ${req.socket.remoteAddress}`);
  });
  const { response, body } = await request({ path: '/a?b=c' });
  expect([response.statusCode, response.headers['x-url'], body]).toEqual([200, '/a?b=c', 'hello 10.0.0.1']);
});

it('moves large bodies both ways', async () => {
  web.on('request', (req, res) => {
    const hash = createHash('sha256');
    req.on('data', (chunk) => hash.update(chunk));
    req.on('end', () => {
      res.write(hash.digest('hex'));
      res.end(Buffer.alloc(8 << 20, 'z'));
    });
  });
  const bytes = randomBytes(8 << 20);
  const { body } = await request({ method: 'POST' }, bytes);
  expect(body.slice(0, 64)).toBe(createHash('sha256').update(bytes).digest('hex'));
  expect(body.length).toBe(64 + (8 << 20));
});

it('keeps connections alive, and reuses them', async () => {
  web.on('request', (req, res) => res.end(req.url));
  const agent = new StackAgent({ keepAlive: true, maxSockets: 4 });
  for (let i = 0; i < 10; i++) expect((await request({ path: `/${i}`, agent })).body).toBe(`/${i}`);
  expect(accepted).toBe(1);
  const many = Array.from({ length: 100 }, (_, i) => request({ path: `/m${i}`, agent }));
  expect((await Promise.all(many)).map(({ body }) => body)).toEqual(many.map((_, i) => `/m${i}`));
  expect(accepted).toBe(4);
  agent.destroy();
});

it('answers pipelined requests in order', async () => {
  web.on('request', (req, res) => setTimeout(() => res.end(`<${req.url}>`), Math.random() * 5));
  const socket = pair.client.net.connect(80, SERVER);
  const paths = Array.from({ length: 20 }, (_, i) => `/${i}`);
  const last = paths.pop();
  socket.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
  socket.write(`GET ${last} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  const answer = await text(socket);
  expect([...answer.matchAll(/<(.*?)>/g)].map(([, path]) => path)).toEqual([...paths, last]);
});

it('tells the HTTP server of what is no HTTP', async () => {
  const told = once<NodeJS.ErrnoException>(web, 'clientError');
  web.on('clientError', (_error, socket) => socket.destroy());
  const socket = pair.client.net.connect(80, SERVER);
  socket.on('error', () => {});
  socket.resume();
  socket.write('this is not HTTP\r\n\r\n');
  expect((await told).code).toMatch(/^HPE_/);
  if (!socket.closed) await once(socket, 'close');
});

it('survives requests that are aborted midway, on either side', async () => {
  let aborted = 0;
  web.on('request', (req, res) => {
    req.on('error', () => aborted++);
    if (req.url === '/server') res.destroy();
    else res.write('beginning');
  });
  const fromClient = http.request({
    host: SERVER,
    createConnection: pair.client.net.connect as never,
    method: 'POST',
  });
  fromClient.on('error', () => {});
  fromClient.write('beginning');
  const response = await once<http.IncomingMessage>(fromClient, 'response');
  response.on('error', () => {});
  fromClient.destroy();
  const fromServer = http.get({
    host: SERVER,
    path: '/server',
    createConnection: pair.client.net.connect as never,
  });
  expect((await once<NodeJS.ErrnoException>(fromServer, 'error')).code).toBe('ECONNRESET');
  web.removeAllListeners('request').on('request', (_req, res) => res.end('fine'));
  expect((await request({})).body).toBe('fine');
  expect(aborted).toBeGreaterThan(0);
});

it('carries WebSockets', async () => {
  const wss = new WebSocketServer({ server: web });
  wss.on('connection', (ws) => ws.on('message', (data, binary) => ws.send(data, { binary })));
  const ws = new WebSocket(`ws://${SERVER}/`, { createConnection: pair.client.net.connect as never });
  await once(ws, 'open');
  const big = randomBytes(3 << 20);
  const messages: (string | Buffer)[] = ['text', '', big, 'last'];
  const received: (string | Buffer)[] = [];
  const all = new Promise<void>((resolve) => {
    ws.on('message', (data: Buffer, binary) => {
      received.push(binary ? data : String(data));
      if (received.length === messages.length) resolve();
    });
  });
  for (const message of messages) ws.send(message);
  await all;
  expect(received.map(digest)).toEqual(messages.map(digest));
  const pong = once<Buffer>(ws, 'pong');
  ws.ping('are you there');
  expect(String(await pong)).toBe('are you there');
  const closed = new Promise((resolve) =>
    ws.once('close', (code, reason) => resolve([code, String(reason)])),
  );
  for (const peer of wss.clients) peer.close(4000, 'enough');
  expect(await closed).toEqual([4000, 'enough']);
  wss.close();
});

it('tells a WebSocket whose peer is torn away', async () => {
  const wss = new WebSocketServer({ server: web });
  const connected = once<WebSocket>(wss, 'connection');
  const ws = new WebSocket(`ws://${SERVER}/`, { createConnection: pair.client.net.connect as never });
  const peer = await connected;
  if (ws.readyState !== WebSocket.OPEN) await once(ws, 'open');
  peer.terminate();
  expect(await once<number>(ws, 'close')).toBe(1006);
  wss.close();
});
