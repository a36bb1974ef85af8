/** One TCP socket as a program of POSIX's has it, over a connection or a listener of the engine's. */
import type { Engine } from '../engine/engine.ts';
import type { Conn } from '../engine/handlers.ts';
import { FLAG, STATE, TCB } from '../tcp/block.ts';
import { fastOpenRoom } from '../tcp/fast-open.ts';
import { CLOSED_CLEAN, CLOSED_CODES } from '../tcp/reasons.ts';
import { ErrorQueue } from './error-queue.ts';
import type { Flow } from './flow.ts';
import { chunkRoom, chunksWritable } from './linux-buffer.ts';

export type SocketState = 'fresh' | 'listening' | 'connecting' | 'connected' | 'ended';

/** What POLLIN and the others tell, by the names that all systems have for them. */
export interface Readiness {
  readonly readable: boolean;
  readonly writable: boolean;
  readonly error: boolean;
  /** Both directions are over; the peer's is. */
  readonly hangUp: boolean;
  readonly readHangUp: boolean;
}

export class TcpSocket {
  readonly engine: Engine;
  readonly version: 4 | 6;
  state: SocketState = 'fresh';
  conn: Conn = 0;
  listener = -1;
  backlog = 0;
  /** Of a listener: established, not accepted. */
  readonly accepted: TcpSocket[] = [];
  /** How packets of this socket are known; null before any. */
  flow: Flow | null = null;
  bound: { readonly address: string; readonly port: number } | null = null;
  nonBlocking = false;
  /** Pending SO_ERROR, by name. */
  error: string | null = null;
  /** Accepted from a listener; its SYN brought data. */
  passive = false;
  synData = false;
  /** Payload of its own SYN, and whether the SYN-ACK acknowledged all of it. */
  synBytes = 0;
  synTaken = false;
  /** Bytes of a call that waits for the connection: they leave with the ACK of the SYN-ACK. */
  atOpen = 0;
  readonly errors = new ErrorQueue();
  /** Bytes that were taken from the program. */
  written = 0;
  /** Where a connect() that waits for the first data goes to (TCP_FASTOPEN_CONNECT). */
  deferred: { readonly address: string; readonly port: number } | null = null;
  /** MSG_MORE was used. */
  saidMore = false;
  /** us for which data was queued; of these, that the peer's window, and our buffer with a program that waits, were the limit. */
  readonly limited = { busy: 0, window: 0, buffer: 0 };
  #limitedUs = 0;
  #limit: 'none' | 'busy' | 'window' | 'buffer' = 'none';
  /** Segments sent, those of them with data, and bytes sent again. */
  readonly counted = { segs_out: 0, data_segs_out: 0, bytes_retrans: 0 };
  /** Where what was sent ends; null before any. */
  sentEnd: number | null = null;
  /** When that last happened, ms of the script's time. */
  readonly last = { data_sent: 0, data_recv: 0, ack_recv: 0 };
  /** Bytes received and not read, before the last breath; and what the connection left when it ended. */
  unread = 0;
  #left = 0;
  /** connect() was told that it succeeded. */
  connectTold = false;
  /** Descriptors that refer to it. */
  references = 1;
  readShut = false;
  writeShut = false;
  eof = false;
  /** A write ended a record (MSG_EOR), and the bytes of others that wait until it has left. */
  record = false;
  /** Bytes of the segments that the next write is cut into, for want of room for more pieces of memory in one. */
  pieces: readonly number[] = [];
  #later: { bytes: number; readonly record: boolean }[] = [];
  /** Bytes that TCP_CORK or MSG_MORE hold back. */
  held = 0;
  corked = false;
  /** Since when, us, and what was acknowledged then. */
  #heldUs = 0;
  #heldUna = 0;
  /** Set by setsockopt, by level and option. */
  readonly options = new Map<string, number | string>();
  receiveBuffer: number;
  sendBuffer: number;
  /** The receive buffer was set by the program, and grows no more. */
  receiveBufferFixed = false;
  sendBufferFixed = false;
  /** Linux: a buffer that was set is filled in chunks, see linux-buffer.ts. */
  chunked = false;
  /** A write waits for room; one found none, and whoever waits for some is to be told. */
  blocked = false;
  noRoom = false;
  /** Where the last segment ends that was smaller than it could be; null before any. */
  smallEnd: number | null = null;
  /** The most that was outstanding at once in a round trip, bytes, and where that ends. */
  most = 0;
  mostEnd = 0;
  /** The connection has the buffers that the socket has. */
  sized = false;
  /** Counted for edge-triggered waiting: arrivals, and times that room was made. */
  arrivals = 0;
  rooms = 0;
  /** How many bytes a read in progress still wants, and what it got. */
  #wanted = 0;
  #got = 0;

  constructor(engine: Engine, version: 4 | 6, receiveBuffer: number, sendBuffer: number) {
    this.engine = engine;
    this.version = version;
    this.receiveBuffer = receiveBuffer;
    this.sendBuffer = sendBuffer;
  }

  /** The control block, or 0 when the connection is over. */
  get block(): number {
    return this.conn === 0 ? 0 : this.engine.tcp.blocks.find(this.conn);
  }

  // --- what the engine's handlers call

  opened(): void {
    if (this.state === 'connecting' || this.state === 'fresh') this.state = 'connected';
    this.rooms++;
  }

  /** @returns how much of `length` bytes a read in progress takes */
  offered(length: number): number {
    if (this.readShut) return length;
    const taken = Math.min(this.#wanted, length);
    this.#wanted -= taken;
    this.#got += taken;
    if (taken === 0) this.arrivals++;
    return taken;
  }

  ended(): void {
    this.eof = true;
    this.arrivals++;
  }

  closed(reason: number): void {
    if (reason !== CLOSED_CLEAN) this.error = CLOSED_CODES[reason];
    this.#left = this.unread;
    if (reason === CLOSED_CLEAN) this.eof = true;
    this.state = 'ended';
    this.conn = 0;
    this.arrivals++;
    this.rooms++;
  }

  // --- what system calls ask

  get readable(): number {
    const t = this.block;
    return t === 0 ? this.#left : this.engine.tcp.m[t + TCB.RCVQ_LENGTH];
  }

  /** The peer's FIN came, and all before it was read. */
  get atEnd(): boolean {
    return this.readable === 0 && this.#readOver;
  }

  /** Nothing more will come. */
  get #readOver(): boolean {
    const t = this.block;
    return (
      this.eof || this.readShut || (t !== 0 && (this.engine.tcp.m[t + TCB.FLAGS] & FLAG.FIN_RECEIVED) !== 0)
    );
  }

  /** How much the SYN of this connection may take along: the peer has given a cookie before. */
  get synRoom(): number {
    const t = this.block;
    return t === 0 ? 0 : fastOpenRoom(this.engine.tcp, t, 0);
  }

  /** @returns bytes that were queued */
  get unacknowledged(): number {
    const t = this.block;
    return this.#waiting + (t === 0 ? 0 : this.engine.tcp.m[t + TCB.SNDQ_LENGTH]);
  }

  /** Taken from the program, and not given to the engine. */
  get #waiting(): number {
    return this.#later.reduce((sum, { bytes }) => sum + bytes, this.held);
  }

  get unsent(): number {
    const t = this.block;
    if (t === 0) return this.#waiting;
    const { m } = this.engine.tcp;
    const outstanding = (m[t + TCB.SND_NXT] - m[t + TCB.SND_UNA]) | 0;
    return this.#waiting + Math.max(0, m[t + TCB.SNDQ_LENGTH] - outstanding);
  }

  /** Whether there is data behind `end`, a sequence number as on the wire. */
  writtenPast(end: number): boolean {
    const t = this.block;
    if (t === 0) return false;
    const { m } = this.engine.tcp;
    return ((m[t + TCB.SND_UNA] + m[t + TCB.SNDQ_LENGTH] - end) | 0) > 0;
  }

  /** SO_RCVTIMEO or SO_SNDTIMEO, us; without end unless set. */
  timeoutUs(name: string): number {
    return Number(this.options.get(name) ?? 0) || Number.POSITIVE_INFINITY;
  }

  /** SO_RCVLOWAT: bytes that a read waits for. */
  get readLeast(): number {
    return Math.max(1, Number(this.options.get('SO_RCVLOWAT') ?? 1));
  }

  get room(): number {
    const room = Math.max(0, this.engine.sendRoom(this.conn) - this.#waiting);
    return this.limitsChunks ? Math.min(room, chunkRoom(this)) : room;
  }

  /** Its buffer is filled chunk by chunk. */
  get limitsChunks(): boolean {
    return (
      this.chunked && this.block !== 0 && (this.sendBufferFixed || this.lowWater < Number.POSITIVE_INFINITY)
    );
  }

  /** TCP_NOTSENT_LOWAT, bytes. */
  get lowWater(): number {
    return Number(this.options.get('TCP_NOTSENT_LOWAT') ?? Number.POSITIVE_INFINITY);
  }

  /** Takes up to `length` bytes out of the receive queue. */
  read(length: number): number {
    this.#wanted = length;
    this.#got = 0;
    if (this.block === 0) {
      this.#got = Math.min(length, this.#left);
      this.#left -= this.#got;
    } else this.engine.resume(this.conn);
    return 0;
  }

  /** What the read that `read` began got, once the engine has breathed. */
  readDone(): number {
    this.#wanted = 0;
    return this.#got;
  }

  /** Queues zeros; with `more` (or corked) only whole segments go. @returns how many were taken */
  write(length: number, more: boolean, record = false): number {
    const taken = Math.min(length, this.room);
    this.saidMore ||= more;
    if (taken <= 0) return 0;
    this.written += taken;
    if (this.pieces.length > 1) {
      for (const bytes of this.pieces) this.#later.push({ bytes, record: true });
      this.pieces = [];
      this.writeRecords();
      return taken;
    }
    this.pieces = [];
    if (record || this.record || this.#later.length > 0) {
      this.#later.push({ bytes: taken, record: record && taken === length });
      this.writeRecords();
      return taken;
    }
    const total = this.held + taken;
    const t = this.block;
    const mss = t === 0 ? 1 : Math.max(1, this.engine.tcp.m[t + TCB.MSS]);
    this.held = more || this.corked ? total % mss : 0;
    if (total > this.held) this.engine.write(this.conn, new Uint8Array(total - this.held));
    return taken;
  }

  /**
   * Linux holds back what more was said to follow only until an ACK comes, unless the socket is corked; and in any case no
   * longer than a retransmission timeout when nothing is outstanding. @returns when to look again, us
   */
  releaseHeld(us: number): number {
    const t = this.block;
    if (this.held === 0 || t === 0) {
      this.#heldUs = 0;
      return Number.POSITIVE_INFINITY;
    }
    const { m } = this.engine.tcp;
    const una = m[t + TCB.SND_UNA];
    if (this.#heldUs === 0) {
      this.#heldUs = us;
      this.#heldUna = una;
    }
    const rto = (this.engine.info(this.conn)?.rto_ms ?? 0) * 1000;
    const idle = una === m[t + TCB.SND_NXT];
    if ((una !== this.#heldUna && !this.corked) || (idle && us >= this.#heldUs + rto)) {
      this.#heldUs = 0;
      this.flush();
      return Number.POSITIVE_INFINITY;
    }
    return idle ? this.#heldUs + rto : Number.POSITIVE_INFINITY;
  }

  /** Data of the next record doesn't go into the last segment of one: it waits until that has left. */
  writeRecords(): void {
    while (this.#later.length > 0) {
      if (this.record && this.unsent > this.#waiting) return;
      const next = this.#later.shift();
      if (next === undefined) return;
      this.record = next.record;
      this.engine.write(this.conn, new Uint8Array(next.bytes));
    }
  }

  /** A record is followed by others: it isn't the last small segment, which Nagle's algorithm holds back. */
  get recordWaits(): boolean {
    return this.#later.length > 0;
  }

  flush(): void {
    const { held } = this;
    this.held = 0;
    if (held > 0) this.engine.write(this.conn, new Uint8Array(held));
  }

  shutdownRead(): void {
    this.readShut = true;
    this.engine.shutdownRead(this.conn);
  }

  shutdownWrite(): void {
    this.flush();
    this.writeShut = true;
    this.engine.shutdown(this.conn);
  }

  /** Tells who waits for room, once there is enough. */
  noteRoom(): void {
    if (!this.noRoom || this.state !== 'connected' || !this.#roomEnough) return;
    this.noRoom = false;
    this.rooms++;
  }

  /** What the error queue is to tell, now that the engine has breathed. */
  noteErrors(us: number): void {
    const progress = { sent: this.written - this.unsent, acked: this.written - this.unacknowledged };
    if (this.errors.advance(progress, us)) this.arrivals++;
  }

  /** Counts what has been the limit since the last breath, as Linux's TCP_INFO has it. */
  noteLimit(us: number): void {
    const passed = us - this.#limitedUs;
    this.#limitedUs = us;
    if (this.#limit !== 'none') this.limited.busy += passed;
    if (this.#limit === 'window' || this.#limit === 'buffer') this.limited[this.#limit] += passed;
    this.#limit = this.#limitNow();
  }

  #limitNow(): 'none' | 'busy' | 'window' | 'buffer' {
    const t = this.block;
    if (t === 0 || this.unacknowledged === 0) return 'none';
    const { m } = this.engine.tcp;
    const outstanding = (m[t + TCB.SND_NXT] - m[t + TCB.SND_UNA]) | 0;
    const next = Math.min(this.unsent, m[t + TCB.MSS]);
    if (next > 0 && outstanding + next > m[t + TCB.CWND]) return 'busy';
    if (next > 0 && outstanding + next > m[t + TCB.SND_WND]) return 'window';
    return next === 0 && this.blocked && outstanding < m[t + TCB.CWND] ? 'buffer' : 'busy';
  }

  /** Bytes outstanding of what its SYN had taken along in vain: for Linux they are sent again. */
  get synAgain(): number {
    const t = this.block;
    if (t === 0 || this.synBytes === 0 || this.synTaken || this.state !== 'connected') return 0;
    const { m } = this.engine.tcp;
    const base = (m[t + TCB.ISS] + 1) | 0;
    const sent = Math.min(this.synBytes, (m[t + TCB.SND_NXT] - base) | 0);
    return Math.max(0, sent - ((m[t + TCB.SND_UNA] - base) | 0));
  }

  takeError(): string | null {
    const { error } = this;
    this.error = null;
    return error;
  }

  readiness(): Readiness {
    if (this.state === 'listening')
      return {
        readable: this.accepted.length > 0,
        writable: false,
        error: false,
        hangUp: false,
        readHangUp: false,
      };
    const over = this.state === 'ended' || this.state === 'fresh';
    const ended = over || this.atEnd;
    return {
      readable: this.readable >= this.readLeast || (ended && this.state !== 'fresh') || this.error !== null,
      writable: over || (this.state === 'connected' && (this.writeShut || this.#roomEnough)),
      error: this.error !== null || this.errors.length > 0,
      hangUp: over || (ended && this.writeShut),
      readHangUp: over || this.#readOver,
    };
  }

  get #roomEnough(): boolean {
    if (this.limitsChunks) return chunksWritable(this);
    return this.sendBufferFixed ? this.room >= this.sendBuffer / 3 : this.room > 0;
  }

  /** RFC 9293's name of its state; a socket whose connection the engine has forgotten is CLOSED. */
  get stateName(): string {
    if (this.state === 'listening') return 'LISTEN';
    return this.engine.info(this.conn)?.state ?? 'CLOSED';
  }
}

/** A block in TIME-WAIT, or half open, counts as a connection that no socket owns. */
export function tableStates(engine: Engine): { state: number; localPort: number; conn: Conn }[] {
  const { m, table } = engine.tcp;
  const found: { state: number; localPort: number; conn: Conn }[] = [];
  for (let i = 0; i <= table.mask; i++) {
    const t = m[table.base + 2 * i + 1];
    if (t === 0) continue;
    const mini = (m[t + TCB.FLAGS] & FLAG.MINI) !== 0;
    found.push({
      state: m[t + TCB.STATE],
      localPort: m[t + TCB.PORTS] & 0xffff,
      conn: mini ? 0 : m[t + TCB.HANDLE],
    });
  }
  return found.filter(({ state }) => state !== STATE.FREE);
}
