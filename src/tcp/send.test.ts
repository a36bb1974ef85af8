/** Send buffers: fixed, tuning themselves, with a low-water mark, and short of memory. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { auditEngine } from '../engine/testing.ts';
import { MODERN, TcpContext } from './testing.ts';

const FIRST = 65_536;

/** Acknowledges all that was sent, as after a round trip. */
function acknowledge(c: TcpContext): void {
  c.peer.take();
  c.peer.inject({ window: 65_535 });
}

describe('a send buffer that tunes itself', () => {
  test('holds 64 KiB at first, then two congestion windows', () => {
    const c = new TcpContext({ slots: 512 }).establish(MODERN);
    expect(c.write(200_000)).toBe(FIRST);
    expect(c.info).toMatchObject({ sendBuffer: FIRST, sendBufferTunes: true });
    for (let i = 0; i < 5; i++) {
      acknowledge(c);
      c.write(1e6);
      const { sendBuffer, sendQueue, cwnd } = c.info;
      expect(sendBuffer).toBe(Math.max(FIRST, 2 * cwnd));
      expect(sendQueue).toBe(sendBuffer);
    }
    expect(c.info.sendBuffer).toBeGreaterThan(2 * FIRST);
  });

  test('no further than its limit', () => {
    const c = new TcpContext({ slots: 512, limits: { sendBufferMax: 100_000 } }).establish(MODERN);
    for (let i = 0; i < 7; i++) {
      c.write(1e6);
      acknowledge(c);
    }
    c.write(1e6);
    expect(c.info).toMatchObject({ sendBuffer: 100_000, sendQueue: 100_000 });
  });

  test('says that it is writable while there is still something to send', () => {
    const c = new TcpContext({ slots: 512 }).establish(MODERN);
    for (let i = 0; i < 4; i++) {
      c.write(1e6);
      acknowledge(c);
    }
    c.write(1e6);
    c.events();
    const sent = c.peer.take();
    for (let i = 0; c.events().length === 0; i++) {
      expect(c.info.notSent).toBeGreaterThan(0);
      c.peer.inject({ ack: sent[i].seq + sent[i].length, window: 65_535 });
      sent.push(...c.peer.take());
    }
    expect(c.info.notSent).toBeGreaterThan(c.info.cwnd >> 2);
  });

  test('of one who sends little costs nothing, and stays as it is', () => {
    const c = new TcpContext().establish(MODERN);
    for (let i = 0; i < 100; i++) {
      c.write(1000);
      acknowledge(c);
    }
    expect(c.info.sendBuffer).toBe(FIRST);
    expect(c.engine.tcp.chunks.inUse).toBe(0);
  });
});

describe('sizes that the program chose', () => {
  test('may change while connected; what is queued stays', () => {
    const c = new TcpContext().establish(MODERN);
    c.engine.setSendBuffer(c.conn, 10_000);
    expect(c.write(50_000)).toBe(10_000);
    c.engine.setSendBuffer(c.conn, 5000);
    expect(c.info).toMatchObject({ sendBuffer: 5000, sendQueue: 10_000, sendBufferTunes: false });
    expect(c.engine.sendRoom(c.conn)).toBe(0);
    expect(c.write(1)).toBe(0);
    acknowledge(c);
    acknowledge(c);
    expect(c.events()).toEqual(['writable']);
    expect(c.engine.sendRoom(c.conn)).toBe(5000);
    c.engine.setSendBuffer(c.conn, 0);
    expect(c.engine.sendRoom(c.conn)).toBe(FIRST);
    expect(c.write(80_000)).toBe(FIRST);
  });

  test('a low-water mark: no more than that waits to be sent, and `writable` comes late', () => {
    for (const sendBuffer of [0, 300_000]) {
      const c = new TcpContext({ slots: 512, limits: { sendBuffer } }).establish(MODERN);
      for (let i = 0; i < 4; i++) {
        c.write(60_000);
        acknowledge(c);
      }
      while (c.info.sendQueue > 0) acknowledge(c);
      c.events();
      const { cwnd } = c.info;
      c.engine.setNotSentLowWater(c.conn, 4000);
      expect(c.info.notSentLowWater).toBe(4000);
      let taken = 0;
      for (let n = c.write(1e5); n > 0; n = c.write(1e5)) {
        taken += n;
        expect(c.info.notSent).toBeLessThanOrEqual(4000);
      }
      // All that the window lets out, and the mark's worth.
      expect(taken).toBeGreaterThan(cwnd - 1448);
      expect(taken).toBeLessThanOrEqual(cwnd + 4000);
      expect(c.events()).toEqual([]);
      // Room that a segment's ACK makes is told once half of the mark could be sent.
      for (let i = 0; c.events().length === 0; i++) {
        expect(i).toBeLessThan(10);
        const [s] = c.peer.take();
        c.peer.inject({ ack: s === undefined ? c.peer.rcvNxt : s.seq + s.length, window: 65_535 });
      }
      expect(c.info.notSent).toBeLessThanOrEqual(2000);
      c.engine.setNotSentLowWater(c.conn, 0);
      expect(c.info).toMatchObject({ notSentLowWater: 0, sendBufferTunes: sendBuffer === 0 });
      expect(c.write(20_000)).toBe(20_000);
      c.engine.abort(c.conn);
      c.run();
      auditEngine(c.engine);
    }
  });

  test('from the start: of what is accepted, and of what we open', () => {
    const c = new TcpContext();
    c.engine.listen({ port: 80, notSentLowWater: 3000, sendBuffer: 20_000 }, c.handlers);
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.inject({ window: 1000 });
    expect(c.info).toMatchObject({ notSentLowWater: 3000, sendBuffer: 20_000 });
    expect(c.write(50_000)).toBe(3000);
    const conn = c.engine.connect({ address: '10.0.0.2', port: 9, notSentLowWater: 2000 }, {});
    expect(c.engine.write(conn, new Uint8Array(9000))).toBe(2000);
    expect(c.engine.info(conn)).toMatchObject({ notSentLowWater: 2000, sendBuffer: FIRST });
  });

  test('any writes and ACKs: never more than the buffer, and whoever waits is told', () => {
    const step = fc.record({
      write: fc.integer({ min: 0, max: 40_000 }),
      acks: fc.integer({ min: 0, max: 8 }),
    });
    const sizes = fc.constantFrom(0, 500, 5000, 100_000);
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        sizes,
        fc.constantFrom(0, 300, 5000, 80_000),
        (steps, size, mark) => {
          const c = new TcpContext({ slots: 256, limits: { sendBuffer: size } }).establish(MODERN);
          c.engine.setNotSentLowWater(c.conn, mark);
          let waits = false;
          const unacknowledged: number[] = [];
          const collect = () => {
            for (const s of c.peer.take()) if (s.length > 0) unacknowledged.push(s.seq + s.length);
            if (c.events().includes('writable')) waits = false;
          };
          for (const { write, acks } of steps) {
            const room = c.engine.sendRoom(c.conn);
            const taken = c.write(write);
            expect(taken).toBe(Math.min(write, room));
            if (taken < write) waits = true;
            const { sendQueue, sendBuffer, notSent } = c.info;
            expect(sendQueue).toBeLessThanOrEqual(Math.max(sendBuffer, size));
            if (mark > 0) expect(notSent).toBeLessThanOrEqual(mark);
            collect();
            for (let i = 0; i < acks && unacknowledged.length > 0; i++) {
              c.peer.inject({ ack: unacknowledged.shift()!, window: 65_535 });
              collect();
            }
          }
          for (let i = 0; i < 1000 && c.info.sendQueue > 0; i++) {
            if (unacknowledged.length === 0) c.pass(300);
            collect();
            if (unacknowledged.length > 0) c.peer.inject({ ack: unacknowledged.shift()!, window: 65_535 });
            collect();
          }
          expect(c.info.sendQueue).toBe(0);
          expect(waits).toBe(false);
          expect(c.engine.tcp.chunks.inUse).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });
});
