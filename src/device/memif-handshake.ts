/** How two memif sides agree, message by message: pure, with what has to be done to the system as callbacks. */
import { MEMIF_VERSION, type MemifMessage, type MemifMode, memifRingBytes } from '../wire/memif.ts';
import { type OwnBuffers, REGIONS_MAX, type RingPlace } from './memif-rings.ts';

/** What both sides must be told alike. */
export interface MemifIdentity {
  /** Of the interface, uint32. */
  readonly id: number;
  readonly mode: MemifMode;
  /** Up to 24 B; '' for none. */
  readonly secret: string;
}

/** How many rings in each direction, and of how many slots. */
export interface MemifShape {
  readonly queues: number;
  readonly ringLog2: number;
}

/** What comes of a message. */
export type Step =
  | { readonly to: 'send'; readonly message: MemifMessage; readonly fd: number }
  /** The link is up; the message, if any, is still to be sent. */
  | { readonly to: 'up'; readonly message: MemifMessage | null }
  | { readonly to: 'refuse'; readonly code: string; readonly reason: string }
  /** The other side has ended it. */
  | { readonly to: 'end'; readonly reason: string };

export interface Handshake {
  /** What to say first, if it is ours to speak. */
  readonly greeting: MemifMessage | null;
  /** @param fd The descriptor that came with it, or -1. */
  receive(message: MemifMessage, fd: number): Step;
}

/** Told by VPP and DPDK, too, when they say who they are. */
const NAME = 'millrace';

function refuse(reason: string, code = 'EPROTO'): Step {
  return { to: 'refuse', code, reason };
}

function send(message: MemifMessage, fd = -1): Step {
  return { to: 'send', message, fd };
}

function unexpected(message: MemifMessage): Step {
  return message.type === 'disconnect'
    ? { to: 'end', reason: message.reason }
    : refuse(`an unexpected message: ${message.type}`);
}

export interface OfferedRegion {
  readonly fd: number;
  readonly bytes: number;
}

export interface OfferedRing extends RingPlace {
  /** An eventfd, if the other side is honest: the ring's writer signals it. */
  readonly fd: number;
}

/** What a client has offered; nothing of it was looked at yet but the numbers of the messages. */
export interface MemifOffer {
  readonly regions: OfferedRegion[];
  readonly toServer: OfferedRing[];
  readonly toClient: OfferedRing[];
}

export class ServerHandshake implements Handshake {
  readonly greeting: MemifMessage;
  readonly #identity: MemifIdentity;
  readonly #shape: MemifShape;
  /** For all regions together. */
  readonly #roomBytes: number;
  /** Maps the memory and takes the rings. @returns what is wrong, or null */
  readonly #attach: (offer: MemifOffer) => string | null;
  readonly #offer: MemifOffer = { regions: [], toServer: [], toClient: [] };
  #state: 'new' | 'known' | 'up' = 'new';

  constructor(
    identity: MemifIdentity,
    shape: MemifShape,
    roomBytes: number,
    attach: (offer: MemifOffer) => string | null,
  ) {
    this.#identity = identity;
    this.#shape = shape;
    this.#roomBytes = roomBytes;
    this.#attach = attach;
    this.greeting = {
      type: 'hello',
      name: NAME,
      versionMin: MEMIF_VERSION,
      versionMax: MEMIF_VERSION,
      regionMax: REGIONS_MAX - 1,
      toClientMax: shape.queues - 1,
      toServerMax: shape.queues - 1,
      ringLog2Max: shape.ringLog2,
    };
  }

  receive(message: MemifMessage, fd: number): Step {
    if (message.type === 'init' && this.#state === 'new') return this.#init(message);
    if (this.#state !== 'known') return unexpected(message);
    switch (message.type) {
      case 'addRegion':
        return this.#addRegion(message, fd);
      case 'addRing':
        return this.#addRing(message, fd);
      case 'connect': {
        const fault = this.#attach(this.#offer);
        if (fault !== null) return refuse(fault);
        this.#state = 'up';
        return { to: 'up', message: { type: 'connected', name: NAME } };
      }
      default:
        return unexpected(message);
    }
  }

  #init({ version, id, mode, secret }: Extract<MemifMessage, { type: 'init' }>): Step {
    const own = this.#identity;
    if (version !== MEMIF_VERSION) return refuse('Incompatible memif version');
    if (id !== own.id) return refuse('ID not found');
    if (mode !== own.mode) return refuse(`Only ${own.mode} mode here`);
    if (secret !== own.secret) return refuse(secret === '' ? 'Secret required' : 'Incorrect secret');
    this.#state = 'known';
    return send({ type: 'ack' });
  }

  #addRegion({ index, bytes }: Extract<MemifMessage, { type: 'addRegion' }>, fd: number): Step {
    const { regions } = this.#offer;
    const taken = regions.reduce((sum, region) => sum + region.bytes, 0);
    if (fd < 0) return refuse('a region without its descriptor');
    if (index !== regions.length || index >= REGIONS_MAX) return refuse(`region ${index} is out of turn`);
    if (!(bytes > 0 && bytes + taken <= this.#roomBytes)) {
      return refuse(`regions of ${bytes + taken} B, where there is room for ${this.#roomBytes}`);
    }
    regions.push({ fd, bytes });
    return send({ type: 'ack' });
  }

  #addRing(message: Extract<MemifMessage, { type: 'addRing' }>, fd: number): Step {
    const { index, region, offset, ringLog2 } = message;
    const rings = message.toServer ? this.#offer.toServer : this.#offer.toClient;
    if (fd < 0) return refuse('a ring without its descriptor');
    if (index !== rings.length || index >= this.#shape.queues) return refuse(`ring ${index} is out of turn`);
    if (ringLog2 > this.#shape.ringLog2) return refuse(`a ring of 2^${ringLog2} slots`);
    rings.push({ fd, region, offset, ringLog2 });
    return send({ type: 'ack' });
  }
}

/** What a client shares: one region. */
export interface ClientMemory {
  readonly bytes: number;
  readonly toServer: readonly ClientRing[];
  readonly toClient: readonly ClientRing[];
}

export interface ClientRing extends RingPlace {
  readonly buffers: OwnBuffers;
}

/** Descriptors of what was made by it, the maker's to close. */
export interface SharedDescriptors {
  readonly memory: number;
  readonly toServer: readonly number[];
  readonly toClient: readonly number[];
}

const LINE = 64;
const PAGE = 4096;

/** The rings to the server, those to the client, and then their buffers in the same order. */
export function clientMemory({ queues, ringLog2 }: MemifShape, bufferBytes: number): ClientMemory {
  const ringBytes = roundUp(memifRingBytes(ringLog2), LINE);
  const buffersAt = roundUp(2 * queues * ringBytes, PAGE);
  const ringBuffers = bufferBytes << ringLog2;
  const rings = Array.from({ length: 2 * queues }, (_, i) => ({
    region: 0,
    offset: i * ringBytes,
    ringLog2,
    buffers: { offset: buffersAt + i * ringBuffers, bytes: bufferBytes },
  }));
  return {
    bytes: roundUp(buffersAt + 2 * queues * ringBuffers, PAGE),
    toServer: rings.slice(0, queues),
    toClient: rings.slice(queues),
  };
}

function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

export class ClientHandshake implements Handshake {
  readonly greeting = null;
  readonly #identity: MemifIdentity;
  readonly #shape: MemifShape;
  /** Makes the memory and the eventfds. */
  readonly #create: (shape: MemifShape) => { memory: ClientMemory; fds: SharedDescriptors };
  /** The server is there, and the rings may be used. */
  readonly #connected: () => void;
  /** Still to be said, each after an ACK. */
  readonly #queue: Extract<Step, { to: 'send' }>[] = [];
  #state: 'new' | 'asked' | 'up' = 'new';

  constructor(
    identity: MemifIdentity,
    shape: MemifShape,
    create: (shape: MemifShape) => { memory: ClientMemory; fds: SharedDescriptors },
    connected: () => void,
  ) {
    this.#identity = identity;
    this.#shape = shape;
    this.#create = create;
    this.#connected = connected;
  }

  receive(message: MemifMessage, _fd: number): Step {
    if (message.type === 'hello' && this.#state === 'new') return this.#hello(message);
    if (this.#state !== 'asked') return unexpected(message);
    const next = message.type === 'ack' ? this.#queue.shift() : undefined;
    if (next !== undefined) return next;
    if (message.type !== 'connected' || this.#queue.length > 0) return unexpected(message);
    this.#state = 'up';
    this.#connected();
    return { to: 'up', message: null };
  }

  #hello(hello: Extract<MemifMessage, { type: 'hello' }>): Step {
    const { versionMin, versionMax } = hello;
    if (versionMin > MEMIF_VERSION || versionMax < MEMIF_VERSION) {
      const range = `${versionText(versionMin)} to ${versionText(versionMax)}`;
      return refuse(
        `it speaks memif ${range}, and we speak ${versionText(MEMIF_VERSION)}`,
        'EPROTONOSUPPORT',
      );
    }
    this.#state = 'asked';
    const { memory, fds } = this.#create({
      queues: Math.min(this.#shape.queues, hello.toServerMax + 1, hello.toClientMax + 1),
      ringLog2: Math.min(this.#shape.ringLog2, hello.ringLog2Max),
    });
    this.#say({ type: 'addRegion', index: 0, bytes: memory.bytes }, fds.memory);
    for (const toServer of [true, false]) {
      const rings = toServer ? memory.toServer : memory.toClient;
      const ringFds = toServer ? fds.toServer : fds.toClient;
      for (const [index, { region, offset, ringLog2 }] of rings.entries()) {
        this.#say({ type: 'addRing', toServer, index, region, offset, ringLog2 }, ringFds[index]);
      }
    }
    this.#say({ type: 'connect', name: NAME });
    return send({ type: 'init', version: MEMIF_VERSION, name: NAME, ...this.#identity });
  }

  #say(message: MemifMessage, fd = -1): void {
    this.#queue.push({ to: 'send', message, fd });
  }
}

function versionText(version: number): string {
  return `${version >> 8}.${version & 255}`;
}
