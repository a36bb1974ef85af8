/** Capture files, read and written piece by piece. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { type CapturedPacket, PcapReader } from '../device/pcap-reader.ts';
import {
  type PcapngInterface,
  type PcapngPacket,
  pcapngInterface,
  pcapngPacket,
  pcapngSection,
} from '../device/pcapng.ts';
import type { Link } from '../device/port.ts';

const READ_BYTES = 256 * 1024;
const WRITE_BYTES = 256 * 1024;

/** The packets of a pcap or pcapng file. @throws PcapError, and what node:fs says */
export function* packetsOf(path: string): Generator<CapturedPacket> {
  const file = openSync(path, 'r');
  try {
    const reader = new PcapReader();
    for (;;) {
      // Packets are views of it, so that it can't be used again.
      const chunk = new Uint8Array(READ_BYTES);
      const length = readSync(file, chunk);
      if (length === 0) break;
      reader.push(chunk.subarray(0, length));
      for (let packet = reader.next(); packet !== null; packet = reader.next()) yield packet;
    }
    reader.end();
  } finally {
    closeSync(file);
  }
}

/** A pcapng file with an interface for each kind of link. What is written is in the file after `flush` or `close`. */
export class CaptureWriter {
  readonly #file: number;
  readonly #name: string;
  readonly #snapBytes: number;
  readonly #links: Link[] = [];
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  /** @param path `-` is stdout. @param name Of the interfaces in the file. @throws what node:fs says */
  constructor(path: string, name: string, snapBytes: number) {
    this.#file = path === '-' ? process.stdout.fd : openSync(path, 'w');
    this.#name = name;
    this.#snapBytes = snapBytes;
    this.#write(pcapngSection());
  }

  add(frame: Uint8Array, link: Link, packet: Omit<PcapngPacket, 'interfaceId'>): void {
    const on: PcapngInterface = { link, name: this.#name, snapBytes: this.#snapBytes, timeDigits: 6 };
    let interfaceId = this.#links.indexOf(link);
    if (interfaceId < 0) {
      interfaceId = this.#links.push(link) - 1;
      this.#write(pcapngInterface(on));
    }
    this.#write(pcapngPacket(frame, { ...packet, interfaceId }, on));
    if (this.#bytes >= WRITE_BYTES) this.flush();
  }

  #write(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  /** @throws what node:fs says, as when the disk is full */
  flush(): void {
    const bytes = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#bytes = 0;
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done);
  }

  close(): void {
    this.flush();
    if (this.#file !== process.stdout.fd) closeSync(this.#file);
  }
}
