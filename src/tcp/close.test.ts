/** Ending connections: RFC 9293 3.6 and 3.10.7.4, in every order; and what comes after the end. */
import { describe, expect, test } from 'vitest';
import { auditEngine } from '../engine/testing.ts';
import { TcpContext } from './testing.ts';

/** What close events say. */
const [CLEAN, RESET, ABORTED] = ['close 0', 'close 1', 'close 5'];

describe('orders of closing', () => {
  test('the peer first: CLOSE-WAIT, LAST-ACK', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'F.' });
    expect(c.events()).toEqual(['end']);
    expect(c.state).toBe('CLOSE-WAIT');
    c.peer.expect({ flags: '.', ack: 2 });
    c.write(100);
    c.peer.expect({ flags: 'P.', length: 100, ack: 2 });
    c.engine.shutdown(c.conn);
    c.run();
    expect(c.state).toBe('LAST-ACK');
    c.peer.expect({ flags: 'F.', seq: 101, ack: 2 });
    c.peer.inject({ ack: 102 });
    expect(c.events()).toEqual([CLEAN]);
    // No TIME-WAIT on this side.
    expect(c.engine.tcp.minis.inUse).toBe(1);
    expect(c.engine.tcp.blocks.inUse).toBe(0);
  });

  test('we first: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT; the peer sends on meanwhile', () => {
    const c = new TcpContext().establish();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.', seq: 1 });
    expect(c.state).toBe('FIN-WAIT-1');
    c.peer.inject({ length: 10 });
    expect(c.state).toBe('FIN-WAIT-2');
    c.peer.inject({ length: 10 });
    expect(c.events()).toEqual(['data 10', 'data 10']);
    c.peer.take();
    c.peer.inject({ flags: 'F.' });
    expect(c.events()).toEqual(['end', CLEAN]);
    c.peer.expect({ flags: '.', seq: 2, ack: 22 });
    expect(c.engine.tcp.minis.inUse).toBe(2);
    c.pass(59_999);
    expect(c.engine.tcp.minis.inUse).toBe(2);
    c.pass(1);
    expect(c.engine.tcp.minis.inUse).toBe(1);
  });

  test('both at once: CLOSING, TIME-WAIT (figure 13)', () => {
    const c = new TcpContext().establish();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.', seq: 1, ack: 1 });
    c.peer.inject({ flags: 'F.', ack: 1 });
    expect(c.state).toBe('CLOSING');
    c.peer.expect({ flags: '.', seq: 2, ack: 2 });
    c.peer.inject({ ack: 2 });
    expect(c.events()).toEqual(['end', CLEAN]);
    expect(c.engine.tcp.minis.inUse).toBe(2);
  });

  test('the peer’s FIN acknowledges ours: straight to TIME-WAIT', () => {
    const c = new TcpContext().establish();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.' });
    c.peer.inject({ flags: 'F.' });
    expect(c.events()).toEqual(['end', CLEAN]);
    expect(c.engine.tcp.minis.inUse).toBe(2);
  });

  test('our FIN follows what is queued, however long that takes', () => {
    const c = new TcpContext().establish({ mss: 1000 }, { window: 1500 });
    c.write(2500);
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ length: 1000, flags: '.' });
    c.peer.expectNothing();
    expect(c.engine.write(c.conn, new Uint8Array(1))).toBe(-1);
    c.peer.inject({ ack: 1001, window: 5000 });
    c.peer.expect({ seq: 1001, length: 1000, flags: '.' });
    c.peer.expect({ seq: 2001, length: 500, flags: 'FP.' });
  });

  test('data with the FIN, and the FIN ahead of its data', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'FP.', seq: 101, length: 100 });
    c.peer.expect({ flags: '.', ack: 1 });
    expect(c.events()).toEqual([]);
    c.peer.inject({ seq: 1, length: 100 });
    expect(c.events()).toEqual(['data 100', 'data 100', 'end']);
    c.peer.expect({ flags: '.', ack: 202 });
    const bare = new TcpContext().establish();
    bare.peer.inject({ flags: 'F.', seq: 101 });
    // RFC 5681 4.2: there is a gap, and the peer is told at once.
    bare.peer.expect({ flags: '.', ack: 1 });
    bare.peer.inject({ seq: 1, length: 100 });
    bare.peer.inject({ flags: 'F.', seq: 101 });
    expect(bare.events()).toEqual(['data 100', 'end']);
  });

  test('everything in one batch: data, the end, and nothing out of order', () => {
    const c = new TcpContext().establish();
    c.peer.send({ seq: 101, length: 100 });
    c.peer.send({ seq: 1, length: 100 });
    c.peer.send({ seq: 101, length: 200 });
    c.peer.send({ flags: 'F.', seq: 301, length: 50 });
    c.run();
    expect(c.received).toBe(350);
    expect(c.events().filter((e) => !e.startsWith('data'))).toEqual(['end']);
    c.engine.close(c.conn);
    c.run();
    // Nothing was left unread, so this is an orderly end.
    expect(c.peer.take().map((s) => s.flags)).toContain('F.');
  });

  test('a lost FIN is sent again, and the peer’s repeated FIN acknowledged again', () => {
    const c = new TcpContext().establish();
    c.engine.shutdown(c.conn);
    c.pass(1000);
    expect(c.peer.take().map((s) => [s.flags, s.seq])).toEqual([
      ['F.', 1],
      ['F.', 1],
    ]);
    c.peer.inject({ flags: 'F.', ack: 1 });
    c.peer.expect({ flags: '.', ack: 2 });
    c.peer.inject({ flags: 'F.', seq: 1, ack: 1 });
    c.peer.expect({ flags: '.', ack: 2 });
    expect(c.state).toBe('CLOSING');
  });

  test('data after the peer’s FIN is nonsense and ignored', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'F.' });
    c.peer.take();
    c.peer.inject({ length: 100 });
    expect(c.events()).toEqual(['end']);
    expect(c.state).toBe('CLOSE-WAIT');
  });
});

describe('lingering', () => {
  test('for 0 ms: close() is RST', () => {
    const c = new TcpContext().establish();
    c.engine.setLinger(c.conn, 0);
    c.write(10);
    c.peer.take();
    c.engine.close(c.conn);
    c.run();
    expect(c.peer.take().map((s) => s.flags)).toEqual(['R.']);
    expect(c.events()).toEqual([ABORTED]);
  });

  test('for a time: RST when the peer has not acknowledged all by then', () => {
    const c = new TcpContext().establish();
    c.engine.setLinger(c.conn, 5000);
    c.write(10);
    c.engine.close(c.conn);
    c.pass(4999);
    expect(c.peer.take().some((s) => s.flags.includes('R'))).toBe(false);
    c.pass(1);
    expect(c.peer.take().map((s) => s.flags)).toEqual(['R.']);
    expect(c.events()).toEqual(['close 3']);
    expect(c.engine.tcp.counters.lingerTimeouts).toBe(1);
    auditEngine(c.engine);
  });

  test('for a time that suffices: an end as usual', () => {
    const c = new TcpContext().establish();
    c.engine.setLinger(c.conn, 5000);
    c.write(10);
    c.engine.close(c.conn);
    c.run();
    c.peer.take();
    c.pass(4000);
    c.peer.inject({ ack: 12 });
    c.pass(4000);
    c.peer.inject({ flags: 'F.', ack: 12 });
    expect(c.events()).toEqual([CLEAN]);
  });

  test('while connecting: no RST, there is nobody to hear it', () => {
    const c = new TcpContext().connect();
    c.engine.setLinger(c.conn, 500);
    c.write(10);
    c.engine.close(c.conn);
    c.peer.take();
    c.pass(500);
    c.peer.expectNothing();
    expect(c.events()).toEqual(['close 3']);
  });

  test('can be taken back', () => {
    const c = new TcpContext().establish();
    c.engine.setLinger(c.conn, 0);
    c.engine.setLinger(c.conn, null);
    c.engine.close(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.' });
  });
});

describe('shutdownRead()', () => {
  test('what is queued and what comes is taken and forgotten; sending and ends are as before', () => {
    const c = new TcpContext().establish();
    c.takes = () => 0;
    c.peer.inject({ length: 1000 });
    c.peer.take();
    expect(c.events()).toEqual(['data 1000']);
    c.engine.shutdownRead(c.conn);
    c.engine.shutdownRead(c.conn);
    c.run();
    // The room that came back is less than is worth a segment.
    c.peer.expectNothing();
    expect(c.info.receiveQueue).toBe(0);
    for (let i = 0; i < 20; i++) c.peer.inject({ length: 1400 });
    expect(c.info).toMatchObject({ receiveQueue: 0, bytesReceived: 29_000 });
    expect(c.events()).toEqual([]);
    c.peer.take();
    c.write(10);
    c.peer.expect({ flags: 'P.', length: 10, ack: 29_001 });
    c.peer.inject({ flags: 'F.' });
    expect(c.events()).toEqual(['end']);
    c.engine.close(c.conn);
    c.run();
    c.peer.inject({ ack: 12 });
    expect(c.events()).toEqual([CLEAN]);
  });

  test('another connection with the same handlers goes on hearing', () => {
    const c = new TcpContext().establish();
    c.engine.shutdownRead(c.conn);
    const other = c.addPeer(6000);
    other.inject({ flags: 'S' });
    other.inject({ length: 10 });
    expect(c.events()).toEqual(['open', 'data 10']);
  });
});

describe('the half-close timeout', () => {
  test('resets a half-closed connection that is silent, and no other', () => {
    const c = new TcpContext({ limits: { halfClose_ms: 30_000 } }).establish();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject();
    expect(c.state).toBe('FIN-WAIT-2');
    for (let i = 0; i < 5; i++) {
      c.pass(20_000);
      c.peer.inject({ length: 1 });
    }
    c.peer.take();
    c.events();
    c.pass(29_999);
    expect(c.events()).toEqual([]);
    c.pass(1);
    expect(c.events()).toEqual(['close 3']);
    expect(c.peer.take().map((s) => s.flags)).toEqual(['R.']);
    expect(c.engine.tcp.counters.halfCloseTimeouts).toBe(1);
  });

  test('is not put off by keep-alive', () => {
    const c = new TcpContext({ limits: { halfClose_ms: 30_000 } }).establish();
    c.engine.setKeepAlive(c.conn, 20_000, 60_000);
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject();
    c.pass(30_000);
    expect(c.events()).toEqual(['close 3']);
  });
});

describe('close() of both directions', () => {
  test('data that comes later ends the connection by RST (RFC 9293 3.6.1, RFC 2525 2.17)', () => {
    const c = new TcpContext().establish();
    c.engine.close(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.' });
    c.peer.inject({ length: 10 });
    expect(c.peer.take().map((s) => s.flags)).toEqual(['R.']);
    expect(c.events()).toEqual([RESET]);
  });

  test('data left unread does so at once', () => {
    const c = new TcpContext().establish();
    c.takes = () => 0;
    c.peer.inject({ length: 10 });
    c.peer.take();
    c.engine.close(c.conn);
    c.run();
    c.peer.expect({ flags: 'R.' });
    expect(c.events()).toEqual(['data 10', ABORTED]);
  });

  test('and so does data of the same batch as that which made the program close', () => {
    const c = new TcpContext().establish();
    c.takes = (length) => {
      c.engine.close(c.conn);
      return length;
    };
    c.peer.send({ length: 10 });
    c.peer.send({ length: 10 });
    c.run();
    expect(c.events()).toEqual(['data 10', ABORTED]);
    expect(c.peer.take().map((s) => s.flags)).toContain('R.');
  });

  test('FIN-WAIT-2 does not last for ever once the program has let go', () => {
    const c = new TcpContext({ limits: { finWait2_ms: 5000 } }).establish();
    c.engine.close(c.conn);
    c.run();
    c.peer.inject({ ack: 2 });
    c.pass(4999);
    expect(c.events()).toEqual([]);
    c.pass(1);
    expect(c.events()).toEqual([CLEAN]);
    expect(c.engine.tcp.wheel.armed).toBe(0);
    // With shutdown() the program may still read, and the peer take its time.
    const half = new TcpContext({ limits: { finWait2_ms: 5000 } }).establish();
    half.engine.shutdown(half.conn);
    half.run();
    half.peer.inject({ ack: 2 });
    half.pass(100_000);
    expect(half.state).toBe('FIN-WAIT-2');
  });

  test('only `close` is told from then on', () => {
    const c = new TcpContext().establish();
    c.write(10);
    c.engine.notifyDrained(c.conn);
    c.engine.close(c.conn);
    c.run();
    c.peer.inject({ flags: 'F.' });
    expect(c.events()).toEqual([CLEAN]);
  });
});

describe('abort()', () => {
  test('sends RST with the next sequence number; queued data is lost', () => {
    const c = new TcpContext().establish({}, { window: 10 });
    c.write(100);
    c.peer.expect({ length: 10 });
    c.engine.abort(c.conn);
    c.run();
    c.peer.expect({ flags: 'R.', seq: 11, ack: 1 });
    expect(c.engine.tcp.counters.resetsOut).toBe(1);
    expect(c.events()).toEqual([ABORTED]);
    expect(c.engine.tcp.chunks.inUse).toBe(0);
  });

  test('no data is told after it, also of the same batch', () => {
    const c = new TcpContext().establish();
    c.takes = (length) => {
      c.engine.abort(c.conn);
      return length;
    };
    c.peer.send({ length: 10 });
    c.peer.send({ length: 10 });
    c.run();
    expect(c.events()).toEqual(['data 10', ABORTED]);
  });

  test('a stale handle is counted and does nothing', () => {
    const c = new TcpContext().establish();
    c.engine.abort(c.conn);
    c.run();
    const before = c.engine.staleHandles;
    c.engine.abort(c.conn);
    c.engine.shutdown(c.conn);
    expect(c.engine.write(c.conn, new Uint8Array(1))).toBe(-1);
    expect(c.engine.staleHandles).toBe(before + 3);
  });
});

describe('a slow reader at the end', () => {
  test('reads all that came, and is told the end, after the connection is gone from the wire', () => {
    const c = new TcpContext().establish();
    c.takes = () => 0;
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject({ flags: 'FP.', length: 100, ack: 2 });
    expect(c.events()).toEqual(['data 100']);
    expect(c.state).toBe('UNREAD');
    c.takes = (length) => length - 40;
    c.engine.resume(c.conn);
    c.run();
    expect(c.events()).toEqual(['data 100']);
    c.takes = (length) => length;
    c.engine.resume(c.conn);
    c.run();
    expect(c.events()).toEqual(['data 40', 'end', CLEAN]);
    expect(c.received).toBe(100);
    expect(c.engine.tcp.blocks.inUse).toBe(0);
    expect(c.engine.tcp.chunks.inUse).toBe(0);
  });

  test.each(['close', 'abort'] as const)('or lets go of it by %s()', (how) => {
    const c = new TcpContext().establish();
    c.takes = () => 0;
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject({ flags: 'FP.', length: 100, ack: 2 });
    c.events();
    c.engine[how](c.conn);
    c.run();
    expect(c.events()).toEqual([CLEAN]);
    expect(c.engine.tcp.chunks.inUse).toBe(0);
  });

  test('a handler that throws on the last words is told to the engine, and leaks nothing', () => {
    const c = new TcpContext({
      handlers: {
        close: () => {
          throw new Error('in close');
        },
      },
    }).establish();
    const errors: string[] = [];
    c.engine.onHandlerError = (error) => errors.push(String(error));
    c.takes = () => 0;
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject({ flags: 'FP.', length: 100, ack: 2 });
    c.takes = (length) => length;
    c.engine.resume(c.conn);
    c.run();
    expect(errors).toEqual(['Error: in close']);
    expect(c.engine.tcp.blocks.inUse).toBe(0);
  });
});
