/**
 * A learning Ethernet switch between the ports of one arena (IEEE 802.1D 7; netmap's VALE, Rizzo and Lettieri, CoNEXT
 * 2012). Engines use the ports that it makes; any other port is attached.
 *
 *     engine ═ port() ─┐            ┌─ attach(tap)
 *     engine ═ port() ─┤   switch   ├─ attach(xdp)
 *                      └────────────┘
 *
 * A batch is switched when it comes: learn each frame's source, look up its destination, hand it over to that port's tx
 * ring, and sync every port that got something once. A full ring loses frames and holds nobody back. Within one pool
 * frames move by exchanging buffers; those for several ports, and those of other pools, are copied.
 */
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { DESC_AT, DESC_LENGTH } from '../memory/ring.ts';
import { ETHER_HEADER_BYTES } from '../wire/ethernet.ts';
import { createCable } from './cable.ts';
import {
  carveScratch,
  type ForwardCounters,
  forwardCounters,
  mayExchange,
  NO_ROOM,
  Outlet,
  slotsOfFrame,
} from './forward.ts';
import { MacTable } from './mac-table.ts';
import { type Port, PortError } from './port.ts';

const [AT, LENGTH] = [DESC_AT, DESC_LENGTH];
const HEADER_BYTES = ETHER_HEADER_BYTES;

/**
 * Words of an outlet: the line by which the kernel knows a port that frames go to, while it is loaded. Its tx ring's
 * bytes, slots less one, head, and slots that are free; FRAME_* it doesn't take as they are, and its longest frame; whether
 * buffers may be exchanged with it; what it got since it was loaded.
 */
const [RING, RING_MASK, HEAD, ROOM, STOP, LENGTH_MAX, EXCHANGE, FRAMES, BYTES] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const OUTLET_BYTES = 64;

/** As VALE; a port's number has a byte in the table. */
export const SWITCH_PORTS_MAX = 254;

export interface SwitchOptions {
  /** ms, from any start. */
  readonly now: () => number;
  /** Hardware addresses that it knows at most, a power of two; 4096 unless told. */
  readonly addresses?: number;
  /** How long it knows one that is silent, s; 300 unless told (802.1D 7.9.2). */
  readonly ageing_s?: number;
  /** Random, so that nobody can choose addresses that share a place in the table. */
  readonly key: number;
  /** Of the ports that it makes: largest IP packet, 1500 B unless told, … */
  readonly mtu?: number;
  /** … slots of each ring, 256 unless told, … */
  readonly slots?: number;
  /** … whether they take super-segments and leave checksums out, off unless told, … */
  readonly offload?: boolean;
  /** … and their buffers; each has its own unless told. */
  readonly pool?: FramePool;
}

export interface SwitchCounters {
  /** Addresses that were seen at another port than before. */
  readonly moves: number;
  /** Addresses forgotten since their place was needed. */
  readonly evicted: number;
}

export interface SwitchPortCounters {
  /** Frames from this port for one other, and for all others. */
  unicast: number;
  flooded: number;
  /** Frames from this port that go nowhere: their destination is here, or no switch passes them on. */
  filtered: number;
  /** Frames for this port that its full ring lost. */
  dropped: number;
}

/** A port as the switch has it. */
export interface SwitchPort {
  readonly port: Port;
  readonly counters: SwitchPortCounters;
  /** What was handed to the port, and what it couldn't take. */
  readonly out: ForwardCounters;
}

/** @throws RangeError @throws ArenaFullError */
export function createSwitch(arena: Arena, name: string, options: SwitchOptions): Switch {
  return new Switch(arena, name, options);
}

/** No slots, for now. */
const WAITS = -1;
/** Times that ports are looked at again because programs answered what they were just handed. */
const ANSWERS_MAX = 4;
/** 01-80-C2-00-00-00 to -0F: for the next switch only (802.1D 7.12.6). As a MacTable has addresses. */
const RESERVED_FIRST = 0x00c2_8001;
const RESERVED_REST_MASK = 0xf0ff;

class Member implements SwitchPort {
  readonly port: Port;
  readonly index: number;
  /** The far end of a cable that the switch made: the near end is a program's. */
  readonly isOwn: boolean;
  readonly outlet: Outlet;
  readonly out = forwardCounters();
  readonly counters: SwitchPortCounters = { unicast: 0, flooded: 0, filtered: 0, dropped: 0 };
  /** By the number of the port that a frame comes from: whether its buffer may go. */
  readonly exchange = new Uint8Array(SWITCH_PORTS_MAX);
  /** It may have got something since its last sync. */
  dirty = false;
  /** The kernel hands frames over to it, and has the head of its tx ring. */
  loaded = false;
  /** It had no room after a sync: no more of them for this batch. */
  full = false;

  constructor(port: Port, index: number, isOwn: boolean, scratch: number) {
    this.port = port;
    this.index = index;
    this.isOwn = isOwn;
    this.outlet = new Outlet(port, scratch, this.out);
  }
}

export class Switch {
  readonly name: string;
  readonly arena: Arena;
  readonly #options: SwitchOptions;
  readonly #m: Int32Array;
  readonly #scratch: number;
  readonly #members: Member[] = [];
  readonly #macs: MacTable;
  /** Byte offset of the ports' outlets. */
  readonly #outlets: number;
  readonly #dirty = new Int32Array(SWITCH_PORTS_MAX);
  #dirtyCount = 0;
  #busy = false;
  #missed = false;

  constructor(arena: Arena, name: string, options: SwitchOptions) {
    const { addresses = 4096, ageing_s = 300, key } = options;
    this.name = name;
    this.arena = arena;
    this.#options = options;
    this.#m = arena.i32;
    this.#macs = new MacTable(arena, name, addresses, ageing_s, key);
    this.#outlets = arena.carve(`${name} outlets`, SWITCH_PORTS_MAX * OUTLET_BYTES);
    this.#scratch = carveScratch(arena);
  }

  get counters(): SwitchCounters {
    const { moves, evicted } = this.#macs;
    return { moves, evicted };
  }

  get ports(): readonly SwitchPort[] {
    return this.#members;
  }

  /**
   * A new port for an engine. What it sends is switched in its txSync: nobody needs to call `turn` for it.
   * @throws PortError ENOSPC when there are SWITCH_PORTS_MAX @throws ArenaFullError
   */
  port(): Port {
    const index = this.#members.length;
    const { mtu, slots, offload, pool, key } = this.#options;
    const mac = Uint8Array.of(0x02, 0x6d, 0x73, key >> 8, key, index);
    const [near, far] = createCable(this.arena, `${this.name}.${index}`, {
      mac,
      ...(mtu !== undefined && { mtu }),
      ...(slots !== undefined && { slots }),
      ...(offload !== undefined && { offload }),
      ...(pool !== undefined && { pool }),
    });
    const member = this.#add(far, true);
    far.onArrival = () => this.#arrived(member);
    return near;
  }

  /**
   * Makes any other port one of the switch's; who attaches it closes it, after the switch's last turn.
   * @throws PortError EINVAL for a port without Ethernet, of another arena, or attached already; ENOSPC
   */
  attach(port: Port): SwitchPort {
    return this.#add(port, false);
  }

  #add(port: Port, isOwn: boolean): Member {
    const members = this.#members;
    if (port.capabilities.link !== 'ether')
      throw new PortError(
        'EINVAL',
        `${port.name} carries bare IP packets, and a switch needs Ethernet frames`,
      );
    if (port.arena !== this.arena) throw new PortError('EINVAL', `${port.name} is in another arena`);
    if (members.some((member) => member.port === port))
      throw new PortError('EINVAL', `${port.name} is attached already`);
    if (members.length === SWITCH_PORTS_MAX)
      throw new PortError('ENOSPC', `a switch has ${SWITCH_PORTS_MAX} ports at most`);
    const member = new Member(port, members.length, isOwn, this.#scratch);
    members.push(member);
    for (const other of members) {
      member.exchange[other.index] = Number(mayExchange(other.port, port));
      other.exchange[member.index] = Number(mayExchange(port, other.port));
    }
    return member;
  }

  /** Switches what the attached ports have received. @returns rx slots given back; 0: nothing was there */
  turn(): number {
    let moved = 0;
    this.#busy = true;
    try {
      for (const member of this.#members) {
        moved += this.#take(member);
        // What its device had no room for, or hasn't given back.
        const { tx } = member.port;
        if (tx.available < tx.slots) member.port.txSync();
      }
    } finally {
      this.#busy = false;
    }
    return moved;
  }

  /** Closes the ports that it made. */
  close(): void {
    for (const { port, isOwn } of this.#members) if (isOwn) port.close();
  }

  /** Where an address is, as far as is known; for tools. */
  portOf(mac: Uint8Array): Port | null {
    this.#readClock();
    const index = this.#macs.find(
      mac[0] | (mac[1] << 8) | (mac[2] << 16) | (mac[3] << 24),
      mac[4] | (mac[5] << 8),
    );
    return index < 0 ? null : this.#members[index].port;
  }

  /** An engine has sent something; maybe in answer to what it was just handed. */
  #arrived(member: Member): void {
    if (this.#busy) {
      this.#missed = true;
      return;
    }
    this.#busy = true;
    try {
      this.#takeAll(member);
      // Those who answer each other at once would do so for ever; the rest waits for the next arrival.
      for (let i = 0; i < ANSWERS_MAX && this.#missed; i++) {
        this.#missed = false;
        for (const other of this.#members) if (other.isOwn) this.#takeAll(other);
      }
    } finally {
      this.#busy = false;
    }
  }

  /** The sync that finds nothing more gives the slots back, so that the next frames have room, and tell that they came. */
  #takeAll(member: Member): void {
    while (this.#take(member) > 0);
  }

  #readClock(): void {
    this.#macs.now_s = Math.floor(this.#options.now() / 1000) | 0;
  }

  /** Switches what one port has received. */
  #take(source: Member): number {
    const { port, counters, index } = source;
    if (port.rxSync() === 0) return 0;
    this.#readClock();
    const { rx } = port;
    const { switchFrames } = this.arena.kernels;
    const start = rx.head;
    try {
      while (rx.head !== rx.tail) {
        const n = switchFrames(
          this.#macs.table,
          this.#outlets,
          index,
          rx.base << 2,
          rx.mask,
          rx.head,
          rx.available,
        );
        counters.unicast += n;
        rx.head = (rx.head + n) | 0;
        if (rx.head === rx.tail) break;
        const count = this.#takeOne(source, rx.head);
        if (count === WAITS) break;
        rx.head = (rx.head + count) | 0;
      }
    } finally {
      // What the kernel has of an outlet is right for this source only.
      for (let i = 0; i < this.#dirtyCount; i++) this.#unload(this.#members[this.#dirty[i]]);
    }
    this.#flush();
    return (rx.head - start) | 0;
  }

  /** A frame that the kernel has stopped at. @returns its slots; 0: the kernel takes it now; WAITS: its end hasn't come */
  #takeOne(source: Member, head: number): number {
    const { port, counters } = source;
    const { rx } = port;
    const m = this.#m;
    const slot = rx.slot(head);
    const count = slotsOfFrame(port, head);
    const isLost = count === 0 && ((rx.tail - head) | 0) >= rx.slots;
    if (isLost || m[slot + LENGTH] < HEADER_BYTES) {
      counters.filtered++;
      return isLost ? rx.slots : Math.max(1, count);
    }
    if (count === 0) return WAITS;
    const { view } = this.arena;
    const at = m[slot + AT];
    const first = view.getInt32(at, true);
    const rest = view.getUint16(at + 4, true);
    this.#macs.learn(view.getInt32(at + 6, true), view.getUint16(at + 10, true), source.index);
    const to = this.#macs.find(first, rest);
    if (to < 0 || to === source.index) {
      this.#spread(source, head, count, first, rest, to);
      return count;
    }
    const target = this.#members[to];
    if (!target.loaded && count === 1 && this.#load(target, source)) return 0;
    counters.unicast++;
    this.#put(source, head, count, target, target.exchange[source.index] !== 0);
    return count;
  }

  /** A frame for all others, or for none. */
  #spread(source: Member, head: number, count: number, first: number, rest: number, to: number): void {
    if (to === source.index || (first === RESERVED_FIRST && (rest & RESERVED_REST_MASK) === 0)) {
      source.counters.filtered++;
      return;
    }
    source.counters.flooded++;
    const members = this.#members;
    const last = source.index === members.length - 1 ? members.length - 2 : members.length - 1;
    for (let i = 0; i <= last; i++) {
      if (i === source.index) continue;
      // The last one may have the buffer itself.
      this.#put(source, head, count, members[i], i === last && members[i].exchange[source.index] !== 0);
    }
  }

  /** Hands a frame to one port, or loses it. */
  #put(source: Member, head: number, count: number, target: Member, exchange: boolean): void {
    const { outlet } = target;
    this.#unload(target);
    if (!target.dirty) this.#soil(target);
    let result = outlet.put(source.port, head, count, exchange);
    // A sync may make room, and then a super-segment's pieces go on.
    while (result === NO_ROOM && !target.full) {
      const room = target.port.tx.available;
      target.full = target.port.txSync() <= room;
      if (!target.full) result = outlet.put(source.port, head, count, exchange);
    }
    if (result !== NO_ROOM) return;
    outlet.abandon();
    target.counters.dropped++;
  }

  /** Lets the kernel hand frames of one port over to another. @returns whether that has room */
  #load(target: Member, source: Member): boolean {
    const { index, outlet } = target;
    const { tx } = target.port;
    const room = tx.available;
    if (room === 0) return false;
    const m = this.#m;
    const line = (this.#outlets + index * OUTLET_BYTES) >> 2;
    m[line + RING] = tx.base << 2;
    m[line + RING_MASK] = tx.mask;
    m[line + HEAD] = tx.head;
    m[line + ROOM] = room;
    m[line + STOP] = outlet.work;
    m[line + LENGTH_MAX] = outlet.lengthMax;
    m[line + EXCHANGE] = target.exchange[source.index];
    m[line + FRAMES] = 0;
    m[line + BYTES] = 0;
    target.loaded = true;
    if (!target.dirty) this.#soil(target);
    return true;
  }

  #unload(target: Member): void {
    if (!target.loaded) return;
    target.loaded = false;
    const m = this.#m;
    const line = (this.#outlets + target.index * OUTLET_BYTES) >> 2;
    target.port.tx.head = m[line + HEAD];
    target.out.frames += m[line + FRAMES];
    target.out.bytes += m[line + BYTES] >>> 0;
    m[line + ROOM] = 0;
  }

  #soil(target: Member): void {
    target.dirty = true;
    this.#dirty[this.#dirtyCount++] = target.index;
  }

  #flush(): void {
    const count = this.#dirtyCount;
    this.#dirtyCount = 0;
    for (let i = 0; i < count; i++) {
      const target = this.#members[this.#dirty[i]];
      target.dirty = false;
      target.full = false;
    }
    for (let i = 0; i < count; i++) this.#members[this.#dirty[i]].port.txSync();
  }
}
