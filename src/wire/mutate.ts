/** Ways to spoil a frame, from a seed: for fuzzing the parsers here and whole engines elsewhere. */
import type { Prng } from '../memory/prng.ts';
import { checksumFinish, pseudoIpv4, pseudoIpv6, sumBytes, sumWords } from './checksum.ts';
import type { Link } from './decode.ts';
import { ETHER_HEADER_BYTES } from './ethernet.ts';
import { pick, randomBytes } from './generate.ts';
import { ICMP_CHECKSUM } from './icmp.ts';
import { ICMPV6_CHECKSUM } from './icmpv6.ts';
import {
  IPV4_CHECKSUM,
  ipv4Check,
  ipv4Dst,
  ipv4IsFragment,
  ipv4Protocol,
  ipv4Src,
  ipv4TotalLength,
} from './ipv4.ts';
import {
  IPV6_HEADER_BYTES,
  ipv6Check,
  ipv6PayloadLength,
  ipv6Upper,
  upperOffset,
  upperProtocol,
} from './ipv6.ts';
import { concat, viewOf } from './plain.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from './protocols.ts';
import { TCP_CHECKSUM } from './tcp.ts';
import { UDP_CHECKSUM } from './udp.ts';

/** Headers end about here; half of the damage is done before. */
const HEADERS_BYTES = 96;
const ODD_BYTES = [0, 1, 4, 0x0f, 0x45, 0x50, 0x60, 0x7f, 0x80, 0xff];

/** A copy with one to four things wrong. @param donor Another frame, for splices. */
export function mutateFrame(prng: Prng, frame: Uint8Array, donor: Uint8Array): Uint8Array {
  let mutant: Uint8Array = frame.slice();
  for (let i = 1 + prng.below(4); i > 0; i--) mutant = mutateOnce(prng, mutant, donor);
  return mutant;
}

/** May change `frame` in place, or return another. */
function mutateOnce(prng: Prng, frame: Uint8Array, donor: Uint8Array): Uint8Array {
  if (frame.length === 0) return donor.slice();
  const at = prng.below(prng.bool() ? Math.min(frame.length, HEADERS_BYTES) : frame.length);
  switch (prng.below(10)) {
    case 0:
      return frame.slice(0, at);
    case 1:
      return concat(frame, randomBytes(prng, 1 + prng.below(16)));
    case 2:
      return concat(frame.subarray(0, at), donor.subarray(prng.below(donor.length + 1)));
    case 3: // drop a few bytes
      return concat(frame.subarray(0, at), frame.subarray(at + 1 + prng.below(8)));
    case 4: // repeat a few bytes
      return concat(frame.subarray(0, at), frame.subarray(Math.max(0, at - 1 - prng.below(8))));
    case 5:
    case 6: // a length that lies
      if (at + 1 < frame.length) {
        const lie = pick(prng, [0, 1, 7, 19, frame.length - 15, frame.length + 1, 0x7fff, 0xffff]);
        frame[at] = lie >> 8;
        frame[at + 1] = lie;
      }
      return frame;
    case 7:
      frame[at] = pick(prng, ODD_BYTES);
      return frame;
    default:
      frame[at] ^= 1 << prng.below(8);
      return frame;
  }
}

/**
 * Makes the checksums of a mutated frame right again, as far as its headers still make sense: otherwise
 * nearly all damage ends at a checksum, and the code behind is never tried.
 * @param view Of the same bytes, perhaps of more after them.
 */
export function repairChecksums(frame: Uint8Array, link: Link, view = viewOf(frame)): void {
  const at = link === 'ether' ? ETHER_HEADER_BYTES : 0;
  const length = frame.length - at;
  if (length > 0 && frame[at] >> 4 === 6) repairIpv6(frame, view, at, length);
  else if (length > 0) repairIpv4(frame, view, at, length);
}

function repairIpv4(frame: Uint8Array, view: DataView, at: number, length: number): void {
  const header = ipv4Check(view, at, length);
  if (header < 0) return;
  view.setUint16(at + IPV4_CHECKSUM, 0);
  view.setUint16(at + IPV4_CHECKSUM, checksumFinish(sumWords(view, at, header >> 2)));
  if (ipv4IsFragment(view, at)) return;
  const protocol = ipv4Protocol(view, at);
  const bytesAbove = ipv4TotalLength(view, at) - header;
  const pseudo =
    protocol === PROTOCOL_ICMP ? 0 : pseudoIpv4(ipv4Src(view, at), ipv4Dst(view, at), protocol, bytesAbove);
  repairTransport(frame, view, at + header, bytesAbove, protocol, pseudo);
}

function repairIpv6(frame: Uint8Array, view: DataView, at: number, length: number): void {
  if (ipv6Check(view, at, length) < 0) return;
  const upper = ipv6Upper(view, at, length);
  if (upper < 0) return;
  const bytesAbove = IPV6_HEADER_BYTES + ipv6PayloadLength(view, at) - upperOffset(upper);
  const pseudo = pseudoIpv6(view, at, upperProtocol(upper), bytesAbove);
  repairTransport(frame, view, at + upperOffset(upper), bytesAbove, upperProtocol(upper), pseudo);
}

const CHECKSUM_AT = new Map([
  [PROTOCOL_TCP, TCP_CHECKSUM],
  [PROTOCOL_UDP, UDP_CHECKSUM],
  [PROTOCOL_ICMP, ICMP_CHECKSUM],
  [PROTOCOL_ICMPV6, ICMPV6_CHECKSUM],
]);

function repairTransport(
  frame: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  protocol: number,
  pseudo: number,
): void {
  const field = CHECKSUM_AT.get(protocol);
  if (field === undefined || field + 2 > length) return;
  view.setUint16(at + field, 0);
  view.setUint16(at + field, checksumFinish(pseudo + sumBytes(frame, at, at + length)));
}
