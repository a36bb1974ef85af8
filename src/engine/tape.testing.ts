/**
 * Attacks written down: a tape is a list of words, ACTION_WORDS for each thing that happens, which stand for what a
 * generator would say. What an action needs beyond its words follows from them. So a fuzzer can change one decision,
 * or one action, and leave the others as they were.
 */
import { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
import { Attack } from './attack.testing.ts';

/** The first action's words describe the world. */
export const ACTION_WORDS = 12;

class Tape extends Prng {
  readonly #words: Int32Array;
  #at = 0;
  #end = 0;
  #hash = 0;

  constructor(words: Int32Array) {
    super(0);
    this.#words = words;
  }

  /** From now on action `i` speaks. */
  seek(i: number): void {
    this.#at = i * ACTION_WORDS;
    this.#end = this.#at + ACTION_WORDS;
    this.#hash = i;
  }

  override next(): number {
    // The base class's constructor draws already.
    if (!(#words in this)) return super.next();
    if (this.#at < this.#end) {
      const word = this.#words[this.#at++];
      this.#hash = Math.imul(this.#hash ^ word, 0x9e3779b1);
      return word;
    }
    this.#hash = (this.#hash + 0x6d2b79f5) | 0;
    let h = this.#hash;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return h ^ (h >>> 16);
  }
}

/** Runs an attack to its end. @returns frames that the engines were given. @throws what it broke */
export function runTape(words: Int32Array): number {
  const tape = new Tape(words);
  tape.seek(0);
  const attack = new Attack(tape, null, reused);
  const actions = Math.floor(words.length / ACTION_WORDS);
  for (let i = 1; i < actions; i++) {
    tape.seek(i);
    attack.act();
  }
  attack.finish();
  return attack.given[0] + attack.given[1];
}

const arenas = new Map<number, Arena>();

function reused(bytes: number): Arena {
  const arena = arenas.get(bytes) ?? new Arena(bytes);
  arenas.set(bytes, arena);
  arena.reset();
  return arena;
}

/** From a corpus file: little-endian words. */
export function readTape(bytes: Uint8Array): Int32Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Int32Array.from({ length: bytes.length >> 2 }, (_, i) => view.getInt32(4 * i, true));
}

export function writeTape(words: Int32Array): Uint8Array {
  const bytes = new Uint8Array(4 * words.length);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => {
    view.setInt32(4 * i, word, true);
  });
  return bytes;
}
