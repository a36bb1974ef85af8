/** The forms in which `node:net`'s functions take their arguments, brought into one: options and a callback. */
import { inspect } from 'node:util';
import { codedError } from './errors.ts';

type Callback = (...args: never[]) => void;

/**
 * `connect(options[, cb])`, `connect(port[, host][, cb])`, `listen(port[, host][, backlog][, cb])` and what is
 * between them.
 */
export function normalizeArguments<O extends object>(
  args: readonly unknown[],
): [Partial<O>, Callback | undefined] {
  const last = args.at(-1);
  const callback = typeof last === 'function' ? (last as Callback) : undefined;
  const [first, second, third] = callback === undefined ? args : args.slice(0, -1);
  if (typeof first === 'object' && first !== null) return [first as Partial<O>, callback];
  const options: Record<string, unknown> = {};
  if (typeof first === 'string' && !isPort(first)) options.path = first;
  else if (first !== undefined && first !== null) options.port = first;
  if (typeof second === 'string') options.host = second;
  const backlog = typeof second === 'number' ? second : third;
  if (typeof backlog === 'number') options.backlog = backlog;
  return [options as Partial<O>, callback];
}

function isPort(text: string): boolean {
  return text.trim() !== '' && Number(text) >= 0;
}

/** @throws ERR_SOCKET_BAD_PORT, with Node's words */
export function checkPort(value: unknown, name: string): number {
  const isNumber = typeof value === 'number' || (typeof value === 'string' && value.trim() !== '');
  const port = Number(value);
  if (isNumber && Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  const message = `${name} should be >= 0 and < 65536. Received type ${typeof value} (${inspect(value)}).`;
  throw codedError('ERR_SOCKET_BAD_PORT', message, RangeError);
}

/** @throws ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE, with Node's words */
export function checkTimeout(ms: unknown): void {
  if (typeof ms !== 'number') {
    const message = `The "msecs" argument must be of type number. Received type ${typeof ms}`;
    throw codedError('ERR_INVALID_ARG_TYPE', message, TypeError);
  }
  if (!(ms >= 0 && Number.isFinite(ms))) {
    const message = `The value of "msecs" is out of range. It must be a non-negative finite number. Received ${ms}`;
    throw codedError('ERR_OUT_OF_RANGE', message, RangeError);
  }
}

/** @throws ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE, with Node's words */
export function checkTypeOfService(tos: unknown): void {
  if (typeof tos !== 'number' || Number.isNaN(tos)) {
    const received = typeof tos === 'number' ? `type number (${tos})` : `type ${typeof tos}`;
    const message = `The "tos" argument must be of type number. Received ${received}`;
    throw codedError('ERR_INVALID_ARG_TYPE', message, TypeError);
  }
  if (Number.isInteger(tos) && tos >= 0 && tos <= 255) return;
  const range = Number.isInteger(tos) ? '>= 0 && <= 255' : 'an integer';
  const message = `The value of "tos" is out of range. It must be ${range}. Received ${tos}`;
  throw codedError('ERR_OUT_OF_RANGE', message, RangeError);
}

/**
 * Options of node:net that would be silently without effect here. node:http says `path: null`, which is none.
 * @throws ERR_INVALID_ARG_VALUE
 */
export function refuseUnsupported(options: object): void {
  const given = options as Record<string, unknown>;
  for (const name of ['path', 'fd', 'handle', '_handle']) {
    if (given[name] == null) continue;
    const message = `options.${name} names something of the kernel's, which this stack doesn't have: use node:net`;
    throw codedError('ERR_INVALID_ARG_VALUE', message, TypeError);
  }
  if (given.onread != null) {
    throw codedError('ERR_INVALID_ARG_VALUE', "options.onread isn't supported: use 'data' events", TypeError);
  }
}
