import { expect, test } from 'vitest';
import { Cursor } from './cursor.ts';
import { encapsulate } from './inject.ts';
import { parsePacket } from './packet-parser.ts';

function headers(text: string): Uint8Array {
  const { encapsulation } = parsePacket(new Cursor(`< ${text} . 1:1(0) ack 1`, new Map()));
  return encapsulate(Uint8Array.of(0xab), 4, encapsulation, 1);
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('headers of tunnels say what they carry', () => {
  expect(hex(headers('gre:'))).toBe('00000800ab');
  expect(hex(headers('gre flags [none], sum 0, off 0, key 0, seq 0:'))).toBe('00000800ab');
  expect(hex(headers('gre flags 0xb000, sum 511, off 1023, key 0x80001234, seq 512:'))).toBe(
    'b000080001ff03ff8000123400000200ab',
  );
  expect(hex(headers('gre: mpls (label 1, tc 2, ttl 3) (label 1048575, tc 7, [S], ttl 255):'))).toBe(
    '0000884700001403ffffffffab',
  );
  const ip = headers('ipv6 2::2 > 1::1: ipv4 (ttl 7) 2.2.2.2 > 1.1.1.1: gre:');
  expect([ip[0] >> 4, ip[6], ip[40] >> 4, ip[48], ip[49]]).toEqual([6, 4, 4, 7, 47]);
  expect(ip).toHaveLength(40 + 20 + 4 + 1);
});
