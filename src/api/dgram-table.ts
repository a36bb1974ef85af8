/** One stack's UDP sockets: which object a handle of the engine's belongs to, and the texts of addresses. */
import type { DatagramHandlers, Sock } from '../engine/datagrams.ts';
import type { Engine } from '../engine/engine.ts';
import { formatIpv4, formatIpv6 } from '../wire/address.ts';

/** What the engine tells of one socket. */
export interface Datagramlike {
  received(payload: Buffer, address: string, port: number): void;
  refused(code: string): void;
  writable(): void;
  close(): unknown;
}

export class DgramTable {
  readonly engine: Engine;
  readonly handlers: DatagramHandlers;
  readonly #sockets = new Map<Sock, Datagramlike>();
  readonly #bytes: Buffer;
  /** The last sender, whose text the next datagram's as a rule is too. */
  readonly #lastWords = new Int32Array(4);
  #lastVersion = 0;
  #lastText = '';

  /** @param bytes The arena. */
  constructor(engine: Engine, bytes: Buffer) {
    this.engine = engine;
    this.#bytes = bytes;
    this.handlers = {
      message: (sock, at, length) => this.#message(sock, at, length),
      error: (sock, code) => this.#sockets.get(sock)?.refused(code),
      writable: (sock) => this.#sockets.get(sock)?.writable(),
    };
  }

  add(sock: Sock, socket: Datagramlike): void {
    this.#sockets.set(sock, socket);
  }

  remove(sock: Sock): void {
    this.#sockets.delete(sock);
  }

  get sockets(): Datagramlike[] {
    return [...this.#sockets.values()];
  }

  #message(sock: Sock, at: number, length: number): void {
    const socket = this.#sockets.get(sock);
    if (socket === undefined) return;
    const payload = Buffer.allocUnsafe(length);
    this.#bytes.copy(payload, 0, at, at + length);
    socket.received(payload, this.#sender(), this.engine.datagrams.from.port);
  }

  #sender(): string {
    const { version, words } = this.engine.datagrams.from;
    const last = this.#lastWords;
    if (
      version !== this.#lastVersion ||
      words[0] !== last[0] ||
      words[3] !== last[3] ||
      words[1] !== last[1] ||
      words[2] !== last[2]
    ) {
      last.set(words);
      this.#lastVersion = version;
      this.#lastText = version === 4 ? formatIpv4(words[0]) : formatIpv6(words);
    }
    return this.#lastText;
  }
}
