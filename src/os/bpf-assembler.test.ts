import { expect, test } from 'vitest';
import {
  add,
  addRegister,
  and,
  assemble,
  call,
  exit,
  jump,
  jumpIf,
  jumpIfRegister,
  type Line,
  label,
  load,
  loadMap,
  move,
  R0,
  R1,
  R2,
  R3,
  R6,
  set,
  shiftLeft,
} from './bpf-assembler.ts';

const hex = (...lines: Line[]): string => Buffer.from(assemble(lines)).toString('hex');

// By the tables of RFC 9669: opcode, src and dst, offset, immediate.
test.each([
  ['r0 = -2', set(R0, -2), 'b7000000feffffff'],
  ['r6 = r1', move(R6, R1), 'bf16000000000000'],
  ['r2 += 14', add(R2, 14), '070200000e000000'],
  ['r2 += r1', addRegister(R2, R1), '0f12000000000000'],
  ['r2 &= 15', and(R2, 15), '570200000f000000'],
  ['r2 <<= 2', shiftLeft(R2, 2), '6702000002000000'],
  ['r0 = *(u8 *)(r1 + 9)', load(1, R0, R1, 9), '7110090000000000'],
  ['r0 = *(u16 *)(r1 + 12)', load(2, R0, R1, 12), '69100c0000000000'],
  ['r2 = *(u32 *)(r6 + 16)', load(4, R2, R6, 16), '6162100000000000'],
  ['r2 = *(u64 *)(r6 - 8)', load(8, R2, R6, -8), '7962f8ff00000000'],
  ['r1 = map 5', loadMap(R1, 5), '18110000050000000000000000000000'],
  ['call 51', call(51), '8500000033000000'],
  ['exit', exit(), '9500000000000000'],
])('%s', (_, line, bytes) => {
  expect(hex(line)).toBe(bytes);
});

test('jumps count from the next instruction, over wide ones too, both ways', () => {
  const code = hex(
    label('start'),
    jumpIf(R2, '==', 6, 'end'),
    jumpIfRegister(R2, '>', R3, 'end'),
    loadMap(R1, 1),
    jumpIf(R2, '!=', -1, 'start'),
    jump('end'),
    label('end'),
    exit(),
  );
  expect(code.match(/.{16}/g)).toEqual([
    '1602050006000000',
    '2d32040000000000',
    '1811000001000000',
    '0000000000000000',
    '5602fbffffffffff',
    '0500000000000000',
    '9500000000000000',
  ]);
});

test('labels must be there, once, and near', () => {
  expect(() => hex(jump('nowhere'))).toThrow('no label nowhere');
  expect(() => hex(label('a'), label('a'))).toThrow('there twice');
  const far = Array.from({ length: 0x8000 }, () => exit());
  expect(() => hex(jump('end'), ...far, label('end'))).toThrow('too far away');
  expect(hex(jump('end'), ...far.slice(1), label('end'))).toMatch(/^0500ff7f/);
});
