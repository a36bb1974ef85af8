import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatCidr, formatIpv4, formatIpv6, ipv4Mask, ipv6InPrefix, parseIpv6 } from '../wire/address.ts';
import { Address4, Address6, type Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { pathMtu, pathMtuUpdate } from './path-mtu.ts';
import {
  ROUTE_NONE,
  ROUTE_NOT_UNICAST,
  ROUTE_TO_SELF,
  routeLookup4,
  routeLookup6,
  sourceSelect6,
} from './routes.ts';
import { Host, memoryPort, OUR_4, OUR_6, OUR_LINK_LOCAL, PEER_4, PEER_6, words } from './testing.ts';

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

test('the longest matching prefix wins, whatever the order of adding', () => {
  // Few leading bits, so that prefixes overlap and addresses hit them.
  const address = fc.integer({ min: 0, max: 0xff }).map((low) => 0x0b000000 | (low << 16) | 0);
  const prefixes = fc.array(fc.tuple(address, fc.integer({ min: 8, max: 16 })), { maxLength: 12 });
  fc.assert(
    fc.property(prefixes, address, (prefixes, dst) => {
      const { ip, iface } = new Host();
      const kept = prefixes.map(([network, length], i) => ({
        network: network & ipv4Mask(length),
        length,
        gateway: `10.0.0.${i + 10}`,
      }));
      for (const { network, length, gateway } of kept) {
        ip.routes.add({ destination: formatCidr({ family: 4, address: network, length }), gateway });
      }
      const matching = kept.filter(({ network, length }) => (dst & ipv4Mask(length)) === network);
      const best = matching.reduce<(typeof kept)[0] | null>(
        (a, b) => (a === null || b.length > a.length ? b : a),
        null,
      );
      const route = routeLookup4(ip, dst);
      expect(route?.prefixLength).toBe(best?.length);
      if (route === null) expect(ip.path.failure).toBe(ROUTE_NONE);
      else {
        expect(route.iface).toBe(iface);
        expect([formatIpv4(ip.path.next0), formatIpv4(ip.path.src0)]).toEqual([best?.gateway, OUR_4]);
      }
    }),
  );
});

test('IPv6 prefixes of any length match as their bits say', () => {
  const network = fc.tuple(int32, int32, int32, int32).map((w) => [0x20000000 | (w[0] >>> 4), ...w.slice(1)]);
  fc.assert(
    fc.property(network, fc.integer({ min: 4, max: 128 }), fc.nat(127), (bits, length, flip) => {
      const { ip } = new Host();
      const prefix = Int32Array.from(
        bits,
        (word, i) => word & ipv4Mask(Math.min(32, Math.max(0, length - 32 * i))),
      );
      ip.routes.add({ destination: formatCidr({ family: 6, address: prefix, length }), gateway: PEER_6 });
      const dst = Int32Array.from(bits);
      if (flip > 3) dst[flip >> 5] ^= 1 << (31 - (flip & 31));
      const route = routeLookup6(ip, dst[0], dst[1], dst[2], dst[3]);
      expect(route !== null).toBe(ipv6InPrefix(dst, prefix, length));
      if (route !== null)
        expect(formatIpv6([ip.path.next0, ip.path.next1, ip.path.next2, ip.path.next3])).toBe(PEER_6);
    }),
  );
});

describe('a lookup', () => {
  const { ip, iface } = new Host('ether', { gateway4: '10.0.0.254', gateway6: 'fe80::254' });
  const lookup = (text: string, only = -1) => {
    const [d0, d1, d2, d3] = words(text);
    const route = text.includes(':') ? routeLookup6(ip, d0, d1, d2, d3, only) : routeLookup4(ip, d0, only);
    if (route === null) return ip.path.failure;
    const { next0, next1, next2, next3, src0, src1, src2, src3 } = ip.path;
    if (!text.includes(':')) return `${formatIpv4(next0)} from ${formatIpv4(src0)}`;
    return `${formatIpv6([next0, next1, next2, next3])} from ${formatIpv6([src0, src1, src2, src3])}`;
  };

  test('finds neighbours on the link, and everything else behind the gateway', () => {
    expect(lookup(PEER_4)).toBe(`${PEER_4} from ${OUR_4}`);
    expect(lookup('192.0.2.1')).toBe(`10.0.0.254 from ${OUR_4}`);
    expect(lookup(PEER_6)).toBe(`${PEER_6} from ${OUR_6}`);
    expect(lookup('fe80::77')).toBe(`fe80::77 from ${OUR_LINK_LOCAL}`);
    expect(lookup('2001:db8::1')).toBe(`fe80::254 from ${OUR_6}`);
    expect(lookup(PEER_4, iface.index)).toBe(`${PEER_4} from ${OUR_4}`);
    expect(lookup(PEER_4, 1)).toBe(ROUTE_NONE);
  });

  test('refuses what is ours and what is not one host', () => {
    for (const own of [OUR_4, OUR_6, OUR_LINK_LOCAL]) expect(lookup(own)).toBe(ROUTE_TO_SELF);
    for (const other of [
      '0.0.0.0',
      '127.0.0.1',
      '224.0.0.1',
      '255.255.255.255',
      '10.0.0.255',
      '10.0.0.0',
      '::',
      '::1',
      'ff02::1',
      '::ffff:10.0.0.2',
    ]) {
      expect(lookup(other)).toBe(ROUTE_NOT_UNICAST);
    }
  });
});

test('removing a route uncovers the one below', () => {
  const { ip } = new Host('ether', { gateway4: '10.0.0.254' });
  const route = ip.routes.add({ destination: '192.0.2.0/24', gateway: '10.0.0.253' });
  expect(routeLookup4(ip, words('192.0.2.1')[0])).toBe(route);
  expect(ip.routes.remove(route)).toBe(true);
  expect(ip.routes.remove(route)).toBe(false);
  expect(routeLookup4(ip, words('192.0.2.1')[0])?.prefixLength).toBe(0);
});

test('the IPv6 source has the scope that is needed, then the longest common prefix', () => {
  const v6 = ['fe80::1', '2001:db8:1::1', '2001:db8:2::1', 'fd00::1'].map(
    (a) => new Address6(parseIpv6(a), 64),
  );
  for (const addresses of [v6, v6.toReversed()]) {
    const source = (text: string) => {
      const [d0, d1, d2, d3] = parseIpv6(text);
      const a = sourceSelect6({ v6: addresses } as unknown as Interface, d0, d1, d2, d3);
      return formatIpv6([a.a0, a.a1, a.a2, a.a3]);
    };
    expect(source('fe80::9')).toBe('fe80::1');
    expect(source('ff02::1')).toBe('fe80::1');
    expect(source('2001:db8:2::9')).toBe('2001:db8:2::1');
    expect(source('2001:db8:1::9')).toBe('2001:db8:1::1');
    expect(source('fd00::9')).toBe('fd00::1');
  }
});

test('prefixes know their broadcast address, unless they are too small to have one', () => {
  expect(formatIpv4(new Address4(words('10.1.2.3')[0], 8).broadcast)).toBe('10.255.255.255');
  expect(formatIpv4(new Address4(words('10.1.2.3')[0], 30).broadcast)).toBe('10.1.2.3');
  expect(new Address4(words('10.1.2.3')[0], 31).broadcast).toBe(-1);
});

describe('configuration that cannot work is refused, and leaves no trace', () => {
  const bad = [
    [{ addresses: ['10.0.1.1'] }, 'ERR_INVALID_ADDRESS'],
    [{ addresses: ['10.0.0.1/24'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['fd00::1/64'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['10.1.0.1/24', '10.1.0.1/16'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['10.1.0.0/24'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['10.1.0.255/24'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['224.0.0.1/4'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['127.0.0.1/8'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['::1/128'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['ff02::1/16'] }, 'ERR_IP_ADDRESS'],
    [{ addresses: ['10.1.0.1/24'], gateway4: '10.2.0.1' }, 'ERR_IP_GATEWAY'],
    [{ addresses: ['fd01::1/64'], gateway6: 'fd02::1' }, 'ERR_IP_GATEWAY'],
    [{ addresses: [], gateway4: '10.2.0.1' }, 'ERR_IP_GATEWAY'],
    [{ addresses: ['10.1.0.1/24'], mtu: 1501 }, 'ERR_IP_PORT'],
    [{ addresses: ['10.1.0.1/24'], mtu: 500 }, 'ERR_IP_PORT'],
    [{ addresses: ['fd01::1/64'], mtu: 1279 }, 'ERR_IP_PORT'],
    [{ addresses: [], neighbours: 0 }, 'ERR_IP_LIMIT'],
    [{ addresses: Array.from({ length: 65 }, (_, i) => `10.1.0.${i + 1}/24`) }, 'ERR_IP_LIMIT'],
  ] as const;
  test.each(bad)('%j', (options, code) => {
    const { ip, arena } = new Host();
    const before = [ip.routes.v4.length, ip.routes.v6.length];
    const add = () =>
      ip.addInterface(memoryPort(arena, 'ether', '02:00:00:00:00:09'), {
        ...options,
        addresses: [...options.addresses],
      });
    expect(add).toThrow(expect.objectContaining({ code }));
    expect([ip.routes.v4.length, ip.routes.v6.length, ip.interfaces.length]).toEqual([...before, 1]);
  });

  test('ports of another arena or with no address of their own', () => {
    const { ip, arena } = new Host();
    const other = new Host();
    const options = { addresses: ['10.1.0.1/24'] };
    expect(() => ip.addInterface(other.iface.port, options)).toThrow('another arena');
    expect(() => ip.addInterface(memoryPort(arena, 'ether', '01:00:00:00:00:09'), options)).toThrow(
      'hardware address',
    );
  });

  test('routes', () => {
    const { ip } = new Host();
    expect(() => ip.routes.add({ destination: '10.1.0.1/24', gateway: PEER_4 })).toThrow(
      'bits set after its prefix',
    );
    expect(() => ip.routes.add({ destination: '10.1.0.0/24' })).toThrow('needs an interface or a gateway');
    expect(() => ip.routes.add({ destination: '10.1.0.0/24', gateway: '10.9.0.1' })).toThrow(
      'on no connected network',
    );
    expect(() => {
      for (let i = 0; i < 300; i++) ip.routes.add({ destination: '10.1.0.0/24', gateway: PEER_4 });
    }).toThrow('at most 256 routes');
  });
});

test('below the IPv6 minimum MTU an interface speaks IPv4 only', () => {
  const host = new Host('ether', { addresses: ['10.0.0.1/24'], mtu: 1000 });
  expect(host.iface.v6).toEqual([]);
  expect(new Host('ip', { addresses: [] }).iface.v6.length).toBe(1);
});

describe('path MTU', () => {
  const learn = (ip: Ip, text: string, mtu: number) => {
    const [d0, d1, d2, d3] = words(text);
    return pathMtuUpdate(ip, text.includes(':') ? 6 : 4, d0, d1, d2, d3, mtu);
  };
  const mtuOf = (host: Host, text: string) => {
    const [d0, d1, d2, d3] = words(text);
    return pathMtu(host.ip, host.iface, text.includes(':') ? 6 : 4, d0, d1, d2, d3);
  };

  test('only goes down, to the floor, for ten minutes', () => {
    const host = new Host('ether', { gateway4: PEER_4 });
    const dst = '192.0.2.1';
    expect(mtuOf(host, dst)).toBe(1500);
    for (const refused of [0, 551, 1500, 9000, -1]) expect(learn(host.ip, dst, refused)).toBe(false);
    expect(learn(host.ip, dst, 1400)).toBe(true);
    // Another connection's report of the same, and one that is too late: nothing rises.
    expect([learn(host.ip, dst, 1400), learn(host.ip, dst, 1450), mtuOf(host, dst)]).toEqual([
      true,
      true,
      1400,
    ]);
    host.pass(300_000);
    expect(learn(host.ip, dst, 552)).toBe(true);
    expect([mtuOf(host, dst), mtuOf(host, '192.0.2.2')]).toEqual([552, 1500]);
    host.pass(599_900);
    expect(mtuOf(host, dst)).toBe(552);
    host.pass(200);
    expect([mtuOf(host, dst), host.ip.pathMtus.count]).toEqual([1500, 0]);
    expect(host.ip.timerDelay_ms).toBe(-1);
  });

  test('IPv6 has a floor of 1280, and addresses of both versions are kept apart', () => {
    const host = new Host();
    expect(learn(host.ip, PEER_6, 1279)).toBe(false);
    expect(learn(host.ip, PEER_6, 1280)).toBe(true);
    // The same first word as 10.0.0.2.
    host.ip.routes.add({ destination: 'a00:2::/128', gateway: PEER_6 });
    expect(learn(host.ip, PEER_4, 600)).toBe(true);
    expect(mtuOf(host, 'a00:2::')).toBe(1500);
  });

  test('is bounded: the oldest goes first', () => {
    const host = new Host();
    for (let i = 0; i < 1000; i++) expect(learn(host.ip, `fd00::1:${(i + 1).toString(16)}`, 1400)).toBe(true);
    expect([host.ip.pathMtus.count, host.ip.counters.pathMtuEvicted]).toEqual([256, 744]);
    expect([
      mtuOf(host, `fd00::1:${(744).toString(16)}`),
      mtuOf(host, `fd00::1:${(745).toString(16)}`),
    ]).toEqual([1500, 1400]);
  });
});
