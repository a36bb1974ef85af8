/** Ports that split and sum for us: what a connection hands them, and what they can't do. */
import { expect, test } from 'vitest';
import { A4, B4, World } from '../engine/testing.ts';

test('a port that splits gets many segments in one frame, whole ones but for the last, and loses nothing', () => {
  const world = new World({
    seed: 1,
    offload: true,
    link: 'ip',
    limits: { sendBuffer: 1 << 20, receiveBuffer: 1 << 20, chunks: 2048 },
  });
  let got = 0;
  const lengths: number[] = [];
  world.b.listen(
    { port: 7 },
    {
      data: (_conn, _at, length) => {
        lengths.push(length);
        got += length;
        return length;
      },
    },
  );
  const total = 400_000;
  const conn = world.a.connect(
    { address: B4, localAddress: A4, port: 7 },
    { open: (c) => expect(world.a.write(c, new Uint8Array(total))).toBe(total) },
  );
  world.run(() => got === total, 10_000);
  const mss = world.a.info(conn)?.mss ?? 0;
  expect(Math.max(...lengths)).toBeGreaterThan(20 * mss);
  expect(Math.max(...lengths)).toBeLessThanOrEqual(65_535);
  expect(lengths.filter((n) => n % mss !== 0).length).toBeLessThanOrEqual(1);
  expect(world.a.tcp.counters.retransmits).toBe(0);
  world.a.abort(conn);
  world.finish();
});

test('no super-segment has a bit of ACE where those who cut it see CWR (RFC 9768 3.3.4)', () => {
  const world = new World({ seed: 1, offload: true, link: 'ip', limits: { ecn: 'accurate' } });
  const lengths: number[] = [];
  let other = 0;
  world.b.listen(
    { port: 7, noDelay: true },
    {
      open: (conn) => {
        other = conn;
      },
      data: (_conn, _at, length) => {
        lengths.push(length);
        return length;
      },
    },
  );
  const conn = world.a.connect({ address: B4, localAddress: A4, port: 7 }, { data: (_conn, _at, n) => n });
  world.pass(100);
  const mss = world.a.info(conn)?.mss ?? 0;
  world.network.set('tx', { mark: 1 });
  // r.cep is 5, and then 6, 7, 8, …; of its low bits the middle one is set in 2, 3, 6 and 7.
  for (let cep = 5; cep < 14; cep++) {
    lengths.length = 0;
    world.a.write(conn, new Uint8Array(20_000));
    world.pass(500);
    expect(world.a.info(conn)?.ceReceived).toBe(cep - 5);
    expect(Math.max(...lengths) > mss).toBe((cep & 2) === 0);
    world.b.write(other, new Uint8Array(10));
    world.pass(500);
  }
  world.a.abort(conn);
  world.finish();
});
