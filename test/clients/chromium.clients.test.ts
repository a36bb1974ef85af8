/** Headless Chromium renders the example site from `serve`. */
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeInNamespace } from '../describe.ts';
import { Namespace } from '../netns.ts';
import { TestFiles } from './files.ts';
import { startServe, URL_IPV4, URL_IPV6 } from './millrace.ts';

const SITE = fileURLToPath(new URL('../../examples/site', import.meta.url));

describeInNamespace('Chromium', () => {
  const files = new TestFiles();
  let ns: Namespace;

  beforeAll(async () => {
    ns = await Namespace.create();
    await startServe(ns, SITE);
  });

  afterAll(async () => {
    await ns?.close();
    files.remove();
  });

  /** Without most of these it looks for hosts of its maker at every start. */
  const chromium = (profile: string, ...args: string[]): Promise<string> =>
    ns.run('chromium', [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--hide-scrollbars',
      `--user-data-dir=${files.path(profile)}`,
      // Virtual time stands still while a request is under way: the page's own downloads end first.
      '--virtual-time-budget=10000',
      ...args,
    ]);

  test.each([
    ['IPv4', URL_IPV4],
    ['IPv6', URL_IPV6],
  ])('runs the page and its downloads over %s', async (version, url) => {
    let dom = '';
    // Virtual time runs on while the page hashes what it got, which a busy machine may take longer for.
    for (let i = 0; i < 5 && !/data-state="(done|failed)"/.test(dom); i++)
      dom = await chromium(`profile-${version}-${i}`, '--dump-dom', `${url}/`);
    expect(dom).toContain('<title>Millrace</title>');
    // What the page's script writes when the last of its downloads came through whole.
    expect(dom).toMatch(/data-state="done"/);
    expect(dom).not.toMatch(/data-state="failed"/);
  });

  test('paints it', async () => {
    const shot = files.path('shot.png');
    await chromium('profile-shot', '--window-size=1280,900', `--screenshot=${shot}`, `${URL_IPV4}/`);
    // An empty page of this size is a picture of some 6 KB.
    expect(statSync(shot).size).toBeGreaterThan(20_000);
  });
});
