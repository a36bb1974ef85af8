/**
 * The batch API: what a program gives an engine to be told of its connections. Handlers run in the engine's
 * breath, after the whole rx batch went through TCP and before output, so that what they send goes out in the
 * same pass, with the ACK on it.
 */

/**
 * A connection's handle: a small integer, good until its `close` handler has returned. It carries a
 * generation, so a stale one is refused (counted in `staleHandles`), never mistaken for a later connection.
 */
export type Conn = number;

/** Why a connection ended: 0 is an orderly close of both directions, others name Node's error code. */
export const CLOSED_CLEAN = 0;
export const CLOSED_RESET = 1; // ECONNRESET: the peer sent RST
export const CLOSED_REFUSED = 2; // ECONNREFUSED: RST in answer to our SYN
export const CLOSED_TIMEOUT = 3; // ETIMEDOUT: no answer for the user timeout, or keep-alive gave up
export const CLOSED_UNREACHABLE = 4; // EHOSTUNREACH: the next hop doesn't answer, or ICMP said so
export const CLOSED_ABORTED = 5; // ECONNABORTED: our own abort(), or a handler threw
export const CLOSED_CODES = ['', 'ECONNRESET', 'ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNABORTED'] as const;

/** All optional; what is missing does nothing (and missing `data` discards). */
export interface Handlers {
  /** Established: accepted by a listener, or our connect() succeeded. */
  open?(conn: Conn): void;
  /**
   * Bytes arrived: `engine.arena.u8[at, at + length)`, in order, in place; valid only until return.
   * @returns how many were consumed, from the first. The engine queues the rest, which closes the receive
   *   window as it grows, and calls again only after `engine.resume(conn)`.
   */
  data?(conn: Conn, at: number, length: number): number;
  /** The peer sent FIN and all before it was consumed. Sending is still possible. */
  end?(conn: Conn): void;
  /** After a send() or write() that took less than offered: there is room again. */
  writable?(conn: Conn): void;
  /** Everything sent so far is acknowledged. Only after `engine.notifyDrained(conn)`, once for each call. */
  drained?(conn: Conn): void;
  /** Gone; the last call for this handle. @param reason one of CLOSED_* */
  close?(conn: Conn, reason: number): void;
}
