/**
 * A million damaged frames through every parser. Each frame ends where its buffer ends, so that a read past
 * it throws, and starts past the buffer's start, so that a forgotten offset reads zeros.
 *
 * A failure names its seed; `MILLRACE_SEED=n npx vitest run src/wire/fuzz.test.ts` runs it again.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Prng } from '../memory/prng.ts';
import { ARP_REJECTS, arpCheck } from './arp.ts';
import { decodeFrame, type Link } from './decode.ts';
import { describeDecoded } from './describe.ts';
import { ETHER_REJECTS, etherCheck } from './ethernet.ts';
import { FRAME_WORLD, generateFrame } from './generate.ts';
import { ICMP_REJECTS, icmpCheck } from './icmp.ts';
import { ICMPV6_REJECTS, icmpv6Check } from './icmpv6.ts';
import { IPV4_REJECTS, ipv4Check, ipv4CheckQuoted, ipv4ChecksumGood } from './ipv4.ts';
import { IPV6_REJECTS, ipv6Check, ipv6CheckQuoted, ipv6Upper, upperOffset } from './ipv6.ts';
import { mutateFrame, repairChecksums } from './mutate.ts';
import { NDP_REJECTS, NdpOptions, ndpCheck, ndpOptionsParse } from './ndp.ts';
import { TCP_REJECTS, tcpCheck } from './tcp.ts';
import {
  accEcnCounter,
  sackRight,
  TCP_OPTIONS_REJECTS,
  TcpOptions,
  tcpFastTsEcr,
  tcpHasTimestampsOnly,
  tcpOptionsParse,
} from './tcp-options.ts';
import { UDP_REJECTS, udpCheck, udpLength } from './udp.ts';

const FRAMES = 1_000_000;
const SEED = Number(process.env.MILLRACE_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** How often each check answered what: index 0 accepted, others the negated reject code. */
const seen = new Map<string, number[]>();
/** Codes of these that a frame on its own can't bring about. */
const rejects: Record<string, readonly string[]> = {
  ether: ETHER_REJECTS,
  arp: ARP_REJECTS,
  ipv4: IPV4_REJECTS,
  ipv6: IPV6_REJECTS.slice(0, 4),
  upper: IPV6_REJECTS.slice(4),
  tcp: TCP_REJECTS,
  options: TCP_OPTIONS_REJECTS,
  udp: UDP_REJECTS,
  icmp: ICMP_REJECTS,
  icmpv6: ICMPV6_REJECTS,
  ndp: NDP_REJECTS.slice(0, 4),
};

const buffer = new Uint8Array(8192);
const view = new DataView(buffer.buffer);
const tcpOptions = new TcpOptions();
const ndpOptions = new NdpOptions();

let stackTraceLimit = 10;
beforeAll(() => {
  // Most frames end in a WireError; its stack trace would take most of the time.
  stackTraceLimit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
});
afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

test('no frame upsets a parser', { timeout: 120_000 }, () => {
  const prng = new Prng(SEED);
  for (const link of ['ether', 'ip'] as const) {
    const corpus = Array.from({ length: 2000 }, () => generateFrame(prng, { ...FRAME_WORLD, link }));
    for (const frame of corpus) expectAccepted(frame, link);
    for (let i = 0; i < FRAMES / 2; i++) {
      const donor = corpus[prng.below(corpus.length)];
      const frame = mutateFrame(prng, corpus[prng.below(corpus.length)], donor);
      if (prng.bool()) repairChecksums(frame, link);
      try {
        throughChecks(prng, frame, link === 'ether' ? 14 : 0);
        throughDecoder(frame, link);
      } catch (error) {
        const hex = Buffer.from(frame).toString('hex');
        throw new Error(`MILLRACE_SEED=${SEED}, ${link} frame ${i}: ${hex}: ${error}`, { cause: error });
      }
    }
  }
  for (const [name, codes] of Object.entries(rejects)) {
    const counts = seen.get(name) ?? [];
    for (let code = 0; code < codes.length; code++) {
      const index = name === 'upper' && code > 0 ? code + 3 : code;
      expect(counts[index], `${name}: ${codes[code] || 'accepted'} (seed ${SEED})`).toBeGreaterThan(0);
    }
  }
});

function expectAccepted(frame: Uint8Array, link: Link): void {
  const decoded = decodeFrame(frame, link);
  const groupSender = decoded.malformed?.reason === 'group sender';
  expect(
    groupSender ? undefined : decoded.malformed,
    `seed ${SEED}: ${Buffer.from(frame).toString('hex')}`,
  ).toBeUndefined();
  expect(decoded.checksumGood).not.toBe(false);
}

/** Every check on the frame from the start of its IP header, or from anywhere. */
function throughChecks(prng: Prng, frame: Uint8Array, header: number): void {
  const base = buffer.length - frame.length;
  buffer.set(frame, base);
  count('ether', etherCheck(view, base, frame.length));
  const skip = Math.min(frame.length, prng.bool() ? header : header + prng.below(64));
  const at = base + skip;
  const length = frame.length - skip;
  const within = (name: string, result: number): number => {
    count(name, result);
    if (result > length) throw new Error(`${name} accepted a header of ${result} B in ${length} B`);
    return result;
  };

  within('arp', arpCheck(view, at, length));
  within('quoted ipv4', ipv4CheckQuoted(view, at, length));
  const ipv4 = within('ipv4', ipv4Check(view, at, length));
  if (ipv4 > 0) ipv4ChecksumGood(view, at, ipv4);
  const quoted6 = within('quoted ipv6', ipv6CheckQuoted(view, at, length));
  within('ipv6', ipv6Check(view, at, length));
  if (quoted6 > 0) {
    const upper = ipv6Upper(view, at, length);
    count('upper', upper);
    if (upper > 0) within('upper offset', upperOffset(upper));
  }
  const ipHeader = ipv4 > 0 ? ipv4 : Math.min(length, 40);
  transportChecks(at + ipHeader, length - ipHeader);
  transportChecks(at, length);
}

function transportChecks(at: number, length: number): void {
  const tcp = tcpCheck(view, at, length);
  count('tcp', tcp);
  if (tcp > 0) {
    if (tcp > length) throw new Error('tcp header past its segment');
    if (tcpHasTimestampsOnly(view, at, tcp)) tcpFastTsEcr(view, at);
    options(at + 20, tcp - 20);
  }
  options(at, Math.min(length, 40));
  const udp = udpCheck(view, at, length);
  count('udp', udp);
  if (udp > 0 && udpLength(view, at) > length) throw new Error('datagram past its packet');
  count('icmp', icmpCheck(view, at, length));
  count('icmpv6', icmpv6Check(view, at, length));
  const ndp = ndpCheck(view, at, length);
  count('ndp', ndp);
  if (ndp > 0) {
    if (ndp > length) throw new Error('ndp header past its message');
    count('ndp options', ndpOptionsParse(view, at + ndp, length - ndp, ndpOptions));
  }
}

function options(at: number, length: number): void {
  const result = tcpOptionsParse(view, at, length, tcpOptions);
  count('options', result);
  const end = at + length;
  const inside = (from: number, bytes: number) => bytes === 0 || (from >= at && from + bytes <= end);
  const good =
    tcpOptions.windowScale <= 14 &&
    inside(tcpOptions.sackAt, tcpOptions.sackCount * 8) &&
    inside(tcpOptions.fastOpenAt, tcpOptions.fastOpenLength) &&
    inside(tcpOptions.accEcnAt, tcpOptions.accEcnCount * 3);
  if (!good) throw new Error('an option past the header');
  if (tcpOptions.sackCount > 0) sackRight(view, tcpOptions, tcpOptions.sackCount - 1);
  if (tcpOptions.accEcnCount > 0) accEcnCounter(view, tcpOptions, tcpOptions.accEcnCount - 1);
}

function throughDecoder(frame: Uint8Array, link: Link): void {
  const text = describeDecoded(decodeFrame(frame, link));
  if (text === '' || text.includes('\n') || text.includes('undefined'))
    throw new Error(`described as: ${text}`);
}

function count(name: string, result: number): void {
  let counts = seen.get(name);
  if (counts === undefined) seen.set(name, (counts = new Array<number>(16).fill(0)));
  counts[result < 0 ? -result : 0] += 1;
}
