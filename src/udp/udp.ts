/** One engine's UDP: its sockets, its memory and what the functions of this folder share. */
import type { Ip } from '../ip/ip.ts';
import type { Arena } from '../memory/arena.ts';
import { QUEUE_WORDS } from '../memory/byte-queue.ts';
import { ChunkPool } from '../memory/chunks.ts';
import { HalfSipHash } from '../wire/siphash.ts';
import { UdpCounters } from './counters.ts';
import { UDP_EVENT, UdpEvents } from './events.ts';
import type { UdpSocket } from './socket.ts';

export interface UdpLimits {
  readonly udpSockets: number;
  /** Chunks of 2 KiB that hold what came for paused sockets, shared by all. */
  readonly udpChunks: number;
  /** Bytes that may wait for one paused socket, headers of 48 B each included, unless it says otherwise. */
  readonly udpReceiveBuffer: number;
}

export const UDP_LIMITS_DEFAULT: UdpLimits = {
  udpSockets: 1024,
  udpChunks: 512,
  udpReceiveBuffer: 212_992,
};

/** Slots that a handle can tell. */
export const UDP_SOCKETS_MAX = 0x4000;
const SLOT_MASK = UDP_SOCKETS_MAX - 1;
/** Room for a whole datagram with its header. */
export const SCRATCH_BYTES = 65_536;

/** TCP's, which UDP shares. */
export interface EphemeralPorts {
  readonly ephemeralPortMin: number;
  readonly ephemeralPortMax: number;
}

export class Udp {
  readonly arena: Arena;
  readonly ip: Ip;
  readonly limits: UdpLimits & EphemeralPorts;
  readonly counters = new UdpCounters();
  /** By slot. */
  readonly sockets: (UdpSocket | null)[] = [];
  /** By port: the socket bound last, which leads to the others. */
  readonly byPort = new Map<number, UdpSocket>();
  readonly events = new UdpEvents();
  /** One event's words, on their way into a queue or out of it. */
  readonly record = new Int32Array(UDP_EVENT.WORDS);
  readonly chunks: ChunkPool;
  /** Where datagrams are composed, and where those that waited are shown. */
  readonly scratchAt: number;
  readonly shownAt: number;
  /** Sockets that `writable` is owed to; since when; whether for a tx slot, or for a neighbour whose cache has moved on. */
  waiting: UdpSocket[] = [];
  waiting_ms = 0;
  waitsForSlot = false;
  waitingVersion = 0;
  /** Where an ephemeral port is looked for next; keyed, so that strangers can't tell (RFC 6056). */
  readonly hash: HalfSipHash;
  portCounter = 0;
  readonly #queues: number;
  readonly #generations: Int32Array;

  /** @param secret At least 8 unpredictable bytes. */
  constructor(arena: Arena, ip: Ip, limits: UdpLimits & EphemeralPorts, secret: Int32Array) {
    this.arena = arena;
    this.ip = ip;
    this.limits = limits;
    this.chunks = new ChunkPool(arena, 'udp chunks', limits.udpChunks);
    this.scratchAt = arena.carveUnzeroed('udp scratch', 2 * SCRATCH_BYTES);
    this.shownAt = this.scratchAt + SCRATCH_BYTES;
    this.#queues = arena.carve('udp queues', limits.udpSockets * QUEUE_WORDS * 4) >> 2;
    this.#generations = new Int32Array(limits.udpSockets);
    // Not TCP's, of which a stranger may learn something by its ports.
    this.hash = new HalfSipHash(~secret[0], ~secret[1]);
  }

  /** Word index of a socket's receive queue. */
  queue(socket: UdpSocket): number {
    return this.#queues + socket.slot * QUEUE_WORDS;
  }

  /** A free slot, or -1. */
  freeSlot(): number {
    const free = this.sockets.indexOf(null);
    if (free >= 0) return free;
    return this.sockets.length < this.limits.udpSockets ? this.sockets.length : -1;
  }

  /** A handle for the next socket in a slot; never 0. */
  nextHandle(slot: number): number {
    const generation = (this.#generations[slot] + 1) & 0xffff;
    this.#generations[slot] = generation === 0 ? 1 : generation;
    return this.#generations[slot] * UDP_SOCKETS_MAX + slot;
  }

  /** @returns null for a stale handle */
  find(handle: number): UdpSocket | null {
    const socket = this.sockets[handle & SLOT_MASK] ?? null;
    return socket !== null && socket.handle === handle ? socket : null;
  }
}
