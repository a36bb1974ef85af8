/** New tapes from old ones: what a fuzzer changes, joins and leaves out. */
import { ACTION_WORDS } from '../src/engine/tape.testing.ts';
import type { Prng } from '../src/memory/prng.ts';

export type Tape = Int32Array<ArrayBuffer>;

const ACTIONS_MAX = 120;
/** Tapes that follow each other in one world at most. */
const CHAIN_MAX = 16;

/** A new tape: mostly one of the corpus with a few things changed. */
export function breed(prng: Prng, corpus: readonly Tape[]): Tape {
  if (corpus.length === 0 || prng.bool(0.05)) return made(prng, 2 + prng.below(ACTIONS_MAX));
  let tape = corpus[prng.below(corpus.length)].slice();
  for (let i = 1 + prng.below(6); i > 0; i--) {
    const actions = actionsOf(tape);
    const at = 1 + prng.below(actions);
    const count = 1 + prng.below(prng.bool() ? 2 : 16);
    const donor = corpus[prng.below(corpus.length)];
    const from = prng.below(actionsOf(donor));
    switch (prng.below(8)) {
      case 0:
        tape = splice(tape, at, 0, made(prng, count));
        break;
      case 1:
        tape = splice(tape, at, count, new Int32Array(0));
        break;
      case 2: // some of another's
        tape = splice(tape, at, 0, donor.slice(from * ACTION_WORDS, (from + count) * ACTION_WORDS));
        break;
      case 3: // again
        tape = splice(tape, at, 0, tape.slice(at * ACTION_WORDS, (at + count) * ACTION_WORDS));
        break;
      case 4: // the other's end
        tape = splice(tape, at, actions - at, donor.slice(from * ACTION_WORDS));
        break;
      case 5: {
        const word = prng.below(tape.length);
        tape[word] ^= 1 << prng.below(32);
        break;
      }
      default:
        // The first words of an action decide the most.
        tape[prng.below(actions) * ACTION_WORDS + prng.below(prng.bool() ? 4 : ACTION_WORDS)] = prng.next();
    }
    if (tape.length < 2 * ACTION_WORDS) tape = made(prng, 10);
  }
  return tape.length > ACTIONS_MAX * ACTION_WORDS ? tape.slice(0, ACTIONS_MAX * ACTION_WORDS) : tape;
}

/**
 * One to CHAIN_MAX new tapes in one world, that of the first. To make a world and to settle it takes as long as some
 * hundred frames. Later tapes find connections that the earlier ones left: of as many frames, 4 % more blocks are covered
 * than by tapes that each have a world.
 */
export function chain(prng: Prng, corpus: readonly Tape[]): Tape {
  let tape = breed(prng, corpus);
  for (let i = prng.below(CHAIN_MAX); i > 0; i--)
    tape = splice(tape, actionsOf(tape), 0, breed(prng, corpus).subarray(ACTION_WORDS));
  return tape;
}

/** Leaves out what a property of the tape doesn't need: halves, quarters, … single actions. */
export function shorten(tape: Tape, holds: (tape: Tape) => boolean): Tape {
  let best = tape;
  for (let size = Math.floor(actionsOf(best) / 2); size >= 1; size >>= 1) {
    for (let at = 1; at + size <= actionsOf(best); ) {
      const without = splice(best, at, size, new Int32Array(0));
      if (holds(without)) best = without;
      else at += size;
    }
  }
  return best;
}

function actionsOf(tape: Tape): number {
  return Math.floor(tape.length / ACTION_WORDS);
}

/** Replaces `count` actions from `at` on. */
function splice(tape: Tape, at: number, count: number, by: Tape): Tape {
  const head = tape.subarray(0, at * ACTION_WORDS);
  const tail = tape.subarray((at + count) * ACTION_WORDS);
  const made = new Int32Array(head.length + by.length + tail.length);
  made.set(head);
  made.set(by, head.length);
  made.set(tail, head.length + by.length);
  return made;
}

function made(prng: Prng, actions: number): Tape {
  return Int32Array.from({ length: actions * ACTION_WORDS }, () => prng.next());
}
