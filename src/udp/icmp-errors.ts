/** ICMP errors about our datagrams (RFC 1122 4.1.3.3, RFC 8085 5.2): told to the socket that sent, if it is connected. */
import { ERROR_HARD, ERROR_TOO_BIG, type IcmpError, icmpErrorEnds } from '../ip/icmp-error.ts';
import { Packet } from '../ip/packet.ts';
import { pathMtuUpdate } from '../ip/path-mtu.ts';
import { UNREACHABLE6_PROHIBITED } from '../wire/icmpv6.ts';
import { PROTOCOL_UDP } from '../wire/protocols.ts';
import { UDP_ERROR } from './events.ts';
import { udpLookup } from './input.ts';
import { UDP_PROHIBITED, UDP_REFUSED } from './reasons.ts';
import type { UdpSocket } from './socket.ts';
import type { Udp } from './udp.ts';

/** The quoted datagram's socket is found as if the peer had sent. */
const key = new Packet();

export function udpIcmpError(udp: Udp, e: IcmpError): void {
  if (e.protocol !== PROTOCOL_UDP) return;
  icmpErrorEnds(key, e);
  const ports = (e.dstPort << 16) | e.srcPort;
  const s = udpLookup(udp.byPort.get(e.srcPort) ?? null, key, ports);
  // Nothing of what is quoted proves more than that the socket sends there.
  if (s === null || !(s.remote !== null || sentThere(s, e))) {
    udp.counters.icmpIgnored++;
    return;
  }
  if (e.kind === ERROR_TOO_BIG) {
    // A router older than RFC 1191 names no MTU; its packets are as large as any must be.
    const mtu = e.mtu === 0 ? 576 : e.mtu;
    if (pathMtuUpdate(udp.ip, e.version, e.dst0, e.dst1, e.dst2, e.dst3, mtu)) udp.counters.pathMtuReduced++;
    return;
  }
  if (e.kind !== ERROR_HARD || s.remote === null) {
    udp.counters.icmpIgnored++;
    return;
  }
  const code = e.version === 6 && e.code === UNREACHABLE6_PROHIBITED ? UDP_PROHIBITED : UDP_REFUSED;
  if (udp.events.push(s, UDP_ERROR, code, 0) < 0) udp.counters.eventsFull++;
  else udp.counters.icmpTold++;
}

function sentThere(s: UdpSocket, e: IcmpError): boolean {
  const { last } = s;
  return (
    s.lastVersion === e.version &&
    s.lastPort === e.dstPort &&
    last[0] === e.dst0 &&
    last[1] === e.dst1 &&
    last[2] === e.dst2 &&
    last[3] === e.dst3
  );
}
