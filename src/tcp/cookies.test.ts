/** SYN cookies: RFC 4987 3.6. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { auditEngine } from '../engine/testing.ts';
import type { TcpOptionValues } from '../wire/tcp-options.ts';
import type { TcpLimits } from './tcp.ts';
import { MODERN, type Peer, TcpContext } from './testing.ts';

/** What lets the default receive buffer grow to its most, 32 MiB. */
const OUR_SCALE = 9;

/** A listener that answers every SYN by a cookie. */
function always(limits: Partial<TcpLimits> = {}, version: 4 | 6 = 4): TcpContext {
  return new TcpContext({ version, limits: { synCookies: 'always', ...limits } }).listen();
}

/** SYN, SYN-ACK. */
function ask(c: TcpContext, peer: Peer, options: TcpOptionValues = MODERN): void {
  peer.inject({ flags: 'S', seq: 0, options });
  peer.sndNxt = 1;
  peer.expect({ flags: 'S.', seq: 0, ack: 1 });
  expect(c.engine.tcp.minis.inUse).toBe(1);
}

describe('a connection by cookie', () => {
  test.each([4, 6] as const)('has all options over IPv%d when timestamps carry them', (version) => {
    const c = always({}, version);
    c.peer.inject({ flags: 'S', options: MODERN });
    const { options } = c.peer.expect({ flags: 'S.', seq: 0, ack: 1, window: 65_535 });
    expect(options).toMatchObject({
      sackPermitted: true,
      windowScale: OUR_SCALE,
      timestamps: { echo: 10_000 },
    });
    expect(c.engine.tcp.table.count).toBe(0);
    c.pass(30);
    c.peer.inject({ window: 1000 });
    expect(c.events()).toEqual(['open']);
    expect(c.info).toMatchObject({
      state: 'ESTABLISHED',
      timestamps: true,
      sack: true,
      sndWindowScale: 7,
      rcvWindowScale: OUR_SCALE,
      sndWnd: 1000 << 7,
      peerMss: 1460,
    });
    c.write(100);
    const data = c.peer.expect({ flags: 'P.', seq: 1, length: 100 });
    expect((data.options.timestamps!.value - options.timestamps!.value) | 0).toBeGreaterThanOrEqual(30);
    c.peer.inject({ length: 10 });
    expect(c.events()).toEqual(['data 10']);
  });

  test('has neither scale nor SACK without timestamps, and says so', () => {
    const c = always();
    c.peer.inject({ flags: 'S', options: { mss: 1400, sackPermitted: true, windowScale: 7 } });
    expect(c.peer.expect({ flags: 'S.' }).options).toEqual({ mss: 1460 });
    c.peer.inject({ window: 1000 });
    expect(c.info).toMatchObject({ sack: false, sndWindowScale: 0, rcvWindowScale: 0, sndWnd: 1000 });
  });

  test.each([
    [0, 536],
    [63, 64],
    [535, 64],
    [536, 536],
    [1219, 536],
    [1452, 1440],
    [1460, 1460],
    [9000, 8940],
  ])('an MSS of %d is kept as %d', (mss, kept) => {
    const c = always();
    ask(c, c.peer, mss === 0 ? {} : { mss });
    c.peer.inject();
    expect(c.info.peerMss).toBe(kept);
  });

  test('timestamps never go back, whatever scale and SACK they carry', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 200 }),
        fc.option(fc.integer({ min: 0, max: 14 })),
        fc.boolean(),
        (wait, scale, sackPermitted) => {
          const c = always();
          c.pass(wait);
          const options = {
            mss: 1460,
            sackPermitted,
            timestamps: { value: 0, echo: 0 },
            ...(scale === null ? {} : { windowScale: scale }),
          };
          c.peer.inject({ flags: 'S', options });
          const first = c.peer.expect({ flags: 'S.' }).options.timestamps!.value;
          c.peer.inject({ length: 1 });
          const second = c.peer.expect({ ack: 2 }).options.timestamps!.value;
          expect((second - first) | 0).toBeGreaterThanOrEqual(0);
          expect((second - first) | 0).toBeLessThanOrEqual(64);
          expect(c.info).toMatchObject({
            sack: sackPermitted,
            sndWindowScale: scale ?? 0,
            rcvWindowScale: scale === null ? 0 : OUR_SCALE,
          });
        },
      ),
      { numRuns: 100 },
    );
  });

  test('opens with data on the ACK, or with data and FIN, or when the ACK was lost and data comes', () => {
    const c = always();
    ask(c, c.peer);
    c.peer.inject({ flags: 'P.', length: 100 });
    expect(c.events()).toEqual(['open', 'data 100']);
    const peer = c.addPeer(6000);
    ask(c, peer);
    c.received = 0;
    peer.inject({ flags: 'FP.', length: 50 });
    expect(c.events()).toEqual(['open', 'data 50', 'end']);
    expect(c.engine.tcp.counters.cookiesAccepted).toBe(2);
  });

  test('gives no RTT, since its timestamp is not the clock', () => {
    const c = always();
    ask(c, c.peer);
    c.pass(40);
    c.peer.inject();
    expect(c.info.rtt_ms).toBe(0);
  });
});

describe('what is no cookie', () => {
  test('a wrong number, another peer’s, a changed MSS: RST', () => {
    const c = always();
    ask(c, c.peer);
    for (const ack of [0, 2, 9, 0x10001]) {
      c.peer.inject({ ack });
      c.peer.expect({ flags: 'R', seq: ack });
    }
    c.peer.inject({ seq: 2 });
    c.peer.expect({ flags: 'R' });
    const other = c.addPeer(6000);
    other.irs = c.peer.irs;
    other.known = true;
    other.inject({ seq: 1, ack: 1 });
    other.expect({ flags: 'R' });
    expect(c.engine.tcp.counters.cookiesFailed).toBe(6);
    expect(c.events()).toEqual([]);
    c.peer.inject({ seq: 1, ack: 1 });
    expect(c.events()).toEqual(['open']);
  });

  test('is good for more than a minute and no more than 131 s', () => {
    for (const [wait, good] of [
      [65_000, true],
      [140_000, false],
    ] as const) {
      const c = always();
      ask(c, c.peer);
      c.pass(wait);
      // Another one, so that the listener still looks at cookies.
      ask(c, c.addPeer(6000));
      c.peer.inject();
      expect(c.events()).toEqual(good ? ['open'] : []);
      if (!good) c.peer.expect({ flags: 'R' });
    }
  });

  test('is not looked for while none can be out', () => {
    const c = always();
    c.peer.inject({ seq: 1, ack: 1 });
    c.peer.expect({ flags: 'R' });
    expect(c.engine.tcp.counters.cookiesFailed).toBe(0);
    ask(c, c.peer);
    c.pass(140_000);
    c.peer.inject();
    c.peer.expect({ flags: 'R' });
    expect(c.engine.tcp.counters.cookiesFailed).toBe(0);
  });
});

describe('when cookies are sent', () => {
  test('auto: from the backlog’s limit on, and no longer once there is room', () => {
    const c = new TcpContext({ limits: { synAckRetries: 1 } }).listen({ backlog: 2 });
    const { counters, minis } = c.engine.tcp;
    for (const port of [6000, 6001]) c.addPeer(port).inject({ flags: 'S' });
    expect(minis.inUse).toBe(3);
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.expect({ flags: 'S.' });
    expect(counters.cookiesSent).toBe(1);
    c.peer.inject();
    expect(c.events()).toEqual(['open']);
    c.pass(10_000);
    expect(minis.inUse).toBe(1);
    const late = c.addPeer(7000);
    late.inject({ flags: 'S', options: MODERN });
    late.expect({ flags: 'S.' });
    late.inject();
    expect(counters).toMatchObject({ cookiesSent: 1, passiveOpens: 2, backlogFull: 0 });
  });

  test('auto: when mini blocks run out', () => {
    const c = new TcpContext({ limits: { miniBlocks: 4 } }).listen();
    for (let i = 0; i < 4; i++) c.addPeer(6000 + i).inject({ flags: 'S' });
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.inject();
    expect(c.events()).toEqual(['open']);
    expect(c.engine.tcp.counters.cookiesAccepted).toBe(1);
  });

  test('never: SYNs beyond the backlog are dropped', () => {
    const c = new TcpContext({ limits: { synCookies: 'never' } }).listen({ backlog: 1 });
    c.addPeer(6000).inject({ flags: 'S' });
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.expectNothing();
    expect(c.engine.tcp.counters.backlogFull).toBe(1);
  });

  test('not when no control block is left for the ACK: the SYN is dropped, and comes again', () => {
    const c = always({ connections: 1 });
    ask(c, c.peer);
    c.peer.inject();
    const other = c.addPeer(6000);
    other.inject({ flags: 'S', options: MODERN });
    other.expectNothing();
    expect(c.engine.tcp.counters.blocksExhausted).toBe(1);
    c.engine.abort(c.conn);
    c.run();
    ask(c, other);
    other.inject();
    expect(c.events()).toEqual(['open', 'close 5', 'open']);
  });

  test('a SYN that ends a TIME-WAIT gets a number above the old one’s, and so no cookie', () => {
    const c = always();
    ask(c, c.peer);
    c.peer.inject();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject({ flags: 'F.' });
    const before = (c.peer.irs + c.peer.rcvNxt) | 0;
    c.pass(10);
    c.peer.take();
    c.peer.inject({ flags: 'S', seq: 100, options: MODERN });
    c.peer.expect({ flags: 'S.' });
    expect((c.peer.irs - before) | 0).toBeGreaterThan(0);
    expect(c.engine.tcp.counters.cookiesSent).toBe(1);
  });

  test('a storm of SYNs and ACKs keeps nothing', () => {
    const c = always();
    for (let i = 0; i < 2000; i++) {
      const flags = [2, 16, 4, 18][i & 3];
      c.packet(c.wrap({ srcPort: 1024 + (i % 97), dstPort: 80, seq: i * 7919, ack: i * 104_729, flags }));
      if (i % 20 === 19) c.run();
    }
    c.run();
    expect(c.engine.tcp.counters.cookiesSent).toBe(500);
    auditEngine(c.engine);
  });
});
