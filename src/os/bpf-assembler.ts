/**
 * An assembler for eBPF (RFC 9669), as far as XDP programs here need it. A program reads from top to bottom:
 *
 *     assemble([
 *       load(2, R5, R2, 12),
 *       jumpIf(R5, '!=', 0x0008, 'pass'),
 *       …
 *       label('pass'),
 *       set(R0, XDP_PASS),
 *       exit(),
 *     ]);
 *
 * The bytes are those of little-endian machines, the only ones that libc.ts lets in.
 */

/** Result, and what a call returns. */
export const R0 = 0;
/** Arguments of a call, which spoils them; R1 is the program's context at its start. */
export const R1 = 1;
export const R2 = 2;
export const R3 = 3;
export const R4 = 4;
export const R5 = 5;
/** Survive a call. */
export const R6 = 6;
export const R7 = 7;
export const R8 = 8;

export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

export const INSTRUCTION_BYTES = 8;

/** RFC 9669 3.1: opcode, dst and src register, offset, immediate. Two of them for a 64-bit immediate. */
interface Instruction {
  readonly opcode: number;
  readonly dst?: number;
  readonly src?: number;
  readonly offset?: number;
  readonly immediate?: number;
  /** Where a jump goes; its offset follows. */
  readonly target?: string;
}

export type Line = Instruction | { readonly label: string } | { readonly wide: readonly Instruction[] };

/** Classes. */
const LD = 0x00;
const LDX = 0x01;
const JMP = 0x05;
const JMP32 = 0x06;
const ALU64 = 0x07;
/** Operand: the source register instead of the immediate. */
const X = 0x08;
const MEM = 0x60;
const IMM = 0x00;
const DW = 0x18;
/** Source "register" of a 64-bit immediate that is a map's descriptor. */
const PSEUDO_MAP_FD = 1;

const SIZES = { 1: 0x10, 2: 0x08, 4: 0x00, 8: DW } as const;
const ALU = { add: 0x00, and: 0x50, shiftLeft: 0x60, mov: 0xb0 } as const;
const JUMPS = { '==': 0x10, '>': 0x20, '!=': 0x50 } as const;
const JA = 0x00;
const CALL = 0x80;
const EXIT = 0x90;

export type Comparison = keyof typeof JUMPS;

/** A place that jumps go to. */
export function label(name: string): Line {
  return { label: name };
}

/** `dst = value`, sign-extended. */
export function set(dst: Register, value: number): Line {
  return { opcode: ALU64 | ALU.mov, dst, immediate: value };
}

/** `dst = src` */
export function move(dst: Register, src: Register): Line {
  return { opcode: ALU64 | ALU.mov | X, dst, src };
}

/** `dst += value` */
export function add(dst: Register, value: number): Line {
  return { opcode: ALU64 | ALU.add, dst, immediate: value };
}

/** `dst += src` */
export function addRegister(dst: Register, src: Register): Line {
  return { opcode: ALU64 | ALU.add | X, dst, src };
}

/** `dst &= value` */
export function and(dst: Register, value: number): Line {
  return { opcode: ALU64 | ALU.and, dst, immediate: value };
}

/** `dst <<= bits` */
export function shiftLeft(dst: Register, bits: number): Line {
  return { opcode: ALU64 | ALU.shiftLeft, dst, immediate: bits };
}

/** `dst = *(base + offset)`, unsigned, in the machine's byte order. */
export function load(bytes: 1 | 2 | 4 | 8, dst: Register, base: Register, offset: number): Line {
  return { opcode: LDX | MEM | SIZES[bytes], dst, src: base, offset };
}

/** `dst =` a map, by its file descriptor. */
export function loadMap(dst: Register, fd: number): Line {
  return { wide: [{ opcode: LD | IMM | DW, dst, src: PSEUDO_MAP_FD, immediate: fd }, { opcode: 0 }] };
}

export function jump(target: string): Line {
  return { opcode: JMP | JA, target };
}

/** Compares the register's low 32 bits, unsigned. */
export function jumpIf(a: Register, comparison: Comparison, value: number, target: string): Line {
  return { opcode: JMP32 | JUMPS[comparison], dst: a, immediate: value, target };
}

/** Compares 64 bits, unsigned: pointers, too. */
export function jumpIfRegister(a: Register, comparison: Comparison, b: Register, target: string): Line {
  return { opcode: JMP | JUMPS[comparison] | X, dst: a, src: b, target };
}

/** Calls one of the kernel's helpers by its number. */
export function call(helper: number): Line {
  return { opcode: JMP | CALL, immediate: helper };
}

/** Ends the program with R0. */
export function exit(): Line {
  return { opcode: JMP | EXIT };
}

/** @throws Error when a label is missing, there twice, or further away than a jump reaches */
export function assemble(lines: readonly Line[]): Uint8Array<ArrayBuffer> {
  const places = new Map<string, number>();
  const instructions: Instruction[] = [];
  for (const line of lines) {
    if ('label' in line) {
      if (places.has(line.label)) throw new Error(`the label ${line.label} is there twice`);
      places.set(line.label, instructions.length);
    } else {
      instructions.push(...('wide' in line ? line.wide : [line]));
    }
  }
  const bytes = new Uint8Array(instructions.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, { opcode, dst = 0, src = 0, offset = 0, immediate = 0, target }] of instructions.entries()) {
    const at = i * INSTRUCTION_BYTES;
    view.setUint8(at, opcode);
    view.setUint8(at + 1, (src << 4) | dst);
    view.setInt16(at + 2, target === undefined ? offset : distance(places, target, i), true);
    view.setInt32(at + 4, immediate, true);
  }
  return bytes;
}

/** From the instruction after a jump to its target. */
function distance(places: ReadonlyMap<string, number>, target: string, from: number): number {
  const place = places.get(target);
  if (place === undefined) throw new Error(`there is no label ${target}`);
  const offset = place - from - 1;
  if (offset < -0x8000 || offset > 0x7fff) throw new Error(`the label ${target} is too far away`);
  return offset;
}
