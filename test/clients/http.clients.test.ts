/** curl and wrk against `serve`, over IPv4 and IPv6. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeInNamespace } from '../describe.ts';
import { Namespace } from '../netns.ts';
import { type TestFile, TestFiles } from './files.ts';
import { startServe, URL_IPV4, URL_IPV6 } from './millrace.ts';
import { parseWrk, runWrk } from './wrk.ts';

const MIB = 2 ** 20;
const WRK_SECONDS = 5;

describeInNamespace('serve', () => {
  const files = new TestFiles();
  const served: Record<string, TestFile> = {};
  let ns: Namespace;

  beforeAll(async () => {
    for (const [name, bytes] of [
      ['64B', 64] as const,
      ['1MiB', MIB] as const,
      ['1GiB', 1024 * MIB] as const,
    ]) {
      served[name] = files.create(name, bytes);
    }
    ns = await Namespace.create();
    await startServe(ns, files.directory);
  });

  afterAll(async () => {
    await ns?.close();
    files.remove();
  });

  describe.each([
    ['IPv4', URL_IPV4],
    ['IPv6', URL_IPV6],
  ])('over %s', (_, url) => {
    test.each(['64B', '1MiB', '1GiB'])('curl gets %s, every byte as it was', async (name) => {
      const command = `set -o pipefail; curl --silent --show-error --fail --globoff '${url}/${name}' | sha256sum`;
      const sum = await ns.run('bash', ['-c', command], { timeoutMs: 110_000 });
      expect(sum).toContain(served[name].sha256);
    });

    test('curl learns that a file is missing', async () => {
      const args = ['--silent', '--globoff', '--output', '/dev/null', '--write-out', '%{http_code}'];
      expect(await ns.run('curl', [...args, `${url}/missing`])).toBe('404');
    });

    test('200 curls at once each get the whole file', async () => {
      const one = `curl --silent --show-error --fail --globoff '${url}/1MiB' | sha256sum`;
      const sums = await ns.run('sh', ['-c', `seq 200 | xargs -P 200 -I{} sh -c "${one}"`]);
      const lines = sums.trim().split('\n');
      expect(lines).toHaveLength(200);
      expect(new Set(lines)).toEqual(new Set([`${served['1MiB'].sha256}  -`]));
    });

    test('wrk sees no error on connections kept alive', async () => {
      const report = await runWrk(ns, `${url}/64B`, WRK_SECONDS);
      expect(report).toMatchObject({ socketErrors: 0, badResponses: 0 });
      expect(report.requestsPerSecond).toBeGreaterThan(100);
    });

    test('wrk sees no error when each request closes its connection', async () => {
      const report = await runWrk(ns, `${url}/64B`, WRK_SECONDS, ['Connection: close']);
      expect(report).toMatchObject({ socketErrors: 0, badResponses: 0 });
      expect(report.requestsPerSecond).toBeGreaterThan(100);
    });
  });
});

test('wrk reports are read, errors included', () => {
  const lines = [
    '  1234 requests in 5.00s, 1.00MB read',
    '  Socket errors: connect 1, read 2, write 3, timeout 4',
    '  Non-2xx or 3xx responses: 5',
    'Requests/sec:    246.80',
  ];
  const figures = { requests: 1234, requestsPerSecond: 246.8 };
  expect(parseWrk(lines.join('\n'))).toEqual({ ...figures, socketErrors: 10, badResponses: 5 });
  expect(parseWrk([lines[0], lines[3]].join('\n'))).toEqual({ ...figures, socketErrors: 0, badResponses: 0 });
  expect(() => parseWrk('unable to connect')).toThrow(/not a report/);
});
