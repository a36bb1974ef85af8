/** ICMP input for IPv4 (RFC 792, RFC 1122 3.2.2). */
import { fold } from '../wire/checksum.ts';
import {
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  icmpCheck,
  icmpCode,
  icmpIsError,
  icmpMtu,
  icmpType,
  UNREACHABLE_FRAGMENTATION_NEEDED,
  UNREACHABLE_PORT,
  UNREACHABLE_PROTOCOL,
} from '../wire/icmp.ts';
import { echoInput, echoReplyInput } from './echo.ts';
import { ERROR_HARD, ERROR_SOFT, ERROR_TOO_BIG, icmpErrorInput } from './icmp-error.ts';
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';

/** Handles `ip.packet`. */
export function icmpInput(ip: Ip, iface: Interface): void {
  const { packet: p, view } = ip;
  const { counters } = iface;
  const bad = icmpCheck(view, p.l4At, p.l4Length) < 0;
  if (bad || (p.checksumGood === 0 && fold(ip.arena.kernels.sum(p.l4At, p.l4Length)) !== 0xffff)) {
    counters.icmpBad++;
    return;
  }
  const type = icmpType(view, p.l4At);
  if (p.foreign !== 0 && !icmpIsError(type)) {
    counters.notForUs++;
    return;
  }
  switch (type) {
    case ICMP_ECHO_REQUEST:
      echoInput(ip, iface, ICMP_ECHO_REPLY);
      return;
    case ICMP_ECHO_REPLY:
      echoReplyInput(ip, iface);
      return;
    case ICMP_UNREACHABLE: {
      const code = icmpCode(view, p.l4At);
      if (code === UNREACHABLE_FRAGMENTATION_NEEDED) {
        icmpErrorInput(ip, iface, ERROR_TOO_BIG, icmpMtu(view, p.l4At));
      } else {
        const hard = code === UNREACHABLE_PROTOCOL || code === UNREACHABLE_PORT;
        icmpErrorInput(ip, iface, hard ? ERROR_HARD : ERROR_SOFT, 0);
      }
      return;
    }
    case ICMP_TIME_EXCEEDED:
    case ICMP_PARAMETER_PROBLEM:
      icmpErrorInput(ip, iface, ERROR_SOFT, 0);
      return;
    case ICMP_REDIRECT:
      counters.redirects++;
      return;
    default: // Source quench among them: RFC 9293 3.9.2.2, MUST-55.
      counters.icmpIgnored++;
  }
}
