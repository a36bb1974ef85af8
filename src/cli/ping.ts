/** `millrace ping`: ICMP echo requests from our stack. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { icmpPing, PING_BYTES_MAX, type PingReply } from '../ip/echo.ts';
import { formatIpv4, formatIpv6 } from '../wire/address.ts';
import { integer } from './arguments.ts';
import { interrupted } from './signals.ts';
import { type DeviceOptions, openDevice, withDevice } from './stack.ts';

interface PingCommandOptions extends DeviceOptions {
  readonly count: number;
  readonly interval: number;
  readonly size: number;
}

export const pingCommand = withDevice(
  new Command('ping')
    .description('send ICMP echo requests')
    .argument('<address>', 'IPv4 or IPv6 address')
    .option('-c, --count <n>', 'how many', integer(1, 1_000_000_000), 4)
    .option('-i, --interval <ms>', 'between two of them', integer(1, 3_600_000), 1000)
    .option('-s, --size <bytes>', 'payload', integer(0, PING_BYTES_MAX), 56),
  'tun:mr0',
).action(ping);

async function ping(destination: string, options: PingCommandOptions): Promise<void> {
  const opened = await openDevice(options);
  const { engine } = opened.stack;
  const identifier = process.pid & 0xffff;
  const sent = new Map<number, number>();
  const times: number[] = [];
  engine.ip.onPingReply = (reply: PingReply) => {
    const at = sent.get(reply.sequence);
    if (reply.identifier !== identifier || at === undefined) return;
    sent.delete(reply.sequence);
    const ms = performance.now() - at;
    times.push(ms);
    const from =
      reply.version === 4
        ? formatIpv4(reply.src0)
        : formatIpv6([reply.src0, reply.src1, reply.src2, reply.src3]);
    console.log(
      `${reply.bytes} bytes from ${from}: seq=${reply.sequence} ttl=${reply.ttl} time=${ms.toFixed(3)} ms`,
    );
  };
  let stopped = false;
  const stop = interrupted().then(() => {
    stopped = true;
  });
  let count = 0;
  while (count < options.count && !stopped) {
    const sequence = count++ & 0xffff;
    sent.set(sequence, performance.now());
    icmpPing(engine.ip, { destination, identifier, sequence, bytes: options.size });
    engine.onWork();
    await Promise.race([sleep(options.interval), stop]);
  }
  const lost = count - times.length;
  console.log(`${count} sent, ${times.length} received, ${Math.round((100 * lost) / count)} % lost`);
  if (times.length > 0) {
    const mean = times.reduce((a, b) => a + b) / times.length;
    console.log(
      `rtt min/avg/max = ${Math.min(...times).toFixed(3)}/${mean.toFixed(3)}/${Math.max(...times).toFixed(3)} ms`,
    );
  }
  await opened.close();
  process.exitCode = times.length > 0 ? 0 : 1;
}
