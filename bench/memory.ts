/**
 * What the structures under src/memory/ cost, ns per operation: `node bench/memory.ts [name…]`.
 * Each figure is the median of several runs after warm-up. The flags are those that an engine sets.
 */
import { once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { Arena } from '../src/memory/arena.ts';
import {
  QUEUE_WORDS,
  queueAppend,
  queueAppendBytes,
  queueCopySum,
  queueDrop,
} from '../src/memory/byte-queue.ts';
import { ChunkPool } from '../src/memory/chunks.ts';
import { FLOW_BLOCK, FLOW_HASH, FlowTable, flowHash4, flowHash6 } from '../src/memory/flow-table.ts';
import { FramePool } from '../src/memory/frame-pool.ts';
import { MpscRing, SpscRing } from '../src/memory/rings.ts';
import { TimerWheel } from '../src/memory/timer-wheel.ts';
import type { ProducerTask } from './ring-producer.ts';

setFlagsFromString('--max-inlined-bytecode-size-cumulative=4000');
setFlagsFromString('--max-inlined-bytecode-size=2000');

/** What the results go to, so that the work can't be left out. */
let sink = 0;

function report(name: string, ns: number): void {
  console.log(`${name.padEnd(52)} ${ns.toFixed(1).padStart(8)} ns`);
}

/** @param work Does `n` operations. */
function measure(name: string, n: number, work: (n: number) => number): void {
  for (let i = 0; i < 3; i++) sink ^= work(n);
  const runs: number[] = [];
  for (let i = 0; i < 9; i++) {
    const start = performance.now();
    sink ^= work(n);
    runs.push(((performance.now() - start) * 1e6) / n);
  }
  report(name, runs.sort((a, b) => a - b)[4]);
}

function framePool(): void {
  const arena = new Arena(64 << 20);
  const pool = new FramePool(arena, 'frames', { frames: 16_384, frameBytes: 2048 });
  measure('frame pool: take + give', 1e6, (n) => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const frame = pool.take();
      sum ^= frame;
      pool.give(frame);
    }
    return sum;
  });
  const held = new Int32Array(1024);
  measure('frame pool: 1,024 takes, then 1,024 gives, per pair', 1 << 20, (n) => {
    for (let i = 0; i < n; i += 1024) {
      for (let k = 0; k < 1024; k++) held[k] = pool.take();
      for (let k = 0; k < 1024; k++) pool.give(held[k]);
    }
    return held[0];
  });
  measure('frame pool: takeBulk + giveBulk of 64, per frame', 1 << 20, (n) => {
    for (let i = 0; i < n; i += 64) pool.giveBulk(held, pool.takeBulk(held, 64));
    return held[0];
  });
}

function byteQueue(): void {
  const arena = new Arena(64 << 20);
  const pool = new ChunkPool(arena, 'chunks', 4096);
  const q = arena.carve('queue', QUEUE_WORDS * 4) >> 2;
  const at = arena.carve('data', 1 << 17);
  for (const bytes of [64, 1448, 16_384]) {
    measure(`byte queue: append + copySum + drop of ${bytes} B`, 2e5, (n) => {
      let sum = 0;
      for (let i = 0; i < n; i++) {
        queueAppend(pool, q, at, bytes);
        sum ^= queueCopySum(pool, q, 0, bytes, at + 65_536);
        queueDrop(pool, q, bytes);
      }
      return sum;
    });
  }
  measure('byte queue: 64 KiB sent and acknowledged by 1448 B', 2e5, (n) => {
    let sum = 0;
    queueAppend(pool, q, at, 65_536);
    for (let i = 0; i < n; i++) {
      queueAppend(pool, q, at, 1448);
      sum ^= queueCopySum(pool, q, 65_536 - 1448, 1448, at + 65_536);
      queueDrop(pool, q, 1448);
    }
    queueDrop(pool, q, 65_536);
    return sum;
  });
}

/** For BYTE_LOOP_MAX: on both sides of it. */
function appendBytes(): void {
  const arena = new Arena(64 << 20);
  const pool = new ChunkPool(arena, 'chunks', 4096);
  const q = arena.carve('queue', QUEUE_WORDS * 4) >> 2;
  const source = new Uint8Array(4096);
  for (const bytes of [16, 64, 96, 128, 192, 256, 512, 1448]) {
    measure(`byte queue: appendBytes + drop of ${bytes} B`, 2e5, (n) => {
      for (let i = 0; i < n; i++) {
        queueAppendBytes(pool, q, source, 8, 8 + bytes);
        queueDrop(pool, q, bytes);
      }
      return n;
    });
  }
}

function timerWheel(): void {
  const arena = new Arena(64 << 20);
  const wheel = new TimerWheel(arena, 'wheel', 0, { next: 0, prev: 1, at: 2 });
  const timers = 100_000;
  const base = arena.carve('blocks', timers * 128) >> 2;
  const block = (i: number) => base + (i % timers) * 32;
  // A stride that visits the blocks out of order, as flows come.
  const some = (i: number) => block(Math.imul(i, 7919) & 0x7fff_ffff);
  let now = 0;
  for (let i = 0; i < timers; i++) wheel.arm(block(i), 200 + (Math.imul(i, 31) & 0xffff));
  measure('timer wheel, 100k armed: arm later', 1e6, (n) => {
    for (let i = 0; i < n; i++) wheel.arm(some(i), now + 70_000 + (i & 1023));
    return wheel.armed;
  });
  measure('timer wheel, 100k armed: disarm + arm', 1e6, (n) => {
    for (let i = 0; i < n; i++) {
      wheel.disarm(some(i));
      wheel.arm(some(i), now + 200 + (i & 4095));
    }
    return wheel.armed;
  });
  measure('timer wheel, 100k armed: 1 ms, each expired re-armed', 1000, (n) => {
    for (let i = 0; i < n; i++) {
      wheel.advance(++now);
      for (let b = wheel.expired(); b !== 0; b = wheel.expired()) wheel.arm(b, now + 1000 + (b & 1023));
    }
    return wheel.armed;
  });
  measure('timer wheel, 100k armed: the same, per expired', timers, (n) => {
    for (let left = n; left > 0; ) {
      wheel.advance(++now);
      for (let b = wheel.expired(); b !== 0; b = wheel.expired(), left--)
        wheel.arm(b, now + 1000 + (b & 1023));
    }
    return wheel.armed;
  });
  measure('timer wheel, 100k armed: nextDeadline', 1e6, (n) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += wheel.nextDeadline();
    return sum;
  });
  for (let i = 0; i < timers; i++) wheel.disarm(block(i));
  wheel.arm(block(0), now + 2 ** 29);
  measure('timer wheel, 1 far off: 1 ms', 1e6, (n) => {
    for (let i = 0; i < n; i++) wheel.advance(++now);
    return now;
  });
}

/** As the table's users write it, constants and all. */
const HASH = FLOW_HASH;
const BLOCK = FLOW_BLOCK;

function lookup(table: FlowTable, hash: number, laddr: number): number {
  const { m, base, mask } = table;
  for (let i = hash & mask; ; i = (i + 1) & mask) {
    const block = m[base + 2 * i + BLOCK];
    if (block === 0) return 0;
    if (m[base + 2 * i + HASH] === hash && m[block] === laddr) return block;
  }
}

function flowTable(): void {
  measure('flow hash, IPv4', 1e7, (n) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum ^= flowHash4(1, 2, 3, i, i);
    return sum;
  });
  measure('flow hash, IPv6', 1e7, (n) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum ^= flowHash6(1, 2, 3, 4, 5, 6, i & 1008, 7, 8, 9, i);
    return sum;
  });
  for (const flows of [10_000, 1_000_000]) {
    const arena = new Arena(flows * (128 + 64) + (1 << 20));
    const table = new FlowTable(arena, 'flows', flows);
    const base = arena.carve('blocks', flows * 128) >> 2;
    for (let i = 0; i < flows; i++) {
      arena.i32[base + i * 32] = 7;
      table.insert(flowHash4(1, 2, 7, i, i), base + i * 32);
    }
    measure(`flow table, ${flows}: hash + lookup + compare`, 1e6, (n) => {
      let sum = 0;
      for (let i = 0; i < n; i++) {
        const flow = (Math.imul(i, 7919) & 0x7fff_ffff) % flows;
        sum ^= lookup(table, flowHash4(1, 2, 7, flow, flow), 7);
      }
      return sum;
    });
    measure(`flow table, ${flows}: remove + insert`, 1e6, (n) => {
      for (let i = 0; i < n; i++) {
        const flow = (Math.imul(i, 7919) & 0x7fff_ffff) % flows;
        const hash = flowHash4(1, 2, 7, flow, flow);
        table.remove(hash, base + flow * 32);
        table.insert(hash, base + flow * 32);
      }
      return table.count;
    });
  }
}

async function rings(): Promise<void> {
  for (const kind of ['spsc', 'mpsc'] as const) {
    for (const batch of [1, 16, 64]) {
      const arena = new Arena(1 << 20);
      const Ring = kind === 'spsc' ? SpscRing : MpscRing;
      const ring = Ring.carve(arena, 'ring', { slots: 1024 });
      const records = batch === 1 ? 2e6 : 3e7;
      const buffer = arena.memory.buffer as unknown as SharedArrayBuffer;
      const task: ProducerTask = { buffer, kind, at: ring.at, producer: 0, records, batch, ragged: false };
      const worker = new Worker(new URL('./ring-producer.ts', import.meta.url), { workerData: task });
      const exit = once(worker, 'exit');
      const got = new Int32Array(batch);
      // From the first record on, so that the worker's start doesn't count.
      while (ring.pop(got, 0, batch) === 0);
      const start = performance.now();
      let bad = 0;
      for (let done = batch === 1 ? 1 : got[0] + batch; done < records; ) {
        const count = ring.pop(got, 0, batch);
        if (count > 0 && got[count - 1] < done) bad++;
        done += count;
        if (count > 0 && got[count - 1] === records - 1) break;
      }
      report(
        `${kind} ring across threads, batch ${batch}, per record`,
        ((performance.now() - start) * 1e6) / records,
      );
      sink ^= bad;
      await exit;
    }
  }
}

const sections = { framePool, byteQueue, appendBytes, timerWheel, flowTable, rings };
const wanted = process.argv.slice(2);
for (const [name, run] of Object.entries(sections)) {
  if (wanted.length === 0 || wanted.includes(name)) await run();
}
if (sink === 0x5eed) console.log('(a coincidence)');
