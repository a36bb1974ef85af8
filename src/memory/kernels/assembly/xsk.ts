/**
 * What moves between a port's rings and the kernel's (AF_XDP), see `Kernels`. Base addresses and masks as there. Slots of a
 * port: at, length, flags, aux. The kernel's rx and tx descriptors: address u64, length u32, options u32; its fill and
 * completion ones: address u64, of which memory of an arena's size needs the lower half.
 */

/** FRAME_MORE, FRAME_CHECKSUM_FILL and FRAME_SEGMENT of memory/ring.ts; XDP_PKT_CONTD; struct xsk_tx_metadata. */
const MORE: u32 = 8;
const UNUSUAL: u32 = 2 | 4 | MORE;
const CONTD: u32 = 1;
const METADATA_BYTES: u32 = 24;
const ETHER_BYTES: u32 = 14;
const COUNT: f64 = 4294967296.0;

export function xskFill(
  slots: usize,
  slotMask: u32,
  slot: u32,
  entries: usize,
  entryMask: u32,
  entry: u32,
  n: u32,
  umem: usize,
  chunkShift: u32,
  lent: usize,
): void {
  for (let i: u32 = 0; i < n; i++) {
    const at = load<u32>(slots + (((slot + i) & slotMask) << 4));
    const chunk = (at - <u32>umem) >> chunkShift;
    store<u32>(entries + (((entry + i) & entryMask) << 3), chunk << chunkShift);
    store<u8>(lent + chunk, 1);
  }
}

export function xskReceive(
  slots: usize,
  slotMask: u32,
  slot: u32,
  entries: usize,
  entryMask: u32,
  entry: u32,
  n: u32,
  umem: usize,
  chunkShift: u32,
  lent: usize,
): f64 {
  let bytes: u64 = 0;
  let frames: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const from = entries + (((entry + i) & entryMask) << 4);
    const to = slots + (((slot + i) & slotMask) << 4);
    const address = load<u32>(from);
    const length = load<u32>(from, 8);
    const more = load<u32>(from, 12) & CONTD;
    store<u32>(to, <u32>umem + address);
    store<u32>(to, length, 4);
    store<u32>(to, more * MORE, 8);
    store<u32>(to, 0, 12);
    store<u8>(lent + (address >> chunkShift), 0);
    bytes += length;
    frames += more ^ 1;
  }
  return <f64>frames * COUNT + <f64>bytes;
}

export function xskSend(
  slots: usize,
  slotMask: u32,
  slot: u32,
  entries: usize,
  entryMask: u32,
  entry: u32,
  n: u32,
  umem: usize,
  chunkShift: u32,
  lent: usize,
  lengthMax: u32,
): f64 {
  const chunkBytes = (<u32>1) << chunkShift;
  let bytes: u64 = 0;
  let i: u32 = 0;
  for (; i < n; i++) {
    const from = slots + (((slot + i) & slotMask) << 4);
    const length = load<u32>(from, 4);
    const address = load<u32>(from) - <u32>umem;
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

export function xskComplete(
  slots: usize,
  slotMask: u32,
  slot: u32,
  entries: usize,
  entryMask: u32,
  entry: u32,
  n: u32,
  umem: usize,
  chunkShift: u32,
  lent: usize,
  headroom: u32,
): void {
  for (let i: u32 = 0; i < n; i++) {
    const chunk = load<u32>(entries + (((entry + i) & entryMask) << 3)) >> chunkShift;
    store<u32>(slots + (((slot + i) & slotMask) << 4), <u32>umem + (chunk << chunkShift) + headroom);
    store<u8>(lent + chunk, 0);
  }
}
