/** A host: an engine, its NIC, and a clock of its own. */
import { Engine } from '../engine/engine.ts';
import type { Limits } from '../engine/limits.ts';
import type { Arena } from '../memory/arena.ts';
import type { Link, Receiver } from './link.ts';
import { Nic } from './nic.ts';
import type { World } from './world.ts';

const MS = 1e6;

export interface HostOptions {
  readonly limits: Partial<Limits>;
  /** 'ether' takes ARP and neighbour discovery, and reaches only one other host. */
  readonly link?: 'ether' | 'ip';
  /** Bytes; 1500 unless told. Below 1280 the host has no IPv6. */
  readonly mtu?: number;
  /** Slots of each ring; 64 unless told. More frames than that between two breaths are lost. */
  readonly slots?: number;
  /** The NIC cuts super-segments, joins what arrives into such, and does the checksums. */
  readonly offload?: boolean;
  /** The engine's clock at the world's start, ms; and how much faster it runs than the world's, such as 1e-4. */
  readonly clock_ms?: number;
  readonly drift?: number;
  /** What a breath takes, us: the next one is later by that at least. 10 unless told. */
  readonly breath_us?: number;
}

export class Host implements Receiver {
  readonly name: string;
  readonly number: number;
  readonly options: HostOptions;
  readonly ether: boolean;
  readonly nic: Nic;
  readonly address4: string;
  /** null without IPv6. */
  readonly address6: string | null;
  /** Another one after each restart. */
  engine: Engine;
  /** When the next breath is due, ns; Infinity: something has to happen first. */
  wakeAt = Number.POSITIVE_INFINITY;
  restarts = 0;
  breaths = 0;
  readonly #world: World;
  readonly #arena: Arena;
  readonly #clock: number;
  readonly #rate: number;
  readonly #breath: number;
  #readyAt = 0;

  constructor(world: World, name: string, number: number, options: HostOptions) {
    const { link = 'ip', mtu = 1500, slots = 64, offload = false } = options;
    this.name = name;
    this.number = number;
    this.options = options;
    this.ether = link === 'ether';
    this.#world = world;
    this.#arena = world.arena;
    this.#clock = options.clock_ms ?? 1000;
    this.#rate = 1 + (options.drift ?? 0);
    this.#breath = (options.breath_us ?? 10) * 1000;
    this.address4 = `10.0.0.${number}`;
    this.address6 = mtu >= 1280 ? `fd00::${number.toString(16)}` : null;
    this.nic = new Nic(world, name, { number, link, mtu, slots, offload });
    this.nic.onArrival = () => this.wakeBy(this.#world.now);
    this.engine = this.#boot();
  }

  /** The engine's clock, ms. */
  get clock_ms(): number {
    return this.#clock + (this.#world.now / MS) * this.#rate;
  }

  receive(f: number, _from: Link): void {
    this.nic.arrive(f);
  }

  /** A breath at that time, or as soon as the host can. */
  wakeBy(time: number): void {
    const at = time > this.#readyAt ? time : this.#readyAt;
    if (at < this.wakeAt) this.wakeAt = at;
  }

  /** Does nothing for so long, as when a collector or another process has the core. */
  stall(ms: number): void {
    this.#readyAt = Math.max(this.#readyAt, this.#world.now + ms * MS);
    if (this.wakeAt < this.#readyAt) this.wakeAt = this.#readyAt;
  }

  /** Is within a stall. */
  get isStalled(): boolean {
    return this.#readyAt > this.#world.now + this.#breath;
  }

  /** Loses all state, as after a power cut. Its connections know nothing of it: no handler is called. */
  restart(): void {
    this.restarts++;
    this.nic.reset();
    this.engine.onWork = () => {};
    this.engine = this.#boot();
  }

  #boot(): Engine {
    const { prng } = this.#world;
    const engine = new Engine({
      arena: this.#arena,
      secret: Int32Array.from({ length: 4 }, () => prng.next()),
      now: this.clock_ms,
      limits: this.options.limits,
    });
    const addresses = [`${this.address4}/24`];
    if (this.address6 !== null) addresses.push(`${this.address6}/64`);
    engine.addInterface(this.nic, { addresses, neighbours: 16 });
    engine.onWork = () => this.wakeBy(this.#world.now);
    // What a program got wrong, or found wrong, ends the world.
    engine.onHandlerError = (error) => {
      throw error;
    };
    return engine;
  }

  /** One breath of the engine, and when the next is due. */
  breathe(): void {
    const { engine } = this;
    const { now } = this.#world;
    const clock = this.clock_ms;
    this.breaths++;
    this.wakeAt = Number.POSITIVE_INFINITY;
    this.#readyAt = now + this.#breath;
    const work = engine.breath(clock);
    if (this.#isBusy(work)) {
      this.wakeBy(this.#readyAt);
      return;
    }
    const delay = engine.nextDeadline();
    if (delay === Number.POSITIVE_INFINITY) return;
    const due = ((Math.floor(clock) + delay - this.#clock) / this.#rate) * MS;
    this.wakeBy(Math.ceil(due));
  }

  /** Whoever runs an engine lets it breathe again after work; most times there is nothing to do then. */
  #isBusy(work: number): boolean {
    const { tcp } = this.engine;
    if (work === 0) return false;
    if (tcp.events.count > 0 || tcp.starved.length > 0 || this.nic.pending > 0) return true;
    const { head } = tcp.lists[0];
    return (head[0] | head[1] | head[2]) !== 0;
  }
}
