/**
 * Linux's error queue of a socket: that a send without copying is over with (MSG_ZEROCOPY), and when a write's last byte
 * left and was acknowledged (SO_TIMESTAMPING). Both follow from how far the connection has got.
 */
import type { Expression } from './script.ts';
import type { Values } from './values.ts';

/** What recvmsg(MSG_ERRQUEUE) gives, by the names of its structures. */
interface Note {
  readonly fields: Record<string, number>;
  /** When it came about, us of the script's time; null: it says no time. */
  readonly us: number | null;
}

/** How far a connection has got, in bytes since its first write. */
export interface Progress {
  readonly sent: number;
  readonly acked: number;
}

const ORIGIN_TIMESTAMPING = 4;
const ORIGIN_ZEROCOPY = 5;
/** The data was copied after all, as on any device that can't gather. */
const CODE_COPIED = 1;
const [SND, SCHED, ACK] = [0, 1, 2];
const ENOMSG = 42;
const TX_SOFTWARE = 2;
const TX_SCHED = 0x100;
const TX_ACK = 0x200;
const MSG_TRUNC = 0x20;
const MSG_ERRQUEUE = 0x2000;

export class ErrorQueue {
  readonly #notes: Note[] = [];
  /** Sends without copying that are not acknowledged: their numbers, and where they end. */
  readonly #copies: { readonly id: number; readonly end: number }[] = [];
  /** Writes whose times are wanted. */
  readonly #times: { readonly end: number; readonly key: number; left: boolean }[] = [];
  #nextId = 0;
  #wanted = 0;
  #keyBase = 0;

  get length(): number {
    return this.#notes.length;
  }

  /** SO_TIMESTAMPING. @param written Bytes so far: keys count from there. */
  want(flags: number, written: number): void {
    this.#wanted = flags;
    this.#keyBase = written;
  }

  /** A write that ends `end` bytes after the connection's first byte. */
  written(end: number, zeroCopy: boolean): void {
    if (zeroCopy) this.#copies.push({ id: this.#nextId++, end });
    if ((this.#wanted & (TX_SOFTWARE | TX_SCHED | TX_ACK)) !== 0)
      this.#times.push({ end, key: end - 1 - this.#keyBase, left: false });
  }

  /** @returns whether there is something new */
  advance({ sent, acked }: Progress, us: number): boolean {
    let news = false;
    while (this.#copies.length > 0 && this.#copies[0].end <= acked) {
      this.#copied(this.#copies[0].id);
      this.#copies.shift();
      news = true;
    }
    for (const write of this.#times) {
      if (write.left || write.end > sent) continue;
      write.left = true;
      news = true;
      if ((this.#wanted & TX_SCHED) !== 0) this.#time(SCHED, write.key, us);
      if ((this.#wanted & TX_SOFTWARE) !== 0) this.#time(SND, write.key, us);
    }
    while (this.#times.length > 0 && this.#times[0].end <= acked) {
      if ((this.#wanted & TX_ACK) !== 0) this.#time(ACK, this.#times[0].key, us);
      this.#times.shift();
      news = true;
    }
    return news;
  }

  /** Numbers in a row are told as one range. */
  #copied(id: number): void {
    const last = this.#notes.at(-1);
    const joins = last?.fields.ee_origin === ORIGIN_ZEROCOPY && last.fields.ee_data === id - 1;
    const from = joins ? last.fields.ee_info : id;
    if (joins) this.#notes.pop();
    const fields = { ee_errno: 0, ee_origin: ORIGIN_ZEROCOPY, ee_type: 0, ee_code: CODE_COPIED };
    this.#notes.push({ fields: { ...fields, ee_info: from, ee_data: id }, us: null });
  }

  #time(info: number, key: number, us: number): void {
    const fields = { ee_errno: ENOMSG, ee_origin: ORIGIN_TIMESTAMPING, ee_type: 0, ee_code: 0 };
    this.#notes.push({ fields: { ...fields, ee_info: info, ee_data: key }, us });
  }

  /** Takes one out. @returns what of it is otherwise than the script has it, null if nothing; undefined: there is none */
  take(message: Expression | undefined, values: Values, toleranceUs: number): string | null | undefined {
    const note = this.#notes.shift();
    if (note === undefined) return undefined;
    const flags = values.optionalNumber(values.field(message, 'msg_flags'));
    // The packet that a time is of goes along, and there is no room for it.
    const set = MSG_ERRQUEUE | (note.us === null ? 0 : MSG_TRUNC);
    if (flags !== null && flags !== set) return `msg_flags: expected ${flags}, got ${set}`;
    for (const item of values.items(values.field(message, 'msg_control'))) {
      const data = values.field(item, 'cmsg_data');
      if (data?.type !== 'struct') continue;
      const seconds = values.optionalNumber(values.field(data, 'scm_sec'));
      if (seconds !== null) {
        const us = seconds * 1e6 + (values.optionalNumber(values.field(data, 'scm_nsec')) ?? 0) / 1000;
        if (note.us === null) return 'expected a time, got none';
        if (Math.abs(us - note.us) > toleranceUs) return `time: expected ${us} us, got ${note.us} us`;
      }
      for (const { name, value } of data.fields) {
        const expected = values.optionalNumber(value);
        if (expected !== null && name in note.fields && note.fields[name] !== expected)
          return `${name}: expected ${expected}, got ${note.fields[name]}`;
      }
    }
    return null;
  }
}
