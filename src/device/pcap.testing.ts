/** Writes pcap for tests, in every form that there is. */

export interface PcapForm {
  readonly little: boolean;
  readonly nanoseconds: boolean;
  readonly linkType?: number;
}

/** `time` in what the form counts; `length` when the packet is to look cut. */
export interface PcapRecord {
  readonly bytes: Uint8Array;
  readonly time: bigint;
  readonly length?: number;
}

export function writePcap(
  records: readonly PcapRecord[],
  { little, nanoseconds, linkType = 1 }: PcapForm,
): Uint8Array {
  const words = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 4);
    for (const [i, value] of values.entries()) {
      if (little) bytes.writeUInt32LE(value, i * 4);
      else bytes.writeUInt32BE(value, i * 4);
    }
    return bytes;
  };
  const version = little ? 0x0004_0002 : 0x0002_0004;
  const parts = [words(nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4, version, 0, 0, 262_144, linkType)];
  const second = nanoseconds ? 1_000_000_000n : 1_000_000n;
  for (const { bytes, time, length = bytes.length } of records) {
    parts.push(words(Number(time / second), Number(time % second), bytes.length, length), Buffer.from(bytes));
  }
  return Uint8Array.from(Buffer.concat(parts));
}
