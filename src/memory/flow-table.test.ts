import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena } from './arena.ts';
import { FLOW_BLOCK, FLOW_HASH, FlowTable, flowHash4, flowHash6 } from './flow-table.ts';

const K0 = 0x243f6a88;
const K1 = 0x85a308d3 | 0;

/** As its users write it; also counts probes. */
function lookup(table: FlowTable, hash: number, block: number): number {
  const { m, base, mask } = table;
  let probes = 1;
  for (let i = hash & mask; ; i = (i + 1) & mask, probes++) {
    const found = m[base + 2 * i + FLOW_BLOCK];
    if (found === 0) return 0;
    if (m[base + 2 * i + FLOW_HASH] === hash && found === block) return probes;
  }
}

test('any sequence of inserts and removals equals a map', () => {
  // Few hashes, near the table's end: long runs that wrap.
  const hash = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer());
  const op = fc.tuple(fc.boolean(), hash, fc.nat(24));
  fc.assert(
    fc.property(
      fc.constantFrom(1, 3, 8, 16),
      fc.array(op, { maxLength: 150, size: 'max' }),
      (capacity, ops) => {
        const table = new FlowTable(new Arena(1 << 16), 'flows', capacity);
        expect(table.capacity).toBeGreaterThanOrEqual(capacity);
        const model = new Map<number, number>();
        for (const [insert, h, n] of ops) {
          const block = n + 1;
          if (insert) {
            if (model.has(block)) continue;
            const room = model.size < table.capacity;
            expect(table.insert(h, block)).toBe(room);
            if (room) model.set(block, h);
          } else {
            const known = model.get(block);
            expect(table.remove(known ?? h, block)).toBe(known !== undefined);
            model.delete(block);
            if (known !== undefined) expect(lookup(table, known, block)).toBe(0);
          }
          expect(table.count).toBe(model.size);
          for (const [b, known] of model) expect(lookup(table, known, b)).toBeGreaterThan(0);
          let used = 0;
          for (let i = 0; i <= table.mask; i++) if (table.m[table.base + 2 * i + FLOW_BLOCK] !== 0) used++;
          expect(used).toBe(model.size);
        }
      },
    ),
  );
});

test('nonsense capacities are refused', () => {
  for (const capacity of [0, -1, Number.NaN, 2 ** 27]) {
    expect(() => new FlowTable(new Arena(1 << 16), 'x', capacity)).toThrow(RangeError);
  }
});

/** One hash as a function of ten words: two keys, four of each address (IPv4 uses the first), ports. */
type WordsHash = (words: Int32Array) => number;
const hashes: [string, WordsHash, readonly number[]][] = [
  ['IPv4', (w) => flowHash4(w[0], w[1], w[2], w[6], w[10]), [0, 1, 2, 6, 10]],
  [
    'IPv6',
    (w) => flowHash6(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10]),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  ],
];

/** Deterministic words, from another family of hashes than the tested one. */
function* randomWords(seed: number): Generator<number, never> {
  for (let s = seed; ; ) {
    s = (Math.imul(s, 1_664_525) + 1_013_904_223) | 0;
    yield (s << 13) ^ (s >>> 7);
  }
}

test.each(hashes)('%s: each input bit flips each output bit half of the time', (_name, hash, used) => {
  const random = randomWords(1);
  const words = new Int32Array(11);
  const rounds = 2000;
  for (const word of used) {
    for (let bit = 0; bit < 32; bit++) {
      const flips = new Int32Array(32);
      for (let round = 0; round < rounds; round++) {
        for (let i = 0; i < words.length; i++) words[i] = random.next().value;
        const before = hash(words);
        words[word] ^= 1 << bit;
        const changed = before ^ hash(words);
        for (let out = 0; out < 32; out++) flips[out] += (changed >>> out) & 1;
      }
      // 6.7 standard deviations of a fair coin: 11,000 coins stay within it.
      for (const count of flips) expect(Math.abs(count / rounds - 0.5)).toBeLessThan(0.075);
    }
  }
});

/** Mean probes of a successful lookup with half of the entries used: 1.5 for random hashes (Knuth 6.4). */
function meanProbes(flows: number, hashOf: (i: number) => number): number {
  const table = new FlowTable(new Arena(1 << 21), 'flows', flows);
  for (let i = 0; i < flows; i++) expect(table.insert(hashOf(i), i + 1)).toBe(true);
  let probes = 0;
  for (let i = 0; i < flows; i++) probes += lookup(table, hashOf(i), i + 1);
  return probes / flows;
}

type Pattern = (i: number) => { address?: number; port?: number };
const patterns: [string, Pattern][] = [
  ['ports of one client', (i) => ({ port: 1024 + i })],
  ['ports in steps, of a few clients', (i) => ({ port: i * 16, address: i >> 12 })],
  ['consecutive addresses', (i) => ({ address: 0x0a000000 + i })],
  ['addresses that differ in their high bits', (i) => ({ address: i << 18 })],
  ['addresses and ports in step', (i) => ({ address: i, port: i })],
  ['addresses and ports that add up', (i) => ({ address: i, port: -i })],
];

test.each(hashes)('%s: regular addresses and ports spread like random ones', (_name, hash) => {
  const words = Int32Array.of(K0, K1, 0x0a000001, 0, 0, 1, 0x20010db8, 0, 0, 0, 0);
  for (const [name, pattern] of patterns) {
    const mean = meanProbes(16_384, (i) => {
      const { address = 7, port = 40_000 } = pattern(i);
      words[6] = words[9] = address;
      words[10] = (port << 16) | 443;
      return hash(words);
    });
    expect(mean, name).toBeLessThan(1.6);
  }
});

test('no difference between two addresses is cancelled by one between their ports, whatever the key', () => {
  // Differences of which an xorshift and a multiplication make a known one: with one multiplication between
  // address and ports, 0x80008000 makes each port of one address collide with a port of the other.
  const random = randomWords(2);
  for (const difference of [0x80008000 | 0, 0x80000000 | 0, 0x8000, 1]) {
    let collisions = 0;
    const keys = 12;
    for (let i = 0; i < keys; i++) {
      const [key0, key1, address] = [random.next().value, random.next().value, random.next().value];
      const seen = new Set<number>();
      for (let port = 0; port < 65_536; port++)
        seen.add(flowHash4(key0, key1, 1, address, (port << 16) | 80));
      for (let port = 0; port < 65_536; port++) {
        if (seen.has(flowHash4(key0, key1, 1, address ^ difference, (port << 16) | 80))) collisions++;
      }
    }
    // Random hashes: one for each key.
    expect(collisions).toBeLessThan(8 * keys);
  }
});

test('the key decides which flows collide', () => {
  const low = (key: number, ports: number) => flowHash4(key, K1, 1, 2, ports) & 0xfff;
  const colliding: number[] = [];
  for (let ports = 0; colliding.length < 50; ports++)
    if (low(K0, ports) === low(K0, 0)) colliding.push(ports);
  expect(new Set(colliding.map((ports) => low(K0 + 1, ports))).size).toBeGreaterThan(45);
});
