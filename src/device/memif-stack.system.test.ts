/**
 * What memif is for: a stack without a device of the system's own, behind somebody else's switch. Here that is a process
 * which joins memif and a TAP, and the clients are the kernel's.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { Namespace, namespaceSupport } from '../../test/netns.ts';

const { reason: missing } = namespaceSupport();
const reason = missing === undefined ? '' : ` (skipped: ${missing})`;
const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));

describe.skipIf(reason !== '')(`a stack on memif serves the kernel's clients${reason}`, () => {
  test.each(['server', 'client'] as const)('as %s', async (role) => {
    const folder = mkdtempSync(join(tmpdir(), 'memif-'));
    const ns = await Namespace.create();
    try {
      const socket = join(folder, 's');
      const device = (of: string) => `memif:${socket},role=${of},secret=pw`;
      const services = () =>
        ns.spawn(process.execPath, [
          file('../cli/main.ts'),
          ...['services', '--device', device(role), '--address', '10.77.0.2/24'],
        ]);
      const bridge = () =>
        ns.spawn(process.execPath, [
          file('../../test/memif-bridge.ts'),
          ...['tap:mr0', '10.77.0.1/24', device(role === 'server' ? 'client' : 'server')],
        ]);
      // The server has to be there first.
      const first = role === 'server' ? services() : bridge();
      await first.waitFor(role === 'server' ? /10.77.0.2: / : /forwarding/);
      const second = role === 'server' ? bridge() : services();
      await second.waitFor(role === 'server' ? /forwarding/ : /10.77.0.2: /);

      const url = 'http://10.77.0.2:8080/2000000';
      const curl = ['-sS', '--max-time', '20', '--retry', '5', '--retry-connrefused', url];
      const body = await ns.run('curl', curl);
      expect(body.length).toBe(2_000_000);
      // Echo gives back what was sent, through both directions.
      const sent = Array.from({ length: 50_000 }, (_, i) => `${i}\n`).join('');
      const echo = `
        const socket = require('node:net').connect(7, '10.77.0.2');
        let got = '';
        socket.setEncoding('utf8').on('data', (text) => (got += text));
        socket.on('end', () => process.stdout.write(got));
        process.stdin.pipe(socket);`;
      expect(digest(await ns.run(process.execPath, ['-e', echo], { input: sent }))).toBe(digest(sent));
      for (const child of [second, first]) await child.stop();
    } finally {
      await ns.close();
      rmSync(folder, { recursive: true });
    }
  });
});

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
