/** Limits per source: an IPv4 address, or an IPv6 /64. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { auditEngine } from '../engine/testing.ts';
import { Packet } from '../ip/packet.ts';
import { Arena } from '../memory/arena.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { PROTOCOL_TCP } from '../wire/protocols.ts';
import { emitTcp } from '../wire/tcp.ts';
import { FLAG, TCB } from './block.ts';
import { SOURCE_CONNECTIONS, SOURCE_HALF_OPEN, Sources } from './sources.ts';
import { MODERN, TcpContext } from './testing.ts';

describe('limits', () => {
  test('connections beyond a source’s limit are refused, others’ are not, and an end makes room', () => {
    const c = new TcpContext({ limits: { connectionsPerSource: 2 } }).listen();
    const peers = Array.from({ length: 4 }, (_, i) => c.addPeer(6000 + i));
    for (const peer of peers.slice(0, 3)) peer.inject({ flags: 'S' });
    for (const peer of peers.slice(0, 3)) {
      peer.expect({ flags: 'S.' });
      peer.inject();
    }
    // All three were half open, and the third came too late.
    expect(c.events()).toEqual(['open', 'open']);
    peers[2].expect({ flags: 'R' });
    peers[3].inject({ flags: 'S' });
    peers[3].expect({ flags: 'R.' });
    expect(c.engine.tcp.counters.sourceConnectionsLimited).toBe(2);
    const elsewhere = emitTcp({ srcPort: 7, dstPort: 80, flags: 2 }, { src: '10.0.0.9', dst: '10.0.0.1' });
    c.packet(
      emitIpv4Packet({ src: '10.0.0.9', dst: '10.0.0.1', protocol: PROTOCOL_TCP, payload: elsewhere }),
    );
    c.run();
    expect(c.engine.tcp.counters.sourceConnectionsLimited).toBe(2);
    peers[0].inject({ flags: 'R', seq: 1 });
    peers[3].inject({ flags: 'S', seq: 0 });
    peers[3].inject({ seq: 1 });
    expect(c.events()).toEqual(['close 1', 'open']);
    peers[1].inject({ flags: 'R', seq: 1 });
    peers[3].inject({ flags: 'R', seq: 1 });
    c.pass(100_000);
    auditEngine(c.engine);
  });

  test.each(['never', 'auto'] as const)(
    'half-open ones beyond get a cookie, or nothing (%s)',
    (synCookies) => {
      const c = new TcpContext({ limits: { halfOpenPerSource: 1, synCookies } }).listen();
      c.addPeer(6000).inject({ flags: 'S' });
      c.peer.inject({ flags: 'S', options: MODERN });
      expect(c.engine.tcp.counters.sourceHalfOpenLimited).toBe(1);
      if (synCookies === 'never') c.peer.expectNothing();
      else c.peer.inject();
      expect(c.events()).toEqual(synCookies === 'never' ? [] : ['open']);
    },
  );

  test('our own connections are not counted; those by cookie and Fast Open are', () => {
    const limits = { connectionsPerSource: 2, synCookies: 'always' } as const;
    const c = new TcpContext({ limits }).connect();
    c.peer.inject({ flags: 'S.' });
    c.engine.listen({ port: 81, fastOpen: true }, c.handlers);
    const { sources } = c.engine.tcp;
    expect(sources?.inUse).toBe(0);
    const d = new TcpContext({ limits }).listen({ fastOpen: true });
    d.peer.inject({ flags: 'S', options: { ...MODERN, fastOpenCookie: new Uint8Array(0) } });
    const cookie = d.peer.expect({ flags: 'S.' }).options.fastOpenCookie!;
    d.peer.inject();
    d.addPeer(6000).inject({ flags: 'S', options: { ...MODERN, fastOpenCookie: cookie } });
    expect(d.events()).toEqual(['open', 'open']);
    const third = d.addPeer(6001);
    third.inject({ flags: 'S', options: { ...MODERN, fastOpenCookie: cookie } });
    third.expect({ flags: 'R.' });
  });
});

test('counts as a map would, whatever comes and goes', () => {
  const action = fc.record({
    source: fc.nat(40),
    v6: fc.boolean(),
    what: fc.constantFrom(SOURCE_HALF_OPEN, SOURCE_CONNECTIONS),
    add: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 300 }), (actions) => {
      const arena = new Arena(1 << 20);
      const sources = new Sources(arena, 300, 1, 2);
      const block = (arena.carve('block', 256) >> 2) + 16;
      const packet = new Packet();
      const model = new Map<string, number>();
      const m = arena.i32;
      for (const { source, v6, what, add } of actions) {
        m[block + TCB.FLAGS] = v6 ? FLAG.V6 : 0;
        m[block + TCB.RADDR] = v6 ? 77 : source;
        m[block + TCB.RADDR6] = source >> 2;
        m[block + TCB.RADDR6 + 1] = source & 3;
        // Within its /64.
        m[block + TCB.RADDR6 + 2] = what;
        const key = `${v6} ${source} ${what}`;
        const count = model.get(key) ?? 0;
        if (add) {
          sources.add(block, what);
          model.set(key, count + 1);
        } else if (count > 0) {
          sources.remove(block, what);
          model.set(key, count - 1);
        }
      }
      const live = new Set<string>();
      for (const [key, count] of model) {
        const [v6, source, what] = key.split(' ');
        packet.version = v6 === 'true' ? 6 : 4;
        packet.src0 = v6 === 'true' ? Number(source) >> 2 : Number(source);
        packet.src1 = v6 === 'true' ? Number(source) & 3 : 99;
        expect(sources.ofPacket(packet, Number(what))).toBe(count);
        if (count > 0) live.add(`${v6} ${source}`);
      }
      expect(sources.inUse).toBe(live.size);
    }),
    { numRuns: 200 },
  );
});
