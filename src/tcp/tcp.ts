/** One engine's TCP: its memory, its tables and what the functions of this folder share. */
import type { Ip } from '../ip/ip.ts';
import type { Arena } from '../memory/arena.ts';
import { ChunkPool } from '../memory/chunks.ts';
import { FlowTable } from '../memory/flow-table.ts';
import { TimerWheel } from '../memory/timer-wheel.ts';
import { HalfSipHash } from '../wire/siphash.ts';
import { TcpOptions } from '../wire/tcp-options.ts';
import { AckNews } from './ack-news.ts';
import { BLOCK_WORDS, COLD, COLD_WORDS, MINI_WORDS, TCB } from './block.ts';
import { BlockPool } from './block-pool.ts';
import { bbr } from './congestion/bbr.ts';
import { AckSample, type CongestionControl } from './congestion/control.ts';
import { cubic } from './congestion/cubic.ts';
import { reno } from './congestion/reno.ts';
import { TcpCounters } from './counters.ts';
import type { EcnMode } from './ecn.ts';
import { Events } from './events.ts';
import { FastOpen } from './fast-open.ts';
import type { Listener } from './listen.ts';
import type { OutputLists } from './lists.ts';
import { MemoryBudget } from './memory.ts';
import { PortCounters } from './ports.ts';
import { RecordPool } from './record-pool.ts';
import { Segment } from './segment.ts';
import type { SourceRoute } from './source-route.ts';
import { Sources } from './sources.ts';

/** Limits and defaults of one engine's TCP. Sizes in bytes, times in ms. */
export interface TcpLimits {
  /** Full control blocks. */
  readonly connections: number;
  /** Mini blocks: half-open and TIME-WAIT together. */
  readonly miniBlocks: number;
  /** Chunks of 2 KiB shared by all send and receive queues. */
  readonly chunks: number;
  /** Transmission records of 64 B: one for each part of what is outstanding that was sent at another time, or SACKed. */
  readonly records: number;
  /** Of each connection, unless its own options say otherwise; 0: they tune themselves, up to the sizes below. */
  readonly receiveBuffer: number;
  readonly sendBuffer: number;
  readonly receiveBufferMax: number;
  readonly sendBufferMax: number;
  readonly rtoMin_ms: number;
  readonly rtoMax_ms: number;
  readonly delayedAck_ms: number;
  readonly timeWait_ms: number;
  /** A TIME-WAIT with timestamps gives its port to a connect() of ours after this long; earlier if none is left. */
  readonly timeWaitReuse_ms: number;
  /** Unacknowledged data or an unanswered keep-alive ends a connection after this long (RFC 9293 3.8.3's R2). */
  readonly userTimeout_ms: number;
  /** SYNs sent again until an attempt to connect is over: 7 last 4 minutes (RFC 9293 3.8.3 asks for 3 or more). */
  readonly synRetries: number;
  /** SYN-ACKs sent again until a half-open connection is forgotten. */
  readonly synAckRetries: number;
  /** SYN cookies: when a listener's backlog is full or mini blocks run out, for every SYN, or not at all. */
  readonly synCookies: 'auto' | 'always' | 'never';
  /** Passively opened connections, and half-open ones, of one IPv4 address or IPv6 /64; 0: no limit. */
  readonly connectionsPerSource: number;
  readonly halfOpenPerSource: number;
  /** A program's closed connection waits this long for the peer's FIN. */
  readonly finWait2_ms: number;
  /** A half-closed connection may be silent for so long before it is reset; 0: for ever. */
  readonly halfClose_ms: number;
  /** Keep-alive, once asked for: time between probes, and how many go unanswered (Linux's defaults). */
  readonly keepAliveInterval_ms: number;
  readonly keepAliveProbes: number;
  readonly ephemeralPortMin: number;
  readonly ephemeralPortMax: number;
  /** Congestion control of new connections: `cubic`, `reno`, `bbr`, or a module of one's own. */
  readonly congestion: string;
  /** Paces new connections whatever their congestion control; BBR always is. */
  readonly pacing: boolean;
  /** Offered on SYNs, and agreed to: timestamps, window scaling (RFC 7323), selective acknowledgements (RFC 2018). */
  readonly timestamps: boolean;
  readonly windowScale: boolean;
  readonly sack: boolean;
  /** RFC 793's word on RST and on SYN anywhere in the window, instead of RFC 5961's: for tests of old peers. */
  readonly blindReset: boolean;
  readonly blindSyn: boolean;
  /**
   * Where the RFCs leave a choice, for tests of other systems' peers. `bsd`: answers a FIN that crosses ours by our FIN
   * again, a SYN-ACK for a listener not at all, and lets ICMPv6's Time Exceeded refuse a connection. `linux`: delays the
   * ACK of the peer's FIN when it comes first and after data, forgets to report duplicates with it, leaves room for all
   * options on a SYN with data, lets an ACK add to the window all that it newly reports, sends a SYN again four times at
   * even intervals, makes every packet ECT with AccECN and repeats all of a due option in each, has RFC 8985 7.2's probe
   * timeout and the least RTO as margin of all, takes segments without the timestamps that were agreed on, lets any ICMP
   * error end an opening, probes a window of zero without data, and resets for data after `close` as a closed port would.
   */
  readonly habits: 'plain' | 'bsd' | 'linux';
  /** A SYN carries options. Without any the peer sends segments of the default MSS (RFC 9293 3.7.1). */
  readonly synOptions: boolean;
  /** ICMP's hard errors end an opening (RFC 1122 4.2.3.9); without, they are as soft as the others (RFC 5927 5.2). */
  readonly icmpHard: boolean;
  /** SYN with FIN is dropped, as some firewalls do. RFC 9293 opens a connection by it. */
  readonly dropSynFin: boolean;
  /** Explicit Congestion Notification, where a listener or an open doesn't say; see ecn.ts. */
  readonly ecn: EcnMode;
  /** AccECN's option is sent. Without it there are the three bits of the header, which RFC 9768 3.2.3 allows. */
  readonly accEcnOption: boolean;
  /**
   * Probing for the path's MTU (RFC 4821): `auto` when full segments seem to vanish, `always` from a small start,
   * `off`: by ICMP alone.
   */
  readonly mtuProbing: 'off' | 'auto' | 'always';
}

export const TCP_LIMITS_DEFAULT: TcpLimits = {
  connections: 16_384,
  miniBlocks: 32_768,
  // 138 MB, of which untouched pages cost nothing: two connections may fill a path of 1 Gbit/s and 100 ms each.
  chunks: 65_536,
  records: 32_768,
  receiveBuffer: 0,
  sendBuffer: 0,
  // What a scale of 9 reaches. Twice the 12.5 MB that such a path holds, and half as much again.
  receiveBufferMax: 0xffff << 9,
  sendBufferMax: 0xffff << 9,
  // RFC 6298 asks for 1 s; Linux and the others take 200 ms, which RFC 8961 4 allows when the RTT is measured.
  rtoMin_ms: 200,
  rtoMax_ms: 120_000,
  delayedAck_ms: 40,
  timeWait_ms: 60_000,
  timeWaitReuse_ms: 1000,
  userTimeout_ms: 120_000,
  synRetries: 7,
  synAckRetries: 5,
  synCookies: 'auto',
  connectionsPerSource: 0,
  halfOpenPerSource: 0,
  finWait2_ms: 60_000,
  halfClose_ms: 0,
  keepAliveInterval_ms: 75_000,
  keepAliveProbes: 9,
  ephemeralPortMin: 32_768,
  ephemeralPortMax: 60_999,
  congestion: 'cubic',
  pacing: false,
  timestamps: true,
  windowScale: true,
  sack: true,
  blindReset: false,
  blindSyn: false,
  habits: 'plain',
  synOptions: true,
  icmpHard: true,
  dropSynFin: false,
  ecn: 'passive',
  accEcnOption: true,
  mtuProbing: 'auto',
};

/**
 * ACKs in answer to unacceptable segments (RFC 5961 7): one per connection in this time, ms, as Linux does. A limit
 * over all connections would let a stranger count them (CVE-2016-5696), and starve keep-alives of their answers.
 */
export const CHALLENGE_INTERVAL = 500;

/** Those that every stack has. */
export const CONGESTION_CONTROLS: readonly CongestionControl[] = [reno, cubic, bbr];

export class Tcp {
  readonly arena: Arena;
  readonly m: Int32Array;
  readonly u8: Uint8Array;
  readonly view: DataView;
  readonly ip: Ip;
  readonly limits: TcpLimits;
  readonly counters = new TcpCounters();
  readonly blocks: BlockPool;
  readonly minis: BlockPool;
  /** Word index of the cold blocks, see cold.ts. */
  readonly coldBase: number;
  readonly table: FlowTable;
  readonly chunks: ChunkPool;
  readonly memory: MemoryBudget;
  readonly records: RecordPool;
  readonly wheel: TimerWheel;
  /** Connections that wait for their next send time: a wheel of cold blocks, in us. */
  readonly pacer: TimerWheel;
  readonly events: Events;
  /** By interface index. */
  readonly lists: OutputLists[] = [];
  readonly listeners: Listener[] = [];
  readonly listenersByPort: Map<number, Listener[]> = new Map();
  readonly segment = new Segment();
  readonly options = new TcpOptions();
  readonly sample = new AckSample();
  readonly news = new AckNews();
  readonly ports = new PortCounters();
  readonly fastOpen = new FastOpen(this.counters);
  /** null: no limit per source. */
  readonly sources: Sources | null;
  /** Keyed hash for ISNs, ports and cookies; its keys never leave. */
  readonly hash: HalfSipHash;
  readonly key0: number;
  readonly key1: number;
  /** What there is, and which of it new connections have. */
  readonly congestions: readonly CongestionControl[];
  readonly congestion: number;
  /** A mini block of our own, for answers to segments that belong to no connection. */
  readonly scratch: number;

  /** Time of this breath: ms and us, both int32 that wrap. */
  nowMs = 0;
  nowUs = 0;
  /** Chunks that this batch's data may still need, had the program consumed none of it. */
  chunksPromised = 0;
  /** List of the blocks in TIME-WAIT, oldest first; see time-wait.ts. */
  timeWaitOldest = 0;
  timeWaitNewest = 0;
  /** Handles of connections whose send() found no chunk, with nothing queued. */
  starved: number[] = [];
  /** While a SYN that reuses a TIME-WAIT is handled: 1, and that connection's SND.NXT. */
  reusing = 0;
  reusedSndNxt = 0;
  /** The block whose program is being offered this much of its receive queue; 0: none. */
  offering = 0;
  offeredBytes = 0;
  /** Word index of the descriptor of the frame that is being handled. */
  frame = 0;
  /** CWND that the segment being handled may not make grow, for the marks it told of; 0: it may. */
  cwndHeld = 0;
  /** Connections with urgent data to announce. */
  urgentSenders = 0;
  /** Connections or listeners have said something of the IP header; see ip-fields.ts. */
  marking = false;
  /** By block, of any kind; see source-route.ts. */
  readonly sourceRoutes = new Map<number, SourceRoute>();
  /** Bytes that pacing lets the connection that is being served send. */
  allowance = 0;
  /** Runs of out-of-order data so far; see reassembly.ts. */
  runsBegun = 0;

  /**
   * @param secret at least 8 unpredictable bytes.
   * @param congestions The program's own modules.
   */
  constructor(
    arena: Arena,
    ip: Ip,
    limits: TcpLimits,
    secret: Int32Array,
    nowMs: number,
    congestions: readonly CongestionControl[] = [],
  ) {
    this.arena = arena;
    this.m = arena.i32;
    this.u8 = arena.u8;
    this.view = arena.view;
    this.ip = ip;
    this.limits = limits;
    this.blocks = new BlockPool(arena, 'control blocks', limits.connections, BLOCK_WORDS);
    this.minis = new BlockPool(arena, 'mini blocks', limits.miniBlocks + 1, MINI_WORDS);
    this.coldBase = arena.carve('cold blocks', limits.connections * COLD_WORDS * 4) >> 2;
    this.table = new FlowTable(arena, 'flow table', limits.connections + limits.miniBlocks);
    this.sources =
      limits.connectionsPerSource > 0 || limits.halfOpenPerSource > 0
        ? new Sources(arena, limits.connections + limits.miniBlocks, secret[0], secret[1])
        : null;
    this.chunks = new ChunkPool(arena, 'chunks', limits.chunks);
    this.memory = new MemoryBudget(arena, limits.chunks, this.chunks.dataBytes, limits.connections);
    this.records = new RecordPool(arena, 'transmission records', limits.records);
    this.wheel = new TimerWheel(arena, 'timer wheel', nowMs, {
      next: TCB.T_NEXT,
      prev: TCB.T_PREV,
      at: TCB.T_AT,
    });
    this.pacer = new TimerWheel(arena, 'pacer', 0, {
      next: COLD.PACE_NEXT,
      prev: COLD.PACE_PREV,
      at: COLD.PACE_DUE,
    });
    this.events = new Events(2048);
    this.key0 = secret[0];
    this.key1 = secret[1];
    this.hash = new HalfSipHash(secret[0], secret[1]);
    this.congestions = [...CONGESTION_CONTROLS, ...congestions];
    this.congestion = this.congestionIndex(limits.congestion);
    this.scratch = this.minis.take();
    this.nowMs = nowMs;
  }

  /** @returns -1 when there is none of that name. */
  congestionIndex(name: string): number {
    return this.congestions.findIndex((module) => module.name === name);
  }
}
