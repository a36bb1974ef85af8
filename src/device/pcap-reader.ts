/**
 * Decodes packet captures, piece by piece: pcap (draft-ietf-opsawg-pcap, both byte orders, micro- and nanoseconds) and
 * pcapng (draft-ietf-opsawg-pcapng, any number of sections and interfaces). Which it is the file's first word says.
 *
 *     const reader = new PcapReader();
 *     for (const chunk of chunks) {
 *       reader.push(chunk);
 *       for (let packet = reader.next(); packet !== null; packet = reader.next()) use(packet);
 *     }
 *     reader.end();
 */
import type { Link } from './port.ts';

export interface CapturedPacket {
  /** Its first bytes, as many as were kept. A view into what was pushed; copy what is to be kept. */
  readonly bytes: Uint8Array;
  /** Length when it was seen, bytes; larger than `bytes` when it was cut. */
  readonly length: number;
  /** Microseconds since the epoch, fractions as far as a number holds them (0.25 us); NaN when the file has no time. */
  readonly timeUs: number;
  /** Counted through the whole file, from 0; always 0 in pcap. */
  readonly interfaceId: number;
  /** LINKTYPE_* of its interface, https://www.tcpdump.org/linktypes.html. */
  readonly linkType: number;
  /** What that is to ports; null for those that none has. */
  readonly link: Link | null;
  /** As seen by who recorded it; null when the file doesn't say. */
  readonly direction: 'rx' | 'tx' | null;
}

/** What is wrong with a capture file, and where. `code` is stable. */
export class PcapError extends Error {
  override readonly name = 'PcapError';
  /**
   * `ERR_PCAP_FORMAT`: it is no capture, or of a version that isn't read; `ERR_PCAP_MALFORMED`: it contradicts itself;
   * `ERR_PCAP_TRUNCATED`: it ends within a record; `ERR_PCAP_LIMIT`: a record or the file has more than is taken.
   */
  readonly code: string;
  /** Of the record, bytes from the file's start. */
  readonly offset: number;
  constructor(code: string, offset: number, message: string) {
    super(`at byte ${offset}: ${message}`);
    this.code = code;
    this.offset = offset;
  }
}

/** Longer packets are refused: libpcap's own limit, four times what Ethernet or IP have. */
export const CAPTURED_BYTES_MAX = 262_144;
/** Interfaces of a file. */
const INTERFACES_MAX = 65_536;
/** A packet with its options; other blocks that are read are shorter, and those that aren't are skipped, however long. */
const BLOCK_BYTES_MAX = CAPTURED_BYTES_MAX + 65_536 + 64;

const PCAP_MICROSECONDS = 0xa1b2_c3d4;
const PCAP_NANOSECONDS = 0xa1b2_3c4d;
const PCAP_HEADER_BYTES = 24;
const PCAP_RECORD_BYTES = 16;

const BLOCK_SECTION = 0x0a0d_0d0a;
const BLOCK_INTERFACE = 1;
/** Obsolete, but written until 2010 or so. */
const BLOCK_OLD_PACKET = 2;
const BLOCK_SIMPLE_PACKET = 3;
const BLOCK_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b_3c4d;
/** Type and length before the body, the length again behind it. */
const BLOCK_BYTES_MIN = 12;

const OPTION_END = 0;
const INTERFACE_TIME_RESOLUTION = 9;
const INTERFACE_TIME_OFFSET = 14;
const PACKET_FLAGS = 2;

/** Ethernet; IP by several numbers: by the version in the first byte (of the standard, of two systems), v4, v6. */
const LINKS: Readonly<Record<number, Link>> = {
  1: 'ether',
  12: 'ip',
  14: 'ip',
  101: 'ip',
  228: 'ip',
  229: 'ip',
};

interface CaptureInterface {
  readonly linkType: number;
  readonly snapBytes: number;
  /** Of what the file counts time in, how many make a second. */
  readonly ticks: bigint;
  /** Added to times, s. */
  readonly offset_s: bigint;
}

export class PcapReader {
  /** What was pushed and not yet read, from `#at` on. */
  #bytes: Uint8Array = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;
  /** Of `#bytes`, in the file. */
  #base = 0;
  /** Of the block that nobody reads, still to come. */
  #skip = 0;
  #format: 'unknown' | 'pcap' | 'pcapng' = 'unknown';
  #little = true;
  #interfaces: CaptureInterface[] = [];
  /** Of the section's first one. */
  #firstInterface = 0;

  /** Takes the file's next bytes, which nobody may change before the next `push`. */
  push(chunk: Uint8Array): void {
    this.#base += this.#at;
    const left = this.#bytes.subarray(this.#at);
    if (left.length === 0) {
      this.#bytes = chunk;
    } else {
      const joined = new Uint8Array(left.length + chunk.length);
      joined.set(left);
      joined.set(chunk, left.length);
      this.#bytes = joined;
    }
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
    this.#at = 0;
  }

  /** @returns the next packet, or null when more must be pushed first. @throws PcapError, again at each further call */
  next(): CapturedPacket | null {
    if (this.#format === 'unknown' && !this.#recognize()) return null;
    return this.#format === 'pcap' ? this.#nextRecord() : this.#nextBlock();
  }

  /** To be called when nothing more comes. @throws PcapError ERR_PCAP_TRUNCATED when the file isn't at an end */
  end(): void {
    if (this.#format === 'unknown') {
      throw this.#error('ERR_PCAP_FORMAT', 'the file is too short for a capture');
    }
    if (this.#left > 0 || this.#skip > 0) {
      throw this.#error('ERR_PCAP_TRUNCATED', 'the file ends within a record');
    }
  }

  get #left(): number {
    return this.#bytes.length - this.#at;
  }

  #recognize(): boolean {
    if (this.#left < 4) return false;
    if (this.#u32(0) === BLOCK_SECTION) {
      this.#format = 'pcapng';
      return true;
    }
    let magic = 0;
    for (const little of [true, false]) {
      this.#little = little;
      magic = this.#u32(0);
      if (magic === PCAP_MICROSECONDS || magic === PCAP_NANOSECONDS) break;
      magic = 0;
    }
    if (magic === 0) {
      throw this.#error('ERR_PCAP_FORMAT', 'this is no pcap or pcapng file: its first word is of neither');
    }
    if (this.#left < PCAP_HEADER_BYTES) return false;
    const [major, minor] = [this.#u16(4), this.#u16(6)];
    if (major !== 2)
      throw this.#error('ERR_PCAP_FORMAT', `pcap of version ${major}.${minor} isn't read, only 2.x`);
    this.#interfaces.push({
      // The upper bits tell of frame check sequences.
      linkType: this.#u32(20) & 0xffff,
      snapBytes: this.#u32(16),
      ticks: magic === PCAP_NANOSECONDS ? 1_000_000_000n : 1_000_000n,
      offset_s: 0n,
    });
    this.#format = 'pcap';
    this.#at += PCAP_HEADER_BYTES;
    return true;
  }

  #nextRecord(): CapturedPacket | null {
    if (this.#left < PCAP_RECORD_BYTES) return null;
    const kept = this.#u32(8);
    this.#checkKept(kept);
    if (this.#left < PCAP_RECORD_BYTES + kept) return null;
    const on = this.#interfaces[0];
    const fraction = this.#u32(4);
    if (fraction >= on.ticks)
      throw this.#error('ERR_PCAP_MALFORMED', `a time of ${fraction} parts of a second`);
    const timeUs = this.#u32(0) * 1e6 + (on.ticks === 1_000_000n ? fraction : fraction / 1000);
    const packet = this.#packet(PCAP_RECORD_BYTES, kept, this.#u32(12), timeUs, 0, null);
    this.#at += PCAP_RECORD_BYTES + kept;
    return packet;
  }

  #nextBlock(): CapturedPacket | null {
    for (;;) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, this.#left);
        this.#at += skipped;
        this.#skip -= skipped;
        if (this.#skip > 0) return null;
      }
      if (this.#left < BLOCK_BYTES_MIN) return null;
      const type = this.#u32(0);
      // The same in either order; the section says in which one the rest is.
      if (type === BLOCK_SECTION)
        this.#little = this.#view.getUint32(this.#at + 8, true) === BYTE_ORDER_MAGIC;
      const length = this.#u32(4);
      if (length < BLOCK_BYTES_MIN || length % 4 !== 0) {
        throw this.#error('ERR_PCAP_MALFORMED', `a block of ${length} bytes`);
      }
      if (!READ_BLOCKS.has(type)) {
        this.#skip = length;
        continue;
      }
      if (length > BLOCK_BYTES_MAX) {
        throw this.#error('ERR_PCAP_LIMIT', `a block of ${length} bytes, more than ${BLOCK_BYTES_MAX}`);
      }
      if (this.#left < length) return null;
      if (this.#u32(length - 4) !== length) {
        throw this.#error('ERR_PCAP_MALFORMED', 'the two lengths of a block differ');
      }
      const packet = this.#readBlock(type, length);
      this.#at += length;
      if (packet !== null) return packet;
    }
  }

  #readBlock(type: number, length: number): CapturedPacket | null {
    switch (type) {
      case BLOCK_SECTION:
        this.#readSection(length);
        return null;
      case BLOCK_INTERFACE:
        this.#readInterface(length);
        return null;
      case BLOCK_SIMPLE_PACKET: {
        this.#expect(length >= 16);
        const on = this.#interfaceAt(0);
        const whole = this.#u32(8);
        const kept = on.snapBytes > 0 ? Math.min(whole, on.snapBytes) : whole;
        this.#checkKept(kept);
        this.#expect(padded(kept) + 16 <= length);
        return this.#packet(12, kept, whole, Number.NaN, this.#firstInterface, null);
      }
      default: {
        this.#expect(length >= 32);
        const id = type === BLOCK_PACKET ? this.#u32(8) : this.#u16(8);
        const on = this.#interfaceAt(id);
        const kept = this.#u32(20);
        this.#checkKept(kept);
        this.#expect(padded(kept) + 32 <= length);
        const ticks = (BigInt(this.#u32(12)) << 32n) | BigInt(this.#u32(16));
        let direction: CapturedPacket['direction'] = null;
        this.#eachOption(28 + padded(kept), length - 4, (code, at, bytes) => {
          if (code !== PACKET_FLAGS || bytes !== 4) return;
          direction = ([null, 'rx', 'tx', null] as const)[this.#u32(at) & 3];
        });
        const timeUs = microseconds(ticks, on);
        return this.#packet(28, kept, this.#u32(24), timeUs, this.#firstInterface + id, direction);
      }
    }
  }

  #readSection(length: number): void {
    this.#expect(length >= 28);
    if (this.#u32(8) !== BYTE_ORDER_MAGIC)
      throw this.#error('ERR_PCAP_MALFORMED', 'a section of no byte order');
    const [major, minor] = [this.#u16(12), this.#u16(14)];
    if (major !== 1)
      throw this.#error('ERR_PCAP_FORMAT', `pcapng of version ${major}.${minor} isn't read, only 1.x`);
    this.#firstInterface = this.#interfaces.length;
  }

  #readInterface(length: number): void {
    this.#expect(length >= 20);
    if (this.#interfaces.length >= INTERFACES_MAX) {
      throw this.#error('ERR_PCAP_LIMIT', `more than ${INTERFACES_MAX} interfaces`);
    }
    let ticks = 1_000_000n;
    let offset_s = 0n;
    this.#eachOption(16, length - 4, (code, at, bytes) => {
      if (code === INTERFACE_TIME_RESOLUTION && bytes === 1) {
        const resolution = this.#bytes[this.#at + at];
        // A power of ten, or with the top bit set, of two.
        const power = BigInt(resolution & 0x7f);
        ticks = (resolution & 0x80) !== 0 ? 1n << power : 10n ** power;
      } else if (code === INTERFACE_TIME_OFFSET && bytes === 8) {
        offset_s = this.#view.getBigInt64(this.#at + at, this.#little);
      }
    });
    this.#interfaces.push({ linkType: this.#u16(8), snapBytes: this.#u32(12), ticks, offset_s });
  }

  #interfaceAt(id: number): CaptureInterface {
    const on = this.#interfaces[this.#firstInterface + id];
    if (on === undefined)
      throw this.#error('ERR_PCAP_MALFORMED', `a packet of interface ${id}, which isn't described`);
    return on;
  }

  /** Between two offsets from the block's start. */
  #eachOption(from: number, end: number, visit: (code: number, at: number, bytes: number) => void): void {
    for (let at = from; at + 4 <= end; ) {
      const code = this.#u16(at);
      const bytes = this.#u16(at + 2);
      if (code === OPTION_END) return;
      if (at + 4 + bytes > end) throw this.#error('ERR_PCAP_MALFORMED', 'an option is longer than its block');
      visit(code, at + 4, bytes);
      at += 4 + padded(bytes);
    }
  }

  #packet(
    at: number,
    kept: number,
    length: number,
    timeUs: number,
    interfaceId: number,
    direction: CapturedPacket['direction'],
  ): CapturedPacket {
    const { linkType } = this.#interfaces[interfaceId];
    return {
      bytes: this.#bytes.subarray(this.#at + at, this.#at + at + kept),
      // Some writers leave it 0, or less than what they kept.
      length: Math.max(length, kept),
      timeUs,
      interfaceId,
      linkType,
      link: LINKS[linkType] ?? null,
      direction,
    };
  }

  #checkKept(kept: number): void {
    if (kept <= CAPTURED_BYTES_MAX) return;
    throw this.#error('ERR_PCAP_LIMIT', `a packet of ${kept} bytes, more than ${CAPTURED_BYTES_MAX}`);
  }

  #expect(fits: boolean): void {
    if (!fits) throw this.#error('ERR_PCAP_MALFORMED', 'a block is too short for what it says to hold');
  }

  #error(code: string, message: string): PcapError {
    return new PcapError(code, this.#base + this.#at, message);
  }

  /** At an offset from where the record starts. */
  #u16(at: number): number {
    return this.#view.getUint16(this.#at + at, this.#little);
  }

  #u32(at: number): number {
    return this.#view.getUint32(this.#at + at, this.#little);
  }
}

const READ_BLOCKS: ReadonlySet<number> = new Set([
  BLOCK_SECTION,
  BLOCK_INTERFACE,
  BLOCK_OLD_PACKET,
  BLOCK_SIMPLE_PACKET,
  BLOCK_PACKET,
]);

/** In whole numbers as long as there are seconds in it: 64 bits of ticks are more than a number holds. */
function microseconds(ticks: bigint, { ticks: perSecond, offset_s }: CaptureInterface): number {
  const seconds = Number(ticks / perSecond + offset_s);
  return seconds * 1e6 + Number(((ticks % perSecond) * 1_000_000_000n) / perSecond) / 1000;
}

function padded(length: number): number {
  return (length + 3) & ~3;
}
