/**
 * TCP options: read into one reusable object, written in the layouts that peers expect (Linux's, so that
 * every timestamp is where a fast path looks for it).
 */
import { viewOf } from './plain.ts';

export const OPTION_END = 0;
export const OPTION_NOP = 1;
export const OPTION_MSS = 2; // RFC 9293 3.7.1
export const OPTION_WINDOW_SCALE = 3; // RFC 7323 2
export const OPTION_SACK_PERMITTED = 4; // RFC 2018 2
export const OPTION_SACK = 5; // RFC 2018 3
export const OPTION_TIMESTAMPS = 8; // RFC 7323 3
export const OPTION_USER_TIMEOUT = 28; // RFC 5482
export const OPTION_FAST_OPEN = 34; // RFC 7413 4.1.1
export const OPTION_ACCECN0 = 172; // RFC 9768 3.2.3, counters in the order ECT(0), CE, ECT(1)
export const OPTION_ACCECN1 = 174; // the same, in the order ECT(1), CE, ECT(0)

/** The data offset counts to 60. */
export const TCP_OPTIONS_BYTES_MAX = 40;
export const WINDOW_SCALE_MAX = 14;
/** NOP NOP and the timestamps option. */
export const TIMESTAMPS_BYTES = 12;
/** Its first word. */
export const TIMESTAMPS_WORD = 0x0101_080a;
/** With timestamps beside them; 4 without. */
export const SACK_BLOCKS_MAX = 3;

/** An option with a length below 2 or past the header. */
export const TCP_OPTIONS_MALFORMED = -1;
export const TCP_OPTIONS_REJECTS = ['', 'option length'] as const;

/** What `tcpOptionsParse` found. All ints; offsets are into the view parsed. */
export class TcpOptions {
  /** Bytes; 0: none. */
  mss = 0;
  /** 0 to 14; -1: none. */
  windowScale = -1;
  /** 0 or 1. */
  sackPermitted = 0;
  /** 0 or 1. */
  hasTimestamp = 0;
  tsVal = 0;
  tsEcr = 0;
  /** Blocks of two words, left and right edge, from `sackAt`. */
  sackCount = 0;
  sackAt = 0;
  /** Where the cookie starts; 0: no option. A length of 0 asks for a cookie. */
  fastOpenAt = 0;
  fastOpenLength = 0;
  /** OPTION_ACCECN0 or 1; 0: none. Its `accEcnCount` (0 to 3) 24-bit counters start at `accEcnAt`. */
  accEcnKind = 0;
  accEcnAt = 0;
  accEcnCount = 0;
  /** As sent: see `userTimeoutSeconds`; -1: none. */
  userTimeout = -1;

  clear(): void {
    this.mss = 0;
    this.windowScale = -1;
    this.sackPermitted = 0;
    this.hasTimestamp = 0;
    this.tsVal = 0;
    this.tsEcr = 0;
    this.sackCount = 0;
    this.sackAt = 0;
    this.fastOpenAt = 0;
    this.fastOpenLength = 0;
    this.accEcnKind = 0;
    this.accEcnAt = 0;
    this.accEcnCount = 0;
    this.userTimeout = -1;
  }
}

/**
 * Reads the options between a TCP header's 20th byte and its end. Unknown ones, and known ones of a length
 * they can't have, are skipped (RFC 9293 3.1, MUST-6). Of repeated ones the last counts, as in Linux and BSD.
 * @param length Of the options, bytes: header length - 20.
 * @returns 0, or TCP_OPTIONS_MALFORMED (MUST-7) with `out` cleared
 */
export function tcpOptionsParse(view: DataView, at: number, length: number, out: TcpOptions): number {
  out.clear();
  const end = at + length;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) return 0;
    if (kind === OPTION_NOP) {
      at += 1;
      continue;
    }
    const bytes = end - at < 2 ? 0 : view.getUint8(at + 1);
    if (bytes < 2 || bytes > end - at) {
      out.clear();
      return TCP_OPTIONS_MALFORMED;
    }
    tcpOptionRead(view, at, kind, bytes, out);
    at += bytes;
  }
  return 0;
}

function tcpOptionRead(view: DataView, at: number, kind: number, bytes: number, out: TcpOptions): void {
  switch (kind) {
    case OPTION_MSS:
      if (bytes === 4) out.mss = view.getUint16(at + 2, false);
      break;
    case OPTION_WINDOW_SCALE:
      // RFC 7323 2.3: a larger shift is to be used as 14.
      if (bytes === 3) out.windowScale = Math.min(view.getUint8(at + 2), WINDOW_SCALE_MAX);
      break;
    case OPTION_SACK_PERMITTED:
      if (bytes === 2) out.sackPermitted = 1;
      break;
    case OPTION_SACK:
      if (bytes >= 10 && ((bytes - 2) & 7) === 0) {
        out.sackCount = (bytes - 2) >> 3;
        out.sackAt = at + 2;
      }
      break;
    case OPTION_TIMESTAMPS:
      if (bytes === 10) {
        out.hasTimestamp = 1;
        out.tsVal = view.getInt32(at + 2, false);
        out.tsEcr = view.getInt32(at + 6, false);
      }
      break;
    case OPTION_USER_TIMEOUT:
      if (bytes === 4) out.userTimeout = view.getUint16(at + 2, false);
      break;
    case OPTION_FAST_OPEN:
      // A cookie has 4 to 16 bytes, an even number; a request for one has none.
      if (bytes === 2 || (bytes >= 6 && bytes <= 18 && (bytes & 1) === 0)) {
        out.fastOpenAt = at + 2;
        out.fastOpenLength = bytes - 2;
      }
      break;
    case OPTION_ACCECN0:
    case OPTION_ACCECN1:
      // RFC 9768 3.2.3: counters may be left off from the end, and what comes after whole ones is padding.
      out.accEcnKind = kind;
      out.accEcnAt = at + 2;
      out.accEcnCount = Math.min(((bytes - 2) / 3) | 0, 3);
      break;
  }
}

/**
 * Whether the segment at `at` has the options of nearly all segments and no others: NOP NOP timestamps.
 * Then TSval and TSecr are the words at `at + 24` and `at + 28`.
 * @param header As `tcpCheck` returned it.
 */
export function tcpHasTimestampsOnly(view: DataView, at: number, header: number): boolean {
  return header === 32 && view.getInt32(at + 20, false) === TIMESTAMPS_WORD;
}

/** Of `tcpHasTimestampsOnly`. */
export function tcpFastTsVal(view: DataView, at: number): number {
  return view.getInt32(at + 24, false);
}

/** Of `tcpHasTimestampsOnly`. */
export function tcpFastTsEcr(view: DataView, at: number): number {
  return view.getInt32(at + 28, false);
}

/** Left edge of block `i`, of `sackCount`. */
export function sackLeft(view: DataView, options: TcpOptions, i: number): number {
  return view.getInt32(options.sackAt + i * 8, false);
}

/** Right edge (the first sequence number past the block). */
export function sackRight(view: DataView, options: TcpOptions, i: number): number {
  return view.getInt32(options.sackAt + i * 8 + 4, false);
}

/** Counter `i`, of `accEcnCount`. */
export function accEcnCounter(view: DataView, options: TcpOptions, i: number): number {
  const at = options.accEcnAt + i * 3;
  return (view.getUint8(at) << 16) | view.getUint16(at + 1, false);
}

/** RFC 5482 2: the top bit says that the other 15 count minutes. */
export function userTimeoutSeconds(value: number): number {
  return (value & 0x7fff) * (value & 0x8000 ? 60 : 1);
}

// Writers take the offset of the options' next byte and return how many bytes they wrote, in whole words.

/** 12 bytes. */
export function tcpTimestampsWrite(view: DataView, at: number, tsVal: number, tsEcr: number): number {
  view.setInt32(at, TIMESTAMPS_WORD, false);
  view.setInt32(at + 4, tsVal, false);
  view.setInt32(at + 8, tsEcr, false);
  return TIMESTAMPS_BYTES;
}

/**
 * What a SYN or SYN-ACK offers, in Linux's order: MSS; SACK permitted in place of the timestamps' NOPs (or of
 * two NOPs of its own); NOP and window scale. At most 20 bytes.
 * @param mss 0 leaves it out. @param windowScale -1 leaves it out.
 */
export function tcpSynOptionsWrite(
  view: DataView,
  at: number,
  mss: number,
  windowScale: number,
  sackPermitted: boolean,
  timestamps: boolean,
  tsVal: number,
  tsEcr: number,
): number {
  const start = at;
  if (mss > 0) {
    view.setInt32(at, 0x0204_0000 | mss, false);
    at += 4;
  }
  if (timestamps) {
    at += tcpTimestampsWrite(view, at, tsVal, tsEcr);
    if (sackPermitted) view.setUint16(at - TIMESTAMPS_BYTES, 0x0402, false);
  } else if (sackPermitted) {
    view.setInt32(at, 0x0101_0402, false);
    at += 4;
  }
  if (windowScale >= 0) {
    view.setInt32(at, 0x0103_0300 | windowScale, false);
    at += 4;
  }
  return at - start;
}

/** @param blocks Pairs of left and right edge from word `index`. @param count 1 to 4. */
export function tcpSackWrite(
  view: DataView,
  at: number,
  blocks: Int32Array,
  index: number,
  count: number,
): number {
  view.setInt32(at, 0x0101_0502 + count * 8, false);
  const words = count * 2;
  for (let i = 0; i < words; i++) view.setInt32(at + 4 + i * 4, blocks[index + i], false);
  return 4 + count * 8;
}

/** @param cookie 4 to 16 bytes, an even number; none to ask for one. */
export function tcpFastOpenWrite(view: DataView, at: number, cookie: Uint8Array): number {
  view.setUint16(at, (OPTION_FAST_OPEN << 8) | (cookie.length + 2), false);
  for (let i = 0; i < cookie.length; i++) view.setUint8(at + 2 + i, cookie[i]);
  return padWithNops(view, at, cookie.length + 2);
}

/** @param kind OPTION_ACCECN0 or 1. @param first @param second @param third 24-bit counters in its order. */
export function tcpAccEcnWrite(
  view: DataView,
  at: number,
  kind: number,
  first: number,
  second: number,
  third: number,
): number {
  view.setInt32(at, (kind << 24) | (11 << 16) | ((first >>> 8) & 0xffff), false);
  view.setInt32(at + 4, (first << 24) | (second & 0xff_ffff), false);
  view.setInt32(at + 8, (third << 8) | OPTION_NOP, false);
  return 12;
}

/** @param value Seconds, or minutes with bit 15 set. */
export function tcpUserTimeoutWrite(view: DataView, at: number, value: number): number {
  view.setInt32(at, (OPTION_USER_TIMEOUT << 24) | (4 << 16) | value, false);
  return 4;
}

function padWithNops(view: DataView, at: number, length: number): number {
  const padded = (length + 3) & ~3;
  for (let i = length; i < padded; i++) view.setUint8(at + i, OPTION_NOP);
  return padded;
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

/** Each option that is there. */
export interface TcpOptionValues {
  mss?: number;
  windowScale?: number;
  sackPermitted?: boolean;
  timestamps?: { value: number; echo: number };
  /** [left, right) */
  sack?: [number, number][];
  fastOpenCookie?: Uint8Array;
  accEcn?: { kind: number; counters: number[] };
  /** As `tcpUserTimeoutWrite` takes it. */
  userTimeout?: number;
}

/** Malformed options count as none. */
export function parseTcpOptions(bytes: Uint8Array): TcpOptionValues {
  const view = viewOf(bytes);
  const found = new TcpOptions();
  tcpOptionsParse(view, 0, bytes.length, found);
  const values: TcpOptionValues = {};
  if (found.mss > 0) values.mss = found.mss;
  if (found.windowScale >= 0) values.windowScale = found.windowScale;
  if (found.sackPermitted) values.sackPermitted = true;
  if (found.hasTimestamp) values.timestamps = { value: found.tsVal >>> 0, echo: found.tsEcr >>> 0 };
  if (found.sackCount > 0) {
    values.sack = Array.from({ length: found.sackCount }, (_, i) => [
      sackLeft(view, found, i) >>> 0,
      sackRight(view, found, i) >>> 0,
    ]);
  }
  if (found.fastOpenAt > 0) {
    values.fastOpenCookie = bytes.subarray(found.fastOpenAt, found.fastOpenAt + found.fastOpenLength);
  }
  if (found.accEcnKind > 0) {
    const counters = Array.from({ length: found.accEcnCount }, (_, i) => accEcnCounter(view, found, i));
    values.accEcn = { kind: found.accEcnKind, counters };
  }
  if (found.userTimeout >= 0) values.userTimeout = found.userTimeout;
  return values;
}

/** In whole words. AccECN takes all three counters. @throws RangeError when they take more than 40 bytes */
export function emitTcpOptions(values: TcpOptionValues): Uint8Array {
  // Far more than a header holds, so that the check comes after the writing.
  const bytes = new Uint8Array(256);
  const view = viewOf(bytes);
  const { mss = 0, windowScale = -1, sackPermitted = false, timestamps, sack, accEcn } = values;
  const { value = 0, echo = 0 } = timestamps ?? {};
  let at = tcpSynOptionsWrite(
    view,
    0,
    mss,
    windowScale,
    sackPermitted,
    timestamps !== undefined,
    value,
    echo,
  );
  if (values.fastOpenCookie) at += tcpFastOpenWrite(view, at, values.fastOpenCookie);
  if (accEcn) {
    const [first, second, third] = accEcn.counters;
    at += tcpAccEcnWrite(view, at, accEcn.kind, first, second, third);
  }
  if (values.userTimeout !== undefined) at += tcpUserTimeoutWrite(view, at, values.userTimeout);
  if (sack)
    at += tcpSackWrite(
      view,
      at,
      Int32Array.from(sack.flat(), (edge) => edge | 0),
      0,
      sack.length,
    );
  if (at > TCP_OPTIONS_BYTES_MAX) throw new RangeError(`TCP options of ${at} bytes; a header holds 40`);
  return bytes.slice(0, at);
}
