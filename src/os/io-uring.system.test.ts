import { closeSync, readdirSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { errorCode } from './errno.ts';
import { IoUring, tryIoUring } from './io-uring.ts';
import { check, libc, NativeMemory } from './libc.ts';
import { type PacketCalls, PlainCalls } from './packet-calls.ts';

const EFD_SEMAPHORE_NONBLOCK_CLOEXEC = 1 | 0x80800;
const EAGAIN = 11;

function refusal(): string {
  try {
    tryIoUring();
    return '';
  } catch (error) {
    return ` (skipped: ${(error as Error).message})`;
  }
}

const reason = refusal();

describe.skipIf(reason !== '')(`io_uring${reason}`, () => {
  /** Counters: each write adds, each read takes one, and fails when there is none. So the order of a batch shows. */
  const eventfds = () =>
    [0, 1].map(() => check(libc().eventfd(0, EFD_SEMAPHORE_NONBLOCK_CLOEXEC), 'eventfd'));

  test('does what calls one by one do, in any batches', () => {
    const fds = eventfds();
    const plainFds = eventfds();
    using memory = new NativeMemory(4096);
    const ring = new IoUring(16, fds);
    const plain = new PlainCalls(16, plainFds);
    try {
      for (const registered of [false, true]) {
        // Half of the requests' memory is pinned, so that both kinds of request are in one batch.
        if (registered) expect(ring.registerMemory(memory.address, 2048)).toBe(true);
        const step = fc.record({
          write: fc.boolean(),
          file: fc.nat(1),
          count: fc.integer({ min: 1, max: 16 }),
        });
        fc.assert(
          fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
            for (const { write, file, count } of steps) {
              const run = (calls: PacketCalls): number[] => {
                for (let i = 0; i < count; i++) {
                  const at = 1984 + i * 8;
                  memory.view.setBigUint64(at, BigInt(i % 3), true);
                  if (write) calls.write(i, file, memory.address + at, 8);
                  else calls.read(i, file, memory.address + at, 8);
                }
                const done = calls.run(count);
                return [...calls.results.subarray(0, done)];
              };
              const wanted = run(plain);
              // Reads by calls end with the first that fails; in a batch the others fail likewise.
              while (wanted.length < count) wanted.push(-EAGAIN);
              expect(run(ring)).toEqual(wanted);
            }
          }),
        );
      }
    } finally {
      ring.close();
      for (const fd of [...fds, ...plainFds]) closeSync(fd);
    }
  });

  test('takes one system call for a batch, and leaves nothing when it is closed', () => {
    const before = readdirSync('/proc/self/fd').length;
    const fds = eventfds();
    using memory = new NativeMemory(64);
    const ring = new IoUring(8, fds);
    expect(ring.registerMemory(memory.address, 2 ** 31)).toBe(false);
    expect(ring.registered).toBe(false);
    for (let i = 0; i < 8; i++) ring.read(i, 0, memory.address, 8);
    expect(ring.run(8)).toBe(8);
    expect(ring.syscalls).toBe(1);
    ring.close();
    ring.close();
    for (const fd of fds) closeSync(fd);
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });

  test('refuses what isn’t open', () => {
    const before = readdirSync('/proc/self/fd').length;
    let code = '';
    try {
      new IoUring(8, [9999]);
    } catch (error) {
      code = errorCode(error);
    }
    expect(code).toBe('EBADF');
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });
});
