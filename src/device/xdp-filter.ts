/**
 * The XDP program that parts an interface between us and the host: what is for our addresses goes to the AF_XDP
 * socket of its queue, everything else on to the kernel. Where a queue has no socket its packets pass, too.
 *
 *     without addresses   everything is ours
 *     IPv4                destination is ours
 *     ARP                 target or sender is ours (a request for us, an answer to us, a claim to our address)
 *     IPv6                destination is ours
 *     neighbour discovery target is ours, whoever it is sent to: solicited-node groups are shared by addresses
 *     VLAN tags           never: they belong to the host's VLAN interfaces
 *     groups, broadcast   never: XDP can't give a packet to both
 *
 * With `only`, packets for our addresses must be of one of these protocols, too, for their port if one is given. Packets
 * whose ports aren't in sight (fragments, IPv6 extension headers) stay together then, and pass; ARP and
 * neighbour discovery are ours all the same.
 *
 * Addresses are constants of the program, compared one after the other: a few, known at the start.
 */
import { BPF_REDIRECT_MAP, XDP_DATA, XDP_DATA_END, XDP_PASS, XDP_RX_QUEUE } from '../os/bpf.ts';
import {
  add,
  addRegister,
  and,
  assemble,
  call,
  exit,
  jump,
  jumpIf,
  jumpIfRegister,
  type Line,
  label,
  load,
  loadMap,
  move,
  R0,
  R1,
  R2,
  R3,
  R4,
  R5,
  R6,
  R7,
  R8,
  type Register,
  set,
  shiftLeft,
} from '../os/bpf-assembler.ts';
import { parseCidr } from '../wire/address.ts';
import { ARP_BYTES, ARP_SENDER_IP, ARP_TARGET_IP } from '../wire/arp.ts';
import {
  ETHER_HEADER_BYTES as ETHER,
  ETHER_TYPE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
} from '../wire/ethernet.ts';
import {
  IPV4_DST,
  IPV4_FRAGMENT,
  IPV4_HEADER_BYTES,
  IPV4_MF,
  IPV4_OFFSET_MASK,
  IPV4_PROTOCOL,
  IPV4_VERSION_IHL,
} from '../wire/ipv4.ts';
import { IPV6_DST, IPV6_HEADER_BYTES, IPV6_NEXT_HEADER } from '../wire/ipv6.ts';
import { NDP_NEIGHBOR_ADVERT, NDP_NEIGHBOR_SOLICIT, NDP_TARGET } from '../wire/ndp.ts';
import { PROTOCOL_ICMPV6 } from '../wire/protocols.ts';

/** What is taken of the packets for our addresses. */
export interface XdpMatch {
  /** IANA's number: 6 for TCP, 17 for UDP, 1 for ICMP, 58 for ICMPv6. */
  readonly protocol: number;
  /** Destination port, for protocols that begin with two ports; any unless told. */
  readonly port?: number;
}

/** More are refused: the program compares them one by one. */
export const FILTER_ADDRESSES_MAX = 256;
export const FILTER_MATCHES_MAX = 256;

/** Of the two ports that TCP, UDP, SCTP and DCCP begin with. */
const DST_PORT = 2;
const PORTS_BYTES = 4;
const ICMPV6 = ETHER + IPV6_HEADER_BYTES;

/**
 * @param map Descriptor of the XSKMAP. @param addresses With prefix lengths.
 * @throws AddressError, RangeError
 */
export function xdpFilter(
  map: number,
  addresses: readonly string[],
  only: readonly XdpMatch[] = [],
): Uint8Array<ArrayBuffer> {
  if (addresses.length > FILTER_ADDRESSES_MAX || only.length > FILTER_MATCHES_MAX) {
    throw new RangeError(
      `a filter has ${FILTER_ADDRESSES_MAX} addresses and ${FILTER_MATCHES_MAX} protocols or ports at most`,
    );
  }
  const parsed = addresses.map(parseCidr);
  const v4 = parsed.flatMap((cidr) => (cidr.family === 4 ? [net32(cidr.address)] : []));
  const v6 = parsed.flatMap((cidr) => (cidr.family === 6 ? [[...cidr.address].map(net32)] : []));
  const parts = addresses.length === 0 ? [] : selection(v4, v6, only);
  return assemble([
    ...parts,
    // bpf_redirect_map(map, queue, verdict where the map has no socket)
    label('take'),
    ...(parts.length === 0 ? [move(R6, R1)] : []),
    load(4, R2, R6, XDP_RX_QUEUE),
    loadMap(R1, map),
    set(R3, XDP_PASS),
    call(BPF_REDIRECT_MAP),
    exit(),
    ...(parts.length === 0 ? [] : [label('pass'), set(R0, XDP_PASS), exit()]),
  ]);
}

/** Goes to `take` or `pass`. R6: context, R2: the frame, R3: its end. */
function selection(v4: readonly number[], v6: readonly number[][], only: readonly XdpMatch[]): Line[] {
  return [
    move(R6, R1),
    load(4, R2, R6, XDP_DATA),
    load(4, R3, R6, XDP_DATA_END),
    ...within(ETHER),
    load(2, R5, R2, ETHER_TYPE),
    ...(v4.length === 0
      ? []
      : [jumpIf(R5, '==', net16(ETHERTYPE_IPV4), 'ipv4'), jumpIf(R5, '==', net16(ETHERTYPE_ARP), 'arp')]),
    ...(v6.length === 0 ? [] : [jumpIf(R5, '==', net16(ETHERTYPE_IPV6), 'ipv6')]),
    jump('pass'),
    ...(v4.length === 0 ? [] : [...arp(v4), ...ipv4(v4, only)]),
    ...(v6.length === 0 ? [] : ipv6(v6, only)),
    ...ports(only),
  ];
}

function arp(ours: readonly number[]): Line[] {
  return [
    label('arp'),
    ...within(ETHER + ARP_BYTES),
    load(4, R4, R2, ETHER + ARP_SENDER_IP),
    load(4, R5, R2, ETHER + ARP_TARGET_IP),
    ...ours.flatMap((address) => [jumpIf(R5, '==', address, 'take'), jumpIf(R4, '==', address, 'take')]),
    jump('pass'),
  ];
}

function ipv4(ours: readonly number[], only: readonly XdpMatch[]): Line[] {
  return [
    label('ipv4'),
    ...within(ETHER + IPV4_HEADER_BYTES),
    load(4, R5, R2, ETHER + IPV4_DST),
    ...ours.map((address) => jumpIf(R5, '==', address, only.length === 0 ? 'take' : 'ipv4 ours')),
    jump('pass'),
    ...(only.length === 0 ? [] : ipv4Only(only)),
  ];
}

function ipv4Only(only: readonly XdpMatch[]): Line[] {
  return [
    label('ipv4 ours'),
    load(1, R0, R2, ETHER + IPV4_PROTOCOL),
    ...wholeProtocols(only),
    load(2, R5, R2, ETHER + IPV4_FRAGMENT),
    and(R5, net16(IPV4_MF | IPV4_OFFSET_MASK)),
    jumpIf(R5, '!=', 0, 'pass'),
    load(1, R4, R2, ETHER + IPV4_VERSION_IHL),
    and(R4, 0x0f),
    shiftLeft(R4, 2),
    addRegister(R2, R4),
    ...within(ETHER + PORTS_BYTES),
    load(2, R5, R2, ETHER + DST_PORT),
    jump('ports'),
  ];
}

function ipv6(ours: readonly number[][], only: readonly XdpMatch[]): Line[] {
  return [
    label('ipv6'),
    ...within(ICMPV6),
    ...compareIpv6(ETHER + IPV6_DST, ours, only.length === 0 ? 'take' : 'ipv6 ours'),
    // To a group, or for somebody else: ours if it is about us.
    load(1, R0, R2, ETHER + IPV6_NEXT_HEADER),
    jumpIf(R0, '!=', PROTOCOL_ICMPV6, 'pass'),
    ...within(ICMPV6 + NDP_TARGET + 16),
    load(1, R0, R2, ICMPV6),
    jumpIf(R0, '==', NDP_NEIGHBOR_SOLICIT, 'target'),
    jumpIf(R0, '!=', NDP_NEIGHBOR_ADVERT, 'pass'),
    label('target'),
    ...compareIpv6(ICMPV6 + NDP_TARGET, ours, 'take'),
    jump('pass'),
    ...(only.length === 0 ? [] : ipv6Only(only)),
  ];
}

function ipv6Only(only: readonly XdpMatch[]): Line[] {
  return [
    label('ipv6 ours'),
    load(1, R0, R2, ETHER + IPV6_NEXT_HEADER),
    ...wholeProtocols(only),
    ...within(ICMPV6 + PORTS_BYTES),
    load(2, R5, R2, ICMPV6 + DST_PORT),
    jumpIf(R0, '!=', PROTOCOL_ICMPV6, 'ports'),
    load(1, R4, R2, ICMPV6),
    jumpIf(R4, '==', NDP_NEIGHBOR_SOLICIT, 'take'),
    jumpIf(R4, '==', NDP_NEIGHBOR_ADVERT, 'take'),
    jump('pass'),
  ];
}

/** R0: the protocol. */
function wholeProtocols(only: readonly XdpMatch[]): Line[] {
  return only.flatMap(({ protocol, port }) =>
    port === undefined ? [jumpIf(R0, '==', protocol, 'take')] : [],
  );
}

/** R0: the protocol, R5: the destination port. */
function ports(only: readonly XdpMatch[]): Line[] {
  if (only.length === 0) return [];
  const tests = only.flatMap(({ protocol, port }, i) =>
    port === undefined
      ? []
      : [jumpIf(R0, '!=', protocol, `not ${i}`), jumpIf(R5, '==', net16(port), 'take'), label(`not ${i}`)],
  );
  return [label('ports'), ...tests, jump('pass')];
}

/** Goes to `target` if the address at an offset is one of these. */
function compareIpv6(offset: number, addresses: readonly number[][], target: string): Line[] {
  const words: readonly Register[] = [R4, R5, R7, R8];
  return [
    ...words.map((register, i) => load(4, register, R2, offset + 4 * i)),
    ...addresses.flatMap((address, i) => {
      const next = `${offset} not ${i}`;
      return [
        ...words.slice(0, 3).map((register, word) => jumpIf(register, '!=', address[word], next)),
        jumpIf(R8, '==', address[3], target),
        label(next),
      ];
    }),
  ];
}

/** Goes to `pass` unless the frame has so many bytes from R2 on. Spoils R4. */
function within(bytes: number): Line[] {
  return [move(R4, R2), add(R4, bytes), jumpIfRegister(R4, '>', R3, 'pass')];
}

/** As a little-endian machine loads what is in network byte order. */
function net16(value: number): number {
  return ((value & 0xff) << 8) | ((value >> 8) & 0xff);
}

function net32(value: number): number {
  return (net16(value) << 16) | net16(value >>> 16);
}
