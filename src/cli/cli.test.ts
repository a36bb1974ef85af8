/** The commands as a user without privileges runs them. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { Child } from '../../test/child.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const SITE = fileURLToPath(new URL('../../examples/site', import.meta.url));

const started: Child[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((child) => child.stop()));
});

function millrace(...args: string[]): Child {
  const child = new Child(process.execPath, [MAIN, ...args], { input: '' });
  started.push(child);
  return child;
}

/** The URL that `serve` prints once it accepts. */
async function urlOf(child: Child): Promise<string> {
  return (await child.waitFor(/^(http:\S+)$/m))[1];
}

describe('serve on a cable', () => {
  test('serves a site through both our stacks, many files at once, and ends by Ctrl-C', async () => {
    const run = millrace('serve', SITE, '--front-door', '0');
    const url = await urlOf(run);
    const file = readFileSync(`${SITE}/water.bin`);
    const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
    const got = await Promise.all(
      Array.from({ length: 20 }, async () =>
        sum(new Uint8Array(await (await fetch(`${url}water.bin`)).arrayBuffer())),
      ),
    );
    expect(new Set(got)).toEqual(new Set([sum(file)]));
    expect((await fetch(`${url}none`)).status).toBe(404);
    expect((await fetch(`${url}%2e%2e/%2e%2e/package.json`)).status).toBe(404);
    run.signal('SIGINT');
    expect((await run.exit).code).toBe(0);
  });

  test('records what crosses the cable', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-cli-'));
    try {
      const run = millrace('serve', SITE, '--front-door', '0', '--pcap', `${folder}/x.pcapng`);
      await fetch(await urlOf(run)).then((response) => response.text());
      run.signal('SIGTERM');
      expect((await run.exit).code).toBe(0);
      const capture = readFileSync(`${folder}/x.pcapng`);
      expect(capture.readUInt32LE(0)).toBe(0x0a0d0d0a);
      expect(capture.includes('GET / HTTP/1.1')).toBe(true);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('says so when the front door is taken', async () => {
    const first = millrace('serve', SITE, '--front-door', '0');
    const { port } = new URL(await urlOf(first));
    const second = millrace('serve', SITE, '--front-door', port);
    expect((await second.exit).code).toBe(1);
    expect(second.stderr).toContain('EADDRINUSE');
  });
});

describe('pkt', () => {
  const HANDSHAKE = fileURLToPath(new URL('../tcp/handshake.pkt', import.meta.url));

  test('runs the scripts of a folder, tells each verdict, and fails with any of them', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-cli-'));
    try {
      const start = '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n';
      writeFileSync(join(folder, 'a.pkt'), start);
      writeFileSync(join(folder, 'b.pkt'), `${start}+0 mmap(3) = 0\n`);
      const good = millrace('pkt', folder);
      expect((await good.exit).code).toBe(0);
      expect(good.stdout).toMatch(/^pass +\S+a\.pkt$/m);
      expect(good.stdout).toMatch(/^unsupported +\S+b\.pkt:2: system call mmap\(\)$/m);
      writeFileSync(join(folder, 'c.pkt'), `${start}+0 > S 0:0(0)\n`);
      const bad = millrace('pkt', folder, HANDSHAKE, '--json');
      expect((await bad.exit).code).toBe(1);
      const lines = bad.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(lines.map(({ verdict }) => verdict)).toEqual(['pass', 'unsupported', 'fail', 'pass', undefined]);
      expect(lines[4]).toMatchObject({ pass: 2, fail: 1, unsupported: 1 });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('shows what happened', async () => {
    const run = millrace('pkt', HANDSHAKE, '-v');
    expect((await run.exit).code).toBe(0);
    expect(run.stdout).toContain('0.000010 > S. 0:0(0) ack 1 win 65535');
  });
});

describe('mistakes', () => {
  test.each([
    ['serve', ['serve', '/nowhere'], 'no folder'],
    ['device', ['serve', SITE, '--device', 'eth0'], 'tun:NAME, tap:NAME'],
    ['long name', ['services', '--device', 'tun:a-name-that-is-too-long'], 'tun: takes an interface name'],
    ['address', ['services', '--address', '10.0.0.300/24'], '10.0.0.300'],
    ['port', ['connect', '10.0.0.1', '70000'], '1 to 65535'],
    ['services on a cable', ['services', '--device', 'cable'], '--device tun:NAME'],
    ['no script', ['pkt', '/nowhere'], '/nowhere'],
    ['unknown command', ['serv'], 'serve'],
  ])('%s: one line that says what to do, and code 1', async (_, args, text) => {
    const run = millrace(...args);
    expect((await run.exit).code).toBe(1);
    expect(run.stderr).toContain(text);
    expect(run.stderr).not.toMatch(/^\s+at /m);
  });
});

test('doctor tells what this machine allows', async () => {
  const run = millrace('doctor', '--json');
  expect((await run.exit).code).toBe(0);
  const findings = JSON.parse(run.stdout) as { name: string; ok: boolean; advice: string }[];
  expect(findings.length).toBeGreaterThan(0);
  for (const finding of findings) expect(typeof finding.ok).toBe('boolean');
});

test('--help names every command', async () => {
  const run = millrace('--help');
  expect((await run.exit).code).toBe(0);
  for (const name of [
    'serve',
    'services',
    'connect',
    'ping',
    'pkt',
    'pktgen',
    'capture',
    'replay',
    'top',
    'doctor',
  ])
    expect(run.stdout).toContain(name);
});
