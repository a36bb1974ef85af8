/**
 * The arena's SIMD loops, in AssemblyScript. Built by `npm run build:kernels` into ../wasm.ts.
 *
 * Sums are taken over little-endian words, 16 bytes at a time, and swapped once at the end: one's complement
 * addition doesn't care for byte order (RFC 1071 2(B)).
 */
export { memifOffer, memifRead, memifWrite } from './memif';
export { macFind, macLearn, switchFrames } from './switch';
export { xskComplete, xskFill, xskReceive, xskSend } from './xsk';

/** Adds the eight 16-bit words of `v` to four 32-bit lanes: lane i gets words 2i and 2i + 1. */
// @ts-ignore: decorator
@inline
function accumulate(sum: v128, v: v128): v128 {
  return i32x4.add(sum, i32x4.extadd_pairwise_i16x8_u(v));
}

/** Four lanes and a 64-bit rest, folded to 16 bits and swapped to network order. */
// @ts-ignore: decorator
@inline
function finish(lanes: v128, rest: u64): u32 {
  let s: u64 = rest + <u64>(<u32>i32x4.extract_lane(lanes, 0)) + <u64>(<u32>i32x4.extract_lane(lanes, 1));
  s += <u64>(<u32>i32x4.extract_lane(lanes, 2)) + <u64>(<u32>i32x4.extract_lane(lanes, 3));
  s = (s & 0xffffffff) + (s >> 32);
  let t: u32 = <u32>(s & 0xffff) + <u32>((s >> 16) & 0xffff) + <u32>(s >> 32);
  t = (t & 0xffff) + (t >> 16);
  t = (t & 0xffff) + (t >> 16);
  return ((t & 0xff) << 8) | (t >> 8);
}

/** Words of fewer than 16 bytes, little-endian, the last padded with zero. */
// @ts-ignore: decorator
@inline
function tail(at: usize, length: u32): u64 {
  let s: u64 = 0;
  if (length & 8) {
    const w = load<u64>(at);
    s += (w & 0xffffffff) + (w >> 32);
    at += 8;
  }
  if (length & 4) {
    s += <u64>load<u32>(at);
    at += 4;
  }
  if (length & 2) {
    s += <u64>load<u16>(at);
    at += 2;
  }
  if (length & 1) s += <u64>load<u8>(at);
  return s;
}

/** A lane takes 2 * 0xffff at each step, so it holds 2^15 of them: 512 KiB, far past the largest frame. */
export function sum(at: usize, length: u32): u32 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let left = length;
  while (left >= 64) {
    a = accumulate(a, v128.load(at));
    b = accumulate(b, v128.load(at, 16));
    a = accumulate(a, v128.load(at, 32));
    b = accumulate(b, v128.load(at, 48));
    at += 64;
    left -= 64;
  }
  while (left >= 16) {
    a = accumulate(a, v128.load(at));
    at += 16;
    left -= 16;
  }
  return finish(i32x4.add(a, b), tail(at, left));
}

/** Fewer than 16 bytes, by loads that may overlap. */
// @ts-ignore: decorator
@inline
function copyShort(to: usize, from: usize, length: u32): void {
  if (length >= 8) {
    const head = load<u64>(from);
    const last = load<u64>(from + length - 8);
    store<u64>(to, head);
    store<u64>(to + length - 8, last);
  } else if (length >= 4) {
    const head = load<u32>(from);
    const last = load<u32>(from + length - 4);
    store<u32>(to, head);
    store<u32>(to + length - 4, last);
  } else if (length > 0) {
    store<u8>(to, load<u8>(from));
    if (length > 1) {
      store<u8>(to + 1, load<u8>(from + 1));
      if (length > 2) store<u8>(to + 2, load<u8>(from + 2));
    }
  }
}

/** From here on the C library's wider registers are worth its call, bytes. */
const LONG: u32 = 512;

export function copy(to: usize, from: usize, length: u32): void {
  if (length < 16) {
    copyShort(to, from, length);
    return;
  }
  if (length >= LONG) {
    memory.copy(to, from, length);
    return;
  }
  const last = v128.load(from + length - 16);
  const end = to + length - 16;
  let left = length;
  while (left >= 64) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    v128.store(to, v128.load(from, 32), 32);
    v128.store(to, v128.load(from, 48), 48);
    to += 64;
    from += 64;
    left -= 64;
  }
  while (left >= 16) {
    v128.store(to, v128.load(from));
    to += 16;
    from += 16;
    left -= 16;
  }
  v128.store(end, last);
}

export function zero(at: usize, length: u32): void {
  const zeros = i64x2.splat(0);
  const end = at + length;
  while (at < end) {
    v128.store(at, zeros);
    v128.store(at, zeros, 16);
    v128.store(at, zeros, 32);
    v128.store(at, zeros, 48);
    at += 64;
  }
}

export function copySum(to: usize, from: usize, length: u32): u32 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let left = length;
  while (left >= 64) {
    const v0 = v128.load(from);
    const v1 = v128.load(from, 16);
    const v2 = v128.load(from, 32);
    const v3 = v128.load(from, 48);
    v128.store(to, v0);
    v128.store(to, v1, 16);
    v128.store(to, v2, 32);
    v128.store(to, v3, 48);
    a = accumulate(a, v0);
    b = accumulate(b, v1);
    a = accumulate(a, v2);
    b = accumulate(b, v3);
    to += 64;
    from += 64;
    left -= 64;
  }
  while (left >= 16) {
    const v = v128.load(from);
    v128.store(to, v);
    a = accumulate(a, v);
    to += 16;
    from += 16;
    left -= 16;
  }
  copyShort(to, from, left);
  return finish(i32x4.add(a, b), tail(from, left));
}

/** See `Kernels.exchange`. Words one by one: a slot has just been written so, and a wider load would wait for its stores. */
export function exchange(
  fromBase: usize,
  fromMask: u32,
  fromIndex: u32,
  toBase: usize,
  toMask: u32,
  toIndex: u32,
  n: u32,
  stop: u32,
  lengthMax: u32,
): f64 {
  let bytes: u64 = 0;
  let i: u32 = 0;
  for (; i < n; i++) {
    const from = fromBase + (((fromIndex + i) & fromMask) << 4);
    const length = load<u32>(from, 4);
    const flags = load<u32>(from, 8);
    // Zero and what is negative wrap round to more than any maximum.
    if (length - 1 >= lengthMax || (flags & stop) != 0) break;
    const to = toBase + (((toIndex + i) & toMask) << 4);
    const at = load<u32>(from);
    const aux = load<u32>(from, 12);
    store<u32>(from, load<u32>(to));
    store<u32>(to, at);
    store<u32>(to, length, 4);
    store<u32>(to, flags | ((flags >> 1) & 1), 8);
    store<u32>(to, aux, 12);
    bytes += length;
  }
  return <f64>i * 4294967296.0 + <f64>bytes;
}
