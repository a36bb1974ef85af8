/** BULK over two engines on a cable, on the handlers API; see net-bulk.ts for its twin. */
import { NAME, openMany, openPair, portsFor, run, SERVER } from './cable.ts';
import { finish, jobArguments } from './job.ts';

/** What the program hands over at a time. */
const WRITE_BYTES = 65_536;
const args = jobArguments();
const pair = openPair(1);
const { client, server, arena } = pair;

let bytes = 0;
let deliveries = 0;
server.listen(
  { port: portsFor(1)[0] },
  {
    data(_conn, _at, length) {
      bytes += length;
      deliveries++;
      return length;
    },
  },
);

const from = arena.carve('data', WRITE_BYTES);
let opened = 0;
function pump(conn: number): void {
  while (client.send(conn, from, WRITE_BYTES) === WRITE_BYTES);
}
openMany(
  pair,
  1,
  (port) =>
    client.connect(
      { address: SERVER, port },
      {
        open(conn) {
          opened++;
          pump(conn);
        },
        writable: pump,
      },
    ),
  () => opened,
);

let before = 0;
let deliveriesBefore = 0;
const times = run(pair, args, () => {
  before = bytes;
  deliveriesBefore = deliveries;
});
finish({ name: NAME, ...times, bytes: bytes - before, requests: deliveries - deliveriesBefore });
