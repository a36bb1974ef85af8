/**
 * How systems lay TCP options out: in which order, and with what padding. Ours are shown as each would have sent them,
 * as the script's system is the one whose layout it expects.
 */
import { optionBytes } from './inject.ts';
import type { TcpOptionSpec } from './script.ts';
import type { Dialect } from './symbols.ts';

type Kind = TcpOptionSpec['kind'];

/** The first three bytes counters of AccECN's option as Linux orders them, which knows only one of its two kinds. */
const COUNTERS: readonly string[] = ['e1b', 'ceb', 'e0b'];
const ORDER: Readonly<Record<Dialect, readonly Kind[]>> = {
  linux: ['md5', 'mss', 'TS', 'ECN', 'sackOK', 'wscale', 'sack', 'FO', 'other'],
  freebsd: ['mss', 'wscale', 'sackOK', 'TS', 'md5', 'sack', 'FO', 'ECN', 'other'],
};
const NOP: TcpOptionSpec = { kind: 'nop' };
const EOL: TcpOptionSpec = { kind: 'eol' };

/** @param options In any order; what pads them is left out. */
export function layOut(options: readonly TcpOptionSpec[], dialect: Dialect): TcpOptionSpec[] {
  const order = ORDER[dialect];
  const sorted = significant(options).sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  return dialect === 'linux' ? linux(sorted) : freebsd(sorted);
}

/** Without what pads. */
export function significant(options: readonly TcpOptionSpec[]): TcpOptionSpec[] {
  return options.filter(({ kind }) => kind !== 'nop' && kind !== 'eol');
}

/** Each begins at a word, or ends at one; two bytes that AccECN's option leaves over are filled. */
function linux(options: readonly TcpOptionSpec[]): TcpOptionSpec[] {
  const laid: TcpOptionSpec[] = [];
  const bothInOne =
    options.some(({ kind }) => kind === 'sackOK') && options.some(({ kind }) => kind === 'TS');
  const pad = (rest: number) => {
    while (optionBytes(laid) % 4 !== rest) laid.push(NOP);
  };
  for (const option of options) {
    if (option.kind === 'TS' && bothInOne) laid.push({ kind: 'sackOK' });
    else if (option.kind === 'sackOK' && bothInOne) continue;
    else if (option.kind === 'wscale') pad(1);
    else if (option.kind === 'mss' || option.kind === 'ECN' || option.kind === 'FO') pad(0);
    else pad(2);
    laid.push(option.kind === 'ECN' ? { ...option, counters: ordered(option.counters) } : option);
    if (option.kind === 'ECN' && optionBytes(laid) % 4 !== 2) pad(option.counters.length === 1 ? 2 : 0);
  }
  pad(0);
  return laid;
}

/** As long as all three are there: fewer don't fit another order. */
function ordered(counters: (TcpOptionSpec & { kind: 'ECN' })['counters']): typeof counters {
  if (counters.length < COUNTERS.length) return counters;
  return [...counters].sort((a, b) => COUNTERS.indexOf(a.name) - COUNTERS.indexOf(b.name));
}

/** So that what each holds is aligned. */
function freebsd(options: readonly TcpOptionSpec[]): TcpOptionSpec[] {
  const laid: TcpOptionSpec[] = [];
  const pad = (by: number, rest: number) => {
    while (optionBytes(laid) % by !== rest) laid.push(NOP);
  };
  for (const option of options) {
    if (option.kind === 'mss') pad(4, 0);
    else if (option.kind === 'wscale') pad(2, 1);
    else if (option.kind === 'sackOK') pad(2, 0);
    else if (option.kind === 'TS' || option.kind === 'sack' || option.kind === 'md5') pad(4, 2);
    laid.push(option);
  }
  while (optionBytes(laid) % 4 !== 0) laid.push(EOL);
  return laid;
}
