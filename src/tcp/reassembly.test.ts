/** Out-of-order data against an array of bytes, and what it costs. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { queueDrop, queuePeek, queuePeekAt } from '../memory/byte-queue.ts';
import { Prng } from '../memory/prng.ts';
import { TCB } from './block.ts';
import {
  auditReassembly,
  reassemblyAdd,
  reassemblyBlocks,
  reassemblyClear,
  reassemblyJoin,
  reassemblyPrune,
} from './reassembly.ts';
import { MODERN, stream, streamByte, TcpContext } from './testing.ts';

const SPACE = 60_000;

/** One connection, whose out-of-order data is handled by hand. Positions count from RCV.NXT at the start. */
class Fixture {
  readonly c: TcpContext;
  readonly t: number;
  readonly origin: number;
  readonly #at: number;

  constructor(chunks = 256) {
    this.c = new TcpContext({ limits: { chunks, connections: 16 } }).establish(MODERN);
    this.t = this.tcp.blocks.find(this.c.conn);
    this.origin = this.tcp.m[this.t + TCB.RCV_NXT];
    this.#at = this.c.arena.carve('segment', 4096);
  }

  get tcp() {
    return this.c.engine.tcp;
  }

  get rcvNxt(): number {
    return (this.tcp.m[this.t + TCB.RCV_NXT] - this.origin) | 0;
  }

  add(from: number, length: number): boolean {
    for (let i = 0; i < length; i++) this.c.arena.u8[this.#at + i] = streamByte(from + i);
    return reassemblyAdd(this.tcp, this.t, (this.origin + from) | 0, this.#at, length);
  }

  /** [from, to) of each run. */
  runs(): [number, number][] {
    return auditReassembly(this.tcp, this.t).map(([seq, length]) => {
      const from = (seq - this.origin) | 0;
      return [from, from + length];
    });
  }

  blocks(): [number, number][] {
    const count = reassemblyBlocks(this.tcp, this.t, this.#at, 4);
    return Array.from({ length: count }, (_, i) => {
      const edge = (k: number) => (this.tcp.view.getInt32(this.#at + 8 * i + 4 * k, false) - this.origin) | 0;
      return [edge(0), edge(1)];
    });
  }

  /** All before `next` has come in order: what follows joins the queue, and is read. @returns the bytes */
  close(next: number): number[] {
    this.tcp.m[this.t + TCB.RCV_NXT] = (this.origin + next) | 0;
    while (reassemblyJoin(this.tcp, this.t));
    const bytes: number[] = [];
    const q = this.t + TCB.RCVQ;
    for (let n = queuePeek(this.tcp.chunks, q); n > 0; n = queuePeek(this.tcp.chunks, q)) {
      const at = queuePeekAt(this.tcp.chunks, q);
      bytes.push(...this.c.arena.u8.subarray(at, at + n));
      queueDrop(this.tcp.chunks, q, n);
    }
    return bytes;
  }
}

test('any segments, joins and prunings equal an array of bytes', () => {
  const op = fc.record({
    kind: fc.constantFrom('add', 'add', 'add', 'add', 'near', 'close', 'prune'),
    from: fc.integer({ min: 0, max: SPACE }),
    length: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 20 })),
  });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 150, size: 'max' }), fc.constantFrom(24, 256), (ops, chunks) => {
      const f = new Fixture(chunks);
      const have = new Uint8Array(SPACE + 10_000);
      let last = 0;
      for (const { kind, from, length } of ops) {
        const next = f.rcvNxt;
        if (kind === 'close') {
          // The gap closes here, or in the middle of a run.
          const to = Math.max(next, Math.min(SPACE, next + (from % 5000)));
          const end = have.indexOf(0, to);
          const bytes = f.close(to);
          expect(f.rcvNxt).toBe(end);
          expect(Buffer.compare(Buffer.from(bytes), stream(to, end - to))).toBe(0);
          have.fill(1, 0, end);
        } else if (kind === 'prune') {
          const before = f.tcp.chunks.free;
          const runs = f.runs();
          reassemblyPrune(f.tcp, f.t, 1 + (length % 3));
          const left = f.runs();
          expect(left).toEqual(runs.slice(0, left.length));
          expect(f.tcp.chunks.free - before >= 1 + (length % 3) || left.length === 0).toBe(true);
          have.fill(0, left.at(-1)?.[1] ?? next);
        } else {
          const seq = Math.max(next + 1, kind === 'near' ? last : from);
          const whole = f.add(seq, length);
          last = seq + length;
          if (whole) have.fill(1, seq, seq + length);
          const runs = f.runs();
          const held = new Uint8Array(have.length);
          held.fill(1, 0, next);
          for (const [a, b] of runs) held.fill(1, a, b);
          // What was refused may be held in part, from its beginning.
          if (!whole) for (let i = seq; i < seq + length; i++) have[i] |= held[i];
          expect(Buffer.compare(held, have)).toBe(0);
          for (const [a, b] of f.blocks()) expect(runs).toContainEqual([a, b]);
          const mine = f.blocks()[0];
          if (whole) expect(mine[0] <= seq && mine[1] >= seq + length).toBe(true);
        }
      }
      reassemblyClear(f.tcp, f.t);
      expect(f.runs()).toEqual([]);
      expect(f.tcp.chunks.inUse).toBe(0);
    }),
    { numRuns: 120 },
  );
});

describe('cost', () => {
  test('one byte in two: a run needs bytes, not just a place', () => {
    const f = new Fixture(1024);
    for (let i = 0; i < 20_000; i++) f.add(2 + 2 * i, 1);
    expect(f.runs().length).toBeLessThanOrEqual(33);
    expect(f.tcp.chunks.inUse).toBeLessThanOrEqual(33);
    expect(f.tcp.counters.outOfOrderDropped).toBeGreaterThan(19_900);
  });

  test('one byte at a time, backwards or by turns, fills chunks as well as whole segments do', () => {
    for (const order of ['backwards', 'odd, then even'] as const) {
      const f = new Fixture(1024);
      for (let k = 0; k < 20; k++) {
        // Within what sparse runs are allowed.
        for (let i = 0; i < 40; i++) {
          const place = order === 'backwards' ? 39 - i : i < 20 ? 2 * i : 2 * (i - 20) + 1;
          expect(f.add(1 + 40 * k + place, 1)).toBe(true);
        }
      }
      expect(f.runs()).toEqual([[1, 801]]);
      expect(f.tcp.chunks.inUse).toBe(1);
    }
  });

  test('thousands of runs in any order: none is lost, and looking one up stays cheap', () => {
    const f = new Fixture(7000);
    const count = 3000;
    const order = Array.from({ length: count }, (_, i) => i);
    const prng = new Prng(1);
    for (let i = count - 1; i > 0; i--) {
      const j = prng.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    for (const i of order) expect(f.add(1 + 2000 * i, 1448)).toBe(true);
    expect(f.runs().length).toBe(count);
    expect(depth(f)).toBeLessThan(60);
    // Backwards, with chunks that come from a pool in the order in which these leave it.
    reassemblyClear(f.tcp, f.t);
    for (let i = count; i > 0; i--) f.add(1 + 2000 * i, 1448);
    expect(depth(f)).toBeLessThan(60);
    reassemblyClear(f.tcp, f.t);
    expect(f.tcp.chunks.inUse).toBe(0);
  });
});

/** Steps from the root to the farthest run. */
function depth(f: Fixture): number {
  const [left, right] = [5, 6];
  const of = (node: number): number =>
    node === 0 ? 0 : 1 + Math.max(of(f.tcp.m[(node >> 2) + left]), of(f.tcp.m[(node >> 2) + right]));
  return of(f.tcp.m[f.t + TCB.OOO]);
}
