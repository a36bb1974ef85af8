/**
 * The groups that an interface is a member of, and what it tells routers and snooping switches of them: as IGMPv3 and
 * MLDv2 hosts that want any source (RFC 3376, RFC 3810; the lightweight subset of RFC 5790), or in the words of
 * version 2 of IGMP and 1 of MLD while a querier of these is about. Nothing is said of 224.0.0.1 and ff02::1, of which
 * every node is.
 *
 * A change is told at once and once more within a second, since the first may be lost; a query is answered within the
 * time that it gives, for each group at a moment of its own.
 */

import { DESC_AT } from '../memory/ring.ts';
import { checksumFinish, fold, sumWords } from '../wire/checksum.ts';
import { ETHER_HEADER_BYTES, ETHERTYPE_IPV4, etherWrite } from '../wire/ethernet.ts';
import { ICMPV6_CHECKSUM } from '../wire/icmpv6.ts';
import {
  IGMP_BYTES_2,
  IGMP_CHECKSUM,
  IGMP_GROUP,
  IGMP_LEAVE_2,
  IGMP_MAX_RESPONSE,
  IGMP_QUERY,
  IGMP_QUERY_BYTES_3,
  IGMP_REPORT_2,
  igmpResponse_ms,
  igmpWrite,
  igmpWriteReport,
  RECORD_IS_EXCLUDE,
  RECORD_TO_EXCLUDE,
  RECORD_TO_INCLUDE,
} from '../wire/igmp.ts';
import { IPV4_CHECKSUM, IPV4_DF, IPV4_HEADER_BYTES, IPV4_VERSION_IHL, ipv4Write } from '../wire/ipv4.ts';
import { HEADER_HOP_BY_HOP, ipv6Load } from '../wire/ipv6.ts';
import {
  MLD_ALERT_BYTES,
  MLD_BYTES_1,
  MLD_DONE_1,
  MLD_GROUP,
  MLD_MAX_RESPONSE,
  MLD_QUERY_BYTES_2,
  MLD_REPORT_1,
  mldResponse_ms,
  mldWrite,
  mldWriteAlert,
  mldWriteReport,
} from '../wire/mld.ts';
import { PROTOCOL_ICMPV6, PROTOCOL_IGMP } from '../wire/protocols.ts';
import { castMacHigh, castMacLow } from './cast.ts';
import type { Interface } from './interface.ts';
import type { Ip } from './ip.ts';
import { ipTransmit, txCommit, txSlot } from './output.ts';
import { packetPseudoSum } from './packet.ts';

/** Memberships of one interface. */
const GROUPS_MAX = 256;
/** RFC 3376 8.1, 8.11: an unsolicited report is sent so often, the repetitions within so long. */
const ROBUSTNESS = 2;
const REPEAT_MS = 1000;
/** RFC 3376 8.12, RFC 3810 9.12, with the default intervals: how long an old querier is remembered. */
const OLD_QUERIER_MS = 260_000;
/** Router alert (RFC 2113), which IGMP needs (RFC 3376 4). */
const ALERT_4 = 0x9404_0000 | 0;
const ALERT_4_BYTES = 4;

/** IPv4's all hosts, all routers, and where reports of version 3 go. */
const ALL_ROUTERS_4 = 0xe000_0002 | 0;
const REPORTS_4 = 0xe000_0016 | 0;

export class Group {
  readonly version: 4 | 6;
  /** Words as in Packet. */
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
  readonly a3: number;
  /** Who wants it; 0: left, and only to be told. */
  members = 0;
  /** Reports of a change still to be sent. */
  changes = 0;
  change_ms = 0;
  /** A query is to be answered. */
  asked = false;
  answer_ms = 0;

  constructor(version: 4 | 6, a0: number, a1: number, a2: number, a3: number) {
    this.version = version;
    this.a0 = a0;
    this.a1 = a1;
    this.a2 = a2;
    this.a3 = a3;
  }
}

/**
 * One more that wants to hear a group; each call is undone by one of `groupLeave`.
 * @param told Whether routers are told now, or only when they ask.
 * @returns false when the interface has as many groups as it can
 */
export function groupJoin(
  ip: Ip,
  iface: Interface,
  version: 4 | 6,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
  told: boolean,
): boolean {
  let group = find(iface, version, a0, a1, a2, a3);
  if (group === undefined) {
    if (iface.groups.length === GROUPS_MAX) {
      iface.counters.groupsFull++;
      return false;
    }
    group = new Group(version, a0, a1, a2, a3);
    iface.groups.push(group);
  }
  if (group.members++ === 0 && told && isReported(group)) changed(ip, group);
  return true;
}

export function groupLeave(
  ip: Ip,
  iface: Interface,
  version: 4 | 6,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
  told: boolean,
): void {
  const group = find(iface, version, a0, a1, a2, a3);
  if (group === undefined || group.members === 0 || --group.members > 0) return;
  group.asked = false;
  if (told && isReported(group)) changed(ip, group);
  else iface.groups.splice(iface.groups.indexOf(group), 1);
}

/** Whether a packet to a group is for this interface. */
export function groupMember(
  iface: Interface,
  version: number,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
): boolean {
  const { groups } = iface;
  for (let i = 0; i < groups.length; i++) {
    const g = groups[i];
    if (g.a3 === a3 && g.a0 === a0 && g.a1 === a1 && g.a2 === a2 && g.version === version)
      return g.members > 0;
  }
  return false;
}

/** Sends what is due. @returns ms until something is, or -1 */
export function groupTimers(ip: Ip, iface: Interface): number {
  let next_ms = -1;
  const soon = (delay_ms: number): void => {
    if (next_ms < 0 || delay_ms < next_ms) next_ms = delay_ms;
  };
  const { now_ms } = ip;
  for (let i = 0; i < iface.groups.length; i++) {
    const group = iface.groups[i];
    if (group.changes > 0) {
      const left_ms = (group.change_ms - now_ms) | 0;
      if (left_ms > 0) soon(left_ms);
      else if (!report(ip, iface, group, group.members > 0 ? RECORD_TO_EXCLUDE : RECORD_TO_INCLUDE)) soon(1);
      else if (--group.changes > 0) {
        group.change_ms = now_ms + 1 + ip.random.below(REPEAT_MS);
        soon(group.change_ms - now_ms);
      } else if (group.members === 0) {
        iface.groups.splice(i--, 1);
        continue;
      }
    }
    if (group.asked) {
      const left_ms = (group.answer_ms - now_ms) | 0;
      if (left_ms > 0) soon(left_ms);
      else group.asked = !report(ip, iface, group, RECORD_IS_EXCLUDE);
    }
  }
  return next_ms;
}

/** An IGMP message has come in `ip.packet`. */
export function igmpInput(ip: Ip, iface: Interface): void {
  const { packet: p, view } = ip;
  if (p.l4Length < IGMP_BYTES_2 || fold(ip.arena.kernels.sum(p.l4At, p.l4Length)) !== 0xffff) {
    iface.counters.groupsBad++;
    return;
  }
  // What others report is for routers. RFC 3376 9.1: a query from afar is none.
  if (view.getUint8(p.l4At) !== IGMP_QUERY || p.ttl !== 1) {
    iface.counters.groupsIgnored++;
    return;
  }
  const code = view.getUint8(p.l4At + IGMP_MAX_RESPONSE);
  const old = p.l4Length < IGMP_QUERY_BYTES_3;
  if (old) iface.oldQuerier4_ms = until(ip);
  iface.counters.groupQueries++;
  // Version 1 has no code, and leaves ten seconds (RFC 2236 4).
  const response_ms = old ? (code === 0 ? 10_000 : code * 100) : igmpResponse_ms(code);
  answer(ip, iface, 4, view.getInt32(p.l4At + IGMP_GROUP, false), 0, 0, 0, response_ms);
}

/** An MLD query has come in `ip.packet`, its checksum good. */
export function mldQueryInput(ip: Ip, iface: Interface): void {
  const { packet: p, view, words } = ip;
  // RFC 3810 6.2.
  const linkLocal = p.src0 >>> 22 === 0x3fa;
  if (p.l4Length < MLD_BYTES_1 || p.ttl !== 1 || !linkLocal || !ip.chain.alert || p.l4At - p.at === 40) {
    iface.counters.groupsBad++;
    return;
  }
  const code = view.getUint16(p.l4At + MLD_MAX_RESPONSE, false);
  const old = p.l4Length < MLD_QUERY_BYTES_2;
  if (old) iface.oldQuerier6_ms = until(ip);
  iface.counters.groupQueries++;
  ipv6Load(view, p.l4At + MLD_GROUP, words, 0);
  answer(ip, iface, 6, words[0], words[1], words[2], words[3], old ? code : mldResponse_ms(code));
}

/** Answers a query about one group, or about all when its address is zero. */
function answer(
  ip: Ip,
  iface: Interface,
  version: 4 | 6,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
  response_ms: number,
): void {
  const all = (a0 | a1 | a2 | a3) === 0;
  for (const group of iface.groups) {
    if (group.version !== version || group.members === 0 || !isReported(group)) continue;
    if (!all && (group.a0 !== a0 || group.a1 !== a1 || group.a2 !== a2 || group.a3 !== a3)) continue;
    const delay_ms = ip.random.below(Math.max(1, response_ms));
    if (group.asked && ((group.answer_ms - ip.now_ms) | 0) <= delay_ms) continue;
    group.asked = true;
    group.answer_ms = (ip.now_ms + delay_ms) | 0;
    ip.armTimer(delay_ms);
  }
}

function until(ip: Ip): number {
  // 0 says that there was none.
  return (ip.now_ms + OLD_QUERIER_MS) | 0 || 1;
}

function changed(ip: Ip, group: Group): void {
  group.changes = ROBUSTNESS;
  group.change_ms = ip.now_ms;
  ip.armTimer(0);
}

function find(
  iface: Interface,
  version: number,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
): Group | undefined {
  return iface.groups.find(
    (g) => g.version === version && g.a0 === a0 && g.a1 === a1 && g.a2 === a2 && g.a3 === a3,
  );
}

/** RFC 3376 5, RFC 3810 6: nothing of all hosts and all nodes, nor of what doesn't leave the interface. */
function isReported(group: Group): boolean {
  if (group.version === 4) return group.a0 !== (0xe000_0001 | 0);
  const scope = (group.a0 >>> 16) & 15;
  return scope > 1 && !(group.a0 === (0xff02_0000 | 0) && (group.a1 | group.a2) === 0 && group.a3 === 1);
}

/** @returns false when no tx slot was free */
function report(ip: Ip, iface: Interface, group: Group, record: number): boolean {
  const full = iface.counters.txFull;
  if (group.version === 4) report4(ip, iface, group, record);
  else report6(ip, iface, group, record);
  if (iface.counters.txFull !== full) return false;
  iface.counters.groupReports++;
  return true;
}

function report4(ip: Ip, iface: Interface, group: Group, record: number): void {
  const slot = txSlot(iface);
  if (slot === 0) {
    iface.counters.txFull++;
    return;
  }
  const { view, controlAt } = ip;
  const left = record === RECORD_TO_INCLUDE;
  let dst = REPORTS_4;
  let length: number;
  if (oldQuerier(ip, iface.oldQuerier4_ms)) {
    dst = left ? ALL_ROUTERS_4 : group.a0;
    length = igmpWrite(view, controlAt, left ? IGMP_LEAVE_2 : IGMP_REPORT_2, group.a0);
  } else length = igmpWriteReport(view, controlAt, record, group.a0);
  const sum = ip.arena.kernels.sum(controlAt, length);
  view.setUint16(controlAt + IGMP_CHECKSUM, checksumFinish(sum), false);
  const at = iface.port.tx.m[slot + DESC_AT];
  const header = iface.ether ? at + ETHER_HEADER_BYTES : at;
  if (iface.ether)
    etherWrite(
      view,
      at,
      castMacHigh(4, dst),
      castMacLow(4, dst),
      iface.macHigh,
      iface.macLow,
      ETHERTYPE_IPV4,
    );
  // RFC 3376 4.2.13: from 0.0.0.0 while there is no address.
  const source = iface.v4.length > 0 ? iface.v4[0].address : 0;
  const total = IPV4_HEADER_BYTES + ALERT_4_BYTES + length;
  // Internetwork control (RFC 3376 4).
  ipv4Write(view, header, total, PROTOCOL_IGMP, source, dst, 0xc0, 1, 0, IPV4_DF);
  view.setUint8(header + IPV4_VERSION_IHL, 0x46);
  view.setInt32(header + IPV4_HEADER_BYTES, ALERT_4, false);
  view.setUint16(header + IPV4_CHECKSUM, 0, false);
  view.setUint16(header + IPV4_CHECKSUM, checksumFinish(sumWords(view, header, 6)), false);
  ip.arena.kernels.copy(header + IPV4_HEADER_BYTES + ALERT_4_BYTES, controlAt, length);
  txCommit(iface, slot, header - at + total, 0, 0);
}

function report6(ip: Ip, iface: Interface, group: Group, record: number): void {
  const { view, words, control: out, controlAt: at } = ip;
  const left = record === RECORD_TO_INCLUDE;
  const message = at + MLD_ALERT_BYTES;
  words[0] = group.a0;
  words[1] = group.a1;
  words[2] = group.a2;
  words[3] = group.a3;
  // ff02::16; of version 1 a report goes to the group, and a done to all routers.
  [out.dst0, out.dst1, out.dst2, out.dst3] = [0xff02_0000 | 0, 0, 0, 0x16];
  let length: number;
  if (oldQuerier(ip, iface.oldQuerier6_ms)) {
    if (left) out.dst3 = 2;
    else [out.dst0, out.dst1, out.dst2, out.dst3] = [group.a0, group.a1, group.a2, group.a3];
    length = mldWrite(view, message, left ? MLD_DONE_1 : MLD_REPORT_1, words, 0);
  } else length = mldWriteReport(view, message, record, words, 0);
  // RFC 3590: from nobody while there is no valid link-local address.
  const source = iface.v6.find((a) => a.a0 >>> 22 === 0x3fa);
  [out.src0, out.src1, out.src2, out.src3] =
    source === undefined ? [0, 0, 0, 0] : [source.a0, source.a1, source.a2, source.a3];
  out.version = 6;
  out.protocol = PROTOCOL_ICMPV6;
  out.ttl = 1;
  out.tos = 0;
  out.l4Length = length;
  const sum = packetPseudoSum(out) + ip.arena.kernels.sum(message, length);
  view.setUint16(message + ICMPV6_CHECKSUM, checksumFinish(sum), false);
  mldWriteAlert(view, at, PROTOCOL_ICMPV6);
  out.protocol = HEADER_HOP_BY_HOP;
  out.l4At = at;
  out.l4Length = MLD_ALERT_BYTES + length;
  ipTransmit(ip, iface, castMacHigh(6, out.dst3), castMacLow(6, out.dst3), out);
}

function oldQuerier(ip: Ip, until_ms: number): boolean {
  return until_ms !== 0 && ((until_ms - ip.now_ms) | 0) > 0;
}
