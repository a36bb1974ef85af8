/** IPv4 source routes (RFC 9293 3.9.2.1, RFC 791 3.1). */
import { describe, expect, test } from 'vitest';
import { DESC_AT, DESC_LENGTH } from '../memory/ring.ts';
import { formatIpv4, parseIpv4 } from '../wire/address.ts';
import { decodeFrame } from '../wire/decode.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { PROTOCOL_TCP } from '../wire/protocols.ts';
import { emitTcp, type TcpSegment } from '../wire/tcp.ts';
import type { Given } from './testing.ts';
import { MODERN, PORT, stream, TcpContext } from './testing.ts';

const [OURS, PEERS] = ['10.0.0.1', '10.0.0.2'];
const BITS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, '.': 16, U: 32 };

/** What a packet's header says of its way, and its segment. */
interface Routed {
  readonly dst: string;
  readonly strict: boolean;
  /** Pointer of the option, and its addresses. */
  readonly pointer: number;
  readonly hops: string[];
  readonly tcp: TcpSegment;
  readonly bytes: number;
}

/** The peer of a context, who reads and writes IP options. */
class RoutedPeer {
  readonly #context: TcpContext;
  iss = 100;
  irs = 0;

  constructor(context: TcpContext) {
    this.#context = context;
  }

  /** @param came Hops that the packet says it has passed; none: no option. */
  inject(given: Given & { came?: readonly string[]; strict?: boolean; pointer?: number }): Routed[] {
    const { flags = '.', seq = 1, ack = 1, length = 0, came = [], strict = false } = given;
    const option = Uint8Array.of(
      1,
      strict ? 137 : 131,
      3 + 4 * came.length,
      given.pointer ?? 4 + 4 * came.length,
      ...came.flatMap((hop) => hop.split('.').map(Number)),
    );
    const payload = emitTcp(
      {
        srcPort: 5000,
        dstPort: PORT,
        seq: this.iss + seq,
        ack: flags.includes('.') ? (this.irs + ack) | 0 : 0,
        flags: [...flags].reduce((sum, letter) => sum | BITS[letter], 0),
        window: 60_000,
        options: given.options ?? {},
        payload: stream(seq, length),
      },
      { src: PEERS, dst: OURS },
    );
    const options = came.length > 0 ? { options: option } : {};
    this.#context.packet(
      emitIpv4Packet({ src: PEERS, dst: OURS, protocol: PROTOCOL_TCP, payload, ...options }),
    );
    return this.run();
  }

  /** Lets the engine work. @returns what it sent */
  run(): Routed[] {
    const { engine, port, arena, now } = this.#context;
    const sent: Routed[] = [];
    for (let i = 0; i < 20; i++) {
      engine.breath(now);
      while (port.rxSync() > 0) {
        const slot = port.rx.slot(port.rx.head);
        const at = port.rx.m[slot + DESC_AT];
        sent.push(this.#read(arena.u8.slice(at, at + port.rx.m[slot + DESC_LENGTH])));
        port.rx.head = (port.rx.head + 1) | 0;
      }
    }
    return sent;
  }

  #read(bytes: Uint8Array): Routed {
    const { ipv4, tcp } = decodeFrame(bytes, 'ip');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const header = (bytes[0] & 15) * 4;
    let sum = 0;
    for (let i = 0; i < header; i += 2) sum += view.getUint16(i);
    expect((sum & 0xffff) + (sum >>> 16)).toBe(0xffff);
    expect(ipv4!.src).toBe(OURS);
    const hops = [];
    for (let i = 24; i < header; i += 4) hops.push(formatIpv4(view.getInt32(i)));
    if (header > 20) expect([bytes[20], bytes[22]]).toEqual([1, header - 21]);
    this.#checksum(bytes.subarray(header), hops.at(-1) ?? ipv4!.dst);
    if ((tcp!.flags & 2) !== 0) this.irs = tcp!.seq;
    return {
      dst: ipv4!.dst,
      strict: bytes[21] === 137,
      pointer: header > 20 ? bytes[23] : 0,
      hops,
      tcp: tcp!,
      bytes: bytes.length,
    };
  }

  /** Over the pseudo-header with the last address of the route. */
  #checksum(segment: Uint8Array, dst: string): void {
    let sum = PROTOCOL_TCP + segment.length;
    for (const word of [parseIpv4(OURS), parseIpv4(dst)]) sum += (word >>> 16) + (word & 0xffff);
    for (let i = 0; i < segment.length; i++) sum += i % 2 === 0 ? segment[i] << 8 : segment[i];
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    expect(sum).toBe(0xffff);
  }
}

/** Without timestamps, which this peer doesn't keep up. */
const PLAIN = { mss: 1460, sackPermitted: true, windowScale: 7 };
const VIA = ['10.0.0.7', '10.0.8.8'];
const OUT = { dst: '10.0.0.7', strict: false, pointer: 4, hops: ['10.0.8.8', PEERS] };

describe('a route that the program gives', () => {
  function opened(strict = false): [TcpContext, RoutedPeer] {
    const c = new TcpContext();
    const peer = new RoutedPeer(c);
    c.open({ sourceRoute: { via: VIA, strict } });
    const [syn] = peer.run();
    expect(syn).toMatchObject({ ...OUT, strict });
    return [c, peer];
  }

  test('every segment of a connection takes the way it was opened with (MUST-51)', () => {
    const [c, peer] = opened();
    expect(peer.inject({ flags: 'S.', seq: 0, options: MODERN })).toMatchObject([OUT]);
    c.engine.write(c.conn, stream(1, 5000));
    c.engine.markUrgent(c.conn);
    const data = peer.run();
    expect(data.map(({ tcp }) => tcp.payload.length)).toEqual([1436, 1436, 1436, 692]);
    for (const segment of data)
      expect(segment).toMatchObject({ ...OUT, tcp: { urgent: expect.any(Number) } });
    expect(data.map(({ tcp }) => tcp.urgent > 0)).toEqual([true, true, true, true]);
    expect(data[0].bytes).toBe(1500);
    expect(Buffer.concat(data.map(({ tcp }) => tcp.payload)).equals(stream(1, 5000))).toBe(true);
    peer.inject({ ack: 5001 });
    c.engine.abort(c.conn);
    expect(peer.run()).toMatchObject([{ ...OUT, tcp: { flags: 0x14 } }]);
  });

  test('strictly', () => {
    const [, peer] = opened(true);
    expect(peer.inject({ flags: 'S.', seq: 0 })).toMatchObject([{ ...OUT, strict: true }]);
  });

  test('what the peer’s packets came by doesn’t change it (MUST-52)', () => {
    const [c, peer] = opened();
    c.engine.listen({ port: 99, sourceRoutes: true }, {});
    peer.inject({ flags: 'S.', seq: 0, came: ['10.0.0.5'] });
    expect(c.events()).toEqual(['open']);
    c.engine.write(c.conn, stream(1, 10));
    expect(peer.run()).toMatchObject([OUT]);
  });

  test('what can’t be one is refused', () => {
    const c = new TcpContext();
    const open = (address: string, via: string[]) => () =>
      c.engine.connect({ address, port: 9, sourceRoute: { via } }, {});
    expect(open(PEERS, [])).toThrow(/ERR_SOURCE_ROUTE/);
    expect(open(PEERS, Array(10).fill('10.0.0.3'))).toThrow(/ERR_SOURCE_ROUTE/);
    expect(open(PEERS, ['224.0.0.1'])).toThrow(/ERR_SOURCE_ROUTE/);
    expect(open('255.255.255.255', ['10.0.0.3'])).toThrow(/ERR_SOURCE_ROUTE/);
    expect(open('fd00::2', ['10.0.0.3'])).toThrow(/ERR_SOURCE_ROUTE/);
    expect(open(PEERS, ['192.0.2.1'])).toThrow(/EHOSTUNREACH/);
    expect(c.engine.isOpen(open(PEERS, Array(9).fill('10.0.0.3'))())).toBe(true);
  });
});

describe('a route that packets came by', () => {
  const CAME = ['10.0.8.8', '10.0.0.7'];
  const BACK = { dst: '10.0.0.7', pointer: 4, hops: ['10.0.8.8', PEERS] };

  test.each(['never', 'always'] as const)(
    'is turned around, for all segments (MUST-53) (cookies %s)',
    (mode) => {
      const c = new TcpContext({ limits: { synCookies: mode } }).listen({ sourceRoutes: true });
      const peer = new RoutedPeer(c);
      expect(peer.inject({ flags: 'S', seq: 0, came: CAME, options: PLAIN })).toMatchObject([BACK]);
      peer.inject({ came: CAME });
      expect(c.events()).toEqual(['open']);
      c.engine.write(c.conn, stream(1, 10));
      expect(peer.run()).toMatchObject([BACK]);
      c.engine.close(c.conn);
      expect(peer.run()).toMatchObject([BACK]);
      expect(peer.inject({ ack: 12 })).toEqual([]);
      // TIME-WAIT has it still, and then nobody.
      expect(peer.inject({ flags: 'F.', ack: 12 })).toMatchObject([BACK]);
      expect(peer.inject({ flags: 'F.', ack: 12 })).toMatchObject([BACK]);
      c.pass(61_000);
      expect(c.engine.tcp.sourceRoutes.size).toBe(mode === 'always' ? 1 : 0);
      expect(peer.inject({ ack: 12 })).toMatchObject([{ dst: PEERS, hops: [] }]);
    },
  );

  test('a later one counts (SHLD-24)', () => {
    const c = new TcpContext().listen({ sourceRoutes: true });
    const peer = new RoutedPeer(c);
    peer.inject({ flags: 'S', seq: 0, options: PLAIN });
    peer.inject({});
    const { mss } = c.info;
    expect(peer.inject({ length: 10, came: CAME, strict: true })).toMatchObject([{ ...BACK, strict: true }]);
    expect(c.info.mss).toBe(mss - 12);
    expect(peer.inject({ seq: 11, length: 10, came: ['10.0.0.9'] })).toMatchObject([
      { dst: '10.0.0.9', hops: [PEERS] },
    ]);
    // One without leaves it, and one outside of the window is a stranger's.
    expect(peer.inject({ seq: 21, length: 10 })).toMatchObject([{ dst: '10.0.0.9' }]);
    peer.inject({ seq: 900_000, length: 10, came: CAME });
    expect(peer.inject({ seq: 31, length: 10 })).toMatchObject([{ dst: '10.0.0.9' }]);
  });

  test('is refused where no listener asks, when it isn’t at its end, or there are two', () => {
    const c = new TcpContext().listen();
    const peer = new RoutedPeer(c);
    const { counters } = c.engine.ip.interfaces[0];
    expect(peer.inject({ flags: 'S', seq: 0, came: CAME })).toEqual([]);
    expect(counters.sourceRoutes).toBe(1);
    c.engine.listen({ port: 99, sourceRoutes: true }, {});
    expect(peer.inject({ flags: 'S', seq: 0, came: CAME, pointer: 8 })).toEqual([]);
    expect(counters.sourceRoutes).toBe(2);
    // Another listener's connections don't return by it.
    expect(peer.inject({ flags: 'S', seq: 0, came: CAME })).toMatchObject([{ dst: PEERS, hops: [] }]);
  });

  test('to where nothing leads is none', () => {
    const c = new TcpContext().listen({ sourceRoutes: true });
    const peer = new RoutedPeer(c);
    expect(peer.inject({ flags: 'S', seq: 0, came: ['192.0.2.1'] })).toMatchObject([
      { dst: PEERS, hops: [] },
    ]);
  });
});
