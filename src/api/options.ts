/** What a Stack is opened with: checked, completed, and turned into the size of its arena. */
import { isIPv4, isIPv6 } from 'node:net';
import { z } from 'zod';
import { DEVICE_QUEUES_MAX, DEVICE_USAGE, type DeviceKindName, deviceFault } from '../device/open.ts';
import type { Port } from '../device/port.ts';
import type { Conn } from '../engine/handlers.ts';
import { LIMITS_DEFAULT, type Limits } from '../engine/limits.ts';
import { BUFFER_BYTES } from '../ip/reassembly.ts';
import { ARENA_BYTES_MAX } from '../memory/arena.ts';
import { QUEUE_WORDS } from '../memory/byte-queue.ts';
import { BLOCK_WORDS, COLD_WORDS, MINI_WORDS } from '../tcp/block.ts';
import { BLOCKS_MAX } from '../tcp/block-pool.ts';
import type { CongestionControl } from '../tcp/congestion/control.ts';
import { ECN_MODES } from '../tcp/ecn.ts';
import { RECORD_WORDS } from '../tcp/record-pool.ts';
import { CONGESTION_CONTROLS } from '../tcp/tcp.ts';
import { UDP_SOCKETS_MAX } from '../udp/udp.ts';
import { type Cidr, formatCidr, ipv4Mask, parseCidr } from '../wire/address.ts';
import { StackOptionsError } from './errors.ts';
import type { Idle } from './run.ts';

export interface StackOptions {
  /**
   * `tun:NAME` or `tap:NAME`, made here and gone with the stack; `packet:INTERFACE`, shared with the host; others by their
   * names; or a port, such as a cable's end, with its arena.
   */
  readonly device: `${DeviceKindName}:${string}` | Port;
  /** Ours, as CIDR: `10.0.0.2/24`, `fd00::2/64`. May be none with `autoconfigure`. */
  readonly addresses: readonly string[];
  /** Default routers. */
  readonly gateway4?: string | undefined;
  readonly gateway6?: string | undefined;
  /**
   * Take part in what hosts and routers of the link arrange: ask before an address is used (ARP probes, duplicate
   * address detection), announce it, and learn IPv6 addresses, routers and the rest from routers (SLAAC). Addresses
   * are ours some seconds after the stack is open: `onAddress` tells. Off unless told, and refused on an `xdp:` with
   * addresses, which leaves what is sent to groups to the host.
   */
  readonly autoconfigure?: boolean | undefined;
  /** Any text that others don't know: with the same one, autoconfigured addresses are the same each time (RFC 7217). */
  readonly addressSecret?: string | undefined;
  /** An address is ours from now on, or no longer, or was to be and is somebody else's. */
  readonly onAddress?: ((kind: 'added' | 'removed' | 'duplicate', address: string) => void) | undefined;
  /**
   * The host's on its side of a TUN or TAP, as CIDR; unless told, the first other address of each network of ours
   * (10.0.0.1/24, fd00::1/64).
   */
  readonly hostAddresses?: readonly string[] | undefined;
  /** Largest IP packet, bytes; the device's (1500) unless told. */
  readonly mtu?: number | undefined;
  /**
   * Of the device, over which the kernel, or memif's peer, spreads flows; the one engine looks at all of them. 1 unless
   * told; an `xdp:` has all of its interface's, or the first so many (as `ethtool -X IF equal N` fills them).
   */
  readonly queues?: number | undefined;
  /** Leave checksums and segmentation to the device, when it can; true unless told. */
  readonly offload?: boolean | undefined;
  readonly limits?: Partial<Limits> | undefined;
  /** Congestion control of the program's own, for `limits.congestion` and connections to name. */
  readonly congestionControls?: readonly CongestionControl[] | undefined;
  /** What to do with nothing to do: `adaptive` unless told. `poll` takes a whole core. */
  readonly idle?: Idle | undefined;
  /** Puts a middleware (a capture, faults) between device and engine. */
  readonly wrapPort?: ((port: Port) => Port) | undefined;
  /** A handler of `stack.engine` threw, and its connection is aborted. Unless told, it is an uncaught exception. */
  readonly onHandlerError?: ((error: unknown, conn: Conn) => void) | undefined;
  /**
   * The device failed for good, as when its interface was removed (PortError ENODEV): the stack is closed, and its
   * sockets end with this error. Unless told, it is an uncaught exception.
   */
  readonly onDeviceError?: ((error: unknown) => void) | undefined;
}

/** StackOptions with nothing left open. */
export interface Settings {
  /** A device's name, or a port. */
  readonly device: string | Port;
  readonly addresses: string[];
  readonly gateways: { readonly gateway4?: string; readonly gateway6?: string };
  readonly hostAddresses: string[];
  readonly mtu: number | undefined;
  readonly queues: number | undefined;
  readonly offload: boolean;
  readonly limits: Limits;
  readonly congestionControls: readonly CongestionControl[];
  readonly idle: Idle;
}

const cidr = z.string().superRefine((text, context) => {
  try {
    parseCidr(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
  }
});
const count = z.int().positive();
const time = z
  .int()
  .nonnegative()
  .max(2 ** 30);
const bufferMax = z
  .int()
  .min(65_536, 'a buffer that tunes itself takes 65536 bytes or more')
  .max(2 ** 30);
/** 0: it tunes itself. */
const buffer = z.union([
  z.literal(0),
  z
    .int()
    .min(2048, 'a buffer takes 2048 bytes or more')
    .max(2 ** 30),
]);
const port = z.int().min(1).max(65_535);
const callback = z.custom<(...args: never[]) => unknown>(
  (value) => typeof value === 'function',
  'takes a function',
);

const limits = z
  .strictObject({
    connections: count.max(BLOCKS_MAX),
    miniBlocks: count.max(BLOCKS_MAX - 1),
    chunks: count,
    records: count,
    receiveBuffer: buffer,
    sendBuffer: buffer,
    receiveBufferMax: bufferMax,
    sendBufferMax: bufferMax,
    rtoMin_ms: time,
    rtoMax_ms: time,
    delayedAck_ms: time,
    timeWait_ms: time,
    userTimeout_ms: time,
    synRetries: z.int().nonnegative().max(255),
    synAckRetries: z.int().nonnegative().max(255),
    synCookies: z.enum(['auto', 'always', 'never']),
    connectionsPerSource: z.int().nonnegative(),
    halfOpenPerSource: z.int().nonnegative(),
    timeWaitReuse_ms: time,
    halfClose_ms: time,
    keepAliveInterval_ms: time.positive(),
    keepAliveProbes: count,
    finWait2_ms: time,
    ephemeralPortMin: port,
    ephemeralPortMax: port,
    timestamps: z.boolean(),
    windowScale: z.boolean(),
    sack: z.boolean(),
    blindReset: z.boolean(),
    blindSyn: z.boolean(),
    habits: z.enum(['plain', 'bsd', 'linux']),
    synOptions: z.boolean(),
    icmpHard: z.boolean(),
    dropSynFin: z.boolean(),
    reassemblyBuffers: count.max(1024),
    ttl: z.int().min(1).max(255),
    congestion: z.string(),
    pacing: z.boolean(),
    udpSockets: count.max(UDP_SOCKETS_MAX),
    udpChunks: count,
    udpReceiveBuffer: buffer,
    ecn: z.enum(ECN_MODES),
    accEcnOption: z.boolean(),
    mtuProbing: z.enum(['off', 'auto', 'always']),
  })
  .partial();

const schema = z.strictObject({
  device: z.custom<string | Port>(
    (value) => (typeof value === 'string' ? deviceFault(value) === null : isPort(value)),
    `takes ${DEVICE_USAGE}, or a port such as an end of createCable()`,
  ),
  addresses: z.array(cidr),
  autoconfigure: z.boolean().optional(),
  addressSecret: z.string().min(1).optional(),
  onAddress: callback.optional(),
  gateway4: z.string().refine(isIPv4, 'takes an IPv4 address').optional(),
  gateway6: z.string().refine(isIPv6, 'takes an IPv6 address').optional(),
  hostAddresses: z.array(cidr).optional(),
  mtu: z.int().min(576).max(65_535).optional(),
  queues: count.max(DEVICE_QUEUES_MAX).optional(),
  offload: z.boolean().optional(),
  limits: limits.optional(),
  congestionControls: z
    .array(z.custom<CongestionControl>(isCongestionControl, 'takes congestion controls'))
    .optional(),
  idle: z.enum(['adaptive', 'poll', 'event']).optional(),
  wrapPort: callback.optional(),
  onHandlerError: callback.optional(),
  onDeviceError: callback.optional(),
});

function isPort(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && 'rxSync' in value && 'txSync' in value && 'arena' in value
  );
}

function isCongestionControl(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { name, acked, lost, timedOut } = value as Partial<CongestionControl>;
  return typeof name === 'string' && [acked, lost, timedOut].every((part) => typeof part === 'function');
}

/** @throws StackOptionsError naming the field */
export function settle(given: StackOptions): Settings {
  const result = schema.safeParse(given);
  if (!result.success) {
    const { path, message } = result.error.issues[0];
    throw new StackOptionsError(path.join('.') || 'options', message);
  }
  if (result.data.addresses.length === 0 && !result.data.autoconfigure)
    throw new StackOptionsError('addresses', 'a stack needs an address, such as 10.0.0.2/24');
  const {
    device,
    addresses,
    gateway4,
    gateway6,
    hostAddresses,
    mtu,
    queues,
    offload = true,
    idle = 'adaptive',
    congestionControls = [],
  } = result.data;
  const limits = { ...LIMITS_DEFAULT, ...defined(result.data.limits ?? {}) };
  if (limits.ephemeralPortMin > limits.ephemeralPortMax) {
    throw new StackOptionsError(
      'limits.ephemeralPortMin',
      `${limits.ephemeralPortMin} is above ephemeralPortMax`,
    );
  }
  if (limits.rtoMin_ms > limits.rtoMax_ms) {
    throw new StackOptionsError('limits.rtoMin_ms', `${limits.rtoMin_ms} is above rtoMax_ms`);
  }
  const names = [...CONGESTION_CONTROLS, ...congestionControls].map((module) => module.name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined)
    throw new StackOptionsError('congestionControls', `there are two named '${twice}'`);
  if (!names.includes(limits.congestion))
    throw new StackOptionsError('limits.congestion', `'${limits.congestion}' is none of ${names.join(', ')}`);
  return {
    device,
    addresses,
    gateways: defined({ gateway4, gateway6 }),
    hostAddresses: hostAddresses ?? hostAddressesFor(addresses),
    mtu,
    queues,
    offload,
    limits,
    congestionControls,
    idle,
  };
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as Defined<T>;
}

/** The first address of each network that isn't ours; a network of one address has none. */
export function hostAddressesFor(addresses: readonly string[]): string[] {
  const ours = new Set(addresses.map((text) => formatCidr(parseCidr(text))));
  const hosts = new Set<string>();
  for (const text of addresses) {
    const network = parseCidr(text);
    const bits = network.family === 4 ? 32 : 128;
    if (network.length === bits) continue;
    // In a /31 or /127 the network's own number is an address as well (RFC 3021, RFC 6164).
    const first = network.length === bits - 1 ? 0 : 1;
    const host = [first, first + 1]
      .map((n) => formatCidr(nth(network, n)))
      .find((candidate) => !ours.has(candidate));
    if (host !== undefined) hosts.add(host);
  }
  return [...hosts];
}

/** The n-th address of a network; n is small. */
function nth(network: Cidr, n: number): Cidr {
  if (network.family === 4) return { ...network, address: (network.address & ipv4Mask(network.length)) + n };
  const words = network.address.map(
    (word, i) => word & ipv4Mask(Math.min(32, Math.max(0, network.length - 32 * i))),
  );
  words[3] += n;
  return { ...network, address: words };
}

/** A chunk of memory/chunks.ts. */
const CHUNK_BYTES = 2112;
/** Rings, timer wheel, scratch, alignment, and room for a program's own `arena.carve`; untouched pages cost nothing. */
const HEADROOM_BYTES = 4 << 20;

/**
 * The arena that a stack on a device of the kernel's needs, bytes.
 * @param deviceBytes What the device carves.
 * @throws StackOptionsError past 2 GiB
 */
export function arenaBytes(limits: Limits, deviceBytes: number): number {
  const flows = 2 * 2 ** Math.ceil(Math.log2(limits.connections + limits.miniBlocks));
  const perSource = limits.connectionsPerSource > 0 || limits.halfOpenPerSource > 0;
  // The source table, and an entry of five words for each source.
  const sources = perSource ? flows * 8 + (limits.connections + limits.miniBlocks) * 20 : 0;
  const parts = {
    connections: limits.connections * (BLOCK_WORDS + COLD_WORDS + 3) * 4,
    miniBlocks: (limits.miniBlocks + 1) * (MINI_WORDS + 1) * 4,
    chunks: limits.chunks * CHUNK_BYTES,
    records: limits.records * RECORD_WORDS * 4,
    reassemblyBuffers: limits.reassemblyBuffers * BUFFER_BYTES,
    udpChunks: limits.udpChunks * CHUNK_BYTES,
    udpSockets: limits.udpSockets * QUEUE_WORDS * 4,
  };
  const rest = flows * 8 + sources + deviceBytes + HEADROOM_BYTES;
  const bytes = Object.values(parts).reduce((sum, part) => sum + part, rest);
  if (bytes <= ARENA_BYTES_MAX) return bytes;
  const sizes = Object.entries(parts).sort((a, b) => b[1] - a[1]);
  const each = sizes.map(([name, size]) => `${name} ${mib(size)}`);
  const message = `an arena has 2048 MiB, and these limits need ${mib(bytes)} (${each.join(', ')}): lower them`;
  throw new StackOptionsError(`limits.${sizes[0][0]}`, message);
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
