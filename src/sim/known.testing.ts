/**
 * Violations of which the cause is known and not yet removed, by their messages: a seed that meets one is over there, and
 * counts as passed. An entry goes with the defect.
 */
const KNOWN: readonly RegExp[] = [
  // Records that merged; the SYN-ACK of a Fast Open, measured by what was sent after it.
  /RTT (of|went from)/,
  // BBR's rate falls to a few bytes a second.
  /so that the pace is kept/,
  // A simultaneous open of classic and accurate ECN takes the peer's SYN-ACK for a mark.
  /a window was reduced, and nothing was marked/,
];

export function isKnown(message: string): boolean {
  return KNOWN.some((known) => known.test(message));
}
