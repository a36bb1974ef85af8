/**
 * The host's own network stack as a port (netmap's host rings): for a program that has taken an interface away from the
 * host, as an AF_XDP port does, and gives the host its connectivity back through itself.
 *
 *     eth0 ◄──► xdp:eth0 ◄── our program ──► host:eth0 = TAP mr-eth0, with eth0's addresses and routes ◄──► the host
 *
 * eth0 keeps addresses and routes, too: the TAP's come first, and go with it, however the program ends.
 */
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { errorCode } from '../os/errno.ts';
import { copyHostRole } from '../os/host-role.ts';
import { type InterfaceInfo, interfaceInfo, setInterface } from '../os/interface.ts';
import { type Port, PortError } from './port.ts';
import { asPortError } from './port-error.ts';
import { openTun, tunArenaBytes } from './tun.ts';

export interface HostOptions {
  /** Of the interface whose part is taken, which is Ethernet and up. */
  readonly name: string;
  /** As a TAP's. */
  readonly offload?: boolean;
  readonly slots?: number;
  readonly pool?: FramePool;
}

const INTERFACE_NAME_MAX = 15;

/**
 * Makes a TAP called `mr-NAME`, with the hardware address, MTU, addresses and routes that the interface has now.
 *
 * @throws PortError as openTun, and `ENODEV`, `ENETDOWN`, `EINVAL` for the interface; ArenaFullError
 */
export function openHost(arena: Arena, { name, ...options }: HostOptions): Port {
  const what = `host:${name}`;
  const on = lookUp(name);
  if (!on.ether) throw new PortError('EINVAL', `${what} is no Ethernet interface: name one that is`);
  if (!on.up) throw new PortError('ENETDOWN', `the interface of ${what} is down: ip link set ${name} up`);
  const tap = `mr-${name}`.slice(0, INTERFACE_NAME_MAX);
  const port = openTun(arena, { ...options, name: tap, kind: 'tap', mtu: on.mtu });
  try {
    // Down, so that it never has a link-local address by the hardware address that it was made with.
    setInterface(tap, { up: false });
    setInterface(tap, { mac: on.mac });
    setInterface(tap, { up: true });
    copyHostRole(name, tap);
    return port;
  } catch (error) {
    port.close();
    throw asPortError(error, what, '');
  }
}

/** What a port carves at most, bytes. @throws PortError ENODEV */
export function hostArenaBytes({ name, offload = true, slots }: HostOptions): number {
  return tunArenaBytes(offload, lookUp(name).mtu, slots);
}

function lookUp(name: string): InterfaceInfo {
  try {
    return interfaceInfo(name);
  } catch (error) {
    const advice = 'name the interface that the host has; for one with addresses of its own, take tap:NAME';
    throw asPortError(error, `host:${name}`, errorCode(error) === 'ENODEV' ? advice : '');
  }
}
