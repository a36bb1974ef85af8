/** A port that records every frame of the port it wraps, in pcapng, and changes nothing. */
import { DESC_AT, DESC_FLAGS, DESC_LENGTH, FRAME_MORE, type Ring } from '../memory/ring.ts';
import { type PcapngInterface, pcapngInterface, pcapngPacket, pcapngSection } from './pcapng.ts';
import type { Port } from './port.ts';
import { watch } from './watch.ts';

/** As tcpdump's: more than any frame has. */
const SNAP_BYTES = 262_144;

/**
 * Frames are recorded as the rings hold them: a super-segment is one packet, and a checksum that the device
 * is still to fill in is as yet wrong.
 * @param sink Takes a pcapng file piece by piece, each its own from then on. Called at once with the file's
 *   head, then within the syncs. It must not throw, and should only queue.
 * @param clock Microseconds since the epoch.
 */
export function capture(port: Port, sink: (bytes: Uint8Array) => void, clock: () => number): Port {
  const on: PcapngInterface = {
    link: port.capabilities.link,
    name: port.name,
    snapBytes: SNAP_BYTES,
    timeDigits: 6,
  };
  sink(pcapngSection());
  sink(pcapngInterface(on));
  const rx = new Recorder(port, port.rx, 'rx', on, sink, clock);
  const tx = new Recorder(port, port.tx, 'tx', on, sink, clock);
  return watch(port, {
    received: () => rx.recordTo(port.rx.tail),
    sending: () => tx.recordTo(port.tx.head),
  });
}

/** Records the slots of one ring, each once, in order. */
class Recorder {
  readonly #u8: Uint8Array;
  readonly #ring: Ring;
  readonly #direction: 'rx' | 'tx';
  readonly #on: PcapngInterface;
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #clock: () => number;
  /** The first slot not yet recorded. What changed hands before the capture began stays out of it. */
  #next: number;
  /** The pieces so far of a frame that goes on in the next slot. */
  #pieces: Uint8Array[] = [];

  constructor(
    port: Port,
    ring: Ring,
    direction: 'rx' | 'tx',
    on: PcapngInterface,
    sink: (bytes: Uint8Array) => void,
    clock: () => number,
  ) {
    this.#u8 = port.arena.u8;
    this.#ring = ring;
    this.#direction = direction;
    this.#on = on;
    this.#sink = sink;
    this.#clock = clock;
    this.#next = direction === 'rx' ? ring.tail : ring.head;
  }

  /** Records the slots up to `end`, a free-running index. */
  recordTo(end: number): void {
    if (this.#next === end) return;
    const timeUs = this.#clock();
    for (; this.#next !== end; this.#next = (this.#next + 1) | 0) this.#record(timeUs);
  }

  #record(timeUs: number): void {
    const { m } = this.#ring;
    const slot = this.#ring.slot(this.#next);
    const at = m[slot + DESC_AT];
    this.#pieces.push(this.#u8.slice(at, at + m[slot + DESC_LENGTH]));
    if ((m[slot + DESC_FLAGS] & FRAME_MORE) !== 0) return;
    const frame = join(this.#pieces);
    this.#pieces = [];
    this.#sink(pcapngPacket(frame, { interfaceId: 0, direction: this.#direction, timeUs }, this.#on));
  }
}

function join(pieces: Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0];
  const frame = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    frame.set(piece, at);
    at += piece.length;
  }
  return frame;
}
