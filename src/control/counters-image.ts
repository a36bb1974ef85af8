/**
 * What a process publishes of its counters: one block of bytes that says itself what is in it, little-endian.
 *
 *      0  magic, u32         4  version, u32      8  sequence, u32: odd while it is being written
 *     12  pid, u32          16  start of the process, f64 (os/process-start.ts)
 *     24  opened, f64, ms since the epoch        32  updated, f64
 *     40  values, u32: how many                  44  bytes of the names, u32
 *     48  values, f64 each; then the names, in ASCII, a line each: the label, and for each value `c` (counts up) or
 *         `g` (goes up and down), a space and its name
 */

const MAGIC = 0x5443_524d;
const VERSION = 1;
const HEADER_BYTES = 48;
export const SEQUENCE = 8;
const PID = 12;
const START = 16;
const OPENED = 24;
const UPDATED = 32;
const COUNT = 40;
const NAMES = 44;

/** Of a file; more is no image of ours. */
export const IMAGE_BYTES_MAX = 256 * 1024;
const VALUES_MAX = 4096;
const PRINTABLE = /^[\x20-\x7e]{1,200}$/;

export interface Metric {
  readonly name: string;
  readonly kind: 'counter' | 'gauge';
}

export interface CountersImage {
  readonly sequence: number;
  readonly pid: number;
  readonly start: number;
  /** ms since the epoch. */
  readonly opened: number;
  readonly updated: number;
  readonly label: string;
  readonly metrics: readonly Metric[];
  readonly values: Float64Array;
}

/** Bytes that are no image; `code` is `ERR_COUNTERS_FORMAT`, or `ERR_COUNTERS_BUSY` when it never was whole. */
export class CountersError extends Error {
  override readonly name = 'CountersError';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** The bytes of an image, and where they change. */
export class ImageWriter {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(image: Pick<CountersImage, 'pid' | 'start' | 'opened' | 'label' | 'metrics'>) {
    const { pid, start, opened, label, metrics } = image;
    if (metrics.length > VALUES_MAX)
      throw new RangeError(`${metrics.length} metrics are more than ${VALUES_MAX}`);
    const lines = [plain(label), ...metrics.map(({ name, kind }) => `${kind[0]} ${plain(name)}`)];
    const names = new TextEncoder().encode(lines.join('\n'));
    const valuesEnd = HEADER_BYTES + metrics.length * 8;
    this.bytes = new Uint8Array(valuesEnd + names.length);
    this.bytes.set(names, valuesEnd);
    const view = new DataView(this.bytes.buffer);
    view.setUint32(0, MAGIC, true);
    view.setUint32(4, VERSION, true);
    view.setUint32(PID, pid, true);
    view.setFloat64(START, start, true);
    view.setFloat64(OPENED, opened, true);
    view.setUint32(COUNT, metrics.length, true);
    view.setUint32(NAMES, names.length, true);
    this.#view = view;
  }

  get sequence(): number {
    return this.#view.getUint32(SEQUENCE, true);
  }

  set sequence(sequence: number) {
    this.#view.setUint32(SEQUENCE, sequence, true);
  }

  set updated(time: number) {
    this.#view.setFloat64(UPDATED, time, true);
  }

  setValue(index: number, value: number): void {
    this.#view.setFloat64(HEADER_BYTES + index * 8, value, true);
  }
}

/** What a terminal can't be fooled with. */
function plain(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 200) || '?';
}

/** @throws CountersError ERR_COUNTERS_FORMAT saying what is wrong */
export function decodeImage(bytes: Uint8Array): CountersImage {
  if (bytes.length < HEADER_BYTES) refuse(`${bytes.length} bytes are too few`);
  if (bytes.length > IMAGE_BYTES_MAX) refuse(`${bytes.length} bytes are too many`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0, true) !== MAGIC) refuse('its first word is another one');
  const version = view.getUint32(4, true);
  if (version !== VERSION) refuse(`it is of version ${version}, and this program reads ${VERSION}`);
  const count = view.getUint32(COUNT, true);
  const namesBytes = view.getUint32(NAMES, true);
  if (count > VALUES_MAX || HEADER_BYTES + count * 8 + namesBytes !== bytes.length) {
    refuse(`${count} values and ${namesBytes} bytes of names don't make ${bytes.length} bytes`);
  }
  const valuesEnd = HEADER_BYTES + count * 8;
  const [label, ...lines] = new TextDecoder('latin1').decode(bytes.subarray(valuesEnd)).split('\n');
  if (!PRINTABLE.test(label) || lines.length !== count) refuse('the names are not as many as the values');
  return {
    sequence: view.getUint32(SEQUENCE, true),
    pid: view.getUint32(PID, true),
    start: view.getFloat64(START, true),
    opened: view.getFloat64(OPENED, true),
    updated: view.getFloat64(UPDATED, true),
    label,
    metrics: lines.map(decodeMetric),
    values: Float64Array.from({ length: count }, (_, i) => view.getFloat64(HEADER_BYTES + i * 8, true)),
  };
}

function decodeMetric(line: string): Metric {
  const name = line.slice(2);
  if (!/^[cg] /.test(line) || !PRINTABLE.test(name)) refuse(`${JSON.stringify(line)} names no metric`);
  return { name, kind: line[0] === 'c' ? 'counter' : 'gauge' };
}

function refuse(why: string): never {
  throw new CountersError('ERR_COUNTERS_FORMAT', why);
}
