/**
 * Signals eventfds that are shared with processes that we don't trust.
 *
 * write(2) won't do: whether it waits when the counter is full is a flag of the descriptor that the other side may
 * change, and it may fill the counter, so it could stop us for ever. The completion of an asynchronous request (io_submit(2),
 * IOCB_FLAG_RESFD) signals without ever waiting. The request is a poll of something that is always ready.
 */
import { closeSync } from 'node:fs';
import { check, libc, NativeMemory, syscallNumbers } from './libc.ts';

const EFD_CLOEXEC_NONBLOCK = 0x80800;

/** struct iocb, 64 B: opcode u16@16, fd u32@20, buf u64@24 (of a poll its events), flags u32@56, resfd u32@60. */
const IOCB = 0;
const IOCB_CMD_POLL = 5;
const IOCB_FLAG_RESFD = 1;
const POLLOUT = 4;
/** What io_submit takes: an array of addresses of iocbs. */
const LIST = 64;
const CONTEXT = 72;
const MEMORY_BYTES = 80;
/** struct aio_ring, at the context's address: id, nr, head, tail: u32. Head is user space's to move. */
const RING_HEAD = 8;
const RING_TAIL = 12;
const RING_BYTES = 32;
const REQUESTS = 64;

export function createEventfd(): number {
  return check(libc().eventfd(0, EFD_CLOEXEC_NONBLOCK), 'eventfd');
}

export class EventSignaller {
  readonly #memory = new NativeMemory(MEMORY_BYTES);
  /** Always ready to be written to. */
  readonly #ready: number;
  readonly #context: number;
  readonly #ring: DataView;

  /** @throws SystemError when the kernel has no asynchronous I/O, or allows no more of it */
  constructor() {
    const { view, address } = this.#memory;
    this.#ready = createEventfd();
    try {
      check(libc().syscall(syscallNumbers().ioSetup, REQUESTS, address + CONTEXT, 0), 'io_setup');
    } catch (error) {
      closeSync(this.#ready);
      this.#memory.free();
      throw error;
    }
    this.#context = Number(view.getBigUint64(CONTEXT, true));
    this.#ring = new DataView(libc().viewOf(this.#context, RING_BYTES));
    view.setUint16(IOCB + 16, IOCB_CMD_POLL, true);
    view.setInt32(IOCB + 20, this.#ready, true);
    view.setBigUint64(IOCB + 24, BigInt(POLLOUT), true);
    view.setUint32(IOCB + 56, IOCB_FLAG_RESFD, true);
    view.setBigUint64(LIST, BigInt(address + IOCB), true);
  }

  /** @returns whether it is an eventfd. Its readers wake; a full counter stays full. */
  signal(eventfd: number): boolean {
    const { view, address } = this.#memory;
    this.#ring.setUint32(RING_HEAD, this.#ring.getUint32(RING_TAIL, true), true);
    view.setInt32(IOCB + 60, eventfd, true);
    return libc().syscall(syscallNumbers().ioSubmit, this.#context, 1, address + LIST) === 1;
  }

  close(): void {
    libc().syscall(syscallNumbers().ioDestroy, this.#context, 0, 0);
    closeSync(this.#ready);
    this.#memory.free();
  }
}
