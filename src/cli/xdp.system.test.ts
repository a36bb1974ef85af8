/** Our services on an interface that the host goes on using, and the kernel's clients on the other end of the cable. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Child } from '../../test/child.ts';
import { Namespace, namespaceSupport } from '../../test/netns.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const why = process.geteuid?.() === 0 ? namespaceSupport().reason : 'needs root';
const reason = why === undefined ? '' : ` (skipped: ${why})`;

/** Sends what it gets on stdin, and prints what comes back. */
const CLIENT = `
  const socket = require('node:net').connect({ host: process.argv[1], port: Number(process.argv[2]) });
  process.stdin.pipe(socket).pipe(process.stdout);
  socket.on('error', (error) => { console.error(error.message); process.exit(1); });
`;
/** A kernel server that says who called. */
const SERVER = `
  require('node:net').createServer((socket) => socket.end('the kernel, to ' + socket.localAddress))
    .listen(7, '::', () => console.log('listening'));
`;

describe.skipIf(reason !== '')(`commands on xdp:${reason}`, () => {
  let host: Namespace;
  let peer: Namespace;
  beforeEach(async () => {
    host = await Namespace.create();
    peer = await Namespace.create(host);
    await host.link(peer, 'eth0', 'eth0');
    for (const [ns, end] of [
      [host, '1'],
      [peer, '9'],
    ] as const) {
      await ns.run('ip', ['address', 'add', `10.5.0.${end}/24`, 'dev', 'eth0']);
      await ns.run('ip', ['address', 'add', `fd05::${end}/64`, 'dev', 'eth0', 'nodad']);
    }
  });
  afterEach(async () => {
    await peer.close();
    await host.close();
  });

  const OURS = ['--device', 'xdp:eth0', '--address', '10.5.0.2/24', '--address', 'fd05::2/64'];
  const millrace = (...args: string[]): Child => host.spawn(process.execPath, [MAIN, ...args]);
  const talk = (address: string, port: number, input: string): Promise<string> =>
    peer.run(process.execPath, ['-e', CLIENT, address, String(port)], { input, timeoutMs: 20_000 });

  test('services, beside a server of the kernel’s on the same interface', async () => {
    const services = millrace('services', ...OURS);
    await services.waitFor(/fd05::2: echo 7/);
    const server = host.spawn(process.execPath, ['-e', SERVER]);
    await server.waitFor(/listening/);
    // Enough for the kernel's segmentation offload, which must not get in the way.
    const long = 'over a cable to our stack and back, '.repeat(20_000);
    for (const address of ['10.5.0.2', 'fd05::2']) {
      expect(await talk(address, 7, 'hello')).toBe('hello');
      expect(await talk(address, 7, long)).toBe(long);
    }
    expect(await talk('10.5.0.1', 7, '')).toBe('the kernel, to ::ffff:10.5.0.1');
    expect(await talk('fd05::1', 7, '')).toBe('the kernel, to fd05::1');
    for (const address of ['10.5.0.1', '10.5.0.2', 'fd05::1', 'fd05::2'])
      expect(await peer.run('ping', ['-c', '1', '-W', '5', address]).catch(noPing)).toMatch(
        /1 received|no ping/,
      );
    services.signal('SIGINT');
    expect((await services.exit).code).toBe(0);
    expect(await host.run('ip', ['link', 'show', 'eth0'])).not.toMatch(/ xdp/);
    // The host has its interface for itself again.
    expect(await talk('10.5.0.1', 7, '')).toBe('the kernel, to ::ffff:10.5.0.1');
  });

  test('serve, to curl', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-'));
    try {
      const page = 'over our own TCP\n'.repeat(10_000);
      writeFileSync(join(folder, 'page.txt'), page);
      const serve = millrace('serve', folder, ...OURS);
      await serve.waitFor(/http:/);
      if (spawnSync('curl', ['--version']).status !== 0) return;
      for (const host of ['10.5.0.2', '[fd05::2]'])
        expect(await peer.run('curl', ['-sS', '-m', '20', `http://${host}/page.txt`])).toBe(page);
      serve.signal('SIGTERM');
      expect((await serve.exit).code).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('connect and ping to the kernel, by one queue', async () => {
    const server = peer.spawn(process.execPath, ['-e', SERVER]);
    await server.waitFor(/listening/);
    const one = ['--device', 'xdp:eth0:0', ...OURS.slice(2)];
    const connect = millrace('connect', '10.5.0.9', '7', ...one);
    await connect.waitFor(/the kernel, to ::ffff:10\.5\.0\.9/);
    connect.endInput();
    await connect.exit;
    const ping = millrace('ping', 'fd05::9', '-c', '2', '-i', '50', ...one);
    expect(await ping.success(20_000)).toMatch(/2 received, 0 % lost|1 received/);
  });

  test('a bad device name and an interface that isn’t there are refused in words', async () => {
    const bad = await millrace('services', '--device', 'xdp:eth0:x').exit;
    expect(bad.code).not.toBe(0);
    const missing = millrace('services', '--device', 'xdp:eth7');
    await missing.exit;
    expect(missing.stderr).toMatch(/ENODEV.*no interface eth7/);
  });
});

/** Not every machine has the program. */
function noPing(error: Error): string {
  if (/No such file|not found|failed to execute/i.test(error.message)) return 'no ping';
  throw error;
}
