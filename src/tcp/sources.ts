/**
 * How many passively opened connections each source has, for the limits per source. A source is an IPv4 address, or
 * an IPv6 /64, of which one subscriber can use every address. Entries exist while they count something, so there are
 * never more than blocks, and the table can't be full.
 */
import type { Packet } from '../ip/packet.ts';
import type { Arena } from '../memory/arena.ts';
import { FlowTable, flowHash4 } from '../memory/flow-table.ts';
import { FLAG, TCB } from './block.ts';

const { FLAGS, RADDR, RADDR6 } = TCB;
const { V6 } = FLAG;

/** An entry's words: IP version and the address's first two words; what is counted. A free one's links. */
const [VERSION, HIGH, LOW] = [0, 1, 2];
const NEXT_FREE = HIGH;
export const SOURCE_HALF_OPEN = 3;
export const SOURCE_CONNECTIONS = 4;
const ENTRY_WORDS = 5;

export class Sources {
  readonly #m: Int32Array;
  readonly #table: FlowTable;
  readonly #keys: readonly [number, number];
  readonly #entries: number;
  #fresh = 0;
  #free = 0;

  constructor(arena: Arena, blocks: number, key0: number, key1: number) {
    this.#m = arena.i32;
    this.#keys = [key0, key1];
    this.#table = new FlowTable(arena, 'source table', blocks);
    this.#entries = arena.carve('sources', blocks * ENTRY_WORDS * 4) >> 2;
  }

  /** Sources that count something. */
  get inUse(): number {
    return this.#table.count;
  }

  /** What the sender of a packet has. @param what SOURCE_HALF_OPEN or SOURCE_CONNECTIONS. */
  ofPacket(p: Packet, what: number): number {
    const entry = this.#find(p.version, p.src0, p.version === 6 ? p.src1 : 0);
    return entry === 0 ? 0 : this.#m[entry + what];
  }

  add(t: number, what: number): void {
    const m = this.#m;
    const v6 = (m[t + FLAGS] & V6) !== 0;
    const version = v6 ? 6 : 4;
    const high = v6 ? m[t + RADDR6] : m[t + RADDR];
    const low = v6 ? m[t + RADDR6 + 1] : 0;
    let entry = this.#find(version, high, low);
    if (entry === 0) {
      entry = this.#take();
      m[entry + VERSION] = version;
      m[entry + HIGH] = high;
      m[entry + LOW] = low;
      if (!this.#table.insert(this.#hash(version, high, low), entry))
        throw new Error('assertion: more sources than connections');
    }
    m[entry + what]++;
  }

  remove(t: number, what: number): void {
    const m = this.#m;
    const v6 = (m[t + FLAGS] & V6) !== 0;
    const entry = v6 ? this.#find(6, m[t + RADDR6], m[t + RADDR6 + 1]) : this.#find(4, m[t + RADDR], 0);
    if (entry === 0 || --m[entry + what] < 0) throw new Error('assertion: a connection was not counted');
    if ((m[entry + SOURCE_HALF_OPEN] | m[entry + SOURCE_CONNECTIONS]) !== 0) return;
    this.#table.remove(this.#hash(m[entry + VERSION], m[entry + HIGH], m[entry + LOW]), entry);
    m[entry + NEXT_FREE] = this.#free;
    this.#free = entry;
  }

  #take(): number {
    const m = this.#m;
    let entry = this.#free;
    if (entry !== 0) this.#free = m[entry + NEXT_FREE];
    else entry = this.#entries + this.#fresh++ * ENTRY_WORDS;
    m[entry + SOURCE_HALF_OPEN] = 0;
    m[entry + SOURCE_CONNECTIONS] = 0;
    return entry;
  }

  #find(version: number, high: number, low: number): number {
    const m = this.#m;
    const { base, mask } = this.#table;
    const hash = this.#hash(version, high, low);
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const entry = m[base + 2 * i + 1];
      if (entry === 0) return 0;
      if (m[base + 2 * i] !== hash) continue;
      if (m[entry + VERSION] === version && m[entry + HIGH] === high && m[entry + LOW] === low) return entry;
    }
  }

  #hash(version: number, high: number, low: number): number {
    return flowHash4(this.#keys[0], this.#keys[1], low, high, version);
  }
}
