/** However `serve` ends, its device goes with it. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { describeInNamespace } from '../describe.ts';
import { Namespace } from '../netns.ts';
import { TestFiles } from './files.ts';
import { DEVICE, startServe, URL_IPV4 } from './millrace.ts';

describeInNamespace('the device of serve', () => {
  const deviceNames = async (ns: Namespace): Promise<string[]> => {
    const links = JSON.parse(await ns.run('ip', ['-json', 'link'])) as { ifname: string }[];
    return links.map((link) => link.ifname);
  };
  let files: TestFiles;
  let ns: Namespace;

  beforeEach(async () => {
    files = new TestFiles();
    files.create('index.html', 64);
    ns = await Namespace.create();
  });

  afterEach(async () => {
    await ns.close();
    files.remove();
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
    'is gone after %s, and can be made again',
    async (signal) => {
      const server = await startServe(ns, files.directory);
      expect(await deviceNames(ns)).toContain(DEVICE);
      server.signal(signal);
      const exit = await server.exit;
      // A polite end is an end, not a crash.
      if (signal === 'SIGKILL') expect(exit.signal).toBe('SIGKILL');
      else expect(exit, server.stderr).toEqual({ code: 0, signal: null });
      const gone = async () => expect(await deviceNames(ns)).not.toContain(DEVICE);
      // The kernel takes a moment to let go of what the io_uring of a killed process has.
      if (signal === 'SIGKILL') await vi.waitFor(gone);
      else await gone();

      await startServe(ns, files.directory);
      await ns.run('curl', ['--silent', '--fail', '--output', '/dev/null', `${URL_IPV4}/`]);
    },
  );
});
