/**
 * What programs in a world send: a byte follows from the connection (its sender's initial sequence number) and the
 * byte's place in the stream, so that wherever bytes turn up it can be said whether they belong there. The bytes stand in
 * the arena already, in a table of noise whose length is a prime; each time round it is entered somewhere else.
 */
import type { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';

const PERIOD = 65_521;
/** How far apart connections, and rounds of the table, enter it; both far from any usual length. */
const STEP_SALT = 40_503;
const STEP_ROUND = 12_347;

const NOISE = new Uint8Array(PERIOD);
{
  const prng = new Prng(0x6d72);
  for (let i = 0; i < PERIOD; i++) NOISE[i] = prng.next();
}

export class Content {
  readonly #arena: Arena;
  readonly #noise: number;

  constructor(arena: Arena) {
    this.#arena = arena;
    this.#noise = arena.carveUnzeroed('content', 2 * PERIOD);
    // Twice, so that a piece may start anywhere.
    arena.u8.set(NOISE, this.#noise);
    arena.u8.set(NOISE, this.#noise + PERIOD);
  }

  /** Where the stream's bytes from `offset` on stand in the arena, `run(offset)` of them. */
  at(salt: number, offset: number): number {
    const round = Math.floor(offset / PERIOD);
    const entry = ((salt >>> 0) % PERIOD) * STEP_SALT + round * STEP_ROUND;
    return this.#noise + (entry % PERIOD) + (offset - round * PERIOD);
  }

  run(offset: number): number {
    return PERIOD - (offset % PERIOD);
  }

  /** @returns how many of `length` bytes at `at` are the stream's from `offset` on, up to the first that isn't. */
  matching(salt: number, offset: number, at: number, length: number): number {
    let done = 0;
    while (done < length) {
      const n = Math.min(length - done, this.run(offset + done));
      const same = this.#same(this.at(salt, offset + done), at + done, n);
      done += same;
      if (same < n) break;
    }
    return done;
  }

  #same(a: number, b: number, length: number): number {
    const { view, u8 } = this.#arena;
    let i = 0;
    // Four words at a time: each byte is compared where it is sent and where it is read.
    for (; i <= length - 16; i += 16) {
      const differ =
        (view.getInt32(a + i, true) ^ view.getInt32(b + i, true)) |
        (view.getInt32(a + i + 4, true) ^ view.getInt32(b + i + 4, true)) |
        (view.getInt32(a + i + 8, true) ^ view.getInt32(b + i + 8, true)) |
        (view.getInt32(a + i + 12, true) ^ view.getInt32(b + i + 12, true));
      if (differ !== 0) break;
    }
    for (; i <= length - 4; i += 4) if (view.getInt32(a + i, true) !== view.getInt32(b + i, true)) break;
    while (i < length && u8[a + i] === u8[b + i]) i++;
    return i;
  }
}
