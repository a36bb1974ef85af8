import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Umem } from '../../device/xdp-umem.ts';
import { TX_METADATA_BYTES, XDP_PKT_CONTD } from '../../os/xsk.ts';
import { Arena } from '../arena.ts';
import { FramePool } from '../frame-pool.ts';
import {
  DESC_WORDS,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  FRAME_MORE,
  FRAME_OUTGOING,
  FRAME_SEGMENT,
  Ring,
} from '../ring.ts';
import { EXCHANGE_FRAME } from './kernels.ts';

/** Where the kernels read and write: two halves of the arena. */
const FROM = 4_096;
const TO = 131_072;
const LENGTH_MAX = 70_000;
/** Bytes watched on either side of what may be written. */
const GUARD = 80;
const UNTOUCHED = 0xa5;

const arena = new Arena(262_144);
const { u8, kernels } = arena;

/** The definition, in whole numbers: a one's complement sum is the remainder modulo 2^16 - 1. */
function model(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  return sum === 0 ? 0 : ((sum - 1) % 0xffff) + 1;
}

/** Fills [FROM, FROM + LENGTH_MAX + 16) with the same noise for the same seed. */
function noise(seed: number): void {
  let x = seed | 1;
  for (let i = 0; i < LENGTH_MAX + 16; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0;
    u8[FROM + i] = x >>> 24;
  }
}

type Copy = (to: number, from: number, length: number) => unknown;

/** Copies, and compares the destination and its neighbourhood to what they must be. */
function checkCopy(copy: Copy, to: number, from: number, length: number): void {
  u8.fill(UNTOUCHED, to - GUARD, to + length + GUARD);
  const source = u8.slice(from, from + length);
  const expected = new Uint8Array(length + 2 * GUARD).fill(UNTOUCHED);
  expected.set(source, GUARD);
  copy(to, from, length);
  const where = `${length} bytes from ${from} to ${to}`;
  // A plain comparison first: one assertion for each case would take longer than the case.
  if (Buffer.compare(u8.subarray(to - GUARD, to + length + GUARD), expected) !== 0) {
    expect(u8.slice(to - GUARD, to + length + GUARD), where).toEqual(expected);
  }
  if (Buffer.compare(u8.subarray(from, from + length), source) !== 0)
    expect.fail(`changed its source: ${where}`);
}

function checkSum(actual: number, at: number, length: number): void {
  const expected = model(u8.subarray(at, at + length));
  if (actual !== expected) expect.fail(`sum of ${length} bytes at ${at}: ${actual}, not ${expected}`);
}

test('sum: every length to 200 at every alignment', () => {
  noise(1);
  for (let align = 0; align < 16; align++) {
    for (let length = 0; length <= 200; length++) {
      checkSum(kernels.sum(FROM + align, length), FROM + align, length);
    }
  }
});

test('copy and copySum: every length to 200 at every pair of alignments', () => {
  noise(2);
  for (let from = FROM; from < FROM + 16; from++) {
    for (let to = TO; to < TO + 16; to++) {
      for (let length = 0; length <= 200; length++) {
        checkCopy(kernels.copy, to, from, length);
        checkCopy((...range) => checkSum(kernels.copySum(...range), from, length), to, from, length);
      }
    }
  }
});

test('all three at any length to 70,000', () => {
  const align = fc.nat(15);
  fc.assert(
    fc.property(fc.integer(), fc.nat(LENGTH_MAX), align, align, (seed, length, fromAlign, toAlign) => {
      noise(seed);
      const from = FROM + fromAlign;
      const to = TO + toAlign;
      checkSum(kernels.sum(from, length), from, length);
      checkCopy(kernels.copy, to, from, length);
      checkCopy((...range) => checkSum(kernels.copySum(...range), from, length), to, from, length);
    }),
    { numRuns: 200 },
  );
});

test('zero: every number of lines to 20, and not a byte around them', () => {
  for (let lines = 0; lines <= 20; lines++) {
    const length = lines * 64;
    u8.fill(UNTOUCHED, TO - GUARD, TO + length + GUARD);
    kernels.zero(TO, length);
    const expected = new Uint8Array(length + 2 * GUARD).fill(UNTOUCHED).fill(0, GUARD, GUARD + length);
    expect(Buffer.compare(u8.subarray(TO - GUARD, TO + length + GUARD), expected), `${lines} lines`).toBe(0);
  }
});

test('the largest sums carry, and only zeros sum to zero', () => {
  for (const [byte, sum] of [
    [0xff, 0xffff],
    [0x00, 0],
  ]) {
    u8.fill(byte, FROM, FROM + LENGTH_MAX);
    for (const length of [2, 20, 64, 126, 1_460, 65_536]) {
      expect(kernels.sum(FROM, length)).toBe(sum);
      expect(kernels.copySum(TO, FROM, length)).toBe(sum);
    }
  }
});

test('the last bytes of the arena are in reach, and nothing past them is read', () => {
  for (let length = 1; length <= 200; length++) {
    const end = arena.bytes - length;
    for (let i = 0; i < length; i++) u8[end + i] = i;
    checkSum(kernels.sum(end, length), end, length);
    checkSum(kernels.copySum(TO, end, length), end, length);
    kernels.copy(end, TO, length);
    checkSum(kernels.copySum(end, TO, length), TO, length);
  }
});

test('each arena has its own', () => {
  const other = new Arena(65_536);
  u8.fill(1, FROM, FROM + 64);
  expect(other.kernels.sum(FROM, 64)).toBe(0);
  expect(kernels.sum(FROM, 64)).toBe(32 * 0x0101);
});

test('exchange: swaps buffers slot by slot, round both rings, up to a frame that must not pass', () => {
  const arena = new Arena(65_536);
  const a = new Ring(arena, 'a', 8);
  const b = new Ring(arena, 'b', 16);
  const index = fc.constantFrom(0, 5, -3, 2 ** 31 - 2);
  const frame = fc.record({
    length: fc.constantFrom(1, 60, 1500, 1501, 0, -1),
    flags: fc.constantFrom(0, 0, FRAME_CHECKSUM_FILL, FRAME_CHECKSUM_GOOD, FRAME_MORE),
    aux: fc.nat(9),
  });
  const slots = (ring: Ring) =>
    Array.from({ length: ring.slots }, (_, i) => [
      ...ring.m.subarray(ring.slot(i), ring.slot(i) + DESC_WORDS),
    ]);
  fc.assert(
    fc.property(
      index,
      index,
      fc.array(frame, { maxLength: 8 }),
      fc.constantFrom(0, FRAME_MORE),
      (i, k, given, stop) => {
        for (let s = 0; s < 8; s++) a.m.set([1000 + s, 0, 0, 0], a.slot(s));
        for (let s = 0; s < 16; s++) b.m.set([2000 + s, 7, 7, 7], b.slot(s));
        for (const [n, { length, flags, aux }] of given.entries())
          a.m.set([a.m[a.slot(i + n)], length, flags, aux], a.slot(i + n));
        const wanted = [slots(a), slots(b)];
        let frames = 0;
        let bytes = 0;
        for (const { length, flags, aux } of given) {
          if (length < 1 || length > 1500 || (flags & stop) !== 0) break;
          const from = wanted[0][(i + frames) & 7];
          const to = wanted[1][(k + frames) & 15];
          [from[0], to[0]] = [to[0], from[0]];
          to.splice(1, 3, length, flags & FRAME_CHECKSUM_FILL ? flags | FRAME_CHECKSUM_GOOD : flags, aux);
          frames++;
          bytes += length;
        }
        const { exchange } = arena.kernels;
        const result = exchange(a.base << 2, a.mask, i, b.base << 2, b.mask, k, given.length, stop, 1500);
        expect(result).toBe(frames * EXCHANGE_FRAME + bytes);
        expect([slots(a), slots(b)]).toEqual(wanted);
      },
    ),
  );
});

const CHUNK_SHIFT = 11;
const CHUNKS = 16;
const index = fc.constantFrom(0, 5, -3, 2 ** 31 - 2);

/** A port's ring of 8 slots and one of the kernel's of 16 entries, with their indices. */
function xskScene(slot: number, entry: number) {
  const arena = new Arena(262_144);
  const ring = new Ring(arena, 'ring', 8);
  const entries = arena.carve('entries', 16 * 16);
  const pool = new FramePool(arena, 'frames', { frames: CHUNKS, frameBytes: 1 << CHUNK_SHIFT, align: 4096 });
  const umem = new Umem(arena, 'umem', pool);
  const { m } = ring;
  const lent = arena.regions.find(({ name }) => name === 'umem lent')!.at;
  return {
    arena,
    m,
    base: umem.base,
    path: umem.carvePath(ring, { entries: entries >> 2, mask: 15 }),
    slotAt: (i: number) => ring.slot((slot + i) | 0),
    /** @param bytes Of an entry. */
    entryAt: (i: number, bytes: number) => (entries + (((entry + i) | 0) & 15) * bytes) >> 2,
    lent: arena.u8.subarray(lent, lent + CHUNKS),
  };
}

test('xskFill and xskComplete: buffers go to the kernel and come back, wherever in them a frame began', () => {
  const buffers = fc.uniqueArray(fc.nat(CHUNKS - 1), { maxLength: 8 });
  fc.assert(
    fc.property(index, index, buffers, fc.nat(2047), (slot, entry, chunks, offset) => {
      const { arena, m, base, path, slotAt, entryAt, lent } = xskScene(slot, entry);
      const n = chunks.length;
      for (const [i, chunk] of chunks.entries()) m[slotAt(i)] = base + (chunk << CHUNK_SHIFT) + offset;
      arena.kernels.xskFill(path, slot, entry, n);
      expect(chunks.map((_, i) => m[entryAt(i, 8)])).toEqual(chunks.map((c) => c << CHUNK_SHIFT));
      expect([...lent]).toEqual(Array.from({ length: CHUNKS }, (_, c) => (chunks.includes(c) ? 1 : 0)));

      for (const [i, chunk] of chunks.entries()) m[entryAt(i, 8)] = (chunk << CHUNK_SHIFT) + offset;
      arena.kernels.xskComplete(path, slot, entry, n, 256);
      expect(chunks.map((_, i) => m[slotAt(i)])).toEqual(chunks.map((c) => base + (c << CHUNK_SHIFT) + 256));
      expect([...lent]).toEqual(Array(CHUNKS).fill(0));
    }),
  );
});

test('xskReceive: descriptors become slots, and those with a next one FRAME_MORE', () => {
  const frame = fc.record({
    chunk: fc.nat(CHUNKS - 1),
    length: fc.integer({ min: 14, max: 1792 }),
    more: fc.boolean(),
  });
  fc.assert(
    fc.property(index, index, fc.array(frame, { maxLength: 8 }), (slot, entry, frames) => {
      const { arena, m, base, path, slotAt, entryAt, lent } = xskScene(slot, entry);
      const n = frames.length;
      lent.fill(1);
      for (const [i, { chunk, length, more }] of frames.entries()) {
        m.fill(77, slotAt(i), slotAt(i) + DESC_WORDS);
        m.set([(chunk << CHUNK_SHIFT) + 256, 0, length, more ? XDP_PKT_CONTD : 0], entryAt(i, 16));
      }
      const bytes = frames.reduce((sum, { length }) => sum + length, 0);
      const whole = frames.filter(({ more }) => !more).length;
      expect(arena.kernels.xskReceive(path, slot, entry, n, 0)).toBe(whole * EXCHANGE_FRAME + bytes);
      expect(frames.map((_, i) => [...m.subarray(slotAt(i), slotAt(i) + DESC_WORDS)])).toEqual(
        frames.map(({ chunk, length, more }) => [
          base + (chunk << CHUNK_SHIFT) + 256,
          length,
          more ? FRAME_MORE : 0,
          0,
        ]),
      );
      const taken = frames.map(({ chunk }) => chunk);
      expect([...lent]).toEqual(Array.from({ length: CHUNKS }, (_, c) => (taken.includes(c) ? 0 : 1)));
    }),
  );
});

test('xskSend: slots become descriptors, up to a frame that wants more or would be refused', () => {
  const frame = fc.record({
    chunk: fc.nat(CHUNKS - 1),
    offset: fc.constantFrom(0, TX_METADATA_BYTES - 1, TX_METADATA_BYTES, 256, 256, 256, 1500),
    length: fc.constantFrom(-1, 0, 13, 14, 60, 60, 548, 549, 1500, 1501),
    flags: fc.constantFrom(
      0,
      0,
      0,
      FRAME_CHECKSUM_GOOD,
      FRAME_OUTGOING,
      FRAME_CHECKSUM_FILL,
      FRAME_SEGMENT,
      FRAME_MORE,
    ),
  });
  const passes = ({ offset, length, flags }: { offset: number; length: number; flags: number }) =>
    (flags & (FRAME_CHECKSUM_FILL | FRAME_SEGMENT | FRAME_MORE)) === 0 &&
    length >= 14 &&
    length <= 1500 &&
    offset >= TX_METADATA_BYTES &&
    offset + length <= 1 << CHUNK_SHIFT;
  fc.assert(
    fc.property(index, index, fc.array(frame, { maxLength: 8 }), (slot, entry, frames) => {
      const { arena, m, base, path, slotAt, entryAt, lent } = xskScene(slot, entry);
      const n = frames.length;
      for (const [i, { chunk, offset, length, flags }] of frames.entries()) {
        m.set([base + (chunk << CHUNK_SHIFT) + offset, length, flags, 0], slotAt(i));
        m.set([77, 0, 77, 77], entryAt(i, 16));
      }
      const stop = frames.findIndex((each) => !passes(each));
      const sent = stop < 0 ? frames : frames.slice(0, stop);
      const bytes = sent.reduce((sum, { length }) => sum + length, 0);
      expect(arena.kernels.xskSend(path, slot, entry, n, 1500)).toBe(sent.length * EXCHANGE_FRAME + bytes);
      expect(frames.map((_, i) => [...m.subarray(entryAt(i, 16), entryAt(i, 16) + 4)])).toEqual(
        frames.map(({ chunk, offset, length }, i) =>
          i < sent.length ? [(chunk << CHUNK_SHIFT) + offset, 0, length, 0] : [77, 0, 77, 77],
        ),
      );
      const given = sent.map(({ chunk }) => chunk);
      expect([...lent]).toEqual(Array.from({ length: CHUNKS }, (_, c) => (given.includes(c) ? 1 : 0)));
    }),
    { numRuns: 500 },
  );
});
