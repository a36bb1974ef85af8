/** For tests of loss recovery: a connection that sends, with an RTT that is known, to a peer that tells what it likes. */
import { TCB } from './block.ts';
import { auditRecords } from './records-audit.ts';
import type { TcpLimits } from './tcp.ts';
import { type ContextOptions, type Sent, TcpContext } from './testing.ts';

export const MSS = 1000;

export interface FlowOptions {
  readonly rtt_ms?: number;
  readonly timestamps?: boolean;
  readonly sack?: boolean;
  readonly congestion?: 'reno' | 'cubic';
  readonly limits?: Partial<TcpLimits>;
  readonly noDelay?: boolean;
}

/** Numbers are relative to the first byte after a first exchange, which measured the RTT: segment i is [i MSS, (i + 1) MSS). */
export class Flow {
  readonly c: TcpContext;
  readonly rtt_ms: number;
  /** Sequence number of byte 0, as `Peer` counts. */
  readonly base: number;
  /** TSval of what came last, by the first byte of it. */
  readonly tsVal = new Map<number, number>();

  constructor(options: FlowOptions = {}) {
    const { rtt_ms = 100, timestamps = false, sack = true, congestion = 'reno', noDelay = true } = options;
    const context: ContextOptions = { limits: { congestion, ...options.limits }, slots: 256, noDelay };
    this.c = new TcpContext(context).establish({
      mss: timestamps ? MSS + 12 : MSS,
      windowScale: 7,
      ...(sack ? { sackPermitted: true } : {}),
      ...(timestamps ? { timestamps: { value: 0, echo: 0 } } : {}),
    });
    this.rtt_ms = rtt_ms;
    this.c.write(10);
    this.c.pass(rtt_ms);
    this.base = 11;
    this.ack(0);
    this.take();
  }

  /** Writes `count` segments. @returns those that left, as `starts`. */
  write(count: number): number[] {
    this.c.write(count * MSS);
    return this.starts();
  }

  /** First bytes of what was sent since the last look, in segments. */
  starts(): number[] {
    return this.take().map((s) => (s.seq - this.base) / MSS);
  }

  take(): Sent[] {
    const sent = this.c.peer.take().filter((s) => s.length > 0);
    for (const s of sent)
      if (s.options.timestamps !== undefined) this.tsVal.set(s.seq - this.base, s.options.timestamps.value);
    auditRecords(this.c.engine.tcp, this.block);
    return sent;
  }

  /** ACK up to segment `n`, with SACK blocks in segments too. `echo`: TSecr, else that of what came last. */
  ack(n: number, blocks: readonly (readonly [number, number])[] = [], echo?: number): void {
    this.ackBytes(
      n * MSS,
      blocks.map(([l, r]) => [l * MSS, r * MSS]),
      echo,
    );
  }

  ackBytes(n: number, blocks: readonly (readonly [number, number])[], echo?: number): void {
    const { peer } = this.c;
    if (echo !== undefined) peer.tsRecent = echo;
    const sack = blocks.map(([l, r]): [number, number] => [
      (peer.irs + this.base + l) >>> 0,
      (peer.irs + this.base + r) >>> 0,
    ]);
    peer.inject({ ack: this.base + n, ...(sack.length > 0 ? { options: { sack } } : {}) });
    if (this.alive) auditRecords(this.c.engine.tcp, this.block);
  }

  pass(ms: number): void {
    this.c.pass(ms);
    if (this.alive) auditRecords(this.c.engine.tcp, this.block);
  }

  get alive(): boolean {
    return this.c.engine.info(this.c.conn) !== null;
  }

  get block(): number {
    return this.c.engine.tcp.blocks.find(this.c.conn);
  }

  get info() {
    return this.c.info;
  }

  get counters() {
    return this.c.engine.tcp.counters;
  }

  word(name: keyof typeof TCB): number {
    return this.c.engine.tcp.m[this.block + TCB[name]];
  }
}
