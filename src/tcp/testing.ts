/**
 * For tests: one engine on a link whose other end is the test, in virtual time. The test speaks TCP by hand, in
 * sequence numbers relative to each side's first; what the engine sends is decoded and waits to be expected.
 */
import { createCable } from '../device/cable.ts';
import type { Port } from '../device/port.ts';
import { type ConnectOptions, Engine, type ListenOptions } from '../engine/engine.ts';
import type { Conn, Handlers } from '../engine/handlers.ts';
import type { Limits } from '../engine/limits.ts';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import { decodeFrame } from '../wire/decode.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { PROTOCOL_TCP } from '../wire/protocols.ts';
import { emitTcp, formatTcpFlags } from '../wire/tcp.ts';
import type { TcpOptionValues } from '../wire/tcp-options.ts';
import type { CongestionControl } from './congestion/control.ts';
import type { TcpInfo } from './info.ts';

/** The engine's port. */
export const PORT = 80;
const PEER_PORT = 5000;
const ADDRESS = {
  4: { engine: '10.0.0.1', peer: '10.0.0.2' },
  6: { engine: 'fd00::1', peer: 'fd00::2' },
} as const;
const FLAG_BITS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, '.': 16, U: 32, E: 64, W: 128, e: 256 };

/** A segment for the engine. What is left out is what a well-behaved peer would send next. */
export interface Given {
  /** As tcpdump writes them: `S`, `S.`, `P.`, `.`, `F.`, `R`; an ACK (`.`) unless told. */
  readonly flags?: string;
  /** Relative to the peer's SYN, which is 0. */
  readonly seq?: number;
  /** Relative to the engine's SYN. */
  readonly ack?: number;
  /** As on the wire, not scaled. */
  readonly window?: number;
  /** Payload bytes, of the peer's stream at `seq`. */
  readonly length?: number;
  /** Besides timestamps, which are sent once agreed. */
  readonly options?: TcpOptionValues;
  /** TSval; the present unless told. null: no timestamps. */
  readonly ts?: number | null;
  readonly urgent?: number;
  /** IP-ECN field: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE. */
  readonly ecn?: number;
  /** Diffserv codepoint. */
  readonly diffserv?: number;
}

/** A segment that the engine sent. Numbers as in `Given`. */
export interface Sent {
  /** ms since the test began. */
  readonly at: number;
  readonly flags: string;
  readonly seq: number;
  readonly ack: number;
  readonly window: number;
  readonly urgent: number;
  readonly length: number;
  readonly payload: Uint8Array;
  readonly options: TcpOptionValues;
  /** IP-ECN field, Diffserv codepoint, TTL or hop limit. */
  readonly ecn: number;
  readonly diffserv: number;
  readonly ttl: number;
  readonly checksumGood: boolean;
}

/** Byte `i` of a stream, the first after the SYN being 1: both sides send it, so that any mix-up is seen. */
export function streamByte(i: number): number {
  return (i * 7 + (i >> 8) * 13) & 0xff;
}

export function stream(from: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => streamByte(from + i));
}

export interface ContextOptions {
  readonly limits?: Partial<Limits>;
  readonly mtu?: number;
  readonly version?: 4 | 6;
  readonly slots?: number;
  /** Program's handlers, called after the recording ones. */
  readonly handlers?: Handlers;
  readonly noDelay?: boolean;
  readonly congestionControls?: readonly CongestionControl[];
}

export class TcpContext {
  readonly arena = new Arena(24 << 20);
  readonly engine: Engine;
  readonly port: Port;
  readonly version: 4 | 6;
  readonly handlers: Handlers;
  readonly noDelay: boolean;
  /** What the program was told, in order: `open`, `data 10`, `urgent 5`, `end`, `writable`, `drained`, `close 0`. */
  readonly told: string[] = [];
  /** Reasons of `report`. */
  readonly reported: number[] = [];
  /** Bytes that the program consumed, and the end of the stream as far as they were right. */
  received = 0;
  /** How many of offered bytes the program takes. */
  takes: (length: number) => number = (length) => length;
  conn: Conn = 0;
  listener = -1;
  now = 10_000;
  readonly #start = 10_000;
  readonly #peers = new Map<number, Peer>();
  readonly peer: Peer;
  /** Segments to ports that no peer has. */
  strays = 0;

  constructor(options: ContextOptions = {}) {
    const { mtu = 1500, version = 4, slots = 64 } = options;
    const [near, far] = createCable(this.arena, 'link', { link: 'ip', mtu, slots });
    this.port = far;
    this.version = version;
    this.noDelay = options.noDelay ?? false;
    this.engine = new Engine({
      arena: this.arena,
      secret: Int32Array.of(1, 2, 3, 4),
      now: this.now,
      congestionControls: options.congestionControls ?? [],
      limits: { connections: 64, miniBlocks: 64, chunks: 1024, records: 1024, ...options.limits },
    });
    const addresses =
      mtu >= 1280 ? [`${ADDRESS[4].engine}/24`, `${ADDRESS[6].engine}/64`] : [`${ADDRESS[4].engine}/24`];
    this.engine.addInterface(near, { addresses });
    this.engine.onHandlerError = (error) => {
      throw error;
    };
    const then = options.handlers ?? {};
    this.handlers = {
      open: (conn) => {
        this.conn = conn;
        this.told.push('open');
        then.open?.(conn);
      },
      data: (conn, at, length) => {
        this.told.push(`data ${length}`);
        const taken = then.data?.(conn, at, length) ?? this.takes(length);
        for (let i = 0; i < taken; i++) {
          const byte = this.arena.u8[at + i];
          if (byte !== streamByte(this.received + 1))
            throw new Error(`byte ${this.received} that was received is wrong`);
          this.received++;
        }
        return taken;
      },
      urgent: (conn, ahead) => {
        this.told.push(`urgent ${ahead}`);
        then.urgent?.(conn, ahead);
      },
      end: (conn) => {
        this.told.push('end');
        then.end?.(conn);
      },
      writable: (conn) => {
        this.told.push('writable');
        then.writable?.(conn);
      },
      drained: (conn) => {
        this.told.push('drained');
        then.drained?.(conn);
      },
      report: (conn, reason) => {
        this.reported.push(reason);
        then.report?.(conn, reason);
      },
      close: (conn, reason) => {
        this.told.push(`close ${reason}`);
        then.close?.(conn, reason);
      },
    };
    this.peer = this.addPeer(PEER_PORT);
  }

  /** Another remote end, by its port. */
  addPeer(port: number): Peer {
    const peer = new Peer(this, port);
    this.#peers.set(port, peer);
    return peer;
  }

  listen(options: Partial<ListenOptions> = {}): this {
    this.listener = this.engine.listen({ port: PORT, noDelay: this.noDelay, ...options }, this.handlers);
    return this;
  }

  /** The engine opens a connection to the peer, whose port is then the remote one. */
  connect(options: Partial<ConnectOptions> = {}): this {
    this.open(options);
    this.run();
    return this;
  }

  /** `connect`, but the program goes on before the SYN leaves. */
  open(options: Partial<ConnectOptions> = {}): void {
    this.conn = this.engine.connect(
      {
        address: ADDRESS[this.version].peer,
        localAddress: ADDRESS[this.version].engine,
        port: PEER_PORT,
        localPort: PORT,
        noDelay: this.noDelay,
        ...options,
      },
      this.handlers,
    );
  }

  /** Both sides have what they offer; the window that the peer tells is unscaled. */
  establish(options: TcpOptionValues = {}, given: Given = {}): this {
    this.listen();
    this.peer.inject({ flags: 'S', options, ...given });
    this.peer.expect({ flags: 'S.', seq: 0, ack: 1 });
    this.peer.inject({ window: given.window ?? 65_535 });
    this.peer.expectNothing();
    if (this.told.pop() !== 'open') throw new Error('not open');
    return this;
  }

  /** The next `length` bytes of the engine's stream. */
  write(length: number): number {
    const n = this.engine.write(this.conn, stream(this.written + 1, length));
    if (n > 0) this.written += n;
    this.run();
    return n;
  }
  written = 0;

  get info(): TcpInfo {
    const info = this.engine.info(this.conn);
    if (info === null) throw new Error('the connection is gone');
    return info;
  }

  get state(): string {
    return this.engine.info(this.conn)?.state ?? 'gone';
  }

  /** What the program was told since the last call. */
  events(): string[] {
    return this.told.splice(0);
  }

  /** Breathes until there is nothing to do at this time. */
  run(): void {
    for (let i = 0; i < 1000; i++) {
      const work = this.engine.breath(this.now);
      this.#collect();
      if (work === 0) return;
    }
    throw new Error('the engine never comes to rest');
  }

  /** Lets time pass, from deadline to deadline. */
  pass(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      this.run();
      const next = this.now + Math.max(1, this.engine.nextDeadline());
      if (next > end) break;
      this.now = next;
    }
    this.now = end;
    this.run();
  }

  /** Gives a packet to the engine. */
  packet(bytes: Uint8Array): void {
    const { tx } = this.port;
    if (tx.available === 0) throw new Error('the link is full');
    const slot = tx.slot(tx.head);
    this.arena.u8.set(bytes, tx.m[slot + DESC_AT]);
    tx.m[slot + DESC_LENGTH] = bytes.length;
    tx.m[slot + DESC_FLAGS] = 0;
    tx.head = (tx.head + 1) | 0;
    this.port.txSync();
  }

  /** Wraps a segment of a peer's for the engine. */
  wrap(segment: Parameters<typeof emitTcp>[0], tos = 0): Uint8Array {
    const { engine: dst, peer: src } = ADDRESS[this.version];
    const payload = emitTcp(segment, { src, dst });
    return this.version === 4
      ? emitIpv4Packet({ src, dst, protocol: PROTOCOL_TCP, tos, payload })
      : emitIpv6Packet({ src, dst, nextHeader: PROTOCOL_TCP, trafficClass: tos, payload });
  }

  #collect(): void {
    const { port } = this;
    while (port.rxSync() > 0) {
      const slot = port.rx.slot(port.rx.head);
      const at = port.rx.m[slot + DESC_AT];
      const { tcp, ipv4, ipv6, checksumGood } = decodeFrame(
        this.arena.u8.slice(at, at + port.rx.m[slot + DESC_LENGTH]),
        'ip',
      );
      port.rx.head = (port.rx.head + 1) | 0;
      if (tcp === undefined) continue;
      const peer = this.#peers.get(tcp.dstPort);
      if (peer === undefined) {
        this.strays++;
        continue;
      }
      peer.arrived({
        at: this.now - this.#start,
        flags: formatTcpFlags(tcp.flags),
        seq: tcp.seq,
        ack: tcp.ack,
        window: tcp.window,
        urgent: tcp.urgent,
        length: tcp.payload.length,
        payload: tcp.payload,
        options: tcp.options,
        ecn: (ipv4?.tos ?? ipv6?.trafficClass ?? 0) & 3,
        diffserv: (ipv4?.tos ?? ipv6?.trafficClass ?? 0) >> 2,
        ttl: ipv4?.ttl ?? ipv6?.hopLimit ?? 0,
        checksumGood: checksumGood === true,
      });
    }
  }
}

/** The other end of one connection, played by the test. */
export class Peer {
  readonly context: TcpContext;
  readonly port: number;
  /** First sequence numbers: the peer's own, and the engine's once it was seen. */
  iss = 0x7fff_ff00;
  irs = 0;
  /** Relative: what the peer sends next, and expects next. */
  sndNxt = 0;
  rcvNxt = 0;
  /** Timestamps were in our SYN, and in the engine's; the last TSval received. */
  #offersTs = false;
  #engineTs = false;
  tsRecent = 0;
  /** Set once the engine's first number is known; before, its numbers are shown as they are. */
  known = false;
  readonly #sent: Sent[] = [];

  constructor(context: TcpContext, port: number) {
    this.context = context;
    this.port = port;
  }

  /** Sends a segment to the engine, which handles it at once. */
  inject(given: Given = {}): void {
    this.send(given);
    this.context.run();
  }

  /** `inject`, but the engine handles it with the next ones, in one batch. */
  send(given: Given = {}): void {
    this.context.packet(this.bytes(given));
  }

  bytes(given: Given): Uint8Array {
    const {
      flags = '.',
      seq = this.sndNxt,
      ack = this.rcvNxt,
      window = 65_535,
      length = 0,
      urgent = 0,
    } = given;
    const bits = [...flags].reduce((sum, letter) => sum | FLAG_BITS[letter], 0);
    const syn = flags.includes('S');
    let options = given.options ?? {};
    const value = given.ts === undefined ? this.context.now : given.ts;
    if (syn) this.#offersTs = options.timestamps !== undefined;
    if (value !== null && this.#offersTs && (syn || this.#engineTs)) {
      options = { ...options, timestamps: { value: value >>> 0, echo: this.tsRecent >>> 0 } };
    }
    const bytes = this.context.wrap(
      {
        srcPort: this.port,
        dstPort: PORT,
        seq: (this.iss + seq) | 0,
        ack: flags.includes('.') ? (this.irs + ack) | 0 : 0,
        flags: bits,
        window,
        urgent,
        options,
        payload: stream(seq + (syn ? 1 : 0), length),
      },
      (given.ecn ?? 0) | ((given.diffserv ?? 0) << 2),
    );
    if (given.seq === undefined) this.sndNxt = seq + length + (syn ? 1 : 0) + (flags.includes('F') ? 1 : 0);
    return bytes;
  }

  /** A segment came from the engine. */
  arrived(raw: Sent): void {
    const syn = raw.flags.includes('S');
    if (syn && !raw.flags.includes('R')) {
      if (this.irs !== (raw.seq | 0)) this.rcvNxt = 0;
      this.irs = raw.seq | 0;
      this.known = true;
      this.#engineTs = raw.options.timestamps !== undefined;
    }
    if (raw.options.timestamps !== undefined) this.tsRecent = raw.options.timestamps.value;
    const seq = this.known ? (raw.seq - this.irs) | 0 : raw.seq;
    const ack = raw.flags.includes('.') ? (raw.ack - this.iss) | 0 : 0;
    const end = seq + raw.length + (syn || raw.flags.includes('F') ? 1 : 0);
    if (this.known && seq <= this.rcvNxt && end > this.rcvNxt) this.rcvNxt = end;
    if (!raw.checksumGood) throw new Error('the engine sent a wrong checksum');
    if (raw.length > 0) {
      const right = stream(seq + (syn ? 1 : 0), raw.length);
      if (raw.payload.some((byte, i) => byte !== right[i]))
        throw new Error(`the engine sent wrong bytes at ${seq}`);
    }
    this.#sent.push({ ...raw, seq, ack });
  }

  /** Takes the next segment that the engine sent, which must have these fields. */
  expect(fields: Partial<Omit<Sent, 'payload'>> = {}): Sent {
    const sent = this.#sent.shift();
    if (sent === undefined) throw new Error(`expected ${JSON.stringify(fields)}, but nothing was sent`);
    for (const [key, value] of Object.entries(fields)) {
      const got = sent[key as keyof Sent];
      if (JSON.stringify(got) === JSON.stringify(value)) continue;
      throw new Error(
        `${key}: expected ${JSON.stringify(value)}, got ${JSON.stringify(got)} in ${describeSent(sent)}`,
      );
    }
    return sent;
  }

  expectNothing(): void {
    if (this.#sent.length > 0)
      throw new Error(`nothing was expected, but came ${this.#sent.map(describeSent).join('; ')}`);
  }

  /** All that the engine sent since the last look. */
  take(): Sent[] {
    return this.#sent.splice(0);
  }
}

function describeSent(s: Sent): string {
  const options = JSON.stringify(s.options);
  return `${s.at} ms [${s.flags}] seq ${s.seq} ack ${s.ack} win ${s.window} length ${s.length} ${options}`;
}

/** What a peer of today offers. */
export const MODERN: TcpOptionValues = {
  mss: 1460,
  sackPermitted: true,
  windowScale: 7,
  timestamps: { value: 0, echo: 0 },
};
