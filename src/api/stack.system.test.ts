/** A stack on a TUN or TAP, against the kernel's own TCP, in a namespace of its own. */
import { expect, it } from 'vitest';
import { describeWithTun } from '../../test/describe.ts';
import { Namespace } from '../../test/netns.ts';

const INDEX = new URL('../index.ts', import.meta.url).href;

/** Runs a module's body in a fresh namespace. @returns the last line it printed, parsed */
async function program(body: string): Promise<unknown> {
  const ns = await Namespace.create();
  try {
    const code = `import { Stack } from '${INDEX}'; import * as net from 'node:net'; import { once } from 'node:events';
      import { existsSync } from 'node:fs'; ${body}`;
    const out = await ns.run(process.execPath, ['--input-type=module', '-e', code], { timeoutMs: 30_000 });
    return JSON.parse(out.trim().split('\n').at(-1) ?? 'null');
  } finally {
    await ns.close();
  }
}

describeWithTun('a stack on the kernel', () => {
  it.each([
    ['tun', 'offload: true'],
    ['tun', 'offload: false'],
    ['tap', 'offload: true'],
    ['tap', 'offload: false, mtu: 1400'],
    ['tun', "idle: 'event'"],
    ['tun', "idle: 'poll'"],
  ])('echoes 8 MB to a kernel client over %s, %s, and lets the process end', async (kind, options) => {
    const result = await program(`
      const stack = await Stack.open({ device: '${kind}:api0', addresses: ['10.77.0.2/24', 'fd77::2/64'], ${options} });
      const server = stack.net.createServer((socket) => socket.pipe(socket)).listen(7);
      const sums = [];
      for (const host of ['10.77.0.2', 'fd77::2']) {
        const socket = net.connect(7, host);
        const bytes = Buffer.alloc(8 << 20, (_, i) => i);
        for (let i = 0; i < bytes.length; i++) bytes[i] = i * 7 + (i >> 8);
        let at = 0, wrong = 0;
        socket.on('data', (data) => { if (!data.equals(bytes.subarray(at, at + data.length))) wrong++; at += data.length; });
        socket.end(bytes);
        await once(socket, 'close');
        sums.push(at, wrong);
      }
      server.close();
      process.on('exit', () => console.log(JSON.stringify([...sums, stack.counters().chunks])));
    `);
    expect(result).toEqual([8 << 20, 0, 8 << 20, 0, 0]);
  });

  it('connects out, and is refused, as node:net is', async () => {
    const result = await program(`
      const stack = await Stack.open({ device: 'tun:api0', addresses: ['10.77.0.2/24', 'fd77::2/64'] });
      const server = net.createServer((socket) => socket.end(socket.remoteAddress)).listen(0, '::');
      await once(server, 'listening');
      const { port } = server.address();
      const told = [];
      for (const host of ['10.77.0.1', 'fd77::1']) {
        const socket = stack.net.connect(port, host);
        socket.on('data', (data) => told.push(String(data)));
        await once(socket, 'close');
      }
      server.close();
      await once(server, 'close');
      const refused = stack.net.connect(port, '10.77.0.1');
      told.push((await once(refused, 'error'))[0].code);
      const unreachable = stack.net.connect(port, '192.0.2.1');
      told.push((await once(unreachable, 'error'))[0].code);
      const before = existsSync('/proc/sys/net/ipv4/conf/api0');
      await stack.close();
      console.log(JSON.stringify([...told, before, existsSync('/proc/sys/net/ipv4/conf/api0')]));
    `);
    expect(result).toEqual(['::ffff:10.77.0.2', 'fd77::2', 'ECONNREFUSED', 'EHOSTUNREACH', true, false]);
  });

  it.each(['tun', 'tap'])('has a %s of as many queues as it is told, and hears all of them', async (kind) => {
    const result = await program(`
      import { execFileSync } from 'node:child_process';
      const stack = await Stack.open({ device: '${kind}:api0', addresses: ['10.77.0.2/24', 'fd77::2/64'], queues: 2 });
      const [link] = JSON.parse(execFileSync('ip', ['-j', '-d', 'link', 'show', 'api0']));
      const server = stack.net.createServer((socket) => socket.pipe(socket)).listen(7);
      // The kernel spreads flows by their ports: of 32 some come by each queue.
      const bytes = Buffer.alloc(100_000, 'over one of two queues, in order ');
      const echo = async (_, i) => {
        const socket = net.connect(7, i % 2 ? 'fd77::2' : '10.77.0.2').end(bytes);
        const got = [];
        for await (const data of socket) got.push(data);
        return Buffer.concat(got).equals(bytes);
      };
      const same = (await Promise.all(Array.from({ length: 32 }, echo))).filter((whole) => whole).length;
      const { numqueues } = link.linkinfo.info_data;
      const tooMany = await Stack.open({ device: '${kind}:api1', addresses: ['10.78.0.2/24'], queues: 17 }).catch(String);
      server.close();
      await stack.close();
      console.log(JSON.stringify([numqueues, same, tooMany]));
      process.exit();
    `);
    expect(result).toEqual([2, 32, 'PortError: api1 may have 1 to 16 queues, not 17']);
  });

  it('says what is wrong with a device', async () => {
    const result = await program(`
      const options = { device: 'tun:api0', addresses: ['10.77.0.2/24'] };
      await using first = await Stack.open(options);
      console.log(JSON.stringify(await Stack.open(options).catch((error) => [error.code, error.message.includes('api0')])));
    `);
    expect(result).toEqual(['EBUSY', true]);
  });

  it('answers while nothing keeps the process but something else', async () => {
    // The kernel's next SYN would come after a second.
    const result = await program(`
      await Stack.open({ device: 'tun:api0', addresses: ['10.77.0.2/24'] });
      const timer = setTimeout(() => {}, 20000);
      const socket = net.connect(7, '10.77.0.2');
      const start = performance.now();
      const [error] = await once(socket, 'error');
      clearTimeout(timer);
      process.on('exit', () => console.log(JSON.stringify([error.code, performance.now() - start < 990])));
    `);
    expect(result).toEqual(['ECONNREFUSED', true]);
  });

  it('ends its sockets, and itself, when its interface is removed', async () => {
    const result = await program(`
      import { execFileSync } from 'node:child_process';
      const told = [];
      const stack = await Stack.open({
        device: 'tun:api0', addresses: ['10.77.0.2/24'], onDeviceError: (error) => told.push('device', error.code),
      });
      const server = stack.net.createServer((socket) => {
        socket.on('error', (error) => told.push('socket', error.code));
        execFileSync('ip', ['link', 'delete', 'api0']);
      }).listen(7);
      server.on('close', () => told.push('server'));
      net.connect(7, '10.77.0.2').on('error', () => {}).on('close', () => {});
      process.on('exit', () => console.log(JSON.stringify(told)));
      await once(server, 'close');
      await stack.close();
      process.exit();
    `);
    expect(result).toEqual(['device', 'ENODEV', 'socket', 'ENODEV', 'server']);
  });
});
