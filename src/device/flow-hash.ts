/** Which of several queues a frame leaves by: all frames of a flow by one, in both directions, so that they stay in order. */
import { ETHER_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherType } from '../wire/ethernet.ts';
import { ipv4Check, ipv4IsFragment, ipv4Protocol } from '../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, IPV6_NEXT_HEADER, ipv6Check } from '../wire/ipv6.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';

// V8 folds a module's own constants, not imported ones.
const ETHER_BYTES = ETHER_HEADER_BYTES;
const TYPE_4 = ETHERTYPE_IPV4;
const TYPE_6 = ETHERTYPE_IPV6;
const V6_BYTES = IPV6_HEADER_BYTES;
const NEXT_HEADER = IPV6_NEXT_HEADER;
const TCP = PROTOCOL_TCP;
const UDP = PROTOCOL_UDP;
/** Knuth's multiplier: 2^32 by the golden ratio. */
const SPREAD = 0x9e3779b1;

/**
 * Of the addresses, and of the ports of TCP and UDP; fragments, of which only the first has ports, and IPv6 with extension
 * headers go by their addresses. What isn't IP has one hash.
 * @param ether Whether the frame at `at` starts with an Ethernet header.
 * @returns 0 to 65,535
 */
export function flowHash(view: DataView, at: number, length: number, ether: boolean): number {
  let ip = at;
  let bytes = length;
  if (ether) {
    if (length < ETHER_BYTES) return 0;
    const type = etherType(view, at);
    if (type !== TYPE_4 && type !== TYPE_6) return 0;
    ip += ETHER_BYTES;
    bytes -= ETHER_BYTES;
  }
  const header = ipv4Check(view, ip, bytes);
  if (header > 0) {
    const ends = view.getInt32(ip + 12) ^ view.getInt32(ip + 16);
    const protocol = ipv4IsFragment(view, ip) ? 0 : ipv4Protocol(view, ip);
    return spread(ends ^ portsOf(view, ip, header, bytes, protocol));
  }
  if (ipv6Check(view, ip, bytes) <= 0) return 0;
  let ends = 0;
  for (let word = 8; word < V6_BYTES; word += 4) ends ^= view.getInt32(ip + word);
  return spread(ends ^ portsOf(view, ip, V6_BYTES, bytes, view.getUint8(ip + NEXT_HEADER)));
}

function portsOf(view: DataView, ip: number, header: number, bytes: number, protocol: number): number {
  if ((protocol !== TCP && protocol !== UDP) || header + 4 > bytes) return 0;
  return view.getUint16(ip + header) ^ view.getUint16(ip + header + 2);
}

function spread(word: number): number {
  return Math.imul(word, SPREAD) >>> 16;
}
