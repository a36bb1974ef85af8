import { KERNELS_WASM_BASE64 } from './wasm.ts';

/**
 * The loops over an arena that TypeScript can't match; see assembly/ for their source.
 *
 * ns a call, at unaligned addresses (Node 26, one core of a 2-core VM at 2.6 GHz, in cache; the call is 2-3):
 *
 *     bytes                 20     40     64    120   1460   65536
 *     sum                  6.5    7.1    7.8    9.4     43    1610
 *     copy                 3.1    3.4    3.7    4.9     23    1390
 *     copySum              7.0    7.5    8.0    9.9     44    1625
 *     byte loop of sum      11     19     28     48    556   25000
 *     u8.copyWithin         26     28     31     38    190    8500   (shared memory makes it slow)
 */
export interface Kernels {
  /**
   * Internet checksum (RFC 1071) over `length` bytes at `at`: the one's complement sum of the big-endian
   * 16-bit words, an odd last byte padded with zero, folded to 16 bits and not complemented.
   */
  sum(at: number, length: number): number;
  /**
   * Copies `length` bytes; the ranges must not overlap. From 512 B on by the C library: 1,460 B took 34 ns where the loop,
   * whose figures the table has, took 52 beside it.
   */
  copy(to: number, from: number, length: number): void;
  /** Zeroes cache lines: `length` is a multiple of 64. */
  zero(at: number, length: number): void;
  /** `copy`, returning `sum` of what it copied, in one pass. */
  copySum(to: number, from: number, length: number): number;
  /**
   * Hands frames over from the slots of one ring to those of another (memory/ring.ts) by exchanging their buffers: up to
   * `n`, as long as their length is from 1 to `lengthMax` and none of the flags in `stop` is set. Those with
   * FRAME_CHECKSUM_FILL are FRAME_CHECKSUM_GOOD from then on: they never left this memory. 2 ns a frame, where a
   * loop of TypeScript takes 7.
   * @param fromBase @param toBase Byte offsets of the rings. @param fromMask @param toMask Their slots less one.
   * @returns `frames * EXCHANGE_FRAME + bytes`
   */
  exchange(
    fromBase: number,
    fromMask: number,
    fromIndex: number,
    toBase: number,
    toMask: number,
    toIndex: number,
    n: number,
    stop: number,
    lengthMax: number,
  ): number;
  /**
   * A switch's usual path (device/switch.ts): of up to `n` frames in the rx slots of port `from`, learns the source, looks up
   * the destination, and hands the frame to that port's tx ring by exchange or copy, until one comes that isn't usual:
   * of several buffers, too short, for no port, several, or this one, or for a port whose outlet has no room or doesn't
   * take it as it is.
   * @param table Of a MacTable. @param outlets Of the switch. @param slots Byte offset of the ring. @param mask Its slots
   * less one. @returns frames handed over
   */
  switchFrames(
    table: number,
    outlets: number,
    from: number,
    slots: number,
    mask: number,
    index: number,
    n: number,
  ): number;
  /** See MacTable. @returns the number of a port, or -1 */
  macFind(table: number, first: number, rest: number): number;
  macLearn(table: number, first: number, rest: number, port: number): void;
  /**
   * memif (device/memif-rings.ts has the lines of its rings): frames that the other side has written, to up to `free` slots
   * of an rx ring from `tail` on. Those longer than `lengthMax`, or of no bytes, are dropped. The ring's line tells of
   * bytes, drops and a fault, which ends it. @returns frames
   */
  memifRead(ring: number, slots: number, mask: number, tail: number, free: number, lengthMax: number): number;
  /**
   * Up to `n` frames of a tx ring from `taken` on to where the other side reads. Those of several slots, of no bytes, or
   * longer than `lengthMax` or than that ring holds are dropped. @returns slots taken
   */
  memifWrite(ring: number, slots: number, mask: number, taken: number, n: number, lengthMax: number): number;
  /** The client's: empty buffers of its own in the descriptors of `n` slots from `index` on. */
  memifOffer(ring: number, index: number, n: number): void;
  /**
   * AF_XDP: gives the buffers of `n` slots to a queue's fill ring.
   * @param path A ring of a port and one of the kernel's (device/xdp-umem.ts). @param slot @param entry Their indices, which
   * run freely; the same for all four.
   */
  xskFill(path: number, slot: number, entry: number, n: number): void;
  /**
   * Takes `n` descriptors of a queue's rx ring into slots, whole frames.
   * @param local 1: mark those whose checksum a kernel on the other end has left out, as FRAME_CHECKSUM_GOOD and _FILL.
   * @returns `frames * EXCHANGE_FRAME + bytes`
   */
  xskReceive(path: number, slot: number, entry: number, n: number, local: number): number;
  /**
   * Puts up to `n` slots into a tx ring, as long as their frames are whole, want nothing done, have at most `lengthMax`
   * bytes and lie within a buffer. @returns `frames * EXCHANGE_FRAME + bytes`
   */
  xskSend(path: number, slot: number, entry: number, n: number, lengthMax: number): number;
  /** Takes `n` buffers back from a completion ring into slots. @param headroom From a buffer's start to DESC_AT. */
  xskComplete(path: number, slot: number, entry: number, n: number, headroom: number): void;
}

/** What a frame counts in the results of `exchange` and of the xsk kernels, beside its bytes. */
export const EXCHANGE_FRAME = 2 ** 32;

/** Compiled once for all arenas. */
let module: WebAssembly.Module | null = null;

/** @param memory Shared, of at most 2 GiB; the kernels work on it. */
export function instantiateKernels(memory: WebAssembly.Memory): Kernels {
  module ??= new WebAssembly.Module(decodeBase64(KERNELS_WASM_BASE64));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return { ...(exports as unknown as Kernels) };
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
