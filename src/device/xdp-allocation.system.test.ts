/** Sending and receiving make no garbage: a million packets over a veth, and the heap stays as it is. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { beforeAll, describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import { enterNewNetwork } from '../os/netns.ts';
import { exchangeFrame } from './forward.ts';
import { createFrames } from './frames.ts';
import { createVeth } from './xdp.testing.ts';
import { openXdp } from './xdp.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root)';
const PACKETS = 1_000_000;
const BATCH = 64;
const SLOTS = 256;
/** V8 boxes a number now and then. */
const BYTES_PER_PACKET_MAX = 0.5;

describe.skipIf(reason !== '')(`AF_XDP${reason}`, () => {
  beforeAll(enterNewNetwork);

  test('a million packets sent, received and exchanged allocate next to nothing', {
    timeout: 120_000,
  }, () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    createVeth('xdp0', 'far0', 2);
    const arena = new Arena(16 << 20);
    const pool = createFrames(arena, 'frames', 4 * SLOTS, 1500);
    const left = openXdp(arena, { name: 'xdp0', slots: SLOTS, pool });
    const right = openXdp(arena, { name: 'far0', slots: SLOTS, pool });
    const { m } = left.tx;
    let received = 0;
    const run = (packets: number): void => {
      for (let sent = 0; sent < packets; sent += BATCH) {
        for (let i = 0; i < BATCH; i++) {
          const slot = left.tx.slot(left.tx.head);
          m[(m[slot + DESC_AT] >> 2) + 3] = 0xb588;
          m[slot + DESC_LENGTH] = 60;
          m[slot + DESC_FLAGS] = 0;
          left.tx.head = (left.tx.head + 1) | 0;
        }
        left.txSync();
        right.rxSync();
        while (right.rx.available > 0 && right.tx.available > 0) {
          exchangeFrame(m, right.rx.slot(right.rx.head), right.tx.slot(right.tx.head));
          right.rx.head = (right.rx.head + 1) | 0;
          right.tx.head = (right.tx.head + 1) | 0;
        }
        right.txSync();
        received += left.rxSync();
        left.rx.head = left.rx.tail;
      }
    };
    run(PACKETS / 2);
    collect();
    const before = received;
    const heapBefore = process.memoryUsage().heapUsed;
    run(PACKETS);
    const bytes = process.memoryUsage().heapUsed - heapBefore;
    expect(received - before).toBe(PACKETS);
    expect(bytes / PACKETS).toBeLessThan(BYTES_PER_PACKET_MAX);
    left.close();
    right.close();
    pool.audit();
    expect(pool.inUse).toBe(0);
  });
});
