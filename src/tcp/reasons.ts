/** Why a connection ended: 0 is an orderly close of both directions, the others name Node's error codes. */
export const CLOSED_CLEAN = 0;
/** The peer sent RST. */
export const CLOSED_RESET = 1;
/** RST in answer to our SYN. */
export const CLOSED_REFUSED = 2;
/** No answer for the user timeout, or keep-alive gave up. */
export const CLOSED_TIMEOUT = 3;
/** The next hop doesn't answer, or ICMP said so. */
export const CLOSED_UNREACHABLE = 4;
/** Our own abort(), or a handler threw. */
export const CLOSED_ABORTED = 5;
/** ICMP said that there is no way to the peer's network. */
export const CLOSED_NET_UNREACHABLE = 6;
/** ICMP said that our packets are wrong. */
export const CLOSED_PROTOCOL = 7;
/** Its local address is no longer ours. */
export const CLOSED_NO_ADDRESS = 8;
/** By reason. */
export const CLOSED_CODES = [
  '',
  'ECONNRESET',
  'ECONNREFUSED',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ECONNABORTED',
  'ENETUNREACH',
  'EPROTO',
  'EADDRNOTAVAIL',
] as const;
