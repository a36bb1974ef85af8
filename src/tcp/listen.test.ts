/** Listeners: which packets they take (RFC 9293 3.9.1.1), IP versions, and other hosts' addresses. */
import { describe, expect, test } from 'vitest';
import type { ListenOptions } from '../engine/engine.ts';
import { emitIcmp } from '../wire/icmp.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { PROTOCOL_ICMP, PROTOCOL_TCP } from '../wire/protocols.ts';
import { emitTcp } from '../wire/tcp.ts';
import { MODERN, TcpContext } from './testing.ts';

/** A SYN from the peer's network to anywhere. */
function syn(c: TcpContext, dst: string, dstPort: number, flags = 2): void {
  const six = dst.includes(':');
  const src = six ? 'fd00::2' : '10.0.0.2';
  const payload = emitTcp({ srcPort: 5000, dstPort, seq: 0, ack: 1, flags }, { src, dst });
  c.packet(
    six
      ? emitIpv6Packet({ src, dst, nextHeader: PROTOCOL_TCP, payload })
      : emitIpv4Packet({ src, dst, protocol: PROTOCOL_TCP, payload }),
  );
  c.run();
}

/** How many half-open connections a listener has. */
const halfOpen = (c: TcpContext, id: number) => c.engine.tcp.listeners[id].halfOpen;
const listen = (c: TcpContext, options: ListenOptions) => c.engine.listen(options, c.handlers);

describe('versions', () => {
  test('all addresses are those of both versions, or of one', () => {
    for (const [family, four, six] of [
      [undefined, 1, 1],
      [4, 1, 0],
      [6, 0, 1],
    ] as const) {
      const c = new TcpContext();
      const id = listen(c, { port: 80, ...(family === undefined ? {} : { family }) });
      syn(c, '10.0.0.1', 80);
      expect(halfOpen(c, id)).toBe(four);
      syn(c, 'fd00::1', 80);
      expect(halfOpen(c, id)).toBe(four + six);
    }
  });

  test('one of each may stand beside the other, and not beside one of both', () => {
    const c = new TcpContext();
    const four = listen(c, { port: 80, family: 4 });
    const six = listen(c, { port: 80, family: 6 });
    for (const family of [4, 6] as const) expect(() => listen(c, { port: 80, family })).toThrow('EADDRINUSE');
    expect(() => listen(c, { port: 80 })).toThrow('EADDRINUSE');
    syn(c, '10.0.0.1', 80);
    syn(c, 'fd00::1', 80);
    expect([halfOpen(c, four), halfOpen(c, six)]).toEqual([1, 1]);
    c.engine.unlisten(four);
    c.engine.unlisten(six);
    listen(c, { port: 80 });
  });

  test('one address comes before all of them, whichever was there first', () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const c = new TcpContext();
      const ids: number[] = [];
      for (const i of order) ids[i] = listen(c, { port: 80, ...(i === 0 ? { address: '10.0.0.1' } : {}) });
      syn(c, '10.0.0.1', 80);
      syn(c, 'fd00::1', 80);
      expect([halfOpen(c, ids[0]), halfOpen(c, ids[1])]).toEqual([1, 1]);
    }
  });
});

describe('passive opens beside other connections (RFC 9293 3.9.1.1)', () => {
  test('a listener takes none of those that are there (MUST-41)', () => {
    const c = new TcpContext().establish();
    c.engine.unlisten(c.listener);
    listen(c, { port: 80 });
    c.peer.inject({ length: 10 });
    expect(c.events()).toEqual(['data 10']);
  });

  test('may listen on a port that is connecting or half open (MUST-42)', () => {
    const c = new TcpContext().connect();
    const id = listen(c, { port: 80 });
    expect(c.state).toBe('SYN-SENT');
    const other = c.addPeer(6000);
    other.inject({ flags: 'S' });
    expect(halfOpen(c, id)).toBe(1);
    c.engine.unlisten(id);
    listen(c, { port: 80 });
    expect(c.state).toBe('SYN-SENT');
    c.peer.inject({ flags: 'S.' });
    expect(c.events()).toEqual(['open']);
  });

  test('the connection’s local address is the one that the SYN was sent to', () => {
    const c = new TcpContext({ version: 6 }).establish();
    expect(c.engine.endpoint(c.conn)).toMatchObject({ family: 6, localAddress: 'fd00::1', localPort: 80 });
  });
});

describe('transparent listeners', () => {
  test('take connections to any address, and on port 0 to any port; the program sees where they went', () => {
    for (const version of [4, 6] as const) {
      const c = new TcpContext({ version });
      const ends: unknown[] = [];
      const id = c.engine.listen(
        { port: 0, transparent: true },
        { open: (conn) => ends.push(c.engine.endpoint(conn)) },
      );
      const dst = version === 4 ? '203.0.113.9' : '2001:db8::9';
      syn(c, dst, 4433);
      expect(halfOpen(c, id)).toBe(1);
      const synAck = c.peer.expect({ flags: 'S.' });
      const src = version === 4 ? '10.0.0.2' : 'fd00::2';
      const payload = emitTcp(
        { srcPort: 5000, dstPort: 4433, seq: 1, ack: synAck.seq + c.peer.irs + 1, flags: 16 },
        { src, dst },
      );
      c.packet(
        version === 4
          ? emitIpv4Packet({ src, dst, protocol: PROTOCOL_TCP, payload })
          : emitIpv6Packet({ src, dst, nextHeader: PROTOCOL_TCP, payload }),
      );
      c.run();
      expect(ends).toEqual([
        { family: version, localAddress: dst, localPort: 4433, remoteAddress: src, remotePort: 5000 },
      ]);
    }
  });

  test('come last: an address’s or a port’s own listener is first', () => {
    const c = new TcpContext();
    const any = listen(c, { port: 0, transparent: true });
    const port = listen(c, { port: 80, transparent: true });
    const own = listen(c, { port: 80 });
    const foreign = listen(c, { port: 80, address: '203.0.113.1', transparent: true });
    for (const [dst, dstPort, id] of [
      ['10.0.0.1', 80, own],
      ['203.0.113.1', 80, foreign],
      ['203.0.113.2', 80, port],
      ['203.0.113.2', 81, any],
      ['10.0.0.1', 81, any],
    ] as const) {
      const before = halfOpen(c, id);
      syn(c, dst, dstPort);
      expect(halfOpen(c, id)).toBe(before + 1);
    }
  });

  test('what they don’t take is left alone: no RST in another host’s name', () => {
    const c = new TcpContext();
    syn(c, '203.0.113.1', 80);
    expect(c.engine.ip.interfaces[0].counters.notForUs).toBe(1);
    const id = listen(c, { port: 80, transparent: true });
    syn(c, '203.0.113.1', 81);
    c.peer.expectNothing();
    syn(c, '203.0.113.1', 80, 16);
    c.peer.expect({ flags: 'R' });
    // Nobody's: broadcast, groups, this network, loopback, reserved.
    for (const dst of ['255.255.255.255', '10.0.0.255', '224.0.0.5', '0.0.0.1', '127.0.0.1', '240.0.0.1']) {
      syn(c, dst, 80);
      c.peer.expectNothing();
    }
    for (const dst of ['ff02::1', 'ff0e::1', 'fe80::99']) syn(c, dst, 80);
    expect(halfOpen(c, id)).toBe(0);
    c.engine.unlisten(id);
    syn(c, '203.0.113.1', 80);
    c.peer.expectNothing();
  });

  test('other listeners keep to our addresses', () => {
    const c = new TcpContext().listen();
    listen(c, { port: 81, transparent: true });
    syn(c, '203.0.113.1', 80);
    expect(halfOpen(c, c.listener)).toBe(0);
    expect(() => listen(c, { port: 90, address: '203.0.113.1' })).toThrow('EADDRNOTAVAIL');
    expect(() => listen(c, { port: 0 })).toThrow('ERR_SOCKET_BAD_PORT');
  });

  test('and a connection may go out in another host’s name, and hear the answer', () => {
    const c = new TcpContext();
    expect(() => c.open({ localAddress: '203.0.113.7' })).toThrow('EADDRNOTAVAIL');
    c.connect({ localAddress: '203.0.113.7', transparent: true });
    const { options } = c.peer.expect({ flags: 'S' });
    expect(options.mss).toBe(1460);
    const [src, dst] = ['10.0.0.2', '203.0.113.7'];
    const payload = emitTcp(
      { srcPort: 5000, dstPort: 80, seq: 9, ack: c.peer.irs + 1, flags: 18, options: MODERN },
      { src, dst },
    );
    c.packet(emitIpv4Packet({ src, dst, protocol: PROTOCOL_TCP, payload }));
    c.run();
    expect(c.events()).toEqual(['open']);
  });

  test('ICMP errors about such a connection are heard, other ICMP to its address is not', () => {
    const c = new TcpContext();
    c.connect({ localAddress: '203.0.113.7', transparent: true });
    c.peer.take();
    const icmp = (kind: 'echo request' | 'unreachable', quotedFrom: string) => {
      const quoted = emitTcp(
        { srcPort: 80, dstPort: 5000, seq: c.peer.irs, flags: 2 },
        { src: quotedFrom, dst: '10.0.0.2' },
      );
      const original = { src: quotedFrom, dst: '10.0.0.2', protocol: PROTOCOL_TCP, payload: quoted };
      const payload = emitIcmp(
        kind === 'unreachable'
          ? { kind, code: 3, mtu: 0, payload: emitIpv4Packet(original) }
          : { kind, id: 1, seq: 1, payload: new Uint8Array(4) },
      );
      const packet = { src: '10.0.0.2', dst: '203.0.113.7', protocol: PROTOCOL_ICMP, payload };
      c.packet(emitIpv4Packet(packet));
      c.run();
    };
    icmp('echo request', '203.0.113.7');
    expect(c.engine.ip.interfaces[0].counters.notForUs).toBe(1);
    icmp('unreachable', '203.0.113.8');
    expect(c.events()).toEqual([]);
    icmp('unreachable', '203.0.113.7');
    expect(c.events()).toEqual(['close 2']);
  });

  test('SYN cookies work for them too', () => {
    const c = new TcpContext({ limits: { synCookies: 'always' } });
    c.engine.listen({ port: 0, transparent: true }, c.handlers);
    syn(c, '203.0.113.9', 4433);
    const synAck = c.peer.expect({ flags: 'S.' });
    const [src, dst] = ['10.0.0.2', '203.0.113.9'];
    const payload = emitTcp(
      { srcPort: 5000, dstPort: 4433, seq: 1, ack: synAck.seq + c.peer.irs + 1, flags: 16 },
      { src, dst },
    );
    c.packet(emitIpv4Packet({ src, dst, protocol: PROTOCOL_TCP, payload }));
    c.run();
    expect(c.events()).toEqual(['open']);
  });
});
