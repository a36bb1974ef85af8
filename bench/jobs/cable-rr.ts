/** RR over two engines on a cable, on the handlers API; see net-rr.ts for its twin. */
import { NAME, openMany, openPair, portsFor, run, SERVER } from './cable.ts';
import { finish, jobArguments } from './job.ts';

const args = jobArguments();
const pair = openPair(args.connections);
const { client, server, arena } = pair;

for (const port of portsFor(args.connections)) {
  server.listen(
    { port, backlog: 4096, noDelay: true },
    {
      data(conn, at, length) {
        server.send(conn, at, length);
        return length;
      },
    },
  );
}

const requestAt = arena.carve('request', args.bytes);
let requests = 0;
let opened = 0;
let next = 0;
const turns = args.connections > args.outstanding;
/** Bytes of the reply still to come, by connection. */
const missing = new Int32Array(args.connections + 1024).fill(args.bytes);

const handlers = {
  open() {
    opened++;
  },
  data(conn: number, _at: number, length: number) {
    const slot = client.slot(conn);
    missing[slot] -= length;
    if (missing[slot] > 0) return length;
    missing[slot] = args.bytes;
    requests++;
    client.send(turns ? connections[next] : conn, requestAt, args.bytes);
    if (turns) next = next + 1 === connections.length ? 0 : next + 1;
    return length;
  },
};

const connections = openMany(
  pair,
  args.connections,
  (port) => client.connect({ address: SERVER, port, noDelay: true }, handlers),
  () => opened,
);
for (let i = 0; i < args.outstanding; i++) {
  client.send(connections[next], requestAt, args.bytes);
  next = next + 1 === connections.length ? 0 : next + 1;
}

let before = 0;
const times = run(pair, args, () => {
  before = requests;
});
finish({ name: NAME, ...times, requests: requests - before, connections: args.connections });
