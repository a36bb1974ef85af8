import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readPcapng } from './pcapng.testing.ts';
import { type PcapngInterface, pcapngInterface, pcapngPacket, pcapngSection } from './pcapng.ts';

const INTERFACE: PcapngInterface = { link: 'ether', name: 'tun:mr0', snapBytes: 0, timeDigits: 6 };

const text = fc.string({ unit: 'grapheme', maxLength: 40 });

test('what is written can be read', () => {
  const written = fc.record({
    frame: fc.uint8Array({ maxLength: 200, size: 'max' }),
    direction: fc.constantFrom('rx' as const, 'tx' as const),
    timeUs: fc.nat(2 ** 52),
    comment: fc.option(text, { nil: undefined }),
  });
  const on = fc.record({
    link: fc.constantFrom('ether' as const, 'ip' as const),
    name: text,
    snapBytes: fc.constantFrom(0, 64, 262_144),
    timeDigits: fc.constantFrom(6 as const, 9 as const),
    comment: text,
  });
  fc.assert(
    fc.property(on, fc.array(written, { maxLength: 5 }), (description, packets) => {
      const file = Buffer.concat([
        pcapngSection('a test'),
        pcapngInterface(description),
        ...packets.map(({ frame, direction, timeUs, comment }) => {
          const packet = { interfaceId: 0, direction, timeUs, ...(comment === undefined ? {} : { comment }) };
          return pcapngPacket(frame, packet, description);
        }),
      ]);
      const { section, interfaces, packets: read } = readPcapng(file);
      expect(section).toEqual({ application: 'millrace', comment: 'a test' });
      const { link, name, snapBytes, timeDigits, comment } = description;
      expect(interfaces).toEqual([
        { linkType: link === 'ether' ? 1 : 101, snapBytes, name, timeDigits, comment },
      ]);
      expect(read).toEqual(
        packets.map(({ frame, direction, timeUs, comment }) => ({
          interfaceId: 0,
          ticks: BigInt(timeUs) * (timeDigits === 9 ? 1000n : 1n),
          bytes: snapBytes > 0 ? frame.slice(0, snapBytes) : frame,
          length: frame.length,
          flags: direction === 'rx' ? 1 : 2,
          comment,
        })),
      );
    }),
  );
});

test('nanoseconds keep what a microsecond clock has after the point', () => {
  const frame = new Uint8Array(1);
  const ticks = (timeUs: number, timeDigits: 6 | 9) => {
    const on: PcapngInterface = { ...INTERFACE, timeDigits };
    const packet = pcapngPacket(frame, { interfaceId: 0, direction: 'rx', timeUs }, on);
    return readPcapng(Buffer.concat([pcapngSection(), pcapngInterface(on), packet])).packets[0].ticks;
  };
  expect(ticks(1_700_000_000_000_000, 9)).toBe(1_700_000_000_000_000_000n);
  expect(ticks(12.5, 9)).toBe(12_500n);
  expect(ticks(12.5, 6)).toBe(12n);
});
