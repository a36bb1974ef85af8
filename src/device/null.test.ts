import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH, FRAME_MORE } from '../memory/ring.ts';
import { queueFrame, takeFrames } from './compliance.testing.ts';
import { createFrames } from './frames.ts';
import { type NullOptions, nullArenaBytes, openNull } from './null.ts';

const open = (options: NullOptions = {}) => openNull(new Arena(nullArenaBytes(options) + 128), options);

describe('null', () => {
  test('gives as many frames as there are slots, and as many as are given back', () => {
    const port = open({ slots: 16 });
    let arrivals = 0;
    port.onArrival = () => arrivals++;
    expect(port.rxSync()).toBe(16);
    expect(takeFrames(port)).toEqual(new Array(16).fill(new Uint8Array(64)));
    port.rxSync();
    port.rx.head = (port.rx.head + 5) | 0;
    expect(port.rxSync()).toBe(16);
    expect(port.counters).toMatchObject({ rxFrames: 37, rxBytes: 37 * 64, syscalls: 0 });
    expect(arrivals).toBe(3);
    expect(open({ rxBytes: 0 }).rxSync()).toBe(0);
    expect(open({ rxBytes: 1518, mtu: 600 }).rx.m.length).toBeGreaterThan(0);
  });

  test('takes whatever is sent, and counts it', () => {
    const port = open({ slots: 16 });
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 16; i++) queueFrame(port, new Uint8Array(100));
      expect(port.txSync()).toBe(16);
    }
    expect(port.counters).toMatchObject({ txFrames: 48, txBytes: 4800, txDropped: 0 });
    const { tx } = port;
    const slot = tx.slot(tx.head);
    queueFrame(port, new Uint8Array(100));
    tx.m[slot + DESC_FLAGS] = FRAME_MORE;
    queueFrame(port, new Uint8Array(100));
    for (const length of [0, -1, port.frameBytes + 1]) {
      tx.m[tx.slot(tx.head) + DESC_LENGTH] = length;
      tx.head = (tx.head + 1) | 0;
    }
    port.txSync();
    expect(port.counters).toMatchObject({ txFrames: 49, txBytes: 5000, txDropped: 3 });
  });

  test('its buffers are its pool’s, may be swapped, and come back on close', () => {
    const arena = new Arena(1 << 20);
    const pool = createFrames(arena, 'frames', 64, 1518);
    const port = openNull(arena, { slots: 16, pool });
    port.rxSync();
    const { m } = port.rx;
    const [from, to] = [port.rx.slot(port.rx.head), port.tx.slot(port.tx.head)];
    [m[from + DESC_AT], m[to + DESC_AT]] = [m[to + DESC_AT], m[from + DESC_AT]];
    port.rx.head = (port.rx.head + 1) | 0;
    port.close();
    port.close();
    expect(pool.inUse).toBe(0);
    pool.audit();
    expect([port.rxSync(), port.txSync(), port.rx.available]).toEqual([0, 0, 0]);
  });

  test('bad lengths are refused', () => {
    for (const rxBytes of [-1, 1519, 1.5]) {
      expect(() => openNull(new Arena(1 << 20), { rxBytes })).toThrow(
        expect.objectContaining({ code: 'EINVAL' }),
      );
    }
  });
});
