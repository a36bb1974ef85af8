import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Child } from '../../test/child.ts';
import { Stack } from '../api/stack.ts';
import { createCable } from '../device/cable.ts';
import { Arena } from '../memory/arena.ts';
import { LiveView } from './live-view.ts';
import { readImage, readPublications } from './publications.ts';
import { Publication, publicationFolder, publishCounters, publishPort } from './publish.ts';

const PUBLISH = fileURLToPath(new URL('./publish.ts', import.meta.url));

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-publish-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const byName = (path: string): Record<string, number> => {
  const { metrics, values } = readImage(path);
  return Object.fromEntries(metrics.map(({ name }, i) => [name, values[i]]));
};

test('numbers are published by their names, for their user only, until closed', () => {
  const numbers = { a: { b: 1, text: 'x', c: 2 }, d: 3 };
  const gauges = { e: 4.5 };
  const publication = new Publication('here', () => ({ counters: numbers, gauges }), folder);
  expect(statSync(publication.path).mode & 0o777).toBe(0o600);
  expect(byName(publication.path)).toEqual({ 'a.b': 1, 'a.c': 2, d: 3, e: 4.5 });
  numbers.a.c = 7;
  gauges.e = -1;
  publication.update();
  const { published, unreadable } = readPublications(Date.now(), folder);
  expect(unreadable).toEqual([]);
  expect(published).toMatchObject([{ hung: false, image: { pid: process.pid, label: 'here' } }]);
  expect(byName(publication.path)).toEqual({ 'a.b': 1, 'a.c': 7, d: 3, e: -1 });
  publication.close();
  publication.close();
  publication.update();
  expect(readdirSync(folder)).toEqual([]);
});

test('they are updated by themselves, at most ten times a second', async () => {
  let asked = 0;
  using publication = new Publication('here', () => ({ counters: { asked: asked++ }, gauges: {} }), folder);
  const before = asked;
  await vi.waitUntil(() => byName(publication.path).asked > before, { timeout: 5000 });
  const start = performance.now();
  const from = asked;
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(asked - from).toBeLessThanOrEqual((performance.now() - start) / 100 + 1);
});

test('a stack and a bare port have all their counters', async () => {
  const arena = new Arena(256 << 20);
  const [a, b] = createCable(arena, 'cable');
  await using stack = await Stack.open({
    device: a,
    addresses: ['10.0.0.1/24'],
    limits: { connections: 16, miniBlocks: 16, chunks: 256 },
  });
  using ofStack = publishCounters(stack, 'stack');
  using ofPort = publishPort(b, 'port');
  const names = Object.keys(byName(ofStack.path));
  for (const name of [
    'port.rxFrames',
    'ip.noRoute',
    'tcp.segmentsIn',
    'udp.datagramsIn',
    'breaths',
    'memory.inUse',
    'connections',
  ])
    expect(names).toContain(name);
  expect(byName(ofPort.path)).toEqual({
    'port.rxFrames': 0,
    'port.rxBytes': 0,
    'port.rxDropped': 0,
    'port.txFrames': 0,
    'port.txBytes': 0,
    'port.txDropped': 0,
    'port.syscalls': 0,
  });
  expect(ofStack.path).not.toBe(ofPort.path);
});

test('reads are of one moment while another process writes as fast as it can', async () => {
  const shared = mkdtempSync(join(publicationFolder(), 'millrace-test-'));
  // Its values, several pages of them, are always the same.
  const program = `import { Publication } from ${JSON.stringify(PUBLISH)};
    const numbers = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => ['n' + i, 0]));
    let n = 0;
    const read = () => { n++; for (const name in numbers) numbers[name] = n; return { counters: numbers, gauges: {} }; };
    const publication = new Publication('writer', read, ${JSON.stringify(shared)});
    console.log('ready');
    const end = performance.now() + 20_000;
    setImmediate(function turn() { for (let i = 0; i < 100; i++) publication.update(); if (performance.now() < end) setImmediate(turn); });`;
  const child = new Child(process.execPath, ['--input-type=module', '-e', program], { input: '' });
  try {
    await child.waitFor(/ready/);
    const [name] = readdirSync(shared);
    const seen = new Set<number>();
    let busy = 0;
    for (let i = 0; i < 1500; i++) {
      try {
        const { values } = readImage(join(shared, name));
        expect(new Set(values).size).toBe(1);
        seen.add(values[0]);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_COUNTERS_BUSY' });
        busy++;
      }
    }
    expect(busy).toBeLessThan(1500);
    expect(seen.size).toBeGreaterThan(1);
  } finally {
    await child.stop();
    rmSync(shared, { recursive: true });
  }
});

describe('files of processes', () => {
  test('that ended by themselves are gone, that were killed are removed, that are stopped tell so', async () => {
    const program = `import { Publication } from ${JSON.stringify(PUBLISH)};
      new Publication('child', () => ({ counters: { a: 5 }, gauges: {} }), ${JSON.stringify(folder)});`;
    const ended = spawnSync(process.execPath, ['--input-type=module', '-e', program]);
    expect(ended.status).toBe(0);
    expect(readdirSync(folder)).toEqual([]);

    const child = new Child(
      process.execPath,
      ['--input-type=module', '-e', `${program} setInterval(() => {}, 1000); console.log('up')`],
      { input: '' },
    );
    try {
      await child.waitFor(/up/);
      expect(readPublications(Date.now(), folder).published).toMatchObject([
        { hung: false, image: { pid: child.pid } },
      ]);
      child.signal('SIGSTOP');
      const { published } = readPublications(Date.now() + 2500, folder);
      expect(published).toMatchObject([{ hung: true, image: { label: 'child' } }]);
      expect(published[0].image.values).toEqual(Float64Array.of(5));
      child.signal('SIGKILL');
      await child.exit;
      expect(readdirSync(folder)).toHaveLength(1);
      expect(readPublications(Date.now(), folder)).toEqual({ published: [], unreadable: [] });
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      child.signal('SIGKILL');
      await child.exit;
    }
  });

  test.skipIf(process.platform !== 'linux')("whose pid is another process's now are removed", () => {
    using publication = new Publication('here', () => ({ counters: {}, gauges: {} }), folder);
    const theirs = join(folder, 'millrace-1-0');
    const image = readImage(publication.path);
    expect(image.start).toBeGreaterThan(0);
    // Of pid 1, which began at another time than this says.
    const bytes = new Uint8Array(spawnSync('cat', [publication.path]).stdout);
    new DataView(bytes.buffer).setUint32(12, 1, true);
    writeFileSync(theirs, bytes);
    expect(readPublications(Date.now(), folder).published.map(({ path }) => path)).toEqual([
      publication.path,
    ]);
    expect(existsSync(theirs)).toBe(false);
  });

  test('that lie, are cut off or are no files are told, and the others shown', () => {
    using publication = new Publication('good', () => ({ counters: { a: 1 }, gauges: {} }), folder);
    using cut = new Publication('cut', () => ({ counters: { a: 1 }, gauges: {} }), folder);
    truncateSync(cut.path, 50);
    const named = (serial: number): string => join(folder, `millrace-${process.pid}-${serial}`);
    writeFileSync(named(7), 'hello');
    symlinkSync(publication.path, named(8));
    spawnSync('mkfifo', [named(9)]);
    writeFileSync(join(folder, 'millrace-x'), 'of others');
    const { published, unreadable } = readPublications(Date.now(), folder);
    expect(published.map(({ image }) => image.label)).toEqual(['good']);
    expect(unreadable.map(({ path }) => path).toSorted()).toEqual(
      [cut.path, named(7), named(8), named(9)].toSorted(),
    );
    // Its own updates go on, and mend nothing.
    cut.update();
    publication.update();
    expect(existsSync(join(folder, 'millrace-x'))).toBe(true);
  });

  test('are never written through what somebody has put in their place', () => {
    const target = join(folder, 'target');
    writeFileSync(target, 'precious');
    symlinkSync(target, join(folder, `millrace-${process.pid}-0`));
    using publication = new Publication('here', () => ({ counters: {}, gauges: {} }), folder);
    expect(publication.path).toMatch(/-1$/);
    expect(spawnSync('cat', [target]).stdout.toString()).toBe('precious');
  });
});

test('rates are between the updates of the process itself', () => {
  const numbers = { n: 100, m: 5 };
  using publication = new Publication(
    'here',
    () => ({ counters: { n: numbers.n }, gauges: { m: numbers.m } }),
    folder,
  );
  const view = new LiveView();
  const look = () => {
    const [one] = readPublications(Date.now(), folder).published;
    return one;
  };
  const first = look();
  expect(view.look([first])[0].values.get('n')).toEqual({ value: 100, rate: null });
  numbers.n = 600;
  publication.update();
  const second = look();
  const later = { ...second, image: { ...second.image, updated: first.image.updated + 250 } };
  const [{ values }] = view.look([later]);
  expect(values.get('n')).toEqual({ value: 600, rate: 2000 });
  expect(values.get('m')).toEqual({ value: 5, rate: null });
  expect(view.look([later])[0].values.get('n')).toEqual({ value: 600, rate: 0 });
  const anew = { ...later, image: { ...later.image, opened: later.image.opened + 1 } };
  expect(view.look([anew])[0].values.get('n')).toEqual({ value: 600, rate: null });
});
