import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Child } from '../../test/child.ts';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, type Ring } from '../memory/ring.ts';
import { interfaceInfo } from '../os/interface.ts';
import { enterNewNetwork } from '../os/netns.ts';
import type { Port } from './port.ts';
import { eventually, openTestTun, queue } from './tun.testing.ts';
import { openTun, tunArenaBytes } from './tun.ts';
import { VIRTIO_HEADER_BYTES } from './virtio-header.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Urn)';

describe.skipIf(reason !== '')(`a TUN device comes and goes with its port${reason}`, () => {
  const opened: Port[] = [];
  beforeAll(enterNewNetwork);
  afterEach(() => {
    for (const port of opened.splice(0)) port.close();
  });

  const open = (name: string, kind: 'tun' | 'tap' = 'tun'): Port => {
    const port = openTestTun({ name, kind, slots: 4 });
    opened.push(port);
    return port;
  };
  const exists = (name: string): boolean => {
    try {
      return interfaceInfo(name).index > 0;
    } catch {
      return false;
    }
  };
  const gone = (name: string) => eventually(() => (exists(name) ? undefined : true), `the end of ${name}`);

  /** Opens mr1 in a process in this thread's namespace, and then runs `then`. */
  function openInChild(then: string, command = [process.execPath]): Child {
    const url = JSON.stringify(new URL('./tun.testing.ts', import.meta.url));
    const source = `
      import { openTestTun } from ${url};
      try {
        globalThis.port = openTestTun({ name: 'mr1', kind: 'tun', hostAddresses: ['10.9.1.1/24'] });
        console.log('open');
      } catch (error) {
        console.log(error.name, error.code, error.message);
      }
      ${then}
    `;
    return new Child(command[0], [...command.slice(1), '--input-type=module', '-e', source]);
  }

  test('close removes it, and does nothing the second time', () => {
    const fds = () => readdirSync('/proc/self/fd').length;
    const before = fds();
    const port = open('mr0');
    expect(exists('mr0')).toBe(true);
    port.close();
    port.close();
    expect(exists('mr0')).toBe(false);
    expect(fds()).toBe(before);
    queue(port, new Uint8Array(20).fill(0x45));
    expect([port.rxSync(), port.txSync()]).toEqual([0, 0]);
    // The descriptor may be another one's now.
    open('mr0');
    port.close();
    expect(exists('mr0')).toBe(true);
  });

  test('so does the end of the process, by itself or by SIGKILL', async () => {
    const exits = openInChild('process.stdin.once("data", () => process.exit(3)); ');
    await exits.waitFor(/open/);
    expect(exists('mr1')).toBe(true);
    exits.write('go\n');
    expect((await exits.exit).code).toBe(3);
    await gone('mr1');
    const killed = openInChild('setInterval(() => port.rxSync(), 10);');
    await killed.waitFor(/open/);
    expect(exists('mr1')).toBe(true);
    killed.signal('SIGKILL');
    expect((await killed.exit).signal).toBe('SIGKILL');
    await gone('mr1');
  });

  test('removed by somebody else, the port says so instead of idling', () => {
    const port = open('mr0');
    expect(spawnSync('ip', ['link', 'delete', 'mr0']).status).toBe(0);
    const removed = expect.objectContaining({ name: 'PortError', code: 'ENODEV' });
    expect(() => port.rxSync()).toThrow(removed);
    queue(port, new Uint8Array(20).fill(0x45));
    expect(() => port.txSync()).toThrow(removed);
    port.close();
  });

  test('a name is taken once', async () => {
    const port = open('mr1');
    const taken = { name: 'PortError', code: 'EBUSY', message: expect.stringContaining('take another name') };
    expect(() => open('mr1')).toThrow(expect.objectContaining(taken));
    const other = openInChild('');
    expect((await other.waitFor(/.+/))[0]).toMatch(/^PortError EBUSY /);
    await other.exit;
    expect(() => open('mr1', 'tap')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => open('lo')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    port.close();
    open('mr1');
  });

  test('without the right to, EPERM and what to do', async () => {
    const child = openInChild('', [
      'setpriv',
      '--bounding-set=-net_admin',
      '--inh-caps=-all',
      process.execPath,
    ]);
    const [said] = await child.waitFor(/.+/);
    await child.exit;
    expect(said).toMatch(/^PortError EPERM .*unshare -Urn/);
  });

  test('bad options are refused before anything is made', () => {
    const arena = new Arena(1 << 20);
    const refused = (options: object, message: string) => {
      const all = { name: 'mr0', kind: 'tap', slots: 4, offload: false, ...options } as const;
      expect(() => openTun(arena, all), message).toThrow(
        expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(message) }),
      );
      expect(exists('mr0')).toBe(false);
    };
    for (const name of ['', 'sixteen-letters0', 'a b', 'a/b', '.', '..', 'tun%d', 'ü'])
      refused({ name }, 'interface name');
    for (const mtu of [0, 67, 65_522, 1500.5, Number.NaN]) refused({ mtu }, 'mtu of mr0');
    for (const address of ['10.0.0.1', '10.0.0.1/33', 'fd00::1%lo/64'])
      refused({ hostAddresses: [address] }, 'host address');
    for (const mac of [new Uint8Array(5), Uint8Array.of(1, 0, 0, 0, 0, 1)])
      refused({ mac }, 'hardware address');
    expect(arena.regions).toEqual([]);
  });

  test('what fails half way leaves nothing', () => {
    const fds = readdirSync('/proc/self/fd').length;
    const small = new Arena(1 << 16);
    expect(() => openTun(small, { name: 'mr0', kind: 'tun' })).toThrow(
      expect.objectContaining({ code: 'ERR_ARENA_FULL' }),
    );
    expect(exists('mr0')).toBe(false);
    expect(() => openTun(small, { name: 'mr0', kind: 'tun', slots: 3 })).toThrow(RangeError);
    expect(exists('mr0')).toBe(false);
    // IPv6 needs an MTU of 1280 (RFC 8200 5).
    const narrow = { name: 'mr0', kind: 'tun', mtu: 600, hostAddresses: ['fd00::1/64'] } as const;
    expect(() => openTun(small, narrow)).toThrow(
      expect.objectContaining({ name: 'PortError', code: 'EINVAL' }),
    );
    expect(exists('mr0')).toBe(false);
    expect(readdirSync('/proc/self/fd').length).toBe(fds);
  });

  test('tunArenaBytes is what a device carves, and hardly more', () => {
    for (const kind of ['tun', 'tap'] as const) {
      for (const options of [
        { offload: true },
        { offload: false },
        { offload: false, mtu: 9000, slots: 2 },
      ]) {
        const { offload, mtu = 1500, slots } = { mtu: 1500, slots: undefined, ...options };
        const bytes = tunArenaBytes(offload, mtu, slots);
        const arena = new Arena(64 + bytes);
        const port = openTun(arena, { name: 'mr0', kind, ...options });
        const carved = arena.regions.reduce((sum, region) => sum + Math.ceil(region.bytes / 64) * 64, 0);
        expect(carved).toBeLessThanOrEqual(bytes);
        expect(carved).toBeGreaterThan(bytes - 16_384);
        expectApart(port);
        port.close();
      }
    }
  });
});

/** Every buffer, with the virtio header before it, is inside the carved frames and touches no other. */
function expectApart({ arena, rx, tx, frameBytes, capabilities }: Port): void {
  const frames = arena.regions[arena.regions.length - 1];
  const startsOf = (ring: Ring) =>
    Array.from({ length: ring.slots }, (_, i) => ring.m[ring.slot(i) + DESC_AT]);
  const starts = [...startsOf(rx), ...startsOf(tx)].sort((a, b) => a - b);
  const edge = [...starts, frames.at + frames.bytes + VIRTIO_HEADER_BYTES];
  expect(edge[0] - VIRTIO_HEADER_BYTES).toBeGreaterThanOrEqual(frames.at);
  for (const [i, at] of starts.entries()) {
    expect(edge[i + 1] - VIRTIO_HEADER_BYTES).toBeGreaterThanOrEqual(at + frameBytes);
    expect((at + (capabilities.link === 'ether' ? 14 : 0)) % 16, 'the IP header is aligned').toBe(0);
  }
}
