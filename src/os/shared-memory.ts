/** Memory shared with other processes (memfd_create(2)), mapped over pages of an arena. */
import { closeSync, fstatSync, statfsSync } from 'node:fs';
import { SystemError } from './errno.ts';
import { check, libc } from './libc.ts';

const MFD_CLOEXEC_ALLOW_SEALING = 1 | 2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const TMPFS_MAGIC = 0x01021994;
const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED = 0x11;
const MAP_POPULATE = 0x8000;
const MAP_PRIVATE_FIXED_ANONYMOUS = 0x32;

/** The largest page that Linux has (arm64). */
export const PAGE_BYTES = 65_536;

/** Zeroed memory whose size can't change any more. @returns its descriptor. @throws SystemError */
export function createSharedMemory(name: string, bytes: number): number {
  const text = new TextEncoder().encode(`${name}\0`);
  const fd = check(libc().memfd_create(libc().addressOf(text), MFD_CLOEXEC_ALLOW_SEALING), 'memfd_create');
  try {
    check(libc().ftruncate(fd, bytes), 'ftruncate');
    check(libc().fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 'fcntl F_ADD_SEALS');
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * What keeps a descriptor that another process gave us from being mapped, or null. Touching a page beyond a file's end
 * is SIGBUS, so it has to be sealed against shrinking; and pages of hugetlbfs may run out when they are touched.
 */
export function sharedMemoryFault(fd: number, bytes: number): string | null {
  const seals = libc().fcntl(fd, F_GET_SEALS, 0);
  if (seals < 0) return 'no memory of memfd_create';
  if ((seals & F_SEAL_SHRINK) === 0) return 'memory that could shrink: it needs F_SEAL_SHRINK';
  if (statfsSync(`/proc/self/fd/${fd}`).type !== TMPFS_MAGIC)
    return 'memory of huge pages, which could run out';
  const { size } = fstatSync(fd);
  return size < bytes ? `memory of ${size} B, fewer than the ${bytes} told` : null;
}

/**
 * Maps shared memory over pages of an arena that nobody else uses.
 * @param bytes A multiple of PAGE_BYTES.
 * @param populate Take all its pages now, not when they are touched.
 * @throws SystemError
 */
export function mapShared(at: number, bytes: number, fd: number, populate: boolean): void {
  const flags = MAP_SHARED_FIXED | (populate ? MAP_POPULATE : 0);
  check(libc().mmap(at, bytes, PROT_READ_WRITE, flags, fd, 0), 'mmap of shared memory');
}

/** Maps zeroed memory of our own there again. */
export function unmapShared(at: number, bytes: number): void {
  const mapped = libc().mmap(at, bytes, PROT_READ_WRITE, MAP_PRIVATE_FIXED_ANONYMOUS, -1, 0);
  // Pages that the other process may still write to must not stay: there is no going on.
  if (mapped === -1) throw new SystemError(libc().errno(), 'mmap of anonymous memory');
}
