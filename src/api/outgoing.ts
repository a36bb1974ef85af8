/**
 * A socket's writes on their way into the engine: what the send queue has no room for waits here, one write of the
 * stream's at a time, until the engine says `writable`.
 */
import type { Engine } from '../engine/engine.ts';
import type { Conn } from '../engine/handlers.ts';

export type Done = (error?: Error | null) => void;

export class Outgoing {
  /** Bytes that the engine took, of the writes that are done. */
  bytesDone = 0;
  /** Of the write under way. */
  #bytesNow = 0;
  #chunks: readonly Uint8Array[] = [];
  /** What is next: a chunk, and a byte of it. */
  #at = 0;
  #from = 0;
  #done: Done | null = null;

  get waits(): boolean {
    return this.#done !== null;
  }

  /** Takes one write. `next` or `flush` sends it. */
  begin(chunks: readonly Uint8Array[], done: Done): void {
    this.#chunks = chunks;
    this.#at = 0;
    this.#from = 0;
    this.#done = done;
  }

  /**
   * Gives the engine what it has room for.
   * @returns the write's callback when all is taken, null when some waits, undefined when the engine takes no more
   */
  flush(engine: Engine, conn: Conn): Done | null | undefined {
    const all = this.offer(engine, conn);
    return all ? this.end() : all === undefined ? undefined : null;
  }

  /** What `flush` gives, but the write isn't over: should the connection not come about, another gets it anew. */
  offer(engine: Engine, conn: Conn): boolean | undefined {
    for (; this.#at < this.#chunks.length; this.#at++, this.#from = 0) {
      const chunk = this.#chunks[this.#at];
      const taken = engine.write(conn, chunk, this.#from);
      if (taken < 0) return undefined;
      this.#bytesNow += taken;
      this.#from += taken;
      if (this.#from < chunk.length) return false;
    }
    return true;
  }

  /** What was offered is lost. */
  rewind(): void {
    this.#bytesNow = 0;
    this.#at = 0;
    this.#from = 0;
  }

  /** The write is over, however it went. @returns its callback */
  end(): Done | null {
    const done = this.#done;
    this.bytesDone += this.#bytesNow;
    this.#bytesNow = 0;
    this.#chunks = [];
    this.#done = null;
    return done;
  }
}
