/** Receive buffers that tune themselves, within what memory allows. */
import { describe, expect, test } from 'vitest';
import { auditEngine } from '../engine/testing.ts';
import { MODERN, type Peer, TcpContext } from './testing.ts';

const MSS = 1448;
const RTT_MS = 50;
const FIRST = 65_536;
const NO_TIMESTAMPS = { mss: 1460, sackPermitted: true, windowScale: 7 };

/** Slots for a round trip's segments: those of one flight echo nothing that was sent since. */
const SLOTS = 512;

/** A peer that sends `bytes` as soon as it has the ACKs of the last round trip, as far as its window goes. */
function roundTrip(c: TcpContext, peer: Peer, bytes: number): number {
  let sent = 0;
  const edge = edges.get(peer) ?? 65_536;
  for (let n = 0; sent < bytes && peer.sndNxt < edge && c.port.tx.available > 0; sent += n) {
    n = Math.min(MSS, bytes - sent, edge - peer.sndNxt);
    peer.send({ length: n });
  }
  c.run();
  c.pass(RTT_MS);
  for (const s of peer.take()) {
    const told = s.ack + (s.window << scaleOf(c));
    edges.set(peer, Math.max(edges.get(peer) ?? 0, told));
  }
  return sent;
}
const edges = new WeakMap<Peer, number>();

const scaleOf = (c: TcpContext) => c.info.rcvWindowScale;

describe('a receive buffer that tunes itself', () => {
  test('holds twice what the program consumes in a round trip, and is never in a sender’s way that doubles', () => {
    for (const options of [MODERN, NO_TIMESTAMPS]) {
      const c = new TcpContext({ limits: { chunks: 4096 }, slots: SLOTS }).establish(options);
      expect(c.info).toMatchObject({ receiveBuffer: FIRST, receiveBufferTunes: true });
      let wanted = 20_000;
      for (let i = 0; i < 6; i++) {
        const sent = roundTrip(c, c.peer, wanted);
        // Without timestamps it takes a whole window to know what a round trip is.
        if (options === MODERN) expect(sent).toBe(wanted);
        wanted *= 2;
      }
      wanted = roundTrip(c, c.peer, 640_000);
      roundTrip(c, c.peer, wanted);
      expect(c.info.receiveBuffer).toBeGreaterThanOrEqual(2 * wanted);
      expect(c.info.rcvRtt_ms).toBeGreaterThanOrEqual(RTT_MS - 1);
      expect(c.info.rcvSpace).toBeGreaterThan(0);
      if (options === MODERN) expect(c.info.rcvRtt_ms).toBeLessThanOrEqual(RTT_MS + 1);
      c.engine.abort(c.conn);
      c.run();
      auditEngine(c.engine);
    }
  });

  test('stays as it is for one who sends as much in every round trip', () => {
    const c = new TcpContext({ limits: { chunks: 4096 }, slots: SLOTS }).establish(MODERN);
    for (let i = 0; i < 10; i++) roundTrip(c, c.peer, 100_000);
    const { receiveBuffer } = c.info;
    expect(receiveBuffer).toBeGreaterThanOrEqual(200_000);
    for (let i = 0; i < 50; i++) roundTrip(c, c.peer, 100_000);
    expect(c.info.receiveBuffer).toBeLessThan(1.5 * receiveBuffer);
  });

  test('does not grow for a program that does not read, nor for one that reads slowly', () => {
    for (const perRound of [0, 10_000]) {
      const c = new TcpContext({ limits: { chunks: 4096 }, slots: SLOTS }).establish(MODERN);
      let left = 0;
      c.takes = (length) => {
        const n = Math.min(length, left);
        left -= n;
        return n;
      };
      for (let i = 0; i < 40; i++) {
        left = perRound;
        c.engine.resume(c.conn);
        c.run();
        roundTrip(c, c.peer, 200_000);
      }
      expect(c.info.receiveBuffer).toBe(FIRST);
      expect(c.info.receiveQueue).toBeLessThan(FIRST + 1024);
      expect(c.received).toBe(40 * perRound);
    }
  });

  test('after a pause counts what a round trip brings, not what came since', () => {
    const c = new TcpContext({ limits: { chunks: 4096 }, slots: SLOTS }).establish(MODERN);
    for (let i = 0; i < 30; i++) {
      roundTrip(c, c.peer, 12_000);
      c.pass(2000);
    }
    expect(c.info.receiveBuffer).toBe(FIRST);
  });

  test('without window scaling never tells more than a field holds, nor says the same again', () => {
    const c = new TcpContext().establish({ mss: 1460 });
    for (let i = 0; i < 10; i++) roundTrip(c, c.peer, 65_000);
    expect(c.info.receiveBuffer).toBe(FIRST);
    c.engine.resume(c.conn);
    c.run();
    c.peer.expectNothing();
  });

  test('grows no further than its limit', () => {
    const c = new TcpContext({ limits: { chunks: 4096, receiveBufferMax: 150_000 }, slots: SLOTS }).establish(
      MODERN,
    );
    expect(scaleOf(c)).toBe(2);
    for (let i = 0; i < 20; i++) roundTrip(c, c.peer, 1e6);
    expect(c.info.receiveBuffer).toBe(150_000);
  });
});

describe('one budget', () => {
  const limits = { chunks: 1024, connections: 16 };

  /** More peers, all connected. */
  function connected(c: TcpContext, count: number): [Peer, number][] {
    c.listen();
    return Array.from({ length: count }, (_, i) => {
      const peer = c.addPeer(6000 + i);
      peer.inject({ flags: 'S', options: MODERN });
      peer.inject();
      peer.take();
      return [peer, c.conn];
    });
  }

  test('hungry connections share evenly, whoever came first, and a part stays for the next', () => {
    const c = new TcpContext({ limits: { ...limits, chunks: 300 }, slots: SLOTS });
    c.handlers.data = (_conn, _at, length) => length;
    const peers = connected(c, 4);
    const size = (i: number) => c.engine.info(peers[i][1])?.receiveBuffer ?? 0;
    for (let i = 0; i < 12; i++) roundTrip(c, peers[0][0], 1e6);
    const max = c.engine.memory().grownMax;
    expect(size(0)).toBeGreaterThan(0.48 * max);
    for (let i = 0; i < 20; i++) for (const [peer] of peers) roundTrip(c, peer, 1e6);
    const sizes = peers.map((_, i) => size(i));
    for (const bytes of sizes) {
      expect(bytes).toBeGreaterThan(0.15 * max);
      expect(bytes).toBeLessThan(0.3 * max);
    }
    expect(c.engine.memory().grown).toBe(sizes.reduce((a, b) => a + b));
    expect(c.engine.memory().grown).toBeLessThanOrEqual(max);
    expect(c.engine.tcp.counters.windowsNotGrown).toBeGreaterThan(0);
    for (const [, conn] of peers) c.engine.abort(conn);
    c.run();
    auditEngine(c.engine);
  });

  test('what silent connections don’t need goes to those who do; what they were told stands', () => {
    const c = new TcpContext({ limits, slots: SLOTS });
    c.handlers.data = (_conn, _at, length) => length;
    const peers = connected(c, 3);
    const [first, conn] = peers[0];
    for (let i = 0; i < 12; i++) roundTrip(c, first, 1e6);
    const told = edges.get(first) ?? 0;
    expect(told - first.sndNxt).toBeGreaterThan(4 * FIRST);
    c.pass(1500);
    for (let i = 0; i < 12; i++) for (const [peer] of peers.slice(1)) roundTrip(c, peer, 1e6);
    expect(c.engine.tcp.counters.windowsReclaimed).toBe(1);
    expect(c.engine.info(conn)?.receiveBuffer).toBe(FIRST);
    // It comes back and uses what it was told.
    const before = c.engine.info(conn)?.rcvNxt ?? 0;
    let sent = 0;
    while (first.sndNxt < told) {
      const n = Math.min(MSS, told - first.sndNxt);
      first.inject({ length: n });
      sent += n;
    }
    expect(((c.engine.info(conn)?.rcvNxt ?? 0) - before) | 0).toBe(sent);
  });

  test('under pressure no window grows, and those of programs that leave data stop moving', () => {
    const c = new TcpContext({ limits, slots: SLOTS });
    const [[peer, conn]] = connected(c, 1);
    const { chunks, counters } = c.engine.tcp;
    // As if others held half of the memory.
    const held = Array.from({ length: chunks.count >> 1 }, () => chunks.take());
    for (let i = 0; i < 10; i++) expect(roundTrip(c, peer, 60_000)).toBeGreaterThan(25_000);
    expect(c.engine.info(conn)).toMatchObject({ receiveBuffer: FIRST, memory: 'pressure' });
    expect(counters.memoryPressures).toBe(1);
    expect(counters.windowsNotGrown).toBeGreaterThan(0);
    for (let i = chunks.count >> 2; i > 0; i--) held.push(chunks.take());
    roundTrip(c, peer, 60_000);
    expect(c.engine.info(conn)?.memory).toBe('high');
    // A program that reads as it goes may always be sent a few segments; one that doesn't, nothing new.
    for (let i = 0; i < 10; i++) expect(roundTrip(c, peer, 60_000)).toBeGreaterThanOrEqual(4 * MSS - 512);
    c.takes = () => 0;
    for (let i = 0; i < 10; i++) roundTrip(c, peer, 60_000);
    expect(roundTrip(c, peer, 60_000)).toBe(0);
    expect(counters.windowsHeld).toBeGreaterThan(0);
    expect(counters.receiveNoMemory).toBe(0);
    c.takes = (length) => length;
    c.engine.resume(conn);
    c.run();
    for (const s of peer.take()) edges.set(peer, s.ack + (s.window << 9));
    expect(roundTrip(c, peer, 60_000)).toBeGreaterThanOrEqual(4 * MSS - 512);
    for (const chunk of held) chunks.give(chunk);
    for (let i = 0; i < 5; i++) roundTrip(c, peer, 200_000);
    expect(c.engine.info(conn)?.memory).toBe('calm');
    expect(c.engine.info(conn)?.receiveBuffer).toBeGreaterThan(FIRST);
    expect(counters).toMatchObject({ memoryPressures: 1, memoryHighs: 1 });
  });

  test('in-order data takes the place of what the same connection keeps out of order', () => {
    const c = new TcpContext({ limits: { chunks: 64, connections: 16 } }).establish(MODERN);
    const { chunks, counters } = c.engine.tcp;
    for (let i = 0; i < 10; i++) c.peer.inject({ seq: 5001 + 4000 * i, length: MSS });
    expect(c.info.outOfOrder).toBe(10 * MSS);
    const held: number[] = [];
    while (chunks.free > 0) held.push(chunks.take());
    c.takes = () => 0;
    c.peer.inject({ seq: 1, length: MSS });
    expect(c.info.receiveQueue).toBe(MSS);
    expect(counters).toMatchObject({ receiveNoMemory: 0, outOfOrderPruned: 1, sackReneged: 1 });
    // What the peer needs first is what stayed.
    c.peer.take();
    c.peer.inject({ seq: 1, length: 1 });
    expect(c.info.outOfOrder).toBeGreaterThan(0);
    c.engine.abort(c.conn);
    c.run();
    for (const chunk of held) chunks.give(chunk);
    auditEngine(c.engine);
  });

  test('very short: silent connections lose what they keep out of order, and need it not hold up others', () => {
    const c = new TcpContext({ limits: { chunks: 64, connections: 16 } });
    c.handlers.data = (_conn, _at, length) => length;
    const peers = connected(c, 3);
    for (const [peer] of peers)
      for (let i = 0; i < 8; i++) peer.inject({ seq: 5001 + 4000 * i, length: MSS });
    const { chunks, counters } = c.engine.tcp;
    expect(chunks.inUse).toBe(24);
    c.pass(2000);
    const held: number[] = [];
    while (chunks.inUse < 48) held.push(chunks.take());
    peers[0][0].inject({ length: 10 });
    peers[0][0].inject({ length: 10 });
    expect(counters.outOfOrderPruned).toBe(2);
    expect(chunks.inUse).toBe(24 + 8);
    expect(c.engine.info(peers[1][1])?.outOfOrder).toBe(0);
    for (const [, conn] of peers) c.engine.abort(conn);
    c.run();
    for (const chunk of held) chunks.give(chunk);
    auditEngine(c.engine);
  });
});

describe('a size that the program chose', () => {
  test('is fixed from the start, for one connection or all of a listener', () => {
    const c = new TcpContext();
    c.engine.listen({ port: 80, receiveBuffer: 200_000, sendBuffer: 3000 }, c.handlers);
    c.peer.inject({ flags: 'S', options: MODERN });
    expect(c.peer.expect({ flags: 'S.', window: 65_535 }).options.windowScale).toBe(2);
    c.peer.inject();
    for (let i = 0; i < 10; i++) roundTrip(c, c.peer, 150_000);
    expect(c.info).toMatchObject({
      receiveBuffer: 200_000,
      receiveBufferTunes: false,
      sendBuffer: 3000,
      sendBufferTunes: false,
    });
  });

  test('may change: more is told at once, less by not moving, and 0 lets it tune itself again', () => {
    const c = new TcpContext({ limits: { chunks: 4096 }, slots: SLOTS }).establish(MODERN);
    roundTrip(c, c.peer, 20_000);
    c.engine.setReceiveBuffer(c.conn, 1 << 20);
    c.run();
    const { ack, window } = c.peer.expect();
    expect(window << 9).toBe(1 << 20);
    edges.set(c.peer, ack + (window << 9));
    c.engine.setReceiveBuffer(c.conn, 100_000);
    c.run();
    c.peer.expectNothing();
    // The edge stands until the window has shrunk to what is left.
    const edge = ack + (window << 9);
    while (edge - c.peer.sndNxt > 2 * 100_000) {
      c.peer.inject({ length: MSS });
      for (const s of c.peer.take()) {
        expect(s.ack + (s.window << 9)).toBeGreaterThan(edge - 512);
        expect(s.ack + (s.window << 9)).toBeLessThanOrEqual(edge);
      }
    }
    for (let i = 0; i < 10; i++) roundTrip(c, c.peer, 1e6);
    expect(c.info.receiveBuffer).toBe(100_000);
    expect((edges.get(c.peer) ?? 0) - c.peer.sndNxt).toBeLessThanOrEqual(100_000 + 512);
    c.engine.setReceiveBuffer(c.conn, 0);
    for (let i = 0; i < 10; i++) roundTrip(c, c.peer, 500_000);
    expect(c.info.receiveBuffer).toBeGreaterThanOrEqual(900_000);
    c.engine.setReceiveBuffer(c.conn, 5000);
    expect(c.engine.memory().grown).toBe(0);
    // No further than the scale reaches.
    c.engine.setReceiveBuffer(c.conn, 2 ** 30);
    expect(c.info.receiveBuffer).toBe(0xffff << 9);
  });

  test('must make sense', () => {
    const c = new TcpContext().establish();
    for (const bytes of [-1, 1, 255, 1.5, Number.NaN, 2 ** 31]) {
      expect(() => c.engine.setReceiveBuffer(c.conn, bytes)).toThrow('ERR_BUFFER_SIZE');
      expect(() => c.engine.setSendBuffer(c.conn, bytes)).toThrow('ERR_BUFFER_SIZE');
      expect(() => c.engine.listen({ port: 99, receiveBuffer: bytes }, {})).toThrow('ERR_BUFFER_SIZE');
      expect(() => c.engine.connect({ address: '10.0.0.2', port: 9, sendBuffer: bytes }, {})).toThrow(
        'ERR_BUFFER_SIZE',
      );
    }
    expect(() => c.engine.setNotSentLowWater(c.conn, -1)).toThrow('ERR_BUFFER_SIZE');
    c.engine.setReceiveBuffer(12_345, 5000);
    expect(c.engine.staleHandles).toBe(1);
  });
});
