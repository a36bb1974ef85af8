import { execFileSync } from 'node:child_process';
import { closeSync, readdirSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Child } from '../../test/child.ts';
import { Arena } from '../memory/arena.ts';
import { attachXdp, loadXdpProgram, XDP_PASS } from '../os/bpf.ts';
import { assemble, exit, R0, set } from '../os/bpf-assembler.ts';
import { interfaceInfo } from '../os/interface.ts';
import { libc } from '../os/libc.ts';
import { enterNewNetwork } from '../os/netns.ts';
import { bindXsk, mapXskRing, openXsk, registerUmem } from '../os/xsk.ts';
import { formatMac } from '../wire/address.ts';
import { ETHERTYPE_IPV4, emitEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { frameOf, queueFrame, takeFrames } from './compliance.testing.ts';
import { createFrames } from './frames.ts';
import { openPacket, packetArenaBytes } from './packet.ts';
import type { Port } from './port.ts';
import { eventually } from './tun.testing.ts';
import { createVeth, ip, openTestXdp, RawSocket } from './xdp.testing.ts';
import { openXdp, xdpArenaBytes } from './xdp.ts';
import type { XdpOptions } from './xdp-options.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root)';

describe.skipIf(reason !== '')(`an AF_XDP port comes, goes and says why it can’t${reason}`, () => {
  const opened: Port[] = [];
  beforeAll(enterNewNetwork);
  beforeEach(() => createVeth('xdp0', 'far0', 2));
  afterEach(() => {
    for (const port of opened.splice(0)) port.close();
    try {
      ip('link', 'delete', 'far0');
    } catch {
      // The test has.
    }
  });

  const open = (options: Partial<XdpOptions> = {}): Port => {
    const port = openTestXdp({ name: 'xdp0', slots: 64, ...options });
    opened.push(port);
    return port;
  };
  const program = (): string =>
    /\bxdp\w*\b/.exec(
      execFileSync('ip', ['link', 'show', 'xdp0'], { encoding: 'utf8' }).replaceAll('xdp0', ''),
    )?.[0] ?? '';
  const refused = (code: string, message: RegExp) =>
    expect.objectContaining({ name: 'PortError', code, message: expect.stringMatching(message) });

  /** Opens xdp0 in a process in this thread's namespace, and then runs `then`. */
  function openInChild(then: string, command = [process.execPath], slots = 64): Child {
    const url = JSON.stringify(new URL('./xdp.testing.ts', import.meta.url));
    const source = `
      import { openTestXdp } from ${url};
      try {
        globalThis.port = openTestXdp({ name: 'xdp0', slots: ${slots} });
        console.log('open');
      } catch (error) {
        console.log(error.name, error.code, error.message);
      }
      ${then}
    `;
    return new Child(command[0], [...command.slice(1), '--input-type=module', '-e', source]);
  }

  test('close gives the interface and every descriptor back, and does nothing the second time', () => {
    const fds = () => readdirSync('/proc/self/fd').length;
    const before = fds();
    const port = open();
    expect(program()).toBe('xdp');
    port.close();
    port.close();
    expect(program()).toBe('');
    expect(fds()).toBe(before);
    expect([port.rxSync(), port.txSync()]).toEqual([0, 0]);
    expect(open({ mode: 'generic' }).name).toBe('xdp:xdp0');
    expect(program()).toBe('xdpgeneric');
  });

  test('it can be opened again at once', () => {
    const arena = new Arena(64 << 20);
    for (let i = 0; i < 10; i++) {
      const port = openXdp(arena, { name: 'xdp0', slots: 64 });
      const far = new RawSocket('far0');
      far.send([frameOf(port, 60, i)]);
      expect(port.rxSync()).toBe(1);
      expect(takeFrames(port)).toEqual([frameOf(port, 60, i)]);
      far[Symbol.dispose]();
      port.close();
    }
  });

  test('the end of the process detaches the program, by itself or by SIGKILL', async () => {
    const exits = openInChild('process.stdin.once("data", () => process.exit(3));');
    await exits.waitFor(/open/);
    expect(program()).toBe('xdp');
    exits.write('go\n');
    expect((await exits.exit).code).toBe(3);
    await eventually(() => program() === '' || undefined, 'the end of the program');
    const killed = openInChild('setInterval(() => port.rxSync(), 10);');
    await killed.waitFor(/open/);
    expect(program()).toBe('xdp');
    killed.signal('SIGKILL');
    expect((await killed.exit).signal).toBe('SIGKILL');
    await eventually(() => program() === '' || undefined, 'the end of the program');
    // The queues are free, too.
    open();
  });

  test('an interface that is missing, down, or no Ethernet', () => {
    expect(() => open({ name: 'nope0' })).toThrow(refused('ENODEV', /no interface nope0/));
    ip('link', 'set', 'xdp0', 'down');
    expect(() => open()).toThrow(refused('ENETDOWN', /ip link set xdp0 up/));
    expect(() => open({ name: 'lo' })).toThrow(refused('EOPNOTSUPP', /no Ethernet/));
  });

  test('a queue that isn’t there', () => {
    expect(() => open({ queue: 7 })).toThrow(refused('EINVAL', /queue 7\? xdp0 has 2/));
    expect(program()).toBe('');
  });

  test('an interface is taken once, by this process or another', async () => {
    const port = open({ queue: 0 });
    const taken = refused(
      'EBUSY',
      /another XDP program \(number \d+: .*\) is attached.*one process takes all queues, by xdp:xdp0,.*packet:xdp0/,
    );
    expect(() => open({ queue: 1 })).toThrow(taken);
    expect(() => open({ mode: 'generic' })).toThrow(taken);
    const other = openInChild('');
    expect((await other.waitFor(/.+/))[0]).toMatch(/^PortError EBUSY .*another XDP program/);
    await other.exit;
    port.close();
    open();
  });

  test('packet: ports may join, as whoever is turned away is told', async () => {
    const port = open({ addresses: ['10.9.0.2/24'] });
    const options = { name: 'xdp0', addresses: ['10.9.0.3/24'], offload: false };
    const joining = openPacket(new Arena(packetArenaBytes(options) + 4096), options);
    opened.push(joining);
    using far = new RawSocket('far0');
    const [ours, theirs] = [port, joining].map(({ capabilities }, i) =>
      emitEthernet({
        dst: formatMac(capabilities.mac ?? []),
        src: '02:00:00:00:00:02',
        type: ETHERTYPE_IPV4,
        payload: emitIpv4Packet({
          src: '10.9.0.1',
          dst: `10.9.0.${i + 2}`,
          protocol: 253,
          payload: new Uint8Array(80).fill(i),
        }),
      }),
    );
    far.send([ours, theirs]);
    await eventually(() => (port.rxSync() === 1 && joining.rxSync() === 1) || undefined, 'a frame each');
    expect(takeFrames(port)).toEqual([ours]);
    expect(takeFrames(joining)).toEqual([theirs]);
  });

  test.each(['native', 'generic'] as const)('somebody else’s program (%s) stays', (mode) => {
    const other = loadXdpProgram('other', assemble([set(R0, XDP_PASS), exit()]), false);
    const link = attachXdp(other, interfaceInfo('xdp0').index, mode);
    expect(interfaceInfo('xdp0').xdpProgram).toBeGreaterThan(0);
    expect(() => open()).toThrow(refused('EBUSY', /another XDP program/));
    expect(() => open({ mode: 'native' })).toThrow(refused('EBUSY', /another XDP program/));
    expect(program()).toMatch(/^xdp/);
    closeSync(link);
    closeSync(other);
    open();
  });

  test('a queue that somebody has without a program', () => {
    const arena = new Arena(1 << 20);
    const { depot } = createFrames(arena, 'frames', 16, 1500);
    const socket = openXsk();
    registerUmem(socket, libc().addressOf(arena.u8) + depot.base, 16 * 2048, 2048, false);
    for (const kind of ['fill', 'completion', 'rx'] as const) mapXskRing(socket, kind, 16, arena);
    bindXsk(socket, interfaceInfo('xdp0').index, 1, false);
    expect(() => open()).toThrow(refused('EBUSY', /this queue/));
    expect(program()).toBe('');
    expect(open({ queue: 0 }).rxSync()).toBe(0);
    closeSync(socket);
  });

  test('without the right to, EPERM and what to do', async () => {
    const bare = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', process.execPath];
    const child = openInChild('', bare);
    expect((await child.waitFor(/.+/))[0]).toMatch(/^PortError EPERM .*CAP_BPF/);
    await child.exit;
  });

  test('with too little memory that may be locked, ENOMEM and what to do', async () => {
    const limited = [
      'sh',
      '-c',
      'ulimit -l 64; exec setpriv --bounding-set=-ipc_lock --inh-caps=-all "$0" "$@"',
      process.execPath,
    ];
    const child = openInChild('', limited, 1024);
    expect((await child.waitFor(/.+/))[0]).toMatch(/^PortError ENOMEM .*ulimit -l/);
    await child.exit;
    expect(program()).toBe('');
  });

  test('bad options are refused before anything is made', () => {
    const arena = new Arena(1 << 20);
    const wrong = (options: Partial<XdpOptions>, message: RegExp) => {
      expect(() => openXdp(arena, { name: 'xdp0', ...options })).toThrow(refused('EINVAL', message));
    };
    for (const slots of [0, 3, 65_536, 1.5]) wrong({ slots }, /slots/);
    for (const mtu of [67, 65_536, 1500.5]) wrong({ mtu }, /mtu must be/);
    wrong({ mtu: 9000 }, /ip link set xdp0 mtu 9000/);
    for (const queue of [-1, 0.5]) wrong({ queue }, /no queue/);
    for (const queues of [0, 65, 1.5]) wrong({ queues }, /takes 1 to 64 queues/);
    wrong({ queue: 1, queues: 2 }, /leave its number away/);
    wrong({ queues: 3 }, /has 2, not 3 queues: ethtool -L xdp0 combined 3/);
    wrong({ addresses: ['10.0.0.1'] }, /prefix length/);
    wrong({ only: [{ protocol: 6 }] }, /there are none/);
    ip('link', 'set', 'xdp0', 'mtu', '9000');
    wrong({ mtu: 9000 }, /several buffers.*1774 at most/);
    expect(arena.regions).toEqual([]);
    expect(program()).toBe('');
  });

  test('what fails half way leaves nothing', () => {
    const fds = readdirSync('/proc/self/fd').length;
    const arena = new Arena(1 << 20);
    const pool = createFrames(arena, 'frames', 100, 1500);
    expect(() => openXdp(arena, { name: 'xdp0', slots: 64, pool })).toThrow(RangeError);
    expect(() => openXdp(arena, { name: 'xdp0', slots: 2048 })).toThrow(
      expect.objectContaining({ code: 'ERR_ARENA_FULL' }),
    );
    const small = createFrames(arena, 'more frames', 64, 1500);
    expect(() => openXdp(arena, { name: 'xdp0', slots: 32, pool: small, queue: 9 })).toThrow(
      refused('EINVAL', /queue/),
    );
    for (const each of [pool, small]) {
      expect(each.inUse).toBe(0);
      each.audit();
    }
    expect(program()).toBe('');
    expect(readdirSync('/proc/self/fd').length).toBe(fds);
  });

  test('xdpArenaBytes is what a device carves, and hardly more', () => {
    for (const options of [
      {},
      { slots: 64 },
      { queue: 1 },
      { queues: 1 },
      { slots: 16, multiBuffer: true },
    ]) {
      const bytes = xdpArenaBytes({ name: 'xdp0', ...options });
      const arena = new Arena(4096 + bytes);
      openXdp(arena, { name: 'xdp0', ...options }).close();
      const carved = arena.regions.reduce((sum, region) => sum + region.bytes, 0);
      expect(carved).toBeLessThanOrEqual(bytes);
      expect(carved).toBeGreaterThan(bytes - 100_000);
    }
  });

  test('removed while it runs, the port says so instead of idling', async () => {
    for (const sync of ['rxSync', 'txSync'] as const) {
      const port = open();
      ip('link', 'delete', 'far0');
      const step = (): void => {
        if (sync === 'txSync' && port.tx.available > 0) queueFrame(port, frameOf(port, 60, 1));
        port[sync]();
      };
      expect(() => {
        for (let i = 0; i < 2048; i++) step();
      }).toThrow(refused('ENODEV', /xdp0 was removed/));
      port.close();
      createVeth('xdp0', 'far0', 2);
    }
  });

  test('down and up again, frames that waited leave', async () => {
    const port = open();
    ip('link', 'set', 'xdp0', 'down');
    for (let i = 0; i < 10; i++) queueFrame(port, frameOf(port, 60, i));
    for (let i = 0; i < 2048; i++) {
      port.rxSync();
      port.txSync();
    }
    expect(port.txSync()).toBe(port.tx.slots - 10);
    ip('link', 'set', 'xdp0', 'up');
    using far = new RawSocket('far0');
    await eventually(() => port.txSync() === port.tx.slots || undefined, 'the frames to leave');
    expect(far.receive()).toHaveLength(10);
    expect(port.counters).toMatchObject({ txFrames: 10, txDropped: 0 });
  });

  test('an MTU that outgrows the frames ends the port, one that doesn’t is none of its business', () => {
    const port = open();
    const syncs = (): void => {
      for (let i = 0; i < 2048; i++) port.rxSync();
    };
    ip('link', 'set', 'xdp0', 'mtu', '1400');
    syncs();
    ip('link', 'set', 'xdp0', 'mtu', '1500');
    syncs();
    ip('link', 'set', 'xdp0', 'mtu', '9000');
    expect(syncs).toThrow(refused('EMSGSIZE', /raised to 9000.*set the MTU back/));
    port.close();
    const jumbo = open({ multiBuffer: true });
    ip('link', 'set', 'xdp0', 'mtu', '9500');
    for (let i = 0; i < 2048; i++) jumbo.rxSync();
  });

  test('frames that nobody takes at the other end are counted as lost', () => {
    const port = open();
    ip('link', 'set', 'far0', 'down');
    for (let i = 0; i < 10; i++) queueFrame(port, frameOf(port, 60, i));
    expect(port.txSync()).toBe(port.tx.slots);
    expect(port.counters).toMatchObject({ txFrames: 10, txDropped: 10 });
  });
});
