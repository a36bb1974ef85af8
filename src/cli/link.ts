/** `millrace link`: an emulated long path between two devices. */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { type FaultPort, type Faults, fault } from '../device/fault.ts';
import { Bridge } from '../device/forward.ts';
import type { GilbertLoss } from '../device/loss.ts';
import type { Port } from '../device/port.ts';
import { QUEUE_DEFAULT } from '../device/queue.ts';
import { Trace } from '../device/trace.ts';
import { duration, integer, percent, queueLimit, rate } from './arguments.ts';
import { portName } from './drive.ts';
import {
  DEVICES_HELP,
  describePorts,
  type Flow,
  FlowReport,
  formatRate,
  lossesOf,
  openPorts,
  runPorts,
} from './ports.ts';

/** Of each option: for both directions, or from a to b and from b to a. */
interface LinkOptions {
  readonly delay?: number[];
  readonly jitter?: number[];
  readonly rate?: number[];
  readonly trace?: Trace[];
  readonly queue?: ReturnType<typeof queueLimit>[];
  readonly codel?: true;
  readonly loss?: number[];
  readonly burstLoss?: GilbertLoss[];
  readonly corrupt?: number[];
  readonly duplicate?: number[];
  readonly reorder?: number[];
  readonly reorderTime?: number[];
  readonly seed?: number;
  readonly mtu?: number;
}

export const linkCommand = new Command('link')
  .description('emulate a long, slow or bad path between two devices')
  .argument('<a>', DEVICES_HELP, portName)
  .argument('<b>', 'the other, of the same link: Ethernet with Ethernet, IP with IP', portName)
  .option('--delay <time>', 'one way: 50ms, 250us', both(duration))
  .option('--jitter <time>', 'up to so much more, without reordering', both(duration))
  .option('--rate <rate>', 'of whole frames: 100mbit, 1gbit', both(rate))
  .option(
    '--trace <file>',
    'instead of a rate: opportunities to send 1504 bytes, a line each, in ms (mahimahi)',
    both(trace),
  )
  .option(
    '--queue <size>',
    'where frames wait for the rate: 100p (frames), 64kb; 256kb unless told',
    both(queueLimit),
  )
  .option('--codel', 'the queue drops by how long frames wait (RFC 8289), not only when it is full')
  .option('--loss <percent>', 'of frames, each by itself: 1%', both(percent))
  .option(
    '--burst-loss <p,r[,bad[,good]]>',
    'Gilbert and Elliott: 1%,20% turns bad and good again',
    both(burstLoss),
  )
  .option('--corrupt <percent>', 'of frames get a byte changed', both(percent))
  .option('--duplicate <percent>', 'of frames come twice', both(percent))
  .option('--reorder <percent>', 'of frames are held back until up to 3 others passed', both(percent))
  .option('--reorder-time <time>', '… or for so long; 20ms unless told', both(duration))
  .option('--seed <n>', 'the same one makes the same decisions; random unless told', integer(0, 2 ** 32 - 1))
  .option('--mtu <bytes>', 'largest IP packet of devices that are made here', integer(576, 65_517))
  .addHelpText(
    'after',
    `
An option given once is for both directions; given twice, first from <a> to <b>, then from <b> to <a>. Devices have no
offload here: what is delayed and lost is packets. A line for each second in which something moved, and a summary at
Ctrl-C.

  millrace link tun:a tun:b --delay 50ms --rate 100mbit --loss 1%
  millrace link tap:a tap:b --rate 50mbit --rate 5mbit --delay 20ms --queue 100p`,
  )
  .action(link);

/** An option that may be given for each direction. */
function both<T>(parse: (text: string) => T): (text: string, before: T[] | undefined) => T[] {
  return (text, before = []) => {
    if (before.length === 2)
      throw new InvalidArgumentError('It is given twice at most: there are two directions.');
    return [...before, parse(text)];
  };
}

function trace(file: string): Trace {
  try {
    return Trace.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function burstLoss(text: string): GilbertLoss {
  const [p, r, bad = 1, good = 0, ...more] = text.split(',').map(percent);
  if (r === undefined || more.length > 0)
    throw new InvalidArgumentError('It is 2 to 4 percentages: 1%,20% or 1%,20%,80%,0.1%.');
  return { kind: 'gilbert', p, r, bad, good };
}

/** Frames that a direction holds at least, and at most: the arena's are of 2 KiB each. */
const HELD_MIN = 4096;
const HELD_MAX = 131_072;
/** Guessed: frames are shorter than an MTU on average. */
const FRAME_BYTES_MEAN = 500;

async function link(a: string, b: string, options: LinkOptions): Promise<void> {
  if (options.rate !== undefined && options.trace !== undefined)
    throw new RangeError('a path has a --rate or a --trace, not both');
  if (options.loss !== undefined && options.burstLoss !== undefined)
    throw new RangeError('frames are lost by --loss or by --burst-loss, not both');
  const { seed = randomInt(2 ** 32), mtu = 1500 } = options;
  const [forth, back] = [faultsOf(options, 0), faultsOf(options, 1)];
  const held = [heldOf(forth), heldOf(back)];
  const extraBytes = (held[0] + held[1] + 1024) * (mtu + 192);
  const opened = openPorts([a, b], { ...options, offload: false, extraBytes });
  try {
    const now = () => performance.now();
    const [left, right] = opened.ports;
    const ends = [
      fault(left, { rx: forth, seed, now, held: held[0] }),
      fault(right, { rx: back, seed: seed + 1, now, held: held[1] }),
    ];
    const bridge = new Bridge(ends[0], ends[1]);
    const report = new FlowReport(() => [
      flow(`${a} → ${b}`, ends[0], bridge.forth.counters, right),
      flow(`${b} → ${a}`, ends[1], bridge.back.counters, left),
    ]);
    console.log(`linking ${describePorts(opened)}; seed ${seed}; Ctrl-C ends`);
    for (const [name, faults] of [
      [`${a} → ${b}`, forth],
      [`${b} → ${a}`, back],
    ] as const)
      console.log(`  ${name}: ${describe(faults)}`);
    await runPorts(ends, {
      turn: () => bridge.turn(),
      nextDeadline: () => Math.min(ends[0].nextDeadline(), ends[1].nextDeadline()),
      tick: (seconds) => report.tick(seconds),
    });
    report.summary();
    for (const end of ends) sayHappened(end);
  } finally {
    opened.close();
  }
}

/** @param direction 0: from a to b; 1: back. */
function faultsOf(options: LinkOptions, direction: 0 | 1): Faults {
  const of = <T>(values: readonly T[] | undefined): T | undefined => values?.[direction] ?? values?.[0];
  const limit = { bytes: QUEUE_DEFAULT.bytes, ...of(options.queue) };
  // As many bytes as so many frames may have.
  if ('packets' in limit) limit.bytes = Number.MAX_SAFE_INTEGER;
  const given = {
    delay_ms: of(options.delay),
    jitter_ms: of(options.jitter),
    rate_bps: of(options.rate),
    trace: of(options.trace),
    loss: of(options.loss) ?? of(options.burstLoss),
    corrupt: of(options.corrupt),
    duplicate: of(options.duplicate),
    reorder: of(options.reorder),
    reorder_ms: of(options.reorderTime),
    queue: { kind: options.codel === true ? 'codel' : 'droptail', ...limit },
  } as const;
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** Frames on the way and in the queue. */
function heldOf({ delay_ms = 0, jitter_ms = 0, rate_bps, trace, queue }: Faults): number {
  const rate = rate_bps ?? trace?.rate_bps;
  if (rate === undefined) return delay_ms + jitter_ms > 0 ? HELD_MAX / 2 : HELD_MIN;
  const waiting = queue?.packets ?? (queue?.bytes ?? 0) / FRAME_BYTES_MEAN;
  const frames = ((rate / 8000) * (delay_ms + jitter_ms)) / FRAME_BYTES_MEAN + waiting;
  return Math.min(HELD_MAX, Math.max(HELD_MIN, Math.ceil(2 * frames)));
}

function describe(faults: Faults): string {
  const { delay_ms, jitter_ms, rate_bps, trace, loss, corrupt, duplicate, reorder, queue } = faults;
  const limited = rate_bps !== undefined || trace !== undefined;
  const said = [
    delay_ms === undefined ? '' : `${delay_ms} ms`,
    jitter_ms === undefined ? '' : `up to ${jitter_ms} ms of jitter`,
    rate_bps === undefined ? '' : formatRate(rate_bps),
    trace === undefined ? '' : `a trace of ${formatRate(trace.rate_bps)} on average`,
    !limited || queue === undefined
      ? ''
      : `a queue of ${queue.packets === undefined ? `${queue.bytes} B` : `${queue.packets} frames`} (${queue.kind})`,
    typeof loss === 'number' ? `${shareOf(loss)} lost` : '',
    typeof loss === 'object' && loss.kind === 'gilbert'
      ? `lost in bursts (${shareOf(loss.p)} turn bad, ${shareOf(loss.r)} good again)`
      : '',
    corrupt === undefined ? '' : `${shareOf(corrupt)} spoiled`,
    duplicate === undefined ? '' : `${shareOf(duplicate)} doubled`,
    reorder === undefined ? '' : `${shareOf(reorder)} held back`,
  ].filter((text) => text !== '');
  return said.length === 0 ? 'nothing happens' : said.join(', ');
}

function shareOf(p: number): string {
  return `${Number((100 * p).toPrecision(6))} %`;
}

function flow(name: string, end: FaultPort, out: Parameters<typeof lossesOf>[0], to: Port): Flow {
  const { lost = 0, overflowed = 0 } = end.rxFaults ?? {};
  const queue = end.rxQueue;
  return {
    name,
    frames: out.frames,
    bytes: out.bytes,
    losses: {
      'by chance': lost,
      'in the full queue': queue?.overflowed ?? 0,
      'by CoDel': queue?.dropped ?? 0,
      'for want of buffers': overflowed,
      ...lossesOf(out, to),
    },
  };
}

function sayHappened(end: FaultPort): void {
  const { duplicated = 0, reordered = 0, corrupted = 0 } = end.rxFaults ?? {};
  if (duplicated + reordered + corrupted === 0) return;
  console.log(
    `  from ${end.inner.name}: ${duplicated} doubled, ${reordered} held back, ${corrupted} spoiled`,
  );
}
