/**
 * Cold blocks: what a connection keeps only in some conditions, such as loss, or a congestion control module with much
 * to remember. There is one for each full block, at the same place in a table of its own. No connection is without,
 * so nothing can run out; and those never touched are memory that the system never had to supply.
 */
import { COLD_WORDS, FLAG2, TCB } from './block.ts';
import { BlockPool } from './block-pool.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS2, HANDLE } = TCB;
const { COLD_USED } = FLAG2;
const WORDS = COLD_WORDS;

/** @returns word index of a full block's cold block, zeroed when this connection asks first. */
export function coldOf(tcp: Tcp, t: number): number {
  const m = tcp.m;
  const cold = tcp.coldBase + BlockPool.slot(m[t + HANDLE]) * WORDS;
  if ((m[t + FLAGS2] & COLD_USED) === 0) {
    m[t + FLAGS2] |= COLD_USED;
    tcp.arena.kernels.zero(cold << 2, WORDS << 2);
  }
  return cold;
}

/** A word of a full block's cold block; 0 without one. */
export function coldWord(tcp: Tcp, t: number, word: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS2] & COLD_USED) === 0) return 0;
  return m[tcp.coldBase + BlockPool.slot(m[t + HANDLE]) * WORDS + word];
}
