/**
 * For tests: two engines in virtual time with a bottleneck between them: a rate, a drop-tail queue, a delay. The way
 * back only has the delay. Time goes on in steps of some us, in which each engine takes a breath.
 */
import { createCable } from '../../device/cable.ts';
import type { Port } from '../../device/port.ts';
import { Engine, type EngineOptions } from '../../engine/engine.ts';
import type { Conn } from '../../engine/handlers.ts';
import { Arena } from '../../memory/arena.ts';
import { Prng } from '../../memory/prng.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH } from '../../memory/ring.ts';
import type { TcpInfo } from '../info.ts';
import type { TcpLimits } from '../tcp.ts';

export const NEAR = '10.0.0.1';
export const FAR = '10.0.0.2';
export const WIRE_PORT = 7;
/** Frames that are longer have data. */
const HEADERS_MAX = 120;

export interface WireOptions {
  readonly mbps: number;
  readonly rtt_ms: number;
  /** In bandwidth-delay products; 2 unless told. */
  readonly queue?: number;
  /** Probability that a segment with data is lost beyond what the queue drops. */
  readonly loss?: number;
  readonly seed?: number;
  readonly mtu?: number;
  readonly step_us?: number;
  readonly limits?: Partial<TcpLimits>;
  readonly congestionControls?: EngineOptions['congestionControls'];
}

/** What is under way in one direction; each entry holds a frame, each free one a spare buffer. */
class Channel {
  readonly #m: Int32Array;
  readonly #free: Int32Array[] = [];
  readonly #line: { due: number; words: Int32Array }[] = [];
  #head = 0;

  constructor(arena: Arena, name: string, frames: number, frameBytes: number) {
    this.#m = arena.i32;
    const stride = (frameBytes + 63) & -64;
    const base = arena.carve(name, frames * stride);
    for (let i = 0; i < frames; i++) this.#free.push(Int32Array.of(base + i * stride, 0, 0, 0));
  }

  take(slot: number, due: number): void {
    const words = this.#free.pop();
    if (words === undefined) throw new Error('the wire holds more frames than it has buffers');
    const m = this.#m;
    const spare = words[DESC_AT];
    for (const word of [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX]) words[word] = m[slot + word];
    m[slot + DESC_AT] = spare;
    this.#line.push({ due, words });
  }

  /** Puts what is due into the port's tx ring, as far as there are slots. */
  give(to: Port, now: number): void {
    const m = this.#m;
    const { tx } = to;
    while (this.#head < this.#line.length && this.#line[this.#head].due <= now && tx.available > 0) {
      const { words } = this.#line[this.#head++];
      const slot = tx.slot(tx.head);
      const spare = m[slot + DESC_AT];
      for (const word of [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX]) m[slot + word] = words[word];
      words[DESC_AT] = spare;
      this.#free.push(words);
      tx.head = (tx.head + 1) | 0;
    }
    to.txSync();
    if (this.#head <= 4096) return;
    this.#line.splice(0, this.#head);
    this.#head = 0;
  }
}

export class Wire {
  readonly a: Engine;
  readonly b: Engine;
  readonly arena: Arena;
  now = 10_000;
  /** Payload that b's program got. */
  received = 0;
  drops = 0;
  /** Largest burst: bytes that a sent in one step. */
  burst = 0;
  queuePeak = 0;
  readonly bytesPerMs: number;
  readonly queueMax: number;
  readonly #rtt_ms: number;
  readonly #loss: number;
  readonly #prng: Prng;
  readonly #step_ms: number;
  readonly #near: Port;
  readonly #far: Port;
  readonly #forth: Channel;
  readonly #back: Channel;
  #freeAt = 0;
  conn: Conn = 0;

  constructor(options: WireOptions) {
    const { mbps, rtt_ms, queue = 2, mtu = 1500, step_us = 100, loss = 0, seed = 1 } = options;
    this.#loss = loss;
    this.#prng = new Prng(seed);
    this.bytesPerMs = mbps * 125;
    this.#rtt_ms = rtt_ms;
    this.#step_ms = step_us / 1000;
    const bdp = this.bytesPerMs * rtt_ms;
    this.queueMax = queue * bdp;
    const frames = Math.ceil(((queue + 3) * bdp) / mtu) + 256;
    const limits = { connections: 8, miniBlocks: 8, chunks: 2048, ...options.limits };
    this.arena = new Arena(
      (16 << 20) + frames * (mtu + 128) * 2 + limits.chunks * 2200 * 2 + 2048 * 4 * (mtu + 128),
    );
    const { arena } = this;
    const [pa, near] = createCable(arena, 'near', { link: 'ip', mtu, slots: 1024 });
    const [pb, far] = createCable(arena, 'far', { link: 'ip', mtu, slots: 1024 });
    this.#near = near;
    this.#far = far;
    this.#forth = new Channel(arena, 'forth', frames, mtu + 18);
    this.#back = new Channel(arena, 'back', frames, mtu + 18);
    const { congestionControls = [] } = options;
    const engine = (secret: number) =>
      new Engine({
        arena,
        limits,
        congestionControls,
        now: this.now,
        secret: Int32Array.of(secret, 2, 3, 4),
      });
    this.a = engine(1);
    this.b = engine(5);
    this.a.addInterface(pa, { addresses: [`${NEAR}/24`] });
    this.b.addInterface(pb, { addresses: [`${FAR}/24`] });
    this.b.listen(
      { port: WIRE_PORT },
      {
        data: (_conn, _at, length) => {
          this.received += length;
          return length;
        },
      },
    );
  }

  /** A connection whose program writes for ever, or `bytes`. */
  send(
    options: { congestion?: string; pacing?: boolean; startWindow?: number },
    bytes = Number.POSITIVE_INFINITY,
  ): Conn {
    const block = new Uint8Array(1 << 18);
    let left = bytes;
    const pump = (conn: Conn) => {
      while (left > 0) {
        const wanted = Math.min(block.length, left);
        const taken = this.a.write(conn, block, 0, wanted);
        left -= taken;
        if (taken < wanted) return;
      }
    };
    this.conn = this.a.connect({ address: FAR, port: WIRE_PORT, ...options }, { open: pump, writable: pump });
    return this.conn;
  }

  get info(): TcpInfo {
    return this.a.info(this.conn)!;
  }

  run(ms: number): void {
    const end = this.now + ms;
    while (this.now < end) this.step();
  }

  step(): void {
    this.now += this.#step_ms;
    this.#forth.give(this.#far, this.now);
    this.#back.give(this.#near, this.now);
    this.a.breath(this.now);
    this.b.breath(this.now);
    this.#collect();
  }

  /** Share of the wire's rate that b's program got within `ms`. */
  share(ms: number): number {
    const before = this.received;
    this.run(ms);
    return (this.received - before) / (this.bytesPerMs * ms);
  }

  #collect(): void {
    const m = this.arena.i32;
    const half = this.#rtt_ms / 2;
    let burst = 0;
    for (let n = this.#near.rxSync(); n > 0; n--) {
      const slot = this.#near.rx.slot(this.#near.rx.head);
      const length = m[slot + DESC_LENGTH];
      burst += length;
      const queued = Math.max(0, this.#freeAt - this.now) * this.bytesPerMs;
      const lost = this.#loss > 0 && length > HEADERS_MAX && this.#prng.bool(this.#loss);
      if (lost || queued + length > this.queueMax) this.drops++;
      else {
        this.#freeAt = Math.max(this.#freeAt, this.now) + length / this.bytesPerMs;
        this.queuePeak = Math.max(this.queuePeak, queued);
        this.#forth.take(slot, this.#freeAt + half);
      }
      this.#near.rx.head = (this.#near.rx.head + 1) | 0;
    }
    this.burst = Math.max(this.burst, burst);
    for (let n = this.#far.rxSync(); n > 0; n--) {
      this.#back.take(this.#far.rx.slot(this.#far.rx.head), this.now + half);
      this.#far.rx.head = (this.#far.rx.head + 1) | 0;
    }
  }
}
