/** What UDP counted since the start. Names follow RFC 4113 and Linux's nstat where they have one. */
export class UdpCounters {
  datagramsIn = 0;
  datagramsOut = 0;
  bytesIn = 0;
  bytesOut = 0;
  /** Dropped on input: too short or lying lengths, bad checksum, none over IPv6 (RFC 8200 8.1). */
  badLength = 0;
  badChecksum = 0;
  noChecksum = 0;
  /** For no socket; answered with an ICMP error. */
  noPort = 0;
  /** Dropped at a paused socket's limit; for want of a chunk; for want of a place among a breath's events. */
  receiveBufferFull = 0;
  receiveNoMemory = 0;
  eventsFull = 0;
  /** Sends that the program was told to try again: next hop not known yet, or no tx slot. */
  sendLater = 0;
  /** Sends refused: no route, larger than may be, to everybody without leave, or a next hop that doesn't answer. */
  sendFailed = 0;
  /** ICMP errors that no socket has sent for, and those told to one. */
  icmpIgnored = 0;
  icmpTold = 0;
  pathMtuReduced = 0;
}
