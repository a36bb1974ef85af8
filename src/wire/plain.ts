/**
 * What the plain level of this folder shares: packets as ordinary objects with addresses as text, for tests,
 * tools and messages to people. No packet of the data path goes through it.
 */
import { parseIpv4, parseIpv6 } from './address.ts';
import { checksumFinish, fold, pseudoIpv4, sumBytes } from './checksum.ts';

/** Bytes that are no packet of their protocol; `code` is `ERR_MALFORMED_PACKET`. */
export class WireError extends Error {
  readonly code = 'ERR_MALFORMED_PACKET';
  override readonly name = 'WireError';
  readonly protocol: string;
  readonly reason: string;
  constructor(protocol: string, reason: string) {
    super(`malformed ${protocol}: ${reason}`);
    this.protocol = protocol;
    this.reason = reason;
  }
}

/** A T of which only the fields K must be given. */
export type Given<T, K extends keyof T> = Pick<T, K> & Partial<T>;

/** The addresses a transport checksum covers: both IPv4 or both IPv6. */
export interface Ends {
  readonly src: string;
  readonly dst: string;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Passes the result of a check on, or throws what its negative code names. */
export function accept(protocol: string, rejects: readonly string[], result: number): number {
  if (result < 0) throw new WireError(protocol, rejects[-result]);
  return result;
}

export function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Unfolded pseudo-header sum of either family. */
export function pseudoSum(ends: Ends, protocol: number, length: number): number {
  if (!ends.src.includes(':')) return pseudoIpv4(parseIpv4(ends.src), parseIpv4(ends.dst), protocol, length);
  let sum = protocol + length;
  for (const word of [...parseIpv6(ends.src), ...parseIpv6(ends.dst)]) sum += (word >>> 16) + (word & 0xffff);
  return sum;
}

/** The checksum field for a segment whose own field is zero. */
export function transportChecksum(segment: Uint8Array, ends: Ends, protocol: number): number {
  return checksumFinish(pseudoSum(ends, protocol, segment.length) + sumBytes(segment));
}

/** Whether a segment with its checksum field in place adds up. */
export function transportChecksumGood(segment: Uint8Array, ends: Ends, protocol: number): boolean {
  return fold(pseudoSum(ends, protocol, segment.length) + sumBytes(segment)) === 0xffff;
}
