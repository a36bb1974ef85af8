/** What sending may come to: positive done, zero later, negative refused; the codes are Node's. */
export const UDP_SENT = 1;
/** The next hop is being asked for, or no tx slot is free: `writable` tells when to try again. */
export const UDP_LATER = 0;
export const UDP_NO_ROUTE = -1;
/** Longer than a datagram can be, or than the path takes without fragments. */
export const UDP_TOO_LONG = -2;
/** To everybody, and `broadcast` isn't set. */
export const UDP_NO_LEAVE = -3;
/** The next hop doesn't answer. */
export const UDP_UNREACHABLE = -4;
/** Not connected and nowhere said, the other family, port 0. */
export const UDP_INVALID = -5;
/** The handle is stale. */
export const UDP_STALE = -6;
/** ICMP: nobody has the port there. */
export const UDP_REFUSED = -7;
/** ICMP: somebody on the way forbids it. */
export const UDP_PROHIBITED = -8;
/** The socket is bound to an address that is no longer ours. */
export const UDP_NO_ADDRESS = -9;
/** By negated code. */
export const UDP_CODES = [
  '',
  'ENETUNREACH',
  'EMSGSIZE',
  'EACCES',
  'EHOSTUNREACH',
  'EINVAL',
  'EBADF',
  'ECONNREFUSED',
  'EACCES',
  'EADDRNOTAVAIL',
] as const;
