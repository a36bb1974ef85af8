/** ECN and AccECN with the kernel's TCP at the other end, in a namespace of its own. */
import { expect, it } from 'vitest';
import { describeWithTun } from '../../test/describe.ts';
import { Namespace } from '../../test/netns.ts';

const INDEX = new URL('../index.ts', import.meta.url).href;

interface Result {
  /** What our end thinks of the connection. */
  readonly ecn: string;
  readonly ecnCapable: boolean;
  readonly ceReceived: number;
  readonly ceDelivered: number;
  readonly mangled: number;
  readonly bytes: number;
  readonly wrong: number;
  /** What marks could be taken for. Not retransmissions: a timer that a busy machine lets wait too long sends them, too. */
  readonly losses: number;
  readonly reductions: number;
}

/**
 * 2 MB to the kernel and back.
 * @param kernel net.ipv4.tcp_ecn @param client Who opens.
 * @returns null when this kernel has no such setting
 */
async function echo(
  kernel: number,
  ecn: string,
  client: 'us' | 'kernel',
  offload: boolean,
): Promise<Result | null> {
  const ns = await Namespace.create();
  try {
    const code = `
      import { Stack } from '${INDEX}';
      import * as net from 'node:net';
      import { once } from 'node:events';
      import { writeFileSync } from 'node:fs';
      try {
        writeFileSync('/proc/sys/net/ipv4/tcp_ecn', '${kernel}');
      } catch {
        console.log('null');
        process.exit();
      }
      const stack = await Stack.open({
        device: 'tun:ecn0', addresses: ['10.77.0.2/24'], offload: ${offload}, limits: { ecn: '${ecn}' },
      });
      const bytes = Buffer.alloc(2 << 20);
      for (let i = 0; i < bytes.length; i++) bytes[i] = i * 7 + (i >> 8);
      let got = 0, wrong = 0, info;
      const check = (data) => {
        if (!data.equals(bytes.subarray(got, got + data.length))) wrong++;
        got += data.length;
      };
      const remember = () => { info = stack.engine.info(stack.engine.connections()[0]) ?? info; };
      if ('${client}' === 'us') {
        const server = net.createServer((socket) => socket.pipe(socket)).listen(0, '10.77.0.1');
        await once(server, 'listening');
        const socket = stack.net.connect(server.address().port, '10.77.0.1');
        socket.on('data', (data) => { check(data); remember(); });
        socket.end(bytes);
        await once(socket, 'close');
        server.close();
      } else {
        const server = stack.net.createServer((socket) => {
          socket.on('data', remember);
          socket.pipe(socket);
        }).listen(7);
        const socket = net.connect(7, '10.77.0.2');
        socket.on('data', check);
        socket.end(bytes);
        await once(socket, 'close');
        server.close();
      }
      const { ecn, ecnCapable, ceReceived, ceDelivered } = info;
      const { ecnMangled: mangled, ecnReductions: reductions, fastRecoveries: losses } = stack.engine.tcp.counters;
      console.log(JSON.stringify({ ecn, ecnCapable, ceReceived, ceDelivered, losses, reductions, mangled, bytes: got, wrong }));
      process.exit();`;
    const out = await ns.run(process.execPath, ['--input-type=module', '-e', code], { timeoutMs: 30_000 });
    return JSON.parse(out.trim().split('\n').at(-1) ?? 'null') as Result | null;
  } finally {
    await ns.close();
  }
}

describeWithTun('ECN with the kernel', () => {
  // tcp_ecn, our setting, who opens; what comes of it.
  it.for([
    [0, 'accurate', 'us', 'none'],
    [1, 'on', 'us', 'classic'],
    [1, 'accurate', 'us', 'classic'],
    [1, 'passive', 'us', 'none'],
    [1, 'passive', 'kernel', 'classic'],
    [1, 'off', 'kernel', 'none'],
    [2, 'passive', 'kernel', 'none'],
    // AccECN, which Linux asks for by 3, and takes by 3 to 5.
    [3, 'accurate', 'us', 'accurate'],
    [3, 'on', 'us', 'classic'],
    [5, 'accurate', 'us', 'accurate'],
    [3, 'passive', 'kernel', 'accurate'],
  ] as const)('tcp_ecn=%i and %s, opened by %s: %s', async ([kernel, ours, client, mode], { skip }) => {
    for (const offload of [true, false]) {
      const result = await echo(kernel, ours, client, offload);
      if (result === null) skip(`this kernel has no tcp_ecn=${kernel}`);
      expect(result).toEqual({
        ecn: mode,
        ecnCapable: mode !== 'none',
        ceReceived: 0,
        ceDelivered: 0,
        losses: 0,
        reductions: 0,
        mangled: 0,
        bytes: 2 << 20,
        wrong: 0,
      });
    }
  });
});
