import { closeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { libc, NativeMemory } from './libc.ts';
import {
  createSharedMemory,
  mapShared,
  PAGE_BYTES,
  sharedMemoryFault,
  unmapShared,
} from './shared-memory.ts';

test('two mappings over arenas’ pages show the same bytes, until one is undone', () => {
  const fd = createSharedMemory('test', PAGE_BYTES);
  expect(sharedMemoryFault(fd, PAGE_BYTES)).toBeNull();
  expect(sharedMemoryFault(fd, PAGE_BYTES + 1)).toMatch(/fewer/);
  const [a, b] = [new Arena(4 * PAGE_BYTES), new Arena(4 * PAGE_BYTES)];
  const at = a.carve('shared', PAGE_BYTES, PAGE_BYTES);
  b.carve('shared', PAGE_BYTES, PAGE_BYTES);
  for (const arena of [a, b]) mapShared(libc().addressOf(arena.u8) + at, PAGE_BYTES, fd, arena === a);
  closeSync(fd);
  a.u8.fill(7, at, at + PAGE_BYTES);
  expect(b.u8.subarray(at, at + PAGE_BYTES).every((byte) => byte === 7)).toBe(true);
  expect(b.u8[at - 1] + b.u8[at + PAGE_BYTES]).toBe(0);
  // The kernels work on them as on any other.
  a.kernels.copy(64, at, 100);
  expect(a.u8[163]).toBe(7);
  unmapShared(libc().addressOf(b.u8) + at, PAGE_BYTES);
  expect(b.u8[at]).toBe(0);
  a.u8[at] = 8;
  expect(b.u8[at]).toBe(0);
  unmapShared(libc().addressOf(a.u8) + at, PAGE_BYTES);
});

test('memory of huge pages is told, which could run out when it is touched', ({ skip }) => {
  const MFD_ALLOW_SEALING_HUGETLB = 2 | 4;
  using name = new NativeMemory(16);
  const fd = libc().memfd_create(name.address, MFD_ALLOW_SEALING_HUGETLB);
  if (fd < 0) skip('this kernel has no huge pages');
  const [F_ADD_SEALS, F_SEAL_SHRINK] = [1033, 2];
  libc().fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
  expect(sharedMemoryFault(fd, PAGE_BYTES)).toMatch(/huge pages/);
  closeSync(fd);
});

test('its size can’t be changed', () => {
  const fd = createSharedMemory('test', PAGE_BYTES);
  expect(libc().ftruncate(fd, 0)).toBe(-1);
  expect(libc().ftruncate(fd, 2 * PAGE_BYTES)).toBe(-1);
  closeSync(fd);
});
