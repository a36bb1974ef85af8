import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeWithTun } from '../../test/describe.ts';
import { Namespace } from '../../test/netns.ts';
import { Arena } from '../memory/arena.ts';
import { openHost } from './host.ts';

const JOIN = fileURLToPath(new URL('./host.testing.ts', import.meta.url));

describeWithTun('the host behind a program that has its interface', () => {
  let host: Namespace;
  let peer: Namespace;

  beforeAll(async () => {
    host = await Namespace.create();
    peer = await Namespace.create(host);
    await host.link(peer, 'eth0', 'eth0');
    const setUp = async (ns: Namespace, n: number) => {
      await ns.run('ip', ['addr', 'add', `10.0.0.${n}/24`, 'dev', 'eth0']);
      await ns.run('ip', ['addr', 'add', `fd00::${n}/64`, 'dev', 'eth0', 'nodad']);
    };
    await setUp(host, 1);
    await setUp(peer, 2);
    // Further networks, behind the peer.
    await host.run('ip', ['route', 'add', 'default', 'via', '10.0.0.2', 'metric', '100']);
    await host.run('ip', ['-6', 'route', 'add', 'default', 'via', 'fd00::2', 'dev', 'eth0']);
    await peer.run('ip', ['addr', 'add', '192.0.2.1/32', 'dev', 'lo']);
    await peer.run('ip', ['addr', 'add', '2001:db8::1/128', 'dev', 'lo']);
  });
  afterAll(async () => {
    await peer?.close();
    await host?.close();
  });

  /** Sends 1 MiB from one namespace to a server in the other, and back. */
  async function echo(from: Namespace, to: Namespace, address: string): Promise<string> {
    const server = to.spawn(process.execPath, [
      '-e',
      `require('net').createServer((s) => s.pipe(s)).listen(7, '::', () => console.log('listening'));`,
    ]);
    try {
      await server.waitFor(/listening/);
      const client = `
        const bytes = Buffer.alloc(1 << 20, (_, i) => i);
        for (let i = 0; i < bytes.length; i++) bytes[i] = i * 7 + (i >> 8);
        const got = [];
        const socket = require('net').connect(7, '${address}');
        socket.setTimeout(2000, () => socket.destroy(new Error('timeout')));
        socket.on('data', (data) => got.push(data));
        socket.on('error', (error) => console.log(error.message));
        socket.on('end', () => console.log(Buffer.concat(got).equals(bytes) ? 'same' : 'different'));
        socket.end(bytes);`;
      return (await from.run(process.execPath, ['-e', client])).trim();
    } finally {
      await server.stop();
    }
  }

  const drop = (action: 'add' | 'del') =>
    host.run('tc', ['qdisc', action, 'dev', 'eth0', 'clsact']).then(async () => {
      if (action === 'del') return;
      const shot = ['bpf', 'da', 'bytecode', '1,6 0 0 2'];
      await host.run('tc', ['filter', 'add', 'dev', 'eth0', 'ingress', ...shot]);
    });

  test('has its addresses and routes as before, through the program; and without it again when that is killed', async () => {
    expect(await echo(host, peer, '10.0.0.2')).toBe('same');
    // From here on the host's stack gets nothing from eth0, as if an XDP program took it all.
    await drop('add');
    expect(await echo(host, peer, '10.0.0.2')).toBe('timeout');
    const join = host.spawn(process.execPath, [JOIN]);
    await join.waitFor(/joined/);
    const links = JSON.parse(await host.run('ip', ['-j', 'link']));
    const find = (name: string) => links.find((link: { ifname: string }) => link.ifname === name);
    expect(find('mr-eth0')).toMatchObject({ address: find('eth0').address, mtu: 1500 });
    for (const [from, to, address] of [
      [host, peer, '10.0.0.2'],
      [peer, host, '10.0.0.1'],
      [host, peer, 'fd00::2'],
      [peer, host, 'fd00::1'],
      [host, peer, '192.0.2.1'],
      [host, peer, '2001:db8::1'],
    ] as const) {
      expect(await echo(from, to, address), address).toBe('same');
    }
    join.signal('SIGKILL');
    await join.exit;
    expect(await host.run('ip', ['-br', 'link'])).not.toContain('mr-eth0');
    await drop('del');
    for (const address of ['10.0.0.2', 'fd00::2', '192.0.2.1']) {
      expect(await echo(host, peer, address), address).toBe('same');
    }
  });

  test('an interface that can’t be used is refused with what to do', () => {
    for (const [name, code, message] of [
      ['mr-none', 'ENODEV', /tap:NAME/],
      ['lo', 'EINVAL', /no Ethernet/],
    ] as const) {
      expect(() => openHost(new Arena(1 << 16), { name })).toThrow(
        expect.objectContaining({ name: 'PortError', code, message: expect.stringMatching(message) }),
      );
    }
  });
});
