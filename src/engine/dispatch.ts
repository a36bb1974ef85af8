/** Telling the program: the breath's events in order, each to its connection's handlers. */
import { FLAG, STATE, TCB } from '../tcp/block.ts';
import { blockRelease, tcpAbort } from '../tcp/close.ts';
import {
  EVENT_CLOSE,
  EVENT_DATA,
  EVENT_DRAINED,
  EVENT_END,
  EVENT_OPEN,
  EVENT_REASSEMBLE,
  EVENT_REPORT,
  EVENT_RESUME,
  EVENT_URGENT,
  EVENT_WORDS,
  EVENT_WRITABLE,
  eventPush,
} from '../tcp/events.ts';
import { CLOSED_CLEAN } from '../tcp/reasons.ts';
import {
  receiveClear,
  receiveEnd,
  receiveOffer,
  receiveReassemble,
  receiveResume,
  receiveUnread,
} from '../tcp/receive.ts';
import type { Tcp } from '../tcp/tcp.ts';
import type { Conn, Handlers } from './handlers.ts';

const { HANDLERS, HANDLE, STATE: ST, FLAGS, RCVQ_LENGTH } = TCB;
const { CLOSED, FREE, UNREAD } = STATE;
const { END_TOLD, DETACHED, WANT_DRAINED } = FLAG;
const WORDS = EVENT_WORDS;
const [OPEN, DATA, END] = [EVENT_OPEN, EVENT_DATA, EVENT_END];
const [RESUME, REASSEMBLE, URGENT] = [EVENT_RESUME, EVENT_REASSEMBLE, EVENT_URGENT];
const [WRITABLE, DRAINED, CLOSE] = [EVENT_WRITABLE, EVENT_DRAINED, EVENT_CLOSE];
const REPORT = EVENT_REPORT;

const ignore = (): void => {};
const discard = (_conn: Conn, _at: number, length: number): number => length;

/** A program's handlers with nothing missing. One shape for all, so that calls through it stay monomorphic. */
class HandlerSet {
  readonly open: (conn: Conn) => void;
  readonly data: (conn: Conn, at: number, length: number) => number;
  readonly end: (conn: Conn) => void;
  readonly urgent: (conn: Conn, ahead: number) => void;
  readonly writable: (conn: Conn) => void;
  readonly drained: (conn: Conn) => void;
  readonly report: (conn: Conn, reason: number) => void;
  readonly close: (conn: Conn, reason: number) => void;

  constructor(given: Handlers) {
    this.open = given.open?.bind(given) ?? ignore;
    this.data = given.data?.bind(given) ?? discard;
    this.end = given.end?.bind(given) ?? ignore;
    this.urgent = given.urgent?.bind(given) ?? ignore;
    this.writable = given.writable?.bind(given) ?? ignore;
    this.drained = given.drained?.bind(given) ?? ignore;
    this.report = given.report?.bind(given) ?? ignore;
    this.close = given.close?.bind(given) ?? ignore;
  }
}

/** Every set of handlers that was given to an engine, by index. Programs have few; they are never removed. */
export class HandlerSets {
  readonly sets: HandlerSet[] = [];
  readonly #known = new Map<Handlers, number>();
  readonly #discarding = new Map<number, number>();

  add(handlers: Handlers): number {
    const known = this.#known.get(handlers);
    if (known !== undefined) return known;
    this.sets.push(new HandlerSet(handlers));
    this.#known.set(handlers, this.sets.length - 1);
    return this.sets.length - 1;
  }

  /** The set that hears the same, but takes and forgets all data. */
  discarding(index: number): number {
    const known = this.#discarding.get(index);
    if (known !== undefined) return known;
    const { open, end, urgent, writable, drained, report, close } = this.sets[index];
    const found = this.add({ open, end, urgent, writable, drained, report, close });
    this.#discarding.set(index, found);
    this.#discarding.set(found, found);
    return found;
  }

  /** Nothing is queued: the answer to notifyDrained comes with the next events. */
  drainedNow(tcp: Tcp, t: number): void {
    tcp.m[t + FLAGS] &= ~WANT_DRAINED;
    eventPush(tcp, t, DRAINED, 0, 0);
  }
}

/**
 * Tells the events there are; what handlers give rise to waits for the next breath, so that a handler which
 * always asks for more can't hold the engine. A handler that throws loses its connection, nothing else.
 */
export function dispatchEvents(
  tcp: Tcp,
  handlers: HandlerSets,
  onError: (error: unknown, conn: Conn) => void,
): void {
  const events = tcp.events;
  const end = events.count;
  let i = 0;
  while (i < end) {
    try {
      for (; i < end; i++) dispatch(tcp, handlers, i * WORDS);
    } catch (error) {
      tcp.offering = 0;
      const t = events.words[i * WORDS];
      const conn = tcp.m[t + HANDLE];
      // A throwing close handler leaves nothing to abort.
      if (events.words[i * WORDS + 1] === CLOSE) release(tcp, t);
      else tcpAbort(tcp, t);
      onError(error, conn);
      i++;
    }
  }
  events.words.copyWithin(0, end * WORDS, events.count * WORDS);
  events.count -= end;
  tcp.chunksPromised = 0;
}

function dispatch(tcp: Tcp, handlers: HandlerSets, i: number): void {
  const m = tcp.m;
  const words = tcp.events.words;
  const t = words[i];
  const set = handlers.sets[m[t + HANDLERS]];
  switch (words[i + 1]) {
    case DATA:
      receiveOffer(tcp, t, words[i + 2], words[i + 3], set);
      return;
    case OPEN:
      if ((m[t + FLAGS] & DETACHED) === 0) set.open(m[t + HANDLE]);
      return;
    case END:
      receiveEnd(tcp, t, set);
      return;
    case WRITABLE:
      if (m[t + ST] !== CLOSED) set.writable(m[t + HANDLE]);
      return;
    case DRAINED:
      if (m[t + ST] !== CLOSED) set.drained(m[t + HANDLE]);
      return;
    case URGENT:
      if ((m[t + FLAGS] & DETACHED) === 0) set.urgent(m[t + HANDLE], words[i + 2] + m[t + RCVQ_LENGTH]);
      return;
    case REPORT:
      if (m[t + ST] !== CLOSED) set.report(m[t + HANDLE], words[i + 2]);
      return;
    case REASSEMBLE:
      receiveReassemble(tcp, t, words[i + 2], set);
      return;
    case RESUME:
      receiveResume(tcp, t, set);
      if (m[t + ST] === UNREAD && (m[t + FLAGS] & END_TOLD) !== 0) {
        // All is read. As an event of its own, so that nothing told of this connection can come after it.
        eventPush(tcp, t, CLOSE, CLOSED_CLEAN, 0);
        m[t + ST] = CLOSED;
      }
      return;
    case CLOSE:
      if (words[i + 2] === CLOSED_CLEAN && receiveUnread(tcp, t)) {
        m[t + ST] = UNREAD;
        // A resume() while it was closed found nothing to do.
        eventPush(tcp, t, RESUME, 0, 0);
      } else ended(tcp, t, set.close, words[i + 2]);
      return;
  }
}

/** The last word on a connection; its block is free for the next one afterwards. */
function ended(tcp: Tcp, t: number, close: (conn: Conn, reason: number) => void, reason: number): void {
  // CLOSED while the handler runs, so that its calls on the handle find nothing to do.
  tcp.m[t + ST] = CLOSED;
  close(tcp.m[t + HANDLE], reason);
  release(tcp, t);
}

function release(tcp: Tcp, t: number): void {
  if (tcp.m[t + ST] === FREE) return;
  receiveClear(tcp, t);
  blockRelease(tcp, t);
}
