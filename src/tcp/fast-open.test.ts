/** TCP Fast Open: RFC 7413. */
import { describe, expect, test } from 'vitest';
import { auditEngine } from '../engine/testing.ts';
import type { TcpLimits } from './tcp.ts';
import { MODERN, type Peer, TcpContext } from './testing.ts';

const NONE = new Uint8Array(0);
const COOKIE = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
/** Of a server key, ms. */
const PERIOD = 2 ** 23;

describe('the server', () => {
  const serve = (limits: Partial<TcpLimits> = {}, fastOpen: boolean | number = true, version: 4 | 6 = 4) =>
    new TcpContext({ limits, version }).listen({ fastOpen });

  /** A cookie for the peer's address. */
  function cookieOf(c: TcpContext, port = 4000): Uint8Array {
    const peer = c.addPeer(port);
    peer.inject({ flags: 'S', options: { ...MODERN, fastOpenCookie: NONE } });
    const cookie = peer.expect({ flags: 'S.' }).options.fastOpenCookie!;
    peer.inject({ flags: 'R', seq: 1 });
    return cookie;
  }

  const syn = (peer: Peer, cookie: Uint8Array, length: number, more = {}) =>
    peer.inject({ flags: 'S', seq: 0, length, options: { ...MODERN, fastOpenCookie: cookie }, ...more });

  test.each([4, 6] as const)(
    'gives a cookie over IPv%d; the next SYN’s data is delivered at once',
    (version) => {
      const c = serve({}, true, version);
      const cookie = cookieOf(c);
      expect(cookie.length).toBe(8);
      expect(c.events()).toEqual([]);
      syn(c.peer, cookie, 100);
      expect(c.events()).toEqual(['open', 'data 100']);
      expect(c.state).toBe('SYN-RECEIVED');
      const synAck = c.peer.expect({ flags: 'S.', seq: 0, ack: 101, length: 0 });
      expect(synAck.options.fastOpenCookie).toBeUndefined();
      c.peer.sndNxt = 101;
      c.pass(20);
      c.peer.inject();
      expect(c.info).toMatchObject({ state: 'ESTABLISHED', fastOpen: true, rtt_ms: 20, sndWindowScale: 7 });
      expect(c.events()).toEqual([]);
      c.peer.inject({ length: 10 });
      expect(c.events()).toEqual(['data 10']);
      expect(c.engine.tcp.counters).toMatchObject({ fastOpenPassive: 1, passiveOpens: 1 });
    },
  );

  test('the program’s answer leaves behind the SYN-ACK, before the handshake ends', () => {
    const c = serve();
    const cookie = cookieOf(c);
    c.handlers.open = () => c.engine.write(c.conn, new Uint8Array(0));
    syn(c.peer, cookie, 100);
    c.peer.expect({ flags: 'S.', ack: 101 });
    c.write(50);
    c.peer.expect({ flags: 'P.', seq: 1, ack: 101, length: 50 });
    c.peer.inject({ seq: 101, ack: 51 });
    expect(c.info).toMatchObject({ state: 'ESTABLISHED', sendQueue: 0 });
    c.peer.expectNothing();
  });

  test('whole: request on the SYN, answer and FIN behind the SYN-ACK, all acknowledged by one ACK', () => {
    const c = new TcpContext({
      handlers: {
        data: (conn, _at, length) => {
          c.engine.write(
            conn,
            Uint8Array.from({ length: 5 }, (_, i) => ((i + 1) * 7) & 0xff),
          );
          c.engine.shutdown(conn);
          return length;
        },
      },
    }).listen({ fastOpen: true });
    const cookie = cookieOf(c);
    syn(c.peer, cookie, 10);
    c.peer.expect({ flags: 'S.', ack: 11 });
    c.peer.expect({ flags: 'FP.', seq: 1, length: 5 });
    c.peer.inject({ seq: 11, ack: 7 });
    expect(c.state).toBe('FIN-WAIT-2');
    c.peer.inject({ flags: 'F.', seq: 11, ack: 7 });
    expect(c.events()).toEqual(['open', 'data 10', 'end', 'close 0']);
  });

  test('a cookie of another’s, or made up: the handshake first, and a new cookie', () => {
    const c = serve();
    const cookie = cookieOf(c);
    const wrong = cookie.slice();
    wrong[3] ^= 1;
    for (const [i, bad] of [
      wrong,
      cookie.subarray(0, 4),
      Uint8Array.from([...cookie, ...cookie]),
    ].entries()) {
      const peer = c.addPeer(6000 + i);
      syn(peer, bad, 50);
      expect(peer.expect({ flags: 'S.', ack: 1 }).options.fastOpenCookie).toEqual(cookie);
      expect(c.events()).toEqual([]);
    }
    expect(c.engine.tcp.counters.fastOpenCookiesFailed).toBe(3);
  });

  test('cookies are the address’s own', () => {
    const four = cookieOf(serve());
    const six = cookieOf(serve({}, true, 6));
    expect(four).not.toEqual(six);
  });

  test('keys rotate: the one before is good and replaced, older ones are not', () => {
    const c = serve();
    const cookie = cookieOf(c);
    c.pass(PERIOD);
    syn(c.peer, cookie, 10);
    const renewed = c.peer.expect({ flags: 'S.', ack: 11 }).options.fastOpenCookie!;
    expect(renewed).not.toEqual(cookie);
    expect(c.events()).toEqual(['open', 'data 10']);
    c.peer.inject({ seq: 11 });
    c.pass(PERIOD);
    const late = c.addPeer(6000);
    syn(late, cookie, 10);
    late.expect({ flags: 'S.', ack: 1 });
    expect(c.events()).toEqual([]);
    // The clock's periods repeat after 49.7 days, the keys don't.
    c.pass(2 ** 32 - 2 * PERIOD);
    syn(c.addPeer(6001), cookie, 10);
    expect(c.events()).toEqual([]);
  });

  test('without the option a listener neither gives nor takes cookies', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S', options: { ...MODERN, fastOpenCookie: NONE } });
    expect(c.peer.expect({ flags: 'S.' }).options.fastOpenCookie).toBeUndefined();
    syn(c.addPeer(6000), COOKIE, 20);
    expect(c.events()).toEqual([]);
  });

  test('a cookie comes with a SYN cookie too', () => {
    const c = serve({ synCookies: 'always' });
    const cookie = cookieOf(c);
    expect(c.engine.tcp.minis.inUse).toBe(1);
    syn(c.peer, cookie, 30);
    expect(c.events()).toEqual(['open', 'data 30']);
  });

  test('the SYN-ACK is repeated without option and data, then the connection ends', () => {
    const c = serve({ synAckRetries: 2 });
    const cookie = cookieOf(c);
    c.pass(PERIOD);
    syn(c.peer, cookie, 10);
    c.write(20);
    expect(c.peer.expect({ flags: 'S.' }).options.fastOpenCookie).toBeDefined();
    c.peer.expect({ length: 20 });
    const start = c.now - 10_000;
    c.pass(6999);
    expect(c.peer.take().map((s) => [s.flags, s.seq, s.ack, s.length, s.at - start])).toEqual([
      ['S.', 0, 11, 0, 1000],
      ['S.', 0, 11, 0, 3000],
    ]);
    expect(c.events()).toEqual(['open', 'data 10']);
    c.pass(1);
    expect(c.events()).toEqual(['close 3']);
    auditEngine(c.engine);
  });

  test('the SYN again, without its data, gets the SYN-ACK again; then lost answers are sent again', () => {
    const c = serve();
    const cookie = cookieOf(c);
    syn(c.peer, cookie, 10);
    c.write(20);
    c.peer.take();
    c.peer.inject({ flags: 'S', seq: 0, options: MODERN });
    c.peer.expect({ flags: 'S.', seq: 0, ack: 11 });
    c.peer.inject({ seq: 11, ack: 1 });
    expect(c.state).toBe('ESTABLISHED');
    c.pass(1000);
    c.peer.expect({ flags: 'P.', seq: 1, length: 20 });
    expect(c.events()).toEqual(['open', 'data 10']);
  });

  test('the SYN-ACK’s RTT is its own, whatever was sent after it, and there is none once it was sent again', () => {
    const c = serve();
    const cookie = cookieOf(c);
    syn(c.peer, cookie, 10);
    c.pass(10);
    c.write(20);
    c.pass(20);
    c.peer.inject({ seq: 11, ack: 1 });
    expect(c.info).toMatchObject({ state: 'ESTABLISHED', rtt_ms: 30 });
    const d = serve();
    syn(d.peer, cookieOf(d), 10);
    d.pass(10);
    d.peer.inject({ flags: 'S', seq: 0, options: MODERN });
    d.pass(20);
    d.peer.inject({ seq: 11, ack: 1 });
    expect(d.info).toMatchObject({ state: 'ESTABLISHED', rtt_ms: 0 });
  });

  test('a window that the SYN’s data filled is told open again once the handshake is over', () => {
    const c = serve({ receiveBuffer: 1000 });
    syn(c.peer, cookieOf(c), 1000);
    c.peer.expect({ flags: 'S.', ack: 1001, window: 0 });
    c.peer.inject({ seq: 1001, ack: 1 });
    c.peer.expect({ flags: '.', ack: 1001, window: 1000 });
  });

  test('an ACK of what was never sent is reset; RST ends the connection', () => {
    const c = serve();
    const cookie = cookieOf(c);
    syn(c.peer, cookie, 10);
    c.peer.take();
    for (const ack of [0, 2]) {
      c.peer.inject({ seq: 11, ack });
      c.peer.expect({ flags: 'R', seq: ack });
    }
    c.peer.inject({ flags: 'R', seq: 11 });
    expect(c.events()).toEqual(['open', 'data 10', 'close 1']);
    auditEngine(c.engine);
  });

  test('pending ones have a limit, which RSTs don’t give back for a minute (RFC 7413 5.1)', () => {
    const c = serve({}, 2);
    const cookie = cookieOf(c);
    const peers = Array.from({ length: 5 }, (_, i) => c.addPeer(6000 + i));
    syn(peers[0], cookie, 1);
    syn(peers[1], cookie, 0);
    expect(c.events().filter((e) => e === 'open')).toEqual(['open', 'open']);
    c.received = 0;
    syn(peers[2], cookie, 1);
    peers[2].expect({ flags: 'S.', ack: 1 });
    expect(c.engine.tcp.counters.fastOpenLimited).toBe(1);
    peers[0].inject({ flags: 'R', seq: 2 });
    expect(c.events()).toEqual(['close 1']);
    syn(peers[3], cookie, 1);
    peers[3].expect({ flags: 'S.', ack: 1 });
    // A finished handshake makes room at once.
    peers[1].inject({ seq: 1 });
    syn(peers[3], cookie, 1, { seq: 0 });
    c.events();
    syn(peers[4], cookie, 1);
    expect(c.events()).toEqual(['open', 'data 1']);
    c.pass(60_000);
    const late = c.addPeer(7000);
    c.received = 0;
    syn(late, cookie, 1);
    expect(c.events()).toContain('open');
  });

  test('data that there is no memory for is not acknowledged', () => {
    const c = new TcpContext({ limits: { chunks: 1 } }).listen({ fastOpen: true });
    const cookie = cookieOf(c);
    syn(c.peer, cookie, 100);
    c.peer.expect({ flags: 'S.', ack: 1 });
    expect(c.events()).toEqual(['open']);
  });

  test('close() in the open handler: FIN behind the SYN-ACK', () => {
    const c = new TcpContext({ handlers: { data: () => 0 } }).listen({ fastOpen: true });
    const cookie = cookieOf(c);
    syn(c.peer, cookie, 0);
    c.engine.close(c.conn);
    c.run();
    c.peer.expect({ flags: 'S.', ack: 1 });
    c.peer.expect({ flags: 'F.', seq: 1 });
    c.peer.inject({ seq: 1, ack: 2 });
    expect(c.state).toBe('FIN-WAIT-2');
    c.peer.inject({ flags: 'F.', seq: 1, ack: 2 });
    expect(c.events()).toEqual(['open', 'close 0']);
  });
});

describe('the client', () => {
  /** A connection with Fast Open, `length` bytes written before its SYN leaves. */
  function dial(c: TcpContext, length: number): void {
    c.written = 0;
    c.peer.rcvNxt = 0;
    c.peer.sndNxt = 0;
    c.open({ fastOpen: true });
    if (length > 0) c.write(length);
    else c.run();
  }

  /** Ends the connection from the peer's side, so that no TIME-WAIT is in the way. */
  function end(c: TcpContext): void {
    c.peer.inject({ flags: 'F.' });
    c.engine.close(c.conn);
    c.run();
    c.peer.inject();
    c.peer.take();
    c.events();
    expect(c.engine.tcp.blocks.inUse).toBe(0);
  }

  /** Asks for a cookie and gets it. */
  function primed(cookie = COOKIE, limits: Partial<TcpLimits> = {}, mss = 1460): TcpContext {
    const c = new TcpContext({ limits });
    dial(c, 10);
    expect(c.peer.expect({ flags: 'S', length: 0 }).options.fastOpenCookie).toEqual(NONE);
    c.peer.inject({ flags: 'S.', options: { ...MODERN, mss, fastOpenCookie: cookie } });
    c.peer.expect({ flags: 'P.', seq: 1, length: 10 });
    c.peer.inject();
    end(c);
    return c;
  }

  test.each([4, 8, 14, 16])('asks for a cookie; with one of %d bytes it sends data on the SYN', (bytes) => {
    const cookie = Uint8Array.from({ length: bytes }, (_, i) => i);
    const c = primed(cookie);
    dial(c, 100);
    const syn = c.peer.expect({ flags: 'S', seq: 0, length: 100 });
    expect(syn.options.fastOpenCookie).toEqual(cookie);
    c.pass(10);
    c.peer.inject({ flags: 'S.', ack: 101, options: MODERN });
    c.peer.expect({ flags: '.', seq: 101, ack: 1 });
    expect(c.events()).toEqual(['open']);
    expect(c.info).toMatchObject({ fastOpen: true, sendQueue: 0, bytesSent: 100, rtt_ms: 10 });
    c.write(5);
    c.peer.expect({ flags: 'P.', seq: 101, length: 5 });
    expect(c.engine.tcp.counters).toMatchObject({ fastOpenActive: 1, fastOpenAcked: 1, fastOpenFailed: 0 });
  });

  test('what the server did not acknowledge goes out with the ACK', () => {
    const c = primed();
    dial(c, 100);
    c.peer.expect({ flags: 'S', length: 100 });
    c.peer.inject({ flags: 'S.', ack: 1, options: MODERN });
    c.peer.expect({ flags: 'P.', seq: 1, length: 100 });
    expect(c.info.fastOpen).toBe(false);
    end(c);
    const part = primed();
    dial(part, 100);
    part.peer.take();
    part.peer.inject({ flags: 'S.', ack: 61, options: MODERN });
    part.peer.expect({ flags: 'P.', seq: 61, length: 40 });
    expect(part.info.bytesSent).toBe(100);
  });

  test('a SYN-ACK that acknowledges more or less than was sent is reset', () => {
    const c = primed();
    dial(c, 100);
    c.peer.take();
    for (const ack of [0, 102]) {
      c.peer.inject({ flags: 'S.', seq: 0, ack });
      c.peer.expect({ flags: 'R', seq: ack });
    }
    expect(c.state).toBe('SYN-SENT');
  });

  test('takes what the server’s MSS of last time lets it, and the rest follows', () => {
    const c = primed(COOKIE, {}, 1000);
    dial(c, 3000);
    const first = c.peer.expect({ flags: 'S' });
    // MSS, SACK, timestamps, scale: 20; NOP, NOP, cookie: 12 bytes.
    expect(first.length).toBe(1000 - 32);
    c.peer.inject({ flags: 'S.', ack: 1 + first.length, options: { ...MODERN, mss: 1000 } });
    expect(c.peer.take().map((s) => [s.seq, s.length])).toEqual([
      [969, 988],
      [1957, 988],
    ]);
  });

  test('data on the SYN-ACK is delivered, and FIN too', () => {
    const c = primed();
    dial(c, 10);
    c.peer.take();
    c.peer.inject({ flags: 'SF.', ack: 11, length: 30, options: MODERN });
    expect(c.events()).toEqual(['open', 'data 30', 'end']);
    expect(c.state).toBe('CLOSE-WAIT');
    c.peer.expect({ flags: '.', seq: 11, ack: 32 });
  });

  test('with nothing to send the SYN carries the cookie alone, which is no failure', () => {
    const c = primed();
    dial(c, 0);
    expect(c.peer.expect({ flags: 'S', length: 0 }).options.fastOpenCookie).toEqual(COOKIE);
    c.peer.inject({ flags: 'S.', options: MODERN });
    end(c);
    dial(c, 10);
    c.peer.expect({ flags: 'S', length: 10 });
  });

  test('a new cookie takes the old one’s place, also when the data was refused', () => {
    const c = primed();
    const renewed = Uint8Array.of(9, 9, 9, 9);
    for (const [ack, cookie] of [
      [11, renewed],
      [1, COOKIE],
    ] as const) {
      dial(c, 10);
      c.peer.take();
      c.peer.inject({ flags: 'S.', ack, options: { ...MODERN, fastOpenCookie: cookie } });
      c.peer.take();
      c.peer.inject({ ack: 11 });
      c.peer.sndNxt = 1;
      end(c);
      dial(c, 10);
      expect(c.peer.expect({ flags: 'S', length: 10 }).options.fastOpenCookie).toEqual(cookie);
      c.peer.inject({ flags: 'S.', ack: 11, options: MODERN });
      end(c);
    }
  });

  test('a lost SYN is repeated without option and data; a path that swallows them is left alone for a while', () => {
    const c = primed();
    dial(c, 10);
    c.peer.expect({ flags: 'S', length: 10 });
    c.pass(1000);
    const again = c.peer.expect({ flags: 'S', seq: 0, length: 0 });
    expect(again.options.fastOpenCookie).toBeUndefined();
    c.peer.inject({ flags: 'S.', ack: 1, options: MODERN });
    c.peer.expect({ flags: 'P.', seq: 1, length: 10 });
    c.peer.inject();
    end(c);
    expect(c.engine.tcp.counters.fastOpenFailed).toBe(1);
    dial(c, 10);
    expect(c.peer.expect({ flags: 'S', length: 0 }).options.fastOpenCookie).toBeUndefined();
    c.peer.inject({ flags: 'S.', options: MODERN });
    c.peer.take();
    c.peer.inject();
    end(c);
    expect(c.engine.tcp.counters.fastOpenAvoided).toBe(1);
    c.pass(900_000);
    dial(c, 10);
    expect(c.peer.expect({ flags: 'S', length: 0 }).options.fastOpenCookie).toEqual(NONE);
  });

  test('a lost SYN-ACK is no such path: the answer to the second SYN acknowledges the first one’s data', () => {
    const c = primed();
    dial(c, 10);
    c.pass(1000);
    c.peer.take();
    c.peer.inject({ flags: 'S.', ack: 11, options: MODERN });
    c.peer.expect({ flags: '.', seq: 11 });
    expect(c.engine.tcp.counters).toMatchObject({ fastOpenFailed: 0, fastOpenAcked: 1 });
  });

  test.each([
    ['refused', (c: TcpContext) => c.peer.inject({ flags: 'R.' })],
    ['not answered at all', (c: TcpContext) => c.pass(247_000)],
  ])('an attempt that was %s counts against the path, and ever longer', (_, fail) => {
    const c = primed();
    for (const pause of [900_000, 1_800_000]) {
      c.written = 0;
      dial(c, 10);
      c.peer.take();
      fail(c);
      expect(c.events()[0]).toMatch(/close [23]/);
      c.peer.take();
      c.pass(pause - 1);
      dial(c, 0);
      expect(c.peer.expect({ flags: 'S' }).options.fastOpenCookie).toBeUndefined();
      c.engine.abort(c.conn);
      c.pass(1);
      c.events();
    }
    dial(c, 0);
    expect(c.peer.expect({ flags: 'S' }).options.fastOpenCookie).toEqual(NONE);
  });

  test('a path that swallows everything after the SYN’s data is left alone too', () => {
    const c = primed(COOKIE, { userTimeout_ms: 10_000 });
    dial(c, 10);
    c.peer.take();
    c.peer.inject({ flags: 'S.', ack: 11, options: MODERN });
    c.write(10);
    c.pass(60_000);
    expect(c.events()).toEqual(['open', 'close 3']);
    expect(c.engine.tcp.counters.fastOpenFailed).toBe(1);
  });

  test('asked in vain, it does not ask again at once', () => {
    const c = new TcpContext();
    dial(c, 10);
    c.peer.take();
    c.peer.inject({ flags: 'S.', options: MODERN });
    c.peer.take();
    c.peer.inject();
    end(c);
    dial(c, 10);
    expect(c.peer.expect({ flags: 'S' }).options.fastOpenCookie).toBeUndefined();
  });

  test('a cookie of a length that none can have counts as no cookie', () => {
    const c = new TcpContext();
    dial(c, 10);
    c.peer.take();
    c.peer.inject({ flags: 'S.', options: { ...MODERN, fastOpenCookie: new Uint8Array(5) } });
    expect(c.engine.tcp.counters.fastOpenFailed).toBe(1);
  });

  test('what nobody asked for is not kept', () => {
    const c = new TcpContext().connect();
    c.peer.take();
    c.peer.inject({ flags: 'S.', options: { ...MODERN, fastOpenCookie: COOKIE } });
    expect(c.engine.tcp.fastOpen.cache.size).toBe(0);
  });

  test('remembers 1024 destinations, the least recently used leaving', () => {
    const { counters, fastOpen } = new TcpContext().engine.tcp;
    const { cache } = fastOpen;
    const first = cache.findOrAdd('first');
    for (let i = 0; i < 1022; i++) cache.findOrAdd(`${i}`);
    expect(cache.find('first')).toBe(first);
    cache.findOrAdd('x');
    cache.findOrAdd('y');
    expect([cache.size, counters.fastOpenEvicted]).toEqual([1024, 1]);
    expect(cache.find('first')).toBe(first);
    expect(cache.find('0')).toBeUndefined();
  });

  test('simultaneous open: the peer’s SYN-ACK may take the data of our SYN', () => {
    const c = primed();
    dial(c, 10);
    c.peer.take();
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.expect({ flags: 'S.', seq: 0, ack: 1, length: 0 });
    c.peer.inject({ flags: 'S.', seq: 0, ack: 11, options: MODERN });
    expect(c.events()).toEqual(['open']);
    expect(c.info).toMatchObject({ state: 'ESTABLISHED', sendQueue: 0 });
  });
});
