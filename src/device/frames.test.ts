import { expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DESC_AT } from '../memory/ring.ts';
import { createFrames, createRings, emptyRings, FRAME_HEADROOM, SMALL_ROOM_BYTES } from './frames.ts';

test('rings take their buffers from the pool that they are told, if its are large enough', () => {
  const arena = new Arena(4 << 20);
  const pool = createFrames(arena, 'frames', 16, SMALL_ROOM_BYTES);
  const of = (frameBytes: number) =>
    createRings(arena, 'port', { slots: 8, frameBytes, link: 'ether', pool });
  const rings = of(SMALL_ROOM_BYTES);
  expect(rings.pool).toBe(pool);
  expect(pool.inUse).toBe(16);
  expect([rings.rx.available, rings.tx.available]).toEqual([0, 8]);
  const first = rings.rx.m[rings.rx.slot(0) + DESC_AT];
  expect((first + 14) % 16).toBe(0);
  emptyRings(rings, pool);
  expect(pool.inUse).toBe(0);
  expect(of(SMALL_ROOM_BYTES + 1).pool.frameBytes).toBeGreaterThan(SMALL_ROOM_BYTES + FRAME_HEADROOM);
  expect(pool.inUse).toBe(0);
});

test('a pool that has enough for one ring only has them all back', () => {
  const arena = new Arena(1 << 20);
  const pool = createFrames(arena, 'frames', 15, SMALL_ROOM_BYTES);
  expect(() => createRings(arena, 'port', { slots: 8, frameBytes: 1500, link: 'ip', pool })).toThrow(
    RangeError,
  );
  expect(pool.inUse).toBe(0);
  pool.audit();
});
