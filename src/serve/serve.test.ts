/** The servers, each asked by a client on a second engine. */
import { describe, expect, test } from 'vitest';
import { Destination } from '../engine/datagrams.ts';
import type { Handlers } from '../engine/handlers.ts';
import { B4, World } from '../engine/testing.ts';
import { BODY_BYTES_MAX, responder } from './responder.ts';
import { chargen, daytime, daytimeDatagrams, discard, echo, echoDatagrams } from './small-services.ts';

const PORT = 1000;
const LIMIT_MS = 60_000;
const encoder = new TextEncoder();

/** A client that sends `pieces` one after the other, and reads until the peer ends or `enough` says so. */
class Client {
  readonly world: World;
  text = '';
  bytes = 0;
  ended = false;
  closed = false;
  conn = 0;

  constructor(serve: (world: World) => Handlers, pieces: readonly string[] = [], seed = 1) {
    this.world = new World({ seed, limits: { chunks: 4096 }, arenaBytes: 64 << 20 });
    const { a, b } = this.world;
    b.listen({ port: PORT, noDelay: true }, serve(this.world));
    this.conn = a.connect(
      { address: B4, port: PORT, noDelay: true },
      {
        data: (_conn, at, length) => {
          this.bytes += length;
          if (this.text.length < 65_536)
            this.text += Buffer.from(a.arena.u8.slice(at, at + length)).toString('latin1');
          return length;
        },
        end: (conn) => {
          this.ended = true;
          a.shutdown(conn);
        },
        close: () => {
          this.closed = true;
        },
      },
    );
    for (const piece of pieces) {
      a.write(this.conn, encoder.encode(piece));
      this.world.pass(5);
    }
  }

  until(done: () => boolean): void {
    this.world.run(done, LIMIT_MS);
  }

  /** Ends our direction, waits for the rest, and checks that both engines are empty. */
  finish(): void {
    this.world.a.shutdown(this.conn);
    this.until(() => this.closed);
    this.world.finish();
  }
}

describe('small services', () => {
  test('echo sends back all it got, however much, and ends after its client', () => {
    const client = new Client(({ b }) => echo(b));
    const { a } = client.world;
    const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7);
    let sent = 0;
    client.until(() => {
      const taken = a.write(client.conn, bytes, sent, Math.min(sent + 5000, bytes.length));
      if (taken > 0) sent += taken;
      return sent === bytes.length;
    });
    client.until(() => client.bytes === bytes.length);
    expect(client.text).toBe(Buffer.from(bytes.subarray(0, client.text.length)).toString('latin1'));
    client.finish();
    expect(client.ended).toBe(true);
  });

  test('discard takes everything and says nothing', () => {
    const client = new Client(({ b }) => discard(b), ['x'.repeat(50_000)]);
    client.finish();
    expect(client).toMatchObject({ bytes: 0, ended: true });
    expect(client.world.b.tcp.counters.bytesIn).toBe(50_000);
  });

  test('chargen turns its lines for as long as it is read', () => {
    const client = new Client(({ b }) => chargen(b));
    client.until(() => client.bytes > 1_000_000);
    const [first, second] = client.text.split('\r\n');
    expect(first).toHaveLength(72);
    expect(second).toBe(`${first.slice(1)}${String.fromCharCode(first.charCodeAt(71) + 1)}`);
    // Line 96 is line 1 again: 95 characters, one further each line.
    expect(client.text.split('\r\n')[95]).toBe(first);
    client.finish();
  });

  test('daytime says the time once', () => {
    const client = new Client(({ b }) => daytime(b));
    client.until(() => client.ended);
    expect(client.text).toMatch(/^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} .* GMT\r\n$/);
    client.finish();
  });
});

describe('responder', () => {
  const ask = (pieces: string[]): Client => new Client(({ b }) => responder(b), pieces);
  const get = (path: string, lines = ''): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${lines}\r\n`;
  const body = (text: string): string => text.slice(text.indexOf('\r\n\r\n') + 4);

  test('answers N bytes and keeps the connection', () => {
    const client = ask([get('/64')]);
    expect(client.text).toMatch(/^HTTP\/1\.1 200 OK\r\n.*Content-Length: 64\r\n/s);
    expect(body(client.text)).toBe('abcdefghijklmnopqrstuvwxyz'.repeat(3).slice(0, 64));
    expect(client.ended).toBe(false);
    client.finish();
  });

  test.each([
    ['Connection: close', get('/5', 'Connection: close\r\n')],
    ['the same in capitals', get('/5', 'CONNECTION: CLOSE\r\n')],
    ['HTTP/1.0', 'GET /5 HTTP/1.0\r\n\r\n'],
  ])('closes after the answer: %s', (_, request) => {
    const client = ask([request]);
    client.until(() => client.ended);
    expect(body(client.text)).toBe('abcde');
    client.finish();
  });

  test('stays for keep-alive with HTTP/1.0', () => {
    const client = ask(['GET /5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n']);
    expect(client.ended).toBe(false);
    client.finish();
  });

  test('answers pipelined requests in order, also behind a large one', () => {
    const client = ask([get('/3000000') + get('/1') + get('/2')]);
    const heads = 3 * 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n'.length + 6;
    client.until(() => client.bytes === 3_000_003 + heads);
    client.finish();
  });

  test('takes a request in pieces of any size', () => {
    const client = ask([...get('/7')]);
    expect(body(client.text)).toBe('abcdefg');
    client.finish();
  });

  test('a piece and the beginning of the next request behind it', () => {
    const client = ask(['GET /1 HT', 'TP/1.1\r\n\r\nGET /2 HTTP', '/1.1\r\n\r\n']);
    expect(client.text.match(/200 OK/g)).toHaveLength(2);
    client.finish();
  });

  test('the largest body', () => {
    const client = ask([get(`/${BODY_BYTES_MAX}`)]);
    client.until(() => client.bytes > BODY_BYTES_MAX);
    client.finish();
  });

  test.each([
    ['400', 'nonsense\r\n\r\n'],
    ['404', get(`/${BODY_BYTES_MAX + 1}`)],
    ['404', get('/file.txt')],
    ['431', `GET /1 HTTP/1.1\r\n${'X: y\r\n'.repeat(3000)}`],
  ])('refuses with %s and closes', (status, request) => {
    const client = ask([request]);
    client.until(() => client.ended);
    expect(client.text.startsWith(`HTTP/1.1 ${status} `)).toBe(true);
    client.finish();
  });
});

test('UDP: echo and daytime answer, but not each other', () => {
  const world = new World({ seed: 5 });
  const { a, b } = world;
  b.datagrams.bind({ port: 7 }, echoDatagrams(b));
  b.datagrams.bind({ port: 13 }, daytimeDatagrams(b));
  const heard: string[] = [];
  const client = a.datagrams.bind(
    {},
    {
      message(_sock, at, length) {
        heard.push(Buffer.from(a.arena.u8.slice(at, at + length)).toString());
      },
    },
  );
  a.datagrams.write(client, encoder.encode('to and fro'), new Destination(B4, 7));
  a.datagrams.write(client, encoder.encode('what time?'), new Destination(B4, 13));
  world.run(() => heard.length === 2, LIMIT_MS);
  expect(heard[0]).toBe('to and fro');
  expect(Date.now() - Date.parse(heard[1])).toBeLessThan(10_000);
  a.datagrams.bind({ port: 7 }, echoDatagrams(a));
  const other = a.datagrams.bind({ port: 13 }, {});
  a.datagrams.write(other, encoder.encode('loop'), new Destination(B4, 7));
  world.pass(100);
  expect(a.udp.counters.datagramsIn).toBe(2);
});
