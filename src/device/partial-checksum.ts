/**
 * Transport checksums that the sender has left to its device. A kernel on the other end of a virtual cable (veth) does
 * that for what it sends itself, and nothing that AF_XDP or a raw socket gives says so: in the field there is the folded
 * sum of the pseudo-header, not the checksum.
 *
 * So whoever knows that a device is such a cable takes a field with just this value for "left out". A whole checksum
 * has it with 1 packet in 65,536, which is then believed without being looked at: on a cable in memory nothing breaks.
 */
import { ETHER_TYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { TCP_CHECKSUM } from '../wire/tcp.ts';
import { UDP_CHECKSUM } from '../wire/udp.ts';

// V8 folds a module's own constants, not imported ones.
const TYPE_AT = ETHER_TYPE;
const TYPE_4 = ETHERTYPE_IPV4;
const TYPE_6 = ETHERTYPE_IPV6;
const TCP = PROTOCOL_TCP;
const UDP = PROTOCOL_UDP;
const TCP_FIELD = TCP_CHECKSUM;
const UDP_FIELD = UDP_CHECKSUM;
const ETHER = 14;
const IPV4_ENDS = 12;
const IPV6_ENDS = 8;
const IPV6_HEADER = 40;
const FRAGMENT = 0x3fff;

/** Whether an Ethernet frame has an unfragmented TCP segment or UDP datagram whose checksum is still to be made. */
export function checksumIsPartial(view: DataView, at: number, length: number): boolean {
  if (length < ETHER + 28) return false;
  const ip = at + ETHER;
  const type = view.getUint16(at + TYPE_AT, false);
  let protocol = 0;
  let header = 0;
  let l4Bytes = 0;
  let ends = 0;
  let endsBytes = 8;
  if (type === TYPE_4) {
    header = (view.getUint8(ip) & 15) << 2;
    if ((view.getUint16(ip + 6, false) & FRAGMENT) !== 0) return false;
    protocol = view.getUint8(ip + 9);
    l4Bytes = view.getUint16(ip + 2, false) - header;
    ends = ip + IPV4_ENDS;
  } else if (type === TYPE_6) {
    if (length < ETHER + IPV6_HEADER) return false;
    header = IPV6_HEADER;
    protocol = view.getUint8(ip + 6);
    l4Bytes = view.getUint16(ip + 4, false);
    ends = ip + IPV6_ENDS;
    endsBytes = 32;
  }
  const field = protocol === TCP ? TCP_FIELD : protocol === UDP ? UDP_FIELD : 0;
  if (field === 0 || l4Bytes < field + 2 || ETHER + header + l4Bytes > length) return false;
  let sum = protocol + l4Bytes;
  for (let i = 0; i < endsBytes; i += 4) {
    const word = view.getInt32(ends + i, false);
    sum += (word >>> 16) + (word & 0xffff);
  }
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  return view.getUint16(ip + header + field, false) === sum;
}
