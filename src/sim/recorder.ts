/**
 * Looks on while a simulation runs, for those who replay a seed: every packet at every host, as a pcapng file or as
 * text, and how connections and queues stand over time.
 */
import { pcapngInterface, pcapngPacket, pcapngSection } from '../device/pcapng.ts';
import { STATE, TCB } from '../tcp/block.ts';
import { inFlight } from '../tcp/records.ts';
import { describeFrame } from '../wire/describe.ts';
import type { Host } from './host.ts';
import type { Link } from './link.ts';
import type { Tap } from './nic.ts';
import { COLORS, plotSvg } from './plot.ts';
import type { Program } from './program.ts';
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

/** How one connection and the queues on its path stand over time. */
export class Chart {
  readonly #program: Program;
  readonly #world: World;
  readonly #link: Link | null;
  readonly #x: number[] = [];
  readonly #cwnd: number[] = [];
  readonly #flight: number[] = [];
  readonly #rtt: number[] = [];
  readonly #queue: number[] = [];

  /** @param link Whose queue to show. */
  constructor(world: World, program: Program, link: Link | null) {
    this.#world = world;
    this.#program = program;
    this.#link = link;
  }

  /** Takes a sample, if the connection is open. */
  sample(): void {
    const { host, conn } = this.#program;
    const { tcp } = host.engine;
    const t = tcp.blocks.find(conn);
    if (t === 0 || this.#program.over || tcp.m[t + TCB.STATE] < STATE.ESTABLISHED) return;
    this.#x.push(this.#world.now_ms);
    this.#cwnd.push(tcp.m[t + TCB.CWND]);
    this.#flight.push(inFlight(tcp, t));
    this.#rtt.push((tcp.m[t + TCB.SRTT] >> 3) / 1000);
    this.#queue.push(this.#link?.queue.bytes ?? 0);
  }

  svg(title: string): string {
    const series = (label: string, color: string, y: readonly number[]) => ({ label, color, x: this.#x, y });
    const panels = [
      {
        title: 'Window',
        unit: 'bytes',
        series: [series('cwnd', COLORS[0], this.#cwnd), series('in flight', COLORS[1], this.#flight)],
      },
      { title: 'Smoothed RTT', unit: 'ms', series: [series('SRTT', COLORS[2], this.#rtt)] },
    ];
    if (this.#link !== null) {
      const queue = [series(this.#link.name, COLORS[3], this.#queue)];
      panels.push({ title: 'Queue of the slowest link', unit: 'bytes', series: queue });
    }
    return plotSvg(title, panels);
  }
}
