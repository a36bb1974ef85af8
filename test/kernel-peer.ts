/**
 * One stack on a TUN and the kernel's TCP talk over a bad link, in the network namespace that this runs in:
 * `node test/kernel-peer.ts '{"role":"client",…}'` prints what became of it as JSON. For kernel-peers.system.test.ts.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { Stack } from '../src/api/stack.ts';
import { capture } from '../src/device/capture.ts';
import { type Faults, fault } from '../src/device/fault.ts';
import { readPcapng } from '../src/device/pcapng.testing.ts';
import { openTun } from '../src/device/tun.ts';
import { Arena } from '../src/memory/arena.ts';
import type { TcpLimits } from '../src/tcp/tcp.ts';
import { decodeFrame } from '../src/wire/decode.ts';
import type { TcpSegment } from '../src/wire/tcp.ts';

export interface Scene {
  /** Ours. */
  readonly role: 'client' | 'server';
  readonly family: 4 | 6;
  /** Under /proc/sys/net/ipv4/. */
  readonly sysctls: Readonly<Record<string, string>>;
  readonly limits: Partial<TcpLimits>;
  readonly offload: boolean;
  readonly faults: Faults;
  readonly bytes: number;
  readonly seed: number;
}

export interface Outcome {
  /** Bytes that came back were those that went out. */
  readonly exact: boolean;
  readonly error?: string;
  /** Options and flags of both SYNs, by who sent them. */
  readonly syn: { readonly ours: Seen; readonly kernels: Seen };
  /** Segments with SACK blocks, timestamps and CE, ECE, CWR, by who sent them. */
  readonly ours: Tally;
  readonly kernels: Tally;
  readonly retransmits: number;
}

export interface Seen {
  readonly options: string[];
  readonly flags: number;
  readonly bytes: number;
}

export interface Tally {
  segments: number;
  sack: number;
  timestamps: number;
  ece: number;
  cwr: number;
  ect: number;
}

const OURS = { 4: '10.77.0.2', 6: 'fd77::2' };
const KERNELS = { 4: '10.77.0.1', 6: 'fd77::1' };
const ARENA_BYTES = 400 << 20;
const PORT = 7;
const PATIENCE_MS = 40_000;

if (import.meta.main) process.stdout.write(`${JSON.stringify(await play(JSON.parse(process.argv[2])))}\n`);

async function play(scene: Scene): Promise<Outcome> {
  for (const [name, value] of Object.entries(scene.sysctls)) {
    writeFileSync(`/proc/sys/net/ipv4/${name}`, value);
  }
  const recorded: Uint8Array[] = [];
  const { faults, seed, offload, limits } = scene;
  const now = () => performance.now();
  const hostAddresses = [`${KERNELS[4]}/24`, `${KERNELS[6]}/64`];
  const device = openTun(new Arena(ARENA_BYTES), { kind: 'tun', name: 'peer0', offload, hostAddresses });
  const bad = fault(device, { rx: faults, tx: faults, seed, now, held: 512 });
  await using stack = await Stack.open({
    device: capture(
      bad,
      (bytes) => void recorded.push(bytes),
      () => performance.now() * 1000,
    ),
    addresses: [`${OURS[4]}/24`, `${OURS[6]}/64`],
    limits,
    // Frames on the emulated link are due when no packet of the device's says so.
    idle: 'poll',
  });
  const ours = stack.net as unknown as typeof net;
  const [client, server, host] =
    scene.role === 'client' ? [ours, net, KERNELS[scene.family]] : [net, ours, OURS[scene.family]];
  const told = await echoed(client, server, host, scene.bytes);
  const { retransmits } = stack.counters().tcp;
  return { ...told, ...told, ...look(Buffer.concat(recorded), scene.family), retransmits };
}

/** Sends bytes to an echo server. @returns whether they came back */
async function echoed(
  client: typeof net,
  server: typeof net,
  host: string,
  bytes: number,
): Promise<{ exact: boolean; error?: string }> {
  const listener = server.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  listener.listen(PORT, host);
  await once(listener, 'listening');
  const data = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) data[i] = i * 7 + (i >> 8) * 13 + (i >> 16);
  const socket = client.connect({ port: PORT, host, allowHalfOpen: true });
  const timer = setTimeout(() => socket.destroy(new Error(`no end after ${PATIENCE_MS} ms`)), PATIENCE_MS);
  try {
    const back = createHash('sha256');
    socket.on('data', (piece: Buffer) => back.update(piece));
    socket.end(data);
    await once(socket, 'end');
    return { exact: back.digest('hex') === createHash('sha256').update(data).digest('hex') };
  } catch (error) {
    return { exact: false, error: String(error) };
  } finally {
    clearTimeout(timer);
    socket.destroy();
    listener.close();
  }
}

/** What a capture of the connection shows. */
function look(file: Buffer, family: 4 | 6): Pick<Outcome, 'syn' | 'ours' | 'kernels'> {
  const none: Seen = { options: [], flags: 0, bytes: 0 };
  const syn = { ours: none, kernels: none };
  const tally = (): Tally => ({ segments: 0, sack: 0, timestamps: 0, ece: 0, cwr: 0, ect: 0 });
  const [ours, kernels] = [tally(), tally()];
  for (const { bytes } of readPcapng(file).packets) {
    const { ipv4, ipv6, tcp } = decodeFrame(bytes, 'ip');
    if (tcp === undefined) continue;
    const who = (ipv4 ?? ipv6)?.src === OURS[family] ? 'ours' : 'kernels';
    const tos = ipv4?.tos ?? ipv6?.trafficClass ?? 0;
    if ((tcp.flags & 2) !== 0) {
      const seen = { options: Object.keys(tcp.options).sort(), flags: tcp.flags, bytes: tcp.payload.length };
      // The first that was sent tells the most: later ones may have given up on something.
      if (syn[who] === none) syn[who] = seen;
    } else count(who === 'ours' ? ours : kernels, tcp, tos);
  }
  return { syn, ours, kernels };
}

function count(tally: Tally, tcp: TcpSegment, tos: number): void {
  tally.segments++;
  if (tcp.options.sack !== undefined) tally.sack++;
  if (tcp.options.timestamps !== undefined) tally.timestamps++;
  if ((tcp.flags & 0x40) !== 0) tally.ece++;
  if ((tcp.flags & 0x80) !== 0) tally.cwr++;
  if ((tos & 3) !== 0) tally.ect++;
}
