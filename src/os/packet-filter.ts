/**
 * A classic BPF program (McCanne and Jacobson, "The BSD Packet Filter", USENIX 1993) for a stack that shares an Ethernet
 * interface with its host: it lets through what may concern the stack, so that the rest costs neither a copy nor a
 * wake-up.
 *
 *     a VLAN's frame                               drop: another network's
 *     to the stack's hardware address              take; IPv4, when the host has that address too, only to the stack's
 *     to another one's                             drop
 *     to a group: ARP from or for our addresses,
 *                 and announcements (RFC 5227 3)   take; other ARP: drop
 *     to a group: anything else                    take
 */
import { macHigh, macLow } from '../wire/address.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4 } from '../wire/ethernet.ts';
import type { BpfInstruction } from './packet-socket.ts';

const LOAD_32 = 0x20;
const LOAD_16 = 0x28;
const LOAD_8 = 0x30;
const LOAD_LENGTH = 0x80;
const JUMP = 0x05;
const JUMP_GREATER = 0x25;
const JUMP_EQUAL = 0x15;
const JUMP_EQUAL_X = 0x1d;
const JUMP_SET = 0x45;
const MOVE_TO_X = 0x07;
const RETURN = 0x06;

/** What the kernel knows besides the bytes is at negative offsets: SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT. */
const VLAN_PRESENT = -0x1000 + 48;
const TYPE_AT = 12;
const ARP_SENDER_AT = 28;
const ARP_TARGET_AT = 38;
const IPV4_DST_AT = 30;
const WHOLE_FRAME = 0x4_0000;
/** Jumps reach 255 instructions; with more addresses the stack sorts ARP out itself. */
const ADDRESSES_MAX = 60;

export interface FilterTarget {
  /** The stack's hardware address, 6 bytes. */
  readonly mac: Uint8Array;
  /** Whether the host has it, too. */
  readonly shared: boolean;
  /** The stack's IPv4 addresses. */
  readonly addresses: readonly number[];
}

/**
 * @param lengthMax Longest frame that is taken, bytes; with `above` only longer ones are.
 * @param target Whose frames are taken; null: everybody's.
 */
export function packetFilter(
  lengthMax: number,
  above: boolean,
  target: FilterTarget | null,
): BpfInstruction[] {
  const code = new Assembler();
  code.load(LOAD_LENGTH, 0);
  if (above) code.unless(JUMP_GREATER, lengthMax, 'drop');
  else code.when(JUMP_GREATER, lengthMax, 'drop');
  if (target === null) code.jump('take');
  else matchTarget(code, target);
  code.label('drop');
  code.load(RETURN, 0);
  code.label('take');
  code.load(RETURN, WHOLE_FRAME);
  return code.finish();
}

function matchTarget(code: Assembler, { mac, shared, addresses }: FilterTarget): void {
  const known = addresses.length <= ADDRESSES_MAX;
  code.load(LOAD_32, VLAN_PRESENT);
  code.unless(JUMP_EQUAL, 0, 'drop');
  code.load(LOAD_16, 0);
  code.unless(JUMP_EQUAL, macHigh(mac), 'other');
  code.load(LOAD_32, 2);
  code.unless(JUMP_EQUAL, macLow(mac), 'other');
  if (shared && known) {
    code.load(LOAD_16, TYPE_AT);
    code.unless(JUMP_EQUAL, ETHERTYPE_IPV4, 'take');
    code.load(LOAD_32, IPV4_DST_AT);
    for (const address of addresses) code.when(JUMP_EQUAL, address, 'take');
    code.jump('drop');
  } else {
    code.jump('take');
  }
  code.label('other');
  code.load(LOAD_8, 0);
  code.unless(JUMP_SET, 1, 'drop');
  code.load(LOAD_16, TYPE_AT);
  code.unless(JUMP_EQUAL, ETHERTYPE_ARP, 'take');
  if (known) {
    code.load(LOAD_32, ARP_SENDER_AT);
    for (const address of addresses) code.when(JUMP_EQUAL, address, 'take');
    code.load(MOVE_TO_X, 0);
    code.load(LOAD_32, ARP_TARGET_AT);
    code.when(JUMP_EQUAL_X, 0, 'take');
    for (const address of addresses) code.when(JUMP_EQUAL, address, 'take');
    code.jump('drop');
  } else {
    code.jump('take');
  }
}

/** Jumps forward to labels. */
class Assembler {
  readonly #program: { code: number; k: number; yes?: string; no?: string }[] = [];
  readonly #labels = new Map<string, number>();

  /** Any instruction that doesn't jump. */
  load(code: number, k: number): void {
    this.#program.push({ code, k });
  }

  when(code: number, k: number, yes: string): void {
    this.#program.push({ code, k, yes });
  }

  unless(code: number, k: number, no: string): void {
    this.#program.push({ code, k, no });
  }

  /** Reaches any distance. */
  jump(to: string): void {
    this.#program.push({ code: JUMP, k: 0, yes: to });
  }

  label(name: string): void {
    this.#labels.set(name, this.#program.length);
  }

  finish(): BpfInstruction[] {
    const distance = (from: number, to: string | undefined): number =>
      to === undefined ? 0 : this.#labels.get(to)! - from - 1;
    return this.#program.map(({ code, k, yes, no }, i) =>
      code === JUMP ? [code, 0, 0, distance(i, yes)] : [code, distance(i, yes), distance(i, no), k],
    );
  }
}
