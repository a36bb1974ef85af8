import { describe, expect, test } from 'vitest';
import { compileFilter, loadLibpcap } from './libpcap.ts';

const missing = ((): string => {
  try {
    loadLibpcap();
    return '';
  } catch (error) {
    return ` (can't here: ${(error as Error).message})`;
  }
})();

describe.skipIf(missing !== '')(`libpcap${missing}`, () => {
  test('compiles an expression for the link it is about', () => {
    expect(compileFilter('ip', 'ether', 100)).toEqual([
      { code: 0x28, jt: 0, jf: 0, k: 12 },
      { code: 0x15, jt: 0, jf: 1, k: 0x800 },
      { code: 0x06, jt: 0, jf: 0, k: 100 },
      { code: 0x06, jt: 0, jf: 0, k: 0 },
    ]);
    expect(compileFilter('', 'ip', 7)).toEqual([{ code: 0x06, jt: 0, jf: 0, k: 7 }]);
    expect(compileFilter('ip', 'ip', 100)[0]).toMatchObject({ code: 0x30, k: 0 });
  });

  test('says what is wrong with one, and compiles the next', () => {
    expect(() => compileFilter('tcp prt 80', 'ether', 100)).toThrow(
      expect.objectContaining({
        code: 'ERR_FILTER',
        message: expect.stringMatching(/"tcp prt 80".*pcap-filter/),
      }),
    );
    expect(() => compileFilter('ether host 1:2:3:4:5:6', 'ip', 100)).toThrow("can't be compiled");
    expect(compileFilter('tcp', 'ether', 100).length).toBeGreaterThan(4);
  });
});

test.skipIf(process.platform !== 'linux')('where it is missing, what to install is told', () => {
  expect(() => loadLibpcap(['libnone.so.1', 'libnone.so.2'])).toThrow(
    expect.objectContaining({
      code: 'ERR_NO_LIBPCAP',
      message: expect.stringContaining('apt install libpcap0.8'),
    }),
  );
});
