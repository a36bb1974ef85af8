/**
 * io_uring (linux/io_uring.h) for batches of packets: requests are written into memory shared with the kernel, and one
 * system call does all of them.
 *
 *     sqes[0..entries)  ◄── written by us; run in order by io_uring_enter(2)
 *     cqes[0..2*entries) ── their results, by user_data = index in the batch
 *
 * **Order, and nothing left behind.** io_uring may complete requests in any order and much later: it may wait for the
 * descriptor, or hand the request to a worker thread. Not those with RWF_NOWAIT: the kernel issues the requests of a
 * submission one after the other, each to its end, in the call; one that would have to wait fails with EAGAIN instead
 * of being put off. So packets leave in the order of their requests, and arrive in it. That a buffer is ours again when
 * `run` comes back doesn't even rest on this: the call waits for as many results as it has submitted requests.
 *
 * What needs a request to be outstanding between two calls was tried and was no gain: reads that stay posted
 * (READ_MULTISHOT with a ring of buffers) take 90 ns more a packet than reads by the batch, since the kernel asks for
 * each whether there is something to read.
 */
import { closeSync } from 'node:fs';
import { EAGAIN, EBUSY, EINTR, ENOMEM, SystemError } from './errno.ts';
import { check, type Libc, libc, NativeMemory, syscallNumbers } from './libc.ts';
import type { PacketCalls } from './packet-calls.ts';

/** struct io_uring_params, and in it: entries of both rings, flags, features, struct io_sqring_offsets, io_cqring_offsets. */
const PARAMS_BYTES = 120;
const P_SQ_ENTRIES = 0;
const P_CQ_ENTRIES = 4;
const P_FLAGS = 8;
const P_SQ_HEAD = 40;
const P_SQ_TAIL = 44;
const P_SQ_ARRAY = 64;
const P_CQ_HEAD = 80;
const P_CQ_TAIL = 84;
const P_CQ_CQES = 100;

/** A bad request doesn't keep the rest of its batch from being submitted (Linux 5.18). */
const SETUP_SUBMIT_ALL = 0x80;
/** One thread uses the ring, and completions need no lock against interrupts (Linux 6.1). */
const SETUP_SINGLE_ISSUER = 0x1000;
const SETUP_DEFER_TASKRUN = 0x2000;
const SETUP = SETUP_SUBMIT_ALL | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN;

const OFFSET_SQES = 0x10000000;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;

const ENTER_GETEVENTS = 1;
const REGISTER_BUFFERS = 0;
const UNREGISTER_BUFFERS = 1;
const REGISTER_FILES = 2;
const UNREGISTER_FILES = 3;
/** The kernel's, of one registered buffer. */
const REGISTERED_BYTES_MAX = 2 ** 30;

const OP_READ_FIXED = 4;
const OP_WRITE_FIXED = 5;
const OP_READ = 22;
const OP_WRITE = 23;
const SQE_FIXED_FILE = 1;
const RWF_NOWAIT = 8;

/** struct io_uring_sqe in words: opcode u8, flags u8, ioprio u16; fd; offset u64; address u64; length; flags of the call; user_data u64. */
const SQE_WORDS = 16;
const SQE_FD = 1;
const SQE_ADDRESS = 4;
const SQE_LENGTH = 6;
const SQE_RW_FLAGS = 7;
const SQE_USER_DATA = 8;
/** struct io_uring_cqe in words: user_data u64, result i32, flags u32. */
const CQE_WORDS = 4;
const CQE_RESULT = 2;

/** Errors of a call that may do better next time: short of memory, or interrupted. */
const PASSING: readonly number[] = [EAGAIN, EBUSY, EINTR, ENOMEM];
const HIGH = 2 ** 32;
/** A place in the table of files that is left empty. */
const NO_FILE = -1;

export class IoUring implements PacketCalls {
  readonly batchMax: number;
  readonly results: Int32Array;
  syscalls = 0;
  readonly #fd: number;
  readonly #libc: Libc;
  readonly #enter: number;
  readonly #register: number;
  /** Both rings, and the requests, as the kernel maps them. */
  readonly #ringAddress: number;
  readonly #ringBytes: number;
  readonly #sqesAddress: number;
  readonly #ring: Int32Array;
  readonly #sqes: Int32Array;
  /** Word indices in `#ring`. */
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqes: number;
  readonly #sqMask: number;
  readonly #cqMask: number;
  #tail = 0;
  /** Memory that is pinned for good (`registerMemory`), from and to. */
  #pinnedFrom = 0;
  #pinnedTo = 0;
  #closed = false;

  /**
   * @param entries Requests in a batch, a power of two.
   * @param fds Registered: they stay open in the kernel until `close`, whoever closes them.
   * @throws SystemError EPERM, EACCES, ENOSYS (not allowed here), EINVAL (before Linux 6.1), ENOMEM, EMFILE
   */
  constructor(entries: number, fds: readonly number[]) {
    const c = libc();
    const numbers = syscallNumbers();
    this.#libc = c;
    this.#enter = numbers.ioUringEnter;
    this.#register = numbers.ioUringRegister;
    using params = new NativeMemory(PARAMS_BYTES);
    const { view } = params;
    view.setUint32(P_FLAGS, SETUP, true);
    this.#fd = check(c.syscall(numbers.ioUringSetup, entries, params.address, 0), 'io_uring_setup');
    const u32 = (at: number) => view.getUint32(at, true);
    this.batchMax = u32(P_SQ_ENTRIES);
    this.results = new Int32Array(this.batchMax);
    this.#sqMask = this.batchMax - 1;
    this.#cqMask = u32(P_CQ_ENTRIES) - 1;
    // Both rings are in one mapping since Linux 5.4.
    this.#ringBytes = Math.max(
      u32(P_SQ_ARRAY) + this.batchMax * 4,
      u32(P_CQ_CQES) + u32(P_CQ_ENTRIES) * CQE_WORDS * 4,
    );
    let mapped = 0;
    try {
      const map = (bytes: number, offset: number) =>
        check(c.mmap(0, bytes, PROT_READ_WRITE, MAP_SHARED_POPULATE, this.#fd, offset), 'mmap of io_uring');
      this.#ringAddress = mapped = map(this.#ringBytes, 0);
      this.#sqesAddress = map(this.batchMax * SQE_WORDS * 4, OFFSET_SQES);
    } catch (error) {
      if (mapped !== 0) c.munmap(mapped, this.#ringBytes);
      closeSync(this.#fd);
      throw error;
    }
    this.#ring = new Int32Array(c.viewOf(this.#ringAddress, this.#ringBytes));
    this.#sqes = new Int32Array(c.viewOf(this.#sqesAddress, this.batchMax * SQE_WORDS * 4));
    this.#sqHead = u32(P_SQ_HEAD) >> 2;
    this.#sqTail = u32(P_SQ_TAIL) >> 2;
    this.#cqHead = u32(P_CQ_HEAD) >> 2;
    this.#cqTail = u32(P_CQ_TAIL) >> 2;
    this.#cqes = u32(P_CQ_CQES) >> 2;
    for (let i = 0; i < this.batchMax; i++) {
      // Entry i of the ring is always request i.
      this.#ring[(u32(P_SQ_ARRAY) >> 2) + i] = i;
      this.#sqes[i * SQE_WORDS + SQE_RW_FLAGS] = RWF_NOWAIT;
    }
    try {
      this.#registerFiles(fds);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Pins memory, so that it needn't be looked up for each request that is inside: 6 % of a packet's time. Once.
   * @returns false when the kernel won't (RLIMIT_MEMLOCK), or it is too large; requests go without, too
   */
  registerMemory(address: number, bytes: number): boolean {
    if (bytes > REGISTERED_BYTES_MAX) return false;
    // struct iovec
    using iovec = new NativeMemory(16);
    iovec.view.setBigUint64(0, BigInt(address), true);
    iovec.view.setBigUint64(8, BigInt(bytes), true);
    const call = [this.#register, this.#fd, REGISTER_BUFFERS, iovec.address, 1, 0] as const;
    if (this.#libc.syscall5(...call) !== 0) return false;
    this.#pinnedFrom = address;
    this.#pinnedTo = address + bytes;
    return true;
  }

  get registered(): boolean {
    return this.#pinnedTo > 0;
  }

  read(i: number, file: number, address: number, length: number): void {
    const pinned = address >= this.#pinnedFrom && address + length <= this.#pinnedTo;
    this.#prepare(i, pinned ? OP_READ_FIXED : OP_READ, file, address, length);
  }

  write(i: number, file: number, address: number, length: number): void {
    const pinned = address >= this.#pinnedFrom && address + length <= this.#pinnedTo;
    this.#prepare(i, pinned ? OP_WRITE_FIXED : OP_WRITE, file, address, length);
  }

  run(count: number): number {
    const ring = this.#ring;
    Atomics.store(ring, this.#sqTail, (this.#tail + count) | 0);
    const failure = this.#call(count, count);
    if (failure !== 0 && !PASSING.includes(failure)) throw new SystemError(failure, 'io_uring_enter');
    // What it wouldn't submit is taken back, so that the next batch starts anew.
    const head = Atomics.load(ring, this.#sqHead);
    const submitted = (head - this.#tail) | 0;
    this.#tail = head;
    if (submitted < count) Atomics.store(ring, this.#sqTail, head);
    let done = 0;
    for (;;) {
      const { results } = this;
      const tail = Atomics.load(ring, this.#cqTail);
      let next = ring[this.#cqHead];
      for (; next !== tail; next = (next + 1) | 0, done++) {
        const cqe = this.#cqes + (next & this.#cqMask) * CQE_WORDS;
        results[ring[cqe]] = ring[cqe + CQE_RESULT];
      }
      Atomics.store(ring, this.#cqHead, next);
      if (done >= submitted) return submitted;
      // A signal came before all were done.
      const error = this.#call(0, submitted - done);
      if (error !== 0 && error !== EINTR) throw new SystemError(error, 'io_uring_enter');
    }
  }

  /** No request is outstanding. Files and memory are let go at once, not when the kernel gets round to it. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const c = this.#libc;
    if (this.registered) c.syscall5(this.#register, this.#fd, UNREGISTER_BUFFERS, 0, 0, 0);
    c.syscall5(this.#register, this.#fd, UNREGISTER_FILES, 0, 0, 0);
    closeSync(this.#fd);
    c.munmap(this.#ringAddress, this.#ringBytes);
    c.munmap(this.#sqesAddress, this.batchMax * SQE_WORDS * 4);
  }

  #prepare(i: number, op: number, file: number, address: number, length: number): void {
    const m = this.#sqes;
    const sqe = ((this.#tail + i) & this.#sqMask) * SQE_WORDS;
    m[sqe] = op | (SQE_FIXED_FILE << 8);
    m[sqe + SQE_FD] = file;
    m[sqe + SQE_ADDRESS] = address | 0;
    m[sqe + SQE_ADDRESS + 1] = (address / HIGH) | 0;
    m[sqe + SQE_LENGTH] = length;
    m[sqe + SQE_USER_DATA] = i;
  }

  /** @returns an error number, or 0 */
  #call(submit: number, wait: number): number {
    this.syscalls++;
    const result = this.#libc.syscall5(this.#enter, this.#fd, submit, wait, ENTER_GETEVENTS, 0);
    return result < 0 ? this.#libc.errno() : 0;
  }

  #registerFiles(fds: readonly number[]): void {
    using memory = new NativeMemory(fds.length * 4);
    for (const [i, fd] of fds.entries()) memory.view.setInt32(i * 4, fd, true);
    const call = [this.#register, this.#fd, REGISTER_FILES, memory.address, fds.length, 0] as const;
    check(this.#libc.syscall5(...call), 'io_uring_register IORING_REGISTER_FILES');
  }
}

/** Whether this machine lets us; opens a ring and closes it. @throws SystemError */
export function tryIoUring(): void {
  new IoUring(1, [NO_FILE]).close();
}
