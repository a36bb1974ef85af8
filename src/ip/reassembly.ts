/**
 * Datagrams that arrive in pieces (RFC 791, RFC 815, RFC 8200 4.5). Each has one of a fixed number of buffers, into
 * which its fragments are copied where they belong, whatever their order:
 *
 *     buffer ─► │ room │ first fragment's headers │ data, 64 KiB … │
 *                                                  ▲ HEADERS_MAX after the buffer's start
 *
 * Fragments that overlap end the whole datagram, with those of it that are still to come (RFC 5722; for IPv4 as
 * other hosts do it today): nobody sends such but to slip something past a filter. A copy of one that is there
 * already is a copy, and dropped alone. What is incomplete at its deadline, or is in the way of a newer one, goes.
 *
 * A datagram that is whole stays in its buffer until `release`, as a received frame stays in its slot.
 *
 * A few dozen entries of which each fragment compares one word need no hash, and so have no chains to be filled.
 */
import type { Arena } from '../memory/arena.ts';
import type { InterfaceCounters } from './counters.ts';

/** IPv6's header, as many bytes of extension headers as input takes, and the fragment header; in whole lines. */
const HEADERS_MAX = 320;
/** RFC 791, RFC 8200: the length field. */
const DATA_MAX = 65_535;
/** Of the arena, for one datagram. */
export const BUFFER_BYTES = HEADERS_MAX + DATA_MAX + 1;
/** 64 KiB in the smallest pieces that links make (576 B) are 119. */
const FRAGMENTS_MAX = 128;
/** RFC 1122 3.3.2 allows more for IPv4; Linux takes 30 s. RFC 8200 4.5: 60 s. */
const TIMEOUT_4_MS = 30_000;
const TIMEOUT_6_MS = 60_000;

export const REASSEMBLY = {
  STATE: 0,
  /** The identification, and with KIND, IFACE and the addresses the rest of what belongs together. */
  ID: 1,
  /** IPv4: protocol. IPv6: 0x100. */
  KIND: 2,
  IFACE: 3,
  SRC: 4,
  DST: 8,
  DEADLINE_MS: 12,
  /** Headers before the data, bytes; 0 until the first fragment has come. */
  HEADERS: 13,
  /** All data, bytes; -1 until the last fragment has come. */
  TOTAL: 14,
  /** Data that is here, bytes, and in how many pieces. */
  HAVE: 15,
  PIECES: 16,
  /** Data of the first fragment, bytes: what an error about it quotes. */
  FIRST: 17,
  /** A bit for each ECN codepoint seen. */
  ECN: 18,
  /** The upper layer in the first fragment's data, past extension headers, and where it starts there. */
  PROTOCOL: 19,
  UPPER: 20,
  /** IPv6: the byte of the headers that named the fragment header. */
  NAMED: 21,
  /** 1: to a group or broadcast. */
  CAST: 22,
  WORDS: 23,
} as const;

const { STATE, ID, KIND, IFACE, SRC, DST, DEADLINE_MS, HEADERS, TOTAL, HAVE, PIECES, FIRST, CAST, WORDS } =
  REASSEMBLY;

const FREE = 0;
const WAITING = 1;
/** Overlapped: what still comes of it is dropped until the deadline. */
const DEAD = 2;
/** Given out, until `release`. */
const WHOLE = 3;
const KIND_6 = 0x100;

/** What `add` says; of what it refuses, the fragment is dropped. */
export const PIECE_TAKEN = 1;
/** All is here: the entry is WHOLE. */
export const PIECE_LAST = 2;
/** The same piece again. */
export const PIECE_DUPLICATE = 3;
/** The datagram is dead, now or already. */
export const PIECE_OVERLAP = -1;
/** More pieces than anybody makes; the datagram is dead. */
export const PIECE_EXCESS = -2;

/** What tells whose a fragment is. */
export interface FragmentKey {
  readonly iface: number;
  readonly version: number;
  /** IPv4's protocol. */
  readonly protocol: number;
  readonly src0: number;
  readonly src1: number;
  readonly src2: number;
  readonly src3: number;
  readonly dst0: number;
  readonly dst1: number;
  readonly dst2: number;
  readonly dst3: number;
  readonly cast: number;
}

export class Reassembly {
  /** Entries of REASSEMBLY's words. */
  readonly m: Int32Array;
  readonly buffers: number;
  /** Entries that are WHOLE. */
  held = 0;
  /** Entries that wait or are dead. */
  waiting = 0;
  readonly #arena: Arena;
  readonly #base: number;
  /** Start and end of each piece, in order, FRAGMENTS_MAX pairs an entry. */
  readonly #pieces: Int32Array;
  /** How many entries one source may have. */
  readonly #share: number;

  /** @param buffers 1 to 1024. */
  constructor(arena: Arena, buffers: number) {
    this.#arena = arena;
    this.buffers = buffers;
    this.m = new Int32Array(buffers * WORDS);
    this.#pieces = new Int32Array(buffers * FRAGMENTS_MAX * 2);
    this.#base = arena.carveUnzeroed('reassembly', buffers * BUFFER_BYTES);
    this.#share = Math.max(1, buffers >> 2);
  }

  /** Where the data of an entry is; its headers end there. */
  dataAt(e: number): number {
    return this.#base + (e / WORDS) * BUFFER_BYTES + HEADERS_MAX;
  }

  /**
   * The entry of a fragment's datagram, a new one if need be. An older datagram has to go for it when its source has
   * its share, or there is no other room.
   * @returns the entry's word index; -1 when all buffers hold datagrams of this breath
   */
  find(key: FragmentKey, id: number, now_ms: number, counters: InterfaceCounters): number {
    const { m } = this;
    const kind = key.version === 4 ? key.protocol : KIND_6;
    let free = -1;
    let oldest = -1;
    let same = 0;
    let oldestSame = -1;
    for (let e = 0; e < m.length; e += WORDS) {
      const state = m[e + STATE];
      if (state === FREE) {
        free = e;
        continue;
      }
      if (state === WHOLE) continue;
      if (m[e + ID] === id && m[e + KIND] === kind && this.#matches(e, key)) return e;
      if (oldest < 0 || ((m[e + DEADLINE_MS] - m[oldest + DEADLINE_MS]) | 0) < 0) oldest = e;
      if (m[e + KIND] >> 8 !== kind >> 8 || !sameSource(m, e, key)) continue;
      same++;
      if (oldestSame < 0 || ((m[e + DEADLINE_MS] - m[oldestSame + DEADLINE_MS]) | 0) < 0) oldestSame = e;
    }
    if (same >= this.#share || free < 0) {
      free = same >= this.#share ? oldestSame : oldest;
      if (free < 0) {
        counters.reassemblyFull++;
        return -1;
      }
      counters.reassemblyEvicted++;
      this.drop(free);
    }
    this.#begin(free, key, id, kind, now_ms);
    return free;
  }

  /**
   * Puts a piece [start, start + length) of the data in its place.
   * @param last Whether it ends the datagram.
   * @returns one of PIECE_*
   */
  add(e: number, from: number, start: number, length: number, last: boolean): number {
    const { m } = this;
    const pieces = this.#pieces;
    if (m[e + STATE] === DEAD) return PIECE_OVERLAP;
    const end = start + length;
    const base = (e / WORDS) * FRAGMENTS_MAX * 2;
    // The usual order is from the first to the last.
    let place = m[e + PIECES];
    while (place > 0 && pieces[base + 2 * place - 2] >= start) place--;
    const at = base + 2 * place;
    const known = place < m[e + PIECES] && pieces[at] === start;
    if (known && pieces[at + 1] === end && (m[e + TOTAL] === end) === last) return PIECE_DUPLICATE;
    const overlaps =
      known ||
      (place > 0 && pieces[at - 1] > start) ||
      (place < m[e + PIECES] && pieces[at] < end) ||
      (m[e + TOTAL] >= 0 && (last || end > m[e + TOTAL])) ||
      (last && place < m[e + PIECES]);
    if (overlaps || m[e + PIECES] === FRAGMENTS_MAX) {
      m[e + STATE] = DEAD;
      return overlaps ? PIECE_OVERLAP : PIECE_EXCESS;
    }
    pieces.copyWithin(at + 2, at, base + 2 * m[e + PIECES]);
    pieces[at] = start;
    pieces[at + 1] = end;
    m[e + PIECES]++;
    this.#arena.kernels.copy(this.dataAt(e) + start, from, length);
    m[e + HAVE] += length;
    if (start === 0) m[e + FIRST] = length;
    if (last) m[e + TOTAL] = end;
    if (m[e + HAVE] !== m[e + TOTAL]) return PIECE_TAKEN;
    m[e + STATE] = WHOLE;
    this.waiting--;
    this.held++;
    return PIECE_LAST;
  }

  /** Keeps the headers that came before the first fragment's data. */
  addHeaders(e: number, from: number, length: number): void {
    this.m[e + HEADERS] = length;
    this.#arena.kernels.copy(this.dataAt(e) - length, from, length);
  }

  /** Frees an entry that is not WHOLE. */
  drop(e: number): void {
    this.m[e + STATE] = FREE;
    this.waiting--;
  }

  /** The program has seen what was held. */
  release(): void {
    const { m } = this;
    for (let e = 0; e < m.length; e += WORDS) if (m[e + STATE] === WHOLE) m[e + STATE] = FREE;
    this.held = 0;
  }

  /** Drops what is past its deadline. @returns ms until the next is, or -1 */
  expire(now_ms: number, expired: (e: number) => void): number {
    const { m } = this;
    let next_ms = -1;
    for (let e = 0; e < m.length && this.waiting > 0; e += WORDS) {
      if (m[e + STATE] !== WAITING && m[e + STATE] !== DEAD) continue;
      const left_ms = (m[e + DEADLINE_MS] - now_ms) | 0;
      if (left_ms <= 0) {
        if (m[e + STATE] === WAITING) expired(e);
        this.drop(e);
      } else if (next_ms < 0 || left_ms < next_ms) next_ms = left_ms;
    }
    return next_ms;
  }

  #begin(e: number, key: FragmentKey, id: number, kind: number, now_ms: number): void {
    const { m } = this;
    m.fill(0, e, e + WORDS);
    m[e + STATE] = WAITING;
    m[e + ID] = id;
    m[e + KIND] = kind;
    m[e + IFACE] = key.iface;
    m[e + SRC] = key.src0;
    m[e + SRC + 1] = key.src1;
    m[e + SRC + 2] = key.src2;
    m[e + SRC + 3] = key.src3;
    m[e + DST] = key.dst0;
    m[e + DST + 1] = key.dst1;
    m[e + DST + 2] = key.dst2;
    m[e + DST + 3] = key.dst3;
    m[e + CAST] = key.cast;
    m[e + TOTAL] = -1;
    m[e + DEADLINE_MS] = now_ms + (key.version === 4 ? TIMEOUT_4_MS : TIMEOUT_6_MS);
    this.waiting++;
  }

  #matches(e: number, key: FragmentKey): boolean {
    const { m } = this;
    return (
      m[e + SRC] === key.src0 &&
      m[e + SRC + 3] === key.src3 &&
      m[e + SRC + 1] === key.src1 &&
      m[e + SRC + 2] === key.src2 &&
      m[e + DST] === key.dst0 &&
      m[e + DST + 3] === key.dst3 &&
      m[e + DST + 1] === key.dst1 &&
      m[e + DST + 2] === key.dst2 &&
      m[e + IFACE] === key.iface
    );
  }
}

/** An IPv4 address, or an IPv6 /64: whoever has one of its addresses has them all. */
function sameSource(m: Int32Array, e: number, key: FragmentKey): boolean {
  return m[e + SRC] === key.src0 && m[e + SRC + 1] === key.src1;
}
