/** What the commands that join devices share: opening them in one arena, turning while something happens, and telling. */
import type { ForwardCounters } from '../device/forward.ts';
import { createFrames, framesArenaBytes, LARGE_ROOM_BYTES } from '../device/frames.ts';
import { DEVICE_USAGE, openPort, portArenaBytes } from '../device/open.ts';
import { type Port, PortError } from '../device/port.ts';
import { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import { raiseInliningBudget } from '../os/v8.ts';
import { clock, drive, type Task } from './drive.ts';
import { interrupted } from './signals.ts';

export const DEVICES_HELP = `a device: ${DEVICE_USAGE}`;
const MTU_DEFAULT = 1500;
/** An Ethernet header with a VLAN tag. */
const LINK_BYTES_MAX = 18;
/** Of each ring. Large buffers take 64 KiB each. */
const SLOTS = 256;
const SLOTS_LARGE = 64;
/** Buffers for each slot of a device: its two rings, and as many where the device itself holds them. */
const FRAMES_PER_SLOT = 4;
/** Those that leave checksums and segmentation to us, and take both from us. */
const OFFLOADING = /^(?:tun|tap|packet|host):/;

export interface PortsOptions {
  readonly mtu?: number;
  readonly queues?: number;
  /** Super-segments cross uncut, if all devices can; otherwise none does. */
  readonly offload: boolean;
  /** For what is carved besides, bytes. */
  readonly extraBytes?: number;
}

export interface OpenedPorts {
  readonly arena: Arena;
  readonly ports: readonly Port[];
  readonly pool: FramePool;
  readonly offload: boolean;
  /** Idempotent. */
  close(): void;
}

/**
 * Opens devices in one arena, with one pool as far as their frames fit it. Offload is on when all of them have it: with
 * one that hasn't, every super-segment would be cut here, and the buffers would have to be large for nothing.
 * @throws PortError EINVAL for a device that is named twice; what `openPort` throws. Then none is open.
 */
export function openPorts(names: readonly string[], options: PortsOptions): OpenedPorts {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new PortError('EINVAL', `${twice} is named twice: each device can be joined once`);
  raiseInliningBudget();
  const { mtu = MTU_DEFAULT, extraBytes = 0 } = options;
  const offload = options.offload && names.every((name) => OFFLOADING.test(name));
  const slots = offload ? SLOTS_LARGE : SLOTS;
  const settings = {
    ...{ offload, slots },
    ...(options.mtu !== undefined && { mtu: options.mtu }),
    ...(options.queues !== undefined && { queues: options.queues }),
  };
  const frames = names.length * slots * FRAMES_PER_SLOT;
  const room = offload ? LARGE_ROOM_BYTES : mtu + LINK_BYTES_MAX;
  const own = names.reduce((sum, name) => sum + portArenaBytes(name, settings), 0);
  const arena = new Arena(own + framesArenaBytes(frames, room) + 2 * LARGE_ROOM_BYTES + extraBytes + 65_536);
  const pool = createFrames(arena, 'frames', frames, room);
  const ports: Port[] = [];
  const close = (): void => {
    for (const port of ports) port.close();
  };
  try {
    for (const name of names) ports.push(openPort(arena, name, { ...settings, pool }));
  } catch (error) {
    close();
    throw error;
  }
  return { arena, ports, pool, offload, close };
}

/** `tap:a and tap:b: Ethernet, MTU 1500, offload`. */
export function describePorts({ ports, offload }: OpenedPorts): string {
  const names = ports.map((port) => port.name);
  const link = ports[0].capabilities.link === 'ether' ? 'Ethernet' : 'IP';
  const mtus = [...new Set(ports.map((port) => port.capabilities.mtu))];
  const mtu = mtus.length === 1 ? `MTU ${mtus[0]}` : `MTUs ${mtus.join(', ')}: longer frames are dropped`;
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}: ${link}, ${mtu}, ${offload ? 'offload' : 'no offload'}`;
}

/** Between two reports, and the longest that nobody looks, us. */
const TICK_US = 1e6;

export interface RunOptions {
  /** One batch. @returns 0 when there was nothing to do */
  readonly turn: () => number;
  /** ms until `turn` has something to do by itself; never unless told. */
  readonly nextDeadline?: () => number;
  /** About once a second. @param seconds Since the last time. */
  readonly tick: (seconds: number) => void;
}

/** Turns until Ctrl-C. @throws what `turn` throws */
export function runPorts(ports: readonly Port[], options: RunOptions): Promise<void> {
  const { turn, nextDeadline = () => Infinity, tick } = options;
  let tickedAt = clock();
  const task: Task = {
    done: false,
    step(now) {
      if (now - tickedAt >= TICK_US) {
        tick((now - tickedAt) / 1e6);
        tickedAt = now;
      }
      return turn();
    },
    delay: (now) => Math.min(nextDeadline() * 1000, Math.max(0, tickedAt + TICK_US - now)),
  };
  return drive(task, ports, interrupted());
}

/** Frames and bytes that went one way so far, and those that were lost, by why. */
export interface Flow {
  readonly name: string;
  readonly frames: number;
  readonly bytes: number;
  readonly losses: Readonly<Record<string, number>>;
}

/** What was lost at a port that frames leave by. */
export function lossesOf(out: ForwardCounters, to: Port): Record<string, number> {
  return {
    'too long': out.tooLong,
    malformed: out.malformed,
    [`refused by ${to.name}`]: to.counters.txDropped,
  };
}

/** Tells what flows, once a second while anything does, and what it came to. */
export class FlowReport {
  readonly #flows: () => readonly Flow[];
  #before: readonly Flow[];
  readonly #startedAt = performance.now();

  constructor(flows: () => readonly Flow[]) {
    this.#flows = flows;
    this.#before = flows();
  }

  tick(seconds: number): void {
    const flows = this.#flows();
    const parts = flows.flatMap((flow, i) => {
      const before = this.#before[i];
      const frames = flow.frames - before.frames;
      const lost = lostOf(flow) - lostOf(before);
      if (frames === 0 && lost === 0) return [];
      const rate = formatRate((8 * (flow.bytes - before.bytes)) / seconds);
      return [
        `${flow.name} ${count(frames / seconds)} frames/s ${rate}${lost > 0 ? `, ${count(lost)} lost` : ''}`,
      ];
    });
    this.#before = flows;
    if (parts.length > 0) console.log(parts.join('   '));
  }

  summary(): void {
    const seconds = (performance.now() - this.#startedAt) / 1000;
    console.log(`in ${seconds.toFixed(1)} s:`);
    for (const flow of this.#flows()) {
      const lost = Object.entries(flow.losses).filter(([, n]) => n > 0);
      const why = lost.map(([name, n]) => `${count(n)} ${name}`).join(', ');
      console.log(
        `  ${flow.name}  ${count(flow.frames)} frames, ${count(flow.bytes)} B${why === '' ? '' : `; lost: ${why}`}`,
      );
    }
  }
}

function lostOf(flow: Flow): number {
  return Object.values(flow.losses).reduce((a, b) => a + b, 0);
}

function count(n: number): string {
  return Math.round(n).toLocaleString('en');
}

/** 12345678 as "12.3 Mbit/s". */
export function formatRate(bps: number): string {
  const units = ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'];
  let value = bps;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}
