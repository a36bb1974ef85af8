/** What commands' arguments may be; quantities with units as `tc` writes them. All throw InvalidArgumentError. */
import { InvalidArgumentError } from 'commander';
import { DEVICE_QUEUES_MAX } from '../device/open.ts';
import { parseCidr } from '../wire/address.ts';

const TIMES_MS = new Map([
  ['us', 0.001],
  ['ms', 1],
  ['s', 1000],
]);
/** In bits a second; `bps` is bytes, as for tc. */
const RATES_BPS = new Map(
  (['', 'k', 'm', 'g', 't'] as const).flatMap((prefix, i) => [
    [`${prefix}bit`, 1000 ** i] as const,
    [`${prefix}bps`, 8 * 1000 ** i] as const,
  ]),
);
const SIZES = new Map([
  ['b', 1],
  ['k', 1024],
  ['kb', 1024],
  ['m', 1024 ** 2],
  ['mb', 1024 ** 2],
]);

/** @returns ms */
export function duration(text: string): number {
  return quantity(text, TIMES_MS, 'a time with its unit: 50ms, 100us, 1.5s');
}

/** @returns bits a second */
export function rate(text: string): number {
  const value = quantity(text, RATES_BPS, 'a rate with its unit: 10mbit, 1gbit, or in bytes 500kbps');
  if (value <= 0) throw new InvalidArgumentError('A rate is more than 0.');
  return value;
}

/** @returns a probability from 0 to 1 */
export function percent(text: string): number {
  const value = quantity(text, new Map([['%', 0.01]]), 'a percentage: 1%, 0.5%');
  if (value > 1) throw new InvalidArgumentError('It is 100% at most.');
  return value;
}

/** @returns bytes, or frames for `100p` */
export function queueLimit(text: string): { readonly bytes: number } | { readonly packets: number } {
  const wanted = 'a size with its unit: 100p (frames), 64kb, 1mb';
  const packets = /^(\d{1,7})p$/.exec(text);
  if (packets !== null && Number(packets[1]) > 0) return { packets: Number(packets[1]) };
  const bytes = quantity(text, SIZES, wanted);
  if (bytes < 1) throw new InvalidArgumentError(`It is ${wanted}.`);
  return { bytes };
}

function quantity(text: string, units: ReadonlyMap<string, number>, wanted: string): number {
  const match = /^(\d{1,12}(?:\.\d{1,9})?)([a-z%]+)$/i.exec(text);
  const unit = match === null ? undefined : units.get(match[2].toLowerCase());
  if (match === null || unit === undefined) throw new InvalidArgumentError(`It is ${wanted}.`);
  return Number(match[1]) * unit;
}

/** For all commands whose devices may have several. */
export const QUEUES_OPTION = [
  '--queues <n>',
  "of the device, over which flows are spread (default: 1; all of an xdp: interface's)",
  integer(1, DEVICE_QUEUES_MAX),
] as const;

export function cidr(text: string): string {
  try {
    parseCidr(text);
    return text;
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** A repeatable option. */
export function list(
  parse: (text: string) => string,
): (text: string, before: string[] | undefined) => string[] {
  return (text, before) => [...(before ?? []), parse(text)];
}

export function integer(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < low || value > high)
      throw new InvalidArgumentError(`It is a whole number from ${low} to ${high}.`);
    return value;
  };
}
