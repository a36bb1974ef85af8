/** `connect` as the client of real servers. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeInNamespace } from '../describe.ts';
import { Namespace } from '../netns.ts';
import { responseBody, sha256, type TestFile, TestFiles } from './files.ts';
import { HOST_IPV4, HOST_IPV6, startConnect } from './millrace.ts';
import { NGINX_PORT, startNginx, startNodeHttp } from './servers.ts';

const NODE_PORT = 8081;
const UNUSED_PORT = 9;

describeInNamespace('connect', () => {
  const files = new TestFiles();
  let file: TestFile;
  let ns: Namespace;

  beforeAll(async () => {
    file = files.create('1MiB', 2 ** 20);
    ns = await Namespace.create();
    await startNginx(ns, files);
    await startNodeHttp(ns, files.directory, NODE_PORT);
  });

  afterAll(async () => {
    await ns?.close();
    files.remove();
  });

  test.each([
    ['nginx over IPv4', HOST_IPV4, NGINX_PORT],
    ['nginx over IPv6', HOST_IPV6, NGINX_PORT],
    ['a Node server over IPv4', HOST_IPV4, NODE_PORT],
    ['a Node server over IPv6', HOST_IPV6, NODE_PORT],
  ])('gets a file from %s', async (_, host, port) => {
    const output = files.path('response');
    const client = startConnect(ns, host, port, output);
    // HTTP/1.0: no chunks in the body, and the server closes.
    client.write(`GET /${file.name} HTTP/1.0\r\nHost: test\r\n\r\n`);
    await client.success();
    const { header, body } = responseBody(output);
    expect(header).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(body).toHaveLength(file.bytes);
    expect(sha256(body)).toBe(file.sha256);
  });

  test('fails and says why where nobody listens', async () => {
    const client = startConnect(ns, HOST_IPV4, UNUSED_PORT, files.path('nothing'));
    expect((await client.exit).code).not.toBe(0);
    expect(client.stderr).toContain('ECONNREFUSED');
  });
});
