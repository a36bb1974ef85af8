/** The SIMD loops over an arena that TypeScript can't match; see assembly/ for their source. */
export interface Kernels {
  /**
   * Internet checksum (RFC 1071) over `length` bytes at `at`: the one's complement sum of the big-endian
   * 16-bit words, an odd last byte padded with zero, folded to 16 bits and not complemented.
   */
  sum(at: number, length: number): number;
  /** Copies `length` bytes; the ranges must not overlap. */
  copy(to: number, from: number, length: number): void;
  /** `copy`, returning `sum` of what it copied, in one pass. */
  copySum(to: number, from: number, length: number): number;
}

export function instantiateKernels(_memory: WebAssembly.Memory): Kernels {
  throw new Error('not built');
}
