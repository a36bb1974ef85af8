/** CRR over two engines on a cable, on the handlers API; see net-crr.ts for its twin. */
import { NAME, openPair, run, SERVER } from './cable.ts';
import { finish, jobArguments } from './job.ts';

const PORT = 7000;
const args = jobArguments();
const pair = openPair(Math.max(args.outstanding * 16, 4096));
const { client, server, arena } = pair;

server.listen(
  { port: PORT, backlog: 4096, noDelay: true },
  {
    data(conn, at, length) {
      server.send(conn, at, length);
      server.shutdown(conn);
      return length;
    },
  },
);

const requestAt = arena.carve('request', args.bytes);
let requests = 0;
let failures = 0;

const handlers = {
  open(conn: number) {
    client.send(conn, requestAt, args.bytes);
  },
  end(conn: number) {
    client.shutdown(conn);
    requests++;
    start();
  },
  close(_conn: number, reason: number) {
    if (reason !== 0) failures++;
  },
};

function start(): void {
  client.connect({ address: SERVER, port: PORT, noDelay: true }, handlers);
}

for (let i = 0; i < args.outstanding; i++) start();
let before = 0;
const times = run(pair, args, () => {
  before = requests;
});
const note = failures > 0 ? `${failures} connections failed` : undefined;
finish({ name: NAME, ...times, requests: requests - before, ...(note !== undefined && { note }) });
