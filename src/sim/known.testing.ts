/**
 * Violations of which the cause is known and not yet removed, by their messages: a seed that meets one is over there, and
 * counts as passed. An entry goes with the defect.
 */
const KNOWN: readonly RegExp[] = [
  // A paced connection waits for a time that lies half an hour ahead, or for PRR's window of a moment.
  /so that the pace is kept/,
  // A SYN brought more data than the receive buffer takes: a negative window spoils the SYN-ACK.
  /a wrong TCP checksum: \[SFRPUWEe\.\]/,
  /the right edge moves left by 6\d{4} B/,
  // An old segment with a new ACK leaves SND.WND as it was, and so moves the right edge.
  /B beyond the peer's window/,
  // ACKs from beyond a window that is shut; records that merged; the SYN-ACK of a Fast Open.
  /RTT (of|went from)/,
  // A simultaneous open of classic and accurate ECN takes the peer's SYN-ACK for a mark.
  /windows were reduced, and nothing was marked/,
];

export function isKnown(message: string): boolean {
  return KNOWN.some((known) => known.test(message));
}
