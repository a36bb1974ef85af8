/** Memif ports for tests, and a peer that speaks the control protocol by hand. */
import { closeSync } from 'node:fs';
import { Arena } from '../memory/arena.ts';
import { NativeMemory } from '../os/libc.ts';
import { acceptSeqpacket, connectSeqpacket, listenSeqpacket, PacketBuffer } from '../os/seqpacket.ts';
import { createSharedMemory, mapShared, unmapShared } from '../os/shared-memory.ts';
import { decodeMemif, encodeMemif, MEMIF_MESSAGE_BYTES, type MemifMessage } from '../wire/memif.ts';
import { queueFrame, takeFrames } from './compliance.testing.ts';
import { type MemifOptions, type MemifPort, memifArenaBytes, openMemif } from './memif.ts';

/** The first line of an arena stays unused. */
const ARENA_BYTES_USED = 64;

export function openTestMemif(options: MemifOptions): MemifPort {
  return openMemif(new Arena(ARENA_BYTES_USED + memifArenaBytes(options)), options);
}

/** Syncs all ports each turn of the event loop until it holds, at most `timeout_ms`. */
export async function turnUntil(
  ports: readonly MemifPort[],
  holds: () => boolean,
  timeout_ms = 5000,
): Promise<void> {
  const end = performance.now() + timeout_ms;
  while (performance.now() < end) {
    for (const port of ports) {
      port.txSync();
      port.rxSync();
    }
    if (holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`not in ${timeout_ms} ms: ${holds}`);
}

export async function meet(...ports: MemifPort[]): Promise<void> {
  await turnUntil(ports, () => ports.every((port) => port.linked));
}

/** Sends a frame from one to the other, and expects it there. */
export async function passes(from: MemifPort, to: MemifPort, frame: Uint8Array): Promise<boolean> {
  takeFrames(to);
  queueFrame(from, frame);
  let got: Uint8Array[] = [];
  await turnUntil([from, to], () => {
    got = [...got, ...takeFrames(to)];
    return got.length > 0;
  });
  return got.length === 1 && Buffer.compare(got[0], frame) === 0;
}

/** One end of a control channel, driven by hand. Nothing waits. */
export class Talker implements Disposable {
  readonly fd: number;
  readonly #packets = new PacketBuffer();

  constructor(fd: number) {
    this.fd = fd;
  }

  static connect(socket: string): Talker {
    return new Talker(connectSeqpacket(socket));
  }

  /** @returns undefined when nobody has connected. */
  static accept(listener: number): Talker | undefined {
    const fd = acceptSeqpacket(listener);
    return fd < 0 ? undefined : new Talker(fd);
  }

  say(message: MemifMessage, passed = -1): boolean {
    const bytes = new Uint8Array(MEMIF_MESSAGE_BYTES);
    encodeMemif(message, bytes);
    return this.#packets.send(this.fd, bytes, passed);
  }

  sayBytes(bytes: Uint8Array, passed = -1): boolean {
    return this.#packets.send(this.fd, bytes, passed);
  }

  /**
   * The next message; null when there is none yet, undefined when the other end is gone.
   * @param keep Gets the descriptors that came with it, which are closed otherwise.
   */
  hear(keep?: number[]): MemifMessage | null | undefined {
    const packet = this.#packets.receive(this.fd);
    if (packet === null || packet === undefined) return packet;
    if (keep !== undefined) keep.push(...packet.fds);
    else for (const fd of packet.fds) closeSync(fd);
    const message = decodeMemif(packet.bytes);
    if (message === null) throw new Error('no message');
    return message;
  }

  [Symbol.dispose](): void {
    this.#packets.free();
    closeSync(this.fd);
  }
}

export { listenSeqpacket };

/** Shared memory that both a port and a test have mapped. */
export class Shared implements Disposable {
  readonly fd: number;
  readonly view: DataView<ArrayBuffer>;
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly #memory: NativeMemory;

  /** @param fd Somebody else's, to be closed with it; a new one unless told. */
  constructor(bytes: number, fd: number = createSharedMemory('test', bytes)) {
    this.fd = fd;
    this.#memory = new NativeMemory(bytes);
    mapShared(this.#memory.address, bytes, this.fd, false);
    this.view = this.#memory.view;
    this.u8 = this.#memory.u8;
  }

  [Symbol.dispose](): void {
    unmapShared(this.#memory.address, this.u8.length);
    this.#memory.free();
    closeSync(this.fd);
  }
}
