import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { writePcap } from './pcap.testing.ts';
import { type CapturedPacket, PcapError, PcapReader } from './pcap-reader.ts';
import { type PcapngInterface, pcapngInterface, pcapngPacket, pcapngSection } from './pcapng.ts';

/** All packets of a file that comes in pieces of some sizes, over and over. */
function readAll(file: Uint8Array, sizes: readonly number[] = [file.length]): CapturedPacket[] {
  const reader = new PcapReader();
  const packets: CapturedPacket[] = [];
  for (let at = 0, i = 0; at < file.length; i++) {
    const size = Math.max(1, sizes[i % sizes.length]);
    reader.push(file.slice(at, at + size));
    at += size;
    for (let packet = reader.next(); packet !== null; packet = reader.next()) packets.push(packet);
  }
  reader.end();
  return packets;
}

const sizes = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 8 });
const frames = fc.array(fc.uint8Array({ maxLength: 120, size: 'max' }), { maxLength: 12 });

test.each([
  [true, false],
  [true, true],
  [false, false],
  [false, true],
])('pcap, little-endian %s, nanoseconds %s', (little, nanoseconds) => {
  fc.assert(
    fc.property(frames, sizes, (given, chunks) => {
      const unit = nanoseconds ? 1000n : 1n;
      const times = given.map((_, i) => 1_700_000_000_123_456n + BigInt(i) * 1_000_001n);
      const file = writePcap(
        given.map((bytes, i) => ({ bytes, time: times[i] * unit, length: bytes.length + (i % 2) })),
        { little, nanoseconds },
      );
      const packets = readAll(file, chunks);
      expect(packets).toEqual(
        given.map((bytes, i) => ({
          bytes,
          length: bytes.length + (i % 2),
          timeUs: Number(times[i]),
          interfaceId: 0,
          linkType: 1,
          link: 'ether',
          direction: null,
        })),
      );
    }),
  );
});

test('a nanosecond is kept as far as a number holds it', () => {
  const file = writePcap([{ bytes: new Uint8Array(1), time: 1_500n }], { little: true, nanoseconds: true });
  expect(readAll(file)[0].timeUs).toBe(1.5);
});

test('what we write in pcapng, in any pieces', () => {
  fc.assert(
    fc.property(frames, sizes, fc.constantFrom(6 as const, 9 as const), (given, chunks, timeDigits) => {
      const ether: PcapngInterface = { link: 'ether', name: 'a', snapBytes: 100, timeDigits };
      const ip: PcapngInterface = { link: 'ip', name: 'b', snapBytes: 0, timeDigits: 6, comment: 'second' };
      const blocks = [pcapngSection('one'), pcapngInterface(ether), pcapngInterface(ip)];
      const expected: CapturedPacket[] = [];
      // Two sections: the second's interfaces count on.
      for (const section of [0, 1]) {
        if (section === 1) blocks.push(pcapngSection(), pcapngInterface(ether), pcapngInterface(ip));
        for (const [i, frame] of given.entries()) {
          const interfaceId = i % 2;
          const direction = i % 3 === 0 ? 'rx' : 'tx';
          const on = [ether, ip][interfaceId];
          const timeUs = 1_700_000_000_000_000 + i;
          blocks.push(pcapngPacket(frame, { interfaceId, direction, timeUs, comment: 'c' }, on));
          expected.push({
            bytes: on.snapBytes > 0 ? frame.slice(0, on.snapBytes) : frame,
            length: frame.length,
            timeUs,
            interfaceId: section * 2 + interfaceId,
            linkType: [1, 101][interfaceId],
            link: on.link,
            direction,
          });
        }
      }
      expect(readAll(Uint8Array.from(Buffer.concat(blocks)), chunks)).toEqual(expected);
    }),
  );
});

/** A big-endian block. */
function block(type: number, ...body: number[]): Buffer {
  const bytes = Buffer.alloc(12 + body.length * 4);
  [type, bytes.length, ...body, bytes.length].forEach(
    (word, i) => void bytes.writeUInt32BE(word >>> 0, i * 4),
  );
  return bytes;
}

const SECTION = block(0x0a0d0d0a, 0x1a2b3c4d, 0x0001_0000, -1, -1);

test('big-endian pcapng with simple and old packets, times by powers of two, offsets and blocks that nobody knows', () => {
  const file = Buffer.concat([
    SECTION,
    // Ethernet, cut at 6 bytes; ticks of 2^-10 s, counted from 100 s on.
    block(1, 0x0001_0000, 6, 0x0009_0001, 0x8a00_0000, 0x000e_0008, 0, 100, 0),
    block(0xbad, ...new Array(100).fill(7)),
    block(3, 8, 0x01020304, 0x05060000),
    block(2, 0, 0, 1024 + 512, 4, 4, 0x0a0b0c0d),
    block(6, 0, 0, 2048, 2, 2, 0x0e0f0000, 0x0002_0004, 2, 0),
  ]);
  for (const sizes of [[file.length], [1], [7, 100]]) {
    const packets = readAll(file, sizes);
    expect(packets.map(({ bytes }) => [...bytes])).toEqual([
      [1, 2, 3, 4, 5, 6],
      [10, 11, 12, 13],
      [14, 15],
    ]);
    expect(packets.map(({ timeUs }) => timeUs)).toEqual([Number.NaN, 101_500_000, 102_000_000]);
    expect(packets.map(({ length }) => length)).toEqual([8, 4, 2]);
    expect(packets.map(({ direction }) => direction)).toEqual([null, null, 'tx']);
  }
});

describe('bad files are refused with a code and where it is', () => {
  const good = writePcap([{ bytes: new Uint8Array(4), time: 0n }], { little: true, nanoseconds: false });
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = Buffer.from(good);
    bytes.writeUInt32LE(value, at);
    return bytes;
  };
  test.each<[string, Uint8Array, string, number]>([
    ['nothing', new Uint8Array(0), 'ERR_PCAP_FORMAT', 0],
    ['a text', Buffer.from('GET / HTTP/1.1\r\n'), 'ERR_PCAP_FORMAT', 0],
    ['pcap of another version', changed(4, 3), 'ERR_PCAP_FORMAT', 0],
    ['a header cut short', good.subarray(0, 20), 'ERR_PCAP_FORMAT', 0],
    ['a record cut short', good.subarray(0, good.length - 1), 'ERR_PCAP_TRUNCATED', 24],
    ['a record header cut short', good.subarray(0, 30), 'ERR_PCAP_TRUNCATED', 24],
    ['a huge packet', changed(32, 262_145), 'ERR_PCAP_LIMIT', 24],
    ['a time that is none', changed(28, 1_000_000), 'ERR_PCAP_MALFORMED', 24],
    ['pcapng of another version', block(0x0a0d0d0a, 0x1a2b3c4d, 0x0002_0000, -1, -1), 'ERR_PCAP_FORMAT', 0],
    ['no byte order', block(0x0a0d0d0a, 0x1a2b3c4e, 0x0001_0000, -1, -1), 'ERR_PCAP_MALFORMED', 0],
    ['a block of 0 bytes', Buffer.concat([SECTION, block(6).fill(0, 4, 8)]), 'ERR_PCAP_MALFORMED', 28],
    ['lengths that differ', Buffer.concat([SECTION, block(1, 0, 0).fill(0, 16)]), 'ERR_PCAP_MALFORMED', 28],
    ['a packet of no interface', Buffer.concat([SECTION, block(6, 0, 0, 0, 0, 0)]), 'ERR_PCAP_MALFORMED', 28],
    ['a packet longer than its block', interfaced(block(6, 0, 0, 0, 9, 9, 0)), 'ERR_PCAP_MALFORMED', 48],
    [
      'an option longer than its block',
      interfaced(block(6, 0, 0, 0, 0, 0, 0x0001_0010)),
      'ERR_PCAP_MALFORMED',
      48,
    ],
    ['a huge pcapng packet', interfaced(block(6, 0, 0, 0, 300_000, 0)), 'ERR_PCAP_LIMIT', 48],
    [
      'a skipped block cut short',
      Buffer.concat([SECTION, block(9, 0, 0, 0).subarray(0, 16)]),
      'ERR_PCAP_TRUNCATED',
      44,
    ],
  ])('%s', (_, file, code, offset) => {
    const refused = expect.objectContaining({ name: 'PcapError', code, offset });
    expect(() => readAll(file)).toThrow(refused);
    expect(() => readAll(file, [3])).toThrow(refused);
  });

  function interfaced(packet: Buffer): Buffer {
    return Buffer.concat([SECTION, block(1, 0x0001_0000, 0), packet]);
  }
});

test('whatever the bytes, it ends with packets inside them or with a PcapError', () => {
  const on: PcapngInterface = { link: 'ether', name: 'a', snapBytes: 0, timeDigits: 6 };
  const seeds = [
    writePcap([{ bytes: new Uint8Array(40), time: 5n }], { little: false, nanoseconds: true }),
    Buffer.concat([
      pcapngSection(),
      pcapngInterface(on),
      pcapngPacket(new Uint8Array(40), { interfaceId: 0, direction: 'rx', timeUs: 1 }, on),
    ]),
  ];
  const edits = fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), edits, sizes, (seed, changes, chunks) => {
      const file = Uint8Array.from(seed);
      for (const [at, value] of changes) file[at % file.length] = value;
      try {
        for (const { bytes, length } of readAll(file, chunks))
          expect(length).toBeGreaterThanOrEqual(bytes.length);
      } catch (error) {
        if (!(error instanceof PcapError)) throw error;
        expect(error.offset).toBeLessThanOrEqual(file.length);
      }
    }),
    { numRuns: 2000 },
  );
});
