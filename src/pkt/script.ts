/** A parsed script: the events of a test in their order (packetdrill's language, of both Google's and nplab's line). */

export interface Script {
  readonly options: readonly ScriptOption[];
  /** Runs before the first event. */
  readonly init: Command | null;
  readonly events: readonly ScriptEvent[];
  /** Runs after the last, passed or not. */
  readonly cleanup: Command | null;
}

/** `--name=value`. */
export interface ScriptOption {
  readonly line: number;
  readonly name: string;
  readonly value: string | null;
}

export interface ScriptEvent {
  readonly line: number;
  readonly time: EventTime;
  readonly action: PacketSpec | SystemCall | Command | Code;
}

/** us. A relative time counts from the event before. */
export interface EventTime {
  readonly kind: 'absolute' | 'relative' | 'any' | 'absolute range' | 'relative range';
  readonly us: number;
  /** Of a range. */
  readonly endUs: number;
}

export interface Command {
  readonly type: 'command';
  readonly line: number;
  readonly text: string;
}

export interface Code {
  readonly type: 'code';
  readonly line: number;
  readonly text: string;
}

export interface SystemCall {
  readonly type: 'call';
  readonly line: number;
  readonly name: string;
  readonly args: readonly Expression[];
  readonly result: Expression;
  /** `EAGAIN` of `= -1 EAGAIN (...)`. */
  readonly errno: string | null;
  /** When a blocking call returns, us, absolute or relative as the event's own time; null: at once. */
  readonly endUs: number | null;
}

export type Expression =
  | { readonly type: 'ellipsis' }
  | { readonly type: 'integer'; readonly value: number }
  | { readonly type: 'word'; readonly name: string }
  /** `open`: more may follow (`"..."...`). */
  | { readonly type: 'string'; readonly value: string; readonly open: boolean }
  | { readonly type: 'or'; readonly left: Expression; readonly right: Expression }
  /** `symbol = value` */
  | { readonly type: 'assign'; readonly name: string; readonly value: Expression }
  | { readonly type: 'list'; readonly items: readonly Expression[] }
  /** `{fd=3, events=POLLIN}`; a field's own argument is `msg_iov(1)=`'s. */
  | { readonly type: 'struct'; readonly fields: readonly StructField[] }
  | { readonly type: 'call'; readonly name: string; readonly args: readonly Expression[] }
  /** A structure of something other than TCP, UDP and ICMP sockets, kept as it is written. */
  | { readonly type: 'opaque'; readonly text: string };

export interface StructField {
  readonly name: string;
  readonly argument: Expression | null;
  readonly value: Expression;
}

export interface PacketSpec {
  readonly type: 'packet';
  readonly line: number;
  /** As it stands in the script, for messages. */
  readonly text: string;
  readonly inbound: boolean;
  /** Headers around the packet, outermost first. */
  readonly encapsulation: readonly Encapsulation[];
  readonly ip: IpSpec;
  /** Ports given in the script; 0: the socket's. */
  readonly srcPort: number;
  readonly dstPort: number;
  readonly transport: TcpSpec | UdpSpec | IcmpSpec;
  /** TCP in UDP (RFC 6951's way): UDP source and destination port. */
  readonly tunnel: { readonly srcPort: number; readonly dstPort: number } | null;
  /** It is to be changed at random (`{ mut ... }`). */
  readonly mutated: boolean;
}

export type Encapsulation =
  | {
      readonly type: 'ip';
      readonly version: 4 | 6;
      readonly src: string;
      readonly dst: string;
      readonly ip: IpSpec;
    }
  /** RFC 2784, RFC 2890: which of the fields are there, the flags tell. */
  | {
      readonly type: 'gre';
      readonly flags: number;
      readonly sum: number;
      readonly off: number;
      readonly key: number;
      readonly seq: number;
    }
  | { readonly type: 'mpls'; readonly stack: readonly MplsEntry[] }
  | { readonly type: 'psp'; readonly text: string };

/** RFC 3032 2.1 */
export interface MplsEntry {
  readonly label: number;
  readonly tc: number;
  readonly bottom: boolean;
  readonly ttl: number;
}

/** null: not looked at, and the usual value in packets that are injected. */
export interface IpSpec {
  readonly ecn: 'noecn' | 'ect0' | 'ect1' | 'ect01' | 'ce' | null;
  readonly tos: number | null;
  readonly ttl: number | null;
  readonly flowLabel: number | null;
}

export interface TcpSpec {
  readonly protocol: 'tcp';
  /** FLAG_* of wire/tcp.ts. */
  readonly flags: number;
  /** AccECN's counter in the flags (`.5`), which stands for AE, CWR and ECE; null: these flags count one by one. */
  readonly ace: number | null;
  readonly seq: number;
  readonly length: number;
  /** `0:0(0)!`: as on the wire. `...(0)`: any. */
  readonly seqAbsolute: boolean;
  readonly seqAny: boolean;
  readonly ack: number;
  readonly ackAbsolute: boolean;
  /** null: not looked at. */
  readonly window: number | null;
  readonly urgent: number;
  /** null (`<...>`): not looked at. */
  readonly options: readonly TcpOptionSpec[] | null;
}

export type TcpOptionSpec =
  | { readonly kind: 'nop' | 'eol' | 'sackOK' }
  | { readonly kind: 'mss'; readonly value: number }
  /** null (`wscale *`): any. */
  | { readonly kind: 'wscale'; readonly value: number | null }
  | { readonly kind: 'sack'; readonly blocks: readonly (readonly [number, number])[] }
  /** val null (`...`): any. `ecrAbsolute`: `ecr 5!` is as on the wire. */
  | { readonly kind: 'TS'; readonly val: number | null; readonly ecr: number; readonly ecrAbsolute: boolean }
  /** Hexadecimal digits; `experimental`: in option 254 (RFC 6994). */
  | { readonly kind: 'FO'; readonly cookie: string; readonly experimental: boolean }
  | { readonly kind: 'md5'; readonly digest: string }
  /** AccECN's byte counters in their order on the wire. */
  | {
      readonly kind: 'ECN';
      readonly counters: readonly { readonly name: 'e0b' | 'ceb' | 'e1b'; readonly value: number }[];
    }
  /** An option that only some other TCP has. */
  | { readonly kind: 'other'; readonly text: string };

export interface UdpSpec {
  readonly protocol: 'udp';
  /** Payload. */
  readonly length: number;
}

export interface IcmpSpec {
  readonly protocol: 'icmp';
  readonly name: string;
  readonly code: string | null;
  readonly mtu: number | null;
  readonly id: number;
  /** What the error quotes; null: the socket's last. */
  readonly quoted:
    | {
        readonly protocol: 'tcp';
        readonly seq: number;
        readonly length: number;
        readonly tunnel: PacketSpec['tunnel'];
      }
    | { readonly protocol: 'udp' | 'raw'; readonly length: number }
    | null;
}
