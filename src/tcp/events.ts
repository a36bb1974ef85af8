/**
 * What TCP has to tell the program, kept in order until the batch is through. A record is four words: block,
 * kind, and for data the payload's place in its frame. Records live until the end of the breath, as do the
 * frames they point into.
 */
import { FLAG, STATE, TCB } from './block.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, STATE: ST } = TCB;
const { CLOSED } = STATE;
const { DETACHED } = FLAG;

export const EVENT_WORDS = 4;
export const EVENT_OPEN = 1;
export const EVENT_DATA = 2;
export const EVENT_END = 3;
export const EVENT_WRITABLE = 4;
export const EVENT_DRAINED = 5;
/** The program wants to read on: offer the receive queue. */
export const EVENT_RESUME = 6;
/** The last: the block is released after its handler returned. AT is the CLOSED_* reason. */
export const EVENT_CLOSE = 7;
/** The gap before out-of-order data may have closed. AT is RCV.NXT when that was seen. */
export const EVENT_REASSEMBLE = 8;
/** The peer's urgent pointer is new, or moved on. AT is its distance from RCV.NXT when that was seen. */
export const EVENT_URGENT = 9;

/** Nothing gets through just now, and AT, one of CLOSED_*, says why. */
export const EVENT_REPORT = 10;

const CLOSE = EVENT_CLOSE;
const WORDS = EVENT_WORDS;

export class Events {
  words: Int32Array;
  count = 0;

  constructor(capacity: number) {
    this.words = new Int32Array(capacity * EVENT_WORDS);
  }
}

export function eventPush(tcp: Tcp, t: number, kind: number, at: number, length: number): void {
  if (kind !== CLOSE && ((tcp.m[t + FLAGS] & DETACHED) !== 0 || tcp.m[t + ST] === CLOSED)) return;
  const e = tcp.events;
  const i = e.count++ * WORDS;
  if (i === e.words.length) grow(e);
  const w = e.words;
  w[i] = t;
  w[i + 1] = kind;
  w[i + 2] = at;
  w[i + 3] = length;
}

/** A breath's input never needs it; a program that aborts thousands of connections at once may. */
function grow(e: Events): void {
  const words = new Int32Array(e.words.length * 2);
  words.set(e.words);
  e.words = words;
}
