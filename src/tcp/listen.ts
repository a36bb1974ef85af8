/** Listeners: which ports and addresses accept connections, and within what limits. */

import type { Packet } from '../ip/packet.ts';
import { FLAG } from './block.ts';
import type { CongestionChoice } from './congestion/control.ts';
import type { EcnMode } from './ecn.ts';
import { FastOpenPending } from './fast-open.ts';
import type { Tcp } from './tcp.ts';

export interface ListenOptions {
  /** 0: every port, for a transparent listener. */
  readonly port: number;
  /** Local address: IPv4 as one word, IPv6 as four; every address when left out. */
  readonly address?: readonly number[];
  /** Without an address: 4 or 6 takes that version only. */
  readonly family?: 4 | 6;
  /** Takes what is addressed to others too (Linux's TPROXY). */
  readonly transparent: boolean;
  /** Half-open connections at most. */
  readonly backlog: number;
  /** Connections opened by a Fast Open cookie whose handshake isn't done, at most; 0: no Fast Open. */
  readonly fastOpen: number;
  /** Index of the program's handlers. */
  readonly handlers: number;
  readonly noDelay: boolean;
  readonly ecn: EcnMode;
  /** Bytes; 0: they tune themselves. */
  readonly receiveBuffer: number;
  readonly sendBuffer: number;
  /** The stack's unless told. */
  readonly congestion?: CongestionChoice | undefined;
  /** Bytes; 0: none. See send.ts. */
  readonly notSentLowWater: number;
  /** Of its connections' IP headers, see ip-fields.ts; 0: nothing. */
  readonly ipFields: number;
  /** Its connections return by the source route that the peer's packets came by. */
  readonly sourceRoutes: boolean;
}

export class Listener {
  /** Index in `tcp.listeners`. */
  readonly id: number;
  readonly options: ListenOptions;
  /** FLAG bits that its connections start with. */
  readonly flags: number;
  readonly fastOpen: FastOpenPending;
  halfOpen = 0;
  /** Accepts no more; keeps its id until nothing is half open. */
  removed = false;
  accepted = 0;
  /** SYNs dropped at the backlog's limit. */
  dropped = 0;
  /** Whether SYN cookies may be out, and when the last was sent, ms. */
  cookies = false;
  cookieAt = 0;

  constructor(id: number, options: ListenOptions) {
    this.id = id;
    this.options = options;
    this.flags = options.noDelay ? FLAG.NODELAY : 0;
    this.fastOpen = new FastOpenPending(options.fastOpen);
  }

  matches(p: Packet): boolean {
    const { address: a, family, transparent } = this.options;
    if (p.foreign !== 0 && !transparent) return false;
    if (a === undefined) return family === undefined || family === p.version;
    if (a.length === 1) return p.version === 4 && a[0] === p.dst0;
    return p.version === 6 && a[0] === p.dst0 && a[1] === p.dst1 && a[2] === p.dst2 && a[3] === p.dst3;
  }

  /** Whether a packet could be for this one and for another just as well. */
  conflicts(other: ListenOptions): boolean {
    const own = this.options;
    if (rank(own) !== rank(other) || String(own.address) !== String(other.address)) return false;
    return own.family === undefined || other.family === undefined || own.family === other.family;
  }
}

/** One address comes before all of ours, and those before all of everybody's. */
function rank(options: ListenOptions): number {
  if (options.address !== undefined) return 0;
  return options.transparent ? 2 : 1;
}

/** @returns the listener, or null when the port is taken for that address. */
export function listenerAdd(tcp: Tcp, options: ListenOptions): Listener | null {
  const others = tcp.listenersByPort.get(options.port) ?? [];
  if (others.some((other) => other.conflicts(options))) return null;
  let id = tcp.listeners.findIndex(
    (other) => other.removed && other.halfOpen === 0 && other.fastOpen.opening === 0,
  );
  if (id < 0) id = tcp.listeners.length;
  const listener = new Listener(id, options);
  tcp.listeners[id] = listener;
  others.push(listener);
  others.sort((a, b) => rank(a.options) - rank(b.options));
  tcp.listenersByPort.set(options.port, others);
  if (options.transparent) tcp.ip.transparent = true;
  if (options.ipFields !== 0 || options.sourceRoutes) tcp.marking = true;
  if (options.sourceRoutes) tcp.ip.sourceRoutes = true;
  return listener;
}

/** Half-open connections of a removed listener are refused when their ACK comes. */
export function listenerRemove(tcp: Tcp, id: number): void {
  const listener = tcp.listeners[id];
  if (listener === undefined || listener.removed) return;
  listener.removed = true;
  const rest = (tcp.listenersByPort.get(listener.options.port) ?? []).filter((l) => l !== listener);
  if (rest.length === 0) tcp.listenersByPort.delete(listener.options.port);
  else tcp.listenersByPort.set(listener.options.port, rest);
}

/** @returns the listener that a packet is for, or null. */
export function listenerFind(tcp: Tcp, p: Packet, port: number): Listener | null {
  return among(tcp.listenersByPort.get(port), p) ?? among(tcp.listenersByPort.get(0), p);
}

function among(candidates: Listener[] | undefined, p: Packet): Listener | null {
  if (candidates === undefined) return null;
  for (let i = 0; i < candidates.length; i++) if (candidates[i].matches(p)) return candidates[i];
  return null;
}
