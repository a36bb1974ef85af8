/** The tools on bare ports against the kernel, in namespaces of their own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Child } from '../../test/child.ts';
import { describeWithTun } from '../../test/describe.ts';
import { Namespace } from '../../test/netns.ts';
import { PING } from '../../test/ping.ts';
import { publicationFolder } from '../control/publish.ts';
import { readPcapng } from '../device/pcapng.testing.ts';
import { decodeFrame } from '../wire/decode.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
/** The direction in the flags of a pcapng packet. */
const [INBOUND, OUTBOUND] = [1, 2];
const HOSTS = ['--host', '10.77.0.1/24', '--host', 'fd77::1/64'];

/** Counts the datagrams that come to port 1234, and from how many sockets, until told to end. Its queue holds some 270. */
const COUNTER = `
  import { createSocket } from 'node:dgram';
  const peers = new Set();
  let count = 0, bytes = 0;
  const numbers = new Set();
  const socket = createSocket({ type: 'udp6' }).bind(1234, '::', () => console.log('bound'));
  socket.on('message', (message, { address, port }) => {
    count++;
    bytes += message.length;
    peers.add(address + ' ' + port);
    numbers.add(message.readUInt32BE(4));
  });
  process.stdin.resume().on('end', async () => {
    // What its queue still has is read first.
    await new Promise((resolve) => setTimeout(resolve, 300));
    console.log(JSON.stringify({ count, bytes, peers: peers.size, numbers: numbers.size }));
    process.exit();
  });`;

const ECHO = `
  import { createSocket } from 'node:dgram';
  const socket = createSocket({ type: 'udp6' }).bind(7, '::', () => console.log('bound'));
  socket.on('message', (message, { address, port }) => socket.send(message, port, address));`;

describeWithTun('tools and the kernel', () => {
  let ns: Namespace;
  let folder = '';
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'millrace-tools-'));
    ns = await Namespace.create();
  });
  afterEach(async () => {
    await ns.close();
    rmSync(folder, { recursive: true });
  });

  const millrace = (...args: string[]): Child => ns.spawn(process.execPath, [MAIN, ...args], { input: '' });
  const script = (text: string): Child => ns.spawn(process.execPath, ['--input-type=module', '-e', text]);

  async function counted(counter: Child): Promise<unknown> {
    counter.endInput();
    return JSON.parse((await counter.success()).trim().split('\n').at(-1) ?? '');
  }

  /** What the namespace's kernel has counted of UDP: one of the names in /proc/net/snmp. */
  async function snmp(name: string): Promise<number> {
    const [names, values] = (await ns.run('cat', ['/proc/net/snmp']))
      .split('\n')
      .filter((line) => line.startsWith('Udp:'));
    return Number(values.split(' ')[names.split(' ').indexOf(name)]);
  }

  test.each([
    ['tap:mr0', '10.77.0.2:1000-10.77.0.5:1009', '10.77.0.1'],
    ['tun:mr0', '10.77.0.2:1000-10.77.0.5:1009', '10.77.0.1'],
    ['tap:mr0', '[fd77::2]:1000-[fd77::5]:1009', 'fd77::1'],
  ])(
    'pktgen tx on %s from %s: a UDP socket of the kernel gets every packet of every flow',
    async (device, src, dst) => {
      const counter = script(COUNTER);
      await counter.waitFor(/bound/);
      const run = millrace(
        'pktgen',
        'tx',
        device,
        ...HOSTS,
        '-n',
        '200',
        '-R',
        '2000',
        '-l',
        '300',
        '-s',
        src,
        '-d',
        dst,
      );
      expect(await run.success()).toMatch(/^200 packets .* 0 dropped, .* 40 flows$/m);
      const headers = (device.startsWith('tap') ? 14 : 0) + (dst.includes(':') ? 40 : 20) + 8;
      expect(await counted(counter)).toEqual({
        count: 200,
        bytes: 200 * (300 - headers),
        peers: 40,
        numbers: 200,
      });
      expect(await snmp('InCsumErrors')).toBe(0);
    },
  );

  test.each([
    ['tun:mr0', '10.77.0.2', '10.77.0.1:7'],
    ['tun:mr0', 'fd77::2', '[fd77::1]:7'],
  ])("pktgen ping on %s from %s: the kernel's echo answers each", async (device, src, dst) => {
    await script(ECHO).waitFor(/bound/);
    const out = await millrace(
      'pktgen',
      'ping',
      device,
      ...HOSTS,
      '-n',
      '200',
      '-s',
      src,
      '-d',
      dst,
    ).success();
    expect(out).toMatch(
      /^200 sent, 200 answered, 0 lost, 0 late, 0 duplicate, 0 bad checksums; 200 round trips, p50 [\d.]+, .* us$/m,
    );
  });

  test('devices have as many queues as they are told', async () => {
    const commands: [string[], RegExp, string[]][] = [
      [['bridge', 'tap:a', 'tap:b'], /Ctrl-C ends/, ['a', 'b']],
      [['switch', 'tap:c', 'tap:d'], /Ctrl-C ends/, ['c', 'd']],
      [['services', '--device', 'tun:e'], /echo 7/, ['e']],
    ];
    for (const [command, ready, names] of commands) {
      const run = millrace(...command, '--queues', '3');
      await run.waitFor(ready);
      for (const name of names) {
        const [link] = JSON.parse(await ns.run('ip', ['-j', '-d', 'link', 'show', name]));
        expect(link.linkinfo.info_data.numqueues, name).toBe(3);
      }
      await run.stop();
    }
    const refused = millrace('capture', 'tun:f', '--queues', '17');
    await refused.exit;
    expect(refused.stderr).toMatch(/EINVAL.*f may have 1 to 16 queues, not 17/);
  });

  test('pktgen ping and pong reach each other over two taps and a bridge of the kernel', async () => {
    const pong = millrace('pktgen', 'pong', 'tap:mr1');
    const ping = millrace('pktgen', 'ping', 'tap:mr0', '-R', '100');
    await joined('mr0', 'mr1');
    await ping.waitFor(/^[1-9]\d* round trips/m, 20_000);
    ping.signal('SIGINT');
    const [, sent, got] = /(\d+) sent, (\d+) answered, .* 0 bad checksums/.exec(await ping.success()) ?? [];
    pong.signal('SIGINT');
    const [, answered] = /^(\d+) answered, 0 bad checksums/m.exec(await pong.success()) ?? [];
    // The last one may still have been on its way.
    expect(Number(answered)).toBeGreaterThanOrEqual(Number(got));
    expect(Number(answered)).toBeLessThanOrEqual(Number(sent));
  });

  /** Lays a bridge between two devices as soon as both are there. */
  async function joined(...names: string[]): Promise<void> {
    await ns.run('ip', ['link', 'add', 'br0', 'type', 'bridge']);
    await ns.run('ip', ['link', 'set', 'br0', 'up']);
    for (const name of names) {
      await ns.run('sh', [
        '-c',
        `for i in $(seq 200); do ip link set ${name} master br0 2>/dev/null && exit; sleep 0.05; done; exit 1`,
      ]);
    }
  }

  test.each(['rx', 'tx'])(
    'pktgen %s says what to do when its device is removed, and leaves nothing',
    async (mode) => {
      const run = millrace('pktgen', mode, 'tap:mr0', '-R', '100');
      await run.waitFor(new RegExp(`^${mode} `, 'm'));
      await ns.run('ip', ['link', 'del', 'mr0']);
      expect((await run.exit).code).toBe(1);
      expect(run.stderr).toMatch(/^millrace: ENODEV: the interface of tap:mr0 was removed/m);
      expect(
        readdirSync(publicationFolder()).filter((name) => name.startsWith(`millrace-${run.pid}-`)),
      ).toEqual([]);
    },
  );

  test("capture records what a bridge of the kernel passes on, as tcpdump reads it, and replay brings it back to the kernel's socket", async () => {
    const file = join(folder, 'x.pcapng');
    const counter = script(COUNTER);
    await counter.waitFor(/bound/);
    // pktgen's packets go out of one tap, over a bridge, into another one, where they are captured.
    const capture = millrace('capture', 'tap:mr1', '-w', file, '-c', '50', 'udp', 'port', '1234');
    const tx = millrace('pktgen', 'tx', 'tap:mr0', '-R', '200');
    await joined('mr0', 'mr1');
    await capture.success();
    expect(capture.stderr).toContain('50 captured of ');
    tx.signal('SIGINT');
    await tx.success();

    const { packets, interfaces } = readPcapng(readFileSync(file));
    expect(interfaces).toMatchObject([{ linkType: 1, name: 'tap:mr1' }]);
    expect(packets).toHaveLength(50);
    for (const { bytes, length } of packets) {
      expect(length).toBe(60);
      expect(decodeFrame(bytes, 'ether')).toMatchObject({ checksumGood: true, udp: { dstPort: 1234 } });
    }
    const tcpdump = spawnSync('tcpdump', ['-n', '-r', file], { encoding: 'utf8' });
    if (tcpdump.error === undefined)
      expect(tcpdump.stdout.trim().split('\n')[49]).toContain(
        'IP 10.77.0.2.1234 > 10.77.0.1.1234: UDP, length 18',
      );

    const replay = millrace('replay', file, 'tap:mr2', ...HOSTS);
    expect(await replay.success()).toMatch(/^50 packets in /m);
    expect(await counted(counter)).toMatchObject({ count: 50, peers: 1, numbers: 50 });
  });

  test('capture of packet: has what the host sends and what it receives, and says which', async () => {
    const far = await Namespace.create(ns);
    try {
      await ns.link(far, 'mr0', 'mr1');
      await ns.run('ip', ['address', 'add', '10.77.0.1/24', 'dev', 'mr0']);
      await far.run('ip', ['address', 'add', '10.77.0.2/24', 'dev', 'mr1']);
      const file = join(folder, 'x.pcapng');
      const capture = millrace('capture', 'packet:mr0', '-w', file, '-c', '6', 'icmp');
      await expect.poll(() => capture.stderr, { timeout: 10_000 }).toContain('listening');
      await ns.run(process.execPath, ['--input-type=module', '-e', PING, '10.77.0.2', '3']);
      await capture.success();
      const { packets } = readPcapng(readFileSync(file));
      const ways = packets.map(({ bytes, flags }) => [decodeFrame(bytes, 'ether').icmp?.kind, flags]);
      const there = ['echo request', OUTBOUND];
      const back = ['echo reply', INBOUND];
      expect(ways).toEqual([there, back, there, back, there, back]);
      const times = packets.map(({ ticks }) => ticks);
      expect(times).toEqual([...times].sort((a, b) => Number(a - b)));
    } finally {
      await far.close();
    }
  });

  test('capture prints, by a filter, what comes to a device', async () => {
    const capture = millrace('capture', 'tun:mr0', ...HOSTS, '-c', '2', 'icmp6', 'or', 'dst', 'port', '99');
    await ns.run('sh', [
      '-c',
      'for i in $(seq 200); do ip -o addr show mr0 2>/dev/null | grep -q 10.77 && exit; sleep 0.05; done; exit 1',
    ]);
    const send = `import { createSocket } from 'node:dgram';
      const socket = createSocket('udp4');
      for (const port of [98, 99, 99]) await new Promise((done) => socket.send('hello', port, '10.77.0.9', done));
      socket.close();`;
    await script(send).success();
    const lines = (await capture.success()).trim().split('\n');
    expect(lines).toHaveLength(2);
    for (const line of lines)
      expect(line).toMatch(/ (10\.77\.0\.1:\d+ > 10\.77\.0\.9:99: udp 5|.* icmp6 .*)$/);
  });

  test('top shows the counters of services from another process, and clears away what a killed one leaves', async () => {
    const services = millrace('services', '--device', 'tun:mr0');
    await services.waitFor(/echo 7/);
    const talk = `import { connect } from 'node:net';
      connect(7, '10.77.0.2', function () { this.end('hello'); }).resume();`;
    await script(talk).success();
    const look = async (): Promise<unknown> =>
      JSON.parse(await millrace('top', String(services.pid), '--once', '--json').success()).processes;
    expect(await look()).toMatchObject([
      {
        pid: services.pid,
        label: 'services tun:mr0',
        hung: false,
        values: { 'tcp.passiveOpens': { value: 1 } },
      },
    ]);
    services.signal('SIGKILL');
    await services.exit;
    expect(publishedBy(services)).toHaveLength(1);
    expect(await millrace('top', '--once').success()).not.toContain(String(services.pid));
    expect(publishedBy(services)).toEqual([]);
  });
});

function publishedBy(child: Child): string[] {
  return readdirSync(publicationFolder()).filter((name) => name.startsWith(`millrace-${child.pid}-`));
}
