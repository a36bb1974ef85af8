/**
 * Publishes a process's counters for others to read, as `millrace top` does: a file in memory (/dev/shm), written ten
 * times a second beside the data path, and still there when the process hangs.
 *
 * It is written by pwrite(2), not mapped: for who reads that is the same, and a file that somebody cuts off can't end the
 * process by SIGBUS. An update of a stack's 190 counters takes 16 us.
 */
import { closeSync, constants, existsSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Stack } from '../api/stack.ts';
import type { Port } from '../device/port.ts';
import { errorCode } from '../os/errno.ts';
import { processStart } from '../os/process-start.ts';
import { ImageWriter, type Metric, SEQUENCE } from './counters-image.ts';

/** Between two updates, ms. */
const INTERVAL_MS = 100;
const SHARED_MEMORY = '/dev/shm';
const FILES_MAX = 1000;

/** Numbers by name, in groups: `{ tcp: { segmentsIn: 1 } }` is `tcp.segmentsIn`. All else in it is left out. */
export type Numbers = { readonly [name: string]: unknown };

/** Always the same names, in the same order. */
export interface Reading {
  /** What only grows. */
  readonly counters: Numbers;
  /** What is in use now. */
  readonly gauges: Numbers;
}

/** Where the files are. */
export function publicationFolder(): string {
  return existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir();
}

export function publicationName(pid: number, serial: number): string {
  return `millrace-${pid}-${serial}`;
}

/** A file that goes when it is closed and when the process exits; after a crash, when `millrace top` finds it. */
export class Publication implements Disposable {
  readonly path: string;
  readonly #read: () => Reading;
  readonly #image: ImageWriter;
  readonly #file: number;
  readonly #timer: NodeJS.Timeout;
  readonly #onExit = (): void => this.close();
  #closed = false;

  /**
   * @param label What is published, for people.
   * @param read Asked ten times a second.
   * @throws what node:fs says when the file can't be made
   */
  constructor(label: string, read: () => Reading, folder: string = publicationFolder()) {
    const { pid } = process;
    const { counters, gauges } = read();
    const metrics = [...namesOf(counters, 'counter'), ...namesOf(gauges, 'gauge')];
    this.#read = read;
    this.#image = new ImageWriter({ pid, start: processStart(pid) ?? 0, opened: Date.now(), label, metrics });
    [this.path, this.#file] = create(folder, pid);
    writeSync(this.#file, this.#image.bytes, 0, this.#image.bytes.length, 0);
    this.update();
    this.#timer = setInterval(() => this.update(), INTERVAL_MS).unref();
    process.on('exit', this.#onExit);
  }

  /** Writes the counters as they are now. */
  update(): void {
    if (this.#closed) return;
    const image = this.#image;
    const { counters, gauges } = this.#read();
    valuesInto(image, gauges, valuesInto(image, counters, 0));
    image.updated = Date.now();
    try {
      image.sequence = (image.sequence + 1) >>> 0;
      writeSync(this.#file, image.bytes, SEQUENCE, 4, SEQUENCE);
      writeSync(this.#file, image.bytes, SEQUENCE + 4, image.bytes.length - SEQUENCE - 4, SEQUENCE + 4);
      image.sequence = (image.sequence + 1) >>> 0;
      writeSync(this.#file, image.bytes, SEQUENCE, 4, SEQUENCE);
    } catch {
      // Memory for files is full: who reads sees that it isn't updated, and the program goes on.
    }
  }

  /** Removes the file. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    process.off('exit', this.#onExit);
    closeSync(this.#file);
    try {
      unlinkSync(this.path);
    } catch {
      // Somebody else has.
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * All that a stack counts, and the memory that it uses. Close it with the stack.
 * @param label For people; the program's file unless told.
 * @throws as Publication's constructor
 */
export function publishCounters(
  stack: Stack,
  label: string = basename(process.argv[1] ?? process.title),
): Publication {
  return new Publication(label, () => {
    const { connections, miniBlocks, chunks, ...counters } = stack.counters();
    return { counters, gauges: { connections, miniBlocks, chunks, memory: { ...stack.engine.memory() } } };
  });
}

/** What a bare port counts. @throws as Publication's constructor */
export function publishPort(port: Port, label: string): Publication {
  return new Publication(label, () => ({ counters: { port: port.counters }, gauges: {} }));
}

/** A file of our own: never one that somebody has put there for us to write to. */
function create(folder: string, pid: number): [path: string, file: number] {
  const { O_CREAT, O_EXCL, O_RDWR } = constants;
  for (let serial = 0; ; serial++) {
    const path = join(folder, publicationName(pid, serial));
    try {
      return [path, openSync(path, O_CREAT | O_EXCL | O_RDWR, 0o600)];
    } catch (error) {
      // Another publication of this process, or left by one that had its pid.
      if (errorCode(error) !== 'EEXIST' || serial >= FILES_MAX) throw error;
    }
  }
}

/** The names of all numbers, in the order in which `valuesInto` finds them. */
function namesOf(numbers: Numbers, kind: Metric['kind'], prefix = ''): Metric[] {
  return Object.entries(numbers).flatMap(([name, value]) => {
    if (typeof value === 'number') return [{ name: prefix + name, kind }];
    return isGroup(value) ? namesOf(value, kind, `${prefix}${name}.`) : [];
  });
}

/** @param index Of the first. @returns that behind the last */
function valuesInto(image: ImageWriter, numbers: Numbers, index: number): number {
  let next = index;
  for (const value of Object.values(numbers)) {
    if (typeof value === 'number') image.setValue(next++, value);
    else if (isGroup(value)) next = valuesInto(image, value, next);
  }
  return next;
}

function isGroup(value: unknown): value is Numbers {
  return typeof value === 'object' && value !== null;
}
