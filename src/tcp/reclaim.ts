/** Taking memory back from connections that don't need it, and from those that end. */
import { FLAG2, TCB } from './block.ts';
import { holderRemove } from './memory.ts';
import { reassemblyPrune } from './reassembly.ts';
import { receiveShrink } from './receive-window.ts';
import type { Tcp } from './tcp.ts';

const { RCV_AT, OOO, FLAGS2 } = TCB;
const { COLD_USED } = FLAG2;

/** A connection that heard nothing for this long, ms, can do with its first window. */
const SILENT_MS = 1000;
/** Holders that are looked at each time. */
const STEPS = 16;

/**
 * Takes back from connections that are silent: what their windows grew by (what they were told stands, but is no longer
 * covered), and with `prune` their out-of-order data, which a peer that is still there sends again.
 */
export function memoryReclaim(tcp: Tcp, prune: boolean): void {
  const { m, memory: b } = tcp;
  for (let i = Math.min(STEPS, b.holderCount); i > 0; i--) {
    if (b.hand >= b.holderCount) b.hand = 0;
    const t = m[b.holders + b.hand++];
    if (((tcp.nowMs - m[t + RCV_AT]) | 0) < SILENT_MS) continue;
    if (receiveShrink(tcp, t)) tcp.counters.windowsReclaimed++;
    if (prune) reassemblyPrune(tcp, t, tcp.chunks.count);
    if (m[t + OOO] === 0) {
      holderRemove(tcp, t);
      b.hand--;
    }
  }
}

/** A connection leaves the wire, and what was kept for it is free. */
export function memoryForget(tcp: Tcp, t: number): void {
  // Who holds anything has a cold block.
  if ((tcp.m[t + FLAGS2] & COLD_USED) === 0) return;
  receiveShrink(tcp, t);
  holderRemove(tcp, t);
}
