/** ICMP errors about our segments (RFC 9293 3.9.2.2, RFC 5927): believed only when they quote what is in flight. */
import { ERROR_HARD, ERROR_TOO_BIG, type IcmpError } from '../ip/icmp-error.ts';
import { Packet } from '../ip/packet.ts';
import { pathMtuUpdate } from '../ip/path-mtu.ts';
import { FLAG, STATE, TCB } from './block.ts';
import { tcpDestroy } from './close.ts';
import { mssUpdate } from './handshake.ts';
import { LIST_CONTROL, listPush } from './lists.ts';
import { flowLookup, packetHash } from './lookup.ts';
import { CLOSED_REFUSED, CLOSED_UNREACHABLE } from './reasons.ts';
import { enterLoss } from './recovery.ts';
import type { Tcp } from './tcp.ts';

const PROTOCOL_TCP = 6;
/** What an old router's report without an MTU is taken for (RFC 1191 5 suggests a table; this is its usual hit). */
const MTU_UNTOLD = 576;

/** The quoted segment's connection, seen as if the peer had sent. */
const key = new Packet();

export function tcpIcmpError(tcp: Tcp, e: IcmpError): void {
  if (e.protocol !== PROTOCOL_TCP) return;
  const m = tcp.m;
  key.version = e.version;
  key.src0 = e.dst0;
  key.src1 = e.dst1;
  key.src2 = e.dst2;
  key.src3 = e.dst3;
  key.dst0 = e.src0;
  key.dst1 = e.src1;
  key.dst2 = e.src2;
  key.dst3 = e.src3;
  const ports = (e.dstPort << 16) | e.srcPort;
  const t = flowLookup(tcp, key, ports, packetHash(tcp, key, ports));
  // RFC 5927 4: SND.UNA =< SEG.SEQ < SND.NXT.
  if (
    t === 0 ||
    (m[t + TCB.FLAGS] & FLAG.MINI) !== 0 ||
    ((e.seq - m[t + TCB.SND_UNA]) | 0) < 0 ||
    ((e.seq - m[t + TCB.SND_NXT]) | 0) >= 0
  ) {
    tcp.counters.icmpIgnored++;
    return;
  }
  if (e.kind === ERROR_TOO_BIG) {
    packetTooBig(tcp, t, e);
    return;
  }
  // RFC 5927 6: hard errors end an attempt to connect; on a synchronized connection they are as soft as the others.
  if (e.kind === ERROR_HARD && m[t + TCB.STATE] === STATE.SYN_SENT) tcpDestroy(tcp, t, CLOSED_REFUSED);
  else m[t + TCB.SOFT_ERROR] = CLOSED_UNREACHABLE;
}

function packetTooBig(tcp: Tcp, t: number, e: IcmpError): void {
  const m = tcp.m;
  const mtu = e.mtu === 0 ? MTU_UNTOLD : e.mtu;
  if (mtu >= m[t + TCB.PMTU] || !pathMtuUpdate(tcp.ip, e.version, e.dst0, e.dst1, e.dst2, e.dst3, mtu))
    return;
  tcp.counters.pathMtuReduced++;
  m[t + TCB.PMTU] = mtu;
  mssUpdate(tcp, t);
  if (m[t + TCB.STATE] < STATE.ESTABLISHED) return;
  // What was too large is lost, and no congestion (RFC 1191 6.5): again, in smaller segments.
  enterLoss(tcp, t);
  listPush(m, tcp.lists[m[t + TCB.IFACE]], LIST_CONTROL, t);
}
