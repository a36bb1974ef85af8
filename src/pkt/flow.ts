/**
 * One connection as the script sees it: its four-tuple, and the way between the script's numbers and those on the wire.
 * The peer's sequence numbers are the script's own; the stack's count from its SYN, and its timestamps from the first.
 */
import { FLAG_ACK, FLAG_SYN } from '../wire/tcp.ts';
import { Mismatch } from './errors.ts';
import type { TcpOptionSpec, TcpSpec } from './script.ts';
import type { LivePacket, LiveTcp } from './sent.ts';

export interface Tuple {
  readonly version: 4 | 6;
  readonly local: string;
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
}

export class Flow {
  readonly tuple: Tuple;
  readonly protocol: 'tcp' | 'udp';
  /** The stack's first sequence number, once it was seen, and what the script has for it; the peer's. */
  isn: number | null = null;
  scriptIsn = 0;
  irs: number | null = null;
  /** What the script's end last told of ECT(0) and ECT(1), bytes (RFC 9768 3.2.3): s.e0b and s.e1b, which our stack doesn't keep. */
  readonly ectBytes = { e0b: 0, e1b: 0 };
  /** Segments of the script's, and those of them with data. */
  readonly counted = { segs_in: 0, data_segs_in: 0 };
  /** The script's TS values to those on the wire; and the first of both. */
  readonly #timestamps = new Map<number, number>();
  #first: { script: number; live: number } | null = null;

  constructor(tuple: Tuple, protocol: 'tcp' | 'udp' = 'tcp') {
    this.tuple = tuple;
    this.protocol = protocol;
  }

  sends(packet: LivePacket): boolean {
    const { tuple } = this;
    if (packet.protocol === 'icmp') return packet.src === tuple.local && packet.dst === tuple.remote;
    return (
      packet.protocol === this.protocol &&
      packet.srcPort === tuple.localPort &&
      packet.dstPort === tuple.remotePort &&
      packet.src === tuple.local &&
      packet.dst === tuple.remote
    );
  }

  /** Numbers of a segment of the script's, as they go on the wire. */
  toWire(spec: TcpSpec): { seq: number; ack: number } {
    const syn = (spec.flags & FLAG_SYN) !== 0;
    if (syn) this.irs ??= spec.seq;
    const seq = syn || spec.seqAbsolute ? spec.seq : spec.seq + (this.irs ?? 0);
    const base = spec.ackAbsolute ? 0 : this.#localBase(syn);
    return { seq: seq | 0, ack: (spec.flags & FLAG_ACK) !== 0 ? (spec.ack + base) | 0 : 0 };
  }

  /** Segments with SYN have numbers as they are, the others count from the first SYN. */
  #localBase(syn: boolean): number {
    return ((this.isn ?? 0) - (syn ? this.scriptIsn : 0)) | 0;
  }

  /** A sequence number of the stack's, which an ICMP error quotes. */
  localToWire(seq: number): number {
    return (seq + (this.isn ?? 0)) | 0;
  }

  /** Follows the AccECN option of the script's segments. The counters start at 1. */
  noteEct(options: readonly TcpOptionSpec[]): void {
    for (const option of options) {
      if (option.kind !== 'ECN') continue;
      for (const { name, value } of option.counters) if (name !== 'ceb') this.ectBytes[name] = value - 1;
    }
  }

  /**
   * Options of the script's with SACK blocks and the echoed timestamp as they go on the wire.
   * @param scaled A timestamp that the script never saw is as far from the first as it is in the script.
   * @throws Mismatch otherwise, as in packetdrill
   */
  optionsToWire(
    options: readonly TcpOptionSpec[],
    acknowledges: boolean,
    line: number,
    scaled: boolean,
  ): TcpOptionSpec[] {
    const base = this.isn ?? 0;
    return options.map((option) => {
      if (option.kind === 'sack') {
        return {
          ...option,
          blocks: option.blocks.map(([l, r]) => [(l + base) >>> 0, (r + base) >>> 0] as const),
        };
      }
      if (option.kind !== 'TS' || option.ecrAbsolute || !acknowledges) return option;
      const ecr = this.#timestamps.get(option.ecr);
      if (ecr !== undefined) return { ...option, ecr };
      if (!scaled || this.#first === null)
        throw new Mismatch(line, `TS ecr ${option.ecr} echoes no TS val that was expected before`);
      return { ...option, ecr: (option.ecr - this.#first.script + this.#first.live) >>> 0 };
    });
  }

  /** A segment of the stack's in the script's numbers, as `spec` expects it. */
  toScript(packet: LiveTcp, spec: TcpSpec): LiveTcp {
    const syn = (packet.flags & FLAG_SYN) !== 0;
    const base = spec.seqAbsolute ? 0 : this.#localBase(syn);
    const remote = syn || spec.ackAbsolute ? 0 : (this.irs ?? 0);
    return {
      ...packet,
      seq: (packet.seq - base) >>> 0,
      ack: (packet.flags & FLAG_ACK) !== 0 ? (packet.ack - remote) >>> 0 : packet.ack,
      options: packet.options.map((option) => this.#optionToScript(option, spec, remote)),
    };
  }

  #optionToScript(option: TcpOptionSpec, spec: TcpSpec, remote: number): TcpOptionSpec {
    if (option.kind === 'TS') return this.#timestampToScript(option, spec);
    if (option.kind !== 'sack') return option;
    const blocks = option.blocks.map(([l, r]) => [(l - remote) >>> 0, (r - remote) >>> 0] as const);
    return { ...option, blocks };
  }

  #timestampToScript(option: TcpOptionSpec & { kind: 'TS' }, spec: TcpSpec): TcpOptionSpec {
    const expected = spec.options?.find((candidate) => candidate.kind === 'TS');
    if (expected?.kind !== 'TS' || expected.val === null || option.val === null) return option;
    this.#timestamps.set(expected.val, option.val);
    this.#first ??= { script: expected.val, live: option.val };
    return { ...option, val: (option.val - this.#first.live + this.#first.script) >>> 0 };
  }
}
