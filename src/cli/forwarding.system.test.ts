/**
 * The commands that join devices, between programs on the kernel's stack: each device's interface, or the far end of the
 * cable that it is on, is moved to a namespace of its own, so that the only way from one to the other is through us.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Child } from '../../test/child.ts';
import { Namespace, namespaceSupport } from '../../test/netns.ts';
import { PING } from '../../test/ping.ts';

const { reason } = namespaceSupport();
const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const BULK_BYTES = 40_000_000;

/** Listens, and tells which bytes came, and how fast those past the first quarter: TCP has to begin. */
const SERVER = `
  const skip = Number(process.argv[1]) / 4;
  const hash = require('crypto').createHash('sha256');
  let bytes = 0, from = 0, start = 0;
  require('net').createServer((socket) => {
    socket.on('data', (data) => {
      hash.update(data);
      bytes += data.length;
      if (start !== 0 || bytes < skip) return;
      start = performance.now();
      from = bytes;
    });
    socket.on('end', () => {
      console.log('received ' + bytes + ' B ' + hash.digest('hex') + ' at ' + ((bytes - from) * 8000) / (performance.now() - start) + ' bit/s');
      socket.end();
    });
  }).listen(5001, '::', () => console.log('listening'));`;
/** Sends so many bytes, and tells which. */
const CLIENT = `
  const [host, total] = [process.argv[1], Number(process.argv[2])];
  const hash = require('crypto').createHash('sha256');
  const noise = require('crypto').randomBytes(1 << 20);
  const socket = require('net').connect(5001, host, () => {
    let left = total;
    const more = () => {
      while (left > 0) {
        const n = Math.min(left, 1 << 16);
        const at = left % (noise.length - n);
        const chunk = noise.subarray(at, at + n);
        left -= n;
        hash.update(chunk);
        if (!socket.write(chunk)) return void socket.once('drain', more);
      }
      socket.end();
    };
    more();
  });
  socket.on('close', () => console.log(hash.digest('hex'))).resume();`;

const SESSION = '/proc/self/autogroup';

/**
 * Sets the priority of this process, and of its session beside others (sched(7), autogroup), as far as it may.
 * @returns that of the session before
 */
function favour(nice: number): number {
  try {
    setPriority(nice);
    const before = Number(/nice (-?\d+)/.exec(readFileSync(SESSION, 'utf8'))?.[1]);
    writeFileSync(SESSION, String(nice));
    return before;
  } catch {
    // As they are, for who may not, or where there are no groups.
    return 0;
  }
}

/** For all answers of a run. */
const PING_MS_MAX = 15_000;

describe.skipIf(reason !== undefined)(`devices joined by a command (${reason ?? 'in namespaces'})`, () => {
  let middle: Namespace;
  const hosts: Namespace[] = [];
  // Delays and rates are to be ours, not those of who else is on the machine. Children inherit it.
  let before = 0;
  beforeAll(() => {
    before = favour(-20);
  });
  afterAll(() => {
    favour(before);
  });
  beforeEach(async () => {
    middle = await Namespace.create();
  });
  afterEach(async () => {
    for (const host of hosts.splice(0)) await host.close();
    await middle.close();
  });

  /** Runs a command, and gives each of its devices a host: device i has 10.9.0.(i + 1) and fd09::(i + 1). */
  async function start(command: string, devices: readonly string[], ...more: string[]): Promise<Child> {
    const [kinds, names] = [0, 1].map((part) => devices.map((device) => device.split(':')[part]));
    for (const [i, name] of names.entries()) {
      if (kinds[i] !== 'packet') continue;
      await middle.run('ip', ['link', 'add', 'name', name, 'type', 'veth', 'peer', 'name', `${name}-far`]);
      await middle.run('ip', ['link', 'set', 'dev', name, 'up']);
    }
    const tool = middle.spawn(process.execPath, [MAIN, command, ...devices, ...more]);
    await tool.waitFor(/Ctrl-C ends/).catch((error) => {
      throw new Error(`${error}\n${tool.stderr}`);
    });
    for (const [i, kind] of kinds.entries()) {
      const name = kind === 'packet' ? `${names[i]}-far` : names[i];
      const host = await Namespace.create(middle);
      hosts.push(host);
      const holder = host.spawn('sh', ['-c', 'echo here; exec sleep 600']);
      await holder.waitFor(/here/);
      await middle.run('ip', ['link', 'set', 'dev', name, 'netns', String(holder.pid)]);
      await host.run('ip', ['address', 'add', `10.9.0.${i + 1}/24`, 'dev', name]);
      await host.run('ip', ['address', 'add', `fd09::${i + 1}/64`, 'dev', name, 'nodad']);
      await host.run('ip', ['link', 'set', 'dev', name, 'up']);
    }
    return tool;
  }

  /** Round-trip times of ICMP echoes, ms. @throws with those so far, when one is lost */
  async function ping(from: Namespace, to: string, count: number): Promise<number[]> {
    const args = ['--input-type=module', '-e', PING, to, String(count)];
    const said = await from.run(process.execPath, args, { timeoutMs: PING_MS_MAX });
    return said.trim().split('\n').map(Number);
  }

  /** @returns at what rate the receiver got it, bit/s */
  async function bulk(from: Namespace, to: Namespace, address: string, bytes: number): Promise<number> {
    const server = to.spawn(process.execPath, ['-e', SERVER, String(bytes)]);
    await server.waitFor(/listening/);
    const sent = await from.run(process.execPath, ['-e', CLIENT, address, String(bytes)]);
    const [, received, rate_bps] = await server.waitFor(/received (.+) at ([\d.]+)/);
    expect(received).toBe(`${bytes} B ${sent.trim()}`);
    await server.stop();
    return Number(rate_bps);
  }

  async function end(tool: Child): Promise<string> {
    tool.signal('SIGINT');
    const { code } = await tool.exit;
    expect(tool.stderr).toBe('');
    expect(code).toBe(0);
    return tool.stdout;
  }

  test.each([
    [['tun:a', 'tun:b'], []],
    [['tap:a', 'tap:b'], []],
    [['tap:a', 'tap:b'], ['--no-offload']],
    [['packet:a', 'packet:b'], []],
    [['packet:a', 'tap:b'], []],
    [['packet:a', 'packet:b'], ['--no-offload']],
  ])('bridge %j %j: ping, and bulk both ways over both IPs', async (devices, options) => {
    const tool = await start('bridge', devices, ...options);
    const [a, b] = hosts;
    await ping(a, '10.9.0.2', 10);
    await ping(b, 'fd09::1', 10);
    await Promise.all([bulk(a, b, '10.9.0.2', BULK_BYTES), bulk(b, a, 'fd09::1', BULK_BYTES)]);
    const said = await end(tool);
    expect(said).toContain(options.length === 0 ? ', offload' : 'no offload');
    expect(said).not.toMatch(/too long|malformed/);
    // But for what came before its interface was up.
    for (const [, lost] of said.matchAll(/lost: (\d+) refused/g)) expect(Number(lost)).toBeLessThan(10);
    const flows = [...said.matchAll(/^ {2}\w+:[ab] → \w+:[ab] {2}([\d,]+) frames, ([\d,]+) B/gm)];
    expect(flows).toHaveLength(2);
    for (const [, frames, bytes] of flows) {
      const mean = Number(bytes.replaceAll(',', '')) / Number(frames.replaceAll(',', ''));
      // Super-segments cross whole.
      if (options.length === 0) expect(mean).toBeGreaterThan(2000);
      else expect(mean).toBeLessThan(1514);
    }
  });

  test('switch: three hosts reach each other, each through its own port', async () => {
    const tool = await start('switch', ['tap:a', 'tap:b', 'tap:c']);
    const [a, b, c] = hosts;
    for (const [from, to] of [
      [a, '10.9.0.2'],
      [b, '10.9.0.3'],
      [c, 'fd09::1'],
    ] as const)
      await ping(from, to, 5);
    await Promise.all([bulk(a, b, '10.9.0.2', BULK_BYTES), bulk(b, c, 'fd09::3', BULK_BYTES)]);
    const said = await end(tool);
    // Nearly all of it was for one port.
    for (const name of ['a', 'b', 'c']) {
      const [, unicast, flooded] =
        new RegExp(`from tap:${name}: (\\d+) for one port, (\\d+)`).exec(said) ?? [];
      expect(Number(unicast)).toBeGreaterThan(10);
      expect(Number(flooded)).toBeLessThan(100);
    }
  });

  test('link: the delay asked for', async () => {
    await start('link', ['tun:a', 'tun:b'], '--delay', '20ms', '--delay', '30.5ms');
    // Never early; and late where somebody else had the processor, which it hasn't for ever.
    let inTime = 0;
    for (let round = 0; round < 6 && inTime < 25 / 4; round++) {
      const times = await ping(hosts[0], '10.9.0.2', 25);
      expect(Math.min(...times)).toBeGreaterThan(50.5);
      inTime = times.filter((time) => time < 50.5 * 1.05).length;
    }
    expect(inTime).toBeGreaterThan(25 / 4);
  });

  test('link: the rate asked for, each way its own', { timeout: 60_000 }, async () => {
    await start('link', ['tap:a', 'tap:b'], '--rate', '20mbit', '--rate', '10mbit', '--delay', '5ms');
    const [a, b] = hosts;
    for (const [from, to, address, rate_bps] of [
      [a, b, '10.9.0.2', 20e6],
      [b, a, '10.9.0.1', 10e6],
    ] as const) {
      // Never faster; and slower where somebody else had the processor, which it hasn't each time.
      let best = 0;
      for (let round = 0; round < 4 && best < 0.95; round++) {
        // Of 1514 bytes, 1448 are payload.
        const measured = (await bulk(from, to, address, (rate_bps / 8) * 3)) * (1514 / 1448);
        expect(measured / rate_bps).toBeLessThan(1.05);
        best = Math.max(best, measured / rate_bps);
      }
      expect(best).toBeGreaterThan(0.95);
    }
  });

  test('link: the loss asked for', async () => {
    const tool = await start('link', ['tun:a', 'tun:b'], '--loss', '5%', '--loss', '0%', '--seed', '4');
    const [a, b] = hosts;
    const sent = 20_000;
    // A question ends each burst, and is asked until it is answered: no queue on the way is ever full.
    const receiver = b.spawn(process.execPath, [
      '-e',
      `let n = 0; const s = require('dgram').createSocket('udp4');
       s.on('message', (m, from) => m.length > 5 ? n++ : s.send(m, from.port, from.address));
       s.bind(5002, () => console.log('bound'));
       process.stdin.resume().on('end', () => console.log('counted ' + n));`,
    ]);
    await receiver.waitFor(/bound/);
    await a.run(process.execPath, [
      '-e',
      `const s = require('dgram').createSocket('udp4');
       let n = 0, asking;
       const ask = () => s.send(Buffer.from(String(n)), 5002, '10.9.0.2');
       const burst = () => {
         for (let i = 0; i < 100; i++, n++) s.send(Buffer.alloc(100), 5002, '10.9.0.2');
         ask();
         asking = setInterval(ask, 30);
       };
       s.on('message', (m) => {
         if (Number(m) !== n) return;
         clearInterval(asking);
         if (n < ${sent}) burst();
         else s.close();
       });
       burst();`,
    ]);
    receiver.endInput();
    const [, counted] = await receiver.waitFor(/counted (\d+)/);
    const lost = 1 - Number(counted) / sent;
    expect(lost / 0.05).toBeGreaterThan(0.95);
    expect(lost / 0.05).toBeLessThan(1.05);
    expect(await end(tool)).toMatch(/tun:a → tun:b .*lost: [\d,]+ by chance/);
  });

  test('nothing is left behind by Ctrl-C nor by SIGKILL', async () => {
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const tool = middle.spawn(process.execPath, [MAIN, 'bridge', 'tap:a', 'tap:b']);
      await tool.waitFor(/Ctrl-C ends/);
      expect(await middle.run('ip', ['-o', 'link'])).toMatch(/ a: .*\n.* b: /);
      tool.signal(signal);
      await tool.exit;
      for (let i = 0; i < 50 && / [ab]: /.test(await middle.run('ip', ['-o', 'link'])); i++)
        await new Promise((resolve) => setTimeout(resolve, 20));
      expect(await middle.run('ip', ['-o', 'link'])).not.toMatch(/ [ab]: /);
    }
  });

  test.each([
    [['bridge', 'tap:a', 'tap:a'], /EINVAL.*tap:a is named twice/],
    [['bridge', 'tap:a', 'tun:b'], /EINVAL.*tap:a carries Ethernet frames and tun:b bare IP packets/],
    [['switch', 'tap:a', 'tun:b'], /EINVAL.*tun:b carries bare IP packets/],
    [['switch', 'tap:a'], /2 to 254 ports/],
    [['bridge', 'eth0', 'tap:a'], /no device is called "eth0"/],
    [['link', 'tun:a', 'tun:b', '--rate', '1mbit', '--trace', '/dev/null'], /trace/],
    [['link', 'tun:a', 'tun:b', '--loss', '1%', '--burst-loss', '1%,2%'], /not both/],
  ])('%j is refused in a line', async (args, message) => {
    const tool = middle.spawn(process.execPath, [MAIN, ...args]);
    expect((await tool.exit).code).toBe(1);
    expect(tool.stderr).toMatch(message);
    expect(tool.stderr).not.toMatch(/\n {4}at /);
    expect(await middle.run('ip', ['-o', 'link'])).not.toMatch(/ [ab]: /);
  });
});
