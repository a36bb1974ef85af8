/**
 * Looks on while a simulation runs, for those who replay a seed: every packet at every host, as a pcapng file or as
 * text, and how connections and queues stand over time.
 */
import { pcapngInterface, pcapngPacket, pcapngSection } from '../device/pcapng.ts';
import { STATE_NAMES, TCB } from '../tcp/block.ts';
import { inFlight } from '../tcp/records.ts';
import { describeFrame } from '../wire/describe.ts';
import type { Host } from './host.ts';
import type { Tap } from './nic.ts';
import type { World } from './world.ts';

/** Takes packets as they cross a host's port. Set before the observer's verdict, so that what breaks a rule is seen. */
export type PacketSink = (host: Host, sent: boolean, at: number, length: number, damaged: boolean) => void;

/** Puts a sink in front of whatever watches each host. */
export function watchPackets(hosts: readonly Host[], sink: PacketSink): void {
  for (const host of hosts) {
    const behind: Tap | null = host.nic.tap;
    host.nic.tap = {
      sent(at, length) {
        sink(host, true, at, length, false);
        behind?.sent(at, length);
      },
      received(at, length, damaged) {
        sink(host, false, at, length, damaged);
        behind?.received(at, length, damaged);
      },
    };
  }
}

/** Virtual time starts here in captures, us: the first of January 2026. */
const EPOCH_US = Date.UTC(2026, 0, 1) * 1000;

/** A sink that writes pcapng piece by piece, one interface for each host. */
export function pcapngSink(world: World, write: (bytes: Uint8Array) => void): PacketSink {
  const interfaces = world.hosts.map(({ name }) => {
    return { link: 'ip' as const, name, snapBytes: 0, timeDigits: 9 as const };
  });
  write(pcapngSection());
  for (const each of interfaces) write(pcapngInterface(each));
  return (host, sent, at, length, damaged) => {
    const interfaceId = world.hosts.indexOf(host);
    const packet = {
      interfaceId,
      direction: sent ? ('tx' as const) : ('rx' as const),
      timeUs: EPOCH_US + world.now / 1000,
      ...(damaged ? { comment: 'damaged on the way' } : {}),
    };
    write(pcapngPacket(world.arena.u8.slice(at, at + length), packet, interfaces[interfaceId]));
  };
}

/** A sink that writes a line for each packet. */
export function textSink(world: World, write: (line: string) => void): PacketSink {
  return (host, sent, at, length, damaged) => {
    const time = world.now_ms.toFixed(3).padStart(12);
    const what = describeFrame(world.arena.u8.slice(at, at + length), 'ip');
    write(`${time} ${host.name} ${sent ? '>' : '<'} ${what}${damaged ? ' (damaged)' : ''}`);
  };
}

/** How a connection stands at a time. */
export interface Sample {
  readonly at_ms: number;
  readonly cwnd: number;
  readonly inFlight: number;
  readonly rtt_ms: number;
  readonly state: string;
}

/** @returns null when the block is no synchronized connection. */
export function sampleConnection(host: Host, conn: number, at_ms: number): Sample | null {
  const { tcp } = host.engine;
  const t = tcp.blocks.find(conn);
  if (t === 0) return null;
  return {
    at_ms,
    cwnd: tcp.m[t + TCB.CWND],
    inFlight: inFlight(tcp, t),
    rtt_ms: (tcp.m[t + TCB.SRTT] >> 3) / 1000,
    state: STATE_NAMES[tcp.m[t + TCB.STATE]],
  };
}
