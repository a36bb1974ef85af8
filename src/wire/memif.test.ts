import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeMemif, encodeMemif, MEMIF_MESSAGE_BYTES, type MemifMessage, memifRingBytes } from './memif.ts';

const u8 = fc.integer({ min: 0, max: 255 });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const text = (room: number) => fc.string({ unit: fc.constantFrom(...'abcXYZ 0189-_/'), maxLength: room });

const MESSAGES: fc.Arbitrary<MemifMessage> = fc.oneof(
  fc.constant<MemifMessage>({ type: 'ack' }),
  fc.record({
    type: fc.constant('hello' as const),
    ...{ name: text(31), versionMin: u16, versionMax: u16, regionMax: u16 },
    ...{ toClientMax: u16, toServerMax: u16, ringLog2Max: u8 },
  }),
  fc.record({
    type: fc.constant('init' as const),
    mode: fc.constantFrom('ether' as const, 'ip' as const, null),
    ...{ version: u16, id: u32, secret: text(24), name: text(31) },
  }),
  fc.record({ type: fc.constant('addRegion' as const), index: u16, bytes: fc.maxSafeNat() }),
  fc.record({
    type: fc.constant('addRing' as const),
    ...{ toServer: fc.boolean(), index: u16, region: u16, offset: u32, ringLog2: u8 },
  }),
  fc.record({ type: fc.constantFrom('connect' as const, 'connected' as const), name: text(31) }),
  fc.record({ type: fc.constant('disconnect' as const), code: u32, reason: text(95) }),
);

function encoded(message: MemifMessage): Uint8Array {
  const bytes = new Uint8Array(MEMIF_MESSAGE_BYTES).fill(0xee);
  encodeMemif(message, bytes);
  return bytes;
}

test('what is encoded is decoded', () => {
  fc.assert(
    fc.property(MESSAGES, (message) => {
      expect(decodeMemif(encoded(message))).toEqual(message);
    }),
  );
});

test('any packet is decoded or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 140 }), u8, (bytes, type) => {
      expect(decodeMemif(bytes) === null || bytes.length === MEMIF_MESSAGE_BYTES).toBe(true);
      const message = new Uint8Array(MEMIF_MESSAGE_BYTES);
      message.set(bytes.subarray(0, MEMIF_MESSAGE_BYTES));
      message.set([type % 16, 0]);
      expect(decodeMemif(message) === null).toBe(type % 16 === 0 || type % 16 > 8);
    }),
  );
});

/** As libmemif's packed structures have them. */
test.each<[string, MemifMessage, string]>([
  [
    'HELLO',
    {
      type: 'hello',
      name: 'DPDK',
      ...{ versionMin: 0x200, versionMax: 0x200, regionMax: 255, toClientMax: 254, toServerMax: 253 },
      ringLog2Max: 14,
    },
    `0200 4450444b${'00'.repeat(28)} 0002 0002 ff00 fe00 fd00 0e`,
  ],
  [
    'INIT',
    { type: 'init', version: 0x200, id: 0x01020304, mode: 'ip', secret: 'pw', name: 'c' },
    `0300 0002 04030201 01 7077${'00'.repeat(22)} 63`,
  ],
  ['ADD_REGION', { type: 'addRegion', index: 1, bytes: 0x123456789a }, '0400 0100 9a78563412 000000'],
  [
    'ADD_RING',
    { type: 'addRing', toServer: true, index: 2, region: 1, offset: 0x40c0, ringLog2: 10 },
    '0500 0100 0200 0100 c0400000 0a 0000',
  ],
  ['CONNECTED', { type: 'connected', name: 'eth' }, '0700 657468'],
  ['DISCONNECT', { type: 'disconnect', code: 7, reason: 'bye' }, '0800 07000000 627965'],
])('%s is laid out as the peers have it', (_, message, hex) => {
  const bytes = Buffer.alloc(MEMIF_MESSAGE_BYTES);
  bytes.write(hex.replaceAll(' ', ''), 'hex');
  expect(Buffer.from(encoded(message)).toString('hex')).toBe(bytes.toString('hex'));
});

test('texts are cut to their fields and cleaned for people', () => {
  expect(decodeMemif(encoded({ type: 'connect', name: 'x'.repeat(40) }))).toEqual({
    type: 'connect',
    name: 'x'.repeat(31),
  });
  const bell = encoded({ type: 'disconnect', code: 0, reason: 'a\u0007\u001b[31mb' });
  expect(decodeMemif(bell)).toMatchObject({ reason: 'a??[31mb' });
});

test('a ring is its header and 16 B for each slot', () => {
  expect(memifRingBytes(10)).toBe(128 + 16 * 1024);
});
