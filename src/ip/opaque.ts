/**
 * Interface identifiers that stay the same on a network and say nothing about the host (RFC 7217): a keyed hash of
 * prefix, interface and how often the result was somebody's already.
 */
import { HalfSipHash } from '../wire/siphash.ts';

export class OpaqueIdentifiers {
  readonly #high: HalfSipHash;
  readonly #low: HalfSipHash;

  /** @param secret Four words: the same give the same addresses. */
  constructor(secret: Int32Array) {
    this.#high = new HalfSipHash(secret[0], secret[1]);
    this.#low = new HalfSipHash(secret[2], secret[3]);
  }

  /** Writes the last two words of an address with `prefix` (its first two words are looked at) to `out`. */
  identify(prefix: ArrayLike<number>, iface: string, collisions: number, out: Int32Array): void {
    // An identifier that has a meaning (RFC 5453) is one more collision.
    for (let i = collisions << 8; ; i++) {
      out[2] = hash(this.#high, prefix, iface, i);
      out[3] = hash(this.#low, prefix, iface, i);
      const anycast = (out[2] | out[3]) === 0 || (out[2] === (0xfdffffff | 0) && out[3] >>> 7 === 0x1ffffff);
      if (!anycast) return;
    }
  }
}

function hash(h: HalfSipHash, prefix: ArrayLike<number>, iface: string, collisions: number): number {
  h.start();
  h.word(prefix[0]);
  h.word(prefix[1]);
  for (let i = 0; i < iface.length; i++) h.word(iface.charCodeAt(i));
  h.word(collisions);
  return h.finish();
}
