import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIpv6 } from '../wire/address.ts';
import { decodeFrame } from '../wire/decode.ts';
import type { NdpPrefix } from '../wire/ndp.ts';
import { addressText } from './interface.ts';
import { Ip } from './ip.ts';
import { neighbourResolve } from './neighbours.ts';
import { pathMtu } from './path-mtu.ts';
import { routeLookup4, routeLookup6 } from './routes.ts';
import {
  advertFrame,
  arpFrame,
  Host,
  icmp6,
  linkLocalOf,
  memoryPort,
  OUR_4,
  OUR_6,
  OUR_MAC,
  PEER_MAC,
  type RouterAdvert,
  routerFrame,
  solicitFrame,
  words,
} from './testing.ts';

const NOBODY_MAC = '00:00:00:00:00:00';
const ROUTER = 'fe80::2';
const PREFIX = '2001:db8:1:2::';
const HOUR = 3600;

/** A host that takes part, with what becomes of its addresses. */
function starting(addresses: string[] = []): { host: Host; changes: string[] } {
  const host = new Host('ether', { autoconfigure: true, addresses }, 256);
  const changes: string[] = [];
  host.ip.onAddress = ({ kind, address }) => changes.push(`${kind} ${addressText(address)}`);
  return { host, changes };
}

/** The same once its link-local address is ours. */
function ready(): Host {
  const { host } = starting();
  host.pass(3000);
  host.take();
  return host;
}

function addressesOf(host: Host): string[] {
  return host.iface.v6.filter(({ origin }) => origin === 'autoconfigured').map(addressText);
}

function prefix(change: Partial<NdpPrefix> = {}): Partial<RouterAdvert> {
  const whole = { prefix: PREFIX, length: 64, onLink: true, autonomous: true, validSeconds: 4 * HOUR };
  return { options: { prefixes: [{ ...whole, preferredSeconds: 2 * HOUR, ...change }] } };
}

/** What was said about addresses: `probe ADDRESS`, `announce ADDRESS`, `solicit`, … */
function said(host: Host): string[] {
  return host.take().flatMap((frame) => {
    const { ethernet, arp, ipv6, icmpv6, checksumGood } = decodeFrame(frame, 'ether');
    expect(ethernet?.src).toBe(OUR_MAC);
    if (arp !== undefined) {
      if (arp.senderIp === '0.0.0.0') return [`probe ${arp.targetIp}`];
      return [arp.senderIp === arp.targetIp ? `announce ${arp.senderIp}` : `ask ${arp.targetIp}`];
    }
    if (icmpv6 === undefined) return [];
    expect(checksumGood).toBe(true);
    if (icmpv6.kind === 'neighbor solicitation') {
      if (ipv6?.src !== '::') return [`ask ${icmpv6.target}`];
      expect(icmpv6.options).toEqual({});
      return [`probe ${icmpv6.target}`];
    }
    if (icmpv6.kind === 'neighbor advertisement') {
      if (ipv6?.dst === 'ff02::2') expect(icmpv6.flags).toBe(0);
      return [`${ipv6?.dst === 'ff02::2' ? 'announce' : 'answer'} ${icmpv6.target}`];
    }
    if (icmpv6.kind === 'router solicitation') {
      expect([ipv6?.dst, icmpv6.options.sourceMac]).toEqual(['ff02::2', OUR_MAC]);
      return ['solicit'];
    }
    return [];
  });
}

function route(host: Host, destination: string): { next: string; source: string } | null {
  const [d0, d1, d2, d3] = words(destination);
  if (routeLookup6(host.ip, d0, d1, d2, d3) === null) return null;
  const { path } = host.ip;
  return {
    next: formatIpv6([path.next0, path.next1, path.next2, path.next3]),
    source: formatIpv6([path.src0, path.src1, path.src2, path.src3]),
  };
}

describe('an address that is to be ours', () => {
  test('is probed first, then used, then announced', () => {
    const { host, changes } = starting([`${OUR_4}/24`, `${OUR_6}/64`]);
    expect([host.iface.v4.length, host.iface.v6.length, host.iface.tentative.length]).toEqual([0, 0, 3]);
    host.pass(2100);
    const linkLocal = linkLocalOf(host);
    expect(changes.sort()).toEqual([`added ${OUR_6}`, `added ${linkLocal}`].sort());
    const early = said(host);
    expect(early.filter((text) => !text.endsWith(OUR_4)).slice(0, 5)).toEqual(
      expect.arrayContaining([
        `probe ${OUR_6}`,
        `probe ${linkLocal}`,
        `announce ${OUR_6}`,
        `announce ${linkLocal}`,
      ]),
    );
    expect(routeLookup4(host.ip, words('10.0.0.9')[0])).toBeNull();
    host.pass(7000);
    const all = [...early, ...said(host)].filter((text) => text.endsWith(OUR_4));
    expect(all).toEqual([...Array(3).fill(`probe ${OUR_4}`), ...Array(2).fill(`announce ${OUR_4}`)]);
    expect(changes).toContain(`added ${OUR_4}`);
    expect(routeLookup4(host.ip, words('10.0.0.9')[0])).not.toBeNull();
    expect(host.iface.announcements).toEqual([]);
  });

  test('answers nobody before', () => {
    const { host } = starting([`${OUR_4}/24`, `${OUR_6}/64`]);
    host.receive(icmp6({ kind: 'echo request', id: 1, seq: 1, payload: new Uint8Array(4) }));
    host.receive(solicitFrame(OUR_6, 'fd00::2', PEER_MAC, 'ff02::1:ff00:1'));
    expect(host.take()).toEqual([]);
    expect(host.counters.notForUs).toBe(2);
    expect(host.counters.duplicateAddresses).toBe(0);
  });

  test.each<[string, string, Uint8Array]>([
    ['whose owner answers', OUR_6, advertFrame(OUR_6, PEER_MAC, 0x20, 'ff02::1')],
    ['that another is asking about', OUR_6, solicitFrame(OUR_6, '::', null, 'ff02::1:ff00:1')],
    ['whose owner answers', OUR_4, arpFrame('reply', PEER_MAC, OUR_4, OUR_MAC, '0.0.0.0')],
    ['whose owner asks', OUR_4, arpFrame('request', PEER_MAC, OUR_4, NOBODY_MAC, '10.0.0.77')],
    ['that another is asking about', OUR_4, arpFrame('request', PEER_MAC, '0.0.0.0', NOBODY_MAC, OUR_4)],
  ])('%s, %s, is never used', (_name, address, frame) => {
    const { host, changes } = starting([`${OUR_4}/24`, `${OUR_6}/64`]);
    host.pass(500);
    host.receive(frame);
    host.pass(20_000);
    expect(changes.filter((text) => text.endsWith(` ${address}`))).toEqual([`duplicate ${address}`]);
    expect(host.counters.duplicateAddresses).toBe(1);
    expect([...host.iface.v4, ...host.iface.v6].map(addressText)).not.toContain(address);
  });

  test('made by ourselves is made anew when somebody has it, a few times', () => {
    const { host, changes } = starting();
    const seen = new Set<string>();
    for (let i = 0; i < 10; i++) {
      const [tentative] = host.iface.tentative;
      if (tentative === undefined) break;
      const address = addressText(tentative.address);
      seen.add(address);
      host.receive(advertFrame(address, PEER_MAC, 0x20, 'ff02::1'));
    }
    expect([seen.size, host.iface.tentative.length, changes.length]).toEqual([4, 0, 4]);
  });

  test('that comes back from the wire as our own question is no conflict', () => {
    const { host } = starting();
    host.pass(1000);
    const probe = host
      .take()
      .find((frame) => decodeFrame(frame, 'ether').icmpv6?.kind === 'neighbor solicitation');
    host.receive(probe!);
    host.pass(2000);
    expect(host.counters.duplicateAddresses).toBe(0);
    expect(host.iface.v6).toHaveLength(1);
  });

  test('stays the same for the same secret and network, and says nothing of the hardware', () => {
    const make = (secret: number, name = 'test') => {
      const host = new Host();
      const ip = new Ip(host.arena, { seed: 9, addressSecret: Int32Array.of(secret, 2, 3, 4) });
      const port = { ...memoryPort(host.arena, 'ether', OUR_MAC, 16), name };
      const iface = ip.addInterface(port, { addresses: [], autoconfigure: true });
      return addressText(iface.tentative[0].address);
    };
    expect(make(1)).toBe(make(1));
    expect(new Set([make(1), make(2), make(1, 'other')]).size).toBe(3);
    expect(make(1)).toMatch(/^fe80::/);
    expect(make(1)).not.toContain('ff:fe');
  });
});

describe('routers', () => {
  test('are asked for again and again, less and less often, until one answers (RFC 7559)', () => {
    const host = ready();
    let count = 0;
    const times: number[] = [];
    for (let s = 0; s < 400; s++) {
      host.pass(1000);
      if (said(host).includes('solicit')) times[count++] = s;
    }
    expect(times.length).toBeGreaterThan(5);
    expect(times.length).toBeLessThan(9);
    host.receive(routerFrame());
    host.pass(4_000_000, 1000);
    expect(said(host).filter((text) => text === 'solicit').length).toBeGreaterThan(0);
  });

  test('become the way out, for as long as they say', () => {
    const host = ready();
    expect(route(host, '2001:db8:9::9')).toBeNull();
    host.receive(routerFrame(ROUTER, { lifetimeSeconds: 100 }));
    expect(route(host, '2001:db8:9::9')).toEqual({ next: ROUTER, source: linkLocalOf(host) });
    expect(said(host)).toEqual([]);
    host.pass(99_000);
    host.receive(routerFrame(ROUTER, { lifetimeSeconds: 100 }));
    host.pass(99_000);
    expect(route(host, '2001:db8:9::9')).not.toBeNull();
    host.pass(2000);
    expect(route(host, '2001:db8:9::9')).toBeNull();
    // And are asked for again.
    host.pass(2000);
    expect(said(host)).toContain('solicit');
    host.receive(routerFrame());
    host.receive(routerFrame(ROUTER, { lifetimeSeconds: 0 }));
    expect(route(host, '2001:db8:9::9')).toBeNull();
  });

  test('say hop limit, MTU and timing, within reason', () => {
    const host = ready();
    const { iface, ip } = host;
    const mtu = () => [pathMtu(ip, iface, 6, 1, 2, 3, 4), pathMtu(ip, iface, 4, 1, 0, 0, 0)];
    host.receive(
      routerFrame(ROUTER, { hopLimit: 50, reachableMs: 20_000, retransMs: 500, options: { mtu: 1400 } }),
    );
    expect([iface.hopLimit, iface.reachable_ms, iface.retrans_ms, mtu()]).toEqual([
      50,
      20_000,
      500,
      [1400, 1500],
    ]);
    host.receive(
      routerFrame(ROUTER, { hopLimit: 1, reachableMs: 0xffffffff, retransMs: 1, options: { mtu: 1279 } }),
    );
    expect([iface.hopLimit, iface.reachable_ms, iface.retrans_ms, mtu()]).toEqual([
      50,
      3_600_000,
      100,
      [1400, 1500],
    ]);
    host.receive(routerFrame(ROUTER, { options: { mtu: 9000 } }));
    expect(mtu()).toEqual([1400, 1500]);
  });

  test('that are preferred come first, and those that do not answer last', () => {
    const host = ready();
    const next = () => route(host, '2001:db8:9::9')?.next;
    host.receive(routerFrame('fe80::a', { flags: 0x18 }));
    host.receive(routerFrame('fe80::b'));
    host.receive(routerFrame('fe80::c'));
    expect(next()).toBe('fe80::b');
    host.receive(routerFrame('fe80::c', { flags: 0x08 }));
    expect(next()).toBe('fe80::c');
    const ask = (router: string) => {
      const [a0, a1, a2, a3] = words(router);
      neighbourResolve(host.ip, host.iface, 6, a0, a1, a2, a3);
      host.pass(3500);
    };
    ask('fe80::c');
    expect(next()).toBe('fe80::b');
    ask('fe80::b');
    expect(next()).toBe('fe80::a');
    ask('fe80::a');
    // All are silent: they take turns.
    expect(next()).not.toBe('fe80::a');
    host.receive(routerFrame('fe80::c', { flags: 0x08 }));
    expect(next()).toBe('fe80::c');
  });

  test.each<[string, () => Uint8Array]>([
    ['from afar', () => routerFrame(ROUTER, {}, 254)],
    ['from no link-local address', () => routerFrame('fd00::2')],
    [
      'with an option of no length',
      () => {
        const frame = routerFrame(ROUTER, { options: { mtu: 1400 } });
        const message = 14 + 40;
        // And its reserved bytes say what is missing then, so that the checksum stays right.
        frame[message + 16 + 1] = 0;
        frame[message + 16 + 3] = 1;
        return frame;
      },
    ],
    [
      'with a code',
      () => routerFrame().map((byte, i) => (i === 14 + 40 + 1 ? 1 : i === 14 + 40 + 3 ? byte - 1 : byte)),
    ],
  ])('%s are not believed', (_name, frame) => {
    const host = ready();
    host.receive(frame());
    expect(host.counters.ndpBad).toBe(1);
    expect([host.iface.auto?.routers, host.iface.hopLimit]).toEqual([[], 64]);
  });

  test('are nobody where an interface is not autoconfigured', () => {
    const host = new Host();
    host.receive(routerFrame(ROUTER, prefix()));
    host.pass(5000);
    expect([host.counters.ndpIgnored, host.iface.v6.length, host.ip.routes.v6.length]).toEqual([1, 2, 2]);
  });
});

describe('prefixes', () => {
  test('become addresses of ours, and are on the link', () => {
    const host = ready();
    host.receive(routerFrame(ROUTER, prefix()));
    expect(addressesOf(host)).toEqual([]);
    host.pass(2100);
    const [address] = addressesOf(host);
    expect(address).toMatch(/^2001:db8:1:2:/);
    expect(said(host)).toEqual([`probe ${address}`, `announce ${address}`]);
    expect(route(host, `${PREFIX}99`)).toEqual({ next: `${PREFIX}99`, source: address });
    expect(route(host, '2001:db8:9::9')).toEqual({ next: ROUTER, source: address });
    host.pass(4 * HOUR * 1000, 1000);
    expect([addressesOf(host), route(host, `${PREFIX}99`)]).toEqual([[], null]);
  });

  test('that are not on the link are reached by the router, and those not autonomous make no address', () => {
    const host = ready();
    host.receive(routerFrame(ROUTER, prefix({ onLink: false })));
    host.receive(routerFrame(ROUTER, prefix({ prefix: '2001:db8:7::', autonomous: false })));
    host.receive(routerFrame(ROUTER, prefix({ prefix: '2001:db8:8::', length: 72, onLink: false })));
    host.receive(
      routerFrame(ROUTER, prefix({ prefix: '2001:db8:6::', preferredSeconds: 5 * HOUR, onLink: false })),
    );
    host.receive(routerFrame(ROUTER, prefix({ prefix: 'fe80::' })));
    host.pass(2100);
    expect(addressesOf(host)).toHaveLength(1);
    expect(route(host, `${PREFIX}99`)?.next).toBe(ROUTER);
    expect(route(host, '2001:db8:7::9')?.next).toBe('2001:db8:7::9');
    expect(host.iface.prefixes).toHaveLength(1);
  });

  test('lose an address no sooner than in two hours, whoever says so (RFC 4862 5.5.3)', () => {
    const host = ready();
    const lifetime = () => {
      const address = host.iface.v6.find(({ origin }) => origin === 'autoconfigured');
      return address === undefined ? 0 : Math.round(address.valid_ms / 1000);
    };
    host.receive(routerFrame(ROUTER, prefix()));
    host.pass(2000);
    host.receive(routerFrame(ROUTER, prefix({ validSeconds: 0, preferredSeconds: 0, onLink: false })));
    expect(lifetime()).toBe(2 * HOUR);
    host.pass(HOUR * 1000, 1000);
    host.receive(routerFrame(ROUTER, prefix({ validSeconds: 60, preferredSeconds: 0, onLink: false })));
    expect(lifetime()).toBe(HOUR);
    host.receive(
      routerFrame(ROUTER, prefix({ validSeconds: HOUR + 60, preferredSeconds: 0, onLink: false })),
    );
    expect(lifetime()).toBe(HOUR + 60);
    host.receive(routerFrame(ROUTER, prefix({ validSeconds: 0xffffffff, preferredSeconds: 0 })));
    host.pass(30 * 24 * HOUR * 1000, 60_000);
    expect(addressesOf(host)).toHaveLength(1);
  });

  test('that are deprecated are not used for what is new', () => {
    const host = ready();
    host.receive(routerFrame(ROUTER, prefix()));
    host.receive(
      routerFrame(ROUTER, prefix({ prefix: '2001:db8:1:3::', validSeconds: HOUR, preferredSeconds: HOUR })),
    );
    host.pass(2100);
    const source = () => route(host, '2001:db8:1:2::9')?.source;
    expect(source()).toMatch(/^2001:db8:1:2:/);
    host.receive(routerFrame(ROUTER, prefix({ preferredSeconds: 0 })));
    expect(source()).toMatch(/^2001:db8:1:3:/);
  });
});

test('a link without hardware addresses has routers, too, and nobody to ask whether an address is free', () => {
  const host = new Host('ip', { autoconfigure: true, addresses: [`${OUR_4}/24`] });
  expect([host.iface.v4.length, host.iface.v6.length]).toEqual([1, 1]);
  host.pass(1100);
  const [solicit] = host.take().map((packet) => decodeFrame(packet, 'ip'));
  expect(solicit.icmpv6).toEqual({ kind: 'router solicitation', options: {} });
  const advert = prefix();
  advert.options = { ...advert.options, sourceMac: PEER_MAC };
  host.receive(routerFrame(ROUTER, advert).subarray(14));
  expect(addressesOf(host)).toHaveLength(1);
  expect(route(host, '2001:db8:9::9')).toEqual({ next: ROUTER, source: addressesOf(host)[0] });
  expect(host.counters.neighbourFull).toBe(0);
});

describe('redirects', () => {
  const FAR = '2001:db8:9::9';
  const redirect = (
    host: Host,
    target: string,
    src = ROUTER,
    destination = FAR,
    hopLimit = 255,
    dst?: string,
  ) =>
    host.receive(
      icmp6({ kind: 'redirect', target, destination, options: {} }, src, dst ?? linkLocalOf(host), hopLimit),
    );

  test('lead to another router, or to the host itself', () => {
    const host = ready();
    host.receive(routerFrame());
    redirect(host, 'fe80::b');
    expect(route(host, FAR)?.next).toBe('fe80::b');
    expect(route(host, '2001:db8:9::10')?.next).toBe(ROUTER);
    // From the one that is used now, no longer from the first.
    redirect(host, FAR, ROUTER);
    expect(route(host, FAR)?.next).toBe('fe80::b');
    redirect(host, FAR, 'fe80::b');
    expect(route(host, FAR)?.next).toBe(FAR);
    expect([host.counters.redirectsFollowed, host.counters.redirects, host.counters.ndpBad]).toEqual([
      2, 3, 1,
    ]);
  });

  test('end with their target, or with the router', () => {
    const host = ready();
    host.receive(routerFrame());
    redirect(host, 'fe80::b');
    const [a0, a1, a2, a3] = words('fe80::b');
    neighbourResolve(host.ip, host.iface, 6, a0, a1, a2, a3);
    host.pass(3500);
    expect(route(host, FAR)?.next).toBe(ROUTER);
    redirect(host, 'fe80::b');
    host.receive(routerFrame(ROUTER, { lifetimeSeconds: 0 }));
    expect([route(host, FAR), host.iface.auto?.redirects]).toEqual([null, []]);
  });

  test('by others, from afar, or to nowhere are not followed; nor too many', () => {
    const host = ready();
    host.receive(routerFrame());
    redirect(host, 'fe80::b', 'fe80::66');
    redirect(host, 'fe80::b', 'fd00::2');
    redirect(host, 'fe80::b', ROUTER, FAR, 254);
    redirect(host, 'fd00::b', ROUTER);
    redirect(host, 'ff02::b', ROUTER);
    redirect(host, 'fe80::b', ROUTER, 'ff05::9');
    expect([host.counters.ndpBad, host.counters.redirectsFollowed]).toEqual([6, 0]);
    for (let i = 1; i <= 100; i++) redirect(host, 'fe80::b', ROUTER, `2001:db8:9::${i.toString(16)}`);
    expect(host.iface.auto?.redirects).toHaveLength(64);
    expect(host.ip.routes.v6.length).toBeLessThan(70);
    expect(route(host, '2001:db8:9::64')?.next).toBe('fe80::b');
    expect(route(host, '2001:db8:9::1')?.next).toBe(ROUTER);
  });
});

test('whatever routers say stays within limits, and ends', () => {
  const seconds = fc.oneof(fc.constantFrom(0, 1, 7200, 7201), fc.nat(20_000));
  const one = fc.record({
    router: fc.nat(30),
    lifetimeSeconds: fc.nat(9000),
    flags: fc.nat(255),
    hopLimit: fc.nat(255),
    retransMs: fc.nat(100_000),
    prefix: fc.nat(40),
    length: fc.constantFrom(0, 48, 64, 128, 129, 255),
    onLink: fc.boolean(),
    autonomous: fc.boolean(),
    validSeconds: seconds,
    preferredSeconds: seconds,
    wait: fc.constantFrom(0, 100, 3000, 600_000),
  });
  fc.assert(
    fc.property(fc.array(one, { maxLength: 60 }), (all) => {
      const host = ready();
      for (const {
        router,
        prefix,
        wait,
        length,
        onLink,
        autonomous,
        validSeconds,
        preferredSeconds,
        ...rest
      } of all) {
        const made = {
          prefix: `2001:db8:0:${prefix}::`,
          length,
          onLink,
          autonomous,
          validSeconds,
          preferredSeconds,
        };
        host.receive(routerFrame(`fe80::1:${router}`, { ...rest, options: { prefixes: [made] } }));
        host.pass(wait);
        host.take();
        const { iface, ip } = host;
        expect(iface.auto!.routers.length).toBeLessThanOrEqual(16);
        expect(iface.prefixes.length).toBeLessThanOrEqual(16);
        expect(addressesOf(host).length + iface.tentative.length).toBeLessThanOrEqual(16);
        expect(ip.routes.v6.length).toBeLessThanOrEqual(40);
        const learnt = ip.routes.v6.filter((r) => r.learnt).length;
        expect(learnt).toBe(iface.auto!.routers.length + iface.prefixes.length);
      }
      host.pass(20_100_000, 10_000);
      const { iface, ip } = host;
      expect([iface.auto!.routers, iface.prefixes, addressesOf(host), iface.tentative]).toEqual([
        [],
        [],
        [],
        [],
      ]);
      expect(ip.routes.v6.filter((r) => r.learnt)).toEqual([]);
      // The link-local address's group, and no other's.
      expect(iface.groups).toHaveLength(1);
    }),
    { numRuns: 30 },
  );
});

describe('at run time', () => {
  test('addresses come and go, with their networks, gateways and groups', () => {
    const host = new Host();
    const { ip, iface } = host;
    const changes: string[] = [];
    ip.onAddress = ({ kind, address }) => changes.push(`${kind} ${addressText(address)}`);
    const to4 = (text: string) => routeLookup4(ip, words(text)[0]) !== null;
    ip.addAddress(iface, '192.0.2.1/24');
    ip.addAddress(iface, '2001:db8::1/64');
    ip.routes.add({ destination: '198.51.100.0/24', gateway: '192.0.2.254' });
    ip.routes.add({ destination: '2001:db8:1::/48', gateway: '2001:db8::ff' });
    expect([to4('192.0.2.9'), to4('198.51.100.9')]).toEqual([true, true]);
    expect([route(host, '2001:db8::9')?.source, route(host, '2001:db8:1::9')?.next]).toEqual([
      '2001:db8::1',
      '2001:db8::ff',
    ]);
    expect(() => ip.addAddress(iface, '192.0.2.1/24')).toThrow('given twice');
    expect(() => ip.addAddress(iface, '127.0.0.1/8')).toThrow('loopback');
    expect(ip.removeAddress(iface, '192.0.2.1')).toBe(true);
    expect(ip.removeAddress(iface, '2001:db8::1/64')).toBe(true);
    expect(ip.removeAddress(iface, '192.0.2.1')).toBe(false);
    expect([to4('192.0.2.9'), to4('198.51.100.9'), route(host, '2001:db8::9')]).toEqual([false, false, null]);
    expect(to4('10.0.0.9')).toBe(true);
    expect(changes).toEqual([
      'added 192.0.2.1',
      'added 2001:db8::1',
      'removed 192.0.2.1',
      'removed 2001:db8::1',
    ]);
    expect(iface.groups).toHaveLength(1);
    // Two of one network: it stays until the last is gone.
    ip.addAddress(iface, '10.0.0.77/24');
    ip.removeAddress(iface, OUR_4);
    expect(to4('10.0.0.9')).toBe(true);
    ip.removeAddress(iface, '10.0.0.77');
    expect(to4('10.0.0.9')).toBe(false);
    // Nor does the last of all bring anything down.
    host.receive(arpFrame('request', PEER_MAC, '10.0.0.2', NOBODY_MAC, OUR_4));
    for (const a of iface.v6.slice()) ip.removeAddress(iface, addressText(a));
    host.pass(100_000);
    expect([iface.v4, iface.v6, iface.groups, ip.routes.v4, ip.routes.v6]).toEqual([[], [], [], [], []]);
  });

  test('neighbours of an address that is gone are asked no more', () => {
    const host = new Host();
    host.resolve('10.0.0.2');
    host.take();
    host.ip.removeAddress(host.iface, OUR_4);
    host.pass(10_000);
    expect(host.take()).toEqual([]);
  });

  test('a link that is down carries nothing; up again, its addresses are announced', () => {
    const host = ready();
    const { ip, iface } = host;
    host.receive(routerFrame(ROUTER, prefix()));
    host.pass(3000);
    host.take();
    const before = addressesOf(host);
    ip.setLink(iface, false);
    expect([route(host, '2001:db8:9::9'), iface.neighbours.count]).toEqual([null, 0]);
    host.receive(icmp6({ kind: 'echo request', id: 1, seq: 1, payload: new Uint8Array(4) }));
    host.pass(60_000);
    expect([host.take().length, host.counters.linkDown]).toEqual([0, 1]);
    ip.setLink(iface, true);
    host.pass(2000);
    const told = said(host);
    expect(told).toContain('solicit');
    expect(told).toContain(`announce ${before[0]}`);
    expect([addressesOf(host), route(host, '2001:db8:9::9')?.next]).toEqual([before, ROUTER]);
  });

  test('the MTU changes, within what the port and IPv6 allow', () => {
    const host = new Host();
    const { ip, iface } = host;
    ip.setMtu(iface, 1300);
    expect([pathMtu(ip, iface, 4, 1, 0, 0, 0), pathMtu(ip, iface, 6, 1, 2, 3, 4)]).toEqual([1300, 1300]);
    expect(() => ip.setMtu(iface, 1501)).toThrow('not 1501');
    expect(() => ip.setMtu(iface, 1279)).toThrow('IPv6 needs an MTU');
    for (const a of iface.v6.slice()) ip.removeAddress(iface, addressText(a));
    ip.setMtu(iface, 600);
    expect(() => ip.addAddress(iface, 'fd00::5/64')).toThrow('IPv6 needs an MTU');
  });
});

test('a source is chosen as RFC 6724 5 says', () => {
  const host = new Host('ether', {
    addresses: ['2001:db8:1::1/64', 'fd00::1/64', '2002:102:304::1/64', '2001:db8:2::1/64'],
    gateway6: 'fe80::ff',
  });
  const source = (to: string) => route(host, to)?.source;
  expect(source('fe80::9')).toBe('fe80::ff:fe00:1');
  expect(source('2001:db8:2::9')).toBe('2001:db8:2::1');
  expect(source('2001:db8:1:5::9')).toBe('2001:db8:1::1');
  // By label before prefix.
  expect(source('fd55::9')).toBe('fd00::1');
  expect(source('2002:506::9')).toBe('2002:102:304::1');
  expect(source('3000::9')).toBe('2001:db8:1::1');
});
