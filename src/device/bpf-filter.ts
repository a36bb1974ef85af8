/**
 * The BSD packet filter's machine (McCanne and Jacobson, "The BSD Packet Filter", USENIX 1993): runs the classic BPF
 * programs that tcpdump's filter expressions are compiled to. A program is checked once; it only jumps forward, so it
 * ends, and a load outside of the packet ends it with 0, as in libpcap's bpf_filter.
 */

/** One instruction, as struct bpf_insn: opcode, where to go on if a jump's test holds and if not, and a constant. */
export interface BpfInstruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  /** uint32 */
  readonly k: number;
}

/** A program that can't be run; `code` is `ERR_BPF_PROGRAM`. */
export class BpfProgramError extends Error {
  readonly code = 'ERR_BPF_PROGRAM';
  override readonly name = 'BpfProgramError';
}

/** The kernel's BPF_MAXINSNS. */
export const BPF_INSTRUCTIONS_MAX = 4096;
/** Scratch words. */
const MEMORY_WORDS = 16;

// class | size or operation | mode or source (linux/bpf_common.h)
const LD_W_ABS = 0x20;
const LD_H_ABS = 0x28;
const LD_B_ABS = 0x30;
const LD_W_IND = 0x40;
const LD_H_IND = 0x48;
const LD_B_IND = 0x50;
const LD_LEN = 0x80;
const LD_IMM = 0x00;
const LD_MEM = 0x60;
const LDX_IMM = 0x01;
const LDX_LEN = 0x81;
const LDX_MEM = 0x61;
/** 4 * (P[k] & 15): the length of an IPv4 header. */
const LDX_MSH = 0xb1;
const ST = 0x02;
const STX = 0x03;
const ALU = 0x04;
const JMP = 0x05;
const RET_K = 0x06;
const RET_A = 0x16;
const TAX = 0x07;
const TXA = 0x87;
/** The operand is X and not the constant. */
const SOURCE_X = 0x08;

const [ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG] = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80];
const [MOD, XOR] = [0x90, 0xa0];
const [JA, JEQ, JGT, JGE, JSET] = [0x00, 0x10, 0x20, 0x30, 0x40];

const PLAIN: readonly number[] = [
  ...[LD_W_ABS, LD_H_ABS, LD_B_ABS, LD_W_IND, LD_H_IND, LD_B_IND, LD_LEN, LD_IMM, LD_MEM],
  ...[LDX_IMM, LDX_LEN, LDX_MEM, LDX_MSH, ST, STX, RET_K, RET_A, TAX, TXA],
];
const MEMORY_USERS: readonly number[] = [LD_MEM, LDX_MEM, ST, STX];
const OPERATIONS: readonly number[] = [ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR];
const TESTS: readonly number[] = [JEQ, JGT, JGE, JSET];

/** Words of an instruction here: code, k, and the indices where a jump leads. */
const WORDS = 4;

export class BpfFilter {
  readonly #program: Int32Array;
  readonly #memory = new Int32Array(MEMORY_WORDS);

  /** @throws BpfProgramError naming the instruction */
  constructor(program: readonly BpfInstruction[]) {
    validate(program);
    this.#program = Int32Array.from(
      program.flatMap(({ code, jt, jf, k }, i) =>
        code === (JMP | JA) ? [code, i + 1 + k, 0, 0] : [code, k | 0, i + 1 + jt, i + 1 + jf],
      ),
    );
  }

  /**
   * @param at @param length Where the packet is in `bytes`.
   * @param wireLength Of the packet before it was cut, bytes.
   * @returns how many bytes of it to keep, uint32; 0: it doesn't match
   */
  run(bytes: Uint8Array, at: number, length: number, wireLength: number = length): number {
    const program = this.#program;
    const memory = this.#memory;
    memory.fill(0);
    let a = 0;
    let x = 0;
    for (let i = 0; ; i++) {
      const pc = i * WORDS;
      const code = program[pc];
      const k = program[pc + 1];
      switch (code) {
        case LD_W_ABS:
        case LD_W_IND: {
          const offset = offsetOf(code, k, x);
          if (offset + 4 > length) return 0;
          const p = at + offset;
          a = (bytes[p] << 24) | (bytes[p + 1] << 16) | (bytes[p + 2] << 8) | bytes[p + 3];
          break;
        }
        case LD_H_ABS:
        case LD_H_IND: {
          const offset = offsetOf(code, k, x);
          if (offset + 2 > length) return 0;
          a = (bytes[at + offset] << 8) | bytes[at + offset + 1];
          break;
        }
        case LD_B_ABS:
        case LD_B_IND: {
          const offset = offsetOf(code, k, x);
          if (offset >= length) return 0;
          a = bytes[at + offset];
          break;
        }
        case LD_LEN:
          a = wireLength;
          break;
        case LD_IMM:
          a = k;
          break;
        case LD_MEM:
          a = memory[k];
          break;
        case LDX_IMM:
          x = k;
          break;
        case LDX_LEN:
          x = wireLength;
          break;
        case LDX_MEM:
          x = memory[k];
          break;
        case LDX_MSH:
          if (k >>> 0 >= length) return 0;
          x = (bytes[at + (k >>> 0)] & 15) << 2;
          break;
        case ST:
          memory[k] = a;
          break;
        case STX:
          memory[k] = x;
          break;
        case TAX:
          x = a;
          break;
        case TXA:
          a = x;
          break;
        case RET_K:
          return k >>> 0;
        case RET_A:
          return a >>> 0;
        case JMP | JA:
          i = k - 1;
          break;
        default: {
          const operand = (code & SOURCE_X) !== 0 ? x : k;
          const operation = code & 0xf0;
          if ((code & 7) === JMP) {
            i = (holds(operation, a, operand) ? program[pc + 2] : program[pc + 3]) - 1;
          } else {
            if (operand === 0 && (operation === DIV || operation === MOD)) return 0;
            a = calculate(operation, a, operand);
          }
        }
      }
    }
  }
}

/** Where a load reads. Sums stay below 2^33, so nothing wraps. */
function offsetOf(code: number, k: number, x: number): number {
  return code >= LD_W_IND ? (k >>> 0) + (x >>> 0) : k >>> 0;
}

function holds(test: number, a: number, operand: number): boolean {
  switch (test) {
    case JEQ:
      return a === operand;
    case JGT:
      return a >>> 0 > operand >>> 0;
    case JGE:
      return a >>> 0 >= operand >>> 0;
    default:
      return (a & operand) !== 0;
  }
}

function calculate(operation: number, a: number, operand: number): number {
  switch (operation) {
    case ADD:
      return (a + operand) | 0;
    case SUB:
      return (a - operand) | 0;
    case MUL:
      return Math.imul(a, operand);
    case DIV:
      return ((a >>> 0) / (operand >>> 0)) | 0;
    case MOD:
      return ((a >>> 0) % (operand >>> 0)) | 0;
    case OR:
      return a | operand;
    case AND:
      return a & operand;
    case XOR:
      return a ^ operand;
    case LSH:
      return operand >>> 0 > 31 ? 0 : a << operand;
    case RSH:
      return operand >>> 0 > 31 ? 0 : (a >>> operand) | 0;
    default:
      return -a | 0;
  }
}

function validate(program: readonly BpfInstruction[]): void {
  const count = program.length;
  if (count < 1 || count > BPF_INSTRUCTIONS_MAX)
    throw new BpfProgramError(`a program has 1 to ${BPF_INSTRUCTIONS_MAX} instructions, not ${count}`);
  program.forEach((instruction, i) => {
    const why = objection(instruction, count - i - 1);
    if (why !== null) throw new BpfProgramError(`instruction ${i} of a BPF program ${why}`);
  });
  const { code } = program[count - 1];
  if (code !== RET_K && code !== RET_A) throw new BpfProgramError('a BPF program ends with a return');
}

/** @param behind How many instructions follow. */
function objection({ code, jt, jf, k }: BpfInstruction, behind: number): string | null {
  const kind = code & 7;
  if (code === (JMP | JA)) {
    if (k >>> 0 < behind) return null;
    return (k | 0) < 0 ? 'jumps back, as protochain does: such a filter might never end' : 'jumps out of it';
  }
  if (kind === JMP && TESTS.includes(code & 0xf0) && code < 0x100) {
    return jt < behind && jf < behind ? null : 'jumps out of it';
  }
  if (kind === ALU && code < 0x100) {
    const operation = code & 0xf0;
    if (code === (ALU | NEG)) return null;
    if (!OPERATIONS.includes(operation)) return `has the unknown code ${code}`;
    if ((code & SOURCE_X) !== 0) return null;
    if (k === 0 && (operation === DIV || operation === MOD)) return 'divides by 0';
    return k >>> 0 > 31 && (operation === LSH || operation === RSH) ? 'shifts by more than 31' : null;
  }
  if (!PLAIN.includes(code)) return `has the unknown code ${code}`;
  return MEMORY_USERS.includes(code) && k >>> 0 >= MEMORY_WORDS ? `has no scratch word ${k}` : null;
}
