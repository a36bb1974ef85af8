/** Whom generated packets are from and for: ranges of addresses and ports, as netmap's pkt-gen takes them. */
import { AddressError, parseIpv4, parseIpv6 } from '../../wire/address.ts';

/** Addresses and ports that are stepped through, every address with every port. */
export interface EndpointRange {
  readonly family: 4 | 6;
  /** The first address, 1 or 4 words. The others differ from it in the last word. */
  readonly address: Int32Array;
  /** How many, 1 to 2^32 - 1. */
  readonly addresses: number;
  readonly port: number;
  readonly ports: number;
}

/** A range that can't be stepped through; `code` is `ERR_PKTGEN_RANGE`. */
export class RangeTextError extends Error {
  readonly code = 'ERR_PKTGEN_RANGE';
  override readonly name = 'RangeTextError';
}

const FORM = 'ADDR[:PORT][-ADDR[:PORT]], IPv6 with a port in brackets: [fd00::1]:9';

/**
 * `10.0.0.1`, `10.0.0.1:2000-10.0.0.8:2063`, `fd00::1-fd00::8`, `[fd00::1]:2000-[fd00::1]:2063`.
 * @param port Where none is said.
 * @throws RangeTextError
 */
export function parseRange(text: string, port: number): EndpointRange {
  const ends = text.split('-');
  if (ends.length > 2) refuse(text, `a range has two ends: ${FORM}`);
  const first = parseEnd(ends[0], text);
  const last = ends.length === 1 ? first : parseEnd(ends[1], text);
  const firstPort = first.port ?? port;
  const lastPort = last.port ?? firstPort;
  if (first.words.length !== last.words.length) refuse(text, 'both ends are IPv4 or both are IPv6');
  const low = first.words.length - 1;
  for (let i = 0; i < low; i++) {
    if (first.words[i] !== last.words[i]) refuse(text, 'the ends of an IPv6 range share their first 96 bits');
  }
  const addresses = (last.words[low] >>> 0) - (first.words[low] >>> 0) + 1;
  if (addresses < 1 || addresses >= 2 ** 32) refuse(text, 'the first address must not be above the last');
  if (lastPort < firstPort) refuse(text, 'the first port must not be above the last');
  return {
    family: low === 0 ? 4 : 6,
    address: first.words,
    addresses,
    port: firstPort,
    ports: lastPort - firstPort + 1,
  };
}

/** How many 5-tuples two ranges make. */
export function countFlows(src: EndpointRange, dst: EndpointRange): number {
  return src.addresses * src.ports * dst.addresses * dst.ports;
}

function parseEnd(text: string, whole: string): { words: Int32Array; port: number | null } {
  const match = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text) ?? /^([\d.]+)(?::(\d{1,5}))?$/.exec(text);
  const [address, port] = match === null ? [text, undefined] : [match[1], match[2]];
  if (port !== undefined && Number(port) > 65_535) refuse(whole, 'ports end at 65535');
  try {
    const words = address.includes(':') ? parseIpv6(address) : Int32Array.of(parseIpv4(address));
    return { words, port: port === undefined ? null : Number(port) };
  } catch (cause) {
    if (!(cause instanceof AddressError)) throw cause;
    return refuse(whole, `${cause.message}; the form is ${FORM}`, cause);
  }
}

function refuse(text: string, why: string, cause?: Error): never {
  throw new RangeTextError(`${JSON.stringify(text)} is no range of endpoints: ${why}`, { cause });
}

/** Steps through the 5-tuples of two ranges: source ports first, then source addresses, then the destination's. */
export class FlowCursor {
  /** Last words of the addresses, and the ports, of the flow that is next. */
  src: number;
  srcPort: number;
  dst: number;
  dstPort: number;
  readonly #srcFirst: number;
  readonly #srcLast: number;
  readonly #srcPortFirst: number;
  readonly #srcPortLast: number;
  readonly #dstFirst: number;
  readonly #dstLast: number;
  readonly #dstPortFirst: number;
  readonly #dstPortLast: number;

  constructor(src: EndpointRange, dst: EndpointRange) {
    this.#srcFirst = this.src = src.address[src.address.length - 1];
    this.#srcLast = (this.src + src.addresses - 1) | 0;
    this.#srcPortFirst = this.srcPort = src.port;
    this.#srcPortLast = src.port + src.ports - 1;
    this.#dstFirst = this.dst = dst.address[dst.address.length - 1];
    this.#dstLast = (this.dst + dst.addresses - 1) | 0;
    this.#dstPortFirst = this.dstPort = dst.port;
    this.#dstPortLast = dst.port + dst.ports - 1;
  }

  advance(): void {
    if (this.srcPort !== this.#srcPortLast) {
      this.srcPort++;
      return;
    }
    this.srcPort = this.#srcPortFirst;
    if (this.src !== this.#srcLast) {
      this.src = (this.src + 1) | 0;
      return;
    }
    this.src = this.#srcFirst;
    if (this.dstPort !== this.#dstPortLast) {
      this.dstPort++;
      return;
    }
    this.dstPort = this.#dstPortFirst;
    this.dst = this.dst === this.#dstLast ? this.#dstFirst : (this.dst + 1) | 0;
  }
}
