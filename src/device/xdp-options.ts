/** What an AF_XDP port is asked for, and whether its interface can. */
import type { FramePool } from '../memory/frame-pool.ts';
import type { XdpMode } from '../os/bpf.ts';
import { rxQueues } from '../os/ethtool.ts';
import type { InterfaceInfo } from '../os/interface.ts';
import { parseCidr } from '../wire/address.ts';
import { PortError } from './port.ts';
import { FILTER_ADDRESSES_MAX, FILTER_MATCHES_MAX, type XdpMatch } from './xdp-filter.ts';

export interface XdpOptions {
  /** The interface: it exists, is up, and carries Ethernet frames. */
  readonly name: string;
  /** The only queue to take; all of them unless told. */
  readonly queue?: number;
  /** Take so many, the first ones; packets of the others pass to the host. All of them unless told. */
  readonly queues?: number;
  /** Ours, with prefix lengths: only their packets are taken. Everything unless told, or when empty. */
  readonly addresses?: readonly string[];
  /** Of those, only packets of these protocols and ports. */
  readonly only?: readonly XdpMatch[];
  /** Largest IP packet, bytes; the interface's, or what a buffer has room for, unless told. */
  readonly mtu?: number;
  /**
   * Take and give frames of several buffers (FRAME_MORE), as jumbo frames and super-segments are: the port's user knows
   * them. Off unless told.
   */
  readonly multiBuffer?: boolean;
  /** Leave checksums to the device and to the peer's kernel, where they can be; on unless told. */
  readonly offload?: boolean;
  /** Where the program runs; natively if the driver can, unless told. */
  readonly mode?: XdpMode;
  /** Slots of the port's rings, a power of two; 512 unless told. */
  readonly slots?: number;
  /** Run the device's interrupt work in our system calls, for so many us at most; not at all unless told. */
  readonly busyPoll_us?: number;
  /**
   * Where the buffers come from, two for each slot, which the queues share; unless told, or when that one's don't suit
   * AF_XDP, a pool of its own, in which each queue has as many as there are slots.
   */
  readonly pool?: FramePool;
}

/** A port gathers from no more than this. */
const QUEUES_MAX = 64;
/** The kernel's sockets take no larger rings. */
const SLOTS_MAX = 32_768;
/** RFC 791 3.2 */
const MTU_MIN = 68;
const IP_BYTES_MAX = 65_535;
/** An Ethernet header with a VLAN tag. */
export const LINK_BYTES_MAX = 18;

/** Opening will tell what is wrong with the interface. */
export function rxQueuesOrOne(name: string): number {
  try {
    return Math.min(QUEUES_MAX, rxQueues(name));
  } catch {
    return 1;
  }
}

/** @returns their numbers. @throws PortError EINVAL */
export function queuesOf({ name, queues }: XdpOptions): number[] {
  const there = rxQueues(name);
  if (queues !== undefined && queues > there) {
    throw new PortError(
      'EINVAL',
      `xdp:${name}: it has ${there}, not ${queues} queues: ethtool -L ${name} combined ${queues}, if its driver can`,
    );
  }
  return Array.from({ length: queues ?? Math.min(there, QUEUES_MAX) }, (_, i) => i);
}

/** @throws PortError EINVAL */
export function mtuOf(
  { name, mtu, multiBuffer = false }: XdpOptions,
  info: InterfaceInfo,
  frameBytes: number,
): number {
  const most = multiBuffer ? info.mtu : Math.min(info.mtu, frameBytes - LINK_BYTES_MAX);
  if (mtu === undefined || mtu <= most) return mtu ?? most;
  throw new PortError(
    'EINVAL',
    mtu > info.mtu
      ? `${name} has an MTU of ${info.mtu}, not ${mtu}: ip link set ${name} mtu ${mtu}`
      : `an MTU of ${mtu} on ${name} takes frames of several buffers, which this program can't have: ${most} at most`,
  );
}

/** @throws PortError EINVAL */
export function checkOptions({
  name,
  queue,
  queues = 1,
  addresses = [],
  only = [],
  mtu = MTU_MIN,
  slots = 1,
}: XdpOptions): void {
  const refuse = (why: string): never => {
    throw new PortError('EINVAL', `xdp:${name}: ${why}`);
  };
  if (queue !== undefined && !(Number.isInteger(queue) && queue >= 0)) refuse(`there is no queue ${queue}`);
  if (!(Number.isInteger(queues) && queues >= 1 && queues <= QUEUES_MAX))
    refuse(`it takes 1 to ${QUEUES_MAX} queues, not ${queues}`);
  if (queue !== undefined && queues > 1)
    refuse(`queue ${queue} is one: for ${queues} queues leave its number away`);
  if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > IP_BYTES_MAX)
    refuse(`the mtu must be ${MTU_MIN} to ${IP_BYTES_MAX} bytes, not ${mtu}`);
  if (!(Number.isInteger(Math.log2(slots)) && slots >= 1 && slots <= SLOTS_MAX))
    refuse(`slots are a power of two, ${SLOTS_MAX} at most, not ${slots}`);
  if (addresses.length > FILTER_ADDRESSES_MAX)
    refuse(`it takes ${FILTER_ADDRESSES_MAX} addresses at most, not ${addresses.length}`);
  if (only.length > FILTER_MATCHES_MAX)
    refuse(`it takes ${FILTER_MATCHES_MAX} protocols and ports at most, not ${only.length}`);
  if (only.length > 0 && addresses.length === 0)
    refuse('protocols and ports are chosen among packets for addresses, and there are none');
  for (const address of addresses) {
    try {
      parseCidr(address);
    } catch (cause) {
      throw new PortError('EINVAL', `xdp:${name}: ${(cause as Error).message}`, { cause });
    }
  }
}

/** @throws PortError */
export function checkInterface(name: string, info: InterfaceInfo): InterfaceInfo {
  if (!info.ether || info.mac === '') {
    throw new PortError('EOPNOTSUPP', `xdp:${name}: it carries no Ethernet frames: take another interface`);
  }
  if (!info.up) throw new PortError('ENETDOWN', `xdp:${name}: it is down: ip link set ${name} up`);
  return info;
}
