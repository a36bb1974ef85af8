/** One stack's sockets: which socket a connection belongs to, who accepts, and whether the process must stay for them. */
import type { Engine, ListenOptions } from '../engine/engine.ts';
import type { Conn, Handlers } from '../engine/handlers.ts';
import { STATE, TCB } from '../tcp/block.ts';
import { DgramTable } from './dgram-table.ts';
import type { Server } from './server.ts';
import { type Socket, socketHandlers } from './socket.ts';

/** Takes a connection that a listener accepted. */
export type Accept = (conn: Conn) => void;

interface Listening {
  readonly port: number;
  readonly accept: Accept;
}

export class SocketTable {
  readonly engine: Engine;
  /** One set for all sockets: the engine keeps every set it ever got. */
  readonly handlers: Handlers;
  /** The arena, for copying out of. */
  readonly bytes: Buffer;
  /** UDP's. */
  readonly dgrams: DgramTable;
  /** Those that listen. */
  readonly servers = new Set<Server>();
  /** Called when `needed` may have changed. */
  onNeed: () => void = () => {};
  readonly #bySlot: (Socket | undefined)[] = [];
  readonly #listening: (Listening | undefined)[] = [];
  /** Closed by the program, and still with data or FIN to deliver, which only this process can do. */
  readonly #lingering = new Set<Conn>();
  #holds = 0;

  constructor(engine: Engine) {
    this.engine = engine;
    this.handlers = socketHandlers(this);
    this.bytes = Buffer.from(engine.arena.memory.buffer);
    this.dgrams = new DgramTable(engine, this.bytes);
  }

  get(conn: Conn): Socket | undefined {
    return this.#bySlot[this.engine.slot(conn)];
  }

  set(conn: Conn, socket: Socket | undefined): void {
    this.#bySlot[this.engine.slot(conn)] = socket;
  }

  get sockets(): Socket[] {
    return this.#bySlot.filter((socket) => socket !== undefined);
  }

  /** @throws EngineError, as `engine.listen` */
  listen(options: ListenOptions, accept: Accept): number {
    const id = this.engine.listen(options, this.handlers);
    this.#listening[id] = { port: options.port, accept };
    return id;
  }

  /** The port that a listener has. */
  port(id: number): number {
    return this.#listening[id]?.port ?? 0;
  }

  unlisten(id: number): void {
    this.#listening[id] = undefined;
    this.engine.unlisten(id);
  }

  /** A connection is open that no socket of ours asked for. */
  accept(conn: Conn): void {
    const { tcp } = this.engine;
    const t = tcp.blocks.find(conn);
    const listening = this.#listening[tcp.m[t + TCB.LISTENER] - 1];
    // The listener was closed in this very batch, and its number may have a new owner.
    const port = tcp.m[t + TCB.PORTS] & 0xffff;
    if (listening === undefined || (listening.port !== port && listening.port !== 0)) this.engine.abort(conn);
    else listening.accept(conn);
  }

  /** One more thing, or one less, that keeps the process. */
  hold(): void {
    if (this.#holds++ === 0) this.onNeed();
  }

  release(): void {
    if (--this.#holds === 0) this.onNeed();
  }

  linger(conn: Conn): void {
    this.#lingering.add(conn);
    this.onNeed();
  }

  lingered(conn: Conn): void {
    this.#lingering.delete(conn);
  }

  get needed(): boolean {
    if (this.#holds > 0) return true;
    for (const conn of this.#lingering) if (this.#undelivered(conn)) return true;
    return false;
  }

  /** From FIN-WAIT-2 on, all that we sent is acknowledged, and a kernel would not hold a process either. */
  #undelivered(conn: Conn): boolean {
    const { tcp } = this.engine;
    const t = tcp.blocks.find(conn);
    if (t === 0) return false;
    const state = tcp.m[t + TCB.STATE];
    return state >= STATE.ESTABLISHED && state <= STATE.LAST_ACK && state !== STATE.FIN_WAIT_2;
  }
}
