/**
 * Waits until one of several descriptors is readable, without holding the event loop: poll(2) on a thread of
 * libuv's pool, and an eventfd to call it back early.
 *
 * koffi can also watch a descriptor in the event loop itself (`koffi.node.poll`), in two thirds of the time (7
 * against 11 us from readable to running, p50), but koffi 3.3 aborts the process when it can't, when a worker is
 * terminated meanwhile, and on a second close.
 *
 * Every outstanding wait occupies one of the pool's threads, of which a process has UV_THREADPOOL_SIZE, 4 unless
 * told: who runs as many engines raises it, or file reads and name lookups queue behind them.
 */
import { closeSync } from 'node:fs';
import { SystemError } from './errno.ts';
import { check, libc, NativeMemory } from './libc.ts';

/** A worker that is terminated, or a process that exits, can't be sooner than its poll(2). ms */
export const WAIT_MS_MAX = 1000;

const EFD_CLOEXEC_NONBLOCK = 0x80800;
const POLLIN = 1;
const POLLNVAL = 0x20;
const EBADF = 9;
/** struct pollfd: fd i32, events i16, revents i16. */
const POLLFD_BYTES = 8;
const EVENTS = 4;
const REVENTS = 6;
/** Before the pollfds: what to write to the eventfd, and where to read it. */
const ONE = 0;
const DRAIN = 8;
const POLLFDS = 16;

/** Those with a poll(2) outstanding. A process's exit joins the pool's threads, so it must call them back. */
const waiting = new Set<Poller>();

function wakeAll(): void {
  for (const poller of waiting) poller.wake();
}

export class Poller {
  readonly #count: number;
  readonly #eventfd: number;
  /** The eventfd's pollfd comes first. */
  readonly #memory: NativeMemory;
  #woken = false;
  #outstanding = false;
  #closed = false;

  /** @param fds Stay the caller's; close the poller first, so that none is a stranger's by the time it's polled. */
  constructor(fds: readonly number[]) {
    this.#count = fds.length + 1;
    this.#eventfd = check(libc().eventfd(0, EFD_CLOEXEC_NONBLOCK), 'eventfd');
    this.#memory = new NativeMemory(POLLFDS + this.#count * POLLFD_BYTES);
    const { view } = this.#memory;
    view.setInt32(ONE, 1, true);
    [this.#eventfd, ...fds].forEach((fd, i) => {
      view.setInt32(POLLFDS + i * POLLFD_BYTES, fd, true);
      view.setInt16(POLLFDS + i * POLLFD_BYTES + EVENTS, POLLIN, true);
    });
  }

  /**
   * Until a descriptor is readable, `wake` was called (since the last wait, too), or `timeout_ms` is over. May
   * come back earlier, at the latest after WAIT_MS_MAX. It always leaves the turn of the event loop, and keeps
   * the process alive meanwhile. One at a time.
   * @throws Error when another wait is outstanding or the poller is closed.
   */
  wait(timeout_ms: number): Promise<void> {
    if (this.#closed) throw new Error('wait on a closed Poller');
    if (this.#outstanding) throw new Error('a wait is outstanding already');
    this.#outstanding = true;
    return new Promise((resolve, reject) => {
      if (this.#woken) {
        setImmediate(() => this.#done(resolve));
        return;
      }
      if (waiting.size === 0) process.on('exit', wakeAll);
      waiting.add(this);
      const timeout = Math.ceil(Math.max(0, Math.min(timeout_ms, WAIT_MS_MAX)));
      libc().pollAsync(this.#memory.address + POLLFDS, this.#count, timeout, (error) => {
        waiting.delete(this);
        if (waiting.size === 0) process.off('exit', wakeAll);
        const stale = this.#stale();
        // poll(2) itself fails only by EINTR, which is an early return like any other.
        if (error) this.#done(() => reject(error));
        else if (stale && !this.#closed) this.#done(() => reject(new SystemError(EBADF, 'poll')));
        else this.#done(resolve);
      });
    });
  }

  /** Ends the outstanding wait, or else the next one at once. */
  wake(): void {
    if (this.#woken || this.#closed) return;
    this.#woken = true;
    if (waiting.has(this)) libc().write(this.#eventfd, this.#memory.address + ONE, 8);
  }

  /** An outstanding wait resolves. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.wake();
    this.#closed = true;
    if (!this.#outstanding) this.#release();
  }

  #done(settle: () => void): void {
    this.#outstanding = false;
    if (this.#woken) {
      this.#woken = false;
      // Nothing to read when `wake` came before the wait: the eventfd doesn't block.
      libc().read(this.#eventfd, this.#memory.address + DRAIN, 8);
    }
    if (this.#closed) this.#release();
    settle();
  }

  /** Whether a descriptor was closed under us: poll(2) would return at once for ever. */
  #stale(): boolean {
    for (let i = 0; i < this.#count; i++) {
      if ((this.#memory.view.getInt16(POLLFDS + i * POLLFD_BYTES + REVENTS, true) & POLLNVAL) !== 0)
        return true;
    }
    return false;
  }

  #release(): void {
    closeSync(this.#eventfd);
    this.#memory.free();
  }
}
