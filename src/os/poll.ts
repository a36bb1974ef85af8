/**
 * Waiting for file descriptors without holding Node's thread: poll(2) in libuv's thread pool, with an eventfd
 * that wakes it. A thread in poll can't be interrupted otherwise, and an unfinished one would hang the exit.
 */
import { libc, SystemError } from './libc.ts';

const POLLFD_BYTES = 8;
const POLLIN = 1;
const EFD_NONBLOCK_CLOEXEC = 0o2004000;
/** No wait is longer, so that a forgotten one ends. */
const WAIT_MS_MAX = 60_000;

export class Poller {
  readonly #count: number;
  readonly #at: number;
  readonly #wakeAt: number;
  #eventfd: number;
  #waiting = false;
  #closed = false;

  /** @param fds to wait for until they are readable. They stay the caller's. */
  constructor(fds: readonly number[]) {
    const c = libc();
    this.#eventfd = c.eventfd(0, EFD_NONBLOCK_CLOEXEC);
    if (this.#eventfd < 0) throw new SystemError('eventfd', c.errno());
    this.#count = fds.length + 1;
    // A page for good is cheap; a poller lives as long as its stack.
    const { at, view } = c.allocate((this.#count + 2) * POLLFD_BYTES);
    this.#at = at;
    this.#wakeAt = at + this.#count * POLLFD_BYTES;
    [...fds, this.#eventfd].forEach((fd, i) => {
      view.setInt32(i * POLLFD_BYTES, fd, true);
      view.setInt16(i * POLLFD_BYTES + 4, POLLIN, true);
    });
    view.setBigUint64(this.#count * POLLFD_BYTES, 1n, true);
  }

  /**
   * Resolves when a descriptor is readable, after `timeout_ms`, or at `wake`. One at a time.
   * Keeps the process alive meanwhile.
   */
  wait(timeout_ms: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#waiting) throw new Error('assertion: a poller waits already');
    this.#waiting = true;
    const c = libc();
    return new Promise((resolve) => {
      c.pollAsync(this.#at, this.#count, Math.ceil(Math.min(timeout_ms, WAIT_MS_MAX)), () => {
        this.#waiting = false;
        if (this.#closed) this.#release();
        else c.read(this.#eventfd, this.#wakeAt + POLLFD_BYTES, 8);
        resolve();
      });
    });
  }

  /** Ends the present wait, or the next one at once. */
  wake(): void {
    if (this.#eventfd >= 0) libc().write(this.#eventfd, this.#wakeAt, 8);
  }

  /** Idempotent; a wait that is under way resolves. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.wake();
    if (!this.#waiting) this.#release();
  }

  #release(): void {
    libc().close(this.#eventfd);
    this.#eventfd = -1;
  }
}
