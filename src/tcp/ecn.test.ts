/** ECN by hand: what handshakes agree on (RFC 3168 6.1.1, RFC 9768 table 2), and classic feedback. */
import { describe, expect, test } from 'vitest';
import type { EcnMode } from './ecn.ts';
import { MODERN, TcpContext } from './testing.ts';

const [NOT_ECT, ECT_1, ECT_0, CE] = [0, 1, 2, 3];

/** Flags by AE, CWR, ECE, as the context prints them behind others. */
function ace(bits: string): string {
  return `${bits[1] === '1' ? 'W' : ''}${bits[2] === '1' ? 'E' : ''}${bits[0] === '1' ? 'e' : ''}`;
}

function context(ecn: EcnMode, version: 4 | 6 = 4): TcpContext {
  return new TcpContext({ limits: { ecn }, version });
}

describe('the host that is asked (RFC 9768 table 2, 3.1.3)', () => {
  // SYN's AE CWR ECE, its IP-ECN, SYN-ACK's flags, feedback mode.
  test.each([
    ['111', NOT_ECT, '010', 'accurate'],
    ['111', ECT_1, '011', 'accurate'],
    ['111', ECT_0, '100', 'accurate'],
    ['111', CE, '110', 'accurate'],
    ['011', NOT_ECT, '001', 'classic'],
    // A classic SYN is never ECT, and there is no feedback that could tell who made it so.
    ['011', ECT_0, '000', 'none'],
    ['011', CE, '000', 'none'],
    ['000', NOT_ECT, '000', 'none'],
    ['000', CE, '000', 'none'],
    // Combinations of the future ask for AccECN.
    ['001', NOT_ECT, '010', 'accurate'],
    ['010', NOT_ECT, '010', 'accurate'],
    ['100', NOT_ECT, '010', 'accurate'],
    ['101', NOT_ECT, '010', 'accurate'],
    ['110', CE, '110', 'accurate'],
  ] as const)('answers a SYN with %s and IP-ECN %i by %s: %s', (asks, ecn, answer, mode) => {
    for (const version of [4, 6] as const) {
      for (const will of ['passive', 'on', 'accurate'] as const) {
        const c = context(will, version).listen();
        c.peer.inject({ flags: `S${ace(asks)}`, ecn, options: MODERN });
        // RFC 3168 6.1.1: SYN-ACKs are not ECT.
        const synAck = c.peer.expect({ flags: `S${ace(answer)}.`, ecn: NOT_ECT });
        const initial = { kind: 172, counters: [1, 0, 1] };
        expect(synAck.options.accEcn).toEqual(mode === 'accurate' ? initial : undefined);
        c.peer.inject({ flags: `${mode === 'accurate' ? ace('010') : ''}.` });
        expect(c.info).toMatchObject({ ecn: mode, ecnCapable: mode !== 'none' });
        expect(c.engine.tcp.counters).toMatchObject({
          ecnClassic: mode === 'classic' ? 1 : 0,
          ecnAccurate: mode === 'accurate' ? 1 : 0,
        });
      }
    }
  });

  test('does nothing when it is off', () => {
    for (const asks of ['111', '011', '101']) {
      const c = context('off').listen();
      c.peer.inject({ flags: `S${ace(asks)}`, options: MODERN });
      c.peer.expect({ flags: 'S.' });
      c.peer.inject();
      expect(c.info.ecn).toBe('none');
      c.write(10);
      c.peer.expect({ flags: 'P.', ecn: NOT_ECT });
    }
  });

  test('a listener’s own setting counts more than the engine’s', () => {
    const c = context('off');
    c.engine.listen({ port: 80, ecn: 'passive' }, c.handlers);
    c.peer.inject({ flags: 'SWE' });
    c.peer.expect({ flags: 'SE.' });
  });

  test('SYN-ACKs again go without the option, then without ECN, which ends ECT but not feedback (3.2.3.2.2)', () => {
    const c = context('passive').listen();
    c.peer.inject({ flags: 'SWEe', options: MODERN });
    expect(c.peer.expect({ flags: 'SW.' }).options.accEcn).toBeDefined();
    c.pass(1000);
    expect(c.peer.expect({ flags: 'SW.' }).options.accEcn).toBeUndefined();
    c.pass(2000);
    c.peer.expect({ flags: 'S.' });
    c.peer.inject({ flags: 'W.' });
    expect(c.info).toMatchObject({ ecn: 'accurate', ecnCapable: false });
    c.peer.inject({ length: 10, ecn: CE, flags: 'Ee.' });
    c.write(10);
    // ACE is 6; and no option any more.
    const sent = c.peer.take();
    expect(sent.map((s) => [s.flags, s.ecn])).toEqual([
      ['We.', NOT_ECT],
      ['PWe.', NOT_ECT],
    ]);
    expect(sent.some((s) => s.options.accEcn !== undefined)).toBe(false);
  });

  test('the SYN-ACK feeds back the latest SYN; one that stopped asking ends ECT (3.1.5)', () => {
    const c = context('passive').listen();
    c.peer.inject({ flags: 'SWEe', options: MODERN, ecn: ECT_0 });
    c.peer.expect({ flags: 'Se.' });
    c.peer.inject({ flags: 'SWEe', options: MODERN, seq: 0, ecn: CE });
    expect(c.peer.expect({ flags: 'SWe.' }).options.accEcn).toBeUndefined();
    c.peer.inject({ flags: 'S', options: MODERN, seq: 0 });
    c.peer.expect({ flags: 'SW.' });
    c.peer.inject({ flags: 'W.' });
    expect(c.info).toMatchObject({ ecn: 'accurate', ecnCapable: false });
  });

  test.each([
    ['SWEe', 'SWE'],
    ['SWE', 'SWEe'],
  ])('%s and %s in one handshake is reset (3.1.5)', (first, second) => {
    const c = context('passive').listen();
    c.peer.inject({ flags: first });
    c.peer.expect();
    c.peer.inject({ flags: second, seq: 0 });
    c.peer.expect({ flags: 'R.' });
    expect(c.engine.tcp.minis.inUse).toBe(1);
  });

  test('once without ECN it stays so, whatever SYNs come', () => {
    const c = context('passive').listen();
    c.peer.inject({ flags: 'S' });
    c.peer.expect({ flags: 'S.' });
    c.peer.inject({ flags: 'SWEe', seq: 0 });
    c.peer.expect({ flags: 'S.' });
    c.peer.inject();
    expect(c.info.ecn).toBe('none');
  });
});

describe('the host that asks', () => {
  test.each([
    ['accurate', '010', 'accurate', true],
    // The SYN was sent Not-ECT: what arrived otherwise was rewritten, so no ECT (RFC 9768 3.2.2.3).
    ['accurate', '011', 'accurate', false],
    ['accurate', '100', 'accurate', false],
    ['accurate', '110', 'accurate', false],
    ['accurate', '101', 'accurate', true],
    ['accurate', '001', 'classic', true],
    ['accurate', '000', 'none', false],
    // A broken server that reflects our flags.
    ['accurate', '111', 'none', false],
    ['on', '001', 'classic', true],
    ['on', '101', 'classic', true],
    ['on', '000', 'none', false],
    ['on', '011', 'none', false],
    ['on', '010', 'none', false],
    ['passive', '001', 'none', false],
    ['passive', '010', 'none', false],
    ['off', '010', 'none', false],
  ] as const)('with %s, answered %s: %s, ECT %s', (will, answer, mode, capable) => {
    for (const version of [4, 6] as const) {
      const c = context(will, version).connect();
      const asks = { accurate: 'SWEe', on: 'SWE', passive: 'S', off: 'S' }[will];
      // The option is never on a SYN (3.2.3.2.1).
      expect(c.peer.expect({ flags: asks, ecn: NOT_ECT }).options.accEcn).toBeUndefined();
      c.peer.inject({ flags: `S${ace(answer)}.`, options: MODERN });
      expect(c.info).toMatchObject({ ecn: mode, ecnCapable: capable });
      const { counters } = c.engine.tcp;
      expect(counters.ecnClassic + counters.ecnAccurate).toBe(mode === 'none' ? 0 : 1);
      expect(counters.ecnMangled).toBe(mode === 'accurate' && !capable ? 1 : 0);
    }
  });

  test('classic: the SYN again is one without ECN, and then there is no ECT', () => {
    const c = context('on').connect();
    c.peer.expect({ flags: 'SWE' });
    c.pass(1000);
    c.peer.expect({ flags: 'S' });
    c.peer.inject({ flags: 'SE.' });
    expect(c.info).toMatchObject({ ecn: 'classic', ecnCapable: false });
  });

  test('AccECN is asked for twice (3.1.4.1), and the first answer counts', () => {
    const c = context('accurate').connect();
    c.peer.expect({ flags: 'SWEe' });
    c.pass(1000);
    c.peer.expect({ flags: 'SWEe' });
    c.pass(2000);
    c.peer.expect({ flags: 'S' });
    // A client may go on with ECT though its last SYN didn't ask (3.1.4.1).
    c.peer.inject({ flags: 'SW.', options: MODERN });
    expect(c.info).toMatchObject({ ecn: 'accurate', ecnCapable: true });
  });

  test('a connection’s own setting counts more than the engine’s', () => {
    const c = context('accurate');
    c.engine.connect({ address: '10.0.0.2', port: 5000, ecn: 'off' }, c.handlers);
    c.run();
    c.peer.expect({ flags: 'S' });
  });

  test('a simultaneous open answers as if it had been asked (3.1.2)', () => {
    for (const [syn, synAck, mode] of [
      ['SWEe', 'SW.', 'accurate'],
      ['SWE', 'SE.', 'classic'],
      ['S', 'S.', 'none'],
    ] as const) {
      const c = context('accurate').connect();
      c.peer.expect({ flags: 'SWEe' });
      c.peer.inject({ flags: syn, options: MODERN });
      c.peer.expect({ flags: synAck });
      c.peer.inject({ flags: synAck, seq: 0, ack: 1, options: MODERN });
      c.peer.expect();
      expect(c.info).toMatchObject({ ecn: mode, ecnCapable: mode !== 'none' });
    }
  });

  test('in a simultaneous open, who asked for less is taken at its word, as the peer takes it', () => {
    for (const [own, asks, syn, synAck, mode] of [
      ['on', 'SWE', 'SWEe', 'SE.', 'classic'],
      ['on', 'SWE', 'SWE', 'SE.', 'classic'],
      ['on', 'SWE', 'S', 'S.', 'none'],
      ['passive', 'S', 'SWEe', 'S.', 'none'],
      ['off', 'S', 'SWE', 'S.', 'none'],
    ] as const) {
      const c = context('accurate').connect({ ecn: own });
      c.peer.expect({ flags: asks });
      c.peer.inject({ flags: syn, options: MODERN });
      c.peer.expect({ flags: synAck });
      c.peer.inject({ flags: synAck, seq: 0, ack: 1, options: MODERN });
      c.peer.expect();
      expect(c.info).toMatchObject({ ecn: mode, ecnCapable: mode !== 'none' });
    }
  });

  test('in a simultaneous open, a SYN-ACK of another mode ends ECT and every response to its flags', () => {
    for (const [own, syn, answer] of [
      ['accurate', 'SWEe', 'S.'],
      ['accurate', 'SWEe', 'SE.'],
      ['on', 'SWE', 'SW.'],
    ] as const) {
      const c = context(own).connect();
      c.peer.take();
      c.peer.inject({ flags: syn, options: MODERN });
      c.peer.inject({ flags: answer, seq: 0, ack: 1, options: MODERN });
      c.write(3000);
      expect(c.peer.take().every((s) => s.ecn === NOT_ECT)).toBe(true);
      c.pass(1);
      c.peer.inject({ flags: 'E.', ack: 1461 });
      expect(c.engine.tcp.counters.ecnReductions).toBe(0);
    }
  });
});

describe('classic feedback (RFC 3168 6.1)', () => {
  function classic(): TcpContext {
    const c = new TcpContext({ limits: { congestion: 'reno' } }).listen();
    c.peer.inject({ flags: 'SWE', options: { mss: 1000 } });
    c.peer.expect({ flags: 'SE.' });
    c.peer.inject();
    c.events();
    return c;
  }

  test('data is ECT(0) when it is sent the first time, other segments never', () => {
    const c = classic();
    c.write(1000);
    c.peer.expect({ length: 1000, ecn: ECT_0 });
    c.pass(1000);
    // The timeout's retransmission.
    c.peer.expect({ length: 1000, ecn: NOT_ECT, at: 1000 });
    c.peer.inject({ ack: 1001 });
    c.peer.inject({ length: 1000, ecn: ECT_0 });
    c.pass(50);
    c.peer.expect({ flags: '.', ack: 1001, ecn: NOT_ECT });
    c.engine.shutdown(c.conn);
    c.run();
    c.peer.expect({ flags: 'F.', ecn: NOT_ECT });
  });

  test('window probes are not ECT (6.1.6)', () => {
    const c = classic();
    c.peer.inject({ window: 0 });
    c.write(100);
    c.pass(5000);
    const probes = c.peer.take();
    expect(probes.length).toBeGreaterThan(1);
    expect(probes.every((s) => s.length === 1 && s.ecn === NOT_ECT)).toBe(true);
  });

  test('CE is echoed at once and in every segment, until CWR', () => {
    const c = classic();
    c.peer.inject({ length: 100, ecn: CE });
    c.peer.expect({ flags: 'E.', ack: 101 });
    c.peer.inject({ length: 100, ecn: ECT_0 });
    c.write(50);
    c.peer.expect({ flags: 'E.', ack: 201 });
    c.peer.expect({ flags: 'PE.' });
    c.peer.inject({ flags: 'W.', ecn: ECT_0, length: 100, ack: 51 });
    c.peer.expect({ flags: '.', ack: 301 });
    // The mark on the segment with CWR is a new one.
    c.peer.inject({ flags: 'W.', ecn: CE, length: 100 });
    c.peer.expect({ flags: 'E.', ack: 401 });
    expect(c.info.ceReceived).toBe(2);
  });

  test('marks on pure ACKs, and on data outside the window, mean nothing (6.1.4, 6.1.5)', () => {
    const c = classic();
    c.peer.inject({ length: 10 });
    c.peer.take();
    c.peer.inject({ ecn: CE });
    c.peer.inject({ seq: 1, length: 10, ecn: CE });
    c.peer.inject({ seq: 2_000_000, length: 10, ecn: CE });
    expect(c.peer.take().every((s) => s.flags === '.')).toBe(true);
    expect(c.info.ceReceived).toBe(0);
  });

  test('ECE reduces the window once for each window of data (by RFC 8511’s 0.8), and CWR says so on the next new data', () => {
    const c = classic();
    c.write(40_000);
    const { cwnd } = c.info;
    expect(c.peer.take().length).toBe(10);
    c.peer.inject({ flags: 'E.', ack: 1001 });
    expect(c.info).toMatchObject({ cwnd: 0.8 * cwnd, ssthresh: 0.8 * cwnd, recovery: 'none' });
    for (let ack = 2001; ack <= 10_001; ack += 1000) c.peer.inject({ flags: 'E.', ack });
    // All of the same window, so once; and nothing grew meanwhile.
    expect(c.info.cwnd).toBe(0.8 * cwnd);
    expect(c.engine.tcp.counters.ecnReductions).toBe(1);
    const sent = c.peer.take();
    expect(sent[0]).toMatchObject({ seq: 10_001, flags: 'W.', ecn: ECT_0 });
    expect(sent.slice(1).every((s) => s.flags === '.')).toBe(true);
    // The next window's.
    c.peer.inject({ flags: 'E.', ack: 11_001 });
    expect(c.engine.tcp.counters.ecnReductions).toBe(2);
    expect(c.info.cwnd).toBe(0.64 * cwnd);
  });

  test('one reduction for a mark and a loss in the same window', () => {
    const c = classic();
    c.write(40_000);
    const { cwnd } = c.info;
    c.peer.inject({ flags: 'E.', ack: 1001 });
    for (let i = 0; i < 3; i++) c.peer.inject({ flags: 'E.', ack: 1001 });
    expect(c.info).toMatchObject({ recovery: 'fast', ssthresh: 0.8 * cwnd });
    c.peer.inject({ ack: c.peer.rcvNxt });
    expect(c.info).toMatchObject({ recovery: 'none', cwnd: 0.8 * cwnd });
    // The other way round: a loss, then marks.
    const d = classic();
    d.write(40_000);
    for (let i = 0; i < 3; i++) d.peer.inject({ ack: 1 });
    const reduced = d.info.cwnd;
    d.peer.inject({ flags: 'E.', ack: 1001 });
    expect(d.info.cwnd).toBeLessThanOrEqual(reduced);
    expect(d.engine.tcp.counters.ecnReductions).toBe(0);
  });

  test('a loss is told by CWR too, and not on a retransmission', () => {
    const c = classic();
    c.write(15_000);
    c.peer.take();
    for (let i = 0; i < 3; i++) c.peer.inject({ ack: 1 });
    const again = c.peer.take().find((s) => s.seq === 1);
    expect(again).toMatchObject({ flags: '.', ecn: NOT_ECT });
    c.peer.inject({ ack: 12_001 });
    const fresh = c.peer.take().filter((s) => s.seq > 12_000);
    expect(fresh[0].flags).toContain('W');
    expect(fresh.slice(1).some((s) => s.flags.includes('W'))).toBe(false);
  });

  test('ECE after 2 GiB without a mark is heard', () => {
    const c = classic();
    const { tcp } = c.engine;
    c.write(2000);
    c.peer.inject({ flags: 'E.', ack: 1001 });
    expect(tcp.counters.ecnReductions).toBe(1);
    c.peer.inject({ ack: 2001 });
    c.write(1000);
    c.peer.inject({ ack: 3001 });
    // The round is over; its mark may be arbitrarily far behind from now on.
    const cold = tcp.coldBase;
    tcp.m[cold + 62] = (tcp.m[cold + 62] + 2 ** 31 - 5000) | 0;
    c.write(1000);
    c.peer.inject({ flags: 'E.', ack: 4001 });
    expect(tcp.counters.ecnReductions).toBe(2);
  });
});
