/**
 * A port that is the one it wraps, rings and counters included, but for a look at the slots that change hands in its syncs. A
 * port that isn't wrapped pays nothing.
 */
import type { Port } from './port.ts';

export interface Watcher {
  /** After a sync: the rx slots up to `tail` have arrived. */
  received(): void;
  /** Before a sync, in which the device may send from the buffers and hand them back: the tx slots up to `head` leave. */
  sending(): void;
}

export function watch(port: Port, watcher: Watcher): Port {
  return {
    name: port.name,
    arena: port.arena,
    capabilities: port.capabilities,
    counters: port.counters,
    rx: port.rx,
    tx: port.tx,
    frameBytes: port.frameBytes,
    pool: port.pool,
    rxTimes: port.rxTimes,
    fds: port.fds,
    get onArrival() {
      return port.onArrival;
    },
    set onArrival(arrived) {
      port.onArrival = arrived;
    },
    rxSync() {
      const available = port.rxSync();
      watcher.received();
      return available;
    },
    txSync() {
      watcher.sending();
      return port.txSync();
    },
    close() {
      port.close();
    },
  };
}
