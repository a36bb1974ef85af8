/**
 * An attacker between two engines, who drops, spoils and repeats what they say, and says things of its own with
 * addresses, ports and sequence numbers near the right ones, while programs on both do whatever comes to mind. All
 * of it follows from what the generator says: a seed, or a tape that a fuzzer writes.
 */
import { createCable } from '../device/cable.ts';
import type { Link, Port } from '../device/port.ts';
import { Arena } from '../memory/arena.ts';
import type { Prng } from '../memory/prng.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH, FRAME_CHECKSUM_FILL } from '../memory/ring.ts';
import { FLAG, STATE_NAMES, TCB } from '../tcp/block.ts';
import { ETHERTYPE_IPV4, emitEthernet } from '../wire/ethernet.ts';
import { type FrameWorld, generateFrame, pick, randomBytes } from '../wire/generate.ts';
import { emitIcmp } from '../wire/icmp.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { HEADER_DESTINATION, HEADER_FRAGMENT, HEADER_HOP_BY_HOP, HEADER_ROUTING } from '../wire/ipv6.ts';
import { mutateFrame, repairChecksums } from '../wire/mutate.ts';
import { concat, viewOf } from '../wire/plain.ts';
import { auditEngine, liveStates } from './audit.ts';
import { Engine } from './engine.ts';
import type { Conn, Handlers } from './handlers.ts';
import { A4, A6, B4, B6 } from './testing.ts';

const MACS = ['02:6d:72:00:00:01', '02:6d:72:00:00:02'];
const LISTENING = [7, 9];
const MTU = 1500;
/** Few, so that strangers' addresses fill the cache. */
const NEIGHBOURS = 8;
const EXTENSION_HEADERS = [
  HEADER_DESTINATION,
  HEADER_DESTINATION,
  HEADER_HOP_BY_HOP,
  HEADER_ROUTING,
  HEADER_FRAGMENT,
];
/** Kinds and lengths of options. */
const OPTION_BYTES = [0, 1, 2, 3, 4, 5, 8, 10, 34, 255];
/** Where frames are forged, one at a time. A DataView for each costs as much as an engine's work with it. */
const draft = new Uint8Array(65_536);
const draftView = viewOf(draft);
/** By then every timer has ended what it guards, ms. */
const SETTLE_MS = 400_000;
/** More than this when all connections are being aborted is two engines that never stop answering each other. */
const FRAMES_AFTER_MAX = 20_000;

/** A program that does whatever comes to mind, and checks that what it is told makes sense. */
class Program {
  readonly engine: Engine;
  readonly prng: Prng;
  readonly others: readonly string[];
  readonly live = new Map<Conn, { open: boolean; ended: boolean }>();
  readonly handlers: Handlers;
  readonly bytes = new Uint8Array(20_000);
  /** Attached to nothing new any more. */
  quiet = false;

  constructor(engine: Engine, prng: Prng, others: readonly string[]) {
    this.engine = engine;
    this.prng = prng;
    this.others = others;
    const known = (conn: Conn, what: string) => {
      const state = this.live.get(conn);
      if (state === undefined) throw new Error(`${what} for a connection that is gone, or never was`);
      return state;
    };
    this.handlers = {
      open: (conn) => {
        const state = this.live.get(conn) ?? { open: false, ended: false };
        if (state.open) throw new Error('open twice');
        state.open = true;
        this.live.set(conn, state);
        this.act(conn);
      },
      data: (conn, _at, length) => {
        const { open, ended } = known(conn, 'data');
        if (!open || ended) throw new Error('data before open or after end');
        if (length <= 0) throw new Error(`data of ${length} bytes`);
        if (prng.bool(0.05)) this.act(conn);
        return prng.bool(0.8) ? length : prng.below(length);
      },
      end: (conn) => {
        const state = known(conn, 'end');
        if (!state.open || state.ended) throw new Error('end before open, or twice');
        state.ended = true;
        this.act(conn);
      },
      writable: (conn) => {
        known(conn, 'writable');
        this.act(conn);
      },
      drained: (conn) => {
        known(conn, 'drained');
        this.act(conn);
      },
      close: (conn) => {
        known(conn, 'close');
        this.live.delete(conn);
        if (prng.bool(0.1)) this.engine.abort(conn);
      },
    };
    for (const port of LISTENING) {
      const options = { port, noDelay: prng.bool(), backlog: pick(prng, [20, 3]), fastOpen: prng.bool() };
      engine.listen(options, this.handlers);
    }
    engine.onHandlerError = (error) => {
      throw error;
    };
  }

  /** Something with one connection. */
  act(conn: Conn): void {
    const { engine, prng, bytes } = this;
    const what = prng.below(50);
    if (what < 14) engine.write(conn, bytes, 0, 1 + prng.below(what < 7 ? 100 : bytes.length));
    else if (what < 20) engine.resume(conn);
    else if (what < 23) engine.notifyDrained(conn);
    else if (what < 26) engine.setNoDelay(conn, prng.bool());
    else if (what < 28)
      engine.setKeepAlive(conn, pick(prng, [0, 100, 5000]), pick(prng, [0, 50]), prng.below(4));
    else if (what < 33) engine.shutdown(conn);
    else if (what < 35) engine.close(conn);
    else if (what === 36) engine.abort(conn);
    else if (what === 37) engine.markUrgent(conn);
    else if (what === 38) engine.shutdownRead(conn);
    else if (what === 39) engine.setLinger(conn, pick(prng, [null, 0, 500]));
    else if (what === 40) engine.setCongestion(conn, pick(prng, ['cubic', 'reno', 'bbr']));
    else if (what === 41) engine.setReceiveBuffer(conn, pick(prng, [0, 300, 100_000]));
    else if (what === 42) engine.setSendBuffer(conn, pick(prng, [0, 300, 100_000]));
    else if (what === 43) engine.setNotSentLowWater(conn, pick(prng, [0, 100, 5000]));
    else if (what === 44) engine.setUserTimeout(conn, pick(prng, [0, 200, 10_000]));
    else engine.info(conn);
  }

  /** Something with the engine. */
  turn(): void {
    const { engine, prng } = this;
    if (this.quiet) return;
    if (this.live.size < 12 && prng.bool(0.2)) {
      try {
        const conn = engine.connect(
          {
            address: pick(prng, this.others),
            port: pick(prng, [...LISTENING, 10]),
            fastOpen: prng.bool(0.3),
          },
          this.handlers,
        );
        this.live.set(conn, { open: false, ended: false });
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOBUFS')) throw error;
      }
    }
    for (const conn of [...this.live.keys()]) if (prng.bool(0.15)) this.act(conn);
    if (this.live.size > 30) this.engine.abort(pick(prng, [...this.live.keys()]));
  }

  stop(): void {
    this.quiet = true;
    for (const conn of [...this.live.keys()]) this.engine.abort(conn);
  }
}

export class Attack {
  readonly arena: Arena;
  readonly prng: Prng;
  readonly link: Link;
  readonly engines: [Engine, Engine];
  readonly programs: [Program, Program];
  /** The attacker's ends of the cables to both. */
  readonly ports: [Port, Port];
  /** States of connections that a forged segment met, where somebody wants to know. */
  readonly met: Set<string> | null;
  /** Frames given to each engine. */
  readonly given: [number, number] = [0, 0];
  /** What each engine sent of late. */
  readonly recent: [Uint8Array[], Uint8Array[]] = [[], []];
  readonly world: FrameWorld;
  now = 2 ** 31 - 30_000;
  honest = false;
  /** The last breath made somebody say something. */
  moved = false;

  /** @param arenaOf Memory of so many bytes, empty: thousands of attacks a minute had better use the same. */
  constructor(
    prng: Prng,
    met: Set<string> | null,
    arenaOf: (bytes: number) => Arena = (bytes) => new Arena(bytes),
  ) {
    this.prng = prng;
    this.met = met;
    this.link = prng.bool(0.7) ? 'ether' : 'ip';
    const offload = prng.bool(0.25);
    this.arena = arenaOf((offload ? 16 : 8) << 20);
    this.world = {
      link: this.link,
      macs: [...MACS, 'ff:ff:ff:ff:ff:ff'],
      ipv4: [
        A4,
        B4,
        A4,
        B4,
        '10.0.0.255',
        '255.255.255.255',
        '224.0.0.1',
        '10.0.0.9',
        '127.0.0.1',
        '0.0.0.0',
      ],
      ipv6: [A6, B6, A6, B6, 'fe80::1', 'ff02::1', '::1', '::'],
      ports: [...LISTENING, 32_800, 0],
    };
    const limits = {
      connections: 48,
      miniBlocks: 64,
      chunks: 600,
      receiveBuffer: pick(prng, [0, 2000, 60_000]),
      sendBuffer: pick(prng, [0, 30_000]),
      timeWait_ms: 3000,
      synRetries: 3,
      synAckRetries: 3,
      reassemblyBuffers: 6,
      records: pick(prng, [8, 500]),
      udpSockets: 8,
      udpChunks: 32,
      synCookies: pick(prng, ['auto', 'auto', 'always', 'never'] as const),
      ecn: pick(prng, ['passive', 'off', 'on', 'accurate'] as const),
      mtuProbing: pick(prng, ['auto', 'always'] as const),
      congestion: pick(prng, ['cubic', 'reno', 'bbr']),
      pacing: prng.bool(0.2),
      connectionsPerSource: pick(prng, [0, 0, 10]),
      halfOpenPerSource: pick(prng, [0, 0, 5]),
    };
    const engine = (address4: string, address6: string, i: number): [Engine, Port] => {
      const ends = createCable(this.arena, `cable ${i}`, {
        link: this.link,
        mtu: MTU,
        offload,
        slots: offload ? 16 : 64,
      });
      // The ends differ in their hardware addresses, and so shall the engines.
      const [near, far] = [ends[i], ends[1 - i]];
      const secret = Int32Array.from({ length: 4 }, () => prng.next());
      const made = new Engine({ arena: this.arena, secret, now: this.now, limits });
      made.addInterface(near, { addresses: [`${address4}/24`, `${address6}/64`], neighbours: NEIGHBOURS });
      return [made, far];
    };
    const [a, pa] = engine(A4, A6, 0);
    const [b, pb] = engine(B4, B6, 1);
    this.engines = [a, b];
    this.ports = [pa, pb];
    this.programs = [new Program(a, prng, [B4, B6]), new Program(b, prng, [A4, A6])];
  }

  /** Gives a frame to an engine. */
  give(to: 0 | 1, frame: Uint8Array): void {
    const { tx, frameBytes } = this.ports[to];
    // No cable takes a frame of nothing.
    if (frame.length === 0 || frame.length > frameBytes || tx.available === 0) return;
    const slot = tx.slot(tx.head);
    this.arena.u8.set(frame, tx.m[slot + DESC_AT]);
    tx.m[slot + DESC_LENGTH] = frame.length;
    tx.m[slot + DESC_FLAGS] = 0;
    tx.head = (tx.head + 1) | 0;
    this.given[to]++;
  }

  /** Passes on what an engine sent, or not quite. */
  relay(from: 0 | 1): void {
    const { prng } = this;
    const port = this.ports[from];
    const to = from === 0 ? 1 : 0;
    let n = port.rxSync();
    this.moved ||= n > 0;
    for (; n > 0; n--) {
      const slot = port.rx.slot(port.rx.head);
      const at = port.rx.m[slot + DESC_AT];
      const frame = this.arena.u8.slice(at, at + port.rx.m[slot + DESC_LENGTH]);
      // The attacker is a wire, on which checksums are complete.
      if ((port.rx.m[slot + DESC_FLAGS] & FRAME_CHECKSUM_FILL) !== 0) repairChecksums(frame, this.link);
      port.rx.head = (port.rx.head + 1) | 0;
      const recent = this.recent[from];
      if (recent.length < 40) recent.push(frame);
      else recent[prng.below(40)] = frame;
      if (this.honest || prng.bool(0.9)) this.give(to, frame);
      if (!this.honest && prng.bool(0.15)) this.give(to, this.spoil(frame));
    }
  }

  spoil(frame: Uint8Array): Uint8Array {
    const { prng } = this;
    const spoilt = mutateFrame(prng, frame, this.donor(frame));
    if (prng.bool(0.8)) repairChecksums(spoilt, this.link);
    return spoilt;
  }

  /** One of those heard of late from either, or this one. */
  donor(frame: Uint8Array): Uint8Array {
    const heard = this.recent[this.prng.below(2)];
    return heard[this.prng.below(heard.length + 1)] ?? frame;
  }

  /**
   * A frame for an engine: something heard of late with other numbers or flags, or something made up. It may be gone when
   * the next is forged.
   */
  forge(to: 0 | 1): Uint8Array {
    const { prng } = this;
    // Mostly as if from the other engine, at times what this one said itself.
    const heard = this.recent[prng.bool(0.95) ? 1 - to : to];
    const kind = prng.below(20);
    if (kind === 0 || heard.length === 0) return generateFrame(prng, this.world);
    if (kind === 1) return pick(prng, heard);
    if (kind === 2) return this.icmpAbout(to);
    const original = pick(prng, heard);
    draft.set(original);
    const frame = draft.subarray(0, original.length);
    const ip = this.link === 'ether' ? 14 : 0;
    const v4 = frame[ip] >> 4 === 4;
    const l4 = ip + (v4 ? 20 : 40);
    if (frame.length < l4 + 20 || frame[ip + (v4 ? 9 : 6)] !== 6) return this.spoil(frame);
    this.alter(frame, draftView, l4, to);
    if (kind === 3 && v4) draftView.setUint16(ip + 6, prng.next());
    if (kind === 6 && !v4) return this.chain(frame, ip);
    if (kind === 4) frame.copyWithin(ip + (v4 ? 12 : 8), ip + (v4 ? 16 : 24), l4);
    if (kind === 5)
      for (let i = l4 + 20; i < Math.min(frame.length, l4 + 40); i++) frame[i] = pick(prng, OPTION_BYTES);
    repairChecksums(frame, this.link, draftView);
    return frame;
  }

  /** Puts extension headers between an IPv6 header and what it carries; the checksum stays good, the chain may not be. */
  chain(frame: Uint8Array, ip: number): Uint8Array {
    const { prng } = this;
    repairChecksums(frame, this.link);
    const headers: Uint8Array[] = [];
    let next = frame[ip + 6];
    for (let i = 1 + prng.below(prng.bool(0.1) ? 12 : 3); i > 0; i--) {
      const kind = pick(prng, EXTENSION_HEADERS);
      const header = new Uint8Array(kind === HEADER_FRAGMENT ? 8 : 8 * (1 + prng.below(3)));
      if (prng.bool(0.3)) header.set(randomBytes(prng, header.length));
      // PadN over all of it.
      else if (kind !== HEADER_FRAGMENT) header.set([0, 0, 1, header.length - 4]);
      header[0] = next;
      if (kind !== HEADER_FRAGMENT) header[1] = prng.bool(0.95) ? (header.length >> 3) - 1 : prng.below(256);
      headers.unshift(header);
      next = kind;
    }
    const chained = concat(frame.subarray(0, ip + 40), ...headers, frame.subarray(ip + 40));
    chained[ip + 6] = next;
    viewOf(chained).setUint16(ip + 4, chained.length - ip - 40);
    return chained;
  }

  /** An IPv4 or IPv6 packet in pieces, in any order, with some that are missing, twice there or wrong. */
  fragments(frame: Uint8Array): Uint8Array[] {
    const { prng } = this;
    const ip = this.link === 'ether' ? 14 : 0;
    const v4 = frame[ip] >> 4 === 4;
    const header = ip + (v4 ? 20 : 40);
    if (frame.length <= header) return [frame];
    const id = prng.below(4);
    const size = 8 * (1 + prng.below(40));
    const pieces: Uint8Array[] = [];
    for (let at = header; at < frame.length && pieces.length < 40; at += size) {
      const more = at + size < frame.length ? 1 : 0;
      const offset = (at - header) >> 3;
      const data = frame.subarray(at, at + size);
      const extension = v4
        ? new Uint8Array(0)
        : Uint8Array.of(frame[ip + 6], 0, offset >> 5, (offset << 3) | more, 0, 0, 0, id);
      const piece = concat(frame.subarray(0, header), extension, data);
      const view = viewOf(piece);
      if (v4) {
        view.setUint16(ip + 2, piece.length - ip);
        view.setUint16(ip + 4, id);
        view.setUint16(ip + 6, (more << 13) | offset);
      } else {
        piece[ip + 6] = HEADER_FRAGMENT;
        view.setUint16(ip + 4, piece.length - header);
      }
      repairChecksums(piece, this.link);
      const luck = prng.below(40);
      if (luck !== 0) pieces.push(piece);
      if (luck === 1) pieces.push(piece);
      if (luck === 2) pieces.push(this.spoil(piece));
    }
    if (prng.bool(0.2)) pieces.reverse();
    return pieces;
  }

  /** Numbers near the right ones, and any flags. */
  alter(frame: Uint8Array, view: DataView, l4: number, to: 0 | 1): void {
    const { prng } = this;
    const near = () =>
      pick(prng, [0, 0, 0, 0, 1, -1, 2, 1000, -1000, 1448, 65_535, -65_536, 1 << 20, prng.next()]);
    view.setInt32(l4 + 4, view.getInt32(l4 + 4) + near());
    view.setInt32(l4 + 8, view.getInt32(l4 + 8) + near());
    if (prng.bool()) {
      // FIN SYN RST PSH ACK URG, alone and together.
      frame[l4 + 13] = pick(prng, [
        0x10,
        0x10,
        0x11,
        0x02,
        0x12,
        0x04,
        0x14,
        0x18,
        0x30,
        0x01,
        0x03,
        0x00,
        prng.below(256),
      ]);
    }
    if (prng.bool(0.3)) view.setUint16(l4 + 14, pick(prng, [0, 1, 100, 65_535, prng.below(65_536)]));
    if (prng.bool(0.1)) view.setUint16(l4 + (prng.bool() ? 0 : 2), pick(prng, this.world.ports));
    if (this.met !== null) this.meets(view, l4, to, this.met);
  }

  /** Notes the state of the connection that the forged segment will find. */
  meets(view: DataView, l4: number, to: 0 | 1, met: Set<string>): void {
    const { m, table } = this.engines[to].tcp;
    const ports = view.getInt32(l4);
    for (let i = 0; i <= table.mask; i++) {
      const t = m[table.base + 2 * i + 1];
      if (t === 0 || m[t + TCB.PORTS] !== ports) continue;
      const half = (m[t + TCB.FLAGS] & FLAG.MINI) !== 0 ? ' (mini)' : '';
      const name = STATE_NAMES[m[t + TCB.STATE]] + half;
      met.add(name);
      return;
    }
  }

  /** An ICMP error that quotes what the engine said of late. */
  icmpAbout(to: 0 | 1): Uint8Array {
    const { prng } = this;
    const said = this.recent[to];
    const ip = this.link === 'ether' ? 14 : 0;
    if (said.length === 0) return generateFrame(prng, this.world);
    const payload = pick(prng, said).subarray(ip, ip + pick(prng, [8, 20, 28, 40, 60]));
    const icmp = emitIcmp({
      kind: 'unreachable',
      code: prng.below(6),
      mtu: pick(prng, [0, 68, 552, 576, 1280, 1400, 9000]),
      payload,
    });
    const packet = emitIpv4Packet({
      src: to === 0 ? B4 : A4,
      dst: to === 0 ? A4 : B4,
      protocol: 1,
      payload: icmp,
    });
    if (this.link === 'ip') return packet;
    return emitEthernet({ dst: MACS[to], src: MACS[1 - to], type: ETHERTYPE_IPV4, payload: packet });
  }

  /** One thing of the many that may happen. */
  act(): void {
    const { prng } = this;
    const what = prng.below(16);
    const to = prng.bool() ? 1 : 0;
    if (what < 9) for (let i = 1 + (prng.next() & 3); i > 0; i--) this.give(to, this.forge(to));
    else if (what === 9) for (const piece of this.fragments(this.forge(to))) this.give(to, piece);
    else if (what < 12) this.programs[to].turn();
    else {
      const pause = prng.below(50);
      this.breathe(pause === 0 ? 1500 : pause < 5 ? 50 : pause < 20 ? 1 : 0.1);
    }
  }

  /** Time passes, and both engines hear what was given to them and what the other said. */
  breathe(ms: number): void {
    this.now += ms;
    this.moved = false;
    for (const to of [0, 1] as const) {
      this.ports[to].txSync();
      this.engines[to].breath(this.now);
      const next = this.engines[to].nextDeadline();
      if (!(next >= 0)) throw new Error(`next deadline in ${next} ms`);
      this.relay(to);
    }
  }

  /** Ends it all: nothing is forged any more, programs let go, and what is left is looked for. */
  finish(): void {
    this.honest = true;
    // Long enough for half-open connections, TIME-WAIT, and neighbours that were spoilt.
    const end = this.now + SETTLE_MS;
    const most = this.given[0] + this.given[1] + FRAMES_AFTER_MAX;
    while (this.now < end && !this.over()) {
      for (const program of this.programs) program.stop();
      const next = Math.min(this.engines[0].nextDeadline(), this.engines[1].nextDeadline());
      this.breathe(this.moved ? 0.1 : Math.min(Math.max(next, 1), 1000));
      if (this.given[0] + this.given[1] > most) throw new Error(`a storm: ${this.states()}`);
    }
    for (const i of [0, 1] as const) {
      const { size } = this.programs[i].live;
      if (size > 0) throw new Error(`${size} connections never closed: ${this.states()}`);
      auditEngine(this.engines[i]);
      this.account(i);
    }
  }

  states(): string {
    return this.engines.map((engine) => `[${liveStates(engine)}]`).join(' ');
  }

  over(): boolean {
    return this.engines.every(({ tcp, ip }, i) => {
      if (ip.interfaces[0].port.counters.rxFrames !== this.given[i]) return false;
      const left = tcp.blocks.inUse + tcp.minis.inUse - 1 + tcp.events.count + this.programs[i].live.size;
      return left === 0;
    });
  }

  /** Every frame was handed to TCP, handled by IP's own protocols, or dropped for one reason. */
  account(i: 0 | 1): void {
    const { port, counters: c } = this.engines[i].ip.interfaces[0];
    if (port.counters.rxFrames !== this.given[i])
      throw new Error(`${this.given[i]} frames were given, ${port.counters.rxFrames} received`);
    const dropped =
      c.truncated +
      c.badVersion +
      c.badHeader +
      c.badChecksum +
      c.badSource +
      c.notForUs +
      c.linkBroadcast +
      c.castTcp;
    // Fragments of what became whole are counted by what it was.
    const refused =
      c.fragments -
      c.reassembled +
      c.sourceRoutes +
      c.extensionHeaders +
      c.unknownEtherType +
      c.unknownProtocol;
    // ARP, ICMP and UDP make up the rest.
    const counted = dropped + refused + this.engines[i].tcp.counters.segmentsIn;
    if (counted > this.given[i]) throw new Error(`${this.given[i]} frames were given, ${counted} counted`);
  }
}
