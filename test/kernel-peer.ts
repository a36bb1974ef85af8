/**
 * One stack on a TUN and the kernel's TCP talk over a bad link, in the network namespace that this runs in:
 * `node test/kernel-peer.ts '{"role":"client",…}'` prints what became of it as JSON. For kernel-peers.system.test.ts.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Stack } from '../src/api/stack.ts';
import { capture } from '../src/device/capture.ts';
import { type Faults, fault } from '../src/device/fault.ts';
import { readPcapng } from '../src/device/pcapng.testing.ts';
import { openTun } from '../src/device/tun.ts';
import { Arena } from '../src/memory/arena.ts';
import type { TcpInfo } from '../src/tcp/info.ts';
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
  /** Data on the SYN (RFC 7413), IPv4 only: the kernel's side is fast-open-peer.ts. */
  readonly fastOpen: boolean;
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
  /** Bytes of the largest frame of ours. */
  readonly largest: number;
  readonly ours: Tally;
  readonly kernels: Tally;
  readonly retransmits: number;
  /** Of connections that carried data on their SYN, ours and the kernel's. */
  readonly fastOpens: number;
  /** The connection as TCP sees it after the last byte. */
  readonly info: Pick<TcpInfo, 'ecn' | 'congestion'> | null;
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
/** Fast Open's. */
const PEER = fileURLToPath(new URL('./fast-open-peer.ts', import.meta.url));
const CONNECTIONS = 3;

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
  const told = scene.fastOpen
    ? await fastOpened(stack, scene)
    : await echoed(client, server, host, scene.bytes, () => infoOf(stack));
  const { retransmits, fastOpenAcked, fastOpenPassive } = stack.counters().tcp;
  const fastOpens = scene.role === 'client' ? fastOpenAcked : fastOpenPassive;
  return {
    info: null,
    ...told,
    ...look(Buffer.concat(recorded), scene.family, offload),
    retransmits,
    fastOpens,
  };
}

/** Sends bytes to an echo server. @returns whether they came back */
async function echoed(
  client: typeof net,
  server: typeof net,
  host: string,
  bytes: number,
  info: () => Outcome['info'],
): Promise<Pick<Outcome, 'exact' | 'error' | 'info'>> {
  const listener = server.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  listener.listen(PORT, host);
  await once(listener, 'listening');
  const data = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) data[i] = i * 7 + (i >> 8) * 13 + (i >> 16);
  const socket = client.connect({ port: PORT, host, allowHalfOpen: true });
  let seen: Outcome['info'] = null;
  const timer = setTimeout(() => socket.destroy(new Error(`no end after ${PATIENCE_MS} ms`)), PATIENCE_MS);
  try {
    const back = createHash('sha256');
    socket.on('data', (piece: Buffer) => back.update(piece));
    socket.end(data);
    // Before the last word, while both ends are there.
    socket.once('data', () => {
      seen = info();
    });
    await once(socket, 'end');
    return { exact: back.digest('hex') === createHash('sha256').update(data).digest('hex'), info: seen };
  } catch (error) {
    return { exact: false, error: String(error), info: seen };
  } finally {
    clearTimeout(timer);
    socket.destroy();
    listener.close();
  }
}

function infoOf(stack: Stack): Outcome['info'] {
  const [conn] = stack.engine.connections();
  const info = conn === undefined ? null : stack.engine.info(conn);
  return info === null ? null : { ecn: info.ecn, congestion: info.congestion };
}

/** Three connections, the first of which fetches a cookie. */
async function fastOpened(stack: Stack, scene: Scene): Promise<Pick<Outcome, 'exact' | 'error'>> {
  const run = (role: string, address: string) => {
    const args = [PEER, role, address, `${PORT}`, `${CONNECTIONS}`, `${scene.bytes}`];
    return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  };
  if (scene.role === 'server') {
    const listener = stack.net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    listener.listen({ port: PORT, host: OURS[4], fastOpen: true });
    const peer = run('client', OURS[4]);
    const timer = setTimeout(() => peer.kill(), PATIENCE_MS);
    const said = await text(peer.stdout);
    clearTimeout(timer);
    listener.close();
    return said === 'exact\n'.repeat(CONNECTIONS) ? { exact: true } : { exact: false, error: said };
  }
  const peer = run('server', KERNELS[4]);
  const timer = setTimeout(() => peer.kill(), PATIENCE_MS);
  try {
    await once(peer.stdout, 'data');
    const data = Buffer.alloc(scene.bytes, 'fast open ');
    for (let i = 0; i < CONNECTIONS; i++) {
      const socket = stack.net.connect({ port: PORT, host: KERNELS[4], fastOpen: true, allowHalfOpen: true });
      socket.end(data);
      if (!data.equals(await buffer(socket))) return { exact: false, error: `connection ${i}` };
    }
    return { exact: true };
  } catch (error) {
    return { exact: false, error: String(error) };
  } finally {
    clearTimeout(timer);
    peer.kill();
  }
}

/** What a capture of the connection shows. @param offload Whether checksums of the kernel's were left out. */
function look(
  file: Buffer,
  family: 4 | 6,
  offload: boolean,
): Pick<Outcome, 'syn' | 'largest' | 'ours' | 'kernels'> {
  let largest = 0;
  const none: Seen = { options: [], flags: 0, bytes: 0 };
  const syn = { ours: none, kernels: none };
  const tally = (): Tally => ({ segments: 0, sack: 0, timestamps: 0, ece: 0, cwr: 0, ect: 0 });
  const [ours, kernels] = [tally(), tally()];
  for (const { bytes } of readPcapng(file).packets) {
    const { ipv4, ipv6, tcp, checksumGood } = decodeFrame(bytes, 'ip');
    if (tcp === undefined) continue;
    const who = (ipv4 ?? ipv6)?.src === OURS[family] ? 'ours' : 'kernels';
    // Spoiled on the link, which what the kernel sent has behind it here.
    if (who === 'kernels' && !offload && checksumGood !== true) continue;
    if (who === 'ours' && bytes.length > largest) largest = bytes.length;
    const tos = ipv4?.tos ?? ipv6?.trafficClass ?? 0;
    if ((tcp.flags & 2) !== 0) {
      const seen = { options: Object.keys(tcp.options).sort(), flags: tcp.flags, bytes: tcp.payload.length };
      // The first that was sent tells the most: later ones may have given up on something.
      if (syn[who] === none) syn[who] = seen;
    } else count(who === 'ours' ? ours : kernels, tcp, tos);
  }
  return { syn, largest, ours, kernels };
}

function count(tally: Tally, tcp: TcpSegment, tos: number): void {
  tally.segments++;
  if (tcp.options.sack !== undefined) tally.sack++;
  if (tcp.options.timestamps !== undefined) tally.timestamps++;
  if ((tcp.flags & 0x40) !== 0) tally.ece++;
  if ((tcp.flags & 0x80) !== 0) tally.cwr++;
  if ((tos & 3) !== 0) tally.ect++;
}
