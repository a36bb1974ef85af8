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

/** All optional; what is missing does nothing (and missing `data` discards). */
export interface Handlers {
  /** Established: accepted by a listener, or our connect() succeeded. */
  open?(conn: Conn): void;
  /**
   * Bytes arrived: `engine.arena.u8[at, at + length)`, in order, in place; valid only until return.
   * @returns how many were consumed, from the first; a negative number counts as none. The engine queues the rest, which closes the receive
   *   window as it grows, and calls again only after `engine.resume(conn)`.
   */
  data?(conn: Conn, at: number, length: number): number;
  /** The peer sent FIN and all before it was consumed. Sending is still possible. */
  end?(conn: Conn): void;
  /**
   * The peer says that the next `ahead` bytes, which are ordinary ones of the stream, are urgent; again whenever it
   * means more. `engine.urgentLeft(conn)` tells how many are left.
   */
  urgent?(conn: Conn, ahead: number): void;
  /** After a send() or write() that took less than offered: there is room again. */
  writable?(conn: Conn): void;
  /** Everything sent so far is acknowledged. Only after `engine.notifyDrained(conn)`, once for each call. */
  drained?(conn: Conn): void;
  /**
   * Nothing gets through just now, though the connection goes on (RFC 9293 3.8.3's R1, 3.9.1's ERROR-REPORT): data or
   * SYN was sent again three times, or ICMP says why not.
   * @param reason What `close` would be told if it stays like this, one of CLOSED_*.
   */
  report?(conn: Conn, reason: number): void;
  /** Gone; the last call for this handle. @param reason one of CLOSED_* in tcp/reasons.ts */
  close?(conn: Conn, reason: number): void;
}
