/** Opening connections: RFC 9293 3.5, 3.10.7.2 to 3.10.7.4, and what SYNs negotiate. */
import { describe, expect, test } from 'vitest';
import { MODERN, TcpContext } from './testing.ts';

describe('passive open', () => {
  test('SYN, SYN-ACK, ACK', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S', options: MODERN });
    const synAck = c.peer.expect({ flags: 'S.', seq: 0, ack: 1, window: 65_535, length: 0 });
    expect(synAck.options).toMatchObject({ mss: 1460, sackPermitted: true, windowScale: 9 });
    // RFC 7323 3.2: the SYN-ACK echoes the SYN's TSval.
    expect(synAck.options.timestamps?.echo).toBe(10_000);
    expect(c.events()).toEqual([]);
    c.peer.inject();
    expect(c.events()).toEqual(['open']);
    expect(c.state).toBe('ESTABLISHED');
    c.peer.expectNothing();
    expect(c.info).toMatchObject({
      mss: 1448,
      sndWindowScale: 7,
      rcvWindowScale: 9,
      timestamps: true,
      sack: true,
    });
  });

  test('what the peer does not offer is not used', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    expect(c.peer.expect({ flags: 'S.' }).options).toEqual({ mss: 1460 });
    c.peer.inject();
    // RFC 9293 3.7.1, MUST-15: 536 when there is no MSS option.
    expect(c.info).toMatchObject({
      mss: 536,
      timestamps: false,
      sack: false,
      sndWindowScale: 0,
      rcvWindowScale: 0,
    });
    const six = new TcpContext({ version: 6 }).establish();
    expect(six.info.mss).toBe(1220);
  });

  test.each([
    [{ mss: 1460 }, 4, 1500, 1460],
    [{ mss: 9000 }, 4, 1500, 1460],
    [{ mss: 1200 }, 4, 1500, 1200],
    [{ mss: 1460 }, 6, 1500, 1440],
    [{ mss: 1460 }, 4, 600, 560],
    // Absurd values only make us send headers.
    [{ mss: 1 }, 4, 1500, 64],
  ] as const)('MSS option %j over IPv%d with MTU %d gives segments of %d', (options, version, mtu, mss) => {
    const c = new TcpContext({ version, mtu }).establish(options);
    expect(c.info.mss).toBe(mss);
    c.write(5000);
    c.peer.expect({ length: mss });
  });

  test('without options on SYNs there is nothing to agree on', () => {
    const c = new TcpContext({ limits: { synOptions: false } }).listen();
    c.peer.inject({ flags: 'S', options: MODERN });
    expect(c.peer.expect({ flags: 'S.' }).options).toEqual({});
    c.peer.inject();
    expect(c.info).toMatchObject({ mss: 1460, timestamps: false, sack: false, sndWindowScale: 0 });
  });

  test('the handshake measures the RTT without timestamps, unless the SYN-ACK went twice', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.pass(70);
    c.peer.inject();
    expect(c.info.rtt_ms).toBeCloseTo(70, 0);
    const again = new TcpContext().listen();
    again.peer.inject({ flags: 'S' });
    again.pass(1100);
    again.peer.inject();
    expect(again.info.rtt_ms).toBe(0);
  });

  test('a window scale above 14 is taken as 14 (RFC 7323 2.3)', () => {
    const c = new TcpContext().establish({ windowScale: 15 }, { window: 1000 });
    expect(c.info).toMatchObject({ sndWindowScale: 14, sndWnd: 1000 << 14 });
  });

  test('the window of a SYN is never scaled, that of later segments is (RFC 7323 2.2)', () => {
    const c = new TcpContext();
    c.connect();
    c.peer.expect({ flags: 'S', window: 65_535 });
    c.peer.inject({ flags: 'S.', window: 1000, options: { windowScale: 3 } });
    expect(c.info.sndWnd).toBe(1000);
    // Ours is 2^9 units, for up to 32 MiB; the buffer starts at 64 KiB.
    c.peer.expect({ flags: '.', window: 65_536 >> 9 });
    c.peer.inject({ window: 1000 });
    expect(c.info.sndWnd).toBe(8000);
  });

  test('the SYN-ACK is repeated after 1, 2, 4 s …, then the half-open connection is forgotten', () => {
    const c = new TcpContext({ limits: { synAckRetries: 3 } }).listen();
    c.peer.inject({ flags: 'S' });
    c.pass(60_000);
    expect(c.peer.take().map((s) => [s.flags, s.at])).toEqual([
      ['S.', 0],
      ['S.', 1000],
      ['S.', 3000],
      ['S.', 7000],
    ]);
    expect(c.engine.tcp.minis.inUse).toBe(1);
    c.peer.inject({ length: 10 });
    c.peer.expect({ flags: 'R' });
  });

  test('a repeated SYN gets the SYN-ACK again, with the same number', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.peer.expect({ flags: 'S.', seq: 0 });
    c.peer.inject({ flags: 'S', seq: 0 });
    c.peer.expect({ flags: 'S.', seq: 0, ack: 1 });
    expect(c.engine.tcp.minis.inUse).toBe(2);
  });

  test('a repeated SYN’s timestamp is what the next SYN-ACK echoes (RFC 7323 4.3)', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.expect({ flags: 'S.' });
    c.pass(900);
    c.peer.inject({ flags: 'S', seq: 0, options: MODERN });
    expect(c.peer.expect({ flags: 'S.' }).options.timestamps?.echo).toBe(10_900);
  });

  test('another SYN in the window takes a half-open connection back to LISTEN (RFC 9293 3.10.7.4)', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.peer.take();
    c.peer.inject({ flags: 'S', seq: 500 });
    c.peer.expectNothing();
    expect(c.engine.tcp.minis.inUse).toBe(1);
    c.peer.inject({ flags: 'S', seq: 500 });
    c.peer.expect({ flags: 'S.', ack: 501 });
    // Out of the window it is challenged, and the peer's RST to that would end it.
    c.peer.inject({ flags: 'S', seq: 200_000 });
    c.peer.expect({ flags: '.', ack: 501 });
    expect(c.engine.tcp.minis.inUse).toBe(2);
  });

  test('SYN with FIN is a SYN; the FIN can come again', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'SF' });
    c.peer.expect({ flags: 'S.', ack: 1 });
    c.peer.inject({ flags: 'F.', seq: 1 });
    expect(c.events()).toEqual(['open', 'end']);
  });

  test('after a lost SYN-ACK 3 s pass before data is repeated (RFC 6298 5.7)', () => {
    for (const [options, rto] of [
      [{ mss: 1000 }, 3000],
      // An RTT by the timestamps tells better.
      [{ mss: 1000, timestamps: { value: 1, echo: 0 } }, 200],
    ] as const) {
      const c = new TcpContext().listen();
      c.peer.inject({ flags: 'S', options });
      c.pass(1000);
      expect(c.peer.take().length).toBe(2);
      c.pass(10);
      c.peer.inject();
      expect(c.info.rto_ms).toBe(rto);
      c.write(100);
      c.peer.expect({ seq: 1, length: 100 });
      c.pass(rto - 1);
      c.peer.expectNothing();
      c.pass(1);
      c.peer.expect({ seq: 1, length: 100 });
    }
  });

  test('data on the handshake’s last ACK is delivered', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.peer.expect();
    c.peer.inject({ flags: 'P.', length: 100 });
    expect(c.events()).toEqual(['open', 'data 100']);
  });

  test('gives a first RTT, from the last ACK; not from data that came in its place, whenever that was', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S', options: MODERN });
    c.pass(50);
    c.peer.inject();
    expect(c.info.rtt_ms).toBe(50);
    const d = new TcpContext().listen();
    d.peer.inject({ flags: 'S', options: MODERN });
    d.pass(900);
    d.peer.inject({ length: 10 });
    expect(d.info.rtt_ms).toBe(0);
  });

  test('data and FIN on the handshake’s last ACK', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.peer.expect();
    c.peer.inject({ flags: 'FP.', length: 100 });
    expect(c.events()).toEqual(['open', 'data 100', 'end']);
    expect(c.state).toBe('CLOSE-WAIT');
    c.peer.expect({ flags: '.', ack: 102 });
  });

  test('data on the SYN is not taken, and can come again', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S', seq: 0, length: 50 });
    c.peer.expect({ flags: 'S.', ack: 1 });
    c.peer.inject({ seq: 1 });
    c.peer.inject({ seq: 1, length: 50 });
    expect(c.events()).toEqual(['open', 'data 50']);
  });

  test('an ACK of something else is reset, and the half-open connection stays (RFC 9293 3.10.7.4)', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.peer.expect();
    c.peer.inject({ ack: 500 });
    c.peer.expect({ flags: 'R', seq: 500 });
    c.peer.inject({ ack: 1 });
    expect(c.events()).toEqual(['open']);
  });

  test('RST with the exact number ends a half-open connection, another in the window is challenged (RFC 5961 3)', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.peer.expect();
    c.peer.inject({ flags: 'R', seq: 2 });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    c.peer.inject({ flags: 'R', seq: 100_000 });
    c.peer.expectNothing();
    expect(c.engine.tcp.minis.inUse).toBe(2);
    c.peer.inject({ flags: 'R', seq: 1 });
    c.peer.expectNothing();
    expect(c.engine.tcp.minis.inUse).toBe(1);
  });

  test('nobody listens: RST', () => {
    const c = new TcpContext();
    c.peer.inject({ flags: 'S' });
    // RFC 9293 3.10.7.1: sequence number 0, and the SYN acknowledged.
    c.peer.expect({ flags: 'R.', seq: 0, ack: 1 });
    c.peer.inject({ flags: '.', ack: 1234 });
    c.peer.expect({ flags: 'R', seq: 1234 });
    c.peer.inject({ flags: 'R' });
    c.peer.inject({ flags: 'R.' });
    c.peer.expectNothing();
  });

  test('a half-open connection answers what makes no sense twice a second, or two of them would never stop', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.peer.expect({ flags: 'S.' });
    for (let second = 0; second < 2; second++) {
      for (let i = 0; i < 10; i++) c.peer.inject({ flags: 'S.', seq: 5000, ack: 1 });
      c.peer.expect({ flags: '.', ack: 1 });
      c.peer.expectNothing();
      c.pass(500);
    }
  });

  test('a removed listener refuses what was half open, also when another has come', () => {
    const c = new TcpContext().listen();
    c.peer.inject({ flags: 'S' });
    c.peer.expect();
    c.engine.unlisten(c.listener);
    const told: string[] = [];
    const other = c.engine.listen({ port: 81, backlog: 1 }, { open: () => told.push('open') });
    c.peer.inject();
    c.peer.expect({ flags: 'R' });
    expect(told).toEqual([]);
    expect(c.events()).toEqual([]);
    expect(c.engine.tcp.listeners[other]?.halfOpen).toBe(0);
    expect(c.engine.tcp.minis.inUse).toBe(1);
  });

  test('the first sequence number rises with time, and differs between ports (RFC 6528)', () => {
    const iss = (port: number, wait_ms: number) => {
      const c = new TcpContext().listen();
      c.pass(wait_ms);
      const peer = c.addPeer(port);
      peer.inject({ flags: 'S' });
      peer.expect();
      return peer.irs;
    };
    expect((iss(6000, 1000) - iss(6000, 0)) | 0).toBe(250_000);
    expect(iss(6001, 0)).not.toBe(iss(6000, 0));
  });
});

test('timestamps’ offsets tell nothing of the first sequence number, nor of each other', () => {
  // Both were made of one hash once: who saw them could compute the key.
  const c = new TcpContext().listen();
  const offsets = new Set<number>();
  const differences = new Set<number>();
  for (let port = 6000; port < 6020; port++) {
    const peer = c.addPeer(port);
    peer.inject({ flags: 'S', options: MODERN });
    const offset = (peer.expect().options.timestamps!.value - c.now) | 0;
    const hash = (peer.irs - 250 * c.now) | 0;
    offsets.add(offset);
    differences.add(Math.imul(offset, inverse(0x9e3779b1)) ^ hash);
  }
  expect(offsets.size).toBe(20);
  expect(differences.size).toBe(20);
});

/** Of an odd number, modulo 2^32. */
function inverse(n: number): number {
  let x = n;
  for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(n, x));
  return x;
}

describe('active open', () => {
  test('SYN, SYN-ACK, ACK', () => {
    const c = new TcpContext().connect();
    const syn = c.peer.expect({ flags: 'S', seq: 0, ack: 0, window: 65_535 });
    expect(syn.options).toMatchObject({ mss: 1460, sackPermitted: true, windowScale: 9 });
    expect(c.state).toBe('SYN-SENT');
    c.pass(30);
    c.peer.inject({ flags: 'S.', options: MODERN });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    expect(c.events()).toEqual(['open']);
    expect(c.info).toMatchObject({ state: 'ESTABLISHED', rtt_ms: 30 });
  });

  test('the SYN is repeated after 1, 2, 4 s …, then the program is told (RFC 6298 2.1, 5.5)', () => {
    const c = new TcpContext({ limits: { synRetries: 2 } }).connect();
    c.pass(60_000);
    expect(c.peer.take().map((s) => [s.flags, s.seq, s.at])).toEqual([
      ['S', 0, 0],
      ['S', 0, 1000],
      ['S', 0, 3000],
    ]);
    expect(c.events()).toEqual(['close 3']);
    expect(c.engine.tcp.blocks.inUse).toBe(0);
  });

  test('an attempt lasts for 3 minutes and more (RFC 9293 3.8.3, MUST-23), or the user timeout if one is set', () => {
    const c = new TcpContext().connect();
    c.pass(180_000);
    expect(c.events()).toEqual([]);
    c.pass(120_000);
    expect(c.events()).toEqual(['close 3']);
    const d = new TcpContext().connect();
    d.engine.setUserTimeout(d.conn, 5000);
    d.pass(10_000);
    expect(d.events()).toEqual(['close 3']);
  });

  test('after a lost SYN the RTO is 3 s, or by the echoed timestamp', () => {
    for (const [options, rto] of [
      [{ mss: 1000 }, 3000],
      [{ mss: 1000, timestamps: { value: 1, echo: 0 } }, 200],
    ] as const) {
      const c = new TcpContext().connect();
      c.pass(1000);
      c.peer.take();
      c.pass(20);
      c.peer.inject({ flags: 'S.', options });
      expect(c.info).toMatchObject({ rto_ms: rto, rtt_ms: rto === 200 ? 20 : 0 });
    }
  });

  test('data and FIN on the SYN-ACK are taken', () => {
    const c = new TcpContext().connect();
    c.peer.take();
    c.peer.inject({ flags: 'SFP.', length: 20 });
    expect(c.events()).toEqual(['open', 'data 20', 'end']);
    c.peer.expect({ flags: '.', ack: 22 });
  });

  test('refused by RST with the right ACK, and by no other', () => {
    const c = new TcpContext().connect();
    c.peer.expect();
    c.peer.inject({ flags: 'R.', ack: 0 });
    c.peer.inject({ flags: 'R.', ack: 2 });
    c.peer.inject({ flags: 'R' });
    c.peer.expectNothing();
    expect(c.state).toBe('SYN-SENT');
    c.peer.inject({ flags: 'R.', ack: 1 });
    expect(c.events()).toEqual(['close 2']);
    c.peer.expectNothing();
  });

  test('a SYN-ACK of an old connection is reset, and the attempt goes on (RFC 9293 figure 9)', () => {
    const c = new TcpContext().connect();
    c.peer.expect();
    c.peer.inject({ flags: 'S.', seq: 0, ack: 77 });
    c.peer.expect({ flags: 'R', seq: 77 });
    expect(c.state).toBe('SYN-SENT');
    c.peer.inject({ flags: 'S.', seq: 0 });
    expect(c.events()).toEqual(['open']);
  });

  test('segments without SYN are dropped', () => {
    const c = new TcpContext().connect();
    c.peer.expect();
    for (const flags of ['.', 'P.', 'F.']) c.peer.inject({ flags, seq: 0, ack: 1, length: 5 });
    c.peer.inject({ flags: 'F', seq: 0 });
    c.peer.expectNothing();
    expect(c.events()).toEqual([]);
    expect(c.state).toBe('SYN-SENT');
  });

  test('what is written before the connection is open goes out with it', () => {
    const c = new TcpContext().connect();
    c.peer.expect();
    c.write(100);
    c.peer.expectNothing();
    c.peer.inject({ flags: 'S.' });
    c.peer.expect({ flags: 'P.', seq: 1, ack: 1, length: 100 });
  });

  test('close() or shutdown() before the connection is open ends the attempt; with data written it goes on', () => {
    for (const how of ['close', 'shutdown'] as const) {
      const c = new TcpContext().connect();
      c.peer.expect();
      c.engine[how](c.conn);
      c.run();
      expect(c.events()).toEqual(['close 0']);
      c.peer.inject({ flags: 'S.' });
      c.peer.expect({ flags: 'R' });
    }
    const c = new TcpContext().connect();
    c.peer.expect();
    c.write(10);
    c.engine.shutdown(c.conn);
    c.peer.inject({ flags: 'S.' });
    c.peer.expect({ flags: 'FP.', length: 10 });
    expect(c.state).toBe('FIN-WAIT-1');
  });

  test('abort() before the connection is open says nothing to the peer', () => {
    const c = new TcpContext().connect();
    c.peer.expect();
    c.engine.abort(c.conn);
    c.run();
    c.peer.expectNothing();
    expect(c.events()).toEqual(['close 5']);
  });
});

describe('simultaneous open (RFC 9293 figure 7)', () => {
  test('SYNs cross, then SYN-ACKs cross', () => {
    const c = new TcpContext().connect();
    c.peer.expect({ flags: 'S' });
    c.peer.inject({ flags: 'S', options: MODERN });
    c.peer.expect({ flags: 'S.', seq: 0, ack: 1 });
    expect(c.state).toBe('SYN-RECEIVED');
    c.peer.inject({ flags: 'S.', seq: 0, ack: 1, options: MODERN });
    c.peer.expect({ flags: '.', seq: 1, ack: 1 });
    expect(c.events()).toEqual(['open']);
    expect(c.state).toBe('ESTABLISHED');
  });

  test('the peer’s plain ACK does as well, and data flows', () => {
    const c = new TcpContext().connect();
    c.peer.expect();
    c.peer.inject({ flags: 'S' });
    c.peer.expect({ flags: 'S.' });
    c.peer.inject({ length: 10 });
    expect(c.events()).toEqual(['open', 'data 10']);
    c.peer.expect({ flags: '.', ack: 11 });
  });

  test('the SYN-ACK is repeated, a wrong ACK is reset, RST means refused', () => {
    const c = new TcpContext().connect();
    c.peer.expect();
    c.peer.inject({ flags: 'S' });
    c.peer.expect({ flags: 'S.' });
    c.pass(1000);
    c.peer.expect({ flags: 'S.', at: 1000 });
    c.peer.inject({ ack: 9 });
    c.peer.expect({ flags: 'R', seq: 9 });
    c.peer.inject({ flags: 'R' });
    expect(c.events()).toEqual(['close 2']);
  });

  test('the SYN-ACK is repeated where the peer’s SYN came before ours had left', () => {
    const c = new TcpContext();
    c.open();
    c.peer.inject({ flags: 'S' });
    c.peer.expect({ flags: 'S.', seq: 0, ack: 1 });
    // The peer's ACK is lost, and it has nothing to say.
    c.pass(1000);
    c.peer.expect({ flags: 'S.', seq: 0, ack: 1, at: 1000 });
  });
});
