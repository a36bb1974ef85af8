/** Ephemeral ports: RFC 6056 3.3.4, algorithm 4, with TIME-WAIT's ports where the new connection can't be mistaken. */
import { type Packet, packetHashEnds } from '../ip/packet.ts';
import { FLAG, STATE, TCB } from './block.ts';
import { HASH_PORT } from './handshake.ts';
import { flowLookup, packetHash } from './lookup.ts';
import type { Tcp } from './tcp.ts';
import { timeWaitAge } from './time-wait.ts';

const { STATE: ST, FLAGS } = TCB;
const { TS } = FLAG;

/** Counters, each of the destinations that hash to it: one for all would tell strangers how busy we are. */
const COUNTERS = 1024;
/** Once a port is known that will do, so many more are asked for a better one. */
const PROBES_MORE = 64;
/** The timestamps' clock has moved on by two ticks at least. */
const AGE_MIN_MS = 2;

export class PortCounters {
  readonly next: Int32Array = new Int32Array(COUNTERS);
  /** TIME-WAIT block that has the port which `ephemeralPorts` chose, or 0. */
  timeWait = 0;
}

/**
 * A TIME-WAIT may go when both ends use timestamps: what is left of the old connection in the network is older than
 * the new one's first segment, and PAWS drops it (RFC 6191 2 seen from this side, Linux's tcp_tw_reuse). A clock of
 * the peer's may tick once a second only (RFC 7323 5.4), so after that time it is as good as free; before, it serves
 * when nothing else is left.
 */
export function timeWaitReusable(tcp: Tcp, t: number, age_ms: number): boolean {
  const m = tcp.m;
  return m[t + ST] === STATE.TIME_WAIT && (m[t + FLAGS] & TS) !== 0 && timeWaitAge(tcp, t) >= age_ms;
}

/**
 * @param key The connection to be, as if a packet of the peer's had come.
 * @returns remote port << 16 | local port, or 0 when every port is taken.
 */
export function ephemeralPorts(tcp: Tcp, key: Packet, remotePort: number): number {
  const { ephemeralPortMin: low, ephemeralPortMax: high, timeWaitReuse_ms } = tcp.limits;
  const range = high - low + 1;
  const counters = tcp.ports;
  const h = tcp.hash;
  h.start();
  h.word(HASH_PORT);
  h.word(remotePort);
  packetHashEnds(h, key);
  const offset = (h.finish() >>> 0) % range;
  const counter = h.finishSecond() & (COUNTERS - 1);
  let fallback = 0;
  let fallbackBlock = 0;
  for (let left = range; left > 0; left--) {
    const port = low + ((offset + counters.next[counter]) % range);
    counters.next[counter] = (counters.next[counter] + 1) & 0x3fffffff;
    const ports = (remotePort << 16) | port;
    const t = flowLookup(tcp, key, ports, packetHash(tcp, key, ports));
    counters.timeWait = t;
    if (t === 0 || timeWaitReusable(tcp, t, timeWaitReuse_ms)) return ports;
    if (fallback !== 0 || !timeWaitReusable(tcp, t, AGE_MIN_MS)) continue;
    fallback = ports;
    fallbackBlock = t;
    if (left > PROBES_MORE) left = PROBES_MORE;
  }
  counters.timeWait = fallbackBlock;
  return fallback;
}
