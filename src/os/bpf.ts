/** bpf(2): maps, programs and links for XDP (linux/bpf.h). All of them are file descriptors and end with the process. */
import { INSTRUCTION_BYTES } from './bpf-assembler.ts';
import { EAGAIN, EPERM, SystemError } from './errno.ts';
import { libc, NativeMemory, syscallNumbers } from './libc.ts';
import { textOf } from './netlink.ts';

const BPF_MAP_CREATE = 0;
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_PROG_LOAD = 5;
const BPF_PROG_TEST_RUN = 10;
const BPF_LINK_CREATE = 28;

const BPF_MAP_TYPE_XSKMAP = 17;
const BPF_PROG_TYPE_XDP = 6;
/** Attach type. */
const BPF_XDP = 37;
const BPF_F_XDP_HAS_FRAGS = 1 << 5;
const XDP_FLAGS = { generic: 1 << 1, native: 1 << 2 } as const;

/** Of union bpf_attr. */
const ATTRIBUTE_BYTES = 152;
/** The most that the verifier has to say here. */
const LOG_BYTES = 65_536;
/** Of which an error quotes the end. */
const LOG_QUOTE_CHARACTERS = 2000;
/** As many as libbpf makes. */
const LOAD_TRIES = 5;
/** Helpers for everybody need no particular licence. */
const LICENSE = 'Apache-2.0\0';

/** Verdicts. */
export const XDP_DROP = 1;
export const XDP_PASS = 2;
export const XDP_REDIRECT = 4;

/** Helpers. */
export const BPF_REDIRECT_MAP = 51;

/** struct xdp_md: places of u32. */
export const XDP_DATA = 0;
export const XDP_DATA_END = 4;
export const XDP_RX_QUEUE = 16;

/** `native`: in the driver, before the kernel has made a packet buffer of a frame. `generic`: after, with any driver. */
export type XdpMode = keyof typeof XDP_FLAGS;

/** An array of AF_XDP sockets by queue. @returns its descriptor. @throws SystemError */
export function createXskMap(entries: number): number {
  return bpf('create an XSKMAP', BPF_MAP_CREATE, (view) => {
    view.setUint32(0, BPF_MAP_TYPE_XSKMAP, true);
    view.setUint32(4, 4, true);
    view.setUint32(8, 4, true);
    view.setUint32(12, entries, true);
  });
}

/** Sets an entry of a map of u32 by u32. @throws SystemError */
export function updateMap(map: number, key: number, value: number): void {
  using memory = new NativeMemory(8);
  memory.view.setUint32(0, key, true);
  memory.view.setUint32(4, value, true);
  bpf('update a map', BPF_MAP_UPDATE_ELEM, (view) => {
    view.setUint32(0, map, true);
    view.setBigUint64(8, BigInt(memory.address), true);
    view.setBigUint64(16, BigInt(memory.address + 4), true);
  });
}

/**
 * @param name For who lists the kernel's programs: 15 letters, digits, `_` or `.` at most.
 * @param code What `assemble` gave.
 * @param frags It is fine with packets of several buffers, of which it sees the first.
 * @returns its descriptor.
 * @throws SystemError with what the verifier said
 */
export function loadXdpProgram(name: string, code: Uint8Array, frags: boolean): number {
  using memory = new NativeMemory(code.length + LICENSE.length + LOG_BYTES);
  const { address, u8 } = memory;
  u8.set(code);
  new TextEncoder().encodeInto(LICENSE, u8.subarray(code.length));
  const log = code.length + LICENSE.length;
  const load = (level: number): number =>
    bpf(
      `load the XDP program ${name}`,
      BPF_PROG_LOAD,
      (view, bytes) => {
        view.setUint32(0, BPF_PROG_TYPE_XDP, true);
        view.setUint32(4, code.length / INSTRUCTION_BYTES, true);
        view.setBigUint64(8, BigInt(address), true);
        view.setBigUint64(16, BigInt(address + code.length), true);
        view.setUint32(24, level, true);
        view.setUint32(28, level === 0 ? 0 : LOG_BYTES, true);
        view.setBigUint64(32, level === 0 ? 0n : BigInt(address + log), true);
        view.setUint32(44, frags ? BPF_F_XDP_HAS_FRAGS : 0, true);
        new TextEncoder().encodeInto(name, bytes.subarray(48, 63));
        view.setUint32(68, BPF_XDP, true);
      },
      () => textOf(u8.subarray(log)).trim().slice(-LOG_QUOTE_CHARACTERS),
    );
  for (let tries = 1; ; tries++) {
    try {
      // The log costs time, so it is asked for when there is something to tell.
      return load(tries === 1 ? 0 : 1);
    } catch (error) {
      // A signal (V8 has its own) interrupts the verifier.
      const again = error instanceof SystemError && (error.errno === -EAGAIN || tries === 1);
      if (!again || error.errno === -EPERM || tries === LOAD_TRIES) throw error;
    }
  }
}

/**
 * Lets a program see what an interface receives. @returns the link: closing it detaches.
 * @throws SystemError EBUSY when another one is attached, EOPNOTSUPP when the driver can't
 */
export function attachXdp(program: number, ifindex: number, mode: XdpMode): number {
  return bpf(`attach an XDP program in ${mode} mode`, BPF_LINK_CREATE, (view) => {
    view.setUint32(0, program, true);
    view.setUint32(4, ifindex, true);
    view.setUint32(8, BPF_XDP, true);
    view.setUint32(12, XDP_FLAGS[mode], true);
  });
}

/** Runs a program on a frame. @returns its verdict. @throws SystemError */
export function testXdp(program: number, frame: Uint8Array): number {
  using memory = new NativeMemory(frame.length);
  memory.u8.set(frame);
  let verdict = -1;
  bpf(
    'run an XDP program',
    BPF_PROG_TEST_RUN,
    (view) => {
      view.setUint32(0, program, true);
      view.setUint32(8, frame.length, true);
      view.setBigUint64(16, BigInt(memory.address), true);
      view.setUint32(32, 1, true);
    },
    () => '',
    (view) => {
      verdict = view.getUint32(4, true);
    },
  );
  return verdict;
}

/** @param detail Asked after a failure: what else the kernel said. */
function bpf(
  what: string,
  command: number,
  write: (view: DataView, bytes: Uint8Array) => void,
  detail = () => '',
  read: (view: DataView) => void = () => {},
): number {
  using memory = new NativeMemory(ATTRIBUTE_BYTES);
  write(memory.view, memory.u8);
  const result = libc().syscall(syscallNumbers().bpf, command, memory.address, ATTRIBUTE_BYTES);
  if (result < 0) throw new SystemError(libc().errno(), `bpf: ${what}`, detail());
  read(memory.view);
  return result;
}
