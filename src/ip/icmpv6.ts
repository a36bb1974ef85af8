/** ICMPv6 input (RFC 4443). */
import { fold } from '../wire/checksum.ts';
import {
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
  icmpv6Check,
  icmpv6Code,
  icmpv6IsError,
  icmpv6Mtu,
  icmpv6Type,
  UNREACHABLE6_PORT,
  UNREACHABLE6_PROHIBITED,
} from '../wire/icmpv6.ts';
import { MLD_DONE_1, MLD_QUERY, MLD_REPORT_1, MLD_REPORT_2 } from '../wire/mld.ts';
import { ndpIsType } from '../wire/ndp.ts';
import { echoInput, echoReplyInput } from './echo.ts';
import { mldQueryInput } from './groups.ts';
import { ERROR_HARD, ERROR_SOFT, ERROR_TOO_BIG, icmpErrorInput } from './icmp-error.ts';
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { ndpInput } from './ndp.ts';

/** Handles `ip.packet`. */
export function icmpv6Input(ip: Ip, iface: Interface): void {
  const { packet: p, view } = ip;
  const { counters } = iface;
  const bad = icmpv6Check(view, p.l4At, p.l4Length) < 0;
  if (
    bad ||
    (p.checksumGood === 0 && fold(p.pseudoSum + ip.arena.kernels.sum(p.l4At, p.l4Length)) !== 0xffff)
  ) {
    counters.icmpBad++;
    return;
  }
  const type = icmpv6Type(view, p.l4At);
  if (p.foreign !== 0 && !icmpv6IsError(type)) {
    counters.notForUs++;
    return;
  }
  if (ndpIsType(type)) {
    ndpInput(ip, iface);
    return;
  }
  // Only duplicate address detection may come from nobody (RFC 4291 2.5.2).
  if ((p.src0 | p.src1 | p.src2 | p.src3) === 0) {
    counters.badSource++;
    return;
  }
  switch (type) {
    case ICMPV6_ECHO_REQUEST:
      echoInput(ip, iface, ICMPV6_ECHO_REPLY);
      return;
    case ICMPV6_ECHO_REPLY:
      echoReplyInput(ip, iface);
      return;
    case ICMPV6_PACKET_TOO_BIG:
      icmpErrorInput(ip, iface, ERROR_TOO_BIG, icmpv6Mtu(view, p.l4At));
      return;
    case ICMPV6_UNREACHABLE: {
      const code = icmpv6Code(view, p.l4At);
      const hard = code === UNREACHABLE6_PROHIBITED || code === UNREACHABLE6_PORT;
      icmpErrorInput(ip, iface, hard ? ERROR_HARD : ERROR_SOFT, 0);
      return;
    }
    case ICMPV6_TIME_EXCEEDED:
    case ICMPV6_PARAMETER_PROBLEM:
      icmpErrorInput(ip, iface, ERROR_SOFT, 0);
      return;
    case MLD_QUERY:
      mldQueryInput(ip, iface);
      return;
    case MLD_REPORT_1:
    case MLD_DONE_1:
    case MLD_REPORT_2:
      counters.groupsIgnored++;
      return;
    default:
      counters.icmpIgnored++;
  }
}
