/** Programs on two engines move bytes over a bad network: all arrive, in order, once, and nothing is left behind. */
import { describe, expect, test } from 'vitest';
import { Prng } from '../memory/prng.ts';
import { CLOSED_ABORTED, CLOSED_CLEAN } from '../tcp/reasons.ts';
import type { Engine } from './engine.ts';
import type { Conn, Handlers } from './handlers.ts';
import { A4, A6, B4, B6, replayable, SEED_GIVEN, testSeed, World } from './testing.ts';

const FILE = 'src/engine/transfer.test.ts';
const WORLDS = SEED_GIVEN ? 1 : 50;
const TRANSFERS = 20;
const TRANSFER_BYTES_MAX = 200_000;
/** Virtual ms that a transfer may take. */
const LIMIT_MS = 200_000;
const PORT = 7;
/** Silence after which a lost RST is found out. */
const KEEP_ALIVE_MS = 1000;
/** Transfer i uses the client's port FIRST_PORT + i, which tells the server who is there. */
const FIRST_PORT = 20_000;

/** Random bytes; transfer and position say which one is expected. */
const NOISE = new Uint8Array(65_536);
{
  const prng = new Prng(1);
  for (let i = 0; i < NOISE.length; i++) NOISE[i] = prng.next();
}
const expected = (salt: number, i: number): number => NOISE[(i + salt) & 0xffff] ^ ((i >>> 16) * 29);

/** Who sends when, and who ends first. */
const ORDERS = ['both', 'client waits', 'server waits', 'client ends last', 'server ends last'] as const;

interface Plan {
  readonly id: number;
  readonly order: (typeof ORDERS)[number];
  readonly bytes: readonly [number, number];
  readonly v6: boolean;
  /** Ends abort after so many bytes sent and received; Infinity: they don't. */
  readonly abortAfter: readonly [number, number];
}

/** One end of a transfer: a program that writes and reads in random pieces. */
class End {
  readonly world: World;
  readonly engine: Engine;
  readonly prng: Prng;
  readonly salt: number;
  readonly peerSalt: number;
  readonly toSend: number;
  readonly toReceive: number;
  /** Sends only after the peer's end; ends only after the peer's end. */
  readonly waits: boolean;
  readonly endsLast: boolean;
  readonly slow: boolean;
  readonly chunkMax: number;
  readonly scratch: number;
  readonly abortAfter: number;
  /** Some end of this transfer aborts. */
  readonly doomed: boolean;
  conn: Conn = 0;
  sent = 0;
  received = 0;
  ended = false;
  shut = false;
  drained = 0;
  drainedAsked = 0;
  closedAt = 0;

  constructor(world: World, engine: Engine, plan: Plan, side: 0 | 1, seed: number, scratch: number) {
    const prng = new Prng(seed * 2 + side);
    const name = side === 0 ? 'client' : 'server';
    this.world = world;
    this.engine = engine;
    this.prng = prng;
    this.salt = plan.id * 7919 + side * 104_729;
    this.peerSalt = plan.id * 7919 + (1 - side) * 104_729;
    this.toSend = plan.bytes[side];
    this.toReceive = plan.bytes[1 - side];
    this.waits = plan.order === `${name} waits`;
    this.endsLast = plan.order === `${name} ends last`;
    this.slow = prng.bool(0.3);
    this.chunkMax = [1, 100, 1460, 5000, 65_536][prng.below(5)];
    // Single bytes are for short transfers.
    if (this.chunkMax === 1 && this.toSend > 3000) this.chunkMax = 700;
    this.scratch = scratch;
    this.abortAfter = plan.abortAfter[side];
    this.doomed = plan.abortAfter.some((bytes) => bytes < Infinity);
  }

  open(): void {
    if (!this.waits) this.pump();
  }

  /** Aborts when it is time. @returns whether it is over */
  #abort(): boolean {
    if (this.sent + this.received < this.abortAfter) return false;
    this.shut = true;
    this.engine.abort(this.conn);
    return true;
  }

  pump(): void {
    const { engine, prng } = this;
    if (this.shut || this.closedAt > 0 || this.#abort()) return;
    while (this.sent < this.toSend) {
      const n = Math.min(1 + prng.below(this.chunkMax), this.toSend - this.sent);
      const bytes = Uint8Array.from({ length: n }, (_, i) => expected(this.salt, this.sent + i));
      const taken = prng.bool() ? engine.write(this.conn, bytes) : this.#sendFromArena(bytes);
      if (taken < 0) throw new Error('sending is over too soon');
      this.sent += taken;
      if (taken < n || this.#abort()) return;
      if (prng.bool(0.01)) {
        this.world.after(prng.below(100), () => this.pump());
        return;
      }
      if (prng.bool(0.02)) this.#askDrained();
    }
    if (!this.endsLast || this.ended) this.#end();
  }

  #sendFromArena(bytes: Uint8Array): number {
    this.engine.arena.u8.set(bytes, this.scratch);
    return this.engine.send(this.conn, this.scratch, bytes.length);
  }

  #askDrained(): void {
    // Asking again before the answer is one question.
    if (this.drainedAsked > this.drained) return;
    this.drainedAsked++;
    this.engine.notifyDrained(this.conn);
  }

  #end(): void {
    this.shut = true;
    if (this.ended && this.prng.bool()) this.engine.close(this.conn);
    else this.engine.shutdown(this.conn);
  }

  data(at: number, length: number): number {
    if (this.ended) throw new Error('data after the end');
    const u8 = this.engine.arena.u8;
    const take = this.slow && this.prng.bool(0.2) ? this.prng.below(length) : length;
    for (let i = 0; i < take; i++) {
      if (u8[at + i] !== expected(this.peerSalt, this.received + i)) {
        throw new Error(`byte ${this.received + i} of ${this.toReceive} is wrong`);
      }
    }
    this.received += take;
    if (!this.shut && this.#abort()) return take;
    if (take < length) {
      this.world.after(this.prng.bool(0.1) ? 1000 : this.prng.below(40), () => this.engine.resume(this.conn));
    }
    return take;
  }

  end(): void {
    if (this.ended) throw new Error('a second end');
    if (this.received !== this.toReceive)
      throw new Error(`end after ${this.received} of ${this.toReceive} bytes`);
    this.ended = true;
    this.pump();
  }

  close(reason: number): void {
    if (this.closedAt > 0) throw new Error('closed twice');
    this.closedAt = this.world.now;
    if (this.doomed) {
      // What arrived was right; that is all there is to say, but that only an abort of its own says ABORTED.
      if (reason === CLOSED_ABORTED && this.abortAfter === Infinity) throw new Error('aborted by nobody');
      return;
    }
    if (reason !== CLOSED_CLEAN)
      throw new Error(`closed with ${reason}, ${this.sent} sent, ${this.received} received`);
    if (!this.ended) throw new Error('closed before the end');
  }
}

/** One set of handlers for all ends on an engine; connections are told apart by their slots. */
function handlersFor(engine: Engine, ends: Map<number, End>): Handlers {
  const of = (conn: Conn): End => {
    const end = ends.get(engine.slot(conn));
    if (end === undefined || end.conn !== conn)
      throw new Error(`an event for connection ${conn}, which has no end here`);
    return end;
  };
  return {
    open: (conn) => of(conn).open(),
    data: (conn, at, length) => of(conn).data(at, length),
    end: (conn) => of(conn).end(),
    writable: (conn) => of(conn).pump(),
    drained: (conn) => {
      of(conn).drained++;
    },
    close: (conn, reason) => {
      of(conn).close(reason);
      ends.delete(engine.slot(conn));
    },
  };
}

/** @param aborts How many of the ends abort somewhere, 0 to 1. */
function runWorld(seed: number, aborts = 0): void {
  const prng = new Prng(seed);
  const pick = <T>(...choices: T[]): T => choices[prng.below(choices.length)];
  const offload = prng.bool(0.3);
  const mtu = pick(576, 1280, 1400, 1500, 1500, 1500, 4000, 9000);
  const reorder = pick(0.02, 0.1, 0.3);
  const faults = () => ({
    loss: 0.05,
    corrupt: 0.02,
    duplicate: 0.03,
    mark: pick(0, 0, 0.1),
    reorder,
    reorderFrames: pick(2, 5, 20),
    delay_ms: pick(0, 1, 10, 40),
    jitter_ms: pick(0, 0, 5),
  });
  const world = new World({
    seed,
    mtu,
    offload,
    link: prng.bool(0.7) ? 'ether' : 'ip',
    slots: pick(16, 64, 128),
    forth: faults(),
    back: faults(),
    limits: {
      receiveBuffer: pick(1000, 8192, 65_535, 200_000, 1 << 20),
      sendBuffer: pick(1000, 8192, 65_536, 1 << 20),
      congestion: pick('cubic', 'reno'),
      ecn: pick('off', 'passive', 'on', 'accurate'),
      mtuProbing: pick('off', 'auto', 'always'),
    },
  });
  const scratch = world.arena.carve('program', 65_536);
  const ends: [Map<number, End>, Map<number, End>] = [new Map(), new Map()];
  const all: End[] = [];
  const plans: Plan[] = [];
  const [client, server] = [handlersFor(world.a, ends[0]), handlersFor(world.b, ends[1])];
  world.b.listen(
    { port: PORT, noDelay: prng.bool() },
    {
      ...server,
      open(conn) {
        const id = (world.b.endpoint(conn)?.remotePort ?? 0) - FIRST_PORT;
        const end = new End(world, world.b, plans[id], 1, seed + id, scratch);
        end.conn = conn;
        ends[1].set(world.b.slot(conn), end);
        all.push(end);
        if (aborts > 0) world.b.setKeepAlive(conn, KEEP_ALIVE_MS);
        end.open();
      },
    },
  );
  const size = () =>
    pick(0, 1, prng.below(100), prng.below(3000), prng.below(20_000), prng.below(TRANSFER_BYTES_MAX));
  const abort = () => (prng.bool(aborts) ? 1 + prng.below(50_000) : Infinity);
  for (let id = 0; id < TRANSFERS; id++) {
    plans.push({
      id,
      order: pick(...ORDERS),
      bytes: [size(), size()],
      v6: mtu >= 1280 && prng.bool(),
      abortAfter: [abort(), abort()],
    });
    world.after(prng.below(2000), () => {
      const { v6 } = plans[id];
      const end = new End(world, world.a, plans[id], 0, seed + id, scratch);
      const address = v6 ? B6 : B4;
      const localAddress = v6 ? A6 : A4;
      end.conn = world.a.connect(
        { address, port: PORT, localAddress, localPort: FIRST_PORT + id, noDelay: prng.bool() },
        client,
      );
      ends[0].set(world.a.slot(end.conn), end);
      all.push(end);
      if (aborts > 0) world.a.setKeepAlive(end.conn, KEEP_ALIVE_MS);
      // Writing before the connection is open is allowed.
      if (!end.waits && end.toSend > 0 && prng.bool(0.2)) end.pump();
    });
  }
  let begun = 0;
  const over = () => begun === TRANSFERS && all.every((end) => end.closedAt > 0);
  world.run(() => {
    begun = all.filter((end) => end.engine === world.a).length;
    // An aborted attempt to connect has no end on the server.
    return over() && (aborts > 0 || all.length === 2 * TRANSFERS);
  }, 2000 + LIMIT_MS);
  for (const end of all) {
    expect(end.drained).toBeLessThanOrEqual(end.drainedAsked);
    if (end.doomed) continue;
    expect(end.received).toBe(end.toReceive);
    expect(end.sent).toBe(end.toSend);
  }
  world.finish();
}

describe('transfers over a bad network', () => {
  const first = testSeed(Math.floor(Math.random() * 2 ** 31));
  for (let i = 0; i < WORLDS; i++) {
    const seed = first + i * 1000;
    const name = `${TRANSFERS} transfers from seed ${seed}`;
    test(name, () => replayable(FILE, seed, () => runWorld(seed)));
    if (i % 5 === 0)
      test(`${name}, where a third of the ends abort`, () =>
        replayable(FILE, seed, () => runWorld(seed, 0.3)));
  }
});
