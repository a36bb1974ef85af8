/** The kernel on two TAPs and a stack of ours on a port of the switch between them. */
import { expect, it } from 'vitest';
import { describeWithTun } from '../../test/describe.ts';
import { Namespace } from '../../test/netns.ts';

const SRC = new URL('..', import.meta.url).href;

describeWithTun('a switch between the kernel and a stack', () => {
  it.each([true, false])(
    'carries a connection to the one TAP that it is for, offload %s',
    async (offload) => {
      const ns = await Namespace.create();
      try {
        const code = `
        import * as net from 'node:net';
        import { once } from 'node:events';
        import { Stack } from '${SRC}index.ts';
        import { Arena } from '${SRC}memory/arena.ts';
        import { createFrames } from '${SRC}device/frames.ts';
        import { createSwitch } from '${SRC}device/switch.ts';
        import { openTun } from '${SRC}device/tun.ts';
        import { PortWaiter } from '${SRC}device/wait.ts';
        const offload = ${offload};
        const arena = new Arena(1 << 30);
        const pool = createFrames(arena, 'frames', 2048, offload ? 65_600 : 1518);
        const lan = createSwitch(arena, 'lan', { now: () => performance.now(), key: 5, slots: 64, offload, pool });
        const taps = ['sa', 'sb'].map((name, i) =>
          openTun(arena, { name, kind: 'tap', offload, slots: 64, pool, hostAddresses: ['10.5.' + i + '.1/24'] }));
        for (const tap of taps) lan.attach(tap);
        const stack = await Stack.open({ device: lan.port(), addresses: ['10.5.0.2/24'], offload });
        const waiter = new PortWaiter(taps);
        let running = true;
        const loop = (async () => {
          while (running) if (lan.turn() === 0) await waiter.wait(20);
            else await new Promise(setImmediate);
        })();
        const server = stack.net.createServer((socket) => socket.pipe(socket)).listen(7);
        const bytes = Buffer.alloc(4 << 20, (_, i) => i);
        for (let i = 0; i < bytes.length; i++) bytes[i] = i * 7 + (i >> 8);
        const socket = net.connect(7, '10.5.0.2');
        let at = 0, wrong = 0;
        socket.on('data', (data) => {
          if (!data.equals(bytes.subarray(at, at + data.length))) wrong++;
          at += data.length;
        });
        socket.end(bytes);
        await once(socket, 'close');
        server.close();
        running = false;
        await loop;
        waiter.close();
        await stack.close();
        const out = lan.ports.map(({ out }) => out.frames);
        for (const tap of taps) tap.close();
        lan.close();
        pool.audit();
        console.log(JSON.stringify([at, wrong, out[0] > 10, out[1] < 50, pool.inUse]));
      `;
        const out = await ns.run(process.execPath, ['--input-type=module', '-e', code], {
          timeoutMs: 30_000,
        });
        expect(JSON.parse(out.trim().split('\n').at(-1) ?? 'null')).toEqual([4 << 20, 0, true, true, 0]);
      } finally {
        await ns.close();
      }
    },
  );
});
