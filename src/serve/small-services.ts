/**
 * The small services of the early Internet on the handlers API: echo (RFC 862), discard (RFC 863), chargen
 * (RFC 864), daytime (RFC 867). Something to talk to, and the shortest examples of the batch API. Over UDP there is no
 * chargen, which would be an amplifier for whoever forges a source.
 */

import type { DatagramHandlers } from '../engine/datagrams.ts';
import type { Engine } from '../engine/engine.ts';
import type { Handlers } from '../engine/handlers.ts';

/** Sends back what it gets. What the send queue has no room for stays in the receive queue and shuts the window. */
export function echo(engine: Engine): Handlers {
  return {
    data(conn, at, length) {
      const taken = engine.send(conn, at, length);
      return taken < 0 ? length : taken;
    },
    writable(conn) {
      engine.resume(conn);
    },
    end(conn) {
      engine.shutdown(conn);
    },
  };
}

export function discard(engine: Engine): Handlers {
  return {
    end(conn) {
      engine.shutdown(conn);
    },
  };
}

/** Lines of 72 printable characters, each starting one further on, for as long as the peer reads. */
const LINE_CHARACTERS = 72;
const FIRST_CHARACTER = 32;
const CHARACTERS = 95;

export function chargen(engine: Engine): Handlers {
  const lineBytes = LINE_CHARACTERS + 2;
  const bytes = CHARACTERS * lineBytes;
  const at = engine.arena.carve('chargen', bytes);
  const u8 = engine.arena.u8;
  for (let line = 0; line < CHARACTERS; line++) {
    const start = at + line * lineBytes;
    for (let i = 0; i < LINE_CHARACTERS; i++) u8[start + i] = FIRST_CHARACTER + ((line + i) % CHARACTERS);
    u8[start + LINE_CHARACTERS] = 13;
    u8[start + LINE_CHARACTERS + 1] = 10;
  }
  /** How far into the pattern each connection is. */
  const offsets = new Int32Array(engine.tcp.limits.connections);
  const fill = (conn: number): void => {
    const slot = engine.slot(conn);
    for (;;) {
      const rest = bytes - offsets[slot];
      const taken = engine.send(conn, at + offsets[slot], rest);
      if (taken < 0) return;
      offsets[slot] = (offsets[slot] + taken) % bytes;
      if (taken < rest) return;
    }
  };
  return {
    open(conn) {
      offsets[engine.slot(conn)] = 0;
      fill(conn);
    },
    writable: fill,
    end(conn) {
      engine.close(conn);
    },
  };
}

/** One line with the time, then the end. */
export function daytime(engine: Engine): Handlers {
  const encoder = new TextEncoder();
  return {
    open(conn) {
      engine.write(conn, encoder.encode(`${new Date().toUTCString()}\r\n`));
      engine.shutdown(conn);
    },
  };
}

/** Two servers would answer each other for ever, so what comes from a small service's port gets no answer. */
const SERVICE_PORT_MAX = 19;

export function echoDatagrams(engine: Engine): DatagramHandlers {
  const { datagrams } = engine;
  return {
    message(sock, at, length) {
      if (datagrams.from.port > SERVICE_PORT_MAX) datagrams.reply(sock, at, length);
    },
  };
}

export function daytimeDatagrams(engine: Engine): DatagramHandlers {
  const { datagrams } = engine;
  const encoder = new TextEncoder();
  return {
    message(sock) {
      if (datagrams.from.port > SERVICE_PORT_MAX)
        datagrams.replyBytes(sock, encoder.encode(`${new Date().toUTCString()}\r\n`));
    },
  };
}
