/**
 * What moves between a port's rings and the kernel's (AF_XDP), see `Kernels`. Slots of a port: at, length, flags, aux. The
 * kernel's rx and tx descriptors: address u64, length u32, options u32; its fill and completion ones: address u64, of
 * which memory of an arena's size needs the lower half.
 */
import { checksumIsPartial } from './partial-checksum';

/** A path (device/xdp-umem.ts). */
const SLOTS: usize = 0;
const SLOT_MASK: usize = 4;
const ENTRIES: usize = 8;
const ENTRY_MASK: usize = 12;
const UMEM: usize = 16;
const CHUNK_SHIFT: usize = 20;
const LENT: usize = 24;

/** FRAME_CHECKSUM_GOOD, FRAME_CHECKSUM_FILL, FRAME_SEGMENT and FRAME_MORE of memory/ring.ts. */
const PARTIAL: u32 = 1 | 2;
const MORE: u32 = 8;
const UNUSUAL: u32 = 2 | 4 | MORE;
/** XDP_PKT_CONTD; struct xsk_tx_metadata. */
const CONTD: u32 = 1;
const METADATA_BYTES: u32 = 24;
const ETHER_BYTES: u32 = 14;
const COUNT: f64 = 4294967296.0;

export function xskFill(path: usize, slot: u32, entry: u32, n: u32): void {
  const slots = load<usize>(path, SLOTS);
  const slotMask = load<u32>(path, SLOT_MASK);
  const entries = load<usize>(path, ENTRIES);
  const entryMask = load<u32>(path, ENTRY_MASK);
  const umem = load<u32>(path, UMEM);
  const chunkShift = load<u32>(path, CHUNK_SHIFT);
  const lent = load<usize>(path, LENT);
  for (let i: u32 = 0; i < n; i++) {
    const chunk = (load<u32>(slots + (((slot + i) & slotMask) << 4)) - umem) >> chunkShift;
    store<u32>(entries + (((entry + i) & entryMask) << 3), chunk << chunkShift);
    store<u8>(lent + chunk, 1);
  }
}

export function xskReceive(path: usize, slot: u32, entry: u32, n: u32, local: u32): f64 {
  const slots = load<usize>(path, SLOTS);
  const slotMask = load<u32>(path, SLOT_MASK);
  const entries = load<usize>(path, ENTRIES);
  const entryMask = load<u32>(path, ENTRY_MASK);
  const umem = load<u32>(path, UMEM);
  const chunkShift = load<u32>(path, CHUNK_SHIFT);
  const lent = load<usize>(path, LENT);
  let bytes: u64 = 0;
  let frames: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const from = entries + (((entry + i) & entryMask) << 4);
    const to = slots + (((slot + i) & slotMask) << 4);
    const address = load<u32>(from);
    const length = load<u32>(from, 8);
    const more = load<u32>(from, 12) & CONTD;
    store<u32>(to, umem + address);
    store<u32>(to, length, 4);
    store<u32>(to, more * MORE, 8);
    store<u32>(to, 0, 12);
    store<u8>(lent + (address >> chunkShift), 0);
    bytes += length;
    frames += more ^ 1;
  }
  if (local) markPartial(slots, slotMask, slot, n);
  return <f64>frames * COUNT + <f64>bytes;
}

/** Its own loop: within the other one it would take a nanosecond a frame where nobody asks for it. */
function markPartial(slots: usize, slotMask: u32, slot: u32, n: u32): void {
  let first = slot;
  let length: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const at = slots + (((slot + i) & slotMask) << 4);
    length += load<u32>(at, 4);
    if ((load<u32>(at, 8) & MORE) != 0) continue;
    const head = slots + ((first & slotMask) << 4);
    if (checksumIsPartial(load<usize>(head), length)) store<u32>(head, load<u32>(head, 8) | PARTIAL, 8);
    first = slot + i + 1;
    length = 0;
  }
}

export function xskSend(path: usize, slot: u32, entry: u32, n: u32, lengthMax: u32): f64 {
  const slots = load<usize>(path, SLOTS);
  const slotMask = load<u32>(path, SLOT_MASK);
  const entries = load<usize>(path, ENTRIES);
  const entryMask = load<u32>(path, ENTRY_MASK);
  const umem = load<u32>(path, UMEM);
  const chunkShift = load<u32>(path, CHUNK_SHIFT);
  const lent = load<usize>(path, LENT);
  const chunkBytes = (<u32>1) << chunkShift;
  let bytes: u64 = 0;
  let i: u32 = 0;
  for (; i < n; i++) {
    const from = slots + (((slot + i) & slotMask) << 4);
    const length = load<u32>(from, 4);
    const address = load<u32>(from) - umem;
    const offset = address & (chunkBytes - 1);
    // Less than a header wraps round to more than any maximum.
    if (
      (load<u32>(from, 8) & UNUSUAL) != 0 ||
      length - ETHER_BYTES > lengthMax - ETHER_BYTES ||
      offset < METADATA_BYTES ||
      offset + length > chunkBytes
    )
      break;
    const to = entries + (((entry + i) & entryMask) << 4);
    store<u32>(to, address);
    store<u32>(to, length, 8);
    store<u32>(to, 0, 12);
    store<u8>(lent + (address >> chunkShift), 1);
    bytes += length;
  }
  return <f64>i * COUNT + <f64>bytes;
}

export function xskComplete(path: usize, slot: u32, entry: u32, n: u32, headroom: u32): void {
  const slots = load<usize>(path, SLOTS);
  const slotMask = load<u32>(path, SLOT_MASK);
  const entries = load<usize>(path, ENTRIES);
  const entryMask = load<u32>(path, ENTRY_MASK);
  const umem = load<u32>(path, UMEM);
  const chunkShift = load<u32>(path, CHUNK_SHIFT);
  const lent = load<usize>(path, LENT);
  for (let i: u32 = 0; i < n; i++) {
    const chunk = load<u32>(entries + (((entry + i) & entryMask) << 3)) >> chunkShift;
    store<u32>(slots + (((slot + i) & slotMask) << 4), umem + (chunk << chunkShift) + headroom);
    store<u8>(lent + chunk, 0);
  }
}
