/** For tests: two engines joined by a bad cable in virtual time. */
import { createCable } from '../device/cable.ts';
import { type FaultPort, type Faults, fault } from '../device/fault.ts';
import type { Port } from '../device/port.ts';
import { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import { auditAllRecords } from '../tcp/records-audit.ts';
import { auditEngine } from './audit.ts';
import { Engine } from './engine.ts';
import type { Limits } from './limits.ts';

export { auditEngine };

/** Small enough that a world takes a few MiB. */
export const LIMITS_SMALL: Partial<Limits> = {
  connections: 64,
  miniBlocks: 128,
  chunks: 2048,
  records: 2048,
  reassemblyBuffers: 8,
  udpSockets: 64,
  udpChunks: 64,
};

/** One seed is to be replayed. */
export const SEED_GIVEN = (process.env.MILLRACE_SEED ?? '') !== '';

/** A seed of this run's, or the one to replay: MILLRACE_SEED. */
export function testSeed(fallback: number): number {
  return SEED_GIVEN ? Number(process.env.MILLRACE_SEED) : fallback;
}

/** Runs `body`, and tells with its failure how to have it again. */
export function replayable(file: string, seed: number, body: () => void): void {
  try {
    body();
  } catch (error) {
    const again = `replay: MILLRACE_SEED=${seed} npx vitest run ${file}`;
    throw error instanceof Error ? new Error(`${error.message}\n${again}`, { cause: error }) : error;
  }
}

export interface WorldOptions {
  readonly seed: number;
  readonly limits?: Partial<Limits>;
  readonly mtu?: number;
  readonly offload?: boolean;
  readonly link?: 'ether' | 'ip';
  readonly slots?: number;
  /** What befalls frames from a to b, and from b to a. */
  readonly forth?: Faults;
  readonly back?: Faults;
  readonly arenaBytes?: number;
}

export const A4 = '10.0.0.1';
export const B4 = '10.0.0.2';
export const A6 = 'fd00::1';
export const B6 = 'fd00::2';

export class World {
  readonly arena: Arena;
  readonly a: Engine;
  readonly b: Engine;
  readonly network: FaultPort;
  readonly prng: Prng;
  /** ms. Starts shortly before int32 overflows, now and then: everything must compare by difference. */
  now: number;
  readonly #ports: Port[];
  readonly #timers: { at: number; run: () => void }[] = [];
  #steps = 0;

  constructor(options: WorldOptions) {
    const { seed, mtu = 1500, offload = false, link = 'ether', slots = 128 } = options;
    this.prng = new Prng(seed);
    this.now = this.prng.bool(0.2) ? 2 ** 31 - 20_000 : 1000 + this.prng.below(1 << 30);
    this.arena = new Arena(options.arenaBytes ?? (offload ? 80 : 48) << 20);
    const [pa, pb] = createCable(this.arena, 'cable', { mtu, offload, link, slots });
    const now = () => this.now;
    this.network = fault(pb, { rx: {}, tx: {}, seed, now, held: offload ? 128 : 1024 });
    const engine = () =>
      new Engine({
        arena: this.arena,
        secret: Int32Array.from({ length: 4 }, () => this.prng.next()),
        now: this.now,
        limits: { ...LIMITS_SMALL, ...options.limits },
      });
    this.a = engine();
    this.b = engine();
    const six = mtu >= 1280;
    this.a.addInterface(pa, { addresses: six ? [`${A4}/24`, `${A6}/64`] : [`${A4}/24`] });
    this.b.addInterface(this.network, { addresses: six ? [`${B4}/24`, `${B6}/64`] : [`${B4}/24`] });
    const fail = (error: unknown) => {
      throw error;
    };
    this.a.onHandlerError = fail;
    this.b.onHandlerError = fail;
    this.#ports = [pa, pb];
    // Neighbours find each other first: three lost questions in a row are a host that can't be reached.
    this.#meet(B4);
    if (six) this.#meet(B6);
    this.network.set('rx', options.forth ?? {});
    this.network.set('tx', options.back ?? {});
  }

  #meet(address: string): void {
    let refused = false;
    this.a.connect(
      { address, port: 1 },
      {
        close: () => {
          refused = true;
        },
      },
    );
    this.run(() => refused, 1000);
  }

  /** Calls `run` at a later time, as a program's own timers do. */
  after(ms: number, run: () => void): void {
    this.#timers.push({ at: this.now + ms, run });
  }

  /** Sends a packet to b from a's end of an 'ip' link, as a stranger there would. @returns false when the ring is full */
  inject(packet: Uint8Array): boolean {
    const { tx } = this.#ports[0];
    if (tx.available === 0) return false;
    const slot = tx.slot(tx.head);
    this.arena.u8.set(packet, tx.m[slot + DESC_AT]);
    tx.m[slot + DESC_LENGTH] = packet.length;
    tx.m[slot + DESC_FLAGS] = 0;
    tx.head = (tx.head + 1) | 0;
    this.#ports[0].txSync();
    return true;
  }

  /** One breath of each, and on to the next time when something happens. @returns whether anything ever will */
  step(): boolean {
    for (let i = 0; i < this.#timers.length; i++) {
      if (this.#timers[i].at > this.now) continue;
      const { run } = this.#timers[i];
      this.#timers.splice(i--, 1);
      run();
    }
    // What b's port held until now may have reached a only in b's breath.
    const work = this.a.breath(this.now) + this.b.breath(this.now) + this.a.breath(this.now);
    if ((++this.#steps & 31) === 0) {
      auditAllRecords(this.a.tcp);
      auditAllRecords(this.b.tcp);
    }
    if (work > 0) {
      this.now += 0.05;
      return true;
    }
    const engines = Math.floor(this.now) + Math.min(this.a.nextDeadline(), this.b.nextDeadline());
    let next = Math.min(engines, this.now + this.network.nextDeadline());
    for (const timer of this.#timers) next = Math.min(next, timer.at);
    if (next === Infinity) return false;
    this.now = Math.max(this.now + 0.05, next);
    return true;
  }

  /** Steps until `done`. @throws after `limit_ms` of virtual time, or when nothing will happen any more */
  run(done: () => boolean, limit_ms: number): void {
    const end = this.now + limit_ms;
    while (!done()) {
      if (!this.step()) throw new Error('stuck: nothing more will happen');
      if (this.now > end) throw new Error(`no end after ${limit_ms} ms`);
    }
  }

  pass(ms: number): void {
    const end = this.now + ms;
    while (this.now < end) if (!this.step()) this.now = end;
  }

  /** Lets TIME-WAIT and all else end, and checks that nothing is left. */
  finish(): void {
    this.pass(300_000);
    this.network.flush();
    auditEngine(this.a);
    auditEngine(this.b);
    this.#auditBuffers();
  }

  /** Frames move by exchange of buffers, so each must be in one place still. */
  #auditBuffers(): void {
    const buffers = this.network.buffers();
    for (const port of this.#ports) {
      for (const ring of [port.rx, port.tx]) {
        for (let i = 0; i < ring.slots; i++) buffers.push(ring.m[ring.slot(i) + DESC_AT]);
      }
    }
    if (new Set(buffers).size !== buffers.length)
      throw new Error('a frame buffer is in two places, and another is lost');
  }
}
