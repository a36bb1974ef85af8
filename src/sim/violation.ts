/** What a world may not do. */

export type Rule =
  // What programs see.
  | 'content'
  | 'order'
  | 'end'
  | 'closed'
  | 'accepted'
  // What goes over the wire.
  | 'ack-beyond-received'
  | 'ack-moves-back'
  | 'sack-of-nothing'
  | 'window-shrinks'
  | 'beyond-window'
  | 'beyond-mss'
  | 'beyond-mtu'
  | 'sequence'
  | 'handshake'
  | 'fin-moves'
  | 'after-reset'
  | 'timestamps'
  | 'checksum'
  | 'spurious-retransmission'
  | 'ecn'
  // What an engine holds.
  | 'no-timer'
  | 'no-window-update'
  | 'ack-overdue'
  | 'beyond-cwnd'
  | 'una-beyond-acked'
  | 'rtt'
  | 'leak'
  | 'assertion'
  // How it goes on.
  | 'no-end'
  | 'livelock';

/** A rule was broken. Thrown through whatever runs: a world is over then. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly rule: Rule;
  /** Whose, as `host local port > remote port`; '' when it is the whole world's. */
  readonly connection: string;

  constructor(rule: Rule, connection: string, message: string) {
    super(message);
    this.rule = rule;
    this.connection = connection;
  }
}
