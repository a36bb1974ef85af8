/** What TCP counted since the start. Names follow RFC 4022 and Linux's nstat where they have one. */
export class TcpCounters {
  segmentsIn = 0;
  segmentsOut = 0;
  /** Segments with payload, both directions' bytes. */
  bytesIn = 0;
  bytesOut = 0;
  retransmits = 0;
  activeOpens = 0;
  passiveOpens = 0;
  /** Dropped on input: too short or lying lengths, bad checksum, malformed options, LAND (source = destination). */
  badHeader = 0;
  badChecksum = 0;
  badOptions = 0;
  /** Timestamps were agreed and the segment has none (RFC 7323 3.2). */
  missingTimestamp = 0;
  land = 0;
  /** SYN with FIN, where the option says that they are dropped. */
  synFinDropped = 0;
  /** Segments for no connection and no listener. */
  noConnection = 0;
  /** Neither SYN nor ACK, for a listener (RFC 9293 3.10.7.2). */
  listenIgnored = 0;
  resetsIn = 0;
  resetsOut = 0;
  /** Outside the window; PAWS (RFC 7323 5.3). */
  outOfWindow = 0;
  paws = 0;
  /** ACKs in answer to unacceptable segments (RFC 5961's challenge ACKs among them), and those held back. */
  challengeAcks = 0;
  challengeAcksLimited = 0;
  /** ACK of what was never sent, or older than any window. */
  badAck = 0;
  outOfOrder = 0;
  duplicate = 0;
  /** In-window data dropped for want of a chunk; out-of-order data dropped at its limit. */
  receiveNoMemory = 0;
  outOfOrderDropped = 0;
  /** Out-of-order data given up again for want of chunks, and how often it had been SACKed (RFC 2018 8). */
  outOfOrderPruned = 0;
  sackReneged = 0;
  /** send() that took less than the connection's buffer has room for. */
  sendNoMemory = 0;
  /** Memory became short (chunks past one half in use), and very short (past three quarters); see memory.ts. */
  memoryPressures = 0;
  memoryHighs = 0;
  /** Windows not moved as far as the buffer has room, not grown as far as consumed, shrunk since silent. */
  windowsHeld = 0;
  windowsNotGrown = 0;
  windowsReclaimed = 0;
  /** SYNs dropped: listen backlog full, no mini block, flow table full, no control block on the final ACK. */
  backlogFull = 0;
  miniExhausted = 0;
  tableFull = 0;
  blocksExhausted = 0;
  /** SYNs answered by a cookie; ACKs that brought one back, and those that only looked like it. */
  cookiesSent = 0;
  cookiesAccepted = 0;
  cookiesFailed = 0;
  /** Connections refused, and SYNs not taken, at a source's limits. */
  sourceConnectionsLimited = 0;
  sourceHalfOpenLimited = 0;
  /** Fast Open: connections that a cookie opened, cookies that weren't ours, and those over the limit of pending ones. */
  fastOpenPassive = 0;
  fastOpenCookiesFailed = 0;
  fastOpenLimited = 0;
  /** Fast Open: our SYNs with data, those whose data was taken, attempts that failed, and paths not tried therefore. */
  fastOpenActive = 0;
  fastOpenAcked = 0;
  fastOpenFailed = 0;
  fastOpenAvoided = 0;
  /** Destinations forgotten to remember others. */
  fastOpenEvicted = 0;
  /** TIME-WAIT left for a new connection: at the peer's SYN, and for a connect() of ours. */
  timeWaitReused = 0;
  timeWaitRecycled = 0;
  timeWaitEvicted = 0;
  retransmissionTimeouts = 0;
  fastRecoveries = 0;
  /** HyStart++: slow starts that saw delay, and those that it ended; windows halved for want of use (RFC 7661). */
  hystartDelays = 0;
  hystartExits = 0;
  windowDecays = 0;
  /** Transmissions that RACK found lost; segments that two early duplicate ACKs let out (RFC 3042). */
  rackLosses = 0;
  limitedTransmits = 0;
  /** Probes of the tail, and those that repaired a loss (RFC 8985 7). */
  tlpProbes = 0;
  tlpRecoveries = 0;
  /** Reductions of the window undone, and those of them that F-RTO (RFC 5682) found to be spurious timeouts. */
  undos = 0;
  frtoSpurious = 0;
  /** Connections on whose path order was found not to be kept; D-SACKs believed; peers that dropped what they SACKed. */
  reorderingSeen = 0;
  duplicatesReported = 0;
  sackReneges = 0;
  persistProbes = 0;
  keepAliveProbes = 0;
  delayedAcks = 0;
  userTimeouts = 0;
  /** Closed connections reset at the end of their linger time; half-closed ones that were silent too long. */
  lingerTimeouts = 0;
  halfCloseTimeouts = 0;
  /** Replies (RST, TIME-WAIT ACK) not sent: no tx slot or next hop unknown. */
  repliesDropped = 0;
  /** Segments with an urgent pointer. */
  urgent = 0;
  /** No transmission record was left: what is known of what is outstanding got less precise. */
  recordsExhausted = 0;
  icmpIgnored = 0;
  pathMtuReduced = 0;
  /** Probes of larger MTUs: sent, arrived, lost; and falls to a small MTU since full segments vanished. */
  mtuProbes = 0;
  mtuProbesAcked = 0;
  mtuProbesLost = 0;
  mtuBlackHoles = 0;
  /** Connections that agreed on ECN feedback, of either kind; those whose path was found to rewrite IP-ECN fields. */
  ecnClassic = 0;
  ecnAccurate = 0;
  ecnMangled = 0;
  /** Windows reduced because of marks. */
  ecnReductions = 0;
}
