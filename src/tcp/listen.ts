/** Listeners: which ports and addresses accept connections, and within what limits. */

import type { Packet } from '../ip/packet.ts';
import { FLAG } from './block.ts';
import type { CongestionChoice } from './congestion/control.ts';
import type { EcnMode } from './ecn.ts';
import type { Tcp } from './tcp.ts';

export interface ListenOptions {
  readonly port: number;
  /** Local address: IPv4 as one word, IPv6 as four; every address when left out. */
  readonly address?: readonly number[];
  /** Half-open connections at most. */
  readonly backlog: number;
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
}

export class Listener {
  /** Index in `tcp.listeners`. */
  readonly id: number;
  readonly options: ListenOptions;
  /** FLAG bits that its connections start with. */
  readonly flags: number;
  halfOpen = 0;
  /** Accepts no more; keeps its id until nothing is half open. */
  removed = false;
  accepted = 0;
  /** SYNs dropped at the backlog's limit. */
  dropped = 0;

  constructor(id: number, options: ListenOptions) {
    this.id = id;
    this.options = options;
    this.flags = options.noDelay ? FLAG.NODELAY : 0;
  }

  matches(p: Packet): boolean {
    const a = this.options.address;
    if (a === undefined) return true;
    if (a.length === 1) return p.version === 4 && a[0] === p.dst0;
    return p.version === 6 && a[0] === p.dst0 && a[1] === p.dst1 && a[2] === p.dst2 && a[3] === p.dst3;
  }
}

/** @returns the listener, or null when the port is taken for that address. */
export function listenerAdd(tcp: Tcp, options: ListenOptions): Listener | null {
  const others = tcp.listenersByPort.get(options.port) ?? [];
  for (const other of others) {
    if (String(other.options.address) === String(options.address)) return null;
  }
  let id = tcp.listeners.findIndex((other) => other.removed && other.halfOpen === 0);
  if (id < 0) id = tcp.listeners.length;
  const listener = new Listener(id, options);
  tcp.listeners[id] = listener;
  // Listeners for one address come before those for all.
  if (options.address === undefined) others.push(listener);
  else others.unshift(listener);
  tcp.listenersByPort.set(options.port, others);
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

export function listenerFind(tcp: Tcp, p: Packet, port: number): Listener | null {
  const candidates = tcp.listenersByPort.get(port);
  if (candidates === undefined) return null;
  for (let i = 0; i < candidates.length; i++) if (candidates[i].matches(p)) return candidates[i];
  return null;
}
