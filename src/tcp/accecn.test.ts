/** AccECN's feedback (RFC 9768 3.2): the counters of both sides, and what is made of them. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { A4, B4, World } from '../engine/testing.ts';
import { safeMarks } from './accecn.ts';
import type { CongestionControl } from './congestion/control.ts';
import { reno } from './congestion/reno.ts';
import { MODERN, type Sent, stream, TcpContext } from './testing.ts';

const [NOT_ECT, ECT_1, ECT_0, CE] = [0, 1, 2, 3];
const PLAIN = { mss: 1000, sackPermitted: true, windowScale: 7 };
const OPTION = { kind: 172, counters: [1, 0, 1] };

/** The flags of a segment whose ACE counter is `cep`. */
function aceFlags(cep: number): string {
  return `${cep & 2 ? 'W' : ''}${cep & 1 ? 'E' : ''}${cep & 4 ? 'e' : ''}`;
}

function aceOf(s: Sent): number {
  return (s.flags.includes('e') ? 4 : 0) + (s.flags.includes('W') ? 2 : 0) + (s.flags.includes('E') ? 1 : 0);
}

/** The engine was asked, and accepted. */
function asked(options: object = PLAIN, limits = {}): TcpContext {
  const c = new TcpContext({ limits: { congestion: 'reno', ...limits }, noDelay: true }).listen();
  c.peer.inject({ flags: 'SWEe', options });
  c.peer.expect({ flags: 'SW.' });
  c.peer.inject({ flags: 'W.', options: { accEcn: OPTION } });
  c.events();
  expect(c.info).toMatchObject({ ecn: 'accurate', ecnCapable: true });
  return c;
}

/** The engine asks. */
function asks(ecn = NOT_ECT, options: object = PLAIN): TcpContext {
  const c = new TcpContext({ limits: { ecn: 'accurate', congestion: 'reno' }, noDelay: true }).connect();
  c.peer.expect({ flags: 'SWEe' });
  c.peer.inject({ flags: 'SW.', ecn, options: { ...options, accEcn: OPTION } });
  return c;
}

describe('the handshake’s last ACK', () => {
  test.each([
    [NOT_ECT, 0b010, 5],
    [ECT_1, 0b011, 5],
    [ECT_0, 0b100, 5],
    [CE, 0b110, 6],
  ])('feeds back the SYN-ACK’s IP-ECN %i as %i, and r.cep starts at %i (table 3)', (ecn, code, cep) => {
    const c = asks(ecn);
    const ack = c.peer.expect({ length: 0, ecn: NOT_ECT });
    expect(aceOf(ack)).toBe(code);
    // The option is tried here, and once more on the first data (3.2.3.2.1).
    expect(ack.options.accEcn).toEqual(OPTION);
    c.write(10);
    const data = c.peer.expect({ length: 10, ecn: ECT_0 });
    expect(aceOf(data)).toBe(cep & 7);
    expect(data.options.accEcn).toEqual(OPTION);
    c.write(10);
    expect(c.peer.expect({ length: 10 }).options.accEcn).toBeUndefined();
    expect(c.info.ceReceived).toBe(cep - 5);
  });

  test('goes before data that waits (3.2.2.1)', () => {
    const c = new TcpContext({ limits: { ecn: 'accurate' } }).connect();
    c.peer.expect();
    c.write(500);
    c.peer.inject({ flags: 'SW.', options: PLAIN });
    expect(aceOf(c.peer.expect({ length: 0 }))).toBe(0b010);
    expect(aceOf(c.peer.expect({ length: 500 }))).toBe(5);
  });

  test('has the same encoding when the SYN-ACK comes again', () => {
    const c = asks();
    c.peer.take();
    c.peer.inject({ flags: 'Se.', seq: 0, ecn: CE, options: PLAIN });
    expect(aceOf(c.peer.expect({ length: 0 }))).toBe(0b110);
    c.write(10);
    expect(aceOf(c.peer.expect({ length: 10 }))).toBe(5);
  });

  test('of a SYN-ACK that comes again before data is an ACK of its own; behind data there is none', () => {
    const c = asks();
    c.peer.take();
    c.peer.send({ flags: 'SW.', seq: 0, options: PLAIN });
    c.peer.send({ seq: 1, length: 10 });
    c.run();
    expect(aceOf(c.peer.expect({ ack: 1 }))).toBe(0b010);
    expect(aceOf(c.peer.expect({ ack: 11 }))).toBe(5);
    c.pass(1000);
    c.peer.inject({ flags: 'SW.', seq: 0, options: PLAIN });
    expect(aceOf(c.peer.expect({ ack: 11 }))).toBe(5);
  });

  test.each([
    // ACE, ECT afterwards, whether feedback counts afterwards (table 4).
    [0b000, false, false],
    [0b001, true, true],
    [0b010, true, true],
    [0b011, false, true],
    [0b100, false, true],
    [0b101, true, true],
    [0b110, false, true],
    [0b111, true, true],
  ])('with ACE %i leaves ECT %s, response %s', (code, capable, responds) => {
    const c = new TcpContext({ limits: { congestion: 'reno' } }).listen();
    c.peer.inject({ flags: 'SWEe', options: PLAIN });
    c.peer.expect();
    c.peer.inject({ flags: `${aceFlags(code)}.` });
    const sCep = code === 0b110 ? 6 : 5;
    expect(c.info).toMatchObject({
      ecn: 'accurate',
      ecnCapable: capable,
      ceDelivered: responds ? sCep - 5 : 0,
    });
    c.write(5000);
    expect(c.peer.take().every((s) => s.ecn === (capable ? ECT_0 : NOT_ECT))).toBe(true);
    const before = c.engine.tcp.counters.ecnReductions;
    c.peer.inject({ flags: `${aceFlags(sCep + 1)}.`, ack: 1001 });
    expect(c.engine.tcp.counters.ecnReductions - before).toBe(responds ? 1 : 0);
  });

  test('is no counter when it comes a second time, or after the SYN-ACK of a simultaneous open (3.2.2)', () => {
    const options = { ...PLAIN, timestamps: { value: 0, echo: 0 } };
    const c = asked(options);
    c.pass(1);
    c.peer.inject({ flags: 'W.' });
    const d = new TcpContext({ limits: { ecn: 'accurate', congestion: 'reno' } }).connect();
    d.peer.inject({ flags: 'SWEe', options });
    d.pass(1);
    // Nor is what stands on the SYN-ACK itself.
    d.peer.inject({ flags: 'SW.', seq: 0, ack: 1, options: { ...options, accEcn: OPTION } });
    d.pass(1);
    d.peer.inject({ flags: 'W.' });
    for (const context of [c, d]) {
      context.write(2000);
      context.pass(1);
      context.peer.inject({ flags: `${aceFlags(5)}.`, ack: 1001 });
      expect(context.info).toMatchObject({ ecn: 'accurate', ceDelivered: 0 });
      expect(context.engine.tcp.counters.ecnReductions).toBe(0);
    }
  });

  test('that was lost is no encoding: data’s ACE is the counter', () => {
    const c = new TcpContext({ limits: { congestion: 'reno' } }).listen();
    c.peer.inject({ flags: 'SWEe', options: PLAIN });
    c.peer.expect();
    c.peer.inject({ flags: `${aceFlags(5)}.`, length: 10 });
    expect(c.info).toMatchObject({ ecn: 'accurate', ecnCapable: true, ceDelivered: 0 });
  });
});

describe('the data receiver', () => {
  test('counts CE packets in ACE, modulo 8, and bytes of each codepoint in the option', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 300 })), {
          maxLength: 60,
        }),
        (segments) => {
          const c = asked();
          const bytes = [0, 1, 1, 0];
          let cep = 5;
          for (const [ecn, length] of segments) {
            c.peer.inject({ ecn, length, flags: `${aceFlags(5)}.` });
            bytes[ecn] += ecn === NOT_ECT ? 0 : length;
            if (ecn === CE) cep++;
          }
          c.pass(100);
          c.write(1);
          const sent = c.peer.take();
          expect(aceOf(sent[sent.length - 1])).toBe(cep & 7);
          expect(c.info.ceReceived).toBe(cep - 5);
          const told = [0, 1, 1, 0];
          for (const { options } of sent) {
            if (options.accEcn === undefined) continue;
            const order = options.accEcn.kind === 172 ? [ECT_0, CE, ECT_1] : [ECT_1, CE, ECT_0];
            for (const [i, value] of options.accEcn.counters.entries()) told[order[i]] = value;
          }
          expect(told).toEqual([0, ...bytes.slice(1)]);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('leaves off fields that never changed (3.2.3.3)', () => {
    const c = asked();
    const optionAfter = (ecn: number) => {
      c.peer.inject({ length: 100, ecn, flags: `${aceFlags(5)}.` });
      c.pass(50);
      return c.peer
        .take()
        .map((s) => s.options.accEcn)
        .find((o) => o !== undefined);
    };
    expect(optionAfter(ECT_0)).toEqual({ kind: 172, counters: [101] });
    expect(optionAfter(NOT_ECT)).toBeUndefined();
    expect(optionAfter(CE)).toEqual({ kind: 172, counters: [101, 100] });
    expect(optionAfter(ECT_1)).toEqual({ kind: 174, counters: [101, 100, 101] });
    const d = asked();
    d.peer.inject({ length: 100, ecn: CE, flags: `${aceFlags(5)}.` });
    expect(d.peer.expect().options.accEcn).toEqual({ kind: 172, counters: [1, 100] });
  });

  test('acknowledges at once when marks begin, and every second one (3.2.2.5.1)', () => {
    const c = asked();
    // Past the quick ACKs of the start.
    for (let i = 0; i < 10; i++) c.peer.inject({ length: 10, ecn: ECT_0, flags: `${aceFlags(5)}.` });
    c.pass(100);
    c.peer.take();
    const acks = [ECT_0, CE, CE, CE, ECT_0, CE].map((ecn) => {
      c.peer.inject({ length: 10, ecn, flags: `${aceFlags(5)}.` });
      return c.peer.take().length;
    });
    expect(acks).toEqual([0, 1, 0, 1, 0, 1]);
  });

  test('answers every third mark on segments without data, when nothing is owed', () => {
    const c = asked();
    const acks = [1, 2, 3, 4, 5, 6].map(() => {
      c.peer.inject({ ecn: CE, flags: `${aceFlags(5)}.` });
      return c.peer.take().length;
    });
    expect(acks).toEqual([0, 0, 1, 0, 0, 1]);
    expect(c.info.ceReceived).toBe(6);
  });

  test('lets two SACK blocks go before the option', () => {
    const c = asked({ ...MODERN, mss: 1000 });
    c.peer.take();
    // Both kinds of ECT have come: an option of 12 bytes.
    c.peer.inject({ length: 10, ecn: ECT_0, flags: `${aceFlags(5)}.` });
    c.peer.inject({ length: 10, ecn: ECT_1, flags: `${aceFlags(5)}.` });
    c.peer.take();
    const gap = (seq: number) => {
      c.peer.inject({ seq, length: 10, ecn: ECT_0, flags: `${aceFlags(5)}.` });
      return c.peer.expect().options;
    };
    const one = gap(101);
    expect([one.sack?.length, one.accEcn?.counters.length]).toEqual([1, 3]);
    const two = gap(201);
    expect([two.sack?.length, two.accEcn]).toEqual([2, undefined]);
  });

  test('on data, makes room for the option in one segment', () => {
    const c = asked();
    c.peer.inject({ length: 10, ecn: ECT_0, flags: `${aceFlags(5)}.` });
    c.peer.take();
    c.peer.send({ length: 10, ecn: ECT_0, flags: `${aceFlags(5)}.` });
    c.write(3000);
    const data = c.peer.take().filter((s) => s.length > 0);
    expect(data.map((s) => [s.length, s.options.accEcn?.counters.length])).toEqual([
      [988, 1],
      [1000, undefined],
      [1000, undefined],
      [12, undefined],
    ]);
  });
});

describe('the data sender', () => {
  /** `n` full segments are out. */
  function sending(n: number, options: object = PLAIN): TcpContext {
    const c = asked(options);
    c.write(n * 1000);
    expect(c.peer.take().length).toBeGreaterThanOrEqual(n);
    return c;
  }

  test('reduces once a window, and follows the counter', () => {
    const c = sending(10);
    const { cwnd } = c.info;
    c.peer.inject({ flags: `${aceFlags(7)}.`, ack: 2001 });
    expect(c.info).toMatchObject({ cwnd: 0.8 * cwnd, ceDelivered: 2, ceDeliveredBytes: 2000 });
    c.peer.inject({ flags: `${aceFlags(9)}.`, ack: 4001 });
    expect(c.info).toMatchObject({ cwnd: 0.8 * cwnd, ceDelivered: 4 });
    expect(c.engine.tcp.counters.ecnReductions).toBe(1);
    // CWR is never set: the bits are ACE.
    c.write(1000);
    expect(c.peer.take().every((s) => aceOf(s) === 5)).toBe(true);
  });

  test('the count may have gone round on an ACK of eight packets, but not when none was ECT', () => {
    for (const [third, reductions] of [
      ['W.', 1],
      // The SYN-ACK arrived as ECT(1), and was sent Not-ECT (3.2.2.3).
      ['WE.', 0],
    ] as const) {
      const c = new TcpContext({ limits: { congestion: 'reno' }, noDelay: true }).listen();
      c.peer.inject({ flags: 'SWEe', options: PLAIN });
      c.peer.inject({ flags: third });
      c.write(9000);
      c.peer.inject({ flags: `${aceFlags(5)}.`, ack: 1001 });
      c.peer.inject({ flags: `${aceFlags(5)}.`, ack: 9001 });
      expect(c.engine.tcp.counters.ecnReductions).toBe(reductions);
    }
  });

  test('ACKs that bring nothing new may be old, and aren’t looked at', () => {
    const c = sending(10);
    c.peer.inject({ flags: `${aceFlags(7)}.`, ack: 2001 });
    c.peer.inject({ flags: `${aceFlags(6)}.`, ack: 2001 });
    c.peer.inject({ flags: `${aceFlags(5)}.`, ack: 1001 });
    expect(c.info.ceDelivered).toBe(2);
    // With timestamps a later time shows that it is newer.
    const d = sending(5, { ...PLAIN, timestamps: { value: 0, echo: 0 } });
    d.pass(1);
    d.peer.inject({ flags: `${aceFlags(6)}.`, ack: 1 });
    expect(d.info.ceDelivered).toBe(1);
  });

  test('takes bytes from the option, in either order and of any length, whose field that is missing stands still', () => {
    const c = sending(10);
    const ack = (flags: string, to: number, counters?: number[], kind = 172) =>
      c.peer.inject({ flags: `${flags}.`, ack: to, options: counters ? { accEcn: { kind, counters } } : {} });
    ack(aceFlags(6), 1001, [1, 700, 1]);
    expect(c.info).toMatchObject({ ceDelivered: 1, ceDeliveredBytes: 700 });
    ack(aceFlags(7), 2001, [1, 900, 1], 174);
    expect(c.info).toMatchObject({ ceDelivered: 2, ceDeliveredBytes: 900 });
    // Estimated without it, then corrected.
    ack(aceFlags(8), 3001);
    expect(c.info).toMatchObject({ ceDelivered: 3, ceDeliveredBytes: 1900 });
    ack(aceFlags(8), 4001, [1, 950, 1]);
    expect(c.info).toMatchObject({ ceDelivered: 3, ceDeliveredBytes: 950 });
  });

  test('an option that was zeroed on the way counts no more (3.2.3.2.4)', () => {
    for (const counters of [
      [0, 0, 1],
      [1, 0, 0],
    ]) {
      const c = new TcpContext({ limits: { ecn: 'accurate' } }).connect();
      c.peer.expect();
      c.peer.inject({ flags: 'SW.', options: { ...PLAIN, accEcn: { kind: 172, counters } } });
      c.write(2000);
      c.peer.inject({
        flags: `${aceFlags(5)}.`,
        ack: 1001,
        options: { accEcn: { kind: 172, counters: [1, 500, 1] } },
      });
      expect(c.info).toMatchObject({ ceDeliveredBytes: 0, ecnCapable: true });
    }
  });

  test('without an answer to the first data, sends no more options (3.2.3.2.2)', () => {
    const c = asks();
    c.peer.take();
    c.write(100);
    expect(c.peer.expect({ length: 100 }).options.accEcn).toEqual(OPTION);
    c.pass(1000);
    expect(c.peer.expect({ length: 100 }).options.accEcn).toBeUndefined();
    c.peer.inject({ length: 10, ecn: ECT_0, ack: 101, flags: `${aceFlags(5)}.` });
    expect(c.peer.expect().options.accEcn).toBeUndefined();
  });

  test('marks on everything, for longer than a window takes to close, are somebody’s mistake (3.2.2.3)', () => {
    const c = asked();
    let acked = 0;
    let cep = 5;
    for (let i = 0; i < 60 && c.info.ecnCapable; i++) {
      c.write(1000);
      acked += 1000;
      cep++;
      const accEcn = { kind: 172, counters: [1, acked, 1] };
      c.peer.inject({ flags: `${aceFlags(cep)}.`, ack: 1 + acked, options: { accEcn } });
    }
    expect([cep - 5, c.info.ecnCapable]).toEqual([32, false]);
    const { ecnReductions } = c.engine.tcp.counters;
    c.write(1000);
    c.peer.inject({ flags: `${aceFlags(cep + 1)}.`, ack: 1001 + acked });
    expect(c.engine.tcp.counters.ecnReductions).toBe(ecnReductions);
  });
});

describe('safety against ACE going round (A.2)', () => {
  test.each([
    // step, packets, bytes told, average; marks. The RFC's examples, with an MSS of 1460.
    [2, 9, -1, 1, 2],
    [2, 10, -1, 1, 10],
    [0, 8, 1460, 1, 8],
    [2, 10, 1460, 1, 2],
    [7, 15, 10_200, 1, 7],
    // Few packets can't have turned it; more marks than packets are believed.
    [3, 7, -1, 1, 3],
    [7, 2, -1, 1, 7],
    // ACKs are thinned out anyway, and say nothing.
    [0, 44, -1, 40, 0],
    [0, 44, -1, 2, 40],
    [0, 44, 0, 2, 0],
    // Two super-segments acknowledged, of which one was marked.
    [4, 88, 44 * 1460, 44, 44],
  ])('step %i of %i packets, %i bytes told, average %i: %i', (step, packets, bytes, average, marks) => {
    expect(safeMarks(step, packets, bytes, 1460, average)).toBe(marks);
  });

  test('whatever is decided, the low bits are the peer’s, and it is no less than the step', () => {
    const small = fc.integer({ min: 0, max: 200 });
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 7 }),
        small,
        fc.integer({ min: -1, max: 300_000 }),
        small,
        (step, packets, bytes, average) => {
          const marks = safeMarks(step, packets, bytes, 1460, average);
          expect(marks & 7).toBe(step);
          expect(marks).toBeGreaterThanOrEqual(step);
          expect(marks).toBeLessThanOrEqual(Math.max(step, packets));
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('ECT(1), for congestion control made for it (RFC 9331)', () => {
  const scalable: CongestionControl = { ...reno, name: 'scalable', l4s: true };

  test('is sent with AccECN only, and follows a change of the module', () => {
    for (const [syn, third, ecn] of [
      ['SWEe', 'W.', ECT_1],
      ['SWE', '.', ECT_0],
      ['S', '.', NOT_ECT],
    ] as const) {
      const c = new TcpContext({ noDelay: true, congestionControls: [scalable] });
      c.engine.listen({ port: 80, noDelay: true, congestion: 'scalable' }, c.handlers);
      c.peer.inject({ flags: syn, options: PLAIN });
      c.peer.expect();
      c.peer.inject({ flags: third });
      c.write(10);
      c.peer.expect({ length: 10, ecn });
      c.engine.setCongestion(c.conn, 'cubic');
      c.write(10);
      c.peer.expect({ length: 10, ecn: ecn === ECT_1 ? ECT_0 : ecn });
    }
  });
});

describe('with SYN cookies (5.1)', () => {
  const open = (syn: string, third: string, options: object) => {
    const c = new TcpContext({ limits: { synCookies: 'always' } }).listen();
    c.peer.inject({ flags: syn, options });
    c.peer.take();
    c.peer.inject({ flags: third });
    return c;
  };

  test('AccECN is known by the last ACK, whatever options there are', () => {
    for (const options of [PLAIN, MODERN]) {
      const c = open('SWEe', 'W.', options);
      expect(c.info).toMatchObject({ ecn: 'accurate', ecnCapable: true, ceDelivered: 0 });
      c.peer.inject({ length: 10, ecn: CE, flags: `${aceFlags(5)}.` });
      expect(aceOf(c.peer.expect())).toBe(6);
    }
  });

  test('classic ECN comes back in the timestamp, and without it there is none', () => {
    expect(open('SWE', '.', MODERN).info).toMatchObject({ ecn: 'classic', ecnCapable: true });
    expect(open('SWE', '.', PLAIN).info.ecn).toBe('none');
    const c = new TcpContext({ limits: { synCookies: 'always' } }).listen();
    c.peer.inject({ flags: 'SWE', options: PLAIN });
    c.peer.expect({ flags: 'S.' });
  });

  test('nobody else’s connection gets ECN', () => {
    expect(open('S', '.', MODERN).info.ecn).toBe('none');
  });
});

test('with Fast Open the server counts from the start, and the handshake’s ACK is still one', () => {
  const c = new TcpContext({ noDelay: true });
  c.engine.listen({ port: 80, noDelay: true, fastOpen: true }, c.handlers);
  c.peer.inject({ flags: 'SWEe', options: { ...PLAIN, fastOpenCookie: new Uint8Array(0) } });
  const cookie = c.peer.expect().options.fastOpenCookie ?? new Uint8Array(0);
  c.peer.inject({ flags: 'R', seq: 1 });
  const second = c.addPeer(5001);
  second.inject({ flags: 'SWEe', length: 10, ecn: CE, options: { ...PLAIN, fastOpenCookie: cookie } });
  // The field says that the SYN was marked; the counter doesn't count it.
  expect(second.expect({ ack: 11 }).flags).toBe('SWe.');
  c.engine.write(c.conn, stream(1, 10));
  c.run();
  expect(aceOf(second.expect({ length: 10 }))).toBe(5);
  second.inject({ flags: 'W.' });
  expect(c.info).toMatchObject({ state: 'ESTABLISHED', ecn: 'accurate', ecnCapable: true, ceDelivered: 0 });
});

test.each([false, true])(
  'both ends agree on marks and bytes over a marking network, offload %s',
  (offload) => {
    let marks = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const world = new World({
        seed,
        offload,
        limits: { ecn: 'accurate' },
        forth: { mark: offload ? 0.4 : 0.05, delay_ms: 10, jitter_ms: 2 },
        back: { delay_ms: 10 },
      });
      const total = 400_000;
      let got = 0;
      let server = 0;
      world.b.listen(
        { port: 7 },
        {
          open: (conn) => {
            server = conn;
          },
          data: (_conn, _at, length) => {
            got += length;
            return length;
          },
        },
      );
      const bytes = new Uint8Array(total);
      let sent = 0;
      const pump = (conn: number) => {
        sent += world.a.write(conn, bytes, sent);
      };
      const conn = world.a.connect(
        { address: B4, localAddress: A4, port: 7 },
        { open: pump, writable: pump },
      );
      world.run(() => got === total, 60_000);
      world.pass(200);
      const [a, b] = [world.a.info(conn), world.b.info(server)];
      marks += b?.ceReceived ?? 0;
      expect(a?.ceDelivered).toBe(b?.ceReceived);
      expect(a?.ecn).toBe('accurate');
      expect(world.a.tcp.counters.ecnReductions > 0).toBe((b?.ceReceived ?? 0) > 0);
      expect(world.a.tcp.counters.retransmits).toBe(0);
      world.a.abort(conn);
      world.finish();
    }
    expect(marks).toBeGreaterThan(50);
  },
);
