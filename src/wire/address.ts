/**
 * Addresses as text and as the data path holds them: an IPv4 address is one int32, an IPv6 address four int32
 * words, in network order (the first byte of the address is the top one of the first word), a hardware address
 * six bytes. Parsing is strict: what two programs could read differently is refused (RFC 6943 3.1.1).
 */

/** Text that is no address; `code` is `ERR_INVALID_ADDRESS`. */
export class AddressError extends Error {
  readonly code = 'ERR_INVALID_ADDRESS';
  override readonly name = 'AddressError';
}

// ── IPv4 ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Dotted decimal, four parts, no leading zeros (which some read as octal). @throws AddressError */
export function parseIpv4(text: string): number {
  // Character by character: each connect() does it, and a pattern for each part took 150 ns, a twentieth of a short
  // connection.
  let address = 0;
  let part = -1;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit === -2 && part >= 0 && dots < 3) {
      address = (address << 8) | part;
      part = -1;
      dots++;
      continue;
    }
    // No leading zeros: some would read them as octal.
    if (digit < 0 || digit > 9 || part === 0) return refuse('IPv4 address', text);
    part = part < 0 ? digit : part * 10 + digit;
    if (part > 255) return refuse('IPv4 address', text);
  }
  return part >= 0 && dots === 3 ? (address << 8) | part : refuse('IPv4 address', text);
}

export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** @param length 0 to 32. @returns the mask, int32. */
export function ipv4Mask(length: number): number {
  return length === 0 ? 0 : -1 << (32 - length);
}

/** 224.0.0.0/4 */
export function ipv4IsMulticast(address: number): boolean {
  return address >>> 28 === 14;
}

/** 127.0.0.0/8 */
export function ipv4IsLoopback(address: number): boolean {
  return address >>> 24 === 127;
}

/** 169.254.0.0/16 (RFC 3927) */
export function ipv4IsLinkLocal(address: number): boolean {
  return address >>> 16 === 0xa9fe;
}

export function ipv4IsUnspecified(address: number): boolean {
  return address === 0;
}

/** 255.255.255.255 */
export function ipv4IsBroadcast(address: number): boolean {
  return address === -1;
}

/** The directed broadcast of `network/length`: all ones in the host part. /31 and /32 have none (RFC 3021). */
export function ipv4IsSubnetBroadcast(address: number, network: number, length: number): boolean {
  const mask = ipv4Mask(length);
  return length < 31 && ((address ^ network) & mask) === 0 && (address | mask) === -1;
}

// ── IPv6 ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Any form of RFC 4291 2.2; a zone (`%eth0`) is refused. @returns four int32 words. @throws AddressError */
export function parseIpv6(text: string): Int32Array {
  if (text.includes('%')) return refuse('IPv6 address', text, 'a zone is not supported here');
  const halves = text.split('::');
  if (halves.length > 2) return refuse('IPv6 address', text, 'at most one ::');
  const left = ipv6Groups(halves[0], halves.length === 1, text);
  const right = halves.length === 2 ? ipv6Groups(halves[1], true, text) : [];
  const missing = 8 - left.length - right.length;
  // A :: stands for at least one group.
  if (halves.length === 2 ? missing < 1 : missing !== 0) return refuse('IPv6 address', text);
  const groups = [...left, ...new Array<number>(missing).fill(0), ...right];
  return Int32Array.from({ length: 4 }, (_, i) => (groups[2 * i] << 16) | groups[2 * i + 1]);
}

/** @param last Whether the address ends here, so that an IPv4 tail may stand. */
function ipv6Groups(text: string, last: boolean, whole: string): number[] {
  if (text === '') return [];
  const parts = text.split(':');
  return parts.flatMap((part, i) => {
    if (last && i === parts.length - 1 && part.includes('.')) {
      const tail = parseIpv4(part);
      return [tail >>> 16, tail & 0xffff];
    }
    return /^[0-9a-f]{1,4}$/i.test(part) ? [Number.parseInt(part, 16)] : refuse('IPv6 address', whole);
  });
}

/** RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups (the first of equals) as
 * `::`, and an IPv4-mapped address with its IPv4 part dotted. */
export function formatIpv6(words: ArrayLike<number>, index = 0): string {
  const [w0, w1, w2, w3] = [words[index], words[index + 1], words[index + 2], words[index + 3]];
  if (w0 === 0 && w1 === 0 && w2 === 0xffff) return `::ffff:${formatIpv4(w3)}`;
  const groups = [w0, w1, w2, w3].flatMap((word) => [word >>> 16, word & 0xffff]);
  let runAt = 0;
  let runLength = 0;
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && groups[at + length] === 0) length++;
    if (length > runLength) [runAt, runLength] = [at, length];
  }
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (runLength < 2) return hex(groups);
  return `${hex(groups.slice(0, runAt))}::${hex(groups.slice(runAt + runLength))}`;
}

/** ff00::/8; takes the first word. */
export function ipv6IsMulticast(word0: number): boolean {
  return word0 >>> 24 === 0xff;
}

/** fe80::/10; takes the first word. */
export function ipv6IsLinkLocal(word0: number): boolean {
  return word0 >>> 22 === 0x3fa;
}

export function ipv6IsUnspecified(word0: number, word1: number, word2: number, word3: number): boolean {
  return (word0 | word1 | word2 | word3) === 0;
}

/** ::1 */
export function ipv6IsLoopback(word0: number, word1: number, word2: number, word3: number): boolean {
  return (word0 | word1 | word2) === 0 && word3 === 1;
}

/** Whether the first `length` bits (0 to 128) of two addresses agree. */
export function ipv6InPrefix(address: ArrayLike<number>, prefix: ArrayLike<number>, length: number): boolean {
  for (let i = 0, bits = length; bits > 0; i++, bits -= 32) {
    if (((address[i] ^ prefix[i]) & ipv4Mask(Math.min(bits, 32))) !== 0) return false;
  }
  return true;
}

// ── Networks ──────────────────────────────────────────────────────────────────────────────────────────────

/** An address with a prefix length. Host bits are kept, so that it may name an interface (10.0.0.1/24). */
export type Cidr =
  | { readonly family: 4; readonly address: number; readonly length: number }
  | { readonly family: 6; readonly address: Int32Array; readonly length: number };

/** @throws AddressError */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/');
  if (slash < 0) return refuse('network', text, 'a prefix length is missing, as in 10.0.0.0/8');
  const family = text.includes(':') ? 6 : 4;
  const digits = text.slice(slash + 1);
  const length = Number(digits);
  if (!/^(0|[1-9]\d{0,2})$/.test(digits) || length > (family === 4 ? 32 : 128)) {
    return refuse('network', text, `its prefix length must be 0 to ${family === 4 ? 32 : 128}`);
  }
  const address = text.slice(0, slash);
  return family === 4
    ? { family, address: parseIpv4(address), length }
    : { family, address: parseIpv6(address), length };
}

export function formatCidr(cidr: Cidr): string {
  const address = cidr.family === 4 ? formatIpv4(cidr.address) : formatIpv6(cidr.address);
  return `${address}/${cidr.length}`;
}

// ── Hardware addresses ────────────────────────────────────────────────────────────────────────────────────

/** Six bytes of two hex digits with colons between. @throws AddressError */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return refuse('hardware address', text);
  const bytes = new Uint8Array(6);
  for (let i = 0; i < 6; i++) bytes[i] = Number.parseInt(text.slice(3 * i, 3 * i + 2), 16);
  return bytes;
}

export function formatMac(bytes: ArrayLike<number>, at = 0): string {
  let text = HEX[bytes[at]];
  for (let i = at + 1; i < at + 6; i++) text += `:${HEX[bytes[i]]}`;
  return text;
}

/** Each byte in two digits. */
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** The first two bytes, uint16: hot code holds a hardware address as this and `macLow`. */
export function macHigh(bytes: Uint8Array): number {
  return (bytes[0] << 8) | bytes[1];
}

/** The last four bytes, int32. */
export function macLow(bytes: Uint8Array): number {
  return (bytes[2] << 24) | (bytes[3] << 16) | (bytes[4] << 8) | bytes[5];
}

/** Group addresses, broadcast among them; takes `macHigh`. */
export function macIsMulticast(high: number): boolean {
  return (high & 0x0100) !== 0;
}

function refuse(what: string, text: string, why?: string): never {
  throw new AddressError(`${JSON.stringify(text)} is not a valid ${what}${why ? `: ${why}` : ''}`);
}

/** Either family: one word, or four. @throws AddressError */
export function parseIp(text: string): number[] {
  return text.includes(':') ? Array.from(parseIpv6(text)) : [parseIpv4(text)];
}
