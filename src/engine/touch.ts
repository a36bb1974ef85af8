/**
 * The touch pass: before a batch is processed, finds each packet's control block and loads the lines that input
 * will need, so that their cache misses overlap instead of coming one after the other. It decides nothing: a
 * packet that it can't read, or reads wrongly, only goes without. Not worth its cost while the blocks fit the
 * second-level cache.
 */
import type { Interface } from '../ip/interface.ts';
import { flowHash4, flowHash6 } from '../memory/flow-table.ts';
import { DESC_AT } from '../memory/ring.ts';
import { FLAG, TCB } from '../tcp/block.ts';
import type { Tcp } from '../tcp/tcp.ts';

const AT = DESC_AT;
const { SNDQ, IFACE, RCVQ, RECOVER, STATE, SND_WL1, FLAGS } = TCB;
const { MINI } = FLAG;
/** About 2 MiB of control blocks, a second-level cache. It costs nothing measurable from there, and pays later. */
const FLOWS_MIN = 4096;

export class Touch {
  readonly #blocks = new Int32Array(64);
  /** What was loaded goes somewhere, or V8 would leave the loads out. */
  sink = 0;

  /** Touches the next `n` (at most 64) frames of an interface's rx ring. */
  batch(tcp: Tcp, iface: Interface, n: number): void {
    if (tcp.table.count < FLOWS_MIN) return;
    const { m, view, table } = tcp;
    const { base, mask } = table;
    const ring = iface.port.rx;
    const link = iface.ether ? 14 : 0;
    const blocks = this.#blocks;
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const at = m[ring.slot((ring.head + i) | 0) + AT] + link;
      const first = view.getUint8(at);
      let hash: number;
      if (first === 0x45) {
        hash = flowHash4(
          tcp.key0,
          tcp.key1,
          view.getInt32(at + 16, false),
          view.getInt32(at + 12, false),
          view.getInt32(at + 20, false),
        );
      } else if (first >> 4 === 6) {
        hash = hash6(tcp, view, at);
      } else {
        blocks[i] = 0;
        continue;
      }
      const entry = base + ((hash & mask) << 1);
      // The first entry is the right one nearly always; a wrong one costs a useless load.
      blocks[i] = m[entry + 1];
    }
    for (let i = 0; i < n; i++) {
      const t = blocks[i];
      if (t === 0) continue;
      if ((m[t + FLAGS] & MINI) !== 0) {
        // Has no further lines, nor a send queue.
        blocks[i] = 0;
        continue;
      }
      sum ^= m[t + IFACE] ^ m[t + STATE] ^ m[t + SND_WL1] ^ m[t + RCVQ] ^ m[t + RECOVER];
    }
    // The chunk that the ACK in this packet will give back.
    for (let i = 0; i < n; i++) {
      const t = blocks[i];
      if (t !== 0) sum ^= m[m[t + SNDQ] >> 2];
    }
    this.sink ^= sum;
  }
}

function hash6(tcp: Tcp, view: DataView, at: number): number {
  return flowHash6(
    tcp.key0,
    tcp.key1,
    view.getInt32(at + 24, false),
    view.getInt32(at + 28, false),
    view.getInt32(at + 32, false),
    view.getInt32(at + 36, false),
    view.getInt32(at + 8, false),
    view.getInt32(at + 12, false),
    view.getInt32(at + 16, false),
    view.getInt32(at + 20, false),
    view.getInt32(at + 40, false),
  );
}
