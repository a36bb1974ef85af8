/** The segment being handled: one reusable object with int fields, filled by `segmentParse`. */
import { TCP_HEADER_BYTES } from '../wire/tcp.ts';
import { type TcpOptions, tcpOptionsParse } from '../wire/tcp-options.ts';

const HEADER_BYTES = TCP_HEADER_BYTES;

/** NOP, NOP, kind 8, length 10: the usual option layout (RFC 7323 appendix A). */
const TIMESTAMP_WORD = 0x0101080a;

export class Segment {
  seq = 0;
  ack = 0;
  flags = 0;
  /** As on the wire, not scaled. */
  window = 0;
  /** Payload: offset in the arena, bytes. */
  dataAt = 0;
  length = 0;
  /** Source port << 16 | destination port, as on the wire. */
  ports = 0;
  /** Timestamps option; 0/1, values. */
  hasTimestamp = 0;
  tsVal = 0;
  tsEcr = 0;
  /** Options other than the usual timestamps were parsed into `options`. */
  hasOptions = 0;
}

/**
 * Reads the TCP header at `at`, of a segment of `length` bytes. Written out, not by the getters of wire/tcp.ts: RR
 * 64/64/1 takes 530 ns a request so and 544 with them (medians of three, interleaved).
 * @returns 0, or a negative code: -1 truncated or lying header length, -2 malformed options.
 */
export function segmentParse(
  s: Segment,
  options: TcpOptions,
  view: DataView,
  at: number,
  length: number,
): number {
  if (length < 20) return -1;
  const offsetFlags = view.getUint16(at + 12, false);
  const headerBytes = (offsetFlags >>> 12) << 2;
  if (headerBytes < 20 || headerBytes > length) return -1;
  s.ports = view.getInt32(at, false);
  s.seq = view.getInt32(at + 4, false);
  s.ack = view.getInt32(at + 8, false);
  s.flags = offsetFlags & 0x1ff;
  s.window = view.getUint16(at + 14, false);
  s.dataAt = at + headerBytes;
  s.length = length - headerBytes;
  s.hasOptions = 0;
  if (headerBytes === 32 && view.getInt32(at + 20, false) === TIMESTAMP_WORD) {
    s.hasTimestamp = 1;
    s.tsVal = view.getInt32(at + 24, false);
    s.tsEcr = view.getInt32(at + 28, false);
    return 0;
  }
  s.hasTimestamp = 0;
  if (headerBytes === 20) return 0;
  if (tcpOptionsParse(view, at + HEADER_BYTES, headerBytes - 20, options) < 0) return -2;
  s.hasOptions = 1;
  s.hasTimestamp = options.hasTimestamp;
  s.tsVal = options.tsVal;
  s.tsEcr = options.tsEcr;
  return 0;
}
