/**
 * Multicast listener discovery: what IPv6 hosts and routers say about group membership (RFC 2710, RFC 3810 5). Its
 * messages are ICMPv6's.
 */
import { ipv6Store } from './ipv6.ts';

export const MLD_QUERY = 130;
export const MLD_REPORT_1 = 131;
export const MLD_DONE_1 = 132;
export const MLD_REPORT_2 = 143;

/** Of a query: how long it leaves for answers; ms in version 1, a code in version 2. */
export const MLD_MAX_RESPONSE = 4;
export const MLD_GROUP = 8;
/** A query of version 1, a report of it, a done. */
export const MLD_BYTES_1 = 24;
/** A query of version 2 is as long or longer; so is a report with one record. */
export const MLD_QUERY_BYTES_2 = 28;
export const MLD_REPORT_BYTES_2 = 28;

/** Hop-by-hop options with a router alert for MLD, and padding (RFC 2711, RFC 3810 5): after the next header. */
export const MLD_ALERT_BYTES = 8;

/** Writes the hop-by-hop options header that every message of MLD has before it. */
export function mldWriteAlert(view: DataView, at: number, nextHeader: number): void {
  view.setInt32(at, (nextHeader << 24) | 0x0502, false);
  view.setInt32(at + 4, 0x0000_0100, false);
}

/** Writes a report or done of version 1 but for the checksum. @param words Holds the group at `group`. @returns its length */
export function mldWrite(view: DataView, at: number, type: number, words: Int32Array, group: number): number {
  view.setInt32(at, type << 24, false);
  view.setInt32(at + 4, 0, false);
  ipv6Store(view, at + MLD_GROUP, words, group);
  return MLD_BYTES_1;
}

/** Writes a report of one record without sources, but for the checksum. @returns its length */
export function mldWriteReport(
  view: DataView,
  at: number,
  record: number,
  words: Int32Array,
  group: number,
): number {
  view.setInt32(at, MLD_REPORT_2 << 24, false);
  view.setInt32(at + 4, 1, false);
  view.setInt32(at + 8, record << 24, false);
  ipv6Store(view, at + 12, words, group);
  return MLD_REPORT_BYTES_2;
}

/** ms; from 32768 on `1eeemmmmmmmmmmmm` stands for `1mmmmmmmmmmmm << (e + 3)` (RFC 3810 5.1.3). */
export function mldResponse_ms(code: number): number {
  return code < 0x8000 ? code : ((code & 0xfff) | 0x1000) << (((code >> 12) & 7) + 3);
}
