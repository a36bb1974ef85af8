/** Opening connections against the kernel's TCP: Fast Open both ways, SYN cookies, transparent servers. */
import { expect, it } from 'vitest';
import { describeWithTun } from '../../test/describe.ts';
import { Namespace } from '../../test/netns.ts';

const here = (path: string): string => new URL(path, import.meta.url).href;

/** Runs a module's body, with a stack's options, in a fresh namespace. @returns the last line it printed, parsed */
async function program(options: string, body: string): Promise<unknown> {
  const ns = await Namespace.create();
  try {
    const code = `import { Stack } from '${here('../index.ts')}'; import { libc } from '${here('../os/libc.ts')}';
      import * as net from 'node:net'; import { once } from 'node:events'; import { execFileSync } from 'node:child_process';
      import { setTimeout as sleep } from 'node:timers/promises'; import { writeFileSync } from 'node:fs';
      writeFileSync('/proc/sys/net/ipv4/tcp_fastopen', '3');
      const stack = await Stack.open({ device: 'tun:open0', addresses: ['10.77.0.2/24', 'fd77::2/64'], ${options} });
      const { counters } = stack.engine.tcp;
      ${body}
      await stack.close(); process.exit();`;
    const out = await ns.run(process.execPath, ['--input-type=module', '-e', code], { timeoutMs: 30_000 });
    return JSON.parse(out.trim().split('\n').at(-1) ?? 'null');
  } finally {
    await ns.close();
  }
}

describeWithTun('opening, with the kernel', () => {
  it('a kernel client’s data comes on its SYN, once it has our cookie', async () => {
    const result = await program(
      '',
      `const server = stack.net.createServer((socket) => socket.pipe(socket)).listen({ port: 7, fastOpen: true });
      const c = libc();
      // struct sockaddr_in: AF_INET, port 7, 10.77.0.2
      const to = Uint8Array.of(2, 0, 0, 7, 10, 77, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0);
      const hello = Buffer.from('hello'), back = Buffer.alloc(16), told = [];
      const [STREAM_NONBLOCK, MSG_FASTOPEN] = [1 | 0x800, 0x20000000];
      for (let i = 0; i < 2; i++) {
        const fd = c.socket(2, STREAM_NONBLOCK, 0);
        const sent = c.sendto(fd, c.addressOf(hello), 5, MSG_FASTOPEN, c.addressOf(to), 16);
        await sleep(100);
        // Without a cookie nothing was taken.
        if (sent < 0) c.send(fd, c.addressOf(hello), 5, 0);
        await sleep(100);
        const got = c.recv(fd, c.addressOf(back), 16, 0);
        told.push(sent, back.toString('latin1', 0, Math.max(got, 0)), counters.fastOpenPassive);
      }
      console.log(JSON.stringify(told));`,
    );
    expect(result).toEqual([-1, 'hello', 0, 5, 'hello', 1]);
  });

  it('a kernel server takes our data from the SYN', async () => {
    const result = await program(
      '',
      `const server = net.createServer((socket) => socket.pipe(socket)).listen(0, '0.0.0.0');
      await once(server, 'listening');
      const c = libc();
      const queue = Int32Array.of(16);
      const [IPPROTO_TCP, TCP_FASTOPEN] = [6, 23];
      c.setsockopt(server._handle.fd, IPPROTO_TCP, TCP_FASTOPEN, c.addressOf(new Uint8Array(queue.buffer)), 4);
      const told = [];
      for (let i = 0; i < 2; i++) {
        const socket = stack.net.connect({ port: server.address().port, host: '10.77.0.1', fastOpen: true });
        socket.end('hello');
        let text = '';
        socket.on('data', (data) => { text += data; });
        await once(socket, 'end');
        told.push(text, counters.fastOpenActive, counters.fastOpenAcked);
      }
      server.close();
      console.log(JSON.stringify(told));`,
    );
    expect(result).toEqual(['hello', 0, 0, 'hello', 1, 1]);
  });

  it('connections by SYN cookie have all options and carry a megabyte each way', async () => {
    const result = await program(
      "limits: { synCookies: 'always' }",
      `let info;
      const server = stack.net.createServer((socket) => { info = socket.info(); socket.pipe(socket); }).listen(7);
      const told = [];
      for (const host of ['10.77.0.2', 'fd77::2']) {
        const socket = net.connect(7, host);
        let length = 0;
        socket.on('data', (data) => { length += data.length; });
        socket.end(Buffer.alloc(1 << 20));
        await once(socket, 'close');
        told.push(length, info.timestamps, info.sack, info.sndWindowScale > 0);
      }
      server.close();
      console.log(JSON.stringify([...told, counters.cookiesAccepted, counters.cookiesFailed]));`,
    );
    expect(result).toEqual([1 << 20, true, true, true, 1 << 20, true, true, true, 2, 0]);
  });

  it('a transparent server takes what is routed to it', async () => {
    const result = await program(
      '',
      `execFileSync('ip', ['route', 'add', '198.51.100.0/24', 'dev', 'open0']);
      const server = stack.net.createServer((s) => s.end(s.localAddress + ' ' + s.localPort)).listen({ transparent: true });
      const told = [];
      for (const [host, port] of [['198.51.100.7', 8443], ['10.77.0.2', 22]]) {
        const socket = net.connect(port, host);
        socket.on('data', (data) => told.push(String(data)));
        await once(socket, 'close');
      }
      server.close();
      console.log(JSON.stringify(told));`,
    );
    expect(result).toEqual(['198.51.100.7 8443', '10.77.0.2 22']);
  });
});
