/** Datagrams and fragments against the kernel's own UDP and IP, in a namespace of its own. */
import { expect, it } from 'vitest';
import { describeWithTun } from '../../test/describe.ts';
import { Namespace } from '../../test/netns.ts';

const INDEX = new URL('../index.ts', import.meta.url).href;
const PING = new URL('../device/tun.testing.ts', import.meta.url).href;
const WIRE = new URL('../wire', import.meta.url).href;

/** Runs a module's body in a fresh namespace. @returns the last line it printed, parsed */
async function program(body: string): Promise<unknown> {
  const ns = await Namespace.create();
  try {
    const code = `import { Stack } from '${INDEX}'; import * as dgram from 'node:dgram'; import { once } from 'node:events';
      import { setTimeout as sleep } from 'node:timers/promises';
      import { PingSocket } from '${PING}'; import { emitIcmp } from '${WIRE}/icmp.ts'; import { emitIcmpv6 } from '${WIRE}/icmpv6.ts';
      const open = (kind, options = {}) => Stack.open({
        device: kind + ':api0', addresses: ['10.77.0.2/24', 'fd77::2/64'], ...options,
      });
      const say = (value) => console.log(JSON.stringify(value));
      ${body}`;
    const out = await ns.run(process.execPath, ['--input-type=module', '-e', code], { timeoutMs: 30_000 });
    return JSON.parse(out.trim().split('\n').at(-1) ?? 'null');
  } finally {
    await ns.close();
  }
}

describeWithTun('datagrams to and from the kernel', () => {
  it.each([
    ['tun', '{ offload: true }'],
    ['tun', '{ offload: false }'],
    ['tap', '{ offload: true }'],
    ['tap', '{ offload: false, mtu: 1400 }'],
  ])('come and go whole, of up to 64 KB, over %s with %s, and let the process end', async (kind, options) => {
    const result = await program(`
      const stack = await open('${kind}', ${options});
      const server = stack.dgram.createSocket('udp6');
      server.on('message', (bytes, { port, address }) => server.send(bytes, port, address));
      server.bind(7);
      await once(server, 'listening');
      const right = [];
      for (const [type, host] of [['udp4', '10.77.0.2'], ['udp6', 'fd77::2']]) {
        const client = dgram.createSocket(type);
        for (const length of [0, 1, 1300, 1500, 20000, 65507]) {
          const bytes = Buffer.from(Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8)));
          client.send(bytes, 7, host);
          const [back, { address }] = await once(client, 'message', { signal: AbortSignal.timeout(5000) });
          right.push(back.equals(bytes) && address === host);
        }
        client.close();
      }
      server.close();
      const { udp, interface: iface } = stack.counters();
      process.on('exit', () => say([right.every(Boolean), right.length, udp.badChecksum, iface.reassembled > 0, iface.fragmentsOut > 0]));
    `);
    expect(result).toEqual([true, 12, 0, true, true]);
  });

  it.each(['tun', 'tap'])('leave from our sockets over %s, and hear of closed ports', async (kind) => {
    const result = await program(`
      const stack = await open('${kind}');
      const told = [];
      for (const [type, host, own] of [['udp4', '10.77.0.1', '10.77.0.2'], ['udp6', 'fd77::1', 'fd77::2']]) {
        const server = dgram.createSocket(type).bind(0, host);
        await once(server, 'listening');
        const { port } = server.address();
        const client = stack.dgram.createSocket(type);
        client.connect(port, host);
        await once(client, 'connect');
        client.send(Buffer.alloc(20000, 5));
        const [bytes, remote] = await once(server, 'message', { signal: AbortSignal.timeout(5000) });
        told.push(bytes.equals(Buffer.alloc(20000, 5)), remote.address === own);
        server.close();
        await once(server, 'close');
        client.send('anybody?');
        const [error] = await once(client, 'error', { signal: AbortSignal.timeout(5000) });
        told.push(error.code);
        const kernel = dgram.createSocket(type);
        kernel.connect(9999, own);
        await once(kernel, 'connect');
        kernel.send('anybody?');
        told.push((await once(kernel, 'error', { signal: AbortSignal.timeout(5000) }))[0].code);
        kernel.close();
        client.close();
      }
      await stack.close();
      say(told);
    `);
    const each = [true, true, 'ECONNREFUSED', 'ECONNREFUSED'];
    expect(result).toEqual([...each, ...each]);
  });

  it.each(['tun', 'tap'])('answer large pings over %s', async (kind) => {
    const result = await program(`
      const stack = await open('${kind}');
      stack.ref();
      const answers = [];
      for (const [host, size] of [['10.77.0.2', 8000], ['fd77::2', 8000], ['10.77.0.2', 65000], ['fd77::2', 65000]]) {
        const v6 = host.includes(':');
        using socket = new PingSocket(v6);
        const payload = Uint8Array.from({ length: size }, (_, i) => i * 7 + (i >> 8));
        const echo = { kind: 'echo request', id: 7, seq: size, payload };
        socket.send(host, v6 ? emitIcmpv6(echo, { src: 'fd77::1', dst: host }) : emitIcmp(echo));
        let answer;
        for (let i = 0; i < 1000 && answer === undefined; i++) {
          await sleep(2);
          for (let m = socket.receive(); m !== undefined; m = socket.receive())
            if (m[0] === (v6 ? 129 : 0) && Buffer.from(payload).equals(m.subarray(8))) answer = true;
        }
        answers.push(answer);
      }
      const { fragments, reassembled, fragmentsOut } = stack.counters().interface;
      await stack.close();
      say([answers, reassembled, fragments, fragmentsOut === fragments]);
    `);
    const [answers, reassembled, fragments, asMany] = result as [boolean[], number, number, boolean];
    expect([answers, reassembled, asMany]).toEqual([[true, true, true, true], 4, true]);
    expect(fragments).toBeGreaterThan(90);
  });

  it('carry groups both ways over TAP', async () => {
    const result = await program(`
      const stack = await open('tap');
      const heard = [];
      const ours = stack.dgram.createSocket('udp4', (bytes, { address }) => heard.push(String(bytes), address));
      ours.bind(5353);
      await once(ours, 'listening');
      ours.addMembership('239.66.66.66');
      const kernel = dgram.createSocket('udp4', (bytes, { address }) => heard.push(String(bytes), address));
      kernel.bind(5353, '0.0.0.0');
      await once(kernel, 'listening');
      kernel.addMembership('239.66.66.66', '10.77.0.1');
      kernel.setMulticastInterface('10.77.0.1');
      kernel.setMulticastLoopback(false);
      kernel.send('from the kernel', 5353, '239.66.66.66');
      for (let i = 0; i < 500 && heard.length < 2; i++) await sleep(5);
      ours.send('from us', 5353, '239.66.66.66');
      for (let i = 0; i < 500 && heard.length < 4; i++) await sleep(5);
      await sleep(20);
      const { groupReports } = stack.counters().interface;
      kernel.close();
      await stack.close();
      say([...heard, groupReports > 0]);
    `);
    expect(result).toEqual(['from the kernel', '10.77.0.1', 'from us', '10.77.0.2', true]);
  });
});
