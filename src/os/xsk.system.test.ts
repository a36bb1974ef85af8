import { closeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { libc } from './libc.ts';
import {
  isZeroCopy,
  mapXskRing,
  openXsk,
  registerUmem,
  setTxBudget,
  unmapXskRing,
  xskRingBytes,
  xskStatistics,
} from './xsk.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root)';
const KINDS = ['fill', 'completion', 'rx', 'tx'] as const;

describe.skipIf(reason !== '')(`AF_XDP sockets${reason}`, () => {
  test('rings are in the arena, apart, as large as was said, and ordinary memory afterwards', () => {
    for (const slots of [1, 64, 512, 4096]) {
      const arena = new Arena(4 << 20);
      const guard = arena.carve('guard', 64);
      arena.u8.fill(7, guard, guard + 64);
      const fd = openXsk();
      const umem = arena.carve('umem', 4096, 4096);
      registerUmem(fd, libc().addressOf(arena.u8) + umem, 4096, 2048, false);
      const rings = KINDS.map((kind) => {
        const free = arena.bytesFree;
        const ring = mapXskRing(fd, kind, slots, arena);
        expect(free - arena.bytesFree).toBeLessThanOrEqual(xskRingBytes(kind, slots));
        const { at, bytes } = arena.regions[arena.regions.length - 1];
        const entryWords = kind === 'rx' || kind === 'tx' ? 4 : 2;
        expect(ring.mask).toBe(slots - 1);
        expect(ring.entries + slots * entryWords).toBeLessThanOrEqual((at + bytes) >> 2);
        for (const word of [ring.producer, ring.consumer, ring.flags, ring.entries])
          expect(word).toBeGreaterThanOrEqual(at >> 2);
        expect(new Set([ring.producer, ring.consumer, ring.flags, ring.entries]).size).toBe(4);
        // The kernel's page, empty.
        expect(Atomics.load(arena.i32, ring.producer)).toBe(0);
        Atomics.store(arena.i32, ring.entries, 5);
        return ring;
      });
      for (const [i, kind] of KINDS.entries()) {
        unmapXskRing(kind, rings[i], arena);
        expect(arena.i32[rings[i].entries]).toBe(0);
        arena.i32[rings[i].entries] = 9;
        expect(arena.i32[rings[i].entries]).toBe(9);
      }
      closeSync(fd);
      expect(arena.u8.subarray(guard, guard + 64).every((byte) => byte === 7)).toBe(true);
    }
  });

  test('what can’t be is refused with the call that did', () => {
    const arena = new Arena(1 << 20);
    const fd = openXsk();
    expect(() => mapXskRing(fd, 'rx', 3, arena)).toThrow('EINVAL: invalid argument, setsockopt rx ring');
    const address = libc().addressOf(arena.u8);
    expect(() => registerUmem(fd, address + 64, 4096, 2048, true)).toThrow('XDP_UMEM_REG');
    expect(() => registerUmem(fd, address, 4096, 3000, false)).toThrow('XDP_UMEM_REG');
    expect(xskStatistics(fd)).toEqual({ rxDropped: 0, txInvalid: 0 });
    expect(isZeroCopy(fd)).toBe(false);
    mapXskRing(fd, 'tx', 64, arena);
    // Less than the kernel sends anyway.
    expect(setTxBudget(fd, 1)).toBe(false);
    closeSync(fd);
  });
});
