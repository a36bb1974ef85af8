/**
 * Connections that have something to send wait on one of four lists of their interface: control before ACK
 * before data (mTCP), and those whose next hop is being resolved. A block is on one list at most; being popped
 * it sends all it has, so a lower list never delays what a higher one would have carried.
 */
import { FLAG, TCB } from './block.ts';

const { FLAGS, NEXT_OUT } = TCB;
const { LISTED } = FLAG;

export const LIST_CONTROL = 0;
export const LIST_ACK = 1;
export const LIST_DATA = 2;
export const LIST_UNRESOLVED = 3;
const LISTS = 4;

/** Heads and tails of one interface's lists: block, or 0. */
export class OutputLists {
  readonly head: Int32Array = new Int32Array(LISTS);
  readonly tail: Int32Array = new Int32Array(LISTS);
  /** The neighbour cache's version when LIST_UNRESOLVED was last tried, and when that was, ms. */
  resolvedVersion = 0;
  resolvedAt = 0;
}

/** A next hop that gave no answer is asked for again, but not by every breath. */
const UNRESOLVED_RETRY_MS = 1000;

/** Whether those that wait for their next hop should try now: the cache has moved, or it is time to ask again. */
export function unresolvedDue(lists: OutputLists, version: number, nowMs: number): boolean {
  return lists.resolvedVersion !== version || unresolvedDelay(lists, nowMs) === 0;
}

/** ms until it is time, 0 to 1000. */
export function unresolvedDelay(lists: OutputLists, nowMs: number): number {
  const left = (lists.resolvedAt + UNRESOLVED_RETRY_MS - nowMs) | 0;
  return left > 0 && left <= UNRESOLVED_RETRY_MS ? left : 0;
}

/** Appends a block unless it is on a list already. */
export function listPush(m: Int32Array, lists: OutputLists, list: number, t: number): void {
  const flags = m[t + FLAGS];
  if ((flags & LISTED) !== 0) return;
  m[t + FLAGS] = flags | LISTED;
  m[t + NEXT_OUT] = 0;
  const tail = lists.tail[list];
  if (tail === 0) lists.head[list] = t;
  else m[tail + NEXT_OUT] = t;
  lists.tail[list] = t;
}

/** Puts a block that was just popped back in front. */
export function listPushFront(m: Int32Array, lists: OutputLists, list: number, t: number): void {
  m[t + FLAGS] |= LISTED;
  m[t + NEXT_OUT] = lists.head[list];
  lists.head[list] = t;
  if (lists.tail[list] === 0) lists.tail[list] = t;
}

/** @returns the first block, no longer listed, or 0. */
export function listPop(m: Int32Array, lists: OutputLists, list: number): number {
  const t = lists.head[list];
  if (t === 0) return 0;
  const next = m[t + NEXT_OUT];
  lists.head[list] = next;
  if (next === 0) lists.tail[list] = 0;
  m[t + FLAGS] &= ~LISTED;
  return t;
}
