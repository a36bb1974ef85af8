/**
 * memif: the shared-memory packet interface of VPP and DPDK (libmemif, protocol 2.0), as client, who owns the memory and
 * connects, and as server, who listens. Frames are copied between the shared memory and the pool's buffers.
 *
 * As server it maps what the client shares only if that can't be cut under us: memory of memfd_create(2), sealed against
 * shrinking and not of huge pages, within the room that there is. A client that shares the buffers of its whole program
 * (zero-copy in VPP and DPDK) is refused; tell it not to.
 *
 * The port is open while nobody is at the other end: what is sent then is dropped and counted, nothing comes, and the
 * link is up as soon as there is a peer (again).
 *
 * The reader of a ring that has nothing to do unmasks its signals, and masks them with the first frames that it finds;
 * so the writer of a ring enters the kernel only for a reader that may be asleep.
 */
import { randomBytes } from 'node:crypto';
import { type Arena, ArenaFullError } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import type { Ring } from '../memory/ring.ts';
import { errorCode } from '../os/errno.ts';
import { PAGE_BYTES } from '../os/shared-memory.ts';
import { MEMIF_SECRET_BYTES, RING_LOG2_MAX } from '../wire/memif.ts';
import { createRings, emptyRings, framesArenaBytes, LARGE_ROOM_BYTES, ringArenaBytes } from './frames.ts';
import { MemifControl, type MemifCounters, type MemifLink } from './memif-control.ts';
import { clientMemory } from './memif-handshake.ts';
import { dropFrames, MEMIF_TABLE_BYTES, QUEUES_MAX, type TxCursor } from './memif-rings.ts';
import { type Capabilities, type Link, PLAIN, type Port, PortError, portCounters } from './port.ts';

export interface MemifOptions {
  /** Path of the UNIX socket, or `@` and a name in the abstract namespace. */
  readonly socket: string;
  /** 'client' unless told. */
  readonly role?: 'client' | 'server';
  /** Which interface of the server's, 0 unless told. */
  readonly id?: number;
  /** What the client has to know; up to 24 B. */
  readonly secret?: string;
  /** Memif's mode: 'ether' unless told. */
  readonly link?: Link;
  /** Queue pairs to offer as client, or to accept at most; 1 unless told. All are received from, one is sent on. */
  readonly queues?: number;
  /** Slots of a memif ring that we make, or accept at most: log2; 10 unless told. */
  readonly ringLog2?: number;
  /** Of the buffers that we make as client; 2048 unless told. Longer frames take several. */
  readonly bufferBytes?: number;
  /** Room for a client's regions, MiB; 32 unless told. As client we take what the rings need. */
  readonly roomMib?: number;
  /** Largest IP packet, bytes; 1500 unless told. */
  readonly mtu?: number;
  /** Slots of the port's own rings, a power of two; 256 unless told. */
  readonly slots?: number;
  /** Our hardware address, 6 bytes; a random, locally administered one unless told. */
  readonly mac?: Uint8Array;
  /** Where the buffers come from, two for each slot; a pool of its own unless told, or when that one's are too small. */
  readonly pool?: FramePool;
}

/** What `open.ts` and the constructor need: all options with their values. */
interface Settings extends Required<Omit<MemifOptions, 'pool' | 'mac'>> {
  readonly mac: Uint8Array | null;
}

/** An Ethernet header with a VLAN tag. */
const LINK_BYTES_MAX = 18;
const MTU_MIN = 68;
const MTU_MAX = LARGE_ROOM_BYTES - LINK_BYTES_MAX;
const SLOTS_MAX = 1 << 15;
const BUFFER_BYTES_MIN = 64;
const BUFFER_BYTES_MAX = 65_472;
const ROOM_MIB_MAX = 1024;
const MIB = 2 ** 20;
/** Idle, the control channel is looked at this often; a sleeper is woken by its descriptor. */
const LOOK_MS = 1;

/**
 * Listens, or connects to who listens. Carves the port's rings and buffers and the room for the shared memory from the
 * arena, for good.
 *
 * As client it throws in a sync what the server has against it (`ECONNREFUSED`; `EPROTONOSUPPORT`: another version of
 * memif; `EPROTO`: it doesn't keep to it) until the first link is up; from then on it tries again four times a second.
 *
 * @throws PortError `EINVAL` (bad option), `ENOENT`, `ECONNREFUSED` (nobody listens), `ENOTSOCK`, `EPROTOTYPE` (the path
 *   is something else's), `EADDRINUSE` (another server is there), `EACCES`, `ENAMETOOLONG`, `ERR_UNSUPPORTED_PLATFORM`,
 *   `ERR_NO_FFI`, and what else the kernel says; its message tells what to do
 * @throws ArenaFullError
 */
export function openMemif(arena: Arena, options: MemifOptions): MemifPort {
  const settings = settle(options);
  try {
    return new MemifPort(arena, settings, options.pool);
  } catch (error) {
    const code = errorCode(error);
    if (!(error instanceof Error) || code === '' || error instanceof ArenaFullError) throw error;
    const advice =
      code === 'ENOENT' && settings.role === 'server' ? 'make its directory first' : ADVICE[code];
    const message = `memif ${settings.role} on ${settings.socket}: ${error.message}`;
    throw new PortError(code, advice === undefined ? message : `${message}; ${advice}`, { cause: error });
  }
}

const ADVICE: Readonly<Record<string, string>> = {
  ENOENT: 'start the server first, or check the path',
  ECONNREFUSED: 'the server that made this socket is gone: start it again',
  ENOTSOCK: 'something that is no socket has this path: take another',
  EPROTOTYPE: 'the socket there is no memif server’s: take another path',
  EADDRINUSE: 'another server answers there: end it, or take another path',
  EACCES: 'its owner must let this user write to it, and search the directories above',
  EAGAIN:
    'the server doesn’t accept connections, or the limit of asynchronous I/O (fs.aio-max-nr) is reached',
  ENOSYS:
    'asynchronous I/O is needed to wake the other side, and this kernel or container doesn’t allow io_setup(2)',
  ENAMETOOLONG: 'take a shorter path, or a relative one',
};

/** How many bytes of arena a port carves, at most. */
export function memifArenaBytes(options: MemifOptions): number {
  const settings = settle(options);
  const { slots } = settings;
  return (
    2 * ringArenaBytes(slots) +
    framesArenaBytes(2 * slots, frameBytesOf(settings)) +
    roomBytes(settings) +
    PAGE_BYTES +
    MEMIF_TABLE_BYTES
  );
}

function frameBytesOf({ mtu }: Settings): number {
  return mtu + LINK_BYTES_MAX;
}

function roomBytes(settings: Settings): number {
  const { role, queues, ringLog2, bufferBytes, roomMib } = settings;
  const bytes = role === 'server' ? roomMib * MIB : clientMemory({ queues, ringLog2 }, bufferBytes).bytes;
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

export class MemifPort implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters = portCounters();
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool: FramePool;
  readonly rxTimes = null;
  readonly fds: readonly number[];
  onArrival: () => void = () => {};
  readonly #control: MemifControl;
  readonly #cursor: TxCursor = { taken: 0, chained: false };
  /** Of the readers, the one that is looked at first next time. */
  #turn = 0;
  /** The link whose writers were asked to signal; while there is no link, null is right. */
  #unmasked: MemifLink | null = null;
  #lookedAt_ms = 0;
  #closed = false;

  /** To be made by `openMemif`. */
  constructor(arena: Arena, settings: Settings, pool: FramePool | undefined) {
    const { role, socket, id, secret, link, queues, ringLog2, bufferBytes, mtu, slots, mac } = settings;
    this.name = `memif:${socket}`;
    this.arena = arena;
    this.capabilities = { ...PLAIN, link, mtu, mac, queues };
    this.frameBytes = frameBytesOf(settings);
    const rings = createRings(arena, this.name, { slots, frameBytes: this.frameBytes, link, pool });
    this.rx = rings.rx;
    this.tx = rings.tx;
    this.pool = rings.pool;
    const room = roomBytes(settings);
    try {
      const roomAt = arena.carve(`${this.name} regions`, room, PAGE_BYTES);
      const identity = { id, mode: link, secret };
      const shape = { queues, ringLog2 };
      const tableAt = arena.carve(`${this.name} rings`, MEMIF_TABLE_BYTES);
      const all = { role, socket, identity, shape, bufferBytes, roomAt, roomBytes: room, tableAt };
      this.#control = new MemifControl(arena, all, this.counters);
    } catch (error) {
      emptyRings(this, this.pool);
      throw error;
    }
    this.fds = [this.#control.fd];
  }

  /** Whether somebody is at the other end. As of the last sync. */
  get linked(): boolean {
    return this.#control.link !== null;
  }

  get peers(): Readonly<MemifCounters> {
    return this.#control.counters;
  }

  /** @throws PortError as client, while no server has had us; see openMemif. */
  rxSync(): number {
    const { rx } = this;
    if (this.#closed) return 0;
    const { tail } = rx;
    this.#read();
    if (rx.tail !== tail) {
      if (this.#unmasked !== null) this.#wantSignals(false);
      return rx.available;
    }
    // Nothing came: the peer may be gone, or a new one there. This swallows signals, so the rings are read once more.
    const now = performance.now();
    const control = this.#control;
    if (control.link === this.#unmasked && !control.pending && now - this.#lookedAt_ms < LOOK_MS) {
      return rx.available;
    }
    this.#lookedAt_ms = now;
    control.look();
    if (control.link !== this.#unmasked) this.#wantSignals(true);
    this.#read();
    return rx.available;
  }

  /** @throws PortError as rxSync */
  txSync(): number {
    const { tx, counters } = this;
    if (this.#closed) return 0;
    const cursor = this.#cursor;
    const { link } = this.#control;
    if (link === null) dropFrames(tx, cursor, counters);
    else if (cursor.taken !== tx.head) {
      if (link.writer.write(tx, cursor, this.frameBytes, counters) && link.writer.signalsWanted) {
        this.#control.signal();
      }
      if (link.writer.fault !== null) this.#control.fail(link.writer.fault);
      else if (cursor.taken !== tx.head) this.#lookAtPeer();
    }
    tx.tail = (cursor.taken + tx.slots) | 0;
    return tx.available;
  }

  /** The peer is told. A Poller that watches `fds` must be closed before. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    emptyRings(this, this.pool);
    this.#control.close();
  }

  #read(): void {
    const { link } = this.#control;
    if (link === null) return;
    const { readers } = link;
    for (let i = 0; i < readers.length; i++) {
      const reader = readers[(this.#turn + i) % readers.length];
      reader.read(this.rx, this.frameBytes, this.counters);
      if (reader.fault === null) continue;
      this.#control.fail(reader.fault);
      return;
    }
    this.#turn = (this.#turn + 1) % readers.length;
  }

  #wantSignals(wanted: boolean): void {
    const { link } = this.#control;
    for (const reader of link?.readers ?? []) reader.wantSignals(wanted);
    this.#unmasked = wanted ? link : null;
  }

  /** A peer that takes nothing may be gone. */
  #lookAtPeer(): void {
    const now = performance.now();
    if (now - this.#lookedAt_ms < LOOK_MS) return;
    this.#lookedAt_ms = now;
    this.#control.lookAtPeer();
  }
}

/** @throws PortError EINVAL */
function settle(options: MemifOptions): Settings {
  const { socket, role = 'client', id = 0, secret = '', link = 'ether', mac } = options;
  const { queues = 1, ringLog2 = 10, bufferBytes = 2048, roomMib = 32, mtu = 1500, slots = 256 } = options;
  if (socket === '' || socket === '@' || socket.includes('\0'))
    throw invalid('the path of a socket is missing');
  inRange('id', id, 0, 2 ** 32 - 1);
  inRange('queues', queues, 1, QUEUES_MAX);
  inRange('ringLog2', ringLog2, 1, RING_LOG2_MAX);
  inRange('bufferBytes', bufferBytes, BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
  inRange('roomMib', roomMib, 1, ROOM_MIB_MAX);
  inRange('mtu', mtu, MTU_MIN, MTU_MAX);
  inRange('slots', slots, 2, SLOTS_MAX);
  if ((slots & (slots - 1)) !== 0) throw invalid(`slots is a power of two, not ${slots}`);
  if (new TextEncoder().encode(secret).length > MEMIF_SECRET_BYTES || secret.includes('\0')) {
    throw invalid(`the secret has ${MEMIF_SECRET_BYTES} B at most, and no zero`);
  }
  if (mac !== undefined && (mac.length !== 6 || (mac[0] & 1) !== 0)) {
    throw invalid('the hardware address must be 6 bytes, of one host and not of a group');
  }
  return {
    ...{ socket, role, id, secret, link, queues, ringLog2, bufferBytes, roomMib, mtu, slots },
    mac: link === 'ether' ? (mac ?? randomMac()) : null,
  };
}

function inRange(name: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw invalid(`${name} is a whole number from ${low} to ${high}, not ${value}`);
  }
}

function invalid(what: string): PortError {
  return new PortError('EINVAL', `memif: ${what}`);
}

/** IEEE 802c: locally administered, individual. */
function randomMac(): Uint8Array {
  const mac = new Uint8Array(randomBytes(6));
  mac[0] = (mac[0] & ~1) | 2;
  return mac;
}

/** For help texts. */
export const MEMIF_USAGE = 'memif:SOCKET[,role=client|server][,id=N][,…]';

/**
 * The part of a device's name behind `memif:`: the socket, then what DPDK calls by the same names.
 * @returns what is wrong, as text, or the options
 */
export function parseMemif(rest: string): MemifOptions | string {
  const [socket, ...pairs] = rest.split(',');
  if (socket === '') return 'takes the path of a socket: memif:/run/x.sock, or @NAME for an abstract one';
  const options: Record<string, unknown> = { socket };
  for (const pair of pairs) {
    const [key, value] = split(pair);
    const parse = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (parse === undefined)
      return `has no option ${JSON.stringify(key)}; there are ${Object.keys(KEYS).join(', ')}`;
    const given = parse(value);
    if (given === null) return `${key} can’t be ${JSON.stringify(value)}`;
    Object.assign(options, given);
  }
  return options as unknown as MemifOptions;
}

function split(pair: string): [string, string] {
  const equals = pair.indexOf('=');
  return equals < 0 ? [pair, ''] : [pair.slice(0, equals), pair.slice(equals + 1)];
}

/** What each option means; null for a value that there isn't. */
const KEYS: Readonly<Record<string, (value: string) => Partial<MemifOptions> | null>> = {
  role: (value) => (value === 'client' || value === 'server' ? { role: value } : null),
  id: whole((id) => ({ id })),
  secret: (secret) => (secret === '' ? null : { secret }),
  mode: (value) => (value === 'ethernet' ? { link: 'ether' } : value === 'ip' ? { link: 'ip' } : null),
  rsize: whole((ringLog2) => ({ ringLog2 })),
  bsize: whole((bufferBytes) => ({ bufferBytes })),
  room: whole((roomMib) => ({ roomMib })),
};

function whole(of: (value: number) => Partial<MemifOptions>): (text: string) => Partial<MemifOptions> | null {
  return (text) => (/^\d{1,10}$/.test(text) ? of(Number(text)) : null);
}
