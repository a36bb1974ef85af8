/** The options that say where packets come from, shared by all commands that run a stack. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { Stack } from '../api/stack.ts';
import { publishCounters } from '../control/publish.ts';
import { capture } from '../device/capture.ts';
import { DEVICE_USAGE, type DeviceKindName, deviceFault } from '../device/open.ts';
import type { Port } from '../device/port.ts';
import type { TcpLimits } from '../tcp/tcp.ts';
import { cidr, integer, list, QUEUES_OPTION } from './arguments.ts';
import { say } from './output.ts';
import { publicationLabel, published } from './publish.ts';

export interface DeviceOptions {
  readonly device: string;
  readonly address: string[];
  readonly host?: string[];
  readonly gateway?: string[];
  readonly mtu?: number;
  readonly queues?: number;
  readonly offload: boolean;
  readonly autoconfigure?: true;
  readonly addressSecret?: string;
  readonly pcap?: string;
}

/** Where our side is when nobody says: the host gets .1 and ::1 of the same networks. */
const ADDRESSES_DEFAULT = ['10.77.0.2/24', 'fd77::2/64'];

/** Adds `--device` and what belongs to it. */
export function withDevice(command: Command, fallback: string): Command {
  return command
    .option(
      '--device <device>',
      `${DEVICE_USAGE} (the kernel's need root, or \`unshare -Urn\`), or cable (in memory)`,
      device,
      fallback,
    )
    .option(
      '--address <cidr>',
      `address of the stack with its prefix; repeatable (default: ${ADDRESSES_DEFAULT.join(', ')})`,
      list(cidr),
      [],
    )
    .option(
      '--host <cidr>',
      "address of the host's end of a TUN or TAP; repeatable (default: the first free one of each network)",
      list(cidr),
    )
    .option('--gateway <address>', 'default router, one for IPv4 and one for IPv6', list(String))
    .option('--mtu <bytes>', 'largest IP packet', integer(576, 65_535))
    .option(...QUEUES_OPTION)
    .option(
      '--autoconfigure',
      'learn IPv6 addresses and routers from the link, and ask whether an address is free before using it; not on xdp:',
    )
    .option('--address-secret <text>', 'with the same one, autoconfigured addresses stay the same')
    .option('--no-offload', 'leave checksums and segmentation to the stack')
    .option('--pcap <file>', 'record every frame, in pcapng, for Wireshark');
}

export function addressesOf(options: DeviceOptions): string[] {
  return options.address.length > 0 ? options.address : ADDRESSES_DEFAULT;
}

export interface OpenedStack {
  readonly stack: Stack;
  /** Closes the stack, then the capture file. */
  close(): Promise<void>;
}

/** Opens the stack on its TUN or TAP. @throws errors that say what to do */
export async function openDevice(options: DeviceOptions): Promise<OpenedStack> {
  return openStack(
    { device: options.device as `${DeviceKindName}:${string}` },
    options,
    addressesOf(options),
  );
}

export async function openStack(
  where: { device: Port | `${DeviceKindName}:${string}` },
  options: DeviceOptions,
  addresses: string[],
  limits?: Partial<TcpLimits>,
): Promise<OpenedStack> {
  const file = options.pcap === undefined ? -1 : openSync(options.pcap, 'w');
  const { gateway4, gateway6 } = gateways(options.gateway ?? []);
  try {
    const stack = await Stack.open({
      ...where,
      addresses,
      offload: options.offload,
      ...(limits !== undefined && { limits }),
      ...(options.host !== undefined && { hostAddresses: options.host }),
      ...(options.mtu !== undefined && { mtu: options.mtu }),
      ...(options.queues !== undefined && { queues: options.queues }),
      ...(options.autoconfigure && { autoconfigure: true, onAddress: sayAddress }),
      ...(options.addressSecret !== undefined && { addressSecret: options.addressSecret }),
      ...(gateway4 !== undefined && { gateway4 }),
      ...(gateway6 !== undefined && { gateway6 }),
      ...(file >= 0 && {
        wrapPort: (port: Port) => capture(port, recorder(file), () => Date.now() * 1000),
      }),
    });
    // A command runs until it is told to end.
    stack.ref();
    const unpublish = published(() => publishCounters(stack, publicationLabel(options.device)));
    return {
      stack,
      async close() {
        unpublish();
        await stack.close();
        if (file >= 0) closeSync(file);
      },
    };
  } catch (error) {
    if (file >= 0) closeSync(file);
    throw error;
  }
}

function sayAddress(kind: 'added' | 'removed' | 'duplicate', address: string): void {
  const what = { added: 'is ours', removed: 'is ours no longer', duplicate: "is somebody else's: not used" };
  say(`${address} ${what[kind]}`);
}

/** Writes to a file until that fails, as when the disk is full; the stack goes on without. */
function recorder(file: number): (bytes: Uint8Array) => void {
  let failed = false;
  return (bytes) => {
    if (failed) return;
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
    } catch (error) {
      failed = true;
      say(`millrace: the capture ends here: ${(error as Error).message}`);
    }
  };
}

function gateways(given: string[]): { gateway4?: string; gateway6?: string } {
  const gateway4 = given.find((g) => !g.includes(':'));
  const gateway6 = given.find((g) => g.includes(':'));
  return { ...(gateway4 !== undefined && { gateway4 }), ...(gateway6 !== undefined && { gateway6 }) };
}

function device(text: string): string {
  if (text === 'cable') return text;
  const fault = deviceFault(text);
  if (fault === null) return text;
  throw new InvalidArgumentError(`${fault}; or cable, in memory`);
}
