/** What the node:net jobs share: how many connections fit, and opening them over loopback. */
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';

/**
 * Connections go to as many addresses of 127/8 as it takes not to run out of local ports. Other destinations
 * rather than other sources: a socket bound to its source before connect() can't share a port.
 */
const CONNECTIONS_PER_ADDRESS = 5_000;
/** Node's own, the listener, and some to spare. */
const DESCRIPTORS_RESERVED = 64;
/** Connects under way at once while ramping up: below the listen backlog. */
const CONNECTING_MAX = 256;

/** How many files this process may open. Node raises its soft limit to the hard one at start. */
function descriptorLimit(): number {
  const match = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return match === null || match[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(match[1]);
}

export interface Room {
  readonly connections: number;
  readonly note?: string;
  readonly skipped?: string;
}

/**
 * How many of the wanted connections this process may open. A few less than wanted measure the same thing
 * and are noted; under `fractionMin` of them it would be another workload.
 * @param descriptorsEach 2 when both ends are in this process.
 */
export function roomFor(wanted: number, descriptorsEach: number, fractionMin: number): Room {
  const limit = descriptorLimit();
  const room = Math.floor((limit - DESCRIPTORS_RESERVED) / descriptorsEach);
  if (wanted <= room) return { connections: wanted };
  const reason = `the limit of ${limit} open files allows ${room} connections`;
  if (room < wanted * fractionMin) return { connections: 0, skipped: reason };
  return { connections: room, note: `${room} connections: ${reason}` };
}

/** Listens on a free port of every loopback address. */
export function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port: 0, host: '0.0.0.0', backlog: 4096 }, () =>
      resolve((server.address() as AddressInfo).port),
    );
  });
}

/** Opens `count` connections to a port of this machine. */
export async function openMany(port: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = new Array(count);
  let next = 0;
  const opener = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      sockets[index] = await open(port, `127.0.0.${1 + Math.floor(index / CONNECTIONS_PER_ADDRESS)}`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONNECTING_MAX, count) }, opener));
  return sockets;
}

function open(port: number, host: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host, noDelay: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
