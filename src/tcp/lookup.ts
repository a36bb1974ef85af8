/** Finding a packet's connection in the flow table. */
import type { Packet } from '../ip/packet.ts';
import { flowHash4, flowHash6 } from '../memory/flow-table.ts';
import { FLAG, TCB } from './block.ts';
import type { Tcp } from './tcp.ts';

const { FLAGS, PORTS, RADDR, LADDR, RADDR6, LADDR6, HASH } = TCB;
const { V6 } = FLAG;

/** Flow hash of an arriving packet. */
export function packetHash(tcp: Tcp, p: Packet, ports: number): number {
  return p.version === 4
    ? flowHash4(tcp.key0, tcp.key1, p.dst0, p.src0, ports)
    : flowHash6(tcp.key0, tcp.key1, p.dst0, p.dst1, p.dst2, p.dst3, p.src0, p.src1, p.src2, p.src3, ports);
}

/** @returns the block (full or mini) of an arriving packet, or 0. */
export function flowLookup(tcp: Tcp, p: Packet, ports: number, hash: number): number {
  const m = tcp.m;
  const table = tcp.table;
  const base = table.base;
  const mask = table.mask;
  let i = hash & mask;
  for (;;) {
    const t = m[base + (i << 1) + 1];
    if (t === 0) return 0;
    if (m[base + (i << 1)] === hash && m[t + PORTS] === ports) {
      if (p.version === 4) {
        if (m[t + RADDR] === p.src0 && m[t + LADDR] === p.dst0 && (m[t + FLAGS] & V6) === 0) return t;
      } else if (sameAddresses6(m, t, p)) return t;
    }
    i = (i + 1) & mask;
  }
}

function sameAddresses6(m: Int32Array, t: number, p: Packet): boolean {
  return (
    (m[t + FLAGS] & V6) !== 0 &&
    m[t + RADDR6 + 3] === p.src3 &&
    m[t + RADDR6 + 2] === p.src2 &&
    m[t + RADDR6 + 1] === p.src1 &&
    m[t + RADDR6] === p.src0 &&
    m[t + LADDR6 + 3] === p.dst3 &&
    m[t + LADDR6 + 2] === p.dst2 &&
    m[t + LADDR6 + 1] === p.dst1 &&
    m[t + LADDR6] === p.dst0
  );
}

/** Writes the packet's addresses and ports into a new block as its key. The packet came from the remote end. */
export function keyFromPacket(m: Int32Array, t: number, p: Packet, ports: number, hash: number): void {
  m[t + PORTS] = ports;
  m[t + HASH] = hash;
  if (p.version === 4) {
    m[t + RADDR] = p.src0;
    m[t + LADDR] = p.dst0;
    return;
  }
  m[t + FLAGS] |= V6;
  m[t + RADDR] = p.src3;
  m[t + LADDR] = p.dst3;
  m[t + RADDR6] = p.src0;
  m[t + RADDR6 + 1] = p.src1;
  m[t + RADDR6 + 2] = p.src2;
  m[t + RADDR6 + 3] = p.src3;
  m[t + LADDR6] = p.dst0;
  m[t + LADDR6 + 1] = p.dst1;
  m[t + LADDR6 + 2] = p.dst2;
  m[t + LADDR6 + 3] = p.dst3;
}

/** Puts `to` in the place of `from` in the flow table, under the same hash. */
export function flowReplace(tcp: Tcp, from: number, to: number): void {
  const m = tcp.m;
  const { base, mask } = tcp.table;
  const hash = m[from + HASH];
  let i = hash & mask;
  for (;;) {
    const t = m[base + (i << 1) + 1];
    if (t === from) {
      m[base + (i << 1) + 1] = to;
      return;
    }
    if (t === 0) throw new Error('assertion: the block is not in the flow table');
    i = (i + 1) & mask;
  }
}
