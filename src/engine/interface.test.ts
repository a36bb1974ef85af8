/** Addresses that come and go, links that go down and up, and MTUs that change, under connections and datagrams. */
import { expect, test } from 'vitest';
import { createCable } from '../device/cable.ts';
import { Arena } from '../memory/arena.ts';
import { CLOSED_NO_ADDRESS } from '../tcp/reasons.ts';
import { UDP_CODES } from '../udp/reasons.ts';
import { formatIpv6 } from '../wire/address.ts';
import { Destination } from './datagrams.ts';
import { Engine } from './engine.ts';
import { A4, auditEngine, B4, B6, LIMITS_SMALL, World } from './testing.ts';

const PORT = 7;

/** Echoes on b, and counts what comes back on a. */
function talk(world: World, address: string, bytes: number) {
  const state = { back: 0, closed: -1, conn: 0 };
  let left = bytes;
  const chunk = new Uint8Array(5000).map((_, i) => i);
  const fill = (conn: number): void => {
    while (left > 0) {
      const taken = world.a.write(conn, chunk, 0, Math.min(left, chunk.length));
      if (taken <= 0) return;
      left -= taken;
    }
  };
  state.conn = world.a.connect(
    { address, port: PORT },
    {
      open: fill,
      writable: fill,
      data(_conn, _at, length) {
        state.back += length;
        return length;
      },
      close: (_conn, reason) => {
        state.closed = reason;
      },
    },
  );
  return state;
}

function echo(world: World): number[] {
  const reasons: number[] = [];
  world.b.listen(
    { port: PORT },
    {
      data: (conn, at, length) => Math.max(0, world.b.send(conn, at, length)),
      writable: (conn) => world.b.resume(conn),
      end: (conn) => world.b.shutdown(conn),
      close: (_conn, reason) => reasons.push(reason),
    },
  );
  return reasons;
}

test('connections of an address end with it, whatever their state, and others go on', () => {
  const world = new World({ seed: 1, limits: { userTimeout_ms: 30_000 } });
  const reasons = echo(world);
  const [iface] = world.b.ip.interfaces;
  world.b.addAddress(iface, '10.0.0.9/24');
  const going = talk(world, '10.0.0.9', 1e9);
  const staying = talk(world, B4, 200_000);
  const six = talk(world, B6, 200_000);
  world.run(() => going.back > 100_000, 10_000);
  // One in TIME-WAIT, and one half open.
  const ended = talk(world, '10.0.0.9', 10);
  world.run(() => ended.back === 10, 10_000);
  const conn = world.b
    .connections()
    .find((c) => world.b.endpoint(c)?.remotePort === world.a.endpoint(ended.conn)?.localPort);
  world.b.close(conn!);
  world.a.shutdown(ended.conn);
  world.run(() => ended.closed >= 0, 10_000);
  world.network.set('tx', { loss: 1 });
  const half = talk(world, '10.0.0.9', 10);
  world.pass(50);
  expect([world.b.tcp.timeWaitOldest !== 0, world.b.tcp.listeners[0].halfOpen]).toEqual([true, 1]);
  world.network.set('tx', {});

  const told: string[] = [];
  world.b.onAddress = ({ kind }) => told.push(kind);
  expect(world.b.removeAddress(iface, '10.0.0.9')).toBe(true);
  expect(world.b.removeAddress(iface, '10.0.0.9')).toBe(false);
  world.pass(1);
  expect(reasons.filter((reason) => reason === CLOSED_NO_ADDRESS)).toHaveLength(1);
  expect([told, world.b.tcp.timeWaitOldest, world.b.tcp.listeners[0].halfOpen]).toEqual([['removed'], 0, 0]);
  world.run(() => staying.back === 200_000 && six.back === 200_000, 60_000);
  expect([staying.closed, six.closed]).toEqual([-1, -1]);
  for (const { conn } of [staying, six]) world.a.close(conn);
  // The peer hears nothing, and gives up by itself.
  world.run(() => going.closed >= 0 && half.closed >= 0, 400_000);
  world.finish();
});

test('half-open connections whose peers cannot be found end by themselves', () => {
  const world = new World({ seed: 5 });
  const { a, b } = world;
  const reasons = echo(world);
  const [iface] = a.ip.interfaces;
  const addresses = Array.from({ length: 8 }, (_, i) => `10.0.0.${50 + i}`);
  for (const localAddress of addresses) {
    a.addAddress(iface, `${localAddress}/24`);
    a.connect({ address: B4, port: PORT, localAddress }, {});
  }
  a.breath(world.now);
  // Their SYNs are on the way, and nobody will say where they live.
  for (const address of addresses) a.removeAddress(iface, address);
  world.pass(100);
  expect(b.tcp.listeners[0].halfOpen).toBe(8);
  const state = talk(world, B4, 50_000);
  world.run(() => state.back === 50_000, 10_000);
  world.a.close(state.conn);
  world.finish();
  expect([reasons, b.ip.interfaces[0].counters.neighbourFailed > 8]).toEqual([[0], true]);
});

test('datagram sockets of an address that is gone stay, and say why they cannot send', () => {
  const world = new World({ seed: 2 });
  const { datagrams } = world.b;
  const [iface] = world.b.ip.interfaces;
  world.b.addAddress(iface, '10.0.0.9/24');
  const sock = datagrams.bind({ address: '10.0.0.9', port: 9 }, {});
  const send = () => datagrams.write(sock, new Uint8Array(1), new Destination(A4, 9));
  expect(send()).toBe(1);
  world.b.removeAddress(iface, '10.0.0.9');
  expect(UDP_CODES[-send()]).toBe('EADDRNOTAVAIL');
  datagrams.setOptions(sock, { broadcast: true });
  expect(UDP_CODES[-datagrams.write(sock, new Uint8Array(1), new Destination('10.0.0.255', 9))]).toBe(
    'EADDRNOTAVAIL',
  );
  world.b.addAddress(iface, '10.0.0.9/24');
  expect(send()).toBe(1);
  datagrams.close(sock);
  world.finish();
});

test.each(['ether', 'ip'] as const)('a transfer outlives a link that goes down and up (%s)', (link) => {
  const world = new World({ seed: 3, link });
  echo(world);
  const state = talk(world, B4, 400_000);
  world.run(() => state.back > 50_000, 10_000);
  const [iface] = world.a.ip.interfaces;
  world.a.setLink(iface, false);
  const [before, began] = [state.back, world.now];
  let steps = 0;
  while (world.now < began + 5000 && steps < 100_000) {
    steps++;
    if (!world.step()) break;
  }
  // It waits; it doesn't spin.
  expect(steps).toBeLessThan(2000);
  expect(state.back).toBe(before);
  expect(() => world.a.connect({ address: B4, port: PORT }, {})).toThrow('EHOSTUNREACH');
  world.a.setLink(iface, true);
  world.run(() => state.back === 400_000, 60_000);
  world.a.close(state.conn);
  world.finish();
});

test.each([B4, B6])('a transfer to %s goes on in smaller segments when the MTU shrinks', (address) => {
  const world = new World({ seed: 4 });
  echo(world);
  const state = talk(world, address, 2_000_000);
  world.run(() => state.back > 100_000, 10_000);
  const [iface] = world.a.ip.interfaces;
  expect(world.a.info(state.conn)?.pathMtu).toBe(1500);
  world.a.setMtu(iface, 1300);
  expect(world.a.info(state.conn)?.pathMtu).toBe(1300);
  world.pass(0.1);
  const { txBytes, txFrames } = iface.port.counters;
  world.run(() => state.back === 2_000_000, 60_000);
  const { counters } = iface.port;
  expect((counters.txBytes - txBytes) / (counters.txFrames - txFrames)).toBeLessThan(1314);
  expect(iface.counters.txTooBig).toBe(0);
  world.a.setMtu(iface, 1500);
  expect(world.a.info(state.conn)?.pathMtu).toBe(1300);
  world.a.close(state.conn);
  world.finish();
});

test('two that know nothing but the link find addresses of their own, and talk', () => {
  const arena = new Arena(48 << 20);
  const ports = createCable(arena, 'cable');
  let now = 1000;
  const [a, b] = ports.map((port, i) => {
    const secret = Int32Array.of(i + 1, 2, 3, 4);
    const engine = new Engine({ arena, secret, addressSecret: secret, now, limits: LIMITS_SMALL });
    engine.addInterface(port, { addresses: [`10.0.0.${i + 1}/24`], autoconfigure: true });
    return engine;
  });
  const run = (done: () => boolean, limit_ms: number): void => {
    for (const end = now + limit_ms; !done(); ) {
      if (now > end) throw new Error(`not after ${limit_ms} ms`);
      const work = a.breath(now) + b.breath(now);
      now += work > 0 ? 0.1 : Math.max(0.1, Math.min(a.nextDeadline(), b.nextDeadline(), 1000));
    }
  };
  const ours = (engine: Engine) => engine.ip.interfaces[0];
  expect(() => a.connect({ address: '10.0.0.2', port: PORT }, {})).toThrow('EHOSTUNREACH');
  run(() => ours(a).v4.length + ours(a).v6.length + ours(b).v4.length + ours(b).v6.length === 4, 20_000);
  b.listen(
    { port: PORT },
    { data: (conn, at, length) => b.send(conn, at, length), end: (conn) => b.shutdown(conn) },
  );
  const [{ a0, a1, a2, a3 }] = ours(b).v6;
  for (const address of ['10.0.0.2', formatIpv6([a0, a1, a2, a3])]) {
    let back = 0;
    let closed = -1;
    const conn = a.connect(
      { address, port: PORT },
      {
        data(_conn, _at, length) {
          back += length;
          return length;
        },
        close: (_conn, reason) => {
          closed = reason;
        },
      },
    );
    a.write(conn, new Uint8Array(1000));
    run(() => back === 1000, 5000);
    a.shutdown(conn);
    run(() => closed === 0, 5000);
  }
  // A third one that wants what b has.
  expect(ours(a).counters.duplicateAddresses).toBe(0);
  const told: string[] = [];
  a.onAddress = ({ kind }) => told.push(kind);
  a.addAddress(ours(a), '10.0.0.2/24');
  run(() => told.length > 0, 5000);
  expect(told).toEqual(['duplicate']);
  expect(ours(a).v4).toHaveLength(1);
  run(() => a.tcp.timeWaitOldest === 0 && b.tcp.timeWaitOldest === 0, 200_000);
  auditEngine(a);
  auditEngine(b);
});
