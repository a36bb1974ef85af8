/**
 * tcpdump's filter expressions, compiled by libpcap to classic BPF. The library is loaded at the first use: only who
 * filters needs it.
 */
import { createRequire } from 'node:module';
import type { load, view } from 'koffi';
import { UnsupportedError } from './libc.ts';

/** Debian's name for it, then upstream's. */
const NAMES = ['libpcap.so.0.8', 'libpcap.so.1'];

const DLT_EN10MB = 1;
/** IPv4 or IPv6, by the version in the first byte. */
const DLT_RAW = 12;
/** struct bpf_program: length u32, then the instructions' address; struct bpf_insn: u16, u8, u8, u32. */
const PROGRAM_BYTES = 16;
const PROGRAM_INSTRUCTIONS = 8;
const INSTRUCTION_BYTES = 8;
const NETMASK_UNKNOWN = 0xffff_ffff;
const OPTIMIZE = 1;

/** An expression that libpcap doesn't understand; `code` is `ERR_FILTER`. */
export class FilterError extends Error {
  readonly code = 'ERR_FILTER';
  override readonly name = 'FilterError';
}

export interface CompiledInstruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

interface Libpcap {
  openDead(link: number, snapBytes: number): number;
  compile(pcap: number, program: Uint8Array, text: string, optimize: number, netmask: number): number;
  getError(pcap: number): string;
  freeCode(program: Uint8Array): void;
  close(pcap: number): void;
  viewOf(address: number, length: number): ArrayBuffer;
}

let loaded: Libpcap | null = null;

/**
 * @param snapBytes What a match returns: how much of a packet to keep.
 * @throws FilterError with libpcap's words; UnsupportedError ERR_NO_LIBPCAP, ERR_NO_FFI
 */
export function compileFilter(text: string, link: 'ether' | 'ip', snapBytes: number): CompiledInstruction[] {
  loaded ??= loadLibpcap();
  const c = loaded;
  const pcap = c.openDead(link === 'ether' ? DLT_EN10MB : DLT_RAW, snapBytes);
  if (pcap === 0) throw new Error('libpcap is out of memory');
  try {
    const program = new Uint8Array(PROGRAM_BYTES);
    if (c.compile(pcap, program, text, OPTIMIZE, NETMASK_UNKNOWN) !== 0) {
      throw new FilterError(
        `the filter ${JSON.stringify(text)} can't be compiled: ${c.getError(pcap)}; man pcap-filter has the syntax`,
      );
    }
    const instructions = readProgram(c, program);
    c.freeCode(program);
    return instructions;
  } finally {
    c.close(pcap);
  }
}

function readProgram(c: Libpcap, program: Uint8Array): CompiledInstruction[] {
  const head = new DataView(program.buffer);
  const count = head.getUint32(0, true);
  const address = Number(head.getBigUint64(PROGRAM_INSTRUCTIONS, true));
  const view = new DataView(c.viewOf(address, count * INSTRUCTION_BYTES));
  return Array.from({ length: count }, (_, i) => {
    const at = i * INSTRUCTION_BYTES;
    return {
      code: view.getUint16(at, true),
      jt: view.getUint8(at + 2),
      jf: view.getUint8(at + 3),
      k: view.getUint32(at + 4, true),
    };
  });
}

/** @throws UnsupportedError */
export function loadLibpcap(names: readonly string[] = NAMES): Libpcap {
  const koffi = requireKoffi();
  const library = openLibrary(koffi, names);
  const func = <F>(name: string, result: string, args: string[]) =>
    library.func(name, result, args) as unknown as F;
  return {
    openDead: func('pcap_open_dead', 'int64_t', ['int', 'int']),
    compile: func('pcap_compile', 'int', ['int64_t', 'void *', 'str', 'int', 'uint32_t']),
    getError: func('pcap_geterr', 'str', ['int64_t']),
    freeCode: func('pcap_freecode', 'void', ['void *']),
    close: func('pcap_close', 'void', ['int64_t']),
    viewOf: (address, length) => koffi.view(address, length),
  };
}

type Koffi = { load: typeof load; view: typeof view };

function openLibrary(koffi: Koffi, names: readonly string[]): ReturnType<typeof load> {
  let cause: unknown;
  for (const name of names) {
    try {
      return koffi.load(name);
    } catch (error) {
      cause = error;
    }
  }
  throw new UnsupportedError(
    'ERR_NO_LIBPCAP',
    'filter expressions are compiled by libpcap, which is missing: apt install libpcap0.8 (or leave the filter out)',
    { cause },
  );
}

function requireKoffi(): Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    throw new UnsupportedError(
      'ERR_NO_FFI',
      'filters need the npm package koffi and its binary for this platform: reinstall without --omit=optional',
      { cause },
    );
  }
}
