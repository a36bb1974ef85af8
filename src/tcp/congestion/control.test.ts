/** How congestion control is chosen, changed, started, undone and told of CE; and what becomes of an unused window. */
import { describe, expect, test } from 'vitest';
import { EngineError } from '../../engine/errors.ts';
import { COLD, FLAG, FLAG2, TCB } from '../block.ts';
import { coldOf } from '../cold.ts';
import { PORT, TcpContext } from '../testing.ts';
import { BBR_COLD } from './bbr-words.ts';
import {
  CC_COLD_COUNT,
  type CongestionControl,
  congestionCe,
  congestionLoss,
  congestionTimeout,
  congestionUndo,
} from './control.ts';
import { reno } from './reno.ts';

const MSS = 1000;
const SYN = { options: { mss: MSS, windowScale: 10, sackPermitted: true }, window: 65_535 };
const OWN: CongestionControl = { ...reno, name: 'own' };

function context(limits: ConstructorParameters<typeof TcpContext>[0] = {}): TcpContext {
  return new TcpContext({
    slots: 1024,
    ...limits,
    limits: { chunks: 4096, sendBuffer: 4 << 20, ...limits.limits },
  });
}

function block(c: TcpContext): number {
  return c.engine.tcp.blocks.find(c.conn);
}

/** Opens a connection from the peer, with what the listener was given. */
function accept(c: TcpContext, options: object = {}): TcpContext {
  c.listener = c.engine.listen({ port: PORT, ...options }, c.handlers);
  c.peer.inject({ flags: 'S', ...SYN });
  c.peer.expect({ flags: 'S.' });
  c.peer.inject({ window: 60_000 });
  return c;
}

/** Opens a connection to the peer. */
function connect(c: TcpContext, options: object = {}): TcpContext {
  c.conn = c.engine.connect(
    { address: '10.0.0.2', port: c.peer.port, localPort: PORT, ...options },
    c.handlers,
  );
  c.run();
  c.peer.expect({ flags: 'S' });
  c.peer.inject({ flags: 'S.', ...SYN });
  c.peer.take();
  c.peer.inject({ window: 60_000 });
  return c;
}

describe.each([
  ['a listener', accept],
  ['a connect', connect],
] as const)('%s', (_, open) => {
  test('takes the stack’s module unless told', () => {
    expect(open(context()).info).toMatchObject({ congestion: 'cubic', pacingRate: 0 });
    expect(open(context({ limits: { congestion: 'reno' } })).info.congestion).toBe('reno');
  });

  test.each(['reno', 'cubic', 'bbr', 'own'])('names %s', (congestion) => {
    const c = context({ congestionControls: [OWN] });
    open(c, { congestion });
    expect(c.info.congestion).toBe(congestion);
    c.write(3000);
    expect(c.peer.take().length).toBeGreaterThan(1);
    expect(c.info.pacingRate > 0).toBe(congestion === 'bbr');
  });

  test('asks for pacing', () => {
    const c = open(context(), { pacing: true });
    expect(c.engine.tcp.m[block(c) + TCB.FLAGS2] & FLAG2.PACED).not.toBe(0);
  });

  test.each([
    [500, MSS],
    [5 * MSS, 5 * MSS],
    [100 * MSS, 100 * MSS],
  ])('has a start window of %d: %d', (startWindow, cwnd) => {
    const c = open(context(), { startWindow });
    expect(c.info.cwnd).toBe(cwnd);
    // The stack's module began before this one was chosen, and nothing of it is left.
    expect(c.info).toMatchObject({ congestion: 'cubic', ssthresh: 0x3fffffff });
    c.peer.inject({ window: 60_000 });
    c.write(200 * MSS);
    expect(c.peer.take().length).toBe(cwnd / MSS);
  });

  test('has the route’s start window', () => {
    const c = context();
    const iface = c.engine.ip.interfaces[0];
    c.engine.ip.routes.add({ destination: '10.0.0.2/32', iface, startWindow: 40 * MSS });
    expect(open(c).info.cwnd).toBe(40 * MSS);
    const other = context();
    other.engine.ip.routes.add({
      destination: '10.0.0.3/32',
      iface: other.engine.ip.interfaces[0],
      startWindow: 9,
    });
    expect(open(other, { startWindow: 7 * MSS }).info.cwnd).toBe(7 * MSS);
  });

  test('starts with one segment when more than one SYN was lost (RFC 6928 2)', () => {
    for (const [times, cwnd] of [
      [1, 10 * MSS],
      [2, MSS],
    ]) {
      const c = context();
      if (open === accept) {
        c.engine.listen({ port: PORT }, c.handlers);
        c.peer.inject({ flags: 'S', ...SYN });
      } else {
        c.conn = c.engine.connect({ address: '10.0.0.2', port: c.peer.port, localPort: PORT }, c.handlers);
        c.run();
      }
      for (let i = 0; i < times; i++) c.pass(1000 * 2 ** i + 1);
      c.peer.take();
      c.peer.inject(open === accept ? { seq: 1, ack: 1 } : { flags: 'S.', ...SYN });
      expect(c.info).toMatchObject({ state: 'ESTABLISHED', cwnd });
    }
  });
});

test('what there isn’t is refused with what there is', () => {
  const c = context({ congestionControls: [OWN] });
  const refused = expect.objectContaining({
    code: 'ERR_CONGESTION',
    message: expect.stringMatching(/reno, cubic, bbr, own/),
  });
  expect(() => c.engine.listen({ port: 1, congestion: 'vegas' }, {})).toThrow(refused);
  expect(() => c.engine.connect({ address: '10.0.0.2', port: 1, congestion: 'vegas' }, {})).toThrow(refused);
  expect(() => c.engine.setCongestion(0, 'vegas')).toThrow(refused);
  expect(() => context({ limits: { congestion: 'vegas' } })).toThrow(EngineError);
  expect(() => context({ congestionControls: [OWN, OWN] })).toThrow(/two/);
  for (const startWindow of [-1, 1.5, 2 ** 30])
    expect(() => c.engine.listen({ port: 1, startWindow }, {})).toThrow(
      expect.objectContaining({ code: 'ERR_CONGESTION' }),
    );
  const iface = c.engine.ip.interfaces[0];
  expect(() => c.engine.ip.routes.add({ destination: '10.9.0.0/16', iface, startWindow: -1 })).toThrow(
    /start window/,
  );
});

test('a route that is removed takes its start window along', () => {
  const c = context();
  const { routes, interfaces } = c.engine.ip;
  const route = routes.add({ destination: '10.0.0.2/32', iface: interfaces[0], startWindow: 40 * MSS });
  expect(routes.startWindows).toBe(1);
  routes.remove(route);
  routes.remove(route);
  expect(routes.startWindows).toBe(0);
  expect(accept(c).info.cwnd).toBe(10 * MSS);
});

describe('a change while connected', () => {
  test('keeps the window, and starts the new module with clean words', () => {
    const c = accept(context());
    c.write(30 * MSS);
    c.pass(50);
    c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
    const { cwnd } = c.info;
    c.engine.setCongestion(c.conn, 'bbr');
    expect(c.info).toMatchObject({ congestion: 'bbr', cwnd });
    expect(c.info.pacingRate).toBeGreaterThan(0);
    c.engine.setCongestion(c.conn, 'reno');
    const { m } = c.engine.tcp;
    const t = block(c);
    expect(c.info).toMatchObject({ congestion: 'reno', cwnd, pacingRate: 0 });
    const cold = coldOf(c.engine.tcp, t);
    expect(m.subarray(cold, cold + 28).every((word) => word === 0)).toBe(true);
    c.write(30 * MSS);
    c.pass(50);
    c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
    expect(c.info.cwnd).toBeGreaterThan(cwnd);
  });

  test('to the same module changes nothing', () => {
    const c = accept(context(), { congestion: 'bbr' });
    const t = block(c);
    const before = c.engine.tcp.m.slice(t, t + 96);
    c.engine.setCongestion(c.conn, 'bbr');
    expect(c.engine.tcp.m.slice(t, t + 96)).toEqual(before);
    c.engine.setCongestion(123, 'bbr');
    expect(c.engine.staleHandles).toBe(1);
  });

  test('pacing that was asked for outlives the module that always paces', () => {
    const c = accept(context(), { congestion: 'bbr', pacing: true });
    c.engine.setCongestion(c.conn, 'reno');
    expect(c.engine.tcp.m[block(c) + TCB.FLAGS2] & FLAG2.PACED).not.toBe(0);
  });
});

/** A connection with a window of `segments`, all of it in flight. */
function flying(congestion: string, segments: number): [TcpContext, number] {
  const c = accept(context(), { congestion });
  const t = block(c);
  c.engine.tcp.m[t + TCB.CWND] = segments * MSS;
  c.peer.inject({ window: 60_000 });
  c.write(segments * MSS);
  if (congestion !== 'bbr') expect(c.info.inFlight).toBe(segments * MSS);
  return [c, t];
}

describe('CE (RFC 8511)', () => {
  test.each([
    ['reno', 80],
    ['cubic', 85],
    // A module that doesn't say otherwise responds as to loss (RFC 3168).
    ['plain', 50],
  ])('%s keeps %d %% of the window', (congestion, percent) => {
    const { marked: _, ...plain } = reno;
    const c = accept(context({ congestionControls: [{ ...plain, name: 'plain' }] }), { congestion });
    const t = block(c);
    c.engine.tcp.m[t + TCB.CWND] = 100 * MSS;
    c.peer.inject({ window: 60_000 });
    c.write(100 * MSS);
    congestionCe(c.engine.tcp, t);
    expect(c.info).toMatchObject({ cwnd: percent * MSS, ssthresh: percent * MSS });
  });

  test('is no second reduction in recovery', () => {
    const [c, t] = flying('cubic', 100);
    c.pass(50);
    for (let i = 1; i <= 3; i++) {
      const right = 1 + (i + 1) * MSS;
      const left = (c.peer.irs + 1 + MSS) >>> 0;
      c.peer.inject({
        ack: 1,
        window: 60_000,
        options: { sack: [[left, (c.peer.irs + right) >>> 0]] },
      });
    }
    expect(c.info.recovery).toBe('fast');
    const { cwnd } = c.info;
    congestionCe(c.engine.tcp, t);
    expect(c.info.cwnd).toBe(cwnd);
  });

  test('bbr counts it as loss in its round', () => {
    const [c, t] = flying('bbr', 20);
    congestionCe(c.engine.tcp, t);
    expect(c.info.cwnd).toBe(20 * MSS);
    expect(c.engine.tcp.m[t + TCB.CC_WORDS] & (1 << 14)).not.toBe(0);
  });
});

describe('undo of a spurious reduction (RFC 9438 4.9)', () => {
  test.each(['reno', 'cubic'])('%s has its window, threshold and words again', (congestion) => {
    const [c, t] = flying(congestion, 100);
    const { tcp } = c.engine;
    // A first loss, for there to be words.
    congestionLoss(tcp, t);
    for (let i = 0; i < 8; i++) tcp.m[t + TCB.CC_WORDS + i] = 1000 + i;
    const words = tcp.m.slice(t + TCB.CC_WORDS, t + TCB.CC_WORDS + 8);
    const before = c.info;
    congestionLoss(tcp, t);
    expect(c.info.cwnd).toBeLessThan(before.cwnd);
    congestionUndo(tcp, t);
    expect(c.info).toMatchObject({ cwnd: before.cwnd, ssthresh: before.ssthresh });
    if (congestion === 'cubic') expect(tcp.m.slice(t + TCB.CC_WORDS, t + TCB.CC_WORDS + 8)).toEqual(words);
    // Once.
    tcp.m[t + TCB.CWND] = 5 * MSS;
    congestionUndo(tcp, t);
    expect(c.info.cwnd).toBe(5 * MSS);
  });

  test.each(['reno', 'cubic', 'bbr'])(
    '%s after a timeout that follows a loss: to what was before both',
    (congestion) => {
      const [c, t] = flying(congestion, 100);
      const { tcp } = c.engine;
      congestionLoss(tcp, t);
      tcp.m[t + TCB.FLAGS] |= FLAG.RECOVERY;
      congestionTimeout(tcp, t);
      expect(c.info.cwnd).toBe(MSS);
      congestionUndo(tcp, t);
      expect(c.info.cwnd).toBe(100 * MSS);
    },
  );

  test('what grew in the meantime stays', () => {
    const [c, t] = flying('reno', 20);
    congestionLoss(c.engine.tcp, t);
    c.engine.tcp.m[t + TCB.CWND] = 500 * MSS;
    congestionUndo(c.engine.tcp, t);
    expect(c.info.cwnd).toBe(500 * MSS);
  });

  test('without a reduction there is nothing to undo', () => {
    const [c, t] = flying('cubic', 20);
    congestionUndo(c.engine.tcp, t);
    expect(c.info).toMatchObject({ cwnd: 20 * MSS, ssthresh: 0x3fffffff });
  });
});

describe('a window that isn’t used (RFC 7661)', () => {
  /** Sends a little each 100 ms, for so long. */
  function trickle(c: TcpContext, segments: number, ms: number): void {
    for (let i = 0; i < ms / 100; i++) {
      c.write(segments * MSS);
      c.pass(100);
      c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
      c.peer.take();
    }
  }

  test('is what was really in flight when loss comes', () => {
    const [c, t] = flying('cubic', 100);
    c.pass(100);
    c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
    c.peer.take();
    c.engine.tcp.m[t + TCB.CWND] = 100 * MSS;
    trickle(c, 20, 3000);
    expect(c.info.cwnd).toBe(100 * MSS);
    c.write(2 * MSS);
    congestionLoss(c.engine.tcp, t);
    // pipeACK is 20 segments, in flight are 2: neither those nor 100 are what 0.7 is of.
    expect(c.info.cwnd).toBe(14 * MSS);
  });

  test('is halved every five minutes, down to the initial one', () => {
    const [c, t] = flying('reno', 100);
    c.pass(100);
    c.peer.inject({ ack: c.peer.rcvNxt, window: 60_000 });
    c.peer.take();
    const { m } = c.engine.tcp;
    m[t + TCB.CWND] = 100 * MSS;
    m[t + TCB.SSTHRESH] = 50 * MSS;
    const cold = coldOf(c.engine.tcp, t);
    // Time passes more quickly than a program can send.
    const fiveMinutes = () => {
      trickle(c, 20, 3000);
      m[cold + COLD.VALID_AT] = (m[cold + COLD.VALID_AT] - 295_000) | 0;
      const { cwnd } = c.info;
      trickle(c, 20, 500);
      expect(c.info.cwnd).toBe(cwnd);
      trickle(c, 20, 2500);
    };
    fiveMinutes();
    expect(c.info).toMatchObject({ cwnd: 50 * MSS, ssthresh: 75 * MSS });
    expect(c.engine.tcp.counters.windowDecays).toBe(1);
    // 20 of 50 is still less than half; of 25 it isn't.
    fiveMinutes();
    expect(c.info.cwnd).toBe(25 * MSS);
    fiveMinutes();
    expect(c.info.cwnd).toBe(25 * MSS);
  });

  test('costs a connection of small requests not even a cold block', () => {
    const c = accept(context(), {});
    trickle(c, 1, 10_000);
    expect(c.engine.tcp.m[block(c) + TCB.FLAGS2] & FLAG2.COLD_USED).toBe(0);
  });

  test('after an idle RTO begins anew, unless it is paced', () => {
    for (const pacing of [false, true]) {
      const c = accept(context(), { pacing, startWindow: 20 * MSS });
      const t = block(c);
      trickle(c, 2, 1000);
      c.engine.tcp.m[t + TCB.CWND] = 100 * MSS;
      c.pass(10_000);
      c.write(MSS);
      expect(c.info.cwnd).toBe(pacing ? 100 * MSS : 20 * MSS);
    }
  });
});

test('the words of a module and those of TCP’s own lie apart in the cold block', () => {
  const words = Object.entries(COLD)
    .filter(([name]) => name !== 'CC_WORDS')
    .map(([, at]) => at);
  expect(new Set(words).size).toBe(words.length);
  expect(Math.min(...words)).toBeGreaterThanOrEqual(CC_COLD_COUNT);
  expect(Math.max(...Object.values(BBR_COLD))).toBeLessThan(CC_COLD_COUNT);
});
