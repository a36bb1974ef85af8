/** Answers in states and to segments that are seldom seen: RFC 9293 3.10.7, and what limits make of them. */
import { describe, expect, test } from 'vitest';
import { MODERN, TcpContext } from './testing.ts';

describe('LISTEN (RFC 9293 3.10.7.2)', () => {
  test('drops what is neither SYN nor ACK', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'F' });
    c.peer.inject({ flags: 'P', length: 5 });
    c.peer.expectNothing();
    expect(c.engine.tcp.counters).toMatchObject({ listenIgnored: 2, resetsOut: 0 });
    // Without a listener nobody has it.
    c.engine.unlisten(c.listener);
    c.peer.inject({ flags: 'F' });
    c.peer.expect({ flags: 'R.' });
  });

  test('opens by SYN with FIN, unless they are dropped', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'SF' });
    c.peer.expect({ flags: 'S.' });
    const d = new TcpContext({ limits: { dropSynFin: true } }).listen();
    d.peer.inject({ flags: 'SF' });
    d.peer.expectNothing();
    expect(d.engine.tcp.counters.synFinDropped).toBe(1);
  });
});

describe('simultaneous open', () => {
  test('text on the peer’s SYN is told once the connection stands', () => {
    const c = new TcpContext();
    c.connect();
    c.peer.expect({ flags: 'S' });
    c.peer.inject({ flags: 'S', seq: 0, length: 20 });
    c.peer.expect({ flags: 'S.', ack: 1 });
    expect(c.events()).toEqual([]);
    c.peer.inject({ flags: '.', seq: 21, ack: 1 });
    expect(c.events()).toEqual(['open', 'data 20']);
    expect(c.received).toBe(20);
  });
});

describe('old segments', () => {
  test('count for what they acknowledge when they reach RCV.NXT', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ length: 10 });
    c.peer.take();
    c.write(100);
    c.peer.expect({ length: 100 });
    c.peer.inject({ seq: 1, length: 10, ack: 101 });
    expect(c.info.sendQueue).toBe(0);
    expect(c.info.receiveQueue).toBe(0);
    c.peer.expect({ flags: '.', ack: 11 });
    // Entirely old: only answered.
    c.write(100);
    c.peer.take();
    c.peer.inject({ seq: 1, length: 5, ack: 201 });
    expect(c.info.sendQueue).toBe(100);
  });
});

describe('TIME-WAIT', () => {
  test('drops what acknowledges nothing (RFC 9293 3.10.7.4, fifth step)', () => {
    const c = new TcpContext().establish();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.inject({ flags: 'F.' });
    c.peer.take();
    c.peer.inject({ flags: 'F', seq: 1 });
    c.peer.expectNothing();
    c.peer.inject({ flags: 'F.', seq: 1 });
    c.peer.expect({ flags: '.' });
  });
});

describe('what SYNs offer', () => {
  test.each([
    ['timestamps', 'timestamps'],
    ['windowScale', 'windowScale'],
    ['sack', 'sackPermitted'],
  ])('without %s none is offered, nor agreed to', (limit, option) => {
    const c = new TcpContext({ limits: { [limit]: false } });
    c.connect();
    expect(c.peer.expect({ flags: 'S' }).options).not.toHaveProperty(option);
    const d = new TcpContext({ limits: { [limit]: false } }).listen();
    d.peer.inject({ flags: 'S', options: MODERN });
    const { options } = d.peer.expect({ flags: 'S.' });
    expect(options).not.toHaveProperty(option);
    expect(Object.keys(options).length).toBeGreaterThan(1);
  });
});

describe('RFC 793’s word instead of RFC 5961’s', () => {
  test('RST anywhere in the window ends the connection', () => {
    const c = new TcpContext({ limits: { blindReset: true } }).establish();
    c.peer.inject({ flags: 'R', seq: 70_000 });
    expect(c.state).toBe('ESTABLISHED');
    c.peer.inject({ flags: 'R', seq: 100 });
    expect(c.events()).toEqual(['close 1']);
    c.peer.expectNothing();
  });

  test('so does SYN, which is answered by RST; in TIME-WAIT too', () => {
    const c = new TcpContext({ limits: { blindSyn: true } }).establish();
    c.peer.inject({ flags: 'S', seq: 100 });
    expect(c.events()).toEqual(['close 1']);
    c.peer.expect({ flags: 'R.' });
    const d = new TcpContext({ limits: { blindSyn: true } }).establish();
    d.engine.shutdown(d.conn);
    d.run();
    d.peer.inject({ flags: 'F.' });
    d.peer.take();
    d.peer.inject({ flags: 'S', seq: 100 });
    expect(d.peer.take()[0].flags).toContain('R');
    expect(d.engine.tcp.table.count).toBe(0);
  });
});

describe('habits', () => {
  test('plain: FINs are acknowledged at once', () => {
    const c = new TcpContext().establish();
    c.peer.inject({ flags: 'F.', length: 10 });
    c.peer.expect({ flags: '.', ack: 12 });
  });

  test('linux: the ACK of a FIN that ends data waits for ours', () => {
    const c = new TcpContext({ limits: { habits: 'linux' } }).establish();
    c.peer.inject({ length: 10 });
    c.peer.take();
    c.peer.inject({ flags: 'F.' });
    c.peer.expectNothing();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.', ack: 12 });
    c.peer.expectNothing();
    // Of one that came without data it doesn't.
    const d = new TcpContext({ limits: { habits: 'linux' } }).establish();
    d.peer.inject({ flags: 'F.' });
    d.peer.expect({ flags: '.', ack: 2 });
  });

  test('linux: a window that opens is told only when it is twice what it was', () => {
    for (const habits of ['plain', 'linux'] as const) {
      const c = new TcpContext({ limits: { habits } }).establish();
      let left = 0;
      c.takes = (length) => Math.min(length, left);
      const unread = (bytes: number) => {
        for (let n = 0; n < bytes; n += 1000) c.peer.inject({ length: 1000 });
        c.pass(500);
        c.peer.take();
        left = bytes;
        c.engine.resume(c.conn);
        c.run();
        left = 0;
        return c.peer.take().length;
      };
      expect(unread(10_000)).toBe(habits === 'linux' ? 0 : 1);
      expect(unread(50_000)).toBe(1);
    }
  });

  test('linux: the SYN-ACK of a simultaneous open is not answered, nor is data of its SYN kept', () => {
    for (const habits of ['plain', 'linux'] as const) {
      const c = new TcpContext({ limits: { habits } });
      c.connect();
      c.run();
      c.peer.expect({ flags: 'S' });
      c.peer.inject({ flags: 'S', seq: 0, length: 5 });
      c.peer.expect({ flags: 'S.', ack: 1 });
      c.peer.inject({ flags: 'S.', seq: 0, ack: 1 });
      if (habits === 'plain') c.peer.expect({ flags: '.', ack: 6 });
      else c.peer.expectNothing();
      expect(c.info.state).toBe('ESTABLISHED');
    }
  });

  test('linux: a timeout takes the window for what was in flight, and the ACK that ends it counts', () => {
    for (const [habits, ssthresh, cwnd] of [
      ['plain', 2, 1],
      ['linux', 7, 2],
    ] as const) {
      const c = new TcpContext({ limits: { habits } }).establish({ mss: 1000, sackPermitted: true });
      const before = c.info.cwnd / 1000;
      expect(before).toBe(10);
      c.write(1000);
      c.pass(1500);
      expect(c.info).toMatchObject({ cwnd: 1000, ssthresh: ssthresh * 1000 });
      c.peer.take();
      c.peer.inject({ ack: 1001 });
      expect(c.info.cwnd).toBe(cwnd * 1000);
    }
  });

  test('bsd: a FIN that crosses ours is answered by ours again, a SYN-ACK for a listener not at all', () => {
    const c = new TcpContext({ limits: { habits: 'bsd' } }).establish();
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.', seq: 1 });
    c.peer.inject({ flags: 'F.', ack: 1 });
    c.peer.expect({ flags: 'F.', seq: 1, ack: 2 });
    const other = c.addPeer(6000);
    other.inject({ flags: 'S.', ack: 77 });
    other.expectNothing();
    expect(c.engine.tcp.counters.listenIgnored).toBe(1);
  });
});
