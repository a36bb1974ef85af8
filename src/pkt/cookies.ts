/**
 * Fast Open cookies (RFC 7413). A script holds those of its own system, made with a key that it sets; ours can't be
 * the same. So the cookie that belongs to a key stands for the one that the stack gives the script's end.
 */
import { Packet } from '../ip/packet.ts';
import { fastOpenIssue } from '../tcp/fast-open.ts';
import type { Tcp } from '../tcp/tcp.ts';
import { parseIp } from '../wire/address.ts';
import { FLAG_ACK, FLAG_SYN } from '../wire/tcp.ts';
import type { Tuple } from './flow.ts';
import { optionBytes } from './inject.ts';
import type { TcpOptionSpec, TcpSpec } from './script.ts';

/** Linux's cookies for the addresses of its tests, by key. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  'a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4': ['3021b9d889017eeb', 'c1d1e9742a47a9bc'],
  '00000000-00000000-00000000-00000000': ['b7c12350a90dc8f5', '82af1a8f9a205c34'],
};
const OPTIONS_MAX = 40;

export class Cookies {
  readonly #learned = new Map<string, Set<string>>();
  /** Ports of the script's that used the experimental option. */
  readonly #experimental = new Set<number>();

  #good(key: string): Set<string> {
    let good = this.#learned.get(key);
    if (good === undefined) this.#learned.set(key, (good = new Set(KNOWN[key] ?? [])));
    return good;
  }

  /** Options of the script's SYN with the stack's cookie; also where the script's system wants none. */
  toWire(tcp: Tcp, spec: TcpSpec, tuple: Tuple, key: string, needed: boolean): readonly TcpOptionSpec[] {
    const options = this.#standard(spec.options ?? [], tuple);
    if ((spec.flags & (FLAG_SYN | FLAG_ACK)) !== FLAG_SYN) return options;
    const good = this.#good(key);
    const cookie = issue(tcp, tuple);
    if (needed || spec.length === 0)
      return options.map((o) => (o.kind === 'FO' && good.has(o.cookie) ? { ...o, cookie } : o));
    const rest = options.filter(({ kind }) => kind !== 'FO' && kind !== 'nop' && kind !== 'eol');
    const all = padded([...rest, { kind: 'FO', cookie, experimental: false }]);
    return optionBytes(all) <= OPTIONS_MAX ? all : options;
  }

  /** The experimental option (RFC 7413 A) as the one that took its place; the answer is then experimental too. */
  #standard(options: readonly TcpOptionSpec[], tuple: Tuple): readonly TcpOptionSpec[] {
    if (!options.some((option) => option.kind === 'FO' && option.experimental)) return options;
    this.#experimental.add(tuple.remotePort);
    return padded(
      options
        .filter(({ kind }) => kind !== 'nop')
        .map((option) => (option.kind === 'FO' ? { ...option, experimental: false } : option)),
    );
  }

  /** Options of the stack's SYN-ACK with the script's cookie, as `spec` expects it. */
  toScript(
    tcp: Tcp,
    options: readonly TcpOptionSpec[],
    spec: TcpSpec,
    tuple: Tuple,
    key: string,
  ): readonly TcpOptionSpec[] {
    const expected = spec.options?.find((option) => option.kind === 'FO');
    if (expected?.kind !== 'FO' || (spec.flags & (FLAG_SYN | FLAG_ACK)) !== (FLAG_SYN | FLAG_ACK))
      return options;
    const cookie = issue(tcp, tuple);
    const experimental = this.#experimental.has(tuple.remotePort);
    return options.map((given) => {
      if (given.kind !== 'FO') return given;
      const option = { ...given, experimental };
      if (option.cookie !== cookie) return option;
      const good = this.#good(key);
      // Which one a key makes is learned from the first answer.
      if (good.size === 0) good.add(expected.cookie);
      return good.has(expected.cookie) ? { ...option, cookie: expected.cookie } : option;
    });
  }
}

function padded(options: readonly TcpOptionSpec[]): TcpOptionSpec[] {
  const all = [...options];
  while (optionBytes(all) % 4 !== 0) all.push({ kind: 'nop' });
  return all;
}

/** What the stack gives the script's end, in hex. */
function issue(tcp: Tcp, { version, local, remote }: Tuple): string {
  const p = new Packet();
  p.version = version;
  [p.src0, p.src1 = 0, p.src2 = 0, p.src3 = 0] = parseIp(remote);
  [p.dst0, p.dst1 = 0, p.dst2 = 0, p.dst3 = 0] = parseIp(local);
  return Array.from(fastOpenIssue(tcp, p), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
