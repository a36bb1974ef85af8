import type { HalfSipHash } from '../wire/siphash.ts';

/**
 * The scratch description of one packet, int fields only. An {@link Ip} owns two that live as long as it does:
 * `ip.packet`, what input is looking at (good until the next `ipInput`), and `ip.out`, what is being composed
 * for `ipSend`. Nothing on the data path allocates one.
 */
export class Packet {
  /** Index of the interface. For `ip.out`: the one to use, or -1 to let the route choose. */
  iface = 0;
  /** 4 or 6. */
  version = 0;
  /** Byte offset of the IP header. Not used by `ip.out`. */
  at = 0;
  /** Byte offset of the upper-layer header, and bytes from there to the end of the IP packet. */
  l4At = 0;
  l4Length = 0;
  protocol = 0;
  /** An IPv4 address is word 0 and the others are 0; an IPv6 address is four words in network order. */
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  dst0 = 0;
  dst1 = 0;
  dst2 = 0;
  dst3 = 0;
  /** Time to live, or hop limit. */
  ttl = 0;
  /** Type of service or traffic class: DSCP and, in the low two bits, ECN. */
  tos = 0;
  /** Unfolded sum of the pseudo-header, to be added to the sum over [l4At, l4At + l4Length). */
  pseudoSum = 0;
  /** 1 when the device has verified the transport checksum, else 0. */
  checksumGood = 0;
  /** 1 when the destination is a broadcast or multicast address, else 0. */
  cast = 0;
  /** 1 when it came in fragments, be it one (RFC 6946). */
  fragmented = 0;
  /** 1 when the destination is an address of another host's, taken for a transparent listener; else 0. */
  foreign = 0;
  /** 1 when the frame came as a link-layer broadcast or multicast, else 0. */
  linkCast = 0;
}

/** Unfolded pseudo-header sum (RFC 9293 3.1, RFC 8200 8.1) of what `p` describes. */
export function packetPseudoSum(p: Packet): number {
  const ends = p.protocol + p.l4Length + halves(p.src0) + halves(p.dst0);
  if (p.version === 4) return ends;
  return (
    ends + halves(p.src1) + halves(p.src2) + halves(p.src3) + halves(p.dst1) + halves(p.dst2) + halves(p.dst3)
  );
}

function halves(word: number): number {
  return (word >>> 16) + (word & 0xffff);
}

/** Hashes both addresses. */
export function packetHashEnds(hash: HalfSipHash, p: Packet): void {
  hash.word(p.src0);
  hash.word(p.dst0);
  if (p.version === 4) return;
  hash.word(p.src1);
  hash.word(p.src2);
  hash.word(p.src3);
  hash.word(p.dst1);
  hash.word(p.dst2);
  hash.word(p.dst3);
}

/** Makes `out` go back where `p` came from: same interface, ends exchanged. */
export function packetAnswer(out: Packet, p: Packet): void {
  out.iface = p.iface;
  out.version = p.version;
  out.src0 = p.dst0;
  out.src1 = p.dst1;
  out.src2 = p.dst2;
  out.src3 = p.dst3;
  out.dst0 = p.src0;
  out.dst1 = p.src1;
  out.dst2 = p.src2;
  out.dst3 = p.src3;
}
