/**
 * What the program wants in the IP header of its segments: the Diffserv field (RFC 9293 3.9.2, RFC 2474) and the TTL or
 * hop limit. One word holds both: the TOS octet, whose ECN bits stay 0, and above it the TTL (0: the interface's). Few
 * programs ask for either, so the hot path asks `tcp.marking` alone.
 */
import { COLD, FLAG, FLAG2, STATE, TCB } from './block.ts';
import { coldOf, coldWord } from './cold.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, FLAGS2, STATE: ST, LISTENER, RTX_AT } = TCB;
const { MINI } = FLAG;
const { IP_FIELDS } = FLAG2;

/** @param diffserv DSCP, 0 to 63. @param ttl 0: the interface's. */
export function ipFields(diffserv: number, ttl: number): number {
  return (diffserv << 2) | (ttl << 8);
}

/** Gives a full block fields of its own, and has what the peer marks noted from now on. */
export function ipFieldsSet(tcp: Tcp, t: number, fields: number): void {
  tcp.marking = true;
  tcp.m[coldOf(tcp, t) + COLD.IP_FIELDS] = fields;
  tcp.m[t + FLAGS2] |= IP_FIELDS;
}

/** Of any kind of block; 0: nothing was asked for. */
export function ipFieldsOf(tcp: Tcp, t: number): number {
  const m = tcp.m;
  if ((m[t + FLAGS] & MINI) !== 0) {
    return m[t + ST] === STATE.TIME_WAIT
      ? m[t + RTX_AT]
      : tcp.listeners[m[t + LISTENER] - 1].options.ipFields;
  }
  // The scratch block has no more words than a mini block.
  if (t === tcp.scratch || (m[t + FLAGS2] & IP_FIELDS) === 0) return 0;
  return coldWord(tcp, t, COLD.IP_FIELDS);
}

/** An acceptable segment came: its Diffserv field is passed up (RFC 9293 3.9.2, MAY-9). */
export function ipFieldsInput(tcp: Tcp, t: number): void {
  if ((tcp.m[t + FLAGS2] & IP_FIELDS) !== 0) tcp.m[coldOf(tcp, t) + COLD.TOS_IN] = tcp.ip.packet.tos & 0xfc;
}
