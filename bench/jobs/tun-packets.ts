/**
 * Packets through two TUN devices of one process, with the kernel between them: what is written to one is routed by it
 * and read from the other, in batches, in a network namespace of its own. So each packet is sent once and received once.
 */
import { writeFileSync } from 'node:fs';
import { openTun, tunArenaBytes } from '../../src/device/tun.ts';
import type { TunPort } from '../../src/device/tun-port.ts';
import { Arena } from '../../src/memory/arena.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH } from '../../src/memory/ring.ts';
import { enterNewNetwork } from '../../src/os/netns.ts';
import { raiseInliningBudget } from '../../src/os/v8.ts';
import { emitIpv4Packet } from '../../src/wire/ipv4.ts';
import { PROTOCOL_UDP } from '../../src/wire/protocols.ts';
import { emitUdp } from '../../src/wire/udp.ts';
import { finish, type JobArguments, jobArguments, Stopwatch } from './job.ts';

const SRC = '10.1.0.2';
const DST = '10.2.0.2';
const HEADERS_BYTES = 28;
const SLOTS = 256;

/** Its own namespace, in which the host forwards and says nothing by itself. @returns why not, or '' */
export function enterBenchNetwork(): string {
  try {
    enterNewNetwork();
    writeFileSync('/proc/sys/net/ipv6/conf/all/disable_ipv6', '1');
    writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    return '';
  } catch (error) {
    return `needs root, or unshare -Urn: ${(error as Error).message}`;
  }
}

/** @param ioUring Or a system call for each packet. */
export function measureTunPackets(ioUring: boolean): void {
  const args = jobArguments();
  const name = ioUring ? 'io_uring' : 'read and write';
  const skipped = enterBenchNetwork();
  if (skipped !== '') finish({ name, requests: 0, wallNs: 0, cpuNs: 0, skipped });
  raiseInliningBudget();
  const arena = new Arena(2 * tunArenaBytes(true, 1500, SLOTS) + 65_536);
  const open = (tun: string, address: string): TunPort =>
    openTun(arena, { name: tun, kind: 'tun', slots: SLOTS, ioUring, hostAddresses: [`${address}/24`] });
  const into = open('in0', '10.1.0.1');
  const out = open('out0', '10.2.0.1');
  const payload = new Uint8Array(args.bytes - HEADERS_BYTES);
  const segment = emitUdp({ srcPort: 5, dstPort: 6, payload }, { src: SRC, dst: DST });
  const packet = emitIpv4Packet({ src: SRC, dst: DST, protocol: PROTOCOL_UDP, payload: segment });
  for (let i = 0; i < into.tx.slots; i++) arena.u8.set(packet, into.tx.m[into.tx.slot(i) + DESC_AT]);

  run(into, out, args.batch, packet.length, args.warmup);
  const before = syscalls(into, out);
  const watch = new Stopwatch();
  const { received, txNs, rxNs } = run(into, out, args.batch, packet.length, args.seconds);
  const times = watch.read();
  const note = ioUring && into.calls !== 'io_uring, registered buffers' ? `by ${into.calls}` : undefined;
  finish({
    name,
    requests: received,
    ...times,
    txNs,
    rxNs,
    syscalls: syscalls(into, out) - before,
    ...(note !== undefined && { note }),
  });
}

function syscalls(...ports: TunPort[]): number {
  return ports.reduce((sum, port) => sum + port.counters.syscalls, 0);
}

function run(into: TunPort, out: TunPort, batch: number, length: number, seconds: JobArguments['seconds']) {
  const { tx } = into;
  const { rx } = out;
  const { m } = tx;
  let received = 0;
  let txNs = 0;
  let rxNs = 0;
  const start = performance.now();
  for (let now = start; now - start < seconds * 1000; ) {
    for (let i = 0; i < batch; i++) {
      const slot = tx.slot(tx.head);
      m[slot + DESC_LENGTH] = length;
      m[slot + DESC_FLAGS] = 0;
      m[slot + DESC_AUX] = 0;
      tx.head = (tx.head + 1) | 0;
    }
    into.txSync();
    const sent = performance.now();
    txNs += (sent - now) * 1e6;
    const n = out.rxSync();
    received += n;
    rx.head = (rx.head + n) | 0;
    now = performance.now();
    rxNs += (now - sent) * 1e6;
  }
  return { received, txNs, rxNs };
}
