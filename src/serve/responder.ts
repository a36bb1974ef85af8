/**
 * A minimal HTTP/1.1 responder on the handlers API, for load tools: `GET /N` is answered with N bytes. It knows
 * keep-alive, `Connection: close`, pipelining and requests in pieces, and nothing else of HTTP.
 */
import type { Engine } from '../engine/engine.ts';
import type { Conn, Handlers } from '../engine/handlers.ts';

export const BODY_BYTES_MAX = 16 << 20;
/** A request that is longer isn't one that we answer. */
const REQUEST_BYTES_MAX = 8192;
/** The body is this many bytes over and over. */
const PATTERN_BYTES = 65_536;

const LF = 10;
const CR = 13;
const SPACE = 32;
const SLASH = 47;
const ZERO = 48;

/** What a connection is at; one for each that is open, reused. */
class Exchange {
  /** Body bytes still to be sent. */
  left = 0;
  /** The connection ends after this response. */
  closes = false;
  /** The beginning of a request whose end has not come. */
  partial: Uint8Array | null = null;

  reset(): void {
    this.left = 0;
    this.closes = false;
    this.partial = null;
  }
}

export function responder(engine: Engine): Handlers {
  const { u8 } = engine.arena;
  const pattern = engine.arena.carve('responder body', PATTERN_BYTES);
  for (let i = 0; i < PATTERN_BYTES; i++) u8[pattern + i] = 97 + (i % 26);
  const encoder = new TextEncoder();
  const exchanges: Exchange[] = [];
  /** Response heads by body length and whether the connection closes; load tools ask for few. */
  const heads = new Map<number, Uint8Array>();

  function head(bytes: number, closes: boolean): Uint8Array {
    const key = bytes * 2 + (closes ? 1 : 0);
    let known = heads.get(key);
    if (known === undefined) {
      const connection = closes ? 'Connection: close\r\n' : '';
      known = encoder.encode(
        `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${bytes}\r\n${connection}\r\n`,
      );
      if (heads.size < 1024) heads.set(key, known);
    }
    return known;
  }

  function refuse(conn: Conn, x: Exchange, status: string): void {
    engine.write(
      conn,
      encoder.encode(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`),
    );
    x.left = 0;
    x.closes = true;
    engine.shutdown(conn);
  }

  /** Sends on with the body. @returns true when all of it is queued. */
  function send(conn: Conn, x: Exchange): boolean {
    while (x.left > 0) {
      // The pattern repeats, so where a piece starts doesn't matter for its length.
      const piece = x.left < PATTERN_BYTES ? x.left : PATTERN_BYTES;
      const taken = engine.send(conn, pattern, piece);
      if (taken < 0) return false;
      x.left -= taken;
      if (taken < piece) return false;
    }
    if (x.closes) engine.shutdown(conn);
    return true;
  }

  /** Answers the request in `bytes[at, end)`. @returns false when no further request may be taken for now. */
  function answer(conn: Conn, x: Exchange, bytes: Uint8Array, at: number, end: number): boolean {
    const n = requestedBytes(bytes, at, end);
    if (n < 0) {
      refuse(conn, x, n === -1 ? '400 Bad Request' : '404 Not Found');
      return false;
    }
    x.closes = wantsClose(bytes, at, end);
    x.left = n;
    const first = head(n, x.closes);
    // Heads are small and the queue was empty or shrinking: one that doesn't fit means that the engine is out of memory.
    if (engine.write(conn, first) !== first.length) {
      engine.abort(conn);
      return false;
    }
    return send(conn, x) && !x.closes;
  }

  return {
    open(conn) {
      const slot = engine.slot(conn);
      const x = exchanges[slot];
      if (x === undefined) exchanges[slot] = new Exchange();
      else x.reset();
    },

    data(conn, at, length) {
      const x = exchanges[engine.slot(conn)];
      if (x.closes) return length;
      if (x.left > 0) return 0;
      let bytes = u8;
      let from = at;
      let end = at + length;
      let carried = 0;
      if (x.partial !== null) {
        carried = x.partial.length;
        bytes = join(x.partial, u8, at, length);
        from = 0;
        end = bytes.length;
        x.partial = null;
      }
      while (from < end) {
        const stop = requestEnd(bytes, from, end);
        if (stop < 0) {
          if (end - from > REQUEST_BYTES_MAX) refuse(conn, x, '431 Request Header Fields Too Large');
          else x.partial = bytes.slice(from, end);
          return length;
        }
        const more = answer(conn, x, bytes, from, stop);
        from = stop;
        if (!more) break;
      }
      if (x.closes) return length;
      // What is left waits in the engine until this response is out.
      return from - (bytes === u8 ? at : carried);
    },

    writable(conn) {
      const x = exchanges[engine.slot(conn)];
      if (send(conn, x) && !x.closes) engine.resume(conn);
    },

    end(conn) {
      engine.shutdown(conn);
    },
  };
}

/** Index just past the empty line that ends a request, or -1. */
function requestEnd(bytes: Uint8Array, from: number, end: number): number {
  for (let i = from + 3; i < end; i++) {
    if (bytes[i] === LF && bytes[i - 1] === CR && bytes[i - 2] === LF && bytes[i - 3] === CR) return i + 1;
  }
  return -1;
}

/** N of `METHOD /N HTTP`; -1: no such line, -2: no number, or too large. */
function requestedBytes(bytes: Uint8Array, from: number, end: number): number {
  let i = from;
  while (i < end && bytes[i] !== SPACE) i++;
  if (i + 1 >= end || bytes[i + 1] !== SLASH) return -1;
  i += 2;
  let n = 0;
  const first = i;
  while (i < end && bytes[i] >= ZERO && bytes[i] <= ZERO + 9) {
    n = n * 10 + bytes[i] - ZERO;
    if (n > BODY_BYTES_MAX) return -2;
    i++;
  }
  return bytes[i] === SPACE && (i > first || n === 0) ? n : -2;
}

/** Whether a `Connection: close` line is there, or HTTP/1.0 without keep-alive. */
function wantsClose(bytes: Uint8Array, from: number, end: number): boolean {
  let close: boolean | null = null;
  let line = from;
  for (let i = from; i < end; i++) {
    if (bytes[i] !== LF) continue;
    // "connection:" is told by its first letter, its length and its colon.
    if (line > from && (bytes[line] | 0x20) === 99 && bytes[line + 10] === 58)
      close = mentionsClose(bytes, line + 11, i);
    line = i + 1;
  }
  if (close !== null) return close;
  return firstLineIsOld(bytes, from, end);
}

function mentionsClose(bytes: Uint8Array, from: number, end: number): boolean {
  for (let i = from; i + 4 < end; i++) {
    if ((bytes[i] | 0x20) === 99 && (bytes[i + 1] | 0x20) === 108 && (bytes[i + 4] | 0x20) === 101)
      return true;
  }
  return false;
}

/** "HTTP/1.0" at the end of the request line. */
function firstLineIsOld(bytes: Uint8Array, from: number, end: number): boolean {
  for (let i = from; i < end; i++) if (bytes[i] === CR) return bytes[i - 1] === ZERO && bytes[i - 2] === 46;
  return false;
}

function join(first: Uint8Array, u8: Uint8Array, at: number, length: number): Uint8Array {
  const all = new Uint8Array(first.length + length);
  all.set(first);
  all.set(u8.subarray(at, at + length), first.length);
  return all;
}
