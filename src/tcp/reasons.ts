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
/** Its local address is no longer ours. */
export const CLOSED_NO_ADDRESS = 6;
/** By reason. */
export const CLOSED_CODES = [
  '',
  'ECONNRESET',
  'ECONNREFUSED',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ECONNABORTED',
  'EADDRNOTAVAIL',
] as const;
