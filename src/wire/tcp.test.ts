import fc from 'fast-check';
import { expect, test } from 'vitest';
import { transportChecksumGood, viewOf } from './plain.ts';
import * as tcp from './tcp.ts';
import { emitTcpOptions } from './tcp-options.ts';

const ends = fc.constantFrom({ src: '10.0.0.1', dst: '10.0.0.2' }, { src: 'fe80::1', dst: '2001:db8::2' });
const u16 = fc.nat(65_535);
const u32 = fc.nat(0xffffffff);
const segment = fc.record({
  srcPort: u16,
  dstPort: u16,
  seq: u32,
  ack: u32,
  flags: fc.nat(0x1ff),
  window: u16,
  urgent: u16,
  options: fc.constantFrom(
    {},
    { timestamps: { value: 1, echo: 2 } },
    { mss: 1460, sackPermitted: true, windowScale: 7 },
  ),
  payload: fc.uint8Array({ maxLength: 100 }),
});

test('emit and parse round trip, with a good checksum, and the getters agree', () => {
  fc.assert(
    fc.property(ends, segment, (between, value) => {
      const bytes = tcp.emitTcp(value, between);
      expect(tcp.parseTcp(bytes)).toEqual(value);
      expect(transportChecksumGood(bytes, between, 6)).toBe(true);

      const view = viewOf(bytes);
      expect(tcp.tcpCheck(view, 0, bytes.length)).toBe(20 + emitTcpOptions(value.options).length);
      expect(tcp.tcpSeq(view, 0)).toBe(value.seq | 0);
      expect(tcp.tcpAck(view, 0)).toBe(value.ack | 0);
      expect(tcp.tcpPorts(view, 0)).toBe((value.srcPort << 16) | value.dstPort);
      expect(tcp.tcpFlags(view, 0)).toBe(value.flags);
    }),
  );
});

test('the writer sets each of its 20 bytes, and none beyond', () => {
  const bytes = new Uint8Array(24).fill(0xee);
  tcp.tcpWrite(viewOf(bytes), 2, 0x0102, 0x0304, 0x05060708, -2, 60, tcp.FLAG_AE | tcp.FLAG_ACK, 0xabcd);
  const hex = Buffer.from(bytes).toString('hex');
  expect(hex).toBe(`eeee${'0102030405060708fffffffef110abcd00000000'}eeee`);
});

test('rejects', () => {
  const check = (offset: number, length: number) => {
    const bytes = new Uint8Array(60);
    bytes[tcp.TCP_OFFSET_FLAGS] = offset << 4;
    return tcp.tcpCheck(viewOf(bytes), 0, length);
  };
  expect(check(5, 20)).toBe(20);
  expect(check(15, 60)).toBe(60);
  expect(check(5, 19)).toBe(tcp.TCP_TRUNCATED);
  expect(check(4, 60)).toBe(tcp.TCP_BAD_OFFSET);
  expect(check(6, 23)).toBe(tcp.TCP_BAD_OFFSET);
  expect(() => tcp.parseTcp(new Uint8Array(20))).toThrow('malformed tcp: data offset');
});

test('flags as text', () => {
  const { FLAG_SYN, FLAG_ACK, FLAG_FIN, FLAG_PSH, FLAG_RST, FLAG_ECE, FLAG_CWR } = tcp;
  expect(tcp.formatTcpFlags(FLAG_SYN | FLAG_ACK)).toBe('S.');
  expect(tcp.formatTcpFlags(FLAG_FIN | FLAG_PSH | FLAG_ACK)).toBe('FP.');
  expect(tcp.formatTcpFlags(FLAG_RST)).toBe('R');
  expect(tcp.formatTcpFlags(FLAG_SYN | FLAG_ECE | FLAG_CWR)).toBe('SWE');
  expect(tcp.formatTcpFlags(0)).toBe('none');
});
