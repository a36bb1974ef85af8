/**
 * The memory budget: the chunks, shared by the queues of all connections. How many are in use decides who gets more:
 *
 *     calm      to 1/2      whoever asks; windows grow
 *     pressure  to 3/4      windows and send queues within fair shares, which come to nothing here; out-of-order data
 *     high      to 7/8      in-order data of programs that leave it, within windows that stand
 *               to 15/16    the first two chunks of a send queue; the first data of a new connection
 *               to the last in-order data of programs that take it as it comes
 *
 * Pressure ends below 3/8 and high below 5/8, so that neither flickers. The marks stand to each other as those of
 * Linux's tcp_mem.
 *
 * What a peer was told it may send can't be taken back, so windows are promises against the budget. Not all of them are
 * covered: 100,000 idle connections would need 6.5 GB for their first 64 KiB. Covered are windows that have grown, up
 * to three quarters of the budget; one may not be larger than what is left over after it (the dynamic threshold of
 * Choudhury and Hahne, 1998), which gives n hungry connections equal parts of 1/(n + 1). First windows are a bet that
 * most programs read: it is lost only if the programs of many connections leave their data at once, and by then windows
 * have stopped moving.
 */
import type { Arena } from '../memory/arena.ts';
import { TCB } from './block.ts';
import { BlockPool } from './block-pool.ts';
import type { Tcp } from './tcp.ts';

const { HANDLE } = TCB;

export const LEVEL_CALM = 0;
export const LEVEL_PRESSURE = 1;
export const LEVEL_HIGH = 2;
export const LEVEL_NAMES = ['calm', 'pressure', 'high'] as const;
const [CALM, PRESSURE, HIGH] = [LEVEL_CALM, LEVEL_PRESSURE, LEVEL_HIGH];

export class MemoryBudget {
  /** Marks, in chunks in use. */
  readonly low: number;
  readonly pressure: number;
  readonly high: number;
  readonly highEnds: number;
  level = CALM;
  /** Bytes of all windows that have grown past their first size, and the most that may be. */
  grown = 0;
  readonly grownMax: number;
  /** Connections that have grown or hold out-of-order data, by word index; a connection's place in it, from 1, by slot. */
  readonly holders: number;
  readonly places: number;
  holderCount = 0;
  /** Where the next look for something to take back goes on. */
  hand = 0;

  constructor(arena: Arena, chunks: number, dataBytes: number, connections: number) {
    this.low = (chunks * 3) >> 3;
    this.pressure = chunks >> 1;
    this.high = (chunks * 3) >> 2;
    this.highEnds = (chunks * 5) >> 3;
    this.grownMax = chunks * dataBytes * 0.75;
    this.holders = arena.carve('memory holders', connections * 4) >> 2;
    this.places = arena.carve('memory holders by slot', connections * 4) >> 2;
  }
}

/** How short memory is at this moment: one of LEVEL_*. */
export function memoryLevel(tcp: Tcp): number {
  const b = tcp.memory;
  const used = tcp.chunks.inUse;
  if (b.level === CALM) {
    if (used < b.pressure) return CALM;
    b.level = PRESSURE;
    tcp.counters.memoryPressures++;
  }
  if (b.level === HIGH) {
    if (used < b.highEnds) b.level = PRESSURE;
  } else if (used >= b.high) {
    b.level = HIGH;
    tcp.counters.memoryHighs++;
  }
  if (used < b.low) b.level = CALM;
  return b.level;
}

/**
 * Bytes that one connection may hold in a queue while memory is short: an eighth of what is left above the last
 * quarter. So many slow ones end up with equal parts, and a new one still finds some.
 */
export function fairShare(tcp: Tcp): number {
  const left = tcp.chunks.free - tcp.chunksPromised - (tcp.chunks.count >> 2);
  return left > 0 ? ((left + 7) >> 3) * tcp.chunks.dataBytes : 0;
}

/** Notes that a connection holds something that might have to be taken back. */
export function holderAdd(tcp: Tcp, t: number): void {
  const b = tcp.memory;
  const place = b.places + BlockPool.slot(tcp.m[t + HANDLE]);
  if (tcp.m[place] !== 0) return;
  tcp.m[b.holders + b.holderCount++] = t;
  tcp.m[place] = b.holderCount;
}

export function holderRemove(tcp: Tcp, t: number): void {
  const { m, memory: b } = tcp;
  const place = b.places + BlockPool.slot(m[t + HANDLE]);
  if (m[place] === 0) return;
  const last = m[b.holders + --b.holderCount];
  m[b.holders + m[place] - 1] = last;
  m[b.places + BlockPool.slot(m[last + HANDLE])] = m[place];
  m[place] = 0;
}
