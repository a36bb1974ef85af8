/**
 * One end of a connection: a program that sends what its plan says, in pieces and turns, reads as fast or slowly as that
 * says, and holds the engine to what handlers promise.
 */
import type { Engine } from '../engine/engine.ts';
import type { Conn } from '../engine/handlers.ts';
import { Prng } from '../memory/prng.ts';
import { TCB } from '../tcp/block.ts';
import { CLOSED_ABORTED, CLOSED_CLEAN, CLOSED_CODES, CLOSED_RESET } from '../tcp/reasons.ts';
import type { Content } from './content.ts';
import type { Host } from './host.ts';
import { type Rule, Violation } from './violation.ts';
import type { World } from './world.ts';

/** Clocks run faster by less. */
const CLOCK_SLACK = 5e-4;

export const READS = ['all', 'slow', 'pausing', 'stops'] as const;
/** When a program ends its direction: when all is sent, after the peer's end, or when all is sent but at a set time. */
export const ENDS = ['sent', 'peer', 'time'] as const;

export interface EndPlan {
  readonly bytes: number;
  /** Largest piece given to the engine at once. */
  readonly piece: number;
  readonly read: (typeof READS)[number];
  readonly end: (typeof ENDS)[number];
  /** Pauses while sending, now and then. */
  readonly pauses: boolean;
  /** Aborts after so many bytes sent and received; null: it doesn't. */
  readonly abortAfter: number | null;
  readonly noDelay: boolean;
  /** 0: none. */
  readonly keepAlive_ms: number;
  readonly userTimeout_ms: number;
}

export interface ConnectionPlan {
  readonly id: number;
  /** Places in the scenario's list of hosts. */
  readonly client: number;
  readonly server: number;
  readonly at_ms: number;
  readonly v6: boolean;
  /** Requests and answers by turns; 1: both send as they like. */
  readonly turns: number;
  /** When ends that wait for a time end, ms after the connection's start. */
  readonly endAt_ms: number;
  /** Both connect to each other. */
  readonly simultaneous: boolean;
  /** 0: the engine chooses. */
  readonly clientPort: number;
  readonly ends: readonly [EndPlan, EndPlan];
}

/** A connection as the scenario sees it. */
export class Pair {
  readonly plan: ConnectionPlan;
  /** What happens on its path may end it. */
  mayFail: boolean;
  client: Program | null = null;
  server: Program | null = null;
  /** Nothing more will come of the attempt to connect. */
  refused = false;

  constructor(plan: ConnectionPlan, mayFail: boolean) {
    this.plan = plan;
    this.mayFail = mayFail || plan.ends.some((end) => end.abortAfter !== null);
  }

  get over(): boolean {
    if (this.refused) return true;
    if (this.client === null || !this.client.over) return false;
    // A client that failed before it was accepted has no server; a clean end takes two.
    return this.server === null ? this.mayFail : this.server.over;
  }
}

export class Program {
  readonly pair: Pair;
  readonly host: Host;
  readonly plan: EndPlan;
  readonly name: string;
  /** Bytes that it is to receive. */
  readonly expected: number;
  conn: Conn = 0;
  /** Initial sequence numbers, which say what the streams' bytes are. */
  iss = 0;
  irs = 0;
  sent = 0;
  received = 0;
  opened = false;
  ended = false;
  shut = false;
  over = false;
  reason = -1;
  /** Its flow's highest number, and its smoothed RTT, when last looked at. */
  sndMax = 0;
  srtt_us = 0;
  /** There is something to read yet, and no more: a cookie may have opened another connection of the same numbers. */
  offWire = false;
  drained = 0;
  drainedAsked = 0;
  readonly #world: World;
  readonly #content: Content;
  readonly #engine: Engine;
  readonly #prng: Prng;
  readonly #peerPiece: number;
  readonly #ownPiece: number;
  readonly #first: boolean;
  readonly #endAt: number;
  /** Where a reader that stops does so. */
  readonly #stopAt: number;
  #stopped = false;
  #timeIsUp = false;
  /** When nothing is left of a connection that was closed cleanly, TIME-WAIT neither. */
  #forgets_ms = 0;

  constructor(world: World, content: Content, pair: Pair, host: Host, side: 0 | 1, seed: number) {
    const { plan } = pair;
    this.pair = pair;
    this.host = host;
    this.plan = plan.ends[side];
    this.name = `connection ${plan.id} ${side === 0 ? 'client' : 'server'}`;
    this.#world = world;
    this.#content = content;
    this.#engine = host.engine;
    this.#prng = new Prng((seed ^ Math.imul(plan.id + 1, 0x9e3779b1)) + side);
    this.expected = plan.ends[1 - side].bytes;
    this.#ownPiece = Math.ceil(this.plan.bytes / plan.turns);
    this.#peerPiece = Math.ceil(this.expected / plan.turns);
    this.#first = side === 0;
    this.#endAt = world.now_ms + plan.endAt_ms;
    this.#stopAt = this.#prng.below(this.expected + 1);
  }

  /** The connection exists: notes its initial sequence numbers, and sets its options. */
  attach(conn: Conn): void {
    const engine = this.#engine;
    const t = engine.tcp.blocks.find(conn);
    this.conn = conn;
    this.iss = engine.tcp.m[t + TCB.ISS];
    if (this.plan.keepAlive_ms > 0) engine.setKeepAlive(conn, this.plan.keepAlive_ms);
    if (this.plan.userTimeout_ms > 0) engine.setUserTimeout(conn, this.plan.userTimeout_ms);
  }

  /** The attempt to connect has begun; writing is allowed before it has succeeded. */
  begin(): void {
    if (this.#prng.bool(0.2)) this.pump();
  }

  open(): void {
    if (this.opened) this.#fail('order', 'opened twice');
    this.opened = true;
    const t = this.#engine.tcp.blocks.find(this.conn);
    this.irs = this.#engine.tcp.m[t + TCB.IRS];
    this.pump();
    if (this.plan.end === 'time') {
      const wait = this.#endAt - this.#world.now_ms;
      this.#after(wait, () => {
        this.#timeIsUp = true;
        this.pump();
      });
    }
  }

  /** Sends what may be sent now. */
  pump(): void {
    if (this.shut || this.over || this.#aborts()) return;
    for (let may = this.#allowed(); this.sent < may; may = this.#allowed()) {
      const wanted = Math.min(1 + this.#prng.below(this.plan.piece), may - this.sent);
      const piece = Math.min(wanted, this.#content.run(this.sent));
      const taken = this.#engine.send(this.conn, this.#content.at(this.iss, this.sent), piece);
      // Reset in the same breath: that is told next.
      if (taken < 0 && !this.#engine.isOpen(this.conn)) return;
      if (taken < 0) this.#fail('order', 'sending was refused before the end');
      this.sent += taken;
      if (taken < piece || this.#aborts()) return;
      if (!this.plan.pauses) continue;
      if (this.#prng.bool(0.02)) this.#askDrained();
      if (this.#prng.bool(0.05)) {
        this.#after(this.#prng.below(200), () => this.pump());
        return;
      }
    }
    if (this.sent === this.plan.bytes) this.#end();
  }

  #end(): void {
    if (this.plan.end === 'peer' && !this.ended) return;
    if (this.plan.end === 'time' && !this.#timeIsUp && !this.ended) return;
    // Ends before it is open only when it has something to say: otherwise nothing would ever be sent.
    if (!this.opened) return;
    this.shut = true;
    if (this.ended && this.#prng.bool()) this.#engine.close(this.conn);
    else this.#engine.shutdown(this.conn);
  }

  /** How much of the stream the turns let out: request, answer, request … */
  #allowed(): number {
    const { bytes } = this.plan;
    if (this.pair.plan.turns === 1 || this.received === this.expected) return bytes;
    const turns = Math.floor(this.received / this.#peerPiece) + (this.#first ? 1 : 0);
    return Math.min(bytes, turns * this.#ownPiece);
  }

  #aborts(): boolean {
    const { abortAfter } = this.plan;
    if (abortAfter === null || this.sent + this.received < abortAfter) return false;
    this.shut = true;
    this.#engine.abort(this.conn);
    return true;
  }

  #askDrained(): void {
    // Asking again before the answer is one question.
    if (this.drainedAsked > this.drained) return;
    this.drainedAsked++;
    this.#engine.notifyDrained(this.conn);
  }

  data(at: number, length: number): number {
    if (!this.opened) this.#fail('order', 'data before it is open');
    if (this.ended) this.#fail('order', 'data after the end');
    if (length <= 0) this.#fail('order', `${length} B of data`);
    const same = this.#content.matching(this.irs, this.received, at, length);
    if (same < length) this.#fail('content', `byte ${this.received + same} of ${this.expected} is wrong`);
    if (this.received + length > this.expected)
      this.#fail('content', `${this.received + length} B of ${this.expected} that were sent`);
    const take = this.#take(length);
    this.received += take;
    if (!this.shut && this.#aborts()) return take;
    if (this.pair.plan.turns > 1) this.pump();
    return take;
  }

  /** How much it reads now; when less than all, it will read on later. */
  #take(length: number): number {
    const prng = this.#prng;
    switch (this.plan.read) {
      case 'all':
        return length;
      case 'slow': {
        if (!prng.bool(0.3)) return length;
        this.#resumeAfter(prng.bool(0.1) ? 300 : prng.below(40));
        return prng.below(length);
      }
      case 'pausing': {
        if (!prng.bool(0.04)) return length;
        this.#resumeAfter(100 + prng.below(2000));
        return 0;
      }
      case 'stops': {
        if (this.#stopped || this.received + length < this.#stopAt) return length;
        this.#stopped = true;
        this.#resumeAfter(2000 + prng.below(20_000));
        return Math.max(0, this.#stopAt - this.received);
      }
    }
  }

  #resumeAfter(ms: number): void {
    this.#after(ms, () => this.#engine.resume(this.conn));
  }

  /** Later, if the connection is still there. */
  #after(ms: number, run: () => void): void {
    this.#world.after(ms, () => {
      if (!this.over) run();
    });
  }

  end(): void {
    if (this.ended) this.#fail('end', 'a second end');
    if (this.received !== this.expected)
      this.#fail('end', `the end after ${this.received} of ${this.expected} B`);
    this.ended = true;
    this.pump();
  }

  close(reason: number): void {
    if (this.over) this.#fail('closed', 'closed twice');
    this.over = true;
    this.reason = reason;
    this.#forgets_ms = this.#world.now_ms + this.host.engine.tcp.limits.timeWait_ms * (1 - CLOCK_SLACK);
    if (this.drained > this.drainedAsked)
      this.#fail(
        'order',
        `${this.drained} answers to ${this.drainedAsked} questions whether all is acknowledged`,
      );
    if (reason === CLOSED_ABORTED && this.plan.abortAfter === null) this.#fail('closed', 'aborted by nobody');
    const whole = this.ended && this.sent === this.plan.bytes;
    if (this.pair.mayFail || (reason === CLOSED_CLEAN && whole)) return;
    // The peer has waited long enough for our FIN to come again (RFC 9293 3.6.1) and knows nothing of us any more.
    const peer = this.#peer;
    if (reason === CLOSED_RESET && peer?.finished) {
      if (whole) return;
      // Then what was still to be read goes, too (RFC 9293 3.10.7.4).
      if (this.sent === this.plan.bytes && peer.#forgets_ms <= this.#world.now_ms) {
        this.pair.mayFail = true;
        return;
      }
    }
    const got = `${this.sent} of ${this.plan.bytes} B sent, ${this.received} of ${this.expected} received`;
    this.#fail('closed', `closed ${reason === 0 ? 'cleanly' : `with ${CLOSED_CODES[reason]}`}, ${got}`);
  }

  /** On the wire its connection has ended cleanly; there may be something to read yet. */
  get finished(): boolean {
    return this.reason === CLOSED_CLEAN || this.#engine.info(this.conn)?.state === 'UNREAD';
  }

  get #peer(): Program | null {
    return this.#first ? this.pair.server : this.pair.client;
  }

  /** Its host lost all state. */
  die(): void {
    this.over = true;
    this.pair.mayFail = true;
  }

  #fail(rule: Rule, message: string): never {
    throw new Violation(rule, this.name, message);
  }
}
