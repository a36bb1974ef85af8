/**
 * A packet capture as a device: its packets are received, as fast as they were or otherwise, and what is sent is recorded
 * in another file, or is gone.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_MORE,
  FRAME_SEGMENT,
  type Ring,
} from '../memory/ring.ts';
import { errorCode } from '../os/errno.ts';
import { createRings, emptyRings, framesArenaBytes, ringArenaBytes } from './frames.ts';
import { type CapturedPacket, PcapReader } from './pcap-reader.ts';
import { type PcapngInterface, pcapngInterface, pcapngPacket, pcapngSection } from './pcapng.ts';
import { type Capabilities, type Link, PLAIN, type Port, PortError, portCounters } from './port.ts';
import { asPortError } from './port-error.ts';

export interface PcapOptions {
  /** What is received: pcap or pcapng, of Ethernet or IP. '': nothing ever is. */
  readonly file: string;
  /** What is sent goes here, in pcapng; an existing file is overwritten. Unless told, it is counted and gone. */
  readonly to?: string;
  /** Of time: 1, the default, keeps the packets' distances, 2 halves them, Infinity waits for nothing but free slots. */
  readonly speed?: number;
  /** Largest IP packet, bytes, that may be sent; 1500 unless told. Received frames may have 64 KiB. */
  readonly mtu?: number;
  /** Slots of each ring, a power of two; 64 unless told. */
  readonly slots?: number;
  /** Where the buffers come from, two for each slot; a pool of its own unless told, or when that one's are too small. */
  readonly pool?: FramePool;
  /** Milliseconds that only grow; performance.now unless told. */
  readonly clock?: () => number;
}

export interface PcapPort extends Port {
  /** Everything in the file has been received. */
  readonly ended: boolean;
}

/** Captures of local connections have super-segments. */
const FRAME_BYTES = 65_535 + 18;
const MTU_DEFAULT = 1500;
const SLOTS_DEFAULT = 64;
const CHUNK_BYTES = 262_144;
/** setTimeout's longest. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;
/** Nobody's: a file has no hardware address. */
const MAC = Uint8Array.of(0x02, 0x6d, 0x72, 0x70, 0x63, 0x61);

const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];

/**
 * @throws PortError what opening the files says (ENOENT, EACCES, …), the PcapError's code when the head of the capture is
 *   bad, `ERR_PCAP_LINK` when it is of neither Ethernet nor IP, `EINVAL`
 * @throws ArenaFullError
 */
export function openPcap(arena: Arena, options: PcapOptions): PcapPort {
  const { file, to, speed = 1 } = options;
  if (!(speed > 0)) throw new PortError('EINVAL', `the speed of pcap:${file} is above 0, not ${speed}`);
  if (file === '' && to === undefined)
    throw new PortError('EINVAL', 'pcap: names a file to replay, or one to record to');
  let source: Source | null = null;
  let sink: Sink | null = null;
  try {
    if (file !== '') source = new Source(file);
    const link = source === null ? 'ether' : linkOf(source, file);
    if (to !== undefined) sink = new Sink(to, link);
    return new FilePort(arena, options, link, source, sink);
  } catch (error) {
    source?.close();
    sink?.close();
    throw asPortError(error, nameOf(options), '');
  }
}

/** What a port carves at most, bytes. */
export function pcapArenaBytes(slots: number = SLOTS_DEFAULT): number {
  return 2 * ringArenaBytes(slots) + framesArenaBytes(2 * slots, FRAME_BYTES) + slots * 8 + 64;
}

function nameOf({ file, to }: PcapOptions): string {
  return `pcap:${file}${to === undefined ? '' : `,to=${to}`}`;
}

/** That of its first packet; a capture without any may be of whatever. */
function linkOf(source: Source, file: string): Link {
  if (source.next === null) return 'ether';
  const { link, linkType } = source.next;
  if (link !== null) return link;
  throw new PortError(
    'ERR_PCAP_LINK',
    `pcap:${file} has packets of link type ${linkType}, and only Ethernet and IP are read: capture on one interface, not on any`,
  );
}

/** A capture file, one packet ahead. */
class Source {
  /** The packet to come; null when there is none, for which `failure` may be why. */
  next: CapturedPacket | null = null;
  failure: unknown = null;
  reads = 0;
  readonly #fd: number;
  readonly #reader = new PcapReader();
  /** The reader keeps what is left of one until it gets the next. */
  readonly #chunks = [new Uint8Array(CHUNK_BYTES), new Uint8Array(CHUNK_BYTES)];

  /** @throws Error of node:fs, PcapError */
  constructor(path: string) {
    this.#fd = openSync(path, 'r');
    this.advance();
    if (this.failure === null) return;
    this.close();
    throw this.failure;
  }

  advance(): void {
    try {
      while ((this.next = this.#reader.next()) === null) {
        const chunk = this.#chunks[this.reads++ & 1];
        const bytes = readSync(this.#fd, chunk);
        if (bytes === 0) {
          this.#reader.end();
          return;
        }
        this.#reader.push(chunk.subarray(0, bytes));
      }
    } catch (error) {
      this.next = null;
      this.failure = error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A pcapng file, written once a batch. */
class Sink {
  readonly #fd: number;
  readonly #on: PcapngInterface;
  #pieces: Uint8Array[];

  /** @throws Error of node:fs */
  constructor(path: string, link: Link) {
    this.#on = { link, name: path, snapBytes: 0, timeDigits: 6 };
    this.#fd = openSync(path, 'w');
    this.#pieces = [pcapngSection(), pcapngInterface(this.#on)];
    try {
      this.flush();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  add(frame: Uint8Array, timeUs: number): void {
    this.#pieces.push(pcapngPacket(frame, { interfaceId: 0, direction: 'tx', timeUs }, this.#on));
  }

  /** @throws Error of node:fs, as when the disk is full; what was added is given up then */
  flush(): void {
    if (this.#pieces.length === 0) return;
    const bytes = Buffer.concat(this.#pieces);
    this.#pieces = [];
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

class FilePort implements PcapPort {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters = portCounters();
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes = FRAME_BYTES;
  readonly pool: FramePool;
  readonly rxTimes: Float64Array;
  readonly fds = [];
  onArrival: () => void = () => {};
  readonly #source: Source | null;
  readonly #sink: Sink | null;
  readonly #speed: number;
  readonly #clock: () => number;
  readonly #lengthMax: number;
  /** When the replay began, ms, and the time of its first packet, us. */
  #start_ms = Number.NaN;
  #startUs = Number.NaN;
  #timer: NodeJS.Timeout | null = null;
  #taken = 0;
  #chained = false;
  #closed = false;

  constructor(arena: Arena, options: PcapOptions, link: Link, source: Source | null, sink: Sink | null) {
    const { speed = 1, mtu = MTU_DEFAULT, slots = SLOTS_DEFAULT, pool } = options;
    this.name = nameOf(options);
    this.arena = arena;
    const mac = link === 'ether' ? MAC : null;
    this.capabilities = { ...PLAIN, link, mtu, mac, rxTimestamps: true };
    this.#source = source;
    this.#sink = sink;
    this.#speed = speed;
    this.#clock = options.clock ?? (() => performance.now());
    this.#lengthMax = mtu + FRAME_BYTES - 65_535;
    const rings = createRings(arena, this.name, { slots, frameBytes: FRAME_BYTES, link, pool });
    this.rx = rings.rx;
    this.tx = rings.tx;
    this.pool = rings.pool;
    const times = arena.carve(`${this.name} rx times`, slots * 8);
    this.rxTimes = new Float64Array(arena.memory.buffer, times, slots);
  }

  get ended(): boolean {
    return this.#source === null || (this.#source.next === null && this.#source.failure === null);
  }

  /** @throws PortError with the PcapError's code, once all packets before it have been received */
  rxSync(): number {
    const { rx, counters } = this;
    const source = this.#source;
    if (this.#closed || source === null) return 0;
    const { m } = rx;
    const before = rx.tail;
    const { reads } = source;
    const now_ms = this.#clock();
    let wait_ms = 0;
    while (source.next !== null && rx.available < rx.slots) {
      wait_ms = this.#dueIn(source.next, now_ms);
      if (wait_ms > 0) break;
      const { bytes, length, link, timeUs } = source.next;
      // What was cut off can't be replayed.
      if (bytes.length < length || length === 0 || length > FRAME_BYTES || link !== this.capabilities.link) {
        counters.rxDropped++;
      } else {
        const slot = rx.slot(rx.tail);
        this.arena.u8.set(bytes, m[slot + AT]);
        m[slot + LENGTH] = length;
        m[slot + FLAGS] = 0;
        m[slot + AUX] = 0;
        this.rxTimes[rx.tail & (rx.slots - 1)] = timeUs;
        counters.rxFrames++;
        counters.rxBytes += length;
        rx.tail = (rx.tail + 1) | 0;
      }
      source.advance();
    }
    counters.syscalls += source.reads - reads;
    if (source.next !== null) this.#remind(wait_ms);
    if (rx.tail === before && source.failure !== null) throw asPortError(source.failure, this.name, '');
    return rx.available;
  }

  /** ms; none for a packet without a time. */
  #dueIn({ timeUs }: CapturedPacket, now_ms: number): number {
    if (this.#speed === Number.POSITIVE_INFINITY || Number.isNaN(timeUs)) return 0;
    if (Number.isNaN(this.#start_ms)) [this.#start_ms, this.#startUs] = [now_ms, timeUs];
    return this.#start_ms + (timeUs - this.#startUs) / 1000 / this.#speed - now_ms;
  }

  /** Says that there is something, when there is. */
  #remind(wait_ms: number): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.onArrival();
      },
      Math.min(Math.max(wait_ms, 0), TIMEOUT_MS_MAX),
    ).unref();
  }

  /** @throws PortError of the file's, as ENOSPC: the frames of this sync are lost */
  txSync(): number {
    const { tx, counters, arena } = this;
    if (this.#closed) return 0;
    const { m } = tx;
    const timeUs = Date.now() * 1000;
    for (; this.#taken !== tx.head; this.#taken = (this.#taken + 1) | 0) {
      const slot = tx.slot(this.#taken);
      const [at, length, flags] = [m[slot + AT], m[slot + LENGTH], m[slot + FLAGS]];
      const whole = !this.#chained && (flags & (FRAME_MORE | FRAME_SEGMENT | FRAME_CHECKSUM_FILL)) === 0;
      this.#chained = (flags & FRAME_MORE) !== 0;
      if (!whole || length <= 0 || length > this.#lengthMax) {
        counters.txDropped++;
        continue;
      }
      this.#sink?.add(arena.u8.subarray(at, at + length), timeUs);
      counters.txFrames++;
      counters.txBytes += length;
    }
    tx.tail = (this.#taken + tx.slots) | 0;
    try {
      this.#sink?.flush();
    } catch (error) {
      throw asPortError(error, this.name, errorCode(error) === 'ENOSPC' ? 'make room on the disk' : '');
    }
    return tx.available;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    emptyRings(this, this.pool);
    this.#source?.close();
    this.#sink?.close();
  }
}
