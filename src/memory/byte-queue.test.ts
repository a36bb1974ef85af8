import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena } from './arena.ts';
import {
  QUEUE_CURSOR,
  QUEUE_HEAD,
  QUEUE_LENGTH,
  QUEUE_OFF,
  QUEUE_OTHER,
  QUEUE_TAIL,
  QUEUE_WORDS,
  queueAdopt,
  queueAppend,
  queueAppendBytes,
  queueClear,
  queueCopy,
  queueCopySum,
  queueDrop,
  queuePeek,
  queuePeekAt,
} from './byte-queue.ts';
import { CHUNK_HEADER_BYTES, CHUNK_NEXT, ChunkPool } from './chunks.ts';

const CHUNKS = 12;

class Context {
  readonly arena = new Arena(1 << 20);
  readonly pool: ChunkPool;
  /** Two queues of one pool: a chunk lost to the other would show. */
  readonly queues: readonly number[];
  readonly scratch: number;
  readonly models: number[][] = [[], []];
  #byte = 0;

  constructor(chunkBytes: number) {
    this.pool = new ChunkPool(this.arena, 'chunks', CHUNKS, chunkBytes);
    const words = this.arena.carve('queues', 2 * QUEUE_WORDS * 4) >> 2;
    this.queues = [words, words + QUEUE_WORDS];
    this.scratch = this.arena.carve('scratch', 8192);
  }

  /** Bytes that never repeat at a distance of a chunk. */
  bytes(n: number): Uint8Array {
    return Uint8Array.from(
      { length: n },
      () => (this.#byte = (this.#byte * 5 + 3 + (this.#byte >> 5)) & 0xff),
    );
  }

  word(which: number, word: number): number {
    return this.arena.i32[this.queues[which] + word];
  }

  chain(which: number): number[] {
    const chain = [];
    for (let c = this.word(which, QUEUE_HEAD); c !== 0; c = this.arena.i32[(c >> 2) + CHUNK_NEXT]) {
      chain.push(c);
    }
    return chain;
  }

  /** What byte-queue.ts promises of a queue's words at any time. */
  check(): void {
    let used = 0;
    for (const [which, model] of this.models.entries()) {
      const chain = this.chain(which);
      const off = this.word(which, QUEUE_OFF);
      used += chain.length;
      expect(this.word(which, QUEUE_LENGTH)).toBe(model.length);
      expect(this.word(which, QUEUE_TAIL)).toBe(chain.at(-1) ?? 0);
      expect(chain.length).toBe(
        model.length === 0 ? 0 : Math.ceil((off + model.length) / this.pool.dataBytes),
      );
      expect(off).toBeLessThan(this.pool.dataBytes);
      const cursors = [this.word(which, QUEUE_CURSOR), this.word(which, QUEUE_OTHER)];
      if (chain.length === 0) {
        expect(cursors).toEqual([0, 0]);
        expect(off).toBe(0);
      } else {
        for (const cursor of cursors) expect(chain).toContain(cursor);
        const peek = queuePeek(this.pool, this.queues[which]);
        expect(peek).toBe(Math.min(model.length, this.pool.dataBytes - off));
        const at = queuePeekAt(this.pool, this.queues[which]);
        expect([...this.arena.u8.subarray(at, at + peek)]).toEqual(model.slice(0, peek));
      }
    }
    expect(this.pool.inUse).toBe(used);
    this.pool.audit();
  }
}

/** RFC 1071 the slow way. */
function sumOf(bytes: number[]): number {
  let sum = 0;
  for (const [i, byte] of bytes.entries()) sum += i % 2 === 0 ? byte * 256 : byte;
  while (sum > 0xffff) sum = (sum % 65_536) + Math.floor(sum / 65_536);
  return sum;
}

const op = fc.record({
  kind: fc.constantFrom('append', 'appendBytes', 'adopt', 'drop', 'dropAll', 'copy', 'copySum', 'clear'),
  which: fc.nat(1),
  // Odd sizes, sizes around a chunk's, and nothing.
  a: fc.oneof(fc.nat(10), fc.nat(400), fc.constantFrom(31, 32, 33, 224, 0)),
  b: fc.nat(400),
});

test('any sequence of operations equals an array of bytes', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(64, 128, 256),
      fc.array(op, { maxLength: 120, size: 'max' }),
      (chunkBytes, ops) => {
        const t = new Context(chunkBytes);
        const u8 = t.arena.u8;
        for (const { kind, which, a, b } of ops) {
          const q = t.queues[which];
          const model = t.models[which];
          const length = model.length;
          if (kind === 'append' || kind === 'appendBytes') {
            const bytes = t.bytes(a);
            const off = t.word(which, QUEUE_OFF);
            const roomInTail = t.chain(which).length * t.pool.dataBytes - (length === 0 ? 0 : off + length);
            const fits = Math.min(a, roomInTail + t.pool.free * t.pool.dataBytes);
            u8.set(bytes, t.scratch);
            const skip = kind === 'append' ? 0 : b % 7;
            const padded = new Uint8Array(skip + a);
            padded.set(bytes, skip);
            const done =
              kind === 'append'
                ? queueAppend(t.pool, q, t.scratch, a)
                : queueAppendBytes(t.pool, q, padded, skip, skip + a);
            expect(done).toBe(fits);
            model.push(...bytes.subarray(0, done));
          } else if (kind === 'adopt') {
            const chunk = t.pool.take();
            if (chunk === 0) continue;
            const offset = a % t.pool.dataBytes;
            const bytes = t.bytes(1 + (b % (t.pool.dataBytes - offset)));
            u8.set(bytes, chunk + CHUNK_HEADER_BYTES + offset);
            queueAdopt(t.pool, q, chunk, offset, bytes.length);
            model.push(...bytes);
          } else if (kind === 'drop') {
            const n = a % (length + 1);
            queueDrop(t.pool, q, n);
            model.splice(0, n);
          } else if (kind === 'dropAll') {
            queueDrop(t.pool, q, length);
            model.length = 0;
          } else if (kind === 'clear') {
            if (b > 300) {
              queueClear(t.pool, q);
              model.length = 0;
            }
          } else {
            const position = a % (length + 1);
            const n = b % (length - position + 1);
            const to = t.scratch + 16 + (a % 5);
            u8.fill(0xee, t.scratch, t.scratch + 8192);
            const expected = model.slice(position, position + n);
            if (kind === 'copy') queueCopy(t.pool, q, position, n, to);
            else expect(queueCopySum(t.pool, q, position, n, to)).toBe(sumOf(expected));
            expect([...u8.subarray(to, to + n)]).toEqual(expected);
            expect(u8[to - 1]).toBe(0xee);
            expect(u8[to + n]).toBe(0xee);
          }
          t.check();
        }
        for (const q of t.queues) queueClear(t.pool, q);
        expect(t.pool.inUse).toBe(0);
      },
    ),
  );
});

test('sequential reads find the cursor where the last one left it', () => {
  const t = new Context(64);
  const q = t.queues[0];
  expect(queueAppendBytes(t.pool, q, t.bytes(320), 0, 320)).toBe(320);
  const chain = t.chain(0);
  for (let position = 0; position < 320; position += 20) {
    queueCopySum(t.pool, q, position, 20, t.scratch);
    expect(t.word(0, QUEUE_CURSOR)).toBe(chain[Math.floor((position + 19) / 32)]);
  }
  // One byte before the cursor's chunk is a step back, too.
  queueCopy(t.pool, q, 32, 1, t.scratch);
  expect(t.word(0, QUEUE_CURSOR)).toBe(chain[1]);
  queueCopy(t.pool, q, 31, 1, t.scratch);
  expect(t.word(0, QUEUE_CURSOR)).toBe(chain[0]);
  queueCopy(t.pool, q, 319, 1, t.scratch);
  queueDrop(t.pool, q, 100);
  expect(t.word(0, QUEUE_CURSOR)).toBe(chain[9]);
  queueDrop(t.pool, q, 219);
  expect(t.chain(0)).toEqual([chain[9]]);
});

test('reading in two places by turns walks from neither the head nor the other place', () => {
  const t = new Context(64);
  const q = t.queues[0];
  queueAppendBytes(t.pool, q, t.bytes(384), 0, 384);
  const chain = t.chain(0);
  const cursors = () => [t.word(0, QUEUE_CURSOR), t.word(0, QUEUE_OTHER)].map((c) => chain.indexOf(c));
  queueCopy(t.pool, q, 300, 4, t.scratch);
  queueCopy(t.pool, q, 0, 4, t.scratch);
  expect(cursors()).toEqual([0, 9]);
  queueCopy(t.pool, q, 330, 4, t.scratch);
  expect(cursors()).toEqual([10, 0]);
  // Far ahead of one place, and not yet at the other.
  queueCopy(t.pool, q, 100, 4, t.scratch);
  expect(cursors()).toEqual([3, 10]);
  queueCopy(t.pool, q, 200, 4, t.scratch);
  expect(cursors()).toEqual([6, 10]);
  // Back again: where new data is stays known.
  queueCopy(t.pool, q, 40, 4, t.scratch);
  expect(cursors()).toEqual([1, 10]);
  queueDrop(t.pool, q, 100);
  expect(cursors()).toEqual([3, 10]);
});

test('a full pool takes part of an append, and the rest later', () => {
  const t = new Context(64);
  const q = t.queues[0];
  const bytes = t.bytes(CHUNKS * 32 + 50);
  expect(queueAppendBytes(t.pool, q, bytes, 0, bytes.length)).toBe(CHUNKS * 32);
  expect(queueAppendBytes(t.pool, q, bytes, CHUNKS * 32, bytes.length)).toBe(0);
  expect(t.pool.exhausted).toBe(2);
  queueDrop(t.pool, q, 40);
  expect(queueAppendBytes(t.pool, q, bytes, CHUNKS * 32, bytes.length)).toBe(32);
  queueCopy(t.pool, q, 0, CHUNKS * 32 - 8, t.scratch);
  expect(t.arena.u8.subarray(t.scratch, t.scratch + CHUNKS * 32 - 8)).toEqual(
    bytes.subarray(40, CHUNKS * 32 + 32),
  );
});

test('what isn’t there can be neither dropped nor copied', () => {
  const t = new Context(64);
  const q = t.queues[0];
  queueAppendBytes(t.pool, q, t.bytes(10), 0, 10);
  expect(() => queueDrop(t.pool, q, 11)).toThrow('drop of 11 bytes from a queue of 10');
  expect(() => queueDrop(t.pool, q, -1)).toThrow(RangeError);
  expect(() => queueCopy(t.pool, q, 5, 6, t.scratch)).toThrow('copy of 6 bytes at 5 from a queue of 10');
  expect(() => queueCopySum(t.pool, q, -1, 1, t.scratch)).toThrow(RangeError);
  expect(() => queueCopy(t.pool, q, 0, -1, t.scratch)).toThrow(RangeError);
  expect(t.word(0, QUEUE_LENGTH)).toBe(10);
});
