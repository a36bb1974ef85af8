/** What must hold of transmission records at all times, for tests and simulations. */
import { COLD, FLAG, FLAG2, LOSS_FLAG, STATE, TCB } from './block.ts';
import { RECORD, RECORD_LEVELS, RECORD_STATE } from './record-pool.ts';
import type { Tcp } from './tcp.ts';

const { START, END, SENT, STATE: RECORD_BITS, R_NEXT, R_PREV } = RECORD;
const { SACKED, LOST, RXT } = RECORD_STATE;
/** The head's words that aren't a record's; see records.ts. */
const TAIL = 8;
const LOST_RING = 2;

/** @throws naming what is wrong with the records of a connection, a full block. Walks all of them. */
export function auditRecords(tcp: Tcp, t: number): void {
  const m = tcp.m;
  const { SND_UNA, SND_NXT, RECORDS, LOST_BYTES, RXT_BYTES, SACKED_BYTES, FLAGS, FLAGS2 } = TCB;
  const must = (holds: boolean, what: string) => {
    if (!holds) throw new Error(`records of block ${t}: ${what}`);
  };
  const una = m[t + SND_UNA];
  const nxt = m[t + SND_NXT];
  const h = m[t + RECORDS];
  const recovering = (m[t + FLAGS] & (FLAG.RECOVERY | FLAG.LOSS)) !== 0;
  if (h === 0) {
    const counted = m[t + LOST_BYTES] | m[t + RXT_BYTES] | m[t + SACKED_BYTES];
    must(counted === 0, 'bytes are counted as lost, sent again or SACKed, and there is no list');
    must(!recovering || m[t + TCB.STATE] < STATE.ESTABLISHED, 'in recovery without a list');
    must((m[t + FLAGS2] & (FLAG2.REO | FLAG2.TLP_DUE)) === 0, 'a reordering timer or probe without a list');
    return;
  }
  let at = una;
  let last = 0;
  let own = false;
  const bytes = { lost: 0, rxt: 0, sacked: 0 };
  const inRing = { flight: new Set<number>(), lost: new Set<number>() };
  const levels: number[][] = Array.from({ length: RECORD_LEVELS }, () => []);
  for (let r = m[h]; r !== 0; r = m[r]) {
    const bits = m[r + RECORD_BITS];
    const length = (m[r + END] - m[r + START]) | 0;
    must(m[r + START] === at, `a record starts at ${(m[r + START] - una) | 0}, not ${(at - una) | 0}`);
    must(length > 0, `a record of ${length} bytes`);
    must((bits & (SACKED | LOST)) !== (SACKED | LOST), 'a record is SACKed and lost');
    if ((bits & SACKED) !== 0) {
      must(last === 0 || (m[last + RECORD_BITS] & SACKED) === 0, 'neighbours are SACKed');
      bytes.sacked += length;
    } else if ((bits & LOST) !== 0) {
      bytes.lost += length;
      inRing.lost.add(r);
    } else {
      if ((bits & RXT) !== 0) bytes.rxt += length;
      inRing.flight.add(r);
    }
    for (let level = 0; level <= (bits & (RECORD_LEVELS - 1)); level++) levels[level].push(r);
    own ||= r === h - COLD.RECORD_LIST + COLD.RECORD_OWN;
    at = m[r + END];
    last = r;
  }
  must(at === nxt, `they end ${(nxt - at) | 0} before SND.NXT`);
  must(m[h + TAIL] === last, 'the last one is not at the end');
  must(m[t + LOST_BYTES] === bytes.lost, `${m[t + LOST_BYTES]} bytes count as lost, and ${bytes.lost} are`);
  must(m[t + RXT_BYTES] === bytes.rxt, `${m[t + RXT_BYTES]} bytes count as sent again, and ${bytes.rxt} are`);
  must(
    m[t + SACKED_BYTES] === bytes.sacked,
    `${m[t + SACKED_BYTES]} bytes count as SACKed, and ${bytes.sacked} are`,
  );
  levels.forEach((expected, level) => {
    let r = h;
    for (const next of expected) {
      must(m[r + level] === next, `level ${level} passes over a record`);
      r = next;
    }
    must(m[r + level] === 0, `level ${level} doesn't end`);
  });
  const used = (m[h - COLD.RECORD_LIST + COLD.LOSS_FLAGS] & LOSS_FLAG.OWN_USED) !== 0;
  must(used === own, "the list's own record is in use and not in the list, or the other way");
  ring(h, inRing.flight, true);
  ring(h + LOST_RING, inRing.lost, false);

  function ring(head: number, members: Set<number>, byTime: boolean): void {
    let prev = head;
    let count = 0;
    for (let r = m[head + R_NEXT]; r !== head; r = m[r + R_NEXT]) {
      must(members.has(r) && ++count <= members.size, 'a ring holds what is not of its kind');
      must(m[r + R_PREV] === prev, 'a ring is broken');
      const ordered = !byTime || prev === head || ((m[r + SENT] - m[prev + SENT]) | 0) >= 0;
      must(ordered, 'records in flight are not in order of sending');
      prev = r;
    }
    must(m[head + R_PREV] === prev, 'a ring is broken');
    must(count === members.size, 'a record is in no ring');
  }
}

/** `auditRecords` of every connection. */
export function auditAllRecords(tcp: Tcp): void {
  const { m, table } = tcp;
  for (let i = 0; i <= table.mask; i++) {
    const t = m[table.base + 2 * i + 1];
    if (t !== 0 && (m[t + TCB.FLAGS] & FLAG.MINI) === 0) auditRecords(tcp, t);
  }
}
