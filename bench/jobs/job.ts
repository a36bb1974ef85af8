/**
 * What every job shares. A job is a program: it takes its numbers as options, runs one measurement, and
 * prints one JobResult as a line of JSON. It runs in a process of its own, because what V8 learnt from one
 * measurement would bend the next.
 */
import { parseArgs } from 'node:util';

export interface JobResult {
  /** Which stack was measured: `millrace`, `node:net`. */
  readonly name: string;
  /** Completed during the measured time: round trips (RR), connections (CRR), deliveries (BULK). */
  readonly requests: number;
  readonly wallNs: number;
  /** User and system time of the whole process, client and server together. */
  readonly cpuNs: number;
  /** Payload bytes that the receiver got (BULK). */
  readonly bytes?: number;
  /** TCP segments that crossed, both directions, where the stack can tell. */
  readonly segments?: number;
  /** Connections that really were open, where that is fewer than asked, or is the point (idle). */
  readonly connections?: number;
  /** Growth of one end's resident memory from no connection to all, bytes (idle). */
  readonly rssBytes?: number;
  /** The same of the kernel's memory for that end, bytes; 0 when the kernel has no part in it (idle). */
  readonly kernelBytes?: number;
  /** Times that the kernel was entered for packets, where the job counts them. */
  readonly syscalls?: number;
  /** Of the measured time, what went into sending, and into receiving, where the job tells them apart. */
  readonly txNs?: number;
  readonly rxNs?: number;
  /** Whatever a reader of the figure must know. */
  readonly note?: string;
  /** Why it can't be measured here. The figures mean nothing then. */
  readonly skipped?: string;
}

/** The numbers of a workload, each passed as `--name value`. */
export interface JobArguments {
  /** How long to run unmeasured first, so that V8 has optimised and queues are steady, s. */
  readonly warmup: number;
  /** How long to measure, s. */
  readonly seconds: number;
  readonly connections: number;
  /** Requests always in flight, over all connections. */
  readonly outstanding: number;
  /** Of a request, and of its reply. */
  readonly bytes: number;
  /** Packets that go to a device at once. */
  readonly batch: number;
}

export function jobArguments(argv: readonly string[] = process.argv.slice(2)): JobArguments {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      warmup: { ...text, default: '1' },
      seconds: { ...text, default: '2' },
      connections: { ...text, default: '64' },
      outstanding: { ...text, default: '64' },
      bytes: { ...text, default: '1' },
      batch: { ...text, default: '64' },
    },
  });
  const positive = (name: keyof typeof values): number => {
    const value = Number(values[name]);
    if (!(value > 0)) throw new RangeError(`--${name} takes a positive number, not ${values[name]}`);
    return value;
  };
  return {
    warmup: positive('warmup'),
    seconds: positive('seconds'),
    connections: positive('connections'),
    outstanding: positive('outstanding'),
    bytes: positive('bytes'),
    batch: positive('batch'),
  };
}

/** Wall clock and CPU time since it was started. */
export class Stopwatch {
  readonly #wall = process.hrtime.bigint();
  readonly #cpu = process.cpuUsage();

  read(): { wallNs: number; cpuNs: number } {
    const cpu = process.cpuUsage(this.#cpu);
    return { wallNs: Number(process.hrtime.bigint() - this.#wall), cpuNs: (cpu.user + cpu.system) * 1000 };
  }
}

/**
 * Measures something that runs by itself on Node's event loop: lets it warm up, then takes what the
 * counters gained over the measured time.
 */
export async function measure<C extends Record<string, number>>(
  args: JobArguments,
  counters: () => C,
): Promise<{ wallNs: number; cpuNs: number } & C> {
  await seconds(args.warmup);
  const before = counters();
  const stopwatch = new Stopwatch();
  await seconds(args.seconds);
  const times = stopwatch.read();
  const gained: Record<string, number> = {};
  for (const [name, value] of Object.entries(counters())) gained[name] = value - before[name];
  return { ...times, ...(gained as C) };
}

export function seconds(s: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, s * 1000));
}

/** Prints the result and ends the process, with its connections as they are. */
export function finish(result: JobResult): never {
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exit(0);
}
