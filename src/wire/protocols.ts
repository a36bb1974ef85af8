/** IANA's numbers for what an IP header carries. */
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_IGMP = 2;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;
