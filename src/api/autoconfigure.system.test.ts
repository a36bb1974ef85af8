/** Autoconfiguration beside a kernel on the same link, which is the other host and, by our hand, the router. */
import { describe, expect, it } from 'vitest';
import { describeWithTun } from '../../test/describe.ts';
import { Namespace, namespaceSupport } from '../../test/netns.ts';

const INDEX = new URL('../index.ts', import.meta.url).href;
const WIRE = new URL('../wire', import.meta.url).href;
const PING = new URL('../device/tun.testing.ts', import.meta.url).href;

async function program(body: string): Promise<unknown> {
  const ns = await Namespace.create();
  try {
    const code = `import { Stack } from '${INDEX}'; import * as net from 'node:net'; import { once } from 'node:events';
      import { PingSocket } from '${PING}'; import { emitIcmpv6 } from '${WIRE}/icmpv6.ts';
      import { execFileSync } from 'node:child_process';
      import { setTimeout as sleep } from 'node:timers/promises'; ${body}`;
    const out = await ns.run(process.execPath, ['--input-type=module', '-e', code], { timeoutMs: 40_000 });
    return JSON.parse(out.trim().split('\n').at(-1) ?? 'null');
  } finally {
    await ns.close();
  }
}

describeWithTun('autoconfiguration on a link with the kernel', () => {
  it('leaves alone what the kernel has, takes what is free, and what a router offers', async () => {
    const result = await program(`
      const told = [];
      let changed = () => {};
      const stack = await Stack.open({
        device: 'tap:auto0', hostAddresses: ['10.77.0.1/24', 'fd77::1/64', '2001:db8:77::1/64'], autoconfigure: true,
        addresses: ['10.77.0.1/24', '10.77.0.2/24', 'fd77::1/64'], addressSecret: 'same',
        onAddress: (kind, address) => { told.push(kind + ' ' + address); changed(); },
      });
      stack.ref();
      const until = async (seen) => {
        for (const end = performance.now() + 15000; !told.some(seen); ) {
          if (performance.now() > end) throw new Error('only ' + told.join(', '));
          await Promise.race([new Promise((resolve) => { changed = resolve; }), sleep(100)]);
        }
      };
      await until((text) => text.startsWith('added fe80::'));
      using router = new PingSocket(true);
      router.towards(Number(/^(\\d+):/.exec(execFileSync('ip', ['-o', 'link', 'show', 'auto0']))[1]));
      const prefix = { prefix: '2001:db8:77::', length: 64, onLink: true, autonomous: true, validSeconds: 9000, preferredSeconds: 9000 };
      // Until the kernel has a link-local address itself, it sends from another one, which is not to be believed.
      const advertise = setInterval(() => router.send('ff02::1', emitIcmpv6({
        kind: 'router advertisement', hopLimit: 64, flags: 0, lifetimeSeconds: 1800, reachableMs: 0, retransMs: 0,
        options: { prefixes: [prefix] },
      }, { src: 'fe80::1', dst: 'ff02::1' })), 300);
      await until((text) => text.startsWith('added 2001:db8:77:'));
      clearInterval(advertise);
      await until((text) => text === 'added 10.77.0.2');
      stack.net.createServer((socket) => socket.end(socket.remoteAddress)).listen(7);
      const answers = [];
      for (const host of stack.addresses().filter((text) => !text.startsWith('fe80'))) {
        const socket = net.connect(7, host);
        const [data] = await once(socket, 'data');
        answers.push(String(data));
      }
      await stack.close();
      console.log(JSON.stringify([told.sort(), answers]));
      process.exit();
    `);
    const [told, answers] = result as [string[], string[]];
    expect(told.filter((text) => text.startsWith('duplicate'))).toEqual([
      'duplicate 10.77.0.1',
      'duplicate fd77::1',
    ]);
    expect(told.filter((text) => text.startsWith('added'))).toEqual([
      'added 10.77.0.2',
      expect.stringMatching(/^added 2001:db8:77:/),
      expect.stringMatching(/^added fe80::/),
    ]);
    // The kernel hears its own advertisement, and may have made itself an address of it, too.
    expect(answers.sort()).toEqual(['10.77.0.1', expect.stringMatching(/^2001:db8:77:/)]);
  });
});

const why = process.geteuid?.() === 0 ? namespaceSupport().reason : 'needs root';
const reason = why === undefined ? '' : ` (skipped: ${why})`;

describe.skipIf(reason !== '')(`autoconfiguration on an interface of the host’s${reason}`, () => {
  /** Advertises 2001:db8:77::/64 on eth0 until it is ended. */
  const ROUTER = `
    import { PingSocket } from '${PING}'; import { emitIcmpv6 } from '${WIRE}/icmpv6.ts';
    import { interfaceInfo } from '${new URL('../os/interface.ts', import.meta.url).href}';
    const router = new PingSocket(true);
    router.towards(interfaceInfo('eth0').index);
    const prefix = { prefix: '2001:db8:77::', length: 64, onLink: true, autonomous: true, validSeconds: 9000, preferredSeconds: 9000 };
    setInterval(() => router.send('ff02::1', emitIcmpv6({
      kind: 'router advertisement', hopLimit: 64, flags: 0, lifetimeSeconds: 0, reachableMs: 0, retransMs: 0,
      options: { prefixes: [prefix] },
    }, { src: 'fe80::1', dst: 'ff02::1' })), 300);`;

  it.each([
    ['packet:eth0', "'10.5.0.2/24'"],
    ['xdp:eth0', ''],
  ])('%s, given [%s], hears a router, and is heard by what that told it', async (device, addresses) => {
    const host = await Namespace.create();
    const peer = await Namespace.create(host);
    try {
      await host.link(peer, 'eth0', 'eth0');
      await peer.run('ip', ['address', 'add', '2001:db8:77::9/64', 'dev', 'eth0', 'nodad']);
      peer.spawn(process.execPath, ['--input-type=module', '-e', ROUTER]);
      const server = host.spawn(process.execPath, [
        '--input-type=module',
        '-e',
        `import { Stack } from '${INDEX}';
        const stack = await Stack.open({
          device: '${device}', addresses: [${addresses}], autoconfigure: true,
          onAddress: (kind, address) => console.log(kind + ' ' + address + '.'),
        });
        stack.net.createServer((socket) => socket.end(socket.remoteAddress)).listen(7, '::');`,
      ]);
      const [, address] = await server.waitFor(/added (2001:db8:77:.*)\./);
      const client = `require('net').connect(7, '${address}').pipe(process.stdout)`;
      expect(await peer.run(process.execPath, ['-e', client], { timeoutMs: 10_000 })).toMatch(
        /^2001:db8:77:/,
      );
    } finally {
      await peer.close();
      await host.close();
    }
  });

  it('is refused where the host hears routers alone', async () => {
    const host = await Namespace.create();
    try {
      await host.run('ip', ['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth1']);
      for (const name of ['eth0', 'eth1']) await host.run('ip', ['link', 'set', name, 'up']);
      const program = `import { Stack } from '${INDEX}';
        const options = { device: 'xdp:eth0', addresses: ['10.5.0.2/24'] };
        const refused = await Stack.open({ ...options, autoconfigure: true }).catch((error) => error);
        // The device is free again.
        await (await Stack.open(options)).close();
        console.log(JSON.stringify([refused.code, refused.field, refused.message]));`;
      const out = await host.run(process.execPath, ['--input-type=module', '-e', program]);
      const taken = expect.stringMatching(/xdp:eth0 leaves to the host.* take packet: instead/);
      expect(JSON.parse(out)).toEqual(['ERR_MILLRACE_OPTIONS', 'autoconfigure', taken]);
    } finally {
      await host.close();
    }
  });
});
