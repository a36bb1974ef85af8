/**
 * memif's control channel: the socket on which sides meet and pass the descriptors of their memory, and the memory's
 * mapping. It is driven by `look`, from the port's syncs, and never waits.
 *
 * The port outlives its peers: when one goes away, a server takes the next that connects, and a client connects again.
 */
import { closeSync, lstatSync, rmSync } from 'node:fs';
import type { Arena } from '../memory/arena.ts';
import { Epoll } from '../os/epoll.ts';
import { SystemError } from '../os/errno.ts';
import { createEventfd, EventSignaller } from '../os/eventfd.ts';
import { libc } from '../os/libc.ts';
import { acceptSeqpacket, connectSeqpacket, listenSeqpacket, PacketBuffer } from '../os/seqpacket.ts';
import {
  createSharedMemory,
  mapShared,
  PAGE_BYTES,
  sharedMemoryFault,
  unmapShared,
} from '../os/shared-memory.ts';
import {
  decodeMemif,
  encodeMemif,
  MEMIF_MESSAGE_BYTES,
  type MemifMessage,
  RING_COOKIE,
} from '../wire/memif.ts';
import {
  ClientHandshake,
  type ClientMemory,
  clientMemory,
  type Handshake,
  type MemifIdentity,
  type MemifOffer,
  type MemifShape,
  ServerHandshake,
  type SharedDescriptors,
} from './memif-handshake.ts';
import { MemifRegions, MemifRing, ringFault } from './memif-rings.ts';
import { type PortCounters, PortError } from './port.ts';

export interface MemifControlOptions {
  readonly role: 'client' | 'server';
  readonly socket: string;
  readonly identity: MemifIdentity;
  readonly shape: MemifShape;
  /** Of a client's buffers. */
  readonly bufferBytes: number;
  /** Pages of the arena that regions may be mapped to: byte offset, and how many. */
  readonly roomAt: number;
  readonly roomBytes: number;
  /** MEMIF_TABLE_BYTES for the link of the time. */
  readonly tableAt: number;
}

/** What became of peers, since the port was opened. */
export interface MemifCounters {
  /** Times that the link came up. */
  links: number;
  /** Peers turned away, and peers that turned us away: another version, id, mode or secret, a malformed offer. */
  refused: number;
  /** Connections ended by us because what the peer wrote to the shared memory can't be. */
  faults: number;
}

/** A connection over which frames pass. */
export interface MemifLink {
  readonly readers: readonly MemifRing[];
  readonly writer: MemifRing;
  /** What wakes the reader of what `writer` writes. */
  readonly writerEventfd: number;
}

interface Connection {
  readonly fd: number;
  readonly handshake: Handshake;
  /** What came with its messages or was made for it; closed with it. */
  readonly fds: number[];
}

/** So that a flood of either is spread over many syncs. */
const ACCEPTS_PER_LOOK = 4;
const MESSAGES_PER_LOOK = 32;
/** Those that haven't connected all the way; the oldest goes when another comes. */
const PENDING_MAX = 4;
const RECONNECT_MS = 250;

export class MemifControl {
  readonly counters: MemifCounters = { links: 0, refused: 0, faults: 0 };
  link: MemifLink | null = null;
  readonly #options: MemifControlOptions;
  readonly #arena: Arena;
  readonly #port: PortCounters;
  readonly #base: number;
  readonly #epoll = new Epoll();
  readonly #packets = new PacketBuffer();
  readonly #signaller: EventSignaller;
  readonly #message = new Uint8Array(MEMIF_MESSAGE_BYTES);
  /** By descriptor, oldest first. */
  readonly #connections = new Map<number, Connection>();
  #listener = -1;
  /** The socket file's, so that only our own is removed. */
  #inode = 0;
  /** Whose memory is mapped: the one with the link, or a client's on its way there. */
  #mapped: Connection | null = null;
  #mappedBytes = 0;
  #waitedOn: number[] = [];
  #connectedAt_ms = 0;

  /** Listens, or connects. @throws SystemError */
  constructor(arena: Arena, options: MemifControlOptions, port: PortCounters) {
    this.#arena = arena;
    this.#options = options;
    this.#port = port;
    this.#base = libc().addressOf(arena.u8);
    try {
      this.#signaller = new EventSignaller();
    } catch (error) {
      this.#epoll.close();
      this.#packets.free();
      throw error;
    }
    try {
      if (options.role === 'client') this.#connect();
      else this.#listen();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Polls readable when `look` has something to do, or a reader's ring was signalled. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** Whether somebody is on the way to a link. */
  get pending(): boolean {
    return this.#connections.size > (this.link === null ? 0 : 1);
  }

  /**
   * Takes what has come. Swallows signals: who calls it looks at the rings afterwards.
   * @throws PortError when a server will never have us: what it says is wrong, or it speaks another version
   */
  look(): void {
    this.#port.syscalls++;
    for (const fd of this.#epoll.readable()) {
      const connection = this.#connections.get(fd);
      if (fd === this.#listener) this.#accept();
      else if (connection !== undefined) this.#receive(connection);
    }
    if (this.#options.role === 'client' && this.#connections.size === 0) this.#reconnect();
  }

  /** Only whether the peer of the link has something to say, or is gone; swallows no signals. */
  lookAtPeer(): void {
    if (this.#mapped !== null) this.#receive(this.#mapped);
  }

  /** Wakes the reader of what was written. */
  signal(): void {
    if (this.link === null) return;
    this.#port.syscalls++;
    this.#signaller.signal(this.link.writerEventfd);
  }

  /** Ends the link, whose peer wrote what can't be. */
  fail(reason: string): void {
    this.counters.faults++;
    if (this.#mapped !== null) this.#end(this.#mapped, reason);
  }

  /** Ends everything. Idempotent only by its caller. */
  close(): void {
    for (const connection of [...this.#connections.values()]) this.#end(connection, 'closed');
    if (this.#listener >= 0) {
      closeSync(this.#listener);
      const { socket } = this.#options;
      if (lstatSync(socket, { throwIfNoEntry: false })?.ino === this.#inode) rmSync(socket, { force: true });
    }
    this.#epoll.close();
    this.#packets.free();
    this.#signaller.close();
  }

  #listen(): void {
    const { socket } = this.#options;
    this.#listener = listenSeqpacket(socket);
    if (!socket.startsWith('@')) this.#inode = lstatSync(socket).ino;
    this.#epoll.add(this.#listener, false);
  }

  #accept(): void {
    for (let i = 0; i < ACCEPTS_PER_LOOK; i++) {
      this.#port.syscalls++;
      const fd = acceptSeqpacket(this.#listener);
      if (fd < 0) return;
      const pending = [...this.#connections.values()].filter((other) => other !== this.#mapped);
      if (pending.length >= PENDING_MAX) this.#end(pending[0], 'too many connections');
      const { identity, shape, roomBytes } = this.#options;
      const attach = (offer: MemifOffer): string | null => this.#attach(connection, offer);
      const handshake = new ServerHandshake(identity, shape, roomBytes, attach);
      const connection: Connection = { fd, handshake, fds: [] };
      this.#open(connection);
    }
  }

  #connect(): void {
    this.#connectedAt_ms = performance.now();
    const { identity, shape, socket } = this.#options;
    const fd = connectSeqpacket(socket);
    const create = (agreed: MemifShape) => {
      memory = clientMemory(agreed, this.#options.bufferBytes);
      fds = this.#share(connection, memory);
      return { memory, fds };
    };
    let memory: ClientMemory | undefined;
    let fds: SharedDescriptors | undefined;
    const connected = (): void => {
      if (memory !== undefined && fds !== undefined) this.#use(memory, fds);
    };
    const handshake = new ClientHandshake(identity, shape, create, connected);
    const connection: Connection = { fd, handshake, fds: [] };
    this.#open(connection);
  }

  #reconnect(): void {
    if (performance.now() - this.#connectedAt_ms < RECONNECT_MS) return;
    this.#port.syscalls++;
    try {
      this.#connect();
    } catch (error) {
      // Nobody is there yet.
      if (!(error instanceof SystemError)) throw error;
    }
  }

  #open(connection: Connection): void {
    this.#connections.set(connection.fd, connection);
    this.#epoll.add(connection.fd, false);
    const { greeting } = connection.handshake;
    if (greeting !== null && !this.#send(connection, greeting, -1)) this.#end(connection, '');
  }

  #send(connection: Connection, message: MemifMessage, fd: number): boolean {
    this.#port.syscalls++;
    encodeMemif(message, this.#message);
    return this.#packets.send(connection.fd, this.#message, fd);
  }

  #receive(connection: Connection): void {
    for (let i = 0; i < MESSAGES_PER_LOOK && this.#connections.get(connection.fd) === connection; i++) {
      this.#port.syscalls++;
      const packet = this.#packets.receive(connection.fd);
      if (packet === null) return;
      if (packet === undefined) {
        this.#end(connection, '');
        return;
      }
      const message = decodeMemif(packet.bytes);
      // Only what has a use is kept: an end of this connection among them would keep us from seeing it end.
      const wanted = message?.type === 'addRegion' || message?.type === 'addRing';
      if (wanted && packet.fds.length === 1) connection.fds.push(packet.fds[0]);
      else for (const fd of packet.fds) closeSync(fd);
      if (message === null) this.#refuse(connection, 'EPROTO', 'a message that there is not');
      else this.#step(connection, message, wanted && packet.fds.length === 1 ? packet.fds[0] : -1);
    }
  }

  #step(connection: Connection, message: MemifMessage, fd: number): void {
    let step: ReturnType<Handshake['receive']>;
    try {
      step = connection.handshake.receive(message, fd);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#refuse(connection, error.code, error.message);
      return;
    }
    switch (step.to) {
      case 'send':
        if (!this.#send(connection, step.message, step.fd)) this.#end(connection, '');
        break;
      case 'up':
        this.counters.links++;
        if (step.message !== null && !this.#send(connection, step.message, -1)) this.#end(connection, '');
        break;
      case 'refuse':
        this.#refuse(connection, step.code, step.reason);
        break;
      case 'end':
        if (connection !== this.#mapped || this.link === null) this.counters.refused++;
        this.#end(connection, '');
        this.#throwAtFirst('ECONNREFUSED', `the server refused: ${step.reason}`);
        break;
    }
  }

  #refuse(connection: Connection, code: string, reason: string): void {
    this.counters.refused++;
    this.#end(connection, reason);
    this.#throwAtFirst(code, reason);
  }

  /** A client that a server has had before tries again: the server may be starting. */
  #throwAtFirst(code: string, reason: string): void {
    if (this.#options.role === 'server' || this.counters.links > 0) return;
    throw new PortError(code, `memif:${this.#options.socket}: ${reason}; check id, mode and secret`);
  }

  /** @param reason Told to the other side unless ''. */
  #end(connection: Connection, reason: string): void {
    if (reason !== '') this.#send(connection, { type: 'disconnect', code: 0, reason }, -1);
    if (this.#mapped === connection) this.#unmap();
    this.#epoll.remove(connection.fd);
    this.#connections.delete(connection.fd);
    for (const fd of connection.fds) closeSync(fd);
    closeSync(connection.fd);
  }

  /** Server: takes a client's memory. @returns what is wrong with it, or null */
  #attach(connection: Connection, offer: MemifOffer): string | null {
    if (this.#mapped !== null) return 'Already connected';
    if (offer.toServer.length === 0 || offer.toClient.length === 0) return 'no rings';
    this.#mapped = connection;
    const fault = this.#attachMapped(offer);
    if (fault !== null) this.#unmap();
    return fault;
  }

  #attachMapped({ regions: offered, toServer, toClient }: MemifOffer): string | null {
    const regions = new MemifRegions(this.#arena, this.#options.tableAt);
    for (const { fd, bytes } of offered) {
      const fault = sharedMemoryFault(fd, bytes);
      if (fault !== null) return fault;
      const at = this.#map(fd, bytes, false);
      if (at === 0) return 'regions that don’t fit';
      regions.add(at, bytes);
    }
    for (const place of [...toServer, ...toClient]) {
      const fault = ringFault(regions, place);
      if (fault !== null) return fault;
      if (!this.#signaller.signal(place.fd)) return 'a ring whose descriptor is no eventfd';
    }
    const [first] = toClient;
    this.#waitOn(toServer.map((ring) => ring.fd));
    this.link = {
      readers: toServer.map((place) => new MemifRing(regions, place, true, null)),
      writer: new MemifRing(regions, first, false, null),
      writerEventfd: first.fd,
    };
    return null;
  }

  /** Client: makes the memory. */
  #share(connection: Connection, memory: ClientMemory): SharedDescriptors {
    const keep = (fd: number): number => {
      connection.fds.push(fd);
      return fd;
    };
    const fd = keep(createSharedMemory('millrace memif', memory.bytes));
    this.#mapped = connection;
    const at = this.#map(fd, memory.bytes, true);
    if (at === 0) throw new Error('the room carved is for larger rings than these');
    const { i32 } = this.#arena;
    for (const { offset } of [...memory.toServer, ...memory.toClient]) i32[(at + offset) >> 2] = RING_COOKIE;
    return {
      memory: fd,
      toServer: memory.toServer.map(() => keep(createEventfd())),
      toClient: memory.toClient.map(() => keep(createEventfd())),
    };
  }

  /** Client: the rings may be used now. Earlier, and a server that resets them would undo it. */
  #use(memory: ClientMemory, fds: SharedDescriptors): void {
    const regions = new MemifRegions(this.#arena, this.#options.tableAt);
    regions.add(this.#options.roomAt, memory.bytes);
    this.#waitOn([...fds.toClient]);
    const [first] = memory.toServer;
    this.link = {
      readers: memory.toClient.map((place) => new MemifRing(regions, place, false, place.buffers)),
      writer: new MemifRing(regions, first, true, first.buffers),
      writerEventfd: fds.toServer[0],
    };
  }

  #waitOn(fds: readonly number[]): void {
    for (const fd of fds) {
      this.#epoll.add(fd, true);
      this.#waitedOn.push(fd);
    }
  }

  /** @returns where it is in the arena; 0 when there is no room. */
  #map(fd: number, bytes: number, populate: boolean): number {
    const { roomAt, roomBytes } = this.#options;
    const pages = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
    if (this.#mappedBytes + pages > roomBytes) return 0;
    const at = roomAt + this.#mappedBytes;
    mapShared(this.#base + at, pages, fd, populate);
    this.#mappedBytes += pages;
    return at;
  }

  #unmap(): void {
    this.link = null;
    this.#mapped = null;
    for (const fd of this.#waitedOn.splice(0)) this.#epoll.remove(fd);
    if (this.#mappedBytes > 0) unmapShared(this.#base + this.#options.roomAt, this.#mappedBytes);
    this.#mappedBytes = 0;
  }
}
