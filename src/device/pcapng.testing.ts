/** Reads pcapng for tests, written from the format's description and not from our encoder. */

export interface PcapngFile {
  section: { application: string | undefined; comment: string | undefined };
  interfaces: {
    linkType: number;
    snapBytes: number;
    name: string | undefined;
    timeDigits: number;
    comment: string | undefined;
  }[];
  packets: {
    interfaceId: number;
    ticks: bigint;
    bytes: Uint8Array;
    length: number;
    flags: number | undefined;
    comment: string | undefined;
  }[];
}

/** @throws Error at the first block that isn't as it must be */
export function readPcapng(file: Buffer): PcapngFile {
  const found: PcapngFile = {
    section: { application: undefined, comment: undefined },
    interfaces: [],
    packets: [],
  };
  for (let at = 0, length = 0; at < file.length; at += length) {
    const type = file.readUInt32LE(at);
    length = file.readUInt32LE(at + 4);
    if (length % 4 !== 0 || length < 12 || at + length > file.length)
      throw new Error(`block of ${length} bytes`);
    if (file.readUInt32LE(at + length - 4) !== length) throw new Error('the lengths of a block differ');
    if ((at === 0) !== (type === 0x0a0d0d0a)) throw new Error('a file starts with one section header');
    readBlock(type, file.subarray(at + 8, at + length - 4), found);
  }
  return found;
}

function readBlock(type: number, body: Buffer, found: PcapngFile): void {
  switch (type) {
    case 0x0a0d0d0a: {
      if (body.readUInt32LE(0) !== 0x1a2b3c4d) throw new Error('byte order');
      if (body.readUInt16LE(4) !== 1 || body.readUInt16LE(6) !== 0) throw new Error('version');
      if (body.readBigInt64LE(8) !== -1n) throw new Error('section length');
      const options = readOptions(body.subarray(16));
      found.section = { application: options.get(4)?.toString(), comment: options.get(1)?.toString() };
      return;
    }
    case 1: {
      const options = readOptions(body.subarray(8));
      found.interfaces.push({
        linkType: body.readUInt16LE(0),
        snapBytes: body.readUInt32LE(4),
        name: options.get(2)?.toString(),
        timeDigits: options.get(9)?.[0] ?? 6,
        comment: options.get(1)?.toString(),
      });
      return;
    }
    case 6: {
      const interfaceId = body.readUInt32LE(0);
      if (interfaceId >= found.interfaces.length) throw new Error('a packet of no interface');
      const kept = body.readUInt32LE(12);
      const options = readOptions(body.subarray(20 + Math.ceil(kept / 4) * 4));
      found.packets.push({
        interfaceId,
        ticks: (BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8)),
        bytes: Uint8Array.from(body.subarray(20, 20 + kept)),
        length: body.readUInt32LE(16),
        flags: options.get(2)?.readUInt32LE(0),
        comment: options.get(1)?.toString(),
      });
      return;
    }
    default:
      throw new Error(`block type ${type}`);
  }
}

function readOptions(bytes: Buffer): Map<number, Buffer> {
  const options = new Map<number, Buffer>();
  let at = 0;
  while (at < bytes.length) {
    const [code, length] = [bytes.readUInt16LE(at), bytes.readUInt16LE(at + 2)];
    at += 4;
    if (code === 0) break;
    options.set(code, bytes.subarray(at, at + length));
    at += Math.ceil(length / 4) * 4;
  }
  if (at !== bytes.length) throw new Error('bytes behind the options');
  return options;
}
