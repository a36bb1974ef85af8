/** BULK over node:net and loopback: one connection, one direction; the receiver discards. */
import { connect, createServer, type Socket } from 'node:net';
import { finish, jobArguments, measure } from './job.ts';
import { listen } from './loopback.ts';

/**
 * Large, to be a strong peer: 64 KiB costs a third of the rate. Runs still fall into two modes here, about
 * 18 and 50 Gbit/s, by how much the kernel lets pile up between the two ends; the spread shows it.
 */
const CHUNK_BYTES = 262_144;

const args = jobArguments();
const chunk = Buffer.alloc(CHUNK_BYTES, 0x61);

function send(socket: Socket): void {
  while (socket.write(chunk)) {
    // until the queue is full; then "drain" says when to go on
  }
}

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('drain', () => send(socket));
  send(socket);
});
const port = await listen(server);

let bytes = 0;
let requests = 0;
connect({
  port,
  host: '127.0.0.1',
  noDelay: true,
  // One buffer for all: the receiver only counts.
  onread: {
    buffer: Buffer.alloc(CHUNK_BYTES),
    callback: (length) => {
      bytes += length;
      requests++;
      return true;
    },
  },
});

finish({ name: 'node:net', ...(await measure(args, () => ({ bytes, requests }))) });
