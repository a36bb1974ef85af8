/**
 * From a flow's hash to its control block: open addressing with linear probing, so that a lookup reads one or
 * two neighbouring lines. Removal shifts what follows back (Knuth, TAOCP 6.4, algorithm R) and leaves no
 * tombstones, so the table doesn't slow down as connections come and go.
 *
 * The table knows nothing of keys: whoever looks up compares the block's own addresses and ports. The lookup
 * is to be written where it is used:
 *
 *     for (let i = hash & mask; ; i = (i + 1) & mask) {
 *       const block = m[base + 2 * i + BLOCK];
 *       if (block === 0) return 0;
 *       if (m[base + 2 * i + HASH] === hash && isFlow(block)) return block;
 *     }
 */
import type { Arena } from './arena.ts';

/** An entry is two words. */
export const FLOW_HASH = 0;
/** Word index of the control block; 0: the entry is empty. */
export const FLOW_BLOCK = 1;
/** Copies for the code here, and for a hot user's module: V8 folds only what isn't exported. */
const HASH = FLOW_HASH;
const BLOCK = FLOW_BLOCK;

export class FlowTable {
  /** The arena's words. */
  readonly m: Int32Array;
  /** Word index of entry 0. */
  readonly base: number;
  /** Entries less one; a power of two less one. */
  readonly mask: number;
  #count = 0;

  /** @param capacity Flows it must hold, rounded up to a power of two; half of the entries stay empty. */
  constructor(arena: Arena, name: string, capacity: number) {
    if (!(capacity >= 1 && capacity <= 2 ** 26))
      throw new RangeError(`a table takes 1 to 2^26 flows, not ${capacity}`);
    const entries = 2 * 2 ** Math.ceil(Math.log2(capacity));
    this.m = arena.i32;
    this.mask = entries - 1;
    this.base = arena.carve(name, entries * 8) >> 2;
  }

  get count(): number {
    return this.#count;
  }

  /** Flows it holds at most. */
  get capacity(): number {
    return (this.mask + 1) >> 1;
  }

  /** @param block Not 0, and not in the table yet. @returns false when the table is full. */
  insert(hash: number, block: number): boolean {
    if (this.#count === this.capacity) return false;
    const { m, base, mask } = this;
    let i = hash & mask;
    while (m[base + 2 * i + BLOCK] !== 0) i = (i + 1) & mask;
    m[base + 2 * i + HASH] = hash;
    m[base + 2 * i + BLOCK] = block;
    this.#count++;
    return true;
  }

  /** @returns false when the block isn't there under this hash. */
  remove(hash: number, block: number): boolean {
    const { m, base, mask } = this;
    let hole = hash & mask;
    for (; m[base + 2 * hole + BLOCK] !== block; hole = (hole + 1) & mask) {
      if (m[base + 2 * hole + BLOCK] === 0) return false;
    }
    for (let i = (hole + 1) & mask; m[base + 2 * i + BLOCK] !== 0; i = (i + 1) & mask) {
      // An entry may move back to the hole unless the place it hashes to lies behind the hole.
      const home = m[base + 2 * i + HASH] & mask;
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      m[base + 2 * hole + HASH] = m[base + 2 * i + HASH];
      m[base + 2 * hole + BLOCK] = m[base + 2 * i + BLOCK];
      hole = i;
    }
    m[base + 2 * hole + HASH] = 0;
    m[base + 2 * hole + BLOCK] = 0;
    this.#count--;
    return true;
  }
}

/**
 * A keyed hash of a flow with IPv4 addresses. `key0` and `key1` are secret and random, so that a stranger can't
 * choose addresses and ports that share a place. The remote address is mixed three times, the ports twice: with
 * one multiplication between two inputs, a difference in the top bit of the first would be cancelled by a known
 * one in the second, whatever the key. 4 ns; HalfSipHash-1-3, which resists more than this needs to, takes 10.
 *
 * @param ports Both, in one word: (remote << 16) | local.
 */
export function flowHash4(key0: number, key1: number, laddr: number, raddr: number, ports: number): number {
  return mix(mix(mix(raddr ^ key0) ^ ports) ^ laddr ^ key1);
}

/** `flowHash4` for IPv6, each address as four words. */
export function flowHash6(
  key0: number,
  key1: number,
  l0: number,
  l1: number,
  l2: number,
  l3: number,
  r0: number,
  r1: number,
  r2: number,
  r3: number,
  ports: number,
): number {
  // Two chains that don't wait for each other.
  const remote = mix(mix(mix(mix(r0 ^ key0) ^ r1) ^ r2) ^ r3);
  const local = mix(mix(mix(mix(l0 ^ key1) ^ l1) ^ l2) ^ l3);
  return mix(mix(remote ^ ports) ^ local);
}

/** Every input bit flips each output bit with probability near 1/2; the constants are Wellons' "lowbias32". */
function mix(x: number): number {
  let h = x ^ (x >>> 16);
  h = Math.imul(h, 0x7feb352d);
  h ^= h >>> 15;
  h = Math.imul(h, 0x846ca68b);
  return h ^ (h >>> 16);
}
