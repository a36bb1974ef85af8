import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatMac, macHigh, macLow } from './address.ts';
import * as ether from './ethernet.ts';
import { viewOf } from './plain.ts';

const mac = fc.uint8Array({ minLength: 6, maxLength: 6 });

test('emit and parse round trip, and the hot level reads and writes the same bytes', () => {
  fc.assert(
    fc.property(mac, mac, fc.nat(0xffff), fc.uint8Array(), (dst, src, type, payload) => {
      const frame = { dst: formatMac(dst), src: formatMac(src), type, payload };
      const bytes = ether.emitEthernet(frame);
      expect(ether.parseEthernet(bytes)).toEqual(frame);

      const view = viewOf(bytes);
      expect(ether.etherType(view, 0)).toBe(type);
      expect([ether.etherDstHigh(view, 0), ether.etherDstLow(view, 0)]).toEqual([macHigh(dst), macLow(dst)]);
      expect([ether.etherSrcHigh(view, 0), ether.etherSrcLow(view, 0)]).toEqual([macHigh(src), macLow(src)]);
      const written = new Uint8Array(3 + bytes.length);
      written.set(payload, 3 + ether.ETHER_HEADER_BYTES);
      ether.etherWrite(viewOf(written), 3, macHigh(dst), macLow(dst), macHigh(src), macLow(src), type);
      expect(written.subarray(3)).toEqual(bytes);
    }),
  );
});

test('rejects', () => {
  const view = viewOf(new Uint8Array(14));
  expect(ether.etherCheck(view, 0, 14)).toBe(14);
  expect(ether.etherCheck(view, 0, 13)).toBe(ether.ETHER_TRUNCATED);
  expect(() => ether.parseEthernet(new Uint8Array(13))).toThrow('malformed ethernet: truncated');
});
