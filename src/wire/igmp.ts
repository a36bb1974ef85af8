/** IGMP: what IPv4 hosts and routers say about group membership (RFC 2236, RFC 3376 4). */
import { checksumFinish, fold, sumBytes } from './checksum.ts';

export const IGMP_QUERY = 0x11;
export const IGMP_REPORT_2 = 0x16;
export const IGMP_LEAVE_2 = 0x17;
export const IGMP_REPORT_3 = 0x22;

/** Of a query: tenths of a second, with an exponent in version 3 from 128 on. */
export const IGMP_MAX_RESPONSE = 1;
export const IGMP_CHECKSUM = 2;
export const IGMP_GROUP = 4;
/** A query of version 2, a report of it, a leave. */
export const IGMP_BYTES_2 = 8;
/** A query of version 3 is as long or longer; so is a report with one record. */
export const IGMP_QUERY_BYTES_3 = 12;
export const IGMP_REPORT_BYTES_3 = 16;

/** Types of a record, which MLDv2 has too (RFC 3376 4.2.12, RFC 3810 5.2.12). */
export const RECORD_IS_EXCLUDE = 2;
export const RECORD_TO_INCLUDE = 3;
export const RECORD_TO_EXCLUDE = 4;

/** Writes a report, leave or query of version 2 but for the checksum. @returns its length */
export function igmpWrite(view: DataView, at: number, type: number, group: number): number {
  view.setInt32(at, type << 24, false);
  view.setInt32(at + IGMP_GROUP, group, false);
  return IGMP_BYTES_2;
}

/** Writes a report of one record without sources, but for the checksum. @returns its length */
export function igmpWriteReport(view: DataView, at: number, record: number, group: number): number {
  view.setInt32(at, IGMP_REPORT_3 << 24, false);
  view.setInt32(at + 4, 1, false);
  view.setInt32(at + 8, record << 24, false);
  view.setInt32(at + 12, group, false);
  return IGMP_REPORT_BYTES_3;
}

/**
 * How long a query leaves for answers, ms. The code is a number below 128, else `1eeemmmm` stands for
 * `1mmmm << (e + 3)` (RFC 3376 4.1.1).
 */
export function igmpResponse_ms(code: number): number {
  return 100 * (code < 128 ? code : ((code & 15) | 16) << (((code >> 4) & 7) + 3));
}

// ── Plain ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface IgmpMessage {
  type: number;
  /** Of a query: its code; of a report of version 3: its one record's type; else 0. */
  code: number;
  group: number;
}

/** A query of version 3, or anything of version 2; for tests. */
export function emitIgmp(message: IgmpMessage, version: 2 | 3): Uint8Array {
  const bytes = new Uint8Array(version === 3 ? IGMP_QUERY_BYTES_3 : IGMP_BYTES_2);
  const view = new DataView(bytes.buffer);
  igmpWrite(view, 0, message.type, message.group);
  view.setUint8(IGMP_MAX_RESPONSE, message.code);
  view.setUint16(IGMP_CHECKSUM, checksumFinish(sumBytes(bytes)), false);
  return bytes;
}

/** What we send; undefined for a wrong checksum. */
export function parseIgmp(bytes: Uint8Array): IgmpMessage | undefined {
  if (fold(sumBytes(bytes)) !== 0xffff) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = view.getUint8(0);
  return type === IGMP_REPORT_3
    ? { type, code: view.getUint8(8), group: view.getInt32(12, false) }
    : { type, code: view.getUint8(1), group: view.getInt32(4, false) };
}
