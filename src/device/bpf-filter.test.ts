import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../memory/prng.ts';
import { NativeMemory } from '../os/libc.ts';
import { compileFilter } from '../os/libpcap.ts';
import type { Link } from '../wire/decode.ts';
import { FRAME_WORLD, generateFrame } from '../wire/generate.ts';
import { BpfFilter, type BpfInstruction } from './bpf-filter.ts';

type OfflineFilter = (program: number, header: number, packet: number) => number;

/** libpcap's own interpreter, or why there is none. */
const reference: OfflineFilter | string = (() => {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const library = koffi.load('libpcap.so.0.8');
    return library.func('pcap_offline_filter', 'uint32_t', [
      'int64_t',
      'int64_t',
      'int64_t',
    ]) as OfflineFilter;
  } catch (error) {
    return (error as Error).message;
  }
})();

/** struct pcap_pkthdr: timeval, then caplen and len. */
const HEADER_BYTES = 24;
const PROGRAM_AT = HEADER_BYTES + 16;
const PACKET_BYTES = 4096;

function runReference(program: readonly BpfInstruction[], packet: Uint8Array, wireLength: number): number {
  using memory = new NativeMemory(PROGRAM_AT + program.length * 8 + PACKET_BYTES);
  const { address, view, u8 } = memory;
  view.setUint32(16, packet.length, true);
  view.setUint32(20, wireLength, true);
  view.setUint32(HEADER_BYTES, program.length, true);
  view.setBigUint64(HEADER_BYTES + 8, BigInt(address + PROGRAM_AT), true);
  program.forEach(({ code, jt, jf, k }, i) => {
    const at = PROGRAM_AT + i * 8;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jt);
    view.setUint8(at + 3, jf);
    view.setUint32(at + 4, k, true);
  });
  const packetAt = PROGRAM_AT + program.length * 8;
  u8.set(packet, packetAt);
  return (reference as OfflineFilter)(address + HEADER_BYTES, address, address + packetAt);
}

function run(program: readonly BpfInstruction[], packet: Uint8Array, wireLength = packet.length): number {
  // Somewhere inside a larger memory, as in an arena.
  const bytes = new Uint8Array(packet.length + 64).fill(0xa5);
  bytes.set(packet, 17);
  return new BpfFilter(program).run(bytes, 17, packet.length, wireLength);
}

const LOADS = [0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x00, 0x60, 0x01, 0x81, 0x61, 0xb1];
const STORES = [0x02, 0x03];
const ALU_K = [0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x84, 0x94, 0xa4];
const ALU_X = [0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0x9c, 0xac];
const JUMPS = [0x05, 0x15, 0x25, 0x35, 0x45, 0x1d, 0x2d, 0x3d, 0x4d];
const OTHERS = [0x07, 0x87];

const word = fc.oneof(
  fc.nat({ max: 80 }),
  fc.constantFrom(0xffff_ffff, 0x8000_0000),
  fc.nat({ max: 0xffff_ffff }),
);

/** Any valid program: libpcap leaves its scratch words unset, so all are stored first. */
const programs = fc
  .array(
    fc.record({
      code: fc.constantFrom(...LOADS, ...STORES, ...ALU_K, ...ALU_X, ...JUMPS, ...OTHERS),
      k: word,
      skip: fc.nat({ max: 5 }),
    }),
    { maxLength: 40 },
  )
  .chain((body) => fc.tuple(fc.constant(body), fc.array(word, { minLength: 16, maxLength: 16 })))
  .map(([body, scratch]): BpfInstruction[] => {
    const code: BpfInstruction[] = scratch.flatMap((k, i) => [
      { code: 0x00, jt: 0, jf: 0, k },
      { code: 0x02, jt: 0, jf: 0, k: i },
    ]);
    body.forEach(({ code: op, k, skip }, i) => {
      const behind = body.length - i - 1;
      const jump = Math.min(skip, behind);
      if (op === 0x05) code.push({ code: op, jt: 0, jf: 0, k: jump });
      else if ((op & 7) === 5) code.push({ code: op, jt: jump, jf: Math.min(k % 3, behind), k });
      else if ([0x60, 0x61, 0x02, 0x03].includes(op)) code.push({ code: op, jt: 0, jf: 0, k: k % 16 });
      else if ([0x64, 0x74].includes(op)) code.push({ code: op, jt: 0, jf: 0, k: k % 32 });
      else if ([0x34, 0x94].includes(op)) code.push({ code: op, jt: 0, jf: 0, k: k === 0 ? 1 : k });
      else code.push({ code: op, jt: 0, jf: 0, k });
    });
    code.push({ code: 0x16, jt: 0, jf: 0, k: 0 });
    return code;
  });

const EXPRESSIONS = [
  'ip',
  'ip6',
  'arp',
  'tcp',
  'udp',
  'icmp',
  'icmp6',
  'ip multicast',
  'ip6 multicast',
  'host 10.0.0.1',
  'src host 10.0.0.2',
  'dst host fe80::1',
  'net 10.0.0.0/24',
  'src net fe80::/64',
  'port 80',
  'src port 443',
  'dst portrange 400-50000',
  'tcp port 80',
  'udp port 443',
  'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0',
  'ip[0] & 0xf > 5',
  'ip[6:2] & 0x1fff = 0',
  'less 80',
  'greater 60',
  'ip proto 17',
  'ip6 proto 6',
  'ip6[6] = 58',
  'len > 100 and len < 1000',
  'udp[4:2] * 2 - 16 > 5',
  'ip[8] / 2 = 32',
  'tcp[0] << 8 | tcp[1] = 80',
];
const ETHER_EXPRESSIONS = [
  'ether host 02:00:00:00:00:01',
  'ether broadcast',
  'ether multicast',
  'vlan',
  'mpls',
  'ether proto 0x86dd',
];

const expressions = (link: Link): fc.Arbitrary<string> => {
  const one = fc.constantFrom(...EXPRESSIONS, ...(link === 'ether' ? ETHER_EXPRESSIONS : []));
  return fc.letrec<{ filter: string }>((tie) => ({
    filter: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      one,
      tie('filter').map((inner) => `not (${inner})`),
      fc
        .tuple(tie('filter'), fc.constantFrom('and', 'or'), tie('filter'))
        .map(([a, op, b]) => `(${a}) ${op} (${b})`),
    ),
  })).filter;
};

describe.skipIf(typeof reference === 'string')(
  `as libpcap does${typeof reference === 'string' ? ` (can't here: ${reference})` : ''}`,
  () => {
    test('any valid program', () => {
      fc.assert(
        fc.property(
          programs,
          fc.uint8Array({ maxLength: 120 }),
          fc.nat({ max: 2000 }),
          (program, packet, more) => {
            expect(run(program, packet, packet.length + more)).toBe(
              runReference(program, packet, packet.length + more),
            );
          },
        ),
        { numRuns: 3000 },
      );
    });

    test.each(['ether', 'ip'] as const)(
      'what expressions are compiled to, on frames over %s, cut ones, too',
      (link) => {
        let matched = 0;
        fc.assert(
          fc.property(expressions(link), fc.integer(), fc.nat({ max: 100 }), (text, seed, cut) => {
            const program = compile(text, link);
            if (program === null) return;
            const frame = generateFrame(new Prng(seed), { ...FRAME_WORLD, link });
            const packet = cut < 50 ? frame.subarray(0, cut) : frame;
            const keep = run(program, packet, frame.length);
            if (keep > 0) matched++;
            expect(keep).toBe(runReference(program, packet, frame.length));
          }),
          { numRuns: 1000 },
        );
        expect(matched).toBeGreaterThan(50);
      },
    );

    /** null: libpcap says that it can't be, as that nothing would match. */
    function compile(text: string, link: Link): BpfInstruction[] | null {
      try {
        return compileFilter(text, link, 262_144);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_FILTER' });
        return null;
      }
    }
  },
);

describe("programs that can't be run are refused, naming the instruction", () => {
  const ret = { code: 0x06, jt: 0, jf: 0, k: 1 };
  test.each([
    ['none', [], '1 to 4096'],
    ['too many', new Array<BpfInstruction>(4097).fill(ret), '1 to 4096'],
    ['no return at the end', [ret, { code: 0x07, jt: 0, jf: 0, k: 0 }], 'ends with a return'],
    ['a jump out', [{ code: 0x15, jt: 0, jf: 1, k: 0 }, ret], 'instruction 0 of a BPF program jumps out'],
    ['a long jump out', [{ code: 0x05, jt: 0, jf: 0, k: 7 }, ret], 'jumps out'],
    [
      'division by 0',
      [ret, { code: 0x34, jt: 0, jf: 0, k: 0 }, ret],
      'instruction 1 of a BPF program divides by 0',
    ],
    ['a wide shift', [{ code: 0x64, jt: 0, jf: 0, k: 32 }, ret], 'more than 31'],
    ['a scratch word', [{ code: 0x60, jt: 0, jf: 0, k: 16 }, ret], 'no scratch word 16'],
    ['a code', [{ code: 0xfff, jt: 0, jf: 0, k: 0 }, ret], 'unknown code'],
    ['a code of no operation', [{ code: 0xb4, jt: 0, jf: 0, k: 0 }, ret], 'unknown code'],
    ['a code of no test', [{ code: 0x55, jt: 0, jf: 0, k: 0 }, ret], 'unknown code'],
  ])('%s', (_, program, why) => {
    expect(() => new BpfFilter(program)).toThrow(why);
    expect(() => new BpfFilter(program)).toThrow(expect.objectContaining({ code: 'ERR_BPF_PROGRAM' }));
  });

  test('any bytes are refused or run to an end', () => {
    const instruction = fc.record({
      code: fc.nat({ max: 0xff }),
      jt: fc.nat({ max: 3 }),
      jf: fc.nat({ max: 3 }),
      k: word,
    });
    fc.assert(
      fc.property(
        fc.array(instruction, { maxLength: 12 }),
        fc.uint8Array({ maxLength: 60 }),
        (program, packet) => {
          try {
            expect(run([...program, ret], packet)).toBeGreaterThanOrEqual(0);
          } catch (error) {
            expect(error).toMatchObject({ code: 'ERR_BPF_PROGRAM' });
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
