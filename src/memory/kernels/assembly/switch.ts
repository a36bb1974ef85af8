/**
 * A switch's table of hardware addresses, and its usual path; see `Kernels`. An address is two numbers: its first four
 * bytes, and its last two, little-endian as they stand in a frame.
 */
import { copy } from './index';

/** A table (device/mac-table.ts): one line, then buckets of a line, with four entries each. */
const NOW: usize = 0;
const AGEING: usize = 4;
const KEY: usize = 8;
const MASK: usize = 12;
const MOVES: usize = 16;
const EVICTED: usize = 20;
const BUCKETS: usize = 64;
const BUCKET_BYTES: usize = 64;
/** An entry: first four bytes; last two above the port's number + 1, 0 if it is empty; when it was seen last, s. */
const ENTRY_BYTES: usize = 16;
const REST: usize = 4;
const SEEN: usize = 8;
const NEVER_SEEN: i32 = 0x7fff_ffff;
const GROUP_BIT: u32 = 1;
const NOWHERE: i32 = -1;

/** An outlet (device/switch.ts): one line for each port. */
const RING: usize = 0;
const RING_MASK: usize = 4;
const HEAD: usize = 8;
const ROOM: usize = 12;
const STOP: usize = 16;
const LENGTH_MAX: usize = 20;
const EXCHANGE: usize = 24;
const FRAMES: usize = 28;
const BYTES: usize = 32;
const OUTLET_SHIFT: usize = 6;

/** FRAME_MORE of memory/ring.ts. */
const MORE: u32 = 8;
const ETHER_HEADER_BYTES: u32 = 14;

// @ts-ignore: decorator
@inline
function bucketOf(table: usize, first: u32, rest: u32): usize {
  let h: u32 = (first ^ load<u32>(table, KEY)) * 0x7feb352d;
  h = (h ^ (h >>> 15) ^ rest) * 0x846ca68b;
  return table + BUCKETS + <usize>((h ^ (h >>> 16)) & load<u32>(table, MASK)) * BUCKET_BYTES;
}

export function macFind(table: usize, first: u32, rest: u32): i32 {
  const bucket = bucketOf(table, first, rest);
  for (let e = bucket; e < bucket + BUCKET_BYTES; e += ENTRY_BYTES) {
    const word = load<u32>(e, REST);
    if (load<u32>(e) != first || word >>> 16 != rest || word == 0) continue;
    if (load<i32>(table, NOW) - load<i32>(e, SEEN) > load<i32>(table, AGEING)) return NOWHERE;
    return <i32>(word & 0xffff) - 1;
  }
  return NOWHERE;
}

export function macLearn(table: usize, first: u32, rest: u32, port: u32): void {
  if ((first & GROUP_BIT) != 0 || (first | rest) == 0) return;
  const word = (rest << 16) | (port + 1);
  const now = load<i32>(table, NOW);
  const bucket = bucketOf(table, first, rest);
  let oldest = bucket;
  let longest: i32 = -1;
  for (let e = bucket; e < bucket + BUCKET_BYTES; e += ENTRY_BYTES) {
    const known = load<u32>(e, REST);
    if (load<u32>(e) == first && known != 0 && known >>> 16 == rest) {
      if (known != word) {
        if (now - load<i32>(e, SEEN) <= load<i32>(table, AGEING))
          store<u32>(table, load<u32>(table, MOVES) + 1, MOVES);
        store<u32>(e, word, REST);
      }
      // Most lines stay unwritten for a second.
      if (load<i32>(e, SEEN) != now) store<i32>(e, now, SEEN);
      return;
    }
    const silent: i32 = known == 0 ? NEVER_SEEN : now - load<i32>(e, SEEN);
    if (silent <= longest) continue;
    longest = silent;
    oldest = e;
  }
  if (longest <= load<i32>(table, AGEING)) store<u32>(table, load<u32>(table, EVICTED) + 1, EVICTED);
  store<u32>(oldest, first);
  store<u32>(oldest, word, REST);
  store<i32>(oldest, now, SEEN);
}

export function switchFrames(
  table: usize,
  outlets: usize,
  from: u32,
  slots: usize,
  mask: u32,
  index: u32,
  n: u32,
): u32 {
  // Frames come in runs: of the one before, both addresses and where it went. No two bytes of an address are this.
  let srcFirst: u32 = 0;
  let srcRest: u32 = 0xffff_ffff;
  let dstFirst: u32 = 0;
  let dstRest: u32 = 0xffff_ffff;
  let to: i32 = NOWHERE;
  let i: u32 = 0;
  for (; i < n; i++) {
    const slot = slots + (((index + i) & mask) << 4);
    const at = load<u32>(slot);
    const length = load<u32>(slot, 4);
    const flags = load<u32>(slot, 8);
    if ((flags & MORE) != 0 || <i32>length < <i32>ETHER_HEADER_BYTES) break;
    let first = load<u32>(at, 6);
    let rest = <u32>load<u16>(at, 10);
    if (first != srcFirst || rest != srcRest) {
      srcFirst = first;
      srcRest = rest;
      macLearn(table, first, rest, from);
      // What was learned may be where the destination is.
      dstRest = 0xffff_ffff;
    }
    first = load<u32>(at);
    rest = <u32>load<u16>(at, 4);
    if (first != dstFirst || rest != dstRest) {
      dstFirst = first;
      dstRest = rest;
      to = macFind(table, first, rest);
    }
    if (to < 0 || <u32>to == from) break;
    const outlet = outlets + (<usize>to << OUTLET_SHIFT);
    const room = load<u32>(outlet, ROOM);
    if (room == 0 || (flags & load<u32>(outlet, STOP)) != 0 || length > load<u32>(outlet, LENGTH_MAX)) break;
    const head = load<u32>(outlet, HEAD);
    const into = load<u32>(outlet, RING) + ((head & load<u32>(outlet, RING_MASK)) << 4);
    const aux = load<u32>(slot, 12);
    if (load<u32>(outlet, EXCHANGE) != 0) {
      store<u32>(slot, load<u32>(into));
      store<u32>(into, at);
    } else copy(load<u32>(into), at, length);
    store<u32>(into, length, 4);
    store<u32>(into, flags, 8);
    store<u32>(into, aux, 12);
    store<u32>(outlet, head + 1, HEAD);
    store<u32>(outlet, room - 1, ROOM);
    store<u32>(outlet, load<u32>(outlet, FRAMES) + 1, FRAMES);
    store<u32>(outlet, load<u32>(outlet, BYTES) + length, BYTES);
  }
  return i;
}
