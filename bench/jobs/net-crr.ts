/**
 * CRR over node:net and loopback: I times at once, connect, send a request of S bytes, get a reply of S
 * bytes, the server closes; counted when the client has seen the close.
 */
import { connect, createServer } from 'node:net';
import { finish, jobArguments, measure } from './job.ts';
import { listen } from './loopback.ts';

const args = jobArguments();
const message = Buffer.alloc(args.bytes, 0x61);
let requests = 0;

const server = createServer({ noDelay: true }, (socket) => {
  let received = 0;
  socket.on('data', (data) => {
    received += data.length;
    if (received === message.length) socket.end(message);
  });
});
const port = await listen(server);

function exchange(): void {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  let received = 0;
  socket.on('connect', () => socket.write(message));
  socket.on('data', (data) => {
    received += data.length;
  });
  socket.on('close', () => {
    if (received !== message.length) throw new Error(`a reply of ${received} bytes, not ${message.length}`);
    requests++;
    exchange();
  });
}

for (let i = 0; i < args.outstanding; i++) exchange();
finish({ name: 'node:net', ...(await measure(args, () => ({ requests }))) });
