/** What the tools on bare ports share: opening one by its name, and working it off beside the event loop. */
import { setImmediate as turn } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { publishPort } from '../control/publish.ts';
import { type DeviceSettings, deviceFault, openPort, portArenaBytes } from '../device/open.ts';
import { type Port, type PortCounters, portCounters } from '../device/port.ts';
import { PortWaiter } from '../device/wait.ts';
import { Arena } from '../memory/arena.ts';
import { raiseInliningBudget } from '../os/v8.ts';
import { cidr, integer, list, QUEUES_OPTION } from './arguments.ts';
import { publicationLabel, published } from './publish.ts';

export interface PortOptions {
  readonly host?: string[];
  readonly mtu?: number;
  readonly queues?: number;
}

/** Adds what may be said of a tool's device. */
export function withPort(command: Command): Command {
  return command
    .option(
      '--host <cidr>',
      "address of the host's end of a TUN or TAP, with its prefix; repeatable",
      list(cidr),
    )
    .option('--mtu <bytes>', 'largest IP packet', integer(576, 65_535))
    .option(...QUEUES_OPTION);
}

/** For commander: a device's name. */
export function portName(text: string): string {
  const fault = deviceFault(text);
  if (fault !== null) throw new InvalidArgumentError(fault);
  return text;
}

/**
 * Opens a device without offloads, so that each frame is a packet as it is on a wire.
 * @param extra What the tool itself carves from the arena, bytes.
 * @param outgoing Whether the tool knows frames that leave (FRAME_OUTGOING).
 * @throws PortError and what else `openPort` throws
 */
export function openToolPort(name: string, options: PortOptions, extra: number, outgoing = false): Port {
  raiseInliningBudget();
  const settings: DeviceSettings = {
    offload: false,
    outgoing,
    hostAddresses: options.host ?? [],
    ...(options.mtu !== undefined && { mtu: options.mtu }),
    ...(options.queues !== undefined && { queues: options.queues }),
  };
  return openPort(new Arena(portArenaBytes(name, settings) + extra + ARENA_BYTES_UNUSED), name, settings);
}

/** The first line of an arena, and what alignment takes. */
const ARENA_BYTES_UNUSED = 4096;

/** Something to be done in steps. */
export interface Task {
  /** @param now Monotonic, us. @returns how much it did; 0: nothing to do */
  step(now: number): number;
  readonly done: boolean;
  /** How long until `step` has something to do if nothing arrives, us. */
  delay(now: number): number;
}

/** So that the event loop's timers and signals have their turn. us */
const TURN_US = 1000;
/** Waking from a wait takes some 90 us: shorter ones are spun through, and so is the time after the last work. */
const SPIN_US = 200;
/** A wait may last a millisecond longer than told. */
const WAIT_US_MIN = 2000;
const WAIT_MS_MAX = 1000;

/** Monotonic, us. */
export function clock(): number {
  return performance.now() * 1000;
}

/** Steps a task until it is done, or `ended` is over; sleeps while there is nothing to do. Publishes the ports' counters. */
export async function drive(task: Task, ports: readonly Port[], ended: Promise<unknown>): Promise<void> {
  const publications = ports.map((port) => published(() => publishPort(port, publicationLabel(port.name))));
  const waiter = new PortWaiter(ports);
  let stopped = false;
  void ended.then(() => {
    stopped = true;
    waiter.wake();
  });
  try {
    let now = clock();
    let workedAt = now;
    while (!stopped && !task.done) {
      const turnEnd = now + TURN_US;
      let did = 0;
      do {
        did = task.step(now);
        now = clock();
        if (did > 0) workedAt = now;
      } while (did > 0 && now < turnEnd && !task.done);
      const delay = task.delay(now);
      if (did > 0 || delay < WAIT_US_MIN || now - workedAt < SPIN_US) await turn();
      else await waiter.wait(Math.min((delay - TURN_US) / 1000, WAIT_MS_MAX));
      now = clock();
    }
  } finally {
    waiter.close();
    for (const unpublish of publications) unpublish();
  }
}

export type Direction = 'rx' | 'tx';

/** What a port did since the last look. */
export class PortMeter {
  readonly #port: Port;
  readonly #start = clock();
  #at = this.#start;
  #last: PortCounters;

  constructor(port: Port) {
    this.#port = port;
    this.#last = { ...port.counters };
  }

  /** `rx 1.234 Mpps, 0.592 Gbit/s, 3 dropped, 0.004 syscalls/packet` since the last call. */
  line(...directions: Direction[]): string {
    const now = clock();
    const text = describeCounters(this.#port.counters, this.#last, now - this.#at, directions);
    this.#last = { ...this.#port.counters };
    this.#at = now;
    return text;
  }

  /** The same since the start, with the number of packets and the time. */
  summary(direction: Direction): string {
    const { counters } = this.#port;
    const time_us = clock() - this.#start;
    const rate = describeCounters(counters, portCounters(), time_us, [direction]);
    return `${framesOf(counters, direction)} packets in ${(time_us / 1e6).toFixed(2)} s: ${rate}`;
  }
}

function describeCounters(
  now: PortCounters,
  before: PortCounters,
  time_us: number,
  directions: readonly Direction[],
): string {
  let frames = 0;
  const parts = directions.map((direction) => {
    const since = framesOf(now, direction) - framesOf(before, direction);
    const bytes = now[`${direction}Bytes`] - before[`${direction}Bytes`];
    const dropped = now[`${direction}Dropped`] - before[`${direction}Dropped`];
    frames += since;
    const gbit = ((bytes * 8) / time_us / 1000).toFixed(3);
    return `${direction} ${formatPacketRate((since * 1e6) / time_us)}, ${gbit} Gbit/s, ${dropped} dropped`;
  });
  const syscalls = frames === 0 ? 0 : (now.syscalls - before.syscalls) / frames;
  return `${parts.join(', ')}, ${Number(syscalls.toPrecision(2))} syscalls/packet`;
}

function framesOf(counters: PortCounters, direction: Direction): number {
  return counters[`${direction}Frames`];
}

/** @param rate Packets a second. */
export function formatPacketRate(rate: number): string {
  if (rate < 1e3) return `${Number(rate.toFixed(1))} pps`;
  return rate < 1e6 ? `${(rate / 1e3).toFixed(1)} kpps` : `${(rate / 1e6).toFixed(3)} Mpps`;
}
