/** What an interface counts: each packet it drops, by reason, and what its control protocols did. */
export class InterfaceCounters {
  // ── Input, dropped ──
  /** Shorter than its headers, or than its length field says. */
  truncated = 0;
  badVersion = 0;
  /** IHL below 5, a total length below the header's, malformed IPv4 options. */
  badHeader = 0;
  badChecksum = 0;
  /** A source that can't be one: multicast, broadcast, unspecified, loopback, IPv4-mapped. */
  badSource = 0;
  /** To another hardware or IP address than ours, or to a group we are not in. */
  notForUs = 0;
  /** To our unicast IP address in a link-layer broadcast or multicast (RFC 1122 3.3.6). */
  linkBroadcast = 0;
  /** TCP to a broadcast or multicast address (RFC 9293 3.9.2.3). */
  castTcp = 0;
  /** IPv4 source routes (RFC 7126 4.3) and IPv6 routing headers with segments left (RFC 5095). */
  sourceRoutes = 0;
  /** IPv6 extension headers that are malformed, misplaced, too many, too long, or that say to drop. */
  extensionHeaders = 0;
  unknownEtherType = 0;
  /** Neither TCP, UDP nor ICMP; answered with an ICMP error. */
  unknownProtocol = 0;

  /** Whatever came while the link was down. */
  linkDown = 0;

  // ── Fragments ──
  /** Received for us. */
  fragments = 0;
  /** Datagrams put together again. */
  reassembled = 0;
  /** Lengths that no fragment has, or ECN codepoints that don't go together (RFC 3168 5.3). */
  fragmentsBad = 0;
  /** First fragments without all headers (RFC 7112). */
  fragmentsHeaderless = 0;
  fragmentsDuplicate = 0;
  /** Fragments of datagrams with an overlap, all of which are dropped (RFC 5722). */
  fragmentsOverlapping = 0;
  /** Of datagrams in more pieces than anybody makes. */
  fragmentsExcess = 0;
  /** Datagrams that stayed incomplete; that had to go for newer ones. */
  reassemblyTimeouts = 0;
  reassemblyEvicted = 0;
  /** Fragments for which there was no buffer: this breath's datagrams held all. */
  reassemblyFull = 0;
  /** Sent. */
  fragmentsOut = 0;

  // ── ARP, neighbour discovery ──
  arpBad = 0;
  arpRequests = 0;
  arpReplies = 0;
  ndpBad = 0;
  ndpSolicitations = 0;
  ndpAdvertisements = 0;
  /** What is for routers; routers' advertisements where nothing is autoconfigured; neighbour discovery on a link without. */
  ndpIgnored = 0;
  routerSolicits = 0;
  routerAdverts = 0;
  /** Routers, prefixes and addresses that were one too many. */
  autoconfFull = 0;
  /** ICMP and ICMPv6 redirects. Only where an interface is autoconfigured are some followed: they are an attacker's tool. */
  redirects = 0;
  redirectsFollowed = 0;
  /** Addresses that were to be ours, and are somebody's already (RFC 4862 5.4, RFC 5227 2.1). */
  duplicateAddresses = 0;
  /** Somebody else claims an address of ours (RFC 5227 2.4). */
  addressConflicts = 0;
  /** Answers to a question that was not asked. */
  neighbourUnsolicited = 0;
  /** Another hardware address claimed by a neighbour that we know; the known one is asked, not replaced. */
  neighbourConflicts = 0;
  /** No entry was free or could be evicted. */
  neighbourFull = 0;
  neighbourEvicted = 0;
  /** Gave no answer to three solicitations. */
  neighbourFailed = 0;

  // ── ICMP ──
  /** Truncated, or a wrong checksum. */
  icmpBad = 0;
  icmpEchoRequests = 0;
  icmpEchoReplies = 0;
  /** Types that are not acted on. */
  icmpIgnored = 0;
  icmpErrorsIn = 0;
  /** Errors whose quotation is no TCP or UDP packet that we could have sent. */
  icmpErrorsBad = 0;
  icmpErrorsOut = 0;
  icmpErrorsLimited = 0;

  // ── Groups ──
  /** IGMP and MLD that is malformed, or from where it can't come. */
  groupsBad = 0;
  /** What is for routers, or from afar. */
  groupsIgnored = 0;
  groupQueries = 0;
  groupReports = 0;
  /** Memberships refused at the limit. */
  groupsFull = 0;

  // ── Output, dropped ──
  /** No tx slot was free. */
  txFull = 0;
  /** Larger than the MTU or the port's buffers. */
  txTooBig = 0;
  /** The next hop's hardware address is not known yet, or it does not answer. */
  txUnresolved = 0;
}

/** What no interface can be charged with. */
export class IpCounters {
  noRoute = 0;
  /** Destinations that are addresses of our own: a stack does not talk to itself. */
  toSelf = 0;
  /** Multicast, broadcast, loopback and unspecified destinations. */
  notUnicast = 0;
  pathMtuLearnt = 0;
  /** Below the floor, or no reduction. */
  pathMtuRefused = 0;
  pathMtuEvicted = 0;
}
