/** Urgent data: RFC 9293 3.8.5, RFC 6093. */
import { describe, expect, test } from 'vitest';
import { auditEngine, World } from '../engine/testing.ts';
import { stream, TcpContext } from './testing.ts';

const context = () => new TcpContext().establish({ mss: 1000 });

describe('received', () => {
  test('the program hears of it before the bytes, which stay in the stream', () => {
    const c = context();
    c.peer.inject({ flags: 'PU.', length: 10, urgent: 4 });
    expect(c.events()).toEqual(['urgent 4', 'data 10']);
    expect(c.engine.urgentLeft(c.conn)).toBe(0);
  });

  test('again only when the pointer moves on', () => {
    const c = context();
    c.peer.inject({ flags: 'U.', length: 10, urgent: 25 });
    c.peer.inject({ flags: 'U.', length: 10, urgent: 15 });
    expect(c.events()).toEqual(['urgent 25', 'data 10', 'data 10']);
    expect(c.engine.urgentLeft(c.conn)).toBe(5);
    c.peer.inject({ flags: 'U.', length: 10, urgent: 8 });
    expect(c.events()).toEqual(['urgent 8', 'data 10']);
    c.peer.inject({ flags: 'U.', length: 10, urgent: 0 });
    expect(c.events()).toEqual(['data 10']);
  });

  test('counts what the program has yet to read', () => {
    const c = context();
    c.takes = () => 0;
    c.peer.send({ length: 100 });
    c.peer.send({ flags: 'U.', length: 10, urgent: 10 });
    c.run();
    expect(c.events()).toEqual(['data 100', 'urgent 110']);
    expect(c.engine.urgentLeft(c.conn)).toBe(110);
    c.takes = () => 40;
    c.engine.resume(c.conn);
    c.run();
    expect(c.engine.urgentLeft(c.conn)).toBe(70);
  });

  test('of a segment that is trimmed, or carries no data, the pointer is right', () => {
    const c = context();
    c.peer.inject({ length: 50 });
    c.peer.inject({ flags: 'U.', seq: 31, length: 40, urgent: 30 });
    expect(c.events()).toEqual(['data 50', 'urgent 10', 'data 20']);
    c.peer.inject({ flags: 'U.', seq: 71, urgent: 500 });
    expect(c.events()).toEqual(['urgent 500']);
  });

  test('is nothing after the peer’s FIN', () => {
    const c = context();
    c.peer.inject({ flags: 'F.' });
    c.peer.inject({ flags: 'U.', urgent: 5 });
    expect(c.events()).toEqual(['end']);
  });
});

describe('sent', () => {
  const urg = (c: TcpContext) =>
    c.peer.take().map((s) => [s.seq, s.length, s.flags.includes('U') ? s.urgent : -1]);

  test('segments before the pointer carry it, later ones don’t', () => {
    const c = context();
    c.engine.write(c.conn, stream(1, 2500));
    c.engine.markUrgent(c.conn);
    c.run();
    expect(urg(c)).toEqual([
      [1, 1000, 2500],
      [1001, 1000, 1500],
      [2001, 500, 500],
    ]);
    expect(c.engine.tcp.urgentSenders).toBe(1);
    c.peer.inject({ ack: 2501 });
    c.written = 2500;
    c.write(10);
    expect(urg(c)).toEqual([[2501, 10, -1]]);
    expect(c.engine.tcp.urgentSenders).toBe(0);
  });

  test('retransmissions, and probes of a shut window, carry it', () => {
    const c = new TcpContext().establish({ mss: 1000 }, { window: 0 });
    c.engine.write(c.conn, stream(1, 100));
    c.engine.markUrgent(c.conn);
    c.pass(1000);
    expect(urg(c)).toEqual([[1, 1, 100]]);
  });

  test('far ahead it points as far as it can', () => {
    const c = context();
    c.engine.write(c.conn, stream(1, 100_000));
    c.engine.markUrgent(c.conn);
    c.run();
    expect(urg(c)[0]).toEqual([1, 1000, 65_535]);
  });

  test('nothing queued is nothing urgent', () => {
    const c = context();
    c.engine.markUrgent(c.conn);
    c.write(10);
    expect(urg(c)).toEqual([[1, 10, -1]]);
    c.engine.abort(c.conn);
    c.run();
    auditEngine(c.engine);
  });

  test('before the connection is open, it goes with the first data', () => {
    const c = new TcpContext().connect();
    c.engine.write(c.conn, stream(1, 10));
    c.engine.markUrgent(c.conn);
    c.peer.take();
    c.peer.inject({ flags: 'S.' });
    expect(urg(c)).toEqual([[1, 10, 10]]);
    c.engine.abort(c.conn);
    c.run();
    expect(c.engine.tcp.urgentSenders).toBe(0);
  });

  test('arrives over a device that splits super-segments', () => {
    const world = new World({ seed: 1, offload: true });
    const heard: number[] = [];
    let got = 0;
    world.b.listen(
      { port: 7 },
      {
        urgent: (_conn, ahead) => void heard.push(ahead + got),
        data: (_conn, _at, length) => {
          got += length;
          return length;
        },
      },
    );
    const conn = world.a.connect({ address: '10.0.0.2', port: 7 }, {});
    world.a.write(conn, new Uint8Array(20_000));
    world.a.markUrgent(conn);
    world.run(() => got === 20_000, 10_000);
    expect(new Set(heard)).toEqual(new Set([20_000]));
    world.a.abort(conn);
    world.finish();
  });
});
