/** epoll(7): one descriptor that polls readable when one of several does, and tells which. */
import { closeSync } from 'node:fs';
import { check, libc, NativeMemory } from './libc.ts';

const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;
const EPOLLET = 2 ** 31;
/** struct epoll_event: events u32, data u64; packed on x64 alone. */
const DATA = process.arch === 'x64' ? 4 : 8;
const EVENT_BYTES = DATA + 8;
const EVENTS_MAX = 16;

export class Epoll {
  readonly fd: number;
  readonly #memory = new NativeMemory(EVENTS_MAX * EVENT_BYTES);

  constructor() {
    this.fd = check(libc().epoll_create1(EPOLL_CLOEXEC), 'epoll_create1');
  }

  /**
   * @param edge Readable only until the next `wait` has told of it, whether or not anybody reads: an eventfd needs no
   *   reading then.
   * @throws SystemError EPERM when it is something that can't be waited for
   */
  add(fd: number, edge: boolean): void {
    const { view, address } = this.#memory;
    view.setUint32(0, EPOLLIN + (edge ? EPOLLET : 0), true);
    view.setInt32(DATA, fd, true);
    check(libc().epoll_ctl(this.fd, EPOLL_CTL_ADD, fd, address), 'epoll_ctl');
  }

  /** To be called before the descriptor is closed: who passed it to us may have it open, and it would stay. */
  remove(fd: number): void {
    libc().epoll_ctl(this.fd, EPOLL_CTL_DEL, fd, 0);
  }

  /** Those readable now; doesn't wait. */
  readable(): number[] {
    const { view, address } = this.#memory;
    const n = libc().epoll_wait(this.fd, address, EVENTS_MAX, 0);
    return Array.from({ length: Math.max(0, n) }, (_, i) => view.getInt32(i * EVENT_BYTES + DATA, true));
  }

  close(): void {
    closeSync(this.fd);
    this.#memory.free();
  }
}
