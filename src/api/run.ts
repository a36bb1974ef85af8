/**
 * What drives an engine on Node's main thread: a breath each turn of the event loop while there is work, then a
 * little spinning, then sleep until a packet, a deadline or the program wakes it.
 *
 *     asleep ──arrival, deadline, onWork──► turning ──nothing to do──► spinning ──nothing for SPIN_MS──► asleep
 *                                              ▲──────something───────────┘
 *
 * One breath a turn: a burst takes some 20 us and a turn of the loop 1 us, and so Node's own I/O, timers and the
 * program's promises never wait longer than one burst.
 */
import { AsyncResource } from 'node:async_hooks';
import type { Port } from '../device/port.ts';
import type { Engine } from '../engine/engine.ts';

/** `poll` spins while anything is open, `event` sleeps as soon as there is nothing to do, `adaptive` spins a little. */
export type Idle = 'adaptive' | 'poll' | 'event';

/** os/poll.ts's Poller: waits for file descriptors off the main thread, and keeps the process alive meanwhile. */
export interface Waiter {
  wait(timeout_ms: number): Promise<void>;
  wake(): void;
  close(): void;
}

/**
 * Spinning as long as a wake-up through the poller's thread takes (some 90 us) costs at most twice the best that could
 * be done. A round trip of another process over TUN: 113 us without spinning, 17 with it while requests follow each
 * other, 29 with `poll`.
 */
const SPIN_MS = 0.1;
/** The longest that a Poller takes; deadlines have a timer here. */
const WAIT_MS = 60_000;
/** While nothing keeps the process, descriptors are looked at this often, since waiting for them would keep it. */
const GLANCE_MS = 10;
/** setTimeout's longest. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

export class Runner {
  /** Breaths so far. */
  breaths = 0;
  readonly #engine: Engine;
  readonly #ports: readonly Port[];
  readonly #waiter: Waiter | null;
  readonly #needed: () => boolean;
  readonly #failed: (error: unknown) => void;
  /** How long to turn on without work, ms. In-memory ports tell of arrivals, so that spinning gains nothing there. */
  readonly #spin_ms: number;
  /** Turns run in the context of whoever opened the stack, not of whoever's write happened to wake it. */
  readonly #context = new AsyncResource('MILLRACE');
  readonly #turn = (): void => this.#context.runInAsyncScope(this.#breathe, this);
  readonly #onTimer = (): void => {
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#wake();
  };
  /** Alone decides whether the process is held: every other timer here is unref'd. */
  readonly #hold = setInterval(() => {}, TIMEOUT_MS_MAX).unref();
  #timer: NodeJS.Timeout | null = null;
  /** When #timer fires, by performance.now(). */
  #timerAt = Number.POSITIVE_INFINITY;
  #held = false;
  #turning = false;
  #waiting = false;
  #stopped = false;
  #workedAt = 0;

  /**
   * @param needed Whether the process must stay for this stack's sake.
   * @param failed The device is gone, and the loop has stopped.
   */
  constructor(
    engine: Engine,
    ports: readonly Port[],
    idle: Idle,
    waiter: Waiter | null,
    needed: () => boolean,
    failed: (error: unknown) => void,
  ) {
    this.#failed = failed;
    this.#engine = engine;
    this.#ports = ports;
    this.#waiter = waiter;
    this.#needed = needed;
    this.#spin_ms =
      idle === 'poll' ? Number.POSITIVE_INFINITY : idle === 'adaptive' && waiter !== null ? SPIN_MS : 0;
    const wake = (): void => this.#wake();
    engine.onWork = wake;
    for (const port of ports) port.onArrival = wake;
    this.#wake();
  }

  /** To be called when what `needed` says may have changed. */
  update(): void {
    if (this.#stopped || this.#needed() === this.#held) return;
    this.#held = !this.#held;
    if (this.#held) {
      this.#hold.ref();
      // Asleep, it may have no wait under way.
      this.#wake();
    } else {
      this.#hold.unref();
      if (this.#waiting) this.#waiter!.wake();
    }
  }

  /** No breath is taken from now on. Idempotent. */
  stop(): void {
    this.#stopped = true;
    this.#engine.onWork = () => {};
    for (const port of this.#ports) port.onArrival = () => {};
    clearInterval(this.#hold);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#waiter?.close();
  }

  #wake(): void {
    if (this.#turning || this.#stopped) return;
    this.#turning = true;
    setImmediate(this.#turn);
  }

  #breathe(): void {
    if (this.#stopped) return;
    const now = performance.now();
    this.breaths++;
    let worked = false;
    try {
      worked = this.#engine.breath(now) > 0;
    } catch (error) {
      this.stop();
      this.#failed(error);
    }
    if (this.#stopped) return;
    if (worked) this.#workedAt = now;
    const spinning = now - this.#workedAt < this.#spin_ms && this.#needed();
    const delay_ms = worked || spinning ? 0 : this.#engine.nextDeadline();
    if (delay_ms === 0) setImmediate(this.#turn);
    else this.#sleep(now, delay_ms);
  }

  #sleep(now: number, deadline_ms: number): void {
    this.#turning = false;
    this.update();
    if (this.#turning) return;
    const glances = this.#waiter !== null && !this.#held;
    const delay_ms = glances ? Math.min(deadline_ms, GLANCE_MS) : deadline_ms;
    // A timer that fires early only costs a breath; most deadlines move back and back.
    if (now + delay_ms < this.#timerAt) {
      if (this.#timer !== null) clearTimeout(this.#timer);
      this.#timer = setTimeout(this.#onTimer, Math.min(delay_ms, TIMEOUT_MS_MAX)).unref();
      this.#timerAt = now + delay_ms;
    }
    if (this.#waiter !== null && this.#held && !this.#waiting) void this.#wait(this.#waiter);
  }

  async #wait(waiter: Waiter): Promise<void> {
    this.#waiting = true;
    try {
      await waiter.wait(WAIT_MS);
    } finally {
      this.#waiting = false;
    }
    this.#wake();
  }
}
