import { KERNELS_WASM_BASE64 } from './wasm.ts';

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

/** Compiled once for all arenas. */
let module: WebAssembly.Module | null = null;

/** @param memory Shared, of at most 2 GiB; the kernels work on it. */
export function instantiateKernels(memory: WebAssembly.Memory): Kernels {
  module ??= new WebAssembly.Module(decodeBase64(KERNELS_WASM_BASE64));
  const { sum, copy, copySum } = new WebAssembly.Instance(module, { env: { memory } })
    .exports as unknown as Kernels;
  return { sum, copy, copySum };
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
