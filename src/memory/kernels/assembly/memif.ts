/**
 * memif's data path: frames between rings that are shared with another process and a port's, see `Kernels` and
 * device/memif-rings.ts. A word of shared memory is loaded once, checked, and used as it was loaded.
 */
import { copy } from './index';

/** A link's regions (device/memif-rings.ts): where in the arena they begin, 16 words; their bytes, as many; how many. */
const REGION_BYTES: usize = 64;
const REGIONS: usize = 128;

/** A ring, as one side uses it. Offsets of shared memory are in the arena, but OWN_OFFSET, which the other side reads. */
const DESCRIPTORS: usize = 0;
const MASK: usize = 4;
const INDEX: usize = 8;
const THEIRS: usize = 12;
const THEIRS_AHEAD: usize = 16;
const OURS: usize = 20;
const OURS_AHEAD: usize = 24;
const TABLE: usize = 28;
const OWN_AT: usize = 32;
const OWN_BYTES: usize = 36;
const OWN_REGION: usize = 40;
const OWN_OFFSET: usize = 44;
/** What came of a call; CHAINED goes in, too. */
const FAULT: usize = 64;
const FRAMES: usize = 68;
const BYTES: usize = 72;
const DROPPED: usize = 76;
const CHAINED: usize = 80;

const FAULT_INDEX: u32 = 1;
const FAULT_BUFFER: u32 = 2;
const FAULT_CHAIN: u32 = 3;

/** MEMIF_DESC_NEXT of wire/memif.ts; FRAME_MORE of memory/ring.ts. */
const NEXT: u32 = 1;
const MORE: u32 = 8;
const REGION_MASK: u32 = 0xffff_0000;

/** Where these bytes are in the arena; 0 when a region has no such bytes. */
// @ts-ignore: decorator
@inline
function locate(table: usize, region: u32, offset: u32, length: u32): u32 {
  if (region >= load<u32>(table, REGIONS)) return 0;
  const entry = table + (<usize>region << 2);
  const bytes = load<u32>(entry, REGION_BYTES);
  if (offset > bytes || length > bytes - offset) return 0;
  return load<u32>(entry) + offset;
}

/** Slots that are ours now; -1 when the other side's index can't be. */
// @ts-ignore: decorator
@inline
function available(ring: usize, index: u32, mask: u32): i32 {
  const theirs = <u32>atomic.load<u16>(load<u32>(ring, THEIRS));
  const slots = (theirs + load<u32>(ring, THEIRS_AHEAD) - index) & 0xffff;
  return slots > mask + 1 ? -1 : <i32>slots;
}

// @ts-ignore: decorator
@inline
function publish(ring: usize, index: u32): void {
  store<u32>(ring, index & 0xffff, INDEX);
  atomic.store<u16>(load<u32>(ring, OURS), <u16>(index + load<u32>(ring, OURS_AHEAD)));
}

// @ts-ignore: decorator
@inline
function tell(ring: usize, fault: u32, frames: u32, bytes: u32, dropped: u32): void {
  store<u32>(ring, fault, FAULT);
  store<u32>(ring, frames, FRAMES);
  store<u32>(ring, bytes, BYTES);
  store<u32>(ring, dropped, DROPPED);
}

export function memifOffer(ring: usize, index: u32, n: u32): void {
  const descriptors = load<usize>(ring, DESCRIPTORS);
  const mask = load<u32>(ring, MASK);
  const bytes = load<u32>(ring, OWN_BYTES);
  const region = load<u32>(ring, OWN_REGION);
  const offset = load<u32>(ring, OWN_OFFSET);
  for (let k: u32 = 0; k < n; k++) {
    const i = (index + k) & mask;
    const descriptor = descriptors + (i << 4);
    store<u32>(descriptor, region);
    store<u32>(descriptor, bytes, 4);
    store<u32>(descriptor, offset + i * bytes, 8);
    store<u32>(descriptor, 0, 12);
  }
}

export function memifRead(
  ring: usize,
  slots: usize,
  slotMask: u32,
  tail: u32,
  free: u32,
  lengthMax: u32,
): u32 {
  const index = load<u32>(ring, INDEX);
  const mask = load<u32>(ring, MASK);
  const there = available(ring, index, mask);
  if (there <= 0) {
    tell(ring, there < 0 ? FAULT_INDEX : 0, 0, 0, 0);
    return 0;
  }
  const descriptors = load<usize>(ring, DESCRIPTORS);
  const table = load<usize>(ring, TABLE);
  const ownBytes = load<u32>(ring, OWN_BYTES);
  const ownAt = load<u32>(ring, OWN_AT);
  let fault: u32 = 0;
  let frames: u32 = 0;
  let bytes: u32 = 0;
  let dropped: u32 = 0;
  let done: u32 = 0;
  while (done < <u32>there && frames < free) {
    const slot = slots + (((tail + frames) & slotMask) << 4);
    const to = load<u32>(slot);
    let length: u32 = 0;
    let fits = true;
    let used = done;
    let more = true;
    while (more) {
      if (used == <u32>there) {
        // The rest of the chain isn't there yet; or never will be, when there is no slot for it.
        if (<u32>there > mask && done == 0) fault = FAULT_CHAIN;
        break;
      }
      const i = (index + used) & mask;
      const descriptor = descriptors + (i << 4);
      const word = load<u32>(descriptor);
      const part = load<u32>(descriptor, 4);
      let from: u32;
      if (ownBytes != 0) from = part <= ownBytes ? ownAt + i * ownBytes : 0;
      else from = locate(table, word >>> 16, load<u32>(descriptor, 8), part);
      if (from == 0) {
        fault = FAULT_BUFFER;
        break;
      }
      if (part <= lengthMax - length) {
        copy(to + length, from, part);
        length += part;
      } else fits = false;
      more = (word & NEXT) != 0;
      used++;
    }
    if (more) break;
    if (ownBytes != 0) memifOffer(ring, index + done, used - done);
    done = used;
    if (!fits || length == 0) {
      dropped++;
      continue;
    }
    store<u32>(slot, length, 4);
    store<u32>(slot, 0, 8);
    store<u32>(slot, 0, 12);
    bytes += length;
    frames++;
  }
  tell(ring, fault, frames, bytes, dropped);
  if (done != 0) publish(ring, index + done);
  return frames;
}

export function memifWrite(
  ring: usize,
  slots: usize,
  slotMask: u32,
  taken: u32,
  n: u32,
  lengthMax: u32,
): u32 {
  const index = load<u32>(ring, INDEX);
  const mask = load<u32>(ring, MASK);
  const there = available(ring, index, mask);
  if (there < 0) {
    tell(ring, FAULT_INDEX, 0, 0, 0);
    return 0;
  }
  const descriptors = load<usize>(ring, DESCRIPTORS);
  const table = load<usize>(ring, TABLE);
  const ownBytes = load<u32>(ring, OWN_BYTES);
  const ownAt = load<u32>(ring, OWN_AT);
  const ownRegion = load<u32>(ring, OWN_REGION);
  let chained = load<u32>(ring, CHAINED);
  let fault: u32 = 0;
  let frames: u32 = 0;
  let bytes: u32 = 0;
  let dropped: u32 = 0;
  let done: u32 = 0;
  let k: u32 = 0;
  for (; k < n; k++) {
    const slot = slots + (((taken + k) & slotMask) << 4);
    const at = load<u32>(slot);
    const length = load<u32>(slot, 4);
    const more = load<u32>(slot, 8) & MORE;
    // Zero and what is negative wrap round to more than any maximum.
    if ((chained | more) != 0 || length - 1 >= lengthMax) {
      chained = more;
      dropped++;
      continue;
    }
    let used = done;
    let sent: u32 = 0;
    while (sent < length && used < <u32>there) {
      const i = (index + used) & mask;
      const descriptor = descriptors + (i << 4);
      let region: u32;
      let room: u32;
      let to: u32;
      if (ownBytes != 0) {
        region = ownRegion;
        room = ownBytes;
        to = ownAt + i * ownBytes;
      } else {
        const word = load<u32>(descriptor);
        region = word & REGION_MASK;
        room = load<u32>(descriptor, 4);
        to = locate(table, word >>> 16, load<u32>(descriptor, 8), room);
        if (to == 0 || room == 0) {
          fault = FAULT_BUFFER;
          break;
        }
      }
      const part = min(room, length - sent);
      copy(to, at + sent, part);
      sent += part;
      store<u32>(descriptor, region | (sent < length ? NEXT : 0));
      // Of a frame that turns out not to fit, every part so far fills its buffer: the length stays the room.
      store<u32>(descriptor, part, 4);
      used++;
    }
    if (sent < length) {
      // Room enough comes later, or never.
      if (fault != 0 || done > 0 || <u32>there <= mask) break;
      dropped++;
      continue;
    }
    done = used;
    frames++;
    bytes += length;
  }
  tell(ring, fault, frames, bytes, dropped);
  store<u32>(ring, chained, CHAINED);
  if (done != 0) publish(ring, index + done);
  return k;
}
