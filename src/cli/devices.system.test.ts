/** `services` and `serve` on the kernel's devices, with real clients beyond them. */
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeRootless, describeWithTun } from '../../test/describe.ts';
import { Namespace } from '../../test/netns.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const BYTES = 10_000_000;

/** Where the stack runs, and where its clients do. */
interface Scene {
  readonly stack: Namespace;
  readonly client: Namespace;
  readonly device: string;
}

/** A TAP's client is its host; an interface's is beyond a cable. */
const SCENES: Record<string, (create: () => Promise<Namespace>) => Promise<Scene>> = {
  async tap(create) {
    const stack = await create();
    return { stack, client: stack, device: 'tap:mr0' };
  },
  packet: (create) => besideHost(create, 'packet:mr0'),
  'packet:…:host-mac': (create) => besideHost(create, 'packet:mr0:host-mac'),
};

/** The host has an address of its own on the interface, and nothing that would answer for the stack's. */
async function besideHost(create: () => Promise<Namespace>, device: string): Promise<Scene> {
  const stack = await create();
  const client = await Namespace.create(stack);
  await stack.link(client, 'mr0', 'mr1');
  await stack.run('ip', ['addr', 'add', '10.77.0.9/24', 'dev', 'mr0']);
  await stack.run('ip', ['addr', 'add', 'fd77::9/64', 'dev', 'mr0', 'nodad']);
  await client.run('ip', ['addr', 'add', '10.77.0.1/24', 'dev', 'mr1']);
  await client.run('ip', ['addr', 'add', 'fd77::1/64', 'dev', 'mr1', 'nodad']);
  return { stack, client, device };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Echoes 10 MB by node:net. @returns what it got: 'same' when that is what it sent */
async function echo(client: Namespace, address: string): Promise<string> {
  const program = `
    const bytes = require('crypto').randomBytes(${BYTES});
    const got = [];
    const socket = require('net').connect(7, '${address}');
    socket.setTimeout(10000, () => socket.destroy(new Error('timeout')));
    socket.on('data', (data) => got.push(data));
    socket.on('error', (error) => console.log(error.message));
    socket.on('end', () => console.log(Buffer.concat(got).equals(bytes) ? 'same' : 'different'));
    socket.end(bytes);`;
  return (await client.run(process.execPath, ['-e', program])).trim();
}

function suite(names: string[], create: () => Promise<Namespace>, options: string[] = []): void {
  describe.each(names)('on %s', (name) => {
    let folder = '';
    let scene: Scene;
    const file = randomBytes(BYTES);

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'millrace-devices-'));
      chmodSync(folder, 0o755);
      writeFileSync(join(folder, 'file.bin'), file);
      scene = await SCENES[name](create);
    });
    afterAll(async () => {
      if (scene?.client !== scene?.stack) await scene.client.close();
      await scene?.stack.close();
      rmSync(folder, { recursive: true });
    });

    async function run(command: string[], ready: RegExp, use: () => Promise<void>): Promise<void> {
      const { stack, device } = scene;
      const child = stack.spawn(process.execPath, [MAIN, ...command, '--device', device, ...options]);
      try {
        await child.waitFor(ready);
        await use();
        child.signal('SIGINT');
        expect(await child.exit).toEqual({ code: 0, signal: null });
      } finally {
        await child.stop();
      }
    }

    test('services echo 10 MB, byte for byte, over IPv4 and IPv6, and end by Ctrl-C', () =>
      run(['services'], /fd77::2/, async () => {
        for (const address of ['10.77.0.2', 'fd77::2'])
          expect(await echo(scene.client, address), address).toBe('same');
      }));

    test('curl gets 10 MB from serve, byte for byte, over IPv4 and IPv6', () =>
      run(['serve', folder], /\[fd77::2\]/, async () => {
        for (const host of ['10.77.0.2', '[fd77::2]']) {
          const curl = `curl --silent --show-error --fail --globoff --max-time 20 'http://${host}/file.bin' | sha256sum`;
          expect(await scene.client.run('bash', ['-c', `set -o pipefail; ${curl}`]), host).toContain(
            sha256(file),
          );
        }
      }));
  });
}

describeWithTun('clients of the kernel', () => {
  suite(['tap', 'packet', 'packet:…:host-mac'], () => Namespace.create());
  describe('without offload', () => suite(['packet'], () => Namespace.create(), ['--no-offload']));
});

describeRootless('clients of the kernel, all of it nobody’s', () =>
  suite(['packet'], () => Namespace.createRootless()),
);

// Who may open /dev/net/tun is for the host to say, and some say root.
describeWithTun('clients of the kernel, all by unshare -Urn', () =>
  suite(['tap'], () => Namespace.createRootless(false)),
);
