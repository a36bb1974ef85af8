/** Errors as `node:net` makes them, so that programs which look at `code`, `syscall` and the rest find what they expect. */
import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';

/** Options of a Stack that can't be; `field` names the one. */
export class StackOptionsError extends Error {
  override readonly name = 'StackOptionsError';
  readonly code = 'ERR_MILLRACE_OPTIONS';
  /** As a path: `limits.connections`. */
  readonly field: string;

  constructor(field: string, message: string, options?: ErrorOptions) {
    super(`${field}: ${message}`, options);
    this.field = field;
  }
}

/** An error of Node's own kind (`ERR_SOCKET_CLOSED`): an ordinary Error, TypeError or RangeError with a code. */
export function codedError(
  code: string,
  message: string,
  Base: new (message: string) => Error = Error,
): NodeJS.ErrnoException {
  return Object.assign(new Base(message), { code });
}

/** Where a failed call was going to. */
export interface ErrorTarget {
  readonly address: string;
  readonly port: number;
  /** `connect` names the local end when the program chose it. */
  readonly local?: string;
}

/**
 * A failed system call, as libuv would report it. `listen` explains itself in its message and the others don't:
 * so it is in Node.
 */
export function systemError(
  code: string,
  syscall: string,
  target?: ErrorTarget,
  options?: ErrorOptions,
): NodeJS.ErrnoException {
  const errno = -(constants.errno as Record<string, number>)[code];
  let message = `${syscall} ${code}`;
  if (syscall === 'listen') message += `: ${getSystemErrorMessage(errno)}`;
  if (target !== undefined) {
    message += ` ${target.address}:${target.port}`;
    if (target.local !== undefined) message += ` - Local (${target.local})`;
  }
  const { address, port } = target ?? {};
  return Object.assign(new Error(message, options), {
    errno,
    code,
    syscall,
    ...(target === undefined ? {} : { address, port }),
  });
}
