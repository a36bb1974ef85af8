/** The tools on bare ports as a user without privileges runs them: on the devices null and pcap:, and on a cable's stacks. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Child } from '../../test/child.ts';
import { publicationFolder } from '../control/publish.ts';
import { readPcapng } from '../device/pcapng.testing.ts';
import { compileFilter } from '../os/libpcap.ts';
import { decodeFrame } from '../wire/decode.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const SITE = fileURLToPath(new URL('../../examples/site', import.meta.url));

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-tools-'));
});
const started: Child[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((child) => child.stop()));
  rmSync(folder, { recursive: true });
});

function millrace(...args: string[]): Child {
  const child = new Child(process.execPath, [MAIN, ...args], { input: '' });
  started.push(child);
  return child;
}

/** A command takes a third of a second to start, and many times that on a busy machine. */
const PATIENCE_MS = 25_000;

const file = (name: string): string => join(folder, name);

/** A file of `count` packets of pktgen's, over 3 source ports. */
async function generate(name: string, count: number, ...more: string[]): Promise<Uint8Array[]> {
  const range = ['-s', '10.0.0.2:1000-10.0.0.2:1002', '-d', '10.0.0.1:9'];
  await millrace('pktgen', 'tx', `pcap:,to=${file(name)}`, '-n', String(count), ...range, ...more).success();
  return framesOf(name);
}

const framesOf = (name: string): Uint8Array[] =>
  readPcapng(readFileSync(file(name))).packets.map(({ bytes }) => bytes);

/** Why filters can't be tested here. */
const noLibpcap = ((): string => {
  try {
    compileFilter('ip', 'ip', 1);
    return '';
  } catch (error) {
    return ` (can't here: ${(error as Error).message})`;
  }
})();

describe('pktgen', () => {
  test('makes as many packets as asked for, of the flows asked for, and says so', async () => {
    const run = millrace('pktgen', 'tx', 'null', '-n', '100000', '-s', '10.0.0.1:1-10.0.0.4:5');
    expect(await run.success()).toMatch(
      /^100000 packets in [\d.]+ s: tx .*, 0 dropped, 0 syscalls\/packet, 20 flows$/m,
    );
    const frames = await generate('x', 10, '-l', '200');
    expect(frames).toHaveLength(10);
    frames.forEach((frame, i) => {
      const { udp, checksumGood } = decodeFrame(frame, 'ether');
      expect(frame.length).toBe(200);
      expect(udp).toMatchObject({ srcPort: 1000 + (i % 3), dstPort: 9 });
      expect(checksumGood).toBe(true);
    });
  });

  test('reports each second, keeps to a rate, and ends by Ctrl-C with a summary', async () => {
    const run = millrace('pktgen', 'tx', 'null', '-R', '1000');
    await run.waitFor(/^tx .*\n.*^tx [\d.]+ k?pps, [\d.]+ Gbit\/s, 0 dropped/ms, PATIENCE_MS);
    run.signal('SIGINT');
    const [, packets, time] = /^(\d+) packets in ([\d.]+) s/m.exec(await run.success()) ?? [];
    expect(Number(packets)).toBeGreaterThan(1000);
    expect(Number(packets) / Number(time)).toBeLessThan(1100);
  });

  test('rx tells what was lost, doubled and late, and what was not of pktgen', async () => {
    const frames = await generate('x', 8);
    const rest = { interfaceId: 0, direction: 'rx', timeUs: 0 } as const;
    const { CaptureWriter } = await import('./capture-file.ts');
    const writer = new CaptureWriter(file('y'), 'test', 65_535);
    const damaged = frames[7].with(50, 1);
    for (const frame of [frames[0], frames[3], frames[2], frames[2], frames[4].with(12, 9), damaged])
      writer.add(frame, 'ether', rest);
    writer.close();
    const run = millrace('pktgen', 'rx', `pcap:${file('y')},speed=max`, '-t', '1.5');
    expect(await run.success()).toContain(
      "of pktgen's 4 received, 1 lost, 1 late, 1 duplicate, 0 restarts, 1 bad checksums; 1 of others",
    );
  });

  test('ping gives up what nobody answers', async () => {
    const run = millrace('pktgen', 'ping', 'null', '-n', '1');
    expect(await run.success()).toMatch(/^1 sent, 0 answered, 1 lost/m);
  });

  test.each([
    ['mode', ['teleport', 'null'], 'tx, rx, ping, pong'],
    ['device', ['tx', 'eth0'], 'tun:NAME'],
    ['range', ['tx', 'null', '-s', '10.0.0.2-10.0.0.1'], 'must not be above'],
    ['two versions', ['tx', 'null', '-s', 'fd00::1'], 'one IP version'],
    ['length', ['tx', 'null', '-l', '2000'], '--mtu'],
    ['hardware address', ['tx', 'null', '-D', '1:2'], 'hardware address'],
  ])('a wrong %s is told in one line', async (_, args, text) => {
    const run = millrace('pktgen', ...args);
    expect((await run.exit).code).toBe(1);
    expect(run.stderr).toContain(text);
    expect(run.stderr).not.toMatch(/^\s+at /m);
  });
});

describe('capture', () => {
  test('prints a file, a line for each packet', async () => {
    await generate('x', 3);
    const run = millrace('capture', `pcap:${file('x')}`);
    const lines = (await run.success()).trim().split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[1]).toMatch(/^\d\d:\d\d:\d\d\.\d{6} 10\.0\.0\.2:1001 > 10\.0\.0\.1:9: udp 18$/);
    expect(run.stderr).toContain('3 of 3 packets');
  });

  test('takes as many as asked for, and as much of each', async () => {
    const frames = await generate('x', 5);
    await millrace('capture', `pcap:${file('x')}`, '-w', file('y'), '-c', '2', '-s', '30').success();
    const { packets } = readPcapng(readFileSync(file('y')));
    expect(packets.map(({ bytes, length }) => [bytes, length])).toEqual(
      frames.slice(0, 2).map((frame) => [frame.slice(0, 30), 60]),
    );
  });

  describe.skipIf(noLibpcap !== '')(`filters${noLibpcap}`, () => {
    test("by tcpdump's expressions, in one argument or several", async () => {
      const frames = await generate('x', 9);
      await millrace('capture', `pcap:${file('x')}`, '-w', file('y'), 'udp', 'src', 'port', '1001').success();
      expect(framesOf('y')).toEqual(frames.filter((_, i) => i % 3 === 1));
      const run = millrace('capture', `pcap:${file('x')}`, 'not udp or port 1002 and less 60');
      expect((await run.success()).trim().split('\n')).toHaveLength(3);
    });

    test('one that makes no sense is told in one line', async () => {
      await generate('x', 1);
      const run = millrace('capture', `pcap:${file('x')}`, 'port', 'nowhere');
      expect((await run.exit).code).toBe(1);
      expect(run.stderr).toMatch(
        /^millrace: ERR_FILTER: the filter "port nowhere" can't be compiled: .*pcap-filter/m,
      );
    });
  });

  test('ends in peace when nobody reads any more', async () => {
    await generate('x', 20_000);
    const pipe = new Child(
      'sh',
      ['-c', `${process.execPath} ${MAIN} capture pcap:${file('x')} | head -n 1`],
      { input: '' },
    );
    started.push(pipe);
    expect(await pipe.success()).toContain('10.0.0.2:1000 >');
    expect(pipe.stderr).not.toContain('EPIPE');
  });

  test('a file that is none is told in one line', async () => {
    writeFileSync(file('x'), 'hello, this is no capture');
    const run = millrace('capture', `pcap:${file('x')}`);
    expect((await run.exit).code).toBe(1);
    expect(run.stderr).toMatch(/^millrace: ERR_PCAP_FORMAT: /m);
    const none = millrace('capture', `pcap:${file('none')}`);
    expect((await none.exit).code).toBe(1);
    expect(none.stderr).toMatch(/^millrace: ENOENT: /m);
  });
});

describe('replay', () => {
  test('sends the frames of a file again, byte for byte', async () => {
    const frames = await generate('x', 50, '-l', '777');
    const run = millrace('replay', file('x'), `pcap:,to=${file('y')}`, '--topspeed', '--loop', '3');
    expect(await run.success()).toMatch(/^150 packets in .*left out: 0 of other links, 0 cut, 0 too long$/m);
    expect(framesOf('y')).toEqual([...frames, ...frames, ...frames]);
  });

  test('keeps the pauses between them, or a rate, and ends by Ctrl-C', async () => {
    await generate('x', 5, '-R', '5');
    const time = async (...args: string[]): Promise<number> => {
      const out = await millrace('replay', file('x'), 'null', ...args).success();
      return Number(/^5 packets in ([\d.]+) s/m.exec(out)?.[1]);
    };
    const [original, faster, rate] = await Promise.all([time(), time('-x', '8'), time('-R', '10')]);
    expect(original).toBeGreaterThan(0.75);
    expect(faster).toBeLessThan(original);
    expect(rate).toBeGreaterThanOrEqual(0.4);
    const endless = millrace('replay', file('x'), 'null', '-t', '-l', '0');
    await endless.waitFor(/sent so far/, PATIENCE_MS);
    endless.signal('SIGINT');
    expect((await endless.exit).code).toBe(0);
  });

  test('a file that is none, or ends in the middle, is told in one line', async () => {
    await generate('x', 3);
    writeFileSync(file('y'), readFileSync(file('x')).subarray(0, -5));
    const run = millrace('replay', file('y'), 'null');
    expect((await run.exit).code).toBe(1);
    expect(run.stderr).toMatch(/^millrace: ERR_PCAP_TRUNCATED: /m);
    const two = millrace('replay', file('x'), 'null', '--speed', '2', '--rate', '3');
    expect((await two.exit).code).toBe(1);
    expect(two.stderr).toContain('give one of them');
  });
});

// Several commands one after the other, with a second between two looks.
describe('top', { timeout: 90_000 }, () => {
  const pathsOf = (pid: number): string[] =>
    readdirSync(publicationFolder()).filter((name) => name.startsWith(`millrace-${pid}-`));

  test('shows a tool that works, in lines and in JSON, and forgets it when it ends', async () => {
    const run = millrace('pktgen', 'tx', 'null', '-R', '100');
    await run.waitFor(/^tx/m, PATIENCE_MS);
    const [lines, all, text] = await Promise.all([
      millrace('top', '--once').success(),
      millrace('top', String(run.pid), '--once').success(),
      millrace('top', String(run.pid), '--once', '--json').success(),
    ]);
    expect(lines).toMatch(new RegExp(`^ *${run.pid} .* pktgen null$`, 'm'));
    expect(all).toMatch(/^ *[\d.]+ +\d+ +port\.txFrames$/m);
    const json = JSON.parse(text);
    expect(json.processes).toMatchObject([{ pid: run.pid, label: 'pktgen null', hung: false }]);
    const { value, rate } = json.processes[0].values['port.txFrames'];
    expect(value).toBeGreaterThan(50);
    expect(rate).toBeGreaterThan(10);
    run.signal('SIGTERM');
    await run.exit;
    expect(pathsOf(run.pid)).toEqual([]);
    const gone = millrace('top', String(run.pid), '--once');
    expect((await gone.exit).code).toBe(1);
    expect(gone.stderr).toContain('has ended');
  });

  test('shows both stacks of a process, also while it is stopped, and clears away what a killed one leaves', async () => {
    const run = millrace('serve', SITE, '--front-door', '0');
    const [url] = await run.waitFor(/^http:\S+/m, PATIENCE_MS);
    await fetch(url).then((response) => response.text());
    const look = async (): Promise<{ hung: boolean; values: Record<string, { value: number }> }[]> =>
      JSON.parse(await millrace('top', String(run.pid), '--once', '--json').success()).processes;
    const before = await look();
    expect(before).toMatchObject([{ hung: false }, { hung: false }]);
    for (const { values } of before) expect(values['tcp.segmentsIn'].value).toBeGreaterThan(2);
    run.signal('SIGSTOP');
    await vi.waitUntil(async () => (await look()).every(({ hung }) => hung), {
      timeout: 15_000,
      interval: 500,
    });
    expect((await look())[0].values['tcp.segmentsIn'].value).toBe(before[0].values['tcp.segmentsIn'].value);
    run.signal('SIGKILL');
    await run.exit;
    expect(pathsOf(run.pid)).toHaveLength(2);
    await millrace('top', '--once').success();
    expect(pathsOf(run.pid)).toEqual([]);
    expect(existsSync(publicationFolder())).toBe(true);
  });

  test('runs until Ctrl-C', async () => {
    const run = millrace('top', '--json');
    await run.waitFor(/"processes".*\n.*"processes"/s, PATIENCE_MS);
    run.signal('SIGINT');
    expect((await run.exit).code).toBe(0);
  });
});
