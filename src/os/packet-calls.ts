/**
 * Reads and writes of many packets on a few descriptors, prepared first and then run together. Here one system call
 * each; io-uring.ts does the same with one call for all.
 */
import { libc } from './libc.ts';

/** Request `i` of a batch is prepared by `read` or `write`, all those below `count` are done by `run(count)`. */
export interface PacketCalls {
  /** Requests in a batch at most. */
  readonly batchMax: number;
  /** Of each request that `run` has done: bytes, or a negative error number. */
  readonly results: Int32Array;
  /** Times that the kernel was entered. */
  syscalls: number;
  /** @param file Index of the descriptor. @param address Where `length` bytes are, until `run` is back. */
  read(i: number, file: number, address: number, length: number): void;
  write(i: number, file: number, address: number, length: number): void;
  /**
   * In the order of their indices, and none outlasts the call. A batch has reads of one descriptor, or writes.
   * @returns how many are done: reads end with the first that fails
   */
  run(count: number): number;
}

export class PlainCalls implements PacketCalls {
  readonly batchMax: number;
  readonly results: Int32Array;
  syscalls = 0;
  readonly #fds: Int32Array;
  readonly #files: Int32Array;
  readonly #addresses: Float64Array;
  readonly #lengths: Int32Array;
  #reads = false;
  readonly #libc = libc();

  /** @param fds Non-blocking; they stay the caller's. */
  constructor(batchMax: number, fds: readonly number[]) {
    this.batchMax = batchMax;
    this.results = new Int32Array(batchMax);
    this.#fds = Int32Array.from(fds);
    this.#files = new Int32Array(batchMax);
    this.#addresses = new Float64Array(batchMax);
    this.#lengths = new Int32Array(batchMax);
  }

  read(i: number, file: number, address: number, length: number): void {
    this.#prepare(i, file, address, length);
    this.#reads = true;
  }

  write(i: number, file: number, address: number, length: number): void {
    this.#prepare(i, file, address, length);
    this.#reads = false;
  }

  run(count: number): number {
    const c = this.#libc;
    for (let i = 0; i < count; i++) {
      const fd = this.#fds[this.#files[i]];
      const at = this.#addresses[i];
      this.syscalls++;
      const result = this.#reads ? c.read(fd, at, this.#lengths[i]) : c.write(fd, at, this.#lengths[i]);
      this.results[i] = result < 0 ? -c.errno() : result;
      if (result < 0 && this.#reads) return i + 1;
    }
    return count;
  }

  #prepare(i: number, file: number, address: number, length: number): void {
    this.#files[i] = file;
    this.#addresses[i] = address;
    this.#lengths[i] = length;
  }
}
