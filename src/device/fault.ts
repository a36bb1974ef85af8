/**
 * A bad network in front of any port: frames wait for a slow line, are lost, spoiled, doubled, held back and delayed, each
 * by its own probability, from a seed. Between the inner port and its user stands a channel per direction:
 *
 *     inner.rx ──► queue ─► transmitter ─► lost? spoiled? doubled? ──► line (in order, delayed) ──────────► rx
 *                  (with a rate or trace)                          └─► aside (until others passed it) ──┘
 *
 * Frames are copied between the inner port's buffers and the channel's, so any port will do. What happens has its time
 * whenever the syncs come: they do what was due by now.
 */
import type { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
import { DESC_AT, type Ring } from '../memory/ring.ts';
import { Channel, type Edge, type FaultCounters, type Faults } from './channel.ts';
import type { Capabilities, Port, PortCounters } from './port.ts';
import type { QueueCounters } from './queue.ts';

export type { FaultCounters, Faults };

const AT = DESC_AT;

export interface FaultOptions {
  /** A direction that is left out goes straight to the inner port. */
  readonly rx?: Faults;
  readonly tx?: Faults;
  readonly seed: number;
  /** The engine's clock, ms; fractions count. */
  readonly now: () => number;
  /** Frames that each direction holds at most; 256 unless told. */
  readonly held?: number;
}

export function fault(port: Port, options: FaultOptions): FaultPort {
  return new FaultPort(port, options);
}

export class FaultPort implements Port {
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters: PortCounters;
  readonly rx: Ring;
  readonly tx: Ring;
  readonly frameBytes: number;
  readonly pool = null;
  readonly rxTimes = null;
  readonly fds: readonly number[];
  onArrival: () => void = () => {};
  readonly inner: Port;
  readonly #rx: Channel | null;
  readonly #tx: Channel | null;
  readonly #now: () => number;
  /** Free-running indices of the tx ring: slots whose frames are in the channel. */
  #taken = 0;
  #closed = false;

  constructor(inner: Port, options: FaultOptions) {
    const { seed, now, held = 256 } = options;
    this.name = `fault:${inner.name}`;
    this.arena = inner.arena;
    this.capabilities = { ...inner.capabilities, rxTimestamps: false };
    this.counters = inner.counters;
    this.frameBytes = inner.frameBytes;
    this.fds = inner.fds;
    this.inner = inner;
    this.#now = now;
    inner.onArrival = () => this.onArrival();
    const channel = (faults: Faults | undefined, direction: string, edge: Edge, salt: number) =>
      faults === undefined
        ? null
        : new Channel(this, `${this.name} ${direction}`, held, faults, edge, new Prng(seed ^ salt), now());
    this.#rx = channel(options.rx, 'rx', 'in', 0);
    this.#tx = channel(options.tx, 'tx', 'out', 0x5bd1e995);
    this.rx = this.#rx === null ? inner.rx : this.#rx.ring(inner.rx.slots);
    this.tx = this.#tx === null ? inner.tx : this.#tx.ring(inner.tx.slots);
    if (this.#tx !== null) this.tx.tail = this.tx.slots;
  }

  /** null for a direction without faults. */
  get rxFaults(): FaultCounters | null {
    return this.#rx?.counters ?? null;
  }

  get txFaults(): FaultCounters | null {
    return this.#tx?.counters ?? null;
  }

  /** Of frames that wait for a rate or trace; null for a direction without faults. */
  get rxQueue(): QueueCounters | null {
    return this.#rx?.queue.counters ?? null;
  }

  get txQueue(): QueueCounters | null {
    return this.#tx?.queue.counters ?? null;
  }

  /** Changes what happens from now on. No-op for a direction that was left out. */
  set(direction: 'rx' | 'tx', faults: Faults): void {
    const channel = direction === 'rx' ? this.#rx : this.#tx;
    channel?.set(faults);
  }

  rxSync(): number {
    if (this.#closed) return 0;
    const { inner, rx } = this;
    const channel = this.#rx;
    const available = inner.rxSync();
    if (channel === null) return available;
    const now = this.#now();
    // While the user is behind, what comes waits in the device's ring, as it would without us.
    if (this.#deliver(channel, now)) {
      for (let i = 0; i < available; i++) channel.take(inner.rx.slot((inner.rx.head + i) | 0), now);
      inner.rx.head = (inner.rx.head + available) | 0;
      this.#deliver(channel, now);
    }
    return rx.available;
  }

  /** Fills the slots that the user has given back. @returns whether there are more of those than frames that are due */
  #deliver(channel: Channel, now: number): boolean {
    const { rx } = this;
    const room = rx.slots - ((rx.tail - rx.head) | 0);
    const n = channel.put(rx, rx.tail, room, now);
    rx.tail = (rx.tail + n) | 0;
    return n < room;
  }

  txSync(): number {
    if (this.#closed) return 0;
    const { inner, tx } = this;
    const channel = this.#tx;
    if (channel === null) return inner.txSync();
    const now = this.#now();
    for (; this.#taken !== tx.head; this.#taken = (this.#taken + 1) | 0)
      channel.take(tx.slot(this.#taken), now);
    tx.tail = (this.#taken + tx.slots) | 0;
    inner.tx.head = (inner.tx.head + channel.put(inner.tx, inner.tx.head, inner.tx.available, now)) | 0;
    inner.txSync();
    return tx.available;
  }

  /** ms until a sync has a held frame to pass on; 0: at once; Infinity: none is held. */
  nextDeadline(): number {
    const now = this.#now();
    return Math.min(this.#rx?.nextDeadline(now) ?? Infinity, this.#tx?.nextDeadline(now) ?? Infinity);
  }

  /** Frames held in both directions. */
  get held(): number {
    return (this.#rx?.held ?? 0) + (this.#tx?.held ?? 0);
  }

  /** Loses what is held. */
  flush(): void {
    this.#rx?.flush();
    this.#tx?.flush();
  }

  /** For leak checks: offsets of all buffers here that no ring of the inner port holds. */
  buffers(): number[] {
    const found = [...(this.#rx?.buffers() ?? []), ...(this.#tx?.buffers() ?? [])];
    for (const ring of [this.rx, this.tx]) {
      if (ring === this.inner.rx || ring === this.inner.tx) continue;
      for (let i = 0; i < ring.slots; i++) found.push(ring.m[ring.slot(i) + AT]);
    }
    return found;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.flush();
    this.rx.head = this.rx.tail;
    this.tx.head = this.tx.tail;
    this.inner.close();
  }
}
