/**
 * The Internet checksum (RFC 1071): the one's complement sum of big-endian 16-bit words, complemented.
 *
 * Sums travel unfolded, as non-negative int32, and are added with `+`; `fold` ends them. Over payloads the
 * sum is a kernel's (see memory/kernels); here is what goes with it: headers, pseudo-headers, updates.
 * A segment is good when `fold(pseudo + sum) === 0xffff`.
 */

/** @param sum Non-negative, below 2^32. @returns its one's complement sum in 16 bits. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** The value of a checksum field over which the words sum to `sum`. */
export function checksumFinish(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/** Unfolded sum of `words` 32-bit words: for headers and addresses, at most 16,384 words. */
export function sumWords(view: DataView, at: number, words: number): number {
  let sum = 0;
  for (let i = at, end = at + words * 4; i < end; i += 4) {
    const word = view.getInt32(i, false);
    sum = (sum + (word >>> 16) + (word & 0xffff)) | 0;
  }
  return sum;
}

/** The pseudo-header of RFC 9293 3.1 and RFC 768, unfolded. `length`: transport header and data, bytes. */
export function pseudoIpv4(src: number, dst: number, protocol: number, length: number): number {
  return ((src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff) + protocol + length) | 0;
}

/** The pseudo-header of RFC 8200 8.1, unfolded, with the addresses of the IPv6 header at `at`. */
export function pseudoIpv6(view: DataView, at: number, protocol: number, length: number): number {
  return (sumWords(view, at + 8, 8) + protocol + (length >>> 16) + (length & 0xffff)) | 0;
}

/** A checksum field's new value when one 16-bit word that it covers changes (RFC 1624, equation 3). */
export function checksumUpdate16(checksum: number, from: number, to: number): number {
  return checksumFinish((~checksum & 0xffff) + (~from & 0xffff) + to);
}

/** The same for a 32-bit word that starts at an even offset. */
export function checksumUpdate32(checksum: number, from: number, to: number): number {
  return checksumFinish(
    (~checksum & 0xffff) + (~from >>> 16) + (~from & 0xffff) + (to >>> 16) + (to & 0xffff),
  );
}

/** Folded sum of bytes [from, to), 128 KiB at most, an odd last one padded with zero. For tests and tools: simple. */
export function sumBytes(bytes: Uint8Array, from = 0, to = bytes.length): number {
  let sum = 0;
  let i = from;
  for (; i + 1 < to; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  return fold(i < to ? sum + (bytes[i] << 8) : sum);
}
