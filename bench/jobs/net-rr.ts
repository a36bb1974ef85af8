/**
 * RR over node:net and loopback: on C connections, I requests of S bytes always outstanding in total; the
 * server echoes them.
 */
import { createServer, type Socket } from 'node:net';
import { finish, jobArguments, measure } from './job.ts';
import { listen, openMany, roomFor } from './loopback.ts';

const NAME = 'node:net';
const args = jobArguments();
const { connections, note, skipped } = roomFor(args.connections, 2, 0.9);
if (skipped !== undefined) finish({ name: NAME, requests: 0, wallNs: 0, cpuNs: 0, skipped });

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('data', (data) => socket.write(data));
});
const sockets = await openMany(await listen(server), connections);

const request = Buffer.alloc(args.bytes, 0x61);
let requests = 0;
let next = 0;

/** Where there are more connections than requests, each goes to the next connection in turn. */
function ask(): void {
  sockets[next].write(request);
  next = next + 1 === sockets.length ? 0 : next + 1;
}

function listenForReplies(socket: Socket): void {
  let pending = 0;
  socket.on('data', (data) => {
    for (pending += data.length; pending >= request.length; pending -= request.length) {
      requests++;
      if (connections > args.outstanding) ask();
      else socket.write(request);
    }
  });
}

for (const socket of sockets) listenForReplies(socket);
for (let i = 0; i < args.outstanding; i++) ask();

const gained = await measure(args, () => ({ requests }));
finish({ name: NAME, ...gained, connections, ...(note !== undefined && { note }) });
