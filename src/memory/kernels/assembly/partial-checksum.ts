/**
 * Transport checksums that the sender has left to its device. A kernel on the other end of a virtual cable (veth) does
 * that for what it sends itself, and nothing that AF_XDP gives says so: in the field there is the folded sum of the
 * pseudo-header, not the checksum.
 *
 * So whoever knows that a device is such a cable takes a field with just this value for "left out". A whole checksum
 * has it with 1 packet in 65,536, which is then believed without being looked at: on a cable in memory nothing breaks.
 */

/** Little-endian, as they are loaded: a one's complement sum doesn't care (RFC 1071 2(B)). */
const ETHER_TYPE: usize = 12;
const TYPE_4: u32 = 0x0008;
const TYPE_6: u32 = 0xdd86;
const FRAGMENT: u32 = 0xff3f;

const ETHER: u32 = 14;
const IPV4_LEAST: u32 = 28;
const IPV6_HEADER: u32 = 40;
const TCP: u32 = 6;
const TCP_FIELD: u32 = 16;
const UDP: u32 = 17;
const UDP_FIELD: u32 = 6;

// @ts-ignore: decorator
@inline
function network16(at: usize): u32 {
  return bswap<u16>(load<u16>(at));
}

// @ts-ignore: decorator
@inline
function fold(s: u32): u32 {
  return (s & 0xffff) + (s >> 16);
}

// @ts-ignore: decorator
@inline
function halves(at: usize): u32 {
  return fold(load<u32>(at));
}

/** Whether an Ethernet frame has an unfragmented TCP segment or UDP datagram whose checksum is still to be made. */
export function checksumIsPartial(at: usize, length: u32): bool {
  if (length < ETHER + IPV4_LEAST) return false;
  const ip = at + ETHER;
  const type: u32 = load<u16>(at, ETHER_TYPE);
  let protocol: u32;
  let header: u32;
  let rest: u32;
  let pseudo: u32;
  if (type == TYPE_4) {
    if ((<u32>load<u16>(ip, 6) & FRAGMENT) != 0) return false;
    header = (<u32>load<u8>(ip) & 15) << 2;
    protocol = load<u8>(ip, 9);
    rest = network16(ip + 2) - header;
    pseudo = halves(ip + 12) + halves(ip + 16);
  } else if (type == TYPE_6) {
    if (length < ETHER + IPV6_HEADER) return false;
    header = IPV6_HEADER;
    protocol = load<u8>(ip, 6);
    rest = network16(ip + 4);
    pseudo = 0;
    for (let i: usize = 8; i < 40; i += 4) pseudo += halves(ip + i);
  } else return false;
  const field = protocol == TCP ? TCP_FIELD : protocol == UDP ? UDP_FIELD : 0;
  // Less than nothing behind a header wraps round to more than any frame has.
  if (field == 0 || rest < field + 2 || rest > length || ETHER + header + rest > length) return false;
  pseudo += bswap<u16>(<u16>fold(protocol + rest));
  return <u32>load<u16>(ip + header + field) == fold(fold(pseudo));
}
