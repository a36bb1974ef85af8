/** Devices by their names, as commands and `Stack.open` take them: `KIND:REST`. */
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { hostArenaBytes, openHost } from './host.ts';
import { MEMIF_USAGE, type MemifOptions, memifArenaBytes, openMemif, parseMemif } from './memif.ts';
import { NULL_RX_BYTES_MAX, nullArenaBytes, openNull } from './null.ts';
import { openPacket, type PacketOptions, packetArenaBytes } from './packet.ts';
import { openPcap, type PcapOptions, pcapArenaBytes } from './pcap.ts';
import { type Port, PortError } from './port.ts';
import { openTun, tunArenaBytes } from './tun.ts';
import { openXdp, xdpArenaBytes } from './xdp.ts';
import type { XdpOptions } from './xdp-options.ts';

/** What devices may be told; each heeds what it knows. */
export interface DeviceSettings {
  /** Largest IP packet, bytes; the device's own, or 1500, unless told. */
  readonly mtu?: number;
  /** Leave checksums and segmentation to the device, when it can; true unless told. */
  readonly offload?: boolean;
  /** For the host's end of a TUN or TAP, with prefix lengths. */
  readonly hostAddresses?: readonly string[];
  /** The stack's own, with prefix lengths: a device that shares its interface with the host takes only their packets. */
  readonly addresses?: readonly string[];
  /** The user of the port knows frames of several buffers (FRAME_MORE); false unless told. */
  readonly multiBuffer?: boolean;
  /** Of an interface shared with the host, receive what leaves it, too (FRAME_OUTGOING); false unless told. */
  readonly outgoing?: boolean;
  /** Slots of each ring, a power of two. */
  readonly slots?: number;
  /** Of the device, all behind the one port; 1 unless told, all that there are of an `xdp:`. */
  readonly queues?: number;
  /** Where buffers come from, so that they may be exchanged with other ports; a pool of its own unless told. */
  readonly pool?: FramePool;
}

/** No kind of device has more. */
export const DEVICE_QUEUES_MAX = 64;

interface DeviceKind {
  /** For help texts. */
  readonly usage: string;
  /** What is wrong with the part behind the colon, or null. */
  check(rest: string): string | null;
  /** What `open` carves at most, bytes; with a pool less. */
  arenaBytes(rest: string, settings: DeviceSettings): number;
  open(arena: Arena, rest: string, settings: DeviceSettings): Port;
}

const INTERFACE = /^[A-Za-z0-9_.-]{1,15}$/;

function interfaceName(rest: string): string | null {
  return INTERFACE.test(rest) ? null : 'takes an interface name of 1 to 15 letters, digits, "_", "-" or "."';
}

function tunKind(kind: 'tun' | 'tap'): DeviceKind {
  return {
    usage: `${kind}:NAME`,
    check: interfaceName,
    arenaBytes: (_, { offload = true, mtu = 1500, slots }) => tunArenaBytes(offload, mtu, slots),
    open: (arena, name, settings) => openTun(arena, { ...settings, name, kind }),
  };
}

const xdpKind: DeviceKind = {
  usage: 'xdp:IF[:QUEUE]',
  check(rest) {
    const { name, queue } = xdpPlace(rest);
    if (queue !== undefined && !/^\d{1,4}$/.test(queue))
      return 'takes the number of a queue behind the second colon';
    return interfaceName(name);
  },
  arenaBytes: (rest, settings) => xdpArenaBytes(xdpOptions(rest, settings)),
  open: (arena, rest, settings) => openXdp(arena, xdpOptions(rest, settings)),
};

function xdpOptions(rest: string, settings: DeviceSettings): XdpOptions {
  const { name, queue } = xdpPlace(rest);
  return { ...settings, name, ...(queue !== undefined && { queue: Number(queue) }) };
}

function xdpPlace(rest: string): { name: string; queue?: string } {
  const [name, ...queue] = rest.split(':');
  return { name, ...(queue.length > 0 && { queue: queue.join(':') }) };
}

const memifKind: DeviceKind = {
  usage: MEMIF_USAGE,
  check(rest) {
    const options = parseMemif(rest);
    return typeof options === 'string' ? options : null;
  },
  arenaBytes: (rest, settings) => memifArenaBytes(memifOptions(rest, settings)),
  open: (arena, rest, settings) => openMemif(arena, memifOptions(rest, settings)),
};

/** @param rest Passed `check`. */
function memifOptions(rest: string, { mtu, slots, queues, pool }: DeviceSettings): MemifOptions {
  return {
    ...(parseMemif(rest) as MemifOptions),
    ...(mtu !== undefined && { mtu }),
    ...(slots !== undefined && { slots }),
    ...(queues !== undefined && { queues }),
    ...(pool !== undefined && { pool }),
  };
}

const packetKind: DeviceKind = {
  usage: 'packet:INTERFACE[:host-mac]',
  check: (rest) => (typeof packetOptions(rest) === 'string' ? String(packetOptions(rest)) : null),
  arenaBytes: (rest, settings) => packetArenaBytes({ ...settings, ...checked(packetOptions(rest)) }),
  open: (arena, rest, settings) => openPacket(arena, { ...settings, ...checked(packetOptions(rest)) }),
};

/** What is wrong, or what was meant. */
function packetOptions(rest: string): string | PacketOptions {
  const [name, ...words] = rest.split(':');
  const fault = interfaceName(name);
  if (fault !== null) return fault;
  const hostMac = words[0] === 'host-mac';
  if (words.length > (hostMac ? 1 : 0))
    return 'takes behind the interface nothing but host-mac: packet:eth0:host-mac';
  return { name, hostMac };
}

const hostKind: DeviceKind = {
  usage: 'host:INTERFACE',
  check: interfaceName,
  arenaBytes: (name, settings) => hostArenaBytes({ ...settings, name }),
  open: (arena, name, settings) => openHost(arena, { ...settings, name }),
};

const pcapKind: DeviceKind = {
  usage: 'pcap:FILE[,to=FILE][,speed=N|max]',
  check: (rest) => (typeof pcapOptions(rest) === 'string' ? String(pcapOptions(rest)) : null),
  arenaBytes: (_, { slots }) => pcapArenaBytes(slots),
  open: (arena, rest, settings) => openPcap(arena, { ...settings, ...checked(pcapOptions(rest)) }),
};

/** What is wrong, or what was meant. */
function pcapOptions(rest: string): string | PcapOptions {
  const [file, ...words] = rest.split(',');
  const told: { to?: string; speed?: number } = {};
  for (const word of words) {
    const [key, value] = [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)];
    const speed = value === 'max' ? Number.POSITIVE_INFINITY : Number(value);
    if (key === 'to' && value !== '') told.to = value;
    else if (key === 'speed' && speed > 0) told.speed = speed;
    else
      return `takes behind the file to=FILE and speed=N (above 0) or speed=max, not ${JSON.stringify(word)}`;
  }
  if (file === '' && told.to === undefined) return 'takes a file to replay, or to=FILE to record to, or both';
  return { file, ...told };
}

const nullKind: DeviceKind = {
  usage: 'null[:BYTES]',
  check: (rest) =>
    rest === '' || (/^\d{1,4}$/.test(rest) && Number(rest) <= NULL_RX_BYTES_MAX)
      ? null
      : `takes the length of the frames it gives, 0 (none) to ${NULL_RX_BYTES_MAX} bytes`,
  arenaBytes: (_, settings) => nullArenaBytes(settings),
  open: (arena, rest, settings) =>
    openNull(arena, rest === '' ? settings : { ...settings, rxBytes: Number(rest) }),
};

/** After `check`. */
function checked<T>(options: string | T): T {
  if (typeof options === 'string') throw new PortError('EINVAL', options);
  return options;
}

const KINDS = {
  tun: tunKind('tun'),
  tap: tunKind('tap'),
  memif: memifKind,
  packet: packetKind,
  host: hostKind,
  pcap: pcapKind,
  null: nullKind,
  xdp: xdpKind,
} satisfies Record<string, DeviceKind>;

/** What stands before the colon of a device's name. */
export type DeviceKindName = keyof typeof KINDS;

/** For help texts: `tun:NAME, tap:NAME`. */
export const DEVICE_USAGE = Object.values(KINDS)
  .map((kind) => kind.usage)
  .join(', ');

/** What is wrong with a device's name, or null. */
export function deviceFault(name: string): string | null {
  const [kind, rest] = split(name);
  if (!isKind(kind)) return `no device is called ${JSON.stringify(name)}; there are ${DEVICE_USAGE}`;
  const fault = KINDS[kind].check(rest);
  return fault === null ? null : `${kind}: ${fault}`;
}

/** What `openPort` carves at most, bytes. @throws PortError EINVAL */
export function portArenaBytes(name: string, settings: DeviceSettings = {}): number {
  const [kind, rest] = find(name);
  return kind.arenaBytes(rest, settings);
}

/** @throws PortError EINVAL, and what the device's own function says. @throws ArenaFullError */
export function openPort(arena: Arena, name: string, settings: DeviceSettings = {}): Port {
  const [kind, rest] = find(name);
  return kind.open(arena, rest, settings);
}

function find(name: string): [DeviceKind, string] {
  const fault = deviceFault(name);
  const [kind, rest] = split(name);
  if (fault !== null || !isKind(kind)) throw new PortError('EINVAL', fault ?? `no device is called ${name}`);
  return [KINDS[kind], rest];
}

function isKind(kind: string): kind is DeviceKindName {
  return Object.hasOwn(KINDS, kind);
}

function split(name: string): [string, string] {
  const colon = name.indexOf(':');
  return colon < 0 ? [name, ''] : [name.slice(0, colon), name.slice(colon + 1)];
}
