/**
 * Identifications of the datagrams that we send in fragments (RFC 7739 5.3): unpredictable for a stranger, who could
 * otherwise count what we send or slip his own fragments in, and far from repeating for any one pair of ends.
 */
import type { Prng } from '../memory/prng.ts';
import { HalfSipHash } from '../wire/siphash.ts';
import { type Packet, packetHashEnds } from './packet.ts';

/** Pairs of ends share counters, so that what one sees of its own tells little. */
const COUNTERS = 256;

export class FragmentIds {
  readonly #offset: HalfSipHash;
  readonly #counter: HalfSipHash;
  readonly #counters = new Int32Array(COUNTERS);

  constructor(random: Prng) {
    this.#offset = new HalfSipHash(random.next(), random.next());
    this.#counter = new HalfSipHash(random.next(), random.next());
    for (let i = 0; i < COUNTERS; i++) this.#counters[i] = random.next();
  }

  /** For a datagram with the ends of `out`: an int32, of which IPv4 takes the low half. */
  next(out: Packet): number {
    const counter = ends(this.#counter, out) & (COUNTERS - 1);
    this.#counters[counter] = (this.#counters[counter] + 1) | 0;
    return (ends(this.#offset, out) + this.#counters[counter]) | 0;
  }
}

function ends(hash: HalfSipHash, out: Packet): number {
  hash.start();
  packetHashEnds(hash, out);
  hash.word(out.protocol);
  return hash.finish();
}
