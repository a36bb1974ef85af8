/** Which stack a `net` function works on: the one it is given, or else the one opened last. */
import { codedError } from './errors.ts';
import type { SocketTable } from './socket-table.ts';

/** A stack, as far as sockets care. */
export interface SocketStack {
  readonly sockets: SocketTable;
}

export interface StackChoice {
  /** The most recently opened stack that is still open, unless told. */
  readonly stack?: SocketStack | undefined;
}

const open: SocketStack[] = [];

export function stackOpened(stack: SocketStack): void {
  open.push(stack);
}

export function stackClosed(stack: SocketStack): void {
  const at = open.indexOf(stack);
  if (at >= 0) open.splice(at, 1);
}

/** @throws ERR_MILLRACE_NO_STACK */
export function tableOf(choice: StackChoice): SocketTable {
  const stack = choice.stack ?? open.at(-1);
  if (stack !== undefined) return stack.sockets;
  throw codedError(
    'ERR_MILLRACE_NO_STACK',
    'no stack is open: await Stack.open(…) first, or pass options.stack',
  );
}
