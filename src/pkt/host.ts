/** The stack under test: one engine on a link whose other end is the script, in virtual time. */
import { createCable } from '../device/cable.ts';
import type { Port } from '../device/port.ts';
import { Engine } from '../engine/engine.ts';
import type { Limits } from '../engine/limits.ts';
import type { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import type { TcpLimits } from '../tcp/tcp.ts';
import { type LivePacket, takeApart } from './sent.ts';

export interface HostOptions {
  /** Fresh: nothing is carved of it yet. */
  readonly arena: Arena;
  readonly limits: Partial<TcpLimits>;
  readonly mtu: number;
  /** As CIDR. */
  readonly addresses: readonly string[];
  readonly gateway4?: string;
  readonly gateway6?: string;
}

/** Larger than any MTU: scripts inject 64 KiB segments, as receive offload makes them. */
const LINK_MTU = 65_600;
/** RFC 8200 5 */
export const MTU_MIN_6 = 1280;
const SLOTS = 32;
/** The stack's clock when the script's is 0, ms. */
const START_MS = 10_000;
/** Time between breaths while there is work that can't be done at once, us. */
const STEP_US = 20;
const WIRE_US = 10;
const BREATHS_MAX = 100_000;
export const ARENA_BYTES = 24 << 20;

/** What one script's connections can need; more would only be more to clear. */
const LIMITS: Partial<Limits> = {
  connections: 64,
  miniBlocks: 256,
  chunks: 4096,
  udpSockets: 16,
  udpChunks: 128,
};

export class Host {
  readonly engine: Engine;
  /** Of the link, bytes. */
  readonly mtu: number;
  /** Sent and not yet looked at, in order. */
  readonly sent: LivePacket[] = [];
  /** Called after each breath: blocking calls may have come to an end. */
  onBreath: () => void = () => {};
  /** Called with each packet that the stack sends. */
  onPacket: (packet: LivePacket) => void = () => {};
  /** When `onBreath` is to be called at the latest, us; it says when again. */
  alarmUs = Number.POSITIVE_INFINITY;
  /** us since the script began. */
  #us = 0;
  readonly #port: Port;
  readonly #arena: Arena;

  constructor(options: HostOptions) {
    const { arena, mtu, gateway4, gateway6 } = options;
    const [near, far] = createCable(arena, 'script', { link: 'ip', mtu: LINK_MTU, slots: SLOTS });
    this.mtu = mtu;
    this.#port = far;
    this.#arena = arena;
    this.engine = new Engine({
      arena,
      secret: Int32Array.of(0x5eed, 2, 3, 4),
      now: START_MS,
      limits: { ...options.limits, ...LIMITS },
    });
    this.engine.addInterface(near, {
      addresses: [...options.addresses],
      mtu,
      ...(gateway4 === undefined ? {} : { gateway4 }),
      ...(gateway6 === undefined ? {} : { gateway6 }),
    });
    this.engine.onHandlerError = (error) => {
      throw error;
    };
  }

  get us(): number {
    return this.#us;
  }

  /** Another MTU for the link, from now on. For what is smaller than IPv6 allows, IPv4 alone sends less. */
  setMtu(mtu: number): void {
    const [iface] = this.engine.ip.interfaces;
    this.engine.setMtu(iface, iface.v6.length > 0 ? Math.max(mtu, MTU_MIN_6) : mtu);
    iface.mtu = mtu;
  }

  /** Gives the stack a packet, which it handles at once. */
  inject(bytes: Uint8Array): void {
    // Nothing gets anywhere in no time.
    this.advance(this.#us + WIRE_US);
    const { tx } = this.#port;
    const slot = tx.slot(tx.head);
    this.#arena.u8.set(bytes, tx.m[slot + DESC_AT]);
    tx.m[slot + DESC_LENGTH] = bytes.length;
    tx.m[slot + DESC_FLAGS] = 0;
    tx.head = (tx.head + 1) | 0;
    this.#port.txSync();
    this.settle();
  }

  /** Breathes until there is nothing to do at this time. */
  settle(): void {
    for (let i = 0; i < BREATHS_MAX; i++) {
      const work = this.engine.breath(START_MS + this.#us / 1000);
      this.#collect();
      this.onBreath();
      if (work === 0) return;
    }
    throw new Error('assertion: the engine never comes to rest');
  }

  /** Lets time pass, from deadline to deadline, until `us` or, earlier, until `done`. */
  advance(us: number, done: () => boolean = () => false): void {
    this.settle();
    for (let i = 0; !done() && this.#us < us; i++) {
      if (i === BREATHS_MAX) throw new Error('assertion: time stands still');
      this.#us = Math.min(us, this.#nextUs());
      this.settle();
    }
  }

  /** When something is due, us; at least a step from now. */
  #nextUs(): number {
    const delay = this.engine.nextDeadline();
    const whole = Math.floor(START_MS + this.#us / 1000) - START_MS;
    return Math.max(this.#us + STEP_US, Math.min((whole + delay) * 1000, this.alarmUs));
  }

  #collect(): void {
    const port = this.#port;
    while (port.rxSync() > 0) {
      const slot = port.rx.slot(port.rx.head);
      const at = port.rx.m[slot + DESC_AT];
      const packet = takeApart(this.#arena.u8.slice(at, at + port.rx.m[slot + DESC_LENGTH]), this.#us);
      port.rx.head = (port.rx.head + 1) | 0;
      if (packet === null) continue;
      this.sent.push(packet);
      this.onPacket(packet);
    }
  }
}
