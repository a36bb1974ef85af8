/** Leak checks for tests and simulations: an engine that should be idle holds nothing any more. */
import { STATE_NAMES, TCB } from '../tcp/block.ts';
import type { Engine } from './engine.ts';

/** @throws when an engine that should be idle holds a block, chunk, table entry, timer or list entry, naming which. */
export function auditEngine(engine: Engine): void {
  const { tcp } = engine;
  const left: string[] = [];
  const none = (what: string, n: number) => {
    if (n !== 0) left.push(`${n} ${what}`);
  };
  none('control blocks', tcp.blocks.inUse);
  // One is TCP's own, for replies.
  none('mini blocks', tcp.minis.inUse - 1);
  none('chunks', tcp.chunks.inUse);
  none('transmission records', tcp.records.inUse);
  none('flow table entries', tcp.table.count);
  none('timers', tcp.wheel.armed);
  none('events', tcp.events.count);
  none('in TIME-WAIT', tcp.timeWaitOldest === 0 ? 0 : 1);
  none('promised chunks', tcp.chunksPromised);
  none('bytes of grown windows', tcp.memory.grown);
  none('holders of memory', tcp.memory.holderCount);
  for (const listener of tcp.listeners) {
    none('half-open', listener?.halfOpen ?? 0);
    none('opened by Fast Open', listener?.fastOpen.opening ?? 0);
  }
  none('sources', tcp.sources?.inUse ?? 0);
  none('with urgent data', tcp.urgentSenders);
  for (const lists of tcp.lists) for (const head of lists.head) none('on an output list', head);
  if (left.length > 0) throw new Error(`left behind: ${left.join(', ')} [${liveStates(engine)}]`);
  tcp.chunks.audit();
}

/** The states of all connections in the flow table. */
export function liveStates(engine: Engine): string[] {
  const { m, table } = engine.tcp;
  const states: string[] = [];
  for (let i = 0; i <= table.mask; i++) {
    const t = m[table.base + 2 * i + 1];
    if (t !== 0) states.push(STATE_NAMES[m[t + TCB.STATE]]);
  }
  return states;
}
