/** What one ACK told of the data that is outstanding: one object, filled while the ACK is handled. */
export class AckNews {
  /** SND.UNA, and what was in flight, before. */
  una = 0;
  inFlight = 0;
  /** Bytes that arrived, by this ACK's word: newly acknowledged (and not SACKed before), newly SACKed. */
  acked = 0;
  sacked = 0;
  /** Of these, bytes sent once, before the last timeout or recovery began (for F-RTO). */
  original = 0;
  /** Some that was sent once arrived behind data sent later (RFC 8985 6.2, step 3). */
  reordered = false;
  /** The furthest that any of it was overtaken, bytes. */
  overtaken = 0;
  /** Where the highest that arrived ends; SND.UNA's old place if nothing did. */
  highest = 0;
  /** RTT of the oldest acknowledged and of the newest delivered part that was sent once, us; -1: none. */
  rttOldest = -1;
  rttNewest = -1;
  /** RFC 8985's rtt of the newest part that counts for RACK, us; -1: none. */
  rackRtt = -1;
  /** Some that was sent again is acknowledged with an echo from before that: an earlier sending of it arrived (RFC 3522). */
  early = false;
  /** TSecr, and whether there is one. */
  echo = 0;
  hasEcho = false;
  /** A D-SACK block (RFC 2883) was there; it reported our last probe. */
  dsack = false;
  dsackProbe = false;
  /** The record that the rate sample is of (draft-ietf-ccwg-bbr 4.1.2.3): where it ended, when it was sent; none if 0. */
  rated = false;
  ratedEnd = 0;
  ratedSent = 0;
  priorDelivered = 0;
  sendElapsed = 0;
  ackElapsed = 0;
  txInFlight = 0;
  lostThen = 0;
  appLimited = false;
}
